"""Data sets in the challenge's layout: read, checked, written."""

import json
import pickle
from pathlib import Path

import numpy as np
from sklearn.utils import Bunch

from skspeech._labels import check_labels, unknown_labels
from skspeech._typing import ArrayLike, ClipsLike, PathLike
from skspeech.metrics import check_positive

__all__ = [
    "TIME_BUDGET",
    "find_data_folder",
    "load_autospeech",
    "one_hot",
    "read_metadata",
    "read_test_solution",
    "save_autospeech",
]

TIME_BUDGET = 1800.0  # seconds, if a data set does not say


def load_autospeech(path: PathLike) -> Bunch:
    """Read a data set in the challenge's layout.

    The layout is a folder `<name>.data` with `train.pkl`, `test.pkl` (lists of 1-D arrays at
    16 kHz), `train.solution` (one-hot text, a clip per line) and `meta.json`. Beside the folder is
    `test.solution`, or another file with that ending, if the true test labels are known.

    The pickles are read with an unpickler that accepts only plain containers and arrays of numbers,
    so that a data set from elsewhere can run no code.

    Parameters
    ----------
    path : path-like
        The folder that holds `<name>.data`, or that folder itself.

    Returns
    -------
    data : :class:`~sklearn.utils.Bunch`
        A dict with attributes:

        - X_train, X_test : list of 1-D ndarray, waveforms at 16 kHz
        - y_train : ndarray of shape (train_num,), class numbers from 0
        - y_test : ndarray of shape (test_num,), or None if there is no solution
        - metadata : dict with at least `class_num`, `train_num`, `test_num` and `time_budget`
        - target_names : list of str, the names of the classes, or their numbers
        - name : str

    Raises
    ------
    FileNotFoundError
        If a file is missing.
    pickle.UnpicklingError
        If a pickle holds anything but arrays; nothing of it is executed.
    ValueError
        If the files do not fit together.

    See Also
    --------
    save_autospeech : Writes the layout.

    Examples
    --------
    >>> import tempfile
    >>> from skspeech.challenge import load_autospeech, save_autospeech
    >>> from skspeech.datasets import make_tones
    >>> tones = make_tones(random_state=0)
    >>> X, y = tones.data, tones.target
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     _ = save_autospeech(folder, X[::2], y[::2], X[1::2], y[1::2])
    ...     data = load_autospeech(folder)
    >>> len(data.X_train) == data.metadata["train_num"]
    True
    """
    from skspeech._unpickle import load_arrays

    folder = find_data_folder(path)
    X_train = _checked_waveforms(load_arrays(folder / "train.pkl"), folder / "train.pkl")
    X_test = _checked_waveforms(load_arrays(folder / "test.pkl"), folder / "test.pkl")
    metadata = read_metadata(folder)
    y_train = _read_solution(folder / "train.solution", metadata)
    y_test = read_test_solution(folder, metadata)
    _check_length(folder / "train.solution", y_train, X_train)
    if y_test is not None:
        _check_length("the test solution", y_test, X_test)
    n_classes = metadata["class_num"]
    return Bunch(
        X_train=X_train,
        y_train=y_train,
        X_test=X_test,
        y_test=y_test,
        metadata={**metadata, "train_num": len(X_train), "test_num": len(X_test)},
        target_names=metadata.get("class_names") or [str(number) for number in range(n_classes)],
        name=folder.name.removesuffix(".data"),
    )


def save_autospeech(
    path: PathLike,
    X_train: ClipsLike,
    y_train: ArrayLike,
    X_test: ClipsLike,
    y_test: ArrayLike | None = None,
    *,
    time_budget: float = TIME_BUDGET,
    sampling_rate: int = 16_000,
    n_jobs: int | None = None,
    overwrite: bool = False,
) -> Path:
    """Write a data set in the challenge's layout, as :func:`load_autospeech` reads it.

    Parameters
    ----------
    path : path-like
        The folder to write `train.data` and `test.solution` to; made if it is missing.
    X_train : sequence of clips
        Paths, or waveforms; see :func:`skspeech.audio.as_clips`.
    y_train : array-like of shape (n_train,)
        Labels of any kind; their positions in sorted order become the class numbers.
    X_test : sequence of clips
        The same for the test part.
    y_test : array-like of shape (n_test,), default=None
        True test labels; None writes no test solution.
    time_budget : float, default=1800.0
        Seconds that a model gets for training and testing.
    sampling_rate : int, default=16000
        Sampling rate of waveforms, in Hz. They are written at 16 kHz.
    n_jobs : int, default=None
        Number of threads that decode.
    overwrite : bool, default=False
        Whether to replace an existing data set.

    Returns
    -------
    folder : pathlib.Path
        The folder `train.data`.

    Raises
    ------
    FileExistsError
        If there is a data set in `path` and `overwrite` is False.
    ValueError
        If labels and clips differ in number, a label is missing, a test label does not occur in
        training, or the time is not positive.

    See Also
    --------
    load_autospeech : Reads the layout.

    Examples
    --------
    >>> import tempfile
    >>> from skspeech.challenge import save_autospeech
    >>> from skspeech.datasets import make_tones
    >>> tones = make_tones(30, duration=0.1, random_state=0)
    >>> X, y = tones.data, tones.target
    >>> with tempfile.TemporaryDirectory() as path:
    ...     folder = save_autospeech(path, X[:20], y[:20], X[20:], y[20:], time_budget=60)
    ...     sorted(file.name for file in folder.iterdir())
    ['meta.json', 'test.pkl', 'train.pkl', 'train.solution']
    """
    from skspeech.audio import as_clips, load_waveforms

    folder = Path(path) / "train.data"
    if folder.exists() and not overwrite:
        raise FileExistsError(f"{folder} exists already; pass overwrite=True to replace it.")
    check_positive("time_budget", time_budget)
    clips = [as_clips(X, sampling_rate=sampling_rate) for X in (X_train, X_test)]
    y_train = check_labels(y_train, "y_train")
    _check_length("y_train", y_train, clips[0])
    classes, train_numbers = np.unique(y_train, return_inverse=True)
    test_numbers = None
    if y_test is not None:
        y_test = check_labels(y_test, "y_test")
        _check_length("y_test", y_test, clips[1])
        test_numbers = _numbers_of(y_test, classes)
    train, test = (load_waveforms(part, n_jobs=n_jobs) for part in clips)
    folder.mkdir(parents=True, exist_ok=True)
    for name, waveforms in (("train.pkl", train), ("test.pkl", test)):
        with open(folder / name, "wb") as file:
            pickle.dump(list(waveforms), file, protocol=4)
    np.savetxt(folder / "train.solution", one_hot(train_numbers, len(classes)), fmt="%d")
    metadata = {
        "class_num": len(classes),
        "train_num": len(train),
        "test_num": len(test),
        "time_budget": float(time_budget),
        "class_names": [str(label) for label in classes],
    }
    (folder / "meta.json").write_text(json.dumps(metadata) + "\n")
    solution = folder.parent / "test.solution"
    solution.unlink(missing_ok=True)
    if test_numbers is not None:
        np.savetxt(solution, one_hot(test_numbers, len(classes)), fmt="%d")
    return folder


def one_hot(y: ArrayLike, n_classes: int) -> np.ndarray:
    """Encode class numbers as one-hot rows, as the challenge does.

    Parameters
    ----------
    y : array-like of int of shape (n_clips,)
        Numbers of classes, from 0.
    n_classes : int
        Columns.

    Returns
    -------
    ndarray of int of shape (n_clips, n_classes)
        1 in the column of the class, else 0.

    Raises
    ------
    ValueError
        If a number is not that of a class.

    Examples
    --------
    >>> from skspeech.challenge import one_hot
    >>> one_hot([1, 0], 2)
    array([[0, 1],
           [1, 0]])
    """
    rows = np.asarray(y)[:, np.newaxis] == np.arange(n_classes)
    if not rows.any(axis=1).all():
        raise ValueError(f"y must hold numbers of classes, from 0 to {n_classes - 1}.")
    return rows.astype(int)


def find_data_folder(path):
    path = Path(path)
    if not path.is_dir():
        raise FileNotFoundError(f"There is no folder {path}.")
    if (path / "meta.json").exists():
        return path
    found = sorted(folder for folder in path.glob("*.data") if folder.is_dir())
    if len(found) != 1:
        raise FileNotFoundError(
            f"{path} must hold exactly one folder <name>.data, with meta.json, train.pkl, "
            f"train.solution and test.pkl; it holds {[folder.name for folder in found]}."
        )
    return found[0]


def read_metadata(folder):
    file = folder / "meta.json"
    try:
        metadata = json.loads(file.read_text())
        class_num = metadata["class_num"]
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise ValueError(f"{file} must be a JSON object with class_num ({error!r}).") from error
    if type(class_num) is not int or class_num < 1:
        raise ValueError(f"{file}: class_num must be a whole number above 0; got {class_num!r}.")
    names = metadata.get("class_names") or range(class_num)
    if np.size(names) != class_num:
        raise ValueError(f"{file}: class_num is {class_num}, but class_names are {names}.")
    metadata = {"time_budget": TIME_BUDGET, **metadata}
    try:
        check_positive("time_budget", metadata["time_budget"])
    except ValueError as error:
        raise ValueError(f"{file}: {error}") from None
    return metadata


def _read_solution(file, metadata):
    """Class numbers of a file of one-hot rows."""
    try:
        rows = np.loadtxt(file, ndmin=2)
    except ValueError as error:
        raise ValueError(f"{file} must hold rows of 0 and 1: {error}") from None
    if rows.shape[1] != metadata["class_num"]:
        raise ValueError(
            f"{file} has {rows.shape[1]} columns, but meta.json says that there are "
            f"{metadata['class_num']} classes."
        )
    bad = np.flatnonzero(~(((rows == 0) | (rows == 1)).all(axis=1) & (rows.sum(axis=1) == 1)))
    if len(bad):
        raise ValueError(
            f"{file}, line {bad[0] + 1}: a row must have a single 1 and be 0 elsewhere."
        )
    return rows.argmax(axis=1)


def read_test_solution(folder, metadata):
    # As in the official scoring program: the only solution beside the data.
    files = sorted(folder.parent.glob("*.solution"))
    if len(files) > 1:
        names = [file.name for file in files]
        raise ValueError(f"{folder.parent} must hold one *.solution at most; it holds {names}.")
    return _read_solution(files[0], metadata) if files else None


def _checked_waveforms(content, file):
    if not isinstance(content, (list, tuple, np.ndarray)) or len(content) == 0:
        raise ValueError(f"{file} must hold a list of 1-D arrays, one per clip.")
    for i, waveform in enumerate(content):
        if not isinstance(waveform, np.ndarray) or waveform.ndim != 1:
            shape = getattr(waveform, "shape", None)
            kind = type(waveform).__name__ if shape is None else f"array of shape {shape}"
            raise ValueError(f"{file}: clip {i} must be a 1-D array of samples; it is: {kind}.")
    return list(content)


def _check_length(name, labels, clips):
    if len(labels) != len(clips):
        raise ValueError(f"{name} has labels for {len(labels)} clips, but there are {len(clips)}.")


def _numbers_of(labels, classes):
    if unknown := unknown_labels(labels, classes):
        raise ValueError(f"y_test has labels that do not occur in y_train: {unknown[:10]}.")
    return np.searchsorted(classes, labels)
