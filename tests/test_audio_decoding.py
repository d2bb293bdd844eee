"""Files become waveforms: formats, damaged files, parts of files."""

import bz2
import contextlib
import lzma
import os
import re
import shutil
import struct
import subprocess
import sys
import tarfile
import textwrap
import warnings
import zipfile
from pathlib import Path

import numpy as np
import pytest
import soundfile
from sounds import noise, reason, sine, write_av

from skspeech.audio import (
    AudioError,
    AudioLoader,
    as_clips,
    decoding,
    iter_waveforms,
    libsndfile,
    load_waveforms,
    waveforms,
)


# Formats ------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("subtype", "tolerance"),
    [
        ("PCM_U8", 2**-7),
        ("PCM_16", 2**-15),
        ("PCM_24", 2**-23),
        ("PCM_32", 1e-7),
        ("FLOAT", 0),
        ("DOUBLE", 1e-7),
        ("ULAW", 2**-5),
        ("ALAW", 2**-5),
        ("IMA_ADPCM", 2**-4),
        ("MS_ADPCM", 2**-4),
    ],
)
def test_subtypes_of_wav(write, subtype, tolerance):
    samples = sine(0.5, 16_000)
    waveform = load_waveforms([write("a.wav", samples, subtype=subtype)])[0]
    assert waveform.dtype == np.float32
    # ADPCM needs some samples to find its step, and ends with a full block.
    np.testing.assert_allclose(waveform[1000:8000], samples[1000:], atol=tolerance)


@pytest.mark.parametrize(
    ("name", "options", "tolerance"),
    [
        ("a.flac", {}, 2**-15),
        ("a.ogg", {"subtype": "VORBIS"}, 0.1),
        ("a.opus", {"format": "OGG", "subtype": "OPUS"}, 0.1),
        ("a.mp3", {}, 0.1),
        ("a.aiff", {}, 2**-15),
        ("a.au", {}, 2**-15),
        ("a.caf", {}, 2**-15),
        ("a.w64", {}, 2**-15),
        ("a.unknown", {"format": "WAV"}, 2**-15),
        ("a.raw", {"format": "WAV"}, 2**-15),
        ("no suffix", {"format": "FLAC"}, 2**-15),
    ],
)
def test_formats(write, name, options, tolerance):
    samples = sine(2, 48_000)
    waveform = load_waveforms([write(name, samples, 48_000, **options)])[0]
    expected = sine(2, 16_000)
    assert abs(len(waveform) - len(expected)) <= 1
    middle = slice(8000, 24_000)
    np.testing.assert_allclose(waveform[middle], expected[middle], atol=tolerance + 1e-3)


@pytest.mark.parametrize("subtype", ["PCM_16", "FLOAT"])
@pytest.mark.parametrize("channels", [2, 5])
def test_channels_are_averaged(write, subtype, channels):
    samples = noise(0.1, channels=channels)
    waveform = load_waveforms([write("a.wav", samples, subtype=subtype)])[0]
    np.testing.assert_allclose(waveform, samples.mean(axis=1), atol=2**-15)


@pytest.mark.parametrize("rate", [8000, 11_025, 22_050, 44_100, 48_000, 96_000, 192_000, 16_001])
def test_resampling_keeps_a_tone(write, rate):
    for item in (write("a.wav", sine(1, rate), rate, subtype="FLOAT"), (sine(1, rate), rate)):
        waveform = load_waveforms([item])[0]
        assert len(waveform) == 16_000
        np.testing.assert_allclose(waveform[1000:-1000], sine(1, 16_000)[1000:-1000], atol=1e-4)


def test_resampling_removes_what_would_alias():
    waveform = load_waveforms([(sine(1, 96_000, frequency=20_000), 96_000)])[0]
    assert np.abs(waveform[1000:-1000]).max() < 1e-3


def test_a_rate_may_be_no_integer():
    waveform = as_clips([(sine(2, 22_050), 22_050.5)])[0].load(offset=0.5, max_duration=1)
    assert len(waveform) == 16_000


def test_target_rate():
    waveform = as_clips([noise(1)])[0].load(sampling_rate=8000)
    assert len(waveform) == 8000
    assert len(load_waveforms([noise(1)], target_sampling_rate=22_050)[0]) == 22_050
    with pytest.raises(ValueError, match="sampling_rate=0"):
        as_clips([noise(1)])[0].load(sampling_rate=0)


@pytest.mark.slow  # librosa compiles a part of itself first, which takes half a minute
def test_same_as_librosa(write):
    path = write("a.wav", noise(2, 44_100, channels=2), 44_100)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what librosa imports is deprecated
        librosa = pytest.importorskip("librosa")
        expected, _ = librosa.load(path, sr=16_000)
    np.testing.assert_allclose(load_waveforms([path])[0], expected, atol=1e-6)


@pytest.mark.parametrize(
    ("name", "rate", "options"),
    [
        ("a.wav", 44_100, {}),
        ("a.flac", 44_100, {}),
        ("a.ogg", 44_100, {"subtype": "VORBIS"}),
        ("a.opus", 48_000, {"format": "OGG", "subtype": "OPUS"}),
        ("a.mp3", 44_100, {}),
        ("a.mp3", 22_050, {}),  # soundfile's own read in blocks has seams here
    ],
)
def test_long_files_are_read_in_blocks_without_seams(write, monkeypatch, name, rate, options):
    X = [write(name, noise(5, rate, channels=2), rate, **options), (noise(5, rate), rate)]
    whole = load_waveforms(X)
    monkeypatch.setattr(waveforms, "BLOCK_SIZE", 10_001)
    monkeypatch.setattr(libsndfile, "BLOCK_SIZE", 10_001)
    for expected, waveform in zip(whole, load_waveforms(X), strict=True):
        np.testing.assert_allclose(waveform, expected, atol=1e-6)


def _in_blocks(clip, monkeypatch, **options):
    monkeypatch.setattr(waveforms, "BLOCK_SIZE", 10_001)
    monkeypatch.setattr(libsndfile, "BLOCK_SIZE", 10_001)
    return np.concatenate(list(clip.blocks(**options)))


@pytest.mark.parametrize("rate", [8000, 16_000, 44_100])
@pytest.mark.parametrize("name", ["a.wav", "a.flac", "a.mp3", None])
def test_blocks_are_the_whole(write, monkeypatch, name, rate):
    samples = noise(4, rate)
    clip = as_clips([(samples, rate) if name is None else write(name, samples, rate)])[0]
    for variant in (clip, clip.variant(speed=1.1), clip.variant(offset=1.5, duration=2)):
        for target in (16_000, 8000):
            whole = variant.load(sampling_rate=target)
            joined = _in_blocks(variant, monkeypatch, sampling_rate=target)
            np.testing.assert_allclose(joined, whole, atol=1e-5)


def test_blocks_go_beyond_the_longest_clip(write):
    path = write("a.flac", np.zeros(7 * 3600 * 100, dtype=np.int16), 100)
    n_samples, most = 0, 0
    for block in as_clips([path])[0].blocks(sampling_rate=100):
        n_samples, most = n_samples + len(block), max(most, len(block))
    assert n_samples == 7 * 3600 * 100
    assert most < n_samples / 2


def test_a_header_without_a_recording_has_no_blocks_either(write):
    path = write("a.flac", noise(5))
    header, _, _ = Path(path).read_bytes().partition(b"\xff\xf8")  # how a frame begins
    Path(path).write_bytes(header)
    assert reason(path) == "has no samples, although its header announces some."
    with pytest.raises(ValueError, match="has no samples, although its header announces some"):
        list(as_clips([path])[0].blocks())


def test_blocks_of_a_damaged_recording_give_what_is_good_of_it_first(write):
    path = write("a.flac", noise(5, 44_100), 44_100)
    Path(path).write_bytes(Path(path).read_bytes()[:300_000])
    good, error = [], None
    try:
        good.extend(as_clips([path])[0].blocks())
    except ValueError as damage:
        error = damage
    assert "is damaged or cut off after" in str(error)
    assert sum(map(len, good)) == pytest.approx(error.seconds * 16_000, abs=2)


# Bad clips ----------------------------------------------------------------------------------------


def test_missing_file(tmp_path):
    assert reason(str(tmp_path / "none.wav")) == "no such file."


def test_missing_relative_path_tells_where_it_looked(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert reason("none.wav") == f"no such file (looked in {tmp_path})."


@pytest.mark.parametrize("address", ["https://example.com/a.wav", "s3://bucket/a.wav"])
def test_an_address_is_no_file(address):
    assert reason(address) == "is an address, not a file. Download it, and give its path."


def test_folder(tmp_path):
    assert "is a folder. Of a folder of clips give the files, as in sorted(" in reason(tmp_path)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs named pipes")
def test_a_pipe_does_not_hang(tmp_path):
    os.mkfifo(tmp_path / "pipe.wav")
    assert "not a regular file" in reason(tmp_path / "pipe.wav")


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root reads all files")
def test_unreadable_file(write):
    path = write("a.wav", noise(0.1))
    os.chmod(path, 0)
    assert reason(path) == "cannot be opened (Permission denied)."


def test_reason_of_an_operating_system_error(write, monkeypatch):
    path = write("a.wav", noise(0.1))

    def refuse(*args, **kwargs):
        raise PermissionError(13, "Permission denied", path)

    monkeypatch.setattr("builtins.open", refuse)
    clip = as_clips([path])[0]
    with pytest.raises(PermissionError, match=r"^cannot be opened \(Permission denied\).$"):
        clip.load()


def test_a_path_below_a_file(write):
    assert "Not a directory" in reason(os.path.join(write("a.wav", noise(0.1)), "b.wav"))


@pytest.mark.parametrize("name", ["a\0b.wav", "x" * 5000])
def test_a_string_that_can_be_no_path(name):
    assert "is not a path" in reason(name) or "File name too long" in reason(name)


def test_empty_file(tmp_path):
    (tmp_path / "a.wav").touch()
    assert "empty file" in reason(tmp_path / "a.wav")


@pytest.mark.parametrize("name", ["a.wav", "a.flac", "a.ogg"])
def test_file_without_samples(write, name):
    assert "empty" in reason(write(name, np.empty(0, dtype=np.float32)))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"RIFF", "is not audio but text"),
        (
            b"\xff" * 64,
            "is not audio that can be read (libsndfile: Format not recognised; FFmpeg: ",
        ),
        (b"\0\0\0\x20ftypM4A " + bytes(200), "is not audio that can be read (libsndfile: "),
        (b"\x30\x26\xb2\x75\x8e\x66\xcf\x11" + bytes(200), "FFmpeg: "),
        (b"\x1a\x45\xdf\xa3" + bytes(200), "FFmpeg: "),
        (b"\0" * 1000, "begins with zeros only"),
        (b"just some text\n", "is not audio but text; it begins with b'just some text"),
        (b"<!DOCTYPE html><html>404</html>" * 9, "is an HTML page, not a recording"),
        (b"\xef\xbb\xbf\n <HTML lang='en'>", "is an HTML page, not a recording"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0", "run git lfs pull"),
        (b'{"error": "not found"}', "is a JSON text"),
        (b"<?xml version='1.0'?><Error/>", "is an XML text"),
        (b"#EXTM3U\nhttps://localhost/a.mp3", "is a playlist"),
        (b"PK\x03\x04" + bytes(99), "is a ZIP archive"),
        (b"\x1f\x8b" + bytes(99), "gunzip"),
        (b"%PDF-1.4" + bytes(99), "is a PDF document"),
        (b"\x89PNG\r\n" + bytes(99), "is a PNG image"),
        (b"\x93NUMPY" + bytes(99), "numpy.load(path)"),
    ],
    ids=range(18),
)
@pytest.mark.parametrize("suffix", [".wav", ".m4a", ".mp3"])
def test_file_that_is_no_audio(tmp_path, content, message, suffix):
    path = tmp_path / f"a{suffix}"
    path.write_bytes(content)
    assert message in reason(path)


@pytest.mark.parametrize("suffix", [".gsm", ".vox"])
def test_a_name_makes_no_sound_of_what_is_none(tmp_path, suffix):
    path = tmp_path / f"a{suffix}"
    path.write_text("<!doctype html><html>404</html>" * 20)
    assert "is an HTML page" in reason(path)
    path.write_text("some text\n" * 50)
    assert "is not audio but text" in reason(path)
    write_av(path, noise(0.5), 16_000, container="ipod", codec="aac")
    assert len(load_waveforms([path])[0]) == 8000


def test_archives_are_named(tmp_path, write):
    recording = write("inside.mp3", noise(1, 16_000))
    path = tmp_path / "a.mp3"
    with tarfile.open(path, "w") as archive:
        archive.add(recording, "inside.mp3")
    assert "is a TAR archive" in reason(path)
    path.write_bytes(bz2.compress(b"sound"))
    assert "bunzip2" in reason(path)
    path.write_bytes(lzma.compress(b"sound"))
    assert "unxz" in reason(path)


@pytest.mark.parametrize(
    ("container", "codec"), [("webm", "libopus"), ("matroska", "flac"), ("flv", "aac")]
)
def test_what_is_missing_by_the_header_is_told(tmp_path, container, codec):
    path = tmp_path / "a"
    write_av(path, noise(5, 48_000), 48_000, container=container, codec=codec)
    assert len(load_waveforms([path])[0]) == pytest.approx(5 * 16_000, rel=0.02)
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])
    for read in (load_waveforms, lambda X: [np.concatenate(list(as_clips(X)[0].blocks()))]):
        with pytest.warns(UserWarning, match=r"lasts 2.* s, although its header announces 5\.0"):
            waveform = read([path])[0]
        assert len(waveform) < 3 * 16_000
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # of a part that is there nothing is missing
        assert len(load_waveforms([path], max_duration=1.0)[0]) == 16_000


@pytest.mark.parametrize("subtype", ["PCM_16", "ULAW"])
@pytest.mark.parametrize("form", ["WAV", "W64", "RF64", "AIFF", "AU", "CAF"])
def test_what_is_missing_of_uncompressed_sound_is_told(write, form, subtype):
    path = Path(write("a", noise(5), format=form, subtype=subtype))
    content = path.read_bytes()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert len(load_waveforms([path])[0]) == 5 * 16_000
    path.write_bytes(content[: len(content) // 2])
    with pytest.warns(UserWarning, match="its header announces"):
        waveform = load_waveforms([path])[0]
    assert len(waveform) == pytest.approx(2.5 * 16_000, rel=0.1)


def test_a_small_wav_without_a_size_is_read_to_its_end(write):
    path = Path(write("a.wav", noise(0.05)))
    content = bytearray(path.read_bytes())
    expected = load_waveforms([path])[0]
    content[40:44] = bytes(4)
    path.write_bytes(content)
    with pytest.warns(UserWarning, match="is empty by its header"):
        np.testing.assert_array_equal(load_waveforms([path])[0], expected)
    path.write_bytes(content[:44])
    assert "is empty: it has no samples" in reason(path)


@pytest.mark.parametrize("offset", [0.02, 0.05])
@pytest.mark.parametrize("amplitude", [0.05, 0.1, 0.3])
def test_an_offset_does_not_hide_that_channels_cancel(write, amplitude, offset):
    sound = 2 * amplitude * sine(1, 16_000)
    path = write("a.wav", np.stack([sound + offset, offset - sound], axis=1), subtype="FLOAT")
    with pytest.warns(UserWarning, match="opposite phase"):
        waveform = load_waveforms([path])[0]
    np.testing.assert_allclose(waveform, sound + offset, atol=1e-6)


@pytest.mark.parametrize("suffix", [".wav", ".m4a", ".mp3"])
def test_an_archive_is_one_although_its_content_looks_like_mpeg(tmp_path, suffix, write):
    recording = Path(write("inside.mp3", noise(1, 16_000)))
    path = tmp_path / f"a{suffix}"
    with zipfile.ZipFile(path, "w") as archive:  # stored as it is, not compressed
        archive.write(recording, "inside.mp3")
    assert "is a ZIP archive" in reason(path)


def test_corrupt_header(write):
    path = Path(write("a.wav", noise(1)))
    content = bytearray(path.read_bytes())
    content[20:36] = b"\xff" * 16
    path.write_bytes(content)
    assert "libsndfile" in reason(path)


def test_truncated_wav_works_with_what_is_there(write):
    samples = noise(1)
    path = Path(write("a.wav", samples, subtype="FLOAT"))
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])
    with pytest.warns(
        UserWarning,
        match="1 of 1 clips has a flaw and is used as found:\n.*a.wav: holds 31.* bytes",
    ):
        waveform = load_waveforms([path])[0]
    assert 7000 < len(waveform) <= 8000
    np.testing.assert_array_equal(waveform, samples[: len(waveform)])


@pytest.mark.parametrize("name", ["a.ogg", "a.mp3"])
def test_truncated_stream_works_with_what_is_there(write, name):
    path = Path(write(name, noise(20, 16_000)))
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])
    waveform = load_waveforms([path])[0]
    assert 5 * 16_000 < len(waveform) < 15 * 16_000
    assert waveform.std() > 0.05


@pytest.mark.parametrize("rate", [16_000, 44_100])
@pytest.mark.parametrize("share", [0.9, 0.5])
def test_flac_that_is_cut_off_says_how_much_is_good(write, rate, share):
    samples = noise(10, rate)
    path = Path(write("a.flac", samples, rate))
    whole = load_waveforms([path])[0]
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * share)])
    seconds = float(re.match(r"is damaged or cut off after (.*) s \(", reason(path))[1])
    assert 10 * share - 0.3 < seconds <= 10 * share
    with pytest.warns(UserWarning, match="is damaged .* The part before that is used") as caught:
        waveform = load_waveforms([path], errors="warn")[0]
    assert len(caught) == 1
    assert len(waveform) == pytest.approx(seconds * 16_000, abs=100)
    np.testing.assert_allclose(waveform[:-500], whole[: len(waveform) - 500], atol=1e-5)


def test_parts_of_a_flac_that_is_cut_off(write):
    path = Path(write("a.flac", noise(10)))
    whole = load_waveforms([path])[0]
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    (clip,) = as_clips([path])
    part = clip.load(max_duration=1.0, offset=2.0)
    np.testing.assert_allclose(part, whole[32_000:48_000], atol=1e-5)
    for offset in (6.0, 9.5):
        with pytest.raises(ValueError, match=r"is damaged or cut off after 4\.\d+ s"):
            clip.load(max_duration=0.5, offset=offset)


def test_a_part_of_a_damaged_recording_tells_the_time_from_its_beginning(tmp_path):
    path = tmp_path / "a.m4a"
    write_av(path, noise(10, 44_100), 44_100, container="ipod", codec="alac")
    content = bytearray(path.read_bytes())
    content[600_000:630_000] = np.random.default_rng(0).bytes(30_000)
    path.write_bytes(content)
    (clip,) = as_clips([path])
    times = []
    for offset in (0.0, 4.0):
        with pytest.raises(ValueError, match="is damaged or cut off after") as error:
            clip.load(offset=offset)
        times.append(error.value.seconds)
    assert times[1] == pytest.approx(times[0], abs=0.2)


def test_nothing_is_left_of_a_flac_that_is_cut_off_at_once(write):
    path = Path(write("a.flac", noise(10)))
    path.write_bytes(path.read_bytes()[:200])
    with pytest.warns(UserWarning, match="1 of 1 clip cannot be used"):
        waveform = load_waveforms([path], errors="warn")[0]
    np.testing.assert_array_equal(waveform, np.zeros(16_000))


def _with_sizes(content, size):
    """Write other sizes into the header of a WAV: of all, and of the samples."""
    content = bytearray(content)
    place = content.index(b"data") + 4
    content[place : place + 4] = struct.pack("<I", size)
    content[4:8] = struct.pack("<I", min(size + 36, 2**32 - 1))
    return bytes(content)


@pytest.mark.parametrize("size", [0, 2**31 - 1, 2**32 - 1, 10_000_000])
@pytest.mark.parametrize("channels", [1, 2])
@pytest.mark.parametrize("subtype", ["PCM_16", "PCM_24", "FLOAT"])
def test_wav_of_a_recorder_that_was_killed_is_read_to_its_end(write, size, channels, subtype):
    path = Path(write("a.wav", noise(2, channels=channels), subtype=subtype))
    whole = load_waveforms([path])[0]
    path.write_bytes(_with_sizes(path.read_bytes(), size))
    with pytest.warns(UserWarning, match="a.wav: .* read to the end of the file") as caught:
        waveform = load_waveforms([path])[0]
    assert len(caught) == 1
    # What follows the samples in some files is a chunk of eight bytes that is not needed.
    np.testing.assert_allclose(waveform[: len(whole)], whole, atol=1e-6)
    assert len(waveform) - len(whole) < 50
    assert as_clips([path])[0].duration() == pytest.approx(2, abs=0.01)


def test_an_mp3_whose_header_leaves_nothing_has_no_length(tmp_path):
    """Its padding is longer than the two frames that it announces."""
    path = tmp_path / "a.mp3"
    soundfile.write(path, sine(2), 16_000, format="MP3")
    content = bytearray(path.read_bytes())
    n_frames = content.index(b"Xing") + 8
    content[n_frames : n_frames + 4] = (2).to_bytes(4, "big")
    path.write_bytes(content)
    assert as_clips([path])[0].duration() == 0
    assert reason(path) == "has no samples, although its header announces some."


def test_a_header_that_is_off_by_little_is_no_matter(write):
    path = Path(write("a.wav", noise(2)))
    path.write_bytes(path.read_bytes()[:-1000])
    assert len(load_waveforms([path])[0]) == 31_500


def test_an_au_without_a_length_in_its_header(write):
    path = Path(write("a.au", noise(2)))
    content = bytearray(path.read_bytes())
    content[8:12] = bytes(4)
    path.write_bytes(content)
    assert reason(path) == "is empty: it has no samples by its header, but 64024 bytes."


@pytest.mark.parametrize(("name", "subtype"), [("a.gsm", "GSM610"), ("a.VOX", "VOX_ADPCM")])
def test_formats_that_only_the_name_tells(write, name, subtype):
    path = write(name, sine(2, 8000), 8000, format="RAW", subtype=subtype)
    waveform = load_waveforms([path])[0]
    assert len(waveform) == pytest.approx(32_000, abs=400)
    correlation = np.corrcoef(waveform[4000:28_000], sine(2, 16_000)[4000:28_000])[0, 1]
    assert abs(correlation) > 0.9
    (clip,) = as_clips([path])
    others = as_clips([shutil.copy(path, path + ending) for ending in (".gsm", ".vox")])
    assert [other.key() == clip.key() for other in others] == [
        np.array_equal(other.load(), waveform) for other in others
    ]
    os.rename(path, path + ".unknown")
    assert "is not audio that can be read" in reason(path + ".unknown")


@pytest.mark.parametrize("name", ["a.au", "a.snd"])
def test_what_is_called_au_and_is_none_is_no_telephone_sound(tmp_path, name):
    (tmp_path / name).write_bytes(np.random.default_rng(0).bytes(20_000))
    assert "is not audio that can be read" in reason(tmp_path / name)


@pytest.mark.parametrize("format", ["WAV", "AIFF", "FLAC", "MP3"])
def test_a_tag_in_front_costs_no_samples(write, tmp_path, format):
    path = tmp_path / "a"
    tag = b"ID3\x04\0\0" + bytes((0, 0, 8, 100)) + bytes(8 * 128 + 100)
    path.write_bytes(tag + Path(write("plain", noise(1), format=format)).read_bytes())
    expected = load_waveforms([path])[0]
    assert len(expected) == 16_000
    np.testing.assert_array_equal(load_waveforms([path.read_bytes()])[0], expected)


def test_mp3_without_its_beginning(write):
    samples = sine(3, 16_000)
    path = Path(write("a.mp3", samples))
    content = path.read_bytes()
    for damaged, least in ((bytes(2000) + content, 48_000), (content[700:], 44_000)):
        path.write_bytes(damaged)
        waveform = load_waveforms([path])[0]
        assert least <= len(waveform) <= 49_000
        assert waveform.std() == pytest.approx(samples.std(), rel=0.1)


def test_an_m4a_that_is_called_mp3_is_one(write, tmp_path):
    path = str(tmp_path / "a.mp3")
    write_av(path, sine(2, 44_100), 44_100, container="ipod", codec="aac")
    assert len(load_waveforms([path])[0]) == 32_000


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_samples_that_are_not_finite(write, value):
    samples = noise(1).astype(np.float64)
    samples[8000] = value
    for item in (
        write("a.wav", samples, subtype="FLOAT"),
        write("b.wav", np.column_stack([samples, samples]), 44_100, subtype="DOUBLE"),
        samples,
        samples.astype(np.float32),
        (samples, 8000),
        samples.tolist(),
    ):
        assert "not finite" in reason(item)


def test_beyond_the_part_that_is_read_samples_do_not_matter():
    samples = noise(2)
    samples[-1] = np.nan
    assert len(load_waveforms([samples], max_duration=1)[0]) == 16_000


def test_amplitudes(write):
    samples = noise(0.5).astype(np.float64)
    for item in (samples * 1e30, write("a.wav", samples * 1e30, subtype="DOUBLE")):
        assert "lie in [-1, 1]" in reason(item)
    for item in (samples * 1e300, write("b.wav", samples * 1e300, subtype="DOUBLE")):
        assert "too large for float32" in reason(item)
    standardized = samples / samples.std()
    np.testing.assert_array_equal(load_waveforms([standardized])[0], standardized.astype("f4"))


@pytest.mark.parametrize("n_bits", [16, 24, 32])
def test_floats_on_the_scale_of_integers_are_told_how_to_scale(write, n_bits):
    samples = noise(0.5).astype(np.float64) * 2.0 ** (n_bits - 1)
    for item in (samples, (samples, 8000), write("a.wav", samples, subtype="DOUBLE")):
        assert f"integers of {n_bits} bits. Divide all clips by {2 ** (n_bits - 1)}" in reason(item)


def test_32_bits_that_hold_16_are_noticed():
    samples = (noise(0.5) * 2**15).astype(np.int32)
    for item in (samples, (samples.astype(np.int64) + 2**31).astype(np.uint32)):
        with pytest.warns(UserWarning, match=r"give waveform.astype\('int16'\)"):
            load_waveforms([item])
    load_waveforms([samples * 2**16, np.zeros(100, dtype=np.int32)])


@pytest.mark.parametrize("channels", [2, 6])
@pytest.mark.parametrize("rate", [16_000, 44_100])
def test_channels_that_cancel_each_other_are_not_mixed(write, rate, channels):
    samples = np.zeros((rate * 3, channels), dtype=np.float32)
    samples[:, 0] = noise(3, rate)
    samples[:, 1] = -samples[:, 0]
    samples[:rate] = 0
    path = write("a.wav", samples, rate, subtype="FLOAT")
    with pytest.warns(UserWarning, match=f"opposite phase.* channel 1 of {channels} is used"):
        waveform = load_waveforms([path])[0]
    np.testing.assert_array_equal(waveform, load_waveforms([(samples[:, 0], rate)])[0])
    with pytest.warns(UserWarning, match=r"^.*a.wav has channels in opposite phase"):
        as_clips([path])[0].load()


@pytest.mark.parametrize("channels", [2, 6, 32])
def test_channels_that_do_not_cancel_each_other_are_mixed(write, channels):
    alone = np.zeros((16_000, channels), dtype=np.float32)
    alone[:, 1] = noise(1)
    for samples in (alone, noise(1, channels=channels)):
        path = write("a.wav", samples, subtype="FLOAT")
        np.testing.assert_allclose(load_waveforms([path])[0], samples.mean(axis=1), atol=1e-6)


@pytest.mark.parametrize("scale", [1e-40, 1e-310])
def test_denormal_samples_stay_finite(scale):
    waveform = load_waveforms([(noise(0.5, 8000).astype(np.float64) * scale, 8000)])[0]
    assert len(waveform) == 8000
    assert np.isfinite(waveform).all()


def test_silence_is_fine(write):
    for item in (write("a.flac", np.zeros(16_000)), np.zeros(16_000), np.zeros(16_000, dtype=int)):
        np.testing.assert_array_equal(load_waveforms([item])[0], np.zeros(16_000))


@pytest.mark.parametrize("rate", [8000, 16_000, 44_100, 96_000, 10_000_000])
def test_one_sample_stays_a_sample(write, rate):
    items = [(np.array([0.5]), rate)]
    if rate < 100_000:
        items.append(write("a.wav", np.array([0.5]), rate))
    for waveform in load_waveforms(items):
        assert 1 <= len(waveform) <= 2
        assert np.isfinite(waveform).all()


@pytest.mark.parametrize("item", [np.array([]), [], (np.array([]), 8000), np.empty((0, 1))])
def test_empty_waveform(item):
    assert "is empty" in reason(item)


@pytest.mark.parametrize("n", [1, 2, 7, 100])
@pytest.mark.parametrize("rate", [100, 8000, 44_100, 10_000_000])
def test_very_short_waveforms(n, rate):
    waveform = load_waveforms([(np.full(n, 0.5), rate)])[0]
    assert len(waveform) >= 1
    assert np.isfinite(waveform).all()


def test_a_file_with_a_rate_that_is_none(write):
    assert "sampling_rate=10" in reason(write("a.wav", noise(1), 10))


FUZZED = [
    ("a.wav", {"subtype": "PCM_16"}),
    ("a.wav", {"subtype": "FLOAT"}),
    ("a.wav", {"subtype": "IMA_ADPCM"}),
    ("a.flac", {}),
    ("a.ogg", {"subtype": "VORBIS"}),
    ("a.opus", {"format": "OGG", "subtype": "OPUS"}),
    ("a.mp3", {}),
    ("a.aiff", {}),
    ("a.caf", {"subtype": "ALAC_16"}),
]


def _damage(content, rng):
    content = bytearray(content)
    place = rng.integers(len(content))
    kind = rng.integers(4)
    if kind == 0:  # some bytes of the header
        for i in rng.integers(0, min(len(content), 80), 5):
            content[i] = rng.integers(256)
    elif kind == 1:  # some bytes anywhere
        for i in rng.integers(0, len(content), 10):
            content[i] = rng.integers(256)
    elif kind == 2:
        content = content[:place]
    else:
        content[place:place] = rng.bytes(20)
    return bytes(content)


@pytest.mark.parametrize(("name", "options"), FUZZED)
def test_damaged_files_give_an_error_or_a_waveform(write, name, options):
    path = Path(write(name, noise(0.2, channels=2), **options))
    content = path.read_bytes()
    rng = np.random.default_rng(0)
    reasons = []
    for max_duration in [None, 0.05] * 25:
        path.write_bytes(_damage(content, rng))
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", UserWarning)  # of a header that promises too much
                (waveform,) = load_waveforms([path], max_duration=max_duration)
        except AudioError as error:
            reasons.append(error.failures[0][2])
        else:
            assert waveform.ndim == 1
            assert len(waveform) > 0
            assert np.isfinite(waveform).all()
        with contextlib.suppress(OSError, ValueError), warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)
            assert len(as_clips([path])[0].load(offset=0.15)) > 0
    assert len(reasons) > 0
    assert all(len(why) > 10 for why in reasons)


# Length -------------------------------------------------------------------------------------------


def _claim_frames(path, n_frames):
    """Write another number of frames into the header of a FLAC file; 0 is an unknown number."""
    content = bytearray(Path(path).read_bytes())
    field = int.from_bytes(content[18:26], "big")
    content[18:26] = (field >> 36 << 36 | n_frames).to_bytes(8, "big")
    Path(path).write_bytes(content)


def test_a_small_file_with_many_hours_is_refused_or_cut(write):
    path = write("a.flac", np.zeros(7 * 3600 * 1000, dtype=np.int16), 1000)
    assert os.path.getsize(path) < 1_000_000
    assert as_clips([path])[0].duration() == 7 * 3600
    assert reason(path).startswith("lasts 7.0 hours; 6 hours are the most")
    assert len(load_waveforms([path], max_duration=2)[0]) == 32_000
    assert len(as_clips([path])[0].load(offset=6 * 3600, max_duration=2)) == 32_000


def test_a_waveform_of_many_hours_is_refused():
    assert "lasts 10.0 hours" in reason((np.zeros(3_600_000), 100))


def test_a_header_that_claims_hours(write):
    samples = noise(1)
    path = write("a.flac", samples)
    _claim_frames(path, 10 * 3600 * 16_000)
    assert "lasts 10.0 hours" in reason(path)
    _claim_frames(path, 5 * 3600 * 16_000)
    with pytest.warns(UserWarning, match=r"lasts 1.00 s, although its header announces 18000.00 s"):
        waveform = load_waveforms([path])[0]
    np.testing.assert_allclose(waveform, samples, atol=2**-15)
    assert waveform.base is None or waveform.base.nbytes == waveform.nbytes


def test_a_header_without_length(write, monkeypatch):
    samples = noise(3)
    path = write("a.flac", samples)
    _claim_frames(path, 0)
    clip = as_clips([path])[0]
    assert clip.duration() == 3
    np.testing.assert_allclose(clip.load(), samples, atol=2**-15)
    np.testing.assert_allclose(clip.load(1, offset=1), samples[16_000:32_000], atol=2**-15)
    monkeypatch.setattr(waveforms, "MAX_CLIP_DURATION", 2.0)
    assert "lasts" in reason(path)


def test_too_many_samples_to_decode(write, monkeypatch):
    path = write("a.wav", noise(1, channels=2))
    monkeypatch.setattr(decoding, "MAX_DECODED_SIZE", 31_999)
    assert "16000 samples of 2 channels" in reason(path)
    assert len(load_waveforms([path], max_duration=0.5)[0]) == 8000


LENGTH_CASES = [
    ("a.wav", 16_000, {}),
    ("a.wav", 8000, {}),
    ("a.wav", 44_100, {}),
    ("a.wav", 44_101, {}),
    ("a.flac", 48_000, {}),
    ("a.ogg", 44_100, {"subtype": "VORBIS"}),
    ("a.opus", 48_000, {"format": "OGG", "subtype": "OPUS"}),
    ("a.mp3", 22_050, {}),
]


@pytest.mark.parametrize(("name", "rate", "options"), LENGTH_CASES)
def test_a_part_equals_that_part_of_the_whole(write, name, rate, options):
    clip = as_clips([write(name, noise(5, rate), rate, **options)])[0]
    whole = clip.load()
    for offset, duration in [(0, 1), (0, 0.01), (1.2345, 1), (2, None), (4.9, 3), (0, 99)]:
        part = clip.load(max_duration=duration, offset=offset)
        first = round(offset * 16_000)
        stop = len(whole) if duration is None else first + round(duration * 16_000)
        expected = whole[first:stop]
        assert len(part) == len(expected)
        np.testing.assert_allclose(part, expected, atol=1e-5)


@pytest.mark.parametrize("rate", [16_000, 8000, 44_100])
def test_a_part_of_a_waveform_in_memory(rate):
    clip = as_clips([(noise(5, rate), rate)])[0]
    whole = clip.load()
    np.testing.assert_allclose(clip.load(1, 1.2345), whole[19_752:35_752], atol=1e-5)


def test_only_what_is_needed_is_decoded(write, monkeypatch):
    path = write("a.wav", noise(60, 8000), 8000)
    n_read = []
    original = soundfile.SoundFile.read

    def read(self, frames=-1, *args, **kwargs):
        block = original(self, frames, *args, **kwargs)
        n_read.append(len(block))
        return block

    monkeypatch.setattr(soundfile.SoundFile, "read", read)
    clip = as_clips([path])[0]
    clip.load(max_duration=3)
    assert sum(n_read) < 3.1 * 8000
    n_read.clear()
    clip.load(max_duration=3, offset=30)
    assert sum(n_read) < 3.2 * 8000
    n_read.clear()
    assert clip.duration() == 60
    assert not n_read


@pytest.mark.parametrize("max_duration", [0, -1, np.nan, np.inf, "3", [3]])
def test_bad_max_duration(max_duration):
    for call in (
        lambda: as_clips([noise(1)])[0].load(max_duration=max_duration),
        lambda: load_waveforms([noise(1)], max_duration=max_duration),
        lambda: iter_waveforms([noise(1)], max_duration=max_duration),
        lambda: AudioLoader(max_duration=max_duration).fit([noise(1)]).transform([noise(1)]),
    ):
        with pytest.raises(ValueError, match="max_duration"):
            call()


@pytest.mark.parametrize("offset", [-1, np.nan, np.inf, "3", None])
def test_bad_offset(offset):
    with pytest.raises(ValueError, match="offset="):
        as_clips([noise(1)])[0].load(offset=offset)


def test_offset_behind_the_end(write):
    for item in (write("a.wav", noise(1)), noise(1)):
        with pytest.raises(ValueError, match=r"offset=1 s is not before its end \(1 s\)"):
            as_clips([item])[0].load(offset=1.0)


@pytest.mark.skipif(sys.platform != "linux", reason="memory is read as Linux tells it")
def test_an_hour_takes_the_memory_of_its_result_only(write):
    path = write("hour.wav", np.zeros(3600 * 8000, dtype=np.int16), 8000)
    code = f"""
        import sys
        sys.path.insert(0, {str(Path(__file__).parent)!r})
        import memory, soundfile, soxr
        from skspeech.audio import as_clips
        as_clips([{path!r}])[0].load(max_duration=60)
        before = memory.resident()
        memory.forget_peak()
        waveform = as_clips([{path!r}])[0].load()
        print(len(waveform), memory.peak() - before - waveform.nbytes / 2**20)
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)], capture_output=True, text=True, check=True
    )
    n_samples, more = done.stdout.split()
    assert int(n_samples) == 3600 * 16_000
    assert float(more) < 40  # MB, for what is being decoded; the result takes 220
