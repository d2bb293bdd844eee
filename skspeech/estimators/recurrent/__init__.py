"""Approach 4: recurrent networks with attention."""

from skspeech.estimators.recurrent.classifier import RecurrentAttentionClassifier

__all__ = ["RecurrentAttentionClassifier"]
