"""What is learnt from clips that are held out: which of them to reject, and how often it is wrong.

Two kinds of models are made of the training rows of each fold. One knows all classes: what it makes
of the fold's held-out rows sets the threshold. The others know all classes but some: to these, the
held-out rows of the missing classes are unknown.
"""

import warnings
from dataclasses import dataclass

import numpy as np
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from skspeech._folds import stratified_folds, why_no_fold
from skspeech.unknown.novelty import learn_classes, measure

__all__ = ["HeldOut", "Learnt", "hold_out_rows", "learn"]

_N_FOLDS = 5
_MAX_PARTS = 10  # of the classes, each of which is left out once
_MIN_CLASSES = 3  # with fewer, nothing is left to compare with where one is left out


@dataclass
class HeldOut:
    """Held-out rows as models see them that did not learn from them.

    Attributes
    ----------
    measures : ndarray of shape (n, n_measures)
    unknown : ndarray of bool of shape (n,)
        Whether the row is of no class that the model knows.
    part : ndarray of int of shape (n,)
        Number of the fold; or, where classes were left out, of the classes.
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
    """A score, its threshold, and what came of it for rows that it was not learnt from.

    Attributes
    ----------
    combiner : Pipeline or None
        Gives the score of measures; None where nothing could be held out.
    n_measures : int
        How many of the measures it takes.
    threshold : float
    scores : ndarray of shape (n,)
        Above 0 for held-out rows that were rejected.
    unknown : ndarray of bool of shape (n,)
    row : ndarray of int of shape (n,)
    """

    combiner: object
    n_measures: int
    threshold: float
    scores: np.ndarray
    unknown: np.ndarray
    row: np.ndarray


def hold_out_rows(rows, rest, codes, groups, n_features, *, leave_out, random_state):
    """Measure rows by models that did not learn from them.

    Parameters
    ----------
    rows, rest : ndarray of shape (n_rows, n_components) and (n_rows,)
        Components, and the squared length of what is in none.
    codes : ndarray of int of shape (n_rows,)
        Class of each row; -1 for examples of none.
    groups : ndarray of shape (n_rows,) or None
    n_features : int
    leave_out : bool
        Whether classes are left out, too.
    random_state : int

    Returns
    -------
    whole, parts : HeldOut
        By models that know all classes, and by models that know all but some; None where there
        are none.
    """
    n_classes = codes.max() + 1
    classes = np.random.RandomState(random_state).permutation(n_classes)
    part_of = np.empty(n_classes + 1, dtype=int)
    part_of[classes] = np.arange(n_classes) % min(n_classes, _MAX_PARTS)
    part_of[-1] = -1  # examples are in no part
    whole, parts, example = [], [], codes == -1

    def look(learnt_from, asked, others=None):
        known = learn_classes(
            rows[learnt_from], codes[learnt_from], n_features, rest[learnt_from].mean(), others
        )
        return measure(known, rows[asked], rest[asked])

    for number, (train, test) in enumerate(_folds(codes, groups, random_state)):
        of_class, examples = train[~example[train]], train[example[train]]
        others = rows[examples] if len(examples) and not leave_out else None
        fold = np.full(len(test), number)
        whole.append((look(of_class, test, others), example[test], fold, test))
        asked = test[~example[test]]
        for part in range(part_of.max() + 1) if leave_out else ():
            left = of_class[part_of[codes[of_class]] != part]
            is_left_out = part_of[codes[asked]] == part
            if is_left_out.any() and len(left):
                parts.append((look(left, asked), is_left_out, np.full(len(asked), part), asked))
    return tuple(HeldOut.joined(pieces) if pieces else None for pieces in (whole, parts))


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


def learn(whole, parts, target, n_classes):
    """Learn a score and a threshold from held-out rows.

    Parameters
    ----------
    whole, parts : HeldOut
        From `hold_out_rows`; without `parts`, the examples in `whole` are learnt from.
    target : float
        Share of rows of known classes to reject.
    n_classes : int

    Returns
    -------
    Learnt
    """
    pool = whole if parts is None else parts
    n_measures = pool.measures.shape[1]
    if parts is not None and n_classes < _MIN_CLASSES:
        n_measures = 1
    known = whole.take(~whole.unknown)
    combiner = _combiner(pool, n_measures)
    of_known = combiner.decision_function(known.measures[:, :n_measures])
    threshold = _threshold(of_known, target)
    # What is said of the errors: each row is judged by a score and a threshold from other rows.
    margins, unknown, row = [], [], []
    for fold in np.unique(known.part):
        own = known.part == fold
        scores, limit = of_known, threshold
        if not own.all():
            if parts is None:
                others = _combiner(pool.take(pool.part != fold), n_measures)
                scores = others.decision_function(known.measures[:, :n_measures])
            limit = _threshold(scores[~own], target)
        margins.append(scores[own] - limit)
        unknown.append(np.zeros(own.sum(), dtype=bool))
        row.append(known.row[own])
    for part in np.unique(pool.part[pool.unknown]):
        own = pool.part == part
        left_out = pool.take(own & pool.unknown)
        others = combiner
        if pool.unknown[~own].any() and not pool.unknown[~own].all():
            others = _combiner(pool.take(~own), n_measures)
        scores = others.decision_function(known.measures[:, :n_measures])
        limit = _threshold(scores[known.part != part] if parts is None else scores, target)
        margins.append(others.decision_function(left_out.measures[:, :n_measures]) - limit)
        unknown.append(np.ones(len(left_out.row), dtype=bool))
        row.append(left_out.row)
    return Learnt(
        combiner,
        n_measures,
        threshold,
        *(np.concatenate(pieces) for pieces in (margins, unknown, row)),
    )


def _combiner(pool, n_measures):
    model = make_pipeline(StandardScaler(), LogisticRegression(class_weight="balanced"))
    return model.fit(pool.measures[:, :n_measures], pool.unknown)


def _threshold(scores, target):
    """Exceeded by a share of `target` of new rows at most, on average, if they are like these.

    It is the threshold of conformal prediction: a little above the quantile of few rows.
    """
    scores = np.sort(scores)
    rank = int(np.ceil((len(scores) + 1) * (1 - target)))
    return float(scores[min(rank, len(scores)) - 1])
