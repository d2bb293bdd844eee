"""What candidates have predicted so far, and the ensemble that is current."""

import time

import numpy as np

from skspeech.ensemble.blending import log_probas
from skspeech.time_budget.members import Chooser, build_ensemble
from skspeech.time_budget.policy import kind_of, n_columns_of
from skspeech.time_budget.state import HeldOut

__all__ = ["LEAST_PROBABILITY", "Outcomes", "Stopwatch"]

# Of a class. A higher one costs log loss; see benchmarks/results/selection.md.
LEAST_PROBABILITY = 1e-4


class Outcomes:
    """Takes the outcomes of a session's jobs, and makes ensembles of them.

    Attributes
    ----------
    ensemble : GeometricMeanVotingClassifier or None
        The current one.
    score : float
        Its cross-fitted score; NaN if it is not validated.
    curve : list of (float, float, CandidateState or None)
        Time and score of each ensemble so far; and the candidate whose score, once there is one,
        stands in for that of an ensemble that came before any validation.
    """

    def __init__(self, session):
        settings = session.settings
        self.session = session
        self.ensemble, self.score, self.curve = None, np.nan, []
        self.floor = min(LEAST_PROBABILITY, 0.1 / len(session.classes))
        self.chooser = Chooser(
            session.state,
            session.data,
            settings.score,
            settings.selection,
            settings.predict_time_budget,
            settings.random_state,
        )
        self._is_stale = False  # whether a candidate has been validated since the last choice

    def continue_from(self, earlier):
        """Take over what an earlier run on the same data has found."""
        self.ensemble, self.score, self.curve = earlier.ensemble, earlier.score, earlier.curve
        now, before = self.chooser, earlier.chooser
        if (now.rule, now.predict_time_budget) == (before.rule, before.predict_time_budget):
            self.chooser, before.state, before.data = before, now.state, now.data
        else:  # what the standing members were chosen by no longer counts
            now.temperature = before.temperature

    def take(self, job, outcome):
        if outcome.final:
            job.started = time.monotonic()  # the time limit starts again for its next fold
            kind = "refit" if job.kind == "refit" else "candidates"
            self.session.stopwatch.add(kind, outcome.fit_time + (outcome.predict_time or 0.0))
        else:
            self.note_change(job)
        if outcome.part.fold is None:
            self._take_full(job, outcome)
        else:
            self._take_fold(job.entry, outcome)

    def _take_fold(self, entry, outcome):
        """Keep a fold's held-out predictions and model, in place of an earlier snapshot's."""
        state, score = self.session.state, self.session.settings.score
        number, level, places = outcome.part
        fold, codes = state.folds[number], self.session.data.codes
        logs = log_probas(outcome.proba, self.floor)  # with which it votes, and is scored
        entry.held_out[number] = HeldOut(places, logs)
        entry.levels[number], entry.fit_times[number] = level, outcome.fit_time
        entry.predict_time = outcome.predict_time / max(len(places), 1)
        entry.scores[number] = score(np.exp(logs), codes[fold.test[places]])
        if outcome.final:
            entry.final.add(number)
        if entry.where == "main" and entry.variants is None:
            cost = outcome.fit_time / max(state.n_trained(number, level), 1)
            state.unit_costs[kind_of(entry)] = cost, n_columns_of(entry)
        if fold.repeat == 0:
            entry.models[number] = outcome.model
            known = [(n, entry.held_out[n]) for n in state.folds_of(0) if n in entry.held_out]
            true = [codes[state.folds[n].test[held.places]] for n, held in known]
            logs = np.concatenate([held.logs for _, held in known])
            entry.score = score(np.exp(logs), np.concatenate(true))
        self.session.event(
            "candidate",
            candidate=entry.name,
            fold=number,
            repeat=fold.repeat,
            score=entry.score,
            final=outcome.final,
        )

    def _take_full(self, job, outcome):
        """Keep a model that was trained on all rows."""
        session, entry = self.session, job.entry
        entry.full_model, entry.full_level = outcome.model, outcome.part.level
        if job.kind != "first":
            session.event("refit", candidate=entry.name)
        if not session.state.folds:  # no validation, so all models get equal weights
            voting = [e for e in session.state.entries if e.full_model is not None]
            for other in voting:
                other.weight = 1 / len(voting)
        elif self.ensemble is None:
            entry.weight = 1.0
        if entry.weight > 0:
            self._publish(self.score, entry if self.ensemble is None else self.curve[-1][2])

    def note_change(self, job):
        """Have members chosen again after a validation; repeats wait until all of them are done."""
        if job.kind == "validate" and not (job.folds and self.session.state.waits(job.folds)):
            self._is_stale = True

    def choose_if_stale(self):
        """Choose the members again if a candidate has been validated since the last choice."""
        if self._is_stale:
            self._is_stale = False
            self.choose()

    def choose(self, final=False):
        """Choose the members again, and publish them if they are better than the current ones."""
        if not self.session.state.folds:
            return
        start = time.monotonic()
        score = self.chooser.choose(final=final)
        if score is not None:
            self._publish(score)
        self.session.stopwatch.add("selection", time.monotonic() - start)

    def missed_limit(self):
        """A message, in a list, if members vote that may take longer than `predict_time_budget`."""
        voting = [entry for entry in self.session.state.entries if entry.weight > 0]
        slow = [entry.name for entry in voting if not self.chooser.is_quick_enough(entry)]
        if not slow:
            return []
        why = "without held-out clips, times are not measured."
        if self.session.state.folds:
            why = (
                "no candidate was validated that takes less. Raise it or time_budget, or give "
                "quicker candidates."
            )
        return [
            f"{', '.join(slow)} may take longer than predict_time_budget="
            f"{self.chooser.predict_time_budget:g} seconds for a clip: {why}"
        ]

    def _publish(self, score, stand_in=None):
        """Build the current ensemble, and send it to the caller."""
        session = self.session
        members = [(entry, entry.weight) for entry in session.state.entries if entry.weight > 0]
        ensemble = build_ensemble(
            members,
            session.classes,
            self.floor,
            temperature=self.chooser.temperature,
            one_model_each=session.settings.predict_time_budget is not None,
        )
        ensemble.time_, ensemble.score_ = session.now, float(score)
        self.curve.append((ensemble.time_, ensemble.score_, stand_in))
        if not session.state.answered:
            session.state.answered = True
            session.pause()
        self.ensemble, self.score = ensemble, ensemble.score_  # which the caller now takes
        session.event(
            "snapshot",
            score=ensemble.score_,
            members={entry.name: round(weight, 4) for entry, weight in members},
        )


class Stopwatch:
    """Where the time of a run goes, in seconds."""

    def __init__(self):
        self._seconds = dict.fromkeys(("embedding", "candidates", "refit", "selection"), 0.0)
        self._busy, self._busy_since = 0.0, None

    def add(self, kind, seconds):
        self._seconds[kind] += float(seconds)

    def count_busy(self, busy):
        """Add up the time during which a candidate, an embedding or a refit ran."""
        now = time.monotonic()
        if self._busy_since is not None:
            self._busy += now - self._busy_since
        self._busy_since = now if busy else None

    def read(self, total):
        """Return `timing_`, given the seconds of the whole run."""
        overhead = max(total - self._busy, 0.0)
        return {**self._seconds, "overhead": float(overhead), "total": float(total)}
