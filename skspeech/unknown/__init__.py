"""An answer for clips of classes that a model was not trained on."""

from skspeech.unknown.rejector import UnknownRejector

__all__ = ["UnknownRejector"]
