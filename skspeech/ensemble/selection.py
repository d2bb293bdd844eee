"""Which candidates vote, and with what weight: decided on held-out probabilities."""

import warnings

import numpy as np
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.metrics import get_scorer

from skspeech.ensemble.blending import blend_log_probas

__all__ = [
    "DEFAULT_RULE",
    "RULES",
    "ProbabilityScore",
    "cross_fitted_score",
    "greedy_selection",
    "is_better",
    "select_members",
    "threshold_selection",
]

TIED = 1e-9
_MIN_BAGGED = 40  # rows, below which half of them tell too little


class ProbabilityScore:
    """A scikit-learn scorer that is computed from probabilities and labels alone.

    Parameters
    ----------
    scoring : str or callable
        A name that :func:`sklearn.metrics.get_scorer` knows, or a ``scorer(estimator, X, y)``.
    classes : array-like of shape (n_classes,)
        The labels, in the order of the probabilities' columns.

    Examples
    --------
    >>> from skspeech.selection import ProbabilityScore
    >>> score = ProbabilityScore("balanced_accuracy", ["no", "yes"])
    >>> score([[0.9, 0.1], [0.6, 0.4], [0.2, 0.8]], [0, 1, 1])
    0.75
    """

    def __init__(self, scoring, classes):
        self.scoring = scoring
        self.classes = np.asarray(classes)
        self._fast = _FAST_SCORES.get(scoring) if isinstance(scoring, str) else None
        if self._fast is None:
            self._scorer = get_scorer(scoring) if isinstance(scoring, str) else scoring

    def __call__(self, proba, y):
        """Score probabilities.

        Parameters
        ----------
        proba : array-like of shape (n_samples, n_classes)
            Probabilities; they need not sum to 1 for scores that look only at the best class.
        y : array-like of int of shape (n_samples,)
            Index into `classes` of each row's label.

        Returns
        -------
        float
            Higher is better. NaN where the score is not defined, such as the area under the ROC
            curve of rows that lack a class.
        """
        proba, y = np.asarray(proba), np.asarray(y)
        if self._fast is not None:
            return self._fast(proba, y)
        oracle = _Oracle(proba / proba.sum(axis=1, keepdims=True), self.classes)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                return float(self._scorer(oracle, np.arange(len(y)), self.classes[y]))
            except ValueError:
                return float("nan")


class _Oracle(ClassifierMixin, BaseEstimator):
    """A fitted classifier that already knows the probabilities; its `X` are row numbers."""

    def __init__(self, proba, classes):
        self.proba = proba
        self.classes_ = classes

    def fit(self, X, y):
        return self

    def __sklearn_is_fitted__(self):
        return True

    def predict_proba(self, X):
        return self.proba[X]

    def predict(self, X):
        return self.classes_[self.proba[X].argmax(axis=1)]


def _accuracy(proba, y):
    return float(np.mean(proba.argmax(axis=1) == y))


def _balanced_accuracy(proba, y):
    counts = np.bincount(y)
    hits = np.bincount(y[proba.argmax(axis=1) == y], minlength=len(counts))
    present = counts > 0
    return float(np.mean(hits[present] / counts[present]))


def _neg_log_loss(proba, y):
    own = proba[np.arange(len(y)), y] / proba.sum(axis=1)
    return float(np.mean(np.log(np.maximum(own, np.finfo(float).tiny))))


_FAST_SCORES = {
    "accuracy": _accuracy,
    "balanced_accuracy": _balanced_accuracy,
    "neg_log_loss": _neg_log_loss,
}


def select_members(
    logs,
    y,
    *,
    score,
    rule=None,
    units=None,
    costs=None,
    shared=None,
    max_cost=None,
):
    """Choose which candidates vote, and with what weight.

    Parameters
    ----------
    logs : ndarray of shape (n_candidates, n_rows, n_classes)
        Held-out log-probabilities, as from :func:`log_probas`; rows of NaN where a candidate made
        no prediction. Repeated validation gives several rows for a clip.
    y : ndarray of int of shape (n_rows,)
        Index of each row's class.
    score : callable
        ``score(proba, y)``, higher is better, such as :class:`ProbabilityScore`. Where it is NaN
        on all these rows, the log loss decides.
    rule : str or callable, default=None
        A key of `RULES`, or a function with the signature of these. None is `DEFAULT_RULE`.
    units : array-like of int of shape (n_rows,), default=None
        Rows of one unit, a clip or a group of clips, are not independent of each other. None is a
        unit for each row.
    costs : array-like of shape (n_candidates,), default=None
        Prediction seconds per clip of each candidate alone.
    shared : dict of {int: (key, float)}, default=None
        Seconds per clip of what a candidate's prediction rests on and shares with the other
        candidates of the same key, such as an embedding.
    max_cost : float, default=None
        What the whole ensemble may cost per clip. None is no limit.

    Returns
    -------
    weights : ndarray of shape (n_candidates,)
        They sum to 1; all zero where no candidate has predicted and is within `max_cost`.

    Examples
    --------
    >>> import numpy as np
    >>> from skspeech.selection import ProbabilityScore, log_probas, select_members
    >>> y = np.array([0, 0, 1, 1])
    >>> good = [[0.8, 0.2], [0.7, 0.3], [0.2, 0.8], [0.1, 0.9]]
    >>> bad = [[0.1, 0.9], [0.2, 0.8], [0.9, 0.1], [0.8, 0.2]]
    >>> score = ProbabilityScore("balanced_accuracy", ["no", "yes"])
    >>> select_members(log_probas([good, bad]), y, score=score)
    array([1., 0.])
    """
    y = np.asarray(y)
    units = np.arange(len(y)) if units is None else np.asarray(units)
    choose = RULES[rule or DEFAULT_RULE] if not callable(rule) else rule
    fits = _CostCheck(costs, shared, max_cost)
    pool = [i for i, log in enumerate(logs) if fits([i]) and not np.isnan(log[:, 0]).all()]
    weights = np.zeros(len(logs))
    if pool:
        logs = logs[pool]
        score = _defined(score, blend_log_probas(logs, np.ones(len(pool))), y)
        weights[pool] = choose(
            logs, y, score=score, units=units, fits=lambda own: fits([pool[i] for i in own])
        )
    return weights


def _defined(score, blend, y):
    """The score, or where that is NaN, the negative log loss."""
    proba, known = blend
    return _neg_log_loss if np.isnan(score(proba[known], y[known])) else score


def cross_fitted_score(logs, y, *, score, parts, select, units=None):
    """Score an ensemble on rows that did not choose it.

    For each part of the rows, the weights are chosen on the others and blend this one. So the
    score is that of the way to choose, not of the luck with the rows chosen by.

    Parameters
    ----------
    logs : ndarray of shape (n_candidates, n_rows, n_classes)
        Held-out log-probabilities; rows of NaN where a candidate made no prediction.
    y : ndarray of int of shape (n_rows,)
        Index of each row's class.
    score : callable
        ``score(proba, y)``, higher is better.
    parts : array-like of int of shape (n_rows,)
        The part of each row, such as the fold that held it out. At least two.
    select : callable
        ``select(rows)`` gets positions of rows and returns weights chosen on them alone, of shape
        (n_candidates,).
    units : array-like of int of shape (n_rows,), default=None
        Rows of units that are in a part, such as the same clip in another repeat of the
        validation, don't choose for it.

    Returns
    -------
    float
        The score of all rows for which others could choose; NaN where there is none, or where the
        score is not defined.

    Examples
    --------
    >>> import numpy as np
    >>> from skspeech.selection import (
    ...     ProbabilityScore,
    ...     cross_fitted_score,
    ...     log_probas,
    ...     select_members,
    ... )
    >>> y, parts = np.array([0, 1, 0, 1]), np.array([0, 0, 1, 1])
    >>> lucky = [[0.9, 0.1], [0.1, 0.9], [0.1, 0.9], [0.9, 0.1]]
    >>> steady = [[0.6, 0.4], [0.4, 0.6], [0.6, 0.4], [0.4, 0.6]]
    >>> score = ProbabilityScore("accuracy", ["no", "yes"])
    >>> logs = log_probas([lucky, steady])
    >>> def select(rows):
    ...     return select_members(logs[:, rows], y[rows], score=score, rule="greedy")
    >>> cross_fitted_score(logs, y, score=score, parts=parts, select=select)
    0.5
    """
    y, parts = np.asarray(y), np.asarray(parts)
    units = np.arange(len(y)) if units is None else np.asarray(units)
    blended = np.full(logs.shape[1:], np.nan)
    for part in np.unique(parts):
        own = parts == part
        others = np.flatnonzero(~np.isin(units, units[own]))
        weights = select(others) if len(others) else np.zeros(len(logs))
        if weights.any():
            proba, known = blend_log_probas(logs[:, own], weights)
            blended[own] = np.where(known[:, None], proba, np.nan)
    known = ~np.isnan(blended[:, 0])
    return float(score(blended[known], y[known])) if known.any() else float("nan")


def is_better(new_blend, old_blend, y, *, score, units=None):
    """Whether a new ensemble ought to take the place of the one that stands.

    Parameters
    ----------
    new_blend, old_blend : ndarray of shape (n_rows, n_classes)
        Held-out probabilities; rows of NaN where no member made a prediction. They are compared
        on the rows that both have.
    y : ndarray of int of shape (n_rows,)
        Index of each row's class.
    score : callable
        ``score(proba, y)``, higher is better.
    units : array-like of int of shape (n_rows,), default=None
        As in :func:`select_members`.

    Returns
    -------
    bool
    """
    y = np.asarray(y)
    rows = ~np.isnan(new_blend[:, 0]) & ~np.isnan(old_blend[:, 0])
    if not rows.any():
        return not np.isnan(new_blend[:, 0]).all()
    new, old, y = new_blend[rows], old_blend[rows], y[rows]
    gain = score(new, y) - score(old, y)
    if abs(gain) > TIED:
        return bool(gain > 0)
    return _neg_log_loss(new, y) > _neg_log_loss(old, y) + 1e-4


def greedy_selection(
    logs, y, *, score, n_bags=1, max_steps=30, max_pool=40, costs=None, shared=None, max_cost=None
):
    """Greedy forward selection with replacement.

    It starts from the best single candidate and adds, again and again, the one that lifts the
    score of the geometric mean most; log loss decides between equal scores. A candidate may be
    added repeatedly, which is how weights come about. It stops where neither score nor log loss
    gets better.

    Parameters
    ----------
    logs : ndarray of shape (n_candidates, n_samples, n_classes)
        Held-out log-probabilities; rows of NaN where a candidate made no prediction.
    y : ndarray of int of shape (n_samples,)
        Index of each row's class.
    score : callable
        ``score(proba, y)``, higher is better, such as :class:`ProbabilityScore`.
    n_bags : int, default=1
        With more than 1, the selection is repeated on so many random halves of the rows, and the
        weights are averaged: what is best on all rows by chance is then not all there is. Left out
        with fewer than 40 rows, or with `max_cost`.
    max_steps : int, default=30
        Members at most, counted with repetitions.
    max_pool : int, default=40
        Only so many of the best single candidates are considered.
    costs : array-like of shape (n_candidates,), default=None
        Prediction seconds per sample of each candidate alone.
    shared : dict of {int: (key, float)}, default=None
        Seconds per sample of what a candidate's prediction rests on and shares with the other
        candidates of the same key, such as an embedding.
    max_cost : float, default=None
        What the whole ensemble may cost per sample. None is no limit.

    Returns
    -------
    weights : ndarray of shape (n_candidates,)
        They sum to 1; all zero where no candidate is within `max_cost`.

    References
    ----------
    .. [1] R. Caruana, A. Niculescu-Mizil, G. Crew, A. Ksikes, "Ensemble selection from libraries
           of models", ICML 2004.

    Examples
    --------
    >>> import numpy as np
    >>> from skspeech.selection import ProbabilityScore, greedy_selection, log_probas
    >>> y = np.array([0, 0, 1, 1])
    >>> good = [[0.8, 0.2], [0.7, 0.3], [0.6, 0.4], [0.1, 0.9]]
    >>> other = [[0.6, 0.4], [0.4, 0.6], [0.2, 0.8], [0.2, 0.8]]
    >>> bad = [[0.1, 0.9], [0.5, 0.5], [0.9, 0.1], [0.5, 0.5]]
    >>> score = ProbabilityScore("balanced_accuracy", [0, 1])
    >>> greedy_selection(log_probas([good, other, bad]), y, score=score).round(2)
    array([0.67, 0.33, 0.  ])
    """
    y = np.asarray(y)
    fits = _CostCheck(costs, shared, max_cost)
    if max_cost is not None:
        n_bags = 1
    return _greedy_in_bags(logs, y, score, fits, n_bags, max_steps, max_pool)


def _greedy_in_bags(logs, y, score, fits, n_bags, max_steps=30, max_pool=40):
    if n_bags == 1 or len(y) < _MIN_BAGGED:
        return _grow(logs, y, score, fits, max_steps, max_pool)
    rng = np.random.default_rng(0)
    weights = np.zeros((n_bags, len(logs)))
    for bag in weights:
        half = np.sort(rng.choice(len(y), len(y) // 2, replace=False))
        bag[:] = _grow(logs[:, half], y[half], score, fits, max_steps, max_pool)
    weights = weights.sum(axis=0) / max(weights.sum(), 1)
    if _is_worse_than_a_single_one(logs, y, score, weights):
        return _grow(logs, y, score, fits, max_steps, max_pool)
    return weights


def _is_worse_than_a_single_one(logs, y, score, weights):
    if not weights.any():
        return True
    blend, rows = blend_log_probas(logs, weights)
    own = score(blend[rows], y[rows])
    complete = [log[rows] for log in logs if not np.isnan(log[rows]).any()]
    return any(score(np.exp(log), y[rows]) > own + TIED for log in complete)


def _grow(logs, y, score, fits, max_steps, max_pool):
    """Weights of the candidates after one greedy selection."""
    known = ~np.isnan(logs[:, :, 0])
    pool = [i for i in range(len(logs)) if known[i].any() and fits([i])]
    counts = np.zeros(len(logs))
    if not pool:
        return counts
    merits = {i: _merit(logs[i][known[i]], y[known[i]], score) for i in pool}
    pool = sorted(pool, key=lambda i: merits[i], reverse=True)[:max_pool]

    # One who predicted few rows may have been lucky there: the start has seen half of the most.
    enough = max(known[i].sum() for i in pool) / 2
    start = next(i for i in pool if known[i].sum() >= enough)
    filled = np.where(known[:, :, None], logs, 0.0)
    total, mass = filled[start].copy(), known[start].astype(np.float64)
    chosen, best = [start], None
    rows = known[start]  # the others are judged on what the start covers
    best = _merit(total[rows], y[rows], score)
    while len(chosen) < max_steps:
        step = None
        for i in pool:
            if not fits([*chosen, i]):
                continue
            mean = (total[rows] + filled[i][rows]) / (mass[rows] + known[i][rows])[:, None]
            merit = _merit(mean, y[rows], score, at_least=step[0][0] if step else best[0])
            if merit > (step[0] if step else best):
                step = merit, i
        if step is None or _same(step[0], best):
            break
        best, i = step
        chosen.append(i)
        total += filled[i]
        mass += known[i]
    np.add.at(counts, chosen, 1)
    return counts / counts.sum()


def _merit(logs, y, score, at_least=-np.inf):
    """What is compared: the score, then the mean log-probability of the true class.

    The second is left out (minus infinity) where the score is already below `at_least`.
    """
    value = round(score(np.exp(logs), y), 9)
    if np.isnan(value):
        value = -np.inf
    if value < at_least - TIED:
        return value, -np.inf
    top = logs.max(axis=1)
    norm = top + np.log(np.exp(logs - top[:, None]).sum(axis=1))
    return value, float(np.mean(logs[np.arange(len(y)), y] - norm))


def _same(one, other):
    return abs(one[0] - other[0]) <= TIED and abs(one[1] - other[1]) <= 1e-4


class _CostCheck:
    """Whether a set of candidates predicts fast enough."""

    def __init__(self, costs, shared, max_cost):
        self.costs, self.shared, self.max_cost = costs, shared or {}, max_cost

    def __call__(self, chosen):
        if self.max_cost is None:
            return True
        members = set(chosen)
        own = sum(self.costs[i] for i in members)
        common = dict(self.shared[i] for i in members if i in self.shared)
        return own + sum(common.values()) <= self.max_cost


def threshold_selection(scores, *, ratio=0.92, max_members=26):
    """Equal weights for the candidates whose score is close to the best one's.

    Parameters
    ----------
    scores : array-like of shape (n_candidates,)
        Validation scores, higher is better; NaN leaves a candidate out.
    ratio : float, default=0.92
        The lowest score that is let in, as a part of the best.
    max_members : int, default=26
        Members at most.

    Returns
    -------
    weights : ndarray of shape (n_candidates,)
        They sum to 1. Of candidates with equal scores only the first counts, since these are
        often the same model twice.

    Examples
    --------
    >>> from skspeech.selection import threshold_selection
    >>> threshold_selection([0.9, 0.8, 0.9, 0.85])
    array([0.5, 0. , 0. , 0.5])
    """
    scores = np.asarray(scores, dtype=np.float64)
    weights = np.zeros(len(scores))
    order = [i for i in np.argsort(-scores, kind="stable") if not np.isnan(scores[i])]
    if not order:
        return weights
    best = scores[order[0]]
    limit = best * ratio if best >= 0 else best / ratio
    seen = set()
    for i in order:
        if scores[i] < limit or len(seen) == max_members:
            break
        if scores[i] not in seen:
            seen.add(scores[i])
            weights[i] = 1.0
    return weights / weights.sum()


def _greedy(logs, y, *, score, units, fits):
    weights = _greedy_in_bags(logs, y, score, fits, n_bags=10)
    if fits(np.flatnonzero(weights)):
        return weights
    return _grow(logs, y, score, fits, max_steps=30, max_pool=40)


def _threshold(logs, y, *, score, units, fits):
    scores = [score(np.exp(log[known]), y[known]) for log, known in _predicted(logs)]
    return _affordable(threshold_selection(scores), fits)


def _predicted(logs):
    return [(log, ~np.isnan(log[:, 0])) for log in logs]


def _affordable(weights, fits):
    """Keep the heaviest candidates that fit together, with what they weighed."""
    kept = []
    for i in np.argsort(-weights, kind="stable"):
        if weights[i] > 0 and fits([*kept, i]):
            kept.append(int(i))
    weights = np.where(np.isin(np.arange(len(weights)), kept), weights, 0.0)
    return weights / weights.sum() if kept else weights


# A rule gets log-probabilities (n_candidates, n_rows, n_classes) of candidates that each fit into
# the cost and predicted some rows, and whether some of them fit together: `fits([0, 2])`.
RULES = {"greedy": _greedy, "threshold": _threshold}
DEFAULT_RULE = "greedy"
