"""Copies of a clip are never on both sides of a split."""

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.dummy import DummyClassifier
from sklearn.pipeline import make_pipeline
from sounds import noise

from skspeech import (
    AugmentedClassifier,
    Candidate,
    GeometricMeanVotingClassifier,
    MixupCNNClassifier,
    ShrinkageDiscriminantAnalysis,
    SpectralStatistics,
    TimeBudgetClassifier,
    UnknownRejector,
)
from skspeech._folds import stratified_folds
from skspeech.app import training
from skspeech.audio import as_clips
from skspeech.audio.copies import group_copies, kept_together
from skspeech.report import doubtful_labels
from skspeech.unknown import held_out

N = 24


@pytest.fixture
def twice(write):
    """Files of 24 sounds, each under two names, and their labels."""
    sounds = [noise(0.2, seed=i) for i in range(N)]
    paths = [write(f"{take}-{i}.wav", sounds[i]) for take in "ab" for i in range(N)]
    return list(map(str, paths)), np.tile(np.arange(N) % 3, 2)


class NeverHeard(ClassifierMixin, BaseEstimator):
    """Refuses to predict what it was trained on."""

    def fit(self, X, y):
        self.classes_, self.heard_ = np.unique(y), _contents(X)
        return self

    def predict_proba(self, X):
        if self.heard_ & _contents(X):
            raise AssertionError("A copy of a training clip is held out.")
        return np.full((len(X), len(self.classes_)), 1 / len(self.classes_))

    def predict(self, X):
        return self.classes_[self.predict_proba(X).argmax(axis=1)]

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags.string = True
        return tags


def _contents(X):
    return {clip.key() for clip in as_clips(X)}


def test_a_file_and_its_content_are_copies(twice):
    path = twice[0][0]
    assert group_copies(as_clips([path, Path(path).read_bytes()])).tolist() == [0, 0]


class NeverHeardRate(NeverHeard):
    """Takes clips, as its sampling rate says."""

    def __init__(self, sampling_rate=16_000):
        self.sampling_rate = sampling_rate


def test_rows_of_an_array_are_clips_to_what_takes_clips(twice, monkeypatch):
    X, y = np.array([clip.load() for clip in as_clips(twice[0])]), twice[1]
    strict = ("strict", NeverHeardRate())
    clf = TimeBudgetClassifier([Candidate(*strict, where="main")], time_budget=20, random_state=0)
    assert clf.fit(X, y).failures_ == []
    GeometricMeanVotingClassifier([strict], calibrate=3).fit(X, y)
    doubtful_labels(X, y, classifier=NeverHeard())
    groups = groups_of_rejector(X, y, monkeypatch)
    assert len(np.unique(groups)) == N


@pytest.mark.parametrize("cv", ["auto", 4])
def test_a_run_holds_out_no_copy(twice, cv):
    X, y = twice
    candidates = [Candidate("strict", NeverHeard(), where="main"), ("worker", NeverHeard())]
    clf = TimeBudgetClassifier(candidates, time_budget=20, cv=cv, random_state=0).fit(X, y)
    assert clf.failures_ == []
    assert clf.results_["split2_test_score"][0] == pytest.approx(1 / 3)


def test_splits_of_the_users_that_hold_out_copies_are_told(twice):
    X, y = twice
    first, second = np.arange(N), np.arange(N, 2 * N)
    clf = TimeBudgetClassifier([("prior", DummyClassifier())], time_budget=20)
    with pytest.warns(UserWarning, match=f"holds out {2 * N} clips whose copies") as told:
        clf.set_params(cv=[(first, second), (second, first)]).fit(X, y)
    assert told[0].filename == __file__
    both = np.tile(np.arange(N) < 12, 2)  # a sound and its copy on one side
    clf.set_params(cv=[(np.flatnonzero(both), np.flatnonzero(~both))]).fit(X, y)


def test_other_held_out_parts_hold_out_no_copy(twice):
    X, y = twice
    doubtful_labels(X, y, classifier=NeverHeard())
    GeometricMeanVotingClassifier([("strict", NeverHeard())], calibrate=3).fit(X, y)
    waveforms = [clip.load() for clip in as_clips(X)]
    classes, codes = np.unique(y, return_inverse=True)
    data = MixupCNNClassifier(random_state=0)._make_data(X, codes, classes, None, None, None)
    train, valid = ({w.tobytes() for w in part.waveforms} for part in (data.train, data.valid))
    assert data.judges == "held out"
    assert valid
    assert not train & valid
    assert len(train | valid) == len({w.tobytes() for w in waveforms}) == N


def test_the_page_holds_out_no_copy(twice):
    X, y = twice
    clips = [SimpleNamespace(path=X[i], label=str(y[i]), group="") for i in range(len(X))]
    train, test, _ = training._split(clips, 0.3)
    parts = [_contents([clip.path for clip in part]) for part in (train, test)]
    assert parts[1]
    assert not parts[0] & parts[1]


def test_augmented_clips_and_their_copies_are_one_group(twice):
    X, y = twice
    seen = []

    class Splits(NeverHeard):
        def fit(self, X, y, groups=None):
            seen.append(groups)
            return super().fit(X, y)

    AugmentedClassifier(Splits()).fit(X, y)
    (groups,) = seen
    assert len(groups) == 6 * N
    assert len(np.unique(groups)) == N


def groups_of_rejector(X, y, monkeypatch):
    kept = []

    def folds(codes, n_splits, *, groups=None, **options):
        kept.append(groups)
        return stratified_folds(codes, n_splits, groups=groups, **options)

    monkeypatch.setattr(held_out, "stratified_folds", folds)
    model = make_pipeline(SpectralStatistics(), ShrinkageDiscriminantAnalysis())
    UnknownRejector(model, unknown_label=-1, random_state=0).fit(X, y)
    (groups,) = kept
    return groups


def test_a_rejector_holds_out_no_copy(twice, monkeypatch):
    assert len(np.unique(groups_of_rejector(*twice, monkeypatch))) == N


def test_equal_contents_have_equal_numbers(twice, tmp_path):
    X, _ = twice
    clips = as_clips([*X, str(tmp_path / "missing.wav"), str(tmp_path / "missing.wav")])
    expected = [*range(N), *range(N), 2 * N, 2 * N + 1]
    assert group_copies(clips).tolist() == expected
    assert len(np.unique(group_copies(clips, seconds=-1))) == len(clips)  # there was no time
    assert kept_together(X[:N]) is None
    assert kept_together(np.zeros((4, 2))) is None  # rows of a table are no clips
    assert kept_together([{}, {}]) is None
    contents = [Path(path).read_bytes() for path in X[:2]]
    assert kept_together([*X[:2], contents[1]]).tolist() == [0, 1, 1]
    assert kept_together([{"bytes": content, "path": None} for content in contents]) is None
    assert kept_together(X, groups="given") == "given"


def test_what_has_one_sound_only_is_told(twice):
    X, _ = twice
    pairs, labels = [X[0], X[N], X[1], X[N + 1]], [0, 0, 1, 1]
    clf = TimeBudgetClassifier([("strict", NeverHeard())], time_budget=10, random_state=0)
    with pytest.warns(UserWarning, match="No clip can be held out"):
        clf.fit(pairs, labels)
