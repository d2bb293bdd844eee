"""A model from a worker process, kept as a pickle until its first use."""

import pickle
import threading

import numpy as np
from sklearn.base import BaseEstimator, ClassifierMixin

from skspeech._objects import objects_in

__all__ = ["PickledClassifier", "parts_of"]


class PickledClassifier(ClassifierMixin, BaseEstimator):
    """A fitted classifier from another process, unpickled on its first prediction.

    So the process that holds the ensemble imports a deep learning library only if it is used.

    Attributes
    ----------
    classes_ : ndarray
        The labels that the classifier knows.
    """

    @classmethod
    def from_bytes(cls, payload, classes, description):
        """Wrap a pickle that came from one of this process's own workers."""
        self = cls()
        self.payload_ = payload
        self.classes_ = np.asarray(classes)
        self.description_ = description
        self._lock = threading.Lock()
        self._model = None
        return self

    def load(self):
        """Return the classifier itself.

        Returns
        -------
        classifier
        """
        with self._lock:
            if self._model is None:
                self._model = pickle.loads(self.payload_)
            return self._model

    def fit(self, X, y):
        """Refuse: this one is fitted."""
        raise TypeError("This classifier was trained in a worker process; it cannot be fitted.")

    def predict_proba(self, X):
        """Predict by the classifier itself."""
        return self.load().predict_proba(X)

    def predict(self, X):
        """Predict by the classifier itself."""
        return self.load().predict(X)

    def __sklearn_is_fitted__(self):
        return True

    def __repr__(self):
        return f"PickledClassifier({self.description_})"

    def __getstate__(self):
        return {
            "payload_": self.payload_,
            "classes_": self.classes_,
            "description_": self.description_,
        }

    def __setstate__(self, state):
        self.__dict__.update(state)
        self._lock = threading.Lock()
        self._model = None


def parts_of(model, kind):
    """Find the parts of a model that are of a class, those in pickles of workers, too.

    Parameters
    ----------
    model : estimator
    kind : type

    Yields
    ------
    object
        Each part once.
    """
    for item in objects_in(model):
        if isinstance(item, PickledClassifier):
            item.load()  # the search goes on in what this leaves behind
        elif isinstance(item, kind):
            yield item
