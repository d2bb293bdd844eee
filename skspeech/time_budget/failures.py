"""Handling of candidates that fail, time out, or can't be tried at all."""

import time

from skspeech.time_budget import policy
from skspeech.time_budget.pretrained import needed_weights
from skspeech.time_budget.state import KEPT
from skspeech.time_budget.workers.tasks import describe_error
from skspeech.weights import WeightsNotFoundError
from skspeech.weights.store import missing_weights, tell_missing

__all__ = ["Failures"]


class Failures:
    """Records in the state of a session's candidates what went wrong.

    Attributes
    ----------
    left_out : list of str
        Messages that say why some candidates could not be tried.
    """

    def __init__(self, session):
        self.session = session
        self.left_out = []

    def note(self, entry, error, text):
        """Record a failure and send an event; the candidate may be tried again.

        `error` is an exception where that may be raised again for the user; else what it says.
        `text` is the traceback or the last printed output.
        """
        is_told = isinstance(error, str)
        exception = error if is_told else describe_error(error)
        entry.failures.append((entry.name, exception, text))
        entry.error = None if is_told else error
        kept = _is_kept(entry)
        self.session.event("failure", candidate=entry.name, exception=exception, kept=kept)

    def fail(self, entry, error, text=""):
        """Record that a candidate has failed for good; see `note`."""
        if isinstance(error, WeightsNotFoundError) and error.reason:
            self._fail_without_weights(entry, error)
            return
        self.note(entry, error, text)
        self._mark_failed(entry)

    def lose(self, entry, error, text):
        """Record that an executor lost a job; the first time, the candidate is tried again."""
        entry.lost += 1
        if entry.lost < policy.MAX_MISSES:
            self.note(entry, describe_error(error), text)
        else:
            self.fail(entry, error, text)

    def miss(self, job):
        """Record a timeout; after the first one, the candidate is tried again after the others."""
        entry = job.entry
        entry.misses += 1
        entry.failed = entry.misses >= policy.MAX_MISSES
        level = job.level or self.session.state.n_total
        due = [] if entry.features is None else entry.features.unfinished(level)
        if entry.where == "main" and due:
            features = due[0]
            features.misses += 1
            if features.misses >= policy.MAX_MISSES:
                features.error = TimeoutError("no answer from its first steps")
        entry.status, entry.finished = "timed out", self.session.now
        seconds = time.monotonic() - job.started
        self.note(entry, f"TimeoutError: given up after {seconds:.1f} s, its share of the time", "")

    def by_features(self, entries):
        """Fail the candidates whose shared first steps have failed."""
        for entry in entries:
            error = entry.features.error if entry.features is not None else None
            if error is not None and not (entry.failed or entry.models):
                self.fail(entry, error)

    def tell_unfinished(self):
        """Set the final status of each candidate when the run is over."""
        entries = self.session.state.entries
        self.by_features(entries)
        for entry in entries:
            if _is_kept(entry) and entry.status not in ("ok", "waiting"):
                entry.status = KEPT
            elif entry.status == "waiting":
                entry.status = "not started"
            elif entry.running:
                entry.status = "stopped"
                if not entry.can_vote and self.session.remaining <= 0:
                    entry.misses += 1
                    entry.failures.append(
                        (entry.name, "TimeoutError: still running when the time was up", "")
                    )

    def _mark_failed(self, entry):
        entry.failed, entry.status, entry.finished = True, "failed", self.session.now

    def _fail_without_weights(self, entry, error):
        """Fail all idle candidates that lack pretrained weights; one failure stands for all."""
        entries, lacking = self.session.state.entries, {}
        for other in entries:
            missing = missing_weights(needed_weights([other.candidate.estimator]))
            is_idle = not (other.failed or other.running or other.models)
            if other is entry or (missing and is_idle):
                lacking[other] = missing
        weights = sorted(set().union(*lacking.values()))
        error = WeightsNotFoundError(tell_missing(weights, error.reason), error.reason)
        names = ", ".join(other.name for other in lacking)
        self.left_out.append(
            f"{len(lacking)} of {len(entries)} candidates are left out: {names}. {error}"
        )
        entry.failures.append((names, f"WeightsNotFoundError: {error}", ""))
        self.session.event("failure", candidate=names, exception=f"WeightsNotFoundError: {error}")
        for other in lacking:
            other.error = error
            self._mark_failed(other)


def _is_kept(entry):
    """Whether it votes with the models of its folds, even if its last training fails."""
    return entry.weight > 0 and bool(entry.models) and not entry.is_refitted
