"""What a report needs to know about a model."""

from sklearn.frozen import FrozenEstimator

from skspeech.ensemble import GeometricMeanVotingClassifier
from skspeech.ensemble.members import active_weights
from skspeech.unknown import UnknownRejector

__all__ = ["members_of", "trained"]


def trained(model):
    """The trained classifier; of a rejector, its classifier of the known classes."""
    while isinstance(model, UnknownRejector | FrozenEstimator):
        model = model.estimator_ if isinstance(model, UnknownRejector) else model.estimator
    return model


def members_of(model):
    """Weights and classifiers of the members; the model itself if it is not an ensemble."""
    ensemble = getattr(model, "ensemble_", model)
    if not isinstance(ensemble, GeometricMeanVotingClassifier):
        return [(1.0, model)]
    return list(zip(active_weights(ensemble), ensemble.estimators_))
