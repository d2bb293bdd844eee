"""Which candidates vote, and with what weight: decided on held-out probabilities."""

import warnings

import numpy as np
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.metrics import get_scorer

__all__ = [
    "ProbabilityScore",
    "blend_log_probas",
    "greedy_selection",
    "log_probas",
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
            Higher is better.
        """
        proba, y = np.asarray(proba), np.asarray(y)
        if self._fast is not None:
            return self._fast(proba, y)
        oracle = _Oracle(proba / proba.sum(axis=1, keepdims=True), self.classes)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return float(self._scorer(oracle, np.arange(len(y)), self.classes[y]))


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


def log_probas(proba, floor=1e-3):
    """Logarithm of probabilities, none below `floor`; NaN (no prediction) stays NaN.

    Parameters
    ----------
    proba : array-like of shape (..., n_classes)
        Probabilities.
    floor : float, default=1e-3
        A smaller probability counts as this one.

    Returns
    -------
    ndarray of the same shape, float64

    Examples
    --------
    >>> from skspeech.selection import log_probas
    >>> log_probas([[1.0, 0.0]], floor=0.01).round(1)
    array([[ 0. , -4.6]])
    """
    return np.log(np.maximum(np.asarray(proba, dtype=np.float64), floor))


def blend_log_probas(logs, weights):
    """Weighted geometric mean of members of whom some did not predict all rows.

    A row is the mean of the members that predicted it. Where none did, it is uniform.

    Parameters
    ----------
    logs : ndarray of shape (n_members, n_samples, n_classes)
        Log-probabilities; a row of NaN where a member made no prediction.
    weights : array-like of shape (n_members,)
        The members' weights, not negative.

    Returns
    -------
    proba : ndarray of shape (n_samples, n_classes)
        Each row sums to 1.
    covered : ndarray of bool of shape (n_samples,)
        Rows that a member predicted.

    Examples
    --------
    >>> import numpy as np
    >>> from skspeech.selection import blend_log_probas, log_probas
    >>> one = log_probas([[0.8, 0.2], [0.5, 0.5], [np.nan, np.nan]])
    >>> other = log_probas([[0.2, 0.8], [np.nan, np.nan], [np.nan, np.nan]])
    >>> proba, covered = blend_log_probas(np.stack([one, other]), [1, 1])
    >>> proba.tolist(), covered.tolist()
    ([[0.5, 0.5], [0.5, 0.5], [0.5, 0.5]], [True, True, False])
    """
    weights = np.asarray(weights, dtype=np.float64)
    used = weights > 0
    logs, weights = logs[used], weights[used]
    known = ~np.isnan(logs[:, :, 0])
    mass = (weights[:, None] * known).sum(axis=0)
    total = np.einsum("m,mnk->nk", weights, np.where(known[:, :, None], logs, 0.0))
    mean = total / np.where(mass > 0, mass, 1.0)[:, None]
    proba = np.exp(mean - mean.max(axis=1, keepdims=True))
    return proba / proba.sum(axis=1, keepdims=True), mass > 0


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
    if n_bags == 1 or len(y) < _MIN_BAGGED or max_cost is not None:
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
