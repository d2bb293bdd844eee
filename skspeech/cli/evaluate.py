"""The command ``skspeech evaluate``."""

from pathlib import Path

import click

from skspeech.cli.common import (
    EXIT_STATUS,
    PARTIAL,
    columns_options,
    device_option,
    json_option,
    n_jobs_option,
    quiet_option,
    skspeech,
)
from skspeech.cli.inputs import read_labelled
from skspeech.cli.models import class_names, load_classifier, score
from skspeech.cli.shown import print_scores, to_json

__all__ = []


@skspeech.command("evaluate", epilog=EXIT_STATUS)
@click.argument("model", type=click.Path(exists=True, dir_okay=False))
@click.argument("data", type=click.Path(exists=True))
@columns_options
@device_option
@n_jobs_option
@quiet_option
@json_option
def _evaluate(model, data, path_column, label_column, device, n_jobs, quiet, as_json):
    """Score a MODEL on DATA, clips with labels as for fit.

    The score is honest where the model has neither heard these clips nor these speakers.
    """
    labelled = read_labelled(
        data, path_column=path_column, label_column=label_column, groups="none"
    )
    classifier = load_classifier(model, device, n_jobs)
    unknown = sorted(set(labelled.labels.tolist()) - set(class_names(classifier)))
    if unknown:
        known = ", ".join(class_names(classifier))
        raise ValueError(
            f"The model knows the classes {known}; {data} has labels that are none of them: "
            f"{', '.join(unknown)}."
        )
    scores, failures = score(classifier, labelled, quiet)
    if scores is None:
        raise ValueError(f"None of the {len(labelled)} clips could be read.")
    if as_json:
        click.echo(to_json({**scores.as_dict(), "failures": failures}))
    else:
        print_scores(scores, Path(data).name)
    return PARTIAL if failures else 0
