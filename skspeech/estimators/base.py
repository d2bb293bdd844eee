"""The base class of the classifiers of clips."""

from abc import ABC, abstractmethod

import numpy as np
from sklearn.base import BaseEstimator, ClassifierMixin

from skspeech._one_clip import PredictMixin
from skspeech._typing import ClipsLike

__all__ = ["ClipClassifier"]


class ClipClassifier(PredictMixin, ClassifierMixin, BaseEstimator, ABC):
    """A classifier of recordings. A subclass writes `fit` and `predict_proba`."""

    @abstractmethod
    def fit(self, X, y):
        """Learn from clips."""

    @abstractmethod
    def predict_proba(self, X):
        """Predict the probability of each class."""

    def predict_log_proba(self, X: ClipsLike) -> np.ndarray:
        """Predict the logarithm of each class's probability.

        Parameters
        ----------
        X : sequence of n_clips clips
            As in :meth:`fit`.

        Returns
        -------
        ndarray of shape (n_clips, n_classes)
            In the order of `classes_`; finite even if a probability is 0.
        """
        return np.log(np.maximum(self.predict_proba(X), np.finfo(np.float64).tiny))

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags.string = True
        # scikit-learn's checks use random numbers, from which it can't learn anything.
        tags.classifier_tags.poor_score = True
        return tags
