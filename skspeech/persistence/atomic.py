"""Write files atomically: afterwards a file is complete, or unchanged."""

import contextlib
import os
import stat
import uuid
from pathlib import Path

__all__ = ["atomic_writer"]


@contextlib.contextmanager
def atomic_writer(path):
    """Open a binary file that replaces `path` once it is completely on disk.

    Parameters
    ----------
    path : path-like
        The file to write; its folder has to exist. A link stays one: the file that it leads to is
        replaced. Who may read a file that is replaced may read the new one.

    Yields
    ------
    file
        Open for writing. If the block fails, nothing at `path` has changed.
    """
    path = Path(os.path.realpath(path))
    if path.is_dir():
        raise IsADirectoryError(f"{str(path)!r} is a folder; give the name of a file.")
    if not path.parent.is_dir():
        raise FileNotFoundError(
            f"There is no folder {str(path.parent)!r} to write {path.name!r} into."
        )
    unfinished = path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}.unfinished")
    try:
        with open(unfinished, "xb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        with contextlib.suppress(OSError):  # there is no old file, or it is someone else's
            unfinished.chmod(stat.S_IMODE(path.stat().st_mode))
        os.replace(unfinished, path)
    finally:
        unfinished.unlink(missing_ok=True)
