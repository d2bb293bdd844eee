"""Accuracy on new recordings that are quieter or louder than the training clips.

Classifiers on each extractor, and each approach that trains networks, learn from clips as recorded.
Then the test clips are scaled, as floats, so that nothing is clipped, and scored again. Everything
is done twice: with clips as they are (``level=None``), and brought to one level, the default.

    python benchmarks/levels.py                     # three seeds, all approaches: most of an hour
    python benchmarks/levels.py --approaches musicnn --seeds 0 --append

Features are classified by shrinkage discriminant analysis. Results go to
benchmarks/results/levels.md and .json; `--append` keeps existing results, except those that are
measured again.
"""

import argparse
import json
from pathlib import Path

import numpy as np
from _machine import machine, versions
from _tasks import TASKS, _subset, load_task
from ablation import cell, discriminant, score

from skspeech import (
    FineTunedSpeakerClassifier,
    KeywordEmbedding,
    LogMelSpectrogram,
    MixupCNNClassifier,
    MusicEmbedding,
    RecurrentAttentionClassifier,
    SpeakerEmbedding,
    SpectralStatistics,
    WhisperEmbedding,
    cache,
)
from skspeech.audio import load_waveforms

RESULTS = Path(__file__).parent / "results"
CHANGES = (-20, -10, 0, 10, 20)
N_TRAIN, N_TEST = 140, 100
EXTRACTORS = {
    "SpeakerEmbedding": SpeakerEmbedding,
    "MusicEmbedding, musicnn": MusicEmbedding,
    "MusicEmbedding, VGG": lambda **settings: MusicEmbedding(
        "msd_vgg", layers=("pool2", "pool3"), **settings
    ),
    "SpectralStatistics": SpectralStatistics,
    "KeywordEmbedding": KeywordEmbedding,
    "WhisperEmbedding": WhisperEmbedding,
    "LogMelSpectrogram": LogMelSpectrogram,
}
NETWORKS = {
    cls.__name__: cls
    for cls in (FineTunedSpeakerClassifier, MixupCNNClassifier, RecurrentAttentionClassifier)
}
APPROACHES = (*EXTRACTORS, *NETWORKS)


def main(argv=None):
    args = parse_args(argv)
    path = RESULTS / f"{args.name}.json"
    runs = json.loads(path.read_text())["runs"] if args.append and path.exists() else []
    for seed in args.seeds:
        for task in args.tasks:
            split = _subset(load_task(task, seed, args.data_home), N_TRAIN, N_TEST, seed)
            split = split._replace(
                X_train=load_waveforms(split.X_train), X_test=load_waveforms(split.X_test)
            )
            for name in args.approaches:
                for level in ("as recorded", "one level"):
                    run = {"name": name, "level": level, "task": task, "seed": seed}
                    runs = [old for old in runs if {**old, **run} != old]
                    run["scores"] = measure(name, level, split, seed, args.seconds)
                    print(run, flush=True)
                    runs.append(run)
                write(path, runs, args.seconds)
            cache.clear()  # the next task has other recordings


def parse_args(argv):
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    tasks = ["emodb-emotion", "fsdd-digit", "fsdd-speaker"]
    parser.add_argument("--approaches", nargs="+", choices=APPROACHES, default=list(APPROACHES))
    parser.add_argument("--tasks", nargs="+", choices=TASKS, default=tasks, metavar="TASK")
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2], metavar="SEED")
    parser.add_argument("--seconds", type=float, default=15.0, help="of training each network")
    parser.add_argument("--data-home", help="folder of the data sets (default: SKSPEECH_DATA)")
    parser.add_argument("--name", default="levels", help="of the files in benchmarks/results/")
    parser.add_argument("--append", action="store_true", help="keep the files' other figures")
    return parser.parse_args(argv)


def measure(name, level, split, seed, seconds):
    """Balanced accuracies on the test part, for each change of its level."""
    settings = {"level": None} if level == "as recorded" else {}
    if name in EXTRACTORS:
        classifier = discriminant(EXTRACTORS[name](**settings)).fit(split.X_train, split.y_train)
    else:
        classifier = NETWORKS[name](max_time=seconds, random_state=seed, **settings)
        classifier.fit(split.X_train, split.y_train, groups=split.groups_train)
    scores = {}
    for change in CHANGES:
        clips = [clip * np.float32(10 ** (change / 20)) for clip in split.X_test]
        scores[str(change)] = score(split, classifier.classes_, classifier.predict_proba(clips))
    return scores


def write(path, runs, seconds):
    about = {**machine(), **versions(), "seconds of training": seconds}
    path.write_text(json.dumps({"about": about, "runs": runs}, indent=1) + "\n")
    path.with_suffix(".md").write_text(page(runs, about))


def page(runs, about):
    lines = [
        "# Levels",
        "",
        f"Balanced accuracy of {N_TRAIN} clips against {N_TEST}, ± its standard deviation over "
        "seeds, by the change of the test clips' level in decibels. Features go through shrinkage "
        f"discriminant analysis; networks train for {about['seconds of training']:g} s.",
        "",
    ]
    for task in dict.fromkeys(run["task"] for run in runs):
        own = [run for run in runs if run["task"] == task]
        heads = " | ".join(f"{change:+d}" if change else "0" for change in CHANGES)
        lines += [f"## {task} ({len({run['seed'] for run in own})} seeds)", ""]
        lines += [f"| | clips | {heads} |", "| --- | --- |" + " ---: |" * len(CHANGES)]
        for name, level in dict.fromkeys((run["name"], run["level"]) for run in own):
            rows = [run["scores"] for run in own if (run["name"], run["level"]) == (name, level)]
            cells = [cell([row[str(change)] for row in rows]) for change in CHANGES]
            lines.append(f"| {name} | {level} | {' | '.join(cells)} |")
        lines.append("")
    lines += [f"- `{name}`: {TASKS[name].description}" for name in {run["task"]: 0 for run in runs}]
    listed = ", ".join(f"{key} {value}" for key, value in about.items() if value is not None)
    return "\n".join([*lines, "", f"Measured on: {listed}.", ""])


if __name__ == "__main__":
    main()
