import numpy as np
import pytest
from sklearn.exceptions import DataConversionWarning
from sklearn.metrics import balanced_accuracy_score

from skspeech.metrics import (
    area_under_learning_curve,
    balanced_accuracy_over_time,
    expected_calibration_error,
    score_interval,
    scores_by_group,
    wilson_limits,
)


def step_area_by_quadrature(times, scores, time_budget, t0):
    """Integrate the step curve over transformed time on a fine grid (midpoints)."""
    n = 200_000
    u = (np.arange(n) + 0.5) / n
    t = t0 * np.expm1(u * np.log1p(time_budget / t0))
    index = np.searchsorted(times, t, side="right") - 1
    return np.where(index >= 0, np.append(scores, 0.0)[index], 0.0).mean()


@pytest.mark.parametrize(
    ("times", "scores", "time_budget", "t0", "expected"),
    [
        ([0], [1.0], 60, 60, 1.0),
        ([0], [0.25], 1800, 60, 0.25),
        # t0 = 1, T = 3: log(1 + t) / log(4), so t = 1 lies exactly in the middle.
        ([1], [1.0], 3, 1, 0.5),
        ([0, 1], [0.5, 1.0], 3, 1, 0.75),
        # t0 = 1, T = 7: t = 1 and 3 lie at one and two thirds.
        ([1, 3], [0.3, 0.9], 7, 1, 0.4),
        # The score may fall: the latest answer counts, not the best.
        ([1, 3], [0.9, 0.3], 7, 1, 0.4),
        # At the last moment, or after it, nothing is left to win.
        ([3], [1.0], 3, 1, 0.0),
        ([0, 4], [0.5, 1.0], 3, 1, 0.5),
        ([], [], 60, 60, 0.0),
        # Of two answers at one moment the later counts.
        ([1, 1], [0.0, 1.0], 3, 1, 0.5),
    ],
)
def test_area_has_the_value_worked_out_by_hand(times, scores, time_budget, t0, expected):
    assert area_under_learning_curve(times, scores, time_budget, t0) == pytest.approx(expected)


@pytest.mark.parametrize("seed", range(5))
def test_area_agrees_with_numeric_integration(seed):
    rng = np.random.default_rng(seed)
    time_budget = rng.uniform(10, 2000)
    t0 = rng.uniform(1, 200)
    times = np.sort(rng.uniform(0, 1.3 * time_budget, 12))
    scores = rng.uniform(-0.5, 1, 12)
    expected = step_area_by_quadrature(times, scores, time_budget, t0)
    area = area_under_learning_curve(times, scores, time_budget, t0)
    assert area == pytest.approx(expected, abs=2e-4)


def test_default_time_scale_is_a_minute():
    curve = [2.0, 9.0], [0.5, 0.8], 30.0
    assert area_under_learning_curve(*curve) == area_under_learning_curve(*curve, t0=60.0)
    assert isinstance(area_under_learning_curve(*curve), float)


def test_inputs_stay_as_they_were():
    times, scores = np.array([1.0, 90.0]), np.array([0.2, 0.4])
    area_under_learning_curve(times, scores, 60)
    np.testing.assert_array_equal(times, [1.0, 90.0])
    np.testing.assert_array_equal(scores, [0.2, 0.4])


@pytest.mark.parametrize(
    ("times", "scores", "time_budget", "t0", "message"),
    [
        ([1, 2], [0.5], 60, 60, "got 2 times and 1 scores"),
        ([2, 1], [0.5, 0.6], 60, 60, r"2 followed by 1 at index 1.*np\.cumsum"),
        ([-1], [0.5], 60, 60, "not negative; got -1"),
        ([1, np.nan], [0.5, 0.6], 60, 60, "times must be finite; got nan at index 1"),
        ([1], [np.inf], 60, 60, "scores must be finite; got inf at index 0"),
        (np.array([1], "m8[ns]"), [0.5], 60, 60, "times must be a 1-D sequence of numbers"),
        ([[1]], [0.5], 60, 60, r"times must be 1-D.*\(1, 1\)"),
        (["soon"], [0.5], 60, 60, "times must be a 1-D sequence of numbers"),
        ([1], [0.5], 0, 60, "time_budget=0 must be a positive number of seconds"),
        ([1], [0.5], "60", 60, "time_budget='60' must be"),
        ([1], [0.5], 60, -1.0, "t0=-1.0 must be"),
        ([1], [0.5], 60, float("inf"), "t0=inf must be"),
    ],
)
def test_bad_curves_are_named(times, scores, time_budget, t0, message):
    with pytest.raises(ValueError, match=message):
        area_under_learning_curve(times, scores, time_budget, t0)


@pytest.mark.parametrize("as_text", [False, True])
def test_balanced_accuracy_over_time_agrees_with_scikit_learn(as_text):
    rng = np.random.default_rng(0)
    y_true = np.r_[np.arange(4), rng.integers(0, 4, 50)]
    probas = rng.uniform(size=(3, 54, 4))
    names = np.array(["a", "b", "c", "d"]) if as_text else np.arange(4)
    expected = [balanced_accuracy_score(y_true, p.argmax(axis=1)) for p in probas]
    from_probas = balanced_accuracy_over_time(names[y_true], probas, classes=names)
    from_labels = balanced_accuracy_over_time(names[y_true], names[probas.argmax(axis=2)])
    np.testing.assert_allclose(from_probas, expected)
    np.testing.assert_allclose(from_labels, expected)


def test_classes_that_do_not_occur_neither_count_nor_warn():
    scores = balanced_accuracy_over_time([0, 0, 1], [[0, 2, 1], [2, 2, 2]])
    np.testing.assert_allclose(scores, [0.75, 0.0])


def test_no_predictions_give_no_scores():
    assert balanced_accuracy_over_time([0, 1], []).shape == (0,)


def test_a_column_of_labels_is_no_score_of_one_class():
    for values in ([0, 1], ["a", "b"]):
        column = np.array(values)[:, np.newaxis]
        with pytest.warns(DataConversionWarning, match="column-vector"):
            assert balanced_accuracy_over_time(values, [column]) == [1.0]
    assert balanced_accuracy_over_time(["a", "b"], [[[0.3], [0.9]]], classes=["a"]) == [0.5]


@pytest.mark.parametrize(
    ("y_true", "predictions", "classes", "message"),
    [
        ([0, 1], [[0, 1], [0]], None, r"prediction 1 must have shape \(2,\).*got \(1,\)"),
        ([0, 1], [[[0.5, 0.5], [1, 0]]], ["a", "b", "c"], "for 2 classes, but classes names 3"),
        ([], [], None, r"y_true must be a 1-D array.*\(0,\)"),
        ([0, 1], [np.zeros((2, 0))], None, r"prediction 0 must have shape .* got \(2, 0\)"),
        ([0, 1], [[[1, 0], [np.nan, 1]]], None, "prediction 0 has a score that is NaN.* clip 1"),
        ([0, 1], [[["a", "b"], ["b", "a"]]], None, "prediction 0 has scores that are no numbers"),
        (["a", None], [["a", "b"]], None, "y_true has 1 missing value .* position 1"),
        (["a", "b"], [["a", np.nan]], None, "prediction 0 has 1 missing value .* position 1"),
        (["0", "1"], [["1", "0"], [0, 1]], None, "y_true is text, such as '0', but prediction 1"),
        (np.array([0, "b"], object), [[0, 1]], None, "y_true mixes labels of several types"),
    ],
)
def test_bad_predictions_are_named(y_true, predictions, classes, message):
    with pytest.raises(ValueError, match=message):
        balanced_accuracy_over_time(y_true, predictions, classes=classes)


# -- What a score says of new clips ----------------------------------------------------------------


def recall_by_hand(y_true, y_pred, label):
    own = [i for i in range(len(y_true)) if y_true[i] == label]
    return sum(y_pred[i] == label for i in own) / len(own)


def score_by_hand(y_true, y_pred):
    labels = sorted(set(y_true))
    return sum(recall_by_hand(y_true, y_pred, label) for label in labels) / len(labels)


def answers(rng, skill, n_clips):
    """Clips of three classes, of which a share is recognised."""
    y_true = rng.integers(0, 3, n_clips)
    return y_true, np.where(rng.random(n_clips) < skill, y_true, (y_true + 1) % 3)


@pytest.mark.parametrize("seed", range(5))
def test_scores_by_group_are_those_of_a_slow_reference(seed):
    rng = np.random.default_rng(seed)
    y_true, y_pred = answers(rng, 0.6, 60)
    groups = rng.choice(["cid", "ann", "bob"], 60)
    expected = {}
    for group in ["ann", "bob", "cid"]:
        own = [i for i in range(60) if groups[i] == group]
        expected[group] = score_by_hand([y_true[i] for i in own], [y_pred[i] for i in own])
    found = scores_by_group(y_true, y_pred, groups)
    assert list(found) == list(expected)
    assert found == pytest.approx(expected)


def test_limits_for_new_groups_are_those_of_the_t_distribution():
    # Scores 0.2, 0.4, 0.6, 0.8, 1.0: mean 0.6, deviation 0.1 ** 0.5; t(0.95, 4) = 2.132.
    y_true = np.zeros(50, dtype=int)
    y_pred = np.concatenate([[0] * n + [1] * (10 - n) for n in (2, 4, 6, 8, 10)])
    groups = np.repeat(list("abcde"), 10)
    half = 2.13185 * 0.1**0.5
    for n_new, expected in [(1, half * 1.2**0.5), (5, half * 0.4**0.5), (np.inf, half * 0.2**0.5)]:
        low, high, meaning = score_interval(y_true, y_pred, groups, n_new=n_new)
        assert low == pytest.approx(max(0, 0.6 - expected), abs=1e-4)
        assert high == pytest.approx(min(1, 0.6 + expected), abs=1e-4)
        assert meaning.endswith("from 5 of them")


def test_new_groups_are_between_the_limits_as_often_as_they_say():
    rng = np.random.default_rng(0)
    inside = {1: [], np.inf: []}
    for _ in range(300):
        skills = np.clip(rng.normal(0.7, 0.12, 9), 0, 1)
        y_true, y_pred = np.concatenate([answers(rng, skill, 40) for skill in skills], axis=1)
        groups = np.repeat(np.arange(9), 40)
        new = groups == 8
        score = scores_by_group(y_true[new], y_pred[new], groups[new])[8]
        for n_new, truth in [(1, score), (np.inf, 0.7)]:
            low, high, _ = score_interval(y_true[~new], y_pred[~new], groups[~new], n_new=n_new)
            inside[n_new].append(low <= truth <= high)
    for hits in inside.values():
        assert 0.86 <= np.mean(hits) <= 0.94


def test_limits_without_groups_hold_for_independent_clips():
    rng = np.random.default_rng(0)
    recalls, y_true = np.array([0.95, 0.8, 0.6]), np.repeat([0, 1, 2], 25)
    hits = 0
    for _ in range(400):
        y_pred = np.where(rng.random(75) < recalls[y_true], y_true, (y_true + 1) % 3)
        low, high, meaning = score_interval(y_true, y_pred)
        hits += low <= recalls.mean() <= high
    assert 0.86 <= hits / 400 <= 0.94
    assert "independent" in meaning


def test_groups_that_are_equal_by_chance_leave_a_doubt():
    y_true, groups = np.tile(["a", "b"], 50), np.repeat(np.arange(5), 20)
    low, high, _ = score_interval(y_true, y_true, groups)
    assert 0.9 < low < 0.99
    assert high == 1


def test_few_groups_give_no_limits_and_say_so():
    y_true, groups = np.tile(["a", "b"], 50), np.arange(100) % 4
    interval = score_interval(y_true, y_true, groups)
    assert not interval
    assert interval.meaning == "no honest interval: only 4 groups"
    assert score_interval(y_true, y_true)


def test_wilson_s_limits():
    # Newcombe 1998 gives such limits to four places; these are by the closed formula.
    z, n, p = 1.959964, 10, 0.8
    middle, half = p + z**2 / (2 * n), z * np.sqrt(p * (1 - p) / n + z**2 / (4 * n**2))
    expected = (middle - half) / (1 + z**2 / n), (middle + half) / (1 + z**2 / n)
    np.testing.assert_allclose(wilson_limits(8, 10, 0.95), expected, rtol=1e-5)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"n_new": 0}, "n_new=0 must be"),
        ({"n_new": 1.5}, "n_new=1.5 must be"),
        ({"confidence": 90}, "confidence=90 must be"),
        ({"confidence": "0.9"}, "confidence='0.9' must be"),
        ({"groups": [1]}, "inconsistent numbers of samples"),
    ],
)
def test_what_can_t_be_an_interval_is_named(options, message):
    with pytest.raises(ValueError, match=message):
        score_interval(["a", "b"], ["a", "b"], **options)


@pytest.mark.parametrize("n_bins", [0, 2.5])
def test_bins_are_whole(n_bins):
    with pytest.raises(ValueError, match=f"n_bins={n_bins} must be a whole number of bins"):
        expected_calibration_error([0, 1], [[0.5, 0.5], [0.5, 0.5]], n_bins=n_bins)


@pytest.mark.parametrize("name", ["y_true", "y_pred", "groups"])
def test_what_is_missing_is_named(name):
    columns = {key: ["a", "b"] for key in ("y_true", "y_pred", "groups")} | {name: ["a", None]}
    for score in (score_interval, scores_by_group):
        with pytest.raises(ValueError, match=f"{name} has 1 missing value .* at position 1"):
            score(**columns)


def test_no_clips_have_no_score():
    with pytest.raises(ValueError, match="no clips"):
        score_interval([], [])


@pytest.mark.parametrize(
    ("y_true", "y_pred", "message"),
    [
        (["0", "1"], [0, 1], "y_true is text, such as '0', but y_pred is no text, such as 0"),
        ([0, 1], ["0", "1"], "y_true is no text, such as 0, but y_pred is text, such as '0'"),
        (np.array([0, "a"], object), [0, 1], "y_true mixes labels of several types"),
    ],
)
def test_labels_that_can_t_be_equal_are_refused(y_true, y_pred, message):
    with pytest.raises(ValueError, match=message):
        scores_by_group(y_true, y_pred, ["ann", "bob"])
    with pytest.raises(ValueError, match=message):
        score_interval(y_true, y_pred)


@pytest.mark.parametrize(
    ("y_true", "options", "message"),
    [
        ([], {}, "no clips"),
        ([], {"labels": ["a", "b"]}, "no clips"),
        (["a", None], {}, "y_true has 1 missing value"),
        (["a", "b"], {"labels": ["a", np.nan]}, "labels has 1 missing value"),
        (np.array(["a", 1], object), {}, "y_true mixes labels"),
        (["0", "1"], {"labels": [0, 1]}, "labels that are not in labels: .'0', '1'."),
        (["0", "1"], {"labels": np.arange(99)}, "not in labels: .'0', '1'."),
    ],
)
def test_a_calibration_error_needs_labels(y_true, options, message):
    proba = np.full((len(y_true), len(options.get("labels", y_true))), 0.5)
    with pytest.raises(ValueError, match=message):
        expected_calibration_error(y_true, proba, **options)


def test_groups_keep_their_names():
    for groups in (np.array([1, 2], "m8[ns]"), np.array(["ann", 3], object)):
        assert scores_by_group([0, 1], [0, 0], groups) == {groups[0]: 1.0, groups[1]: 0.0}
