"""Say what is heard when, in long recordings and live sound, with any classifier of clips.

There are three steps; they exchange cells, stretches of time as long as a hop:
:mod:`~skspeech.timelines.listening` classifies windows, :mod:`~skspeech.timelines.smoothing`
chooses the labels, and :mod:`~skspeech.timelines.segments` joins neighbours.
"""

from skspeech.timelines.formats import FORMATS, export
from skspeech.timelines.recordings import iter_timeline, timeline
from skspeech.timelines.segments import Segment

__all__ = ["FORMATS", "Segment", "export", "iter_timeline", "timeline"]
