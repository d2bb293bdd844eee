"""Let the C library keep freed memory for a block, where the environment tells it not to."""

import contextlib
import ctypes
import os
import threading
from typing import Any

from skspeech._forks import in_each_fork

__all__ = ["kept_memory"]

# Options of glibc's mallopt, their variables, and what holds inside a block. Dask starts its
# workers with the first variable; without it, glibc finds both sizes by itself, and better so.
_TRIM, _TRIM_VARIABLE, _TRIM_ABOVE = -1, "MALLOC_TRIM_THRESHOLD_", 256 << 20
_MAP, _MAP_VARIABLE, _MAP_ABOVE = -3, "MALLOC_MMAP_THRESHOLD_", 32 << 20
_MAP_ABOVE_BY_DEFAULT = 128 << 10

_lock = threading.Lock()
_n_open = 0  # blocks


@in_each_fork
def _forget_other_threads():
    global _lock, _n_open
    _lock, _n_open = threading.Lock(), 0


@contextlib.contextmanager
def kept_memory():
    """Inside the block, memory is not given back to the system whenever an array is freed.

    Each batch of a network would otherwise get new pages, which takes a third of its time. After
    the last block of this process the environment's setting holds again, and what was kept is
    given back. Does nothing without that setting, or with a C library other than glibc.
    """
    global _n_open
    trim_above = _size(_TRIM_VARIABLE)
    library: Any = ctypes.CDLL(None) if os.name == "posix" else None
    if trim_above is None or not hasattr(library, "mallopt"):
        yield
        return
    with _lock:
        _n_open += 1
        if _n_open == 1:
            library.mallopt(_TRIM, _TRIM_ABOVE)
            library.mallopt(_MAP, _MAP_ABOVE)
    try:
        yield
    finally:
        with _lock:
            _n_open -= 1
            if _n_open == 0:
                library.mallopt(_TRIM, trim_above)
                library.mallopt(_MAP, _size(_MAP_VARIABLE) or _MAP_ABOVE_BY_DEFAULT)
                library.malloc_trim(0)


def _size(variable):
    """Bytes that a variable of the environment names, as mallopt takes them, or None."""
    value = os.environ.get(variable, "")
    return min(int(value), 2**31 - 1) if value.isdecimal() else None
