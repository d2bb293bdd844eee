"""What is doubtful in labelled data, told before a model is trained on them."""

from skspeech.cli.common import say

__all__ = ["audited"]

_ADVICE = {
    "no-groups": " Put each speaker's clips into a folder inside of the class, or name a table's "
    "column by --groups; --groups none says that there are none.",
}


def audited(labelled, options, n_bad):
    """Look at labelled clips, and tell what is doubtful; an error where that was asked for.

    Parameters
    ----------
    labelled : Labelled
    options : dict
        Those of the command: ``groups``, ``n_jobs``, ``quiet`` and ``strict``.
    n_bad : int
        Clips that were left out already.

    Returns
    -------
    list of Finding
    """
    from skspeech.audit import audit

    findings = audit(labelled.paths, labelled.labels, labelled.groups, n_jobs=options["n_jobs"])
    if options["groups"] == "none":  # it is known that there are none
        findings = [finding for finding in findings if finding.kind != "no-groups"]
    lines = [f"  - {f.message}{_ADVICE.get(f.kind, '')}" for f in findings]
    if options["strict"] and (findings or n_bad):
        told = ["Before training:", *lines] if findings else []
        raise ValueError("\n".join([*told, "Nothing was trained, because of --strict."]))
    if findings and not options["quiet"]:
        say("\n".join(["Before training:", *lines]))
    return findings
