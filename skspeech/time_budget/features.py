"""The rows of a run, and the features that candidates share."""

import contextlib
import os
import threading
from dataclasses import dataclass

import joblib
import numpy as np
from sklearn import clone, get_config
from sklearn.pipeline import FeatureUnion, Pipeline
from sklearn.utils import gen_batches, get_tags

from skspeech._sklearn import _safe_indexing
from skspeech.estimators.augmented import AugmentedClassifier

__all__ = [
    "Data",
    "SharedFeatures",
    "UnitedFeatures",
    "Variants",
    "row_sizes",
    "runs_here",
    "share_features",
    "shared_key",
    "stateless_steps",
    "variants_of",
]

COPIED = 1024  # rows of united features that are copied at once
CHEAP_MODULES = ("sklearn.preprocessing", "skspeech.transformers.scaling")
# Classifiers that are quick and do not hang.
QUICK_MODULES = (
    "sklearn.linear_model",
    "sklearn.naive_bayes",
    "sklearn.discriminant_analysis",
    "sklearn.neighbors",
    "sklearn.tree",
    "sklearn.dummy",
)


class Data:
    """The training rows, followed by those of the user's validation set, if any.

    Attributes
    ----------
    y : ndarray of shape (n_total,)
        Labels as given.
    codes : ndarray of int of shape (n_total,)
        Index of each label among the classes.
    n_train, n_total : int
        Number of training rows, and of all rows.
    groups, sample_weight : ndarray of shape (n_train,) or None
        As the user gave them.
    kept : ndarray of shape (n_train,) or None
        What folds keep together: the groups or, without any, copies of a clip.
    config : dict
        scikit-learn's settings in the thread that called `fit`.
    """

    def __init__(self, X, y, codes, *, validation=None, groups=None, sample_weight=None, kept=None):
        self.parts, self.y, self.codes = [X], y, codes
        self.n_train = len(codes)
        if validation is not None:
            X_val, y_val, codes_val = validation
            self.parts.append(X_val)
            self.y = np.concatenate([y, y_val])
            self.codes = np.concatenate([codes, codes_val])
        self.n_total = len(self.codes)
        self.groups, self.sample_weight = groups, sample_weight
        self.kept = kept
        self.config = get_config()

    def take(self, rows):
        """Take rows that are all in one part."""
        part, indices = self._locate(rows)
        return _safe_indexing(self.parts[part], indices)

    def dump(self, folder, rows):
        """Write the part with these rows to a file, once; return the path, and indices in it."""
        part, indices = self._locate(rows)
        return folder.dump(f"part-{part}", lambda: self.parts[part]), indices

    def _locate(self, rows):
        return (0, rows) if rows[0] < self.n_train else (1, rows - self.n_train)

    def split(self, rows):
        """Split rows by the part that they are in."""
        inside = rows < self.n_train
        return [part for part in (rows[inside], rows[~inside]) if len(part)]

    def extras(self, rows):
        """The `groups` and `sample_weight` of some training rows, as far as the user gave them."""
        extras = {"groups": self.groups, "sample_weight": self.sample_weight}
        return {name: values[rows] for name, values in extras.items() if values is not None}

    def sizes(self):
        """Relative size of each row; see :func:`row_sizes`."""
        return np.concatenate([row_sizes(part) for part in self.parts])


def row_sizes(X):
    """Size of each row, as far as it is known without reading the row; otherwise all are 1.

    The size of an array is its number of elements; that of a ``(waveform, sampling_rate)`` pair is
    the size of the waveform; that of a path is the number of bytes of its file. The rows of a table
    have equal sizes.
    """
    n_rows = X.shape[0] if hasattr(X, "shape") else len(X)
    if getattr(X, "ndim", 1) != 1:
        return np.ones(n_rows)
    sizes = np.array([_size(X.iloc[i] if hasattr(X, "iloc") else X[i]) for i in range(n_rows)])
    return np.ones(n_rows) if np.isnan(sizes).any() else np.maximum(sizes, 1.0)


def _size(row):
    if isinstance(row, tuple) and len(row) == 2:
        row = row[0]
    if isinstance(row, str | os.PathLike):
        try:
            return float(os.stat(row).st_size)
        except (OSError, ValueError):
            return np.nan
    size = getattr(row, "size", np.nan)
    return float(size) if isinstance(size, int | float) else np.nan


class SharedFeatures:
    """The stateless first steps of one or more candidates, and their features so far."""

    level = 0  # number of rows done, in the order of embedding
    matrix = None  # the features in that order, so that rows to come take no memory yet
    _places = None  # in the matrix, of each row
    _fitted = False
    warm = False  # whether they have run before, so that imports and weights are loaded
    sent = False  # whether other processes have run them before
    rate = None  # seconds for a row of average size, measured when warm
    misses = 0  # how often they were given up for taking too long
    error = None  # the exception that made the steps fail
    shareable = True  # False if they give no array; then each candidate runs them itself

    def __init__(self, key, steps):
        self.key = key  # the same for equal steps with equal parameters
        self.steps = [(name, _giving_arrays(step)) for name, step in steps]  # fitted in use
        self.parts = (self,)
        self.lock = threading.Lock()  # an abandoned thread may still write

    def unfinished(self, level):
        """The parts that have not done `level` rows, in the order in which these are due."""
        return [part for part in self.parts if part.level < level]

    def dump(self, folder, rows):
        """Write the features to a file, once per level; return the path, and the rows in it."""
        name = f"features-{self.key}-{self.level}"
        return folder.dump(name, lambda: self.take(slice(None))), rows

    def transform(self, X):
        """Transform rows; the first time also `fit`, which learns nothing but checks parameters."""
        for _, step in self.steps:
            if step is None or step == "passthrough":
                continue
            if not self._fitted:
                step.fit(X)
            X = step.transform(X)
        self._fitted = True
        return X

    def store(self, values, n_total):
        """Keep the features of further rows; return False if they cannot be shared.

        `values` holds pairs of rows, and what the steps made of them.
        """
        if any(not isinstance(new, np.ndarray) or len(new) != len(rows) for rows, new in values):
            self.shareable = False
            return False
        end = self.level
        for rows, new in values:
            if self.matrix is None:
                self.matrix = np.empty((n_total, *new.shape[1:]), dtype=new.dtype)
                self._places = np.zeros(n_total, dtype=int)
            begin, end = end, end + len(rows)
            self.matrix[begin:end] = new
            self._places[rows] = np.arange(begin, end)
        self.level = end
        return True

    @property
    def n_columns(self):
        """Number of features of a row; None until there are some."""
        return None if self.matrix is None else int(np.prod(self.matrix.shape[1:]))

    def take(self, rows):
        """Return the features of some rows, which are done; of others, anything."""
        return self.matrix[self._places[rows]]


def _giving_arrays(step):
    """A clone that gives arrays, also where scikit-learn is set to give tables.

    The estimators after it are trained on arrays. Whoever has set the step itself gets tables.
    """
    step = clone(step, safe=False)
    if hasattr(step, "set_output") and not hasattr(step, "_sklearn_output_config"):
        with contextlib.suppress(ValueError):  # a part of a union that always gives arrays
            step.set_output(transform="default")
    return step


def _sum_of_known(values):
    return None if None in values else sum(values)


def _of_parts(name, combine):
    return property(lambda self: combine([getattr(part, name) for part in self.parts]))


class UnitedFeatures(SharedFeatures):
    """Features side by side. Each part runs once, also for candidates that use it alone."""

    def __init__(self, key, steps, parts):
        super().__init__(key, steps)
        self.parts = tuple(parts)
        union = self.steps[0][1]
        names = [name for name, _ in union.transformer_list]
        own = [part.steps[0][1] for part in parts]  # which get fitted
        union.set_params(transformer_list=list(zip(names, own, strict=True)))

    level = _of_parts("level", min)
    warm = _of_parts("warm", all)
    rate = _of_parts("rate", _sum_of_known)
    n_columns = _of_parts("n_columns", _sum_of_known)
    misses = _of_parts("misses", max)
    error = _of_parts("error", lambda errors: next((e for e in errors if e is not None), None))

    @property
    def shareable(self):
        """Whether the parts can be put side by side: a union takes no other shapes."""
        return all(
            part.shareable and (part.matrix is None or part.matrix.ndim == 2) for part in self.parts
        )

    def take(self, rows):
        rows = np.arange(len(self.parts[0].matrix))[rows]
        dtype = np.result_type(*(part.matrix.dtype for part in self.parts))
        united = np.empty((len(rows), self.n_columns), dtype=dtype)
        for chunk in gen_batches(len(rows), COPIED):
            parts = [part.take(rows[chunk]) for part in self.parts]
            np.concatenate(parts, axis=1, out=united[chunk])
        return united


@dataclass
class Variants:
    """What an estimator computes of variants of its clips, such as these at other speeds."""

    features: SharedFeatures  # those of its extractor, whose rate tells what a variant takes
    n_times: float  # seconds of variants per second of a clip, without the clip itself
    classifier: object  # which is trained on all of them


def variants_of(estimator, known):
    """Return the variants that an estimator trains on, or None; `known` are features, by key."""
    if not isinstance(estimator, AugmentedClassifier):
        return None
    steps, classifier = stateless_steps(estimator.estimator)
    n_times = (1 + len(estimator.speeds)) * (1 if estimator.crop is None else 2) - 1
    return Variants(share_features(steps, known), n_times, classifier) if steps else None


def share_features(steps, known):
    """Return the features of stateless steps: those that are known, by key, or new ones.

    New ones are added to `known`.
    """
    key = shared_key(steps)
    if key not in known:
        parts = [share_features([part], known) for part in _united(steps)]
        known[key] = UnitedFeatures(key, steps, parts) if parts else SharedFeatures(key, steps)
    return known[key]


def _united(steps):
    """The parts of a union that does nothing but put them side by side; none of anything else."""
    union = steps[0][1]
    if len(steps) > 1 or type(union) is not FeatureUnion:
        return []
    plain = union.transformer_weights is None and union.n_jobs in (None, 1)
    able = all(hasattr(part, "transform") for _, part in union.transformer_list)
    if not (plain and able) or any(isinstance(p, FeatureUnion) for _, p in union.transformer_list):
        return []
    return union.transformer_list


def stateless_steps(estimator):
    """Split a classifier into its first steps that learn nothing (possibly none) and the rest.

    The classifier may be a Pipeline, have a method `to_pipeline()`, or be anything else.
    """
    if hasattr(estimator, "to_pipeline"):
        estimator = estimator.to_pipeline()
    if not isinstance(estimator, Pipeline):
        return [], estimator
    n_stateless = 0
    for _, step in estimator.steps[:-1]:
        if not _is_stateless(step):
            break
        n_stateless += 1
    while n_stateless > 1 and _is_cheap(estimator.steps[n_stateless - 1][1]):
        n_stateless -= 1
    steps, rest = estimator.steps[:n_stateless], estimator.steps[n_stateless:]
    if all(step is None or step == "passthrough" for _, step in steps):
        return [], estimator
    if len(rest) == 1:
        return steps, rest[0][1]
    return steps, Pipeline(rest, memory=estimator.memory)


def _is_cheap(step):
    """Whether a step goes to the rest, so that more candidates can share the steps before it."""
    return isinstance(step, str | None) or type(step).__module__.startswith(CHEAP_MODULES)


def _is_stateless(step):
    if isinstance(step, str | None):
        return True
    if isinstance(step, FeatureUnion | Pipeline):
        parts = step.steps if isinstance(step, Pipeline) else step.transformer_list
        return all(_is_stateless(part) for _, part in parts)
    return hasattr(step, "transform") and not get_tags(step).requires_fit


def runs_here(estimator):
    """Whether the calling process may train an estimator: it has only quick parts."""
    if isinstance(estimator, Pipeline):
        *steps, last = [step for _, step in estimator.steps]
        own = ("sklearn.", "skspeech.")
        return runs_here(last) and all(
            isinstance(step, str | None) or type(step).__module__.startswith(own) for step in steps
        )
    return type(estimator).__module__.startswith(QUICK_MODULES)


def shared_key(steps):
    """A hash that is the same for equal steps with equal parameters."""
    return joblib.hash([step for _, step in steps])
