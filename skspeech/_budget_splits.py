"""Validation splits for the time budget: stratified, by group where asked, kind to rare classes."""

import warnings
from collections import namedtuple

import numpy as np
from sklearn.model_selection import StratifiedGroupKFold, check_cv
from sklearn.utils import check_random_state

__all__ = ["Splits", "fold_of_rows", "make_splits", "value_order"]

# (train, test) index pairs, and the validation set that the user brought, if any. Its rows are
# counted on after those of the training set.
Splits = namedtuple("Splits", ["folds", "X_val", "y_val"])

FEW_CLIPS, SOME_CLIPS = 100, 1000
MAX_HELD_OUT, MAX_HELD_OUT_PER_CLASS = 2000, 25


def make_splits(cv, X, y, codes, groups, random_state):
    """Turn the parameter `cv` of the classifier into a list of index pairs.

    Parameters
    ----------
    cv : "auto", int, splitter, iterable of index pairs, or tuple (X_val, y_val)
        As the user gave it.
    X, y : sequence of n_samples
        The data, for splitters that look at it.
    codes : ndarray of int of shape (n_samples,)
        Index of each row's class.
    groups : ndarray of shape (n_samples,) or None
        Rows of one group stay on one side.
    random_state : int
        Seed.

    Returns
    -------
    Splits
    """
    if is_validation_set(cv):
        X_val, y_val = cv
        n_train, n_val = len(codes), len(y_val)
        fold = np.arange(n_train), np.arange(n_train, n_train + n_val)
        return Splits([fold], X_val, np.asarray(y_val))
    if isinstance(cv, str):
        folds = _auto_folds(codes, groups, random_state)
    elif isinstance(cv, int | np.integer):
        folds = _folds(codes, groups, int(cv), random_state)
    else:
        folds = [
            (np.asarray(train), np.asarray(test))
            for train, test in check_cv(cv, y, classifier=True).split(X, y, groups)
        ]
    folds = [_keep_all_classes(codes, train, test) for train, test in folds]
    folds = [(train, test) for train, test in folds if len(test)]
    return Splits(folds, None, None)


def is_validation_set(cv):
    """Whether `cv` is (X_val, y_val) and not two index pairs."""
    if not (isinstance(cv, tuple) and len(cv) == 2):
        return False
    return not all(isinstance(pair, tuple | list) and len(pair) == 2 for pair in cv)


def _auto_folds(codes, groups, random_state):
    n = len(codes)
    if n < SOME_CLIPS:
        return _folds(codes, groups, 5 if n < FEW_CLIPS else 3, random_state)
    most = max(MAX_HELD_OUT, MAX_HELD_OUT_PER_CLASS * (codes.max() + 1))
    return _folds(codes, groups, max(4, -(-n // most)), random_state)[:1]


def _folds(codes, groups, n_folds, random_state):
    if groups is None:
        return _stratified_folds(codes, n_folds, random_state)
    n_folds = min(n_folds, len(np.unique(groups)))
    if n_folds < 2:
        raise ValueError(
            "groups holds a single group, so no clip can be held out without splitting it. "
            "Leave groups out, or give a validation set: cv=(X_val, y_val)."
        )
    splitter = StratifiedGroupKFold(n_folds, shuffle=True, random_state=random_state)
    with warnings.catch_warnings():
        # A rare class is no mistake of the user's: `_keep_all_classes` takes care of it.
        warnings.filterwarnings("ignore", "The least populated class")
        return list(splitter.split(np.zeros(len(codes)), codes, groups))


def _stratified_folds(codes, n_folds, random_state):
    """Shuffled folds without overlap; a class of one or two clips is never held out.

    Every class of three clips or more has one in the first fold.
    """
    rng = check_random_state(random_state)
    fold_of = np.full(len(codes), -1)
    for code in np.unique(codes):
        rows = rng.permutation(np.flatnonzero(codes == code))
        if len(rows) > 2:
            fold_of[rows] = np.arange(len(rows)) % n_folds
    everything = np.arange(len(codes))
    return [(everything[fold_of != k], everything[fold_of == k]) for k in range(n_folds)]


def _keep_all_classes(codes, train, test):
    """Move what a fold holds out of classes that it would not train on to its training rows."""
    lost = np.setdiff1d(codes[test], codes[train])
    if not lost.size:
        return train, test
    move = np.isin(codes[test], lost)
    return np.concatenate([train, test[move]]), test[~move]


def value_order(codes, n_train, folds, random_state):
    """Order of rows in which any beginning is a good sample of the whole.

    Classes alternate as they do in the whole set, and held-out rows, which are rare in large
    sets, make up about a third until they are used up.

    Parameters
    ----------
    codes : ndarray of int of shape (n_samples,)
        Index of each row's class; rows of a validation set last.
    n_train : int
        Number of rows before those of the validation set.
    folds : list of (train, test)
        The splits.
    random_state : int
        Seed.

    Returns
    -------
    ndarray of int of shape (n_samples,)
    """
    rng = check_random_state(random_state)
    held_out = np.zeros(len(codes), dtype=bool)
    for _, test in folds:
        held_out[test] = True
    if held_out[:n_train].all() or not held_out.any():
        return _stratified_order(codes, np.arange(len(codes)), rng)
    train = _stratified_order(codes, np.flatnonzero(~held_out), rng)
    test = _stratified_order(codes, np.flatnonzero(held_out), rng)
    places = np.concatenate([np.arange(len(train)), 2.0 * np.arange(len(test)) + 0.5])
    return np.concatenate([train, test])[np.argsort(places, kind="stable")]


def _stratified_order(codes, rows, rng):
    rows = rng.permutation(rows)
    place = np.empty(len(rows))
    for code in np.unique(codes[rows]):
        own = np.flatnonzero(codes[rows] == code)
        place[own] = (np.arange(len(own)) + rng.uniform(0, 0.5)) / len(own)
    return rows[np.argsort(place, kind="stable")]


def fold_of_rows(codes, groups, n_folds, random_state):
    """Rows to train on, and a part of one in `n_folds` to judge by, which may be empty.

    Parameters
    ----------
    codes : ndarray of int of shape (n_samples,)
        Index of each row's class.
    groups : array-like of shape (n_samples,) or None
        Rows of one group stay on one side.
    n_folds : int
        Folds of which one is held out.
    random_state : int or RandomState
        Where random numbers come from.

    Returns
    -------
    train, held_out : ndarray of int
        Every class is in `train`.
    """
    groups = None if groups is None else np.asarray(groups)
    return _keep_all_classes(codes, *_folds(codes, groups, n_folds, random_state)[0])
