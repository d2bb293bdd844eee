"""Cancel work while it runs.

A thread cannot be killed. So code that works in pieces checks between two of them whether the
result is still needed, and raises :class:`Stopped` if not.
"""

import contextlib
import contextvars

__all__ = ["Stopped", "stop_check", "stoppable"]

_is_stopped = contextvars.ContextVar("skspeech_is_stopped", default=None)


class Stopped(BaseException):
    """This work was cancelled. A BaseException, so that no `except Exception` catches it."""


@contextlib.contextmanager
def stoppable(is_stopped):
    """Let work inside the block end early.

    Parameters
    ----------
    is_stopped : callable
        Without arguments; returns whether the work of the block is cancelled. It is called from
        other threads, too.
    """
    token = _is_stopped.set(is_stopped)
    try:
        yield
    finally:
        _is_stopped.reset(token)


def stop_check():
    """Return a function to call between two pieces of work, in any thread.

    Returns
    -------
    callable
        Raises :class:`Stopped` if the work that called `stop_check` is cancelled.
    """
    is_stopped = _is_stopped.get()

    def check():
        if is_stopped is not None and is_stopped():
            raise Stopped

    return check
