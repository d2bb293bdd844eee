"""skspeech: classify audio clips from a small labelled set, under a time budget, with scikit-learn.

Names are loaded when they are first used: importing the package imports no torch, no tensorflow
and no librosa.
"""

import lazy_loader

__version__ = "0.1.0"

# The names are listed in __init__.pyi, where type checkers and editors find them.
__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
