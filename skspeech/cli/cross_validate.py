"""The command ``skspeech cross-validate``."""

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
from skspeech.cli.fit import _fit
from skspeech.cli.inputs import held_out_parts, only_unit
from skspeech.cli.interrupts import Interrupts
from skspeech.cli.models import class_names, classify
from skspeech.cli.readable import none_is_readable
from skspeech.cli.shown import Scores, print_scores, to_json
from skspeech.cli.training import is_prior, train_model, why_no_model

__all__ = []

_MAX_LEFT_OUT, _N_FOLDS = 10, 5


def _as_fit_does(*names):
    """Options of `fit`, which apply to the training on each fold."""

    def decorate(command):
        command.params += [option for option in _fit.params if option.name in names]
        return command

    return decorate


@_as_fit_does("time_budget", "preset", "seed", "memory", "strict")
@skspeech.command(
    "cross-validate", short_help="Score models like that of fit on all clips.", epilog=EXIT_STATUS
)
@click.argument("data", type=click.Path(exists=True))
@click.option(
    "--folds",
    type=click.IntRange(2),
    metavar="K",
    help=f"Number of folds; by default, as many as there are groups, up to {_MAX_LEFT_OUT}, and "
    f"without groups {_N_FOLDS}.",
)
@click.option(
    "-o",
    "--output",
    type=click.Path(dir_okay=False, path_type=Path),
    help="An HTML file for the report over all folds.",
)
@labelled_options
@overwrite_option
@json_option
def _cross_validate(data, folds, output, **options):
    """Score on all of DATA how well models trained on it do: the number to believe of a small set.

    The clips are held out part by part, with whole groups where there are some, and a model that
    was trained on the others, as fit does it, is scored on them. --time-budget is for each
    training. No model is saved: fit trains one on everything.
    """
    from skspeech._folds import stratified_folds

    if output is not None:
        from skspeech.report.writing import template

        check_output(output, options["overwrite"])
        template("report.html")  # fails before the work if something is not installed
    labelled, bad, _ = training_clips(data, options)
    names = np.unique(labelled.labels)
    n_groups = 0 if labelled.groups is None else len(np.unique(labelled.groups))
    n_folds = folds or (max(2, min(n_groups, _MAX_LEFT_OUT)) if n_groups else _N_FOLDS)
    parts = held_out_parts(
        labelled,
        lambda codes, groups: stratified_folds(
            codes, n_folds, groups=groups, random_state=options["seed"]
        ),
    )
    if folds and len(parts) < folds:
        units = "groups" if n_groups else "clips"
        say(f"{len(parts)} folds in place of {folds}: more can't be made of these {units}.")
    if not options["quiet"]:
        _announce(labelled, parts, options["time_budget"])

    done, n_failed = _Answers(labelled, names.tolist(), bad), 0
    with Interrupts() as interrupts:
        for number, (train, test) in enumerate(parts, 1):
            try:
                own = {**options, "log_file": None}
                classifier, _ = train_model(labelled.take(train), own, interrupts, is_kept=False)
                if interrupts.count:
                    break
                if is_prior(classifier):
                    why = why_no_model(classifier, options["time_budget"])
                    if not done.n_folds:
                        raise ValueError(why)
                    n_failed += 1
                    say(f"Fold {number} of {len(parts)} is not scored: {why}")
                    continue
                text = done.add(classifier, test)
            except KeyboardInterrupt:
                break
            if not options["quiet"]:
                say(f"Fold {number} of {len(parts)}: {text}")
        scores, interrupted = done.scores(), done.n_folds + n_failed < len(parts)
        if scores is None:
            if interrupted:
                say("Interrupted before a fold was done.")
                return INTERRUPTED
            raise none_is_readable(len(done.bad))
        if interrupted:
            say(f"Interrupted: the scores are those of {done.n_folds} of {len(parts)} folds.")
        report = None
        try:
            if output is not None:
                done.write_report(output, f"{Path(data).resolve().name}, cross-validated")
                report = str(output)
        except OSError as error:
            say(f"The report can't be written: {error.strerror or error}.")
        except KeyboardInterrupt:
            interrupted = True
            say("Interrupted: the report is not written.")
        finally:  # whatever becomes of the report; and it is there if nobody reads the scores
            if not options["as_json"]:
                print_scores(scores, f"{done.n_folds} fold{'s' if done.n_folds > 1 else ''}")
    if options["as_json"]:
        results = {"n_folds": done.n_folds, "interrupted": interrupted, **scores.as_dict()}
        click.echo(to_json(results if output is None else {**results, "report": report}))
    elif report is not None:
        click.echo(f"The report is in {report}.")
    if interrupted:
        return INTERRUPTED
    is_whole = not done.bad and not n_failed and (output is None or report is not None)
    return 0 if is_whole else PARTIAL


def _announce(labelled, parts, seconds):
    held_out = np.concatenate([test for _, test in parts])
    text = (
        f"{len(parts)} trainings of up to {seconds:g} s each; {len(held_out)} of {len(labelled)} "
    )
    say(text + "clips are held out once.")
    never = np.setdiff1d(labelled.labels, labelled.labels[held_out])
    if len(never):
        unit = only_unit(labelled, never)
        why = f", because they have only one {unit}" if unit else ""
        say(f"Not scored{why}: {', '.join(map(str, never))}.")


class _Answers:
    """Predictions of models for held-out clips."""

    def __init__(self, labelled, names, bad):
        self.labelled, self.names = labelled, names
        self.bad = list(bad)  # paths and reasons of clips that can't be read
        self.n_folds = 0
        self._rows, self._proba = [], []
        self._classifier = None

    def add(self, classifier, test):
        """Add the predictions of a model for a fold; return its score in words."""
        part = self.labelled.take(test)
        labels, proba, reasons = classify(classifier, part.paths)
        good = [i for i, reason in enumerate(reasons) if reason is None]
        for path, reason in zip(part.paths, reasons):
            if reason is not None:
                say(f"{path}: {reason}")
                self.bad.append((path, reason))
        self.n_folds += 1
        if not good:
            return "no clip could be read."
        self._classifier = classifier
        self._rows += [test[i] for i in good]
        columns = [self.names.index(name) for name in class_names(classifier)]
        every = np.zeros((len(good), len(self.names)))  # clips of a class may all be bad
        every[:, columns] = [proba[i] for i in good]
        self._proba += list(every)
        own = Scores(self.names, part.labels[good].tolist(), [labels[i] for i in good])
        groups = "" if part.groups is None else f" of {some(np.unique(part.groups), 5)}"
        return f"balanced accuracy {own.balanced_accuracy:.3f} of {len(good)} clips{groups}."

    def scores(self):
        """Scores of all folds together; None if there are none."""
        if not self._rows:
            return None
        part = self.labelled.take(self._rows)
        proba = np.array(self._proba)
        said = [self.names[i] for i in proba.argmax(axis=1)]
        groups = None if part.groups is None else part.groups.tolist()
        return Scores(self.names, part.labels.tolist(), said, proba, groups)

    def write_report(self, output, title):
        from skspeech.report import write_report

        part = self.labelled.take(self._rows)
        write_report(
            self._classifier,
            part.paths,
            part.labels,
            output,
            groups_test=part.groups,
            title=title,
            proba=self._proba,
            left_out=self.bad,
        )
