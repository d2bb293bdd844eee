"""An instance of every estimator, with settings that make it quick on short clips."""

import inspect

from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import FeatureUnion

from skspeech import (
    MusicEmbedding,
    MusicEmbeddingClassifier,
    SpeakerEmbedding,
    SpeakerEmbeddingClassifier,
)

_WINDOW = {"window": 0.2, "hop": 0.2}


def make_instance(cls, *, clips=True):
    """An instance of an estimator class.

    A class that is not named here is made with its defaults. One that takes other estimators gets
    classifiers of clips, or with ``clips=False`` of tables.
    """
    settings = _SETTINGS.get(cls.__name__, lambda clips: {})(clips)
    if "random_state" in inspect.signature(cls).parameters:
        settings["random_state"] = 0
    return cls(**settings)


def _extractors():
    return FeatureUnion(
        [("speaker", SpeakerEmbedding(**_WINDOW)), ("music", MusicEmbedding(**_WINDOW))]
    )


def _members(clips):
    if not clips:
        return [("firm", LogisticRegression(C=0.1)), ("loose", LogisticRegression(C=10.0))]
    return [
        ("speaker", make_instance(SpeakerEmbeddingClassifier)),
        ("music", make_instance(MusicEmbeddingClassifier)),
    ]


_SETTINGS = {
    "AugmentedClassifier": lambda clips: {"estimator": make_instance(SpeakerEmbeddingClassifier)},
    "FineTunedSpeakerClassifier": lambda clips: {
        "freeze": 0.96,
        "max_epochs": 1,
        "crop": 0.2,
        "augment": False,
        "refit": False,
    },
    "FusedEmbeddingClassifier": lambda clips: {"extractor": _extractors()},
    "GeometricMeanVotingClassifier": lambda clips: {"estimators": _members(clips)},
    "LogMelSpectrogram": lambda clips: {"duration": 0.3},
    "MixupCNNClassifier": lambda clips: {
        "n_filters": (4,),
        "n_mels": 32,
        "max_epochs": 1,
        "batch_size": 256,  # few steps also on the large tables of scikit-learn's checks
        "refit": False,
    },
    "MusicEmbedding": lambda clips: dict(_WINDOW),
    "MusicEmbeddingClassifier": lambda clips: {"extractor": MusicEmbedding(**_WINDOW)},
    "RecurrentAttentionClassifier": lambda clips: {
        "networks": ["lstm"],
        "rounds": [("mfcc", 8, 1.0)],
        "max_rounds": 1,
        "hop_length": 1600,
        "units": 8,
        "max_epochs": 2,
        "max_loops": 1,
        "batch_size": 256,
        "learning_rate": 0.05,
    },
    "SpeakerEmbedding": lambda clips: dict(_WINDOW),
    "SpeakerEmbeddingClassifier": lambda clips: {"extractor": SpeakerEmbedding(**_WINDOW)},
    "TimeBudgetClassifier": lambda clips: {
        "candidates": _members(clips),
        "time_budget": 600,  # it ends when all is done: no machine is too busy for it
        "cv": 3,  # an int, so that time which is left over is not used for further folds
        "n_jobs": 1,
    },
    "UnknownRejector": lambda clips: {
        "estimator": make_instance(SpeakerEmbeddingClassifier) if clips else LogisticRegression(),
        "unknown_label": "unknown" if clips else -9,  # scikit-learn's checks have numbers
    },
}
