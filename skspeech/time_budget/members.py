"""From held-out predictions to the ensemble: choose the members, score them, build the ensemble.

The rules of the choice are in :mod:`skspeech.ensemble.selection`.
"""

import re
from dataclasses import dataclass

import numpy as np
from sklearn.pipeline import Pipeline

from skspeech.ensemble import GeometricMeanVotingClassifier
from skspeech.ensemble.blending import blend_known
from skspeech.ensemble.calibration import IMAGINED_ROWS, find_temperature
from skspeech.ensemble.scoring import cross_fitted_blend, is_better, score_known
from skspeech.ensemble.selection import select_members
from skspeech.time_budget.splits import judging_parts

__all__ = ["Chooser", "HeldOutTable", "build_ensemble"]


@dataclass
class HeldOutTable:
    """The candidates' predictions for all held-out rows, in one array."""

    # Log-probabilities, of shape (n_candidates, n_rows, n_classes); NaN where a candidate made no
    # prediction. All others are of shape (n_rows,).
    logs: np.ndarray
    rows: np.ndarray  # their numbers; those that were held out in several repeats occur again
    codes: np.ndarray  # the true classes
    folds: np.ndarray  # which held each row out
    units: np.ndarray  # rows of one clip, or of one group where there are groups, are one unit
    is_scored: np.ndarray  # whether each row counts for scores, too

    @classmethod
    def of(cls, state, entries, data):
        """Collect some candidates' predictions for the held-out rows of all folds."""
        rows = np.concatenate([fold.test for fold in state.folds])
        sizes = [len(fold.test) for fold in state.folds]
        starts = np.concatenate([[0], np.cumsum(sizes)])
        logs = np.full((len(entries), len(rows), state.n_classes), np.nan)
        for entry, own in zip(entries, logs, strict=True):
            for number, held_out in entry.held_out.items():
                own[starts[number] + held_out.places] = held_out.logs
        units = rows
        if data.kept is not None and rows.max() < data.n_train:
            units = np.unique(data.kept, return_inverse=True)[1][rows]
        folds = np.repeat(np.arange(len(sizes)), sizes)
        is_scored = np.repeat([fold.is_scored for fold in state.folds], sizes)
        return cls(logs, rows, data.codes[rows], folds, units, is_scored)


class Chooser:
    """Chooses the members again whenever there are new held-out predictions."""

    def __init__(self, state, data, score, rule, predict_time_budget, random_state):
        self.state, self.data, self.score, self.rule = state, data, score, rule
        self.predict_time_budget = predict_time_budget
        self.random_state = random_state
        self._standing = {}  # weights of the current members
        self._versions = {}  # their folds' models
        self._blend = None  # their blend for the held-out rows
        self._judged = None  # the same rows, but cross-fitted, and their table
        self.temperature = 1.0  # calibrates their probabilities

    def choose(self, *, final=False):
        """Choose members; change the candidates' weights if that makes the ensemble better.

        The last choice of a run, the `final` one, is taken in any case. Returns the cross-fitted
        score of the new ensemble, or None if the old one stays.
        """
        pool = [e for e in self.state.entries if e.models and self.is_quick_enough(e)]
        # A candidate that has seen only the few rows of a race is not worth its prediction time.
        race = self.state.race_level
        pool = [e for e in pool if e.member_level > race or e.full_model is not None] or pool
        if not pool:
            return None
        table = HeldOutTable.of(self.state, pool, self.data)
        weights = self._select(pool, table, np.arange(len(table.codes)))
        chosen = {e: float(w) for e, w in zip(pool, weights, strict=True) if w > 0}
        # By identity; what is kept beside its id does not leave that to another model.
        versions = {e: {n: (id(m), m) for n, m in e.models.items()} for e in chosen}
        if not chosen or (chosen == self._standing and versions == self._versions):
            if final and not table.is_scored.all():  # for `held_out_probas`
                self._judged = self._cross_fitted(pool, table), table
            return None
        blend = blend_known(table.logs, weights)
        if not (final or self._is_worth_it(blend, pool, table, versions)):
            return None
        self._standing, self._versions, self._blend = chosen, versions, blend
        for entry in self.state.entries:
            entry.weight = chosen.get(entry, 0.0)
        blend = self._cross_fitted(pool, table)
        self._judged = blend, table
        known = table.is_scored & ~np.isnan(blend[:, 0])
        blend, codes = blend[known], table.codes[known]
        # A row that was held out several times tells no more than once.
        repeats = len(codes) / max(len(np.unique(table.rows[known])), 1)
        self.temperature = find_temperature(blend, codes, n_imagined=IMAGINED_ROWS * repeats)
        return score_known(blend, codes, self.score)

    def held_out_probas(self, n_train):
        """The ensemble's cross-fitted probabilities for each row, and the rows' classes.

        Their shape is (2, n_train, n_classes): on folds that count for scores, and on others; they
        are NaN where a row was not held out.
        """
        probas = np.full((2, n_train, self.state.n_classes), np.nan)
        if self._judged is not None:
            blend, table = self._judged
            known = ~np.isnan(blend[:, 0])
            for proba, own in zip(probas, (table.is_scored, ~table.is_scored), strict=True):
                proba[table.rows[own & known]] = blend[own & known]
        return probas, self.data.codes[:n_train]

    def _select(self, pool, table, rows):
        return select_members(
            table.logs[:, rows],
            table.codes[rows],
            score=self.score,
            rule=self.rule,
            units=table.units[rows],
            costs=[entry.predict_time for entry in pool],
            shared={
                i: (entry.features.key, entry.features.rate or 0.0)
                for i, entry in enumerate(pool)
                if entry.features is not None
            },
            max_cost=self.predict_time_budget,
        )

    def _is_worth_it(self, blend, pool, table, versions):
        """Whether the new choice is better than the current ensemble, beyond chance."""
        if self._blend is None:
            return True
        old = np.full_like(blend, np.nan)
        old[: len(self._blend)] = self._blend  # further folds only add rows
        settings = {"score": self.score, "units": table.units}
        renewed = any(versions.get(e, v) != v for e, v in self._versions.items())
        if renewed:  # only a member's newest models can vote: take them unless they are worse
            return not is_better(old, blend, table.codes, **settings)
        if self._standing.keys() <= set(pool):  # its members may have predicted further folds
            standing = np.array([self._standing.get(entry, 0.0) for entry in pool])
            old = blend_known(table.logs, standing)
        return is_better(blend, old, table.codes, **settings)

    def _cross_fitted(self, pool, table):
        """The ensemble's predictions for held-out rows, with weights chosen on other rows."""
        parts = judging_parts(self.state, table.folds, table.units, self.random_state)
        if len(np.unique(parts)) < 2:
            return np.full_like(table.logs[0], np.nan)
        return cross_fitted_blend(
            table.logs,
            parts=parts,
            units=table.units,
            select=lambda rows: self._select(pool, table, rows),
        )

    def is_quick_enough(self, entry):
        """Whether a candidate is known to predict within the limit, if there is one."""
        limit = self.predict_time_budget
        if limit is None:
            return True
        shared = entry.features.rate or 0.0 if entry.features is not None else 0.0
        return entry.predict_time + shared <= limit


def build_ensemble(members, classes, floor, *, temperature, one_model_each):
    """Build the fitted ensemble from (candidate, weight) pairs.

    Until a candidate has been trained on all rows, the models of its folds vote in its place. With
    `one_model_each`, used if predicting has to be quick, only the first fold's model does. Members
    that share their first steps are merged, so that predicting runs these steps once.
    """
    grouped = {}
    for entry, weight in members:
        key = entry.name if entry.shared is None else entry.shared.key
        _, models = grouped.setdefault(key, (entry.shared, []))
        models += _models(entry, weight, one_model_each)
    estimators, weights = [], []
    for shared, models in grouped.values():
        named = [(name, model) for name, model, _ in models]
        shares = [weight for _, _, weight in models]
        if shared is not None:
            rest = named[0][1]
            if len(named) > 1:
                rest = GeometricMeanVotingClassifier.from_fitted(
                    _named(named), weights=shares, classes=classes, floor=floor
                )
            name = "+".join(name for name, _ in named[:3])
            named = [(name, Pipeline([*shared.steps, ("classifier", rest)]))]
            shares = [sum(shares)]
        estimators += named
        weights += shares
    return GeometricMeanVotingClassifier.from_fitted(
        _named(estimators), weights=weights, classes=classes, floor=floor, temperature=temperature
    )


def _named(models):
    """(name, model) pairs with names that an ensemble takes: each once, and no parameter's."""
    taken = set(GeometricMeanVotingClassifier([]).get_params(deep=False))
    named = []
    for name, model in models:
        name = re.sub("__+", "_", name)
        while name in taken:
            name += "'"
        taken.add(name)
        named.append((name, model))
    return named


def _models(entry, weight, only_one):
    """(name, model, weight) of each model that votes for a candidate."""
    name = entry.name
    if entry.is_refitted:
        return [(name, entry.full_model, weight)]
    models = sorted(entry.models.items())[: 1 if only_one else None]
    return [(f"{name} ({fold})", model, weight / len(models)) for fold, model in models]
