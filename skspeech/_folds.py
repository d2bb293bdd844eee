"""Stratified folds that keep groups whole: the one place that decides which rows are held out."""

import numpy as np
from sklearn.utils import check_random_state

__all__ = ["hold_out", "stratified_folds", "why_no_fold"]

N_DRAWS = 400  # random orders of the groups to try, for one part to hold out
_MAX_CELLS = 2e8  # draws times groups times classes: about two seconds


def stratified_folds(
    codes, n_splits, *, groups=None, random_state=None, jitter=0.0, only_first=False
):
    """Split rows into folds, each of which is held out once.

    No group is split. A fold holds out only classes that its training rows have too: if all rows of
    a class would be held out, whole groups go back to the training rows. A class of one clip, or of
    one group, is therefore never held out; a class of two is.

    Parameters
    ----------
    codes : array-like of shape (n_samples,)
        Class of each row, as a number.
    n_splits : int
        Number of folds, at least 2. The result may have fewer: empty ones are left out.
    groups : array-like of shape (n_samples,), default=None
        Rows with the same value stay on one side. None: each row is a group of its own.
    random_state : int, RandomState or None, default=None
        Seed of the order of the rows, and of groups of equal size.
    jitter : float, default=0.0
        Up to which share the sizes of groups are misjudged at random. Large groups find their folds
        first, so where sizes differ, all seeds give the same folds unless this is above 0.
    only_first : bool, default=False
        Whether only the first fold is of use, so that it has to hold out every class that can be,
        also those of fewer groups than folds. The other folds are then smaller.

    Returns
    -------
    list of (train, test)
        Sorted positions of rows; `why_no_fold` says why the list is empty. Without groups, each
        class is spread evenly, and the first fold holds out every class that can be held out. With
        groups, the first fold is the one that holds out most classes.

    Examples
    --------
    >>> from skspeech._folds import stratified_folds
    >>> folds = stratified_folds([0, 0, 1, 1], 2, groups=[5, 6, 6, 5], random_state=0)
    >>> [test.tolist() for _, test in folds]
    [[1, 2], [0, 3]]
    """
    if n_splits < 2:
        raise ValueError(f"n_splits={n_splits!r} is not accepted. Use 2 or more.")
    codes = np.unique(codes, return_inverse=True)[1]
    rng = check_random_state(random_state)
    if groups is not None:
        groups = np.unique(groups, return_inverse=True)[1]
        if groups.max(initial=-1) + 1 == len(codes):
            groups = None  # each row is a group of its own
    if groups is None:
        fold_of = _spread_rows(codes, n_splits, rng)
    else:
        fold_of = _spread_groups(codes, groups, n_splits, rng, jitter, only_first)
    folds = [(np.flatnonzero(fold_of != k), np.flatnonzero(fold_of == k)) for k in range(n_splits)]
    if groups is not None:
        folds = [_keep_all_classes(codes, groups, *fold) for fold in folds]
        size = len(codes) / n_splits
        folds.sort(key=lambda fold: (-len(np.unique(codes[fold[1]])), abs(len(fold[1]) - size)))
    return [(train, test) for train, test in folds if len(test)]


def hold_out(codes, size, *, groups=None, random_state=None):
    """Choose one part to hold out that is as similar to the whole as possible.

    No group is split, and every class stays in training. Of many random choices of groups, it takes
    the one that holds out the most classes, and whose shares of each class, and of all rows, are
    nearest to `size`. If groups are few or large, the part may be larger or smaller than that. A
    class of one row, or of one group, is never held out.

    Parameters
    ----------
    codes : array-like of shape (n_samples,)
        Class of each row, as a number.
    size : float
        Share of the rows to hold out, between 0 and 1.
    groups : array-like of shape (n_samples,), default=None
        Rows with the same value stay on one side. None: each row is a group of its own.
    random_state : int, RandomState or None, default=None
        Seed of the choices.

    Returns
    -------
    train, test : ndarray of int
        Sorted positions of rows; `why_no_fold` says why `test` is empty.

    Examples
    --------
    >>> from skspeech._folds import hold_out
    >>> train, test = hold_out([0, 1, 0, 1, 0, 1], 0.3, groups=[4, 4, 5, 5, 6, 6], random_state=0)
    >>> len(train), len(test)
    (4, 2)
    """
    codes = np.unique(codes, return_inverse=True)[1]
    rng = check_random_state(random_state)
    if groups is not None:
        groups = np.unique(groups, return_inverse=True)[1]
    if groups is None or groups.max() + 1 == len(codes):
        in_test = np.zeros(len(codes), dtype=bool)
        for code in range(codes.max() + 1):
            rows = rng.permutation(np.flatnonzero(codes == code))
            if len(rows) > 1:
                in_test[rows[: np.clip(round(size * len(rows)), 1, len(rows) - 1)]] = True
    else:
        in_test = _draw_groups(codes, groups, size, rng)[groups]
    return np.flatnonzero(~in_test), np.flatnonzero(in_test)


def why_no_fold(codes, groups=None):
    """Say why no row can be held out.

    Parameters
    ----------
    codes : array-like of shape (n_samples,)
        Class of each row, as a number.
    groups : array-like of shape (n_samples,), default=None
        As in `stratified_folds`.

    Returns
    -------
    str
        A sentence without its full stop; empty if a row can be held out.

    Examples
    --------
    >>> from skspeech._folds import why_no_fold
    >>> why_no_fold([0, 1, 2])
    'each class has one clip only'
    """
    codes = np.unique(codes, return_inverse=True)[1]
    if groups is None:
        return "each class has one clip only" if (np.bincount(codes) < 2).all() else ""
    groups = np.unique(groups, return_inverse=True)[1]
    pairs, tied = _pairs_and_tied(codes, groups)
    if not tied.all():
        return ""
    if len(tied) < 2:
        return "groups holds a single group, which would have to be split"
    if len(tied) == len(codes):
        return "each class has one clip only"
    if (np.bincount(pairs[:, 1]) == 1).all():
        return "all clips of each class are in one group"
    return "each group holds all clips of some class, which could then not be learnt"


def _spread_rows(codes, n_splits, rng):
    """Fold of each row, -1 for classes of one row; classes and folds are as even as possible."""
    rows = rng.permutation(len(codes))
    rows = rows[np.argsort(codes[rows], kind="stable")]
    counts = np.bincount(codes)
    place = np.arange(len(rows)) - np.repeat(np.cumsum(counts) - counts, counts)
    first = place % n_splits == 0
    folds = np.zeros(len(rows), dtype=int)
    # Rows go to the other folds in turn, across classes: no fold gets all remainders.
    folds[~first] = 1 + np.arange(np.count_nonzero(~first)) % (n_splits - 1)
    fold_of = np.empty(len(rows), dtype=int)
    fold_of[rows] = folds
    fold_of[counts[codes] < 2] = -1
    return fold_of


def _spread_groups(codes, groups, n_splits, rng, jitter, only_first):
    """Fold of each row, the same in a group; -1 if a group has all rows of some class.

    Each group, the largest first, goes to the fold that has least of its classes. With
    `only_first`, the first group of classes that can't be in all folds goes to the first one.
    """
    pairs, tied = _pairs_and_tied(codes, groups)
    group, code, share = pairs[:, 0], pairs[:, 1], _shares(codes, groups, pairs)
    in_few = only_first & (np.bincount(code) < n_splits)
    begin = np.searchsorted(group, np.arange(len(tied) + 1))
    sizes = np.bincount(groups)
    weight = np.bincount(group, share**2)

    if jitter:
        weight = weight * rng.uniform(1 - jitter, 1 + jitter, len(tied))
    order = rng.permutation(len(tied))
    order = order[np.argsort(-weight[order].round(9), kind="stable")]
    held = np.zeros((n_splits, codes.max() + 1))  # share of each class in each fold
    n_rows = np.zeros(n_splits, dtype=int)
    fold_of = np.full(len(tied), -1)
    for g in order[~tied[order]]:
        own = slice(begin[g], begin[g + 1])
        # The sum of the squares of `held` grows least where this product is least.
        overlap = (held[:, code[own]] @ share[own]).round(9)
        is_first = in_few[code[own]].all() and not held[:, code[own]].any()
        k = 0 if is_first else np.lexsort([n_rows, overlap])[0]
        held[k, code[own]] += share[own]
        n_rows[k] += sizes[g]
        fold_of[g] = k
    return fold_of[groups]


def _draw_groups(codes, groups, size, rng):
    """Which groups to hold out: the best of many draws, which add groups that bring them nearer.

    All draws run at once; each step considers one group in each draw.
    """
    n_groups, n_classes = groups.max() + 1, codes.max() + 1
    counts = np.zeros((n_groups, n_classes))
    np.add.at(counts, (groups, codes), 1)
    # A group's share of each class, and of all rows, which counts as much as one class.
    shares = np.column_stack([counts / counts.sum(axis=0), counts.sum(axis=1) / len(codes)])
    has, groups_of_class = counts > 0, (counts > 0).sum(axis=0)

    def distance(held):
        missing = (held[:, :-1] == 0) & (groups_of_class > 1)
        return ((held - size) ** 2).sum(axis=1) + (n_classes + 1) * missing.sum(axis=1)

    n_draws = int(np.clip(_MAX_CELLS / counts.size, 10, N_DRAWS))
    orders = rng.uniform(size=(n_draws, n_groups)).argsort(axis=1)
    taken = np.zeros((n_draws, n_groups), dtype=bool)
    held, n_held = np.zeros((n_draws, n_classes + 1)), np.zeros((n_draws, n_classes), dtype=int)
    best = distance(held)
    for group in orders.T:
        with_it = distance(held + shares[group])
        leaves_some = (~has[group] | (n_held + 1 < groups_of_class)).all(axis=1)
        rows = np.flatnonzero(leaves_some & (with_it < best))
        taken[rows, group[rows]] = True
        held[rows] += shares[group[rows]]
        n_held[rows] += has[group[rows]]
        best[rows] = with_it[rows]
    return taken[best.argmin()]


def _pairs_and_tied(codes, groups):
    """Sorted (group, class) pairs that occur; and which groups have all rows of some class."""
    pairs = np.unique(np.column_stack([groups, codes]), axis=0)
    groups_of_class = np.bincount(pairs[:, 1])
    tied = np.zeros(groups.max() + 1, dtype=bool)
    tied[pairs[groups_of_class[pairs[:, 1]] == 1, 0]] = True
    return pairs, tied


def _shares(codes, groups, pairs):
    """The share of its class that each (group, class) pair has."""
    n_classes = codes.max() + 1
    _, counts = np.unique(groups * n_classes + codes, return_counts=True)
    return counts / np.bincount(codes)[pairs[:, 1]]


def _keep_all_classes(codes, groups, train, test):
    """Give whole groups back to training until it has every class that is held out."""
    while lost := set(codes[test]) - set(codes[train]):
        held_out = np.unique(groups[test])
        # The group that brings back most of the lost classes; if equal, the smallest.
        rows_of = [test[groups[test] == group] for group in held_out]
        back = max(rows_of, key=lambda rows: (len(lost & set(codes[rows])), -len(rows)))
        train, test = np.union1d(train, back), np.setdiff1d(test, back)
    return train, test
