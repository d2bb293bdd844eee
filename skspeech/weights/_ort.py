"""Read the weights in a file of ONNX Runtime's own format, without ONNX Runtime.

A file is a FlatBuffer: tables whose fields each have a number
(https://github.com/microsoft/onnxruntime/blob/main/onnxruntime/core/flatbuffers/schema/ort.fbs).
"""

import struct

import numpy as np

__all__ = ["read_initializers"]

_IDENTIFIER = b"ORTM"
_SESSION_MODEL, _MODEL_GRAPH, _GRAPH_INITIALIZERS = 1, 7, 0
_NAME, _DIMS, _DATA_TYPE, _RAW_DATA = 0, 2, 3, 4  # fields of a tensor
_TYPES = {1: "<f4", 2: "u1", 3: "i1", 6: "<i4", 7: "<i8"}


def read_initializers(path):
    """Read the tensors of a model, by name.

    Parameters
    ----------
    path : path-like

    Returns
    -------
    dict of str to ndarray
        The tensors of float32, uint8, int8, int32 and int64.

    Raises
    ------
    ValueError
        If the file is not of that format, or not whole.
    """
    with open(path, "rb") as file:
        content = bytearray(file.read())
    if content[4:8] != _IDENTIFIER:
        raise ValueError(f"{str(path)!r} is not a model in the format of ONNX Runtime.")
    try:
        return _tensors(content)
    except (struct.error, ValueError, TypeError) as error:
        raise ValueError(f"{str(path)!r} is not a whole model: {error}") from error


def _tensors(content):
    from flatbuffers.number_types import Int32Flags, Int64Flags, Uint8Flags, UOffsetTFlags
    from flatbuffers.table import Table

    def offset(table, field):
        return table.Offset(4 + 2 * field)

    def inner(table, field):
        return Table(content, table.Indirect(table.Pos + offset(table, field)))

    def numbers(table, field, flags):
        place = offset(table, field)
        return table.GetVectorAsNumpy(flags, place) if place else np.array([], dtype=np.int64)

    session = Table(content, int.from_bytes(content[:4], "little"))
    graph = inner(inner(session, _SESSION_MODEL), _MODEL_GRAPH)
    place = offset(graph, _GRAPH_INITIALIZERS)
    begin = graph.Vector(place)
    tensors = {}
    for i in range(graph.VectorLen(place)):
        tensor = Table(content, graph.Indirect(begin + i * UOffsetTFlags.bytewidth))
        kind = tensor.GetSlot(4 + 2 * _DATA_TYPE, 0, Int32Flags)
        if kind in _TYPES:
            name = tensor.String(tensor.Pos + offset(tensor, _NAME)).decode()
            raw = numbers(tensor, _RAW_DATA, Uint8Flags).tobytes()
            dims = numbers(tensor, _DIMS, Int64Flags)
            tensors[name] = np.frombuffer(raw, _TYPES[kind]).reshape(dims)
    return tensors
