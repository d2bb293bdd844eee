"""Timelines: what is heard when, in recordings and in sound as it comes."""

import csv
import io
import itertools
import re
import tracemalloc
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import soundfile
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV
from sklearn.naive_bayes import GaussianNB
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import LinearSVC
from sounds import labelled_tones

import skspeech
from skspeech import (
    AugmentedClassifier,
    GeometricMeanVotingClassifier,
    SpeakerEmbeddingClassifier,
    SpectralStatistics,
    TimeBudgetClassifier,
    timeline,
)
from skspeech.audio import AudioError
from skspeech.cache import memory_store
from skspeech.datasets import make_tones
from skspeech.timelines import FORMATS, Segment, export, iter_timeline
from skspeech.timelines.listening import Cell, Listener
from skspeech.timelines.segments import join
from skspeech.timelines.smoothing import median, viterbi

NAMES = np.array(["high", "low", "middle"])


@pytest.fixture(scope="module")
def sixty_tones():
    return labelled_tones(60, NAMES, duration=0.5)


@pytest.fixture(scope="module")
def model(sixty_tones):
    return make_pipeline(SpectralStatistics(memory=False), GaussianNB()).fit(*sixty_tones)


@pytest.fixture(scope="module")
def recording():
    """A waveform of stretches of one tone, and where they are: rows of start, end, label."""
    bunch = make_tones(9, n_classes=3, duration=4.0, random_state=1)
    rng = np.random.default_rng(1)
    parts, stretches, position = [], [], 0.0
    for code in (0, 1, 2, 1, 2, 0, 2):
        seconds = rng.integers(3, 9) / 2
        whole = bunch.data[rng.choice(np.flatnonzero(bunch.target == code))]
        parts.append(whole[: round(seconds * 16_000)])
        stretches.append((position, position + seconds, str(NAMES[code])))
        position += seconds
    return np.concatenate(parts), stretches


class Levels(ClassifierMixin, BaseEstimator):
    """Knows a window by the mean of what is not silence; counts what it is asked."""

    def __init__(self, n_classes=3):
        self.n_classes = n_classes

    def fit(self, X=None, y=None):
        self.classes_ = np.arange(self.n_classes)
        self.sizes_, self.lengths_ = [], set()
        return self

    def predict_proba(self, X):
        self.sizes_.append(len(X))
        self.lengths_ |= {len(x) for x in X}
        means = np.array([10 * x[x != 0].mean() if x.any() else 0.0 for x in X])
        proba = np.exp(-3 * np.abs(means[:, None] - self.classes_))
        return proba / proba.sum(axis=1, keepdims=True)

    def predict(self, X):
        return self.predict_proba(X).argmax(axis=1)


def steps(*pairs, rate=16_000):
    """Sound of constant levels: pairs of a level and its seconds."""
    return np.concatenate([np.full(round(s * rate), level / 10, "f4") for level, s in pairs])


def frames(segments, duration, hop=0.01):
    said = np.full(round(duration / hop), "", dtype=object)
    for start, end, label in segments:
        said[round(start / hop) : round(end / hop)] = label
    return said


# -- Recordings ------------------------------------------------------------------------------------


def test_known_stretches_are_found(model, recording):
    waveform, stretches = recording
    found = timeline(model, waveform, window=0.5, speech_only=False)
    assert list(found.columns) == ["start", "end", "label", "probability"]
    assert found["label"].tolist() == [label for _, _, label in stretches]
    borders = [end for _, end, _ in stretches[:-1]]
    errors = np.abs(found["end"].to_numpy()[:-1] - borders)
    assert errors.max() <= (0.5 + 0.25) / 2
    duration = len(waveform) / 16_000
    rows = found[["start", "end", "label"]].itertuples(index=False)
    assert np.mean(frames(rows, duration) == frames(stretches, duration)) > 0.95
    assert found["start"].iloc[0] == 0
    assert found["end"].iloc[-1] == pytest.approx(duration)
    assert found["probability"].between(0.5, 1).all()
    assert found.attrs == {"recording": "clip 0", "duration": duration, "window": 0.5, "hop": 0.25}


@pytest.mark.parametrize("smoothing", ["viterbi", "median"])
def test_a_moment_does_not_change_the_label(smoothing):
    sound = steps((1, 3), (2, 0.2), (1, 3), (0, 3))
    model = Levels().fit()
    options = {"window": 0.2, "hop": 0.1, "speech_only": False}
    raw = timeline(model, sound, smoothing=None, **options)
    smooth = timeline(model, sound, smoothing=smoothing, **options)
    assert len(raw) > 2
    assert smooth["label"].tolist() == [1, 0]
    assert smooth["end"].tolist() == pytest.approx([6.2, 9.2], abs=0.2)


def test_a_higher_cost_gives_fewer_segments():
    rng = np.random.default_rng(0)
    sound = steps(*((level, 0.5) for level in rng.integers(0, 3, 40)))
    counts = [
        len(timeline(Levels().fit(), sound, window=0.5, speech_only=False, switching_cost=cost))
        for cost in (0, 2, 8, 1000)
    ]
    assert counts == sorted(counts, reverse=True)
    assert counts[0] > counts[2]
    assert counts[-1] == 1


@pytest.mark.parametrize("seconds", [0.001, 0.3, 1.0, 1.01, 1.249, 1.25, 1.251, 5.1])
@pytest.mark.parametrize("hop", [0.25, 0.3, 1.0])
def test_all_of_any_length_is_covered(seconds, hop):
    model = Levels().fit()
    found = timeline(model, steps((1, seconds)), window=1.0, hop=hop, speech_only=False)
    assert found["label"].tolist() == [1]
    assert found["start"].tolist() == [0]
    assert found["end"].tolist() == [pytest.approx(found.attrs["duration"])]
    assert found.attrs["duration"] == pytest.approx(seconds, abs=1e-4)


def test_each_window_is_asked_about_once_and_many_together():
    model = Levels().fit()
    timeline(model, steps((1, 600)), window=1.0, hop=0.5, speech_only=False)
    assert sum(model.sizes_) == 1199
    assert len(model.sizes_) < 10
    assert model.lengths_ == {16_000}
    fine = Levels().fit()  # as many windows as would not go into memory together
    timeline(fine, steps((1, 5)), window=3.0, hop=0.01, speech_only=False)
    assert (sum(fine.sizes_), max(fine.sizes_)) == (201, 80)


def test_borders_do_not_drift():
    sound = steps(*((1 + i % 2, 10) for i in range(60)))
    found = timeline(Levels().fit(), sound, window=1.0, hop=0.3, speech_only=False)
    assert len(found) == 60
    assert np.abs(found["end"] - 10 * np.arange(1, 61)).max() <= 0.65


def test_memory_does_not_grow_with_the_recording(write):
    peaks = []
    for minutes in (4, 20):
        path = write("long.wav", np.zeros(minutes * 60 * 8000, dtype=np.int16), 8000)
        model = Levels().fit()
        timeline(model, path, window=2.0, speech_only=False)  # what is imported is not counted
        tracemalloc.start()
        timeline(model, path, window=2.0, speech_only=False)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] < 1.2 * peaks[0]
    assert peaks[1] < 20 * 60 * 16_000 * 4 / 2


def test_windows_are_not_remembered(sixty_tones, recording):
    model = make_pipeline(SpectralStatistics(), GaussianNB()).fit(*sixty_tones)
    before = set(memory_store()._values)
    assert len(before) >= len(sixty_tones[0])
    timeline(model, recording[0], window=0.5, speech_only=False)
    assert set(memory_store()._values) == before


@pytest.mark.parametrize("rate", [8000, 44_100])
def test_files_of_any_rate(write, rate):
    t = np.arange(4 * rate) / rate
    sound = np.where(t < 2, 0.1, 0.2).astype("f4")
    path = write("two.wav", sound, rate)
    found = timeline(Levels().fit(), path, window=0.5, speech_only=False)
    assert found["label"].tolist() == [1, 2]
    assert found["end"].tolist() == pytest.approx([2, 4], abs=0.2)
    assert found.attrs["recording"] == path


def test_any_fitted_classifier_does(sixty_tones, recording, tmp_path):
    waveform, stretches = recording
    search = GridSearchCV(
        make_pipeline(SpectralStatistics(), StandardScaler(), LogisticRegression()),
        {"logisticregression__C": [1, 9]},
    )
    path = skspeech.save(search.fit(*sixty_tones).best_estimator_, tmp_path / "model.skspeech")
    without_proba = make_pipeline(SpectralStatistics(), StandardScaler(), LinearSVC())
    for fitted in (search, skspeech.load(path), without_proba.fit(*sixty_tones)):
        found = timeline(fitted, waveform, window=0.5, speech_only=False)
        assert found["label"].tolist() == [label for _, _, label in stretches]


def test_the_window_is_as_long_as_training_clips_where_that_is_known(sixty_tones, recording):
    candidates = [("bayes", make_pipeline(SpectralStatistics(), GaussianNB()))]
    model = TimeBudgetClassifier(candidates, time_budget=10, random_state=0).fit(*sixty_tones)
    assert model.clip_duration_ == 0.5
    assert timeline(model, recording[0], speech_only=False).attrs["window"] == 0.5
    assert timeline(model, recording[0], window=1, speech_only=False).attrs["window"] == 1
    tones, labels = sixty_tones
    speeds = AugmentedClassifier(candidates[0][1], speeds=(0.9, 1.1)).fit(tones, labels)
    embedding = SpeakerEmbeddingClassifier(extractor=SpectralStatistics()).fit(tones, labels)
    for knows in (speeds, embedding, GeometricMeanVotingClassifier.from_fitted([("a", speeds)])):
        assert timeline(knows, recording[0], speech_only=False).attrs["window"] == 0.5
    pipeline = candidates[0][1].fit(*sixty_tones)
    assert timeline(pipeline, recording[0], speech_only=False).attrs["window"] == 3


def test_of_a_table_there_is_no_duration():
    X = np.random.default_rng(0).normal(size=(20, 3))
    model = TimeBudgetClassifier([("bayes", GaussianNB())], time_budget=5)
    assert np.isnan(model.fit(X, np.arange(20) % 2).clip_duration_)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"window": 0}, "window"),
        ({"window": "long"}, "window"),
        ({"window": 1, "hop": 1.5}, r"hop=1.5 s is not accepted.*window \(1 s\)"),
        ({"window": 1, "hop": 1e-9}, "hop=1e-09 s is not accepted: it has to be 0.01 s at least"),
        ({"window": 1, "hop": 0.009}, "0.01 s at least"),
        ({"window": 0.01}, "hop=0.005 s is not accepted.* 0.01 s at least"),
        ({"smoothing": "mean"}, "smoothing"),
        ({"switching_cost": -1}, "switching_cost"),
        ({"max_pause": -1}, "max_pause"),
    ],
)
def test_bad_parameters(options, message):
    with pytest.raises(ValueError, match=message):
        timeline(Levels().fit(), steps((1, 2)), speech_only=False, **options)


def test_a_model_that_is_not_fitted_is_named():
    with pytest.raises(ValueError, match=r"model is a Levels that is not fitted"):
        timeline(Levels(), steps((1, 2)))


def test_what_a_model_says_has_to_be_probabilities():
    class Lost(Levels):
        def predict_proba(self, X):
            return super().predict_proba(X) * np.nan

    with pytest.raises(ValueError, match="predict_proba of the model holds values that are no"):
        timeline(Lost().fit(), steps((1, 2)), speech_only=False)


def test_what_cannot_be_read_is_named(tmp_path, write):
    with pytest.raises(AudioError, match=r"nowhere.wav: no such file"):
        timeline(Levels().fit(), tmp_path / "nowhere.wav", speech_only=False)
    text = tmp_path / "text.wav"
    text.write_text("no sound at all")
    with pytest.raises(AudioError, match="is not audio but text"):
        timeline(Levels().fit(), text, speech_only=False)


def test_of_a_damaged_recording_the_good_part_can_be_had(write):
    path = Path(write("a.flac", np.random.default_rng(0).normal(0, 0.1, 160_000)))
    path.write_bytes(path.read_bytes()[:150_000])
    options = {"window": 1, "speech_only": False}
    with pytest.raises(AudioError, match="is damaged or cut off after"):
        timeline(Levels().fit(), path, **options)
    with pytest.warns(UserWarning, match="The part before that is used"):
        found = timeline(Levels().fit(), path, errors="warn", **options)
    assert 1 < found["end"].iloc[-1] < 9


# -- Silence ---------------------------------------------------------------------------------------


class EverySecond:
    """Stands in for the network: speech is what is not zero."""

    frame_length = 512

    def __init__(self, **options):
        self.left = np.empty(0, "f4")

    def __call__(self, samples):
        samples = np.concatenate([self.left, samples])
        n = len(samples) // 512
        self.left = samples[n * 512 :]
        return (np.abs(samples[: n * 512].reshape(n, 512)).max(axis=1) > 0).astype("f4")


@pytest.fixture
def listens(monkeypatch):
    monkeypatch.setattr("skspeech.transformers.vad.SpeechFollower", EverySecond)


def test_silence_is_left_out_and_not_asked_about(listens):
    sound = steps((1, 4), (0, 10), (2, 4), (0, 0.2), (2, 4))
    model = Levels().fit()
    found = timeline(model, sound, window=1.0)
    assert found["label"].tolist() == [1, 2]
    assert found["start"].tolist() == pytest.approx([0, 14], abs=0.3)
    assert found["end"].tolist() == pytest.approx([4, 22.2], abs=0.3)
    assert sum(model.sizes_) < 70  # of 85
    assert len(timeline(model, steps((0, 5)), window=1.0, speech_only=True)) == 0


@pytest.mark.parametrize("smoothing", ["viterbi", None])
def test_what_no_window_was_classified_for_has_no_label(listens, smoothing):
    model = Levels().fit()
    options = {"window": 10.0, "hop": 1.0, "speech_only": True, "smoothing": smoothing}
    assert len(timeline(model, steps((0, 10), (2, 0.5), (0, 10)), **options)) == 0
    assert not model.sizes_


def test_a_pause_is_bridged_as_far_as_wanted(listens):
    sound = steps((2, 4), (0, 2), (2, 4))
    counts = [
        len(timeline(Levels().fit(), sound, window=0.5, max_pause=pause)) for pause in (0, 1, 3)
    ]
    assert counts == [2, 2, 1]


def test_little_speech_is_worth_a_remark(listens):
    sound = steps((0, 100), (1, 1))
    with pytest.warns(UserWarning, match=r"Only 1% of clip 0 is taken for speech.*speech_only"):
        timeline(Levels().fit(), sound, window=0.5)
    timeline(Levels().fit(), sound, window=0.5, speech_only=True)  # as was said


def test_without_the_network_silence_gets_labels_and_a_warning_says_why(monkeypatch, no_networks):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    sound = steps((1, 2), (0, 2))
    with pytest.warns(UserWarning, match=r"Silence gets labels, too: .*pip install '.\[vad\]'"):
        found = timeline(Levels().fit(), sound, window=0.5)
    assert found["label"].tolist() == [1, 0]
    with pytest.raises(ImportError, match=r"pip install '.\[vad\]'"):
        timeline(Levels().fit(), sound, window=0.5, speech_only=True)


# -- As it comes -----------------------------------------------------------------------------------


def cut(sound, sizes):
    """Blocks of these sizes, again and again."""
    position = 0
    for size in itertools.cycle(sizes):
        if position >= len(sound):
            return
        yield sound[position : position + size]
        position += size


@pytest.mark.parametrize("smoothing", ["viterbi", "median", None])
@pytest.mark.parametrize("silence", [False, True])
def test_answers_are_equal_however_blocks_are_cut(listens, smoothing, silence):
    rng = np.random.default_rng(0)
    sound = steps(*((level, rng.uniform(0.1, 1)) for level in rng.integers(0, 3, 20)))
    options = {"window": 0.4, "hop": 0.13, "smoothing": smoothing, "speech_only": silence}
    answers = [
        list(iter_timeline(Levels().fit(), cut(sound, sizes), **options))
        for sizes in ([len(sound)], [160], [1, 7000, 0, 513, 90_000], [2080])
    ]
    for answer in answers[1:]:
        assert [s[:3] for s in answer] == [s[:3] for s in answers[0]]
        np.testing.assert_allclose([s[3] for s in answer], [s[3] for s in answers[0]])


@pytest.mark.parametrize("smoothing", ["viterbi", "median", None])
@pytest.mark.parametrize("silence", [False, True])
@pytest.mark.parametrize(("rate", "extra"), [(16_000, 0), (44_100, 0.1), (8000, 0.1)])
def test_a_moment_is_decided_after_a_window_and_the_lag(listens, smoothing, silence, rate, extra):
    sound = steps(*((i % 3, 1.1) for i in range(6)), rate=rate)
    heard = 0

    def microphone():
        nonlocal heard
        for block in cut(sound, [100]):
            heard += len(block)
            yield block

    options = {"window": 0.5, "hop": 0.2, "lag": 0.7, "speech_only": silence}
    moments, latest = 0, 0
    for moment in iter_timeline(
        Levels().fit(), microphone(), sampling_rate=rate, smoothing=smoothing, **options
    ):
        waited = heard / rate - moment.start
        latest = max(latest, waited)
        assert waited <= 0.5 + 0.7 + extra + 100 / rate
        moments += 1
    assert moments in (33, 34)  # a resampler may add a sample
    assert latest > (0.45 if smoothing is None else 0.9)


def test_with_a_long_lag_it_is_the_timeline(model, recording):
    waveform, _ = recording
    options = {"window": 0.5, "speech_only": False}
    moments = list(iter_timeline(model, cut(waveform, [1000]), lag=1000, **options))
    whole = timeline(model, waveform, **options)
    joined = pd.DataFrame(join(moments, 0.5))
    pd.testing.assert_frame_equal(joined, whole, check_exact=False, rtol=1e-3)


def test_the_usual_lag_decides_nearly_the_same(model, recording):
    waveform, stretches = recording
    moments = list(
        iter_timeline(
            model, cut(waveform, [1600]), window=0.5, smoothing="viterbi", speech_only=False
        )
    )
    duration = len(waveform) / 16_000
    said = frames([m[:3] for m in moments], duration)
    assert np.mean(said == frames(stretches, duration)) > 0.9


def test_silence_has_no_label(listens):
    moments = list(
        iter_timeline(Levels().fit(), [steps((1, 2), (0, 2))], window=0.5, speech_only=True)
    )
    assert moments[0][:3] == (0.0, 0.25, 1)
    assert moments[-1].label is None
    assert np.isnan(moments[-1].probability)


def test_blocks_of_a_sound_card():
    """Integers of 16 bits, two channels."""
    sound = (steps((1, 2), (2, 2))[:, None] * [32768, 32768]).astype("i2")
    moments = iter_timeline(Levels().fit(), cut(sound, [512]), window=0.5, speech_only=False)
    assert [s.label for s in join(moments, 0)] == [1, 2]


@pytest.mark.parametrize(
    ("block", "message"),
    [
        (np.zeros((2, 2, 2)), r"A block of shape \(2, 2, 2\) and type float64 is no sound"),
        (np.array(["a"]), "is no sound"),
        (np.zeros((2, 1600)), r"\(2, 1600\) has more channels than samples.*block\.T"),
        (np.array([np.nan]), "not finite"),
    ],
)
def test_blocks_that_are_no_sound(block, message):
    with pytest.raises(ValueError, match=message):
        list(iter_timeline(Levels().fit(), [block], window=0.5, speech_only=False))


def test_an_endless_sound_takes_no_memory():
    listener = Listener(Levels().fit(), 8000, 2000, EverySecond(), 1)
    cells = viterbi(listener(itertools.repeat(steps((1, 0.1)))), 2.0, 4)
    for _ in range(2000):
        next(cells)
    assert len(listener._sound) + sum(map(len, listener._blocks)) < 20_000
    assert len(listener._is_speech) < 100
    assert len(listener._sums) < 10


# -- Smoothing -------------------------------------------------------------------------------------


def _cells(evidence):
    evidence = np.log(np.asarray(evidence, dtype=float))
    return [Cell(i, i + 1, row, np.exp(row), False) for i, row in enumerate(evidence)]


def _slow_viterbi(evidence, cost):
    n, n_classes = evidence.shape
    paths = itertools.product(range(n_classes), repeat=n)

    def value(path):
        changes = sum(a != b for a, b in itertools.pairwise(path))
        return sum(evidence[i, c] for i, c in enumerate(path)) - cost * changes

    return max(paths, key=value)


@pytest.mark.parametrize("cost", [0.0, 0.5, 2.0])
def test_viterbi_finds_the_best_of_all_paths(cost):
    rng = np.random.default_rng(0)
    for _ in range(5):
        proba = rng.dirichlet(np.ones(3), size=7)
        expected = _slow_viterbi(np.log(proba), cost)
        for lag in (None, 6, 100):
            assert tuple(code for _, code in viterbi(_cells(proba), cost, lag)) == expected


def test_viterbi_with_a_lag_keeps_to_what_it_decided():
    rng = np.random.default_rng(0)
    cells = _cells(rng.dirichlet(np.ones(4), size=200))
    for lag in (0, 1, 3):
        found = list(viterbi(iter(cells), 1.0, lag))
        assert [cell for cell, _ in found] == cells
    assert list(viterbi([], 1.0)) == []


def test_median_is_that_of_the_cells_around():
    proba = np.random.default_rng(0).dirichlet(np.ones(3), size=9)
    for n_around in (0, 1, 2, 20):
        codes = [code for _, code in median(_cells(proba), n_around)]
        expected = [
            int(np.median(proba[max(0, i - n_around) : i + n_around + 1], axis=0).argmax())
            for i in range(9)
        ]
        assert codes == expected


def test_joining_weighs_probabilities_by_time():
    cells = [Segment(0, 1, "a", 0.9), Segment(1, 4, "a", 0.5), Segment(4, 5, None, np.nan)]
    assert join(cells, 0) == [Segment(0, 4, "a", pytest.approx(0.6))]


def test_the_code_in_the_guide_runs(model, recording, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("skspeech.transformers.vad.SpeechFollower", EverySecond)
    waveform, stretches = recording
    skspeech.save(model, "model.skspeech")
    soundfile.write("talk.wav", waveform, 16_000)
    (waveform * 2**15).astype("<i2").tofile("talk.raw")
    namespace = {}
    page = (Path(__file__).parents[1] / "docs" / "guide" / "timelines.md").read_text()
    for block in re.findall(r"```python\n(.*?)```", page, re.DOTALL):
        exec(block, namespace)
    assert {label for _, _, label in stretches} >= set(namespace["found"]["label"])
    assert namespace["text"].startswith("SPEAKER talk 1 ")
    assert {path.name for path in tmp_path.iterdir()} >= {
        "talk.html",
        "talk.TextGrid",
        "labels.txt",
    }
    moments = re.findall(r"^(\d+\.\d\d) s: (\w+)$", capsys.readouterr().out, re.MULTILINE)
    assert len(moments) == pytest.approx(len(waveform) / 16_000 / 0.5, abs=1)


# -- Formats ---------------------------------------------------------------------------------------

AWKWARD = ["plain", "two words", 'say "ah"', "a<b & c>d", "ümlaut, and; comma", "line\nbreak", 3]


@pytest.fixture
def segments():
    n = len(AWKWARD)
    starts = 1.5 * np.arange(n) + 3599.0
    table = pd.DataFrame(
        {
            "start": starts,
            "end": starts + 1.2,
            "label": AWKWARD,
            "probability": 0.5 + np.arange(n) / 20,
        }
    )
    table.attrs = {"recording": "a folder/my talk.wav", "duration": 3620.25}
    return table


def one_line(label):
    return str(label).replace("\n", " ")


def test_audacity(segments):
    rows = [line.split("\t") for line in export(segments, format="audacity").splitlines()]
    assert [float(row[0]) for row in rows] == pytest.approx(segments["start"])
    assert [float(row[1]) for row in rows] == pytest.approx(segments["end"])
    assert [row[2] for row in rows] == [one_line(label) for label in AWKWARD]


def test_csv(segments):
    text = export(segments, format="csv")
    rows = list(csv.DictReader(io.StringIO(text, newline="")))
    assert [row["label"] for row in rows] == [str(label) for label in AWKWARD]
    again = pd.read_csv(io.StringIO(text))
    pd.testing.assert_frame_equal(
        again.drop(columns="label"), segments.drop(columns="label"), check_exact=False, atol=1e-3
    )


def test_rttm(segments):
    rows = [line.split(" ") for line in export(segments, format="rttm").splitlines()]
    assert {len(row) for row in rows} == {10}
    assert {(row[0], row[1], row[2]) for row in rows} == {("SPEAKER", "my_talk", "1")}
    assert [float(row[3]) for row in rows] == pytest.approx(segments["start"])
    assert [float(row[4]) for row in rows] == pytest.approx([1.2] * len(rows))
    assert [row[7] for row in rows][:2] == ["plain", "two_words"]
    segments["label"] = "anna", *["anna b"] * (len(segments) - 2), "anna_b"
    with pytest.raises(ValueError, match="'anna b' and 'anna_b' would be one name in RTTM"):
        export(segments, format="rttm")


def test_textgrid(segments):
    text = export(segments, format="textgrid")
    assert text.startswith('File type = "ooTextFile"\nObject class = "TextGrid"\n\nxmin = 0\n')
    number = r"(\d+\.\d+|0)"
    pattern = (
        rf'intervals \[(\d+)\]:\s+xmin = {number}\s+xmax = {number}\s+text = "((?:[^"]|"")*)"\n'
    )
    found = re.findall(pattern, text)
    assert [int(f[0]) for f in found] == list(range(1, len(found) + 1))
    assert f"intervals: size = {len(found)}\n" in text
    starts, ends = [float(f[1]) for f in found], [float(f[2]) for f in found]
    assert starts[0] == 0
    assert starts[1:] == ends[:-1], "no gaps"
    assert ends[-1] == 3620.25
    assert all(a < b for a, b in zip(starts, ends, strict=True))
    labelled = [(float(f[1]), f[3].replace('""', '"')) for f in found if f[3]]
    assert [label for _, label in labelled] == [one_line(label) for label in AWKWARD]
    assert [start for start, _ in labelled] == pytest.approx(segments["start"])


def test_webvtt(segments):
    import html

    header, *cues = export(segments, format="vtt").strip().split("\n\n")
    assert header == "WEBVTT"
    assert cues[0].splitlines()[0] == "00:59:59.000 --> 01:00:00.200"
    for cue, label in zip(cues, AWKWARD, strict=True):
        times, text = cue.split("\n")
        assert re.fullmatch(r"\d\d:[0-5]\d:[0-5]\d\.\d{3} --> \d\d:[0-5]\d:[0-5]\d\.\d{3}", times)
        assert "<" not in text
        assert html.unescape(text) == one_line(label)


@pytest.mark.parametrize("label", ["a\rb", "a\r\nb", "\r", 'a\n"b"'])
def test_a_label_with_a_line_end_is_one_value_of_csv(segments, label):
    segments["label"] = [label] * len(segments)
    text = export(segments, format="csv")
    rows = list(csv.DictReader(io.StringIO(text, newline="")))
    assert [row["label"] for row in rows] == [label] * len(segments)
    assert pd.read_csv(io.StringIO(text))["label"].tolist() == [label] * len(segments)


@pytest.mark.parametrize("name", FORMATS)
@pytest.mark.parametrize("nothing", [None, np.nan])
def test_moments_without_a_label_are_left_out(segments, name, nothing):
    """As silence is in what `iter_timeline` yields."""
    moments = [Segment(*row) for row in segments.itertuples(index=False)]
    silence = Segment(moments[-1].end, moments[-1].end + 9.0, nothing, np.nan)
    table = pd.DataFrame([*moments, silence])
    table.attrs = segments.attrs
    assert export(table, format=name) == export(segments, format=name)


@pytest.mark.parametrize("name", FORMATS)
def test_files_and_empty_timelines(segments, tmp_path, name):
    file = tmp_path / f"talk{FORMATS[name].suffix}"
    text = export(segments, file)
    assert text == export(segments, format=name)
    assert file.read_bytes().decode("utf-8") == text
    assert isinstance(export(segments.iloc[:0], format=name), str)


def test_unknown_formats_are_told_which_there_are(segments):
    with pytest.raises(ValueError, match=r"There are: audacity \(.txt\), csv"):
        export(segments, "a.mp3")
    with pytest.raises(ValueError, match="textgrid"):
        export(segments)
