"""Checks of what users pass to `fit`, done at the start of a run."""

import contextlib
import numbers
import os
from collections.abc import Mapping, Set

import numpy as np
from sklearn.utils import check_consistent_length
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import validate_data

from skspeech._columns import remember_columns
from skspeech._files import file_state
from skspeech._labels import check_groups, check_labels, check_sample_weight
from skspeech._warning import warn
from skspeech.audio.containers import as_clips, is_table, refuse_single_clip
from skspeech.ensemble.selection import ProbabilityScore
from skspeech.estimators.targets import check_every_class_counts
from skspeech.time_budget.workers.tasks import quiet_fits

__all__ = [
    "check_new_rows",
    "check_rows",
    "check_score",
    "check_targets",
    "remember_table",
    "states_of_files",
    "warn_of_validation",
]


def check_rows(X):
    """Check tables as scikit-learn does, and take any other sequence as it is."""
    refuse_single_clip(X)
    if hasattr(X, "tocsr"):
        X = X.tocsr()  # other sparse formats can't be indexed by row
    elif _is_nested_numbers(X) or (hasattr(X, "__array__") and not hasattr(X, "__len__")):
        X = np.asarray(X)
    is_no_table = isinstance(X, np.ndarray) and X.dtype.kind in "biufc" and X.ndim != 2
    is_no_sequence = not hasattr(X, "__len__") or isinstance(X, Mapping | Set)
    if is_no_table or (is_no_sequence and not is_table(X)):
        as_clips(X)  # raises, with advice
    return X


def check_new_rows(estimator, X):
    """Check rows to predict: a table has to have the columns of the training rows, too."""
    X = check_rows(X)
    if is_table(X):
        validate_data(estimator, X, reset=False, skip_check_array=True)
    return X


def remember_table(estimator, X):
    """Remember the columns of the training rows, if these are a table, in place of earlier ones."""
    remember_columns(estimator, X if is_table(X) else None)


def _is_nested_numbers(X):
    """Whether a list holds numbers, or equally long lists of numbers: a table, and not clips."""
    if not isinstance(X, list | tuple) or not len(X):
        return False
    first = X[0]
    if isinstance(first, numbers.Number):
        return True
    return (
        isinstance(first, list | tuple)
        and all(isinstance(v, numbers.Number) for v in first)
        and all(isinstance(row, list | tuple) and len(row) == len(first) for row in X)
    )


def states_of_files(X):
    """States of the files whose paths `X` holds, by which new ones are known."""
    values = X.to_numpy() if hasattr(X, "to_numpy") else X
    if isinstance(values, np.ndarray):
        values = [] if values.dtype.kind in "biufc" else values.ravel()
    elif not isinstance(values, list | tuple):
        return []
    states = []
    for value in values:
        with contextlib.suppress(OSError, ValueError):
            if isinstance(value, str | os.PathLike):
                states.append(file_state(os.stat(value)))
    return states


def check_targets(estimator, X, y, groups, sample_weight):
    """Check that each row has a label, and a group and a weight if these are given.

    Returns y, groups, weights, the classes, and the index of each label among the classes.
    """
    if y is None:
        raise ValueError(
            f"{type(estimator).__name__} requires y to be passed, but the target y is None."
        )
    y = check_labels(y)
    if y.dtype.kind == "f" and not np.isfinite(y).all():
        raise ValueError("Input y contains infinity.")
    with quiet_fits():
        check_classification_targets(y)
    if not len(y):
        raise ValueError("y is empty: there is no clip to learn from.")
    check_consistent_length(X, y)
    if isinstance(groups, str):
        raise ValueError(
            f'groups={groups!r} is not accepted. Give a group for each row, or "voices".'
        )
    groups, sample_weight = check_groups(groups, len(y)), check_sample_weight(sample_weight, len(y))
    classes, codes = np.unique(y, return_inverse=True)
    if len(classes) < 2:
        raise ValueError(
            f"y holds only one class, {classes[:1].tolist()[0]!r}; a classifier needs at least two."
        )
    if sample_weight is not None:
        check_every_class_counts(classes, codes, sample_weight)
    return y, groups, sample_weight, classes, codes


def check_score(scoring, classes):
    """Make the score, and try it, so that an unsuitable one raises an error at once."""
    score = ProbabilityScore(scoring, classes)
    n_classes = len(classes)
    codes = np.tile(np.arange(n_classes), 2)
    proba = np.full((len(codes), n_classes), 0.1 / n_classes) + 0.9 * np.eye(n_classes)[codes]
    try:
        value = score(proba, codes)
    except Exception as error:
        raise ValueError(
            f"scoring={scoring!r} cannot be computed from the probabilities of {n_classes} classes "
            f"with these labels: {error}"
        ) from error
    if not np.isfinite(value):
        raise ValueError(f"scoring={scoring!r} gives {value} for {n_classes} classes.")
    return score


def warn_of_validation(splits, classes, codes):
    """Warn, before time is spent, of classes or rows that can't be validated."""
    if not splits.folds:
        warn(
            f"No clip can be held out: {splits.why_none}. So nothing is validated: best_score_ is "
            "NaN, and the candidates that are trained in time vote with equal weights. Give more "
            "clips or groups of each class, or a validation set: cv=(X_val, y_val)."
        )
        return
    if splits.validation is not None:
        codes = np.concatenate([codes, splits.validation[2]])
    held_out = np.unique(np.concatenate([codes[fold.test] for fold in splits.folds]))
    if len(held_out) < len(classes):
        never = np.delete(classes, held_out).tolist()
        have = "class has" if len(never) == 1 else "classes have"
        warn(
            f"{len(never)} {have} too few clips or groups to be held out in validation, such as "
            f"{never[0]!r}: its score, best_score_, and the choice of members say nothing of that."
        )
