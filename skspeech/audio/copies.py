"""Clips that are the same sound: they must not be on both sides of a split."""

import collections
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from skspeech._cores import reading_threads
from skspeech.audio.containers import as_clips, is_table

__all__ = ["group_copies", "kept_together"]


def kept_together(X, groups=None, *, are_clips=False, seconds=np.inf, n_jobs=None):
    """Number what must not be on both sides of a split: the groups or, without any, the sounds.

    Parameters
    ----------
    X : sequence of n_samples clips, Clips, or array-like of shape (n_samples, n_features)
        Rows of features may be alike; copies are looked for among clips only.
    groups : ndarray of shape (n_samples,), default=None
        They are returned as they are.
    are_clips : bool, default=False
        Whether the rows of a table are clips, and not features.
    seconds, n_jobs
        As for :func:`group_copies`.

    Returns
    -------
    ndarray of shape (n_samples,), or None
        None if there are neither groups nor two clips that are the same.
    """
    if groups is not None or (is_table(X) and not are_clips):
        return groups
    try:
        sounds = group_copies(as_clips(X), seconds=seconds, n_jobs=n_jobs)
    except (TypeError, ValueError):  # whoever takes these rows says what is wrong with them
        return None
    return None if len(np.unique(sounds)) == len(sounds) else sounds


def group_copies(clips, *, seconds=np.inf, n_jobs=None):
    """Number clips by content: equal clips get equal numbers. Only those of equal size are read.

    Parameters
    ----------
    clips : Clips
    seconds : float, default=inf
        About how long this may take; clips that were not read by then count as different.
    n_jobs : int or None, default=None
        Threads that read files.

    Returns
    -------
    ndarray of int of shape (n_clips,)
        The position of the first clip that is the same.

    Examples
    --------
    >>> import numpy as np
    >>> from skspeech.audio import as_clips
    >>> from skspeech.audio.copies import group_copies
    >>> group_copies(as_clips([np.ones(4000), np.zeros(4000), np.ones(4000)])).tolist()
    [0, 1, 0]
    """
    deadline = time.monotonic() + seconds
    of_size = collections.defaultdict(list)
    for index in range(len(clips)):
        of_size[clips[index].size].append(index)
    suspects = [index for rows in of_size.values() if len(rows) > 1 for index in rows]

    def key(index):
        try:
            return clips[index].key() if time.monotonic() < deadline else index
        except (OSError, ValueError):
            return index

    groups, first = np.arange(len(clips)), {}
    if suspects:
        with ThreadPoolExecutor(reading_threads(n_jobs, len(suspects))) as pool:
            for index, content in zip(suspects, pool.map(key, suspects), strict=True):
                groups[index] = first.setdefault(content, index)
    return groups
