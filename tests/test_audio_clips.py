"""Every form of clip comes in; what is no clip is told how to become one."""

import collections.abc
import io
import os
import pickle
import time
import types
from pathlib import Path

import numpy as np
import pytest
import soundfile
from scipy import sparse
from sklearn.utils import Bunch
from sounds import noise, reason, sine, write_av

from skspeech.audio import (
    AudioError,
    Clip,
    Clips,
    as_clips,
    load_waveforms,
)

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
    for a, b in zip(expected, loaded, strict=True):
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


@pytest.mark.parametrize("dtype", ["float32", "float64", "bfloat16", "int16"])
def test_rows_of_a_tensor_are_clips(dtype):
    torch = pytest.importorskip("torch")
    rows = torch.tensor([[0.5, -0.5, 0.25]] * 2).mul(1 if dtype != "int16" else 2**15)
    rows = rows.to(getattr(torch, dtype))
    if rows.is_floating_point():
        rows.requires_grad_()
    for X in (rows, list(rows), [(row, 16_000) for row in rows]):
        np.testing.assert_array_equal(load_waveforms(X), [[0.5, -0.5, 0.25]] * 2)


class Column(collections.abc.Sequence):
    """As a data set gives it: neither a list nor an array."""

    def __init__(self, rows):
        self.rows = rows

    def __len__(self):
        return len(self.rows)

    def __getitem__(self, index):
        return self.rows[index]


class Decoder:
    """As torchcodec's."""

    def __init__(self, channels, rate):
        self.samples = types.SimpleNamespace(data=channels, sample_rate=rate)

    def get_all_samples(self):
        return self.samples


@pytest.mark.parametrize("container", [list, Column, tuple])
def test_rows_of_a_data_set_are_clips(write, container):
    samples = noise(0.1, 8000)
    path = write("a.wav", samples, 8000, subtype="FLOAT")
    content = Path(path).read_bytes()
    expected = load_waveforms([path])[0]
    rows = [
        {"array": samples, "sampling_rate": 8000, "path": "inside.wav"},
        {"array": samples.tolist(), "sampling_rate": 8000, "path": None},
        {"bytes": content, "path": "inside.wav"},
        {"bytes": content, "path": None},
        {"bytes": None, "path": path},
        {"path": path},
        Decoder(np.stack([samples, samples]), 8000),
    ]
    clips = as_clips(container(rows))
    names = ["inside.wav", "clip 1", "inside.wav", "clip 3", path, path, "clip 6"]
    assert [clip.name for clip in clips] == names
    for waveform in load_waveforms(clips):
        np.testing.assert_allclose(waveform, expected, atol=1e-6)


def test_a_data_set_asks_for_its_column():
    table = types.SimpleNamespace(column_names=["audio", "label"])
    with pytest.raises(ValueError, match=r"X\['audio'\]"):
        as_clips(table)


@pytest.mark.parametrize("format", ["WAV", "FLAC", "OGG", "MP3", "m4a", "webm"])
def test_content_and_open_files_are_clips(tmp_path, format):
    path = tmp_path / "a"
    if format.isupper():
        soundfile.write(path, noise(0.5), 16_000, format=format)
    else:
        container, codec = {"m4a": ("ipod", "aac"), "webm": ("webm", "libopus")}[format]
        write_av(path, noise(0.5, 48_000), 48_000, container=container, codec=codec)
    content = path.read_bytes()
    with open(path, "rb") as file:
        clips = as_clips([content, bytearray(content), io.BytesIO(content), file, str(path)])
    names = ["clip 0", "clip 1", "clip 2", str(path), str(path)]
    assert [clip.name for clip in clips] == names
    assert len({clip.key() for clip in clips}) == 1
    assert len({clip.duration() for clip in clips}) == 1
    assert len({clip.sampling_rate for clip in clips}) == 1
    again = pickle.loads(pickle.dumps(clips))
    for waveform in [*load_waveforms(clips), *load_waveforms(again)]:
        np.testing.assert_array_equal(waveform, clips[4].load())
    np.testing.assert_allclose(clips[0].load(0.1, 0.2), clips[4].load(0.1, 0.2))


def test_a_memoryview_is_a_file_or_samples(write):
    path = write("a.wav", noise(0.1), 16_000)
    samples = noise(0.1)
    content = memoryview(Path(path).read_bytes())
    of_file, of_samples = load_waveforms(as_clips([content, memoryview(samples)]))
    np.testing.assert_array_equal(of_file, load_waveforms([path])[0])
    np.testing.assert_array_equal(of_samples, samples)


def test_an_open_file_is_read_from_its_beginning_each_time(write):
    path = write("a.wav", noise(0.1), 16_000)
    expected = load_waveforms([path])
    with open(path, "rb") as file, open(path, "rb", buffering=0) as other:
        other.read(10)
        for item in (file, file, other):
            np.testing.assert_array_equal(load_waveforms([item]), expected)
    reading, writing = os.pipe()
    with open(writing, "wb") as file:
        file.write(Path(path).read_bytes())
    with open(reading, "rb") as file:  # of which there is no beginning to go back to
        np.testing.assert_array_equal(load_waveforms([file]), expected)
        with pytest.raises(AudioError, match=r"read before.* Give its content: file.read\(\)"):
            load_waveforms([file])


def test_content_that_is_no_audio_says_so():
    assert "is an HTML page" in reason(b"<html>" + bytes(99))


@pytest.mark.parametrize("dtype", [object, str, bytes])
def test_one_column_of_paths_in_an_array(dtype):
    clips = as_clips(np.array([["a.wav"], ["b.wav"]], dtype=dtype))
    assert [clip.name for clip in clips] == ["a.wav", "b.wav"]


@pytest.mark.parametrize("dtype", [object, "string", "category"])
def test_one_column_of_paths_in_a_table(dtype):
    pd = pytest.importorskip("pandas")
    clips = as_clips(pd.DataFrame({"path": ["a.wav", "b.wav"]}, dtype=dtype))
    assert [clip.name for clip in clips] == ["a.wav", "b.wav"]


@pytest.mark.parametrize("table", [False, True], ids=["array", "table"])
@pytest.mark.parametrize(
    "make",
    [
        Path,
        lambda path: noise(0.1),
        lambda path: (noise(0.1), 16_000),
        lambda path: {"array": noise(0.1), "sampling_rate": 16_000},
        lambda path: Clip(path),
    ],
    ids=["path", "waveform", "pair", "row", "clip"],
)
def test_one_column_of_anything_that_is_a_clip(write, make, table):
    path = write("a.wav", noise(0.1), subtype="FLOAT")
    column = np.empty((2, 1), dtype=object)
    column[:, 0] = [make(path), make(path)]
    if table:
        column = pytest.importorskip("pandas").DataFrame({"clip": column[:, 0]})
    loaded = load_waveforms(column)
    assert len(loaded) == 2
    for waveform in loaded:
        np.testing.assert_array_equal(waveform, noise(0.1))


@pytest.mark.parametrize("column", [[None, "a.wav"], ["a.wav", None]])
def test_a_path_missing_from_a_column_is_named(column):
    pd = pytest.importorskip("pandas")
    for X in (np.array(column, dtype=object)[:, None], pd.DataFrame({"path": column})):
        with pytest.raises(AudioError, match=rf"1 of 2 .*\s+\[{column.index(None)}\] clip"):
            as_clips(X)


def test_a_table_of_numbers_that_are_missing_says_so():
    pd = pytest.importorskip("pandas")
    table = pd.DataFrame({"0": [0.5, None], "1": pd.array([1, None], dtype="Int64")})
    with pytest.raises(ValueError, match="contains NaN"):
        as_clips(table)


def test_columns_of_polars_and_pyarrow(write):
    path = write("a.wav", noise(0.1))
    pa = pytest.importorskip("pyarrow")
    row = {"bytes": Path(path).read_bytes(), "path": None}
    sound = {"array": [0.1] * 1600, "sampling_rate": 16_000}
    for items in ([path] * 2, [row] * 2, [row["bytes"]] * 2, [[0.1] * 1600] * 2, [sound] * 2):
        column = pa.array(items)
        for X in (column, pa.chunked_array([column[:1], column[1:]]), list(column)):
            assert [len(waveform) for waveform in load_waveforms(X)] == [1600] * 2
    pl = pytest.importorskip("polars")
    for column in (
        pl.Series([path, path]),
        pl.Series([[0.1] * 1600] * 2),
        pl.DataFrame({"p": [path] * 2}),
        pl.Series([row] * 2),
        pl.DataFrame({"audio": [row] * 2}),
        pl.Series([{"array": [0.1] * 1600, "label": 500}] * 2),
    ):
        assert [len(waveform) for waveform in load_waveforms(column)] == [1600] * 2


@pytest.mark.parametrize("number", [np.float64, np.array, "torch"])
def test_a_rate_may_be_what_libraries_call_a_number(number):
    if number == "torch":
        number = pytest.importorskip("torch").tensor
    samples = noise(0.1, 8000)
    rows = [(samples, number(8000)), {"array": samples, "sampling_rate": number(8000)}]
    assert [len(waveform) for waveform in load_waveforms(rows)] == [1600] * 2
    with pytest.raises(AudioError, match=r"is not a sampling rate"):
        load_waveforms([(samples, number(-1))])


def test_channels_of_a_decoder_that_cancel_each_other_are_told():
    samples = noise(0.1)
    with pytest.warns(UserWarning, match="clip 0: has channels in opposite phase"):
        clips = as_clips([Decoder(np.stack([samples, -samples]), 16_000)])
    np.testing.assert_array_equal(clips[0].load(), samples)


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
    for a, b in zip(load_waveforms(clips), load_waveforms(again), strict=True):
        np.testing.assert_array_equal(a, b)
    assert [clip.key() for clip in clips] == [clip.key() for clip in again]
    assert repr(clips) == "<Clips: 2>"
    assert repr(clips[1]) == "<Clip 'clip 1'>"


# Containers that are none -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("X", "error", "message"),
    [
        ("a.wav", ValueError, r"Write \[path\].*rglob\('\*\.wav'\)"),
        (b"a.wav", ValueError, r"Write \[path\]"),
        (Path("a.wav"), ValueError, r"Write \[path\]"),
        (noise(0.1), ValueError, r"Write \[waveform\] if it is one clip, or .* predict_one"),
        ([0.1, 0.2, 0.3], ValueError, r"Write \[waveform\]"),
        (np.array([0.1, 0.2], dtype=object), ValueError, r"Write \[waveform\]"),
        ((noise(0.1), 16_000), ValueError, r"Write \[\(waveform, sampling_rate\)\]"),
        (Clip("a.wav"), ValueError, r"Write \[clip\].*predict_one"),
        ((path for path in ["a.wav"]), TypeError, r"generator.* Give list\(X\)"),
        (iter(["a.wav"]), TypeError, r"Give list\(X\)"),
        ({"a": "a.wav"}, TypeError, r"list\(X.values\(\)\)"),
        ({"audio": [[0.1]], "label": [0]}, TypeError, r"X\['audio'\].*row\['sampling_rate'\]"),
        ({"array": [0.1], "sampling_rate": 8000}, TypeError, r"write \[X\]"),
        (io.BytesIO(b"RIFF"), ValueError, r"Write \[file\]"),
        (b"RIFF\0\0", ValueError, r"Write \[file\]"),
        ({"a": "a.wav"}.values(), TypeError, r"Give list\(X\)"),
        ({"a.wav"}, TypeError, "has no order"),
        (Bunch(data=["a.wav"], target=[0]), TypeError, r"Bunch\. Give its clips: X\['data'\]"),
        (None, TypeError, "NoneType"),
        (7, TypeError, "int"),
        ([], ValueError, r"0 sample\(s\)"),
        (np.array([]), ValueError, r"0 sample\(s\)"),
        (np.empty((0, 100)), ValueError, r"0 sample\(s\)"),
        (np.empty((0, 1), dtype=object), ValueError, r"0 sample\(s\)"),
        (np.empty((3, 0)), ValueError, r"0 feature\(s\)"),
        (np.zeros((2, 2, 100)), ValueError, "dim 3"),
        (np.full((2, 100), np.nan), ValueError, "contains NaN"),
        (np.full((2, 100), np.inf), ValueError, "contains infinity"),
        (np.zeros((2, 100), dtype=complex), ValueError, "Complex data not supported"),
        (np.zeros((2, 100), dtype=bool), ValueError, "booleans"),
        (np.zeros((2, 100), dtype=np.uint64), ValueError, "uint64"),
        (sparse.csr_matrix(np.eye(3)), TypeError, "Sparse data was passed"),
        (sparse.dok_array(np.eye(3)), TypeError, "Sparse data was passed"),
        (as_clips(["a.wav"])[[]], ValueError, r"0 sample\(s\)"),
        (np.ma.masked_less(np.zeros((2, 100)), 1), ValueError, r"masked .* X.filled\(0\)"),
        (np.array([["a.wav", "b.wav"]]), ValueError, r"1-D array: X.ravel\(\)"),
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
        (object(), "is of type object"),
        ({"label": 1}, r"is a dict with the keys 'label' and no recording"),
        ({"audio": {"array": [0.1], "sampling_rate": 8000}}, r"a row of a table.*row\['audio'\]"),
        ({"bytes": b"", "path": "a.wav"}, r"no recording in them.*row\['sampling_rate'\]"),
        ({"array": None, "path": ""}, r"no recording in them.*row\['sampling_rate'\]"),
        ({"array": [0.1, 0.2], "sampling_rate": 0}, "sampling_rate=0"),
        ({"array": [0.1, 0.2], "sample_rate": 8000}, "has 'sample_rate', but no 'sampling_rate'"),
        (io.StringIO("text"), "open as text. Open it with mode 'rb'"),
        (io.TextIOWrapper(io.BytesIO(b"\xff\xfb")), "open as text. Open it with mode 'rb'"),
        (types.SimpleNamespace(read=lambda: noise(0.1)), r"SimpleNamespace, whose read\(\) gives"),
        (io.BytesIO(b""), "is an empty file"),
        ({0.1, 0.2}, "is of type set"),
        (np.array([True, False]), "booleans"),
        ([True, False], "booleans"),
        (np.array([1j]), "complex"),
        (np.array(["a", "b"]), "strings"),
        (["a.wav"], "strings"),
        (("a.wav", 16_000), r"A file knows its own sampling rate.*Pairs are \(waveform, "),
        (np.array([0.1, "x"], dtype=object), "object"),
        (np.array([1], dtype="datetime64[s]"), "datetime64"),
        (np.array([1, 2], dtype=np.uint64), "uint64"),
        ([[0.1, 0.2], [0.3]], "cannot become an array"),
        ((16_000, noise(0.1)), r"Write \(waveform, sampling_rate\)"),
        ((16_000, noise(0.1, channels=2)), r"Write \(waveform, sampling_rate\)"),  # as of SciPy
        (noise(0.1, channels=2), r"mean\(axis=1\) averages 2 channels"),
        (noise(0.1, channels=2).T, r"mean\(axis=0\) averages 2 channels"),
        ((noise(0.1, channels=2), 16_000), r"mean\(axis=1\)"),
        (np.zeros((2, 3, 4)), r"has shape \(2, 3, 4\)"),
        (sparse.csr_matrix(np.eye(3)), "sparse"),
        (np.ma.array([0.1, 0.2], mask=[True, False]), "masked"),
    ],
    ids=lambda value: repr(value)[:25].split(" at ")[0],
)
def test_items_that_are_no_clips(item, message):
    with pytest.raises(AudioError, match=rf"\[1\] clip 1: .*{message}") as caught:
        as_clips([noise(0.1), item])
    assert [position for position, _, _ in caught.value.failures] == [1]


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
    samples = (noise(0.1, scale=1.0) * (1000 if dtype == np.int16 else 1)).astype(dtype)
    before = samples.copy()
    for X in ([samples], samples[None], [(samples, 16_000)]):
        waveform = load_waveforms(X)[0]
        waveform += 1
        np.testing.assert_array_equal(samples, before)
