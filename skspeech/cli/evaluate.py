"""The command ``skspeech evaluate``."""

from pathlib import Path

import click
import numpy as np

from skspeech.cli.common import (
    EXIT_STATUS,
    PARTIAL,
    columns_options,
    device_option,
    groups_option,
    json_option,
    n_jobs_option,
    quiet_option,
    skspeech,
)
from skspeech.cli.inputs import read_labelled
from skspeech.cli.models import class_names, load_classifier, score
from skspeech.cli.shown import print_scores, to_json
from skspeech.cli.unknown import call_unknown

__all__ = []


@skspeech.command("evaluate", epilog=EXIT_STATUS)
@click.argument("model", type=click.Path(exists=True, dir_okay=False))
@click.argument("data", type=click.Path(exists=True))
@columns_options
@groups_option
@device_option
@n_jobs_option
@quiet_option
@json_option
def _evaluate(model, data, path_column, label_column, groups, device, n_jobs, quiet, as_json):
    """Score a MODEL on DATA, clips with labels as for fit.

    The score is honest where the model has neither heard these clips nor these speakers. Clips
    that it was trained on are known by their content, and scored apart. To a model that answers
    'unknown', clips of classes that it does not know are unknown ones.
    """
    from skspeech._heard import ATTRIBUTE, was_trained_on

    columns = {"path_column": path_column, "label_column": label_column}
    try:
        labelled = read_labelled(data, groups=groups, **columns)
    except ValueError:
        if groups != "auto":
            raise
        labelled = read_labelled(data, groups="none", **columns)  # not in the way of a score
    classifier = load_classifier(model, device, n_jobs)
    unknown = sorted(set(labelled.labels.tolist()) - set(class_names(classifier)))
    if unknown and hasattr(classifier, "unknown_label"):
        labelled = call_unknown(labelled, unknown, classifier)
    elif unknown:
        known = ", ".join(class_names(classifier))
        raise ValueError(
            f"The model knows the classes {known}; {data} has labels that are none of them: "
            f"{', '.join(unknown)}."
        )
    heard = was_trained_on(classifier, labelled.paths)
    results = {"n_trained_on": int(heard.sum()) if hasattr(classifier, ATTRIBUTE) else None}
    failures, parts = [], {}
    for name, rows in (("new", ~heard), ("trained_on", heard)):
        parts[name], bad = score(classifier, labelled.take(np.flatnonzero(rows)), quiet)
        failures += bad
    if not any(parts.values()):
        raise ValueError(f"None of the {len(labelled)} clips could be read.")
    if as_json:
        new, known = (part.as_dict() if part else None for part in parts.values())
        new = new or {"n_clips": 0, "balanced_accuracy": None}
        click.echo(to_json({**new, **results, "trained_on": known, "failures": failures}))
    else:
        click.echo(_overlap(results["n_trained_on"], len(labelled)))
        if parts["new"]:
            print_scores(parts["new"], Path(data).name)
        if parts["trained_on"]:
            title = "Clips that it was trained on, which say nothing of new ones"
            print_scores(parts["trained_on"], title, brief=True)
    return PARTIAL if failures else 0


def _overlap(n, n_clips):
    if n is None:
        return "The model's file does not say which clips it was trained on."
    return f"The model was trained on {n or 'none'} of these {n_clips} clips."
