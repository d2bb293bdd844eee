"""Classifiers that misbehave, each in its own way, and a few that behave."""

import ctypes
import os
import signal
import subprocess
import sys
import threading
import time

import numpy as np
from sklearn.base import BaseEstimator, ClassifierMixin, TransformerMixin
from sklearn.linear_model import LogisticRegression
from sklearn.naive_bayes import GaussianNB


class Fake(ClassifierMixin, BaseEstimator):
    """Predicts like naive Bayes; subclasses do something else before or instead."""

    def fit(self, X, y):
        self.model_ = GaussianNB().fit(X, y)
        self.classes_ = self.model_.classes_
        self.misbehave(X, y)
        return self

    def misbehave(self, X, y):
        pass

    def predict_proba(self, X):
        return self.model_.predict_proba(X)

    def predict(self, X):
        return self.classes_[self.predict_proba(X).argmax(axis=1)]


class Logistic(Fake):
    """Good, and unknown to the scheduler: it runs in a worker."""

    def fit(self, X, y):
        self.model_ = LogisticRegression(max_iter=1000).fit(X, y)
        self.classes_ = self.model_.classes_
        return self


class FailsOnAllRows(Logistic):
    """Can be validated on a part of the rows, and not be trained on all 150."""

    def fit(self, X, y):
        if len(X) == 150:
            raise ValueError("too many rows")
        return super().fit(X, y)


class Sleeper(Fake):
    def misbehave(self, X, y):
        time.sleep(3600)


class ShortSleeper(Fake):
    def misbehave(self, X, y):
        time.sleep(5)


class Waiter(Fake):
    """Waits for the end of the test, in a thread of its process."""

    end = threading.Event()

    def misbehave(self, X, y):
        self.end.wait(60)


class NativeHang(Fake):
    """Hangs in C without releasing the interpreter, deaf to polite signals."""

    def misbehave(self, X, y):
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        ctypes.PyDLL(None).sleep(3600)


class Segfault(Fake):
    def misbehave(self, X, y):
        ctypes.string_at(0)


class SelfKill(Fake):
    def misbehave(self, X, y):
        os.kill(os.getpid(), signal.SIGKILL)


class SelfStop(Fake):
    def misbehave(self, X, y):
        os.kill(os.getpid(), signal.SIGSTOP)


class LeavesAndDies(Fake):
    """Its grandchild has left the family, holds the pipes, and outlives it."""

    def misbehave(self, X, y):
        if os.fork() == 0:
            os.setsid()
            if os.fork() == 0:
                time.sleep(3600)
            os._exit(0)
        os.wait()
        os._exit(3)


class Exiter(Fake):
    def misbehave(self, X, y):
        os._exit(7)


class SystemExiter(Fake):
    def misbehave(self, X, y):
        sys.exit("enough")


class MemoryHog(Fake):
    def misbehave(self, X, y):
        self.hoard_ = []
        while True:
            self.hoard_.append(np.ones(2**20))
            time.sleep(0.002)


class Raiser(Fake):
    def misbehave(self, X, y):
        raise RuntimeError("no such luck")


class PredictsNaN(Fake):
    def predict_proba(self, X):
        return np.full((len(X), len(self.classes_)), np.nan)


class WrongShape(Fake):
    def predict_proba(self, X):
        return np.ones((len(X), len(self.classes_) + 1))


class WrongLength(Fake):
    def predict_proba(self, X):
        return self.model_.predict_proba(X)[:-1]


class Printer(Fake):
    """Floods both streams, from Python and from below."""

    def misbehave(self, X, y):
        for _ in range(2000):
            print("x" * 500)
            sys.stderr.write("y" * 500)
            os.write(1, b"z" * 500)
        raise RuntimeError("said too much")


class Forker(Fake):
    """Leaves children behind: plain ones, and one that left its family."""

    def misbehave(self, X, y):
        subprocess.Popen([sys.executable, "-c", "import time; time.sleep(3600)"])
        subprocess.Popen(
            [sys.executable, "-c", "import time; time.sleep(3600)"], start_new_session=True
        )
        if os.fork() == 0:
            os.setsid()
            if os.fork() == 0:
                time.sleep(3600)
            os._exit(0)


class ForksAndReturns(Fake):
    """Both parent and child go on after `fit`."""

    def misbehave(self, X, y):
        os.fork()


class NotUnpicklable(Fake):
    """Can be pickled, but not read again."""

    def __reduce__(self):
        return _refuse, ()


def _refuse():
    raise ImportError("this model does not come back")


class RaisesOnArrival(Fake):
    """Its unfitted self cannot be read in another process."""

    def __init__(self, home=None):
        self.home = home

    def __setstate__(self, state):
        if os.environ.get("SKSPEECH_WORKER"):
            raise ImportError("not in a worker")
        super().__setstate__(state)


class NotPicklable(Fake):
    def misbehave(self, X, y):
        self.lock_ = __import__("threading").Lock()


class Anytime(Fake):
    """Yields ever better snapshots; then it hangs."""

    def __init__(self, hang=True):
        self.hang = hang

    def iter_fit(self, X, y):
        for step in (10, 1):
            self.model_ = LogisticRegression(max_iter=1000).fit(X[::step], y[::step])
            self.classes_ = self.model_.classes_
            yield self
        while self.hang:
            time.sleep(1)


class Timed(Fake):
    """Keeps to its `max_time`, and remembers it."""

    def __init__(self, max_time=None):
        self.max_time = max_time

    def misbehave(self, X, y):
        time.sleep(min(self.max_time, 3600))


class IgnoresMaxTime(Timed):
    def misbehave(self, X, y):
        time.sleep(3600)


class SlowEmbedding(TransformerMixin, BaseEstimator):
    """Stateless, with a price for each row; counts the rows that it saw in this process."""

    seen = 0

    def __init__(self, seconds=0.0, power=1.0, fail=False):
        self.seconds = seconds
        self.power = power
        self.fail = fail

    def fit(self, X, y=None):
        return self

    def transform(self, X):
        if self.fail:
            raise ValueError("row 3 is no good")
        time.sleep(self.seconds * len(X))
        type(self).seen += len(X)
        X = np.asarray(X, dtype=np.float64)
        return np.sign(X) * np.abs(X) ** self.power

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.requires_fit = False
        return tags


class HangingEmbedding(SlowEmbedding):
    def transform(self, X):
        time.sleep(3600)


class NeedsGroups(Fake):
    """Cannot be trained without groups and weights."""

    def fit(self, X, y, groups=None, sample_weight=None):
        if groups is None or sample_weight is None or len(groups) != len(X):
            raise RuntimeError("groups or weights are missing")
        self.groups_, self.sample_weight_ = np.asarray(groups), np.asarray(sample_weight)
        return super().fit(X, y)


class Guesser(Fake):
    """Knows nothing: its probabilities are drawn from the row and a seed."""

    def __init__(self, seed=0):
        self.seed = seed

    def predict_proba(self, X):
        rows = np.abs(np.asarray(X) * 1e6).astype(np.int64).sum(axis=1)
        draws = [np.random.default_rng([self.seed, row]).random(len(self.classes_)) for row in rows]
        return np.array(draws) / np.sum(draws, axis=1, keepdims=True)


class SlowToPredict(Fake):
    def __init__(self, seconds=0.0):
        self.seconds = seconds

    def predict_proba(self, X):
        time.sleep(self.seconds * len(X))
        return super().predict_proba(X)
