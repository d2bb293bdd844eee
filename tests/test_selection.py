"""Selection of members on held-out probabilities."""

import numpy as np
import pytest
from scipy.optimize import minimize
from sklearn.metrics import balanced_accuracy_score, log_loss

from skspeech.ensemble import geometric_mean
from skspeech.ensemble.selection import RULES
from skspeech.selection import (
    ProbabilityScore,
    blend_log_probas,
    cross_fitted_score,
    greedy_selection,
    is_better,
    least_loss_selection,
    log_probas,
    select_members,
    threshold_selection,
)


def make_candidates(n_candidates, n_samples=300, n_classes=4, noise=1.5, seed=0):
    """Candidates whose errors are independent, so that averaging them helps."""
    rng = np.random.default_rng(seed)
    y = rng.integers(0, n_classes, n_samples)
    logits = 2.0 * np.eye(n_classes)[y] + noise * rng.normal(
        size=(n_candidates, n_samples, n_classes)
    )
    proba = np.exp(logits)
    return proba / proba.sum(axis=2, keepdims=True), y


BALANCED = ProbabilityScore("balanced_accuracy", np.arange(4))


def test_fast_scores_agree_with_scikit_learn():
    (proba,), y = make_candidates(1)
    assert BALANCED(proba, y) == pytest.approx(balanced_accuracy_score(y, proba.argmax(axis=1)))
    by_loss = ProbabilityScore("neg_log_loss", np.arange(4))
    assert by_loss(proba, y) == pytest.approx(-log_loss(y, proba))
    sure = np.eye(4)[proba.argmax(axis=1)]  # and often wrong
    assert by_loss(sure, y) == pytest.approx(-log_loss(y, sure))
    accuracy = ProbabilityScore("accuracy", np.arange(4))
    assert accuracy(proba, y) == pytest.approx(np.mean(y == proba.argmax(axis=1)))


@pytest.mark.parametrize("scoring", ["f1_macro", "roc_auc_ovr", "matthews_corrcoef"])
def test_any_scorer_works_with_string_labels(scoring):
    (proba,), y = make_candidates(1)
    score = ProbabilityScore(scoring, ["a", "b", "c", "d"])
    perfect = np.eye(4)[y] * 0.9 + 0.025
    assert score(proba, y) < score(perfect, y) == pytest.approx(1)


def test_blend_is_the_geometric_mean_of_all_that_predicted():
    proba, _ = make_candidates(3)
    blend, covered = blend_log_probas(log_probas(proba), [1, 2, 0])
    assert covered.all()
    np.testing.assert_allclose(blend, geometric_mean(proba[:2], [1, 2]))

    logs = log_probas(proba)
    logs[0, :100] = np.nan
    logs[1, :50] = np.nan
    blend, covered = blend_log_probas(logs, [1, 2, 0])
    np.testing.assert_array_equal(covered, np.arange(300) >= 50)
    np.testing.assert_allclose(blend[:50], 0.25)
    np.testing.assert_allclose(blend[50:100], geometric_mean(proba[1:2, 50:100]))
    np.testing.assert_allclose(blend[100:], geometric_mean(proba[:2, 100:], [1, 2]))


def test_greedy_is_better_than_the_best_single_one_on_unseen_rows():
    proba, y = make_candidates(12, n_samples=800)
    logs = log_probas(proba)
    weights = greedy_selection(logs[:, :400], y[:400], score=BALANCED)
    assert weights.sum() == pytest.approx(1)
    blend, _ = blend_log_probas(logs[:, 400:], weights)
    singles = [BALANCED(member[400:], y[400:]) for member in proba]
    assert BALANCED(blend, y[400:]) > max(singles) + 0.05


def test_greedy_leaves_out_what_knows_nothing():
    proba, y = make_candidates(3, noise=0.5)
    proba[1] = np.random.default_rng(1).dirichlet(np.ones(4), len(y))
    weights = greedy_selection(log_probas(proba), y, score=BALANCED)
    assert weights[1] == 0


def test_greedy_breaks_ties_by_log_loss():
    y = np.array([0, 1, 0, 1])
    unsure = np.where(np.eye(2)[y] == 1, 0.6, 0.4)
    sure = np.where(np.eye(2)[y] == 1, 0.9, 0.1)
    score = ProbabilityScore("balanced_accuracy", [0, 1])
    weights = greedy_selection(log_probas([unsure, sure]), y, score=score)
    np.testing.assert_array_equal(weights, [0, 1])


def test_greedy_starts_from_one_that_predicted_enough():
    proba, y = make_candidates(3, noise=1.0)
    logs = log_probas(proba)
    logs[0] = log_probas(np.eye(4)[y])  # perfect, but on five rows only
    logs[0, 5:] = np.nan
    weights = greedy_selection(logs, y, score=BALANCED)
    assert weights[1:].sum() > 0


def test_greedy_without_predictions_selects_nothing():
    logs = np.full((2, 5, 3), np.nan)
    assert not greedy_selection(logs, np.zeros(5, int), score=BALANCED).any()


def test_greedy_keeps_to_the_cost_and_counts_shared_work_once():
    proba, y = make_candidates(4)
    logs = log_probas(proba)
    limits = {"costs": [0.1] * 4, "shared": {0: ("a", 1.0), 1: ("a", 1.0), 2: ("b", 1.0)}}
    weights = greedy_selection(logs, y, score=BALANCED, max_cost=1.25, **limits)
    used = set(np.flatnonzero(weights))
    assert used <= {0, 1} or used <= {0, 3} or used <= {2, 3}
    assert not greedy_selection(logs, y, score=BALANCED, max_cost=0.05, **limits).any()


def test_threshold_takes_the_close_ones_equal_scores_once_and_26_at_most():
    weights = threshold_selection([0.5, 0.9, 0.9, 0.83, 0.82, np.nan])
    np.testing.assert_allclose(weights, [0, 0.5, 0, 0.5, 0, 0])
    many = threshold_selection(np.linspace(0.95, 1.0, 40))
    assert (many > 0).sum() == 26
    assert (many[-26:] > 0).all()


def test_threshold_understands_negative_scores():
    weights = threshold_selection([-1.0, -1.05, -2.0])
    np.testing.assert_allclose(weights, [0.5, 0.5, 0])
    assert not threshold_selection([np.nan]).any()


def _noisy(rng, y, skill):
    """Log-probabilities of a member that is right in a share `skill` of the rows."""
    said = np.where(rng.random(len(y)) < skill, y, (y + 1) % 3)
    proba = np.full((len(y), 3), 0.1)
    proba[np.arange(len(y)), said] = 0.8
    return proba


def test_bags_spread_weight_over_equals_and_leave_it_with_the_best():
    rng = np.random.default_rng(0)
    y = rng.integers(3, size=300)
    score = ProbabilityScore("balanced_accuracy", [0, 1, 2])
    equals = log_probas([_noisy(rng, y, 0.7) for _ in range(6)])
    single = greedy_selection(equals, y, score=score)
    bagged = greedy_selection(equals, y, score=score, n_bags=10)
    assert bagged.sum() == pytest.approx(1)
    assert (bagged > 0).sum() >= (single > 0).sum()
    again = greedy_selection(equals, y, score=score, n_bags=10)
    np.testing.assert_array_equal(bagged, again)

    best = log_probas([_noisy(rng, y, 0.99), *np.exp(equals)])
    assert greedy_selection(best, y, score=score, n_bags=10)[0] > 0.5


# What a run asks for


def test_a_score_that_needs_every_class_is_nan_without_one_and_log_loss_decides():
    (proba, other), y = make_candidates(2)
    score = ProbabilityScore("roc_auc_ovr", np.arange(4))
    rows = np.flatnonzero(y != 3)
    assert np.isnan(score(proba[rows], y[rows]))
    logs = log_probas([np.eye(4)[y] * 0.9 + 0.025, other])[:, rows]
    for rule in RULES:
        weights = select_members(logs, y[rows], score=score, rule=rule)
        assert weights[0] == weights.max() > 0
    assert is_better(proba[rows], np.full_like(proba[rows], 0.25), y[rows], score=score)


@pytest.mark.parametrize("rule", RULES)
def test_every_rule_keeps_to_the_cost(rule):
    proba, y = make_candidates(6)
    logs = log_probas(proba)
    limits = {"costs": [0.1] * 6, "shared": {0: ("a", 1.0), 1: ("a", 1.0), 2: ("b", 1.0)}}
    weights = select_members(logs, y, score=BALANCED, rule=rule, max_cost=1.25, **limits)
    used = np.flatnonzero(weights)
    assert weights.sum() == pytest.approx(1)
    shared = {limits["shared"].get(i, ("none", 0.0)) for i in used}
    assert 0.1 * len(used) + sum(seconds for _, seconds in shared) <= 1.25
    nothing = select_members(logs, y, score=BALANCED, rule=rule, max_cost=0.05, **limits)
    assert not nothing.any()


@pytest.mark.parametrize("rule", RULES)
def test_every_rule_is_deterministic_and_leaves_out_who_has_not_predicted(rule):
    proba, y = make_candidates(5)
    logs = log_probas(proba)
    logs[2] = np.nan
    weights = select_members(logs, y, score=BALANCED, rule=rule)
    assert weights[2] == 0
    assert weights.sum() == pytest.approx(1)
    np.testing.assert_array_equal(weights, select_members(logs, y, score=BALANCED, rule=rule))


def test_a_cross_fitted_score_does_not_reward_luck():
    rng = np.random.default_rng(0)
    y = rng.integers(2, size=200)
    logs = log_probas(rng.dirichlet(np.ones(2), size=(50, 200)))  # they all guess
    score = ProbabilityScore("accuracy", [0, 1])

    def select(rows):
        return select_members(logs[:, rows], y[rows], score=score, rule="greedy")

    blend, _ = blend_log_probas(logs, select(np.arange(200)))
    parts = np.arange(200) % 4
    honest = cross_fitted_score(logs, y, score=score, parts=parts, select=select)
    assert score(blend, y) > 0.6
    assert honest == pytest.approx(0.5, abs=0.08)


def test_a_cross_fitted_score_keeps_units_apart():
    proba, y = make_candidates(3, n_samples=60)
    chosen_by = []

    def select(rows):
        chosen_by.append(rows)
        return np.ones(3)

    # Two repeats of the validation: row i and row i + 30 are the same clip in different folds.
    parts = np.concatenate([np.arange(30) % 3, np.arange(30) // 10])
    units = np.tile(np.arange(30), 2)
    value = cross_fitted_score(
        log_probas(proba), y, score=BALANCED, parts=parts, select=select, units=units
    )
    assert len(chosen_by) == 3
    for part, rows in enumerate(chosen_by):
        assert not np.isin(units[rows], units[parts == part]).any()
    assert value == pytest.approx(BALANCED(geometric_mean(proba), y))


def test_a_cross_fitted_score_is_nan_where_nothing_else_can_choose():
    proba, y = make_candidates(2, n_samples=10)

    def select(rows):
        return np.ones(2)

    same = np.zeros(10)
    value = cross_fitted_score(log_probas(proba), y, score=BALANCED, parts=same, select=select)
    assert np.isnan(value)


# The default rule


def _slow_least_loss(logs, y, pull, target):
    """The same by a solver for constrained problems, written as in the textbook."""
    n = len(logs)

    def value(weights):
        blend = np.tensordot(weights, logs, 1)
        blend = np.exp(blend) / np.exp(blend).sum(axis=1, keepdims=True)
        distance = np.sum(weights * np.log(np.maximum(weights, 1e-300) / target))
        return log_loss(y, blend, labels=np.arange(4)) + pull * distance

    total = {"type": "eq", "fun": lambda weights: weights.sum() - 1}
    found = minimize(value, np.full(n, 1 / n), bounds=[(0, 1)] * n, constraints=[total], tol=1e-10)
    return found.x


@pytest.mark.parametrize("n_errors", [0.1, 1.0])
def test_least_loss_is_what_a_textbook_solver_finds(n_errors):
    proba, y = make_candidates(4, noise=np.array([1.0, 1.5, 1.5, 2.0])[:, None, None])
    logs = log_probas(proba)
    own = np.log(proba[:, np.arange(len(y)), y])
    best = own.mean(axis=1).argmax()
    gaps = np.delete(own[best] - own, best, axis=0)
    errors = gaps.std(axis=1, ddof=1) / np.sqrt(len(y))
    clearly = np.maximum(gaps.mean(axis=1) - 2 * errors, 0)
    assert clearly.max() > 0.1  # one candidate is worse beyond chance
    target = np.insert(np.exp(-clearly / 0.05), best, 1)
    target /= target.sum()
    expected = _slow_least_loss(logs, y, n_errors * errors.mean() / np.log(4), target)
    expected[expected < 0.25 / 4] = 0
    expected /= expected.sum()
    weights = least_loss_selection(logs, y, n_errors=n_errors)
    np.testing.assert_allclose(weights, expected, atol=0.005)


def test_one_row_of_three_hundred_is_no_reason_to_trust_one_candidate():
    y = np.arange(300) % 3
    right = np.eye(3)[y] * 0.97 + 0.01
    rng = np.random.default_rng(0)
    logs = log_probas([right] * 4) + rng.normal(scale=0.01, size=(4, 300, 3))
    one_wrong = logs.copy()
    one_wrong[1:, 7] = np.log([0.2, 0.4, 0.4])  # the first candidate alone gets one row more
    score = ProbabilityScore("accuracy", np.arange(3))
    assert greedy_selection(one_wrong, y, score=score)[0] > 0.9
    assert least_loss_selection(one_wrong, y).max() < 0.5
    assert least_loss_selection(logs, y) == pytest.approx(0.25, abs=0.03)


def test_what_is_clearly_worse_gets_less_where_the_blend_is_right_all_the_same():
    y = np.arange(300) % 3
    sure = np.where(np.eye(3)[y] == 1, 0.98, 0.01)
    unsure = np.where(np.eye(3)[y] == 1, 0.6, 0.2)
    unsure[::10] = np.roll(unsure[::10], 1, axis=1)  # and wrong in a tenth of all rows
    rng = np.random.default_rng(0)
    logs = log_probas([sure, sure, unsure]) + rng.normal(scale=0.01, size=(3, 300, 3))
    weights = least_loss_selection(logs, y)
    assert weights[2] == 0
    assert weights[0] == pytest.approx(weights[1], abs=0.1)
    once_wrong = logs[[0, 1, 0]]
    once_wrong[2, 7] = once_wrong[2, 7, ::-1]  # which may be chance
    assert least_loss_selection(once_wrong, y) == pytest.approx(1 / 3, abs=0.1)


def test_many_rows_leave_what_knows_nothing_without_weight():
    proba, y = make_candidates(3, noise=0.8)
    proba[1] = np.random.default_rng(1).dirichlet(np.ones(4), len(y))
    weights = least_loss_selection(log_probas(proba), y)
    assert weights[1] == 0
    assert weights[[0, 2]].min() > 0.3


def test_few_units_draw_weights_closer_to_equal_ones():
    proba, y = make_candidates(3, noise=np.array([1.0, 1.5, 1.6])[:, None, None])
    rng = np.random.default_rng(0)
    speaker = np.arange(300) % 6
    # With some speakers, the first candidate does worse than the others.
    bad = np.isin(speaker, [0, 1])
    proba[0, bad] = proba[0, bad][:, rng.permutation(4)]
    logs = log_probas(proba)
    by_clips = least_loss_selection(logs, y)
    by_speakers = least_loss_selection(logs, y, units=speaker)
    assert np.ptp(by_speakers) < np.ptp(by_clips)
    one = least_loss_selection(logs, y, units=np.zeros(300, int))
    assert one == pytest.approx(1 / 3, abs=0.01)


def test_luck_on_few_rows_earns_little_weight():
    proba, y = make_candidates(5)
    logs = log_probas(proba)
    logs[0] = log_probas(np.eye(4)[y])  # perfect, but on five rows only
    logs[0, 5:] = np.nan
    assert least_loss_selection(logs, y)[0] < 0.2


def test_candidates_of_different_folds_are_judged_on_common_rows():
    proba, y = make_candidates(3, noise=1.0)
    logs = log_probas(proba)
    # The rows of the first third are harder for all, and only the first candidate has them.
    logs[:, :100] *= 0.2
    logs[1:, :100] = np.nan
    weights = least_loss_selection(logs, y)
    assert weights.min() > 0.2
    assert least_loss_selection(np.full((2, 5, 3), np.nan), np.zeros(5, int)).sum() == 0


def test_many_candidates_of_one_family_do_not_outvote_another():
    proba, y = make_candidates(3)
    logs = log_probas(proba)[[0, 0, 0, 0, 1, 1, 2]]
    one = np.zeros(len(y), dtype=int)  # with rows of one unit nothing is sure
    np.testing.assert_allclose(least_loss_selection(logs, y, units=one), 1 / 7, atol=1e-2)
    expected = np.repeat([1 / 12, 1 / 6, 1 / 3], [4, 2, 1])
    found = least_loss_selection(logs, y, units=one, families=[*"aaaabb", None])
    np.testing.assert_allclose(found, expected, atol=1e-2)
    shared = {i: ("a" if i < 4 else "b", 0.0) for i in range(6)}
    weights = select_members(logs, y, score=BALANCED, units=one, shared=shared)
    np.testing.assert_allclose(weights, expected, atol=1e-2)
    shared = {i: (6 if i < 4 else 1, 0.0) for i in range(6)}  # keys are no positions
    weights = select_members(logs, y, score=BALANCED, units=one, shared=shared)
    np.testing.assert_allclose(weights, expected, atol=1e-2)
    logs[6] = np.nan  # of those that have predicted
    found = least_loss_selection(logs, y, units=one, families=[*"aaaabb", None])
    np.testing.assert_allclose(found, np.repeat([1 / 8, 1 / 4, 0], [4, 2, 1]), atol=1e-2)


def test_a_rule_of_ones_own():
    proba, y = make_candidates(3)
    logs = log_probas(proba)
    logs[0] = np.nan

    def last(logs, y, *, score, units, fits):
        return np.eye(len(logs))[-1]

    weights = select_members(logs, y, score=BALANCED, rule=last)
    np.testing.assert_array_equal(weights, [0, 0, 1])


# Taking the place of the standing ensemble


def test_a_gain_by_chance_replaces_nothing():
    y = np.arange(200) % 2
    score = ProbabilityScore("accuracy", [0, 1])
    old = np.where(np.eye(2)[y] == 1, 0.8, 0.2)
    lucky = old.copy()
    lucky[:3] = old[:3] ** 0.5  # one clip of 200 and its like
    lucky[5:8] = np.where(np.eye(2)[y[5:8]] == 1, 0.95, 0.05)
    assert score(lucky, y) >= score(old, y)
    assert not is_better(lucky, old, y, score=score, units=np.arange(200) // 100)
    better = np.where(np.eye(2)[y] == 1, 0.85, 0.15)
    assert is_better(better, old, y, score=score)
    assert not is_better(old, old, y, score=score)


def test_a_lower_loss_does_not_make_up_for_a_worse_score():
    y = np.arange(200) % 2
    score = ProbabilityScore("accuracy", [0, 1])
    old = np.where(np.eye(2)[y] == 1, 0.55, 0.45)
    new = np.where(np.eye(2)[y] == 1, 0.95, 0.05)
    new[:30] = np.where(np.eye(2)[y[:30]] == 1, 0.49, 0.51)
    assert not is_better(new, old, y, score=score)


def test_more_held_out_rows_replace_what_is_no_better():
    proba, y = make_candidates(1)
    old, new = proba[0].copy(), proba[0].copy()
    old[100:] = np.nan
    assert is_better(new, old, y, score=BALANCED)
    assert not is_better(old, new, y, score=BALANCED)
    worse = np.full_like(new, 0.25)
    assert not is_better(worse, old, y, score=BALANCED)


def test_units_make_a_gain_less_sure():
    rng = np.random.default_rng(0)
    y, speaker = np.arange(300) % 2, np.arange(300) // 75
    score = ProbabilityScore("accuracy", [0, 1])
    old = np.where(np.eye(2)[y] == 1, 0.7, 0.3)
    # Better for two speakers, worse for the two others, and a little better in all.
    skill = np.array([0.78, 0.77, 0.66, 0.65])[speaker] + rng.normal(scale=0.01, size=300)
    new = np.where(np.eye(2)[y] == 1, skill[:, None], 1 - skill[:, None])
    assert is_better(new, old, y, score=score)
    assert not is_better(new, old, y, score=score, units=speaker)
