"""The fine-tuned speaker network: what learns, what stays, how long, and what is kept of it."""

import pickle
import time

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose, assert_array_equal
from scipy.special import softmax
from sklearn.base import clone
from sklearn.metrics import balanced_accuracy_score, log_loss

from skspeech import FineTunedSpeakerClassifier
from skspeech.datasets import fetch_fsdd
from skspeech.estimators.fine_tuned import crops
from skspeech.estimators.fine_tuned.closed_form import closed_form
from skspeech.estimators.fine_tuned.crops import crop_starts, pool
from skspeech.estimators.fine_tuned.network import SpeakerNetwork
from skspeech.estimators.fine_tuned.training import (
    Choices,
    FineTuning,
    Schedule,
    build_network,
    choices_of,
    frozen_names,
)
from skspeech.estimators.training.augment import change_speed, mask_spectrograms, perturb
from skspeech.estimators.training.base import LabelledWaveforms
from skspeech.transformers.networks.resnetse34l import ResNetSE34L
from skspeech.transformers.speaker import SpeakerEmbedding
from skspeech.weights import WeightsError, load_weights

QUICK = {
    "max_epochs": 3,
    "batch_size": 8,
    "learning_rate": 1e-3,
    "refit": False,
    "augment": False,
    "random_state": 0,
}


@pytest.fixture(scope="module", autouse=True)
def ge2e():
    """The pretrained weights; without them nothing here can run."""
    try:
        return load_weights("ge2e")
    except WeightsError as error:
        pytest.skip(f"needs pretrained weights: {error}")


def trained_parts(clf):
    """Names of the trunk's parameters that some network has learnt, and their arrays."""
    return {
        name: array
        for kept in clf.networks_
        for name, array in kept["state"].items()
        if name.startswith("trunk.")
    }


@pytest.fixture(scope="module")
def hard():
    """Two tones in noise, each high or low: are they alike? Linear in no feature of the sound."""
    rng = np.random.default_rng(0)
    X, y = [], []
    for _ in range(120):
        high = rng.integers(0, 2, size=2)
        frequency = np.repeat(np.where(high, 900, 500) * rng.uniform(0.8, 1.25), 2400)
        tone = 0.1 * np.sin(2 * np.pi * np.cumsum(frequency) / 16_000)
        X.append((tone + 0.25 * rng.standard_normal(4800)).astype(np.float32))
        y.append(high.sum() % 2)
    return X, np.array(y)


# Learning


def test_learning_changes_the_trunk_and_beats_the_frozen_network(hard, ge2e):
    X, y = hard
    clf = FineTunedSpeakerClassifier(**{**QUICK, "max_epochs": 8}).fit(X[:80], y[:80])

    frozen = clf.networks_[:1]
    tuned = balanced_accuracy_score(y[80:], clf.predict(X[80:]))
    learnt = trained_parts(clf)
    assert set(learnt) == {f"trunk.{name}" for name in ge2e}
    assert all(
        not np.array_equal(array, ge2e[name.removeprefix("trunk.")])
        for name, array in learnt.items()
        if not name.startswith("trunk.linear")  # only the embedding needs it
    )
    clf._keep(frozen)
    assert tuned > balanced_accuracy_score(y[80:], clf.predict(X[80:]))


@pytest.mark.parametrize("freeze", [0.0, pytest.param(0.5, marks=pytest.mark.slow), 0.8, 1.0])
def test_frozen_parameters_stay_as_they_were(freeze, hard, ge2e):
    network = SpeakerNetwork("ge2e", 2)
    frozen = frozen_names(network, freeze)
    clf = FineTunedSpeakerClassifier(freeze=freeze, **QUICK).fit(*hard)

    sizes = {name: array.numel() for name, array in ge2e.items()}
    share = sum(sizes[name.removeprefix("trunk.")] for name in frozen) / sum(sizes.values())
    assert freeze - 0.2 < share <= freeze + 1e-9
    assert not set(trained_parts(clf)) & set(frozen)
    for live in clf._networks():
        state = live.state_dict()
        for name in frozen:
            assert_array_equal(state[name], ge2e[name.removeprefix("trunk.")])


@pytest.mark.slow
def test_the_head_alone_learns_in_the_warm_up(hard):
    X, y = hard
    settings = {**QUICK, "max_epochs": 2, "learning_rate": 1.0}
    states = [
        FineTunedSpeakerClassifier(warm_up=warm_up, **settings).fit(X, y).history_
        for warm_up in (0, 2)
    ]
    losses = [[row["train_loss"] for row in history if row["train_loss"]] for history in states]
    assert losses[0][-1] > 2 * losses[1][-1]  # such a learning rate destroys the trunk


@pytest.mark.parametrize(
    "settings",
    [
        {"optimizer": "sgd", "learning_rate": 0.01},
        {"hidden_layers": (8, 4), "activation": "relu"},
        {"n_crops": 1, "crop": 0.1},
        *(
            pytest.param(settings, marks=pytest.mark.slow)
            for settings in (
                {"optimizer": "adam"},
                {"hidden_layers": [4], "activation": "none"},
                {"class_weight": None},
                {"class_weight": {0: 1.0, 1: 3.0}},
                {"augment": True},
            )
        ),
    ],
    ids=str,
)
def test_settings(settings, hard):
    X, y = hard
    clf = FineTunedSpeakerClassifier(**{**QUICK, **settings}).fit(X, y)

    assert_allclose(clf.predict_proba(X).sum(axis=1), 1)
    assert balanced_accuracy_score(y, clf.predict(X)) > 0.6
    assert any(row["network"] == "fine-tuned" for row in clf.history_)


@pytest.mark.slow
def test_class_weights_shift_the_answer(hard):
    X, y = hard
    settings = {**QUICK, "max_epochs": 3, "head_learning_rate": 0.02}
    shares = []
    for weight in (0.02, 50.0):
        clf = FineTunedSpeakerClassifier(class_weight={0: 1.0, 1: weight}, **settings).fit(X, y)
        shares.append([row["train_loss"] for row in clf.history_ if row["train_loss"]])
    assert not np.allclose(*shares)

    with pytest.raises(ValueError, match=r"no weight of the classes \[1\]"):
        FineTunedSpeakerClassifier(class_weight={0: 1.0}, **QUICK).fit(X, y)


@pytest.mark.slow
def test_refit_adds_a_network_that_learns_from_all_clips(hard):
    X, y = hard
    clf = FineTunedSpeakerClassifier(**{**QUICK, "refit": True}).fit(X, y)

    names = [row["network"] for row in clf.history_]
    first = names.index("frozen, all clips")
    assert names[first + 1 :] == ["fine-tuned, all clips"] * (len(names) - first - 1)
    assert len(names) > first + 1
    assert clf.history_[-1]["valid_score"] is None
    assert len(clf.networks_) == 3
    handed_in = FineTunedSpeakerClassifier(**{**QUICK, "refit": True})
    handed_in.fit(X[:80], y[:80], X_val=X[80:], y_val=y[80:])
    assert not any("all clips" in row["network"] for row in handed_in.history_)


def test_too_few_clips_to_hold_some_out_are_not_learnt_from_twice(hard):
    X, y = hard[0][:3], [0, 1, 0]
    clf = FineTunedSpeakerClassifier(**{**QUICK, "refit": True}).fit(X, y)

    assert not any("all clips" in row["network"] for row in clf.history_)
    assert clf.predict(X).tolist() == y
    assert clf.temperature_ == 1  # nothing tells how sure it may be


def test_probabilities_mean_what_held_out_clips_say(hard):
    X, y = hard
    clf = FineTunedSpeakerClassifier(**QUICK).fit(X[:60], y[:60], X_val=X[60:], y_val=y[60:])

    assert clf.temperature_ != 1
    calibrated = log_loss(y[60:], clf.predict_proba(X[60:]))
    temperature = clf.temperature_
    losses = []
    for clf.temperature_ in (0.8 * temperature, 1.25 * temperature):
        losses.append(log_loss(y[60:], clf.predict_proba(X[60:])))
    assert calibrated < min(losses) + 0.01

    del clf.temperature_  # as in older pickles
    at_one = clf.predict_proba(X[60:])
    clf.temperature_ = temperature
    expected = softmax(np.log(at_one) / temperature, axis=1)
    assert_allclose(clf.predict_proba(X[60:]), expected, atol=1e-5)


@pytest.mark.slow
def test_search_averages_the_best_three(hard):
    X, y = hard[0][:60], hard[1][:60]
    clf = FineTunedSpeakerClassifier(search=True, **{**QUICK, "max_epochs": 2}).fit(X, y)

    assert len(clf.networks_) == 4  # the first answer, and three
    settings = [kept["choices"] for kept in clf.networks_[1:]]
    assert len({repr(sorted(choices.items())) for choices in settings}) > 1
    runs = sum(row["network"] == "fine-tuned, head solved" for row in clf.history_)
    assert runs == 16 + 4
    again = clone(clf).fit(X, y)
    assert_array_equal(clf.predict_proba(X), again.predict_proba(X))


def test_where_speakers_are_told_apart_without_learning_nothing_is_learnt(tones):
    clf = FineTunedSpeakerClassifier(**QUICK).fit(*tones)

    assert [row["network"] for row in clf.history_] == [
        "frozen, embedding",
        "frozen",
        "frozen, both",
    ]
    assert (clf.predict(tones[0]) == tones[1]).all()


# Time, history, going on


@pytest.mark.slow
def test_time_limit(hard):
    X, y = hard
    began = time.monotonic()
    clf = FineTunedSpeakerClassifier(max_epochs=100_000, patience=100_000, max_time=6)
    clf.fit(X, y)

    assert time.monotonic() - began < 15
    assert any(row["train_loss"] is not None for row in clf.history_)


def test_a_moment_is_enough_for_a_first_answer(hard):
    X, y = hard
    clf = FineTunedSpeakerClassifier(max_time=1e-3).fit(X, y)

    assert len(clf.networks_) == 1
    assert np.isfinite(clf.predict_proba(X)).all()


def test_schedule_ends_with_the_epochs_or_the_time(monkeypatch):
    now = [0.0]
    monkeypatch.setattr("skspeech.estimators.fine_tuned.training.time.monotonic", lambda: now[0])
    unlimited = Schedule(2, lambda: np.inf)
    unlimited.start(5)
    factors = []
    while not unlimited.over:
        factors.append(unlimited.factor)
        unlimited.advance()
    assert len(factors) == 10
    assert max(factors) == pytest.approx(1, abs=0.1)
    assert factors[-1] < 0.1

    limited = Schedule(100, lambda: 10.0 - now[0])
    limited.start(10)
    for _ in range(10):
        assert not limited.over
        last = limited.factor
        now[0] += 1.0
        limited.advance()
    assert limited.over
    assert last < 0.1


def test_history_and_callbacks(hard):
    X, y = hard
    rows = []
    clf = FineTunedSpeakerClassifier(
        callbacks=lambda clf, row: rows.append(row), **{**QUICK, "max_epochs": 3}
    ).fit(X, y)

    assert rows == clf.history_
    assert [row["epoch"] for row in rows] == list(range(1, len(rows) + 1))
    assert np.all(np.diff([row["time"] for row in rows]) >= 0)
    epochs = [row for row in rows if row["network"] == "fine-tuned"]
    assert len(epochs) == 3
    for row in epochs:
        assert 0 <= row["valid_score"] <= 1
        assert row["train_loss"] > 0
        assert row["valid_loss"] > 0


@pytest.mark.slow
def test_patience(hard):
    X, _ = hard
    y = np.random.default_rng(0).permutation(len(X)) % 2  # there is nothing to learn
    clf = FineTunedSpeakerClassifier(
        **{**QUICK, "max_epochs": 40, "patience": 2, "learning_rate": 1e-3, "freeze": 1.0}
    ).fit(X, y)

    assert sum(row["network"] == "fine-tuned" for row in clf.history_) < 40


@pytest.mark.slow
def test_warm_start_goes_on(hard):
    X, y = hard
    settings = {**QUICK, "max_epochs": 4}
    clf = FineTunedSpeakerClassifier(warm_start=True, **settings).fit(X, y)
    first, n_rows = clf.history_[-1], len(clf.history_)

    clf.set_params(freeze=0.8).fit(X, y)

    assert clf.history_[n_rows]["time"] >= first["time"]
    assert clf.history_[n_rows]["network"] == "fine-tuned"
    assert "trunk.layers.0.weight_hh_l0" in trained_parts(clf)  # learnt before it was frozen
    scores = [row["valid_score"] for row in clf.history_ if row["valid_score"] is not None]
    assert max(scores[n_rows:]) >= first["valid_score"] - 0.1


def test_warm_start_goes_on_with_the_same_network_only(hard):
    X, y = hard
    clf = FineTunedSpeakerClassifier(max_epochs=1, refit=False, random_state=0).fit(X, y)
    with pytest.raises(WeightsError, match=r"smart-turn.* was fitted with ge2e.*warm_start=False"):
        clf.set_params(warm_start=True, model="smart-turn").fit(X, y)
    clf.set_params(model="ge2e").fit(X, y)


def test_a_device_that_is_set_after_fit_is_taken_and_another_network_refused(hard):
    X, y = hard
    clf = FineTunedSpeakerClassifier(max_epochs=1, refit=False, random_state=0).fit(X, y)
    clf.predict(X[:1])
    network, *_ = clf.set_params(device="meta")._networks()
    assert {parameter.device.type for parameter in network.parameters()} == {"meta"}
    with pytest.raises(WeightsError, match=r"smart-turn.* was fitted with ge2e"):
        clf.set_params(device="cpu", model="smart-turn").predict(X[:1])


@pytest.mark.slow
def test_snapshots_get_better(hard):
    X, y = hard
    clf = FineTunedSpeakerClassifier(**{**QUICK, "max_epochs": 4})
    scores = []
    for snapshot in clf.iter_fit(X[:80], y[:80], X_val=X[80:], y_val=y[80:]):
        assert snapshot is clf
        scores.append(balanced_accuracy_score(y[80:], snapshot.predict(X[80:])))
    assert len(scores) > 1
    assert scores == sorted(scores)


@pytest.mark.parametrize("augment", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_the_same_twice(augment, hard):
    X, y = hard[0][:60], hard[1][:60]
    clf = FineTunedSpeakerClassifier(**{**QUICK, "augment": augment, "refit": True, "dropout": 0.5})
    first = clf.fit(X, y).predict_proba(X)
    torch.rand(7)
    assert_array_equal(clone(clf).fit(X, y).predict_proba(X), first)


def test_torchs_random_numbers_are_left_alone(hard):
    torch.manual_seed(0)
    expected = torch.rand(3)
    torch.manual_seed(0)
    FineTunedSpeakerClassifier(**QUICK).fit(hard[0][:60], hard[1][:60])
    assert_array_equal(torch.rand(3), expected)


# Pickles and weights


@pytest.mark.slow
def test_pickles_hold_what_was_learnt_and_no_more(hard):
    X, y = hard
    clf = FineTunedSpeakerClassifier(freeze=0.8, **QUICK).fit(X, y)
    expected = clf.predict_proba(X)

    content = pickle.dumps(clf)
    whole = FineTunedSpeakerClassifier(freeze=0.0, **QUICK).fit(X, y)

    learnt = sum(a.nbytes for kept in clf.networks_ for a in kept["state"].values())
    assert len(content) < learnt + 20_000 < 2_000_000 < len(pickle.dumps(whole)) < 8_000_000
    assert b"torch" not in content
    assert_allclose(pickle.loads(content).predict_proba(X), expected, atol=1e-7)


@pytest.mark.slow
def test_resnet_with_weights_of_ones_own(hard, tmp_path):
    X, y = hard
    path = tmp_path / "own.model"
    torch.manual_seed(0)
    torch.save({f"__S__.{k}": v for k, v in ResNetSE34L().state_dict().items()}, path)
    clf = FineTunedSpeakerClassifier(model="resnetse34l", weights=path, **QUICK)
    clf.fit(X[:40], y[:40])
    expected = clf.predict_proba(X[:3])

    assert any(row["network"] == "fine-tuned" for row in clf.history_)
    again = pickle.loads(pickle.dumps(clf))
    assert_allclose(again.predict_proba(X[:3]), expected, atol=1e-6)
    assert_allclose(clf.predict_proba(X[1:2]), expected[1:2], atol=1e-5)
    torch.save({f"__S__.{k}": v for k, v in ResNetSE34L().state_dict().items()}, path)
    with pytest.raises(WeightsError, match="was fitted with"):
        pickle.loads(pickle.dumps(clf)).predict(X)


def test_batch_norm_keeps_its_statistics():
    network = SpeakerNetwork("resnetse34l", 2).train()
    before = network.trunk.bn1.running_mean.clone()
    network(torch.rand(3, 50, 40), torch.tensor([50, 50, 50])).sum().backward()
    assert_array_equal(network.trunk.bn1.running_mean, before)
    assert network.trunk.conv1.weight.grad.abs().sum() > 0


def test_weights_that_are_not_there(hard, monkeypatch, tmp_path):
    def missing(self, device):
        raise WeightsError("The weights 'ge2e' are not on this machine.")

    monkeypatch.setattr(SpeakerEmbedding, "_load_network", missing)
    with pytest.raises(WeightsError, match="not on this machine"):
        FineTunedSpeakerClassifier(**QUICK).fit(*hard)
    with pytest.raises(WeightsError, match=r"gone\.model"):
        FineTunedSpeakerClassifier(model="resnetse34l", weights=tmp_path / "gone.model").fit(*hard)


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ({"hidden_layers": (0,)}, r"hidden_layers=\(0,\) is not accepted"),
        ({"hidden_layers": (2.5,)}, "number of units"),
        ({"weights": "own.model"}, "only model='resnetse34l' takes"),
        ({"freeze": 1.5}, "'freeze' parameter"),
        ({"optimizer": "rmsprop"}, "'optimizer' parameter"),
        ({"crop": 0}, "'crop' parameter"),
    ],
    ids=str,
)
def test_settings_that_are_not_accepted(setting, message, tones):
    with pytest.raises(ValueError, match=message):
        FineTunedSpeakerClassifier(**setting).fit(*tones)


# The parts


def test_closed_form_is_a_linear_head(rng_rows):
    rows, codes = rng_rows
    weights, constants, _ = closed_form(rows, codes)
    assert weights.shape == (3, 20)
    assert ((rows @ weights.T + constants).argmax(axis=1) == codes).mean() > 0.9


def test_closed_form_is_never_surer_than_smoothed_labels(rng_rows):
    rows, codes = rng_rows
    weights, constants, _ = closed_form(rows + 100 * np.eye(3, 20)[codes], codes)
    logits = rows @ weights.T + constants
    assert np.ptp(logits, axis=1).max() < 20


@pytest.fixture
def rng_rows():
    rng = np.random.default_rng(0)
    codes = np.arange(60) % 3
    return rng.normal(size=(60, 20)).astype(np.float32) + 3 * np.eye(3, 20)[codes], codes


def test_what_comes_after_a_clip_does_not_matter():
    torch.manual_seed(0)
    network = SpeakerNetwork("ge2e", 2).eval()
    mel = torch.rand(2, 30, 40)
    alone = network.pool(mel[:1, :20], torch.tensor([20]))
    together = network.pool(mel, torch.tensor([20, 30]))[:1]
    assert_allclose(alone.detach(), together.detach(), atol=1e-6)


def test_a_new_hidden_layer_starts_from_the_linear_head():
    plain = Choices((), "tanh", 0.0, 0.0, "adamw", 1e-3, 1e-3, 32, 2.0)
    deep = plain._replace(hidden_layers=(4,))
    pretrained = SpeakerNetwork("ge2e", 2).trunk.state_dict()
    state = {"head.weight": np.random.default_rng(0).normal(size=(2, 1792)).astype("f4")}
    mel, lengths = torch.rand(2, 30, 40), torch.tensor([30, 30])
    logits = [
        build_network("ge2e", 2, pretrained, {**state, "head.bias": np.zeros(2, "f4")}, c, "cpu")(
            mel, lengths
        ).detach()
        for c in (plain, deep)
    ]
    assert_array_equal(*logits)


def test_crops_lie_evenly():
    assert crop_starts(100, 100, 3) == [0]
    assert crop_starts(50, 100, 3) == [0]
    assert crop_starts(200, 100, 3) == [0, 50, 100]
    assert crop_starts(200, 100, 1) == [50]
    assert crop_starts(101, 100, 3) == [0, 1]


def test_changes_of_waveforms_leave_the_original_alone():
    rng = np.random.RandomState(0)
    waveform = np.sin(np.arange(8000) / 5).astype(np.float32)
    original = waveform.copy()

    lengths = [len(perturb(waveform, rng, 0.15)) for _ in range(30)]

    assert_array_equal(waveform, original)
    assert min(lengths) < 7800 < 8200 < max(lengths)
    assert all(len(perturb(waveform, rng, 0.0)) == 8000 for _ in range(5))
    faster = change_speed(waveform, 1.25)
    assert len(faster) == 6400
    peaks = [np.abs(np.fft.rfft(w)).argmax() / len(w) for w in (waveform, faster)]
    assert peaks[1] / peaks[0] == pytest.approx(1.25, rel=0.01)


@pytest.mark.parametrize("waveform", [np.zeros(1), np.zeros(900), np.full(500, 1e-40), np.ones(2)])
def test_changes_of_difficult_waveforms_are_finite(waveform):
    rng = np.random.RandomState(0)
    for _ in range(20):
        changed = perturb(waveform.astype(np.float32), rng, 0.15)
        assert changed.dtype == np.float32
        assert len(changed) > 0
        assert np.isfinite(changed).all()


def test_masks_stay_within_their_limits():
    rng = np.random.RandomState(0)
    mel = torch.ones(40, 60, 40)
    mask_spectrograms(mel, [50] * 40, rng)

    bands = (mel[:, 50:] == 0).all(dim=1).sum(dim=1)
    frames = (mel == 0).all(dim=2).sum(dim=1)
    assert 0 < bands.max() <= 6
    assert 0 < frames.max() <= 10


# Real recordings


@pytest.mark.data
@pytest.mark.slow
def test_digits_of_unseen_speakers(data_home):
    bunch = fetch_fsdd(task="digit", data_home=data_home)
    rng = np.random.default_rng(0)
    new = np.isin(bunch.groups, ["theo", "lucas"])
    train, test = rng.permutation(np.flatnonzero(~new))[:300], np.flatnonzero(new)[::8]
    clf = FineTunedSpeakerClassifier(max_epochs=3, refit=False, max_time=30, random_state=0)

    clf.fit([bunch.data[i] for i in train], bunch.target[train])

    predicted = clf.predict([bunch.data[i] for i in test])
    assert balanced_accuracy_score(bunch.target[test], predicted) > 0.8


# Whisper's encoder


@pytest.mark.usefixtures("many_threads")
def test_training_uses_no_more_threads_than_cores(monkeypatch):
    seen, listen = [], crops.log_probas

    def counted(*args, **kwargs):
        seen.append(torch.get_num_threads())
        return listen(*args, **kwargs)

    monkeypatch.setattr(crops, "log_probas", counted)
    clips, y = np.random.default_rng(0).normal(size=(12, 4000)), np.arange(12) % 2
    clf = FineTunedSpeakerClassifier(max_epochs=1, device="cpu", search=False).fit(clips, y)
    n_fit = len(seen)
    clf.predict(clips[:2])
    assert len(seen) > n_fit
    assert set(seen) == {1}


@pytest.fixture
def smart_turn():
    try:
        return load_weights("smart-turn")
    except WeightsError as error:
        pytest.skip(f"needs pretrained weights: {error}")


def learn(freeze, waveforms, codes, pretrained):
    """Weights of the encoder after two epochs."""
    clf = FineTunedSpeakerClassifier(model="smart-turn", freeze=freeze, device="cpu", batch_size=8)
    choices = choices_of(clf)
    tuning = FineTuning(
        "smart-turn",
        pretrained,
        clf._front_end(),
        n_classes=2,
        class_weight=None,
        n_crops=1,
        device=torch.device("cpu"),
        rng=np.random.RandomState(0),
    )
    learning = tuning.train(
        LabelledWaveforms(waveforms, codes),
        {},
        choices,
        Schedule(2, lambda: np.inf),
        speed=0.1,
        warm_up=0,
    )
    *_, (loss, network) = learning
    assert np.isfinite(loss)
    return {name: x.numpy() for name, x in network.trunk.state_dict().items()}


@pytest.mark.parametrize(("freeze", "first"), [(None, "layers.2."), (0.0, "conv1.")])
def test_whispers_encoder_learns_in_its_last_layer_on_a_cpu(hard, smart_turn, freeze, first):
    learnt = learn(freeze, hard[0][:16], hard[1][:16], smart_turn)
    changed = [name for name, x in learnt.items() if not np.array_equal(x, smart_turn[name])]
    names = list(learnt)
    begin = next(i for i, name in enumerate(names) if name.startswith(first))
    assert set(changed) == set(names[begin:])


def test_whispers_encoder_predicts_and_is_pickled_with_what_it_has_learnt(hard, smart_turn):
    X, y = hard
    settings = {**QUICK, "max_epochs": 1, "device": "cpu"}
    clf = FineTunedSpeakerClassifier(model="smart-turn", **settings).fit(X[:40], y[:40])
    expected = clf.predict_proba(X[40:49])
    assert expected.shape == (9, 2)
    content = pickle.dumps(clf)
    assert len(content) < 12_000_000
    assert_allclose(pickle.loads(content).predict_proba(X[40:49]), expected, rtol=1e-4, atol=1e-5)


def test_what_whispers_encoder_gives_is_what_its_extractor_gives(tones, smart_turn):
    from skspeech import WhisperEmbedding

    clf = FineTunedSpeakerClassifier(model="smart-turn")
    network = SpeakerNetwork("smart-turn", 2)
    network.trunk.load_state_dict({k: smart_turn[k] for k in network.trunk.state_dict()})
    waveforms = [
        np.resize(clip, n) for clip, n in zip(tones[0], (8_000, 12_345, 16_000), strict=False)
    ]
    rows, owners = pool(network, waveforms, clf._front_end(), crop=3.0, n_crops=1)
    expected = WhisperEmbedding(layers=(1, 2, 3), dtype="float32", memory=False).transform(
        waveforms
    )
    assert owners.tolist() == [0, 1, 2]
    assert_allclose(rows, expected, rtol=1e-3, atol=1e-3)


def test_whispers_encoder_takes_no_file_of_weights(tones):
    with pytest.raises(ValueError, match="is not accepted with model='smart-turn'"):
        FineTunedSpeakerClassifier(model="smart-turn", weights="a-file").fit(*tones)
