"""Clips of a test part: their sounds, and a map of their features."""

import warnings

import numpy as np

from skspeech._pickled import parts_of
from skspeech.report.models import members_of
from skspeech.report.moments import MOST_SECONDS, Moments

__all__ = [
    "draw_clips",
    "embed",
    "playable",
    "statistics",
    "voice_embeddings",
    "worst_mistakes",
]

_N_MISTAKES = 12
_SOUND_SECONDS = 8.0
_MAX_MAPPED = 800
_MIN_MAPPED = 10


def worst_mistakes(proba, true, predicted, classes, test, model=None):
    """Wrong answers, the most confident first, with sounds and spectrograms.

    Parameters
    ----------
    proba : ndarray of shape (n_test, n_classes)
    true, predicted : ndarray of int of shape (n_test,)
        Indices of classes.
    classes : ndarray of shape (n_classes,)
    test : Part
    model : fitted classifier, default=None
        The one that predicted: it is asked which moments decided, as long as there is time.

    Returns
    -------
    dict
    """
    moments = None if model is None else Moments(model)
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
            "moments": None,
            **playable(clip, _SOUND_SECONDS),
        }
        if moments is not None and not mistake["problem"]:
            shown = min(mistake["duration"], _SOUND_SECONDS)
            mistake["moments"] = moments.of(clip, classes[predicted[i]], shown)
        mistakes.append(mistake)
    return {
        "shown": mistakes,
        "n": len(wrong),
        "seconds": _SOUND_SECONDS,
        "n_explained": sum(mistake["moments"] is not None for mistake in mistakes),
        "unexplained": "" if moments is None else moments.problem,
        "most_seconds": MOST_SECONDS,
    }


def playable(clip, seconds):
    """What a page needs to show and play the beginning of a clip, or why it can't.

    Parameters
    ----------
    clip : Clip
    seconds : float
        Length of the beginning.

    Returns
    -------
    dict
        ``problem``, empty if there is none; then also ``duration``, ``sound`` and ``spectrogram``.
    """
    from skspeech.report.drawings import sound_uri, spectrogram_uri

    try:
        waveform = clip.load(seconds)
        return {
            "problem": "",
            "duration": clip.duration(),
            "sound": sound_uri(waveform),
            "spectrogram": spectrogram_uri(waveform),
        }
    except (OSError, ValueError) as error:
        return {"problem": str(error)}


def embed(model, test, train):
    """Features of the measured clips, as the model's weightiest member sees them.

    Returns
    -------
    embeddings : (ndarray, ndarray or None)
        Of the test part and of the training part.
    name : str
        Name of their extractor.
    """
    from sklearn.pipeline import Pipeline

    from skspeech.time_budget.features import stateless_steps
    from skspeech.transformers.spectral import SpectralStatistics

    heads = [(weight, stateless_steps(member)[0]) for weight, member in members_of(model)]
    steps = max((h for h in heads if h[1]), key=lambda head: head[0], default=(0, None))[1]
    extractor = Pipeline(steps) if steps else SpectralStatistics()
    name = _name_of(steps[0][1] if steps else extractor)
    return _transform_parts(extractor, test, train), name


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


def voice_embeddings(model, test, train):
    """Speaker embeddings of both parts, if the model uses them and their weights are there."""
    from sklearn.base import clone

    from skspeech.transformers.speaker import SpeakerEmbedding

    speaker = next(parts_of(model, SpeakerEmbedding), None)
    if train is None or speaker is None:
        return None
    embeddings = _transform_parts(clone(speaker), test, train)
    if embeddings is None:
        return None
    return tuple(rows[part.is_readable] for rows, part in zip(embeddings, (test, train)))


def draw_clips(embeddings, embedding_name, classes, true, predicted, test, train):
    """Draw a map of the clips in two dimensions."""
    from skspeech.report.drawings import class_colors, draw_map

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
    components = np.asarray(PCA(n_components, random_state=0).fit_transform(features))
    if n_components < 3 or not np.any(components.std(axis=0)):
        points = np.zeros((len(components), 2))
        points[:, : min(2, n_components)] = components[:, :2]
        return points, "principal components"
    perplexity = min(30.0, (len(features) - 1) / 3)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # numerical warnings, if many clips are the same
        points = TSNE(perplexity=perplexity, init="pca", random_state=0).fit_transform(components)
    return np.asarray(points), "t-SNE"


def statistics(test, train):
    from skspeech.report.drawings import draw_histogram

    parts = [part for part in (test, train) if part is not None]
    rows = []
    for part in parts:
        readable = part.is_readable
        facts = {name: values[readable] for name, values in part.facts.items()}
        n, is_whole = int(readable.sum()), len(part.measured) == len(part.clips)
        rows.append(
            {
                "name": part.name,
                "n": len(part.clips),
                "n_measured": len(part.measured),
                "n_classes": len(np.unique(part.labels)),
                "n_groups": None if part.groups is None else len(np.unique(part.groups)),
                "total": float(facts["duration"].sum()) if n and is_whole else None,
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
    }


def _quantiles(values):
    if not len(values):
        return None
    return [float(q) for q in np.quantile(values, [0.0, 0.5, 1.0])]
