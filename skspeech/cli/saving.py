"""A trained model is not lost because the place that was named for it fails at the end."""

import tempfile
from pathlib import Path

from skspeech.cli.common import say

__all__ = ["save_somewhere"]


def save_somewhere(model, output, train):
    """Save a model, in the folder for temporary files where the place that was named fails.

    Parameters
    ----------
    model : estimator
        Fitted.
    output : pathlib.Path
        The file that was asked for.
    train : Labelled
        What it was trained on.

    Returns
    -------
    pathlib.Path or None
        Where the model is; None if it could be saved nowhere.
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
