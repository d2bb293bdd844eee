"""Check labelled clips before a model is trained on them."""

from numbers import Integral, Real

from sklearn.utils import check_consistent_length

from skspeech._clip_checks import Finding, Part, check_part, sorted_findings
from skspeech._labels import check_labels, named_groups
from skspeech._sklearn import Interval, validate_params
from skspeech._typing import ArrayLike, ClipsLike
from skspeech.audio import as_clips

__all__ = ["Finding", "audit"]


@validate_params(
    {
        **dict.fromkeys(("X", "y", "groups"), "no_validation"),
        "max_listened": [Interval(Integral, 0, None, closed="left")],
        "max_seconds": [Interval(Real, 0, None, closed="both")],
        "n_jobs": [Integral, None],
    },
    prefer_skip_nested_validation=True,
)
def audit(
    X: ClipsLike | None,
    y: ArrayLike,
    groups: ArrayLike | None = None,
    *,
    max_listened: int = 300,
    max_seconds: float = 1.0,
    n_jobs: int | None = None,
) -> list[Finding]:
    """Check labelled clips before training: what is wrong, and what could make scores misleading.

    It is quick: it compares labels and groups, and the content of files of equal size. Only some
    clips are decoded, to find silent and clipped ones. The command ``skspeech fit`` shows these
    findings before it trains.

    Parameters
    ----------
    X : sequence of n_clips clips, or None
        Paths, waveforms or ``(waveform, sampling_rate)`` pairs. None looks at labels and groups
        only.
    y : array-like of shape (n_clips,)
        Their labels.
    groups : array-like of shape (n_clips,), default=None
        The speaker of each clip, or anything else that must not be on both sides of a split.
    max_listened : int, default=300
        Largest number of clips to decode, chosen at random.
    max_seconds : float, default=1.0
        Approximate time for checking the sound. Checks that don't fit into it are left out.
    n_jobs : int or None, default=None
        Threads that read and decode; None is the number of processors, at most 4.

    Returns
    -------
    list of Finding
        The most serious first.

    Raises
    ------
    ValueError
        If there are no labels, labels or groups are missing, their number is not that of the clips,
        or a parameter is out of range.

    See Also
    --------
    skspeech.report.write_report : The same and more of a test part and a fitted model.

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
    if not len(y):
        raise ValueError("y is empty: there is nothing to check.")
    if groups is not None:
        groups = named_groups(groups, len(y))[1]
        groups = groups.astype(str) if groups.dtype == object else groups
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
