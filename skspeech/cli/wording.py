"""Rewrite messages for Python users in the words of the command line."""

import re
import sys

__all__ = ["in_our_words", "is_of", "news"]

# Parameters that are options of the command.
_PARAMETER = re.compile(
    r"\b(device|log_file|memory|n_jobs|preset|time_budget)=('[^']*'|[\w.:-]*\w)?"
)
_PHRASES = (
    ("best_score_ is NaN, and the", "no score says how good the model is, and the"),
    (", or a validation set: cv=(X_val, y_val)", ""),
    ("its score, best_score_, and the choice", "the score in validation and the choice"),
    ("groups holds a single group, which would have to be split", "all clips are of one group"),
    ("failures_ has the tracebacks", "these are the reasons"),
)


def in_our_words(message):
    """An error or a warning of the library, without advice that only Python users can follow.

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
    if isinstance(message, UnicodeEncodeError):
        from skspeech.audio.errors import printable

        around = message.object[max(0, message.start - 40) : message.end + 40]
        return f"A name is not text in UTF-8: {printable(around)}. Rename that file or folder."
    text = str(message)
    for phrase, ours in _PHRASES:
        text = text.replace(phrase, ours)
    return _PARAMETER.sub(lambda m: f"--{m[1].replace('_', '-')} {m[2] or ''}".rstrip(), text)


# A clip in a list of clips, with its position among those that were read last.
_LISTED = re.compile(r"^  \[\d+\] ", re.MULTILINE)


def news(text, told):
    """The part of a warning that was not shown before; that part is added to `told`.

    Each network reads the same clip again, in another batch. So of a list of clips only the new
    lines are returned, without positions, which mean nothing to the user.

    Parameters
    ----------
    text : str
    told : set of str

    Returns
    -------
    str
        Empty if there is nothing new.
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
    """Whether an error is of a class, without importing its module, which would take seconds."""
    loaded = sys.modules.get(module)
    return loaded is not None and isinstance(error, getattr(loaded, name, ()))
