"""The module in which pickles of version 0.1.0 look for models from worker processes."""

from skspeech._pickled import PickledClassifier

__all__ = ["PickledClassifier"]
