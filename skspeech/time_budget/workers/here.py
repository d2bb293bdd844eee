"""Work in the calling process: a thread that can be abandoned, and the jobs it runs."""

import contextlib
import queue
import sys
import threading
import time
import traceback
import weakref

import numpy as np
from sklearn import clone
from sklearn.pipeline import Pipeline

from skspeech._stopping import Stopped, stoppable
from skspeech._threads import forget_limits, limited_threads
from skspeech.time_budget.state import FIRST_LEVEL
from skspeech.time_budget.workers.rows import RowsOfJob
from skspeech.time_budget.workers.tasks import Part, Task, run_task
from skspeech.transformers.workers import WorkersDiedError

__all__ = ["Work", "WorkThread", "wait_for_threads"]

# Rows embedded at once: first a few, which include the time for imports, then as many as take about
# a second.
WARM_UP_ROWS, FIRST_CHUNK, LARGEST_CHUNK = 4, 32, 4096
CHUNK_SECONDS = 1.0
BAD_ROWS_ADVICE = "Repair these clips, or leave them out together with their labels."
# Seconds of embedding for the first answer. It may take half of that more if it is done then.
FIRST_ANSWER_SECONDS = 1.0

_THREADS = weakref.WeakSet()


def wait_for_threads(seconds, importing):
    """Wait for abandoned threads that still compute, before the interpreter ends.

    If the interpreter ends while a library computes, the library may abort the process. During an
    import it nearly always does, and imports end by themselves, so an import gets up to `importing`
    further seconds, and the work after it gets `seconds` again. Returns whether some threads still
    compute.
    """
    start = time.monotonic()
    for thread in list(_THREADS):
        end = start + seconds
        while thread.is_alive() and time.monotonic() < end:
            thread.join(0.1)
            if _imports(thread):
                end = min(time.monotonic(), start + importing) + seconds
    return any(thread.is_alive() for thread in list(_THREADS))


def _imports(thread):
    frame = sys._current_frames().get(thread.ident) if thread.is_alive() else None
    while frame is not None and "importlib" not in frame.f_code.co_filename:
        frame = frame.f_back
    return frame is not None


class WorkThread:
    """A daemon thread for work in this process. It can be abandoned, but not killed."""

    def __init__(self, inbox):
        self._inbox = inbox
        self._work = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._run, name="skspeech-work", daemon=True)
        _THREADS.add(self._thread)
        self._thread.start()

    def start(self, job, function):
        """Run ``function(job, post)``; messages that it posts arrive in the inbox."""
        self._work.put((job, function))

    def close(self):
        """Have the thread end after its current job, if that ever ends."""
        self._work.put(None)
        forget_limits(self._thread)

    def _run(self):
        while (work := self._work.get()) is not None:
            self._do(*work)

    def _do(self, job, function):
        def post(kind, *news):
            if job.stopped:
                raise Stopped
            self._inbox.put((job, kind, *news))

        try:
            with contextlib.suppress(Stopped), stoppable(lambda: job.stopped):
                function(job, post)
            self._inbox.put((job, "done"))
        except BaseException as error:
            self._inbox.put((job, "error", error, traceback.format_exc()))


class Work:
    """The jobs of this process. It runs in a `WorkThread`, only reads the state, and posts results.

    Rows are embedded in the given `order`: by `workers` once they are awake; until then, or if
    there are none, by this process.
    """

    def __init__(self, data, classes, order, state, workers=None):
        self.data, self.classes, self.order, self.state = data, classes, order, state
        self.workers = workers

    def run(self, job, post):
        do = {"first": self._first, "validate": self._validate, "refit": self._refit}[job.kind]
        try:
            do(job, post)
        except WorkersDiedError:
            self.workers = None
            post("lost workers")
            self.run(job, post)
        except Exception as error:
            raise _for_the_user(error) from error

    def _first(self, job, post):
        seconds = min(FIRST_ANSWER_SECONDS, self.state.budget / 3)
        self._embed(job, self.state.n_total, post, seconds)
        most = FIRST_LEVEL if job.entry.shared is None else self.state.n_total
        post("outcome", self._train(job, *self.task(job, None, most)))

    def _validate(self, job, post):
        self._embed(job, job.level, post, self.state.budget / 3)
        if job.entry.where == "worker":
            return
        for fold in job.folds:
            task, rows = self.task(job, fold, job.level)
            if not (len(rows.train) and len(rows.test)):
                post("no rows", task.part)
            elif not job.stopped:
                post("outcome", self._train(job, task, rows))

    def _refit(self, job, post):
        if not self.state.folds:
            self._embed(job, self.state.n_total, post, self.state.budget / 3)
        post("outcome", self._train(job, *self.task(job, None)))

    def _train(self, job, task, rows):
        X, y, X_test = rows.values()
        with limited_threads(job.n_threads, n_blas=1), _chosen(self._awake()):
            *_, outcome = run_task(task, X, y, X_test, stream=False)
        return outcome

    def task(self, job, fold, most=np.inf):
        """A job's `Task` and `RowsOfJob`, for a fold, or for all rows where it is None.

        They are for the rows that have features, among the first `most`. First steps that can't be
        shared are a part of the task.
        """
        entry, data = job.entry, self.data
        source, estimator = entry.shared, entry.estimator
        level = min(self.state.n_total if source is None else source.level, most)
        if source is None:
            source = data
            if entry.features is not None:
                estimator = Pipeline([*entry.features.steps, ("classifier", estimator)])
        train, test, places = self._rows(fold, level)
        part, extras, limit = Part(fold, level, places), data.extras(train), job.max_time
        task = Task(clone(estimator), self.classes, extras, data.config, limit, entry.name, part)
        return task, RowsOfJob(source, data.y, train, test)

    def _rows(self, fold, level):
        """Rows to train on and to predict, among the first `level`, and the latter's places."""
        there = np.zeros(self.data.n_total, dtype=bool)
        there[self.order[:level]] = True
        if fold is None:
            return np.flatnonzero(there[: self.data.n_train]), None, None
        train, test = self.state.folds[fold].train, self.state.folds[fold].test
        places = np.flatnonzero(there[test])
        return train[there[train]], test[places], places

    def _embed(self, job, target, post, seconds):
        """Run shared steps chunk by chunk.

        If all rows would take longer than `seconds`, the first ones are enough.
        """
        end, features = time.monotonic() + seconds, job.entry.features
        due = [] if features is None else features.unfinished(target)
        for n_left, part in zip(range(len(due), 0, -1), due, strict=True):
            if features.shareable:
                share = (end - time.monotonic()) / n_left
                self._embed_part(part, target, job, post, share)
                target = min(target, part.level)  # more rows of other parts would be of no use

    def _embed_part(self, features, target, job, post, seconds):
        with features.lock:  # a thread that was left behind may still write its last rows
            mass, begun = self.state.mass, time.monotonic()
        while features.level < target and not job.stopped:
            workers = self._awake()
            end = self._end_of_chunk(features, target, workers)
            rows = self.order[features.level : end]
            start = time.monotonic()
            try:
                with limited_threads(job.n_threads), _chosen(workers):
                    job.is_sent = workers is not None
                    values = self._transform(features, rows)
            except WorkersDiedError:
                raise
            except Exception as error:
                features.error = error  # known at once, should listing them all take too long
                features.error = self._with_all_failures(features, error)
                raise features.error from None
            finally:
                job.is_sent = False
            took = time.monotonic() - start
            rate = took / (mass[end] - mass[features.level])
            with features.lock:
                if job.stopped:
                    raise Stopped
                shareable = features.store(values, self.data.n_total)
            post("embedded", features, len(rows), took)
            if not shareable:
                return
            paid_for_imports = not features.warm or (workers is not None and not features.sent)
            features.warm, features.sent = True, features.sent or workers is not None
            if not paid_for_imports:
                features.rate = rate
                spent = time.monotonic() - begun
                target = min(target, self._first_part(features, target, spent, seconds))
            else:  # these rows also paid for imports and weights
                begun = time.monotonic()
                if features.rate is None and features.level == target:
                    features.rate = rate

    def _awake(self):
        """Workers that embed clips now; None is this process."""
        return self.workers if self.workers is not None and self.workers.are_awake else None

    def _end_of_chunk(self, features, target, workers):
        """How many rows are done after the next chunk, which may be a single slow clip."""
        mass, level = self.state.mass, features.level
        if not features.warm:
            n_workers = 1 if workers is None else workers.n_workers
            return min(level + WARM_UP_ROWS * n_workers, target)
        if features.rate is None:  # like those that were done; a far longer one has to wait
            chunk = FIRST_CHUNK * mass[level] / level
        else:
            chunk = min(CHUNK_SECONDS / max(features.rate, 1e-9), LARGEST_CHUNK)
        end = int(np.searchsorted(mass, mass[level] + chunk, side="right")) - 1
        return min(max(end, level + 1), target)

    def _transform(self, features, rows):
        parts = self.data.split(rows)
        return [(part, features.transform(self.data.take(part))) for part in parts]

    def _with_all_failures(self, features, error):
        """Where an error lists the rows it is about: the same for all rows, as the user counts."""
        if hasattr(error, "failures"):
            try:
                self._transform(features, np.arange(self.data.n_total))
            except type(error) as complete:
                return _for_the_user(complete)
        return error

    def _first_part(self, features, target, spent, seconds):
        """How many rows to embed at first, in about so many seconds."""
        mass, level = self.state.mass, features.level
        if spent + features.rate * (mass[target] - mass[level]) <= 1.5 * seconds:
            return target

        def affordable(seconds):
            reach = mass[level] + max(seconds - spent, 0.0) / features.rate
            return int(np.searchsorted(mass, reach, side="right")) - 1

        enough = min(10 * len(self.classes), target, affordable(self.state.budget / 2))
        return max(affordable(seconds), enough, level)


def _chosen(workers):
    return contextlib.nullcontext() if workers is None else workers.chosen()


def _for_the_user(error):
    """Where an error lists bad clips, its advice names parameters that only inner parts have."""
    if hasattr(error, "failures") and hasattr(error, "advice"):
        return type(error)(error.failures, error.n_clips, BAD_ROWS_ADVICE)
    return error
