"""Learn from held-out clips which clips to reject, and estimate how often that is wrong.

Two kinds of models are trained on the training rows of each fold. One knows all classes: its scores
of the fold's held-out rows set the threshold. The others lack some classes: for these models, the
held-out rows of the missing classes are unknown.
"""

import warnings
from dataclasses import dataclass, field

import numpy as np
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from skspeech._folds import stratified_folds, why_no_fold
from skspeech.unknown.novelty import learn_classes, measure

__all__ = ["MIN_CLASSES", "HeldOut", "Learnt", "combined", "hold_out_rows", "learn"]

_N_FOLDS = 5
_MAX_PARTS = 10  # groups of classes, each of which is left out once
MIN_CLASSES = 3  # with fewer, no plane of classes remains when one is left out


@dataclass
class HeldOut:
    """Held-out rows, measured by models that were not trained on them.

    Attributes
    ----------
    measures : ndarray of shape (n, n_measures)
    unknown : ndarray of bool of shape (n,)
        Whether the row is of no class that the model knows.
    part : ndarray of int of shape (n,)
        Number of the fold; or, if classes were left out, of the left-out classes.
    row : ndarray of int of shape (n,)
    """

    measures: np.ndarray
    unknown: np.ndarray
    part: np.ndarray
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

    Attributes
    ----------
    combiner : Pipeline or None
        Turns measures into a score; None if there is no unknown row to learn from, so that the
        first measure is the score.
    threshold : float
    scores : ndarray of shape (n,)
        Above 0 for held-out rows that were rejected.
    unknown : ndarray of bool of shape (n,)
    row : ndarray of int of shape (n,)
    """

    combiner: object = None
    threshold: float = np.inf
    scores: np.ndarray = field(default_factory=lambda: np.empty(0))
    unknown: np.ndarray = field(default_factory=lambda: np.empty(0, dtype=bool))
    row: np.ndarray = field(default_factory=lambda: np.empty(0, dtype=int))


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


def learn(whole, parts, target):
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
