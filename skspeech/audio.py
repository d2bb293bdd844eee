"""The one door for audio: what a clip is, and how it becomes a waveform.

Everything that takes clips takes the forms of :func:`as_clips`, and gets the same from here:
1-D float32 mono waveforms at 16 kHz, decoded when they are needed, in threads, in order.
"""

import collections
import collections.abc
import concurrent.futures
import contextlib
import copy
import functools
import hashlib
import math
import numbers
import os
import stat
import threading
import time
import warnings

import joblib
import numpy as np
import soundfile
import soxr
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.utils import check_array
from sklearn.utils.validation import validate_data

from skspeech._sklearn import Interval, StrOptions, _fit_context

__all__ = [
    "MAX_CLIP_DURATION",
    "SAMPLING_RATE",
    "AudioError",
    "AudioLoader",
    "Clip",
    "Clips",
    "as_clips",
    "fix_length",
    "iter_waveforms",
    "load_waveforms",
    "window_starts",
]

SAMPLING_RATE = 16_000
"""Samples per second of every waveform inside skspeech (Hz)."""

MAX_CLIP_DURATION = 6 * 3600.0
"""A clip longer than this (seconds) is refused, unless `max_duration` says how much to read."""

_RATE_LIMITS = (100.0, 10_000_000.0)
# Float samples are meant to lie in [-1, 1]. Unscaled 32-bit integers stored as floats still work;
# far beyond that, the power of a spectrum overflows float32, and features become infinite or NaN.
_MAX_AMPLITUDE = 2.0**32
# A small compressed file can hold hours of many channels at a high rate. Decoding is cut into
# blocks, so this bounds time, not memory: 6 hours of 8 channels at 48 kHz just pass.
_MAX_DECODED_SIZE = 2**33
_BLOCK_SIZE = 2**19  # samples decoded at once, all channels together
_RESAMPLING_MARGIN = 256  # samples at the lower rate; the filter's half length is below 100
_UNKNOWN_LENGTH = 2**62  # libsndfile announces about 2**63 frames where the header has no length
# Where libsndfile finds any sample exactly; in MP3 and Vorbis it is off by up to thousands.
_EXACTLY_SEEKABLE = frozenset(
    ("PCM_S8", "PCM_U8", "PCM_16", "PCM_24", "PCM_32", "FLOAT", "DOUBLE", "ULAW", "ALAW", "OPUS")
)
_MAX_LISTED_FAILURES = 20
_SHORT_NAME = 300  # characters of a name that a message shows


# What a clip is -----------------------------------------------------------------------------------


class AudioError(ValueError):
    """Some clips cannot be used; one error names all bad clips of a call.

    Parameters
    ----------
    failures : list of (int, str, str)
        Position, name and reason of each bad clip.
    n_clips : int
        Number of clips that were looked at, good and bad.
    advice : str, default=""
        What to do about it; ends the message.

    Attributes
    ----------
    failures : list of (int, str, str)
        Position in `X`, name (path or ``"clip 3"``) and reason of each bad clip.

    Examples
    --------
    >>> from skspeech.audio import AudioError, load_waveforms
    >>> try:
    ...     load_waveforms(["no-such-folder/a.wav", [0.1, 0.2]])
    ... except AudioError as error:
    ...     position, name, reason = error.failures[0]
    >>> position, name
    (0, 'no-such-folder/a.wav')
    """

    def __init__(self, failures, n_clips, advice=""):
        self.failures = list(failures)
        self.n_clips = n_clips
        self.advice = advice
        super().__init__(_describe_failures(self.failures, n_clips, advice))

    def __reduce__(self):
        return type(self), (self.failures, self.n_clips, self.advice)


def _describe_failures(failures, n_clips, advice):
    verb = "clip cannot" if n_clips == 1 else "clips cannot"
    lines = [f"{len(failures)} of {n_clips} {verb} be used:"]
    for position, name, reason in failures[:_MAX_LISTED_FAILURES]:
        lines.append(f"  [{position}] {_printable(name)}: {reason}")
    if len(failures) > _MAX_LISTED_FAILURES:
        n_more = len(failures) - _MAX_LISTED_FAILURES
        lines.append(f"  ... and {n_more} more (the attribute `failures` of the error has all)")
    return "\n".join([*lines, advice] if advice else lines)


def _printable(name):
    """A name that can be printed on one line anywhere, whatever bytes a file system holds."""
    if not name:
        return "''"
    name = name if name.isprintable() else repr(name)[1:-1]
    if len(name) > _SHORT_NAME:
        half = _SHORT_NAME // 2
        name = f"{name[:half]}…{name[-half:]}"
    return name


class Clip:
    """One recording: a path, or a waveform in memory with its sampling rate.

    Made by :func:`as_clips`, which checks its input; nothing is decoded before :meth:`load`.

    Parameters
    ----------
    source : str or ndarray of shape (n_samples,)
        Path of the file, or the waveform.
    sampling_rate : float or None, default=None
        Samples per second of a waveform (Hz). A file knows its own.
    position : int or None, default=None
        Place of the clip in its container; names a clip that has no path.

    Attributes
    ----------
    name : str
        The path, or ``"clip 3"`` for the waveform at position 3.

    Examples
    --------
    >>> import numpy as np
    >>> from skspeech.audio import as_clips
    >>> clip = as_clips([(np.zeros(8000), 8000)])[0]
    >>> clip.name, clip.duration(), clip.load().shape
    ('clip 0', 1.0, (16000,))
    """

    __slots__ = ("_excerpt", "_key", "_position", "_sampling_rate", "_source", "_speed")

    def __init__(self, source, sampling_rate=None, position=None):
        self._source = source
        self._sampling_rate = sampling_rate
        self._position = position
        self._key = None
        self._speed = 1.0
        self._excerpt = (0.0, None)  # offset and duration, seconds of what is heard

    @property
    def name(self):
        if isinstance(self._source, str):
            return self._source
        return "clip" if self._position is None else f"clip {self._position}"

    def __repr__(self):
        return f"<Clip {self.name!r}>"

    @property
    def sampling_rate(self):
        """Samples per second (Hz) that the clip itself has, before it is resampled."""
        if not isinstance(self._source, str):
            return self._sampling_rate
        with _open_sound(self._source) as sound:
            return sound.samplerate

    def duration(self):
        """Length in seconds, from the header; decoded only where the header does not say.

        Returns
        -------
        float
            Seconds.

        Raises
        ------
        OSError, ValueError
            If the file cannot be opened or is not audio.
        """
        if not isinstance(self._source, str):
            seconds = len(self._source) / self._sampling_rate
        else:
            with _open_sound(self._source) as sound:
                seconds = _n_frames(sound) / sound.samplerate
        offset, duration = self._excerpt
        seconds = seconds / self._speed - offset
        return seconds if duration is None else min(seconds, duration)

    def variant(self, *, speed=1.0, offset=0.0, duration=None):
        """The same recording played faster or slower, or a part of it; nothing is decoded yet.

        Parameters
        ----------
        speed : float, default=1.0
            How fast it is played. Pitch and formants move with it, as with a tape.
        offset : float, default=0.0
            Seconds of what is played to leave out at the start.
        duration : float or None, default=None
            Seconds to keep; None keeps all.

        Returns
        -------
        Clip
            Of the same name, with a key of its own.

        Examples
        --------
        >>> import numpy as np
        >>> from skspeech.audio import as_clips
        >>> clip = as_clips([np.zeros(16_000)])[0]
        >>> clip.variant(speed=2.0).duration(), clip.variant(offset=0.75).load().shape
        (0.5, (4000,))
        """
        if not (_is_finite(speed) and speed > 0):
            raise ValueError(f"speed={speed!r} is not accepted: it has to be a number above 0.")
        _check_seconds(duration, offset)
        variant = copy.copy(self)
        variant._key = None
        variant._speed = self._speed * speed
        offset_before, duration_before = self._excerpt
        if duration_before is not None:
            left = duration_before / speed - offset
            duration = left if duration is None else min(duration, left)
        variant._excerpt = (offset_before / speed + offset, duration)
        return variant

    def load(self, max_duration=None, offset=0.0, sampling_rate=SAMPLING_RATE):
        """Decode, mix down to mono, resample.

        Parameters
        ----------
        max_duration : float or None, default=None
            Seconds to return at most. Only what is needed for them is decoded.
        offset : float, default=0.0
            Seconds to leave out at the start. MP3 and Vorbis are decoded from their start to get
            there, because libsndfile does not find a place in them exactly; other formats are not.
        sampling_rate : float, default=16000
            Samples per second of the result (Hz).

        Returns
        -------
        ndarray of shape (n_samples,), float32
            A new array; a waveform in memory is never handed out itself.

        Raises
        ------
        OSError, ValueError
            If the clip is missing, not audio, damaged, empty, longer than 6 hours, or holds samples
            that are not finite. The message is the bare reason, without the clip's name.
        """
        _check_seconds(max_duration, offset)
        return self._load(max_duration, offset, _checked_rate(sampling_rate), _no_waiting)

    def _load(self, max_duration, offset, sampling_rate, wait_turn):
        first, duration = self._excerpt
        if duration is not None:
            left = duration - offset
            if left <= 0:
                raise ValueError(f"offset={offset:g} s is not before its end ({duration:g} s).")
            max_duration = left if max_duration is None else min(max_duration, left)
        offset += first
        if not isinstance(self._source, str):
            waveform, rate = self._source, self._played_at(self._sampling_rate)
            span = _plan(len(waveform), rate, sampling_rate, offset, max_duration)
            blocks = _blocks_of_array(waveform, span.start, span.stop)
            return _decode(blocks, span, rate, sampling_rate, wait_turn)
        with _open_sound(self._source) as sound:
            rate = self._played_at(_checked_rate(sound.samplerate))
            span = _plan(_n_frames(sound), rate, sampling_rate, offset, max_duration)
            blocks = _blocks_of_sound(sound, span.start, span.stop)
            return _decode(blocks, span, rate, sampling_rate, wait_turn)

    def _played_at(self, rate):
        """The sampling rate at which this speed is heard."""
        return rate if self._speed == 1.0 else _checked_rate(round(rate * self._speed, 3))

    def key(self):
        """Name of the content: equal for equal bytes, whatever the path.

        Returns
        -------
        str
            Hexadecimal digest of the file's bytes, or of the samples, their type and sampling rate;
            a :meth:`variant` says after it which one it is.

        Raises
        ------
        OSError, ValueError
            If the file cannot be read or is empty.
        """
        if self._key is None:
            if isinstance(self._source, str):
                self._key = _FILE_KEYS.get(self._source)
            else:
                self._key = _digest_array(self._source, self._sampling_rate)
            if self._speed != 1.0 or self._excerpt != (0.0, None):
                self._key += f"-{self._speed!r}-{self._excerpt!r}"
        return self._key


class Clips(collections.abc.Sequence):
    """A checked sequence of clips, decoded one at a time when asked.

    Made by :func:`as_clips`. Indexing with an int gives a :class:`Clip`; a slice, an array of ints
    or a boolean mask gives another `Clips`, whose errors still name positions in the original.

    Parameters
    ----------
    items : list of str or Clip
        Paths, and clips that are in memory.
    positions : sequence of int or None, default=None
        Positions of the clips in the original container; None is 0, 1, 2, …

    Examples
    --------
    >>> from skspeech.audio import as_clips
    >>> clips = as_clips(["a.wav", "b.wav", "c.wav"])
    >>> len(clips), clips[1].name, [clip.name for clip in clips[[2, 0]]]
    (3, 'b.wav', ['c.wav', 'a.wav'])
    """

    def __init__(self, items, positions=None):
        self._items = items
        self._positions = range(len(items)) if positions is None else positions

    def __len__(self):
        return len(self._items)

    def __getitem__(self, index):
        if isinstance(index, numbers.Integral):
            item = self._items[index]
            return Clip(item) if isinstance(item, str) else item
        if isinstance(index, slice):
            return Clips(self._items[index], self._positions[index])
        index = _as_int_index(index, len(self))
        return Clips([self._items[i] for i in index], [self._positions[i] for i in index])

    def __repr__(self):
        return f"<Clips: {len(self)}>"

    def position(self, index):
        """Position, in the container first given, of the clip that is at `index` here."""
        return self._positions[index]


def _as_int_index(index, length):
    index = np.asarray(index)
    if index.dtype == bool:
        if index.shape != (length,):
            raise IndexError(f"A mask of shape {index.shape} cannot choose from {length} clips.")
        return np.flatnonzero(index).tolist()
    if index.ndim != 1 or (index.size and index.dtype.kind not in "iu"):
        raise IndexError("Clips take an int, a slice, a 1-D array of ints or a boolean mask.")
    return index.tolist()


# From what a user has to clips --------------------------------------------------------------------

_FORMS = (
    "Clips are a list of paths, a list of 1-D waveforms, a list of (waveform, sampling_rate), "
    "or a 2-D array with a clip in each row."
)


def as_clips(X, *, sampling_rate=SAMPLING_RATE):
    """Check the container of clips; decode nothing.

    Parameters
    ----------
    X : list, ndarray, Series, DataFrame or Clips
        One of

        - paths (str, bytes or :class:`os.PathLike`);
        - 1-D waveforms: floats in [-1, 1], or integers, which are scaled by the range of their type
          (int64, NumPy's default, is taken as holding 16-bit samples);
        - pairs ``(waveform, sampling_rate)``;
        - a 2-D array of numbers, a clip in each row;
        - :class:`Clip` or :class:`Clips`.

        A list may mix them.
    sampling_rate : float, default=16000
        Samples per second (Hz) of waveforms that come without their own rate.

    Returns
    -------
    Clips

    Raises
    ------
    TypeError
        If `X` is not a sequence, such as a generator or a dict.
    ValueError
        If `X` is empty, is a single clip, or is a 2-D array with NaN or infinite values.
    AudioError
        If some of its items cannot be clips. What is wrong *inside* a file or a waveform shows when
        it is loaded.

    Examples
    --------
    >>> import numpy as np
    >>> from skspeech.audio import as_clips
    >>> len(as_clips(["a.wav", np.zeros(16000), (np.zeros(8000), 8000)]))
    3
    """
    if isinstance(X, Clips):
        return X
    sampling_rate = _checked_rate(sampling_rate)
    _refuse_single_clip(X)
    if _is_sparse(X):
        check_array(X)  # raises, with advice
    _refuse_unordered(X)
    if not isinstance(X, (list, tuple)):
        X = _from_array_like(X, sampling_rate)
        if isinstance(X, Clips):
            return X
    return _from_list(X, sampling_rate)


def _refuse_single_clip(X):
    if isinstance(X, (str, bytes, os.PathLike)):
        raise ValueError(
            f"Expected a sequence of clips, got the single path {_printable(os.fsdecode(X))!r}. "
            "Write [path] for one clip; for a folder of clips see "
            "skspeech.datasets.load_audio_folder."
        )
    if isinstance(X, Clip):
        raise ValueError("Expected a sequence of clips, got a single Clip. Write [clip].")
    if isinstance(X, tuple) and _looks_like_pair(X):
        raise ValueError(
            "Expected a sequence of clips, got what looks like a single (waveform, sampling_rate). "
            "Write [(waveform, sampling_rate)]."
        )


def _refuse_unordered(X):
    if isinstance(X, collections.abc.Mapping):
        raise TypeError(f"X is a {type(X).__name__}. Give its values: list(X.values()). {_FORMS}")
    if isinstance(X, collections.abc.Set):
        raise TypeError(f"X is a {type(X).__name__}, which has no order. Give sorted(X). {_FORMS}")
    if isinstance(X, (collections.abc.Iterator, collections.abc.ValuesView)):
        raise TypeError(
            f"X is a {type(X).__name__}, which can be read only once. Give list(X): "
            f"paths are not decoded before they are needed. {_FORMS}"
        )


def _from_array_like(X, sampling_rate):
    """A list of items, or already clips where `X` is a 2-D array of numbers."""
    if hasattr(X, "columns"):
        return _from_table(X, sampling_rate)
    if not hasattr(X, "__array__"):
        if not isinstance(X, collections.abc.Sequence):
            raise TypeError(f"X is a {type(X).__name__}, no sequence of clips. {_FORMS}")
        return list(X)
    X = np.asarray(X)
    if X.ndim == 1 and (len(X) == 0 or X.dtype.kind in "OUST"):
        return X.tolist()
    if X.ndim == 1:
        raise ValueError(_single_waveform_message(f"an array of {X.dtype}"))
    if _is_array_of_pairs(X):
        return [tuple(pair) for pair in X]
    return _from_table(X, sampling_rate)


def _from_table(X, sampling_rate):
    if hasattr(X, "columns") and _has_text(X):
        raise ValueError("X is a table with text in it. Give its column of paths, as in X['path'].")
    if isinstance(X, np.ndarray) and X.dtype.kind in "UST":
        raise ValueError(
            f"X is an array of strings of shape {X.shape}. Paths come in a 1-D array: X.ravel()."
        )
    rows = check_array(X, dtype="numeric", input_name="X")
    if problem := _problem_of_type(rows.dtype):
        raise ValueError(f"X {problem}")
    return Clips([Clip(row, sampling_rate, i) for i, row in enumerate(rows)])


def _has_text(table):
    first_row = np.asarray(table.head(1), dtype=object).ravel()
    return any(isinstance(value, (str, bytes, os.PathLike)) for value in first_row)


def _is_array_of_pairs(X):
    """Whether it is what NumPy makes of a list of (waveform, sampling_rate)."""
    is_candidate = X.dtype == object and X.ndim == 2 and X.shape[1] == 2 and len(X) > 0
    return is_candidate and isinstance(X[0, 0], (np.ndarray, list))


def _from_list(items, sampling_rate):
    if len(items) == 0:
        raise ValueError("Found array with 0 sample(s): X holds no clips, at least 1 is required.")
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
        raise AudioError(failures, len(items), _FORMS)
    return Clips(checked)


def _single_waveform_message(what):
    return (
        f"Expected a sequence of clips (or a 2D array), got 1D array instead: {what}. Write "
        "[waveform] if it is one clip. Reshape your data with X.reshape(1, -1) if it is one row. "
        f"{_FORMS}"
    )


def _as_item(item, sampling_rate, position):
    """A path as str, or a Clip; ValueError with a bare reason where it can be neither."""
    if isinstance(item, Clip):
        return item
    if isinstance(item, (str, bytes, os.PathLike)):
        return str(os.fsdecode(item))
    if _looks_like_pair(item):
        item, own_rate = item
        sampling_rate = _checked_rate(own_rate)
    elif _looks_like_swapped_pair(item):
        raise ValueError("looks like (sampling_rate, waveform). Write (waveform, sampling_rate).")
    return Clip(_as_waveform(item), sampling_rate, position)


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
    return _is_pair(item) and isinstance(item[0], numbers.Number) and np.ndim(item[1]) == 1


def _checked_rate(rate):
    low, high = _RATE_LIMITS
    is_number = isinstance(rate, numbers.Real) and not isinstance(rate, (bool, np.bool_))
    if not is_number or not low <= rate <= high:
        raise ValueError(
            f"sampling_rate={rate!r} is not a sampling rate: "
            f"expected a number of samples per second from {low:,.0f} to {high:,.0f}."
        )
    return int(rate) if rate == int(rate) else float(rate)


def _is_sparse(value):
    return hasattr(value, "tocsr") and hasattr(value, "nnz")


def _as_waveform(item):
    """A 1-D numeric array without a copy where possible; ValueError with a bare reason."""
    if item is None:
        raise ValueError("is None, a missing value. Leave out such rows.")
    if _is_sparse(item):
        raise ValueError("is a sparse matrix. Give a dense 1-D array.")
    if np.ma.is_masked(item):
        raise ValueError("has masked samples. Fill them first: waveform.filled(0).")
    if hasattr(item, "read"):
        raise ValueError("is an open file. Give its path, or the pair soundfile.read(file).")
    try:
        waveform = np.asarray(item)
    except Exception as error:
        raise ValueError(f"cannot become an array ({_first_line(error)}).") from error
    _check_kind(item, waveform)
    if waveform.ndim == 2 and 1 in waveform.shape:
        waveform = waveform.reshape(-1)
    _check_one_dimension(waveform)
    return waveform


def _check_kind(item, waveform):
    if waveform.ndim == 0:
        is_number = waveform.dtype.kind in "iufcb"
        what = f"the number {item!r}" if is_number else f"a {type(item).__name__}"
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


# Decoding -----------------------------------------------------------------------------------------

_FFMPEG = "ffmpeg -i input{suffix} output.wav"
# What libsndfile cannot read, by the file's name and by its first bytes.
_FOREIGN_SUFFIXES = (
    *(".3ga", ".3gp", ".aac", ".ac3", ".amr", ".ape", ".avi", ".dts", ".flv", ".m4a", ".m4b"),
    *(".mka", ".mkv", ".mov", ".mp4", ".mpc", ".mpg", ".ra", ".spx", ".tta", ".webm", ".wma"),
    *(".wmv", ".wv"),
)
_FOREIGN_SIGNATURES = (
    (4, b"ftyp", ".m4a"),
    (0, b"\x30\x26\xb2\x75", ".wma"),
    (0, b"\x1a\x45\xdf\xa3", ".webm"),
    (0, b"#!AMR", ".amr"),
    (0, b"\xff\xf1", ".aac"),
    (0, b"\xff\xf9", ".aac"),
)


def _no_waiting(seconds):
    """The turn of a clip that nobody else competes with."""


class _Sound(soundfile.SoundFile):
    """A sound file that is read from front to back.

    soundfile seeks after each read where it can. That resets an MP3 decoder, which is heard at the
    seam of two blocks, and fails at the end of FLAC whose header does not know the length.
    """

    def seekable(self):
        return False


@contextlib.contextmanager
def _open_sound(path):
    """Open a file with soundfile; OSError or ValueError with a bare reason where that fails."""
    with _open_file(path) as file:
        # A file descriptor means the same to libsndfile as to Python everywhere but on Windows.
        target = path if os.name == "nt" else file.fileno()
        try:
            sound = _Sound(target, closefd=False)
        except soundfile.SoundFileError as error:
            raise ValueError(_why_not_audio(path, file, error)) from error
        with sound:
            yield sound


def _open_file(path):
    _file_status(path)
    try:
        return open(path, "rb", buffering=0)
    except OSError as error:
        raise _bare(error, path) from None


def _file_status(path):
    """The status of a regular file with something in it; to open a pipe would wait for a writer."""
    try:
        status = os.stat(path)
    except OSError as error:
        raise _bare(error, path) from None
    except ValueError as error:  # a null character, or a character that no file name can have
        raise ValueError(f"is not a path ({_first_line(error)}).") from None
    if stat.S_ISDIR(status.st_mode):
        raise IsADirectoryError("is a folder; see skspeech.datasets.load_audio_folder.")
    if not stat.S_ISREG(status.st_mode):
        raise OSError("is not a regular file.")
    if status.st_size == 0:
        raise ValueError("is an empty file (0 bytes).")
    return status


def _bare(error, path):
    """An error of the operating system whose message is a reason, without errno and path."""
    if isinstance(error, FileNotFoundError):
        where = "" if os.path.isabs(path) else f" (looked in {_printable(os.getcwd())})"
        return FileNotFoundError(f"no such file{where}.")
    return type(error)(f"cannot be opened ({error.strerror}).")


def _why_not_audio(path, file, error):
    file.seek(0)
    head = file.read(16)
    suffix = os.path.splitext(path)[1].lower()
    foreign = [suffix] if suffix in _FOREIGN_SUFFIXES else []
    foreign += [real for place, sign, real in _FOREIGN_SIGNATURES if head[place:].startswith(sign)]
    if foreign:
        command = _FFMPEG.format(suffix=foreign[0])
        return f"libsndfile cannot read this format. Convert it, for example: {command}"
    reason = f"is not audio that libsndfile can read ({_libsndfile_message(error)})"
    return f"{reason}; it begins with {head!r}."


def _libsndfile_message(error):
    message = (getattr(error, "error_string", "") or "").strip().rstrip(".")
    return message or f"error {getattr(error, 'code', '?')}"


def _first_line(error):
    return (str(error).splitlines() or [type(error).__name__])[0].rstrip(".")


def _n_frames(sound):
    if sound.frames < _UNKNOWN_LENGTH:
        return sound.frames
    # The header does not say: a stream was saved as it came. Count, up to what is too long anyway.
    n_most = int(MAX_CLIP_DURATION * sound.samplerate) + 1
    n_frames = sum(map(len, _read(sound, n_most, "int16")))
    sound.seek(0)
    return n_frames


def _read(sound, n_frames, dtype):
    """Blocks of shape (n, channels), all channels' samples as they are, fewer at a file's end."""
    size = max(1, _BLOCK_SIZE // sound.channels)
    done = 0
    try:
        while done < n_frames:
            block = sound.read(min(size, n_frames - done), dtype=dtype, always_2d=True)
            if len(block) == 0:
                return
            done += len(block)
            yield block
    except soundfile.SoundFileError as error:
        seconds = done / sound.samplerate
        raise ValueError(
            f"is damaged or cut off after {seconds:.2f} s ({_libsndfile_message(error)}). "
            f"What is left of it may be saved by: {_FFMPEG.format(suffix='')}"
        ) from error


_Span = collections.namedtuple("_Span", "start stop skip n_samples")
_Span.__doc__ = """Frames to read, [start, stop), and which of the resampled samples to keep."""


def _plan(n_frames, rate, target, offset, max_duration):
    """The span of a clip that `offset` and `max_duration` (seconds) ask for."""
    if n_frames == 0:
        raise ValueError("is empty: it has no samples.")
    seconds = n_frames / rate - offset
    if seconds <= 0:
        raise ValueError(f"offset={offset:g} s is not before its end ({n_frames / rate:g} s).")
    if max_duration is None:
        _check_duration(seconds)
    if max_duration is None or max_duration >= seconds:
        n_samples = -(-n_frames * target // rate) - round(offset * target)
    else:
        n_samples = round(max_duration * target)
    n_samples = max(1, int(n_samples))
    if offset == 0 and max_duration is None:
        return _Span(0, n_frames, 0, n_samples)
    first = round(offset * target)
    if rate == target:
        return _Span(first, min(first + n_samples, n_frames), 0, n_samples)
    margin = math.ceil(_RESAMPLING_MARGIN * max(1, rate / target))
    start, skip = _aligned_start(first, rate, target, margin)
    stop = min(n_frames, math.ceil((first + n_samples) * rate / target) + margin)
    return _Span(start, stop, skip, n_samples)


def _check_seconds(max_duration, offset=0.0):
    if max_duration is not None and not (_is_finite(max_duration) and max_duration > 0):
        raise ValueError(f"max_duration={max_duration!r} must be None or seconds above 0.")
    if not (_is_finite(offset) and offset >= 0):
        raise ValueError(f"offset={offset!r} must be a number of seconds, 0 or more.")


def _is_finite(value):
    return isinstance(value, numbers.Real) and math.isfinite(value)


def _check_duration(seconds):
    if seconds > MAX_CLIP_DURATION:
        raise ValueError(
            f"lasts {seconds / 3600:.1f} hours; {MAX_CLIP_DURATION / 3600:g} hours are the most "
            "that is read. Cut it into clips, or give max_duration."
        )


def _aligned_start(first, rate, target, margin):
    """First frame to read, such that its time is that of a sample of the result too."""
    if not (isinstance(rate, int) and float(target).is_integer()):
        return 0, first
    divisor = math.gcd(rate, int(target))
    step, step_out = rate // divisor, int(target) // divisor
    n_steps = max(0, math.floor((first * rate / target - margin) / step))
    return n_steps * step, first - n_steps * step_out


def _blocks_of_sound(sound, start, stop):
    """Mono float32 blocks of a file."""
    if (stop - start) * sound.channels > _MAX_DECODED_SIZE:
        raise ValueError(
            f"decodes to {stop - start} samples of {sound.channels} channels, too many to read. "
            "Cut it into clips, or give max_duration."
        )
    n_unwanted = start
    if start and sound.subtype in _EXACTLY_SEEKABLE:
        sound.seek(start)
        n_unwanted = 0
    # To read 16-bit samples as they are and scale them here is faster than libsndfile's conversion.
    dtype = "int16" if sound.subtype == "PCM_16" else "float32"
    for block in _read(sound, n_unwanted + stop - start, dtype):
        wanted = block[n_unwanted:]
        n_unwanted = max(0, n_unwanted - len(block))
        if len(wanted):
            yield _mono(_as_float(wanted))


def _blocks_of_array(waveform, start, stop):
    for begin in range(start, stop, _BLOCK_SIZE):
        yield _as_float(waveform[begin : min(begin + _BLOCK_SIZE, stop)])


def _mono(block):
    if block.shape[1] == 1:
        return block[:, 0]
    # A product with a vector is much faster than a mean over short rows. What is not finite in it
    # is found afterwards, and told of in a better way than NumPy's.
    with np.errstate(invalid="ignore", over="ignore"):
        return block @ np.full(block.shape[1], 1 / block.shape[1], dtype=np.float32)


def _as_float(samples):
    """Float32 samples, integers scaled by the range of their type to [-1, 1)."""
    dtype = samples.dtype
    if dtype.kind == "f":
        with np.errstate(over="ignore"):
            return np.ascontiguousarray(samples, dtype=np.float32)
    if dtype.itemsize == 8:
        _check_16_bit(samples)
        half = 2**15
    else:
        half = 2 ** (8 * dtype.itemsize - 1)
    scaled = samples.astype(np.float32 if dtype.itemsize < 4 else np.float64)
    if dtype.kind == "u":
        scaled -= half
    scaled *= 1 / half
    return scaled.astype(np.float32, copy=False)


def _check_16_bit(samples):
    if samples.size and (samples.min() < -(2**15) or samples.max() >= 2**15):
        raise ValueError(
            "holds 64-bit integers beyond the 16-bit range, so its full scale is unknown. "
            "Give int32, or float in [-1, 1]."
        )


def _decode(blocks, span, rate, target, wait_turn):
    wait_turn(span.n_samples / target)
    return _gather(_resample(_checked(blocks, wait_turn), rate, target), span)


def _checked(blocks, wait_turn):
    """The blocks, once each is known to hold usable samples."""
    for block in blocks:
        # A maximum is NaN where a sample is, so one comparison finds all that is wrong.
        if not max(block.max(), -block.min()) <= _MAX_AMPLITUDE:
            raise ValueError(_why_not_usable(block))
        yield block
        wait_turn(0)


def _why_not_usable(block):
    if np.isfinite(block).all():
        peak = np.abs(block).max()
        return f"holds samples as large as {peak:.3g}; samples of audio lie in [-1, 1]. Scale them."
    return "holds samples that are not finite: NaN, infinity, or too large for float32."


def _resample(blocks, rate, target):
    if rate == target:
        yield from blocks
        return
    stream = None
    pending = next(blocks, None)
    for block in blocks:
        stream = stream or soxr.ResampleStream(rate, target, 1, dtype="float32", quality="HQ")
        yield stream.resample_chunk(pending)
        pending = block
    if pending is not None:
        # Flushing together with the last block, not after it, halves the work for short clips.
        last = (
            stream.resample_chunk(pending, last=True)
            if stream
            else soxr.resample(pending, rate, target, quality="HQ")
        )
        # Less than half a sample of the result: one sample stays one sample.
        yield last if len(last) else pending[:1]


def _gather(chunks, span):
    """One array of the span's samples; shorter where the file ends before its header says."""
    waveform = np.empty(span.n_samples, dtype=np.float32)
    seen, n_filled = 0, 0
    for chunk in chunks:
        wanted = chunk[max(0, span.skip - seen) :][: span.n_samples - n_filled]
        waveform[n_filled : n_filled + len(wanted)] = wanted
        seen += len(chunk)
        n_filled += len(wanted)
    if n_filled == 0:
        raise ValueError("has no samples, although its header announces some.")
    if n_filled < span.n_samples // 2:
        return waveform[:n_filled].copy()
    return waveform[:n_filled]


# Keys ---------------------------------------------------------------------------------------------


def _digest_array(waveform, sampling_rate):
    digest = hashlib.blake2b(digest_size=16)
    digest.update(f"{waveform.dtype.str} {waveform.shape} {sampling_rate!r};".encode())
    digest.update(np.ascontiguousarray(waveform).data)
    return digest.hexdigest()


def _digest_file(file):
    digest = hashlib.blake2b(digest_size=16)
    buffer = memoryview(bytearray(2**20))
    while n_read := file.readinto(buffer):
        digest.update(buffer[:n_read])
    return digest.hexdigest()


class _FileKeys:
    """Digests of files' bytes, remembered while a file's size and times stay the same."""

    # Within this many nanoseconds a file may be written twice and show the same time.
    _RACY = 2_000_000_000

    def __init__(self, max_files):
        self._max_files = max_files
        self._known = collections.OrderedDict()
        self._lock = threading.Lock()

    def get(self, path):
        path = os.path.abspath(path)
        state = self._state(path)
        with self._lock:
            known = self._known.get(path)
            if known is not None and known[0] == state:
                self._known.move_to_end(path)
                return known[1]
        with _open_file(path) as file:
            key = _digest_file(file)
        if state == self._state(path) and time.time_ns() - state[1] > self._RACY:
            self._remember(path, state, key)
        return key

    @staticmethod
    def _state(path):
        status = _file_status(path)
        return status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino

    def _remember(self, path, state, key):
        with self._lock:
            self._known[path] = (state, key)
            while len(self._known) > self._max_files:
                self._known.popitem(last=False)


_FILE_KEYS = _FileKeys(max_files=2**18)


# Decoding ahead -----------------------------------------------------------------------------------


class _Closed(Exception):
    """Nobody wants the waveforms any more."""


class _Ahead:
    """Where threads leave waveforms and the consumer finds them in order.

    A clip is let in while the audio that was decoded and not yet taken stays within `limit`
    seconds. The clip that the consumer waits for is always let in, so nothing can lock up, and
    memory is bounded by `limit` plus one clip.
    """

    def __init__(self, n_clips, limit):
        self._changed = threading.Condition()
        self._unclaimed = iter(range(n_clips))
        self._limit = limit
        self._seconds = {}
        self._total = 0.0
        self._outcomes = {}
        self._next = 0
        self._closed = False

    def claim(self):
        """Index of the next clip to decode, or None."""
        with self._changed:
            return None if self._closed else next(self._unclaimed, None)

    def wait_turn(self, index, seconds):
        """Wait until a clip of so many seconds may be decoded; 0 asks whether to go on."""
        if seconds == 0:
            if self._closed:
                raise _Closed
            return
        with self._changed:
            self._changed.wait_for(
                lambda: self._closed or index == self._next or self._total + seconds <= self._limit
            )
            if self._closed:
                raise _Closed
            self._seconds[index] = seconds
            self._total += seconds

    def put(self, index, outcome):
        with self._changed:
            self._outcomes[index] = outcome
            if index == self._next:
                self._changed.notify_all()

    def take(self, index):
        """Wait for an outcome."""
        with self._changed:
            self._next = index
            self._changed.notify_all()
            self._changed.wait_for(lambda: index in self._outcomes)
            self._total -= self._seconds.pop(index, 0.0)
            self._changed.notify_all()
            return self._outcomes.pop(index)

    def close(self):
        with self._changed:
            self._closed = True
            self._changed.notify_all()


def iter_waveforms(
    clips,
    *,
    max_duration=None,
    n_jobs=None,
    errors="raise",
    prefetch_seconds=300.0,
    target_sampling_rate=SAMPLING_RATE,
):
    """Decode clips in order, ahead of their use, within bounded memory.

    Parameters
    ----------
    clips : Clips or any form of clips that :func:`as_clips` takes
        The clips.
    max_duration : float or None, default=None
        Seconds to read at most from the start of each clip; None reads all.
    n_jobs : int or None, default=None
        Number of threads that decode. None is the number of processors, at most 4; 1 decodes when a
        waveform is asked for, without threads; -1 is the number of processors.
    errors : {"raise", "warn"}, default="raise"
        What to do about bad clips. ``"raise"``: from the first bad clip on yield nothing more, look
        at the rest, and raise one error that names all bad ones. ``"warn"``: yield a second of
        silence in a bad clip's place, and name all in one warning just before the last clip.
    prefetch_seconds : float, default=300.0
        Seconds of audio decoded and waiting, at most; a longer clip is let through alone.
    target_sampling_rate : float, default=16000
        Samples per second of the waveforms (Hz).

    Yields
    ------
    index : int
        Index of the clip in `clips`.
    waveform : ndarray of shape (n_samples,), float32
        Its mono waveform.

    Raises
    ------
    AudioError
        After the last clip, naming all that could not be loaded.

    Examples
    --------
    >>> import numpy as np
    >>> from skspeech.audio import iter_waveforms
    >>> for index, waveform in iter_waveforms([np.zeros(16000), np.zeros(8000)]):
    ...     print(index, waveform.shape)
    0 (16000,)
    1 (8000,)
    """
    clips = as_clips(clips)
    _check_seconds(max_duration)
    if errors not in ("raise", "warn"):
        raise ValueError(f"errors={errors!r} must be 'raise' or 'warn'.")
    load = functools.partial(
        _attempt, max_duration=max_duration, sampling_rate=_checked_rate(target_sampling_rate)
    )
    n_threads = _n_threads(n_jobs, len(clips))
    if n_threads == 1:
        outcomes = (load(clips[index], wait_turn=_no_waiting) for index in range(len(clips)))
    else:
        outcomes = _decode_ahead(clips, load, n_threads, prefetch_seconds)
    return _deliver(clips, outcomes, errors, target_sampling_rate)


def in_chunks(waveforms, seconds):
    """Gather waveforms into lists of about as many seconds, so that memory stays bounded.

    Parameters
    ----------
    waveforms : iterable of ndarray of shape (n_samples,)
        At 16 kHz.
    seconds : float
        A list ends with the waveform that fills it.

    Yields
    ------
    list of ndarray
        Never an empty one.
    """
    chunk, n_left = [], seconds * SAMPLING_RATE
    for waveform in waveforms:
        chunk.append(waveform)
        n_left -= len(waveform)
        if n_left <= 0:
            yield chunk
            chunk, n_left = [], seconds * SAMPLING_RATE
    if chunk:
        yield chunk


def _n_threads(n_jobs, n_clips):
    n_threads = min(4, joblib.cpu_count()) if n_jobs is None else joblib.effective_n_jobs(n_jobs)
    return max(1, min(n_threads, n_clips))


_CLIP_ERRORS = (OSError, ValueError)


def _attempt(clip, *, max_duration, sampling_rate, wait_turn):
    """The waveform, or the error that says why there is none."""
    try:
        return clip._load(max_duration, 0.0, sampling_rate, wait_turn)
    except _CLIP_ERRORS as error:
        return error


def _decode_ahead(clips, load, n_threads, prefetch_seconds):
    ahead = _Ahead(len(clips), prefetch_seconds)

    def work():
        while (index := ahead.claim()) is not None:
            try:
                outcome = load(clips[index], wait_turn=functools.partial(ahead.wait_turn, index))
            except _Closed:
                return
            except BaseException as error:
                outcome = error  # not the clip's fault: for the consumer to raise
            ahead.put(index, outcome)

    with concurrent.futures.ThreadPoolExecutor(n_threads, "skspeech-decode") as pool:
        try:
            for _ in range(n_threads):
                pool.submit(work)
            for index in range(len(clips)):
                outcome = ahead.take(index)
                if isinstance(outcome, BaseException) and not isinstance(outcome, _CLIP_ERRORS):
                    raise outcome
                yield outcome
        finally:
            ahead.close()


def _deliver(clips, outcomes, errors, sampling_rate):
    failures = []
    with contextlib.closing(outcomes):
        for index, outcome in enumerate(outcomes):
            if isinstance(outcome, Exception):
                failures.append((clips.position(index), clips[index].name, str(outcome)))
                outcome = np.zeros(round(sampling_rate), dtype=np.float32)
            if failures and errors == "raise":
                continue
            if failures and index == len(clips) - 1:
                advice = "Silence took their place. Repair them or leave them out."
                warnings.warn(_describe_failures(failures, len(clips), advice), stacklevel=2)
            yield index, outcome
    if failures and errors == "raise":
        advice = "Repair or leave out these clips, or replace them by silence with errors='warn'."
        raise AudioError(failures, len(clips), advice)


def load_waveforms(
    X,
    *,
    sampling_rate=SAMPLING_RATE,
    max_duration=None,
    n_jobs=None,
    errors="raise",
    target_sampling_rate=SAMPLING_RATE,
):
    """Decode all clips into memory.

    Parameters
    ----------
    X : clips in any form that :func:`as_clips` takes
        Paths, waveforms, pairs or a 2-D array.
    sampling_rate : float, default=16000
        Samples per second (Hz) of waveforms that come without their own rate.
    max_duration : float or None, default=None
        Seconds to read at most from the start of each clip; None reads all.
    n_jobs : int or None, default=None
        Number of threads that decode; see :func:`iter_waveforms`.
    errors : {"raise", "warn"}, default="raise"
        Raise one error that names all bad clips, or replace each by a second of silence with one
        warning for all.
    target_sampling_rate : float, default=16000
        Samples per second of the waveforms (Hz).

    Returns
    -------
    list of ndarray of shape (n_samples,), float32
        Mono waveforms.

    Raises
    ------
    AudioError
        If some clips cannot be loaded.

    Examples
    --------
    >>> import numpy as np
    >>> from skspeech.audio import load_waveforms
    >>> [w.shape for w in load_waveforms([np.zeros(16000), (np.zeros(44100), 44100)])]
    [(16000,), (16000,)]
    """
    waveforms = iter_waveforms(
        as_clips(X, sampling_rate=sampling_rate),
        max_duration=max_duration,
        n_jobs=n_jobs,
        errors=errors,
        target_sampling_rate=target_sampling_rate,
    )
    return [waveform for _, waveform in waveforms]


# Lengths and windows ------------------------------------------------------------------------------


def fix_length(waveform, n_samples):
    """Cut a waveform at its end, or repeat it, to a number of samples.

    Parameters
    ----------
    waveform : ndarray of shape (n,)
        At least one sample.
    n_samples : int
        Samples wanted.

    Returns
    -------
    ndarray of shape (n_samples,)
        A view where cutting suffices, else a new array.

    Raises
    ------
    ValueError
        If the waveform is empty.

    Examples
    --------
    >>> import numpy as np
    >>> from skspeech.audio import fix_length
    >>> fix_length(np.array([1.0, 2.0, 3.0]), 5)
    array([1., 2., 3., 1., 2.])
    """
    if len(waveform) >= n_samples:
        return waveform[:n_samples]
    if len(waveform) == 0:
        raise ValueError("A waveform without samples cannot be repeated.")
    return np.resize(waveform, n_samples)


def window_starts(n_samples, window, hop):
    """Where the windows of a clip start.

    Parameters
    ----------
    n_samples : int
        Samples of the clip.
    window : int
        Samples of a window.
    hop : int
        Samples between the starts of windows.

    Returns
    -------
    ndarray of shape (n_windows,), int64
        0, hop, 2 hop, …, and where these leave a tail uncovered, a last window that ends exactly at
        the clip's end. A clip not longer than a window has one, at 0.

    Examples
    --------
    >>> from skspeech.audio import window_starts
    >>> window_starts(10, window=4, hop=3), window_starts(11, window=4, hop=3)
    (array([0, 3, 6]), array([0, 3, 6, 7]))
    """
    if window < 1 or hop < 1:
        raise ValueError(f"window={window} and hop={hop} must be at least one sample.")
    last = max(0, n_samples - window)
    starts = np.arange(0, last + 1, hop, dtype=np.int64)
    return starts if starts[-1] == last else np.append(starts, last)


# The door as a transformer ------------------------------------------------------------------------


class AudioLoader(TransformerMixin, BaseEstimator):
    """Decode clips to waveforms, as the first step of a Pipeline.

    Learns nothing: `fit` only checks its input.

    Parameters
    ----------
    sampling_rate : float, default=16000
        Samples per second (Hz) of waveforms that come without their own rate.
    target_sampling_rate : float, default=16000
        Samples per second (Hz) of the result.
    max_duration : float or None, default=None
        Seconds to read at most from the start of each clip; None reads all.
    n_jobs : int or None, default=None
        Number of threads that decode. None is the number of processors, at most 4; -1 is all of
        them.
    errors : {"raise", "warn"}, default="raise"
        Raise one error that names all bad clips, or replace each by a second of silence with one
        warning for all.

    Attributes
    ----------
    n_features_in_ : int
        Samples a clip; only where `fit` saw a 2-D array.
    feature_names_in_ : ndarray of shape (n_features_in_,)
        Columns of the table; only where `fit` saw a DataFrame of numbers.

    See Also
    --------
    load_waveforms : The same as a function.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn.pipeline import make_pipeline
    >>> from sklearn.preprocessing import FunctionTransformer
    >>> from skspeech.audio import AudioLoader
    >>> def loudness(waveforms):
    ...     return np.array([[np.sqrt(np.mean(w**2))] for w in waveforms])
    >>> pipeline = make_pipeline(AudioLoader(), FunctionTransformer(loudness))
    >>> pipeline.fit_transform([np.full(100, 0.5), (np.full(80, 0.25), 8000)]).shape
    (2, 1)
    """

    _parameter_constraints = {
        "sampling_rate": [Interval(numbers.Real, *_RATE_LIMITS, closed="both")],
        "target_sampling_rate": [Interval(numbers.Real, *_RATE_LIMITS, closed="both")],
        "max_duration": [None, Interval(numbers.Real, 0, None, closed="neither")],
        "n_jobs": [None, numbers.Integral],
        "errors": [StrOptions({"raise", "warn"})],
    }

    def __init__(
        self,
        *,
        sampling_rate=SAMPLING_RATE,
        target_sampling_rate=SAMPLING_RATE,
        max_duration=None,
        n_jobs=None,
        errors="raise",
    ):
        self.sampling_rate = sampling_rate
        self.target_sampling_rate = target_sampling_rate
        self.max_duration = max_duration
        self.n_jobs = n_jobs
        self.errors = errors

    @_fit_context(prefer_skip_nested_validation=True)
    def fit(self, X, y=None):
        """Check the parameters and the container of clips; decode nothing.

        Parameters
        ----------
        X : clips in any form that :func:`as_clips` takes
            The clips.
        y : object, default=None
            Ignored.

        Returns
        -------
        AudioLoader
            The estimator itself.
        """
        as_clips(X, sampling_rate=self.sampling_rate)
        if getattr(X, "ndim", None) == 2:
            validate_data(self, X, skip_check_array=True)
        return self

    def transform(self, X):
        """Decode clips.

        Parameters
        ----------
        X : clips in any form that :func:`as_clips` takes
            The clips.

        Returns
        -------
        ndarray of shape (n_clips,), object
            Each element a 1-D float32 waveform.

        Raises
        ------
        AudioError
            If some clips cannot be loaded and `errors` is ``"raise"``.
        """
        self._validate_params()
        waveforms = load_waveforms(
            X,
            sampling_rate=self.sampling_rate,
            max_duration=self.max_duration,
            n_jobs=self.n_jobs,
            errors=self.errors,
            target_sampling_rate=self.target_sampling_rate,
        )
        result = np.empty(len(waveforms), dtype=object)
        for index, waveform in enumerate(waveforms):  # at once, equal lengths would make it 2-D
            result[index] = waveform
        return result

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.requires_fit = False
        tags.input_tags.string = True
        tags.transformer_tags.preserves_dtype = []
        return tags

    def __sklearn_is_fitted__(self):
        return True
