"""The AutoSpeech challenge: its interface, its data folders, and a local test with its protocol.

The challenge gives a program labelled clips, asks it again and again for predictions of a test part
while a clock runs, and scores the area under the learning curve. :class:`Model` is what the
challenge's program calls, a thin shell around :class:`~skspeech.TimeBudgetClassifier`;
:func:`run_local_test` plays the challenge's part on your own machine, also for other models::

    python -m skspeech.challenge -dataset_dir=sample_data/DEMO -code_dir=examples/autospeech
"""

import argparse
import contextlib
import json
import logging
import os
import pickle
import re
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np

from skspeech._extras import how_to_install

__all__ = ["Model", "load_autospeech", "run_local_test", "save_autospeech"]

logger = logging.getLogger(__name__)

TIME_BUDGET = 1800.0
INIT_TIME_BUDGET = 1200.0

# What a killed process may take, beyond its budget, to write its last answer down and to end.
_GRACE = 20.0


# ---------------------------------------------------------------------------------------------
# The model


class Model:
    """skspeech as the AutoSpeech challenge's program calls it.

    The first call of :meth:`train` starts a fit that goes on in the background, whatever the caller
    does, and returns as soon as a first ensemble can predict. Each further call waits for a better
    one. :meth:`test` predicts with the best ensemble so far. Neither raises because of what happens
    in the fit or in a prediction: the last good answer, or else the classes' frequencies, take its
    place, and a warning is logged.

    Parameters
    ----------
    metadata : dict
        The data set's metadata, of which `class_num` and `time_budget` (seconds, 1800 where it is
        missing) are used.
    classifier : estimator, default=None
        An unfitted classifier with ``iter_fit`` and ``time_budget``; None is a
        :class:`~skspeech.TimeBudgetClassifier` with its defaults. It is cloned.

    Attributes
    ----------
    done_training : bool
        True where another call of :meth:`train` would change nothing: the fit is over, or the time.

    See Also
    --------
    run_local_test : Runs this or another model by the challenge's protocol.
    skspeech.TimeBudgetClassifier : The same with scikit-learn's interface.

    References
    ----------
    Liu et al., "Winning solutions and post-challenge analyses of the ChaLearn AutoDL challenge
    2019", IEEE Transactions on Pattern Analysis and Machine Intelligence, 2021.

    Examples
    --------
    >>> import numpy as np
    >>> from skspeech.challenge import Model, load_autospeech, one_hot
    >>> data = load_autospeech("sample_data/DEMO")  # doctest: +SKIP
    >>> model = Model(data.metadata)  # doctest: +SKIP
    >>> while not model.done_training:  # doctest: +SKIP
    ...     model.train((data.X_train, one_hot(data.y_train, data.metadata["class_num"])))
    ...     scores = model.test(data.X_test)
    """

    def __init__(self, metadata, *, classifier=None):
        if "class_num" not in metadata:
            raise ValueError(f"metadata={metadata!r} must have 'class_num', the number of classes.")
        self.metadata = dict(metadata)
        self.done_training = False
        self._n_classes = int(self.metadata["class_num"])
        self._classifier = _ready_classifier() if classifier is None else classifier
        self._fit = None
        self._prior = np.full(self._n_classes, 1 / self._n_classes)
        self._test_clips = _RememberedClips()
        self._tried = None  # the snapshot of the last test, whether it worked or not
        self._last = None  # (snapshot, clips, scores) of the last test that worked
        self._longest_test = None
        self._next_test_not_before = 0.0

    def train(self, dataset, remaining_time_budget=None):
        """Train until there is a better ensemble than the last one tested.

        Parameters
        ----------
        dataset : tuple (X, y)
            The training clips, a list of 1-D arrays at 16 kHz, and their labels: one-hot of shape
            (train_num, class_num), or class numbers of shape (train_num,). Only the first call
            reads it.
        remaining_time_budget : float, default=None
            Seconds left, all calls of :meth:`train` and :meth:`test` to come included. None is
            what is left of the metadata's `time_budget` since the first call.
        """
        if self.done_training:
            return
        now = time.monotonic()
        if self._fit is None:
            self._budget_end = now + float(self.metadata.get("time_budget", TIME_BUDGET))
            self._start_fit(dataset, self._seconds_left(remaining_time_budget))
        wait_until = now + self._seconds_left(remaining_time_budget) - self._time_for_test()
        goes_on = self._fit.wait(self._tried, self._next_test_not_before, wait_until)
        if not goes_on:
            self._fit.stop()
            self.done_training = True

    def test(self, X_test, remaining_time_budget=None):
        """Predict with the best ensemble so far.

        Parameters
        ----------
        X_test : list of 1-D arrays
            The test clips at 16 kHz. Clips that were seen before are not embedded again.
        remaining_time_budget : float, default=None
            Seconds left. Where predicting takes longer, the last answer is returned again.

        Returns
        -------
        scores : ndarray of shape (test_num, class_num)
            Probability of each class.
        """
        try:
            return self._test(X_test, remaining_time_budget)
        finally:
            if self._fit is not None:
                self._fit.go_on()

    def _test(self, X_test, remaining_time_budget):
        start = time.monotonic()
        self._tried = snapshot = self._fit.snapshot if self._fit else None
        try:
            clips = self._test_clips.get(X_test)
        except Exception as error:
            logger.warning("The test clips cannot be used: %s", error)
            return self._fallback(None, len(X_test))
        if self._last and self._last[0] is snapshot and self._last[1] is clips:
            return self._last[2].copy()
        if snapshot is None:
            logger.warning("There is no model yet; answering with the frequencies of the classes.")
            return self._fallback(clips, len(clips))
        timeout = max(0.0, self._seconds_left(remaining_time_budget) - 0.2)
        try:
            scores = _run_in_thread(lambda: self._predict(snapshot, clips), timeout)
        except _CallFailed as failure:
            # Only what predicting raised: an alarm of the caller's own has to get through.
            logger.warning("Predicting failed; the last good answer is repeated: %s", failure)
            return self._fallback(clips, len(clips))
        end = time.monotonic()
        self._last = snapshot, clips, scores
        self._longest_test = max(self._longest_test or 0.0, end - start)
        # Half of the time at least goes into getting better.
        self._next_test_not_before = end + (end - start)
        return scores.copy()

    def _start_fit(self, dataset, seconds_left):
        from sklearn.base import clone

        X, y = dataset
        y = _class_numbers(y, self._n_classes)
        self._prior = np.bincount(y, minlength=self._n_classes) / len(y)
        # What a test takes is not known before the first one.
        self._first_guess = min(max(1.0, 0.05 * seconds_left), 60.0, 0.5 * seconds_left)
        classifier = clone(self._classifier).set_params(
            time_budget=max(seconds_left - self._first_guess, 1e-3)
        )
        self._fit = _BackgroundFit(classifier, _as_clips(X), y)

    def _seconds_left(self, remaining_time_budget):
        if remaining_time_budget is not None:
            return float(remaining_time_budget)
        return getattr(self, "_budget_end", np.inf) - time.monotonic()

    def _time_for_test(self):
        if self._longest_test is None:
            return self._first_guess
        return 0.5 + 1.5 * self._longest_test

    def _predict(self, snapshot, clips):
        probas = np.asarray(snapshot.predict_proba(clips), dtype=float)
        if not np.all(np.isfinite(probas)):
            raise ValueError("the ensemble predicts probabilities that are not finite.")
        scores = np.zeros((len(clips), self._n_classes))
        scores[:, np.asarray(snapshot.classes_, dtype=int)] = probas
        return scores

    def _fallback(self, clips, n_clips):
        if self._last and self._last[1] is clips:
            return self._last[2].copy()
        return np.tile(self._prior, (n_clips, 1))


class _BackgroundFit:
    """A fit that goes on in a thread of its own and keeps its latest snapshot.

    It asks for a second snapshot only when the first one was tested: until then, the fit leaves
    the cores to the test.
    """

    def __init__(self, classifier, X, y):
        self._changed = threading.Condition()
        self.snapshot = None
        self._is_tested = False
        self._is_over = False
        self._is_stopped = False
        self._longest_wait = 0.1 * classifier.time_budget
        threading.Thread(
            target=self._run, args=(classifier, X, y), name="skspeech-fit", daemon=True
        ).start()

    def _run(self, classifier, X, y):
        try:
            with contextlib.closing(classifier.iter_fit(X, y)) as snapshots:
                for snapshot in snapshots:
                    if not self._publish(snapshot):
                        break
        except Exception:
            logger.exception("The fit ended early; what it had found so far goes on answering.")
        finally:
            with self._changed:
                self._is_over = True
                self._changed.notify_all()

    def _publish(self, snapshot):
        """Show a snapshot to who waits for it; return whether the fit is to go on."""
        with self._changed:
            self.snapshot = snapshot
            self._changed.notify_all()
            self._changed.wait_for(lambda: self._is_tested or self._is_stopped, self._longest_wait)
            self._is_tested = True
            return not self._is_stopped

    def go_on(self):
        """The snapshot was tested."""
        with self._changed:
            self._is_tested = True
            self._changed.notify_all()

    def wait(self, known, not_before, until):
        """Wait for a snapshot other than the known one; return whether more may come after it."""
        with self._changed:
            self._changed.wait_for(
                lambda: self._is_over or self.snapshot is not known, until - time.monotonic()
            )
            # Snapshots that follow closely on one another are tested as one.
            self._changed.wait_for(lambda: self._is_over, min(not_before, until) - time.monotonic())
            return not self._is_over and time.monotonic() < until

    def stop(self):
        """End the work with the next snapshot."""
        with self._changed:
            self._is_stopped = True
            self._changed.notify_all()


class _RememberedClips:
    """The clips of the last list that was seen, so that their keys are computed once."""

    def __init__(self):
        self._waveforms = None
        self._clips = None

    def get(self, X):
        known = self._waveforms
        same = known is not None and len(known) == len(X) and all(map(_is_same, known, X))
        if not same:
            self._waveforms = list(X)
            self._clips = _as_clips(X)
        return self._clips


def _is_same(one, other):
    return one is other


class _CallFailed(Exception):
    pass


def _run_in_thread(call, timeout):
    """Return what a function returns; raise _CallFailed where it raises or takes too long."""
    outcome = {}

    def run():
        try:
            outcome["result"] = call()
        except Exception as error:
            outcome["error"] = error

    thread = threading.Thread(target=run, name="skspeech-predict", daemon=True)
    thread.start()
    thread.join(min(timeout, threading.TIMEOUT_MAX))
    if "result" in outcome:
        return outcome["result"]
    if "error" in outcome:
        raise _CallFailed(repr(outcome["error"])) from outcome["error"]
    raise _CallFailed(f"it takes longer than the {timeout:.1f} s that are left.")


def _ready_classifier():
    """A TimeBudgetClassifier; what its extractors import and load is loaded already."""
    from skspeech.audio import as_clips
    from skspeech.time_budget import TimeBudgetClassifier, default_candidates
    from skspeech.time_budget.features import stateless_steps

    clips = as_clips(list(np.random.default_rng(0).normal(scale=0.1, size=(2, 16_000))))
    for candidate in default_candidates(clips, [0, 1]):
        features = clips
        try:
            for _, step in stateless_steps(candidate.estimator)[0]:
                features = step.transform(features)
        except Exception as error:
            logger.warning("The candidate %r cannot be used: %s", candidate.name, error)
    return TimeBudgetClassifier(random_state=0)


def _as_clips(X):
    """Take the challenge's waveforms as clips, mending what no extractor can use."""
    from skspeech.audio import as_clips

    return as_clips([_mended(waveform, i) for i, waveform in enumerate(X)])


def _mended(waveform, i):
    waveform = np.asarray(waveform)
    if waveform.size == 0:
        logger.warning("Clip %d is empty; it is taken as silence.", i)
        return np.zeros(1, dtype=np.float32)
    if waveform.dtype.kind == "f" and not np.all(np.isfinite(waveform)):
        logger.warning("Clip %d has samples that are not finite; they are taken as silence.", i)
        return np.nan_to_num(waveform, nan=0.0, posinf=0.0, neginf=0.0)
    return waveform


def _class_numbers(y, n_classes):
    y = np.asarray(y)
    y = y.argmax(axis=1) if y.ndim == 2 else y.astype(int)
    if len(y) and not 0 <= y.min() <= y.max() < n_classes:
        raise ValueError(
            f"y has labels from {y.min()} to {y.max()}, but metadata['class_num'] is {n_classes}."
        )
    return y


# ---------------------------------------------------------------------------------------------
# Data folders


def load_autospeech(path):
    """Read a data set in the challenge's layout.

    The layout is a folder `<name>.data` with `train.pkl`, `test.pkl` (lists of 1-D arrays at
    16 kHz), `train.solution` (one-hot text, a clip per line) and `meta.json`; beside it lies
    `test.solution`, or another file that ends so, where the true test labels are known.

    The pickles are read with an unpickler that admits plain containers and arrays of numbers only,
    so that a data set from elsewhere can run no code.

    Parameters
    ----------
    path : path-like
        The folder that holds `<name>.data`, or that folder itself.

    Returns
    -------
    data : :class:`~sklearn.utils.Bunch`
        A dict with attributes:

        - X_train, X_test : list of 1-D ndarray, waveforms at 16 kHz
        - y_train : ndarray of shape (train_num,), class numbers from 0
        - y_test : ndarray of shape (test_num,), or None where there is no solution
        - metadata : dict with at least `class_num`, `train_num`, `test_num` and `time_budget`
        - target_names : list of str, the names of the classes, or their numbers
        - name : str

    Raises
    ------
    FileNotFoundError
        If a file is missing.
    pickle.UnpicklingError
        If a pickle holds something else than arrays; nothing of it has been executed then.
    ValueError
        If the files do not fit together.

    See Also
    --------
    save_autospeech : Writes the layout.

    Examples
    --------
    >>> import tempfile
    >>> from skspeech.challenge import load_autospeech, save_autospeech
    >>> from skspeech.datasets import make_tones
    >>> tones = make_tones(random_state=0)
    >>> X, y = tones.data, tones.target
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     _ = save_autospeech(folder, X[::2], y[::2], X[1::2], y[1::2])
    ...     data = load_autospeech(folder)
    >>> len(data.X_train) == data.metadata["train_num"]
    True
    """
    from sklearn.utils import Bunch

    from skspeech._unpickle import load_arrays

    folder = _find_data_folder(path)
    X_train = _checked_waveforms(load_arrays(folder / "train.pkl"), folder / "train.pkl")
    X_test = _checked_waveforms(load_arrays(folder / "test.pkl"), folder / "test.pkl")
    metadata = _read_metadata(folder)
    y_train = _read_solution(folder / "train.solution", metadata)
    y_test = _read_test_solution(folder, metadata)
    _check_length(folder / "train.solution", y_train, X_train)
    if y_test is not None:
        _check_length("the test solution", y_test, X_test)
    n_classes = metadata["class_num"]
    return Bunch(
        X_train=X_train,
        y_train=y_train,
        X_test=X_test,
        y_test=y_test,
        metadata={**metadata, "train_num": len(X_train), "test_num": len(X_test)},
        target_names=metadata.get("class_names") or [str(number) for number in range(n_classes)],
        name=folder.name.removesuffix(".data"),
    )


def save_autospeech(
    path,
    X_train,
    y_train,
    X_test,
    y_test=None,
    *,
    time_budget=TIME_BUDGET,
    sampling_rate=16_000,
    n_jobs=None,
    overwrite=False,
):
    """Write a data set in the challenge's layout, as :func:`load_autospeech` reads it.

    Parameters
    ----------
    path : path-like
        The folder to write `train.data` and `test.solution` to; it is made where it is missing.
    X_train : sequence of clips
        Paths, or waveforms; see :func:`skspeech.audio.as_clips`.
    y_train : array-like of shape (n_train,)
        Labels of any kind; the sorted ones of the training part become the class numbers.
    X_test : sequence of clips
        The same for the test part.
    y_test : array-like of shape (n_test,), default=None
        True test labels; None writes no test solution.
    time_budget : float, default=1800.0
        Seconds that a model gets for training and testing.
    sampling_rate : int, default=16000
        Sampling rate of waveforms, in Hz. They are written at 16 kHz.
    n_jobs : int, default=None
        Number of threads that decode.
    overwrite : bool, default=False
        Whether to replace a data set that is there.

    Returns
    -------
    folder : pathlib.Path
        The folder `train.data`.

    Raises
    ------
    FileExistsError
        If there is a data set in `path` and `overwrite` is False.
    ValueError
        If labels and clips differ in number, or a test label does not occur in training.

    See Also
    --------
    load_autospeech : Reads the layout.

    Examples
    --------
    >>> import tempfile
    >>> from skspeech.challenge import save_autospeech
    >>> from skspeech.datasets import make_tones
    >>> tones = make_tones(30, duration=0.1, random_state=0)
    >>> X, y = tones.data, tones.target
    >>> with tempfile.TemporaryDirectory() as path:
    ...     folder = save_autospeech(path, X[:20], y[:20], X[20:], y[20:], time_budget=60)
    ...     sorted(file.name for file in folder.iterdir())
    ['meta.json', 'test.pkl', 'train.pkl', 'train.solution']
    """
    from skspeech.audio import as_clips, load_waveforms

    folder = Path(path) / "train.data"
    if folder.exists() and not overwrite:
        raise FileExistsError(f"{folder} exists already; pass overwrite=True to replace it.")
    clips = [as_clips(X, sampling_rate=sampling_rate) for X in (X_train, X_test)]
    _check_length("y_train", y_train, clips[0])
    if y_test is not None:
        _check_length("y_test", y_test, clips[1])
    classes, train_numbers = np.unique(np.asarray(y_train), return_inverse=True)
    test_numbers = None if y_test is None else _numbers_of(np.asarray(y_test), classes)
    train, test = (load_waveforms(part, n_jobs=n_jobs) for part in clips)
    folder.mkdir(parents=True, exist_ok=True)
    for name, waveforms in (("train.pkl", train), ("test.pkl", test)):
        with open(folder / name, "wb") as file:
            pickle.dump(list(waveforms), file, protocol=4)
    np.savetxt(folder / "train.solution", one_hot(train_numbers, len(classes)), fmt="%d")
    metadata = {
        "class_num": len(classes),
        "train_num": len(train),
        "test_num": len(test),
        "time_budget": time_budget,
        "class_names": [str(label) for label in classes],
    }
    (folder / "meta.json").write_text(json.dumps(metadata) + "\n")
    solution = folder.parent / "test.solution"
    solution.unlink(missing_ok=True)
    if test_numbers is not None:
        np.savetxt(solution, one_hot(test_numbers, len(classes)), fmt="%d")
    return folder


def one_hot(y, n_classes):
    """Write class numbers as rows of zeros with a single one."""
    return np.eye(n_classes, dtype=int)[np.asarray(y)]


def _find_data_folder(path):
    path = Path(path)
    if not path.is_dir():
        raise FileNotFoundError(f"There is no folder {path}.")
    if (path / "meta.json").exists():
        return path
    found = sorted(folder for folder in path.glob("*.data") if folder.is_dir())
    if len(found) != 1:
        raise FileNotFoundError(
            f"{path} must hold exactly one folder <name>.data, with meta.json, train.pkl, "
            f"train.solution and test.pkl; it holds {[folder.name for folder in found]}."
        )
    return found[0]


def _read_metadata(folder):
    file = folder / "meta.json"
    try:
        metadata = json.loads(file.read_text())
        class_num = metadata["class_num"]
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise ValueError(f"{file} must be a JSON object with class_num ({error!r}).") from error
    if not isinstance(class_num, int) or class_num < 1:
        raise ValueError(f"{file}: class_num must be a whole number above 0; got {class_num!r}.")
    return {"time_budget": TIME_BUDGET, **metadata}


def _read_solution(file, metadata):
    """Class numbers of a file of one-hot rows."""
    rows = np.loadtxt(file, ndmin=2)
    if rows.shape[1] != metadata["class_num"]:
        raise ValueError(
            f"{file} has {rows.shape[1]} columns, but meta.json says that there are "
            f"{metadata['class_num']} classes."
        )
    bad = np.flatnonzero(~(((rows == 0) | (rows == 1)).all(axis=1) & (rows.sum(axis=1) == 1)))
    if len(bad):
        raise ValueError(
            f"{file}, line {bad[0] + 1}: a row must have a single 1 and be 0 elsewhere."
        )
    return rows.argmax(axis=1)


def _read_test_solution(folder, metadata):
    # As the official scoring program does: the one solution that lies beside the data.
    files = sorted(folder.parent.glob("*.solution"))
    if len(files) > 1:
        names = [file.name for file in files]
        raise ValueError(f"{folder.parent} must hold one *.solution at most; it holds {names}.")
    return _read_solution(files[0], metadata) if files else None


def _checked_waveforms(content, file):
    if not isinstance(content, (list, tuple, np.ndarray)) or len(content) == 0:
        raise ValueError(f"{file} must hold a list of 1-D arrays, one per clip.")
    for i, waveform in enumerate(content):
        if not isinstance(waveform, np.ndarray) or waveform.ndim != 1:
            shape = getattr(waveform, "shape", None)
            kind = type(waveform).__name__ if shape is None else f"array of shape {shape}"
            raise ValueError(f"{file}: clip {i} must be a 1-D array of samples; it is: {kind}.")
    return list(content)


def _check_length(name, labels, clips):
    if len(labels) != len(clips):
        raise ValueError(f"{name} has labels for {len(labels)} clips, but there are {len(clips)}.")


def _numbers_of(labels, classes):
    unknown = np.setdiff1d(labels, classes)
    if len(unknown):
        raise ValueError(
            f"y_test has labels that do not occur in y_train: {unknown.tolist()[:10]}."
        )
    return np.searchsorted(classes, labels)


# ---------------------------------------------------------------------------------------------
# The local test


def run_local_test(
    dataset_dir,
    code_dir=None,
    *,
    output_dir="ingestion_output",
    score_dir="scoring_output",
    time_budget=None,
    init_time_budget=INIT_TIME_BUDGET,
):
    """Run a model by the challenge's protocol and score it.

    The model runs in a process of its own. While the time budget lasts, which only its own calls
    spend, it trains and tests in turns until it says that it is done; a call that is still running
    at the end is interrupted, then killed. Each answer is scored by its balanced accuracy, and all
    of them by the area under the learning curve.

    Parameters
    ----------
    dataset_dir : path-like
        A data set with a test solution; see :func:`load_autospeech`.
    code_dir : path-like, default=None
        The folder of the participant's `model.py`; None runs :class:`Model`.
    output_dir : path-like, default="ingestion_output"
        For the answers (`<name>.predict_<i>`, a class number per line), their times (`start.txt`)
        and the outcome (`end.txt`). Such files of an earlier run are removed, others left alone.
    score_dir : path-like, default="scoring_output"
        For `scores.txt`, `learning-curve-<name>.json` and `learning-curve-<name>.png`.
    time_budget : float, default=None
        Seconds for training and testing; None takes the data set's.
    init_time_budget : float, default=1200.0
        Seconds for importing and making the model.

    Returns
    -------
    result : :class:`~sklearn.utils.Bunch`
        A dict with attributes `alc`, `times` (seconds) and `scores` of the answers, `time_budget`,
        `init_duration` (seconds, or None where the model was never made), `success` (bool),
        `name`, and `figure`, the path of the picture, or None without matplotlib.

    Raises
    ------
    FileNotFoundError
        If there is no data set, no test solution or no `model.py`.

    See Also
    --------
    skspeech.metrics.area_under_learning_curve : The score.

    Examples
    --------
    >>> from skspeech.challenge import run_local_test
    >>> result = run_local_test("sample_data/DEMO", time_budget=60)  # doctest: +SKIP
    >>> result.alc, result.scores[-1]  # doctest: +SKIP
    (0.82, 0.91)
    """
    folder = _find_data_folder(dataset_dir)
    metadata = _read_metadata(folder)
    y_test = _read_test_solution(folder, metadata)
    if y_test is None:
        raise FileNotFoundError(
            f"There is no *.solution in {folder.parent}, so answers could not be scored. "
            "save_autospeech writes one where it is given y_test."
        )
    if code_dir is not None and not (Path(code_dir) / "model.py").is_file():
        raise FileNotFoundError(f"There is no model.py in {code_dir}.")
    time_budget = float(metadata["time_budget"] if time_budget is None else time_budget)
    output_dir, score_dir = Path(output_dir), Path(score_dir)
    name = folder.name.removesuffix(".data")
    _clear(output_dir, r"start\.txt|end\.txt|.*\.predict_\d+")
    _clear(score_dir, r"scores\.txt|learning-curve-.*\.(json|png)")
    status = _ingest(folder, code_dir, output_dir, time_budget, init_time_budget)
    notes = _read_notes(output_dir)
    times, predictions = _read_answers(output_dir, name, notes)
    return _score(
        score_dir,
        name=name,
        times=times,
        predictions=predictions,
        y_test=y_test,
        time_budget=time_budget,
        init_duration=notes.get("init_duration"),
        success=status == 0,
    )


def main(argv=None):
    """Run the command line; return the exit status."""
    args = _parse_args(argv)
    try:
        result = run_local_test(**vars(args))
    except (OSError, ValueError, pickle.UnpicklingError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    for seconds, score in zip(result.times, result.scores):
        print(f"{seconds:10.2f} s   balanced accuracy {score:.4f}")
    if not result.success:
        print("The model failed; its answers up to then are scored.", file=sys.stderr)
    if result.figure is None:
        print(f"No picture without matplotlib: {how_to_install('plot')}", file=sys.stderr)
    print(f"ALC: {result.alc:.4f} (area under the learning curve: 1 is all right at once)")
    return 0 if result.success else 1


def _parse_args(argv):
    parser = argparse.ArgumentParser(
        prog="python -m skspeech.challenge",
        description="Run a model by the AutoSpeech challenge's protocol and score it.",
    )

    def add(name, **options):
        # One dash as in the challenge's own script, two as everywhere else.
        parser.add_argument(f"-{name}", f"--{name}", f"--{name.replace('_', '-')}", **options)

    add("dataset_dir", required=True, help="folder with <name>.data and a *.solution")
    add("code_dir", help="folder with the participant's model.py (default: skspeech's own model)")
    add("output_dir", default="ingestion_output", help="for the answers (default: %(default)s)")
    add("score_dir", default="scoring_output", help="for scores and curve (default: %(default)s)")
    add("time_budget", type=float, help="seconds (default: what the data set's meta.json says)")
    add(
        "init_time_budget",
        type=float,
        default=INIT_TIME_BUDGET,
        help="seconds for importing and making the model (default: %(default)g)",
    )
    return parser.parse_args(argv)


def _clear(folder, pattern):
    """Make a folder, or remove what an earlier run wrote to it."""
    folder.mkdir(parents=True, exist_ok=True)
    for file in folder.iterdir():
        if re.fullmatch(pattern, file.name):
            file.unlink()


def _ingest(folder, code_dir, output_dir, time_budget, init_time_budget):
    """Run the participant's code in a process and return its exit status."""
    arguments = {
        "data_dir": str(folder.resolve()),
        "code_dir": None if code_dir is None else str(Path(code_dir).resolve()),
        "output_dir": str(output_dir.resolve()),
        "time_budget": time_budget,
        "init_time_budget": init_time_budget,
    }
    process = subprocess.Popen(
        [sys.executable, "-m", "skspeech._ingestion", json.dumps(arguments)],
        start_new_session=True,  # so that all that it starts can be ended with it
    )
    try:
        return _wait(process, output_dir, time_budget, init_time_budget)
    finally:
        _kill_family(process)


def _wait(process, output_dir, time_budget, init_time_budget):
    """Wait for the process to end; give up where it overstays the budget by far."""
    start, phase = time.monotonic(), None
    while True:
        with contextlib.suppress(subprocess.TimeoutExpired):
            return process.wait(timeout=0.1)
        notes = _read_notes(output_dir)
        limit = time_budget if "init_duration" in notes else init_time_budget
        # Each phase has a clock of its own; reading the data is not on either.
        reached = len({"start_time", "init_duration"} & notes.keys())
        if reached != phase:
            start, phase = time.monotonic(), reached
        if reached and time.monotonic() - start > 1.05 * limit + _GRACE:
            print("The model does not react to the end of its time; it is killed.", file=sys.stderr)
            return -signal.SIGTERM


def _kill_family(process):
    """End a process and whatever it started and left behind."""
    import psutil

    with contextlib.suppress(psutil.NoSuchProcess):
        for child in psutil.Process(process.pid).children(recursive=True):
            with contextlib.suppress(psutil.NoSuchProcess):
                child.kill()
    if hasattr(os, "killpg"):
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, signal.SIGKILL)
    process.kill()
    process.wait()


def _read_notes(output_dir):
    file = output_dir / "start.txt"
    if not file.exists():
        return {}
    # The last line may still be in the writing.
    lines = file.read_text().split("\n")[:-1]
    notes = dict(line.split(": ", 1) for line in lines if ": " in line)
    return {key: value if key == "task_name" else float(value) for key, value in notes.items()}


def _read_answers(output_dir, name, notes):
    times, predictions = [], []
    while str(len(times)) in notes:
        file = output_dir / f"{name}.predict_{len(times)}"
        predictions.append(np.loadtxt(file, dtype=int, ndmin=1))
        times.append(notes[str(len(times))])
    return times, predictions


def _score(score_dir, *, name, times, predictions, y_test, time_budget, init_duration, success):
    from sklearn.utils import Bunch

    from skspeech.metrics import area_under_learning_curve, balanced_accuracy_over_time

    scores = balanced_accuracy_over_time(y_test, predictions).tolist()
    result = Bunch(
        name=name,
        alc=area_under_learning_curve(times, scores, time_budget),
        times=times,
        scores=scores,
        time_budget=time_budget,
        init_duration=init_duration,
        success=success,
    )
    duration = times[-1] if times else -1
    (score_dir / "scores.txt").write_text(f"score: {result.alc}\nDuration: {duration}\n")
    (score_dir / f"learning-curve-{name}.json").write_text(json.dumps(result, indent=1) + "\n")
    result.figure = _draw(score_dir / f"learning-curve-{name}.png", result)
    return result


def _draw(file, result):
    try:
        from matplotlib.figure import Figure
    except ImportError:
        return None
    from skspeech.plotting import LearningCurveDisplay

    figure = Figure(layout="constrained")
    LearningCurveDisplay.from_curves(
        {result.name: (result.times, result.scores)},
        time_budget=result.time_budget,
        ax=figure.subplots(),
    )
    figure.savefig(file, dpi=150)
    return file


if __name__ == "__main__":
    sys.exit(main())
