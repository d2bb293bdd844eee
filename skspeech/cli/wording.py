"""What the library says to people who program, in the words of those who use the command."""

import re
import sys

__all__ = ["in_our_words", "is_of", "news"]

# Parameters that are options of the command.
_PARAMETER = re.compile(r"\b(device|log_file|memory|n_jobs|preset|time_budget)=('[^']*'|[\w.:-]+)")
_PHRASES = (
    ("best_score_ is NaN, and the", "no score says how good the model is, and the"),
    (", or a validation set: cv=(X_val, y_val)", ""),
    ("its score, best_score_, and the choice", "the score in validation and the choice"),
    ("groups holds a single group, which would have to be split", "all clips are of one group"),
    ("failures_ has the tracebacks", "these are the reasons"),
)


def in_our_words(message):
    """An error or a warning of the library, with nothing in it that only Python users can do.

    Parameters
    ----------
    message : str, or an exception or a warning

    Returns
    -------
    str
    """
    if is_of(message, "skspeech.audio.errors", "AudioError"):
        from skspeech.cli.readable import bad_clips

        return bad_clips(message.failures, message.n_clips)
    text = str(message)
    for phrase, ours in _PHRASES:
        text = text.replace(phrase, ours)
    return _PARAMETER.sub(lambda m: f"--{m[1].replace('_', '-')} {m[2]}", text)


# A clip in a list of clips, with its position among those that were just read.
_LISTED = re.compile(r"^  \[\d+\] ", re.MULTILINE)


def news(text, told):
    """What of a warning was not told before; what is, is added to `told`.

    The same clip is read again by each network, among others each time: of a list of clips, the
    lines that are new are told, and no numbers that mean nothing to anybody.

    Parameters
    ----------
    text : str
    told : set of str

    Returns
    -------
    str
        Empty where there is nothing new.
    """
    heading, *lines = _LISTED.split(text)
    new = [line.rstrip("\n") for line in lines if line.rstrip("\n") not in told]
    if not lines:
        new = [] if text in told else [text]
    told.update(new)
    if not lines or not new:
        return "".join(new)
    return "\n".join([heading.rstrip("\n"), *(f"  {line}" for line in new)])


def is_of(error, module, name):
    """Whether an error is of a class whose module was loaded, which would take seconds else."""
    loaded = sys.modules.get(module)
    return loaded is not None and isinstance(error, getattr(loaded, name, ()))
