"""How good a model is, and what its run tells of how it came to be."""

import numpy as np

from skspeech.ensemble import GeometricMeanVotingClassifier
from skspeech.metrics import CONFIDENCE, ScoreInterval, by_group, score_interval, wilson_limits
from skspeech.time_budget.results import fate, statuses
from skspeech.unknown.rates import error_rates

__all__ = [
    "confusions",
    "leaderboard",
    "learning_curve",
    "rows_by_class",
    "rows_by_group",
    "summarize",
    "unknown_rates",
]

_MAX_MATRIX = 990  # pixels that a confusion matrix may be wide
_MAX_CONFUSIONS = 15
_MAX_GROUP_CLASSES = 12  # of a table of groups and classes


def summarize(run, confusion, true, predicted, test, train, known):
    present = confusion.sum(axis=1) > 0
    recalls = np.diag(confusion)[present] / confusion.sum(axis=1)[present]
    interval = score_interval(true, predicted, test.groups)
    if known.none_is_new:
        interval = ScoreInterval(np.nan, np.nan, f"no measure of new {known.unit}s")
    best = getattr(run, "best_score_", np.nan)
    return {
        "balanced_accuracy": float(recalls.mean()),
        "interval": interval,
        "confidence": CONFIDENCE,
        "of": known.what_is_shown,
        "apart": known.apart,
        "accuracy": float(np.diag(confusion).sum() / confusion.sum()),
        "chance": 1 / int(present.sum()),
        "n_classes": len(confusion),
        "n_test": len(test.clips),
        "n_train": None if train is None else len(train.clips),
        "n_groups": None if test.groups is None else len(np.unique(test.groups)),
        "validated": None if not np.isfinite(best) else float(best),
        "scoring": getattr(run, "scoring", None),
        "fit_seconds": getattr(run, "timing_", {}).get("total"),
    }


def rows_by_group(test, predicted):
    """A row for each group: clips, score, and the recall of each class where these are few."""
    if test.groups is None:
        return None
    names, labels, counts, hits, scores = by_group(test.labels, predicted, test.groups)
    shows_classes = 1 < len(labels) <= _MAX_GROUP_CLASSES
    return {
        "classes": [str(label) for label in labels] if shows_classes else [],
        "rows": [
            {
                "name": str(name),
                "n": int(n.sum()),
                "score": score,
                "recalls": [k / m if m else None for k, m in zip(hit, n)] if shows_classes else [],
            }
            for name, score, n, hit in zip(names, scores.tolist(), counts, hits)
        ],
    }


def unknown_rates(model, test, predicted):
    """Shares of false rejects and accepts, where the model may answer that a clip is unknown."""
    if not hasattr(model, "unknown_label"):
        return None
    rates = error_rates(test.labels, predicted, model.unknown_label, test.groups)
    return {name: rate for name, rate in rates.items() if rate["n_clips"]}


def rows_by_class(confusion, classes, train):
    """Recall, precision and their intervals, a dict for each class."""
    rows = []
    for i, label in enumerate(classes):
        n_true, n_predicted = confusion[i].sum(), confusion[:, i].sum()
        recall = _share(confusion[i, i], n_true)
        precision = _share(confusion[i, i], n_predicted)
        both = n_true + n_predicted
        rows.append(
            {
                "code": i,
                "label": str(label),
                "n_test": int(n_true),
                "n_train": None if train is None else int(np.sum(train.labels == label)),
                "recall": recall,
                "precision": precision,
                "f1": None if both == 0 else float(2 * confusion[i, i] / both),
            }
        )
    return rows


def _share(k, n):
    """A share with Wilson's interval; None where there is nothing to take a share of."""
    if n == 0:
        return None
    low, high = wilson_limits(k, n)
    return {"value": float(k / n), "low": low, "high": high}


def confusions(confusion, classes):
    """The matrix where it fits on a page, and the most frequent confusions."""
    wrong = confusion.copy()
    np.fill_diagonal(wrong, 0)
    pairs = [
        (str(classes[i]), str(classes[j]), int(wrong[i, j]), int(confusion[i].sum()))
        for i, j in zip(*np.unravel_index(np.argsort(-wrong, axis=None), wrong.shape))
        if wrong[i, j]
    ]
    shares = confusion / np.maximum(confusion.sum(axis=1, keepdims=True), 1)
    longest = min(16, max(len(str(label)) for label in classes))
    width = 7 * longest + 16 + max(23, 8 + 7 * len(str(confusion.max()))) * len(classes)
    fits = width <= _MAX_MATRIX
    rows = [
        [{"n": int(n), "share": float(share)} for n, share in zip(*row)]
        for row in zip(confusion, shares)
    ]
    return {"rows": rows if fits else None, "width": width, "pairs": pairs[:_MAX_CONFUSIONS]}


def learning_curve(model):
    from skspeech.report.drawings import draw_learning_curve

    curve = getattr(model, "learning_curve_", None)
    if curve is None or not np.isfinite(curve["score"]).any():
        return None
    scoring = model.scoring if isinstance(model.scoring, str) else "score"
    name = scoring.replace("_", " ").capitalize()
    return draw_learning_curve(curve["time"], curve["score"], model.time_budget, name)


def leaderboard(model, test, classes, true):
    """A row for each candidate of a run, or for each member of an ensemble."""
    if hasattr(model, "results_"):
        results = model.results_
        order = np.argsort(-np.nan_to_num(results["score"], nan=-np.inf), kind="stable")
        keys = ("name", "score", "weight", "mean_fit_time", "predict_time", "status")
        rows = [{key: _plain(results[key][i]) for key in keys} for i in order]
        status = statuses(model.results_)
        failures = [(name, fate(status.get(name)), *what) for name, *what in model.failures_]
        return {"kind": "candidates", "rows": rows, "failures": failures}
    ensemble = getattr(model, "ensemble_", model)
    if not isinstance(ensemble, GeometricMeanVotingClassifier):
        return None
    names = [n for n, member in ensemble.named_estimators_.items() if not isinstance(member, str)]
    weights = ensemble._active_weights()
    probas = np.split(ensemble.transform(test.clips), len(names), axis=1)
    rows = []
    for name, weight, proba in zip(names, weights / weights.sum(), probas):
        predicted = np.searchsorted(classes, ensemble.classes_[proba.argmax(axis=1)])
        recalls = [np.mean(predicted[true == code] == code) for code in np.unique(true)]
        rows.append({"name": name, "weight": float(weight), "score": float(np.mean(recalls))})
    rows.sort(key=lambda row: -row["score"])
    return {"kind": "members", "rows": rows, "failures": []}


def _plain(value):
    if isinstance(value, np.generic):
        value = value.item()
    return None if isinstance(value, float) and np.isnan(value) else value
