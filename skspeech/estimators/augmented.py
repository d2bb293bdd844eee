"""Data augmentation: more training rows, made from the given clips."""

from collections.abc import Sequence
from numbers import Real

import numpy as np
from sklearn.base import BaseEstimator, clone
from sklearn.utils.metaestimators import available_if
from sklearn.utils.validation import check_is_fitted

from skspeech._columns import remember_columns
from skspeech._labels import check_groups
from skspeech._routing import fit_params_for, splits_groups
from skspeech._sklearn import HasMethods, Interval, _fit_context
from skspeech._typing import ArrayLike, ClipsLike, Self
from skspeech._warning import warn
from skspeech.audio import AudioError, Clips, as_clips
from skspeech.audio.copies import kept_together
from skspeech.audio.measuring import usual_duration
from skspeech.audio.rates import sampling_rate_of
from skspeech.estimators.base import ClipClassifier
from skspeech.estimators.targets import check_targets

__all__ = ["AugmentedClassifier"]


def _estimator_has(method):
    return available_if(lambda self: hasattr(self.estimator, method))


class AugmentedClassifier(ClipClassifier):
    """Train a classifier on each clip several times: as it is, at other speeds, and in parts.

    A change of speed shifts pitch and formants, as another voice does, and also the tempo. With a
    few hundred clips this teaches a linear classifier to ignore such differences. Clips are
    predicted as they are, so predicting takes no longer. If pitch or vowels tell your classes
    apart, compare with the classifier alone: there the augmentation can do harm.

    All rows made from one clip are one group to a classifier that holds rows out, such as
    :class:`~skspeech.ShrinkageDiscriminantAnalysis`. Otherwise it would be validated on clips that
    it was trained on at another speed. A search such as
    :class:`~sklearn.model_selection.GridSearchCV` needs a `cv` that keeps groups whole, such as
    :class:`~sklearn.model_selection.StratifiedGroupKFold`; a warning says where it has none.

    Parameters
    ----------
    estimator : classifier
        A classifier of clips, such as a :class:`~sklearn.pipeline.Pipeline` that begins with an
        extractor, or :class:`~skspeech.SpeakerEmbeddingClassifier`.
    speeds : sequence of float, default=(0.9, 1.1)
        Each clip gives one further row at each of these speeds, besides its row at speed 1.
    crop : float or None, default=None
        Length of parts in seconds. Longer clips are also cut, at each speed, into consecutive parts
        of this length, which are further rows ("expanded" in the AutoSpeech challenge). None cuts
        nothing.
    sampling_rate : float or None, default=None
        Sampling rate in Hz of bare waveforms. None is that of `estimator`, 16000 if it has none.

    Attributes
    ----------
    estimator_ : classifier
        The fitted classifier.
    classes_ : ndarray of shape (n_classes,)
        The class labels.
    clip_duration_ : float
        Third quartile of the training clips' durations in seconds.
    n_rows_ : int
        Number of training rows.
    n_features_in_ : int
        Length of the clips in samples, if `X` was a 2-D array.

    See Also
    --------
    FineTunedSpeakerClassifier : A network that is trained with such augmentation.

    References
    ----------
    Ko, T., Peddinti, V., Povey, D. and Khudanpur, S. (2015). Audio augmentation for speech
    recognition. Interspeech.

    Examples
    --------
    >>> from sklearn.pipeline import make_pipeline
    >>> from skspeech import AugmentedClassifier, ShrinkageDiscriminantAnalysis, SpectralStatistics
    >>> from skspeech.datasets import make_tones
    >>> clips = make_tones(n_samples=12, n_classes=2, random_state=0)
    >>> pipeline = make_pipeline(SpectralStatistics(), ShrinkageDiscriminantAnalysis())
    >>> clf = AugmentedClassifier(pipeline).fit(clips.data, clips.target)
    >>> clf.n_rows_, clf.score(clips.data, clips.target)
    (36, 1.0)
    """

    _parameter_constraints: dict = {
        "estimator": [HasMethods(["fit", "predict"])],
        "speeds": ["array-like"],
        "crop": [Interval(Real, 0, None, closed="neither"), None],
        "sampling_rate": [Interval(Real, 0, None, closed="neither"), None],
    }

    __metadata_request__fit = {"groups": True, "sample_weight": True}

    def __init__(
        self,
        estimator: BaseEstimator,
        *,
        speeds: Sequence[float] = (0.9, 1.1),
        crop: float | None = None,
        sampling_rate: float | None = None,
    ) -> None:
        self.estimator = estimator
        self.speeds = speeds
        self.crop = crop
        self.sampling_rate = sampling_rate

    @_fit_context(prefer_skip_nested_validation=False)
    def fit(
        self,
        X: ClipsLike,
        y: ArrayLike,
        groups: ArrayLike | None = None,
        sample_weight: ArrayLike | None = None,
    ) -> Self:
        """Train on the clips and on the rows made from them.

        Parameters
        ----------
        X : sequence of n_clips clips
            Paths, waveforms, ``(waveform, sampling_rate)`` pairs, or a 2-D array, one clip per row.
        y : array-like of shape (n_clips,)
            Their labels.
        groups : array-like of shape (n_clips,), default=None
            Group of each clip, such as its speaker. No group is both in training rows and in
            held-out rows. None: the rows made from one clip are a group.
        sample_weight : array-like of shape (n_clips,), default=None
            How much each clip counts, and each row made from it.

        Returns
        -------
        self : object
            The fitted classifier.

        Raises
        ------
        AudioError
            If clips can't be read. It names every one of them.
        ValueError
            If a parameter, `X`, `y`, `groups` or `sample_weight` is not as above, `y` holds one
            class only, all clips of a class have weight 0, or `sample_weight` is given and
            `estimator` does not take it.
        """
        y = check_targets(self, X, y, sample_weight)
        groups = check_groups(groups, len(y))
        self._check_speeds()
        clips = self._clips(X)
        rows, sources = self._rows(clips)
        estimator = clone(self.estimator)
        groups = kept_together(clips, groups)
        params = self._fit_params(estimator, sources, groups, sample_weight)
        try:
            self.estimator_ = estimator.fit(rows, y[sources], **params)
        except AudioError as error:
            # A clip that can't be read fails at every speed: report it once.
            failures = {position: (position, *rest) for position, *rest in error.failures}
            raise AudioError(failures.values(), len(clips), error.advice) from None
        remember_columns(self, X)
        self.classes_ = self.estimator_.classes_
        self.n_rows_ = len(rows)
        self.clip_duration_ = usual_duration(clips)
        return self

    def predict(self, X: ClipsLike) -> np.ndarray:
        """Predict the labels of clips.

        Parameters
        ----------
        X : sequence of n_clips clips
            As in :meth:`fit`.

        Returns
        -------
        ndarray of shape (n_clips,)
            Their labels.
        """
        check_is_fitted(self)
        return self.estimator_.predict(self._clips(X))

    @_estimator_has("predict_proba")
    def predict_proba(self, X: ClipsLike) -> np.ndarray:
        """Predict the probability of each class.

        Parameters
        ----------
        X : sequence of n_clips clips
            As in :meth:`fit`.

        Returns
        -------
        ndarray of shape (n_clips, n_classes)
            In the order of `classes_`.
        """
        check_is_fitted(self)
        return self.estimator_.predict_proba(self._clips(X))

    @_estimator_has("predict_log_proba")
    def predict_log_proba(self, X: ClipsLike) -> np.ndarray:
        """Predict the logarithm of each class's probability.

        Parameters
        ----------
        X : sequence of n_clips clips
            As in :meth:`fit`.

        Returns
        -------
        ndarray of shape (n_clips, n_classes)
            In the order of `classes_`.
        """
        check_is_fitted(self)
        return self.estimator_.predict_log_proba(self._clips(X))

    @_estimator_has("decision_function")
    def decision_function(self, X: ClipsLike) -> np.ndarray:
        """Compute the scores of the classes.

        Parameters
        ----------
        X : sequence of n_clips clips
            As in :meth:`fit`.

        Returns
        -------
        ndarray of shape (n_clips,) or (n_clips, n_classes)
            As the classifier returns them.
        """
        check_is_fitted(self)
        return self.estimator_.decision_function(self._clips(X))

    def _clips(self, X):
        return as_clips(X, sampling_rate=sampling_rate_of(self))

    def _fit_params(self, estimator, sources, groups, sample_weight):
        """Groups and weights of the rows, if the estimator takes them."""
        if len(sources) > sources.max() + 1:
            groups = sources if groups is None else groups[sources]
        params = fit_params_for(estimator, groups=groups)
        if groups is not None and (splitting := splits_groups(estimator, params)):
            warn(
                f"{', '.join(splitting)} may hold out a clip and be trained on the same clip at "
                "another speed, and will seem better than it is. Use a cv that keeps groups whole, "
                "such as StratifiedGroupKFold; estimators of scikit-learn pass groups on with "
                "sklearn.set_config(enable_metadata_routing=True)."
            )
        if sample_weight is None:
            return params
        weight = np.asarray(sample_weight, dtype=np.float64)[sources]
        weights = fit_params_for(estimator, sample_weight=weight, owner=type(self).__name__)
        if not weights:
            raise ValueError(
                f"estimator={self.estimator!r} does not take sample_weight. Fit without it, or use "
                "a classifier that does."
            )
        return params | weights

    def _check_speeds(self):
        try:
            speeds = np.asarray(self.speeds, dtype=float)
        except (TypeError, ValueError):  # a set, or text
            speeds = np.array([np.nan])
        if speeds.ndim != 1 or not (np.isfinite(speeds) & (speeds > 0)).all():
            raise ValueError(
                f"speeds={self.speeds!r} is not accepted. Give a sequence of numbers above 0, such "
                "as (0.9, 1.1); an empty one plays every clip at its own speed only."
            )

    def _rows(self, clips):
        """All rows as clips that are not decoded yet, and the index of each row's source clip."""
        rows, sources = list(clips), list(range(len(clips)))
        for speed in self.speeds:
            rows += [clip.variant(speed=float(speed)) for clip in clips]
            sources += range(len(clips))
        if self.crop is not None:
            parts = [
                (part, source)
                for row, source in zip(rows, sources, strict=True)
                for part in self._parts(row)
            ]
            rows += [part for part, _ in parts]
            sources += [source for _, source in parts]
        return Clips(rows, [clips.position(source) for source in sources]), np.array(sources)

    def _parts(self, clip):
        try:
            duration = clip.duration()
        except (OSError, ValueError):
            return []  # the clip itself is a row, too, and will raise the error
        if duration <= self.crop:
            return []
        starts = np.arange(0.0, duration - self.crop / 2, self.crop)
        return [
            clip.variant(offset=float(min(start, duration - self.crop)), duration=self.crop)
            for start in starts
        ]

    def __sklearn_is_fitted__(self):
        return hasattr(self, "estimator_")
