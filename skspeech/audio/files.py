"""Open files, with a plain reason where that fails, and compute digests of their content."""

import collections
import hashlib
import io
import os
import re
import stat
import threading
import time

import numpy as np

from skspeech._files import file_state
from skspeech.audio.errors import first_line, printable

__all__ = []

OF_FOLDERS = (
    "Of a folder of clips give the files, as in sorted(Path(folder).rglob('*.wav')), or, where its "
    "sub-folders are classes, the data that skspeech.datasets.load_audio_folder returns."
)
HEADERLESS = (".gsm", ".vox")
"""Suffixes of files without a header: only the name says what they hold."""


def open_source(source):
    """A binary file, from a path or from the content itself."""
    return io.BytesIO(source) if isinstance(source, bytes) else open_file(source)


def open_file(path):
    file_status(path)
    try:
        return open(path, "rb", buffering=0)
    except OSError as error:
        raise _bare(error, path) from None


def file_status(path):
    """The status of a regular, non-empty file; opening a pipe would wait for a writer."""
    try:
        status = os.stat(path)
    except OSError as error:
        raise _bare(error, path) from None
    except ValueError as error:  # a null character, or a character that no file name can have
        raise ValueError(f"is not a path ({first_line(error)}).") from None
    if stat.S_ISDIR(status.st_mode):
        raise IsADirectoryError(f"is a folder. {OF_FOLDERS}")
    if not stat.S_ISREG(status.st_mode):
        raise OSError("is not a regular file.")
    if status.st_size == 0:
        raise ValueError("is an empty file (0 bytes).")
    return status


def _bare(error, path):
    """An error of the operating system whose message is the reason only, without errno and path."""
    if isinstance(error, FileNotFoundError):
        if re.match("[A-Za-z0-9]{2,}://", os.fspath(path)):  # one letter is a drive
            return FileNotFoundError("is an address, not a file. Download it, and give its path.")
        where = "" if os.path.isabs(path) else f" (looked in {printable(os.getcwd())})"
        return FileNotFoundError(f"no such file{where}.")
    return type(error)(f"cannot be opened ({error.strerror}).")


def digest_held(source, sampling_rate):
    """Digest of what is in memory: a file's content, or a waveform."""
    if isinstance(source, bytes):
        return digest_file(io.BytesIO(source))
    digest = hashlib.blake2b(digest_size=16)
    digest.update(f"{source.dtype.str} {source.shape} {sampling_rate!r};".encode())
    digest.update(np.ascontiguousarray(source).data)
    return digest.hexdigest()


def digest_file(file):
    digest = hashlib.blake2b(digest_size=16)
    buffer = memoryview(bytearray(2**20))
    while n_read := file.readinto(buffer):
        digest.update(buffer[:n_read])
    return digest.hexdigest()


class FileKeys:
    """Digests of files' bytes, remembered while a file's size and times stay the same."""

    # Two writes to a file within this many nanoseconds may show the same time.
    _RACY = 2_000_000_000

    def __init__(self, max_files):
        self._max_files = max_files
        self._known = collections.OrderedDict()
        self._lock = threading.Lock()

    def get(self, path):
        path = os.path.abspath(path)
        state = file_state(file_status(path))
        with self._lock:
            known = self._known.get(path)
            if known is not None and known[0] == state:
                self._known.move_to_end(path)
                return known[1]
        with open_file(path) as file:
            key = digest_file(file)
        if (suffix := os.path.splitext(path)[1].lower()) in HEADERLESS:
            key += suffix
        if state == file_state(file_status(path)) and time.time_ns() - state[1] > self._RACY:
            self._remember(path, state, key)
        return key

    def _remember(self, path, state, key):
        with self._lock:
            self._known[path] = (state, key)
            while len(self._known) > self._max_files:
                self._known.popitem(last=False)


FILE_KEYS = FileKeys(max_files=2**18)
