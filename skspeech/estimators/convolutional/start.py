"""What `MixupCNNClassifier` starts with: a linear model of each band's mean and deviation."""

import warnings

import numpy as np
from sklearn.pipeline import make_pipeline

from skspeech.estimators.discriminant import ShrinkageDiscriminantAnalysis
from skspeech.estimators.training.balanced import floored_log
from skspeech.transformers.scaling import ClippedStandardScaler

__all__ = ["fit_start", "log_start"]


def fit_start(examples):
    """A discriminant analysis, fitted to `Examples`."""
    start = make_pipeline(ClippedStandardScaler(), ShrinkageDiscriminantAnalysis())
    with warnings.catch_warnings():
        # `fit` has already warned of many classes with few clips.
        warnings.filterwarnings("ignore", "The number of unique classes is greater")
        return start.fit(_features(examples.spectrograms), examples.codes)


def log_start(start, spectrograms):
    """Logarithms of its probabilities, (n_clips, n_classes)."""
    return floored_log(start.predict_proba(_features(spectrograms)))


def _features(spectrograms):
    return np.hstack(spectrograms.statistics())
