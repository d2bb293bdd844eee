"""A page to listen to clips with doubtful labels, and to mark the right ones."""

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from sklearn.utils import check_consistent_length

from skspeech._labels import check_labels, named_groups
from skspeech._typing import ArrayLike, PathLike
from skspeech.audio import as_clips
from skspeech.report.clips import playable
from skspeech.report.writing import template, write_page

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["write_label_page"]

_SECONDS = 8.0


def write_label_page(
    path: PathLike,
    X: Sequence[PathLike],
    y: ArrayLike,
    doubtful: "pd.DataFrame",
    groups: ArrayLike | None = None,
    *,
    copies: Sequence[tuple[int, int, float]] = (),
    unlabelled: Sequence[PathLike] = (),
    remarks: Sequence[str] = (),
    title: str = "Labels worth a look",
) -> Path:
    """Write one self-contained HTML page on which to listen to clips and to mark their labels.

    The marks stay in the browser until they are saved: the page makes a table of all clips with the
    marked labels, without clips that are to be left out. The command ``skspeech fit`` takes it. It
    has the columns ``path`` (absolute), ``label`` and, with `groups`, ``group``.

    Parameters
    ----------
    path : str or path-like
        The HTML file. An existing one is replaced.
    X : sequence of n_clips paths
        All labelled clips. Relative paths are relative to the current folder.
    y : array-like of shape (n_clips,)
        Their labels.
    doubtful : pandas.DataFrame
        The clips to listen to: rows of what :func:`doubtful_labels` returns.
    groups : array-like of shape (n_clips,), default=None
        Groups of the clips, for the table.
    copies : list of (int, int, float), default=()
        Clips that sound the same and have different labels, see :func:`contradicting_copies`.
    unlabelled : sequence of paths, default=()
        Clips without labels that are worth labelling, see :func:`most_different`.
    remarks : sequence of str, default=()
        Other remarks on the clips; the page shows them.
    title : str, default="Labels worth a look"
        Heading of the page.

    Returns
    -------
    pathlib.Path
        The file.

    Raises
    ------
    ImportError
        If Jinja2 or matplotlib are missing.
    ValueError
        If labels or groups are missing, or their number is not that of the clips.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> import soundfile
    >>> from skspeech import SpectralStatistics, ShrinkageDiscriminantAnalysis
    >>> from skspeech.datasets import make_tones
    >>> from skspeech.report import doubtful_labels, write_label_page
    >>> from sklearn.pipeline import make_pipeline
    >>> folder = Path(tempfile.mkdtemp())
    >>> clips = make_tones(20, n_classes=2, duration=0.3, random_state=0)
    >>> paths = [folder / f"{i}.wav" for i in range(20)]
    >>> for path, waveform in zip(paths, clips.data):
    ...     soundfile.write(path, waveform, 16_000)
    >>> model = make_pipeline(SpectralStatistics(), ShrinkageDiscriminantAnalysis())
    >>> table = doubtful_labels(paths, clips.target, classifier=model)
    >>> write_label_page(folder / "labels.html", paths, clips.target, table[:3]).name
    'labels.html'
    """
    page = template("labels.html")
    clips, y = as_clips(X), check_labels(y)
    check_consistent_length(clips, y)
    groups = None if groups is None else list(map(str, named_groups(groups, len(y))[1]))
    names = [str(Path(clip).absolute()) for clip in X]
    rows = [[name, str(label)] for name, label in zip(names, y, strict=True)]
    if groups is not None:
        rows = [[*row, group] for row, group in zip(rows, groups, strict=True)]
    to_mark: list[dict[str, Any]] = [
        {
            "row": int(clip),
            "suggested": str(suggested),
            "p_label": float(p_label),
            "p_suggested": float(p_suggested),
        }
        for clip, suggested, p_label, p_suggested in zip(
            *(doubtful[key] for key in ("clip", "suggested", "p_label", "p_suggested")), strict=True
        )
    ]
    listed = {item["row"] for item in to_mark}
    twins = {}
    for one, other, _ in copies:
        twins.setdefault(one, other)
        twins.setdefault(other, one)
    to_mark += [{"row": row, "suggested": None} for row in twins if row not in listed]
    for item in to_mark:
        row = item["row"]
        twin = twins.get(row)
        item |= {"path": names[row], "label": str(y[row]), **playable(clips[row], _SECONDS)}
        item["group"] = None if groups is None else groups[row]
        item["twin"] = None if twin is None else {"path": names[twin], "label": str(y[twin])}
    data = {
        "columns": ["path", "label", "group"][: 2 + (groups is not None)],
        "rows": rows,
        "key": "skspeech-labels-" + hashlib.blake2b(repr(rows).encode(), digest_size=8).hexdigest(),
    }
    new = [
        {"path": str(Path(p).absolute()), **playable(as_clips([p])[0], _SECONDS)}
        for p in unlabelled
    ]
    return write_page(
        page.generate(
            title=title,
            n_clips=len(y),
            remarks=list(remarks),
            groups=None if groups is None else sorted(set(groups)),
            clips=to_mark,
            new=new,
            seconds=_SECONDS,
            classes=[str(label) for label in np.unique(y)],
            data=_for_script(data),
        ),
        path,
    )


def _for_script(data):
    """JSON that is safe inside a page's script, whatever the file names contain."""
    from markupsafe import Markup

    text = json.dumps(data)
    for character in "<>&":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return Markup(text)
