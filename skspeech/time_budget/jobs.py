"""The running jobs of a session: which start, what they report, and which are given up."""

import logging
import time
import traceback
from concurrent.futures import BrokenExecutor

from skspeech.time_budget import policy
from skspeech.time_budget.workers.here import WorkThread
from skspeech.time_budget.workers.pools import ExecutorPool, LocalPool
from skspeech.time_budget.workers.process import WorkerProcess
from skspeech.time_budget.workers.tasks import describe_error

__all__ = ["Jobs"]

logger = logging.getLogger(__name__)


class Jobs:
    """Passes jobs from a session to a thread and to a pool, and what they report to the session.

    The thread, of this process, has one job at a time. It can't be killed, so one that hangs is
    abandoned, and the next job gets a new one. The pool, of worker processes or the user's
    executor, has as many as fit. Only the coordinator's thread uses this object; other threads may
    call only `close`.
    """

    def __init__(self, session):
        self.session = session
        self.thread = self.pool = None

    @property
    def are_running(self):
        return self.session.state.here is not None or bool(self.pool and self.pool.jobs)

    def close(self):
        """Have the thread's job stop when it next looks, and end all others."""
        self._close_thread()
        if self.pool is not None:
            self.pool.close()

    def _close_thread(self):
        job = self.session.state.here
        if job is not None:
            job.stopped = True
        if self.thread is not None:
            self.thread.close()

    # ---------------------------------------------------------------- start

    def start_here(self):
        """Start the thread's next job, if there is one and the cores are free."""
        session, state = self.session, self.session.state
        if state.here is not None:
            return
        search = session.repeats.search()
        if search is not None:
            self._start_here(*search)
            return
        job = policy.next_here(state)
        if job is None:
            return
        n_threads = session.settings.n_cores - (self.pool.threads_in_use if self.pool else 0)
        if n_threads < 1 and job.limit > 2 and state.left > 0.25 * session.budget:
            return
        job.n_threads = max(n_threads, 1)
        self._mark_started(job)
        self._start_here(job, session.work.run)

    def _start_here(self, job, function):
        if self.thread is None:
            self.thread = WorkThread(self.session.inbox)
        self.session.state.here = job
        job.started = time.monotonic()
        self.thread.start(job, function)

    def start_elsewhere(self):
        """Start jobs while the pool has room."""
        session, state = self.session, self.session.state
        if not any(policy.has_work_elsewhere(state, entry) for entry in state.entries):
            return
        if self.pool is None:
            self.pool = self._make_pool(session.settings.executor)
        while self.pool.free(state.here is not None) > 0 and session.remaining > 0.3:
            state.left, state.capacity = session.remaining, self.pool.capacity
            job = policy.next_elsewhere(state)
            if job is None or self._would_share_a_suspects_worker(job):
                return
            try:
                self._start_elsewhere(job)
            except BrokenExecutor:
                job.entry.set_idle()
                self._replace_pool()
            except Exception as error:
                session.failures.fail(job.entry, describe_error(error), traceback.format_exc())

    def _start_elsewhere(self, job):
        session, fold = self.session, next(iter(job.folds), None)
        task, rows = session.work.task(job, fold)
        self._mark_started(job)
        self.pool.start(job, task, rows, session.remaining)
        session.event("task", candidate=job.entry.name, kind=job.kind, fold=fold)

    def _mark_started(self, job):
        entry = job.entry
        entry.status = "running"
        entry.started = self.session.now if entry.started is None else entry.started

    def _would_share_a_suspects_worker(self, job):
        """Whether to wait: a candidate whose job was lost is tried again with no job beside it."""
        others = [other.entry for other in self.pool.jobs]
        return bool(others) and any(entry.lost for entry in [job.entry, *others])

    def _make_pool(self, executor):
        session = self.session
        if executor is not None:
            return ExecutorPool(executor, session.settings.n_cores, session.inbox)
        return LocalPool(session.settings.n_cores, session.inbox)

    def _replace_pool(self):
        """Replace the user's broken executor by local processes, and try its jobs again there."""
        for job in self.pool.jobs:
            job.entry.set_idle()
        self.session.event("executor broken", remedy="the rest runs in local worker processes")
        self.pool.close()
        self.pool = self._make_pool(None)

    # ---------------------------------------------------------------- news

    def take(self, source, kind, *news):
        """Take a message: its source, which is a job or its worker process, its kind, and more."""
        if isinstance(source, WorkerProcess):
            source, kind, *news = self.pool.read(source, kind, *news)
        if source is None or source.stopped:
            return
        session, job, entry = self.session, source, source.entry
        match kind:
            case "started":
                job.started = time.monotonic()  # imports are not the candidate's fault
            case "embedded":
                features, n_rows, seconds = news
                job.started = time.monotonic()  # slow, but alive: its time limit starts again
                session.stopwatch.add("embedding", seconds)
                level = features.level
                session.event("embedding", candidate=entry.name, n_rows=n_rows, level=level)
            case "outcome":
                session.outcomes.take(job, *news)
            case "no rows":  # there are none of this fold among so many: it waits for more
                (part,) = news
                entry.levels[part.fold] = part.level
            case "voices":
                session.repeats.take(*news)
            case "lost workers":
                self._tell_lost_workers()
            case "done":
                self._end(job)
            case "error" if entry is None:
                self._end(job)
                self._tell_no_voices(news[1])
            case "error":
                self._end(job)
                session.failures.fail(entry, *news)
            case "lost":
                self._end(job)
                session.failures.lose(entry, *news)
            case "broken":  # perhaps by another job: all are tried again in local processes
                session.failures.note(entry, *news)
                self._replace_pool()

    def _end(self, job):
        session, entry = self.session, job.entry
        self._free(job)
        if entry is None:
            return
        if entry.running:
            entry.set_idle()
            entry.failures = []  # a first timeout is no failure
            if not (job.folds and session.state.folds[job.folds[0]].repeat):
                entry.finished = session.now
        session.outcomes.note_change(job)

    def _free(self, job):
        """Free the place that a job has."""
        state = self.session.state
        if job is state.here:
            state.here = None
        else:
            self.pool.finished(job)

    def watch(self):
        """Give up jobs that are over their time limit or take too much memory."""
        here = self.session.state.here
        if here is not None and time.monotonic() - here.started > here.limit:
            self._give_up_here(here)
        for job, why, log in self.pool.troubled() if self.pool is not None else []:
            job.stopped = True
            self._free(job)
            if why is None:
                self.session.failures.miss(job)
            else:
                self.session.failures.fail(job.entry, why, log)

    def _give_up_here(self, job):
        session, was_sent = self.session, job.is_sent
        self._close_thread()  # it ends when its current step returns, if it ever does
        self.thread = None
        self._free(job)
        if was_sent:  # the embedding workers hang: not the candidate's fault
            session.work.workers = None
            job.entry.set_idle()
            self._tell_lost_workers()
        elif job.entry is None:
            self._tell_no_voices(f"no answer after {job.limit:.1f} s")
        else:
            session.failures.miss(job)

    def _tell_no_voices(self, why):
        logger.warning("No voices are looked for in the clips, by an error:\n%s", why)

    def _tell_lost_workers(self):
        self.session.event("workers lost", remedy="the other clips are embedded in this process")
