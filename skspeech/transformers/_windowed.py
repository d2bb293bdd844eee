"""Extractors that send windows of many clips through one network."""

import threading
from abc import abstractmethod
from dataclasses import dataclass
from numbers import Integral, Real

import numpy as np

from skspeech._device import computes_bfloat16, map_in_threads, n_threads_for
from skspeech._forks import in_each_fork
from skspeech._sklearn import Interval
from skspeech._typing import ClipsLike
from skspeech.audio import SAMPLING_RATE, window_starts
from skspeech.audio.level import LEVELS, at_level
from skspeech.audio.long import LongWaveform
from skspeech.transformers.base import Extractor

__all__ = [
    "PART_SECONDS",
    "STATISTICS",
    "PieceExtractor",
    "WindowedExtractor",
    "Windows",
    "WindowsInBlocks",
    "frame_starts",
    "pool_windows",
    "shared_network",
]

STATISTICS = ("mean", "std", "last", "max")

# Limits of a chunk: seconds of audio turned into spectrograms at once, and batches of windows.
_CHUNK_SECONDS = 120.0
_CHUNK_BATCHES = 4
# A tail shorter than this share of a window is not worth a window of its own.
_MIN_TAIL = 0.1
# Clips longer than this (seconds) are embedded in parts, so that memory does not grow with them.
_LONGEST = 300.0
PART_SECONDS = 30.0


@dataclass
class Windows:
    """The windows of a chunk of clips.

    `starts` are the rows of `frames` where windows begin, `counts` the number of windows per clip.
    """

    frames: object
    starts: np.ndarray
    counts: np.ndarray


class WindowedExtractor(Extractor):
    """Turns clips into features with a frozen network, which subclasses choose.

    A subclass defines `_network_id`, `_load_network`, `_spectrogram`, `_frames_per_window`,
    `_forward`, `_pool` and `_feature_names`; `_prepare` may change a waveform first. Here it brings
    clips to one level; extractors pickled before `level` existed leave clips as they are.
    """

    _parameter_constraints: dict = {
        **Extractor._parameter_constraints,
        "window": [Interval(Real, 0, None, closed="neither")],
        "hop": [Interval(Real, 0, None, closed="neither")],
        "level": LEVELS,
        "batch_size": [Interval(Integral, 1, None, closed="left")],
        "device": "no_validation",
    }

    @abstractmethod
    def _network_id(self):
        """Identifies the weights: different weights have different ids."""

    def embed(
        self, X: ClipsLike, return_timestamps: bool = False
    ) -> list[np.ndarray] | tuple[list[np.ndarray], list[np.ndarray]]:
        """Embed every window of every clip.

        Parameters
        ----------
        X : sequence of clips
            As in :meth:`fit`.
        return_timestamps : bool, default=False
            Return the windows' centres too.

        Returns
        -------
        embeddings : list of ndarray of shape (n_windows, n_features), dtype float32
            One array a clip.
        timestamps : list of ndarray of shape (n_windows,), dtype float64
            Centres of the windows in seconds from the start of the clip; only with
            ``return_timestamps=True``.

        Raises
        ------
        AudioError
            As :meth:`transform`.
        """
        self._validate_params()
        clips = self._clips(X)
        stamped: list = [None] * len(clips)
        self._embed_clips(clips, stamped, pooled=False)
        embeddings = [array[:, 1:].copy() for array in stamped]  # those of the cache are its own
        if not return_timestamps:
            return embeddings
        return embeddings, [self._timestamps(array[:, 0]) for array in stamped]

    def _auto_precision(self, device):
        return "bfloat16" if device.type == "cpu" and computes_bfloat16(device) else "float32"

    def _prepare(self, waveform):
        return at_level(waveform, self.level)

    def __setstate__(self, state):
        super().__setstate__({"level": None, **state})

    def _window_and_hop(self):
        """Both in seconds; a subclass that allows None replaces it here."""
        return self.window, self.hop

    def _seconds_per_chunk(self):
        """Seconds of audio that are decoded before they are embedded together."""
        _, hop = self._window_and_hop()
        return min(_CHUNK_SECONDS, _CHUNK_BATCHES * self.batch_size * hop)

    def _shortest(self):
        return self._window_and_hop()[0]

    def _longest(self):
        return max(_LONGEST, 2 * self._window_and_hop()[0])

    def _variant_id(self):
        return f"{self._network_id()}-{super()._variant_id()}"

    def _n_threads(self):
        return n_threads_for(self._device())

    def _extract(self, waveforms):
        return self._embedder(pooled=True)(waveforms)

    def _embedder(self, pooled):
        device = self._device()
        network = shared_network(self._variant_id(), device, self._loaded_network)

        def embed(waveforms):
            prepared = [self._prepare(waveform) for waveform in waveforms]
            is_long = [isinstance(waveform, LongWaveform) for waveform in prepared]
            short = [waveform for waveform, long in zip(prepared, is_long, strict=True) if not long]
            others = iter(self._embed_waveforms(short, network, device, pooled) if short else ())
            return [
                self._embed_long(waveform, network, device, pooled) if long else next(others)
                for waveform, long in zip(prepared, is_long, strict=True)
            ]

        return embed

    def _loaded_network(self, device):
        self._warn_if_slow(device)
        return self._load_network(device)

    def _embed_waveforms(self, waveforms, network, device, pooled):
        import torch

        with torch.inference_mode():
            windows = self._cut(waveforms, device)
            features = self._run(network, windows)
        ends = np.cumsum(windows.counts)
        per_clip = np.split(features, ends[:-1])
        if pooled:
            return [self._pool(block) for block in per_clip]
        centres = self._centres(waveforms, windows)
        return [_stamped(*both) for both in zip(centres, per_clip, strict=True)]

    def _embed_long(self, waveform, network, device, pooled):
        """The same for a clip too long for memory, some of its windows at a time."""
        import torch

        starts = self._starts(len(waveform))
        spans, firsts = self._spans(starts, len(waveform), device)
        with torch.inference_mode():
            cut = self._cutter(waveform, spans, firsts, device)

        @torch.inference_mode()
        def run(part):
            samples, starts = part
            return self._run(network, cut([samples], [starts], device))

        parts = zip(waveform.spans(spans), firsts, strict=True)
        blocks = map_in_threads(run, parts, n_threads_for(device))
        if pooled:
            return self._pool(WindowsInBlocks(blocks))
        (centres,) = self._centres([waveform], Windows(None, starts, np.array([len(starts)])))
        return _stamped(centres, np.concatenate(list(blocks)))

    def _starts(self, n_samples):
        """First frame of each window of a clip of `n_samples`."""
        _, hop = self._window_and_hop()
        hop_length = self._spectrogram.hop_length
        hop = max(1, round(hop * SAMPLING_RATE / hop_length))
        return frame_starts(n_samples // hop_length, self._frames_per_window(), hop)

    def _groups(self, starts, device):
        """Groups of a long clip's windows that go through the network together."""
        window, hop = self._window_and_hop()
        size = max(1, 1 + int((PART_SECONDS - window) / hop))
        if device.type != "cpu":
            size = max(size, self.batch_size)
        return np.array_split(starts, -(-len(starts) // size))

    def _spans(self, starts, n_samples, device):
        """Span of samples for each group of windows, and the windows' first frames in it.

        Each span has enough context on both sides that its frames equal those of the whole clip.
        """
        hop_length, n_fft = self._spectrogram.hop_length, self._spectrogram.n_fft
        margin = -(-n_fft // (2 * hop_length))
        spans, firsts = [], []
        for group in self._groups(starts, device):
            first = max(0, group[0] - margin)
            last = group[-1] + self._frames_per_window() - 1
            spans.append((first * hop_length, min(last * hop_length + n_fft, n_samples)))
            firsts.append(group - first)
        return spans, firsts

    def _cutter(self, waveform, spans, firsts, device):
        """The function that cuts the spans of a long clip, as `_cut_at` does."""
        return self._cut_at

    def _cut(self, waveforms, device):
        """Spectrograms of all clips, and where the windows begin in them."""
        shortest = self._frames_per_window() * self._spectrogram.hop_length
        tiled = [_tile(waveform, shortest) for waveform in waveforms]
        return self._cut_at(tiled, [self._starts(len(waveform)) for waveform in tiled], device)

    def _cut_at(self, waveforms, starts, device):
        """The same, given the first frames of each clip's windows."""
        frames, firsts = self._spectrogram(waveforms, device)
        counts = np.array([len(s) for s in starts])
        return Windows(frames, np.concatenate(starts) + np.repeat(firsts[:-1], counts), counts)

    def _run(self, network, windows):
        """Features of all windows, (n_windows, n_features); a batch may mix windows of clips."""
        import torch

        frames = windows.frames
        offsets = torch.arange(self._frames_per_window(), device=frames.device)
        starts = torch.from_numpy(windows.starts).to(frames.device)
        # Two batches with one thread each are faster than one batch after another with two threads,
        # and they don't wait for each other in every layer: where other work keeps the cores busy,
        # that takes seconds in the place of milliseconds.
        n_threads = n_threads_for(frames.device)
        size = -(-min(self.batch_size, len(starts)) // n_threads)
        n_batches = -(-len(starts) // size) if len(starts) >= 4 * n_threads else 1

        @torch.inference_mode()
        def forward(batch):
            return self._forward(network, frames[batch[:, None] + offsets])

        batches = torch.tensor_split(starts, n_batches)
        parts = map_in_threads(forward, batches, n_threads)
        return torch.cat(list(parts)).float().cpu().numpy()

    def _centres(self, waveforms, windows):
        """Centre of each window, in frames; for a tiled clip, the middle of the clip itself."""
        size = self._frames_per_window()
        hop_length = self._spectrogram.hop_length
        firsts = np.concatenate([[0], np.cumsum(windows.counts)[:-1]])
        centres = []
        for waveform, first, count in zip(waveforms, firsts, windows.counts, strict=True):
            length = min(size, len(waveform) / hop_length)
            starts = windows.starts[first : first + count]
            centres.append(starts - starts[0] + length / 2)
        return centres

    def _timestamps(self, centres):
        return centres.astype(np.float64) * self._spectrogram.hop_length / SAMPLING_RATE


class PieceExtractor(WindowedExtractor):
    """Cuts waveforms into pieces, which go through the network without their context.

    A subclass defines `_cut_at`, and `_run` for its result, instead of `_spectrogram`,
    `_frames_per_window` and `_forward`.
    """

    def _size_and_hop(self):
        """Both in samples."""
        rate = self._target_sampling_rate()
        return tuple(max(1, round(seconds * rate)) for seconds in self._window_and_hop())

    def _starts(self, n_samples):
        return frame_starts(n_samples, *self._size_and_hop())

    def _spans(self, starts, n_samples, device):
        size, _ = self._size_and_hop()
        groups = self._groups(starts, device)
        return [(g[0], g[-1] + size) for g in groups], [g - g[0] for g in groups]

    def _cut(self, waveforms, device):
        return self._cut_at(waveforms, [self._starts(len(w)) for w in waveforms], device)

    def _pieces(self, waveforms, starts):
        size, _ = self._size_and_hop()
        pairs = zip(waveforms, starts, strict=True)
        return [waveform[start : start + size] for waveform, own in pairs for start in own]

    def _centres(self, waveforms, windows):
        """Centres of the windows, in seconds."""
        size, _ = self._size_and_hop()
        lengths = np.repeat([min(size, len(waveform)) for waveform in waveforms], windows.counts)
        centres = (windows.starts + lengths / 2) / self._target_sampling_rate()
        return np.split(centres, np.cumsum(windows.counts)[:-1])

    def _timestamps(self, centres):
        return centres.astype(np.float64)


def _stamped(centres, features):
    """Features of windows, with the windows' centres as first column."""
    return np.column_stack([centres, features]).astype(np.float32)


def _tile(waveform, n_samples):
    """Repeat a clip that is shorter than a window: stretching or zero padding would change it."""
    if len(waveform) >= n_samples:
        return waveform
    return np.resize(waveform, n_samples)


def frame_starts(n_frames, size, hop):
    starts = window_starts(n_frames, size, hop)
    if len(starts) > 1 and starts[-1] - starts[-2] < _MIN_TAIL * size:
        return starts[:-1]
    return starts


def pool_windows(windows, statistics):
    """Statistics over the windows of a clip, (n_windows, n_features), one after another."""
    compute = {
        "mean": lambda: windows.mean(axis=0),
        "std": lambda: windows.std(axis=0),
        "last": lambda: windows[-1],
        "max": lambda: windows.max(axis=0),
    }
    return np.concatenate([compute[statistic]() for statistic in statistics])


class WindowsInBlocks:
    """The windows of a long clip, a block at a time, with the array methods that pooling uses.

    Parameters
    ----------
    blocks : iterable of ndarray of shape (n_windows, n_features)
        Each is released when the next one arrives.
    """

    def __init__(self, blocks):
        n_before, self._mean, self._variance, self._max = 0, 0.0, 0.0, -np.inf
        for block in blocks:
            n = n_before + len(block)
            mean = block.mean(axis=0, dtype=np.float64)
            step, share = mean - self._mean, len(block) / n
            variance = block.var(axis=0, dtype=np.float64)
            self._variance += share * (variance - self._variance + step**2 * n_before / n)
            self._mean = self._mean + share * step
            self._max = np.maximum(self._max, block.max(axis=0))
            n_before, self._last = n, block[-1]

    def mean(self, axis):
        return self._mean.astype(np.float32)

    def std(self, axis):
        return np.sqrt(self._variance).astype(np.float32)

    def max(self, axis):
        return self._max

    def __getitem__(self, index):
        assert index == -1
        return self._last


_networks = {}
_locks = {}
_all_locks = threading.Lock()


@in_each_fork
def _renew_locks():
    global _all_locks
    _all_locks = threading.Lock()
    _locks.clear()


def shared_network(network_id, device, load):
    """The only copy of a network on a device in this process; no estimator or pickle holds it."""
    from torch.random import fork_rng

    key = (network_id, str(device))
    with _all_locks:
        lock = _locks.setdefault(key, threading.Lock())
    with lock:  # one for each network: others can load while this one's weights are fetched
        if key not in _networks:
            with fork_rng([]):  # a new network draws weights, which are replaced at once
                _networks[key] = load(device)
        return _networks[key]
