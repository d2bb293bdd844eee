"""
A first answer on real speech
=============================

Which digit is spoken, by a person whom the classifier has never heard? This script learns that from
400 short recordings: three classifiers on two pretrained networks, and their geometric mean. It
prints the balanced accuracy on speakers that were kept out, and how long each step took.

    python examples/quick_start.py
    python examples/quick_start.py --data voice-prompts --n-clips 300
"""

# sphinx_gallery_thumbnail_path = "thumbnails/confusion.png"

import argparse
import time
from contextlib import contextmanager

import numpy as np
from sklearn.metrics import balanced_accuracy_score, confusion_matrix
from sklearn.model_selection import StratifiedGroupKFold, train_test_split

from skspeech import (
    FusedEmbeddingClassifier,
    GeometricMeanVotingClassifier,
    MusicEmbeddingClassifier,
    SpeakerEmbeddingClassifier,
)
from skspeech.datasets import fetch_fsdd, fetch_voice_prompts, make_speech_like

# %%
# The recordings
# --------------
# Spoken digits, if they are available in the folder SKSPEECH_DATA or from GitHub. If not, telephone
# prompts in five languages from Debian's packages. And without any network, synthetic clips.


def spoken_digits():
    return fetch_fsdd(), (
        "Spoken digits, in English. The people in the test set are in no training clip:\n"
        "the classifier has never heard them."
    )


def voice_prompts():
    return fetch_voice_prompts(), (
        "Languages of telephone prompts. No prompt is both in the training and in the test set.\n"
        "But each language is read by one voice (English and Spanish by the same one), so this is\n"
        "easier than it looks: telling voices apart nearly does it."
    )


def speech_like():
    return make_speech_like(600, n_classes=8, n_speakers=12, random_state=0), (
        "Made-up words of made-up speakers, for want of recordings. The score says that all runs,\n"
        "and nothing about real speech. The speakers in the test set are in no training clip."
    )


SOURCES = {
    "fsdd": spoken_digits,
    "voice-prompts": voice_prompts,
    "speech-like": speech_like,
}


def load(source):
    """The chosen data set, or the first one that is available."""
    if source != "auto":
        return SOURCES[source]()
    for name, get in SOURCES.items():
        try:
            return get()
        except OSError as error:
            print(f"Not using {name}: {error}\n")
    raise AssertionError("speech-like clips need no network")


def choose(clips, n_clips):
    """Some clips of every class: the example is about small labelled sets."""
    everything = np.arange(len(clips.data))
    if n_clips >= len(everything):
        return everything
    return train_test_split(everything, train_size=n_clips, stratify=clips.target, random_state=0)[
        0
    ]


# %%
# The classifiers
# ---------------
# Each is a frozen pretrained network with logistic regression on its features. The third one uses
# both networks. It needs almost no time, because embeddings that one classifier has computed are
# cached for the others. Three seconds of each clip are enough here.


def make_members():
    settings = {"max_duration": 3.0, "n_jobs": -1, "verbose": 1}
    return {
        "speaker network": SpeakerEmbeddingClassifier(**settings),
        "music network": MusicEmbeddingClassifier(**settings),
        "both networks": FusedEmbeddingClassifier(**settings),
    }


# %%
# The experiment
# --------------


def main():
    arguments = parse_arguments()
    start = time.perf_counter()
    with step("Getting the recordings"):
        clips, explanation = load(arguments.data)
    chosen = choose(clips, arguments.n_clips)
    X = [clips.data[i] for i in chosen]
    y = np.array(clips.target_names)[clips.target[chosen]]
    groups = clips.groups[chosen]

    # A third of the speakers (or prompts) is kept for the test.
    splitter = StratifiedGroupKFold(n_splits=3, shuffle=True, random_state=0)
    train, test = next(splitter.split(X, y, groups))
    X_train, y_train = [X[i] for i in train], y[train]
    X_test, y_test = [X[i] for i in test], y[test]
    print(f"\n{explanation}\n")
    print(f"{len(train)} training clips, {len(test)} test clips, {len(set(y))} classes.")
    print(f"Kept for the test: {shorten(sorted(set(groups[test])))}.\n")

    scores, fitted = {}, []
    for name, classifier in make_members().items():
        with step(f"Training: {name}"):
            classifier.fit(X_train, y_train)
        with step(f"Testing: {name}"):
            scores[name] = balanced_accuracy_score(y_test, classifier.predict(X_test))
        fitted.append((name, classifier))

    ensemble = GeometricMeanVotingClassifier.from_fitted(fitted)
    with step("Testing: geometric mean"):
        predicted = ensemble.predict(X_test)
    scores["geometric mean"] = balanced_accuracy_score(y_test, predicted)

    print(f"\nBalanced accuracy on the test clips (guessing gives {1 / len(set(y)):.2f})")
    for name, score in scores.items():
        print(f"    {name:<16} {score:.3f}  {'█' * round(40 * score)}")
    print("\nConfusion matrix of the geometric mean: a row is the truth, a column the guess")
    print_matrix(confusion_matrix(y_test, predicted, labels=ensemble.classes_), ensemble.classes_)
    print(f"\nAll this took {time.perf_counter() - start:.0f} s.")


def parse_arguments():
    parser = argparse.ArgumentParser(description=__doc__.strip().splitlines()[0])
    parser.add_argument("--data", choices=["auto", *SOURCES], default="auto")
    parser.add_argument("--n-clips", type=int, default=600, help="clips to use (default: 600)")
    return parser.parse_args()


@contextmanager
def step(name):
    """Print how long a step took."""
    start = time.perf_counter()
    yield
    print(f"{name:<34} {time.perf_counter() - start:6.1f} s", flush=True)


def shorten(names, n=6):
    names = [str(name) for name in names]
    return ", ".join(names[:n]) + (f" and {len(names) - n} more" if len(names) > n else "")


def print_matrix(matrix, labels):
    width = max(5, *(len(str(label)) + 1 for label in labels))
    print(" " * width + "".join(f"{label:>{width}}" for label in labels))
    for label, row in zip(labels, matrix):
        print(f"{label:>{width}}" + "".join(f"{count or '·':>{width}}" for count in row))


if __name__ == "__main__":
    main()
