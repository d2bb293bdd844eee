"""Warnings that point at the user's line."""

import sys
import warnings

__all__ = ["warn"]

# They stand between the user's line and the one that warns.
_BETWEEN = ("skspeech", "sklearn", "contextlib")


def warn(text, category=UserWarning):
    """Warn of the line that called skspeech, also if scikit-learn is in between."""
    frame, level = sys._getframe(), 1
    while frame.f_back and _package(frame) in _BETWEEN:
        frame, level = frame.f_back, level + 1
    warnings.warn(text, category, stacklevel=level)


def _package(frame):
    return frame.f_globals.get("__name__", "").partition(".")[0]
