"""How many wrong labels are among the clips that `skspeech audit` shows?

5 % of the labels of a data set are replaced by another class at random; `doubtful_labels` ranks all
clips and shows the first 10 %.

    python benchmarks/labels.py

The baseline is simple: the share of a clip's ten nearest neighbours, by speaker embedding, that
have its label. Nothing was chosen on these data. The run takes minutes. Results go to
benchmarks/results/labels.md and .json.
"""

import argparse
import os
import time
from pathlib import Path

import numpy as np
from _report import write_page
from sklearn.neighbors import NearestNeighbors
from sklearn.preprocessing import normalize

from skspeech import SpeakerEmbedding, datasets
from skspeech.report import doubtful_labels

RESULTS = Path(__file__).parent / "results"
FLIPPED, SHOWN, N_NEIGHBOURS = 0.05, 0.10, 10
TASKS = {
    "emodb-speaker": "Emo-DB, 10 speakers, 535 clips",
    "emodb-emotion": "Emo-DB, 7 emotions, 535 clips, speakers held out",
    "fsdd-digit": "FSDD, 10 digits, 3,000 clips, speakers held out",
    "fsdd-speaker": "FSDD, 6 speakers, 3,000 clips",
}


def main(argv=None):
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--tasks", nargs="+", choices=TASKS, default=list(TASKS))
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--data-home", default=os.environ.get("SKSPEECH_DATA"))
    args = parser.parse_args(argv)
    rows = []
    for task in args.tasks:
        clips, labels, groups = load(task, args.data_home)
        for seed in args.seeds:
            rows.append({"task": task, "seed": seed, **measure(clips, labels, groups, seed)})
            print(rows[-1], flush=True)
    lines = [
        "# Wrong labels that are found",
        "",
        f"{FLIPPED:.0%} of the labels are wrong; {SHOWN:.0%} of the clips are shown. Found: share "
        "of the wrong labels among those shown (mean over seeds, and the least).",
        "",
        f"| task | found | least | by {N_NEIGHBOURS} nearest neighbours | seconds |",
        "| --- | --- | --- | --- | --- |",
    ]
    for task in args.tasks:
        of_task = [row for row in rows if row["task"] == task]
        found, peer, seconds = (
            np.array([row[key] for row in of_task]) for key in ("found", "by_neighbours", "seconds")
        )
        lines.append(
            f"| {task} | {found.mean():.2f} | {found.min():.2f} | {peer.mean():.2f} | "
            f"{np.median(seconds):.0f} |"
        )
    lines += ["", *[f"- `{task}`: {TASKS[task]}" for task in args.tasks]]
    write_page(RESULTS, "labels", lines, rows, seeds=args.seeds)


def load(task, data_home):
    name, target = task.split("-")
    fetch = {"emodb": datasets.fetch_emodb, "fsdd": datasets.fetch_fsdd}[name]
    data = fetch(task=target, data_home=data_home)
    groups = None if target == "speaker" else np.asarray(data.groups)
    return list(data.data), np.asarray(data.target), groups


def measure(clips, labels, groups, seed):
    rng = np.random.default_rng(seed)
    n = len(labels)
    flipped = rng.choice(n, round(FLIPPED * n), replace=False)
    n_classes = len(np.unique(labels))
    given = np.unique(labels, return_inverse=True)[1]
    given[flipped] = (given[flipped] + rng.integers(1, n_classes, len(flipped))) % n_classes
    start = time.perf_counter()
    table = doubtful_labels(clips, given, groups, random_state=seed)
    seconds = time.perf_counter() - start
    shown = table["clip"][: round(SHOWN * n)]
    return {
        "found": float(np.isin(flipped, shown).mean()),
        "by_neighbours": float(np.isin(flipped, by_neighbours(clips, given)).mean()),
        "seconds": seconds,
    }


def by_neighbours(clips, given):
    """The clips whose neighbours most often have other labels."""
    rows = normalize(SpeakerEmbedding().fit_transform(clips))
    nearest = NearestNeighbors(n_neighbors=N_NEIGHBOURS + 1).fit(rows).kneighbors(rows)[1][:, 1:]
    agree = (given[nearest] == given[:, None]).mean(axis=1)
    return np.argsort(agree, kind="stable")[: round(SHOWN * len(given))]


if __name__ == "__main__":
    main()
