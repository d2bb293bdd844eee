"""The steps of a fit of the fine-tuned classifier: their order, and the time of each."""

import time
from typing import NamedTuple

import numpy as np
from scipy.special import log_softmax, softmax

from skspeech._device import resolve_device
from skspeech.ensemble.calibration import find_temperature
from skspeech.ensemble.scoring import balanced_accuracy
from skspeech.estimators.fine_tuned.crops import log_probas
from skspeech.estimators.fine_tuned.training import (
    Choices,
    FineTuning,
    Schedule,
    choices_of,
    learnt_state,
    restore,
)
from skspeech.estimators.training.augment import change_speed
from skspeech.estimators.training.balanced import balanced_log_loss
from skspeech.estimators.training.base import LabelledWaveforms

__all__ = ["Run"]

# The logarithm of the largest change of speed in training.
_MAX_SPEED = 0.15
# Of the time that is left, the share of the networks that learn without the held-out clips, where
# others follow that learn from all.
_FIRST_SHARE = 0.5
# Of the time there is, the share after which the first answer does not wait for more clips.
_FROZEN_SHARE = 0.3
# Seconds kept back from training: so many times what a pass over all clips takes, and some more.
_RESERVED_PASSES, _RESERVED_SECONDS = 2.0, 0.1
# A network that had time for less than this share of its steps is not worth averaging.
_LEAST_SHARE = 0.3
# Weights that the first answer may have.
_SHARES = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)
# For the temperature. Among 0, 0.3, 1 and 3 it came closest to the best one for new clips, of FSDD
# speakers and of Berlin emotions, and never below it, with some sixty held-out clips.
_IMAGINED_ROWS = 0.3
_NO_SCORE = (-np.inf, -np.inf)
# Copies of the clips at other speeds, for the closed form, which learns from so many rows at most.
_COPY_SPEEDS = (0.85, 0.92, 1.08, 1.15)
_MAX_ROWS = 6000


class Found(NamedTuple):
    """A fine-tuned network: an item of `networks_`, and its results on the validation clips."""

    kept: dict
    score: tuple
    log_probas: np.ndarray
    n_epochs: int


class Judge:
    """Predicts the validation clips, and scores predictions of them.

    Parameters
    ----------
    clips : LabelledWaveforms
    tuning : FineTuning
        Its front end and its number of crops are used.
    """

    def __init__(self, clips, tuning):
        self.clips, self.tuning = clips, tuning

    def log_probas(self, network, crop):
        """Logarithms of a network's probabilities, from crops of so many seconds."""
        front_end, n_crops = self.tuning.front_end, self.tuning.n_crops
        return log_probas(network, self.clips.waveforms, front_end, crop, n_crops)

    def score(self, log_probas):
        """Balanced accuracy, and the negated log loss, which decides between equals."""
        log_probas, codes = log_softmax(log_probas, axis=1), self.clips.codes
        return balanced_accuracy(log_probas, codes), -balanced_log_loss(codes, log_probas)

    def best_share(self, first, others):
        """Weight of the first of two predictions in their geometric mean, by log loss."""
        return max(_SHARES, key=lambda share: self.score(share * first + (1 - share) * others)[1])

    def temperature(self, log_probas):
        """The temperature at which probabilities mean what they say."""
        proba = softmax(log_probas, axis=1)
        return find_temperature(proba, self.clips.codes, n_imagined=_IMAGINED_ROWS)


class Run:
    """One call of a classifier's `fit`, with a `TrainingData`.

    Its steps are generators, which yield each time the classifier predicts better. They keep the
    classifier's fitted attributes and its `history_` up to date.
    """

    def __init__(self, classifier, data):
        self.classifier = classifier
        self.data = data
        self.tuning = FineTuning(
            classifier.model,
            classifier._pretrained(),
            classifier._front_end(),
            n_classes=len(classifier.classes_),
            class_weight=classifier._class_weights,
            n_crops=classifier.n_crops,
            device=resolve_device(classifier.device),
            rng=data.rng,
        )
        self.judge = Judge(data.valid, self.tuning)
        # Whether a network is trained on all clips in the end.
        self.refits = classifier.refit and data.judges == "held out"
        self.speed = _MAX_SPEED if classifier.augment else None
        self.about_speakers = False
        self.least_frozen = 1.0  # share of the trunk that earlier fits have left as it was
        self.pass_seconds = 0.0  # what one look at all clips takes
        self.frozen = None  # the first answer,
        self.frozen_log_probas = None  # what it says of the held-out clips,
        self.tuned = []  # the networks that have learnt,
        self.frozen_share = 0.5
        self.temperature = 1.0
        self.leader = None  # and the best of them, where this call has found one
        self.best = _NO_SCORE

    # -- The first answer --------------------------------------------------------------------------

    def solve_frozen(self):
        """Make the first answer: the closed form on the frozen trunk's features."""
        began = time.monotonic()
        features = self._frozen_features(self.data.train)
        self.pass_seconds = time.monotonic() - began
        # The embedding was made to tell who speaks. Where it does as well as all layers do, that is
        # what the classes are about: pitch belongs to the answer, and there is little to learn.
        known = ("embedding", "all") if self.tuning.has_embedding else ("all",)
        scores = [self._try_frozen(features, columns=columns) for columns in known]
        self.about_speakers = len(known) == 2 and scores[0][0] >= scores[1][0]
        if self.about_speakers:
            self._try_frozen(features, columns="both")
            self.speed = None if self.speed is None else 0.0
        yield
        long_enough = self.time_left() > 3 * len(_COPY_SPEEDS) * self.pass_seconds
        if self.speed and long_enough:
            before = self.best
            score = self._try_frozen(
                features, columns="all", copies=self._copies(self.data.train), worse_than=before
            )
            if score[1] > before[1]:
                yield

    def resume(self):
        """Continue from the results of an earlier fit."""
        self.frozen, *self.tuned = self.classifier.networks_
        found = [
            self.judge.log_probas(self._build(kept), kept["choices"]["crop"])
            for kept in self.classifier.networks_
        ]
        self.least_frozen = min(kept["choices"]["freeze"] for kept in self.classifier.networks_)
        self.frozen_log_probas = found[0]
        self.frozen_share = share = self.classifier.frozen_share_
        self.temperature = getattr(self.classifier, "temperature_", 1.0)
        tuned = np.mean(found[1:], axis=0) if self.tuned else found[0]
        self.best = self.judge.score(share * found[0] + (1 - share) * tuned)

    def _try_frozen(self, features, *, columns, copies=None, worse_than=None):
        """Solve the closed form and predict with it from now on, unless its log loss is higher.

        Where nothing is given to compare with, the last one stays.
        """
        kept = self._solved(features, columns=columns, copies=copies)
        log_probas = self.judge.log_probas(self._build(kept), self.classifier.crop)
        score = self.judge.score(log_probas)
        name = {"embedding": "frozen, embedding", "all": "frozen", "both": "frozen, both"}[columns]
        self._record(name + (", changed copies" if copies else ""), None, score)
        if worse_than is None or score[1] > worse_than[1]:
            self.best, self.frozen, self.frozen_log_probas = score, kept, log_probas
            self._keep([kept], log_probas=log_probas)
        return score

    def _solved(self, features, *, columns, copies):
        return {
            "choices": self._frozen_choices()._asdict(),
            "closed_form": {"columns": columns, "copies": copies is not None},
            "state": self.tuning.frozen(*features, columns=columns, copies=copies),
        }

    def _frozen_choices(self):
        return choices_of(self.classifier, hidden_layers=(), freeze=1.0)

    def _pretrained(self):
        return self._build({"choices": self._frozen_choices()._asdict(), "state": {}})

    def _frozen_features(self, clips):
        least = self.time_left() * (1 - _FROZEN_SHARE)
        return self.tuning.features(
            self._pretrained(),
            clips,
            self.classifier.crop,
            enough=lambda: self.time_left() < least,
        )

    def _copies(self, clips):
        """Features and codes of changed copies of clips."""
        network = self._pretrained()
        copies = [
            self.tuning.features(network, copy, self.classifier.crop) for copy in _copies_of(clips)
        ]
        return tuple(np.concatenate(parts) for parts in zip(*copies, strict=True))

    # -- Networks that learn -----------------------------------------------------------------------

    def tune(self):
        """Train one network with the classifier's own settings."""
        if self.is_perfect():
            return
        initial = self.tuned[-1] if self.tuned else self.frozen
        schedule = self.schedule(self.classifier.max_epochs, self.seconds())
        found = yield from self.learn(choices_of(self.classifier), initial, schedule)
        if found is not None and found.score == self.best:
            yield from self.average([found])

    def average(self, found):
        """Predict with these networks, the best of them first, and with the first answer."""
        self.leader, self.tuned = found[0], [one.kept for one in found]
        log_probas = np.mean([one.log_probas for one in found], axis=0)
        self.frozen_share = share = self.judge.best_share(self.frozen_log_probas, log_probas)
        self._keep_all(share * self.frozen_log_probas + (1 - share) * log_probas)
        yield

    def refit(self):
        """Solve and train once more, with the held-out clips too."""
        if self.time_left() < _RESERVED_PASSES * self.pass_seconds:
            return
        train, valid = self.data.train, self.data.valid
        clips = LabelledWaveforms(
            [*train.waveforms, *valid.waveforms], np.concatenate([train.codes, valid.codes])
        )
        features = self._frozen_features(clips)
        settings = self.frozen["closed_form"]
        time_for_copies = self.time_left() > 2 * len(_COPY_SPEEDS) * self.pass_seconds
        copies = self._copies(clips) if settings["copies"] and time_for_copies else None
        self.frozen = self._solved(features, columns=settings["columns"], copies=copies)
        self._record("frozen, all clips", None, None)
        self._keep_all()
        yield
        best = self.leader
        if best is None:
            return
        schedule = self.schedule(best.n_epochs, self._unreserved())
        choices = Choices(**best.kept["choices"])
        network = None
        for loss, averaged in self._train(clips, choices, self.frozen, schedule):
            network = averaged
            self._record("fine-tuned, all clips", loss, None)
        if network is None or schedule.step < _LEAST_SHARE * schedule.n_steps_planned:
            return
        if self.time_left() > self.pass_seconds:
            network = self.tuning.solve_head(network, clips, choices.crop)
        self.tuned.append(self._kept(network, choices))
        self._keep_all()
        yield

    def learn(self, choices, initial, schedule):
        """Train a network; yield when it is better than any before; return the best of it."""
        best, best_epoch = None, 0
        clips = self.data.train
        for epoch, (loss, network) in enumerate(self._train(clips, choices, initial, schedule), 1):
            found = self._judge(network, choices, epoch)
            self._record("fine-tuned", loss, found.score)
            if best is None or found.score > best.score:
                best, best_epoch = found, epoch
                if self._keep_if_best(best):
                    yield
            elif epoch - best_epoch >= self.classifier.patience:
                break
        if best is None or self.time_left() < self.pass_seconds:
            return best
        network = self.tuning.solve_head(self._build(best.kept), clips, choices.crop)
        found = self._judge(network, choices, best.n_epochs)
        self._record("fine-tuned, head solved", None, found.score)
        if found.score > best.score:
            best = found
            if self._keep_if_best(best):
                yield
        return best

    def _train(self, clips, choices, initial, schedule):
        state = initial["state"]
        if initial["choices"]["hidden_layers"] != choices.hidden_layers:
            state = {k: v for k, v in state.items() if not k.startswith("hidden.")}
        return self.tuning.train(
            clips,
            state,
            choices,
            schedule,
            speed=self.speed,
            warm_up=self.classifier.warm_up if initial is self.frozen else 0,
        )

    def _judge(self, network, choices, n_epochs):
        """How well a network predicts the held-out clips, together with the first answer."""
        log_probas = self.judge.log_probas(network, choices.crop)
        score = self.judge.score((log_probas + self.frozen_log_probas) / 2)
        return Found(self._kept(network, choices), score, log_probas, n_epochs)

    def _kept(self, network, choices):
        freeze = min(choices.freeze, self.least_frozen)
        return {"choices": choices._asdict(), "state": learnt_state(network, freeze)}

    def _keep_if_best(self, found):
        if not self._is_better(found.score):
            return False
        self.best = found.score
        mean = (found.log_probas + self.frozen_log_probas) / 2
        self._keep([self.frozen, found.kept], log_probas=mean)
        return True

    def is_perfect(self):
        """Whether no network could be accepted any more."""
        return self.about_speakers and self.best[0] >= 1

    def _is_better(self, score):
        """Whether a score beats the best one; if classes are speakers, log loss does not decide."""
        return score[0] > self.best[0] if self.about_speakers else score > self.best

    def _keep_all(self, log_probas=None):
        self._keep([self.frozen, *self.tuned], self.frozen_share, log_probas)

    def _keep(self, networks, frozen_share=0.5, log_probas=None):
        """Predict with these from now on; `log_probas` is what they say of the held-out clips.

        Without it, as they were trained on these clips, the temperature stays.
        """
        if log_probas is not None and self.data.judges != "training":
            self.temperature = self.judge.temperature(log_probas)
        self.classifier._keep(networks, frozen_share, self.temperature)

    # -- Small parts -------------------------------------------------------------------------------

    def _build(self, kept):
        tuning = self.tuning
        return restore(kept, tuning.model, tuning.n_classes, tuning.pretrained, tuning.device)

    def _record(self, name, loss, score):
        valid_score, negative_loss = score or (None, None)
        self.classifier._record(
            network=name,
            train_loss=loss,
            valid_loss=None if score is None else -negative_loss,
            valid_score=valid_score,
        )

    def time_left(self):
        """Seconds until `max_time` is over."""
        return self.classifier._time_left()

    def _unreserved(self):
        """Seconds for training, without those reserved for the steps after it."""
        return self.time_left() - _RESERVED_PASSES * self.pass_seconds - _RESERVED_SECONDS

    def seconds(self):
        """Seconds for the networks that learn without the held-out clips."""
        return self._unreserved() * (_FIRST_SHARE if self.refits else 1.0)

    def schedule(self, n_epochs, seconds):
        """A training of so many epochs at most, and of so many seconds from now."""
        end = self.time_left() - seconds
        return Schedule(n_epochs, lambda: self.time_left() - end)


def _copies_of(clips):
    """Slower and faster copies of clips, no more than the closed form can take."""
    n_copies = min(len(_COPY_SPEEDS), _MAX_ROWS // len(clips.codes))
    for speed in sorted(_COPY_SPEEDS, key=lambda s: abs(np.log(s)))[:n_copies]:
        yield type(clips)([change_speed(w, speed) for w in clips.waveforms], clips.codes)
