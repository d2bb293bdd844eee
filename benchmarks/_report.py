"""Write a bench's table of figures: as a page to read and as data."""

import json

from _machine import machine, versions

__all__ = ["write_results"]


def write_results(folder, name, rows, threads):
    """Print a table and write it to ``<folder>/<name>.md`` and ``.json``.

    Parameters
    ----------
    folder : pathlib.Path
        Made when missing.
    name : str
        Of the two files.
    rows : list of dict
        With the keys what, value, aim and detail.
    threads : int
        Threads that everything measured could use.
    """
    table = ["| what | value | aim | detail |", "| --- | ---: | --- | --- |"]
    table += [f"| {r['what']} | {r['value']:.3g} | {r['aim']} | {r['detail']} |" for r in rows]
    print("\n".join(table))
    about = {**machine(), "threads": threads, **versions()}
    listed = ", ".join(f"{key} {value}" for key, value in about.items() if value is not None)
    folder.mkdir(exist_ok=True)
    page = [f"# {name.capitalize()}", "", *table, "", f"Measured on: {listed}.", ""]
    (folder / f"{name}.md").write_text("\n".join(page))
    content = {"about": about, "rows": rows}
    (folder / f"{name}.json").write_text(json.dumps(content, indent=1) + "\n")
    print(f"Written to {folder / name}.md and .json.")
