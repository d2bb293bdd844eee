"""Find the estimators and functions of the package."""

import inspect
import pkgutil
from collections.abc import Callable
from importlib import import_module

from sklearn.base import BaseEstimator, ClassifierMixin, ClusterMixin, TransformerMixin

import skspeech

__all__ = ["all_estimators", "all_functions"]

_TYPES = {
    "classifier": ClassifierMixin,
    "cluster": ClusterMixin,
    "transformer": TransformerMixin,
}


def all_estimators(type_filter: str | list[str] | None = None) -> list[tuple[str, type]]:
    """List every estimator of the package, as :func:`sklearn.utils.discovery.all_estimators` does.

    A class is found if it is a concrete scikit-learn estimator in the ``__all__`` of the package or
    of one of its modules or sub-packages. All of these are imported.

    Parameters
    ----------
    type_filter : {"classifier", "cluster", "transformer"}, list of these, or None, default=None
        Which kinds of estimators to list; None lists all.

    Returns
    -------
    estimators : list of (str, type)
        Names and classes, sorted by name.

    Raises
    ------
    ValueError
        If `type_filter` is or contains something else.

    Examples
    --------
    >>> from skspeech.utils import all_estimators
    >>> "SpeakerEmbeddingClassifier" in dict(all_estimators("classifier"))
    True
    """
    wanted = _mixins(type_filter)
    return [
        (name, item)
        for name, item in _public_items()
        if inspect.isclass(item)
        and issubclass(item, BaseEstimator)
        and not inspect.isabstract(item)
        and issubclass(item, wanted)
    ]


def all_functions() -> list[tuple[str, Callable]]:
    """List every public function of the package.

    A function is found if it is in the ``__all__`` of one of the package's modules or sub-packages.
    All of these are imported.

    Returns
    -------
    functions : list of (str, callable)
        Names and functions, sorted by name.

    Examples
    --------
    >>> from skspeech.utils import all_functions
    >>> "make_tones" in dict(all_functions())
    True
    """
    return [(name, item) for name, item in _public_items() if inspect.isroutine(item)]


def _mixins(type_filter):
    if type_filter is None:
        return (BaseEstimator,)
    types = [type_filter] if isinstance(type_filter, str) else list(type_filter)
    unknown = [name for name in types if name not in _TYPES]
    if unknown or not types:
        raise ValueError(
            f"type_filter={type_filter!r} must be None, one of {', '.join(map(repr, _TYPES))}, or a"
            " list of these."
        )
    return tuple(_TYPES[name] for name in types)


def _public_items():
    """Names and objects in the ``__all__`` of the package, and of its public modules."""
    items = {}
    for module in [skspeech, *_public_modules(skspeech)]:
        for name in getattr(module, "__all__", ()):
            item = getattr(module, name)
            if getattr(item, "__module__", "").partition(".")[0] == skspeech.__name__:
                items[name] = item
    return sorted(items.items())


def _public_modules(package):
    """Modules without an underscore. A package itself says which of its names are public."""
    for info in pkgutil.iter_modules(package.__path__, prefix=f"{package.__name__}."):
        if not info.name.rpartition(".")[2].startswith("_"):
            yield import_module(info.name)
