"""The AutoSpeech challenge: its interface, its data folders, and a local test with its protocol.

The challenge gives a program labelled clips, asks it repeatedly for predictions of a test part
while a clock runs, and scores the area under the learning curve. The challenge's program calls
:class:`Model`, a thin wrapper of :class:`~skspeech.TimeBudgetClassifier`. :func:`run_local_test`
runs the challenge's protocol on your own machine, also for other models::

    python -m skspeech.challenge -dataset_dir=sample_data/DEMO -code_dir=examples/autospeech
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "folders": ["load_autospeech", "one_hot", "save_autospeech"],
        "local_test": ["main", "run_local_test"],
        "model": ["Model"],
    },
)
