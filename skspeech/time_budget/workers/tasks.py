"""One task of a candidate: fit, predict, check; the same code in every process."""

import contextlib
import pickle
import time
import traceback
import warnings
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

import numpy as np
from sklearn import config_context
from sklearn.exceptions import ConvergenceWarning

from skspeech._pickled import PickledClassifier
from skspeech._threads import limited_threads

__all__ = [
    "Outcome",
    "Part",
    "Task",
    "checked_proba",
    "describe_error",
    "executor_task",
    "quiet_fits",
    "run_task",
    "set_max_time",
    "set_random_states",
    "takes_max_time",
    "task_messages",
]

# Reporting a snapshot costs a prediction and a pickle. Reports may take this share of the time, or
# this many seconds if that is more.
REPORTING_SHARE, REPORTING_SECONDS = 0.15, 0.5


class Part(NamedTuple):
    """The rows of a task, among the first ones in the order of embedding."""

    fold: int | None  # whose rows they are; None if it trains on all
    level: int  # how many rows had features
    places: np.ndarray | None  # which of the fold's held-out rows are predicted


@dataclass
class Task:
    """One fit: the estimator, and the arguments of its `fit` besides the rows."""

    estimator: Any  # not fitted
    classes: np.ndarray  # all labels, in the order of the predictions' columns
    # `groups` and `sample_weight` of the training rows, if the user gave them, for estimators that
    # take them.
    extras: dict = field(default_factory=dict)
    config: dict = field(default_factory=dict)  # scikit-learn's settings where `fit` was called
    max_time: float | None = None  # seconds that the estimator is told it has
    name: str = ""  # of the candidate
    part: Part | None = None  # which rows it gets


@dataclass
class Outcome:
    """The result of a task, after a snapshot or at its end."""

    model: Any  # fitted
    proba: np.ndarray | None  # for the rows to predict, if there are any
    fit_time: float  # seconds
    predict_time: float | None  # seconds
    final: bool  # False for a snapshot
    part: Part | None  # the task's


def run_task(task, X, y, X_test, *, stream=True):
    """Fit the task's estimator, and yield an `Outcome` for each snapshot and for the end.

    Without rows to predict there are no snapshots, nor without `stream`.
    """
    with contextlib.ExitStack() as settings:  # each thread and each process has its own
        for name, value in task.config.items():
            # An executor's scikit-learn may be older, or lack what a setting needs there.
            with contextlib.suppress(TypeError, RuntimeError, ImportError):
                settings.enter_context(config_context(**{name: value}))
        yield from _run_task(task, X, y, X_test, stream)


def _run_task(task, X, y, X_test, stream):
    from skspeech._routing import fit_params_for

    estimator = task.estimator
    if task.max_time is not None:
        set_max_time(estimator, task.max_time)
    params = fit_params_for(estimator, **task.extras, owner="TimeBudgetClassifier")
    start = time.perf_counter()
    reporting = 0.0
    if stream and X_test is not None and hasattr(estimator, "iter_fit"):
        fitted = None
        for fitted in estimator.iter_fit(X, y, **params):
            now = time.perf_counter()
            if reporting > max(REPORTING_SHARE * (now - start), REPORTING_SECONDS):
                continue
            proba = checked_proba(fitted, X_test, task.classes)
            predict_time = time.perf_counter() - now
            yield Outcome(fitted, proba, now - start - reporting, predict_time, False, task.part)
            reporting += time.perf_counter() - now
        if fitted is None:
            raise RuntimeError("iter_fit ended without a snapshot.")
        estimator = fitted
    else:
        estimator.fit(X, y, **params)
    fit_time = time.perf_counter() - start - reporting
    proba, predict_time = None, None
    if X_test is not None:
        start = time.perf_counter()
        proba = checked_proba(estimator, X_test, task.classes)
        predict_time = time.perf_counter() - start
    yield Outcome(estimator, proba, fit_time, predict_time, True, task.part)


def checked_proba(estimator, X, classes):
    """Predict, align the columns to `classes`, and check that the values are probabilities.

    Classes that the estimator does not know get 0.
    """
    proba = np.asarray(estimator.predict_proba(X))
    known = np.asarray(estimator.classes_)
    n_samples = X.shape[0] if hasattr(X, "shape") else len(X)
    if proba.shape != (n_samples, len(known)):
        raise ValueError(
            f"predict_proba returned an array of shape {proba.shape}; {(n_samples, len(known))}, a "
            "row for each sample and a column for each class, was expected."
        )
    proba = proba.astype(np.float64, copy=False)
    if not np.isfinite(proba).all():
        raise ValueError("predict_proba returned NaN or infinity.")
    total = proba.sum(axis=1, keepdims=True)
    if (proba < 0).any() or not (total > 0).all():
        raise ValueError("predict_proba returned negative values, or rows that sum to 0.")
    columns = np.searchsorted(classes, known)
    if (columns >= len(classes)).any() or (classes[columns] != known).any():
        raise ValueError(f"The classifier predicts {known.tolist()}, not all of which are in y.")
    aligned = np.zeros((len(proba), len(classes)))
    aligned[:, columns] = proba / total
    return aligned


def _nested_names(estimator, name):
    if not hasattr(estimator, "get_params"):
        return {}
    return {
        key: value
        for key, value in estimator.get_params(deep=True).items()
        if key == name or key.endswith(f"__{name}")
    }


def takes_max_time(estimator):
    """Whether the estimator, or one inside it, has the parameter `max_time`."""
    return bool(_nested_names(estimator, "max_time"))


def set_max_time(estimator, seconds):
    """Lower the parameter `max_time`, in the estimator or inside it, to `seconds`."""
    for key, value in _nested_names(estimator, "max_time").items():
        if value is None or value > seconds:
            estimator.set_params(**{key: seconds})


def set_random_states(estimator, seed):
    """Give a seed to every `random_state` that is None, in the estimator or inside it."""
    rng = np.random.RandomState(seed)
    names = _nested_names(estimator, "random_state")
    for key in sorted(key for key, value in names.items() if value is None):
        estimator.set_params(**{key: rng.randint(np.iinfo(np.int32).max)})


@contextlib.contextmanager
def quiet_fits():
    """Hide warnings of scikit-learn that are expected here.

    A budget stops solvers early on purpose, and many classes with few clips each are not a
    regression target.

    Filters are added in front and removed again, instead of saving and restoring all filters, since
    other threads may change theirs in the meantime. A thread that saved all filters meanwhile
    restores a list that contains the added ones, so they are removed from that, too.
    """
    filters = warnings.filters
    mark = f"(?#skspeech {id(object())} {time.monotonic_ns()})"
    many_classes = mark + "The number of unique classes"
    warnings.filterwarnings("ignore", message=mark, category=ConvergenceWarning)
    warnings.filterwarnings("ignore", message=many_classes, category=UserWarning)
    try:
        yield
    finally:
        for place in (filters, warnings.filters):
            for entry in list(place):
                if getattr(entry[1], "pattern", None) in (mark, many_classes):
                    place.remove(entry)


def task_messages(task, X, y, X_test, **options):
    """Run a task, and yield messages for the parent: outcomes with pickled models, and "done"."""
    import cloudpickle

    for outcome in run_task(task, X, y, X_test, **options):
        payload = cloudpickle.dumps(outcome.model)
        pickle.loads(payload)  # an error now, rather than in the other process
        classes = list(outcome.model.classes_)
        model = PickledClassifier.from_bytes(payload, classes, repr(task.name))
        yield "outcome", replace(outcome, model=model)
    yield ("done",)


def describe_error(error):
    """An exception in words, as in `failures_`."""
    return f"{type(error).__name__}: {error}"


def executor_task(payload):
    """Run one task in a user's executor: a pickle of its arguments in, a list of messages out.

    If the candidate fails, the message has its exception and traceback, as text. So an exception of
    the executor is never the candidate's.
    """
    try:
        task, X, y, X_test, n_threads = pickle.loads(payload)
        with quiet_fits(), limited_threads(n_threads):
            return list(task_messages(task, X, y, X_test, stream=False))
    except Exception as error:
        return [("error", describe_error(error), traceback.format_exc())]
