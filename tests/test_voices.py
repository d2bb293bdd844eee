"""Groups for clips of which nobody said who speaks."""

import numpy as np
import pytest
from scipy.spatial.distance import pdist
from sklearn.metrics import adjusted_mutual_info_score

from skspeech import SpeakerEmbedding, datasets
from skspeech._voices import find_voices, warn_of_voices  # pure functions
from skspeech.selection import ProbabilityScore

ACCURACY = ProbabilityScore("accuracy", [0, 1])


def make_embedding(speaker, y, *, loudest, noise=0.3, seed=0):
    """Unit vectors in which speakers and classes have directions of their own."""
    rng = np.random.default_rng(seed)
    directions = rng.normal(size=(100, 64)) / 8
    X = 1.5 * directions[speaker] + loudest * directions[50 + y]
    return X + noise * rng.normal(size=X.shape) / 8


def test_voices_are_found_where_classes_sound_different_too():
    rng = np.random.default_rng(0)
    speaker, y = rng.integers(8, size=400), rng.integers(3, size=400)
    groups, reason = find_voices(make_embedding(speaker, y, loudest=1.5), y)
    assert adjusted_mutual_info_score(groups, speaker) > 0.95
    assert reason == ""


@pytest.mark.parametrize("n_speakers", [2, 3, 4, 6, 8])
def test_there_are_as_many_groups_as_voices(n_speakers):
    rng = np.random.default_rng(n_speakers)
    speaker, y = rng.integers(n_speakers, size=400), rng.integers(3, size=400)
    groups, _ = find_voices(make_embedding(speaker, y, loudest=1.5), y)
    assert len(np.unique(groups)) == max(n_speakers, 3)  # three folds need three groups
    assert len(np.unique(np.column_stack([groups, speaker]), axis=0)) == max(n_speakers, 3)


def test_no_voices_where_the_classes_are_voices_or_one_person_speaks():
    rng = np.random.default_rng(0)
    speaker, sentence = rng.integers(8, size=400), rng.integers(3, size=400)
    groups, reason = find_voices(make_embedding(speaker, sentence, loudest=0.5), speaker)
    assert groups is None
    assert "classes are voices" in reason
    one = make_embedding(np.zeros(400, int), sentence, loudest=1.5)
    assert find_voices(one, sentence).groups is None


def test_only_some_of_many_clips_are_compared_with_each_other(monkeypatch):
    compared = []
    monkeypatch.setattr("skspeech._voices.pdist", lambda X: (compared.append(len(X)), pdist(X))[1])
    rng = np.random.default_rng(0)
    speaker, y = rng.integers(8, size=20_000), rng.integers(3, size=20_000)
    groups, _ = find_voices(make_embedding(speaker, y, loudest=1.5), y)
    assert compared == [2000]
    assert adjusted_mutual_info_score(groups, speaker) > 0.95


def test_many_clips_in_turn_are_all_heard():
    """Speakers that take turns, and classes that come one after another or are rare."""
    rng = np.random.default_rng(0)
    turns = np.arange(4000) % 4
    X = np.eye(32)[turns] + 0.1 * rng.normal(size=(4000, 32))
    for y in (np.arange(4000) // 2000, np.arange(4000) // 2):
        groups, _ = find_voices(X, y)
        assert adjusted_mutual_info_score(groups, turns) > 0.99
    assert find_voices(X, turns).groups is None


@pytest.mark.parametrize("n_voices", [2, 3, 8])
def test_copies_of_a_few_clips(n_voices):
    groups, reason = find_voices(
        np.eye(16)[np.arange(80) % 4], np.arange(80) // 4 % 2, n_voices=n_voices
    )
    assert reason or len(np.unique(groups)) > 1


@pytest.mark.parametrize("n_clips", [20, 28, 30, 32, 40, 100])
@pytest.mark.parametrize("seed", range(5))
def test_noise_has_some_groups_or_a_reason(n_clips, seed):
    X = np.random.default_rng(seed).normal(size=(n_clips, 8))
    groups, reason = find_voices(X, np.arange(n_clips) % 3)
    assert (groups is None) == bool(reason)
    if groups is not None:
        assert np.unique(groups).tolist() == list(range(groups.max() + 1))
        assert 2 <= groups.max() + 1 <= min(8, n_clips // 10)


@pytest.mark.parametrize("X", [np.ones((6, 4)), np.ones((60, 4)), np.full((60, 4), np.nan)])
def test_no_voices_where_nothing_can_be_told(X):
    groups, reason = find_voices(X, np.arange(len(X)) % 2)
    assert groups is None
    assert reason


def test_more_features_and_other_labels_change_nothing():
    rng = np.random.default_rng(0)
    speaker, y = rng.integers(4, size=100), rng.integers(2, size=100)
    X = make_embedding(speaker, y, loudest=1.0)
    groups = find_voices(X, y, n_voices=4).groups
    wide = np.hstack([3 * X, np.zeros((100, 5))])
    again = find_voices(wide, np.array(["no", "yes"])[y], n_voices=4).groups
    assert adjusted_mutual_info_score(groups, again) == pytest.approx(1)


@pytest.mark.data
def test_voices_of_real_clips(data_home):
    embed = SpeakerEmbedding(layers="embedding")
    emotions = datasets.fetch_emodb(task="emotion", data_home=data_home)
    some = np.arange(0, len(emotions.data), 2)
    X = embed.fit_transform([emotions.data[i] for i in some])
    speakers = np.asarray(emotions.groups)[some]
    groups = find_voices(X, emotions.target[some]).groups
    assert adjusted_mutual_info_score(groups, speakers) > 0.7
    assert find_voices(X, speakers).groups is None
    digits = datasets.fetch_fsdd(task="digit", data_home=data_home)
    X = embed.transform(digits.data)
    agreements = []
    for first in range(4):  # which quarter agrees best depends on the processor's arithmetic
        speakers = np.asarray(digits.groups)[first::4]
        groups = find_voices(X[first::4], digits.target[first::4]).groups
        assert len(np.unique(groups)) - len(np.unique(speakers)) in (0, 1)
        agreements.append(adjusted_mutual_info_score(groups, speakers))
    assert np.mean(agreements) > 0.9


def test_a_warning_is_due_where_held_out_voices_are_much_worse():
    y, voices = np.arange(200) % 2, np.arange(200) // 25
    rng = np.random.default_rng(0)

    def said(skill):
        right = np.where(rng.random(200) < skill, y, 1 - y)
        return np.eye(2)[right] * 0.8 + 0.1

    message = warn_of_voices(said(0.98), said(0.6), y, voices, score=ACCURACY)
    assert "0.9" in message
    assert "give groups=" in message
    assert warn_of_voices(said(0.98), said(0.96), y, voices, score=ACCURACY) is None
    # All voices are hard, the held-out ones a little more so.
    assert warn_of_voices(said(0.6), said(0.55), y, voices, score=ACCURACY) is None


def test_one_bad_voice_of_four_is_no_reason_to_warn():
    y, voices = np.arange(80) % 2, np.arange(80) // 20
    right = np.eye(2)[y] * 0.8 + 0.1
    one_bad = np.where((voices == 0)[:, None], right[:, ::-1], right)
    assert warn_of_voices(right, one_bad, y, voices, score=ACCURACY) is None


def test_rows_that_either_lacks_say_nothing():
    y, voices = np.arange(80) % 2, np.arange(80) // 20
    right = np.eye(2)[y] * 0.8 + 0.1
    wrong = right[:, ::-1].copy()
    wrong[y == 0] = right[y == 0]
    wrong[y == 1] = np.nan
    assert warn_of_voices(right, wrong, y, voices, score=ACCURACY) is None
    assert warn_of_voices(right, np.full_like(right, np.nan), y, voices, score=ACCURACY) is None
