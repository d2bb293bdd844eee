"""Waveforms too long for memory: read again, a chunk at a time, whenever they are needed."""

import contextlib
import copy

import numpy as np

from skspeech.audio.errors import DamagedError
from skspeech.audio.waveforms import BLOCK_SIZE, check_duration, ignored, no_waiting

__all__ = ["LongWaveform"]


class LongWaveform:
    """The waveform of a long clip; only a part of it is in memory at any time.

    Parameters
    ----------
    read : callable
        Returns a generator of float32 arrays, one after another.

    Attributes
    ----------
    mean : float
        Of all samples.
    power : float
        Mean square of the samples after `mean` is subtracted.
    peak : float
        The largest absolute value.
    """

    def __init__(self, read):
        self._read = read
        self._n_samples = 0
        self._offset, self._gain = np.float32(0), np.float32(1)
        self.mean = self.power = self.peak = 0.0

    @classmethod
    def measured(cls, read, sampling_rate, wait_turn=no_waiting, note=ignored):
        """Read all of it once, for its length and its level.

        Parameters
        ----------
        read : callable
            As for the class, but takes `wait_turn` and `note`.
        sampling_rate : float
            Sampling rate (Hz) of the samples read.
        wait_turn, note : callable
            See :func:`skspeech.audio.waveforms.decode`.

        Returns
        -------
        waveform : LongWaveform
        damage : DamagedError or None
            The damage that ends it, if any.
        """
        waveform, damage = cls(read), None
        wait_turn(BLOCK_SIZE / sampling_rate)

        def go_on(seconds):
            if seconds == 0:  # the turn was taken above, for one block
                wait_turn(0)

        try:
            for chunk in read(wait_turn=go_on, note=note):
                waveform._count(chunk)
                check_duration(len(waveform) / sampling_rate)
        except DamagedError as error:
            damage = error
        return waveform, damage

    def __len__(self):
        return self._n_samples

    def _count(self, chunk):
        """Merge the moments of another chunk into those so far."""
        if len(chunk) == 0:
            return
        mean = chunk.mean(dtype=np.float64)
        centred = chunk - np.float32(mean)
        before, self._n_samples = self._n_samples, self._n_samples + len(chunk)
        share, step = len(chunk) / self._n_samples, mean - self.mean
        power = float(np.dot(centred, centred)) / len(chunk)
        self.power += share * (power - self.power + step**2 * before / self._n_samples)
        self.mean += share * step
        self.peak = max(self.peak, float(chunk.max()), -float(chunk.min()))

    def scaled(self, offset, gain):
        """The same waveform with `offset` subtracted, then multiplied by `gain`."""
        scaled = copy.copy(self)
        scaled._offset, scaled._gain = np.float32(offset), np.float32(gain)
        return scaled

    def spans(self, bounds):
        """Read spans of samples, one after another.

        Parameters
        ----------
        bounds : iterable of (int, int)
            Where each span begins and ends. Spans may overlap, but none begins before the previous
            one. Beyond both ends of the waveform are zeros.

        Yields
        ------
        ndarray of shape (n,), float32
        """
        held, first = np.empty(0, dtype=np.float32), 0  # samples read last, and their position
        with contextlib.closing(self._read()) as chunks:
            for begin, end in bounds:
                inside, last = max(0, begin), min(end, len(self))
                n_done = min(max(0, inside - first), len(held))
                parts, first = [held[n_done:]], first + n_done
                position = first + len(parts[0])
                while position < last:
                    chunk = next(chunks, None)
                    if chunk is None:
                        raise ValueError("has become shorter while it was read.")
                    if first < inside:  # nothing is held yet
                        n_unwanted = min(inside - first, len(chunk))
                        chunk = chunk[n_unwanted:]
                        first = position = first + n_unwanted
                    parts.append((chunk - self._offset) * self._gain)
                    position += len(chunk)
                held = np.concatenate(parts)
                yield np.pad(held[inside - first : last - first], (inside - begin, end - last))

    def load(self):
        """All of it."""
        return next(self.spans([(0, len(self))]))
