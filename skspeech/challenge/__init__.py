"""The AutoSpeech challenge: its interface, its data folders, and a local test with its protocol.

The challenge gives a program labelled clips, asks it repeatedly for predictions of a test part
while a clock runs, and scores the area under the learning curve. The challenge's program calls
:class:`Model`, a thin wrapper of :class:`~skspeech.TimeBudgetClassifier`. :func:`run_local_test`
runs the challenge's protocol on your own machine, also for other models::

    python -m skspeech.challenge -dataset_dir=sample_data/DEMO -code_dir=examples/autospeech
"""

import lazy_loader

# The names are listed in __init__.pyi, where type checkers and editors find them.
__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
