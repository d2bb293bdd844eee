"""Features from the encoder of Moonshine."""

from numbers import Integral, Real
from typing import Literal

import numpy as np

from skspeech._docs import shared
from skspeech._sklearn import Interval, StrOptions
from skspeech._typing import Device, Memory
from skspeech.audio import SAMPLING_RATE
from skspeech.audio.level import DEFAULT_LEVEL, LEVEL
from skspeech.transformers import _hub
from skspeech.transformers._layered import LayeredExtractor
from skspeech.transformers._statistics import MASKED_STATISTICS
from skspeech.transformers._windowed import Windows
from skspeech.weights import load_weights, weights_key

__all__ = ["MoonshineEmbedding"]

_WEIGHTS = "moonshine-tiny"
_N_UNITS, _N_LAYERS = 288, 6
# Samples of silence on either side of a window: without it, short words are half unheard. Some more
# follow, up to a multiple of `_STEP`, so that many windows have one length and form batches.
_MARGIN, _STEP = 4_800, 1_600


@shared(level=LEVEL)
class MoonshineEmbedding(LayeredExtractor):
    """Embed clips with the encoder of Moonshine, which was trained to transcribe English.

    It is the encoder of Moonshine tiny: three convolutions over the waveform and six attention
    layers. Its upper layers represent words, even a single short one, and its lower layers
    represent emotion in other languages, too. It takes some milliseconds a clip on a CPU. A clip's
    features do not depend on the other clips in its batch.

    Parameters
    ----------
    layers : "all", int or tuple of int, default=(1, 3, 5)
        Layers to read. 0 is the input of the first layer, 1 to 6 are the layers' outputs, -1 is
        the last one. Layers above the highest of these are not computed.
    pooling : {"mean", "std", "max"} or tuple of these, default=("mean", "std")
        Statistics of each layer over the positions of a window. Over the windows of a clip, they
        are averaged, except ``"max"``, where the largest value is taken.
    window : float, default=10.0
        Seconds that the network sees at once; longer clips are cut. It hears 0.3 s of silence
        before each window, and 0.3 to 0.4 s after it.
    hop : float or None, default=None
        Seconds between the starts of windows; None is `window`. The last window ends with the clip,
        unless that is less than a tenth of a window after the one before.
    level : float or None, default=-20.0
        {level}
    max_duration : float or None, default=None
        Read only this many seconds of each clip; None reads all of it.
    dtype : {"auto", "float32", "bfloat16"}, default="auto"
        Precision of matrix products. ``"auto"`` is bfloat16 on a CPU that has instructions for it,
        else float32. Features differ by 0.5 % of their size. A fitted extractor keeps its
        precision on other machines.
    sampling_rate : int, default=16000
        Sampling rate in Hz of bare waveforms. Files and ``(waveform, sampling_rate)`` pairs bring
        their own.
    batch_size : int, default=4
        Windows of full length that go through the network at once, from any clips; of shorter
        windows, as many as have the same total length.
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
    WhisperEmbedding : Features from another network that was trained to transcribe speech.
    KeywordEmbedding : Features from a network that was trained on spoken words.
    SpeakerEmbedding : Features from a speaker-recognition network.

    References
    ----------
    Jeffries, N. et al. (2024). Moonshine: speech recognition for live transcription and voice
    commands. https://arxiv.org/abs/2410.15608

    Weights: https://github.com/moonshine-ai/moonshine (MIT).

    Examples
    --------
    >>> from skspeech import MoonshineEmbedding
    >>> from skspeech.datasets import make_speech_like
    >>> clips = make_speech_like(n_samples=4, random_state=0).data
    >>> MoonshineEmbedding().fit_transform(clips).shape  # doctest: +SKIP
    (4, 1728)
    """

    _parameter_constraints: dict = {
        **LayeredExtractor._parameter_constraints,
        "layers": ["array-like", Integral, StrOptions({"all"})],
        "pooling": ["array-like", StrOptions(set(MASKED_STATISTICS))],
        "hop": [Interval(Real, 0, None, closed="neither"), None],
        "dtype": [StrOptions({"auto", "float32", "bfloat16"})],
    }

    def __init__(
        self,
        *,
        layers: Literal["all"] | int | tuple[int, ...] = (1, 3, 5),
        pooling: str | tuple[str, ...] = ("mean", "std"),
        window: float = 10.0,
        hop: float | None = None,
        level: float | None = DEFAULT_LEVEL,
        max_duration: float | None = None,
        dtype: Literal["auto", "float32", "bfloat16"] = "auto",
        sampling_rate: int = SAMPLING_RATE,
        batch_size: int = 4,
        device: Device = "auto",
        memory: Memory = None,
        n_jobs: int | None = None,
        errors: Literal["raise", "warn"] = "raise",
        verbose: int = 0,
    ) -> None:
        self.layers = layers
        self.pooling = pooling
        self.window = window
        self.hop = hop
        self.level = level
        self.max_duration = max_duration
        self.dtype = dtype
        self.sampling_rate = sampling_rate
        self.batch_size = batch_size
        self.device = device
        self.memory = memory
        self.n_jobs = n_jobs
        self.errors = errors
        self.verbose = verbose

    def _layers(self):
        return _hub.choose_layers(self.layers, _N_LAYERS + 1)

    def _widths(self):
        return [_N_UNITS] * (_N_LAYERS + 1)

    def _prefix(self):
        return "moonshine"

    def _window_and_hop(self):
        return self.window, self.window if self.hop is None else self.hop

    def _shortest(self):
        return 2 * _MARGIN / SAMPLING_RATE

    def _weights_name(self):
        return _WEIGHTS

    def _network_id(self):
        return weights_key(_WEIGHTS)

    def _load_network(self, device):
        import torch

        from skspeech.transformers.networks.moonshine import MoonshineEncoder

        with torch.device("meta"):
            network = MoonshineEncoder()
        network.load_state_dict(load_weights(_WEIGHTS), assign=True)
        return network.to(device).eval().compute_in(getattr(torch, self._precision()))

    def _cut_at(self, waveforms, starts, device):
        """Waveforms of all windows, with silence on both sides."""
        pieces = [
            np.pad(piece, (_MARGIN, _MARGIN + -len(piece) % _STEP))
            for piece in self._pieces(waveforms, starts)
        ]
        return Windows(pieces, np.concatenate(starts), np.array([len(s) for s in starts]))

    def _run(self, network, windows):
        """Features of all windows, (n_windows, n_features)."""
        import torch

        pieces = windows.frames
        device = next(network.parameters()).device

        def features_of(batch):
            waveforms = torch.from_numpy(np.stack([pieces[i] for i in batch])).to(device)
            return self._features_of(network(waveforms, max(self._layers())))

        lengths = np.array([len(piece) for piece in pieces])
        limit = self.batch_size * round(self.window * SAMPLING_RATE + 2 * _MARGIN)
        return self._by_batches(features_of, lengths, limit, device, mixed=False)
