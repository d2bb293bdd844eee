"""Results of a run: events while it lasts, and plain arrays afterwards."""

import contextlib
import json
import queue
import time
from collections.abc import Callable
from numbers import Real
from typing import TYPE_CHECKING

import numpy as np
from scipy.stats import rankdata
from sklearn.dummy import DummyClassifier
from sklearn.utils.validation import check_is_fitted

from skspeech._json import plain
from skspeech._typing import ClipsLike, Self
from skspeech._warning import warn
from skspeech.ensemble import GeometricMeanVotingClassifier
from skspeech.ensemble.pruning import prune_to_time
from skspeech.time_budget.state import KEPT

if TYPE_CHECKING:
    import pandas as pd

__all__ = [
    "EventLog",
    "ResultsMixin",
    "collect",
    "describe",
    "explain_fall",
    "fall_back",
    "fate",
    "follow",
    "in_words",
    "statuses",
]


class ResultsMixin:
    """Reports the results of a run as a table and in words."""

    time_budget: float
    scoring: str | Callable
    best_score_: float
    results_: dict[str, np.ndarray]
    learning_curve_: dict[str, np.ndarray]
    failures_: list[tuple[str, str, str]]
    timing_: dict[str, float]
    remarks_: list[str]
    ensemble_: GeometricMeanVotingClassifier

    def leaderboard(self) -> "pd.DataFrame":
        """Return the candidates as a table, the best first.

        Returns
        -------
        pandas.DataFrame
            Columns ``name``, ``score``, ``weight``, ``fit_time`` (mean seconds to train a fold),
            ``predict_time`` (seconds per clip), ``started``, ``finished`` (seconds since the call
            of `fit`) and ``status``.
        """
        _check_reported(self)
        import pandas as pd

        columns = ["name", "score", "weight", "mean_fit_time", "predict_time"]
        columns += ["started", "finished", "status"]
        table = pd.DataFrame({name: self.results_[name] for name in columns})
        return table.rename(columns={"mean_fit_time": "fit_time"}).sort_values(
            "score", ascending=False, na_position="last", kind="stable", ignore_index=True
        )

    def summary(self) -> str:
        """Describe the run in words.

        Returns
        -------
        str
        """
        _check_reported(self)
        results = self.results_
        voting = np.flatnonzero(results["weight"] > 0)
        voting = voting[np.argsort(-results["weight"][voting], kind="stable")]
        n_validated = int(np.sum(~np.isnan(results["score"])))
        lines = [
            f"{len(results['name'])} candidates, {n_validated} of them validated, in "
            f"{self.timing_['total']:.1f} s of {self.time_budget:g} s."
        ]
        if len(voting):
            name = self.scoring if isinstance(self.scoring, str) else "score"
            score = "not validated" if np.isnan(self.best_score_) else f"{self.best_score_:.3f}"
            members = "one member" if len(voting) == 1 else f"{len(voting)} members"
            lines.append(f"The ensemble has {members}; {name}: {score}.")
            lines += [
                f"  {results['name'][i]}: weight {results['weight'][i]:.2f}, alone "
                f"{results['score'][i]:.3f}"
                for i in voting
            ]
        else:
            lines.append("No candidate was ready in time: the classes' frequencies are predicted.")
        times = self.learning_curve_["time"]
        if len(times):
            lines.append(f"First answer after {times[0]:.1f} s, last one after {times[-1]:.1f} s.")
        if fall := explain_fall(self.learning_curve_["score"]):
            lines.append(fall)
        status = statuses(results)
        # A candidate that was tried again has several failures; the last one counts.
        last = {name: text for name, text, _ in self.failures_}
        lines += [
            f"{name} {fate(status.get(name))}: {in_words(text)}" for name, text in last.items()
        ]
        lines += self.remarks_
        return "\n".join(lines)

    def slim(self, *, predict_time_budget: float | None = None, X: ClipsLike | None = None) -> Self:
        """Drop everything that predicting does not need.

        It drops the reports (`results_`, `learning_curve_`, `failures_`, `timing_`, `remarks_`) and
        the state that `warm_start` continues from. With `predict_time_budget`, it also keeps only
        members that together predict one clip in time; `best_score_` is NaN then, because they were
        not validated together.

        Parameters
        ----------
        predict_time_budget : float, default=None
            Seconds that the prediction of a single clip may take on this machine; None keeps all
            members. If you know the limit before training, give it to the constructor: then members
            are chosen for it.
        X : sequence of clips, or array-like of shape (n_samples, n_features), default=None
            Needed with `predict_time_budget`: some dozens of clips that the classifier was not
            trained on, without labels. The members are kept that together predict most like the
            whole ensemble on them.

        Returns
        -------
        self : TimeBudgetClassifier

        Raises
        ------
        ValueError
            If `predict_time_budget` is given without `X`, or is less than the quickest member
            takes.
        """
        check_is_fitted(self)
        if predict_time_budget is not None:
            self._keep_quick_members(predict_time_budget, X)
        for name in ("results_", "learning_curve_", "failures_", "timing_", "remarks_", "_state"):
            self.__dict__.pop(name, None)
        return self

    def _keep_quick_members(self, seconds, X):
        if X is None or not len(X):
            raise ValueError("predict_time_budget needs X: clips on which answers should stay.")
        if not isinstance(seconds, Real) or not seconds > 0:
            raise ValueError(
                f"predict_time_budget={seconds!r} has to be a number above 0, or None."
            )
        time_ = self.ensemble_.time_
        self.ensemble_ = prune_to_time(self.ensemble_, X, seconds)
        self.ensemble_.time_, self.ensemble_.score_ = time_, np.nan  # not validated
        self.best_score_ = np.nan

    def __sklearn_is_fitted__(self):
        return hasattr(self, "ensemble_")

    def _repr_mimebundle_(self, **kwargs):
        """Show the leaderboard in notebooks too, below scikit-learn's diagram."""
        bundle = super()._repr_mimebundle_(**kwargs)
        if "text/html" in bundle and hasattr(self, "results_"):
            from skspeech._html import leaderboard_html

            headline = " ".join(self.summary().splitlines()[:2])
            bundle["text/html"] += leaderboard_html(self.results_, headline)
        return bundle


def _check_reported(classifier):
    if not hasattr(classifier, "results_"):
        check_is_fitted(classifier)
        raise AttributeError("The results of the run are dropped: ask for them before slim().")


def follow(session, tell):
    """Yield the session's snapshots until its end, and call `tell` with every event.

    This ends at the deadline, whatever the coordinator does.
    """
    last = earlier = session.outcomes.ensemble  # which `warm_start` continues from
    ended = False
    while not ended:
        events, left = [], session.deadline - time.monotonic()
        with contextlib.suppress(queue.Empty):
            events.append(session.events.get(timeout=max(left, 0.001)))
            while True:
                events.append(session.events.get_nowait())
        for event in filter(None, events):
            tell(event)
        ended = None in events or session.deadline <= time.monotonic()
        if ended and last is earlier:
            last = None  # nothing better was found
        if session.outcomes.ensemble is not last:
            last = session.outcomes.ensemble
            yield last
            session.resume()


def collect(session):
    """Return the fitted attributes of a closed session, as plain arrays and lists, by name."""
    entries, end = session.state.entries, session.ended or time.monotonic()
    scored = [number for number, fold in enumerate(session.state.folds) if fold.is_scored]
    splits = np.array([[entry.scores.get(k, np.nan) for k in scored] for entry in entries]).reshape(
        len(entries), len(scored)
    )
    known = np.ma.masked_invalid(splits)
    ranks = rankdata([-entry.score for entry in entries], "min", nan_policy="omit")

    def column(name, dtype=float):
        return np.array([getattr(entry, name) for entry in entries], dtype=dtype)

    results = {
        "name": column("name", object),
        "status": column("status", object),
        "score": column("score"),
        "mean_test_score": known.mean(axis=1).filled(np.nan),
        "std_test_score": known.std(axis=1).filled(np.nan),
        **{f"split{k}_test_score": scores for k, scores in enumerate(splits.T)},
        "rank_test_score": np.nan_to_num(ranks, nan=len(entries) + 1).astype(int),
        "weight": column("weight"),
        "mean_fit_time": column("fit_time"),
        "predict_time": column("predict_time"),
        "started": column("started"),
        "finished": column("finished"),
    }
    fitted = {
        "best_score_": session.outcomes.score,
        "results_": results,
        "learning_curve_": _curve(session.outcomes.curve),
        "failures_": [failure for entry in entries for failure in entry.failures],
        "timing_": session.stopwatch.read(end - session.start),
        "remarks_": session.remarks,
    }
    if session.outcomes.ensemble is not None:
        fitted["ensemble_"] = session.outcomes.ensemble
    return fitted


def fall_back(classifier, session):
    """If there is no ensemble: raise the reason, or make one of the classes' frequencies."""
    if session.error is not None:
        raise session.error
    entries = session.state.entries
    broken = [e for e in entries if (e.failures or e.error is not None) and not e.misses]
    if entries and len(broken) == len(entries):
        errors = [e.error for e in broken if e.error is not None]
        if len(errors) == len(broken) and len({(type(e), str(e)) for e in errors}) == 1:
            raise errors[0]  # all failed alike, so their input is at fault
        reasons = "\n".join(f"  {name}: {why}" for name, why, _ in classifier.failures_)
        cause = next((e.error for e in broken if e.error is not None), None)
        raise ValueError(
            f"All {len(entries)} candidates failed; failures_ has the tracebacks.\n{reasons}"
        ) from cause
    unreadable = next((e.error for e in entries if hasattr(e.error, "failures")), None)
    if unreadable is not None:
        raise unreadable  # clips that can't be read are the reason; more time would not help
    warn(
        f"No candidate was trained within time_budget={classifier.time_budget!r} seconds, so only "
        "the classes' frequencies are predicted. Raise time_budget, or give quicker ones."
    )
    data = session.data
    labels = session.classes[data.codes[: data.n_train]]
    weights = data.sample_weight
    prior = DummyClassifier(strategy="prior").fit(np.zeros((len(labels), 1)), labels, weights)
    ensemble = GeometricMeanVotingClassifier.from_fitted(
        [("prior", prior)], classes=session.classes
    )
    ensemble.time_, ensemble.score_ = session.now, float("nan")
    return ensemble


def explain_fall(scores):
    """Say why the last score is lower than an earlier one; empty if it is not."""
    best = np.max(scores, initial=-np.inf, where=~np.isnan(scores))
    if not len(scores) or not best > scores[-1] + 0.001:
        return ""
    return (
        f"The score fell from {best:.3f} to {scores[-1]:.3f}: members are chosen by the "
        "log loss of the held-out rows, which says more than a score of so few."
    )


def statuses(results):
    """Status of each candidate in `results_`, by its name."""
    return dict(zip(results["name"].tolist(), results["status"].tolist()))


def fate(status):
    """What became of a candidate that had an error, as a verb phrase that follows its name."""
    known = {KEPT: f"is {KEPT}", "stopped": "was stopped", "timed out": "timed out"}
    return known.get(status, "failed")


def in_words(reason):
    """Why a candidate failed, without the exception's name if it only timed out."""
    return reason.removeprefix("TimeoutError: ")


class EventLog:
    """A file to which events are appended; if it can't be written, the run goes on without it."""

    def __init__(self, path):
        self._path = path
        # Unbuffered, so that nothing is left to write when it is closed.
        self._file = None if path is None else open(path, "ab", buffering=0)  # noqa: SIM115

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if self._file is not None:
            self._file.close()

    def write(self, event):
        if self._file is None:
            return
        try:
            self._file.write(json.dumps(plain(event), default=str).encode() + b"\n")
        except OSError as error:
            self._file.close()
            self._file = None
            warn(
                f"log_file={self._path!r} can't be written any more ({error}), so the run goes on "
                "without it. Free the disk, or name another file."
            )


def describe(event, verbose):
    """Describe an event in one line; None if it is not printed at this verbosity."""
    kind = event["event"]
    if kind == "snapshot":
        members = ", ".join(event["members"])
        score = "not validated yet" if np.isnan(event["score"]) else f"score {event['score']:.4f}"
        return f"ensemble: {score}; {members}"
    if kind == "failure":
        what = fate(KEPT if event.get("kept") else None)
        return f"{event['candidate']} {what}: {event['exception']}"
    if kind == "remark":
        return event["text"]
    if kind == "interrupted":
        return "interrupted; the best ensemble so far is kept"
    if kind == "candidate" and verbose > 1 and not event["repeat"]:
        return f"{event['candidate']}, fold {event['fold']}: score {event['score']:.4f}"
    return None


def _curve(curve):
    """Times and scores; a first answer gets its candidate's score, if that was validated later."""
    scores = [first.score if first and np.isnan(score) else score for _, score, first in curve]
    return {"time": np.array([t for t, _, _ in curve]), "score": np.array(scores, dtype=float)}
