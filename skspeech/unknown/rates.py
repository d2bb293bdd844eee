"""Error rates of the answer "unknown"."""

import numpy as np

from skspeech.metrics import score_interval

__all__ = ["error_rates", "share_of_errors"]


def error_rates(labels, predicted, unknown_label, groups=None):
    """Shares of false rejects and false accepts.

    Parameters
    ----------
    labels, predicted : array-like of shape (n_clips,)
        True and predicted labels.
    unknown_label : str or int
    groups : array-like of shape (n_clips,), default=None
        Group of each clip, such as its speaker.

    Returns
    -------
    dict of str to dict
        ``false_rejects``, of the clips of known classes, and ``false_accepts``, of the others: each
        with ``n_clips``, ``share``, and ``low``, ``high`` and ``meaning`` of its interval.
    """
    unknown = np.asarray(labels) == unknown_label
    rejected = np.asarray(predicted) == unknown_label
    rates = {}
    for name, own, wrong in (
        ("false_rejects", ~unknown, rejected),
        ("false_accepts", unknown, ~rejected),
    ):
        of_own = None if groups is None else np.asarray(groups)[own]
        share, interval = share_of_errors(wrong[own], of_own)
        limits = dict(zip(("low", "high", "meaning"), interval))
        rates[name] = {"n_clips": int(own.sum()), "share": share, **limits}
    return rates


def share_of_errors(wrong, groups=None, of_classes=False):
    """A share of errors, and its interval for new clips.

    Parameters
    ----------
    wrong : ndarray of bool of shape (n_clips,)
    groups : array-like of shape (n_clips,), default=None
        Such as speakers.
    of_classes : bool, default=False
        Whether the groups are classes.

    Returns
    -------
    share : float
    interval : tuple (low, high, meaning)
        As in :func:`skspeech.metrics.score_interval`.
    """
    if not len(wrong):
        return np.nan, (np.nan, np.nan, "no clip")
    low, high, meaning = score_interval(np.zeros(len(wrong)), wrong.astype(int), groups)
    if of_classes:
        meaning = meaning.replace("groups", "classes").replace("group", "class")
    return float(wrong.mean()), (1 - high, 1 - low, meaning)
