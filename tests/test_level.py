"""Recordings at another level, or with a constant offset, get the same features and answers."""

import copy
import pickle

import numpy as np
import pytest
from sklearn.base import clone

from skspeech import (
    FineTunedSpeakerClassifier,
    KeywordEmbedding,
    LogMelSpectrogram,
    MixupCNNClassifier,
    MoonshineEmbedding,
    MusicEmbedding,
    RecurrentAttentionClassifier,
    SpeakerEmbedding,
    SpectralStatistics,
    VoiceActivityTrimmer,
    WhisperEmbedding,
)
from skspeech.audio.level import at_level
from skspeech.datasets import make_speech_like

EXTRACTORS = {
    "ge2e": SpeakerEmbedding,
    "musicnn": MusicEmbedding,
    "vgg": lambda **settings: MusicEmbedding("mtt_vgg", **settings),
    "keyword": KeywordEmbedding,
    "spectral": SpectralStatistics,
    "spectrogram": LogMelSpectrogram,
    "moonshine": MoonshineEmbedding,
    "whisper": WhisperEmbedding,
}
# Their first answers, which don't need TensorFlow.
TRAINED = {
    "recurrent": lambda **settings: RecurrentAttentionClassifier(max_rounds=0, **settings),
    "mixup": lambda **settings: MixupCNNClassifier(max_time=1e-3, **settings),
}
extractors = pytest.mark.parametrize("make", EXTRACTORS.values(), ids=EXTRACTORS)


@pytest.fixture(scope="module")
def speech():
    return [clip * np.float32(0.3) for clip in make_speech_like(n_samples=4, random_state=0).data]


def _distance(a, b):
    """How far rows are apart, as a share of how far clips are apart."""
    return np.linalg.norm(a - b, axis=1).max() / np.linalg.norm(a - a.mean(axis=0))


@pytest.mark.network
@extractors
@pytest.mark.parametrize("decibels", [-20, -6, 6, 20])
def test_features_do_not_depend_on_the_level(make, speech, decibels):
    expected = make().fit_transform(speech)
    other = make().transform([clip * np.float32(10 ** (decibels / 20)) for clip in speech])
    assert _distance(expected, other) < 0.01


@pytest.mark.network
@extractors
@pytest.mark.parametrize("offset", [0.02, 0.1, -0.5])
def test_features_do_not_depend_on_an_offset(make, speech, offset):
    expected = make().fit_transform(speech)
    other = make().transform([clip + np.float32(offset) for clip in speech])
    assert _distance(expected, other) < 0.01


@pytest.mark.network
@extractors
def test_without_a_level_clips_stay_as_they_are(make, speech):
    one = make(level=None).fit_transform(speech)
    loud = make(level=None).transform([clip * 10 for clip in speech])
    if make is not WhisperEmbedding:  # brings every window to one level itself
        assert _distance(one, loud) > 0.01
    levelled = [at_level(clip, -20.0) for clip in speech]
    np.testing.assert_allclose(
        make(level=None).transform(levelled), make().transform(speech), rtol=1e-3, atol=1e-3
    )


@pytest.mark.parametrize("make", TRAINED.values(), ids=TRAINED)
def test_what_is_learnt_does_not_depend_on_the_level(make, speech):
    _check_trained(make, speech)


@pytest.mark.network
def test_what_is_learnt_by_fine_tuning_does_not_depend_on_the_level(speech):
    settings = {"freeze": 0.96, "max_epochs": 1, "crop": 0.2, "augment": False, "refit": False}
    # GE2E raises quiet clips by itself, as in its own training.
    _check_trained(lambda **others: FineTunedSpeakerClassifier(**settings, **others), speech, False)


def _check_trained(make, speech, hears_level=True):
    clips, labels = speech * 3, [0, 1, 0, 1] * 3
    quiet = [clip * np.float32(0.1) + np.float32(0.02) for clip in clips]
    trained = make(random_state=0, level=-20.0).fit(clips, labels)
    expected = trained.predict_proba(speech)
    for gain in (0.1, 0.5, 3.0):
        other = trained.predict_proba([clip * np.float32(gain) for clip in speech])
        np.testing.assert_allclose(other, expected, atol=0.01)
    other = make(random_state=0, level=-20.0).fit(quiet, labels).predict_proba(speech)
    np.testing.assert_allclose(other, expected, atol=0.01)
    as_recorded = make(random_state=0, level=None).fit(clips, labels)
    other = as_recorded.predict_proba([clip * np.float32(0.1) for clip in speech])
    assert (np.abs(other - as_recorded.predict_proba(speech)).max() > 0.02) == hears_level


@pytest.mark.parametrize("make", TRAINED.values(), ids=TRAINED)
def test_a_trained_network_from_before_there_was_a_level_has_none(make, speech):
    fitted = make(level=None, random_state=0).fit(speech * 2, [0, 1, 0, 1] * 2)
    state = fitted.__getstate__()
    del state["level"]
    old = object.__new__(type(fitted))
    old.__setstate__(state)
    assert old.level is None
    np.testing.assert_array_equal(old.predict_proba(speech), fitted.predict_proba(speech))


@pytest.mark.network
@extractors
def test_a_pickle_from_before_there_was_a_level_has_none(make, speech):
    state = make().__getstate__()
    del state["level"]
    old = object.__new__(type(make()))
    old.__setstate__(state)
    for again in (old, pickle.loads(pickle.dumps(old)), copy.deepcopy(old), clone(old)):
        assert again.level is None
    np.testing.assert_array_equal(old.transform(speech), make(level=None).transform(speech))


@extractors
@pytest.mark.parametrize("level", [1, -61, "loud", np.nan])
def test_levels_that_are_none(make, level):
    with pytest.raises(ValueError, match="The 'level' parameter of"):
        make(level=level).fit([np.zeros(100)])


def test_what_is_brought_to_a_level():
    noise = np.random.default_rng(0).normal(0, 0.01, 16_000).astype(np.float32)
    for waveform in (noise, noise + 0.3, noise * 50):
        brought = at_level(waveform, -26.0)
        assert 20 * np.log10(brought.std()) == pytest.approx(-26, abs=0.01)
        assert abs(brought.mean()) < 1e-6
        assert brought.dtype == np.float32
    np.testing.assert_array_equal(at_level(noise, None), noise)


@pytest.mark.parametrize("waveform", [np.zeros(100), np.full(1000, 0.3), np.array([0.0])])
def test_silence_stays_silence(waveform):
    np.testing.assert_array_equal(at_level(waveform.astype(np.float32), -20.0), 0)


def test_the_mean_of_a_few_samples_is_no_offset():
    brought = at_level(np.array([0.1, 0.2], dtype=np.float32), -20.0)
    assert brought[1] == pytest.approx(2 * brought[0])


@pytest.mark.parametrize("scale", [1e-40, 1e-20, 1e-6])
def test_next_to_nothing_is_not_made_loud(scale):
    waveform = (np.random.default_rng(0).normal(size=1000) * scale).astype(np.float32)
    assert np.abs(at_level(waveform, -20.0)).max() <= 1000 * np.abs(waveform).max() * 1.001


def test_speech_is_found_at_any_level_and_returned_at_its_own(speech):
    padded = [np.pad(clip, 8000) for clip in speech]
    trimmer = VoiceActivityTrimmer()
    expected = trimmer.detect(padded)
    for gain in (0.1, 3.0):
        found = trimmer.detect([clip * np.float32(gain) for clip in padded])
        for one, other in zip(expected, found, strict=True):
            np.testing.assert_allclose(one, other, atol=0.05)
    quiet = trimmer.transform([clip * np.float32(0.1) for clip in padded])
    for clip, original in zip(quiet, trimmer.transform(padded), strict=True):
        np.testing.assert_allclose(clip, original * np.float32(0.1), rtol=1e-5)
