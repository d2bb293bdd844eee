"""Read the weights in an ONNX file, without onnx.

A file is a protocol buffer: messages whose fields each carry a number. Only the fields that lead
to the weights are looked at (https://onnx.ai/onnx/api/classes.html#tensorproto).
"""

import numpy as np

__all__ = ["read_initializers"]

_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5  # wire types
_MODEL_GRAPH, _GRAPH_INITIALIZER = 7, 5
_DIMS, _DATA_TYPE, _NAME, _RAW_DATA = 1, 2, 8, 9  # fields of a tensor
_FLOAT = 1


def read_initializers(path):
    """Read the float32 tensors of a model, by name.

    Parameters
    ----------
    path : path-like

    Returns
    -------
    dict of str to ndarray

    Raises
    ------
    ValueError
        If the file is not such a protocol buffer.
    """
    with open(path, "rb") as file:
        model = memoryview(file.read())
    tensors = {}
    for graph in _values(model, _MODEL_GRAPH):
        for message in _values(graph, _GRAPH_INITIALIZER):
            if list(_values(message, _DATA_TYPE)) == [_FLOAT]:
                (name,) = _values(message, _NAME)
                (data,) = _values(message, _RAW_DATA)
                tensors[bytes(name).decode()] = np.frombuffer(data, "<f4").reshape(_shape(message))
    return tensors


def _shape(message):
    shape = []
    for dims in _values(message, _DIMS):
        if isinstance(dims, int):
            shape.append(dims)
        else:  # several in one field
            end = 0
            while end < len(dims):
                size, end = _varint(dims, end)
                shape.append(size)
    return shape


def _values(message, wanted):
    """Yield the values of a field: integers, or the bytes of strings and messages."""
    end = 0
    while end < len(message):
        tag, begin = _varint(message, end)
        field, wire = tag >> 3, tag & 7
        if wire == _VARINT:
            value, end = _varint(message, begin)
        else:
            if wire == _BYTES:
                length, begin = _varint(message, begin)
            elif wire in (_FIXED32, _FIXED64):
                length = 4 if wire == _FIXED32 else 8
            else:
                raise ValueError(f"not a protocol buffer: wire type {wire} at byte {end}")
            end = begin + length
            if end > len(message):
                raise ValueError(f"not a whole protocol buffer: it ends inside field {field}")
            value = message[begin:end]
        if field == wanted:
            yield value


def _varint(message, position):
    """An integer of seven bits a byte, and where it ends."""
    value = shift = 0
    while position < len(message):
        byte = message[position]
        position += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, position
        shift += 7
    raise ValueError("not a whole protocol buffer: it ends inside a number")
