"""Find doubtful labels, and clips without labels that are worth labelling."""

from typing import TYPE_CHECKING

import numpy as np
from sklearn.base import BaseEstimator, clone
from sklearn.preprocessing import StandardScaler, normalize
from sklearn.utils import check_consistent_length

from skspeech._folds import stratified_folds, why_no_fold
from skspeech._labels import check_groups, check_labels
from skspeech._routing import fit_params_for
from skspeech._sklearn import _safe_indexing
from skspeech._typing import ArrayLike, ClipsLike, Device, Memory, RandomState
from skspeech.audio import as_clips
from skspeech.audio.copies import kept_together
from skspeech.ensemble.blending import probabilities_of
from skspeech.report.checks import SAME_SOUND, best_correlation

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["contradicting_copies", "doubtful_labels", "most_different"]

_MAX_COMPARED = 200  # pairs of clips that are compared sample by sample


def doubtful_labels(
    X: ClipsLike,
    y: ArrayLike,
    groups: ArrayLike | None = None,
    *,
    classifier: BaseEstimator | None = None,
    n_folds: int = 5,
    device: Device = "auto",
    memory: Memory = None,
    n_jobs: int | None = None,
    random_state: RandomState = 0,
) -> "pd.DataFrame":
    """Rank labelled clips by how doubtful their labels are.

    Each clip is judged by a classifier that was not trained on it. If another class is far more
    probable than the label, either the clip is hard, or the label is wrong: listen to it.

    Parameters
    ----------
    X : sequence of n_clips clips
        Paths, waveforms, ``(waveform, sampling_rate)`` pairs, or a 2-D array with a clip a row.
    y : array-like of shape (n_clips,)
        Their labels.
    groups : array-like of shape (n_clips,), default=None
        Clips of one group, such as a speaker's, are held out together. They are also passed to the
        classifier, if it takes them.
    classifier : classifier, default=None
        Not fitted, with `predict_proba`. None is the geometric mean of discriminant analyses on the
        features of the "fast" line-up, which are computed once for each clip.
    n_folds : int, default=5
        Number of folds.
    device : str or torch.device, default="auto"
        Where the networks of the default classifier run.
    memory : None, False, str, path-like or joblib.Memory, default=None
        Where its features are remembered.
    n_jobs : int or None, default=None
        Number of threads that decode audio.
    random_state : int, RandomState instance or None, default=0
        Seed of the folds.

    Returns
    -------
    pandas.DataFrame of n_clips rows
        The most doubtful first: ``clip`` (its position in `X`), ``label``, ``suggested`` (the most
        probable class), ``p_label`` and ``p_suggested`` (their probabilities), and ``doubt``, the
        probability of the most probable other class minus that of the label: above 0, another class
        is more probable. The only clip, or group, of a class can't be held out, and has NaN.

    Raises
    ------
    AudioError
        If clips can't be read.
    ValueError
        If there is only one class, labels or groups are missing, their number is not that of the
        clips, or nothing can be held out.

    See Also
    --------
    skspeech.audit.audit : Problems that can be found without a model.
    write_label_page : A page to listen to these clips, and to mark what is right.

    Notes
    -----
    This is the ranking of confident learning [1]_ by the margin, with equal class priors, which the
    discriminant analysis uses here.

    References
    ----------
    .. [1] C. Northcutt, L. Jiang, I. Chuang, "Confident learning: estimating uncertainty in dataset
           labels", Journal of Artificial Intelligence Research 70, 2021.

    Examples
    --------
    >>> from sklearn.pipeline import make_pipeline
    >>> from skspeech import ShrinkageDiscriminantAnalysis, SpectralStatistics
    >>> from skspeech.datasets import make_tones
    >>> from skspeech.report import doubtful_labels
    >>> X, y = make_tones(40, n_classes=2, duration=0.3, random_state=0, return_X_y=True)
    >>> y[7] = 1 - y[7]
    >>> model = make_pipeline(SpectralStatistics(), ShrinkageDiscriminantAnalysis())
    >>> table = doubtful_labels(X, y, classifier=model)
    >>> int(table["clip"][0])
    7
    """
    import pandas as pd

    y = check_labels(y)
    check_consistent_length(as_clips(X), y)
    groups = check_groups(groups, len(y))
    classes, codes = np.unique(y, return_inverse=True)
    if len(classes) < 2:
        raise ValueError(f"All clips are of one class, {classes.tolist()[0]!r}. Two are needed.")
    if classifier is None:
        classifier = _quick_classifier(X, y, device=device, memory=memory, n_jobs=n_jobs)
    kept = kept_together(X, groups, are_clips=True, n_jobs=n_jobs)
    folds = stratified_folds(codes, n_folds, groups=kept, random_state=random_state)
    if not folds:
        raise ValueError(f"No label can be checked, because {why_no_fold(codes, kept)}.")
    proba = np.full((len(y), len(classes)), np.nan)
    for train, test in folds:
        params = fit_params_for(classifier, groups=None if groups is None else groups[train])
        model = clone(classifier).fit(_safe_indexing(X, train), y[train], **params)
        known = np.searchsorted(classes, model.classes_)
        proba[test] = 0.0
        proba[np.ix_(test, known)] = probabilities_of(model, _safe_indexing(X, test))
    rows = np.arange(len(y))
    others = proba.copy()
    others[rows, codes] = -np.inf
    judged = ~np.isnan(proba[:, 0])
    best = np.where(judged, np.nan_to_num(proba).argmax(axis=1), codes)
    table = pd.DataFrame(
        {
            "clip": rows,
            "label": y,
            "suggested": classes[best],
            "p_label": proba[rows, codes],
            "p_suggested": proba[rows, best],
            "doubt": np.where(judged, others.max(axis=1) - proba[rows, codes], np.nan),
        }
    )
    return table.sort_values("doubt", ascending=False, kind="stable", ignore_index=True)


def _quick_classifier(X, y, **settings):
    """One member for each kind of features in the quick line-up."""
    from skspeech.ensemble import GeometricMeanVotingClassifier
    from skspeech.time_budget.line_ups import default_candidates

    line_up = default_candidates(X, y, preset="fast", random_state=0, **settings)
    return GeometricMeanVotingClassifier([(c.name, c.estimator) for c in line_up])


def contradicting_copies(
    X: ClipsLike, y: ArrayLike, *, features: np.ndarray | None = None
) -> list[tuple[int, int, float]]:
    """Find clips that sound the same, sample by sample, but have different labels.

    They are copies in another format, at another level, or cut slightly differently;
    :func:`skspeech.audit.audit` finds equal files.

    Parameters
    ----------
    X : sequence of n_clips clips
        As in :func:`doubtful_labels`.
    y : array-like of shape (n_clips,)
        Their labels.
    features : ndarray of shape (n_clips, n_features), default=None
        Features to find likely pairs by. None computes :class:`~skspeech.SpectralStatistics`.

    Returns
    -------
    list of (int, int, float)
        Positions of two clips, and the correlation of their waveforms at the best lag; the most
        similar first.

    Examples
    --------
    >>> from skspeech.datasets import make_speech_like
    >>> from skspeech.report import contradicting_copies
    >>> X, y = make_speech_like(12, n_classes=2, random_state=0, return_X_y=True)
    >>> X[5] = 0.5 * X[0][160:]
    >>> y[0], y[5] = 0, 1
    >>> [(one, other) for one, other, _ in contradicting_copies(X, y)]
    [(0, 5)]
    """
    clips, y = as_clips(X), check_labels(y)
    check_consistent_length(clips, y)
    E = normalize(StandardScaler().fit_transform(_features_of(X) if features is None else features))
    pairs = {}
    for i in range(len(E)):
        similarity = np.where(y == y[i], -np.inf, E @ E[i])
        j = int(similarity.argmax())
        if np.isfinite(similarity[j]):
            pairs[min(i, j), max(i, j)] = similarity[j]
    likely = sorted(pairs, key=pairs.__getitem__, reverse=True)[:_MAX_COMPARED]
    found = [(i, j, best_correlation(clips[i], clips[j])) for i, j in likely]
    return sorted((pair for pair in found if pair[2] >= SAME_SOUND), key=lambda pair: -pair[2])


def most_different(
    X: ClipsLike,
    X_labelled: ClipsLike,
    n_clips: int = 10,
    *,
    extractor: BaseEstimator | None = None,
) -> np.ndarray:
    """Choose the clips to label next: the ones most unlike the labelled clips.

    Each choice is the clip that is farthest from all labelled and all chosen ones [1]_.

    Parameters
    ----------
    X : sequence of clips
        Those without labels.
    X_labelled : sequence of clips
        Those with labels; may be empty.
    n_clips : int, default=10
        How many to choose, at most.
    extractor : transformer, default=None
        Its features are compared. None is :class:`~skspeech.SpectralStatistics`.

    Returns
    -------
    ndarray of int
        Positions in `X`, the most different clip first.

    References
    ----------
    .. [1] O. Sener, S. Savarese, "Active learning for convolutional neural networks: a core-set
           approach", ICLR 2018.

    Examples
    --------
    >>> from skspeech.datasets import make_tones
    >>> from skspeech.report import most_different
    >>> X, y = make_tones(20, n_classes=2, duration=0.3, random_state=0, return_X_y=True)
    >>> known = [clip for clip, label in zip(X, y) if label == 0]
    >>> int(y[most_different(X, known, 1)[0]])
    1
    """
    n_labelled = len(X_labelled)
    parts = [_features_of(X, extractor)]
    if n_labelled:
        parts.append(_features_of(X_labelled, extractor))
    scaled = np.asarray(StandardScaler().fit_transform(np.vstack(parts)))
    rows, labelled = scaled[: len(X)], scaled[len(X) :]

    def distances(row):
        return np.linalg.norm(rows - row, axis=1)

    centres = labelled if n_labelled else rows.mean(axis=0, keepdims=True)
    nearest = np.min([distances(row) for row in centres], axis=0)
    chosen = []
    for _ in range(min(n_clips, len(X))):
        nearest[chosen] = -np.inf
        chosen.append(int(nearest.argmax()))
        nearest = np.minimum(nearest, distances(rows[chosen[-1]]))
    return np.array(chosen, dtype=int)


def _features_of(X, extractor=None):
    from skspeech.transformers.spectral import SpectralStatistics

    return np.asarray((extractor or SpectralStatistics()).fit(X).transform(X))
