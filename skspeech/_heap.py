"""Let the C library keep freed memory for a block, where the environment tells it not to."""

import contextlib
import ctypes
import os
import threading

from skspeech._forks import in_each_fork

__all__ = ["kept_memory"]

# Dask starts its workers with it.
_VARIABLE = "MALLOC_TRIM_THRESHOLD_"
# Options of glibc's mallopt. Without the variable it finds both sizes by itself, and better so.
_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3
_TRIM_ABOVE, _MAP_ABOVE = 256 << 20, 32 << 20
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
    library, wanted = ctypes.CDLL(None) if os.name == "posix" else None, os.environ.get(_VARIABLE)
    if not (wanted or "").isdecimal() or not hasattr(library, "mallopt"):
        yield
        return
    with _lock:
        _n_open += 1
        if _n_open == 1:
            library.mallopt(_TRIM_THRESHOLD, _TRIM_ABOVE)
            library.mallopt(_MMAP_THRESHOLD, _MAP_ABOVE)
    try:
        yield
    finally:
        with _lock:
            _n_open -= 1
            if _n_open == 0:
                library.mallopt(_TRIM_THRESHOLD, min(int(wanted), 2**31 - 1))
                library.mallopt(_MMAP_THRESHOLD, _MAP_ABOVE_BY_DEFAULT)
                library.malloc_trim(0)
