"""How far a clip is from the known classes: a few measures for each row of features."""

import numpy as np
from scipy.linalg import eigh

from skspeech.estimators.discriminant import ShrinkageDiscriminantAnalysis

__all__ = ["learn_classes", "measure", "principal_axes"]

_TINY = 1e-12
_NOISE = 1e-6  # of the largest variance: rounding errors of single-precision features


def learn_classes(rows, codes, n_features):
    """Learn the plane in which classes differ, in units of the spread within classes.

    Parameters
    ----------
    rows : ndarray of shape (n_rows, n_components)
        All principal components of the features.
    codes : ndarray of int of shape (n_rows,)
        Class of each row, at least two classes; -1 for examples of none.
    n_features : int
        How many features the components stand for.

    Returns
    -------
    dict of str to ndarray
        What `measure` needs. ``weights`` and ``offset`` project components onto the plane, in
        which ``means`` are the class means, that of the examples last.
    """
    has_others = (codes == -1).any()
    codes = np.unique(np.where(codes == -1, codes.max() + 1, codes), return_inverse=True)[1]
    # Halfway to the identity, which the components are a part of.
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
        In the plane of the classes: the distance to the nearest class mean; and how little nearer
        that is than the second nearest, relative to the distance from the middle of all. With
        examples, also how much nearer their mean is than the nearest class.
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
