"""Save a fitted model to a file."""

import hashlib
import io
import json
import pickle
import zipfile
from datetime import datetime, timezone
from pathlib import Path, PurePath

import numpy as np
from sklearn.base import BaseEstimator

from skspeech._pickled import PickledClassifier
from skspeech._typing import ArrayLike, ClipsLike, PathLike
from skspeech._warning import warn
from skspeech.persistence.archive import _FORMAT, _FORMAT_VERSION, _METADATA, _MODEL, _SCHEMA
from skspeech.persistence.atomic import atomic_writer
from skspeech.persistence.errors import ModelFileError
from skspeech.persistence.machine import _forget_this_machine, _network_ids, _versions
from skspeech.persistence.sharing import _fold
from skspeech.persistence.trust import _sized_nodes, _type_name, _untrusted_types, _unwanted_loaders

__all__ = ["save"]


def save(
    model: BaseEstimator,
    path: PathLike,
    *,
    training_clips: ClipsLike | None = None,
    training_groups: ArrayLike | None = None,
) -> Path:
    """Save a model to a file that anyone can load without running code from it.

    The model is written to a temporary file, which then replaces the old one: an interrupted save
    leaves the old file unchanged.

    Parameters that belong to this machine or process (`memory`, `log_file`, `callbacks`,
    `executor`) stay out of the file. So do the frozen networks' weights, which the file identifies
    by their checksums.

    Parameters
    ----------
    model : estimator
        A fitted :class:`~skspeech.TimeBudgetClassifier`, any other estimator of skspeech or
        scikit-learn, or a Pipeline of them.
    path : str or path-like
        The file, such as ``"model.skspeech"``. An existing file is replaced.
    training_clips : sequence of clips, default=None
        The clips that the model was trained on. The file keeps a number for the content of each, so
        that reports and ``skspeech evaluate`` can tell a score on these clips from one on new
        clips.
    training_groups : array-like, default=None
        The groups of these clips, such as speakers. The file keeps their names, so that a score on
        other clips of these groups can be told from one on new groups. None may be missing.

    Returns
    -------
    pathlib.Path
        The file.

    Raises
    ------
    ModelFileError
        If something in the model can't be stored.
    OSError
        If the file can't be written.
    ValueError
        If one of `training_groups` is missing (None, NaN or NA), or there are no `training_clips`
        for them.

    See Also
    --------
    load : Load the model again.

    Notes
    -----
    Classes of your own are saved too, with a warning: `load` has to be told to trust them. So are
    scikit-learn's trees and nearest-neighbour indices, whose compiled parts are not checked.

    Examples
    --------
    >>> import tempfile, os
    >>> import skspeech
    >>> from sklearn.datasets import load_iris
    >>> from skspeech.estimators import ShrinkageDiscriminantAnalysis
    >>> X, y = load_iris(return_X_y=True)
    >>> path = os.path.join(tempfile.mkdtemp(), "iris.skspeech")
    >>> path = skspeech.save(ShrinkageDiscriminantAnalysis().fit(X, y), path)
    >>> path.name, skspeech.load(path).score(X, y) > 0.9
    ('iris.skspeech', True)
    """
    if not isinstance(model, BaseEstimator):
        raise TypeError(f"model={model!r} is not an estimator of skspeech or scikit-learn.")
    if training_clips is None and training_groups is not None:
        raise ValueError("training_groups needs training_clips, the clips that they belong to.")
    model = _storable_copy(model)
    if training_clips is not None:
        from skspeech._heard import remember

        remember(model, training_clips, training_groups)
    networks = _network_ids(model)
    content = _dump(_fold(model))
    _tell_untrusted(model, content)
    metadata = {
        "format": _FORMAT,
        "format_version": _FORMAT_VERSION,
        "created": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "model": _type_name(type(model)),
        "classes": _plain_classes(model),
        "networks": networks,
        "versions": _versions(),
        "members": {_MODEL: {"sha256": hashlib.sha256(content).hexdigest(), "size": len(content)}},
    }
    # Not compressed: weights hardly shrink, and an uncompressed archive can't be a zip bomb.
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_STORED) as file:
        file.writestr(_METADATA, json.dumps(metadata, indent=2))
        file.writestr(_MODEL, content)
    path = Path(path)
    with atomic_writer(path) as file:
        file.write(archive.getbuffer())
    return path


class _Copier(pickle.Pickler):
    """Copies a model, and replaces pickled classifiers by classifiers and paths by text."""

    def reducer_override(self, item):
        if isinstance(item, PickledClassifier):
            return _itself, (item.load(),)
        if isinstance(item, PurePath) or _type_name(type(item)) == "torch.device":
            return str, (str(item),)
        return NotImplemented


def _itself(item):
    return item


def _storable_copy(model):
    """A copy without what belongs to this machine. It unpickles only what it has just pickled."""
    buffer = io.BytesIO()
    try:
        _Copier(buffer, pickle.HIGHEST_PROTOCOL).dump(model)
    except (pickle.PicklingError, AttributeError, TypeError, RecursionError) as error:
        raise ModelFileError(f"{_brief(model)} can't be saved: {error}") from error
    copy = pickle.loads(buffer.getvalue())
    _forget_this_machine(copy)
    return copy


def _dump(model):
    import skops.io

    try:
        return _compacted(skops.io.dumps(model))
    except Exception as error:  # an object's state may make skops raise any exception
        raise ModelFileError(f"{_brief(model)} can't be saved: {error}\n{_ADVICE}") from error


def _compacted(content):
    """Describe a list of plain values, such as column numbers, as one value, not one by one."""
    buffer = io.BytesIO()
    with (
        zipfile.ZipFile(io.BytesIO(content)) as archive,
        zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as compacted,
    ):
        for name in archive.namelist():
            member = archive.read(name)
            if name == _SCHEMA:
                schema = json.loads(member)
                for state, _ in _sized_nodes(schema):
                    _compact_list(state)
                member = json.dumps(schema, separators=(",", ":"))
            compacted.writestr(name, member)
    return buffer.getvalue()


def _compact_list(state):
    if (state["__loader__"], state["__module__"]) != ("ListNode", "builtins"):
        return
    items = state["content"]
    if items and all(item["__loader__"] == "JsonNode" for item in items):
        texts = ",".join(item["content"] for item in items)
        state.update(__loader__="JsonNode", __class__="str", content=f"[{texts}]", is_json=True)


_ADVICE = (
    "Numbers, text, arrays and estimators can be stored; other objects say how they are by "
    "__getstate__ (see skspeech.persistence). Functions of your own can't be."
)


def _tell_untrusted(model, content):
    """Check at saving time that the file can be loaded again."""
    untrusted = sorted(_untrusted_types(content))
    networks = [name for name in untrusted if name.startswith(("torch.", "keras.", "skorch."))]
    if networks:
        raise ModelFileError(
            f"{_brief(model)} can't be saved, because it holds {', '.join(networks)} as an "
            f"attribute.\n{_ADVICE}"
        )
    unwanted = _unwanted_loaders(content)
    if unwanted:
        raise ModelFileError(
            f"{_brief(model)} can't be saved: {', '.join(sorted(unwanted))} would not be loaded "
            f"again.\n{_ADVICE}"
        )
    if untrusted:
        warn(
            f"The file will hold objects of classes that skspeech.load does not trust by itself. "
            f"Load it with trusted={untrusted!r}."
        )


def _plain_classes(model):
    classes = getattr(model, "classes_", None)
    if classes is None:
        return None
    return [c if isinstance(c, str | int | float | bool) else str(c) for c in _as_list(classes)]


def _as_list(classes):
    return classes.tolist() if isinstance(classes, np.ndarray) else list(classes)


def _brief(model):
    return f"The model {type(model).__name__}"
