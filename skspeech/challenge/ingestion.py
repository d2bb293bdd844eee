"""The process in which a local test of the challenge runs a participant's code.

It replaces the challenge's ingestion program: it makes the model, trains and tests it in turns
while the clock runs, and writes each answer at once. :func:`skspeech.challenge.run_local_test`
reads the answers after this process has ended or was killed.
"""

import contextlib
import importlib
import json
import math
import os
import signal
import sys
import threading
import time
from pathlib import Path

import numpy as np

__all__ = ["Clock", "Log", "OutOfTime", "answers", "load_model_class", "main"]

START_FILE = "start.txt"
END_FILE = "end.txt"


class OutOfTime(Exception):
    """Raised in a participant's code when its time is over, as by the official program."""


class Clock:
    """A budget of seconds that runs only while the model works."""

    def __init__(self, budget):
        self.budget = budget
        self.spent = 0.0

    @property
    def left(self):
        return self.budget - self.spent

    @contextlib.contextmanager
    def running(self):
        """Count the seconds of a block, and interrupt it with `OutOfTime` at the budget's end."""
        start = time.monotonic()
        with _alarm(self.left):
            try:
                yield
            finally:
                self.spent += time.monotonic() - start
        if self.left <= 0:
            raise OutOfTime


def main(data_dir, code_dir, output_dir, time_budget, init_time_budget):
    """Run the model in `code_dir` (None for skspeech's own) and return an exit status."""
    from skspeech.challenge import load_autospeech, one_hot

    log = Log(Path(output_dir))
    data = load_autospeech(data_dir)
    data.metadata["time_budget"] = time_budget
    train = data.X_train, one_hot(data.y_train, data.metadata["class_num"])
    shape = len(data.X_test), data.metadata["class_num"]
    log.start(data.name, time_budget)
    success = False
    try:
        with Clock(init_time_budget).running():
            model = load_model_class(code_dir)(data.metadata)
        log.initialised()
        clock = Clock(time_budget)
        for labels in answers(model, train, data.X_test, shape, clock):
            log.answer(labels, clock.spent)
        success = True
    except OutOfTime:
        success = log.is_initialised
        print("The time is over." if success else "Initialising took too long.", file=sys.stderr)
    finally:
        log.end(success)
    return 0 if success else 1


def load_model_class(code_dir):
    """Import `Model` from the participant's model.py."""
    if code_dir is None:
        from skspeech.challenge import Model

        return Model
    sys.path.insert(0, str(code_dir))
    return importlib.import_module("model").Model


def answers(model, train, X_test, shape, clock):
    """Train and test in turns; yield the labels of each answer."""
    while not getattr(model, "done_training", False):
        with clock.running():
            model.train(train, remaining_time_budget=clock.left)
        with clock.running():
            scores = model.test(X_test, remaining_time_budget=clock.left)
        if scores is None:
            return
        scores = np.asarray(scores)
        if scores.shape != shape:
            raise ValueError(
                f"Model.test returned an array of shape {scores.shape}; expected (test_num, "
                f"class_num) = {shape}."
            )
        yield scores.argmax(axis=1)


class Log:
    """The text files that record what happened and when, in the official format."""

    def __init__(self, folder):
        self.folder = folder
        self.n_answers = 0
        self.is_initialised = False

    def start(self, name, time_budget):
        self.name = name
        self.start_time = time.time()
        facts = {
            "ingestion_pid": os.getpid(),
            "task_name": name,
            "time_budget": time_budget,
            "start_time": self.start_time,
        }
        self._note(START_FILE, **facts)

    def initialised(self):
        self.is_initialised = True
        self._note(START_FILE, init_duration=time.time() - self.start_time)

    def answer(self, labels, seconds):
        # The answer first, then its time, so that each recorded time has its answer.
        path = self.folder / f"{self.name}.predict_{self.n_answers}"
        path.write_text("".join(f"{label}\n" for label in labels))
        self._note(START_FILE, **{str(self.n_answers): seconds})
        self.n_answers += 1

    def end(self, success):
        now = time.time()
        self._note(
            END_FILE,
            ingestion_duration=now - self.start_time,
            ingestion_success=int(success),
            end_time=now,
        )

    def _note(self, file, **facts):
        with open(self.folder / file, "a") as lines:
            lines.write("".join(f"{key}: {value}\n" for key, value in facts.items()))


@contextlib.contextmanager
def _alarm(seconds):
    """Raise `OutOfTime` after some seconds, on systems that have alarms.

    On others, and in native code that does not return, the parent process kills this one.
    """
    if not hasattr(signal, "setitimer"):
        yield
        return

    def ring(number, frame):
        raise OutOfTime

    before = signal.signal(signal.SIGALRM, ring)
    signal.setitimer(signal.ITIMER_REAL, max(seconds, math.ulp(1.0)))
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def _end_with_parent():
    """End this process, and what the model started, when the parent's end of stdin is closed."""
    parent = os.fdopen(os.dup(0), "rb")
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.close(nothing)

    def watch():
        parent.read()
        if hasattr(os, "killpg") and os.getpgid(0) == os.getpid():
            os.killpg(0, signal.SIGKILL)
        os._exit(1)

    threading.Thread(target=watch, name="skspeech-parent", daemon=True).start()


if __name__ == "__main__":
    _end_with_parent()
    status = main(**json.loads(sys.argv[1]))
    sys.stdout.flush()
    sys.stderr.flush()
    # A model may leave threads behind, even in native code. Python would wait for them, or abort
    # because of them, and turn a success into a failure.
    os._exit(status)
