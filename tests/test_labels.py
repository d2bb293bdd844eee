"""Labels, groups and weights in every form in which people have them."""

import enum
import sys

import numpy as np
import pytest
from sklearn.exceptions import DataConversionWarning

from skspeech._labels import (  # pure
    check_groups,
    check_labels,
    check_sample_weight,
    unknown_labels,
)

TEXT = ["a", "b", "a", "b"]


def text_with(value):
    return ["a", value, "a", value]


def frame(values, dtype):
    pandas = pytest.importorskip("pandas")
    values = [pandas.NA if value is np.ma.masked else value for value in values]
    return pandas.Series(values, dtype=dtype)


MISSING = {
    "list with None": lambda: text_with(None),
    "list with NaN": lambda: text_with(np.nan),
    "tuple with NaN": lambda: tuple(text_with(float("nan"))),
    "array with None": lambda: np.array(text_with(None), dtype=object),
    "array with NaN": lambda: np.array(text_with(np.nan), dtype=object),
    "column with None": lambda: np.array(text_with(None), dtype=object)[:, np.newaxis],
    "floats": lambda: np.array([0, np.nan, 1, np.nan]),
    "list of numbers with None": lambda: [0, None, 1, None],
    "dates": lambda: np.array(["2020", "NaT", "2021", "NaT"], dtype="datetime64[Y]"),
    "list with NA": lambda: text_with(pytest.importorskip("pandas").NA),
    "list with NaT": lambda: text_with(pytest.importorskip("pandas").NaT),
    "pandas object": lambda: frame(text_with(None), object),
    "pandas inferred": lambda: frame(text_with(None), None),
    "pandas string": lambda: frame(text_with(None), "string"),
    "pandas category": lambda: frame(text_with(None), "category"),
    "pandas Int64": lambda: frame([0, None, 1, None], "Int64"),
    "pandas boolean": lambda: frame([True, None, False, None], "boolean"),
    "pandas column": lambda: frame(text_with(None), "string").to_frame(),
    "pandas Index": lambda: pytest.importorskip("pandas").Index(text_with(None)),
    "pandas Categorical": lambda: pytest.importorskip("pandas").Categorical(text_with(None)),
}


@pytest.mark.parametrize("form", MISSING)
def test_missing_labels_are_counted(form):
    with pytest.raises(ValueError, match=r"^colour has 2 missing values .* at position 1\."):
        check_labels(MISSING[form](), "colour")


@pytest.mark.parametrize("form", MISSING)
def test_missing_groups_are_counted(form):
    with pytest.raises(ValueError, match=r"^groups has 2 missing values .* at position 1\."):
        check_groups(MISSING[form](), 4)


@pytest.mark.parametrize(
    ("y", "expected"),
    [
        (TEXT, np.array(TEXT)),
        (["nan", "None", "a"], np.array(["nan", "None", "a"])),
        ([3, 1, 3], np.array([3, 1, 3])),
        ([True, False], np.array([True, False])),
        (np.array(TEXT, dtype=object), np.array(TEXT, dtype=object)),
        (np.array([1.0, 2.0]), np.array([1.0, 2.0])),
    ],
)
def test_labels_stay_what_they_are(y, expected):
    checked = check_labels(y)
    np.testing.assert_array_equal(checked, expected)
    assert checked.dtype == expected.dtype


@pytest.mark.parametrize(
    ("values", "dtype", "kinds"),
    [
        (TEXT, "string", "OU"),
        (TEXT, "category", "OU"),
        (TEXT, object, "O"),
        (TEXT, None, "OU"),
        ([3, 1, 3], "Int64", "i"),
        ([3, 1, 3], "category", "i"),
        ([0.5, 1.5], "Float64", "f"),
        ([True, False], "boolean", "b"),
    ],
)
def test_pandas_becomes_numpy(values, dtype, kinds):
    checked = check_labels(frame(values, dtype))
    assert type(checked) is np.ndarray
    assert checked.dtype.kind in kinds
    assert checked.tolist() == values


def test_the_shape_of_labels():
    with pytest.warns(DataConversionWarning, match="column-vector"):
        assert check_labels(np.array([[1], [2]])).tolist() == [1, 2]
    with pytest.raises(ValueError, match="should be a 1d array"):
        check_labels([[1, 2], [3, 4]])
    with pytest.raises(ValueError, match="should be a 1d array"):
        check_labels(None)


def test_mixed_labels_are_named():
    for labels in ([7, "a", 7], ["a", (1, 2), 7]):
        with pytest.raises(ValueError, match=r"^y mixes labels of several types \(int, str"):
            check_labels(np.array(labels, dtype=object))


def test_labels_of_one_type_without_an_order_are_named():
    plain = enum.Enum("Mood", ["ANGRY", "HAPPY"])
    with pytest.raises(ValueError, match=r"^y holds labels of a type that has no order \(Mood\)"):
        check_labels(list(plain))


class Mood(str, enum.Enum):
    ANGRY = "angry"
    HAPPY = "happy"


def test_labels_that_numpy_would_make_the_same_are_refused():
    assert len(np.unique([Mood.ANGRY, Mood.HAPPY])) == 1
    with pytest.raises(ValueError, match=r"y holds members of an Enum.*\.value for label in y"):
        check_labels([Mood.ANGRY, Mood.HAPPY])
    with pytest.raises(ValueError, match="groups holds members"):
        check_groups((Mood.ANGRY, Mood.HAPPY), 2)
    assert check_labels([Mood.ANGRY.value, Mood.HAPPY.value]).tolist() == ["angry", "happy"]


@pytest.mark.parametrize("n_known", [3, 99])
def test_a_number_is_not_known_as_text(n_known):
    numbers = np.arange(n_known)
    for known in (numbers, numbers.astype(float), numbers.astype(object)):
        assert unknown_labels(np.array(["1", "0", "1"]), known) == ["0", "1"]
        assert unknown_labels(np.array([1, 2, -1, -1]), known) == [-1]
    assert unknown_labels(numbers, numbers.astype(str)) == numbers.tolist()


def test_groups():
    assert check_groups(None, 3) is None
    assert check_groups(TEXT, 4).tolist() == TEXT
    mixed = check_groups(np.array([7, "a", 7, (1, 2), "a"], dtype=object), 5)
    assert np.unique(mixed, return_inverse=True)[1].tolist() == [0, 1, 0, 2, 1]
    with pytest.raises(ValueError, match="inconsistent numbers of samples: 4 groups for 5 rows"):
        check_groups(TEXT, 5)


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        ([1, -0.5, 2], r"must not be negative, but is -0.5 at position 1"),
        ([1, np.nan, 2], "missing"),
        ([1, None, 2], "missing"),
        ([1, np.inf, 2], "infinite"),
        ([1, 2], "inconsistent numbers"),
        (np.ones((3, 2)), "inconsistent numbers"),
        (2.0, "inconsistent numbers"),
        ([0, 0, 0], "at least one non-zero"),
        (["one", "two", "three"], "holds text, such as"),
    ],
)
def test_weights_are_weights(weights, message):
    with pytest.raises(ValueError, match=message):
        check_sample_weight(weights, 3)


def test_weights_in_other_forms():
    assert check_sample_weight(None, 3) is None
    for weights in (
        [True, False, True],
        (1, 0, 1),
        np.float32([1, 0, 1]),
        frame([1, 0, 1], "Int64"),
    ):
        checked = check_sample_weight(weights, 3)
        assert checked.dtype == np.float64
        assert checked.tolist() == [1, 0, 1]


def test_pandas_is_not_needed(monkeypatch):
    monkeypatch.setitem(sys.modules, "pandas", None)  # an import of it would fail

    assert check_labels(np.array(TEXT, dtype=object)).tolist() == TEXT
    with pytest.raises(ValueError, match="y has 2 missing values"):
        check_labels(text_with(None))
