"""Scores of held-out probabilities: how good an ensemble is, and with what standard error."""

import warnings
from collections.abc import Callable

import numpy as np
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.metrics import get_scorer

from skspeech._typing import ArrayLike
from skspeech.ensemble.blending import blend_known

__all__ = [
    "ProbabilityScore",
    "balanced_accuracy",
    "cross_fitted_blend",
    "cross_fitted_score",
    "is_better",
    "log_likelihoods",
    "neg_log_loss",
    "score_known",
    "standard_error",
]

_TIED = 1e-9
# A new ensemble's log loss has to be lower by this many standard errors. Chosen by experiment: with
# 0, a run follows chance, and with 1, it refuses gains that hold on the test part.
_SURE_ERRORS = 0.5


class ProbabilityScore:
    """A scikit-learn scorer that is computed from probabilities and labels alone.

    Parameters
    ----------
    scoring : str or callable
        A name that :func:`sklearn.metrics.get_scorer` knows, or a ``scorer(estimator, X, y)``.
    classes : array-like of shape (n_classes,)
        The labels, in the order of the probabilities' columns.

    Examples
    --------
    >>> from skspeech.selection import ProbabilityScore
    >>> score = ProbabilityScore("balanced_accuracy", ["no", "yes"])
    >>> score([[0.9, 0.1], [0.6, 0.4], [0.2, 0.8]], [0, 1, 1])
    0.75
    """

    def __init__(self, scoring, classes):
        self.scoring = scoring
        self.classes = np.asarray(classes)
        self._fast = _FAST_SCORES.get(scoring) if isinstance(scoring, str) else None
        if self._fast is None:
            self._scorer = get_scorer(scoring) if isinstance(scoring, str) else scoring

    def __call__(self, proba, y):
        """Score probabilities.

        Parameters
        ----------
        proba : array-like of shape (n_samples, n_classes)
            Probabilities; they need not sum to 1 for scores that look only at the best class.
        y : array-like of int of shape (n_samples,)
            Index into `classes` of each row's label.

        Returns
        -------
        float
            Higher is better. NaN where the score is not defined, such as the area under the ROC
            curve of rows that lack a class.
        """
        proba, y = np.asarray(proba), np.asarray(y)
        if self._fast is not None:
            return self._fast(proba, y)
        oracle = _Oracle(proba / proba.sum(axis=1, keepdims=True), self.classes)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                return float(self._scorer(oracle, np.arange(len(y)), self.classes[y]))
            except (ValueError, ArithmeticError):
                return float("nan")


class _Oracle(ClassifierMixin, BaseEstimator):
    """A fitted classifier that returns known probabilities; its `X` are row numbers."""

    def __init__(self, proba, classes):
        self.proba = proba
        self.classes_ = classes

    def fit(self, X, y):
        return self

    def __sklearn_is_fitted__(self):
        return True

    def predict_proba(self, X):
        return self.proba[X]

    def predict(self, X):
        return self.classes_[self.proba[X].argmax(axis=1)]


def _accuracy(proba, y):
    return float(np.mean(proba.argmax(axis=1) == y))


def balanced_accuracy(proba, y):
    """Mean recall over the classes that occur in `y`; a row's prediction is its likeliest class.

    This is scikit-learn's ``balanced_accuracy_score``, computed from probabilities or their
    logarithms.
    """
    counts = np.bincount(y)
    hits = np.bincount(y[proba.argmax(axis=1) == y], minlength=len(counts))
    present = counts > 0
    return float(np.mean(hits[present] / counts[present]))


def log_likelihoods(proba, y):
    """Log of the probability of each row's true class; `proba` need not sum to 1.

    As in scikit-learn, 0 counts as the smallest step from 1.
    """
    own = proba[..., np.arange(len(y)), y] / proba.sum(axis=-1)
    return np.log(np.maximum(own, np.finfo(float).eps))


def neg_log_loss(proba, y):
    """Mean log-likelihood of the rows: higher is better."""
    return float(np.mean(log_likelihoods(proba, y)))


def standard_error(values, units):
    """Standard error of a mean over rows that come in units.

    Rows of one unit, such as clips of one speaker, are correlated. So the standard error depends on
    the number of units, not on the number of rows.

    Parameters
    ----------
    values : array-like of shape (n_rows,)
        The values that are averaged.
    units : array-like of int of shape (n_rows,)
        The unit of each row.

    Returns
    -------
    float
        Infinite if there are fewer than two units.

    Examples
    --------
    >>> from skspeech.ensemble.scoring import standard_error
    >>> round(standard_error([0.0, 1.0, 0.0, 1.0], [0, 1, 2, 3]), 2)
    0.29
    >>> round(standard_error([0.0, 0.0, 1.0, 1.0], [0, 0, 1, 1]), 2)
    0.5
    """
    values = np.asarray(values, dtype=np.float64)
    own = np.unique(units, return_inverse=True)[1]
    n_units = own.max(initial=-1) + 1
    if n_units < 2:
        return float("inf")
    sums = np.bincount(own, values - values.mean())
    return float(np.sqrt(np.sum(sums**2) * n_units / (n_units - 1)) / len(values))


_FAST_SCORES = {
    "accuracy": _accuracy,
    "balanced_accuracy": balanced_accuracy,
    "neg_log_loss": neg_log_loss,
}


def cross_fitted_score(
    logs: np.ndarray,
    y: np.ndarray,
    *,
    score: Callable,
    parts: ArrayLike,
    select: Callable,
    units: ArrayLike | None = None,
) -> float:
    """Score an ensemble on rows that its weights were not chosen on.

    For each part of the rows, the weights are chosen on the other parts and applied to this one. So
    the score judges how members are chosen, without the optimism of scoring on the same rows.

    Parameters
    ----------
    logs : ndarray of shape (n_candidates, n_rows, n_classes)
        Held-out log-probabilities; rows of NaN where a candidate made no prediction.
    y : ndarray of int of shape (n_rows,)
        Index of each row's class.
    score : callable
        ``score(proba, y)``, higher is better.
    parts : array-like of int of shape (n_rows,)
        The part of each row, such as the fold that held it out. At least two.
    select : callable
        ``select(rows)`` gets positions of rows and returns weights chosen on them alone, of shape
        (n_candidates,).
    units : array-like of int of shape (n_rows,), default=None
        The unit of each row. When weights are chosen for a part, all rows of its units are left
        out, such as the same clip in another repeat of the validation.

    Returns
    -------
    float
        The score of all rows for which weights could be chosen on other rows; NaN if there are
        none, or if the score is not defined.

    Examples
    --------
    >>> import numpy as np
    >>> from skspeech.selection import (
    ...     ProbabilityScore,
    ...     cross_fitted_score,
    ...     log_probas,
    ...     select_members,
    ... )
    >>> y, parts = np.array([0, 1, 0, 1]), np.array([0, 0, 1, 1])
    >>> lucky = [[0.9, 0.1], [0.1, 0.9], [0.1, 0.9], [0.9, 0.1]]
    >>> steady = [[0.6, 0.4], [0.4, 0.6], [0.6, 0.4], [0.4, 0.6]]
    >>> score = ProbabilityScore("accuracy", ["no", "yes"])
    >>> logs = log_probas([lucky, steady])
    >>> def select(rows):
    ...     return select_members(logs[:, rows], y[rows], score=score, rule="greedy")
    >>> cross_fitted_score(logs, y, score=score, parts=parts, select=select)
    0.5
    """
    blended = cross_fitted_blend(logs, parts=parts, select=select, units=units)
    return score_known(blended, np.asarray(y), score)


def score_known(blended, y, score):
    """Score the rows of a blend that are not NaN; NaN if there are none."""
    known = ~np.isnan(blended[:, 0])
    return float(score(blended[known], y[known])) if known.any() else float("nan")


def cross_fitted_blend(logs, *, parts, select, units=None):
    """Blend each part with weights chosen on the others, as :func:`cross_fitted_score` does.

    Returns
    -------
    ndarray of shape (n_rows, n_classes)
        Probabilities; NaN for rows for which no weights could be chosen on other rows.
    """
    parts = np.asarray(parts)
    units = np.arange(len(parts)) if units is None else np.asarray(units)
    blended = np.full(logs.shape[1:], np.nan)
    for part in np.unique(parts):
        own = parts == part
        others = np.flatnonzero(~np.isin(units, units[own]))
        weights = select(others) if len(others) else np.zeros(len(logs))
        if weights.any():
            blended[own] = blend_known(logs[:, own], weights)
    return blended


def is_better(
    new_blend: np.ndarray,
    old_blend: np.ndarray,
    y: np.ndarray,
    *,
    score: Callable,
    units: ArrayLike | None = None,
) -> bool:
    """Whether a new ensemble should replace the current one.

    It has to lower the log loss by more than half a standard error of the difference. If it has
    predictions for more held-out rows than the old one, it is enough that it raises the log loss by
    no more than one standard error. And the score must not fall by more than its standard error.
    Small gains are mostly chance, and a run that follows them ends below the best point of its own
    learning curve.

    Parameters
    ----------
    new_blend, old_blend : ndarray of shape (n_rows, n_classes)
        Held-out probabilities; rows of NaN where no member made a prediction. They are compared
        on the rows that both have.
    y : ndarray of int of shape (n_rows,)
        Index of each row's class.
    score : callable
        ``score(proba, y)``, higher is better.
    units : array-like of int of shape (n_rows,), default=None
        As in :func:`select_members`.

    Returns
    -------
    bool

    Examples
    --------
    >>> import numpy as np
    >>> from skspeech.selection import ProbabilityScore, is_better
    >>> y = np.arange(40) % 2
    >>> score = ProbabilityScore("accuracy", ["no", "yes"])
    >>> unsure = np.where(np.eye(2)[y] == 1, 0.6, 0.4)
    >>> sure = np.where(np.eye(2)[y] == 1, 0.9, 0.1)
    >>> is_better(sure, unsure, y, score=score), is_better(unsure, sure, y, score=score)
    (True, False)
    """
    y = np.asarray(y)
    units = np.arange(len(y)) if units is None else np.asarray(units)
    new_rows, old_rows = ~np.isnan(new_blend[:, 0]), ~np.isnan(old_blend[:, 0])
    rows = new_rows & old_rows
    if not rows.any():
        return bool(new_rows.sum() > old_rows.sum())
    new, old, y, units = new_blend[rows], old_blend[rows], y[rows], units[rows]
    gains = log_likelihoods(new, y) - log_likelihoods(old, y)
    error = standard_error(gains, units)
    if new_rows.sum() > old_rows.sum():
        good = gains.mean() >= -error  # validated on more rows: it need not be better
    else:
        good = gains.mean() > _SURE_ERRORS * error
    return bool(good) and not _falls(score, new, old, y, units)


def _falls(score, new, old, y, units, n_blocks=20):
    """Whether the score falls by more than its jackknife standard error over blocks of units."""
    fall = score(old, y) - score(new, y)
    if not fall > _TIED:
        return False
    own = np.unique(units, return_inverse=True)[1]
    blocks = own * min(n_blocks, own.max() + 1) // (own.max() + 1)
    kept = [blocks != block for block in np.unique(blocks)]
    falls = [score(old[rows], y[rows]) - score(new[rows], y[rows]) for rows in kept if rows.any()]
    spread = np.sqrt((len(falls) - 1) * np.var(falls)) if len(falls) > 1 else np.inf
    return bool(fall > spread)
