"""Bring all clips to one level: a network gives other features for a quieter recording."""

from numbers import Real

import numpy as np

from skspeech._sklearn import Interval
from skspeech.audio.long import LongWaveform

__all__ = ["DEFAULT_LEVEL", "LEVEL", "LEVELS", "MAX_GAIN_DB", "SHORTEST_PERIOD", "at_level"]

DEFAULT_LEVEL = -20.0
"""Decibels of full scale (root mean square) that clips are brought to before a model hears them."""

LEVEL = """
Level in decibels of full scale (root mean square) that each clip is brought to, once a
constant offset is taken off: quiet and loud recordings are heard alike. None leaves clips
as they are.
"""
"""What is said of a parameter `level`."""

LEVELS = [Interval(Real, -60, 0, closed="both"), None]
"""What a parameter `level` may be."""

# Samples of one period at 20 Hz: the mean of a shorter waveform is part of the sound.
SHORTEST_PERIOD = 800
# The largest gain. A clip that would need more holds noise at best.
MAX_GAIN_DB = 60.0


def at_level(waveform, level):
    """Remove a waveform's constant offset, and scale it to a level.

    Parameters
    ----------
    waveform : ndarray of shape (n_samples,), float32, or LongWaveform
    level : float or None
        Root mean square in decibels of full scale; None leaves the waveform as it is.

    Returns
    -------
    ndarray of shape (n_samples,), float32, or LongWaveform
        Silence stays silence.
    """
    if level is None:
        return waveform
    if isinstance(waveform, LongWaveform):
        gain = _gain(level, waveform.power, waveform.peak)
        return waveform.scaled(waveform.mean, gain)
    offset = waveform.mean(dtype=np.float64) if len(waveform) >= SHORTEST_PERIOD else 0.0
    centred = waveform - np.float32(offset)
    power = float(np.dot(centred, centred)) / len(centred)
    return centred * np.float32(_gain(level, power, float(np.abs(waveform).max())))


def _gain(level, power, peak):
    # What is left of a constant is rounding noise, not sound.
    if power <= (1e-6 * peak) ** 2:
        return 0.0
    return min(10 ** (level / 20) / np.sqrt(power), 10 ** (MAX_GAIN_DB / 20))
