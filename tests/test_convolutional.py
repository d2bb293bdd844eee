"""MixupCNNClassifier: what is done to its batches, and how it trains, keeps time and is kept."""

import pickle
import subprocess
import sys
import textwrap
import time

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import clone
from sklearn.exceptions import NotFittedError

from skspeech import MixupCNNClassifier
from skspeech.datasets import fetch_fsdd, make_tones
from skspeech.estimators.convolutional.batch import Examples, draw_batch, spectrograms_of
from skspeech.estimators.convolutional.blending import fit_blend
from skspeech.estimators.convolutional.network import Schedule
from skspeech.estimators.training import batches
from skspeech.estimators.training.spectrograms import Spectrograms

QUICK = {"n_mels": 32, "n_filters": (4, 8), "max_epochs": 3, "random_state": 0}


def spectrograms(*lengths, n_mels=4):
    """Clips of so many frames; each frame holds its own number in all bands."""
    frames = np.repeat(np.arange(sum(lengths), dtype=np.float32)[:, np.newaxis], n_mels, axis=1)
    return Spectrograms(frames, np.concatenate([[0], np.cumsum(lengths)]))


@pytest.fixture(scope="module")
def fitted(tones):
    return MixupCNNClassifier(**QUICK).fit(*tones)


# Batches


def test_mixup_blends_rows_and_labels_with_the_same_share():
    x = np.arange(3, dtype=np.float32).reshape(3, 1, 1) * np.ones((3, 5, 4), dtype=np.float32)
    y = np.eye(3)

    mixed, labels = batches.mixup(x, y, np.array([1.0, 0.75, 0.0]), np.array([2, 0, 1]))

    assert mixed.dtype == np.float32
    assert_allclose(mixed[:, 0, 0], [0, 0.75, 1])
    assert_allclose(labels, [[1, 0, 0], [0.25, 0.75, 0], [0, 1, 0]])
    assert_array_equal(x[:, 0, 0], [0, 1, 2])


@pytest.mark.parametrize("axis", [1, 2])
def test_mask_hides_one_run_of_each_row(axis):
    x = np.ones((3, 6, 6), dtype=np.float32)

    masked = batches.mask(x, axis, np.array([0, 2, 4]), np.array([0, 3, 2]))

    across = masked[:, :, 0] if axis == 1 else masked[:, 0, :]
    assert_array_equal(across, [[1] * 6, [1, 1, 0, 0, 0, 1], [1, 1, 1, 1, 0, 0]])
    other = masked[:, 0, :] if axis == 1 else masked[:, :, 0]
    assert_array_equal(other, np.ones((3, 6)))


def test_masks_are_no_wider_than_asked_and_leave_half_of_a_crop(tones):
    clf = MixupCNNClassifier(
        **QUICK, frequency_mask=5, time_mask=500, mask_probability=1, mixup=0, balanced=False
    )
    clf.set_params(frequency_warp=0, time_warp=0).fit(*tones)
    ones = np.ones((300, 32), dtype=np.float32)
    clf.band_mean_, clf.band_scale_ = np.zeros(32), np.ones(32)
    examples = Examples(Spectrograms(ones, np.array([0, 300])), np.array([0]))

    x, _ = draw_batch(clf, examples, np.zeros(200, dtype=int), np.random.RandomState(0))

    hidden_bands = (x == 0).all(axis=1).sum(axis=1)
    hidden_frames = (x == 0).all(axis=2).sum(axis=1)
    assert set(hidden_bands) == set(range(6))
    assert hidden_frames.max() == clf.crop_frames_ // 2
    assert hidden_frames.min() < 3


def test_crops_are_pieces_of_their_clip():
    x = batches.crops(spectrograms(5, 10), np.array([1, 0]), np.array([2, 1]), 4)

    assert_array_equal(x[:, :, 0], [[7, 8, 9, 10], [1, 2, 3, 4]])


def test_short_clips_are_repeated():
    x = batches.crops(spectrograms(2, 1), np.array([0, 1]), np.array([0, 0]), 5)

    assert_array_equal(x[:, :, 0], [[0, 1, 0, 1, 0], [2, 2, 2, 2, 2]])


def test_crops_at_another_speed_skip_or_repeat_frames():
    x = batches.crops(spectrograms(20), np.zeros(2, int), np.zeros(2), 4, np.array([2.0, 0.5]))

    assert_array_equal(x[:, :, 0], [[0, 2, 4, 6], [0, 0, 1, 1]])


def test_crops_for_prediction_are_spaced_from_the_first_frame_to_the_last():
    clips, offsets = batches.spaced_crops(np.array([3, 10, 30, 11]), 10, 3)

    assert_array_equal(clips, [0, 1, 2, 2, 2, 3, 3])
    assert_array_equal(offsets, [0, 0, 0, 10, 20, 0, 1])


def test_a_single_crop_is_the_middle():
    assert_array_equal(batches.spaced_crops(np.array([30, 4]), 10, 1)[1], [10, 0])


def test_warping_moves_a_frequency_by_its_factor():
    n_mels, band = 64, 30
    x = np.zeros((3, 2, n_mels), dtype=np.float32)
    x[:, :, band] = 1
    centres = batches.mel_frequencies(n_mels + 2, 20, 8000)[1:-1]

    matrices = batches.warp_matrices(np.array([1.0, 1.2, 1 / 1.2]), n_mels, 20, 8000)
    warped = batches.warp_bands(x, matrices)

    assert_allclose(warped[0], x[0])
    for row, factor in [(1, 1.2), (2, 1 / 1.2)]:
        nearest = np.abs(centres - centres[band] * factor).argmin()
        assert abs(int(warped[row, 0].argmax()) - nearest) <= 1
    assert_allclose(matrices.sum(axis=1), 1, rtol=1e-5)


def test_labels_are_smoothed():
    assert_allclose(batches.smooth_labels(np.array([1]), 4, 0.2), [[0.05, 0.85, 0.05, 0.05]])


def test_silent_clips_are_standardized_to_zero():
    frames = np.full((7, 4), -100, dtype=np.float32)
    frames[3:] = np.random.default_rng(0).normal(size=(4, 4))

    standardized = Spectrograms(frames, np.array([0, 3, 7])).clips_standardized().frames

    assert_array_equal(standardized[:3], np.zeros((3, 4)))
    assert_allclose([standardized[3:].mean(), standardized[3:].std()], [0, 1], atol=1e-5)


# Schedule and blend


def test_the_learning_rate_rises_and_falls_to_zero():
    schedule = Schedule(100, np.inf, 1e-2, "one_cycle")
    rates = []
    for schedule.step in range(101):
        rates.append(schedule.learning_rate)

    top = int(np.argmax(rates))
    assert 10 <= top <= 20
    assert rates[top] == pytest.approx(1e-2, rel=0.01)
    assert rates[0] < 1e-3
    assert rates[-1] == pytest.approx(0, abs=1e-12)
    assert (np.diff(rates[:top]) > 0).all()
    assert (np.diff(rates[top:]) < 0).all()


def test_the_schedule_ends_with_its_time():
    schedule = Schedule(10**9, 0.05, 1e-2, "one_cycle")
    assert schedule.progress < 1
    time.sleep(0.06)
    assert schedule.progress == 1
    assert Schedule(10, -1.0, 1e-2, "one_cycle").progress == 1


def test_the_blend_trusts_who_is_right():
    rng = np.random.default_rng(0)
    codes = rng.integers(3, size=60)
    right, noise = (
        np.log(p / p.sum(axis=1, keepdims=True))
        for p in (np.eye(3)[codes] + 0.3, rng.uniform(0.1, 1, size=(60, 3)))
    )

    blend = fit_blend(right, noise, codes)

    assert blend[0] > 10 * blend[1] >= 0
    assert_allclose(fit_blend(noise, right, codes), blend[::-1])
    assert_allclose(*fit_blend(right, right, codes))


# Training


def test_learns_tones(tones):
    X, y = tones
    clf = MixupCNNClassifier(
        n_filters=(8, 16), max_epochs=60, learning_rate=0.01, random_state=0
    ).fit(X, y)

    spectrograms = spectrograms_of(clf, [np.asarray(x) for x in X])
    network = clf._log_network(clf.weights_, spectrograms)
    assert (clf.classes_[network.argmax(axis=1)] == y).mean() > 0.8
    assert clf.score(X, y) == 1


@pytest.mark.parametrize("head", ["bands", "pooled", "flatten"])
@pytest.mark.parametrize(
    ("stem", "batch_norm"),
    [(True, "before"), pytest.param(False, "after", marks=pytest.mark.slow)],
)
def test_every_architecture_works(head, stem, batch_norm, tones):
    clf = MixupCNNClassifier(**QUICK, head=head, stem=stem, batch_norm=batch_norm).fit(*tones)

    assert np.isfinite(clf.predict_proba(tones[0])).all()
    assert clf.weights_ is not None


@pytest.mark.slow
def test_settings_of_2019(tones):
    clf = MixupCNNClassifier(
        hop_length=512, normalization="clips", crop_frames=64, n_crops=10, n_filters=(8,) * 5,
        stem=False, batch_norm="after", head="flatten", dropout=0.5, label_smoothing=0, time_mask=0,
        frequency_warp=0, time_warp=0, balanced=False, optimizer="sgd", learning_rate=0.01,
        schedule="constant", weight_decay=0, batch_size=32, refit=False, max_duration=5,
        max_epochs=2, random_state=0,
    ).fit(*tones)  # fmt: skip

    assert clf.crop_frames_ == 64
    assert clf.score(*tones) > 0.5


@pytest.mark.slow
def test_crops_are_as_long_as_most_clips():
    long = [np.random.default_rng(i).normal(size=4 * 16_000) for i in range(4)]
    short = [x[:9600] for x in long]

    assert MixupCNNClassifier(**QUICK).fit(long, [0, 1, 0, 1]).crop_frames_ == 128
    assert MixupCNNClassifier(**QUICK).fit(short, [0, 1, 0, 1]).crop_frames_ == 48
    exact = MixupCNNClassifier(**QUICK, crop_frames=7).fit(short, [0, 1, 0, 1])
    assert exact.crop_frames_ == 7


def test_few_clips_and_silent_ones():
    rng = np.random.default_rng(0)
    X = [np.zeros(4000), rng.normal(size=3000), np.zeros(1), np.full(5000, 1e-40)]

    clf = MixupCNNClassifier(**QUICK).fit(X, ["quiet", "noise", "quiet", "quiet"])

    assert np.isfinite(clf.predict_proba(X)).all()
    assert all(np.isfinite(row["train_loss"]) for row in clf.history_[1:])
    assert clf.predict([rng.normal(size=3000)]).tolist() == ["noise"]


@pytest.mark.parametrize("normalization", ["bands", "clips"])
def test_nothing_but_silence(normalization):
    X = [np.zeros(n) for n in (100, 4000, 1, 900)]

    clf = MixupCNNClassifier(**QUICK, normalization=normalization).fit(X, [0, 1, 0, 1])

    assert np.isfinite(clf.predict_proba(X)).all()


@pytest.mark.slow
def test_many_classes_of_one_or_two_clips():
    bunch = make_tones(n_samples=40, n_classes=40, duration=0.2, random_state=0)
    y = np.minimum(np.arange(40), 19)

    clf = MixupCNNClassifier(**QUICK).fit(bunch.data, y)

    assert clf.predict_proba(bunch.data).shape == (40, 20)


def test_the_callers_list_is_left_alone(tones):
    X, y = tones
    given = [x.copy() for x in X]
    same = list(given)

    MixupCNNClassifier(**QUICK, max_duration=0.2).fit(given, y).predict(given)

    assert all(a is b for a, b in zip(given, same, strict=True))
    assert all(np.array_equal(a, b) for a, b in zip(given, X, strict=True))


def test_predictions_repeat(fitted, tones):
    long = [np.tile(x, 20) for x in tones[0][:3]]
    first = fitted.predict_proba(long)

    assert_array_equal(fitted.predict_proba(long), first)
    assert_allclose(fitted.predict_proba(long[::-1]), first[::-1], atol=1e-5)


def test_the_same_seed_gives_the_same_network(fitted, tones):
    again = clone(fitted).fit(*tones)
    other = clone(fitted).set_params(random_state=1).fit(*tones)

    for a, b in zip(again.weights_, fitted.weights_, strict=True):
        assert_allclose(a, b, atol=1e-6)
    assert not np.allclose(other.weights_[0], fitted.weights_[0])


def test_history_tells_of_each_epoch(fitted):
    history = fitted.history_

    assert [row["epoch"] for row in history] == list(range(1, len(history) + 1))
    assert [row["network"] for row in history] == ["start", "cnn", "cnn", "refit"]
    assert (np.diff([row["time"] for row in history]) >= 0).all()
    keys = {"epoch", "time", "network", "train_loss", "valid_loss", "valid_score", "network_score"}
    assert all(set(row) == keys for row in history)
    assert 0 <= history[1]["valid_score"] <= 1


def test_callbacks_and_verbose(tones, capsys):
    seen = []

    clf = MixupCNNClassifier(**QUICK, verbose=1)
    clf.set_params(callbacks=lambda clf, row: seen.append(row)).fit(*tones)

    assert seen == clf.history_
    assert capsys.readouterr().out.count("[MixupCNNClassifier] epoch") == len(clf.history_)


def test_snapshots_predict(tones):
    X, y = tones
    scores, weights = [], []
    for clf in MixupCNNClassifier(**QUICK).iter_fit(X, y):
        scores.append(clf.score(X, y))
        weights.append(clf.weights_)

    assert weights[0] is None
    assert weights[-1] is not None
    assert scores[-1] == 1


def test_a_closed_generator_leaves_the_best_weights(tones):
    X, y = tones
    clf = MixupCNNClassifier(**{**QUICK, "max_epochs": 10})
    training = clf.iter_fit(X, y)
    for _ in range(3):
        next(training)
    expected = clf.predict_proba(X)
    training.close()

    assert_allclose(clf.predict_proba(X), expected, atol=1e-6)
    assert_allclose(pickle.loads(pickle.dumps(clf)).predict_proba(X), expected, atol=1e-5)


def test_warm_start_goes_on(tones):
    clf = MixupCNNClassifier(**QUICK, warm_start=True).fit(*tones)
    n_rows, seconds = len(clf.history_), clf.history_[-1]["time"]
    crop, first = clf.crop_frames_, clf.history_[1]["train_loss"]

    clf.fit(*tones)

    assert len(clf.history_) == 2 * n_rows
    assert clf.history_[n_rows]["time"] >= seconds
    assert clf.history_[n_rows + 1]["train_loss"] < first
    assert clf.crop_frames_ == crop


def test_warm_start_after_another_architecture_says_so(tones):
    clf = MixupCNNClassifier(**QUICK, warm_start=True).fit(*tones)
    clf.set_params(n_filters=(4, 16))

    with pytest.raises(ValueError, match="warm_start=True goes on with a network"):
        clf.fit(*tones)


def test_a_validation_set_judges_and_never_trains(tones):
    X, y = tones
    clf = MixupCNNClassifier(**QUICK).fit(X[:18], y[:18], X_val=X[18:], y_val=y[18:])

    assert "refit" not in {row["network"] for row in clf.history_}
    assert np.isfinite(clf.history_[1]["valid_loss"])


def test_refit_may_be_left_out(tones):
    clf = MixupCNNClassifier(**QUICK, refit=False).fit(*tones)

    assert {row["network"] for row in clf.history_} == {"start", "cnn"}


@pytest.mark.parametrize(
    "settings",
    [{"learning_rate": 1e4}, {"learning_rate": 1.0, "batch_norm": "after", "head": "flatten"}],
)
def test_a_refit_that_diverges_is_not_kept(settings, tones):
    clf = MixupCNNClassifier(**QUICK, optimizer="sgd", **settings).fit(*tones)

    assert clf.history_[-1]["network"] == "refit"
    assert np.isfinite(clf.predict_proba(tones[0])).all()


def test_patience_ends_it(tones):
    clf = MixupCNNClassifier(
        **{**QUICK, "max_epochs": 60}, learning_rate=0.3, patience=4, refit=False
    ).fit(*tones)

    assert len(clf.history_) < 30


@pytest.mark.slow
def test_training_ends_in_time(tones):
    X, y = tones
    began = time.monotonic()

    clf = MixupCNNClassifier(max_time=12, max_epochs=10**6, random_state=0).fit(X, y)

    assert time.monotonic() - began < 12 + 6
    assert clf.history_[-1]["network"] == "refit"


def test_no_time_still_gives_a_classifier(tones):
    clf = MixupCNNClassifier(**QUICK, max_time=1e-3).fit(*tones)

    assert clf.weights_ is None
    assert clf.score(*tones) > 0.9


@pytest.mark.slow
def test_a_pickle_needs_no_tensorflow(fitted, tones, tmp_path):
    path = tmp_path / "clf.pkl"
    path.write_bytes(pickle.dumps((fitted, tones[0], fitted.predict_proba(tones[0]))))
    script = """
        import pickle, sys
        clf, X, expected = pickle.load(open(sys.argv[1], "rb"))
        assert "tensorflow" not in sys.modules and "keras" not in sys.modules
        assert all(type(w).__module__ == "numpy" for w in clf.weights_)
        assert abs(clf.predict_proba(X) - expected).max() < 1e-5
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script), path], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"n_filters": ()}, "a number of filters for each block"),
        ({"n_filters": (8, 0)}, "a number of filters for each block"),
        ({"fmin": 5000.0, "fmax": 400.0}, "fmin=5000.0 is not below fmax=400.0"),
        ({"n_mels": 200, "n_fft": 256}, "n_mels=200 is too many for n_fft=256"),
        ({"head": "round"}, "'head' parameter"),
        ({"crop_frames": 0}, "'crop_frames' parameter"),
        ({"device": "abacus"}, "not a device"),
    ],
)
def test_mistakes_are_named(settings, message, tones):
    with pytest.raises(ValueError, match=message):
        MixupCNNClassifier(**settings).fit(*tones)


def test_unfitted(tones):
    with pytest.raises(NotFittedError):
        MixupCNNClassifier().predict(tones[0])


@pytest.mark.data
@pytest.mark.slow
def test_beats_its_start_on_spoken_digits(data_home):
    bunch = fetch_fsdd(task="digit", data_home=data_home)
    unseen = np.isin(bunch.groups, ["theo"])
    rng = np.random.default_rng(0)
    train, test = rng.permutation(np.flatnonzero(~unseen))[:250], np.flatnonzero(unseen)[::3]
    X = [bunch.data[i] for i in train]

    clf = MixupCNNClassifier(max_epochs=50, n_filters=(16, 32, 64), random_state=0)
    clf.fit(X, bunch.target[train])

    test_clips = [bunch.data[i] for i in test]
    start = clone(clf).set_params(max_time=1e-3).fit(X, bunch.target[train])
    score, first = (c.score(test_clips, bunch.target[test]) for c in (clf, start))
    assert start.weights_ is None
    assert score > first + 0.05
