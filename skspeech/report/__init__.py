"""Pages on a classifier and on labelled clips.

A report says how good a classifier is, and what to know of the data; a page of labels lets one
listen to clips whose labels are in doubt, and mark what is right. Each page holds all it shows,
pictures and sounds too: it can be mailed, put on a server, or opened without a network.
"""

from skspeech.report.label_page import write_label_page
from skspeech.report.labels import contradicting_copies, doubtful_labels, most_different
from skspeech.report.writing import write_report

__all__ = [
    "contradicting_copies",
    "doubtful_labels",
    "most_different",
    "write_label_page",
    "write_report",
]
