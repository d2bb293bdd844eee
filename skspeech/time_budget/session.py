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
from collections.abc import Callable
from concurrent.futures import Executor
from dataclasses import dataclass

import joblib
import numpy as np
from sklearn import clone

from skspeech._stopping import Stopped, stoppable
from skspeech.ensemble.blending import log_probas
from skspeech.ensemble.selection import ProbabilityScore
from skspeech.time_budget import policy
from skspeech.time_budget.elsewhere import Elsewhere
from skspeech.time_budget.failures import Failures
from skspeech.time_budget.features import SharedFeatures, shared_key, stateless_steps
from skspeech.time_budget.members import Chooser, build_ensemble
from skspeech.time_budget.splits import repeat_folds, value_order
from skspeech.time_budget.state import CandidateState, HeldOut, Job, RunState
from skspeech.time_budget.workers.here import Work, WorkThread, wait_for_threads
from skspeech.time_budget.workers.places import runs_here
from skspeech.time_budget.workers.tasks import (
    quiet_fits,
    set_random_states,
    takes_max_time,
)

__all__ = ["Session", "Settings"]

logger = logging.getLogger(__name__)

SETTLING = 0.1  # last share of the budget, reserved for training the members on all rows
# While the caller predicts with the first answer, nothing else computes: for at most this share of
# the budget or this many seconds, whichever is longer.
PAUSE_SHARE, PAUSE_SECONDS = 0.1, 1.0
LEFT_FOR_REMARKS = 3.0  # remarks on the features are made only if more seconds than this are left


@dataclass
class Settings:
    """The user's settings, checked. Names are those of `TimeBudgetClassifier`."""

    time_budget: float
    score: ProbabilityScore
    selection: str
    refit: bool
    n_cores: int
    executor: Executor | None
    workers: object  # other processes that embed clips, too; None is this process only
    predict_time_budget: float | None
    random_state: int
    cv: object
    pauses: bool = False  # whether to pause after the first snapshot until the next is asked for
    remark: Callable | None = None  # checks all shared features when nothing else is left to do


class Session:
    """One run.

    Parameters
    ----------
    data : Data
        The rows.
    classes : ndarray
        All labels.
    splits : Splits
        How candidates are validated.
    settings : Settings
    make_candidates : callable
        Returns the list of `Candidate`. The coordinator calls it, since "auto" reads the data.
    start : float
        `time.monotonic()` when the clock started.
    earlier : Session or None
        An earlier run on the same data, to be continued.
    """

    def __init__(self, data, classes, splits, settings, make_candidates, start, earlier=None):
        self.data, self.classes, self.splits, self.settings = data, classes, splits, settings
        self.start, self.budget = start, settings.time_budget
        self.deadline = start + self.budget
        self.stop_at = self.deadline - min(0.25, 0.05 * self.budget)
        self.updates = queue.SimpleQueue()
        self.ensemble, self.score, self.curve = None, np.nan, []
        self.remarks = []
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
            n_cores=settings.n_cores,
            max_repeats=splits.max_repeats,
        )
        self.floor = min(1e-3, 0.1 / len(classes))
        self._make_candidates = make_candidates
        self.inbox = queue.Queue()
        self._lock = threading.RLock()
        self._stop = threading.Event()
        self._settled = self._changed = False
        self._thread = self._work_thread = None
        self.elsewhere = Elsewhere(self)
        self._paused_until = -np.inf
        self._workers_wanted = False
        self._clocks = dict.fromkeys(("embedding", "candidates", "refit", "selection"), 0.0)
        self._busy, self._busy_since = 0.0, None
        self.chooser = Chooser(
            self.state,
            data,
            settings.score,
            settings.selection,
            settings.predict_time_budget,
            settings.random_state,
        )
        if earlier is not None:
            self._continue(earlier)

    # ---------------------------------------------------------------- life

    def begin(self):
        """Start the coordinator."""
        _SESSIONS.add(self)
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

    def stop(self):
        """Tell the coordinator to end soon."""
        self._stop.set()
        self.inbox.put(("wake",))

    def resume(self):
        """The caller has used the first answer: go on."""
        self._paused_until = -np.inf
        self.inbox.put(("wake",))

    def close(self):
        """End everything: leave no process, no file and no changed setting behind."""
        if os.getpid() != self._pid:
            return  # a forked process; the run belongs to its parent
        self.stop()
        self._thread.join(0.1)
        self._release()
        self.failures.tell_unfinished()
        _SESSIONS.discard(self)

    def _release(self):
        """Release threads, processes and files; the coordinator and its caller both call this."""
        with self._locked(0.2):
            if self.state.here is not None:
                self.state.here.stopped = True
            if self._work_thread is not None:
                self._work_thread.close()
            self.elsewhere.close()

    @contextlib.contextmanager
    def _locked(self, timeout):
        """Hold the lock if it can be had in time; otherwise go on without it."""
        got = self._lock.acquire(timeout=timeout)
        try:
            yield
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
            self._count_busy(False)
            self.ended = time.monotonic()
            self._release()
            self.updates.put(("end", None))

    def _prepare(self):
        self.event("start", n_clips=self.data.n_train, n_classes=len(self.classes))
        state, sizes = self.state, self.data.sizes()
        self.order = value_order(
            self.data.codes, state.n_train, self.splits.folds, sizes, self.settings.random_state
        )
        state.mass = np.concatenate([[0.0], np.cumsum(sizes[self.order] / sizes.mean())])
        self.work = Work(self.data, self.classes, self.order, state, self.settings.workers)
        known = {entry.name: entry for entry in state.entries}
        shared = {f.key: f for f in state.all_features}
        entries = []
        for index, candidate in enumerate(self._make_candidates()):
            entry = known.get(candidate.name)
            if entry is None or joblib.hash(entry.candidate.estimator) != joblib.hash(
                candidate.estimator
            ):
                entry = self._make_entry(index, candidate, shared)
            entry.index = index
            entries.append(entry)
        state.entries = entries

    def _make_entry(self, index, candidate, shared):
        where = candidate.where
        steps, rest = [], candidate.estimator
        if where != "worker":
            steps, rest = stateless_steps(candidate.estimator)
        rest = clone(rest)
        seed = (self.settings.random_state + 7919 * (index + 1)) % (2**32 - 1)
        set_random_states(rest, seed)
        features = None
        if steps:
            key = shared_key(steps)
            features = shared.setdefault(key, SharedFeatures(key, steps))
        if where == "auto":
            where = "main" if runs_here(rest) else "worker"
        return CandidateState(index, candidate, features, rest, where, takes_max_time(rest))

    def _continue(self, earlier):
        """Take over what an earlier run learned."""
        self.elapsed_before = earlier.now_at_end
        self.ensemble, self.score, self.curve = earlier.ensemble, earlier.score, earlier.curve
        state, before = self.state, earlier.state
        state.folds, state.entries = before.folds, before.entries
        state.unit_costs, state.answered = before.unit_costs, earlier.ensemble is not None
        self.chooser = earlier.chooser
        self.chooser.state, self.chooser.data = state, self.data
        for features in state.all_features:
            features.forget_files()
        for entry in state.entries:
            entry.running = False
            if entry.misses:  # it gets another chance, with more time
                entry.failed, entry.failures = False, []

    def freeze(self):
        """Keep what a continued run needs, and drop the rest."""
        self.now_at_end = self.now
        self.data = self.work = self._make_candidates = self.chooser.data = self.state.here = None

    # ---------------------------------------------------------------- the loop

    def _loop(self):
        while not self._stop.is_set() and self.remaining > 0:
            with self._lock:
                self._dispatch()
                idle = not self._is_busy() and self.inbox.empty() and not self._is_paused()
            if idle and not self._settled and self._repeat():
                continue
            if idle and self._settled:
                break
            if idle or self.remaining < SETTLING * self.budget:
                self._settle()
            if not idle:
                self._receive()
        self._settle()

    def _is_busy(self):
        return self.state.here is not None or self.elsewhere.is_busy

    def _is_paused(self):
        return time.monotonic() < self._paused_until

    def _settle(self):
        """Choose the final members, while there is still time to train them on all rows."""
        with self._lock:
            if not self._settled and not self._stop.is_set():
                self._settled = True
                self._select(final=self.remaining > 0)

    def _repeat(self):
        """With nothing else left to do: check the features for remarks, or add further folds.

        Returns whether there is something to do now.
        """
        with self._lock:
            state = self.state
            self._select()
            state.left = self.remaining
            remark, self.settings.remark = self.settings.remark, None
            if remark is not None and state.folds and state.left > LEFT_FOR_REMARKS:
                self._start_here(
                    Job("remark", None, limit=state.left / 2),
                    lambda job, post: post("remark", remark(state.all_features)),
                )
                return True
            if not policy.wants_repeat(state):
                return False
            folds = repeat_folds(
                self.settings.cv,
                self.data.codes[: state.n_train],
                self.data.groups,
                self.settings.random_state,
                state.n_repeats,
            )
            state.folds = [*state.folds, *folds]
            return bool(folds)

    def _receive(self):
        """Wait for messages, handle all that are there, and watch the running jobs."""
        with contextlib.suppress(queue.Empty):
            message = self.inbox.get(timeout=min(0.1, max(self.remaining, 0.001)))
            while True:
                with self._lock:
                    self._handle(message)
                message = self.inbox.get_nowait()
        with self._lock:
            self._watch()
            if self._changed:
                self._changed = False
                self._select()
            self._count_busy(self._is_busy())

    def _dispatch(self):
        state = self.state
        self.failures.by_features(entry for entry in state.entries if not entry.running)
        if self._is_paused():
            return
        state.left = self.remaining
        if not self._workers_wanted:
            self._want_workers()
        if state.here is None:
            self._dispatch_here()
        if self._workers_wanted:
            self.elsewhere.dispatch()
        self._count_busy(self._is_busy())

    def _want_workers(self):
        """Start workers once the first answer is there, or is late; it gets the whole machine."""
        entries = self.state.entries
        answers_here = any(entry.where == "main" and not entry.failed for entry in entries)
        slow = self.now - self.elapsed_before > 0.25 * self.budget
        self._workers_wanted = self.state.answered or not answers_here or slow
        if self._workers_wanted and self.settings.workers is not None:
            with stoppable(self._stop.is_set):
                self.settings.workers.wake()

    def _dispatch_here(self):
        state = self.state
        job = policy.next_here(state)
        if job is None:
            return
        n_threads = state.n_cores - self.elsewhere.threads_in_use
        if n_threads < 1 and job.limit > 2 and state.left > 0.25 * self.budget:
            return
        job.n_threads = max(n_threads, 1)
        self.mark_started(job)
        self._start_here(job, self.work.run)

    def _start_here(self, job, work):
        if self._work_thread is None:
            self._work_thread = WorkThread(self.inbox)
        self.state.here = job
        job.started = time.monotonic()
        self._work_thread.start(job, work)

    def mark_started(self, job):
        entry = job.entry
        entry.running, entry.status = True, "running"
        entry.started = self.now if entry.started is None else entry.started

    def _count_busy(self, busy):
        """Add up the time during which a candidate, an embedding or a refit ran."""
        now = time.monotonic()
        if self._busy_since is not None:
            self._busy += now - self._busy_since
        self._busy_since = now if busy else None

    def event(self, event, **details):
        self.updates.put(("event", {"event": event, "time": round(self.now, 4), **details}))

    # ---------------------------------------------------------------- news

    def _handle(self, message):
        if message[0] == "here":
            self._handle_here(*message[1:])
        else:
            self.elsewhere.handle(message)

    def _handle_here(self, job, kind, payload):
        if job.stopped:
            return
        entry = job.entry
        if job.kind == "remark":
            self.state.here = None if kind in ("done", "error") else job
            if kind == "remark" and payload[0] is not None:
                self.remarks.append(payload[0])
                self.event("remark", text=payload[0])
        elif kind == "embedded":
            features, n_rows, seconds = payload
            self._clocks["embedding"] += seconds
            job.started = time.monotonic()  # slow, but alive: its time limit starts again
            self.event("embedding", candidate=entry.name, n_rows=n_rows, level=features.level)
        elif kind == "lost workers":
            self._tell_lost_workers()
        elif kind == "fold":
            number, level, places, outcome = payload
            job.started = time.monotonic()
            self._clocks["candidates"] += outcome.fit_time + outcome.predict_time
            self._take_fold(entry, number, level, places, outcome)
            n_rows = len(self.state.folds[number].train) * level / self.data.n_total
            unit_costs = self.state.unit_costs
            unit_costs[policy.kind_of(entry.estimator)] = outcome.fit_time / max(n_rows, 1)
        elif kind == "full":
            level, outcome = payload
            self._take_full(entry, level, outcome, job.kind)
        else:
            self.end_job(job)
            self.state.here = None
            self._note_change(job)
            if kind == "error":
                error, text = payload
                self.failures.fail(entry, f"{type(error).__name__}: {error}", text, error)

    def _note_change(self, job):
        """Have members chosen again after a validation; repeats wait until all of them are done."""
        if job.kind == "validate" and not self._is_repeat(job):
            self._changed = True

    def _is_repeat(self, job):
        return bool(job.folds) and self.state.folds[job.folds[0]].repeat > 0

    def end_job(self, job):
        job.completed = True
        entry = job.entry
        entry.running = False
        if not entry.failed and entry.status == "running":
            entry.status, entry.failures = "ok", []  # a first timeout is no failure
            entry.finished = entry.finished if self._is_repeat(job) else self.now

    def _take_fold(self, entry, number, level, places, outcome):
        """Keep a fold's held-out predictions and model, in place of an earlier snapshot's."""
        state, score = self.state, self.settings.score
        fold = state.folds[number]
        entry.held_out[number] = HeldOut(places, log_probas(outcome.proba, self.floor))
        entry.levels[number], entry.fit_times[number] = level, outcome.fit_time
        entry.predict_time = outcome.predict_time / max(len(places), 1)
        entry.scores[number] = score(outcome.proba, self.data.codes[fold.test[places]])
        if outcome.final:
            entry.final.add(number)
        if fold.repeat == 0:
            entry.models[number] = outcome.model
            known = [(n, entry.held_out[n]) for n in state.folds_of(0) if n in entry.held_out]
            codes = [self.data.codes[state.folds[n].test[held.places]] for n, held in known]
            logs = np.concatenate([held.logs for _, held in known])
            entry.score = score(np.exp(logs), np.concatenate(codes))
        self.event(
            "candidate", candidate=entry.name, fold=number, score=entry.score, final=outcome.final
        )

    def _take_full(self, entry, level, outcome, kind):
        self._clocks["candidates" if kind == "first" else "refit"] += outcome.fit_time
        entry.full_model, entry.full_level = outcome.model, level
        if kind != "first":
            self.event("refit", candidate=entry.name)
        if not self.state.folds:  # no validation, so all models get equal weights
            voting = [e for e in self.state.entries if e.full_model is not None]
            for other in voting:
                other.weight = 1 / len(voting)
        elif self.ensemble is None:
            entry.weight = 1.0
        if entry.weight > 0:
            self._publish(self.score)

    def take_outcome(self, job, outcome):
        if job.kind == "refit":
            self._take_full(job.entry, job.level, outcome, job.kind)
            return
        self._clocks["candidates"] += outcome.fit_time if outcome.final else 0.0
        self._take_fold(job.entry, job.folds[0], job.level, job.places, outcome)
        self._note_change(job)

    # ---------------------------------------------------------------- watching

    def _watch(self):
        now, job = time.monotonic(), self.state.here
        if job is not None and now - job.started > job.limit:
            was_sent, job.stopped = job.is_sent, True
            self._work_thread.close()  # it ends when its current step returns, if it ever does
            self.state.here = self._work_thread = None
            if was_sent:  # the embedding workers hang: not the candidate's fault
                self.work.workers, job.entry.running = None, False
                self._tell_lost_workers()
            else:
                self.failures.miss(job)
        self.elsewhere.watch()

    def _tell_lost_workers(self):
        self.event("workers lost", remedy="the other clips are embedded in this process")

    # ---------------------------------------------------------------- the ensemble

    def _select(self, final=False):
        """Choose the members again, and publish them if they are better than the current ones."""
        if not self.state.folds:
            return
        start = time.monotonic()
        score = self.chooser.choose(final=final)
        if score is not None:
            self._publish(score)
        self._clocks["selection"] += time.monotonic() - start

    def _publish(self, score):
        """Build the current ensemble, and send it to the caller."""
        members = [(entry, entry.weight) for entry in self.state.entries if entry.weight > 0]
        ensemble = build_ensemble(
            members,
            self.classes,
            self.floor,
            temperature=self.chooser.temperature,
            one_model_each=self.settings.predict_time_budget is not None,
        )
        ensemble.time_, ensemble.score_ = self.now, float(score)
        self.ensemble, self.score = ensemble, float(score)
        self.curve.append((ensemble.time_, ensemble.score_, members[0][0]))
        if not self.state.answered:
            self.state.answered = True
            if self.settings.pauses:
                pause = max(PAUSE_SECONDS, PAUSE_SHARE * self.budget)
                self._paused_until = time.monotonic() + pause
        self.updates.put(("snapshot", ensemble))
        self.event(
            "snapshot",
            score=ensemble.score_,
            members={entry.name: round(weight, 4) for entry, weight in members},
        )

    def timing(self):
        """Where the time went, in seconds."""
        total = (self.ended or time.monotonic()) - self.start
        return {
            **{name: float(seconds) for name, seconds in self._clocks.items()},
            "overhead": float(max(total - self._busy, 0.0)),
            "total": float(total),
        }


_SESSIONS = weakref.WeakSet()


@atexit.register
def close_sessions(patience=5.0, importing=30.0):
    """End all runs of this process; return whether a thread still computes that can't be ended.

    Parameters
    ----------
    patience : float, default=5.0
        Seconds to wait for such a thread.
    importing : float, default=30.0
        Further seconds to wait if it is importing a library.
    """
    for session in list(_SESSIONS):
        session.close()
    return wait_for_threads(patience, importing)
