"""Convert what a user has to clips; :func:`as_clips` lists all accepted forms."""

import collections.abc
import contextlib
import numbers
import os

import numpy as np
from sklearn.utils import check_array

from skspeech._typing import ClipsLike
from skspeech._warning import warn
from skspeech.audio.clips import Clip, Clips
from skspeech.audio.errors import AudioError, first_line, printable
from skspeech.audio.files import OF_FOLDERS
from skspeech.audio.waveforms import SAMPLING_RATE, Mixer, as_float, checked_rate

__all__ = ["as_clips", "is_table", "refuse_single_clip"]


FORMS = (
    "Clips are a list of paths, a list of 1-D waveforms, a list of (waveform, sampling_rate), "
    "a list of {'array': ..., 'sampling_rate': ...}, or a 2-D array with a clip in each row."
)
_ONE = "or ask a classifier by predict_one"
_RATES = ("sample_rate", "samplerate", "frame_rate", "rate", "sr", "fs")  # elsewhere, in a row
_LONGEST_PATH = 4096  # bytes; longer bytes, or bytes with a null in them, are a file's content


def as_clips(X: ClipsLike, *, sampling_rate: float = SAMPLING_RATE) -> Clips:
    """Check the container of clips; decode nothing.

    Parameters
    ----------
    X : list, ndarray, Series, DataFrame, tensor or Clips
        A sequence whose items are any of these, mixed or not:

        ============================================ ===========================================
        item                                         what it is
        ============================================ ===========================================
        str, bytes, :class:`os.PathLike`             path of a file
        bytes, bytearray, an open binary file        the content of a file, from its beginning;
                                                     bytes are content where they can't be a path
        1-D array, list of floats, tensor            waveform of floats in [-1, 1], or integers,
                                                     scaled by the range of their type (int64,
                                                     NumPy's default, is taken as 16 bits)
        ``(waveform, sampling_rate)``                waveform with its own rate
        ``{"array": ..., "sampling_rate": ...}``     the same, as in a Hugging Face data set
        ``{"bytes": ..., "path": ...}``              content of a file, or its path where there
                                                     are no bytes
        an object with ``get_all_samples()``         torchcodec's decoder, as in a newer data set
        :class:`Clip`                                a clip
        ============================================ ===========================================

        Or a 2-D array, tensor or table of numbers with a clip in each row, a table or array with
        one column of any of the above, or :class:`Clips`.
    sampling_rate : float, default=16000
        Samples per second (Hz) of waveforms that come without their own rate.

    Returns
    -------
    Clips
        Waveforms are not copied. Don't change them while you use the clips: features are remembered
        by what they held first.

    Raises
    ------
    TypeError
        If `X` is not a sequence, such as a generator or a dict.
    ValueError
        If `X` is empty, is a single clip, or is a 2-D array with NaN or infinite values.
    AudioError
        If some of its items cannot be clips. Errors *inside* a file or a waveform show when it is
        loaded.

    Examples
    --------
    >>> import numpy as np
    >>> from skspeech.audio import as_clips
    >>> len(as_clips(["a.wav", np.zeros(16000), (np.zeros(8000), 8000)]))
    3
    """
    if isinstance(X, Clips):
        _refuse_empty(X)
        return X
    sampling_rate = checked_rate(sampling_rate)
    refuse_single_clip(X)
    if is_sparse(X):
        check_array(X)  # raises, with advice
    _refuse_unordered(X)
    if not isinstance(X, (list, tuple)):
        X = _from_array_like(X, sampling_rate)
        if isinstance(X, Clips):
            return X
    return _from_list(X, sampling_rate)


def refuse_single_clip(X):
    """If `X` is one clip and not a sequence, raise a ValueError that says what to write instead."""
    if hasattr(X, "read") or _is_content(X):
        raise ValueError(f"Expected a sequence of clips, got a single file. Write [file], {_ONE}.")
    if isinstance(X, (str, bytes, os.PathLike)):
        raise ValueError(
            f"Expected a sequence of clips, got the single path {printable(os.fsdecode(X))!r}. "
            f"Write [path] for one clip, {_ONE}. {OF_FOLDERS}"
        )
    if isinstance(X, Clip):
        raise ValueError(f"Expected a sequence of clips, got a single Clip. Write [clip], {_ONE}.")
    if isinstance(X, tuple) and _looks_like_pair(X):
        raise ValueError(
            "Expected a sequence of clips, got what looks like a single (waveform, sampling_rate). "
            f"Write [(waveform, sampling_rate)], {_ONE}."
        )


def _refuse_empty(X):
    if len(X) == 0:
        raise ValueError("Found array with 0 sample(s): X holds no clips, at least 1 is required.")


def _refuse_unordered(X):
    if isinstance(X, collections.abc.Mapping):
        raise TypeError(f"X is a {type(X).__name__}. {_what_of_mapping(X)} {FORMS}")
    if isinstance(X, collections.abc.Set):
        raise TypeError(f"X is a {type(X).__name__}, which has no order. Give sorted(X). {FORMS}")
    if isinstance(X, (collections.abc.Iterator, collections.abc.ValuesView)):
        raise TypeError(
            f"X is a {type(X).__name__}, which can be read only once. Give list(X): "
            f"paths are not decoded before they are needed. {FORMS}"
        )


def _what_of_mapping(X):
    keys = set(X)
    if keys & {"array", "bytes", "path"}:
        return "If it is one recording, write [X]."
    if {"data", "target"} <= keys:
        return "Give its clips: X['data']."
    example = next((key for key in ("audio", "path", "file") if key in keys), "audio")
    return (
        f"If it is a table, give its column of clips: X[{example!r}], whose rows may be decoded, "
        "(row['array'], row['sampling_rate']), or paths. If each key names a clip, give "
        "list(X.values())."
    )


def _from_array_like(X, sampling_rate):
    """A list of items; or clips already, if `X` is a 2-D array of numbers."""
    if hasattr(X, "column_names") and not hasattr(X, "to_numpy"):
        raise ValueError("X is a data set. Give its column of clips, as in X['audio'].")
    if _is_column_of_structs(X):
        return (X.to_series(0) if hasattr(X, "columns") else X).to_list()
    if hasattr(X, "columns"):
        return _from_table(X, np.asarray(X), sampling_rate)
    if hasattr(X, "to_pylist"):  # a column of pyarrow
        return X.to_pylist()
    X = _off_device(X)
    if not hasattr(X, "__array__"):
        if not isinstance(X, collections.abc.Sequence):
            raise TypeError(f"X is a {type(X).__name__}, no sequence of clips. {FORMS}")
        return list(X)
    if np.ma.is_masked(X):
        raise ValueError("X has masked samples. Fill them first: X.filled(0).")
    X = np.asarray(X)
    if X.ndim == 1 and (len(X) == 0 or X.dtype.kind in "OUST"):
        return X.tolist()
    if X.ndim == 1:
        raise ValueError(_single_waveform_message(f"an array of {X.dtype}"))
    if _is_array_of_pairs(X):
        return [tuple(pair) for pair in X]
    return _from_table(X, X, sampling_rate)


def _is_column_of_structs(X):
    """Whether it is a polars column whose rows have fields, or a table of one such column."""
    is_table = hasattr(X, "columns") and hasattr(X, "to_series")
    kinds = X.dtypes if is_table else [getattr(X, "dtype", None)]
    return len(kinds) == 1 and str(kinds[0]).startswith("Struct(")


def _from_table(X, values, sampling_rate):
    """One clip for each row of numbers, or the items of a single column of anything else."""
    if _holds_more_than_numbers(values):
        if _is_column(values):
            return values.ravel().tolist()
        if hasattr(X, "columns"):
            raise ValueError(
                f"X is a table with {values.shape[1]} columns that hold more than numbers. Give "
                "its column of paths, as in X['path']."
            )
        if values.dtype.kind in "UST":
            raise ValueError(
                f"X is an array of strings of shape {X.shape}. Paths come in a 1-D array: "
                "X.ravel()."
            )
    rows = check_array(X, dtype="numeric", input_name="X")
    if problem := _problem_of_type(rows.dtype):
        raise ValueError(f"X {problem}")
    return Clips([Clip(row, sampling_rate, i) for i, row in enumerate(rows)])


def is_table(X):
    """Whether it has rows and columns of features, and is no single column that holds clips."""
    is_clips = _is_column(X) and _holds_more_than_numbers(np.asarray(X))
    return getattr(X, "ndim", 1) == 2 and not is_clips


def _is_column(X):
    return getattr(X, "ndim", 0) == 2 and X.shape[1] == 1


def _holds_more_than_numbers(values):
    return values.dtype.kind in "OUST" and not all(map(_is_number_or_missing, values.flat))


def _is_number_or_missing(value):
    return value is None or isinstance(value, numbers.Number) or type(value).__name__ == "NAType"


def _is_path(value):
    return isinstance(value, (str, bytes, os.PathLike))


def _off_device(X):
    """A tensor in a form that NumPy can read."""
    if not (hasattr(X, "detach") and hasattr(X, "cpu")):
        return X
    X = X.detach().cpu()
    return X.float() if str(X.dtype) == "torch.bfloat16" else X


def _is_array_of_pairs(X):
    """Whether it is the array that NumPy makes of a list of (waveform, sampling_rate)."""
    is_candidate = X.dtype == object and X.ndim == 2 and X.shape[1] == 2 and len(X) > 0
    return is_candidate and isinstance(X[0, 0], (np.ndarray, list))


def _from_list(items, sampling_rate):
    _refuse_empty(items)
    if isinstance(items[0], numbers.Number) and isinstance(items[-1], numbers.Number):
        raise ValueError(_single_waveform_message("a list of numbers"))
    checked, failures = [], []
    for position, item in enumerate(items):
        if type(item) is str:
            checked.append(item)
            continue
        try:
            checked.append(_as_item(item, sampling_rate, position))
        except ValueError as error:
            failures.append((position, f"clip {position}", str(error)))
    if failures:
        raise AudioError(failures, len(items), FORMS)
    return Clips(checked)


def _single_waveform_message(what):
    return (
        f"Expected a sequence of clips (or a 2D array), got 1D array instead: {what}. Write "
        f"[waveform] if it is one clip, {_ONE}. Reshape your data with X.reshape(1, -1) if it is "
        f"one row. {FORMS}"
    )


def _as_item(item, sampling_rate, position):
    """A path as str, or a Clip; if it can be neither, ValueError with the reason only."""
    if isinstance(item, Clip):
        return item
    if hasattr(item, "as_py"):  # of pyarrow, whose texts NumPy takes for numbers
        item = item.as_py()
    if _is_content(item):
        return _from_content(bytes(item), position)
    if _is_path(item):
        return str(os.fsdecode(item))
    if isinstance(item, collections.abc.Mapping):
        return _from_row(item, sampling_rate, position)
    if hasattr(item, "get_all_samples"):
        samples = item.get_all_samples()
        item = (_mixed(np.asarray(_off_device(samples.data)), position), samples.sample_rate)
    if hasattr(item, "read"):
        return _from_file(item, position)
    if _is_pair(item) and _is_path(item[0]) and isinstance(item[1], numbers.Number):
        raise ValueError(
            "is a pair of a path and a number. A file knows its own sampling rate: give the path "
            "alone. Pairs are (waveform, sampling_rate)."
        )
    if _looks_like_pair(item):
        item, own_rate = item
        sampling_rate = checked_rate(own_rate)
    elif _looks_like_swapped_pair(item):
        raise ValueError("looks like (sampling_rate, waveform). Write (waveform, sampling_rate).")
    return Clip(_as_waveform(item), sampling_rate, position)


def _mixed(channels, position):
    """A waveform from a decoder's output of shape (channels, n_samples) or (n_samples,)."""
    if channels.ndim != 2:
        return channels

    def note(what):
        warn(f"clip {position}: {what}")

    return Mixer(note).mono(as_float(channels.T))


def _is_content(item):
    """Whether it is a file's content and can't be a path."""
    if isinstance(item, memoryview):
        return item.itemsize == 1  # else samples
    if isinstance(item, bytearray):
        return True
    return isinstance(item, bytes) and (len(item) > _LONGEST_PATH or b"\0" in item[:_LONGEST_PATH])


def _from_content(content, name):
    if not content:
        raise ValueError("is an empty file (0 bytes).")
    return Clip(content, None, name)


def _from_file(file, position):
    can_seek = False
    with contextlib.suppress(AttributeError, OSError):
        file.seek(0)
        can_seek = True
    try:
        content = file.read()
    except UnicodeDecodeError:
        content = ""
    if isinstance(content, str):
        raise ValueError(
            "is a file that is open as text. Open it with mode 'rb', or give its path."
        )
    if not isinstance(content, (bytes, bytearray, memoryview)):
        raise ValueError(
            f"is a {type(file).__name__}, whose read() gives no bytes. Give its path, or "
            "(waveform, sampling_rate)."
        )
    if not (content or can_seek):
        raise ValueError(
            "is a stream that is empty, or was read before and can't be read again. Give its "
            "content: file.read()."
        )
    name = getattr(file, "name", None)
    return _from_content(bytes(content), name if isinstance(name, str) else position)


def _from_row(row, sampling_rate, position):
    """A clip from a row of a data set."""
    name = row.get("path")
    own_name = name if isinstance(name, str) and name else position
    if row.get("array") is not None:
        if "sampling_rate" not in row and (others := [key for key in _RATES if key in row]):
            raise ValueError(f"has {others[0]!r}, but no 'sampling_rate', as the key has to be.")
        rate = checked_rate(row.get("sampling_rate", sampling_rate))
        return Clip(_as_waveform(row["array"]), rate, own_name)
    if row.get("bytes"):
        return _from_content(bytes(row["bytes"]), own_name)
    if _is_path(name) and name and row.get("bytes") is None:
        return str(os.fsdecode(name))
    if "audio" in row:
        raise ValueError("is a row of a table. Give what it has as its clip: row['audio'].")
    raise ValueError(
        f"is a {type(row).__name__} with the keys {', '.join(map(repr, list(row)[:9]))} and no "
        "recording in them. Give (row['array'], row['sampling_rate']), the bytes of a file as "
        "{'bytes': ..., 'path': ...}, or a path."
    )


def _is_pair(item):
    return isinstance(item, (tuple, list)) and len(item) == 2


def _looks_like_pair(item):
    """Whether it is meant as (waveform, sampling_rate), right or wrong."""
    if not _is_pair(item):
        return False
    waveform, rate = item
    scalars = (numbers.Number, str, bytes, os.PathLike, Clip)
    others = (list, tuple, os.PathLike, Clip)
    return not isinstance(waveform, scalars) and not isinstance(rate, others) and np.ndim(rate) == 0


def _looks_like_swapped_pair(item):
    return _is_pair(item) and isinstance(item[0], numbers.Number) and np.ndim(item[1]) > 0


def is_sparse(value):
    return hasattr(value, "tocsr") and hasattr(value, "nnz")


def _as_waveform(item):
    """A 1-D numeric array, without a copy where possible; else ValueError with the reason only."""
    if item is None:
        raise ValueError("is None, a missing value. Leave out such rows.")
    if is_sparse(item):
        raise ValueError("is a sparse matrix. Give a dense 1-D array.")
    if np.ma.is_masked(item):
        raise ValueError("has masked samples. Fill them first: waveform.filled(0).")
    try:
        waveform = np.asarray(_off_device(item))
    except Exception as error:
        raise ValueError(f"cannot become an array ({first_line(error)}).") from error
    _check_kind(item, waveform)
    if waveform.ndim == 2 and 1 in waveform.shape:
        waveform = waveform.reshape(-1)
    _check_one_dimension(waveform)
    return waveform


def _check_kind(item, waveform):
    if waveform.ndim == 0:
        is_number = waveform.dtype.kind in "iufcb"
        what = f"the number {item!r}" if is_number else f"of type {type(item).__name__}"
        raise ValueError(f"is {what}, neither a path nor a waveform.")
    if problem := _problem_of_type(waveform.dtype):
        raise ValueError(problem)


def _problem_of_type(dtype):
    if dtype.kind in "UST":
        return "is a sequence of strings. One clip is one path: flatten the nested list."
    if dtype.kind == "c":
        return "holds complex numbers, but audio is real."
    if dtype.kind == "b":
        return "holds booleans, which are no audio."
    if dtype.kind not in "iuf" or dtype == np.uint64:
        return f"holds values of type {dtype}. Convert them to float32."
    return ""


def _check_one_dimension(waveform):
    if waveform.ndim == 1:
        return
    shape = waveform.shape
    hint = ""
    if waveform.ndim == 2:
        axis = 0 if shape[0] <= shape[1] else 1
        hint = (
            f" Mix it down: waveform.mean(axis={axis}) averages {shape[axis]} channels. "
            "If its rows are clips, give them one by one."
        )
    raise ValueError(f"has shape {shape}, but a waveform is 1-D (mono).{hint}")
