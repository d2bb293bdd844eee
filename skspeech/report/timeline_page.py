"""A timeline as a page: what is heard when, over the spectrogram, and its sound."""

import base64
import contextlib
import hashlib
import math
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from skspeech._typing import ClipLike, PathLike
from skspeech.audio import SAMPLING_RATE, AudioError, as_clips
from skspeech.report.writing import template, write_page

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["write_timeline_page"]

_COLUMNS = ["start", "end", "label", "probability"]
_STRETCH = 60  # seconds that a row of the page shows
_MAX_HEARD = 2 * 3600  # seconds with sound and spectrogram; a browser is slow with more
_N_COLUMNS = 1000  # of a row's spectrogram
_TICKS = (1, 2, 5, 10)  # seconds between times on the axis
_MOST_TICKS = 7
_LAST_TICK = 0.88  # share of the row before it: its text has to fit, too
_FEW = 100  # segments that are listed at once; the lists of more are closed at first
_LETTER = 0.9  # percent of a row that a letter takes on a wide screen
_TOLERANCE = 0.1  # seconds that a segment may end after the recording


def write_timeline_page(
    segments: "pd.DataFrame",
    recording: ClipLike,
    path: PathLike,
    *,
    title: str | None = None,
) -> Path:
    """Write one self-contained HTML page on which to see and hear the timeline of a recording.

    The page shows a minute in a row: its spectrogram, and over it a bar with a colour for each
    label. A click on a segment plays it. Lists have the start, end, label and probability of each
    segment. Whoever opens the page needs neither the recording nor a network.

    Parameters
    ----------
    segments : DataFrame
        What :func:`skspeech.timeline` returns, or a table of what
        :func:`~skspeech.timelines.iter_timeline` yields, whose moments without a label are left
        out. The columns ``start``, ``end``, ``label`` and ``probability`` are used, and of its
        ``attrs`` the ``duration``.
    recording : clip
        What the timeline is of: a path, a waveform at 16 kHz, a ``(waveform, sampling_rate)`` pair.
    path : str or path-like
        The HTML file. An existing one is replaced.
    title : str, default=None
        Heading of the page; None is the name of the recording.

    Returns
    -------
    pathlib.Path
        The file.

    Raises
    ------
    AudioError
        If the recording can't be read, also if that is found after its first part.
    ValueError
        If segments start after the end of the recording.
    ImportError
        If Jinja2 or matplotlib are missing.

    See Also
    --------
    skspeech.timeline : Finds the segments.
    skspeech.timelines.export : Writes timelines for other programs.

    Notes
    -----
    The sound is compressed with Ogg Vorbis, at 16 kHz, which Safari plays from version 18.4 on. The
    first two hours have sound and spectrogram; what comes later has the bar and the lists, and the
    page says so. So does its size have a limit, and memory is needed for about a minute.

    The page has a script of its own, which plays segments, and allows no other.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> import pandas as pd
    >>> from skspeech.datasets import make_tones
    >>> from skspeech.report import write_timeline_page
    >>> recording = make_tones(1, duration=4.0, random_state=0).data[0]
    >>> segments = pd.DataFrame(
    ...     {"start": [0.0, 2.5], "end": [2.5, 4.0], "label": ["anna", "ben"], "probability": 0.9}
    ... )
    >>> path = Path(tempfile.mkdtemp()) / "talk.html"
    >>> write_timeline_page(segments, recording, path, title="A talk").name
    'talk.html'
    """
    from skspeech.report.drawings import class_colors

    page = template("timeline.html")
    clip = as_clips([recording])[0]
    duration = segments.attrs.get("duration")
    if duration is None:
        with _named(clip):
            duration = clip.duration()
    segments = segments[segments["label"].notna()]
    _check_end(clip, duration, segments["start"])
    labels = sorted(set(segments["label"]), key=str)
    colors = class_colors(len(labels))
    listed = [
        {"code": labels.index(s.label), **s._asdict()}
        for s in segments[_COLUMNS].itertuples(index=False)
    ]
    script = (files("skspeech") / "templates" / "timeline.js").read_text(encoding="utf-8")
    return write_page(
        page.generate(
            title=title or Path(clip.name).name,
            duration=duration,
            labels=_totals(labels, listed, duration),
            colors=[(color, _ink_on(color)) for color in colors],
            segments=listed,
            is_open=len(listed) <= _FEW,
            heard=min(duration, _MAX_HEARD),
            stretches=_stretches(clip, listed, duration),
            scale=min(_STRETCH, duration),
            clock=_clock,
            letter=_LETTER,
            script=script,
            script_hash=base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
        ),
        path,
    )


def _check_end(clip, duration, starts):
    late = [start for start in starts if start >= duration + _TOLERANCE]
    if late:
        raise ValueError(
            f"A segment starts at {late[-1]:g} s, and {clip.name} ends at {duration:g} s. Give the "
            "recording that the timeline is of."
        )


@contextlib.contextmanager
def _named(clip):
    """Say which recording can't be read."""
    try:
        yield
    except (OSError, ValueError) as error:
        raise AudioError([(0, clip.name, str(error))], 1) from error


def _totals(labels, segments, duration):
    """Seconds and share of the recording that each label has."""
    seconds = [0.0] * len(labels)
    for s in segments:
        seconds[s["code"]] += s["end"] - s["start"]
    return [
        {"name": str(label), "seconds": total, "share": total / duration}
        for label, total in zip(labels, seconds, strict=True)
    ]


def _ink_on(color):
    """Black or white, whichever is easier to read on a colour."""
    red, green, blue = (int(color[i : i + 2], 16) / 255 for i in (1, 3, 5))
    luminance = 0.2126 * red**2.2 + 0.7152 * green**2.2 + 0.0722 * blue**2.2
    return "#000000" if luminance > 0.18 else "#ffffff"


def _stretches(clip, segments, duration):
    """What each row of the page shows; the sound is decoded as the rows are taken."""
    from skspeech.report.drawings import sound_uri, spectrogram_uri

    n_rows, scale = max(1, math.ceil(duration / _STRETCH)), min(_STRETCH, duration)
    tick = next((t for t in _TICKS if scale < _MOST_TICKS * t), _TICKS[-1])
    within = [[] for _ in range(n_rows)]
    for s in segments:
        first = min(int(s["start"] // _STRETCH), n_rows - 1)
        for row in range(first, max(first + 1, min(n_rows, math.ceil(s["end"] / _STRETCH)))):
            within[row].append(s)
    sounds = _cut(clip, min(duration, _MAX_HEARD))
    for row, parts in enumerate(within):
        start = row * _STRETCH
        seconds = min(_STRETCH, duration - start)
        waveform = next(sounds, None)
        if start < _MAX_HEARD:  # the header, or another recording's timeline, may promise more
            end = start + (0 if waveform is None else len(waveform) / SAMPLING_RATE)
            _check_end(clip, end, [max(start, s["start"]) for s in parts])
        stretch = {"start": start, "seconds": seconds, "parts": parts, "sound": None}
        stretch["listed"] = [s for s in parts if s["start"] >= start]
        stretch["ticks"] = range(start, math.ceil(start + min(seconds, _LAST_TICK * scale)), tick)
        if waveform is not None:
            n_columns = max(1, round(_N_COLUMNS * seconds / scale))
            stretch["sound"] = sound_uri(waveform, small=True)
            stretch["spectrogram"] = spectrogram_uri(waveform, n_columns=n_columns, form="jpeg")
        yield stretch


def _cut(clip, seconds):
    """Yield the first `seconds` of a recording in arrays as long as a row."""
    n_left, length = round(seconds * SAMPLING_RATE), _STRETCH * SAMPLING_RATE
    held = []
    with _named(clip), contextlib.closing(clip.blocks()) as blocks:
        for block in blocks:
            held.append(block[:n_left])
            n_left -= len(held[-1])
            while sum(map(len, held)) >= length or (n_left == 0 and any(map(len, held))):
                sound = np.concatenate(held)
                held = [sound[length:]]
                yield sound[:length]
            if n_left == 0:
                return
    if any(map(len, held)):
        yield np.concatenate(held)


def _clock(seconds, digits=0):
    """Minutes and seconds, with hours where there are some: 1:02:03.4 or 2:03.4."""
    unit = 10**digits
    minutes, rest = divmod(round(seconds * unit), 60 * unit)
    hours, minutes = divmod(minutes, 60)
    text = f"{rest / unit:0{3 + digits if digits else 2}.{digits}f}"
    return f"{hours}:{minutes:02}:{text}" if hours else f"{minutes}:{text}"
