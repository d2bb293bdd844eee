"""Which clips a model was trained on: known again by their content, whatever they are called."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np

from skspeech._cores import reading_threads
from skspeech.audio import as_clips

__all__ = ["ATTRIBUTE", "clip_keys", "was_trained_on"]

ATTRIBUTE = "training_keys_"  # of the model; a number for each clip


def clip_keys(clips):
    """Numbers that are equal for equal content.

    Parameters
    ----------
    clips : sequence of n_clips clips
        Paths, waveforms or pairs.

    Returns
    -------
    ndarray of shape (n_clips,), uint64
        0 for clips that can't be read.
    """
    clips = as_clips(clips)
    with ThreadPoolExecutor(reading_threads(None, len(clips))) as pool:
        return np.array(list(pool.map(_key, clips)), dtype=np.uint64)


def _key(clip):
    try:
        return int(clip.key()[:16], 16)
    except (OSError, ValueError):
        return 0


def was_trained_on(model, clips):
    """Which of some clips a model was trained on.

    Parameters
    ----------
    model : estimator
        Its file says what it was trained on, where it was saved with that.
    clips : sequence of n_clips clips
        Paths, waveforms or pairs.

    Returns
    -------
    ndarray of bool of shape (n_clips,)
        All False where nobody knows.
    """
    known = getattr(model, ATTRIBUTE, None)
    if known is None:
        return np.zeros(len(clips), dtype=bool)
    keys = clip_keys(clips)
    return np.isin(keys, known) & (keys != 0)
