"""Random changes of clips that keep what is said and how it is said."""

import numpy as np

__all__ = ["change_speed", "mask_spectrograms", "perturb"]

_GAIN = 6.0  # decibels, up or down
_SIGNAL_TO_NOISE = (10.0, 40.0)  # decibels
_P_SPEED, _P_NOISE, _P_MASK = 0.8, 0.3, 0.5
_MASKED_BANDS, _MASKED_TIME = 6, 0.2  # at most: bands, and a share of the frames


def perturb(waveform, rng, max_speed):
    """Change a waveform's speed and pitch, its level, and add noise, each at random.

    Parameters
    ----------
    waveform : ndarray of shape (n_samples,), float32
        At 16 kHz. It is not modified.
    rng : RandomState
        Where random numbers come from.
    max_speed : float
        The logarithm of the largest factor of speed; 0 leaves speed and pitch alone.

    Returns
    -------
    ndarray of shape (about n_samples,), float32
    """
    if max_speed > 0 and rng.uniform() < _P_SPEED:
        waveform = change_speed(waveform, np.exp(rng.uniform(-max_speed, max_speed)))
    waveform = waveform * np.float32(10 ** (rng.uniform(-_GAIN, _GAIN) / 20))
    if rng.uniform() < _P_NOISE:
        level = np.sqrt(np.mean(np.square(waveform, dtype=np.float64)))
        level *= 10 ** (-rng.uniform(*_SIGNAL_TO_NOISE) / 20)
        waveform = waveform + (level * rng.standard_normal(len(waveform))).astype(np.float32)
    return waveform


def change_speed(waveform, factor):
    """Change the speed of a waveform; pitch and formants change with it, as on a tape.

    Parameters
    ----------
    waveform : ndarray of shape (n_samples,), float32
        What to play.
    factor : float
        Above 1 is faster.

    Returns
    -------
    ndarray of shape (about n_samples / factor,), float32
        At least one sample.
    """
    import soxr

    changed = soxr.resample(waveform, factor, 1.0, quality="LQ")
    return changed if len(changed) else waveform


def mask_spectrograms(mel, lengths, rng):
    """Set some bands and some frames of each spectrogram to zero, in place (SpecAugment).

    Parameters
    ----------
    mel : tensor of shape (n, n_frames, n_bands)
        Power.
    lengths : ndarray of shape (n,), int
        Frames that belong to each of them.
    rng : RandomState
        Where random numbers come from.

    References
    ----------
    Park, D. S. et al. (2019). SpecAugment: a simple data augmentation method for automatic speech
    recognition. Interspeech. https://arxiv.org/abs/1904.08779
    """
    n_bands = mel.shape[2]
    for spectrogram, length in zip(mel, lengths, strict=True):
        if rng.uniform() < _P_MASK:
            width = rng.randint(0, _MASKED_BANDS + 1)
            first = rng.randint(0, n_bands - width + 1)
            spectrogram[:, first : first + width] = 0
        if rng.uniform() < _P_MASK:
            width = rng.randint(0, int(_MASKED_TIME * length) + 1)
            first = rng.randint(0, length - width + 1)
            spectrogram[first : first + width] = 0
