"""Batches of crops of log mel spectrograms, and what is done to them in training.

Pure functions of arrays: everything random comes in as an argument, or as a generator.
"""

from typing import NamedTuple

import numpy as np

from skspeech._spectrogram import MelSpectrogram, mel_frequencies, power_to_db

__all__ = [
    "Spectrograms",
    "balanced_order",
    "crops",
    "log_mel",
    "mask",
    "mixup",
    "smooth_labels",
    "spaced_crops",
    "warp_bands",
    "warp_matrices",
]

# Of decibels or standardized decibels: what varies less is constant but for rounding.
_MIN_SCALE = 1e-2


class Spectrograms(NamedTuple):
    """Spectrograms of clips, one after another.

    Attributes
    ----------
    frames : ndarray of shape (n_frames_in_all, n_mels), float32
        The frames of all clips.
    starts : ndarray of shape (n_clips + 1,), int
        Clip `i` owns the rows ``starts[i]:starts[i + 1]``.
    """

    frames: np.ndarray
    starts: np.ndarray

    @property
    def counts(self):
        """Number of frames of each clip, (n_clips,)."""
        return np.diff(self.starts)

    def statistics(self):
        """Mean and standard deviation over time of each clip's bands, two (n_clips, n_mels)."""
        counts = self.counts[:, np.newaxis]
        means = np.add.reduceat(self.frames, self.starts[:-1], axis=0, dtype=np.float64) / counts
        centred = self.frames - np.repeat(means, self.counts, axis=0)
        variances = np.add.reduceat(np.square(centred), self.starts[:-1], axis=0) / counts
        return means, np.sqrt(variances)

    def joined(self, other):
        """These clips, and after them those of another `Spectrograms`."""
        return Spectrograms(
            np.concatenate([self.frames, other.frames]),
            np.concatenate([self.starts, self.starts[-1] + other.starts[1:]]),
        )

    def bands_standardized(self, mean, scale):
        """Each band less a mean, divided by a scale, both (n_mels,)."""
        return self._replace(frames=((self.frames - mean) / scale).astype(np.float32))

    def clips_standardized(self):
        """Each clip with zero mean and unit variance; one without variance becomes zero."""
        means, stds = self.statistics()
        mean = means.mean(axis=1, keepdims=True)
        variance = np.square(stds).mean(axis=1, keepdims=True) + means.var(axis=1, keepdims=True)
        mean, scale = (
            np.repeat(values, self.counts, axis=0)
            for values in (mean, np.maximum(np.sqrt(variance), _MIN_SCALE))
        )
        return self.bands_standardized(mean, scale)

    def band_moments(self):
        """Mean and standard deviation of each band over all frames, two (n_mels,)."""
        mean = self.frames.mean(axis=0, dtype=np.float64)
        scale = self.frames.std(axis=0, dtype=np.float64)
        return mean.astype(np.float32), np.maximum(scale, _MIN_SCALE).astype(np.float32)


def log_mel(waveforms, *, n_fft, hop_length, n_mels, fmin, fmax, device="cpu"):
    """Log mel spectrograms of waveforms at 16 kHz, in decibels, as a `Spectrograms`."""
    import torch

    mel = MelSpectrogram(n_fft, hop_length, n_mels, fmin=fmin, fmax=fmax)
    with torch.inference_mode():
        power, starts = mel(waveforms, device=device)
        return Spectrograms(power_to_db(power, starts).cpu().numpy(), starts)


def crops(spectrograms, clips, offsets, n_frames, steps=1.0):
    """Cut a piece of the same length out of each of some clips; short clips are repeated.

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
        Frames from one of the crop to its next: 2.0 is twice the speed.

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
        Crops of each clip. A clip that is no longer than a crop has one.

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
        How much of itself each row keeps.
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
        The first that is masked in each row, and how many are.

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
    """Probabilities (n_rows, n_classes): `smoothing` is shared by all classes."""
    return (1 - smoothing) * np.eye(n_classes)[codes] + smoothing / n_classes


def warp_matrices(factors, n_mels, fmin, fmax):
    """Matrices that move what is at a frequency to `factor` times it, on the mel scale.

    A longer or a shorter vocal tract does that to a voice, as does another speed.

    Parameters
    ----------
    factors : ndarray of shape (n_rows,)
        What frequencies are multiplied with.
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


def balanced_order(codes, n_draws, rng):
    """Rows in random order, so that each class is drawn equally often, and so is each of its rows.

    Parameters
    ----------
    codes : ndarray of shape (n_rows,), int
        Class of each row.
    n_draws : int
        How many rows are drawn.
    rng : RandomState

    Returns
    -------
    ndarray of shape (n_draws,), int
    """
    classes = np.unique(codes)
    per_class = -(-n_draws // len(classes))
    drawn = [repeated_order(np.flatnonzero(codes == c), per_class, rng) for c in classes]
    # Class by class in turns, so that what is left out at the end is of different classes.
    drawn = np.stack(drawn, axis=1)[:, rng.permutation(len(classes))]
    return rng.permutation(drawn.ravel()[:n_draws])


def repeated_order(rows, n_draws, rng):
    """`n_draws` of the rows in random order; all of them before one comes again."""
    n_rounds = -(-n_draws // len(rows))
    return np.concatenate([rng.permutation(rows) for _ in range(n_rounds)])[:n_draws]
