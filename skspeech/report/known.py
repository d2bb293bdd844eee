"""Test clips that are not new to a model."""

import numpy as np

from skspeech._clip_checks import Finding
from skspeech._download import some
from skspeech._heard import heard

__all__ = ["Known", "left_out_finding"]


class Known:
    """Which test clips are not new to the model, so that they are scored separately.

    Attributes
    ----------
    shown : ndarray of bool
        The clips that the page is about: new clips; if there are none, other clips of groups that
        the model was trained on; if there are none either, clips that it was trained on.
    apart : list of dict
        The other clips: their kind, their number, and the balanced accuracy.
    findings : list of Finding
    """

    def __init__(self, n_clips):
        self._masks = [np.ones(n_clips, dtype=bool), *np.zeros((2, n_clips), dtype=bool)]
        self.apart, self.findings = [], []

    @classmethod
    def by(cls, model, clips, groups, train):
        """Find them by the model's file and the training part."""
        known, of_train = cls(len(clips)), {}
        if train is not None:
            of_train = {"train_clips": train.clips, "train_groups": train.groups}
        by_clip, by_group = heard(model, clips, groups, **of_train)
        known._masks = [~by_clip & ~by_group, by_group, by_clip]
        return known

    @property
    def _case(self):
        return next(i for i, mask in enumerate(self._masks) if mask.any())

    @property
    def shown(self):
        return self._masks[self._case]

    @property
    def none_is_new(self):
        return self._case > 0

    @property
    def unit(self):
        return ("clip", "group", "clip")[self._case]

    @property
    def what_is_shown(self):
        return _KINDS[self._case]

    def score(self, true, predicted, groups):
        """Score the clips that are not shown, and say why."""
        by_group, by_clip = self._masks[1:]
        if by_clip.any():
            n, score = self._part(2, true, predicted)
            title = f"{n:,} test clip{' is' if n == 1 else 's are'} also in the training part"
            advice = (
                "All scores on this page are of clips that the model was trained on. They say "
                "nothing of new clips: test with others."
                if self._case == 2
                else "They are left out of this page: the model has seen them, and its balanced "
                f"accuracy on them, {score:.1%}, says nothing of new clips."
            )
            self.findings.append(Finding("trained-on", title, advice))
        if by_group.any():
            n, score = self._part(1, true, predicted)
            names = np.unique(groups[by_group])
            are = "group is" if len(names) == 1 else "groups are"
            title = f"{len(names)} {are} also in the training part: {some(names, 8)}"
            advice = (
                "All scores on this page are of groups that the model was trained on. If they are "
                "speakers, it may know the voices, and its score on new people will be lower."
                if self._case == 1
                else f"Their {n:,} other clips are left out of this page: if groups are speakers, "
                f"the model may know the voices, and its balanced accuracy on them, {score:.1%}, "
                "says little of new people."
            )
            advice += " Where they only have the same names, or the classes are the speakers "
            advice += "themselves, make the report without groups."
            self.findings.append(Finding("trained-groups", title, advice))

    def _part(self, case, true, predicted):
        """Number of clips and score; also added to `apart` if the page leaves them out."""
        true, predicted = true[self._masks[case]], predicted[self._masks[case]]
        recalls = [np.mean(predicted[true == label] == label) for label in np.unique(true)]
        score = float(np.mean(recalls))
        if case != self._case:
            self.apart.append({"what": _KINDS[case], "n": len(true), "score": score})
        return len(true), score


_KINDS = (
    "the test clips",
    "other clips of groups that it was trained on",
    "clips that it was trained on",
)


def left_out_finding(clips):
    """A finding on clips that could not be read, if there are any."""
    if not clips:
        return []
    ends = ("", "is") if len(clips) == 1 else ("s", "are")
    title = "{} clip{} can't be read, and {} left out".format(len(clips), *ends)
    names = [f"{name}: {reason}" for name, reason in clips]
    return [Finding("unreadable", title, "Repair or remove what can't be read.", names=names)]
