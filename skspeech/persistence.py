"""Model files: one checked file a model, which can be loaded without trusting who made it.

A model file is a zip archive of two members. ``metadata.json`` says what the model is, with which
versions of the libraries it was made, and the checksum of the other member. ``model.skops`` holds
the model in the format of skops [1]_: a description of objects by name, and arrays. Loading makes
only objects of a fixed list of classes, scikit-learn's and skspeech's own; no pickle is read, no
name from the file is imported before it was found in the list, and nothing is unpacked to disk.

**An object says itself how it is stored**, by Python's own `__getstate__` and `__setstate__`: what
the first returns is stored, where it is made of numbers, text, arrays, bytes, lists, dicts and
other estimators. So an estimator with a trained network leaves the network out of its state, and
puts the bytes in its place that :func:`tensors_to_bytes` (PyTorch, as safetensors) or
:func:`keras_to_bytes` (Keras, as a ``.keras`` file) make of it. The same serves pickle. Estimators
that read the bytes only when they are first asked to predict are loaded the quickest.

References
----------
.. [1] skops, https://skops.readthedocs.io
"""

import contextlib
import functools
import hashlib
import importlib.metadata
import io
import json
import os
import pickle
import platform
import re
import tempfile
import uuid
import warnings
import zipfile
from datetime import datetime, timezone
from pathlib import Path, PurePath

import numpy as np
from sklearn.base import BaseEstimator, clone
from sklearn.exceptions import InconsistentVersionWarning

from skspeech._objects import has_attributes, objects_in
from skspeech._pickled import PickledClassifier

__all__ = [
    "ModelFileError",
    "ModelVersionWarning",
    "keras_from_bytes",
    "keras_to_bytes",
    "load",
    "read_metadata",
    "save",
    "tensors_from_bytes",
    "tensors_to_bytes",
]

_FORMAT = "skspeech model"
_FORMAT_VERSION = 1
_MODEL, _METADATA, _SCHEMA = "model.skops", "metadata.json", "schema.json"
_MAX_METADATA = 1 << 20  # bytes
_MAX_SCHEMA = 1 << 28

# Parameters that say where this process, or this machine, keeps or reports something.
_OF_THIS_MACHINE = {"callbacks", "executor", "log_file", "memory"}

# Other releases of these may predict otherwise; how many parts of the version are compared.
_COMPARED_VERSIONS = {"skspeech": 3, "scikit-learn": 3, "numpy": 2, "torch": 2}
_NOTED_VERSIONS = (*_COMPARED_VERSIONS, "scipy", "skops")

# What skops describes objects by. Those that name a function or a method to call, point elsewhere
# in the file, or hold a file format of their own, are not needed.
_LOADERS = {
    *("BytesNode", "ConstructorFromReduceNode", "DTypeNode", "DefaultDictNode", "DictNode"),
    *("FunctionNode", "JsonNode", "ListNode", "LossNode", "MaskedArrayNode", "NdArrayNode"),
    *("ObjectNode", "RandomGeneratorNode", "RandomStateNode", "ReduceNode", "SetNode"),
    *("SliceNode", "TreeNode", "TupleNode", "TypeNode"),
}
_OLDEST_PROTOCOL = 2  # of skops; what it needs to read older files is never used
_SKOPS_MEMBER = re.compile(r"schema\.json|[\w-]+\.(npy|bin)")

# Private parts of scikit-learn's estimators, all of them plain Python. Compiled ones, such as
# trees, are missing on purpose: their content is not checked, and a forged one crashes Python.
_SKLEARN_PARTS = {
    "sklearn.calibration._CalibratedClassifier",
    "sklearn.calibration._SigmoidCalibration",
    "sklearn.calibration._TemperatureScaling",
    "sklearn.compose._column_transformer._RemainderColsList",
    "sklearn.gaussian_process._gpc._BinaryGaussianProcessClassifierLaplace",
    *(
        f"sklearn.gaussian_process.kernels.{name}"
        for name in ("ConstantKernel", "Matern", "Product", "RBF", "Sum", "WhiteKernel")
    ),
    "sklearn.metrics._scorer._PassthroughScorer",
    *(
        f"sklearn.model_selection._split.{name}"
        for name in (
            *("GroupKFold", "GroupShuffleSplit", "KFold", "LeaveOneGroupOut", "LeaveOneOut"),
            *("RepeatedKFold", "RepeatedStratifiedKFold", "ShuffleSplit", "StratifiedGroupKFold"),
            *("StratifiedKFold", "StratifiedShuffleSplit"),
        )
    ),
    "sklearn.multiclass._ConstantPredictor",
    "sklearn.neural_network._stochastic_optimizers.AdamOptimizer",
    "sklearn.neural_network._stochastic_optimizers.SGDOptimizer",
    "sklearn.utils._bunch.Bunch",
}


class ModelFileError(ValueError):
    """A file is no model file, is damaged, is not safe to load, or a model can't be put in one."""


class ModelVersionWarning(UserWarning):
    """A model was saved with other versions of the libraries than those that load it."""


# -- What callers use ------------------------------------------------------------------------------


def save(model, path, *, training_clips=None):
    """Save a model to a file that anyone can load without running code from it.

    The file is written beside its place and then moved there: a save that is interrupted leaves
    what was there before.

    Parameters that belong to this machine or process (`memory`, `log_file`, `callbacks`,
    `executor`) stay out of the file. So do the frozen networks' weights, which are named by their
    checksums.

    Parameters
    ----------
    model : estimator
        A fitted :class:`~skspeech.TimeBudgetClassifier`, any other estimator of skspeech or
        scikit-learn, or a Pipeline of them.
    path : str or path-like
        The file, such as ``"model.skspeech"``. One that exists is replaced.
    training_clips : sequence of clips, default=None
        What the model was trained on. The file keeps a number for the content of each, by which
        reports and ``skspeech evaluate`` tell a score on these clips from one on new clips.

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

    See Also
    --------
    load : The way back.

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
    model = _storable_copy(model)
    if training_clips is not None:
        from skspeech._heard import ATTRIBUTE, clip_keys

        setattr(model, ATTRIBUTE, np.unique(clip_keys(training_clips)))
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
    # Not compressed: weights hardly shrink, and what is not compressed can't be a bomb.
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_STORED) as file:
        file.writestr(_METADATA, json.dumps(metadata, indent=2))
        file.writestr(_MODEL, content)
    path = Path(path)
    with atomic_writer(path) as file:
        file.write(archive.getbuffer())
    return path


def load(path, *, trusted=()):
    """Load a model that :func:`save` saved.

    Nothing in the file is executed: only objects of scikit-learn's and skspeech's classes are made
    from it. A network that was to run on a GPU which is not here runs where it can.

    Parameters
    ----------
    path : str or path-like
        The file.
    trusted : sequence of str, default=()
        Further classes that may be made from the file, such as
        ``"mypackage.models.MyClassifier"``, or ``"sklearn.tree._tree.Tree"`` for forests. The
        error names them where they are missing. Only for files whose origin you know.

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


def read_metadata(path):
    """Tell what a model file says about its model, without loading that.

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


# -- Networks, for the states of estimators that train some ----------------------------------------


def tensors_to_bytes(tensors):
    """Turn named tensors, such as ``module.state_dict()``, into bytes of a safetensors file.

    Parameters
    ----------
    tensors : dict of str to torch.Tensor
        On any device; they are copied to the CPU.

    Returns
    -------
    bytes

    Examples
    --------
    >>> import torch
    >>> from skspeech.persistence import tensors_from_bytes, tensors_to_bytes
    >>> layer = torch.nn.Linear(2, 3)
    >>> stored = tensors_to_bytes(layer.state_dict())
    >>> layer.load_state_dict(tensors_from_bytes(stored))
    <All keys matched successfully>
    """
    from safetensors.torch import save as to_safetensors

    return to_safetensors(
        {name: tensor.detach().cpu().contiguous().clone() for name, tensor in tensors.items()}
    )


def tensors_from_bytes(content):
    """Read named tensors from bytes that :func:`tensors_to_bytes` made.

    Parameters
    ----------
    content : bytes
        A safetensors file.

    Returns
    -------
    dict of str to torch.Tensor
        On the CPU.

    Raises
    ------
    ModelFileError
        If these are other bytes.

    Examples
    --------
    >>> import torch
    >>> from skspeech.persistence import tensors_from_bytes, tensors_to_bytes
    >>> tensors_from_bytes(tensors_to_bytes({"weight": torch.zeros(2)}))
    {'weight': tensor([0., 0.])}
    """
    from safetensors import SafetensorError
    from safetensors.torch import load as from_safetensors

    try:
        return from_safetensors(bytes(content))
    except (SafetensorError, KeyError, ValueError, TypeError) as error:
        raise ModelFileError(f"The tensors of a network can't be read: {error}") from None


def keras_to_bytes(model):
    """Turn a Keras model into bytes of a ``.keras`` file.

    Parameters
    ----------
    model : keras.Model
        The model.

    Returns
    -------
    bytes

    Examples
    --------
    >>> import keras  # doctest: +SKIP
    >>> from skspeech.persistence import keras_from_bytes, keras_to_bytes
    >>> model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(2)])  # doctest: +SKIP
    >>> keras_from_bytes(keras_to_bytes(model)).count_params()  # doctest: +SKIP
    10
    """
    with tempfile.TemporaryDirectory(prefix="skspeech-") as folder:
        path = Path(folder, "model.keras")
        model.save(path)
        return path.read_bytes()


def keras_from_bytes(content):
    """Read a Keras model from bytes that :func:`keras_to_bytes` made.

    Keras's safe mode is on: a model with Python code in it, such as a ``Lambda`` layer, is
    refused. The model is not compiled: it is for predicting.

    Parameters
    ----------
    content : bytes
        A ``.keras`` file.

    Returns
    -------
    keras.Model

    Raises
    ------
    ModelFileError
        If these are other bytes, or the model holds code.

    Examples
    --------
    >>> from skspeech.persistence import keras_from_bytes
    >>> model = keras_from_bytes(open("model.keras", "rb").read())  # doctest: +SKIP
    """
    import keras

    with tempfile.TemporaryDirectory(prefix="skspeech-") as folder:
        path = Path(folder, "model.keras")
        path.write_bytes(content)
        try:
            return keras.saving.load_model(path, compile=False, safe_mode=True)
        except Exception as error:  # Keras raises many kinds for what is in a file
            raise ModelFileError(f"A Keras network can't be read: {error}") from None


# -- Saving ----------------------------------------------------------------------------------------


class _Copier(pickle.Pickler):
    """Copies a model, with classifiers in the place of pickles of them, and text for paths."""

    def reducer_override(self, item):
        if isinstance(item, PickledClassifier):
            return _itself, (item.load(),)
        if isinstance(item, PurePath) or _type_name(type(item)) == "torch.device":
            return str, (str(item),)
        return NotImplemented


def _itself(item):
    return item


def _storable_copy(model):
    """A copy without what belongs to this machine. What is unpickled was pickled a line above."""
    buffer = io.BytesIO()
    try:
        _Copier(buffer, pickle.HIGHEST_PROTOCOL).dump(model)
    except (pickle.PicklingError, AttributeError, TypeError, RecursionError) as error:
        raise ModelFileError(f"{_brief(model)} can't be saved: {error}") from error
    copy = pickle.loads(buffer.getvalue())
    _forget_this_machine(copy)
    return copy


def _forget_this_machine(model):
    """A file from elsewhere must not say where this machine reads and writes, either."""
    for item in objects_in(model):
        if isinstance(item, BaseEstimator):
            for name in _OF_THIS_MACHINE & vars(item).keys():
                setattr(item, name, None)


def _dump(model):
    import skops.io

    try:
        return _compacted(skops.io.dumps(model))
    except Exception as error:  # skops raises whatever an object's state leads it to
        raise ModelFileError(f"{_brief(model)} can't be saved: {error}\n{_ADVICE}") from error


def _compacted(content):
    """Describe a list of plain values, such as column numbers, as one value, in place of each."""
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
    """See before it is too late that the file can be loaded again."""
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
        warnings.warn(
            f"The file will hold objects of classes that skspeech.load does not trust by itself. "
            f"Load it with trusted={untrusted!r}.",
            UserWarning,
            stacklevel=3,
        )


@contextlib.contextmanager
def atomic_writer(path):
    """Open a binary file that takes the place of `path` when all of it is on the disk.

    Parameters
    ----------
    path : path-like
        The file that is to be; its folder has to exist.

    Yields
    ------
    file
        Open for writing. If the block fails, nothing at `path` has changed.
    """
    path = Path(path)
    if path.is_dir():
        raise IsADirectoryError(f"{str(path)!r} is a folder; give the name of a file.")
    unfinished = path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}.unfinished")
    try:
        with open(unfinished, "xb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(unfinished, path)
    finally:
        unfinished.unlink(missing_ok=True)


# -- Estimators in several places ------------------------------------------------------------------

# skops describes an object as often as it occurs, and an ensemble names each member three times.
_MARK = "_shared_as"


class _Shared:
    """Stands for an estimator that is described elsewhere in the file, under a number."""

    def __init__(self, number):
        self.number = number


def _fold(model):
    """Put a `_Shared` wherever an estimator occurs again; the first one gets the number."""
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
    """Whether the mark is in the state that an estimator makes; if not, it is stored twice."""
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
    """Replace, in place, what attributes, lists, tuples and dicts lead to.

    `replace` gets each object, and whether that has occurred before.
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
            attributes.update([(name, visit(value)) for name, value in attributes.items()])
        return item

    return visit(root)


# -- Loading ---------------------------------------------------------------------------------------


@contextlib.contextmanager
def _open_archive(path):
    path = Path(path)
    size = path.stat().st_size
    with open(path, "rb") as file:
        try:
            with zipfile.ZipFile(file) as archive:
                _check_archive(archive, size, path)
                yield archive
        except (zipfile.BadZipFile, EOFError, NotImplementedError, UnicodeDecodeError) as error:
            raise ModelFileError(_damaged(path, error)) from None


def _damaged(path, reason):
    hint = "It is no model file of skspeech, or it is damaged: save the model again."
    with open(path, "rb") as file:
        start = file.read(2)
    if start[:1] == b"\x80":
        hint = "It seems to be a pickle, which runs what is in it; skspeech.load reads none."
    return f"{str(path)!r} can't be loaded: {reason}. {hint}"


def _check_archive(archive, size, path):
    """Refuse archives that take more memory than disk, or that name files elsewhere."""
    members = archive.infolist()
    names = [member.filename for member in members]
    if sorted(names) != [_METADATA, _MODEL]:
        listed = ", ".join(map(repr, names[:5]))
        raise ModelFileError(_damaged(path, f"it holds {listed or 'nothing'}"))
    _check_stored(members, size, path)


def _check_stored(members, size, path):
    for member in members:
        if not 0 <= member.header_offset < size:
            raise ModelFileError(_damaged(path, f"{member.filename!r} lies outside of it"))
        packed = member.compress_type != zipfile.ZIP_STORED
        if packed or member.flag_bits & 1 or member.file_size != member.compress_size:
            raise ModelFileError(_damaged(path, f"{member.filename!r} is compressed or encrypted"))
    if sum(member.file_size for member in members) > size:
        raise ModelFileError(_damaged(path, "its members claim more bytes than the file has"))


def _read_metadata(archive, path):
    if archive.getinfo(_METADATA).file_size > _MAX_METADATA:
        raise ModelFileError(_damaged(path, "its metadata are too long"))
    try:
        metadata = json.loads(archive.read(_METADATA))
        if metadata["format"] != _FORMAT:
            raise ModelFileError(_damaged(path, "its format is another one"))
        version = metadata["format_version"]
        _check_metadata(metadata)
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        if isinstance(error, ModelFileError):
            raise
        raise ModelFileError(_damaged(path, "its metadata can't be read")) from None
    if version > _FORMAT_VERSION:
        raise ModelFileError(
            f"{str(path)!r} is of format version {version}, and this skspeech reads versions up to "
            f"{_FORMAT_VERSION}. Use skspeech {metadata['versions'].get('skspeech')} or later."
        )
    return metadata


def _check_metadata(metadata):
    """Raise a TypeError, KeyError or AttributeError where something has not the form it should."""
    if not isinstance(metadata["format_version"], int) or not isinstance(metadata["model"], str):
        raise TypeError
    for name, version in metadata["versions"].items():
        if not isinstance(name + (version or ""), str):
            raise TypeError
    if not all(isinstance(network, str | None) for network in metadata["networks"]):
        raise TypeError
    if not isinstance(metadata["members"][_MODEL]["sha256"], str):
        raise TypeError


def _read_model(archive, metadata, path):
    content = archive.read(_MODEL)
    if hashlib.sha256(content).hexdigest() != metadata["members"][_MODEL]["sha256"]:
        raise ModelFileError(_damaged(path, "the checksum of the model is wrong"))
    return content


def _construct(content, trusted, metadata, path):
    import skops.io

    try:
        _check_content(content, path)
        unwanted = _unwanted_loaders(content)
        untrusted = _untrusted_types(content) - set(trusted)
    except ModelFileError:
        raise
    except Exception as error:  # forged descriptions fail in as many ways as there are
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
            warnings.simplefilter("ignore", InconsistentVersionWarning)  # it was told about
            model = _unfold(skops.io.loads(content, trusted=sorted(_own_types()) + trusted))
    except Exception as error:
        raise ModelFileError(
            f"{_damaged(path, _said(error))} It was made with {_spelled(metadata['versions'])}."
        ) from error
    if not isinstance(model, BaseEstimator):
        raise ModelFileError(_damaged(path, f"it holds a {type(model).__name__}, no estimator"))
    return model


def _check_content(content, path):
    """Check the archive inside as the one outside, and what its arrays claim to be."""
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        members = archive.infolist()
        strange = [m.filename for m in members if not _SKOPS_MEMBER.fullmatch(m.filename)]
        if strange or len({m.filename for m in members}) < len(members):
            raise ModelFileError(_damaged(path, f"it holds {strange[:5] or 'a name twice'}"))
        _check_stored(members, len(content), path)
        if archive.getinfo(_SCHEMA).file_size > _MAX_SCHEMA:
            raise ModelFileError(_damaged(path, "its description is too long"))
        for member in members:
            if member.filename.endswith(".npy"):
                with archive.open(member) as file:
                    _check_array(file, member.file_size, path)
    schema = _schema(content)
    if schema.get("protocol", 0) < _OLDEST_PROTOCOL:
        raise ModelFileError(_damaged(path, "its protocol is not supported"))
    _check_references(schema, path)


def _check_array(file, size, path):
    """An array takes the memory that it takes in the file, whatever its header says."""
    version = np.lib.format.read_magic(file)
    read = np.lib.format.read_array_header_1_0
    if version != (1, 0):
        read = np.lib.format.read_array_header_2_0
    shape, _, dtype = read(file)
    n_bytes = dtype.itemsize
    for length in shape:
        n_bytes *= length
    too_many = dtype.itemsize == 0 and max(shape, default=1) > 1
    if dtype.hasobject or too_many or file.tell() + n_bytes != size:
        raise ModelFileError(_damaged(path, "an array in it is not what its header says"))


def _check_references(schema, path):
    """Objects that occur twice are described twice: a short reference could be nested for ever."""
    sizes = {}
    for state, size in _sized_nodes(schema):
        if sizes.setdefault(state.get("__id__"), size) != size and "__id__" in state:
            raise ModelFileError(_damaged(path, "it refers to itself"))


def _sized_nodes(schema):
    """Yield each node's description, and how many there are in it with itself."""

    def visit(value):
        total = 0
        if isinstance(value, dict):
            children = value.values()
        elif isinstance(value, list):
            children = value
        else:
            return 0
        for child in children:
            total += yield from visit(child)
        if isinstance(value, dict) and "__loader__" in value:
            total += 1
            yield value, total
        return total

    yield from visit(schema)


def _schema(content):
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        return json.loads(archive.read(_SCHEMA))


def _unwanted_loaders(content):
    return {str(state["__loader__"]) for state, _ in _sized_nodes(_schema(content))} - _LOADERS


def _untrusted_types(content):
    """Names of the classes in a description that are neither skops's, nor ours to trust."""
    import skops.io

    return set(skops.io.get_untrusted_types(data=content)) - _own_types()


@functools.cache
def _own_types():
    from skspeech.time_budget import Candidate
    from skspeech.utils import all_estimators

    ours = [Candidate, *(estimator for _, estimator in all_estimators())]
    return {name for cls in [_Shared, *ours] for name in _names_of(cls)} | _SKLEARN_PARTS


def _names_of(cls):
    """Where a class is, and the packages above that have it too: it may have been there before."""
    names = [_type_name(cls)]
    package = cls.__module__.rpartition(".")[0]
    while package and package != "skspeech":
        if getattr(importlib.import_module(package), cls.__name__, None) is cls:
            names.append(f"{package}.{cls.__name__}")
        package = package.rpartition(".")[0]
    return names


def _said(error):
    text = next(iter(str(error).strip().splitlines()), "")
    return f"{type(error).__name__}: {text}"[:300]


# -- What a model is made of -----------------------------------------------------------------------


def _network_ids(model):
    """Ids of the frozen networks' weights; None for weights that are not on this machine."""
    ids = {_network_id(item) for item in objects_in(model) if hasattr(item, "_network_id")}
    return sorted(ids, key=str)


def _network_id(extractor):
    from skspeech.weights import WeightsError

    if "local_files_only" in extractor.get_params(deep=False):
        extractor = clone(extractor).set_params(local_files_only=True)
    try:
        return extractor._network_id()
    except (WeightsError, OSError, ImportError, ValueError):
        return None


def _check_networks(model, metadata, path):
    """What a classifier learnt from one network's features says nothing of another's."""
    saved, others = set(metadata["networks"]), set(_network_ids(model))
    others -= saved | {None}
    if others and None not in saved:
        raise ModelFileError(
            f"{str(path)!r} was trained on features of the networks {_listed(saved)}; here it "
            f"would get those of {_listed(others)}. Use skspeech "
            f"{metadata['versions'].get('skspeech')}, or train it again."
        )


def _use_present_devices(model):
    from skspeech._device import resolve_device

    missing = set()
    for item in objects_in(model):
        device = getattr(item, "device", None)
        if device in (None, "auto", "cpu") or not isinstance(item, BaseEstimator):
            continue
        try:
            resolve_device(device)
        except ValueError:
            missing.add(str(device))
            item.device = "auto"
    if missing:
        warnings.warn(
            f"The model was to run on {', '.join(sorted(missing))}, which this machine does not "
            "have; it runs with device='auto'.",
            UserWarning,
            stacklevel=3,
        )


def _plain_classes(model):
    classes = getattr(model, "classes_", None)
    if classes is None:
        return None
    return [c if isinstance(c, str | int | float | bool) else str(c) for c in _as_list(classes)]


def _as_list(classes):
    return classes.tolist() if isinstance(classes, np.ndarray) else list(classes)


def _listed(names):
    return ", ".join(sorted(map(str, names)))


def _type_name(cls):
    return f"{cls.__module__}.{cls.__qualname__}"


def _brief(model):
    return f"The model {type(model).__name__}"


# -- Versions --------------------------------------------------------------------------------------


def _versions():
    versions = {"python": platform.python_version()}
    for name in _NOTED_VERSIONS:
        try:
            versions[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            versions[name] = None
    return versions


def _spelled(versions):
    return ", ".join(f"{name} {version}" for name, version in versions.items() if version)


def _warn_of_versions(metadata, path):
    here, then = _versions(), metadata["versions"]
    differing = [
        f"{name} {then.get(name)} (here {here[name]})"
        for name, n_parts in _COMPARED_VERSIONS.items()
        if _release(then.get(name), n_parts) != _release(here[name], n_parts)
    ]
    if differing:
        warnings.warn(
            f"{str(path)!r} was saved with {', '.join(differing)}. Its predictions may differ or "
            "fail. Install those versions, or train and save the model again.",
            ModelVersionWarning,
            stacklevel=3,
        )


def _release(version, n_parts):
    """The first parts of a version, without what comes after a plus sign."""
    return None if version is None else version.partition("+")[0].split(".")[:n_parts]
