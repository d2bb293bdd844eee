"""Folds: groups stay whole, classes stay in training, and there is a reason where there is none."""

import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from skspeech._folds import hold_out, stratified_folds, why_no_fold  # pure functions


def check_folds(folds, codes, groups=None):
    """What holds for all folds: returns how often each row is held out."""
    codes = np.asarray(codes)
    groups = np.arange(len(codes)) if groups is None else np.asarray(groups)
    times = np.zeros(len(codes), dtype=int)
    for train, test in folds:
        assert len(test)
        np.testing.assert_array_equal(np.sort(np.r_[train, test]), np.arange(len(codes)))
        assert (np.diff(train) > 0).all()
        assert (np.diff(test) > 0).all()
        assert set(groups[train]).isdisjoint(groups[test])
        assert set(codes[train]) == set(codes)
        times[test] += 1
    assert times.max(initial=0) <= 1
    return times


rows = st.lists(st.tuples(st.integers(0, 4), st.integers(0, 6)), min_size=1, max_size=40)


@settings(deadline=None, max_examples=200)
@given(rows, st.integers(2, 6), st.integers(0, 3), st.booleans())
def test_any_rows_in_any_groups(rows, n_splits, seed, grouped):
    codes, groups = np.array(rows).T
    groups = groups if grouped else None
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        folds = stratified_folds(codes, n_splits, groups=groups, random_state=seed)
    check_folds(folds, codes, groups)
    assert len(folds) <= n_splits
    assert bool(why_no_fold(codes, groups)) == (not folds)


@pytest.mark.parametrize("n_splits", [2, 3, 5])
def test_classes_and_folds_are_even_without_groups(n_splits):
    codes = np.repeat([0, 1, 2, 3, 7], [1, 2, 7, 20, 34])
    folds = stratified_folds(codes, n_splits, random_state=0)

    times = check_folds(folds, codes)
    assert (times == (codes != 0)).all()
    for code in (1, 2, 3, 7):
        held_out = [np.count_nonzero(codes[test] == code) for _, test in folds]
        assert max(held_out) - min(held_out) <= 1
    assert set(codes[folds[0][1]]) == {1, 2, 3, 7}
    sizes = [len(test) for _, test in folds[1:]]
    assert max(sizes) - min(sizes) <= 1


def test_a_class_of_two_clips_is_held_out():
    folds = stratified_folds(np.repeat(np.arange(30), 2), 5, random_state=0)

    assert check_folds(folds, np.repeat(np.arange(30), 2)).all()


def test_a_class_of_two_groups_is_held_out():
    codes = np.repeat([0, 1], [6, 12])
    groups = np.repeat(np.arange(6), 3)
    for seed in range(10):
        folds = stratified_folds(codes, 3, groups=groups, random_state=seed)
        assert check_folds(folds, codes, groups).all()


@pytest.mark.parametrize("n_each", [2, 3])
def test_one_copy_leaves_no_class_out_of_the_first_fold(n_each):
    codes = np.repeat([0, *range(1, 60)], [99, *[n_each] * 59])
    copies = np.arange(len(codes))
    copies[1] = 0
    folds = stratified_folds(codes, 4, groups=copies, random_state=0, only_first=True)
    check_folds(folds, codes, copies)
    assert set(codes[folds[0][1]]) == set(codes)
    sizes = [len(test) for _, test in folds[1:]]
    assert max(sizes) - min(sizes) <= 2


@pytest.mark.parametrize(("n_classes", "n_groups", "n_splits"), [(3, 4, 12), (5, 2, 5), (10, 3, 5)])
def test_folds_are_even_where_classes_have_fewer_groups_than_folds(n_classes, n_groups, n_splits):
    codes = np.repeat(np.arange(n_classes), 5 * n_groups)
    folds = stratified_folds(codes, n_splits, groups=np.arange(len(codes)) // 5, random_state=0)
    assert [len(test) for _, test in folds] == [len(codes) / n_splits] * n_splits


def test_the_only_group_of_a_class_trains_with_all_its_rows():
    # The class 2 is spoken by one speaker only, who also speaks the others.
    codes = np.tile([0, 1], 12)
    groups = np.repeat(np.arange(4), 6)
    codes[groups == 3] = [0, 1, 2, 0, 1, 2]
    times = check_folds(stratified_folds(codes, 4, groups=groups, random_state=0), codes, groups)

    np.testing.assert_array_equal(times, groups != 3)


def test_speakers_of_all_classes_are_spread_evenly():
    rng = np.random.default_rng(0)
    groups = np.repeat(np.arange(20), rng.integers(5, 30, 20))
    codes = rng.integers(0, 4, len(groups))
    folds = stratified_folds(codes, 4, groups=groups, random_state=0)

    assert check_folds(folds, codes, groups).all()
    shares = [np.bincount(codes[test]) / np.bincount(codes) for _, test in folds]
    assert np.ptp(shares, axis=0).max() < 0.15


def test_the_seed_decides():
    codes, groups = np.tile([0, 1], 30), np.repeat(np.arange(20), 3)
    for group_of in (None, groups):
        folds = [stratified_folds(codes, 3, groups=group_of, random_state=s) for s in (0, 0, 1)]
        tests = [[test.tolist() for _, test in fold] for fold in folds]
        assert tests[0] == tests[1] != tests[2]


def test_groups_of_one_row_are_no_groups():
    codes = np.tile([0, 1, 2], 5)
    plain = stratified_folds(codes, 3, random_state=0)
    grouped = stratified_folds(codes, 3, groups=[f"clip {i}" for i in range(15)], random_state=0)

    assert [set(test) for _, test in plain] == [set(test) for _, test in grouped]


@pytest.mark.parametrize(
    ("codes", "groups", "reason"),
    [
        ([0, 1, 2], None, "each class has one clip only"),
        ([0, 1, 2], [4, 5, 6], "each class has one clip only"),
        ([0, 0, 1, 1], [0, 0, 1, 1], "all clips of each class are in one group"),
        ([0, 0, 1, 1], [3, 3, 3, 3], "groups holds a single group"),
        ([0, 0, 1, 2, 0, 3], [0, 0, 0, 1, 1, 1], "each group holds all clips of some class"),
        ([0, 0, 1], None, ""),
        ([0, 0, 1], [0, 1, 1], ""),
    ],
)
def test_the_reason_is_told(codes, groups, reason):
    told = why_no_fold(codes, groups)
    assert told.startswith(reason)
    assert bool(told) == bool(reason)
    assert bool(stratified_folds(codes, 3, groups=groups)) == (not reason)


def test_folds_are_at_least_two():
    with pytest.raises(ValueError, match="n_splits=1 is not accepted"):
        stratified_folds([0, 0, 1, 1], 1)


# One part ----------------------------------------------------------------------------------------


@settings(deadline=None, max_examples=100)
@given(rows, st.floats(0.05, 0.95), st.integers(0, 3), st.booleans())
def test_one_part_of_any_rows_in_any_groups(rows, size, seed, grouped):
    codes, groups = np.array(rows).T
    groups = groups if grouped else None
    train, test = hold_out(codes, size, groups=groups, random_state=seed)
    assert bool(why_no_fold(codes, groups)) == (not len(test))
    check_folds([(train, test)] if len(test) else [], codes, groups)


def test_the_part_is_like_the_whole_where_groups_are_uneven():
    """As when a phone's folder has speakers who say some words far more often than others."""
    for seed in range(5):
        rng = np.random.default_rng(seed)
        groups = np.repeat(np.arange(16), 20)
        codes = np.concatenate([rng.choice(4, 20, p=rng.dirichlet(np.ones(4))) for _ in range(16)])
        _, test = hold_out(codes, 0.25, groups=groups, random_state=seed)
        np.testing.assert_allclose(np.bincount(codes[test]) / np.bincount(codes), 0.25, atol=0.07)


def test_every_class_is_held_out_where_speakers_have_one_class_each():
    codes = np.repeat(np.arange(6), 12)
    groups = np.repeat(np.arange(18), 4)
    for size in (0.05, 0.3):
        _, test = hold_out(codes, size, groups=groups, random_state=0)
        assert np.bincount(codes[test], minlength=6).tolist() == [4] * 6


def test_the_seed_decides_on_the_part():
    codes, groups = np.tile([0, 1], 30), np.repeat(np.arange(20), 3)
    for group_of in (None, groups):
        tests = [hold_out(codes, 0.2, groups=group_of, random_state=s)[1] for s in (0, 0, 1, 2, 3)]
        assert tests[0].tolist() == tests[1].tolist()
        assert len({tuple(test) for test in tests}) > 2


def test_many_groups_take_no_longer_than_one_waits():
    rng = np.random.default_rng(0)
    groups, codes = rng.integers(0, 3000, 20_000), rng.integers(0, 50, 20_000)
    _, test = hold_out(codes, 0.2, groups=groups, random_state=0)
    np.testing.assert_allclose(np.bincount(codes[test]) / np.bincount(codes), 0.2, atol=0.05)
