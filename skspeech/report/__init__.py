"""Pages on a classifier and on labelled clips.

A report says how good a classifier is, and what to know about the data. On a page of labels, one
can listen to clips with doubtful labels, and mark the right ones. The page of a timeline shows and
plays what is heard when. Each page contains everything it shows, also pictures and sounds: it can
be mailed, put on a server, or opened without a network.
"""

from skspeech.report.label_page import write_label_page
from skspeech.report.labels import contradicting_copies, doubtful_labels, most_different
from skspeech.report.timeline_page import write_timeline_page
from skspeech.report.writing import write_report

__all__ = [
    "contradicting_copies",
    "doubtful_labels",
    "most_different",
    "write_label_page",
    "write_report",
    "write_timeline_page",
]
