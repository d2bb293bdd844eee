"""Pools that run candidates outside the calling process."""

import math
import threading
import time
import traceback
from concurrent.futures import BrokenExecutor
from functools import partial

from skspeech._stopping import Stopped
from skspeech.time_budget.workers.process import (
    WorkerProcess,
    available_memory,
    describe_exit,
    kill_marked,
)
from skspeech.time_budget.workers.rows import ExchangeFolder
from skspeech.time_budget.workers.tasks import describe_error, executor_task
from skspeech.transformers.workers import executor_size, threads_in

__all__ = ["ExecutorPool", "LocalPool"]

MEMORY_RESERVE = 256 * 2**20


class LocalPool:
    """Worker processes on this machine."""

    def __init__(self, n_cores, inbox):
        self.n_cores = n_cores
        self.inbox = inbox
        self.folder = ExchangeFolder()
        self.threads = max(1, min(4, n_cores // 2))
        self.capacity = max(1, n_cores // self.threads)
        self.workers = []
        self._hiring = threading.Lock()
        self._has_hired = False
        self._memory_limit = max(
            (available_memory() - MEMORY_RESERVE) * 0.9 / self.capacity, MEMORY_RESERVE
        )
        self._looked = 0.0

    @property
    def jobs(self):
        """The running jobs."""
        return [worker.task for worker in self.workers if worker.task is not None]

    @property
    def threads_in_use(self):
        return self.threads * len(self.jobs)

    def free(self, busy_here):
        """Number of jobs that may start now."""
        here = self.threads if busy_here else 0
        return (self.n_cores - here - self.threads_in_use) // self.threads

    def start(self, job, task, rows, time_left):
        """Run a job's `Task` on its `RowsOfJob`.

        The kernel ends a worker whose parent is gone after `time_left` seconds.
        """
        import cloudpickle

        # Before anything is written: if this process is killed, its workers remove the files.
        worker = next((w for w in self.workers if w.task is None), None) or self._new_worker()
        command = {
            "task": cloudpickle.dumps(task),
            "rows": rows.files(self.folder),
            "n_threads": self.threads,
            "time_left": time_left,
        }
        worker.task = job
        job.started = time.monotonic()
        worker.submit(command)

    def _new_worker(self):
        # Whoever closes waits until the process is among those that are killed then.
        with self._hiring:
            if self.folder.is_closed:
                raise Stopped
            worker = WorkerProcess(self.inbox, self.threads, self.folder.name)
            self.workers.append(worker)
            self._has_hired = True
        return worker

    def read(self, worker, kind, *news):
        """Read a worker's message: its job, or None if it has none; the kind; and more."""
        job = worker.task
        if kind == "died":
            self.forget(worker)
            return job, "error", describe_exit(*news), worker.log
        if kind == "error" and worker.log:
            exception, text = news
            news = exception, f"{text}\nPrinted at the end:\n{worker.log}"
        return job, kind, *news

    def finished(self, job):
        """Forget a job that has ended, or is stopped: only its death stops a worker."""
        worker = next((w for w in self.workers if w.task is job), None)
        if worker is not None:
            worker.task = None
            if job.stopped:
                self.forget(worker)

    def forget(self, worker):
        """Kill a worker, or whatever a dead one has left behind."""
        worker.kill()  # while it is in the list, since another thread may close the pool
        if worker in self.workers:
            self.workers.remove(worker)
        worker.release()

    def troubled(self):
        """(job, why, log) of each that takes too much time, for which `why` is None, or memory."""
        now = time.monotonic()
        working = [w for w in self.workers if w.task is not None]
        late = [w for w in working if now - w.task.started > w.task.limit]
        troubled = [(w, None) for w in late]
        if now - self._looked > 0.15:
            self._looked = now
            troubled += self._hogs([w for w in working if w not in late])
        return [(w.task, why, w.log) for w, why in troubled]

    def _hogs(self, working):
        sizes = {worker: worker.memory() for worker in working}
        hogs = []
        for worker, size in sizes.items():
            limit = worker.task.entry.candidate.max_memory or self._memory_limit
            if size > limit:
                hogs.append((worker, _memory_error(size, f"its limit is {limit / 2**20:.0f} MiB")))
        if not hogs and sizes and available_memory() < MEMORY_RESERVE:
            worker = max(sizes, key=sizes.get)
            hogs.append((worker, _memory_error(sizes[worker], "the machine has no more")))
        return hogs

    def close(self):
        """Kill all workers and the processes that they started, and remove the files."""
        with self._hiring:
            self.folder.close()  # while there are workers, which do so if this process is killed
        if self._has_hired:
            for worker in self.workers:
                worker.kill()
            kill_marked(self.folder.name)
            for worker in self.workers:
                worker.release()
            self.workers, self._has_hired = [], False
        self.folder.close()  # of what a worker had open


def _memory_error(size, why):
    return f"MemoryError: the worker process held {size / 2**20:.0f} MiB; {why}"


class ExecutorPool:
    """A user's `concurrent.futures.Executor`."""

    threads_in_use = 0  # the executor may be elsewhere; its cores are not ours to count

    def __init__(self, executor, n_cores, inbox):
        self.executor = executor
        self.inbox = inbox
        self.capacity = executor_size(executor, n_cores)
        self.futures = {}
        self._threads = threads_in(executor, self.capacity, n_cores)

    @property
    def jobs(self):
        """The jobs that run or wait in the executor's queue."""
        return list(self.futures)

    def free(self, busy_here):
        """Number of jobs that may start now."""
        return self.capacity - len(self.futures)

    def start(self, job, task, rows, time_left):
        """Run a task; see `LocalPool.start`."""
        import cloudpickle

        payload = cloudpickle.dumps((task, *rows.values(), self._threads))
        try:
            future = self.executor.submit(executor_task, payload)
        except Exception as error:  # or it was shut down: no fault of the candidate's
            raise BrokenExecutor from error
        self.futures[job] = future
        future.add_done_callback(partial(self._report, job))

    def _report(self, job, future):
        """Post what came of a job; the executor calls this in a thread of its own."""
        if future.cancelled():
            messages = [("done",)]
        elif (error := future.exception()) is None:
            messages = future.result()
        elif isinstance(error, BrokenExecutor):
            messages = [("broken", describe_error(error), "The executor's worker died.")]
        else:
            messages = [("lost", error, "".join(traceback.format_exception(error)))]
        for message in messages:
            self.inbox.put((job, *message))

    def finished(self, job):
        future = self.futures.pop(job, None)
        if future is not None:
            future.cancel()

    def troubled(self):
        """As of `LocalPool`; the time is counted from when a job is first seen to run.

        Time in the executor's queue does not count. Dask's futures never report that they run, so
        their jobs have until the end of the budget.
        """
        now = time.monotonic()
        for job, future in self.futures.items():
            if job.started == math.inf and future.running():
                job.started = now
        return [(job, None, "") for job in self.futures if now - job.started > job.limit]

    def close(self):
        """Cancel jobs that have not begun, and leave running ones alone."""
        for job in self.jobs:
            job.stopped = True
            self.futures.pop(job).cancel()
