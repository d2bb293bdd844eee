"""What all tests share: real recordings where there are some, and skips that say why."""

import os
from pathlib import Path

import pytest


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


@pytest.fixture
def write(tmp_path):
    """Write a sound file, return its path."""
    import soundfile

    def write(name, samples, rate=16_000, **options):
        path = tmp_path / name
        soundfile.write(path, samples, rate, **options)
        return str(path)

    return write
