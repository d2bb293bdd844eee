"""Successive halving: many settings are tried for a while, and the best of them for longer."""

import numpy as np

from skspeech.estimators.fine_tuned.training import Choices, choices_of

__all__ = ["search"]

# What it draws from, how many it draws, one of how many stays in each round, and how many are
# averaged in the end.
_SPACE = {
    "hidden_layers": [(), (128,), (128, 64)],
    "activation": ["tanh", "none"],
    "dropout": [0.2, 0.5],
    "freeze": [0.0, 0.5, 0.8],
    "optimizer": ["adamw", "adam", "sgd"],
    "learning_rate": [1e-4, 3e-4, 1e-3],  # of Adam; SGD takes a hundred times as much
    "batch_size": [8, 16, 32],
    "crop": [1.6, 3.0, 7.0],
}
_N_DRAWN, _REDUCTION, _N_AVERAGED = 16, 4, 3
_SGD_FACTOR = 100.0
# An epoch of training takes about so many looks at all clips.
_EPOCH_PASSES = 4.0


def search(run):
    """Draw settings, train each for a while, the best for longer, and average the best.

    A generator, which yields each time the classifier predicts better.

    Parameters
    ----------
    run : Run
    """
    if run.is_perfect():
        return
    clf, seconds = run.classifier, run.seconds()
    n_drawn = _N_DRAWN
    if np.isfinite(seconds):
        longest = _EPOCH_PASSES * run.pass_seconds
        n_drawn = int(np.clip(seconds / 2 / max(longest, 1e-3), 1, _N_DRAWN))
    drawn = [choices_of(clf), *(_draw(clf, run.data.rng) for _ in range(n_drawn - 1))]
    trials = [(choices, run.frozen) for choices in drawn]
    n_epochs = max(1, clf.max_epochs // _REDUCTION)
    found = yield from _round(run, trials, n_epochs, seconds / 2)
    found = found[: max(_N_AVERAGED, len(drawn) // _REDUCTION)]
    trials = [(Choices(**one.kept["choices"]), one.kept) for one in found]
    more = yield from _round(run, trials, clf.max_epochs, seconds / 2)
    ranked = sorted([*more, *found], key=lambda one: one.score, reverse=True)
    if ranked:
        yield from run.average(ranked[:_N_AVERAGED])


def _draw(classifier, rng):
    """Settings at random."""
    drawn = {name: values[rng.randint(len(values))] for name, values in _SPACE.items()}
    if drawn["optimizer"] == "sgd":
        drawn["learning_rate"] *= _SGD_FACTOR
    return choices_of(classifier, **drawn)


def _round(run, trials, n_epochs, seconds):
    """Train several networks in turn; those found, best first."""
    deadline = run.time_left() - seconds if np.isfinite(seconds) else -np.inf
    found = []
    for i, (choices, initial) in enumerate(trials):
        own = (run.time_left() - deadline) / (len(trials) - i)
        one = yield from run.learn(choices, initial, run.schedule(n_epochs, own))
        if one is not None:
            found.append(one)
    return sorted(found, key=lambda one: one.score, reverse=True)
