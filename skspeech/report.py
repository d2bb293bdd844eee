"""A report on a classifier: one HTML page that says how good it is, and what to know of the data.

The page holds everything inside of itself, pictures and sounds too: it can be mailed, put on a
server, or opened on a machine without a network.
"""

import datetime
import importlib.metadata
import os
import platform
import re
import warnings
from pathlib import Path

import numpy as np
from sklearn.utils.validation import check_consistent_length, check_is_fitted, column_or_1d

from skspeech._extras import how_to_install
from skspeech._heard import clip_keys, was_trained_on
from skspeech._report_checks import MAX_MEASURED, Finding, Part, find_problems
from skspeech.audio import SAMPLING_RATE, as_clips
from skspeech.ensemble import GeometricMeanVotingClassifier
from skspeech.metrics import (
    CONFIDENCE,
    ScoreInterval,
    by_group,
    score_interval,
    wilson_limits,
)
from skspeech.time_budget.results import fate, kept_members

__all__ = ["write_report"]

_N_MISTAKES = 12
_SOUND_SECONDS = 8.0
_MAX_MAPPED = 800
_MIN_MAPPED = 10
_MAX_MATRIX = 990  # pixels that a confusion matrix may be wide
_MAX_CONFUSIONS = 15
_MAX_GROUP_CLASSES = 12  # of a table of groups and classes
_LIBRARIES = ("skspeech", "scikit-learn", "numpy", "torch")


def write_report(
    model,
    X_test,
    y_test,
    path,
    *,
    X_train=None,
    y_train=None,
    groups_train=None,
    groups_test=None,
    title=None,
    proba=None,
):
    """Write one self-contained HTML page about a fitted classifier and the data.

    It shows the score, what new clips will score, and the score of each group; the learning curve
    and the leaderboard of a :class:`~skspeech.TimeBudgetClassifier`; the confusion matrix, scores
    per class, the worst mistakes to listen to, a map of the clips, their lengths and levels. It
    warns of what makes a score untrustworthy: clips that are in both parts, speakers that are,
    silent and clipped recordings, unequal classes.

    Parameters
    ----------
    model : classifier
        Fitted, with `predict_proba`.
    X_test : sequence of n_test clips
        Paths, waveforms or ``(waveform, sampling_rate)`` pairs that the model was not trained on.
    y_test : array-like of shape (n_test,)
        Their true labels.
    path : str or path-like
        The HTML file. One that exists is replaced.
    X_train : sequence of n_train clips, default=None
        What the model was trained on. With it, the parts are compared.
    y_train : array-like of shape (n_train,), default=None
        Labels of the training clips; needed with `X_train`.
    groups_train : array-like of shape (n_train,), default=None
        Speakers, or whatever else must not be in both parts.
    groups_test : array-like of shape (n_test,), default=None
        The same of the test clips. They are scored one by one, and with five or more of them the
        page says what a new group will score.
    title : str, default=None
        Heading of the page; None is the name of the model's class.
    proba : array-like of shape (n_test, n_classes), default=None
        What was predicted for the test clips, by models like this one that were not trained on
        them, as in cross-validation. None asks the model itself.

    Returns
    -------
    pathlib.Path
        The file.

    Raises
    ------
    ValueError
        If lengths do not fit, or no test label is one that the model knows.
    ImportError
        If Jinja2 or matplotlib are missing.

    See Also
    --------
    skspeech.plotting : Single pictures with matplotlib.

    Notes
    -----
    Intervals hold 9 times of 10. That of the score is :func:`skspeech.metrics.score_interval`;
    those of a class's recall and precision are Wilson's [1]_.

    Test clips that the model was trained on, as `X_train` or the model's file tell, are scored
    apart: the score of the others is the one to believe. If it was trained on all of them, the page
    says so.

    Which clips occur in both parts is found by content, and, for copies in another format or at
    another level, by correlating the waveforms of clips with similar embeddings. Where no groups
    are given, speaker embeddings tell whether the same voices seem to speak in both parts.
    Of very many clips, 2,000 of each part are looked at, at even distances.

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
    template = _template()
    check_is_fitted(model)
    if not hasattr(model, "predict_proba"):
        raise ValueError(
            f"model={model!r} has no predict_proba, which a report needs. Wrap it in "
            "sklearn.calibration.CalibratedClassifierCV."
        )
    if (X_train is None) != (y_train is None):
        raise ValueError("X_train and y_train come together; one of them is None.")
    y_test = _checked_labels("X_test and y_test", X_test, y_test, groups_test)
    classes = _all_classes(model, y_test)
    rate = _sampling_rate(model)
    clips = as_clips(X_test, sampling_rate=rate)
    groups_test = _as_array(groups_test)
    train = None
    if X_train is not None:
        y_train = _checked_labels("X_train and y_train", X_train, y_train, groups_train)
        train_clips = as_clips(X_train, sampling_rate=rate)
        train = Part("training", train_clips, y_train, _as_array(groups_train))
    is_cross_validated = proba is not None
    proba = _aligned_proba(model, X_test, classes, proba)
    heard = np.zeros(len(clips), dtype=bool)
    if not is_cross_validated:
        heard = _heard(model, clips, train)
    apart = _scored_apart(heard, y_test, classes[proba.argmax(axis=1)])
    if apart is not None and not apart["all"]:
        clips, y_test, proba = clips[~heard], y_test[~heard], proba[~heard]
        groups_test = None if groups_test is None else groups_test[~heard]
    test = Part("test", clips, y_test, groups_test)
    page = template.render(
        title=title or f"Report: {type(model).__name__}",
        **_describe(model, classes, proba, test, train, apart, is_cross_validated),
    )
    return _write(page, path)


def _describe(model, classes, proba, test, train, apart, is_cross_validated):
    """Everything that the template shows."""
    from skspeech._report_drawings import class_colors

    true = np.searchsorted(classes, test.labels)
    predicted = proba.argmax(axis=1)
    confusion = np.zeros((len(classes), len(classes)), dtype=int)
    np.add.at(confusion, (true, predicted), 1)
    embeddings, embedding_name = _embed(model, test, train)
    # What is known of one of the models says nothing of the others that predicted in its place.
    run = None if is_cross_validated else model
    findings = find_problems(
        test,
        train,
        model.classes_,
        embeddings if train is not None else None,
        _voice_embeddings(model, test, train),
    )
    if apart is not None and not (apart["all"] and train is not None):
        findings.insert(0, _heard_finding(apart))
    return {
        "summary": _summary(run, confusion, true, predicted, test, train, apart),
        "by_group": _by_group(test, classes[predicted]),
        "findings": findings,
        "learning_curve": _learning_curve(run),
        "leaderboard": None if run is None else _leaderboard(model, test, classes, true),
        "confusion": _confusion(confusion, classes),
        "per_class": _per_class(confusion, classes, train),
        "mistakes": _worst_mistakes(proba, true, predicted, classes, test),
        "map": _map(embeddings, embedding_name, classes, true, predicted, test, train),
        "colors": class_colors(len(classes)),
        "classes": [str(label) for label in classes],
        "statistics": _statistics(test, train),
        "colophon": _colophon(model, run),
    }


# Input --------------------------------------------------------------------------------------------


def _template():
    try:
        import jinja2
        import matplotlib  # noqa: F401
    except ImportError as error:
        raise ImportError(
            f"A report needs {error.name}, which is not installed. Install it: "
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
    return environment.get_template("report.html")


def _breakable(text):
    """A name that a narrow page may break where a reader would, or where it is very long."""
    from markupsafe import Markup, escape

    text = re.sub(r"[-_/+@](?=\w)|[.,](?=[^\W\d])", "\\g<0>\u200b", str(text))
    text = re.sub(r"[^\s\u200b]{16}(?=[^\s\u200b])", "\\g<0>\u200b", text)
    return Markup(str(escape(text)).replace("\u200b", "<wbr>"))


def _as_array(values):
    return None if values is None else column_or_1d(values)


def _checked_labels(what, X, y, groups):
    y = column_or_1d(y)
    try:
        check_consistent_length(X, y, groups)
    except ValueError as error:
        raise ValueError(f"{what} (and groups, if any) do not fit together: {error}") from error
    return y


def _all_classes(model, y_test):
    known = np.asarray(model.classes_)
    if not np.isin(y_test, known).any():
        raise ValueError(
            f"None of the labels in y_test, such as {y_test[0]!r}, is one that the model knows: "
            f"{known[:10].tolist()}. Give labels of the same kind as in training."
        )
    return np.union1d(known, y_test)


def _aligned_proba(model, X, classes, given=None):
    shape = (len(X), len(model.classes_))
    if given is not None and np.shape(given) != shape:
        raise ValueError(
            f"proba has shape {np.shape(given)}; for these clips it should be {shape}."
        )
    proba = np.zeros((len(X), len(classes)))
    known = np.searchsorted(classes, model.classes_)
    proba[:, known] = model.predict_proba(X) if given is None else given
    return proba


def _heard(model, clips, train):
    """Which test clips the model was trained on, by its file or by the training part."""
    heard = was_trained_on(model, clips)
    if train is not None:
        keys = clip_keys(clips)
        heard |= np.isin(keys, clip_keys(train.clips)) & (keys != 0)
    return heard


def _scored_apart(heard, true, predicted):
    """How the model does on clips that it was trained on; None where there are none."""
    if not heard.any():
        return None
    true, predicted = true[heard], predicted[heard]
    recalls = [np.mean(predicted[true == label] == label) for label in np.unique(true)]
    return {"n": len(true), "all": bool(heard.all()), "score": float(np.mean(recalls))}


def _heard_finding(heard):
    one = heard["n"] == 1
    title = f"{heard['n']:,} test clip{' is' if one else 's are'} also in the training part"
    text = (
        "All scores on this page are of clips that the model was trained on. They say nothing of "
        "new clips: test with others."
        if heard["all"]
        else "They are left out of this page: the model has seen them, and its balanced accuracy "
        f"on them, {heard['score']:.1%}, says nothing of new clips."
    )
    return Finding("serious", title, text)


def _sampling_rate(model):
    """That of bare waveforms, in Hz, as the model's extractors take them."""
    return next((x.sampling_rate for x in _extractors(model)), SAMPLING_RATE)


def _extractors(model):
    from skspeech._objects import objects_in
    from skspeech.transformers.base import Extractor

    return [item for item in objects_in(model) if isinstance(item, Extractor)]


# Scores -------------------------------------------------------------------------------------------


def _summary(run, confusion, true, predicted, test, train, heard):
    present = confusion.sum(axis=1) > 0
    recalls = np.diag(confusion)[present] / confusion.sum(axis=1)[present]
    interval = score_interval(true, predicted, test.groups)
    if heard is not None and heard["all"]:
        interval = ScoreInterval(np.nan, np.nan, "no measure of what it does with new clips")
    best = getattr(run, "best_score_", np.nan)
    return {
        "balanced_accuracy": float(recalls.mean()),
        "interval": interval,
        "confidence": CONFIDENCE,
        "heard": heard,
        "accuracy": float(np.diag(confusion).sum() / confusion.sum()),
        "chance": 1 / int(present.sum()),
        "n_classes": len(confusion),
        "n_test": len(test.clips),
        "n_train": None if train is None else len(train.clips),
        "n_groups": None if test.groups is None else len(np.unique(test.groups)),
        "validated": None if not np.isfinite(best) else float(best),
        "scoring": getattr(run, "scoring", None),
        "fit_seconds": getattr(run, "timing_", {}).get("total"),
    }


def _by_group(test, predicted):
    """A row for each group: clips, score, and the recall of each class where these are few."""
    if test.groups is None:
        return None
    names, labels, counts, hits, scores = by_group(test.labels, predicted, test.groups)
    shows_classes = 1 < len(labels) <= _MAX_GROUP_CLASSES
    return {
        "classes": [str(label) for label in labels] if shows_classes else [],
        "rows": [
            {
                "name": str(name),
                "n": int(n.sum()),
                "score": score,
                "recalls": [k / m if m else None for k, m in zip(hit, n)] if shows_classes else [],
            }
            for name, score, n, hit in zip(names, scores.tolist(), counts, hits)
        ],
    }


def _per_class(confusion, classes, train):
    """Recall, precision and their intervals, a dict for each class."""
    rows = []
    for i, label in enumerate(classes):
        n_true, n_predicted = confusion[i].sum(), confusion[:, i].sum()
        recall = _share(confusion[i, i], n_true)
        precision = _share(confusion[i, i], n_predicted)
        both = n_true + n_predicted
        rows.append(
            {
                "code": i,
                "label": str(label),
                "n_test": int(n_true),
                "n_train": None if train is None else int(np.sum(train.labels == label)),
                "recall": recall,
                "precision": precision,
                "f1": None if both == 0 else float(2 * confusion[i, i] / both),
            }
        )
    return rows


def _share(k, n):
    """A share with Wilson's interval; None where there is nothing to take a share of."""
    if n == 0:
        return None
    low, high = wilson_limits(k, n)
    return {"value": float(k / n), "low": low, "high": high}


def _confusion(confusion, classes):
    """The matrix where it fits on a page, and the most frequent confusions."""
    wrong = confusion.copy()
    np.fill_diagonal(wrong, 0)
    pairs = [
        (str(classes[i]), str(classes[j]), int(wrong[i, j]), int(confusion[i].sum()))
        for i, j in zip(*np.unravel_index(np.argsort(-wrong, axis=None), wrong.shape))
        if wrong[i, j]
    ]
    shares = confusion / np.maximum(confusion.sum(axis=1, keepdims=True), 1)
    longest = min(16, max(len(str(label)) for label in classes))
    width = 7 * longest + 16 + max(23, 8 + 7 * len(str(confusion.max()))) * len(classes)
    fits = width <= _MAX_MATRIX
    rows = [
        [{"n": int(n), "share": float(share)} for n, share in zip(*row)]
        for row in zip(confusion, shares)
    ]
    return {"rows": rows if fits else None, "width": width, "pairs": pairs[:_MAX_CONFUSIONS]}


# The run ------------------------------------------------------------------------------------------


def _learning_curve(model):
    from skspeech._report_drawings import draw_learning_curve

    curve = getattr(model, "learning_curve_", None)
    if curve is None or not np.isfinite(curve["score"]).any():
        return None
    scoring = model.scoring if isinstance(model.scoring, str) else "score"
    name = scoring.replace("_", " ").capitalize()
    return draw_learning_curve(curve["time"], curve["score"], model.time_budget, name)


def _leaderboard(model, test, classes, true):
    """A row for each candidate of a run, or for each member of an ensemble."""
    if hasattr(model, "results_"):
        results = model.results_
        order = np.argsort(-np.nan_to_num(results["score"], nan=-np.inf), kind="stable")
        keys = ("name", "score", "weight", "mean_fit_time", "predict_time", "status")
        rows = [{key: _plain(results[key][i]) for key in keys} for i in order]
        kept = kept_members(model.results_)
        failures = [(name, fate(name in kept), *what) for name, *what in model.failures_]
        return {"kind": "candidates", "rows": rows, "failures": failures}
    ensemble = getattr(model, "ensemble_", model)
    if not isinstance(ensemble, GeometricMeanVotingClassifier):
        return None
    names = [n for n, member in ensemble.named_estimators_.items() if not isinstance(member, str)]
    weights = ensemble._active_weights()
    probas = np.split(ensemble.transform(test.clips), len(names), axis=1)
    rows = []
    for name, weight, proba in zip(names, weights / weights.sum(), probas):
        predicted = np.searchsorted(classes, ensemble.classes_[proba.argmax(axis=1)])
        recalls = [np.mean(predicted[true == code] == code) for code in np.unique(true)]
        rows.append({"name": name, "weight": float(weight), "score": float(np.mean(recalls))})
    rows.sort(key=lambda row: -row["score"])
    return {"kind": "members", "rows": rows, "failures": []}


def _plain(value):
    if isinstance(value, np.generic):
        value = value.item()
    return None if isinstance(value, float) and np.isnan(value) else value


# Clips --------------------------------------------------------------------------------------------


def _worst_mistakes(proba, true, predicted, classes, test):
    """The clips that the model is most sure of and wrong about, to be heard and seen."""
    from skspeech._report_drawings import sound_uri, spectrogram_uri

    rows = np.arange(len(true))
    excess = proba[rows, predicted] - proba[rows, true]
    wrong = np.flatnonzero(predicted != true)
    worst = wrong[np.argsort(-excess[wrong], kind="stable")]
    mistakes = []
    for i in worst[:_N_MISTAKES]:
        clip = test.clips[int(i)]
        mistake = {
            "name": test.name_of(i),
            "path": clip.name,
            "true": str(classes[true[i]]),
            "predicted": str(classes[predicted[i]]),
            "p_true": float(proba[i, true[i]]),
            "p_predicted": float(proba[i, predicted[i]]),
            "group": None if test.groups is None else str(test.groups[i]),
            "problem": "",
        }
        try:
            waveform = clip.load(_SOUND_SECONDS)
            mistake |= {
                "duration": clip.duration(),
                "sound": sound_uri(waveform),
                "spectrogram": spectrogram_uri(waveform),
            }
        except (OSError, ValueError) as error:
            mistake["problem"] = str(error)
        mistakes.append(mistake)
    return {"shown": mistakes, "n": len(wrong), "seconds": _SOUND_SECONDS}


def _embed(model, test, train):
    """Features of the measured clips, as the model's weightiest member sees them.

    Returns
    -------
    embeddings : (ndarray, ndarray or None)
        Of the test part and of the training part.
    name : str
        What made them.
    """
    from sklearn.pipeline import Pipeline

    from skspeech.time_budget.features import stateless_steps
    from skspeech.transformers.spectral import SpectralStatistics

    heads = [(weight, stateless_steps(member)[0]) for weight, member in _members(model)]
    steps = max((h for h in heads if h[1]), key=lambda head: head[0], default=(0, None))[1]
    extractor = Pipeline(steps) if steps else SpectralStatistics()
    name = _name_of(steps[0][1] if steps else extractor)
    return _transform_parts(extractor, test, train), name


def _members(model):
    """Weights and classifiers that vote; the model itself where it is not an ensemble."""
    ensemble = getattr(model, "ensemble_", model)
    if not isinstance(ensemble, GeometricMeanVotingClassifier):
        return [(1.0, model)]
    return list(zip(ensemble._active_weights(), ensemble.estimators_))


def _name_of(step):
    if hasattr(step, "transformer_list"):
        return " + ".join(type(part).__name__ for _, part in step.transformer_list)
    return type(step).__name__


def _transform_parts(extractor, test, train):
    """Rows of zeros stand for clips that can't be read."""
    embeddings = []
    for part in (test, train):
        if part is None:
            embeddings.append(None)
            continue
        readable = part.is_readable
        if not readable.any():
            return None
        features = np.asarray(extractor.transform(part.clips[part.measured[readable]]))
        if features.ndim != 2:
            return None
        rows = np.zeros((len(readable), features.shape[1]), dtype=np.float32)
        rows[readable] = features
        embeddings.append(rows)
    return tuple(embeddings)


def _voice_embeddings(model, test, train):
    """Speaker embeddings of both parts, where the model uses them and has their weights."""
    from sklearn.base import clone

    from skspeech.transformers.speaker import SpeakerEmbedding

    speaker = next((x for x in _extractors(model) if isinstance(x, SpeakerEmbedding)), None)
    if train is None or speaker is None:
        return None
    embeddings = _transform_parts(clone(speaker), test, train)
    if embeddings is None:
        return None
    return tuple(rows[part.is_readable] for rows, part in zip(embeddings, (test, train)))


def _map(embeddings, embedding_name, classes, true, predicted, test, train):
    """Where clips lie among one another, in two dimensions."""
    from skspeech._report_drawings import class_colors, draw_map

    if embeddings is None:
        return None
    parts = [(part, rows) for part, rows in zip((test, train), embeddings) if part is not None]
    rows, codes, is_test, is_wrong, titles = [], [], [], [], []
    n_each = _MAX_MAPPED // len(parts)
    for part, features in parts:
        chosen = np.flatnonzero(part.is_readable)
        chosen = chosen[np.unique(np.linspace(0, len(chosen) - 1, n_each).astype(int))]
        for i in chosen:
            index = part.measured[i]
            label = part.labels[index]
            if label not in classes:
                continue
            of_test = part is test
            wrong = of_test and predicted[index] != true[index]
            title = f"{part.name_of(index)}: {label}"
            rows.append(features[i])
            codes.append(int(np.searchsorted(classes, label)))
            is_test.append(of_test)
            is_wrong.append(bool(wrong))
            titles.append(f"{title}, taken for {classes[predicted[index]]}" if wrong else title)
    if len(rows) < _MIN_MAPPED:
        return None
    points, method = _flatten(np.stack(rows))
    return {
        "drawing": draw_map(
            points,
            codes,
            class_colors(len(classes)),
            np.array(is_test),
            np.array(is_wrong),
            titles,
        ),
        "features": embedding_name,
        "method": method,
        "n": len(rows),
        "has_train": train is not None,
    }


def _flatten(features):
    """Two coordinates for each row, by t-SNE of the principal components."""
    from sklearn.decomposition import PCA
    from sklearn.manifold import TSNE
    from sklearn.preprocessing import StandardScaler

    features = StandardScaler().fit_transform(features)
    n_components = min(30, *features.shape)
    components = PCA(n_components, random_state=0).fit_transform(features)
    if n_components < 3 or not np.any(components.std(axis=0)):
        points = np.zeros((len(components), 2))
        points[:, : min(2, n_components)] = components[:, :2]
        return points, "principal components"
    perplexity = min(30.0, (len(features) - 1) / 3)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # numerical ones, where many clips are the same
        points = TSNE(perplexity=perplexity, init="pca", random_state=0).fit_transform(components)
    return points, "t-SNE"


def _statistics(test, train):
    from skspeech._report_drawings import draw_histogram

    parts = [part for part in (test, train) if part is not None]
    rows = []
    for part in parts:
        readable = part.is_readable
        facts = {name: values[readable] for name, values in part.facts.items()}
        n = int(readable.sum())
        rows.append(
            {
                "name": part.name,
                "n": len(part.clips),
                "n_measured": len(part.measured),
                "n_classes": len(np.unique(part.labels)),
                "n_groups": None if part.groups is None else len(np.unique(part.groups)),
                "total": float(facts["duration"].sum()) if n else None,
                "duration": _quantiles(facts["duration"]),
                "level": _quantiles(facts["level"]),
                "peak": _quantiles(facts["peak"]),
            }
        )
    return {
        "rows": rows,
        "durations": draw_histogram(
            {part.name: part.facts["duration"] for part in parts}, "Duration (s)", log=True
        ),
        "levels": draw_histogram(
            {part.name: np.maximum(part.facts["level"], -100) for part in parts},
            "Level (dB of full scale)",
        ),
        "limit": MAX_MEASURED,
    }


def _quantiles(values):
    if not len(values):
        return None
    return [float(q) for q in np.quantile(values, [0.0, 0.5, 1.0])]


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


def _write(page, path):
    from skspeech.persistence import atomic_writer

    path = Path(os.fspath(path))
    with atomic_writer(path) as file:
        file.write(page.encode("utf-8", errors="replace"))
    return path
