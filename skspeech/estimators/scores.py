"""The base class of linear classifiers."""

from abc import ABC, abstractmethod

import numpy as np
from scipy.special import log_softmax
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_is_fitted, validate_data

from skspeech._labels import check_class_weight, check_groups, check_labels, check_sample_weight
from skspeech._typing import ArrayLike
from skspeech.estimators.targets import check_every_class_counts

__all__ = ["LinearScores", "class_log_probas"]


class LinearScores(ClassifierMixin, BaseEstimator, ABC):
    """Predicts from `coef_` and `intercept_`, which a subclass's `fit` sets.

    With two classes there is one row of weights, as in scikit-learn: the log odds of the second.
    """

    __metadata_request__fit = {"groups": True, "sample_weight": True}

    @abstractmethod
    def fit(self, X, y):
        """Set `coef_` and `intercept_`."""

    def _check_data(self, X, y, groups, sample_weight):
        """Set `classes_`; return features, the labels' positions in `classes_`, groups and weights.

        Rows of weight 0 are left out. If no weights are given, they are 1.
        """
        check_class_weight(getattr(self, "class_weight", None))
        X, y = validate_data(self, X, check_labels(y), dtype=[np.float64, np.float32])
        check_classification_targets(y)
        classes, codes = np.unique(y, return_inverse=True)
        if len(classes) < 2:
            raise ValueError(
                f"{type(self).__name__} needs at least 2 classes, but y holds only one class: "
                f"{classes.tolist()[0]!r}."
            )
        groups = check_groups(groups, len(y))
        if sample_weight is None:
            weight = np.ones(len(y))
        else:
            weight = check_sample_weight(sample_weight, len(y))
            check_every_class_counts(classes, codes, weight)
            keep = weight > 0
            X, codes, weight = X[keep], codes[keep], weight[keep]
            groups = None if groups is None else groups[keep]
        self.classes_ = classes  # not before, or a fit that is refused would rename the old classes
        return X, codes, groups, weight

    def decision_function(self, X: ArrayLike) -> np.ndarray:
        """Compute the scores of the classes.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Features.

        Returns
        -------
        ndarray of shape (n_samples,) or (n_samples, n_classes)
            Log-probabilities up to a constant per row; with two classes, the log odds of the
            second.
        """
        check_is_fitted(self)
        X = validate_data(self, X, reset=False, dtype=[np.float64, np.float32])
        scores = X @ self.coef_.T + self.intercept_
        return scores.ravel() if len(self.classes_) == 2 else scores

    def predict_log_proba(self, X: ArrayLike) -> np.ndarray:
        """Predict the logarithm of each class's probability.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Features.

        Returns
        -------
        ndarray of shape (n_samples, n_classes)
            In the order of `classes_`.
        """
        return class_log_probas(self.decision_function(X))

    def predict_proba(self, X: ArrayLike) -> np.ndarray:
        """Predict the probability of each class.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Features.

        Returns
        -------
        ndarray of shape (n_samples, n_classes)
            In the order of `classes_`; each row sums to 1.
        """
        return np.exp(self.predict_log_proba(X))

    def predict(self, X: ArrayLike) -> np.ndarray:
        """Predict the labels.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Features.

        Returns
        -------
        ndarray of shape (n_samples,)
            Labels.
        """
        best = self.predict_log_proba(X).argmax(axis=1)
        return self.classes_[best]


def class_log_probas(scores):
    """Log-probabilities (n_samples, n_classes) from the output of `decision_function`."""
    if scores.ndim == 1:
        scores = np.column_stack([np.zeros_like(scores), scores])
    return log_softmax(scores, axis=1)
