"""Limit the threads of numerical libraries for a block, and restore them in the same thread."""

import contextlib
import sys
import threading
import weakref

import joblib

from skspeech._forks import in_each_fork

__all__ = ["forget_limits", "limited_threads", "loaded", "set_threads", "within_cores"]


def loaded(name):
    """Return a module that is completely imported, or None.

    While another thread imports a module, it is in `sys.modules` but incomplete.
    """
    module = sys.modules.get(name)
    spec = getattr(module, "__spec__", None)
    return None if getattr(spec, "_initializing", False) else module


_lock = threading.Lock()
_limits = []  # (thread, its limit) of each open block
_left = weakref.WeakSet()  # abandoned threads: they limit nothing
_before = {}  # by path: each linear algebra library, and its number of threads before these blocks


@in_each_fork
def _forget_other_threads():
    global _lock
    _lock = threading.Lock()
    _limits.clear()
    _before.clear()


@contextlib.contextmanager
def limited_threads(n_threads=None, n_blas=None):
    """Let numerical libraries use `n_threads` inside the block, and restore that after it.

    OpenMP and torch have a limit for each thread. Linear algebra has one for the whole process: if
    blocks are open in several threads, the latest one's limit holds, and after the last block ends,
    the limit from before the first one is restored. A limit that the caller has set by
    threadpoolctl is kept.

    Parameters
    ----------
    n_threads : int, default=None
        For OpenMP, and for torch in this thread. None leaves them as they are.
    n_blas : int, default=None
        For linear algebra; None is `n_threads`. 1 is best if calls of NumPy and of SciPy alternate:
        each has a library of its own, whose idle threads busy-wait for the next call, so on two
        cores a logistic regression takes ten times as long with two threads.
    """
    from threadpoolctl import ThreadpoolController

    this = threading.current_thread()
    holds = _limits[-1:] == [(this, n_blas)]  # and the search for libraries takes milliseconds
    if n_threads is None and (n_blas is None or holds):
        yield
        return
    torch = loaded("torch") if n_threads is not None else None
    before = torch.get_num_threads() if torch is not None else None
    controller = ThreadpoolController()
    with controller.select(user_api="openmp").limit(limits=n_threads):
        with _lock:
            if this not in _left:
                for library in controller.select(user_api="blas").lib_controllers:
                    if getattr(library, "threading_layer", "") != "openmp":
                        _before.setdefault(library.filepath, (library, library.num_threads))
                _limits.append((this, n_blas or n_threads))
                _limit_blas()
        if torch is not None:
            torch.set_num_threads(n_threads)
        try:
            yield
        finally:
            if torch is not None:
                torch.set_num_threads(before)
            forget_limits(this, 1)


def forget_limits(thread, n_blocks=None):
    """End the last blocks of a thread, or all blocks of an abandoned thread, for good."""
    with _lock:
        if n_blocks is None:
            _left.add(thread)
        own = [i for i, (owner, _) in enumerate(_limits) if owner is thread]
        for i in reversed(own if n_blocks is None else own[-n_blocks:]):
            del _limits[i]
        _limit_blas()


def _limit_blas():
    for library, before in _before.values():
        library.set_num_threads(_limits[-1][1] if _limits else before)
        # Otherwise no other thread could change it before this one ends.
        getattr(library, "clear_controlling_thread", lambda: None)()
    if not _limits:
        _before.clear()


@contextlib.contextmanager
def within_cores():
    """Let torch use no more threads inside the block than this process may use cores.

    A container that may use few cores of a machine still sees all of them, and so does torch. One
    clip then took twenty times as long, with 64 threads on one core.
    """
    import torch

    before, n_cores = torch.get_num_threads(), joblib.cpu_count()
    if before <= n_cores:
        yield
        return
    torch.set_num_threads(n_cores)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def set_threads(n_threads):
    """Let numerical libraries use `n_threads` from now on: for worker processes."""
    from threadpoolctl import threadpool_limits

    threadpool_limits(limits={"openmp": n_threads, "blas": n_threads})
    torch = loaded("torch")
    if torch is not None:
        torch.set_num_threads(n_threads)
