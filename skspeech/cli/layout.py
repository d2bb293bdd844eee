"""Detect a folder that is one class of a data set, whose speakers were taken for classes."""

import contextlib
import os
import re
from pathlib import Path

from skspeech._download import some
from skspeech.audio.formats import is_hidden

__all__ = ["doubtful_classes"]

_SPEAKER = re.compile(
    r"(speaker|spk|spkr|actor|person|subject|talker|voice|participant|singer|user|s|p|id)"
    r"[\s_-]?\d+",
    re.IGNORECASE,
)
# Parts of a data set have the same sub-folders, but are not classes themselves.
_PART = re.compile(r"(train|test|valid|val|dev|eval|fold|split|part|set|data)", re.IGNORECASE)
_MAX_BESIDE = 100  # folders to look into


def doubtful_classes(folder, names):
    """Say what was taken for classes, if they look like speakers of one class.

    It is only a remark: the speakers may be the classes that the user wants.

    Parameters
    ----------
    folder : str or path-like
        The folder that the user gave.
    names : set of str
        Its sub-folders, which were taken for classes.

    Returns
    -------
    str
        Empty where there is nothing to say.
    """
    folder = Path(folder).resolve()
    beside = [] if _PART.match(folder.name) else _alike(folder, names)
    if not beside and not all(map(_SPEAKER.fullmatch, names)):
        return ""
    text = f"The sub-folders of {folder.name!r} are taken for the classes: {some(sorted(names))}. "
    if beside:
        text += f"The folders beside it, {some(beside)}, have sub-folders of the same names. "
    return (
        f"{text}If these are speakers, and {folder.name!r} is one of the classes, give the folder "
        f"above: {folder.parent}"
    )


def _alike(folder, names):
    """Sibling folders with at least half of the same names; none if they are parts of a set."""
    found = []
    with contextlib.suppress(OSError):
        for other in sorted(_folders_in(folder.parent) - {folder.name})[:_MAX_BESIDE]:
            with contextlib.suppress(OSError):
                if 2 * len(_folders_in(folder.parent / other) & names) >= len(names):
                    found.append(other)
    return [] if any(map(_PART.match, found)) else found


def _folders_in(folder):
    with os.scandir(folder) as entries:
        return {entry.name for entry in entries if entry.is_dir() and not is_hidden(entry.name)}
