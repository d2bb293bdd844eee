"""The estimator: its parameters, its methods, and what they promise."""

import os
from collections.abc import Callable, Iterator
from concurrent.futures import Executor
from numbers import Integral, Real
from typing import Any, Literal

import joblib
import numpy as np
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.metrics import get_scorer_names
from sklearn.utils.validation import check_is_fitted

from skspeech._docs import shared
from skspeech._one_clip import PredictMixin
from skspeech._reporting import ReportMixin
from skspeech._sklearn import Interval, StrOptions, _fit_context
from skspeech._typing import ArrayLike, ClipsLike, Memory, PathLike, RandomState, Self
from skspeech.ensemble import GeometricMeanVotingClassifier
from skspeech.ensemble.selection import RULES
from skspeech.time_budget import inputs
from skspeech.time_budget.candidates import NamedCandidatesMixin
from skspeech.time_budget.results import ResultsMixin
from skspeech.time_budget.runs import open_session, run

__all__ = ["TimeBudgetClassifier"]

# Parameters of `fit` and `iter_fit`.
_GIVEN = """
X : sequence of n_samples clips, or array-like of shape (n_samples, n_features)
    What the candidates take.
y : array-like of shape (n_samples,)
    The labels.
groups : array-like of shape (n_samples,) or "voices", default=None
    What must not be on both sides of a validation split, such as speakers. Candidates that
    hold out rows themselves get the groups, too. ``"voices"`` is for clips whose speakers are
    not known: it clusters twenty or more by a speaker network's embedding. If classes are voices,
    a warning says that there are no groups.
sample_weight : array-like of shape (n_samples,), default=None
    How much each row counts for the candidates that take weights. Held-out rows all count
    the same. Rows of weight 0 are as if they were not there, for all candidates.
"""


class TimeBudgetClassifier(
    NamedCandidatesMixin, ResultsMixin, ReportMixin, PredictMixin, ClassifierMixin, BaseEstimator
):
    """Train the best ensemble of candidates that fits in the time.

    The cheapest candidate gives a first ensemble in seconds. Then the candidates are validated one
    after another, those with the highest expected gain per second first. A candidate joins the
    ensemble if it improves it. At the end the members are trained once more on all rows. `fit`
    returns when the budget is used up, or earlier if nothing is left to do.

    Quick linear candidates run in the calling process, others in worker processes, which end when
    the time is up. One that hangs, crashes or takes all memory stops no run: see `failures_`.

    Parameters
    ----------
    candidates : "auto" or list, default="auto"
        ``"auto"`` is a line-up of speech and music classifiers that suits the data. A list holds
        ``(name, estimator)`` tuples and :class:`Candidate` objects. In a list, ``"auto"`` stands
        for the line-up, and ``"-pattern"`` removes the candidates whose names match, as in
        ``["auto", "-music*", ("forest", RandomForestClassifier())]``.
    time_budget : float, default=60.0
        Seconds from the call of `fit` to its return, everything included.
    cv : "auto", int, splitter, iterable, or tuple (X_val, y_val), default="auto"
        How candidates are validated. ``"auto"`` is 5 stratified folds below 100 clips, 3 below
        1,000, and one held-out part above. If time is left, the validation is repeated with other
        folds, up to five times in all. No group is on both sides of a split, nor, without `groups`,
        are clips of equal content. A class with one clip or group is never held out. An int is a
        number of folds; splitters and iterables of index pairs are as in scikit-learn; a tuple is
        your own validation set. Without one, or `groups`, there are further folds that keep voices
        whole, by which ``"auto"`` members are chosen, too, but not scored or calibrated.
    scoring : str or callable, default="balanced_accuracy"
        What is maximised: a scikit-learn scorer that can be computed from probabilities.
    selection : str, default="least-loss"
        The rule by which members are chosen. ``"least-loss"`` minimises the held-out log loss over
        the weights, and draws them towards equal weights of extractors where the held-out rows
        can't tell candidates apart. ``"greedy"`` repeatedly adds the candidate that raises the
        score most [1]_. ``"threshold"`` takes those with at least 0.92 of the best score, 26 at
        most.
    preset : str, default="best"
        Which line-up ``"auto"`` is: ``"fast"``, ``"best"`` or ``"autospeech2020"``.
    refit : bool, default=True
        Whether members are trained on all rows at the end, as far as the time allows. Without a
        model of all rows, the models of a member's validation folds vote together in its place.
    n_jobs : int, default=None
        Processor cores to use. None is all of them; inside a joblib worker, such as that of a
        parallel grid search, it is that worker's share; in a :class:`joblib.parallel_config`
        context it is the number set there. -1 is all.
    device : str, default="auto"
        Device of the candidates in ``"auto"``.
    memory : str or joblib.Memory, default=None
        Where the candidates in ``"auto"`` keep embeddings; None keeps them in memory.
    executor : concurrent.futures.Executor, default=None
        Runs the work elsewhere: a `ProcessPoolExecutor`, or Dask's ``client.get_executor()``. It
        trains the candidates that would run in worker processes on this machine, and embeds clips
        once there is a first answer and its workers have done their imports. None is what
        :class:`joblib.parallel_config` says; outside such a context it is this machine. Jobs that
        still run in the executor at the deadline are cancelled or left alone, since only our own
        processes can be killed. Time in the executor's queue does not count as a candidate's.
    warm_start : bool, default=False
        Whether the next `fit` on the same data continues where the last one stopped.
    callbacks : callable or list of callables, default=None
        Each is called with every event, a dict with the keys ``"event"`` and ``"time"``.
    predict_time_budget : float, default=None
        Seconds that the members may take for a clip; a warning says if none do. None is no limit.
    log_file : str or path-like, default=None
        A file to which each event is appended as a line of JSON.
    random_state : int, RandomState instance or None, default=None
        Seed of the splits, and of candidates whose own `random_state` is None.
    verbose : int, default=0
        1 prints what :func:`skspeech.audit.audit` finds, and each better ensemble; 2 also prints
        each validated candidate.

    Attributes
    ----------
    ensemble_ : GeometricMeanVotingClassifier
        The fitted ensemble.
    classes_ : ndarray of shape (n_classes,)
        The labels.
    best_score_ : float
        Score of the ensemble on held-out rows, cross-fitted: for each fold, the members are chosen
        on the other folds, so that no row scores a choice that it took part in. NaN if nothing
        could be validated.
    results_ : dict of str to ndarray
        One row for each candidate, like ``cv_results_``: ``name``, ``status`` (``"ok"``,
        ``"failed"``, ``"timed out"``, ``"stopped"`` at the end, ``"not started"``, and ``"kept as
        validated"`` for a member that could not be trained on all rows),
        ``mean_test_score``, ``std_test_score``, ``split0_test_score`` and so on,
        ``rank_test_score``, ``score`` (of all held-out rows together), ``weight``,
        ``mean_fit_time``, ``predict_time`` (seconds per clip), ``started`` and ``finished``.
    learning_curve_ : dict of str to ndarray
        ``time`` (seconds since the call of `fit`) and ``score`` of each ensemble, as `best_score_`.
        A first answer that came before any validation has the score that its candidate got later,
        or NaN. Members are chosen by the log loss, so the score may fall by chance.
    failures_ : list of (str, str, str)
        Name of the candidate; exception; traceback or last printed output.
    remarks_ : list of str
        Remarks on the data, such as that clips of new voices would be recognised less well.
    clip_duration_ : float
        Third quartile of the training clips' durations in seconds; NaN where `X` is a table.
        :func:`skspeech.timeline` cuts windows of that length.
    timing_ : dict of str to float
        Seconds spent in ``embedding``, ``candidates``, ``refit`` and ``selection``; ``overhead``,
        when no candidate, embedding or refit ran; ``total``.
    n_features_in_ : int
        Number of features, where `X` is a table.
    feature_names_in_ : ndarray of shape (n_features_in_,)
        Names of the features, where `X` is a table that has them.

    See Also
    --------
    Candidate : A classifier with hints on when to try it.
    GeometricMeanVotingClassifier : The ensemble that a run returns.

    Notes
    -----
    A candidate that has a parameter `max_time` is told how many seconds it has. A candidate may
    have a method ``iter_fit(X, y)``, a generator that yields the classifier each time it is better;
    if such a candidate is killed, its last snapshot counts. `ConvergenceWarning` is not shown: the
    score tells whether a solver that stopped early is good enough.

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
        "selection": [StrOptions(set(RULES))],
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
    __metadata_request__fit = {"groups": True, "sample_weight": True}

    def __init__(
        self,
        candidates: Literal["auto"] | list = "auto",
        *,
        time_budget: float = 60.0,
        cv: Any = "auto",
        scoring: str | Callable = "balanced_accuracy",
        selection: str = "least-loss",
        preset: str = "best",
        refit: bool = True,
        n_jobs: int | None = None,
        device: str = "auto",
        memory: Memory = None,
        executor: Executor | None = None,
        warm_start: bool = False,
        callbacks: Callable | list[Callable] | None = None,
        predict_time_budget: float | None = None,
        log_file: PathLike | None = None,
        random_state: RandomState = None,
        verbose: int = 0,
    ) -> None:
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

    @shared(given=_GIVEN)
    @_fit_context(prefer_skip_nested_validation=False)
    def fit(
        self,
        X: ClipsLike,
        y: ArrayLike,
        groups: ArrayLike | Literal["voices"] | None = None,
        *,
        sample_weight: ArrayLike | None = None,
    ) -> Self:
        """Train until the time is up, or nothing is left to do.

        Ctrl-C ends the training early and keeps the best ensemble so far.

        Parameters
        ----------
        {given}

        Returns
        -------
        self : TimeBudgetClassifier

        Raises
        ------
        ValueError
            If the data cannot be learned from, or every candidate failed with an error.
        """
        for _ in run(self, open_session(self, X, y, groups, sample_weight)):
            pass
        return self

    @shared(given=_GIVEN)
    def iter_fit(
        self,
        X: ClipsLike,
        y: ArrayLike,
        groups: ArrayLike | Literal["voices"] | None = None,
        *,
        sample_weight: ArrayLike | None = None,
    ) -> Iterator[GeometricMeanVotingClassifier]:
        """Train, and yield each new ensemble.

        A new ensemble replaces the old one when its log loss on held-out rows is lower beyond
        chance, or when a member was trained on more rows. The last choice of members uses all
        held-out predictions. Since the log loss decides, ``score_`` may fall, but not by more than
        chance explains.

        The clock starts with the call. After the first snapshot the run pauses, so that the caller
        can predict with it at full speed, until the next one is asked for or a tenth of the budget
        (at least one second) is over. From then on training continues while the caller is busy; if
        several snapshots were finished meanwhile, the next one is the latest. Closing the generator
        stops the run and leaves this classifier fitted with the best ensemble so far.

        Parameters
        ----------
        {given}

        Returns
        -------
        generator of GeometricMeanVotingClassifier
            Fitted ensembles, with the attributes ``time_`` (seconds since the call) and ``score_``
            (on held-out rows; NaN for a first ensemble that is not validated yet).

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
        return run(self, open_session(self, X, y, groups, sample_weight, pauses=True))

    def predict_proba(self, X: ClipsLike) -> np.ndarray:
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
        return self.ensemble_.predict_proba(inputs.check_new_rows(self, X))

    def __getstate__(self):
        state = super().__getstate__().copy()
        state.pop("_state", None)
        if hasattr(self, "ensemble_"):  # tied to this process, and not needed to predict
            state |= {"executor": None, "callbacks": None}
        return state
