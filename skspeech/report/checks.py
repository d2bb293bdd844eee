"""Checks of a test part against a model and its training part, for a report."""

import numpy as np
from sklearn.preprocessing import StandardScaler, normalize

from skspeech._clip_checks import Finding, check_part, sorted_findings
from skspeech._download import some
from skspeech.audio.measuring import SILENT_DB

__all__ = [
    "SAME_SOUND",
    "best_correlation",
    "find_problems",
    "near_duplicates",
    "voices_in_common",
]

_LEVEL_GAP_DB = 10.0
# How many clips are compared with their nearest neighbour sample by sample, and the correlation
# that makes two waveforms copies: recordings of the same word by the same person stay far below.
_MAX_COMPARED = 200
SAME_SOUND = 0.8
_COMPARED_SECONDS = 10.0
# Share of test clips whose nearest neighbour is a training clip, with parts of equal size: about
# 0.5 if the same people speak in both, 0 to 0.15 if nobody does.
_VOICES_MIX = 0.35
_MIN_FOR_VOICES = 30


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
    findings = _unknown_labels(test, model_classes) + check_part(test)
    if train is not None:
        findings += check_part(train)
        if embeddings is not None:
            findings += _near_copies(test, train, *embeddings)
        findings += _voices(test, train, voices) + _untested(test, train)
        findings += _differences(test, train)
    return sorted_findings(findings)


def _unknown_labels(test, model_classes):
    rows = np.flatnonzero(~np.isin(test.labels, model_classes)).tolist()
    if not rows:
        return []
    unknown = some(np.unique(test.labels[rows]), 8)
    title = f"{test.counted(len(rows))} of classes that the model never saw: {unknown}"
    advice = "The model can only be wrong about them. Leave them out, or train with such clips."
    return [Finding("unknown-labels", title, advice, rows)]


def _untested(test, train):
    untested = np.setdiff1d(train.labels, test.labels)
    if not untested.size:
        return []
    title = f"{len(untested)} class{'' if len(untested) == 1 else 'es'} not tested: "
    advice = "How well the model knows them is not in this report."
    return [Finding("untested", title + some(untested, 8), advice)]


def _near_copies(test, train, E_test, E_train):
    same = np.isin(test.facts["key"], np.setdiff1d(train.facts["key"], [""]))
    pairs = near_duplicates(test, train, E_test, E_train, skip=same)
    if not pairs:
        return []
    nearly = "is" if len(pairs) == 1 else "are"
    title = f"{test.counted(len(pairs))} {nearly} nearly the same as a training clip"
    advice = "The model has seen them, so its score is too good. Remove them from one of the "
    advice += "parts, and train and test again."
    rows = [index for index, _, _ in pairs]
    names = [f"{test.name_of(i)} ≈ {train.name_of(j)} (correlation {r:.2f})" for i, j, r in pairs]
    return [Finding("near-copies", title, advice, rows, names)]


def near_duplicates(test, train, E_test, E_train, skip):
    """Find test clips that sound like a training clip, sample by sample.

    Parameters
    ----------
    test, train : Part
    E_test, E_train : ndarray of shape (n_measured, n_features)
        Embeddings, to find likely pairs.
    skip : ndarray of bool of shape (n_measured_test,)
        Test clips that need not be looked at.

    Returns
    -------
    list of (int, int, float)
        The test clip, the training clip, and the correlation of their waveforms at the best lag.
    """
    scaler = StandardScaler().fit(E_train)
    E_test, E_train = normalize(scaler.transform(E_test)), normalize(scaler.transform(E_train))
    nearest, similarity = _nearest(E_test, E_train)
    similarity[skip | ~test.is_readable | ~train.is_readable[nearest]] = -np.inf
    pairs = []
    for i in np.argsort(-similarity, kind="stable")[:_MAX_COMPARED]:
        if not np.isfinite(similarity[i]) or test.facts["peak"][i] < SILENT_DB:
            continue
        one, other = int(test.measured[i]), int(train.measured[nearest[i]])
        correlation = best_correlation(test.clips[one], train.clips[other])
        if correlation >= SAME_SOUND:
            pairs.append((one, other, correlation))
    return pairs


def _nearest(E, others):
    """Index of the most similar row of `others` for each row, and the similarity."""
    nearest, similarity = np.empty(len(E), dtype=int), np.empty(len(E))
    for block in np.array_split(np.arange(len(E)), max(1, len(E) // 512)):
        products = E[block] @ others.T
        nearest[block] = products.argmax(axis=1)
        similarity[block] = products.max(axis=1)
    return nearest, similarity


def best_correlation(one, other):
    """Correlation of two clips at the best lag; 1 for equal clips, even if louder or shifted."""
    from scipy.signal import correlate

    a, b = (np.asarray(clip.load(_COMPARED_SECONDS), dtype=np.float64) for clip in (one, other))
    if len(a) < len(b):
        a, b = b, a
    norms = np.linalg.norm(a), np.linalg.norm(b)
    if not all(norms):
        return 0.0
    products = np.abs(correlate(a, b, mode="full", method="fft"))
    # Where `b` lies within `a`, normalise by the part of `a` under it, unless that is silent. Where
    # `b` sticks out, normalise by all of both: two quiet ends are no match.
    energy = _moving_sum(a**2, len(b))
    energy = np.maximum(energy, 1e-3 * energy.max())
    wholly = products[len(b) - 1 : len(a)] / (norms[1] * np.sqrt(energy))
    return float(min(1.0, max(wholly.max(), products.max() / (norms[0] * norms[1]))))


def _moving_sum(values, width):
    total = np.cumsum(np.r_[0.0, values])
    return np.maximum(total[width:] - total[:-width], 0.0)


def _voices(test, train, voices):
    """Guess from how voices sound whether the same people speak in both parts."""
    if voices is None or (test.groups is not None and train.groups is not None):
        return []
    share = voices_in_common(*voices)
    if share is None or share < _VOICES_MIX:
        return []
    advice = (
        f"{share:.0%} of the test clips sound more like a training clip than like any other test "
        "clip, of equally many; with new speakers it is less than 15%. If the model is meant for "
        "people whom it never heard, its score on them will be lower: split by speaker, and pass "
        "groups. Where the classes are the speakers themselves, or each test clip has a speaker of "
        "its own, this means nothing."
    )
    return [Finding("voices", "The same voices seem to speak in both parts", advice)]


def voices_in_common(E_test, E_train, n_repeats=5):
    """Share of test clips that sound more like a training clip than like another test clip.

    Parameters
    ----------
    E_test, E_train : ndarray of shape (n_clips, n_features)
        Speaker embeddings.
    n_repeats : int, default=5
        How often the larger part is reduced at random to the size of the smaller one.

    Returns
    -------
    float or None
        None if there are too few clips to tell.
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
        title = f"Test clips last {durations[0]:.1f} s, training clips {durations[1]:.1f} s "
        advice = "A model does best on clips as long as those that it learned from."
        findings.append(Finding("lengths", title + "(medians)", advice))
    levels = [np.nanmedian(part.facts["level"]) for part in (test, train)]
    if abs(levels[0] - levels[1]) > _LEVEL_GAP_DB:
        title = f"Test clips are at {levels[0]:.0f} dB, training clips at {levels[1]:.0f} dB "
        advice = "The parts were recorded differently. If the model does worse than in validation, "
        advice += "this may be why."
        findings.append(Finding("levels", title + "of full scale (medians)", advice))
    return findings
