"""Pages of the reference, made from what the modules export: a new name is documented at once."""

import importlib
import inspect
import pkgutil
import re
from pathlib import Path

import skspeech

# The order of the chapters; modules that are not named here follow, in the order of the alphabet.
_MODULES = [
    "skspeech",
    "skspeech.datasets",
    "skspeech.plotting",
    "skspeech.metrics",
    "skspeech.audio",
]

_EXAMPLES = [
    "quick_start",
    "pipeline_and_grid_search",
    "plot_time_budget",
    "speaker_identification",
    "plot_emotion_unseen_speakers",
    "language",
    "plot_music_tags",
    "plot_bring_your_own_extractor",
    "deploy",
    "dask_cluster",
    "autospeech_challenge",
]


class ReadingOrder:
    """Sort key of the gallery: the examples from easy to special."""

    def __init__(self, source_dir):
        pass

    def __call__(self, filename):
        name = Path(filename).stem
        return (_EXAMPLES.index(name) if name in _EXAMPLES else len(_EXAMPLES), name)


def public_names():
    """Map each public module to the public names that are documented with it.

    A name is documented once: with the package, if that exports it, or else with the first of the
    modules that do.
    """
    names, seen = {}, set()
    for module_name in _public_modules():
        module = importlib.import_module(module_name)
        for name in sorted(getattr(module, "__all__", ()), key=_by_kind(module)):
            item = getattr(module, name)
            identity = id(item) if inspect.isroutine(item) or inspect.isclass(item) else None
            if inspect.ismodule(item) or identity in seen:
                continue
            seen.add(identity) if identity else None
            names.setdefault(module_name, []).append(name)
    return names


def _by_kind(module):
    """Classes, then functions, then data."""

    def key(name):
        item = getattr(module, name)
        return (not inspect.isclass(item), not inspect.isroutine(item), name)

    return key


def _public_modules():
    """Modules without an underscore. What is public in a package, the package itself says."""
    found = [
        info.name
        for info in pkgutil.iter_modules(skspeech.__path__, "skspeech.")
        if not info.name.rpartition(".")[2].startswith("_")
    ]
    return _MODULES + sorted(set(found) - set(_MODULES))


def write_reference(docs):
    """Write the page that lists everything; autosummary makes a page of each entry."""
    lines = ["API reference", "=============", ""]
    for module_name, names in public_names().items():
        module = importlib.import_module(module_name)
        summary = inspect.getdoc(module).partition("\n\n")[0].replace("\n", " ")
        heading = f"``{module_name}``"
        lines += [heading, "-" * len(heading), "", summary, ""]
        lines += [f".. currentmodule:: {module_name}", ""]
        lines += [".. autosummary::", "   :toctree: generated", "   :nosignatures:", ""]
        lines += [f"   {name}" for name in names]
        lines.append("")
    page = docs / "api" / "index.rst"
    page.parent.mkdir(exist_ok=True)
    text = "\n".join(lines)
    if not page.exists() or page.read_text() != text:
        page.write_text(text)


def tidy(app, what, name, item, options, lines):
    """Make a docstring fit for these pages.

    Of methods that scikit-learn lends, the first paragraph is left, as the rest refers to pages of
    its own. Attributes in shapes, such as ``(n_features_in_,)``, would be links for docutils.
    """
    if (getattr(item, "__module__", None) or "").startswith("sklearn") and "" in lines:
        first = " ".join(lines[: lines.index("")])
        lines[:] = [first, "", "See scikit-learn.", ""]
    for i, line in enumerate(lines):
        lines[i] = re.sub(r"shape \((\w+_),", r"shape (``\1``,", line)


def plain_references(app, what, name, item, options, lines):
    """Take references to scikit-learn's own pages and glossary as plain words."""
    lines[:] = [re.sub(r":(?:ref|term):`([^`<]+?)(?: <[^>]*>)?`", r"\1", line) for line in lines]


def is_of_python(app, what, name, item, skip, options):
    """Leave out what exceptions and dataclasses have from Python itself."""
    if name.split(".")[-1] in {"add_note", "args", "with_traceback"}:
        return True
    return None


def setup(app):
    # Before numpydoc rearranges the docstring.
    app.connect("autodoc-process-docstring", tidy, priority=100)
    app.connect("autodoc-process-docstring", plain_references, priority=900)
    app.connect("autodoc-skip-member", is_of_python)
    # Before the builder looks for pages, of which autosummary reads this one.
    app.connect("config-inited", lambda app, config: write_reference(Path(app.srcdir)))
    return {"parallel_read_safe": True}
