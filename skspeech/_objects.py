"""Find the objects inside a model."""

from types import FunctionType, ModuleType

import numpy as np

__all__ = ["has_attributes", "objects_in"]


def objects_in(root):
    """Find every object with attributes inside a model, each once.

    Parameters
    ----------
    root : object
        A model, or a container.

    Yields
    ------
    object
        `root`, and everything reachable by attributes, lists, dicts and object arrays; the first
        step of a pipeline before the others.
    """
    seen, todo = {}, [root]
    while todo:
        item = todo.pop()
        if id(item) in seen or isinstance(item, type | str | bytes | int | float | None):
            continue
        seen[id(item)] = item
        inside = []
        if isinstance(item, dict):
            inside = item.values()
        elif isinstance(item, list | tuple | set):
            inside = item
        elif isinstance(item, np.ndarray):
            inside = item.ravel().tolist() if item.dtype == object else []
        elif has_attributes(item):
            yield item
            inside = vars(item).values()
        todo.extend(reversed(list(inside)))


def has_attributes(item):
    return hasattr(item, "__dict__") and not isinstance(item, type | FunctionType | ModuleType)
