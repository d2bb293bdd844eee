"""Approach 6: a pretrained network, trained further."""

from skspeech.estimators.fine_tuned.classifier import FineTunedSpeakerClassifier

__all__ = ["FineTunedSpeakerClassifier"]
