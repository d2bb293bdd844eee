"""A few clips go through several networks at once."""

import threading

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose
from sklearn.linear_model import LogisticRegression
from sklearn.naive_bayes import GaussianNB
from sklearn.pipeline import FeatureUnion, make_pipeline

from skspeech import Extractor, GeometricMeanVotingClassifier, cache
from skspeech.audio import AudioError
from skspeech.transformers.together import embed_together

LOG = []


class Slow(Extractor):
    """Notes who computes how many clips; while two are to meet, each waits for the other."""

    meeting = None

    def __init__(self, power=1, memory=None, errors="raise"):
        self.power = power
        self.memory = memory
        self.errors = errors

    def _extract(self, waveforms):
        LOG.append((self.power, len(waveforms), threading.get_ident()))
        if self.meeting is not None:
            self.meeting.wait(timeout=20)
        return [[np.abs(w**self.power).mean(), w.max()] for w in waveforms]


@pytest.fixture(scope="module")
def clips():
    rng = np.random.default_rng(0)
    return [rng.normal(scale=0.1 * (1 + i % 2), size=4000).astype(np.float32) for i in range(20)]


@pytest.fixture
def fitted(clips):
    y = np.arange(12) % 2
    union = FeatureUnion([("one", Slow(1)), ("three", Slow(3))])
    ensemble = GeometricMeanVotingClassifier(
        [
            ("one", make_pipeline(Slow(1), GaussianNB())),
            ("two", make_pipeline(Slow(2), LogisticRegression())),
            ("both", make_pipeline(union, GaussianNB())),
        ]
    )
    ensemble.fit(clips[:12], y)
    cache.clear()  # what other tests have heard
    LOG.clear()
    return ensemble


@pytest.fixture
def three_threads():
    before = torch.get_num_threads()
    torch.set_num_threads(3)
    yield
    torch.set_num_threads(before)


@pytest.mark.usefixtures("three_threads")
def test_extractors_meet_where_clips_are_few(fitted, clips, monkeypatch):
    monkeypatch.setattr(Slow, "meeting", threading.Barrier(3))
    proba = fitted.predict_proba(clips[12:13])  # hangs, and breaks, if they wait for one another
    assert not Slow.meeting.broken
    assert sorted(power for power, _, _ in LOG) == [1, 2, 3]  # each of them once
    monkeypatch.setattr(Slow, "meeting", None)
    alone = [member.predict_proba(clips[12:13]) for member in fitted.estimators_]
    expected = np.exp(np.mean(np.log(np.maximum(alone, fitted.floor)), axis=0))
    assert_allclose(proba, expected / expected.sum(), rtol=1e-6)


@pytest.mark.parametrize("n_clips", [1, 4, 5, 8])
def test_each_clip_is_computed_once(fitted, clips, n_clips):
    fitted.predict_proba(clips[12 : 12 + n_clips])
    assert sorted(power for power, n, _ in LOG for _ in range(n)) == sorted([1, 2, 3] * n_clips)


def test_many_clips_are_left_to_the_members(fitted, clips):
    embed_together(fitted.estimators_, clips[12:17])
    assert LOG == []


@pytest.mark.parametrize("setting", [{"memory": False}, {"errors": "warn"}])
def test_who_remembers_nothing_or_goes_on_is_left_to_the_members(clips, setting):
    LOG.clear()
    embed_together([Slow(power, **setting) for power in (5, 6, 8)], clips[:1])
    assert LOG == []


def test_a_single_extractor_is_left_to_its_estimator(clips):
    LOG.clear()
    embed_together([Slow(7), make_pipeline(Slow(7), GaussianNB())], clips[:1])
    assert LOG == []


def test_bad_clips_are_named_by_the_member(fitted):
    with pytest.raises(AudioError, match=r"nowhere\.wav"):
        fitted.predict(["nowhere.wav"])


def test_tables_are_no_clips():
    X, y = np.arange(8.0).reshape(-1, 1), [0, 0, 0, 0, 1, 1, 1, 1]
    ensemble = GeometricMeanVotingClassifier([("a", GaussianNB()), ("b", LogisticRegression())])
    assert ensemble.fit(X, y).predict(X[:1]).tolist() == [0]
