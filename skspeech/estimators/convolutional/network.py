"""The network of `MixupCNNClassifier`, and the schedule of its training."""

import math
import time

from skspeech.estimators.training.keras import import_keras

__all__ = ["Schedule", "build_network", "make_optimizer"]

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


def build_network(n_frames, n_mels, n_classes, *, n_filters, stem, batch_norm, head, dropout):
    """A Keras model from (n_frames, n_mels) to the probabilities of the classes."""
    keras = import_keras()
    layers = keras.layers

    def block(x, filters, size, stride):
        x = layers.Conv2D(filters, size, stride, padding="same", use_bias=batch_norm == "after")(x)
        steps = [layers.BatchNormalization(momentum=_MOMENTUM), layers.ReLU()]
        for step in steps if batch_norm == "before" else reversed(steps):
            x = step(x)
        return x if stride > 1 else layers.MaxPooling2D(2, padding="same")(x)

    inputs = layers.Input((n_frames, n_mels))
    x = layers.Reshape((n_frames, n_mels, 1))(inputs)
    for number, filters in enumerate(n_filters):
        is_stem = stem and number == 0
        x = block(x, filters, 5 if is_stem else 3, 2 if is_stem else 1)
    if head == "flatten":
        x = layers.Dense(64)(layers.Flatten()(x))
        x = layers.ReLU()(layers.Dropout(dropout)(x))
    else:
        # Each band keeps its own features; time is pooled.
        if head == "bands":
            x = layers.Reshape((x.shape[1], 1, x.shape[2] * x.shape[3]))(x)
        pools = [layers.GlobalAveragePooling2D()(x), layers.GlobalMaxPooling2D()(x)]
        x = layers.Dropout(dropout)(layers.Concatenate()(pools))
    return keras.Model(inputs, layers.Dense(n_classes, activation="softmax")(x))


def make_optimizer(name, weight_decay):
    """The optimizer called `name`; its learning rate is set before each batch."""
    keras = import_keras()
    if name == "adamw":
        return keras.optimizers.AdamW(weight_decay=weight_decay)
    return keras.optimizers.SGD(momentum=0.9, weight_decay=weight_decay or None)
