"""What is known during a run: of the rows, of each candidate, and of what runs now.

Plain values only. The session keeps them up to date, and the policy decides by them.
"""

from dataclasses import dataclass, field

import numpy as np

__all__ = ["KEPT", "CandidateState", "Fold", "HeldOut", "Job", "RunState"]

# Rows on which shared steps are compared first, at least and for each class; see `RunState.racers`.
RACE_ROWS, RACE_ROWS_PER_CLASS = 48, 5
KEPT = "kept as validated"  # status of a member that could not be trained on all rows


@dataclass(frozen=True)
class Fold:
    """A validation split.

    Attributes
    ----------
    train, test : ndarray of int
        Rows, in increasing order.
    repeat : int
        0 for the folds that every candidate is validated on, above it for further repeats of the
        validation, with other folds.
    """

    train: np.ndarray
    test: np.ndarray
    repeat: int = 0


@dataclass
class HeldOut:
    """What a candidate gave for the held-out rows of a fold.

    Attributes
    ----------
    places : ndarray of int
        Which of the fold's held-out rows it predicted: not all of them before all are embedded.
    logs : ndarray of shape (len(places), n_classes)
        Log-probabilities.
    """

    places: np.ndarray
    logs: np.ndarray


class CandidateState:
    """All that is known of one candidate.

    Attributes
    ----------
    index, candidate, name : int, Candidate, str
        Its place in the list, and what the user or the line-up said of it.
    features : SharedFeatures or None
        Its stateless first steps, shared with other candidates.
    estimator : classifier
        What comes after them, not fitted.
    where : {"main", "worker"}
        Where `estimator` is trained.
    takes_max_time : bool
        Whether it can be told how many seconds it has.
    held_out : dict of int to HeldOut
        By fold.
    models : dict of int to classifier
        Fitted, by fold; only of the first repeat, since only these may vote.
    levels : dict of int to int
        By fold: how many rows were there when the fold was trained.
    scores, fit_times : dict of int to float
        By fold.
    final : set of int
        Folds that are trained to the end, and not only to a snapshot.
    full_model, full_level
        The model of all rows.
    score : float
        Of all held-out rows of the first repeat together.
    predict_time : float
        Seconds per row, of one model and without the shared steps.
    weight : float
        In the standing ensemble.
    status : str
        As in the leaderboard.
    misses : int
        How often it was given up for taking too long.
    lost : int
        How often an executor lost its job, maybe for the fault of another.
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
        """Mean seconds of a training; NaN where there was none."""
        return float(np.mean(list(self.fit_times.values()))) if self.fit_times else np.nan

    @property
    def can_vote(self):
        return bool(self.models) or self.full_model is not None

    @property
    def member_level(self):
        """Rows that its best trained fold has seen."""
        return max((self.levels[fold] for fold in self.models), default=0)

    @property
    def is_refitted(self):
        """Whether there is a model of all rows that its folds have seen."""
        return self.full_model is not None and self.full_level >= self.member_level

    def level(self, folds):
        """Rows that all of some folds have seen; 0 where one is missing."""
        return min((self.levels.get(fold, 0) for fold in folds), default=0)


@dataclass
class Job:
    """Something that runs, and may be given up.

    Attributes
    ----------
    kind : {"first", "validate", "refit"}
        ``"first"`` trains on the rows embedded so far, for the first answer; ``"validate"`` trains
        on folds and predicts what they hold out; ``"refit"`` trains on all rows.
    entry : CandidateState
    folds : tuple of int
        Which folds are trained.
    level : int or None
        Rows to be embedded before.
    limit : float
        Seconds; then it is given up.
    max_time : float or None
        Seconds that the estimator is told it has.
    started : float
        Time of the monotonic clock from which the limit counts.
    is_sent : bool
        Whether it waits for rows of shared steps that other processes embed.
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
    completed: bool = False
    places: np.ndarray | None = None

    def __hash__(self):
        return id(self)

    def __eq__(self, other):
        return self is other


@dataclass
class RunState:
    """The run as a whole.

    Attributes
    ----------
    budget, left : float
        Seconds, of the whole run and until its end.
    n_train, n_total, n_classes : int
        Rows to learn from, rows with those of a validation set, classes.
    folds : list of Fold
        Grows when the validation is repeated.
    mass : ndarray of shape (n_total + 1,)
        How much the first rows, in the order of embedding, weigh together; the whole is `n_total`.
    entries : list of CandidateState
    refit : bool
        Whether members are trained on all rows at the end.
    n_cores : int
    max_repeats : int
        How often the whole validation is done at most.
    answered : bool
        Whether there is a first answer.
    here : Job or None
        What this process runs.
    capacity : int
        How many jobs can run elsewhere at once.
    unit_costs : dict
        Seconds per training row, measured, by kind of classifier.
    """

    budget: float
    n_train: int
    n_total: int
    n_classes: int
    folds: list = field(default_factory=list)
    mass: np.ndarray | None = None
    entries: list = field(default_factory=list)
    refit: bool = True
    n_cores: int = 1
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
        """The shared steps of all candidates, each once."""
        found = {id(e.features): e.features for e in self.entries if e.features is not None}
        return list(found.values())

    def folds_of(self, repeat):
        """Numbers of the folds of one repeat."""
        return tuple(i for i, fold in enumerate(self.folds) if fold.repeat == repeat)

    @property
    def racers(self):
        """The first candidate of each of the shared steps that may come early.

        Which of these steps are worth the seconds that they take depends on the data, so all are
        tried on the same few rows before any is run for all.
        """
        found = {}
        for entry in self.entries:
            steps, hints = entry.features, entry.candidate
            if steps is None or entry.where != "main" or entry.failed or hints.stage or hints.first:
                continue
            if steps.shareable and steps.error is None:
                found.setdefault(steps.key, entry)
        return list(found.values())

    @property
    def race_level(self):
        """Rows on which racers are compared; 0 where they are too few, or the rows are."""
        level = max(RACE_ROWS, RACE_ROWS_PER_CLASS * self.n_classes)
        is_worth_it = self.folds and 4 * level <= self.n_total and len(self.racers) > 1
        return level if is_worth_it else 0

    @property
    def n_repeats(self):
        return 1 + max((fold.repeat for fold in self.folds), default=-1)

    def share_held_out(self):
        """Part of the training rows that a fold does not train on."""
        return 1 - len(self.folds[0].train) / self.n_train if self.folds else 0.0
