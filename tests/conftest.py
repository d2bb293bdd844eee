"""What all tests share: real recordings where there are some, and skips that say why."""

import functools
import os
from pathlib import Path

import pytest
import scipy.linalg  # noqa: F401 - loads a library of linear algebra
from threadpoolctl import ThreadpoolController

from skspeech._threads import loaded  # asks for torch without importing it


def _recordings():
    folder = os.environ.get("SKSPEECH_DATA")
    return Path(folder) if folder and Path(folder).is_dir() else None


collect_ignore = ["musicnn_reference.py"]  # a script: to look for doctests imports TensorFlow

# Files that take minutes come first: one that is left for the end keeps one worker of two waiting.
LONG = ("test_common", "test_recurrent", "test_examples", "test_fine_tuned", "test_linear")


def pytest_configure(config):
    if hasattr(config.option, "loadscopereorder"):  # pytest-xdist: not by the number of tests
        config.option.loadscopereorder = False


def pytest_ignore_collect(collection_path, config):
    """For `-m alone`, leave out files that speak of no such test: to import all takes a while."""
    alone = config.getoption("markexpr").startswith("alone")
    if alone and collection_path.suffix == ".py":
        return "mark.alone" not in collection_path.read_text() or None
    return None


def pytest_collection_modifyitems(items):
    for path in {item.path for item in items if item.get_closest_marker("alone")}:
        assert "mark.alone" in path.read_text(), f"-m alone would not look into {path}"
    place = {name: number for number, name in enumerate(LONG)}
    items.sort(key=lambda item: place.get(item.path.stem, len(LONG)))


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
    from sounds import labelled_tones

    return labelled_tones()


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
def computed(monkeypatch):
    """Keys of the clips that are embedded from now on: what is remembered is in no list twice."""
    from skspeech.cache import MemoryStore

    keys, set_many = [], MemoryStore.set_many

    def note(self, items):
        keys.extend(items)
        set_many(self, items)

    monkeypatch.setattr(MemoryStore, "set_many", note)
    return keys


# What no public name leads to, and more than one file of tests needs: it is named here alone.


@pytest.fixture
def no_networks(monkeypatch):
    """No pretrained network is loaded, as in a new process."""
    monkeypatch.setattr("skspeech.transformers._windowed._networks", {})


@pytest.fixture
def cut_longer_than(monkeypatch):
    """Sets from how many seconds on clips are embedded in parts, and the seconds of a part."""

    def cut(longest, part):
        monkeypatch.setattr("skspeech.transformers._windowed._LONGEST", longest)
        for module in ("_windowed", "spectral"):
            monkeypatch.setattr(f"skspeech.transformers.{module}.PART_SECONDS", part)

    return cut


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


@pytest.fixture
def many_threads(monkeypatch):
    """As in a container that may use one core of many."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(5)
    monkeypatch.setattr("joblib.cpu_count", lambda: 1)
    yield
    assert torch.get_num_threads() == 5
    torch.set_num_threads(before)


@pytest.fixture
def set_bfloat16(monkeypatch):
    """A function that lets extractors believe that the processor computes in bfloat16, or not."""

    def pretend(can):
        for module in ("_precision", "_windowed", "speaker"):
            name = f"skspeech.transformers.{module}.computes_bfloat16"
            monkeypatch.setattr(name, lambda device, instructions=(): can)

    return pretend
