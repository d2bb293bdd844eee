"""Extractors that send windows of many clips through one network."""

import threading
from abc import abstractmethod
from dataclasses import dataclass
from numbers import Integral, Real

import numpy as np

from skspeech._device import map_in_threads, n_threads_for
from skspeech._sklearn import Interval
from skspeech.audio import SAMPLING_RATE, window_starts
from skspeech.audio.level import LEVELS, at_level
from skspeech.transformers.base import Extractor

__all__ = [
    "STATISTICS",
    "WindowedExtractor",
    "Windows",
    "frame_starts",
    "pool_windows",
    "shared_network",
]

STATISTICS = ("mean", "std", "last", "max")

# Seconds of audio that are turned into spectrograms at once, and windows that wait for the network.
_CHUNK_SECONDS = 120.0
_CHUNK_BATCHES = 4
# A tail shorter than this share of a window is not worth a window of its own.
_MIN_TAIL = 0.1


@dataclass
class Windows:
    """The windows of a chunk of clips: rows of `frames` where each begins, and whose they are."""

    frames: object
    starts: np.ndarray
    counts: np.ndarray


class WindowedExtractor(Extractor):
    """Turns clips into features with a frozen network; subclasses say which.

    A subclass defines `_network_id`, `_load_network`, `_spectrogram`, `_frames_per_window`,
    `_forward`, `_pool` and `_feature_names`; `_prepare` may change a waveform first. Here it brings
    clips to one level; an extractor that was pickled before there was one leaves them as they are.
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
        """Which weights: other weights, other id."""

    def embed(self, X, return_timestamps=False):
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
        stamped = [None] * len(clips)
        self._embed_clips(clips, stamped, pooled=False)
        embeddings = [np.ascontiguousarray(array[:, 1:]) for array in stamped]
        if not return_timestamps:
            return embeddings
        return embeddings, [self._timestamps(array[:, 0]) for array in stamped]

    def _prepare(self, waveform):
        return at_level(waveform, self.level)

    def __setstate__(self, state):
        super().__setstate__({"level": None, **state})

    def _window_and_hop(self):
        """Both in seconds; where a subclass lets them be None, it says what None means."""
        return self.window, self.hop

    def _seconds_per_chunk(self):
        """Seconds of audio that are decoded before they are embedded together."""
        _, hop = self._window_and_hop()
        return min(_CHUNK_SECONDS, _CHUNK_BATCHES * self.batch_size * hop)

    def _shortest(self):
        return self._window_and_hop()[0]

    def _variant_id(self):
        return f"{self._network_id()}-{super()._variant_id()}"

    def _n_threads(self):
        return n_threads_for(self._device())

    def _extract(self, waveforms):
        return self._embedder(pooled=True)(waveforms)

    def _embedder(self, pooled):
        device = self._device()
        network = shared_network(self._variant_id(), device, self._load_network)
        return lambda waveforms: self._embed_waveforms(waveforms, network, device, pooled)

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
        return [
            np.column_stack([c, block]).astype(np.float32)
            for c, block in zip(centres, per_clip, strict=True)
        ]

    def _cut(self, waveforms, device):
        """Spectrograms of all clips, and where their windows begin in them."""
        size = self._frames_per_window()
        _, hop = self._window_and_hop()
        hop = max(1, round(hop * SAMPLING_RATE / self._spectrogram.hop_length))
        shortest = size * self._spectrogram.hop_length
        prepared = [_tile(self._prepare(waveform), shortest) for waveform in waveforms]
        frames, firsts = self._spectrogram(prepared, device)
        starts = [frame_starts(len(w) // self._spectrogram.hop_length, size, hop) for w in prepared]
        counts = np.array([len(s) for s in starts])
        return Windows(frames, np.concatenate(starts) + np.repeat(firsts[:-1], counts), counts)

    def _run(self, network, windows):
        """Features of all windows, (n_windows, n_features), some windows of any clips at a time."""
        import torch

        frames = windows.frames
        offsets = torch.arange(self._frames_per_window(), device=frames.device)
        starts = torch.from_numpy(windows.starts).to(frames.device)
        # Two batches in a thread each are quicker than one batch after another in two threads, and
        # don't wait for each other in every layer where the cores are busy otherwise.
        n_threads = n_threads_for(frames.device)
        size = -(-min(self.batch_size, len(starts)) // n_threads)
        n_batches = -(-len(starts) // size) if len(starts) >= 4 * n_threads else 1

        @torch.inference_mode()
        def forward(batch):
            return self._forward(network, frames[batch[:, None] + offsets])

        parts = map_in_threads(forward, torch.tensor_split(starts, n_batches), n_threads)
        return torch.cat(list(parts)).float().cpu().numpy()

    def _centres(self, waveforms, windows):
        """Frame on which each window is centred; of a tiled clip, the middle of the clip itself."""
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


def _tile(waveform, n_samples):
    """Repeat a clip that is shorter than a window: stretching it or adding zeros changes it."""
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


_networks = {}
_locks = {}
_all_locks = threading.Lock()


def shared_network(network_id, device, load):
    """This process's one copy of a network on a device: no estimator or pickle carries it."""
    key = (network_id, str(device))
    with _all_locks:
        lock = _locks.setdefault(key, threading.Lock())
    with lock:  # its own: while one network's weights are fetched, others can be loaded
        if key not in _networks:
            _networks[key] = load(device)
        return _networks[key]
