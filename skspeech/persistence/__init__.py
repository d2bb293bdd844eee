"""Model files: one checked file a model, which can be loaded without trusting who made it.

A model file is a zip archive of two members. ``metadata.json`` says what the model is, with which
versions of the libraries it was made, and the checksum of the other member. ``model.skops`` holds
the model in the format of skops [1]_: a description of objects by name, and arrays. Loading makes
only objects of a fixed list of classes, scikit-learn's and skspeech's own; no pickle is read, no
name from the file is imported before it was found in the list, and nothing is unpacked to disk.

**An object says itself how it is stored**, by Python's own `__getstate__` and `__setstate__`: what
the first returns is stored, where it is made of numbers, text, arrays, bytes, lists, dicts and
other estimators. So an estimator with a trained network puts that network's arrays into its state,
and makes the network anew when it is first asked to predict. The same serves pickle.

References
----------
.. [1] skops, https://skops.readthedocs.io
"""

import lazy_loader

_load, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "errors": ["ModelFileError", "ModelVersionWarning"],
        "loading": ["load", "read_metadata"],
        "saving": ["save"],
    },
)


def __getattr__(name):
    if name == "_Shared":  # model files name it by this place
        from skspeech.persistence.sharing import _Shared

        return _Shared
    return _load(name)
