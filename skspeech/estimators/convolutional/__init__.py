"""Approach 5: a convolutional network, trained with mixup."""

from skspeech.estimators.convolutional.classifier import MixupCNNClassifier

__all__ = ["MixupCNNClassifier"]
