"""An ensemble that is too slow for its task: leave members out, and keep the answers."""

import itertools
import time

import numpy as np
from sklearn.utils import _safe_indexing

from skspeech.audio import as_clips
from skspeech.ensemble.blending import geometric_mean

__all__ = ["prune_to_time"]

MEASURED = 5  # rows that are predicted one by one, for the time that one takes
_turns = itertools.count(1)


def prune_to_time(ensemble, X, max_seconds):
    """Leave members out until one row is predicted in time.

    The member goes whose absence changes the answers least for the time that it takes; no labels
    are needed. What counts is the time of the whole, since networks run side by side.

    Parameters
    ----------
    ensemble : GeometricMeanVotingClassifier
        Fitted.
    X : sequence of clips, or array-like of shape (n_samples, n_features)
        On these, answers should stay. The first few are predicted one by one, to see how long that
        takes on this machine.
    max_seconds : float
        For one row.

    Returns
    -------
    GeometricMeanVotingClassifier
        Of those that stay, with their weights.

    Raises
    ------
    ValueError
        If no member alone is quick enough.
    """
    names = [name for name, member in ensemble.estimators if not isinstance(member, str)]
    probas, weights = ensemble._collect_probas(X), ensemble._active_weights()
    whole = geometric_mean(probas, weights, floor=ensemble.floor)
    own = [_seconds_for_one(member, X) for member in ensemble.estimators_]
    kept = [i for i in range(len(names)) if weights[i] > 0 and own[i] <= max_seconds]
    if not kept:
        raise ValueError(
            f"predict_time_budget={max_seconds:g} is less than the {min(own):.2g} seconds that the "
            "quickest member takes for one."
        )

    def change_without(member):
        rest = [i for i in kept if i != member]
        part = geometric_mean(probas[rest], weights[rest], floor=ensemble.floor)
        return _divergence(whole, part) / own[member]

    while True:
        part = type(ensemble).from_fitted(
            [(names[i], ensemble.estimators_[i]) for i in kept],
            weights=weights[kept],
            classes=ensemble.classes_,
            floor=ensemble.floor,
            temperature=ensemble.temperature_,
        )
        if len(kept) == 1 or _seconds_for_one(part, X) <= max_seconds:
            return part
        kept.remove(min(kept, key=change_without))


def _seconds_for_one(classifier, X):
    """Median of the seconds that `classifier` takes to predict one row, when it is warm."""
    times = []
    for row in [0, *range(min(MEASURED, len(X)))]:
        new = _new_row(X, row)
        begin = time.perf_counter()
        classifier.predict_proba(new)
        times.append(time.perf_counter() - begin)
    return float(np.median(times[1:]))


def _new_row(X, row):
    """A row that nobody has computed yet: a clip is a little louder than the last time."""
    if getattr(X, "ndim", 1) == 1:
        try:
            return [as_clips(_safe_indexing(X, [row]))[0].load() * (1 + 1e-5 * next(_turns))]
        except (TypeError, ValueError):  # no clips
            pass
    return _safe_indexing(X, [row])


def _divergence(whole, part):
    """How far some members' answers are from those of all: mean Kullback-Leibler divergence."""
    tiny = np.finfo(float).tiny
    return float(np.mean(np.sum(whole * np.log((whole + tiny) / (part + tiny)), axis=1)))
