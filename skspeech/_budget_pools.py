"""Where candidates run that do not run in the calling process."""

import contextlib
import os
import threading
import time
from concurrent.futures import ProcessPoolExecutor

from skspeech._budget_lane import Stopped
from skspeech._budget_tasks import PickledClassifier, executor_task
from skspeech._workers import WorkerProcess, available_memory, kill_marked, new_mark

__all__ = ["ExecutorPool", "LocalPool", "PoolOutcome"]

MEMORY_RESERVE = 256 * 2**20


class LocalPool:
    """Worker processes on this machine."""

    broken = False

    def __init__(self, n_cores, inbox):
        self.n_cores = n_cores
        self.inbox = inbox
        self.threads = max(1, min(4, n_cores // 2))
        self.capacity = max(1, n_cores // self.threads)
        self.mark = new_mark()
        self.workers = []
        self.deaths = 0
        self._ready = set()
        self._hiring = threading.Lock()
        self._closed = False
        self._memory_limit = max(
            (available_memory() - MEMORY_RESERVE) * 0.9 / self.capacity, MEMORY_RESERVE
        )
        self._looked = 0.0

    @property
    def busy(self):
        return any(worker.task is not None for worker in self.workers)

    working = busy

    @property
    def threads_in_use(self):
        return self.threads * sum(worker.task is not None for worker in self.workers)

    def free(self, lane_busy):
        """Number of tasks that may start now."""
        if self.deaths > 2:  # workers cannot even start here
            return 0
        lane = self.threads if lane_busy else 0
        return (self.n_cores - lane - self.threads_in_use) // self.threads

    def start(self, job, task, session, train, test, left):
        import cloudpickle

        command = {
            "task_id": id(job),
            "task": cloudpickle.dumps(task),
            "train": (self._reference(job, session, train), (session.dump("y"), train)),
            "test": None if test is None else self._reference(job, session, test),
            "model_path": os.path.join(session.folder, f"model-{id(job)}"),
            "n_threads": self.threads,
            "time_left": left,
        }
        worker = next((w for w in self.workers if w.task is None), None)
        if worker is None:
            worker = self._new_worker()
        worker.task = job
        worker.clear_log()
        job.started = time.monotonic()
        worker.submit(command)

    def _new_worker(self):
        # Whoever closes waits until the process is among those that are killed then.
        with self._hiring:
            if self._closed:
                raise Stopped
            worker = WorkerProcess(self.inbox, self.threads, self.mark)
            self.workers.append(worker)
        return worker

    def _reference(self, job, session, rows):
        head = job.entry.head
        if head is not None and head.shareable:
            return head.dump(session.folder), rows
        part, indices = session.data.locate(rows)
        return session.dump(part), indices

    def ready(self, worker):
        """A new worker has its imports done: its task's time counts from here."""
        self._ready.add(worker)
        if worker.task is not None:
            worker.task.started = time.monotonic()

    def finished(self, job):
        for worker in self.workers:
            if worker.task is job:
                worker.task = None

    def forget(self, worker):
        if worker in self.workers:
            self.workers.remove(worker)
        worker.kill()
        worker.release()

    def troubled(self, entries):
        """Workers whose task has had its time, or takes too much memory."""
        troubled = [(w, "time") for w in self.workers if w.task is not None and w.task.overdue]
        if time.monotonic() - self._looked > 0.15:
            self._looked = time.monotonic()
            troubled += self._hogs([w for w, _ in troubled])
        return troubled

    def _hogs(self, besides):
        working = [w for w in self.workers if w.task is not None and w not in besides]
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

    def kill(self, worker):
        worker.task = None
        worker.kill()
        self.forget(worker)

    def abandon(self):
        return [worker.task for worker in self.workers if worker.task is not None]

    def close(self):
        """Kill all workers, and what they started."""
        with self._hiring:
            self._closed = True
        if not self.workers and not self._ready:
            return
        for worker in self.workers:
            worker.kill()
        kill_marked(self.mark)
        for worker in self.workers:
            worker.release()
        self.workers = []


def _memory_error(size, why):
    return f"MemoryError: the worker process held {size / 2**20:.0f} MiB; {why}"


class ExecutorPool:
    """A user's `concurrent.futures.Executor`."""

    def __init__(self, executor, n_cores, inbox):
        self.executor = executor
        self.inbox = inbox
        self.capacity = _executor_size(executor, n_cores)
        self.futures = {}
        self._threads = None
        if isinstance(executor, ProcessPoolExecutor):
            self._threads = max(1, n_cores // self.capacity)

    @property
    def broken(self):
        return bool(getattr(self.executor, "_broken", False))

    @property
    def busy(self):
        return bool(self.futures)

    working = busy
    threads_in_use = 0  # the user's executor may be elsewhere; its cores are not ours to count

    def free(self, lane_busy):
        return self.capacity - len(self.futures)

    def start(self, job, task, session, train, test, left):
        import cloudpickle

        def rows(indices):
            head = job.entry.head
            if head is not None and head.shareable:
                return head.take(indices)
            return session.data.take(indices)

        payload = cloudpickle.dumps(
            (
                task,
                rows(train),
                session.data.y[train],
                None if test is None else rows(test),
                self._threads,
            )
        )
        future = self.executor.submit(executor_task, payload)
        self.futures[job] = future
        job.started = time.monotonic()
        future.add_done_callback(lambda done: self.inbox.put(("future", job, done)))

    def finished(self, job):
        future = self.futures.pop(job, None)
        if future is not None:
            future.cancel()

    def overdue(self):
        return [job for job in list(self.futures) if job.overdue]

    def abandon(self):
        jobs = list(self.futures)
        for job in jobs:
            job.stopped = True
            self.futures.pop(job).cancel()
        return jobs

    def close(self):
        self.abandon()


def _executor_size(executor, n_cores):
    size = getattr(executor, "_max_workers", None)
    if size is None and hasattr(executor, "_client"):  # Dask's
        with contextlib.suppress(Exception):
            size = sum(executor._client.nthreads().values())
    return max(1, size or n_cores)


class PoolOutcome:
    """A worker's message, as an outcome."""

    def __init__(self, name, payload, message):
        self.model = PickledClassifier.from_bytes(payload, message["classes"], repr(name))
        self.proba = message["proba"]
        self.fit_time = message["fit_time"]
        self.predict_time = message["predict_time"]
        self.final = message["final"]
