"""Accuracy over time: skspeech's presets against the usual alternatives.

Every system gets the same clips in a fresh process. The clock starts with the call that passes it
the training clips: each of its answers on the test part is scored, and the time of an answer
includes prediction. For every system, imports and loading of weights come before the clock starts.

    python benchmarks/accuracy.py --tasks emodb-emotion --systems best opensmile-svm --seeds 0 1

With `--leave-one-out`, the systems are the challenge's line-up of six approaches, the line-up
without each of them, and without the three that train networks.

    python benchmarks/accuracy.py --leave-one-out --time-budget 180 --name approaches

Results go to benchmarks/results/accuracy.md and .json; `--name` chooses another name, `--append`
adds to the existing results.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
import warnings
from pathlib import Path

import numpy as np
from _machine import machine, versions
from _peers import PEERS
from _tasks import ALL_TASKS, TASKS, load_task
from sklearn.metrics import log_loss
from sklearn.pipeline import Pipeline

from skspeech.metrics import (
    area_under_learning_curve,
    balanced_accuracy_over_time,
    expected_calibration_error,
)

PRESETS = ("fast", "best", "autospeech2020")
# The challenge's line-up of six approaches, and the approaches left out of each variant.
APPROACHES = ("speaker", "music", "fused", "recurrent", "mixup-cnn", "fine-tuned")
LEFT_OUT = {f"without-{name}": [name] for name in APPROACHES}
LEFT_OUT["without-trained"] = ["recurrent", "mixup-cnn", "fine-tuned"]
# The preset "best" when nobody says who speaks, where the task has groups.
NO_GROUPS = "best-no-groups"
SYSTEMS = (*PRESETS, NO_GROUPS, *LEFT_OUT, *PEERS)
RESULTS = Path(__file__).parent / "results"


def main(argv=None):
    args = parse_args(argv)
    path = RESULTS / f"{args.name}.json"
    runs = json.loads(path.read_text())["runs"] if args.append and path.exists() else []
    for task in args.tasks:
        for seed in args.seeds:
            for system in args.systems:
                run = run_in_fresh_process(system, task, seed, args.time_budget, args.data_home)
                print(describe(run), flush=True)
                runs = [old for old in runs if identity(old) != identity(run)] + [run]
                # Written after each run, so that an interrupted bench keeps what it measured.
                write(path, runs)
    print(table(runs))
    print(f"Written to {path} and {path.with_suffix('.md')}.")


def parse_args(argv):
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--tasks", nargs="+", choices=ALL_TASKS, default=list(TASKS), metavar="TASK"
    )
    parser.add_argument(
        "--systems", nargs="+", choices=SYSTEMS, default=list(SYSTEMS), metavar="SYSTEM"
    )
    parser.add_argument(
        "--leave-one-out",
        dest="systems",
        action="store_const",
        const=["autospeech2020", *LEFT_OUT],
        help="what each of the six approaches adds",
    )
    parser.add_argument("--seeds", nargs="+", type=int, default=[0], metavar="SEED")
    parser.add_argument("--time-budget", type=float, default=60.0, help="seconds (default: 60)")
    parser.add_argument("--data-home", help="folder of the data sets (default: SKSPEECH_DATA)")
    parser.add_argument("--name", default="accuracy", help="of the files in benchmarks/results/")
    parser.add_argument("--append", action="store_true", help="keep the file's other runs")
    return parser.parse_args(argv)


def run_in_fresh_process(*run):
    """Measure one system once, in a process without anything from earlier runs in memory."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "run.json"
        subprocess.run([sys.executable, __file__, "--measure", json.dumps(run), path], check=True)
        return json.loads(path.read_text())


def measure(system, task, seed, time_budget, data_home=None):
    """Return the learning curve of one system on one task's test part, with its summary."""
    split = load_task(task, seed, data_home)
    answer = answers_of_peer if system in PEERS else answers_of_preset
    prepare(system, split)
    start = time.monotonic()
    times, predictions, members, ensemble, sure = [], [], {}, None, {}
    for labels, latest in answer(system, split, time_budget, seed):
        times.append(time.monotonic() - start)
        predictions.append(labels)
        ensemble = latest
    scores = balanced_accuracy_over_time(split.y_test, predictions)
    if ensemble is not None:
        probas = {name: member.predict_proba(split.X_test) for name, member in alone(ensemble)}
        members = {name: score_of(ensemble, proba, split) for name, proba in probas.items()}
        sure = how_sure(ensemble, probas, split)
    return {
        "system": system,
        "task": task,
        "seed": seed,
        "time_budget": time_budget,
        "n_train": len(split.X_train),
        "n_test": len(split.X_test),
        "alc": area_under_learning_curve(times, scores, time_budget),
        "score": float(scores[-1]),
        "first_score": float(scores[0]),
        "first_answer": times[0],
        "last_answer": times[-1],
        "times": times,
        "scores": scores.tolist(),
        "below_best_answer": float(scores.max() - scores[-1]),
        "below_best_member": max(members.values()) - float(scores[-1]) if members else np.nan,
        "members": members,
        **sure,
        "machine": machine(),
        "versions": versions(),
    }


def answers_of_preset(system, split, time_budget, seed):
    """Yield test labels for each snapshot of the ensemble."""
    from skspeech import TimeBudgetClassifier

    candidates = ["auto", *[f"-{name}*" for name in LEFT_OUT.get(system, [])]]
    preset = "autospeech2020" if system in LEFT_OUT else system
    groups = split.groups_train
    if system == NO_GROUPS:
        preset, groups = "best", None
    classifier = TimeBudgetClassifier(
        candidates, preset=preset, time_budget=time_budget, random_state=seed
    )
    for snapshot in classifier.iter_fit(split.X_train, split.y_train, groups=groups):
        yield snapshot.predict(split.X_test), snapshot


def score_of(ensemble, proba, split):
    labels = ensemble.classes_[proba.argmax(axis=1)]
    return float(balanced_accuracy_over_time(split.y_test, [labels])[0])


def how_sure(ensemble, members, split):
    """How far the probabilities of the test part can be trusted."""
    proba, known = ensemble.predict_proba(split.X_test), {"labels": ensemble.classes_}
    losses = {name: log_loss(split.y_test, own, **known) for name, own in members.items()}
    loss = log_loss(split.y_test, proba, **known)
    return {
        "calibration_error": expected_calibration_error(split.y_test, proba, **known),
        "log_loss": loss,
        "log_loss_above_best_member": loss - min(losses.values()),
        "member_losses": losses,
    }


def alone(ensemble):
    """(name, classifier) of each that votes in an ensemble, including those that share features."""
    for name, member in ensemble.named_estimators_.items():
        if isinstance(member, Pipeline) and hasattr(member[-1], "estimators_"):
            for own, rest in member[-1].named_estimators_.items():
                yield own, Pipeline([*member.steps[:-1], ("classifier", rest)])
        else:
            yield name, member


def answers_of_peer(peer, split, time_budget, seed):
    """Yield a peer's only answer, however long it takes."""
    yield PEERS[peer](split.X_train, split.y_train, split.X_test, split.groups_train), None


def prepare(system, split):
    """Do on a few clips what happens once per process: import, load weights, compile."""
    _, first = np.unique(split.y_train, return_index=True)
    few = np.concatenate([np.flatnonzero(split.y_train == split.y_train[i])[:3] for i in first[:2]])
    small = split._replace(
        X_train=[split.X_train[i] for i in few],
        y_train=split.y_train[few],
        # These are among the measured clips, but that does not warm up the cache: embeddings are
        # cleared below.
        X_test=[split.X_train[i] for i in few[:1]],
        groups_train=None,
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # warnings about few clips don't matter here
        if system not in PEERS:
            # With so little time, the approaches that are left out later don't run anyway.
            preset = "autospeech2020" if system in LEFT_OUT else system
            for _ in answers_of_preset(preset, small, 10.0, seed=0):
                break
            forget_embeddings()
        else:
            for _ in answers_of_peer(system, small, None, seed=0):
                pass


def forget_embeddings():
    from skspeech import cache

    cache.clear()


def identity(run):
    return run["system"], run["task"], run["seed"], run["time_budget"]


def describe(run):
    return (
        f"{run['task']}, {run['system']}, seed {run['seed']}: ALC {run['alc']:.3f}, first answer "
        f"after {run['first_answer']:.1f} s with {run['first_score']:.3f}, final score "
        f"{run['score']:.3f} after {run['last_answer']:.1f} s"
    )


def write(path, runs):
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps({"runs": runs}, indent=1) + "\n")
    path.with_suffix(".md").write_text(report(runs))


def report(runs):
    """The results as a page: the table, the meaning of its columns, and the machine."""
    measured = of(runs, "task")
    tasks = [f"- `{name}`: {t.description}" for name, t in ALL_TASKS.items() if name in measured]
    return "\n".join(
        [
            "# Accuracy over time",
            "",
            table(runs),
            "",
            "ALC: area under the learning curve, balanced accuracy over log-scaled time (t0 = 60 s)"
            " until the budget ends. First answer: seconds from the call that hands over the"
            " training clips until the test part is predicted. Means over seeds, ± their standard"
            " deviation. A peer answers once; where its answer comes after the budget, its ALC is 0"
            " and its score is given all the same. Below its best answer: how much the final score"
            " is less than the best of the curve; below its best member: less than that of the best"
            " classifier that votes, alone. Both look for the best of each seed on its test part,"
            " so that chance alone makes them positive. Calibration error (expected, of the most"
            " probable class) and log loss are the final ensemble's.",
            "",
            "The same with one choice for all seeds:",
            "",
            table_of_choices(runs),
            "",
            "Below the best moment: how much the mean of the final scores is less than the highest"
            " point of the mean curve. Below one member: less than that of the best classifier"
            " alone, of those that vote in at least half of the runs, and over these.",
            "",
            *tasks,
            "",
            *[f"Measured on {place}." for place in sorted({where(run) for run in runs})],
            "",
        ]
    )


def table(runs):
    lines = [
        "| task | budget (s) | system | seeds | ALC | final score | first answer (s) | its score "
        "| last answer (s) | below its best answer | below its best member | calibration error "
        "| log loss | log loss above its best member's |",
        "|" + " --- |" * 14,
    ]
    for (task, budget, system), same in in_order(runs):
        columns = [
            mean(same, "alc", 3),
            mean(same, "score", 3),
            mean(same, "first_answer", 1),
            mean(same, "first_score", 3),
            mean(same, "last_answer", 1),
            mean(same, "below_best_answer", 3),
            mean(same, "below_best_member", 3),
            mean(same, "calibration_error", 3),
            mean(same, "log_loss", 3),
            mean(same, "log_loss_above_best_member", 3),
        ]
        head = f"| {task} | {budget:g} | {system} | {len(same)} | "
        lines.append(head + " | ".join(columns) + " |")
    return "\n".join(lines)


def table_of_choices(runs):
    """How far ensembles are behind the moment, and the member, that is best over all seeds."""
    lines = [
        "| task | budget (s) | system | seeds | below the best moment | below one member | which "
        "| log loss above one member's | which |",
        "|" + " --- |" * 9,
    ]
    for (task, budget, system), same in in_order(runs):
        if len(same) < 2 or not all(run.get("member_losses") for run in same):
            continue  # one run has no choice; a peer, and an older run, have no members' names
        gap, best = best_for_all(same, lambda run: (run["members"], run["score"]))
        loss, surest = best_for_all(
            same, lambda run: ({n: -x for n, x in run["member_losses"].items()}, -run["log_loss"])
        )
        behind = f"{below_best_moment(same):.3f}"
        lines.append(
            f"| {task} | {budget:g} | {system} | {len(same)} | {behind} | {gap:.3f} | {best} "
            f"| {loss:.3f} | {surest} |"
        )
    return "\n".join(lines)


def below_best_moment(runs):
    """How much the mean final score is less than the highest point of the mean curve."""
    begin = max(run["times"][0] for run in runs)
    moments = [time for run in runs for time in run["times"] if time >= begin]
    curves = [
        np.array(run["scores"])[np.searchsorted(run["times"], moments, side="right") - 1]
        for run in runs
    ]
    return np.mean(curves, axis=0).max() - np.mean([run["score"] for run in runs])


def best_for_all(runs, read):
    """(gap, name) of the member that is best over the runs in which it votes, at least half."""
    gaps = {}
    for members, own in map(read, runs):
        for name, value in members.items():
            gaps.setdefault(name, []).append(value - own)
    means = {name: np.mean(own) for name, own in gaps.items() if 2 * len(own) >= len(runs)}
    best = max(means, key=means.get)
    return means[best], best


def in_order(runs):
    """((task, budget, system), its runs), in the order of the tables."""
    for task in ALL_TASKS:
        for budget in sorted(of(runs, "time_budget")):
            for system in SYSTEMS:
                key = task, budget, system
                same = [r for r in runs if (r["task"], r["time_budget"], r["system"]) == key]
                if same:
                    yield key, same


def of(runs, key):
    return {run[key] for run in runs}


def mean(runs, key, digits):
    values = [run.get(key, np.nan) for run in runs]
    if not np.isfinite(values).all():
        return ""
    text = f"{np.mean(values):.{digits}f}"
    return text if len(values) == 1 else f"{text} ± {np.std(values, ddof=1):.{digits}f}"


def where(run):
    place, found = run["machine"], run["versions"]
    gpu = f", {place['gpu']}" if place["gpu"] else ", no GPU"
    packages = ", ".join(f"{name} {number}" for name, number in found.items() if number)
    return (
        f"{place['cpu']}, {place['cores']} cores, {place['memory_gb']} GB{gpu}, {place['system']}; "
        f"{packages}"
    )


if __name__ == "__main__":
    if sys.argv[1:2] == ["--measure"]:
        Path(sys.argv[3]).write_text(json.dumps(measure(*json.loads(sys.argv[2]))))
    else:
        main()
