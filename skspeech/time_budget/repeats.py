"""Further folds of a run: repeats of its validation, which keep voices whole if they can."""

from dataclasses import replace

import numpy as np

from skspeech.time_budget.splits import counted_rows, repeat_folds
from skspeech.time_budget.state import Job

__all__ = ["Repeats"]

SECONDS = 10.0  # a search that takes longer hangs; one takes about a second
N_TRIALS = 5  # to find other folds; a few groups can be spread in a few ways only


class Repeats:
    """Adds folds to the state of a session.

    Candidates that know the training rows' voices all look right on random folds; which of them are
    also right for new voices doesn't show. So without groups, some further folds keep voices whole,
    the first ones as soon as voices are known. Such folds count for the choice of members, but not
    for scores and the calibration, since nobody said that voices will be new. Of many rows, only
    those that are tried first are in them.

    Attributes
    ----------
    voices : ndarray of int of shape (n_train,), or None
        The voice of each row, once it is known; -1 for rows of which it isn't.
    """

    def __init__(self, session):
        self.session = session
        self.voices = None
        self._find_voices = session.settings.find_voices
        self._n_searched = 0  # features in which voices have been looked for

    def continue_from(self, earlier):
        """Take over what an earlier run on the same data has found."""
        if earlier.voices is not None:
            self.voices, self._find_voices = earlier.voices, None

    def add(self, cv):
        """Add the folds of a repeat; return whether there are any that are not known yet.

        Every other repeat keeps voices whole, if these can be spread in other ways.
        """
        in_turn = self.voices is not None and self.session.state.folds[-1].is_scored
        kept = self.session.data.kept
        return (in_turn and self._add_by_voice()) or self._add(cv, kept, self._counted())

    def _counted(self):
        return counted_rows(self.session.data.n_train, self.session.data.sample_weight)

    def _add_by_voice(self):
        rows, level = self._counted(), self.session.state.first_level
        rows = rows[self.voices[rows] >= 0]
        return self._add("auto", self.voices, rows, is_scored=False, level=level)

    def _add(self, cv, groups, rows, **settings):
        session, state = self.session, self.session.state
        codes = session.data.codes[: state.n_train]
        known = {fold.test.tobytes() for fold in state.folds}
        for trial in range(N_TRIALS):
            seed = session.settings.random_state + trial
            folds = repeat_folds(cv, codes, groups, seed, state.n_repeats, rows)
            folds = [replace(fold, **settings) for fold in folds]
            if not known.issuperset(fold.test.tobytes() for fold in folds):
                state.folds = [*state.folds, *folds]
                return True
        return False

    def search(self):
        """A job that looks for voices, and its function, once there are further features for it.

        None if there is nothing to do. What hangs or fails is not tried again.
        """
        state, find = self.session.state, self._find_voices
        if find is None or not (state.answered and state.folds) or self.session.is_settled:
            return None
        n_ready = sum(features.level >= state.first_level for features in state.all_features)
        if n_ready <= self._n_searched:
            return None
        self._n_searched, self._find_voices = n_ready, None
        rows = np.sort(self.session.work.order[: state.first_level])
        job = Job("voices", None, limit=min(state.left / 2, SECONDS))
        return job, lambda job, post: post("voices", rows, find(state.all_features, rows))

    def take(self, rows, found):
        """Take the result of such a job: `Voices`, or None to go on looking."""
        if found is None or self.session.is_settled:
            self._find_voices = self.session.settings.find_voices
        elif found.groups is not None:
            self.voices = np.full(self.session.state.n_train, -1)
            self.voices[rows] = found.groups
            if not self._add_by_voice():
                self.voices = None

    def remark(self):
        """Tell if the ensemble is much better on held-out rows than on held-out voices."""
        session = self.session
        if self.voices is None:
            return
        from skspeech._voices import warn_of_voices

        probas, codes = session.outcomes.chooser.held_out_probas(len(self.voices))
        text = warn_of_voices(*probas, codes, self.voices, score=session.settings.score)
        if text is not None:
            session.remarks.append(text)
            session.event("remark", text=text)
