"""Scores of a model, and the history of the run that trained it."""

import numpy as np

from skspeech.ensemble import GeometricMeanVotingClassifier
from skspeech.ensemble.members import active_weights
from skspeech.metrics import (
    CONFIDENCE,
    ScoreInterval,
    by_group,
    expected_calibration_error,
    score_interval,
    wilson_limits,
)
from skspeech.time_budget.results import fate, in_words, statuses
from skspeech.unknown.rates import error_rates

__all__ = [
    "answered",
    "certainty",
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
_MIN_SURE = 20  # clips, to judge the probabilities
_WANTED = (0.8, 0.9, 0.95, 0.99)  # accuracies


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
    """A row for each group: clips, score, and, if classes are few, the recall of each."""
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
    """Shares of false rejects and accepts, if the model may answer that a clip is unknown."""
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
    """The share k / n with Wilson's interval; None if n is 0."""
    if n == 0:
        return None
    low, high = wilson_limits(k, n)
    return {"value": float(k / n), "low": low, "high": high}


def confusions(confusion, classes):
    """The confusion matrix if it fits on a page, and the most frequent confusions."""
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


def certainty(proba, true, predicted):
    """How reliable the probabilities are: calibration, and accuracy when unsure clips are left out.

    Returns
    -------
    dict or None
        None if there are too few clips to tell, or the rows do not sum to 1.
    """
    from skspeech.report.drawings import draw_calibration

    if len(true) < _MIN_SURE or not np.allclose(proba.sum(axis=1), 1, atol=1e-3):
        return None
    sure, right = proba.max(axis=1), predicted == true
    return {
        "error": expected_calibration_error(true, proba, labels=np.arange(proba.shape[1])),
        "drawing": draw_calibration(right, sure),
        "answered": answered(right, sure),
    }


def answered(right, sure, wanted=_WANTED):
    """How many clips can be answered at a given accuracy, if the least sure ones are not.

    Parameters
    ----------
    right : ndarray of bool of shape (n_clips,)
        Whether the most probable class is the true one.
    sure : ndarray of shape (n_clips,)
        Its probability.
    wanted : sequence of float

    Returns
    -------
    list of dict
        For each wanted accuracy: ``wanted``, ``threshold`` (the least probability that is answered,
        None if no clip is), ``coverage`` (share of clips) and ``accuracy`` (with its limits).
    """
    order = np.argsort(-sure, kind="stable")
    n_right, n = np.cumsum(right[order]), np.arange(1, len(right) + 1)
    is_last = np.r_[np.diff(sure[order]) < 0, True]  # equal probabilities are answered together
    rows = []
    for accuracy in wanted:
        fits = np.flatnonzero(is_last & (n_right >= accuracy * n))
        row = {"wanted": accuracy, "threshold": None, "coverage": 0.0, "accuracy": None}
        if len(fits):
            last = int(fits[-1])
            row["threshold"] = float(sure[order[last]])
            row["coverage"] = (last + 1) / len(right)
            row["accuracy"] = _share(n_right[last], last + 1)
        rows.append(row)
    return rows


def learning_curve(model):
    from skspeech.plotting import name_of_score
    from skspeech.report.drawings import draw_learning_curve

    curve = getattr(model, "learning_curve_", None)
    if curve is None or not np.isfinite(curve["score"]).any():
        return None
    name = name_of_score(model.scoring)
    return draw_learning_curve(curve["time"], curve["score"], model.time_budget, name)


def leaderboard(model, test, classes, true):
    """A row for each candidate of a run, or for each member of an ensemble."""
    if hasattr(model, "results_"):
        results = model.results_
        order = np.argsort(-np.nan_to_num(results["score"], nan=-np.inf), kind="stable")
        keys = ("name", "score", "weight", "mean_fit_time", "predict_time", "status")
        rows = [{key: _plain(results[key][i]) for key in keys} for i in order]
        status = statuses(model.results_)
        failures = [
            (name, fate(status.get(name)), in_words(reason), trace)
            for name, reason, trace in model.failures_
        ]
        return {"kind": "candidates", "rows": rows, "failures": failures}
    ensemble = getattr(model, "ensemble_", model)
    if not isinstance(ensemble, GeometricMeanVotingClassifier):
        return None
    names = [n for n, member in ensemble.named_estimators_.items() if not isinstance(member, str)]
    weights = active_weights(ensemble)
    probas = np.split(np.asarray(ensemble.transform(test.clips)), len(names), axis=1)
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
