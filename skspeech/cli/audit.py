"""The command ``skspeech audit``."""

import math
from pathlib import Path

import click
import numpy as np

from skspeech._download import some
from skspeech.cli.audited import training_clips
from skspeech.cli.common import (
    EXIT_STATUS,
    PARTIAL,
    check_output,
    json_option,
    labelled_options,
    overwrite_option,
    say,
    skspeech,
)
from skspeech.cli.inputs import Labelled, iter_paths
from skspeech.cli.readable import leave_out_bad
from skspeech.cli.shown import to_json

__all__ = []

_LISTED = 20
# The same audit as in `fit`, and the same weights fetched beforehand.
_AS_FIT = {"preset": "fast", "time_budget": 60.0, "strict": False}


@skspeech.command("audit", short_help="Find labels worth a second look.", epilog=EXIT_STATUS)
@click.argument("data", type=click.Path(exists=True))
@click.option(
    "-o",
    "--output",
    type=click.Path(dir_okay=False, path_type=Path),
    help="An HTML file, in which to listen to the clips and to mark what is right.",
)
@click.option(
    "--share",
    type=click.FloatRange(0, 1, min_open=True),
    default=0.1,
    show_default=True,
    help="Largest share of the clips to show.",
)
@click.option(
    "--unlabelled",
    type=click.Path(exists=True),
    metavar="FOLDER",
    help="Clips without labels; says which of them to label next.",
)
@click.option(
    "--next",
    "n_next",
    type=click.IntRange(1),
    default=10,
    show_default=True,
    metavar="N",
    help="How many of these to name.",
)
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True, help="Of the folds.")
@labelled_options
@overwrite_option
@json_option
def _audit(data, output, share, unlabelled, n_next, seed, **options):
    """Find labels in DATA that are probably wrong, before a model learns them.

    Each clip is judged by a model that was trained on the others, whole groups being held out where
    there are some. Where another class is more probable than the label, the clip is shown, the most
    doubtful first: either it is a hard one, or its label is wrong. The same goes for clips that
    sound the same and have different labels.

    In the page that --output writes, one can listen to the clips and mark what is right. It saves a
    table of all clips, corrected, that fit takes.
    """
    from skspeech.report import contradicting_copies, most_different

    if output is not None:
        from skspeech.report.writing import template

        check_output(output, options["overwrite"])
        template("labels.html")  # fails before the work if something is not installed
    others = [] if unlabelled is None else list(iter_paths([unlabelled]))
    labelled, bad, findings = training_clips(data, {**_AS_FIT, **options})
    if not options["quiet"]:
        say(f"{len(labelled)} clips are judged by models that have not heard them.")
    labelled, table = _judged(labelled, bad, seed, options)
    n_unjudged, n_doubtful = int(table["doubt"].isna().sum()), int((table["doubt"] > 0).sum())
    doubtful = table[: min(n_doubtful, math.ceil(share * len(table)))]
    copies = contradicting_copies(labelled.paths, labelled.labels)
    new = []
    if unlabelled is not None:
        known = set(map(_absolute, labelled.paths))
        paths = [path for path in others if _absolute(path) not in known]
        paths = _readable(paths, bad)
        chosen = most_different(paths, labelled.paths, n_next) if paths else []
        new = [paths[i] for i in chosen]
    if output is not None:
        from skspeech.report import write_label_page

        write_label_page(
            output,
            labelled.paths,
            labelled.labels,
            doubtful,
            labelled.groups,
            copies=copies,
            unlabelled=new,
            remarks=[
                *_counts(labelled, len(doubtful), n_doubtful, n_unjudged),
                *_left_out(bad),
                *(finding.message for finding in findings),
            ],
            title=f"Labels of {Path(data).resolve().name}",
        )
    if options["as_json"]:
        counts = {"n_clips": len(labelled), "n_doubtful": n_doubtful, "n_not_judged": n_unjudged}
        click.echo(to_json(counts | _as_dict(labelled, findings, doubtful, copies, new, output)))
    else:
        counts = _counts(labelled, len(doubtful), n_doubtful, n_unjudged)
        _print(counts, labelled, doubtful, copies, new, unlabelled is not None)
        if output is not None:
            click.echo(f"Listen, and mark what is right, in {output}.")
    return PARTIAL if bad else 0


def _judged(labelled, bad, seed, options):
    """How doubtful labels are, of the clips that can be read; adds the others to `bad`."""
    from skspeech.audio import AudioError
    from skspeech.report import doubtful_labels

    clips = labelled.paths, labelled.labels, labelled.groups
    computing = {"device": options["device"] or "auto", "n_jobs": options["n_jobs"]}
    try:
        return labelled, doubtful_labels(*clips, random_state=seed, **computing)
    except AudioError:  # only decoding shows which
        labelled, more = leave_out_bad(labelled, thorough=True, n_jobs=options["n_jobs"])
        if not more:
            raise
    bad += more
    return _judged(labelled, bad, seed, options)


def _absolute(path):
    return str(Path(path).absolute())


def _readable(paths, bad):
    """The unlabelled clips that can be read; reports the others, and adds them to `bad`."""
    if not paths:
        return []
    good, more = leave_out_bad(Labelled(paths, np.zeros(len(paths)), None), thorough=True)
    bad += more
    return good.paths


def _counts(labelled, n_shown, n_doubtful, n_unjudged):
    """How many clips are doubtful, shown and not judged, in sentences."""
    of_all, sound = f"of {len(labelled)} clips", "sounds" if n_doubtful == 1 else "sound"
    if not n_doubtful:
        lines = [f"None {of_all} sounds more like another class than like its label."]
    else:
        lines = [f"{n_doubtful} {of_all} {sound} more like another class than like the label."]
    if n_shown < n_doubtful:
        lines.append(f"The {n_shown} most doubtful are shown; --share 1 shows all.")
    if n_unjudged:
        unit = "clip" if labelled.groups is None else "group"
        are = "is" if n_unjudged == 1 else "are"
        lines.append(f"{n_unjudged} {are} not judged: of a class with only one {unit}.")
    return lines


def _left_out(bad):
    if not bad:
        return []
    are = "clip that can't be read is" if len(bad) == 1 else "clips that can't be read are"
    return [f"{len(bad)} {are} not in the table: {some(path for path, _ in bad)}."]


def _print(counts, labelled, doubtful, copies, new, was_asked):
    for line in counts:
        click.echo(line)
    _list(
        f"  {labelled.paths[row.clip]}: {row.label} ({row.p_label:.0%}), sounds like "
        f"{row.suggested} ({row.p_suggested:.0%})"
        for row in doubtful.itertuples()
    )
    if copies:
        click.echo("The same sound under two labels:")
        _list(
            f"  {labelled.paths[i]}: {labelled.labels[i]}; {labelled.paths[j]}: "
            f"{labelled.labels[j]} (correlation {r:.2f})"
            for i, j, r in copies
        )
    if new:
        click.echo("Worth labelling next, because they are least like the labelled clips:")
        _list(f"  {path}" for path in new)
    elif was_asked:
        click.echo("There are no other clips that could be labelled.")


def _list(lines):
    lines = list(lines)
    for line in lines[:_LISTED]:
        click.echo(line)
    if len(lines) > _LISTED:
        click.echo(f"  ... and {len(lines) - _LISTED} more; --json or --output has them all.")


def _as_dict(labelled, findings, doubtful, copies, new, output):
    return {
        "findings": [finding.message for finding in findings],
        "doubtful": [
            {
                "path": labelled.paths[row.clip],
                "label": row.label,
                "suggested": row.suggested,
                "p_label": row.p_label,
                "p_suggested": row.p_suggested,
                "group": None if labelled.groups is None else str(labelled.groups[row.clip]),
            }
            for row in doubtful.itertuples()
        ],
        "copies": [
            {"paths": [labelled.paths[i], labelled.paths[j]], "correlation": r}
            for i, j, r in copies
        ],
        "next": list(new),
        "page": None if output is None else str(output),
    }
