"""The notebooks run from top to bottom, and the outputs that are in them are presentable."""

import json
import re
import sys
from pathlib import Path

import pytest

FOLDER = Path(__file__).parents[1] / "examples" / "notebooks"
NOTEBOOKS = sorted(FOLDER.glob("*.ipynb"))
BUDGET = "5"  # seconds; few clips and no downloads


def _outputs(notebook, kind):
    return [
        output
        for cell in notebook["cells"]
        for output in cell.get("outputs", ())
        if output["output_type"] == kind
    ]


def _printed(notebook):
    return "".join("".join(output["text"]) for output in _outputs(notebook, "stream"))


def test_there_are_notebooks():
    assert {path.stem for path in NOTEBOOKS} == {"quick_start", "time_budget"}


@pytest.mark.network
@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
@pytest.mark.slow
def test_notebook_runs(path, monkeypatch):
    pytest.importorskip("nbclient", reason="needs skspeech[docs]")
    pytest.importorskip("ipykernel", reason="needs skspeech[docs]")
    monkeypatch.syspath_prepend(FOLDER)
    monkeypatch.setenv("SKSPEECH_EXAMPLE_BUDGET", BUDGET)
    # A kernel that finds itself in a debugger's way says so on stderr otherwise.
    monkeypatch.setenv("PYDEVD_DISABLE_FILE_VALIDATION", "1")
    from run import run

    notebook = run(path)
    assert not [o for o in _outputs(notebook, "stream") if o["name"] == "stderr"]
    expected = {
        "quick_start": r"Balanced accuracy: [01]\.\d{3}",
        "time_budget": r"On the test clips: [01]\.\d{3}, after",
    }
    assert re.search(expected[path.stem], _printed(notebook))


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_stored_outputs_are_complete_and_of_no_machine(path):
    notebook = json.loads(path.read_text())
    for cell in notebook["cells"]:
        if cell["cell_type"] == "code":
            assert cell["execution_count"], "a cell was not run"
            # Links to the documentation of scikit-learn are the only addresses.
            text = re.sub(r"https?://\S+", "", json.dumps(cell["outputs"]))
            assert not re.search(r"/(home|root|tmp|work|Users|usr)/|site-packages", text)
    assert not _outputs(notebook, "error")
    assert not [o for o in _outputs(notebook, "stream") if o["name"] == "stderr"]
    pictures = [o for kind in ("display_data", "execute_result") for o in _outputs(notebook, kind)]
    assert any("image/png" in picture["data"] for picture in pictures)
    assert "for want of recordings" not in _printed(notebook)


def test_paths_of_this_machine_are_found(monkeypatch):
    pytest.importorskip("nbclient", reason="needs skspeech[docs]")
    monkeypatch.syspath_prepend(FOLDER)
    from run import paths_of_this_machine

    def notebook(text):
        from nbformat.v4 import new_code_cell, new_notebook, new_output

        return new_notebook(cells=[new_code_cell("1", outputs=[new_output("stream", text=text)])])

    assert paths_of_this_machine(notebook(f"in {sys.prefix}/lib"))
    assert not paths_of_this_machine(notebook("in a folder"))
