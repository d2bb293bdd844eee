"""What the recurrent networks read: features of log mel frames, and distorted batches of them."""

import functools
from typing import NamedTuple

import numpy as np
from scipy.fft import dct

__all__ = ["Augmentation", "as_features", "make_batch"]


class Augmentation(NamedTuple):
    """How far training distorts spectrograms at most; 0 leaves it out."""

    speed: float = 0.0  # change of tempo, as a share
    warp: float = 0.0  # stretch of the frequency axis, as a share: voices of other sizes
    gain: float = 0.0  # change of level in decibels
    band_mask: float = 0.0  # width of the masked band of frequencies, as a share of all
    frame_mask: float = 0.0  # and of the masked time


def as_features(log_mel, kind):
    """Turn log-mel frames into what the networks read.

    Parameters
    ----------
    log_mel : ndarray of shape (..., n_mels)
        In decibels.
    kind : {"logmel", "mfcc"}
        Which features.

    Returns
    -------
    ndarray of shape (..., n_mels)
        Themselves, or as many mel-frequency cepstral coefficients as there are bands.
    """
    return log_mel if kind == "logmel" else log_mel @ _dct_matrix(log_mel.shape[-1])


@functools.lru_cache(maxsize=8)
def _dct_matrix(n):
    return dct(np.eye(n), axis=1, norm="ortho").astype(np.float32)


def make_batch(spectrograms, clips, n_frames, augmentation=None, rng=None):
    """Gather clips in one array, padded with zeros at their ends.

    Parameters
    ----------
    spectrograms : Spectrograms
    clips : ndarray of shape (n_clips,), int
        Which clips.
    n_frames : int
        Frames per clip. Longer clips are cut: at their end, or to a random part if there is an
        augmentation.
    augmentation : Augmentation, default=None
        How much to distort them.
    rng : RandomState, default=None
        Source of the random distortions.

    Returns
    -------
    batch : ndarray of shape (n_clips, n_frames, n_mels), float32
    mask : ndarray of shape (n_clips, n_frames), float32
        1 where there is a frame, else 0.
    """
    starts, counts = spectrograms.starts[clips], spectrograms.counts[clips]
    if augmentation is None:
        positions = np.broadcast_to(np.arange(n_frames), (len(clips), n_frames))
        mask = positions < counts[:, None]
        batch = spectrograms.frames[starts[:, None] + np.minimum(positions, counts[:, None] - 1)]
    else:
        batch, mask = _resample_time(
            spectrograms.frames, starts, counts, n_frames, augmentation, rng
        )
        batch = _warp_bands(batch, augmentation, rng)
        batch += _spread(rng, len(clips), augmentation.gain)[:, None, None]
        batch = _hide(batch, mask, augmentation, rng)
    mask = mask.astype(np.float32)
    return batch * mask[:, :, None], mask


def _spread(rng, n, limit):
    return rng.uniform(-limit, limit, n).astype(np.float32)


def _resample_time(frames, starts, counts, n_frames, augmentation, rng):
    """Change the tempo of each clip, and take a random part of those that are too long."""
    steps = 1.0 + _spread(rng, len(starts), augmentation.speed)
    lengths = np.maximum(1, np.round(counts / steps)).astype(int)
    firsts = np.floor(rng.uniform(size=len(starts)) * (np.maximum(lengths - n_frames, 0) + 1))
    positions = (firsts[:, None] + np.arange(n_frames)) * steps[:, None]
    mask = np.arange(n_frames) < lengths[:, None]
    lower, upper, share = _between(positions, counts[:, None])
    starts = starts[:, None]
    batch = frames[starts + lower] * (1 - share[:, :, None])
    return batch + frames[starts + upper] * share[:, :, None], mask


def _between(positions, counts):
    """Neighbours of positions between 0 and ``counts - 1``, and the weight of the upper one."""
    positions = np.minimum(positions, counts - 1)
    lower = positions.astype(int)
    upper = np.minimum(lower + 1, counts - 1)
    return lower, upper, (positions - lower).astype(np.float32)


def _warp_bands(batch, augmentation, rng):
    if not augmentation.warp:
        return batch
    n_clips, _, n_bands = batch.shape
    factors = 1.0 + _spread(rng, n_clips, augmentation.warp)
    lower, upper, share = _between(factors[:, None] * np.arange(n_bands), n_bands)
    by_band = batch.transpose(0, 2, 1)
    rows, share = np.arange(n_clips)[:, None], share[:, :, None]
    warped = by_band[rows, lower] * (1 - share) + by_band[rows, upper] * share
    return warped.transpose(0, 2, 1)


def _hide(batch, mask, augmentation, rng):
    """Replace a band of frequencies and a stretch of time by the clip's mean."""
    n_clips, n_frames, n_bands = batch.shape
    hidden = _stretch(rng, np.full(n_clips, n_bands), augmentation.band_mask, n_bands)[:, None, :]
    hidden = hidden | _stretch(rng, mask.sum(axis=1), augmentation.frame_mask, n_frames)[:, :, None]
    count = mask.sum(axis=1) * n_bands
    means = (batch * mask[:, :, None]).sum(axis=(1, 2)) / count
    return np.where(hidden, means[:, None, None].astype(np.float32), batch)


def _stretch(rng, lengths, share, n):
    widths = rng.uniform(0, share, len(lengths)) * lengths
    firsts = rng.uniform(size=len(lengths)) * (lengths - widths)
    positions = np.arange(n) + 0.5
    return (positions >= firsts[:, None]) & (positions < (firsts + widths)[:, None])
