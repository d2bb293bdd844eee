"""How far a clip falls from the classes that are known: a few numbers for each row of features."""

import numpy as np
from scipy.linalg import eigh

from skspeech.estimators.discriminant import ShrinkageDiscriminantAnalysis

__all__ = ["learn_classes", "measure", "principal_axes"]

_TINY = 1e-12
_NOISE = 1e-6  # of the largest variance: rounding, in features of single precision


def learn_classes(rows, codes, n_features):
    """Learn the plane in which classes differ, in units of how much the rows of a class differ.

    Parameters
    ----------
    rows : ndarray of shape (n_rows, n_components)
        Principal components of features, all that there are.
    codes : ndarray of int of shape (n_rows,)
        Class of each row, of two at least; -1 for examples of none.
    n_features : int
        How many features the components stand for.

    Returns
    -------
    dict of str to ndarray
        What `measure` needs. ``weights`` and ``offset`` bring components to the plane, where
        ``means`` are those of the classes, examples last.
    """
    has_others = (codes == -1).any()
    codes = np.unique(np.where(codes == -1, codes.max() + 1, codes), return_inverse=True)[1]
    # Halfway to the identity, of which the components are a part.
    n_components = rows.shape[1]
    shrinkage = n_components / (n_components + n_features)
    head = ShrinkageDiscriminantAnalysis(shrinkage=shrinkage, calibrate=False).fit(rows, codes)
    members = np.eye(codes.max() + 1)[codes]
    weights = head.coef_.T
    offset = rows.mean(axis=0) @ weights
    means = (members / members.sum(axis=0)).T @ rows @ weights - offset
    gram = np.diff(means, axis=0) if len(means) == 2 else (means + means.T) / 2
    return {
        "weights": weights,
        "offset": offset,
        "means": means,
        "metric": np.linalg.pinv(gram, rcond=_NOISE, hermitian=True),
        "has_others": np.array(has_others),
    }


def measure(known, rows):
    """Measure how unlike the known classes rows are.

    Parameters
    ----------
    known : dict of str to ndarray
        From `learn_classes`.
    rows : ndarray of shape (n_rows, n_components)

    Returns
    -------
    ndarray of shape (n_rows, n_measures)
        In the plane of the classes: the distance from the nearest class's mean; and how little
        nearer that is than the second class, as a part of the distance from the middle of all. With
        examples, also how much nearer than the nearest class their mean is.
    """
    points = rows @ known["weights"] - known["offset"]
    means, metric = known["means"], known["metric"]
    away = points[:, np.newaxis] - means
    distances = np.maximum(np.einsum("nki,ij,nkj->nk", away, metric, away), 0)
    lengths = np.sqrt(np.maximum(np.einsum("ni,ij,nj->n", points, metric, points), _TINY))
    n_known = len(means) - bool(known["has_others"])
    of_known = np.sort(distances[:, :n_known], axis=1)
    measures = [np.sqrt(of_known[:, 0]), (of_known[:, 0] - of_known[:, 1]) / lengths]
    if n_known < len(means):
        measures.append((of_known[:, 0] - distances[:, -1]) / lengths)
    return np.column_stack(measures)


def principal_axes(rows):
    """Axes of unit length in which centred rows vary: (n_features, n_components)."""
    few_rows = len(rows) < rows.shape[1]
    products = (rows @ rows.T if few_rows else rows.T @ rows).astype(np.float64)
    variances, axes = eigh(products)
    kept = variances > max(_NOISE * variances.max(), _TINY)
    axes = axes[:, kept]
    return (rows.T @ axes) / np.sqrt(variances[kept]) if few_rows else axes
