"""Batches of crops of log mel spectrograms, and their augmentation in training.

Pure functions of arrays: random values or a generator are arguments.
"""

import numpy as np

from skspeech._spectrogram import mel_frequencies

__all__ = [
    "crops",
    "mask",
    "mixup",
    "smooth_labels",
    "spaced_crops",
    "warp_bands",
    "warp_matrices",
]


def crops(spectrograms, clips, offsets, n_frames, steps=1.0):
    """Cut crops of equal length out of clips; clips shorter than a crop are repeated.

    Parameters
    ----------
    spectrograms : Spectrograms
    clips : ndarray of shape (n_crops,), int
        Which clip each crop is cut from.
    offsets : ndarray of shape (n_crops,)
        The first frame of each crop.
    n_frames : int
        Length of the crops.
    steps : float or ndarray of shape (n_crops,), default=1.0
        Step between the crop's frames: 2.0 is twice the speed.

    Returns
    -------
    ndarray of shape (n_crops, n_frames, n_mels)
    """
    steps = np.broadcast_to(steps, len(clips))
    frames = np.floor(offsets[:, np.newaxis] + np.outer(steps, np.arange(n_frames))).astype(int)
    frames %= spectrograms.counts[clips, np.newaxis]
    return spectrograms.frames[spectrograms.starts[clips, np.newaxis] + frames]


def spaced_crops(counts, n_frames, n_crops):
    """Where to cut clips for prediction: from the first frame to the last, evenly spaced.

    Parameters
    ----------
    counts : ndarray of shape (n_clips,), int
        Frames of each clip.
    n_frames : int
        Length of the crops.
    n_crops : int
        Crops of each clip. A clip that is no longer than a crop has only one.

    Returns
    -------
    clips, offsets : ndarray of shape (n_crops_in_all,), int
        Which clip each crop is cut from, and its first frame. The clips are in order.
    """
    room = np.maximum(counts - n_frames, 0)
    numbers = np.minimum(n_crops, room + 1)
    clips = np.repeat(np.arange(len(counts)), numbers)
    order = np.arange(len(clips)) - np.repeat(np.cumsum(numbers) - numbers, numbers)
    # A single crop of a longer clip is its middle.
    shares = np.where(numbers[clips] > 1, order / np.maximum(numbers[clips] - 1, 1), 0.5)
    return clips, np.round(shares * room[clips]).astype(int)


def mixup(x, y, shares, partners):
    """Blend each row of `x` and `y` with another one.

    Parameters
    ----------
    x : ndarray of shape (n_rows, ...)
    y : ndarray of shape (n_rows, n_classes)
        Probabilities of the classes.
    shares : ndarray of shape (n_rows,)
        The share of itself that each row keeps.
    partners : ndarray of shape (n_rows,), int
        The row that gives the rest.

    Returns
    -------
    x, y : ndarray
        Blended rows.
    """
    own = shares.reshape(-1, *[1] * (x.ndim - 1)).astype(x.dtype)
    return (
        own * x + (1 - own) * x[partners],
        shares[:, np.newaxis] * y + (1 - shares[:, np.newaxis]) * y[partners],
    )


def mask(x, axis, begins, widths):
    """Set one run of frames or bands of each row to zero, which is the mean; changes `x`.

    Parameters
    ----------
    x : ndarray of shape (n_rows, n_frames, n_mels)
    axis : {1, 2}
        1 masks frames, 2 bands.
    begins, widths : ndarray of shape (n_rows,), int
        The first masked frame or band of each row, and how many are masked.

    Returns
    -------
    ndarray of shape (n_rows, n_frames, n_mels)
        `x` itself.
    """
    positions = np.arange(x.shape[axis])
    begins, ends = begins[:, np.newaxis], (begins + widths)[:, np.newaxis]
    hidden = (positions >= begins) & (positions < ends)
    x *= ~np.expand_dims(hidden, 3 - axis)
    return x


def smooth_labels(codes, n_classes, smoothing):
    """Probabilities (n_rows, n_classes); `smoothing` is spread over all classes."""
    return (1 - smoothing) * np.eye(n_classes)[codes] + smoothing / n_classes


def warp_matrices(factors, n_mels, fmin, fmax):
    """Matrices that multiply frequencies by a factor, on the mel scale.

    A longer or shorter vocal tract changes a voice in this way, and so does another speed.

    Parameters
    ----------
    factors : ndarray of shape (n_rows,)
        Factors by which frequencies are multiplied.
    n_mels, fmin, fmax
        Of the spectrograms.

    Returns
    -------
    ndarray of shape (n_rows, n_mels, n_mels), float32
        ``frame @ matrix`` is the warped frame, by linear interpolation; past the highest or the
        lowest band, these bands are repeated.
    """
    centres = mel_frequencies(n_mels + 2, fmin, fmax)[1:-1]
    bands = np.arange(n_mels)
    sources = np.stack([np.interp(centres / factor, centres, bands) for factor in factors])
    distances = np.abs(sources[:, np.newaxis, :] - bands[:, np.newaxis])
    return np.maximum(0, 1 - distances).astype(np.float32)


def warp_bands(x, matrices):
    """Apply `warp_matrices` to (n_rows, n_frames, n_mels)."""
    return np.matmul(x, matrices)
