"""Labels of clips, checked before minutes of work and not after."""

import numpy as np
from sklearn.utils import assert_all_finite
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_consistent_length, column_or_1d

from skspeech.audio import as_clips

__all__ = ["check_targets"]


def check_targets(estimator, X, y, sample_weight=None):
    """See that there is a label for each clip, and more than one class.

    Parameters
    ----------
    estimator : classifier
        Whose name the errors give.
    X : sequence of n_clips clips
        None of them is decoded.
    y : array-like of shape (n_clips,)
        Their labels.
    sample_weight : array-like of shape (n_clips,), default=None
        How much each clip counts.

    Returns
    -------
    ndarray of shape (n_clips,)
        The labels.

    Raises
    ------
    ValueError
        If `y` or `sample_weight` is not as above, `y` holds one class only, or all clips of a class
        have weight 0.
    """
    y = column_or_1d(y, warn=True)
    assert_all_finite(y, input_name="y")
    check_classification_targets(y)
    check_consistent_length(as_clips(X), y, sample_weight)
    classes, codes = np.unique(y, return_inverse=True)
    if len(classes) < 2:
        raise ValueError(
            f"{type(estimator).__name__} needs clips of at least 2 classes, but y holds only "
            f"one class: {classes[0]!r}."
        )
    if sample_weight is None:
        return y
    weightless = np.bincount(codes, np.asarray(sample_weight)) == 0
    if weightless.all():
        raise ValueError("Sample weights must contain at least one non-zero number.")
    if weightless.any():
        raise ValueError(
            f"sample_weight is 0 for every clip of the classes {classes[weightless].tolist()}. "
            "Leave these clips out, or give some of them weight."
        )
    return y
