"""Candidates on their way: what is known of each, and how they become an ensemble."""

import time

import numpy as np
from sklearn.pipeline import Pipeline

from skspeech.ensemble import GeometricMeanVotingClassifier

__all__ = ["Entry", "Job", "build_ensemble", "runs_in_main"]

# scikit-learn modules whose classifiers are quick and do not hang: they run in this process.
MAIN_MODULES = (
    "sklearn.linear_model",
    "sklearn.naive_bayes",
    "sklearn.discriminant_analysis",
    "sklearn.neighbors",
    "sklearn.tree",
    "sklearn.dummy",
)


class Entry:
    """All that is known of one candidate."""

    def __init__(self, index, candidate, head, tail, where, shape):
        self.index = index
        self.candidate = candidate
        self.name = candidate.name
        self.head = head
        self.tail = tail
        self.where = where
        n_folds, n_held_out, n_classes = shape
        self.logs = np.full((n_held_out, n_classes), np.nan)
        self.models = {}  # fold -> fitted tail
        self.fold_level = {}  # fold -> rows that were there when it was fitted
        self.fold_scores = {}
        self.fold_times = {}
        self.fold_final = set()
        self.full_model = None
        self.full_level = 0
        self.full_time = None
        self.score = np.nan
        self.predict_time = np.nan  # seconds per clip, without the head
        self.weight = 0.0
        self.started = None
        self.finished = None
        self.running = 0
        self.status = "waiting"
        self.failures = []
        self.timeouts = 0
        self.failed = False
        self.n_folds = n_folds

    @property
    def level(self):
        """Rows that all folds have seen; 0 where one is missing."""
        if len(self.fold_level) < self.n_folds:
            return 0
        return min(self.fold_level.values())

    @property
    def member_level(self):
        return max(self.fold_level.values(), default=0)

    @property
    def fit_time(self):
        return float(np.mean(list(self.fold_times.values()))) if self.fold_times else np.nan

    @property
    def can_vote(self):
        return bool(self.models) or self.full_model is not None

    def next_fold(self):
        """First fold that has not been trained to the end."""
        for fold in range(self.n_folds):
            if fold not in self.fold_final:
                return fold
        return None


class Job:
    """Something that runs, and may be given up."""

    def __init__(self, kind, entry, *, fold=None, level=None, limit=np.inf):
        self.kind = kind
        self.entry = entry
        self.fold = fold
        self.level = level
        self.started = time.monotonic()
        self.n_threads = 1
        self.limit = limit  # seconds; then it is given up
        self.stopped = False
        self.completed = False

    @property
    def overdue(self):
        return time.monotonic() - self.started > self.limit


def runs_in_main(estimator):
    """Whether an estimator is made only of scikit-learn's quick parts."""
    if isinstance(estimator, str) or estimator is None:
        return True
    if isinstance(estimator, Pipeline):
        steps = [step for _, step in estimator.steps]
        return all(
            type(step).__module__.startswith(("sklearn.", "skspeech."))
            or isinstance(step, str | None)
            for step in steps[:-1]
        ) and runs_in_main(steps[-1])
    return type(estimator).__module__.startswith(MAIN_MODULES)


def build_ensemble(members, classes, floor):
    """Build the fitted ensemble of some entries with weights.

    Until a candidate has been trained on all rows, the models of its folds vote in its place.
    Members that share their first steps become one, so that predicting runs these steps once.
    """
    grouped = {}
    for entry, weight in members:
        head = entry.head if entry.head is not None and entry.head.shareable else None
        key = entry.name if head is None else head.key
        grouped.setdefault(key, (head, []))[1].extend(_models(entry, weight))
    estimators, weights = [], []
    for head, models in grouped.values():
        if head is None:
            estimators += [(name, model) for name, model, _ in models]
            weights += [weight for _, _, weight in models]
            continue
        names = [name for name, _, _ in models]
        tail = models[0][1]
        if len(models) > 1:
            tail = GeometricMeanVotingClassifier.from_fitted(
                [(name, model) for name, model, _ in models],
                weights=[weight for _, _, weight in models],
                classes=classes,
                floor=floor,
            )
        estimators.append(("+".join(names[:3]), Pipeline([*head.steps, ("classifier", tail)])))
        weights.append(sum(weight for _, _, weight in models))
    return GeometricMeanVotingClassifier.from_fitted(
        estimators, weights=weights, classes=classes, floor=floor
    )


def _models(entry, weight):
    name = entry.name.replace("__", "_")
    if entry.full_model is not None and entry.full_level >= entry.member_level:
        return [(name, entry.full_model, weight)]
    share = weight / len(entry.models)
    return [(f"{name} ({fold})", model, share) for fold, model in sorted(entry.models.items())]
