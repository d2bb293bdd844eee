"""Cache of embeddings, by clip.

Extractors learn nothing, so the embedding of a clip depends only on its content, the extractor's
parameters and the weights. It is computed once and then reused by all folds, members of an ensemble
and predictions: from memory by default, and also from disk if an extractor's ``memory`` names a
folder.
"""

import contextlib
import errno
import functools
import hashlib
import os
import random
import sqlite3
import threading
import time
from collections import OrderedDict
from pathlib import Path

import numpy as np

from skspeech._forks import in_each_fork
from skspeech._typing import Memory
from skspeech._warning import warn

__all__ = ["DiskStore", "EmbeddingCache", "MemoryStore", "clear", "memory_store", "open_cache"]

_DEFAULT_MAX_BYTES = 256 * 2**20
_DATABASE = "embeddings-v2.sqlite"
# In its smallest configuration, SQLite allows 999 placeholders.
_KEYS_PER_QUERY = 500
# Seconds to wait for a file that other processes have locked, and after one such wait has failed.
_PATIENCE, _LITTLE_PATIENCE = 60.0, 1.0


class MemoryStore:
    """The most recently used embeddings, in bounded memory. Safe to use from several threads.

    Parameters
    ----------
    max_bytes : int, default=268435456
        Bytes of embeddings to keep; the least recently used ones are dropped first.

    Examples
    --------
    >>> import numpy as np
    >>> from skspeech.cache import MemoryStore
    >>> store = MemoryStore(max_bytes=1000)
    >>> store.set_many({"a": np.zeros(100, dtype=np.float32)})
    >>> sorted(store.get_many(["a", "b"]))
    ['a']
    """

    def __init__(self, max_bytes=_DEFAULT_MAX_BYTES):
        self.max_bytes = max_bytes
        self._values = OrderedDict()
        self._n_bytes = 0
        self._added = []  # for each open block of `for_now`, what was remembered in it
        self._lock = threading.Lock()

    def __len__(self):
        return len(self._values)

    @property
    def n_bytes(self):
        """Bytes of embeddings held now."""
        return self._n_bytes

    def get_many(self, keys):
        """Find embeddings.

        Parameters
        ----------
        keys : iterable of str

        Returns
        -------
        dict of str to ndarray
            Those that were found. The arrays are read-only.
        """
        found = {}
        with self._lock:
            for key in keys:
                value = self._values.get(key)
                if value is not None:
                    self._values.move_to_end(key)
                    found[key] = value
        return found

    def set_many(self, items):
        """Remember embeddings.

        Parameters
        ----------
        items : dict of str to ndarray
        """
        with self._lock:
            for key, value in items.items():
                if value.nbytes > self.max_bytes:
                    continue
                value = np.array(value)
                value.setflags(write=False)
                replaced = self._values.pop(key, None)
                self._n_bytes += value.nbytes - (0 if replaced is None else replaced.nbytes)
                self._values[key] = value
                if replaced is None:
                    for added in self._added:
                        added.add(key)
            while self._n_bytes > self.max_bytes:
                self._n_bytes -= self._values.popitem(last=False)[1].nbytes

    @contextlib.contextmanager
    def for_now(self):
        """Forget at the end of a block what was remembered in it, by whatever thread."""
        added = set()
        with self._lock:
            self._added.append(added)
        try:
            yield
        finally:
            with self._lock:
                self._added = [other for other in self._added if other is not added]
                for key in added & self._values.keys():
                    self._n_bytes -= self._values.pop(key).nbytes

    def clear(self):
        """Forget everything."""
        with self._lock:
            self._values.clear()
            self._n_bytes = 0


class DiskStore:
    """Embeddings in one SQLite file, shared by processes; each with a checksum.

    Processes wait for each other, up to a minute. If the folder can't be written or the disk is
    full, there is only a warning: stored embeddings are still read, and others are computed.

    Parameters
    ----------
    folder : str or path-like
        Made when missing.

    Examples
    --------
    >>> import tempfile
    >>> import numpy as np
    >>> from skspeech.cache import DiskStore
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     store = DiskStore(folder)
    ...     store.set_many({"a": np.arange(3, dtype=np.float32)})
    ...     value = DiskStore(folder).get_many(["a"])["a"]
    ...     store.close()
    >>> value
    array([0., 1., 2.], dtype=float32)
    """

    def __init__(self, folder):
        self.folder = Path(folder).absolute()
        self.path = self.folder / _DATABASE
        self._local = threading.local()
        self._warned = False

    def __reduce__(self):
        return (DiskStore, (self.folder,))

    def get_many(self, keys):
        """Find embeddings; see :meth:`MemoryStore.get_many`."""
        keys = list(keys)
        found = {}
        with self._guarded("read"):
            if not self.path.exists():
                return found
            for begin in range(0, len(keys), _KEYS_PER_QUERY):
                some = keys[begin : begin + _KEYS_PER_QUERY]
                found.update(self._patiently(lambda some=some: dict(self._select(some))))
        return found

    def set_many(self, items):
        """Remember embeddings; see :meth:`MemoryStore.set_many`."""
        if not items:
            return
        rows = [(key, *_encode(key, value)) for key, value in items.items()]
        with self._guarded("write"):
            self.folder.mkdir(parents=True, exist_ok=True)
            if not self.path.exists():
                self.close()  # what it leads to was deleted
            self._patiently(lambda: self._insert(rows))

    def close(self):
        """Close this thread's connection to the file."""
        connection = getattr(self._local, "connection", None)
        if connection is not None:
            connection.close()
            self._local.connection = None

    def _patiently(self, action):
        """Retry while other processes have the file locked.

        SQLite itself waits while they write, but not while they create the file.
        """
        patience = _LITTLE_PATIENCE if self._warned else _PATIENCE
        deadline = time.monotonic() + patience
        while True:
            try:
                return action()
            except sqlite3.OperationalError as error:
                if not _is_held(error) or time.monotonic() > deadline:
                    raise
                self.close()
                time.sleep(random.uniform(0.01, 0.1))

    def _insert(self, rows):
        with self._connection(create=True) as connection:
            connection.executemany("INSERT OR REPLACE INTO embeddings VALUES (?, ?, ?, ?)", rows)

    def _select(self, keys):
        places = ",".join("?" * len(keys))
        query = f"SELECT key, shape, checksum, value FROM embeddings WHERE key IN ({places})"
        for key, *encoded in self._connection().execute(query, keys):
            value = _decode(key, *encoded)
            if value is not None:
                yield key, value

    def _connection(self, create=False):
        """This thread's connection: a connection can't be shared, or used after a fork."""
        local = self._local
        if getattr(local, "connection", None) is None or local.pid != os.getpid():
            writable = create or os.access(self.folder, os.W_OK)
            local.connection = self._connect() if writable else self._connect_read_only()
            local.pid = os.getpid()
        return local.connection

    def _connect(self):
        connection = sqlite3.connect(self.path, timeout=min(1.0, _PATIENCE))
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("PRAGMA synchronous=NORMAL")
        connection.execute(
            "CREATE TABLE IF NOT EXISTS embeddings"
            " (key TEXT PRIMARY KEY, shape TEXT, checksum BLOB, value BLOB) WITHOUT ROWID"
        )
        return connection

    def _connect_read_only(self):
        return sqlite3.connect(f"{self.path.as_uri()}?mode=ro&immutable=1", uri=True)

    @contextlib.contextmanager
    def _guarded(self, action):
        """Turn errors into warnings: a cache that fails must never stop the work."""
        try:
            yield
        except (OSError, sqlite3.Error) as error:
            self.close()
            if _is_damage(error):
                self._set_aside()
            if not self._warned:
                self._warned = True
                warn(
                    f"The cache of embeddings {str(self.path)!r} could not be used to {action} "
                    f"({error}). Embeddings are computed instead, which takes longer but gives "
                    f"the same result. {_advice(error)}"
                )

    def _set_aside(self):
        """Rename a damaged file; the next write creates a new one."""
        with contextlib.suppress(OSError):
            os.replace(self.path, self.path.with_suffix(".damaged"))
        for suffix in ("-wal", "-shm"):
            with contextlib.suppress(OSError):
                os.remove(f"{self.path}{suffix}")


def _is_damage(error):
    damaged = ("malformed", "not a database", "disk image", "no such column")
    return isinstance(error, sqlite3.DatabaseError) and any(d in str(error) for d in damaged)


def _is_held(error):
    return isinstance(error, sqlite3.OperationalError) and "lock" in str(error)


def _advice(error):
    """What to do about it."""
    if _is_held(error):
        return (
            "The file was held by other processes all the time. A folder on this machine's own "
            "disk is shared best; one on the network may not know locks."
        )
    if _is_damage(error):
        return "The damaged file was set aside, and a new one is begun."
    if "disk is full" in str(error) or getattr(error, "errno", None) == errno.ENOSPC:
        return "The disk is full: free some of it, or pass another folder as memory=."
    return "Make the folder writable, or pass another one as memory=."


def _checksum(key, shape, data):
    return hashlib.blake2b(f"{key} {shape} ".encode() + data, digest_size=16).digest()


def _encode(key, value):
    value = np.ascontiguousarray(value, dtype=np.float32)
    shape, data = ",".join(map(str, value.shape)), value.tobytes()
    return shape, _checksum(key, shape, data), data


def _decode(key, shape, checksum, data):
    """The array, or None if its checksum shows that it is damaged."""
    try:
        if _checksum(key, shape, data) != checksum:
            return None
        return np.frombuffer(data, dtype=np.float32).reshape([int(n) for n in shape.split(",")])
    except (AttributeError, TypeError, ValueError):
        return None


class EmbeddingCache:
    """Several stores, searched from the fastest to the slowest.

    Parameters
    ----------
    stores : list of MemoryStore or DiskStore
        Embeddings found in a later store are written to the earlier ones.

    Examples
    --------
    >>> import numpy as np
    >>> from skspeech.cache import EmbeddingCache, MemoryStore
    >>> cache = EmbeddingCache([MemoryStore()])
    >>> cache.set_many({"a": np.ones(2, dtype=np.float32)})
    >>> cache.get_many(["a"])["a"]
    array([1., 1.], dtype=float32)
    """

    def __init__(self, stores):
        self.stores = list(stores)

    def get_many(self, keys):
        """Find embeddings; see :meth:`MemoryStore.get_many`."""
        missing = dict.fromkeys(keys)
        found = {}
        for level, store in enumerate(self.stores):
            if not missing:
                break
            here = store.get_many(missing)
            for faster in self.stores[:level]:
                faster.set_many(here)
            found.update(here)
            missing = {key: None for key in missing if key not in here}
        return found

    def set_many(self, items):
        """Remember embeddings in every store."""
        for store in self.stores:
            store.set_many(items)


_memory_store = MemoryStore()


@in_each_fork
def _renew_memory_store():
    """After a fork: another thread of the parent may have been in the middle of a change."""
    _memory_store.__init__(_memory_store.max_bytes)


def memory_store() -> MemoryStore:
    """The memory store that all extractors of this process share.

    Returns
    -------
    MemoryStore
        It holds at most ``max_bytes``, 256 MB unless set otherwise; ``clear()`` empties it.

    Examples
    --------
    >>> from skspeech.cache import memory_store
    >>> memory_store().max_bytes
    268435456
    """
    return _memory_store


def clear() -> None:
    """Forget all embeddings in this process's memory. Those on disk stay.

    Examples
    --------
    >>> from skspeech import cache
    >>> cache.clear()
    >>> len(cache.memory_store())
    0
    """
    _memory_store.clear()


@functools.lru_cache(maxsize=64)
def _disk_store(folder):
    return DiskStore(folder)


def open_cache(memory: Memory = None) -> EmbeddingCache:
    """Open the cache that an extractor's ``memory`` parameter asks for.

    Parameters
    ----------
    memory : None, False, str, path-like or joblib.Memory, default=None
        None keeps the most recently used 256 MB of embeddings in this process's memory; see
        :func:`memory_store`. A folder, or a :class:`joblib.Memory` (whose folder is used), keeps
        them on disk as well, for other processes and later sessions. False keeps nothing.

    Returns
    -------
    EmbeddingCache

    Raises
    ------
    TypeError
        If `memory` is none of these.
    ValueError
        If it is an empty text.

    Examples
    --------
    >>> from skspeech.cache import open_cache
    >>> len(open_cache(None).stores)
    1
    >>> len(open_cache(False).stores)
    0
    """
    if memory is False:
        return EmbeddingCache([])
    if memory is None:
        return EmbeddingCache([_memory_store])
    location = getattr(memory, "location", memory)
    if location is None:
        return EmbeddingCache([_memory_store])
    if location == "":
        raise ValueError(
            "memory='' names no folder. Use None for memory alone, or '.' for the current folder."
        )
    if not isinstance(location, (str, os.PathLike)):
        raise TypeError(
            f"memory={memory!r} is not accepted. Use None (in memory), a folder or a joblib.Memory "
            "(on disk as well), or False (no cache)."
        )
    folder = Path(location).expanduser().absolute() / "skspeech"
    return EmbeddingCache([_memory_store, _disk_store(folder)])
