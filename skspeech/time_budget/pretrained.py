"""Which pretrained weights estimators need, known before any of them is trained."""

from skspeech._objects import objects_in
from skspeech.weights.store import fetch_missing_weights

__all__ = ["fetch_weights_of", "needed_weights"]


def needed_weights(estimators):
    """Names of the registered weights that an estimator, or a list of them, needs.

    The users' own weights and those on the Hugging Face Hub are not among them.
    """
    items = objects_in(estimators)
    names = {item._weights_name() for item in items if hasattr(item, "_weights_name")}
    return sorted(names - {None})


def fetch_weights_of(estimators, *, progress=True):
    """Fetch the weights that estimators, fitted or not, need and this machine lacks.

    If some can't be fetched, a `WeightsError` names all of them.
    """
    fetch_missing_weights(needed_weights(estimators), progress=progress)
