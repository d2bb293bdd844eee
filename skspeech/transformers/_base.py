"""What all extractors share: clips in, windows of many clips through one network, features out."""

import functools
import hashlib
import itertools
import threading
from dataclasses import dataclass
from numbers import Integral, Real

import numpy as np
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.utils.validation import validate_data

from skspeech._device import map_in_threads, n_threads_for, resolve_device
from skspeech._progress import progress_bar
from skspeech._sklearn import Interval, StrOptions, _fit_context
from skspeech.audio import SAMPLING_RATE, AudioError, as_clips, iter_waveforms, window_starts
from skspeech.cache import open_cache

__all__ = [
    "STATISTICS",
    "BaseExtractor",
    "Windows",
    "frame_starts",
    "pool_windows",
    "shared_network",
]

STATISTICS = ("mean", "std", "last", "max")

# Parameters that say how, where and how verbosely to compute, but not what. Where weights lie says
# nothing of what they are either: that is in the network's id.
_RUNTIME_PARAMETERS = {
    "batch_size",
    "device",
    "errors",
    "local_files_only",
    "memory",
    "n_jobs",
    "sampling_rate",
    "verbose",
    "weights",
}
# Seconds of audio that are turned into spectrograms at once, and windows that wait for the network.
_CHUNK_SECONDS = 120.0
_CHUNK_BATCHES = 4
# Chunks that these seconds are cut into for each thread: some, so that none waits for the last one.
_CHUNKS_A_THREAD = 2
# A tail shorter than this share of a window is not worth a window of its own.
_MIN_TAIL = 0.1


@dataclass
class Windows:
    """The windows of a chunk of clips: rows of `frames` where each begins, and whose they are."""

    frames: object
    starts: np.ndarray
    counts: np.ndarray


class BaseExtractor(TransformerMixin, BaseEstimator):
    """Turns clips into features with a frozen network; subclasses say which.

    A subclass defines `_network_id`, `_load_network`, `_spectrogram`, `_frames_per_window`,
    `_forward`, `_pool` and `_feature_names`; `_prepare` may change a waveform first.
    """

    _parameter_constraints: dict = {
        "window": [Interval(Real, 0, None, closed="neither")],
        "hop": [Interval(Real, 0, None, closed="neither")],
        "max_duration": [Interval(Real, 0, None, closed="neither"), None],
        "sampling_rate": [Interval(Integral, 1, None, closed="left")],
        "batch_size": [Interval(Integral, 1, None, closed="left")],
        "device": "no_validation",
        "memory": "no_validation",
        "n_jobs": [Integral, None],
        "errors": [StrOptions({"raise", "warn"})],
        "verbose": ["verbose"],
    }

    @_fit_context(prefer_skip_nested_validation=True)
    def fit(self, X, y=None):
        """Check the parameters and the form of `X`. Nothing is learnt and nothing is decoded.

        Parameters
        ----------
        X : sequence of clips
            Paths, waveforms, ``(waveform, sampling_rate)`` pairs, or a 2-D array with a clip a row.
        y : object, default=None
            Ignored.

        Returns
        -------
        self : object
            The extractor itself.

        Raises
        ------
        ValueError
            If a parameter is out of range, or `X` holds no clips.
        """
        self._clips(X)
        if getattr(X, "ndim", None) == 2:
            validate_data(self, X, skip_check_array=True)
        return self

    def transform(self, X):
        """Embed clips.

        Parameters
        ----------
        X : sequence of clips
            As in :meth:`fit`.

        Returns
        -------
        ndarray of shape (n_clips, n_features), dtype float32
            One row a clip, in the order of `X`.

        Raises
        ------
        AudioError
            If clips can't be read and ``errors="raise"``. It names every one of them.
        """
        self._validate_params()
        clips = self._clips(X)
        rows = _Rows(len(clips))
        self._embed_clips(clips, rows, pooled=True)
        return rows.matrix

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

    def get_feature_names_out(self, input_features=None):
        """Names of the features.

        Parameters
        ----------
        input_features : object, default=None
            Ignored: the features do not come from columns of `X`.

        Returns
        -------
        ndarray of shape (n_features,), dtype object
        """
        self._validate_params()
        return np.asarray(self._feature_names(), dtype=object)

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.requires_fit = False
        tags.input_tags.string = True
        tags.transformer_tags.preserves_dtype = ["float32"]
        return tags

    def _clips(self, X):
        return as_clips(X, sampling_rate=self.sampling_rate)

    def _prepare(self, waveform):
        return waveform

    def _precision(self):
        """What the network computes in on this machine; subclasses may offer a choice."""
        return "float32"

    def _window_and_hop(self):
        """Both in seconds; where a subclass lets them be None, it says what None means."""
        return self.window, self.hop

    def _seconds_per_chunk(self):
        """Seconds of audio that are decoded before they are embedded together."""
        _, hop = self._window_and_hop()
        return min(_CHUNK_SECONDS, _CHUNK_BATCHES * self.batch_size * hop)

    def _target_sampling_rate(self):
        """Sampling rate in Hz of the waveforms that `_embed_waveforms` gets."""
        return SAMPLING_RATE

    def _embed_clips(self, clips, results, *, pooled):
        """Put one array a clip into `results`: features, or a row a window, its centre in front."""
        cache = open_cache(self.memory)
        keys = self._keys(clips, pooled) if cache.stores else [None] * len(clips)
        found = cache.get_many([key for key in keys if key is not None])
        todo = np.flatnonzero([key not in found for key in keys])
        for index, key in enumerate(keys):
            if key in found:
                results[index] = found[key]
        if len(todo):
            for indices, arrays, reusable in self._compute(clips, todo, pooled):
                for index, array in zip(indices, arrays, strict=True):
                    results[index] = array
                cache.set_many(
                    {
                        keys[index]: array
                        for index, array, keep in zip(indices, arrays, reusable, strict=True)
                        if keep and keys[index] is not None
                    }
                )

    def _keys(self, clips, pooled):
        """What each clip's array is remembered by; None for clips that can't be read."""
        fingerprint = self._fingerprint(pooled)
        keys = []
        for clip in clips:
            try:
                keys.append(f"{fingerprint}-{clip.key()}")
            except (OSError, ValueError):
                keys.append(None)
        return keys

    def _fingerprint(self, pooled):
        params = {
            k: v for k, v in self.get_params(deep=False).items() if k not in _RUNTIME_PARAMETERS
        }
        return _fingerprint(
            type(self).__qualname__, self._variant_id(), repr(sorted(params.items())), pooled
        )

    def _variant_id(self):
        """The network and what it computes in: of another precision, features are others."""
        return f"{self._network_id()}-{self._precision()}"

    def _compute(self, clips, todo, pooled):
        """Yield (indices, arrays, reusable) for chunks of the clips ``todo``."""
        device = resolve_device(self.device)
        network = shared_network(self._variant_id(), device, self._load_network)
        n_threads = n_threads_for(device)

        def embed(chunk):
            indices, waveforms = chunk
            arrays = self._embed_waveforms(waveforms, network, device, pooled)
            # A clip that could not be read was replaced by silence: that must not be found again as
            # its embedding.
            reusable = [self.errors == "raise" or waveform.any() for waveform in waveforms]
            return indices, arrays, reusable

        progress = self._progress(len(todo))
        n_chunks = _CHUNKS_A_THREAD * n_threads if n_threads > 1 else 1
        chunks = self._chunks(clips, todo, self._seconds_per_chunk() / n_chunks)
        first = list(itertools.islice(chunks, n_chunks))
        if len(first) < n_chunks:
            # Few clips: all of them at once, with a thread for each batch.
            indices, waveforms = (list(itertools.chain(*parts)) for parts in zip(*first))
            first, n_threads = [(indices, waveforms)], 1
        # Many: a chunk in a thread, so that one's spectrograms are computed beside another's
        # network.
        for result in map_in_threads(embed, itertools.chain(first, chunks), n_threads):
            yield result
            progress.update(len(result[0]))
        progress.close()

    def _chunks(self, clips, todo, max_seconds):
        """Group decoded clips: enough to fill some batches, few enough to bound the memory."""
        window, _ = self._window_and_hop()
        sampling_rate = self._target_sampling_rate()
        indices, waveforms, seconds = [], [], 0.0
        decoded = iter_waveforms(
            clips[todo],
            max_duration=self.max_duration,
            n_jobs=self.n_jobs,
            errors=self.errors,
            target_sampling_rate=sampling_rate,
        )
        try:
            for position, waveform in decoded:
                indices.append(todo[position])
                waveforms.append(waveform)
                seconds += max(len(waveform) / sampling_rate, window)
                if seconds >= max_seconds:
                    yield indices, waveforms
                    indices, waveforms, seconds = [], [], 0.0
        except AudioError as error:
            # Count the caller's clips, not just those that were not in the cache.
            raise AudioError(error.failures, len(clips), error.advice) from None
        if indices:
            yield indices, waveforms

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

    def _progress(self, total):
        return progress_bar(
            total=total,
            desc=type(self).__name__,
            unit="clip",
            disable=not self.verbose,
            delay=0.5,
        )


class _Rows:
    """A matrix that is filled row by row, and as wide as the first of them."""

    def __init__(self, n_rows):
        self._n_rows = n_rows
        self.matrix = None

    def __setitem__(self, index, row):
        if self.matrix is None:
            self.matrix = np.empty((self._n_rows, len(row)), dtype=row.dtype)
        self.matrix[index] = row


@functools.lru_cache(maxsize=256)
def _fingerprint(*parts):
    return hashlib.blake2b(repr(parts).encode(), digest_size=12).hexdigest()


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
_networks_lock = threading.Lock()


def shared_network(network_id, device, load):
    """This process's one copy of a network on a device: no estimator or pickle carries it."""
    key = (network_id, str(device))
    with _networks_lock:
        if key not in _networks:
            _networks[key] = load(device)
        return _networks[key]
