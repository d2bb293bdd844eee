"""skspeech: classify audio clips from a small labelled set, under a time budget, with scikit-learn.

Names are loaded when they are first used: importing the package imports no torch, no tensorflow
and no librosa.
"""

import os

import lazy_loader

__version__ = "0.1.0"

# Where torch's threads wait for each other, GNU's OpenMP lets them spin for milliseconds. Beside
# other programs, each wait then costs a turn of these, and a clip takes tens of times as long. So
# they spin for some microseconds only. It counts if torch is not imported yet.
if not {"GOMP_SPINCOUNT", "OMP_WAIT_POLICY"} & os.environ.keys():
    os.environ["GOMP_SPINCOUNT"] = "1000"

# The names are listed in __init__.pyi, where type checkers and editors find them.
__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
