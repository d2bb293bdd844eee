"""Discriminant analysis from inner products is discriminant analysis, and knows how sure it is."""

import tracemalloc

import numpy as np
import pytest
from sklearn.covariance import ledoit_wolf_shrinkage
from sklearn.datasets import load_digits, load_iris, make_classification
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.metrics import log_loss
from sklearn.model_selection import train_test_split
from sklearn.utils.estimator_checks import check_sample_weight_equivalence_on_dense_data

from skspeech._folds import stratified_folds
from skspeech.ensemble.calibration import least_loss_temperature
from skspeech.estimators import ShrinkageDiscriminantAnalysis, WideLogisticRegression
from skspeech.estimators.discriminant import _ManyRows  # counts what is held out


def _wide(n_samples=80, n_features=300, n_classes=4, seed=0):
    return make_classification(
        n_samples,
        n_features,
        n_informative=30,
        n_classes=n_classes,
        class_sep=3.0,
        random_state=seed,
    )


@pytest.mark.parametrize("shrinkage", [0.05, 0.5, 1.0])
@pytest.mark.parametrize("shape", [(80, 300), (300, 40)])
def test_scores_are_those_of_the_textbook(shape, shrinkage):
    X, y = _wide(*shape)
    X = (X - X.mean(axis=0)) / X.std(axis=0)
    model = ShrinkageDiscriminantAnalysis(shrinkage, calibrate=False).fit(X, y)
    means = np.array([X[y == k].mean(axis=0) for k in range(4)])
    covariance = np.cov((X - means[y]).T, bias=True)
    ridge = np.trace(covariance) / len(covariance)
    shrunk = (1 - shrinkage) * covariance + shrinkage * ridge * np.eye(len(covariance))
    weights = np.linalg.solve(shrunk, means.T).T
    expected = X @ weights.T - 0.5 * (weights * means).sum(axis=1)
    np.testing.assert_allclose(model.decision_function(X), expected, rtol=1e-6, atol=1e-8)


@pytest.mark.parametrize("shape", [(80, 300), (300, 40)])
def test_automatic_shrinkage_is_ledoit_and_wolfs(shape):
    X, y = _wide(*shape)
    X = (X - X.mean(axis=0)) / X.std(axis=0)
    centred = X - np.array([X[y == k].mean(axis=0) for k in range(4)])[y]
    model = ShrinkageDiscriminantAnalysis().fit(X, y)
    expected = ledoit_wolf_shrinkage(centred, assume_centered=True)
    assert model.shrinkage_ == pytest.approx(expected, rel=1e-6)


def test_many_rows_agree_with_scikit_learn():
    X, y = load_digits(return_X_y=True)
    X_train, X_test, y_train, y_test = train_test_split(X, y, random_state=0)
    ours = ShrinkageDiscriminantAnalysis().fit(X_train, y_train).score(X_test, y_test)
    reference = LinearDiscriminantAnalysis(solver="lsqr", shrinkage="auto").fit(X_train, y_train)
    assert ours >= reference.score(X_test, y_test) - 0.01


def test_calibration_lowers_the_log_loss_of_new_rows():
    X, y = _wide(200, 400)
    X += np.random.default_rng(0).normal(scale=4.0, size=X.shape)
    X /= X.std(axis=0)
    X_train, X_test, y_train, y_test = train_test_split(X, y, random_state=0)
    losses = [
        log_loss(
            y_test,
            ShrinkageDiscriminantAnalysis(calibrate=folds)
            .fit(X_train, y_train)
            .predict_proba(X_test),
        )
        for folds in (5, False)
    ]
    assert losses[0] < 0.9 * losses[1]


def test_priors():
    X, y = load_iris(return_X_y=True)
    keep = np.concatenate([np.flatnonzero(y == 1), np.flatnonzero(y == 2)[:10]])
    balanced = ShrinkageDiscriminantAnalysis(priors="balanced").fit(X[keep], y[keep])
    empirical = ShrinkageDiscriminantAnalysis(priors="empirical").fit(X[keep], y[keep])
    difference = empirical.decision_function(X) - balanced.decision_function(X)
    np.testing.assert_allclose(difference, np.log(10 / 50), rtol=1e-6)


@pytest.mark.parametrize("counts", [(1, 1), (1, 5), (2, 1, 30), (1, 1, 1, 1, 40), (3, 3)])
def test_tiny_classes_survive(counts):
    rng = np.random.default_rng(0)
    y = np.repeat(np.arange(len(counts)), counts)
    X = rng.normal(size=(len(y), 50)) + 5 * rng.normal(size=(len(counts), 50))[y]
    probabilities = ShrinkageDiscriminantAnalysis().fit(X, y).predict_proba(X)
    assert probabilities.shape == (len(y), len(counts))
    np.testing.assert_allclose(probabilities.sum(axis=1), 1)
    assert (probabilities.argmax(axis=1) == y).mean() > 0.9


def test_constant_features_and_equal_rows():
    X, y = _wide()
    X[:, :50] = 7.0
    assert np.isfinite(ShrinkageDiscriminantAnalysis().fit(X, y).predict_proba(X)).all()
    same = np.tile(np.arange(5.0), (6, 1))
    proba = ShrinkageDiscriminantAnalysis().fit(same, [0, 0, 0, 1, 1, 1]).predict_proba(same)
    np.testing.assert_allclose(proba, 0.5)


def test_single_precision_stays_and_agrees():
    X, y = _wide()
    single = ShrinkageDiscriminantAnalysis().fit(X.astype(np.float32), y)
    double = ShrinkageDiscriminantAnalysis().fit(X, y)
    assert single.coef_.dtype == np.float32
    np.testing.assert_allclose(single.predict_proba(X), double.predict_proba(X), atol=0.01)


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"shrinkage": 1.5}, "'shrinkage' parameter"),
        ({"priors": "flat"}, "'priors' parameter"),
        ({"calibrate": 1}, "'calibrate' parameter"),
        ({"calibrate": True}, "'calibrate' parameter"),
    ],
)
def test_parameters_are_checked(params, message):
    X, y = _wide()
    with pytest.raises(ValueError, match=message):
        ShrinkageDiscriminantAnalysis(**params).fit(X, y)


@pytest.mark.parametrize("shrinkage", ["auto", 0.3])
@pytest.mark.parametrize("priors", ["balanced", "empirical"])
@pytest.mark.parametrize("shape", [(80, 300), (300, 40)])
def test_a_weight_of_two_is_the_row_given_twice(shape, priors, shrinkage):
    X, y = _wide(*shape)
    weight = np.random.default_rng(0).integers(0, 4, len(y))
    settings = {"shrinkage": shrinkage, "priors": priors, "calibrate": False}
    weighted = ShrinkageDiscriminantAnalysis(**settings).fit(X, y, sample_weight=weight)
    repeated = ShrinkageDiscriminantAnalysis(**settings)
    repeated.fit(X.repeat(weight, axis=0), y.repeat(weight))

    assert weighted.shrinkage_ == pytest.approx(repeated.shrinkage_, rel=1e-9)
    expected = repeated.decision_function(X)
    np.testing.assert_allclose(weighted.decision_function(X), expected, rtol=1e-7, atol=1e-9)


def test_scikit_learn_finds_weights_equal_to_repetition():
    name = "ShrinkageDiscriminantAnalysis"
    check_sample_weight_equivalence_on_dense_data(
        name, ShrinkageDiscriminantAnalysis(calibrate=False)
    )


def test_weights_are_in_the_loss_of_the_temperature():
    X, y = _wide(120, 60)
    X += np.random.default_rng(0).normal(scale=5.0, size=X.shape)
    groups = np.arange(120) // 2  # whole groups, so that the folds are the same
    weighted = ShrinkageDiscriminantAnalysis()
    weighted.fit(X, y, groups=groups, sample_weight=np.full(120, 2.0))
    repeated = ShrinkageDiscriminantAnalysis()
    repeated.fit(X.repeat(2, axis=0), y.repeat(2), groups=groups.repeat(2))
    plain = ShrinkageDiscriminantAnalysis().fit(X, y, groups=groups)

    assert weighted.temperature_ == pytest.approx(repeated.temperature_, rel=1e-4)
    doubted = np.where(plain.predict(X) == y, 1.0, 50.0)
    unsure = ShrinkageDiscriminantAnalysis().fit(X, y, groups=groups, sample_weight=doubted)
    assert unsure.temperature_ != pytest.approx(plain.temperature_, rel=1e-2)


def test_repeated_rows_do_not_flatter_if_they_are_groups():
    X, y = _wide(60, 200)
    X += np.random.default_rng(0).normal(scale=6.0, size=X.shape)
    X, y, groups = np.tile(X, (3, 1)), np.tile(y, 3), np.tile(np.arange(60), 3)
    settings = {"shrinkage": 0.5}
    once = ShrinkageDiscriminantAnalysis(**settings).fit(X[:60], y[:60]).temperature_
    leaky = ShrinkageDiscriminantAnalysis(**settings).fit(X, y).temperature_
    honest = ShrinkageDiscriminantAnalysis(**settings).fit(X, y, groups=groups).temperature_

    assert leaky < 0.3 * once
    assert 0.5 * once < honest < 2 * once


def test_no_temperature_where_no_group_can_be_held_out():
    X, y = _wide()
    model = ShrinkageDiscriminantAnalysis().fit(X, y, groups=y)
    assert model.temperature_ == 1.0


def _of_speakers(n_speakers, rng, means, n_rows=5):
    """Rows of speakers who shift all classes alike."""
    shape = (n_speakers, len(means), n_rows)
    shift = rng.normal(scale=2.0, size=(n_speakers, 1, 1, means.shape[1]))
    X = means[:, np.newaxis] + shift + rng.normal(size=(*shape, means.shape[1]))
    speakers, y, _ = np.indices(shape)
    return X.reshape(-1, means.shape[1]), y.ravel(), speakers.ravel()


@pytest.mark.parametrize("n_groups", [2, 3, 4])
def test_the_models_of_folds_that_know_few_groups_do_not_raise_the_temperature(n_groups):
    losses = []
    for seed in range(10):
        rng = np.random.default_rng(seed)
        means = rng.normal(scale=0.3, size=(3, 200))
        X, y, groups = _of_speakers(n_groups, rng, means)
        X_new, y_new, _ = _of_speakers(60, rng, means)
        models = [
            ShrinkageDiscriminantAnalysis(0.5, calibrate=n_folds).fit(X, y, groups=groups)
            for n_folds in (5, n_groups)  # the same folds
        ]
        losses.append([log_loss(y_new, model.predict_proba(X_new)) for model in models])
    lowered, as_in_folds = np.mean(losses, axis=0)
    assert lowered < as_in_folds


@pytest.mark.parametrize("cls", [ShrinkageDiscriminantAnalysis, WideLogisticRegression])
@pytest.mark.parametrize(
    ("y", "given", "message"),
    [
        ([0, 0, 1, 1], {"sample_weight": [1, 1, 1, -1]}, "must not be negative"),
        ([0, 0, 1, 1], {"sample_weight": [1, 1, 0, 0]}, r"0 for every clip of the classes \[1\]"),
        ([0, 0, 1, 1], {"groups": [1, 2, None, 3]}, "groups has 1 missing value"),
        ([0, 0, 1, 1], {"groups": [1, 2]}, "inconsistent numbers"),
        (["a", None, "b", "b"], {}, "y has 1 missing value"),
        ([0, 0, 0, 0], {}, "only one class: 0"),
    ],
)
def test_labels_groups_and_weights_are_checked(cls, y, given, message):
    fitted = cls().fit(np.eye(4), ["a", "a", "b", "b"])
    with pytest.raises(ValueError, match=message):
        fitted.fit(np.eye(4), y, **given)
    assert fitted.classes_.tolist() == ["a", "b"]  # those that its weights are for


def test_weights_are_left_alone():
    X, y = _wide()
    weight = np.ones(len(y))
    for cls in (ShrinkageDiscriminantAnalysis, WideLogisticRegression):
        cls().fit(X, y, sample_weight=weight)
    assert (weight == 1).all()


@pytest.mark.parametrize("shrinkage", ["auto", 0.3])
@pytest.mark.parametrize("shape", [(80, 300), (300, 40)])
def test_the_temperature_is_that_of_models_of_the_folds(shape, shrinkage):
    X, y = make_classification(*shape, n_informative=20, n_classes=3, random_state=0)
    groups, weight = np.arange(len(y)) // 3, np.random.RandomState(0).uniform(0.5, 2, len(y))
    given = {"groups": groups, "sample_weight": weight}
    scores, codes, weights = [], [], []
    for train, test in stratified_folds(y, 5, groups=groups, random_state=0):
        model = ShrinkageDiscriminantAnalysis(shrinkage, calibrate=False)
        model.fit(X[train], y[train], sample_weight=weight[train])
        scores.append(model.decision_function(X[test]))
        codes.append(y[test])
        weights.append(weight[test])
    scores, codes, weights = map(np.concatenate, (scores, codes, weights))
    weights /= np.bincount(codes, weights)[codes]
    expected = least_loss_temperature(scores, codes, (-3.0, 7.0), weight=weights)
    found = ShrinkageDiscriminantAnalysis(shrinkage).fit(X, y, **given).temperature_
    assert found == pytest.approx(expected, rel=1e-3)


def test_some_thousand_held_out_rows_are_enough_for_the_temperature(monkeypatch):
    X, y = make_classification(12_000, 30, n_informative=20, n_classes=3, random_state=0)
    held_out = []

    def count(self, fold, scores=_ManyRows.held_out_scores):
        held_out.append(len(self.held_out[fold]))
        return scores(self, fold)

    monkeypatch.setattr(_ManyRows, "held_out_scores", count)
    few = ShrinkageDiscriminantAnalysis().fit(X, y).temperature_
    assert held_out == [pytest.approx(2400, abs=10)]
    # Groups differ, so all of them are heard.
    every = ShrinkageDiscriminantAnalysis().fit(X, y, groups=np.arange(12_000) // 2).temperature_
    assert sum(held_out[1:]) == 12_000
    assert few == pytest.approx(every, rel=0.05)


def test_many_rows_are_not_copied():
    X, y = make_classification(20_000, 60, n_informative=20, random_state=0)
    X = X.astype(np.float32)
    tracemalloc.start()
    try:
        ShrinkageDiscriminantAnalysis().fit(X, y)
        assert tracemalloc.get_traced_memory()[1] < X.nbytes
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("shrinkage", ["auto", 0.0])
def test_an_outlier_or_dependent_features_need_no_more_digits_than_there_are(dtype, shrinkage):
    rng = np.random.RandomState(0)
    y = np.arange(900) % 3
    outlier = rng.standard_normal((900, 100)) + np.eye(100)[y] * 4
    outlier[4] *= 1e4
    dependent = np.repeat(outlier[:, :25], 4, axis=1)
    dependent[4] = 0
    for X in (outlier, dependent):
        model = ShrinkageDiscriminantAnalysis(shrinkage).fit(X.astype(dtype), y)
        assert np.isfinite(model.predict_proba(X.astype(dtype))).all()
