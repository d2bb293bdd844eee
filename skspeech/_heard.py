"""What a model was trained on: clips are recognised by content, groups by name."""

import re
from concurrent.futures import ThreadPoolExecutor
from unicodedata import normalize

import numpy as np

from skspeech._cores import reading_threads
from skspeech._labels import check_labels
from skspeech.audio import as_clips
from skspeech.audio.rates import sampling_rate_of

__all__ = ["forget", "heard", "known_groups", "knows_its_clips", "remember"]

_CLIPS, _GROUPS = "training_keys_", "training_groups_"  # attributes of the model


def remember(model, clips, groups=None):
    """Record in a model what it was trained on.

    Parameters
    ----------
    model : estimator
    clips : sequence of n_clips clips
    groups : array-like of shape (n_clips,), default=None

    Raises
    ------
    ValueError
        If a group is missing.
    """
    if groups is not None:
        groups = check_labels(groups, "training_groups", mixed=True)
    setattr(model, _CLIPS, np.unique(_keys(model, clips)))
    if groups is not None:
        setattr(model, _GROUPS, np.unique(_names(groups)))


def forget(model):
    """Remove these records from a model that is trained again."""
    for name in (_CLIPS, _GROUPS):
        model.__dict__.pop(name, None)


def knows_its_clips(model):
    return hasattr(model, _CLIPS)


def known_groups(model):
    """Names of the groups that a model was trained on; None if they are not recorded."""
    return getattr(model, _GROUPS, None)


def heard(model, clips, groups=None, *, train_clips=None, train_groups=None):
    """Which clips a model was trained on, and which others are of groups that it was trained on.

    Parameters
    ----------
    model : estimator
        Its own records are used.
    clips : sequence of n_clips clips
        Paths, waveforms or pairs.
    groups : array-like of shape (n_clips,), default=None
    train_clips, train_groups : sequence, default=None
        Further clips and groups that it was trained on.

    Returns
    -------
    by_clip, by_group : ndarray of bool of shape (n_clips,)
        No clip is in both. All False if nothing is recorded.
    """
    by_clip = by_group = np.zeros(len(clips), dtype=bool)
    known = [getattr(model, _CLIPS, None)]
    known += [None if train_clips is None else _keys(model, train_clips)]
    if _any(known):
        keys = _keys(model, clips)
        by_clip = np.isin(keys, _joined(known)) & (keys != 0)
    known = [known_groups(model), train_groups]
    if groups is not None and _any(known):
        known = [None if names is None else _names(names) for names in known]
        by_group = np.isin(_names(groups), _joined(known)) & ~by_clip
    return by_clip, by_group


def _any(values):
    return any(value is not None for value in values)


def _joined(values):
    return np.concatenate([np.asarray(value) for value in values if value is not None])


def _names(groups):
    """Groups as text. A table with a missing value makes 3.0 of group 3, so both are "3".

    In archives of macOS, a letter and its accent are two characters; elsewhere, they are one.
    """
    names = [normalize("NFC", name) for name in np.asarray(groups).astype(str).tolist()]
    return np.array([re.sub(r"^(-?\d+)\.0$", r"\1", name) for name in names], dtype=str)


def _keys(model, clips):
    """Numbers that are equal for equal content; 0 for clips that can't be read."""
    clips = as_clips(clips, sampling_rate=sampling_rate_of(model))
    with ThreadPoolExecutor(reading_threads(None, len(clips))) as pool:
        return np.array(list(pool.map(_key, clips)), dtype=np.uint64)


def _key(clip):
    try:
        return int(clip.key()[:16], 16)
    except (OSError, ValueError):
        return 0
