"""What one visitor of the page does: clips, a training, its model, clips to listen to."""

import shutil
import threading
from dataclasses import replace
from pathlib import Path

from skspeech.app.clips import Collection, Limits, arrays, tidy
from skspeech.app.training import Settings, Training, doubtful, mistakes
from skspeech.serving import hear

__all__ = ["MISTAKES", "SECOND_LOOK", "Visit"]

MISTAKES, SECOND_LOOK = "Mistakes on held-out clips", "Labels worth a second look"
_PATIENCE = 5.0  # seconds for a training to end; what computes in a library can't be ended
_hearing = threading.Lock()  # one clip at a time uses all cores


class Visit:
    """The state of one open page.

    Parameters
    ----------
    folder : path-like
        Belongs to this visit; `close` removes it.
    limits : Limits, default=None
    clips : list of Collected, default=()
        The clips that every visit begins with.
    model : classifier, default=None
        A model to try, from a file.
    settings : Settings, default=None
        Its device and number of cores are used.
    """

    def __init__(self, folder, limits=None, clips=(), model=None, settings=None):
        self.folder, self.limits = Path(folder), limits or Limits()
        self.settings = settings or Settings()
        self.folder.mkdir(parents=True, exist_ok=True)
        self.collection = Collection(self.folder / "clips", self.limits, clips)
        self.model, self.training, self.trained = model, None, None
        self.doubts, self.at, self.n_changed = [], 0, 0

    def close(self):
        """End what still runs, and remove all files of this visit."""
        if self.training is not None:
            self.training.give_up()
            self.training.wait(_PATIENCE)
        shutil.rmtree(self.folder, ignore_errors=True)

    # ---------------------------------------------------------------- training

    def train(self, **settings):
        """Begin to train.

        Parameters
        ----------
        **settings
            Those of `Settings`.

        Returns
        -------
        Training
        """
        if self.training is not None and self.training.is_running:
            raise ValueError("The last training still runs.")
        settings = replace(self.settings, **settings)
        clips = self.collection.learnt_from
        self.training = Training(clips, settings, self.folder / "model.skspeech")
        return self.training

    def take_result(self):
        """Use the model of a training that has ended; the old one stays if there is none.

        Raises
        ------
        ValueError
            If there is none, with the reason.
        """
        if self.training.result is None:
            raise ValueError(self.training.problem)
        self.trained, self.n_changed = self.training.result, 0
        self.model = self.trained.model
        self.review(MISTAKES)

    def report(self):
        """Write the report on the held-out clips.

        Returns
        -------
        pathlib.Path or None
            None if there are no held-out clips.
        """
        from skspeech.report import write_report

        trained = self.trained
        if not trained.test:
            return None
        paths, _, groups = arrays(trained.test)
        own, labels, own_groups = arrays(trained.train)
        return write_report(
            trained.model,
            paths,
            trained.truth,
            self.folder / "report.html",
            X_train=own,
            y_train=labels,
            groups_test=groups if own_groups is not None else None,
            groups_train=own_groups if groups is not None else None,
            title="The model on held-out clips",
        )

    # ---------------------------------------------------------------- listening

    def review(self, what):
        """List the clips to listen to.

        Parameters
        ----------
        what : {MISTAKES, SECOND_LOOK}
        """
        self.at, self.doubts = 0, []
        if what == SECOND_LOOK:
            self.doubts = doubtful(self.collection.learnt_from, self.settings)
        elif self.trained is not None:
            self.doubts = mistakes(self.trained)

    @property
    def doubt(self):
        """The clip that is shown; None if there is none."""
        return self.doubts[self.at] if self.doubts else None

    def step(self, n):
        """Go to another clip of the list."""
        self.at = min(max(self.at + n, 0), max(len(self.doubts) - 1, 0))

    def correct(self, label):
        """Give the shown clip a label, and go on to the next one."""
        label = tidy(label or "")
        if self.doubt is None:
            raise ValueError("There is no clip to correct.")
        if not label:
            raise ValueError("Say which label is right.")
        clip = self.doubt.clip
        self.n_changed += label != clip.label or clip.is_left_out
        clip.label, clip.is_left_out = label, False
        self.step(1)

    def leave_out(self):
        """Don't learn from the shown clip, and go on to the next one."""
        if self.doubt is None:
            raise ValueError("There is no clip to leave out.")
        self.n_changed += not self.doubt.clip.is_left_out
        self.doubt.clip.is_left_out = True
        self.step(1)

    # ---------------------------------------------------------------- trying

    def hear(self, path):
        """What the model says of a recording.

        Returns
        -------
        dict
            As `skspeech.serving.hear` returns.
        """
        if self.model is None:
            raise ValueError("There is no model yet: train one first.")
        classes = [str(label) for label in self.model.classes_]
        with _hearing:
            return hear(self.model, classes, str(path), self.limits.max_seconds)

    def pack(self):
        """Write the clips into a ZIP file; returns its path."""
        if not self.collection.learnt_from:
            raise ValueError("There are no clips yet.")
        return self.collection.pack(self.folder / "clips.zip")
