"""Calibration of an ensemble: one temperature, found on held-out probabilities."""

import numpy as np
from scipy.optimize import minimize_scalar
from scipy.special import log_softmax
from sklearn import clone

from skspeech._folds import stratified_folds
from skspeech._sklearn import _check_method_params, _safe_indexing
from skspeech._warning import warn
from skspeech.audio.copies import kept_together
from skspeech.audio.rates import takes_clips

__all__ = [
    "IMAGINED_ROWS",
    "at_temperature",
    "cross_validated_temperature",
    "find_temperature",
    "least_loss_temperature",
]

_LOG_BOUNDS = np.log(0.2), np.log(5.0)
# This many imaginary rows, spread evenly over the classes, are added to the held-out rows. So a few
# rows that are all right don't make an ensemble too confident. Chosen by experiment among 0, 1, 3,
# 10.
IMAGINED_ROWS = 3.0
_TINY = 1e-12


def find_temperature(proba, y, *, weight=None, n_imagined=IMAGINED_ROWS):
    """Find the temperature that calibrates held-out probabilities.

    It is the temperature with the lowest log loss [1]_. A geometric mean of well-calibrated
    classifiers is underconfident: a class that they agree on is likelier than each of them says.
    Then the temperature is below 1.

    Parameters
    ----------
    proba : array-like of shape (n_rows, n_classes)
        Probabilities of rows that neither trained the members nor chose them; rows of NaN are left
        out.
    y : array-like of int of shape (n_rows,)
        Index of each row's class.
    weight : array-like of shape (n_rows,), default=None
        How much each row counts, above 0; None is the same for all.
    n_imagined : float, default=3.0
        How many rows to imagine, spread evenly over the classes.

    Returns
    -------
    float
        Between 0.2 and 5; 1 if there are no rows, or rows of one class only.

    Notes
    -----
    As in Platt's method [2]_, targets are not exactly 0 and 1: imaginary rows, spread evenly over
    the classes, are added to the others. They say that a few rows that are all right prove little,
    so they draw a low temperature towards 1. Above 1, the other rows alone decide: where they are
    all right, the imaginary ones would only make the ensemble unsure.

    References
    ----------
    .. [1] C. Guo, G. Pleiss, Y. Sun, K. Q. Weinberger, "On calibration of modern neural networks",
           ICML 2017.
    .. [2] J. Platt, "Probabilistic outputs for support vector machines and comparisons to
           regularized likelihood methods", Advances in Large Margin Classifiers, 1999.

    Examples
    --------
    >>> import numpy as np
    >>> from skspeech.ensemble.calibration import find_temperature
    >>> y = np.arange(1000) % 2
    >>> timid = np.where(np.eye(2)[y] == 1, 0.6, 0.4)
    >>> timid[:100] = timid[:100, ::-1]  # right in 90 of 100 cases
    >>> round(find_temperature(timid, y), 1)
    0.2
    """
    proba, y = np.asarray(proba, dtype=np.float64), np.asarray(y)
    known = ~np.isnan(proba).any(axis=1)
    proba, y = proba[known], y[known]
    weight = None if weight is None else np.asarray(weight)[known]
    if len(np.unique(y)) < 2:
        return 1.0
    # As many rows of equal weight tell as much; the scale of the weights does not matter.
    n_rows = len(y) if weight is None else weight.sum() ** 2 / np.square(weight).sum()
    spread = min(0.5, n_imagined / (n_rows + 2))
    scores = np.log(np.maximum(proba, _TINY))
    found = least_loss_temperature(scores, y, _LOG_BOUNDS, weight=weight, spread=spread)
    if found > 1 and spread:
        found = max(1.0, least_loss_temperature(scores, y, _LOG_BOUNDS, weight=weight))
    return found


def cross_validated_temperature(ensemble, X, y, fit_params):
    """Fit clones of a voting ensemble, and find the temperature on the rows they did not see.

    The ensemble has `classes_`; its parameter `calibrate` is the number of folds. Of the arguments
    for its `fit`, `groups` are kept whole, and rows count by `sample_weight`.
    """
    rows, weight = np.arange(len(y)), fit_params.get("sample_weight")
    if weight is not None:  # a row of weight 0 is as if it were not there
        rows = np.flatnonzero(weight)
        weight = weight[rows]
    codes = np.searchsorted(ensemble.classes_, y[rows])
    are_clips = takes_clips(ensemble.estimators)
    groups = kept_together(X, fit_params.get("groups"), are_clips=are_clips)
    groups = None if groups is None else groups[rows]
    proba = np.full((len(rows), len(ensemble.classes_)), np.nan)
    for train, test in stratified_folds(codes, ensemble.calibrate, groups=groups, random_state=0):
        own = rows[train]
        part = clone(ensemble).set_params(calibrate=False, verbose=False)
        part.fit(_safe_indexing(X, own), y[own], **_check_method_params(y, fit_params, own))
        columns = np.searchsorted(ensemble.classes_, part.classes_)
        proba[test] = ensemble.floor
        proba[np.ix_(test, columns)] = part.predict_proba(_safe_indexing(X, rows[test]))
    if len(np.unique(codes[~np.isnan(proba[:, 0])])) < 2:
        warn(
            f"calibrate={ensemble.calibrate} finds no temperature, so temperature_ is 1: clips of "
            "fewer than two classes can be held out. Give more clips or groups of each class."
        )
    return find_temperature(proba, codes, weight=weight)


def least_loss_temperature(scores, y, log_bounds, *, weight=None, spread=0.0):
    """Find the temperature that gives the lowest log loss when scores are divided by it.

    Parameters
    ----------
    scores : ndarray of shape (n_rows, n_classes)
        Log-probabilities, up to a constant per row.
    y : ndarray of int of shape (n_rows,)
        Index of each row's class.
    log_bounds : tuple of float
        Bounds of the search for its logarithm.
    weight : ndarray of shape (n_rows,), default=None
        How much each row counts; None is the same for all.
    spread : float, default=0.0
        Share of each row's target that is spread evenly over all classes.

    Returns
    -------
    float
    """

    def loss(log_temperature):
        log_probas = log_softmax(scores / np.exp(log_temperature), axis=1)
        own = np.average(log_probas[np.arange(len(y)), y], weights=weight)
        if not spread:
            return -own
        return -(1 - spread) * own - spread * np.average(log_probas.mean(axis=1), weights=weight)

    best = minimize_scalar(loss, bounds=log_bounds, method="bounded")
    return float(np.exp(best.x))


def at_temperature(proba, temperature):
    """Make probabilities more (temperature below 1) or less confident; the best class stays best.

    Parameters
    ----------
    proba : ndarray of shape (n_rows, n_classes)
    temperature : float

    Returns
    -------
    ndarray of shape (n_rows, n_classes)
        Each row sums to 1.

    Examples
    --------
    >>> from skspeech.ensemble.calibration import at_temperature
    >>> at_temperature([[0.8, 0.2]], 0.5).round(2)
    array([[0.94, 0.06]])
    """
    if temperature == 1:
        return np.asarray(proba)
    return np.exp(log_softmax(np.log(np.maximum(proba, _TINY)) / temperature, axis=1))
