"""The state of a run: its rows, its candidates, and the running job.

Plain values only. The session keeps them up to date; the policy reads them to decide.
"""

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from skspeech.time_budget.candidates import Candidate

__all__ = ["KEPT", "CandidateState", "Fold", "HeldOut", "Job", "RunState"]

# Rows on which shared steps are compared first: at least, and per class; see `RunState.racers`.
RACE_ROWS, RACE_ROWS_PER_CLASS = 48, 5
FIRST_LEVEL = 10_000  # rows that are tried first where there are more than twice as many
KEPT = "kept as validated"  # status of a member that could not be trained on all rows


@dataclass(frozen=True)
class Fold:
    """A validation split."""

    train: np.ndarray  # rows, in increasing order
    test: np.ndarray  # rows, in increasing order
    # 0 for the folds that every candidate is validated on; 1 and above for further repeats of the
    # validation, with other folds.
    repeat: int = 0
    # Whether its held-out rows count for scores, too, and not only for the choice of members.
    is_scored: bool = True
    # In how many of the first rows all of its own are; infinite if these are rows of all.
    level: float = np.inf


@dataclass
class HeldOut:
    """A candidate's predictions for the held-out rows of a fold."""

    # Which of the fold's held-out rows it predicted: only some until all rows are embedded.
    places: np.ndarray
    logs: np.ndarray  # log-probabilities, of shape (len(places), n_classes)


@dataclass(eq=False, repr=False)
class CandidateState:
    """All that is known about one candidate."""

    index: int  # its position in the list
    candidate: Candidate  # as the user or the line-up gave it
    features: Any  # `SharedFeatures`, which its stateless first steps give; None if it has none
    estimator: Any  # the steps after them, not fitted
    where: str  # "main" or "worker": where the estimator is trained
    takes_max_time: bool = False  # whether it can be told how many seconds it has
    variants: Any = None  # `Variants`, if the estimator trains on variants of clips, too

    # By fold:
    held_out: dict = field(default_factory=dict)  # of `HeldOut`
    models: dict = field(default_factory=dict)  # fitted; of the first repeat, since these may vote
    levels: dict = field(default_factory=dict)  # how many rows were available for the training
    scores: dict = field(default_factory=dict)
    fit_times: dict = field(default_factory=dict)  # seconds
    final: set = field(default_factory=set)  # folds trained to the end, not just to a snapshot

    # Of all rows that were available then, and how many these were:
    full_model: Any = None
    full_level: int = 0

    score: float = np.nan  # on all held-out rows of the first repeat together
    predict_time: float = np.nan  # seconds per row, of one model and without the shared steps
    weight: float = 0.0  # in the current ensemble
    # Seconds since the start of the run: of its first job, and of its last validation or failure.
    started: float | None = None
    finished: float | None = None
    failed: bool = False  # whether it has been given up
    status: str = "waiting"  # as in the leaderboard; "running" while it has a job
    failures: list = field(default_factory=list)  # as in `failures_` of the classifier
    error: Exception | None = None  # of its last failure
    misses: int = 0  # how often it was given up for taking too long
    lost: int = 0  # how often an executor lost its job, possibly because of another candidate

    @property
    def name(self):
        return self.candidate.name

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
    def source(self):
        """The features that it learns from, whether of the clips or of variants of them."""
        return self.features if self.variants is None else self.variants.features

    @property
    def running(self):
        return self.status == "running"

    def set_idle(self):
        """Note that its job is over, and that nothing went wrong by its fault."""
        self.status = "ok" if self.can_vote else "waiting"

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
    """Work that runs now, and may be given up."""

    # "first" trains on the rows embedded so far, for the first answer; "validate" trains on folds
    # and predicts their held-out rows; "refit" trains on all rows; "voices" groups the rows by the
    # voices that are heard in the features.
    kind: str
    entry: CandidateState | None  # None if the job is no candidate's
    folds: tuple = ()  # which are trained
    level: int | None = None  # how many rows have to be embedded first
    limit: float = np.inf  # seconds after which it is given up
    max_time: float | None = None  # seconds that the estimator is told it has
    started: float = np.inf  # monotonic time from which the limit counts
    n_threads: int = 1  # of this process, that it may use
    stopped: bool = False  # whether it was given up; its messages then count no more
    is_sent: bool = False  # whether it waits for other processes to embed rows


@dataclass
class RunState:
    """The run as a whole."""

    budget: float  # seconds
    n_train: int  # training rows
    n_total: int  # rows of any weight, including those of a validation set
    n_classes: int
    folds: list = field(default_factory=list)  # of `Fold`; more when the validation is repeated
    # Cumulative size of the rows in the order of embedding, scaled to `n_total` for all rows.
    mass: np.ndarray | None = None
    entries: list = field(default_factory=list)  # of `CandidateState`
    refit: bool = True  # whether members are trained on all rows at the end
    max_repeats: int = 1  # of the whole validation, the first time included
    left: float = np.inf  # seconds until the end
    answered: bool = False  # whether there is a first answer
    here: Job | None = None  # the job that this process runs
    capacity: int = 1  # how many jobs can run elsewhere at once
    # Seconds per training row and number of features of the last training, by class of the final
    # estimator.
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
