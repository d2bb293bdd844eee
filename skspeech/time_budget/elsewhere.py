"""The jobs of a run outside its own process: in worker processes, or in the user's executor."""

import os
import time
import traceback
from concurrent.futures import BrokenExecutor

from skspeech.time_budget import policy
from skspeech.time_budget.workers.pools import ExecutorPool, LocalPool, outcome_of
from skspeech.time_budget.workers.process import WorkerProcess, describe_exit
from skspeech.time_budget.workers.rows import ExchangeFolder
from skspeech.time_budget.workers.tasks import describe_error

__all__ = ["Elsewhere"]


class Elsewhere:
    """Passes jobs from a session to a pool, and results from the pool to the session.

    Only the coordinator's thread uses it; other threads may call only `close`.
    """

    def __init__(self, session):
        self.session = session
        self.folder = ExchangeFolder()
        self.pool = None

    @property
    def is_busy(self):
        return bool(self.pool and self.pool.jobs)

    @property
    def threads_in_use(self):
        return self.pool.threads_in_use if self.pool else 0

    def close(self):
        """End the running jobs, and remove the files."""
        if self.pool is not None:
            self.pool.close()
        self.folder.close()

    def dispatch(self):
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
                self._start(job)
            except Exception as error:
                if self.pool.broken:
                    self._replace_pool()
                    continue
                session.failures.fail(job.entry, describe_error(error), traceback.format_exc())

    def _would_share_a_suspects_worker(self, job):
        """Whether to wait: a candidate whose job was lost is tried again with no job beside it."""
        others = [other.entry for other in self.pool.jobs]
        return bool(others) and any(entry.lost for entry in [job.entry, *others])

    def _make_pool(self, executor):
        session = self.session
        if executor is not None:
            return ExecutorPool(executor, session.settings.n_cores, session.inbox)
        return LocalPool(session.settings.n_cores, session.inbox, self.folder)

    def _replace_pool(self):
        """Replace the user's broken executor by local processes, and try its jobs again there."""
        for job in self.pool.jobs:
            job.entry.running = False
        self.session.event("executor broken", remedy="the rest runs in local worker processes")
        self.pool.close()
        self.pool = self._make_pool(None)

    def _start(self, job):
        session, entry, work = self.session, job.entry, self.session.work
        job.level = session.data.n_total if entry.shared is None else entry.shared.level
        if job.kind == "validate":
            train, test, job.places = work.available(job.folds[0], job.level)
        else:
            train, test = work.training_rows(job.level), None
        task, rows = work.task(job, train, test)
        session.mark_started(job)
        try:
            self.pool.start(job, task, rows, session.remaining)
        except BaseException:
            entry.running = False
            raise
        fold = next(iter(job.folds), None)
        session.event("task", candidate=entry.name, kind=job.kind, fold=fold)

    def _end(self, job):
        self.session.end_job(job)
        self.pool.finished(job)

    # ---------------------------------------------------------------- news

    def handle(self, message):
        """Handle a message from a worker or a future."""
        if message[0] == "future":
            self._handle_future(*message[1:])
        elif isinstance(message[0], WorkerProcess):
            self._handle_worker(*message)

    def _handle_worker(self, worker, message):
        kind, job = message["kind"], worker.task
        if kind == "ready":
            self.pool.ready(worker)
        elif kind == "died":
            self.pool.forget(worker)
            if job is not None and not job.stopped:
                self._end(job)
                self.session.failures.fail(
                    job.entry, describe_exit(message["returncode"]), worker.log
                )
            elif job is None and not message["killed"]:
                self.pool.deaths += 1
        elif job is None or job.stopped or message["task_id"] not in (None, id(job)):
            return
        elif kind == "started":
            job.started = time.monotonic()  # imports are not the candidate's fault
        elif kind == "outcome":
            with open(message["path"], "rb") as file:
                payload = file.read()
            os.remove(message["path"])
            self.session.outcomes.take(job, outcome_of(job.entry.name, payload, message))
            if message["final"]:
                self._end(job)
        elif kind == "error":
            self._end(job)
            text = message["traceback"]
            if worker.log:
                text += f"\nPrinted at the end:\n{worker.log}"
            self.session.failures.fail(job.entry, message["exception"], text)

    def _handle_future(self, job, future):
        if job.stopped:
            return
        if future.cancelled():
            self._end(job)
            return
        error = future.exception()
        if isinstance(error, BrokenExecutor):
            # Any of the running jobs may have broken it: all are tried again in local processes.
            self.session.failures.note(
                job.entry, describe_error(error), "The executor's worker died."
            )
            self._replace_pool()
            return
        self._end(job)
        if error is not None:
            text = "".join(traceback.format_exception(error))
            self.session.failures.lose(job.entry, error, text)
            return
        result = future.result()
        if "exception" in result:
            self.session.failures.fail(job.entry, result["exception"], result["traceback"])
        else:
            self.session.outcomes.take(job, outcome_of(job.entry.name, result["model"], result))

    def watch(self):
        """Give up jobs that are over their time limit or take too much memory."""
        for job, why, log in self.pool.troubled() if self.pool is not None else []:
            job.stopped = True
            self._end(job)
            if why is None:
                self.session.failures.miss(job)
            else:
                self.session.failures.fail(job.entry, why, log)
