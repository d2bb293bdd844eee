"""What is worth knowing of labelled clips before a model is trained on them."""

import collections
import itertools
import re
import time
import unicodedata
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

import numpy as np
from sklearn.utils import check_consistent_length

from skspeech._cores import reading_threads
from skspeech._download import some
from skspeech._labels import check_groups, check_labels
from skspeech.audio import as_clips
from skspeech.audio.measuring import CLIPPED_SHARE, SILENT_DB, measure

__all__ = ["Finding", "audit"]

_FEW_CLIPS = 5
_UNEVEN = 5.0  # times as many clips in the largest class as in the smallest one
_SHORT_WORD = 4  # letters; a letter makes another word of a shorter one: no, go
_MAX_COMPARED_NAMES = 500


@dataclass
class Finding:
    """One thing that is worth knowing of the clips.

    Parameters
    ----------
    kind : str
        ``"unreadable"``, ``"contradiction"`` (the same sound under two labels), ``"copies"``,
        ``"similar-names"``, ``"one-class-groups"``, ``"few-clips"``, ``"uneven"``,
        ``"no-groups"``, ``"silent"`` or ``"clipped"``.
    message : str
        What is the case, what follows from it, and what can be done, on one line.
    clips : list of int
        Positions of the clips that it is about; empty where it is about all of them.

    Examples
    --------
    >>> from skspeech.audit import Finding
    >>> Finding("no-groups", "No groups are given.").clips
    []
    """

    kind: str
    message: str
    clips: list = field(default_factory=list)


def audit(X, y, groups=None, *, max_listened=300, max_seconds=1.0, n_jobs=None):
    """Look at labelled clips before training: what is wrong with them, and what will be misread.

    It is quick: labels and groups are compared, files of equal size by their content, and only some
    clips are decoded, to find silent and clipped ones. The command ``skspeech fit`` shows what is
    found before it trains.

    Parameters
    ----------
    X : sequence of n_clips clips, or None
        Paths, waveforms or ``(waveform, sampling_rate)`` pairs. None looks at labels and groups
        only.
    y : array-like of shape (n_clips,)
        Their labels.
    groups : array-like of shape (n_clips,), default=None
        Who speaks, or what else must not be on both sides of a split.
    max_listened : int, default=300
        How many clips are decoded at most, chosen at random.
    max_seconds : float, default=1.0
        How long the sounds are looked at, about. What there is no time for is left out.
    n_jobs : int or None, default=None
        Threads that read and decode; None is the number of processors, at most 4.

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
    groups = check_groups(groups, len(y))
    findings = _similar_names(y, groups) + _class_sizes(y) + _groups_of_one_class(y, groups)
    if X is not None:
        clips = as_clips(X)
        check_consistent_length(clips, y)
        with ThreadPoolExecutor(reading_threads(n_jobs, len(clips))) as pool:
            start = time.monotonic()
            findings += _copies(clips, y, pool, start + max_seconds / 2)
            findings += _sounds(clips, max_listened, pool, start + max_seconds)
        if groups is None:
            findings.append(Finding("no-groups", _NO_GROUPS))
    return sorted(findings, key=lambda finding: _ORDER.index(finding.kind))


_ORDER = (
    *("unreadable", "contradiction", "similar-names", "one-class-groups", "few-clips"),
    *("copies", "silent", "clipped", "uneven", "no-groups"),
)
_NO_GROUPS = (
    "No groups are given. Where several clips are of one speaker or one recording, say which: else "
    "they are on both sides of a split, and scores are better than those of new speakers will be."
)


# -- Labels and groups -----------------------------------------------------------------------------


def _class_sizes(y):
    labels, counts = np.unique(y, return_counts=True)
    findings = []
    few = counts < _FEW_CLIPS
    if few.any():
        named = _counted(labels[few], counts[few])
        have = "1 class has" if few.sum() == 1 else f"{few.sum()} classes have"
        findings.append(
            Finding(
                "few-clips",
                f"{have} fewer than {_FEW_CLIPS} clips: {named}. Little can be learnt of so few, "
                "and their scores say next to nothing. Record more, or leave the class out.",
                np.flatnonzero(np.isin(y, labels[few])).tolist(),
            )
        )
    if counts.max() >= _UNEVEN * counts.min():
        most, least = counts.argmax(), counts.argmin()
        named = _counted(labels[[most, least]], counts[[most, least]])
        findings.append(
            Finding(
                "uneven",
                f"The classes are very uneven, such as {named}. Look at balanced accuracy, not at "
                "accuracy; more clips of the small classes help most.",
            )
        )
    return findings


def _counted(labels, counts, n=5):
    named = [f"{str(label)!r} ({count})" for label, count in zip(labels[:n], counts)]
    return ", ".join(named) + (f" and {len(labels) - n} more" if len(labels) > n else "")


def _similar_names(y, groups):
    findings = []
    classes = _plain_names(y)
    for one, other in itertools.combinations(classes, 2):
        if classes[one] == classes[other]:
            how = "only in capitals, spaces or hyphens"
        elif _are_a_letter_apart(classes[one], classes[other]):
            how = "by one letter"
        else:
            continue
        counts = [np.count_nonzero(y == name) for name in (one, other)]
        message = f"The names of the classes {_counted([one, other], counts)} differ {how}. "
        message += "If they are one class, give them one name."
        rows = np.flatnonzero(np.isin(y, [one, other])).tolist()
        findings.append(Finding("similar-names", message, rows))
    known = _plain_names(groups)
    for one, other in itertools.combinations(known, 2):
        if known[one] == known[other]:  # names of people are often a letter apart
            message = f"The names of the groups {one!r} and {other!r} differ only in capitals, "
            message += "spaces or hyphens. If they are one speaker, give them one name, or splits "
            message += "will have this voice on both sides."
            rows = np.flatnonzero(np.isin(groups, [one, other])).tolist()
            findings.append(Finding("similar-names", message, rows))
    return findings


def _plain_names(values):
    """The different names among labels or groups, each with its plain form."""
    if values is None or values.dtype.kind not in "OU":
        return {}
    names = sorted({str(v) for v in values if isinstance(v, str) and any(map(str.isalpha, v))})
    if len(names) > _MAX_COMPARED_NAMES:
        return {}
    return {name: _plain(name) for name in names}


def _plain(name):
    """A name without capitals and hyphens; numbers stay apart: 1-12 is not 11-2."""
    text = unicodedata.normalize("NFKC", name).casefold()
    between = " " if any(map(str.isdigit, text)) else ""
    return re.sub(r"[\s_-]+", between, text).strip()


def _are_a_letter_apart(one, other):
    """Whether a letter more or another one, or two that changed places, make one of the other."""
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


def _groups_of_one_class(y, groups):
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
            f"Each of the {len(names)} groups has clips of one class only, so who speaks can't be "
            "told apart from what is to be recognised. Record each speaker in several classes; "
            "where that can't be, as with accents, have many speakers in each.",
        )
    ]


# -- Sounds ----------------------------------------------------------------------------------------


def _copies(clips, y, pool, deadline):
    """Clips of equal content. Only those of equal size are read."""
    of_size = collections.defaultdict(list)
    for index in range(len(clips)):
        of_size[clips[index].size].append(index)
    suspects = [index for rows in of_size.values() if len(rows) > 1 for index in rows]

    def key(index):
        try:
            return clips[index].key() if time.monotonic() < deadline else None
        except (OSError, ValueError):
            return None

    same = collections.defaultdict(list)
    for index, content in zip(suspects, pool.map(key, suspects)):
        if content is not None:
            same[content].append(index)
    copied = [rows for rows in same.values() if len(rows) > 1]
    wrong = [index for rows in copied if len(np.unique(y[rows])) > 1 for index in rows]
    twice = [index for rows in copied if len(np.unique(y[rows])) == 1 for index in rows]
    findings = []
    if wrong:
        named = some([f"{clips[index].name} ({y[index]})" for index in wrong])
        message = f"{len(wrong)} clips are the same sound under different labels: {named}. "
        message += "At least one of the labels is wrong. Listen, and correct them."
        findings.append(Finding("contradiction", message, wrong))
    if twice:
        named = some([clips[index].name for index in twice])
        message = f"{len(twice)} clips are the same sound as another one of their class: {named}. "
        message += "Where one is held out and the other is not, scores flatter. Keep one of each."
        findings.append(Finding("copies", message, twice))
    return findings


def _sounds(clips, max_listened, pool, deadline):
    chosen = np.random.RandomState(0).permutation(len(clips))[:max_listened].tolist()

    def listen(index):
        return measure(clips[index]) if time.monotonic() < deadline else None

    heard = [(i, fact) for i, fact in zip(chosen, pool.map(listen, chosen)) if fact is not None]
    good = [(i, fact) for i, fact in heard if not fact["problem"]]
    bad = [i for i, fact in heard if fact["problem"]]
    silent = [i for i, fact in good if fact["peak"] < SILENT_DB]
    clipped = [i for i, fact in good if fact["clipped"] > CLIPPED_SHARE]
    checks = [
        ("unreadable", bad, "can't be read", "can't be read", _UNREADABLE),
        ("silent", silent, "is silent", "are silent", _SILENT),
        ("clipped", clipped, "is clipped", "are clipped", _CLIPPED),
    ]
    findings = []
    for kind, rows, is_so, are_so, advice in checks:
        if rows:
            what = "clip" if len(heard) == 1 else "clips"
            n = f"{len(rows)} of the {len(heard)} {what} that were listened to"
            if len(heard) == len(clips):
                n = "1 clip" if len(rows) == 1 else f"{len(rows)} clips"
            named = some([clips[i].name for i in sorted(rows)])
            message = f"{n} {is_so if len(rows) == 1 else are_so}: {named}. {advice}"
            findings.append(Finding(kind, message, sorted(rows)))
    return findings


_UNREADABLE = "Repair or remove what can't be read."
_SILENT = "Leave silence out, or look for a fault of the recording."
_CLIPPED = (
    "Clipping sounds distorted, and if only one class is clipped, a model may learn that. Record "
    "at a lower level if you can."
)
