"""The job of a run in its own process."""

import logging
import time

from skspeech.time_budget import policy
from skspeech.time_budget.workers.here import WorkThread

__all__ = ["Here"]

logger = logging.getLogger(__name__)


class Here:
    """Passes jobs from a session to a thread, one at a time, and results from it to the session.

    A thread can't be killed, so one that hangs is abandoned, and the next job gets a new one. Only
    the coordinator's thread uses this object; other threads may call only `close`.
    """

    def __init__(self, session):
        self.session = session
        self.thread = None

    def close(self):
        """Have the running job stop when it next looks."""
        if self.session.state.here is not None:
            self.session.state.here.stopped = True
        if self.thread is not None:
            self.thread.close()

    def dispatch(self):
        """Start the next job, if there is one and the cores are free."""
        session, state = self.session, self.session.state
        search = session.repeats.search()
        if search is not None:
            self.start(*search)
            return
        job = policy.next_here(state)
        if job is None:
            return
        n_threads = state.n_cores - session.elsewhere.threads_in_use
        if n_threads < 1 and job.limit > 2 and state.left > 0.25 * session.budget:
            return
        job.n_threads = max(n_threads, 1)
        session.mark_started(job)
        self.start(job, session.work.run)

    def start(self, job, function):
        """Run ``function(job, post)`` in the thread; `handle` gets what it posts."""
        if self.thread is None:
            self.thread = WorkThread(self.session.inbox)
        self.session.state.here = job
        job.started = time.monotonic()
        self.thread.start(job, function)

    def handle(self, job, kind, payload):
        """Handle a message from the thread."""
        if job.stopped:
            return
        session, outcomes = self.session, self.session.outcomes
        entry = job.entry
        if kind in ("done", "error"):
            session.state.here = None
        if job.kind == "voices":
            if kind == "voices":
                session.repeats.take(*payload)
            elif kind == "error":
                self._tell_no_voices(payload[1])
        elif kind == "embedded":
            features, n_rows, seconds = payload
            session.stopwatch.add("embedding", seconds)
            job.started = time.monotonic()  # slow, but alive: its time limit starts again
            session.event("embedding", candidate=entry.name, n_rows=n_rows, level=features.level)
        elif kind == "lost workers":
            self._tell_lost_workers()
        elif kind == "fold":
            number, level, places, outcome = payload
            job.started = time.monotonic()
            session.stopwatch.add("candidates", outcome.fit_time + outcome.predict_time)
            outcomes.take_fold(entry, number, level, places, outcome)
            n_rows = session.state.n_trained(number, level)
            cost = outcome.fit_time / max(n_rows, 1), policy.n_columns_of(entry)
            session.state.unit_costs[policy.kind_of(entry.estimator)] = cost
        elif kind == "full":
            level, outcome = payload
            outcomes.take_full(entry, level, outcome, job.kind)
        else:
            session.end_job(job)
            outcomes.note_change(job)
            if kind == "error":
                session.failures.fail(entry, *payload)

    def watch(self):
        """Give up the job if it is over its time limit."""
        session, job = self.session, self.session.state.here
        if job is None or time.monotonic() - job.started <= job.limit:
            return
        was_sent = job.is_sent
        self.close()  # the thread ends when its current step returns, if it ever does
        session.state.here = self.thread = None
        if was_sent:  # the embedding workers hang: not the candidate's fault
            session.work.workers, job.entry.running = None, False
            self._tell_lost_workers()
        elif job.kind == "voices":
            self._tell_no_voices(f"no answer after {job.limit:.1f} s")
        else:
            session.failures.miss(job)

    def _tell_no_voices(self, why):
        logger.warning("No voices are looked for in the clips, by an error:\n%s", why)

    def _tell_lost_workers(self):
        self.session.event("workers lost", remedy="the other clips are embedded in this process")
