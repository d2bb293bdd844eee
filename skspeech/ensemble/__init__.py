"""Averages of classifiers: no single model is best on all data, so several are asked."""

from skspeech.ensemble.blending import geometric_mean
from skspeech.ensemble.voting import GeometricMeanVotingClassifier

__all__ = ["GeometricMeanVotingClassifier", "geometric_mean"]
