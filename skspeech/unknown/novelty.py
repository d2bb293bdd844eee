"""How far a clip falls from the classes that are known: a few numbers for each row of features."""

import numpy as np
from scipy.linalg import eigh, solve_triangular

__all__ = ["learn_classes", "measure", "principal_axes"]

# The covariance within classes is drawn so far towards the identity, as in the ensembles' members.
_SHRINKAGE = 0.5
_TINY = 1e-12


def learn_classes(rows, codes, n_features, rest=0.0, others=None):
    """Learn where classes lie, in units of how much the rows of a class differ.

    Parameters
    ----------
    rows : ndarray of shape (n_rows, n_components)
        Principal components of features.
    codes : ndarray of int of shape (n_rows,)
        Class of each row.
    n_features : int
        How many features the components stand for.
    rest : float, default=0.0
        Variance of the features that is in no component.
    others : ndarray of shape (n_others, n_components), default=None
        Rows that are of no class.

    Returns
    -------
    dict of str to ndarray
        What `measure` needs.
    """
    codes = np.unique(codes, return_inverse=True)[1]
    members = np.eye(codes.max() + 1)[codes]
    means = (members / members.sum(axis=0)).T @ rows
    within = rows - means[codes]
    covariance = within.T @ within / len(rows)
    variance = (np.trace(covariance) + rest) / n_features
    # Where all rows are their class's mean, what classes differ by is the unit.
    variance = max(variance, _TINY * np.square(rows).mean(), _TINY)
    covariance *= 1 - _SHRINKAGE
    covariance.flat[:: len(covariance) + 1] += _SHRINKAGE * variance
    factor = np.linalg.cholesky(covariance)
    middle = rows.mean(axis=0)
    known = {
        "middle": middle,
        "factor": factor,
        "means": solve_triangular(factor, (means - middle).T, lower=True).T,
        "variance": np.array(_SHRINKAGE * variance),
    }
    if others is not None:
        others = np.vstack([others.mean(axis=0), others])
        known["others"] = solve_triangular(factor, (others - middle).T, lower=True).T
    return known


def measure(known, rows, rest):
    """Measure how unlike the known classes rows are.

    Parameters
    ----------
    known : dict of str to ndarray
        From `learn_classes`.
    rows : ndarray of shape (n_rows, n_components)
    rest : ndarray of shape (n_rows,)
        Squared length of what is in no component.

    Returns
    -------
    ndarray of shape (n_rows, n_measures)
        ``distance``: from the nearest class's mean (Mahalanobis's); ``relative``: the same, less
        that from the middle of all classes; ``ratio`` of the two; ``angle`` at which the nearest
        class is seen from the middle, as a cosine; ``margin``: how little farther the second
        class is, and 0 where there is one class only. Where there are others, also how much nearer
        than the nearest class one of them is, or their mean.
    """
    rows = solve_triangular(known["factor"], (rows - known["middle"]).T, lower=True).T
    means = known["means"]
    products, lengths = rows @ means.T, np.square(means).sum(axis=1)
    centre = np.square(rows).sum(axis=1) + rest / known["variance"]
    distances = centre[:, np.newaxis] - 2 * products + lengths
    nearest = distances.min(axis=1)
    cosines = products / np.sqrt(np.maximum(np.outer(centre, lengths), _TINY))
    margin = np.zeros(len(rows))
    if len(means) > 1:
        margin = -np.diff(np.partition(distances, 1, axis=1)[:, :2], axis=1).ravel()
    n = rows.shape[1]
    measures = [
        np.sqrt(np.maximum(nearest, 0) / n),
        (nearest - centre) / n,
        nearest / np.maximum(centre, _TINY),
        -cosines.max(axis=1),
        margin / n,
    ]
    if "others" in known:
        lengths = np.square(known["others"]).sum(axis=1)
        others = (lengths - 2 * rows @ known["others"].T).min(axis=1) + centre
        measures.append((nearest - others) / n)
    return np.column_stack(measures)


def principal_axes(rows, n_components):
    """Axes along which centred rows vary most, of unit length: (n_features, n_components)."""
    few_rows = len(rows) < rows.shape[1]
    products = rows @ rows.T if few_rows else rows.T @ rows
    first = max(0, len(products) - n_components)
    variances, axes = eigh(products, subset_by_index=[first, len(products) - 1])
    kept = variances > _TINY * max(variances.max(), _TINY)
    axes = axes[:, kept]
    return (rows.T @ axes) / np.sqrt(variances[kept]) if few_rows else axes
