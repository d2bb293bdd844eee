"""Decide which object descriptions are loaded: a fixed list of classes, and nothing executable."""

import functools
import importlib.metadata
import io
import json
import re
import zipfile

import numpy as np

from skspeech.persistence.archive import _SCHEMA, _check_stored, _damaged
from skspeech.persistence.errors import ModelFileError
from skspeech.persistence.sharing import _Shared

__all__ = []

_MAX_SCHEMA = 1 << 28


# The kinds of skops nodes that are accepted. Others name a function or method to call, point
# elsewhere in the file, or hold their own file format; none of these is needed.
_LOADERS = {
    *("BytesNode", "ConstructorFromReduceNode", "DTypeNode", "DefaultDictNode", "DictNode"),
    *("FunctionNode", "JsonNode", "ListNode", "LossNode", "MaskedArrayNode", "NdArrayNode"),
    *("ObjectNode", "RandomGeneratorNode", "RandomStateNode", "ReduceNode", "SetNode"),
    *("SliceNode", "TreeNode", "TupleNode", "TypeNode"),
}


_OLDEST_PROTOCOL = 2  # of skops; its code for older files is never used


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
    "sklearn.utils._metadata_requests.MetadataRequest",
    "sklearn.utils._metadata_requests.MethodMetadataRequest",
}


def _check_content(content, path):
    """Check the inner archive like the outer one, and the headers of its arrays."""
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
    """Check that an array's header asks for as much memory as the array has in the file."""
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
    """Refuse references: objects that occur twice must be described twice.

    References could be nested for ever.
    """
    sizes = {}
    for state, size in _sized_nodes(schema):
        if sizes.setdefault(state.get("__id__"), size) != size and "__id__" in state:
            raise ModelFileError(_damaged(path, "it refers to itself"))


def _sized_nodes(schema):
    """Yield each node's description, and the number of nodes in it, itself included."""

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
    """Names of the classes in a description that neither skops nor skspeech trusts."""
    import skops.io

    return set(skops.io.get_untrusted_types(data=content)) - _own_types()


@functools.cache
def _own_types():
    from skspeech.time_budget import Candidate
    from skspeech.utils import all_estimators

    ours = [Candidate, *(estimator for _, estimator in all_estimators())]
    return {name for cls in [_Shared, *ours] for name in _names_of(cls)} | _SKLEARN_PARTS


def _names_of(cls):
    """Names of a class: where it is defined, and the parent packages that export it.

    Older files may name it by one of these.
    """
    names = [_type_name(cls)]
    package = cls.__module__.rpartition(".")[0]
    while package and package != "skspeech":
        if getattr(importlib.import_module(package), cls.__name__, None) is cls:
            names.append(f"{package}.{cls.__name__}")
        package = package.rpartition(".")[0]
    return names


def _type_name(cls):
    return f"{cls.__module__}.{cls.__qualname__}"
