"""Losses and random draws in which every class counts the same, whatever its size."""

import numpy as np

from skspeech.ensemble.blending import log_probas

__all__ = ["FLOOR", "balanced_draw", "balanced_log_loss", "floored_log"]

# Keeps logarithms of a network's probabilities finite.
FLOOR = 1e-6


def floored_log(proba):
    """Logarithms of probabilities, with a floor of 1e-6."""
    return log_probas(proba, FLOOR)


def balanced_log_loss(codes, log_proba):
    """Log loss in which every class counts the same.

    Parameters
    ----------
    codes : ndarray of shape (n_clips,), int
        The true classes.
    log_proba : ndarray of shape (n_clips, n_classes)
        Logarithms of the classes' probabilities.

    Returns
    -------
    float
    """
    losses = -log_proba[np.arange(len(codes)), codes]
    return float(np.average(losses, weights=1.0 / np.bincount(codes)[codes]))


def balanced_draw(codes, n, rng):
    """Draw rows so that all classes are drawn equally often, up to one row.

    Parameters
    ----------
    codes : ndarray of shape (n_rows,), int
        Classes of the rows.
    n : int
        How many rows.
    rng : RandomState

    Returns
    -------
    ndarray of shape (n,), int
        Rows in random order. A row is repeated only after all others of its class.
    """
    classes = rng.permutation(np.unique(codes))
    shares = n // len(classes) + (np.arange(len(classes)) < n % len(classes))
    drawn = []
    for code, share in zip(classes, shares, strict=True):
        own = np.flatnonzero(codes == code)
        n_times = -(-share // len(own))
        drawn.append(np.concatenate([own[:0], *(rng.permutation(own) for _ in range(n_times))]))
        drawn[-1] = drawn[-1][:share]
    return rng.permutation(np.concatenate(drawn))
