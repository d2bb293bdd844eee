import contextlib
import json
import os
import pickle
import subprocess
import sys
import textwrap
import threading
import time
from pathlib import Path

import numpy as np
import psutil
import pytest
from sklearn.base import BaseEstimator, ClassifierMixin, TransformerMixin
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import balanced_accuracy_score
from sklearn.pipeline import make_pipeline

from skspeech import cache
from skspeech._unpickle import load_arrays  # what hostile pickles are read with
from skspeech.challenge import (
    Model,
    load_autospeech,
    main,
    one_hot,
    run_local_test,
    save_autospeech,
)
from skspeech.datasets import make_tones
from skspeech.metrics import area_under_learning_curve
from skspeech.time_budget import TimeBudgetClassifier
from skspeech.transformers.speaker import SpeakerEmbedding

pytestmark = pytest.mark.alone

EXAMPLE = Path(__file__).parents[1] / "examples" / "autospeech"


@pytest.fixture(scope="module")
def task():
    """Three pitches: 30 clips to train on, 15 to test."""
    train = make_tones(30, n_classes=3, duration=0.25, random_state=0)
    test = make_tones(15, n_classes=3, duration=0.25, random_state=1)
    return train.data, train.target, test.data, test.target


@pytest.fixture
def dataset(task, tmp_path):
    save_autospeech(tmp_path / "tones", *task, time_budget=30)
    return tmp_path / "tones"


# ---------------------------------------------------------------------------------------------
# Unpickling


def dump(path, content, protocol=4):
    path.write_bytes(pickle.dumps(content, protocol=protocol))
    return path


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
@pytest.mark.parametrize("dtype", ["f2", "f4", ">f8", "i2", "<i4", "u1", "i8", "bool"])
def test_arrays_survive_the_restricted_unpickler(protocol, dtype, tmp_path):
    array = (np.arange(24).reshape(4, 6) % 7).astype(dtype)
    content = [array, array[:, ::2], np.asfortranarray(array), array[0, 0], array[:0]]
    arrays = load_arrays(dump(tmp_path / "a", content, protocol))
    for expected, found in zip(content, arrays, strict=True):
        assert found.dtype == expected.dtype
        np.testing.assert_array_equal(found, expected, strict=True)


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_plain_containers_survive_the_restricted_unpickler(protocol, tmp_path):
    content = {"a": [1, -2.5, None, True, 2**70], "ü": ("x", b"y\xff", b"", {1}), 3: {}}
    assert load_arrays(dump(tmp_path / "a", content, protocol)) == content


@pytest.mark.parametrize("lengths", [[3], [3, 3], [3, 5, 0]])
def test_rows_of_arrays_survive_the_restricted_unpickler(lengths, tmp_path):
    array = np.empty(len(lengths), dtype=object)
    for i, n in enumerate(lengths):
        array[i] = np.arange(n, dtype=float)
    found = load_arrays(dump(tmp_path / "a", array))
    assert found.dtype == object
    assert found.shape == array.shape
    for i, n in enumerate(lengths):
        np.testing.assert_array_equal(found[i], np.arange(n, dtype=float))


def test_unpickled_arrays_can_be_written_to(tmp_path):
    array = load_arrays(dump(tmp_path / "a", np.arange(3.0)))
    array[0] = 7
    assert array.tolist() == [7, 1, 2]


class Call:
    """Pickles as a call of a function."""

    def __init__(self, function, *args, state=None):
        self.reduced = (function, args) if state is None else (function, args, state)

    def __reduce__(self):
        return self.reduced

    def __call__(self):
        """Only because pickle wants what is called to be callable."""


RECONSTRUCT, EMPTY, (_, _, _, _, BYTES) = np.arange(3.0).__reduce__()
F8 = np.dtype("f8")


def array_with(*state):
    """Pickles as an array with any state: (version, shape, dtype, is_fortran, content)."""
    return Call(RECONSTRUCT, *EMPTY, state=state)


def dtype_with(code="f8", order="<", subarray=None, names=None, fields=None, flags=0):
    """Pickles as a dtype with any state."""
    return Call(np.dtype, code, False, True, state=(3, order, subarray, names, fields, 8, 8, flags))


def in_object_array(item):
    array = np.empty(1, dtype=object)
    array[0] = item
    return array


# Each creates the file that it is given, where pickle.loads is let loose on it.
ATTACKS = {
    "os.system": lambda file: Call(os.system, f"touch {file}"),
    "eval": lambda file: Call(eval, f"open({file!r}, 'w').close()"),
    "exec": lambda file: Call(exec, f"open({file!r}, 'w').close()"),
    "os.mkdir": lambda file: Call(os.mkdir, file),
    "subprocess": lambda file: Call(subprocess.call, ["touch", file]),
    "getattr": lambda file: Call(Call(getattr, Path(file), "touch")),
    "getattr of an array": lambda file: Call(Call(getattr, np.zeros(2), "tofile"), file),
    "numpy.save": lambda file: Call(np.save, file + ".npy", np.zeros(2)),
    "numpy.memmap": lambda file: Call(np.memmap, file, "u1", "w+", 0, (3,)),
    "in a list": lambda file: [np.zeros(2), Call(os.system, f"touch {file}")],
    "in an object array": lambda file: in_object_array(Call(os.system, f"touch {file}")),
    "in an array's state": lambda file: array_with(1, Call(os.system, f"touch {file}")),
}


@pytest.mark.parametrize("protocol", [0, 2, 4, 5])
@pytest.mark.parametrize("name", ATTACKS)
def test_attacks_are_refused_and_nothing_is_executed(name, protocol, tmp_path):
    target = tmp_path / "executed"
    path = dump(tmp_path / "train.pkl", ATTACKS[name](str(target)), protocol)
    with pytest.raises(pickle.UnpicklingError, match="was not read"):
        load_arrays(path)
    assert list(tmp_path.iterdir()) == [path]
    # The attack is a real one: where it is let loose, it does what it says.
    with contextlib.suppress(Exception):
        pickle.loads(path.read_bytes())
    assert len(list(tmp_path.iterdir())) == 2


def test_the_refusal_says_what_and_why_and_what_to_do(tmp_path):
    path = dump(tmp_path / "a.pkl", Call(eval, "1"))
    with pytest.raises(pickle.UnpicklingError, match=r"builtins\.eval.*any program.*save the arr"):
        load_arrays(path)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (array_with(1, (4,), F8, False, BYTES), r"shape \(4,\) and type float64 comes with 24"),
        (array_with(1, (3,), np.dtype("O"), False, BYTES), "does not make sense"),
        (array_with(1, (1,), np.dtype("O"), False, [5]), "something else than arrays"),
        (array_with(1, (1,), np.dtype("O"), False, [F8]), "nothing but a name"),
        (array_with(1, (2,), np.dtype("O"), False, [np.zeros(1)]), "not a plain row"),
        (array_with(1, (-3,), F8, False, BYTES), "does not make sense"),
        (array_with(1, (3.0,), F8, False, BYTES), "does not make sense"),
        (array_with(1, (3,), "f8", False, BYTES), "does not make sense"),
        (array_with(1, (3,), F8, False, [1.0, 2.0, 3.0]), "does not make sense"),
        (array_with(1), "damaged"),
        (array_with(1, (1,), dtype_with(subarray=(F8, (1,))), False, BYTES), "structured array"),
        (array_with(1, (1,), dtype_with("O8", flags=0), False, BYTES[:8]), "does not make sense"),
        (np.zeros(2, dtype=[("a", "f8"), ("b", "O")]), "type 'V16', not of numbers"),
        (np.array(["text"]), "type 'U4', not of numbers"),
        (np.array(["2020-01-01"], dtype="M8[D]"), "type 'M8', not of numbers"),
        (np.array([None]), "something else than arrays"),
        (Call(RECONSTRUCT, *EMPTY), "does not make sense"),
        (Call(np.ndarray, (3,)), "calls something that is no part of an array"),
        (np.ndarray, "nothing but a name"),
        (np.dtype, "nothing but a name"),
        (F8, "nothing but a name"),
        (Path, "pathlib"),
        (np.ma.zeros(3), r"numpy\.ma"),
        (np.random.default_rng(0), r"numpy\.random"),
    ],
)
def test_arrays_that_are_not_plain_are_refused(content, message, tmp_path):
    path = dump(tmp_path / "a.pkl", content)
    with pytest.raises(pickle.UnpicklingError, match=message):
        load_arrays(path)


@pytest.mark.parametrize(
    ("opcodes", "message"),
    [
        # Attributes of what was imported: (None, {"_call": "x"}) and {"_call": "x"}.
        (b"cnumpy\ndtype\n(N(Vx\nVy\ndtb.", "sets the state of what it imported"),
        (b"cnumpy\ndtype\n}V_call\nVx\nsb.", "sets the state of what it imported"),
        (b"cnumpy\nndarray\n(VO\ntR.", "calls something that is no part of an array"),
        (b"cnumpy\nndarray\n(t\x81.", "damaged|not read"),
        (b"cnumpy.core.multiarray\n_reconstruct.__globals__\n.", "_reconstruct.__globals__"),
        (b"c_codecs\nencode\n(Vabc\nVrot13\ntR.", "encodes something else than bytes"),
        (b"Pmodel\n.", "persistent"),
        (b"\x82\x01.", "not read"),
        (b"]q\x000h\x00a.", "not read"),
        (b"", "damaged"),
        (b"not a pickle", "not read"),
    ],
)
def test_crafted_and_damaged_streams_are_refused(opcodes, message, tmp_path):
    path = tmp_path / "a.pkl"
    path.write_bytes(opcodes)
    with pytest.raises(pickle.UnpicklingError, match=message):
        load_arrays(path)


def test_stand_ins_stay_as_they_are_whatever_was_read(tmp_path):
    path = tmp_path / "a.pkl"
    for opcodes in (b"cnumpy\ndtype\n(N(Vx\nVy\ndtb.", b"cnumpy\ndtype\n}V_call\nNsb."):
        path.write_bytes(opcodes)
        with pytest.raises(pickle.UnpicklingError):
            load_arrays(path)
    np.testing.assert_array_equal(load_arrays(dump(path, np.arange(2.0))), [0.0, 1.0])


def test_endless_nesting_is_refused(tmp_path):
    endless = []
    endless.append(endless)
    with pytest.raises(pickle.UnpicklingError, match="nested more than"):
        load_arrays(dump(tmp_path / "a.pkl", endless))


def test_every_truncation_of_a_pickle_is_refused(tmp_path):
    whole = pickle.dumps([np.arange(3.0), np.arange(2)], protocol=2)
    path = tmp_path / "a.pkl"
    for n in range(len(whole)):
        path.write_bytes(whole[:n])
        with pytest.raises(pickle.UnpicklingError, match="not read"):
            load_arrays(path)


# ---------------------------------------------------------------------------------------------
# Data folders


def test_data_survive_a_round_trip(task, dataset):
    X_train, y_train, X_test, y_test = task
    data = load_autospeech(dataset)
    for found, expected in zip(data.X_train + data.X_test, X_train + X_test, strict=True):
        np.testing.assert_array_equal(found, expected)
    np.testing.assert_array_equal(data.y_train, y_train)
    np.testing.assert_array_equal(data.y_test, y_test)
    assert (
        data.metadata.items()
        >= {"class_num": 3, "train_num": 30, "test_num": 15, "time_budget": 30}.items()
    )
    assert data.name == "train"
    assert load_autospeech(dataset / "train.data").y_test.tolist() == y_test.tolist()


def test_the_layout_is_the_official_one(dataset):
    files = {str(path.relative_to(dataset)) for path in dataset.rglob("*") if path.is_file()}
    folder = {f"train.data/{name}" for name in ("meta.json", "train.pkl", "test.pkl")}
    assert files == folder | {"train.data/train.solution", "test.solution"}
    lines = (dataset / "test.solution").read_text().splitlines()
    assert len(lines) == 15
    assert sorted(lines[0].split()) == ["0", "0", "1"]
    # As the official program reads it.
    waveforms = pickle.loads((dataset / "train.data" / "train.pkl").read_bytes())
    assert isinstance(waveforms, list)
    assert [waveform.ndim for waveform in waveforms] == [1] * 30


def test_text_labels_and_files_can_be_saved(task, tmp_path):
    import soundfile

    X_train, y_train, X_test, _ = task
    paths = []
    for i, waveform in enumerate(X_train[:6]):
        paths.append(str(tmp_path / f"{i}.wav"))
        soundfile.write(paths[-1], waveform[::2], 8_000)
    labels = np.array(["low", "mid", "top"])[y_train[:6]]
    save_autospeech(tmp_path, paths, labels, X_test)
    data = load_autospeech(tmp_path)
    assert data.y_test is None
    assert data.target_names == sorted(set(labels))
    assert [data.target_names[number] for number in data.y_train] == labels.tolist()
    assert [len(waveform) for waveform in data.X_train] == [4000] * 6  # at 16 kHz


def test_nothing_is_overwritten_unasked(task, dataset):
    X_train, y_train, X_test, _ = task
    with pytest.raises(FileExistsError, match="overwrite=True"):
        save_autospeech(dataset, *task)
    save_autospeech(dataset, X_train, y_train, X_test, overwrite=True)
    assert load_autospeech(dataset).y_test is None  # the old solution is gone with the old data


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((["a", "b"],), "y_train has labels for 2 clips, but there are 30"),
        ((None, None, [0, 1]), "y_test has labels for 2 clips, but there are 15"),
        ((None, None, [7] * 15), r"labels that do not occur in y_train: \[7\]"),
        (([0, None] * 15,), "y_train"),
        (([0, np.nan] * 15,), "y_train"),
        ((None, None, [0, np.nan, 1] * 5), "y_test"),
    ],
)
def test_what_does_not_fit_together_is_not_saved(arguments, message, task, tmp_path):
    y_train, X_test, y_test = [
        given if given is not None else default
        for given, default in zip([*arguments, None, None][:3], task[1:], strict=True)
    ]
    with pytest.raises(ValueError, match=message):
        save_autospeech(tmp_path, task[0], y_train, X_test, y_test)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("y", [[0, -1], [0, 2], [0, 0.5]])
def test_one_hot_takes_numbers_of_classes_only(y):
    with pytest.raises(ValueError, match="numbers of classes, from 0 to 1"):
        one_hot(y, 2)
    assert one_hot([], 2).shape == (0, 2)


def test_official_files_with_other_names_and_types_load(task, tmp_path):
    X_train, y_train, X_test, _ = task
    folder = tmp_path / "adult.data"
    folder.mkdir()
    dump(folder / "train.pkl", [np.round(x * 32767).astype("i2") for x in X_train])
    dump(folder / "test.pkl", tuple(x.astype(float) for x in X_test), protocol=2)
    (folder / "meta.json").write_text('{"class_num": 3, "train_num": 30, "test_num": 15}')
    np.savetxt(folder / "train.solution", one_hot(y_train, 3))  # 1.000e+00
    data = load_autospeech(tmp_path)
    assert data.name == "adult"
    assert data.X_train[0].dtype == np.int16
    assert data.metadata["time_budget"] == 1800
    assert data.target_names == ["0", "1", "2"]
    np.testing.assert_array_equal(data.y_train, y_train)


def break_file(name, content):
    def breaks(folder):
        if isinstance(content, str):
            (folder / name).write_text(content)
        else:
            dump(folder / name, content)

    return breaks


@pytest.mark.parametrize(
    ("breaks", "error", "message"),
    [
        (break_file("meta.json", "{}"), ValueError, "JSON object with class_num"),
        (break_file("meta.json", "nonsense"), ValueError, "JSON object with class_num"),
        (break_file("meta.json", '{"class_num": 0}'), ValueError, "above 0; got 0"),
        (break_file("meta.json", '{"class_num": true}'), ValueError, "above 0; got True"),
        (break_file("meta.json", '{"class_num": 4}'), ValueError, "3 columns.*there are 4"),
        (
            break_file("meta.json", '{"class_num": 3, "time_budget": null}'),
            ValueError,
            "meta.json: time_budget=None must be a positive number",
        ),
        (
            break_file("meta.json", '{"class_num": 3, "class_names": ["no", "yes"]}'),
            ValueError,
            r"meta.json: class_num is 3, but class_names are \['no', 'yes'\]",
        ),
        (break_file("train.solution", "a b c\n"), ValueError, "train.solution must hold rows"),
        (break_file("train.pkl", "nonsense"), pickle.UnpicklingError, "train.pkl was not read"),
        (break_file("train.solution", "1 0 0\n1 1 0\n"), ValueError, "line 2: a row must"),
        (break_file("train.solution", "1 0 0\n"), ValueError, "labels for 1 clips.*there are 30"),
        (break_file("train.pkl", np.zeros((3, 4))), ValueError, "30 clips, but there are 3"),
        (break_file("train.pkl", []), ValueError, "must hold a list of 1-D arrays"),
        (break_file("train.pkl", [np.zeros((2, 2))]), ValueError, r"array of shape \(2, 2\)"),
        (break_file("test.pkl", [[1, 2]]), ValueError, "clip 0 must be.*it is: list"),
        (break_file("test.pkl", Call(os.getcwd)), pickle.UnpicklingError, "posix|nt"),
        (break_file("../b.solution", "1 0 0\n"), ValueError, "must hold one"),
        (lambda folder: (folder / "test.pkl").unlink(), FileNotFoundError, "test.pkl"),
        (lambda folder: (folder / "meta.json").unlink(), FileNotFoundError, "meta.json"),
        (lambda folder: folder.rename(folder.parent / "x"), FileNotFoundError, "exactly one"),
    ],
)
def test_broken_data_folders_are_named(breaks, error, message, dataset):
    breaks(dataset / "train.data")
    with pytest.raises(error, match=message):
        load_autospeech(dataset)
    with pytest.raises(error, match=message):  # no model is blamed for it
        run_local_test(dataset, output_dir=dataset / "out", score_dir=dataset / "score")
    assert not (dataset / "out").exists()


@pytest.mark.parametrize("name", ["time_budget", "init_time_budget"])
def test_times_are_positive(name, dataset, task, tmp_path):
    places = {"output_dir": tmp_path / "out", "score_dir": tmp_path / "score"}
    for seconds in (0, -3.0, float("nan")):
        with pytest.raises(ValueError, match=f"{name}=.* must be a positive number of seconds"):
            run_local_test(dataset, **places, **{name: seconds})
    assert not places["output_dir"].exists()
    with pytest.raises(ValueError, match="time_budget=0 must be"):
        save_autospeech(tmp_path / "new", *task, time_budget=0)


def test_a_missing_folder_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match="There is no folder"):
        load_autospeech(tmp_path / "missing")


# ---------------------------------------------------------------------------------------------
# The model, on a classifier whose times are chosen


def spectra(clips):
    return np.array([np.log1p(np.abs(np.fft.rfft(clip.load(), 8000)))[:200] for clip in clips])


class Snapshot:
    """A linear classifier of spectra, with faults on demand."""

    def __init__(self, X, y, predict_delay=0.0, fault=None):
        self.classifier = LogisticRegression().fit(spectra(X), y)
        self.classes_ = self.classifier.classes_
        self.predict_delay, self.fault = predict_delay, fault
        self.n_predictions = 0

    def predict_proba(self, X):
        self.n_predictions += 1
        time.sleep(self.predict_delay)
        if self.fault is not None:
            raise self.fault
        return self.classifier.predict_proba(spectra(X))


class Anytime(ClassifierMixin, BaseEstimator):
    """Yields a snapshot after each delay; an exception in their place is raised."""

    made = []

    def __init__(self, delays=(0.0,), faults=(), predict_delay=0.0, time_budget=60.0):
        self.delays = delays
        self.faults = faults
        self.predict_delay = predict_delay
        self.time_budget = time_budget

    def iter_fit(self, X, y):
        self.made.append(self)
        self.snapshots, self.closed = [], False
        try:
            for i, delay in enumerate(self.delays):
                if isinstance(delay, Exception):
                    raise delay
                time.sleep(delay)
                fault = self.faults[i] if i < len(self.faults) else None
                self.snapshots.append(Snapshot(X, y, self.predict_delay, fault))
                yield self.snapshots[-1]
        finally:
            self.closed = True


@pytest.fixture
def make_model(monkeypatch):
    monkeypatch.setattr(Anytime, "made", [])
    before = set(threading.enumerate())  # other tests leave threads that hang on purpose

    def make(class_num=3, time_budget=60, **params):
        metadata = {"class_num": class_num, "time_budget": time_budget}
        return Model(metadata, classifier=Anytime(**params))

    yield make
    deadline = time.monotonic() + 10
    while any(t.name.startswith("skspeech") for t in set(threading.enumerate()) - before):
        assert time.monotonic() < deadline, "a thread was left behind"
        time.sleep(0.01)


def run_protocol(model, task, remaining=60.0, max_rounds=50):
    """Train and test in turns as the official program does; return times and predictions."""
    X_train, y_train, X_test, _ = task
    start, times, predictions = time.monotonic(), [], []
    while not model.done_training and len(times) < max_rounds:
        left = remaining - (time.monotonic() - start)
        model.train((X_train, one_hot(y_train, 3)), remaining_time_budget=left)
        left = remaining - (time.monotonic() - start)
        predictions.append(model.test(X_test, remaining_time_budget=left))
        times.append(time.monotonic() - start)
    return times, predictions


def test_each_round_waits_for_a_better_snapshot_and_tests_it(make_model, task):
    model = make_model(delays=(0.1, 0.5, 0.5))
    _, predictions = run_protocol(model, task)
    assert model.done_training
    assert len(predictions) in (3, 4)  # the last may be asked for once more
    assert all(proba.shape == (15, 3) for proba in predictions)
    assert balanced_accuracy_score(task[3], predictions[-1].argmax(axis=1)) > 0.9
    [classifier] = Anytime.made
    assert [snapshot.n_predictions for snapshot in classifier.snapshots] == [1, 1, 1]
    assert classifier.closed


def test_the_first_test_is_not_disturbed_and_then_work_goes_on_while_nobody_calls(make_model, task):
    X_train, y_train, X_test, _ = task
    model = make_model(delays=(0.0, 0.2, 0.2))
    model.train((X_train, one_hot(y_train, 3)), 60)
    time.sleep(1.5)
    assert len(Anytime.made[0].snapshots) == 1
    model.test(X_test, 58)
    time.sleep(1.5)
    assert len(Anytime.made[0].snapshots) == 3
    model.train((X_train, one_hot(y_train, 3)), 56)
    model.test(X_test, 56)
    assert [s.n_predictions for s in Anytime.made[0].snapshots] == [1, 0, 1]


@pytest.mark.slow
def test_work_goes_on_in_the_end_though_nobody_tests(make_model, task):
    X_train, y_train, _, _ = task
    model = make_model(delays=(0.0, 0.1))
    model.train((X_train, one_hot(y_train, 3)), 12)
    time.sleep(2.5)
    assert len(Anytime.made[0].snapshots) == 2


def test_the_fit_gets_most_of_the_time_and_some_is_left_to_test(make_model, task):
    run_protocol(make_model(), task, remaining=40.0)
    assert 36 < Anytime.made[0].time_budget < 39.5


def test_without_a_remaining_time_the_metadata_count(make_model, task):
    X_train, y_train, X_test, _ = task
    model = make_model(time_budget=20)
    model.train((X_train, y_train))  # labels need not be one-hot
    assert 18 < Anytime.made[0].time_budget < 20
    assert model.test(X_test).shape == (15, 3)


def test_training_ends_in_time_for_a_last_test(make_model, task):
    model = make_model(delays=(0.0, 4.0), predict_delay=0.3)
    times, _ = run_protocol(model, task, remaining=2.5)
    assert model.done_training
    assert times[-1] < 2.5


@pytest.mark.slow
def test_tests_take_half_of_the_time_at_most(make_model, task):
    model = make_model(delays=[0.0] + [0.05] * 30, predict_delay=0.4)
    times, _ = run_protocol(model, task)
    assert len(times) < 8


def test_repeated_tests_predict_once(make_model, task):
    X_train, y_train, X_test, _ = task
    model = make_model()
    model.train((X_train, y_train), 60)
    first = model.test(X_test, 60)
    expected = first.copy()
    first[:] = 0  # what the caller does with an answer is his own affair
    np.testing.assert_array_equal(model.test(list(X_test), 60), expected)
    assert Anytime.made[0].snapshots[0].n_predictions == 1
    assert model.test(X_test[:4], 60).shape == (4, 3)


def test_classes_that_training_lacks_get_a_column(make_model, task):
    X_train, y_train, X_test, y_test = task
    model = make_model(class_num=6)
    model.train((X_train, one_hot(2 * y_train, 6)), 60)
    proba = model.test(X_test, 60)
    assert proba.shape == (15, 6)
    np.testing.assert_array_equal(proba[:, 1::2], 0)
    assert balanced_accuracy_score(2 * y_test, proba.argmax(axis=1)) > 0.9


def test_a_failing_prediction_repeats_the_last_good_answer(make_model, task, caplog):
    model = make_model(delays=(0.0, 0.3, 0.3), faults=(None, RuntimeError("no luck"), None))
    _, predictions = run_protocol(model, task)
    np.testing.assert_array_equal(predictions[1], predictions[0])
    assert "no luck" in caplog.text
    assert len(predictions) in (3, 4)


def test_a_prediction_that_takes_too_long_repeats_the_last_good_answer(make_model, task, caplog):
    X_train, y_train, X_test, _ = task
    model = make_model(delays=(0.0, 0.3))
    model.train((X_train, y_train), 60)
    first = model.test(X_test, 60)
    model.train((X_train, y_train), 60)
    Anytime.made[0].snapshots[-1].predict_delay = 2.0
    start = time.monotonic()
    np.testing.assert_array_equal(model.test(X_test, 0.7), first)
    assert time.monotonic() - start < 1.5
    assert "longer than the 0.5 s" in caplog.text


@pytest.mark.parametrize("delays", [(RuntimeError("broken"),), ()])
def test_without_any_model_the_prior_answers(delays, make_model, task, caplog):
    X_train, _, X_test, _ = task
    y_train = np.array([0] * 20 + [1] * 10)
    model = make_model(delays=delays)
    model.train((X_train, one_hot(y_train, 3)), 60)
    np.testing.assert_allclose(model.test(X_test, 60), [[2 / 3, 1 / 3, 0]] * 15)
    assert model.done_training
    assert "There is no model yet" in caplog.text
    assert ("broken" in caplog.text) == bool(delays)


def test_a_fit_that_breaks_leaves_its_last_snapshot(make_model, task, caplog):
    model = make_model(delays=(0.0, RuntimeError("broken later")))
    _, predictions = run_protocol(model, task)
    assert balanced_accuracy_score(task[3], predictions[-1].argmax(axis=1)) > 0.9
    assert "broken later" in caplog.text


def test_testing_before_training_gives_equal_chances(make_model, task):
    np.testing.assert_allclose(make_model().test(task[2], 60), np.full((15, 3), 1 / 3))


@pytest.mark.parametrize("X_test", [[np.zeros((2, 2))], ["nowhere.wav"], [None]])
def test_unusable_test_clips_get_the_prior(X_test, make_model, task, caplog):
    model = make_model()
    model.train(task[:2], 60)
    assert model.test(X_test, 60).shape == (1, 3)
    assert caplog.records


def test_empty_and_broken_clips_are_mended(make_model, task, caplog):
    X_train, y_train, X_test, _ = task
    broken = X_train[0].copy()
    broken[::2] = np.nan
    given = [broken, np.zeros(0), *X_train[2:]]
    model = make_model()
    model.train((given, y_train), 60)
    assert model.test([np.zeros(0), *X_test[1:]], 60).shape == (15, 3)
    assert "Clip 0 has samples that are not finite" in caplog.text
    assert "Clip 1 is empty" in caplog.text
    assert np.isnan(given[0]).any()  # the caller's clips stay as they are
    assert len(given[1]) == 0


def test_bad_metadata_and_labels_are_named(make_model, task):
    with pytest.raises(ValueError, match="must have 'class_num'"):
        Model({}, classifier=Anytime())
    with pytest.raises(ValueError, match=r"labels from 0 to 2, but metadata\['class_num'\] is 2"):
        make_model(class_num=2).train(task[:2], 60)


class Spectra(TransformerMixin, BaseEstimator):
    """A stateless step that counts the clips it is given."""

    n_clips = 0

    def fit(self, X, y=None):
        return self

    def transform(self, X):
        Spectra.n_clips += len(X)
        return spectra(X)

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.requires_fit = False
        return tags


def test_the_model_drives_a_time_budget_classifier(task):
    candidates = [
        ("quick", make_pipeline(Spectra(), LogisticRegression(C=1e-4))),
        ("better", make_pipeline(Spectra(), LogisticRegression())),
    ]
    classifier = TimeBudgetClassifier(candidates, random_state=0)
    model = Model({"class_num": 3, "time_budget": 30}, classifier=classifier)
    times, predictions = run_protocol(model, task, remaining=30)
    assert model.done_training
    assert times[-1] < 30
    for proba in predictions:
        np.testing.assert_allclose(proba.sum(axis=1), 1)
    assert balanced_accuracy_score(task[3], predictions[-1].argmax(axis=1)) > 0.9


class AnytimeSpeaker(Anytime):
    """Yields ensembles that share an extractor."""

    def iter_fit(self, X, y):
        for C in (0.01, 1.0):
            yield make_pipeline(SpeakerEmbedding(), LogisticRegression(C=C)).fit(X, y)
            self.resume.wait(30)


@pytest.mark.network
def test_later_tests_of_the_same_clips_embed_nothing(monkeypatch, task, computed):
    monkeypatch.setattr(AnytimeSpeaker, "resume", threading.Event(), raising=False)
    cache.clear()
    X_train, y_train, X_test, _ = task
    model = Model({"class_num": 3}, classifier=AnytimeSpeaker())
    model.train((X_train, y_train), 60)
    first = model.test(X_test, 60)
    assert len(computed) == len(X_train) + len(X_test)
    AnytimeSpeaker.resume.set()
    model.train((X_train, y_train), 60)
    second = model.test([waveform.copy() for waveform in X_test], 60)
    assert len(computed) == len(X_train) + len(X_test)
    assert not np.allclose(first, second)  # it was another ensemble that answered


@pytest.mark.network
@pytest.mark.slow
def test_making_the_model_loads_what_the_first_answer_needs():
    # In a process of its own: in this one, other tests have loaded the networks.
    code = """
        import sys
        from skspeech.challenge import Model
        from skspeech.transformers import _windowed
        Model({"class_num": 3})
        print(sorted(_windowed._networks))
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)], capture_output=True, text=True, check=True
    )
    assert "ge2e" in done.stdout
    assert "music" in done.stdout


# ---------------------------------------------------------------------------------------------
# The local test


def write_model(folder, body, head=""):
    """Write a participant's model.py, with a class Model of the given body."""
    folder.mkdir(exist_ok=True)
    head = "import numpy as np, os, time\n" + textwrap.dedent(head)
    body = textwrap.indent(textwrap.dedent(body), "    ")
    (folder / "model.py").write_text(f"{head}\nclass Model:\n{body}")
    return folder


# Tells the tones apart by their loudest frequency; better with each round.
TRIVIAL = """
def __init__(self, metadata):
    self.metadata, self.done_training, self.round = metadata, False, 0

def train(self, dataset, remaining_time_budget=None):
    X, y = dataset
    assert remaining_time_budget <= self.metadata["time_budget"]
    self.means = y.T @ self.pitch(X) / y.sum(axis=0)
    self.round += 1
    self.done_training = self.round == 3
    time.sleep(0.2)

def test(self, X, remaining_time_budget=None):
    scores = -np.abs(self.pitch(X)[:, None] - self.means)
    if self.round < 2:
        scores[:, 1] = -np.inf
    return scores

def pitch(self, X):
    return np.array([np.abs(np.fft.rfft(x, 16000))[50:300].argmax() for x in X])
"""


def local_test(dataset, code_dir, tmp_path, **options):
    return run_local_test(
        dataset, code_dir, output_dir=tmp_path / "out", score_dir=tmp_path / "score", **options
    )


def test_a_local_test_scores_each_answer(dataset, task, tmp_path):
    result = local_test(dataset, write_model(tmp_path / "code", TRIVIAL), tmp_path)
    assert result.success
    np.testing.assert_allclose(result.scores, [2 / 3, 1, 1])
    assert 0.2 < result.times[0] < result.times[1] < result.times[2] < 10
    assert result.alc == area_under_learning_curve(result.times, result.scores, 30)
    assert 0 < result.init_duration < 30

    out, score = tmp_path / "out", tmp_path / "score"
    names = {path.name for path in out.iterdir()}
    assert names == {"start.txt", "end.txt", *(f"train.predict_{i}" for i in range(3))}
    assert (out / "train.predict_2").read_text() == "".join(f"{y}\n" for y in task[3])
    assert "ingestion_success: 1" in (out / "end.txt").read_text()
    assert (score / "scores.txt").read_text().startswith(f"score: {result.alc}\nDuration: ")
    saved = json.loads((score / "learning-curve-train.json").read_text())
    assert saved["times"] == result.times
    assert saved["alc"] == result.alc
    assert result.figure.read_bytes()[:4] == b"\x89PNG"


@pytest.mark.slow
def test_threads_that_a_model_leaves_behind_do_no_harm(dataset, tmp_path):
    lingering = "import threading\nthreading.Thread(target=time.sleep, args=(3600,)).start()"
    code_dir = write_model(tmp_path / "code", TRIVIAL, head=lingering)
    result = local_test(dataset, code_dir, tmp_path, time_budget=20)
    assert result.success
    assert result.scores[-1] == 1


@pytest.mark.slow
def test_the_command_line_is_the_challenge_s(dataset, tmp_path):
    code = write_model(tmp_path / "code", TRIVIAL)
    done = subprocess.run(
        [
            *[sys.executable, "-m", "skspeech.challenge", "-time_budget=20"],
            *[f"-dataset_dir={dataset}", f"-code_dir={code}"],
        ],
        capture_output=True,
        text=True,
        cwd=tmp_path,
    )
    assert done.returncode == 0, done.stderr
    assert "balanced accuracy 1.0000" in done.stdout
    assert done.stdout.splitlines()[-1].startswith("ALC: 0.9")
    assert (tmp_path / "ingestion_output" / "train.predict_2").exists()
    assert (tmp_path / "scoring_output" / "learning-curve-train.png").exists()
    assert "time_budget: 20" in (tmp_path / "ingestion_output" / "start.txt").read_text()


def test_mistakes_on_the_command_line_are_told(dataset, tmp_path, capsys):
    arguments = [f"-dataset_dir={dataset}", f"--code-dir={tmp_path}"]
    assert main(arguments) == 2
    assert "There is no model.py in" in capsys.readouterr().err
    (dataset / "test.solution").unlink()
    assert main(arguments[:1]) == 2
    assert "There is no *.solution" in capsys.readouterr().err


@pytest.mark.slow
def test_earlier_answers_are_removed_and_other_files_are_not(dataset, tmp_path):
    out = tmp_path / "out"
    out.mkdir()
    for name in ("train.predict_7", "notes.txt"):
        (out / name).write_text("0\n")
    local_test(dataset, write_model(tmp_path / "code", TRIVIAL), tmp_path)
    assert not (out / "train.predict_7").exists()
    assert (out / "notes.txt").exists()


ENDLESS = """
done_training = False
def __init__(self, metadata):
    self.n, self.shape = 0, (metadata["test_num"], metadata["class_num"])

def train(self, dataset, remaining_time_budget=None):
    self.n += 1
    if self.n == 2:
        self.dawdle()

def test(self, X, remaining_time_budget=None):
    return np.eye(self.shape[1])[np.zeros(self.shape[0], int)]
"""


@pytest.mark.slow
def test_a_model_that_goes_on_for_ever_is_interrupted(dataset, tmp_path):
    body = ENDLESS + "\ndef dawdle(self):\n    time.sleep(60)\n"
    start = time.monotonic()
    result = local_test(dataset, write_model(tmp_path / "code", body), tmp_path, time_budget=2)
    assert time.monotonic() - start < 20
    assert result.success  # as under the official program: what came before counts
    assert len(result.scores) == 1
    assert result.scores[0] == pytest.approx(1 / 3)
    assert result.time_budget == 2


@pytest.mark.slow
def test_a_model_that_cannot_be_interrupted_is_killed_with_its_children(
    dataset, tmp_path, monkeypatch, capfd
):
    monkeypatch.setattr("skspeech.challenge.local_test._GRACE", 1.0)
    body = (
        ENDLESS
        + """
def dawdle(self):
    import signal, subprocess, sys
    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGALRM])
    child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    print("child:", child.pid, flush=True)
    time.sleep(60)
"""
    )
    start = time.monotonic()
    result = local_test(dataset, write_model(tmp_path / "code", body), tmp_path, time_budget=2)
    assert time.monotonic() - start < 25
    assert not result.success
    assert len(result.scores) == 1
    captured = capfd.readouterr()
    assert "it is killed" in captured.err
    pid = int(captured.out.split("child:")[1].split()[0])
    assert not psutil.pid_exists(pid) or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE


def test_a_model_ends_with_whoever_runs_it(dataset, tmp_path):
    body = (
        ENDLESS
        + """
def dawdle(self):
    print(os.getpid(), flush=True)
    time.sleep(60)
"""
    )
    code = write_model(tmp_path / "code", body)
    arguments = [f"-dataset_dir={dataset}", f"-code_dir={code}", "-time_budget=60"]
    command = [sys.executable, "-m", "skspeech.challenge", *arguments]
    with subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.PIPE) as runner:
        model = psutil.Process(int(runner.stdout.readline()))
        runner.kill()  # as by a batch system
    try:
        model.wait(timeout=10)
    finally:
        with contextlib.suppress(psutil.NoSuchProcess):
            model.kill()


@pytest.mark.parametrize(
    ("change", "n_answers", "message"),
    [
        (("self.round += 1", "1 / 0"), 0, "ZeroDivisionError"),
        (("self.round += 1", "self.round += 1; os._exit(3)"), 0, "The model failed"),
        (("return scores", "return scores[:, :2] if self.round == 2 else scores"), 1, "(15, 2)"),
        (("def __init__(self, metadata):", "def __init__(self):"), 0, "TypeError"),
        (("def pitch", "def patch"), 0, "AttributeError"),
    ],
)
@pytest.mark.slow
def test_what_a_failing_model_answered_is_scored(
    change, n_answers, message, dataset, tmp_path, capfd
):
    code = write_model(tmp_path / "code", TRIVIAL.replace(*change))
    arguments = [f"-dataset_dir={dataset}", f"-code_dir={code}", f"-output_dir={tmp_path / 'out'}"]
    assert main([*arguments, f"-score_dir={tmp_path / 'score'}"]) == 1
    captured = capfd.readouterr()
    assert message in captured.err
    assert captured.out.count("balanced accuracy") == n_answers
    assert (tmp_path / "score" / "learning-curve-train.png").exists()


@pytest.mark.network
@pytest.mark.slow
def test_the_example_submission_runs_by_the_protocol(dataset, tmp_path):
    start = time.monotonic()
    result = local_test(dataset, EXAMPLE, tmp_path, time_budget=15)
    assert result.success
    assert result.scores[-1] > 0.9
    assert result.times[-1] <= 15
    assert time.monotonic() - start < 15 + result.init_duration + 30


@pytest.mark.slow
def test_returning_none_ends_the_test(dataset, tmp_path):
    body = TRIVIAL.replace("return scores", "return None if self.round == 2 else scores")
    result = local_test(dataset, write_model(tmp_path / "code", body), tmp_path)
    assert result.success
    assert len(result.scores) == 1


@pytest.mark.slow
def test_initialising_is_off_the_clock_but_limited(dataset, tmp_path):
    slow = write_model(tmp_path / "slow", TRIVIAL, head="time.sleep(1.5)")
    result = local_test(dataset, slow, tmp_path)
    assert result.init_duration > 1.5
    assert result.times[0] < 1.5
    slow = write_model(tmp_path / "slower", TRIVIAL, head="time.sleep(30)")
    start = time.monotonic()
    result = local_test(dataset, slow, tmp_path, init_time_budget=1)
    assert time.monotonic() - start < 20
    assert not result.success
    assert result.init_duration is None
    assert result.alc == 0


@pytest.mark.slow
def test_a_local_test_without_matplotlib_draws_nothing(dataset, tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    code = write_model(tmp_path / "code", TRIVIAL)
    arguments = [f"-dataset_dir={dataset}", f"-code_dir={code}", f"-output_dir={tmp_path / 'out'}"]
    assert main([*arguments, f"-score_dir={tmp_path / 'score'}"]) == 0
    assert "pip install '.[plot]'" in capsys.readouterr().err
