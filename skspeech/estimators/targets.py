"""Checks of labels, made before minutes of work and not after."""

import numpy as np
from sklearn.utils import assert_all_finite
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_consistent_length

from skspeech._labels import check_class_weight, check_labels, check_sample_weight
from skspeech.audio import as_clips

__all__ = ["check_every_class_counts", "check_targets"]


def check_targets(estimator, X, y, sample_weight=None):
    """Check that each clip has a label, and that there is more than one class.

    Parameters
    ----------
    estimator : classifier
        Its name is used in error messages, and its `class_weight`, if it has one, is checked.
    X : sequence of n_clips clips
        They are counted, but not decoded.
    y : array-like of shape (n_clips,)
        Their labels.
    sample_weight : array-like of shape (n_clips,), default=None
        How much each clip counts; none is negative.

    Returns
    -------
    ndarray of shape (n_clips,)
        The labels.

    Raises
    ------
    ValueError
        If `y` or `sample_weight` is not as above, a label is missing, `y` holds one class only, or
        a class has weight 0.
    """
    check_class_weight(getattr(estimator, "class_weight", None))
    y = check_labels(y)
    assert_all_finite(y, input_name="y")
    check_classification_targets(y)
    check_consistent_length(as_clips(X), y)
    classes, codes = np.unique(y, return_inverse=True)
    if len(classes) < 2:
        raise ValueError(
            f"{type(estimator).__name__} needs clips of at least 2 classes, but y holds only "
            f"one class: {classes.tolist()[0]!r}."
        )
    if sample_weight is not None:
        check_every_class_counts(classes, codes, check_sample_weight(sample_weight, len(y)))
    return y


def check_every_class_counts(classes, codes, sample_weight):
    """Check that each class has a row with weight above 0.

    Parameters
    ----------
    classes : ndarray of shape (n_classes,)
        The labels.
    codes : ndarray of int of shape (n_samples,)
        Position of each row's label in `classes`.
    sample_weight : ndarray of shape (n_samples,)
        How much each row counts.

    Raises
    ------
    ValueError
        If all rows of a class have weight 0.
    """
    weightless = np.bincount(codes, sample_weight) == 0
    if weightless.any():
        raise ValueError(
            f"sample_weight is 0 for every clip of the classes {classes[weightless].tolist()}. "
            "Leave these clips out, or give some of them weight."
        )
