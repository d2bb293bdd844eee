"""Load a model from a file, without running code from it."""

import warnings
from collections.abc import Sequence

from sklearn.base import BaseEstimator
from sklearn.exceptions import InconsistentVersionWarning

from skspeech._typing import PathLike
from skspeech.persistence.archive import _damaged, _open_archive, _read_metadata, _read_model
from skspeech.persistence.errors import ModelFileError
from skspeech.persistence.machine import (
    _check_networks,
    _forget_this_machine,
    _spelled,
    _use_present_devices,
    _warn_of_versions,
)
from skspeech.persistence.sharing import _unfold
from skspeech.persistence.trust import (
    _check_content,
    _own_types,
    _untrusted_types,
    _unwanted_loaders,
)

__all__ = ["load", "read_metadata"]


def load(path: PathLike, *, trusted: Sequence[str] = ()) -> BaseEstimator:
    """Load a model that :func:`save` saved.

    Nothing in the file is executed: loading creates only objects of scikit-learn's and skspeech's
    classes. A network that was set to run on a missing GPU runs on an available device.

    Parameters
    ----------
    path : str or path-like
        The file.
    trusted : sequence of str, default=()
        Further classes that the file may contain, such as ``"mypackage.models.MyClassifier"``, or
        ``"sklearn.tree._tree.Tree"`` for forests. If they are missing here, the error names them.
        Use it only for files whose origin you know.

    Returns
    -------
    estimator
        The model, which predicts as the saved one did.

    Raises
    ------
    ModelFileError
        If the file is not a model file, is damaged, or holds something that is not trusted.
    OSError
        If the file can't be read.

    Warns
    -----
    ModelVersionWarning
        If the model was saved with other versions of the libraries.

    See Also
    --------
    read_metadata : What a file says about its model, without loading it.

    Examples
    --------
    >>> import skspeech
    >>> classifier = skspeech.load("model.skspeech")  # doctest: +SKIP
    >>> classifier.predict(["new.wav"])  # doctest: +SKIP
    array(['yes'], dtype='<U3')
    """
    if isinstance(trusted, str):
        raise ValueError(f"trusted={trusted!r} is one name; write [{trusted!r}].")
    with _open_archive(path) as archive:
        metadata = _read_metadata(archive, path)
        content = _read_model(archive, metadata, path)
    _warn_of_versions(metadata, path)
    model = _construct(content, list(trusted), metadata, path)
    _forget_this_machine(model)
    _check_networks(model, metadata, path)
    _use_present_devices(model)
    return model


def read_metadata(path: PathLike) -> dict:
    """Read what a model file says about its model, without loading the model.

    Parameters
    ----------
    path : str or path-like
        The file.

    Returns
    -------
    dict
        ``format``, ``format_version``, ``created`` (ISO 8601, UTC), ``model`` (the class),
        ``classes`` (a list, or None), ``networks`` (ids of the frozen networks' weights),
        ``versions`` and ``members``.

    Raises
    ------
    ModelFileError
        If the file is not a model file, or is damaged.
    OSError
        If the file can't be read.

    Examples
    --------
    >>> from skspeech.persistence import read_metadata
    >>> read_metadata("model.skspeech")["classes"]  # doctest: +SKIP
    ['no', 'yes']
    """
    with _open_archive(path) as archive:
        return _read_metadata(archive, path)


def _construct(content, trusted, metadata, path):
    import skops.io

    try:
        _check_content(content, path)
        unwanted = _unwanted_loaders(content)
        untrusted = _untrusted_types(content) - set(trusted)
    except ModelFileError:
        raise
    except Exception as error:  # a forged description may raise any exception
        raise ModelFileError(_damaged(path, _said(error))) from None
    if unwanted:
        raise ModelFileError(_damaged(path, f"it uses {', '.join(sorted(unwanted))}"))
    if untrusted:
        names = sorted(untrusted)
        raise ModelFileError(
            f"{str(path)!r} is not loaded: it holds objects that are not trusted, "
            f"{', '.join(names)}. Such objects may run code. Only if you know who made the file, "
            "and what they are for, name them to skspeech.load as trusted."
        )
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", InconsistentVersionWarning)  # already warned about
            model = _unfold(skops.io.loads(content, trusted=sorted(_own_types()) + trusted))
    except Exception as error:
        raise ModelFileError(
            f"{_damaged(path, _said(error))} It was made with {_spelled(metadata['versions'])}."
        ) from error
    if not isinstance(model, BaseEstimator):
        raise ModelFileError(_damaged(path, f"it holds a {type(model).__name__}, no estimator"))
    return model


def _said(error):
    text = next(iter(str(error).strip().splitlines()), "")
    return f"{type(error).__name__}: {text}"[:300]
