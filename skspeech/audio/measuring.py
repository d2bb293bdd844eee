"""Measure clips: duration and recording quality."""

import contextlib
import math
import time

import numpy as np

__all__ = ["CLIPPED_SHARE", "SILENT_DB", "about_durations", "measure", "usual_duration"]

SILENT_DB = -60.0  # a clip whose peak is below this is silent
CLIPPED_SHARE = 5e-4  # of the samples; a few clipped samples are inaudible

_MEASURED_SECONDS = 60.0
_N_PROBED = 50  # clips whose headers are read to learn how long clips are
_PLATEAU = 3  # samples in a row at the peak mean clipping: a natural wave does not stay there


def measure(clip, deadline=math.inf):
    """Measure the first minute of a clip, or what follows if that is silent.

    Parameters
    ----------
    clip : Clip
    deadline : float, default=inf
        Value of ``time.monotonic()`` after which no more is read, to look for sound after silence.

    Returns
    -------
    dict or None
        ``duration`` (seconds), ``peak`` and ``level`` (dB of full scale), ``clipped`` (share of the
        samples), ``key`` of the content, and ``problem``, which says why it can't be read. None if
        the deadline came before any sound.
    """
    try:
        waveform = _first_sound(clip, deadline)
        if waveform is None:
            return None
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


def _first_sound(clip, deadline):
    """The first minute; if it is silent, the first block that is not. At the clip's own rate."""
    rate = clip.sampling_rate
    waveform = clip.load(_MEASURED_SECONDS, sampling_rate=rate)
    if len(waveform) < int(_MEASURED_SECONDS * rate) or not _is_silent(waveform):
        return waveform
    with contextlib.closing(clip.blocks(rate)) as blocks:
        for block in blocks:
            if not _is_silent(block):
                return block
            if time.monotonic() > deadline:
                return None
    return waveform


def _is_silent(waveform):
    return _decibels(float(np.abs(waveform).max())) < SILENT_DB


def about_durations(clips, n_opened=8):
    """Estimate the durations of many clips without opening every file, which would be slow.

    Parameters
    ----------
    clips : Clips
        The clips.
    n_opened : int, default=8
        Number of files to open; their headers give the seconds per byte for the others.

    Returns
    -------
    ndarray of shape (n_clips,)
        Seconds; a moment for what can't be read.
    """
    seconds, sizes = np.zeros(len(clips)), np.zeros(len(clips))
    for index in range(len(clips)):
        clip = clips[index]
        with contextlib.suppress(OSError, ValueError):
            if isinstance(clip._source, str):
                sizes[index] = clip.size or 0
            else:
                seconds[index] = clip.duration()
    files = np.flatnonzero(sizes)
    rates = []
    for index in files[:: max(1, -(-len(files) // n_opened))]:
        with contextlib.suppress(OSError, ValueError):
            rates.append(clips[index].duration() / sizes[index])
    seconds[files] = sizes[files] * (np.median(rates) if rates else 0.0)
    return np.maximum(seconds, 0.01)


def usual_duration(clips):
    """How long most clips are, from the headers of some.

    Parameters
    ----------
    clips : Clips

    Returns
    -------
    float
        The third quartile, in seconds; NaN if none of them can be read.
    """
    picked = np.unique(np.linspace(0, len(clips) - 1, _N_PROBED).astype(int))
    durations = []
    for index in picked:
        with contextlib.suppress(OSError, ValueError):  # who uses the clips reports all of them
            durations.append(clips[int(index)].duration())
    return float(np.quantile(durations, 0.75)) if durations else np.nan


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
