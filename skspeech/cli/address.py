"""Where a command listens, and how large what it accepts may be: for ``serve`` and ``app``."""

import socket

import click

from skspeech.cli.common import options_of

__all__ = ["address_options", "listen"]


def address_options(port):
    """The options ``--host``, ``--port`` and ``--max-bytes``, with a default port."""
    return options_of(
        click.option(
            "--host",
            default="127.0.0.1",
            show_default=True,
            help="The address to listen at; 0.0.0.0 is reached from other machines, too.",
        ),
        click.option(
            "--port",
            type=click.IntRange(0, 65535),
            default=port,
            show_default=True,
            help="0 takes any that is free.",
        ),
        click.option(
            "--max-bytes",
            type=click.IntRange(min=1),
            default=20_000_000,
            show_default=True,
            help="The largest file that is accepted.",
        ),
    )


def listen(host, port):
    """A socket that listens, made before the work: another program may use the port already.

    Returns
    -------
    listener : socket
    url : str
        Its address; with port 0, the one that was free.
    """
    try:
        listener = socket.create_server((host, port), backlog=128)
    except OSError as error:
        raise click.UsageError(f"Can't listen at {host}, port {port}: {error.strerror}.") from None
    return listener, f"http://{host}:{listener.getsockname()[1]}"
