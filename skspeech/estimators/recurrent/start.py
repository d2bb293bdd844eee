"""What the recurrent approach starts with: a logistic regression on log-mel statistics."""

import numpy as np
from scipy.special import softmax
from sklearn.linear_model import LogisticRegression

from skspeech._device import resolve_device
from skspeech.audio import SAMPLING_RATE
from skspeech.estimators.training.spectrograms import log_mel

__all__ = ["fit_start", "predict_start"]

# The mean and deviation of these log-mel bands over so many seconds.
_SPECTROGRAM = {"n_fft": 1600, "hop_length": 640, "n_mels": 30}
_SECONDS = 5.0


def fit_start(classifier, clips):
    """Fit it to `LabelledWaveforms`; it is kept in arrays of the classifier."""
    rows = _features(classifier, clips.waveforms)
    mean, scale = rows.mean(axis=0), np.maximum(rows.std(axis=0), 0.1)
    solver = LogisticRegression(class_weight="balanced", max_iter=500, tol=1e-3)
    solver.fit((rows - mean) / scale, clips.codes)
    coef, intercept = solver.coef_, solver.intercept_
    if len(coef) == 1:  # log odds of the second of two classes
        coef, intercept = np.vstack([0 * coef, coef]), np.append(0.0, intercept)
    coef = coef / scale
    classifier.start_coef_, classifier.start_intercept_ = coef, intercept - coef @ mean


def predict_start(classifier, waveforms):
    """Its probabilities, (n_clips, n_classes)."""
    rows = _features(classifier, waveforms)
    return softmax(rows @ classifier.start_coef_.T + classifier.start_intercept_, axis=1)


def _features(classifier, waveforms):
    beginnings = [waveform[: int(_SECONDS * SAMPLING_RATE)] for waveform in waveforms]
    device = resolve_device(classifier.device)
    return np.hstack(log_mel(beginnings, device=device, **_SPECTROGRAM).statistics())
