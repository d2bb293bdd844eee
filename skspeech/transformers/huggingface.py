"""Features from speech encoders in the format of Hugging Face's transformers."""

import contextlib
import functools
import os
from numbers import Integral, Real
from typing import Literal

import numpy as np

from skspeech._docs import shared
from skspeech._sklearn import Interval, StrOptions
from skspeech._typing import Device, Memory, PathLike
from skspeech.audio import SAMPLING_RATE
from skspeech.audio.level import DEFAULT_LEVEL, LEVEL
from skspeech.transformers._families import open_model, quiet, without_warnings
from skspeech.transformers._hub import Source, choose_layers, explained, network_id, state_of
from skspeech.transformers._layered import LayeredExtractor
from skspeech.transformers._statistics import MASKED_STATISTICS
from skspeech.transformers._windowed import Windows

__all__ = ["TransformersEmbedding"]

# For networks that set no limit: attention costs the square of a window's length.
_LONGEST_WINDOW = 20.0
# Full batches decoded at once, so that clips of similar length can share a batch.
_CHUNK_BATCHES = 4


@shared(level=LEVEL)
class TransformersEmbedding(LayeredExtractor):
    """Embed clips with a speech encoder in the format of Hugging Face's transformers.

    The encoders are WavLM, HuBERT, wav2vec 2.0 and their relatives, Whisper's encoder, the Audio
    Spectrogram Transformer (AST), and the audio side of CLAP. A clip's features do not depend on
    the other clips in its batch. It needs an extra package: ``pip install '.[transformers]'``.

    Parameters
    ----------
    model : str or path-like, default="openai/whisper-base"
        A name on the Hugging Face hub, or a folder that ``save_pretrained`` wrote. Weights are read
        from safetensors only, and code that comes with a model is never run.
    layers : "all", int or tuple of int, default="all"
        Layers to read. 0 is the input of the first layer, 1 and up are the layers' outputs, -1 is
        the last one. Middle layers often hold more about emotion and speaker, upper ones about
        words.
    pooling : {"mean", "std", "max"} or tuple of these, default="mean"
        Statistics of each layer over the frames of a window, without padding. Over the windows of
        a clip, they are averaged, except ``"max"``, where the largest value is taken.
    window : float or None, default=None
        Seconds that the network sees at once; longer clips are cut. None is the network's maximum:
        30 for Whisper, about 10 for AST and CLAP; 20 for the others, which set no limit.
    hop : float or None, default=None
        Seconds between the starts of windows; None is `window`. The last window ends with the clip,
        unless that is less than a tenth of a window after the one before.
    level : float or None, default=-20.0
        {level}
    max_duration : float or None, default=None
        Read only this many seconds of each clip; None reads all of it.
    dtype : {"auto", "float32", "float16", "bfloat16"}, default="auto"
        Precision of the network's arithmetic. ``"auto"`` is float16 on a GPU, else float32.
        A fitted extractor keeps its precision on other GPUs.
    revision : str or None, default=None
        Branch, tag or commit on the hub; None is the newest.
    local_files_only : bool, default=False
        Look for a hub model in the local cache only, without network access.
    sampling_rate : int, default=16000
        Sampling rate in Hz of bare waveforms. Files and ``(waveform, sampling_rate)`` pairs bring
        their own.
    batch_size : int, default=8
        Windows that go through the network at once, from any clips. If padding would change a
        network's results, each batch holds windows of equal length.
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
        **LayeredExtractor._parameter_constraints,
        "model": [str, os.PathLike],
        "layers": ["array-like", Integral, StrOptions({"all"})],
        "pooling": ["array-like", StrOptions(set(MASKED_STATISTICS))],
        "window": [Interval(Real, 0, None, closed="neither"), None],
        "hop": [Interval(Real, 0, None, closed="neither"), None],
        "dtype": [StrOptions({"auto", "float32", "float16", "bfloat16"})],
        "revision": [str, None],
        "local_files_only": ["boolean"],
    }
    _runtime_parameters = LayeredExtractor._runtime_parameters | {"local_files_only"}

    def __init__(
        self,
        model: PathLike = "openai/whisper-base",
        *,
        layers: Literal["all"] | int | tuple[int, ...] = "all",
        pooling: str | tuple[str, ...] = "mean",
        window: float | None = None,
        hop: float | None = None,
        level: float | None = DEFAULT_LEVEL,
        max_duration: float | None = None,
        dtype: Literal["auto", "float32", "float16", "bfloat16"] = "auto",
        revision: str | None = None,
        local_files_only: bool = False,
        sampling_rate: int = SAMPLING_RATE,
        batch_size: int = 8,
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
        return Source(os.fspath(self.model), self.revision, bool(self.local_files_only))

    def _family(self):
        """How the model takes audio and gives features; does not read its weights."""
        return open_model(self._source(), state_of(self.model))

    def _is_here(self):
        return state_of(self.model) is not None

    def _layers(self):
        return choose_layers(self.layers, len(self._family().widths))

    def _embed_clips(self, clips, results, *, pooled):
        self._layers()
        self._window_and_hop()
        super()._embed_clips(clips, results, pooled=pooled)

    def _compute_here(self, clips, todo, pooled, remarks):
        # Here and not around the network, which runs in several threads: warning filters belong to
        # the whole process, and threads that set and restore them would interfere.
        with without_warnings():
            yield from super()._compute_here(clips, todo, pooled, remarks)

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
        return network_id(self._source(), state_of(self.model), self._family().commit)

    def _auto_precision(self, device):
        return "float16" if device.type == "cuda" else "float32"

    def _precision(self):
        precision = super()._precision()
        # What was fitted on a GPU; on a CPU, float16 takes many times as long as single precision.
        wide = self.dtype == "auto" and precision == "float16" and self._device().type == "cpu"
        return "float32" if wide else precision

    def _load_network(self, device):
        with quiet(self.verbose), explained(self._source()):
            network = self._family().load(self._source())
        if device.type == "cpu":
            _keep_grouped_convolutions_single(network)
        return network.to(device).eval()

    def _cut_at(self, waveforms, starts, device):
        """Pieces of waveforms, and where each begins in its clip, in samples."""
        pieces = [self._family().lengthen(piece) for piece in self._pieces(waveforms, starts)]
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
            with torch.inference_mode(), _autocast(self._precision(), parameter.device):
                states = family.states(network(**inputs, output_hidden_states=True))
            mask = mask.to(parameter.device)
            features[batch] = self._features_of(states, mask).cpu().numpy()
        return features

    def _widths(self):
        return self._family().widths

    def _prefix(self):
        return self._family().name


def _autocast(dtype, device):
    import torch

    if dtype == "float32":
        return contextlib.nullcontext()
    return torch.autocast(device.type, dtype=getattr(torch, dtype))


def _keep_grouped_convolutions_single(network):
    """Let convolutions in groups compute in single precision, whatever the rest does.

    On a CPU with AMX, torch 2.13's are wrong in bfloat16 and take minutes in float16.
    """
    import torch

    def single(forward, x):
        with torch.autocast("cpu", enabled=False):
            return forward(x.float())

    for module in network.modules():
        if isinstance(module, torch.nn.Conv1d | torch.nn.Conv2d) and module.groups > 1:
            module.forward = functools.partial(single, module.forward)
