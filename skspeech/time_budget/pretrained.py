"""Which pretrained weights estimators need, known before any of them is trained."""

from skspeech._objects import objects_in
from skspeech.weights.store import fetch_missing_weights

__all__ = ["fetch_weights_of", "needed_weights"]


def needed_weights(estimators):
    """List the registered weights that estimators need.

    Parameters
    ----------
    estimators : estimator, or list of estimators
        Not fitted.

    Returns
    -------
    list of str
        Names in alphabetical order, without the users' own weights and those on the Hugging Face
        Hub.
    """
    items = objects_in(estimators)
    names = {item._weights_name() for item in items if hasattr(item, "_weights_name")}
    return sorted(names - {None})


def fetch_weights_of(estimators, *, progress=True):
    """Fetch the weights that estimators, fitted or not, need and this machine lacks.

    Parameters
    ----------
    estimators : estimator, or list of estimators
    progress : bool, default=True
        Whether to show the progress.

    Raises
    ------
    WeightsError
        If some can't be fetched; the message names all of them.
    """
    fetch_missing_weights(needed_weights(estimators), progress=progress)
