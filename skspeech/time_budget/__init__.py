"""The time budget: train many candidates against one clock, and keep the best ensemble.

Names are loaded when they are first used, so that a worker process imports only what it runs.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "candidates": ["Candidate"],
        "classifier": ["TimeBudgetClassifier"],
        "line_ups": ["PRESETS", "default_candidates"],
    },
)
