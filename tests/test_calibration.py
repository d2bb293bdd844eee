"""Probabilities that mean what they say: the temperature of an ensemble, and how it is measured."""

import pickle

import numpy as np
import pytest
from numpy.testing import assert_allclose
from scipy.special import softmax
from sklearn import config_context
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.datasets import make_classification
from sklearn.metrics import log_loss
from sklearn.naive_bayes import GaussianNB

from skspeech import (
    GeometricMeanVotingClassifier,
    ShrinkageDiscriminantAnalysis,
    TimeBudgetClassifier,
)
from skspeech.ensemble.calibration import at_temperature, find_temperature
from skspeech.metrics import expected_calibration_error


def _honest(n=3000, n_classes=4, random_state=0):
    """Probabilities that are true, and labels drawn by them."""
    rng = np.random.default_rng(random_state)
    proba = softmax(2 * rng.standard_normal((n, n_classes)), axis=1)
    y = (proba.cumsum(axis=1) < rng.uniform(size=(n, 1))).sum(axis=1)
    return proba, y


@pytest.mark.parametrize("factor", [0.5, 1.0, 2.0])
def test_the_temperature_takes_back_what_made_probabilities_wrong(factor):
    proba, y = _honest()
    wrong = at_temperature(proba, 1 / factor)
    assert_allclose(find_temperature(wrong, y), factor, rtol=0.1)
    error = expected_calibration_error(y, at_temperature(wrong, factor), labels=range(4))
    assert error < 0.03
    if factor != 1:
        assert expected_calibration_error(y, wrong, labels=range(4)) > 2 * error


def test_a_row_of_hardly_any_weight_is_as_if_it_were_not_there():
    rng = np.random.default_rng(0)
    y = np.arange(24) % 3
    proba = rng.dirichlet(np.ones(3), 24) + np.eye(3)[y]
    weight = np.where(np.arange(24) < 12, 2.0, 1e-9)
    found = find_temperature(proba, y, weight=weight)
    assert_allclose(found, find_temperature(proba[:12], y[:12]), rtol=1e-5)
    found = find_temperature(proba, y, weight=np.full(24, 0.1))
    assert_allclose(found, find_temperature(proba, y), rtol=1e-5)


def test_few_rows_that_are_all_right_do_not_make_sure():
    def temperature(n, **options):
        y = np.arange(n) % 2
        return find_temperature(np.where(np.eye(2)[y] == 1, 0.9, 0.1), y, **options)

    assert temperature(20) > 0.8
    assert temperature(20) > temperature(200) > temperature(2000)
    assert temperature(20) > temperature(20, n_imagined=1) > temperature(20, n_imagined=0.3)


@pytest.mark.parametrize("least", [0.99, 0.9999])
def test_rows_that_are_all_right_do_not_make_unsure(least):
    y = np.arange(30) % 3
    proba = np.where(np.eye(3)[y] == 1, least, (1 - least) / 2)
    assert find_temperature(proba, y) == 1.0
    proba[:3] = proba[[1, 2, 0]]  # wrong, and sure
    assert find_temperature(proba, y) > 1.5


def test_rows_without_a_prediction_are_left_out():
    proba, y = _honest(500)
    more = np.concatenate([proba, np.full((50, 4), np.nan)])
    assert find_temperature(more, np.append(y, np.zeros(50, int))) == find_temperature(proba, y)


def test_without_two_classes_nothing_can_be_told():
    proba, _ = _honest(30)
    assert find_temperature(proba, np.zeros(30, int)) == 1.0
    assert find_temperature(np.full((3, 2), np.nan), [0, 1, 0]) == 1.0


def test_the_best_class_stays_the_best():
    proba, _ = _honest(200)
    for temperature in (0.3, 1.0, 4.0):
        changed = at_temperature(proba, temperature)
        assert_allclose(changed.sum(axis=1), 1)
        assert (changed.argmax(axis=1) == proba.argmax(axis=1)).all()
        assert (changed.max(axis=1) > proba.max(axis=1)).all() == (temperature < 1)


# ------------------------------------------------------------------------------- the error


def test_the_error_by_hand():
    y = ["a", "a", "b", "b"]
    proba = [[0.95, 0.05], [0.95, 0.05], [0.55, 0.45], [0.3, 0.7]]
    # Bins of 0.1: two at 0.95, both right; one at 0.55, wrong; one at 0.7, right.
    expected = (2 * 0.05 + 0.55 + 0.3) / 4
    assert_allclose(expected_calibration_error(y, proba, n_bins=10), expected)


@pytest.mark.parametrize(
    ("y", "proba", "options", "message"),
    [
        ([0, 1], [[0.5, 0.5]], {}, "shape"),
        ([0, 2], [[0.5, 0.5], [0.5, 0.5]], {"labels": [0, 1]}, "not in labels"),
        ([0, 1], [[0.5, 0.6], [0.5, 0.5]], {}, "sum to 1"),
        ([0, 1], [[np.nan, 0.5], [0.5, 0.5]], {}, "no probabilities"),
        ([0, 1], [[0.5, 0.5], [0.5, 0.5]], {"n_bins": 0}, "n_bins"),
    ],
)
def test_the_error_refuses(y, proba, options, message):
    with pytest.raises(ValueError, match=message):
        expected_calibration_error(y, proba, **options)


# ------------------------------------------------------------------------------- ensembles


class _Timid(ClassifierMixin, BaseEstimator):
    """Always right to a degree, and never sure; it tells what it was trained on."""

    seen = []

    def fit(self, X, y, groups=None, sample_weight=None):
        self.seen.append((groups, sample_weight))
        self.model_ = GaussianNB().fit(X, y)
        self.classes_ = self.model_.classes_
        return self

    def predict_proba(self, X):
        return at_temperature(self.model_.predict_proba(X), 4.0)


@pytest.fixture
def data():
    return make_classification(240, 6, n_informative=5, n_redundant=0, class_sep=2, random_state=0)


def test_a_voting_classifier_finds_its_temperature(data):
    X, y = data
    members = [("one", _Timid()), ("other", _Timid())]
    plain = GeometricMeanVotingClassifier(members).fit(X[:150], y[:150])
    calibrated = GeometricMeanVotingClassifier(members, calibrate=3).fit(X[:150], y[:150])
    assert plain.temperature_ == 1.0
    assert calibrated.temperature_ < 0.6
    assert (plain.predict(X) == calibrated.predict(X)).all()
    losses = [log_loss(y[150:], model.predict_proba(X[150:])) for model in (plain, calibrated)]
    assert losses[1] < 0.8 * losses[0]


def test_folds_keep_groups_whole_and_get_weights(data, monkeypatch):
    X, y = data
    groups, weight = np.arange(240) // 8, np.linspace(1, 2, 240)
    seen = []
    monkeypatch.setattr(_Timid, "seen", seen)
    ensemble = GeometricMeanVotingClassifier([("it", _Timid())], calibrate=3)
    ensemble.fit(X, y, groups=groups, sample_weight=weight)
    assert len(seen) == 4
    for own, weights in seen:
        assert len(own) == len(weights)
        assert set(np.bincount(own)) <= {0, 8}
    assert sorted(len(own) for own, _ in seen)[-1] == 240


def test_rows_of_weight_0_do_not_change_the_temperature(data):
    X, y = data
    weight = np.arange(240) % 3 / 2.0
    wrong = np.where(weight == 0, 1 - y, y)
    known = weight > 0
    ensemble = GeometricMeanVotingClassifier([("it", GaussianNB())], calibrate=3)
    without = ensemble.fit(X[known], y[known], sample_weight=weight[known]).temperature_
    assert ensemble.fit(X, wrong, sample_weight=weight).temperature_ == without
    assert ensemble.fit(X[known], y[known]).temperature_ != without


def test_a_class_with_weight_in_one_row_is_no_hindrance(data):
    X, y = data
    weight = np.where(y == 1, 1.0, 0.0)
    weight[[np.flatnonzero(y == 0)[0], np.flatnonzero(y == 1)[1]]] = 1.0
    ensemble = GeometricMeanVotingClassifier([("it", ShrinkageDiscriminantAnalysis())], calibrate=3)
    with pytest.warns(UserWarning, match="fewer than two classes"):
        ensemble.fit(X, y, sample_weight=weight)


@pytest.mark.parametrize("groups", [None, [0, 0, 0, 1, 1, 1], [0, 0, 0, 1, 2, 3]])
def test_what_can_not_be_calibrated_is_told(groups):
    X, y = np.arange(6.0)[:, np.newaxis], np.array([0, 0, 0, 1, 1, 1])
    rows = slice(0, 6) if groups else slice(2, 4)  # one of each class
    ensemble = GeometricMeanVotingClassifier([("it", GaussianNB())], calibrate=3)
    words = "calibrate=3 finds no temperature.*fewer than two"
    with pytest.warns(UserWarning, match=words) as told:
        ensemble.fit(X[rows], y[rows], groups=groups)
    assert ensemble.temperature_ == 1.0
    assert told[0].filename == __file__


def test_folds_get_their_rows_of_whatever_is_routed(data):
    X, y = data
    weight = np.arange(240) % 3 + 1.0
    with config_context(enable_metadata_routing=True):
        members = [("it", GaussianNB().set_fit_request(sample_weight="mine"))]
        ensemble = GeometricMeanVotingClassifier(members, calibrate=3).fit(X, y, mine=weight)
    assert ensemble.temperature_ != 1.0


def test_an_ensemble_that_was_not_calibrated_in_time_is_whole(data, monkeypatch):
    X, y = data
    ensemble = GeometricMeanVotingClassifier([("it", GaussianNB())], calibrate=3).fit(X, y)

    def interrupted(*args):
        raise KeyboardInterrupt

    monkeypatch.setattr("skspeech.ensemble.voting.cross_validated_temperature", interrupted)
    labels = np.array(["yes", "no", "rare"])[np.where(np.arange(240) < 9, 2, y)]
    with pytest.raises(KeyboardInterrupt):
        ensemble.fit(X, labels)
    assert ensemble.score(X, labels) > 0.8


@pytest.mark.parametrize("bad", [True, 1, "yes"])
def test_calibrate_is_checked(data, bad):
    with pytest.raises(ValueError, match="calibrate"):
        GeometricMeanVotingClassifier([("it", GaussianNB())], calibrate=bad).fit(*data)


def test_labels_that_a_fold_lacks_are_no_hindrance(data):
    X, y = data
    labels = np.where(y == 1, "yes", "no").astype(object)
    labels[0] = "rare"
    ensemble = GeometricMeanVotingClassifier([("it", GaussianNB())], calibrate=3).fit(X, labels)
    assert 0.2 <= ensemble.temperature_ <= 5
    assert ensemble.predict_proba(X).shape == (240, 3)


def test_pickles_from_before_temperatures_predict_as_they_did(data):
    X, y = data
    ensemble = GeometricMeanVotingClassifier([("it", GaussianNB())]).fit(X, y)
    before = ensemble.predict_proba(X)
    del ensemble.temperature_
    assert_allclose(pickle.loads(pickle.dumps(ensemble)).predict_proba(X), before)


def test_a_run_under_a_time_budget_calibrates_what_it_found(data):
    X, y = data
    candidates = [("one", _Timid()), ("other", _Timid())]
    run = TimeBudgetClassifier(candidates, time_budget=30, random_state=0)
    run.fit(X[:150], y[:150])
    temperature = run.ensemble_.temperature_
    assert temperature < 0.9
    calibrated = log_loss(y[150:], run.predict_proba(X[150:]))
    run.ensemble_.temperature_ = 1.0
    assert calibrated < log_loss(y[150:], run.predict_proba(X[150:]))


def test_what_could_not_be_validated_keeps_its_temperature():
    X, y = np.eye(4), np.arange(4)
    run = TimeBudgetClassifier([("it", GaussianNB())], time_budget=20)
    with pytest.warns(UserWarning, match="held out"):
        run.fit(X, y)
    assert run.ensemble_.temperature_ == 1.0
