"""Features from music-tagging networks."""

from typing import Literal

from skspeech._docs import shared
from skspeech._sklearn import StrOptions
from skspeech._spectrogram import MelSpectrogram
from skspeech._typing import Device, Memory
from skspeech.audio import SAMPLING_RATE
from skspeech.audio.level import DEFAULT_LEVEL, LEVEL
from skspeech.transformers._windowed import STATISTICS, WindowedExtractor, pool_windows
from skspeech.transformers.speaker import choose
from skspeech.weights import load_weights, weights_key

__all__ = ["MusicEmbedding"]

_WEIGHTS = {
    "msd_musicnn": "musicnn-msd",
    "mtt_musicnn": "musicnn-mtt",
    "msd_vgg": "vgg-msd",
    "mtt_vgg": "vgg-mtt",
}
_MUSICNN_FEATURES = {"mean_pool": 753, "max_pool": 753, "penultimate": 200, "tags": 50}
# 128 channels, each with 96, 24, 12, 6 and 1 bands; the first pooling of the other VGG leaves 48.
_MSD_VGG_FEATURES = {
    "pool1": 12288,
    "pool2": 3072,
    "pool3": 1536,
    "pool4": 768,
    "pool5": 128,
    "tags": 50,
}
_N_FEATURES = {
    "msd_musicnn": _MUSICNN_FEATURES,
    "mtt_musicnn": _MUSICNN_FEATURES,
    "msd_vgg": _MSD_VGG_FEATURES,
    "mtt_vgg": {**_MSD_VGG_FEATURES, "pool1": 6144},
}
_LAYERS = tuple(dict.fromkeys(layer for layers in _N_FEATURES.values() for layer in layers))
_VGG_FRAMES = 187
# Times 10,000 it still fits float32: even absurdly loud clips must not become infinite.
_MAX_POWER = 1e30


@shared(level=LEVEL)
class MusicEmbedding(WindowedExtractor):
    """Embed clips with a network that was trained to tag music (musicnn, VGG).

    Parameters
    ----------
    model : {"msd_musicnn", "mtt_musicnn", "msd_vgg", "mtt_vgg"}, default="msd_musicnn"
        The pretrained network: musically motivated filters or VGG, trained on the Million Song
        Dataset (msd) or on MagnaTagATune (mtt).
    layers : str or tuple of str, default="mean_pool"
        What to read. musicnn: ``"mean_pool"`` and ``"max_pool"`` (753 features each),
        ``"penultimate"`` (200), ``"tags"`` (50 probabilities). VGG: ``"pool1"`` (6144 or 12288),
        ``"pool2"`` (3072), ``"pool3"`` (1536), ``"pool4"`` (768), ``"pool5"`` (128), each averaged
        over time, and ``"tags"``. ``"mean_pool"`` stands for ``"pool3"`` in a VGG.
    pooling : {"mean", "std", "last", "max"} or tuple of these, default="mean"
        Statistics over the windows of a clip. :meth:`embed` returns the windows themselves, without
        them.
    window : float, default=3.0
        Seconds that the network sees at once. It was trained on 3; a VGG takes nothing else.
        Shorter clips are repeated to fill it.
    hop : float, default=3.0
        Seconds between the starts of windows. The last window ends with the clip,
        unless that is less than a tenth of a window after the one before.
    level : float or None, default=-20.0
        {level}
    max_duration : float or None, default=None
        Read only this many seconds of each clip; None reads all of it.
    dtype : {"auto", "float32", "bfloat16"}, default="auto"
        Precision of the convolutions. ``"auto"`` is bfloat16 on a CPU that has instructions
        for it, where it takes less than two thirds of the time, else float32. Features differ by
        less than 1 % of their size, but those of inactive units by many times their spread: a
        fitted extractor keeps its precision on other machines.
    sampling_rate : int, default=16000
        Sampling rate in Hz of bare waveforms. Files and ``(waveform, sampling_rate)`` pairs bring
        their own.
    batch_size : int, default=32
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
    skspeech.MusicEmbeddingClassifier : These features with logistic regression.

    References
    ----------
    Pons, J. and Serra, X. (2019). musicnn: pre-trained convolutional neural networks for music
    audio tagging. ISMIR late-breaking demos. https://arxiv.org/abs/1909.06654

    Weights: musicnn, https://github.com/jordipons/musicnn (ISC).

    Examples
    --------
    >>> from skspeech import MusicEmbedding
    >>> from skspeech.datasets import make_tones
    >>> clips = make_tones(n_samples=4, random_state=0).data
    >>> MusicEmbedding(layers="tags").fit_transform(clips).shape  # doctest: +SKIP
    (4, 50)
    """

    _spectrogram = MelSpectrogram(n_fft=512, hop_length=256, n_mels=96)

    _parameter_constraints: dict = {
        **WindowedExtractor._parameter_constraints,
        "model": [StrOptions(set(_WEIGHTS))],
        "layers": ["array-like", StrOptions(set(_LAYERS))],
        "pooling": ["array-like", StrOptions(set(STATISTICS))],
        "dtype": [StrOptions({"auto", "float32", "bfloat16"})],
    }

    def __init__(
        self,
        model: Literal["msd_musicnn", "mtt_musicnn", "msd_vgg", "mtt_vgg"] = "msd_musicnn",
        *,
        layers: str | tuple[str, ...] = "mean_pool",
        pooling: str | tuple[str, ...] = "mean",
        window: float = 3.0,
        hop: float = 3.0,
        level: float | None = DEFAULT_LEVEL,
        max_duration: float | None = None,
        dtype: Literal["auto", "float32", "bfloat16"] = "auto",
        sampling_rate: int = SAMPLING_RATE,
        batch_size: int = 32,
        device: Device = "auto",
        memory: Memory = None,
        n_jobs: int | None = None,
        errors: Literal["raise", "warn"] = "raise",
        verbose: int = 0,
    ) -> None:
        self.model = model
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

    def _validate_params(self):
        super()._validate_params()
        self._layers()
        self._statistics()
        if self._is_vgg() and self._frames_per_window() != _VGG_FRAMES:
            raise ValueError(
                f"window={self.window!r} is not accepted with model={self.model!r}: "
                "a VGG takes windows of 3.0 s only."
            )

    def _is_vgg(self):
        return self.model.endswith("vgg")

    def _widths(self):
        return _N_FEATURES[self.model]

    def _layers(self):
        if self._is_vgg() and isinstance(self.layers, str) and self.layers == "mean_pool":
            return ("pool3",)
        return choose("layers", self.layers, tuple(self._widths()))

    def _statistics(self):
        return choose("pooling", self.pooling, STATISTICS)

    def _weights_name(self):
        return _WEIGHTS[self.model]

    def _network_id(self):
        return weights_key(self._weights_name())

    def _load_network(self, device):
        import torch

        from skspeech.transformers.networks.musicnn import MSD_POOLS, MTT_POOLS, VGG, MusicNN

        if self._is_vgg():
            network = VGG(pools=MSD_POOLS if self.model == "msd_vgg" else MTT_POOLS)
        else:
            network = MusicNN()
        network.load_state_dict(load_weights(self._weights_name()))
        return network.to(device).eval().fold(getattr(torch, self._precision()))

    def _frames_per_window(self):
        spectrogram = self._spectrogram
        covered = self.window * SAMPLING_RATE - spectrogram.n_fft // 2
        return max(1, 1 + int(covered // spectrogram.hop_length))

    def _forward(self, network, mel):
        import torch

        logmel = torch.log10(mel.clamp(max=_MAX_POWER) * 10_000.0 + 1.0)
        layers = network(logmel)
        return torch.cat([layers[name] for name in self._layers()], dim=1)

    def _pool(self, windows):
        return pool_windows(windows, self._statistics())

    def _feature_names(self):
        widths = self._widths()
        own_names = {"tags": self._tags()} if "tags" in self._layers() else {}
        return [
            f"{self.model}_{layer}_{statistic}_{feature}"
            for statistic in self._statistics()
            for layer in self._layers()
            for feature in own_names.get(layer, range(widths[layer]))
        ]

    def _tags(self):
        from skspeech.transformers.networks.musicnn import MSD_TAGS, MTT_TAGS

        tags = MSD_TAGS if self.model.startswith("msd") else MTT_TAGS
        return [tag.replace(" ", "_") for tag in tags]
