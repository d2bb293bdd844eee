"""The command ``skspeech fit``."""

import contextlib
import signal
import threading
from pathlib import Path

import click
import numpy as np

from skspeech.cli.common import (
    EXIT_STATUS,
    INTERRUPTED,
    PARTIAL,
    check_output,
    columns_options,
    device_option,
    json_option,
    n_jobs_option,
    overwrite_option,
    quiet_option,
    say,
    skspeech,
)
from skspeech.cli.inputs import check_clips, read_labelled, split
from skspeech.cli.models import score
from skspeech.cli.quantities import SECONDS, SHARE
from skspeech.cli.shown import FitProgress, fit_results, print_fit, print_scores, to_json

__all__ = []


@skspeech.command("fit", epilog=EXIT_STATUS)
@click.argument("data", type=click.Path(exists=True))
@click.option(
    "-o", "--output", required=True, type=click.Path(dir_okay=False), help="The model file."
)
@click.option(
    "--time-budget",
    type=SECONDS,
    default="60s",
    show_default=True,
    metavar="TIME",
    help="How long training may take, such as 90s, 2m or 1h30m; a bare number is seconds.",
)
@click.option(
    "--preset",
    type=click.Choice(["best", "fast", "autospeech2020"]),
    default="best",
    show_default=True,
    help="Which classifiers are tried.",
)
@click.option(
    "--test-size",
    type=SHARE,
    metavar="SHARE",
    help="Share of the clips to hold out and score the model on, such as 0.2.",
)
@click.option(
    "--groups",
    default="auto",
    show_default=True,
    metavar="COLUMN",
    help="The table's column of what must not be on both sides of a split, such as speakers; "
    "auto, or none.",
)
@columns_options
@click.option("--seed", type=int, default=0, show_default=True, help="Seed of all that is random.")
@device_option
@n_jobs_option
@click.option(
    "--memory",
    type=click.Path(file_okay=False),
    help="Folder that keeps embeddings for later runs.",
)
@click.option("--log-file", type=click.Path(dir_okay=False), help="Append each event as JSON.")
@click.option("--skip-bad", is_flag=True, help="Go on without clips that can't be read.")
@overwrite_option
@quiet_option
@json_option
def _fit(data, output, **options):
    """Train a model on DATA, and save it.

    DATA is a folder with a sub-folder a class (in it, maybe one a speaker), or a table: CSV, TSV or
    Parquet with the columns path and label, and maybe group. Paths are relative to the table.

    With --test-size, clips are held out, and the model is scored on them: that is the number to
    believe. It has not learnt from these clips. Ctrl-C saves the best model so far.
    """
    output = Path(output)
    check_output(output, options["overwrite"])
    labelled = read_labelled(
        data,
        path_column=options["path_column"],
        label_column=options["label_column"],
        groups=options["groups"],
    )
    labelled, n_bad = _without_bad(labelled, options["skip_bad"], options["n_jobs"])
    train, test = labelled, None
    if options["test_size"] is not None:
        train, test = split(labelled, options["test_size"], options["seed"])
    if not options["quiet"]:
        say(_described(train, test))

    classifier, interrupted = _train(train, options)
    if [name for name, _ in classifier.ensemble_.estimators] == ["prior"]:
        reasons = sorted({reason for _, reason, _ in classifier.failures_})
        raise ValueError(
            "\n".join([*reasons, "So no model was trained, and none is saved. More time may help."])
        )

    from skspeech.persistence import save

    save(classifier, output)
    if interrupted:
        say(f"Interrupted: the best model so far is in {output}.")
        return INTERRUPTED
    results = {"model": str(output), **fit_results(classifier), "n_skipped": n_bad}
    scores = None
    if test is not None:
        scores, failures = score(classifier, test, options["quiet"])
        n_bad += len(failures)
        results["held_out"] = scores.as_dict() if scores else None
    if options["as_json"]:
        click.echo(to_json(results))
    else:
        print_fit(results)
        if scores is not None:
            print_scores(scores, "Held out")
        click.echo(f"The model is in {output} ({output.stat().st_size / 1e6:.1f} MB).")
    return PARTIAL if n_bad else 0


def _without_bad(labelled, skip, n_jobs):
    from skspeech.audio import AudioError

    good, failures = check_clips(labelled, thorough=skip, n_jobs=n_jobs)
    if failures and (not skip or not len(good)):
        advice = "Repair them or leave them out; --skip-bad goes on without them."
        raise AudioError(failures, len(labelled), advice)
    for _, path, reason in failures:
        say(f"Left out {path}: {reason}")
    return good, len(failures)


def _described(train, test):
    n_classes = len(np.unique(train.labels))
    text = f"{len(train)} clips of {n_classes} classes"
    if train.groups is not None:
        text += f" in {len(np.unique(train.groups))} groups"
    return text + (f"; {len(test)} more are held out." if test is not None else ".")


def _train(train, options):
    """The fitted classifier, and whether it was interrupted."""
    from skspeech.audio import AudioError
    from skspeech.time_budget import TimeBudgetClassifier

    with FitProgress(options["time_budget"], options["quiet"]) as progress, _until_terminated():
        classifier = TimeBudgetClassifier(
            time_budget=options["time_budget"],
            preset=options["preset"],
            n_jobs=options["n_jobs"],
            device=options["device"] or "auto",
            memory=options["memory"],
            callbacks=progress,
            log_file=options["log_file"],
            random_state=options["seed"],
        )
        try:
            classifier.fit(train.paths, train.labels, train.groups)
        except KeyboardInterrupt:
            if not hasattr(classifier, "ensemble_"):
                say("Nothing was trained yet, so nothing is saved.")
                raise
            progress.interrupted = True
        except ValueError as error:
            if isinstance(error.__cause__, AudioError):  # all candidates fail by the same clips
                bad = error.__cause__
                advice = "--skip-bad goes on without them."
                raise AudioError(bad.failures, bad.n_clips, advice) from None
            raise
    return classifier, progress.interrupted


@contextlib.contextmanager
def _until_terminated():
    """Take a request to terminate, as batch systems send it, for Ctrl-C."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    former = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, former)
