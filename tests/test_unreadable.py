"""Clips that can't be read: with errors="warn" they are neither learnt nor predicted as silence."""

import pickle
import warnings

import numpy as np
import pytest
import soundfile

from skspeech import (
    Candidate,
    FineTunedSpeakerClassifier,
    FusedEmbeddingClassifier,
    MixupCNNClassifier,
    MusicEmbeddingClassifier,
    SpeakerEmbedding,
    SpeakerEmbeddingClassifier,
    SpectralStatistics,
    TimeBudgetClassifier,
    UnknownRejector,
)
from skspeech.audio import AudioError, as_clips
from skspeech.datasets import make_speech_like

pytestmark = pytest.mark.network

BAD = "/nowhere/{}.wav"


@pytest.fixture(scope="module")
def speech():
    clips = make_speech_like(n_samples=24, n_classes=3, random_state=0)
    return clips.data, np.array(["a", "b", "c"])[clips.target]


CLASSIFIERS = {
    "speaker": lambda: SpeakerEmbeddingClassifier(errors="warn"),
    "speaker, warned by its extractor": lambda: SpeakerEmbeddingClassifier(
        extractor=SpeakerEmbedding(errors="warn")
    ),
    "music": lambda: MusicEmbeddingClassifier(errors="warn"),
    "fused": lambda: FusedEmbeddingClassifier(errors="warn"),
    "fine-tuned": lambda: FineTunedSpeakerClassifier(errors="warn", max_time=2, random_state=0),
}


@pytest.mark.parametrize("make", CLASSIFIERS.values(), ids=CLASSIFIERS)
def test_bad_clips_are_left_out_with_their_labels(make, speech):
    X, y = speech
    with_bad = [BAD.format(i) if i % 5 == 0 else clip for i, clip in enumerate(X)]
    good = [i for i in range(len(X)) if i % 5]
    with pytest.warns(UserWarning, match="5 of 24 clips cannot be used") as caught:
        classifier = make().fit(with_bad, y)
    assert "left out, with their labels" in str(caught[0].message)
    if "fine" not in type(classifier).__name__.lower():  # its training takes the time it has
        expected = make().fit([X[i] for i in good], y[good])
        np.testing.assert_allclose(
            classifier.predict_proba(X), expected.predict_proba(X), atol=1e-5
        )
    classifier = pickle.loads(pickle.dumps(classifier))
    with pytest.warns(UserWarning, match="the classes' frequencies") as caught:
        proba = classifier.predict_proba(with_bad)
    assert len(caught) == 1
    assert "5 of 24 clips" in str(caught[0].message)
    frequencies = np.unique(y[good], return_counts=True)[1] / len(good)
    np.testing.assert_allclose(proba[::5], np.tile(frequencies, (5, 1)))
    np.testing.assert_allclose(proba[good], classifier.predict_proba(X)[good], atol=1e-5)
    with pytest.warns(UserWarning, match="2 of 2 clips"):
        only_bad = classifier.predict_proba([BAD, BAD])
    np.testing.assert_allclose(only_bad, np.tile(frequencies, (2, 1)))


@pytest.mark.parametrize("kind", ["speaker", "fused", "fine-tuned"])
def test_errors_may_change_after_fit(kind, speech):
    X, y = speech
    classifier = CLASSIFIERS[kind]().set_params(errors="raise").fit(X, y)
    with pytest.raises(AudioError, match="1 of 2 clips"):
        classifier.predict_proba([BAD, X[0]])
    with pytest.warns(UserWarning, match="1 of 2 clips"):
        classifier.set_params(errors="warn").predict_proba([BAD, X[0]])
    with pytest.raises(AudioError, match="1 of 2 clips"):
        classifier.set_params(errors="raise").predict([BAD, X[0]])


def test_other_parameters_that_say_how_to_compute_may_change_after_fit(speech, tmp_path):
    X, y = speech
    classifier = SpeakerEmbeddingClassifier().fit(X, y)
    expected = classifier.predict_proba(X[:1])
    classifier.set_params(memory=tmp_path, sampling_rate=8000)
    np.testing.assert_allclose(classifier.predict_proba([(X[0], 16_000)]), expected, atol=1e-5)
    classifier.predict_proba([X[0][::2]])  # not in memory yet
    assert any(tmp_path.iterdir())
    assert not np.allclose(classifier.predict_proba(X[:1]), expected, atol=1e-5)
    assert classifier.pipeline_[0].sampling_rate == 16_000


def test_a_rejector_asks_what_its_classifier_does_now(speech):
    X, y = speech
    rejector = UnknownRejector(SpeakerEmbeddingClassifier(errors="warn")).fit(X, y)
    rejector.estimator_.set_params(errors="raise")
    with pytest.raises(AudioError, match="1 of 2 clips"):
        rejector.unknown_score([BAD, X[0]])


@pytest.mark.parametrize("make", CLASSIFIERS.values(), ids=CLASSIFIERS)
def test_a_class_of_which_nothing_is_left_is_an_error(make, speech):
    X, y = speech
    with pytest.raises(AudioError, match="No clip is left of 'b', so that can't be learnt"):
        make().fit([BAD if label == "b" else clip for clip, label in zip(X, y, strict=True)], y)
    with pytest.raises(AudioError, match="24 of 24 clips"):
        make().fit([BAD] * 24, y)


def test_a_class_of_which_no_clip_with_weight_is_left_is_an_error(speech):
    X, y = speech
    first = int(np.flatnonzero(y == "b")[0])
    weights = np.where(y == "b", 0.0, 1.0)
    weights[first] = 1.0
    X = [BAD if i == first else clip for i, clip in enumerate(X)]
    classifier = SpeakerEmbeddingClassifier(extractor=SpectralStatistics(), errors="warn")
    with pytest.raises(AudioError, match="No clip is left of 'b', so that can't be learnt"):
        classifier.fit(X, y, weights)


def test_frequencies_are_those_of_the_last_fit_that_succeeded(speech):
    X, y = speech
    classifier = SpeakerEmbeddingClassifier(extractor=SpectralStatistics(), errors="warn")
    classifier.fit(X, y).set_params(class_weight={"unheard": 2.0})
    with pytest.raises(ValueError, match="class_weight"):
        classifier.fit(X, np.where(y == "b", "a", y))
    with pytest.warns(UserWarning, match="2 of 2 clips"):
        proba = classifier.predict_proba([BAD, BAD])
    np.testing.assert_allclose(proba, 2 * [np.unique(y, return_counts=True)[1] / len(y)])


@pytest.mark.parametrize("n_classes", [2, 3])
def test_odds_of_clips_that_cannot_be_read(speech, n_classes):
    X, y = speech
    rows = np.flatnonzero(y <= "abc"[n_classes - 1])
    X, y = [X[i] for i in rows], y[rows]
    classifier = SpeakerEmbeddingClassifier(errors="warn").fit(X, y)
    with pytest.warns(UserWarning, match="1 of 2 clips"):
        odds = classifier.decision_function([BAD, X[0]])
    np.testing.assert_allclose(odds[1], classifier.decision_function([X[0]])[0], rtol=1e-4)
    frequencies = np.unique(y, return_counts=True)[1] / len(y)
    log = np.log(frequencies)
    np.testing.assert_allclose(odds[0], log if n_classes == 3 else log[1] - log[0], atol=1e-12)


@pytest.mark.parametrize("where", ["auto", "main", "worker"])
def test_a_candidate_learns_no_silence(speech, where):
    X, y = speech
    X = [BAD.format(i) if i % 4 == 0 else clip for i, clip in enumerate(X)]
    classifier = SpeakerEmbeddingClassifier(extractor=SpectralStatistics(), errors="warn")
    run = TimeBudgetClassifier(
        [Candidate("one", classifier, where=where)], time_budget=60, cv=2, random_state=0, n_jobs=1
    )
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        proba = run.fit(X, y).predict_proba(X)
        alone = classifier.fit(X, y).predict_proba(X)
    assert not any("Silence" in str(warning.message) for warning in caught)
    np.testing.assert_allclose(proba[::4], np.tile(proba[0], (6, 1)))
    np.testing.assert_array_equal(np.argsort(proba[1]), np.argsort(alone[1]))
    frequencies = np.bincount(np.searchsorted(["a", "b", "c"], y[np.arange(24) % 4 > 0])) / 18
    np.testing.assert_array_equal(np.argsort(proba[0]), np.argsort(frequencies))


def test_weights_and_selections_keep_to_their_clips(speech):
    X, y = speech
    weights = np.linspace(0.5, 2, len(y))
    rows = np.r_[3:24]
    clips = as_clips([*X[:10], BAD, *X[11:]])[rows]
    with pytest.warns(UserWarning, match=r"1 of 21 clips.*\n  \[10\]"):
        one = SpeakerEmbeddingClassifier(errors="warn").fit(clips, y[rows], weights[rows])
    kept = [i for i in rows if i != 10]
    other = SpeakerEmbeddingClassifier().fit([X[i] for i in kept], y[kept], weights[kept])
    np.testing.assert_allclose(one.predict_proba(X), other.predict_proba(X), atol=1e-5)


def test_nothing_is_told_where_all_is_well(speech):
    X, y = speech
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        classifier = SpeakerEmbeddingClassifier(errors="warn").fit(X, y)
        np.testing.assert_allclose(
            classifier.predict_proba(X),
            SpeakerEmbeddingClassifier().fit(X, y).predict_proba(X),
            atol=1e-6,
        )


@pytest.mark.tensorflow
@pytest.mark.slow
def test_the_validation_set_of_a_network_may_hold_bad_clips(speech):
    X, y = speech
    classifier = MixupCNNClassifier(errors="warn", max_time=3, random_state=0)
    with pytest.warns(UserWarning, match="1 of 7 clips"):
        classifier.fit(X, y, X_val=[*X[:6], BAD], y_val=[*y[:6], "a"])
    assert classifier.predict_proba(X).shape == (24, 3)


def test_what_is_left_of_a_damaged_clip_is_not_remembered_as_the_clip(tmp_path):
    path = tmp_path / "a.flac"
    soundfile.write(path, np.random.default_rng(0).uniform(-0.5, 0.5, 32_000), 16_000)
    path.write_bytes(path.read_bytes()[:30_000])
    extractor = SpectralStatistics(errors="warn")
    with pytest.warns(UserWarning, match="The part before that is used"):
        assert extractor.transform([path]).any()
    with pytest.raises(AudioError, match="is damaged"):
        SpectralStatistics().transform([path])


def test_silence_that_is_a_clip_is_remembered(monkeypatch):
    extractor = SpectralStatistics(errors="warn")
    extractor.transform([np.zeros(16_000)])
    monkeypatch.setattr(SpectralStatistics, "_compute", None)
    extractor.transform([np.zeros(16_000)])
