"""Timelines for other programs: one function for each format, and a table of them."""

import csv
import html
import io
import re
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from skspeech._typing import PathLike

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["FORMATS", "export", "rttm_names"]


def export(
    segments: "pd.DataFrame", file: PathLike | None = None, *, format: str | None = None
) -> str:
    """Convert a timeline to the format of another program, and write it to a file.

    ===========  ==============  ================================================================
    Format       File ends in    Read by
    ===========  ==============  ================================================================
    audacity     .txt            Audacity (File > Import > Labels), and many annotation tools
    csv          .csv            spreadsheets, pandas
    rttm         .rttm           tools that score who spoke when, such as pyannote.metrics
    textgrid     .TextGrid       Praat, ELAN
    vtt          .vtt            players of video and audio on web pages (WebVTT)
    ===========  ==============  ================================================================

    Parameters
    ----------
    segments : DataFrame
        What :func:`skspeech.timeline` returns, or a table of what
        :func:`~skspeech.timelines.iter_timeline` yields, whose moments without a label are left
        out. The columns ``start``, ``end``, ``label`` and ``probability`` are used, and of its
        ``attrs`` the ``recording`` and its ``duration``.
    file : str, path-like or None, default=None
        Where to write it; None writes nothing.
    format : str or None, default=None
        ``"audacity"``, ``"csv"``, ``"rttm"``, ``"textgrid"`` or ``"vtt"``; None
        takes the one that belongs to the ending of `file`.

    Returns
    -------
    str
        The text.

    Raises
    ------
    ValueError
        If the format is unknown, or names would be mixed up in it.

    See Also
    --------
    skspeech.report.write_timeline_page : A page to see and hear; it needs the recording, too.

    Examples
    --------
    >>> import pandas as pd
    >>> from skspeech.timelines import export
    >>> segments = pd.DataFrame(
    ...     {"start": [0.0, 2.5], "end": [2.5, 4.0], "label": ["anna", "ben"], "probability": 0.9}
    ... )
    >>> print(export(segments, format="vtt"))
    WEBVTT
    <BLANKLINE>
    00:00:00.000 --> 00:00:02.500
    anna
    <BLANKLINE>
    00:00:02.500 --> 00:00:04.000
    ben
    <BLANKLINE>
    """
    if format is None and file is not None:
        ending = Path(file).suffix.lower()
        matching = [name for name, known in FORMATS.items() if known.suffix.lower() == ending]
        format = matching[0] if matching else None
    if format not in FORMATS:
        endings = ", ".join(f"{name} ({known.suffix})" for name, known in FORMATS.items())
        raise ValueError(
            f"format={format!r} with file={file!r} says no format. There are: {endings}."
        )
    labelled = segments[segments["label"].notna()]
    text = FORMATS[format].write(list(labelled.itertuples(index=False)), segments.attrs)
    if file is not None:
        Path(file).write_text(text, encoding="utf-8", newline="\n")
    return text


def _audacity(segments, attributes):
    return "".join(f"{s.start:.6f}\t{s.end:.6f}\t{_one_line(s.label)}\n" for s in segments)


def _csv(segments, attributes):
    rows = [(f"{s.start:.3f}", f"{s.end:.3f}", s.label, f"{s.probability:.6f}") for s in segments]
    return "".join(map(_csv_line, [("start", "end", "label", "probability"), *rows]))


def _csv_line(values):
    """Ended by a line feed; the writer quotes only those line ends in values that its own has."""
    text = io.StringIO()
    csv.writer(text, lineterminator="\r\n").writerow(values)
    return text.getvalue().removesuffix("\r\n") + "\n"


def _rttm(segments, attributes):
    recording = _no_blanks(Path(attributes.get("recording", "recording")).stem)
    names = rttm_names(s.label for s in segments)
    return "".join(
        f"SPEAKER {recording} 1 {s.start:.3f} {s.end - s.start:.3f} <NA> <NA> "
        f"{names[s.label]} <NA> <NA>\n"
        for s in segments
    )


def rttm_names(labels):
    """The name of each label in RTTM, which has none with blanks: these separate its fields.

    Parameters
    ----------
    labels : iterable

    Returns
    -------
    dict

    Raises
    ------
    ValueError
        If two labels would have one name.
    """
    names = {label: _no_blanks(label) for label in labels}
    first = {}
    for label, name in names.items():
        if (other := first.setdefault(name, label)) != label:
            raise ValueError(
                f"{other!r} and {label!r} would be one name in RTTM, which has no blanks in names. "
                "Rename one of them, or take another format."
            )
    return names


def _textgrid(segments, attributes):
    """One tier of intervals without gaps: silence is an interval without text."""
    end = max([attributes.get("duration", 0.0), *(s.end for s in segments)])
    intervals, done = [], 0.0
    for s in segments:
        if s.start > done:
            intervals.append((done, s.start, ""))
        intervals.append((s.start, s.end, _one_line(s.label).replace('"', '""')))
        done = s.end
    if end > done or not intervals:
        intervals.append((done, end, ""))
    lines = [
        'File type = "ooTextFile"',
        'Object class = "TextGrid"',
        "",
        "xmin = 0",
        f"xmax = {end:.6f}",
        "tiers? <exists>",
        "size = 1",
        "item []:",
        "    item [1]:",
        '        class = "IntervalTier"',
        '        name = "label"',
        "        xmin = 0",
        f"        xmax = {end:.6f}",
        f"        intervals: size = {len(intervals)}",
    ]
    for number, (start, stop, text) in enumerate(intervals, 1):
        lines += [
            f"        intervals [{number}]:",
            f"            xmin = {start:.6f}",
            f"            xmax = {stop:.6f}",
            f'            text = "{text}"',
        ]
    return "\n".join(lines) + "\n"


def _vtt(segments, attributes):
    cues = [
        f"{_clock(s.start)} --> {_clock(s.end)}\n{html.escape(_one_line(s.label), quote=False)}\n"
        for s in segments
    ]
    return "\n".join(["WEBVTT\n", *cues])


def _clock(seconds):
    milliseconds = round(seconds * 1000)
    minutes, rest = divmod(milliseconds, 60_000)
    hours, minutes = divmod(minutes, 60)
    return f"{hours:02}:{minutes:02}:{rest // 1000:02}.{rest % 1000:03}"


def _one_line(label):
    return re.sub(r"\s+", " ", str(label)).strip()


def _no_blanks(name):
    name = (
        str(name).encode("utf-8", "backslashreplace").decode()
    )  # names of files may hold any byte
    return re.sub(r"\s+", "_", name.strip()) or "_"


class _Format(NamedTuple):
    """The file ending of a format, and the function that makes the text."""

    suffix: str
    write: Callable


FORMATS = {
    "audacity": _Format(".txt", _audacity),
    "csv": _Format(".csv", _csv),
    "rttm": _Format(".rttm", _rttm),
    "textgrid": _Format(".TextGrid", _textgrid),
    "vtt": _Format(".vtt", _vtt),
}
"""Formats by name."""
