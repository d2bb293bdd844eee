"""The classification tasks that every bench shares, defined once.

A task is a data set and a way to split it. Splits avoid leaks: digits are tested on speakers that
are not in the training part, speakers on digits that are not in it.
"""

import os
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import NamedTuple

import numpy as np
from sklearn.model_selection import train_test_split

from skspeech import datasets


class Split(NamedTuple):
    """Clips (paths), their labels (text), and the training clips' groups or None."""

    X_train: list
    y_train: np.ndarray
    X_test: list
    y_test: np.ndarray
    groups_train: np.ndarray | None


@dataclass(frozen=True)
class Task:
    """A task: its description, and a function from (data_home, seed) to a `Split`."""

    description: str
    split: object


def load_task(name, seed=0, data_home=None):
    """Load one task as lists of paths and arrays of labels.

    Parameters
    ----------
    name : str
        A key of `ALL_TASKS`.
    seed : int, default=0
        Chooses the split, or the subset.
    data_home : path-like, default=None
        Folder of the data sets; None takes the environment variable SKSPEECH_DATA or, if that is
        not set, skspeech's own folder, to which missing data is downloaded.

    Returns
    -------
    split : Split
        The named tuple (X_train, y_train, X_test, y_test, groups_train).
    """
    if name not in ALL_TASKS:
        raise ValueError(f"There is no task {name!r}; there are {', '.join(ALL_TASKS)}.")
    if data_home is None:
        data_home = os.environ.get("SKSPEECH_DATA")
    return ALL_TASKS[name].split(data_home, seed)


def _emodb_emotion(data_home, seed):
    # No groups: speakers are in both parts, so keeping them apart in validation would measure
    # something else than the test.
    return _stratified(datasets.fetch_emodb(task="emotion", data_home=data_home), seed)


def _emodb_emotion_unseen_speaker(data_home, seed):
    bunch = datasets.fetch_emodb(task="emotion", data_home=data_home)
    speakers = np.unique(bunch.groups)
    return _by_group(bunch, test=[speakers[seed % len(speakers)]])


def _emodb_speaker(data_home, seed):
    return _stratified(datasets.fetch_emodb(task="speaker", data_home=data_home), seed)


def _fsdd_digit(data_home, seed):
    bunch = datasets.fetch_fsdd(task="digit", data_home=data_home)
    split = _by_group(bunch, test=["theo", "lucas"])
    return _subset(split, n_train=800, n_test=400, seed=seed)


def _fsdd_speaker(data_home, seed):
    bunch = datasets.fetch_fsdd(task="speaker", data_home=data_home)
    split = _by_group(bunch, test=list("56789"))
    return _subset(split, n_train=300, n_test=600, seed=seed)


def _voice_prompts_language(data_home, seed):
    bunch = datasets.fetch_voice_prompts(data_home=data_home)
    # A prompt says the same in every language: test on prompts that are not trained on in any.
    prompts = np.unique(bunch.groups)
    test = np.random.default_rng(seed).permutation(prompts)[: int(0.3 * len(prompts))]
    return _subset(_by_group(bunch, test), n_train=400, n_test=800, seed=seed)


def _emodb_emotion_pairs(data_home, seed):
    return _unseen_pair(_emodb_emotion(data_home, 0), lambda path: path.stem[:2], seed)


def _fsdd_digit_pairs(data_home, seed):
    return _unseen_pair(_fsdd_digit(data_home, 0), lambda path: path.stem.split("_")[1], seed)


def _unseen_pair(split, speaker_of, seed):
    """Split the same clips in another way: the test part are two speakers."""
    X = np.array([*split.X_train, *split.X_test], dtype=object)
    y = np.concatenate([split.y_train, split.y_test])
    speakers = np.array([speaker_of(Path(path)) for path in X])
    pairs = list(combinations(np.unique(speakers), 2))
    pair = pairs[np.random.default_rng(2020).permutation(len(pairs))[seed]]
    test = np.isin(speakers, pair)
    return Split(list(X[~test]), y[~test], list(X[test]), y[test], speakers[~test])


def _stratified(bunch, seed):
    indices = np.arange(len(bunch.data))
    _, test = train_test_split(indices, test_size=0.3, stratify=bunch.target, random_state=seed)
    return _split(bunch, np.isin(indices, test))


def _by_group(bunch, test):
    return _split(bunch, np.isin(bunch.groups, test), groups=bunch.groups)


def _split(bunch, in_test, groups=None):
    labels = np.asarray(bunch.target_names)[bunch.target]
    return Split(
        [path for path, held_out in zip(bunch.data, in_test) if not held_out],
        labels[~in_test],
        [path for path, held_out in zip(bunch.data, in_test) if held_out],
        labels[in_test],
        None if groups is None else np.asarray(groups)[~in_test],
    )


def _subset(split, n_train, n_test, seed):
    """Draw a stratified subset of both parts."""
    train = _draw(split.y_train, n_train, seed)
    test = _draw(split.y_test, n_test, seed)
    return Split(
        [split.X_train[i] for i in train],
        split.y_train[train],
        [split.X_test[i] for i in test],
        split.y_test[test],
        None if split.groups_train is None else split.groups_train[train],
    )


def _draw(y, n, seed):
    if n >= len(y):
        return np.arange(len(y))
    drawn, _ = train_test_split(np.arange(len(y)), train_size=n, stratify=y, random_state=seed)
    return np.sort(drawn)


TASKS = {
    "emodb-emotion": Task(
        "Berlin emotions, 7 classes: 374 clips / 161, stratified; the same speakers in both parts",
        _emodb_emotion,
    ),
    "emodb-emotion-unseen": Task(
        "Berlin emotions, 7 classes: nine speakers / the tenth; the seed chooses which",
        _emodb_emotion_unseen_speaker,
    ),
    "emodb-speaker": Task(
        "Berlin speakers, 10 classes: 374 clips / 161, stratified", _emodb_speaker
    ),
    "fsdd-digit": Task(
        "spoken digits, 10 classes: 800 clips of four speakers / 400 of theo and lucas",
        _fsdd_digit,
    ),
    "fsdd-speaker": Task(
        "speakers of digits, 6 classes: 300 clips of digits 0–4 / 600 of digits 5–9",
        _fsdd_speaker,
    ),
    "prompts-language": Task(
        "language of telephone prompts, 5 classes: 400 clips / 800 of other prompts; few voices",
        _voice_prompts_language,
    ),
}
# Where two speakers may be unlike all others, chance has less say over many pairs of them.
PAIRS = {
    "emodb-emotion-pairs": Task(
        "Berlin emotions, 7 classes: eight speakers / the other two; the seed chooses which",
        _emodb_emotion_pairs,
    ),
    "fsdd-digit-pairs": Task(
        "spoken digits, 10 classes: 800 clips of four speakers / 400 of the other two; the seed "
        "chooses which, 2 are theo and lucas",
        _fsdd_digit_pairs,
    ),
}
ALL_TASKS = {**TASKS, **PAIRS}
