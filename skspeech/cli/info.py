"""The command ``skspeech info``."""

import importlib.metadata
import platform

import click

from skspeech import __version__
from skspeech.cli.common import json_option, skspeech
from skspeech.cli.shown import to_json
from skspeech.cli.weights import fetch_command, weights_row

__all__ = []


@skspeech.command("info", short_help="Say what there is, or what a MODEL holds.")
@click.argument("model", required=False, type=click.Path(exists=True, dir_okay=False))
@json_option
def _info(model, as_json):
    """Say which versions, devices and weights there are; or what a MODEL file holds."""
    if model is not None:
        from skspeech.persistence import read_metadata

        facts = read_metadata(model)
    else:
        facts = _environment()
    if as_json:
        click.echo(to_json(facts))
    else:
        lines = _of_machine(facts) if model is None else _of_model(facts)
        width = max(map(len, lines)) + 2
        for key, value in lines.items():
            click.echo(f"{key + ':':{width}}{_spelled(value)}")
    return 0


def _of_machine(facts):
    """The facts as text, with the command that fetches missing weights."""
    from skspeech.weights import REGISTRY

    missing = facts["not cached"]
    names = [f"{name} (optional)" if REGISTRY[name].optional else name for name in missing]
    return {**facts, "not cached": _with_what_fetches(names, missing)}


def _of_model(facts):
    """The facts as text: sizes with units, no checksums, networks by name."""
    from skspeech.weights import REGISTRY, weights_key
    from skspeech.weights.store import missing_weights

    by_key = {weights_key(name): name for name in REGISTRY}
    names = [by_key.get(key, key) for key in facts["networks"]]
    missing = missing_weights([name for name in names if name in REGISTRY])
    members = [f"{name} ({m['size'] / 1e6:.1f} MB)" for name, m in facts["members"].items()]
    shown = {
        "format": f"{facts['format']}, version {facts['format_version']}",
        "networks": _with_what_fetches(names, missing),
        "members": members,
    }
    return {key: shown.get(key, value) for key, value in facts.items() if key != "format_version"}


def _with_what_fetches(names, missing):
    how = f"; to have what is missing: {fetch_command(missing)}" if missing else ""
    return _spelled(names) + how


def _spelled(value):
    if isinstance(value, dict):
        return ", ".join(f"{key} {_spelled(item)}" for key, item in value.items())
    if isinstance(value, list | tuple):
        return ", ".join(map(_spelled, value)) or "none"
    return "none" if value is None else str(value)


def _environment():
    import joblib

    from skspeech.weights import REGISTRY, cache_dir

    packages = ("numpy", "scipy", "scikit-learn", "torch", "tensorflow", "librosa", "soundfile")
    rows = [weights_row(name) for name in REGISTRY]
    return {
        "skspeech": __version__,
        "python": f"{platform.python_version()} ({platform.platform()})",
        "packages": {name: _version(name) for name in packages},
        "cores": joblib.cpu_count(),
        "devices": _devices(),
        "cache": str(cache_dir()),
        "cached": [row["name"] for row in rows if row["cached"]],
        "not cached": [row["name"] for row in rows if not row["cached"]],
    }


def _version(name):
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


def _devices():
    import torch

    devices = ["cpu"]
    for index in range(torch.cuda.device_count()):
        devices.append(f"cuda:{index} ({torch.cuda.get_device_name(index)})")
    if torch.backends.mps.is_available():
        devices.append("mps")
    return devices
