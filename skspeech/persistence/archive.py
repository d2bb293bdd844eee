"""Open, check and read the zip archive of a model file."""

import contextlib
import hashlib
import json
import zipfile
from pathlib import Path

from skspeech.persistence.errors import ModelFileError

__all__ = []

_FORMAT = "skspeech model"


_FORMAT_VERSION = 1


_MODEL, _METADATA, _SCHEMA = "model.skops", "metadata.json", "schema.json"


_MAX_METADATA = 1 << 20  # bytes


@contextlib.contextmanager
def _open_archive(path):
    path = Path(path)
    size = path.stat().st_size
    with open(path, "rb") as file:
        try:
            with zipfile.ZipFile(file) as archive:
                _check_archive(archive, size, path)
                yield archive
        except (zipfile.BadZipFile, EOFError, NotImplementedError, UnicodeDecodeError) as error:
            raise ModelFileError(_damaged(path, error)) from None


def _damaged(path, reason):
    hint = "It is no model file of skspeech, or it is damaged: save the model again."
    with open(path, "rb") as file:
        start = file.read(2)
    if start[:1] == b"\x80":
        hint = "It seems to be a pickle, which runs what is in it; skspeech.load reads none."
    return f"{str(path)!r} can't be loaded: {reason}. {hint}"


def _check_archive(archive, size, path):
    """Refuse archives that need more memory than disk space, or whose members have other names."""
    members = archive.infolist()
    names = [member.filename for member in members]
    if sorted(names) != [_METADATA, _MODEL]:
        listed = ", ".join(map(repr, names[:5]))
        raise ModelFileError(_damaged(path, f"it holds {listed or 'nothing'}"))
    _check_stored(members, size, path)


def _check_stored(members, size, path):
    for member in members:
        if not 0 <= member.header_offset < size:
            raise ModelFileError(_damaged(path, f"{member.filename!r} lies outside of it"))
        packed = member.compress_type != zipfile.ZIP_STORED
        if packed or member.flag_bits & 1 or member.file_size != member.compress_size:
            raise ModelFileError(_damaged(path, f"{member.filename!r} is compressed or encrypted"))
    if sum(member.file_size for member in members) > size:
        raise ModelFileError(_damaged(path, "its members claim more bytes than the file has"))


def _read_metadata(archive, path):
    if archive.getinfo(_METADATA).file_size > _MAX_METADATA:
        raise ModelFileError(_damaged(path, "its metadata are too long"))
    try:
        metadata = json.loads(archive.read(_METADATA))
        if metadata["format"] != _FORMAT:
            raise ModelFileError(_damaged(path, "its format is another one"))
        version = metadata["format_version"]
        _check_metadata(metadata)
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        if isinstance(error, ModelFileError):
            raise
        raise ModelFileError(_damaged(path, "its metadata can't be read")) from None
    if version > _FORMAT_VERSION:
        raise ModelFileError(
            f"{str(path)!r} is of format version {version}, and this skspeech reads versions up to "
            f"{_FORMAT_VERSION}. Use skspeech {metadata['versions'].get('skspeech')} or later."
        )
    return metadata


def _check_metadata(metadata):
    """Raise a TypeError, KeyError or AttributeError if the metadata have the wrong form."""
    if not isinstance(metadata["format_version"], int) or not isinstance(metadata["model"], str):
        raise TypeError
    for name, version in metadata["versions"].items():
        if not isinstance(name + (version or ""), str):
            raise TypeError
    if not all(isinstance(network, str | None) for network in metadata["networks"]):
        raise TypeError
    if not isinstance(metadata["members"][_MODEL]["sha256"], str):
        raise TypeError


def _read_model(archive, metadata, path):
    content = archive.read(_MODEL)
    if hashlib.sha256(content).hexdigest() != metadata["members"][_MODEL]["sha256"]:
        raise ModelFileError(_damaged(path, "the checksum of the model is wrong"))
    return content
