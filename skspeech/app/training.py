"""Train a model on collected clips, in a thread that can be watched and stopped."""

import logging
import math
import threading
import time
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from skspeech._folds import hold_out, why_no_fold
from skspeech._stopping import Stopped, stoppable
from skspeech.app.clips import arrays
from skspeech.audio import AudioError
from skspeech.audio.copies import kept_together

__all__ = ["UNKNOWN", "Doubt", "Settings", "Trained", "Training", "doubtful", "mistakes"]

UNKNOWN = "unknown"  # the answer, and the class whose clips are examples of it
logger = logging.getLogger(__name__)
_turn = threading.Lock()  # two trainings at once would both be late


@dataclass(frozen=True)
class Settings:
    """How to train.

    Parameters
    ----------
    time_budget : float, default=60.0
        Seconds.
    preset : {"fast", "best"}, default="fast"
    unknown : float, default=0.05
        Share of known clips that may be rejected as unknown; 0 for a model that never does that.
    test_size : float, default=0.25
        Share of the clips to hold out; 0 holds none out.
    device : str, default="auto"
    n_jobs : int or None, default=None
    """

    time_budget: float = 60.0
    preset: str = "fast"
    unknown: float = 0.05
    test_size: float = 0.25
    device: str = "auto"
    n_jobs: int | None = None


@dataclass
class Trained:
    """A model, and what it says of the clips that it was not trained on.

    Attributes
    ----------
    model : classifier
    run : TimeBudgetClassifier
        The same without the answer "unknown".
    path : pathlib.Path
        The model file.
    train : list of Collected
        As they were when the training began.
    test : list of Collected
        The visitor's own, whose labels may have changed since.
    truth : ndarray of shape (n_test,)
        Labels of the held-out clips when the training began.
    proba : ndarray of shape (n_test, n_classes)
    remarks : list of str
    """

    model: object
    run: object
    path: Path
    train: list
    test: list
    truth: np.ndarray
    proba: np.ndarray
    remarks: list = field(default_factory=list)

    @property
    def answers(self):
        """Predicted labels of the held-out clips."""
        return self.model.classes_[self.proba.argmax(axis=1)]

    def score(self):
        """Balanced accuracy on the held-out clips, and its interval; None if there are none."""
        from skspeech.metrics import balanced_accuracy_over_time, score_interval

        if not len(self.test):
            return None
        (score,) = balanced_accuracy_over_time(self.truth, [self.answers])
        groups = arrays(self.test)[2]
        return float(score), score_interval(self.truth, self.answers, groups)


class Training:
    """One training, which begins at once.

    Parameters
    ----------
    clips : list of Collected
    settings : Settings
    path : path-like
        Where the model is saved.

    Attributes
    ----------
    phase : str
        What is done now.
    curve : list of (float, float)
        Seconds since the beginning, and score, of each ensemble that was scored.
    members : list of str
        Names of the members of the current ensemble.
    result : Trained or None
    problem : str
        Why there is no result; empty as long as there may be one.
    """

    def __init__(self, clips, settings, path):
        # Copies: what a visitor changes meanwhile is for the next training.
        self._originals = {replace(clip): clip for clip in clips}
        self.clips, self.settings, self.path = list(self._originals), settings, Path(path)
        self.phase = "Waiting for another training to end"
        self.curve, self.members = [], []
        self.result, self.problem = None, ""
        self._began = None
        self._is_stopped = self._is_given_up = False
        self._thread = threading.Thread(target=self._run, name="skspeech-app", daemon=True)
        self._thread.start()

    @property
    def is_running(self):
        return self._thread.is_alive()

    @property
    def seconds(self):
        """Seconds since the clock started."""
        return 0.0 if self._began is None else time.monotonic() - self._began

    def wait(self, timeout=None):
        """Wait for the end, for `timeout` seconds at most."""
        self._thread.join(timeout)

    def stop(self):
        """End the training soon, and keep the best model so far."""
        from skspeech.time_budget.session import close_sessions

        self._is_stopped = True
        if self._began is not None and self.is_running:
            close_sessions(patience=0.0, importing=0.0)

    def give_up(self):
        """End all work soon; there will be no result."""
        self._is_given_up = True
        self.stop()

    # ---------------------------------------------------------------- in the thread

    def _run(self):
        try:
            with stoppable(lambda: self._is_given_up):
                while not _turn.acquire(timeout=0.2):
                    if self._is_stopped:
                        raise KeyboardInterrupt
                try:
                    result = self._train()
                    if self._is_given_up:
                        raise Stopped
                    self.result = result
                finally:
                    _turn.release()
        except (KeyboardInterrupt, Stopped):
            self.problem = "It was stopped before there was a model."
        except AudioError as error:
            names = {clip.path: clip.name for clip in self.clips}
            told = [f"{names.get(name, name)}: {why}" for _, name, why in error.failures[:5]]
            self.problem = "Some clips can't be read. " + " ".join(told)
        except (ValueError, OSError, ImportError, RuntimeError) as error:
            logger.debug("The training failed.", exc_info=True)
            self.problem = str(error)
        except Exception as error:
            logger.exception("The training failed.")
            self.problem = f"{type(error).__name__}: {error}"

    def _train(self):
        from skspeech.persistence import save
        from skspeech.time_budget import TimeBudgetClassifier
        from skspeech.unknown.rejector import fit_rejector

        settings = self.settings
        asks = settings.unknown > 0
        labels = {clip.label for clip in self.clips} - ({UNKNOWN} if asks else set())
        if len(labels) < 2:
            there = f"there is only {min(labels)!r}" if labels else "there is none yet"
            raise ValueError(f"Two classes are needed at least; {there}.")
        self.phase = "Getting ready"
        train, test, remarks = _split(self.clips, settings.test_size)
        known = [clip for clip in train if not (asks and clip.label == UNKNOWN)]
        self._get_ready(known)
        if self._is_stopped:
            raise KeyboardInterrupt
        self.phase, self._began = "Training", time.monotonic()
        run = TimeBudgetClassifier(
            time_budget=settings.time_budget,
            preset=settings.preset,
            device=settings.device,
            n_jobs=settings.n_jobs,
            callbacks=self._note,
            random_state=0,
        )
        run.fit(*arrays(known))
        if [name for name, _ in run.ensemble_.estimators] == ["prior"]:
            if self._is_stopped:
                raise KeyboardInterrupt
            raise ValueError(f"Nothing was ready within {settings.time_budget:g} s: give more.")
        model = run
        if asks:
            self.phase = "Learning what is unknown"
            model = fit_rejector(run, *arrays(train), settings.unknown)
            if not np.isfinite(model.threshold_):
                remarks.append(
                    f"Nothing will be answered with {UNKNOWN!r}: there are too few clips to learn "
                    "it from."
                )
            if len(known) < len(train) and model.method_ != "examples":
                remarks.append(
                    f"The clips in the class {UNKNOWN!r} are left aside: they are too few to learn "
                    "from."
                )
        self.phase = "Listening to the held-out clips"
        proba = np.empty((0, len(model.classes_)))
        if test:
            proba = model.predict_proba(arrays(test)[0])
        self.phase = "Saving"
        paths, _, groups = arrays(train)
        save(model, self.path, training_clips=paths, training_groups=groups)
        truth = arrays(test)[1]
        remarks += run.remarks_
        test = [self._originals[clip] for clip in test]
        return Trained(model, run, self.path, train, test, truth, proba, remarks)

    def _get_ready(self, clips):
        """What would take seconds from the first training's budget: libraries, and weights."""
        import torch  # noqa: F401

        from skspeech.time_budget.line_ups import default_candidates
        from skspeech.time_budget.pretrained import fetch_weights_of

        paths, labels, _ = arrays(clips)
        line_up = default_candidates(
            paths, labels, preset=self.settings.preset, time_budget=self.settings.time_budget
        )
        self.phase = "Fetching the pretrained weights that are missing"
        fetch_weights_of([candidate.estimator for candidate in line_up], progress=False)

    def _note(self, event):
        """A callback of the classifier."""
        if self._is_stopped:
            raise KeyboardInterrupt  # as Ctrl-C: the classifier keeps its best ensemble
        if event["event"] == "snapshot":
            self.members = list(event["members"])
            if math.isfinite(event["score"]):
                self.curve.append((event["time"], event["score"]))


def _split(clips, size):
    """Clips to train on, clips to hold out, and remarks on that."""
    if not size:
        return clips, [], []
    paths, labels, groups = arrays(clips)
    kept = kept_together(paths, groups)
    codes = np.unique(labels, return_inverse=True)[1]
    train, test = hold_out(codes, size, groups=kept, random_state=0)
    remarks = []
    if not len(test):
        remarks = [f"No clip is held out, because {why_no_fold(codes, kept)}."]
    elif missing := sorted(set(labels) - set(labels[test])):
        remarks = [f"No clip is held out of: {', '.join(missing)}."]
    if groups is None and any(clip.group for clip in clips):
        remarks.append("Speakers are not kept apart, because that of some clips is not known.")
    return [clips[i] for i in train], [clips[i] for i in test], remarks


# -- What to listen to -----------------------------------------------------------------------------


@dataclass
class Doubt:
    """A clip that is worth listening to.

    Parameters
    ----------
    clip : Collected
    label : str
        Its label when it was judged.
    said : str
        The most probable class.
    p_label, p_said : float
        Probabilities of both.
    """

    clip: object
    label: str
    said: str
    p_label: float
    p_said: float


def mistakes(trained):
    """The held-out clips that a model gets wrong, the most confident mistakes first.

    Parameters
    ----------
    trained : Trained

    Returns
    -------
    list of Doubt
    """
    classes = list(trained.model.classes_)
    found = []
    for clip, label, said, row in zip(trained.test, trained.truth, trained.answers, trained.proba):
        if said != label:
            p_label = row[classes.index(label)] if label in classes else 0.0
            found.append(Doubt(clip, str(label), str(said), float(p_label), float(row.max())))
    return sorted(found, key=lambda doubt: doubt.p_label - doubt.p_said)


def doubtful(clips, settings):
    """Clips of the whole collection whose labels are worth a second look, the most doubtful first.

    Parameters
    ----------
    clips : list of Collected
    settings : Settings

    Returns
    -------
    list of Doubt

    Raises
    ------
    ValueError
        If a training runs now, or the clips are too few.
    """
    from skspeech.report import doubtful_labels

    if not clips:
        raise ValueError("There are no clips yet.")
    if not _turn.acquire(timeout=1.0):
        raise ValueError("A training runs now. Look again when it has ended.")
    try:
        table = doubtful_labels(*arrays(clips), device=settings.device, n_jobs=settings.n_jobs)
    finally:
        _turn.release()
    return [
        Doubt(clips[row.clip], row.label, row.suggested, row.p_label, row.p_suggested)
        for row in table[table["doubt"] > 0].itertuples()
    ]
