"""Settings of the whole process that code in several threads changes for a while."""

import contextlib
import threading

from skspeech._forks import in_each_fork

__all__ = ["SharedSetting"]


class SharedSetting:
    """A setting that holds from the beginning of the first block to the end of the last one.

    A process that is forked meanwhile begins with what was before: the blocks are its parent's.

    Parameters
    ----------
    change : callable
        Called without arguments when the first block begins. It changes the setting, and returns a
        function that restores what was before.
    """

    def __init__(self, change):
        self._change = change
        self._forget()
        in_each_fork(self._restore_in_fork)

    def _forget(self):
        self._lock = threading.Lock()
        self._blocks = set()
        self._restore = None

    def _restore_in_fork(self):
        restore = self._restore
        self._forget()
        if restore is not None:
            restore()

    @contextlib.contextmanager
    def block(self):
        """Let the setting hold inside a block."""
        block = object()
        with self._lock:
            if not self._blocks:
                self._restore = self._change()
            self._blocks.add(block)
        try:
            yield
        finally:
            with self._lock:
                self._blocks.discard(block)  # not there in a fork
                if not self._blocks and self._restore is not None:
                    self._restore()
                    self._restore = None
