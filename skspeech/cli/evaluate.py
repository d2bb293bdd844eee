"""The command ``skspeech evaluate``."""

from pathlib import Path

import click
import numpy as np

from skspeech.cli.common import EXIT_STATUS, json_option, labelled_options, skspeech
from skspeech.cli.inputs import read_to_score
from skspeech.cli.models import (
    class_names,
    load_classifier,
    not_its_classes,
    score,
    what_it_knows,
)
from skspeech.cli.readable import none_is_readable, status_of
from skspeech.cli.shown import print_scores, to_json
from skspeech.cli.unknown import call_unknown

__all__ = []

_TITLES = {
    "known_groups": "Other clips of groups that it was trained on, which say little of new groups",
    "trained_on": "Clips that it was trained on, which say nothing of new ones",
}


@skspeech.command("evaluate", short_help="Score a MODEL on clips with labels.", epilog=EXIT_STATUS)
@click.argument("model", type=click.Path(exists=True, dir_okay=False))
@click.argument("data", type=click.Path(exists=True))
@labelled_options
@json_option
def _evaluate(model, data, as_json, **options):
    """Score a MODEL on DATA, clips with labels as for fit.

    The score is honest where the model has neither heard these clips nor these speakers. Clips
    that it was trained on are known by their content, and scored apart; so are other clips of
    groups that it was trained on, which are known by their names. To a model that answers
    'unknown', clips of classes that it does not know are unknown ones.
    """
    labelled = read_to_score(data, options)
    classifier = load_classifier(model, options["device"], options["n_jobs"], options["quiet"])
    unknown = sorted(set(labelled.labels.tolist()) - set(class_names(classifier)))
    if unknown and hasattr(classifier, "unknown_label"):
        labelled = call_unknown(labelled, unknown, classifier)
    elif unknown:
        raise not_its_classes(classifier, unknown)
    known = what_it_knows(classifier, labelled)
    rows = {
        "new": ~known.by_clip & ~known.by_group,
        "known_groups": known.by_group,
        "trained_on": known.by_clip,
    }
    failures, parts = [], {}
    for name, mask in rows.items():
        parts[name], bad = score(classifier, labelled.take(np.flatnonzero(mask)), options["quiet"])
        failures += bad
    if not any(parts.values()):
        raise none_is_readable(len(labelled))
    if as_json:
        plain = {name: part.as_dict() if part else None for name, part in parts.items()}
        new = plain.pop("new") or {"n_clips": 0, "balanced_accuracy": None}
        n = known.n_trained_on
        click.echo(to_json({**new, "n_trained_on": n, **plain, "failures": failures}))
    else:
        click.echo(known.text)
        if parts["new"]:
            print_scores(parts["new"], Path(data).resolve().name)
        for name, title in _TITLES.items():
            if parts[name]:
                print_scores(parts[name], title, brief=True)
    return status_of(len(failures), len(labelled))
