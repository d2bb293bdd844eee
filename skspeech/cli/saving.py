"""Save a trained model elsewhere if its output file can't be written at the end."""

import tempfile
from pathlib import Path

from skspeech.cli.common import say

__all__ = ["save_somewhere"]


def save_somewhere(model, output, train):
    """Save a model; in the folder for temporary files if `output` can't be written.

    Parameters
    ----------
    model : estimator
        Fitted.
    output : pathlib.Path
        The file that the user named.
    train : Labelled
        What it was trained on.

    Returns
    -------
    pathlib.Path or None
        Where the model is; None if it could not be saved anywhere.
    """
    from skspeech.persistence import save

    known = {"training_clips": train.paths, "training_groups": train.groups}
    try:
        return save(model, output, **known)
    except OSError as error:
        say(f"The model can't be saved as {output}: {_reason(error)}.")
    try:
        elsewhere = Path(tempfile.mkdtemp(prefix="skspeech-")) / output.name
        save(model, elsewhere, **known)
    except OSError as error:
        say(f"Nor in the folder for temporary files: {_reason(error)}. So no model is saved.")
        return None
    say(f"It is saved as {elsewhere} instead: move it to where it is safe.")
    return elsewhere


def _reason(error):
    return error.strerror or error
