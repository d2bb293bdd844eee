"""The members of a voting ensemble: what they must be, what their `fit` gets, what they predict."""

import time

import numpy as np
from sklearn import get_config
from sklearn.base import is_classifier
from sklearn.utils.metadata_routing import process_routing

from skspeech._labels import unknown_labels
from skspeech._routing import fit_params_for
from skspeech._warning import warn
from skspeech.ensemble.blending import check_probabilities, check_weights

__all__ = [
    "active_weights",
    "check_members",
    "columns_of",
    "fit_member",
    "is_dropped",
    "kept",
    "predict_proba_of",
    "route",
]


def is_dropped(member):
    """Whether this stands in place of a member that is left out."""
    return isinstance(member, str) and member == "drop"


def kept(estimators):
    """The (name, member) pairs without those that are dropped."""
    return [(name, member) for name, member in estimators if not is_dropped(member)]


def active_weights(ensemble):
    """Weights of a fitted ensemble's members, without those that are dropped."""
    members = ensemble.named_estimators_.values()
    weights = check_weights(ensemble.weights, len(members), "estimators")
    return weights[[not is_dropped(member) for member in members]]


def check_members(ensemble):
    """Check an ensemble's members and weights before anything is trained."""
    estimators = ensemble.estimators
    for item in estimators:
        if not (isinstance(item, tuple | list) and len(item) == 2 and isinstance(item[0], str)):
            raise ValueError(
                f"estimators holds {item!r}; each item must be a (name, classifier) tuple."
            )
    names = [name for name, _ in estimators]
    ensemble._validate_names(names)
    members = dict(kept(estimators))
    if not members:
        raise ValueError(
            f"estimators={estimators!r} has no classifier in it; at least one is needed that is "
            "not 'drop'."
        )
    for name, member in members.items():
        if not is_classifier(member):
            raise ValueError(f"The member {name!r} ({member!r}) should be a classifier.")
        if not hasattr(member, "predict_proba"):
            raise ValueError(
                f"The member {name!r} ({member!r}) has no predict_proba, which the geometric mean "
                "needs. Wrap it in sklearn.calibration.CalibratedClassifierCV."
            )
    weights = check_weights(ensemble.weights, len(names), "estimators")
    if not any(weights[names.index(name)] for name in members):
        raise ValueError(
            f"weights={ensemble.weights!r} leaves only members that are dropped; give one of "
            f"{list(members)} a weight above zero."
        )


def route(ensemble, fit_params):
    """Each member's `fit` arguments, by the member's name."""
    if get_config()["enable_metadata_routing"]:
        routed = process_routing(ensemble, "fit", **fit_params)
        return {name: routed[name].fit for name, _ in ensemble.estimators}
    unknown = sorted(set(fit_params) - {"sample_weight", "groups"})
    if unknown:
        raise ValueError(
            f"fit got the arguments {unknown}, which reach members only by metadata routing. Turn "
            "it on by sklearn.set_config(enable_metadata_routing=True), and let members ask by "
            "set_fit_request."
        )
    members = kept(ensemble.estimators)
    params = {name: fit_params_for(member, **fit_params) for name, member in members}
    if "sample_weight" in fit_params:
        _check_weighted(params)
    return params


def _check_weighted(params_by_name):
    """Warn of the members that take no weights; raise a TypeError if none takes them."""
    without = [
        name
        for name, params in params_by_name.items()
        if not any(key.rpartition("__")[2] == "sample_weight" for key in params)
    ]
    listed = ", ".join(map(repr, without))
    if len(without) == len(params_by_name):
        raise TypeError(f"No member takes sample_weight; there are {listed}. Fit without it.")
    if without:
        warn(
            f"The members {listed} do not take sample_weight and are trained as if all samples "
            "counted alike. Leave them out if they should not be."
        )


def fit_member(name, member, X, y, fit_params, verbose):
    """Fit a member, and say how long that took if it is to be said."""
    start = time.perf_counter()
    member.fit(X, y, **fit_params)
    if verbose:
        print(f"[GeometricMeanVotingClassifier] {name}: {time.perf_counter() - start:.1f} s")
    return member


def columns_of(name, member, classes):
    """The positions of a fitted member's classes among all classes."""
    if unknown := unknown_labels(member.classes_, classes):
        raise ValueError(
            f"The member {name!r} has seen classes that are not among classes={classes.tolist()}: "
            f"{unknown}."
        )
    return np.searchsorted(classes, member.classes_)


def predict_proba_of(name, member, columns, classes, X):
    """A member's probabilities of all classes, (n_samples, n_classes); 0 where it has no column."""
    proba = np.asarray(member.predict_proba(X), dtype=np.float64)
    # Not the repr of the member, which would take longer than its prediction.
    kind = type(member).__name__
    check_probabilities(proba, f"predict_proba of the member {name!r} ({kind})")
    aligned = np.zeros((len(proba), len(classes)))
    aligned[:, columns] = proba
    return aligned
