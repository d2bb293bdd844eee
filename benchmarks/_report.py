"""Write a bench's table of figures, as a page to read and as data."""

import json
import operator
import sys

from _machine import machine, versions

__all__ = ["write_page", "write_results"]


def write_results(folder, name, rows, threads):
    """Print a table and write it to ``<folder>/<name>.md`` and ``.json``; exit with 1 for a miss.

    Parameters
    ----------
    folder : pathlib.Path
        Made when missing.
    name : str
        Name of the two files, without suffix.
    rows : list of dict
        With the keys what, value, aim and detail. An aim is such as "<= 20", or empty.
    threads : int
        Threads available to everything that was measured.
    """
    table = ["| what | value | aim | | detail |", "| --- | ---: | --- | --- | --- |"]
    missed = [row["what"] for row in rows if not _is_kept(row)]
    for r in rows:
        note = "missed" if r["what"] in missed else ""
        table.append(f"| {r['what']} | {r['value']:.3g} | {r['aim']} | {note} | {r['detail']} |")
    page = [f"# {name.capitalize()}", "", *table, ""]
    write_page(folder, name, page, rows, threads=threads)
    print(f"Written to {folder / name}.md and .json.")
    if missed:
        sys.exit("Missed:\n" + "\n".join(missed))


def _is_kept(row):
    if not row["aim"]:
        return True
    sign, limit = row["aim"].split()
    return {"<=": operator.le, ">=": operator.ge}[sign](row["value"], float(limit))


def write_page(folder, name, lines, rows, **about):
    """Print a page with the machine it was measured on, and write it and its data.

    Parameters
    ----------
    folder : pathlib.Path
        Made when missing.
    name : str
        Name of the two files, without suffix.
    lines : list of str
        Lines of the page.
    rows : list of dict
        The data.
    **about
        Further facts about the measurement.
    """
    about = {**machine(), **about, **versions()}
    listed = ", ".join(f"{key} {value}" for key, value in about.items() if value is not None)
    page = "\n".join([*lines, f"Measured on: {listed}.", ""])
    print(page)
    folder.mkdir(exist_ok=True)
    (folder / f"{name}.md").write_text(page)
    content = {"about": about, "rows": rows}
    (folder / f"{name}.json").write_text(json.dumps(content, indent=1) + "\n")
