"""How a pretrained network learns from clips: batches, schedule, averages.

It imports torch and skorch; the estimator imports it when it is fitted or predicts.
"""

import copy
import time
from typing import NamedTuple

import numpy as np
import torch
from skorch import NeuralNet
from skorch.callbacks import Callback, Freezer, GradientNormClipping, Unfreezer
from torch.utils.data import Dataset

from skspeech._device import computes_bfloat16, resolve_device
from skspeech.estimators.fine_tuned.closed_form import LABEL_SMOOTHING, closed_form
from skspeech.estimators.fine_tuned.crops import pool
from skspeech.estimators.fine_tuned.network import SpeakerNetwork
from skspeech.estimators.training.augment import mask_spectrograms, perturb

__all__ = [
    "Choices",
    "FineTuning",
    "Schedule",
    "build_network",
    "choices_of",
    "learnt_state",
    "restore",
]

_WEIGHT_DECAY = {"adamw": 0.01, "adam": 0.0, "sgd": 1e-4}
_OPTIMIZERS = {"adamw": torch.optim.AdamW, "adam": torch.optim.Adam, "sgd": torch.optim.SGD}
_RISE = 0.15  # share of the steps in which the learning rate rises; then it falls along a cosine
# Weights are averaged from this share of the steps on, over about so many epochs.
_AVERAGED_FROM, _AVERAGED_EPOCHS = 0.3, 3.0
# Clips of similar length share a batch: so many batches are sorted by length at a time.
_SORTED_BATCHES = 8
_CHUNK_SECONDS = 600.0
# Features that vary less than this hold rounding errors and nothing else.
_MIN_DEVIATION = 1e-4


class Choices(NamedTuple):
    """The settings of one training that a search may vary."""

    hidden_layers: tuple
    activation: str
    dropout: float
    freeze: float
    optimizer: str
    learning_rate: float
    head_learning_rate: float
    batch_size: int
    crop: float  # seconds


def choices_of(classifier, **others):
    """The `Choices` that a classifier's parameters make, but for some others."""
    settings = {name: getattr(classifier, name) for name in Choices._fields}
    is_whisper = classifier.model == "smart-turn"
    if classifier.freeze is None:
        on_cpu = resolve_device(classifier.device).type == "cpu"
        settings["freeze"] = 0.71 if is_whisper and on_cpu else 0.0
    if classifier.learning_rate is None:
        settings["learning_rate"] = 1e-4 if is_whisper else 5e-4
    settings["hidden_layers"] = tuple(int(width) for width in classifier.hidden_layers)
    return Choices(**{**settings, **others})


class Schedule:
    """How many steps there are time for, and the learning rate of each.

    Parameters
    ----------
    n_epochs : int
        Epochs at most.
    time_left : callable
        Seconds that training may still take.
    """

    def __init__(self, n_epochs, time_left):
        self.n_epochs = n_epochs
        self.time_left = time_left
        self.n_steps = self.n_steps_planned = None
        self.step = 0
        self._began = time.monotonic()

    def start(self, steps_per_epoch):
        """Begin to count; the first call says how many steps there are."""
        if self.n_steps is None:
            self.n_steps = self.n_steps_planned = max(1, steps_per_epoch * self.n_epochs)
            self._began = time.monotonic()

    def advance(self):
        """Count a step, and look how many more there is time for."""
        self.step += 1
        left = self.time_left()
        if np.isfinite(left):
            pace = (time.monotonic() - self._began) / self.step
            affordable = self.step + int(max(left, 0) / max(pace, 1e-9))
            self.n_steps = max(self.step, min(self.n_steps_planned, affordable))

    @property
    def progress(self):
        """Share of the steps that are done."""
        return min(1.0, self.step / self.n_steps)

    @property
    def factor(self):
        """What the learning rates are multiplied by: a rise, then half a cosine down to zero."""
        if self.progress < _RISE:
            return (self.step + 1) / (_RISE * self.n_steps + 1)
        return 0.5 * (1 + np.cos(np.pi * (self.progress - _RISE) / (1 - _RISE)))

    @property
    def over(self):
        """Whether all steps are done, or the time is."""
        return self.step >= self.n_steps or self.time_left() <= 0


class _Recordings(Dataset):
    def __init__(self, clips):
        self.clips = clips

    def __len__(self):
        return len(self.clips.codes)


class _Batches:
    """Random crops of clips, changed at random; it ends early when time is over."""

    def __init__(self, recordings, *, batch_size, front_end, crop, speed, rng, schedule):
        self.waveforms, self.codes = recordings.clips
        self.batch_size = batch_size
        self.front_end = front_end
        self.n_frames = front_end.n_frames(crop)
        self.speed = speed
        self.rng = rng
        self.schedule = schedule

    def __iter__(self):
        rows = self._rows()
        self.schedule.start(len(rows))
        for batch in rows:
            if self.schedule.over:
                return
            yield self._batch(batch), torch.from_numpy(self.codes[batch])
            self.schedule.advance()

    def _rows(self):
        """The rows of each batch: clips of similar length, the batches in random order."""
        order = self.rng.permutation(len(self.codes))
        size, chunk = self.batch_size, self.batch_size * _SORTED_BATCHES
        lengths = np.array([len(self.waveforms[i]) for i in order])
        batches = []
        for begin in range(0, len(order), chunk):
            part = order[begin : begin + chunk]
            part = part[np.argsort(lengths[begin : begin + chunk], kind="stable")]
            batches += [part[i : i + size] for i in range(0, len(part), size)]
        return [batches[i] for i in self.rng.permutation(len(batches))]

    def _batch(self, rows):
        waveforms = [self.waveforms[i] for i in rows]
        if self.speed is not None:
            waveforms = [perturb(waveform, self.rng, self.speed) for waveform in waveforms]
        crops = []
        for spectrogram in self.front_end.spectrograms(waveforms):
            begin = self.rng.randint(0, max(1, len(spectrogram) - self.n_frames + 1))
            crops.append(spectrogram[begin : begin + self.n_frames])
        mel, lengths = self.front_end.stack(crops, self.n_frames)
        if self.speed is not None:
            mask_spectrograms(mel, lengths.tolist(), self.rng)
        return {"mel": mel, "lengths": lengths}


class _Steps(Callback):
    """Sets the learning rates before each step, averages the weights after it, sums the losses."""

    def __init__(self, schedule, average):
        self.schedule = schedule
        self.average = average

    def on_train_begin(self, net, **kwargs):
        self.n_averaged = 0
        self.losses = []
        self.rates = [group["lr"] for group in net.optimizer_.param_groups]

    def on_epoch_begin(self, net, **kwargs):
        self.losses.clear()

    def on_batch_begin(self, net, training=False, **kwargs):
        if training:
            for group, rate in zip(net.optimizer_.param_groups, self.rates, strict=True):
                group["lr"] = rate * self.schedule.factor

    def on_batch_end(self, net, training=False, loss=None, **kwargs):
        if not training:
            return
        self.losses.append(loss.item())
        share = 1.0
        if self.schedule.progress >= _AVERAGED_FROM:
            self.n_averaged += 1
            steps_per_epoch = self.schedule.n_steps / self.schedule.n_epochs
            horizon = max(1.0, _AVERAGED_EPOCHS * steps_per_epoch)
            share = max(1 / self.n_averaged, 1 / horizon)
        with torch.no_grad():
            pairs = zip(self.average.parameters(), net.module_.parameters(), strict=True)
            for averaged, current in pairs:
                averaged.lerp_(current, share)


class FineTuning:
    """The parts that all trainings of one fit share.

    `pretrained` holds the weights of the trunk that `model` names, and `front_end` makes its input.
    `class_weight` is "balanced", None or a weight for each class. `n_crops` crops of a clip are
    pooled where crops are not random.
    """

    def __init__(
        self, model, pretrained, front_end, *, n_classes, class_weight, n_crops, device, rng
    ):
        self.model = model
        # Whether part of what the trunk gives was made to tell who speaks.
        self.has_embedding = model != "smart-turn"
        self.pretrained = pretrained
        self.front_end = front_end
        self.n_classes = n_classes
        self.class_weight = class_weight
        self.n_crops = n_crops
        self.device = device
        self.rng = rng

    def features(self, network, clips, crop, enough=lambda: False):
        """Pooled features of clips, a row a crop, and the codes of the rows.

        `enough` is asked now and then whether the clips so far will do; by then there is one of
        each class.
        """
        order = _each_class_first(clips.codes, self.rng)
        blocks, codes = [], []
        for chunk in _chunks(clips.waveforms, order, first=self.n_classes):
            rows, owners = pool(
                network, [clips.waveforms[i] for i in chunk], self.front_end, crop, self.n_crops
            )
            blocks.append(rows)
            codes.append(clips.codes[chunk][owners])
            if enough():
                break
        return np.concatenate(blocks), np.concatenate(codes)

    def frozen(self, features, codes, *, columns="all", copies=None):
        """The closed form on features of the frozen trunk; a state that holds no trunk.

        Parameters
        ----------
        features : ndarray of shape (n_rows, n_features)
            From the frozen trunk.
        codes : ndarray of shape (n_rows,), int
            The rows' classes.
        columns : {"all", "embedding", "both"}, default="all"
            Whether all features have weights, or the embedding's only; or the mean of both.
        copies : tuple (features, codes) or None, default=None
            Of changed clips, which it learns from too.

        Returns
        -------
        dict of str to ndarray
        """
        if columns == "both":
            states = [
                self.frozen(features, codes, columns=one, copies=copies)
                for one in ("all", "embedding")
            ]
            return {name: (states[0][name] + states[1][name]) / 2 for name in states[0]}
        mean, deviation = features.mean(axis=0), features.std(axis=0)
        scale = np.where(deviation > _MIN_DEVIATION, deviation, 1.0).astype(np.float32)
        with torch.random.fork_rng([]):
            network = SpeakerNetwork(self.model, self.n_classes)
        network.mean.copy_(torch.from_numpy(mean))
        network.scale.copy_(torch.from_numpy(scale))
        used = slice(-network.n_embedding if columns == "embedding" else None, None)
        rows = _standardised(network, features)[:, used]
        if copies is None:
            solved, constants, _ = closed_form(rows, codes)
        else:
            # A clip and its copies are too similar to find the temperature by cross-validation.
            _, _, temperature = closed_form(rows, codes)
            rows = np.concatenate([rows, _standardised(network, copies[0])[:, used]])
            codes = np.concatenate([codes, copies[1]])
            solved, constants, _ = closed_form(rows, codes, temperature)
        weights = np.zeros((self.n_classes, len(mean)), dtype=np.float32)
        weights[:, used] = solved
        return {"mean": mean, "scale": scale, "head.weight": weights, "head.bias": constants}

    def solve_head(self, network, clips, crop):
        """Move the linear head half of the way to the closed form on the trunk's features."""
        features, codes = self.features(network, clips, crop)
        weights, constants, _ = closed_form(_standardised(network, features), codes)
        solved = copy.deepcopy(network)
        with torch.no_grad():
            solved.head.weight.lerp_(torch.from_numpy(weights).to(self.device), 0.5)
            solved.head.bias.lerp_(torch.from_numpy(constants).to(self.device), 0.5)
            if solved.hidden is not None:
                solved.hidden[-1].weight.mul_(0.5)
                solved.hidden[-1].bias.mul_(0.5)
        return solved

    def train(self, clips, state, choices, schedule, *, speed, warm_up):
        """Train a network; a generator of its training loss and averaged weights, an epoch each.

        Parameters
        ----------
        clips : LabelledWaveforms
            Training clips.
        state : dict of str to ndarray
            Initial state.
        choices : Choices
            Settings of the training.
        schedule : Schedule
            Length and learning rates of the training.
        speed : float or None
            The logarithm of the largest change of speed; None changes nothing of the clips.
        warm_up : int
            Epochs in which the head alone learns.

        Yields
        ------
        loss : float
        network : SpeakerNetwork
            The same object each time.
        """
        with torch.random.fork_rng([self.device] if self.device.type == "cuda" else []):
            torch.manual_seed(self.rng.randint(2**31 - 1))
            network = build_network(
                self.model, self.n_classes, self.pretrained, state, choices, self.device
            )
            network.mixed_precision = computes_bfloat16(self.device)
            average = copy.deepcopy(network)
            steps = _Steps(schedule, average)
            net = self._net(network, steps, clips, choices, schedule, speed, warm_up)
            recordings = _Recordings(clips)
            random_state = torch.get_rng_state()
        net.notify("on_train_begin", X=recordings, y=None)
        for _ in range(schedule.n_epochs):
            # Dropout draws from torch's generator, which belongs to the caller between epochs.
            with torch.random.fork_rng([self.device] if self.device.type == "cuda" else []):
                torch.set_rng_state(random_state)
                net.fit_loop(recordings, epochs=1)
                random_state = torch.get_rng_state()
            if steps.losses:
                yield float(np.mean(steps.losses)), average.eval()
            if schedule.over:
                break
        net.notify("on_train_end", X=recordings, y=None)

    def _net(self, network, steps, clips, choices, schedule, speed, warm_up):
        names = [name for name, _ in network.trunk.named_parameters(prefix="trunk")]
        frozen = frozen_names(network, choices.freeze)
        thawed = [name for name in names if name not in frozen]
        callbacks = [GradientNormClipping(1.0), steps]
        if frozen:
            callbacks.append(Freezer(frozen))
        if warm_up and thawed:
            callbacks += [Freezer(thawed), Unfreezer(thawed, at=warm_up + 1)]
        momentum = {"optimizer__momentum": 0.9} if choices.optimizer == "sgd" else {}
        net = NeuralNet(
            network,
            torch.nn.CrossEntropyLoss,
            criterion__weight=self._class_weights(clips.codes),
            criterion__label_smoothing=LABEL_SMOOTHING,
            optimizer=_OPTIMIZERS[choices.optimizer],
            optimizer__param_groups=[("trunk.*", {"lr": choices.learning_rate})],
            optimizer__weight_decay=_WEIGHT_DECAY[choices.optimizer],
            **momentum,
            lr=choices.head_learning_rate,
            batch_size=choices.batch_size,
            iterator_train=_Batches,
            iterator_train__front_end=self.front_end,
            iterator_train__crop=choices.crop,
            iterator_train__speed=speed,
            iterator_train__rng=self.rng,
            iterator_train__schedule=schedule,
            train_split=None,
            callbacks=callbacks,
            callbacks__train_loss=None,
            callbacks__valid_loss=None,
            device=self.device,
            verbose=0,
        )
        return net.initialize()

    def _class_weights(self, codes):
        if self.class_weight is None:
            return torch.ones(self.n_classes)
        if self.class_weight == "balanced":
            counts = np.bincount(codes, minlength=self.n_classes)
            return torch.from_numpy((len(codes) / (self.n_classes * counts)).astype(np.float32))
        return torch.tensor([self.class_weight[c] for c in range(self.n_classes)]).float()


def build_network(model, n_classes, pretrained, state, choices, device):
    """A network with the weights of `state`, and of `pretrained` where that has none."""
    with torch.random.fork_rng([]):  # a new network draws weights, which are replaced at once
        network = SpeakerNetwork(
            model, n_classes, choices.hidden_layers, choices.activation, choices.dropout
        )
    network.trunk.load_state_dict({name: pretrained[name] for name in network.trunk.state_dict()})
    tensors = {name: torch.from_numpy(np.array(array)) for name, array in state.items()}
    network.load_state_dict(tensors, strict=False)
    return network.to(device).eval()


def restore(kept, model, n_classes, pretrained, device):
    """The network of an item of `networks_`."""
    choices = Choices(**kept["choices"])
    return build_network(model, n_classes, pretrained, kept["state"], choices, device)


def frozen_names(network, freeze):
    """Names of the first parameters of the trunk, as many as are a share `freeze` of all."""
    named = list(network.trunk.named_parameters(prefix="trunk"))
    sizes = np.cumsum([parameter.numel() for _, parameter in named])
    return [
        name
        for (name, _), size in zip(named, sizes, strict=True)
        if size <= freeze * sizes[-1] * (1 + 1e-9)
    ]


def learnt_state(network, freeze):
    """What a network has learnt, as arrays: everything but the frozen part of the trunk."""
    frozen = set(frozen_names(network, freeze))
    frozen |= {name for name, _ in network.trunk.named_buffers(prefix="trunk")}
    if freeze >= 1:
        frozen |= {name for name in network.state_dict() if name.startswith("trunk.")}
    return {
        name: tensor.detach().cpu().numpy().copy()
        for name, tensor in network.state_dict().items()
        if name not in frozen
    }


def _standardised(network, features):
    with torch.inference_mode():
        rows = torch.from_numpy(features).to(network.mean.device)
        return network.standardise(rows).cpu().numpy()


def _each_class_first(codes, rng):
    """A random order of the rows that begins with one of each class."""
    order = rng.permutation(len(codes))
    _, firsts = np.unique(codes[order], return_index=True)
    rest = np.ones(len(order), dtype=bool)
    rest[firsts] = False
    return np.concatenate([order[firsts], order[rest]])


def _chunks(waveforms, order, first):
    """Parts of `order` of at most so many seconds; they grow, so that time can be kept."""
    chunk, n_seconds, limit = [], 0.0, 20.0
    for i in order:
        chunk.append(i)
        n_seconds += len(waveforms[i]) / 16_000
        if n_seconds > limit and len(chunk) >= first:
            yield np.array(chunk)
            chunk, n_seconds, first, limit = [], 0.0, 1, min(2 * limit, _CHUNK_SECONDS)
    if chunk:
        yield np.array(chunk)
