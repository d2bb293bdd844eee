"""The three linear approaches: extractor, scaling, logistic regression."""

import warnings

import numpy as np
import pytest
import sklearn
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import BaseEstimator, TransformerMixin, clone
from sklearn.compose import ColumnTransformer
from sklearn.decomposition import PCA
from sklearn.exceptions import ConvergenceWarning, NotFittedError
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import balanced_accuracy_score
from sklearn.model_selection import GridSearchCV, cross_val_score, train_test_split
from sklearn.pipeline import FeatureUnion, Pipeline, make_pipeline
from sklearn.utils import get_tags
from sounds import labelled_tones

from skspeech import (
    AudioError,
    ClippedStandardScaler,
    FusedEmbeddingClassifier,
    GeometricMeanVotingClassifier,
    MusicEmbedding,
    MusicEmbeddingClassifier,
    SpeakerEmbedding,
    SpeakerEmbeddingClassifier,
)
from skspeech.audio import as_clips
from skspeech.datasets import fetch_emodb, fetch_fsdd, make_speech_like
from skspeech.weights import WeightsError, load_weights

CLASSIFIERS = [SpeakerEmbeddingClassifier, MusicEmbeddingClassifier, FusedEmbeddingClassifier]


class Spectrum(TransformerMixin, BaseEstimator):
    """An extractor as simple as can be: energy in some bands, or in all of them together."""

    def __init__(
        self, n_bands=16, gain=1.0, device="auto", max_duration=None, sampling_rate=16_000
    ):
        self.n_bands = n_bands
        self.gain = gain
        self.device = device
        self.max_duration = max_duration
        self.sampling_rate = sampling_rate

    def fit(self, X, y=None):
        return self

    def transform(self, X):
        clips = as_clips(X, sampling_rate=self.sampling_rate)
        spectra = [np.abs(np.fft.rfft(c.load(max_duration=self.max_duration), 4096)) for c in clips]
        bands = [[b.mean() for b in np.array_split(s[:256], self.n_bands)] for s in spectra]
        return self.gain * np.array(bands, dtype=np.float32)

    def get_feature_names_out(self, input_features=None):
        return np.array([f"band{i}" for i in range(self.n_bands)], dtype=object)

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.requires_fit = False
        return tags


class LearntSpectrum(Spectrum):
    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.requires_fit = True
        return tags


@pytest.fixture(scope="module")
def sixty_tones():
    """40 to learn from, 20 to test."""
    return labelled_tones(60)


@pytest.fixture
def two_blocks():
    return FeatureUnion([("fine", Spectrum(32)), ("coarse", Spectrum(4, gain=1e4))])


@pytest.fixture
def weights():
    try:
        load_weights("ge2e"), load_weights("musicnn-msd")
    except WeightsError as error:
        pytest.skip(f"needs the pretrained weights: {error}")


# The pipeline


@pytest.mark.parametrize("make", CLASSIFIERS)
@pytest.mark.parametrize("scaling", ["standardize", "normalize", "signed_sqrt", None])
def test_is_short_for_its_pipeline(make, scaling, two_blocks, sixty_tones):
    X, y = sixty_tones
    clf = make(extractor=two_blocks, scaling=scaling, C=0.3, max_iter=5000)

    pipeline = clf.to_pipeline()

    assert isinstance(pipeline, Pipeline)
    assert not hasattr(pipeline[-1], "classes_")
    head, *_ = pipeline
    assert not any(get_tags(block).requires_fit for _, block in head.transformer_list)
    clf.fit(X[:40], y[:40])
    assert_allclose(
        clf.predict_proba(X[40:]), pipeline.fit(X[:40], y[:40]).predict_proba(X[40:]), rtol=1e-4
    )
    assert balanced_accuracy_score(y[40:], clf.predict(X[40:])) > 0.7


@pytest.mark.parametrize(
    ("make", "head"),
    [
        (SpeakerEmbeddingClassifier, SpeakerEmbedding),
        (MusicEmbeddingClassifier, MusicEmbedding),
        (FusedEmbeddingClassifier, FeatureUnion),
    ],
)
def test_default_extractor(make, head):
    pipeline = make().to_pipeline()

    assert type(pipeline[0]) is head
    assert type(pipeline[-1]) is LogisticRegression
    assert pipeline[-1].class_weight == "balanced"


def test_the_fusion_scales_blocks_then_all_of_it(two_blocks, sixty_tones):
    X, y = sixty_tones
    pipeline = FusedEmbeddingClassifier(two_blocks).to_pipeline().fit(X, y)

    assert [type(step) for step in pipeline[1:-1]] == [ColumnTransformer, ClippedStandardScaler]
    blocks = pipeline["block_scaler"].transform(pipeline["extractor"].transform(X))
    assert blocks.shape == (60, 36)
    assert_allclose(blocks.std(axis=0), 1, atol=0.05)
    assert_array_equal(
        pipeline["block_scaler"].named_transformers_["coarse"]["scaler"].mean_,
        pipeline["extractor"].transform(X)[:, 32:].mean(axis=0, dtype=float),
    )


def test_rows_of_each_block_are_normalized_apart(two_blocks, sixty_tones):
    X, _ = sixty_tones
    pipeline = FusedEmbeddingClassifier(two_blocks, scaling="normalize").to_pipeline()
    features = two_blocks.transform(X)

    scaled = pipeline["block_scaler"].fit_transform(features)

    # A louder block changes nothing in the other one.
    features[:, 32:] *= np.linspace(1, 100, 60)[:, None]
    again = pipeline["block_scaler"].fit_transform(features)
    assert_allclose(again, scaled, rtol=1e-3, atol=1e-4)


def test_a_dropped_block_leaves_one(two_blocks, sixty_tones):
    X, y = sixty_tones
    two_blocks.set_params(coarse="drop")

    clf = FusedEmbeddingClassifier(two_blocks).fit(X, y)

    assert clf.pipeline_[-1].coef_.shape == (3, 32)


def test_scaling_is_learnt_within_the_fold(sixty_tones):
    """Scores on a fold don't change when other clips of that fold do."""
    X, y = sixty_tones
    train, test = np.arange(40), np.arange(40, 60)
    louder = [*X[:59], 50 * X[59]]
    clf = FusedEmbeddingClassifier(Spectrum())

    quiet = clone(clf).fit([X[i] for i in train], y[train])
    loud = clone(clf).fit([louder[i] for i in train], y[train])

    assert_array_equal(quiet.predict_proba(X[40:59]), loud.predict_proba(louder[40:59]))
    assert cross_val_score(clf, X, y, cv=[(train, test)])[0] == quiet.score(X[40:], y[40:])


# Parameters


@pytest.mark.parametrize("make", CLASSIFIERS)
def test_keywords_are_set_on_every_extractor(make):
    clf = make(device="cpu", errors="warn", max_duration=2, memory=False, n_jobs=2, verbose=1)

    head = clf.to_pipeline()[0]

    extractors = [b for _, b in head.transformer_list] if isinstance(head, FeatureUnion) else [head]
    for extractor in extractors:
        expected = type(extractor)(
            device="cpu", errors="warn", max_duration=2, memory=False, n_jobs=2, verbose=1
        )
        assert extractor.get_params() == expected.get_params()


def test_keywords_override_a_given_extractor_and_leave_it_alone():
    mine = SpeakerEmbedding(window=1.0, device="auto", errors="warn")

    head = SpeakerEmbeddingClassifier(extractor=mine, device="cpu").to_pipeline()[0]

    assert (head.window, head.device, head.errors) == (1.0, "cpu", "warn")
    assert mine.device == "auto"


def test_model_and_layers_reach_the_extractor():
    music = MusicEmbeddingClassifier("mtt_vgg", layers=("pool1", "tags")).to_pipeline()[0]
    speaker = SpeakerEmbeddingClassifier("ge2e", layers=2).to_pipeline()[0]

    assert (music.model, music.layers) == ("mtt_vgg", ("pool1", "tags"))
    assert (speaker.model, speaker.layers) == ("ge2e", 2)


def test_parameters_of_a_given_extractor_can_be_searched(sixty_tones):
    X, y = sixty_tones
    grid = {"extractor__n_bands": [1, 16], "C": [0.1, 1], "scaling": ["standardize", "signed_sqrt"]}

    search = GridSearchCV(SpeakerEmbeddingClassifier(extractor=Spectrum()), grid, cv=3).fit(X, y)

    assert search.best_params_["extractor__n_bands"] == 16
    assert search.best_score_ > 0.7


def test_an_extractor_without_a_keyword_says_so(sixty_tones):
    with pytest.raises(ValueError, match="Invalid parameter 'errors' for estimator Spectrum"):
        SpeakerEmbeddingClassifier(extractor=Spectrum(), errors="warn").fit(*sixty_tones)


def test_an_extractor_that_learns_is_refused(sixty_tones):
    union = FeatureUnion([("fine", Spectrum()), ("learnt", LearntSpectrum())])
    for extractor in (LearntSpectrum(), PCA(), union):
        with pytest.raises(ValueError, match=r"has to be fitted.*Put it into a Pipeline"):
            FusedEmbeddingClassifier(extractor).fit(*sixty_tones)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("scaling", "whiten"),
        ("C", 0),
        ("class_weight", "even"),
        ("max_iter", 0),
        ("tol", -1),
        ("extractor", "ge2e"),
    ],
)
@pytest.mark.parametrize("make", CLASSIFIERS)
def test_bad_parameters_are_named(make, name, value, sixty_tones):
    with pytest.raises(ValueError, match=f"'{name}' parameter of {make.__name__} .* Got"):
        make(**{name: value}).fit(*sixty_tones)


@pytest.mark.parametrize(
    ("name", "value"), [("device", "toaster"), ("errors", "ignore"), ("layers", 7), ("model", "x")]
)
def test_bad_extractor_parameters_are_named(name, value, sixty_tones):
    with pytest.raises(ValueError, match=name):
        SpeakerEmbeddingClassifier(**{name: value}).fit(*sixty_tones)


# Fit and predict


@pytest.fixture
def clf():
    return SpeakerEmbeddingClassifier(extractor=Spectrum())


def test_what_changes_the_features_needs_another_fit(clf, sixty_tones):
    X, y = sixty_tones
    expected = clf.fit(X, y).predict_proba(X)
    assert_array_equal(clf.set_params(max_duration=0.01).predict_proba(X), expected)
    assert not np.allclose(clf.fit(X, y).predict_proba(X), expected)


def test_attributes_and_methods_agree(clf, sixty_tones):
    X, y = sixty_tones
    clf.fit(X, y)

    assert_array_equal(clf.classes_, np.unique(y))
    assert clf.n_iter_.shape == (1,)
    proba = clf.predict_proba(X)
    assert_allclose(proba.sum(axis=1), 1, rtol=1e-5)
    assert_allclose(np.exp(clf.predict_log_proba(X)), proba, rtol=1e-5)
    assert_array_equal(clf.predict(X), clf.classes_[proba.argmax(axis=1)])
    assert_array_equal(clf.predict(X), clf.classes_[clf.decision_function(X).argmax(axis=1)])


def test_rare_classes_count_as_much_as_frequent_ones(sixty_tones):
    X, y = sixty_tones
    few = np.flatnonzero(y == y[0])[3:]
    kept = np.setdiff1d(np.arange(len(y)), few)
    X, y = [X[i] for i in kept], y[kept]
    noise = Spectrum(1)  # one number: classes overlap

    balanced = SpeakerEmbeddingClassifier(extractor=noise).fit(X, y)
    plain = SpeakerEmbeddingClassifier(extractor=noise, class_weight=None).fit(X, y)

    rare = list(plain.classes_).index(min(plain.classes_, key=lambda label: (y == label).sum()))
    assert balanced.predict_proba(X)[:, rare].mean() > 2 * plain.predict_proba(X)[:, rare].mean()


def test_a_clip_of_weight_two_counts_twice(sixty_tones):
    X, y = sixty_tones
    X, y = X[:30], y[:30]
    weight = np.arange(30) % 3
    clf = SpeakerEmbeddingClassifier(extractor=Spectrum(), tol=1e-7, max_iter=10_000)

    weighted = clone(clf).fit(X, y, sample_weight=weight)
    again = np.repeat(np.arange(30), weight)
    repeated = clone(clf).fit([X[i] for i in again], y[again])

    assert_allclose(weighted.predict_proba(X), repeated.predict_proba(X), atol=1e-3)
    plain = clone(clf).fit(X, y).predict_proba(X)
    assert abs(plain - repeated.predict_proba(X)).max() > 0.01


def test_sample_weight_works_with_metadata_routing(clf, sixty_tones):
    X, y = sixty_tones
    weight = np.linspace(0, 1, len(y))
    expected = clone(clf).fit(X, y, sample_weight=weight).predict_proba(X)

    with sklearn.config_context(enable_metadata_routing=True):
        routed = clone(clf).fit(X, y, sample_weight=weight).predict_proba(X)
        member = clone(clf).set_fit_request(sample_weight=True)
        voted = GeometricMeanVotingClassifier([("clf", member)]).fit(X, y, sample_weight=weight)

    assert_array_equal(routed, expected)
    assert_array_equal(voted.estimators_[0].predict_proba(X), expected)


def test_bare_waveforms_at_another_rate(sixty_tones):
    X, y = sixty_tones
    slow = SpeakerEmbeddingClassifier(extractor=Spectrum(), sampling_rate=8000).fit(X[:40], y[:40])

    # The same samples, at half the rate, are an octave lower.
    pairs = [(x, 8000) for x in X[40:]]
    assert_array_equal(slow.predict(X[40:]), slow.predict(pairs))
    assert slow.score(pairs, y[40:]) > 0.7


def test_two_classes_have_one_decision(clf, sixty_tones):
    X, y = sixty_tones
    two = y != y[0]
    X, y = [x for x, keep in zip(X, two, strict=True) if keep], y[two]
    clf.fit(X, y)

    assert clf.decision_function(X).shape == (len(y),)
    assert_array_equal(clf.predict(X), clf.classes_[(clf.decision_function(X) > 0).astype(int)])


@pytest.mark.parametrize(
    "labels", [np.array(["é", "ß", "語"]), np.array([7, -1, 3]), [True, False]]
)
def test_labels_of_any_kind(clf, sixty_tones, labels):
    X, y = sixty_tones
    codes = np.unique(y, return_inverse=True)[1] % len(labels)
    y = np.asarray(labels)[codes]

    predicted = clf.fit(X, y).predict(X)

    assert predicted.dtype == y.dtype
    assert (predicted == y).mean() > 0.7


def test_a_table_of_samples_is_remembered_by_its_columns(clf):
    pd = pytest.importorskip("pandas")
    X, y = labelled_tones(12, duration=0.01)
    frame = pd.DataFrame(np.stack(X)).add_prefix("t")

    clf.fit(frame, y)

    assert clf.n_features_in_ == 160
    assert clf.feature_names_in_[0] == "t0"
    assert not hasattr(clone(clf).fit(X, y), "n_features_in_")


class Untouchable(Spectrum):
    def transform(self, X):
        raise AssertionError("embedded before the labels were checked")


@pytest.mark.parametrize(
    ("y", "message"),
    [
        (["a"] * 6, "at least 2 classes, but y holds only one class: 'a'"),
        (["a", "b"], "inconsistent numbers of samples"),
        ([0.1, 0.2, 0.3, 0.4, 0.5, 0.6], "Unknown label type: continuous"),
        ([1, 2, 3, 1, 2, np.nan], "y has 1 missing value"),
        (None, "y should be a 1d array"),
    ],
)
def test_labels_are_checked_before_anything_is_embedded(y, message, sixty_tones):
    with pytest.raises(ValueError, match=message):
        SpeakerEmbeddingClassifier(extractor=Untouchable()).fit(sixty_tones[0][:6], y)


def test_weights_are_checked_before_anything_is_embedded(sixty_tones):
    X, y = sixty_tones
    with pytest.raises(ValueError, match="inconsistent numbers of samples"):
        SpeakerEmbeddingClassifier(extractor=Untouchable()).fit(X, y, sample_weight=[1, 2])


def test_a_class_without_weight_is_named(sixty_tones):
    X, y = sixty_tones
    clf = SpeakerEmbeddingClassifier(extractor=Untouchable())
    with pytest.raises(ValueError, match=r"sample_weight is 0 for every clip of .*\['low'\]"):
        clf.fit(X, y, sample_weight=y != "low")


@pytest.mark.parametrize(
    "method", ["predict", "predict_proba", "predict_log_proba", "decision_function"]
)
def test_unfitted(clf, sixty_tones, method):
    with pytest.raises(NotFittedError):
        getattr(clf, method)(sixty_tones[0])


def test_too_few_iterations_are_told(clf, sixty_tones):
    with pytest.warns(ConvergenceWarning, match="max_iter"):
        clf.set_params(max_iter=1).fit(*sixty_tones)


# With the pretrained networks


@pytest.mark.network
@pytest.mark.parametrize("make", CLASSIFIERS)
def test_learns_words_of_made_up_speakers(make, weights):
    X, y = make_speech_like(n_samples=48, random_state=0, return_X_y=True)
    X_train, X_test, y_train, y_test = train_test_split(X, y, stratify=y, random_state=0)

    clf = make().fit(X_train, y_train)

    chance = 1 / len(clf.classes_)
    assert balanced_accuracy_score(y_test, clf.predict(X_test)) > 2 * chance


@pytest.mark.network
def test_errors_name_the_clip(weights, sixty_tones, tmp_path):
    X, y = list(sixty_tones[0][:6]), sixty_tones[1][:6]
    X[2] = tmp_path / "missing.wav"
    with pytest.raises(AudioError, match=r"\[2\] .*missing\.wav"):
        SpeakerEmbeddingClassifier().fit(X, y)
    with pytest.warns(UserWarning, match=r"missing\.wav"):
        SpeakerEmbeddingClassifier(errors="warn").fit(X, y)


@pytest.mark.network
@pytest.mark.parametrize("make", CLASSIFIERS)
def test_silence_is_no_trouble(make, weights):
    X = [np.zeros(4000), np.zeros(100), *make_speech_like(n_samples=4, random_state=0).data]

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        clf = make().fit(X, [0, 0, 1, 1, 0, 1])

    assert np.isfinite(clf.predict_proba([np.zeros(1), np.zeros(50_000)])).all()


# On real speech: the scores that the project promises


def three_approaches(**settings):
    speaker, music = SpeakerEmbedding(**settings), MusicEmbedding(**settings)
    both = FeatureUnion([("speaker", speaker), ("music", music)])
    return GeometricMeanVotingClassifier(
        [
            ("speaker", SpeakerEmbeddingClassifier(extractor=speaker)),
            ("music", MusicEmbeddingClassifier(extractor=music)),
            ("fused", FusedEmbeddingClassifier(extractor=both)),
        ]
    )


@pytest.mark.data
@pytest.mark.network
@pytest.mark.slow
@pytest.mark.parametrize(("task", "promised"), [("emotion", 0.83), ("speaker", 0.88)])
def test_emodb(task, promised, weights, data_home):
    bunch = fetch_emodb(task=task, data_home=data_home)
    X_train, X_test, y_train, y_test = train_test_split(
        bunch.data, bunch.target, test_size=0.3, stratify=bunch.target, random_state=0
    )

    predicted = three_approaches().fit(X_train, y_train).predict(X_test)

    assert balanced_accuracy_score(y_test, predicted) >= promised


@pytest.mark.data
@pytest.mark.network
@pytest.mark.slow
def test_fsdd_speaker_on_digits_never_heard(weights, data_home):
    """300 clips of digits 0 to 4 to learn from, 600 of 5 to 9 to test on.

    Each speaker was recorded at a level of his own, which tells them apart here, so it is kept.
    """
    bunch = fetch_fsdd(task="speaker", data_home=data_home)
    heard = np.isin(bunch.groups, list("01234"))

    def draw(indices, n_clips):
        part, _ = train_test_split(
            indices, train_size=n_clips, stratify=bunch.target[indices], random_state=0
        )
        return [bunch.data[i] for i in part], bunch.target[part]

    clf = three_approaches(level=None).fit(*draw(np.flatnonzero(heard), 300))
    X_test, y_test = draw(np.flatnonzero(~heard), 600)

    assert balanced_accuracy_score(y_test, clf.predict(X_test)) >= 0.94


def test_the_example_of_a_pipeline(sixty_tones):
    """What the classifiers are short for can be written out."""
    X, y = sixty_tones
    pipeline = make_pipeline(Spectrum(), ClippedStandardScaler(), LogisticRegression(C=0.1))

    assert pipeline.fit(X, y).score(X, y) > 0.7


def test_labels_and_weights_are_checked_before_clips_are_read():
    with pytest.raises(ValueError, match="y has 1 missing value"):
        SpeakerEmbeddingClassifier().fit(["gone.wav", "lost.wav"], ["a", None])
    with pytest.raises(ValueError, match="must not be negative, but is -1 at position 0"):
        SpeakerEmbeddingClassifier().fit(["gone.wav"] * 2, ["a", "b"], sample_weight=[-1, 1])


@pytest.mark.parametrize("classifier", CLASSIFIERS)
def test_answers_hardly_depend_on_the_other_clips(classifier):
    """Up to the rounding of single precision, which is relative to the largest score."""
    clips = make_speech_like(30, n_classes=2, random_state=0)
    model = classifier(memory=False).fit(clips.data, clips.target)
    together = model.decision_function(clips.data)
    alone = np.concatenate([model.decision_function([clip]) for clip in clips.data])
    assert_allclose(alone, together, rtol=0, atol=1e-5 * np.abs(together).max())
