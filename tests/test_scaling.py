"""Scalings of feature rows."""

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.exceptions import NotFittedError
from sklearn.preprocessing import StandardScaler

from skspeech.transformers.scaling import ClippedStandardScaler, SignedSqrt


@pytest.fixture
def features():
    return np.random.default_rng(0).normal(scale=10, size=(8, 5))


def test_squaring_with_the_sign_gives_the_features_back(features):
    rooted = SignedSqrt().fit_transform(features)

    assert_allclose(np.sign(rooted) * rooted**2, features)


@pytest.mark.parametrize(
    ("norm", "length"),
    [
        ("l1", lambda rows: np.abs(rows).sum(axis=1)),
        ("l2", lambda rows: np.sqrt((rows**2).sum(axis=1))),
        ("max", lambda rows: np.abs(rows).max(axis=1)),
    ],
)
def test_norm_scales_each_row_and_keeps_its_direction(features, norm, length):
    rooted, scaled = SignedSqrt().fit_transform(features), SignedSqrt(norm=norm).transform(features)

    assert_allclose(length(scaled), 1)
    assert_allclose(scaled * length(rooted)[:, None], rooted)


@pytest.mark.parametrize("norm", [None, "l1", "l2", "max"])
def test_silent_rows_stay_zero(norm):
    assert_array_equal(SignedSqrt(norm=norm).fit_transform(np.zeros((2, 3))), np.zeros((2, 3)))


def test_needs_no_fit_and_leaves_its_input_alone(features):
    before = features.copy()

    unfitted = SignedSqrt(norm="l2").transform(features)

    assert_array_equal(unfitted, SignedSqrt(norm="l2").fit(features[:2]).transform(features))
    assert_array_equal(features, before)


def test_a_row_does_not_depend_on_the_others(features):
    together = SignedSqrt(norm="l2").transform(features)

    assert_array_equal(
        np.vstack([SignedSqrt(norm="l2").transform([row]) for row in features]), together
    )


@pytest.mark.parametrize(
    ("given", "got"), [("float32", "float32"), ("float64", "float64"), ("int16", "float64")]
)
def test_dtype(features, given, got):
    assert SignedSqrt().fit_transform(features.astype(given)).dtype == got


def test_set_output_and_names():
    pd = pytest.importorskip("pandas")
    frame = pd.DataFrame({"loud": [4.0, 9.0], "soft": [-1.0, 0.25]}, index=["a", "b"])

    scaled = SignedSqrt().set_output(transform="pandas").fit_transform(frame)

    pd.testing.assert_frame_equal(
        scaled, pd.DataFrame({"loud": [2.0, 3.0], "soft": [-1.0, 0.5]}, index=["a", "b"])
    )
    assert_array_equal(SignedSqrt().fit(frame).get_feature_names_out(), ["loud", "soft"])


def test_unknown_norm_is_named(features):
    with pytest.raises(ValueError, match=r"'norm' parameter of SignedSqrt .* Got 'l3' instead"):
        SignedSqrt(norm="l3").fit(features)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_bad_values_are_refused(features, bad):
    features[3, 2] = bad
    with pytest.raises(ValueError, match=r"contains (NaN|infinity)"):
        SignedSqrt().transform(features)


def test_standardizes_like_scikit_learn_within_the_limit(features):
    weight = np.arange(len(features)) % 3

    scaled = ClippedStandardScaler(clip=0.8).fit(features, sample_weight=weight).transform(features)

    expected = StandardScaler().fit(features, sample_weight=weight).transform(features)
    assert abs(expected).max() > 1
    assert_allclose(scaled, expected.clip(-0.8, 0.8))


@pytest.mark.parametrize("part", [slice(4096), slice(4096, 8192), slice(4096, None)])
def test_many_rows_in_a_row_may_have_no_weight(part):
    rng = np.random.default_rng(0)
    rows, weight = rng.normal(5, 3, size=(9000, 2)), rng.random(9000)
    weight[part] = 0

    scaler = ClippedStandardScaler().fit(rows, sample_weight=weight)

    expected = StandardScaler().fit(rows, sample_weight=weight)
    assert_allclose(scaler.mean_, expected.mean_)
    assert_allclose(scaler.scale_, expected.scale_)


@pytest.mark.parametrize("n_weights", [7, 9])
def test_each_row_needs_a_weight(features, n_weights):
    with pytest.raises(ValueError, match=rf"weights of shape \({n_weights},\) for 8 rows"):
        ClippedStandardScaler().fit(features, sample_weight=np.ones(n_weights))


def test_units_that_rest_in_training_stay_small_when_they_wake():
    rows = np.random.default_rng(0).normal(size=(50, 4)).astype(np.float32)
    rows[:, 1] = 0  # never varies
    rows[:, 2] = 0
    rows[7, 2] = 1e-42  # varies by less than float32 can divide by
    rows[:, 3] = 0.5 + 1e-14 * np.arange(50)

    scaler = ClippedStandardScaler().fit(rows)

    assert_allclose(scaler.transform(rows)[:, 1:], 0, atol=1e-6)
    awake = scaler.transform(np.full((1, 4), 3e38, dtype=np.float32))
    assert awake.dtype == np.float32
    assert_array_equal(awake, [[5, 5, 5, 5]])


def test_rounding_is_not_made_a_feature():
    """A unit that rests gives one value, but for the last bits, which differ between machines."""
    value = np.float32(0.0014)
    rest = np.nextafter(value, np.float32([0, 1, 0, 1, 1]))
    features = np.column_stack([rest, np.arange(5)]).astype(np.float32)

    scaler = ClippedStandardScaler().fit(features)

    assert np.abs(scaler.transform(features)[:, 0]).max() < 1e-6
    assert scaler.transform(features)[:, 1].std() > 0.99


def test_clipping_leaves_its_input_alone(features):
    before = features.copy()

    ClippedStandardScaler(clip=0.1).fit_transform(features)

    assert_array_equal(features, before)


def test_clipping_keeps_names_with_pandas():
    pd = pytest.importorskip("pandas")
    frame = pd.DataFrame({"loud": [4.0, 9.0], "soft": [-1.0, 0.25]}, index=["a", "b"])

    scaled = ClippedStandardScaler(clip=0.5).set_output(transform="pandas").fit_transform(frame)

    expected = pd.DataFrame({"loud": [-0.5, 0.5], "soft": [-0.5, 0.5]}, index=["a", "b"])
    pd.testing.assert_frame_equal(scaled, expected)


def test_clip_is_checked(features):
    with pytest.raises(ValueError, match=r"'clip' parameter of ClippedStandardScaler .* Got 0"):
        ClippedStandardScaler(clip=0).fit(features)


def test_means_have_to_be_learnt(features):
    with pytest.raises(NotFittedError):
        ClippedStandardScaler().transform(features)


def test_batches_make_no_difference():
    rng = np.random.RandomState(0)
    features = rng.standard_normal((10_000, 3)) * [1, 5, 0] + [0, 1000, 3]
    weight = np.where(np.arange(10_000) < 5_000, 0, rng.uniform(0, 2, 10_000))
    for given in (None, weight):
        scaler = ClippedStandardScaler().fit(features, sample_weight=given)
        expected = StandardScaler().fit(features, sample_weight=given)
        assert_allclose(scaler.mean_, expected.mean_)
        assert_allclose(scaler.scale_, expected.scale_)
    with pytest.raises(ValueError, match="at least one non-zero number"):
        ClippedStandardScaler().fit(features, sample_weight=np.zeros(10_000))
