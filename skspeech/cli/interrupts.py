"""Ctrl-C: the first one ends the training and saves the model, the second one gives up."""

import contextlib
import signal
import threading

from skspeech.cli.common import say

__all__ = ["SAVING", "Interrupts"]

SAVING = "Saving the best model so far; press Ctrl-C again to give up."


class Interrupts:
    """Counts requests to end, by Ctrl-C or by a batch system, while its block runs.

    Each raises KeyboardInterrupt, except the first one within `saving`, so that saving a model
    is finished.

    Attributes
    ----------
    count : int
        Number of requests so far.
    """

    _SIGNALS = (signal.SIGINT, signal.SIGTERM)

    def __init__(self):
        self.count = 0
        self._is_saving = False
        self._former = {}

    def __enter__(self):
        if threading.current_thread() is threading.main_thread():
            for number in self._SIGNALS:
                if signal.getsignal(number) is not signal.SIG_IGN:  # a background job ignores it
                    self._former[number] = signal.signal(number, self._take)
        return self

    def __exit__(self, *_):
        for number, handler in self._former.items():
            signal.signal(number, handler)

    def _take(self, *_):
        self.count += 1
        if self.count > 1 or not self._is_saving:
            raise KeyboardInterrupt
        say(SAVING)

    @contextlib.contextmanager
    def saving(self):
        """Finish this block, unless a second request comes."""
        self._is_saving = True
        try:
            yield
        finally:
            self._is_saving = False
