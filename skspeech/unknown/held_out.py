"""Learn from held-out clips which clips to reject, and estimate how often that is wrong.

Two kinds of models are trained on the training rows of each fold. One knows all classes: its scores
of the fold's held-out rows set the threshold. The others lack some classes: for these models, the
held-out rows of the missing classes are unknown.
"""

import warnings
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from skspeech._folds import hold_out, stratified_folds, why_no_fold
from skspeech.transformers.scaling import ClippedStandardScaler
from skspeech.unknown.novelty import learn_classes, measure, principal_axes
from skspeech.unknown.rates import share_of_errors

__all__ = ["MIN_CLASSES", "combined", "draw_rows", "hold_out_rows", "learn_to_reject"]

_MIN_EXAMPLES = 10  # fewer say less about unknown clips than known classes do
_MAX_ROWS = 1500  # more take long, and add little
_N_FOLDS = 5
_MAX_PARTS = 10  # groups of classes, each of which is left out once
MIN_CLASSES = 3  # with fewer, no plane of classes remains when one is left out


@dataclass
class HeldOut:
    """Held-out rows, measured by models that were not trained on them."""

    measures: np.ndarray  # (n, n_measures)
    unknown: np.ndarray  # whether the row is of no class that the model knows
    part: np.ndarray  # number of the fold; or, if classes were left out, of the left-out classes
    row: np.ndarray

    @classmethod
    def joined(cls, pieces):
        return cls(*(np.concatenate(column) for column in zip(*pieces)))

    def take(self, chosen):
        return HeldOut(
            self.measures[chosen], self.unknown[chosen], self.part[chosen], self.row[chosen]
        )


@dataclass
class Learnt:
    """A score, its threshold, and the scores of rows that it was not learnt from.

    `combiner` turns measures into a score. It is None if there is no unknown row to learn from;
    then the first measure is the score. `scores` are above 0 for held-out rows that were rejected.
    """

    combiner: object = None
    threshold: float = np.inf
    scores: np.ndarray = field(default_factory=lambda: np.empty(0))
    unknown: np.ndarray = field(default_factory=lambda: np.empty(0, dtype=bool))
    row: np.ndarray = field(default_factory=lambda: np.empty(0, dtype=int))


class Rejection(NamedTuple):
    """Which clips to reject, and how often that is wrong."""

    scaler: ClippedStandardScaler  # of the features
    models: list  # what `measure` needs for scaled features; the score is the mean over them
    method: str  # what was learnt from
    learnt: Learnt
    false_rejects: tuple  # share and interval, as from `share_of_errors`
    false_accepts: tuple


def draw_rows(codes, random_state):
    """Rows to learn from: all, or if there are very many, a stratified sample."""
    if len(codes) <= _MAX_ROWS:
        return np.arange(len(codes))
    return hold_out(codes, _MAX_ROWS / len(codes), random_state=random_state)[1]


def learn_to_reject(features, codes, groups, method, target, random_state):
    """Learn which rows to reject, and how often that will be wrong.

    Parameters
    ----------
    features : ndarray of shape (n_rows, n_features)
    codes : ndarray of int of shape (n_rows,)
        Class of each row; -1 for examples of none.
    groups : ndarray of shape (n_rows,) or None
    method, target
        As of `UnknownRejector`.
    random_state : int

    Returns
    -------
    Rejection
    """
    known = codes != -1
    scaler = ClippedStandardScaler().fit(features[known])
    features = scaler.transform(features)
    centre = features[known].mean(axis=0)
    axes = principal_axes(features - centre)
    rows = ((features - centre) @ axes).astype(np.float64)
    learnt = Learnt()
    for used in _methods(method, known):
        by_class = used == "leave-class-out"
        whole, parts, models = hold_out_rows(
            rows, codes, groups, features.shape[1], leave_out=by_class, random_state=random_state
        )
        if whole is not None and (by_class or whole.unknown.any()):
            learnt = _learn(whole, parts, target)
            break
    if not np.isfinite(learnt.threshold):
        warnings.warn(
            "No clip will be rejected, because none can be held out to learn from. Give more "
            "clips of each class, or groups that have several classes.",
            UserWarning,
            stacklevel=4,
        )
    if not models:
        models = [learn_classes(rows[known], codes[known], features.shape[1])]
    # Straight from the features to the plane of the classes.
    models = [
        {
            **model,
            "weights": axes @ model["weights"],
            "offset": model["offset"] + centre @ axes @ model["weights"],
        }
        for model in models
    ]
    group_of = (lambda rows: None) if groups is None else groups.take
    of_unknown = codes.take if by_class else group_of
    unknown = learnt.unknown
    return Rejection(
        scaler,
        models,
        used,
        learnt,
        share_of_errors(learnt.scores[~unknown] > 0, group_of(learnt.row[~unknown])),
        share_of_errors(learnt.scores[unknown] <= 0, of_unknown(learnt.row[unknown]), by_class),
    )


def _methods(method, known):
    """Methods to try, in order of preference."""
    n_examples = np.count_nonzero(~known)
    enough = n_examples >= _MIN_EXAMPLES
    if 0 < n_examples < _MIN_EXAMPLES and method != "leave-class-out":
        fate = "left aside" if method == "auto" else "used, but say little"
        warnings.warn(
            f"{n_examples} examples of unknown clips are {fate}: {_MIN_EXAMPLES} are needed.",
            stacklevel=4,
        )
    if method != "auto":
        return [method]
    return ["examples", "leave-class-out"] if enough else ["leave-class-out"]


def hold_out_rows(rows, codes, groups, n_features, *, leave_out, random_state):
    """Measure rows by models that were not trained on them.

    Parameters
    ----------
    rows : ndarray of shape (n_rows, n_components)
        All principal components of the features.
    codes : ndarray of int of shape (n_rows,)
        Class of each row; -1 for examples of none.
    groups : ndarray of shape (n_rows,) or None
    n_features : int
    leave_out : bool
        Whether to leave classes out, rather than learn from examples.
    random_state : int

    Returns
    -------
    whole, parts : HeldOut
        Measured by models that know all classes, and by models that lack some; None if there are
        none.
    models : list of dict
        The models that know all classes. They also measure new rows: a model of all rows would
        measure differently, and the threshold from held-out rows would not fit.
    """
    n_classes = codes.max() + 1
    classes = np.random.RandomState(random_state).permutation(n_classes)
    part_of = np.empty(n_classes, dtype=int)
    part_of[classes] = np.arange(n_classes) % min(n_classes, _MAX_PARTS)
    n_parts = part_of.max() + 1 if leave_out and n_classes >= MIN_CLASSES else 0
    whole, parts, models, of_class = [], [], [], codes != -1

    def learn_from(learnt_from):
        return learn_classes(rows[learnt_from], codes[learnt_from], n_features)

    for number, (train, test) in enumerate(_folds(codes, groups, random_state)):
        if leave_out:
            train, test = train[of_class[train]], test[of_class[test]]
        if len(np.unique(codes[train][of_class[train]])) < 2:
            continue
        models.append(learn_from(train))
        seen = measure(models[-1], rows[test])
        whole.append((seen, ~of_class[test], np.full(len(test), number), test))
        for part in range(n_parts):
            left = train[part_of[codes[train]] != part]
            is_left_out = part_of[codes[test]] == part
            if is_left_out.any() and len(np.unique(codes[left])) > 1:
                seen = measure(learn_from(left), rows[test])
                parts.append((seen, is_left_out, np.full(len(test), part), test))
    return *(HeldOut.joined(pieces) if pieces else None for pieces in (whole, parts)), models


def _folds(codes, groups, random_state):
    folds = stratified_folds(codes, _N_FOLDS, groups=groups, random_state=random_state)
    if not folds and groups is not None:
        warnings.warn(
            f"No group can be held out, because {why_no_fold(codes, groups)}. So clips are held "
            "out at random: more clips of new groups will be rejected than it seems.",
            UserWarning,
            stacklevel=6,
        )
        folds = stratified_folds(codes, _N_FOLDS, random_state=random_state)
    return folds


def _learn(whole, parts, target):
    """Learn a score and a threshold from held-out rows.

    Parameters
    ----------
    whole, parts : HeldOut
        From `hold_out_rows`; without `parts`, the examples in `whole` are learnt from.
    target : float
        Share of rows of known classes to reject.

    Returns
    -------
    Learnt
    """
    pool = whole if parts is None else parts
    known = whole.take(~whole.unknown)
    combiner = _combiner(pool)
    of_known = combined(combiner, known.measures)
    threshold = _threshold(of_known, target)
    # Error rates: each row is judged by a score and a threshold from other rows.
    found = []
    for fold in np.unique(known.part):
        own, scores, limit = known.part == fold, of_known, threshold
        if not own.all():
            if parts is None:
                scores = combined(_combiner(pool.take(pool.part != fold)), known.measures)
            limit = _threshold(scores[~own], target)
        found.append((scores[own] - limit, np.zeros(own.sum(), dtype=bool), known.row[own]))
    for part in np.unique(pool.part[pool.unknown]):
        own = pool.take(pool.unknown & (pool.part == part))
        others = _combiner(pool.take(pool.part != part))
        elsewhere = known.take(known.part != part) if parts is None else known
        limit = _threshold(combined(others, elsewhere.measures), target)
        scores = combined(others, own.measures) - limit
        found.append((scores, np.ones(len(scores), dtype=bool), own.row))
    return Learnt(combiner, threshold, *(np.concatenate(column) for column in zip(*found)))


def combined(combiner, measures):
    """The score of each row of measures."""
    return measures[:, 0] if combiner is None else combiner.decision_function(measures)


def _combiner(pool):
    if not 0 < np.count_nonzero(pool.unknown) < len(pool.unknown):
        return None
    model = make_pipeline(StandardScaler(), LogisticRegression(class_weight="balanced"))
    return model.fit(pool.measures, pool.unknown)


def _threshold(scores, target):
    """A threshold that on average at most a share `target` of similar new rows exceed.

    It is the threshold of conformal prediction: with few rows, slightly above the quantile.
    """
    scores = np.sort(scores)
    if not len(scores):
        return np.inf
    rank = int(np.ceil((len(scores) + 1) * (1 - target)))
    return float(scores[min(rank, len(scores)) - 1])
