"""Rows on their way to other processes: as files, or as values."""

import contextlib
import functools
import os
import pickle
import shutil
import tempfile
import uuid
from dataclasses import dataclass
from typing import Any

import joblib
import numpy as np

from skspeech._stopping import Stopped

__all__ = ["ExchangeFolder", "RowsOfJob"]


class ExchangeFolder:
    """A folder for files that worker processes read and write; created when needed.

    If this process is killed, its workers remove the folder. So a worker has to know its name, and
    run, before the folder is there.
    """

    def __init__(self):
        self.is_closed = False

    @functools.cached_property
    def name(self):
        """The path, whether or not the folder exists yet."""
        return os.path.join(tempfile.gettempdir(), f"skspeech-{os.getpid()}-{uuid.uuid4().hex}")

    def dump(self, name, make):
        """Write what `make` returns to a file, once; return the path."""
        if self.is_closed:
            raise Stopped
        with contextlib.suppress(FileExistsError):
            os.mkdir(self.name, mode=0o700)
        path = os.path.join(self.name, f"{name}.joblib")
        if not os.path.exists(path):
            value = make()
            try:
                joblib.dump(value, path + ".part")
            except (pickle.PicklingError, AttributeError, TypeError):
                import cloudpickle

                with open(path + ".part", "wb") as file:
                    cloudpickle.dump(value, file)
            os.replace(path + ".part", path)
        return path

    def close(self):
        """Remove the folder."""
        self.is_closed = True
        if "name" in vars(self):  # it was needed
            shutil.rmtree(self.name, ignore_errors=True)


@dataclass
class RowsOfJob:
    """The rows that a job trains on and predicts."""

    source: Any  # `Data` or `SharedFeatures`, of which they are taken
    y: np.ndarray  # the labels of all rows
    train: np.ndarray
    test: np.ndarray | None  # None if nothing is predicted

    def values(self):
        """X and y to train on, and X to predict or None."""
        test = None if self.test is None else self.source.take(self.test)
        return self.source.take(self.train), self.y[self.train], test

    def files(self, folder):
        """The same, but each is the path of a file, which is written once, and rows in it."""
        y = folder.dump("y", lambda: self.y), self.train
        test = None if self.test is None else self.source.dump(folder, self.test)
        return self.source.dump(folder, self.train), y, test
