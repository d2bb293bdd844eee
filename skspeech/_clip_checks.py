"""Problems of labelled clips: measurements, and findings made from them.

The audit before a training and the report after it use the same checks.
"""

import collections
import itertools
import os
import re
import time
import unicodedata
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

import numpy as np

from skspeech._cores import reading_threads
from skspeech._download import some
from skspeech.audio.copies import group_copies
from skspeech.audio.measuring import CLIPPED_SHARE, SILENT_DB, measure

__all__ = ["SEVERITY", "Finding", "Part", "check_part", "sorted_findings"]

SHORT_SECONDS = 0.1

_FEW_CLIPS, _FEW_TEST_CLIPS = 5, 10
_UNEVEN = 5.0  # times as many clips in the largest class as in the smallest one
_SHORT_WORD = 4  # letters; in shorter words one letter makes another word: no, go
_MAX_COMPARED_NAMES = 500

# Kinds of findings, the most serious first.
SEVERITY = {
    **dict.fromkeys(("unreadable", "contradiction", "trained-on", "near-copies"), "serious"),
    **dict.fromkeys(("trained-groups", "unknown-labels"), "serious"),
    **dict.fromkeys(("similar-names", "one-class-groups", "few-clips", "copies"), "caution"),
    **dict.fromkeys(("silent", "clipped", "uneven", "voices", "levels", "no-groups"), "caution"),
    **dict.fromkeys(("short", "lengths", "untested"), "note"),
}


@dataclass
class Finding:
    """One thing that is worth knowing about the clips.

    Parameters
    ----------
    kind : str
        What :func:`audit` finds is ``"unreadable"``, ``"contradiction"`` (the same sound under two
        labels), ``"similar-names"``, ``"one-class-groups"``, ``"few-clips"``, ``"copies"``,
        ``"silent"``, ``"clipped"``, ``"uneven"``, ``"no-groups"`` or ``"short"``.
    title : str
        The problem.
    advice : str
        What follows from it, and what can be done.
    clips : list of int
        Positions of the clips that it is about; empty if it is about all of them.
    names : list of str
        Names of these clips, if that helps.

    Attributes
    ----------
    severity : {"serious", "caution", "note"}
        Whether scores can't be trusted, may be off, or need care in reading.
    message : str
        All of it on one line.

    Examples
    --------
    >>> from skspeech.audit import Finding
    >>> Finding("copies", "Two clips are the same", "Keep one.", [0, 5]).message
    'Two clips are the same. Keep one.'
    """

    kind: str
    title: str
    advice: str
    clips: list = field(default_factory=list)
    names: list = field(default_factory=list)

    @property
    def severity(self):
        return SEVERITY[self.kind]

    @property
    def message(self):
        named = f": {some(self.names)}" if self.names else ""
        return f"{self.title}{named}. {self.advice}"


def sorted_findings(findings):
    """The most serious first."""
    order = list(SEVERITY)
    return sorted(findings, key=lambda finding: order.index(finding.kind))


class Part:
    """Labelled clips, with measurements.

    Parameters
    ----------
    name : str
        "test", "training", or empty if there is only one part.
    clips : Clips or None
        None if only labels and groups are checked.
    labels : ndarray of shape (n_clips,)
    groups : ndarray of shape (n_clips,), default=None
    max_measured : int, default=2000
        How many clips are decoded at most, chosen at random.
    seconds : float, default=inf
        About how long decoding may take.
    n_jobs : int or None, default=None
        Number of threads that read and decode.

    Attributes
    ----------
    measured : ndarray of int
        Indices of the clips that were decoded.
    facts : dict of str to ndarray
        ``duration`` (seconds), ``peak`` and ``level`` (dB of full scale), ``clipped`` (share of the
        samples), ``key`` and ``problem`` of the measured clips; NaN where a clip can't be read.
    """

    def __init__(
        self, name, clips, labels, groups=None, *, max_measured=2000, seconds=np.inf, n_jobs=None
    ):
        self.name, self.clips, self.labels, self.groups = name, clips, labels, groups
        self.n_jobs = n_jobs
        self.of_it = f" of the {name} part" if name else ""
        if clips is None:
            return
        deadline = time.monotonic() + seconds
        chosen = np.random.RandomState(0).permutation(len(clips))[:max_measured]
        with ThreadPoolExecutor(reading_threads(n_jobs, len(chosen))) as pool:

            def measured(i):
                return measure(clips[int(i)], deadline) if time.monotonic() < deadline else None

            rows = pool.map(measured, chosen)
            known = sorted((i, row) for i, row in zip(chosen.tolist(), rows) if row is not None)
        self.measured = np.array([i for i, _ in known], dtype=int)
        self.facts = {
            fact: np.array([row[fact] for _, row in known])
            for fact in ("duration", "peak", "level", "clipped", "key", "problem")
        }
        self._folder = _common_folder(clips) if name else ""

    @property
    def is_readable(self):
        return self.facts["problem"] == ""

    def name_of(self, index):
        """Name of a clip; in a named part, without the folder that contains all of its clips."""
        return self.clips[int(index)].name.removeprefix(self._folder)

    def finding(self, kind, title, advice, rows):
        """A finding about some clips, with their names."""
        rows = [int(i) for i in rows]
        return Finding(kind, title, advice, rows, [self.name_of(i) for i in rows])

    def counted(self, n):
        """A number of clips of the part, in words."""
        return f"{n:,} {self.name} clip{'' if n == 1 else 's'}".replace("  ", " ")


def _common_folder(clips):
    """The common folder with a final slash, or empty if there is none."""
    try:
        folder = os.path.commonpath({os.path.dirname(clip.name) for clip in clips})
    except ValueError:  # a mix of absolute and relative paths
        return ""
    return os.path.join(folder, "") if folder else ""


def check_part(part, seconds=np.inf):
    """List what is wrong or doubtful in a part.

    Parameters
    ----------
    part : Part
    seconds : float, default=inf
        About how long the search for copies may take.

    Returns
    -------
    list of Finding
        The most serious first.
    """
    findings = _similar_names(part) + _class_sizes(part) + _groups_of_one_class(part)
    if part.clips is not None:
        findings += _copies(part, seconds) + _sounds(part)
    return sorted_findings(findings)


# -- Labels and groups -----------------------------------------------------------------------------


def _class_sizes(part):
    labels, counts = np.unique(part.labels, return_counts=True)
    findings = []
    limit, advice = _FEW_CLIPS, _FEW_ADVICE
    if part.name == "test":
        limit, advice = _FEW_TEST_CLIPS, _FEW_TEST_ADVICE
    few = counts < limit
    if few.any():
        named = _counted(labels[few], counts[few])
        have = "1 class has" if few.sum() == 1 else f"{few.sum()} classes have"
        clips = f"{part.name} clips".strip()
        title = f"{have} fewer than {limit} {clips}: {named}"
        rows = np.flatnonzero(np.isin(part.labels, labels[few])).tolist()
        findings.append(Finding("few-clips", title, advice, rows))
    if counts.max() >= _UNEVEN * counts.min():
        most, least = counts.argmax(), counts.argmin()
        named = _counted(labels[[most, least]], counts[[most, least]])
        title = f"The classes{part.of_it} are very uneven, such as {named}"
        findings.append(Finding("uneven", title, _UNEVEN_ADVICE))
    return findings


_FEW_ADVICE = (
    "Little can be learnt of so few, and their scores say next to nothing. Record more, or leave "
    "the class out."
)
_FEW_TEST_ADVICE = "Their scores may be off by much: look at the limits, and test with more clips."
_UNEVEN_ADVICE = (
    "Look at balanced accuracy, not at accuracy; more clips of the small classes help most."
)


def _counted(labels, counts, n=5):
    named = [f"{str(label)!r} ({count})" for label, count in zip(labels[:n], counts)]
    return ", ".join(named) + (f" and {len(labels) - n} more" if len(labels) > n else "")


def _similar_names(part):
    y, groups, findings = part.labels, part.groups, []
    classes = _plain_names(y)
    for one, other in itertools.combinations(classes, 2):
        if classes[one] == classes[other]:
            how = "only in capitals, spaces or hyphens"
        elif _are_a_letter_apart(classes[one], classes[other]):
            how = "by one letter"
        else:
            continue
        counts = [np.count_nonzero(y == name) for name in (one, other)]
        title = f"The names of the classes {_counted([one, other], counts)} differ {how}"
        advice = "If they are one class, give them one name."
        rows = np.flatnonzero(np.isin(y, [one, other])).tolist()
        findings.append(Finding("similar-names", title, advice, rows))
    known = _plain_names(groups)
    for one, other in itertools.combinations(known, 2):
        if known[one] == known[other]:  # names of people often differ in one letter
            title = f"The names of the groups {one!r} and {other!r} differ only in capitals, "
            title += "spaces or hyphens"
            advice = "If they are one speaker, give them one name, or splits will have this voice "
            advice += "on both sides."
            rows = np.flatnonzero(np.isin(groups, [one, other])).tolist()
            findings.append(Finding("similar-names", title, advice, rows))
    return findings


def _plain_names(values):
    """The distinct names among labels or groups, each with its plain form."""
    if values is None or values.dtype.kind not in "OU":
        return {}
    names = sorted({str(v) for v in values if isinstance(v, str) and any(map(str.isalpha, v))})
    if len(names) > _MAX_COMPARED_NAMES:
        return {}
    return {name: _plain(name) for name in names}


def _plain(name):
    """A name without capitals and hyphens; numbers stay separate: 1-12 is not 11-2."""
    text = unicodedata.normalize("NFKC", name).casefold()
    between = " " if any(map(str.isdigit, text)) else ""
    return re.sub(r"[\s_-]+", between, text).strip()


def _are_a_letter_apart(one, other):
    """Whether two names differ by one inserted or replaced letter, or by two swapped letters."""
    if abs(len(one) - len(other)) > 1:
        return False
    shorter, longer = sorted([one, other], key=len)
    start = next((i for i, pair in enumerate(zip(shorter, longer)) if pair[0] != pair[1]), -1)
    start = len(shorter) if start < 0 else start
    here, there = shorter[start:], longer[start:]
    is_more = here == there[1:]
    is_other = here[1:] == there[1:] and here[:1].isalpha()
    is_swap = here[:2] == there[:2][::-1] and here[2:] == there[2:]
    before, after = re.search(r"[^\W\d]*$", longer[:start])[0], re.match(r"[^\W\d]*", there)[0]
    is_in_word = bool(after) and len(before + after) >= _SHORT_WORD
    return is_in_word and (is_more or is_other or is_swap)


def _groups_of_one_class(part):
    y, groups = part.labels, part.groups
    if groups is None:
        return []
    names, inverse, counts = np.unique(groups, return_inverse=True, return_counts=True)
    large = np.flatnonzero(counts > 1)
    if len(names) < 2 or not len(large):
        return []
    if any(len(np.unique(y[inverse == index])) > 1 for index in large):
        return []
    return [
        Finding(
            "one-class-groups",
            f"Each of the {len(names)} groups{part.of_it} has clips of one class only, so who "
            "speaks can't be told apart from what is to be recognised",
            "Record each speaker in several classes; where that can't be, as with accents, have "
            "many speakers in each.",
        )
    ]


# -- Sounds ----------------------------------------------------------------------------------------


def _copies(part, seconds):
    """Clips of equal content."""
    y, same = part.labels, collections.defaultdict(list)
    for index, first in enumerate(group_copies(part.clips, seconds=seconds, n_jobs=part.n_jobs)):
        same[first].append(index)
    copied = [rows for rows in same.values() if len(rows) > 1]
    wrong = [index for rows in copied if len(np.unique(y[rows])) > 1 for index in rows]
    twice = [index for rows in copied if len(np.unique(y[rows])) == 1 for index in rows]
    findings = []
    if wrong:
        title = f"{part.counted(len(wrong))} are the same sound under different labels"
        finding = part.finding("contradiction", title, _WRONG_ADVICE, wrong)
        finding.names = [f"{name} ({y[i]})" for name, i in zip(finding.names, wrong)]
        findings.append(finding)
    if twice:
        title = f"{part.counted(len(twice))} are the same sound as another one of their class"
        findings.append(part.finding("copies", title, _TWICE_ADVICE, twice))
    return findings


_WRONG_ADVICE = "At least one of the labels is wrong. Listen, and correct them."
_TWICE_ADVICE = (
    "Keep one of each: copies count more than other clips, and where one is held out and the other "
    "is not, scores flatter."
)


def _sounds(part):
    facts, readable, n_heard = part.facts, part.is_readable, len(part.measured)
    short = f"shorter than {SHORT_SECONDS:g} s"
    findings = []
    for kind, mask, is_so, are_so, advice in (
        ("unreadable", ~readable, "can't be read", "can't be read", _UNREADABLE_ADVICE),
        ("silent", facts["peak"] < SILENT_DB, "is silent", "are silent", _SILENT_ADVICE),
        ("clipped", facts["clipped"] > CLIPPED_SHARE, "is clipped", "are clipped", _CLIPPED_ADVICE),
        ("short", facts["duration"] < SHORT_SECONDS, f"is {short}", f"are {short}", _SHORT_ADVICE),
    ):
        rows = part.measured[mask]
        if len(rows):
            n = part.counted(len(rows))
            if n_heard < len(part.clips):
                n = f"{len(rows):,} of the {part.counted(n_heard)} that were listened to"
            title = f"{n} {is_so if len(rows) == 1 else are_so}"
            findings.append(part.finding(kind, title, advice, rows))
    return findings


_UNREADABLE_ADVICE = "Repair or remove what can't be read."
_SILENT_ADVICE = "Leave silence out, or look for a fault of the recording."
_CLIPPED_ADVICE = (
    "Clipping sounds distorted, and if only one class is clipped, a model may learn that. Record "
    "at a lower level if you can."
)
_SHORT_ADVICE = "There is hardly anything to hear in what is so short. Look how it was cut."
