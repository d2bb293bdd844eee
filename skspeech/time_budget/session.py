"""One run under a time budget: which jobs run now, and which ensemble is current.

A coordinator thread asks the policy what to do and starts the jobs. It never runs a candidate
itself: quick jobs go to a thread of this process that can be abandoned, all others to worker
processes or an executor. The caller of `fit` waits for the coordinator, and returns at the
deadline whatever happens.
"""

import atexit
import contextlib
import logging
import os
import queue
import threading
import time
import weakref

import joblib
import numpy as np
from sklearn import clone

from skspeech._stopping import Stopped, stoppable
from skspeech.estimators.unreadable import goes_on
from skspeech.time_budget import policy
from skspeech.time_budget.failures import Failures
from skspeech.time_budget.features import runs_here, share_features, stateless_steps, variants_of
from skspeech.time_budget.jobs import Jobs
from skspeech.time_budget.outcomes import Outcomes, Stopwatch
from skspeech.time_budget.repeats import Repeats
from skspeech.time_budget.splits import value_order
from skspeech.time_budget.state import CandidateState, RunState
from skspeech.time_budget.workers.here import Work, wait_for_threads
from skspeech.time_budget.workers.tasks import quiet_fits, set_random_states, takes_max_time

__all__ = ["Session"]

logger = logging.getLogger(__name__)

SETTLING = 0.1  # last share of the budget, reserved for training the members on all rows
# While the caller predicts with the first answer, nothing else computes: for at most this share of
# the budget or this many seconds, whichever is longer.
PAUSE_SHARE, PAUSE_SECONDS = 0.1, 1.0


class Session:
    """One run, from `start` in monotonic time; it may continue an earlier one on the same data.

    The coordinator calls `make_candidates`, since "auto" reads the data. The settings are the
    parameters of `TimeBudgetClassifier`, with the seed of the run as `random_state`, and:

    - `score` and `n_cores`, of `scoring` and `n_jobs`;
    - `workers`, other processes that embed clips, too, or None;
    - `find_voices`, which looks for voices in all shared features; None if there are groups;
    - `pauses`, whether to pause after the first snapshot until the next is asked for;
    - `fingerprint`, by which `warm_start` knows the data again.
    """

    def __init__(self, data, classes, splits, settings, make_candidates, start, earlier=None):
        self.data, self.classes, self.splits, self.settings = data, classes, splits, settings
        self.start, self.budget = start, float(settings.time_budget)
        self.deadline = start + self.budget
        self.stop_at = self.deadline - min(0.25, 0.05 * self.budget)
        self.events = queue.SimpleQueue()  # for the caller of `fit`; None is the end
        self.remarks = []
        self.stopwatch = Stopwatch()
        self.failures = Failures(self)
        self.error = self.ended = None
        self.elapsed_before = 0.0
        self.state = RunState(
            self.budget,
            data.n_train,
            data.n_total,
            len(classes),
            folds=list(splits.folds),
            refit=settings.refit,
            max_repeats=splits.max_repeats,
        )
        self._make_candidates = make_candidates
        self.inbox = queue.Queue()
        self._lock = threading.RLock()
        self._stop = threading.Event()
        self.is_settled = False
        self._thread = None
        self.jobs, self.outcomes = Jobs(self), Outcomes(self)
        self.repeats = Repeats(self)
        self._paused_until = -np.inf
        self._workers_wanted = False
        if earlier is not None:
            self._continue(earlier)

    # ---------------------------------------------------------------- life

    def begin(self):
        """Start the coordinator."""
        _SESSIONS.add(self)
        _close_first_at_exit()
        self._pid = os.getpid()
        self._thread = threading.Thread(target=self._coordinate, name="skspeech", daemon=True)
        self._thread.start()

    @property
    def now(self):
        """Seconds since the clock started; a continued run adds those of the earlier runs."""
        return time.monotonic() - self.start + self.elapsed_before

    @property
    def remaining(self):
        return self.stop_at - time.monotonic()

    def pause(self):
        """Let the caller use the first answer; nothing else computes meanwhile."""
        if self.settings.pauses:
            pause = max(PAUSE_SECONDS, PAUSE_SHARE * self.budget)
            self._paused_until = time.monotonic() + pause

    def resume(self):
        """The caller has used the first answer: go on."""
        self._paused_until = -np.inf
        self.inbox.put((None, "wake"))

    def close(self):
        """End everything: leave no process, no file and no changed setting behind."""
        if os.getpid() != self._pid:
            return  # a forked process; the run belongs to its parent
        self._stop.set()
        self.inbox.put((None, "wake"))
        self._thread.join(0.1)
        self._release()
        self.failures.tell_unfinished()
        _SESSIONS.discard(self)
        _close_first_at_exit()

    def _release(self):
        """Release threads, processes and files; the coordinator and its caller both call this."""
        got = self._lock.acquire(timeout=0.2)  # if it can't be had in time, go on without it
        try:
            self.jobs.close()
        finally:
            if got:
                self._lock.release()

    def _coordinate(self):
        try:
            with quiet_fits():
                self._prepare()
                self._loop()
        except Stopped:
            pass  # the session was closed meanwhile
        except BaseException as error:
            self.error = error
            logger.debug("The coordinator ended by an error.", exc_info=True)
        finally:
            self.stopwatch.count_busy(False)
            self.ended = time.monotonic()
            self._release()
            self.events.put(None)

    def _prepare(self):
        self.event("start", n_clips=self.data.n_train, n_classes=len(self.classes))
        state, sizes = self.state, self.data.sizes()
        order = value_order(
            self.data.codes,
            state.n_train,
            self.splits.folds,
            sizes,
            self.settings.random_state,
            self.data.sample_weight,
        )
        state.n_total = len(order)
        state.mass = np.concatenate([[0.0], np.cumsum(sizes[order] / sizes[order].mean())])
        self.work = Work(self.data, self.classes, order, state, self.settings.workers)
        known = {entry.name: entry for entry in state.entries}
        shared = {f.key: f for f in state.all_features}
        entries = []
        for index, candidate in enumerate(self._make_candidates()):
            entry = known.get(candidate.name)
            if entry is None or joblib.hash(entry.candidate.estimator) != joblib.hash(
                candidate.estimator
            ):
                entry = _make_entry(index, candidate, shared, self.settings.random_state)
            entry.index = index
            entries.append(entry)
        state.entries = entries

    def _continue(self, earlier):
        """Take over what an earlier run learned."""
        self.elapsed_before = earlier.now_at_end
        self.outcomes.continue_from(earlier.outcomes)
        self.repeats.continue_from(earlier.repeats)
        state, before = self.state, earlier.state
        state.folds, state.entries = before.folds, before.entries
        state.unit_costs, state.answered = before.unit_costs, self.outcomes.ensemble is not None
        for entry in state.entries:
            if entry.misses:  # it gets another chance, with more time
                entry.failed, entry.failures = False, []

    def freeze(self):
        """Keep what a continued run needs, and drop the rest."""
        self.now_at_end = self.now
        self.data = self.work = self._make_candidates = self.state.here = None
        self.outcomes.chooser.data = None

    # ---------------------------------------------------------------- the loop

    def _loop(self):
        while not self._stop.is_set() and self.remaining > 0:
            with self._lock:
                self._dispatch()
                idle = not self.jobs.are_running and self.inbox.empty() and not self._is_paused()
            if idle and not self.is_settled and self._repeat():
                continue
            if idle and self.is_settled:
                break
            if idle or self.remaining < SETTLING * self.budget:
                self._settle()
            if not idle:
                self._receive()
        self._settle()

    def _is_paused(self):
        return time.monotonic() < self._paused_until

    def _settle(self):
        """Choose the final members, while there is still time to train them on all rows."""
        with self._lock:
            if not self.is_settled and not self._stop.is_set():
                self.is_settled = True
                self.outcomes.choose(final=self.remaining > 0)
                self.repeats.remark()

    def _repeat(self):
        """With nothing else left to do, validate on further folds; return whether there are any."""
        with self._lock:
            state = self.state
            self.outcomes.choose()
            state.left = self.remaining
            return policy.wants_repeat(state) and self.repeats.add(self.settings.cv)

    def _receive(self):
        """Wait for messages, handle all that are there, and watch the running jobs."""
        with contextlib.suppress(queue.Empty):
            message = self.inbox.get(timeout=min(0.1, max(self.remaining, 0.001)))
            while True:
                with self._lock:
                    self.jobs.take(*message)
                message = self.inbox.get_nowait()
        with self._lock:
            self.jobs.watch()
            self.outcomes.choose_if_stale()
            self.stopwatch.count_busy(self.jobs.are_running)

    def _dispatch(self):
        state = self.state
        self.failures.by_features(entry for entry in state.entries if not entry.running)
        if self._is_paused():
            return
        state.left = self.remaining
        if not self._workers_wanted:
            self._want_workers()
        self.jobs.start_here()
        if self._workers_wanted:
            self.jobs.start_elsewhere()
        self.stopwatch.count_busy(self.jobs.are_running)

    def _want_workers(self):
        """Start workers once the first answer is there, or is late; it gets the whole machine."""
        slow = self.now - self.elapsed_before > 0.25 * self.budget
        self._workers_wanted = self.state.answered or not self.state.able_here or slow
        if self._workers_wanted and self.settings.workers is not None:
            with stoppable(self._stop.is_set):
                self.settings.workers.wake()

    def event(self, event, **details):
        self.events.put({"event": event, "time": round(self.now, 4), **details})


def _make_entry(index, candidate, shared, random_state):
    """Begin what is known about a candidate; `shared` has the features of the others, by key."""
    where = candidate.where
    steps, rest = [], candidate.estimator
    # A classifier that leaves unreadable clips out does so itself: its extractor gives silence.
    leaves_out = hasattr(rest, "to_pipeline") and goes_on(rest)
    if where != "worker" and not leaves_out:
        steps, rest = stateless_steps(candidate.estimator)
    rest = clone(rest)
    set_random_states(rest, (random_state + 7919 * (index + 1)) % (2**32 - 1))
    features = share_features(steps, shared) if steps else None
    if where == "auto":
        where = "main" if runs_here(rest) else "worker"
    max_time, variants = takes_max_time(rest), variants_of(rest, shared)
    return CandidateState(index, candidate, features, rest, where, max_time, variants)


_SESSIONS = weakref.WeakSet()


def _close_first_at_exit():
    """At exit, wait for abandoned threads before libraries that they use are taken down.

    What is registered last runs first. torch, which is often imported during a run, takes its
    operators back at exit; a thread that still builds a network would then crash the process.
    """
    atexit.unregister(close_sessions)
    atexit.register(close_sessions)


def close_sessions(patience=5.0, importing=30.0):
    """End all runs of this process; return whether a thread still computes that can't be ended.

    Such a thread gets `patience` seconds, and `importing` more if it is importing a library.
    """
    for session in list(_SESSIONS):
        session.close()
    return wait_for_threads(patience, importing)
