"""Do the scores of new speakers fall within the limits that the command prints, 9 times of 10?

Like `confidence.py`, but through the command itself: eight of Emo-DB's ten speakers play a user's
data set. `skspeech cross-validate` and `skspeech fit --test-size` print a score with limits for
them, which this script reads from the output. Then `skspeech evaluate` scores the model on the
other two speakers: each score is within the limits or not. Each speaker is new once.

    python benchmarks/confidence_printed.py

The run takes a quarter of an hour. Results go to benchmarks/results/confidence_printed.md and
.json.
"""

import argparse
import csv
import json
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
from _report import write_page

from skspeech import datasets

RESULTS = Path(__file__).parent / "results"
TEST_SIZE = "0.65"  # about five of eight speakers: with fewer, there are no limits
LIMITS = re.compile(r"9 times of 10 it is ([\d.]+) to ([\d.]+) for a new group, from (\d+) of them")


def main(argv=None):
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--time-budget", default="8s", help="of each training")
    parser.add_argument("--preset", default="fast")
    parser.add_argument("--pairs", type=int, default=5, help="pairs of new speakers, at most 5")
    parser.add_argument("--data-home", default=os.environ.get("SKSPEECH_DATA"))
    args = parser.parse_args(argv)
    clips = datasets.fetch_emodb(task="emotion", data_home=args.data_home)
    names = np.random.default_rng(0).permutation(np.unique(clips.groups))
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        for number, new in enumerate(names.reshape(-1, 2)[: args.pairs]):
            desk = Path(folder, str(number))
            desk.mkdir()
            is_new = np.isin(clips.groups, new)
            write_table(desk / "own.csv", clips, np.flatnonzero(~is_new))
            write_table(desk / "new.csv", clips, np.flatnonzero(is_new))
            training = ["--time-budget", args.time_budget, "--preset", args.preset]
            training += ["--memory", str(Path(folder, "memory")), "--seed", str(number), "-q"]
            for row in confirmed(desk, training):
                rows.append({"new": new.tolist(), **row})
                print(json.dumps(rows[-1]), flush=True)
    write(rows, args)


def write_table(path, clips, rows):
    with open(path, "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["path", "label", "group"])
        for i in rows:
            path = os.path.abspath(clips.data[i])
            writer.writerow([path, clips.target_names[clips.target[i]], clips.groups[i]])


def confirmed(desk, training):
    """The limits that each command prints for a user's clips, and the scores of new speakers."""
    told = skspeech(desk, "cross-validate", "own.csv", *training)
    skspeech(desk, "fit", "own.csv", "-o", "all", *training)
    yield compared(desk, "cross-validate", told, "all")
    options = ["--test-size", TEST_SIZE]
    told = skspeech(desk, "fit", "own.csv", "-o", "held-out", *options, *training)
    yield compared(desk, f"fit --test-size {TEST_SIZE}", told, "held-out")


def compared(desk, way, told, model):
    found = LIMITS.search(told)
    low, high = map(float, found.groups()[:2]) if found else (None, None)
    scored = json.loads(skspeech(desk, "evaluate", model, "new.csv", "--json", "-q"))
    scores = {name: row["balanced_accuracy"] for name, row in scored["per_group"].items()}
    inside = [low <= round(score, 3) <= high for score in scores.values()] if found else []
    return {"way": way, "low": low, "high": high, "scores": scores, "inside": inside}


def skspeech(desk, *arguments):
    """Run the command and return what it prints."""
    command = [sys.executable, "-m", "skspeech", *arguments]
    done = subprocess.run(command, cwd=desk, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"{' '.join(arguments)} ended with {done.returncode}:\n{done.stderr}")
    return done.stdout


def write(rows, args):
    lines = ["# Confidence, as it is printed", "", __doc__.split("\n\n    ")[0], ""]
    lines += [
        "| way | inside | new speakers | width | draws with limits |",
        "| --- | ---: | ---: | ---: | ---: |",
    ]
    for way in dict.fromkeys(row["way"] for row in rows):
        part = [row for row in rows if row["way"] == way]
        limited = [row for row in part if row["inside"]]
        inside = sum(sum(row["inside"]) for row in limited)
        n_new = sum(len(row["inside"]) for row in limited)
        width = np.mean([row["high"] - row["low"] for row in limited]) if limited else np.nan
        lines.append(
            f"| {way} | {inside} | {n_new} | {width:.3f} | {len(limited)} of {len(part)} |"
        )
    lines += [
        "",
        f"Emo-DB, 7 emotions; preset {args.preset}, {args.time_budget} a training. So few new "
        "speakers show a gross fault only: `confidence.py` draws all pairs.",
    ]
    write_page(RESULTS, "confidence_printed", [*lines, ""], rows)


if __name__ == "__main__":
    main()
