"""The method `predict_one` of classifiers."""

__all__ = ["OneClipMixin"]


class OneClipMixin:
    """Adds `predict_one` to a classifier."""

    def predict_one(self, clip):
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
