"""What classifiers with ``errors="warn"`` do about clips that can't be read.

Silence in their place would be learnt as the sound of their class, and predicted as anything.
"""

import warnings

import numpy as np
from sklearn.base import clone

from skspeech._sklearn import _safe_indexing
from skspeech.audio import AudioError, Clips
from skspeech.audio.errors import describe_failures

__all__ = ["fit_without_unreadable", "goes_on", "predict_without_unreadable", "strict"]


def goes_on(estimator):
    """Whether clips that can't be read are no error to an estimator, or to a part of it."""
    params = estimator.get_params()
    return any(params[name] == "warn" for name in _errors_in(params))


def strict(extractor):
    """The same extractor, not fitted, to which clips that can't be read are an error."""
    extractor = clone(extractor)
    return extractor.set_params(**dict.fromkeys(_errors_in(extractor.get_params()), "raise"))


def _errors_in(params):
    return [name for name in params if name.rpartition("__")[2] == "errors"]


def fit_without_unreadable(read, X, y):
    """Read the clips that can be, and warn of the others.

    Parameters
    ----------
    read : callable
        Reads a sequence of clips; raises an AudioError that names all bad ones.
    X : sequence of n_clips clips
    y : ndarray of shape (n_clips,)
        Their labels.

    Returns
    -------
    what : object
        What `read` returned for the clips in `rows`.
    rows : ndarray of int, or slice
        Which clips were read.

    Raises
    ------
    AudioError
        If a class has no clip left.
    """
    what, rows, error = _salvage(read, X)
    if error is not None:
        lost = np.setdiff1d(y, y[rows]).tolist()
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
        Gives a row for each of a sequence of clips; raises an AudioError that names all bad ones.
    X : sequence of n_clips clips
    instead : float or ndarray of shape (n_classes,)
        The row of a clip that can't be read.
    advice : str, default="Their probabilities are ..."
        What the warning says of it.

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
    """What a function gives for the clips that can be read, which these are, and the error."""
    try:
        return function(X), slice(None), None
    except AudioError as error:
        failed = {position for position, _, _ in error.failures}
        position = X.position if isinstance(X, Clips) else int
        rows = np.array([i for i in range(error.n_clips) if position(i) not in failed], dtype=int)
        kept = X[rows] if isinstance(X, Clips) else _safe_indexing(X, rows)
        return (function(kept) if len(rows) else None), rows, error


def _warn(error, advice):
    text = describe_failures(error.failures, error.n_clips, advice)
    warnings.warn(text, UserWarning, stacklevel=4)
