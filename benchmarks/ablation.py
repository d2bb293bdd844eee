"""What each block of features brings, and each network that is trained: balanced accuracies.

All features go through the same classifier, shrinkage discriminant analysis on standardised
features, so that only the features differ. Three tables are printed and written to
benchmarks/results/ablation.md and .json:

- layers: the speaker network's layers and statistics, which decided the extractor's default;
- blocks: each block alone, all of them, all but one, and all with rows at other speeds;
- trained (with `--trained SECONDS`): each trained approach alone after so many seconds, and its
  geometric mean with all blocks.

    python benchmarks/ablation.py [--tasks emodb-emotion ...] [--seeds 0 1 2] [--trained 60]
"""

import argparse
import json
from pathlib import Path

import numpy as np
from _machine import machine, versions
from _tasks import TASKS, load_task
from sklearn.metrics import balanced_accuracy_score
from sklearn.pipeline import FeatureUnion, make_pipeline

from skspeech import (
    AugmentedClassifier,
    ClippedStandardScaler,
    KeywordEmbedding,
    MusicEmbedding,
    ShrinkageDiscriminantAnalysis,
    SpeakerEmbedding,
    SpectralStatistics,
    cache,
)

RESULTS = Path(__file__).parent / "results"
STATISTICS = ("mean", "std", "last", "max")

LAYERS = {
    "embedding (the network's output)": {"layers": "embedding"},
    "layer 1, mean and std": {"layers": 1, "pooling": ("mean", "std")},
    "layer 2, mean and std": {"layers": 2, "pooling": ("mean", "std")},
    "layer 3, mean and std": {"layers": 3, "pooling": ("mean", "std")},
    "all layers, mean": {"layers": (1, 2, 3), "pooling": ("mean",)},
    "all layers, mean and std": {"layers": (1, 2, 3), "pooling": ("mean", "std")},
    "all layers and embedding, mean and std (default)": {},
    "all layers and embedding, all four statistics": {"pooling": STATISTICS},
    "layer 2, all four statistics": {"layers": 2, "pooling": STATISTICS},
}
BLOCKS = {
    "speaker": lambda: SpeakerEmbedding(pooling=STATISTICS),
    "spectral": lambda: SpectralStatistics(),
    "music": lambda: MusicEmbedding("msd_vgg", layers=("pool2", "pool3")),
    "keyword": lambda: KeywordEmbedding(),
}


def main(argv=None):
    args = parse_args(argv)
    tables = {"layers": {}, "blocks": {}, "trained": {}}
    for task in args.tasks:
        for seed in args.seeds:
            split = load_task(task, seed, args.data_home)
            for table, name, score in scores_of(split, args.trained, seed):
                print(f"{task}, seed {seed}, {table}, {name}: {score:.3f}", flush=True)
                tables[table].setdefault(name, {}).setdefault(task, []).append(score)
            write(tables, args)
        cache.clear()  # other recordings come next
    print(f"Written to {RESULTS / 'ablation'}.md and .json.")


def parse_args(argv):
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--tasks", nargs="+", choices=TASKS, default=list(TASKS), metavar="TASK")
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2], metavar="SEED")
    parser.add_argument("--trained", type=float, default=0.0, metavar="SECONDS")
    parser.add_argument("--data-home", help="folder of the data sets (default: SKSPEECH_DATA)")
    return parser.parse_args(argv)


def scores_of(split, trained, seed):
    """Yield (table, name, balanced accuracy on the test part)."""
    for name, settings in LAYERS.items():
        extractor = SpeakerEmbedding(**settings)
        yield "layers", name, score(split, *log_proba(discriminant(extractor), split))
    whole = discriminant(union(BLOCKS))
    everything = log_proba(whole, split)
    yield "blocks", "all", score(split, *everything)
    for name, make in BLOCKS.items():
        yield "blocks", f"{name} alone", score(split, *log_proba(discriminant(make()), split))
    for name in BLOCKS:
        rest = {other: make for other, make in BLOCKS.items() if other != name}
        rest = log_proba(discriminant(union(rest)), split)
        yield "blocks", f"all but {name}", score(split, *rest)
    faster_and_slower = log_proba(AugmentedClassifier(whole), split)
    yield "blocks", "all, rows at speeds 0.9 and 1.1 too", score(split, *faster_and_slower)
    if trained:
        for name, classifier in trained_approaches(trained, seed).items():
            classes, proba = log_proba(classifier, split)
            yield "trained", f"{name} alone", score(split, classes, proba)
            yield "trained", f"all + {name}", score(split, classes, proba + everything[1])


def trained_approaches(seconds, seed):
    from skspeech import (
        FineTunedSpeakerClassifier,
        MixupCNNClassifier,
        RecurrentAttentionClassifier,
    )

    settings = {"max_time": seconds, "random_state": seed}
    return {
        "recurrent attention": RecurrentAttentionClassifier(**settings),
        "mixup CNN": MixupCNNClassifier(**settings),
        "fine-tuned speaker network": FineTunedSpeakerClassifier(**settings),
    }


def union(blocks):
    return FeatureUnion([(name, make()) for name, make in blocks.items()])


def discriminant(extractor):
    return make_pipeline(
        extractor, ClippedStandardScaler(), ShrinkageDiscriminantAnalysis(shrinkage=0.5)
    )


def log_proba(classifier, split):
    classifier.fit(split.X_train, split.y_train)
    proba = classifier.predict_proba(split.X_test)
    return classifier.classes_, np.log(np.maximum(proba, 1e-4))


def score(split, classes, proba):
    return float(balanced_accuracy_score(split.y_test, classes[proba.argmax(axis=1)]))


def write(tables, args):
    RESULTS.mkdir(exist_ok=True)
    about = {**machine(), **versions()}
    content = {"about": about, "seeds": args.seeds, "tables": tables}
    (RESULTS / "ablation.json").write_text(json.dumps(content, indent=1) + "\n")
    (RESULTS / "ablation.md").write_text(page(tables, args, about))


def page(tables, args, about):
    titles = {
        "layers": "Layers of the speaker network",
        "blocks": "Blocks of features",
        "trained": f"Networks trained for {args.trained:g} s, and their geometric mean with all",
    }
    lines = ["# What each part brings", ""]
    lines += [
        "Balanced accuracy on the test part. Shrinkage discriminant analysis (0.5) on standardised "
        f"features; means over the seeds {', '.join(map(str, args.seeds))}.",
        "",
    ]
    for key, table in tables.items():
        if not table:
            continue
        tasks = [task for task in TASKS if any(task in row for row in table.values())]
        lines += [f"## {titles[key]}", "", f"| features | {' | '.join(tasks)} |"]
        lines += ["| --- |" + " ---: |" * len(tasks)]
        for name, row in table.items():
            values = [f"{np.mean(row[task]):.3f}" if task in row else "" for task in tasks]
            lines.append(f"| {name} | {' | '.join(values)} |")
        lines.append("")
    listed = ", ".join(f"{key} {value}" for key, value in about.items() if value is not None)
    lines += [*[f"- `{name}`: {TASKS[name].description}" for name in args.tasks], ""]
    return "\n".join([*lines, f"Measured on: {listed}.", ""])


if __name__ == "__main__":
    main()
