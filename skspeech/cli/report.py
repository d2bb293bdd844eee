"""The command ``skspeech report``."""

from pathlib import Path

import click

from skspeech.cli.common import (
    EXIT_STATUS,
    PARTIAL,
    check_output,
    labelled_options,
    overwrite_option,
    say,
    skspeech,
)
from skspeech.cli.inputs import read_to_score
from skspeech.cli.models import as_its_classes, load_classifier, what_it_knows
from skspeech.cli.readable import leave_out_bad

__all__ = []


@skspeech.command("report", short_help="Write an HTML report on a MODEL.", epilog=EXIT_STATUS)
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
@labelled_options
def _report(model, data, output, train, overwrite, **options):
    """Write one HTML page on how a MODEL does on DATA, clips with labels as for fit.

    Scores and what new groups will score, the worst mistakes to listen to and which of their
    moments decided, a map of the clips, and warnings of what makes a score untrustworthy. Clips
    that the model was trained on are known by their content, and groups by their names; they are
    left out where there are others.
    """
    check_output(output, overwrite)
    test = read_to_score(data, options)
    part = None if train is None else read_to_score(train, options)

    from skspeech._heard import heard, knows_its_clips
    from skspeech.report import write_report
    from skspeech.report.writing import template

    template("report.html")  # fails before the work if something is not installed
    classifier = load_classifier(model, options["device"], options["n_jobs"], options["quiet"])
    thorough = {"thorough": True, "n_jobs": options["n_jobs"]}
    test, bad = leave_out_bad(test, **thorough)
    of_train = {}
    if part is not None:
        part, more = leave_out_bad(part, **thorough)
        bad += [clip for clip in more if clip not in bad]
        is_own, _ = heard(classifier, part.paths)
        if knows_its_clips(classifier) and not is_own.all():
            n = is_own.sum() or "none"
            say(f"The model was trained on {n} of the {len(part)} clips of {train}.")
            part = part.take(is_own.nonzero()[0])
    if part:
        labels = as_its_classes(classifier, part.labels)
        of_train = {"X_train": part.paths, "y_train": labels, "groups_train": part.groups}
    if not options["quiet"]:
        say(what_it_knows(classifier, test).text)
    write_report(
        classifier,
        test.paths,
        as_its_classes(classifier, test.labels),
        output,
        groups_test=test.groups,
        title=f"{Path(model).name} on {Path(data).resolve().name}",
        left_out=bad,
        **of_train,
    )
    if not options["quiet"]:
        say(f"The report is in {output}.")
    return PARTIAL if bad else 0
