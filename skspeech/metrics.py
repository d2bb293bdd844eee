"""Scores of anytime learning: how good the answers are, and how early they come."""

from numbers import Real

import numpy as np

__all__ = ["area_under_learning_curve", "balanced_accuracy_over_time"]


def area_under_learning_curve(times, scores, time_budget, t0=60.0):
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
        The area. Between 0 and 1 for scores between 0 and 1; 0.0 where no answer came in time.

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


def balanced_accuracy_over_time(y_true, predictions, *, classes=None):
    """Balanced accuracy of each of a sequence of predictions of the same clips.

    Balanced accuracy is the mean, over the classes that occur in `y_true`, of the share of a
    class's clips that were recognised.

    Parameters
    ----------
    y_true : array-like of shape (n_clips,)
        True labels.
    predictions : iterable of array-like
        One prediction per answer: labels of shape (n_clips,), or scores per class of shape
        (n_clips, n_classes), of which the largest counts.
    classes : array-like of shape (n_classes,), default=None
        Labels of the columns, in order, where predictions are scores per class.
        None means that the labels are the column indices.

    Returns
    -------
    scores : ndarray of shape (n_answers,)
        Balanced accuracy of each prediction.

    Raises
    ------
    ValueError
        If a prediction has another number of clips or classes than expected.

    See Also
    --------
    area_under_learning_curve : Sums such scores up in one number.

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

    y_true = np.asarray(y_true)
    if y_true.ndim != 1 or len(y_true) == 0:
        raise ValueError(
            f"y_true must be a 1-D array with a label for each clip; got shape {y_true.shape}."
        )
    # Not balanced_accuracy_score: it warns of predicted classes that y_true lacks, which are
    # plain mistakes here.
    present = np.unique(y_true)
    return np.array(
        [
            recall_score(
                y_true,
                _as_labels(prediction, i, len(y_true), classes),
                labels=present,
                average="macro",
            )
            for i, prediction in enumerate(predictions)
        ]
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
    """Raise where a parameter is not a positive, finite number."""
    is_number = isinstance(value, Real) and not isinstance(value, bool)
    if not is_number or not 0 < value < float("inf"):
        raise ValueError(f"{name}={value!r} must be a positive number of seconds.")


def _as_finite_1d(name, values):
    try:
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
    prediction = np.asarray(prediction)
    if prediction.ndim not in (1, 2) or len(prediction) != n_clips:
        raise ValueError(
            f"prediction {i} must have shape ({n_clips},), or ({n_clips}, n_classes), to match "
            f"y_true; got {prediction.shape}."
        )
    if prediction.ndim == 1:
        return prediction
    classes = np.arange(prediction.shape[1]) if classes is None else np.asarray(classes)
    if classes.shape != (prediction.shape[1],):
        raise ValueError(
            f"prediction {i} has scores for {prediction.shape[1]} classes, but classes names "
            f"{classes.size}."
        )
    return classes[prediction.argmax(axis=1)]
