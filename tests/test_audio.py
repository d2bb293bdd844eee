"""The door for audio: every form of clip comes in, every bad clip is named, memory is bounded."""

import os
import pickle
import signal
import subprocess
import sys
import textwrap
import threading
import time
import warnings
from pathlib import Path

import joblib
import numpy as np
import pytest
import soundfile
from scipy import sparse
from sklearn.base import clone
from sklearn.exceptions import SkipTestWarning
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer
from sklearn.utils.estimator_checks import check_estimator

from skspeech import audio
from skspeech.audio import (
    AudioError,
    AudioLoader,
    Clip,
    Clips,
    as_clips,
    fix_length,
    in_chunks,
    iter_waveforms,
    load_waveforms,
    window_starts,
)


def noise(seconds, rate=16_000, channels=1, seed=0, scale=0.1):
    shape = (round(seconds * rate), channels) if channels > 1 else round(seconds * rate)
    return (np.random.default_rng(seed).standard_normal(shape) * scale).astype(np.float32)


def sine(seconds, rate, frequency=440.0):
    return (0.5 * np.sin(2 * np.pi * frequency * np.arange(round(seconds * rate)) / rate)).astype(
        np.float32
    )


@pytest.fixture
def write(tmp_path):
    """Write a sound file, return its path."""

    def write(name, samples, rate=16_000, **options):
        path = tmp_path / name
        soundfile.write(path, samples, rate, **options)
        return str(path)

    return write


def reason(item, **options):
    """Why a clip cannot be used; the error must be there."""
    with pytest.raises(AudioError) as caught:
        load_waveforms([item], **options)
    assert len(caught.value.failures) == 1
    return caught.value.failures[0][2]


# Forms of clips -----------------------------------------------------------------------------------


class Custom(os.PathLike):
    def __init__(self, path):
        self.path = path

    def __fspath__(self):
        return self.path


@pytest.mark.parametrize(
    "kind", [str, Path, os.fsencode, np.str_, Custom], ids=lambda k: k.__name__
)
def test_a_path_may_have_any_type(write, kind):
    samples = noise(0.1)
    path = write("a.wav", samples, subtype="FLOAT")
    clips = as_clips([kind(path)])
    assert clips[0].name == path
    assert type(clips[0].name) is str
    np.testing.assert_array_equal(load_waveforms(clips)[0], samples)


@pytest.mark.parametrize("container", ["list", "tuple", "str_array", "object_array", "bytes_array"])
def test_paths_may_come_in_any_sequence(write, container):
    paths = [write(f"{i}.wav", noise(0.1, seed=i), subtype="FLOAT") for i in range(3)]
    make = {
        "list": list,
        "tuple": tuple,
        "str_array": np.array,
        "object_array": lambda p: np.array(p, dtype=object),
        "bytes_array": lambda p: np.array([os.fsencode(path) for path in p]),
    }[container]
    waveforms = load_waveforms(make(paths))
    for i, waveform in enumerate(waveforms):
        np.testing.assert_array_equal(waveform, noise(0.1, seed=i))


@pytest.mark.parametrize("dtype", ["object", "string", "category"])
def test_paths_may_come_in_a_series_with_any_index(write, dtype):
    pd = pytest.importorskip("pandas")
    paths = [write(f"{i}.wav", noise(0.1, seed=i), subtype="FLOAT") for i in range(3)]
    series = pd.Series(paths, index=[7, 3, 5]).astype(dtype)
    assert [clip.name for clip in as_clips(series)] == paths
    np.testing.assert_array_equal(load_waveforms(series)[2], noise(0.1, seed=2))


def test_waveforms_may_come_in_a_series():
    pd = pytest.importorskip("pandas")
    waveforms = [noise(0.1), noise(0.2)]
    loaded = load_waveforms(pd.Series(waveforms, index=["x", "y"]))
    np.testing.assert_array_equal(loaded[1], waveforms[1])


def test_waveforms_of_different_lengths_in_an_object_array():
    waveforms = np.empty(2, dtype=object)
    waveforms[:] = [noise(0.1), noise(0.2)]
    loaded = load_waveforms(waveforms)
    assert [len(w) for w in loaded] == [1600, 3200]
    assert all(w.dtype == np.float32 and w.ndim == 1 for w in loaded)


def test_plain_lists_of_numbers_are_waveforms():
    loaded = load_waveforms([[0.0, 0.5, -0.5], [0.25]])
    np.testing.assert_array_equal(loaded[0], np.float32([0.0, 0.5, -0.5]))
    np.testing.assert_array_equal(loaded[1], np.float32([0.25]))


def test_rows_of_a_2d_array_are_clips():
    X = noise(0.2).reshape(4, -1)
    np.testing.assert_array_equal(np.stack(load_waveforms(X)), X)
    np.testing.assert_array_equal(np.stack(load_waveforms(X.astype(object))), X)


def test_rows_of_a_table_of_numbers_are_clips():
    pd = pytest.importorskip("pandas")
    X = noise(0.2).reshape(4, -1)
    np.testing.assert_array_equal(np.stack(load_waveforms(pd.DataFrame(X))), X)


def test_pairs_bring_their_own_rate():
    pair = (sine(1, 8000), 8000)
    for X in ([pair], (pair,), [list(pair)], [(pair[0], 8000.0)], [(pair[0], np.int64(8000))]):
        np.testing.assert_allclose(
            load_waveforms(X)[0][2000:-2000], sine(1, 16_000)[2000:-2000], atol=1e-4
        )


@pytest.mark.parametrize("seconds", [[0.1, 0.1], [0.1, 0.2]], ids=["equal", "different"])
def test_pairs_in_an_object_array(seconds):
    pairs = [(noise(s, 8000), 8000) for s in seconds]
    expected = load_waveforms(pairs)
    loaded = load_waveforms(np.array(pairs, dtype=object))
    for a, b in zip(expected, loaded):
        np.testing.assert_array_equal(a, b)


def test_forms_may_be_mixed(write):
    path = write("a.wav", noise(0.1))
    clips = as_clips([path, Path(path), noise(0.2), (noise(0.3, 8000), 8000), [0.5, 0.5]])
    names = [path, path, "clip 2", "clip 3", "clip 4"]
    assert [clip.name for clip in clips] == names
    lengths = [1600, 1600, 3200, 4800, 2]
    assert [len(w) for w in load_waveforms(clips)] == lengths
    assert [clip.duration() for clip in clips] == pytest.approx([n / 16_000 for n in lengths])


def test_sampling_rate_is_that_of_bare_waveforms_only(write):
    path = write("a.wav", noise(0.5))
    X = [path, noise(0.5, 8000), (noise(0.5, 48_000), 48_000)]
    assert [len(w) for w in load_waveforms(X, sampling_rate=8000)] == [8000] * 3


def test_a_torch_tensor_is_a_waveform():
    torch = pytest.importorskip("torch")
    waveform = noise(0.1)
    np.testing.assert_array_equal(load_waveforms([torch.from_numpy(waveform)])[0], waveform)
    channels_first = torch.from_numpy(waveform)[None]
    np.testing.assert_array_equal(load_waveforms([channels_first])[0], waveform)


@pytest.mark.parametrize("shape", [(1, -1), (-1, 1)])
def test_one_channel_with_a_second_axis_is_mono(shape):
    waveform = noise(0.1)
    np.testing.assert_array_equal(load_waveforms([waveform.reshape(shape)])[0], waveform)


def test_clips_go_through_unchanged():
    clips = as_clips([noise(0.1), noise(0.2)])
    assert as_clips(clips) is clips
    again = as_clips([clips[1], clips[0]])
    assert [clip.name for clip in again] == ["clip 1", "clip 0"]


def test_a_hundred_thousand_paths_are_light():
    paths = [f"folder/{i}.wav" for i in range(100_000)]
    start = time.perf_counter()
    clips = as_clips(paths)
    assert time.perf_counter() - start < 3  # about 0.01 s
    assert len(clips) == 100_000
    assert clips[99_999].name == "folder/99999.wav"
    assert len(pickle.dumps(clips)) < 1.3 * len(pickle.dumps(paths))


# Clips as a sequence ------------------------------------------------------------------------------


def test_indexing():
    clips = as_clips([f"{i}.wav" for i in range(5)])
    mask = np.array([True, False, False, True, False])

    def names(chosen):
        assert isinstance(chosen, Clips)
        return [clip.name for clip in chosen]

    assert names(clips[1:3]) == ["1.wav", "2.wav"]
    assert names(clips[::-2]) == ["4.wav", "2.wav", "0.wav"]
    assert names(clips[np.array([3, 0])]) == ["3.wav", "0.wav"]
    assert names(clips[[3, -1]]) == ["3.wav", "4.wav"]
    assert names(clips[mask]) == ["0.wav", "3.wav"]
    assert names(clips[[]]) == []
    assert isinstance(clips[np.int64(2)], Clip)
    assert clips[-1].name == "4.wav"
    assert clips[mask][1:].position(0) == 3
    assert len(list(clips)) == 5


@pytest.mark.parametrize("index", [9, [0, 9], [True], [[0]], 1.5, ["a"]])
def test_indexing_with_what_is_no_index(index):
    with pytest.raises(IndexError):
        as_clips(["a.wav", "b.wav"])[index]


def test_errors_of_a_selection_name_positions_in_the_original():
    clips = as_clips([noise(0.1), np.array([]), noise(0.1), np.array([])])
    with pytest.raises(AudioError) as caught:
        load_waveforms(clips[[3, 0]])
    assert [(p, n) for p, n, _ in caught.value.failures] == [(3, "clip 3")]


def test_clips_survive_a_pickle(write):
    clips = as_clips([write("a.wav", noise(0.1)), (noise(0.2, 8000), 8000)])
    again = pickle.loads(pickle.dumps(clips))
    for a, b in zip(load_waveforms(clips), load_waveforms(again)):
        np.testing.assert_array_equal(a, b)
    assert [clip.key() for clip in clips] == [clip.key() for clip in again]
    assert repr(clips) == "<Clips: 2>"
    assert repr(clips[1]) == "<Clip 'clip 1'>"


# Containers that are none -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("X", "error", "message"),
    [
        ("a.wav", ValueError, r"Write \[path\]"),
        (b"a.wav", ValueError, r"Write \[path\]"),
        (Path("a.wav"), ValueError, r"Write \[path\]"),
        (noise(0.1), ValueError, r"Write \[waveform\]"),
        ([0.1, 0.2, 0.3], ValueError, r"Write \[waveform\]"),
        (np.array([0.1, 0.2], dtype=object), ValueError, r"Write \[waveform\]"),
        ((noise(0.1), 16_000), ValueError, r"Write \[\(waveform, sampling_rate\)\]"),
        (Clip("a.wav"), ValueError, r"Write \[clip\]"),
        ((path for path in ["a.wav"]), TypeError, r"generator.* Give list\(X\)"),
        (iter(["a.wav"]), TypeError, r"Give list\(X\)"),
        ({"a": "a.wav"}, TypeError, r"list\(X.values\(\)\)"),
        ({"a": "a.wav"}.values(), TypeError, r"Give list\(X\)"),
        ({"a.wav"}, TypeError, "has no order"),
        (None, TypeError, "NoneType"),
        (7, TypeError, "int"),
        ([], ValueError, r"0 sample\(s\)"),
        (np.array([]), ValueError, r"0 sample\(s\)"),
        (np.empty((0, 100)), ValueError, r"0 sample\(s\)"),
        (np.empty((3, 0)), ValueError, r"0 feature\(s\)"),
        (np.zeros((2, 2, 100)), ValueError, "dim 3"),
        (np.full((2, 100), np.nan), ValueError, "contains NaN"),
        (np.full((2, 100), np.inf), ValueError, "contains infinity"),
        (np.zeros((2, 100), dtype=complex), ValueError, "Complex data not supported"),
        (np.zeros((2, 100), dtype=bool), ValueError, "booleans"),
        (np.zeros((2, 100), dtype=np.uint64), ValueError, "uint64"),
        (sparse.csr_matrix(np.eye(3)), TypeError, "Sparse data was passed"),
        (sparse.dok_array(np.eye(3)), TypeError, "Sparse data was passed"),
        (np.array([["a.wav"], ["b.wav"]]), ValueError, r"1-D array: X.ravel\(\)"),
        (np.array(0.5), ValueError, "scalar"),
    ],
    ids=lambda value: repr(value)[:25] if not isinstance(value, type) else value.__name__,
)
def test_what_is_no_container_of_clips(X, error, message):
    with pytest.raises(error, match=message):
        as_clips(X)


def test_a_table_of_paths_asks_for_its_column():
    pd = pytest.importorskip("pandas")
    with pytest.raises(ValueError, match=r"X\['path'\]"):
        as_clips(pd.DataFrame({"path": ["a.wav"], "label": [1]}))


@pytest.mark.parametrize(
    "rate", [0, -1, np.nan, np.inf, "16000", None, 4e9, True, 16_000j, [16_000]]
)
def test_bad_sampling_rates(rate):
    with pytest.raises(ValueError, match="sampling_rate="):
        as_clips(["a.wav"], sampling_rate=rate)
    if rate != [16_000]:  # two lists are two channels
        with pytest.raises(AudioError, match=r"\[1\] clip 1: sampling_rate=.* 100 to 10,000,000"):
            as_clips([noise(0.1), (noise(0.1), rate)])


@pytest.mark.parametrize(
    ("item", "message"),
    [
        (None, "is None"),
        (np.nan, "is the number nan"),
        (3, "is the number 3"),
        (object(), "is a object"),
        ({"path": "a.wav"}, "is a dict"),
        ({0.1, 0.2}, "is a set"),
        (np.array([True, False]), "booleans"),
        ([True, False], "booleans"),
        (np.array([1j]), "complex"),
        (np.array(["a", "b"]), "strings"),
        (["a.wav"], "strings"),
        (("a.wav", 16_000), "strings"),
        (np.array([0.1, "x"], dtype=object), "object"),
        (np.array([1], dtype="datetime64[s]"), "datetime64"),
        (np.array([1, 2], dtype=np.uint64), "uint64"),
        ([[0.1, 0.2], [0.3]], "cannot become an array"),
        ((16_000, noise(0.1)), r"Write \(waveform, sampling_rate\)"),
        (noise(0.1, channels=2), r"mean\(axis=1\) averages 2 channels"),
        (noise(0.1, channels=2).T, r"mean\(axis=0\) averages 2 channels"),
        ((noise(0.1, channels=2), 16_000), r"mean\(axis=1\)"),
        (np.zeros((2, 3, 4)), r"has shape \(2, 3, 4\)"),
        (sparse.csr_matrix(np.eye(3)), "sparse"),
        (np.ma.array([0.1, 0.2], mask=[True, False]), "masked"),
    ],
    ids=lambda value: repr(value)[:25],
)
def test_items_that_are_no_clips(item, message):
    with pytest.raises(AudioError, match=rf"\[1\] clip 1: .*{message}") as caught:
        as_clips([noise(0.1), item])
    assert [position for position, _, _ in caught.value.failures] == [1]


def test_an_open_file_is_no_clip(write):
    path = write("a.wav", noise(0.1))
    with open(path, "rb") as file, pytest.raises(AudioError, match=r"soundfile.read\(file\)"):
        as_clips([file])


def test_a_missing_value_in_a_column_of_paths():
    pd = pytest.importorskip("pandas")
    with pytest.raises(AudioError, match=r"\[1\] clip 1: ") as caught:
        as_clips(pd.Series(["a.wav", None, pd.NA, np.nan]))
    assert [position for position, _, _ in caught.value.failures] == [1, 2, 3]


# Types of samples ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("dtype", "values", "expected"),
    [
        (np.int8, [-128, 0, 64], [-1, 0, 0.5]),
        (np.uint8, [0, 128, 192], [-1, 0, 0.5]),
        (np.int16, [-(2**15), 0, 2**14], [-1, 0, 0.5]),
        (np.uint16, [0, 2**15, 3 * 2**14], [-1, 0, 0.5]),
        (np.int32, [-(2**31), 0, 2**30], [-1, 0, 0.5]),
        (np.uint32, [0, 2**31, 3 * 2**30], [-1, 0, 0.5]),
        (np.int64, [-(2**15), 0, 2**14], [-1, 0, 0.5]),
        (np.float16, [-1, 0, 0.5], [-1, 0, 0.5]),
        (np.float32, [-1, 0, 0.5], [-1, 0, 0.5]),
        (np.float64, [-1, 0, 0.5], [-1, 0, 0.5]),
        (np.longdouble, [-1, 0, 0.5], [-1, 0, 0.5]),
        (">i2", [-(2**15), 0, 2**14], [-1, 0, 0.5]),
        (">f4", [-1, 0, 0.5], [-1, 0, 0.5]),
    ],
)
def test_integers_are_scaled_by_their_type(dtype, values, expected):
    waveform = load_waveforms([np.array(values, dtype=dtype)])[0]
    np.testing.assert_array_equal(waveform, np.float32(expected))
    rows = load_waveforms(np.array([values], dtype=dtype))
    np.testing.assert_array_equal(rows[0], np.float32(expected))


def test_64_bit_integers_beyond_16_bits_have_no_scale():
    assert "full scale is unknown" in reason(np.array([0, 40_000]))


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
    monkeypatch.setattr(audio, "_BLOCK_SIZE", 10_001)
    for expected, waveform in zip(whole, load_waveforms(X)):
        np.testing.assert_allclose(waveform, expected, atol=1e-6)


# Memory layouts; the caller's samples stay as they are --------------------------------------------


def _memmap(tmp_path, samples):
    mapped = np.memmap(tmp_path / "samples", dtype=samples.dtype, mode="w+", shape=samples.shape)
    mapped[:] = samples
    mapped.flush()
    return np.memmap(tmp_path / "samples", dtype=samples.dtype, mode="r", shape=samples.shape)


def _read_only(samples):
    samples = samples.copy()
    samples.flags.writeable = False
    return samples


@pytest.mark.parametrize("rate", [16_000, 8000])
@pytest.mark.parametrize("layout", ["memmap", "read_only", "reversed", "strided"])
def test_layouts(tmp_path, layout, rate):
    samples = noise(0.1, rate)
    item = {
        "memmap": lambda: _memmap(tmp_path, samples),
        "read_only": lambda: _read_only(samples),
        "reversed": lambda: samples[::-1].copy()[::-1],
        "strided": lambda: np.column_stack([samples, samples])[:, 0],
    }[layout]()
    expected = load_waveforms([(samples, rate)])[0]
    np.testing.assert_array_equal(load_waveforms([(item, rate)])[0], expected)
    np.testing.assert_array_equal(np.asarray(item), samples)
    assert as_clips([(item, rate)])[0].key() == as_clips([(samples, rate)])[0].key()


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.int16])
def test_a_loaded_waveform_is_nobody_elses(dtype):
    samples = (noise(0.1) * 1000).astype(dtype)
    before = samples.copy()
    for X in ([samples], samples[None], [(samples, 16_000)]):
        waveform = load_waveforms(X)[0]
        waveform += 1
        np.testing.assert_array_equal(samples, before)


# Bad clips ----------------------------------------------------------------------------------------


def test_missing_file(tmp_path):
    assert reason(str(tmp_path / "none.wav")) == "no such file."


def test_missing_relative_path_tells_where_it_looked(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert reason("none.wav") == f"no such file (looked in {tmp_path})."


def test_folder(tmp_path):
    assert "is a folder" in reason(tmp_path)


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


@pytest.mark.parametrize("content", [b"just some text\n", b"\0" * 1000, b"RIFF", b"\xff" * 64])
def test_file_that_is_no_audio(tmp_path, content):
    path = tmp_path / "a.wav"
    path.write_bytes(content)
    message = reason(path)
    assert "is not audio that libsndfile can read" in message
    assert repr(content[:16]) in message


def test_corrupt_header(write):
    path = Path(write("a.wav", noise(1)))
    content = bytearray(path.read_bytes())
    content[20:36] = b"\xff" * 16
    path.write_bytes(content)
    assert "libsndfile" in reason(path)


@pytest.mark.parametrize("suffix", [".m4a", ".wma", ".aac", ".webm", ".MP4"])
def test_format_that_needs_conversion(tmp_path, suffix):
    path = tmp_path / f"a{suffix}"
    path.write_bytes(b"not that it matters" * 10)
    assert f"ffmpeg -i input{suffix.lower()} output.wav" in reason(path)


@pytest.mark.parametrize(
    ("start", "suffix"),
    [
        (b"\0\0\0\x20ftypM4A ", ".m4a"),
        (b"\x30\x26\xb2\x75\x8e\x66\xcf\x11", ".wma"),
        (b"\x1a\x45\xdf\xa3", ".webm"),
        (b"#!AMR\n", ".amr"),
    ],
)
def test_foreign_format_behind_a_wav_suffix(tmp_path, start, suffix):
    path = tmp_path / "a.wav"
    path.write_bytes(start + bytes(200))
    assert f"ffmpeg -i input{suffix} " in reason(path)


def test_truncated_wav_works_with_what_is_there(write):
    samples = noise(1)
    path = Path(write("a.wav", samples, subtype="FLOAT"))
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])
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


def test_damaged_flac_is_refused(write):
    path = Path(write("a.flac", noise(2)))
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])
    assert "is damaged or cut off after" in reason(path)


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
    unscaled = samples * 2**15
    np.testing.assert_array_equal(load_waveforms([unscaled])[0], unscaled.astype(np.float32))


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
            (waveform,) = load_waveforms([path], max_duration=max_duration)
        except AudioError as error:
            reasons.append(error.failures[0][2])
        else:
            assert waveform.ndim == 1
            assert len(waveform) > 0
            assert np.isfinite(waveform).all()
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
    monkeypatch.setattr(audio, "MAX_CLIP_DURATION", 2.0)
    assert "lasts" in reason(path)


def test_too_many_samples_to_decode(write, monkeypatch):
    path = write("a.wav", noise(1, channels=2))
    monkeypatch.setattr(audio, "_MAX_DECODED_SIZE", 31_999)
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


def test_an_hour_takes_the_memory_of_its_result_only(write):
    path = write("hour.wav", np.zeros(3600 * 8000, dtype=np.int16), 8000)
    code = f"""
        import resource, soundfile, soxr
        from skspeech.audio import as_clips
        as_clips([{path!r}])[0].load(max_duration=60)
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        waveform = as_clips([{path!r}])[0].load()
        after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        print(len(waveform), (after - before) * 1024 / waveform.nbytes)
    """
    pytest.importorskip("resource")
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)], capture_output=True, text=True, check=True
    )
    n_samples, ratio = done.stdout.split()
    assert int(n_samples) == 3600 * 16_000
    assert float(ratio) < 1.1 if sys.platform == "linux" else True


# Errors -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("n_jobs", [1, 2, None, -1])
def test_one_error_names_all_bad_clips(write, tmp_path, n_jobs):
    good = write("good.wav", noise(0.1))
    X = [good, str(tmp_path / "none.wav"), noise(0.1), np.array([np.nan]), tmp_path, good]
    with pytest.raises(AudioError) as caught:
        load_waveforms(X, n_jobs=n_jobs)
    failures = caught.value.failures
    assert [(p, n) for p, n, _ in failures] == [(1, X[1]), (3, "clip 3"), (4, str(tmp_path))]
    message = str(caught.value)
    assert message.startswith("3 of 6 clips cannot be used:")
    for position, name, why in failures:
        assert f"  [{position}] {name}: {why}" in message
    assert message.endswith("errors='warn'.")


def test_a_long_list_of_bad_clips_is_cut_in_the_message_only():
    with pytest.raises(AudioError) as caught:
        load_waveforms([np.array([])] * 50)
    assert len(caught.value.failures) == 50
    assert "... and 30 more" in str(caught.value)
    assert str(caught.value).count("is empty") == 20


def test_the_error_survives_a_pickle():
    with pytest.raises(AudioError) as caught:
        load_waveforms([np.array([])])
    again = pickle.loads(pickle.dumps(caught.value))
    assert str(again) == str(caught.value)
    assert again.failures == caught.value.failures
    assert again.n_clips == 1


@pytest.mark.parametrize(
    "name", ["new\nline.wav", "ünïcödé 🎵.wav", "\udcff\udcfe.wav", "tab\t\x1b[31m.wav", "é.wav"]
)
def test_any_file_name_can_be_loaded_and_printed(write, tmp_path, name):
    path = str(tmp_path / name)
    try:
        os.rename(write("a.wav", noise(0.1)), path)
    except (OSError, UnicodeEncodeError) as error:
        pytest.skip(f"this file system has no such names: {error}")
    assert len(load_waveforms([path])[0]) == 1600
    Path(path).write_bytes(b"no audio")
    with pytest.raises(AudioError) as caught:
        load_waveforms([path])
    assert caught.value.failures[0][1] == path
    message = str(caught.value)
    message.encode("utf-8")
    assert "\x1b" not in message
    assert len(message.splitlines()) == 3
    with pytest.raises(ValueError, match="single path"):
        as_clips(path)


def test_a_very_long_name_is_shortened():
    with pytest.raises(AudioError) as caught:
        load_waveforms(["x" * 100_000])
    assert len(str(caught.value)) < 1000


@pytest.mark.parametrize("n_jobs", [1, 2])
@pytest.mark.parametrize("bad", [0, 1, 3])
def test_silence_and_one_warning_in_place_of_bad_clips(n_jobs, bad):
    X = [noise(0.1), noise(0.2), noise(0.3), noise(0.4)]
    X[bad] = X[bad] * np.nan
    with pytest.warns(UserWarning, match="Silence took their place") as caught:
        waveforms = load_waveforms([*X, np.array([])], errors="warn", n_jobs=n_jobs)
    assert len(caught) == 1
    assert f"[{bad}] clip {bad}: " in str(caught[0].message)
    assert "[4] clip 4: is empty" in str(caught[0].message)
    for index in range(5):
        expected = np.zeros(16_000) if index in (bad, 4) else X[index]
        np.testing.assert_array_equal(waveforms[index], expected)


def test_no_warning_where_nothing_is_bad():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        load_waveforms([noise(0.1)], errors="warn")


def test_silence_has_the_target_rate():
    with pytest.warns(UserWarning, match="1 of 1 clip cannot"):
        waveforms = load_waveforms([np.array([])], errors="warn", target_sampling_rate=8000)
    assert len(waveforms[0]) == 8000


def test_nothing_is_yielded_after_the_first_bad_clip():
    waveforms = iter_waveforms([noise(0.1), np.array([]), noise(0.1)])
    assert next(waveforms)[0] == 0
    with pytest.raises(AudioError):
        next(waveforms)


def test_bad_choice_of_errors():
    with pytest.raises(ValueError, match="errors='ignore' must be 'raise' or 'warn'"):
        iter_waveforms([noise(0.1)], errors="ignore")


# Decoding ahead -----------------------------------------------------------------------------------


def _decoding_threads():
    return [t for t in threading.enumerate() if t.name.startswith("skspeech-decode")]


class Counted(Clip):
    """A clip that counts how often any of its kind is loaded, and can have a fault of its own."""

    __slots__ = ("fault", "log")

    def __init__(self, source, log, fault=None):
        super().__init__(source, 16_000)
        self.log = log
        self.fault = fault

    def _load(self, *args):
        if self.fault:
            raise self.fault
        waveform = super()._load(*args)
        self.log.append(1)
        return waveform


def _wait_until_stable(log):
    n_seen = -1
    while n_seen != len(log):
        n_seen = len(log)
        time.sleep(0.2)
    return n_seen


@pytest.mark.parametrize("n_jobs", [1, 2, 4, None, -1])
def test_waveforms_come_in_order_whatever_the_threads(write, n_jobs):
    lengths = np.random.default_rng(0).uniform(0.001, 0.5, 60)
    X = [noise(s, 8000, seed=i) for i, s in enumerate(lengths)]
    X = [write(f"{i}.wav", x, 8000) if i % 2 else (x, 8000) for i, x in enumerate(X)]
    expected = [clip.load() for clip in as_clips(X)]
    indices = []
    for index, waveform in iter_waveforms(X, n_jobs=n_jobs):
        indices.append(index)
        np.testing.assert_array_equal(waveform, expected[index])
    assert indices == list(range(60))
    assert not _decoding_threads()


def test_decoding_goes_ahead_but_not_too_far():
    log = []
    clips = Clips([Counted(noise(1), log) for _ in range(50)])
    waveforms = iter_waveforms(clips, n_jobs=2, prefetch_seconds=10.0)
    for taken in range(1, 4):
        next(waveforms)
        assert _wait_until_stable(log) in range(taken + 10, taken + 12)
    waveforms.close()


def test_clips_longer_than_the_limit_come_one_by_one():
    log = []
    clips = Clips([Counted(noise(5), log) for _ in range(6)])
    waveforms = iter_waveforms(clips, n_jobs=3, prefetch_seconds=1.0)
    next(waveforms)
    assert _wait_until_stable(log) <= 2
    assert len(list(waveforms)) == 5


@pytest.mark.parametrize("prefetch_seconds", [0.0, 0.3, 1.5])
def test_any_mixture_of_lengths_gets_through(prefetch_seconds):
    lengths = np.random.default_rng(1).choice([0.01, 0.2, 2.0], 100)
    waveforms = iter_waveforms(
        [np.zeros(round(16_000 * s)) for s in lengths], n_jobs=4, prefetch_seconds=prefetch_seconds
    )
    assert [len(w) for _, w in waveforms] == [round(16_000 * s) for s in lengths]


def test_closing_early_stops_the_threads():
    log = []
    clips = Clips([Counted(noise(1), log) for _ in range(1000)])
    waveforms = iter_waveforms(clips, n_jobs=4, prefetch_seconds=5.0)
    next(waveforms)
    assert _decoding_threads()
    waveforms.close()
    assert not _decoding_threads()
    assert len(log) < 20


def test_forgetting_the_generator_stops_the_threads():
    waveforms = iter_waveforms([noise(1)] * 1000, n_jobs=2, prefetch_seconds=5.0)
    next(waveforms)
    del waveforms
    assert not _decoding_threads()


def test_an_error_of_the_consumer_stops_the_threads():
    def consume():
        for _ in iter_waveforms([noise(1)] * 100, n_jobs=2, prefetch_seconds=5.0):
            raise KeyError("mine")

    with pytest.raises(KeyError, match="mine"):
        consume()
    assert not _decoding_threads()


@pytest.mark.parametrize("n_jobs", [1, 2])
@pytest.mark.parametrize("fault", [RuntimeError("a bug"), MemoryError("full")])
def test_what_is_not_the_clips_fault_is_raised_as_it_is(n_jobs, fault):
    clips = Clips([Counted(noise(0.1), []), Counted(noise(0.1), [], fault)])
    with pytest.raises(type(fault), match=str(fault)):
        load_waveforms(clips, n_jobs=n_jobs)
    assert not _decoding_threads()


@pytest.mark.skipif(os.name == "nt", reason="needs POSIX signals")
def test_ctrl_c_ends_at_once():
    code = """
        import signal, time, numpy as np
        from skspeech.audio import iter_waveforms
        signal.signal(signal.SIGINT, signal.default_int_handler)  # ignored in a shell's background
        for index, _ in iter_waveforms([np.zeros(160_000)] * 10_000, n_jobs=3):
            if index == 3:
                print("ready", flush=True)
            time.sleep(0.1)
    """
    process = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(code)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdout.readline() == "ready\n"
        process.send_signal(signal.SIGINT)
        _, stderr = process.communicate(timeout=30)
    finally:
        process.kill()
    assert stderr.rstrip().endswith("KeyboardInterrupt")
    assert stderr.count("Traceback") == 1


def test_the_first_result_does_not_wait_for_the_last():
    started = []

    class Blocking(Clip):
        def _load(self, *args):
            if self._position:
                started.append(1)
                release.wait(30)
            return super()._load(*args)

    release = threading.Event()
    clips = Clips([Blocking(noise(0.1), 16_000, position) for position in range(4)])
    waveforms = iter_waveforms(clips, n_jobs=4)
    index, _ = next(waveforms)
    release.set()
    assert index == 0
    assert len(list(waveforms)) == 3


def test_n_jobs_zero_is_refused():
    with pytest.raises(ValueError, match="n_jobs"):
        load_waveforms([noise(0.1)] * 2, n_jobs=0)


def test_in_worker_processes(write):
    paths = [write(f"{i}.wav", noise(0.1, seed=i)) for i in range(4)]
    clips = as_clips(paths)
    loaded = joblib.Parallel(n_jobs=2)(
        joblib.delayed(load_waveforms)(clips[i : i + 2]) for i in (0, 2)
    )
    assert [len(w) for part in loaded for w in part] == [1600] * 4


# Keys ---------------------------------------------------------------------------------------------


def test_a_key_names_the_content_of_a_file(write, tmp_path):
    a = write("a.wav", noise(0.1))
    b = write("b.wav", noise(0.1))
    c = write("c.wav", noise(0.1, seed=1))
    keys = [clip.key() for clip in as_clips([a, b, c, Path(a)])]
    assert keys[0] == keys[1] == keys[3] != keys[2]
    assert all(len(key) == 32 and set(key) <= set("0123456789abcdef") for key in keys)


def test_a_key_names_samples_type_and_rate():
    samples = (noise(0.1) * 1000).astype(np.int16)
    changed = samples.copy()
    changed[5] += 1
    items = [samples, samples.copy(), changed, samples.astype(np.int32), samples[:-1]]
    keys = [clip.key() for clip in as_clips([*items, (samples, 8000), (samples, 16_000)])]
    assert keys[0] == keys[1] == keys[6]
    assert len(set(keys)) == 5


def test_a_file_is_read_for_its_key_only_once(write, monkeypatch):
    path = write("a.wav", noise(0.1))
    an_hour_ago = time.time() - 3600
    os.utime(path, (an_hour_ago, an_hour_ago))
    first = as_clips([path])[0].key()
    monkeypatch.setattr(audio, "_digest_file", None)
    assert as_clips([path])[0].key() == first
    monkeypatch.chdir(os.path.dirname(path))
    assert as_clips(["a.wav"])[0].key() == first


def test_a_changed_file_has_another_key(write):
    path = write("a.wav", noise(0.1))
    seen = {as_clips([path])[0].key()}
    for seed in (1, 2, 3):  # of equal size, within the resolution of the file system's clock
        write("a.wav", noise(0.1, seed=seed))
        seen.add(as_clips([path])[0].key())
    assert len(seen) == 4
    an_hour_ago = time.time() - 3600
    os.utime(path, (an_hour_ago, an_hour_ago))
    known = as_clips([path])[0].key()
    write("a.wav", noise(0.1, seed=4))
    assert as_clips([path])[0].key() != known


def test_the_key_of_a_clip_stays(write):
    path = write("a.wav", noise(0.1))
    clip = as_clips([path])[0]
    before = clip.key()
    os.remove(path)
    assert clip.key() == before


def test_no_key_for_what_cannot_be_read(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"^no such file\.$"):
        as_clips([tmp_path / "none.wav"])[0].key()
    with pytest.raises(IsADirectoryError):
        as_clips([tmp_path])[0].key()


def test_the_memory_for_keys_is_bounded(write):
    keys = audio._FileKeys(max_files=2)
    an_hour_ago = time.time() - 3600
    for i in range(4):
        path = write(f"{i}.wav", noise(0.1, seed=i))
        os.utime(path, (an_hour_ago, an_hour_ago))
        keys.get(path)
    assert len(keys._known) == 2


# Lengths and windows ------------------------------------------------------------------------------


def test_fix_length():
    waveform = np.arange(5, dtype=np.float32)
    np.testing.assert_array_equal(fix_length(waveform, 3), [0, 1, 2])
    np.testing.assert_array_equal(fix_length(waveform, 5), waveform)
    tiled = fix_length(waveform, 12)
    np.testing.assert_array_equal(tiled, [0, 1, 2, 3, 4, 0, 1, 2, 3, 4, 0, 1])
    assert tiled.dtype == np.float32
    np.testing.assert_array_equal(waveform, np.arange(5))
    with pytest.raises(ValueError, match="cannot be repeated"):
        fix_length(np.array([]), 3)


@pytest.mark.parametrize("n_samples", [1, 9, 10, 11, 14, 15, 16, 100, 101])
@pytest.mark.parametrize("hop", [1, 3, 5, 10, 12])
def test_windows_cover_the_clip(n_samples, hop):
    window = 10
    starts = window_starts(n_samples, window, hop)
    assert starts.dtype.kind == "i"
    assert starts[0] == 0
    if n_samples <= window:
        assert len(starts) == 1
        return
    assert starts[-1] + window == n_samples
    np.testing.assert_array_equal(starts[:-1], np.arange(len(starts) - 1) * hop)
    assert np.all(np.diff(starts) > 0)
    assert np.all(np.diff(starts) <= hop)


@pytest.mark.parametrize(("window", "hop"), [(0, 1), (1, 0), (-5, 2)])
def test_windows_need_samples(window, hop):
    with pytest.raises(ValueError, match="at least one sample"):
        window_starts(100, window, hop)


# AudioLoader --------------------------------------------------------------------------------------


def mean_and_spread(waveforms):
    return np.array([[w.mean(), w.std()] for w in waveforms])


@pytest.mark.parametrize("seconds", [[0.1, 0.1], [0.1, 0.2]], ids=["equal", "different"])
def test_loader_returns_an_object_array(seconds):
    X = [noise(s) for s in seconds]
    waveforms = AudioLoader().fit_transform(X)
    assert waveforms.shape == (2,)
    assert waveforms.dtype == object
    for waveform, expected in zip(waveforms, X):
        assert waveform.dtype == np.float32
        np.testing.assert_array_equal(waveform, expected)
    twice = AudioLoader().transform(waveforms)
    np.testing.assert_array_equal(twice[1], X[1])


def test_loader_passes_its_parameters_on(write):
    X = [write("a.wav", noise(2)), noise(2, 8000), np.array([])]
    loader = AudioLoader(
        sampling_rate=8000, target_sampling_rate=4000, max_duration=0.5, n_jobs=2, errors="warn"
    )
    with pytest.warns(UserWarning, match="1 of 3 clips"):
        waveforms = loader.transform(X)
    assert [len(w) for w in waveforms] == [2000, 2000, 4000]


def test_loader_in_a_searched_pipeline(write):
    loud = [write(f"loud{i}.wav", noise(0.1, seed=i, scale=0.2)) for i in range(8)]
    soft = [(noise(0.1, 8000, seed=i, scale=0.02), 8000) for i in range(8)]
    y = ["loud"] * 8 + ["soft"] * 8
    pipeline = make_pipeline(
        AudioLoader(), FunctionTransformer(mean_and_spread), LogisticRegression(C=1e4)
    )
    search = GridSearchCV(pipeline, {"audioloader__max_duration": [0.01, None]}, cv=2, n_jobs=2)
    search.fit(loud + soft, y)
    assert search.best_score_ == 1
    assert pickle.loads(pickle.dumps(search)).predict([loud[0], soft[0]]).tolist() == [
        "loud",
        "soft",
    ]
    search.fit(as_clips(loud + soft), y)
    assert search.predict(as_clips(soft)).tolist() == ["soft"] * 8


def test_loader_is_cloned_pickled_and_set():
    loader = AudioLoader(max_duration=2, errors="warn")
    assert clone(loader).get_params() == loader.get_params()
    assert pickle.loads(pickle.dumps(loader)).get_params() == loader.get_params()
    assert loader.set_params(n_jobs=2).n_jobs == 2
    assert repr(loader) == "AudioLoader(errors='warn', max_duration=2, n_jobs=2)"


@pytest.mark.parametrize(
    "params",
    [
        {"sampling_rate": 0},
        {"sampling_rate": "16000"},
        {"target_sampling_rate": np.nan},
        {"max_duration": 0},
        {"n_jobs": 1.5},
        {"errors": "ignore"},
    ],
)
def test_loader_checks_its_parameters(params):
    (name,) = params
    loader = AudioLoader(**params)
    with pytest.raises(ValueError, match=f"The '{name}' parameter of AudioLoader must be"):
        loader.fit([noise(0.1)])
    with pytest.raises(ValueError, match=f"The '{name}' parameter of AudioLoader must be"):
        loader.transform([noise(0.1)])


def test_loader_fits_without_decoding():
    assert isinstance(AudioLoader().fit(["not-there.wav"]), AudioLoader)
    with pytest.raises(AudioError):
        AudioLoader().fit(["not-there.wav", None])


class StackedLoader(AudioLoader):
    """scikit-learn's checks compare results as numbers, which object arrays do not allow."""

    def transform(self, X):
        return np.stack(super().transform(X))

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.transformer_tags.preserves_dtype = ["float32"]
        return tags


def test_loader_passes_the_checks_of_scikit_learn():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", SkipTestWarning)
        results = check_estimator(
            StackedLoader(),
            expected_failed_checks={
                "check_n_features_in_after_fitting": "clips may differ in length from call to call"
            },
        )
    assert sum(result["status"] == "passed" for result in results) >= 43


# Real recordings ----------------------------------------------------------------------------------


@pytest.mark.data
@pytest.mark.parametrize(
    ("folder", "n_clips"), [("fsdd/recordings", 3000), ("emodb/wav", 535)], ids=["fsdd", "emodb"]
)
def test_real_recordings(data_home, folder, n_clips):
    paths = sorted((data_home / folder).glob("*.wav"))
    assert len(paths) == n_clips
    clips = as_clips(paths)
    n_seen = 0
    for index, waveform in iter_waveforms(clips):
        assert len(waveform) == pytest.approx(clips[index].duration() * 16_000, abs=1)
        assert 0.001 < np.abs(waveform).max() <= 1.1
        n_seen += 1
    assert n_seen == n_clips


def test_chunks_hold_all_waveforms_in_order_and_no_more_seconds_than_asked_but_one_clip():
    waveforms = [np.full(n, n) for n in (8000, 8000, 50_000, 100, 100)]

    chunks = list(in_chunks(iter(waveforms), 1.0))

    assert [[len(waveform) for waveform in chunk] for chunk in chunks] == [
        [8000, 8000],
        [50_000],
        [100, 100],
    ]
    assert list(in_chunks([], 1.0)) == []
