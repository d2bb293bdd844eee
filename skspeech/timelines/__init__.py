"""What is heard when: long recordings, and sound as it comes, with any classifier of clips.

Three steps, each a generator of cells, which are stretches of as long as a hop:
:mod:`~skspeech.timelines.listening` asks the model about windows,
:mod:`~skspeech.timelines.smoothing` decides, :mod:`~skspeech.timelines.segments` joins.
"""

from skspeech.timelines.formats import FORMATS, export
from skspeech.timelines.recordings import iter_timeline, timeline
from skspeech.timelines.segments import Segment

__all__ = ["FORMATS", "Segment", "export", "iter_timeline", "timeline"]
