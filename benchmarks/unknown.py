"""How many clips of unknown classes does a model accept if it may reject 5 % of known ones?

Some classes are left out of training: each emotion of Emo-DB once, each pair of speakers of FSDD
once. The model is trained on the other classes, and tested on new clips of these and on clips of
the classes that were left out.

    python benchmarks/unknown.py --memory /tmp/embeddings

`UnknownRejector` is compared with thresholds on the largest probability of the same model: with the
threshold at which both reject exactly 5 % of the new clips of known classes (which in practice is
unknown), and with constants, as people copy them from elsewhere. The method was chosen with the
seeds of `--chosen-on`; the table shows the others. The run takes minutes, most of them for the
features. Results go to benchmarks/results/unknown.md and .json.
"""

import argparse
import itertools
import os
from pathlib import Path

import numpy as np
from _report import write_page
from sklearn.model_selection import train_test_split
from sklearn.pipeline import make_pipeline

from skspeech import (
    ClippedStandardScaler,
    KeywordEmbedding,
    ShrinkageDiscriminantAnalysis,
    SpeakerEmbedding,
    SpectralStatistics,
    UnknownRejector,
    WhisperEmbedding,
    datasets,
)
from skspeech.transformers.speaker import STATISTICS

RESULTS = Path(__file__).parent / "results"
TARGET = 0.05
CONSTANTS = (0.5, 0.9)
N_TAKES = 10  # of FSDD's 50
N_EXAMPLES = 20
TASKS = {
    "emotion, known speakers": "Emo-DB, each of 7 emotions left out; 70 % of the others train",
    "emotion, new speakers": "Emo-DB, each of 7 emotions left out; 7 of 10 speakers train",
    "speaker": "FSDD, each of 15 pairs of 6 speakers left out; digits 0–4 train, 5–9 are new",
}


def main(argv=None):
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2, 3])
    parser.add_argument("--chosen-on", nargs="*", type=int, default=[0])
    parser.add_argument("--memory", help="folder that keeps the features")
    parser.add_argument("--data-home", default=os.environ.get("SKSPEECH_DATA"))
    args = parser.parse_args(argv)
    rows = []
    for task in TASKS:
        X, y, groups = load(task, args)
        for seed in args.seeds:
            for left_out, *parts in cases(task, y, groups, seed):
                row = {"task": task, "seed": seed, "left_out": "+".join(left_out)}
                rows.append(row | measure(X, y, groups, *parts, seed))
            print(f"{task}, seed {seed}: done", flush=True)
    write(rows, args.chosen_on)


def load(task, args):
    """Features of the clips, side by side, with labels and groups."""
    settings = {"memory": args.memory}
    fetch = datasets.fetch_fsdd if task == "speaker" else datasets.fetch_emodb
    name = "speaker" if task == "speaker" else "emotion"
    clips = fetch(task=name, data_home=args.data_home)
    rows = np.flatnonzero(clips.take < N_TAKES) if task == "speaker" else range(len(clips.data))
    extractors = [
        SpeakerEmbedding(pooling=STATISTICS, level=None, **settings),
        KeywordEmbedding(**settings),
        SpectralStatistics(level=None, **settings),
    ]
    if task != "speaker":  # the speech encoder does not identify speakers
        extractors.append(WhisperEmbedding(**settings))
    paths = [clips.data[i] for i in rows]
    X = np.hstack([extractor.fit_transform(paths) for extractor in extractors])
    labels = np.asarray(clips.target_names)[clips.target]
    return X, labels[rows], np.asarray(clips.groups)[rows]


def cases(task, y, groups, seed):
    """Classes left out, training rows, new rows of known and of unknown classes, and examples."""
    rng = np.random.RandomState(seed)
    n_left_out = 2 if task == "speaker" else 1
    for left_out in itertools.combinations(np.unique(y), n_left_out):
        strange = np.isin(y, left_out)
        if task == "emotion, known speakers":
            rows = np.flatnonzero(~strange)
            train, _ = train_test_split(rows, test_size=0.3, stratify=y[rows], random_state=seed)
            is_train, is_new = np.isin(np.arange(len(y)), train), np.ones(len(y), dtype=bool)
        else:
            new = rng.permutation(np.unique(groups))[:3]
            new = list("56789") if task == "speaker" else new
            is_new = np.isin(groups, new)
            is_train = ~is_new & ~strange
            if task == "speaker":  # seeds choose the clips, since every seed has all pairs
                is_train &= rng.uniform(size=len(y)) < 0.7
        others = rng.permutation(np.flatnonzero(strange))
        if task == "emotion, known speakers":
            examples, unknown = others[:N_EXAMPLES], others[N_EXAMPLES:]
        else:
            examples, unknown = others[~is_new[others]][:N_EXAMPLES], others[is_new[others]]
        known = np.flatnonzero(is_new & ~is_train & ~strange)
        yield left_out, np.flatnonzero(is_train), known, unknown, examples


def measure(X, y, groups, train, known, unknown, examples, seed):
    """Shares of false rejects and accepts."""
    model = make_pipeline(ClippedStandardScaler(), ShrinkageDiscriminantAnalysis(shrinkage=0.5))
    rejector = UnknownRejector(model, target=TARGET, random_state=seed)
    own_groups = None if np.isin(groups[known], groups[train]).any() else groups
    rejector.fit(X[train], y[train], groups=None if own_groups is None else groups[train])
    scores = [rejector.unknown_score(X[rows]) for rows in (known, unknown)]
    sure = [rejector.estimator_.predict_proba(X[rows]).max(axis=1) for rows in (known, unknown)]
    result = {
        "false_rejects": float(np.mean(scores[0] > 0)),
        "false_accepts": float(np.mean(scores[1] <= 0)),
        "false_accepts_told": rejector.false_accepts_,
        "at_target": accepted(*scores),
        "probability_at_target": accepted(-sure[0], -sure[1]),
    }
    for constant in CONSTANTS:
        result[f"false_rejects_{constant}"] = float(np.mean(sure[0] < constant))
        result[f"false_accepts_{constant}"] = float(np.mean(sure[1] >= constant))
    rows = np.append(train, examples)
    labels = np.append(y[train].astype(object), np.repeat("unknown", len(examples))).astype(str)
    rejector.fit(X[rows], labels, groups=None if own_groups is None else groups[rows])
    scores = [rejector.unknown_score(X[rows]) for rows in (known, unknown)]
    result["examples_false_rejects"] = float(np.mean(scores[0] > 0))
    result["examples_false_accepts"] = float(np.mean(scores[1] <= 0))
    result["examples_at_target"] = accepted(*scores)
    return result


def accepted(of_known, of_unknown):
    """Share of unknown clips accepted by the threshold that rejects TARGET of the known ones."""
    return float(np.mean(of_unknown <= np.quantile(of_known, 1 - TARGET)))


def write(rows, chosen_on):
    lines = ["# Unknown", "", __doc__.split("\n\n    ")[0], ""]
    lines += [f"- {name}: {text}." for name, text in TASKS.items()]
    told = [row for row in rows if row["seed"] not in chosen_on] or rows
    lines += [
        "",
        "## Unknown clips that are accepted where 5 % of the known ones are rejected",
        "",
        "| task | largest probability | `UnknownRejector` | with 20 examples |",
        "| --- | ---: | ---: | ---: |",
    ]
    keys = ("probability_at_target", "at_target", "examples_at_target")
    for task in TASKS:
        own = [row for row in told if row["task"] == task]
        cells = (f"{np.mean([row[key] for row in own]):.1%}" for key in keys)
        lines.append(f"| {task} | {' | '.join(cells)} |")
    lines += [
        "",
        "## False rejects / false accepts, with thresholds as they are in use",
        "",
        "| task | probability below 0.5 | below 0.9 | `UnknownRejector` | what it tells |"
        " with 20 examples |",
        "| --- | ---: | ---: | ---: | ---: | ---: |",
    ]
    for task in TASKS:
        own = [row for row in told if row["task"] == task]
        mean = {key: np.mean([row[key] for row in own]) for key in own[0] if key in _numbers(own)}
        cells = [
            f"{mean[f'false_rejects_{c}']:.1%} / {mean[f'false_accepts_{c}']:.1%}"
            for c in CONSTANTS
        ]
        cells += [
            f"{mean['false_rejects']:.1%} / {mean['false_accepts']:.1%}",
            f"{TARGET:.0%} / {mean['false_accepts_told']:.1%}",
            f"{mean['examples_false_rejects']:.1%} / {mean['examples_false_accepts']:.1%}",
        ]
        lines.append(f"| {task} | {' | '.join(cells)} |")
    lines += [
        "",
        "## By what was left out: accepted at 5 % false rejects",
        "",
        "| task | left out | largest probability | `UnknownRejector` |",
        "| --- | --- | ---: | ---: |",
    ]
    for task, left_out in dict.fromkeys((row["task"], row["left_out"]) for row in told):
        own = [row for row in told if (row["task"], row["left_out"]) == (task, left_out)]
        cells = (f"{np.mean([row[key] for row in own]):.1%}" for key in keys[:2])
        lines.append(f"| {task} | {left_out} | {' | '.join(cells)} |")
    seeds = sorted({row["seed"] for row in told})
    lines += ["", f"Seeds {seeds}; the method was chosen with {sorted(chosen_on)}.", ""]
    write_page(RESULTS, "unknown", lines, rows)


def _numbers(rows):
    return [key for key, value in rows[0].items() if isinstance(value, float)]


if __name__ == "__main__":
    main()
