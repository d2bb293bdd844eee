"""The time budget: many candidates, one clock, and the best ensemble that fits."""

import contextlib
import dataclasses
import fnmatch
import json
import numbers
import os
import queue
import time
import warnings
from concurrent.futures import Executor
from numbers import Integral, Real
from typing import Any

import joblib
import numpy as np
from joblib.parallel import get_active_backend
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.dummy import DummyClassifier
from sklearn.metrics import get_scorer_names
from sklearn.utils import (
    check_array,
    check_consistent_length,
    check_random_state,
    column_or_1d,
    get_tags,
)
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_is_fitted, validate_data

from skspeech._reporting import ReportMixin
from skspeech._sklearn import Interval, StrOptions, _fit_context
from skspeech.ensemble import GeometricMeanVotingClassifier
from skspeech.selection import ProbabilityScore

__all__ = ["Candidate", "TimeBudgetClassifier"]


@dataclasses.dataclass
class Candidate:
    """A classifier that may join the ensemble, with hints for the order of things.

    A plain ``(name, estimator)`` tuple does as well. The hints only say where to begin: what is
    measured on the data at hand replaces them.

    Parameters
    ----------
    name : str
        Its name in the leaderboard.
    estimator : classifier
        Not fitted; with `predict_proba`.
    where : {"auto", "main", "worker"}, default="auto"
        ``"main"`` runs in the calling process, and shares its embeddings with the other candidates;
        only for what is quick and cannot hang. ``"worker"`` runs in a process of its own, on the
        data as they are. ``"auto"`` is ``"main"`` for scikit-learn's linear models, naive Bayes,
        discriminant analysis, nearest neighbours and trees; for anything else the stateless
        first steps of a Pipeline run here and are shared, and the rest goes to a worker.
    first : bool, default=False
        Whether this is the cheapest look at the data, which gives the first answer.
    stage : int, default=0
        A higher stage comes later: it halves the expected gain.
    gain : float, default=1.0
        How much is expected of it, compared with the others.
    cost : float, default=None
        Expected training time in seconds per clip, without the embedding.
    startup : float, default=0.0
        Expected seconds before training begins, such as for importing a library.
    max_memory : float, default=None
        Bytes that its worker process may hold; more, and it is killed. None is a fair share of the
        free memory.

    Examples
    --------
    >>> from sklearn.linear_model import LogisticRegression
    >>> from skspeech.time_budget import Candidate
    >>> Candidate("linear", LogisticRegression(), first=True).name
    'linear'
    """

    name: str
    estimator: Any
    where: str = "auto"
    first: bool = False
    stage: int = 0
    gain: float = 1.0
    cost: float | None = None
    startup: float = 0.0
    max_memory: float | None = None


class TimeBudgetClassifier(ReportMixin, ClassifierMixin, BaseEstimator):
    """Train the best ensemble of candidates that fits in the time.

    The cheapest look at the data gives a first ensemble in seconds. Then one candidate after the
    other is validated, in the order of what it may gain per second, and joins the ensemble if that
    gets better by it. At the end the members are trained once more on all rows. `fit` returns
    when the budget is used up, or before that when nothing is left to do.

    Quick linear candidates run in the calling process. All others run in worker processes, which
    are killed when the time is up: a candidate that hangs, crashes or takes all the memory costs
    only itself, and is named in `failures_`.

    Parameters
    ----------
    candidates : "auto" or list, default="auto"
        ``"auto"`` is a line-up of speech and music classifiers that suits the data. A list holds
        ``(name, estimator)`` tuples and :class:`Candidate` objects; in it, ``"auto"`` stands for
        the line-up, and ``"-pattern"`` takes those out whose names match, as in
        ``["auto", "-music*", ("forest", RandomForestClassifier())]``.
    time_budget : float, default=60.0
        Seconds from the call of `fit` to its return, everything included.
    cv : "auto", int, splitter, iterable, or tuple (X_val, y_val), default="auto"
        How candidates are validated. ``"auto"`` is 5 stratified folds below 100 clips, 3 below
        1,000, and one held-out part above; with `groups`, no group is on both sides. A class of
        one or two clips always stays in the training part. An int is the number of stratified
        folds; splitters and iterables of index pairs are as in scikit-learn; a tuple is a
        validation set of your own.
    scoring : str or callable, default="balanced_accuracy"
        What is maximised: a scikit-learn scorer that can be computed from probabilities.
    selection : {"greedy", "threshold"}, default="greedy"
        ``"greedy"`` adds, again and again, the candidate that lifts the ensemble most [1]_.
        ``"threshold"`` takes those with at least 0.92 of the best score, 26 at most.
    preset : str, default="best"
        Which line-up ``"auto"`` is: ``"fast"``, ``"best"`` or ``"autospeech2020"``.
    refit : bool, default=True
        Whether members are trained on all rows at the end, as far as the time allows. Otherwise,
        and until then, the models of a member's validation folds vote for it together.
    n_jobs : int, default=None
        Processor cores to use. None is all of them; inside of a joblib worker, such as that of a
        parallel grid search, it is that worker's share, and in a
        :class:`joblib.parallel_config` context what that says. -1 is all.
    device : str, default="auto"
        Device of the candidates in ``"auto"``.
    memory : str or joblib.Memory, default=None
        Where the candidates in ``"auto"`` keep embeddings; None keeps them in memory.
    executor : concurrent.futures.Executor, default=None
        Runs the trained candidates, in the place of worker processes on this machine: a
        `ProcessPoolExecutor`, or Dask's ``client.get_executor()``. What still runs in it at the
        deadline is cancelled or left alone; only processes of our own can be killed.
    warm_start : bool, default=False
        Whether the next `fit` on the same data goes on where the last one stopped.
    callbacks : callable or list of callables, default=None
        Each is called with every event, a dict with the keys ``"event"`` and ``"time"``.
    predict_time_budget : float, default=None
        Seconds that the ensemble may take to predict a clip; slower members are left out. None is
        no limit.
    log_file : str or path-like, default=None
        A file to which each event is appended as a line of JSON.
    random_state : int, RandomState instance or None, default=None
        Seed of the splits, and of candidates whose own `random_state` is None.
    verbose : int, default=0
        1 prints a line for each better ensemble, 2 also one for each validated candidate.

    Attributes
    ----------
    ensemble_ : GeometricMeanVotingClassifier
        The fitted ensemble.
    classes_ : ndarray of shape (n_classes,)
        The labels.
    best_score_ : float
        Score of the ensemble on held-out rows; NaN if there was no time to validate anything.
    results_ : dict of str to ndarray
        One row for each candidate, like ``cv_results_``: ``name``, ``status`` (``"ok"``,
        ``"failed"``, ``"timed out"``, ``"stopped"`` at the end, ``"not started"``),
        ``mean_test_score``, ``std_test_score``, ``split0_test_score`` and so on,
        ``rank_test_score``, ``score`` (of all held-out rows together), ``weight``,
        ``mean_fit_time``, ``predict_time`` (seconds per clip), ``started`` and ``finished``.
    learning_curve_ : dict of str to ndarray
        ``time`` (seconds since the call of `fit`) and ``score`` of each ensemble.
    failures_ : list of (str, str, str)
        Name of the candidate, exception, traceback or what was printed last.
    timing_ : dict of str to float
        Seconds spent in ``embedding``, ``candidates``, ``refit`` and ``selection``; ``overhead``,
        in which no candidate, embedding or refit ran; ``total``.
    n_features_in_ : int
        Number of features, where `X` is a table.
    feature_names_in_ : ndarray of shape (n_features_in_,)
        Names of the features, where `X` is a table that has them.

    See Also
    --------
    Candidate : A classifier with hints for its order.
    GeometricMeanVotingClassifier : What comes out.

    Notes
    -----
    A candidate that has a parameter `max_time` is told how many seconds it has. One that has a
    method ``iter_fit(X, y)``, a generator that yields the classifier each time it is better,
    counts with its last snapshot when it is killed. `ConvergenceWarning` is not shown: whether a
    solver that stopped early is good enough, the score tells.

    References
    ----------
    .. [1] R. Caruana, A. Niculescu-Mizil, G. Crew, A. Ksikes, "Ensemble selection from libraries
           of models", ICML 2004.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from sklearn.linear_model import LogisticRegression
    >>> from sklearn.naive_bayes import GaussianNB
    >>> from skspeech import TimeBudgetClassifier
    >>> X, y = load_iris(return_X_y=True)
    >>> candidates = [("linear", LogisticRegression()), ("bayes", GaussianNB())]
    >>> clf = TimeBudgetClassifier(candidates, time_budget=10, random_state=0).fit(X, y)
    >>> clf.score(X, y) > 0.9
    True
    >>> clf.leaderboard()["name"].sort_values().tolist()
    ['bayes', 'linear']
    """

    _parameter_constraints: dict = {
        "candidates": [StrOptions({"auto"}), list],
        "time_budget": [Interval(Real, 0, None, closed="neither")],
        "cv": ["cv_object", StrOptions({"auto"}), tuple],
        "scoring": [StrOptions(set(get_scorer_names())), callable],
        "selection": [StrOptions({"greedy", "threshold"})],
        "preset": [str],
        "refit": ["boolean"],
        "n_jobs": [Integral, None],
        "device": "no_validation",
        "memory": [str, os.PathLike, joblib.Memory, None],
        "executor": [Executor, None],
        "warm_start": ["boolean"],
        "callbacks": [callable, list, tuple, None],
        "predict_time_budget": [Interval(Real, 0, None, closed="neither"), None],
        "log_file": [str, os.PathLike, None],
        "random_state": ["random_state"],
        "verbose": ["verbose"],
    }

    def __init__(
        self,
        candidates="auto",
        *,
        time_budget=60.0,
        cv="auto",
        scoring="balanced_accuracy",
        selection="greedy",
        preset="best",
        refit=True,
        n_jobs=None,
        device="auto",
        memory=None,
        executor=None,
        warm_start=False,
        callbacks=None,
        predict_time_budget=None,
        log_file=None,
        random_state=None,
        verbose=0,
    ):
        self.candidates = candidates
        self.time_budget = time_budget
        self.cv = cv
        self.scoring = scoring
        self.selection = selection
        self.preset = preset
        self.refit = refit
        self.n_jobs = n_jobs
        self.device = device
        self.memory = memory
        self.executor = executor
        self.warm_start = warm_start
        self.callbacks = callbacks
        self.predict_time_budget = predict_time_budget
        self.log_file = log_file
        self.random_state = random_state
        self.verbose = verbose

    @_fit_context(prefer_skip_nested_validation=False)
    def fit(self, X, y, groups=None):
        """Train until the time is up, or nothing is left to do.

        Ctrl-C ends it early with the best ensemble so far.

        Parameters
        ----------
        X : sequence of n_samples clips, or array-like of shape (n_samples, n_features)
            What the candidates take.
        y : array-like of shape (n_samples,)
            The labels.
        groups : array-like of shape (n_samples,), default=None
            What must not be on both sides of a validation split, such as speakers.

        Returns
        -------
        self : TimeBudgetClassifier

        Raises
        ------
        ValueError
            If the data cannot be learned from, or every candidate failed by an error.
        """
        for _ in self._follow(self._open_session(X, y, groups)):
            pass
        return self

    def iter_fit(self, X, y, groups=None):
        """Train, and yield the ensemble each time it is better.

        The clock starts with the call. Work goes on while the caller is busy with a snapshot; if
        several were finished meanwhile, the next one is the latest. Closing the generator stops
        the work and leaves this classifier fitted with the best ensemble so far.

        Parameters
        ----------
        X : sequence of n_samples clips, or array-like of shape (n_samples, n_features)
            What the candidates take.
        y : array-like of shape (n_samples,)
            The labels.
        groups : array-like of shape (n_samples,), default=None
            What must not be on both sides of a validation split, such as speakers.

        Returns
        -------
        generator of GeometricMeanVotingClassifier
            Fitted ensembles, with the attributes ``time_`` (seconds since the call) and ``score_``
            (on held-out rows; NaN for a first one that is not validated yet).

        Examples
        --------
        >>> from sklearn.datasets import load_iris
        >>> from sklearn.naive_bayes import GaussianNB
        >>> from skspeech import TimeBudgetClassifier
        >>> X, y = load_iris(return_X_y=True)
        >>> clf = TimeBudgetClassifier([("bayes", GaussianNB())], time_budget=10)
        >>> for snapshot in clf.iter_fit(X, y):
        ...     accuracy = snapshot.score(X, y)
        >>> accuracy > 0.9
        True
        """
        self._validate_params()
        return self._follow(self._open_session(X, y, groups))

    def predict_proba(self, X):
        """Predict the probability of each class.

        Parameters
        ----------
        X : sequence of n_samples clips, or array-like of shape (n_samples, n_features)
            What the candidates take.

        Returns
        -------
        ndarray of shape (n_samples, n_classes)
            Each row sums to 1.
        """
        check_is_fitted(self)
        return self.ensemble_.predict_proba(self._check_X(X, reset=False))

    def predict(self, X):
        """Predict the label of each clip.

        Parameters
        ----------
        X : sequence of n_samples clips, or array-like of shape (n_samples, n_features)
            What the candidates take.

        Returns
        -------
        ndarray of shape (n_samples,)
            The most probable labels.
        """
        best = self.predict_proba(X).argmax(axis=1)
        return self.classes_[best]

    def leaderboard(self):
        """Give the candidates as a table, the best first.

        Returns
        -------
        pandas.DataFrame
            Columns ``name``, ``score``, ``weight``, ``fit_time`` (seconds for a training),
            ``predict_time`` (seconds per clip), ``started``, ``finished`` (seconds since the call
            of `fit`) and ``status``.
        """
        check_is_fitted(self, "results_")
        import pandas as pd

        results = self.results_
        table = pd.DataFrame(
            {
                "name": results["name"],
                "score": results["score"],
                "weight": results["weight"],
                "fit_time": results["mean_fit_time"],
                "predict_time": results["predict_time"],
                "started": results["started"],
                "finished": results["finished"],
                "status": results["status"],
            }
        )
        return table.sort_values(
            "score", ascending=False, na_position="last", kind="stable", ignore_index=True
        )

    def summary(self):
        """Say in words what happened.

        Returns
        -------
        str
        """
        check_is_fitted(self, "results_")
        results = self.results_
        voting = np.flatnonzero(results["weight"] > 0)
        voting = voting[np.argsort(-results["weight"][voting], kind="stable")]
        n_validated = int(np.sum(~np.isnan(results["score"])))
        lines = [
            f"{len(results['name'])} candidates, {n_validated} of them validated, in "
            f"{self.timing_['total']:.1f} s of {self.time_budget:g} s."
        ]
        if len(voting):
            score = "not validated" if np.isnan(self.best_score_) else f"{self.best_score_:.3f}"
            lines.append(f"The ensemble has {len(voting)} members; {self._score_name()}: {score}.")
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
        lines += [f"{name} failed: {exception}" for name, exception, _ in self.failures_]
        return "\n".join(lines)

    def slim(self):
        """Drop everything that predicting does not need.

        That is the reports (`results_`, `learning_curve_`, `failures_`, `timing_`), and what
        `warm_start` goes on from.

        Returns
        -------
        self : TimeBudgetClassifier
        """
        check_is_fitted(self)
        for name in ("results_", "learning_curve_", "failures_", "timing_", "_state"):
            self.__dict__.pop(name, None)
        return self

    def _repr_mimebundle_(self, **kwargs):
        """Show the leaderboard in notebooks too, below scikit-learn's diagram."""
        bundle = super()._repr_mimebundle_(**kwargs)
        if "text/html" in bundle and hasattr(self, "results_"):
            from skspeech._html import leaderboard_html

            headline = " ".join(self.summary().splitlines()[:2])
            bundle["text/html"] += leaderboard_html(self.results_, headline)
        return bundle

    # ---------------------------------------------------------------- a run

    def _open_session(self, X, y, groups):
        """Check everything that can be checked beforehand, and start the work."""
        from skspeech._budget_data import Data
        from skspeech._budget_session import Session, Settings
        from skspeech._budget_splits import make_splits, value_order

        start = time.monotonic()
        X = self._check_X(X, reset=True)
        y, groups = self._check_y(X, y, groups)
        self._check_candidates()
        self.classes_, codes = np.unique(y, return_inverse=True)
        if len(self.classes_) < 2:
            raise ValueError(
                f"y holds only one class, {self.classes_[0]!r}; a classifier needs at least two."
            )
        seed = int(check_random_state(self.random_state).randint(2**31 - 1))
        score = self._make_score()
        fingerprint = joblib.hash((X, y, groups, repr(self.cv))) if self.warm_start else None
        state = self._matching_state(fingerprint)
        if state is None:
            splits = make_splits(self.cv, X, y, codes, groups, seed)
            if not splits.folds:
                raise ValueError(
                    f"With cv={self.cv!r}, no clip can be held out to validate on: every class has "
                    "too few. Give more clips, or a validation set: cv=(X_val, y_val)."
                )
            data = Data(X, y, codes, splits.X_val, splits.y_val, self._codes_of(splits.y_val))
            order = value_order(data.codes, data.n_train, splits.folds, seed)
            folds = splits.folds
        else:
            folds, order, seed = state.folds, state.order, state.settings.random_state
            splits = make_splits(self.cv, X, y, codes, groups, seed)
            data = Data(X, y, codes, splits.X_val, splits.y_val, self._codes_of(splits.y_val))
        n_cores = effective_cores(self.n_jobs)
        settings = Settings(
            time_budget=float(self.time_budget),
            score=score,
            selection=self.selection,
            refit=self.refit,
            n_cores=n_cores,
            executor=self.executor,
            predict_time_budget=self.predict_time_budget,
            random_state=seed,
        )
        session = Session(
            data,
            self.classes_,
            folds,
            order,
            settings,
            lambda: self._make_candidates(X, y, n_cores, seed),
            start,
            state,
        )
        session.fingerprint = fingerprint
        return session

    def _follow(self, session):
        """Hand out what the session finds, keep its books, and see that it ends in time."""
        session.begin()
        try:
            with self._open_log() as log:
                try:
                    while True:
                        snapshot, ended = self._next_snapshot(session, log)
                        if snapshot is not None:
                            self.ensemble_ = snapshot
                            yield snapshot
                        if ended:
                            break
                except KeyboardInterrupt:
                    if session.ensemble is None:
                        raise
                    self._tell({"event": "interrupted", "time": session.now}, log)
        finally:
            session.close()
            self._collect(session)
        if session.ensemble is None:
            yield self._fall_back(session)
        elif session.error is not None:
            warnings.warn(
                f"The scheduler stopped early by an error, {session.error!r}; the ensemble is the "
                "best one until then. Please report this.",
                RuntimeWarning,
                stacklevel=3,
            )

    def _next_snapshot(self, session, log):
        """Wait for a better ensemble or the end; pass on events meanwhile."""
        snapshot, ended = None, False
        while snapshot is None and not ended:
            left = session.deadline - time.monotonic()
            try:
                updates = [session.updates.get(timeout=max(left, 0.001))]
            except queue.Empty:
                return session.ensemble if session.ensemble is not self._last(
                    session
                ) else None, True
            with contextlib.suppress(queue.Empty):
                while True:
                    updates.append(session.updates.get_nowait())
            for kind, item in updates:
                if kind == "event":
                    self._tell(item, log)
                elif kind == "snapshot":
                    snapshot = item
                else:
                    ended = True
            if session.deadline < time.monotonic():
                ended = True
        return snapshot, ended

    def _tell(self, event, log):
        if log is not None:
            log.write(json.dumps(event, default=str) + "\n")
            log.flush()
        callbacks = self.callbacks or []
        for callback in [callbacks] if callable(callbacks) else callbacks:
            callback(event)
        if self.verbose:
            line = _describe(event, self.verbose)
            if line:
                print(f"[TimeBudgetClassifier] {event['time']:6.1f} s  {line}")

    def _open_log(self):
        if self.log_file is None:
            return contextlib.nullcontext()
        return open(self.log_file, "a", encoding="utf-8")

    def _collect(self, session):
        """Keep the results as plain arrays and lists."""
        entries = session.entries
        if session.ensemble is not None:
            self.ensemble_ = session.ensemble
        self.best_score_ = session.score
        n_folds = len(session.folds)
        splits = np.array(
            [[entry.fold_scores.get(k, np.nan) for k in range(n_folds)] for entry in entries]
        ).reshape(len(entries), n_folds)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", RuntimeWarning)  # means of nothing are NaN
            mean, std = np.nanmean(splits, axis=1), np.nanstd(splits, axis=1)

        def column(name, dtype=float):
            values = [getattr(entry, name) for entry in entries]
            if dtype is float:
                values = [np.nan if value is None else value for value in values]
            return np.array(values, dtype=dtype)

        results = {
            "name": column("name", object),
            "status": column("status", object),
            "score": column("score"),
            "mean_test_score": mean,
            "std_test_score": std,
        }
        for k in range(n_folds):
            results[f"split{k}_test_score"] = splits[:, k]
        results["rank_test_score"] = _ranks(results["score"])
        results["weight"] = column("weight")
        results["mean_fit_time"] = column("fit_time")
        results["predict_time"] = column("predict_time")
        results["started"] = column("started")
        results["finished"] = column("finished")
        self.results_ = results
        self.learning_curve_ = _curve(session.curve)
        self.failures_ = [failure for entry in entries for failure in entry.failures]
        self.timing_ = session.timing()
        self._state = None
        if self.warm_start and session.error is None and session.ensemble is not None:
            session.freeze()
            self._state = session

    def _fall_back(self, session):
        """There is no ensemble: tell why, or predict the classes' frequencies."""
        if session.error is not None:
            raise session.error
        entries = session.entries
        broken = [e for e in entries if e.failures and not e.timeouts]
        if entries and len(broken) == len(entries):
            errors = [e.error for e in broken if e.error is not None]
            if len(errors) == len(broken) and len({(type(e), str(e)) for e in errors}) == 1:
                raise errors[0]  # it is not the candidates that are wrong, but what they were given
            reasons = "\n".join(f"  {name}: {reason}" for name, reason, _ in self.failures_)
            cause = next((e.error for e in broken if e.error is not None), None)
            raise ValueError(
                f"All {len(entries)} candidates failed; failures_ has the tracebacks.\n{reasons}"
            ) from cause
        warnings.warn(
            f"No candidate was trained within time_budget={self.time_budget!r} seconds, so only "
            "the classes' frequencies are predicted. Raise time_budget, or give quicker ones.",
            UserWarning,
            stacklevel=4,
        )
        labels = self.classes_[session.data.codes[: session.data.n_train]]
        prior = DummyClassifier(strategy="prior").fit(np.zeros((len(labels), 1)), labels)
        self.ensemble_ = GeometricMeanVotingClassifier.from_fitted(
            [("prior", prior)], classes=self.classes_
        )
        self.ensemble_.time_, self.ensemble_.score_ = session.now, float("nan")
        return self.ensemble_

    # ---------------------------------------------------------------- checks

    def _check_X(self, X, reset):
        """Check tables as scikit-learn does, and take any other sequence as it is."""
        if hasattr(X, "tocsr"):
            X = X.tocsr()  # other sparse formats have no rows to take
        elif _is_nested_numbers(X) or (hasattr(X, "__array__") and not hasattr(X, "__len__")):
            X = np.asarray(X)
        if isinstance(X, np.ndarray) and X.dtype.kind in "biufc" and X.ndim != 2:
            check_array(X, ensure_all_finite=False)  # tells how to reshape it
        if getattr(X, "ndim", 1) == 2:
            validate_data(self, X, reset=reset, skip_check_array=True)
        elif not hasattr(X, "__len__") or isinstance(X, str | bytes | dict):
            raise ValueError(
                f"X={X!r} is a {type(X).__name__}; a sequence of clips, or a table, was expected."
            )
        return X

    def _check_y(self, X, y, groups):
        if y is None:
            raise ValueError(
                f"{type(self).__name__} requires y to be passed, but the target y is None."
            )
        y = column_or_1d(y, warn=True)
        if y.dtype.kind == "f" and not np.isfinite(y).all():
            raise ValueError("Input y contains NaN or infinity.")
        check_classification_targets(y)
        if not len(y):
            raise ValueError("y is empty: there is no clip to learn from.")
        if groups is not None:
            groups = column_or_1d(groups)
        check_consistent_length(X, y, groups)
        return y, groups

    def _check_candidates(self):
        if isinstance(self.candidates, str):
            return
        if not self.candidates:
            raise ValueError(
                'candidates=[] is empty; give "auto", or a list of (name, estimator) tuples.'
            )
        names = []
        for item in self.candidates:
            if isinstance(item, str):
                if item != "auto" and not item.startswith("-"):
                    raise ValueError(
                        f'candidates holds {item!r}; a string in it is "auto", or "-" and a '
                        "pattern of names to leave out."
                    )
                continue
            candidate = _as_candidate(item)
            if not hasattr(candidate.estimator, "predict_proba"):
                raise ValueError(
                    f"The candidate {candidate.name!r}, {candidate.estimator!r}, has no "
                    "predict_proba. Wrap it in sklearn.calibration.CalibratedClassifierCV."
                )
            names.append(candidate.name)
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise ValueError(f"Names of candidates must be unique; {twice} occur more than once.")

    def _make_candidates(self, X, y, n_cores, seed):
        """The list of candidates; called by the scheduler, within the time."""
        wanted = [self.candidates] if isinstance(self.candidates, str) else self.candidates
        candidates, patterns = [], []

        def line_up(time_budget):
            from skspeech.candidates import default_candidates

            return default_candidates(
                X,
                y,
                preset=self.preset,
                device=self.device,
                memory=self.memory,
                n_jobs=n_cores,
                random_state=seed,
                time_budget=time_budget,
            )

        for item in wanted:
            if isinstance(item, str) and item == "auto":
                candidates += line_up(self.time_budget)
            elif isinstance(item, str):
                patterns.append(item[1:])
            else:
                candidates.append(_as_candidate(item))
        own = {candidate.name: candidate for candidate in candidates}  # the user's come last
        kept = [
            candidate
            for name, candidate in own.items()
            if not any(fnmatch.fnmatchcase(name, pattern) for pattern in patterns)
        ]
        unused = [p for p in patterns if not fnmatch.filter(own, p)]
        if unused and "auto" in wanted:
            # What there is no time for anyway may be left out by name, too.
            ever = [candidate.name for candidate in line_up(np.inf)]
            unused = [p for p in unused if not fnmatch.filter(ever, p)]
        if unused:
            raise ValueError(
                f"candidates leaves out {unused}, which matches no name. Names: {sorted(own)}."
            )
        if not kept:
            raise ValueError(f"candidates={self.candidates!r} leaves no candidate.")
        return kept

    def _make_score(self):
        """Make the score, and try it, so that one that does not fit is told about at once."""
        score = ProbabilityScore(self.scoring, self.classes_)
        n_classes = len(self.classes_)
        codes = np.tile(np.arange(n_classes), 2)
        proba = np.full((len(codes), n_classes), 0.1 / n_classes) + 0.9 * np.eye(n_classes)[codes]
        try:
            value = score(proba, codes)
        except Exception as error:
            raise ValueError(
                f"scoring={self.scoring!r} cannot be computed from the probabilities of "
                f"{n_classes} classes with these labels: {error}"
            ) from error
        if not np.isfinite(value):
            raise ValueError(f"scoring={self.scoring!r} gives {value} for {n_classes} classes.")
        return score

    def _score_name(self):
        return self.scoring if isinstance(self.scoring, str) else "score"

    def _codes_of(self, y_val):
        if y_val is None:
            return None
        unknown = np.setdiff1d(y_val, self.classes_)
        if unknown.size:
            raise ValueError(
                f"cv=(X_val, y_val) holds labels that are not in y: {unknown.tolist()}."
            )
        return np.searchsorted(self.classes_, y_val)

    def _matching_state(self, fingerprint):
        """What `warm_start` goes on from, if the data are the same."""
        state = getattr(self, "_state", None)
        if not self.warm_start or state is None:
            return None
        if state.fingerprint != fingerprint:
            warnings.warn(
                "warm_start=True, but X, y, groups or cv are not those of the last fit, so this "
                "one starts anew. Set warm_start=False to start anew without this warning.",
                UserWarning,
                stacklevel=4,
            )
            return None
        return state

    def __getstate__(self):
        state = super().__getstate__().copy()
        state.pop("_state", None)
        for name in ("executor", "callbacks"):  # a process's own; they predict nothing
            if name in state and hasattr(self, "ensemble_"):
                state[name] = None
        return state

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags.string = True
        items = self.candidates if isinstance(self.candidates, list) else []
        own = [_as_candidate(item) for item in items if not isinstance(item, str)]
        inputs = [get_tags(candidate.estimator).input_tags for candidate in own]
        tags.input_tags.sparse = any(tag.sparse for tag in inputs)
        tags.input_tags.allow_nan = any(tag.allow_nan for tag in inputs)
        return tags


def effective_cores(n_jobs):
    """Number of cores that `n_jobs` stands for, here and now.

    Parameters
    ----------
    n_jobs : int or None
        As for :class:`TimeBudgetClassifier`.

    Returns
    -------
    int
    """
    backend, configured = get_active_backend()
    if n_jobs is not None and n_jobs > 0:
        return n_jobs
    if backend.nesting_level:  # a joblib worker: joblib says how many threads are its share
        return max(1, int(os.environ.get("OMP_NUM_THREADS", 1)))
    if n_jobs is None and configured is None:
        return joblib.cpu_count()
    return joblib.effective_n_jobs(n_jobs)


def _as_candidate(item):
    if isinstance(item, Candidate):
        if item.where not in ("auto", "main", "worker"):
            raise ValueError(
                f"where={item.where!r} of the candidate {item.name!r} must be 'auto', 'main' or "
                "'worker'."
            )
        return item
    if isinstance(item, tuple | list) and len(item) == 2 and isinstance(item[0], str):
        return Candidate(*item)
    raise ValueError(
        f"candidates holds {item!r}; each item must be a (name, estimator) tuple or a Candidate."
    )


def _is_nested_numbers(X):
    """Whether a list is a table: a list of lists of numbers, and no list of waveforms."""
    if not isinstance(X, list | tuple) or not len(X):
        return False
    first = X[0]
    if isinstance(first, numbers.Number):
        return True
    return isinstance(first, list | tuple) and all(isinstance(v, numbers.Number) for v in first)


def _ranks(scores):
    ranks = np.full(len(scores), len(scores) + 1)
    known = ~np.isnan(scores)
    ranks[known] = [1 + np.sum(scores[known] > score) for score in scores[known]]
    return ranks


def _curve(curve):
    """Times and scores; a first answer gets the score that its validation found."""
    scores = [score for _, score in curve]
    for i in range(len(scores) - 2, -1, -1):
        if np.isnan(scores[i]):
            scores[i] = scores[i + 1]
    return {"time": np.array([t for t, _ in curve]), "score": np.array(scores, dtype=float)}


def _describe(event, verbose):
    kind = event["event"]
    if kind == "snapshot":
        members = ", ".join(event["members"])
        score = "not validated yet" if np.isnan(event["score"]) else f"score {event['score']:.4f}"
        return f"ensemble: {score}; {members}"
    if kind == "failure":
        return f"{event['candidate']} failed: {event['exception']}"
    if kind == "interrupted":
        return "interrupted; the best ensemble so far is kept"
    if kind == "candidate" and verbose > 1:
        return f"{event['candidate']}, fold {event['fold']}: score {event['score']:.4f}"
    return None
