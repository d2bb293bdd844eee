"""Validation splits: stratified, with groups kept whole; or the reason why there are none."""

from typing import Any, NamedTuple

import numpy as np
from sklearn.model_selection import check_cv
from sklearn.utils import check_random_state

from skspeech._folds import stratified_folds, why_no_fold
from skspeech._labels import check_labels, unknown_labels
from skspeech._warning import warn
from skspeech.time_budget.state import Fold

__all__ = [
    "Splits",
    "counted_rows",
    "judging_parts",
    "make_splits",
    "repeat_folds",
    "value_order",
]

FEW_CLIPS, SOME_CLIPS = 100, 1000
MAX_HELD_OUT, MAX_HELD_OUT_PER_CLASS = 2000, 25
MAX_REPEATS = 5
REPEAT_JITTER = 0.8  # how far the sizes of groups are misjudged, so that repeats have other folds
# A single held-out part is cut into this many parts, so that an ensemble is scored on rows that its
# weights were not chosen on.
N_JUDGING_PARTS = 5


class Splits(NamedTuple):
    """How candidates are validated."""

    folds: list  # of `Fold`; empty if no row can be held out
    why_none: str = ""  # the reason why there are no folds, as a sentence without full stop
    # The user's (X_val, y_val, codes_val), if any; its rows are numbered after the training rows.
    validation: Any = None
    max_repeats: int = 1  # of the whole validation, each time with other folds


def make_splits(cv, X, y, codes, classes, groups, random_state, kept=None, sample_weight=None):
    """Turn the classifier's parameter `cv` into `Splits` of its rows.

    Our own folds don't split what is `kept` together: the groups or, without any, copies of a clip.
    Rows of weight 0 are in no fold: they can't teach their class, and say nothing of a model.

    Raises a ValueError if `cv` does not split these rows, splits a group, or holds out only classes
    that it does not train on.
    """
    if _is_validation_set(cv):
        return _splits_of_validation_set(cv, codes, classes)
    rows = counted_rows(len(codes), sample_weight)
    if isinstance(cv, str | int | np.integer):
        kept = groups if kept is None else kept
        folds = repeat_folds(cv, codes, kept, random_state, 0, rows)
        why = "" if folds else why_no_fold(codes[rows], None if groups is None else groups[rows])
        why = why or "all clips of a class are one sound"
        return Splits(folds, why, max_repeats=MAX_REPEATS if isinstance(cv, str) else 1)
    try:
        pairs = list(check_cv(cv, y, classifier=True).split(X, y, groups))
    except TypeError as error:
        raise ValueError(f"cv={_short(cv)} is no splitter, and no list of index pairs.") from error
    folds = [_fold_of_pair(cv, pair, codes, groups, rows) for pair in pairs]
    folds = [fold for fold in folds if len(fold.test)]
    if not folds:
        raise ValueError(
            f"cv={_short(cv)} holds out only clips of classes that it does not train on then. "
            "Where y is sorted, a splitter has to shuffle; StratifiedKFold keeps all classes in "
            "both parts."
        )
    if groups is None and kept is not None:
        _warn_of_copies(cv, folds, kept)
    return Splits(folds)


def _warn_of_copies(cv, folds, kept):
    if n := sum(np.isin(kept[fold.test], kept[fold.train]).sum() for fold in folds):
        warn(
            f"cv={_short(cv)} holds out {n} clips whose copies are trained on, so scores are too "
            "good. Remove copies, or set cv to 'auto' or a number of folds, which keep copies "
            "together."
        )


def counted_rows(n_rows, sample_weight):
    """Rows that are not of weight 0."""
    return np.arange(n_rows) if sample_weight is None else np.flatnonzero(sample_weight)


def repeat_folds(cv, codes, groups, random_state, repeat, rows=None):
    """Make the folds of one repeat of the validation, for ``cv="auto"`` or a number of folds.

    They are of the given `rows`, or of all.
    """
    rows = np.arange(len(codes)) if rows is None else rows
    codes, groups = codes[rows], None if groups is None else groups[rows]
    n_rows, n_folds, only_first = len(codes), cv, False
    if isinstance(cv, str):
        n_folds = 5 if n_rows < FEW_CLIPS else 3
        if n_rows >= SOME_CLIPS:
            most = max(MAX_HELD_OUT, MAX_HELD_OUT_PER_CLASS * (codes.max() + 1))
            n_folds, only_first = max(4, -(-n_rows // most)), True
    seed = (random_state + 104_729 * repeat) % (2**32 - 1)
    folds = stratified_folds(
        codes,
        int(n_folds),
        groups=groups,
        random_state=seed,
        jitter=REPEAT_JITTER if repeat else 0.0,
        only_first=only_first,
    )
    folds = folds[:1] if only_first else folds
    return [Fold(rows[train], rows[test], repeat) for train, test in folds]


def _is_validation_set(cv):
    """Whether `cv` is (X_val, y_val), and not two pairs of index arrays."""
    if not (isinstance(cv, tuple | list) and len(cv) == 2):
        return False
    return not all(isinstance(pair, tuple | list) and len(pair) == 2 for pair in cv)


def _splits_of_validation_set(cv, codes, classes):
    X_val, y_val = cv
    n_val = X_val.shape[0] if hasattr(X_val, "shape") else len(X_val)
    y_val = check_labels(y_val, "y_val in cv=(X_val, y_val)")
    if n_val != len(y_val) or not n_val:
        raise ValueError(
            f"cv=(X_val, y_val) needs a label for each clip, and at least one clip: there are "
            f"{n_val} clips and {len(y_val)} labels."
        )
    if unknown := unknown_labels(y_val, classes):
        raise ValueError(f"cv=(X_val, y_val) holds labels that are not in y: {unknown}.")
    n_train = len(codes)
    fold = Fold(np.arange(n_train), np.arange(n_train, n_train + n_val))
    return Splits([fold], validation=(X_val, y_val, np.searchsorted(classes, y_val)))


def _fold_of_pair(cv, pair, codes, groups, rows):
    """The user's fold of some rows, without held-out ones of classes that it does not train on."""
    try:
        train, test = (_as_rows(part, len(codes)) for part in pair)
    except (IndexError, TypeError, ValueError) as error:
        raise ValueError(
            f"cv={_short(cv)} must give pairs of indices into the {len(codes)} rows: {error}"
        ) from error
    both = np.intersect1d(train, test)
    if both.size:
        raise ValueError(f"cv={_short(cv)} has {both.size} rows in both parts of a split.")
    if groups is not None:
        shared = np.intersect1d(groups[train], groups[test])
        if shared.size:
            raise ValueError(
                f"cv={_short(cv)} has {shared.size} groups in both parts of a split, such as "
                f"{shared[0]!r}. Use a splitter that keeps groups whole, such as "
                "StratifiedGroupKFold, or leave groups out."
            )
    train, test = train[np.isin(train, rows)], test[np.isin(test, rows)]
    return Fold(train, np.unique(test[np.isin(codes[test], codes[train])]))


def _short(cv):
    """The repr of a splitter; a short description of a list of index pairs."""
    return f"<{type(cv).__name__} of splits>" if isinstance(cv, list | tuple) else repr(cv)


def _as_rows(rows, n_rows):
    rows = np.arange(n_rows)[np.asarray(rows)]
    if rows.ndim != 1:
        raise ValueError(f"an array of shape {rows.shape} is no index")
    return np.sort(rows)  # a row may train twice


def judging_parts(state, numbers, units, random_state):
    """Assign each held-out row to a part, for cross-fitted scores.

    Each unit belongs to the fold (of `numbers`) that held it out first, and so do its rows in
    later repeats. A single fold, or folds of the same units, are cut into several parts; units stay
    whole.
    """
    _, places, units = np.unique(units, return_index=True, return_inverse=True)
    first = numbers[places]
    if len(np.unique(first)) > 1 and len(state.folds_of(0)) > 1:
        return first[units]
    n_units = units.max() + 1
    part_of_unit = check_random_state(random_state).permutation(n_units) % N_JUDGING_PARTS
    return part_of_unit[units]


def value_order(codes, n_train, folds, sizes, random_state, sample_weight=None):
    """Order the rows that count so that the first ones are always a good sample of all.

    The classes keep their overall proportions. Held-out rows, which are few in large sets, make up
    about a third until they are used up. Rows that are much larger than most come last, so that the
    first answer does not wait for them. Those of weight 0 are left out. Rows from `n_train` on
    belong to a validation set, and have no weights.
    """
    rng = check_random_state(random_state)
    held_out, counts = np.zeros(len(codes), dtype=bool), np.ones(len(codes), dtype=bool)
    for fold in folds:
        held_out[fold.test] = True
    if sample_weight is not None:
        counts[:n_train] = sample_weight > 0
    others = counts & ~held_out
    if not others[:n_train].any() or not held_out.any():
        order = _stratified_order(codes, np.flatnonzero(counts), rng)
    else:
        train = _stratified_order(codes, np.flatnonzero(others), rng)
        test = _stratified_order(codes, np.flatnonzero(held_out), rng)
        places = np.concatenate([np.arange(len(train)), 2.0 * np.arange(len(test)) + 0.5])
        order = np.concatenate([train, test])[np.argsort(places, kind="stable")]
    return order[np.argsort(sizes[order] > 10 * np.median(sizes), kind="stable")]


def _stratified_order(codes, rows, rng):
    rows = rng.permutation(rows)
    place = np.empty(len(rows))
    for code in np.unique(codes[rows]):
        own = np.flatnonzero(codes[rows] == code)
        place[own] = (np.arange(len(own)) + rng.uniform(0, 0.5)) / len(own)
    return rows[np.argsort(place, kind="stable")]
