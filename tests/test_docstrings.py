"""What the documentation says about parameters, defaults and attributes is what the code does."""

import ast
import importlib.resources
import inspect
import math
import re
import textwrap

import numpy as np
import pytest
from numpydoc.docscrape import ClassDoc, FunctionDoc
from sklearn.linear_model import LogisticRegression
from sklearn.naive_bayes import GaussianNB

from skspeech import SpeakerEmbeddingClassifier
from skspeech.utils import all_estimators, all_functions

ESTIMATORS = all_estimators()
FUNCTIONS = all_functions()
# Set where the input has names, or is a matrix; documented everywhere.
ATTRIBUTES_OF_SOME_INPUTS = {"feature_names_in_", "n_features_in_"}


def _methods(cls):
    """Public methods that the package writes, not those that scikit-learn lends."""
    for name, method in inspect.getmembers(cls, inspect.isroutine):
        if not name.startswith("_") and getattr(method, "__module__", "").startswith("skspeech"):
            yield name, method


METHODS = [
    pytest.param(method, id=f"{cls_name}.{name}")
    for cls_name, cls in ESTIMATORS
    for name, method in _methods(cls)
]
CALLABLES = [*METHODS, *(pytest.param(function, id=name) for name, function in FUNCTIONS)]


def _signature(function):
    parameters = dict(inspect.signature(function).parameters)
    parameters.pop("self", None)
    return parameters


def _documented_name(parameter):
    stars = {parameter.VAR_POSITIONAL: "*", parameter.VAR_KEYWORD: "**"}
    return stars.get(parameter.kind, "") + parameter.name


def _documented(section):
    """Names and type texts of a section; ``first, second : int`` documents two."""
    return {name: item.type for item in section for name in item.name.replace("\\", "").split(", ")}


def _check_parameters(function, section):
    documented, actual = _documented(section), _signature(function)
    names = [_documented_name(p) for p in actual.values()]
    assert list(documented) == names, (
        f"the docstring's Parameters are {list(documented)}, those of the signature are {names}"
    )
    for name, parameter in actual.items():
        if parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD):
            continue
        type_text = documented[name]
        assert type_text, f"{name} has no type"
        if type_text == "Ignored":
            continue
        match = re.search(r"default=(.+)$", type_text)
        if parameter.default is parameter.empty:
            assert not match, f"{name} is required, but its documentation has a default"
        else:
            assert match, f"{name}={parameter.default!r}: the documentation has no default"
            assert _evaluate(match[1]) == parameter.default, name


def _evaluate(text):
    try:
        return math.inf if text == "inf" else ast.literal_eval(text)
    except (SyntaxError, ValueError):
        pytest.fail(f"default={text} is not written as in the code")


@pytest.mark.parametrize(("name", "cls"), ESTIMATORS, ids=dict(ESTIMATORS))
def test_parameters_and_defaults_of_estimators(name, cls):
    _check_parameters(cls.__init__, ClassDoc(cls)["Parameters"])


@pytest.mark.parametrize("function", CALLABLES)
def test_parameters_and_defaults_of_methods_and_functions(function):
    doc = FunctionDoc(function)
    assert "".join(doc["Summary"]).strip(), "no summary"
    assert "".join(doc["Summary"]).rstrip().endswith("."), "the summary is no sentence"
    _check_parameters(function, doc["Parameters"])


@pytest.mark.parametrize("function", CALLABLES)
def test_what_returns_something_says_what(function):
    doc = FunctionDoc(function)
    tree = ast.parse(textwrap.dedent(inspect.getsource(inspect.unwrap(function))))
    gives_something = any(
        isinstance(node, (ast.Yield, ast.YieldFrom))
        or (isinstance(node, ast.Return) and not _is_none(node.value))
        for node in _own_nodes(tree.body[0])
    )
    assert bool(doc["Returns"] or doc["Yields"]) == gives_something


def _is_none(value):
    return value is None or (isinstance(value, ast.Constant) and value.value is None)


def _own_nodes(function):
    """Nodes of a function's body, without those of functions inside it."""
    for node in ast.iter_child_nodes(function):
        if not isinstance(node, (ast.FunctionDef, ast.Lambda, ast.ClassDef)):
            yield node
            yield from _own_nodes(node)


@pytest.mark.parametrize(("name", "item"), ESTIMATORS + FUNCTIONS, ids=dict(ESTIMATORS + FUNCTIONS))
def test_everything_public_has_an_example_that_runs(name, item):
    doc = ClassDoc(item) if inspect.isclass(item) else FunctionDoc(item)
    assert ">>> " in "\n".join(doc["Examples"])


def _fitted(cls):
    """An instance, fitted to a matrix of noise: for extractors a short clip a row."""
    members = [("first", LogisticRegression()), ("second", GaussianNB())]
    settings = {
        "estimator": SpeakerEmbeddingClassifier(),
        "estimators": members,
        "candidates": members,
        "time_budget": 5.0,
        "max_time": 3.0,
    }
    parameters = {name: settings[name] for name in _signature(cls.__init__) if name in settings}
    X = np.random.default_rng(0).normal(scale=0.1, size=(12, 400))
    return cls(**parameters).fit(X, np.repeat(["no", "yes"], 6))


@pytest.mark.network
@pytest.mark.parametrize(("name", "cls"), ESTIMATORS, ids=dict(ESTIMATORS))
def test_attributes(name, cls):
    estimator = _fitted(cls)
    documented = _documented(ClassDoc(cls)["Attributes"])
    properties = [n for n, member in inspect.getmembers(cls) if isinstance(member, property)]
    actual = {
        name
        for name in [*vars(estimator), *properties]
        if name.endswith("_") and not name.startswith("_") and hasattr(estimator, name)
    }
    assert set(documented) - ATTRIBUTES_OF_SOME_INPUTS == actual - ATTRIBUTES_OF_SOME_INPUTS, (
        f"{cls.__name__}: the docstring's Attributes are {sorted(documented)}, those of a fitted "
        f"instance are {sorted(actual)}. Without that section numpydoc takes those of the class."
    )
    assert all(documented.values()), "an attribute has no type"


@pytest.mark.parametrize("function", CALLABLES)
def test_signatures_have_types(function):
    signature = inspect.signature(function)
    assert signature.return_annotation is not signature.empty
    bare = [p.name for p in signature.parameters.values() if p.annotation is p.empty]
    assert bare in ([], ["self"], ["cls"])


@pytest.mark.parametrize(("name", "cls"), ESTIMATORS, ids=dict(ESTIMATORS))
def test_parameters_of_estimators_have_types(name, cls):
    parameters = inspect.signature(cls).parameters.values()
    assert not [p.name for p in parameters if p.annotation is p.empty]


def test_type_checkers_use_the_hints():
    assert importlib.resources.files("skspeech").joinpath("py.typed").is_file()
