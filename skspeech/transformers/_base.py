"""Where the base of all extractors was: :mod:`skspeech.transformers.base`."""

from skspeech.transformers._windowed import STATISTICS
from skspeech.transformers.base import Extractor as BaseExtractor

__all__ = ["STATISTICS", "BaseExtractor"]
