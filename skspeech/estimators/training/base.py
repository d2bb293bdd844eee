"""The base class of the classifiers that train a network on the clips."""

import time
from abc import abstractmethod
from collections.abc import Iterator
from numbers import Integral, Real
from typing import NamedTuple

import numpy as np
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_consistent_length, check_is_fitted

from skspeech._columns import remember_columns
from skspeech._folds import stratified_folds
from skspeech._labels import check_groups, check_labels, unknown_labels
from skspeech._sklearn import Interval, StrOptions
from skspeech._typing import ArrayLike, ClipsLike, Self
from skspeech._warning import warn
from skspeech.audio import as_clips, in_chunks, iter_waveforms
from skspeech.audio.copies import kept_together
from skspeech.audio.level import LEVEL, LEVELS, at_level
from skspeech.audio.measuring import usual_duration
from skspeech.estimators.base import ClipClassifier
from skspeech.estimators.targets import check_targets
from skspeech.estimators.unreadable import fit_without_unreadable, predict_without_unreadable

__all__ = ["PARAGRAPHS", "LabelledWaveforms", "TrainedClassifier", "TrainingData", "check_sizes"]

# Seconds of audio that are predicted at once: memory does not grow with the number of clips.
_CHUNK_SECONDS = 600.0
# Documentation of the parameters and attributes that all these classes share. `fitted` ends with
# `history_`: a class goes on with what its own rows hold.
PARAGRAPHS = {
    "limits": """
validation_fraction : float, default=0.2
    Share of the clips that is held out for validation, unless `fit` gets validation clips: one of
    ``round(1 / validation_fraction)`` equal parts, so 0.4 is a half.
max_time : float or None, default=None
    Seconds that `fit` may take; how much is trained adapts to it.
""",
    "level": LEVEL,
    "running": """
max_duration : float or None, default=30.0
    Read only this many seconds of each clip; None reads all of it.
sampling_rate : int, default=16000
    Sampling rate in Hz of bare waveforms. Files and ``(waveform, sampling_rate)`` pairs bring
    their own.
device : str or torch.device, default="auto"
    ``"auto"`` is a GPU where there is one, else the CPU.
n_jobs : int or None, default=None
    Threads that decode audio.
errors : {"raise", "warn"}, default="raise"
    What to do with clips that can't be read: one error that names them all, or one warning.
    Then `fit` leaves them out with their labels, and is an error only where none is left of a
    class; the prediction for them is how frequent the classes were.
warm_start : bool, default=False
    Whether `fit` continues from what the last `fit` has learnt, with the same classes. Give
    `random_state` a number then, so that the same clips are held out.
callbacks : callable, list of callables or None, default=None
    Called after each epoch with this classifier and the new row of `history_`.
random_state : int, RandomState instance or None, default=None
    Seed of everything that is drawn. On a CPU the same seed gives the same result, as long as
    `max_time` does not end the training.
verbose : int, default=0
    Print a line after each epoch.
""",
    "fitted": """
clip_duration_ : float
    Third quartile of the training clips' durations in seconds.
classes_ : ndarray of shape (n_classes,)
    The labels.
n_features_in_ : int
    Samples a clip; only where `fit` saw a 2-D array.
feature_names_in_ : ndarray of shape (n_features_in_,)
    Columns of the table; only where `fit` saw a DataFrame of numbers.
history_ : list of dict
    A row for each epoch: its number (``epoch``), the seconds since the start (``time``), which
    ``network`` was trained, its ``train_loss``, and on the validation clips its ``valid_loss`` and
    its ``valid_score``, the balanced accuracy.
""",
}


def check_sizes(name, sizes, advice, n_least=1):
    """Check that a parameter holds at least so many whole numbers above 0, one for each layer."""
    are_sizes = all(isinstance(size, Integral) and size > 0 for size in sizes)
    if isinstance(sizes, set | frozenset) or not are_sizes or len(sizes) < n_least:
        raise ValueError(f"{name}={sizes!r} is not accepted. {advice}")


class LabelledWaveforms(NamedTuple):
    """Decoded clips and their labels."""

    waveforms: list  # of ndarray of shape (n_samples,), float32, at 16 kHz
    codes: np.ndarray  # position of each clip's label in `classes_`


class TrainingData(NamedTuple):
    """The training clips of a network, and its validation clips."""

    train: LabelledWaveforms
    valid: LabelledWaveforms
    # Where the validation clips come from: "held out" from `X`, "given" by the user, or, if there
    # are too few clips or groups, "training": they are the training clips.
    judges: str
    rng: np.random.RandomState


class TrainedClassifier(ClipClassifier):
    """Checks and decodes clips, normalizes their level, holds some out, keeps time and history.

    A subclass writes two methods. `_train` is a generator: it trains, calls `_record` after each
    epoch, and yields each time `_predict_waveforms` has become better. What it has learnt it keeps
    in attributes that end in an underscore and hold plain values and arrays, so that a pickle needs
    no deep learning library; live networks are kept in `_live`, a dictionary that is not pickled
    and is filled again when it is needed.
    """

    _parameter_constraints: dict = {
        "batch_size": [Interval(Integral, 1, None, closed="left")],
        "max_epochs": [Interval(Integral, 1, None, closed="left")],
        "patience": [Interval(Integral, 1, None, closed="left")],
        "validation_fraction": [Interval(Real, 0, 0.5, closed="neither")],
        "max_time": [Interval(Real, 0, None, closed="neither"), None],
        "level": LEVELS,
        "max_duration": [Interval(Real, 0, None, closed="neither"), None],
        "sampling_rate": [Interval(Real, 0, None, closed="neither")],
        "device": "no_validation",  # by resolve_device
        "n_jobs": [Integral, None],
        "errors": [StrOptions({"raise", "warn"})],
        "warm_start": ["boolean"],
        "callbacks": [callable, list, tuple, None],
        "random_state": ["random_state"],
        "verbose": ["verbose"],
    }

    __metadata_request__fit = {"groups": True}

    @abstractmethod
    def _train(self, data):
        """Train on a `TrainingData`; yield each time predictions have become better.

        `_starts_warm` says whether to go on from what was learnt before.
        """

    @abstractmethod
    def _predict_waveforms(self, waveforms):
        """Probabilities (n_clips, n_classes) for a list of waveforms."""

    def fit(
        self,
        X: ClipsLike,
        y: ArrayLike,
        *,
        groups: ArrayLike | None = None,
        X_val: ClipsLike | None = None,
        y_val: ArrayLike | None = None,
    ) -> Self:
        """Train until the held-out score stops rising, or `max_time` is over.

        Parameters
        ----------
        X : sequence of n_clips clips
            Paths, waveforms, ``(waveform, sampling_rate)`` pairs, or a 2-D array, one clip per row.
        y : array-like of shape (n_clips,)
            Their labels.
        groups : array-like of shape (n_clips,), default=None
            Group of each clip, such as its speaker. No group is both in training clips and in
            held-out clips. If none can be held out, the training clips are used for validation.
        X_val : sequence of clips, default=None
            Validation clips, used in place of held-out clips.
        y_val : array-like, default=None
            Their labels; all have to occur in `y`.

        Returns
        -------
        self : object
            The fitted classifier, with the best weights.

        Raises
        ------
        AudioError
            If clips can't be read. It names every one of them.
        ValueError
            If a parameter, `X`, `y`, `groups` or the validation set is not as above, or `y` holds
            one class only.
        """
        has_learnt = self.warm_start and self.__sklearn_is_fitted__()
        try:
            for _ in self.iter_fit(X, y, groups=groups, X_val=X_val, y_val=y_val):
                has_learnt = True
        except KeyboardInterrupt:
            if not has_learnt:  # what an earlier fit has learnt is no answer to this one
                raise
            warn(
                f"{type(self).__name__} was interrupted after {self.history_[-1]['time']:.1f} s "
                "and keeps the best weights so far."
            )
        return self

    def iter_fit(
        self,
        X: ClipsLike,
        y: ArrayLike,
        *,
        groups: ArrayLike | None = None,
        X_val: ClipsLike | None = None,
        y_val: ArrayLike | None = None,
    ) -> Iterator[Self]:
        """Train, and yield this classifier each time it is better.

        Closing the generator stops the training.

        Parameters
        ----------
        X : sequence of n_clips clips
            As in :meth:`fit`.
        y : array-like of shape (n_clips,)
            Their labels.
        groups : array-like of shape (n_clips,), default=None
            As in :meth:`fit`.
        X_val : sequence of clips, default=None
            As in :meth:`fit`.
        y_val : array-like, default=None
            As in :meth:`fit`.

        Yields
        ------
        self : object
            This classifier, fitted; the same object each time.
        """
        self._started = time.monotonic()
        self._validate_params()
        y = check_targets(self, X, y)
        classes, codes = np.unique(y, return_inverse=True)
        self._starts_warm = self.warm_start and self.__sklearn_is_fitted__()
        if self._starts_warm and not np.array_equal(classes, self.classes_):
            raise ValueError(
                f"warm_start=True goes on with the classes {self.classes_.tolist()}, but y holds "
                f"{classes.tolist()}. Use the same classes, or warm_start=False."
            )
        data = self._make_data(X, codes, classes, groups, X_val, y_val)
        remember_columns(self, X)
        if not self._starts_warm:
            self._forget()
            self.history_ = []
        self.classes_ = classes
        self.clip_duration_ = usual_duration(as_clips(X, sampling_rate=self.sampling_rate))
        self._trained_before = self.history_[-1]["time"] if self.history_ else 0.0
        for _ in self._train(data):
            self._is_fitted = True
            yield self

    def predict_proba(self, X: ClipsLike) -> np.ndarray:
        """Predict the probability of each class.

        Parameters
        ----------
        X : sequence of n_clips clips
            As in :meth:`fit`.

        Returns
        -------
        ndarray of shape (n_clips, n_classes)
            In the order of `classes_`; each row sums to 1.

        Raises
        ------
        AudioError
            If clips can't be read. It names every one of them.
        """
        check_is_fitted(self)
        clips = as_clips(X, sampling_rate=self.sampling_rate)
        if self.errors == "raise":
            return self._predict_clips(clips)
        prior = getattr(self, "_prior", np.full(len(self.classes_), 1 / len(self.classes_)))
        return predict_without_unreadable(self._predict_clips, clips, prior)

    def _predict_clips(self, clips):
        chunks = in_chunks(self._waveforms(clips), _CHUNK_SECONDS)
        proba = np.concatenate([self._predict_waveforms(chunk) for chunk in chunks])
        proba = proba.astype(np.float64, copy=False)
        return proba / proba.sum(axis=1, keepdims=True)

    def _make_data(self, X, codes, classes, groups, X_val, y_val):
        rng = check_random_state(self.random_state)
        if (X_val is None) != (y_val is None):
            raise ValueError("X_val and y_val belong together: give both of them, or neither.")
        groups = check_groups(groups, len(codes))
        given = None if X_val is None else self._validation_set(X_val, y_val, classes)
        waveforms, rows = self._decode(X, classes[codes])
        codes = codes[rows]
        self._prior = np.bincount(codes, minlength=len(classes)) / len(codes)
        if given is not None:
            return TrainingData(LabelledWaveforms(waveforms, codes), given, "given", rng)
        n_folds = max(2, round(1 / self.validation_fraction))
        rare = np.bincount(codes)[codes] < 3
        has_groups = groups is not None
        groups = kept_together(as_clips(X), groups, n_jobs=self.n_jobs)
        groups = np.arange(len(codes)) if groups is None else groups[rows]
        if not has_groups:  # a network needs every clip of a class that has so few
            groups = np.where(rare, -1 - codes, groups)
        folds = stratified_folds(codes, n_folds, groups=groups, random_state=rng, only_first=True)
        if not folds or len(np.unique(codes[folds[0][1]])) < 2:  # one class is always right
            clips = LabelledWaveforms(waveforms, codes)
            return TrainingData(clips, clips, "training", rng)
        train, valid = (
            LabelledWaveforms([waveforms[i] for i in rows], codes[rows]) for rows in folds[0]
        )
        return TrainingData(train, valid, "held out", rng)

    def _validation_set(self, X_val, y_val, classes):
        y_val = check_labels(y_val, "y_val")
        check_consistent_length(as_clips(X_val), y_val)
        if unknown := unknown_labels(y_val, classes):
            raise ValueError(f"y_val holds the classes {unknown}, which are not in y.")
        waveforms, rows = self._decode(X_val, y_val)
        return LabelledWaveforms(waveforms, np.searchsorted(classes, y_val[rows]))

    def _decode(self, X, y):
        """Waveforms of the readable clips, and the indices of these clips."""
        clips = as_clips(X, sampling_rate=self.sampling_rate)
        if self.errors == "raise":
            return list(self._waveforms(clips)), slice(None)
        return fit_without_unreadable(lambda clips: list(self._waveforms(clips)), clips, y)

    def _waveforms(self, clips):
        """Clips one after another, decoded and normalized in level."""
        waveforms = iter_waveforms(clips, max_duration=self.max_duration, n_jobs=self.n_jobs)
        return (at_level(waveform, self.level) for _, waveform in waveforms)

    def _time_left(self):
        """Seconds until `max_time` is over; infinity if there is no limit."""
        if self.max_time is None:
            return np.inf
        return self.max_time - (time.monotonic() - self._started)

    def _record(self, **row):
        """Add an epoch's results to `history_`, print them, and call the callbacks."""
        seconds = self._trained_before + time.monotonic() - self._started
        row = {"epoch": len(self.history_) + 1, "time": seconds, **row}
        self.history_.append(row)
        if self.verbose:
            values = "  ".join(
                f"{key} {value:.4f}" if isinstance(value, float) else f"{key} {value}"
                for key, value in row.items()
            )
            print(f"[{type(self).__name__}] {values}", flush=True)
        callbacks = self.callbacks or []
        for callback in [callbacks] if callable(callbacks) else callbacks:
            callback(self, row)

    def _forget(self):
        """Drop what an earlier fit has learnt."""
        self._is_fitted = False
        self._live = {}

    def __sklearn_is_fitted__(self):
        return getattr(self, "_is_fitted", False)

    def __getstate__(self):
        state = {**super().__getstate__(), "_live": {}}
        if self.__sklearn_is_fitted__():
            state["callbacks"] = None  # tied to this process, and not needed to predict
        return state

    def __setstate__(self, state):
        super().__setstate__({"level": None, **state})  # pickled before there was one
