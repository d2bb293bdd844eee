"""What is told of labelled clips before a model is trained on them."""

import time

import numpy as np
import pytest

from skspeech.audio.clips import Clip
from skspeech.audit import audit

GOOD = {"problem": "", "key": "", "peak": 0.0, "level": -9.0, "clipped": 0.0, "duration": 1.0}


def _kinds(findings):
    return [finding.kind for finding in findings]


def _of_kind(kind, findings):
    (found,) = [finding for finding in findings if finding.kind == kind]
    return found


def _labels(**counts):
    return np.repeat(list(counts), list(counts.values()))


@pytest.fixture
def clips(tones):
    return list(tones[0][:20])


def test_nothing_to_say(clips):
    y = _labels(low=10, high=10)
    assert audit(clips, y, np.arange(20) % 5) == []


def test_few_clips_and_uneven_classes():
    findings = audit(None, _labels(a=4, b=30, c=5, d=1))
    assert _kinds(findings) == ["few-clips", "uneven"]
    few, uneven = findings
    assert few.message.startswith("2 classes have fewer than 5 clips: 'a' (4), 'd' (1).")
    assert few.clips == [0, 1, 2, 3, 39]
    assert "very uneven, such as 'b' (30), 'd' (1)." in uneven.message
    assert _kinds(audit(None, _labels(a=5, b=24))) == []
    assert _kinds(audit(None, _labels(a=5, b=25))) == ["uneven"]
    assert _kinds(audit(None, np.repeat([3, 4], [2, 6]))) == ["few-clips"]


@pytest.mark.parametrize(
    ("one", "other", "how"),
    [
        ("hapy", "happy", "by one letter"),
        ("happy", "happt", "by one letter"),
        ("happy", "hpapy", "by one letter"),
        ("so happy", "so hapy", "by one letter"),
        ("glücklich", "glucklich", "by one letter"),
        ("Happy", "happy", "only in capitals"),
        ("happy", "happy ", "only in capitals, spaces"),
        ("very_happy", "Very-Happy", "only in capitals, spaces or hyphens"),
        ("Room_1", "room 1", "only in capitals, spaces or hyphens"),
        ("f\u00fcr", "fu\u0308r", "only in"),  # as two systems write the same name
        # What is not the same in two ways, and what differs by more than a slip.
        ("go", "no", None),
        ("1", "2", None),
        ("-1", "1", None),
        ("speaker 1", "speaker 2", None),
        ("speaker 1", "speaker 11", None),
        ("take 1a", "take 1b", None),
        ("C", "C++", None),
        ("room 1-12", "room 11-2", None),
        ("male", "female", None),
        ("happy", "unhappy", None),
        ("abcd", "abdce", None),
    ],
)
def test_names_that_may_be_the_same(one, other, how):
    y = np.array([one] * 5 + [other] * 6)
    for labels in (y, y.astype(object), y[::-1]):
        findings = [f for f in audit(None, labels) if f.kind == "similar-names"]
        if how is None:
            assert findings == []
        else:
            assert how in findings[0].message
            assert f"{one!r} (5)" in findings[0].message
            assert findings[0].clips == list(range(11))


def test_names_of_groups_that_may_be_the_same():
    y = [*_labels(low=4, high=4).tolist(), "low", "high"]
    groups = ["Anna", "ben"] * 4 + ["anna", "benn"]
    for last in ("benn", 3):  # of several types, too
        groups = np.array([*groups[:-1], last], dtype=object)
        found = _of_kind("similar-names", audit(None, y, groups))
        assert "The names of the groups 'Anna' and 'anna' differ only in capitals" in found.message
    assert found.clips == [0, 2, 4, 6, 8]


def test_groups_of_one_class():
    y = _labels(calm=10, angry=10)
    one_each = np.arange(20) // 5
    found = _of_kind("one-class-groups", audit(None, y, one_each))
    assert found.message.startswith("Each of the 4 groups has clips of one class only")
    mixed = one_each.copy()
    mixed[0] = 3
    assert audit(None, y, mixed) == []
    assert audit(None, y, np.arange(20)) == []  # a group of one clip can have no other class
    assert audit(None, y) == []


def test_no_groups(clips):
    y = _labels(low=10, high=10)
    assert _kinds(audit(clips, y)) == ["no-groups"]
    assert _kinds(audit(clips, y, np.arange(20) % 5)) == []


def test_the_same_sound_twice_and_under_two_labels(clips, write):
    paths = [write(f"{i}.wav", clip) for i, clip in enumerate(clips)]
    paths[3] = write("again.wav", clips[0])
    paths[12] = write("wrong.wav", clips[5])
    y = _labels(low=10, high=10)
    for X in (
        paths,
        [clips[0] if i == 3 else clips[5] if i == 12 else t for i, t in enumerate(clips)],
    ):
        wrong, twice = audit(X, y, np.arange(20) % 5, max_seconds=60)
        assert (wrong.kind, twice.kind) == ("contradiction", "copies")
        assert sorted(wrong.clips) == [5, 12]
        assert sorted(twice.clips) == [0, 3]
    wrong, _ = audit(paths, y, np.arange(20) % 5, max_seconds=60)
    assert f"'{paths[5]} (low)', '{paths[12]} (high)'" in wrong.message


def test_silent_clipped_short_and_unreadable_clips(clips, tmp_path):
    clips[8] = clips[8][:800]
    clips[2] = 1e-4 * clips[2]
    clips[4] = np.clip(20 * clips[4], -1, 1)
    bad = tmp_path / "bad.wav"
    bad.write_text("no sound")
    clips[6] = str(bad)
    findings = audit(clips, _labels(low=10, high=10), np.arange(20) % 5, max_seconds=60)
    assert _kinds(findings) == ["unreadable", "silent", "clipped", "short"]
    assert [f.clips for f in findings] == [[6], [2], [4], [8]]
    assert (
        findings[0].message
        == f"1 clip can't be read: {str(bad)!r}. Repair or remove what can't be read."
    )
    assert findings[1].message.startswith("1 clip is silent: 'clip 2'.")


@pytest.mark.parametrize("seconds", [61, 200])
def test_a_clip_is_silent_if_all_of_it_is(seconds, write):
    silence, loud = np.zeros((2, seconds * 1000), dtype=np.float32)
    loud[-900:] = 0.1
    paths = [write("silence.wav", silence, 1000), write("loud.wav", loud, 1000)]
    memory = [(waveform, 1000) for waveform in (silence, loud)]
    for clips in (paths, memory):
        found = _of_kind("silent", audit(clips, ["a", "a"], max_seconds=60))
        assert found.clips == [0]


def test_of_many_clips_some_are_listened_to_and_that_is_said(clips):
    silent = [np.zeros(8000 + i) for i in range(20)]  # of different lengths: no copies
    limits = {"max_listened": 8, "max_seconds": 60}
    (found,) = audit(silent, _labels(low=10, high=10), np.arange(20) % 5, **limits)
    assert len(found.clips) == 8
    assert found.clips != list(range(8))  # not only those of the first class
    assert found.message.startswith("8 of the 8 clips that were listened to are silent")


def test_it_does_not_wait_for_the_end_of_a_long_silence(write, monkeypatch):
    path, n_read, blocks = write("hours.wav", np.zeros(3_000_000), 1000), [], Clip.blocks

    def slow(clip, *args):
        for block in blocks(clip, *args):
            n_read.append(len(block))
            time.sleep(0.1)
            yield block

    monkeypatch.setattr(Clip, "blocks", slow)
    assert "silent" not in _kinds(audit([path], ["a"], max_seconds=0.2))
    assert sum(n_read) < 3_000_000


def test_it_ends_when_its_time_is_up(clips, monkeypatch):
    listened, load = [], Clip.load

    def slow(clip, *args, **options):
        listened.append(clip)
        time.sleep(0.3)
        return load(clip, *args, **options)

    monkeypatch.setattr(Clip, "load", slow)
    audit(clips, _labels(low=10, high=10), max_seconds=0.4, n_jobs=1)
    assert len(listened) == 1


def test_files_of_different_size_are_not_read(clips, write, monkeypatch):
    from skspeech.audio.files import FileKeys

    def read(*_):
        raise AssertionError("read")

    monkeypatch.setattr(FileKeys, "get", read)
    paths = [write(f"{i}.wav", np.tile(clips[i], i + 1)) for i in range(20)]
    # To listen to a clip reads it, too; only the search for copies is asked here.
    monkeypatch.setattr("skspeech._clip_checks.measure", lambda *_: GOOD)
    assert audit(paths, _labels(low=10, high=10), np.arange(20) % 5) == []


@pytest.mark.parametrize(
    ("X", "y", "groups"),
    [([np.zeros(9)], ["a", "b"], None), (None, ["a", None], None), (None, ["a", "b"], ["x"])],
)
def test_what_does_not_fit_is_refused(X, y, groups):
    with pytest.raises(ValueError, match=r"inconsistent|missing"):
        audit(X, y, groups)


@pytest.mark.parametrize(
    ("y", "options", "message"),
    [
        (["a", "b"], {"max_listened": -1}, "'max_listened' parameter of audit must be an int"),
        (["a", "b"], {"max_listened": 1.5}, "'max_listened' parameter of audit must be an int"),
        (["a", "b"], {"max_seconds": None}, "'max_seconds' parameter of audit must be a float"),
        (["a", "b"], {"max_seconds": -1}, "'max_seconds' parameter of audit must be a float"),
        (["a", "b"], {"n_jobs": 0}, "n_jobs=0 has no meaning"),
        (["a", "b"], {"n_jobs": 1.5}, "'n_jobs' parameter of audit must be"),
        ([], {}, "y is empty"),
        (np.array(["a", 1], dtype=object), {}, "y mixes labels"),
    ],
)
def test_a_limit_without_meaning_is_refused(y, options, message):
    with pytest.raises(ValueError, match=message):
        audit([np.zeros(900)] * len(y) or None, y, **options)
