"""A model that takes bare waveforms for such of another rate hears what it is meant to hear."""

import numpy as np
import pytest
import soxr
from sklearn.naive_bayes import GaussianNB
from sklearn.pipeline import make_pipeline
from sounds import sine

from skspeech import (
    AudioLoader,
    AugmentedClassifier,
    MixupCNNClassifier,
    SpeakerEmbeddingClassifier,
    SpectralStatistics,
    TimeBudgetClassifier,
    UnknownRejector,
    timeline,
)
from skspeech.audio.rates import ready_for, sampling_rate_of
from skspeech.inspection import occlusion
from skspeech.timelines import iter_timeline

RATE = 8000
HIGH, LOW = 800.0, 400.0  # at 16 kHz, and taken for 8 kHz, the high tone would be the low one


def tone(frequency, rate, seconds=0.5, seed=0):
    noise = np.random.default_rng(seed).normal(scale=0.01, size=round(seconds * RATE))
    sound = sine(seconds, RATE, frequency) + noise.astype(np.float32)
    return sound if rate == RATE else soxr.resample(sound, RATE, rate)


@pytest.fixture(scope="module")
def model():
    X = [tone(f, RATE, seed=seed) for f in (LOW, HIGH) for seed in range(10)]
    extractor = SpectralStatistics(sampling_rate=RATE, memory=False)
    return make_pipeline(extractor, GaussianNB()).fit(X, ["low"] * 10 + ["high"] * 10)


@pytest.fixture(params=["bare", "pair", "file"])
def high(request, write):
    if request.param == "bare":
        return tone(HIGH, RATE, seed=99)
    sound = tone(HIGH, 16_000, seed=99)
    return (sound, 16_000) if request.param == "pair" else write("high.wav", sound)


def test_everyone_hears_the_same(model, high):
    assert model.predict([high]).tolist() == ["high"]
    assert occlusion(model, high, n_times=3).label == "high"
    found = timeline(model, high, window=0.25, speech_only=False)
    assert found["label"].tolist() == ["high"]
    assert found.attrs["duration"] == pytest.approx(0.5)


def test_live_sound_has_a_rate_of_its_own(model):
    for rate in (RATE, 16_000, 44_100):
        blocks = np.split(tone(HIGH, rate, seconds=2), 10)
        heard = iter_timeline(model, blocks, sampling_rate=rate, window=0.25, speech_only=False)
        assert {moment.label for moment in heard} == {"high"}


def test_the_service_hears_files_of_any_rate(model, write):
    pytest.importorskip("fastapi", reason="needs skspeech[serve]")
    from skspeech.serving import hear

    for rate in (RATE, 16_000, 44_100):
        path = write(f"{rate}.wav", tone(HIGH, rate, seed=99), rate)
        assert hear(model, list(model.classes_), path, 60.0)["label"] == "high"


@pytest.mark.parametrize(
    ("model", "rate"),
    [
        (GaussianNB(), 16_000),
        (SpeakerEmbeddingClassifier(), 16_000),
        (SpeakerEmbeddingClassifier(sampling_rate=RATE), RATE),
        (MixupCNNClassifier(sampling_rate=RATE), RATE),
        (UnknownRejector(make_pipeline(SpectralStatistics(sampling_rate=RATE))), RATE),
        # The clips are decoded by the outer one, or the first.
        (AugmentedClassifier(SpeakerEmbeddingClassifier(), sampling_rate=RATE), RATE),
        (AugmentedClassifier(SpeakerEmbeddingClassifier(sampling_rate=RATE)), RATE),
        (make_pipeline(AudioLoader(sampling_rate=RATE), SpectralStatistics()), RATE),
    ],
    ids=str,
)
def test_the_outermost_rate_counts(model, rate):
    assert sampling_rate_of(model) == rate
    ((first, *_),) = [ready_for(model)([np.ones(3)])]
    assert isinstance(first, tuple) == (rate != 16_000)


def test_a_rejector_of_a_trained_network_listens_at_its_rate(model):
    from skspeech.unknown.features import extractor_of

    union = extractor_of(MixupCNNClassifier(sampling_rate=RATE))
    assert sampling_rate_of(union) == RATE


def test_a_run_knows_how_long_clips_of_its_candidates_rate_are():
    X = [tone(f, RATE, seconds=1.0, seed=seed) for f in (LOW, HIGH) for seed in range(10)]
    voice = make_pipeline(SpectralStatistics(sampling_rate=RATE), GaussianNB())
    model = TimeBudgetClassifier([("voice", voice)], time_budget=5, random_state=0)
    assert model.fit(X, np.repeat(["low", "high"], 10)).clip_duration_ == 1.0


def test_no_sound_is_skipped_by_a_model_that_hears_the_beginnings_of_windows():
    X = [np.r_[tone(f, 16_000), tone(LOW + HIGH, 16_000, 2)] for f in (LOW, HIGH) for _ in range(6)]
    extractor = SpectralStatistics(max_duration=0.5)
    model = SpeakerEmbeddingClassifier(extractor=extractor).fit(X, np.repeat(["low", "high"], 6))
    assert model.clip_duration_ == 2.5
    talk = np.concatenate([tone(f, 16_000) for f in [LOW, HIGH, HIGH] * 4])
    found = timeline(model, talk, speech_only=False)
    assert found.attrs["window"] == 0.5
    seconds = (found["end"] - found["start"]).groupby(found["label"]).sum()
    assert seconds["high"] > 1.5 * seconds["low"]
    assert timeline(model, talk, window=2, hop=0.5, speech_only=False).attrs["window"] == 2
    with pytest.raises(ValueError, match=r"hears of one, its max_duration \(0.5 s\)"):
        timeline(model, talk, window=2, speech_only=False)
