"""Facts of single clips that say how well they were recorded."""

import numpy as np

__all__ = ["CLIPPED_SHARE", "SILENT_DB", "measure"]

SILENT_DB = -60.0  # a peak below this is no recording of anything
CLIPPED_SHARE = 5e-4  # of the samples; a few clipped ones are not heard

_MEASURED_SECONDS = 60.0
_PLATEAU = 3  # samples in a row at the very peak: a wave passes through its peak, clipping rests


def measure(clip):
    """Measure a clip, as far as it can be read.

    Parameters
    ----------
    clip : Clip

    Returns
    -------
    dict
        ``duration`` (seconds), ``peak`` and ``level`` (dB of full scale), ``clipped`` (share of the
        samples), ``key`` of the content, and ``problem``, which says why it can't be read.
    """
    try:
        waveform = clip.load(_MEASURED_SECONDS, sampling_rate=clip.sampling_rate)
        peak = float(np.abs(waveform).max())
        return {
            "duration": clip.duration(),
            "peak": _decibels(peak),
            "level": _decibels(float(np.sqrt(np.mean(np.square(waveform, dtype=np.float64))))),
            "clipped": _clipped_share(waveform, peak),
            "key": clip.key(),
            "problem": "",
        }
    except (OSError, ValueError) as error:
        unknown = dict.fromkeys(("duration", "peak", "level", "clipped"), np.nan)
        return {**unknown, "key": "", "problem": str(error)}


def _decibels(amplitude):
    return 20 * np.log10(max(amplitude, 1e-10))


def _clipped_share(waveform, peak):
    """Share of samples on plateaus at the peak, at the file's own rate: resampling rounds them."""
    if peak < 0.5:
        return 0.0
    n_clipped = 0
    for side in (waveform, -waveform):
        at_limit = np.r_[False, side >= max(side.max(), 0.5) * (1 - 1e-4), False]
        edges = np.flatnonzero(at_limit[1:] != at_limit[:-1]).reshape(-1, 2)
        lengths = edges[:, 1] - edges[:, 0]
        n_clipped += lengths[lengths >= _PLATEAU].sum()
    return n_clipped / len(waveform)
