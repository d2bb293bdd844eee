"""Groups and weights reach whoever takes them, with metadata routing and without."""

import numpy as np
import pytest
from instances import make_instance
from sklearn import config_context
from sklearn.base import BaseEstimator, ClassifierMixin, TransformerMixin
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, GroupKFold, StratifiedGroupKFold
from sklearn.naive_bayes import GaussianNB
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import Normalizer, StandardScaler
from sklearn.utils.validation import has_fit_parameter

from skspeech import (
    ClippedStandardScaler,
    GeometricMeanVotingClassifier,
    ShrinkageDiscriminantAnalysis,
    WideLogisticRegression,
)
from skspeech._routing import fit_params_for  # a pure function
from skspeech.utils import all_estimators

X = np.random.default_rng(0).normal(size=(12, 3))
Y, GROUPS, WEIGHT = np.tile([0, 1], 6), np.repeat(np.arange(4), 3), np.arange(1.0, 13.0)


class Taker(ClassifierMixin, BaseEstimator):
    """Keeps what it was given."""

    __metadata_request__fit = {"groups": True, "sample_weight": True}
    given = []

    def fit(self, X, y, groups=None, sample_weight=None):
        self.given.append((groups, sample_weight))
        self.classes_ = np.unique(y)
        return self

    def predict(self, X):
        return np.repeat(self.classes_[:1], len(X))


class OwnWay(TransformerMixin, BaseEstimator):
    """A transformer whose `fit_transform` takes less than its `fit`."""

    def fit(self, X, y=None, sample_weight=None):
        return self

    def fit_transform(self, X, y=None):
        return X

    def transform(self, X):
        return X


def nested(last):
    inner = Pipeline([("scaler", ClippedStandardScaler()), ("last", last)])
    return Pipeline([("norm", Normalizer()), ("skip", "passthrough"), ("inner", inner)])


@pytest.fixture
def given():
    Taker.given.clear()
    yield Taker.given
    Taker.given.clear()


@pytest.mark.parametrize(
    ("estimator", "keys"),
    [
        (ShrinkageDiscriminantAnalysis(), {"groups", "sample_weight"}),
        (WideLogisticRegression(), {"groups", "sample_weight"}),
        (GaussianNB(), {"sample_weight"}),
        (KNeighborsClassifier(), set()),
        (make_pipeline(Normalizer(), KNeighborsClassifier()), set()),
        (
            nested(Taker()),
            {"inner__scaler__sample_weight", "inner__last__groups", "inner__last__sample_weight"},
        ),
        (make_pipeline(OwnWay(), GaussianNB()), {"gaussiannb__sample_weight"}),
        (GridSearchCV(Taker(), {}, cv=2), {"sample_weight"}),
        (GridSearchCV(Taker(), {}, cv=GroupKFold(2)), {"groups", "sample_weight"}),
    ],
)
def test_by_signature(estimator, keys):
    params = fit_params_for(estimator, groups=GROUPS, sample_weight=WEIGHT)

    assert set(params) == keys
    for key, value in params.items():
        assert value is (GROUPS if key.endswith("groups") else WEIGHT)
    estimator.fit(X, Y, **params)
    assert fit_params_for(estimator) == {}


@pytest.mark.parametrize("routing", [False, True])
def test_they_arrive_through_pipelines(routing, given):
    with config_context(enable_metadata_routing=routing):
        clf = nested(Taker())
        clf.fit(X, Y, **fit_params_for(clf, groups=GROUPS, sample_weight=WEIGHT))
        clf.fit(X, Y, **fit_params_for(clf, groups=GROUPS))

    np.testing.assert_array_equal(given[0], (GROUPS, WEIGHT))
    np.testing.assert_array_equal(given[1][0], GROUPS)
    assert given[1][1] is None


@pytest.mark.parametrize("routing", [False, True])
def test_a_search_keeps_groups_whole_and_hands_them_on(routing, given):
    with config_context(enable_metadata_routing=routing):
        pipeline = Pipeline([("scaler", ClippedStandardScaler()), ("last", Taker())])
        scorer = None if not routing else _plain_score
        search = GridSearchCV(pipeline, {}, cv=StratifiedGroupKFold(2), scoring=scorer)
        search.fit(X, Y, **fit_params_for(search, groups=GROUPS, sample_weight=WEIGHT))

    *folds, everything = given
    assert len(folds) == 2
    assert set(folds[0][0]).isdisjoint(folds[1][0])
    for groups, weight in folds:
        np.testing.assert_array_equal(weight, WEIGHT[np.isin(GROUPS, groups)])
    np.testing.assert_array_equal(everything, (GROUPS, WEIGHT))


def _plain_score(estimator, X, y):
    return estimator.score(X, y)


def test_with_routing_only_requests_count():
    plain = make_pipeline(StandardScaler(), LogisticRegression())
    with config_context(enable_metadata_routing=True):
        asked = make_pipeline(
            StandardScaler().set_fit_request(sample_weight=False),
            LogisticRegression().set_fit_request(sample_weight=True),
        )
        assert fit_params_for(plain, groups=GROUPS, sample_weight=WEIGHT) == {}
        params = fit_params_for(asked, groups=GROUPS, sample_weight=WEIGHT)
        assert set(params) == {"sample_weight"}
        asked.fit(X, Y, **params)


@pytest.mark.parametrize("name", ["groups", "sample_weight"])
def test_all_that_take_it_ask_for_it(name):
    takers = {cls for _, cls in all_estimators() if has_fit_parameter(cls, name)}
    takers.remove(GeometricMeanVotingClassifier)  # its members do
    with config_context(enable_metadata_routing=True):
        estimators = [make_instance(cls) for cls in takers]
        assert all(fit_params_for(estimator, **{name: GROUPS}) for estimator in estimators)
