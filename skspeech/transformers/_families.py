"""The model families of Hugging Face's transformers, and what differs between them."""

import contextlib
import functools
import warnings

import numpy as np

from skspeech._extras import how_to_install
from skspeech._shared_setting import SharedSetting
from skspeech.transformers._hub import check_files, commit_of, explained
from skspeech.weights import WeightsError

__all__ = ["open_model", "quiet", "without_warnings"]

_SHORTEST_WINDOW = 0.1


class _Family:
    """What differs between models: input, length, and which frames are not padding.

    `widths` are those of the hidden states, `limit` the seconds that the network takes at once.
    """

    part = ""  # the part of the model that holds the encoder
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
        """Indices of the pieces, in batches of similar length."""
        order = np.argsort(lengths, kind="stable")
        return np.array_split(order, -(-len(order) // batch_size))

    def load(self, source):
        from transformers import AutoModel

        model, report = AutoModel.from_pretrained(
            source.model,
            dtype="float32",  # else as stored, which may be half precision
            use_safetensors=True,
            output_loading_info=True,
            **{**source.options, **({"revision": self.commit} if self.commit else {})},
        )
        # Only needed for training.
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

    # Models that set padded frames to zero before every layer that looks at neighbours.
    _maskable = frozenset({"hubert", "unispeech", "unispeech-sat", "wav2vec2", "wavlm"})

    @property
    def widths(self):
        return [self.config.hidden_size] * (self.config.num_hidden_layers + 1)

    @property
    def takes_mask(self):
        """Whether, with a mask, padding does not change the results.

        It does where the first layer is normalised over time ("group").
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
    """A log-mel spectrogram of 30 s, padded with silence."""

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
    """AST: patches of a spectrogram of about 10 s, padded with zeros."""

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
        # Patches of which at least half belongs to the clip; the first one in any case.
        middles = torch.arange(n_columns) * config.time_stride + config.patch_size // 2
        columns = middles <= torch.tensor(n_frames)[:, None]
        columns[:, 0] = True
        return {"input_values": inputs["input_values"]}, columns.repeat(1, n_rows)

    def states(self, output):
        return [states[:, 2:] for states in output.hidden_states]  # without the two extra tokens


class _Clap(_Family):
    """The audio side of CLAP: a spectrogram of 10 s; a shorter clip is repeated to fill it."""

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

        # The extractor draws a random number from NumPy's global generator. That changes nothing
        # here, but would change the caller's random numbers.
        state = np.random.get_state()  # noqa: NPY002
        try:
            inputs = self.extractor(pieces, sampling_rate=self.sampling_rate, return_tensors="pt")
        finally:
            np.random.set_state(state)  # noqa: NPY002
        is_longer = torch.zeros(len(pieces), 1, dtype=torch.bool)  # no piece is longer than 10 s
        features = {"input_features": inputs["input_features"], "is_longer": is_longer}
        return features, torch.ones(len(pieces), 1, dtype=torch.bool)

    def states(self, output):
        # Time is folded into both axes of these maps, and none of it is padding.
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


@functools.lru_cache(maxsize=16)
def open_model(source, state):
    try:
        from transformers import AutoConfig, AutoFeatureExtractor, PretrainedConfig
    except ImportError as error:
        raise ImportError(
            "TransformersEmbedding needs the package transformers, which is not installed. "
            f"Install it: {how_to_install('transformers')}"
        ) from error
    check_files(source, state)
    with quiet(), explained(source):
        raw, _ = PretrainedConfig.get_config_dict(source.model, **source.options)
        kind = raw.get("model_type")
        if kind not in _FAMILIES:
            raise ValueError(
                f"model={source.model!r} is of the type {kind!r}, which is not among the speech "
                f"encoders known here: {', '.join(sorted(_FAMILIES))}."
            )
        config = AutoConfig.from_pretrained(source.model, **source.options)
        extractor = AutoFeatureExtractor.from_pretrained(source.model, **source.options)
    return _FAMILIES[kind](config, extractor, None if state else commit_of(source))


@contextlib.contextmanager
def quiet(verbose=0):
    """Keep transformers from printing progress and reports while it loads."""
    if verbose:
        yield
        return
    with _hushed.block(), without_warnings():
        yield


def without_warnings():
    """Hide warnings that transformers itself causes and that users can't act on."""
    return _hidden.block()


def _hush():
    from transformers.utils import logging

    verbosity, progress = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()

    def restore():
        logging.set_verbosity(verbosity)
        if progress:
            logging.enable_progress_bar()

    return restore


def _hide_warnings():
    stack = contextlib.ExitStack()
    stack.enter_context(warnings.catch_warnings())
    # AST's published bands are narrower than the bins of its spectrum.
    warnings.filterwarnings("ignore", "At least one mel filter has all zero values")
    # WavLM passes masks of two types to torch.
    warnings.filterwarnings("ignore", "Support for mismatched key_padding_mask")
    return stack.close


_hushed, _hidden = SharedSetting(_hush), SharedSetting(_hide_warnings)
