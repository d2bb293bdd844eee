"""The steps of a fit of the recurrent approach: the start, then rounds of networks."""

import sys

import numpy as np

from skspeech._device import resolve_device
from skspeech.audio import SAMPLING_RATE
from skspeech.ensemble.scoring import balanced_accuracy
from skspeech.estimators.recurrent.networks import no_tracing_advice
from skspeech.estimators.recurrent.start import fit_start, predict_start
from skspeech.estimators.recurrent.training import Candidates, PreparedClips, Training
from skspeech.estimators.training.balanced import balanced_log_loss, floored_log
from skspeech.estimators.training.keras import device_scope, import_keras

__all__ = ["Run", "setting_for"]

# The hops of hop_length="auto": the first with which most clips have no more frames than these.
_HOPS = (160, 240, 320, 400, 480, 560, 640)
_TARGET_FRAMES = 80
_FRAMES_MULTIPLE = 4  # because of the networks' pooling
# Seconds without which Keras is not imported, and no network begun.
_IMPORT_SECONDS, _BEGIN_SECONDS = 10.0, 4.0


class Run:
    """One call of a classifier's `fit`, with a `TrainingData`.

    Its steps are generators, which yield each time the classifier predicts better. They keep the
    classifier's fitted attributes and its `history_` up to date.
    """

    def __init__(self, classifier, data):
        self.classifier, self.data = classifier, data
        self.device = resolve_device(classifier.device)

    def start(self):
        """Fit the logistic regression, or go on from an earlier fit."""
        clf, valid = self.classifier, self.data.valid
        if not clf._starts_warm:
            fit_start(clf, self.data.train)
            clf.snapshots_ = []
        proba = predict_start(clf, valid.waveforms)
        if not clf._starts_warm:
            clf._record(
                network="start",
                round=0,
                valid_loss=balanced_log_loss(valid.codes, floored_log(proba)),
                valid_score=balanced_accuracy(proba, valid.codes),
            )
        self.candidates = Candidates(valid.codes, proba, clf.n_snapshots, clf.blend)
        yield

    def train_rounds(self):
        """Train one network after another, and average the best snapshots."""
        clf = self.classifier
        seconds = _BEGIN_SECONDS if "keras" in sys.modules else _IMPORT_SECONDS
        if clf.max_rounds == 0 or clf._time_left() <= seconds:
            return
        probas = clf._predict_snapshots(self.data.valid.waveforms)
        for snapshot, proba in zip(clf.snapshots_, probas, strict=True):
            self.candidates.add(snapshot, proba)
        self.candidates.improve()
        import_keras()
        clips = PreparedClips(self.data, self.device)
        order = list(dict.fromkeys(clf.networks))
        n_rounds = np.inf if clf.max_rounds is None else clf.max_rounds
        number = 1
        with device_scope(clf.device), no_tracing_advice():
            while number <= n_rounds:
                scores = dict.fromkeys(order, -np.inf)
                for position, network in enumerate(order):
                    if clf._time_left() < _BEGIN_SECONDS:
                        return
                    n_left = len(order) * self._rounds_left(number) - position
                    training = self._training(network, number, clips, n_left)
                    for snapshot, proba in training.loops():
                        score = self.candidates.add(snapshot, proba)
                        scores[network] = max(scores[network], score)
                        if self.candidates.improve():
                            clf.snapshots_ = self.candidates.chosen
                            yield
                order.sort(key=scores.get, reverse=True)
                number += 1

    def _rounds_left(self, number):
        clf = self.classifier
        planned = len(clf.rounds) if clf.max_rounds is None else clf.max_rounds
        return max(1, planned - number + 1)

    def _training(self, network, number, clips, n_left):
        """The training of a network in a round, where so many are to come with this one."""
        clf = self.classifier
        setting = setting_for(clf, network, number, self.data.train.waveforms)
        return Training(
            clf,
            setting,
            clips,
            self.data.rng,
            clf._time_left() / n_left,
            clf._time_left(),
            self._first_weights(setting),
        )

    def _first_weights(self, setting):
        """Weights that a warm start goes on from; None where there are none for this setting."""
        clf = self.classifier
        for snapshot in clf.snapshots_ if clf._starts_warm else ():
            if all(snapshot[key] == setting[key] for key in setting if key != "round"):
                return snapshot["weights"]
        return None


def setting_for(classifier, network, number, waveforms):
    """What a network reads in a round, and how large it is, as plain values."""
    clf = classifier
    features, n_bands, seconds = clf.rounds[min(number, len(clf.rounds)) - 1]
    if features == "auto":
        features = "logmel" if network == "crnn" else "mfcc"
    lengths = np.minimum([len(waveform) for waveform in waveforms], seconds * SAMPLING_RATE)
    usual = np.percentile(lengths, 95)
    hop = clf.hop_length
    if hop == "auto":
        hop = next((h for h in _HOPS if usual < _TARGET_FRAMES * h), _HOPS[-1])
    n_frames = min(clf.max_frames, 1 + int(usual // hop))
    return {
        "network": network,
        "round": number,
        "features": features,
        "n_bands": int(n_bands),
        "n_fft": int(clf.n_fft),
        "hop_length": int(hop),
        "n_frames": -(-n_frames // _FRAMES_MULTIPLE) * _FRAMES_MULTIPLE,
        "units": int(clf.units),
        "conv_filters": [int(n) for n in clf.conv_filters],
    }
