"""Accuracy of the three linear approaches and their geometric mean, on every task.

    python benchmarks/bench_first_answer.py [--tasks emodb-emotion ...]

Scores are balanced accuracies on the test part, with default parameters. The seconds are the time
to fit all three and the mean and to predict the test part, from paths. If a task leaves out one
speaker at a time, the scores are means over all speakers, and the seconds are those of the first.
The table is printed and written with the machine and the versions to
benchmarks/results/first_answer.md and .json.
"""

import argparse
import json
import time
import warnings
from pathlib import Path

import numpy as np
from _machine import machine, versions
from _tasks import TASKS, load_task
from sklearn.metrics import balanced_accuracy_score

from skspeech import (
    FusedEmbeddingClassifier,
    GeometricMeanVotingClassifier,
    MusicEmbeddingClassifier,
    SpeakerEmbeddingClassifier,
    cache,
)

RESULTS = Path(__file__).parent / "results"
# The seed chooses which of the 10 speakers is left out.
SEEDS = {"emodb-emotion-unseen": range(10)}
MEMBERS = {
    "speaker": SpeakerEmbeddingClassifier,
    "music": MusicEmbeddingClassifier,
    "fused": FusedEmbeddingClassifier,
}
COLUMNS = (*MEMBERS, "geometric mean", "seconds")


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--tasks", nargs="+", choices=TASKS, default=list(TASKS), metavar="TASK")
    tasks = parser.parse_args().tasks

    # Not every speaker acted every emotion: the mean is over those that occur.
    warnings.filterwarnings("ignore", message="y_pred contains classes not in y_true")
    warm_up()
    rows = {}
    for task in tasks:
        cache.clear()
        runs = [measure(task, seed) for seed in SEEDS.get(task, [0])]
        rows[task] = {name: float(np.mean([run[name] for run in runs])) for name in COLUMNS}
        rows[task]["seconds"] = runs[0]["seconds"]
        print(line(task, rows[task]), flush=True)
    write(rows)


def warm_up():
    """Do all imports and loading before timing starts."""
    noise = np.random.default_rng(0).normal(scale=0.1, size=(4, 16_000))
    FusedEmbeddingClassifier().fit(noise, [0, 0, 1, 1])


def measure(task, seed):
    split = load_task(task, seed)
    start = time.perf_counter()
    fitted = [(name, make().fit(split.X_train, split.y_train)) for name, make in MEMBERS.items()]
    voting = GeometricMeanVotingClassifier.from_fitted(fitted)
    scores = {
        name: balanced_accuracy_score(split.y_test, classifier.predict(split.X_test))
        for name, classifier in [*fitted, ("geometric mean", voting)]
    }
    return {**scores, "seconds": time.perf_counter() - start}


def line(task, row):
    *scores, seconds = (row[name] for name in COLUMNS)
    cells = [TASKS[task].description, *(f"{score:.3f}" for score in scores), f"{seconds:.0f}"]
    return "| " + " | ".join(cells) + " |"


def write(rows):
    about = {**machine(), **versions()}
    listed = ", ".join(f"{key} {value}" for key, value in about.items() if value is not None)
    table = [
        "| task | " + " | ".join(COLUMNS) + " |",
        "| --- |" + " ---: |" * len(COLUMNS),
        *(line(task, row) for task, row in rows.items()),
    ]
    RESULTS.mkdir(exist_ok=True)
    page = ["# The first answer", "", *table, "", f"Measured on: {listed}.", ""]
    (RESULTS / "first_answer.md").write_text("\n".join(page))
    content = {"about": about, "tasks": rows}
    (RESULTS / "first_answer.json").write_text(json.dumps(content, indent=1) + "\n")
    print(f"Written to {RESULTS / 'first_answer'}.md and .json.")


if __name__ == "__main__":
    main()
