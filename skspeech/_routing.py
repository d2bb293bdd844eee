"""How to pass groups and weights to an estimator's `fit`: the only place that decides it."""

from inspect import Parameter, signature

from sklearn import get_config
from sklearn.pipeline import Pipeline
from sklearn.utils.metadata_routing import (
    MetadataRouter,
    MethodMapping,
    get_routing_for_object,
)
from sklearn.utils.validation import has_fit_parameter

from skspeech._sklearn import BaseSearchCV

__all__ = ["fit_params_for", "splits_groups"]


def fit_params_for(estimator, *, groups=None, sample_weight=None, owner=None):
    """Make the keyword arguments that pass groups and weights to an estimator's `fit`.

    With scikit-learn's metadata routing they go where they are requested. Without it, they go to
    every step of a pipeline, also of nested pipelines, that has such a parameter. The splitter of a
    search gets groups if it keeps them whole.

    Parameters
    ----------
    estimator : estimator
        The estimator whose `fit` will be called.
    groups : array-like of shape (n_samples,), default=None
        Group of each row.
    sample_weight : array-like of shape (n_samples,), default=None
        Weight of each row.
    owner : str, default=None
        Who is asking. With one, what the estimator takes but neither requests nor declines is
        scikit-learn's error, as in its own estimators; else it is left out.

    Returns
    -------
    dict
        For ``estimator.fit(X, y, **params)``. Without what nothing takes.

    Examples
    --------
    >>> from sklearn.pipeline import make_pipeline
    >>> from sklearn.preprocessing import Normalizer
    >>> from skspeech import ShrinkageDiscriminantAnalysis
    >>> from skspeech._routing import fit_params_for
    >>> pipeline = make_pipeline(Normalizer(), ShrinkageDiscriminantAnalysis())
    >>> fit_params_for(pipeline, groups=[1, 1, 2])
    {'shrinkagediscriminantanalysis__groups': [1, 1, 2]}
    """
    given = {"groups": groups, "sample_weight": sample_weight}
    given = {name: value for name, value in given.items() if value is not None}
    if not given:
        return {}
    if get_config()["enable_metadata_routing"]:
        if owner is not None:
            to_fit = MethodMapping().add(caller="fit", callee="fit")
            router = MetadataRouter(owner=owner).add(estimator=estimator, method_mapping=to_fit)
            return dict(router.route_params(caller="fit", params=given).estimator.fit)
        consumed = get_routing_for_object(estimator).consumes("fit", given)
        return {name: value for name, value in given.items() if name in consumed}
    return _by_signature(estimator, given)


def splits_groups(estimator, fit_params):
    """Name what in an estimator may hold out rows of a group and train on others of it.

    Parameters
    ----------
    estimator : estimator
        The estimator whose `fit` will be called.
    fit_params : dict
        What `fit_params_for` made of its groups.

    Returns
    -------
    list of str
        Classes, such as ``"CalibratedClassifierCV"``.

    Examples
    --------
    >>> from sklearn.calibration import CalibratedClassifierCV
    >>> from skspeech import ShrinkageDiscriminantAnalysis
    >>> from skspeech._routing import splits_groups
    >>> splits_groups(CalibratedClassifierCV(ShrinkageDiscriminantAnalysis()), {})
    ['CalibratedClassifierCV', 'ShrinkageDiscriminantAnalysis']
    """
    reached = any(name.rpartition("__")[2] == "groups" for name in fit_params)
    names = set()
    for part in [estimator, *estimator.get_params().values()]:
        if not hasattr(part, "fit"):
            continue
        cv = getattr(part, "cv", "prefit")
        if has_fit_parameter(part, "groups"):
            splits = not reached
        else:
            splits = not isinstance(cv, str) and not _keeps_groups(cv)
        if splits:
            names.add(type(part).__name__)
    return sorted(names)


def _by_signature(estimator, given):
    if isinstance(estimator, Pipeline):
        steps = [(name, step) for name, step in estimator.steps if hasattr(step, "fit")]
        return {
            f"{name}__{key}": value
            for name, step in steps
            for key, value in _by_signature(step, given).items()
            if step is estimator.steps[-1][1] or _passes_on(step, key)
        }
    if isinstance(estimator, BaseSearchCV):
        # The key "groups" goes only to the splitter; a pipeline's step has another key.
        params = {
            key: value
            for key, value in _by_signature(estimator.estimator, given).items()
            if key != "groups"
        }
        if "groups" in given and _keeps_groups(estimator.cv):
            params["groups"] = given["groups"]
        return params
    return {name: value for name, value in given.items() if has_fit_parameter(estimator, name)}


def _passes_on(transformer, key):
    """Whether `fit_transform`, which a pipeline calls instead of `fit`, takes `key` too."""
    if not hasattr(transformer, "fit_transform"):
        return True
    parameters = signature(transformer.fit_transform).parameters
    return key in parameters or any(
        parameter.kind is Parameter.VAR_KEYWORD for parameter in parameters.values()
    )


def _keeps_groups(cv):
    if not hasattr(cv, "split"):
        return False  # a number of folds, or index pairs
    if hasattr(cv, "get_metadata_routing"):
        return bool(get_routing_for_object(cv).consumes("split", ["groups"]))
    return "groups" in signature(cv.split).parameters
