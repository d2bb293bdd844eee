"""The command ``skspeech fit``."""

from pathlib import Path

import click
import numpy as np

from skspeech._download import some
from skspeech.cli.audited import training_clips
from skspeech.cli.common import (
    EXIT_STATUS,
    INTERRUPTED,
    PARTIAL,
    check_output,
    json_option,
    labelled_options,
    overwrite_option,
    say,
    skspeech,
)
from skspeech.cli.inputs import check_split_folder, only_unit, save_split, split
from skspeech.cli.interrupts import Interrupts
from skspeech.cli.models import score
from skspeech.cli.quantities import SECONDS, SHARE
from skspeech.cli.saving import save_somewhere
from skspeech.cli.shown import (
    console,
    fit_results,
    print_fit,
    print_scores,
    remark_on_validation,
    to_json,
)
from skspeech.cli.training import is_prior, train_model, why_no_model
from skspeech.cli.unknown import known_part, print_unknown, reject_unknown, unknown_results

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
    "--save-split",
    type=click.Path(file_okay=False, path_type=Path),
    metavar="FOLDER",
    help="Write train.csv and test.csv there: which clips were held out, for evaluate and report.",
)
@click.option(
    "--unknown",
    type=SHARE,
    metavar="SHARE",
    help="Let the model answer 'unknown', at the cost of this share of known clips, such as 0.05. "
    "Clips in a folder unknown/, if there is one, are examples.",
)
@click.option(
    "--refit-all",
    is_flag=True,
    help="Train once more afterwards, for as long again, on all clips, held-out ones too.",
)
@labelled_options
@click.option(
    "--seed",
    type=click.IntRange(0, 2**32 - 1),
    metavar="N",
    default=0,
    show_default=True,
    help="Seed of all that is random.",
)
@click.option(
    "--memory",
    type=click.Path(file_okay=False),
    help="Folder that keeps embeddings for later runs.",
)
@click.option("--log-file", type=click.Path(dir_okay=False), help="Append each event as JSON.")
@click.option("--skip-bad", is_flag=True, hidden=True)  # the default behaviour now
@click.option(
    "--strict", is_flag=True, help="Do not train where something is wrong or doubtful in the data."
)
@overwrite_option
@json_option
def _fit(data, output, **options):
    """Train a model on DATA, and save it.

    DATA is a folder with a sub-folder for each class (and in it, maybe, one for each speaker), or a
    table: CSV, TSV or Parquet with the columns path and label, and maybe group. Paths are relative
    to the table.

    What is doubtful in the data is told first: small classes, names that differ by a letter, the
    same sound twice, silence, clipping, missing groups. With --strict, it is an error.

    With --test-size, clips are held out, and the model is scored on them: that is the number to
    believe. It has not learnt from these clips; with --refit-all, the model that is saved has.
    Ctrl-C saves the best model so far and scores it; a second Ctrl-C gives up.
    """
    output = Path(output)
    check_output(output, options["overwrite"])
    for name in ("save_split", "refit_all"):
        if options[name] and options["test_size"] is None:
            raise click.UsageError(f"--{name.replace('_', '-')} needs --test-size.")
    if options["log_file"] is not None:
        try:
            open(options["log_file"], "ab").close()
        except OSError as error:
            raise click.UsageError(
                f"The log {options['log_file']} can't be written: {error.strerror}."
            ) from None
    if options["save_split"]:
        check_split_folder(options["save_split"], options["overwrite"])
    labelled, bad, findings = training_clips(data, options)
    n_bad = len(bad)
    train, test = labelled, None
    if options["test_size"] is not None:
        train, test = split(labelled, options["test_size"], options["seed"])
        if options["save_split"]:
            save_split(options["save_split"], train=train, test=test)
    if not options["quiet"]:
        say(_described(train, test))
    if test is not None and (never := _never_held_out(train, test)):
        say(never)

    with Interrupts() as interrupts:
        asks = options["unknown"] is not None
        own = known_part(train) if asks else train
        classifier, n_more = train_model(own, options, interrupts)
        n_bad += n_more
        if is_prior(classifier):
            reasons = why_no_model(classifier, options["time_budget"])
            raise ValueError(f"{reasons}\nSo no model was trained, and none is saved.")
        model = reject_unknown(classifier, train, options) if asks else classifier
        if asks and model is classifier:  # interrupted: it has learnt nothing of unknown clips
            train, test = own, test and known_part(test)
        with interrupts.saving():
            saved = save_somewhere(model, output, train)
        if interrupts.count and saved is not None:
            say(f"Interrupted: the best model so far is in {saved}.")
        results = {
            "model": saved and str(saved),
            **fit_results(classifier),
            "unknown": unknown_results(model),
            "interrupted": interrupts.count > 0,
            "audit": [{"kind": f.kind, "message": f.message} for f in findings],
        }
        scores = None
        try:
            if test is not None:
                if interrupts.count:
                    say("Scoring it on the held-out clips; press Ctrl-C again to leave that out.")
                scores, failures = score(model, test, options["quiet"])
                n_bad += len(failures)
                results["held_out"] = scores.as_dict() if scores else None
        except KeyboardInterrupt:
            say("The model was not scored on the held-out clips.")
        results |= {"n_skipped": n_bad, "refitted": False}
        if options["refit_all"] and saved is not None and not interrupts.count:
            results["refitted"] = _refit(labelled, saved, options, interrupts)
    if options["as_json"]:
        click.echo(to_json(results))
    else:
        print_fit(results)
        if results["unknown"]:
            print_unknown(results["unknown"], console())
        if scores is not None:
            print_scores(scores, "Held out")
            if not scores.interval:
                click.echo("cross-validate scores all groups, each of them once.")
            remark = remark_on_validation(results["validation_score"], scores)
            if remark:
                click.echo(remark)
        if saved is not None:
            click.echo(f"The model is in {saved} ({saved.stat().st_size / 1e6:.1f} MB).")
        if results["refitted"]:
            click.echo(
                f"It is trained on all {len(labelled)} clips; the scores above are of the one that "
                f"was trained on {len(train)} of them."
            )
    if interrupts.count:
        return INTERRUPTED
    is_whole = saved == output and results["refitted"] == options["refit_all"]
    return PARTIAL if n_bad or not is_whole else 0


def _described(train, test):
    classes = np.unique(train.labels)
    text = f"{len(train)} clips of {len(classes)} classes, {some(classes, 12)}"
    if train.groups is not None:
        n_groups = len(np.unique(train.groups))
        text += f", in {n_groups} group{'s' if n_groups > 1 else ''}"
    if test is None:
        return f"{text}."
    text += f"; {len(test)} more are held out"
    if test.groups is not None:
        names = np.unique(test.groups)
        text += f", the group{'s' if len(names) > 1 else ''} {some(names, 12)}"
    return f"{text}."


def _never_held_out(train, test):
    """Say which classes have no held-out clips; empty if there is no such class."""
    never = np.setdiff1d(train.labels, test.labels)
    if not len(never):
        return ""
    unit = only_unit(train, never)
    why = f": there is only one {unit} to learn from" if unit else ""
    return f"None of them is of {some(never, 12)}{why}."


def _refit(labelled, saved, options, interrupts):
    """Train on all clips and replace the scored model; return whether that was done."""
    if not options["quiet"]:
        say(f"Training again, on all {len(labelled)} clips.")
    try:
        asks = options["unknown"] is not None
        own = known_part(labelled) if asks else labelled
        model = classifier = train_model(own, options, interrupts, is_kept=False)[0]
        if asks and not (interrupts.count or is_prior(classifier)):
            model = reject_unknown(classifier, labelled, options)
    except KeyboardInterrupt:
        classifier = None
    if interrupts.count or is_prior(classifier):
        say(f"The model of all clips is not ready; {saved} holds the one that was scored.")
        return False
    with interrupts.saving():
        return save_somewhere(model, saved, labelled) == saved
