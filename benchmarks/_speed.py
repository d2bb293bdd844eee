"""Compare timings: every ratio comes from alternating repetitions in one run."""

import gc
import statistics
import sys
import time
from pathlib import Path

__all__ = ["IMPORT_MEMORY", "alternate", "matmul_flops", "memory", "seconds"]

_TESTS = str(Path(__file__).resolve().parent.parent / "tests")
sys.path.insert(0, _TESTS)
import memory  # noqa: E402

# The same for scripts that run in a process of their own.
IMPORT_MEMORY = f"import sys; sys.path.insert(0, {_TESTS!r}); import memory"


def seconds(function):
    """Time one call."""
    gc.collect()
    start = time.perf_counter()
    function()
    return time.perf_counter() - start


def alternate(functions, repeats=5):
    """Time several functions in turn, so that noise on the machine affects all of them.

    Parameters
    ----------
    functions : dict of str to callable
        Functions to time; each is first called once without timing.
    repeats : int, default=5
        Number of rounds.

    Returns
    -------
    dict of str to float
        Median seconds of each.
    """
    for function in functions.values():
        function()
    times = {name: [] for name in functions}
    for _ in range(repeats):
        for name, function in functions.items():
            times[name].append(seconds(function))
    return {name: statistics.median(values) for name, values in times.items()}


def matmul_flops(size=2048):
    """A function that multiplies two float32 matrices, and its floating-point operations."""
    import torch

    a, b = torch.randn(size, size), torch.randn(size, size)
    return (lambda: a @ b), 2 * size**3
