"""Training of one recurrent network after another, and the snapshots that this leaves."""

import time
from typing import NamedTuple

import numpy as np

from skspeech.ensemble.scoring import balanced_accuracy
from skspeech.estimators.recurrent.blending import (
    BELOW_START,
    auc_score,
    blend,
    choose_snapshots,
)
from skspeech.estimators.recurrent.features import Augmentation, as_features, make_batch
from skspeech.estimators.recurrent.networks import Network
from skspeech.estimators.training.balanced import (
    balanced_draw,
    balanced_log_loss,
    floored_log,
)
from skspeech.estimators.training.spectrograms import log_mel

__all__ = ["Candidates", "PreparedClips", "Training", "frames_for", "frames_key"]

_AUGMENTATION = Augmentation(speed=0.1, warp=0.05, gain=4.0, band_mask=0.1, frame_mask=0.1)
_NO_AUGMENTATION = Augmentation()
_WARM_UP_STEPS = 10
# The first steps are slow, because they compile the network; those after them are measured. Then a
# training claims the time for at least this share of its planned steps.
_N_SLOW_STEPS, _N_MEASURED_STEPS = 2, 4
_ENOUGH = 0.8
# The first loop's sample has this many clips; each further loop's has twice as many.
_FIRST_SAMPLE = 512
# A new average may have up to this many times the lowest loss so far: more snapshots are better on
# new clips, even if the held-out ones show no difference.
_TOLERANCE = 1.3
# Small sets are drawn twice an epoch, up to so many clips: their epochs have few steps otherwise.
_SMALL_SAMPLE = 384
# To compile a network takes about as long as to train it on so many frames without.
_FEW_FRAMES = 500


class PreparedClips:
    """Clips to train on and to judge by, as log-mel frames, which are computed once a setting.

    Parameters
    ----------
    data : TrainingData
    device : torch.device
        Where spectrograms are computed.
    """

    def __init__(self, data, device):
        self.codes, self.valid_codes = data.train.codes, data.valid.codes
        self._waveforms = data.train.waveforms, data.valid.waveforms
        self._device = device
        self._key, self._spectrograms = None, None

    def frames(self, setting):
        """`Spectrograms` of the clips to train on and of those to judge by, for one setting."""
        key = frames_key(setting)
        if key != self._key:
            self._spectrograms = [
                frames_for(setting, waveforms, self._device) for waveforms in self._waveforms
            ]
            self._key = key
        return self._spectrograms


def frames_key(setting):
    """What `frames_for` depends on."""
    return tuple(setting[key] for key in ("n_fft", "hop_length", "n_bands", "n_frames"))


def frames_for(setting, waveforms, device):
    """Log-mel frames of clips, no more of each than augmented training may need."""
    most = int(1.5 * setting["n_frames"] * setting["hop_length"])
    return log_mel(
        [waveform[:most] for waveform in waveforms],
        n_fft=setting["n_fft"],
        hop_length=setting["hop_length"],
        n_mels=setting["n_bands"],
        device=device,
    )


class Candidate(NamedTuple):
    """A snapshot with its probabilities of the held-out clips."""

    snapshot: dict
    proba: np.ndarray
    score: float
    loss: float


class Candidates:
    """The snapshots that may be averaged, validated on held-out clips of classes `codes`.

    `start` is what the logistic regression predicts for these. `n_best` is as in
    :func:`choose_snapshots`, and `mean` as in :func:`blend`. `chosen` are the snapshots in the
    average, the best first.
    """

    def __init__(self, codes, start, n_best, mean):
        self.codes, self.n_best, self.mean = codes, n_best, mean
        self.chosen = []
        self._start_score = auc_score(codes, start)
        self._least_accuracy = balanced_accuracy(start, codes) - BELOW_START
        self._least_loss = np.inf
        self._members = {}

    def add(self, snapshot, proba):
        """Add a snapshot, in place of a worse one of the same training; return its score."""
        score = auc_score(self.codes, proba)
        loss = balanced_log_loss(self.codes, floored_log(proba))
        training = snapshot["network"], snapshot["round"]
        if training not in self._members or loss < self._members[training].loss:
            self._members[training] = Candidate(snapshot, proba, score, loss)
        return score

    def improve(self):
        """Choose and average again; return whether the new choice is better than the old one."""
        members = list(self._members.values())
        chosen = choose_snapshots(
            [member.score for member in members],
            [member.loss for member in members],
            [member.snapshot["network"] for member in members],
            self._start_score,
            n_best=self.n_best,
        )
        snapshots = [members[i].snapshot for i in chosen]
        if not snapshots or _are_same(snapshots, self.chosen):
            return False
        proba = blend([members[i].proba for i in chosen], self.mean)
        loss = balanced_log_loss(self.codes, floored_log(proba))
        if loss > _TOLERANCE * self._least_loss:
            return False
        if balanced_accuracy(proba, self.codes) < self._least_accuracy:
            return False
        self._least_loss, self.chosen = min(loss, self._least_loss), snapshots
        return True


def _are_same(one, other):
    return len(one) == len(other) and all(a is b for a, b in zip(one, other, strict=True))


class Training:
    """One network's training in one round, as the parameters of an estimator say.

    It should take so many `seconds`, and may take `most_seconds` where these are too few to learn
    much. `setting` is what :class:`Network` needs, but for mean and scale. It goes on from
    `weights`, if there are any.
    """

    def __init__(self, estimator, setting, clips, rng, seconds, most_seconds, weights=None):
        self._began = time.monotonic()
        self._seconds, self._most_seconds = seconds, most_seconds
        self._estimator, self._clips, self._rng = estimator, clips, rng
        self._spectrograms, self._valid_spectrograms = clips.frames(setting)
        mean, scale = _scaling(as_features(self._spectrograms.frames, setting["features"]))
        setting = {**setting, "mean": mean, "scale": scale, "weights": weights}
        n_classes = len(estimator.classes_)
        self._network = Network(setting, n_classes, seed=rng.randint(2**31))
        n = len(clips.codes)
        self._batch_size = min(estimator.batch_size, n)
        self._n_drawn = max(n, min(2 * n, _SMALL_SAMPLE))
        n_steps = -(-self._n_drawn // self._batch_size)
        n_steps *= estimator.max_loops * estimator.max_epochs
        self._network.prepare(
            learning_rate=estimator.learning_rate,
            weight_decay=estimator.weight_decay,
            label_smoothing=estimator.label_smoothing,
            run_eagerly=n_steps * setting["n_frames"] < _FEW_FRAMES,
        )
        self._n_planned, self._n_done = n_steps, 0
        self._first_steps = None
        self._judging = 0.0

    def loops(self):
        """Train in loops, each with its own draw of clips.

        Yields
        ------
        snapshot : dict
            The loop's best weights, with the setting of the network.
        proba : ndarray of shape (n_clips, n_classes)
            Their probabilities for the held-out clips.
        """
        best_loss, best_score, n_in_vain = np.inf, -np.inf, 0
        for loop in range(self._estimator.max_loops):
            snapshot, proba, loss = self._run_loop(loop)
            if snapshot is None:
                return
            score = auc_score(self._clips.valid_codes, proba)
            n_in_vain = 0 if loss < best_loss or score > best_score else n_in_vain + 1
            best_loss, best_score = min(best_loss, loss), max(best_score, score)
            yield snapshot, proba
            if n_in_vain == self._estimator.patience or self._is_over():
                return

    def _run_loop(self, loop):
        """The best weights of a few epochs, their probabilities and their loss."""
        n_drawn = min(self._n_drawn, _FIRST_SAMPLE * 2**loop)
        n_steps = -(-n_drawn // self._batch_size)
        sample = balanced_draw(self._clips.codes, n_steps * self._batch_size, self._rng)
        best = None, None, np.inf
        for epoch in range(self._estimator.max_epochs):
            losses = []
            for step, rows in enumerate(self._rng.permutation(sample).reshape(n_steps, -1)):
                if self._is_over():
                    break
                epochs = loop * self._estimator.max_epochs + epoch + step / n_steps
                losses.append(self._train_batch(rows, epochs))
            if losses:
                best = self._judge(losses, best)
            if self._is_over():
                break
        return best

    def _train_batch(self, rows, epochs):
        """One step; the learning rate falls to 0 along a cosine, by epochs or by time."""
        estimator = self._estimator
        by_epochs = epochs / (estimator.max_loops * estimator.max_epochs)
        by_time = (time.monotonic() - self._began) / self._seconds
        progress = min(1.0, max(by_epochs, by_time))
        warm = min(1.0, (self._n_done + 1) / _WARM_UP_STEPS)
        rate = estimator.learning_rate * warm * (0.5 + 0.5 * np.cos(np.pi * progress))
        augmentation = _AUGMENTATION if estimator.augment else _NO_AUGMENTATION
        batch, mask = make_batch(
            self._spectrograms, rows, self._network.setting["n_frames"], augmentation, self._rng
        )
        loss = self._network.train(batch, mask, self._clips.codes[rows], rate)
        self._n_done += 1
        self._take_enough_time()
        return loss

    def _take_enough_time(self):
        """After a few steps, measure how long they take, and claim enough time for the training."""
        if self._n_done == _N_SLOW_STEPS:
            self._first_steps = time.monotonic()
        elif self._n_done == _N_SLOW_STEPS + _N_MEASURED_STEPS:
            now = time.monotonic()
            step = (now - self._first_steps) / _N_MEASURED_STEPS
            enough = now - self._began + _ENOUGH * self._n_planned * step
            self._seconds = min(self._most_seconds, max(self._seconds, enough))

    def _judge(self, losses, best):
        """Validate an epoch, record it, and return the better of it and the loop's best."""
        began = time.monotonic()
        proba = self._network.predict(self._valid_spectrograms)
        codes = self._clips.valid_codes
        loss = balanced_log_loss(codes, floored_log(proba))
        self._estimator._record(
            network=self._network.setting["network"],
            round=self._network.setting["round"],
            train_loss=float(np.mean(losses)),
            valid_loss=loss,
            valid_score=balanced_accuracy(proba, codes),
        )
        if loss < best[2]:  # never, where the training has diverged: it is NaN
            best = {**self._network.setting, "weights": self._network.weights()}, proba, loss
        self._judging = max(self._judging, time.monotonic() - began)
        return best

    def _is_over(self):
        return time.monotonic() - self._began + 1.5 * self._judging > self._seconds


def _scaling(values):
    """Mean and scale of each feature; constant features are not scaled up."""
    return values.mean(axis=0), np.maximum(values.std(axis=0), 0.1)
