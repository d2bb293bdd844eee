"""A convolutional network on log mel spectrograms, trained from scratch on a few blended clips."""

from collections.abc import Callable
from numbers import Integral, Real
from typing import Literal

from scipy.special import softmax

from skspeech._docs import shared
from skspeech._sklearn import Interval, StrOptions
from skspeech._spectrogram import check_bands, check_limits
from skspeech._typing import Device, RandomState
from skspeech.audio import SAMPLING_RATE
from skspeech.estimators.convolutional.batch import spectrograms_of
from skspeech.estimators.convolutional.network import CropNetwork
from skspeech.estimators.convolutional.run import Run
from skspeech.estimators.convolutional.start import log_start
from skspeech.estimators.training.base import PARAGRAPHS, TrainedClassifier, check_sizes

__all__ = ["MixupCNNClassifier"]


@shared(**PARAGRAPHS)
class MixupCNNClassifier(TrainedClassifier):
    """Classify clips by a convolutional network on log mel spectrograms.

    The network is trained from scratch on the clips in `fit`. It sees random crops of them, blended
    in pairs, with bands and frames masked, and voices and speeds changed, so that a few hundred
    clips suffice for thousands of batches. In prediction it sees evenly spaced crops of the clip,
    always the same ones, and its probabilities are averaged.

    The first snapshot comes before the network: a discriminant analysis of each band's mean and
    standard deviation over the clip. The final probabilities are a weighted geometric mean of both;
    the held-out clips determine the weights.

    Parameters
    ----------
    n_mels : int, default=64
        Number of mel bands.
    n_fft : int, default=1024
        Samples of a frame.
    hop_length : int, default=256
        Samples between frames.
    fmin : float, default=20.0
        Lower edge of the lowest band, in Hz.
    fmax : float, default=8000.0
        Upper edge of the highest band, in Hz.
    normalization : {"bands", "clips"}, default="bands"
        ``"bands"`` brings each band to zero mean and unit variance over all training clips, and
        keeps differences in level and channel between clips. ``"clips"`` standardizes each clip
        by itself.
    crop_frames : int or "auto", default="auto"
        Frames that the network sees at once. Shorter clips are repeated. ``"auto"`` is as long as
        nine of ten training clips, but at least 32 and at most 128.
    n_crops : int, default=5
        Crops of each clip whose probabilities are averaged in prediction.
    n_filters : tuple of int, default=(24, 32, 64, 128)
        Filters of the convolution of each block.
    stem : bool, default=True
        Whether the first block is a 5 x 5 convolution with stride 2 instead of a 3 x 3 convolution
        with pooling. It takes a third of the time.
    batch_norm : {"before", "after"}, default="before"
        Whether batches are normalized before the activation or after it.
    head : {"bands", "pooled", "flatten"}, default="bands"
        What follows the last block. ``"bands"``: mean and maximum over time of each filter in each
        band. ``"pooled"``: mean and maximum of each filter over time and bands. ``"flatten"``:
        everything, and a layer of 64 units.
    dropout : float, default=0.3
        Share of the head's units that are left out in training.
    mixup : float, default=0.2
        Clips are blended with a share from the distribution Beta(mixup, mixup); 0 blends none.
    label_smoothing : float, default=0.1
        Share of the labels' probability that is spread over all classes.
    frequency_mask : int, default=12
        Most bands that are masked at once.
    time_mask : int, default=16
        Most frames that are masked at once, but never more than half of a crop.
    mask_probability : float, default=0.5
        Probability of each of the masks.
    frequency_warp : float, default=0.1
        Frequencies are multiplied or divided by a factor of up to e to the power of this, as if the
        voice were another one.
    time_warp : float, default=0.1
        The same for speed.
    balanced : bool, default=True
        Whether clips of all classes are drawn equally often.
    optimizer : {"adamw", "sgd"}, default="adamw"
        ``"sgd"`` has a momentum of 0.9.
    learning_rate : float, default=5e-3
        The highest learning rate.
    schedule : {"one_cycle", "constant"}, default="one_cycle"
        ``"one_cycle"``: the learning rate rises, and then falls to zero at the end of `max_epochs`
        or `max_time`, whatever comes first.
    weight_decay : float, default=0.02
        Share of the weights that is subtracted, times the learning rate.
    batch_size : int, default=16
        Crops of a batch.
    max_epochs : int, default=200
        Passes over the training clips, or over 2048 of them if there are more.
    patience : int or None, default=None
        Stop after this many epochs in which the network's loss on the held-out clips did not fall.
    refit : bool, default=True
        Whether the last quarter of the time trains on the held-out clips, too. The clips of `X_val`
        are never trained on.
    {limits}
    level : float or None, default=None
        {level}
    {running}

    Attributes
    ----------
    {fitted}
        Here, `network` is ``"start"``, ``"cnn"`` or ``"refit"``. `valid_loss` and `valid_score` are
        those of the geometric mean, and `network_score` is the score of the network alone; NaN
        where the held-out clips do not judge.
    start_ : sklearn.pipeline.Pipeline
        The discriminant analysis of the bands' statistics.
    weights_ : list of ndarray, or None
        Weights of the network; None where there was no time for one.
    blend_ : ndarray of shape (2,)
        Weights of the network and of `start_` in the geometric mean.
    crop_frames_ : int
        Frames that the network sees at once.
    band_mean_ : ndarray of shape (n_mels,)
        Mean of each band, in decibels or, with ``normalization="clips"``, standard deviations.
    band_scale_ : ndarray of shape (n_mels,)
        Standard deviation of each band.

    See Also
    --------
    SpeakerEmbeddingClassifier : A linear model on a pretrained network, in seconds.

    Notes
    -----
    The entry of 2019 started from weights trained on another data set, and used these settings:
    ``hop_length=512, normalization="clips", crop_frames=64, n_crops=10, n_filters=(64,) * 5,
    stem=False, batch_norm="after", head="flatten", dropout=0.5, label_smoothing=0, time_mask=0,
    frequency_warp=0, time_warp=0, balanced=False, optimizer="sgd", learning_rate=0.01,
    schedule="constant", weight_decay=0, batch_size=32, refit=False, max_duration=5``.

    References
    ----------
    Zhang, H., Cisse, M., Dauphin, Y. N. and Lopez-Paz, D. (2018). mixup: Beyond empirical risk
    minimization. ICLR. https://arxiv.org/abs/1710.09412

    Park, D. S. et al. (2019). SpecAugment: A simple data augmentation method for automatic speech
    recognition. Interspeech. https://arxiv.org/abs/1904.08779

    Jaitly, N. and Hinton, G. E. (2013). Vocal tract length perturbation (VTLP) improves speech
    recognition. ICML Workshop on Deep Learning for Audio, Speech and Language.

    Examples
    --------
    >>> from skspeech import MixupCNNClassifier
    >>> from skspeech.datasets import make_tones
    >>> clips = make_tones(n_samples=24, n_classes=2, duration=0.3, random_state=0)
    >>> clf = MixupCNNClassifier(n_filters=(8, 8), max_epochs=3, random_state=0)
    >>> clf.fit(clips.data, clips.target).score(clips.data, clips.target)
    1.0
    """

    _parameter_constraints: dict = {
        **TrainedClassifier._parameter_constraints,
        "n_mels": [Interval(Integral, 1, None, closed="left")],
        "n_fft": [Interval(Integral, 2, None, closed="left")],
        "hop_length": [Interval(Integral, 1, None, closed="left")],
        "fmin": [Interval(Real, 0, None, closed="left")],
        "fmax": [Interval(Real, 0, SAMPLING_RATE / 2, closed="right")],
        "normalization": [StrOptions({"bands", "clips"})],
        "crop_frames": [Interval(Integral, 1, None, closed="left"), StrOptions({"auto"})],
        "n_crops": [Interval(Integral, 1, None, closed="left")],
        "n_filters": [tuple, list],
        "stem": ["boolean"],
        "batch_norm": [StrOptions({"before", "after"})],
        "head": [StrOptions({"bands", "pooled", "flatten"})],
        "dropout": [Interval(Real, 0, 1, closed="left")],
        "mixup": [Interval(Real, 0, None, closed="left")],
        "label_smoothing": [Interval(Real, 0, 1, closed="left")],
        "frequency_mask": [Interval(Integral, 0, None, closed="left")],
        "time_mask": [Interval(Integral, 0, None, closed="left")],
        "mask_probability": [Interval(Real, 0, 1, closed="both")],
        "frequency_warp": [Interval(Real, 0, 1, closed="both")],
        "time_warp": [Interval(Real, 0, 1, closed="both")],
        "balanced": ["boolean"],
        "optimizer": [StrOptions({"adamw", "sgd"})],
        "learning_rate": [Interval(Real, 0, None, closed="neither")],
        "schedule": [StrOptions({"one_cycle", "constant"})],
        "weight_decay": [Interval(Real, 0, None, closed="left")],
        "patience": [Interval(Integral, 1, None, closed="left"), None],
        "refit": ["boolean"],
    }

    def __init__(
        self,
        *,
        n_mels: int = 64,
        n_fft: int = 1024,
        hop_length: int = 256,
        fmin: float = 20.0,
        fmax: float = 8000.0,
        normalization: Literal["bands", "clips"] = "bands",
        crop_frames: int | Literal["auto"] = "auto",
        n_crops: int = 5,
        n_filters: tuple[int, ...] = (24, 32, 64, 128),
        stem: bool = True,
        batch_norm: Literal["before", "after"] = "before",
        head: Literal["bands", "pooled", "flatten"] = "bands",
        dropout: float = 0.3,
        mixup: float = 0.2,
        label_smoothing: float = 0.1,
        frequency_mask: int = 12,
        time_mask: int = 16,
        mask_probability: float = 0.5,
        frequency_warp: float = 0.1,
        time_warp: float = 0.1,
        balanced: bool = True,
        optimizer: Literal["adamw", "sgd"] = "adamw",
        learning_rate: float = 5e-3,
        schedule: Literal["one_cycle", "constant"] = "one_cycle",
        weight_decay: float = 0.02,
        batch_size: int = 16,
        max_epochs: int = 200,
        patience: int | None = None,
        refit: bool = True,
        validation_fraction: float = 0.2,
        max_time: float | None = None,
        level: float | None = None,
        max_duration: float | None = 30.0,
        sampling_rate: int = SAMPLING_RATE,
        device: Device = "auto",
        n_jobs: int | None = None,
        errors: Literal["raise", "warn"] = "raise",
        warm_start: bool = False,
        callbacks: Callable | list[Callable] | None = None,
        random_state: RandomState = None,
        verbose: int = 0,
    ) -> None:
        self.n_mels = n_mels
        self.n_fft = n_fft
        self.hop_length = hop_length
        self.fmin = fmin
        self.fmax = fmax
        self.normalization = normalization
        self.crop_frames = crop_frames
        self.n_crops = n_crops
        self.n_filters = n_filters
        self.stem = stem
        self.batch_norm = batch_norm
        self.head = head
        self.dropout = dropout
        self.mixup = mixup
        self.label_smoothing = label_smoothing
        self.frequency_mask = frequency_mask
        self.time_mask = time_mask
        self.mask_probability = mask_probability
        self.frequency_warp = frequency_warp
        self.time_warp = time_warp
        self.balanced = balanced
        self.optimizer = optimizer
        self.learning_rate = learning_rate
        self.schedule = schedule
        self.weight_decay = weight_decay
        self.batch_size = batch_size
        self.max_epochs = max_epochs
        self.patience = patience
        self.refit = refit
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
        advice = "Give a tuple with a number of filters for each block, such as (24, 32, 64, 128)."
        check_sizes("n_filters", self.n_filters, advice)
        check_limits(self.fmin, self.fmax)
        check_bands(self.n_mels, self.n_fft, fmin=self.fmin, fmax=self.fmax)

    def _train(self, data):
        run = Run(self, data)
        yield from run.start()
        yield from run.fit_network()

    def _predict_waveforms(self, waveforms):
        spectrograms = spectrograms_of(self, waveforms)
        scores = self.blend_[1] * log_start(self.start_, spectrograms)
        if self.weights_ is not None:
            scores += self.blend_[0] * self._log_network(self.weights_, spectrograms)
        return softmax(scores, axis=1)

    def _log_network(self, weights, spectrograms):
        """Logarithms of the network's probabilities with these weights, (n_clips, n_classes)."""
        if "network" not in self._live:
            self._live["network"] = CropNetwork(self)
        return self._live["network"].log_probas(self, weights, spectrograms)
