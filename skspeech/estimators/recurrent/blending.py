"""Which snapshots of the recurrent approach are averaged, and how."""

import numpy as np
from sklearn.metrics import roc_auc_score

from skspeech.ensemble.blending import geometric_mean
from skspeech.estimators.training.balanced import FLOOR

__all__ = [
    "BELOW_START",
    "auc_score",
    "blend",
    "choose_snapshots",
]

# How far below the start a snapshot may score, and how far the average of several may.
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
        From -1 to 1; 0 is chance. If `codes` has only one class, twice its recall, less 1.
    """
    true = np.eye(proba.shape[1], dtype=int)[codes]
    judged = np.flatnonzero((true.min(axis=0) == 0) & (true.max(axis=0) == 1))
    if not len(judged):
        return float(2 * np.mean(proba.argmax(axis=1) == codes) - 1)
    return float(np.mean([2 * roc_auc_score(true[:, k], proba[:, k]) - 1 for k in judged]))


def choose_snapshots(scores, losses, networks, start_score, *, n_best=5):
    """Choose which snapshots are averaged.

    Only snapshots that score above 0, and above the start's score less 0.1, are considered. Chosen
    are the `n_best` of them with the lowest loss, and up to three more, which have to be among the
    best two of their network. They are not ranked by score, because on few clips many reach 1.

    Parameters
    ----------
    scores : list of float
        As from :func:`auc_score`.
    losses : list of float
        As from :func:`~skspeech.estimators.training.balanced.balanced_log_loss`.
    networks : list of str
        The network of each snapshot.
    start_score : float
        Score of the logistic regression.
    n_best : int, default=5
        How many.

    Returns
    -------
    list of int
        Positions, the best first; empty if none qualifies.
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
        Which mean. The geometric one raises values below 1e-6 to it, so that none has a veto.

    Returns
    -------
    ndarray of shape (n_clips, n_classes)
        Each row sums to 1.
    """
    if mean == "arithmetic":
        return np.mean(probas, axis=0, dtype=np.float64)
    return geometric_mean(probas, floor=FLOOR)
