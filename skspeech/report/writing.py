"""One HTML page from a model and a test part."""

import datetime
import importlib.metadata
import os
import platform
import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from sklearn.base import BaseEstimator
from sklearn.utils.validation import check_consistent_length, check_is_fitted

from skspeech._clip_checks import Part, sorted_findings
from skspeech._extras import how_to_install
from skspeech._labels import check_labels, named_groups, unknown_labels
from skspeech._one_clip import labels_of
from skspeech._typing import ArrayLike, ClipsLike, PathLike
from skspeech.audio import as_clips
from skspeech.audio.rates import sampling_rate_of
from skspeech.ensemble.blending import check_probabilities, probabilities_of
from skspeech.report.checks import find_problems
from skspeech.report.clips import draw_clips, embed, statistics, voice_embeddings, worst_mistakes
from skspeech.report.known import Known, left_out_finding
from skspeech.report.models import trained
from skspeech.report.scores import (
    certainty,
    confusions,
    leaderboard,
    learning_curve,
    rows_by_class,
    rows_by_group,
    summarize,
    unknown_rates,
)

__all__ = ["template", "write_page", "write_report"]

_LONG_NAME = 24  # letters; more would not fit beside the figures on a phone
_LIBRARIES = ("skspeech", "scikit-learn", "numpy", "torch")


def write_report(
    model: BaseEstimator,
    X_test: ClipsLike,
    y_test: ArrayLike,
    path: PathLike,
    *,
    X_train: ClipsLike | None = None,
    y_train: ArrayLike | None = None,
    groups_train: ArrayLike | None = None,
    groups_test: ArrayLike | None = None,
    title: str | None = None,
    proba: ArrayLike | None = None,
    left_out: Sequence[tuple[str, str]] = (),
) -> Path:
    """Write one self-contained HTML page about a fitted classifier and the data.

    It shows the score, what new clips will score, and the score of each group; the learning curve
    and the leaderboard of a :class:`~skspeech.TimeBudgetClassifier`; the confusion matrix, scores
    per class, the calibration of the probabilities and how many clips can be answered at a wanted
    accuracy, the worst mistakes to listen to, and which of their moments decided, a map of the
    clips, their lengths and levels. It
    warns of what makes a score untrustworthy: clips or speakers that are in both parts, silent and
    clipped recordings, unequal classes.

    Parameters
    ----------
    model : classifier
        Fitted, with `predict_proba`.
    X_test : sequence of n_test clips
        Paths, waveforms or ``(waveform, sampling_rate)`` pairs that the model was not trained on.
    y_test : array-like of shape (n_test,)
        Their true labels. For a :class:`~skspeech.UnknownRejector`, labels that it does not know
        are unknown, and the page says how many such clips were accepted, and how many others
        rejected.
    path : str or path-like
        The HTML file. An existing one is replaced.
    X_train : sequence of n_train clips, default=None
        What the model was trained on. With it, the parts are compared.
    y_train : array-like of shape (n_train,), default=None
        Labels of the training clips; needed with `X_train`.
    groups_train : array-like of shape (n_train,), default=None
        Speakers, or whatever else must not be in both parts.
    groups_test : array-like of shape (n_test,), default=None
        The same for the test clips. Each group is scored, and with five or more groups the page
        says what a new group will score.
    title : str, default=None
        Heading of the page; None is the name of the model's class.
    proba : array-like of shape (n_test, n_classes), default=None
        Predictions for the test clips by models like this one that were not trained on them, as in
        cross-validation. None lets the model predict.
    left_out : list of (str, str), default=()
        Clips that could not be read, and why. The page names them.

    Returns
    -------
    pathlib.Path
        The file.

    Raises
    ------
    ValueError
        If lengths do not fit, or no label of a part is one that the model knows.
    ImportError
        If Jinja2 or matplotlib are missing.

    See Also
    --------
    skspeech.plotting : Single pictures with matplotlib.

    Notes
    -----
    Intervals hold 9 times of 10. That of the score is :func:`skspeech.metrics.score_interval`;
    those of a class's recall and precision are Wilson's [1]_.

    Test clips that the model was trained on, according to `X_train` or the model's file, are scored
    separately, and so are other clips of groups that it was trained on: the score of the rest is
    the one to believe. If there is no rest, the page says so.

    Clips that occur in both parts are found by content; copies in another format or at another
    level are found by correlating the waveforms of clips with similar embeddings. If no groups are
    given, speaker embeddings tell whether the same voices seem to speak in both parts. At most
    2,000 clips of each part are examined, chosen at random.

    Which moment of a mistake decided is found by :func:`skspeech.inspection.occlusion`. All of it
    takes 10 seconds at most, or one prediction longer: where a model is too slow, the other
    mistakes go without, and the page says so. In clips of more than a minute, and with `proba`, it
    is not looked for.

    References
    ----------
    .. [1] E. B. Wilson, "Probable inference, the law of succession, and statistical inference",
           Journal of the American Statistical Association 22, 1927.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> from sklearn.linear_model import LogisticRegression
    >>> from sklearn.pipeline import make_pipeline
    >>> from skspeech import SpectralStatistics
    >>> from skspeech.datasets import make_tones
    >>> from skspeech.report import write_report
    >>> X, y = make_tones(40, duration=0.3, random_state=0, return_X_y=True)
    >>> model = make_pipeline(SpectralStatistics(), LogisticRegression(max_iter=5000))
    >>> model = model.fit(X[:30], y[:30])
    >>> path = Path(tempfile.mkdtemp()) / "report.html"
    >>> write_report(model, X[30:], y[30:], path, X_train=X[:30], y_train=y[:30]).name
    'report.html'
    """
    page = template("report.html")
    check_is_fitted(model)
    if not hasattr(model, "predict_proba"):
        raise ValueError(
            f"model={model!r} has no predict_proba, which a report needs. Wrap it in "
            "sklearn.calibration.CalibratedClassifierCV."
        )
    if (X_train is None) != (y_train is None):
        raise ValueError("X_train and y_train come together; one of them is None.")
    y_test, groups_test = _checked("test", X_test, y_test, groups_test)
    labels = np.asarray(model.classes_)
    if hasattr(model, "unknown_label") and isinstance(y_test[0], str) == isinstance(labels[0], str):
        y_test = np.where(np.isin(y_test, labels), y_test, model.unknown_label)
    _check_known(labels, y_test, "y_test")
    classes = np.union1d(labels, y_test)
    rate = sampling_rate_of(model)
    clips = as_clips(X_test, sampling_rate=rate)
    train = None
    if X_train is not None:
        y_train, groups_train = _checked("train", X_train, y_train, groups_train)
        _check_known(labels, y_train, "y_train")
        train_clips = as_clips(X_train, sampling_rate=rate)
        train = Part("training", train_clips, y_train, groups_train)
    is_cross_validated = proba is not None
    proba = _aligned_proba(model, X_test, classes, proba)
    known, predicted = Known(len(clips)), proba.argmax(axis=1)
    if not is_cross_validated:
        known = Known.by(model, clips, groups_test, train)
        of_model = proba[:, np.searchsorted(classes, model.classes_)]
        predicted = np.searchsorted(classes, labels_of(model, X_test, of_model))
    known.score(y_test, classes[predicted], groups_test)
    shown = known.shown
    groups_shown = None if groups_test is None else groups_test[shown]
    test = Part("test", clips[shown], y_test[shown], groups_shown)
    answers = proba[shown], predicted[shown]
    parts = page.generate(
        title=title or f"Report: {type(model).__name__}",
        **_describe(model, classes, *answers, test, train, known, left_out, is_cross_validated),
    )
    return write_page(parts, path)


def _describe(model, classes, proba, predicted, test, train, known, left_out, is_cross_validated):
    """Everything that the template shows."""
    from skspeech.report.drawings import class_colors

    true = np.searchsorted(classes, test.labels)
    confusion = np.zeros((len(classes), len(classes)), dtype=int)
    np.add.at(confusion, (true, predicted), 1)
    inner = trained(model)
    embeddings, embedding_name = embed(inner, test, train)
    # In cross-validation other models predicted, so the run of this one is not shown.
    run = None if is_cross_validated else inner
    findings = find_problems(
        test,
        train,
        model.classes_,
        embeddings if train is not None else None,
        voice_embeddings(model, test, train),
    )
    findings = sorted_findings([*left_out_finding(left_out), *known.findings, *findings])
    return {
        "summary": summarize(run, confusion, true, predicted, test, train, known),
        "unknown": unknown_rates(model, test, classes[predicted]),
        "by_group": rows_by_group(test, classes[predicted]),
        "findings": findings,
        "is_cross_validated": is_cross_validated,
        "learning_curve": learning_curve(run),
        "leaderboard": None if run is None else leaderboard(run, test, classes, true),
        "certainty": certainty(proba, true, proba.argmax(axis=1)),
        "confusion": confusions(confusion, classes),
        "per_class": rows_by_class(confusion, classes, train),
        "mistakes": worst_mistakes(
            proba, true, predicted, classes, test, None if is_cross_validated else model
        ),
        "map": draw_clips(embeddings, embedding_name, classes, true, predicted, test, train),
        "colors": class_colors(len(classes)),
        "classes": [str(label) for label in classes],
        "statistics": statistics(test, train),
        "colophon": _colophon(model, run),
    }


# Input --------------------------------------------------------------------------------------------


def template(name):
    """A template of a page.

    Parameters
    ----------
    name : str
        A file of the package's folder ``templates``.

    Raises
    ------
    ImportError
        If Jinja2 or matplotlib are missing.
    """
    try:
        import jinja2
        import matplotlib  # noqa: F401
    except ImportError as error:
        raise ImportError(
            f"The page needs {error.name}, which is not installed. Install it: "
            f"{how_to_install('report')}"
        ) from error
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("skspeech"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["breakable"] = _breakable
    environment.filters["short"] = _short
    return environment.get_template(name)


def _breakable(text):
    """A name with places where a narrow page may break the line."""
    from markupsafe import Markup, escape

    text = re.sub(r"[-_/+@](?=\w)|[.,](?=[^\W\d])", "\\g<0>\u200b", str(text))
    text = re.sub(r"[^\s\u200b]{16}(?=[^\s\u200b])", "\\g<0>\u200b", text)
    return Markup(str(escape(text)).replace("\u200b", "<wbr>"))


def _short(text):
    """The name of a candidate, kept on one line unless it is very long."""
    from markupsafe import Markup

    if len(str(text)) > _LONG_NAME:
        return _breakable(text)
    return Markup('<span class="nowrap">{}</span>').format(text)


def _checked(part, X, y, groups):
    """Labels and groups of a part, as arrays."""
    y, what = check_labels(y, f"y_{part}"), f"X_{part} and y_{part}"
    try:
        check_consistent_length(X, y, groups)
    except ValueError as error:
        raise ValueError(f"{what} (and groups, if any) do not fit together: {error}") from error
    if len(y) == 0:
        raise ValueError(f"{what} are empty: there is nothing to report on.")
    if groups is not None:
        codes, names = named_groups(groups, len(y))
        # Groups of several types became numbers, which mean others in the other part.
        groups = codes if codes is names else names.astype(str)
    return y, groups


def _check_known(known, y, name):
    """Check that a model knows at least one of the labels."""
    if len(unknown_labels(y, known)) == len(np.unique(y)):
        raise ValueError(
            f"None of the labels in {name}, such as {y.tolist()[0]!r}, is one that the model "
            f"knows: {known[:10].tolist()}. Give labels of the same kind as in training."
        )


def _aligned_proba(model, X, classes, given=None):
    shape = (len(X), len(model.classes_))
    if given is not None and np.shape(given) != shape:
        raise ValueError(
            f"proba has shape {np.shape(given)}; for these clips it should be {shape}."
        )
    proba = np.zeros((len(X), len(classes)))
    known = np.searchsorted(classes, model.classes_)
    proba[:, known] = probabilities_of(model, X) if given is None else given
    check_probabilities(proba, "proba")
    return proba


# The page -----------------------------------------------------------------------------------------


def _colophon(model, run):
    versions = {}
    for library in _LIBRARIES:
        try:
            versions[library] = importlib.metadata.version(library)
        except importlib.metadata.PackageNotFoundError:
            continue
    return {
        "created": datetime.datetime.now().astimezone().strftime("%Y-%m-%d %H:%M %Z").strip(),
        "python": platform.python_version(),
        "versions": versions,
        "model": repr(model),
        "summary": run.summary() if hasattr(run, "results_") else None,
    }


def write_page(parts, path):
    """Write a page to a file, all of it or nothing.

    Parameters
    ----------
    parts : iterable of str
        Its text, in parts that are made only as they are written.
    path : str or path-like

    Returns
    -------
    pathlib.Path
        The file.
    """
    from skspeech.persistence.atomic import atomic_writer

    path = Path(os.fspath(path))
    with atomic_writer(path) as file:
        for part in parts:
            file.write(part.encode("utf-8", errors="replace"))
    return path
