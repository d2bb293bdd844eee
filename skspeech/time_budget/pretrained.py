"""Which pretrained weights candidates need, known before any of them is trained."""

from skspeech._objects import objects_in

__all__ = ["needed_weights"]


def needed_weights(estimators):
    """Names of the registered weights that estimators need.

    Parameters
    ----------
    estimators : estimator, or list of estimators
        Not fitted.

    Returns
    -------
    list of str
        In the order of the alphabet. What users brought themselves, or the Hugging Face Hub has,
        is not among them.
    """
    items = objects_in(estimators)
    names = {item._weights_name() for item in items if hasattr(item, "_weights_name")}
    return sorted(names - {None})
