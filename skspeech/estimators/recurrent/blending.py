"""Which snapshots of the recurrent approach are averaged, and how."""

import numpy as np
from scipy.special import logsumexp
from scipy.stats import rankdata

__all__ = [
    "BELOW_START",
    "auc_score",
    "blend",
    "choose_snapshots",
    "floored_log",
]

_FLOOR = 1e-6
# How far below the start a snapshot may score, and the average of several.
BELOW_START = 0.1
# Snapshots beyond the best ones, and how many of each network are looked at for them.
_MOST_EXTRA, _EXTRA_PER_NETWORK = 3, 2


def auc_score(codes, proba):
    """Twice the area under the ROC curve less 1, averaged over the classes, one against the rest.

    Parameters
    ----------
    codes : ndarray of shape (n_clips,), int
        The true classes.
    proba : ndarray of shape (n_clips, n_classes)
        Probabilities.

    Returns
    -------
    float
        From -1 to 1; 0 is chance. Where only one class is in `codes`, twice the share of it that is
        recognised, less 1.
    """
    n_classes = proba.shape[1]
    true = np.eye(n_classes, dtype=bool)[codes]
    n_true = true.sum(axis=0)
    judged = (n_true > 0) & (n_true < len(codes))
    if not judged.any():
        return float(2 * np.mean(proba.argmax(axis=1) == codes) - 1)
    ranks = rankdata(proba[:, judged], axis=0)
    n_true = n_true[judged]
    above = (ranks * true[:, judged]).sum(axis=0) - n_true * (n_true + 1) / 2
    return float(2 * np.mean(above / (n_true * (len(codes) - n_true))) - 1)


def floored_log(proba):
    """Logarithms of probabilities, of which 0 counts as 1e-6."""
    return np.log(np.maximum(proba, _FLOOR))


def choose_snapshots(scores, losses, networks, start_score, *, n_best=5):
    """Choose which snapshots are averaged.

    Those count that score above 0 and above the start less 0.1: the `n_best` of them with the
    least loss, and up to three more, which have to be among the best two of their network. Scores
    do not rank them, because on few clips many reach 1.

    Parameters
    ----------
    scores : list of float
        As from :func:`auc_score`.
    losses : list of float
        As from :func:`~skspeech.estimators.training.balanced.balanced_log_loss`.
    networks : list of str
        What each is a snapshot of.
    start_score : float
        Score of the logistic regression.
    n_best : int, default=5
        How many.

    Returns
    -------
    list of int
        Positions, from the best on; empty if none counts.
    """
    ranked = np.argsort(losses, kind="stable").tolist()
    ranked = [i for i in ranked if scores[i] > max(0.0, start_score - BELOW_START)]
    of_network = {}
    for i in ranked:
        of_network.setdefault(networks[i], []).append(i)
    leading = {i for members in of_network.values() for i in members[:_EXTRA_PER_NETWORK]}
    extra = [i for i in ranked[n_best:] if i in leading]
    return ranked[:n_best] + extra[:_MOST_EXTRA]


def blend(probas, mean):
    """Average the probabilities of several snapshots.

    Parameters
    ----------
    probas : list of ndarray of shape (n_clips, n_classes)
        At least one.
    mean : {"arithmetic", "geometric"}
        Which mean. The geometric one takes less than 1e-6 as 1e-6, so that none has a veto.

    Returns
    -------
    ndarray of shape (n_clips, n_classes)
        Each row sums to 1.
    """
    probas = np.asarray(probas, dtype=np.float64)
    if mean == "arithmetic":
        return probas.mean(axis=0)
    logs = floored_log(probas).mean(axis=0)
    return np.exp(logs - logsumexp(logs, axis=1, keepdims=True))
