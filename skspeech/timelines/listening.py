"""From blocks of sound to the model's probabilities for each cell of time."""

import itertools
from dataclasses import dataclass

import numpy as np

from skspeech.audio import SAMPLING_RATE, in_chunks
from skspeech.audio.rates import ready_for
from skspeech.cache import memory_store
from skspeech.ensemble.blending import probabilities_of

__all__ = ["SECONDS_TOGETHER", "Cell", "Listener"]

SECONDS_TOGETHER = 240.0  # of windows that the model classifies at once

# A window with a smaller share of speech says nothing, so the model does not classify it.
_MIN_SPEECH = 0.1
# A cell is silent if less than this share of it, and of some frames around it, is speech.
_MIN_SPEECH_OF_CELL = 0.25
_MARGIN_FRAMES = 3
_SPEECH = 0.5  # a frame with at least this probability is speech
# Smaller probabilities are raised to this: an overconfident model is not that sure of one window.
_FLOOR = 1e-3


@dataclass
class Cell:
    """A stretch of time, as long as a hop.

    Parameters
    ----------
    start, end : int
        Samples, [start, end).
    evidence : ndarray of shape (n_classes,)
        Log-probabilities of all windows over the cell, weighted by how much new sound it has.
    proba : ndarray of shape (n_classes,)
        Mean probabilities of these windows.
    is_silent : bool
        Whether there is no speech in it, or so little that no window over it was classified.
    """

    start: int
    end: int
    evidence: np.ndarray
    proba: np.ndarray
    is_silent: bool


class Listener:
    """Cuts windows, and lets a model classify many of them at once.

    Parameters
    ----------
    model : fitted classifier
        Takes a list of waveforms, or of waveforms with their rate.
    window, hop : int
        Samples of a window, and between the starts of windows; a hop is no longer than a window.
    follower : SpeechFollower or None
        Finds speech; None labels all sound.
    n_together : int
        Windows that the model classifies at once.
    """

    def __init__(self, model, window, hop, follower, n_together):
        self.model, self._hand = model, ready_for(model)
        self._window, self._hop = window, hop
        self._follower = follower
        self._n_together = n_together
        self._blocks, self._sound, self._origin = [], np.empty(0, dtype=np.float32), 0
        self._is_speech, self._first_frame = np.empty(0, dtype=bool), 0
        self._sums = {}
        self._n_windows = self._n_cells = 0
        self.n_samples = 0

    @property
    def hop_duration(self):
        """Seconds of a hop."""
        return self._hop / SAMPLING_RATE

    @property
    def hops_a_window(self):
        return round(self._window / self._hop)

    def __call__(self, blocks):
        """Yield each cell once all windows over it are classified.

        Parameters
        ----------
        blocks : iterable of ndarray of shape (n_samples,), float32
            Mono, at 16 kHz.

        Yields
        ------
        Cell
        """
        for block in blocks:
            self._take(block)
            n_complete = 1 + (self.n_samples - self._window) // self._hop
            if n_complete - self._n_windows >= self._n_together:
                self._hear(np.arange(self._n_windows, n_complete) * self._hop)
                self._n_windows = n_complete
                while self._n_cells < n_complete:
                    yield self._cell()
                self._forget()
        if self.n_samples:
            self._hear(self._last_starts())
            while self._n_cells * self._hop < self.n_samples:
                yield self._cell()

    def _take(self, block):
        self._blocks.append(block)
        self.n_samples += len(block)
        if self._follower is not None:
            found = self._follower(block) >= _SPEECH
            self._is_speech = np.concatenate([self._is_speech, found])

    def _last_starts(self):
        """Starts of the remaining windows, and of one that ends exactly at the end."""
        last = max(0, self.n_samples - self._window)
        starts = np.arange(self._n_windows * self._hop, last + 1, self._hop)
        covered = starts[-1] if len(starts) else (self._n_windows - 1) * self._hop
        return starts if covered == last else np.r_[starts, last]

    def _hear(self, starts):
        """Classify windows, and add up the answers."""
        self._sound = np.concatenate([self._sound, *self._blocks])
        self._blocks = []
        stops = np.minimum(starts + self._window, self.n_samples)
        shares = [self._speech_share(*span, span[1]) for span in zip(starts, stops)]
        heard = [i for i, share in enumerate(shares) if share >= _MIN_SPEECH]
        windows = (self._sound[starts[i] - self._origin : stops[i] - self._origin] for i in heard)
        chunks = in_chunks(windows, SECONDS_TOGETHER)
        answers = itertools.chain.from_iterable(map(self._ask, chunks))
        for i, proba in zip(heard, answers):
            self._add(starts[i], stops[i], shares[i], proba)

    def _ask(self, windows):
        """Probabilities of the classes; if the model has none, 1 for its answer."""
        windows = self._hand(windows)
        with memory_store().for_now():  # no window comes twice, and an hour has many
            if hasattr(self.model, "predict_proba"):
                return probabilities_of(self.model, windows)
            answers = np.asarray(self.model.predict(windows))
        return (answers[:, None] == self.model.classes_).astype(np.float64)

    def _add(self, start, stop, share, proba):
        """Add a window's answer to the cells under it, with most weight in its middle."""
        log_proba = np.log(np.maximum(proba, _FLOOR))
        for number in range(start // self._hop, -(-stop // self._hop)):
            first = max(start, number * self._hop)
            last = min(stop, (number + 1) * self._hop)
            middle = (first + last - 2 * start) / (2 * (stop - start))
            weight = (last - first) * min(middle, 1 - middle)
            heard = weight * share
            sums = self._sums.get(number, (0.0, 0.0, 0.0, 0.0))
            new = (heard * log_proba, heard * proba, heard, weight)
            self._sums[number] = tuple(old + more for old, more in zip(sums, new))

    def _cell(self):
        number = self._n_cells
        self._n_cells += 1
        start, end = number * self._hop, min((number + 1) * self._hop, self.n_samples)
        n_classes = len(self.model.classes_)
        evidence, proba = np.zeros(n_classes), np.full(n_classes, 1 / n_classes)
        sums = self._sums.pop(number, None)
        if sums is not None:
            log_probas, probas, heard, weight = sums
            evidence = log_probas / weight * (self._hop / self._window)
            proba = probas / heard
        known = min(start + self._window, self.n_samples)
        margin = _MARGIN_FRAMES * (0 if self._follower is None else self._follower.frame_length)
        share = self._speech_share(max(0, start - margin), end + margin, known)
        return Cell(start, end, evidence, proba, sums is None or share < _MIN_SPEECH_OF_CELL)

    def _speech_share(self, start, end, known):
        """Share of speech among the frames that end at `known` or before."""
        if self._follower is None:
            return 1.0
        length = self._follower.frame_length
        first, last = start // length, min(-(-end // length), known // length)
        frames = self._is_speech[max(0, first - self._first_frame) : last - self._first_frame]
        return float(frames.mean()) if len(frames) else 0.0

    def _forget(self):
        """Drop the sound and the frames that no later window or cell needs."""
        needed = (self._n_windows - 1) * self._hop  # a window that ends at the end may start here
        self._sound = self._sound[max(0, needed - self._origin) :].copy()
        self._origin = max(self._origin, needed)
        if self._follower is not None:
            frame = max(0, needed // self._follower.frame_length - _MARGIN_FRAMES - 1)
            self._is_speech = self._is_speech[frame - self._first_frame :].copy()
            self._first_frame = frame
