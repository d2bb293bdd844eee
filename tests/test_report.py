"""The report: right figures, every warning, one safe page, and a real browser that opens it."""

import base64
import html
import html.parser
import io
import pickle
import re
import subprocess
import sys
import unicodedata
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import numpy as np
import pytest
import soundfile
from browser import TOO_WIDE, open_browser
from matplotlib import rcParams
from sklearn import config_context
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.linear_model import LogisticRegression, RidgeClassifier
from sklearn.metrics import balanced_accuracy_score
from sklearn.model_selection import FixedThresholdClassifier
from sklearn.naive_bayes import GaussianNB
from sklearn.pipeline import make_pipeline

import skspeech
from skspeech import (
    GeometricMeanVotingClassifier,
    SpeakerEmbedding,
    SpectralStatistics,
    TimeBudgetClassifier,
    UnknownRejector,
)
from skspeech._clip_checks import Part  # what its checks take
from skspeech._pickled import PickledClassifier
from skspeech.audio import as_clips
from skspeech.candidates import default_candidates
from skspeech.datasets import make_speech_like
from skspeech.metrics import (
    expected_calibration_error,
    score_interval,
    scores_by_group,
    wilson_limits,
)
from skspeech.report import scores, write_report, writing
from skspeech.report.checks import best_correlation, find_problems, voices_in_common
from skspeech.report.clips import voice_embeddings
from skspeech.report.drawings import (
    class_colors,
    draw_calibration,
    draw_histogram,
    draw_learning_curve,
    draw_map,
    sound_uri,
    spectrogram_uri,
)

pytestmark = pytest.mark.usefixtures("quick_map")
RATE = 16_000


def features(**options):
    return SpectralStatistics(n_jobs=1, **options)


@pytest.fixture(scope="module")
def speech():
    """Clips of four words by eight voices, the test part by voices of its own."""
    data = make_speech_like(160, n_classes=4, n_speakers=8, duration=0.5, random_state=0)
    is_test = np.isin(data.groups, np.unique(data.groups)[:3])
    labels = np.array(["go", "left", "right", "stop"])[data.target]
    clips = np.empty(len(data.data), dtype=object)
    clips[:] = list(data.data)
    return [
        (list(clips[mask]), labels[mask], np.asarray(data.groups)[mask])
        for mask in (~is_test, is_test)
    ]


@pytest.fixture(scope="module")
def members():
    return [
        ("linear", make_pipeline(features(), LogisticRegression(C=1e-6, max_iter=300))),
        ("bayes", make_pipeline(features(pooling=("mean",)), GaussianNB())),
    ]


@pytest.fixture(scope="module")
def classifier(speech, members):
    """A run under a time budget that has a candidate of each kind: good, bad, broken."""
    (X, y, groups), _ = speech
    candidates = [*members, ("broken", make_pipeline(features(n_mels=500), GaussianNB()))]
    clf = TimeBudgetClassifier(candidates, time_budget=30, random_state=0, n_jobs=1)
    return clf.fit(X, y, groups)


@pytest.fixture(scope="module")
def ensemble(speech, members):
    (X, y, _), _ = speech
    return GeometricMeanVotingClassifier(members, weights=[3, 1]).fit(X, y)


class _Parser(html.parser.HTMLParser):
    """Text and sources of a page; complains of tags that are not closed."""

    VOID = {"meta", "link", "br", "img", "wbr"}

    def __init__(self):
        super().__init__()
        self.text, self.sources, self.tags, self._open = [], [], [], []

    def handle_starttag(self, tag, attributes):
        self.tags.append(tag)
        self.sources += [v for k, v in attributes if k in ("src", "href")]
        if tag not in self.VOID:
            self._open.append(tag)
        if tag == "wbr":
            self.text.append(tag)

    def handle_startendtag(self, tag, attributes):
        self.tags.append(tag)

    def handle_endtag(self, tag):
        assert self._open.pop() == tag

    def handle_data(self, data):
        if self._open and self._open[-1] not in ("style", "title"):
            self.text.append(data.strip())


def read(path):
    parser = _Parser()
    parser.feed(path.read_text(encoding="utf-8"))
    parser.close()
    assert parser._open == []
    parser.text = " ".join(filter(None, parser.text)).replace(" wbr ", "")
    return parser


@pytest.fixture
def write(tmp_path, ensemble, speech):
    """Write a report on the ensemble and read it; arguments take the place of the usual ones."""

    def write(model=None, X=None, y=None, **options):
        X_test, y_test, _ = speech[1]
        path = tmp_path / "report.html"
        X, y = (X_test if X is None else X), (y_test if y is None else y)
        assert write_report(model or ensemble, X, y, path, **options) == path
        return read(path)

    return write


# What the page says -------------------------------------------------------------------------------


def test_a_run_under_a_time_budget_is_told_in_full(classifier, speech, write):
    (X_train, y_train, groups_train), (X, y, groups) = speech
    page = write(
        classifier,
        X_train=X_train,
        y_train=y_train,
        groups_train=groups_train,
        groups_test=groups,
        title="Words",
    )
    score = balanced_accuracy_score(y, classifier.predict(X))
    assert f"{100 * score:.1f} % no honest interval: only 3 groups" in page.text
    assert f"{len(X)} test clips of 3 groups, {len(X_train)} training clips, 4 classes" in page.text
    for heading in ("Learning curve", "Leaderboard", "Scores per class", "Confusion matrix"):
        assert heading in page.text
    for heading in ("The worst mistakes", "Map of the clips", "Durations and levels"):
        assert heading in page.text
    assert "broken failed" in page.text
    assert "broken failed: ValueError" in page.text
    assert "n_mels=500 is too many" in page.text
    scores = dict(zip(classifier.results_["name"], classifier.results_["score"], strict=True))
    assert np.isnan(scores.pop("broken"))
    for name, best in scores.items():
        assert f"{name} {best:.3f}" in page.text


@pytest.mark.filterwarnings("ignore:X has feature names")  # the model was trained without them
@pytest.mark.parametrize("output", ["default", "pandas"])
def test_members_of_an_ensemble_are_scored_one_by_one(ensemble, speech, write, output):
    X, y, _ = speech[1]
    with config_context(transform_output=output):
        page = write()
    for name, member in ensemble.named_estimators_.items():
        score = balanced_accuracy_score(y, member.predict(X))
        assert f"{name} {100 * score:.1f} %" in page.text
    assert "Learning curve" not in page.text
    assert "In validation" not in page.text


def test_a_plain_classifier_has_a_report_too(speech, write):
    (X, y, _), _ = speech
    model = make_pipeline(features(), GaussianNB()).fit(X, y)
    page = write(model)
    assert "Leaderboard" not in page.text
    assert "SpectralStatistics" in page.text


def test_a_model_that_decides_by_a_threshold_is_scored_by_it(speech, write):
    X, y, _ = speech[0]
    X_test, y_test, _ = speech[1]
    first, second = np.unique(y)[:2]
    model = make_pipeline(features(), GaussianNB())
    model = FixedThresholdClassifier(model, threshold=2.0)  # which no probability reaches
    rows, of_test = np.isin(y, [first, second]), np.isin(y_test, [first, second])
    model.fit([clip for clip, used in zip(X, rows, strict=True) if used], y[rows])
    shown = [clip for clip, used in zip(X_test, of_test, strict=True) if used]
    page = write(model, shown, y_test[of_test])
    assert f"{second} {first} {np.sum(y_test == second)} of" in page.text  # taken for the other


def test_methods_delegate(classifier, ensemble, speech, tmp_path):
    X, y, groups = speech[1]
    for model in (classifier, ensemble):
        path = model.report(X, y, tmp_path / "a.html", title="By method", groups_test=groups)
        assert "By method" in read(path).text


def test_a_slim_model_has_no_history_but_a_report(classifier, write):
    import copy

    page = write(copy.copy(classifier).slim())
    assert "Learning curve" not in page.text
    assert "Members of the ensemble" in page.text


def test_mistakes_can_be_heard_and_seen(ensemble, speech, write):
    X, y, _ = speech[1]
    wrong = np.flatnonzero(ensemble.predict(X) != y)
    assert len(wrong) > 0, "the fixture should make mistakes"
    page = write()
    sounds = [s for s in page.sources if s.startswith("data:audio/flac;base64,")]
    images = [s for s in page.sources if s.startswith("data:image/png;base64,")]
    assert len(sounds) == len(images) == min(len(wrong), 12)
    proba = ensemble.predict_proba(X)
    codes = np.searchsorted(ensemble.classes_, y)
    excess = (proba.max(axis=1) - proba[np.arange(len(y)), codes])[wrong]
    worst = wrong[np.argsort(-excess, kind="stable")[0]]
    assert f"clip {worst}" in page.text
    samples, rate = soundfile.read(io.BytesIO(base64.b64decode(sounds[0].partition(",")[2])))
    assert rate == RATE
    np.testing.assert_allclose(samples, as_clips(X)[int(worst)].load(), atol=2**-14)


def test_without_mistakes_the_page_says_so(ensemble, speech, write):
    X, _, _ = speech[1]
    page = write(y=ensemble.predict(X))
    assert "None: all test clips were recognised." in page.text


def test_long_and_loud_clips_are_bounded(ensemble, write):
    long = 3 * np.random.default_rng(0).normal(size=60 * RATE).astype(np.float32)
    guess = ensemble.predict([long])[0]
    other = next(label for label in ensemble.classes_ if label != guess)
    page = write(X=[long], y=[other])
    assert "first 8 of 60.0 s" in page.text
    (sound,) = [s for s in page.sources if s.startswith("data:audio")]
    assert len(sound) < 500_000


def test_the_confusion_matrix_gives_way_to_a_list_where_there_are_many_classes(write, monkeypatch):
    monkeypatch.setattr(scores, "_MAX_MATRIX", 3)
    page = write()
    assert "A row a true class" not in page.text
    assert "The most frequent confusions" in page.text


def test_labels_and_names_cannot_inject_anything(tmp_path, write):
    evil = '"><script>alert(1)</script><img src="http://evil.example/x.png">'
    rng = np.random.default_rng(0)
    X = []
    for i in range(12):
        X.append(str(tmp_path / f"<script>{i}.wav"))
        soundfile.write(X[-1], rng.normal(scale=0.1, size=4000) * (1 + i % 2), RATE)
    y = np.array([evil, "plain"] * 6)
    model = make_pipeline(features(), GaussianNB()).fit(X, y)
    page = write(model, X=X, y=y[::-1], X_train=X, y_train=y, title=evil)
    assert "script" not in page.tags
    assert page.sources
    assert all(source.startswith("data:") for source in page.sources)
    assert "alert(1)" in page.text
    policy = re.search(
        r'Content-Security-Policy" content="([^"]+)"', (tmp_path / "report.html").read_text()
    )
    assert policy[1].startswith("default-src 'none'")


def test_integer_labels_and_object_labels_do(speech, write):
    (X, y, _), (_, y_test, _) = speech
    codes, test_codes = (
        np.unique(y, return_inverse=True)[1],
        np.unique(y_test, return_inverse=True)[1],
    )
    model = make_pipeline(features(), GaussianNB())
    assert "Balanced accuracy" in write(model.fit(X, codes), y=test_codes.tolist()).text
    assert "Balanced accuracy" in write(model.fit(X, y.astype(object)), y=list(y_test)).text


# Figures ------------------------------------------------------------------------------------------


def test_a_share_has_wilson_s_limits():
    low, high = wilson_limits(8, 10)
    assert scores._share(8, 10) == {"value": 0.8, "low": low, "high": high}
    assert scores._share(0, 0) is None


def test_the_clips_that_can_be_answered_at_an_accuracy():
    right = np.array([True, True, True, False, True, False, False, True])
    sure = np.array([0.9, 0.8, 0.7, 0.7, 0.6, 0.5, 0.4, 0.3])
    rows = scores.answered(right, sure, wanted=(0.5, 0.8, 0.99, 1.0))
    # The two that are equally sure are answered together: 3 of 4 are right then, and 4 of 5.
    assert [row["threshold"] for row in rows] == [0.3, 0.6, 0.8, 0.8]
    assert [row["coverage"] for row in rows] == [1.0, 5 / 8, 2 / 8, 2 / 8]
    assert [row["accuracy"]["value"] for row in rows] == [5 / 8, 4 / 5, 1.0, 1.0]
    assert rows[1]["accuracy"]["low"] == wilson_limits(4, 5)[0]
    (row,) = scores.answered(~right, np.where(right, 0.9, 0.1), wanted=(0.9,))
    assert (row["threshold"], row["coverage"], row["accuracy"]) == (None, 0.0, None)


def test_what_probabilities_are_worth(speech, write):
    (X_train, y_train, _), (X, y, _) = speech
    model = make_pipeline(features(), LogisticRegression(max_iter=300)).fit(X_train, y_train)
    proba = model.predict_proba(X)
    page = write(model)
    error = expected_calibration_error(y, proba, labels=model.classes_)
    assert f"On average they are {100 * error:.1f} % apart" in page.text
    right = model.classes_[proba.argmax(axis=1)] == y
    rows = scores.answered(right, proba.max(axis=1))
    assert rows
    for row in rows:
        told = f"{100 * row['wanted']:.0f} % {row['threshold']:.2f} {100 * row['coverage']:.0f} %"
        assert told in page.text
    assert "How sure is it?" not in write(model, X=X[:15], y=y[:15]).text  # too few to tell


def test_the_calibration_is_drawn_where_all_is_right_and_where_nothing_is():
    sure = np.linspace(0.3, 1 + 1e-9, 50)
    for right in (sure > 0.6, np.ones(50, dtype=bool), np.zeros(50, dtype=bool)):
        drawing = draw_calibration(right, sure)
        assert "right as often as it says" in drawing
        assert "Share that is right" in drawing


def test_limits_are_for_new_groups_and_every_group_is_told(ensemble, speech, write):
    X, y, _ = speech[1]
    groups = np.array([f"speaker {i % 6}" for i in range(len(X))])
    page = write(groups_test=groups)
    low, high, meaning = score_interval(y, ensemble.predict(X), groups)
    assert f"9 times of 10 it is between {100 * low:.1f} and {100 * high:.1f} %" in page.text
    assert meaning in page.text
    for name, score in scores_by_group(y, ensemble.predict(X), groups).items():
        assert f"{name} {np.sum(groups == name)} {100 * score:.0f} %" in page.text
    assert "Scores per group" not in write().text


def test_clips_that_the_model_was_trained_on_are_scored_apart(speech, tmp_path, write):
    (X_train, y_train, _), (X, y, _) = speech
    model = make_pipeline(features(), GaussianNB()).fit(X_train, y_train)
    model = skspeech.load(skspeech.save(model, tmp_path / "m", training_clips=X_train))
    score = balanced_accuracy_score(y, model.predict(X))
    told = balanced_accuracy_score(y_train[: len(X)], model.predict(X_train[: len(X)]))
    known = {"X_train": X_train, "y_train": y_train}
    for options in ({}, known):
        page = write(model, X=[*X, *X_train[: len(X)]], y=[*y, *y_train[: len(X)]], **options)
        assert f"{len(X)} test clips" in page.text
        assert f"{100 * score:.1f} % 9 times of 10" in page.text
        assert f"On {len(X)} clips that it was trained on {100 * told:.1f} %" in page.text
        assert f"{len(X)} test clips are also in the training part" in page.text
    for options in ({}, known):
        page = write(model, X=X_train, y=y_train, **options)
        assert "Balanced accuracy on clips that it was trained on" in page.text
        assert "times of 10" not in page.text
        assert page.text.count("also in the training part") == 1


def test_other_clips_of_groups_that_the_model_was_trained_on_are_scored_apart(
    speech, tmp_path, write
):
    (X_train, y_train, g_train), (X, y, g) = speech
    model = make_pipeline(features(), GaussianNB()).fit(X_train[40:], y_train[40:])
    assert np.isin(g_train[:40], g_train[40:]).all(), "each group should be on both sides"
    known = {"X_train": X_train[40:], "y_train": y_train[40:], "groups_train": g_train[40:]}
    path = tmp_path / "m"
    skspeech.save(model, path, training_clips=X_train[40:], training_groups=g_train[40:])
    score = balanced_accuracy_score(y, model.predict(X))
    told = balanced_accuracy_score(y_train[:40], model.predict(X_train[:40]))
    groups = np.array([*g, *g_train[:40]])
    n = len(np.unique(g_train[:40]))
    for own, options in ((skspeech.load(path), {}), (model, known)):
        mixed = {"X": [*X, *X_train[:40]], "y": [*y, *y_train[:40]], "groups_test": groups}
        page = write(own, **mixed, **options)
        assert f"{100 * score:.1f} % no honest interval: only 3 groups" in page.text
        card = "On 40 other clips of groups that it was trained on"
        assert f"{card} {100 * told:.1f} % left out of this page" in page.text
        assert f"{n} groups are also in the training part: " in page.text
        groups_only = {"X": X_train[:40], "y": y_train[:40], "groups_test": g_train[:40]}
        page = write(own, **groups_only, **options)
        assert "Balanced accuracy on other clips of groups that it was trained on" in page.text
        assert "no measure of new groups" in page.text
        assert "times of 10" not in page.text
        # Without groups, nobody can tell.
        page = write(own, X=X_train[:40], y=y_train[:40], **options)
        assert "Balanced accuracy on the test clips" in page.text


def test_groups_of_several_types_are_known_by_their_names(classifier, speech, write):
    (X_train, y_train, _), (X, _, _) = speech
    mine, others = (
        np.resize(np.array(names, dtype=object), n)
        for names, n in ((["ann", 3], len(X)), (["bob", 4], len(X_train)))
    )
    known = {"X_train": X_train, "y_train": y_train}
    page = write(classifier, groups_test=mine, groups_train=others, **known)
    assert "also in the training part" not in page.text
    assert f"ann {len(X[::2])}" in page.text
    others[0] = 3.0
    page = write(classifier, groups_test=mine, groups_train=others, **known)
    assert "1 group is also in the training part: '3'" in page.text


def test_groups_are_known_however_their_letters_are_composed(classifier, speech, write):
    """In archives of macOS, names have letters and their accents apart."""
    (X_train, y_train, _), (X, _, _) = speech
    mine, others = (
        np.resize([unicodedata.normalize(form, "Jürgen")], n)
        for form, n in (("NFC", len(X)), ("NFD", len(X_train)))
    )
    known = {"X_train": X_train, "y_train": y_train, "groups_train": others}
    page = write(classifier, groups_test=mine, **known)
    assert "1 group is also in the training part: 'Jürgen'" in page.text


def test_clips_that_were_left_out_are_named(write):
    page = write(left_out=[("a/broken.wav", "is empty"), ("b.wav", "no such file")])
    assert "2 clips can't be read, and are left out" in page.text
    assert "a/broken.wav: is empty" in page.text
    assert "left out" not in write().text


def test_predictions_of_other_models_are_taken_as_they_are(classifier, speech, write):
    X, y, _ = speech[1]
    proba = np.full((len(X), 4), 0.1)
    proba[np.arange(len(X)), np.searchsorted(classifier.classes_, y)] = 0.7
    page = write(classifier, proba=proba)
    assert "Balanced accuracy on the test clips 100.0 %" in page.text
    for of_this_model_alone in ("Learning curve", "Leaderboard", "In validation", "Training took"):
        assert of_this_model_alone not in page.text
    with pytest.raises(ValueError, match=r"proba has shape \(3, 4\)"):
        write(classifier, proba=proba[:3])
    proba[2, 1] = np.nan
    with pytest.raises(ValueError, match=r"proba holds values .* first in row 2"):
        write(classifier, proba=proba)


# Warnings about the data --------------------------------------------------------------------------


def noise(seconds=0.5, seed=0, scale=0.1):
    return np.random.default_rng(seed).normal(scale=scale, size=round(seconds * RATE))


def problems(test, train=None, y_test=None, y_train=None, groups=(None, None), **options):
    """Findings by title, for clips whose embeddings are how loud they are."""

    def part(name, clips, labels, groups):
        labels = np.resize(["a", "b"], len(clips)) if labels is None else np.asarray(labels)
        return Part(name, as_clips(clips), labels, groups)

    test = part("test", test, y_test, groups[0])
    train = None if train is None else part("training", train, y_train, groups[1])
    options = {"embeddings": None, "voices": None, "model_classes": np.array(["a", "b"])} | options
    found = find_problems(test, train, **options)
    return {finding.title: finding for finding in found}


def some(n, first_seed=0):
    return [noise(seed=first_seed + i) for i in range(n)]


def test_good_data_give_no_warning():
    assert problems(some(40), some(40, 100)) == {}


def test_silent_clipped_short_and_unreadable_clips(tmp_path):
    loud = np.clip(noise(scale=0.8), -0.6, 0.6)  # cut off, and turned down later
    (tmp_path / "broken.wav").write_bytes(b"RIFF of nothing")
    clips = [*some(37), np.zeros(8000), loud, noise(0.05)]
    broken = str(tmp_path / "broken.wav")
    found = problems(clips, [*some(39, 100), broken])
    assert {title: (f.severity, f.clips, f.names) for title, f in found.items()} == {
        "1 training clip can't be read": ("serious", [39], [broken]),
        "1 test clip is silent": ("caution", [37], ["clip 37"]),
        "1 test clip is clipped": ("caution", [38], ["clip 38"]),
        "1 test clip is shorter than 0.1 s": ("note", [39], ["clip 39"]),
    }
    assert next(iter(found)).endswith("can't be read"), "the most serious comes first"


@pytest.mark.parametrize("rate", [8000, 44_100])
def test_clipping_is_seen_at_the_file_s_own_rate(tmp_path, rate):
    tone = np.sin(2 * np.pi * 300 * np.arange(rate) / rate)
    soundfile.write(tmp_path / "clipped.wav", np.clip(2 * tone, -1, 1 - 2**-15), rate)
    soundfile.write(tmp_path / "whole.wav", 0.999 * tone, rate)
    found = problems([str(tmp_path / "clipped.wav"), str(tmp_path / "whole.wav")])
    (clipped,) = [finding for title, finding in found.items() if "clipped" in title]
    assert clipped.names == ["clipped.wav"]


def test_copies_of_training_clips_are_found(tmp_path):
    train = some(40, 100)
    soundfile.write(tmp_path / "copy.ogg", 0.3 * np.r_[np.zeros(500), train[7]], RATE)
    clips = [*some(38), train[3], str(tmp_path / "copy.ogg")]
    rng = np.random.default_rng(0)
    E_train = rng.normal(size=(40, 8))
    E_test = np.r_[rng.normal(size=(38, 8)), E_train[[3]], E_train[[7]] + 0.01]
    found = problems(clips, train, embeddings=(E_test, E_train))
    near = found["1 test clip is nearly the same as a training clip"]
    assert near.clips == [39]  # not the one that is just the same, which is scored apart
    (near,) = near.names
    assert re.fullmatch(r".*copy\.ogg ≈ clip 7 \(correlation 0\.9\d\)|.*1\.00\)", near)


def test_correlation_sees_through_level_shift_and_cut_but_not_through_likeness():
    one, other = noise(1, seed=1), noise(1, seed=2)
    tone = np.sin(np.arange(RATE) / 5) * np.linspace(0, 1, RATE)

    def correlation(a, b):
        return best_correlation(*as_clips([a, b]))

    assert correlation(one, -0.2 * one) > 0.99
    assert correlation(one, one[3000:9000]) > 0.99
    assert correlation(np.r_[np.zeros(4000), one], one) > 0.99
    assert correlation(one, one + 0.3 * other) > 0.9
    assert correlation(one, other) < 0.2
    assert correlation(one, np.r_[tone, np.zeros(RATE)]) < 0.3
    assert correlation(one, np.zeros(500)) == 0


def test_equal_clips_in_a_part_and_their_labels():
    clips = [*some(40), noise(seed=0), noise(seed=1)]
    labels = ["a", "b"] * 21
    found = problems(clips, y_test=[*labels[:40], "b", "b"])
    wrong = found["2 test clips are the same sound under different labels"]
    assert (wrong.severity, wrong.names) == ("serious", ["clip 0 (a)", "clip 40 (b)"])
    twice = found["2 test clips are the same sound as another one of their class"]
    assert twice.names == ["clip 1", "clip 41"]


def test_unequal_small_untested_and_unknown_classes():
    found = problems(
        some(30),
        some(60, 100),
        y_test=["a"] * 24 + ["b"] * 5 + ["c"],
        y_train=["a"] * 50 + ["b"] * 8 + ["d"] * 2,
        model_classes=np.array(["a", "b", "d"]),
    )
    assert [(f.severity, t) for t, f in found.items()] == [
        ("serious", "1 test clip of classes that the model never saw: 'c'"),
        ("caution", "2 classes have fewer than 10 test clips: 'b' (5), 'c' (1)"),
        ("caution", "1 class has fewer than 5 training clips: 'd' (2)"),
        ("caution", "The classes of the test part are very uneven, such as 'a' (24), 'c' (1)"),
        ("caution", "The classes of the training part are very uneven, such as 'a' (50), 'd' (2)"),
        ("note", "1 class not tested: 'd'"),
    ]


def test_what_a_training_looks_at_is_told_of_both_parts():
    y_train = ["happy"] * 20 + ["hapy"] * 20
    one_each = np.repeat(["ann", "bob"], 20)
    found = problems(some(40), some(40, 100), y_train=y_train, groups=(np.arange(40), one_each))
    assert list(found) == [
        "The names of the classes 'happy' (20), 'hapy' (20) differ by one letter",
        "Each of the 2 groups of the training part has clips of one class only, so who speaks "
        "can't be told apart from what is to be recognised",
        "2 classes not tested: 'happy', 'hapy'",
    ]


def _voices(speakers, seed):
    centres = np.random.default_rng(7).normal(size=(12, 16))
    noise = np.random.default_rng(seed).normal(size=(len(speakers), 16))
    return centres[speakers] + 0.3 * noise


def test_voices_that_speak_in_both_parts():
    mixed = _voices(np.arange(60) % 10, 0), _voices(np.arange(200) % 10, 1)
    apart = _voices(np.arange(60) % 4, 0), _voices(4 + np.arange(200) % 8, 1)
    assert voices_in_common(*mixed) > 0.4
    assert voices_in_common(*apart) < 0.05
    assert voices_in_common(mixed[0][:20], mixed[1]) is None
    title = "The same voices seem to speak in both parts"
    parts = some(60), some(40, 100)
    assert problems(*parts, voices=mixed)[title].severity == "caution"
    assert problems(*parts, voices=apart) == {}
    # Who names the groups need not be guessed at.
    groups = np.arange(60), np.arange(100, 140)
    assert problems(*parts, voices=mixed, groups=groups) == {}


def test_parts_that_differ_in_length_and_level():
    found = problems(some(40), [noise(1.5, seed=i, scale=0.01) for i in range(40)])
    assert set(found) == {
        "Test clips last 0.5 s, training clips 1.5 s (medians)",
        "Test clips are at -20 dB, training clips at -40 dB of full scale (medians)",
    }


def test_of_very_many_clips_some_are_measured(monkeypatch, ensemble, speech, write):
    monkeypatch.setattr(writing, "Part", partial(Part, max_measured=20))
    page = write()
    assert "Of the test part, 20 clips, chosen at random, were looked at." in page.text
    assert "Total – Duration" in page.text


def test_members_that_a_worker_trained_hear_voices():
    """They are pickles until their first use."""
    member = PickledClassifier.from_bytes(pickle.dumps([SpeakerEmbedding()]), ["a", "b"], "trained")
    part = Part("test", as_clips(some(2)), np.array(["a", "b"]))
    voices, _ = voice_embeddings(member, part, part)
    np.testing.assert_allclose(voices, SpeakerEmbedding().transform(some(2)), rtol=1e-4)


@pytest.mark.network
@pytest.mark.data
@pytest.mark.slow
def test_real_voices(data_home):
    from skspeech.datasets import fetch_emodb

    data = fetch_emodb(data_home=data_home)
    chosen = np.arange(0, len(data.data), 2)
    E = SpeakerEmbedding().transform([data.data[i] for i in chosen])
    groups = np.asarray(data.groups)[chosen]
    rng = np.random.default_rng(0)
    by_clip, by_speaker = rng.random(len(E)) < 0.4, np.isin(groups, np.unique(groups)[::3])
    assert voices_in_common(E[by_clip], E[~by_clip]) > 0.35
    assert voices_in_common(E[by_speaker], E[~by_speaker]) < 0.25


# Drawings -----------------------------------------------------------------------------------------


def test_drawings_stay_inside_and_take_odd_values():
    flat = np.zeros((3, 2)), [0, 1, 2], class_colors(3), np.ones(3, bool), np.zeros(3, bool)
    with_axes = [
        draw_learning_curve(np.array([0.5]), np.array([0.5]), 1.0, "Score"),
        draw_learning_curve(np.array([1.0, 900]), np.array([np.nan, -3.5]), 600, "Score"),
        draw_histogram({"test": np.ones(5), "training": np.array([np.nan])}, "Duration", log=True),
        draw_histogram({"test": np.array([0.001, 3600.0])}, "Duration", log=True),
        draw_histogram({"test": np.array([0.3, 0.5])}, "Duration", log=True),
        draw_histogram({"test": np.array([-100.0, -100.0])}, "Level"),
    ]
    for drawing in with_axes:
        width, height = map(float, re.search(r'viewBox="0 0 (\S+) (\S+)"', drawing).groups())
        for name, limit in (("x", width), ("y", height)):
            places = re.findall(rf'<use [^>]*\b{name}="([^"]+)"', drawing)
            assert places
            assert all(0 <= float(place) <= limit for place in places)
        # Axes have ticks.
        assert len(re.findall(r"<text [^>]*>([-−.\d]+)</text>", drawing)) >= 2
    for drawing in [*with_axes, draw_map(*flat, list("abc"))]:
        assert not re.search(r'"[^"]*\b(nan|inf)\b', drawing)
    assert draw_histogram({"test": np.array([np.nan])}, "Level") is None


def test_drawings_have_the_page_s_colours_and_a_score_axis_that_ends_at_1(monkeypatch):
    import matplotlib

    monkeypatch.setitem(matplotlib.rcParams, "font.size", 40)  # of the user's own
    drawing = draw_learning_curve(np.array([1.0, 20.0]), np.array([0.5, 1.0]), 60.0, "Score")
    assert {"var(--quiet)", "rgb(var(--accent))"} <= set(
        re.findall(r"(?:rgb|var)\([^;\"]+\)", drawing)
    )
    assert not re.search("#0[0-9]0[0-9]0[0-9]", drawing)
    scores = re.findall(r"<text [^>]*>([.\d]+)</text>", drawing)
    assert max(map(float, scores)) == 1.0
    assert "11px" in drawing
    assert "40px" not in drawing


def test_threads_that_draw_leave_the_style_as_it_was():
    former = dict(rcParams)
    times, scores = np.arange(3.0), np.ones(3)
    with ThreadPoolExecutor(4) as pool:
        drawn = list(pool.map(lambda _: draw_learning_curve(times, scores, 30, "Score"), range(20)))
    assert len(set(drawn)) == 1
    assert dict(rcParams) == former


def test_points_of_the_map_tell_their_names():
    names = ["a", 'b" <c> & d', "<script>"]
    points = np.arange(6.0).reshape(3, 2)
    which = np.array([True, False, True]), np.array([True, False, False])
    drawing = draw_map(points, [0, 1, 0], class_colors(2), *which, names)
    titles = re.findall("<title>(.*?)</title>", drawing)
    # Training clips are drawn first.
    assert [html.unescape(title) for title in titles] == [names[1], names[0], names[2]]
    assert "<script>" not in drawing


@pytest.mark.parametrize("n", [1, 8, 9, 100])
def test_colours_differ(n):
    assert len(set(class_colors(n))) == n


@pytest.mark.parametrize("n_samples", [1, 100, 8000, 128_000])
@pytest.mark.parametrize("scale", [0.0, 0.1, 5.0])
def test_sounds_and_spectrograms_of_any_length_and_level(n_samples, scale):
    from matplotlib.image import imread

    waveform = np.float32(scale) * noise(10)[:n_samples].astype(np.float32)
    samples, _ = soundfile.read(io.BytesIO(base64.b64decode(sound_uri(waveform).partition(",")[2])))
    assert len(samples) == n_samples
    image = imread(io.BytesIO(base64.b64decode(spectrogram_uri(waveform).partition(",")[2])))
    assert image.shape[0] == 64
    assert image.shape[1] <= 400


# What goes wrong ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"y": ["go"]}, r"X_test and y_test .* do not fit together"),
        ({"groups_test": ["a"]}, r"X_test and y_test \(and groups, if any\) do not fit"),
        ({"X_train": ["a.wav"]}, "X_train and y_train come together"),
        ({"X": [], "y": []}, "X_test and y_test are empty: there is nothing to report"),
        ({"X_train": ["a.wav"], "y_train": ["go", "go"]}, "X_train and y_train .* do not fit"),
        ({"y": ["go", None]}, "y_test has 1 missing value .* at position 1"),
        ({"X": ["a.wav"], "y": ["go"], "groups_test": [None]}, "groups has 1 missing value"),
    ],
)
def test_what_does_not_fit_together_is_named(write, options, message):
    with pytest.raises(ValueError, match=message):
        write(**options)


def test_labels_of_another_kind_are_named(write, speech):
    (X_train, y_train, _), (X, _, _) = speech
    rejector = UnknownRejector(make_pipeline(features(), GaussianNB()), random_state=0)
    for model in (None, rejector.fit(X_train, y_train)):  # to it, other text is unknown
        with pytest.raises(ValueError, match=r"None of the labels in y_test, such as .*0"):
            write(model, y=np.zeros(len(X), dtype=int))
        with pytest.raises(ValueError, match=r"None of the labels in y_train, such as .*0"):
            write(model, X_train=X, y_train=np.zeros(len(X), dtype=int))


def test_a_model_needs_probabilities(speech, write):
    (X, y, _), _ = speech
    with pytest.raises(ValueError, match="has no predict_proba"):
        write(make_pipeline(features(), RidgeClassifier()).fit(X, y))


def test_a_failure_leaves_the_old_page(write, tmp_path, monkeypatch):
    write(title="old")
    monkeypatch.setattr(writing, "_describe", lambda *args: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        write(title="new")
    assert "old" in read(tmp_path / "report.html").text
    assert [path.name for path in tmp_path.iterdir()] == ["report.html"]


@pytest.mark.parametrize("missing", ["jinja2", "matplotlib"])
def test_what_is_missing_is_named(monkeypatch, write, missing):
    monkeypatch.setitem(sys.modules, missing, None)
    with pytest.raises(ImportError, match=rf"{missing}.*pip install '\.\[report\]'"):
        write()


def test_importing_the_module_loads_neither_templates_nor_pictures():
    code = (
        "import sys, skspeech.report;"
        "print([m for m in ('jinja2', 'matplotlib', 'torch') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


# In a browser -------------------------------------------------------------------------------------


# Words of names, or what of them may stand on a line of its own, that are on two lines.
BROKEN = """
const broken = [], walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
while (walker.nextNode()) {
    const node = walker.currentNode;
    if (!node.parentElement.closest('th, strong, .names, h1, figcaption')) continue;
    for (const word of node.data.matchAll(/[^\\s-]+/g)) {
        const range = document.createRange();
        range.setStart(node, word.index);
        range.setEnd(node, word.index + word[0].length);
        if (range.getClientRects().length > 1) broken.push(word[0]);
    }
}
return broken;
"""
NAMES = {
    7: [
        "anger",
        "boredom",
        "disgust",
        "anxiety_or_fear",
        "happiness",
        "neutral_and_calm",
        "sadness",
    ],
    30: ["Donaudampfschiffahrtsgesellschaft", *(f"speaker-{i:02d}" for i in range(29))],
}


class Guess(ClassifierMixin, BaseEstimator):
    """A model whose answers are as good as random ones."""

    def fit(self, classes):
        self.classes_ = np.array(classes)
        return self

    def predict_proba(self, X):
        return np.random.default_rng(0).dirichlet(np.ones(len(self.classes_)), len(X))


# How many lines the name of each candidate takes.
LINES = """
return [...document.querySelectorAll('#leaderboard tbody th')].map(e => {
    const range = document.createRange();
    range.selectNodeContents(e.firstChild);
    return range.getClientRects().length;
});
"""


@pytest.mark.slow
def test_names_of_candidates_stay_on_one_line(tmp_path):
    """The longest of the line-ups, beside the curve or above figures that are as wide as can be."""
    names = sorted({c.name for p in ("best", "autospeech2020") for c in _line_up(p)}, key=len)
    names = [name for name in names if "-" in name][-8:]
    assert max(map(len, names)) <= writing._LONG_NAME
    n = len(names)
    model = Guess().fit(["no", "yes"])
    model.results_ = {
        "name": np.array(names, dtype=object),
        "score": np.linspace(0.9, 0.5, n),
        "weight": np.full(n, 1 / n),
        "mean_fit_time": np.full(n, 119.94),
        "predict_time": np.full(n, 0.0999),
        "status": np.array(["kept as validated", *["ok"] * (n - 1)], dtype=object),
    }
    model.failures_ = [(names[0], "TimeoutError: given up after 3 s", "the trace")]
    model.learning_curve_ = {"time": np.array([1.0, 9.0]), "score": np.array([0.5, 0.9])}
    model.time_budget, model.scoring, model.summary = 60.0, "balanced_accuracy", lambda: "told"
    clips = [noise(0.2, seed=i) for i in range(24)]
    write_report(model, clips, ["no", "yes"] * 12, tmp_path / "report.html")
    assert f"{names[0]} is kept as validated: given up" in read(tmp_path / "report.html").text
    with open_browser(tmp_path) as page:
        page.open(tmp_path / "report.html")
        for width in (1280, 768, 390):
            page.emulate(width=width, height=900, dark=False)
            assert page.run(TOO_WIDE) == [], f"on a screen of {width} pixels"
            assert page.run(LINES) == [1] * n, f"on a screen of {width} pixels"


def _line_up(preset):
    words = make_speech_like(30, n_classes=3, duration=0.2, random_state=0)
    return default_candidates(words.data, words.target, preset=preset, time_budget=1000)


@pytest.mark.parametrize("n_classes", NAMES)
@pytest.mark.slow
def test_nothing_is_cut_or_broken_on_any_screen(n_classes, tmp_path):
    X = []
    for i in range(60):
        X.append(str(tmp_path / f"a-rather_long.name_of_a_Sprachaufzeichnungsdatei_{i:03d}.wav"))
        soundfile.write(X[-1], noise(0.2, seed=i % 50), RATE)
    y = np.resize(NAMES[n_classes], 60)
    groups = np.array([f"a_group_with_a_name_that_goes_on_and_on_{i % 9}" for i in range(60)])
    path = tmp_path / "report.html"
    write_report(
        Guess().fit(sorted(NAMES[n_classes])),
        *(X[:40], y[:40], path),
        X_train=X[20:],
        y_train=y[20:],
        groups_test=groups[:40],
        groups_train=groups[20:],
        title=f"A report on {n_classes} classes of a_title_that_is_rather_long",
    )
    with open_browser(tmp_path) as page:
        page.open(path)
        for width in (1280, 768, 390):
            page.emulate(width=width, height=900, dark=False)
            assert page.run(TOO_WIDE) == [], f"on a screen of {width} pixels"
            assert page.run(BROKEN) == [], f"on a screen of {width} pixels"
            shown = page.run("return document.querySelector('.matrix').getClientRects().length")
            assert shown == (n_classes == 7 or width == 1280)


@pytest.mark.slow
def test_a_browser_opens_the_page_without_a_complaint(classifier, speech, tmp_path):
    (X_train, y_train, _), (X, y, _) = speech
    path = tmp_path / "report.html"
    X, y = [*X, np.zeros(8000)], [*y, "go"]
    classifier.report(X, y, path, X_train=X_train, y_train=y_train, title="In a browser")
    with open_browser(tmp_path) as page:
        page.open(path)
        assert page.run("return document.title") == "In a browser"
        assert page.run("return document.querySelector('h1').textContent") == "In a browser"
        broken = "return [...document.images].filter(i => !i.complete || !i.naturalWidth).length"
        assert page.run(broken) == 0
        # Each sound can be played: the browser decodes it and knows how long it is.
        durations = page.run(
            "return Promise.all([...document.querySelectorAll('audio')].map(sound => new Promise("
            "(done, fail) => { sound.onloadedmetadata = () => done(sound.duration);"
            " sound.onerror = () => done(-1); sound.load(); })))"
        )
        assert len(durations) > 0
        lengths = np.array([len(clip) for clip in X]) / RATE
        assert all(np.abs(lengths - duration).min() < 1e-3 for duration in durations)
        screens = {}
        for width, dark in ((1280, False), (1280, True), (390, False)):
            page.emulate(width=width, height=900, dark=dark)
            assert page.run(TOO_WIDE) == [], f"on a screen of {width} pixels"
            colour = page.run("return getComputedStyle(document.body).backgroundColor")
            brightness = np.mean([int(value) for value in re.findall(r"\d+", colour)])
            assert (brightness < 60) == dark
            screens[width, dark] = page.screenshot()
        assert len(set(screens.values())) == 3
        assert all(screen.startswith(b"\x89PNG") for screen in screens.values())
        sizes = page.run("return [...document.querySelectorAll('svg')].map(s => s.clientHeight)")
        assert len(sizes) == 5
        assert min(sizes) > 100
        assert page.messages() == []
        asked, failed = page.network()
        assert failed == []
        assert {address.partition(":")[0] for address in asked} <= {"file", "data"}
        assert any(address.startswith("file:") for address in asked)
