"""The clips that a visitor has collected: where each belongs, and what is wrong with them."""

import itertools
import os
import re
import shutil
import unicodedata
import zipfile
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath

import numpy as np

from skspeech.audio import as_clips
from skspeech.audio.formats import AUDIO_EXTENSIONS, is_hidden
from skspeech.audio.measuring import measure

__all__ = ["Collected", "Collection", "Limits", "arrays", "arrived", "placed", "tidy"]

_LONGEST_NAME = 80
_LONGEST_FILE_NAME = 40  # letters; some of them take four bytes
AUDIT_SECONDS = 3.0  # while a visitor waits


@dataclass(frozen=True)
class Limits:
    """What a visitor may add.

    Parameters
    ----------
    max_bytes : int, default=20_000_000
        Size of a file.
    max_seconds : float, default=60.0
        Length of a clip.
    max_clips : int, default=5000
        Number of clips.
    max_total_bytes : int, default=1_000_000_000
        Size of all added files together.
    """

    max_bytes: int = 20_000_000
    max_seconds: float = 60.0
    max_clips: int = 5000
    max_total_bytes: int = 1_000_000_000


@dataclass(eq=False)
class Collected:
    """One clip.

    Parameters
    ----------
    path : str
    name : str
        As the visitor knows it.
    label : str
    group : str, default=""
        The speaker; empty if it is not known.
    is_left_out : bool, default=False
        Whether it is listed, but not learnt from.
    """

    path: str
    name: str
    label: str
    group: str = ""
    is_left_out: bool = False


def placed(names, label="", group=""):
    """Tell from the folders of files which class and speaker each belongs to.

    Parameters
    ----------
    names : list of str
        Paths relative to what was dropped, with slashes.
    label : str, default=""
        The class of all of them. If empty, the folders are the classes: those in the dropped
        folder if there are several, and otherwise the dropped folders themselves.
    group : str, default=""
        The speaker of all of them. If empty, the folder below that of the class.

    Returns
    -------
    list of (str, str)
        Class and speaker of each file; empty where nothing tells it.
    """
    parts = [PurePosixPath(name).parts for name in names]
    if not label:
        tops = {part[0] for part in parts if len(part) > 1}
        inner = {part[1] for part in parts if len(part) > 2}
        n_inner = sum(len(part) > 2 for part in parts)
        if len(tops) == 1 and len(inner) > 1 and 2 * n_inner > len(parts):
            parts = [part[1:] for part in parts]
    return [
        (
            label or (tidy(part[0]) if len(part) > 1 else ""),
            group or (tidy(part[1]) if len(part) > 2 else ""),
        )
        for part in parts
    ]


def arrived(sent, folder):
    """Files that a browser has sent; it says itself where they are, and could say anything.

    Parameters
    ----------
    sent : list of (str, str)
        Path of each file on this machine, and its name.
    folder : path-like
        Where such files are.

    Returns
    -------
    list of (pathlib.Path, str)

    Raises
    ------
    ValueError
        If one is elsewhere.
    """
    files = [(Path(path).resolve(), str(name)) for path, name in sent]
    if not all(path.is_relative_to(Path(folder).resolve()) for path, _ in files):
        raise ValueError("That is no file that was sent.")
    return files


def tidy(name):
    """A name of a class or a speaker as it is shown: one line of visible characters."""
    visible = (c if unicodedata.category(c)[0] != "C" else " " for c in str(name))
    return " ".join("".join(visible).split())[:_LONGEST_NAME]


class Collection:
    """Clips with labels, some of them in a folder that belongs to the visitor.

    Parameters
    ----------
    folder : path-like
        Where added files are kept; it is made when the first one is added.
    limits : Limits
    clips : list of Collected, default=()
        Clips that are there at the beginning. The files stay where they are.
    """

    def __init__(self, folder, limits, clips=()):
        self.folder, self.limits = Path(folder), limits
        self.clips = [replace(clip) for clip in clips]
        self._n_bytes, self._numbers = 0, itertools.count()

    # ---------------------------------------------------------------- what there is

    @property
    def learnt_from(self):
        """The clips that are not left out."""
        return [clip for clip in self.clips if not clip.is_left_out]

    @property
    def labels(self):
        """Names of the classes, sorted."""
        return sorted({clip.label for clip in self.learnt_from})

    def table(self):
        """A row for each class: name, number of clips, number of known speakers."""
        rows = []
        for label in self.labels:
            own = [clip for clip in self.learnt_from if clip.label == label]
            rows.append((label, len(own), len({clip.group for clip in own} - {""})))
        return rows

    def findings(self, n_jobs=None):
        """What is wrong or doubtful, with the names that the visitor knows.

        Returns
        -------
        list of skspeech.audit.Finding
        """
        from skspeech.audit import audit

        clips = self.learnt_from
        if not clips:
            return []
        paths, labels, groups = arrays(clips)
        found = audit(paths, labels, groups, max_seconds=AUDIT_SECONDS, n_jobs=n_jobs)
        return [
            replace(finding, names=[clips[i].name for i in finding.clips] if finding.names else [])
            for finding in found
        ]

    # ---------------------------------------------------------------- changes

    def add(self, files, label="", group=""):
        """Add recordings; those that can't be used are told.

        Parameters
        ----------
        files : list of (path-like, str)
            Each file, and its path relative to what was dropped.
        label, group : str, default=""
            Of all of them; empty takes them from the folders, see `placed`.

        Returns
        -------
        n_added : int
        refused : list of (str, str)
            Names of the others, and reasons.
        """
        # Folders hold other files, too; whoever adds a file alone means it.
        files = [
            (path, name)
            for path, name in sorted(files, key=lambda file: file[1])
            if not any(map(is_hidden, PurePosixPath(name).parts))
            and ("/" not in name or PurePosixPath(name).suffix.lower() in AUDIO_EXTENSIONS)
        ]
        places = placed([name for _, name in files], tidy(label), tidy(group))
        n_added, refused = 0, []
        for (path, name), (its_label, its_group) in zip(files, places):
            reason = self._why_not(path, its_label)
            if reason:
                refused.append((name, reason))
                continue
            own = self._take(path, name)
            self.clips.append(Collected(str(own), name, its_label, its_group))
            n_added += 1
        return n_added, refused

    def _why_not(self, path, label):
        limits, size = self.limits, os.path.getsize(path)
        if not label:
            return "It is in no folder of a class. Name its class, or drop the class's folder."
        if size > limits.max_bytes:
            return f"It has {size / 1e6:.1f} MB; {limits.max_bytes / 1e6:g} MB at most."
        if len(self.clips) >= limits.max_clips:
            return f"There are {limits.max_clips} clips already, which is the limit."
        if self._n_bytes + size > limits.max_total_bytes:
            return f"All files together have {limits.max_total_bytes / 1e6:g} MB at most."
        facts = measure(as_clips([str(path)])[0])
        if facts["problem"]:
            return f"It can't be used: {facts['problem']}"
        if facts["duration"] > limits.max_seconds:
            return (
                f"It lasts {facts['duration']:.0f} s; {limits.max_seconds:g} s at most. Cut out "
                "what belongs to the class."
            )
        return ""

    def _take(self, path, name):
        """Keep a file under a name of our own; nothing in the visitor's name can do harm."""
        self.folder.mkdir(parents=True, exist_ok=True)
        own = self.folder / f"{next(self._numbers):06d}_{_file_name(name)}"
        try:
            os.link(path, own)
        except OSError:  # another file system, or one without links
            shutil.copyfile(path, own)
        self._n_bytes += own.stat().st_size
        return own

    def rename(self, label, new):
        """Give a class another name; if there is a class of that name, they become one."""
        new = tidy(new)
        if not new:
            raise ValueError("Give the new name.")
        for clip in self.clips:
            if clip.label == label:
                clip.label = new

    def remove(self, label):
        """Remove a class, and its files as far as they were added here."""
        for clip in self.clips:
            if clip.label == label and Path(clip.path).parent == self.folder:
                self._n_bytes -= os.path.getsize(clip.path)
                os.unlink(clip.path)
        self.clips = [clip for clip in self.clips if clip.label != label]

    def pack(self, path):
        """Write all clips into a ZIP file with a folder a class, as ``skspeech fit`` reads it.

        Returns
        -------
        path-like
            The file.
        """
        clips = self.learnt_from
        deep = bool(clips) and all(clip.group for clip in clips)
        folders = {}  # by label or speaker: different names stay different
        # Not compressed: recordings hardly shrink. Files may be older than the format.
        with zipfile.ZipFile(path, "w", strict_timestamps=False) as file:
            for number, clip in enumerate(clips):
                names = [clip.label, clip.group] if deep else [clip.label]
                where = "/".join(_folder_name(name, folders) for name in names)
                file.write(clip.path, f"{where}/{number:06d}_{_file_name(clip.name)}")
        return path


def _file_name(name):
    """The last part of a path as a name that every system takes."""
    path = PurePosixPath(name)
    stem = re.sub(r"[^\w-]", "_", path.stem)[-_LONGEST_FILE_NAME:]
    return stem + re.sub(r"[^.a-z0-9]", "", path.suffix.lower())[:8]


def _folder_name(name, known):
    """A folder's name that every system takes; equal names get equal folders, others don't."""
    if name not in known:
        plain = re.sub(r"[^\w .-]|^\.|[ .]$", "_", name)
        taken = {folder.casefold() for folder in known.values()}
        choices = itertools.chain([plain], (f"{plain}_{i}" for i in itertools.count(2)))
        known[name] = next(choice for choice in choices if choice.casefold() not in taken)
    return known[name]


def arrays(clips):
    """Paths, labels, and groups; None unless every clip has a group."""
    groups = [clip.group for clip in clips]
    return (
        [clip.path for clip in clips],
        np.array([clip.label for clip in clips]),
        np.array(groups) if groups and all(groups) else None,
    )
