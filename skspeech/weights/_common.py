"""Errors, and commands that run in another process."""

import contextlib
import subprocess
import sys
from pathlib import Path

_TIMEOUT = 900  # seconds, of a subprocess that downloads or converts


class WeightsError(RuntimeError):
    """Pretrained weights are unavailable, or are not what they should be."""


class WeightsNotFoundError(WeightsError):
    """Pretrained weights are not on this machine and could not be downloaded.

    Parameters
    ----------
    message : str
        What is missing, why, and how to get it.
    reason : str, default=""
        Only why.
    """

    def __init__(self, message, reason=""):
        super().__init__(message)
        self.reason = reason


@contextlib.contextmanager
def readable(path):
    """Turn an error of the file system into one that names the file of weights."""
    try:
        yield
    except OSError as error:
        reason = error.strerror or error
        raise WeightsError(f"The file of weights {str(path)!r} cannot be read: {reason}.") from None


class CommandError(Exception):
    """A command failed; the message holds the end of its output."""


def run(command, *, show=False, **options):
    """Run a command quietly, or with its output if `show`; raise an error if it fails."""
    try:
        done = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            stdout=sys.stderr if show else subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            errors="replace",
            timeout=_TIMEOUT,
            check=False,
            **options,
        )
    except subprocess.TimeoutExpired:
        raise CommandError(f"{Path(command[0]).name} took more than {_TIMEOUT} s") from None
    if done.returncode:
        raise CommandError("\n".join(done.stderr.strip().splitlines()[-8:]))


def say(progress, text):
    """Print a message to standard error, if `progress` and somebody reads it."""
    if progress:
        with contextlib.suppress(BrokenPipeError):
            print(f"skspeech: {text}", file=sys.stderr, flush=True)
