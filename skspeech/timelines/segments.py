"""Stretches of time with a label."""

from typing import Any, NamedTuple

__all__ = ["Segment", "join"]


class Segment(NamedTuple):
    """A stretch of a recording, and what is heard in it.

    Parameters
    ----------
    start, end : float
        Seconds since the start of the recording.
    label : str, int or another plain Python object
        As in training; None where there is no speech.
    probability : float
        The label's mean probability; NaN where there is no speech.

    Examples
    --------
    >>> from skspeech.timelines import Segment
    >>> Segment(0.5, 2.0, "anna", 0.9).label
    'anna'
    """

    start: float
    end: float
    label: Any
    probability: float


def join(cells, max_pause):
    """Join neighbours of one label, and leave silence out.

    Parameters
    ----------
    cells : iterable of Segment
        In order.
    max_pause : float
        Seconds of silence that a segment bridges.

    Returns
    -------
    list of Segment
    """
    joined, sounding = [], 0.0
    for cell in cells:
        if cell.label is None:
            continue
        duration = cell.end - cell.start
        last = joined[-1] if joined else None
        # Ends are rounded to samples, so a pause may come out slightly longer than it is.
        if last and last.label == cell.label and cell.start - last.end <= max_pause + 1e-6:
            total = last.probability * sounding + cell.probability * duration
            sounding += duration
            joined[-1] = Segment(last.start, cell.end, cell.label, total / sounding)
        else:
            joined.append(cell)
            sounding = duration
    return joined
