"""Features from the encoder of Whisper."""

import functools
import os
from dataclasses import dataclass
from numbers import Integral, Real
from typing import Literal

import numpy as np

from skspeech._docs import shared
from skspeech._sklearn import Interval, StrOptions
from skspeech._spectrogram import MelSpectrogram, power_to_db, ranges
from skspeech._typing import Device, Memory, PathLike
from skspeech.audio import SAMPLING_RATE
from skspeech.audio.level import DEFAULT_LEVEL, LEVEL
from skspeech.transformers import _hub
from skspeech.transformers._layered import LayeredExtractor
from skspeech.transformers._statistics import MASKED_STATISTICS
from skspeech.transformers._windowed import Windows
from skspeech.weights import load_weights, weights_key

__all__ = ["WhisperEmbedding"]

_HOP_LENGTH = 160
# Samples per position of the network: two frames.
_STRIDE = 2 * _HOP_LENGTH
# Samples needed to reflect a frame at both ends of the waveform.
_SHORTEST = 400


@dataclass(frozen=True)
class _Encoder:
    """What differs between the encoders; `standardize` normalises each window's waveform."""

    name: str
    n_mels: int
    n_units: int
    n_layers: int
    n_heads: int
    n_hidden: int
    n_positions: int
    standardize: bool

    @property
    def seconds(self):
        """The longest window."""
        return self.n_positions * _STRIDE / SAMPLING_RATE


# Prefixes of the encoder's tensors: in a model with a decoder, and in one without.
_PREFIXES = ("model.encoder.", "encoder.")
_SMART_TURN = "smart-turn"
_ENCODERS = {_SMART_TURN: _Encoder("smart-turn", 80, 384, 4, 6, 1536, 400, standardize=True)}
# The layers worth reading of each encoder that skspeech knows.
_LAYERS = {_SMART_TURN: (0, 1, 2)}


@shared(level=LEVEL)
class WhisperEmbedding(LayeredExtractor):
    """Embed clips with the encoder of Whisper, which was trained to transcribe speech.

    It represents words and language and, in its lower layers, much of emotion and voice.
    ``"smart-turn"`` is the smallest one, with four layers, fine-tuned to detect from the sound that
    a speaker has finished. It takes some milliseconds a clip on a CPU. Clips are not padded with
    silence, and a clip's features depend on the other clips in its batch by rounding only: by about
    1e-6 in float32, and by 0.002 in bfloat16, where the largest are about 5.

    Parameters
    ----------
    model : str or path-like, default="smart-turn"
        ``"smart-turn"``, whose weights are fetched once; or a published encoder, from
        ``"openai/whisper-tiny"`` to ``"openai/whisper-large-v3"``: a name on the Hugging Face hub
        (which needs the package huggingface_hub), or a folder that ``save_pretrained`` wrote.
        Weights are read from safetensors only.
    layers : "all", int, tuple of int or None, default=None
        Layers to read. 0 is the input of the first layer, 1 and up are the layers' outputs, -1 is
        the last one. None is 0, 1 and 2 of ``"smart-turn"``, whose upper layers are then not
        computed, and all layers of a published encoder.
    pooling : {"mean", "std", "max"} or tuple of these, default=("mean", "std")
        Statistics of each layer over the positions of a window. Over the windows of a clip, they
        are averaged, except ``"max"``, where the largest value is taken.
    position : {"first", "last"}, default="first"
        Place of a shorter window in the network's span: at its beginning, or at its end.
    window : float or None, default=None
        Seconds that the network sees at once; longer clips are cut. None is the network's maximum:
        8 for ``"smart-turn"``, 30 for the published ones.
    hop : float or None, default=None
        Seconds between the starts of windows; None is `window`. The last window ends with the clip,
        unless that is less than a tenth of a window after the one before.
    level : float or None, default=-20.0
        {level}
    max_duration : float or None, default=None
        Read only this many seconds of each clip; None reads all of it.
    dtype : {"auto", "float32", "bfloat16"}, default="auto"
        Precision of matrix products. ``"auto"`` is bfloat16 on a CPU that has instructions for it,
        else float32. Features differ by 0.2 % of their size. A fitted extractor keeps
        its precision on other machines.
    revision : str or None, default=None
        Branch, tag or commit on the hub; None is the newest.
    local_files_only : bool, default=False
        Look for a hub model in the local cache only, without network access.
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
    SpeakerEmbedding : Features from a speaker-recognition network.
    KeywordEmbedding : Features from a network that was trained on spoken words.
    TransformersEmbedding : Features from other encoders on the Hugging Face hub.

    References
    ----------
    Radford, A. et al. (2022). Robust speech recognition via large-scale weak supervision.
    https://arxiv.org/abs/2212.04356

    Weights of ``"smart-turn"``: https://github.com/pipecat-ai/smart-turn (BSD 2-Clause).

    Examples
    --------
    >>> from skspeech import WhisperEmbedding
    >>> from skspeech.datasets import make_speech_like
    >>> clips = make_speech_like(n_samples=4, random_state=0).data
    >>> WhisperEmbedding().fit_transform(clips).shape  # doctest: +SKIP
    (4, 2304)
    """

    _parameter_constraints: dict = {
        **LayeredExtractor._parameter_constraints,
        "model": [str, os.PathLike],
        "layers": ["array-like", Integral, StrOptions({"all"}), None],
        "pooling": ["array-like", StrOptions(set(MASKED_STATISTICS))],
        "position": [StrOptions({"first", "last"})],
        "window": [Interval(Real, 0, None, closed="neither"), None],
        "hop": [Interval(Real, 0, None, closed="neither"), None],
        "dtype": [StrOptions({"auto", "float32", "bfloat16"})],
        "revision": [str, None],
        "local_files_only": ["boolean"],
    }
    _runtime_parameters = LayeredExtractor._runtime_parameters | {"local_files_only"}

    def __init__(
        self,
        model: PathLike = "smart-turn",
        *,
        layers: Literal["all"] | int | tuple[int, ...] | None = None,
        pooling: str | tuple[str, ...] = ("mean", "std"),
        position: Literal["first", "last"] = "first",
        window: float | None = None,
        hop: float | None = None,
        level: float | None = DEFAULT_LEVEL,
        max_duration: float | None = None,
        dtype: Literal["auto", "float32", "bfloat16"] = "auto",
        revision: str | None = None,
        local_files_only: bool = False,
        sampling_rate: int = SAMPLING_RATE,
        batch_size: int = 4,
        device: Device = "auto",
        memory: Memory = None,
        n_jobs: int | None = None,
        errors: Literal["raise", "warn"] = "raise",
        verbose: int = 0,
    ) -> None:
        self.model = model
        self.layers = layers
        self.pooling = pooling
        self.position = position
        self.window = window
        self.hop = hop
        self.level = level
        self.max_duration = max_duration
        self.dtype = dtype
        self.revision = revision
        self.local_files_only = local_files_only
        self.sampling_rate = sampling_rate
        self.batch_size = batch_size
        self.device = device
        self.memory = memory
        self.n_jobs = n_jobs
        self.errors = errors
        self.verbose = verbose

    def _source(self):
        return _hub.Source(os.fspath(self.model), self.revision, bool(self.local_files_only))

    def _is_here(self):
        return self.model in _ENCODERS or _hub.state_of(self.model) is not None

    def _encoder(self):
        if self.model in _ENCODERS:
            return _ENCODERS[self.model]
        return _published(self._source(), _hub.state_of(self.model))

    def _layers(self):
        layers = _LAYERS.get(self.model, "all") if self.layers is None else self.layers
        return _hub.choose_layers(layers, self._encoder().n_layers + 1)

    def _window_and_hop(self):
        limit = self._encoder().seconds
        window = limit if self.window is None else self.window
        if window > limit:
            raise ValueError(
                f"window={self.window!r} is not accepted with model={os.fspath(self.model)!r}, "
                f"which takes at most {limit:g} s at once. Use window={limit:g} or None."
            )
        return window, window if self.hop is None else self.hop

    def _shortest(self):
        return _SHORTEST / SAMPLING_RATE

    def _weights_name(self):
        return self.model if self.model in _ENCODERS else None

    def _network_id(self):
        if self.model in _ENCODERS:
            return weights_key(self.model)
        source, state = self._source(), _hub.state_of(self.model)
        commit = None if state else _hub.folder_of(source).name
        return f"whisper-{_hub.network_id(source, state, commit)}"

    def _load_network(self, device):
        import torch

        from skspeech.transformers.networks.whisper import WhisperEncoder

        encoder = self._encoder()
        with torch.device("meta"):
            network = WhisperEncoder(
                encoder.n_mels,
                encoder.n_units,
                encoder.n_layers,
                encoder.n_heads,
                encoder.n_hidden,
                encoder.n_positions,
            )
        if self.model in _ENCODERS:
            tensors = load_weights(self.model)
        else:
            tensors = _hub.read_tensors(self._source(), _PREFIXES, network.state_dict().keys())
        network.load_state_dict(tensors, assign=True)
        return network.to(device).eval().compute_in(getattr(torch, self._precision()))

    @property
    def _spectrogram(self):
        n_mels = self._encoder().n_mels
        return MelSpectrogram(n_fft=400, hop_length=_HOP_LENGTH, n_mels=n_mels, pad_mode="reflect")

    def _fill(self, piece):
        """A window's samples, repeated if too few, standardised if the encoder needs it."""
        if len(piece) < _SHORTEST:
            piece = np.resize(piece, _SHORTEST)
        return _standardised(piece) if self._encoder().standardize else piece

    def _cut_at(self, waveforms, starts, device):
        """Log mel frames of all windows, one after another."""
        pieces = [self._fill(piece) for piece in self._pieces(waveforms, starts)]
        frames = _logmel(pieces, self._spectrogram, device)
        return Windows(frames, np.concatenate(starts), np.array([len(s) for s in starts]))

    def _run(self, network, windows):
        """Features of all windows, (n_windows, n_features)."""
        import torch

        frames, begins = windows.frames
        counts = np.diff(begins)

        def features_of(batch):
            states, n_positions = self._states(network, frames, begins[batch], counts[batch])
            inside = torch.arange(states[0].shape[1], device=frames.device) < n_positions[:, None]
            return self._features_of(states, inside)

        limit = self.batch_size * round(self._window_and_hop()[0] * SAMPLING_RATE / _HOP_LENGTH)
        return self._by_batches(features_of, counts, limit, frames.device)

    def _states(self, network, frames, begins, counts):
        """Hidden states of a batch, and the number of positions per row that are not padding."""
        import torch

        n_frames = torch.from_numpy(counts).to(frames.device)
        longest = int(counts.max())
        longest += longest % 2
        rows = torch.from_numpy(begins[:, None] + np.arange(longest)).to(frames.device)
        logmel = frames[rows.clamp_(max=len(frames) - 1)]
        n_positions = (n_frames + 1) // 2
        first = None
        if self.position == "last":
            first = len(network.embed_positions.weight) - n_positions
        deepest = max(self._layers())
        same = bool((counts == longest).all())
        return network(logmel, None if same else n_frames, first, deepest), n_positions

    def _widths(self):
        encoder = self._encoder()
        return [encoder.n_units] * (encoder.n_layers + 1)

    def _prefix(self):
        return self._encoder().name


# -- The front end ---------------------------------------------------------------------------------


def _standardised(piece):
    """The piece scaled to zero mean and unit variance."""
    piece = piece.astype(np.float64)
    return ((piece - piece.mean()) / np.sqrt(piece.var() + 1e-7)).astype(np.float32)


def _logmel(pieces, spectrogram, device):
    """Frames of all pieces, one piece after another, scaled as for Whisper; and where each begins.

    The decimal logarithm of the power, clipped at 8 below the piece's maximum, plus 4, divided by
    4.
    """
    import torch

    power, firsts = spectrogram(pieces, device)
    counts = np.diff(firsts) - 1  # without the last frame, which extends beyond the end
    kept = torch.from_numpy(ranges(firsts[:-1], counts)).to(power.device)
    begins = np.concatenate([[0], np.cumsum(counts)])
    return power_to_db(power[kept], begins).div_(40.0).add_(1.0), begins


# -- Published encoders ----------------------------------------------------------------------------

_FRONT_END = {"sampling_rate": SAMPLING_RATE, "n_fft": 400, "hop_length": _HOP_LENGTH}


@functools.lru_cache(maxsize=16)
def _published(source, state):
    folder = _hub.folder_of(source)
    config = _hub.read_json(folder, "config.json")
    if (kind := config.get("model_type")) != "whisper":
        raise ValueError(
            f"model={source.model!r} is of the type {kind!r}. Use TransformersEmbedding for "
            "encoders other than Whisper's."
        )
    front_end = _hub.read_json(folder, "preprocessor_config.json", "processor_config.json")
    front_end = front_end.get("feature_extractor", front_end)
    for name, value in _FRONT_END.items():
        if front_end.get(name, value) != value:
            raise ValueError(
                f"model={source.model!r} takes spectrograms with {name}={front_end[name]!r}, not "
                f"with Whisper's {value}. Use TransformersEmbedding."
            )
    return _Encoder(
        name="whisper",
        n_mels=config["num_mel_bins"],
        n_units=config["d_model"],
        n_layers=config["encoder_layers"],
        n_heads=config["encoder_attention_heads"],
        n_hidden=config["encoder_ffn_dim"],
        n_positions=config["max_source_positions"],
        standardize=bool(front_end.get("do_normalize", False)),
    )
