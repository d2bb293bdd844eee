"""How many cores to use."""

import os

import joblib
from joblib.parallel import get_active_backend

__all__ = ["effective_cores", "reading_threads"]


def effective_cores(n_jobs):
    """Number of cores that `n_jobs` stands for, here and now.

    Parameters
    ----------
    n_jobs : int or None
        None is all cores; inside a joblib worker it is the worker's share, and in a
        :class:`joblib.parallel_config` context what that says. Negative numbers count from all
        cores down, as in joblib.

    Returns
    -------
    int

    Raises
    ------
    ValueError
        If it is 0.
    """
    if n_jobs == 0:
        raise ValueError("n_jobs=0 has no meaning: give a number of threads, or -1 for all cores.")
    backend, configured = get_active_backend()
    if n_jobs is not None and n_jobs > 0:
        return n_jobs
    if backend.nesting_level:  # a joblib worker: joblib says how many threads are its share
        return max(1, int(os.environ.get("OMP_NUM_THREADS", 1)))
    if n_jobs is None:
        n_jobs = configured
    n_cores = joblib.cpu_count()
    if n_jobs is None:
        return n_cores
    # Not joblib.effective_n_jobs: in a daemonic process it warns and gives 1.
    return n_jobs if n_jobs > 0 else max(1, n_cores + 1 + n_jobs)


def reading_threads(n_jobs, n_clips):
    """Number of threads to read `n_clips` clips: for None at most 4, as more gain little.

    Parameters
    ----------
    n_jobs : int or None
        As for :func:`effective_cores`, except for None.
    n_clips : int

    Returns
    -------
    int
        At least 1.
    """
    # Not joblib's own count of jobs, which warns if processes can't be started.
    n_threads = min(4, joblib.cpu_count()) if n_jobs is None else effective_cores(n_jobs)
    return max(1, min(n_threads, n_clips))
