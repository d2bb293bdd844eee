"""The network of `MixupCNNClassifier`, its predictions, and the schedule of its training."""

import math
import time

import numpy as np

from skspeech.estimators.convolutional.batch import standardized_crops
from skspeech.estimators.training.balanced import floored_log
from skspeech.estimators.training.batches import spaced_crops
from skspeech.estimators.training.keras import device_scope, import_keras, seeded

__all__ = ["CropNetwork", "Schedule", "make_network", "make_optimizer"]

_PREDICTION_BATCH = 64
_FEW_CROPS = 200  # to trace a graph takes longer than to predict so many crops without
_MOMENTUM = 0.9
# The learning rate's rise, as a share of the schedule, and the share of its peak it begins at.
_RISE, _FIRST = 0.15, 0.05


class Schedule:
    """The progress of training, by steps or by time, and its learning rate.

    Parameters
    ----------
    n_steps : int
        Batches after which training ends.
    seconds : float
        Seconds from now after which training ends; may be infinite.
    peak : float
        The highest learning rate.
    shape : {"one_cycle", "constant"}
        The course of the learning rate.
    """

    def __init__(self, n_steps, seconds, peak, shape):
        self.n_steps, self.seconds, self.peak, self.shape = n_steps, seconds, peak, shape
        self.step = 0
        self._began = time.monotonic()

    @property
    def progress(self):
        """Share of the schedule that is over."""
        elapsed = time.monotonic() - self._began
        by_time = elapsed / self.seconds if self.seconds > 0 else 1.0
        return min(1.0, max(self.step / self.n_steps, by_time))

    @property
    def learning_rate(self):
        """The learning rate of the next batch."""
        if self.shape == "constant":
            return self.peak
        progress = self.progress
        if progress < _RISE:
            return self.peak * (_FIRST + (1 - _FIRST) * progress / _RISE)
        return self.peak * 0.5 * (1 + math.cos(math.pi * (progress - _RISE) / (1 - _RISE)))


class CropNetwork:
    """A classifier's network in prediction: the mean over the crops of each clip."""

    def __init__(self, classifier):
        self._network = make_network(classifier, 0)
        self._weights = None
        self._is_traced = False

    def log_probas(self, classifier, weights, spectrograms):
        """Logarithms of the probabilities with these weights, (n_clips, n_classes)."""
        if self._weights is not weights:
            self._network.set_weights(weights)
            self._weights = weights
        n_frames = classifier.crop_frames_
        clips, offsets = spaced_crops(spectrograms.counts, n_frames, classifier.n_crops)
        eager = len(clips) < _FEW_CROPS and not self._is_traced
        predict = self._network if eager else self._network.predict_on_batch
        parts = []
        with device_scope(classifier.device):
            for begin in range(0, len(clips), _PREDICTION_BATCH):
                part = slice(begin, begin + _PREDICTION_BATCH)
                x = standardized_crops(classifier, spectrograms, clips[part], offsets[part])
                parts.append(np.asarray(predict(x)))
        self._is_traced = not eager
        begins = np.searchsorted(clips, np.arange(len(spectrograms.counts)))
        sums = np.add.reduceat(np.concatenate(parts), begins, axis=0, dtype=np.float64)
        return floored_log(sums / sums.sum(axis=1, keepdims=True))


def make_network(classifier, seed):
    """The untrained Keras model that a classifier's parameters describe, from crops to classes."""
    clf, keras = classifier, import_keras()
    layers = keras.layers

    def block(x, filters, size, stride):
        use_bias = clf.batch_norm == "after"
        x = layers.Conv2D(filters, size, stride, padding="same", use_bias=use_bias)(x)
        steps = [layers.BatchNormalization(momentum=_MOMENTUM), layers.ReLU()]
        for step in reversed(steps) if use_bias else steps:
            x = step(x)
        return x if stride > 1 else layers.MaxPooling2D(2, padding="same")(x)

    with seeded(seed), device_scope(clf.device):
        inputs = layers.Input((clf.crop_frames_, clf.n_mels))
        x = layers.Reshape((clf.crop_frames_, clf.n_mels, 1))(inputs)
        for number, filters in enumerate(clf.n_filters):
            is_stem = clf.stem and number == 0
            x = block(x, filters, 5 if is_stem else 3, 2 if is_stem else 1)
        if clf.head == "flatten":
            x = layers.Dense(64)(layers.Flatten()(x))
            x = layers.ReLU()(layers.Dropout(clf.dropout)(x))
        else:
            # Each band keeps its own features; time is pooled.
            if clf.head == "bands":
                x = layers.Reshape((x.shape[1], 1, x.shape[2] * x.shape[3]))(x)
            pools = [layers.GlobalAveragePooling2D()(x), layers.GlobalMaxPooling2D()(x)]
            x = layers.Dropout(clf.dropout)(layers.Concatenate()(pools))
        outputs = layers.Dense(len(clf.classes_), activation="softmax")(x)
        return keras.Model(inputs, outputs)


def make_optimizer(name, weight_decay):
    """The optimizer called `name`; its learning rate is set before each batch."""
    keras = import_keras()
    if name == "adamw":
        return keras.optimizers.AdamW(weight_decay=weight_decay)
    return keras.optimizers.SGD(momentum=0.9, weight_decay=weight_decay or None)
