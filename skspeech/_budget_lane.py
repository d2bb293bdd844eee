"""Work in the calling process: a thread that can be abandoned, and what it does."""

import math
import queue
import sys
import threading
import time
import traceback
import weakref

import numpy as np
from sklearn import clone
from sklearn.pipeline import Pipeline

from skspeech._budget_tasks import Task, limit_threads, run_task

__all__ = ["Lane", "Stopped", "Threads", "Work", "wait_for_lanes"]

FIRST_CHUNK, LARGEST_CHUNK = 32, 4096
CHUNK_SECONDS = 1.0
FIRST_LEVEL = 10_000  # rows of the first look, for candidates without an embedding
LARGE_PRODUCT = 2e7  # multiply-adds from which linear algebra gains by several threads


_LANES = weakref.WeakSet()


def wait_for_lanes(seconds):
    """Wait for lanes that were given up but still compute, before the interpreter ends.

    A library that is interrupted by that in the middle of its work may abort the process.
    """
    end = time.monotonic() + seconds
    for thread in list(_LANES):
        thread.join(max(end - time.monotonic(), 0))


class Stopped(Exception):
    """The lane's work is no longer wanted."""


class Lane:
    """A daemon thread for work in this process. It is abandoned, not killed."""

    def __init__(self, inbox):
        self._inbox = inbox
        self._work = queue.SimpleQueue()
        thread = threading.Thread(target=self._run, name="skspeech-lane", daemon=True)
        _LANES.add(thread)
        thread.start()

    def start(self, job, function):
        """Run ``function(job, post)``."""
        self._work.put((job, function))

    def close(self):
        self._work.put(None)

    def _run(self):
        while (work := self._work.get()) is not None:
            job, function = work

            def post(kind, *payload, job=job):
                if job.stopped:
                    raise Stopped
                self._inbox.put(("lane", job, kind, payload))

            try:
                function(job, post)
                self._inbox.put(("lane", job, "done", ()))
            except Stopped:
                self._inbox.put(("lane", job, "done", ()))
            except BaseException as error:
                self._inbox.put(("lane", job, "error", (error, traceback.format_exc())))


class Pace:
    """How many rows to compute at once: found while going along."""

    def __init__(self):
        self.chunk = FIRST_CHUNK

    def update(self, n_rows, seconds):
        """Take in a chunk; return the seconds per row to be expected."""
        rate = seconds / n_rows
        self.chunk = int(np.clip(CHUNK_SECONDS / max(rate, 1e-9), FIRST_CHUNK, LARGEST_CHUNK))
        return rate


class Work:
    """What the lane can do. It runs in the lane's thread, and posts what it finds.

    Parameters
    ----------
    data : Data
    classes : ndarray
    folds : list of (train, test)
    order : ndarray of int
    budget : float
        Seconds.
    threads : Threads
    """

    def __init__(self, data, classes, folds, order, budget, threads):
        self.data, self.classes, self.folds, self.order = data, classes, folds, order
        self.budget = budget
        self.threads = threads

    def first(self, job, post):
        entry = job.entry
        level = self._embed(entry.head, self.data.n_total, job, post, subset=True)
        if level is None:
            level = min(self.data.n_total, FIRST_LEVEL)
        self._fit_full(job, level, post)

    def evaluate(self, job, post):
        entry = job.entry
        level = self._embed(entry.head, job.level, job, post, subset=entry.head is not None)
        if level is None:
            level = job.level
        if entry.where == "worker":
            return
        for fold in range(len(self.folds)):
            train, test = self.available(fold, level)
            if not len(test) or job.stopped:
                continue
            model = clone(entry.tail)
            X, X_test = self.rows(entry, train), self.rows(entry, test)
            self._share_blas(X, job)
            task = Task(self.whole(entry, model), self.classes)
            *_, outcome = run_task(task, X, self.data.y[train], X_test, stream=False)
            post("fold", fold, level, test, outcome)

    def refit(self, job, post):
        entry = job.entry
        head = entry.head
        level = head.level if head is not None and head.shareable else self.data.n_total
        self._fit_full(job, level, post)

    def _fit_full(self, job, level, post):
        entry = job.entry
        rows = self.training_rows(level)
        X = self.rows(entry, rows)
        self._share_blas(X, job)
        task = Task(self.whole(entry, clone(entry.tail)), self.classes)
        *_, outcome = run_task(task, X, self.data.y[rows], None, stream=False)
        post("full", level, outcome)

    def _share_blas(self, X, job):
        size = math.prod(X.shape if hasattr(X, "shape") else (len(X),)) * len(self.classes)
        self.threads.set(job.n_threads, None if size > LARGE_PRODUCT else 1)

    def whole(self, entry, tail):
        """The estimator that takes what `_rows` gives."""
        if entry.head is None or entry.head.shareable:
            return tail
        return Pipeline([*[(n, clone(s)) for n, s in entry.head.steps], ("classifier", tail)])

    def rows(self, entry, rows):
        if entry.head is not None and entry.head.shareable:
            return entry.head.take(rows)
        return self.data.take(rows)

    def training_rows(self, level):
        rows = self.order[:level]
        return np.sort(rows[rows < self.data.n_train])

    def available(self, fold, level):
        train, test = self.folds[fold]
        if level >= self.data.n_total:
            return train, test
        there = np.zeros(self.data.n_total, dtype=bool)
        there[self.order[:level]] = True
        return train[there[train]], test[there[test]]

    def _embed(self, head, target, job, post, subset):
        """Compute embeddings chunk by chunk; return how many rows there are now.

        Where all rows would take more than a third of the budget, a first part is enough.
        """
        if head is None or not head.shareable:
            return None
        pace = Pace()
        begun = time.monotonic()
        while head.level < target and not job.stopped:
            rows = self.order[head.level : min(head.level + pace.chunk, target)]
            self.threads.set(job.n_threads)
            start = time.monotonic()
            try:
                shareable = self._transform(head, rows)
            except Exception as error:
                head.error = self._tell_all(head, error)
                raise head.error from None
            seconds = time.monotonic() - start
            if job.stopped:
                raise Stopped
            warm = head.level > 0
            if shareable:
                head.level += len(rows)
            post("embedded", head, len(rows), seconds)
            if not shareable:
                return None
            # The first chunk also pays for imports and weights; a guess from it is too high.
            head.rate = pace.update(len(rows), seconds)
            if warm and subset:
                target = min(target, self._first_part(head, target, time.monotonic() - begun))
        return head.level

    def _transform(self, head, rows):
        """Compute the features of some rows; False if they cannot be shared."""
        return all(
            head.store(part, head.transform(self.data.take(part)), self.data.n_total)
            for part in self.data.split(rows)
        )

    def _tell_all(self, head, error):
        """Where an error lists the rows it is about: the same for all rows, as the user counts."""
        if hasattr(error, "failures"):
            try:
                for part in self.data.split(np.arange(self.data.n_total)):
                    head.transform(self.data.take(part))
            except type(error) as complete:
                return complete
        return error

    def _first_part(self, head, target, spent):
        """Number of rows to go to at first."""
        if spent + head.rate * (target - head.level) <= self.budget / 3:
            return target
        affordable = int((self.budget / 12 - spent) / head.rate)
        return max(head.level + affordable, 10 * len(self.classes), head.level)


class Threads:
    """The threads of this process's numerical libraries: set for a run, restored after the last."""

    def __init__(self):
        self._lock = threading.Lock()
        self._inside = set()
        self._before, self._torch_before, self._setting = {}, None, None

    def enter(self, session):
        from threadpoolctl import threadpool_info

        with self._lock:
            if not self._inside:
                self._before = {info["prefix"]: info["num_threads"] for info in threadpool_info()}
                self._torch_before = self._setting = None
            self._inside.add(id(session))

    def set(self, n_threads, n_blas=None):
        """Set the number for this process, and for torch in the thread that calls."""
        torch = sys.modules.get("torch")
        setting = threading.get_ident(), n_threads, n_blas, torch is None
        with self._lock:
            if not self._inside or setting == self._setting:
                return
            self._setting = setting
            if self._torch_before is None and hasattr(torch, "get_num_threads"):
                self._torch_before = torch.get_num_threads()
            limit_threads(n_threads, n_blas)

    def leave(self, session):
        from threadpoolctl import threadpool_limits

        with self._lock:
            if id(session) not in self._inside:
                return
            self._inside.discard(id(session))
            if self._inside:
                return
            threadpool_limits(limits=self._before)
            if self._torch_before is not None:
                sys.modules["torch"].set_num_threads(self._torch_before)
