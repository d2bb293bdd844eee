"""The meta-estimator: a classifier that may answer "unknown"."""

from numbers import Real
from typing import Literal

import numpy as np
from sklearn import clone
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.frozen import FrozenEstimator
from sklearn.utils import check_array, check_random_state, get_tags
from sklearn.utils.metaestimators import available_if
from sklearn.utils.validation import check_is_fitted

from skspeech._one_clip import OneClipMixin
from skspeech._reporting import ReportMixin
from skspeech._routing import fit_params_for
from skspeech._sklearn import HasMethods, Interval, StrOptions, _fit_context, _safe_indexing
from skspeech._typing import ArrayLike, ClipsLike, RandomState, Self
from skspeech.audio import AudioError
from skspeech.audio.copies import kept_together
from skspeech.ensemble.blending import probabilities_of
from skspeech.estimators.unreadable import (
    fit_without_unreadable,
    goes_on,
    predict_without_unreadable,
)
from skspeech.time_budget.inputs import (
    check_new_rows,
    check_rows,
    check_targets,
    remember_table,
)
from skspeech.unknown.features import extractor_of
from skspeech.unknown.held_out import combined, draw_rows, learn_to_reject
from skspeech.unknown.novelty import measure

__all__ = ["UnknownRejector", "fit_rejector"]

_FARTHEST = 30.0  # log-odds


class UnknownRejector(ReportMixin, OneClipMixin, ClassifierMixin, BaseEstimator):
    """Let a classifier answer "unknown" to clips of classes that it was not trained on.

    A classifier knows only its own classes, and is often confident on clips of other classes. Here,
    it answers only for clips that are near enough to one of its classes. What is near enough is
    learnt from held-out clips, not a constant: a share `target` of the clips of known classes is
    rejected.

    Nearness is measured in the classifier's own features. Those in which the known classes differ
    more count more, as other classes probably differ in them, too. There are two measures, in units
    of the spread within classes: the distance to the nearest class mean [1]_, and how much nearer
    that is than the class means are on average, since clips of other classes tend to be between
    the means [2]_. If `y` has examples of "unknown", a logistic regression learns from them how to
    combine the measures. Otherwise both count alike; each known class is left out once, and its
    clips tell how many of an unknown class will be accepted.

    Parameters
    ----------
    estimator : classifier
        The classifier of the known classes; with `predict_proba` for probabilities. Give one that
        is already fitted on these classes as ``FrozenEstimator(classifier)``.
    method : {"auto", "examples", "leave-class-out"}, default="auto"
        What it learns from. ``"examples"``: the clips whose label is `unknown_label`, which may be
        anything that is of no class, such as background. ``"leave-class-out"``: known classes
        only; clips labelled `unknown_label` are then not used. ``"auto"`` takes examples if some
        can be held out.
    target : float, default=0.05
        Share of the clips of known classes that may be rejected.
    unknown_label : str or int, default="unknown"
        The answer for unknown clips. If labels are numbers, it must be one that is no class, such
        as -1.
    random_state : int, RandomState instance or None, default=None
        Seed of the folds.

    Attributes
    ----------
    estimator_ : classifier
        Fitted on the clips of known classes.
    classes_ : ndarray of shape (n_classes,)
        The known labels, and `unknown_label`.
    threshold_ : float
        A clip is rejected if its score is above this.
    method_ : {"examples", "leave-class-out"}
        What was learnt from.
    false_rejects_ : float
        Share of held-out clips of known classes that were rejected, by thresholds from others.
    false_rejects_interval_ : tuple (low, high, meaning)
        Its interval for clips of a new group, or for new clips if there are no groups: it holds 9
        times of 10, as in :func:`skspeech.metrics.score_interval`.
    false_accepts_ : float
        Share of clips of unknown classes that were not rejected: of the left-out classes, each
        judged by a model of the others; or of the held-out examples.
    false_accepts_interval_ : tuple (low, high, meaning)
        Its interval for another unknown class, or for examples of a new group.
    held_out_scores_ : ndarray of shape (n_held_out,)
        Scores of these clips, above 0 for those that were rejected.
    held_out_unknown_ : ndarray of bool of shape (n_held_out,)
        Which of them were of unknown classes.
    n_features_in_ : int
        Number of features, if `X` is a table.
    feature_names_in_ : ndarray of shape (n_features_in_,)
        Names of the features, if `X` is a table that has them.

    See Also
    --------
    sklearn.metrics.DetCurveDisplay : Draws what other thresholds would do, from
        `held_out_unknown_` and `held_out_scores_`.
    sklearn.model_selection.TunedThresholdClassifierCV : Chooses a threshold between two classes.

    Notes
    -----
    A left-out class is the best estimate of what a new one will be like, but no guarantee: music is
    easier to tell from nine words than a tenth word is. A few examples of what will really occur
    help most.

    A rejector has one class more than `y`. What trains several classifiers, or expects a column of
    probabilities for each label of `y`, such as :class:`~sklearn.multiclass.OneVsRestClassifier`,
    goes inside: ``UnknownRejector(OneVsRestClassifier(classifier))``. Around a rejector, it takes
    one column for another.

    References
    ----------
    .. [1] K. Lee, K. Lee, H. Lee, J. Shin, "A simple unified framework for detecting
           out-of-distribution samples and adversarial attacks", NeurIPS 2018.
    .. [2] S. Vaze, K. Han, A. Vedaldi, A. Zisserman, "Open-set recognition: a good closed-set
           classifier is all you need?", ICLR 2022.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn.pipeline import make_pipeline
    >>> from skspeech import ShrinkageDiscriminantAnalysis, SpectralStatistics, UnknownRejector
    >>> from skspeech.datasets import make_tones
    >>> tones = make_tones(120, n_classes=6, duration=0.3, random_state=0)
    >>> labels = np.array(["a", "b", "c", "d", "e", "f"])[tones.target]
    >>> known = labels < "e"  # of two classes nothing is known
    >>> X = [clip for clip, is_known in zip(tones.data, known) if is_known]
    >>> classifier = make_pipeline(SpectralStatistics(), ShrinkageDiscriminantAnalysis())
    >>> rejector = UnknownRejector(classifier, random_state=0).fit(X, labels[known])
    >>> answers = rejector.predict(tones.data)
    >>> bool(np.mean(answers[~known] == "unknown") > 0.5)
    True
    >>> rejector.classes_.tolist()
    ['a', 'b', 'c', 'd', 'unknown']
    """

    _parameter_constraints: dict = {
        "estimator": [HasMethods(["fit", "predict"])],
        "method": [StrOptions({"auto", "examples", "leave-class-out"})],
        "target": [Interval(Real, 0, 1, closed="neither")],
        "unknown_label": [str, Real],
        "random_state": ["random_state"],
    }

    __metadata_request__fit = {"groups": True}

    def __init__(
        self,
        estimator: BaseEstimator,
        *,
        method: Literal["auto", "examples", "leave-class-out"] = "auto",
        target: float = 0.05,
        unknown_label: str | int = "unknown",
        random_state: RandomState = None,
    ) -> None:
        self.estimator = estimator
        self.method = method
        self.target = target
        self.unknown_label = unknown_label
        self.random_state = random_state

    @_fit_context(prefer_skip_nested_validation=False)
    def fit(self, X: ClipsLike, y: ArrayLike, groups: ArrayLike | None = None) -> Self:
        """Train the classifier on the known classes, and learn which clips are of none of them.

        Parameters
        ----------
        X : sequence of n_samples clips, or array-like of shape (n_samples, n_features)
            What the classifier takes.
        y : array-like of shape (n_samples,)
            The labels; `unknown_label` for clips that are of no class.
        groups : array-like of shape (n_samples,), default=None
            Groups, such as speakers, that must not be both in training rows and in held-out rows.
            They are also passed to the classifier, if it takes them.

        Returns
        -------
        self : UnknownRejector

        Raises
        ------
        AudioError
            If clips can't be read. It names every one of them.
        ValueError
            If labels are missing, are of another kind than `unknown_label`, or fewer than two of
            them are known; if an estimator that is already fitted knows others; if
            ``method="examples"`` and there are none; or if lengths differ.

        Warns
        -----
        UserWarning
            If no clip can be held out, so that nothing is rejected, or only by splitting groups.
        """
        X = check_rows(X)
        y, groups, *_ = check_targets(self, X, y, groups, None)
        _check_label(self.unknown_label, y)
        is_unknown = y == self.unknown_label
        known = np.flatnonzero(~is_unknown)
        if self.method == "examples" and len(known) == len(y):
            raise ValueError(
                f"method='examples' needs clips whose label is {self.unknown_label!r}; y has none. "
                "Use method='auto', or add such clips."
            )
        labels = np.unique(y[known])
        if len(labels) < 2:
            raise ValueError(
                f"{type(self).__name__} needs clips of at least 2 known classes, but y holds only "
                f"{labels.tolist()}."
            )
        own_groups = None if groups is None else groups[known]
        params = fit_params_for(self.estimator, groups=own_groups, owner=type(self).__name__)
        try:
            own = _safe_indexing(X, known)
            classifier = clone(self.estimator).fit(own, y[known], **params)
        except AudioError as error:
            failures = [(int(known[position]), *rest) for position, *rest in error.failures]
            raise AudioError(failures, len(y), error.advice) from None
        _check_classes(classifier, labels)
        self.__dict__.pop("threshold_", None)  # that of an earlier fit
        remember_table(self, X)
        self.estimator_, self._extractor = classifier, extractor_of(classifier)
        kind = object if labels.dtype == object else None
        self.classes_ = np.unique(np.append(labels, np.array([self.unknown_label], dtype=kind)))
        codes = np.full(len(y), -1)
        codes[known] = np.searchsorted(labels, y[known])
        if self._extractor is not None:
            self._extractor.fit(X)
        self._seed = check_random_state(self.random_state).randint(2**31 - 1)
        used = draw_rows(codes, self._seed)
        drawn, groups = _safe_indexing(X, used), None if groups is None else groups[used]
        features, rows = self._read(drawn, y[used])
        kept = kept_together(drawn, groups, are_clips=self._extractor is not None)
        codes = codes[used][rows]
        groups, kept = (None if g is None else g[rows] for g in (groups, kept))
        found = learn_to_reject(features, codes, groups, kept, self.method, self.target, self._seed)
        self._scaler, self._models, self.method_ = found.scaler, found.models, found.method
        self._combiner, self.threshold_ = found.learnt.combiner, found.learnt.threshold
        self.held_out_scores_ = found.learnt.scores
        self.held_out_unknown_ = found.learnt.unknown
        self.false_rejects_, self.false_rejects_interval_ = found.false_rejects
        self.false_accepts_, self.false_accepts_interval_ = found.false_accepts
        return self

    def predict(self, X: ClipsLike) -> np.ndarray:
        """Predict the label of each clip, or that it is unknown.

        Parameters
        ----------
        X : sequence of n_samples clips, or array-like of shape (n_samples, n_features)
            As in :meth:`fit`.

        Returns
        -------
        ndarray of shape (n_samples,)
            Their labels.
        """
        scores = self.unknown_score(X)
        labels = np.asarray(self.estimator_.predict(X)).astype(self.classes_.dtype)
        labels[scores > 0] = self.unknown_label
        return labels

    @available_if(lambda self: hasattr(self.estimator, "predict_proba"))
    def predict_proba(self, X: ClipsLike) -> np.ndarray:
        """Predict the probability of each class, and of "unknown".

        Parameters
        ----------
        X : sequence of n_samples clips, or array-like of shape (n_samples, n_features)
            As in :meth:`fit`.

        Returns
        -------
        ndarray of shape (n_samples, n_classes)
            In the order of `classes_`; each row sums to 1. That of `unknown_label` is the largest
            for the clips that are rejected.
        """
        scores = self.unknown_score(X)
        known = probabilities_of(self.estimator_, X)
        odds = known.max(axis=1) * np.exp(np.clip(scores, -_FARTHEST, _FARTHEST))
        proba = np.zeros((len(known), len(self.classes_)))
        column = np.searchsorted(self.classes_, self.estimator_.classes_)
        proba[:, column] = known / (1 + odds)[:, np.newaxis]
        proba[:, self.classes_ == self.unknown_label] = (odds / (1 + odds))[:, np.newaxis]
        return proba

    def unknown_score(self, X: ClipsLike) -> np.ndarray:
        """Score how unlike the known classes clips are.

        Parameters
        ----------
        X : sequence of n_samples clips, or array-like of shape (n_samples, n_features)
            As in :meth:`fit`.

        Returns
        -------
        ndarray of shape (n_samples,)
            Above 0 for clips that are rejected. Infinite for clips that can't be read, if the
            estimator continues without them (``errors="warn"``).
        """
        _check_fitted(self)
        X = check_new_rows(self, X)
        if not goes_on(self.estimator_):
            return self._score(X)
        advice = "They are taken for unknown."
        return predict_without_unreadable(self._score, X, np.inf, advice)

    def _score(self, X):
        rows = np.asarray(self._scaler.transform(self._features(X)))
        scores = [combined(self._combiner, measure(model, rows)) for model in self._models]
        return np.mean(scores, axis=0) - self.threshold_

    def _read(self, X, y):
        """Features of the clips that can be read, and which these are."""
        if not goes_on(self.estimator_):
            return self._features(X), slice(None)
        return fit_without_unreadable(self._features, X, y)

    def _features(self, X):
        features = X if self._extractor is None else self._extractor.transform(X)
        return _as_numbers(features)

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        own = get_tags(self.estimator)
        tags.input_tags.string = own.input_tags.string
        tags.classifier_tags.poor_score = own.classifier_tags.poor_score
        return tags

    def __sklearn_is_fitted__(self):
        return hasattr(self, "threshold_")


def _check_fitted(rejector):
    """Check that it is fitted, and with the answer for unknown clips that it has now."""
    check_is_fitted(rejector)
    known = np.asarray(getattr(rejector.estimator_, "classes_", []))
    if rejector.unknown_label not in set(rejector.classes_.tolist()) - set(known.tolist()):
        raise ValueError(
            f"unknown_label={rejector.unknown_label!r} is not what the rejector was fitted with. "
            "Fit it again."
        )


def _as_numbers(features):
    try:
        return check_array(features, dtype=[np.float64, np.float32])
    except ValueError as error:
        if "could not convert" not in str(error):
            raise
        raise ValueError(
            "X holds text, but how near it is to the classes is measured in numbers. Put what "
            "makes numbers of it in front: make_pipeline(columns, UnknownRejector(classifier))."
        ) from error


def fit_rejector(classifier, X, y, groups, target, random_state=0):
    """Add the answer "unknown" to a classifier that is already fitted.

    Parameters
    ----------
    classifier : classifier
    X, y, groups
        As in :meth:`UnknownRejector.fit`.
    target : float
        Share of the clips of known classes that may be rejected.
    random_state : int, default=0
        Seed of the folds.

    Returns
    -------
    UnknownRejector
    """
    frozen = FrozenEstimator(classifier)
    rejector = UnknownRejector(frozen, target=target, random_state=random_state)
    return rejector.fit(X, y, groups=groups)


def _check_classes(classifier, labels):
    """Check that a classifier that was fitted before knows the labels, and no others."""
    known = set(np.asarray(getattr(classifier, "classes_", labels)).tolist())
    if others := sorted(known.symmetric_difference(labels.tolist()), key=str):
        raise ValueError(
            f"The classifier knows the classes {sorted(known, key=str)}, and y holds "
            f"{labels.tolist()}: only one of both has {others}. Give clips of all classes that it "
            "knows, and label those of other classes as unknown."
        )


def _check_label(unknown_label, y):
    """Check that `unknown_label` is of the same kind as the labels, and not NaN."""
    is_text, is_nan = y.dtype.kind in "OSU", unknown_label != unknown_label
    if is_text != isinstance(unknown_label, str) or is_nan or y.dtype.kind == "b":
        needed = "text"
        if not is_text:
            needed = (
                "a number that is no class, such as -1, or text in y. What made numbers of your "
                "labels, such as a OneVsRestClassifier around this rejector, goes inside: "
                "UnknownRejector(OneVsRestClassifier(classifier))"
            )
        raise ValueError(
            f"unknown_label={unknown_label!r} is not of the kind of the labels, such as "
            f"{y[:1].tolist()[0]!r}. Use {needed}."
        )
