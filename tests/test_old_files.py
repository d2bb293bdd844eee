"""Pickles and model files that an earlier version made still load, and predict the same."""

import pickle
from pathlib import Path

import numpy as np
import pytest
from sklearn.datasets import load_iris

import skspeech
from skspeech.datasets import make_tones
from skspeech.weights import WeightsError, load_weights

FOLDER = Path(__file__).parent / "old_files"
EXPECTED = np.load(FOLDER / "expected.npz")


def unpickle(path):
    with open(path, "rb") as file:
        return pickle.load(file)


@pytest.mark.parametrize("load", [unpickle, skspeech.load], ids=["pickle", "skspeech"])
@pytest.mark.parametrize("name", ["table", "clips"])
def test_time_budget_runs(load, name):
    if name == "clips":
        _needs("ge2e")
    rows = load_iris().data[::10] if name == "table" else _clips()
    model = load(FOLDER / f"{name}.{'pickle' if load is unpickle else 'skspeech'}")
    np.testing.assert_allclose(model.predict_proba(rows), EXPECTED[name], atol=1e-5)
    assert isinstance(model, skspeech.TimeBudgetClassifier)
    assert set(model.predict(rows)) <= set(model.classes_)


def test_a_linear_classifier_of_clips():
    _needs("ge2e")
    model = unpickle(FOLDER / "speaker.pickle")
    np.testing.assert_allclose(model.predict_proba(_clips()), EXPECTED["speaker"], atol=1e-4)


def test_a_rejector_that_measures_in_the_plane_of_the_classes():
    model = unpickle(FOLDER / "rejector.pickle")
    rows = load_iris().data[::10]
    np.testing.assert_allclose(model.unknown_score(rows), EXPECTED["rejector"], rtol=1e-6)
    assert set(model.predict(rows)) <= set(model.classes_)


def _clips():
    return make_tones(n_samples=24, n_classes=3, random_state=0).data[:4]


def _needs(network):
    try:
        load_weights(network)
    except WeightsError as error:
        pytest.skip(f"needs the pretrained weights: {error}")
