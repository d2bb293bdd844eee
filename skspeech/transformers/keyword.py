"""Features from a keyword-spotting network."""

import functools
import math
from typing import Literal

import numpy as np

from skspeech._docs import shared
from skspeech._sklearn import StrOptions
from skspeech._spectrogram import MelSpectrogram, power_to_db, ranges
from skspeech._typing import Device, Memory
from skspeech.audio import SAMPLING_RATE
from skspeech.audio.level import DEFAULT_LEVEL, LEVEL
from skspeech.transformers._windowed import STATISTICS, WindowedExtractor, Windows, pool_windows
from skspeech.transformers.speaker import choose
from skspeech.weights import load_weights, weights_key

__all__ = ["KeywordEmbedding"]

_WEIGHTS = "speech-embedding"
_N_UNITS = 96
_WINDOW, _HOP = 76, 8  # frames
# Silence on either side of a clip: half a window, less half a frame, so that the first window is
# centred on the first sample.
_MARGIN = 6_000
# The network was trained on samples between ±32767.
_FULL_SCALE_DB = 20 * math.log10(32767)
# The smallest power: 1e-10 at that scale.
_AMIN = 10 ** (-10 - _FULL_SCALE_DB / 10)
# Windows of one clip computed from one run of frames: enough that few frames are computed twice,
# few enough that the maps of an hour's recording fit into memory.
_MAX_RUN = 64


@shared(level=LEVEL)
class KeywordEmbedding(WindowedExtractor):
    """Embed clips with a network that was trained to tell spoken words apart.

    It is Google's speech embedding: 20 small convolutions over windows of 0.76 s, one every 0.08 s.
    It represents the sequence of sounds, and little of the speaker's voice: use it for words, alone
    or together with :class:`SpeakerEmbedding`.

    Windows are centred on the clip's samples, the first on its beginning, so that the network sees
    even a short word at several positions; the clip is padded with silence.

    Parameters
    ----------
    pooling : {"mean", "std", "last", "max"} or tuple of these, default=("mean", "std")
        Statistics over the windows of a clip. :meth:`embed` returns the windows themselves, without
        them.
    level : float or None, default=-20.0
        {level}
    max_duration : float or None, default=None
        Read only this many seconds of each clip; None reads all of it.
    sampling_rate : int, default=16000
        Sampling rate in Hz of bare waveforms. Files and ``(waveform, sampling_rate)`` pairs bring
        their own.
    batch_size : int, default=256
        Windows that go through the network at once, of any clips.
    device : str or torch.device, default="auto"
        ``"auto"`` is a GPU where there is one, else the CPU.
    memory : None, False, str, path-like or joblib.Memory, default=None
        Where embeddings are remembered: in memory (None), in a folder too, or nowhere (False).
        See :func:`skspeech.cache.open_cache`.
    n_jobs : int or None, default=None
        Threads that decode audio.
    errors : {"raise", "warn"}, default="raise"
        What to do with clips that can't be read: one error that names them all, or one warning and
        silence in their place.
    verbose : int, default=0
        Show a progress bar where it takes longer than half a second.

    Attributes
    ----------
    n_features_in_ : int
        Samples a clip; only where `fit` saw a 2-D array.
    feature_names_in_ : ndarray of shape (n_features_in_,)
        Columns of the table; only where `fit` saw a DataFrame of numbers.

    See Also
    --------
    SpeakerEmbedding : Features from a speaker-recognition network.
    SpectralStatistics : Features without a network.

    Notes
    -----
    Balanced accuracy of discriminant analysis on digits of speakers who are not in the training
    set (Free Spoken Digit Dataset, 800 clips of four speakers against 400 of the other two), for
    different padding of clips that are shorter than a window:

    ==================================== =====
    the clip itself, repeated            0.845
    silence, up to one window            0.939
    silence, half a window on each side  0.992
    ==================================== =====

    References
    ----------
    Lin, J., Kilgour, K., Roblek, D. and Sharifi, M. (2020). Training keyword spotters with limited
    and synthesized speech data. ICASSP. https://arxiv.org/abs/2002.01322

    Weights: speech_embedding by Google (Apache 2.0), as kept by openWakeWord,
    https://github.com/dscripka/openWakeWord.

    Examples
    --------
    >>> from skspeech import KeywordEmbedding
    >>> from skspeech.datasets import make_speech_like
    >>> clips = make_speech_like(n_samples=4, random_state=0).data
    >>> KeywordEmbedding().fit_transform(clips).shape  # doctest: +SKIP
    (4, 192)
    """

    _spectrogram = MelSpectrogram(
        n_fft=512, hop_length=160, n_mels=32, win_length=400, fmin=60.0, fmax=3800.0
    )

    _parameter_constraints: dict = {
        **WindowedExtractor._parameter_constraints,
        "pooling": ["array-like", StrOptions(set(STATISTICS))],
    }

    def __init__(
        self,
        *,
        pooling: str | tuple[str, ...] = ("mean", "std"),
        level: float | None = DEFAULT_LEVEL,
        max_duration: float | None = None,
        sampling_rate: int = SAMPLING_RATE,
        batch_size: int = 256,
        device: Device = "auto",
        memory: Memory = None,
        n_jobs: int | None = None,
        errors: Literal["raise", "warn"] = "raise",
        verbose: int = 0,
    ) -> None:
        self.pooling = pooling
        self.level = level
        self.max_duration = max_duration
        self.sampling_rate = sampling_rate
        self.batch_size = batch_size
        self.device = device
        self.memory = memory
        self.n_jobs = n_jobs
        self.errors = errors
        self.verbose = verbose

    def _validate_params(self):
        super()._validate_params()
        self._statistics()

    def _statistics(self):
        return choose("pooling", self.pooling, STATISTICS)

    def _weights_name(self):
        return _WEIGHTS

    def _network_id(self):
        return weights_key(_WEIGHTS)

    def _load_network(self, device):
        import torch

        from skspeech.transformers.networks.keyword import SpeechEmbedding

        network = SpeechEmbedding()
        network.load_state_dict(load_weights(_WEIGHTS))
        # On a CPU, nearly twice as fast as the usual memory format; on a GPU, three times as slow.
        is_cpu = device.type == "cpu"
        memory_format = torch.channels_last if is_cpu else torch.contiguous_format
        return network.to(device, memory_format=memory_format).eval()

    def _window_and_hop(self):
        frame = self._spectrogram.hop_length / SAMPLING_RATE
        return _WINDOW * frame, _HOP * frame

    def _starts(self, n_samples):
        """First frame of each window, in a clip with a margin on each side."""
        n_frames = self._spectrogram.n_frames(n_samples + 2 * _MARGIN)
        return _HOP * np.arange(1 + (n_frames - _WINDOW) // _HOP)

    def _frames_per_window(self):
        return _WINDOW

    def _spans(self, starts, n_samples, device):
        spans, firsts = super()._spans(starts, n_samples + 2 * _MARGIN, device)
        return [(begin - _MARGIN, end - _MARGIN) for begin, end in spans], firsts

    def _cutter(self, waveform, spans, firsts, device):
        loudest = max(
            float(self._spectrogram([samples], device)[0][first[0] : first[-1] + _WINDOW].max())
            for samples, first in zip(waveform.spans(spans), firsts, strict=True)
        )
        return functools.partial(self._cut_at, loudest=loudest)

    def _cut(self, waveforms, device):
        starts = [self._starts(len(waveform)) for waveform in waveforms]
        return self._cut_at([np.pad(w, _MARGIN) for w in waveforms], starts, device)

    def _cut_at(self, waveforms, starts, device, loudest=None):
        power, firsts = self._spectrogram(waveforms, device)
        frames = _scale(power_to_db(power, firsts, amin=_AMIN, loudest=loudest))
        counts = np.array([len(s) for s in starts])
        return Windows(frames, np.concatenate(starts) + np.repeat(firsts[:-1], counts), counts)

    def _run(self, network, windows):
        """Features of all windows; neighbouring windows of a clip share one run of frames."""
        import torch

        firsts, counts = _runs(windows.counts)
        features = np.empty((len(windows.starts), _N_UNITS), dtype=np.float32)
        for batch in self._batches(counts):
            longest = counts[batch].max()
            n_frames = _WINDOW + _HOP * (longest - 1)
            rows = windows.starts[firsts[batch], None] + np.arange(n_frames)
            # Shorter runs continue into the frames after them; the extra windows are dropped.
            rows = torch.from_numpy(rows.clip(max=len(windows.frames) - 1))
            runs = network(windows.frames[rows.to(windows.frames.device)])
            inside = np.arange(longest) < counts[batch, None]
            features[ranges(firsts[batch], counts[batch])] = runs.float().cpu().numpy()[inside]
        return features

    def _batches(self, counts):
        """Indices of runs of similar length, in batches of at most about `batch_size` windows."""
        order = np.argsort(-counts, kind="stable")
        while len(order):
            size = max(1, self.batch_size // counts[order[0]])
            yield order[:size]
            order = order[size:]

    def _centres(self, waveforms, windows):
        return [_HOP * np.arange(count) for count in windows.counts]

    def _pool(self, windows):
        return pool_windows(windows, self._statistics())

    def _feature_names(self):
        return [
            f"keyword_{statistic}_{i}" for statistic in self._statistics() for i in range(_N_UNITS)
        ]


def _scale(decibels):
    """Decibels of samples between ±1 as the network expects them."""
    return decibels.add_(_FULL_SCALE_DB).div_(10.0).add_(2.0)


def _runs(counts):
    """Cut clips of `counts` windows into runs: first window and number of windows of each run."""
    n_runs = -(-counts // _MAX_RUN)
    begins = ranges(np.zeros_like(counts), n_runs) * _MAX_RUN
    firsts = np.concatenate([[0], np.cumsum(counts)[:-1]])
    sizes = np.minimum(np.repeat(counts, n_runs) - begins, _MAX_RUN)
    return np.repeat(firsts, n_runs) + begins, sizes
