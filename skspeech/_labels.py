"""Check labels, groups and weights before minutes of work, not after."""

import sys
from numbers import Real

import numpy as np
from sklearn.utils.validation import column_or_1d

__all__ = [
    "check_class_weight",
    "check_groups",
    "check_labels",
    "check_sample_weight",
    "named_groups",
    "unknown_labels",
]


def check_labels(y, name="y", *, mixed=False):
    """Check that there is a label for each row, none is missing, and they can be sorted.

    Parameters
    ----------
    y : array-like of shape (n_samples,)
        Labels: a list, an array, or a column of pandas'.
    name : str, default="y"
        Its name in errors.
    mixed : bool, default=False
        Whether they may be of several types, such as text and numbers.

    Returns
    -------
    ndarray of shape (n_samples,)
        The labels. Text stays text; pandas' types become NumPy's.

    Raises
    ------
    ValueError
        If a label is missing (None, NaN or pandas' NA), `y` has another shape, or it is mixed, or
        labels are members of an Enum whose text is not their value.

    Examples
    --------
    >>> from skspeech._labels import check_labels
    >>> check_labels(["a", None, "b"])
    Traceback (most recent call last):
        ...
    ValueError: y has 1 missing value (None, NaN or NA), the first at position 1. Leave these \
clips out, or fill it in.
    """
    if isinstance(y, list | tuple) and any(map(_has_another_text, y)):
        raise ValueError(
            f"{name} holds members of an Enum. NumPy takes their names, cut to the length of the "
            f"values: two may become the same. Give [label.value for label in {name}]."
        )
    missing = _missing(y)
    if missing.any():
        n_missing = np.count_nonzero(missing)
        raise ValueError(
            f"{name} has {n_missing} missing value{'s' if n_missing > 1 else ''} (None, NaN or "
            f"NA), the first at position {missing.argmax()}. Leave these clips out, or fill it in."
        )
    y = column_or_1d(_without_pandas(y), warn=True)
    if not (mixed or _can_be_sorted(y)):
        types = sorted({type(label).__name__ for label in y})
        names = ", ".join(types)
        what = f"mixes labels of several types ({names}), which have no order"
        if len(types) == 1:
            what = f"holds labels of a type that has no order ({names})"
        raise ValueError(f"{name} {what}. Give them all as text.")
    return y


def unknown_labels(labels, known):
    """The labels that are not among the known ones.

    Not np.setdiff1d: of many values, it finds the text "1" among numbers.

    Parameters
    ----------
    labels, known : ndarray of shape (n,)

    Returns
    -------
    list
        Each once, sorted.
    """
    known = set(known.tolist())
    return [label for label in np.unique(labels).tolist() if label not in known]


def check_groups(groups, n_samples):
    """Check that there is a group for each row, and none is missing.

    Parameters
    ----------
    groups : array-like of shape (n_samples,) or None
        Group of each row. Values may be of several types.
    n_samples : int
        Number of rows.

    Returns
    -------
    ndarray of shape (n_samples,) or None
        Values that can be sorted.

    Raises
    ------
    ValueError
        If a group is missing (None, NaN or pandas' NA), or their number or shape is wrong.
    """
    return None if groups is None else named_groups(groups, n_samples)[0]


def named_groups(groups, n_samples):
    """The same for groups that are there, and the group of each row as it was given.

    Parameters
    ----------
    groups : array-like of shape (n_samples,)
        Group of each row.
    n_samples : int
        Number of rows.

    Returns
    -------
    groups : ndarray of shape (n_samples,)
        Values that can be sorted: numbers in place of groups of several types.
    names : ndarray of shape (n_samples,)
        As given; the same array where these can be sorted.

    Raises
    ------
    ValueError
        As :func:`check_groups`.
    """
    names = check_labels(groups, "groups", mixed=True)
    if len(names) != n_samples:
        raise ValueError(
            "groups and X have inconsistent numbers of samples: "
            f"{len(names)} groups for {n_samples} rows."
        )
    if _can_be_sorted(names):
        return names, names
    numbers = {}
    return np.array([numbers.setdefault(group, len(numbers)) for group in names]), names


def check_sample_weight(sample_weight, n_samples):
    """Check that there is a valid weight for each row.

    Parameters
    ----------
    sample_weight : array-like of shape (n_samples,) or None
        How much each row counts.
    n_samples : int
        Number of rows.

    Returns
    -------
    ndarray of shape (n_samples,), float64, or None
        The weights.

    Raises
    ------
    ValueError
        If a weight is text, missing, infinite or negative, all are 0, or their number or shape
        is wrong.
    """
    if sample_weight is None:
        return None
    if _missing(sample_weight).any():
        raise ValueError("sample_weight has missing values (None, NaN or NA).")
    weights = np.asarray(_without_pandas(sample_weight))
    text = [weight for weight in weights.ravel().tolist() if isinstance(weight, str | bytes)]
    if text:  # "03" would pass for the number 3
        raise ValueError(
            f"sample_weight holds text, such as {text[0]!r}, and no weights. Groups go by their "
            "name, groups=..., to classifiers that take them."
        )
    weights = weights.astype(np.float64)
    if weights.shape != (n_samples,):
        raise ValueError(
            f"sample_weight and X have inconsistent numbers of samples: weights of shape "
            f"{weights.shape} for {n_samples} rows."
        )
    if not np.isfinite(weights).all():
        raise ValueError("sample_weight has infinite values.")
    if (weights < 0).any():
        position = (weights < 0).argmax()
        raise ValueError(
            f"sample_weight must not be negative, but is {weights[position]:g} at position "
            f"{position}. Use 0 to leave a clip out."
        )
    if not weights.any():
        raise ValueError("Sample weights must contain at least one non-zero number.")
    return weights


def check_class_weight(class_weight):
    """Check that all weights of classes are numbers above 0, if they are given one by one.

    Parameters
    ----------
    class_weight : dict, str or None
        A classifier's parameter of this name.

    Raises
    ------
    ValueError
        If a weight in the dict is no number, NaN, infinite, negative or 0.
    """
    for label, weight in class_weight.items() if isinstance(class_weight, dict) else ():
        if not (isinstance(weight, Real) and 0 < weight < float("inf")):
            raise ValueError(
                f"class_weight has the weight {weight!r} of the class {label!r}. Weights are "
                "numbers above 0; leave out the clips of a class that should not count."
            )


def _missing(values):
    """Which values are missing: (n_samples,), or empty if `values` is not a column."""
    if _is_pandas(values):
        missing = np.asarray(values.isna())
    else:
        # Not np.asarray alone, which turns a NaN in a list of text into the text "nan".
        dtype = object if isinstance(values, list | tuple) else None
        missing = _missing_in_array(np.asarray(values, dtype=dtype))
    return missing.any(axis=1) if missing.ndim == 2 else missing


def _missing_in_array(values):
    if values.ndim not in (1, 2):
        return np.zeros(0, dtype=bool)
    if values.dtype.kind in "fc":
        return np.isnan(values)
    if values.dtype.kind in "mM":
        return np.isnat(values)
    if values.dtype != object:
        return np.zeros(len(values), dtype=bool)
    pandas = sys.modules.get("pandas")  # if it is not imported, there is no NA
    nothing = [None, *(getattr(pandas, name, None) for name in ("NA", "NaT"))]
    missing = [
        any(value is none for none in nothing) or (_is_number(value) and value != value)
        for value in values.ravel()
    ]
    return np.reshape(missing, values.shape)


def _has_another_text(label):
    """Whether it is text that NumPy turns into another one."""
    return isinstance(label, str) and str(label) != str.__str__(label)


def _can_be_sorted(values):
    try:
        np.sort(values)
    except TypeError:  # several types
        return False
    return True


def _is_number(value):
    return isinstance(value, float | complex | np.floating | np.datetime64)


def _is_pandas(values):
    return type(values).__module__.split(".")[0] == "pandas" and hasattr(values, "isna")


def _without_pandas(values):
    if not _is_pandas(values) or not hasattr(values, "dtype"):
        return values
    # Nullable dtypes name the plain dtype that they have without missing values.
    return np.asarray(values, dtype=getattr(values.dtype, "numpy_dtype", None))
