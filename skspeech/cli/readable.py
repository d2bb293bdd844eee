"""Clips that can't be read: one rule for all commands.

A command continues without them, says which and why, and ends with status 1. If no clip can be
read, there is nothing to work on, and the status is 2.
"""

from concurrent.futures import ThreadPoolExecutor

import numpy as np

from skspeech.cli.common import MISTAKE, PARTIAL, say

__all__ = ["bad_clips", "leave_out_bad", "none_is_readable", "status_of", "tally"]

_LISTED = 20


def leave_out_bad(labelled, *, thorough=False, n_jobs=None):
    """Keep the clips that can be read, and report the others.

    Parameters
    ----------
    labelled : Labelled
    thorough : bool, default=False
        Decode every clip; otherwise only headers are read, which takes hardly any time.
    n_jobs : int or None, default=None
        Threads that read.

    Returns
    -------
    good : Labelled
    bad : list of (str, str)
        Paths of the others, and reasons.

    Raises
    ------
    ValueError
        If none can be read.
    """
    from skspeech._cores import reading_threads
    from skspeech.audio import as_clips

    clips = as_clips(labelled.paths)

    def reason(index):
        try:
            if thorough:
                clips[index].load()
            else:
                clips[index].duration()
        except (OSError, ValueError) as error:
            return str(error)
        return None

    with ThreadPoolExecutor(reading_threads(n_jobs, len(clips))) as pool:
        reasons = list(pool.map(reason, range(len(clips))))
    bad = [(i, labelled.paths[i], text) for i, text in enumerate(reasons) if text is not None]
    if not bad:
        return labelled, []
    told = bad_clips(bad, len(labelled))
    if len(bad) == len(labelled):
        raise ValueError(told)
    say(f"{told}\nThey are left out.")
    good = labelled.take(np.flatnonzero([text is None for text in reasons]))
    return good, [(path, text) for _, path, text in bad]


def status_of(n_bad, n_clips):
    """The exit status when `n_bad` of the clips can't be read."""
    if not n_bad:
        return 0
    return PARTIAL if n_bad < n_clips else MISTAKE


def none_is_readable(n_clips):
    """The error if no clip can be read; each of them was reported before."""
    return ValueError(tally(n_clips, n_clips))


def tally(n_bad, n_clips, noun="clip"):
    """How many of the clips can't be read, in words."""
    if n_bad < n_clips:
        return f"{n_bad} of {n_clips} {noun}s can't be read."
    return (
        f"None of the {n_clips} {noun}s can be read."
        if n_clips > 1
        else (f"The only {noun} can't be read.")
    )


def bad_clips(failures, n_clips):
    """Say which clips can't be read, and why.

    Parameters
    ----------
    failures : list of (int, str, str)
        Position, path and reason of each.
    n_clips : int
        How many clips there are, good and bad.

    Returns
    -------
    str
    """
    from skspeech.audio.errors import printable

    lines = [f"{len(failures)} of {n_clips} clips can't be read:"]
    lines += [f"  {printable(path)}: {reason}" for _, path, reason in failures[:_LISTED]]
    if len(failures) > _LISTED:
        lines.append(f"  ... and {len(failures) - _LISTED} more")
    return "\n".join(lines)
