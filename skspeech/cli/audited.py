"""What is doubtful in labelled data, told before a model is trained on them."""

from skspeech.cli.common import say
from skspeech.cli.inputs import read_labelled
from skspeech.cli.pretrained import fetch_what_is_missing
from skspeech.cli.readable import leave_out_bad

__all__ = ["audited", "training_clips"]

_MAX_SECONDS = 6.0  # a busy machine needs them; others are done long before

_ADVICE = {
    "no-groups": " Put each speaker's clips into a folder inside of the class, or name a table's "
    "column by --groups; --groups none says that there are none.",
}


def training_clips(data, options):
    """Read labelled clips to train on, and tell what is missing, bad or doubtful before that.

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
        Paths and reasons of these.
    findings : list of Finding
    """
    columns = {name: options[name] for name in ("path_column", "label_column", "groups")}
    labelled = read_labelled(data, **columns)
    if len(set(labelled.labels.tolist())) == 1:
        label = str(labelled.labels[0])
        raise ValueError(f"All clips of {str(data)!r} are of one class, {label!r}. Two are needed.")
    fetch_what_is_missing(labelled, options)
    labelled, bad = leave_out_bad(labelled, n_jobs=options["n_jobs"])
    findings = audited(labelled, options, bad)
    if any(finding.kind == "unreadable" for finding in findings):  # as only decoding tells
        labelled, more = leave_out_bad(labelled, thorough=True, n_jobs=options["n_jobs"])
        bad += more
    return labelled, bad, findings


def audited(labelled, options, bad):
    """Tell what is doubtful in labelled clips, some of which were left out already.

    Returns a list of Finding; ValueError where there are some and they were asked to be errors.
    """
    from skspeech.audit import audit

    limits = {"max_seconds": _MAX_SECONDS, "n_jobs": options["n_jobs"]}
    findings = audit(labelled.paths, labelled.labels, labelled.groups, **limits)
    if options["groups"] == "none":  # it is known that there are none
        findings = [finding for finding in findings if finding.kind != "no-groups"]
    lines = [f"  - {f.message}{_ADVICE.get(f.kind, '')}" for f in findings]
    if options["strict"] and (findings or bad):
        told = ["Before training:", *lines] if findings else []
        raise ValueError("\n".join([*told, "Nothing was trained, because of --strict."]))
    if findings:  # --quiet is about progress
        say("\n".join(["Before training:", *lines]))
    return findings
