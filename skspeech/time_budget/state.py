"""The state of a run: its rows, its candidates, and the running job.

Plain values only. The session keeps them up to date; the policy reads them to decide.
"""

from dataclasses import dataclass, field

import numpy as np

__all__ = ["KEPT", "CandidateState", "Fold", "HeldOut", "Job", "RunState"]

# Rows on which shared steps are compared first: at least, and per class; see `RunState.racers`.
RACE_ROWS, RACE_ROWS_PER_CLASS = 48, 5
FIRST_LEVEL = 10_000  # rows that are tried first where there are more than twice as many
KEPT = "kept as validated"  # status of a member that could not be trained on all rows


@dataclass(frozen=True)
class Fold:
    """A validation split.

    Attributes
    ----------
    train, test : ndarray of int
        Rows, in increasing order.
    repeat : int
        0 for the folds that every candidate is validated on; 1 and above for further repeats of
        the validation, with other folds.
    is_scored : bool
        Whether its held-out rows count for scores, too, and not only for the choice of members.
    level : float
        In how many of the first rows all of its own are; infinite if these are rows of all.
    """

    train: np.ndarray
    test: np.ndarray
    repeat: int = 0
    is_scored: bool = True
    level: float = np.inf


@dataclass
class HeldOut:
    """A candidate's predictions for the held-out rows of a fold.

    Attributes
    ----------
    places : ndarray of int
        Which of the fold's held-out rows it predicted: only some until all rows are embedded.
    logs : ndarray of shape (len(places), n_classes)
        Log-probabilities.
    """

    places: np.ndarray
    logs: np.ndarray


class CandidateState:
    """All that is known about one candidate.

    Attributes
    ----------
    index, candidate, name : int, Candidate, str
        Its position in the list, the candidate as the user or the line-up gave it, and its name.
    features : SharedFeatures, UnitedFeatures or None
        What its stateless first steps give, shared with other candidates.
    estimator : classifier
        The steps after them, not fitted.
    where : {"main", "worker"}
        Where `estimator` is trained.
    takes_max_time : bool
        Whether it can be told how many seconds it has.
    held_out : dict of int to HeldOut
        By fold.
    models : dict of int to classifier
        Fitted, by fold; only of the first repeat, since only these may vote.
    levels : dict of int to int
        By fold: how many rows were available when the fold was trained.
    scores, fit_times : dict of int to float
        By fold.
    final : set of int
        Folds that are trained to the end, not just to a snapshot.
    full_model, full_level
        The model trained on all rows available then, and how many these were.
    score : float
        Score on all held-out rows of the first repeat together.
    predict_time : float
        Seconds per row, of one model and without the shared steps.
    weight : float
        Its weight in the current ensemble.
    started, finished : float or None
        Seconds since the start of the run: of its first job, and of its last validation or failure.
    running, failed : bool
        Whether a job of it runs now, and whether it has been given up.
    status : str
        As in the leaderboard.
    failures : list of (str, str, str)
        As in `failures_` of the classifier.
    error : Exception or None
        Of its last failure.
    misses : int
        How often it was given up for taking too long.
    lost : int
        How often an executor lost its job, possibly because of another candidate.
    """

    def __init__(self, index, candidate, features, estimator, where, takes_max_time=False):
        self.index = index
        self.candidate = candidate
        self.name = candidate.name
        self.features = features
        self.estimator = estimator
        self.where = where
        self.takes_max_time = takes_max_time
        self.held_out, self.models, self.levels = {}, {}, {}
        self.scores, self.fit_times = {}, {}
        self.final = set()
        self.full_model, self.full_level = None, 0
        self.score = np.nan
        self.predict_time = np.nan
        self.weight = 0.0
        self.started = self.finished = None
        self.running = False
        self.status = "waiting"
        self.failures, self.error = [], None
        self.misses = self.lost = 0
        self.failed = False

    @property
    def fit_time(self):
        """Mean seconds to train a fold; NaN if none was trained."""
        return float(np.mean(list(self.fit_times.values()))) if self.fit_times else np.nan

    @property
    def shared(self):
        """Its features, unless it has none or its first steps give none that can be shared."""
        features = self.features
        return features if features is not None and features.shareable else None

    @property
    def can_vote(self):
        return bool(self.models) or self.full_model is not None

    @property
    def member_level(self):
        """The most rows that a fold's model has seen."""
        return max((self.levels[fold] for fold in self.models), default=0)

    @property
    def is_refitted(self):
        """Whether the model of all rows has seen at least as many rows as the folds' models."""
        return self.full_model is not None and self.full_level >= self.member_level

    def level(self, folds):
        """The number of rows that each of these folds has seen at least; 0 if one is untrained."""
        return min((self.levels.get(fold, 0) for fold in folds), default=0)


@dataclass(eq=False)  # equal to itself only
class Job:
    """Work that runs now, and may be given up.

    Attributes
    ----------
    kind : {"first", "validate", "refit", "voices"}
        ``"first"`` trains on the rows embedded so far, for the first answer; ``"validate"`` trains
        on folds and predicts their held-out rows; ``"refit"`` trains on all rows;
        ``"voices"`` groups the rows by the voices that are heard in the features.
    entry : CandidateState or None
        None if the job is no candidate's.
    folds : tuple of int
        Which folds are trained.
    level : int or None
        How many rows have to be embedded first.
    limit : float
        Seconds after which the job is given up.
    max_time : float or None
        Seconds that the estimator is told it has.
    started : float
        Monotonic time from which the limit counts.
    n_threads : int
        Threads of this process that it may use.
    stopped : bool
        Whether it was given up; its messages then count no more.
    is_sent : bool
        Whether it waits for other processes to embed rows with the shared steps.
    part : tuple of (int, int, ndarray of int), or of None
        If it runs elsewhere: its fold, the number of rows that have features, and which of the
        fold's held-out rows it predicts.
    """

    kind: str
    entry: CandidateState
    folds: tuple = ()
    level: int | None = None
    limit: float = np.inf
    max_time: float | None = None
    started: float = np.inf
    n_threads: int = 1
    stopped: bool = False
    is_sent: bool = False
    part: tuple = (None, None, None)


@dataclass
class RunState:
    """The run as a whole.

    Attributes
    ----------
    budget, left : float
        Seconds of the whole run, and seconds until its end.
    n_train, n_total, n_classes : int
        Number of training rows, of rows including a validation set, and of classes.
    folds : list of Fold
        Grows when the validation is repeated.
    mass : ndarray of shape (n_total + 1,)
        Cumulative size of the rows in the order of embedding, scaled to `n_total` for all rows.
    entries : list of CandidateState
    refit : bool
        Whether members are trained on all rows at the end.
    max_repeats : int
        How often the whole validation is done at most, the first time included.
    answered : bool
        Whether there is a first answer.
    here : Job or None
        The job that this process runs.
    capacity : int
        How many jobs can run elsewhere at once.
    unit_costs : dict of type to (float, int or None)
        Seconds per training row and number of features of the last training, by class of the
        final estimator.
    """

    budget: float
    n_train: int
    n_total: int
    n_classes: int
    folds: list = field(default_factory=list)
    mass: np.ndarray | None = None
    entries: list = field(default_factory=list)
    refit: bool = True
    max_repeats: int = 1
    left: float = np.inf
    answered: bool = False
    here: Job | None = None
    capacity: int = 1
    unit_costs: dict = field(default_factory=dict)

    def __post_init__(self):
        if self.mass is None:
            self.mass = np.arange(self.n_total + 1, dtype=float)

    @property
    def all_features(self):
        """The features of all candidates and their parts, each once."""
        own = [entry.features for entry in self.entries if entry.features is not None]
        return list(dict.fromkeys(each for features in own for each in (*features.parts, features)))

    @property
    def able_here(self):
        """The candidates that are trained in this process, without those that have failed."""
        return [entry for entry in self.entries if entry.where == "main" and not entry.failed]

    def folds_of(self, repeat):
        """Numbers of the folds of one repeat."""
        return tuple(i for i, fold in enumerate(self.folds) if fold.repeat == repeat)

    def waits(self, folds):
        """Whether these folds repeat the validation, and wait until nothing else is left to do.

        The first ones that keep voices whole don't.
        """
        by_voice = next((fold.repeat for fold in self.folds if not fold.is_scored), 0)
        return self.folds[folds[0]].repeat not in (0, by_voice)

    @property
    def first_level(self):
        """Number of rows that are tried first, after the race."""
        return FIRST_LEVEL if self.n_total > 2 * FIRST_LEVEL else self.n_total

    def level_of(self, folds):
        """Number of rows that have to be embedded for all rows of some folds."""
        return min(max((self.folds[fold].level for fold in folds), default=0), self.n_total)

    def n_trained(self, fold, level):
        """Number of training rows of a fold among the first `level` rows, about."""
        return len(self.folds[fold].train) * min(level / self.level_of([fold]), 1.0)

    @property
    def racers(self):
        """The first early candidate (stage 0, not marked `first`) of each set of shared steps.

        Which of these steps are worth their time depends on the data, so all are compared on the
        same few rows before any of them embeds all rows.
        """
        found = {}
        for entry in self.able_here:
            steps, hints = entry.shared, entry.candidate
            if steps is not None and steps.error is None and not (hints.stage or hints.first):
                found.setdefault(steps.key, entry)
        return list(found.values())

    @property
    def race_level(self):
        """Number of rows on which racers are compared; 0 if there are too few racers or rows."""
        level = max(RACE_ROWS, RACE_ROWS_PER_CLASS * self.n_classes)
        is_worth_it = self.folds and 4 * level <= self.n_total and len(self.racers) > 1
        return level if is_worth_it else 0

    @property
    def n_repeats(self):
        return 1 + max((fold.repeat for fold in self.folds), default=-1)
