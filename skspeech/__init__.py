"""skspeech: classify audio clips from a small labelled set, under a time budget, with scikit-learn.

Names are loaded when they are first used: importing the package imports no torch, no tensorflow
and no librosa.
"""

import lazy_loader

__version__ = "0.1.0"

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submodules=[
        "audio",
        "audit",
        "cache",
        "candidates",
        "challenge",
        "cli",
        "datasets",
        "ensemble",
        "estimators",
        "inspection",
        "metrics",
        "persistence",
        "plotting",
        "report",
        "selection",
        "time_budget",
        "timelines",
        "transformers",
        "unknown",
        "weights",
    ],
    submod_attrs={
        "audio": ["AudioError", "AudioLoader"],
        "ensemble": ["GeometricMeanVotingClassifier"],
        "estimators.augmented": ["AugmentedClassifier"],
        "estimators.convolutional": ["MixupCNNClassifier"],
        "estimators.discriminant": ["ShrinkageDiscriminantAnalysis"],
        "estimators.fine_tuned": ["FineTunedSpeakerClassifier"],
        "estimators.linear": [
            "FusedEmbeddingClassifier",
            "MusicEmbeddingClassifier",
            "SpeakerEmbeddingClassifier",
        ],
        "estimators.logistic": ["WideLogisticRegression"],
        "estimators.recurrent": ["RecurrentAttentionClassifier"],
        "persistence": ["load", "save"],
        "time_budget": ["Candidate", "TimeBudgetClassifier"],
        "timelines": ["timeline"],
        "transformers.base": ["Extractor"],
        "transformers.huggingface": ["TransformersEmbedding"],
        "transformers.keyword": ["KeywordEmbedding"],
        "transformers.music": ["MusicEmbedding"],
        "transformers.scaling": ["ClippedStandardScaler", "SignedSqrt"],
        "transformers.speaker": ["SpeakerEmbedding"],
        "transformers.spectral": ["LogMelSpectrogram", "SpectralStatistics"],
        "transformers.vad": ["VoiceActivityTrimmer"],
        "transformers.whisper": ["WhisperEmbedding"],
        "unknown": ["UnknownRejector"],
        "utils": ["all_estimators"],
    },
)
