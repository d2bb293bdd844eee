"""The command ``python -m skspeech.weights``."""

import argparse
import sys

import skspeech.weights.registry as registry
from skspeech.weights._common import WeightsError, WeightsNotFoundError
from skspeech.weights._fetching import cache_dir
from skspeech.weights.registry import Wheel, find_weights
from skspeech.weights.store import (
    fetch_weights,
    is_intact,
    missing_weights,
    tell_missing,
    weights_path,
)

__all__ = ["main"]


def main(arguments=None):
    """Run ``python -m skspeech.weights``; returns the exit status."""
    parser = _parser()
    options = parser.parse_args(arguments)
    try:
        return _ACTIONS[options.action](options.names)
    except KeyboardInterrupt:
        return 130


def _parser():
    parser = argparse.ArgumentParser(
        prog="python -m skspeech.weights",
        description="Fetch, list and verify pretrained weights.",
        epilog="The exit status is 0 if all went well, 1 if some weights are missing or damaged.",
    )
    actions = parser.add_subparsers(dest="action", required=True, metavar="action")
    for action, help_text in {
        "fetch": "download, convert and cache weights (by default all but the optional ones)",
        "list": "say what there is, under which licence, and whether it is cached",
        "verify": "read cached weights and compare their checksums",
        "path": "say where cached weights are, without fetching them",
    }.items():
        subparser = actions.add_parser(action, help=help_text, description=help_text)
        subparser.add_argument(
            "names",
            nargs="*",
            type=_name,
            metavar="name",
            help=", ".join(sorted(registry.REGISTRY)),
        )
    return parser


def _name(text):
    try:
        return find_weights(text).name
    except ValueError as error:
        raise argparse.ArgumentTypeError(error) from None


def _fetch(names):
    failures, missing = 0, {}
    unreachable = {}  # sources, and why
    for name in names or [name for name, entry in registry.REGISTRY.items() if not entry.optional]:
        source = str(registry.REGISTRY[name].source)
        if source in unreachable and missing_weights([name]):
            missing[name] = unreachable[source]
            continue
        try:
            print(f"{name}: {fetch_weights(name)}", flush=True)
        except WeightsNotFoundError as error:
            missing[name] = unreachable[source] = error.reason
        except WeightsError as error:
            failures = 1
            print(f"{name}: {error}", file=sys.stderr)
    if missing:
        reasons = "; ".join(dict.fromkeys(missing.values()))
        print(tell_missing(list(missing), reasons), file=sys.stderr)
    return int(failures or bool(missing))


def _list(names):
    rows = [_row(name) for name in names or registry.REGISTRY]
    widths = [max(map(len, column)) for column in zip(*rows)]
    for row in rows:
        print("  ".join(cell.ljust(width) for cell, width in zip(row, widths)).rstrip())
    return 0


def _row(name):
    """Name, whether it is cached, size, licence, what it is, and where it comes from."""
    entry, path = registry.REGISTRY[name], weights_path(name)
    size = None
    if path.is_file():
        state, size = "cached", path.stat().st_size
    else:
        state = "not cached, not needed" if entry.optional else "not cached"
        if isinstance(entry.source, Wheel):
            size = entry.source.size
    megabytes = "" if size is None else f"{size / 1e6:5.1f} MB"
    return name, state, megabytes, entry.licence, entry.description, str(entry.source)


def _verify(names):
    status = 0
    for name in names or registry.REGISTRY:
        entry = registry.REGISTRY[name]
        if is_intact(entry):
            print(f"{name}: intact")
        elif weights_path(name).is_file():
            status = 1
            print(f"{name}: damaged; the command fetch {name} replaces it")
        else:
            status = max(status, bool(names))  # only weights asked for by name must be there
            print(f"{name}: not cached")
    return int(status)


def _print_path(names):
    paths = [weights_path(name) for name in names] or [cache_dir()]
    for path in paths:
        print(path)
    return int(not all(path.exists() for path in paths))


_ACTIONS = {"fetch": _fetch, "list": _list, "verify": _verify, "path": _print_path}
