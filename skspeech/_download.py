"""Downloads of data sets: verified, atomic, one process at a time."""

import hashlib
import subprocess
import tarfile
import tempfile
import zipfile
import zlib
from pathlib import Path, PurePosixPath

_MAX_MEMBER = 1 << 28  # bytes of a file inside an archive; recordings are far smaller


def some(names, n=3):
    """The first `n` of `names` in quotes, and how many more there are."""
    names = [repr(str(name)) for name in names]
    more = f" and {len(names) - n} more" if len(names) > n else ""
    return ", ".join(names[:n]) + more


class Manifest:
    """Names and checksums of a data set's files, kept as ``manifests/{name}.txt``.

    The manifest lists a short digest of each file, to find the one that differs, and a full digest
    of all of them, for security.
    """

    def __init__(self, name):
        text = (Path(__file__).parent / "manifests" / f"{name}.txt").read_text()
        lines = [line for line in text.splitlines() if not line.startswith("#")]
        self.digest = lines[0]
        self.files = dict(line.split() for line in lines[1:])

    def problems(self, folder):
        """Names of the files that are missing in `folder` or differ, each with the reason."""
        problems, listing = [], hashlib.sha256()
        for name, expected in self.files.items():
            try:
                digest = hashlib.sha256((folder / name).read_bytes()).hexdigest()
            except OSError as error:
                problems.append(f"{name} ({error.strerror})")
                continue
            if not digest.startswith(expected):
                problems.append(f"{name} (differs)")
            listing.update(f"{name} {digest}\n".encode())
        if not problems and listing.hexdigest() != self.digest:
            problems.append("some file (differs)")
        return problems


def verified_files(name, *, folder, url, download, progress):
    """Paths of the data set's files in `folder`, downloaded if that does not exist."""
    manifest = Manifest(name)
    if not folder.is_dir():
        if not download:
            raise not_there(name, [str(folder)])
        with locked(folder.parent):
            if not folder.is_dir():  # another process may have been faster
                _download_files(name, manifest, folder, url, progress)
    problems = manifest.problems(folder)
    if problems:
        raise OSError(
            f"{len(problems)} of the {len(manifest.files)} files in {str(folder)!r} are not those"
            f" of {name}: {', '.join(problems[:3])}. Move the folder away and call fetch_{name}()"
            " to download it again."
        )
    return [folder / file for file in manifest.files]


def _download_files(name, manifest, folder, url, progress):
    """Download an archive, extract the listed files, check them, move them into place."""
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=".fetching-") as scratch:
        archive, unpacked = Path(scratch, PurePosixPath(url).name), Path(scratch, "files")
        try:
            fetch(url, archive, progress)
        except OSError as error:
            raise OSError(
                f"The data set {name} is not in {str(folder)!r} and cannot be downloaded from"
                f" {url}: {cause(error)}. Call fetch_{name}() where there is a network, or copy"
                " the files there; SKSPEECH_DATA or data_home= names another folder of data sets."
            ) from error
        unpacked.mkdir()
        _unpack(archive, manifest.files, unpacked)
        problems = manifest.problems(unpacked)
        if problems:
            raise OSError(
                f"The archive {url} does not hold the expected files of {name}: {len(problems)}"
                f" differ, such as {', '.join(problems[:3])}. Nothing was kept; try again, and if"
                " it goes on failing, the source has changed."
            )
        unpacked.rename(folder)


def fetch(url, path, progress):
    """Download `url` to `path`, with a bar on standard error if `progress` is true."""
    import pooch

    try:
        pooch.HTTPDownloader(progressbar=progress, timeout=(15, 60))(url, str(path), None)
    except OSError as error:
        if getattr(error, "response", None) is not None:
            error.response.close()  # pooch leaves the connection of a refused request open
        raise


def cause(error):
    """The cause of a download error, without the layers around it."""
    inner = getattr(error, "reason", None) or next(iter(error.args), None)
    return cause(inner) if isinstance(inner, Exception) else error


def _unpack(archive, wanted, folder):
    """Write the files of a tar or zip archive whose names are `wanted` into `folder`, flat.

    Only the last part of a member's path is used, so no member can be written elsewhere; if one
    tries, the whole archive is rejected.
    """
    try:
        if zipfile.is_zipfile(archive):
            with zipfile.ZipFile(archive) as file:
                members = ((m.filename, m) for m in file.infolist() if not m.is_dir())
                _copy_members(members, file.open, wanted, folder)
        else:
            with tarfile.open(archive) as file:
                members = ((m.name, m) for m in file if m.isfile())
                _copy_members(members, file.extractfile, wanted, folder)
    except (zipfile.BadZipFile, tarfile.TarError, zlib.error, EOFError) as error:
        reason = str(error).partition(":")[0]
        raise OSError(
            f"The download {archive.name} is not a whole archive: {reason}. Nothing was kept; call"
            " again."
        ) from error


def _copy_members(members, open_member, wanted, folder):
    for name, member in members:
        path = PurePosixPath(name.replace("\\", "/"))
        if path.is_absolute() or ".." in path.parts:
            raise OSError(f"The archive has a member {name!r} that points outside of it.")
        if path.name in wanted:
            with open_member(member) as source, open(folder / path.name, "wb") as sink:
                _copy(source, sink, name)


def _copy(source, sink, name):
    """Copy a member up to a maximum size: a small archive can unpack to more than a disk holds."""
    left = _MAX_MEMBER
    while content := source.read(min(1 << 20, left + 1)):
        left -= len(content)
        if left < 0:
            raise OSError(
                f"The archive has a member {name!r} of more than {_MAX_MEMBER >> 20} MB, which is "
                "no recording of this data set. Nothing was kept."
            )
        sink.write(content)


def not_there(name, paths):
    """The error for a data set that is missing and must not be downloaded."""
    return OSError(
        f"The data set {name} is not in {some(paths)}, and download_if_missing=False. Call"
        f" fetch_{name}() to download it; SKSPEECH_DATA or data_home= names another folder."
    )


def locked(folder):
    """A lock on a writable folder that one process at a time holds."""
    import filelock

    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise OSError(
            f"Cannot write a download to {str(folder)!r}: {error}. Set SKSPEECH_DATA or data_home="
            " to a folder that can be written to."
        ) from error
    return filelock.FileLock(folder / ".lock")


class Apt:
    """Downloads Debian packages without installing them, which needs no root.

    If the system's package lists are not enough, for example on a new machine without any, private
    ones are fetched into the scratch folder.
    """

    def __init__(self, scratch):
        self.scratch = scratch
        self.options = ["-o", "Acquire::Retries=2", "-o", "Acquire::http::Timeout=30"]
        self.has_own_lists = False

    def download(self, package):
        """Path of the downloaded package."""
        try:
            self._get("download", package)
        except OSError:
            if self.has_own_lists:
                raise
            self._update()
            self._get("download", package)
        return next(self.scratch.glob(f"{package}_*.deb"))

    def _update(self):
        lists, cache = self.scratch / "lists", self.scratch / "cache"
        (lists / "partial").mkdir(parents=True)
        (cache / "archives" / "partial").mkdir(parents=True)
        self.options += ["-o", f"Dir::State::lists={lists}", "-o", f"Dir::Cache={cache}"]
        self._get("update", "-o", "APT::Update::Error-Mode=any")
        self.has_own_lists = True

    def _get(self, *arguments):
        run(["apt-get", *self.options, *arguments], cwd=self.scratch)


def run(command, cwd=None):
    """Run a command quietly; if it fails, its output becomes the error."""
    done = subprocess.run(command, cwd=cwd, capture_output=True, text=True, check=False)
    if done.returncode:
        said = done.stderr.strip() or done.stdout.strip()
        raise OSError(f"'{' '.join(map(str, command))}' failed:\n{said}")
