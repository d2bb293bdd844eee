"""The rejector: what is of no class is told, with as many errors as were asked for."""

import pickle
import re
from pathlib import Path

import numpy as np
import pytest
import soundfile
from scipy.stats import f_oneway
from sklearn import config_context
from sklearn.base import BaseEstimator, ClassifierMixin, clone
from sklearn.compose import make_column_transformer
from sklearn.decomposition import PCA
from sklearn.dummy import DummyClassifier
from sklearn.exceptions import NotFittedError, UnsetMetadataPassedError
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import GridSearchCV
from sklearn.multiclass import OneVsRestClassifier
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import FeatureUnion, make_pipeline
from sounds import labelled_tones

import skspeech
from skspeech import (
    AugmentedClassifier,
    FusedEmbeddingClassifier,
    GeometricMeanVotingClassifier,
    ShrinkageDiscriminantAnalysis,
    SpeakerEmbeddingClassifier,
    SpectralStatistics,
    TimeBudgetClassifier,
    UnknownRejector,
    VoiceActivityTrimmer,
)
from skspeech.audio import AudioError, AudioLoader
from skspeech.unknown.features import extractor_of
from skspeech.unknown.held_out import _target_among_others, _threshold, hold_out_rows
from skspeech.unknown.novelty import learn_classes, measure, principal_axes

GUIDE = Path(__file__).parents[1] / "docs" / "guide" / "unknown.md"


def make_blobs(n_each, classes, *, n_features=12, spread=1.0, seed=0):
    """Rows of classes whose centres don't depend on which of them are asked for."""
    centres = 4 * np.random.default_rng(99).normal(size=(20, n_features))
    rng = np.random.default_rng(seed)
    y = np.repeat(classes, n_each)
    return centres[y] + spread * rng.normal(size=(len(y), n_features)), np.char.add(
        "c", y.astype(str)
    )


@pytest.fixture(scope="module")
def table():
    """Rows of six known classes, and the rejector that learnt from them."""
    X, y = make_blobs(30, range(6))
    return X, y, UnknownRejector(LogisticRegression(max_iter=5000), random_state=0).fit(X, y)


@pytest.fixture(scope="module")
def new_rows():
    """New rows of the known classes, and rows of others."""
    return make_blobs(100, range(6), seed=1)[0], make_blobs(100, range(6, 12), seed=2)[0]


# -- What it answers -------------------------------------------------------------------------------


def test_unknown_rows_are_rejected_and_known_ones_are_not(table, new_rows):
    _, _, rejector = table
    known, unknown = (rejector.predict(rows) for rows in new_rows)
    assert np.mean(unknown == "unknown") > 0.95
    assert np.mean(known == "unknown") < 0.1
    assert rejector.method_ == "leave-class-out"
    assert rejector.classes_.tolist() == [*(f"c{i}" for i in range(6)), "unknown"]


@pytest.mark.parametrize("target", [0.02, 0.1, 0.3])
def test_as_many_known_rows_are_rejected_as_was_asked_for(target, new_rows):
    X, y = make_blobs(60, range(6))
    rejector = UnknownRejector(
        LogisticRegression(max_iter=5000), target=target, random_state=0
    ).fit(X, y)
    assert np.mean(rejector.unknown_score(new_rows[0]) > 0) == pytest.approx(target, abs=0.04)
    assert rejector.false_rejects_ == pytest.approx(target, abs=0.03)


def test_errors_that_are_told_are_those_of_new_rows():
    """Where classes overlap, a rejector is often wrong, and says how often."""
    told, found = [], []
    for seed in range(4):
        X, y = make_blobs(40, range(6), spread=5.0, seed=seed)
        rejector = UnknownRejector(LogisticRegression(max_iter=5000), random_state=0).fit(X, y)
        told.append(rejector.false_accepts_)
        X_new, _ = make_blobs(100, range(6, 20), spread=5.0, seed=100 + seed)
        found.append(np.mean(rejector.unknown_score(X_new) <= 0))
        low, high, meaning = rejector.false_accepts_interval_
        assert 0 <= low <= told[-1] <= high <= 1
        assert meaning == "for a new class, from 6 of them"
    assert np.mean(found) > 0.3  # or nothing would be tested
    assert np.mean(told) == pytest.approx(np.mean(found), abs=0.15)


def test_of_very_many_rows_those_of_a_rare_class_are_learnt_from():
    X, y = make_blobs(400, range(4))
    one, _ = make_blobs(1, [9])
    rejector = UnknownRejector(LogisticRegression(max_iter=5000), random_state=0)
    rejector.fit(np.vstack([X, one]), np.append(y, "rare"))
    assert rejector.predict(one) == ["rare"]


def test_probabilities_agree_with_answers(table, new_rows):
    _, _, rejector = table
    X = np.concatenate(new_rows)
    proba, scores = rejector.predict_proba(X), rejector.unknown_score(X)
    np.testing.assert_allclose(proba.sum(axis=1), 1)
    np.testing.assert_array_equal(rejector.classes_[proba.argmax(axis=1)], rejector.predict(X))
    of_unknown = proba[:, rejector.classes_ == "unknown"].ravel()
    assert (of_unknown[scores > 0] > proba.max(axis=1)[scores > 0] - 1e-12).all()
    inner = rejector.estimator_.predict_proba(X)
    np.testing.assert_allclose(proba[:, :6] / proba[:, :6].sum(axis=1, keepdims=True), inner)


def test_examples_teach_what_left_out_classes_can_not():
    """Unknown rows between two classes look known, unless one has seen some."""
    X, y = make_blobs(40, range(6), spread=2.0)
    rng = np.random.default_rng(0)
    between = (X[y == "c0"].mean(axis=0) + X[y == "c1"].mean(axis=0)) / 2
    others = between + 2 * rng.normal(size=(90, X.shape[1]))
    X_all, y_all = np.concatenate([X, others[:40]]), np.append(y, np.repeat("unknown", 40))
    with_examples = UnknownRejector(LogisticRegression(max_iter=5000), random_state=0).fit(
        X_all, y_all
    )
    without = clone(with_examples).set_params(method="leave-class-out").fit(X_all, y_all)

    assert with_examples.method_ == "examples"
    assert without.method_ == "leave-class-out"
    assert with_examples.classes_.tolist() == without.classes_.tolist()
    assert "unknown" not in with_examples.estimator_.classes_
    rejected = [np.mean(r.unknown_score(others[40:]) > 0) for r in (with_examples, without)]
    assert rejected[0] > 0.9
    assert rejected[0] >= rejected[1]
    assert with_examples.false_accepts_ == pytest.approx(1 - rejected[0], abs=0.1)


def test_few_examples_are_not_relied_on():
    X, y = make_blobs(20, range(5))
    y[:3] = "unknown"
    rejector = UnknownRejector(LogisticRegression(max_iter=5000), random_state=0)
    with pytest.warns(UserWarning, match="^3 examples of unknown clips are left aside: 10"):
        assert rejector.fit(X, y).method_ == "leave-class-out"
    with pytest.warns(UserWarning, match="are used, but say little"):
        rejector.set_params(method="examples").fit(X, y)
    with pytest.raises(ValueError, match="'examples' needs clips whose label is 'unknown'"):
        UnknownRejector(LogisticRegression(max_iter=5000), method="examples").fit(X[3:], y[3:])


def test_two_classes():
    """A row between them is unknown, but none tells how often such rows are accepted."""
    X, y = make_blobs(40, range(2))
    rejector = UnknownRejector(LogisticRegression(max_iter=5000), random_state=0).fit(X, y)
    between = (X[y == "c0"].mean(axis=0) + X[y == "c1"].mean(axis=0)) / 2
    assert rejector.predict([between]).tolist() == ["unknown"]
    assert np.mean(rejector.predict(make_blobs(50, range(2), seed=4)[0]) == "unknown") < 0.15
    assert np.isnan(rejector.false_accepts_)
    assert rejector.false_rejects_ == pytest.approx(0.05, abs=0.05)


# -- Groups ----------------------------------------------------------------------------------------


class GroupsSeen(ClassifierMixin, BaseEstimator):
    """Keeps the groups that it was given."""

    def fit(self, X, y, groups=None):
        self.groups_, self.classes_ = groups, np.unique(y)
        return self

    def predict(self, X):
        return np.repeat(self.classes_[:1], len(X))


def test_groups_are_kept_whole_and_handed_on():
    X, y = make_blobs(20, range(4))
    groups = np.tile(np.arange(10), 8)
    y[:10] = "unknown"
    rejector = UnknownRejector(GroupsSeen(), random_state=0).fit(X, y, groups=groups)
    np.testing.assert_array_equal(rejector.estimator_.groups_, groups[10:])

    learnt_from = []

    def spy(rows, codes):
        learnt_from.append(rows[:, 0])
        return learn_classes(np.random.default_rng(0).normal(size=(len(rows), 3)), codes)

    rows, codes = np.repeat(groups[:, np.newaxis], 3, axis=1).astype(float), np.repeat(range(4), 20)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("skspeech.unknown.held_out.learn_classes", spy)
        whole, parts, models = hold_out_rows(rows, codes, groups, leave_out=True, random_state=0)
        _, alone, _ = hold_out_rows(rows, codes, None, leave_out=True, random_state=0)
    assert len(learnt_from) == 2 * (5 + 4)
    assert len(models) == 5
    assert all(len(np.unique(part)) == 8 for part in learnt_from[:9])
    assert sorted(whole.row) == list(range(80))
    assert not whole.unknown.any()
    # A left-out class is measured in the two groups that were held out with it; or everywhere.
    assert len(parts.row) == 4 * 4
    assert sorted(alone.row) == list(range(80))
    for left, part in zip(learnt_from[5:9], range(4), strict=True):
        assert not np.isin(groups[parts.row[parts.part == part]], left).any()
        assert len(np.unique(codes[parts.row[parts.part == part]])) == 1


def test_new_speakers_are_what_the_threshold_is_for():
    """Each speaker's rows lie apart: with groups, the threshold knows that new ones do, too."""
    rng = np.random.default_rng(0)
    X, y = make_blobs(60, range(5))
    speakers = np.tile(np.arange(12), 25)
    own = 2 * rng.normal(size=(30, X.shape[1]))
    X = X + own[speakers]
    X_new, _ = make_blobs(60, range(5), seed=1)
    X_new = X_new + own[12 + np.tile(np.arange(18), 17)[: len(X_new)]]
    rejected = {}
    for name, groups in (("with", speakers), ("without", None)):
        rejector = UnknownRejector(LogisticRegression(max_iter=5000), target=0.1, random_state=0)
        rejector.fit(X, y, groups=groups)
        rejected[name] = np.mean(rejector.unknown_score(X_new) > 0)
    assert rejected["with"] < 0.75 * rejected["without"]
    assert rejected["with"] == pytest.approx(0.1, abs=0.1)


def test_the_threshold_allows_for_how_groups_differ():
    rng = np.random.default_rng(0)
    fold = np.repeat(range(5), 40)
    scores = 3 * rng.normal(size=5)[fold] + rng.normal(size=200)
    share = _target_among_others(scores, fold, 0.3)
    assert 0 < share < 0.3
    limits = np.array([_threshold(scores[fold != own], share) for own in range(5)])
    assert np.mean(scores > limits[fold]) <= 0.3
    alike = np.tile(np.arange(40.0), 5)
    assert _target_among_others(alike, fold, 0.3) == 0.3
    assert _target_among_others(scores, np.zeros(200), 0.3) == 0.3


def test_where_no_group_can_be_held_out():
    X, y = make_blobs(20, range(4))
    rejector = UnknownRejector(LogisticRegression(max_iter=5000), random_state=0)
    with pytest.warns(UserWarning, match="No group can be held out, because all clips of each"):
        rejector.fit(X, y, groups=y)
    assert rejector.predict(X).tolist() != ["unknown"] * len(X)
    with pytest.warns(UserWarning, match="No group can be held out"):
        rejector.fit(X, y, groups=np.zeros(len(X)))
    assert rejector.false_accepts_ < 0.5

    with pytest.warns(UserWarning, match="No clip will be rejected"):
        rejector.fit(X[::20], y[::20])
    assert "unknown" not in rejector.predict(make_blobs(5, [9])[0])
    assert np.isnan(rejector.false_rejects_)


# -- Labels ----------------------------------------------------------------------------------------


def test_a_single_known_class_is_told_before_anything_is_trained():
    X, y = make_blobs(20, range(2))
    rejector = UnknownRejector(KNeighborsClassifier(), random_state=0).fit(X, y)
    with pytest.raises(ValueError, match=r"2 known classes, but y holds only \['c0'\]"):
        rejector.fit(X[:, :5], np.where(y == "c0", y, "unknown"))
    assert rejector.classes_.tolist() == ["c0", "c1", "unknown"]
    assert (rejector.predict(X) == y).mean() > 0.8


def test_a_threshold_does_not_outlive_its_classifier(monkeypatch):
    X, y = make_blobs(20, range(4))
    rejector = UnknownRejector(KNeighborsClassifier(), random_state=0).fit(X, y)

    def interrupted(*args):
        raise KeyboardInterrupt

    monkeypatch.setattr("skspeech.unknown.rejector.learn_to_reject", interrupted)
    with pytest.raises(KeyboardInterrupt):
        rejector.fit(10 * X, y)
    with pytest.raises(NotFittedError):
        rejector.predict(X)


def test_numbers_as_labels():
    X, y = make_blobs(20, range(4))
    codes = np.unique(y, return_inverse=True)[1]
    with pytest.raises(ValueError, match="Use a number that is no class, such as -1"):
        UnknownRejector(LogisticRegression(max_iter=5000)).fit(X, codes)
    with pytest.raises(ValueError, match=r"unknown_label=nan .* Use a number"):
        UnknownRejector(LogisticRegression(), unknown_label=np.nan).fit(X, codes)
    with pytest.raises(ValueError, match="Use text"):
        UnknownRejector(LogisticRegression(max_iter=5000), unknown_label=-1).fit(X, y)
    rejector = UnknownRejector(LogisticRegression(max_iter=5000), unknown_label=-1, random_state=0)
    rejector.fit(X, codes)
    assert rejector.classes_.tolist() == [-1, 0, 1, 2, 3]
    answers = rejector.predict(make_blobs(20, range(6, 10))[0])
    assert answers.dtype.kind == "i"
    assert (answers == -1).mean() > 0.8


@pytest.mark.parametrize("later", [7, 3])
def test_another_unknown_label_needs_another_fit(later):
    X, y = make_blobs(20, range(4))
    codes = np.unique(y, return_inverse=True)[1]
    linear = LogisticRegression(max_iter=5000)
    rejector = UnknownRejector(linear, unknown_label=-1, random_state=0).fit(X, codes)
    rejector.set_params(unknown_label=later)
    for method in (rejector.predict, rejector.predict_proba):
        with pytest.raises(ValueError, match=f"unknown_label={later} .*Fit it again"):
            method(X)


def test_one_against_the_rest_goes_inside(new_rows):
    X, y = make_blobs(20, range(4))
    linear = LogisticRegression(max_iter=5000)
    with pytest.raises(ValueError, match=r"goes inside: UnknownRejector\(OneVsRest"):
        OneVsRestClassifier(UnknownRejector(linear)).fit(X, y)
    rejector = UnknownRejector(OneVsRestClassifier(linear), random_state=0).fit(X, y)
    assert rejector.score(X, y) > 0.8
    assert np.mean(rejector.predict(new_rows[1]) == "unknown") > 0.8


def test_labels_of_objects_and_long_names():
    X, y = make_blobs(20, range(4))
    for dtype in (object, "U2"):
        rejector = UnknownRejector(LogisticRegression(max_iter=5000), random_state=0).fit(
            X, y.astype(dtype)
        )
        answers = rejector.predict(make_blobs(20, range(6, 10))[0])
        assert "unknown" in answers.tolist()
        assert answers.dtype == rejector.classes_.dtype


@pytest.mark.parametrize("n_known", [3, 5])
def test_a_fitted_classifier_of_other_classes_is_an_error(n_known):
    X, y = make_blobs(20, range(5))
    known = np.isin(y, np.unique(y)[:n_known])
    classifier = FrozenEstimator(LogisticRegression(max_iter=5000).fit(X[known], y[known]))
    rest = np.isin(y, np.unique(y)[:4])
    with pytest.raises(
        ValueError, match=rf"only one of both has \['{np.unique(y)[max(3, n_known - 1)]}"
    ):
        UnknownRejector(classifier).fit(X[rest], y[rest])


# -- What the classifier hears ---------------------------------------------------------------------


@pytest.fixture(scope="module")
def five_tones():
    return labelled_tones(60, ["a", "b", "c", "d", "e"], duration=0.2)


class HearsItself(DummyClassifier):
    """A classifier of clips that has no extractor."""

    sampling_rate = 16_000


def _pipeline(extractor=None):
    return make_pipeline(extractor or SpectralStatistics(), ShrinkageDiscriminantAnalysis())


def test_the_extractors_of_all_members_are_heard_once(five_tones):
    X, y = five_tones
    spectral = SpectralStatistics()
    union = FeatureUnion([("one", spectral), ("two", SpectralStatistics(level=None))])
    members = [("a", _pipeline(spectral)), ("b", _pipeline(union))]
    ensemble = GeometricMeanVotingClassifier(members).fit(X, y)
    budget = TimeBudgetClassifier(members[:1], time_budget=300, random_state=0).fit(X, y)
    augmented = AugmentedClassifier(_pipeline(), speeds=())
    for classifier, n_extractors in [
        (ensemble, 2),
        (budget, 1),
        (augmented, 1),
        (FrozenEstimator(ensemble), 2),
        (GridSearchCV(_pipeline(), {}, cv=2).fit(X, y), 1),
    ]:
        found = [block for _, block in extractor_of(classifier).transformer_list]
        assert [type(block) for block in found] == n_extractors * [SpectralStatistics]
    assert extractor_of(LogisticRegression(max_iter=5000)) is None


@pytest.mark.parametrize("loader", [None, AudioLoader(), VoiceActivityTrimmer()])
@pytest.mark.parametrize(
    "classifier",
    [
        SpeakerEmbeddingClassifier(extractor=SpectralStatistics(n_mfcc=5)),
        AugmentedClassifier(
            make_pipeline(SpectralStatistics(n_mfcc=5), ShrinkageDiscriminantAnalysis()), speeds=()
        ),
        HearsItself(),
    ],
    ids=["features", "augmented", "none"],
)
def test_a_classifier_of_clips_may_be_a_step_of_a_pipeline(five_tones, loader, classifier):
    if isinstance(loader, VoiceActivityTrimmer):
        pytest.importorskip("silero_vad")
    X, y = five_tones
    pipeline = make_pipeline("passthrough" if loader is None else loader, classifier)
    rejector = UnknownRejector(pipeline, random_state=0).fit(X, y)
    n_mfcc = 20 if isinstance(classifier, HearsItself) else 5
    heard = X if loader is None else loader.transform(X)
    expected = SpectralStatistics(n_mfcc=n_mfcc).transform(heard)
    (block,) = extractor_of(rejector.estimator_).transformer_list
    np.testing.assert_array_equal(block[1].transform(X), expected)
    assert rejector.score(X, y) > (0.5 if n_mfcc == 5 else 0)


def test_clips(five_tones):
    X, y = five_tones
    known = y < "d"
    X_known = [clip for clip, is_known in zip(X, known, strict=False) if is_known]
    rejector = UnknownRejector(_pipeline(), random_state=0).fit(X_known, y[known])
    assert roc_auc_score(~known, rejector.unknown_score(X)) > 0.95


def test_a_fitted_classifier_is_not_trained_again(five_tones):
    X, y = five_tones
    classifier = _pipeline().fit(X, y)
    rejector = UnknownRejector(FrozenEstimator(classifier), random_state=0).fit(X, y)
    assert rejector.estimator_.estimator is classifier


def test_a_classifier_without_probabilities():
    X, y = make_blobs(20, range(4))
    rejector = UnknownRejector(GroupsSeen(), random_state=0).fit(X, y)
    assert not hasattr(rejector, "predict_proba")
    assert set(rejector.predict(X)) <= {"c0", "unknown"}


# -- Kept, searched, drawn -------------------------------------------------------------------------


def test_saved_and_loaded(five_tones, tmp_path):
    X, y = five_tones
    rejector = UnknownRejector(_pipeline(), random_state=0).fit(X, y)
    again = skspeech.load(skspeech.save(rejector, tmp_path / "model.skspeech"))
    np.testing.assert_allclose(again.predict_proba(X), rejector.predict_proba(X), rtol=1e-6)
    assert again.false_accepts_interval_ == rejector.false_accepts_interval_
    assert pickle.loads(pickle.dumps(rejector)).predict(X).tolist() == again.predict(X).tolist()


def test_searched_and_seeded(table):
    X, y, rejector = table
    again = clone(rejector).fit(X, y)
    assert again.threshold_ == rejector.threshold_
    assert clone(rejector).set_params(random_state=1).fit(X, y).threshold_ != again.threshold_
    grid = {"target": [0.05, 0.3], "estimator__C": [0.1, 1.0]}
    search = GridSearchCV(rejector, grid, cv=3, error_score="raise").fit(X, y)
    assert search.best_params_["target"] == 0.05


@pytest.mark.parametrize("unknown", ["c5", "none"], ids=["examples", "leave-class-out"])
def test_where_transformers_give_tables_it_learns_the_same(table, new_rows, unknown):
    X, y, rejector = table
    labels = np.where(y == unknown, "unknown", y)
    expected = clone(rejector).fit(X, labels).predict_proba(new_rows[1])
    with config_context(transform_output="pandas"):
        found = clone(rejector).fit(X, labels).predict_proba(new_rows[1])
    np.testing.assert_array_equal(found, expected)


def test_what_makes_numbers_of_a_table_goes_in_front(table):
    pd = pytest.importorskip("pandas")
    X, y, rejector = table
    frame = pd.DataFrame({"text": "a", "number": X[:, 0], "other": X[:, 1]})
    columns = make_column_transformer(("passthrough", ["number", "other"]))
    inside = clone(rejector).set_params(estimator=make_pipeline(columns, LogisticRegression()))
    with pytest.raises(ValueError, match=r"text.*make_pipeline\(columns, UnknownRejector"):
        inside.fit(frame, y)
    assert make_pipeline(columns, rejector).fit(frame, y).score(frame, y) > 0.5


def test_extractors_of_columns_go_in_front_too(five_tones, tmp_path):
    pd = pytest.importorskip("pandas")
    X, y = five_tones
    paths = [tmp_path / f"{i}.wav" for i in range(len(X))]
    for path, clip in zip(paths, X, strict=True):
        soundfile.write(path, clip, 16_000)
    frame = pd.DataFrame({"path": [str(path) for path in paths], "number": 1.0})
    columns = make_column_transformer((SpectralStatistics(), "path"), ("passthrough", ["number"]))
    rejector = UnknownRejector(make_pipeline(columns, ShrinkageDiscriminantAnalysis()))
    with pytest.raises(ValueError, match=r"text.*make_pipeline\(columns, UnknownRejector"):
        rejector.fit(frame, y)
    inside = clone(rejector).set_params(estimator=ShrinkageDiscriminantAnalysis())
    assert make_pipeline(columns, inside).fit(frame, y).score(frame, y) > 0.5


def test_groups_by_metadata_routing():
    X, y = make_blobs(20, range(4))
    groups = np.tile(np.arange(10), 8)
    with config_context(enable_metadata_routing=True):
        inner = GroupsSeen().set_fit_request(groups=True)
        rejector = UnknownRejector(inner, random_state=0).fit(X, y, groups=groups)
        with pytest.raises(UnsetMetadataPassedError, match=r"groups.* not explicitly set"):
            UnknownRejector(GroupsSeen()).fit(X, y, groups=groups)
    np.testing.assert_array_equal(rejector.estimator_.groups_, groups)


def test_drawn_by_scikit_learn(table):
    pytest.importorskip("matplotlib", reason="drawing needs matplotlib")
    import matplotlib

    matplotlib.use("Agg")
    from sklearn.metrics import DetCurveDisplay

    _, _, rejector = table
    unknown, scores = rejector.held_out_unknown_, rejector.held_out_scores_
    assert rejector.false_accepts_ == np.mean(scores[unknown] <= 0)
    assert rejector.false_rejects_ == np.mean(scores[~unknown] > 0)
    assert DetCurveDisplay.from_predictions(unknown, scores).figure_ is not None


def test_the_guides_example_runs():
    pytest.importorskip("matplotlib", reason="drawing needs matplotlib")
    blocks = re.findall(r"```python\n(.*?)```", GUIDE.read_text(), re.DOTALL)
    assert blocks
    names = {}
    exec("\n".join(blocks), names)
    assert "unknown" in names["answers"]


def test_an_estimator_without_probabilities_of_a_row_is_named(table):
    X, y, rejector = table
    broken = clone(rejector).fit(X, y)
    broken.estimator_.coef_[0, 0] = np.nan
    with pytest.raises(ValueError, match=r"predict_proba of the model .* row 0: .nan nan nan"):
        broken.predict_proba(X)


# -- Arithmetic ------------------------------------------------------------------------------------


@pytest.mark.parametrize(("n_classes", "shape"), [(2, (40, 6)), (3, (40, 6)), (4, (20, 60))])
def test_measures_against_a_slow_reference(n_classes, shape):
    """Distances in the weighted, reduced and whitened space, one feature and row at a time."""
    rng = np.random.default_rng(0)
    codes = np.arange(shape[0]) % n_classes
    rows = rng.normal(size=shape) + rng.normal(size=(n_classes, shape[1]))[codes]
    asked = 3 * rng.normal(size=(7, shape[1]))
    got = measure(learn_classes(rows, codes), asked)

    statistics = [
        f_oneway(*(row[codes == c] for c in range(n_classes))).statistic for row in rows.T
    ]
    weights = np.sqrt(np.maximum(np.array(statistics) - 1, 0))
    middle = rows.mean(axis=0)
    axes = PCA(min(shape[0] // 2, shape[1], np.count_nonzero(weights))).fit(rows * weights)
    points = axes.transform(rows * weights)
    means = np.array([points[codes == c].mean(axis=0) for c in range(n_classes)])
    within = points - means[codes]
    covariance = within.T @ within / shape[0]
    noise = np.trace(covariance) / shape[1] * np.eye(len(covariance))
    inverse = np.linalg.inv((covariance + noise) / 2)
    for row, measures in zip((asked - middle) * weights @ axes.components_.T, got, strict=True):
        distances = [(row - mean) @ inverse @ (row - mean) for mean in means]
        nearer = np.mean(distances) - min(distances)
        np.testing.assert_allclose(measures, [min(distances) ** 0.5, -(nearer**0.5)], rtol=1e-4)


def test_features_in_which_classes_are_alike_do_not_count():
    rng = np.random.default_rng(0)
    codes = np.arange(60) % 3
    rows = rng.normal(size=(60, 40))
    rows[:, 0] += 5 * codes
    rows[:, 1] = 1.0
    known = learn_classes(rows, codes)
    strengths = np.linalg.norm(known["weights"], axis=1)
    assert strengths.argmax() == 0
    assert strengths[1] == 0
    alike = learn_classes(np.zeros((6, 2)), np.arange(6) % 2)
    assert np.isfinite(measure(alike, rows[:, :2])).all()


@pytest.mark.parametrize("shape", [(30, 8), (8, 30), (10, 10), (5, 1)])
@pytest.mark.parametrize("n_axes", [3, 30])
def test_axes_of_the_most_variance(shape, n_axes):
    rows = np.random.default_rng(0).normal(size=shape)
    rows -= rows.mean(axis=0)
    axes = principal_axes(rows, n_axes)
    assert axes.shape == (shape[1], min(np.linalg.matrix_rank(rows), n_axes))
    np.testing.assert_allclose(axes.T @ axes, np.eye(axes.shape[1]), atol=1e-9)
    kept = np.linalg.svd(rows, compute_uv=False)[: axes.shape[1]]
    np.testing.assert_allclose(np.linalg.norm(rows @ axes), np.linalg.norm(kept), rtol=1e-9)


def test_rows_that_are_all_alike():
    X, y = np.repeat(np.eye(3), 10, axis=0), np.repeat(["a", "b", "c"], 10)
    rejector = UnknownRejector(LogisticRegression(max_iter=5000), random_state=0).fit(X, y)
    assert np.isfinite(rejector.unknown_score([[0.3, 0.3, 0.3], [0.0, 1.0, 0.0]])).all()


# -- Clips that can't be read ----------------------------------------------------------------------


def test_clips_that_cannot_be_read_teach_nothing_and_are_unknown():
    clips, y = labelled_tones(60, ["a", "b", "c"])
    extractor = SpectralStatistics(errors="warn")
    model = FusedEmbeddingClassifier(extractor=extractor, errors="warn")
    whole = UnknownRejector(model, random_state=0).fit(clips, y)
    X = [*clips, *(f"gone{i}.wav" for i in range(30))]
    with pytest.warns(UserWarning, match="left out, with their labels"):
        part = UnknownRejector(model, random_state=0).fit(X, [*y, *["a"] * 30])
    np.testing.assert_array_equal(part.held_out_scores_, whole.held_out_scores_)
    asked = [clips[0], "gone.wav"]
    with pytest.warns(UserWarning, match="They are taken for unknown"):
        scores = part.unknown_score(asked)
    assert scores[0] == whole.unknown_score(asked[:1])[0]
    assert np.isinf(scores[1])
    with pytest.warns(UserWarning, match="gone.wav"):  # the classifier inside warns, too
        assert part.predict(asked)[1] == "unknown"
    with pytest.warns(UserWarning, match="gone.wav"):
        assert part.classes_[part.predict_proba(asked)[1].argmax()] == "unknown"
    strict = UnknownRejector(FusedEmbeddingClassifier(extractor=SpectralStatistics()))
    with pytest.raises(AudioError, match="30 of 90 clips"):
        strict.fit(X, [*y, *["a"] * 30])
