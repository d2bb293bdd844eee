"""How far a clip is from the known classes: a few measures for each row of features."""

import numpy as np
from scipy.linalg import eigh
from scipy.spatial.distance import cdist

__all__ = ["learn_classes", "measure", "principal_axes"]

_TINY = 1e-12
_NOISE = 1e-6  # of the largest variance: rounding errors of single-precision features
_MIN_WITHIN = 0.01  # of a feature's variance: a few rows may be alike by chance
_MAX_AXES = 100  # more make models large, and add little


def learn_classes(rows, codes):
    """Learn a space in which distances from the classes tell whether a row is of one of them.

    Features in which the classes differ more count more. Of the weighted features, the axes with
    the most variance are kept, at most half as many as rows: in the others, training rows have
    hardly any spread, and new rows of the same classes would seem far away. Then each axis is
    divided by the spread within classes.

    Parameters
    ----------
    rows : ndarray of shape (n_rows, n_features)
        Scaled features.
    codes : ndarray of int of shape (n_rows,)
        Class of each row, at least two classes; -1 for examples of none.

    Returns
    -------
    dict of str to ndarray
        What `measure` needs. ``weights`` and ``offset`` project features into the space, in which
        ``means`` are the class means, that of the examples last.
    """
    has_others = (codes == -1).any()
    codes = np.unique(np.where(codes == -1, codes.max() + 1, codes), return_inverse=True)[1]
    importance = _importance(rows, codes)
    middle = rows.mean(axis=0)
    weighted = (rows - middle) * importance
    axes = principal_axes(weighted, min(len(rows) // 2, _MAX_AXES))
    points = (weighted @ axes).astype(np.float64)
    means = _averages(codes) @ points
    within = points - means[codes]
    variances, directions = eigh(within.T @ within / len(rows))
    # Halfway to what the variance would be if it were spread over all features.
    spread = max(variances.sum(), _NOISE * np.square(points).sum() / len(rows), _TINY)
    whiten = directions / np.sqrt((np.maximum(variances, 0) + spread / rows.shape[1]) / 2)
    weights = (importance[:, np.newaxis] * (axes @ whiten)).astype(np.float32)
    return {
        "weights": weights,
        "offset": middle @ weights,
        "means": means @ whiten,
        "has_others": np.array(has_others),
    }


def measure(known, rows):
    """Measure how unlike the known classes rows are.

    Parameters
    ----------
    known : dict of str to ndarray
        From `learn_classes`.
    rows : ndarray of shape (n_rows, n_features)

    Returns
    -------
    ndarray of shape (n_rows, n_measures)
        The distance to the nearest class mean, and how little nearer that is than the class means
        are on average. With examples, also how much nearer their mean is than the nearest class.
    """
    if "metric" in known:
        return _measure_in_plane(known, rows)
    points = rows @ known["weights"] - known["offset"]
    distances = cdist(points, known["means"], "sqeuclidean")
    n_known = len(known["means"]) - bool(known["has_others"])
    nearest = distances[:, :n_known].min(axis=1)
    nearer = np.maximum(distances[:, :n_known].mean(axis=1) - nearest, 0)
    measures = [np.sqrt(nearest), -np.sqrt(nearer)]
    if n_known < len(known["means"]):
        lengths = np.sqrt(np.square(points).sum(axis=1) + _TINY)
        measures.append((nearest - distances[:, -1]) / lengths)
    return np.column_stack(measures)


def principal_axes(rows, n_axes):
    """Axes of unit length in which centred rows vary most: (n_features, n_axes or fewer)."""
    few_rows = len(rows) < rows.shape[1]
    products = (rows @ rows.T if few_rows else rows.T @ rows).astype(np.float64)
    n_all = len(products)
    first = max(n_all - n_axes, 0)
    variances, axes = eigh(products, subset_by_index=(first, n_all - 1))
    kept = variances > max(_NOISE * variances.max(), _TINY)
    axes = axes[:, kept].astype(rows.dtype)
    return (rows.T @ axes) / np.sqrt(variances[kept]).astype(rows.dtype) if few_rows else axes


def _averages(codes):
    """Weights of the rows in each class mean: (n_classes, n_rows)."""
    members = np.eye(codes.max() + 1)[codes]
    return (members / members.sum(axis=0)).T


def _importance(rows, codes):
    """How much each feature counts: more, the more classes differ in it.

    It is the root of by how much the variance between class means exceeds what it would be if all
    classes were alike, in units of that (the F statistic, less 1).
    """
    means = (_averages(codes) @ rows).astype(rows.dtype)
    n_classes = len(means)
    total = rows.var(axis=0)
    within = np.maximum(np.square(rows - means[codes]).mean(axis=0), _MIN_WITHIN * total)
    ratio = np.maximum(total - within, 0) / np.maximum(within, _TINY)
    excess = ratio * max(len(rows) - n_classes, 1) / (n_classes - 1) - 1
    return np.sqrt(np.maximum(excess, 0)) if (excess > 0).any() else np.ones_like(total)


def _measure_in_plane(known, rows):
    """Measure as the rejectors did that were saved before distances were those in all axes."""
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
