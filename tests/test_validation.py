"""Honest scores: groups stay whole, nothing is judged by what it chose, and reasons are given."""

import threading
import warnings
from concurrent.futures import ThreadPoolExecutor

import fake_candidates as fake
import numpy as np
import pandas as pd
import pytest
import sklearn
import soundfile
from sklearn import clone
from sklearn.calibration import CalibratedClassifierCV
from sklearn.datasets import load_iris
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import (
    GroupKFold,
    KFold,
    LeaveOneGroupOut,
    ShuffleSplit,
    StratifiedKFold,
)
from sklearn.naive_bayes import GaussianNB
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler
from sklearn.utils import Bunch
from sounds import labelled_tones, noise

from skspeech import (
    Candidate,
    GeometricMeanVotingClassifier,
    ShrinkageDiscriminantAnalysis,
    SpeakerEmbedding,
    SpectralStatistics,
    TimeBudgetClassifier,
)
from skspeech._voices import Voices
from skspeech.audio import AudioError, as_clips
from skspeech.datasets import make_speech_like
from skspeech.selection import ProbabilityScore
from skspeech.time_budget.features import Data, SharedFeatures, row_sizes
from skspeech.time_budget.line_ups import voices_in
from skspeech.time_budget.members import Chooser, HeldOutTable
from skspeech.time_budget.session import Session
from skspeech.time_budget.splits import make_splits, repeat_folds, value_order
from skspeech.time_budget.state import CandidateState, Fold, HeldOut, RunState

X, y = load_iris(return_X_y=True)
BAYES = ("bayes", GaussianNB())
LINEAR = ("linear", LogisticRegression(max_iter=1000))


def splits(cv="auto", labels=y, groups=None, X=X):
    classes, codes = np.unique(labels, return_inverse=True)
    return make_splits(cv, X, labels, codes, classes, groups, 0)


# -------------------------------------------------------------------------- groups


@pytest.mark.parametrize("cv", ["auto", 3, GroupKFold(3), LeaveOneGroupOut()])
@pytest.mark.parametrize("n_groups", [4, 11, 40])
def test_groups_are_never_on_both_sides(cv, n_groups):
    groups = np.random.default_rng(0).integers(0, n_groups, len(y))
    folds = splits(cv, groups=groups).folds
    assert len(folds) > 1
    for fold in folds:
        assert not np.intersect1d(groups[fold.train], groups[fold.test]).size
        assert np.isin(y[fold.test], y[fold.train]).all()


@pytest.mark.parametrize("sizes", [[5] * 30, [6, 9, 12, 15, 21, 24, 30, 33]], ids=["equal", "not"])
def test_groups_are_whole_in_every_repeat_and_the_folds_differ(sizes):
    groups = np.repeat(np.arange(len(sizes)), sizes)
    codes = np.arange(len(groups)) % 3
    seen = []
    for repeat in range(5):
        folds = repeat_folds("auto", codes, groups, 0, repeat)
        assert {fold.repeat for fold in folds} == {repeat}
        for fold in folds:
            assert not np.intersect1d(groups[fold.train], groups[fold.test]).size
            assert 0.5 < len(fold.test) / (len(groups) / 3) < 1.5
        seen.append(frozenset(fold.test.tobytes() for fold in folds))
    assert seen[1] != seen[0]
    assert len(set(seen)) >= 4


def test_the_validation_is_not_repeated_with_the_same_folds():
    groups = np.arange(len(y)) % 3  # one group a fold: there is only one way
    clf = TimeBudgetClassifier([BAYES, LINEAR], time_budget=30, random_state=0)
    clf.fit(X, y, groups)
    assert sum(name.startswith("split") for name in clf.results_) == 3


def test_a_splitter_that_splits_groups_is_refused():
    folds = list(StratifiedKFold(3).split(X, y))
    with pytest.raises(ValueError, match=r"cv=.* has \d+ groups in both parts .*StratifiedGroup"):
        splits(folds, groups=np.arange(len(y)) // 5)


def test_groups_and_weights_reach_candidates_wherever_they_run():
    speaker, weight = np.arange(len(y)) // 5, np.linspace(1, 2, len(y))
    candidates = [
        Candidate("here", fake.NeedsGroups(), where="main"),
        Candidate("worker", fake.NeedsGroups(), where="worker"),
        Candidate("pipeline", make_pipeline(StandardScaler(), fake.NeedsGroups()), where="worker"),
    ]
    clf = TimeBudgetClassifier(candidates, time_budget=60, selection="threshold", random_state=0)
    clf.fit(X, y, groups=speaker, sample_weight=weight)
    assert clf.failures_ == []
    assert not np.isnan(clf.results_["score"]).any()


@pytest.mark.parametrize("routing", [False, True])
def test_metadata_routing_through_the_estimator(routing):
    speaker, weight = np.arange(len(y)) // 5, np.ones(len(y))
    inner = fake.NeedsGroups()
    with sklearn.config_context(enable_metadata_routing=routing):
        if routing:
            inner = inner.set_fit_request(groups=True, sample_weight=True)
        clf = TimeBudgetClassifier([Candidate("c", inner, where="main")], time_budget=20)
        if routing:
            pipeline = make_pipeline(
                StandardScaler().set_fit_request(sample_weight=False),
                clf.set_fit_request(groups=True, sample_weight=True),
            )
            pipeline.fit(X, y, groups=speaker, sample_weight=weight)
        else:
            pipeline = make_pipeline(StandardScaler(), clf)
            pipeline.fit(
                X,
                y,
                timebudgetclassifier__groups=speaker,
                timebudgetclassifier__sample_weight=weight,
            )
        assert pipeline.score(X, y) > 0.9


@pytest.mark.parametrize("where", ["main", "worker", "executor"])
def test_candidates_are_trained_with_the_callers_settings_of_scikit_learn(where):
    candidate = CalibratedClassifierCV(GaussianNB(), cv=GroupKFold(3))  # groups by routing only
    place = "main" if where == "main" else "worker"
    clf = TimeBudgetClassifier([Candidate("c", candidate, where=place)], time_budget=20)
    with ThreadPoolExecutor(1) as pool, sklearn.config_context(enable_metadata_routing=True):
        clf.set_params(executor=pool if where == "executor" else None)
        clf.fit(X, y, groups=np.arange(len(y)) // 5)
        assert pool.submit(sklearn.get_config).result()["enable_metadata_routing"] is False
    assert clf.failures_ == []


def test_where_transformers_give_tables_predictions_do_not_warn():
    pipeline = make_pipeline(FunctionTransformer(np.sqrt), StandardScaler(), GaussianNB())
    with sklearn.config_context(transform_output="pandas"), warnings.catch_warnings():
        warnings.simplefilter("error")
        clf = TimeBudgetClassifier([("bayes", pipeline)], time_budget=20).fit(X, y)
        assert clf.score(X, y) > 0.9
    assert clf.failures_ == []


def test_with_routing_weights_are_not_lost_unsaid():
    clf = TimeBudgetClassifier([("unset", LogisticRegression()), BAYES], time_budget=20)
    with sklearn.config_context(enable_metadata_routing=True):
        clf.set_params(bayes=GaussianNB().set_fit_request(sample_weight=True))
        clf.fit(X, y, sample_weight=np.linspace(1, 2, len(y)))
    ((name, error, _),) = clf.failures_
    assert name == "unset"
    assert "sample_weight" in error


@pytest.mark.parametrize(
    ("X", "advice"),
    [
        (np.zeros(3), "or ask a classifier by predict_one"),
        (Bunch(data=["a.wav"] * 3, target=y[:3]), r"Give its clips: X\['data'\]"),
        ({"a.wav", "b.wav", "c.wav"}, r"Give sorted\(X\)"),
        ((name for name in "abc"), r"Give list\(X\)"),
    ],
)
def test_what_is_no_sequence_is_refused_as_by_extractors(X, advice):
    with pytest.raises((TypeError, ValueError), match=advice) as caught:
        TimeBudgetClassifier([BAYES]).fit(X, [0, 1, 1])
    assert "a.wav" not in str(caught.value)


@pytest.mark.parametrize("cv", ["auto", StratifiedKFold(2)])
def test_rows_of_weight_0_are_left_out_of_the_validation(cv):
    """One clip of class 2 counts: it can't be held out, or no clip would teach its class."""
    labels = np.where(np.arange(len(y)) < 120, y, 0)  # some of those of weight 0 are wrong
    weight = np.where(np.arange(len(y)) < 101, 1.0, 0.0)
    candidates = [("shrunken", ShrinkageDiscriminantAnalysis()), LINEAR]
    clf = TimeBudgetClassifier(candidates, cv=cv, time_budget=30, random_state=0)
    with pytest.warns(UserWarning, match="1 class has too few"):
        clf.fit(X, labels, sample_weight=weight)
    assert clf.failures_ == []
    assert clf.best_score_ == 1


def test_a_candidate_that_takes_no_weights_does_not_see_rows_of_weight_0():
    weight = np.where(np.arange(len(y)) % 2, 1.0, 0.0)
    labels = np.where(weight > 0, y, (y + 1) % 3)
    clf = TimeBudgetClassifier([("nearest", KNeighborsClassifier(1))], time_budget=20)
    clf.fit(X, labels, sample_weight=weight)
    assert clf.best_score_ > 0.9
    assert (clf.predict(X) == y).mean() > 0.9


def test_weights_must_be_weights():
    text = y.astype(str)
    for groups in (text, text.astype(object), pd.Series(text), y.astype("S"), list(y.astype("S"))):
        with pytest.raises(ValueError, match=r"holds text, such as b?'0'.*groups="):
            TimeBudgetClassifier([BAYES]).fit(X, y, sample_weight=groups)
    with pytest.raises(ValueError, match="negative"):
        TimeBudgetClassifier([BAYES]).fit(X, y, sample_weight=np.where(y == 1, -1.0, 1.0))
    with pytest.raises(ValueError, match=r"0 for every clip of the classes \[1\]"):
        TimeBudgetClassifier([BAYES]).fit(X, y, sample_weight=y != 1)


# -------------------------------------------------------------------------- few rows


@pytest.mark.parametrize(
    ("n_classes", "n_each", "validated"), [(30, 2, True), (2, 2, True), (4, 1, False)]
)
def test_a_few_clips_of_each_class_are_enough_for_a_model(n_classes, n_each, validated):
    labels = np.repeat(np.arange(n_classes), n_each)
    rows = np.random.default_rng(0).normal(size=(n_classes, 5))[labels] * 5
    rows += np.random.default_rng(1).normal(size=rows.shape) * 0.01
    candidates = [("nearest", KNeighborsClassifier(1)), ("linear", LogisticRegression())]
    clf = TimeBudgetClassifier(candidates, time_budget=20, random_state=0)
    if validated:
        clf.fit(rows, labels)
        assert clf.best_score_ > 0.9
    else:
        with pytest.warns(UserWarning, match="No clip can be held out: each class has one clip"):
            clf.fit(rows, labels)
        assert np.isnan(clf.best_score_)
        assert clf.results_["weight"].tolist() == [0.5, 0.5]
    assert clf.score(rows, labels) == 1.0


def test_an_unvalidated_run_uses_workers_too():
    rows, labels = X[::50], y[::50]
    candidates = [BAYES, ("worker", fake.Logistic())]
    with pytest.warns(UserWarning, match="No clip can be held out"):
        clf = TimeBudgetClassifier(candidates, time_budget=30).fit(rows, labels)
    assert clf.results_["status"].tolist() == ["ok", "ok"]
    assert clf.results_["weight"].tolist() == [0.5, 0.5]
    assert "not validated" in clf.summary()


@pytest.mark.parametrize(
    ("groups", "reason"),
    [(y, "all clips of each class are in one group"), (np.zeros(len(y)), "a single group")],
    ids=["groups=y", "one group"],
)
def test_the_reason_why_nothing_can_be_held_out(groups, reason):
    with pytest.warns(UserWarning, match=reason):
        clf = TimeBudgetClassifier([BAYES], time_budget=20).fit(X, y, groups=groups)
    assert np.isnan(clf.best_score_)


def test_a_splitter_that_holds_whole_classes_out_is_told_why():
    with pytest.raises(ValueError, match=r"KFold.* only clips of classes that it does not train"):
        TimeBudgetClassifier([BAYES], cv=KFold(3)).fit(X, y)


# -------------------------------------------------------------------------- the user's folds


@pytest.mark.parametrize("seed", [0, 1])
def test_unsorted_folds_put_predictions_where_they_belong(seed):
    rng = np.random.default_rng(seed)
    folds = []
    for train, test in ShuffleSplit(2, test_size=0.4, random_state=seed).split(X):
        folds.append((rng.permutation(train), rng.permutation(test)))
    clf = TimeBudgetClassifier([LINEAR], cv=folds, time_budget=20).fit(X, y)
    expected = [
        LogisticRegression(max_iter=1000).fit(X[train], y[train]).score(X[test], y[test])
        for train, test in folds
    ]
    accuracy = TimeBudgetClassifier([LINEAR], cv=folds, scoring="accuracy", time_budget=20)
    accuracy.fit(X, y)
    assert accuracy.results_["split0_test_score"][0] == pytest.approx(expected[0])
    assert accuracy.results_["split1_test_score"][0] == pytest.approx(expected[1])
    assert clf.results_["score"][0] > 0.9


def test_a_subset_of_unsorted_rows_is_placed_right():
    """While only some rows are embedded, held-out rows are found by their place in the fold."""
    slow = make_pipeline(fake.SlowEmbedding(seconds=0.01), GaussianNB())
    rng = np.random.default_rng(0)
    rows = rng.permutation(np.tile(np.arange(len(y)), 4))
    test = rng.permutation(200)
    cv = [(np.arange(200, 600), test)]
    clf = TimeBudgetClassifier(
        [Candidate("slow", slow, first=True), BAYES], cv=cv, time_budget=5, random_state=0
    )
    clf.fit(X[rows], y[rows])
    scores = dict(zip(clf.results_["name"], clf.results_["score"], strict=True))
    assert scores["bayes"] > 0.9
    assert scores["slow"] > 0.9


@pytest.mark.parametrize(
    ("cv", "words"),
    [
        ((X[:30], y[:25]), "30 clips and 25 labels"),
        ((X[:20], y[:30]), "20 clips and 30 labels"),
        ((X[:0], y[:0]), "at least one clip"),
        ((X[:2], [0, None]), "missing"),
        ([(np.arange(100), np.arange(90, 150))], "10 rows in both parts"),
        ([(np.arange(100), np.arange(140, 160))], "out of bounds"),
        ([(np.arange(100), np.array([0.5]))], "must be of integer"),
    ],
)
def test_wrong_folds_are_named(cv, words):
    with pytest.raises(ValueError, match=f"cv=.*{words}|{words}.*cv="):
        splits(cv)


def test_a_score_that_needs_every_class_does_not_end_the_run():
    folds = [(np.arange(0, 150, 2), np.arange(1, 150, 2)), (np.arange(1, 150, 2), np.array([0, 2]))]
    clf = TimeBudgetClassifier([BAYES, LINEAR], cv=folds, scoring="roc_auc_ovr", time_budget=20)
    clf.fit(X, y)
    assert clf.results_["weight"].sum() == pytest.approx(1)
    assert clf.score(X, y) > 0.9


def test_a_score_that_divides_by_zero_at_times_does_not_end_the_run():
    def precision(estimator, X, y):
        found = int((estimator.predict(X) == 0).sum())
        return int((estimator.predict(X)[y == 0] == 0).sum()) / found

    folds = [(np.arange(0, 150, 2), np.arange(1, 150, 2)), (np.arange(1, 150, 2), np.array([148]))]
    clf = TimeBudgetClassifier([BAYES, LINEAR], cv=folds, scoring=precision, time_budget=20)
    assert clf.fit(X, y).best_score_ > 0.9
    assert np.isnan(clf.results_["split1_test_score"]).all()


def test_warm_start_knows_another_validation_set_by_its_values():
    rows = np.tile(X, (10, 1))
    one, other = (rows, np.tile(y, 10)), (rows.copy(), np.tile(y, 10))
    other[0][700, 2] += 1  # in the middle, which repr leaves out
    clf = TimeBudgetClassifier([BAYES], cv=one, time_budget=20, warm_start=True, random_state=0)
    clf.fit(X, y)
    with pytest.warns(UserWarning, match="starts anew"):
        clf.set_params(cv=other).fit(X, y)


@pytest.mark.parametrize("form", [list, np.array, lambda paths: pd.DataFrame({"path": paths})])
@pytest.mark.parametrize("validated", [False, True])
def test_warm_start_knows_files_that_were_written_anew(tmp_path, form, validated):
    clips, labels = labelled_tones(24, ["a", "b"], duration=0.2)
    paths = [str(tmp_path / f"{i}.wav") for i in range(24)]

    def write(clips):
        for path, clip in zip(paths, clips, strict=True):
            soundfile.write(path, clip, 16_000)

    write(clips)
    heard = make_pipeline(SpectralStatistics(), GaussianNB())
    clf = TimeBudgetClassifier([("heard", heard)], time_budget=20, warm_start=True, random_state=0)
    if validated:
        clf.set_params(cv=(form(paths), labels))
    X = clips if validated else form(paths)
    first = clf.fit(X, labels).best_score_
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert clf.fit(X, labels).best_score_ == first
    write([noise(0.2, seed=i) for i in range(24)])
    with pytest.warns(UserWarning, match="starts anew"):
        clf.fit(X, labels)
    assert clf.best_score_ < first


def test_warm_start_by_another_score_starts_anew():
    clf = TimeBudgetClassifier([BAYES, LINEAR], scoring="accuracy", time_budget=20, random_state=0)
    clf.set_params(warm_start=True).fit(X, y)
    with pytest.warns(UserWarning, match="cv or scoring .* starts anew"):
        clf.set_params(scoring="neg_log_loss").fit(X, y)
    scores = [clf.best_score_, *clf.results_["score"], *clf.learning_curve_["score"]]
    assert (np.array(scores) < 0).all()


def test_warm_start_chooses_by_the_rule_and_the_limit_of_now():
    slow = Candidate("slow", fake.SlowToPredict(seconds=0.001), where="main")
    clf = TimeBudgetClassifier([LINEAR, BAYES, slow], cv=3, time_budget=20, random_state=0)
    clf.set_params(warm_start=True, refit=False, selection="threshold").fit(X, y)
    anew = clone(clf).set_params(selection="greedy").fit(X, y).results_["weight"]
    assert clf.results_["weight"].tolist() != anew.tolist()
    assert clf.set_params(selection="greedy").fit(X, y).results_["weight"].tolist() == anew.tolist()
    clf.set_params(selection="threshold", predict_time_budget=0.0005).fit(X, y)
    assert clf.results_["weight"].tolist() == [0.5, 0.5, 0]
    assert len(clf.ensemble_.estimators_) == 2  # and not the models of all folds


# -------------------------------------------------------------------------- scores


def test_best_score_is_not_flattered_by_the_choice():
    """Thirty guessers, sixty rows: the best of them looks good by chance, and is not."""
    rng = np.random.default_rng(0)
    rows, labels = rng.normal(size=(60, 4)), np.arange(60) % 2
    guessers = [Candidate(f"g{i}", fake.Guesser(i), where="main") for i in range(30)]
    clf = TimeBudgetClassifier(guessers, cv=3, time_budget=60, random_state=0).fit(rows, labels)
    assert not np.isnan(clf.results_["score"]).any()
    assert max(clf.results_["score"]) >= 0.6
    assert clf.best_score_ < max(clf.results_["score"]) - 0.05


@pytest.mark.parametrize("scoring", ["neg_log_loss", "roc_auc_ovr"])
def test_the_scores_of_the_splits_are_those_of_the_score(scoring):
    """Of what is often sure and wrong, each one of them counts a floor under the probabilities."""
    noisy, nearest = X[:, :2], ("nearest", KNeighborsClassifier(1))
    cv = (noisy[::2], y[::2])
    clf = TimeBudgetClassifier([nearest, BAYES], cv=cv, scoring=scoring, time_budget=20)
    results = clf.fit(noisy[1::2], y[1::2]).results_
    np.testing.assert_allclose(results["split0_test_score"], results["score"])


def test_folds_that_hold_the_same_rows_out_have_a_cross_fitted_score():
    cv = [(np.arange(part, 150, 3), np.arange(2, 150, 3)) for part in (0, 1)]
    clf = TimeBudgetClassifier([BAYES, LINEAR], cv=cv, time_budget=20, random_state=0).fit(X, y)
    assert 0.8 < clf.best_score_ <= 1


def test_a_first_answer_has_its_own_score_in_the_learning_curve():
    poor = Candidate("poor", fake.Guesser(), where="main", first=True)
    clf = TimeBudgetClassifier([poor, LINEAR], time_budget=20, random_state=0)
    clf.fit(X, y)
    score = dict(zip(clf.results_["name"], clf.results_["score"], strict=True))["poor"]
    assert clf.learning_curve_["score"][0] == score < 0.6
    assert clf.learning_curve_["score"][-1] == clf.best_score_ > 0.9


def test_an_ensemble_without_a_score_has_none_in_the_learning_curve():
    """One held-out row can't both choose members and judge them."""
    cv = (X[::150], y[::150])
    clf = TimeBudgetClassifier([BAYES, LINEAR], cv=cv, time_budget=20, random_state=0)
    with pytest.warns(UserWarning, match="2 classes have too few"):
        clf.fit(X[1:], y[1:])
    scores = clf.learning_curve_["score"]
    assert not np.isnan(scores[0])  # the first answer's own
    assert np.isnan([clf.best_score_, scores[-1]]).all()


def test_the_validation_is_repeated_with_other_folds_where_time_is_left():
    clf = TimeBudgetClassifier([BAYES, LINEAR], time_budget=30, random_state=0).fit(X, y)
    assert sum(name.startswith("split") for name in clf.results_) == 15
    assert clf.timing_["total"] < 25
    given = TimeBudgetClassifier([BAYES, LINEAR], cv=3, time_budget=30, random_state=0).fit(X, y)
    assert sum(name.startswith("split") for name in given.results_) == 3


def test_summary_of_a_run_with_a_first_answer_only():
    look = Candidate("look", GaussianNB(), first=True)
    clf = TimeBudgetClassifier([look, ("sleeper", fake.Sleeper())], time_budget=30)
    for _ in clf.iter_fit(X, y):
        break
    assert "look: weight 1.00" in clf.summary()
    assert "frequencies" not in clf.summary()


@pytest.mark.parametrize("shared", [False, True])
@pytest.mark.parametrize("names", [("x__y", "x_y"), ("a___b", "verbose"), ("it", "it (0)")])
def test_candidates_may_have_any_two_names(names, shared):
    models = [make_pipeline(FunctionTransformer(), m) if shared else m for _, m in (BAYES, LINEAR)]
    candidates = list(zip(names, models, strict=True))
    settings = {"cv": 3, "time_budget": 20, "selection": "threshold", "random_state": 0}
    for refit in (False, True):
        clf = TimeBudgetClassifier(candidates, refit=refit, **settings).fit(X, y)
        assert clf.results_["weight"].tolist() == [0.5, 0.5]
        assert clf.best_score_ > 0.9


def test_the_time_of_predicting_is_that_of_all_models_that_vote():
    slow = Candidate("slow", fake.SlowToPredict(seconds=0.001), where="worker")
    settings = {"cv": 3, "time_budget": 30, "random_state": 0, "refit": False}
    clf = TimeBudgetClassifier([slow], predict_time_budget=0.002, **settings).fit(X, y)
    assert len(clf.ensemble_.estimators_) == 1
    assert len(TimeBudgetClassifier([slow], **settings).fit(X, y).ensemble_.estimators_) == 3


@pytest.mark.parametrize(
    ("rows", "why"),
    [(slice(None), "Raise it"), (slice(None, None, 50), "not measured")],
    ids=["slow", "not measured"],
)
def test_a_limit_that_no_candidate_keeps_is_told(rows, why):
    slow = Candidate("slow", fake.SlowToPredict(seconds=0.001), where="main")
    clf = TimeBudgetClassifier([slow], predict_time_budget=0.0005, time_budget=10, random_state=0)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "No clip can be held out")
        with pytest.warns(UserWarning, match=f"slow may take .* predict_time_budget=0.0005.*{why}"):
            clf.fit(X[rows], y[rows])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        clf.set_params(predict_time_budget=0.1).fit(X, y)


# -------------------------------------------------------------------------- the order of rows


def test_large_rows_come_last():
    rows = [np.zeros(100)] * 8 + [np.zeros(5000)] + [np.zeros(120)] * 3
    sizes = row_sizes(rows)
    assert sizes.tolist() == [100] * 8 + [5000] + [120] * 3
    codes = np.arange(12) % 2
    order = value_order(codes, 12, [Fold(np.arange(6), np.arange(6, 12))], sizes, 0)
    assert order[-1] == 8
    assert sorted(order) == list(range(12))


@pytest.mark.parametrize("folds", [[], [Fold(np.arange(40), np.arange(40, 50))]])
def test_rows_of_weight_0_have_no_place_in_the_order(folds):
    """Where the few rows of a race are of weight 0, it is won by chance, or nothing is trained."""
    weight = np.where(np.arange(200) < 50, 1.0, 0.0)
    order = value_order(np.arange(230) % 5, 200, folds, np.ones(230), 0, weight)
    assert sorted(order) == [*range(50), *range(200, 230)]


@pytest.mark.parametrize("where", ["main", "worker"])
def test_clips_of_weight_0_are_not_read(where):
    clips, labels = labelled_tones(30)
    model = make_pipeline(SpectralStatistics(), LogisticRegression(max_iter=5000))
    clf = TimeBudgetClassifier([Candidate("it", model, where=where)], time_budget=20)
    clf.fit([*clips, "missing.wav"], [*labels, labels[0]], sample_weight=[1] * len(clips) + [0])
    assert clf.failures_ == []


def test_a_race_is_over_though_some_folds_have_none_of_its_rows(monkeypatch):
    monkeypatch.setattr("skspeech.time_budget.state.RACE_ROWS", 15)
    racers = [(name, make_pipeline(FunctionTransformer(), m)) for name, m in (BAYES, LINEAR)]
    racers[1][1].steps[0][1].set_params(func=np.sqrt)
    clf = TimeBudgetClassifier(racers, cv=LeaveOneGroupOut(), time_budget=20, random_state=0)
    clf.fit(X, y, groups=np.arange(len(y)) // 3)
    assert (clf.results_["score"] > 0.8).all()
    assert max(clf.results_["finished"]) < 15  # and not when the time was up


def test_sizes_are_those_of_files_and_pairs_too(tmp_path):
    path = tmp_path / "a.raw"
    path.write_bytes(b"x" * 321)
    assert row_sizes([str(path), path, (np.zeros(7), 16_000)]).tolist() == [321, 321, 7]
    assert row_sizes([str(path), tmp_path / "missing"]).tolist() == [1, 1]
    assert row_sizes(as_clips([str(path), str(path)])).tolist() == [321, 321]
    assert row_sizes(as_clips([np.zeros(5), np.zeros(9)])).tolist() == [5, 9]
    assert row_sizes(X[:3]).tolist() == [1, 1, 1]


def test_the_ensemble_is_the_one_geometric_mean():
    settings = {"selection": "threshold", "random_state": 0}  # equal scores would leave one out
    clf = TimeBudgetClassifier([BAYES, LINEAR], time_budget=20, **settings).fit(X, y)
    assert isinstance(clf.ensemble_, GeometricMeanVotingClassifier)
    assert clf.results_["weight"].tolist() == [0.5, 0.5]


# -------------------------------------------------------------------------- voices


def _clips_of_voices(n_voices, n_each, seed=0):
    """Features like the speaker network's, in which only the voice can be heard."""
    extractor = SpeakerEmbedding(pooling=("mean",))
    names = extractor.get_feature_names_out()
    voices = np.repeat(np.arange(n_voices), n_each)
    rng = np.random.default_rng(seed)
    matrix = rng.normal(size=(n_voices, len(names)))[voices] + 0.3 * rng.normal(
        size=(len(voices), len(names))
    )
    features = SharedFeatures("key", [("extractor", extractor)])
    features.store([(np.arange(len(voices)), matrix)], len(voices))
    return features, voices


def test_voices_are_found_in_complete_features_of_the_speaker_network():
    features, voices = _clips_of_voices(8, 15)
    # Mostly one class a voice, and never one class alone.
    codes = np.where(np.arange(len(voices)) % 15 < 13, voices % 2, 1 - voices % 2)
    rows = np.arange(len(voices))
    groups = voices_in([features], codes, rows).groups
    assert len(np.unique(np.column_stack([groups, voices]), axis=0)) == 8
    groups, reason = voices_in([features], voices, rows)
    assert groups is None
    assert "classes are voices" in reason
    features.level -= 1  # the network has not heard all clips
    assert voices_in([features], codes, rows) is None


class KnowsVoices(fake.Fake):
    """Right for rows of voices that it has heard, and mostly wrong for others."""

    def fit(self, X, y):
        self.classes_, self.heard_ = np.unique(y), np.unique(X[:, 1])
        return self

    def predict_proba(self, X):
        known = np.isin(X[:, 1], self.heard_)
        right = np.where(known, 0.9999, 0.3)[:, None]
        return np.where(np.eye(2)[X[:, 0].astype(int)] == 1, right, 1 - right)


class KnowsWords(KnowsVoices):
    """Right for nine rows of ten, whoever speaks."""

    def predict_proba(self, X):
        right = np.where(X[:, 2] % 10 == 0, 0.2, 0.9)[:, None]
        return np.where(np.eye(2)[X[:, 0].astype(int)] == 1, right, 1 - right)


@pytest.fixture
def rows_of_voices(monkeypatch):
    """Rows of six voices, and a run that finds them: the class, the voice, and the row's number."""
    voices = np.repeat(np.arange(6), 20)
    rows = np.column_stack([np.arange(120) % 2, voices, np.arange(120)]).astype(float)
    line_up = [
        Candidate("voices", make_pipeline(fake.SlowEmbedding(seconds=0), KnowsVoices()), "main"),
        Candidate("words", make_pipeline(fake.SlowEmbedding(seconds=0), KnowsWords()), "main"),
    ]
    patched = "skspeech.time_budget.line_ups"
    monkeypatch.setattr(f"{patched}.default_candidates", lambda *args, **kwargs: line_up)
    monkeypatch.setattr(f"{patched}.voices_in", lambda features, y, rows: Voices(voices, ""))
    return rows, rows[:, 0].astype(int), voices


def test_members_are_also_chosen_for_new_voices(rows_of_voices):
    rows, labels, _ = rows_of_voices
    clf = TimeBudgetClassifier(time_budget=30, random_state=0).fit(rows, labels)
    weights = dict(zip(clf.results_["name"], clf.results_["weight"], strict=True))
    assert weights["words"] > 0.6
    given = TimeBudgetClassifier(time_budget=30, random_state=0).fit(
        rows, labels, groups=rows[:, 2]
    )
    weights = dict(zip(given.results_["name"], given.results_["weight"], strict=True))
    assert weights["words"] < 0.3  # each row is a group of its own, so only rows are held out
    # A run that goes on knows the voices.
    clf = TimeBudgetClassifier(time_budget=30, random_state=0, warm_start=True).fit(rows, labels)
    n_folds = len(clf._state.state.folds)
    clf.set_params(time_budget=5).fit(rows, labels)
    assert len(clf._state.state.folds) == n_folds
    # Nobody said that voices will be new, so scores are those of held-out rows.
    assert clf.best_score_ == 1.0
    assert sum(name.startswith("split") for name in clf.results_) == 9
    scores = dict(zip(clf.results_["name"], clf.results_["mean_test_score"], strict=True))
    assert scores == pytest.approx({"voices": 1.0, "words": 0.9})


def test_a_run_without_groups_remarks_that_only_voices_were_recognised(rows_of_voices, monkeypatch):
    rows, labels, voices = rows_of_voices
    monkeypatch.setattr(KnowsWords, "predict_proba", KnowsVoices.predict_proba)
    events = []
    clf = TimeBudgetClassifier(time_budget=30, random_state=0, callbacks=events.append)
    clf.fit(rows, labels)
    (remark,) = clf.remarks_
    assert "Clips of new voices are recognised worse: 1.00 on held-out clips, 0.00" in remark
    assert remark in clf.summary()
    assert [event["text"] for event in events if event["event"] == "remark"] == [remark]
    assert not TimeBudgetClassifier(time_budget=30).fit(rows, labels, groups=voices).remarks_


@pytest.mark.parametrize("selection", ["least-loss", "greedy", "threshold"])
def test_the_remark_needs_no_change_of_members(rows_of_voices, selection):
    """Whoever is alone has all the weight, before and after voices were held out."""
    rows, labels, _ = rows_of_voices
    candidates = ["auto", "-words"]
    clf = TimeBudgetClassifier(candidates, selection=selection, time_budget=30, random_state=0)
    clf.fit(rows, labels)
    (remark,) = clf.remarks_
    assert "recognised worse: 1.00 on held-out clips, 0.00" in remark


def _voices_are(monkeypatch, find):
    monkeypatch.setattr("skspeech.time_budget.line_ups.voices_in", find)


@pytest.mark.parametrize(("n_voices", "by_voice"), [(1, 0), (2, 1), (3, 1), (6, 2)])
def test_where_voices_can_be_spread_in_few_ways_random_repeats_go_on(
    rows_of_voices, monkeypatch, n_voices, by_voice
):
    rows, labels, voices = rows_of_voices
    _voices_are(monkeypatch, lambda features, y, rows: Voices(voices % n_voices, ""))
    clf = TimeBudgetClassifier(time_budget=30, random_state=0, warm_start=True).fit(rows, labels)
    folds = clf._state.state.folds
    assert 1 + max(fold.repeat for fold in folds) == 5
    assert len({fold.repeat for fold in folds if not fold.is_scored}) == by_voice
    assert sum(name.startswith("split") for name in clf.results_) == 3 * (5 - by_voice)


def _several_features():
    return [
        Candidate(f"power {k}", make_pipeline(fake.SlowEmbedding(power=k), GaussianNB()), "main")
        for k in (1, 2, 3, 4)
    ]


def test_a_search_for_voices_that_hangs_is_logged_and_not_tried_again(
    rows_of_voices, monkeypatch, caplog
):
    rows, labels, _ = rows_of_voices
    begun, end = [], threading.Event()

    def hang(features, y, rows):
        begun.append(len(features))
        end.wait(60)

    _voices_are(monkeypatch, hang)
    clf = TimeBudgetClassifier(["auto", *_several_features()], time_budget=4, random_state=0)
    clf.fit(rows, labels)
    end.set()
    assert len(begun) == 1
    assert "No voices are looked for in the clips, by an error:\nno answer after" in caplog.text
    assert (clf.results_["status"] == "ok").all()


def test_a_search_for_voices_that_fails_is_logged_once_and_loses_nothing(
    rows_of_voices, monkeypatch, caplog
):
    def fail(features, y, rows):
        raise MemoryError("too many clips")

    _voices_are(monkeypatch, fail)
    rows, labels, _ = rows_of_voices
    clf = TimeBudgetClassifier(["auto", *_several_features()], time_budget=30, random_state=0)
    clf.fit(rows, labels)
    assert (clf.results_["status"] == "ok").all()
    assert caplog.text.count("No voices are looked for") == 1
    assert "too many clips" in caplog.text


def test_of_very_many_rows_the_first_ones_tell_who_knows_voices(rows_of_voices, monkeypatch):
    rows, labels, voices = rows_of_voices
    heard = []

    def find(features, y, rows):
        heard.append(rows)
        return Voices(voices[rows], "")

    _voices_are(monkeypatch, find)
    monkeypatch.setattr("skspeech.time_budget.state.FIRST_LEVEL", 55)
    clf = TimeBudgetClassifier(time_budget=30, random_state=0, warm_start=True).fit(rows, labels)
    (first,) = heard
    assert len(first) == 55
    assert (np.diff(first) > 0).all()
    by_voice = [fold for fold in clf._state.state.folds if not fold.is_scored]
    assert by_voice
    for fold in by_voice:
        assert np.isin(fold.train, first).all()
        assert np.isin(fold.test, first).all()
        assert not set(voices[fold.train]) & set(voices[fold.test])
    weights = dict(zip(clf.results_["name"], clf.results_["weight"], strict=True))
    assert weights["words"] > 0.5  # 0.2 without them
    assert clf.best_score_ == 1.0


def test_voices_are_looked_for_until_all_clips_are_heard(rows_of_voices, monkeypatch):
    rows, labels, voices = rows_of_voices
    answers = [None, None, Voices(voices, "")]
    _voices_are(monkeypatch, lambda features, y, rows: answers.pop(0))
    TimeBudgetClassifier(["auto", *_several_features()], time_budget=30).fit(rows, labels)
    assert not answers


def test_a_run_that_goes_on_with_other_candidates_looks_for_voices(rows_of_voices):
    rows, labels, _ = rows_of_voices
    clf = TimeBudgetClassifier(_several_features(), time_budget=30, warm_start=True, random_state=0)
    clf.fit(rows, labels)
    assert all(fold.is_scored for fold in clf._state.state.folds)
    clf.set_params(candidates=["auto"]).fit(rows, labels)
    assert not all(fold.is_scored for fold in clf._state.state.folds)


def test_the_last_choice_scores_no_more_than_somebody_reads(rows_of_voices, monkeypatch):
    rows, labels, voices = rows_of_voices
    scored = []

    def count(self, pool, table, cross_fitted=Chooser._cross_fitted):
        scored.append(len(table.codes))
        return cross_fitted(self, pool, table)

    monkeypatch.setattr(Chooser, "_cross_fitted", count)
    settings = {"selection": "threshold", "time_budget": 30, "random_state": 0}
    candidates = ["auto", "-words"]
    TimeBudgetClassifier(candidates, **settings).fit(rows, labels, groups=voices)
    given = len(scored)
    TimeBudgetClassifier(candidates, **settings).fit(rows, labels)
    assert (given, len(scored) - given) == (1, 2)  # once more, for the remark on voices


def test_what_an_unfinished_repeat_lacks_hides_nothing():
    codes = np.arange(4) % 2
    chooser = Chooser(RunState(60.0, 4, 4, 2), Data([None] * 4, codes, codes), None, None, None, 0)
    assert np.isnan(chooser.held_out_probas(4)[0]).all()
    rows = np.tile(np.arange(4), 3)
    blend = np.full((12, 2), np.nan)
    blend[:4], blend[4:8], blend[8] = 0.1, 0.2, 0.3
    table = HeldOutTable(None, rows, codes[rows], None, None, np.arange(12) < 4)
    chooser._judged = blend, table
    scored, others = chooser.held_out_probas(4)[0]
    assert scored[:, 0].tolist() == [0.1] * 4
    assert others[:, 0].tolist() == [0.3, 0.2, 0.2, 0.2]


def test_rows_that_are_held_out_again_make_no_ensemble_surer():
    """39 rows of 40 are right: held out once or five times, that is all that is known."""
    rows = np.arange(40)
    codes = rows % 2
    data = Data([None] * 40, codes, codes)
    proba = np.where(np.eye(2)[np.where(np.arange(40) < 39, codes, 1 - codes)] == 1, 0.9, 0.1)
    temperatures = []
    for n_repeats, n_predicted in [(1, 1), (5, 5), (5, 1)]:
        entry = CandidateState(0, Candidate("one", GaussianNB()), None, GaussianNB(), "main")
        folds = [
            Fold(np.flatnonzero(rows // 2 % 2 != k), np.flatnonzero(rows // 2 % 2 == k), r)
            for r in range(n_repeats)
            for k in range(2)
        ]
        for number, fold in enumerate(folds[: 2 * n_predicted]):
            entry.held_out[number] = HeldOut(np.arange(20), np.log(proba[fold.test]))
            entry.models[number], entry.levels[number] = object(), 40
        state = RunState(60.0, 40, 40, 2, folds=folds)
        state.entries = [entry]
        score = ProbabilityScore("balanced_accuracy", [0, 1])
        chooser = Chooser(state, data, score, "least-loss", None, 0)
        chooser.choose()
        temperatures.append(chooser.temperature)
    assert temperatures[1:] == pytest.approx([temperatures[0]] * 2, abs=0.01)
    assert temperatures[0] != 1


@pytest.mark.network
@pytest.mark.slow
def test_voices_stand_in_for_groups_that_nobody_gave():
    clips = make_speech_like(n_samples=60, n_classes=3, n_speakers=4, random_state=0)
    settings = {"preset": "fast", "time_budget": 60, "random_state": 0}
    seen = {}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            "skspeech.time_budget.session.Session.begin",
            lambda self, begin=Session.begin: (seen.update(groups=self.data.groups), begin(self)),
        )
        TimeBudgetClassifier(**settings).fit(clips.data, clips.target, groups="voices")
        assert 2 <= len(np.unique(seen["groups"])) <= 8
        reason = (None, "all clips of a class sound the same")
        patch.setattr("skspeech.time_budget.line_ups.group_by_voice", lambda *a, **k: reason)
        with pytest.warns(UserWarning, match="finds no groups: all clips of a class sound"):
            TimeBudgetClassifier(**settings).fit(clips.data, clips.target, groups="voices")
        assert seen["groups"] is None


def test_other_words_are_no_groups():
    with pytest.raises(ValueError, match="groups"):
        TimeBudgetClassifier([BAYES]).fit(X, y, groups="speakers")


def test_bad_clips_are_named_with_advice_that_can_be_followed(tmp_path):
    clips = [*(noise(0.5, seed=i) for i in range(10)), tmp_path / "no.wav"]
    candidates = [
        ("spectra", make_pipeline(SpectralStatistics(), GaussianNB())),
        Candidate("itself", MixedUp(), where="main"),
    ]
    with pytest.raises(AudioError, match=r"(?s)1 of 11 clips .*no\.wav.*leave them out") as caught:
        TimeBudgetClassifier(candidates, time_budget=20).fit(clips, [0, 1] * 5 + [0])
    assert "errors=" not in str(caught.value)


class MixedUp(fake.Fake):
    """Embeds the clips itself."""

    def fit(self, X, y):
        SpectralStatistics().transform(X)
        return super().fit(X, y)
