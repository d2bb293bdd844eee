"""Scores: how good answers are, how early they come, and what new clips will score."""

from collections.abc import Iterable
from numbers import Integral, Real
from typing import NamedTuple

import numpy as np

from skspeech._typing import ArrayLike

__all__ = [
    "area_under_learning_curve",
    "balanced_accuracy_over_time",
    "expected_calibration_error",
    "score_interval",
    "scores_by_group",
]

# Printed limits hold for new groups 9 times of 10: benchmarks/confidence.py.
CONFIDENCE = 0.9
MIN_GROUPS = 5  # fewer say too little about how much groups differ


def area_under_learning_curve(
    times: ArrayLike, scores: ArrayLike, time_budget: float, t0: float = 60.0
) -> float:
    r"""Area under the learning curve (ALC): one number for how good and how early answers are.

    The curve is a step function: 0 before the first answer, then the score of the latest answer,
    held until the budget ends. Time is transformed so that early seconds count more than late
    ones, :math:`\tilde t = \log(1 + t / t_0) / \log(1 + T / t_0)` with the budget :math:`T`, which
    makes the area of a system that scores 1 from the first moment exactly 1. Answers that come
    after the budget are ignored.

    Parameters
    ----------
    times : array-like of shape (n_answers,)
        When each answer was given, in seconds since the start, in increasing order.
    scores : array-like of shape (n_answers,)
        Score of each answer, such as its balanced accuracy on the test part.
    time_budget : float
        End of the curve, in seconds.
    t0 : float, default=60.0
        Time scale of the transform, in seconds: time counts about linearly before `t0` and
        logarithmically after it.

    Returns
    -------
    alc : float
        The area. Between 0 and 1 for scores between 0 and 1; 0.0 if no answer came in time.

    Raises
    ------
    ValueError
        If `times` and `scores` differ in length, are not finite, if `times` are negative or
        decrease, or if `time_budget` or `t0` is not positive.

    See Also
    --------
    balanced_accuracy_over_time : The scores of a sequence of predictions.
    skspeech.plotting.LearningCurveDisplay : Draws the curve on the same time axis.

    References
    ----------
    Liu et al., "Winning solutions and post-challenge analyses of the ChaLearn AutoDL challenge
    2019", IEEE Transactions on Pattern Analysis and Machine Intelligence, 2021.

    Examples
    --------
    >>> from skspeech.metrics import area_under_learning_curve
    >>> round(area_under_learning_curve([0.0], [0.9], time_budget=60), 3)
    0.9
    >>> round(area_under_learning_curve([2.0, 20.0, 70.0], [0.6, 0.9, 1.0], time_budget=60), 3)
    0.747
    """
    times, scores = check_curve(times, scores)
    check_positive("time_budget", time_budget)
    check_positive("t0", t0)
    in_time = times <= time_budget
    edges = np.append(times[in_time], time_budget)
    widths = np.diff(np.log1p(edges / t0)) / np.log1p(time_budget / t0)
    return float(widths @ scores[in_time])


def balanced_accuracy_over_time(
    y_true: ArrayLike, predictions: Iterable[ArrayLike], *, classes: ArrayLike | None = None
) -> np.ndarray:
    """Balanced accuracy of each of a sequence of predictions for the same clips.

    Balanced accuracy is the mean, over the classes that occur in `y_true`, of the share of a
    class's clips that are recognised (its recall).

    Parameters
    ----------
    y_true : array-like of shape (n_clips,)
        True labels.
    predictions : iterable of array-like
        One prediction per answer: labels of shape (n_clips,), or scores per class of shape
        (n_clips, n_classes), of which the largest counts.
    classes : array-like of shape (n_classes,), default=None
        Labels of the columns, in order, if predictions are scores per class.
        None means that the labels are the column indices.

    Returns
    -------
    scores : ndarray of shape (n_answers,)
        Balanced accuracy of each prediction.

    Raises
    ------
    ValueError
        If a prediction has another number of clips or classes than expected, if labels are missing,
        mixed, or numbers on one side and text on the other, or if a score is not a number.

    See Also
    --------
    area_under_learning_curve : Summarises such scores in one number.

    Examples
    --------
    >>> from skspeech.metrics import balanced_accuracy_over_time
    >>> first = ["yes", "yes", "yes", "yes"]
    >>> second = [[0.1, 0.9], [0.2, 0.8], [0.4, 0.6], [0.7, 0.3]]
    >>> y_true = ["yes", "yes", "yes", "no"]
    >>> balanced_accuracy_over_time(y_true, [first, second], classes=["no", "yes"])
    array([0.5, 1. ])
    """
    from sklearn.metrics import recall_score

    from skspeech._labels import check_labels

    y_true = check_labels(y_true, "y_true")
    if len(y_true) == 0:
        raise ValueError(
            f"y_true must be a 1-D array with a label for each clip; got shape {y_true.shape}."
        )
    # Not balanced_accuracy_score: it warns if predicted classes are missing in y_true, which are
    # simply mistakes here.
    present = np.unique(y_true)
    scores = []
    for i, prediction in enumerate(predictions):
        said = _as_labels(prediction, i, len(y_true), classes)
        _check_kinds(y_true, said, f"prediction {i}")
        scores.append(recall_score(y_true, said, labels=present, average="macro"))
    return np.array(scores)


class ScoreInterval(NamedTuple):
    """The limits of a score, and what they mean.

    Attributes
    ----------
    low, high : float
        Limits of the balanced accuracy; NaN if there can be none.
    meaning : str
        What the limits are for, or why there are none, in a few words.
    """

    low: float
    high: float
    meaning: str

    def __bool__(self):
        return bool(np.isfinite(self.low))


def expected_calibration_error(
    y_true: ArrayLike, proba: ArrayLike, *, labels: ArrayLike | None = None, n_bins: int = 15
) -> float:
    """Calibration error of probabilities: 0 if, of the clips at 0.9, nine in ten are right.

    Clips are sorted into bins by the probability of their most probable class. In each bin, the
    mean of these probabilities is compared with the share of clips that are right; the error is the
    mean difference, with each bin weighted by its number of clips [1]_.

    Parameters
    ----------
    y_true : array-like of shape (n_clips,)
        True labels.
    proba : array-like of shape (n_clips, n_classes)
        Probabilities of the classes; each row sums to 1.
    labels : array-like of shape (n_classes,), default=None
        The classes in the order of the columns, such as a classifier's ``classes_``. None is the
        sorted labels of `y_true`.
    n_bins : int, default=15
        Bins of equal width between 0 and 1.

    Returns
    -------
    float
        Between 0 and 1. With few clips it is above 0 by chance: with 300, by about 0.02.

    Raises
    ------
    ValueError
        If shapes don't match, there are no clips, a label is missing or not among `labels`, or rows
        are not probabilities.

    See Also
    --------
    sklearn.metrics.brier_score_loss : Scores calibration and accuracy together.
    sklearn.calibration.CalibrationDisplay : Draws the bins, for two classes.

    References
    ----------
    .. [1] C. Guo, G. Pleiss, Y. Sun, K. Q. Weinberger, "On calibration of modern neural networks",
           ICML 2017.

    Examples
    --------
    >>> from skspeech.metrics import expected_calibration_error
    >>> too_sure = [[0.9, 0.1], [0.9, 0.1], [0.1, 0.9], [0.1, 0.9]]
    >>> round(expected_calibration_error(["no", "yes", "yes", "yes"], too_sure), 2)
    0.15
    """
    from skspeech._labels import check_labels, unknown_labels
    from skspeech.ensemble.blending import check_probabilities

    y_true, proba = check_labels(y_true, "y_true"), np.asarray(proba, dtype=np.float64)
    labels = np.unique(y_true) if labels is None else check_labels(labels, "labels")
    if proba.shape != (len(y_true), len(labels)):
        raise ValueError(
            f"proba has shape {proba.shape}; {(len(y_true), len(labels))}, a row for each of "
            f"y_true and a column for each class, was expected."
        )
    if not len(y_true):
        raise ValueError("There are no clips to score.")
    if unknown := unknown_labels(y_true, labels):
        raise ValueError(f"y_true holds labels that are not in labels: {unknown}.")
    check_probabilities(proba, "proba")
    if np.abs(proba.sum(axis=1) - 1).max() > 1e-3:
        raise ValueError("proba holds rows that are no probabilities: each row has to sum to 1.")
    if not (isinstance(n_bins, Integral) and n_bins >= 1):
        raise ValueError(f"n_bins={n_bins!r} must be a whole number of bins.")
    sure = proba.max(axis=1)
    gap = sure - (labels[proba.argmax(axis=1)] == y_true)
    bins = np.minimum((sure * n_bins).astype(int), n_bins - 1)
    return float(np.abs(np.bincount(bins, gap)).sum() / len(y_true))


def scores_by_group(y_true: ArrayLike, y_pred: ArrayLike, groups: ArrayLike) -> dict:
    """Balanced accuracy of the clips of each group, over the classes that the group has.

    Parameters
    ----------
    y_true : array-like of shape (n_clips,)
        True labels.
    y_pred : array-like of shape (n_clips,)
        Predicted labels.
    groups : array-like of shape (n_clips,)
        Group of each clip, such as its speaker.

    Returns
    -------
    dict
        The score of each group, in sorted order; groups of several types, such as text and numbers,
        in that of their first clips.

    Raises
    ------
    ValueError
        If there are no clips, columns differ in length, or values are missing; if labels are mixed,
        or numbers on one side and text on the other.

    See Also
    --------
    score_interval : What new groups will score.

    Examples
    --------
    >>> from skspeech.metrics import scores_by_group
    >>> groups = ["ann", "ann", "bob", "bob"]
    >>> scores_by_group(["no", "yes", "no", "yes"], ["no", "no", "no", "yes"], groups)
    {'ann': 0.5, 'bob': 1.0}
    """
    names, *_, scores = by_group(y_true, y_pred, groups)
    # As a list, times would be numbers of nanoseconds.
    names = names if names.dtype.kind in "mM" else names.tolist()
    return dict(zip(names, scores.tolist()))


def by_group(y_true, y_pred, groups):
    """Count clips, and recognised clips, by group and class, and score the groups.

    Returns
    -------
    groups, classes : ndarray
        Names of rows and columns.
    counts, hits : ndarray of shape (n_groups, n_classes)
    scores : ndarray of shape (n_groups,)
    """
    from sklearn.utils.validation import check_consistent_length

    from skspeech._labels import named_groups

    y_true, y_pred = _as_columns(y_true, y_pred)
    check_consistent_length(y_true, groups)
    codes, names = named_groups(groups, len(y_true))
    _, first, rows = np.unique(codes, return_index=True, return_inverse=True)
    names = names[first]
    classes, columns = np.unique(y_true, return_inverse=True)
    counts = np.zeros((len(names), len(classes)), dtype=int)
    hits = counts.copy()
    np.add.at(counts, (rows, columns), 1)
    np.add.at(hits, (rows, columns), np.asarray(y_true == y_pred, dtype=int))
    recalls = np.divide(hits, counts, where=counts > 0, out=np.full(counts.shape, np.nan))
    return names, classes, counts, hits, np.nanmean(recalls, axis=1)


def score_interval(
    y_true: ArrayLike,
    y_pred: ArrayLike,
    groups: ArrayLike | None = None,
    *,
    n_new: float = 1,
    confidence: float = CONFIDENCE,
) -> ScoreInterval:
    r"""Limits between which the balanced accuracy of new clips will be.

    With groups, such as speakers, the limits are for new groups: groups differ far more than chance
    among their clips explains. If :math:`m` and :math:`s` are the mean and the standard deviation
    of the scores of :math:`n` groups, the scores of new ones are in
    :math:`m \pm t_{n - 1} \, s \sqrt{1 / n + 1 / n_\mathrm{new}}` [1]_. Fewer than five groups say
    too little, and there are no limits. Without groups, clips are taken to be independent, and
    Wilson's limits of each class's recall are combined [2]_; limits for groups are never narrower
    than these.

    Parameters
    ----------
    y_true : array-like of shape (n_clips,)
        True labels of clips that the model was not trained on.
    y_pred : array-like of shape (n_clips,)
        Predicted labels.
    groups : array-like of shape (n_clips,), default=None
        Group of each clip, none of which the model was trained on. None: clips are independent.
    n_new : int or numpy.inf, default=1
        The limits are for the mean score of this many new groups; infinity is for all groups.
    confidence : float, default=0.9
        How often the limits should hold.

    Returns
    -------
    ScoreInterval
        The named tuple (low, high, meaning); it is false if there are no limits.

    Raises
    ------
    ValueError
        As :func:`scores_by_group`, or if `n_new` or `confidence` is out of range.

    See Also
    --------
    scores_by_group : The scores that the limits are made from.

    Notes
    -----
    A percentile bootstrap over groups is for their mean, and with few groups too narrow even for
    that: with 8 speakers, most new ones are outside (``benchmarks/results/confidence.md``).

    References
    ----------
    .. [1] G. J. Hahn, W. Q. Meeker, "Statistical intervals: a guide for practitioners", Wiley,
           1991.
    .. [2] G. Y. Zou, A. Donner, "Construction of confidence limits about effect measures: a general
           approach", Statistics in Medicine 27, 2008.

    Examples
    --------
    >>> import numpy as np
    >>> from skspeech.metrics import score_interval
    >>> y_true, groups = np.tile(["no", "yes"], 30), np.repeat(np.arange(6), 10)
    >>> y_pred = np.where(np.arange(60) % 9 == 0, "no", y_true)
    >>> interval = score_interval(y_true, y_pred, groups)
    >>> round(interval.low, 2), round(interval.high, 2), interval.meaning
    (0.83, 1.0, 'for a new group, from 6 of them')
    >>> score_interval(y_true, y_pred, groups // 3).meaning
    'no honest interval: only 2 groups'
    """
    is_number = n_new == np.inf or isinstance(n_new, Integral)
    if not (is_number and n_new >= 1):
        raise ValueError(f"n_new={n_new!r} must be a whole number of new groups, or infinity.")
    if not (isinstance(confidence, Real) and 0 < confidence < 1):
        raise ValueError(f"confidence={confidence!r} must be between 0 and 1.")
    low, high = _limits_of_clips(*_as_columns(y_true, y_pred), confidence)
    if groups is None:
        return ScoreInterval(low, high, "for clips like these, taken as independent")
    scores = list(scores_by_group(y_true, y_pred, groups).values())
    n = len(scores)
    if n < MIN_GROUPS:
        few = f"only {n} group{'' if n == 1 else 's'}"
        return ScoreInterval(np.nan, np.nan, f"no honest interval: {few}")
    from scipy.stats import t

    half = t.ppf((1 + confidence) / 2, n - 1) * np.std(scores, ddof=1) * np.sqrt(1 / n + 1 / n_new)
    low = max(0.0, min(np.mean(scores) - half, low))  # group scores may be equal by chance
    high = min(1.0, max(np.mean(scores) + half, high))
    new = {1: "a new group", np.inf: "the mean of all groups"}.get(n_new, f"{n_new} new groups")
    return ScoreInterval(float(low), float(high), f"for {new}, from {n} of them")


def wilson_limits(k, n, confidence=CONFIDENCE):
    """Wilson's limits of a share, observed as `k` out of `n`."""
    from scipy.stats import binomtest

    interval = binomtest(int(k), int(n)).proportion_ci(confidence, method="wilson")
    return float(interval.low), float(interval.high)


def _limits_of_clips(y_true, y_pred, confidence):
    """Limits of a mean of recalls, from Wilson's limits of each: squared distances are added."""
    hits = [y_pred[y_true == label] == label for label in np.unique(y_true)]
    recalls = np.array([hit.mean() for hit in hits])
    low, high = np.array([wilson_limits(hit.sum(), len(hit), confidence) for hit in hits]).T
    down, up = (np.linalg.norm(d) / len(hits) for d in (recalls - low, high - recalls))
    return max(0.0, float(recalls.mean() - down)), min(1.0, float(recalls.mean() + up))


def _as_columns(y_true, y_pred):
    """True labels and predicted ones as arrays."""
    from sklearn.utils.validation import check_consistent_length

    from skspeech._labels import check_labels

    check_consistent_length(y_true, y_pred)
    y_true, y_pred = check_labels(y_true, "y_true"), check_labels(y_pred, "y_pred")
    if not len(y_true):
        raise ValueError("There are no clips to score.")
    _check_kinds(y_true, y_pred, "y_pred")
    return y_true, y_pred


def _check_kinds(y_true, y_pred, name):
    """Check that labels may be equal: no text is equal to a number, so all would be mistakes."""
    true, predicted = (
        "text" if isinstance(labels[0], str) else "no text" for labels in (y_true, y_pred)
    )
    if true != predicted:
        raise ValueError(
            f"y_true is {true}, such as {y_true.tolist()[0]!r}, but {name} is {predicted}, such as "
            f"{y_pred.tolist()[0]!r}: none could be right. Give labels of the same kind."
        )


def check_curve(times, scores):
    """Check the points of a learning curve and return them as float arrays."""
    times = _as_finite_1d("times", times)
    scores = _as_finite_1d("scores", scores)
    if len(times) != len(scores):
        raise ValueError(
            f"times and scores must be equally long; got {len(times)} times and "
            f"{len(scores)} scores."
        )
    if np.any(times < 0):
        raise ValueError(
            f"times must be seconds since the start, so not negative; got {times.min():g}. "
            "Subtract the moment of the start from clock readings."
        )
    drops = np.flatnonzero(np.diff(times) < 0)
    if len(drops):
        i = drops[0]
        raise ValueError(
            f"times must increase; got {times[i]:g} followed by {times[i + 1]:g} at index "
            f"{i + 1}. Sort the answers by time; where these are durations, pass "
            "np.cumsum(times)."
        )
    return times, scores


def check_positive(name, value):
    """Raise if a parameter is not a positive, finite number."""
    is_number = isinstance(value, Real) and not isinstance(value, bool)
    if not is_number or not 0 < value < float("inf"):
        raise ValueError(f"{name}={value!r} must be a positive number of seconds.")


def _as_finite_1d(name, values):
    try:
        if np.asarray(values).dtype.kind in "mM":  # as floats, these would be nanoseconds
            raise TypeError("times of NumPy's or pandas' types")
        values = np.asarray(values, dtype=float)
    except (TypeError, ValueError) as error:
        raise ValueError(f"{name} must be a 1-D sequence of numbers; got {values!r}.") from error
    if values.ndim != 1:
        raise ValueError(
            f"{name} must be 1-D, one number per answer; got an array of shape {values.shape}."
        )
    if not np.all(np.isfinite(values)):
        i = int(np.flatnonzero(~np.isfinite(values))[0])
        raise ValueError(f"{name} must be finite; got {values[i]} at index {i}.")
    return values


def _as_labels(prediction, i, n_clips, classes):
    from skspeech._labels import check_labels

    shape = np.shape(prediction)
    if len(shape) not in (1, 2) or shape[0] != n_clips or 0 in shape:
        raise ValueError(
            f"prediction {i} must have shape ({n_clips},), or ({n_clips}, n_classes), to match "
            f"y_true; got {shape}."
        )
    if len(shape) == 1 or (shape[1] == 1 and classes is None):  # a column is of labels
        return check_labels(prediction, f"prediction {i}")
    classes = np.arange(shape[1]) if classes is None else np.asarray(classes)
    if classes.shape != (shape[1],):
        raise ValueError(
            f"prediction {i} has scores for {shape[1]} classes, but classes names {classes.size}."
        )
    try:
        scores = np.asarray(prediction, dtype=float)
    except (TypeError, ValueError) as error:
        raise ValueError(f"prediction {i} has scores that are no numbers: {error}.") from error
    if np.isnan(scores).any():  # to argmax it is the largest
        clip = int(np.isnan(scores).any(axis=1).argmax())
        raise ValueError(f"prediction {i} has a score that is NaN, the first of clip {clip}.")
    return classes[scores.argmax(axis=1)]
