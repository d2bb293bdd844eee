"""The command ``skspeech app``."""

import contextlib
import os
import shutil
import signal
import tempfile
import webbrowser
from pathlib import Path

import click

from skspeech._extras import how_to_install
from skspeech.cli.address import address_options, listen
from skspeech.cli.audited import training_clips
from skspeech.cli.common import labelled_options, say, skspeech
from skspeech.cli.interrupts import Interrupts
from skspeech.cli.models import load_classifier
from skspeech.cli.quantities import SECONDS

__all__ = []

_LOCAL = ("127.0.0.1", "localhost")
_AS_FIT = {"preset": "best", "time_budget": 60.0, "strict": False}


@skspeech.command("app", short_help="Open a page to train and try models on.")
@click.argument("data", type=click.Path(exists=True), required=False)
@click.option(
    "--model",
    type=click.Path(exists=True, dir_okay=False),
    help="A model that fit or the page has saved, to be tried and nothing else.",
)
@address_options(7860)
@click.option(
    "--max-seconds",
    type=SECONDS,
    default=60.0,
    show_default=True,
    help="The longest clip that is accepted to train on; of longer ones to try, the beginning is "
    "listened to.",
)
@click.option("--open", "opens", is_flag=True, help="Open the page in a browser.")
@labelled_options
def _app(data, model, host, port, max_bytes, max_seconds, opens, **options):
    """Open a page in a browser, on which to train and try models.

    Drop recordings, or record them, into classes; see what is doubtful about them; train, and watch
    the score; listen to the mistakes and correct labels; try the model on new recordings; save it.

    DATA is a folder with a sub-folder for each class, or a table, as for fit: the page then begins
    with these clips. They are not changed.

    Only this machine can open the page, unless --host says otherwise. There are no passwords and
    no encryption. Nothing is sent to other machines, and what is added on the page is removed at
    the end. Ctrl-C or SIGTERM ends it.
    """
    if data is not None and model is not None:
        raise click.UsageError("Give DATA to train on, or --model to try one.")
    folder = Path(tempfile.mkdtemp(prefix="skspeech-app-"))
    try:
        with Interrupts(), _hang_up_ends_it():
            _run(folder, data, model, host, port, max_bytes, max_seconds, opens, options)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextlib.contextmanager
def _hang_up_ends_it():
    """Let the end of a terminal be the same as SIGTERM, so that nothing stays behind."""
    hang_up = getattr(signal, "SIGHUP", None)
    former = signal.getsignal(hang_up) if hang_up else None
    if former in (None, signal.SIG_IGN):
        yield
        return
    signal.signal(hang_up, lambda *_: signal.raise_signal(signal.SIGTERM))
    try:
        yield
    finally:
        signal.signal(hang_up, former)


def _run(folder, data, model, host, port, max_bytes, max_seconds, opens, options):
    # Gradio reads both when it is imported.
    os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
    os.environ["GRADIO_TEMP_DIR"] = str(folder / "uploads")
    try:
        import gradio  # noqa: F401
        import uvicorn
    except ImportError as error:
        raise ImportError(f"The page needs Gradio: {how_to_install('app')}.") from error
    from skspeech.app.clips import Limits
    from skspeech.app.page import create_app
    from skspeech.app.training import Settings

    listener, url = listen(host, port)
    with listener:
        clips, classifier = [], None
        if data is not None:
            clips = _collected(data, training_clips(data, {**_AS_FIT, **options})[0])
        if model is not None:
            classifier = load_classifier(
                model, options["device"], options["n_jobs"], options["quiet"]
            )
        app = create_app(
            folder,
            Limits(max_bytes=max_bytes, max_seconds=max_seconds),
            Settings(device=options["device"] or "auto", n_jobs=options["n_jobs"]),
            clips,
            classifier,
            is_local=host in _LOCAL,
        )
        config = uvicorn.Config(
            app,
            log_level="critical",
            limit_concurrency=256,
            timeout_graceful_shutdown=1,  # an open page never hangs up
            server_header=False,
        )
        say(f"The page is at {url}. Ctrl-C ends it.")
        if opens:
            webbrowser.open(url)
        try:
            uvicorn.Server(config).run(sockets=[listener])
        finally:
            app.state.close()


def _collected(data, labelled):
    """The clips as a visitor sees them, with names relative to the folder or table."""
    from skspeech.app.clips import Collected

    top = Path(data) if Path(data).is_dir() else Path(data).parent
    groups = labelled.groups if labelled.groups is not None else [""] * len(labelled)
    return [
        Collected(str(path), os.path.relpath(path, top), str(label), str(group))
        for path, label, group in zip(labelled.paths, labelled.labels, groups)
    ]
