"""Which pretrained weights candidates need, known before any of them is trained."""

from skspeech._objects import objects_in

__all__ = ["needed_weights"]


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
