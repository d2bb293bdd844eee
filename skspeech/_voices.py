"""Group clips by voice when the speakers are not known.

If the same voices are on both sides of a split, a score says nothing about new ones. Clusters of a
speaker embedding separate the voices well enough to keep each on one side: on Emo-DB and the Free
Spoken Digit Dataset, their adjusted mutual information with the true speakers is 0.8 to 0.9, and
0.9 to 0.95. The class means are removed first; otherwise clusters would be emotions and words as
much as voices.
"""

from typing import NamedTuple

import numpy as np
from scipy.cluster.hierarchy import fcluster, linkage
from scipy.spatial.distance import pdist, squareform
from sklearn.metrics import silhouette_score
from sklearn.utils import check_random_state

__all__ = ["Voices", "find_voices", "warn_of_voices"]

# Clips that a voice should have on average; with fewer, clusters are noise.
_CLIPS_PER_VOICE = 10
# All pairs of this many clips are compared, which takes some tenths of a second.
_MOST_COMPARED = 2000
# A smaller fall of the held-out score for new voices is not reported.
_NOTABLE = 0.05


class Voices(NamedTuple):
    """What :func:`find_voices` found: `groups` is None if there is a `reason`, in words."""

    groups: np.ndarray | None
    reason: str


def find_voices(X, y, *, n_voices=8):
    """Group clips by voice.

    Parameters
    ----------
    X : array-like of shape (n_clips, n_features)
        A speaker embedding of each clip, such as ``SpeakerEmbedding(layers="embedding")`` gives.
    y : array-like of shape (n_clips,)
        The clips' labels.
    n_voices : int, default=8
        Most groups to find; fewer if there are fewer than ten clips for each. If there are more
        voices, groups contain several.

    Returns
    -------
    groups : ndarray of int of shape (n_clips,), or None
        The group of each clip, from 0. None if the classes are voices, so that no voice could be
        held out, if one person speaks in all clips, or if voices can't be told apart.
    reason : str
        Why there are no groups; empty if there are.

    Examples
    --------
    >>> import numpy as np
    >>> from skspeech._voices import find_voices
    >>> rng = np.random.default_rng(0)
    >>> speaker, y = np.arange(60) % 3, np.arange(60) // 3 % 2
    >>> X = np.eye(8)[speaker] + 0.05 * rng.normal(size=(60, 8))
    >>> groups, reason = find_voices(X, y, n_voices=3)
    >>> len(np.unique(np.column_stack([groups, speaker]), axis=0))
    3
    >>> find_voices(X, speaker).groups is None
    True
    """
    X = np.asarray(X, dtype=np.float64)
    codes = np.unique(y, return_inverse=True)[1]
    n_voices = min(n_voices, len(X) // _CLIPS_PER_VOICE)
    if n_voices < 2:
        return Voices(None, f"{len(X)} clips are too few to tell voices apart")
    if not np.isfinite(X).all():
        return Voices(None, "the speaker embedding is not finite")
    X = X / np.maximum(np.linalg.norm(X, axis=1, keepdims=True), np.finfo(float).tiny)
    rest = X - _means(X, codes)[codes]
    if np.square(rest).sum() <= 1e-9 * len(X):
        return Voices(None, "all clips of a class sound the same")
    rng = check_random_state(0)
    some = np.sort(rng.permutation(len(X))[:_MOST_COMPARED])
    cuts, heights = _cut(rest[some], n_voices)

    def all_groups(k):
        """The clusters of a cut; each other clip joins the one with the nearest mean."""
        means = _means(rest[some], cuts[k])
        groups = np.argmin(np.square(means).sum(axis=1) - 2 * rest @ means.T, axis=1)
        groups[some] = cuts[k]
        return groups

    if _explained(rest, all_groups(n_voices)) <= _explained(X, codes):
        return Voices(
            None,
            "nothing tells the clips' voices apart as well as the classes do: either the classes "
            "are voices, or one person speaks in all clips",
        )
    groups = all_groups(_last_peak(heights))
    if not groups.any():
        return Voices(None, "voices can't be told apart")
    return Voices(groups, "")


def _cut(X, most):
    """Ward's clusters by their number, from 3 (for as many folds) to `most`, and silhouettes."""
    distances = pdist(X)
    tree, square = linkage(distances, "ward"), squareform(distances)
    cuts = {k: fcluster(tree, k, "maxclust") - 1 for k in range(min(3, most), most + 1)}
    heights = {
        k: silhouette_score(square, groups, metric="precomputed") if groups.any() else -1.0
        for k, groups in cuts.items()
    }
    return cuts, heights


def _last_peak(heights):
    """The number of voices, given the silhouette of each number of clusters.

    A split of one voice lowers the silhouette, and so may a cluster of two voices: men and women
    differ most. So of its peaks that are at least half as high as the highest, the one with most
    clusters counts.
    """
    top = max(heights.values())
    padded = {min(heights) - 1: -np.inf, **heights, max(heights) + 1: -np.inf}
    peaks = [k for k in heights if padded[k - 1] < padded[k] >= padded[k + 1]]
    return max(k for k in peaks if heights[k] >= top - abs(top) / 2)


def _means(X, groups):
    return np.stack([X[groups == group].mean(axis=0) for group in range(groups.max() + 1)])


def _explained(X, groups):
    """Share of the variance between the groups, minus what chance would give."""
    n, k = len(X), groups.max() + 1
    if k >= n:
        return 1.0
    within = np.square(X - _means(X, groups)[groups]).sum() / (n - k)
    total = np.square(X - X.mean(axis=0)).sum() / (n - 1)
    return 1.0 - within / total if total > 0 else 0.0


def warn_of_voices(random_proba, voice_proba, y, voices, *, score):
    """Say whether a score by random folds is too good, by comparing it with one by voices.

    Parameters
    ----------
    random_proba, voice_proba : ndarray of shape (n_clips, n_classes)
        Held-out probabilities of the same candidate or ensemble: by folds that don't keep voices
        together, and by folds that do. Rows of NaN are left out.
    y : ndarray of int of shape (n_clips,)
        Index of each clip's class.
    voices : ndarray of shape (n_clips,)
        The voice of each clip.
    score : callable
        ``score(proba, y)``: higher is better, 1 is the best.

    Returns
    -------
    str or None
        A message for the user, if the score falls by more than 0.05, by more than half of the error
        on new voices (1 minus the score), and by more than two standard errors over voices.

    Examples
    --------
    >>> import numpy as np
    >>> from skspeech._voices import warn_of_voices
    >>> from skspeech.selection import ProbabilityScore
    >>> y, voices = np.arange(40) % 2, np.arange(40) // 10
    >>> right = np.eye(2)[y] * 0.8 + 0.1
    >>> often_wrong = np.where(np.arange(40)[:, None] % 10 < 4, right[:, ::-1], right)
    >>> score = ProbabilityScore("accuracy", ["no", "yes"])
    >>> warn_of_voices(right, often_wrong, y, voices, score=score)[:42]
    'Clips of new voices are recognised worse: '
    >>> warn_of_voices(right, right, y, voices, score=score) is None
    True
    """
    y, voices = np.asarray(y), np.asarray(voices)
    known = ~(np.isnan(random_proba[:, 0]) | np.isnan(voice_proba[:, 0]))
    random_proba, voice_proba = random_proba[known], voice_proba[known]
    y, voices = y[known], voices[known]
    if len(np.unique(voices)) < 2:
        return None
    by_clips, by_voices = score(random_proba, y), score(voice_proba, y)
    fall = by_clips - by_voices
    if not (fall > _NOTABLE and fall > (1.0 - by_voices) / 2):
        return None
    lost = (random_proba.argmax(axis=1) == y).astype(float) - (voice_proba.argmax(axis=1) == y)
    per_voice = np.array([lost[voices == voice].mean() for voice in np.unique(voices)])
    if per_voice.mean() <= 2 * per_voice.std(ddof=1) / np.sqrt(len(per_voice)):
        return None
    return (
        f"Clips of new voices are recognised worse: {by_clips:.2f} on held-out clips, "
        f"{by_voices:.2f} on held-out voices. If the model is for people whom it has not heard, "
        "expect the second, and give groups= (who speaks in each clip)."
    )
