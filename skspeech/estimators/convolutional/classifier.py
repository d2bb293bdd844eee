"""A convolutional network on log mel spectrograms, trained from scratch on a few blended clips."""

import math
import sys
import warnings
from numbers import Integral, Real

import numpy as np
from scipy.special import log_softmax, softmax
from sklearn.pipeline import make_pipeline

from skspeech._device import resolve_device
from skspeech._docs import shared
from skspeech._sklearn import Interval, StrOptions
from skspeech._spectrogram import mel_filter_bank
from skspeech.audio import SAMPLING_RATE
from skspeech.ensemble.scoring import balanced_accuracy
from skspeech.estimators.convolutional.batch import Examples, draw_batch, standardized_crops
from skspeech.estimators.convolutional.blending import calibrated, fit_blend, loss_error
from skspeech.estimators.convolutional.network import (
    Schedule,
    build_network,
    make_optimizer,
)
from skspeech.estimators.discriminant import ShrinkageDiscriminantAnalysis
from skspeech.estimators.training import batches
from skspeech.estimators.training.balanced import balanced_draw, balanced_log_loss
from skspeech.estimators.training.base import PARAGRAPHS, TrainedClassifier
from skspeech.estimators.training.keras import device_scope, import_keras, seeded
from skspeech.estimators.training.spectrograms import log_mel
from skspeech.transformers.scaling import ClippedStandardScaler

__all__ = ["MixupCNNClassifier"]

# With crop_frames="auto", crops are as long as most clips, within these limits, in steps.
_MIN_CROP, _MAX_CROP, _CROP_STEP, _CROP_PERCENTILE = 32, 128, 16, 90
# Most clips drawn for one epoch; from a larger training set, only a part is drawn.
_MAX_DRAWS = 2048
# How often the network is validated in the course of a schedule.
_N_JUDGEMENTS = 20
_UNJUDGED = {"valid_loss": np.nan, "valid_score": np.nan, "network_score": np.nan}
# Share of the epochs and of the time that trains on the held-out clips, too.
_REFIT = 0.25
# Below these, tracing a graph takes longer than it saves.
_FEW_STEPS, _FEW_CROPS = 50, 200
# Seconds that loading TensorFlow and tracing the graphs takes; and what the end of training may.
_LOADING_SECONDS, _TRACING_SECONDS, _MARGIN_SECONDS = 6.0, 2.0, 0.3
_PREDICTION_BATCH = 64
# Keeps logarithms of probabilities finite.
_FLOOR = 1e-6
# Weights of network and start in the geometric mean where nothing is held out.
_EQUAL_PARTS = np.array([0.5, 0.5])


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
    validation_fraction : float, default=0.2
        Share of the clips that is held out.
    max_time : float or None, default=None
        Seconds for training.
    level : float or None, default=None
        {level}
    {clips}
    warm_start : bool, default=False
        Whether `fit` continues from the weights of the last fit.
    {running}

    Attributes
    ----------
    classes_ : ndarray of shape (n_classes,)
        The class labels.
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
    history_ : list of dict
        For each epoch its number, the seconds since the start, which `network` was trained
        (``"start"``, ``"cnn"`` or ``"refit"``), and its `train_loss`. Where the held-out clips
        judged, their `valid_loss` and `valid_score` (balanced accuracy) for the geometric mean, and
        their `network_score` for the network alone; NaN elsewhere.
    {fitted}

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
        "batch_size": [Interval(Integral, 1, None, closed="left")],
        "max_epochs": [Interval(Integral, 1, None, closed="left")],
        "patience": [Interval(Integral, 1, None, closed="left"), None],
        "refit": ["boolean"],
    }

    def __init__(
        self,
        *,
        n_mels=64,
        n_fft=1024,
        hop_length=256,
        fmin=20.0,
        fmax=8000.0,
        normalization="bands",
        crop_frames="auto",
        n_crops=5,
        n_filters=(24, 32, 64, 128),
        stem=True,
        batch_norm="before",
        head="bands",
        dropout=0.3,
        mixup=0.2,
        label_smoothing=0.1,
        frequency_mask=12,
        time_mask=16,
        mask_probability=0.5,
        frequency_warp=0.1,
        time_warp=0.1,
        balanced=True,
        optimizer="adamw",
        learning_rate=5e-3,
        schedule="one_cycle",
        weight_decay=0.02,
        batch_size=16,
        max_epochs=200,
        patience=None,
        refit=True,
        validation_fraction=0.2,
        max_time=None,
        level=None,
        max_duration=30.0,
        sampling_rate=SAMPLING_RATE,
        device="auto",
        n_jobs=None,
        errors="raise",
        warm_start=False,
        callbacks=None,
        random_state=None,
        verbose=0,
    ):
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
        if not self.n_filters or not all(isinstance(n, Integral) and n > 0 for n in self.n_filters):
            raise ValueError(
                f"n_filters={self.n_filters!r} is not accepted. Give a tuple with a number of "
                "filters for each block, such as (24, 32, 64, 128)."
            )
        if self.fmin >= self.fmax:
            raise ValueError(
                f"fmin={self.fmin!r} is not below fmax={self.fmax!r}: they are the edges of the "
                "lowest and of the highest band in Hz."
            )
        filters = mel_filter_bank(
            SAMPLING_RATE, self.n_fft, self.n_mels, fmin=self.fmin, fmax=self.fmax
        )
        if not filters.any(axis=1).all():
            raise ValueError(
                f"n_mels={self.n_mels!r} is too many for n_fft={self.n_fft!r}: some bands are "
                "narrower than the spectrum's resolution and would always be empty. Use fewer "
                "bands or longer frames."
            )

    def _train(self, data):
        train, valid = (self._examples(*clips) for clips in (data.train, data.valid))
        if not self._starts_warm:
            self.band_mean_, self.band_scale_ = train.spectrograms.band_moments()
            self.crop_frames_ = self._choose_crop(train.spectrograms.counts)
            self.weights_ = None
        self._fit_start(train)
        self.blend_ = np.array([0.0, 1.0])
        log_start = self._log_start(valid.spectrograms)
        self._record(
            network="start",
            train_loss=np.nan,
            valid_loss=balanced_log_loss(valid.codes, log_start),
            valid_score=balanced_accuracy(log_start, valid.codes),
            network_score=np.nan,
        )
        yield
        refits = self.refit and data.judges == "held out"
        if self._time_left() < _seconds_to_get_ready():
            if refits:
                self._fit_start(train.joined(valid))
                yield
            return
        import_keras()
        seed = data.rng.randint(2**31)
        network = self._make_network(seed)
        n_steps = max(1, self.max_epochs * self._n_draws(train) // self.batch_size)
        network.compile(
            make_optimizer(self.optimizer, self.weight_decay),
            loss="categorical_crossentropy",
            run_eagerly=n_steps < _FEW_STEPS,
        )
        if self.weights_ is not None:
            self._check_shapes(network)
            network.set_weights(self.weights_)
        share = _REFIT if refits else 0.0
        blends = data.judges != "training"
        yield from self._fit_network(network, train, valid, blends, 1 - share, data.rng)
        if refits and self.weights_ is not None:
            self._refit(network, train.joined(valid), share, data.rng)
            yield

    def _fit_network(self, network, train, valid, blends, share, rng):
        """Train, keep the weights that do best on the validation clips, and yield each time."""
        log_start = self._log_start(valid.spectrograms)
        schedule = self._make_schedule(share, train)
        best_loss, epochs_since_best, next_judgement = np.inf, 0, 0.0
        while schedule.progress < 1:
            row = {"train_loss": self._train_epoch(network, train, schedule, rng)}
            epochs_since_best += 1
            is_last = schedule.progress >= 1 or epochs_since_best == self.patience
            if not (is_last or schedule.progress >= next_judgement):
                self._record(network="cnn", **row, **_UNJUDGED)
                continue
            next_judgement = schedule.progress + 1 / _N_JUDGEMENTS
            weights = network.get_weights()
            log_network = self._log_network(weights, valid.spectrograms)
            blend = fit_blend(log_network, log_start, valid.codes) if blends else _EQUAL_PARTS
            blended = log_softmax(blend[0] * log_network + blend[1] * log_start, axis=1)
            self._record(
                network="cnn",
                **row,
                valid_loss=balanced_log_loss(valid.codes, blended),
                valid_score=balanced_accuracy(blended, valid.codes),
                network_score=balanced_accuracy(log_network, valid.codes),
            )
            # The network's own loss: a blend with a faultless start would hide it.
            log_probas = calibrated(log_network, valid.codes)
            loss = balanced_log_loss(valid.codes, log_probas)
            error = loss_error(valid.codes, log_probas)
            improved = loss < best_loss
            if improved:
                best_loss, epochs_since_best = loss, 0
            # A lower learning rate gives better weights, so later ones are taken unless the
            # held-out clips show that they are worse.
            if improved or (loss < best_loss + error and self.schedule == "one_cycle"):
                self.weights_, self.blend_ = weights, blend
                yield
            if is_last and not improved:
                return

    def _refit(self, network, examples, share, rng):
        """Continue training from the best weights, on all clips."""
        network.set_weights(self.weights_)
        schedule = self._make_schedule(share, examples)
        while schedule.progress < 1:
            loss = self._train_epoch(network, examples, schedule, rng)
            self._record(network="refit", train_loss=loss, **_UNJUDGED)
        if schedule.step:
            self.weights_ = network.get_weights()
        self._fit_start(examples)

    def _examples(self, waveforms, codes):
        return Examples(self._spectrograms(waveforms), codes)

    def _spectrograms(self, waveforms):
        spectrograms = log_mel(
            waveforms,
            n_fft=self.n_fft,
            hop_length=self.hop_length,
            n_mels=self.n_mels,
            fmin=self.fmin,
            fmax=self.fmax,
            device=resolve_device(self.device),
        )
        if self.normalization == "clips":
            spectrograms = spectrograms.clips_standardized()
        return spectrograms

    def _choose_crop(self, counts):
        if self.crop_frames != "auto":
            return int(self.crop_frames)
        n_frames = np.percentile(counts, _CROP_PERCENTILE)
        n_frames = math.ceil(n_frames / _CROP_STEP) * _CROP_STEP
        return int(np.clip(n_frames, _MIN_CROP, _MAX_CROP))

    def _fit_start(self, examples):
        start = make_pipeline(ClippedStandardScaler(), ShrinkageDiscriminantAnalysis())
        with warnings.catch_warnings():
            # `fit` has already warned of many classes with few clips.
            warnings.filterwarnings("ignore", "The number of unique classes is greater")
            self.start_ = start.fit(_features(examples.spectrograms), examples.codes)

    def _make_network(self, seed):
        with seeded(seed), device_scope(self.device):
            return build_network(
                self.crop_frames_,
                self.n_mels,
                len(self.classes_),
                n_filters=self.n_filters,
                stem=self.stem,
                batch_norm=self.batch_norm,
                head=self.head,
                dropout=self.dropout,
            )

    def _check_shapes(self, network):
        if [w.shape for w in network.get_weights()] != [w.shape for w in self.weights_]:
            raise ValueError(
                "warm_start=True goes on with a network, but parameters that shape it, such as "
                f"n_filters={self.n_filters!r}, have changed. Set them back, or use "
                "warm_start=False."
            )

    def _n_draws(self, examples):
        """Crops of an epoch: whole batches."""
        n_draws = min(len(examples.codes), _MAX_DRAWS)
        return math.ceil(n_draws / self.batch_size) * self.batch_size

    def _make_schedule(self, share, examples):
        """The schedule for a share of the epochs and of the remaining time."""
        n_steps = (
            max(1, round(share * self.max_epochs)) * self._n_draws(examples) // self.batch_size
        )
        # The last part may use all the time.
        seconds = self._time_left() - _MARGIN_SECONDS
        seconds *= share if share > _REFIT else 1.0
        return Schedule(n_steps, seconds, self.learning_rate, self.schedule)

    def _train_epoch(self, network, examples, schedule, rng):
        codes = examples.codes if self.balanced else np.zeros_like(examples.codes)
        rows = balanced_draw(codes, self._n_draws(examples), rng)
        network.reset_metrics()
        with device_scope(self.device):
            for chosen in np.split(rows, len(rows) // self.batch_size):
                network.optimizer.learning_rate = schedule.learning_rate
                loss = network.train_on_batch(*draw_batch(self, examples, chosen, rng))
                schedule.step += 1
                if schedule.progress >= 1:
                    break
        return float(loss)  # its mean over the epoch

    # Prediction

    def _predict_waveforms(self, waveforms):
        spectrograms = self._spectrograms(waveforms)
        scores = self.blend_[1] * self._log_start(spectrograms)
        if self.weights_ is not None:
            scores += self.blend_[0] * self._log_network(self.weights_, spectrograms)
        return softmax(scores, axis=1)

    def _log_start(self, spectrograms):
        return np.log(np.maximum(self.start_.predict_proba(_features(spectrograms)), _FLOOR))

    def _log_network(self, weights, spectrograms):
        """Logarithm of the network's probabilities, averaged over the crops of each clip."""
        clips, offsets = batches.spaced_crops(spectrograms.counts, self.crop_frames_, self.n_crops)
        network = self._network_with(weights)
        # Small inputs are not worth tracing a graph, which others may have done already.
        eager = len(clips) < _FEW_CROPS and "traced" not in self._live
        parts = []
        with device_scope(self.device):
            for begin in range(0, len(clips), _PREDICTION_BATCH):
                part = slice(begin, begin + _PREDICTION_BATCH)
                x = standardized_crops(self, spectrograms, clips[part], offsets[part])
                parts.append(np.asarray(network(x) if eager else network.predict_on_batch(x)))
        if not eager:
            self._live["traced"] = True
        begins = np.searchsorted(clips, np.arange(len(spectrograms.counts)))
        sums = np.add.reduceat(np.concatenate(parts), begins, axis=0, dtype=np.float64)
        return np.log(np.maximum(sums / sums.sum(axis=1, keepdims=True), _FLOOR))

    def _network_with(self, weights):
        """The network for predictions, with these weights."""
        if "network" not in self._live:
            import_keras()
            self._live["network"] = self._make_network(0)
        if self._live.get("weights") is not weights:
            self._live["network"].set_weights(weights)
            self._live["weights"] = weights
        return self._live["network"]


def _features(spectrograms):
    return np.hstack(spectrograms.statistics())


def _seconds_to_get_ready():
    """Seconds to load TensorFlow, unless it is loaded, and to begin."""
    return _TRACING_SECONDS + (0.0 if "tensorflow" in sys.modules else _LOADING_SECONDS)
