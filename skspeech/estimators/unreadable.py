"""How classifiers with ``errors="warn"`` handle clips that can't be read.

They leave such clips out. With silence instead, a classifier would learn silence as the sound of
their class, and its predictions for them would mean nothing.
"""

import copy

import numpy as np

from skspeech._sklearn import _safe_indexing
from skspeech._warning import warn
from skspeech.audio import AudioError, Clips
from skspeech.audio.errors import describe_failures

__all__ = ["fit_without_unreadable", "goes_on", "predict_without_unreadable", "strict"]


def goes_on(estimator):
    """Whether an estimator, or a part of it, only warns of clips that can't be read."""
    params = estimator.get_params()
    return any(params[name] == "warn" for name in _errors_in(params))


def strict(extractor):
    """A copy of an extractor that raises an error for clips that can't be read."""
    extractor = copy.deepcopy(extractor)  # fitted as it is: it keeps its precision
    return extractor.set_params(**dict.fromkeys(_errors_in(extractor.get_params()), "raise"))


def _errors_in(params):
    return [name for name in params if name.rpartition("__")[2] == "errors"]


def fit_without_unreadable(read, X, y, sample_weight=None):
    """Read the clips that can be read, and warn of the others.

    Parameters
    ----------
    read : callable
        Reads a sequence of clips; raises an AudioError that names all unreadable ones.
    X : sequence of n_clips clips
    y : ndarray of shape (n_clips,)
        Their labels.
    sample_weight : ndarray of shape (n_clips,), default=None
        How much each clip counts; each class has a clip with weight.

    Returns
    -------
    what : object
        What `read` returned for the clips in `rows`.
    rows : ndarray of int, or slice
        Which clips were read.

    Raises
    ------
    AudioError
        If a class has no clip left, or none with weight.
    """
    what, rows, error = _salvage(read, X)
    if error is not None:
        counted = rows if sample_weight is None else rows[sample_weight[rows] > 0]
        lost = np.setdiff1d(y, y[counted]).tolist()
        if what is None or lost:
            names = ", ".join(map(repr, lost))
            advice = f"No clip is left of {names}, so that can't be learnt."
            raise AudioError(error.failures, error.n_clips, advice)
        _warn(error, "They were left out, with their labels.")
    return what, rows


def predict_without_unreadable(
    predict,
    X,
    instead,
    advice="Their probabilities are the classes' frequencies in the training data.",
):
    """Predict the clips that can be read, and warn of the others.

    Parameters
    ----------
    predict : callable
        Returns a row for each clip of a sequence; raises an AudioError that names all unreadable
        ones.
    X : sequence of n_clips clips
    instead : float or ndarray of shape (n_classes,)
        The row that a clip that can't be read gets.
    advice : str, default="Their probabilities are ..."
        What the warning says about these rows.

    Returns
    -------
    ndarray of shape (n_clips, ...)
    """
    predicted, rows, error = _salvage(predict, X)
    if error is None:
        return predicted
    _warn(error, advice)
    instead = np.asarray(instead, dtype=np.float64)
    result = np.tile(instead, (error.n_clips,) + (1,) * instead.ndim)
    if predicted is not None:
        result[rows] = predicted
    return result


def _salvage(function, X):
    """A function's result for the readable clips, the indices of these, and the error or None."""
    try:
        return function(X), slice(None), None
    except AudioError as error:
        failed = {position for position, _, _ in error.failures}
        position = X.position if isinstance(X, Clips) else int
        rows = np.array([i for i in range(error.n_clips) if position(i) not in failed], dtype=int)
        kept = X[rows] if isinstance(X, Clips) else _safe_indexing(X, rows)
        return (function(kept) if len(rows) else None), rows, error


def _warn(error, advice):
    warn(describe_failures(error.failures, error.n_clips, advice))
