"""Fitted classifiers as torch modules: what is learnt from clips is a few matrices."""

import functools

import numpy as np
import torch
from sklearn.compose import ColumnTransformer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import FeatureUnion, Pipeline
from sklearn.preprocessing import FunctionTransformer, Normalizer, StandardScaler
from torch import nn

from skspeech._pickled import PickledClassifier
from skspeech.ensemble import GeometricMeanVotingClassifier
from skspeech.ensemble.members import active_weights
from skspeech.estimators import AugmentedClassifier, ShrinkageDiscriminantAnalysis
from skspeech.estimators.linear import (
    FusedEmbeddingClassifier,
    MusicEmbeddingClassifier,
    SpeakerEmbeddingClassifier,
)
from skspeech.estimators.logistic import WideLogisticRegression
from skspeech.time_budget import TimeBudgetClassifier
from skspeech.transformers.scaling import ClippedStandardScaler, SignedSqrt
from skspeech.transformers.traceable import TRACEABLE, as_torch

__all__ = ["Graph", "NotExportable", "describe"]

_TINY = 1e-12
# Where a classifier of clips keeps the fitted one that it asks.
_INNER = {
    AugmentedClassifier: "estimator_",
    FusedEmbeddingClassifier: "pipeline_",
    MusicEmbeddingClassifier: "pipeline_",
    SpeakerEmbeddingClassifier: "pipeline_",
    TimeBudgetClassifier: "ensemble_",
}


class NotExportable(ValueError):
    """A part of a model has no form in torch."""


class Graph(nn.Module):
    """A fitted classifier: from a waveform (n_samples,) at 16 kHz to probabilities (n_classes,)."""

    def __init__(self, classifier):
        super().__init__()
        self.classifier = _module(classifier)

    def forward(self, waveform):
        return self.classifier(waveform)[0]


def describe(estimator):
    """What a model is made of, in words."""
    name = type(estimator).__name__
    if (inner := _inner(estimator)) is not None:
        return f"{name}({describe(inner)})"
    if isinstance(estimator, Pipeline):
        return " → ".join(describe(step) for _, step in _steps(estimator))
    if isinstance(estimator, FeatureUnion):
        return f"({' + '.join(describe(part) for _, part in estimator.transformer_list)})"
    if isinstance(estimator, GeometricMeanVotingClassifier):
        return f"{name}({', '.join(describe(member) for member in estimator.estimators_)})"
    return name


def _inner(estimator):
    if isinstance(estimator, PickledClassifier):
        return estimator.load()
    attribute = _INNER.get(type(estimator))
    return None if attribute is None else getattr(estimator, attribute)


def _steps(pipeline):
    return [(name, step) for name, step in pipeline.steps if step not in (None, "passthrough")]


def _tensor(values):
    return torch.from_numpy(np.array(values, dtype=np.float32))


# -- From an estimator to its module: rows in, rows out -------------------------------------------


@functools.singledispatch
def _module(estimator):
    if (inner := _inner(estimator)) is not None:
        return _module(inner)
    if type(estimator) in TRACEABLE:
        return _Row(as_torch(estimator))
    raise NotExportable(type(estimator).__name__)


@_module.register
def _(estimator: Pipeline):
    return nn.Sequential(*(_module(step) for _, step in _steps(estimator)))


@_module.register
def _(estimator: FeatureUnion):
    if estimator.transformer_weights:
        raise NotExportable("FeatureUnion with transformer_weights")
    parts = [part for _, part in estimator.transformer_list if part != "drop"]
    return _Together([_module(part) for part in parts])


@_module.register
def _(estimator: ColumnTransformer):
    if estimator.transformer_weights:
        raise NotExportable("ColumnTransformer with transformer_weights")
    parts = [(part, columns) for _, part, columns in estimator.transformers_ if part != "drop"]
    return _Together(
        [_identity(part) for part, _ in parts],
        [np.arange(estimator.n_features_in_)[columns] for _, columns in parts],
    )


def _identity(part):
    return nn.Identity() if part == "passthrough" else _module(part)


@_module.register
def _(estimator: FunctionTransformer):
    if estimator.func is not None:
        raise NotExportable("FunctionTransformer")
    return nn.Identity()


@_module.register
def _(estimator: StandardScaler):
    mean = estimator.mean_ if estimator.with_mean else None
    return _Standardise(mean, estimator.scale_, np.inf)


@_module.register
def _(estimator: ClippedStandardScaler):
    return _Standardise(estimator.mean_, estimator.scale_, estimator.clip)


@_module.register
def _(estimator: Normalizer):
    return _Normalise(estimator.norm)


@_module.register
def _(estimator: SignedSqrt):
    return nn.Sequential(_Root(), _Normalise(estimator.norm))


@_module.register(LogisticRegression)
@_module.register(ShrinkageDiscriminantAnalysis)
@_module.register(WideLogisticRegression)
def _(estimator):
    return _Linear(estimator.coef_, estimator.intercept_)


@_module.register
def _(estimator: GeometricMeanVotingClassifier):
    votes = [
        (member, weight, estimator.classes_[:, None] == member.classes_)
        for member, weight in zip(estimator.estimators_, active_weights(estimator))
        if weight > 0
    ]
    return _Vote(
        [_module(member) for member, _, _ in votes],
        [weight for _, weight, _ in votes],
        [places.T for _, _, places in votes],
        estimator.floor,
        getattr(estimator, "temperature_", 1.0),
    )


# -- The modules ----------------------------------------------------------------------------------


class _Row(nn.Module):
    def __init__(self, listener):
        super().__init__()
        self.listener = listener

    def forward(self, waveform):
        return self.listener(waveform)[None]


class _Together(nn.Module):
    """Puts what parts make of the same input, or of some of its columns, side by side."""

    def __init__(self, parts, columns=None):
        super().__init__()
        self.parts = nn.ModuleList(parts)
        self.n_columns = None if columns is None else [len(some) for some in columns]
        for i, some in enumerate(columns or ()):
            self.register_buffer(f"columns{i}", torch.from_numpy(np.array(some)))

    def forward(self, x):
        if self.n_columns is None:
            return torch.cat([part(x) for part in self.parts], dim=1)
        return torch.cat(
            [part(x[:, getattr(self, f"columns{i}")]) for i, part in enumerate(self.parts)], dim=1
        )


class _Standardise(nn.Module):
    def __init__(self, mean, scale, clip):
        super().__init__()
        self.register_buffer("mean", _tensor(0.0 if mean is None else mean))
        self.register_buffer("scale", _tensor(1.0 if scale is None else scale))
        self.clip = clip

    def forward(self, x):
        return ((x - self.mean) / self.scale).clamp(-self.clip, self.clip)


class _Root(nn.Module):
    def forward(self, x):
        return x.sign() * x.abs().sqrt()


class _Normalise(nn.Module):
    """Scales rows to unit norm; rows of zeros stay."""

    def __init__(self, norm):
        super().__init__()
        self.norm = norm

    def forward(self, x):
        if self.norm is None:
            return x
        size = {
            "l1": lambda: x.abs().sum(dim=1, keepdim=True),
            "l2": lambda: x.square().sum(dim=1, keepdim=True).sqrt(),
            "max": lambda: x.abs().amax(dim=1, keepdim=True),
        }[self.norm]()
        return x / torch.where(size == 0, 1.0, size)


class _Linear(nn.Module):
    def __init__(self, coef, intercept):
        super().__init__()
        intercept = np.ravel(intercept)  # liblinear's is a number where none is fitted
        if len(coef) == 1:  # the log odds of the second of two classes
            coef = np.concatenate([np.zeros_like(coef), coef])
            intercept = np.concatenate([[0.0], intercept])
        self.register_buffer("weights", _tensor(coef.T))
        self.register_buffer("intercept", _tensor(intercept))

    def forward(self, x):
        return torch.softmax(x @ self.weights + self.intercept, dim=1)


class _Vote(nn.Module):
    """The weighted geometric mean of members' probabilities, at a temperature."""

    def __init__(self, members, weights, places, floor, temperature):
        super().__init__()
        self.members = nn.ModuleList(members)
        self.weights = (np.array(weights) / np.sum(weights)).tolist()
        for i, own in enumerate(places):
            self.register_buffer(f"places{i}", _tensor(own))
        self.floor, self.temperature = floor, temperature

    def forward(self, x):
        mean = 0.0
        for i, (member, weight) in enumerate(zip(self.members, self.weights)):
            proba = member(x) @ getattr(self, f"places{i}")  # 0 for a class it has not seen
            mean = mean + weight * proba.clamp(min=self.floor).log()
        proba = torch.softmax(mean, dim=1)
        if self.temperature == 1:
            return proba
        return torch.softmax(proba.clamp(min=_TINY).log() / self.temperature, dim=1)
