"""The rows that candidates learn from, and the features that they share."""

import os

import joblib
import numpy as np
from sklearn import clone
from sklearn.pipeline import FeatureUnion, Pipeline
from sklearn.utils import get_tags

from skspeech._sklearn import _safe_indexing

__all__ = ["Data", "Head", "head_key", "split_head"]

CHEAP_MODULES = ("sklearn.preprocessing", "skspeech.transformers.scaling")


class Data:
    """Training rows, and after them those of the user's validation set, if any.

    Attributes
    ----------
    y : ndarray of shape (n_total,)
        Labels as given.
    codes : ndarray of int of shape (n_total,)
        Index of each label among the classes.
    n_train, n_total : int
        Number of training rows, and of all.
    """

    def __init__(self, X, y, codes, X_val=None, y_val=None, codes_val=None):
        self.parts = [X] if X_val is None else [X, X_val]
        self.y = y if y_val is None else np.concatenate([y, y_val])
        self.codes = codes if codes_val is None else np.concatenate([codes, codes_val])
        self.n_train, self.n_total = len(codes), len(self.codes)

    def locate(self, rows):
        """Give (number of the part, indices inside it) of rows that are all in one part."""
        if rows[0] < self.n_train:
            return 0, rows
        return 1, rows - self.n_train

    def take(self, rows):
        """Take rows that are all in one part."""
        part, indices = self.locate(rows)
        return _safe_indexing(self.parts[part], indices)

    def split(self, rows):
        """Split rows by the part that they are in."""
        inside = rows < self.n_train
        return [part for part in (rows[inside], rows[~inside]) if len(part)]


class Head:
    """The stateless front of one or more candidates, and the features of the rows done so far.

    Parameters
    ----------
    key : str
        Equal for equal steps with equal parameters.
    steps : list of (str, transformer)
        Not fitted.

    Attributes
    ----------
    features : ndarray of shape (n_total, ...) or None
        Rows that are done are filled in.
    level : int
        Rows done, counted along the order of all rows.
    rate : float or None
        Seconds per row, measured.
    error : Exception or None
        What went wrong.
    shareable : bool
        False where the steps do not give an array; then each candidate runs them itself.
    """

    def __init__(self, key, steps):
        self.key = key
        self.steps = [(name, _clone_step(step)) for name, step in steps]
        self.features = None
        self.level = 0
        self.rate = None
        self.error = None
        self.shareable = True
        self._dumped = None

    def transform(self, X):
        """Transform rows; the first time also `fit`, which learns nothing but checks parameters."""
        for _, step in self.steps:
            if step is None or step == "passthrough":
                continue
            if self.features is None:
                step.fit(X)
            X = step.transform(X)
        return X

    def store(self, rows, features, n_total):
        """Keep the features of some rows; False if they cannot be shared."""
        if not isinstance(features, np.ndarray) or len(features) != len(rows):
            self.shareable = False
            return False
        if self.features is None:
            self.features = np.empty((n_total, *features.shape[1:]), dtype=features.dtype)
        self.features[rows] = features
        return True

    def take(self, rows):
        """Features of rows that are done."""
        return self.features[rows]

    def dump(self, folder):
        """Write the features down for worker processes, once for each level; return the path."""
        if self._dumped is None or self._dumped[0] != self.level:
            path = os.path.join(folder, f"features-{self.key}-{self.level}.joblib")
            joblib.dump(self.features, path)
            self._dumped = self.level, path
        return self._dumped[1]

    def forget_files(self):
        """The folder of the last run is gone."""
        self._dumped = None


def _clone_step(step):
    return clone(step) if hasattr(step, "get_params") else step


def split_head(estimator):
    """Split a candidate into stateless first steps and the rest.

    Parameters
    ----------
    estimator : classifier
        A Pipeline, something with `to_pipeline()`, or anything else.

    Returns
    -------
    steps : list of (str, transformer)
        Steps that learn nothing; empty where there are none.
    tail : classifier
        What learns.
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
    """Whether a step is left to the rest, so that what comes before it is shared more widely."""
    return step is None or isinstance(step, str) or type(step).__module__.startswith(CHEAP_MODULES)


def _is_stateless(step):
    if step is None or isinstance(step, str):
        return True
    if isinstance(step, FeatureUnion):
        return all(_is_stateless(part) for _, part in step.transformer_list)
    if isinstance(step, Pipeline):
        return all(_is_stateless(part) for _, part in step.steps)
    return hasattr(step, "transform") and not get_tags(step).requires_fit


def head_key(steps):
    """Equal for equal steps with equal parameters."""
    return joblib.hash([step for _, step in steps])
