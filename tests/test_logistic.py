"""Rotated logistic regression is logistic regression, sooner."""

import numpy as np
import pytest
from sklearn.datasets import load_iris, make_classification
from sklearn.linear_model import LogisticRegression

from skspeech.estimators import WideLogisticRegression


def _data(n_samples, n_features, n_classes=3, seed=0):
    return make_classification(
        n_samples, n_features, n_informative=20, n_classes=n_classes, random_state=seed
    )


@pytest.mark.parametrize("n_classes", [2, 3])
@pytest.mark.parametrize("shape", [(60, 300), (200, 30)])
@pytest.mark.parametrize("class_weight", ["balanced", None])
def test_solution_is_that_of_scikit_learn(shape, n_classes, class_weight):
    X, y = _data(*shape, n_classes)
    settings = {"class_weight": class_weight, "max_iter": 2000}
    ours = WideLogisticRegression(0.05, tol=1e-8, **settings).fit(X, y)
    theirs = LogisticRegression(C=0.05, tol=1e-8, **settings).fit(X, y)
    np.testing.assert_allclose(ours.coef_, theirs.coef_, atol=1e-4)
    np.testing.assert_allclose(ours.intercept_, theirs.intercept_, atol=1e-3)
    np.testing.assert_allclose(ours.predict_proba(X), theirs.predict_proba(X), atol=1e-4)
    assert (ours.predict(X) == theirs.predict(X)).all()
    assert ours.losses_ == {}


def test_single_precision_agrees():
    X, y = _data(60, 300)
    single = WideLogisticRegression(0.01).fit(X.astype(np.float32), y)
    double = WideLogisticRegression(0.01).fit(X, y)
    np.testing.assert_allclose(single.predict_proba(X), double.predict_proba(X), atol=0.01)


def test_noise_asks_for_more_regularisation_than_a_clear_signal():
    rng = np.random.default_rng(0)
    y = np.repeat([0, 1], 40)
    noise = rng.normal(size=(80, 200))
    clear = noise + 3 * y[:, np.newaxis] * rng.normal(size=200)
    chosen = [WideLogisticRegression().fit(X, y) for X in (noise, clear)]
    assert chosen[0].C_ < chosen[1].C_
    assert all(len(model.losses_) == 4 for model in chosen)
    assert chosen[0].losses_[chosen[0].C_] == min(chosen[0].losses_.values())


@pytest.mark.parametrize("counts", [(1, 1), (1, 5), (2, 1, 30)])
def test_tiny_classes_survive(counts):
    rng = np.random.default_rng(0)
    y = np.repeat(np.arange(len(counts)), counts)
    X = rng.normal(size=(len(y), 50)) + 5 * rng.normal(size=(len(counts), 50))[y]
    probabilities = WideLogisticRegression().fit(X, y).predict_proba(X)
    assert probabilities.shape == (len(y), len(counts))
    np.testing.assert_allclose(probabilities.sum(axis=1), 1)


def test_constant_rows():
    X, y = np.ones((6, 20)), [0, 0, 0, 1, 1, 1]
    np.testing.assert_allclose(WideLogisticRegression().fit(X, y).predict_proba(X), 0.5, atol=1e-3)


@pytest.mark.parametrize("Cs", [(), (0.0, 1.0), (-1.0,), [[0.1, 0.2]], {0.1, 1.0}, ["weak"]])
def test_values_of_C_are_checked(Cs):
    with pytest.raises(ValueError, match=r"Cs=.* is not accepted"):
        WideLogisticRegression(Cs).fit(*load_iris(return_X_y=True))


@pytest.mark.parametrize("class_weight", ["balanced", {0: 1.0, 1: 3.0, 2: 1.0}, None])
@pytest.mark.parametrize("shape", [(60, 300), (200, 30)])
def test_a_weight_of_two_is_the_row_given_twice(shape, class_weight):
    X, y = _data(*shape)
    weight = np.random.default_rng(0).integers(0, 4, len(y))
    settings = {"class_weight": class_weight, "tol": 1e-9, "max_iter": 5000}
    weighted = WideLogisticRegression(0.1, **settings).fit(X, y, sample_weight=weight)
    repeated = WideLogisticRegression(0.1, **settings)
    repeated.fit(X.repeat(weight, axis=0), y.repeat(weight))
    np.testing.assert_allclose(weighted.predict_proba(X), repeated.predict_proba(X), atol=1e-6)


def test_weights_are_in_the_losses():
    X, y = _data(120, 60)
    groups = np.arange(120) // 2  # whole groups, so that the folds are the same
    settings = {"tol": 1e-8, "max_iter": 5000}
    weighted = WideLogisticRegression(**settings)
    weighted.fit(X, y, groups=groups, sample_weight=np.full(120, 2.0))
    repeated = WideLogisticRegression(**settings)
    repeated.fit(X.repeat(2, axis=0), y.repeat(2), groups=groups.repeat(2))
    for C, loss in repeated.losses_.items():
        assert weighted.losses_[C] == pytest.approx(loss, rel=1e-4)
    uneven = WideLogisticRegression(**settings)
    uneven.fit(X, y, groups=groups, sample_weight=1.0 + np.arange(120) % 2)
    assert uneven.losses_ != weighted.losses_


def test_repeated_rows_do_not_flatter_if_they_are_groups():
    rng = np.random.default_rng(0)
    X, y = np.tile(rng.normal(size=(60, 200)), (3, 1)), np.tile([0, 1], 90)
    leaky = WideLogisticRegression().fit(X, y)
    honest = WideLogisticRegression().fit(X, y, groups=np.tile(np.arange(60), 3))
    assert leaky.C_ == 1.0
    assert honest.C_ == 1e-3
