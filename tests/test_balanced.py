"""Scores, losses and draws in which every class counts the same."""

import numpy as np
import pytest
from sklearn.metrics import balanced_accuracy_score, log_loss

from skspeech.ensemble.scoring import balanced_accuracy
from skspeech.estimators.training.balanced import balanced_draw, balanced_log_loss


def test_scores_are_scikit_learns():
    rng = np.random.default_rng(0)
    proba = rng.dirichlet(np.ones(4), 60)
    codes = rng.choice(4, 60, p=[0.6, 0.2, 0.1, 0.1])

    expected = balanced_accuracy_score(codes, proba.argmax(axis=1))
    assert balanced_accuracy(proba, codes) == pytest.approx(expected)
    weights = 1 / np.bincount(codes)[codes]
    expected = log_loss(codes, proba, sample_weight=weights)
    assert balanced_log_loss(codes, np.log(proba)) == pytest.approx(expected)


@pytest.mark.parametrize("n", [3, 9, 20, 50])
def test_draws_are_balanced(n):
    codes = np.repeat([0, 1, 2], [1, 6, 30])

    drawn = balanced_draw(codes, n, np.random.RandomState(0))

    assert len(drawn) == n
    counts = np.bincount(codes[drawn], minlength=3)
    assert counts.max() - counts.min() <= 1
    for code in range(3):
        repeats = np.bincount(drawn, minlength=37)[codes == code]
        assert repeats.max() - repeats.min() <= 1


def test_draws_differ():
    codes = np.repeat([0, 1], 50)
    rng = np.random.RandomState(0)
    assert set(balanced_draw(codes, 20, rng)) != set(balanced_draw(codes, 20, rng))
