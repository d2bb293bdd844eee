"""Describe an estimator once, even if it occurs in several places of a model."""

import pickle

from sklearn.base import BaseEstimator

from skspeech._objects import has_attributes, objects_in

__all__ = []

# skops describes an object each time it occurs, and an ensemble names each member three times.
_MARK = "_shared_as"


class _Shared:
    """Stands for an estimator that is described elsewhere in the file, under a number."""

    __module__ = "skspeech.persistence"  # its name in model files, wherever the class is defined

    def __init__(self, number):
        self.number = number


def _fold(model):
    """Replace repeated estimators by a `_Shared`; the first occurrence gets the number."""
    numbers = {}

    def replace(item, again):
        if not (again and isinstance(item, BaseEstimator)):
            return item
        if id(item) not in numbers:
            vars(item)[_MARK] = len(numbers)
            numbers[id(item)] = len(numbers) if _keeps_mark(item) else None
        number = numbers[id(item)]
        return item if number is None else _Shared(number)

    return _replace_items(model, replace)


def _keeps_mark(item):
    """Whether an estimator's state contains the mark; if not, the estimator is stored twice."""
    own = [
        getattr(type(item), name) is not getattr(BaseEstimator, name)
        for name in ("__getstate__", "__setstate__")
    ]
    return not any(own) or _MARK in vars(pickle.loads(pickle.dumps(item)))


def _unfold(model):
    """Undo `_fold`."""
    marked = [item for item in objects_in(model) if _MARK in vars(item)]
    originals = {vars(item).pop(_MARK): item for item in marked}

    def replace(item, again):
        return originals[item.number] if isinstance(item, _Shared) else item

    return _replace_items(model, replace)


def _replace_items(root, replace):
    """Replace, in place, the objects in attributes, lists, tuples and dicts.

    `replace` gets each object, and whether it has occurred before.
    """
    seen = {}

    def visit(item):
        if type(item) is tuple:
            return tuple(map(visit, item))
        again = id(item) in seen
        seen[id(item)] = item
        new = replace(item, again)
        if again or new is not item:
            return new
        if isinstance(item, list):
            item[:] = map(visit, item)
        elif isinstance(item, dict):
            item.update([(key, visit(value)) for key, value in item.items()])
        elif has_attributes(item):
            attributes = vars(item)
            # A list, since an attribute may refer back to `item`, which then gets its number.
            attributes.update([(name, visit(value)) for name, value in list(attributes.items())])
        return item

    return visit(root)
