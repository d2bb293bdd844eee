"""Do the scores of new speakers fall within the printed limits, 9 times of 10?

Eight of ten speakers play a user's data set; the command prints a score with limits for them, in
two ways. Then a model is trained as in use and tested on the other two speakers: the score of each
is within the limits or not. Every pair of new speakers is used once.

    python benchmarks/confidence.py

The limits are those of `skspeech.metrics.score_interval`; the tables also show alternative limits.
The method was chosen on the features of `CHOSEN_ON`; the others show whether it generalises. The
run takes minutes. Results go to benchmarks/results/confidence.md and .json.
"""

import argparse
import itertools
import os
from pathlib import Path

import numpy as np
from _report import write_page

from skspeech import (
    KeywordEmbedding,
    ShrinkageDiscriminantAnalysis,
    SpeakerEmbedding,
    SpectralStatistics,
    datasets,
)
from skspeech._folds import hold_out
from skspeech.metrics import CONFIDENCE, MIN_GROUPS, score_interval, scores_by_group

RESULTS = Path(__file__).parent / "results"
N_OWN = 8
TEST_SIZE = 0.65  # about five of eight speakers: with fewer, there are no limits
FEATURES = {
    "speaker": SpeakerEmbedding,
    "spectra": SpectralStatistics,
    "keyword": KeywordEmbedding,
}
CHOSEN_ON = ("speaker", "spectra")


def main(argv=None):
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--features", nargs="+", choices=FEATURES, default=list(FEATURES))
    parser.add_argument("--data-home", default=os.environ.get("SKSPEECH_DATA"))
    args = parser.parse_args(argv)
    clips = datasets.fetch_emodb(task="emotion", data_home=args.data_home)
    rows = []
    for name in args.features:
        X = np.asarray(FEATURES[name]().transform(clips.data))
        rows += simulate(name, X, np.asarray(clips.target), np.asarray(clips.groups))
        print(f"{name}: done", flush=True)
    write(rows)


class Speakers:
    """Clips by speaker, and predictions of models trained on some of the speakers."""

    def __init__(self, X, y, groups):
        self.X, self.y, self.groups = X, y, groups
        self.names = np.unique(groups)
        self._answers = {}

    def predict(self, trained_on):
        """Predictions for all clips, of a model trained on some speakers."""
        key = tuple(sorted(trained_on))
        if key not in self._answers:
            own = np.isin(self.groups, key)
            model = ShrinkageDiscriminantAnalysis().fit(self.X[own], self.y[own])
            self._answers[key] = model.predict(self.X)
        return self._answers[key]


def simulate(features, X, y, groups):
    """Rows of the table for one kind of features."""
    speakers, found = Speakers(X, y, groups), {}
    pairs = list(itertools.combinations(speakers.names, len(speakers.names) - N_OWN))
    for seed, new in enumerate(pairs):
        own = [name for name in speakers.names if name not in new]
        for way, (rows, said, trained_on) in {
            "cross-validate": leave_one_out(speakers, own),
            f"fit --test-size {TEST_SIZE:g}": hold_some_out(speakers, own, seed),
        }.items():
            heard = groups[rows]
            answers = speakers.predict(trained_on)
            in_new = np.isin(groups, new)
            scores = scores_by_group(y[in_new], answers[in_new], groups[in_new]).values()
            enough = len(np.unique(heard)) >= MIN_GROUPS
            for method, limits in methods(y[rows], said, heard).items():
                own_rows = found.setdefault((way, method), {"inside": [], "width": [], "given": []})
                own_rows["given"].append(enough)
                if enough:
                    low, high = limits
                    own_rows["inside"] += [low <= score <= high for score in scores]
                    own_rows["width"].append(high - low)
    return [
        {
            "features": features,
            "way": way,
            "method": method,
            "covered": float(np.mean(row["inside"])),
            "width": float(np.mean(row["width"])),
            "given": float(np.mean(row["given"])),
            "n_new": len(row["inside"]),
        }
        for (way, method), row in found.items()
    ]


def leave_one_out(speakers, own):
    """Each speaker's clips, and their predictions by a model trained on the other speakers."""
    said = np.empty_like(speakers.y)
    for name in own:
        clips = speakers.groups == name
        said[clips] = speakers.predict([other for other in own if other != name])[clips]
    rows = np.flatnonzero(np.isin(speakers.groups, own))
    return rows, said[rows], own


def hold_some_out(speakers, own, seed):
    """The clips that `fit` would hold out, and their predictions by a model trained on the rest."""
    rows = np.flatnonzero(np.isin(speakers.groups, own))
    train, test = hold_out(
        speakers.y[rows], TEST_SIZE, groups=speakers.groups[rows], random_state=seed
    )
    trained_on = np.unique(speakers.groups[rows[train]])
    return rows[test], speakers.predict(trained_on)[rows[test]], trained_on


def methods(y, said, groups):
    """The printed limits, and alternatives."""
    return {
        "for a new group (printed)": score_interval(y, said, groups)[:2],
        "for the mean of all groups": score_interval(y, said, groups, n_new=np.inf)[:2],
        "bootstrap over groups": bootstrap(y, said, groups),
        "clips taken as independent": score_interval(y, said)[:2],
    }


def bootstrap(y, said, groups, n_draws=1000):
    """Percentiles of the score of groups drawn with replacement."""
    names, rng = np.unique(groups), np.random.default_rng(0)
    hits, counts = np.zeros((2, len(names), y.max() + 1))
    for i, name in enumerate(names):
        own = groups == name
        counts[i] = np.bincount(y[own], minlength=y.max() + 1)
        hits[i] = np.bincount(y[own & (said == y)], minlength=y.max() + 1)
    weights = rng.multinomial(len(names), np.full(len(names), 1 / len(names)), size=n_draws)
    drawn = weights @ counts
    recalls = np.divide(weights @ hits, drawn, where=drawn > 0, out=np.full(drawn.shape, np.nan))
    tail = (1 - CONFIDENCE) / 2
    return np.nanquantile(np.nanmean(recalls, axis=1), [tail, 1 - tail])


def write(rows):
    lines = ["# Confidence", "", __doc__.split("\n\n    ")[0], ""]
    for title, ours in [("where limits were chosen", True), ("elsewhere", False)]:
        part = [row for row in rows if (row["features"] in CHOSEN_ON) == ours]
        lines += [
            f"## New speakers, {title}",
            "",
            "| features | way | limits | inside | width | new speakers |",
            "| --- | --- | --- | ---: | ---: | ---: |",
        ]
        lines += [
            f"| {r['features']} | {r['way']} | {r['method']} | {r['covered']:.3f} | "
            f"{r['width']:.3f} | {r['n_new']} |"
            for r in part
        ]
        lines.append("")
    given = min(row["given"] for row in rows)
    lines.append(
        f"Emo-DB, {N_OWN} of 10 speakers, 7 emotions; shrinkage discriminant analysis of the "
        f"features. Limits are to hold {10 * CONFIDENCE:g} times of 10. With fewer than "
        f"{MIN_GROUPS} held-out groups none are printed, as with 2 of 8 speakers; here that is so "
        f"in {1 - given:.0%} of the draws of fit at most. Pairs of new speakers share speakers, so "
        "the shares are less sure than their numbers suggest."
    )
    write_page(RESULTS, "confidence", [*lines, ""], rows)


if __name__ == "__main__":
    main()
