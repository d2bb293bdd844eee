"""Clips that are too long to be held are read in parts, which say the same as the whole."""

import numpy as np
import pytest
import soundfile
from sklearn import clone
from sounds import noise, write_av

from skspeech import (
    Extractor,
    KeywordEmbedding,
    MoonshineEmbedding,
    MusicEmbedding,
    SpeakerEmbedding,
    SpectralStatistics,
    WhisperEmbedding,
)
from skspeech.audio import AudioError, as_clips, iter_waveforms
from skspeech.audio.errors import DamagedError
from skspeech.audio.long import LongWaveform
from skspeech.datasets import make_speech_like

LONGEST = 1.0


def _only(clips, **options):
    ((_, waveform),) = iter_waveforms(clips, longest=LONGEST, **options)
    return waveform


def _sources(tmp_path):
    waveform = noise(3.3)
    for rate, suffix in [(16_000, "wav"), (44_100, "flac"), (22_050, "ogg"), (16_000, "mp3")]:
        path = str(tmp_path / f"{rate}.{suffix}")
        soundfile.write(path, np.stack([waveform, 0.5 * waveform], axis=1), rate)
        yield path
    yield waveform
    yield (np.round(waveform * 20_000).astype(np.int16), 11_025)


def test_a_long_waveform_holds_what_the_whole_holds(tmp_path):
    for source in _sources(tmp_path):
        whole = as_clips([source])[0].load()
        long = _only([source])
        assert isinstance(long, LongWaveform)
        np.testing.assert_array_equal(long.load(), whole)
        assert len(long) == len(whole)
        assert long.mean == pytest.approx(whole.mean(dtype=np.float64), abs=1e-9)
        assert long.power == pytest.approx(whole.var(dtype=np.float64), rel=1e-5)
        assert long.peak == np.abs(whole).max()


def test_spans_overlap_and_go_beyond_the_ends(tmp_path, monkeypatch):
    monkeypatch.setattr("skspeech.audio.waveforms.BLOCK_SIZE", 1_000)  # of those in memory
    waveform = noise(2.0)
    long = _only([waveform])
    bounds = [(-5, 40), (0, 16_000), (10, 20_000), (21_500, 21_600), (31_000, 32_010)]
    padded = np.pad(waveform, 10)
    for (begin, end), span in zip(bounds, long.spans(bounds), strict=True):
        np.testing.assert_array_equal(span, padded[begin + 10 : end + 10])
    for span in long.scaled(0.25, 2.0).spans([(5, 30_000)]):
        np.testing.assert_allclose(span, (waveform[5:30_000] - 0.25) * 2, rtol=1e-6)


def test_variants_and_limits_count_as_what_is_heard(tmp_path):
    path = str(tmp_path / "a.wav")
    soundfile.write(path, noise(3.0), 16_000)
    clip = as_clips([path])[0]
    for variant in [clip.variant(speed=0.5), clip.variant(offset=0.5, duration=2.0)]:
        long = _only([variant])
        np.testing.assert_array_equal(long.load(), variant.load())
    assert isinstance(_only([path], max_duration=0.5), np.ndarray)
    assert isinstance(_only([clip.variant(speed=4.0)]), np.ndarray)


def test_damage_is_told_as_ever_and_what_is_good_is_used(tmp_path):
    path = tmp_path / "cut.flac"
    soundfile.write(path, noise(4.0), 16_000)
    path.write_bytes(path.read_bytes()[: path.stat().st_size * 3 // 4])
    with pytest.raises(DamagedError) as caught:
        as_clips([str(path)])[0].load()
    with pytest.raises(AudioError, match="is damaged or cut off after") as told:
        _only([str(path)])
    assert told.value.failures[0][2] == str(caught.value)
    with pytest.warns(UserWarning, match="The part before that is used"):
        long = _only([str(path)], errors="warn")
    np.testing.assert_array_equal(long.load(), caught.value.waveform)


def test_what_is_said_of_a_clip_is_said_once(tmp_path):
    path = tmp_path / "phases.wav"
    soundfile.write(path, np.stack([noise(3.0), -noise(3.0)], axis=1), 16_000)
    with pytest.warns(UserWarning, match="opposite phase") as caught:
        _only([str(path)])
    assert len(caught) == 1
    assert str(caught[0].message).count("opposite phase") == 1


def test_a_length_that_no_header_tells_is_found_out(tmp_path):
    path = tmp_path / "live.webm"
    write_av(
        path, noise(40.0, 48_000), 48_000, container="webm", codec="libopus", options={"live": "1"}
    )
    clips = [str(path)] * 3  # in threads, which take turns
    long = [w for _, w in iter_waveforms(clips, longest=35.0, prefetch_seconds=40.0, n_jobs=2)]
    whole = as_clips([str(path)])[0].load()
    for waveform in long:
        np.testing.assert_array_equal(waveform.load(), whole)


# -- Extractors ------------------------------------------------------------------------------------

EXTRACTORS = [
    SpeakerEmbedding(),
    SpeakerEmbedding(level=None, pooling=("mean", "std", "last", "max")),
    MusicEmbedding(dtype="float32", pooling=("mean", "std", "last", "max")),
    MusicEmbedding("mtt_vgg", layers="pool5"),
    KeywordEmbedding(pooling=("mean", "std", "last", "max")),
    WhisperEmbedding(dtype="float32", pooling=("mean", "std", "max")),
    WhisperEmbedding(dtype="float32", window=1.0, hop=0.09),
    MoonshineEmbedding(dtype="float32", pooling=("mean", "std", "max"), window=1.0, hop=0.4),
    SpectralStatistics(frames=("all", "loud", "voiced", "unvoiced")),
]


@pytest.fixture(scope="module")
def recording(tmp_path_factory):
    """Half a minute of words at other levels, on a constant offset, in a file."""
    words = make_speech_like(n_samples=12, random_state=0).data
    loudness = np.random.default_rng(0).uniform(0.01, 1.0, len(words))
    waveform = np.concatenate([level * word for level, word in zip(loudness, words, strict=True)])
    path = tmp_path_factory.mktemp("long") / "recording.wav"
    soundfile.write(path, 0.02 + 0.5 * np.resize(waveform, 200_000), 16_000)
    return str(path)


@pytest.fixture
def in_parts(cut_longer_than, monkeypatch):
    """Clips of more than a moment are long."""

    def shorten():
        cut_longer_than(2.0, 4.0)
        monkeypatch.setattr(
            "skspeech.audio.long.LongWaveform.load", lambda self: pytest.fail("held at once")
        )

    return shorten


@pytest.mark.parametrize("extractor", EXTRACTORS, ids=repr)
def test_features_of_a_long_clip_are_those_of_the_whole(extractor, recording, in_parts):
    extractor = clone(extractor).set_params(memory=False)
    short = noise(0.5)
    whole = extractor.transform([short, recording, short])
    whole_windows, whole_times = extractor.embed([recording], return_timestamps=True)
    in_parts()
    parts = extractor.transform([short, recording, short])
    windows, times = extractor.embed([recording], return_timestamps=True)
    for together, apart in [(whole, parts), (whole_windows[0], windows[0])]:
        assert together.shape == apart.shape
        np.testing.assert_allclose(apart, together, rtol=1e-3, atol=1e-3 * np.abs(together).max())
    np.testing.assert_array_equal(times[0], whole_times[0])


def test_silence_and_a_constant_are_silent_at_any_length(in_parts):
    clips = [np.zeros(64_000), np.full(64_000, 0.3)]
    extractor = SpeakerEmbedding(memory=False)
    whole = extractor.transform(clips)
    in_parts()
    np.testing.assert_allclose(extractor.transform(clips), whole, atol=1e-5)


def test_an_hour_of_statistics_is_of_some_frames(recording, in_parts, monkeypatch):
    extractor = SpectralStatistics(memory=False)
    whole = extractor.transform([recording])
    in_parts()
    monkeypatch.setattr("skspeech.transformers.spectral._MOST_FRAMES", 1_000)
    some = extractor.transform([recording])
    assert np.abs(some - whole).max() > 0
    is_mean = ["_mean_" in name for name in extractor.get_feature_names_out()]
    np.testing.assert_allclose(some[:, is_mean], whole[:, is_mean], rtol=0.2, atol=2.0)


def test_extractors_of_ones_own_get_waveforms_of_any_length(recording, in_parts):
    class Loudness(Extractor):
        def _extract(self, waveforms):
            return [[np.abs(w).mean()] for w in waveforms]

    in_parts()
    assert Loudness().transform([recording]).shape == (1, 1)
