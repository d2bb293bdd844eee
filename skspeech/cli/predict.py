"""The command ``skspeech predict``."""

import csv
import sys

import click
import numpy as np

from skspeech.cli.common import (
    EXIT_STATUS,
    device_option,
    n_jobs_option,
    quiet_option,
    say,
    skspeech,
)
from skspeech.cli.inputs import check_named, chunks, iter_paths
from skspeech.cli.models import CHUNK, class_names, classify, load_classifier
from skspeech.cli.readable import status_of, tally
from skspeech.cli.shown import to_json

__all__ = []


@skspeech.command("predict", epilog=EXIT_STATUS)
@click.argument("model", type=click.Path(exists=True, dir_okay=False))
@click.argument("files", nargs=-1, required=True)
@click.option(
    "--format",
    "form",
    type=click.Choice(["table", "jsonl", "csv"]),
    default="table",
    show_default=True,
    help="How the results are written.",
)
@click.option("--json", "as_json", is_flag=True, help="Short for --format jsonl.")
@click.option("-p", "--probabilities", is_flag=True, help="Write those of all classes.")
@device_option
@n_jobs_option
@quiet_option
def _predict(model, files, form, as_json, probabilities, device, n_jobs, quiet):
    """Classify FILES with a MODEL that fit has saved.

    FILES are audio files and folders of them; - reads paths from standard input, one a line.
    Results are written as they come, in the order of the files. A clip that can't be read is told
    about in its place, and the others go on.
    """
    check_named(files)
    classifier = load_classifier(model, device, n_jobs, quiet)
    writers = {"table": _TableWriter, "jsonl": _JsonWriter, "csv": _CsvWriter}
    write = writers["jsonl" if as_json else form](class_names(classifier), probabilities)
    n_clips = n_bad = 0
    for paths in chunks(iter_paths(files), CHUNK):
        labels, proba, reasons = classify(classifier, paths)
        for row in zip(paths, labels, proba, reasons, strict=True):
            write(*row)
        sys.stdout.flush()
        n_clips += len(paths)
        n_bad += sum(reason is not None for reason in reasons)
    if n_bad and not quiet:
        say(tally(n_bad, n_clips))
    return status_of(n_bad, n_clips)


class _TableWriter:
    """Aligned columns; bad clips go to standard error."""

    def __init__(self, names, probabilities):
        self._names = names
        self._all = probabilities
        self._width = max(len(name) for name in names)

    def __call__(self, path, label, proba, reason):
        if reason is not None:
            sys.stdout.flush()
            say(f"{path}: {reason}")
            return
        cells = [label.ljust(self._width)]
        if self._all and proba is not None:
            order = np.argsort(-proba, kind="stable")
            cells = [f"{self._names[i].ljust(self._width)} {proba[i]:.3f}" for i in order]
        elif proba is not None:
            cells.append(f"{proba[self._names.index(label)]:.3f}")
        click.echo("  ".join([*cells, path]))


class _JsonWriter:
    """One JSON object a line."""

    def __init__(self, names, probabilities):
        self._names = names
        self._all = probabilities

    def __call__(self, path, label, proba, reason):
        row = {"path": path}
        if reason is not None:
            row["error"] = reason
        else:
            row["label"] = label
            if proba is not None:
                row["probability"] = round(float(proba[self._names.index(label)]), 6)
                if self._all:
                    row["probabilities"] = dict(zip(self._names, np.round(proba, 6)))
        click.echo(to_json(row))


class _CsvWriter:
    """CSV with a header; bad clips have an error in place of a label."""

    def __init__(self, names, probabilities):
        self._all = probabilities
        self._names = names
        self._writer = csv.writer(sys.stdout, lineterminator="\n")
        extra = [f"p({name})" for name in names] if probabilities else []
        self._writer.writerow(["path", "label", "probability", *extra, "error"])

    def __call__(self, path, label, proba, reason):
        each = [""] * len(self._names) if proba is None else [f"{p:.6f}" for p in proba]
        best = "" if proba is None else f"{proba[self._names.index(label)]:.6f}"
        self._writer.writerow([path, label or "", best, *(each if self._all else []), reason or ""])
