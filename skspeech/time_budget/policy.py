"""What to do next: pure functions of the run's state, without clocks, threads or processes.

To change the order in which candidates are tried, change this file: `next_here` decides for this
process, `next_elsewhere` for worker processes and executors, `wants_repeat` whether to repeat the
validation. All weigh what a job may gain against the seconds that it is expected to take.
"""

import bisect
import math

import numpy as np
from sklearn.pipeline import Pipeline

from skspeech.time_budget.state import Job

__all__ = [
    "has_work_elsewhere",
    "kind_of",
    "n_columns_of",
    "next_elsewhere",
    "next_here",
    "wants_repeat",
]

REFIT_RESERVE = 0.3  # at most this share of the budget is reserved for training on all rows
PATIENCE = 1 / 3  # share of the budget that a job may take, however quick it was expected to be
COLD_START = 10.0  # seconds that imports and loading weights may take when steps first run
MAX_MISSES = 2  # a candidate that was given up this many times is not tried again
DEFAULT_UNIT_COST = 5e-5  # seconds per training row of a quick classifier, before one is measured
# How the cost of a training row grows with its features: from 1, where there are fewer rows than
# features, to 2, where products of all features are added up.
FEW_ROWS_POWER, COLUMN_POWER = 1.0, 1.5
DEFAULT_RATE = 1e-3  # seconds per row of shared steps, before any are measured
RACE_SHARE = 0.1  # of the remaining time, which the race of shared steps may take
MAX_REPEATED = 12  # only this many of the best candidates are validated again


# ---------------------------------------------------------------- this process


def next_here(state):
    """Among the jobs that fit in the time: the one with the highest expected gain per second.

    If there is none, slow candidates go on with few rows, rather than end with time left.
    """
    if not state.answered:
        entry = _first_entry(state)
        if entry is not None:
            return Job("first", entry, limit=_patience(state, entry, 0.0))
    jobs = [*_validations(state), *_refits(state)] or _validations(state, few=True)
    return max(jobs, key=lambda pair: pair[0])[1] if jobs else None


def _first_entry(state):
    """The candidate for the first answer: the one marked `first`, or else the cheapest."""
    return min(
        state.able_here,
        key=lambda entry: (
            _misses(entry),
            not entry.candidate.first,
            entry.candidate.stage,
            validation_cost(state, entry, state.n_total),
            entry.index,
        ),
        default=None,
    )


def _validations(state, few=False):
    """(value, job) for each candidate that can be validated, or at least embedded, here."""
    refits = [refit_cost(state, entry) for entry in _waiting_for_refit(state)]
    reserve = 1.3 * sum(cost for cost in refits if _fits_a_refit(state, cost))
    time_left = state.left - min(reserve, REFIT_RESERVE * state.budget)
    jobs = []
    for entry in state.entries:
        if entry.failed or (entry.features is None and entry.where != "main"):
            continue
        if not state.folds and entry.where == "main":
            continue  # no row can be held out, so `_refits` trains it on all rows at once
        for value, folds, level in _next_folds(state, entry, few):
            cost = validation_cost(state, entry, level, folds)
            if cost > 0.95 * time_left:
                continue
            job = Job("validate", entry, folds, level, limit=_patience(state, entry, cost))
            later = bool(folds) and state.waits(folds)
            jobs.append(((not later, value * 0.1 ** _misses(entry) / (cost + 0.02)), job))
    return jobs


def _next_folds(state, entry, few):
    """(value, folds, level): to validate a candidate on more rows, or on folds of a repeat."""
    level, value = _next_level(state, entry, few), gain(state, entry)
    if level is not None:
        yield value, state.folds_of(0), level
    folds = _next_repeat(state, entry)
    if folds and not (level is not None and state.waits(folds)):
        if level is None:
            value = 0.1 * value + entry.weight
        else:  # held-out voices of a first part, which tell more than further rows
            value = expected_gain(entry) + entry.weight
        yield value, folds, state.level_of(folds)


def _refits(state):
    """(value, job) for each member that can be trained on all rows here."""
    jobs = []
    for entry in _waiting_for_refit(state):
        cost, features = refit_cost(state, entry), entry.features
        if not _fits_a_refit(state, cost):
            continue
        limit, level = max(4 * cost, 1.0) * 2 ** _misses(entry), state.n_total
        if state.folds:
            unseen = 1 - len(state.folds[0].train) / state.n_train
            value = 0.5 * entry.weight * unseen
            if len(state.folds) > 1:
                value *= 0.3  # the folds' models together have seen all rows
            if features is not None:
                level = min(features.level, level)  # it embeds no rows
        else:
            value = gain(state, entry)
            if features is not None and features.level < level:
                limit = _patience(state, entry, cost)
        job = Job("refit", entry, level=level, limit=limit)
        jobs.append(((True, value / (cost + 0.02)), job))
    return jobs


def _fits_a_refit(state, cost):
    """Whether there is still time for a training on all rows that takes about so many seconds."""
    return 1.2 * cost <= state.left


def _waiting_for_refit(state):
    """Candidates of this process that vote, or could, but have no model of all rows yet."""
    able = state.able_here
    if not state.folds:
        return [entry for entry in able if entry.full_level < state.n_total]
    return [e for e in able if state.refit and e.weight > 0 and not e.is_refitted]


def _next_level(state, entry, few=False):
    """How many rows the candidate should train on next; None if it needs no more.

    With `few`, steps that are loaded may go on with less than a quarter of the rows, and a slow
    estimator may train on a part of the rows that have features.
    """
    total, first, features = state.n_total, state.first_level, entry.features
    level = entry.level(state.folds_of(0))
    if entry.where == "worker":
        if features.error is not None or features.level >= total:
            return None
    elif level >= total:
        return None
    if entry.shared is None:
        target = first if not level else min(4 * level, total)
        return _part_of(state, entry, target) if few else target
    if features.level >= total:
        return _part_of(state, entry, total) if few else total
    race = state.race_level
    if features.level <= race or features.rate is None:
        racer = next((other for other in state.racers if other.features is features), None)
        if race and racer not in (entry, None):
            return None  # the racer shows whether these steps are worth it
        if racer is entry and level < race and _has_time_to_race(state):
            return race
        # New steps: all rows of a first part, or as many as half of the remaining time allows.
        affordable = _reach(state, entry, first, few)
        part = 1.3 * features.level if few and features.warm else first // 4
        enough = max(10 * state.n_classes, part)
        return first if affordable >= first else affordable if affordable >= enough else None
    if level < features.level and entry.where == "main":
        return _part_of(state, entry, features.level) if few else features.level
    affordable = _affordable(state, entry, 0.6 * max(state.left, 0))
    target = min(3 * max(features.level, 1), total)
    target = total if affordable >= total else min(target, affordable)
    return target if target >= min(1.3 * features.level, total) else None


def _part_of(state, entry, level):
    """As many of these rows as there is time for; None if that is hardly more than before."""
    part = _reach(state, entry, level, few=True)
    enough = max(10 * state.n_classes, 1.3 * entry.level(state.folds_of(0)))
    return part if part >= enough else None


def _reach(state, entry, level, few):
    """As many of these rows as half of the time allows. With `few`, nothing else needs the rest."""
    if few and _affordable(state, entry, 0.9 * state.left) >= level:
        return level
    return min(_affordable(state, entry, 0.5 * state.left), level)


def _has_time_to_race(state):
    cost = sum(embedding_cost(state, e.features, state.race_level) for e in state.racers)
    return cost < RACE_SHARE * state.left


def _misses(entry):
    """How often the candidate, or its first steps (which it may share), were given up or lost."""
    by_features = entry.features.misses if entry.features is not None else 0
    return max(entry.misses, entry.lost, by_features)


def _affordable(state, entry, seconds):
    """On how many of the first rows the candidate can be validated in so many seconds."""

    def cost(level):
        return validation_cost(state, entry, level)

    return bisect.bisect_right(range(state.n_total + 1), seconds, key=cost) - 1


def _next_repeat(state, entry):
    """The folds of the first repeat that a candidate has still to be validated on, if any."""
    if entry.where != "main":
        return ()
    for repeat in range(1, state.n_repeats):
        folds = state.folds_of(repeat)
        if entry.level(state.folds_of(0)) < state.level_of(folds):
            return ()
        if state.waits(folds) and not _is_among_the_best(state, entry):
            return ()
        if any(fold not in entry.final for fold in folds):
            return folds
    return ()


def _is_among_the_best(state, entry):
    if entry.weight > 0:
        return True
    scores = [other.score for other in state.entries if not np.isnan(other.score)]
    return sum(score > entry.score for score in scores) < MAX_REPEATED


def wants_repeat(state):
    """Whether to repeat the validation with other folds, now that nothing else is left to do."""
    if not state.folds or state.n_repeats >= state.max_repeats:
        return False
    able = [
        entry
        for entry in state.entries
        if entry.can_vote and not entry.failed and _is_among_the_best(state, entry)
    ]
    folds = state.folds_of(0)
    done = [entry for entry in able if entry.level(folds) >= state.n_total]
    if any(entry.where == "worker" for entry in able if entry not in done):
        return False  # it is still being trained; in this process, what is not done does not fit
    if len(done) < 2:  # a single candidate has all the weight, whatever its score
        return False
    return sum(e.fit_time * len(folds) for e in done if e.where == "main") < 0.5 * state.left


# ---------------------------------------------------------------- worker processes, executors


def next_elsewhere(state):
    """First one fold of each candidate; then further folds and refits, voting candidates first."""
    entries = [e for e in state.entries if e.where == "worker"]
    waiting = [e for e in entries if not (e.failed or e.running or e.levels or e.full_model)]
    n_untried = sum(not entry.misses for entry in waiting)
    ranked = []
    for entry in entries:
        if entry.failed or entry.running or not _features_ready(state, entry):
            continue
        ranked += _jobs_elsewhere(state, entry, n_untried)
    return min(ranked, key=lambda pair: pair[0])[1] if ranked else None


def _jobs_elsewhere(state, entry, n_untried):
    """At most one (rank, job) for a candidate; the lowest rank comes first."""
    left, fold = state.left, next_fold(state, entry)
    cost = refit_cost(state, entry)
    refits = wants_refit_elsewhere(state, entry) and 1.15 * cost <= left
    if fold is None or refits:  # repeats wait for a refit that fits
        untrained = not state.folds and entry.full_model is None
        if untrained:
            limits = _first_limits(state, entry, n_untried)
        elif refits:
            limits = _limits(state, entry, left, cost)
        else:
            return []
        rank = (2, -entry.weight / (cost + 0.1), entry.index)
        return [(rank, Job("refit", entry, limit=limits[0], max_time=limits[1]))]
    cost, value = _cost_elsewhere(state, entry), gain(state, entry)
    if not entry.levels:
        rank = (4 * _misses(entry), entry.candidate.stage - value / (cost + 1.0), entry.index)
        limits = _first_limits(state, entry, n_untried)
    elif 1.1 * cost <= left:
        turn = 5 if state.folds[fold].repeat else 1 if entry.weight > 0 else 3
        rank = (turn, -value / (cost + 0.1), entry.index)
        limits = _limits(state, entry, left, entry.fit_time)
    else:
        return []
    return [(rank, Job("validate", entry, (fold,), limit=limits[0], max_time=limits[1]))]


def next_fold(state, entry):
    """The first fold that is not trained to the end; repeats count only for a voting candidate."""
    for number, fold in enumerate(state.folds):
        if number not in entry.final and (fold.repeat == 0 or entry.weight > 0):
            return number
    return None


def wants_refit_elsewhere(state, entry):
    """Whether a voting candidate should be trained on all rows in a worker."""
    folds = state.folds_of(0)
    return (
        state.refit
        and bool(folds)
        and entry.weight > 0
        and entry.full_model is None
        and entry.final.issuperset(folds)
    )


def has_work_elsewhere(state, entry):
    """Whether a candidate has, or may get, a job in a worker."""
    if entry.where != "worker" or entry.failed:
        return False
    untrained = not state.folds and entry.full_model is None
    return (
        entry.running
        or untrained
        or next_fold(state, entry) is not None
        or wants_refit_elsewhere(state, entry)
    )


def _features_ready(state, entry):
    features = entry.shared
    if features is None:
        return True
    if features.error is not None:
        return False
    running = state.here.entry if state.here is not None else None
    growing = running.features.parts if running is not None and running.features else ()
    grows = any(part in growing for part in features.parts)
    return features.level == state.n_total or (
        features.level > 0 and not grows and _next_level(state, entry) is None
    )


def _first_limits(state, entry, n_untried):
    """Limits of a candidate's first training: a fair share of the remaining time."""
    share = min(state.left * state.capacity / max(n_untried, 1), state.left)
    later = len(state.folds) > 1 or (state.refit and bool(state.folds))
    if later and n_untried <= state.capacity:
        share *= 0.5
    return _limits(state, entry, share, 0.9 * share)


def _limits(state, entry, patience, expected):
    """(limit, max_time) in seconds; `limit` leaves some slack beyond the `max_time` it is told."""
    if not entry.takes_max_time:
        return max(2.0 * patience, PATIENCE * state.budget) * 2 ** _misses(entry), None
    max_time = max(min(expected, state.left - 0.5), 0.1)
    return min(1.25 * max_time + 3.0 + entry.candidate.startup, state.left + 1.0), max_time


# ---------------------------------------------------------------- expectations


def gain(state, entry):
    """How much a job may improve the ensemble, without unit: it only ranks candidates."""
    expected = expected_gain(entry)
    level = entry.level(state.folds_of(0))
    if 0 < level <= state.race_level:
        raced = [e.score for e in state.racers if 0 < e.member_level <= state.race_level]
        behind = max(raced, default=entry.score) - entry.score
        return expected * (1.0 if np.isnan(behind) else math.exp(-behind / 0.2))
    if level:  # a second look, with more rows
        return expected * (0.5 if entry.weight > 0 else 0.1)
    scored = [other for other in state.entries if not np.isnan(other.score)]
    tried = [e.score for e in scored if e.source is not None and e.source is entry.source]
    if tried:
        behind = max(other.score for other in scored) - max(tried)
        expected *= math.exp(-behind / 0.1) / (1 + 0.5 * len(tried))
    return expected


def expected_gain(entry):
    """The gain of a candidate of which nothing is known yet, by its hints."""
    return entry.candidate.gain * 0.5**entry.candidate.stage


def validation_cost(state, entry, level, folds=None):
    """Expected seconds until a candidate is validated on `level` rows."""
    folds = state.folds_of(0) if folds is None else folds
    cost = embedding_cost(state, entry.features, level)
    if entry.where == "worker":
        return cost
    cost += _variants_cost(state, entry, level)
    n_rows = sum(state.n_trained(fold, level) for fold in folds)
    return cost + n_rows * unit_cost(state, entry)


def embedding_cost(state, features, level):
    """Expected seconds until there are features of `level` rows."""
    parts = [] if features is None else features.unfinished(level)
    return sum((state.mass[level] - state.mass[part.level]) * _rate(state, part) for part in parts)


def _variants_cost(state, entry, level):
    """Expected seconds that an estimator takes to embed its variants of clips, the first time.

    It embeds the clips themselves, too, where no other candidate has.
    """
    variants = entry.variants
    if variants is None or entry.fit_times:
        return 0.0
    rate = sum(_rate(state, part) for part in variants.features.parts)
    cost = embedding_cost(state, variants.features, level)
    return cost + variants.n_times * state.mass[level] * rate


def refit_cost(state, entry):
    """Expected seconds to train on all rows; where nothing is measured, with their embedding."""
    cost = embedding_cost(state, entry.features, state.n_total)
    times = {n: seconds for n, seconds in entry.fit_times.items() if not state.folds[n].repeat}
    if not times:
        cost += _variants_cost(state, entry, state.n_total)
        return cost + state.n_train * unit_cost(state, entry)
    n_rows = np.mean([state.n_trained(fold, entry.levels[fold]) for fold in times])
    level = state.n_total if entry.shared is None else entry.shared.level
    n_known = state.n_train * level / state.n_total  # rows of which there are features
    return 1.1 * np.mean(list(times.values())) * n_known / max(n_rows, 1)


def unit_cost(state, entry):
    """Seconds per training row: measured on this or a similar candidate, else hinted or guessed."""
    if entry.fit_times:
        n_rows = np.mean([state.n_trained(n, entry.levels[n]) for n in entry.fit_times])
        return entry.fit_time / max(n_rows, 1)
    n_times = 1 if entry.variants is None else 1 + entry.variants.n_times
    kind = kind_of(entry)
    if kind in state.unit_costs:
        cost, n_columns = state.unit_costs[kind]
        own, cost = n_columns_of(entry), cost * n_times
        if not (own and n_columns):
            return cost
        few_rows = n_times * state.n_train < min(own, n_columns)
        return cost * (own / n_columns) ** (FEW_ROWS_POWER if few_rows else COLUMN_POWER)
    hint = entry.candidate.cost
    return hint if hint is not None else DEFAULT_UNIT_COST * n_times


def n_columns_of(entry):
    """Number of features that its estimator gets; None if that is not known yet."""
    return entry.source.n_columns if entry.source is not None else None


def kind_of(entry):
    """The class of the final estimator; candidates of the same kind are expected to cost alike."""
    estimator = entry.estimator if entry.variants is None else entry.variants.classifier
    while isinstance(estimator, Pipeline):
        estimator = estimator.steps[-1][1]
    return type(estimator)


def _cost_elsewhere(state, entry):
    if entry.fit_times:
        return entry.fit_time
    n_rows = len(state.folds[0].train) if state.folds else state.n_train
    cost = _variants_cost(state, entry, n_rows)
    return cost + n_rows * (entry.candidate.cost or 1e-3) + entry.candidate.startup


def _rate(state, features):
    """Seconds per row of a part: measured, else the median of other parts, else guessed."""
    if features.rate is not None:
        return features.rate
    rates = [f.rate for f in state.all_features if f.rate is not None and len(f.parts) == 1]
    return float(np.median(rates)) if rates else DEFAULT_RATE


def _patience(state, entry, cost):
    """Seconds after which a job of this process is given up.

    Imports and weight loading are not the candidate's fault, so shared steps that run for the first
    time get longer. They get all the remaining time if no other candidate could go on without
    imports of its own.
    """
    limit = max(3 * cost, PATIENCE * state.budget)
    features = entry.source
    if features is not None and not features.warm:
        could_go_on = any(other.source is None or other.source.warm for other in state.able_here)
        limit = min(max(limit, COLD_START), (0.8 if could_go_on else 1.0) * state.left)
    return limit * 2 ** _misses(entry)
