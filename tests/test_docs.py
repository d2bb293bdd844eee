"""The documentation builds without a warning, and has a page for everything public."""

import importlib
import re
import shutil
import subprocess
import sys
from pathlib import Path

import click
import pytest

ROOT = Path(__file__).parents[1]
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def html(tmp_path_factory):
    """The built pages, from a copy: building writes among the sources."""
    for module in ("sphinx", "sphinx_gallery", "numpydoc", "myst_nb", "furo"):
        pytest.importorskip(module, reason="needs skspeech[docs]")
    copy = tmp_path_factory.mktemp("docs")
    generated = shutil.ignore_patterns(
        "_build", "api", "auto_examples", "notebooks", "thumbnails", "*cache__"
    )
    shutil.copytree(ROOT / "docs", copy / "docs", ignore=generated)
    shutil.copytree(ROOT / "examples", copy / "examples")
    shutil.copy(ROOT / "CHANGELOG.md", copy)
    # A process of its own: Sphinx and its extensions set up logging and much else for good.
    options = ["-W", "--keep-going", "-q", "-b", "html"]
    done = subprocess.run(
        [sys.executable, "-m", "sphinx", *options, copy / "docs", copy / "html"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return copy / "html"


def _text(page):
    return re.sub(r"<[^>]*>", "", page.read_text())


def test_every_public_name_has_a_page(html, monkeypatch):
    monkeypatch.syspath_prepend(ROOT / "docs" / "_ext")
    names = importlib.import_module("api_pages").public_names()
    assert "SpeakerEmbedding" in names["skspeech"]
    assert "make_tones" in names["skspeech.datasets"]
    for module, items in names.items():
        for name in items:
            assert (html / "api" / "generated" / f"{module}.{name}.html").exists(), (
                f"{module}.{name}"
            )


def test_a_page_of_the_reference_has_the_docstring(html):
    page = html / "api" / "generated" / "skspeech.TimeBudgetClassifier.html"
    text = _text(page)
    for words in ("time_budget", "Seconds from the call of", "iter_fit", "learning_curve_"):
        assert words in text
    # What scikit-learn lends is named, and described where it belongs.
    assert "set_params" in text
    assert "&lt;component&gt;" not in text


def test_the_pages_show_examples_notebooks_and_changes(html):
    gallery = _text(html / "auto_examples" / "index.html")
    for title in ("A first answer on real speech", "Who speaks?", "The AutoSpeech challenge"):
        assert title in gallery
    for path in (ROOT / "examples").glob("*.py"):
        assert (html / "auto_examples" / f"{path.stem}.html").exists()
    notebook = (html / "notebooks" / "time_budget.html").read_text()
    assert "skspeech-leaderboard" in notebook
    assert ".png" in notebook
    assert "First version" in _text(html / "changelog.html")


def test_the_command_s_page_has_every_option(html):
    from skspeech.cli.common import skspeech

    text = _text(html / "guide" / "command.html")
    assert len(skspeech.commands) >= 8
    for name, command in skspeech.commands.items():
        assert f"skspeech {name}" in text
        options = [
            item for item in command.params if isinstance(item, click.Option) and not item.hidden
        ]
        for option in options:
            assert max(option.opts, key=len) in text, (name, option)


def test_examples_have_pictures_in_the_gallery(html):
    page = (html / "auto_examples" / "index.html").read_text()
    thumbnails = re.findall(r'src="([^"]*_thumb\.\w+)"', page)
    assert len(thumbnails) == len(list((ROOT / "examples").glob("*.py")))
    sizes = {(html / "auto_examples" / path).stat().st_size for path in thumbnails}
    assert len(sizes) >= 4, "pictures of the notebooks"


def test_the_table_of_the_guide_can_be_read(tmp_path):
    from skspeech.cli import inputs

    page = (ROOT / "docs" / "guide" / "tables.md").read_text()
    (table,) = re.findall(r"```text\n(.*?)```", page, re.DOTALL)
    (tmp_path / "clips.csv").write_text(table)
    read = inputs.read_labelled(tmp_path / "clips.csv")
    assert read.paths[0] == str(tmp_path / "recordings" / "0001.wav")
    assert read.labels.tolist() == ["happy", "sad", "happy"]
    assert read.groups.tolist() == ["anna", "anna", "ben"]
    for name in (*sum(inputs._NAMES.values(), ()), *inputs._TABLES):
        assert f"`{name}`" in page


def test_code_in_the_guide_is_python():
    blocks = [
        block
        for page in [ROOT / "docs" / "index.md", *(ROOT / "docs" / "guide").glob("*.md")]
        for block in re.findall(r"```python\n(.*?)```", page.read_text(), re.DOTALL)
    ]
    assert len(blocks) > 5
    for block in blocks:
        compile(block, "guide", "exec")
    imports = re.findall(r"^from (skspeech[.\w]*) import (.+)$", "\n".join(blocks), re.MULTILINE)
    assert len(imports) > 5
    for module, names in imports:
        for name in names.split(", "):
            assert hasattr(importlib.import_module(module), name), f"{module}.{name}"
