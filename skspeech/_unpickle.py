"""Read pickled arrays without trusting them.

A pickle is a program: it may call whatever it can import. Here it can import nothing. Stand-ins
replace the few names that pickled arrays need, and record the pickle's description of an array.
After the whole pickle is read, that description is checked and NumPy builds the array from the raw
bytes. NumPy's own unpickling, which trusts the types and sizes in the file, never runs.
"""

import math
import pickle
import re

import numpy as np

__all__ = ["load_arrays"]

_MAX_DEPTH = 16


def load_arrays(path):
    """Read a pickle of plain containers, numbers, text and arrays of numbers.

    Parameters
    ----------
    path : path-like
        The file.

    Returns
    -------
    content : object
        What was pickled: lists, tuples and dicts, nested in any way; numbers, text and bytes;
        arrays of numbers or booleans, and arrays of such arrays.

    Raises
    ------
    pickle.UnpicklingError
        If the file holds anything else, or is damaged. Nothing of it is executed.
    """
    with open(path, "rb") as file:
        try:
            content = _ArrayUnpickler(file, encoding="bytes").load()
            return _resolve(content, {}, 0)
        except pickle.UnpicklingError as error:
            raise pickle.UnpicklingError(f"{path} was not read: {error}") from None
        except Exception as error:
            # A damaged or crafted stream can make the unpickler raise nearly anything.
            raise pickle.UnpicklingError(
                f"{path} was not read: it is damaged, or no pickle ({error!r})."
            ) from error


class _ArrayUnpickler(pickle._Unpickler):
    """The unpickler in Python: in the C one, a file of ten bytes can fill gigabytes of memory."""

    def find_class(self, module, name):
        stand_in = _STAND_INS.get((module, name))
        if stand_in is None:
            raise pickle.UnpicklingError(
                f"it wants to use {module}.{name}, and a pickle that may use what it likes can run "
                "any program. Only lists, tuples, dicts, numbers, text and numpy arrays of numbers "
                "are read. If you trust where it comes from, read it with pickle.load and save the "
                "arrays again."
            )
        return stand_in


class _Name:
    """Stand-in for a name in a pickle; the pickle can only call it.

    A pickle can also set attributes of any object that it reaches. There are none here.
    """

    __slots__ = ("_call",)

    def __init__(self, call=None):
        object.__setattr__(self, "_call", call)

    def __call__(self, *args):
        if self._call is None:
            raise pickle.UnpicklingError("it calls something that is no part of an array.")
        return self._call(*args)

    def __setattr__(self, name, value):
        raise pickle.UnpicklingError("it sets attributes of what it imported.")

    def __setstate__(self, state):
        raise pickle.UnpicklingError("it sets the state of what it imported.")


class _Dtype:
    """An array's type as a pickle describes it."""

    __slots__ = ("_byte_order", "_code")

    def __init__(self, code, *copy_options):
        code = code.decode("ascii") if isinstance(code, bytes) else code
        if not isinstance(code, str) or not re.fullmatch(r"[<>=|]?(b1|[iuf][1248]|f16|O8?)", code):
            raise pickle.UnpicklingError(f"it holds an array of type {code!r}, not of numbers.")
        self._code = code.lstrip("<>=|")
        self._byte_order = code[0] if code[0] in "<>=" else "="

    def __setstate__(self, state):
        # (version, byte order, subarray, names, fields, size, alignment, flags, ...)
        _, byte_order, *structure = state[:5]
        byte_order = byte_order.decode("ascii") if isinstance(byte_order, bytes) else byte_order
        if byte_order not in ("<", ">", "=", "|") or any(part is not None for part in structure):
            raise pickle.UnpicklingError("it holds a structured array, not one of numbers.")
        self._byte_order = "=" if byte_order == "|" else byte_order

    @property
    def is_object(self):
        return self._code.startswith("O")

    def resolve(self):
        return np.dtype(self._byte_order + self._code)


class _Array:
    """An array as a pickle describes it: shape, type, order, and its raw bytes or its elements."""

    __slots__ = ("_content", "_dtype", "_order", "_shape")

    def __init__(self, content=None, dtype=None, shape=None, order="C"):
        self._describe(content, dtype, shape, order)

    def __setstate__(self, state):
        # A version number comes first, except in very old pickles.
        shape, dtype, is_fortran, content = state[-4:]
        self._describe(content, dtype, shape, "F" if is_fortran else "C")

    def _describe(self, content, dtype, shape, order):
        self._content, self._dtype, self._shape, self._order = content, dtype, shape, order

    def resolve(self, memo, depth):
        self._check()
        if self._dtype.is_object:
            return self._resolve_elements(memo, depth)
        dtype = self._dtype.resolve()
        if len(self._content) != math.prod(self._shape) * dtype.itemsize:
            raise pickle.UnpicklingError(
                f"an array of shape {self._shape} and type {dtype} comes with "
                f"{len(self._content)} bytes."
            )
        values = np.frombuffer(self._content, dtype=dtype)
        return values.reshape(self._shape, order=self._order).copy(order="K")

    def _resolve_elements(self, memo, depth):
        elements = [_resolve(element, memo, depth + 1) for element in self._content]
        if len(self._shape) != 1 or len(elements) != self._shape[0]:
            raise pickle.UnpicklingError("an array of arrays is not a plain row of them.")
        if not all(isinstance(element, np.ndarray) for element in elements):
            raise pickle.UnpicklingError("an array of objects holds something else than arrays.")
        array = np.empty(len(elements), dtype=object)
        for i, element in enumerate(elements):  # array[:] would stack arrays of equal length
            array[i] = element
        return array

    def _check(self):
        expected = list if isinstance(self._dtype, _Dtype) and self._dtype.is_object else bytes
        complete = (
            isinstance(self._dtype, _Dtype)
            and isinstance(self._content, (expected, bytearray))
            and isinstance(self._shape, tuple)
            and all(type(n) is int and n >= 0 for n in self._shape)
            and self._order in ("C", "F")
        )
        if not complete:
            raise pickle.UnpicklingError("it describes an array that does not make sense.")


class _Scalar:
    """A NumPy number as a pickle describes it."""

    __slots__ = ("_array",)

    def __init__(self, dtype, content):
        if not isinstance(dtype, _Dtype) or dtype.is_object:
            raise pickle.UnpicklingError("it holds a scalar that is no number.")
        self._array = _Array(content, dtype, ())

    def resolve(self, memo, depth):
        return self._array.resolve(memo, depth)[()]


def _encode(text, encoding):
    """How old pickle protocols write bytes."""
    if not isinstance(text, str) or encoding not in ("latin1", b"latin1"):
        raise pickle.UnpicklingError("it encodes something else than bytes.")
    return text.encode("latin1")


def _no_bytes():
    """How old pickle protocols write empty bytes."""
    return b""


def _set(items):
    """How old pickle protocols write sets."""
    return set(items)


def _resolve(value, memo, depth):
    """Replace the descriptions in unpickled data by the arrays and numbers that they describe."""
    if depth > _MAX_DEPTH:
        raise pickle.UnpicklingError(f"it is nested more than {_MAX_DEPTH} deep.")
    if id(value) in memo:
        return memo[id(value)]
    match value:
        case _Array() | _Scalar():
            resolved = value.resolve(memo, depth)
        case list() | tuple() | set() | frozenset():
            resolved = type(value)(_resolve(item, memo, depth + 1) for item in value)
        case dict():
            resolved = {
                _resolve(key, memo, depth + 1): _resolve(item, memo, depth + 1)
                for key, item in value.items()
            }
        case None | bool() | int() | float() | str() | bytes() | bytearray():
            return value
        case _:
            raise pickle.UnpicklingError("it holds a name, and nothing but a name.")
    memo[id(value)] = resolved
    return resolved


_STAND_INS = {("_codecs", "encode"): _Name(_encode)}
for _package in ("builtins", "__builtin__"):
    _STAND_INS |= {(_package, "bytes"): _Name(_no_bytes), (_package, "set"): _Name(_set)}
for _package in ("numpy", "numpy.core", "numpy._core"):
    _STAND_INS |= {
        (f"{_package}.multiarray", "_reconstruct"): _Name(lambda subtype, shape, code: _Array()),
        (f"{_package}.multiarray", "scalar"): _Name(_Scalar),
        (f"{_package}.numeric", "_frombuffer"): _Name(_Array),
        (_package, "dtype"): _Name(_Dtype),
        (_package, "ndarray"): _Name(),
    }
