"""Load many clips: on demand, in threads, in order, in bounded memory."""

import contextlib
import functools
import math
import numbers
from collections.abc import Iterator
from typing import Any, Literal

import numpy as np
from sklearn.base import BaseEstimator, TransformerMixin

from skspeech._columns import remember_columns
from skspeech._cores import reading_threads
from skspeech._sklearn import Interval, StrOptions, _fit_context, _get_output_config
from skspeech._typing import ClipsLike, Self
from skspeech._warning import warn
from skspeech.audio.ahead import in_threads
from skspeech.audio.containers import as_clips
from skspeech.audio.errors import AudioError, describe_failures, listed
from skspeech.audio.waveforms import (
    RATE_LIMITS,
    SAMPLING_RATE,
    check_seconds,
    checked_rate,
    no_waiting,
)

__all__ = ["AudioLoader", "iter_waveforms", "load_waveforms"]


def iter_waveforms(
    clips: ClipsLike,
    *,
    max_duration: float | None = None,
    n_jobs: int | None = None,
    errors: Literal["raise", "warn"] = "raise",
    prefetch_seconds: float = 300.0,
    target_sampling_rate: float = SAMPLING_RATE,
    remarks: "Remarks | None" = None,
    longest: float = math.inf,
) -> Iterator[tuple[int, np.ndarray]]:
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
        What to do about bad clips. ``"raise"``: from the first bad clip on yield nothing more,
        check the rest, and raise one error that names all bad ones. ``"warn"``: yield a second of
        silence for each bad clip, and name all of them in one warning just before the last clip.
    prefetch_seconds : float, default=300.0
        Seconds of audio decoded and waiting, at most; a longer clip is let through alone.
    target_sampling_rate : float, default=16000
        Samples per second of the waveforms (Hz).
    remarks : Remarks or None, default=None
        Collects errors and notes about each clip before the clip is yielded; the caller then
        raises or warns. With None, this function raises or warns.
    longest : float, default=inf
        Seconds. A longer clip is only measured, and yielded as a
        :class:`~skspeech.audio.long.LongWaveform`, which reads it in parts.

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
    check_seconds(max_duration)
    if errors not in ("raise", "warn"):
        raise ValueError(f"errors={errors!r} must be 'raise' or 'warn'.")
    load = functools.partial(
        _attempt,
        max_duration=max_duration,
        sampling_rate=checked_rate(target_sampling_rate),
        longest=longest,
    )
    n_threads = reading_threads(n_jobs, len(clips))
    if n_threads == 1:
        outcomes = (load(clips[index], wait_turn=no_waiting) for index in range(len(clips)))
    else:
        outcomes = in_threads(load, clips, n_threads, prefetch_seconds)
    return _deliver(clips, outcomes, errors, target_sampling_rate, remarks)


def _attempt(clip, *, max_duration, sampling_rate, longest, wait_turn):
    """The waveform, or the error that says why there is none; and notes about the clip."""
    notes = []
    try:
        how = (max_duration, 0.0, sampling_rate, wait_turn, notes.append, longest)
        outcome = clip._load(*how)
    except (OSError, ValueError) as error:
        outcome = error
    if clip._speed != 1.0:  # the lengths in its notes are wrong; the original gets its own notes
        notes = []
    return outcome, list(dict.fromkeys(notes))  # a clip that is read twice adds them twice


class Remarks:
    """Errors and notes about some clips.

    Attributes
    ----------
    failures, notes : list of (int, str, str)
        Position, name, and why a clip can't be used, or what to know about a clip that is used.
    bad : set of int
        Indices of the clips that can't be used.
    """

    def __init__(self):
        self.failures, self.notes, self.bad = [], [], set()

    def add(self, other):
        """Add the errors and notes of other clips."""
        self.failures = sorted(self.failures + other.failures)
        self.notes = sorted(self.notes + other.notes)

    def tell(self, errors, n_clips):
        """Raise the errors, or warn of errors and notes; see :func:`iter_waveforms`."""
        if self.failures and errors == "raise":
            advice = "Repair or leave out these clips, or go on without them with errors='warn'."
            raise AudioError(self.failures, n_clips, advice)
        _warn(self.failures, self.notes, n_clips)


def _deliver(clips, outcomes, errors, sampling_rate, told_elsewhere):
    remarks = Remarks() if told_elsewhere is None else told_elsewhere
    with contextlib.closing(outcomes):
        for index, (outcome, notes) in enumerate(outcomes):
            is_bad = isinstance(outcome, Exception)
            if is_bad or notes:
                who = clips.position(index), clips[index].name
                remarks.notes.extend((*who, note) for note in notes)
            if is_bad:
                outcome, reason = _instead(outcome, sampling_rate, errors)
                remarks.failures.append((*who, reason))
                remarks.bad.add(index)
            if remarks.failures and errors == "raise":
                continue
            if index == len(clips) - 1 and told_elsewhere is None:
                remarks.tell(errors, len(clips))
            yield index, outcome
    if told_elsewhere is None and remarks.failures and errors == "raise":
        remarks.tell(errors, len(clips))


def _instead(error, sampling_rate, errors):
    """What to use in place of a clip that can't be loaded, and why it can't."""
    good = getattr(error, "waveform", None)
    if good is None:
        return np.zeros(round(sampling_rate), dtype=np.float32), str(error)
    return good, f"{error} The part before that is used." if errors == "warn" else str(error)


def _warn(failures, notes, n_clips):
    if failures:
        advice = "Silence took the place of what is missing. Repair them or leave them out."
        warn(describe_failures(failures, n_clips, advice))
    if notes:
        n = len({position for position, _, _ in notes})
        have = "has a flaw and is" if n == 1 else "have a flaw and are"
        heading = f"{n} of {n_clips} clips {have} used as found:"
        warn(listed(heading, notes))


def load_waveforms(
    X: ClipsLike,
    *,
    sampling_rate: float = SAMPLING_RATE,
    max_duration: float | None = None,
    n_jobs: int | None = None,
    errors: Literal["raise", "warn"] = "raise",
    target_sampling_rate: float = SAMPLING_RATE,
) -> list[np.ndarray]:
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


class GivesWaveforms(TransformerMixin):
    """The part of a transformer from clips to waveforms that knows what these come in."""

    def set_output(self, *, transform: str | None = None) -> Self:
        """Choose what waveforms of a pandas table come in.

        Parameters
        ----------
        transform : {"default", "pandas", "polars"} or None, default=None
            With ``"pandas"``, it is a Series with the index of the table, so that later steps keep
            the rows together; else an array. None changes nothing.

        Returns
        -------
        self : object
        """
        if transform is not None:
            self._sklearn_output_config = {"transform": transform}
        return self

    def _column(self, waveforms, X):
        """Waveforms in an array of objects, or in a Series with the index of `X`."""
        column = np.empty(len(waveforms), dtype=object)
        for index, waveform in enumerate(waveforms):  # one by one: equal lengths would make it 2-D
            column[index] = waveform
        if not hasattr(X, "iloc") or _get_output_config("transform", self)["dense"] != "pandas":
            return column
        import pandas as pd

        return pd.Series(column, index=X.index)


class AudioLoader(GivesWaveforms, BaseEstimator):
    """Decode clips to waveforms, as the first step of a Pipeline.

    Learns nothing: `fit` only checks its input.

    Parameters
    ----------
    sampling_rate : float, default=16000
        Samples per second (Hz) of waveforms that come without their own rate.
    target_sampling_rate : float, default=16000
        Samples per second (Hz) of the result, which an extractor after this step has to be told as
        its `sampling_rate`.
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
        "sampling_rate": [Interval(numbers.Real, *RATE_LIMITS, closed="both")],
        "target_sampling_rate": [Interval(numbers.Real, *RATE_LIMITS, closed="both")],
        "max_duration": [None, Interval(numbers.Real, 0, None, closed="neither")],
        "n_jobs": [None, numbers.Integral],
        "errors": [StrOptions({"raise", "warn"})],
    }

    def __init__(
        self,
        *,
        sampling_rate: float = SAMPLING_RATE,
        target_sampling_rate: float = SAMPLING_RATE,
        max_duration: float | None = None,
        n_jobs: int | None = None,
        errors: Literal["raise", "warn"] = "raise",
    ) -> None:
        self.sampling_rate = sampling_rate
        self.target_sampling_rate = target_sampling_rate
        self.max_duration = max_duration
        self.n_jobs = n_jobs
        self.errors = errors

    @_fit_context(prefer_skip_nested_validation=True)
    def fit(self, X: ClipsLike, y: Any = None) -> Self:
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
        remember_columns(self, X)
        return self

    def transform(self, X: ClipsLike) -> np.ndarray:
        """Decode clips.

        Parameters
        ----------
        X : clips in any form that :func:`as_clips` takes
            The clips.

        Returns
        -------
        ndarray of shape (n_clips,), object
            Each element a 1-D float32 waveform. A Series, where :meth:`set_output` says so.

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
        return self._column(waveforms, X)

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.requires_fit = False
        tags.input_tags.string = True
        tags.transformer_tags.preserves_dtype = []
        return tags

    def __sklearn_is_fitted__(self):
        return True
