"""Clips that can't be read: every command goes on without them, says so, and ends with status 1."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np

from skspeech.cli.common import say

__all__ = ["bad_clips", "leave_out_bad"]

_LISTED = 20


def leave_out_bad(labelled, *, thorough=False, n_jobs=None):
    """Keep the clips that can be read, and tell of the others.

    Parameters
    ----------
    labelled : Labelled
    thorough : bool, default=False
        Decode every clip; otherwise headers are read, which takes next to no time.
    n_jobs : int or None, default=None
        Threads that read.

    Returns
    -------
    good : Labelled
    bad : list of (str, str)
        Paths and reasons of the others.

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
