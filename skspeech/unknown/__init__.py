"""Let a model answer "unknown" to clips of classes that it was not trained on."""

from skspeech.unknown.rejector import UnknownRejector

__all__ = ["UnknownRejector"]
