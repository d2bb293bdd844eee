"""Is this tree better than an earlier commit? Compares both learning curves on one machine.

    git worktree add ../before 784c43f
    python benchmarks/progress.py ../before

Each run uses `benchmarks/accuracy.py` of its own tree, in a fresh process. The two trees take
turns, so that a slower phase of the machine affects both. Results go to
benchmarks/results/progress.md and .json; `--append` adds to the existing results.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
from _report import write_page
from _tasks import TASKS

HERE = Path(__file__).parent
RESULTS = HERE / "results"
COLUMNS = {"alc": "ALC", "score": "final score", "first_score": "first score"}


def main(argv=None):
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("before", type=Path, help="a checkout of the earlier commit")
    parser.add_argument("--tasks", nargs="+", choices=TASKS, default=list(TASKS), metavar="TASK")
    parser.add_argument("--seeds", nargs="+", type=int, default=[0], metavar="SEED")
    parser.add_argument("--time-budget", type=float, default=60.0)
    parser.add_argument("--data-home", default=os.environ.get("SKSPEECH_DATA"))
    parser.add_argument("--append", action="store_true", help="keep the other rows of the file")
    args = parser.parse_args(argv)
    data_home = None if args.data_home is None else os.path.abspath(args.data_home)
    trees = {"before": args.before.resolve(), "now": HERE.parent}
    path = RESULTS / "progress.json"
    rows = json.loads(path.read_text())["rows"] if args.append and path.exists() else []
    for task in args.tasks:
        for seed in args.seeds:
            for tree, folder in trees.items():
                run = measure(folder, task, seed, args.time_budget, data_home)
                row = {"tree": tree, "task": task, "seed": seed, "time_budget": args.time_budget}
                row |= {key: run[key] for key in (*COLUMNS, "first_answer", "times", "scores")}
                print(f"{tree}, {task}, seed {seed}: ALC {row['alc']:.3f}", flush=True)
                same = {key: row[key] for key in ("tree", "task", "seed", "time_budget")}
                rows = [old for old in rows if not same.items() <= old.items()] + [row]
                write(rows)  # after each run: an interrupted bench keeps what it measured


def measure(tree, task, seed, time_budget, data_home):
    """One run of the line-up "best" in a tree."""
    with tempfile.TemporaryDirectory() as folder:
        result = Path(folder) / "run.json"
        run = json.dumps(["best", task, seed, time_budget, data_home])
        script = tree / "benchmarks" / "accuracy.py"
        environment = {**os.environ, "PYTHONPATH": str(tree)}
        subprocess.run(
            [sys.executable, script, "--measure", run, result], check=True, env=environment
        )
        return json.loads(result.read_text())


def write(rows):
    lines = [
        "# Against an earlier commit",
        "",
        "ALC: area under the learning curve, as in `accuracy.md`. First answer: seconds until the "
        "test part is predicted for the first time. Means over seeds.",
        "",
        "| task | budget (s) | seeds | ALC before | now | final score before | now | "
        "first answer (s) before | now |",
        "| --- | --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    gains = []
    for task, budget in sorted({(row["task"], row["time_budget"]) for row in rows}):
        own = [row for row in rows if (row["task"], row["time_budget"]) == (task, budget)]
        before, now = ([r for r in own if r["tree"] == tree] for tree in ("before", "now"))
        if not (before and now):
            continue
        cells = [
            f"{np.mean([row[key] for row in part]):.3f}"
            for key in ("alc", "score", "first_answer")
            for part in (before, now)
        ]
        gains.append(np.mean([r["alc"] for r in now]) - np.mean([r["alc"] for r in before]))
        lines.append(f"| {task} | {budget:g} | {len(now)} | {' | '.join(cells)} |")
    if gains:
        lines += ["", f"Mean gain in ALC over these tasks: {np.mean(gains):+.3f}."]
    write_page(RESULTS, "progress", [*lines, ""], rows)


if __name__ == "__main__":
    main()
