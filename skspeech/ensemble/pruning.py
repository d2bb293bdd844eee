"""Make an ensemble faster: keep the members that together predict most like all of them."""

import itertools
import time

import numpy as np
from sklearn.utils import _safe_indexing

from skspeech.audio import as_clips
from skspeech.audio.rates import ready_for, sampling_rate_of, takes_clips
from skspeech.ensemble.blending import geometric_mean
from skspeech.ensemble.members import active_weights, kept

__all__ = ["prune_to_time"]

MEASURED = 5  # rows that are predicted one by one, to measure the time for one
_turns = itertools.count(1)


def prune_to_time(ensemble, X, max_seconds):
    """Keep the members that together predict one row in time, and most like all of them.

    The first is the member whose predictions are closest to those of the whole ensemble. Each step
    adds the one that brings them closest, if there is time for it. No labels are needed. The time
    of the members together is measured, since networks run side by side.

    Parameters
    ----------
    ensemble : GeometricMeanVotingClassifier
        Fitted.
    X : sequence of clips, or array-like of shape (n_samples, n_features)
        Rows that the ensemble was not trained on: on its training rows, all members agree. The
        first few are predicted one by one, to measure how long that takes on this machine.
    max_seconds : float
        Limit for predicting one row.

    Returns
    -------
    GeometricMeanVotingClassifier
        The members that are kept, with their weights.

    Raises
    ------
    ValueError
        If no single member is quick enough.
    """
    names = [name for name, _ in kept(ensemble.named_estimators_.items())]
    probas, weights = ensemble._collect_probas(X), active_weights(ensemble)
    whole = geometric_mean(probas, weights, floor=ensemble.floor)
    own = [_seconds_for_one(member, X) for member in ensemble.estimators_]
    quick = [i for i in range(len(names)) if weights[i] > 0 and own[i] <= max_seconds]
    if not quick:
        raise ValueError(
            f"predict_time_budget={max_seconds:g} is less than the {min(own):.2g} seconds that the "
            "quickest member takes for one."
        )

    def part_of(members):
        return type(ensemble).from_fitted(
            [(names[i], ensemble.estimators_[i]) for i in members],
            weights=weights[members],
            classes=ensemble.classes_,
            floor=ensemble.floor,
            temperature=getattr(ensemble, "temperature_", 1.0),  # older pickles have none
        )

    def change(members):
        return _divergence(
            whole, geometric_mean(probas[members], weights[members], floor=ensemble.floor)
        )

    chosen, pool = [], quick
    while pool:
        best = min(pool, key=lambda i: change([*chosen, i]))
        pool.remove(best)
        if not chosen or _seconds_for_one(part_of([*chosen, best]), X) <= max_seconds:
            chosen.append(best)
    return part_of(sorted(chosen))


def _seconds_for_one(classifier, X):
    """Median seconds that `classifier` takes to predict one row, after a warm-up."""
    times = []
    for row in [0, *range(min(MEASURED, len(X)))]:
        new = _new_row(classifier, X, row)
        begin = time.perf_counter()
        classifier.predict_proba(new)
        times.append(time.perf_counter() - begin)
    return float(np.median(times[1:]))


def _new_row(classifier, X, row):
    """A row that is in no cache yet: a clip is made slightly louder each time."""
    if getattr(X, "ndim", 1) == 1 or takes_clips(classifier):
        try:
            clips = as_clips(X, sampling_rate=sampling_rate_of(classifier))
            return ready_for(classifier)([clips[row].load() * (1 + 1e-5 * next(_turns))])
        except (TypeError, ValueError):  # the rows are no clips
            pass
    return _safe_indexing(X, [row])


def _divergence(whole, part):
    """Mean Kullback-Leibler divergence of some members' predictions from those of all."""
    tiny = np.finfo(float).tiny
    return float(np.mean(np.sum(whole * np.log((whole + tiny) / (part + tiny)), axis=1)))
