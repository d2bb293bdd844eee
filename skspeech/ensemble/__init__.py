"""Ensembles: no single model is best on all data, so several vote."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "blending": ["geometric_mean"],
        "voting": ["GeometricMeanVotingClassifier"],
    },
)
