"""The geometric mean of probabilities, with a floor: all of skspeech blends with it."""

import numpy as np

from skspeech._typing import ArrayLike
from skspeech.audio.errors import printable

__all__ = [
    "FLOOR",
    "blend_known",
    "blend_log_probas",
    "check_probabilities",
    "check_weights",
    "geometric_mean",
    "log_probas",
    "probabilities_of",
]

# At 1e-3, two members that give 0.99 overrule a third that gives 0.
FLOOR = 1e-3


def geometric_mean(
    probas: ArrayLike, weights: ArrayLike | None = None, *, floor: float = FLOOR
) -> np.ndarray:
    """Average class probabilities by their weighted geometric mean.

    The mean is ``exp(sum(w * log(max(p, floor))) / sum(w))``, renormalised so that each row sums
    to 1. It is computed from logarithms, so that many members cause no underflow.

    Parameters
    ----------
    probas : array-like of shape (n_members, n_samples, n_classes)
        The members' probabilities, with the same classes in the same order.
    weights : array-like of shape (n_members,), default=None
        How much each member counts: non-negative, and at least one above zero. None is equal
        weights.
    floor : float, default=1e-3
        Smaller probabilities are raised to it, so that one member's zero is no veto. Above 0 and
        below 1; it should be well below ``1 / n_classes``.

    Returns
    -------
    ndarray of shape (n_samples, n_classes), float64
        Positive probabilities; each row sums to 1.

    Raises
    ------
    ValueError
        If a probability is negative, NaN or infinite, or if weights or floor are not as above.

    See Also
    --------
    GeometricMeanVotingClassifier : The same as a scikit-learn classifier.

    Examples
    --------
    >>> from skspeech.ensemble import geometric_mean
    >>> sure, unsure = [[0.9, 0.1]], [[0.4, 0.6]]
    >>> geometric_mean([sure, unsure]).round(2)
    array([[0.71, 0.29]])

    Here the third member rules the first class out, but the other two overrule it:

    >>> geometric_mean([[[0.99, 0.01]], [[0.99, 0.01]], [[0.0, 1.0]]]).round(2)
    array([[0.68, 0.32]])
    """
    probas = np.asarray(probas, dtype=np.float64)
    if probas.ndim != 3 or 0 in (probas.shape[0], probas.shape[2]):
        raise ValueError(
            f"probas has shape {probas.shape}; geometric_mean needs (n_members, n_samples, "
            "n_classes), with at least one member and one class."
        )
    if not 0 < floor < 1:
        raise ValueError(f"floor={floor!r} must be above 0 and below 1.")
    for index, member in enumerate(probas):
        check_probabilities(member, f"probas[{index}]")
    weights = check_weights(weights, len(probas), "members")

    return blend_log_probas(log_probas(probas, floor), weights)[0]


def log_probas(proba: ArrayLike, floor: float = FLOOR) -> np.ndarray:
    """Logarithm of probabilities, none below `floor`; NaN (no prediction) stays NaN.

    Parameters
    ----------
    proba : array-like of shape (..., n_classes)
        Probabilities.
    floor : float, default=1e-3
        A smaller probability counts as this one.

    Returns
    -------
    ndarray of the same shape, float64

    Examples
    --------
    >>> from skspeech.ensemble.blending import log_probas
    >>> log_probas([[1.0, 0.0]], floor=0.01).round(1)
    array([[ 0. , -4.6]])
    """
    return np.log(np.maximum(np.asarray(proba, dtype=np.float64), floor))


def blend_log_probas(logs: np.ndarray, weights: ArrayLike) -> tuple[np.ndarray, np.ndarray]:
    """Weighted geometric mean of members that may have predicted only some of the rows.

    Each row is the mean over the members that predicted it. Where none did, it is uniform.

    Parameters
    ----------
    logs : ndarray of shape (n_members, n_samples, n_classes)
        Log-probabilities; a row of NaN where a member made no prediction.
    weights : array-like of shape (n_members,)
        The members' weights, not negative.

    Returns
    -------
    proba : ndarray of shape (n_samples, n_classes)
        Each row sums to 1.
    covered : ndarray of bool of shape (n_samples,)
        Rows that at least one member predicted.

    Examples
    --------
    >>> import numpy as np
    >>> from skspeech.ensemble.blending import blend_log_probas, log_probas
    >>> one = log_probas([[0.8, 0.2], [0.5, 0.5], [np.nan, np.nan]])
    >>> other = log_probas([[0.2, 0.8], [np.nan, np.nan], [np.nan, np.nan]])
    >>> proba, covered = blend_log_probas(np.stack([one, other]), [1, 1])
    >>> proba.tolist(), covered.tolist()
    ([[0.5, 0.5], [0.5, 0.5], [0.5, 0.5]], [True, True, False])
    """
    weights = np.asarray(weights, dtype=np.float64)
    used = weights > 0
    logs, weights = logs[used], weights[used]
    known = ~np.isnan(logs[:, :, 0])
    mass = (weights[:, None] * known).sum(axis=0)
    total = np.einsum("m,mnk->nk", weights, np.where(known[:, :, None], logs, 0.0))
    mean = total / np.where(mass > 0, mass, 1.0)[:, None]
    proba = np.exp(mean - mean.max(axis=1, keepdims=True))
    return proba / proba.sum(axis=1, keepdims=True), mass > 0


def blend_known(logs, weights):
    """The probabilities of :func:`blend_log_probas`, with NaN in rows that no member predicted."""
    proba, covered = blend_log_probas(logs, weights)
    return np.where(covered[:, None], proba, np.nan)


def check_probabilities(proba, who, X=None):
    """Raise a ValueError that names `who`, and the path, of negative, NaN or infinite values."""
    good = np.isfinite(proba) & (proba >= 0)
    if not good.all():
        row = int(np.flatnonzero(~good.all(axis=1))[0])
        is_path = isinstance(X, list) and isinstance(X[row], str)
        where = f"row {row} ({printable(X[row])})" if is_path else f"row {row}"
        raise ValueError(
            f"{who} holds values that are no probabilities, first in {where}: {proba[row]}. "
            "Probabilities are finite and not negative."
        )


def probabilities_of(model, X):
    """The `predict_proba` of a classifier for some clips, checked.

    Parameters
    ----------
    model : fitted classifier
    X : sequence of n_clips clips

    Returns
    -------
    ndarray of shape (n_clips, n_classes), float64

    Raises
    ------
    ValueError
        If values are negative, NaN or infinite, which have no largest one to answer with.
    """
    proba = np.asarray(model.predict_proba(X), dtype=np.float64)
    check_probabilities(proba, "predict_proba of the model", X)
    return proba


def check_weights(weights, n_members, what):
    """Return weights as an array of shape (n_members,), or raise a ValueError that says why not."""
    if weights is None:
        return np.ones(n_members)
    try:
        array = np.asarray(weights, dtype=np.float64)
    except (TypeError, ValueError):
        raise ValueError(
            f"weights={weights!r} is no list of numbers; it needs one weight for each of the "
            f"{n_members} {what}, in their order."
        ) from None
    if array.shape != (n_members,):
        raise ValueError(
            f"weights={weights!r} has shape {array.shape}; it needs one weight for each of the "
            f"{n_members} {what}."
        )
    if not (np.isfinite(array).all() and (array >= 0).all() and array.any()):
        raise ValueError(
            f"weights={weights!r} must be finite and not negative, with at least one above zero. "
            "Give a member the weight 0, or set it to 'drop', to leave it out."
        )
    return array
