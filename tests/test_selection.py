"""Selection of members on held-out probabilities."""

import numpy as np
import pytest
from sklearn.metrics import balanced_accuracy_score, log_loss

from skspeech.ensemble import geometric_mean
from skspeech.ensemble.selection import RULES
from skspeech.selection import (
    ProbabilityScore,
    blend_log_probas,
    cross_fitted_score,
    greedy_selection,
    is_better,
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
