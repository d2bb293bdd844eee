"""One run under a time budget: what is done next, by whom, and which ensemble stands.

A coordinator thread decides. It never runs a candidate itself: cheap linear work goes to the lane,
a thread of this process that can be abandoned; everything else to worker processes that can be
killed, or to the user's executor. Whoever called `fit` waits for the coordinator, and returns at
the deadline whatever happens.
"""

import atexit
import contextlib
import logging
import math
import os
import pickle
import queue
import shutil
import tempfile
import threading
import time
import traceback
import weakref
from concurrent.futures import BrokenExecutor

import joblib
import numpy as np
from sklearn import clone
from sklearn.pipeline import Pipeline

from skspeech._budget_data import Head, head_key, split_head
from skspeech._budget_entries import Entry, Job, build_ensemble, runs_in_main
from skspeech._budget_lane import FIRST_LEVEL, Lane, Stopped, Threads, Work, wait_for_lanes
from skspeech._budget_pools import ExecutorPool, LocalPool, PoolOutcome
from skspeech._budget_tasks import (
    Task,
    quiet_convergence,
    set_random_states,
    takes_max_time,
)
from skspeech._workers import (
    WorkerProcess,
    describe_exit,
)
from skspeech.selection import (
    blend_log_probas,
    greedy_selection,
    log_probas,
    threshold_selection,
)

__all__ = ["Entry", "Session", "Settings"]

logger = logging.getLogger(__name__)

SELECTION_BAGS = 10
SETTLING = 0.1  # the last part of the budget, kept for training those who vote on all rows
REFIT_RESERVE = 0.3  # at most this part of the budget is kept for training on all rows


class Settings:
    """What the user asked for, checked."""

    def __init__(self, **settings):
        self.__dict__.update(settings)


class Session:
    """One run.

    Parameters
    ----------
    data : Data
        The rows.
    classes : ndarray
        All labels.
    folds : list of (train, test)
        Validation splits.
    order : ndarray of int
        The order in which embeddings are computed.
    settings : Settings
        The rest.
    candidates : callable
        Returns the list of `Candidate`; called by the coordinator, since "auto" looks at the data.
    start : float
        `time.monotonic()` when the clock started.
    state : Session or None
        An earlier run on the same data, to be continued.
    """

    def __init__(self, data, classes, folds, order, settings, candidates, start, state=None):
        self.data, self.classes, self.folds, self.order = data, classes, folds, order
        self.settings = settings
        self.work = Work(data, classes, folds, order, settings.time_budget, _THREADS)
        self.start = start
        self.budget = settings.time_budget
        self.deadline = start + self.budget
        self.stop_at = self.deadline - min(0.25, 0.05 * self.budget)
        self.elapsed_before = 0.0
        self.updates = queue.SimpleQueue()
        self.ensemble, self.score = None, np.nan
        self.error = self.ended = None
        self.entries, self.heads = [], {}
        self.curve = []
        self._make_candidates = candidates
        self._inbox = queue.Queue()
        self._lock = threading.RLock()
        self._stop = threading.Event()
        self._closed = False
        self._lane, self._lane_job = None, None
        self._pool = None
        self._folder = None
        self._unit_costs = {}
        self._first_done = self._changed = False
        self._settled = False
        self._workers_wanted = False
        self._current = None  # (blend, covered, versions) of the standing ensemble
        self._clocks = dict.fromkeys(("embedding", "candidates", "refit", "selection"), 0.0)
        self._busy, self._busy_since = 0.0, None
        self._offsets = np.cumsum([0] + [len(test) for _, test in folds])
        self._held_out_codes = data.codes[np.concatenate([test for _, test in folds])]
        self._floor = min(1e-3, 0.1 / len(classes))
        self._thread_limits = None
        if state is not None:
            self._continue(state)

    # ---------------------------------------------------------------- life

    def begin(self):
        """Start the coordinator."""
        _SESSIONS.add(self)
        self._thread = threading.Thread(target=self._coordinate, name="skspeech", daemon=True)
        self._thread.start()

    @property
    def now(self):
        """Seconds since the clock started; a continued run counts on."""
        return time.monotonic() - self.start + self.elapsed_before

    @property
    def remaining(self):
        return self.stop_at - time.monotonic()

    def stop(self):
        """Have the coordinator end soon."""
        self._stop.set()
        self._inbox.put(("wake",))

    def close(self):
        """End everything: no process, no file and no changed setting is left."""
        if self._closed:
            return
        self._closed = True
        self.stop()
        if self._lane_job is not None:
            self._lane_job.stopped = True
        self._thread.join(0.1)
        with self._locked(0.2):
            if self._lane is not None:
                self._lane.close()
            if self._pool is not None:
                self._pool.close()
            if self._folder is not None:
                shutil.rmtree(self._folder, ignore_errors=True)
            self._tell_unfinished()
            _THREADS.leave(self)

    def _tell_unfinished(self):
        for entry in self.entries:
            if entry.status == "waiting":
                entry.status = "not started"
            elif entry.status == "running":
                entry.status = "stopped"
                if not entry.can_vote and self.remaining <= 0:
                    entry.timeouts += 1
                    entry.failures.append(
                        (entry.name, "TimeoutError: still running when the time was up", "")
                    )

    @contextlib.contextmanager
    def _locked(self, timeout):
        """Hold the lock if it comes in time; go on without it if not."""
        got = self._lock.acquire(timeout=timeout)
        try:
            yield
        finally:
            if got:
                self._lock.release()

    def _coordinate(self):
        try:
            with quiet_convergence():
                self._prepare()
                self._loop()
        except BaseException as error:
            self.error = error
            logger.debug("The coordinator ended by an error.", exc_info=True)
        finally:
            self._count_busy(False)
            self.ended = time.monotonic()
            self.updates.put(("end", None))

    def _prepare(self):
        self._event("start", n_clips=self.data.n_train, n_classes=len(self.classes))
        _THREADS.enter(self)
        known = {entry.name: entry for entry in self.entries}
        entries = []
        for index, candidate in enumerate(self._make_candidates()):
            entry = known.get(candidate.name)
            if entry is None or joblib.hash(entry.candidate.estimator) != joblib.hash(
                candidate.estimator
            ):
                entry = self._make_entry(index, candidate)
            entry.index = index
            entries.append(entry)
        self.entries = entries

    def _make_entry(self, index, candidate):
        where = candidate.where
        steps, tail = [], candidate.estimator
        if where != "worker":
            steps, tail = split_head(candidate.estimator)
        tail = clone(tail)
        seed = (self.settings.random_state + 7919 * (index + 1)) % (2**32 - 1)
        set_random_states(tail, seed)
        head = None
        if steps:
            key = head_key(steps)
            head = self.heads.setdefault(key, Head(key, steps))
        if where == "auto":
            where = "main" if runs_in_main(tail) else "worker"
        shape = len(self.folds), int(self._offsets[-1]), len(self.classes)
        return Entry(index, candidate, head, tail, where, shape)

    def _continue(self, state):
        """Take over what an earlier run learned."""
        self.elapsed_before = state.now_at_end
        self.entries, self.heads = state.entries, state.heads
        self.curve = state.curve
        self.ensemble, self.score = state.ensemble, state.score
        self._current, self._unit_costs = state._current, state._unit_costs
        self._first_done = state.ensemble is not None
        for head in self.heads.values():
            head.forget_files()
        for entry in self.entries:
            entry.running = 0
            if entry.timeouts:  # it gets another chance, with more time
                entry.failed = False
                entry.failures = []

    def freeze(self):
        """Keep what a continued run needs, and let go of the rest."""
        self.now_at_end = self.now
        self.data = self.work = self._make_candidates = self._pool = self._lane = None
        self._lane_job = None

    # ---------------------------------------------------------------- the loop

    def _loop(self):
        while not self._stop.is_set() and self.remaining > 0:
            with self._lock:
                self._dispatch()
                idle = self._lane_job is None and not (self._pool and self._pool.busy)
            idle = idle and self._inbox.empty()
            if idle and self._settled:
                break
            if idle or self.remaining < SETTLING * self.budget:
                self._settle()
            if not idle:
                self._receive()
        self._settle()

    def _settle(self):
        """Choose the members for good, while there is still time to train them on all rows."""
        with self._lock:
            if not self._settled and not self._stop.is_set():
                self._settled = True
                self._select(final=self.remaining > 0)

    def _receive(self):
        """Wait for news, take all that is there, and look after who runs."""
        with contextlib.suppress(queue.Empty):
            message = self._inbox.get(timeout=min(0.1, max(self.remaining, 0.001)))
            while True:
                with self._lock:
                    self._handle(message)
                message = self._inbox.get_nowait()
        with self._lock:
            self._watch()
            if self._changed:
                self._changed = False
                self._select()
            busy = self._lane_job is not None or bool(self._pool and self._pool.working)
            self._count_busy(busy)

    def _dispatch(self):
        for entry in self.entries:
            error = entry.head.error if entry.head is not None else None
            if error is not None and not (entry.failed or entry.running or entry.models):
                self._fail(entry, f"{type(error).__name__}: {error}", "", error)
        if self._lane_job is None:
            self._dispatch_lane()
        if not self._workers_wanted:
            lane_can_answer = any(self._in_lane(entry) for entry in self.entries)
            slow = self.now - self.elapsed_before > 0.25 * self.budget
            self._workers_wanted = self._first_done or not lane_can_answer or slow
        if self._workers_wanted:
            self._dispatch_pool()
        self._count_busy(self._lane_job is not None or bool(self._pool and self._pool.working))

    def _in_lane(self, entry):
        return not entry.failed and entry.where == "main"

    def _count_busy(self, busy):
        """Keep the time during which a candidate, an embedding or a refit ran."""
        now = time.monotonic()
        if self._busy_since is not None:
            self._busy += now - self._busy_since
        self._busy_since = now if busy else None

    def _event(self, event, **details):
        self.updates.put(("event", {"event": event, "time": round(self.now, 4), **details}))

    # ---------------------------------------------------------------- the lane

    def _dispatch_lane(self):
        job = self._next_lane_job()
        if job is None:
            return
        n_threads = self._lane_threads()
        if n_threads < 1 and job.limit > 2 and self.remaining > 0.25 * self.budget:
            return
        if self._lane is None:
            self._lane = Lane(self._inbox)
        work = {
            "first": self.work.first,
            "evaluate": self.work.evaluate,
            "refit": self.work.refit,
        }
        job.n_threads = max(n_threads, 1)
        entry = job.entry
        entry.running += 1
        entry.started = self.now if entry.started is None else entry.started
        entry.status = "running"
        self._lane_job = job
        job.started = time.monotonic()
        self._lane.start(job, work[job.kind])

    def _lane_threads(self):
        cores = self.settings.n_cores
        return cores - (self._pool.threads_in_use if self._pool else 0)

    def _next_lane_job(self):
        """The job with the highest expected gain per second among those that there is time for."""
        if not self._first_done:
            entry = self._first_entry()
            if entry is not None:
                return Job("first", entry, limit=max(self.budget / 3, 1.0))
        left = self.remaining
        refits = self._lane_refits()
        reserve = min(sum(cost for _, cost in refits) * 1.3, REFIT_RESERVE * self.budget)
        best, best_value = None, 0.0
        for entry in self.entries:
            if entry.failed or (entry.head is None and entry.where != "main"):
                continue
            level = self._next_level(entry)
            if level is None:
                continue
            cost = self._evaluation_cost(entry, level)
            if cost > 0.95 * (left - reserve):
                continue
            value = self._gain(entry) / (cost + 0.02)
            if value > best_value:
                limit = max(3 * cost, self.budget / 3)
                best, best_value = Job("evaluate", entry, level=level, limit=limit), value
        unseen = 1 - len(self.folds[0][0]) / self.data.n_train
        for entry, cost in refits:
            if cost * 1.2 > left:
                continue
            value = 0.5 * entry.weight * unseen / (cost + 0.02)
            if len(self.folds) > 1:
                value *= 0.3  # the folds' models together have seen all rows
            if value > best_value or best is None:
                best, best_value = Job("refit", entry, limit=max(4 * cost, 1.0)), value
        return best

    def _first_entry(self):
        able = [entry for entry in self.entries if self._in_lane(entry)]
        if not able:
            return None
        return min(
            able,
            key=lambda entry: (
                not entry.candidate.first,
                entry.candidate.stage,
                self._evaluation_cost(entry, self.data.n_total),
                entry.index,
            ),
        )

    def _lane_refits(self):
        """Voting entries that wait for a training on all rows, with its expected cost."""
        if not self.settings.refit:
            return []
        waiting = []
        for entry in self.entries:
            done = entry.full_model is not None and entry.full_level >= entry.member_level
            if entry.where == "main" and entry.weight > 0 and not done and not entry.failed:
                waiting.append((entry, self._refit_cost(entry)))
        return waiting

    def _refit_cost(self, entry):
        n_fold = max(len(self.folds[0][0]), 1)
        return 1.1 * entry.fit_time * self.data.n_train / n_fold

    def _next_level(self, entry):
        """Rows that the entry should see next; None where it has seen all that it will."""
        total = self.data.n_total
        head = entry.head
        if entry.where == "worker":
            if head.error is not None or head.level >= total:
                return None
        elif entry.level >= total:
            return None
        if head is None or not head.shareable:
            first = FIRST_LEVEL if total > 2 * FIRST_LEVEL else total
            return first if not entry.level else min(4 * entry.level, total)
        if head.level >= total:
            return total
        if head.rate is None:  # a new one: all rows, or as many as half of the time may give
            affordable = int(0.5 * self.remaining / self._embedding_rate(head))
            enough = max(10 * len(self.classes), total // 4)
            return total if affordable >= total else affordable if affordable >= enough else None
        if entry.level < head.level and entry.where == "main":
            return head.level
        target = min(3 * max(head.level, 1), total)
        affordable = head.level + int(0.6 * max(self.remaining, 0) / head.rate)
        target = total if affordable >= total else min(target, affordable)
        return target if target >= min(1.3 * head.level, total) else None

    def _evaluation_cost(self, entry, level):
        """Expected seconds until the entry is validated on so many rows."""
        cost = self._embedding_cost(entry.head, level)
        if entry.where == "worker":
            return cost
        share = level / self.data.n_total
        n_rows = sum(len(train) for train, _ in self.folds) * share
        return cost + n_rows * self._unit_cost(entry)

    def _embedding_cost(self, head, level):
        if head is None or level <= head.level:
            return 0.0
        return (level - head.level) * self._embedding_rate(head)

    def _embedding_rate(self, head):
        """Seconds per row: measured, or like the others', or guessed."""
        rates = [other.rate for other in self.heads.values() if other.rate is not None]
        return head.rate or (float(np.median(rates)) if rates else 1e-3)

    def _unit_cost(self, entry):
        """Seconds per training row: measured on this one or its like, else hinted, else guessed."""
        if entry.fold_times:
            n_rows = np.mean([len(self.folds[fold][0]) for fold in entry.fold_times])
            return entry.fit_time / max(n_rows * entry.member_level / self.data.n_total, 1)
        key = _kind(entry)
        if key in self._unit_costs:
            return self._unit_costs[key]
        return entry.candidate.cost if entry.candidate.cost is not None else 5e-5

    def _gain(self, entry):
        """How much better the ensemble may get, in no unit: it only ranks."""
        gain = entry.candidate.gain * 0.5**entry.candidate.stage
        if entry.level:  # a second look, with more rows
            return gain * (0.5 if entry.weight > 0 else 0.1)
        tried = [
            other.score
            for other in self.entries
            if other.head is entry.head and other.head is not None and not np.isnan(other.score)
        ]
        if tried:
            scores = [other.score for other in self.entries if not np.isnan(other.score)]
            gain *= math.exp(-(max(scores) - max(tried)) / 0.1) / (1 + 0.5 * len(tried))
        return gain

    # ---------------------------------------------------------------- workers and executors

    def _dispatch_pool(self):
        entries = [entry for entry in self.entries if entry.where == "worker"]
        if not any(self._has_pool_work(entry) for entry in entries):
            return
        if self._pool is None:
            self._pool = self._make_pool()
        while self._pool.free(self._lane_job is not None) > 0 and self.remaining > 0.3:
            job = self._next_pool_job(entries)
            if job is None:
                return
            try:
                self._start_pool_job(job)
            except Stopped:
                return  # closed in the meantime
            except Exception as error:
                if isinstance(error, BrokenExecutor) or self._pool.broken:
                    self._replace_pool()
                    continue
                self._fail(job.entry, f"{type(error).__name__}: {error}", traceback.format_exc())
                continue

    def _make_pool(self):
        if self.settings.executor is not None:
            return ExecutorPool(self.settings.executor, self.settings.n_cores, self._inbox)
        return LocalPool(self.settings.n_cores, self._inbox)

    def _replace_pool(self):
        """A user's executor is broken: go on with processes of our own, and try again there."""
        for job in self._pool.abandon():
            job.entry.running = 0
        self._event("executor broken", remedy="the rest runs in local worker processes")
        self._pool.close()
        self._pool = LocalPool(self.settings.n_cores, self._inbox)

    def _has_pool_work(self, entry):
        return not entry.failed and (
            entry.running or entry.next_fold() is not None or self._wants_pool_refit(entry)
        )

    def _wants_pool_refit(self, entry):
        return (
            self.settings.refit
            and entry.weight > 0
            and entry.full_model is None
            and len(entry.fold_final) == len(self.folds)
        )

    def _next_pool_job(self, entries):
        """First a fold of each candidate; then, of those that vote, further folds and refits."""
        left = self.remaining
        best, best_rank = None, None
        fresh = [e for e in entries if not e.failed and not e.running and not e.fold_level]
        n_untried = sum(not e.timeouts for e in fresh)
        for entry in entries:
            if entry.failed or entry.running or not self._pool_ready(entry):
                continue
            fold = entry.next_fold()
            cost = self._pool_cost(entry)
            if fold is None:
                if not self._wants_pool_refit(entry) or 1.15 * self._refit_cost(entry) > left:
                    continue
                rank = (2, -entry.weight / (self._refit_cost(entry) + 0.1), entry.index)
                job = Job("pool refit", entry, limit=left)
            elif entry.fold_level:
                if 1.1 * cost > left:
                    continue
                votes = 0 if entry.weight > 0 else 2
                rank = (1 + votes, -self._gain(entry) / (cost + 0.1), entry.index)
                job = Job("fold", entry, fold=fold, limit=left)
            else:
                rank = (
                    4 * entry.timeouts,
                    entry.candidate.stage - self._gain(entry) / (cost + 1.0),
                    entry.index,
                )
                job = Job("fold", entry, fold=fold, limit=self._first_limit(n_untried, left))
            if best_rank is None or rank < best_rank:
                best, best_rank = job, rank
        return best

    def _pool_ready(self, entry):
        head = entry.head
        if head is None or not head.shareable:
            return True
        if head.error is not None:
            return False
        lane_grows_it = self._lane_job is not None and self._lane_job.entry.head is head
        total = self.data.n_total
        return head.level == total or (
            head.level > 0 and not lane_grows_it and self._next_level(entry) is None
        )

    def _pool_cost(self, entry):
        if entry.fold_times:
            return entry.fit_time
        n_rows = len(self.folds[0][0])
        return n_rows * (entry.candidate.cost or 1e-3) + entry.candidate.startup

    def _first_limit(self, n_untried, left):
        """Seconds for the first training of a candidate: a fair share of what is left."""
        share = left * self._pool.capacity / max(n_untried, 1)
        later = len(self.folds) > 1 or self.settings.refit
        return min(share, left) * (0.5 if later and n_untried <= self._pool.capacity else 1.0)

    def _start_pool_job(self, job):
        entry = job.entry
        left = self.remaining
        tail = clone(self.work.whole(entry, entry.tail))
        if takes_max_time(tail):
            seconds = job.limit if job.kind == "fold" and not entry.fold_times else entry.fit_time
            if job.kind == "pool refit":
                seconds = self._refit_cost(entry)
            max_time = max(min(0.9 * seconds if seconds == job.limit else seconds, left - 0.5), 0.1)
            limit = min(1.25 * max_time + 3.0, left + 1.0)
        else:
            max_time = None
            limit = max(2.0 * job.limit, 0.3 * self.budget) * 2**entry.timeouts
        job.limit = limit
        head = entry.head if entry.head is not None and entry.head.shareable else None
        level = self.data.n_total if head is None else head.level
        job.level = level
        if job.kind == "fold":
            train, test = self.work.available(job.fold, level)
        else:
            train, test = self.work.training_rows(level), None
        job.test = test
        entry.running += 1
        entry.started = self.now if entry.started is None else entry.started
        entry.status = "running"
        try:
            self._pool.start(job, Task(tail, self.classes, max_time), self, train, test, left)
        except Exception:
            entry.running = 0
            raise
        self._event("task", candidate=entry.name, kind=job.kind, fold=job.fold)

    @property
    def folder(self):
        """A folder for what worker processes read and write; it goes with the session."""
        if self._closed:
            raise Stopped
        if self._folder is None:
            self._folder = tempfile.mkdtemp(prefix="skspeech-")
        return self._folder

    def dump(self, part):
        """Write rows or labels down for worker processes, once; return the path."""
        path = os.path.join(self.folder, f"{part}.joblib")
        if not os.path.exists(path):
            value = self.data.y if part == "y" else self.data.parts[part]
            try:
                joblib.dump(value, path + ".part")
            except (pickle.PicklingError, AttributeError, TypeError):
                import cloudpickle

                with open(path + ".part", "wb") as file:
                    cloudpickle.dump(value, file)
            os.replace(path + ".part", path)
        return path

    # ---------------------------------------------------------------- news

    def _handle(self, message):
        if message[0] == "lane":
            self._handle_lane(*message[1:])
        elif message[0] == "future":
            self._handle_future(*message[1:])
        elif isinstance(message[0], WorkerProcess):
            self._handle_worker(*message)

    def _handle_lane(self, job, kind, payload):
        if job.stopped:
            return
        entry = job.entry
        if kind == "embedded":
            head, n_rows, seconds = payload
            self._clocks["embedding"] += seconds
            job.started = time.monotonic()  # slow, but alive: it gets its time anew
            self._event("embedding", candidate=entry.name, n_rows=n_rows, level=head.level)
        elif kind == "fold":
            fold, level, test, outcome = payload
            self._clocks["candidates"] += outcome.fit_time + outcome.predict_time
            self._take_fold(entry, fold, level, test, outcome)
            n_rows = max(len(self.folds[fold][0]) * level / self.data.n_total, 1)
            self._unit_costs[_kind(entry)] = outcome.fit_time / n_rows
        elif kind == "full":
            level, outcome = payload
            self._take_full(entry, level, outcome, first=job.kind == "first")
        else:
            self._end_lane_job(job)
            if kind == "error":
                error, text = payload
                self._fail(entry, f"{type(error).__name__}: {error}", text, error)
            elif entry.status == "running":
                self._finish(entry)

    def _end_lane_job(self, job):
        job.completed = True
        job.entry.running = 0
        if self._lane_job is job:
            self._lane_job = None
        if job.kind == "evaluate":
            self._changed = True

    def _take_fold(self, entry, fold, level, test, outcome):
        """Keep a fold's held-out predictions and model, in the place of an earlier snapshot's."""
        rows = slice(self._offsets[fold], self._offsets[fold + 1])
        logs = log_probas(outcome.proba, self._floor)
        if len(test) == len(self.folds[fold][1]):
            entry.logs[rows] = logs
        else:
            places = np.searchsorted(self.folds[fold][1], test)
            entry.logs[rows] = np.nan
            entry.logs[rows][places] = logs
        entry.models[fold] = outcome.model
        entry.fold_level[fold] = level
        entry.fold_times[fold] = outcome.fit_time
        entry.predict_time = outcome.predict_time / max(len(test), 1)
        if outcome.final:
            entry.fold_final.add(fold)
        score = self.settings.score
        entry.fold_scores[fold] = np.nan
        with contextlib.suppress(ValueError):  # some scores need every class in every fold
            entry.fold_scores[fold] = score(outcome.proba, self.data.codes[test])
        known = ~np.isnan(entry.logs[:, 0])
        entry.score = score(np.exp(entry.logs[known]), self._held_out_codes[known])
        self._event(
            "candidate", candidate=entry.name, fold=fold, score=entry.score, final=outcome.final
        )

    def _take_full(self, entry, level, outcome, first):
        self._clocks["candidates" if first else "refit"] += outcome.fit_time
        entry.full_model, entry.full_level = outcome.model, level
        entry.full_time = outcome.fit_time
        if not first:
            self._event("refit", candidate=entry.name)
        if first:
            self._first_done = True
        if self._current is None:
            if self.ensemble is None:
                self._publish([(entry, 1.0)], np.nan)
        elif entry.weight > 0:
            self._publish([(e, e.weight) for e in self.entries if e.weight > 0], self.score)

    def _handle_worker(self, worker, message):
        if not isinstance(self._pool, LocalPool):
            worker.kill()
            return
        kind = message["kind"]
        if kind == "ready":
            self._pool.ready(worker)
            return
        job = worker.task
        if kind == "died":
            self._pool.forget(worker)
            if job is not None and not job.stopped:
                self._end_pool_job(job)
                text = describe_exit(message["returncode"])
                self._fail(job.entry, text, worker.log)
            elif job is None and not message["killed"]:
                self._pool.deaths += 1
            return
        if job is None or job.stopped or message["task_id"] not in (None, id(job)):
            return
        if kind == "outcome":
            with open(message["path"], "rb") as file:
                payload = file.read()
            os.remove(message["path"])
            self._take_pool_outcome(job, payload, message)
            if message["final"]:
                worker.task = None
                self._end_pool_job(job)
        elif kind == "error":
            worker.task = None
            self._end_pool_job(job)
            text = message["traceback"]
            if worker.log:
                text += f"\nPrinted at the end:\n{worker.log}"
            self._fail(job.entry, message["exception"], text)

    def _take_pool_outcome(self, job, payload, message):
        entry = job.entry
        outcome = PoolOutcome(entry.name, payload, message)
        if job.kind == "pool refit":
            self._take_full(entry, job.level, outcome, first=False)
        else:
            self._clocks["candidates"] += outcome.fit_time if outcome.final else 0.0
            self._take_fold(entry, job.fold, job.level, job.test, outcome)
            self._changed = True

    def _end_pool_job(self, job):
        job.completed = True
        job.entry.running = 0
        self._pool.finished(job)
        if not job.entry.failed and job.entry.status == "running":
            self._finish(job.entry)

    def _handle_future(self, job, future):
        if job.stopped or job.completed:
            return
        if future.cancelled():
            self._end_pool_job(job)
            return
        error = future.exception()
        if isinstance(error, BrokenExecutor):
            # Who of those that ran broke it is not known: all try again, each in its own process.
            self._note_failure(
                job.entry, f"{type(error).__name__}: {error}", "The executor's worker died."
            )
            if isinstance(self._pool, ExecutorPool):
                self._replace_pool()
            return
        self._end_pool_job(job)
        if error is not None:
            text = "".join(traceback.format_exception(error))
            self._fail(job.entry, f"{type(error).__name__}: {error}", text, error)
            return
        result = future.result()
        self._take_pool_outcome(job, result["model"], result)

    def _finish(self, entry):
        entry.status = "ok"
        entry.finished = self.now

    def _note_failure(self, entry, exception, text, error=None):
        entry.failures.append((entry.name, exception, text))
        entry.error = error
        self._event("failure", candidate=entry.name, exception=exception)

    def _fail(self, entry, exception, text, error=None):
        self._note_failure(entry, exception, text, error)
        entry.failed = True
        entry.running = 0
        entry.status = "failed"
        entry.finished = self.now
        if not self._first_done and self._lane_job is None:
            self._changed = True

    # ---------------------------------------------------------------- watching

    def _watch(self):
        job = self._lane_job
        if job is not None and job.overdue:
            job.stopped = True
            self._lane.close()  # it ends after what it does now, if it ever does
            self._lane_job, self._lane = None, None
            if job.entry.head is not None and job.entry.head.level < self.data.n_total:
                job.entry.head.error = TimeoutError("no answer from its first steps")
            self._time_out(job)
            job.entry.failed = True
        if isinstance(self._pool, LocalPool):
            for worker, reason in self._pool.troubled(self.entries):
                job = worker.task
                job.stopped = True
                log = worker.log
                self._pool.kill(worker)
                self._end_pool_job(job)
                if reason == "time":
                    self._time_out(job)
                else:
                    self._fail(job.entry, reason, log)
        elif self._pool is not None:
            for job in self._pool.overdue():
                job.stopped = True
                self._end_pool_job(job)
                self._time_out(job)
                job.entry.failed = True

    def _time_out(self, job):
        entry = job.entry
        entry.timeouts += 1
        entry.status = "timed out"
        seconds = time.monotonic() - job.started
        self._note_failure(
            entry,
            f"TimeoutError: given up after {seconds:.1f} s, its share of the time budget",
            "",
        )

    # ---------------------------------------------------------------- selection

    def _select(self, final=False):
        """Choose the members anew, and publish them if they are better than those that stand."""
        start = time.monotonic()
        pool = [e for e in self.entries if e.models and self._quick_enough(e)]
        if not pool:
            return
        logs = np.stack([entry.logs for entry in pool])
        score = self.settings.score
        if self.settings.selection == "threshold":
            weights = threshold_selection([entry.score for entry in pool])
        else:
            limit = self.settings.predict_time_budget
            weights = greedy_selection(
                logs,
                self._held_out_codes,
                score=score,
                n_bags=SELECTION_BAGS,
                costs=[entry.predict_time for entry in pool],
                shared={
                    i: (e.head.key, e.head.rate or 0.0)
                    for i, e in enumerate(pool)
                    if e.head is not None
                },
                max_cost=limit,
            )
        if weights.any():
            blend, covered = blend_log_probas(logs, weights)
            versions = {
                e.index: (e.fold_level.get(0), len(e.models), id(e.models.get(0)))
                for e, weight in zip(pool, weights, strict=True)
                if weight > 0
            }
            standing = np.array([entry.weight for entry in pool])
            changed = self._current is None or versions != self._current[2]
            changed = changed or not np.allclose(standing, weights)
            if changed and (final or self._better(blend, covered, versions)):
                self._current = blend, covered, versions
                for entry in self.entries:
                    entry.weight = 0.0
                for entry, weight in zip(pool, weights, strict=True):
                    entry.weight = float(weight)
                value = score(blend[covered], self._held_out_codes[covered])
                members = [(e, e.weight) for e in self.entries if e.weight > 0]
                self._publish(members, value)
        self._clocks["selection"] += time.monotonic() - start

    def _quick_enough(self, entry):
        limit = self.settings.predict_time_budget
        if limit is None:
            return True
        shared = entry.head.rate or 0.0 if entry.head is not None else 0.0
        return entry.predict_time + shared <= limit

    def _better(self, blend, covered, versions):
        if self._current is None:
            return True
        old, old_covered, old_versions = self._current
        rows = covered | old_covered
        new_merit = self._merit(blend[rows], rows)
        old_merit = self._merit(old[rows], rows)
        renewed = any(
            versions.get(index, version) != version for index, version in old_versions.items()
        )
        if renewed:  # a standing member has a newer snapshot, and only that one may vote
            return new_merit >= old_merit
        better_score = new_merit[0] - old_merit[0]
        return better_score > 1e-9 or (better_score > -1e-9 and new_merit[1] > old_merit[1] + 1e-4)

    def _merit(self, proba, rows):
        codes = self._held_out_codes[rows]
        own = proba[np.arange(len(codes)), codes]
        return self.settings.score(proba, codes), float(np.mean(np.log(own)))

    def _publish(self, members, score):
        """Build the ensemble as it stands, and hand it out."""
        ensemble = build_ensemble(members, self.classes, self._floor)
        ensemble.time_, ensemble.score_ = self.now, float(score)
        self.ensemble, self.score = ensemble, float(score)
        self.curve.append((ensemble.time_, ensemble.score_))
        self._first_done = True
        self.updates.put(("snapshot", ensemble))
        self._event(
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


def _kind(entry):
    tail = entry.tail
    while isinstance(tail, Pipeline):
        tail = tail.steps[-1][1]
    return type(tail)


_THREADS = Threads()
_SESSIONS = weakref.WeakSet()


@atexit.register
def _close_sessions():
    for session in list(_SESSIONS):
        session.close()
    wait_for_lanes(5.0)
