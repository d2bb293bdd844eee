"""Let the C library keep freed memory for a block, where the environment tells it not to."""

import contextlib
import ctypes
import os
from typing import Any

from skspeech._shared_setting import SharedSetting

__all__ = ["kept_memory"]

# Options of glibc's mallopt, their variables, and what holds inside a block. Dask starts its
# workers with the first variable; without it, glibc finds both sizes by itself, and better so.
_TRIM, _TRIM_VARIABLE, _TRIM_ABOVE = -1, "MALLOC_TRIM_THRESHOLD_", 256 << 20
_MAP, _MAP_VARIABLE, _MAP_ABOVE = -3, "MALLOC_MMAP_THRESHOLD_", 32 << 20
_MAP_ABOVE_BY_DEFAULT = 128 << 10


def kept_memory():
    """Inside the block, memory is not given back to the system whenever an array is freed.

    Each batch of a network would otherwise get new pages, which takes a third of its time. After
    the last block of this process the environment's setting holds again, and what was kept is
    given back. Does nothing without that setting, or with a C library other than glibc.

    Returns
    -------
    context manager
    """
    is_set = _size(_TRIM_VARIABLE) is not None and hasattr(_library(), "mallopt")
    return _kept.block() if is_set else contextlib.nullcontext()


def _keep():
    library, trim_above = _library(), _size(_TRIM_VARIABLE)
    library.mallopt(_TRIM, _TRIM_ABOVE)
    library.mallopt(_MAP, _MAP_ABOVE)

    def give_back():
        library.mallopt(_TRIM, trim_above)
        library.mallopt(_MAP, _size(_MAP_VARIABLE) or _MAP_ABOVE_BY_DEFAULT)
        library.malloc_trim(0)

    return give_back


_kept = SharedSetting(_keep)


def _library() -> Any:
    return ctypes.CDLL(None) if os.name == "posix" else None


def _size(variable):
    """Bytes that a variable of the environment names, as mallopt takes them, or None."""
    value = os.environ.get(variable, "")
    return min(int(value), 2**31 - 1) if value.isdecimal() else None
