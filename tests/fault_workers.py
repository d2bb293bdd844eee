"""What runs in processes that the reliability tests kill, starve or shut out.

It is quick to import, and each function is told everything by its arguments: a process may have
been forked from one that knows nothing of the test.
"""

import os
import signal
import warnings

import memory
import numpy as np


def make_clip(number):
    """A short clip that its number tells all of."""
    rng = np.random.default_rng(number)
    tone = np.sin(2 * np.pi * (100 + 20 * (number % 20)) * np.arange(4000) / 16_000)
    return (0.3 * tone + 0.05 * rng.normal(size=4000)).astype(np.float32)


def value_of(number):
    """A value that its number tells all of, and of a size that depends on it."""
    return np.full(50 + number % 500, number, dtype=np.float32)


def store_for_ever(connection, folder, first):
    """Write batches to a store, and tell of each that is written."""
    from skspeech.cache import DiskStore

    store = DiskStore(folder)
    connection.send("ready")
    while True:
        numbers = range(first, first + 20)
        store.set_many({f"key {number}": value_of(number) for number in numbers})
        first += 20
        connection.send(first)


def embed_for_ever(connection, folder, n_clips):
    """Embed clips that are remembered on disk, a few at a time."""
    from skspeech import SpectralStatistics
    from skspeech.cache import clear

    extractor = SpectralStatistics(memory=folder, n_jobs=1)
    connection.send("ready")
    start = 0
    while True:
        clear()  # only the disk remembers
        numbers = [(start + i) % n_clips for i in range(4)]
        features = extractor.transform([make_clip(number) for number in numbers])
        connection.send((numbers, features))
        start += 4


def fetch_for_ever(connection, environment, sha256):
    """Fetch and convert a toy's weights, throw them away, and again."""
    from test_weights import make_registry

    from skspeech import weights

    os.environ.update(environment)
    weights.registry.REGISTRY = make_registry(sha256)
    connection.send("ready")
    while True:
        path = weights.fetch_weights("one", progress=False)
        connection.send(1)
        path.unlink()


def save_for_ever(connection, path, seed):
    """Save one model after another to one file."""
    import skspeech

    skspeech.save(fitted_model(seed), f"{path}.first")  # imports what it takes
    connection.send("ready")
    while True:
        skspeech.save(fitted_model(seed), path)
        connection.send(seed)
        seed += 1


def fitted_model(seed):
    """A model that its number tells all of; beyond 1,000, one that takes megabytes."""
    from sklearn.naive_bayes import GaussianNB

    rng = np.random.default_rng(seed)
    X, y = rng.normal(size=(10, 5 + seed % 200 if seed < 1000 else 50_000)), np.arange(10) % 2
    model = GaussianNB().fit(X + y[:, None], y)
    model.seed_ = seed
    return model


def limited(connection, function, max_file_bytes, *arguments):
    """Run a function while no file may grow beyond some bytes; send what it returns or raises."""
    import resource

    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (max_file_bytes, max_file_bytes))
    report(connection, function, *arguments)


def report(connection, function, *arguments):
    """Send what a function returns, with its warnings, or the error that it raises."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            outcome = function(*arguments)
        except Exception as error:
            outcome = error
    connection.send((outcome, [str(warning.message) for warning in caught]))


def in_memory_limit(connection, function, max_bytes, *arguments):
    """Run a function with so many bytes of memory beyond what the process has; and its peak."""
    import resource

    import psutil

    now = psutil.Process().memory_info().vms
    resource.setrlimit(resource.RLIMIT_AS, (now + max_bytes, now + max_bytes))
    before = memory.resident()
    memory.forget_peak()
    try:
        outcome = function(*arguments)
    except Exception as error:
        outcome = error
    grown = (memory.peak() - before) * 2**20
    said = "" if isinstance(outcome, list) else str(outcome)
    connection.send((type(outcome).__name__, said, grown))


def transform(clips, folder):
    """Features of clips that are remembered on disk."""
    from skspeech import SpectralStatistics

    return SpectralStatistics(memory=folder, n_jobs=1).transform(clips)


def store(folder, first, n, width):
    """Write values, and read what has been kept."""
    from skspeech.cache import DiskStore

    values = {f"key {i}": np.full(width, i, dtype=np.float32) for i in range(first, first + n)}
    one = DiskStore(folder)
    one.set_many(values)
    return one.get_many(values)


def fetch(environment, sha256, size=None):
    """Fetch a toy's weights; with a size, they are that large."""
    import test_weights

    from skspeech import weights

    os.environ.update(environment)
    if size:
        test_weights.VALUES = {"one": np.zeros(size, "f4"), "two": np.zeros(size, "f4")}
        test_weights.convert = _convert_anything
    weights.registry.REGISTRY = test_weights.make_registry(sha256)
    return str(weights.fetch_weights("one", progress=False))


def _convert_anything(folder, entries):
    import test_weights

    return [{"x": test_weights.VALUES[entry.name]} for entry in entries]


def save(path, seed):
    """Save a model."""
    import skspeech

    return str(skspeech.save(fitted_model(seed), path))


def write_page(path, text):
    """Write a page as a report is written."""
    from skspeech.report.writing import write_page

    return str(write_page(text, path))


def load_clip(path, max_duration=None):
    """Shape of a clip's waveform."""
    from skspeech.audio import load_waveforms

    return load_waveforms([path], max_duration=max_duration)[0].shape


def load_pickle(path):
    """What a pickle of arrays holds."""
    from skspeech._unpickle import load_arrays  # what hostile pickles are read with

    return load_arrays(path)
