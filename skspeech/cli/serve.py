"""The command ``skspeech serve``."""

import contextlib

import click

from skspeech._extras import how_to_install
from skspeech.cli.address import address_options, listen
from skspeech.cli.common import device_option, n_jobs_option, quiet_option, say, skspeech
from skspeech.cli.interrupts import Interrupts
from skspeech.cli.models import load_classifier
from skspeech.cli.quantities import SECONDS

__all__ = []

_REMEMBERED_BYTES = 32 * 2**20  # a service is seldom asked about the same clip again


@skspeech.command("serve")
@click.argument("model", type=click.Path(exists=True, dir_okay=False))
@address_options(8000)
@click.option(
    "--max-seconds",
    type=SECONDS,
    default=60.0,
    show_default=True,
    help="Longer recordings are cut: only this many seconds are used.",
)
@device_option
@n_jobs_option
@quiet_option
def _serve(model, host, port, max_bytes, max_seconds, device, n_jobs, quiet):
    """Answer over HTTP what a MODEL hears in sound files.

    The MODEL is one that fit has saved. Try it with

    \b
        curl --data-binary @clip.wav http://127.0.0.1:8000/predict

    The answer is JSON. Without --host, only this machine can ask. There are no passwords and no
    encryption: before others may ask, put a web server in front that has both. Ctrl-C or SIGTERM
    ends it, after the requests that have begun.
    """
    try:
        import uvicorn
    except ImportError as error:
        raise ImportError(f"A service needs uvicorn: {how_to_install('serve')}.") from error
    listener, url = listen(host, port)
    with listener, _little_memory():
        # The first process of a container ignores SIGTERM until there is a handler: here this one,
        # and then uvicorn's.
        with Interrupts():
            from skspeech.serving import create_app

            classifier = load_classifier(model, device, n_jobs, quiet)
            app = create_app(classifier, max_bytes=max_bytes, max_seconds=max_seconds)
        config = uvicorn.Config(
            app,
            lifespan="off",
            log_level="warning",
            limit_concurrency=256,
            timeout_keep_alive=5,
            timeout_graceful_shutdown=10,
            server_header=False,
        )
        say(f"Listening at {url}. Ctrl-C ends it.")
        uvicorn.Server(config).run(sockets=[listener])


@contextlib.contextmanager
def _little_memory():
    """Remember fewer embeddings inside the block."""
    from skspeech.cache import memory_store

    store = memory_store()
    before, store.max_bytes = store.max_bytes, _REMEMBERED_BYTES
    try:
        yield
    finally:
        store.max_bytes = before
