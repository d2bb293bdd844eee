"""What all tests share: real recordings where there are some, and skips that say why."""

import functools
import os
from pathlib import Path

import numpy as np
import pytest
import scipy.linalg  # noqa: F401 - loads a library of linear algebra
from threadpoolctl import ThreadpoolController

from skspeech._threads import loaded


def _recordings():
    folder = os.environ.get("SKSPEECH_DATA")
    return Path(folder) if folder and Path(folder).is_dir() else None


def pytest_runtest_setup(item):
    if item.get_closest_marker("data") and _recordings() is None:
        pytest.skip("needs real recordings: SKSPEECH_DATA names no folder that holds them")
    if item.get_closest_marker("gpu"):
        import torch

        if not torch.cuda.is_available():
            pytest.skip("needs a CUDA device")


@pytest.fixture(scope="session")
def data_home():
    """Folder with the data sets fsdd and emodb; for tests with the marker ``data``."""
    return _recordings()


@pytest.fixture(scope="session")
def tones():
    """24 clips of 0.3 s, which no test changes, and which of three tones each is."""
    from skspeech.datasets import make_tones

    bunch = make_tones(n_samples=24, n_classes=3, duration=0.3, random_state=0)
    return bunch.data, np.array(["low", "middle", "high"])[bunch.target]


@pytest.fixture
def no_repeats(monkeypatch):
    """A run under a time budget ends when each candidate is validated once.

    Otherwise it would use the time that is left for other folds.
    """
    monkeypatch.setattr("skspeech.time_budget.splits.MAX_REPEATS", 1)


@pytest.fixture
def quick_map(monkeypatch):
    """The map of a report is drawn after a fraction of the steps that it would take."""
    from sklearn.manifold import TSNE

    monkeypatch.setattr("sklearn.manifold.TSNE", functools.partial(TSNE, max_iter=250))


@pytest.fixture
def write(tmp_path):
    """Write a sound file, return its path."""
    import soundfile

    def write(name, samples, rate=16_000, **options):
        path = tmp_path / name
        soundfile.write(path, samples, rate, **options)
        return str(path)

    return write


_LIBRARIES = ThreadpoolController()  # to look for them anew takes some milliseconds


def _threads():
    """How many threads each numerical library may use, as far as it is loaded."""
    torch = loaded("torch")
    own = {} if torch is None else {"torch": torch.get_num_threads()}
    return own | {info["filepath"]: info["num_threads"] for info in _LIBRARIES.info()}


@pytest.fixture(autouse=True)
def _threads_are_set_back():
    """Whoever changes them changes what all later tests compute, and how fast."""
    before = _threads()
    yield
    after = _threads()
    assert {**after, **before} == after
