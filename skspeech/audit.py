"""What is worth knowing about labelled clips before a model is trained on them."""

from sklearn.utils import check_consistent_length

from skspeech._clip_checks import Finding, Part, check_part, sorted_findings
from skspeech._labels import check_groups, check_labels
from skspeech.audio import as_clips

__all__ = ["Finding", "audit"]


def audit(X, y, groups=None, *, max_listened=300, max_seconds=1.0, n_jobs=None):
    """Check labelled clips before training: what is wrong with them, and what may mislead.

    It is quick: it compares labels and groups, and the content of files of equal size, and decodes
    only some clips, to find silent and clipped ones. The command ``skspeech fit`` shows the
    findings before it trains.

    Parameters
    ----------
    X : sequence of n_clips clips, or None
        Paths, waveforms or ``(waveform, sampling_rate)`` pairs. None checks only labels and
        groups.
    y : array-like of shape (n_clips,)
        Their labels.
    groups : array-like of shape (n_clips,), default=None
        Speakers, or whatever else must not be on both sides of a split.
    max_listened : int, default=300
        How many clips are decoded at most, chosen at random.
    max_seconds : float, default=1.0
        About how long to examine the sound. What there is no time for is skipped.
    n_jobs : int or None, default=None
        Number of threads that read and decode; None is the number of processors, at most 4.

    Returns
    -------
    list of Finding
        The most serious first.

    Raises
    ------
    ValueError
        If labels or groups are missing, or their number is not that of the clips.

    See Also
    --------
    skspeech.report.write_report : The same and more, for a test part and a fitted model.

    Examples
    --------
    >>> from skspeech.audit import audit
    >>> from skspeech.datasets import make_tones
    >>> clips = make_tones(20, n_classes=2, duration=0.2, random_state=0)
    >>> labels = ["low" if code else "high" for code in clips.target]
    >>> clips.data[1] = clips.data[0]
    >>> [finding.kind for finding in audit(clips.data, labels)]
    ['contradiction', 'no-groups']
    """
    y = check_labels(y)
    groups = check_groups(groups, len(y))
    clips = None
    if X is not None:
        clips = as_clips(X)
        check_consistent_length(clips, y)
    limits = {"max_measured": max_listened, "seconds": max_seconds / 2}
    part = Part("", clips, y, groups, n_jobs=n_jobs, **limits)
    findings = check_part(part, seconds=max_seconds / 2)
    if clips is not None and groups is None:
        findings.append(Finding("no-groups", _NO_GROUPS, _NO_GROUPS_ADVICE))
    return sorted_findings(findings)


_NO_GROUPS = "No groups are given"
_NO_GROUPS_ADVICE = (
    "Where several clips are of one speaker or one recording, say which: else they are on both "
    "sides of a split, and scores are better than those of new speakers will be."
)
