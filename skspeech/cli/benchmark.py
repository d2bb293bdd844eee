"""The command ``skspeech benchmark``."""

import contextlib
import os
import sys

import click

from skspeech.cli.common import EXIT_STATUS, PARTIAL, json_option, quiet_option, say, skspeech
from skspeech.cli.quantities import SECONDS
from skspeech.cli.shown import to_json

__all__ = []


@skspeech.command("benchmark", short_help="Run the AutoSpeech challenge.", epilog=EXIT_STATUS)
@click.argument("dataset_dir", type=click.Path(exists=True, file_okay=False))
@click.option(
    "--code-dir",
    type=click.Path(exists=True, file_okay=False),
    help="Folder of a participant's model.py; without it, skspeech's own model runs.",
)
@click.option(
    "--time-budget",
    type=SECONDS,
    metavar="TIME",
    help="Time budget, such as 90s, 2m or 1h30m; by default the data set's own.",
)
@click.option(
    "--output-dir",
    type=click.Path(file_okay=False),
    default="ingestion_output",
    show_default=True,
    help="Folder for the answers.",
)
@click.option(
    "--score-dir",
    type=click.Path(file_okay=False),
    default="scoring_output",
    show_default=True,
    help="Folder for the scores and the learning curve.",
)
@quiet_option
@json_option
def _benchmark(dataset_dir, code_dir, time_budget, output_dir, score_dir, quiet, as_json):
    """Run a model on DATASET_DIR by the protocol of the AutoSpeech challenge, and score it.

    The score is the area under the learning curve (ALC): balanced accuracy against time.
    """
    import pickle

    from skspeech.challenge import run_local_test

    try:
        with _stdout_to_stderr(quiet):
            result = run_local_test(
                dataset_dir,
                code_dir,
                output_dir=output_dir,
                score_dir=score_dir,
                time_budget=time_budget,
            )
    except pickle.UnpicklingError as error:
        raise ValueError(str(error)) from None
    if as_json:
        click.echo(to_json({key: _text_path(value) for key, value in result.items()}))
    else:
        for seconds, score in zip(result.times, result.scores):
            click.echo(f"{seconds:10.2f} s   balanced accuracy {score:.4f}")
        click.echo(
            f"ALC: {result.alc:.4f} (area under the learning curve; 1 is perfect from the start)"
        )
    if not result.success:
        say("The model failed; its answers up to then are scored.")
    return 0 if result.success else PARTIAL


@contextlib.contextmanager
def _stdout_to_stderr(quiet):
    """Let the model's own process write to standard error, or nowhere."""
    sys.stdout.flush()
    kept = os.dup(1)
    target = os.open(os.devnull, os.O_WRONLY) if quiet else os.dup(2)
    os.dup2(target, 1)
    try:
        yield
    finally:
        os.dup2(kept, 1)
        os.close(kept)
        os.close(target)


def _text_path(value):
    return str(value) if isinstance(value, os.PathLike) else value
