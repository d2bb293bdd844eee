"""Model files: one checked file per model, which can be loaded without trusting its author.

A model file is a zip archive of two members. ``metadata.json`` describes the model, the versions of
the libraries that made it, and the checksum of the other member. ``model.skops`` holds the model in
the format of skops [1]_: a description of objects by name, and arrays. Loading creates only objects
of a fixed list of classes, scikit-learn's and skspeech's own; no pickle is read, no name from the
file is imported unless it is in the list, and nothing is unpacked to disk.

**Each object defines how it is stored**, by Python's `__getstate__` and `__setstate__`: the result
of the first is stored, if it consists of numbers, text, arrays, bytes, lists, dicts and other
estimators. So an estimator with a trained network puts that network's arrays into its state, and
rebuilds the network at its first prediction. Pickle uses the same methods.

References
----------
.. [1] skops, https://skops.readthedocs.io
"""

import lazy_loader

# The names are listed in __init__.pyi, where type checkers and editors find them.
_load, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)


def __getattr__(name):
    if name == "_Shared":  # the name of this class in model files
        from skspeech.persistence.sharing import _Shared

        return _Shared
    return _load(name)
