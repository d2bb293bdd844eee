"""Scores of held-out probabilities, and how sure they are."""

import warnings

import numpy as np
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.metrics import get_scorer

__all__ = ["ProbabilityScore", "log_likelihoods", "neg_log_loss", "standard_error"]


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
            except ValueError:
                return float("nan")


class _Oracle(ClassifierMixin, BaseEstimator):
    """A fitted classifier that already knows the probabilities; its `X` are row numbers."""

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


def _balanced_accuracy(proba, y):
    counts = np.bincount(y)
    hits = np.bincount(y[proba.argmax(axis=1) == y], minlength=len(counts))
    present = counts > 0
    return float(np.mean(hits[present] / counts[present]))


def log_likelihoods(proba, y):
    """Log of the probability that each row gives its class; `proba` need not sum to 1."""
    own = proba[..., np.arange(len(y)), y] / proba.sum(axis=-1)
    return np.log(np.maximum(own, np.finfo(float).tiny))


def neg_log_loss(proba, y):
    """Mean log-likelihood of the rows: higher is better."""
    return float(np.mean(log_likelihoods(proba, y)))


def standard_error(values, units):
    """Standard error of the mean of rows that come in units.

    Rows of one unit, such as clips of one speaker, rise and fall together: it is the number of
    units that makes a mean sure, not that of rows.

    Parameters
    ----------
    values : array-like of shape (n_rows,)
        What the mean is taken of.
    units : array-like of int of shape (n_rows,)
        The unit of each row.

    Returns
    -------
    float
        Infinite where there are less than two units.

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
    "balanced_accuracy": _balanced_accuracy,
    "neg_log_loss": neg_log_loss,
}
