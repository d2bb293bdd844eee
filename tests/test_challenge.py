import contextlib
import json
import logging
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
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import balanced_accuracy_score

from skspeech._unpickle import load_arrays
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

EXAMPLE = Path(__file__).parents[1] / "examples" / "autospeech"


@pytest.fixture(scope="module")
def tones():
    """Three pitches: 30 clips to train on, 15 to test."""
    tones = make_tones(45, n_classes=3, duration=0.25, random_state=0)
    return tones.data[:30], tones.target[:30], tones.data[30:], tones.target[30:]


@pytest.fixture
def dataset(tones, tmp_path):
    save_autospeech(tmp_path / "tones", *tones, time_budget=30)
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
    for expected, found in zip(content, load_arrays(dump(tmp_path / "a", content, protocol))):
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
    with pytest.raises(pickle.UnpicklingError, match="train.pkl was not read"):
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
