"""skspeech with the interface that the challenge's program calls."""

import contextlib
import logging
import threading
import time

import numpy as np

from skspeech.challenge.folders import TIME_BUDGET

__all__ = ["Model"]

logger = logging.getLogger(__name__)


class Model:
    """skspeech as the AutoSpeech challenge's program calls it.

    The first call of :meth:`train` starts a fit in the background, and returns as soon as a first
    ensemble can predict. Each further call waits for a better one. :meth:`test` predicts with the
    best ensemble so far. Neither raises if the fit or a prediction fails: the last good answer, or
    else the classes' frequencies, is returned instead, and a warning is logged.

    Parameters
    ----------
    metadata : dict
        The data set's metadata, of which `class_num` and `time_budget` (seconds, 1800 if it is
        missing) are used.
    classifier : estimator, default=None
        An unfitted classifier with ``iter_fit`` and ``time_budget``; None is a
        :class:`~skspeech.TimeBudgetClassifier` with its defaults. It is cloned.

    Attributes
    ----------
    done_training : bool
        True if another call of :meth:`train` would change nothing: the fit or the time is over.

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
            Seconds left for all further calls of :meth:`train` and :meth:`test`. None is what is
            left of the metadata's `time_budget` since the first call.
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
            Seconds left. If predicting takes longer, the last answer is returned again.

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
            # Only errors of the prediction: the caller's own alarm has to get through.
            logger.warning("Predicting failed; the last good answer is repeated: %s", failure)
            return self._fallback(clips, len(clips))
        end = time.monotonic()
        self._last = snapshot, clips, scores
        self._longest_test = max(self._longest_test or 0.0, end - start)
        # At least half of the time goes into training.
        self._next_test_not_before = end + (end - start)
        return scores.copy()

    def _start_fit(self, dataset, seconds_left):
        from sklearn.base import clone

        X, y = dataset
        y = _class_numbers(y, self._n_classes)
        self._prior = np.bincount(y, minlength=self._n_classes) / len(y)
        # How long a test takes is not known before the first one.
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
    """A fit in a thread of its own that keeps its latest snapshot.

    It asks for a second snapshot only after the first one was tested: until then, the fit leaves
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
        """Give a snapshot to a waiting caller; return whether the fit should continue."""
        with self._changed:
            self.snapshot = snapshot
            self._changed.notify_all()
            self._changed.wait_for(lambda: self._is_tested or self._is_stopped, self._longest_wait)
            self._is_tested = True
            return not self._is_stopped

    def go_on(self):
        """Continue the fit: the snapshot was tested."""
        with self._changed:
            self._is_tested = True
            self._changed.notify_all()

    def wait(self, known, not_before, until):
        """Wait for a snapshot other than `known`; return whether more may come after it."""
        with self._changed:
            self._changed.wait_for(
                lambda: self._is_over or self.snapshot is not known, until - time.monotonic()
            )
            # Of snapshots in quick succession only the last one is tested.
            self._changed.wait_for(lambda: self._is_over, min(not_before, until) - time.monotonic())
            return not self._is_over and time.monotonic() < until

    def stop(self):
        """End the fit at the next snapshot."""
        with self._changed:
            self._is_stopped = True
            self._changed.notify_all()


class _RememberedClips:
    """The clips of the latest list, kept so that their keys are computed once."""

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
    """Return what a function returns; raise _CallFailed if it raises or takes too long."""
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
    """A TimeBudgetClassifier whose extractors have already imported and loaded what they need."""
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
    """Turn the challenge's waveforms into clips, and repair those that no extractor can use."""
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
