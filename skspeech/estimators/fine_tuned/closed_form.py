"""A linear head in closed form, for features of a network as it is."""

import numpy as np
from scipy.optimize import minimize_scalar
from scipy.special import log_softmax

from skspeech.estimators.discriminant import ShrinkageDiscriminantAnalysis

__all__ = ["LABEL_SMOOTHING", "closed_form"]

LABEL_SMOOTHING = 0.1
_SHRINKAGE = 0.5  # of the covariance matrix


def closed_form(rows, codes, temperature=None):
    """Weights and constants of a linear head by discriminant analysis, and its temperature."""
    calibrate = 5 if temperature is None else False
    model = ShrinkageDiscriminantAnalysis(_SHRINKAGE, calibrate=calibrate).fit(rows, codes)
    temperature = model.temperature_ if temperature is None else temperature
    weights, constants = model.coef_, model.intercept_
    if calibrate is False:
        weights, constants = weights / temperature, constants / temperature
    if len(weights) == 1:  # the log odds of the second of two classes
        weights, constants = (np.concatenate([-x / 2, x / 2]) for x in (weights, constants))
    factor = _cautious_factor(rows @ weights.T + constants, codes)
    return (
        (factor * weights).astype(np.float32),
        (factor * constants).astype(np.float32),
        temperature,
    )


def _cautious_factor(logits, codes):
    """A factor of at most 1 that makes logits no more confident than smoothed labels would.

    Classes that are easily told apart give unbounded logits, and training that starts from these
    could only learn to scale them.
    """

    def loss(log_factor):
        log_probas = log_softmax(np.exp(log_factor) * logits, axis=1)
        own = log_probas[np.arange(len(codes)), codes].mean()
        return -(1 - LABEL_SMOOTHING) * own - LABEL_SMOOTHING * log_probas.mean()

    return float(np.exp(minimize_scalar(loss, bounds=(-12.0, 0.0), method="bounded").x))
