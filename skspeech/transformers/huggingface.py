"""Features from speech encoders in the format of Hugging Face's transformers."""

import contextlib
import functools
import hashlib
import os
import warnings
from dataclasses import dataclass
from numbers import Integral, Real
from pathlib import Path

import numpy as np

from skspeech._sklearn import Interval, StrOptions
from skspeech.audio import SAMPLING_RATE
from skspeech.transformers._base import BaseExtractor, Windows, frame_starts
from skspeech.transformers.speaker import choose, merge_windows
from skspeech.weights import WeightsError, WeightsNotFoundError

__all__ = ["TransformersEmbedding"]

_STATISTICS = ("mean", "std", "max")
# Attention costs the square of a window's length, where the network itself sets no limit.
_LONGEST_WINDOW = 20.0
_SHORTEST_WINDOW = 0.1
# As many full batches are decoded at once, for clips of like length to find each other.
_CHUNK_BATCHES = 4
_PREPROCESSORS = ("preprocessor_config.json", "processor_config.json")
_SAFETENSORS = ("model.safetensors", "model.safetensors.index.json")


class TransformersEmbedding(BaseExtractor):
    """Embed clips with a speech encoder in the format of Hugging Face's transformers.

    The encoders are WavLM, HuBERT, wav2vec 2.0 and their relatives, Whisper's encoder, the Audio
    Spectrogram Transformer (AST), and the audio side of CLAP. What a clip gives does not depend on
    the clips it shares a batch with. The package is extra: ``pip install skspeech[transformers]``.

    Parameters
    ----------
    model : str or path-like, default="openai/whisper-base"
        A name on the Hugging Face hub, or a folder that ``save_pretrained`` wrote. Weights are read
        from safetensors only, and no code that comes with a model is run.
    layers : "all", int or tuple of int, default="all"
        What to read. 0 is what enters the first layer, 1 and on the layers, -1 the last one. The
        middle layers often know more of emotion and speaker, the upper ones of words.
    pooling : {"mean", "std", "max"} or tuple of these, default="mean"
        Statistics of each layer over the frames of a window, those of the clip itself only, not of
        padding. Over the windows of a clip, all are averaged, except ``"max"``, of which the
        largest is taken.
    window : float or None, default=None
        Seconds that the network sees at once; longer clips are cut. None is as much as the network
        takes: 30 for Whisper, about 10 for AST and CLAP; 20 for the others, which set no limit.
    hop : float or None, default=None
        Seconds between the starts of windows; None is `window`. The last window ends with the clip.
    max_duration : float or None, default=None
        Read only this many seconds of each clip; None reads all of it.
    dtype : {"auto", "float32", "float16", "bfloat16"}, default="auto"
        Precision of the network's arithmetic. ``"auto"`` is float16 on a GPU, else float32.
    revision : str or None, default=None
        Branch, tag or commit on the hub; None is the newest.
    local_files_only : bool, default=False
        Look for a model of the hub in the local cache only, without asking the network.
    sampling_rate : int, default=16000
        Sampling rate in Hz of bare waveforms. Files and ``(waveform, sampling_rate)`` pairs bring
        their own.
    batch_size : int, default=8
        Windows that go through the network at once, of any clips. Networks whose results padding
        would change get windows of equal length together.
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
        Show progress bars, of downloads too.

    Attributes
    ----------
    n_features_in_ : int
        Samples a clip; only where `fit` saw a 2-D array.
    feature_names_in_ : ndarray of shape (n_features_in_,)
        Columns of the table; only where `fit` saw a DataFrame of numbers.

    See Also
    --------
    SpeakerEmbedding : Features from networks that come without this package.

    References
    ----------
    Wolf, T. et al. (2020). Transformers: state-of-the-art natural language processing. EMNLP.
    https://github.com/huggingface/transformers

    Examples
    --------
    >>> from skspeech import TransformersEmbedding
    >>> from skspeech.datasets import make_speech_like
    >>> clips = make_speech_like(n_samples=4, random_state=0).data
    >>> extractor = TransformersEmbedding("microsoft/wavlm-base-plus", layers=(4, 8))
    >>> extractor.fit_transform(clips).shape  # doctest: +SKIP
    (4, 1536)
    """

    _parameter_constraints: dict = {
        **BaseExtractor._parameter_constraints,
        "model": [str, os.PathLike],
        "layers": ["array-like", Integral, StrOptions({"all"})],
        "pooling": ["array-like", StrOptions(set(_STATISTICS))],
        "window": [Interval(Real, 0, None, closed="neither"), None],
        "hop": [Interval(Real, 0, None, closed="neither"), None],
        "dtype": [StrOptions({"auto", "float32", "float16", "bfloat16"})],
        "revision": [str, None],
        "local_files_only": ["boolean"],
    }

    def __init__(
        self,
        model="openai/whisper-base",
        *,
        layers="all",
        pooling="mean",
        window=None,
        hop=None,
        max_duration=None,
        dtype="auto",
        revision=None,
        local_files_only=False,
        sampling_rate=SAMPLING_RATE,
        batch_size=8,
        device="auto",
        memory=None,
        n_jobs=None,
        errors="raise",
        verbose=0,
    ):
        self.model = model
        self.layers = layers
        self.pooling = pooling
        self.window = window
        self.hop = hop
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

    def _validate_params(self):
        super()._validate_params()
        self._statistics()

    def _statistics(self):
        return choose("pooling", self.pooling, _STATISTICS)

    def _source(self):
        return _Source(os.fspath(self.model), self.revision, bool(self.local_files_only))

    def _family(self):
        """How the model takes audio and gives features; its weights are not read for that."""
        return _open(self._source(), _state(self.model))

    def _layers(self):
        n_layers = len(self._family().widths)
        if isinstance(self.layers, str):  # "all"
            return tuple(range(n_layers))
        chosen = np.atleast_1d(np.asarray(self.layers, dtype=object)).tolist()
        known = [
            layer + n_layers if isinstance(layer, Integral) and -n_layers <= layer < 0 else layer
            for layer in chosen
        ]
        return choose("layers", known, tuple(range(n_layers)))

    def _embed_clips(self, clips, results, *, pooled):
        self._layers()
        self._window_and_hop()
        # Here and not beside the network, which runs in several threads: the filters of warnings
        # are the whole process's, and threads that set and restore them get in each other's way.
        with _without_warnings():
            super()._embed_clips(clips, results, pooled=pooled)

    def _window_and_hop(self):
        limit = self._family().limit
        window = (limit or _LONGEST_WINDOW) if self.window is None else self.window
        if limit is not None and window > limit:
            raise ValueError(
                f"window={self.window!r} is not accepted with model={os.fspath(self.model)!r}, "
                f"which takes at most {limit:g} s at once. Use window={limit:g} or None."
            )
        return window, window if self.hop is None else self.hop

    def _seconds_per_chunk(self):
        window, _ = self._window_and_hop()
        return _CHUNK_BATCHES * self.batch_size * window

    def _target_sampling_rate(self):
        return self._family().sampling_rate

    def _network_id(self):
        return _network_id(self._source(), _state(self.model), self._family().commit)

    def _load_network(self, device):
        with _quiet(self.verbose), _explained(self._source()):
            network = self._family().load(self._source())
        return network.to(device).eval()

    def _cut(self, waveforms, device):
        """Pieces of waveforms, and where each begins in its clip, in samples."""
        family = self._family()
        size, hop = (max(1, round(s * family.sampling_rate)) for s in self._window_and_hop())
        starts = [frame_starts(len(waveform), size, hop) for waveform in waveforms]
        pieces = [
            family.lengthen(waveform[start : start + size])
            for waveform, firsts in zip(waveforms, starts, strict=True)
            for start in firsts
        ]
        return Windows(pieces, np.concatenate(starts), np.array([len(s) for s in starts]))

    def _run(self, network, windows):
        import torch

        family = self._family()
        pieces = windows.frames
        features = np.empty((len(pieces), self._n_features()), dtype=np.float32)
        parameter = next(network.parameters())
        for batch in family.batches([len(piece) for piece in pieces], self.batch_size):
            inputs, mask = family.prepare([pieces[i] for i in batch])
            inputs = {name: x.to(parameter.device) for name, x in inputs.items()}
            precision = _precision(self.dtype, parameter.device)
            with torch.inference_mode(), precision:
                states = family.states(network(**inputs, output_hidden_states=True))
            features[batch] = self._statistics_of(states, mask.to(parameter.device))
        return features

    def _statistics_of(self, states, mask):
        import torch

        blocks = [
            block
            for layer in self._layers()
            for block in _masked_statistics(states[layer].float(), mask, self._statistics())
        ]
        return torch.cat(blocks, dim=1).cpu().numpy()

    def _pool(self, windows):
        return merge_windows(windows, self._blocks())

    def _centres(self, waveforms, windows):
        """Seconds on which the windows are centred."""
        rate = self._target_sampling_rate()
        size = round(self._window_and_hop()[0] * rate)
        lengths = np.repeat([min(size, len(waveform)) for waveform in waveforms], windows.counts)
        centres = (windows.starts + lengths / 2) / rate
        return np.split(centres, np.cumsum(windows.counts)[:-1])

    def _timestamps(self, centres):
        return centres.astype(np.float64)

    def _blocks(self):
        widths = self._family().widths
        return [
            (f"layer{layer}_{statistic}", widths[layer])
            for layer in self._layers()
            for statistic in self._statistics()
        ]

    def _n_features(self):
        return sum(width for _, width in self._blocks())

    def _feature_names(self):
        name = self._family().name
        return [f"{name}_{block}_{i}" for block, width in self._blocks() for i in range(width)]


def _masked_statistics(states, mask, statistics):
    """Statistics of (n, n_frames, n_units) over the frames where `mask` (n, n_frames) is true."""
    inside = mask[:, :, None]
    n_frames = inside.sum(dim=1)
    states = states.masked_fill(~inside, 0.0)
    mean = states.sum(dim=1) / n_frames
    compute = {
        "mean": lambda: mean,
        "std": lambda: (
            (states - mean[:, None]).masked_fill(~inside, 0.0).square().sum(dim=1) / n_frames
        ).sqrt(),
        "max": lambda: states.masked_fill(~inside, -float("inf")).amax(dim=1),
    }
    return [compute[statistic]() for statistic in statistics]


def _precision(dtype, device):
    import torch

    if dtype == "auto":
        dtype = "float16" if device.type == "cuda" else "float32"
    if dtype == "float32":
        return contextlib.nullcontext()
    return torch.autocast(device.type, dtype=getattr(torch, dtype))


# -- Families of models ----------------------------------------------------------------------------


class _Family:
    """What differs between models: input, length, which frames are the clip's own.

    `widths` are those of the hidden states, `limit` the seconds that the network takes at once.
    """

    part = ""  # of the model that holds the encoder
    limit = None

    def __init__(self, config, extractor, commit):
        self.config = config
        self.extractor = extractor
        self.commit = commit
        self.name = config.model_type
        self.sampling_rate = extractor.sampling_rate

    def lengthen(self, piece):
        """Repeat a piece that is too short for a single frame."""
        n_samples = round(_SHORTEST_WINDOW * self.sampling_rate)
        return piece if len(piece) >= n_samples else np.resize(piece, n_samples)

    def batches(self, lengths, batch_size):
        """Indices of the pieces, those of like length together."""
        order = np.argsort(lengths, kind="stable")
        return np.array_split(order, -(-len(order) // batch_size))

    def load(self, source):
        from transformers import AutoModel

        model, report = AutoModel.from_pretrained(
            source.model,
            use_safetensors=True,
            output_loading_info=True,
            **{**source.options, **({"revision": self.commit} if self.commit else {})},
        )
        # Only needed to train.
        missing = {key for key in report["missing_keys"] if not key.endswith("masked_spec_embed")}
        missing = sorted(key for key in missing if key.startswith(self.part))
        if missing:
            raise WeightsError(
                f"The weights of {source.model!r} lack {len(missing)} of the encoder's tensors, "
                f"such as {', '.join(missing[:3])}. They would be random; use another model."
            )
        return model.get_submodule(self.part) if self.part else model

    def states(self, output):
        """Hidden states, each (n, n_frames, n_units)."""
        return output.hidden_states


class _Waveforms(_Family):
    """Wav2vec 2.0 and its relatives: the waveform itself, of any length."""

    # Where frames beyond the end are set to zero before every layer that looks at neighbours.
    _maskable = frozenset({"hubert", "unispeech", "unispeech-sat", "wav2vec2", "wavlm"})

    @property
    def widths(self):
        return [self.config.hidden_size] * (self.config.num_hidden_layers + 1)

    @property
    def takes_mask(self):
        """Whether padding leaves the results as they are, given a mask.

        A first layer that is normalised over time ("group") sees the padding.
        """
        return self.name in self._maskable and self.config.feat_extract_norm == "layer"

    def lengthen(self, piece):
        piece = super().lengthen(piece)
        shortest = 1
        for kernel, stride in zip(
            reversed(self.config.conv_kernel), reversed(self.config.conv_stride), strict=True
        ):
            shortest = (shortest - 1) * stride + kernel
        return piece if len(piece) >= shortest else np.resize(piece, shortest)

    def batches(self, lengths, batch_size):
        if self.takes_mask:
            return super().batches(lengths, batch_size)
        lengths = np.asarray(lengths)
        return [
            part
            for length in np.unique(lengths)
            for same in [np.flatnonzero(lengths == length)]
            for part in np.array_split(same, -(-len(same) // batch_size))
        ]

    def prepare(self, pieces):
        import torch

        inputs = self.extractor(
            pieces,
            sampling_rate=self.sampling_rate,
            padding=True,
            return_attention_mask=True,
            return_tensors="pt",
        )
        values = {"input_values": inputs["input_values"]}
        if self.takes_mask:
            values["attention_mask"] = inputs["attention_mask"]
        n_frames = torch.tensor([self._n_frames(len(piece)) for piece in pieces])
        return values, torch.arange(int(n_frames.max())) < n_frames[:, None]

    def _n_frames(self, n_samples):
        for kernel, stride in zip(self.config.conv_kernel, self.config.conv_stride, strict=True):
            n_samples = (n_samples - kernel) // stride + 1
        return n_samples


class _Whisper(_Family):
    """A log-mel spectrogram of 30 s, filled up with silence."""

    part = "encoder"

    @property
    def widths(self):
        return [self.config.d_model] * (self.config.encoder_layers + 1)

    @property
    def limit(self):
        return self.extractor.n_samples / self.sampling_rate

    def prepare(self, pieces):
        import torch

        inputs = self.extractor(pieces, sampling_rate=self.sampling_rate, return_tensors="pt")
        samples_per_frame = 2 * self.extractor.hop_length
        n_frames = torch.tensor([-(-len(piece) // samples_per_frame) for piece in pieces])
        mask = torch.arange(self.config.max_source_positions) < n_frames[:, None]
        return {"input_features": inputs["input_features"]}, mask


class _SpectrogramTransformer(_Family):
    """AST: patches of a spectrogram of about 10 s, filled up with zeros."""

    _frame_length, _hop_length = 400, 160  # samples; fixed in its feature extractor

    @property
    def widths(self):
        return [self.config.hidden_size] * (self.config.num_hidden_layers + 1)

    @property
    def limit(self):
        n_samples = self._frame_length + (self.config.max_length - 1) * self._hop_length
        return n_samples / self.sampling_rate

    def prepare(self, pieces):
        import torch

        inputs = self.extractor(pieces, sampling_rate=self.sampling_rate, return_tensors="pt")
        config = self.config
        n_rows = (config.num_mel_bins - config.patch_size) // config.frequency_stride + 1
        n_columns = (config.max_length - config.patch_size) // config.time_stride + 1
        n_frames = [1 + (len(piece) - self._frame_length) // self._hop_length for piece in pieces]
        # Patches of which at least half is the clip's own; the first in any case.
        middles = torch.arange(n_columns) * config.time_stride + config.patch_size // 2
        columns = middles <= torch.tensor(n_frames)[:, None]
        columns[:, 0] = True
        return {"input_values": inputs["input_values"]}, columns.repeat(1, n_rows)

    def states(self, output):
        return [states[:, 2:] for states in output.hidden_states]  # without the two extra tokens


class _Clap(_Family):
    """The audio side of CLAP: a spectrogram of 10 s, filled up with repetitions of the clip."""

    part = "audio_model"

    @property
    def widths(self):
        audio = self.config.audio_config
        widths = [audio.patch_embeds_hidden_size * 2**i for i in range(len(audio.depths))]
        return [*widths, widths[-1]]

    @property
    def limit(self):
        return self.extractor.nb_max_samples / self.sampling_rate

    def prepare(self, pieces):
        import torch

        # It draws a random number, which changes nothing here, from the caller's generator.
        state = np.random.get_state()  # noqa: NPY002
        try:
            inputs = self.extractor(pieces, sampling_rate=self.sampling_rate, return_tensors="pt")
        finally:
            np.random.set_state(state)  # noqa: NPY002
        is_longer = torch.zeros(len(pieces), 1, dtype=torch.bool)  # than 10 s: never
        features = {"input_features": inputs["input_features"], "is_longer": is_longer}
        return features, torch.ones(len(pieces), 1, dtype=torch.bool)

    def states(self, output):
        # Time is folded into both axes of these maps, and all of it is the clip's own.
        return [states.flatten(2).mean(2)[:, None] for states in output.hidden_states]


_FAMILIES = {
    **dict.fromkeys(
        [
            "data2vec-audio",
            "hubert",
            "unispeech",
            "unispeech-sat",
            "wav2vec2",
            "wav2vec2-conformer",
            "wavlm",
        ],
        _Waveforms,
    ),
    "audio-spectrogram-transformer": _SpectrogramTransformer,
    "clap": _Clap,
    "whisper": _Whisper,
}


# -- Files -----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Source:
    """Where a model is to be had."""

    model: str
    revision: str | None
    local_files_only: bool

    @property
    def options(self):
        return {
            "revision": self.revision or "main",
            "local_files_only": self.local_files_only,
            "trust_remote_code": False,
        }


def _state(model):
    """The files of a folder, with size and time of change; None for a name on the hub."""
    folder = Path(model)
    if not folder.is_dir():
        return None
    files = sorted(path for path in folder.iterdir() if path.suffix in {".json", ".safetensors"})
    status = [(path, path.stat()) for path in files]
    return tuple((str(path.absolute()), s.st_size, s.st_mtime_ns) for path, s in status)


@functools.lru_cache(maxsize=16)
def _open(source, state):
    try:
        from transformers import AutoConfig, AutoFeatureExtractor, PretrainedConfig
    except ImportError as error:
        raise ImportError(
            "TransformersEmbedding needs the package transformers, which is not installed. "
            "Install it: pip install 'skspeech[transformers]'"
        ) from error
    _check_files(source, state)
    with _quiet(), _explained(source):
        raw, _ = PretrainedConfig.get_config_dict(source.model, **source.options)
        kind = raw.get("model_type")
        if kind not in _FAMILIES:
            raise ValueError(
                f"model={source.model!r} is of the type {kind!r}, which is not among the speech "
                f"encoders known here: {', '.join(sorted(_FAMILIES))}."
            )
        config = AutoConfig.from_pretrained(source.model, **source.options)
        extractor = AutoFeatureExtractor.from_pretrained(source.model, **source.options)
    return _FAMILIES[kind](config, extractor, None if state else _commit(source))


def _commit(source):
    """The commit that a name on the hub stands for, now that its configuration is in the cache."""
    from huggingface_hub import try_to_load_from_cache

    found = try_to_load_from_cache(source.model, "config.json", revision=source.revision)
    return Path(found).parent.name if isinstance(found, str) else None


def _check_files(source, state):
    """Name what a folder lacks; for what looks like a folder and is none, say so."""
    if state is None:
        if Path(source.model).is_absolute() or source.model.startswith((".", "~")):
            raise WeightsNotFoundError(
                f"model={source.model!r} is not a folder. Use one that save_pretrained() wrote, or "
                "a name on the Hugging Face hub."
            )
        return
    names = {Path(name).name for name, _, _ in state}
    missing = [
        " or ".join(repr(name) for name in alternatives)
        for alternatives in (("config.json",), _PREPROCESSORS, _SAFETENSORS)
        if names.isdisjoint(alternatives)
    ]
    if missing:
        raise WeightsNotFoundError(
            f"The folder model={source.model!r} lacks {' and '.join(missing)}. Write it with "
            "save_pretrained() of both the model and its feature extractor; weights are read from "
            "safetensors only."
        )


@contextlib.contextmanager
def _explained(source):
    """Turn what transformers says of missing or damaged files into what to do."""
    from safetensors import SafetensorError

    try:
        yield
    except OSError as error:
        reason = next(iter(str(error).splitlines()), type(error).__name__)
        raise WeightsNotFoundError(
            f"The model {source.model!r} cannot be had: {reason}\n"
            f"Missing here: {', '.join(_missing_in_cache(source)) or 'nothing'}.\n"
            "With a network, this fetches it, if it has safetensors:\n"
            f"    hf download {source.model}\n"
            "Without one, run this elsewhere and name the folder: "
            f"hf download {source.model} --local-dir FOLDER"
        ) from error
    except (SafetensorError, RuntimeError) as error:
        if isinstance(error, WeightsError):
            raise
        raise WeightsError(
            f"The weights of {source.model!r} cannot be read: {error}. Fetch the model again."
        ) from error


def _missing_in_cache(source):
    """Which of the files that a model needs are not in the hub's local cache."""
    from huggingface_hub import try_to_load_from_cache
    from huggingface_hub.errors import HFValidationError

    def is_there(name):
        found = try_to_load_from_cache(source.model, name, revision=source.revision)
        return isinstance(found, str)

    try:
        return [
            " or ".join(alternatives)
            for alternatives in (("config.json",), _PREPROCESSORS, _SAFETENSORS)
            if not any(map(is_there, alternatives))
        ]
    except HFValidationError:
        return ["a model of that name"]


@functools.lru_cache(maxsize=64)
def _network_id(source, state, commit):
    """Identifies weights by the commit on the hub, or by the content of a folder's files."""
    if state is None:
        return f"transformers-{source.model}@{commit}"
    digest = hashlib.blake2b(digest_size=12)
    for name, size, _ in state:
        digest.update(f"{Path(name).name} {size}\n".encode())
        with open(name, "rb") as file:
            while chunk := file.read(1 << 20):
                digest.update(chunk)
    return f"transformers-{digest.hexdigest()}"


@contextlib.contextmanager
def _quiet(verbose=0):
    """Keep transformers from printing progress and reports while it loads."""
    from transformers.utils import logging

    if verbose:
        yield
        return
    verbosity, progress = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        with _without_warnings():
            yield
    finally:
        logging.set_verbosity(verbosity)
        if progress:
            logging.enable_progress_bar()


@contextlib.contextmanager
def _without_warnings():
    """Leave out what transformers causes by itself and nobody who uses it can change."""
    with warnings.catch_warnings():
        # AST's published bands are narrower than the bins of its spectrum.
        warnings.filterwarnings("ignore", "At least one mel filter has all zero values")
        # WavLM hands torch masks of two types.
        warnings.filterwarnings("ignore", "Support for mismatched key_padding_mask")
        yield
