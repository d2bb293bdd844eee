"""Features from a speaker-recognition network."""

import numpy as np

from skspeech._sklearn import StrOptions
from skspeech._spectrogram import MelSpectrogram
from skspeech.audio import SAMPLING_RATE
from skspeech.transformers._base import STATISTICS, BaseExtractor
from skspeech.weights import load_weights, weights_key

__all__ = ["SpeakerEmbedding"]

_N_UNITS = 256
_LSTM_LAYERS = (1, 2, 3)
# Quieter clips are raised to this level, as in the training of the network; louder ones stay as
# they are.
_TARGET_DBFS = -30.0


class SpeakerEmbedding(BaseExtractor):
    """Embed clips with a network that was trained to tell speakers apart (GE2E).

    The network is three LSTM layers over 1.6 s windows. Its output, ``layers="embedding"``, knows
    who speaks; the hidden layers below know more of emotion, language and words.

    Parameters
    ----------
    model : {"ge2e"}, default="ge2e"
        The pretrained network: Resemblyzer's.
    layers : {"all", "embedding"}, int or tuple of these, default="all"
        What to read: 1, 2 and 3 are the LSTM layers, ``"embedding"`` the network's output,
        ``"all"`` everything.
    pooling : {"mean", "std", "last", "max"} or tuple of these, default=("mean", "std")
        Statistics of the LSTM layers over the frames of a window. Over the windows of a clip, all
        are averaged, except ``"max"``, of which the largest is taken. The embedding is averaged and
        brought to unit length.
    window : float, default=1.6
        Seconds that the network sees at once. It was trained on 1.6. Clips that are shorter are
        repeated to fill it.
    hop : float, default=0.8
        Seconds between the starts of windows. The last window ends with the clip.
    max_duration : float or None, default=None
        Read only this many seconds of each clip; None reads all of it.
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

    Weights: Resemblyzer, https://github.com/resemble-ai/Resemblyzer (Apache 2.0).

    Examples
    --------
    >>> from skspeech import SpeakerEmbedding
    >>> from skspeech.datasets import make_speech_like
    >>> clips = make_speech_like(n_samples=4, random_state=0).data
    >>> SpeakerEmbedding().fit_transform(clips).shape  # doctest: +SKIP
    (4, 1792)
    """

    _spectrogram = MelSpectrogram(n_fft=400, hop_length=160, n_mels=40)

    _parameter_constraints: dict = {
        **BaseExtractor._parameter_constraints,
        "model": [StrOptions({"ge2e"})],
        "layers": ["array-like", int, StrOptions({"embedding", "all"})],
        "pooling": ["array-like", StrOptions(set(STATISTICS))],
    }

    def __init__(
        self,
        model="ge2e",
        *,
        layers="all",
        pooling=("mean", "std"),
        window=1.6,
        hop=0.8,
        max_duration=None,
        sampling_rate=SAMPLING_RATE,
        batch_size=64,
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

    def _layers(self):
        every = (*_LSTM_LAYERS, "embedding")
        return choose("layers", every if self.layers == "all" else self.layers, every)

    def _statistics(self):
        return choose("pooling", self.pooling, STATISTICS)

    def _network_id(self):
        return weights_key(self.model)

    def _load_network(self, device):
        from skspeech.transformers.networks.ge2e import GE2E

        network = GE2E()
        network.load_state_dict(load_weights(self.model))
        return network.to(device).eval()

    def _frames_per_window(self):
        return max(1, round(self.window * SAMPLING_RATE / self._spectrogram.hop_length))

    def _prepare(self, waveform):
        return raise_volume(waveform, _TARGET_DBFS)

    def _forward(self, network, mel):
        import torch

        states = network.hidden_states(mel)
        blocks = []
        for layer in self._layers():
            if layer == "embedding":
                blocks.append(network.project(states[-1][:, -1]))
            else:
                blocks.extend(time_statistics(states[layer - 1], self._statistics()))
        return torch.cat(blocks, dim=1)

    def _pool(self, windows):
        pooled = windows.mean(axis=0)
        for begin, block in enumerate(self._blocks()):
            columns = slice(begin * _N_UNITS, (begin + 1) * _N_UNITS)
            if block == "embedding":
                pooled[columns] /= max(np.linalg.norm(pooled[columns]), 1e-12)
            elif block.endswith("max"):
                pooled[columns] = windows[:, columns].max(axis=0)
        return pooled

    def _blocks(self):
        """Names of the blocks of columns, each as wide as a layer."""
        blocks = []
        for layer in self._layers():
            if layer == "embedding":
                blocks.append("embedding")
            else:
                blocks.extend(f"lstm{layer}_{statistic}" for statistic in self._statistics())
        return blocks

    def _feature_names(self):
        return [f"{self.model}_{block}_{i}" for block in self._blocks() for i in range(_N_UNITS)]


def choose(name, value, accepted):
    """The entries of a parameter that takes one or several of `accepted`, as a tuple."""
    chosen = (value,) if isinstance(value, (str, int)) else tuple(value)
    if (
        not chosen
        or any(entry not in accepted for entry in chosen)
        or len(set(chosen)) < len(chosen)
    ):
        options = ", ".join(map(repr, accepted))
        raise ValueError(
            f"{name}={value!r} is not accepted. Use one or several of {options}, each once."
        )
    return chosen


def raise_volume(waveform, target_dbfs):
    """Amplify a waveform whose root mean square is below `target_dbfs`; silence stays silence."""
    level = float(np.sqrt(np.mean(np.square(waveform, dtype=np.float64))))
    target = 10 ** (target_dbfs / 20)
    if level == 0 or level >= target:
        return waveform
    return waveform * np.float32(target / level)


def time_statistics(states, statistics):
    """Statistics over the frames of (n, n_frames, n_units): a list of (n, n_units)."""
    compute = {
        "mean": lambda: states.mean(dim=1),
        "std": lambda: states.std(dim=1, correction=0),
        "last": lambda: states[:, -1],
        "max": lambda: states.amax(dim=1),
    }
    return [compute[statistic]() for statistic in statistics]
