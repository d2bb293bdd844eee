"""Sphinx: the user guide, the examples, and the reference from the docstrings.

The examples are not run by default, as the tests do that. With their outputs:
``make docs SPHINXOPTS="-D plot_gallery=1"``.
"""

import shutil
import sys
import warnings
from pathlib import Path

DOCS = Path(__file__).parent
sys.path.insert(0, str(DOCS / "_ext"))

from thumbnails import write_thumbnails  # noqa: E402

import skspeech  # noqa: E402

project = "skspeech"
author = "skspeech developers"
copyright = author
version = release = skspeech.__version__

extensions = [
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx.ext.mathjax",
    "numpydoc",
    "sphinx_click",
    "sphinx_gallery.gen_gallery",
    "myst_nb",
    "api_pages",
]
exclude_patterns = ["_build", "_ext", "_templates", "thumbnails", "auto_examples/**.ipynb", "**.py"]
templates_path = ["_templates"]
html_theme = "furo"
html_title = f"skspeech {version}"
html_copy_source = False
suppress_warnings = ["config.cache"]

# The docstrings. Single backticks name parameters and attributes, as in scikit-learn.
autosummary_generate = True
autodoc_default_options = {"members": True, "inherited-members": True, "show-inheritance": True}
autodoc_typehints = "none"
numpydoc_show_class_members = False
numpydoc_use_plots = False
default_role = "literal"

# The examples. As they are not run, pictures of the notebooks stand for them in the gallery.
write_thumbnails(DOCS.parent / "examples" / "notebooks", DOCS / "thumbnails")
sphinx_gallery_conf = {
    "examples_dirs": ["../examples"],
    "gallery_dirs": ["auto_examples"],
    "plot_gallery": False,
    "ignore_pattern": r"autospeech/|notebooks/",
    "within_subsection_order": "api_pages.ReadingOrder",
    "download_all_examples": False,
    "show_memory": False,
    "remove_config_comments": True,
    "default_thumb_file": str(DOCS / "thumbnails" / "waveform.png"),
}

# The notebooks are shown with the outputs that are in them.
nb_execution_mode = "off"
nb_merge_streams = True
myst_enable_extensions = ["colon_fence", "deflist", "dollarmath"]
myst_heading_anchors = 3
shutil.copytree(
    DOCS.parent / "examples" / "notebooks",
    DOCS / "notebooks",
    ignore=lambda _, names: [name for name in names if not name.endswith(".ipynb")],
    dirs_exist_ok=True,
)

# Of other libraries, on Python versions or options that are no concern of these pages.
warnings.filterwarnings("ignore", category=DeprecationWarning)
