"""The three networks of the recurrent approach, written with Keras 3's functional API.

Each takes frames, (n_clips, n_frames, n_features), and a mask, (n_clips, n_frames), that is 1 where
a clip has a frame and 0 where it is padded at its end. Nothing that a network computes for a clip
depends on how far it was padded.
"""

import contextlib
import logging
import math
import threading

import numpy as np

from skspeech.estimators.recurrent.features import as_features, make_batch
from skspeech.estimators.training.keras import seeded

__all__ = ["SHAPE", "Network", "build_network", "masked_top_k", "no_tracing_advice"]


def build_network(kind, n_frames, n_features, n_classes, *, units, conv_filters):
    """Build a network that gives class probabilities.

    Parameters
    ----------
    kind : {"lstm", "crnn", "bilstm"}
        Which of the three.
    n_frames, n_features : int
        Shape of its input.
    n_classes : int
        Probabilities that it gives.
    units : int
        Width of the recurrent layers.
    conv_filters : tuple of int
        Filters of the convolutions of ``"crnn"``. The first two merge two frames into one, so
        `n_frames` has to be a multiple of 4.
    Returns
    -------
    keras.Model
        Not compiled.
    """
    import keras

    frames = keras.Input((n_frames, n_features), name="frames")
    mask = keras.Input((n_frames,), name="mask")
    if kind == "crnn":
        hidden = _crnn(frames, mask, conv_filters, units)
    else:
        hidden = NETWORKS[kind](frames, mask, units, n_classes)
    output = keras.layers.Dense(n_classes, activation="softmax")(hidden)
    return keras.Model([frames, mask], output, name=kind)


def _lstm(frames, mask, units, n_classes):
    from keras import layers

    hidden = layers.LSTM(units, return_sequences=True)(frames)
    hidden = layers.Activation("tanh")(hidden)
    hidden = layers.SpatialDropout1D(0.5)(hidden)
    hidden = _attend_and_pool(hidden, mask, n_classes)
    hidden = layers.Dropout(0.5)(hidden)
    return layers.Dense(2 * units, activation="softplus")(hidden)


def _bilstm(frames, mask, units, n_classes):
    from keras import layers, ops

    forward = layers.LSTM(units // 2, return_sequences=True)(frames)
    backward = layers.LSTM(units // 2, return_sequences=True)(_reverse(frames, mask))
    hidden = ops.concatenate([forward, _reverse(backward, mask)], axis=-1)
    hidden = layers.SpatialDropout1D(0.3)(hidden)
    hidden = _attend_and_pool(hidden, mask, n_classes)
    hidden = layers.Dropout(0.5)(hidden)
    return layers.Dense(2 * units, activation="relu")(hidden)


def _crnn(frames, mask, filters, units):
    from keras import layers, ops

    hidden = ops.expand_dims(frames, -1)
    n_bands = frames.shape[2]
    for block, n_filters in enumerate(filters):
        time_pool = 2 if block < 2 else 1
        band_pool = min(n_bands, _BAND_POOLS[min(block, len(_BAND_POOLS) - 1)])
        hidden, mask = _conv_block(hidden, mask, n_filters, time_pool, band_pool)
        n_bands //= band_pool
    hidden = layers.Reshape((hidden.shape[1], n_bands * filters[-1]))(hidden)
    for _ in range(2):
        hidden = layers.GRU(units, return_sequences=True)(hidden)
        hidden = layers.Dropout(0.3)(hidden)
    return masked_top_k(hidden, mask, 1)


_BAND_POOLS = (2, 3, 4, 4)


def _conv_block(hidden, mask, n_filters, time_pool, band_pool):
    """Convolution, batch norm, ELU, max-pooling, dropout; and the mask of what comes out."""
    from keras import layers, ops

    hidden = layers.Conv2D(n_filters, 3, padding="same", use_bias=False)(hidden)
    counted = mask[:, :, None] * ops.ones_like(hidden[..., 0])
    hidden = layers.BatchNormalization(momentum=0.9)(hidden, mask=counted)
    hidden = layers.Activation("elu")(hidden)
    # Padding must neither be the maximum of a pool nor reach the next convolution.
    hidden = ops.where(mask[:, :, None, None] > 0, hidden, -1.0)
    hidden = layers.MaxPooling2D((time_pool, band_pool), padding="valid")(hidden)
    mask = layers.MaxPooling1D(time_pool)(mask[:, :, None])[:, :, 0]
    hidden = layers.Dropout(0.1)(hidden * mask[:, :, None, None])
    return hidden, mask


NETWORKS = {"lstm": _lstm, "crnn": _crnn, "bilstm": _bilstm}


def _attend_and_pool(hidden, mask, n_classes):
    from keras import layers

    attention = layers.MultiHeadAttention(num_heads=8, key_dim=16)
    hidden = attention(hidden, hidden, attention_mask=mask[:, None, :] > 0)
    return masked_top_k(hidden, mask, 10 if n_classes >= 20 else 1)


def masked_top_k(hidden, mask, k):
    """Mean of the `k` largest values over the frames of each clip, padding left out.

    Parameters
    ----------
    hidden : tensor of shape (n_clips, n_frames, n_units)
    mask : tensor of shape (n_clips, n_frames)
        1 where there is a frame, else 0.
    k : int
        Clips of fewer frames have the mean of all of them.

    Returns
    -------
    tensor of shape (n_clips, n_units)
    """
    from keras import ops

    present = mask[:, :, None] > 0
    lowest = ops.where(present, hidden, -math.inf)
    if k == 1:
        return ops.max(lowest, axis=1)
    k = min(k, hidden.shape[1])
    largest, _ = ops.top_k(ops.transpose(lowest, (0, 2, 1)), k)
    found = ops.isfinite(largest)
    total = ops.sum(ops.where(found, largest, 0.0), axis=-1)
    return total / ops.sum(ops.cast(found, hidden.dtype), axis=-1)


def _reverse(frames, mask):
    """Each clip's own frames from the last to the first; padding stays at the end."""
    from keras import ops

    lengths = ops.cast(ops.sum(mask, axis=1, keepdims=True), "int32")
    positions = np.arange(frames.shape[1], dtype=np.int32)[np.newaxis]
    mirrored = ops.where(lengths > positions, lengths - 1 - positions, positions)
    return ops.take_along_axis(frames, mirrored[:, :, None], axis=1)


# The values of a setting that a network's shape depends on.
SHAPE = ("network", "n_bands", "n_frames", "units", "conv_filters")


class Network:
    """A network with what it reads: which features, how scaled, in how many frames.

    Parameters
    ----------
    setting : dict
        Plain values and arrays: ``"network"``, ``"features"``, ``"n_bands"``, ``"n_frames"``,
        ``"mean"``, ``"scale"``, ``"units"``, ``"conv_filters"``, and ``"weights"``, which
        are None where it has not been trained.
    n_classes : int
    seed : int, default=0
        Seed of its first weights and its dropout.
    """

    def __init__(self, setting, n_classes, seed=0):
        with seeded(seed):
            self.model = build_network(
                setting["network"],
                setting["n_frames"],
                setting["n_bands"],
                n_classes,
                units=setting["units"],
                conv_filters=setting["conv_filters"],
            )
        self.load(setting)
        self._run_eagerly, self._n_predicted = False, 0
        self._turn = threading.Lock()
        self._eye = np.eye(n_classes, dtype=np.float32)

    def load(self, setting):
        """Load the weights and the scaling of a setting of the same shape."""
        self.setting = setting
        if setting["weights"] is not None:
            self.model.set_weights(setting["weights"])

    def prepare(self, *, learning_rate, weight_decay, label_smoothing, run_eagerly):
        """Make it ready to be trained."""
        import keras

        self._run_eagerly = run_eagerly
        self._optimizer = keras.optimizers.AdamW(
            float(learning_rate), weight_decay=weight_decay, clipnorm=1.0
        )
        self.model.compile(
            self._optimizer,
            keras.losses.CategoricalCrossentropy(label_smoothing=label_smoothing),
            run_eagerly=run_eagerly,
            jit_compile=False,
        )

    def train(self, batch, mask, codes, learning_rate):
        """Train on one batch of log-mel frames; return its loss."""
        self._optimizer.learning_rate = learning_rate
        return float(self.model.train_on_batch(self._inputs(batch, mask), self._eye[codes]))

    def predict(self, frames):
        """Probabilities (n_clips, n_classes) of clips, from their log-mel frames."""
        n_clips, n_frames = len(frames.starts) - 1, self.setting["n_frames"]
        n_batches = -(-n_clips // _PREDICT_BATCH)
        size = -(-n_clips // n_batches)
        self._n_predicted += n_batches
        # The last batch is filled up with the last clip: another shape would be compiled again.
        clips = np.minimum(np.arange(n_batches * size), n_clips - 1)
        probas = []
        for rows in clips.reshape(n_batches, size):
            inputs = self._inputs(*make_batch(frames, rows, n_frames))
            if self._run_eagerly or self._n_predicted < _FEW_BATCHES:
                probas.append(np.asarray(self.model(inputs, training=False)))
            else:
                probas.append(self.model.predict_on_batch(inputs))
        return np.concatenate(probas)[:n_clips]

    def predict_by(self, setting, frames):
        """Load a setting and predict with it; threads do this one after another."""
        with self._turn:
            self.load(setting)
            return self.predict(frames)

    def weights(self):
        """Copy the weights, as a list of arrays."""
        return self.model.get_weights()

    def _inputs(self, batch, mask):
        values = as_features(batch, self.setting["features"])
        values = (values - self.setting["mean"]) / self.setting["scale"]
        return [values * mask[:, :, None], mask]


_PREDICT_BATCH = 64
# To compile a network takes longer than to predict so many batches without.
_FEW_BATCHES = 4


@contextlib.contextmanager
def no_tracing_advice():
    """Hide TensorFlow's advice on functions that are compiled often, as those of networks are."""
    logger = logging.getLogger("tensorflow")

    def keep(record):
        return "tf.function retracing" not in record.getMessage()

    logger.addFilter(keep)
    try:
        yield
    finally:
        logger.removeFilter(keep)
