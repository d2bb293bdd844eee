"""The geometric mean, and the classifier that votes by it."""

import pickle

import numpy as np
import pytest
import sklearn
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import BaseEstimator, ClassifierMixin, clone
from sklearn.datasets import make_blobs
from sklearn.dummy import DummyClassifier
from sklearn.ensemble import RandomForestClassifier, VotingClassifier
from sklearn.exceptions import NotFittedError
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV
from sklearn.naive_bayes import GaussianNB
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.svm import LinearSVC
from sklearn.tree import DecisionTreeClassifier

from skspeech.ensemble import GeometricMeanVotingClassifier, geometric_mean


@pytest.fixture
def table():
    X, y = make_blobs(120, centers=3, cluster_std=2, random_state=0)
    return X, np.array(["high", "low", "mid"])[y]


@pytest.fixture
def members():
    return [
        ("linear", LogisticRegression()),
        ("bayes", GaussianNB()),
        ("tree", DecisionTreeClassifier()),
    ]


class FirstSample(ClassifierMixin, BaseEstimator):
    """Remembers what it was given, and votes by the first sample of each clip."""

    def fit(self, X, y):
        self.seen_ = X
        self.classes_ = np.unique(y)
        return self

    def predict_proba(self, X):
        p = np.array([clip[0] for clip in X], dtype=float)
        return np.column_stack([1 - p, p])


class Oracle(ClassifierMixin, BaseEstimator):
    """A fitted classifier that always gives the same probabilities."""

    def __init__(self, proba, classes):
        self.proba = proba
        self.classes = classes

    def fit(self, X, y):
        return self

    @property
    def classes_(self):
        return np.asarray(self.classes)

    def __sklearn_is_fitted__(self):
        return True

    def predict_proba(self, X):
        return np.tile(self.proba, (len(X), 1))


# The mean


def test_mean_is_the_renormalised_root_of_the_product():
    probas = np.random.default_rng(0).dirichlet(np.ones(4), size=(3, 50)).clip(0.01)
    product = probas.prod(axis=0) ** (1 / 3)

    assert_allclose(geometric_mean(probas), product / product.sum(axis=1, keepdims=True))


def test_weights_are_powers():
    probas = np.random.default_rng(0).dirichlet(np.ones(4), size=(2, 50)).clip(0.01)

    assert_allclose(
        geometric_mean(probas, [2, 1]), geometric_mean([probas[0], probas[0], probas[1]])
    )
    assert_allclose(geometric_mean(probas, [0.5, 0]), geometric_mean(probas[:1]))


def test_one_hard_zero_is_no_veto():
    most, odd = [[0.99, 0.01]], [[0.0, 1.0]]

    assert geometric_mean([most, most, odd]).argmax() == 0
    assert geometric_mean([most, most, odd], floor=1e-12).argmax() == 1


def test_the_floor_is_all_that_is_left_of_a_hard_zero():
    assert_allclose(geometric_mean([[[0.0, 1.0]]], floor=0.01), [[0.01 / 1.01, 1 / 1.01]])


def test_classes_that_nobody_believes_in_share_the_row():
    assert_allclose(geometric_mean(np.zeros((2, 3, 4))), np.full((3, 4), 0.25))


def test_a_thousand_members_do_not_underflow():
    probas = np.tile([[0.2, 0.1, 0.7]], (1000, 1, 1))

    assert_allclose(geometric_mean(probas, floor=1e-300), probas[0])


def test_no_rows_give_no_rows():
    assert geometric_mean(np.empty((2, 0, 3))).shape == (0, 3)


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        ({1, 2}, "weights={1, 2} is no list of numbers; it needs one weight for each .* in their"),
        ([1, -1], r"weights=\[1, -1\] must be finite and not negative"),
        ([0, 0], "at least one above zero"),
        ([1, np.nan], "must be finite"),
        ([1, 2, 3], "one weight for each of the 2 members"),
    ],
)
def test_bad_weights(weights, message):
    with pytest.raises(ValueError, match=message):
        geometric_mean(np.full((2, 1, 2), 0.5), weights)


@pytest.mark.parametrize("floor", [0, 1, -0.1, np.nan])
def test_bad_floor(floor):
    with pytest.raises(ValueError, match="must be above 0 and below 1"):
        geometric_mean(np.full((2, 1, 2), 0.5), floor=floor)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -0.1])
def test_what_is_no_probability_is_named(bad):
    probas = np.full((2, 5, 2), 0.5)
    probas[1, 3, 0] = bad
    with pytest.raises(ValueError, match=r"probas\[1\] holds .* first in row 3"):
        geometric_mean(probas)


@pytest.mark.parametrize("shape", [(2, 3), (0, 3, 4), (2, 3, 0)])
def test_bad_shape(shape):
    with pytest.raises(ValueError, match="needs \\(n_members, n_samples, n_classes\\)"):
        geometric_mean(np.ones(shape))


# The classifier


def test_votes_by_the_mean_of_its_members(table, members):
    X, y = table
    ensemble = GeometricMeanVotingClassifier(members, weights=[1, 2, 0.5]).fit(X, y)
    alone = [clone(member).fit(X, y).predict_proba(X) for _, member in members]

    expected = geometric_mean(alone, [1, 2, 0.5])
    assert_allclose(ensemble.predict_proba(X), expected)
    assert_array_equal(ensemble.predict(X), np.unique(y)[expected.argmax(axis=1)])
    assert_allclose(ensemble.predict_proba(X).sum(axis=1), 1)
    assert_array_equal(ensemble.classes_, ["high", "low", "mid"])


def test_has_all_that_soft_voting_has(table):
    X, y = table
    members = [("linear", LogisticRegression()), ("bayes", GaussianNB())]
    ours = GeometricMeanVotingClassifier(members).fit(X, y)
    theirs = VotingClassifier(members, voting="soft").fit(X, y)

    assert isinstance(ours, VotingClassifier)
    assert_allclose(ours.transform(X), theirs.transform(X))
    assert set(dir(theirs)) - set(dir(ours)) == {"le_"}  # members are fitted on the labels as given
    expected = set(theirs.get_params()) - {"voting", "flatten_transform"} | {"calibrate", "floor"}
    assert set(ours.get_params()) == expected


def test_members_are_cloned_and_predict_the_labels_as_given(table, members):
    X, y = table
    ensemble = GeometricMeanVotingClassifier(members).fit(X, y)

    assert not hasattr(members[0][1], "classes_")
    assert list(ensemble.named_estimators_) == ["linear", "bayes", "tree"]
    assert ensemble.named_estimators_["bayes"] is ensemble.estimators_[1]
    assert set(ensemble.named_estimators_["bayes"].predict(X)) == set(y)
    assert ensemble.named_estimators["bayes"] is members[1][1]


def test_drop(table, members):
    X, y = table
    weights = [1, 2, 3]
    ensemble = GeometricMeanVotingClassifier(members, weights=weights)
    ensemble.set_params(bayes="drop").fit(X, y)

    assert [type(e) for e in ensemble.estimators_] == [LogisticRegression, DecisionTreeClassifier]
    assert ensemble.named_estimators_["bayes"] == "drop"
    kept = GeometricMeanVotingClassifier([members[0], members[2]], weights=[1, 3]).fit(X, y)
    assert_allclose(ensemble.predict_proba(X), kept.predict_proba(X))
    assert ensemble.transform(X).shape == (len(X), 6)


def test_weights_can_change_after_fit(table, members):
    X, y = table
    ensemble = GeometricMeanVotingClassifier(members).fit(X, y)

    ensemble.set_params(weights=[0, 1, 0])

    alone = ensemble.named_estimators_["bayes"].predict_proba(X)
    assert_allclose(ensemble.predict_proba(X), geometric_mean([alone]))


def test_clips_reach_the_members_untouched():
    X, y = [[0.1], (0.9, 0.5), np.array([0.8, 0.1, 0.2])], ["no", "yes", "yes"]

    ensemble = GeometricMeanVotingClassifier([("first", FirstSample())]).fit(X, y)

    assert ensemble.estimators_[0].seen_ is X
    assert_array_equal(ensemble.predict(X), y)


def test_sample_weight_reaches_every_member(table):
    X, y = table
    weight = np.where(y == "low", 1e-6, 1.0)
    members = [("linear", LogisticRegression()), ("tree", DecisionTreeClassifier(max_depth=1))]

    ensemble = GeometricMeanVotingClassifier(members).fit(X, y, sample_weight=weight)

    for name, member in members:
        alone = clone(member).fit(X, y, sample_weight=weight).predict_proba(X)
        assert_allclose(ensemble.named_estimators_[name].predict_proba(X), alone)


def test_members_without_sample_weight_are_named(table):
    X, y = table
    near = ("near", KNeighborsClassifier())
    weight = np.where(y == "low", 1e-6, 1.0)
    with pytest.raises(TypeError, match="No member takes sample_weight; there are 'near'"):
        GeometricMeanVotingClassifier([near]).fit(X, y, sample_weight=weight)

    ensemble = GeometricMeanVotingClassifier([near, ("linear", LogisticRegression())])
    with pytest.warns(UserWarning, match="members 'near' do not take sample_weight"):
        ensemble.fit(X, y, sample_weight=weight)

    alone = LogisticRegression().fit(X, y, sample_weight=weight).predict_proba(X)
    assert_allclose(ensemble.named_estimators_["linear"].predict_proba(X), alone)


@pytest.mark.parametrize("weight", [[1, -2, 1], [1, np.nan, 1], [1, 1], [[1], [1], [1]]])
def test_bad_sample_weight(weight):
    ensemble = GeometricMeanVotingClassifier([("bayes", GaussianNB())])
    with pytest.raises(ValueError, match="sample_weight"):
        ensemble.fit([[0.0], [1.0], [2.0]], ["a", "b", "b"], sample_weight=weight)


def _missing_labels():
    yield ["a", None, "b", "a"]
    yield np.array(["a", None, "b", "a"], dtype=object)
    yield ["a", float("nan"), "b", "a"]
    yield [0.0, float("nan"), 1.0, 0.0]
    try:
        import pandas as pd
    except ImportError:
        return
    yield pd.Series(["a", pd.NA, "b", "a"], dtype="string")
    yield pd.Series(["a", None, "b", "a"], dtype="category")
    yield pd.Series([0, pd.NA, 1, 0], dtype="Int64")
    yield ["a", pd.NA, "b", "a"]


@pytest.mark.parametrize("y", list(_missing_labels()), ids=lambda y: type(y).__name__)
def test_missing_labels_are_refused_with_their_position(y):
    ensemble = GeometricMeanVotingClassifier([("bayes", GaussianNB())])
    with pytest.raises(ValueError, match=r"y has 1 missing value .* at position 1"):
        ensemble.fit([[0.0], [1.0], [2.0], [3.0]], y)


@pytest.mark.parametrize("dtype", ["string", "category", "object"])
def test_labels_of_pandas(dtype):
    pd = pytest.importorskip("pandas")
    y = pd.Series(["no", "yes", "no", "yes"], dtype=dtype)
    ensemble = GeometricMeanVotingClassifier([("bayes", GaussianNB())])
    ensemble.fit([[0.0], [5.0], [0.1], [5.1]], y)
    assert_array_equal(ensemble.predict([[0.0], [5.0]]), ["no", "yes"])


class HoldsOut(FirstSample):
    """Remembers how its `fit` was told to hold samples out."""

    def fit(self, X, y, groups=None, sample_weight=None):
        self.groups_, self.weight_ = groups, sample_weight
        return super().fit(X, y)


def test_groups_and_weights_reach_the_members_that_take_them():
    X, y, groups = [[0.1], [0.9], [0.8]], ["no", "yes", "yes"], ["a", "b", "b"]
    members = [
        ("holds out", HoldsOut()),
        ("pipeline", make_pipeline("passthrough", HoldsOut())),
        ("nested", GeometricMeanVotingClassifier([("inner", HoldsOut())])),
        ("bayes", GaussianNB()),
        ("tail", make_pipeline(GaussianNB())),
    ]

    ensemble = GeometricMeanVotingClassifier(members)
    ensemble.fit(X, y, sample_weight=[1, 2, 3], groups=groups)

    fitted = ensemble.named_estimators_
    for member in [
        fitted["holds out"],
        fitted["pipeline"][-1],
        fitted["nested"].named_estimators_["inner"],
    ]:
        assert_array_equal(member.groups_, groups)
        assert_array_equal(member.weight_, [1, 2, 3])


def test_groups_reach_members_by_routing():
    X, y, groups = [[0.1], [0.9], [0.8]], ["no", "yes", "yes"], ["a", "b", "b"]
    with sklearn.config_context(enable_metadata_routing=True):
        members = [
            ("asks", HoldsOut().set_fit_request(groups=True, sample_weight=False)),
            ("does not", HoldsOut().set_fit_request(groups=False, sample_weight=True)),
        ]
        ensemble = GeometricMeanVotingClassifier(members)
        ensemble.fit(X, y, groups=groups, sample_weight=[1, 2, 3])

    asks, does_not = ensemble.estimators_
    assert_array_equal(asks.groups_, groups)
    assert asks.weight_ is None
    assert does_not.groups_ is None
    assert_array_equal(does_not.weight_, [1, 2, 3])


def test_groups_of_another_length_are_refused(table, members):
    X, y = table
    with pytest.raises(ValueError, match="inconsistent numbers of samples"):
        GeometricMeanVotingClassifier(members).fit(X, y, groups=y[:-1])


def test_other_metadata_needs_routing(table, members):
    X, y = table
    with pytest.raises(ValueError, match=r"\['colour'\].*enable_metadata_routing=True"):
        GeometricMeanVotingClassifier(members).fit(X, y, colour=y)


def test_members_in_other_processes_know_scikit_learns_settings(table):
    X, y = table
    with sklearn.config_context(enable_metadata_routing=True):
        inside = make_pipeline(LogisticRegression().set_fit_request(sample_weight=True))
        ensemble = GeometricMeanVotingClassifier([("a", inside), ("b", inside)], n_jobs=2)
        found = ensemble.fit(X, y, sample_weight=np.arange(len(y))).predict_proba(X)
        ensemble.set_params(n_jobs=None).fit(X, y, sample_weight=np.arange(len(y)))
    assert_array_equal(found, ensemble.predict_proba(X))


def test_metadata_routing(table):
    X, y = table
    weight = np.where(y == "low", 1e-6, 1.0)
    with sklearn.config_context(enable_metadata_routing=True):
        members = [
            ("weighted", LogisticRegression().set_fit_request(sample_weight=True)),
            ("plain", LogisticRegression().set_fit_request(sample_weight=False)),
        ]
        ensemble = GeometricMeanVotingClassifier(members).fit(X, y, sample_weight=weight)
        with pytest.raises(TypeError, match="unexpected argument"):
            ensemble.fit(X, y, colour=weight)

    weighted = LogisticRegression().fit(X, y, sample_weight=weight).predict_proba(X)
    plain = LogisticRegression().fit(X, y).predict_proba(X)
    assert_allclose(ensemble.named_estimators_["weighted"].predict_proba(X), weighted)
    assert_allclose(ensemble.named_estimators_["plain"].predict_proba(X), plain)


def test_parallel_fit_in_processes_is_the_same(table):
    X, y = table
    members = [
        ("linear", LogisticRegression()),
        ("forest", RandomForestClassifier(5, random_state=0)),
    ]
    expected = GeometricMeanVotingClassifier(members).fit(X, y).predict_proba(X)

    ensemble = GeometricMeanVotingClassifier(members, n_jobs=2).fit(X, y)

    assert_array_equal(ensemble.predict_proba(X), expected)


def test_verbose_says_how_long_each_member_took(table, members, capsys):
    GeometricMeanVotingClassifier(members, verbose=True).fit(*table)

    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[1] for line in lines] == ["linear:", "bayes:", "tree:"]


def test_silent_by_default(table, members, capsys):
    GeometricMeanVotingClassifier(members).fit(*table).predict(table[0])

    assert capsys.readouterr() == ("", "")


def test_grid_search_over_a_member_and_the_floor(table, members):
    X, y = table
    grid = {"linear__C": [0.1, 1.0], "floor": [1e-6, 1e-2], "tree": ["drop", members[2][1]]}

    search = GridSearchCV(GeometricMeanVotingClassifier(members), grid, cv=2).fit(X, y)

    assert search.best_score_ > 0.6
    assert set(search.best_params_) == set(grid)


def test_pickle_and_html(table, members):
    X, y = table
    ensemble = GeometricMeanVotingClassifier(members).fit(X, y)

    again = pickle.loads(pickle.dumps(ensemble))

    assert_array_equal(again.predict_proba(X), ensemble.predict_proba(X))
    for name, _ in members:
        assert name in ensemble._repr_html_()


def test_feature_names_say_member_and_class(table, members):
    pytest.importorskip("pandas")
    X, y = table
    ensemble = GeometricMeanVotingClassifier(members[:2]).fit(X, y).set_output(transform="pandas")

    frame = ensemble.transform(X)

    assert list(frame.columns[:4]) == [
        "geometricmeanvotingclassifier_linear_high",
        "geometricmeanvotingclassifier_linear_low",
        "geometricmeanvotingclassifier_linear_mid",
        "geometricmeanvotingclassifier_bayes_high",
    ]
    assert_allclose(frame.iloc[:, :3], ensemble.estimators_[0].predict_proba(X))


@pytest.mark.parametrize(
    ("estimators", "message"),
    [
        ([], "at least one is needed"),
        ([("a", "drop")], "at least one is needed that is not 'drop'"),
        ([GaussianNB()], r"holds GaussianNB\(\); each item must be a \(name, classifier\) tuple"),
        ([("a", GaussianNB()), ("a", GaussianNB())], "not unique"),
        ([("floor", GaussianNB())], "conflict with constructor arguments"),
        ([("a__b", GaussianNB())], "must not contain __"),
        ([("svm", LinearSVC())], "'svm' .* has no predict_proba.*CalibratedClassifierCV"),
        ([("a", sklearn.linear_model.LinearRegression())], "'a' .* should be a classifier"),
    ],
)
def test_bad_members_are_named(table, estimators, message):
    with pytest.raises(ValueError, match=message):
        GeometricMeanVotingClassifier(estimators).fit(*table)


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        ([1, 1], "one weight for each of the 3 estimators"),
        ([1, -1, 1], "not negative"),
        ([0, 0, 0], "at least one above zero"),
        ([0, 0, 1], "leaves only members that are dropped"),
    ],
)
def test_bad_weights_are_found_before_training(table, members, weights, message):
    ensemble = GeometricMeanVotingClassifier(members, weights=weights).set_params(tree="drop")
    with pytest.raises(ValueError, match=message):
        ensemble.fit(*table)


@pytest.mark.parametrize("floor", [0, 1, "low"])
def test_floor_is_checked(table, members, floor):
    with pytest.raises(ValueError, match="The 'floor' parameter of GeometricMeanVotingClassifier"):
        GeometricMeanVotingClassifier(members, floor=floor).fit(*table)


def test_a_member_that_predicts_nan_is_named():
    ensemble = GeometricMeanVotingClassifier.from_fitted(
        [("good", Oracle([0.5, 0.5], ["a", "b"])), ("broken", Oracle([np.nan, 1], ["a", "b"]))]
    )
    with pytest.raises(ValueError, match=r"member 'broken' .* first in row 0"):
        ensemble.predict([[0.0]])


def test_unfitted(members):
    with pytest.raises(NotFittedError):
        GeometricMeanVotingClassifier(members).predict([[0.0]])


# From fitted members


@pytest.mark.parametrize("temperature", [0, -1.0, np.inf, np.nan])
def test_a_temperature_that_turns_answers_round_is_refused(table, temperature):
    member = GaussianNB().fit(*table)
    with pytest.raises(ValueError, match=r"temperature=.* must be above 0"):
        GeometricMeanVotingClassifier.from_fitted([("it", member)], temperature=temperature)


def test_from_fitted_takes_the_members_as_they_are(table, members):
    X, y = table
    fitted = [(name, member.fit(X, y)) for name, member in members] + [("gone", "drop")]

    ensemble = GeometricMeanVotingClassifier.from_fitted(fitted, weights=[1, 2, 3, 9], floor=0.01)

    assert ensemble.estimators_ == [member for _, member in members]
    expected = geometric_mean([m.predict_proba(X) for _, m in members], [1, 2, 3], floor=0.01)
    assert_allclose(ensemble.predict_proba(X), expected)
    assert_array_equal(ensemble.classes_, np.unique(y))
    assert ensemble.n_features_in_ == 2


def test_members_that_saw_fewer_classes_are_aligned():
    some, other = Oracle([0.4, 0.6], ["a", "c"]), Oracle([0.5, 0.3, 0.2], ["a", "b", "d"])

    ensemble = GeometricMeanVotingClassifier.from_fitted(
        [("some", some), ("other", other)], floor=0.01
    )

    assert_array_equal(ensemble.classes_, ["a", "b", "c", "d"])
    assert_allclose(ensemble.transform([[0]]), [[0.4, 0, 0.6, 0, 0.5, 0.3, 0, 0.2]])
    expected = np.sqrt([0.4 * 0.5, 0.01 * 0.3, 0.6 * 0.01, 0.01 * 0.2])
    assert_allclose(ensemble.predict_proba([[0]]), [expected / expected.sum()])


def test_classes_that_no_member_saw_can_be_named():
    ensemble = GeometricMeanVotingClassifier.from_fitted(
        [("some", Oracle([0.4, 0.6], [1, 3]))], classes=[3, 2, 1]
    )

    assert_array_equal(ensemble.classes_, [1, 2, 3])
    assert ensemble.predict([[0]]) == 3
    assert_allclose(ensemble.predict_proba([[0]]), [[0.4 / 1.001, 0.001 / 1.001, 0.6 / 1.001]])


def test_a_class_that_is_not_among_classes_is_named():
    with pytest.raises(ValueError, match=r"'some' has seen classes .*\['c'\]"):
        GeometricMeanVotingClassifier.from_fitted(
            [("some", Oracle([0.4, 0.6], ["a", "c"]))], classes=["a", "b"]
        )


def test_an_unfitted_member_is_refused():
    with pytest.raises(NotFittedError, match="DummyClassifier"):
        GeometricMeanVotingClassifier.from_fitted([("a", DummyClassifier())])


def test_a_clone_of_it_starts_afresh(table, members):
    X, y = table
    ensemble = GeometricMeanVotingClassifier.from_fitted([(n, m.fit(X, y)) for n, m in members])

    again = clone(ensemble)

    assert not hasattr(again, "estimators_")
    assert not hasattr(again.estimators[0][1], "classes_")
    assert again.fit(X, y).score(X, y) > 0.6


def test_a_prediction_writes_no_member_out(monkeypatch):
    """The text of a pipeline takes longer than its prediction of one clip."""
    X, y = make_blobs(random_state=0)
    ensemble = GeometricMeanVotingClassifier([("bayes", GaussianNB())]).fit(X, y)
    monkeypatch.setattr(GaussianNB, "__repr__", lambda self: pytest.fail("its text was asked for"))
    ensemble.predict_proba(X[:1])
