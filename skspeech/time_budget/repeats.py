"""Further folds of a run: repeats of its validation, which keep voices whole if they can."""

from skspeech.time_budget.splits import repeat_folds
from skspeech.time_budget.state import Job

__all__ = ["Repeats"]

# With more rows, voices are not looked for: to validate by them takes as long as the first
# validation, and time is what runs that large lack.
MOST_ROWS = 20_000
SECONDS = 10.0  # a search that takes longer hangs; it takes one second for so many rows
N_TRIALS = 5  # to find other folds; a few groups can be spread in a few ways only


class Repeats:
    """Adds folds to the state of a session.

    Candidates that know the training rows' voices all look right on random folds; which of them are
    also right for new voices doesn't show. So without groups, some further folds keep voices whole,
    the first ones as soon as voices are known. Such folds count for the choice of members, but not
    for scores and the calibration, since nobody said that voices will be new.

    Attributes
    ----------
    voices : ndarray of int of shape (n_train,), or None
        The voice of each row, as far as it is known.
    """

    def __init__(self, session):
        self.session = session
        self.voices = None
        few = session.data.n_train <= MOST_ROWS
        self._find_voices = session.settings.find_voices if few else None
        self._n_searched = 0  # complete features in which voices have been looked for

    def continue_from(self, earlier):
        """Take over what an earlier run on the same data has found."""
        if earlier.voices is not None:
            self.voices, self._find_voices = earlier.voices, None

    def add(self, cv):
        """Add the folds of a repeat; return whether there are any that are not known yet.

        Every other repeat keeps voices whole, if these can be spread in other ways.
        """
        in_turn = self.voices is not None and self.session.state.folds[-1].is_scored
        by_voice = in_turn and self._add("auto", self.voices, is_scored=False)
        return by_voice or self._add(cv, self.session.data.groups, is_scored=True)

    def _add(self, cv, groups, is_scored):
        session, state = self.session, self.session.state
        known = {fold.test.tobytes() for fold in state.folds}
        codes = session.data.codes[: state.n_train]
        for trial in range(N_TRIALS):
            seed = session.settings.random_state + trial
            folds = repeat_folds(cv, codes, groups, seed, state.n_repeats, is_scored=is_scored)
            if not known.issuperset(fold.test.tobytes() for fold in folds):
                state.folds = [*state.folds, *folds]
                return True
        return False

    def search(self):
        """A job that looks for voices, and its function, once there are further complete features.

        None if there is nothing to do. What hangs or fails is not tried again.
        """
        state, find = self.session.state, self._find_voices
        if find is None or not (state.answered and state.folds) or self.session.is_settled:
            return None
        n_complete = sum(features.level == state.n_total for features in state.all_features)
        if n_complete <= self._n_searched:
            return None
        self._n_searched, self._find_voices = n_complete, None
        job = Job("voices", None, limit=min(state.left / 2, SECONDS))
        return job, lambda job, post: post("voices", find, find(state.all_features))

    def take(self, find, found):
        """Take the result of such a job: `Voices`, or None to go on looking."""
        if found is None or self.session.is_settled:
            self._find_voices = find
        elif found.groups is not None and self._add("auto", found.groups, is_scored=False):
            self.voices = found.groups

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
