"""How much each block of features and each trained network contributes: balanced accuracies.

All features go through the same classifier, shrinkage discriminant analysis on standardised
features, so that only the features differ. Eight tables are printed and written to
benchmarks/results/ablation.md and .json:

- layers: the speaker network's layers and statistics, from which the default was chosen;
- whisper: the speech encoder's layers, statistics and positions, alone, joined with all blocks, and
  in a geometric mean with all blocks;
- moonshine: the same for the layers and statistics of Moonshine's encoder, with the speech encoder
  among the others;
- words: the keyword network's statistics, the speech encoder's third layer and Moonshine's encoder,
  alone and together;
- precision: musicnn and VGG, which on some processors compute in bfloat16, against float32;
- blocks: each block alone, all of them, all but one, and all with rows at other speeds;
- trained: each approach that trains networks alone, its own first answer, and its geometric mean
  with all blocks;
- mixup-cnn: the network of `MixupCNNClassifier`, without its first predictions, with each of the
  changes since 2019 undone, and with all of them undone.

    python benchmarks/ablation.py [--tables layers blocks] [--tasks emodb-emotion ...] [--seeds 0 1]
    python benchmarks/ablation.py --tables words --tasks fsdd-digit-pairs --seeds 0 1 --append
    python benchmarks/ablation.py --tables trained --seconds 180 --append
    python benchmarks/ablation.py --tables mixup-cnn --seconds 30 --append

`--append` keeps the results in the files, except those that are measured again.
"""

import argparse
import json
import time
from functools import partial
from pathlib import Path

import numpy as np
from _machine import machine, versions
from _tasks import ALL_TASKS, TASKS, load_task
from sklearn.base import clone
from sklearn.metrics import balanced_accuracy_score
from sklearn.pipeline import FeatureUnion, make_pipeline

from skspeech import (
    AugmentedClassifier,
    ClippedStandardScaler,
    KeywordEmbedding,
    MoonshineEmbedding,
    MusicEmbedding,
    ShrinkageDiscriminantAnalysis,
    SpeakerEmbedding,
    SpectralStatistics,
    WhisperEmbedding,
    cache,
)
from skspeech.audio import SAMPLING_RATE, load_waveforms

RESULTS = Path(__file__).parent / "results"
# Approach 5 as it was in 2019, as far as it states its own settings.
CNN_2019 = {
    "hop_length": 512,
    "normalization": "clips",
    "crop_frames": 64,
    "n_crops": 10,
    "n_filters": (64,) * 5,
    "stem": False,
    "batch_norm": "after",
    "head": "flatten",
    "dropout": 0.5,
    "label_smoothing": 0,
    "time_mask": 0,
    "frequency_warp": 0,
    "time_warp": 0,
    "balanced": False,
    "optimizer": "sgd",
    "learning_rate": 0.01,
    "schedule": "constant",
    "weight_decay": 0,
    "batch_size": 32,
    "max_duration": 5,
}
CNN_CHANGES = {
    "network as it is": {},
    "as in 2019": CNN_2019,
    "five blocks of 64 filters": {"n_filters": (64,) * 5, "stem": False},
    "frames and crops of 2019": {"hop_length": 512, "crop_frames": 64},
    "clips standardized by themselves": {"normalization": "clips"},
    "batch normalization after ReLU": {"batch_norm": "after"},
    "flattened head": {"head": "flatten"},
    "pooled head": {"head": "pooled"},
    "no mixup": {"mixup": 0},
    "no label smoothing": {"label_smoothing": 0},
    "no masks": {"mask_probability": 0},
    "no frequency warp": {"frequency_warp": 0},
    "no time warp": {"time_warp": 0},
    "draws as frequent as clips": {"balanced": False},
    "SGD, 0.01": {"optimizer": "sgd", "learning_rate": 0.01, "weight_decay": 0},
    "constant learning rate": {"schedule": "constant", "learning_rate": 1e-3},
    "batches of 32": {"batch_size": 32},
    "no refit": {"refit": False},
}
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
# Layers and statistics whose columns are kept, out of all layers' mean, std and max.
WHISPER_COLUMNS = {
    "layers 0 to 4, mean and std": ((0, 1, 2, 3, 4), ("mean", "std")),
    "layers 1 to 3, mean and std": ((1, 2, 3), ("mean", "std")),
    "layers 2 and 3, mean and std": ((2, 3), ("mean", "std")),
    "layers 0 to 2, mean": ((0, 1, 2), ("mean",)),
    "layers 0 to 2, mean and std (default)": ((0, 1, 2), ("mean", "std")),
    "layers 0 to 2, mean, std and max": ((0, 1, 2), ("mean", "std", "max")),
    "layers 1 and 2, mean and std": ((1, 2), ("mean", "std")),
}
WHISPER_SECONDS = 8
MOONSHINE_COLUMNS = {
    "layers 1, 3 and 5, mean and std (default)": ((1, 3, 5), ("mean", "std")),
    "all layers, mean and std": (range(7), ("mean", "std")),
    "layers 2, 4 and 6, mean and std": ((2, 4, 6), ("mean", "std")),
    "layers 1 to 3, mean and std": ((1, 2, 3), ("mean", "std")),
    "layers 3 to 5, mean and std": ((3, 4, 5), ("mean", "std")),
    "layer 6, mean and std": ((6,), ("mean", "std")),
    "layers 1, 3 and 5, mean, std and max": ((1, 3, 5), ("mean", "std", "max")),
}
BLOCKS = {
    "speaker": lambda: SpeakerEmbedding(pooling=STATISTICS),
    "spectral": lambda: SpectralStatistics(),
    "music": lambda: MusicEmbedding("msd_vgg", layers=("pool2", "pool3")),
    "keyword": lambda: KeywordEmbedding(),
}


def main(argv=None):
    args = parse_args(argv)
    path = RESULTS / f"{args.name}.json"
    runs = json.loads(path.read_text())["runs"] if args.append and path.exists() else []
    for task in args.tasks:
        for seed in args.seeds:
            split = load_task(task, seed, args.data_home)
            for table in args.tables:
                for name, score in MEASURES[table](split, seed, args):
                    print(f"{task}, seed {seed}, {table}, {name}: {score:.3f}", flush=True)
                    run = {"table": table, "name": name, "task": task, "seed": seed, "score": score}
                    if table in TIMED:
                        run |= {"seconds": args.seconds, "cores": machine()["cores"]}
                    runs = [old for old in runs if not same(old, run)] + [run]
                write(path, runs)
        cache.clear()  # the next task has other recordings
    print(f"Written to {path} and {path.with_suffix('.md')}.")


def parse_args(argv):
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--tables", nargs="+", choices=MEASURES, default=list(MEASURES))
    parser.add_argument(
        "--tasks", nargs="+", choices=ALL_TASKS, default=list(TASKS), metavar="TASK"
    )
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2], metavar="SEED")
    parser.add_argument(
        "--seconds", type=float, default=180.0, help="of training each network (default: 180)"
    )
    parser.add_argument("--approaches", nargs="+", default=None, help="of the table trained")
    parser.add_argument("--data-home", help="folder of the data sets (default: SKSPEECH_DATA)")
    parser.add_argument("--name", default="ablation", help="of the files in benchmarks/results/")
    parser.add_argument("--append", action="store_true", help="keep the files' other figures")
    return parser.parse_args(argv)


def layers(split, seed, args):
    """Yield (name, balanced accuracy on the test part) for layers of the speaker network."""
    for name, settings in LAYERS.items():
        extractor = SpeakerEmbedding(**settings)
        yield name, score(split, *log_proba(discriminant(extractor), split))


def whisper(split, seed, args):
    """Yield the same for settings of the speech encoder."""
    yield from beside(split, BLOCKS, "all blocks", whisper_features)


def whisper_features(parts):
    """Yield (name, features of the training and of the test part)."""
    yield from by_columns(WhisperEmbedding, WHISPER_COLUMNS, parts)
    last = WhisperEmbedding(position="last")
    yield "the default, last positions", [last.transform(waveforms) for waveforms in parts]
    default, n_samples = WhisperEmbedding(), WHISPER_SECONDS * SAMPLING_RATE
    filled_up = [
        [np.pad(w, (max(0, n_samples - len(w)), 0)) for w in waveforms] for waveforms in parts
    ]
    yield (
        "the default, silence in front up to 8 s",
        [default.transform(waveforms) for waveforms in filled_up],
    )


def moonshine(split, seed, args):
    """Yield the same for settings of Moonshine's encoder."""
    features = partial(by_columns, MoonshineEmbedding, MOONSHINE_COLUMNS)
    yield from beside(split, {**BLOCKS, "whisper": WhisperEmbedding}, "all others", features)


def beside(split, blocks, others, features_of):
    """Yield the same for features alone, joined with blocks, and in a geometric mean with them."""
    whole = union(blocks)
    known = [whole.fit_transform(clips) for clips in (split.X_train, split.X_test)]
    everything = of_features(known, split)
    yield others, score(split, *everything)
    parts = [load_waveforms(clips) for clips in (split.X_train, split.X_test)]
    for name, features in features_of(parts):
        classes, alone = of_features(features, split)
        yield f"{name}: alone", score(split, classes, alone)
        joined = [np.hstack(both) for both in zip(known, features)]
        yield f"{name}: beside {others}", score(split, *of_features(joined, split))
        yield f"{name}: geometric mean", score(split, classes, alone + everything[1])


def by_columns(make, choices, parts):
    """Yield (name, features of the training and of the test part) for layers and statistics."""
    extractor = make(layers="all", pooling=("mean", "std", "max"))
    every = [extractor.transform(waveforms) for waveforms in parts]
    names = extractor.get_feature_names_out()
    for name, (layers, statistics) in choices.items():
        wanted = [f"_layer{layer}_{statistic}_" for layer in layers for statistic in statistics]
        columns = np.flatnonzero([any(part in column for part in wanted) for column in names])
        yield name, [features[:, columns] for features in every]


def words(split, seed, args):
    """Yield the same for features of words."""
    keyword = KeywordEmbedding(pooling=("mean", "std", "max"))
    third = WhisperEmbedding(layers=3)
    extractors = {
        "keyword, mean and std": KeywordEmbedding(),
        "keyword, mean, std and max": keyword,
        "encoder, layers 0 to 2": WhisperEmbedding(),
        "encoder, layer 3": third,
        "Moonshine, layers 1, 3 and 5": MoonshineEmbedding(),
        "Moonshine, all layers": MoonshineEmbedding(layers="all"),
        "Moonshine, layer 6": MoonshineEmbedding(layers=6),
    }
    found = {name: log_proba(discriminant(one), split) for name, one in extractors.items()}
    both = FeatureUnion([("keyword", keyword), ("third", third)])
    found["keyword with max, and layer 3, side by side"] = log_proba(discriminant(both), split)
    for name, others in {
        "layers 0 to 2": ["encoder, layers 0 to 2"],
        "layer 3": ["encoder, layer 3"],
        "layer 3 and Moonshine": ["encoder, layer 3", "Moonshine, layers 1, 3 and 5"],
    }.items():
        classes, proba = found["keyword, mean, std and max"]
        mean = proba + sum(found[other][1] for other in others)
        found[f"keyword with max, and {name}, geometric mean"] = classes, mean
    for name, of_task in found.items():
        yield name, score(split, *of_task)


def blocks(split, seed, args):
    """Yield the same for blocks of features."""
    whole = discriminant(union(BLOCKS))
    yield "all", score(split, *log_proba(whole, split))
    for name, make in BLOCKS.items():
        yield f"{name} alone", score(split, *log_proba(discriminant(make()), split))
    for name in BLOCKS:
        rest = {other: make for other, make in BLOCKS.items() if other != name}
        yield f"all but {name}", score(split, *log_proba(discriminant(union(rest)), split))
    faster_and_slower = log_proba(AugmentedClassifier(whole), split)
    yield "all, rows at speeds 0.9 and 1.1 too", score(split, *faster_and_slower)


def precision(split, seed, args):
    """Yield the same for the precision of the music networks."""
    extractors = {
        "musicnn": (MusicEmbedding(), "dtype"),
        "VGG": (BLOCKS["music"](), "dtype"),
        "all blocks, of which VGG": (union(BLOCKS), "music__dtype"),
    }
    for name, (extractor, parameter) in extractors.items():
        for dtype in ("float32", "bfloat16"):
            extractor = clone(extractor).set_params(**{parameter: dtype})
            yield f"{name} in {dtype}", score(split, *log_proba(discriminant(extractor), split))


def trained(split, seed, args):
    """Yield the same for approaches that train networks."""
    approaches = trained_approaches(args.seconds, seed)
    everything = log_proba(discriminant(union(BLOCKS)), split)
    yield "all features, no network trained", score(split, *everything)
    for name in args.approaches or approaches:
        classifier, first = approaches[name], None
        began = time.monotonic()
        for snapshot in classifier.iter_fit(
            split.X_train, split.y_train, groups=split.groups_train
        ):
            if first is None:
                first = predicted(snapshot, split)
                yield f"{name}: its first answer", score(split, *first)
        print(f"{time.monotonic() - began:.0f} s, {len(classifier.history_)} epochs", flush=True)
        classes, proba = predicted(classifier, split)
        yield f"{name}: at last", score(split, classes, proba)
        yield f"{name} and all features", score(split, classes, proba + everything[1])


def mixup_cnn(split, seed, args):
    """Yield the same for changes to a convolutional network."""
    from skspeech import MixupCNNClassifier

    waveforms = load_waveforms(split.X_test)
    for name, settings in CNN_CHANGES.items():
        classifier = MixupCNNClassifier(max_time=args.seconds, random_state=seed)
        classifier.set_params(**settings).fit(
            split.X_train, split.y_train, groups=split.groups_train
        )
        most = classifier.max_duration * 16_000
        spectrograms = classifier._spectrograms([waveform[: int(most)] for waveform in waveforms])
        proba = classifier._log_network(classifier.weights_, spectrograms)
        yield name, score(split, classifier.classes_, proba)


TIMED = ("trained", "mixup-cnn")
MEASURES = {
    "layers": layers,
    "whisper": whisper,
    "moonshine": moonshine,
    "words": words,
    "precision": precision,
    "blocks": blocks,
    "trained": trained,
    "mixup-cnn": mixup_cnn,
}


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
    return predicted(classifier.fit(split.X_train, split.y_train), split)


def of_features(features, split):
    """Classes and log probabilities, from features of the training and of the test part."""
    train, test = features
    classifier = discriminant("passthrough").fit(train, split.y_train)
    return classifier.classes_, np.log(np.maximum(classifier.predict_proba(test), 1e-4))


def predicted(classifier, split):
    proba = classifier.predict_proba(split.X_test)
    return classifier.classes_, np.log(np.maximum(proba, 1e-4))


def score(split, classes, proba):
    return float(balanced_accuracy_score(split.y_test, classes[proba.argmax(axis=1)]))


def same(old, new):
    return all(old[key] == new[key] for key in ("table", "name", "task", "seed"))


def write(path, runs):
    about = {**machine(), **versions()}
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps({"about": about, "runs": runs}, indent=1) + "\n")
    path.with_suffix(".md").write_text(page(runs, about))


def page(runs, about):
    titles = {
        "layers": "Layers of the speaker network",
        "whisper": "Layers, statistics and positions of the speech encoder",
        "moonshine": "Layers and statistics of Moonshine's encoder",
        "words": "Features of words",
        "precision": "Precision of the music networks",
        "blocks": "Blocks of features",
        "trained": "Networks that are trained",
        "mixup-cnn": "Changes of MixupCNNClassifier",
    }
    lines = [
        "# What each part brings",
        "",
        "Balanced accuracy on the test part, ± its standard deviation over seeds. Features go "
        "through shrinkage discriminant analysis (0.5) on standardised features.",
        "",
    ]
    for table, title in titles.items():
        own = [run for run in runs if run["table"] == table]
        if not own:
            continue
        tasks = [task for task in ALL_TASKS if any(run["task"] == task for run in own)]
        seeds = {task: len({run["seed"] for run in own if run["task"] == task}) for task in tasks}
        heads = [f"{task} ({seeds[task]})" for task in tasks]
        limits = {(run["seconds"], run["cores"]) for run in own if table in TIMED}
        title += "".join(f", {limit:g} s on {cores} core(s)" for limit, cores in sorted(limits))
        lines += [f"## {title}", "", f"| (seeds) | {' | '.join(heads)} |"]
        lines += ["| --- |" + " ---: |" * len(tasks)]
        for name in dict.fromkeys(run["name"] for run in own):
            cells = [
                cell([run["score"] for run in own if (run["name"], run["task"]) == (name, task)])
                for task in tasks
            ]
            lines.append(f"| {name} | {' | '.join(cells)} |")
        lines.append("")
    lines += [f"- `{name}`: {task.description}" for name, task in ALL_TASKS.items()]
    listed = ", ".join(f"{key} {value}" for key, value in about.items() if value is not None)
    return "\n".join([*lines, "", f"Measured on: {listed}.", ""])


def cell(scores):
    if not scores:
        return ""
    spread = f" ± {np.std(scores, ddof=1):.3f}" if len(scores) > 1 else ""
    return f"{np.mean(scores):.3f}{spread}"


if __name__ == "__main__":
    main()
