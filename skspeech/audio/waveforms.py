"""Arithmetic on samples: which to read, scale, mix down, check, resample, gather."""

import collections
import math
import numbers

import numpy as np
import soxr

__all__ = ["MAX_CLIP_DURATION", "SAMPLING_RATE"]


SAMPLING_RATE = 16_000
"""Samples per second of every waveform inside skspeech (Hz)."""
MAX_CLIP_DURATION = 6 * 3600.0
"""A clip longer than this (seconds) is refused, unless `max_duration` says how much to read."""
RATE_LIMITS = (100.0, 10_000_000.0)
# Float samples are meant to lie in [-1, 1]. Unscaled 32-bit integers stored as floats still work;
# far beyond that, the power of a spectrum overflows float32, and features become infinite or NaN.
_MAX_AMPLITUDE = 2.0**32
# A small compressed file can hold hours of many channels at a high rate. Decoding is cut into
# blocks, so this bounds time, not memory: 6 hours of 8 channels at 48 kHz just pass.
MAX_DECODED_SIZE = 2**33
BLOCK_SIZE = 2**19  # samples decoded at once, all channels together
_RESAMPLING_MARGIN = 256  # samples at the lower rate; the filter's half length is below 100


def no_waiting(seconds):
    """The turn of a clip that nobody else competes with."""


def checked_rate(rate):
    low, high = RATE_LIMITS
    is_number = isinstance(rate, numbers.Real) and not isinstance(rate, (bool, np.bool_))
    if not is_number or not low <= rate <= high:
        raise ValueError(
            f"sampling_rate={rate!r} is not a sampling rate: "
            f"expected a number of samples per second from {low:,.0f} to {high:,.0f}."
        )
    return int(rate) if rate == int(rate) else float(rate)


def check_seconds(max_duration, offset=0.0):
    if max_duration is not None and not (is_finite(max_duration) and max_duration > 0):
        raise ValueError(f"max_duration={max_duration!r} must be None or seconds above 0.")
    if not (is_finite(offset) and offset >= 0):
        raise ValueError(f"offset={offset!r} must be a number of seconds, 0 or more.")


def is_finite(value):
    return isinstance(value, numbers.Real) and math.isfinite(value)


def check_duration(seconds):
    if seconds > MAX_CLIP_DURATION:
        raise ValueError(
            f"lasts {seconds / 3600:.1f} hours; {MAX_CLIP_DURATION / 3600:g} hours are the most "
            "that is read. Cut it into clips, or give max_duration."
        )


Span = collections.namedtuple("Span", "start stop skip n_samples")
Span.__doc__ = """Frames to read, [start, stop), and which of the resampled samples to keep."""


def plan(n_frames, rate, target, offset, max_duration):
    """The span of a clip that `offset` and `max_duration` (seconds) ask for."""
    if n_frames == 0:
        raise ValueError("is empty: it has no samples.")
    seconds = n_frames / rate - offset
    if seconds <= 0:
        raise ValueError(f"offset={offset:g} s is not before its end ({n_frames / rate:g} s).")
    if max_duration is None:
        check_duration(seconds)
    if max_duration is None or max_duration >= seconds:
        n_samples = -(-n_frames * target // rate) - round(offset * target)
    else:
        n_samples = round(max_duration * target)
    n_samples = max(1, int(n_samples))
    if offset == 0 and max_duration is None:
        return Span(0, n_frames, 0, n_samples)
    first = round(offset * target)
    if rate == target:
        return Span(first, min(first + n_samples, n_frames), 0, n_samples)
    margin = math.ceil(_RESAMPLING_MARGIN * max(1, rate / target))
    start, skip = _aligned_start(first, rate, target, margin)
    stop = min(n_frames, math.ceil((first + n_samples) * rate / target) + margin)
    return Span(start, stop, skip, n_samples)


def _aligned_start(first, rate, target, margin):
    """First frame to read, such that its time is that of a sample of the result too."""
    if not (isinstance(rate, int) and float(target).is_integer()):
        return 0, first
    divisor = math.gcd(rate, int(target))
    step, step_out = rate // divisor, int(target) // divisor
    n_steps = max(0, math.floor((first * rate / target - margin) / step))
    return n_steps * step, first - n_steps * step_out


def blocks_of_array(waveform, start, stop):
    for begin in range(start, stop, BLOCK_SIZE):
        yield as_float(waveform[begin : min(begin + BLOCK_SIZE, stop)])


def mono(block):
    if block.shape[1] == 1:
        return block[:, 0]
    # A product with a vector is much faster than a mean over short rows. What is not finite in it
    # is found afterwards, and told of in a better way than NumPy's.
    with np.errstate(invalid="ignore", over="ignore"):
        return block @ np.full(block.shape[1], 1 / block.shape[1], dtype=np.float32)


def as_float(samples):
    """Float32 samples, integers scaled by the range of their type to [-1, 1)."""
    dtype = samples.dtype
    if dtype.kind == "f":
        with np.errstate(over="ignore"):
            return np.ascontiguousarray(samples, dtype=np.float32)
    if dtype.itemsize == 8:
        _check_16_bit(samples)
        half = 2**15
    else:
        half = 2 ** (8 * dtype.itemsize - 1)
    scaled = samples.astype(np.float32 if dtype.itemsize < 4 else np.float64)
    if dtype.kind == "u":
        scaled -= half
    scaled *= 1 / half
    return scaled.astype(np.float32, copy=False)


def _check_16_bit(samples):
    if samples.size and (samples.min() < -(2**15) or samples.max() >= 2**15):
        raise ValueError(
            "holds 64-bit integers beyond the 16-bit range, so its full scale is unknown. "
            "Give int32, or float in [-1, 1]."
        )


def decode(blocks, span, rate, target, wait_turn):
    wait_turn(span.n_samples / target)
    return _gather(_resample(_checked(blocks, wait_turn), rate, target), span)


def _checked(blocks, wait_turn):
    """The blocks, once each is known to hold usable samples."""
    for block in blocks:
        # A maximum is NaN where a sample is, so one comparison finds all that is wrong.
        if not max(block.max(), -block.min()) <= _MAX_AMPLITUDE:
            raise ValueError(_why_not_usable(block))
        yield block
        wait_turn(0)


def _why_not_usable(block):
    if np.isfinite(block).all():
        peak = np.abs(block).max()
        return f"holds samples as large as {peak:.3g}; samples of audio lie in [-1, 1]. Scale them."
    return "holds samples that are not finite: NaN, infinity, or too large for float32."


def _resample(blocks, rate, target):
    if rate == target:
        yield from blocks
        return
    stream = None
    pending = next(blocks, None)
    for block in blocks:
        stream = stream or soxr.ResampleStream(rate, target, 1, dtype="float32", quality="HQ")
        yield stream.resample_chunk(pending)
        pending = block
    if pending is not None:
        # Flushing together with the last block, not after it, halves the work for short clips.
        last = (
            stream.resample_chunk(pending, last=True)
            if stream
            else soxr.resample(pending, rate, target, quality="HQ")
        )
        # Less than half a sample of the result: one sample stays one sample.
        yield last if len(last) else pending[:1]


def _gather(chunks, span):
    """One array of the span's samples; shorter where the file ends before its header says."""
    waveform = np.empty(span.n_samples, dtype=np.float32)
    seen, n_filled = 0, 0
    for chunk in chunks:
        wanted = chunk[max(0, span.skip - seen) :][: span.n_samples - n_filled]
        waveform[n_filled : n_filled + len(wanted)] = wanted
        seen += len(chunk)
        n_filled += len(wanted)
    if n_filled == 0:
        raise ValueError("has no samples, although its header announces some.")
    if n_filled < span.n_samples // 2:
        return waveform[:n_filled].copy()
    return waveform[:n_filled]
