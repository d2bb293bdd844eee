"""Threads of the numerical libraries: set for a piece of work, and set back in the same thread."""

import contextlib
import sys

__all__ = ["limited_threads", "loaded", "set_threads"]


def loaded(name):
    """Return a module that is imported completely, or None.

    While another thread imports a module, it stands half-made in `sys.modules`.
    """
    module = sys.modules.get(name)
    spec = getattr(module, "__spec__", None)
    return None if getattr(spec, "_initializing", False) else module


@contextlib.contextmanager
def limited_threads(n_threads, n_blas=None):
    """Let numerical libraries use `n_threads` inside the block, and as before after it.

    OpenBLAS has one limit for the whole process, which threadpoolctl lets only one thread change
    at a time: where another one does, its limit stands, and the block runs all the same.

    Parameters
    ----------
    n_threads : int
        For OpenMP, and for torch in this thread.
    n_blas : int, default=None
        For linear algebra; None is the same. Many small products are quicker in one thread, and
        far quicker where other processes are busy on the same cores.
    """
    from threadpoolctl import threadpool_limits

    torch = loaded("torch")
    before = torch.get_num_threads() if torch is not None else None
    with threadpool_limits(limits={"openmp": n_threads, "blas": n_blas or n_threads}):
        if torch is not None:
            torch.set_num_threads(n_threads)
        try:
            yield
        finally:
            if torch is not None:
                torch.set_num_threads(before)


def set_threads(n_threads):
    """Let numerical libraries use `n_threads` from now on: for a process that only works."""
    from threadpoolctl import threadpool_limits

    threadpool_limits(limits={"openmp": n_threads, "blas": n_threads})
    torch = loaded("torch")
    if torch is not None:
        torch.set_num_threads(n_threads)
