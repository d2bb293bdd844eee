"""The methods of classifiers that follow from others: `predict` and `predict_one`."""

from collections.abc import Callable
from typing import Any

import numpy as np

from skspeech._typing import ClipLike, ClipsLike

__all__ = ["OneClipMixin", "PredictMixin"]


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
