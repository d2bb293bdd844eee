"""The package as a whole: quick to import, lazy, consistent, with all it needs declared."""

import ast
import importlib
import importlib.metadata
import inspect
import json
import os
import pkgutil
import re
import statistics
import subprocess
import sys
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from sklearn.base import BaseEstimator

import skspeech
from skspeech.utils import all_estimators, all_functions

HEAVY = {"av", "keras", "librosa", "matplotlib", "numba", "pandas", "skorch", "tensorflow", "torch"}


def _modules():
    return [
        info.name
        for info in pkgutil.walk_packages(skspeech.__path__, prefix="skspeech.")
        if not any(part.startswith("_") for part in info.name.split("."))
    ]


PUBLIC_MODULES = _modules()
# Those that are made of torch; nobody needs them to get at an estimator.
LIGHT_MODULES = [
    name
    for name in PUBLIC_MODULES
    if not re.search(r"\.networks|\.fine_tuned\.(crops|network|run|search|training)$", name)
]


def _fresh_python(code):
    """What `code` prints as JSON in a new interpreter."""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return json.loads(done.stdout)


def test_importing_the_package_loads_nothing_but_the_lazy_loader():
    loaded = _fresh_python(
        "import sys; before = set(sys.modules); import skspeech, json;"
        "print(json.dumps([m for m in set(sys.modules) - before]))"
    )
    third_party = {name.partition(".")[0] for name in loaded} - sys.stdlib_module_names
    assert "skspeech" in third_party
    assert third_party <= {"skspeech", "lazy_loader"}


@pytest.mark.parametrize(
    ("own", "expected"),
    [({}, "1000"), ({"GOMP_SPINCOUNT": "7"}, "7"), ({"OMP_WAIT_POLICY": "active"}, None)],
    ids=["by default", "own count", "own policy"],
)
def test_torch_spins_briefly_unless_told_otherwise(own, expected):
    """Beside other programs, its usual milliseconds at each wait made a clip take half a second."""
    variables = ("GOMP_SPINCOUNT", "OMP_WAIT_POLICY")
    environment = {name: value for name, value in os.environ.items() if name not in variables}
    code = "import os, skspeech, torch; print(os.environ.get('GOMP_SPINCOUNT'))"
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**environment, **own, "OMP_DISPLAY_ENV": "verbose"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.strip() == str(expected)
    told = re.findall(r"GOMP_SPINCOUNT = '(\d+)'", done.stderr)  # none by other OpenMP libraries
    assert expected is None or set(told) <= {expected}


def test_importing_the_package_takes_less_than_a_third_of_a_second():
    seconds = [
        _fresh_python(
            "import time; start = time.perf_counter(); import skspeech;"
            "print(time.perf_counter() - start)"
        )
        for _ in range(5)
    ]
    assert statistics.median(seconds) < 0.3


def test_no_extractor_imports_torchs_compiler():
    """It takes two seconds, in which a first answer could have come."""
    tried, compiler = _fresh_python(
        "import json, sys; import numpy as np; from skspeech import Extractor;"
        "from skspeech.utils import all_estimators;"
        "clips = np.random.default_rng(0).normal(size=(2, 16_000)).astype('float32');"
        "classes = [c for _, c in all_estimators('transformer') if issubclass(c, Extractor)];"
        "tried = [c().transform(clips).shape[0] for c in classes if 'Transformers' not in str(c)];"
        "print(json.dumps([tried, 'torch._dynamo' in sys.modules]))"
    )
    assert len(tried) >= 5
    assert not compiler


def test_importing_the_public_modules_loads_nothing_heavy():
    loaded, by_sklearn = _fresh_python(
        "import importlib, json, sys; import sklearn.pipeline; by_sklearn = list(sys.modules);"
        f"[importlib.import_module(m) for m in {LIGHT_MODULES!r}];"
        "print(json.dumps([list(sys.modules), by_sklearn]))"
    )
    assert set(LIGHT_MODULES) <= set(loaded)
    # scikit-learn itself imports pandas where there is one.
    assert HEAVY & (set(loaded) - set(by_sklearn)) == set()


def test_version_is_that_of_the_metadata():
    assert importlib.metadata.version("skspeech") == skspeech.__version__


@pytest.mark.parametrize("module", ["skspeech", *PUBLIC_MODULES])
def test_public_names_are_sorted_and_resolve(module):
    module = importlib.import_module(module)
    assert module.__doc__, f"{module.__name__} has no docstring"
    names = list(module.__all__)
    assert len(set(names)) == len(names)
    assert not [name for name in names if name.startswith("_")]
    assert not [name for name in names if not hasattr(module, name)]
    assert set(names) <= set(dir(module))


def test_unknown_names_are_attribute_errors():
    with pytest.raises(AttributeError, match="nothing_like_this"):
        skspeech.nothing_like_this  # noqa: B018


def _classes_in_source():
    """Public estimator classes that the package defines, found without the discovery."""
    for name in LIGHT_MODULES:
        for _, item in inspect.getmembers(importlib.import_module(name), inspect.isclass):
            is_ours = item.__module__ == name and not item.__name__.startswith("_")
            if is_ours and issubclass(item, BaseEstimator) and not inspect.isabstract(item):
                yield item


def test_discovery_finds_every_estimator():
    found = dict(all_estimators())
    assert {item.__name__ for item in _classes_in_source()} == set(found)
    assert len(found) >= 8
    assert list(found) == sorted(found)


@pytest.mark.parametrize("name", dict(all_estimators()))
def test_every_estimator_is_offered_by_the_package(name):
    assert name in skspeech.__all__
    assert getattr(skspeech, name) is dict(all_estimators())[name]


def test_discovery_by_kind():
    everything = dict(all_estimators())
    classifiers, transformers = (
        dict(all_estimators("classifier")),
        dict(all_estimators("transformer")),
    )
    assert "SpeakerEmbeddingClassifier" in classifiers
    assert "SpeakerEmbedding" in transformers
    assert "SpeakerEmbedding" not in classifiers
    assert everything.items() >= classifiers.items() | transformers.items()
    assert dict(all_estimators(["classifier", "transformer"])) == classifiers | transformers


@pytest.mark.parametrize("bad", ["classifiers", ["classifier", "audio"], [], 3])
def test_discovery_names_the_kinds_there_are(bad):
    with pytest.raises((ValueError, TypeError), match=r"classifier|iterable"):
        all_estimators(bad)


def test_discovery_finds_functions():
    functions = dict(all_functions())
    assert {"all_estimators", "load_audio_folder", "make_speech_like"} <= set(functions)
    assert "GeometricMeanVotingClassifier" not in functions


def test_no_text_installs_from_pypi_before_there_is_a_release():
    root = Path(skspeech.__file__).parents[1]
    kinds = (
        "*.md",
        "*/*.md",
        "skspeech/**/*.py",
        "docs/guide/*.md",
        "examples/**/*.py",
        "examples/**/*.ipynb",
    )
    texts = [path for kind in kinds for path in root.glob(kind)]
    assert len(texts) > 100
    told = [str(path) for path in texts if re.search("pip install '?skspeech", path.read_text())]
    assert told == []


def _imports(path):
    """Third-party packages that a source file imports, anywhere in it."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and not node.level:
            names = [node.module]
        else:
            continue
        for name in names:
            top = name.partition(".")[0]
            if top not in sys.stdlib_module_names and top != "skspeech":
                yield top


def test_every_import_is_declared():
    distributions = importlib.metadata.packages_distributions()
    declared = {
        canonicalize_name(Requirement(text).name)
        for text in importlib.metadata.requires("skspeech")
    }
    imported = {
        name for path in Path(skspeech.__file__).parent.rglob("*.py") for name in _imports(path)
    }
    assert {"numpy", "sklearn", "torch"} <= imported
    undeclared = {
        name
        for name in imported
        if not declared & {canonicalize_name(d) for d in distributions.get(name, [name])}
    }
    assert undeclared == set()
