"""Weights of the network of `MixupCNNClassifier` and of the linear model it starts with."""

import math

import numpy as np
from scipy.optimize import minimize_scalar
from scipy.special import log_softmax

from skspeech.ensemble.scoring import balanced_accuracy
from skspeech.estimators.training.balanced import balanced_log_loss

__all__ = ["calibrated", "fit_blend", "loss_error"]

_LOG_POWERS = (-3.0, 1.0)


def loss_error(codes, log_probas):
    """Standard error of the mean loss."""
    return float(log_probas[np.arange(len(codes)), codes].std() / math.sqrt(len(codes)))


def fit_blend(log_network, log_start, codes):
    """Weights of the two in the geometric mean, from held-out clips.

    Each model is first calibrated. Then the fewer mistakes it makes, the more it counts. The
    weights with the lowest loss would differ, and would be worse on clips that differ more from the
    training clips than the held-out ones do: the linear model recognizes a known speaker who says
    something else well, but does poorly on what another speaker says.
    """
    members = log_network, log_start
    certainties = np.array([_fit_certainty(member, codes) for member in members])
    right = np.array([balanced_accuracy(member, codes) for member in members])
    mistakes = 1 - right + 1 / len(codes)
    return certainties * mistakes[::-1] / mistakes.sum()


def calibrated(log_probas, codes):
    return log_softmax(_fit_certainty(log_probas, codes) * log_probas, axis=1)


def _fit_certainty(log_probas, codes):
    """The power of the probabilities that gives the lowest log loss."""

    def loss(log_power):
        return balanced_log_loss(codes, log_softmax(np.exp(log_power) * log_probas, axis=1))

    return float(np.exp(minimize_scalar(loss, bounds=_LOG_POWERS, method="bounded").x))
