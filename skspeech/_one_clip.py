"""What follows from the probabilities of a classifier: `predict`, `predict_one`, the label."""

from collections.abc import Callable
from typing import Any

import numpy as np
from sklearn.frozen import FrozenEstimator
from sklearn.model_selection import FixedThresholdClassifier, TunedThresholdClassifierCV
from sklearn.pipeline import Pipeline

from skspeech._typing import ClipLike, ClipsLike

__all__ = ["OneClipMixin", "PredictMixin", "labels_of"]

_BY_THRESHOLD = (FixedThresholdClassifier, TunedThresholdClassifierCV)


def labels_of(model, X, proba):
    """The labels that a classifier gives to clips of which it has told the probabilities.

    Parameters
    ----------
    model : fitted classifier
    X : sequence of n_clips clips
        It is asked again about these only if it decides by a threshold, so that another label than
        the most probable one may be its answer.
    proba : array-like of shape (n_clips, n_classes)
        What its `predict_proba` says of them.

    Returns
    -------
    ndarray of shape (n_clips,)
    """
    if _has_threshold(model):
        return np.asarray(model.predict(X))
    return np.asarray(model.classes_)[np.argmax(proba, axis=1)]


def _has_threshold(model):
    """Whether the classifier, or the one that it hands the decision on to, has a threshold."""
    if isinstance(model, _BY_THRESHOLD):
        return True
    if isinstance(model, Pipeline):
        inner = model.steps[-1][1]
    elif isinstance(model, FrozenEstimator):
        inner = model.estimator
    else:
        inner = getattr(model, "best_estimator_", getattr(model, "estimator_", None))
    return inner is not None and _has_threshold(inner)


class OneClipMixin:
    """Adds `predict_one` to a classifier."""

    predict: Callable

    def predict_one(self, clip: ClipLike) -> Any:
        """Predict the label of one clip.

        Parameters
        ----------
        clip : clip
            A path, a waveform, a ``(waveform, sampling_rate)`` pair, or anything else that may be
            an item of the sequence that `fit` takes.

        Returns
        -------
        label : str, int or another plain Python object
            Its label, written as in training.

        Examples
        --------
        >>> from skspeech import SpectralStatistics, GeometricMeanVotingClassifier
        >>> from skspeech.datasets import make_tones
        >>> from sklearn.naive_bayes import GaussianNB
        >>> from sklearn.pipeline import make_pipeline
        >>> tones = make_tones(20, n_classes=2, duration=0.3, random_state=0)
        >>> labels = ["high" if code else "low" for code in tones.target]
        >>> member = make_pipeline(SpectralStatistics(), GaussianNB())
        >>> classifier = GeometricMeanVotingClassifier([("bayes", member)])
        >>> classifier.fit(tones.data, labels).predict_one(tones.data[0]) == labels[0]
        True
        """
        return self.predict([clip]).tolist()[0]


class PredictMixin(OneClipMixin):
    """Adds `predict` and `predict_one` to a classifier that has `predict_proba`."""

    predict_proba: Callable
    classes_: np.ndarray

    def predict(self, X: ClipsLike) -> np.ndarray:
        """Predict the label of each clip.

        Parameters
        ----------
        X : sequence of n_clips clips
            As in :meth:`fit`.

        Returns
        -------
        ndarray of shape (n_clips,)
            The most probable labels.
        """
        proba = self.predict_proba(X)
        return self.classes_[proba.argmax(axis=1)]
