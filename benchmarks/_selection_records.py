"""Held-out and test probabilities of all linear candidates, recorded once for `selection.py`.

A record holds what one run of `TimeBudgetClassifier` would know once all its linear candidates are
validated, and what it would score: a file of arrays for a task, a seed, a line-up and a way to
hold rows out. Embeddings are cached on disk, so each clip goes through each network once.
"""

import functools
from pathlib import Path
from typing import NamedTuple

import joblib
import numpy as np
from _tasks import load_task
from sklearn.base import clone
from sklearn.pipeline import Pipeline

from skspeech import (
    AugmentedClassifier,
    Candidate,
    FineTunedSpeakerClassifier,
    MixupCNNClassifier,
    SpeakerEmbedding,
)
from skspeech._routing import fit_params_for
from skspeech._voices import find_voices
from skspeech.audio import as_clips
from skspeech.candidates import default_candidates
from skspeech.datasets import make_tones
from skspeech.time_budget.features import shared_key, stateless_steps
from skspeech.time_budget.splits import repeat_folds

__all__ = [
    "LINE_UPS",
    "VALIDATIONS",
    "Record",
    "families_of",
    "load_records",
    "record",
]

# "trained" are two approaches that train networks on the clips; combine it with one of the others.
LINE_UPS = ("best", "autospeech2020", "trained")
# "given" are the task's own groups. "voices" are clusters of clips that are kept whole where no
# groups are given: candidates that hold rows out themselves don't know them.
VALIDATIONS = ("random", "given", "voices")
N_FOLDS = 3


class Record(NamedTuple):
    """One file of arrays; the first axis of `held` and `part` is the repeat of the validation.

    held (n_repeats, n_candidates, n_train, n_classes): held-out probabilities; part (n_repeats,
    n_train): the fold that held a row out (-1: none); test (n_candidates, n_test, n_classes):
    predictions of models trained on all rows; test_folds (n_candidates, n_folds, n_test,
    n_classes): predictions of the first repeat's fold models.
    """

    task: str
    seed: int
    line_up: str
    validation: str
    names: np.ndarray
    first: np.ndarray
    gains: np.ndarray
    y: np.ndarray
    groups: np.ndarray
    y_test: np.ndarray
    held: np.ndarray
    part: np.ndarray
    test: np.ndarray
    test_folds: np.ndarray
    embedding: np.ndarray


def families_of(line_up, names):
    """What each candidate of a line-up shares with others: its extractor, or nothing but itself."""
    keys = _shared_keys(line_up)
    return [keys.get(name, name) for name in names]


@functools.cache
def _shared_keys(line_up):
    clips = make_tones(4, duration=12.0, random_state=0)  # long enough for every crop
    candidates = default_candidates(clips.data, clips.target, preset=line_up)
    steps = {candidate.name: stateless_steps(candidate.estimator)[0] for candidate in candidates}
    return {name: shared_key(own) for name, own in steps.items() if own}


def record(folder, task, seed, line_up, validation, data_home, n_repeats=1, max_time=20):
    """Write one record, unless it exists; return its path, or None if it makes no sense."""
    path = Path(folder) / f"{task}_{seed}_{line_up}_{validation}.npz"
    if path.exists():
        return path
    split = load_task(task, seed, data_home)
    classes, y = np.unique(split.y_train, return_inverse=True)
    y_test = np.searchsorted(classes, split.y_test)
    groups = split.groups_train
    memory = str(Path(folder) / "embeddings")
    voice = SpeakerEmbedding(layers="embedding", memory=memory)
    embedding = voice.fit_transform(split.X_train)
    if validation == "given" and groups is None:
        return None
    if validation == "voices":
        groups, reason = find_voices(embedding, y)
        if groups is None:
            print(f"{task} {seed}: no voices, {reason}")
            return None
    used = None if validation == "random" else np.unique(groups, return_inverse=True)[1]
    told = used if validation == "given" else None

    parts = [_part(y, used, 1000 * seed, repeat) for repeat in range(n_repeats)]
    if line_up == "trained":
        candidates = _trained(max_time, seed)
    else:
        candidates = default_candidates(split.X_train, split.y_train, preset=line_up, memory=memory)
        candidates = [c for c in candidates if c.where != "worker"]
    shape = len(candidates), len(classes)
    held = np.full((n_repeats, shape[0], len(y), shape[1]), np.nan, dtype=np.float32)
    test = np.empty((shape[0], len(y_test), shape[1]), dtype=np.float32)
    n_folds = parts[0].max() + 1
    test_folds = np.empty((shape[0], n_folds, len(y_test), shape[1]), dtype=np.float32)
    features = {}  # of each extractor
    for c, candidate in enumerate(candidates):
        rows, sources, tail, X_test = _features(candidate.estimator, split, features)
        # As in a run: without other groups, a clip and its variants form a group.
        kept = sources if told is None else told[sources]
        kept = kept if told is not None or len(rows) > len(y) else None

        def fit(train, tail=tail, rows=rows, sources=sources, kept=kept):
            params = fit_params_for(tail, groups=None if kept is None else kept[train])
            return clone(tail).fit(rows[train], y[sources][train], **params)

        test[c] = fit(np.full(len(rows), True)).predict_proba(X_test)
        for repeat, part in enumerate(parts):
            for fold in range(part.max() + 1):
                model = fit(part[sources] != fold)
                out = np.flatnonzero(part == fold)
                held[repeat, c, out] = model.predict_proba(rows[out])
                if repeat == 0:
                    test_folds[c, fold] = model.predict_proba(X_test)
    arrays = {
        "names": [c.name for c in candidates],
        "first": [c.first for c in candidates],
        "gains": [c.gain for c in candidates],
        "y": y,
        "groups": np.arange(len(y)) if used is None else used,
        "y_test": y_test,
        "held": held,
        "part": parts,
        "test": test,
        "test_folds": test_folds,
        "embedding": embedding,
    }
    unfinished = path.with_suffix(".part")
    with unfinished.open("wb") as file:
        np.savez_compressed(file, **arrays)
    unfinished.rename(path)
    return path


def _trained(max_time, seed):
    return [
        Candidate("fine-tuned", FineTunedSpeakerClassifier(max_time=max_time, random_state=seed)),
        Candidate("mixup-cnn", MixupCNNClassifier(max_time=max_time, random_state=seed)),
    ]


def _part(y, groups, seed, repeat):
    """The fold that holds each row out, as in a repeat of a run with this seed; -1 if none does."""
    part = np.full(len(y), -1)
    for number, fold in enumerate(repeat_folds(N_FOLDS, y, groups, seed, repeat)):
        part[fold.test] = number
    return part


def _features(estimator, split, cache):
    """Training rows (clips first), the clip of each row, the classifier for them, and test rows."""
    if not isinstance(estimator, AugmentedClassifier | Pipeline):
        rows = np.array(split.X_train, dtype=object)
        return rows, np.arange(len(rows)), estimator, split.X_test
    if isinstance(estimator, AugmentedClassifier):
        clips, sources = estimator._rows(as_clips(split.X_train))
        pipeline, kind = estimator.estimator, "variants"
    else:
        clips, sources = split.X_train, np.arange(len(split.X_train))
        pipeline, kind = estimator, "clips"
    extractor = pipeline.steps[0][1]
    for key, what in [(kind, clips), ("test", split.X_test)]:
        if (key, joblib.hash(extractor)) not in cache:
            cache[key, joblib.hash(extractor)] = np.asarray(extractor.fit(what).transform(what))
    rows, test = cache[kind, joblib.hash(extractor)], cache["test", joblib.hash(extractor)]
    return rows, np.asarray(sources), pipeline[1:], test


def load_records(folder, **wanted):
    """Load all records whose task, seed, line_up and validation are among those `wanted`."""
    records = []
    for path in sorted(Path(folder).glob("*.npz")):
        task, seed, line_up, validation = path.stem.split("_")
        about = {"task": task, "seed": int(seed), "line_up": line_up, "validation": validation}
        if all(about[key] in values for key, values in wanted.items()):
            with np.load(path) as arrays:
                records.append(Record(**about, **arrays))
    return records
