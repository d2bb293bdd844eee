"""Recurrent networks with attention: features, masks, draws, blending, rounds."""

import copy
import pickle
import subprocess
import sys
import textwrap
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.metrics import roc_auc_score

from skspeech import RecurrentAttentionClassifier
from skspeech.datasets import fetch_emodb, make_speech_like, make_tones
from skspeech.estimators.recurrent.blending import auc_score, blend, choose_snapshots
from skspeech.estimators.recurrent.features import Augmentation, as_features, make_batch
from skspeech.estimators.recurrent.run import setting_for
from skspeech.estimators.recurrent.training import Candidates
from skspeech.estimators.training.balanced import balanced_draw, floored_log
from skspeech.estimators.training.spectrograms import Spectrograms, log_mel

NETWORKS = ("lstm", "crnn", "bilstm")
TINY = {
    "rounds": [("mfcc", 8, 1.0)],
    "max_rounds": 1,
    "hop_length": 1600,
    "units": 8,
    "conv_filters": (4, 4),
    "max_loops": 1,
    "max_epochs": 1,
    "learning_rate": 0.02,
    "random_state": 0,
}
# Enough for the networks to be in the average.
LONGER = {"max_loops": 3, "max_epochs": 5, "units": 16, "hop_length": 1600, "label_smoothing": 0.0}


def tiny(**settings):
    return RecurrentAttentionClassifier(**{**TINY, **settings})


@pytest.fixture(scope="module")
def noise():
    """Clips of 1 to 3000 samples, three of one hop and more."""
    rng = np.random.default_rng(0)
    lengths = [3000, 1, 160, 1700, 2400]
    return [rng.normal(size=n).astype(np.float32) for n in lengths]


# Features


@pytest.mark.parametrize(("n_fft", "hop_length", "n_mels"), [(1600, 640, 96), (512, 160, 40)])
def test_mfcc_are_librosas(n_fft, hop_length, n_mels):
    librosa = pytest.importorskip("librosa")
    waveforms = make_speech_like(n_samples=3, duration=0.7, random_state=0).data
    waveforms = [waveforms[0], waveforms[1][:3000], waveforms[2][:1700]]

    spectrograms = log_mel(waveforms, n_fft=n_fft, hop_length=hop_length, n_mels=n_mels)

    for i, waveform in enumerate(waveforms):
        expected = librosa.feature.mfcc(
            y=waveform,
            sr=16_000,
            n_mfcc=n_mels,
            n_mels=n_mels,
            n_fft=n_fft,
            hop_length=hop_length,
        )
        begin, end = spectrograms.starts[i : i + 2]
        ours = as_features(spectrograms.frames[begin:end], "mfcc")
        assert_allclose(ours, expected.T, rtol=1e-3, atol=0.02)


def spectrograms_of(noise):
    return log_mel(noise, n_fft=400, hop_length=160, n_mels=10)


def test_batches_are_cut_and_padded(noise):
    spectrograms = spectrograms_of(noise)

    batch, mask = make_batch(spectrograms, np.array([3, 1, 0]), 12)

    assert batch.shape == (3, 12, 10)
    assert_array_equal(mask.sum(axis=1), [11, 1, 12])
    begin, end = spectrograms.starts[3:5]
    assert_array_equal(batch[0, :11], spectrograms.frames[begin:end])
    assert_array_equal(batch[2], spectrograms.frames[:12])
    assert not batch[mask == 0].any()


def test_no_augmentation_changes_nothing(noise):
    spectrograms = spectrograms_of(noise)
    clips = np.arange(5)

    plain = make_batch(spectrograms, clips, 20)
    augmented = make_batch(spectrograms, clips, 20, Augmentation(), np.random.RandomState(0))

    assert_array_equal(augmented[1], plain[1])
    assert_allclose(augmented[0], plain[0], atol=1e-4)


@pytest.mark.parametrize("kind", Augmentation._fields)
def test_each_augmentation_changes_something(noise, kind):
    spectrograms = spectrograms_of(noise)
    clips = np.arange(5)
    before = spectrograms.frames.copy()

    plain, mask = make_batch(spectrograms, clips, 20)
    rng = np.random.RandomState(0)
    distorted, new_mask = make_batch(spectrograms, clips, 20, Augmentation(**{kind: 0.5}), rng)

    assert np.isfinite(distorted).all()
    assert np.abs(distorted - plain).max() > 0.01
    assert (new_mask.sum(axis=1) >= 1).all()
    assert not distorted[new_mask == 0].any()
    assert (kind == "speed") == (not np.array_equal(mask, new_mask))
    assert_array_equal(spectrograms.frames, before)


def test_tempo_and_gain_are_what_they_say():
    values = np.arange(100, dtype=np.float32)[:, None] * np.ones(4, np.float32)
    spectrograms = Spectrograms(values, np.array([0, 100]))

    batch, mask = make_batch(
        spectrograms, np.zeros(50, int), 160, Augmentation(speed=0.2), np.random.RandomState(0)
    )
    steps = np.diff(batch[:, :60, 0], axis=1)
    assert_allclose(steps, steps[:, :1].repeat(59, axis=1), atol=1e-3)
    assert 0.8 <= steps.min() < 0.85
    assert 1.15 < steps.max() <= 1.2
    assert_allclose(mask.sum(axis=1), 100 / steps[:, 0], atol=1)

    louder, _ = make_batch(
        spectrograms, np.zeros(50, int), 100, Augmentation(gain=6.0), np.random.RandomState(0)
    )
    shift = louder[:, :, 0] - values[:, 0]
    assert_allclose(shift, shift[:, :1].repeat(100, axis=1), atol=1e-3)
    assert 5 < np.abs(shift).max() <= 6


def test_long_clips_give_another_part_each_time():
    values = np.arange(100, dtype=np.float32)[:, None]
    spectrograms = Spectrograms(values, np.array([0, 100]))

    batch, mask = make_batch(
        spectrograms, np.zeros(40, int), 30, Augmentation(), np.random.RandomState(0)
    )

    assert mask.all()
    assert len(np.unique(batch[:, 0, 0])) > 15
    assert batch.max() <= 99


# Scores and blending


def test_scores_are_scikit_learns():
    rng = np.random.default_rng(0)
    proba = np.round(rng.dirichlet(np.ones(4), 60), 1) + 0.1
    proba /= proba.sum(axis=1, keepdims=True)
    codes = rng.integers(0, 4, 60)

    expected = 2 * roc_auc_score(codes, proba, multi_class="ovr") - 1
    assert auc_score(codes, proba) == pytest.approx(expected)


def test_scores_where_classes_are_missing():
    proba = np.array([[0.8, 0.1, 0.1], [0.7, 0.2, 0.1], [0.6, 0.1, 0.3]])
    assert auc_score(np.array([0, 0, 0]), proba) == 1
    assert auc_score(np.array([2, 2, 2]), proba) == -1
    assert auc_score(np.array([0, 1, 0]), proba) == pytest.approx(0.5)


def test_no_probability_has_an_infinite_logarithm():
    assert_allclose(floored_log(np.array([0.0, 0.5])), [np.log(1e-6), np.log(0.5)])


def test_the_best_snapshots_are_chosen():
    scores, losses = [0.9] * 7, [0.5, 0.2, 0.3, 0.4, 0.45, 0.1, 0.6]
    assert choose_snapshots(scores, losses, ["lstm"] * 7, 0.3, n_best=5) == [5, 1, 2, 3, 4]
    assert choose_snapshots(scores, losses, ["lstm"] * 7, 0.3, n_best=2) == [5, 1]


def test_more_snapshots_come_from_the_best_two_of_each_network():
    scores, losses = [0.99, 0.98, 0.97, 0.9, 0.8, 0.7, 0.6, 0.5], list(range(8))
    networks = ["lstm"] * 3 + ["crnn"] * 3 + ["bilstm"] * 2
    assert choose_snapshots(scores, losses, networks, 0.5, n_best=3) == [0, 1, 2, 3, 4, 6]
    assert choose_snapshots(scores, losses, networks, 0.7, n_best=3) == [0, 1, 2, 3, 4]


def test_what_scores_worse_than_the_start_is_not_chosen():
    names = ["bilstm", "lstm", "crnn"]
    assert choose_snapshots([0.8, 0.71, 0.69], [1, 0, 0], names, 0.8) == [1, 0]
    assert choose_snapshots([-0.2, -0.1, 0.01], [0, 0, 1], names, -0.2) == [2]
    assert choose_snapshots([-0.2, -0.1], [0, 0], names[:2], -0.2) == []


def test_means():
    probas = [np.array([[0.9, 0.1], [1.0, 0.0]]), np.array([[0.4, 0.6], [0.5, 0.5]])]

    assert_allclose(blend(probas, "arithmetic"), [[0.65, 0.35], [0.75, 0.25]])
    geometric = blend(probas, "geometric")
    expected = np.sqrt([0.9 * 0.4, 0.1 * 0.6])
    assert_allclose(geometric[0], expected / expected.sum())
    assert 0 < geometric[1, 1] < 0.01
    assert_allclose(geometric.sum(axis=1), 1)


CODES = np.array([0, 0, 1, 1])
GOOD = np.array([[0.9, 0.1], [0.8, 0.2], [0.2, 0.8], [0.1, 0.9]])


def snapshot(network="lstm", number=1):
    return {"network": network, "round": number}


def test_an_average_is_adopted_unless_it_is_worse():
    sure = 0.5 + 0.99 * (np.eye(2)[CODES] - 0.5)
    candidates = Candidates(CODES, np.full((4, 2), 0.5), 5, "geometric")
    assert not candidates.improve()

    first, second = snapshot(), snapshot("crnn")
    assert candidates.add(first, GOOD) == 1.0
    assert candidates.improve()
    assert not candidates.improve()
    candidates.add(second, sure)
    assert candidates.improve()
    assert candidates.chosen == [second, first]

    candidates.add(snapshot("bilstm"), 0.5 + 0.01 * (GOOD - 0.5))
    assert not candidates.improve()
    assert candidates.chosen == [second, first]


def test_a_network_far_below_the_start_is_not_adopted():
    candidates = Candidates(CODES, GOOD, 5, "geometric")
    candidates.add(snapshot(), GOOD[[2, 1, 0, 3]])
    assert not candidates.improve()

    # Every clip is ranked as it should be, and half of them are taken for the other class.
    candidates.add(snapshot("crnn"), np.array([[0.9, 0.1], [0.8, 0.2], [0.6, 0.4], [0.7, 0.3]]))
    assert not candidates.improve()


def test_the_best_snapshot_of_a_training_is_kept():
    candidates = Candidates(CODES, np.full((4, 2), 0.5), 5, "arithmetic")
    for number, sureness in enumerate([0.3, 0.9, 0.6]):
        added = {**snapshot(), "number": number}
        candidates.add(added, 0.5 + sureness * (GOOD - 0.5))
    candidates.add({**snapshot(number=2), "number": 3}, GOOD)

    assert candidates.improve()

    assert [member["number"] for member in candidates.chosen] == [3, 1]


# Networks


def build(kind, n_frames, n_classes=3):
    from skspeech.estimators.recurrent.networks import build_network
    from skspeech.estimators.training.keras import import_keras, seeded

    import_keras()
    with seeded(0):
        return build_network(kind, n_frames, 16, n_classes, units=8, conv_filters=(4, 6))


@pytest.mark.tensorflow
@pytest.mark.parametrize("n_classes", [3, 25])
@pytest.mark.parametrize("kind", NETWORKS)
def test_padding_changes_nothing(kind, n_classes):
    rng = np.random.default_rng(0)
    short, long = build(kind, 16, n_classes), build(kind, 28, n_classes)
    long.set_weights(short.get_weights())
    mask = (np.arange(16) < np.array([16, 1, 5, 11])[:, None]).astype(np.float32)
    frames = rng.normal(size=(4, 16, 16)).astype(np.float32) * mask[:, :, None]

    expected = np.asarray(short([frames, mask], training=False))
    padded = np.pad(frames, [(0, 0), (0, 12), (0, 0)]), np.pad(mask, [(0, 0), (0, 12)])

    assert_allclose(np.asarray(long(list(padded), training=False)), expected, atol=1e-6)
    other = short([frames * rng.normal(size=(4, 1, 1)), mask], training=False)
    assert np.abs(np.asarray(other) - expected).max() > 1e-4


@pytest.mark.tensorflow
def test_padding_does_not_reach_the_batch_statistics():
    rng = np.random.default_rng(0)
    mask = (np.arange(16) < np.array([16, 9, 4, 12])[:, None]).astype(np.float32)
    frames = rng.normal(size=(4, 16, 16)).astype(np.float32) * mask[:, :, None]
    statistics = []
    for padding in (0, 12):
        network = build("crnn", 16 + padding)
        inputs = [
            np.pad(array, [(0, 0), (0, padding), (0, 0)][: array.ndim]) for array in (frames, mask)
        ]
        network(inputs, training=True)
        moving = [v for v in network.variables if v.name.startswith("moving_")]
        statistics.append([np.asarray(v) for v in moving[:2]])  # later ones follow a dropout
    for one, other in zip(*statistics, strict=True):
        assert_allclose(one, other, atol=1e-6)
    assert np.abs(statistics[0][0]).max() > 0


@pytest.mark.tensorflow
@pytest.mark.parametrize("k", [1, 3, 10])
def test_top_k_pooling_respects_the_mask(k):
    from skspeech.estimators.recurrent.networks import masked_top_k
    from skspeech.estimators.training.keras import import_keras

    import_keras()
    hidden = np.random.default_rng(0).normal(size=(3, 7, 2)).astype(np.float32)
    lengths = [7, 2, 1]
    mask = (np.arange(7) < np.array(lengths)[:, None]).astype(np.float32)

    pooled = np.asarray(masked_top_k(hidden, mask, k))

    for clip, n, row in zip(hidden, lengths, pooled, strict=True):
        expected = np.sort(clip[:n], axis=0)[-k:].mean(axis=0)
        assert_allclose(row, expected, atol=1e-6)


# The classifier


@pytest.fixture(scope="module")
def longer(tones):
    """Trained until it has snapshots, once for all tests that need some; not to be changed."""
    clf = tiny(**LONGER, n_snapshots=3).fit(*tones)
    assert clf.snapshots_
    return clf


@pytest.mark.slow
@pytest.mark.tensorflow
def test_every_network_learns(tones, longer):
    X, y = tones
    clf = longer

    rows = clf.history_
    assert [row["epoch"] for row in rows] == list(range(1, len(rows) + 1))
    assert rows[0]["network"] == "start"
    for network in NETWORKS:
        losses = [row["train_loss"] for row in rows if row["network"] == network]
        assert min(losses[4:]) < losses[0]
    assert {snapshot["network"] for snapshot in clf.snapshots_} <= set(NETWORKS)
    assert 1 <= len(clf.snapshots_) <= 6
    assert (clf.predict(X) == y).mean() > 0.6


@pytest.mark.slow
@pytest.mark.tensorflow
def test_rounds_see_more_and_the_best_network_comes_first(tones):
    X, y = tones
    settings = {"networks": ["lstm", "crnn"], "max_rounds": 3}
    clf = tiny(rounds=[("mfcc", 8, 0.1), ("logmel", 12, 1.0)], **settings).fit(X, y)

    trained = [(row["round"], row["network"]) for row in clf.history_[1:]]
    assert trained[:2] == [(1, "lstm"), (1, "crnn")]
    assert [number for number, _ in trained[2:]] == [2, 2, 3, 3]
    assert sorted(network for _, network in trained[2:4]) == ["crnn", "lstm"]
    settings = [setting_for(clf, "lstm", number, X) for number in (1, 2, 3)]
    assert [s["features"] for s in settings] == ["mfcc", "logmel", "logmel"]
    assert [s["n_bands"] for s in settings] == [8, 12, 12]
    assert settings[0]["n_frames"] <= settings[1]["n_frames"]


def test_convolutions_see_bands_and_recurrent_layers_coefficients():
    clf = RecurrentAttentionClassifier(rounds=[("auto", 40, 30.0)])
    features = [setting_for(clf, network, 1, [np.zeros(99)])["features"] for network in NETWORKS]
    assert features == ["mfcc", "logmel", "mfcc"]


@pytest.mark.parametrize(
    ("seconds", "hop_length", "n_frames"), [(0.5, 160, 52), (2.0, 480, 68), (60.0, 640, 700)]
)
def test_hop_follows_the_length_of_the_clips(seconds, hop_length, n_frames):
    clip = np.zeros(int(seconds * 16_000), np.float32)
    clf = RecurrentAttentionClassifier(rounds=[("mfcc", 40, 30.0)])

    setting = setting_for(clf, "lstm", 1, [clip] * 20)

    assert (setting["hop_length"], setting["n_frames"]) == (hop_length, n_frames)


@pytest.mark.tensorflow
def test_a_training_ends_when_it_gets_no_better(tones):
    X, y = tones
    clf = tiny(networks=["lstm"], max_loops=50, patience=2, learning_rate=1e-12).fit(X, y)
    assert len(clf.history_) < 20


@pytest.mark.tensorflow
@pytest.mark.parametrize("learning_rate", [10**18, np.float32(1e18)])
def test_a_training_that_diverges_leaves_the_start(tones, learning_rate):
    X, y = tones
    clf = tiny(networks=["lstm", "crnn"], max_epochs=3, learning_rate=learning_rate).fit(X, y)
    assert {row["network"] for row in clf.history_} == {"start", "lstm", "crnn"}
    assert clf.score(X, y) >= tiny(max_rounds=0).fit(X, y).score(X, y)


@pytest.mark.slow
@pytest.mark.tensorflow
def test_samples_grow(tones, monkeypatch):
    from skspeech.estimators.recurrent import training

    monkeypatch.setattr(training, "_FIRST_SAMPLE", 4)
    drawn = []

    def record(codes, n, rng):
        drawn.append(n)
        return balanced_draw(codes, n, rng)

    monkeypatch.setattr(training, "balanced_draw", record)
    tiny(networks=["lstm"], max_loops=4, batch_size=4, patience=9).fit(*tones)
    assert drawn == [4, 8, 16, 32]


@pytest.mark.slow
@pytest.mark.tensorflow
def test_the_same_twice_and_with_another_seed(tones):
    X, y = tones
    settings = {"networks": ["crnn"], "max_epochs": 2}
    first, second, other = (tiny(**settings, random_state=seed).fit(X, y) for seed in (0, 0, 1))
    keys = ("network", "train_loss", "valid_loss")
    rows = [
        [tuple(row.get(key) for key in keys) for row in clf.history_]
        for clf in (first, second, other)
    ]
    assert rows[0] == rows[1]
    assert rows[0] != rows[2]
    assert_array_equal(first.predict_proba(X), second.predict_proba(X))


@pytest.mark.tensorflow
def test_callbacks_hear_of_every_epoch(tones):
    heard = []
    clf = tiny(networks=["lstm"], callbacks=lambda clf, row: heard.append((clf, row))).fit(*tones)
    assert [row for _, row in heard] == clf.history_
    assert all(one is clf for one, _ in heard)
    assert {"time", "network", "round", "train_loss", "valid_loss", "valid_score"} <= set(
        heard[-1][1]
    )


@pytest.mark.tensorflow
def test_validation_clips_may_be_given(tones):
    X, y = tones
    clf = tiny(networks=["lstm"], max_loops=3).fit(X[:18], y[:18], X_val=X[18:], y_val=y[18:])
    assert len(clf.history_) > 1
    with pytest.raises(ValueError, match=r"\['deep'\]"):
        tiny().fit(X, y, X_val=X[:1], y_val=["deep"])


@pytest.mark.slow
@pytest.mark.tensorflow
def test_warm_start_goes_on(tones):
    X, y = tones
    clf = tiny(networks=["lstm"], warm_start=True, **LONGER).fit(X, y)
    learnt, n_before = clf.snapshots_, len(clf.history_)
    assert learnt
    losses = [row["valid_loss"] for row in clf.history_[1:]]

    clf.fit(X, y)

    later = clf.history_[n_before:]
    assert later[0]["epoch"] == n_before + 1
    assert later[0]["time"] > clf.history_[n_before - 1]["time"]
    assert later[0]["valid_loss"] < np.mean(losses)
    with pytest.raises(ValueError, match="warm_start=True"):
        clf.fit(X, [f"{label}er" for label in y])


@pytest.mark.slow
@pytest.mark.tensorflow
def test_time_is_kept():
    X, y = make_tones(n_samples=60, duration=2.0, random_state=0, return_X_y=True)
    clf = RecurrentAttentionClassifier(max_time=15, max_rounds=None, random_state=0)
    began = time.monotonic()

    clf.fit(X, y)

    assert time.monotonic() - began < 15 + 20
    assert len(clf.history_) > 1


def test_hardly_any_time_leaves_the_start(tones):
    X, y = tones
    clf = RecurrentAttentionClassifier(max_time=1e-3, random_state=0).fit(X, y)
    assert clf.snapshots_ == []
    assert (clf.predict(X) == y).mean() > 0.8


@pytest.mark.tensorflow
@pytest.mark.parametrize("counts", [(1, 1), (1, 2), (3, 1, 2)])
def test_a_handful_of_clips(counts):
    y = np.repeat(np.arange(len(counts)), counts)
    X = [np.random.default_rng(i).normal(size=2000) for i in range(len(y))]
    clf = tiny(networks=["crnn"], max_loops=2).fit(X, y)
    assert np.isfinite(clf.predict_proba(X)).all()


@pytest.mark.slow
@pytest.mark.tensorflow
def test_many_classes():
    X = make_tones(n_samples=50, n_classes=25, duration=0.2, random_state=0)
    clf = tiny(hop_length=400).fit(X.data, X.target)
    assert clf.predict_proba(X.data).shape == (50, 25)
    assert len({row["network"] for row in clf.history_}) == 4


@pytest.mark.slow
@pytest.mark.tensorflow
def test_many_clips_are_predicted_as_few_are(tones, longer):
    X, _ = tones
    few = longer.predict_proba(X)
    many = longer.predict_proba(X * 9)
    assert_allclose(many, np.tile(few, (9, 1)), atol=1e-5)


@pytest.mark.slow
@pytest.mark.tensorflow
def test_snapshots_of_one_shape_share_a_network(tones, longer):
    X, _ = tones
    clf = copy.copy(longer)
    first = clf.snapshots_[0]
    second = {**first, "weights": [0.5 * weights for weights in first["weights"]]}
    clf.snapshots_, clf._live = [first, second, first], {}

    one, other, again = clf._predict_snapshots(X)

    assert len(clf._live) == 1
    assert_array_equal(one, again)
    assert np.abs(one - other).max() > 0.01


def test_threads_that_ask_at_once_get_the_right_answers(tones, longer):
    X, _ = tones
    clf = copy.copy(longer)
    first = clf.snapshots_[0]
    second = {**first, "weights": [0.5 * weights for weights in first["weights"]]}
    clf.snapshots_, clf._live = [first, second], {}
    parts = [X[i : i + 2] for i in range(0, 8, 2)] * 10
    expected = [clf.predict_proba(part) for part in parts]

    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(clf.predict_proba, parts))

    assert_allclose(found, expected, atol=1e-5)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"networks": ["gru"]}, r"networks=\['gru'\] is not accepted"),
        ({"networks": []}, r"networks=\[\] is not accepted"),
        ({"networks": {"lstm", "crnn"}}, "networks=.* is not accepted. Use a list"),
        ({"conv_filters": {8, 16}}, "conv_filters=.* is not accepted"),
        ({"rounds": []}, r"rounds=\[\] is not accepted"),
        ({"rounds": {("mfcc", 40, 5.0), ("auto", 40, 5.0)}}, "rounds={.*} is not accepted"),
        ({"rounds": [("mfcc", 40)]}, "features, n_bands, seconds"),
        ({"rounds": [("plp", 40, 5.0)]}, "'logmel'"),
        ({"rounds": [("mfcc", 40, 0)]}, "not accepted"),
        ({"conv_filters": (8, 0)}, r"conv_filters=\(8, 0\)"),
        ({"max_rounds": -1}, "max_rounds"),
        ({"hop_length": "short"}, "hop_length"),
        ({"n_fft": 64, "rounds": [("mfcc", 128, 5.0)]}, "too many"),
        ({"device": "abacus"}, "abacus"),
    ],
)
def test_bad_parameters_are_named(tones, settings, message):
    with pytest.raises(ValueError, match=message):
        tiny(**settings).fit(*tones)


# Without TensorFlow


def in_a_fresh_process(script, *args):
    command = [sys.executable, "-c", textwrap.dedent(script), *map(str, args)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""


def test_the_first_answer_needs_no_tensorflow():
    in_a_fresh_process(
        """
        import sys
        from skspeech import RecurrentAttentionClassifier
        from skspeech.datasets import make_tones

        tones = make_tones(n_samples=12, random_state=0)
        clf = next(RecurrentAttentionClassifier(random_state=0).iter_fit(tones.data, tones.target))
        assert (clf.predict(tones.data) == tones.target).mean() > 0.9
        assert not {"tensorflow", "keras", "librosa"} & set(sys.modules)
        """
    )


@pytest.mark.slow
@pytest.mark.tensorflow
def test_a_pickle_loads_without_tensorflow(tones, longer, tmp_path):
    X, _ = tones
    path = tmp_path / "clf.pkl"
    path.write_bytes(pickle.dumps((longer, X, longer.predict_proba(X))))
    in_a_fresh_process(
        """
        import pickle, sys
        import numpy as np

        clf, X, expected = pickle.load(open(sys.argv[1], "rb"))
        assert not {"tensorflow", "keras", "torch", "librosa"} & set(sys.modules)
        np.testing.assert_allclose(clf.predict_proba(X), expected, atol=1e-5)
        """,
        path,
    )


@pytest.mark.data
@pytest.mark.slow
@pytest.mark.tensorflow
def test_real_recordings(data_home):
    bunch = fetch_emodb(task="emotion", data_home=data_home)
    chosen = np.isin(bunch.target, [0, 6])
    X = [path for path, use in zip(bunch.data, chosen, strict=True) if use]
    y = bunch.target[chosen]
    train = np.arange(len(y)) % 3 > 0
    clf = RecurrentAttentionClassifier(
        networks=["lstm"], max_rounds=1, max_loops=3, max_epochs=2, units=32, random_state=0
    )
    clf.fit([X[i] for i in np.flatnonzero(train)], y[train])
    assert clf.score([X[i] for i in np.flatnonzero(~train)], y[~train]) > 0.8
    assert clf.history_[-1]["train_loss"] < clf.history_[1]["train_loss"]
