"""What commands do with a fitted model: load it, classify clips, score it."""

from typing import NamedTuple

import numpy as np

from skspeech._download import some
from skspeech.cli.common import say
from skspeech.cli.inputs import salvage
from skspeech.cli.shown import Scores, progress

__all__ = [
    "CHUNK",
    "as_its_classes",
    "class_names",
    "classify",
    "load_classifier",
    "not_its_classes",
    "score",
    "what_it_knows",
]

CHUNK = 64  # clips that are predicted or embedded together


def load_classifier(path, device=None, n_jobs=None, quiet=False):
    """Load a classifier, set it up for a command, and fetch its missing pretrained weights."""
    from skspeech._objects import objects_in
    from skspeech.audio.rates import takes_clips
    from skspeech.persistence import load
    from skspeech.time_budget.pretrained import fetch_weights_of

    classifier = load(path)
    if not hasattr(classifier, "predict") or not hasattr(classifier, "classes_"):
        raise ValueError(f"{str(path)!r} holds a {type(classifier).__name__}, no classifier.")
    if not takes_clips(classifier):
        raise ValueError(f"{str(path)!r} holds a {type(classifier).__name__} that takes no clips.")
    settings = {"device": device, "n_jobs": n_jobs, "errors": "raise", "verbose": 0}
    for item in objects_in(classifier):
        parameters = item.get_params(deep=False) if hasattr(item, "get_params") else {}
        for name, value in settings.items():
            if name in parameters and value is not None:
                setattr(item, name, value)
    fetch_weights_of(classifier, progress=not quiet)
    return classifier


def class_names(classifier):
    return [str(label) for label in classifier.classes_]


def as_its_classes(classifier, labels):
    """Labels, which are text here, as the model has them, such as numbers."""
    own = dict(zip(class_names(classifier), classifier.classes_.tolist()))
    names = set(labels.tolist())
    others = sorted(names - own.keys())
    if hasattr(classifier, "unknown_label"):
        own |= dict.fromkeys(others, classifier.unknown_label)
    elif others and (len(others) == len(names) or list(own) != list(own.values())):
        raise not_its_classes(classifier, others)
    return np.array([own.get(text, text) for text in labels])


def not_its_classes(classifier, names):
    """The error that some labels are of no class that a model knows."""
    known = ", ".join(class_names(classifier))
    return ValueError(
        f"The model knows the classes {known}; there are labels that are none of them: "
        f"{', '.join(names)}."
    )


def classify(classifier, paths):
    """Labels as text, probabilities (None if there are none), and why clips are bad."""
    from skspeech._one_clip import labels_of
    from skspeech.ensemble.blending import probabilities_of

    if not hasattr(classifier, "predict_proba"):
        labels, reasons = salvage(classifier.predict, paths)
        labels = [None if label is None else str(label) for label in labels]
        return labels, [None] * len(paths), reasons

    def answer(paths):
        proba = probabilities_of(classifier, paths)
        return list(zip(map(str, labels_of(classifier, paths, proba)), proba))

    answers, reasons = salvage(answer, paths)
    labels, proba = zip(*((None, None) if both is None else both for both in answers))
    return labels, proba, reasons


class Known(NamedTuple):
    """Which clips are not new to a model."""

    by_clip: np.ndarray  # whether it was trained on a clip
    by_group: np.ndarray  # or on others of its group
    n_trained_on: int | None  # None if it is not recorded
    text: str


def what_it_knows(classifier, labelled):
    """Which labelled clips, and which of their groups, a model was trained on, also as text.

    Returns
    -------
    Known
    """
    from skspeech._heard import heard, known_groups, knows_its_clips

    by_clip, by_group = heard(classifier, labelled.paths, labelled.groups)
    if not knows_its_clips(classifier):
        text = "The model's file does not say which clips it was trained on."
        return Known(by_clip, by_group, None, text)
    n = int(by_clip.sum())
    text = f"The model was trained on {n or 'none'} of these {len(labelled)} clips"
    if by_group.any():
        names = np.unique(labelled.groups[by_group])
        whose = f"the group{'s' if len(names) > 1 else ''} {some(names, 8)}"
        text += (
            f", and on others of {whose}, which are scored apart. Where these are not the same "
            "speakers but only have the same names, use --groups none"
        )
    elif known_groups(classifier) is not None and labelled.groups is None:
        text += "; whether on their speakers can't be told, as no groups are given here"
    return Known(by_clip, by_group, n, f"{text}.")


def score(classifier, labelled, quiet):
    """Scores, or None if no clip can be read; and the bad clips, which are reported."""
    names = class_names(classifier)
    labels, predicted, proba, groups, failures = [], [], [], [], []
    with progress("Scoring", len(labelled), quiet) as advance:
        for begin in range(0, len(labelled), CHUNK):
            part = labelled.take(np.arange(begin, min(begin + CHUNK, len(labelled))))
            of_clips = part.groups if part.groups is not None else [None] * len(part)
            answers = classify(classifier, part.paths)
            results = zip(part.paths, part.labels, of_clips, *answers, strict=True)
            for path, label, group, said, row, reason in results:
                if reason is not None:
                    failures.append({"path": path, "error": reason})
                    say(f"{path}: {reason}")
                    continue
                labels.append(str(label))
                predicted.append(said)
                groups.append(group)
                proba.append(row)
            advance(len(part))
    if not labels:
        return None, failures
    known = None if proba[0] is None else np.array(proba)
    groups = None if labelled.groups is None else groups
    unknown = getattr(classifier, "unknown_label", None)
    return Scores(names, labels, predicted, known, groups, unknown), failures
