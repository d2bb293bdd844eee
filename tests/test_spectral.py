"""Features without a network are librosa's descriptors, of many clips at once."""

import pickle

import librosa
import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy.fft import dct
from sklearn.base import clone

from skspeech import LogMelSpectrogram, SpectralStatistics, cache
from skspeech.audio import SAMPLING_RATE, load_waveforms
from skspeech.datasets import make_speech_like
from skspeech.transformers import base
from skspeech.transformers._statistics import FRAME_STATISTICS, frame_statistics  # pure

HOP = 200
SIZES = {"n_fft": 512, "hop_length": HOP}


@pytest.fixture(autouse=True)
def empty_cache():
    cache.clear()


def synthetic():
    """Clips of other lengths, the shortest with fewer frames than a derivative looks at."""
    speech = np.concatenate(make_speech_like(n_samples=6, random_state=0).data)
    noise = np.random.default_rng(0).normal(scale=1e-3, size=len(speech)).astype(np.float32)
    lengths = [900, 4_801, 16_000, 50_123]
    return [np.resize(np.roll(speech + noise, -n), n) for n in lengths]


@pytest.fixture(scope="module", params=["synthetic", pytest.param("emodb", marks=pytest.mark.data)])
def clips(request, data_home):
    if request.param == "synthetic":
        return synthetic()
    return load_waveforms(sorted((data_home / "emodb" / "wav").glob("*.wav"))[::90])


@pytest.fixture(
    params=[
        SpectralStatistics,
        lambda: SpectralStatistics(n_fft=1_024, hop_length=1_200),  # leaves samples out
        lambda: LogMelSpectrogram(duration=1.0),
    ]
)
def extractor(request):
    return request.param()


def halved(waveform):
    """Every other sample after a binomial filter."""
    padded = np.pad(waveform, (2, 3))
    return np.convolve(padded, np.array([1, 4, 6, 4, 1], "f4") / 16, mode="valid")[
        : len(waveform) : 2
    ]


def pitch(y):
    f0 = librosa.yin(halved(y), sr=8_000, fmin=65, fmax=500, frame_length=512, hop_length=HOP // 2)
    return 12 * np.log2(f0 / 150)[None, : 1 + len(y) // HOP]


def mfcc(y):
    return librosa.feature.mfcc(y=y, sr=SAMPLING_RATE, n_mfcc=20, n_mels=40, **SIZES)


DESCRIPTORS = {
    "mfcc": mfcc,
    "mfcc_delta": lambda y: librosa.feature.delta(mfcc(y), mode="nearest"),
    "mfcc_delta2": lambda y: librosa.feature.delta(mfcc(y), order=2, mode="nearest"),
    "rms": lambda y: librosa.amplitude_to_db(
        librosa.feature.rms(y=y, frame_length=512, hop_length=HOP), top_db=None
    ),
    "zero_crossing_rate": lambda y: librosa.feature.zero_crossing_rate(
        y, frame_length=512, hop_length=HOP
    ),
    "centroid": lambda y: librosa.feature.spectral_centroid(y=y, sr=16_000, **SIZES) / 1000,
    "bandwidth": lambda y: librosa.feature.spectral_bandwidth(y=y, sr=16_000, **SIZES) / 1000,
    "rolloff": lambda y: librosa.feature.spectral_rolloff(y=y, sr=16_000, **SIZES) / 1000,
    "flatness": lambda y: 10 * np.log10(librosa.feature.spectral_flatness(y=y, **SIZES)),
    "pitch": pitch,
}


# The descriptors are librosa's --------------------------------------------------------------------


@pytest.fixture(scope="module")
def descriptors(clips):
    """What `embed` gives for each clip, and the names of its columns."""
    extractor = SpectralStatistics(level=None, frames="all", pooling="mean", memory=False)
    names = [name.rsplit("_", 2)[0] for name in extractor.get_feature_names_out()]
    return np.array(names), extractor.embed(clips)


@pytest.mark.parametrize("name", DESCRIPTORS)
@pytest.mark.filterwarnings("ignore:n_fft=512 is too large:UserWarning")
def test_descriptors_are_librosas(name, clips, descriptors):
    names, frames = descriptors
    columns = [n == name or n.rpartition("_")[0] == name for n in names]
    for clip, block in zip(clips, frames, strict=True):
        expected = DESCRIPTORS[name](clip).T
        actual = block[:, columns]
        assert actual.shape == expected.shape
        close = np.abs(actual - expected) <= 1e-3 * np.abs(expected).max()
        if name in ("pitch", "rolloff"):  # on a tie, rounding decides which bin or trough it is
            assert close.mean() > 0.97
        else:
            assert close.all()


def test_pitch_of_tones_is_their_frequency():
    seconds = np.arange(SAMPLING_RATE) / SAMPLING_RATE
    frequencies = [80.0, 123.4, 220.0, 440.0]
    tones = [np.sin(2 * np.pi * f * seconds).astype(np.float32) for f in frequencies]
    extractor = SpectralStatistics(level=None, pooling="p50")
    features = dict(
        zip(extractor.get_feature_names_out(), extractor.transform(tones).T, strict=True)
    )
    expected = 12 * np.log2(np.array(frequencies) / 150)
    assert_allclose(features["pitch_p50_voiced"], expected, atol=0.1)
    assert (features["voicing_p50_loud"] > 0.85).all()


def test_noise_and_silence_are_not_voiced():
    noise = np.random.default_rng(0).normal(scale=0.1, size=16_000).astype(np.float32)
    extractor = SpectralStatistics(level=None, frames=("all", "voiced"), pooling="mean")
    features = extractor.transform([noise, np.zeros(16_000, np.float32)])
    by_name = dict(zip(extractor.get_feature_names_out(), features.T, strict=True))
    assert (by_name["voicing_mean_all"] < 0.3).all()
    assert by_name["voicing_mean_all"][1] == 0
    assert by_name["pitch_mean_voiced"][1] == 0


# Statistics ---------------------------------------------------------------------------------------


def reference(frames):
    """Statistics of one clip's frames, (n_frames, n_descriptors), by NumPy and SciPy."""
    percentiles = {"min": 0, "p10": 10, "p50": 50, "p90": 90, "max": 100}
    waves = dct(frames.astype(np.float64), axis=0) / (2 * len(frames))
    waves = np.pad(waves, [(0, 5), (0, 0)])
    return {
        "mean": frames.mean(axis=0),
        "std": frames.std(axis=0),
        **{name: np.percentile(frames, p, axis=0) for name, p in percentiles.items()},
        **{f"dct{k}": waves[k] for k in range(1, 6) if k < len(frames)},
    }


def test_statistics_are_those_of_each_clip_alone():
    counts = np.array([1, 7, 2, 30, 11])
    values = np.random.default_rng(0).normal(size=(counts.sum(), 3)).astype(np.float32)
    before = values.copy()
    statistics = frame_statistics(values, counts, FRAME_STATISTICS)
    assert statistics.shape == (5, len(FRAME_STATISTICS), 3)
    for row, frames in zip(statistics, np.split(values, np.cumsum(counts)[:-1]), strict=True):
        expected = reference(frames)
        for name, actual in zip(FRAME_STATISTICS, row, strict=True):
            if name in expected:
                assert_allclose(actual, expected[name], atol=1e-5, err_msg=name)
    assert_array_equal(values, before)


def test_selections_hold_the_frames_they_promise(clips):
    extractor = SpectralStatistics(
        level=None, frames=("all", "loud", "voiced", "unvoiced"), pooling="mean"
    )
    names = extractor.get_feature_names_out()
    frames = extractor.embed(clips)
    rms, voicing = 60, 66
    n_voiced = 0
    for row, block in zip(extractor.transform(clips), frames, strict=True):
        features = dict(zip(names, row, strict=True))
        loud = block[:, rms] > block[:, rms].max() - 40
        voiced = loud & (block[:, voicing] >= 0.7)
        masks = {"all": loud | True, "loud": loud, "voiced": voiced, "unvoiced": ~voiced}
        for selection, mask in masks.items():
            expected = block[mask] if mask.any() else block[:1]
            assert_allclose(
                [features[f"{d}_mean_{selection}"] for d in ("mfcc_0", "rms", "rolloff")],
                expected[:, [0, rms, 64]].mean(axis=0),
                rtol=1e-4,
            )
        if voiced.any():
            assert_allclose(features["pitch_mean_voiced"], block[voiced, -1].mean(), rtol=1e-3)
            n_voiced += 1
    assert n_voiced > 0


@pytest.mark.data
def test_statistics_alone_know_emotions(data_home):
    from skspeech.estimators.discriminant import ShrinkageDiscriminantAnalysis

    paths = np.array(sorted((data_home / "emodb" / "wav").glob("*.wav")))
    speakers, emotions = (np.array([p.stem[part] for p in paths]) for part in (slice(2), 5))
    tested = np.isin(speakers, ["03", "08"])
    features = SpectralStatistics().fit_transform(paths)
    model = ShrinkageDiscriminantAnalysis(shrinkage=0.5).fit(features[~tested], emotions[~tested])
    assert model.score(features[tested], emotions[tested]) > 0.65


# The picture --------------------------------------------------------------------------------------


@pytest.mark.parametrize("duration", [0.5, 2.0])
def test_log_mel_spectrogram_is_librosas(clips, duration):
    extractor = LogMelSpectrogram(level=None, duration=duration, n_mels=40)
    features = extractor.fit_transform(clips)
    names = extractor.get_feature_names_out()
    n_frames = 1 + int(duration * SAMPLING_RATE) // 512
    assert features.shape == (len(clips), 40 * n_frames) == (len(clips), len(names))
    pictures = features.reshape(len(clips), 40, -1)
    for clip, picture in zip(clips, pictures, strict=True):
        power = librosa.feature.melspectrogram(
            y=np.resize(clip, int(duration * SAMPLING_RATE)),
            sr=SAMPLING_RATE,
            n_fft=1024,
            hop_length=512,
            n_mels=40,
            fmin=20,
            fmax=8000,
        )
        assert_allclose(picture, librosa.power_to_db(power), atol=1e-2)
    assert names[n_frames + 2] == "mel1_frame2"
    assert features[0, n_frames + 2] == pictures[0, 1, 2]


def test_no_more_is_decoded_than_the_picture_shows(monkeypatch):
    seen = []
    decode = base.iter_waveforms
    monkeypatch.setattr(
        base, "iter_waveforms", lambda *a, **k: seen.append(k["max_duration"]) or decode(*a, **k)
    )
    LogMelSpectrogram(duration=0.7).transform(synthetic())
    assert seen == [0.7]


# Both ---------------------------------------------------------------------------------------------


def test_features_have_names_and_are_finite(extractor, clips):
    features = extractor.fit_transform(clips)
    names = extractor.get_feature_names_out()
    assert features.shape == (len(clips), len(set(names))) == (len(clips), len(names))
    assert features.dtype == np.float32
    assert np.isfinite(features).all()
    assert len(np.unique(features, axis=0)) == len(clips)


def test_neighbours_and_chunks_do_not_matter(extractor, clips, monkeypatch):
    together = extractor.set_params(memory=False).transform(clips)
    alone = np.concatenate([extractor.transform([clip]) for clip in clips])
    monkeypatch.setattr(type(extractor), "_seconds_per_chunk", lambda self: 0.1)
    tolerance = 1e-4 * np.abs(together).max(axis=0) + 1e-4
    assert (np.abs(together - alone) <= tolerance).all()
    assert (np.abs(together - extractor.transform(clips)) <= tolerance).all()


def test_embeddings_are_frames(extractor, clips):
    embeddings, centres = extractor.embed(clips, return_timestamps=True)
    for embedding, centre in zip(embeddings, centres, strict=True):
        assert len(embedding) == len(centre)
        assert_allclose(centre, np.arange(len(centre)) * extractor.hop_length / SAMPLING_RATE)


@pytest.mark.parametrize("scale", [0.0, 1e-30, 1e-3])
def test_any_level_gives_finite_features(extractor, scale):
    with np.errstate(over="raise", divide="raise", invalid="raise"):
        features = extractor.transform([synthetic()[2] * np.float32(scale)])
    assert np.isfinite(features).all()


@pytest.mark.parametrize("n_samples", [1, 2, 3])
def test_a_few_samples_are_a_clip(extractor, n_samples):
    assert np.isfinite(extractor.transform([np.full(n_samples, -0.5, np.float32)])).all()


def test_each_clip_is_described_once(extractor, monkeypatch):
    clips = synthetic()
    expected = extractor.transform(clips)

    def refuse(*args):
        raise AssertionError("computed again")

    monkeypatch.setattr(type(extractor), "_embed_waveforms", refuse)
    assert_array_equal(extractor.set_params(n_jobs=1).transform(clips[::-1]), expected[::-1])


def test_clones_and_pickles_agree(extractor):
    clips = synthetic()
    copy = pickle.loads(pickle.dumps(clone(extractor).set_params(memory=False)))
    assert_array_equal(copy.fit_transform(clips), extractor.transform(clips))


@pytest.mark.parametrize(
    ("extractor", "message"),
    [
        (SpectralStatistics(hop_length=161), "hop_length=161 is odd. Use 162"),
        (SpectralStatistics(n_mfcc=41), "n_mfcc=41 is more than n_mels=40"),
        (SpectralStatistics(fmin=300, fmax=200.0), "fmin=300 is not below fmax=200.0: .* pitch"),
        (SpectralStatistics(frames="quiet"), "'frames' parameter .* Got 'quiet' instead"),
        (SpectralStatistics(frames=("loud", "loud")), "frames=.* is not accepted. Use one or"),
        (SpectralStatistics(pooling=("mean", "p3")), "pooling=.*'p3'.* is not accepted"),
        (SpectralStatistics(n_mels=200, n_mfcc=20), "n_mels=200 is too many for n_fft=512"),
        (LogMelSpectrogram(duration=0), "'duration' parameter .* Got 0 instead"),
        (LogMelSpectrogram(fmin=900.0, fmax=900.0), "fmin=900.0 is not below .* frequency in Hz"),
        (LogMelSpectrogram(fmax=9e3), "'fmax' parameter .* Got 9000.0 instead"),
        (LogMelSpectrogram(n_mels=128, n_fft=256), "n_mels=128 is too many for n_fft=256"),
    ],
)
def test_parameters_are_checked(extractor, message):
    with pytest.raises(ValueError, match=message):
        extractor.fit(synthetic())


@pytest.mark.gpu
def test_gpu_gives_the_cpus_features(extractor, clips):
    on_gpu = extractor.set_params(memory=False, device="cuda").transform(clips)
    on_cpu = extractor.set_params(device="cpu").transform(clips)
    scale = np.abs(on_cpu).max(axis=0) + 1
    assert (np.abs(on_gpu - on_cpu) < 2e-2 * scale).mean() > 0.99
