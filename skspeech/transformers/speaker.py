"""Features from speaker-recognition networks."""

import math
import os
from dataclasses import dataclass
from numbers import Integral, Real
from typing import Literal

import numpy as np

from skspeech._device import computes_bfloat16
from skspeech._docs import shared
from skspeech._sklearn import Interval, StrOptions
from skspeech._spectrogram import MelSpectrogram
from skspeech._typing import Device, Memory, PathLike
from skspeech.audio import SAMPLING_RATE
from skspeech.audio.level import DEFAULT_LEVEL, LEVEL, at_level
from skspeech.audio.long import LongWaveform
from skspeech.transformers._windowed import STATISTICS, WindowedExtractor
from skspeech.weights import load_weights, read_weights, weights_file_key, weights_key

__all__ = ["SpeakerEmbedding"]

# With level=None, quieter clips are amplified to this level, as in the training of GE2E; louder
# ones stay as they are.
_TARGET_DBFS = -30.0


@dataclass(frozen=True)
class _Model:
    """What differs between the networks; `widths` are those of the layers, by number and name."""

    spectrogram: MelSpectrogram
    widths: dict
    layer_name: str
    window: float
    hop: float


_MODELS = {
    "ge2e": _Model(
        spectrogram=MelSpectrogram(n_fft=400, hop_length=160, n_mels=40),
        widths={1: 256, 2: 256, 3: 256, "embedding": 256},
        layer_name="lstm",
        window=1.6,
        hop=0.8,
    ),
    "resnetse34l": _Model(
        spectrogram=MelSpectrogram(
            n_fft=512,
            win_length=400,
            hop_length=160,
            n_mels=40,
            htk=True,
            norm=None,
            pad_mode="reflect",
        ),
        widths={1: 16, 2: 32, 3: 64, 4: 128, "embedding": 512},
        layer_name="stage",
        window=3.0,
        hop=1.5,
    ),
}


@shared(level=LEVEL)
class SpeakerEmbedding(WindowedExtractor):
    """Embed clips with a network that was trained to tell speakers apart.

    The output of such a network, ``layers="embedding"``, identifies the speaker; its hidden layers
    hold more about emotion, language and words.

    Parameters
    ----------
    model : {"ge2e", "resnetse34l"}, default="ge2e"
        The pretrained network. ``"ge2e"``: three LSTM layers, Resemblyzer's. ``"resnetse34l"``: a
        residual network of 34 layers in four stages, trained on VoxCeleb 2.
    layers : {"all", "embedding"}, int or tuple of these, default="all"
        Layers to read: 1, 2 and 3 are the LSTM layers (256 features each) of ``"ge2e"``, 1 to 4 the
        stages (16, 32, 64 and 128 filters, averaged over frequency) of ``"resnetse34l"``,
        ``"embedding"`` is the network's output (256 and 512), ``"all"`` everything.
    pooling : {"mean", "std", "last", "max"} or tuple of these, default=("mean", "std")
        Statistics of the layers over the frames of a window. Over the windows of a clip, they are
        averaged, except ``"max"``, where the largest value is taken. The embedding is averaged and
        scaled to unit length.
    weights : str, path-like or None, default=None
        A file of weights for ``"resnetse34l"`` in the layout of the published
        ``baseline_lite_ap.model``, such as a copy of it or a fine-tuned network. None is the
        published file, which is downloaded once and verified by its checksum.
    window : float or None, default=None
        Seconds that the network sees at once; None is about what it was trained on: 1.6 for
        ``"ge2e"``, 3.0 for ``"resnetse34l"``. Shorter clips are repeated to fill it.
    hop : float or None, default=None
        Seconds between the starts of windows; None is half the model's default `window`. The last
        window ends with the clip.
    level : float or None, default=-20.0
        {level}
    max_duration : float or None, default=None
        Read only this many seconds of each clip; None reads all of it.
    dtype : {"auto", "float32", "bfloat16"}, default="auto"
        Precision of the network. ``"auto"`` is bfloat16 for ``"ge2e"`` on a CPU with Intel's AMX,
        where its LSTM layers take a quarter of the time, else float32. Features in bfloat16 differ
        from the others by less than 1 % of their size. A fitted extractor keeps its
        precision on other machines.
    sampling_rate : int, default=16000
        Sampling rate in Hz of bare waveforms. Files and ``(waveform, sampling_rate)`` pairs bring
        their own.
    batch_size : int, default=64
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
    MusicEmbedding : Features from a music-tagging network.
    skspeech.SpeakerEmbeddingClassifier : These features with logistic regression.

    References
    ----------
    Wan, L., Wang, Q., Papir, A. and Moreno, I. L. (2018). Generalized end-to-end loss for speaker
    verification. ICASSP. https://arxiv.org/abs/1710.10467

    Weights of ``"ge2e"``: Resemblyzer, https://github.com/resemble-ai/Resemblyzer (Apache 2.0).

    Chung, J. S. et al. (2020). In defence of metric learning for speaker recognition. Interspeech.
    https://arxiv.org/abs/2003.11982

    Weights of ``"resnetse34l"``: https://github.com/clovaai/voxceleb_trainer (MIT).

    Examples
    --------
    >>> from skspeech import SpeakerEmbedding
    >>> from skspeech.datasets import make_speech_like
    >>> clips = make_speech_like(n_samples=4, random_state=0).data
    >>> SpeakerEmbedding().fit_transform(clips).shape  # doctest: +SKIP
    (4, 1792)
    """

    _parameter_constraints: dict = {
        **WindowedExtractor._parameter_constraints,
        "model": [StrOptions(set(_MODELS))],
        "layers": ["array-like", Integral, StrOptions({"embedding", "all"})],
        "pooling": ["array-like", StrOptions(set(STATISTICS))],
        "weights": [str, os.PathLike, None],
        "dtype": [StrOptions({"auto", "float32", "bfloat16"})],
        "window": [Interval(Real, 0, None, closed="neither"), None],
        "hop": [Interval(Real, 0, None, closed="neither"), None],
    }

    def __init__(
        self,
        model: Literal["ge2e", "resnetse34l"] = "ge2e",
        *,
        layers: str | int | tuple[str | int, ...] = "all",
        pooling: str | tuple[str, ...] = ("mean", "std"),
        weights: PathLike | None = None,
        window: float | None = None,
        hop: float | None = None,
        level: float | None = DEFAULT_LEVEL,
        max_duration: float | None = None,
        dtype: Literal["auto", "float32", "bfloat16"] = "auto",
        sampling_rate: int = SAMPLING_RATE,
        batch_size: int = 64,
        device: Device = "auto",
        memory: Memory = None,
        n_jobs: int | None = None,
        errors: Literal["raise", "warn"] = "raise",
        verbose: int = 0,
    ) -> None:
        self.model = model
        self.layers = layers
        self.pooling = pooling
        self.weights = weights
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
        if self.weights is not None and self.model != "resnetse34l":
            raise ValueError(
                f"weights={self.weights!r} is not accepted with model={self.model!r}: only "
                "model='resnetse34l' takes a file of weights. Use weights=None."
            )

    def _layers(self):
        every = tuple(_MODELS[self.model].widths)
        all_of_them = isinstance(self.layers, str) and self.layers == "all"
        return choose("layers", every if all_of_them else self.layers, every)

    def _statistics(self):
        return choose("pooling", self.pooling, STATISTICS)

    def _window_and_hop(self):
        model = _MODELS[self.model]
        return (
            model.window if self.window is None else self.window,
            model.hop if self.hop is None else self.hop,
        )

    @property
    def _spectrogram(self):
        return _MODELS[self.model].spectrogram

    def _weights_name(self):
        return self.model if self.weights is None else None

    def _network_id(self):
        if self.weights is not None:
            return weights_file_key(self.model, self.weights)
        return weights_key(self.model)

    def _load_network(self, device):
        import torch

        if self.model == "ge2e":
            from skspeech.transformers.networks.ge2e import GE2E as Network
        else:
            from skspeech.transformers.networks.resnetse34l import ResNetSE34L as Network

        network = Network()
        network.load_state_dict(
            load_weights(self.model)
            if self.weights is None
            else read_weights(self.model, self.weights)
        )
        return network.to(device, getattr(torch, self._precision())).eval()

    def _auto_precision(self, device):
        # With AVX-512 alone, LSTM layers take a third longer in bfloat16 than in single precision.
        can = device.type == "cpu" and computes_bfloat16(device, instructions=["amx_bf16"])
        return "bfloat16" if can and self.model == "ge2e" else "float32"

    def __setstate__(self, state):
        super().__setstate__({"dtype": "float32", **state})  # as in pickles of before `dtype`

    def _frames_per_window(self):
        window, _ = self._window_and_hop()
        return max(1, round(window * SAMPLING_RATE / self._spectrogram.hop_length))

    def _prepare(self, waveform):
        if self.level is None and self.model == "ge2e":
            return raise_volume(waveform, _TARGET_DBFS)
        return at_level(waveform, self.level)

    def _forward(self, network, mel):
        import torch

        mel = mel.to(next(network.parameters()).dtype)
        if len(mel) == 1 and mel.dtype == torch.bfloat16:
            # A single row is computed in another order, and its rounding would differ from that of
            # the same row in company.
            return self._forward(network, mel.expand(2, -1, -1))[:1]
        if self.model == "ge2e":
            states = network.hidden_states(mel)
            last = states[-1][:, -1]
        else:
            maps = network.feature_maps(mel)
            states = [stage.mean(dim=2).transpose(1, 2) for stage in maps]
            last = maps[-1]
        blocks = []
        for layer in self._layers():
            if layer == "embedding":
                blocks.append(network.project(last).float())
            else:
                states_of_layer = states[layer - 1].float()
                blocks.extend(time_statistics(states_of_layer, self._statistics()))
        return torch.cat(blocks, dim=1)

    def _pool(self, windows):
        return merge_windows(windows, self._blocks())

    def _blocks(self):
        """Names and widths of the blocks of columns, one block per layer and statistic."""
        model = _MODELS[self.model]
        blocks = []
        for layer in self._layers():
            if layer == "embedding":
                blocks.append(("embedding", model.widths[layer]))
            else:
                name = f"{model.layer_name}{layer}"
                blocks.extend((f"{name}_{s}", model.widths[layer]) for s in self._statistics())
        return blocks

    def _feature_names(self):
        return [
            f"{self.model}_{block}_{i}" for block, width in self._blocks() for i in range(width)
        ]


def choose(name, value, accepted):
    """The entries of a parameter that takes one or several of `accepted`, as a tuple."""
    chosen = (value,) if isinstance(value, (str, Integral)) else tuple(value)
    if (
        not chosen
        or isinstance(value, set | frozenset)  # whose order differs between processes
        or not all(_is_name_or_number(entry) and entry in accepted for entry in chosen)
        or len(set(chosen)) < len(chosen)
    ):
        options = ", ".join(map(repr, accepted))
        raise ValueError(
            f"{name}={value!r} is not accepted. Use one or several of {options}, each once, in "
            "order."
        )
    return chosen


def _is_name_or_number(entry):
    """Whether it is a name or a number: True and 1.0 are equal to the number 1."""
    return isinstance(entry, str | Integral) and not isinstance(entry, bool)


def merge_windows(windows, blocks):
    """Features of a clip from those of its windows; `blocks` are names and widths of columns."""
    pooled, largest = windows.mean(axis=0), None
    begin = 0
    for block, width in blocks:
        columns = slice(begin, begin + width)
        if block == "embedding":
            pooled[columns] /= max(np.linalg.norm(pooled[columns]), 1e-12)
        elif block.endswith("max"):
            largest = windows.max(axis=0) if largest is None else largest
            pooled[columns] = largest[columns]
        begin += width
    return pooled


def raise_volume(waveform, target_dbfs):
    """Amplify a waveform whose root mean square is below `target_dbfs`; silence stays silence."""
    is_long = isinstance(waveform, LongWaveform)
    if is_long:
        level = math.sqrt(waveform.power + waveform.mean**2)
    else:
        level = float(np.sqrt(np.mean(np.square(waveform, dtype=np.float64))))
    target = 10 ** (target_dbfs / 20)
    if level == 0 or level >= target:
        return waveform
    gain = target / level
    return waveform.scaled(0, gain) if is_long else waveform * np.float32(gain)


def time_statistics(states, statistics):
    """Statistics over the frames of (n, n_frames, n_units): a list of (n, n_units)."""
    compute = {
        "mean": lambda: states.mean(dim=1),
        # Over frames, torch's own std takes seven times as long.
        "std": lambda: (states - states.mean(dim=1, keepdim=True)).square_().mean(dim=1).sqrt_(),
        "last": lambda: states[:, -1],
        "max": lambda: states.amax(dim=1),
    }
    return [compute[statistic]() for statistic in statistics]
