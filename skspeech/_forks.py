"""What a fork of this process must not inherit: locks that threads of its parent hold."""

import os

__all__ = ["in_each_fork"]


def in_each_fork(function):
    """Run a function in each process that is forked from this one, before anything else.

    Only the thread that forks exists in the fork, so a lock that another thread held at that moment
    is never released there: code that keeps a lock for the whole process has to make a new one.
    Executors and other libraries fork, too.

    Parameters
    ----------
    function : callable
        Without arguments.

    Returns
    -------
    callable
        The function.
    """
    if hasattr(os, "register_at_fork"):
        os.register_at_fork(after_in_child=function)
    return function
