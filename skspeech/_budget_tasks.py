"""Where pickles of version 0.1.0 look for what worker processes trained."""

from skspeech._pickled import PickledClassifier

__all__ = ["PickledClassifier"]
