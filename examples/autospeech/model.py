"""A submission to the AutoSpeech challenge: the official program imports `Model` from here.

    python -m skspeech.challenge -dataset_dir=<data> -code_dir=examples/autospeech

runs it on your own machine under the challenge's protocol.
"""

from skspeech.challenge import Model

__all__ = ["Model"]
