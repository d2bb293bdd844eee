"""Learn from held-out clips which clips to reject, and estimate how often that is wrong.

A model of all classes is trained on the training rows of each fold: its scores of the fold's
held-out rows set the threshold. Others lack some classes: for these models, rows of the missing
classes are unknown.
"""

from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from skspeech._folds import hold_out, stratified_folds, why_no_fold
from skspeech._warning import warn
from skspeech.transformers.scaling import ClippedStandardScaler
from skspeech.unknown.novelty import learn_classes, measure
from skspeech.unknown.rates import share_of_errors

__all__ = ["MIN_CLASSES", "combined", "draw_rows", "hold_out_rows", "learn_to_reject"]

_MIN_EXAMPLES = 10  # fewer say less about unknown clips than known classes do
_MAX_ROWS = 1500  # more take long, and add little
_N_FOLDS = 5
_N_TARGETS = 26  # to try
_MAX_PARTS = 10  # groups of classes, each of which is left out once
MIN_CLASSES = 3  # with fewer, no two classes remain when one is left out


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

    `combiner` turns measures into a score; it is None if no row could be held out. `scores` are
    above 0 for held-out rows that were rejected.
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
    """Rows to learn from: all, or if there are very many, a stratified sample with all classes."""
    if len(codes) <= _MAX_ROWS:
        return np.arange(len(codes))
    drawn = hold_out(codes, _MAX_ROWS / len(codes), random_state=random_state)[1]
    _, first, counts = np.unique(codes, return_index=True, return_counts=True)
    return np.sort(np.r_[drawn, first[counts == 1]])  # those of one row are never held out


def learn_to_reject(features, codes, groups, kept, method, target, random_state):
    """Learn which rows to reject, and how often that will be wrong.

    Parameters
    ----------
    features : ndarray of shape (n_rows, n_features)
    codes : ndarray of int of shape (n_rows,)
        Class of each row; -1 for examples of none.
    groups : ndarray of shape (n_rows,) or None
    kept : ndarray of shape (n_rows,) or None
        What folds keep together: the groups or, without any, copies of a clip.
    method, target
        As of `UnknownRejector`.
    random_state : int

    Returns
    -------
    Rejection
    """
    known = codes != -1
    scaler = ClippedStandardScaler().fit(features[known])
    rows = np.asarray(scaler.transform(features))  # else a table, if the user asks for them
    learnt = Learnt()
    for used in _methods(method, known):
        by_class = used == "leave-class-out"
        whole, parts, models = hold_out_rows(
            rows, codes, kept, leave_out=by_class, random_state=random_state
        )
        if whole is not None and (by_class or whole.unknown.any()):
            learnt = _learn(whole, parts, target, by_group=groups is not None)
            break
    if not np.isfinite(learnt.threshold):
        warn(
            "No clip will be rejected, because none can be held out to learn from. Give more "
            "clips of each class, or groups that have several classes."
        )
    if not models:
        models = [learn_classes(rows[known], codes[known])]
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
        warn(f"{n_examples} examples of unknown clips are {fate}: {_MIN_EXAMPLES} are needed.")
    if method != "auto":
        return [method]
    return ["examples", "leave-class-out"] if enough else ["leave-class-out"]


def hold_out_rows(rows, codes, groups, *, leave_out, random_state):
    """Measure rows by models that were not trained on them.

    Parameters
    ----------
    rows : ndarray of shape (n_rows, n_features)
        Scaled features.
    codes : ndarray of int of shape (n_rows,)
        Class of each row; -1 for examples of none.
    groups : ndarray of shape (n_rows,) or None
    leave_out : bool
        Whether to leave classes out, rather than learn from examples.
    random_state : int

    Returns
    -------
    whole, parts : HeldOut
        Measured by models that know all classes; and rows of left-out classes, measured by models
        that lack these. None if there are none.
    models : list of dict
        The models that know all classes. They also measure new rows: a model of all rows would
        measure differently, and the threshold from held-out rows would not fit.
    """
    of_class = codes != -1
    folds = _folds(codes, groups, random_state)
    if leave_out:
        folds = [(train[of_class[train]], test[of_class[test]]) for train, test in folds]
    whole, models, usable = [], [], []
    for number, (train, test) in enumerate(folds):
        if len(np.unique(codes[train][of_class[train]])) < 2:
            continue
        usable.append((train, test))
        models.append(learn_classes(rows[train], codes[train]))
        seen = measure(models[-1], rows[test])
        whole.append((seen, ~of_class[test], np.full(len(test), number), test))
    parts = _leave_classes_out(rows, codes, groups, usable, random_state) if leave_out else []
    return *(HeldOut.joined(pieces) if pieces else None for pieces in (whole, parts)), models


def _leave_classes_out(rows, codes, groups, folds, random_state):
    """Measure rows of left-out classes: of those groups that the model was not trained on.

    Each class is left out of the training rows of one fold, as all folds would take several times
    as long.
    """
    n_classes = codes.max() + 1
    if n_classes < MIN_CLASSES or not folds:
        return []
    classes = np.random.RandomState(random_state).permutation(n_classes)
    pieces = []
    for part in range(min(n_classes, _MAX_PARTS)):
        left_out = np.isin(codes, classes[part::_MAX_PARTS])
        first = part % len(folds)
        for train, test in folds[first:] + folds[:first]:
            left = train[~left_out[train]]
            asked = np.flatnonzero(left_out)
            if groups is not None:
                asked = asked[~np.isin(groups[asked], groups[left])]
            if not len(asked):  # groups were split
                asked = test[left_out[test]]
            if len(asked) and len(np.unique(codes[left])) > 1:
                seen = measure(learn_classes(rows[left], codes[left]), rows[asked])
                pieces.append((seen, np.ones(len(asked), bool), np.full(len(asked), part), asked))
                break
    return pieces


def _folds(codes, groups, random_state):
    folds = stratified_folds(codes, _N_FOLDS, groups=groups, random_state=random_state)
    if not folds and groups is not None:
        warn(
            f"No group can be held out, because {why_no_fold(codes, groups)}. So clips are held "
            "out at random: more clips of new groups will be rejected than it seems."
        )
        folds = stratified_folds(codes, _N_FOLDS, random_state=random_state)
    return folds


def _learn(whole, parts, target, by_group):
    """Learn a score and a threshold from held-out rows.

    Parameters
    ----------
    whole, parts : HeldOut or None
        From `hold_out_rows`; without `parts`, the unknown rows are the examples in `whole`.
    target : float
        Share of rows of known classes to reject.
    by_group : bool
        Whether the folds hold different groups.

    Returns
    -------
    Learnt
    """
    combiner = _combiner(whole)
    scores = combined(combiner, whole.measures)
    if by_group:
        target = _target_among_others(scores[~whole.unknown], whole.part[~whole.unknown], target)
    threshold = _threshold(scores[~whole.unknown], target)
    # Error rates: each row is judged by a score and a threshold from other rows.
    found = []
    for fold in np.unique(whole.part):
        own = whole.part == fold
        scale, limit = combiner, threshold
        if not own.all():
            others = whole.take(~own)
            scale = _combiner(others)
            limit = _threshold(combined(scale, others.measures)[~others.unknown], target)
        own = whole.take(own)
        found.append((combined(scale, own.measures) - limit, own.unknown, own.row))
    if parts is not None:
        found.append((combined(combiner, parts.measures) - threshold, parts.unknown, parts.row))
    return Learnt(combiner, threshold, *(np.concatenate(column) for column in zip(*found)))


def combined(combiner, measures):
    """The score of each row of measures."""
    if combiner is None:
        return measures[:, 0]
    if hasattr(combiner, "decision_function"):
        return combiner.decision_function(measures)
    return np.asarray(combiner.transform(measures)).sum(axis=1)


def _combiner(pool):
    """What turns measures into a score, learnt from held-out rows.

    Without examples, all measures count alike. Weights that separate left-out classes best were
    worse: they fit the few classes that are left out, and models that lack one.
    """
    if not pool.unknown.any() or pool.unknown.all():
        return StandardScaler().fit(pool.measures)
    model = make_pipeline(StandardScaler(), LogisticRegression(class_weight="balanced"))
    return model.fit(pool.measures, pool.unknown)


def _target_among_others(scores, fold, target):
    """The share to reject of other groups, in order to reject at most `target` of a new one's rows.

    It is smaller, as groups differ.
    """
    folds = np.unique(fold)
    if len(folds) < 2:
        return target
    for share in np.linspace(target, 0, _N_TARGETS):
        limits = [_threshold(scores[fold != own], share) for own in folds]
        if np.mean(scores > np.array(limits)[np.searchsorted(folds, fold)]) <= target:
            return share
    return 0.0


def _threshold(scores, target):
    """A threshold that on average at most a share `target` of similar new rows exceed.

    It is the threshold of conformal prediction: with few rows, slightly above the quantile.
    """
    scores = np.sort(scores)
    if not len(scores):
        return np.inf
    rank = int(np.ceil((len(scores) + 1) * (1 - target)))
    return float(scores[min(rank, len(scores)) - 1])
