"""Whatever ties a model to a machine: paths, devices, networks, versions of libraries."""

import importlib.metadata
import platform

from sklearn.base import BaseEstimator, clone

from skspeech._objects import objects_in
from skspeech._warning import warn
from skspeech.persistence.errors import ModelFileError, ModelVersionWarning

__all__ = []

# Parameters that say where this process or machine stores, reports or runs something.
_OF_THIS_MACHINE = {"callbacks", "executor", "log_file", "memory"}


def _forget_this_machine(model):
    """Reset these parameters; a file from elsewhere must not set where this machine writes."""
    for item in objects_in(model):
        if isinstance(item, BaseEstimator):
            for name in _OF_THIS_MACHINE & vars(item).keys():
                setattr(item, name, None)


def _network_ids(model):
    """Ids of the frozen networks' weights; None for weights that are not on this machine."""
    ids = {_network_id(item) for item in objects_in(model) if hasattr(item, "_network_id")}
    return sorted(ids, key=str)


def _network_id(extractor):
    from skspeech.weights import WeightsError

    if "local_files_only" in extractor.get_params(deep=False):
        extractor = clone(extractor).set_params(local_files_only=True)
    try:
        return extractor._network_id()
    except (WeightsError, OSError, ImportError, ValueError):
        return None


def _check_networks(model, metadata, path):
    """Refuse other networks: a classifier fits only the features that it was trained on."""
    saved, others = set(metadata["networks"]), set(_network_ids(model))
    others -= saved | {None}
    if others and None not in saved:
        raise ModelFileError(
            f"{str(path)!r} was trained on features of the networks {_listed(saved)}; here it "
            f"would get those of {_listed(others)}. Use skspeech "
            f"{metadata['versions'].get('skspeech')}, or train it again."
        )


def _use_present_devices(model):
    from skspeech._device import resolve_device

    missing = set()
    for item in objects_in(model):
        device = getattr(item, "device", None)
        if device in (None, "auto", "cpu") or not isinstance(item, BaseEstimator):
            continue
        try:
            resolve_device(device)
        except ValueError:
            missing.add(str(device))
            item.device = "auto"
    if missing:
        warn(
            f"The model was to run on {', '.join(sorted(missing))}, which this machine does not "
            "have; it runs with device='auto'."
        )


def _listed(names):
    return ", ".join(sorted(map(str, names)))


# Other releases of these may predict differently. The number says how many version parts count.
_COMPARED_VERSIONS = {"skspeech": 3, "scikit-learn": 3, "numpy": 2, "torch": 2}


_NOTED_VERSIONS = (*_COMPARED_VERSIONS, "scipy", "skops")


def _versions():
    versions = {"python": platform.python_version()}
    for name in _NOTED_VERSIONS:
        try:
            versions[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            versions[name] = None
    return versions


def _spelled(versions):
    return ", ".join(f"{name} {version}" for name, version in versions.items() if version)


def _warn_of_versions(metadata, path):
    here, then = _versions(), metadata["versions"]
    differing = [
        f"{name} {then.get(name)} (here {here[name]})"
        for name, n_parts in _COMPARED_VERSIONS.items()
        if _release(then.get(name), n_parts) != _release(here[name], n_parts)
    ]
    if differing:
        warn(
            f"{str(path)!r} was saved with {', '.join(differing)}. Its predictions may differ or "
            "fail. Install those versions, or train and save the model again.",
            ModelVersionWarning,
        )


def _release(version, n_parts):
    """The first parts of a version, without any local part after a plus sign."""
    return None if version is None else version.partition("+")[0].split(".")[:n_parts]
