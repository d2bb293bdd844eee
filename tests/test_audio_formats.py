"""Every format that people have: one recording in each of them is one clip.

``python tests/test_audio_formats.py`` writes the table of the guide again.
"""

import contextlib
import os
import re
import shutil
import subprocess
import sys
import textwrap
import warnings
from pathlib import Path

import numpy as np
import pytest
import soundfile
from sounds import noise, reason, sine, write_av

from skspeech import SpeakerEmbedding, SpeakerEmbeddingClassifier
from skspeech.audio import AudioError, as_clips, load_waveforms
from skspeech.audio.formats import AUDIO_EXTENSIONS, FORMATS
from skspeech.datasets import load_audio_folder, make_speech_like

GUIDE = Path(__file__).parents[1] / "docs" / "guide" / "formats.md"

# How to write it: of libsndfile format and subtype, of FFmpeg container and codec. What is left of
# the waveform (its correlation with the original), and how exact its length is in seconds.
LOSSLESS, LOSSY, TELEPHONE = 0.999, 0.97, 0.75
EXACT, PADDED = 0.0002, 0.07
RECORDINGS = {
    "pcm16.wav": ("WAV", "PCM_16", 16_000, LOSSLESS, EXACT),
    "pcm24.wave": ("WAV", "PCM_24", 44_100, LOSSLESS, EXACT),
    "float.wav": ("WAV", "FLOAT", 48_000, LOSSLESS, EXACT),
    "ulaw.wav": ("WAV", "ULAW", 16_000, LOSSY, EXACT),
    "adpcm.wav": ("WAV", "IMA_ADPCM", 16_000, LOSSY, PADDED),
    "a.w64": ("W64", "PCM_16", 16_000, LOSSLESS, EXACT),
    "a.rf64": ("RF64", "PCM_16", 16_000, LOSSLESS, EXACT),
    "a.flac": ("FLAC", "PCM_16", 44_100, LOSSLESS, EXACT),
    "vorbis.ogg": ("OGG", "VORBIS", 44_100, LOSSY, EXACT),
    "a.opus": ("OGG", "OPUS", 48_000, LOSSY, EXACT),
    "a.mp3": ("MP3", "MPEG_LAYER_III", 44_100, LOSSY, EXACT),
    "a.aiff": ("AIFF", "PCM_16", 44_100, LOSSLESS, EXACT),
    "a.au": ("AU", "PCM_16", 16_000, LOSSLESS, EXACT),
    "alac.caf": ("CAF", "ALAC_16", 44_100, LOSSLESS, EXACT),
    "a.sph": ("NIST", "PCM_16", 16_000, LOSSLESS, EXACT),
    "a.voc": ("VOC", "PCM_16", 16_000, LOSSLESS, EXACT),
    "a.sf": ("IRCAM", "PCM_16", 16_000, LOSSLESS, EXACT),
    "a.paf": ("PAF", "PCM_16", 16_000, LOSSLESS, EXACT),
    "a.gsm": ("RAW", "GSM610", 8000, TELEPHONE, PADDED),
    "a.vox": ("RAW", "VOX_ADPCM", 8000, TELEPHONE, PADDED),
    "aac.m4a": ("ipod", "aac", 44_100, LOSSY, EXACT),
    "alac.m4a": ("ipod", "alac", 44_100, LOSSLESS, EXACT),
    "a.m4b": ("ipod", "aac", 22_050, LOSSY, EXACT),
    "aac.mp4": ("mp4", "aac", 48_000, LOSSY, EXACT),
    "opus.mp4": ("mp4", "libopus", 48_000, LOSSY, EXACT),
    "aac.mov": ("mov", "aac", 44_100, LOSSY, EXACT),
    "pcm.mov": ("mov", "pcm_s16le", 44_100, LOSSLESS, EXACT),
    "aac.3gp": ("3gp", "aac", 16_000, LOSSY, EXACT),
    "amr.3gp": ("3gp", "libopencore_amrnb", 8000, TELEPHONE, EXACT),
    "a.amr": ("amr", "libopencore_amrnb", 8000, TELEPHONE, PADDED),
    "a.aac": ("adts", "aac", 44_100, LOSSY, PADDED),
    "a.loas": ("latm", "aac", 44_100, LOSSY, PADDED),
    "opus.webm": ("webm", "libopus", 48_000, LOSSY, EXACT),
    "aac.mka": ("matroska", "aac", 44_100, LOSSY, PADDED),
    "flac.mkv": ("matroska", "flac", 44_100, LOSSLESS, EXACT),
    "a.wma": ("asf", "wmav2", 44_100, LOSSY, PADDED),
    "a.ac3": ("ac3", "ac3", 48_000, LOSSY, PADDED),
    "a.eac3": ("eac3", "eac3", 48_000, LOSSY, PADDED),
    "a.mp2": ("mp2", "mp2", 44_100, LOSSY, PADDED),
    "a.mpg": ("mpeg", "mp2", 44_100, LOSSY, PADDED),
    "a.ts": ("mpegts", "aac", 44_100, LOSSY, PADDED),
    "a.flv": ("flv", "aac", 44_100, LOSSY, PADDED),
    "a.avi": ("avi", "mp3", 44_100, LOSSY, PADDED),
    "a.rm": ("rm", "ac3", 44_100, LOSSY, PADDED),
    "a.wv": ("wv", "wavpack", 44_100, LOSSLESS, EXACT),
    "a.tta": ("tta", "tta", 44_100, LOSSLESS, EXACT),
    "flac.oga": ("ogg", "flac", 44_100, LOSSLESS, EXACT),
    "a.nut": ("nut", "aac", 44_100, LOSSY, PADDED),
    "a.sox": ("sox", "pcm_s32le", 16_000, LOSSLESS, EXACT),
    "a.sbc": ("sbc", "sbc", 44_100, LOSSY, PADDED),
}


def write(path, waveform):
    """Write a waveform at 16 kHz as the file of this name."""
    container, codec, rate, _, _ = RECORDINGS[path.name]
    (samples,) = load_waveforms([waveform], target_sampling_rate=rate)
    if container.isupper():
        soundfile.write(path, samples, rate, format=container, subtype=codec)
    else:
        bit_rate = 12_200 if "amr" in codec else 128_000
        write_av(path, samples, rate, container=container, codec=codec, bit_rate=bit_rate)
    return str(path)


@pytest.fixture(scope="module")
def speech():
    """Speech of two seconds without what a telephone leaves out."""
    clips = make_speech_like(n_samples=12, n_classes=3, random_state=0)
    narrow = load_waveforms(
        [np.resize(clip, 32_000) for clip in clips.data], target_sampling_rate=7000
    )
    clips.data = load_waveforms([(clip, 7000) for clip in narrow])
    return clips


@pytest.fixture(scope="module")
def folder(tmp_path_factory, speech):
    """The same recording in every format, in the one class of a folder."""
    folder = tmp_path_factory.mktemp("formats") / "all"
    folder.mkdir()
    for name in RECORDINGS:
        write(folder / name, speech.data[0])
    return folder


def _similarity(waveform, original):
    """Correlation where both fit best: codecs that don't say their delay shift what they code."""
    size = 2 ** int(np.ceil(np.log2(len(waveform) + len(original))))
    spectrum = np.fft.rfft(waveform, size) * np.fft.rfft(original, size).conj()
    correlation = np.abs(np.fft.irfft(spectrum))
    delay = int(np.argmax(correlation))
    scale = np.linalg.norm(waveform) * np.linalg.norm(original)
    return correlation[delay] / scale, min(delay, size - delay)


@pytest.mark.parametrize("name", RECORDINGS)
def test_a_recording_is_the_same_in_every_format(folder, speech, name):
    _, _, _, least, tolerance = RECORDINGS[name]
    original = speech.data[0]
    clip = as_clips([str(folder / name)])[0]
    waveform = clip.load()
    similarity, delay = _similarity(waveform, original)
    assert similarity > least
    assert delay <= (30 if tolerance == EXACT else 2500)
    assert abs(len(waveform) - len(original)) / 16_000 <= tolerance
    assert abs(clip.duration() - len(waveform) / 16_000) < max(tolerance, 0.002)


@pytest.mark.network
def test_a_folder_of_all_formats_is_one_answer(folder, speech):
    clips = load_audio_folder(folder.parent)
    assert [Path(path).name for path in clips.data] == sorted(RECORDINGS)
    assert len(RECORDINGS) >= 25
    classifier = SpeakerEmbeddingClassifier().fit(speech.data, speech.target)
    assert set(classifier.predict(clips.data)) == {speech.target[0]}
    original, *rows = SpeakerEmbedding(layers="embedding").transform([speech.data[0], *clips.data])
    for path, row in zip(clips.data, rows, strict=True):
        least = {LOSSLESS: 0.999, LOSSY: 0.93, TELEPHONE: 0.7}[RECORDINGS[Path(path).name][3]]
        assert row @ original > least, path


def test_content_tells_the_format_whatever_the_name(folder, tmp_path):
    for name in ("aac.m4a", "opus.webm", "a.amr", "a.wma", "a.flac", "a.mp3", "a.ac3"):
        for other in ("a.wav", "a.mp3", "a.m4a", "no suffix", "a.txt"):
            path = tmp_path / other
            shutil.copy(folder / name, path)
            np.testing.assert_array_equal(
                load_waveforms([path])[0], load_waveforms([folder / name])[0]
            )


@pytest.mark.skipif(sys.platform != "linux", reason="other systems allow no such names")
@pytest.mark.parametrize("name", ["a.mp3", "aac.m4a", "a.gsm", "text.wav"])
def test_names_need_not_be_text(folder, tmp_path, name):
    odd = str(tmp_path / os.fsdecode(b"m\xfcde" + name.encode()))
    if name == "text.wav":
        Path(odd).write_text("no sound")
        with pytest.raises(ValueError, match="is not audio but text"):
            as_clips([odd])[0].load()
    else:
        shutil.copy(folder / name, odd)
        waveforms = load_waveforms([odd, folder / name])
        np.testing.assert_array_equal(*waveforms)


@pytest.mark.parametrize(
    "name", ["aac.m4a", "alac.m4a", "opus.mp4", "pcm.mov", "opus.webm", "a.wma", "a.amr", "a.aac"]
)
def test_a_part_equals_that_part_of_the_whole(tmp_path, name):
    # AAC puts noise, drawn at random, in the place of noise.
    path = write(tmp_path / name, sine(5, 16_000) if "aac" in name else noise(5))
    clip = as_clips([path])[0]
    whole = clip.load()
    for offset, duration in [(0, 1), (0, 0.01), (1.2345, 1), (2, None), (4.5, 3), (0, 1e9)]:
        part = clip.load(max_duration=duration, offset=offset)
        first = round(offset * 16_000)
        expected = whole[first:] if duration is None else whole[first:][: round(duration * 16_000)]
        assert abs(len(part) - len(expected)) <= 1
        n = min(len(part), len(expected))
        np.testing.assert_allclose(part[:n], expected[:n], atol=2e-4)
    with pytest.raises(
        ValueError, match=r"offset=99 s is not before its end|ends before the offset"
    ):
        clip.load(offset=99)


@pytest.mark.parametrize("name", ["aac.m4a", "alac.m4a"])
def test_only_what_is_needed_is_decoded(tmp_path, name, monkeypatch):
    from skspeech.audio import ffmpeg

    clip = as_clips([write(tmp_path / name, noise(60))])[0]
    n_read = []
    original = ffmpeg._joined

    def joined(frames):
        for block in original(frames):
            n_read.append(len(block))
            yield block

    monkeypatch.setattr(ffmpeg, "_joined", joined)
    assert clip.duration() == pytest.approx(60, abs=1e-4)
    assert not n_read
    clip.load(max_duration=3)
    assert sum(n_read) < 7 * 44_100
    n_read.clear()
    clip.load(max_duration=3, offset=30)
    assert sum(n_read) < 8 * 44_100


@pytest.mark.parametrize("channels", [1, 2, 6])
@pytest.mark.parametrize(("container", "codec"), [("ipod", "alac"), ("matroska", "flac")])
def test_channels_are_averaged(tmp_path, container, codec, channels):
    samples = noise(1, channels=channels)
    path = write_av(tmp_path / "a", samples, 16_000, container=container, codec=codec)
    expected = samples if channels == 1 else samples.mean(axis=1)
    np.testing.assert_allclose(load_waveforms([path])[0], expected, atol=1e-4)


def test_channels_in_opposite_phase_of_an_m4a(tmp_path):
    left = noise(2)
    samples = np.stack([left, -left], axis=1)
    path = write_av(tmp_path / "a.m4a", samples, 16_000, container="ipod", codec="alac")
    with pytest.warns(UserWarning, match="opposite phase"):
        np.testing.assert_allclose(load_waveforms([path])[0], left, atol=1e-4)


@pytest.mark.parametrize("flags", ["faststart", "frag_keyframe+empty_moov", "default_base_moof"])
def test_mp4_of_phones_and_browsers(tmp_path, flags):
    path = write_av(
        tmp_path / "a.mp4",
        sine(3, 48_000),
        48_000,
        container="mp4",
        codec="aac",
        options={"movflags": flags},
    )
    clip = as_clips([path])[0]
    assert clip.duration() == pytest.approx(3, abs=0.05)
    assert len(clip.load()) == pytest.approx(48_000, abs=800)


def test_webm_of_a_browser_has_no_length(tmp_path):
    path = write_av(
        tmp_path / "a.webm",
        sine(3, 48_000),
        48_000,
        container="webm",
        codec="libopus",
        options={"live": "1"},
    )
    clip = as_clips([path])[0]
    assert clip.duration() == pytest.approx(3, abs=0.03)
    assert len(clip.load()) == pytest.approx(48_000, abs=500)


def test_the_sound_of_a_video_is_found(tmp_path):
    import av

    path = tmp_path / "a.mp4"
    with av.open(str(path), "w") as output:
        video = output.add_stream("mpeg4", rate=10)
        video.width = video.height = 64
        video.pix_fmt = "yuv420p"
        audio = output.add_stream("aac", rate=16_000, layout="mono")
        for i in range(20):
            picture = np.full((64, 64, 3), 10 * i, dtype=np.uint8)
            output.mux(video.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        samples = sine(2, 16_000)
        for i in range(0, 31_744, 1024):
            frame = av.AudioFrame.from_ndarray(samples[None, i : i + 1024], "fltp", "mono")
            frame.sample_rate, frame.pts = 16_000, i
            output.mux(audio.encode(frame))
        output.mux(video.encode(None))
        output.mux(audio.encode(None))
    waveform = load_waveforms([path])[0]
    assert waveform.std() == pytest.approx(0.3535, rel=0.05)


def test_a_video_without_sound_says_so(tmp_path):
    import av

    path = tmp_path / "a.mp4"
    with av.open(str(path), "w") as output:
        video = output.add_stream("mpeg4", rate=10)
        video.width = video.height = 64
        picture = av.VideoFrame.from_ndarray(np.zeros((64, 64, 3), dtype=np.uint8), format="rgb24")
        output.mux(video.encode(picture))
        output.mux(video.encode(None))
    assert "no sound in it, only video" in reason(path)


@pytest.mark.parametrize("name", ["a.aac", "a.amr", "a.ac3", "opus.webm", "a.ts", "a.wma"])
def test_a_stream_that_is_cut_off_works_with_what_is_there(tmp_path, name):
    path = Path(write(tmp_path / name, noise(5)))
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])
    tells = pytest.warns(UserWarning, match=r"header announces 5\.00 s")
    with tells if name == "opus.webm" else contextlib.nullcontext():
        waveform = load_waveforms([path])[0]
    assert 1.5 < len(waveform) / 16_000 < 3.5


class _GainsAStream:
    """A container that a stream joins while it is read, which PyAV stumbles over in the end."""

    def __init__(self, container):
        self._container = container

    def __getattr__(self, name):
        return getattr(self._container, name)

    def demux(self, stream):
        yield from self._container.demux(stream)
        raise IndexError("list index out of range")


def test_a_stream_that_joins_later_is_no_error(tmp_path, monkeypatch):
    import av

    path = write(tmp_path / "a.ts", noise(2))
    expected = load_waveforms([path])[0]
    av_open = av.open
    monkeypatch.setattr(av, "open", lambda *args, **kw: _GainsAStream(av_open(*args, **kw)))
    np.testing.assert_array_equal(load_waveforms([path])[0], expected)


def test_an_m4a_without_its_index_is_refused(tmp_path):
    path = Path(write(tmp_path / "aac.m4a", noise(5)))
    path.write_bytes(path.read_bytes()[:-3000])
    assert "FFmpeg: " in reason(path)


def test_a_damaged_m4a_says_how_much_is_good(tmp_path):
    path = Path(write(tmp_path / "alac.m4a", noise(5)))
    content = bytearray(path.read_bytes())
    content[len(content) // 2 : len(content) // 2 + 2000] = b"\xff" * 2000
    path.write_bytes(content)
    assert re.match(r"is damaged or cut off after [12]\.\d\d s", reason(path))
    with pytest.warns(UserWarning, match="The part before that is used"):
        assert 1 < len(load_waveforms([path], errors="warn")[0]) / 16_000 < 3


def _damage(content, rng):
    content = bytearray(content)
    place = rng.integers(len(content))
    kind = rng.integers(6)
    if kind == 0:  # some bytes of the header
        for i in rng.integers(0, min(len(content), 200), 5):
            content[i] = rng.integers(256)
    elif kind == 1:  # some bytes anywhere
        for i in rng.integers(0, len(content), 10):
            content[i] = rng.integers(256)
    elif kind == 2:
        content = content[:place]
    elif kind == 3:
        content[place:place] = rng.bytes(20)
    elif kind == 4:  # sizes
        for i in rng.integers(0, len(content), 3):
            content[i : i + 4] = b"\xff" * 4
    else:  # a file within a file
        content[place:place] = content[: len(content) // 2]
    return bytes(content)


FUZZED = [name for name, row in RECORDINGS.items() if not row[0].isupper()]


def fuzz(names, folder, n_times, seed=0):
    """Read damaged files; what is wrong with the result is an AssertionError."""
    rng = np.random.default_rng(seed)
    waveform = noise(0.3)
    for name in names:
        path = Path(write(Path(folder) / name, waveform))
        content = path.read_bytes()
        for i in range(n_times):
            path.write_bytes(_damage(content, rng))
            try:
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore", UserWarning)
                    (loaded,) = load_waveforms([path], max_duration=0.1 if i % 2 else None)
            except AudioError:
                continue
            else:
                assert loaded.ndim == 1
                assert len(loaded) > 0
                assert np.isfinite(loaded).all()


@pytest.mark.skipif(sys.platform != "linux", reason="memory is read as Linux tells it")
@pytest.mark.slow
def test_damaged_files_never_crash_hang_or_fill_the_memory(tmp_path):
    """In a process of its own: a crash would take the tests along."""
    code = f"""
        import sys
        sys.path.insert(0, {str(Path(__file__).parent)!r})
        import memory
        from test_audio_formats import FUZZED, fuzz
        fuzz(FUZZED, {str(tmp_path)!r}, 1)
        before = memory.resident()
        memory.forget_peak()
        fuzz(FUZZED, {str(tmp_path)!r}, 40)
        print(memory.peak() - before)
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)], capture_output=True, text=True, timeout=500
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert float(done.stdout) < 300


def test_ffmpeg_opens_nothing_but_the_file(tmp_path):
    """No playlist, no address and no other file, whatever a crafted file asks for."""
    secret = tmp_path / "secret.wav"
    soundfile.write(secret, noise(1), 16_000)
    for text in (
        f"#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXTINF:9,\n{secret}\n#EXT-X-ENDLIST\n",
        f"ffconcat version 1.0\nfile {secret.name}\n",
        f"<?xml version='1.0'?><MPD><BaseURL>{secret}</BaseURL></MPD>",
    ):
        path = tmp_path / "a.m4a"
        path.write_text(text)
        assert "is " in reason(path)


# Folders ------------------------------------------------------------------------------------------


def test_every_suffix_of_the_table_is_taken(tmp_path):
    for label in ("no", "yes"):
        (tmp_path / label).mkdir()
        for suffix in AUDIO_EXTENSIONS:
            (tmp_path / label / f"a{suffix.upper()}").touch()
    assert len(load_audio_folder(tmp_path).data) == 2 * len(AUDIO_EXTENSIONS)


def test_what_looks_like_audio_and_is_not_taken_is_told(tmp_path):
    (tmp_path / "no").mkdir()
    soundfile.write(tmp_path / "no" / "a.wav", noise(0.1), 16_000)
    for name in ("labels.txt", "photo.jpg", ".hidden.raw"):
        (tmp_path / "no" / name).write_bytes(b"abc")
    (tmp_path / "no" / "photo.webp").write_bytes(b"RIFF\0\1\0\0WEBPVP8 ")
    (tmp_path / "no" / "photo.heic").write_bytes(b"\0\0\0\x18ftypheic\0\0\0\0")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert len(load_audio_folder(tmp_path).data) == 1
    shutil.copy(tmp_path / "no" / "a.wav", tmp_path / "no" / "recording")
    (tmp_path / "no" / "b.RAW").touch()
    (tmp_path / "no" / "c.raw").touch()
    with pytest.warns(UserWarning, match=r"3 files that look like audio.*\.raw \(2\), no suffix"):
        assert len(load_audio_folder(tmp_path).data) == 1


def test_recordings_beside_the_folders_of_classes_are_told(tmp_path):
    for path in ("no/a.wav", "yes/a.wav", "b.wav", "c.m4a", ".hidden.wav", "d.raw", "readme.txt"):
        (tmp_path / path).parent.mkdir(exist_ok=True)
        (tmp_path / path).write_bytes(b"abc")
    (tmp_path / "yes" / "folder.wav").mkdir()
    with pytest.warns(UserWarning, match=r"Recordings that lie in .*: 'b.wav', 'c.m4a', 'd.r"):
        assert len(load_audio_folder(tmp_path).data) == 2
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert len(load_audio_folder(tmp_path, categories=["no"]).data) == 1


@pytest.mark.skipif(os.name == "nt", reason="needs symbolic links")
def test_links_that_lead_back_give_no_recording_twice(tmp_path):
    for name in ("no", "yes"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "a.wav").touch()
    (tmp_path / "no" / "loop").symlink_to(tmp_path / "no")
    (tmp_path / "no" / "up").symlink_to("..")
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "b.wav").touch()
    (tmp_path / "elsewhere" / "back").symlink_to(tmp_path / "yes")
    (tmp_path / "yes" / "linked").symlink_to(tmp_path / "elsewhere")
    data, _ = load_audio_folder(tmp_path, categories=["no", "yes"], return_X_y=True)
    names = [Path(path).relative_to(tmp_path).as_posix() for path in data]
    assert names == ["no/a.wav", "yes/a.wav", "yes/linked/b.wav"]


def test_a_folder_that_cannot_be_opened_is_told(tmp_path, monkeypatch):
    for name in ("no", "yes", "no/closed"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "a.wav").touch()
    scandir = os.scandir

    def refuse(path):
        if Path(path).name == "closed":
            raise PermissionError(13, "Permission denied", str(path))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refuse)
    with pytest.warns(UserWarning, match=r"1 folder below .*no' can't be opened.*closed' \(Perm"):
        assert len(load_audio_folder(tmp_path, return_X_y=True)[0]) == 2


# The guide ----------------------------------------------------------------------------------------


def guide_table():
    """The table of formats: what the tests write and read, and the names that folders know."""
    lines = ["| format | file names | decoded by | tested with |", "| --- | --- | --- | --- |"]
    for what, suffixes, decoder in FORMATS:
        tested = [
            f"{row[1]}" for name, row in RECORDINGS.items() if Path(name).suffix in suffixes.split()
        ]
        tested = ", ".join(dict.fromkeys(codec.lower().removeprefix("lib") for codec in tested))
        names = " ".join(f"`{suffix}`" for suffix in suffixes.split())
        lines.append(f"| {what} | {names} | {decoder} | {tested or '–'} |")
    return "\n".join(lines) + "\n"


def _in_guide(table):
    text = GUIDE.read_text(encoding="utf-8")
    begin, end = text.index("<!-- table -->\n") + 15, text.index("<!-- end of the table -->")
    return text[:begin] + table + text[end:]


def test_the_table_of_the_guide_is_that_of_the_tests():
    assert GUIDE.read_text(encoding="utf-8") == _in_guide(guide_table()), (
        "Run: python tests/test_audio_formats.py"
    )


if __name__ == "__main__":
    GUIDE.write_text(_in_guide(guide_table()), encoding="utf-8")
