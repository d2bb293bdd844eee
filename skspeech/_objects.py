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
        `root`, and everything reachable by attributes, lists, dicts and object arrays.
    """
    seen, todo = {}, [root]
    while todo:
        item = todo.pop()
        if id(item) in seen or isinstance(item, type | str | bytes | int | float | None):
            continue
        seen[id(item)] = item
        if isinstance(item, dict):
            todo.extend(item.values())
        elif isinstance(item, list | tuple | set):
            todo.extend(item)
        elif isinstance(item, np.ndarray):
            if item.dtype == object:
                todo.extend(item.ravel().tolist())
        elif has_attributes(item):
            yield item
            todo.extend(vars(item).values())


def has_attributes(item):
    return hasattr(item, "__dict__") and not isinstance(item, type | FunctionType | ModuleType)
