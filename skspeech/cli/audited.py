"""Problems in labelled data, reported before a model is trained on them."""

from pathlib import Path

from skspeech.cli.common import say
from skspeech.cli.inputs import read_labelled
from skspeech.cli.pretrained import fetch_what_is_missing
from skspeech.cli.readable import leave_out_bad

__all__ = ["audited", "training_clips"]

_MAX_SECONDS = 6.0  # enough for a busy machine; others finish long before

_ADVICE = {
    "no-groups": " Put each speaker's clips into a folder inside of the class, or name a table's "
    "column by --groups; --groups none says that there are none.",
}


def training_clips(data, options):
    """Read labelled clips to train on, and first report what is missing, bad or doubtful.

    Parameters
    ----------
    data : str or path-like
        A folder or a table.
    options : dict
        Those of the command: ``path_column``, ``label_column``, ``groups``, ``preset``,
        ``time_budget``, ``n_jobs``, ``quiet`` and ``strict``.

    Returns
    -------
    labelled : Labelled
        Without the clips that can't be read.
    bad : list of (str, str)
        Paths of these clips, and reasons.
    findings : list of Finding
    """
    columns = {name: options[name] for name in ("path_column", "label_column", "groups")}
    labelled = read_labelled(data, **columns)
    names = set(labelled.labels.tolist())
    if len(names) == 1:
        label = str(labelled.labels[0])
        raise ValueError(f"All clips of {str(data)!r} are of one class, {label!r}. Two are needed.")
    if Path(data).is_dir() and labelled.groups is None:
        from skspeech.cli.layout import doubtful_classes

        if doubt := doubtful_classes(data, names):
            say(doubt)
    fetch_what_is_missing(labelled, options)
    labelled, bad = leave_out_bad(labelled, n_jobs=options["n_jobs"])
    findings = audited(labelled, options, bad)
    if any(finding.kind == "unreadable" for finding in findings):  # only decoding shows which
        labelled, more = leave_out_bad(labelled, thorough=True, n_jobs=options["n_jobs"])
        bad += more
    return labelled, bad, findings


def audited(labelled, options, bad):
    """Report what is doubtful in labelled clips, some of which were left out already.

    Returns a list of Finding; raises ValueError if there are any and ``--strict`` was given.
    """
    from skspeech.audit import audit

    limits = {"max_seconds": _MAX_SECONDS, "n_jobs": options["n_jobs"]}
    findings = audit(labelled.paths, labelled.labels, labelled.groups, **limits)
    if options["groups"] == "none":  # the user knows that there are none
        findings = [finding for finding in findings if finding.kind != "no-groups"]
    lines = [f"  - {f.message}{_ADVICE.get(f.kind, '')}" for f in findings]
    if options["strict"] and (findings or bad):
        told = ["Before training:", *lines] if findings else []
        raise ValueError("\n".join([*told, "Nothing was trained, because of --strict."]))
    if findings:  # shown even with --quiet, which only hides progress
        say("\n".join(["Before training:", *lines]))
    return findings
