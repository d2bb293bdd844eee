"""What the trained approaches share: held-out clips, time, history; faults that cost nothing."""

import os
import signal
import time

import numpy as np
import pytest
from instances import make_instance
from sklearn.base import clone
from sklearn.utils import get_tags
from sounds import labelled_tones

from skspeech import (
    AudioError,
    Candidate,
    FineTunedSpeakerClassifier,
    MixupCNNClassifier,
    RecurrentAttentionClassifier,
    SpeakerEmbeddingClassifier,
    TimeBudgetClassifier,
)
from skspeech.estimators.training.base import TrainedClassifier


class Loudness(TrainedClassifier):
    """Learns each class's loudness, a little better in each of three epochs."""

    def __init__(
        self,
        *,
        validation_fraction=0.2,
        max_time=None,
        level=None,
        max_duration=1.0,
        sampling_rate=16_000,
        device="auto",
        n_jobs=None,
        errors="raise",
        warm_start=False,
        callbacks=None,
        random_state=None,
        verbose=0,
    ):
        self.validation_fraction = validation_fraction
        self.max_time = max_time
        self.level = level
        self.max_duration = max_duration
        self.sampling_rate = sampling_rate
        self.device = device
        self.n_jobs = n_jobs
        self.errors = errors
        self.warm_start = warm_start
        self.callbacks = callbacks
        self.random_state = random_state
        self.verbose = verbose

    def _train(self, data):
        self.data_ = data
        loudness = _loudness(data.train.waveforms)
        target = np.array(
            [loudness[data.train.codes == c].mean() for c in np.unique(data.train.codes)]
        )
        if not self._starts_warm:
            self.means_ = target + 1.0
        for _ in range(3):
            self.means_ = 0.5 * (self.means_ + target)
            proba = self._predict_waveforms(data.valid.waveforms)
            self._record(valid_score=np.mean(proba.argmax(axis=1) == data.valid.codes))
            yield

    def _predict_waveforms(self, waveforms):
        odds = np.exp(-10 * np.abs(_loudness(waveforms)[:, None] - self.means_))
        return odds / odds.sum(axis=1, keepdims=True)


def _loudness(waveforms):
    return np.array([np.abs(waveform).mean() for waveform in waveforms])


@pytest.fixture
def clips():
    rng = np.random.default_rng(0)
    y = np.repeat(["quiet", "loud"], 20)
    return [rng.normal(scale=1.0 if label == "loud" else 0.2, size=800) for label in y], y


def test_a_part_of_each_class_judges(clips):
    X, y = clips
    data = Loudness(random_state=0).fit(X, y).data_

    assert (len(data.train.codes), len(data.valid.codes)) == (32, 8)
    assert np.bincount(data.valid.codes).tolist() == [4, 4]
    seen = {waveform.tobytes() for waveform in data.train.waveforms}
    assert seen.isdisjoint(waveform.tobytes() for waveform in data.valid.waveforms)
    assert data.train.waveforms[0].dtype == np.float32


def test_groups_are_kept_apart(clips):
    X, y = clips
    groups = np.tile(np.arange(5), 8)
    data = Loudness(random_state=0).fit(X, y, groups=groups).data_

    group_of = {np.float32(x).tobytes(): group for x, group in zip(X, groups, strict=True)}
    train, valid = (
        {group_of[waveform.tobytes()] for waveform in part.waveforms}
        for part in (data.train, data.valid)
    )
    assert train.isdisjoint(valid)
    assert len(valid) == 1
    assert data.judges == "held out"


def test_clips_that_were_handed_in_judge(clips):
    X, y = clips
    data = Loudness().fit(X[5:35], y[5:35], X_val=X[:5], y_val=y[:5]).data_

    assert (len(data.train.codes), len(data.valid.codes)) == (30, 5)
    assert (data.valid.codes == 1).all()  # "loud", "quiet"
    assert data.judges == "given"


def test_the_training_clips_judge_where_there_are_too_few():
    data = Loudness().fit([np.ones(100), np.zeros(100), np.ones(50)], [0, 1, 0]).data_

    assert len(data.train.codes) == len(data.valid.codes) == 3
    assert data.judges == "training"


@pytest.mark.parametrize("groups", ["a single group", "the classes"])
def test_the_training_clips_judge_where_no_group_can_be_held_out(clips, groups):
    X, y = clips
    data = Loudness().fit(X, y, groups=y if groups == "the classes" else [groups] * len(y)).data_

    assert len(data.train.codes) == len(data.valid.codes) == 40
    assert data.judges == "training"


def test_weights_are_refused(clips):
    with pytest.raises(TypeError, match="unexpected keyword argument 'sample_weight'"):
        Loudness().fit(*clips, sample_weight=np.ones(40))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"X_val": [np.ones(9)]}, "X_val and y_val belong together"),
        ({"X_val": [np.ones(9)], "y_val": ["shrill"]}, r"y_val holds the classes \['shrill'\]"),
        ({"X_val": [np.ones(9)], "y_val": ["loud"] * 2}, "inconsistent numbers"),
        ({"groups": [1, 2]}, "inconsistent numbers"),
        ({"groups": [None] + [1] * 39}, "groups has 1 missing value"),
        ({"X_val": [np.ones(9)], "y_val": [None]}, "y_val has 1 missing value"),
    ],
)
def test_mistakes_in_what_judges_are_told(clips, arguments, message):
    with pytest.raises(ValueError, match=message):
        Loudness().fit(*clips, **arguments)


@pytest.mark.filterwarnings("ignore:1 of 40 clips")
def test_a_fit_that_is_refused_changes_nothing(clips):
    X, y = clips
    bad = [*X[:-1], "gone.wav"]
    clf = Loudness(errors="warn").fit(bad, y)
    before = clf.predict_proba(bad)
    with pytest.raises(ValueError, match="y_val holds the classes"):
        clf.fit(bad, np.tile(["a", "b", "c", "d"], 10), X_val=X[:1], y_val=["z"])
    np.testing.assert_array_equal(clf.predict_proba(bad), before)


def test_bad_clips_that_judge_are_named(clips, tmp_path):
    with pytest.raises(AudioError, match=r"gone\.wav"):
        Loudness().fit(*clips, X_val=[tmp_path / "gone.wav"], y_val=["loud"])


def test_history_is_kept_and_told(clips, capsys):
    rows = []
    clf = Loudness(verbose=1, callbacks=lambda clf, row: rows.append(row)).fit(*clips)

    assert clf.history_ == rows
    assert [row["epoch"] for row in rows] == [1, 2, 3]
    assert rows[0]["time"] <= rows[2]["time"]
    assert capsys.readouterr().out.count("[Loudness] epoch") == 3


def test_each_better_state_is_handed_out(clips):
    X, y = clips
    clf = Loudness()
    scores = [snapshot.score(X, y) for snapshot in clf.iter_fit(X, y)]

    assert len(scores) == 3
    assert scores[-1] == clf.score(X, y) == 1.0


def test_ctrl_c_keeps_the_best_weights(clips):
    def interrupt(clf, row):
        if row["epoch"] == 2:
            raise KeyboardInterrupt

    with pytest.warns(UserWarning, match=r"interrupted after .* keeps the best weights"):
        clf = Loudness(callbacks=interrupt).fit(*clips)
    assert clf.predict(clips[0][:1]) == ["quiet"]


def test_ctrl_c_before_there_is_anything_is_ctrl_c(clips):
    def interrupt(clf, row):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        Loudness(callbacks=[interrupt]).fit(*clips)


def test_ctrl_c_before_a_second_fit_has_learnt_is_ctrl_c(clips, monkeypatch):
    def interrupt(*args, **kwargs):
        raise KeyboardInterrupt

    X, y = clips
    clf = Loudness().fit(X, y)
    monkeypatch.setattr("skspeech.estimators.training.base.iter_waveforms", interrupt)
    with pytest.raises(KeyboardInterrupt):
        clf.fit(X, np.where(y == "loud", "noisy", y))
    with pytest.warns(UserWarning, match="keeps the best weights"):
        clf.set_params(warm_start=True).fit(X, y)


def test_warm_start_goes_on(clips):
    X, y = clips
    clf = Loudness(warm_start=True).fit(X, y)
    before = clf.means_
    clf.fit(X, y)

    assert [row["epoch"] for row in clf.history_] == [1, 2, 3, 4, 5, 6]
    assert np.all(np.diff([row["time"] for row in clf.history_]) >= 0)
    assert np.all(clf.means_ < before)
    with pytest.raises(ValueError, match="warm_start=True goes on with the classes"):
        clf.fit(X, np.where(y == "loud", "noisy", y))


def test_without_warm_start_it_begins_anew(clips):
    clf = Loudness(random_state=0).fit(*clips)
    again = clone(clf).fit(*clips)
    clf.fit(*clips)

    assert len(clf.history_) == 3
    np.testing.assert_array_equal(clf.means_, again.means_)


def test_many_clips_are_predicted_in_parts(clips, monkeypatch):
    X, y = clips
    clf = Loudness().fit(X, y)
    expected = clf.predict_proba(X)
    sizes = []

    def predict(waveforms):
        sizes.append(len(waveforms))
        return Loudness._predict_waveforms(clf, waveforms)

    monkeypatch.setattr("skspeech.estimators.training.base._CHUNK_SECONDS", 0.49)
    monkeypatch.setattr(clf, "_predict_waveforms", predict)
    np.testing.assert_allclose(clf.predict_proba(X), expected)
    assert sizes == [10] * 4


def test_tags():
    assert get_tags(Loudness()).input_tags.string
    assert get_tags(Loudness()).classifier_tags.poor_score


# Faults in worker processes


def die(clf, row):
    os.kill(os.getpid(), signal.SIGKILL)


def hang(clf, row):
    while True:
        time.sleep(1)


def take_all_memory(clf, row):
    hoard = []
    while True:
        hoard.append(np.ones(1 << 24))  # 128 MB


@pytest.mark.usefixtures("no_repeats")
@pytest.mark.parametrize(
    ("cls", "fault", "max_memory"),
    [
        (FineTunedSpeakerClassifier, die, None),
        *(
            pytest.param(*fault, marks=pytest.mark.slow)
            for fault in [
                (FineTunedSpeakerClassifier, hang, None),
                (MixupCNNClassifier, die, None),
                (MixupCNNClassifier, take_all_memory, 2.5e9),
                (RecurrentAttentionClassifier, hang, None),
                (RecurrentAttentionClassifier, take_all_memory, 2.5e9),
            ]
        ),
    ],
)
def test_a_fault_in_a_trained_candidate_costs_the_ensemble_nothing(cls, fault, max_memory):
    X, y = labelled_tones(24, ["low", "high"])
    faulty = make_instance(cls).set_params(callbacks=[fault])
    linear = make_instance(SpeakerEmbeddingClassifier)
    candidates = [
        Candidate("linear", linear, where="main"),
        Candidate("faulty", faulty, where="worker", max_memory=max_memory),
    ]
    start = time.monotonic()
    clf = TimeBudgetClassifier(candidates, time_budget=15, random_state=0)
    clf.fit(X, y)

    assert time.monotonic() - start < 18
    assert clf.score(X, y) == 1.0
    members = [name for name, _ in clf.ensemble_.estimators]
    assert any("linear" in name for name in members)
    if fault is not hang:  # which answered before it hung
        assert [name for name, *_ in clf.failures_][:1] == ["faulty"]
