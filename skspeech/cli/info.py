"""The command ``skspeech info``."""

import importlib.metadata
import platform

import click

from skspeech import __version__
from skspeech.cli.common import json_option, skspeech
from skspeech.cli.shown import to_json
from skspeech.cli.weights import weights_row

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
        for key, value in facts.items():
            click.echo(f"{key + ':':14} {_spelled(value)}")
    return 0


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
