"""Select the members and their weights from held-out probabilities."""

from skspeech.ensemble.blending import blend_log_probas, log_probas
from skspeech.ensemble.scoring import ProbabilityScore, cross_fitted_score, is_better
from skspeech.ensemble.selection import (
    greedy_selection,
    least_loss_selection,
    select_members,
    threshold_selection,
)

__all__ = [
    "ProbabilityScore",
    "blend_log_probas",
    "cross_fitted_score",
    "greedy_selection",
    "is_better",
    "least_loss_selection",
    "log_probas",
    "select_members",
    "threshold_selection",
]
