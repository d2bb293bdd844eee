"""Folders of your own clips."""

import os
from pathlib import Path
from typing import Literal

import numpy as np
from sklearn.utils import Bunch

from skspeech._download import some
from skspeech._sklearn import StrOptions, validate_params
from skspeech._typing import ArrayLike, PathLike
from skspeech._warning import warn
from skspeech.audio.errors import printable
from skspeech.audio.formats import is_hidden, loose_recordings, recordings_in

__all__ = ["load_audio_folder", "second_level"]


@validate_params(
    {
        "path": [str, os.PathLike],
        "categories": ["array-like", None],
        "target": [StrOptions({"index", "name"})],
        "description": [str, None],
        "return_X_y": ["boolean"],
    },
    prefer_skip_nested_validation=True,
)
def load_audio_folder(
    path: PathLike,
    *,
    categories: ArrayLike | None = None,
    target: Literal["index", "name"] = "index",
    description: str | None = None,
    return_X_y: bool = False,
) -> Bunch | tuple:
    """List the clips of a folder that has one sub-folder for each class.

    The layout is that of :func:`sklearn.datasets.load_files`, with an optional second level that
    says which clips belong together, such as the speaker or the recording session::

        container/             container/
            class_1/               class_1/
                a.wav                  speaker_1/
                b.flac                     a.wav
            class_2/                   speaker_2/
                c.mp3                      b.wav
                                   class_2/
                                       speaker_1/
                                           c.wav

    Nothing is decoded. Hidden files and folders, ``__MACOSX`` and files without an audio extension
    are left out. A warning names left-out files that look like audio all the same, recordings
    beside the sub-folders, and sub-folders without any clip.

    Parameters
    ----------
    path : str or os.PathLike
        The folder that holds one sub-folder for each class.
    categories : array-like of str or None, default=None
        Names of the sub-folders to read; None reads all of them.
    target : {"index", "name"}, default="index"
        What `target` holds: the index of each clip's class, as :func:`sklearn.datasets.load_files`
        has it, or the class's name, which a classifier then predicts.
    description : str or None, default=None
        Text for ``DESCR``.
    return_X_y : bool, default=False
        Return ``(data, target)`` instead of a Bunch.

    Returns
    -------
    bunch : :class:`~sklearn.utils.Bunch` or tuple
        A Bunch with

        data : list of str
            Paths of the clips, sorted within each class.
        target : ndarray of shape (n_clips,), dtype int or str
            Index of each clip's class in `target_names`, or with ``target="name"`` its name.
        target_names : list of str
            Names of the classes: the sub-folders, sorted.
        groups : ndarray of shape (n_clips,), dtype str, or None
            Name of the second-level folder of each clip, if there is one. A name that occurs in
            several classes is one group. Give the groups to splitters such as
            :class:`~sklearn.model_selection.StratifiedGroupKFold`, so that no speaker is on both
            sides of a split.
        DESCR : str
            The description.

    Raises
    ------
    NotADirectoryError
        If `path` is not a folder.
    ValueError
        If there are no sub-folders, no class or one of `categories` has no clips, the name of a
        class or group is no text in UTF-8, or only some clips are in a second level; with
        ``return_X_y=True`` the levels don't matter.

    Examples
    --------
    >>> import numpy as np, soundfile, tempfile
    >>> from pathlib import Path
    >>> from skspeech.datasets import load_audio_folder
    >>> folder = Path(tempfile.mkdtemp())
    >>> for label in ("no", "yes"):
    ...     (folder / label / "anna").mkdir(parents=True)
    ...     soundfile.write(folder / label / "anna" / "1.wav", np.zeros(8000), 16000)
    >>> clips = load_audio_folder(folder)
    >>> clips.target_names, clips.target, clips.groups
    (['no', 'yes'], array([0, 1]), array(['anna', 'anna'], dtype='<U4'))
    >>> load_audio_folder(folder, target="name").target.tolist()
    ['no', 'yes']
    """
    path = Path(path)
    if not path.is_dir():
        raise NotADirectoryError(
            f"{str(path)!r} is not a folder. Give a folder with a sub-folder for each class."
        )
    target_names = _class_folders(path, categories)
    clips_of = {name: recordings_in(path / name) for name in target_names}
    empty = [name for name, clips in clips_of.items() if not clips]
    if empty and (categories is not None or len(empty) == len(target_names)):
        raise ValueError(
            f"No audio files in {some(empty)} of {str(path)!r}.{_one_level_up(path)} Each class"
            " needs recordings (.wav, .flac, .mp3, .m4a, .ogg and many others)."
        )
    if empty:
        warn(
            f"Sub-folders of {str(path)!r} without audio files are no classes, and are left out:"
            f" {some(empty)}."
        )
    if categories is None and (loose := loose_recordings(path)):
        warn(
            f"Recordings that lie in {str(path)!r} itself are left out, because they have no class:"
            f" {some(p.name for p in loose)}. Move them into the sub-folder of their class."
        )
    target_names = [name for name in target_names if clips_of[name]]
    _check_text(target_names, path, "class")
    data = [str(clip) for name in target_names for clip in clips_of[name]]
    labels = target_names if target == "name" else np.arange(len(target_names))
    y = np.repeat(labels, [len(clips_of[name]) for name in target_names])
    if return_X_y:
        return data, y
    return Bunch(
        data=data,
        target=y,
        target_names=target_names,
        groups=second_level(path, data),
        DESCR=description or f"Clips of the folder {str(path)!r}, one sub-folder for each class.",
    )


def _one_level_up(path):
    """Advice if recordings are directly in the folder, as in the folder of one class."""
    if not loose_recordings(path):
        return ""
    return (
        " Recordings lie in it itself: if it is the folder of one class, give the folder above,"
        f" {str(path.absolute().parent)!r}."
    )


def _class_folders(path, categories):
    found = sorted(p.name for p in path.iterdir() if p.is_dir() and not is_hidden(p.name))
    if categories is None:
        if not found:
            raise ValueError(
                f"{str(path)!r} has no sub-folders.{_one_level_up(path)} Put the clips of each"
                " class into a sub-folder with the class's name."
            )
        return found
    if not len(categories):
        raise ValueError("categories names no class. None takes all sub-folders.")
    missing = sorted(set(categories) - set(found))
    if missing:
        raise ValueError(
            f"categories names {some(missing)}, but {str(path)!r} has the sub-folders"
            f" {some(found, 20)}."
        )
    return sorted(set(categories))


def second_level(path, data):
    """The folder below the class of each clip, or None if clips are directly in the class."""
    parts = [Path(clip).relative_to(path).parts for clip in data]
    grouped = [len(p) > 2 for p in parts]
    if not any(grouped):
        return None
    if not all(grouped):
        # Name the minority: those are the exceptions.
        is_odd = sum(grouped) < len(grouped) / 2
        odd = [clip for clip, g in zip(data, grouped) if g == is_odd]
        are, their = ("is", "its") if len(odd) == 1 else ("are", "their")
        where = "a folder below the class" if is_odd else "the folder of the class itself"
        raise ValueError(
            f"{len(odd)} of {len(data)} clips {are} in {where}, unlike the others: {some(odd)}. So "
            f"it is not known what {their} group is, such as the speaker. Move all clips into "
            "folders of their groups, or none."
        )
    groups = [p[1] for p in parts]
    _check_text(groups, path, "group")
    return np.array(groups)


def _check_text(names, path, what):
    """Check that folders' names can be written to tables and models, which are in UTF-8."""
    for name in sorted(set(names)):
        try:
            name.encode()
        except UnicodeEncodeError:
            raise ValueError(
                f"A folder in {printable(str(path))!r} has a name that is not text in UTF-8, so it "
                f"can't name a {what}: {printable(name)}. Rename that folder."
            ) from None
