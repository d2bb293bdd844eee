"""Arithmetic on samples: choose, scale, mix down, check, resample and gather them."""

import collections
import math
import numbers

import numpy as np
import soxr

from skspeech._warning import warn
from skspeech.audio.errors import DamagedError

__all__ = ["MAX_CLIP_DURATION", "SAMPLING_RATE"]


SAMPLING_RATE = 16_000
"""Samples per second of every waveform inside skspeech (Hz)."""
MAX_CLIP_DURATION = 6 * 3600.0
"""A clip longer than this (seconds) is refused, unless `max_duration` says how much to read."""
RATE_LIMITS = (100.0, 10_000_000.0)
# Float samples should lie in [-1, 1]. Some are louder, and some people divide by the standard
# deviation; values beyond this are integers that nobody scaled.
_MAX_AMPLITUDE = 128.0
# A small compressed file can hold hours of many channels at a high rate. Decoding is cut into
# blocks, so this bounds time, not memory: 6 hours of 8 channels at 48 kHz just pass.
MAX_DECODED_SIZE = 2**33
BLOCK_SIZE = 2**19  # samples decoded at once, all channels together
# Channels cancel each other where their mean has less than this share of their power; a single
# sounding channel among 32 still has more. A sample of a block's frames is enough to check that.
_CANCELLED = 0.01
_PROBED = 4096
_MOST_CHANNELS = 64  # of a block that has fewer samples than channels
_RESAMPLING_MARGIN = 256  # samples at the lower rate; the filter's half length is below 100


def no_waiting(seconds):
    """A `wait_turn` that never waits, for a clip that is loaded alone."""


def ignored(note):
    """A `note` that drops its text, where it was already given."""


def note_on_integers(samples):
    """What a user should know about integers in memory, or None."""
    if samples.dtype.kind not in "iu" or samples.dtype.itemsize != 4 or samples.size == 0:
        return None
    middle = 2**31 if samples.dtype.kind == "u" else 0
    peak = max(int(samples.max()) - middle, middle - int(samples.min()))
    if not 0 < peak <= 2**15:
        return None
    return (
        f"holds {samples.dtype} with no sample beyond {peak}, which is next to silence on the "
        "scale of 32 bits. If these are samples of 16 bits, give waveform.astype('int16')."
    )


def checked_rate(rate):
    low, high = RATE_LIMITS
    if hasattr(rate, "item") and getattr(rate, "ndim", None) == 0:  # of NumPy or torch
        rate = rate.item()
    is_number = isinstance(rate, numbers.Real) and not isinstance(rate, (bool, np.bool_))
    if not is_number or not low <= rate <= high:
        raise ValueError(
            f"sampling_rate={rate!r} is not a sampling rate: "
            f"expected a number of samples per second from {low:,.0f} to {high:,.0f}."
        )
    return int(rate) if rate == int(rate) else float(rate)


def check_seconds(duration, offset=0.0, name="max_duration"):
    if duration is not None and not (is_finite(duration) and duration > 0):
        raise ValueError(f"{name}={duration!r} must be None or seconds above 0.")
    if not (is_finite(offset) and offset >= 0):
        raise ValueError(f"offset={offset!r} must be a number of seconds, 0 or more.")


def check_offset(offset, seconds):
    if offset >= seconds:
        raise ValueError(f"offset={offset:g} s is not before its end ({seconds:g} s).")


def is_finite(value):
    return isinstance(value, numbers.Real) and math.isfinite(value)


def check_duration(seconds):
    if seconds > MAX_CLIP_DURATION:
        raise ValueError(
            f"lasts {seconds / 3600:.1f} hours; {MAX_CLIP_DURATION / 3600:g} hours are the most "
            "that is read. Cut it into clips, or give max_duration."
        )


Span = collections.namedtuple("Span", "start stop skip n_samples")
Span.__doc__ = """Frames to read, [start, stop), and which of the resampled samples to keep.

`stop` and `n_samples` are None if everything up to an unknown end is wanted.
"""


def plan(n_frames, rate, target, offset, max_duration):
    """The span of a clip that `offset` and `max_duration` (seconds) ask for.

    `n_frames` is None if the length is unknown until the end is reached.
    """
    if n_frames == 0:
        raise ValueError("is empty: it has no samples.")
    seconds = math.inf if n_frames is None else n_frames / rate
    check_offset(offset, seconds)
    seconds -= offset
    if max_duration is not None and max_duration < seconds:
        n_samples = max(1, round(max_duration * target))
    elif n_frames is None:
        n_samples = None
    else:
        if max_duration is None:
            check_duration(seconds)
        n_samples = max(1, length_at(target, n_frames, rate) - round(offset * target))
    if offset == 0 and max_duration is None:
        return Span(0, n_frames, 0, n_samples)
    first = round(offset * target)
    margin = math.ceil(_RESAMPLING_MARGIN * max(1, rate / target))
    start, skip = (first, 0) if rate == target else _aligned_start(first, rate, target, margin)
    if n_samples is None:
        return Span(start, None, skip, None)
    stop = first + n_samples
    if rate != target:
        stop = math.ceil(stop * rate / target) + margin
    return Span(start, stop if n_frames is None else min(stop, n_frames), skip, n_samples)


def length_at(target, n_frames, rate):
    """Samples at `target` Hz that last as long as `n_frames` at `rate` Hz, rounded up."""
    return int(-(-n_frames * target // rate))


def _aligned_start(first, rate, target, margin):
    """First frame to read, chosen so that its time is also that of a sample of the result."""
    if not (isinstance(rate, int) and float(target).is_integer()):
        return 0, first
    divisor = math.gcd(rate, int(target))
    step, step_out = rate // divisor, int(target) // divisor
    n_steps = max(0, math.floor((first * rate / target - margin) / step))
    return n_steps * step, first - n_steps * step_out


def count_frames(blocks, rate):
    """Number of frames in the blocks; counting stops once they exceed the longest clip allowed."""
    n_most = int(MAX_CLIP_DURATION * rate) + 1
    n_frames = 0
    for block in blocks:
        n_frames += len(block)
        if n_frames > n_most:
            break
    return n_frames


def blocks_of_array(waveform, start, stop):
    for begin in range(start, stop, BLOCK_SIZE):
        yield as_float(waveform[begin : min(begin + BLOCK_SIZE, stop)])


class Mixer:
    """Mixes channels down to their mean, or takes one where they cancel each other.

    Parameters
    ----------
    note : callable
        Called when channels cancel each other.
    """

    def __init__(self, note):
        self._note = note
        self._chosen = None

    def mono(self, block):
        """One channel of a block of shape (n, channels), float32."""
        channels = block.shape[1]
        if channels == 1:
            return block[:, 0]
        if self._chosen is not None and self._chosen < channels:
            return block[:, self._chosen]
        # A product with a vector is much faster than a mean over short rows.
        share = np.full(channels, 1 / channels, dtype=np.float32)
        some = block[:: max(1, len(block) // _PROBED)]
        some = some - some.mean(axis=0)  # a constant offset is not sound
        mixed = some @ share
        if not np.dot(mixed, mixed) < _CANCELLED * np.vdot(some, some) / channels:
            return block @ share
        powers = np.square(some).sum(axis=0)
        self._chosen = int(np.argmax(powers >= 0.9 * powers.max()))  # the first that is loud enough
        self._note(
            "has channels in opposite phase, which cancel each other when they are mixed: channel "
            f"{self._chosen + 1} of {channels} is used alone. Was a cable or a microphone turned "
            "round?"
        )
        return block[:, self._chosen]


def as_float(samples):
    """Float32 samples, integers scaled by the range of their type to [-1, 1).

    ValueError if floats are not audio samples.
    """
    dtype = samples.dtype
    if dtype.kind == "f":
        with np.errstate(over="ignore"):
            samples = np.ascontiguousarray(samples, dtype=np.float32)
        # The maximum is NaN if any sample is, so one comparison finds every problem.
        if samples.size and not max(samples.max(), -samples.min()) <= _MAX_AMPLITUDE:
            raise ValueError(_why_not_usable(samples))
        return samples
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


Part = collections.namedtuple("Part", "blocks span rate seconds announced", defaults=[None])
Part.__doc__ = """The mono blocks of a recording, and which of their samples to decode.

`blocks` are float32 arrays at `rate` (Hz), from ``span.start`` on; `seconds` says how long the
waveform will be, as far as that is known, and `announced` what a header promises, or None.
"""


class Overlong(Exception):
    """A waveform would be longer than allowed."""


def decode(part, target, wait_turn, longest=math.inf):
    """The waveform of a part of a recording.

    Parameters
    ----------
    part : Part
        What to decode.
    target : float
        Sampling rate (Hz) of the waveform.
    wait_turn : callable
        Called once with the seconds that will be in memory, and with 0 after each block.
    longest : float, default=inf
        Seconds that it may have.

    Returns
    -------
    waveform : ndarray of shape (n_samples,), float32
        Maybe empty.
    damage : DamagedError or None
        The damage that ends it, if any.

    Raises
    ------
    Overlong
        If it has more than `longest` seconds.
    """
    if part.seconds > longest:
        raise Overlong
    wait_turn(part.seconds)
    chunks = stream(part, target, wait_turn)
    return _gather(chunks, round(part.seconds * target), target, longest)


def stream(part, target, wait_turn=no_waiting):
    """Yield the waveform of a part of a recording, a chunk at a time.

    Raises
    ------
    DamagedError
        After the samples, if the blocks end with one.
    """
    span, ends = part.span, _Ends()
    chunks = _within(_resample(ends.watch(part.blocks, wait_turn), part.rate, target), span)
    held, n_done = None, 0
    for chunk in chunks:
        if held is not None:
            yield held
            n_done += len(held)
        held = chunk
    if held is not None and span.n_samples is None:
        # The last chunk may hold one sample too many.
        whole = length_at(target, span.start + ends.n_frames, part.rate)
        n_samples = whole - length_at(target, span.start, part.rate) - span.skip
        held = held[: max(0, n_samples - n_done)]
    if held is not None:
        yield held
    if ends.damage is not None:
        raise ends.damage


def why_nothing(span):
    if span.start or span.skip:
        return "ends before the offset."
    return "has no samples, although its header announces some."


class _Ends:
    """How many frames were read, and the damage that ended them."""

    def __init__(self):
        self.n_frames = 0
        self.damage = None

    def watch(self, blocks, wait_turn):
        try:
            for block in blocks:
                self.n_frames += len(block)
                yield block
                wait_turn(0)
        except DamagedError as damage:
            self.damage = damage


def _why_not_usable(block):
    if not np.isfinite(block).all():
        return "holds samples that are not finite: NaN, infinity, or too large for float32."
    peak = float(np.abs(block).max())
    reason = f"holds samples as large as {peak:.6g}, but floats of audio lie in [-1, 1]"
    for n_bits in (16, 24, 32):
        full_scale = 2 ** (n_bits - 1)
        if peak <= full_scale:
            return (
                f"{reason}: these seem to be integers of {n_bits} bits. Divide all clips by "
                f"{full_scale}, or give them as an array of integers."
            )
    return f"{reason}. Scale them."


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
        # Flushing with the last block, not after it, halves the work for short clips.
        last = (
            stream.resample_chunk(pending, last=True)
            if stream
            else soxr.resample(pending, rate, target, quality="HQ")
        )
        # Resampling less than half an output sample gives nothing: keep one sample.
        yield last if len(last) else pending[:1]


def follow(blocks, rate, target=SAMPLING_RATE):
    """Mono samples at `target` Hz of sound that arrives in blocks, without waiting for the next.

    Parameters
    ----------
    blocks : iterable of array-like of shape (n_samples,) or (n_samples, n_channels)
        Floats in [-1, 1], or integers of their full range.
    rate, target : float
        Sampling rates (Hz).

    Yields
    ------
    ndarray of shape (n,), float32
        What each block adds.
    """
    mixer = Mixer(lambda remark: warn(f"The sound {remark}"))
    resampler = None
    if rate != target:
        resampler = soxr.ResampleStream(rate, target, 1, dtype="float32", quality="HQ")
    for block in blocks:
        block = np.asarray(block)
        if block.ndim not in (1, 2) or block.dtype.kind not in "fiu":
            raise ValueError(
                f"A block of shape {block.shape} and type {block.dtype} is no sound: numbers of "
                "shape (n_samples,) or (n_samples, n_channels) were expected."
            )
        if block.ndim == 2 and block.shape[1] > max(len(block), _MOST_CHANNELS):
            raise ValueError(
                f"A block of shape {block.shape} has more channels than samples. Its samples have "
                "to come first, as in block.T."
            )
        if block.size:
            mono = mixer.mono(as_float(block.reshape(len(block), -1)))
            yield mono if resampler is None else resampler.resample_chunk(mono)
    if resampler is not None:
        yield resampler.resample_chunk(np.empty(0, dtype=np.float32), last=True)


def _within(chunks, span):
    """The part of resampled chunks that a span keeps."""
    n_unwanted, n_left = span.skip, span.n_samples
    for chunk in chunks:
        wanted = chunk[n_unwanted:]
        n_unwanted = max(0, n_unwanted - len(chunk))
        if n_left is not None:
            wanted = wanted[:n_left]
            n_left -= len(wanted)
        yield wanted


def _gather(chunks, expected, target, longest):
    """One array, shorter if the file ends before its header says; and the damage at its end."""
    waveform = np.empty(expected, dtype=np.float32)
    n_filled, damage = 0, None
    try:
        for chunk in chunks:
            if n_filled + len(chunk) > longest * target:
                raise Overlong
            if n_filled + len(chunk) > len(waveform):
                check_duration((n_filled + len(chunk)) / target)
                waveform.resize(max(n_filled + len(chunk), len(waveform) * 3 // 2), refcheck=False)
            waveform[n_filled : n_filled + len(chunk)] = chunk
            n_filled += len(chunk)
    except DamagedError as error:
        damage = error
    if n_filled < len(waveform) // 2:
        return waveform[:n_filled].copy(), damage
    return waveform[:n_filled], damage
