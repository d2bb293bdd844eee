"""Input of the command line: labelled data, and clips named by paths, folders or stdin."""

import codecs
import csv
import io
import itertools
import os
import queue
import sys
import threading
from dataclasses import dataclass
from pathlib import Path

import click
import numpy as np

from skspeech._download import some
from skspeech._extras import how_to_install
from skspeech.cli.common import check_output, say

__all__ = [
    "Labelled",
    "check_named",
    "check_split_folder",
    "chunks",
    "held_out_parts",
    "iter_paths",
    "only_unit",
    "read_labelled",
    "read_to_score",
    "salvage",
    "save_split",
    "split",
]

_NAMES = {
    "path": ("path", "file", "filename", "file_name", "clip", "audio"),
    "label": ("label", "class", "target"),
    "group": ("group", "groups", "speaker", "speaker_id"),
}
_HEADER = "Its first line has to name the columns, such as: path,label"
_TABLES = {".csv", ".tsv", ".parquet", ".pq"}


@dataclass
class Labelled:
    """Paths of clips, their labels, and their groups if there are any."""

    paths: list
    labels: np.ndarray
    groups: np.ndarray | None

    def __len__(self):
        return len(self.paths)

    def take(self, rows):
        """The clips at `rows`."""
        groups = None if self.groups is None else self.groups[rows]
        return Labelled([self.paths[i] for i in rows], self.labels[rows], groups)


# -- Labelled data ---------------------------------------------------------------------------------


def read_labelled(data, *, path_column=None, label_column=None, groups="auto"):
    """Read a folder with one sub-folder for each class, or a table with one clip a row.

    Parameters
    ----------
    data : str or path-like
        The folder, or a CSV, TSV or Parquet file whose paths are relative to its folder.
    path_column, label_column : str or None, default=None
        Columns of the table; None finds them by their usual names.
    groups : str, default="auto"
        Column of the groups; ``"auto"`` takes a second level of folders, or a column with a usual
        name, if there is one; ``"none"`` takes none.

    Returns
    -------
    Labelled
    """
    data = Path(data)
    if data.is_dir():
        return _read_folder(data, path_column, label_column, groups)
    if data.suffix.lower() not in _TABLES:
        raise ValueError(
            f"{str(data)!r} is neither a folder nor a table. Give a folder with a sub-folder for "
            f"each class, or a file that ends in one of: {' '.join(sorted(_TABLES))}."
        )
    columns, lines = _read_table(data)
    wanted = {"path": path_column, "label": label_column}
    wanted["group"] = None if groups in ("auto", "none") else groups
    free = [name for name in columns if name not in wanted.values()]
    chosen = {key: _find_column(key, name, columns, free, data) for key, name in wanted.items()}
    if groups == "none":
        chosen["group"] = None
    found = {key: columns[name] for key, name in chosen.items() if name is not None}
    _check_complete(found, chosen, lines, data)
    return Labelled(
        [str(data.parent / path) for path in found["path"]],
        np.array(found["label"]),
        np.array(found["group"]) if "group" in found else None,
    )


def read_to_score(data, options):
    """Read labelled clips that will not be split: folders of mixed depth simply have no groups.

    Parameters
    ----------
    data : str or path-like
    options : dict
        Those of the command: ``path_column``, ``label_column`` and ``groups``.

    Returns
    -------
    Labelled
    """
    columns = {name: options[name] for name in ("path_column", "label_column", "groups")}
    try:
        return read_labelled(data, **columns)
    except ValueError as error:
        if columns["groups"] != "auto":
            raise
        labelled = read_labelled(data, **{**columns, "groups": "none"})
        say(f"{error}\nHere it goes on without groups.")
        return labelled


def _read_folder(folder, path_column, label_column, groups):
    named = [name for name in (path_column, label_column) if name]
    named += [groups] if groups not in ("auto", "none") else []
    if named:
        raise ValueError(
            f"{str(folder)!r} is a folder, which has no columns such as {some(named)}. Its "
            "sub-folders are the classes, and theirs the groups."
        )
    if not _holds_a_file(folder):
        raise ValueError(
            f"The folder {str(folder)!r} is empty. Put the recordings of each class into a "
            "sub-folder of it, with the class's name."
        )

    from skspeech.datasets.folders import load_audio_folder, second_level

    paths, _ = load_audio_folder(folder, return_X_y=True)
    labels = np.array([Path(path).relative_to(folder).parts[0] for path in paths])
    if groups == "none":
        return Labelled(paths, labels, None)
    try:
        return Labelled(paths, labels, second_level(folder, paths))
    except ValueError as error:
        raise ValueError(f"{error} Or go on without groups: --groups none.") from None


def _holds_a_file(folder):
    """Whether there is any file in a folder; quick, because nothing is imported for it."""
    return any(files for _, _, files in os.walk(folder))


def _read_table(path):
    """Columns by name, as lists of text, and the line number of each row."""
    if path.suffix.lower() in (".parquet", ".pq"):
        columns = _read_parquet(path)
        n_rows = len(next(iter(columns.values()), []))
        return columns, range(1, n_rows + 1)
    with _text_of(path) as file:
        header = file.readline()
        file.seek(0)
        delimiter = "\t" if path.suffix.lower() == ".tsv" or "\t" in header else ","
        if ";" in header and delimiter not in header:
            delimiter = ";"
        reader = csv.reader(file, delimiter=delimiter)
        try:
            names = next(reader, [])
            if not any(name.strip() for name in names):
                raise ValueError(f"The table {str(path)!r} is empty. {_HEADER}")
            rows, lines = [], []
            for row in reader:
                if any(cell.strip() for cell in row):
                    rows.append(row)
                    lines.append(reader.line_num)
        except csv.Error as error:
            raise ValueError(f"{str(path)!r} can't be read as a table: {error}.") from None
    wrong = [line for row, line in zip(rows, lines) if len(row) != len(names)]
    if wrong:
        raise ValueError(
            f"{str(path)!r} has {len(names)} columns, but another number of values in line "
            f"{wrong[0]} ({len(wrong)} such lines in all). Are there quotes missing?"
        )
    names = [name.strip() for name in names]
    if twice := [name for name in names if name and names.count(name) > 1]:
        raise ValueError(
            f"{str(path)!r} has more than one column {twice[0]!r}. Rename or remove one."
        )
    columns = zip(*rows) if rows else ([] for _ in names)
    return {name: [c.strip() for c in column] for name, column in zip(names, columns)}, lines


def _text_of(path):
    """The text of a file in UTF-8; ValueError with the first line that is not."""
    content = path.read_bytes()
    how = "Save it as UTF-8 (in a spreadsheet: as 'CSV UTF-8')."
    if content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        raise ValueError(f"{str(path)!r} is text in UTF-16. {how}")
    try:
        return io.StringIO(content.decode("utf-8-sig"), newline="")
    except UnicodeDecodeError as error:
        before = content[: error.start]
        line = before.count(b"\n") + 1
        shown = content[before.rfind(b"\n") + 1 :].split(b"\n")[0].decode("cp1252", "replace")
        raise ValueError(
            f"{str(path)!r} is not text in UTF-8: in line {line} it has the byte "
            f"0x{content[error.start]:02x}, as in Latin-1 or cp1252 ({shown.strip()[:80]!r}). {how}"
        ) from None


def _read_parquet(path):
    try:
        import pandas as pd

        table = pd.read_parquet(path)
    except ImportError as error:
        raise ImportError(
            f"Reading Parquet needs pandas and pyarrow: {how_to_install('parquet')}. ({error})"
        ) from None
    except Exception as error:  # pyarrow has error classes of its own
        raise ValueError(f"{str(path)!r} can't be read as Parquet: {error}") from None
    return {
        str(name): ["" if pd.isna(value) else str(value) for value in table[name]]
        for name in table.columns
    }


def _find_column(key, name, columns, free, path):
    """The column of that name, or with a usual name among those that are `free`."""
    if name is not None:
        if name not in columns:
            raise ValueError(
                f"{str(path)!r} has no column {name!r}. Its columns are {some(columns, 20)}."
            )
        return name
    by_lower = {column.lower(): column for column in free} | dict(zip(free, free))
    for usual in _NAMES[key]:
        if usual in by_lower:
            return by_lower[usual]
    if key == "group":
        return None
    raise ValueError(
        f"{str(path)!r} has no column {_NAMES[key][0]!r}; its columns are {some(columns, 20)}. "
        f"Say which one it is with --{key}-column."
    )


def _check_complete(found, chosen, lines, path):
    if not found["path"]:
        raise ValueError(
            f"The table {str(path)!r} is empty below its header. It needs a row for each clip."
        )
    for key, values in found.items():
        missing = [line for line, value in zip(lines, values) if not value]
        if missing:
            raise ValueError(
                f"{len(missing)} of {len(values)} rows of {str(path)!r} lack their "
                f"{chosen[key]!r}, the first in row {missing[0]}. Fill it in, or leave such "
                "rows out."
            )


def split(data, test_size, seed):
    """Hold clips out: about `test_size` of each class, and no group on both sides.

    Classes with only one clip, or one group, stay in the training part.

    Returns
    -------
    train, test : Labelled
    """
    from skspeech._folds import hold_out

    def draw(codes, groups):
        return [hold_out(codes, test_size, groups=groups, random_state=seed)]

    advice = " Leave --test-size out" + ("." if data.groups is None else ", or use --groups none.")
    ((train, test),) = held_out_parts(data, draw, advice)
    return data.take(train), data.take(test)


def only_unit(data, names):
    """What each of some classes has only one of: "clip" or "group"; empty if one has more."""
    units = np.arange(len(data)) if data.groups is None else data.groups
    if any(len(np.unique(units[data.labels == name])) > 1 for name in names):
        return ""
    return "clip" if data.groups is None else "group"


def held_out_parts(data, draw, advice=""):
    """Hold clips out with no group, and no sound, on both sides.

    Copies of a sound stay together. Where groups have to, copies in other groups than those that
    are trained on are not scored, and it is said how many these are.

    Parameters
    ----------
    data : Labelled
    draw : callable
        Takes the class of each clip, as a number, and the group of each, or None; returns a list of
        (train, test), positions of clips.
    advice : str, default=""
        What to do where nothing can be held out.

    Returns
    -------
    list of (train, test)
        Those parts that hold something out.
    """
    from skspeech._folds import why_no_fold
    from skspeech.audio.copies import kept_together

    codes = np.unique(data.labels, return_inverse=True)[1]
    parts = [part for part in draw(codes, kept_together(data.paths, data.groups)) if len(part[1])]
    if data.groups is not None:
        parts = _without_copies(data, parts)
    if not parts:
        why = why_no_fold(codes, data.groups) or "each sound would be trained on, too"
        raise ValueError(f"Nothing can be held out, because {why}.{advice}")
    return parts


def _without_copies(data, parts):
    from skspeech._heard import heard

    paths, left = np.array(data.paths, dtype=object), []
    for train, test in parts:
        is_copy, _ = heard(None, paths[test], train_clips=paths[train])
        left.append((train, test[~is_copy]))
    if n := sum(len(test) for _, test in parts) - sum(len(test) for _, test in left):
        are = "clip is" if n == 1 else "clips are"
        say(f"{n} held-out {are} not scored: the same sound is trained on.")
    return [(train, test) for train, test in left if len(test)]


def check_split_folder(folder, overwrite):
    """Check before the work that the tables of a split can be written there."""
    if not folder.parent.is_dir():
        raise click.UsageError(f"There is no folder {folder.parent} to make {folder.name} in.")
    is_new = not folder.exists()
    folder.mkdir(exist_ok=True)
    try:
        for part in ("train", "test"):
            check_output(folder / f"{part}.csv", overwrite)
    finally:
        if is_new:  # remove it again until there is something to write
            folder.rmdir()


def save_split(folder, **parts):
    """Write a table for each part, as `read_labelled` reads it; both of them, or none."""
    from skspeech.persistence.atomic import atomic_writer

    tables = {name: _as_csv(part) for name, part in parts.items()}  # a name may be no text
    folder.mkdir(exist_ok=True)
    for name, lines in tables.items():
        with atomic_writer(folder / f"{name}.csv") as file:
            file.writelines(lines)


def _as_csv(part):
    """Lines of a table, in UTF-8."""
    columns = {"path": list(map(os.path.abspath, part.paths)), "label": part.labels}
    if part.groups is not None:
        columns["group"] = part.groups
    text = io.StringIO(newline="")
    writer = csv.writer(text)
    writer.writerow(columns)
    writer.writerows(zip(*columns.values()))
    return [line.encode() for line in text.getvalue().splitlines(keepends=True)]


# -- Clips -----------------------------------------------------------------------------------------


def check_named(names):
    """Check for empty folders among the arguments, before a model is loaded."""
    for name in names:
        if Path(name).is_dir() and not _holds_a_file(name):
            raise ValueError(_NO_AUDIO.format(name))


_NO_AUDIO = "There are no audio files in the folder {!r}."


def iter_paths(names):
    """Paths of the clips that arguments name: files, files in folders, and lines of stdin for -.

    Yields
    ------
    str
    """
    from skspeech.audio.formats import recordings_in

    for name in names:
        if name == "-":
            yield from _lines_of_standard_input()
        elif Path(name).is_dir():
            found = recordings_in(Path(name))
            if not found:
                raise ValueError(_NO_AUDIO.format(name))
            yield from map(str, found)
        else:
            yield name


def _lines_of_standard_input():
    for number, line in enumerate(sys.stdin.buffer):
        if number == 0:
            if line.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
                raise ValueError("The paths on standard input are in UTF-16. Give them in UTF-8.")
            line = line.removeprefix(codecs.BOM_UTF8)
        if line := line.rstrip(b"\r\n"):
            yield os.fsdecode(line)


_END = object()
_PATIENCE = 0.05  # seconds that a chunk waits for another clip


def chunks(items, size):
    """Group items as they come: up to `size`, fewer if the next one does not come soon.

    Yields
    ------
    list
    """
    arrivals = queue.Queue(maxsize=4 * size)

    def read():
        try:
            for item in items:
                arrivals.put(item)
            arrivals.put(_END)
        except BaseException as error:
            arrivals.put(error)

    threading.Thread(target=read, name="skspeech-arguments", daemon=True).start()
    while True:
        chunk, end = _next_chunk(arrivals, size)
        if chunk:
            yield chunk
        if end is _END:
            return
        if end is not None:
            raise end


def _next_chunk(arrivals, size):
    """Up to `size` items, and what ended them: None, `_END`, or an exception."""
    chunk, timeout = [], None
    for _ in itertools.repeat(None, size):
        try:
            item = arrivals.get(timeout=timeout)
        except queue.Empty:
            break
        if item is _END or isinstance(item, BaseException):
            return chunk, item
        chunk.append(item)
        timeout = _PATIENCE
    return chunk, None


def salvage(function, paths):
    """Apply a function to those clips that can be read.

    Parameters
    ----------
    function : callable
        Takes a list of paths, returns a row for each; raises an AudioError for bad clips.
    paths : list of str

    Returns
    -------
    rows : list
        A row for each clip, None for bad ones.
    reasons : list of str or None
        Why a clip is bad; None for good ones.
    """
    from skspeech.audio import AudioError

    rows, reasons = [None] * len(paths), [None] * len(paths)
    left = list(range(len(paths)))
    while left:
        try:
            results = function([paths[i] for i in left])
        except AudioError as error:
            bad = {left[position]: reason for position, _, reason in error.failures}
            if not bad:
                raise
            for index, reason in bad.items():
                reasons[index] = reason
            left = [index for index in left if index not in bad]
        else:
            for index, row in zip(left, results, strict=True):
                rows[index] = row
            break
    return rows, reasons
