"""Run the notebooks, and store their outputs in them.

    python examples/notebooks/run.py            # what is published: real recordings, full budgets
    python examples/notebooks/run.py --check    # run only, change nothing

Each runs in its own kernel. Outputs must not reveal where they were made: a run is rejected if any
output contains a path of this machine.
"""

import argparse
import os
import sys
import tempfile
from pathlib import Path

import nbformat
from nbclient import NotebookClient

FOLDER = Path(__file__).parent


def run(path, timeout=300):
    """Run all cells of a notebook; return it with the new outputs."""
    notebook = nbformat.read(path, as_version=4)
    with tempfile.TemporaryDirectory() as folder:
        client = NotebookClient(notebook, timeout=timeout, kernel_name="python3")
        client.execute(cwd=folder)
    for cell in notebook.cells:
        cell.metadata.pop("execution", None)  # times of execution are not interesting
    return notebook


def paths_of_this_machine(notebook):
    """Folders of this machine whose paths occur in the outputs."""
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", ())]
    folders = [str(Path.home()), str(FOLDER.parents[1]), tempfile.gettempdir(), sys.prefix]
    folders += [os.environ[name] for name in ("SKSPEECH_DATA", "SKSPEECH_CACHE") if os.getenv(name)]
    return [folder for folder in folders if any(folder + "/" in str(output) for output in outputs)]


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--check", action="store_true", help="change nothing")
    arguments = parser.parse_args()
    for path in sorted(FOLDER.glob("*.ipynb")):
        notebook = run(path)
        named = paths_of_this_machine(notebook)
        if named:
            raise SystemExit(f"Outputs of {path.name} name {', '.join(named)}.")
        if not arguments.check:
            nbformat.write(notebook, path)
        print(f"{path.name}: {len(notebook.cells)} cells")


if __name__ == "__main__":
    main()
