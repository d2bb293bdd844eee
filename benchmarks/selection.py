"""Which rule chooses the members of an ensemble best? Replayed on recorded probabilities.

First, record the candidates' predictions on held-out and on test clips. This takes minutes for each
task, seed, line-up and way to hold clips out. Keep the files outside the project.

    python benchmarks/selection.py record --folder /tmp/records --seeds 0 1 --tasks fsdd-digit

Then replay every rule on all records, in seconds. The candidates arrive one by one, in the order
of the line-up. After each, the rule chooses among those that have arrived, and its choice replaces
the standing ensemble if the gate accepts it; the last choice does so in any case. Rules were chosen
on the seeds of `--chosen-on`; the tables report the other seeds.

    python benchmarks/selection.py replay --folder /tmp/records --chosen-on 0

Results go to benchmarks/results/selection.md and .json.
"""

import argparse
import json
import os
import time
from pathlib import Path
from unittest import mock

import numpy as np
from _machine import machine, versions
from _selection_records import (
    LINE_UPS,
    VALIDATIONS,
    families_of,
    load_records,
    record,
)
from _tasks import ALL_TASKS

from skspeech.ensemble import selection
from skspeech.ensemble.blending import blend_log_probas, log_probas
from skspeech.ensemble.scoring import (
    ProbabilityScore,
    log_likelihoods,
    neg_log_loss,
    standard_error,
)
from skspeech.time_budget.outcomes import LEAST_PROBABILITY

RESULTS = Path(__file__).parent / "results"
SCORING = "balanced_accuracy"
TRAINED = "trained"
FLOORS = (1e-2, 1e-3, LEAST_PROBABILITY, 1e-6)


def main(argv=None):
    args = parse_args(argv)
    args.run(args)


def parse_args(argv):
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = parser.add_subparsers(required=True)
    one = commands.add_parser("record", help="predict with all candidates; minutes to hours")
    one.set_defaults(run=run_record)
    one.add_argument("--tasks", nargs="+", choices=ALL_TASKS, default=list(ALL_TASKS))
    one.add_argument("--seeds", nargs="+", type=int, default=[0])
    one.add_argument("--line-ups", nargs="+", choices=LINE_UPS, default=["best", "autospeech2020"])
    one.add_argument("--validations", nargs="+", choices=VALIDATIONS, default=list(VALIDATIONS))
    one.add_argument("--repeats", type=int, default=1, help="of the validation, with other folds")
    one.add_argument("--max-time", type=float, default=20.0, help="seconds for a trained network")
    one.add_argument("--data-home", default=os.environ.get("SKSPEECH_DATA"))
    two = commands.add_parser("replay", help="apply all rules to the records; seconds")
    two.set_defaults(run=run_replay)
    two.add_argument("--chosen-on", nargs="+", type=int, default=[0], help="seeds to leave out")
    two.add_argument("--note", default="", help="a sentence for the page of results")
    for command in (one, two):
        command.add_argument("--folder", required=True, help="of the records")
    return parser.parse_args(argv)


def run_record(args):
    Path(args.folder).mkdir(parents=True, exist_ok=True)
    for seed in args.seeds:
        for task in args.tasks:
            for line_up in args.line_ups:
                for validation in args.validations:
                    start = time.monotonic()
                    about = task, seed, line_up, validation
                    path = record(args.folder, *about, args.data_home, args.repeats, args.max_time)
                    seconds = time.monotonic() - start
                    print(*about, "recorded" if path else "makes no sense", f"{seconds:.0f} s")


# Rules: functions of log-probabilities, classes, units and score that give weights.


def best_single(logs, y, units, score, families):
    weights = np.zeros(len(logs))
    weights[np.argmax([neg_log_loss(np.exp(log), y) for log in logs])] = 1.0
    return weights


def equal(logs, y, units, score, families):
    return np.full(len(logs), 1 / len(logs))


def greedy(logs, y, units, score, families):
    return selection.RULES["greedy"](logs, y, score=score, units=units, fits=lambda own: True)


def greedy_on_loss(logs, y, units, score, families):
    return selection.greedy_selection(logs, y, score=neg_log_loss)


def within(n_errors, *, of="loss", paired=True):
    """Equal weights for all candidates within `n_errors` standard errors of the best one."""

    def choose(logs, y, units, score, families):
        if of == "loss":
            credit = log_likelihoods(np.exp(logs), y)
        else:  # the share that each row contributes to the balanced accuracy
            counts = np.bincount(y)
            credit = (logs.argmax(axis=2) == y) * len(y) / (counts[y] * np.count_nonzero(counts))
        best = credit.mean(axis=1).argmax()
        weights = np.zeros(len(logs))
        for i, own in enumerate(credit):
            gap = credit[best] - own
            error = standard_error(gap if paired else credit[best], units)
            weights[i] = gap.mean() <= n_errors * error + 1e-12
        return weights / weights.sum()

    return choose


def shrunk(rule, share):
    """A rule's weights, shrunk towards equal weights."""
    return lambda *given: share * rule(*given) + (1 - share) * equal(*given)


def over_units(logs, y, units, score, families, n_bags=8):
    """Mean of the greedy weights (log loss) of random halves of the groups, or of the clips."""
    rng = np.random.default_rng(0)
    names, weights = np.unique(units), np.zeros(len(logs))
    for _ in range(n_bags):
        half = np.isin(units, rng.choice(names, max(1, len(names) // 2), replace=False))
        weights += selection.greedy_selection(logs[:, half], y[half], score=neg_log_loss)
    return weights / n_bags


def least_loss(n_errors):
    """The default rule, with another strength of shrinkage towards equal weights."""
    return lambda logs, y, units, score, families: selection.least_loss_selection(
        logs, y, units=units, families=families, n_errors=n_errors
    )


def drawn_to_equal(*given):
    """The default rule, but all candidates are drawn towards an equal weight, however bad."""
    with mock.patch.object(selection, "_WORSE", np.inf):
        return least_loss(selection.N_ERRORS)(*given)


RULES = {
    "greedy, score (as before)": greedy,
    "greedy, log loss": greedy_on_loss,
    "greedy, log loss, over halves of the units": over_units,
    "best single": best_single,
    "equal, all": equal,
    **{f"equal, within {k} errors, log loss, paired": within(k) for k in (1, 2, 4)},
    **{f"equal, within {k} errors, log loss": within(k, paired=False) for k in (1, 2, 4)},
    **{f"equal, within {k} errors, score, paired": within(k, of="score") for k in (1, 2, 4)},
    "half greedy (score), half equal": shrunk(greedy, 0.5),
    "half greedy (log loss), half equal": shrunk(greedy_on_loss, 0.5),
    **{f"least loss, drawn by {n:g} errors": least_loss(n) for n in (0, 0.3, 1, 3)},
    "least loss, all drawn towards equal weights": drawn_to_equal,
    "least loss, each candidate a family": lambda logs, y, units, score, families: (
        selection.least_loss_selection(logs, y, units=units)
    ),
}
DEFAULT = f"least loss, drawn by {selection.N_ERRORS:g} errors"
BEFORE = "greedy, score (as before)"


# Gates: whether a new ensemble replaces the standing one.


def always(new, old, y, units, score):
    return True


def by_score(new, old, y, units, score):
    """The former rule: a higher score, or an equal one with a lower loss."""
    gain = score(new, y) - score(old, y)
    less = neg_log_loss(new, y) - neg_log_loss(old, y)
    return gain > 1e-9 or (gain > -1e-9 and less > 1e-4)


def by_loss(new, old, y, units, score):
    return neg_log_loss(new, y) > neg_log_loss(old, y)


def by_chance(new, old, y, units, score):
    return selection.is_better(new, old, y, score=score, units=units)


GATES = {
    "always": always,
    "score (as before)": by_score,
    "lower log loss": by_loss,
    "is_better (default)": by_chance,
}


class Replay:
    """A record whose held-out rows are joined over `n_repeats` repeats of the validation.

    With `voices`, the record of the same candidates on folds that keep voices whole, its rows are
    among those that members are chosen by.
    """

    def __init__(self, record, trained=None, n_repeats=1, floor=LEAST_PROBABILITY, voices=None):
        self.record, self.trained, self.label = record, trained, record.line_up
        self.voices = voices
        self.held_out = record.validation
        self.families = families_of(record.line_up, record.names)
        held, test = record.held[:n_repeats], record.test
        if trained is not None:
            held = np.concatenate([held, trained.held[:n_repeats]], axis=1)
            test = np.concatenate([test, trained.test])
            self.families += list(trained.names)
        held = np.concatenate(held, axis=1)
        known = ~np.isnan(held).any(axis=(0, 2))
        self.logs, self.test = log_probas(held[:, known], floor), log_probas(test, floor)
        self.y = np.tile(record.y, n_repeats)[known]
        clips = record.groups if record.validation == "given" else np.arange(len(record.y))
        self.units = np.tile(clips, n_repeats)[known]
        self.score = ProbabilityScore(SCORING, np.arange(held.shape[2]))
        if voices is not None:
            self.held_out += " + voices"
            other = Replay(voices, None, n_repeats, floor)
            self.logs = np.concatenate([self.logs, other.logs], axis=1)
            self.y = np.concatenate([self.y, other.y])
            self.units = np.concatenate([self.units, other.units])
        self.y_test = record.y_test
        self.singles = np.array([self.score(np.exp(log), self.y_test) for log in self.test])

    def weights(self, rule):
        """Weights after each candidate that arrives."""
        return [
            rule(self.logs[:n], self.y, self.units, self.score, self.families[:n])
            for n in range(1, len(self.logs) + 1)
        ]

    def follow(self, steps, gate):
        """Replay the run; return how its end compares with everything else, in score points."""
        held = [blend_log_probas(self.logs[: len(w)], w)[0] for w in steps]
        scores = [
            self.score(blend_log_probas(self.test[: len(w)], w)[0], self.y_test) for w in steps
        ]
        path = [0]
        for new in range(1, len(steps)):
            if gate(held[new], held[path[-1]], self.y, self.units, self.score):
                path.append(new)
        if path[-1] != len(steps) - 1:  # the last choice of a run is taken in any case
            path.append(len(steps) - 1)
        end, weights = scores[path[-1]], steps[path[-1]]
        members = self.singles[: len(weights)][weights > 0]
        return {
            "end": end,
            "to curve": end - max(scores[i] for i in path),
            "to member": end - members.max(),
            "to single": end - self.singles.max(),
            "snapshots": len(path),
            "held-out": self.score(held[path[-1]], self.y),
            "log loss": -neg_log_loss(
                blend_log_probas(self.test[: len(weights)], weights)[0], self.y_test
            ),
        }


def run_replay(args):
    records = load_records(args.folder)
    trained = {(r.task, r.seed, r.validation): r for r in records if r.line_up == TRAINED}
    by_voice = {r[:3]: r for r in records if r.validation == "voices"}
    replays = []
    for r in records:
        if r.line_up == TRAINED or r.validation == "voices":
            continue
        replays.append(Replay(r))
        if r.validation == "random" and r[:3] in by_voice:
            replays.append(Replay(r, voices=by_voice[r[:3]]))
        extra = trained.get((r.task, r.seed, r.validation))
        if extra is not None:
            with_networks = Replay(r, extra)
            with_networks.label = f"{r.line_up} + networks"
            replays.append(with_networks)
    chosen_on = [r for r in replays if r.record.seed in args.chosen_on]
    others = [r for r in replays if r.record.seed not in args.chosen_on]
    steps = {(id(r), name): r.weights(rule) for r in replays for name, rule in RULES.items()}

    page = ["# Selection", "", __doc__.split("\n\n")[0], ""]
    data = {
        "about": {**machine(), **versions()},
        "chosen_on": args.chosen_on,
        "note": args.note,
        "tables": {},
    }

    def add(title, text, rows):
        print(f"\n{title}\n")
        lines = [f"## {title}", "", text, "", *table(rows), ""]
        print("\n".join(lines[4:]))
        page.extend(lines)
        data["tables"][title] = rows

    for title, part in [("Rules, where they were chosen", chosen_on), ("Rules, elsewhere", others)]:
        if part:
            add(
                title,
                f"Means over {len(part)} records, with the gate that lets a new ensemble through "
                "if it is better beyond chance.",
                [
                    {"rule": name, **mean([r.follow(steps[id(r), name], by_chance) for r in part])}
                    for name in RULES
                ],
            )
    for title, part in [("Gates, where they were chosen", chosen_on), ("Gates, elsewhere", others)]:
        if part:
            add(
                title,
                "The rule is the default, or the one before.",
                [
                    {
                        "rule": rule,
                        "gate": gate,
                        **mean([r.follow(steps[id(r), rule], GATES[gate]) for r in part]),
                    }
                    for rule in (DEFAULT, BEFORE)
                    for gate in GATES
                ],
            )
    add(
        "Each record",
        "Test score at the end with the default rule and gate, and as before (greedy by score).",
        [each(r, steps) for r in sorted(replays, key=lambda r: r.record[:4])],
    )
    for title, part in [("where they were chosen", chosen_on), ("elsewhere", others)]:
        rows = [
            {
                "held out": kind,
                "records": len(own),
                **mean([r.follow(steps[id(r), DEFAULT], by_chance) for r in own]),
            }
            for kind, own in _with_voices(part)
        ]
        if rows:
            add(f"Voices, {title}", "Default rule and gate, where there are voices.", rows)
    for title, part in [("where they were chosen", chosen_on), ("elsewhere", others)]:
        rows = []
        for floor in FLOORS if part else ():
            own = [Replay(r.record, r.trained, 1, floor, r.voices) for r in part]
            ends = [r.follow(r.weights(RULES[DEFAULT]), by_chance) for r in own]
            rows.append({"floor": f"{floor:g}", **mean(ends)})
        if rows:
            add(
                f"Floors, {title}", "Default rule and gate; the least probability of a class.", rows
            )
    repeated = [r.record for r in replays if len(r.record.held) > 1 and r.trained is None]
    if repeated:
        rows = [
            {
                "repeats": n,
                **mean(
                    [
                        replay.follow(replay.weights(RULES[DEFAULT]), by_chance)
                        for replay in (Replay(r, n_repeats=n) for r in repeated)
                    ]
                ),
            }
            for n in (1, 2)
        ]
        add("Repeated validation", f"Means over {len(repeated)} records, default rule.", rows)
    RESULTS.mkdir(exist_ok=True)
    about = ", ".join(f"{key} {value}" for key, value in data["about"].items() if value is not None)
    page += [args.note, ""] if args.note else []
    page += [f"Chosen on seeds {args.chosen_on}. Replayed on: {about}.", ""]
    (RESULTS / "selection.md").write_text("\n".join(page))
    (RESULTS / "selection.json").write_text(json.dumps(data, indent=1) + "\n")


def _with_voices(replays):
    """The same tasks and seeds by random rows, and also by held-out voices."""
    also = [r for r in replays if r.voices is not None]
    alike = {r.record[:4] for r in also}
    only = [r for r in replays if r.record[:4] in alike and r.voices is None and not r.trained]
    return [("random", only), ("random + voices", also)] if also else []


def each(replay, steps):
    now = replay.follow(steps[id(replay), DEFAULT], by_chance)
    before = replay.follow(steps[id(replay), BEFORE], by_score)
    task, seed = replay.record[:2]
    return {
        "task": task,
        "seed": seed,
        "line-up": replay.label,
        "held out": replay.held_out,
        "end": now["end"],
        "before": before["end"],
        "to curve": now["to curve"],
        "before, to curve": before["to curve"],
        "to single": now["to single"],
        "held-out": now["held-out"],
    }


def mean(results):
    return {key: float(np.mean([result[key] for result in results])) for key in results[0]}


def table(rows):
    keys = list(rows[0])
    lines = ["| " + " | ".join(keys) + " |", "| --- " * len(keys) + "|"]
    for row in rows:
        cells = [f"{v:.4f}" if isinstance(v, float) else str(v) for v in row.values()]
        lines.append("| " + " | ".join(cells) + " |")
    return lines


if __name__ == "__main__":
    main()
