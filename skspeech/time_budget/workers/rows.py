"""Rows on their way to other processes: as files, or as values."""

import os
import pickle
import shutil
import tempfile
import uuid

import joblib

from skspeech._stopping import Stopped

__all__ = ["ExchangeFolder", "RowsOfJob"]


class ExchangeFolder:
    """A folder for files that worker processes read and write; created when needed.

    If this process is killed, its workers remove the folder. So a worker has to know its name, and
    run, before the folder is there.
    """

    def __init__(self):
        self._name = None
        self._exists = self._closed = False

    @property
    def name(self):
        """The path, whether or not the folder exists yet."""
        if self._name is None:
            self._name = os.path.join(tempfile.gettempdir(), f"skspeech-{uuid.uuid4().hex}")
        return self._name

    @property
    def path(self):
        """The path of the folder, which now exists."""
        if self._closed:
            raise Stopped
        if not self._exists:
            os.mkdir(self.name, mode=0o700)
            self._exists = True
        return self.name

    def dump(self, name, value):
        """Write a value to a file, once; return the path."""
        path = os.path.join(self.path, f"{name}.joblib")
        if not os.path.exists(path):
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
        self._closed = True
        if self._name is not None:
            shutil.rmtree(self._name, ignore_errors=True)


class RowsOfJob:
    """The rows that a job trains on and predicts.

    Parameters
    ----------
    data : Data
    features : SharedFeatures, UnitedFeatures or None
        If they are shared, they replace the rows.
    train_rows : ndarray of int
    test_rows : ndarray of int or None
    folder : ExchangeFolder
    """

    def __init__(self, data, features, train_rows, test_rows, folder):
        shared = features is not None and features.shareable
        self.data, self.features = data, features if shared else None
        self.train_rows, self.test_rows, self.folder = train_rows, test_rows, folder

    def train(self):
        """References to X and y: each is the path of a file and rows in it."""
        labels = self.folder.dump("y", self.data.y)
        return self._reference(self.train_rows), (labels, self.train_rows)

    def test(self):
        """Reference to the rows to predict; None for no rows."""
        return None if self.test_rows is None else self._reference(self.test_rows)

    def values(self):
        """X and y to train on, and X to predict or None."""
        test = None if self.test_rows is None else self._take(self.test_rows)
        return self._take(self.train_rows), self.data.y[self.train_rows], test

    def _reference(self, rows):
        if self.features is not None:
            return self.features.dump(self.folder.path), rows
        part, indices = self.data.locate(rows)
        return self.folder.dump(f"part-{part}", self.data.parts[part]), indices

    def _take(self, rows):
        return self.data.take(rows) if self.features is None else self.features.take(rows)
