"""More rows of each clip: what they are, and that predicting does not use them."""

import contextlib

import numpy as np
import pytest
import soundfile
from sklearn import config_context
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.calibration import CalibratedClassifierCV
from sklearn.ensemble import VotingClassifier
from sklearn.exceptions import UnsetMetadataPassedError
from sklearn.model_selection import GridSearchCV, StratifiedGroupKFold
from sklearn.naive_bayes import GaussianNB
from sklearn.pipeline import make_pipeline
from sounds import sine

from skspeech import (
    AugmentedClassifier,
    ClippedStandardScaler,
    GeometricMeanVotingClassifier,
    ShrinkageDiscriminantAnalysis,
    SpeakerEmbedding,
    SpectralStatistics,
    UnknownRejector,
    cache,
)
from skspeech.audio import as_clips
from skspeech.datasets import make_tones

RATE = 16_000


class Listener(ClassifierMixin, BaseEstimator):
    """Keeps the waveforms that it was trained on and those that it was asked about."""

    def fit(self, X, y):
        self.heard_, self.labels_ = [clip.load() for clip in X], y
        self.classes_ = np.unique(y)
        return self

    def predict(self, X):
        self.asked_ = [clip.load() for clip in X]
        return np.repeat(self.classes_[:1], len(X))


def pitch(waveform):
    return np.abs(np.fft.rfft(waveform)).argmax() * RATE / len(waveform)


@pytest.fixture(params=["waveforms", "files of another rate"])
def two_clips(request, tmp_path):
    if request.param == "waveforms":
        return [sine(1, frequency=400.0), sine(0.5, frequency=1000.0)]
    paths = [tmp_path / "low.wav", tmp_path / "high.wav"]
    soundfile.write(paths[0], sine(1, 22_050, 400.0), 22_050, subtype="FLOAT")
    soundfile.write(paths[1], sine(0.5, 44_100, 1000.0), 44_100, subtype="FLOAT")
    return paths


def test_each_clip_is_also_played_at_each_speed(two_clips):
    clf = AugmentedClassifier(Listener(), speeds=(0.8, 1.25)).fit(two_clips, ["low", "high"])

    heard = clf.estimator_.heard_
    assert clf.n_rows_ == len(heard) == 6
    assert clf.estimator_.labels_.tolist() == ["low", "high"] * 3
    np.testing.assert_allclose([len(x) / RATE for x in heard], [1, 0.5, 1.25, 0.625, 0.8, 0.4])
    expected = [400, 1000, 320, 800, 500, 1250]
    np.testing.assert_allclose([pitch(x) for x in heard], expected, atol=2.0)


def test_clips_are_predicted_as_they_are(two_clips):
    clf = AugmentedClassifier(Listener()).fit(two_clips, ["low", "high"])

    clf.predict(two_clips)

    for asked, clip in zip(clf.estimator_.asked_, as_clips(two_clips), strict=True):
        np.testing.assert_array_equal(asked, clip.load())


def test_waveforms_have_the_rate_of_the_classifier_inside():
    class Telephone(Listener):
        sampling_rate = 8000

    X = [sine(1, 8000, 400.0), sine(1, 8000, 1000.0)]
    clf = AugmentedClassifier(Telephone(), speeds=()).fit(X, ["low", "high"])

    np.testing.assert_allclose([pitch(x) for x in clf.estimator_.heard_], [400, 1000], atol=2.0)
    assert clf.clip_duration_ == 1.0
    clf.set_params(sampling_rate=RATE).fit(X, ["low", "high"])
    np.testing.assert_allclose([pitch(x) for x in clf.estimator_.heard_], [800, 2000], atol=4.0)


def test_long_clips_are_cut_into_parts():
    ramp = np.linspace(-1, 1, 40_000, dtype=np.float32)  # 2.5 s
    clf = AugmentedClassifier(Listener(), speeds=(), crop=1.0).fit(
        [ramp, sine(1, frequency=300.0)], [1, 0]
    )

    whole, short, *parts = clf.estimator_.heard_
    assert (len(whole), len(short)) == (40_000, 16_000)
    assert clf.estimator_.labels_.tolist() == [1, 0, 1, 1]
    np.testing.assert_array_equal(np.concatenate(parts), ramp[:32_000])


def test_the_rest_of_a_clip_is_a_part_too_where_it_is_half_as_long():
    ramp = np.linspace(-1, 1, 42_000, dtype=np.float32)  # 2.625 s
    clf = AugmentedClassifier(Listener(), speeds=(), crop=1.0).fit(
        [ramp, sine(1, frequency=300.0)], [1, 0]
    )

    np.testing.assert_array_equal(clf.estimator_.heard_[-1], ramp[-16_000:])
    assert clf.n_rows_ == 5


def test_parts_of_other_speeds_are_as_long():
    clf = AugmentedClassifier(Listener(), speeds=(0.5,), crop=1.0).fit(
        [sine(1.0, frequency=400.0), sine(1.5, frequency=500.0)], [0, 1]
    )

    lengths = [len(x) for x in clf.estimator_.heard_]
    assert lengths == [16_000, 24_000, 32_000, 48_000, *[16_000] * 6]
    np.testing.assert_allclose([pitch(x) for x in clf.estimator_.heard_[-5:-3]], 200, atol=2)


def test_a_variant_is_not_mistaken_for_the_clip_in_the_cache():
    cache.clear()
    extractor = SpeakerEmbedding(layers="embedding")
    clip = as_clips([sine(1, frequency=200.0) + sine(1, frequency=1700.0)])[0]
    variants = [clip, clip.variant(speed=1.2), clip.variant(offset=0.3), clip.variant(duration=0.4)]
    assert len({variant.key() for variant in variants}) == 4

    remembered = [extractor.transform([variant]) for variant in variants]

    for variant, row in zip(variants, remembered, strict=True):
        np.testing.assert_allclose(extractor.transform([variant.load()]), row, atol=1e-5)


def test_a_variant_of_a_variant():
    clip = as_clips([np.arange(32_000, dtype=np.float32) / 32_000])[0]
    part = clip.variant(offset=0.5, duration=1.0)

    assert part.variant(offset=0.25).duration() == 0.75
    np.testing.assert_array_equal(part.variant(offset=0.25).load(), clip.load()[12_000:24_000])
    assert part.variant(speed=2.0).duration() == 0.5
    assert len(part.load(max_duration=0.1)) == 1600
    assert len(part.load(offset=0.75)) == 4000
    with pytest.raises(ValueError, match="not before its end"):
        part.load(offset=1.0)


def test_a_variant_is_the_same_whatever_kind_of_numbers_it_is_given():
    clip = as_clips([sine(2)])[0]
    keys = {
        clip.variant(speed=kind(2), duration=kind(1), offset=kind(0)).key()
        for kind in (int, float, np.float64, np.float32)
    }
    assert len(keys) == 1
    with pytest.raises(ValueError, match=r"^duration=0 must be None or seconds above 0"):
        clip.variant(duration=0)


@pytest.mark.parametrize("in_memory", [True, False])
def test_a_variant_past_the_end_has_no_duration(in_memory, write):
    sound = np.zeros(32_000, dtype=np.float32)
    clip = as_clips([sound if in_memory else write("two_seconds.wav", sound)])[0]
    for variant in (clip.variant(offset=2.0), clip.variant(speed=2.0, offset=1.5, duration=1)):
        for ask in (variant.duration, variant.load):
            with pytest.raises(ValueError, match=r"offset=\S+ s is not before its end \([12] s\)"):
                ask()
    with pytest.raises(ValueError, match=r"offset=1 s is not before its end \(1 s\)"):
        clip.variant(duration=1.0).variant(offset=1.0)


def test_speeds_have_an_order():
    with pytest.raises(ValueError, match=r"speeds={.*} is not accepted. Give a sequence"):
        AugmentedClassifier(Listener(), speeds={0.9, 1.1}).fit(
            [np.zeros(RATE)] * 2, ["low", "high"]
        )


@pytest.mark.parametrize("speeds", [0.9, (0.9, -1), ("fast",), [[0.9]]])
def test_speeds_are_checked(speeds):
    with pytest.raises(ValueError, match=r"speeds|could not convert"):
        AugmentedClassifier(Listener(), speeds=speeds).fit(
            [sine(1, frequency=300.0), sine(1, frequency=400.0)], [0, 1]
        )


@pytest.mark.data
@pytest.mark.slow
def test_other_speeds_help_to_tell_emotions(data_home):
    from sklearn.metrics import balanced_accuracy_score
    from sklearn.model_selection import train_test_split

    from skspeech.datasets import fetch_emodb

    bunch = fetch_emodb(data_home=data_home)
    parts = train_test_split(
        bunch.data, bunch.target, train_size=200, stratify=bunch.target, random_state=0
    )
    X, X_test, y, y_test = parts
    plain = make_pipeline(SpeakerEmbedding(), ShrinkageDiscriminantAnalysis(shrinkage=0.5))
    scores = [
        balanced_accuracy_score(y_test, clf.fit(X, y).predict(X_test))
        for clf in (plain, AugmentedClassifier(plain))
    ]
    assert scores[1] > scores[0] - 0.01
    assert scores[1] > 0.8


class Taker(Listener):
    """Keeps the groups and weights of its rows too."""

    def fit(self, X, y, groups=None, sample_weight=None):
        self.groups_, self.weights_ = groups, sample_weight
        return super().fit(X, y)


def test_rows_of_one_clip_are_one_group():
    X, y = (
        [sine(2.5, frequency=300.0), sine(1, frequency=400.0), sine(1, frequency=500.0)],
        [0, 1, 0],
    )
    settings = {"speeds": (0.9,), "crop": 1.0}
    clf = AugmentedClassifier(make_pipeline(Taker()), **settings).fit(X, y)
    assert clf.estimator_[-1].groups_.tolist() == [0, 1, 2] * 2 + [0, 0, 0, 0, 0, 1, 2]
    assert clf.estimator_[-1].weights_ is None

    given = clf.fit(X, y, groups=["x", "y", "x"], sample_weight=[1, 2, 3]).estimator_[-1]
    assert given.groups_.tolist()[:6] == ["x", "y", "x"] * 2
    assert given.weights_.tolist()[:6] == [1.0, 2.0, 3.0] * 2
    assert len(given.groups_) == len(given.weights_) == clf.n_rows_


def test_clips_alone_are_no_groups():
    X, y = [sine(1, frequency=300.0), sine(1, frequency=400.0)], [0, 1]
    assert AugmentedClassifier(Taker(), speeds=()).fit(X, y).estimator_.groups_ is None


def test_groups_and_weights_with_metadata_routing():
    X, y, groups = [sine(1, frequency=300.0), sine(1, frequency=400.0)], [0, 1], ["x", "y"]
    with config_context(enable_metadata_routing=True):
        taker = Taker().set_fit_request(groups=True, sample_weight=True)
        clf = AugmentedClassifier(taker, speeds=(0.9,))
        pipeline = make_pipeline(clf).fit(X, y, groups=groups, sample_weight=[1, 2])
    assert pipeline[-1].estimator_.groups_.tolist() == groups * 2
    assert pipeline[-1].estimator_.weights_.tolist() == [1, 2] * 2


def test_with_routing_weights_are_not_lost_unsaid():
    X, y = [sine(1, frequency=300.0), sine(1, frequency=400.0)], [0, 1]
    with config_context(enable_metadata_routing=True):
        unset = AugmentedClassifier(make_pipeline(SpectralStatistics(), GaussianNB()))
        with pytest.raises(UnsetMetadataPassedError, match=r"sample_weight.* not explicitly set"):
            unset.fit(X, y, sample_weight=[1, 2])


@pytest.mark.parametrize(
    ("wrap", "routing", "named"),
    [
        (lambda e: GridSearchCV(e, {}, cv=2), False, "GridSearchCV"),
        (lambda e: GridSearchCV(e, {}, cv=2), True, "GridSearchCV"),
        (lambda e: GridSearchCV(e, {}, cv=StratifiedGroupKFold(2)), False, None),
        (lambda e: CalibratedClassifierCV(e, cv=2), False, "CalibratedClassifierCV, Shrinkage"),
        (lambda e: CalibratedClassifierCV(e, cv=2), True, "CalibratedClassifierCV may"),
        (lambda e: CalibratedClassifierCV(e, cv=StratifiedGroupKFold(2)), True, None),
        (lambda e: VotingClassifier([("it", e)], voting="soft"), False, "ShrinkageDiscriminantA"),
        (lambda e: VotingClassifier([("it", e)], voting="soft"), True, None),
        (lambda e: GeometricMeanVotingClassifier([("it", e)], calibrate=2), False, None),
        (lambda e: UnknownRejector(e, unknown_label=-1), False, None),
    ],
)
def test_what_splits_the_rows_of_a_clip_is_named(wrap, routing, named):
    tones = make_tones(24, n_classes=3, duration=0.2, random_state=0)
    estimator = wrap(make_pipeline(SpectralStatistics(), ShrinkageDiscriminantAnalysis()))
    warned = contextlib.nullcontext() if named is None else pytest.warns(UserWarning, match=named)
    with config_context(enable_metadata_routing=routing), warned:
        AugmentedClassifier(estimator).fit(tones.data, tones.target)
    if named is not None:
        AugmentedClassifier(estimator, speeds=()).fit(tones.data, tones.target)


def test_what_does_not_fit_is_told():
    X, y = [sine(1, frequency=300.0), sine(1, frequency=400.0)], [0, 1]
    with pytest.raises(ValueError, match=r"estimator=Listener\(\) does not take sample_weight"):
        AugmentedClassifier(Listener()).fit(X, y, sample_weight=[1, 2])
    with pytest.raises(ValueError, match="must not be negative"):
        AugmentedClassifier(Taker()).fit(X, y, sample_weight=[1, -2])
    with pytest.raises(ValueError, match="groups has 1 missing"):
        AugmentedClassifier(Taker()).fit(X, y, groups=["a", None])
    assert AugmentedClassifier(Listener()).fit(X, y, groups=[1, 2]).n_rows_ == 6


@pytest.mark.parametrize("seed", [0, 1])
def test_variants_do_not_make_it_too_sure(seed):
    # Three tones, all but lost in noise.
    rng = np.random.default_rng(seed)
    y = np.tile([500.0, 1100.0, 2300.0], 30)
    X = [
        (0.02 * sine(0.5, frequency=hertz) + rng.normal(0, 0.1, 8000)).astype(np.float32)
        for hertz in y
    ]
    model = ShrinkageDiscriminantAnalysis(0.5)
    plain = make_pipeline(SpectralStatistics(), ClippedStandardScaler(), model)
    augmented = AugmentedClassifier(plain).fit(X, y).estimator_
    temperature = plain.fit(X, y)[-1].temperature_

    assert 0.5 * temperature < augmented[-1].temperature_ < 2 * temperature
