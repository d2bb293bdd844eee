"""Descriptors of frames of many clips at once, with torch: spectral shape, level, pitch.

The definitions are librosa's; the tests compare with librosa.
"""

import functools
import math

import numpy as np

from skspeech._spectrogram import (
    BLOCK_FRAMES,
    lay_out,
    mel_filter_bank,
    power_spectrum,
    power_to_db,
    ranges,
)
from skspeech.audio import SAMPLING_RATE

__all__ = ["SHAPES", "cepstrum", "delta", "describe", "margin"]

SHAPES = ("rms", "zero_crossing_rate", "centroid", "bandwidth", "rolloff", "flatness")

_ROLL_PERCENT = 0.85
_AMIN = 1e-10
_ZERO = 1e-10  # samples closer to zero have no sign
_MIN_RMS = 1e-5
# Pitch is searched for in frames of this many samples, at half the sampling rate, where it costs
# half as much.
_PITCH_LENGTH = 1024
_PITCH_RATE = SAMPLING_RATE // 2
_TROUGH = 0.1
_HALF_SLOPE = 4  # frames on either side that slopes are computed from


def describe(waveforms, *, n_fft, hop_length, n_mels, fmin, fmax, device, loudest=None):
    """Compute the descriptors of all frames of all clips.

    Parameters
    ----------
    waveforms : list of ndarray of shape (n_samples,), dtype float32
    n_fft, hop_length, n_mels : int
    fmin, fmax : float
        Lowest and highest pitch in Hz.
    device : torch.device
    loudest : float, default=None
        Largest power of a mel band in the whole clip, if these waveforms are parts of one clip.

    Returns
    -------
    logmel : torch.Tensor of shape (n_frames_in_all, n_mels)
        In decibels.
    shapes : torch.Tensor of shape (n_frames_in_all, 6)
        As listed in ``SHAPES``: decibels, crossings per sample, kHz (three) and decibels.
    pitch : torch.Tensor of shape (n_frames_in_all, 2)
        Fundamental frequency in Hz, and how periodic the frame is, from 0 to 1.
    counts : ndarray of shape (n_clips,)
        Frames of each clip.
    """
    import torch

    length = max(n_fft, _PITCH_LENGTH)
    flat, first_frames, counts = lay_out(waveforms, length, hop_length)
    rows = ranges(first_frames, counts)
    crossings = _crossings(flat, first_frames * hop_length + length // 2, waveforms)
    crossings = torch.from_numpy(crossings).to(device)
    flat = torch.from_numpy(flat).to(device)
    # Frames of every length are centred on the same samples.
    skipped = (length - n_fft) // 2
    frames = flat[skipped:].unfold(0, n_fft, hop_length)
    halved = _halve(flat[(length - _PITCH_LENGTH) // 2 :])
    pitch_frames = halved.unfold(0, _PITCH_LENGTH // 2, hop_length // 2)
    rows = torch.from_numpy(rows).to(device)
    blocks = [
        (
            *_shapes(frames[block], n_fft, n_mels),
            yin(pitch_frames[block], _PITCH_RATE, fmin, fmax),
        )
        for block in rows.split(BLOCK_FRAMES)
    ]
    mel, shapes, pitch = (torch.cat(parts) for parts in zip(*blocks, strict=True))
    begins = rows * hop_length + skipped
    shapes[:, 1] = (crossings[begins + n_fft - 1] - crossings[begins]) / n_fft
    starts = np.concatenate([[0], np.cumsum(counts)])
    decibels = power_to_db(mel, starts, amin=_AMIN, loudest=loudest)
    return decibels, shapes, pitch, counts


def margin(n_fft, hop_length):
    """Number of frames beside a cut whose values or slopes differ from those of the whole clip."""
    return -(-max(n_fft, _PITCH_LENGTH) // (2 * hop_length)) + _HALF_SLOPE


def _crossings(flat, begins, waveforms):
    """Sign changes up to each sample; none are counted at the edges of a clip."""
    negative = flat < -_ZERO
    changes = np.zeros(len(flat), dtype=np.int32)
    np.not_equal(negative[1:], negative[:-1], out=changes[1:], casting="unsafe")
    changes[begins] = 0
    changes[begins + [len(w) for w in waveforms]] = 0
    return np.cumsum(changes, dtype=np.int32)


def _halve(flat):
    """Every other sample, after a gentle low-pass filter (binomial, five samples)."""
    import torch

    flat = torch.nn.functional.pad(flat, (2, 2))
    return (flat[:-4:2] + flat[4::2] + 4 * (flat[1:-3:2] + flat[3:-1:2]) + 6 * flat[2:-2:2]) / 16


def _shapes(frames, n_fft, n_mels):
    """Mel power, and all of ``SHAPES`` except the crossings, which the caller fills in."""
    import torch

    window, filters, moments = _constants(n_fft, n_mels, frames.device)
    power = power_spectrum(frames * window)
    magnitude = power.sqrt()
    total, first, second = (magnitude @ moments).T
    total = total.clamp(min=torch.finfo(total.dtype).tiny)
    centroid = first / total
    bandwidth = (second / total - centroid**2).clamp(min=0).sqrt()
    cumulated = magnitude.cumsum(1)
    bins = (cumulated < _ROLL_PERCENT * cumulated[:, -1:]).sum(1)
    rolloff = bins * (SAMPLING_RATE / n_fft / 1000)
    held = power.clamp(min=_AMIN)
    flatness = (held.log().mean(1) - held.mean(1).log()) * (10 / math.log(10))
    rms = frames.square().mean(1).sqrt().clamp(min=_MIN_RMS).log10() * 20
    shapes = [rms, torch.zeros_like(rms), centroid, bandwidth, rolloff, flatness]
    return power @ filters, torch.stack(shapes, dim=1)


@functools.lru_cache(maxsize=8)
def _constants(n_fft, n_mels, device):
    import torch

    filters = torch.from_numpy(mel_filter_bank(SAMPLING_RATE, n_fft, n_mels).T.copy())
    khz = torch.fft.rfftfreq(n_fft, 1000 / SAMPLING_RATE)
    moments = torch.stack([torch.ones_like(khz), khz, khz**2], dim=1)
    return torch.hann_window(n_fft).to(device), filters.to(device), moments.to(device)


def yin(frames, sampling_rate, fmin, fmax):
    """Pitch by the YIN method, and how periodic each frame is: 1 minus the value at its trough.

    Returns a tensor of shape (n_frames, 2).
    """
    import torch

    shortest = int(sampling_rate / fmax)
    longest = min(math.ceil(sampling_rate / fmin), frames.shape[1] - 1)
    n_fft = 128 * -(-(frames.shape[1] + longest) // 128)  # long enough that nothing wraps around
    autocorrelation = torch.fft.irfft(power_spectrum(frames, n_fft), n=n_fft)[:, : longest + 1]
    energy = frames[:, :longest].square().cumsum(1)
    difference = 2 * (autocorrelation[:, :1] - autocorrelation[:, 1:]) - energy
    lags = torch.arange(1, longest + 1, device=frames.device)
    mean = difference.cumsum(1) / lags
    tiny = torch.finfo(mean.dtype).tiny
    depth = (difference / (mean + tiny))[:, shortest - 1 :]
    chosen = _trough(depth)
    at = [depth.gather(1, (chosen + i).clamp(0, depth.shape[1] - 1))[:, 0] for i in (-1, 0, 1)]
    chosen = chosen[:, 0]
    inside = (chosen > 0) & (chosen < depth.shape[1] - 1)
    period = shortest + chosen + torch.where(inside, _vertex(*at), 0.0)
    # A silent frame would count as periodic at every lag.
    periodic = torch.where(autocorrelation[:, 0] > _AMIN, (1 - at[1]).clamp(0, 1), 0.0)
    return torch.stack([sampling_rate / period, periodic], dim=1)


def _trough(depth):
    """The first local minimum that is deep enough, else the deepest point."""
    import torch

    before = torch.nn.functional.pad(depth[:, :-1], (1, 0), value=torch.inf)
    after = torch.nn.functional.pad(depth[:, 1:], (0, 1), value=torch.inf)
    is_trough = (depth < _TROUGH) & (depth < before) & (depth <= after)
    is_trough[:, 0] &= depth[:, 0] < depth[:, 1]
    first = is_trough.to(torch.uint8).argmax(1, keepdim=True)
    found = is_trough.gather(1, first)
    return torch.where(found, first, depth.argmin(1, keepdim=True))


def _vertex(before, here, after):
    """Where a parabola through three neighbours has its extremum, relative to the middle one."""
    import torch

    curvature = before + after - 2 * here
    slope = (after - before) / 2
    return torch.where(slope.abs() < curvature.abs(), -slope / curvature, 0.0)


def cepstrum(logmel, n_mfcc):
    """Mel-frequency cepstral coefficients, (n_frames_in_all, n_mfcc)."""
    return logmel @ _dct(logmel.shape[1], n_mfcc, logmel.device)


@functools.lru_cache(maxsize=8)
def _dct(n, n_coefficients, device):
    """Orthonormal discrete cosine transform (type 2), as a matrix (n, n_coefficients)."""
    import torch

    positions = np.pi * (np.arange(n) + 0.5) / n
    matrix = np.cos(positions[:, None] * np.arange(n_coefficients)) * math.sqrt(2 / n)
    matrix[:, 0] /= math.sqrt(2)
    return torch.from_numpy(matrix.astype(np.float32)).to(device)


def delta(values, counts, order):
    """Slopes (order 1) or curvatures (order 2) over nine frames; end frames are repeated."""
    import torch
    from scipy.signal import savgol_coeffs

    half = _HALF_SLOPE
    kernel = savgol_coeffs(2 * half + 1, order, deriv=order, use="dot")
    counts = torch.from_numpy(counts).to(values.device)
    ends = torch.cumsum(counts, 0)
    first = torch.repeat_interleave(ends - counts, counts)
    last = torch.repeat_interleave(ends - 1, counts)
    here = torch.arange(len(values), device=values.device)
    result = values * float(kernel[half])
    for distance in range(1, half + 1):
        before = values[torch.maximum(here - distance, first)]
        after = values[torch.minimum(here + distance, last)]
        result += before * float(kernel[half - distance]) + after * float(kernel[half + distance])
    return result
