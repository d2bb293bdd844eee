"""The steps of a fit of `MixupCNNClassifier`: the start, the network, and both on all clips."""

import math
import sys

import numpy as np
from scipy.special import log_softmax

from skspeech.ensemble.scoring import balanced_accuracy
from skspeech.estimators.convolutional.batch import Examples, draw_batch, spectrograms_of
from skspeech.estimators.convolutional.blending import calibrated, fit_blend, loss_error
from skspeech.estimators.convolutional.network import Schedule, make_network, make_optimizer
from skspeech.estimators.convolutional.start import fit_start, log_start
from skspeech.estimators.training.balanced import balanced_draw, balanced_log_loss
from skspeech.estimators.training.keras import device_scope

__all__ = ["Run"]

# With crop_frames="auto", crops are as long as most clips, within these limits, in steps.
_MIN_CROP, _MAX_CROP, _CROP_STEP, _CROP_PERCENTILE = 32, 128, 16, 90
# Most clips drawn for one epoch; from a larger training set, only a part is drawn.
_MAX_DRAWS = 2048
# How often the network is validated in the course of a schedule.
_N_JUDGEMENTS = 20
_UNJUDGED = {"valid_loss": np.nan, "valid_score": np.nan, "network_score": np.nan}
# Share of the epochs and of the time that trains on the held-out clips, too.
_REFIT = 0.25
_FEW_STEPS = 50  # to trace a graph takes longer than to train so many steps without
# Seconds that loading TensorFlow and tracing the graphs takes; and what the end of training may.
_LOADING_SECONDS, _TRACING_SECONDS, _MARGIN_SECONDS = 6.0, 2.0, 0.3
# Weights of network and start in the geometric mean where nothing is held out.
_EQUAL_PARTS = np.array([0.5, 0.5])


class Run:
    """One call of a classifier's `fit`, with a `TrainingData`.

    Its steps are generators, which yield each time the classifier predicts better. They keep the
    classifier's fitted attributes and its `history_` up to date.
    """

    def __init__(self, classifier, data):
        self.classifier = classifier
        self.train, self.valid = (
            Examples(spectrograms_of(classifier, clips.waveforms), clips.codes)
            for clips in (data.train, data.valid)
        )
        self.rng = data.rng
        self.blends = data.judges != "training"
        self.refits = classifier.refit and data.judges == "held out"

    def start(self):
        """Fit the linear model."""
        clf, codes = self.classifier, self.valid.codes
        if not clf._starts_warm:
            clf.band_mean_, clf.band_scale_ = self.train.spectrograms.band_moments()
            clf.crop_frames_ = _crop_frames(clf.crop_frames, self.train.spectrograms.counts)
            clf.weights_ = None
        clf.start_, clf.blend_ = fit_start(self.train), np.array([0.0, 1.0])
        self.log_start = log_start(clf.start_, self.valid.spectrograms)
        clf._record(
            network="start",
            train_loss=np.nan,
            valid_loss=balanced_log_loss(codes, self.log_start),
            valid_score=balanced_accuracy(self.log_start, codes),
            network_score=np.nan,
        )
        yield

    def fit_network(self):
        """Train the network, and then, if it refits, network and start on all clips."""
        clf = self.classifier
        share = _REFIT if self.refits else 0.0
        if clf._time_left() >= _seconds_to_get_ready():
            network = self._make_network()
            yield from self._train(network, 1 - share)
            if clf.weights_ is None:
                return
            if self.refits:
                self._refit(network, share)
        if self.refits:
            clf.start_ = fit_start(self.train.joined(self.valid))
            yield

    def _make_network(self):
        """A network that is ready to be trained; after a warm start, with the weights so far."""
        clf = self.classifier
        network = make_network(clf, self.rng.randint(2**31))
        n_steps = max(1, clf.max_epochs * self._n_draws(self.train) // clf.batch_size)
        network.compile(
            make_optimizer(clf.optimizer, clf.weight_decay),
            loss="categorical_crossentropy",
            run_eagerly=n_steps < _FEW_STEPS,
        )
        if clf.weights_ is not None:
            if [w.shape for w in network.get_weights()] != [w.shape for w in clf.weights_]:
                raise ValueError(
                    "warm_start=True goes on with a network, but parameters that shape it, such as "
                    f"n_filters={clf.n_filters!r}, have changed. Set them back, or use "
                    "warm_start=False."
                )
            network.set_weights(clf.weights_)
        return network

    def _train(self, network, share):
        """Train, keep the weights that do best on the validation clips, and yield each time."""
        clf, codes = self.classifier, self.valid.codes
        schedule = self._make_schedule(share, self.train)
        best_loss, epochs_since_best, next_judgement = np.inf, 0, 0.0
        while schedule.progress < 1:
            row = {"train_loss": self._train_epoch(network, self.train, schedule)}
            epochs_since_best += 1
            is_last = schedule.progress >= 1 or epochs_since_best == clf.patience
            if not (is_last or schedule.progress >= next_judgement):
                clf._record(network="cnn", **row, **_UNJUDGED)
                continue
            next_judgement = schedule.progress + 1 / _N_JUDGEMENTS
            weights = network.get_weights()
            log_network = clf._log_network(weights, self.valid.spectrograms)
            blend = fit_blend(log_network, self.log_start, codes) if self.blends else _EQUAL_PARTS
            blended = log_softmax(blend[0] * log_network + blend[1] * self.log_start, axis=1)
            clf._record(
                network="cnn",
                **row,
                valid_loss=balanced_log_loss(codes, blended),
                valid_score=balanced_accuracy(blended, codes),
                network_score=balanced_accuracy(log_network, codes),
            )
            # The network's own loss: a blend with a faultless start would hide it.
            log_probas = calibrated(log_network, codes)
            loss = balanced_log_loss(codes, log_probas)
            error = loss_error(codes, log_probas)
            improved = loss < best_loss
            if improved:
                best_loss, epochs_since_best = loss, 0
            # A lower learning rate gives better weights, so later ones are taken unless the
            # held-out clips show that they are worse.
            if improved or (loss < best_loss + error and clf.schedule == "one_cycle"):
                clf.weights_, clf.blend_ = weights, blend
                yield
            if is_last and not improved:
                return

    def _refit(self, network, share):
        """Continue training from the best weights, on all clips."""
        clf, examples = self.classifier, self.train.joined(self.valid)
        network.set_weights(clf.weights_)
        schedule = self._make_schedule(share, examples)
        while schedule.progress < 1:
            loss = self._train_epoch(network, examples, schedule)
            clf._record(network="refit", train_loss=loss, **_UNJUDGED)
        if not schedule.step:
            return
        rows = np.arange(len(self.valid.codes))[: clf.batch_size]
        crops, _ = draw_batch(clf, self.valid, rows, self.rng)
        with device_scope(clf.device):
            has_diverged = not np.isfinite(network(crops, training=False)).all()
        if not has_diverged:
            clf.weights_ = network.get_weights()

    def _n_draws(self, examples):
        """Crops of an epoch: whole batches."""
        n_draws, batch_size = min(len(examples.codes), _MAX_DRAWS), self.classifier.batch_size
        return math.ceil(n_draws / batch_size) * batch_size

    def _make_schedule(self, share, examples):
        """The schedule for a share of the epochs and of the remaining time."""
        clf = self.classifier
        n_epochs = max(1, round(share * clf.max_epochs))
        n_steps = n_epochs * self._n_draws(examples) // clf.batch_size
        # The last part may use all the time.
        seconds = clf._time_left() - _MARGIN_SECONDS
        seconds *= share if share > _REFIT else 1.0
        return Schedule(n_steps, seconds, clf.learning_rate, clf.schedule)

    def _train_epoch(self, network, examples, schedule):
        clf = self.classifier
        codes = examples.codes if clf.balanced else np.zeros_like(examples.codes)
        rows = balanced_draw(codes, self._n_draws(examples), self.rng)
        network.reset_metrics()
        with device_scope(clf.device):
            for chosen in np.split(rows, len(rows) // clf.batch_size):
                network.optimizer.learning_rate = schedule.learning_rate
                loss = network.train_on_batch(*draw_batch(clf, examples, chosen, self.rng))
                schedule.step += 1
                if schedule.progress >= 1:
                    break
        return float(loss)  # its mean over the epoch


def _crop_frames(wanted, counts):
    """Length of the crops, from the parameter and the clips' numbers of frames."""
    if wanted != "auto":
        return int(wanted)
    n_frames = np.percentile(counts, _CROP_PERCENTILE)
    n_frames = math.ceil(n_frames / _CROP_STEP) * _CROP_STEP
    return int(np.clip(n_frames, _MIN_CROP, _MAX_CROP))


def _seconds_to_get_ready():
    """Seconds to load TensorFlow, unless it is loaded, and to begin."""
    return _TRACING_SECONDS + (0.0 if "tensorflow" in sys.modules else _LOADING_SECONDS)
