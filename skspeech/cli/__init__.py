"""The command ``skspeech``, and how it handles errors.

Results go to standard output, everything else to standard error. The exit status is

====  ==============================================================================
0     All went well.
1     Done in part: some clips could not be read, or weights could not be had.
2     A mistake in what was asked for, or in the files that it needs; nothing was done. So
      it is where no clip could be read.
130   Interrupted by Ctrl-C. A fit saves the best that it has found by then.
====  ==============================================================================
"""

import contextlib
import io
import os
import sys
import warnings

import click

# Each adds its command to the group.
from skspeech.cli import (  # noqa: F401
    app,
    audit,
    benchmark,
    cross_validate,
    embed,
    evaluate,
    export,
    fit,
    info,
    predict,
    report,
    serve,
    timeline,
    weights,
)
from skspeech.cli.common import INTERRUPTED, MISTAKE, PARTIAL, lead_nowhere, say, skspeech
from skspeech.cli.wording import in_our_words, is_of, news

__all__ = ["main"]


def run():
    """Run the command and end the process when its output is written, whatever still computes.

    The interpreter would wait for threads that a library left behind, or crash on them.
    """
    _open_closed_streams()
    status = main()
    session = sys.modules.get("skspeech.time_budget.session")
    if session is not None and session.close_sessions(patience=0.5, importing=0.0):
        with contextlib.suppress(OSError, ValueError):
            sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)
    sys.exit(status)


def _open_closed_streams():
    """Let standard streams that the caller closed lead nowhere; Python has None for them.

    The next files to be opened would get their numbers, and messages would end up in these.
    """
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, mode))  # noqa: SIM115


def main(argv: list[str] | None = None) -> int:
    """Run the command line.

    Parameters
    ----------
    argv : list of str or None, default=None
        The arguments; None takes those of the process.

    Returns
    -------
    int
        The exit status.

    Examples
    --------
    >>> from skspeech.cli import main
    >>> main(["--version"])
    skspeech 0.1.0
    0
    """
    with _plain_warnings(), _any_file_names():
        try:
            status = skspeech.main(args=argv, prog_name="skspeech", standalone_mode=False)
            sys.stdout.flush()
            return status or 0
        except click.exceptions.Abort:
            say("Interrupted.")
            return INTERRUPTED
        except click.ClickException as error:
            error.show()
            return error.exit_code
        except SystemExit as end:  # click does so when nothing reads the output any more
            return end.code  # type: ignore[return-value]
        except BrokenPipeError:  # the same, outside click
            lead_nowhere(sys.stdout)
            return PARTIAL
        except Exception as error:
            if not _is_a_users(error) or os.environ.get("SKSPEECH_TRACEBACK"):
                raise
            say(f"Error: {in_our_words(error)}")
            return PARTIAL if _is_for_want_of_weights(error) else MISTAKE


# A fit that has no model ends with an error, which gives the reasons.
_TOLD_OTHERWISE = "No candidate was trained"


def _is_a_users(error):
    is_known = isinstance(error, ValueError | OSError | ImportError)
    return is_known or is_of(error, "skspeech.weights", "WeightsError")


def _is_for_want_of_weights(error):
    return is_of(error, "skspeech.weights", "WeightsNotFoundError")


@contextlib.contextmanager
def _plain_warnings():
    """Show warnings without the source line that they come from, and each of them once."""
    told = set()

    def show(message, category, filename, lineno, file=None, line=None):
        text = in_our_words(message)
        if not str(message).startswith(_TOLD_OTHERWISE) and (new := news(text, told)):
            say(f"Warning: {new}")

    with warnings.catch_warnings():
        warnings.showwarning = show
        yield


@contextlib.contextmanager
def _any_file_names():
    """Read and write file names as they are, even if they are not valid in the encoding."""
    streams = [s for s in (sys.stdin, sys.stdout) if isinstance(s, io.TextIOWrapper)]
    former = [stream.errors for stream in streams]
    for stream in streams:
        stream.reconfigure(errors="surrogateescape")
    try:
        yield
    finally:
        for stream, errors in zip(streams, former):
            with contextlib.suppress(OSError):  # nobody reads any more
                stream.reconfigure(errors=errors)
