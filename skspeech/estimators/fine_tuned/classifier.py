"""Approach 6: a pretrained network that is fine-tuned on the clips."""

import os
from collections.abc import Callable
from numbers import Integral, Real
from typing import Literal

import numpy as np
from scipy.special import softmax

from skspeech._device import resolve_device
from skspeech._docs import shared
from skspeech._sklearn import Interval, StrOptions
from skspeech._threads import within_cores
from skspeech._typing import Device, PathLike, RandomState
from skspeech.audio.level import DEFAULT_LEVEL
from skspeech.estimators.training.base import PARAGRAPHS, TrainedClassifier, check_sizes
from skspeech.transformers.speaker import SpeakerEmbedding
from skspeech.transformers.whisper import WhisperEmbedding
from skspeech.weights import WeightsError

__all__ = ["FineTunedSpeakerClassifier"]


@shared(**PARAGRAPHS)
class FineTunedSpeakerClassifier(TrainedClassifier):
    """Fine-tune a network that was pretrained to recognize speakers, or words, on the clips.

    The features are the mean and standard deviation over time of all the network's layers, and its
    embedding. The first answer comes within seconds: discriminant analysis, in closed form, on the
    features of the pretrained network. From there the network is trained on random crops with
    random augmentation. Its weights are averaged over the last epochs, and its last layer is moved
    half of the way to a new closed-form solution. The prediction is the geometric mean of the first
    answer and the fine-tuned networks; the held-out clips determine the weights.

    If the embedding alone does as well as all layers, the classes differ in who speaks, which the
    network knows already. Then speed and pitch are not changed, and a fine-tuned network is kept
    only if it is right more often; if no held-out clip is wrong, no network is trained.

    Parameters
    ----------
    model : {"ge2e", "resnetse34l", "smart-turn"}, default="ge2e"
        The pretrained network: a speaker network, as in :class:`SpeakerEmbedding`, or the encoder
        of Whisper, as in :class:`WhisperEmbedding`, which has no embedding of who speaks.
    weights : str, path-like or None, default=None
        A file of weights for ``"resnetse34l"``, as in :class:`SpeakerEmbedding`. None is the
        published file.
    hidden_layers : tuple of int, default=()
        Units of hidden layers between the features and the classes; their output is added to that
        of a linear layer, which is always there.
    activation : {"tanh", "relu", "none"}, default="tanh"
        Activation after each hidden layer.
    dropout : float in [0, 1), default=0.3
        Share of the features that are set to zero in training.
    freeze : float in [0, 1] or None, default=None
        Share of the network's parameters, from the input on, that stay as they are. With 1, only
        the head learns. None is 0, but of ``"smart-turn"`` on a CPU 0.71, all below its last layer.
    optimizer : {"adamw", "adam", "sgd"}, default="adamw"
        The optimizer; gradients are clipped to a norm of 1, and ``"sgd"`` has momentum 0.9.
    learning_rate : float or None, default=None
        The largest learning rate of the pretrained network. It rises to it, then falls to zero
        along a cosine by the end of the epochs, or of the time. None is 0.0005, and 0.0001 of
        ``"smart-turn"``.
    head_learning_rate : float, default=0.0002
        The same for the head, which starts from a solution and has less far to go.
    warm_up : int, default=1
        Epochs in which only the head learns.
    class_weight : "balanced", dict or None, default="balanced"
        How much the clips of each class count: all classes the same, as the dictionary says by
        label, or all clips the same.
    crop : float, default=3.0
        Seconds of a clip that the network sees at once.
    n_crops : int, default=4
        Crops, evenly spaced, over which a prediction is averaged where a clip is longer than one.
    augment : bool, default=True
        Whether to change the clips at random in training: level, noise, bands and frames that are
        masked, speed and pitch.
    search : bool, default=False
        Draw settings at random in place of those above, stop three quarters of them early, and
        average the best three: successive halving. The first drawn are those above.
    refit : bool, default=True
        Train one more network, on all clips, after the first was validated on the held-out ones.
        Not done with `X_val`.
    batch_size : int, default=32
        Crops per training step.
    max_epochs : int, default=15
        Passes over the clips, of each network.
    patience : int, default=8
        Stop after this many epochs without improvement: a higher balanced accuracy on held-out
        clips, or the same one with a lower log loss.
    {limits}
    level : float or None, default=-20.0
        {level}
    {running}

    Attributes
    ----------
    {fitted}
        `valid_loss` and `valid_score` are None where a network learns from all clips.
    networks_ : list of dict
        The averaged networks: for each its settings, and its learnt weights as arrays. The first
        one is the first answer.
    frozen_share_ : float
        Weight of the first of them in the mean; the others share the rest.
    temperature_ : float
        What the logarithms of their mean are divided by, so that the held-out clips are neither
        predicted too surely nor, as is usual after training on changed clips, too timidly.

    See Also
    --------
    SpeakerEmbeddingClassifier : The same network, frozen.

    References
    ----------
    Wan, L., Wang, Q., Papir, A. and Moreno, I. L. (2018). Generalized end-to-end loss for speaker
    verification. ICASSP. https://arxiv.org/abs/1710.10467

    Radford, A. et al. (2022). Robust speech recognition via large-scale weak supervision.
    https://arxiv.org/abs/2212.04356

    Park, D. S. et al. (2019). SpecAugment: a simple data augmentation method for automatic speech
    recognition. Interspeech. https://arxiv.org/abs/1904.08779

    Jamieson, K. and Talwalkar, A. (2016). Non-stochastic best arm identification and
    hyperparameter optimization. AISTATS. https://arxiv.org/abs/1502.07943

    Examples
    --------
    >>> from skspeech import FineTunedSpeakerClassifier
    >>> from skspeech.datasets import make_speech_like
    >>> clips = make_speech_like(n_samples=12, random_state=0)
    >>> clf = FineTunedSpeakerClassifier(max_epochs=1, random_state=0)
    >>> clf.fit(clips.data, clips.target).predict(clips.data).shape  # doctest: +SKIP
    (12,)
    """

    _parameter_constraints: dict = {
        **TrainedClassifier._parameter_constraints,
        "model": [StrOptions({"ge2e", "resnetse34l", "smart-turn"})],
        "weights": [str, os.PathLike, None],
        "hidden_layers": ["array-like"],
        "activation": [StrOptions({"tanh", "relu", "none"})],
        "dropout": [Interval(Real, 0, 1, closed="left")],
        "freeze": [Interval(Real, 0, 1, closed="both"), None],
        "optimizer": [StrOptions({"adamw", "adam", "sgd"})],
        "learning_rate": [Interval(Real, 0, None, closed="neither"), None],
        "head_learning_rate": [Interval(Real, 0, None, closed="neither")],
        "warm_up": [Interval(Integral, 0, None, closed="left")],
        "class_weight": [StrOptions({"balanced"}), dict, None],
        "crop": [Interval(Real, 0, None, closed="neither")],
        "n_crops": [Interval(Integral, 1, None, closed="left")],
        "augment": ["boolean"],
        "search": ["boolean"],
        "refit": ["boolean"],
    }

    def __init__(
        self,
        *,
        model: Literal["ge2e", "resnetse34l", "smart-turn"] = "ge2e",
        weights: PathLike | None = None,
        hidden_layers: tuple[int, ...] = (),
        activation: Literal["tanh", "relu", "none"] = "tanh",
        dropout: float = 0.3,
        freeze: float | None = None,
        optimizer: Literal["adamw", "adam", "sgd"] = "adamw",
        learning_rate: float | None = None,
        head_learning_rate: float = 2e-4,
        warm_up: int = 1,
        class_weight: Literal["balanced"] | dict | None = "balanced",
        crop: float = 3.0,
        n_crops: int = 4,
        augment: bool = True,
        search: bool = False,
        refit: bool = True,
        batch_size: int = 32,
        max_epochs: int = 15,
        patience: int = 8,
        validation_fraction: float = 0.2,
        max_time: float | None = None,
        level: float | None = DEFAULT_LEVEL,
        max_duration: float | None = 30.0,
        sampling_rate: int = 16_000,
        device: Device = "auto",
        n_jobs: int | None = None,
        errors: Literal["raise", "warn"] = "raise",
        warm_start: bool = False,
        callbacks: Callable | list[Callable] | None = None,
        random_state: RandomState = None,
        verbose: int = 0,
    ) -> None:
        self.model = model
        self.weights = weights
        self.hidden_layers = hidden_layers
        self.activation = activation
        self.dropout = dropout
        self.freeze = freeze
        self.optimizer = optimizer
        self.learning_rate = learning_rate
        self.head_learning_rate = head_learning_rate
        self.warm_up = warm_up
        self.class_weight = class_weight
        self.crop = crop
        self.n_crops = n_crops
        self.augment = augment
        self.search = search
        self.refit = refit
        self.batch_size = batch_size
        self.max_epochs = max_epochs
        self.patience = patience
        self.validation_fraction = validation_fraction
        self.max_time = max_time
        self.level = level
        self.max_duration = max_duration
        self.sampling_rate = sampling_rate
        self.device = device
        self.n_jobs = n_jobs
        self.errors = errors
        self.warm_start = warm_start
        self.callbacks = callbacks
        self.random_state = random_state
        self.verbose = verbose

    def _validate_params(self):
        super()._validate_params()
        self._extractor()._validate_params()
        if self.weights is not None and self.model == "smart-turn":
            raise ValueError(
                f"weights={self.weights!r} is not accepted with model='smart-turn': only "
                "model='resnetse34l' takes a file of weights. Use weights=None."
            )
        advice = "Give the number of units of each layer, such as (128, 64), or () for none."
        check_sizes("hidden_layers", self.hidden_layers, advice, n_least=0)

    def _extractor(self):
        """What knows the pretrained network: its weights, its spectrogram."""
        if self.model == "smart-turn":
            return WhisperEmbedding(dtype="float32", level=self.level)
        settings = {"weights": self.weights, "level": self.level, "dtype": "float32"}
        return SpeakerEmbedding(self.model, **settings)

    def _weights_name(self):
        return self._extractor()._weights_name()

    def _make_data(self, X, codes, classes, groups, X_val, y_val):
        self._class_weights = _weights_of(classes, self.class_weight)
        return super()._make_data(X, codes, classes, groups, X_val, y_val)

    def _train(self, data):
        from skspeech.estimators.fine_tuned.run import Run
        from skspeech.estimators.fine_tuned.search import search

        run = Run(self, data)
        with within_cores():
            if self._starts_warm:
                run.resume()
            else:
                yield from run.solve_frozen()
            yield from (search(run) if self.search else run.tune())
            if run.refits:
                yield from run.refit()

    def _pretrained(self):
        from torch.random import fork_rng

        extractor = self._extractor()
        key = extractor._network_id()
        if self.__sklearn_is_fitted__() and key != self._weights_key:
            raise WeightsError(
                f"The weights are {key}, but this classifier was fitted with {self._weights_key}. "
                "Give it those it was fitted with, or fit it again, with warm_start=False."
            )
        if "pretrained" not in self._live:
            self._weights_key = key
            with fork_rng([]):  # a new network draws weights, which are replaced at once
                self._live["pretrained"] = extractor._load_network("cpu").state_dict()
        return self._live["pretrained"]

    def _front_end(self):
        from skspeech.estimators.fine_tuned.crops import FrontEnd

        extractor = self._extractor()
        return FrontEnd(
            extractor._spectrogram,
            extractor._fill if self.model == "smart-turn" else extractor._prepare,
            fills=self.model == "resnetse34l",
            n_dropped=int(self.model == "smart-turn"),
        )

    def _keep(self, networks, frozen_share=0.5, temperature=1.0):
        """Predict with these from now on."""
        self.networks_ = networks
        self.frozen_share_ = frozen_share
        self.temperature_ = temperature
        self._live.pop("networks", None)

    @within_cores()
    def _predict_waveforms(self, waveforms):
        from skspeech.estimators.fine_tuned.crops import log_probas

        front_end = self._front_end()
        frozen, *tuned = (
            log_probas(network, waveforms, front_end, kept["choices"]["crop"], self.n_crops)
            for network, kept in zip(self._networks(), self.networks_, strict=True)
        )
        share = self.frozen_share_ if tuned else 1.0
        mean = share * frozen + (1 - share) * np.mean(tuned or [frozen], axis=0)
        return softmax(mean / getattr(self, "temperature_", 1.0), axis=1)  # older pickles have none

    def _networks(self):
        from skspeech.estimators.fine_tuned.training import restore

        device, pretrained = resolve_device(self.device), self._pretrained()
        where, networks = self._live.get("networks", (None, []))
        if where != device:
            networks = [
                restore(kept, self.model, len(self.classes_), pretrained, device)
                for kept in self.networks_
            ]
            self._live["networks"] = device, networks
        return networks

    def __setstate__(self, state):
        # Pickles older than this parameter used this level.
        super().__setstate__({"level": DEFAULT_LEVEL, **state})


def _weights_of(classes, class_weight):
    """The parameter, but a list with a weight for each class in place of a dictionary."""
    if not isinstance(class_weight, dict):
        return class_weight
    missing = [c for c in classes.tolist() if c not in class_weight]
    if missing:
        raise ValueError(f"class_weight has no weight of the classes {missing}.")
    return [class_weight[c] for c in classes.tolist()]
