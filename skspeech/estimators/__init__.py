"""The approaches: classifiers of audio clips."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "augmented": ["AugmentedClassifier"],
        "convolutional": ["MixupCNNClassifier"],
        "discriminant": ["ShrinkageDiscriminantAnalysis"],
        "fine_tuned": ["FineTunedSpeakerClassifier"],
        "linear": [
            "FusedEmbeddingClassifier",
            "MusicEmbeddingClassifier",
            "SpeakerEmbeddingClassifier",
        ],
        "logistic": ["WideLogisticRegression"],
        "recurrent": ["RecurrentAttentionClassifier"],
    },
)
