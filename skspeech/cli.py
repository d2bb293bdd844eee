"""The command ``skspeech``: fit, predict, evaluate, report, embed, weights, benchmark, info.

Results go to standard output, everything else to standard error. The exit status is

====  ==============================================================================
0     All went well.
1     Done in part: some clips could not be read, or some weights are not intact.
2     A mistake in what was asked for, or in the files that it needs; nothing was done.
130   Interrupted by Ctrl-C. A fit saves the best that it has found by then.
====  ==============================================================================
"""

import contextlib
import csv
import importlib.metadata
import io
import json
import os
import platform
import re
import shutil
import signal
import sys
import threading
import warnings
from pathlib import Path

import click
import numpy as np

from skspeech import __version__
from skspeech._cli_inputs import check_clips, chunks, iter_paths, read_labelled, salvage, split
from skspeech._cli_report import (
    FitProgress,
    Scores,
    console,
    fit_results,
    print_fit,
    print_scores,
    to_json,
)

__all__ = ["main"]

_PARTIAL, _MISTAKE, _INTERRUPTED = 1, 2, 130
_CHUNK = 64  # clips that are predicted or embedded together
_EXIT_STATUS = (
    "The exit status is 0 if all went well, 1 if only a part could be done, 2 after a mistake in "
    "what was asked for, and 130 after Ctrl-C."
)


def main(argv=None):
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
            status = _skspeech.main(args=argv, prog_name="skspeech", standalone_mode=False)
            sys.stdout.flush()
            return status or 0
        except click.exceptions.Abort:
            _say("Interrupted.")
            return _INTERRUPTED
        except click.ClickException as error:
            error.show()
            return error.exit_code
        except SystemExit as end:  # click's way when the output has no reader any more
            return end.code
        except BrokenPipeError:  # the same, seen by us
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            return _PARTIAL
        except Exception as error:
            if not _is_a_users(error) or os.environ.get("SKSPEECH_TRACEBACK"):
                raise
            _say(f"Error: {error}")
            return _MISTAKE


def _is_a_users(error):
    from skspeech.weights import WeightsError

    return isinstance(error, ValueError | OSError | ImportError | WeightsError)


@contextlib.contextmanager
def _plain_warnings():
    """Warnings without the line of source that they come from."""

    def show(message, category, filename, lineno, file=None, line=None):
        _say(f"Warning: {message}")

    with warnings.catch_warnings():
        warnings.showwarning = show
        yield


@contextlib.contextmanager
def _any_file_names():
    """Read and write names of files as they are, even where they are not in the encoding."""
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


def _say(text):
    print(text, file=sys.stderr, flush=True)


# -- Options that several commands have ------------------------------------------------------------


def _options(*options):
    def decorate(command):
        for option in reversed(options):
            command = option(command)
        return command

    return decorate


_quiet = click.option("-q", "--quiet", is_flag=True, help="Show no progress.")
_json = click.option("--json", "as_json", is_flag=True, help="Write the result as JSON.")


def _check_device(context, parameter, device):
    if device is not None:
        from skspeech._device import resolve_device

        resolve_device(device)  # raises an error that says which there are
    return device


_device = click.option(
    "--device",
    metavar="NAME",
    callback=_check_device,
    help="Where networks run: auto, cpu, cuda, cuda:1, mps.",
)
_n_jobs = click.option(
    "--n-jobs", type=int, metavar="N", help="Processor cores to use; -1 is all of them."
)
_columns = _options(
    click.option("--path-column", metavar="NAME", help="The table's column of paths."),
    click.option("--label-column", metavar="NAME", help="The table's column of labels."),
)
_overwrite = click.option("--overwrite", is_flag=True, help="Replace the output if it exists.")


class _Commands(click.Group):
    """Commands in the order in which one needs them."""

    def list_commands(self, context):
        return list(self.commands)


@click.group(
    cls=_Commands,
    epilog=_EXIT_STATUS,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
@click.version_option(__version__, message="skspeech %(version)s")
def _skspeech():
    """Classify audio clips from a small labelled set, under a time budget."""


# -- fit -------------------------------------------------------------------------------------------


@_skspeech.command("fit", epilog=_EXIT_STATUS)
@click.argument("data", type=click.Path(exists=True))
@click.option(
    "-o", "--output", required=True, type=click.Path(dir_okay=False), help="The model file."
)
@click.option(
    "--time-budget",
    type=click.FloatRange(0, min_open=True),
    default=60.0,
    show_default=True,
    metavar="SECONDS",
    help="Seconds that training may take.",
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
    type=click.FloatRange(0, 1, min_open=True, max_open=True),
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
@_columns
@click.option("--seed", type=int, default=0, show_default=True, help="Seed of all that is random.")
@_device
@_n_jobs
@click.option(
    "--memory",
    type=click.Path(file_okay=False),
    help="Folder that keeps embeddings for later runs.",
)
@click.option("--log-file", type=click.Path(dir_okay=False), help="Append each event as JSON.")
@click.option("--skip-bad", is_flag=True, help="Go on without clips that can't be read.")
@_overwrite
@_quiet
@_json
def _fit(data, output, **options):
    """Train a model on DATA, and save it.

    DATA is a folder with a sub-folder a class (in it, maybe one a speaker), or a table: CSV, TSV or
    Parquet with the columns path and label, and maybe group. Paths are relative to the table.

    With --test-size, clips are held out, and the model is scored on them: that is the number to
    believe. It has not learnt from these clips. Ctrl-C saves the best model so far.
    """
    output = Path(output)
    _check_output(output, options["overwrite"])
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
        _say(_described(train, test))

    classifier, interrupted = _train(train, options)
    if [name for name, _ in classifier.ensemble_.estimators] == ["prior"]:
        reasons = sorted({reason for _, reason, _ in classifier.failures_})
        raise ValueError(
            "\n".join([*reasons, "So no model was trained, and none is saved. More time may help."])
        )

    from skspeech.persistence import save

    save(classifier, output)
    if interrupted:
        _say(f"Interrupted: the best model so far is in {output}.")
        return _INTERRUPTED
    results = {"model": str(output), **fit_results(classifier), "n_skipped": n_bad}
    scores = None
    if test is not None:
        scores, failures = _score(classifier, test, options["quiet"])
        n_bad += len(failures)
        results["held_out"] = scores.as_dict() if scores else None
    if options["as_json"]:
        click.echo(to_json(results))
    else:
        print_fit(results)
        if scores is not None:
            print_scores(scores, "Held out")
        click.echo(f"The model is in {output} ({output.stat().st_size / 1e6:.1f} MB).")
    return _PARTIAL if n_bad else 0


def _check_output(output, overwrite):
    """Find out before the work, not after it."""
    if output.exists() and not overwrite:
        raise click.UsageError(f"{output} exists. Name another file, or add --overwrite.")
    folder = output.parent
    if not folder.is_dir():
        raise click.UsageError(f"There is no folder {folder} to write {output.name} to.")
    if not os.access(folder, os.W_OK):
        raise click.UsageError(f"The folder {folder} can't be written to.")


def _without_bad(labelled, skip, n_jobs):
    from skspeech.audio import AudioError

    good, failures = check_clips(labelled, thorough=skip, n_jobs=n_jobs)
    if failures and (not skip or not len(good)):
        advice = "Repair them or leave them out; --skip-bad goes on without them."
        raise AudioError(failures, len(labelled), advice)
    for _, path, reason in failures:
        _say(f"Left out {path}: {reason}")
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
                _say("Nothing was trained yet, so nothing is saved.")
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


# -- predict ---------------------------------------------------------------------------------------


@_skspeech.command("predict", epilog=_EXIT_STATUS)
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
@_device
@_n_jobs
@_quiet
def _predict(model, files, form, as_json, probabilities, device, n_jobs, quiet):
    """Classify FILES with a MODEL that fit has saved.

    FILES are audio files and folders of them; - reads paths from standard input, one a line.
    Results are written as they come, in the order of the files. A clip that can't be read is told
    about in its place, and the others go on.
    """
    classifier = _load_classifier(model, device, n_jobs)
    writers = {"table": _TableWriter, "jsonl": _JsonWriter, "csv": _CsvWriter}
    write = writers["jsonl" if as_json else form](_class_names(classifier), probabilities)
    n_clips = n_bad = 0
    for paths in chunks(iter_paths(files), _CHUNK):
        labels, proba, reasons = _classify(classifier, paths)
        for row in zip(paths, labels, proba, reasons, strict=True):
            write(*row)
        sys.stdout.flush()
        n_clips += len(paths)
        n_bad += sum(reason is not None for reason in reasons)
    if n_bad and not quiet:
        _say(f"{n_bad} of {n_clips} clips could not be read.")
    return _PARTIAL if n_bad else 0


def _load_classifier(path, device=None, n_jobs=None):
    from skspeech.persistence import load, objects_in

    classifier = load(path)
    if not hasattr(classifier, "predict") or not hasattr(classifier, "classes_"):
        raise ValueError(f"{str(path)!r} holds a {type(classifier).__name__}, no classifier.")
    settings = {"device": device, "n_jobs": n_jobs, "errors": "raise", "verbose": 0}
    for item in objects_in(classifier):
        parameters = item.get_params(deep=False) if hasattr(item, "get_params") else {}
        for name, value in settings.items():
            if name in parameters and value is not None:
                setattr(item, name, value)
    return classifier


def _class_names(classifier):
    return [str(label) for label in classifier.classes_]


def _classify(classifier, paths):
    """Labels as text, probabilities (None where there are none), and reasons of bad clips."""
    if not hasattr(classifier, "predict_proba"):
        labels, reasons = salvage(classifier.predict, paths)
        labels = [None if label is None else str(label) for label in labels]
        return labels, [None] * len(paths), reasons
    proba, reasons = salvage(classifier.predict_proba, paths)
    names = _class_names(classifier)
    labels = [None if row is None else names[int(np.argmax(row))] for row in proba]
    return labels, proba, reasons


class _TableWriter:
    """Columns for reading; bad clips go to standard error."""

    def __init__(self, names, probabilities):
        self._names = names
        self._all = probabilities
        self._width = max(len(name) for name in names)

    def __call__(self, path, label, proba, reason):
        if reason is not None:
            sys.stdout.flush()
            _say(f"{path}: {reason}")
            return
        cells = [label.ljust(self._width)]
        if self._all and proba is not None:
            order = np.argsort(-proba, kind="stable")
            cells = [f"{self._names[i].ljust(self._width)} {proba[i]:.3f}" for i in order]
        elif proba is not None:
            cells.append(f"{proba.max():.3f}")
        click.echo("  ".join([*cells, path]))


class _JsonWriter:
    """An object a line."""

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
                row["probability"] = round(float(proba.max()), 6)
                if self._all:
                    row["probabilities"] = dict(zip(self._names, np.round(proba, 6)))
        click.echo(to_json(row))


class _CsvWriter:
    """A table with a header; bad clips have an error in place of a label."""

    def __init__(self, names, probabilities):
        self._all = probabilities
        self._n_classes = len(names)
        self._writer = csv.writer(sys.stdout, lineterminator="\n")
        extra = [f"p({name})" for name in names] if probabilities else []
        self._writer.writerow(["path", "label", "probability", *extra, "error"])

    def __call__(self, path, label, proba, reason):
        each = [""] * self._n_classes if proba is None else [f"{p:.6f}" for p in proba]
        best = "" if proba is None else f"{proba.max():.6f}"
        self._writer.writerow([path, label or "", best, *(each if self._all else []), reason or ""])


# -- evaluate --------------------------------------------------------------------------------------


@_skspeech.command("evaluate", epilog=_EXIT_STATUS)
@click.argument("model", type=click.Path(exists=True, dir_okay=False))
@click.argument("data", type=click.Path(exists=True))
@_columns
@_device
@_n_jobs
@_quiet
@_json
def _evaluate(model, data, path_column, label_column, device, n_jobs, quiet, as_json):
    """Score a MODEL on DATA, clips with labels as for fit.

    The score is honest where the model has neither heard these clips nor these speakers.
    """
    labelled = read_labelled(data, path_column=path_column, label_column=label_column)
    classifier = _load_classifier(model, device, n_jobs)
    unknown = sorted(set(labelled.labels.tolist()) - set(_class_names(classifier)))
    if unknown:
        known = ", ".join(_class_names(classifier))
        raise ValueError(
            f"The model knows the classes {known}; {data} has labels that are none of them: "
            f"{', '.join(unknown)}."
        )
    scores, failures = _score(classifier, labelled, quiet)
    if scores is None:
        raise ValueError(f"None of the {len(labelled)} clips could be read.")
    if as_json:
        click.echo(to_json({**scores.as_dict(), "failures": failures}))
    else:
        print_scores(scores, Path(data).name)
    return _PARTIAL if failures else 0


def _score(classifier, labelled, quiet):
    """Scores, or None where no clip can be read; and the bad clips, which are told about."""
    names = _class_names(classifier)
    labels, predicted, proba, failures = [], [], [], []
    with _progress("Scoring", len(labelled), quiet) as advance:
        for begin in range(0, len(labelled), _CHUNK):
            part = labelled.take(np.arange(begin, min(begin + _CHUNK, len(labelled))))
            results = zip(part.paths, part.labels, *_classify(classifier, part.paths), strict=True)
            for path, label, said, row, reason in results:
                if reason is not None:
                    failures.append({"path": path, "error": reason})
                    _say(f"{path}: {reason}")
                    continue
                labels.append(str(label))
                predicted.append(said)
                proba.append(row)
            advance(len(part))
    if not labels:
        return None, failures
    known = None if proba[0] is None else np.array(proba)
    return Scores(names, labels, predicted, known), failures


@contextlib.contextmanager
def _progress(title, total, quiet):
    """A bar on standard error, where that is a terminal; gives a function that moves it on."""
    out = console(stderr=True)
    if quiet or not out.is_terminal:
        yield lambda n: None
        return
    from rich.progress import Progress

    with Progress(console=out, transient=True) as progress:
        task = progress.add_task(title, total=total)
        yield lambda n: progress.advance(task, n)


# -- report ----------------------------------------------------------------------------------------


@_skspeech.command("report", epilog=_EXIT_STATUS)
@click.argument("model", type=click.Path(exists=True, dir_okay=False))
@click.argument("data", type=click.Path(exists=True))
@click.option(
    "-o",
    "--output",
    required=True,
    type=click.Path(dir_okay=False, path_type=Path),
    help="The HTML file to write.",
)
@click.option(
    "--train",
    type=click.Path(exists=True),
    help="What the model was trained on: the page then warns of clips and speakers in both parts.",
)
@_overwrite
@_columns
@_device
@_n_jobs
@_quiet
def _report(
    model, data, output, train, overwrite, path_column, label_column, device, n_jobs, quiet
):
    """Write one HTML page on how a MODEL does on DATA, clips with labels as for fit.

    Scores with confidence intervals, the worst mistakes to listen to, a map of the clips, and
    warnings of what makes a score untrustworthy.
    """
    from skspeech.report import write_report

    _check_output(output, overwrite)
    columns = {"path_column": path_column, "label_column": label_column}
    test = read_labelled(data, **columns)
    heard = {}
    if train is not None:
        known = read_labelled(train, **columns)
        heard = {"X_train": known.paths, "y_train": known.labels, "groups_train": known.groups}
    classifier = _load_classifier(model, device, n_jobs)
    write_report(
        classifier,
        test.paths,
        test.labels,
        output,
        groups_test=test.groups,
        title=f"{Path(model).name} on {Path(data).name}",
        **heard,
    )
    if not quiet:
        _say(f"The report is in {output}.")


# -- embed -----------------------------------------------------------------------------------------


@_skspeech.command("embed", epilog=_EXIT_STATUS)
@click.argument("extractor")
@click.argument("files", nargs=-1, required=True)
@click.option(
    "-o",
    "--output",
    required=True,
    type=click.Path(dir_okay=False),
    help="The file, which ends in .npz or .parquet.",
)
@click.option(
    "-p",
    "--param",
    "parameters",
    multiple=True,
    metavar="NAME=VALUE",
    help="A parameter of the extractor, such as layers=2; values as in JSON.",
)
@_device
@_n_jobs
@_overwrite
@_quiet
def _embed(extractor, files, output, parameters, device, n_jobs, overwrite, quiet):
    """Turn FILES into features with an EXTRACTOR, such as speaker or music.

    A row of features a clip, with its path, is written to the output: arrays paths, features and
    feature_names in an .npz file, or columns in a .parquet file. If the command is interrupted,
    the same one goes on from there.
    """
    output = Path(output)
    if output.suffix not in (".npz", ".parquet"):
        raise click.UsageError(f"{output} ends neither in .npz nor in .parquet.")
    _check_output(output, overwrite)
    write = _npz_writer if output.suffix == ".npz" else _parquet_writer()
    partial = output.with_name(f".{output.name}.partial")
    settings = {**dict(map(_parameter, parameters)), "memory": str(partial)}
    settings |= {k: v for k, v in {"device": device, "n_jobs": n_jobs}.items() if v is not None}
    transformer = _make_extractor(extractor, settings)
    paths = list(dict.fromkeys(iter_paths(files)))
    try:
        good, rows = _embed_all(transformer, paths, quiet)
    except KeyboardInterrupt:
        _say("What is done is kept: the same command goes on from there.")
        raise
    if not good:
        raise ValueError(f"None of the {len(paths)} clips could be read.")

    from skspeech.persistence import atomic_writer

    names = [str(name) for name in transformer.get_feature_names_out()]
    with atomic_writer(output) as file:
        write(file, good, np.stack(rows), names, repr(transformer.set_params(memory=None)))
    shutil.rmtree(partial, ignore_errors=True)
    if not quiet:
        _say(f"{len(good)} of {len(paths)} clips, {len(names)} features each, are in {output}.")
    return _PARTIAL if len(good) < len(paths) else 0


def _embed_all(transformer, paths, quiet):
    """Paths of the good clips, and their rows; bad ones are told about."""
    good, rows = [], []
    with _progress("Embedding", len(paths), quiet) as advance:
        for begin in range(0, len(paths), _CHUNK):
            part = paths[begin : begin + _CHUNK]
            for path, row, reason in zip(part, *salvage(transformer.transform, part), strict=True):
                if reason is None:
                    good.append(path)
                    rows.append(row)
                else:
                    _say(f"{path}: {reason}")
            advance(len(part))
    return good, rows


def _extractors():
    """Extractors by the names of this command: ``speaker`` for SpeakerEmbedding, and so on."""
    from skspeech.transformers.base import Extractor
    from skspeech.utils import all_estimators

    found = {}
    for name, cls in all_estimators("transformer"):
        if issubclass(cls, Extractor):
            words = re.sub(r"(?<=[a-z])(?=[A-Z])", "-", name.removesuffix("Embedding"))
            found[words.lower()] = cls
    return found


def _make_extractor(name, settings):
    extractors = _extractors()
    by_class = {cls.__name__: cls for cls in extractors.values()}
    cls = extractors.get(name) or by_class.get(name)
    if cls is None:
        raise click.UsageError(
            f"There is no extractor {name!r}. The extractors are: {', '.join(extractors)}."
        )
    unknown = sorted(settings.keys() - cls._get_param_names())
    if unknown:
        raise click.UsageError(
            f"{cls.__name__} has no parameter {', '.join(unknown)}. It has: "
            f"{', '.join(cls._get_param_names())}."
        )
    return cls(**settings)


def _parameter(text):
    name, equals, value = text.partition("=")
    if not equals:
        raise click.UsageError(f"--param {text!r} is not of the form name=value.")
    with contextlib.suppress(ValueError):  # what is no JSON is text
        value = json.loads(value)
    return name.strip(), value


def _npz_writer(file, paths, features, names, description):
    np.savez(
        file,
        paths=np.array(paths),
        features=features,
        feature_names=np.array(names),
        extractor=np.array(description),
    )


def _parquet_writer():
    try:
        import pandas as pd
        import pyarrow  # noqa: F401
    except ImportError as error:
        raise ImportError(
            f"Writing Parquet needs pandas and pyarrow: pip install 'skspeech[parquet]'. ({error})"
        ) from None

    def write(file, paths, features, names, description):
        table = pd.DataFrame(features, columns=names)
        table.insert(0, "path", paths)
        table.to_parquet(file, index=False)

    return write


# -- weights, benchmark, info ----------------------------------------------------------------------


@_skspeech.group("weights", cls=_Commands)
def _weights():
    """List, fetch and verify the pretrained weights."""


def _weights_names(context, parameter, names):
    from skspeech.weights import REGISTRY

    unknown = sorted(set(names) - set(REGISTRY))
    if unknown:
        raise click.BadParameter(
            f"there are no weights {', '.join(unknown)}. The names are: {', '.join(REGISTRY)}."
        )
    return names


_names = click.argument("names", nargs=-1, callback=_weights_names)


@_weights.command("list")
@_names
@_json
def _weights_list(names, as_json):
    """Say what there is, under which licence, and whether it is cached."""
    from skspeech import weights

    if not as_json:
        return weights.main(["list", *names])
    click.echo(to_json([_weights_row(name) for name in names or weights.REGISTRY]))
    return 0


def _weights_row(name):
    from skspeech import weights

    entry, path = weights.REGISTRY[name], weights.weights_path(name)
    return {
        "name": name,
        "description": entry.description,
        "licence": entry.licence,
        "source": str(entry.source),
        "path": str(path),
        "cached": path.is_file(),
    }


def _weights_command(action, summary):
    @_weights.command(action, help=summary, epilog=_EXIT_STATUS)
    @_names
    def run(names):
        from skspeech import weights

        return weights.main([action, *names])

    return run


_weights_command("fetch", "Download, convert and cache weights (all but the optional ones).")
_weights_command("verify", "Read cached weights and compare their checksums.")
_weights_command("path", "Say where cached weights are, without fetching them.")


@_skspeech.command("benchmark", epilog=_EXIT_STATUS)
@click.argument("dataset_dir", type=click.Path(exists=True, file_okay=False))
@click.option(
    "--code-dir",
    type=click.Path(exists=True, file_okay=False),
    help="Folder of a participant's model.py; without it, skspeech's own model runs.",
)
@click.option(
    "--time-budget",
    type=click.FloatRange(0, min_open=True),
    metavar="SECONDS",
    help="Seconds; without it, what the data set says.",
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
@_quiet
@_json
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
        click.echo(f"ALC: {result.alc:.4f}")
    if not result.success:
        _say("The model failed; its answers up to then are scored.")
    return 0 if result.success else _PARTIAL


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


@_skspeech.command("info")
@click.argument("model", required=False, type=click.Path(exists=True, dir_okay=False))
@_json
def _info(model, as_json):
    """Say which versions, devices and weights there are; or what a MODEL file holds."""
    if model is not None:
        from skspeech.persistence import read_metadata

        facts = read_metadata(model)
    else:
        facts = _environment()
    if as_json:
        click.echo(to_json(facts))
    else:
        for key, value in facts.items():
            click.echo(f"{key + ':':14} {_spelled(value)}")
    return 0


def _spelled(value):
    if isinstance(value, dict):
        return ", ".join(f"{key} {_spelled(item)}" for key, item in value.items())
    if isinstance(value, list | tuple):
        return ", ".join(map(_spelled, value)) or "none"
    return "none" if value is None else str(value)


def _environment():
    import joblib

    from skspeech.weights import REGISTRY, cache_dir

    packages = ("numpy", "scipy", "scikit-learn", "torch", "tensorflow", "librosa", "soundfile")
    rows = [_weights_row(name) for name in REGISTRY]
    return {
        "skspeech": __version__,
        "python": f"{platform.python_version()} ({platform.platform()})",
        "packages": {name: _version(name) for name in packages},
        "cores": joblib.cpu_count(),
        "devices": _devices(),
        "cache": str(cache_dir()),
        "cached": [row["name"] for row in rows if row["cached"]],
        "not cached": [row["name"] for row in rows if not row["cached"]],
    }


def _version(name):
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


def _devices():
    import torch

    devices = ["cpu"]
    for index in range(torch.cuda.device_count()):
        devices.append(f"cuda:{index} ({torch.cuda.get_device_name(index)})")
    if torch.backends.mps.is_available():
        devices.append("mps")
    return devices
