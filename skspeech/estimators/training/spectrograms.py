"""Log mel spectrograms of many clips, one after another in one array."""

from typing import NamedTuple

import numpy as np

from skspeech._spectrogram import MelSpectrogram, power_to_db
from skspeech._threads import within_cores
from skspeech.audio import in_chunks

__all__ = ["Spectrograms", "log_mel"]

# Seconds of audio whose spectrograms are computed at once.
_CHUNK_SECONDS = 120.0
# Of decibels or standardized decibels: what varies less is constant but for rounding.
_MIN_SCALE = 1e-2


class Spectrograms(NamedTuple):
    """Spectrograms of clips, one after another."""

    frames: np.ndarray  # the frames of all clips, (n_frames_in_all, n_mels), float32
    starts: np.ndarray  # clip `i` owns the rows ``starts[i]:starts[i + 1]``

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
        """These clips, followed by those of another `Spectrograms`."""
        return Spectrograms(
            np.concatenate([self.frames, other.frames]),
            np.concatenate([self.starts, self.starts[-1] + other.starts[1:]]),
        )

    def bands_standardized(self, mean, scale):
        """Each band less a mean, divided by a scale, both (n_mels,)."""
        return self._replace(frames=((self.frames - mean) / scale).astype(np.float32))

    def clips_standardized(self):
        """Each clip with zero mean and unit variance; a clip without variance becomes zero."""
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


def log_mel(waveforms, *, n_fft, hop_length, n_mels, fmin=0.0, fmax=None, device="cpu"):
    """Compute log mel spectrograms, a few minutes of audio at a time.

    Parameters
    ----------
    waveforms : list of ndarray of shape (n_samples,), float32
        At 16 kHz.
    n_fft, hop_length, n_mels : int
        As in librosa.
    fmin : float, default=0.0
        Lowest frequency in Hz.
    fmax : float, default=None
        Highest frequency in Hz. None is half the sampling rate.
    device : torch.device or str, default="cpu"
        Where they are computed.

    Returns
    -------
    Spectrograms
        In decibels, clipped at 80 dB below each clip's maximum.
    """
    import torch

    mel = MelSpectrogram(n_fft, hop_length, n_mels, fmin=fmin, fmax=fmax)
    frames, counts = [], []
    with within_cores(), torch.inference_mode():
        for chunk in in_chunks(waveforms, _CHUNK_SECONDS):
            power, starts = mel(chunk, device=device)
            frames.append(power_to_db(power, starts).cpu().numpy())
            counts.append(np.diff(starts))
    starts = np.cumsum(np.concatenate([[0], *counts]))
    return Spectrograms(np.concatenate(frames), starts)
