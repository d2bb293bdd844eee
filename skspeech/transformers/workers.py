"""Embed clips in other processes, on this machine or others, through joblib.

Clips are sent to the workers (files as absolute paths), and rows of features come back. Each worker
loads the networks once, and keeps nothing else.
"""

import contextlib
import contextvars
import copy
import multiprocessing
import pickle
import threading
from concurrent.futures import (
    BrokenExecutor,
    CancelledError,
    ProcessPoolExecutor,
    ThreadPoolExecutor,
)

import joblib
import numpy as np
from joblib.parallel import MultiprocessingBackend, ParallelBackendBase, get_active_backend
from sklearn import clone
from sklearn.pipeline import FeatureUnion

from skspeech._heap import kept_memory
from skspeech._stopping import Stopped, stop_check
from skspeech._threads import limited_threads
from skspeech.audio.loading import Remarks
from skspeech.audio.measuring import about_durations

__all__ = [
    "Workers",
    "WorkersDiedError",
    "chosen_workers",
    "executor_size",
    "side_by_side",
    "threads_in",
]

# Largest and smallest shard: seconds of audio that a worker embeds in one task. Shards are smaller
# where each worker would not get several, but still large enough to be worth the transfer.
_SHARD_SECONDS, _SMALLEST_SHARD = 60.0, 2.0
_SHARDS_A_WORKER = 4
# Give up after this many deaths of workers. A cluster that retries by itself has already done so.
_MOST_DEATHS = 3
_DEATHS = {
    "CommClosedError",
    "FutureCancelledError",
    "KilledWorker",
    "ShutdownExecutorError",
    "WorkerCrashedError",
}


_chosen = contextvars.ContextVar("skspeech_workers", default=None)


class WorkersDiedError(RuntimeError):
    """Workers died repeatedly while they embedded some clips."""


class ExecutorBackend(ParallelBackendBase):
    """A joblib backend that runs tasks in a given executor.

    Parameters
    ----------
    executor : concurrent.futures.Executor
        Runs the tasks.
    n_workers : int
        Number of tasks it runs at once.
    """

    supports_retrieve_callback = True

    def __init__(self, executor, n_workers):
        super().__init__(nesting_level=0)
        self.executor, self.n_workers = executor, n_workers
        self._futures = set()

    def effective_n_jobs(self, n_jobs):
        return max(2, self.n_workers)  # with one job, joblib would compute in this process

    def submit(self, func, callback=None):
        future = self.executor.submit(func)
        self._futures.add(future)
        future.add_done_callback(self._futures.discard)
        future.add_done_callback(callback)
        return future

    apply_async = submit  # before joblib 1.5

    def retrieve_result_callback(self, out):
        return out.result()

    def abort_everything(self, ensure_ready=True):
        for future in list(self._futures):
            future.cancel()


class Workers:
    """The workers of a joblib backend in other processes.

    Parameters
    ----------
    backend : ParallelBackendBase
        The backend.
    n_jobs : int or None
        Number of workers to use; None is all.

    Attributes
    ----------
    executor : concurrent.futures.Executor or None
        The executor that runs the workers, if there is one.
    are_awake : bool
        Whether they have finished the imports that :meth:`wake` started.
    """

    def __init__(self, backend, n_jobs=None):
        if hasattr(backend, "client"):
            # Joblib's own Dask backend waits forever for a task that Dask has given up.
            backend = _backend_of_client(backend.client, getattr(backend, "submit_kwargs", {}))
        self.backend, self.n_jobs = backend, n_jobs or -1
        self.executor = getattr(backend, "executor", None)
        self.are_awake = False

    @classmethod
    def of_executor(cls, executor, n_cores):
        """The workers of an executor; None if it computes in this process."""
        if isinstance(executor, ThreadPoolExecutor):
            return None
        if hasattr(executor, "_client"):  # Dask's
            return cls(_backend_of_client(executor._client, executor._kwargs))
        return cls(ExecutorBackend(executor, executor_size(executor, n_cores)))

    @property
    def n_workers(self):
        """Current number of workers."""
        return getattr(self.backend, "n_workers", None) or self.backend.effective_n_jobs(
            self.n_jobs
        )

    @contextlib.contextmanager
    def chosen(self):
        """A context in which extractors in this thread use these workers, and nothing else does."""
        token = _chosen.set(self)
        try:
            yield
        finally:
            _chosen.reset(token)

    def wake(self):
        """Start the workers' imports, which may take long, while this process does something else.

        A thread waits for them until they finish or the caller's work is stopped.
        """

        def wait():
            with contextlib.suppress(Exception, Stopped):
                for _ in self._results(_do_imports, [()] * max(self.n_workers, 1)):
                    pass
                self.are_awake = True

        context = contextvars.copy_context()
        threading.Thread(
            target=context.run, args=(wait,), name="skspeech-wake", daemon=True
        ).start()

    def compute(self, extractor):
        """A function that embeds clips in the workers; replaces an extractor's `_compute_here`."""

        def compute(clips, todo, pooled, remarks):
            shards = self._shards(clips, todo, extractor.max_duration)
            if len(shards) < 2:
                yield from extractor._compute_here(clips, todo, pooled, remarks)
                return
            payload, n_threads = _dump(extractor), threads_in(self.executor, self.n_workers)
            tasks = [(payload, clips[shard].located(), pooled, n_threads) for shard in shards]
            results = self._results(_embed_shard, tasks)
            for number, (indices, arrays, reusable, own) in results:
                remarks.add(own)
                yield shards[number][indices], arrays, reusable

        return compute

    def _shards(self, clips, todo, max_duration):
        """Cut clips, in order, into shards of bounded duration; returns arrays of indices."""
        seconds = np.minimum(about_durations(clips[todo]), max_duration or np.inf)
        size = seconds.sum() / (_SHARDS_A_WORKER * max(self.n_workers, 1))
        size = min(max(size, _SMALLEST_SHARD), _SHARD_SECONDS)
        numbers = ((np.cumsum(seconds) - seconds / 2) / size).astype(int)
        return np.split(todo, np.flatnonzero(np.diff(numbers)) + 1)

    def _results(self, function, tasks):
        """Yield (number, result) of tasks as they finish; tasks lost with a worker are repeated."""
        todo, n_deaths, check = dict(enumerate(tasks)), 0, stop_check()
        while todo:
            check()
            # Each call has a backend of its own: one that is cancelled loses what it refers to.
            if self.executor is not None:
                backend = ExecutorBackend(self.executor, self.n_workers)
            else:
                backend = copy.copy(self.backend)
            parallel = joblib.Parallel(
                self.n_jobs,
                backend=backend,
                batch_size=1,
                # Pools, such as Ray's, give all results at once.
                return_as="generator_unordered" if backend.supports_return_generator else "list",
            )
            jobs = [joblib.delayed(_numbered)(n, function, *task) for n, task in todo.items()]
            try:
                with _ended_when_stopped(parallel, check):
                    for number, result in parallel(jobs):
                        del todo[number]
                        yield number, result
            except Exception as error:
                if not _is_death(error):
                    raise
                n_deaths += 1
                if n_deaths == _MOST_DEATHS:
                    shards = [task[1] for task in todo.values() if task]
                    raise WorkersDiedError(_who_died(shards)) from error


def chosen_workers():
    """The workers that the caller has chosen, for example by a joblib backend.

    Returns
    -------
    Workers or None
        None means threads of this process; always None inside a worker, and for forks of this
        process, in which torch may wait for threads that no longer exist.
    """
    if (workers := _chosen.get()) is not None:
        return workers
    backend, n_jobs = get_active_backend(prefer="threads")
    if backend.nesting_level or getattr(backend, "supports_sharedmem", False):
        return None
    if type(backend) is MultiprocessingBackend:
        return None
    return Workers(backend, n_jobs)


def side_by_side(extractors):
    """A union of (name, extractor) pairs that leaves a joblib context to the extractors.

    With scikit-learn's default `n_jobs`, the context would distribute extractors, not clips.
    """
    return FeatureUnion(extractors, n_jobs=1)


def executor_size(executor, n_cores):
    """How many tasks an executor runs at once."""
    size = getattr(executor, "_max_workers", None)
    if size is None and hasattr(executor, "_client"):  # Dask's
        with contextlib.suppress(Exception):
            size = sum(executor._client.nthreads().values())
    return max(1, size or n_cores)


def _backend_of_client(client, options):
    accepted = ("workers", "resources", "allow_other_workers", "retries")
    options = {name: value for name, value in options.items() if name in accepted}
    executor = client.get_executor(pure=False, **options)
    return ExecutorBackend(executor, executor_size(executor, 1))


def _is_death(error):
    if isinstance(error, (BrokenExecutor, CancelledError)):
        return True
    # Joblib's processes are shared: another thread that stops waiting for its tasks ends them all.
    names = {type(error).__name__, type(error.__context__).__name__}
    return bool(names & _DEATHS)


def _who_died(shards):
    names = [clip.name for clips in shards for clip in clips]
    some = ", ".join(names[:5]) + (", …" if len(names) > 5 else "")
    return (
        f"Workers died while they embedded clips, maybe for want of memory, and so did those that "
        f"tried again. {len(names)} clips are left: {some}. The others are remembered."
    )


@contextlib.contextmanager
def _ended_when_stopped(parallel, check):
    """End a `joblib.Parallel` when its results are no longer wanted."""
    over = threading.Event()

    def watch():
        while not over.wait(0.1):
            try:
                check()
            except Stopped:
                parallel._abort()
                return

    threading.Thread(target=watch, name="skspeech-watch", daemon=True).start()
    try:
        yield
    finally:
        over.set()


def _dump(extractor):
    """An extractor as bytes, with this machine's arithmetic, whatever the workers' processors.

    And the id of its network, if it has one: a worker may find other files under its name.
    """
    import cloudpickle

    copied = clone(extractor)
    if getattr(copied, "dtype", None) == "auto":
        copied.set_params(dtype=extractor._precision())
    return cloudpickle.dumps((copied, _network_id(extractor)))


def _network_id(extractor):
    return extractor._network_id() if hasattr(extractor, "_network_id") else None


def threads_in(executor, n_workers, n_cores=None):
    """Number of threads a worker computes in; None keeps its process's setting."""
    if not isinstance(executor, ProcessPoolExecutor):
        return None
    context = getattr(executor, "_mp_context", None) or multiprocessing.get_context()
    if context.get_start_method() == "fork":
        return 1  # after a fork, OpenMP would wait for threads that no longer exist
    return max(1, (n_cores or joblib.cpu_count()) // n_workers)


def _numbered(number, function, *task):
    """Run in a worker: return a task's result together with its number."""
    return number, function(*task)


def _do_imports():
    """Run in a worker: the slow imports needed before it can embed its first clip."""
    import torch  # noqa: F401


def _embed_shard(payload, clips, pooled, n_threads):
    """Run in a worker: embed some clips."""
    (extractor, network), remarks = pickle.loads(payload), Remarks()
    if (own := _network_id(extractor)) != network:
        raise ValueError(
            f"For {extractor!r}, a worker finds the network {own!r}, and the process that asks it "
            f"{network!r}. Name files by absolute paths and models of a hub with their revision, "
            "and use one version of skspeech."
        )
    indices, arrays, reusable = [], [], []
    with limited_threads(n_threads), kept_memory():
        for part in extractor._compute_here(clips, np.arange(len(clips)), pooled, remarks):
            for all_parts, some in zip((indices, arrays, reusable), part, strict=True):
                all_parts.extend(some)
    return np.array(indices, dtype=int), arrays, reusable, remarks
