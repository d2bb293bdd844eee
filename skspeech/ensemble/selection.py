"""Which candidates vote, and with what weight: decided on held-out probabilities."""

import inspect
from collections.abc import Callable
from typing import Any

import numpy as np
from scipy.optimize import minimize
from scipy.special import log_softmax, softmax

from skspeech._typing import ArrayLike
from skspeech.ensemble.blending import blend_log_probas
from skspeech.ensemble.scoring import (
    ProbabilityScore,
    cross_fitted_score,
    is_better,
    neg_log_loss,
    standard_error,
)

__all__ = [
    "DEFAULT_RULE",
    "RULES",
    "ProbabilityScore",
    "cross_fitted_score",
    "greedy_selection",
    "is_better",
    "least_loss_selection",
    "select_members",
    "threshold_selection",
]

TIED = 1e-9
# The loss has to fall by this many standard errors for all weight to go to one candidate.
N_ERRORS = 1.0
# A candidate's loss may be higher than the best one's by this many standard errors, which may be
# chance; for each further _WORSE, what its weight is drawn towards is lower by the factor e.
_CHANCE, _WORSE = 2.0, 0.05
# A member with less than this share of an equal weight would only cost time.
_LEAST_SHARE = 0.25
# If all rows belong to one unit, there is no standard error: this keeps the weights equal.
_VERY_UNSURE = 1e3
_MIN_BAGGED = 40  # with fewer rows, random halves are too small to select on


def select_members(
    logs: np.ndarray,
    y: np.ndarray,
    *,
    score: Callable,
    rule: str | Callable | None = None,
    units: ArrayLike | None = None,
    costs: ArrayLike | None = None,
    shared: dict[int, tuple[Any, float]] | None = None,
    max_cost: float | None = None,
) -> np.ndarray:
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
        A key of `RULES`, or a function with the signature of these; `families` may be left out.
        None is `DEFAULT_RULE`.
    units : array-like of int of shape (n_rows,), default=None
        The unit of each row: a clip, or a group of clips. Rows of one unit are not independent.
        None is a unit for each row.
    costs : array-like of shape (n_candidates,), default=None
        Prediction seconds per clip of each candidate, without what it shares.
    shared : dict of {int: (key, float)}, default=None
        Seconds per clip of the steps, such as an embedding, that a candidate shares with the other
        candidates of the same key, which are a family.
    max_cost : float, default=None
        Most seconds per clip that the whole ensemble may take. None is no limit.

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
    shared = shared or {}
    fits = _CostCheck(costs, shared, max_cost)
    pool = [i for i, log in enumerate(logs) if fits([i]) and not np.isnan(log[:, 0]).all()]
    weights = np.zeros(len(logs))
    if pool:
        logs = logs[pool]
        score = _defined(score, blend_log_probas(logs, np.ones(len(pool))), y)
        given: dict[str, Any] = {"score": score, "units": units}
        given["fits"] = lambda own: fits([pool[i] for i in own])
        if "families" in inspect.signature(choose).parameters:
            given["families"] = [shared[i][0] if i in shared else object() for i in pool]
        weights[pool] = choose(logs, y, **given)
    return weights


def _defined(score, blend, y):
    """The score function, or the negative log loss if the score is NaN on these rows."""
    proba, known = blend
    return neg_log_loss if np.isnan(score(proba[known], y[known])) else score


def least_loss_selection(
    logs: np.ndarray,
    y: np.ndarray,
    *,
    units: ArrayLike | None = None,
    families: list | None = None,
    n_errors: float = N_ERRORS,
) -> np.ndarray:
    """Find the weights with the lowest log loss, drawn towards equal weights by the uncertainty.

    The log loss of a weighted geometric mean is convex in the weights, so there is one solution,
    and it changes little when a candidate is added that predicts what others predict. A penalty
    (the Kullback-Leibler divergence from equal weights) is added to the loss: to put all weight on
    one of many candidates, the loss has to fall by `n_errors` standard errors. With few held-out
    rows, few units, or rows that every candidate gets right, the weights stay almost equal. Equal
    are the weights of families: ten classifiers of the same features don't outvote another network.
    A candidate whose loss is higher than the best one's, beyond chance, is drawn towards less.

    Parameters
    ----------
    logs : ndarray of shape (n_candidates, n_rows, n_classes)
        Held-out log-probabilities; rows of NaN where a candidate made no prediction. Such rows draw
        its weight towards 0, and it does not change the blend there.
    y : ndarray of int of shape (n_rows,)
        Index of each row's class.
    units : array-like of int of shape (n_rows,), default=None
        The unit of each row: a clip, or a group of clips. Rows of one unit are not independent.
        None is a unit for each row.
    families : list of hashable of length n_candidates, default=None
        The family of each candidate, such as a key of the features that its members share. None is
        a family for each candidate.
    n_errors : float, default=1.0
        How strongly weights are drawn towards equal ones, in standard errors of the loss.

    Returns
    -------
    weights : ndarray of shape (n_candidates,)
        They sum to 1; all zero where no candidate has predicted. A weight that is less than a
        quarter of an equal one is 0.

    References
    ----------
    .. [1] T. Heskes, "Selecting weighting factors in logarithmic opinion pools", NIPS 1997.

    Examples
    --------
    >>> import numpy as np
    >>> from skspeech.selection import least_loss_selection, log_probas
    >>> y = np.arange(100) % 2
    >>> good = np.where(np.eye(2)[y] == 1, 0.9, 0.1)
    >>> least_loss_selection(log_probas([good, good, np.full((100, 2), 0.5)]), y).round(1)
    array([0.5, 0.5, 0. ])
    """
    logs, y = np.asarray(logs), np.asarray(y)
    units = np.arange(len(y)) if units is None else np.asarray(units)
    known = ~np.isnan(logs[:, :, 0])
    weights = np.zeros(len(logs))
    pool, some = known.any(axis=1), known.any(axis=0)
    if np.count_nonzero(pool) < 2:
        weights[pool] = 1.0
        return weights
    logs, known, y, units = logs[pool][:, some], known[pool][:, some], y[some], units[some]
    logs = logs - _log_sum_exp(logs)[..., None]
    # A candidate that has not predicted a row gets the others' mean there, so it changes nothing.
    mean = np.nansum(logs, axis=0) / known.sum(axis=0)[:, None]
    logs = np.where(known[:, :, None], logs, mean)
    equal = known.mean(axis=1)
    if families is not None:
        kin = [family for family, is_in in zip(families, pool, strict=True) if is_in]
        equal /= [kin.count(family) for family in kin]
    equal /= equal.sum()
    behind, errors = _behind(logs, known, y, units)
    start = log_softmax(np.log(equal) - np.fmax(behind - _CHANCE * errors, 0) / _WORSE)
    known_errors = errors[~np.isnan(errors)]
    unsure = known_errors.mean() if len(known_errors) else _VERY_UNSURE
    pull = n_errors * unsure / np.log(len(logs))

    own = logs[:, np.arange(len(y)), y].mean(axis=1)
    flat = logs.reshape(len(logs), -1)

    def loss(free):
        shares = softmax(free)
        blend = (shares @ flat).reshape(logs.shape[1:])
        norm = _log_sum_exp(blend)
        proba = np.exp(blend - norm[:, None])
        distance = np.log(np.maximum(shares, np.finfo(float).tiny)) - start
        value = norm.mean() - shares @ own + pull * (shares @ distance)
        slope = flat @ proba.ravel() / len(y) - own + pull * distance
        return value, shares * (slope - shares @ slope)

    found = minimize(loss, start, jac=True, method="L-BFGS-B", options={"ftol": 1e-9})
    shares = softmax(found.x)
    shares[shares < _LEAST_SHARE * equal] = 0.0
    weights[pool] = shares / shares.sum()
    return weights


def _log_sum_exp(logs):
    """Log-sum-exp over the last axis; SciPy's takes five times as long for arrays of this size."""
    top = logs.max(axis=-1)
    return top + np.log(np.exp(logs - top[..., None]).sum(axis=-1))


def _behind(logs, known, y, units):
    """How much higher each candidate's loss is than the best one's, and its standard error.

    They are 0 and NaN for the best one, and where nothing can be told.
    """
    own = logs[:, np.arange(len(y)), y]
    n_rows = known.sum(axis=1)
    # A candidate that predicted few rows may have been lucky there.
    means = np.where(n_rows >= n_rows.max() / 2, (own * known).sum(axis=1) / n_rows, -np.inf)
    best = means.argmax()
    behind, errors = np.zeros(len(logs)), np.full(len(logs), np.nan)
    for i, both in enumerate(known & known[best]):
        if i != best and both.any():
            ahead = (own[best] - own[i])[both]
            error = standard_error(ahead, units[both])
            if np.isfinite(error):
                behind[i], errors[i] = ahead.mean(), error
    return behind, errors


def greedy_selection(
    logs: np.ndarray,
    y: np.ndarray,
    *,
    score: Callable,
    n_bags: int = 1,
    max_steps: int = 30,
    max_pool: int = 40,
    costs: ArrayLike | None = None,
    shared: dict[int, tuple[Any, float]] | None = None,
    max_cost: float | None = None,
) -> np.ndarray:
    """Greedy forward selection with replacement.

    It starts from the best single candidate and repeatedly adds the one that raises the score of
    the geometric mean most; log loss decides between equal scores. A candidate may be added
    repeatedly; its weight is its share of all additions. The selection stops when neither score nor
    log loss improves.

    Parameters
    ----------
    logs : ndarray of shape (n_candidates, n_samples, n_classes)
        Held-out log-probabilities; rows of NaN where a candidate made no prediction.
    y : ndarray of int of shape (n_samples,)
        Index of each row's class.
    score : callable
        ``score(proba, y)``, higher is better, such as :class:`ProbabilityScore`.
    n_bags : int, default=1
        With more than 1, the selection is repeated on this many random halves of the rows, and the
        weights are averaged. This keeps one lucky candidate from taking all the weight. Not done
        with fewer than 40 rows, or with `max_cost`.
    max_steps : int, default=30
        Most additions, repetitions included.
    max_pool : int, default=40
        Only this many of the best single candidates are considered.
    costs : array-like of shape (n_candidates,), default=None
        Prediction seconds per sample of each candidate, without what it shares.
    shared : dict of {int: (key, float)}, default=None
        Seconds per sample of the steps, such as an embedding, that a candidate shares with the
        other candidates of the same key.
    max_cost : float, default=None
        Most seconds per sample that the whole ensemble may take. None is no limit.

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

    # A candidate that predicted few rows may have been lucky there: the first one must have
    # predicted at least half as many rows as the one with the most.
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
    """The sort key of a blend: the score, then the mean log-probability of the true class.

    The second is not computed (minus infinity) if the score is already below `at_least`.
    """
    value = round(score(np.exp(logs), y), 9)
    if np.isnan(value):
        value = -np.inf
    if value < at_least - TIED:
        return value, -np.inf
    return value, float(np.mean(logs[np.arange(len(y)), y] - _log_sum_exp(logs)))


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


def threshold_selection(
    scores: ArrayLike, *, ratio: float = 0.92, max_members: int = 26
) -> np.ndarray:
    """Equal weights for the candidates whose score is close to the best one's.

    Parameters
    ----------
    scores : array-like of shape (n_candidates,)
        Validation scores, higher is better; NaN leaves a candidate out.
    ratio : float, default=0.92
        The lowest accepted score, as a share of the best.
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
    """Keep the candidates with the highest weights that fit into the cost together."""
    kept = []
    for i in np.argsort(-weights, kind="stable"):
        if weights[i] > 0 and fits([*kept, i]):
            kept.append(int(i))
    weights = np.where(np.isin(np.arange(len(weights)), kept), weights, 0.0)
    return weights / weights.sum() if kept else weights


def _least_loss(logs, y, *, score, units, fits, families):
    weights = least_loss_selection(logs, y, units=units, families=families)
    kept = np.flatnonzero(_affordable(weights, fits))
    if len(kept) < np.count_nonzero(weights):
        weights = np.zeros(len(logs))
        kin = [families[i] for i in kept]
        weights[kept] = least_loss_selection(logs[kept], y, units=units, families=kin)
    return weights


# A rule gets log-probabilities (n_candidates, n_rows, n_classes) of candidates that each fit into
# the cost and predicted some rows. `fits([0, 2])` says whether some of them fit together, and
# candidates of equal `families` share their features.
RULES: dict[str, Callable] = {"least-loss": _least_loss, "greedy": _greedy, "threshold": _threshold}
DEFAULT_RULE = "least-loss"
