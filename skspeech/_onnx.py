"""Read the weights in an ONNX file, without onnx.

A file is a protocol buffer: messages whose fields each have a number. Only the fields that lead
to the weights are read (https://onnx.ai/onnx/api/classes.html#tensorproto).
"""

import numpy as np

__all__ = ["fields", "read_initializers"]

_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5  # wire types
_MODEL_GRAPH, _GRAPH_INITIALIZER = 7, 5
_DIMS, _DATA_TYPE, _NAME, _RAW_DATA = 1, 2, 8, 9  # fields of a tensor
# The dtype of a tensor, and the field that holds its numbers if they are not raw bytes.
_TYPES = {1: ("<f4", 4), 2: ("u1", 5), 3: ("i1", 5), 6: ("<i4", 5), 7: ("<i8", 7)}


def read_initializers(path):
    """Read the tensors of a model, by name, in the order of the file.

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
        If the file is not such a protocol buffer.
    """
    with open(path, "rb") as file:
        model = memoryview(file.read())
    tensors = {}
    for graph in _values(model, _MODEL_GRAPH):
        for message in _values(graph, _GRAPH_INITIALIZER):
            (kind,) = _values(message, _DATA_TYPE)
            if kind in _TYPES:
                (name,) = _values(message, _NAME)
                tensors[bytes(name).decode()] = _numbers(message, *_TYPES[kind])
    return tensors


def _numbers(message, dtype, field):
    raw = list(_values(message, _RAW_DATA))
    if raw:
        numbers = np.frombuffer(raw[0], dtype)
    elif dtype == "<f4":
        numbers = np.frombuffer(b"".join(_values(message, field)), dtype)
    else:  # negative ones are stored modulo 2 ** 64
        numbers = np.array(_integers(message, field), dtype=np.uint64).astype(dtype)
    return numbers.reshape(_integers(message, _DIMS))


def _integers(message, wanted):
    """The integers of a field, which may be stored one by one or packed."""
    integers = []
    for value in _values(message, wanted):
        if isinstance(value, int):
            integers.append(value)
        else:
            end = 0
            while end < len(value):
                number, end = _varint(value, end)
                integers.append(number)
    return integers


def _values(message, wanted):
    """Yield the values of a field: integers, or the bytes of strings and messages."""
    return (value for field, value in fields(message) if field == wanted)


def fields(message):
    """Yield the number and the value of each field of a message."""
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
        yield field, value


def _varint(message, position):
    """An integer stored in seven bits a byte, and the position after it."""
    value = shift = 0
    while position < len(message):
        byte = message[position]
        position += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, position
        shift += 7
    raise ValueError("not a whole protocol buffer: it ends inside a number")
