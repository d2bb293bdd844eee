"""What a report says of the data: measurements of each clip, and warnings that follow from them."""

import os
from dataclasses import dataclass, field

import joblib
import numpy as np
from sklearn.preprocessing import StandardScaler, normalize

from skspeech._cores import reading_threads
from skspeech.audio.measuring import CLIPPED_SHARE, SILENT_DB, measure

__all__ = ["Finding", "Part", "find_problems", "near_duplicates", "voices_in_common"]

MAX_MEASURED = 2_000  # clips of each part that are decoded

_SHORT_SECONDS = 0.1
_LEVEL_GAP_DB = 10.0
_IMBALANCE = 5.0
_FEW_CLIPS = 10
# Clips whose nearest neighbour in the other part is looked at sample by sample, and how well two
# waveforms must agree: recordings of the same word by the same person stay far below.
_MAX_COMPARED = 200
_SAME_SOUND = 0.8
_COMPARED_SECONDS = 10.0
# Share of test clips whose nearest neighbour is a training clip, parts being thinned to one size:
# about 0.5 where the same people speak in both, 0 to 0.15 where nobody does.
_VOICES_MIX = 0.35
_MIN_FOR_VOICES = 30
_LISTED = 8


@dataclass
class Finding:
    """One thing that the reader should know about the data.

    Attributes
    ----------
    severity : {"serious", "caution", "note"}
        Whether scores can't be trusted, may be off, or need care in reading.
    title : str
        What is the case.
    text : str
        The consequence, and the remedy.
    clips : list of str
        Names of some of the clips that it is about.
    n_more : int
        How many are not named.
    """

    severity: str
    title: str
    text: str
    clips: list = field(default_factory=list)
    n_more: int = 0


def _finding(severity, title, text, names=()):
    names = list(names)
    return Finding(severity, title, text, names[:_LISTED], max(0, len(names) - _LISTED))


class Part:
    """The clips of a training or test part, with what is known and measured of them.

    Attributes
    ----------
    name : str
        "test" or "training".
    clips : Clips
    labels : ndarray of shape (n_clips,)
    groups : ndarray of shape (n_clips,) or None
    measured : ndarray of int
        Indices of the clips that were decoded: all, or evenly spread ones of very many.
    facts : dict of str to ndarray
        ``duration`` (seconds), ``peak`` and ``level`` (dB of full scale), ``clipped`` (share of the
        samples), ``key`` and ``problem`` of the measured clips; NaN where a clip can't be read.
    """

    def __init__(self, name, clips, labels, groups=None, n_jobs=None):
        self.name = name
        self.clips = clips
        self.labels = labels
        self.groups = groups
        n_measured = min(len(clips), MAX_MEASURED)
        self.measured = np.unique(np.linspace(0, len(clips) - 1, n_measured).astype(int))
        n_threads = reading_threads(n_jobs, n_measured)
        rows = joblib.Parallel(n_jobs=n_threads, prefer="threads")(
            joblib.delayed(measure)(clips[int(index)]) for index in self.measured
        )
        self.facts = {name: np.array([row[name] for row in rows]) for name in rows[0]}
        self._folder = _common_folder(clips)

    def name_of(self, index):
        """Name of a clip, without the folder that all clips of the part are in."""
        return self.clips[int(index)].name.removeprefix(self._folder)

    def names(self, mask):
        """Names of the measured clips that a mask selects."""
        return [self.name_of(index) for index in self.measured[np.asarray(mask)]]

    @property
    def is_readable(self):
        return self.facts["problem"] == ""


def _common_folder(clips):
    """The folder with its last slash, or nothing where there is none."""
    try:
        folder = os.path.commonpath({os.path.dirname(clip.name) for clip in clips})
    except ValueError:  # absolute and relative paths
        return ""
    return os.path.join(folder, "") if folder else ""


# What is wrong ------------------------------------------------------------------------------------


def find_problems(test, train, model_classes, embeddings, voices):
    """List what the reader should know, the most serious first.

    Parameters
    ----------
    test : Part
    train : Part or None
    model_classes : ndarray
        Labels that the model knows.
    embeddings : pair of ndarray, or None
        Features of the measured clips of the test part and of the training part.
    voices : pair of ndarray, or None
        The same from a network that tells voices apart.

    Returns
    -------
    list of Finding
    """
    parts = [part for part in (test, train) if part is not None]
    findings = _unknown_labels(test, model_classes)
    for part in parts:
        findings += _bad_clips(part) + _contradictions(part)
    findings += _class_sizes(test, train)
    if train is not None:
        findings += _copies(test, train, embeddings)
        findings += _groups_in_common(test, train) or _voices(test, train, voices)
        findings += _differences(test, train)
    order = ["serious", "caution", "note"]
    return sorted(findings, key=lambda finding: order.index(finding.severity))


def _unknown_labels(test, model_classes):
    unknown = np.setdiff1d(test.labels, model_classes)
    if not unknown.size:
        return []
    n = int(np.isin(test.labels, unknown).sum())
    return [
        _finding(
            "serious",
            f"{_count(n, 'test clip')} of classes that the model never saw: {_listed(unknown)}",
            "The model can only be wrong about them. Leave them out, or train with such clips.",
        )
    ]


def _bad_clips(part):
    facts, readable = part.facts, part.is_readable
    findings = []
    checks = [
        (
            "serious",
            ~readable,
            "can't be read",
            "They count as silence, or stop the model. Convert or remove them.",
        ),
        (
            "caution",
            readable & (facts["peak"] < SILENT_DB),
            "silent",
            f"Their peak is below {SILENT_DB:g} dB of full scale. Whatever is said of them is a "
            "guess. Remove them, or look for a fault of the recording.",
        ),
        (
            "caution",
            readable & (facts["clipped"] > CLIPPED_SHARE),
            "clipped",
            "Their waveform is cut off at its peaks, which sounds distorted. Record at a lower "
            "level where you can; if only one class is clipped, the model may learn that.",
        ),
        (
            "note",
            readable & (facts["duration"] < _SHORT_SECONDS),
            f"shorter than {_SHORT_SECONDS:g} s",
            "There is hardly anything to hear in them. Check how they were cut.",
        ),
    ]
    for severity, mask, what, text in checks:
        n = int(mask.sum())
        if n:
            verb = "" if what.startswith("can't") else "is " if n == 1 else "are "
            title = f"{_count(n, f'{part.name} clip')} {verb}{what}"
            findings.append(_finding(severity, title, text, part.names(mask)))
    return findings


def _contradictions(part):
    """Clips that occur more than once in a part; with different labels, one of them is wrong."""
    keys = np.where(part.is_readable, part.facts["key"], "")
    labels = part.labels[part.measured]
    unique, inverse, counts = np.unique(keys, return_inverse=True, return_counts=True)
    repeated = (counts > 1) & (unique != "")
    differ = np.array([len(set(labels[inverse == i])) > 1 for i in np.flatnonzero(repeated)])
    contradicting = np.isin(inverse, np.flatnonzero(repeated)[differ.astype(bool)])
    same = np.isin(inverse, np.flatnonzero(repeated)) & ~contradicting
    findings = []
    if contradicting.any():
        title = f"{contradicting.sum()} {part.name} clips are the same, with different labels"
        text = "At least one of the labels is wrong. Listen, and correct them."
        findings.append(_finding("serious", title, text, part.names(contradicting)))
    if same.any():
        title = f"{same.sum()} {part.name} clips occur more than once"
        text = "They count more than others do. Keep one of each."
        findings.append(_finding("note", title, text, part.names(same)))
    return findings


def _class_sizes(test, train):
    findings = []
    labels, counts = np.unique(test.labels, return_counts=True)
    few = labels[counts < _FEW_CLIPS]
    if few.size:
        findings.append(
            _finding(
                "note",
                f"{_count(len(few), 'class', 'classes')} with fewer than {_FEW_CLIPS} test clips: "
                f"{_listed(few)}",
                "Their scores may be off by much: look at the confidence intervals, and test with "
                "more clips.",
            )
        )
    for part in (train, test):
        if part is None:
            continue
        labels, counts = np.unique(part.labels, return_counts=True)
        if counts.max() >= _IMBALANCE * counts.min():
            large, small = labels[counts.argmax()], labels[counts.argmin()]
            findings.append(
                _finding(
                    "caution" if part is train else "note",
                    f"The classes of the {part.name} part are unequal: {counts.max()} clips of "
                    f"{large}, {counts.min()} of {small}",
                    "Accuracy is then mostly that of the large classes; balanced accuracy counts "
                    "all alike. More clips of the small classes help most.",
                )
            )
    if train is not None:
        untested = np.setdiff1d(train.labels, test.labels)
        if untested.size:
            title = f"{_count(len(untested), 'class', 'classes')} not tested: {_listed(untested)}"
            findings.append(
                _finding("note", title, "How well the model knows them is not in this report.")
            )
    return findings


def _copies(test, train, embeddings):
    findings = []
    known = np.setdiff1d(train.facts["key"], [""])
    copied = np.isin(test.facts["key"], known)
    if copied.any():
        title = f"{_count(copied.sum(), 'test clip')} also in the training part"
        findings.append(_finding("serious", title, _COPIES, test.names(copied)))
    if embeddings is not None:
        pairs = near_duplicates(test, train, *embeddings, skip=copied)
        if pairs:
            title = f"{_count(len(pairs), 'test clip')} nearly the same as a training clip"
            names = [f"{one} ≈ {other} (correlation {r:.2f})" for one, other, r in pairs]
            findings.append(_finding("serious", title, _COPIES, names))
    return findings


_COPIES = (
    "The model has seen them, so its score is too good. Remove them from one of the parts, and "
    "train and test again."
)


def near_duplicates(test, train, E_test, E_train, skip):
    """Find test clips that sound like a training clip, sample by sample.

    Parameters
    ----------
    test, train : Part
    E_test, E_train : ndarray of shape (n_measured, n_features)
        What brings likely pairs together.
    skip : ndarray of bool of shape (n_measured_test,)
        Test clips that need not be looked at.

    Returns
    -------
    list of (str, str, float)
        Names of the test clip and of the training clip, and the correlation of their waveforms at
        the best lag.
    """
    scaler = StandardScaler().fit(E_train)
    E_test, E_train = normalize(scaler.transform(E_test)), normalize(scaler.transform(E_train))
    nearest, similarity = _nearest(E_test, E_train)
    similarity[skip | ~test.is_readable | ~train.is_readable[nearest]] = -np.inf
    pairs = []
    for i in np.argsort(-similarity, kind="stable")[:_MAX_COMPARED]:
        if not np.isfinite(similarity[i]) or test.facts["peak"][i] < SILENT_DB:
            continue
        one, other = test.measured[i], train.measured[nearest[i]]
        correlation = _best_correlation(test.clips[int(one)], train.clips[int(other)])
        if correlation >= _SAME_SOUND:
            pairs.append((test.name_of(one), train.name_of(other), correlation))
    return pairs


def _nearest(E, others):
    """Index of the most similar row of `others` for each row, and the similarity."""
    nearest, similarity = np.empty(len(E), dtype=int), np.empty(len(E))
    for block in np.array_split(np.arange(len(E)), max(1, len(E) // 512)):
        products = E[block] @ others.T
        nearest[block] = products.argmax(axis=1)
        similarity[block] = products.max(axis=1)
    return nearest, similarity


def _best_correlation(one, other):
    """Correlation of two clips where they overlap best; 1 for equal ones, louder or shifted."""
    from scipy.signal import correlate

    a, b = (np.asarray(clip.load(_COMPARED_SECONDS), dtype=np.float64) for clip in (one, other))
    if len(a) < len(b):
        a, b = b, a
    norms = np.linalg.norm(a), np.linalg.norm(b)
    if not all(norms):
        return 0.0
    products = np.abs(correlate(a, b, mode="full", method="fft"))
    # Where `b` lies wholly on `a`, what counts is the part that it lies on; not where that is
    # silent, though. Where `b` sticks out, all of both counts: two quiet ends are no match.
    energy = _moving_sum(a**2, len(b))
    energy = np.maximum(energy, 1e-3 * energy.max())
    wholly = products[len(b) - 1 : len(a)] / (norms[1] * np.sqrt(energy))
    return float(min(1.0, max(wholly.max(), products.max() / (norms[0] * norms[1]))))


def _moving_sum(values, width):
    total = np.cumsum(np.r_[0.0, values])
    return np.maximum(total[width:] - total[:-width], 0.0)


def _groups_in_common(test, train):
    if test.groups is None or train.groups is None:
        return []
    common = np.intersect1d(test.groups, train.groups)
    if not common.size:
        return []
    n = int(np.isin(test.groups, common).sum())
    return [
        _finding(
            "serious",
            f"{_count(len(common), 'group')} in both parts, with {_count(n, 'test clip')}: "
            f"{_listed(common)}",
            "If groups are speakers, the model may know the voices, and its score on new people "
            "will be lower. Split by groups: StratifiedGroupKFold, or --groups. Where the classes "
            "are the speakers themselves, this is as it should be.",
        )
    ]


def _voices(test, train, voices):
    """Guess from how voices sound whether the same people speak in both parts."""
    if voices is None or (test.groups is not None and train.groups is not None):
        return []
    share = voices_in_common(*voices)
    if share is None or share < _VOICES_MIX:
        return []
    return [
        _finding(
            "caution",
            "The same voices seem to speak in both parts",
            f"{share:.0%} of the test clips sound more like a training clip than like any other "
            "test clip, of equally many; with new speakers it is less than 15%. If "
            "the model is meant for people whom it never heard, its score on them will be lower: "
            "split by speaker, and pass groups. Where the classes are the speakers themselves, or "
            "each test clip has a speaker of its own, this means nothing.",
        )
    ]


def voices_in_common(E_test, E_train, n_repeats=5):
    """Share of test clips that sound more like a training clip than like another test clip.

    Parameters
    ----------
    E_test, E_train : ndarray of shape (n_clips, n_features)
        Speaker embeddings.
    n_repeats : int, default=5
        Times that the larger part is thinned at random to the size of the smaller one.

    Returns
    -------
    float or None
        None where there are too few clips to tell.
    """
    n = min(len(E_test), len(E_train))
    if n < _MIN_FOR_VOICES:
        return None
    E_test, E_train = normalize(E_test), normalize(E_train)
    rng = np.random.default_rng(0)
    shares = []
    for _ in range(n_repeats):
        mine = E_test[rng.choice(len(E_test), n, replace=False)]
        others = E_train[rng.choice(len(E_train), n, replace=False)]
        among_mine = mine @ mine.T
        np.fill_diagonal(among_mine, -np.inf)
        shares.append(np.mean((mine @ others.T).max(axis=1) > among_mine.max(axis=1)))
    return float(np.mean(shares))


def _differences(test, train):
    findings = []
    durations = [np.nanmedian(part.facts["duration"]) for part in (test, train)]
    if not np.isfinite(durations).all():
        return []
    if max(durations) > 2 * min(durations):
        findings.append(
            _finding(
                "note",
                f"Test clips last {durations[0]:.1f} s, training clips {durations[1]:.1f} s "
                "(medians)",
                "A model does best on clips as long as those that it learned from.",
            )
        )
    levels = [np.nanmedian(part.facts["level"]) for part in (test, train)]
    if abs(levels[0] - levels[1]) > _LEVEL_GAP_DB:
        findings.append(
            _finding(
                "caution",
                f"Test clips are at {levels[0]:.0f} dB, training clips at {levels[1]:.0f} dB "
                "of full scale (medians)",
                "The parts were recorded differently. If the model does worse than in validation, "
                "this may be why.",
            )
        )
    return findings


def _count(n, singular, plural=None):
    n = int(n)
    return f"{n:,} {singular if n == 1 else plural or singular + 's'}"


def _listed(items, n=8):
    items = [str(item) for item in items]
    more = f" and {len(items) - n} more" if len(items) > n else ""
    return ", ".join(items[:n]) + more
