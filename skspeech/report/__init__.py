"""A report on a classifier: one HTML page that says how good it is, and what to know of the data.

The page holds everything inside of itself, pictures and sounds too: it can be mailed, put on a
server, or opened on a machine without a network.
"""

from skspeech.report.writing import write_report

__all__ = ["write_report"]
