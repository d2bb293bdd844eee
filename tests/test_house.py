"""The rooms of the package: arrows point down only, there is no circle, and doors are used."""

import ast
from collections import defaultdict
from pathlib import Path

import pytest

import skspeech

PACKAGE = Path(skspeech.__file__).parent
# From the doors to what all stand on. A room imports from its own and from lower floors only.
FLOORS = [
    {"__main__"},
    {"cli"},
    {"app"},
    {"challenge", "export", "report", "serving", "timelines"},
    {"inspection"},
    {"persistence", "plotting"},
    {"candidates", "selection", "unknown", "utils"},
    {"time_budget"},
    {"audit", "datasets", "estimators", "metrics"},
    {"ensemble"},
    {"transformers"},
    {"cache", "weights"},
    {"networks"},  # of transformers: pure computation
    {"audio"},
    {"helpers"},  # modules of the package's own, whose names begin with an underscore
    {"skspeech"},  # the package itself, which loads names when they are first used
]
FLOOR = {room: number for number, rooms in enumerate(FLOORS) for room in rooms}
# Helpers that stand on the floor of a room above, since they know of clips.
HELPERS_OF = {
    "_heard": "audit",
    "_clip_checks": "audit",
    "_budget_tasks": "time_budget",
}
# One door opens by itself: the method `report` of every ensemble.
ALLOWED = {("skspeech._reporting", "skspeech.report")}


def module_of(path):
    parts = path.relative_to(PACKAGE.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {module_of(path): path for path in PACKAGE.rglob("*.py")}


def room_of(module):
    _, _, name = module.partition(".")
    first, *rest = name.split(".")
    if first == "transformers" and rest[:1] == ["networks"]:
        return "networks"
    if first.startswith("_") and first != "__main__":
        return HELPERS_OF.get(first, "helpers")
    return first or "skspeech"


def imports():
    """(module, module that it imports, name) for each import, those inside of functions too."""
    for module, path in MODULES.items():
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ImportFrom):
                assert node.level == 0, f"{module} imports by dots"
                found = [(node.module, alias.name) for alias in node.names]
            elif isinstance(node, ast.Import):
                found = [(alias.name, None) for alias in node.names]
            else:
                continue
            for source, name in found:
                if source.partition(".")[0] == "skspeech":
                    inner = f"{source}.{name}"
                    yield (module, inner, None) if inner in MODULES else (module, source, name)


IMPORTS = list(imports())


def test_the_walk_finds_the_imports():
    assert len(MODULES) > 100
    assert ("skspeech.candidates", "skspeech.time_budget.line_ups", "default_candidates") in IMPORTS


def test_every_room_has_a_floor():
    assert {room_of(module) for module in MODULES} <= set(FLOOR)


def test_arrows_point_down():
    upward = {
        f"{module} -> {source}"
        for module, source, _ in IMPORTS
        if room_of(module) != room_of(source)
        and FLOOR[room_of(source)] <= FLOOR[room_of(module)]
        and (module, source) not in ALLOWED
    }
    assert not upward


def test_no_circles():
    arrows = defaultdict(set)
    for module, source, _ in IMPORTS:
        if module != source and (module, source) not in ALLOWED:
            arrows[module].add(source)

    def circle(module, path):
        if module in path:
            return [*path[path.index(module) :], module]
        if module in done:
            return None
        for source in sorted(arrows[module]):
            if found := circle(source, [*path, module]):
                return found
        done.add(module)
        return None

    done = set()
    circles = [" -> ".join(found) for module in MODULES if (found := circle(module, []))]
    assert not circles


def test_no_room_takes_what_another_keeps_to_itself():
    private = {
        f"{module} takes {source}.{name or ''}"
        for module, source, name in IMPORTS
        if room_of(module) != room_of(source)
        and (is_private(name) or any(map(is_private, source.split(".")[2:])))
        and source != "skspeech._sklearn"  # names of scikit-learn's, imported in one place
    }
    assert not private


def is_private(name):
    return name is not None and name.startswith("_") and not name.endswith("__")


@pytest.mark.parametrize("name", ["audio.decoding", "time_budget.policy", "estimators.recurrent"])
def test_rooms_are_where_the_plan_says(name):
    assert f"skspeech.{name}" in MODULES


def test_warnings_have_one_place():
    """It finds the user's line, which a fixed number of frames misses."""
    warning = [m for m, path in MODULES.items() if "warnings.warn(" in path.read_text("utf-8")]
    assert warning == ["skspeech._warning"]


def test_no_module_is_longer_than_a_reader_likes():
    lengths = {name: len(path.read_text("utf-8").splitlines()) for name, path in MODULES.items()}
    assert {name: n for name, n in lengths.items() if n > 600} == {}


def test_no_class_is_longer_than_a_reader_likes():
    lengths = {
        f"{module}.{node.name}": node.end_lineno - node.lineno + 1
        for module, path in MODULES.items()
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.ClassDef)
    }
    assert len(lengths) > 100
    assert {name: n for name, n in lengths.items() if n > 300} == {}
