"""The command ``skspeech report``."""

from pathlib import Path

import click

from skspeech.cli.common import (
    EXIT_STATUS,
    PARTIAL,
    check_output,
    columns_options,
    device_option,
    groups_option,
    n_jobs_option,
    overwrite_option,
    quiet_option,
    say,
    skspeech,
)
from skspeech.cli.inputs import read_labelled
from skspeech.cli.models import load_classifier
from skspeech.cli.readable import leave_out_bad

__all__ = []


@skspeech.command("report", epilog=EXIT_STATUS)
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
@overwrite_option
@columns_options
@groups_option
@device_option
@n_jobs_option
@quiet_option
def _report(
    model, data, output, train, overwrite, path_column, label_column, groups, device, n_jobs, quiet
):
    """Write one HTML page on how a MODEL does on DATA, clips with labels as for fit.

    Scores and what new groups will score, the worst mistakes to listen to, a map of the clips, and
    warnings of what makes a score untrustworthy. Clips that the model was trained on are known by
    their content, and are left out where there are others.
    """
    from skspeech._heard import was_trained_on
    from skspeech.report import write_report

    check_output(output, overwrite)
    columns = {"path_column": path_column, "label_column": label_column, "groups": groups}
    test, n_bad = leave_out_bad(read_labelled(data, **columns), thorough=True, n_jobs=n_jobs)
    heard = {}
    if train is not None:
        known = read_labelled(train, **columns)
        known, n_more = leave_out_bad(known, thorough=True, n_jobs=n_jobs)
        n_bad += n_more
        heard = {"X_train": known.paths, "y_train": known.labels, "groups_train": known.groups}
    classifier = load_classifier(model, device, n_jobs)
    n_heard = int(was_trained_on(classifier, test.paths).sum())
    if n_heard and not quiet:
        say(f"The model was trained on {n_heard} of these {len(test)} clips.")
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
        say(f"The report is in {output}.")
    return PARTIAL if n_bad else 0
