"""Models that may answer "unknown", for commands."""

from dataclasses import replace

import numpy as np

from skspeech.cli.common import say

__all__ = [
    "LABEL",
    "call_unknown",
    "known_part",
    "print_unknown",
    "reject_unknown",
    "unknown_results",
]

LABEL = "unknown"  # of a folder, or in a table


def known_part(labelled):
    """The clips of known classes, without examples of "unknown"."""
    return labelled.take(np.flatnonzero(np.asarray(labelled.labels) != LABEL))


def call_unknown(labelled, names, model):
    """Label clips of classes that a model does not know as unknown."""
    label = str(model.unknown_label)
    say(f"Not known to the model, so {label!r} is right for their clips: {', '.join(names)}.")
    labels = np.where(np.isin(labelled.labels, names), label, labelled.labels)
    return replace(labelled, labels=labels)


def reject_unknown(classifier, labelled, options):
    """Add the answer "unknown" to a trained classifier; clips may turn out to be bad."""
    from skspeech.audio import AudioError
    from skspeech.unknown.rejector import fit_rejector

    def fit(labelled):
        clips = labelled.paths, labelled.labels, labelled.groups
        return fit_rejector(classifier, *clips, options["unknown"], options["seed"])

    try:
        return fit(labelled)
    except AudioError as error:  # some candidates could train without these
        bad = {position for position, _, _ in error.failures}
        return fit(labelled.take([i for i in range(len(labelled)) if i not in bad]))
    except KeyboardInterrupt:
        say('Interrupted: the model does not answer "unknown".')
        return classifier


def unknown_results(model):
    """Error rates of a rejector on held-out clips, as plain values; None for other models."""
    if not hasattr(model, "false_rejects_"):
        return None
    results = {"target": model.target, "learnt_from": model.method_}
    for name in ("false_rejects", "false_accepts"):
        interval = getattr(model, f"{name}_interval_")
        results[name] = {
            "share": getattr(model, f"{name}_"),
            **dict(zip(("low", "high", "meaning"), interval)),
        }
    return results


def print_unknown(rates, out):
    """Print shares of false rejects and false accepts, such as `error_rates` gives."""
    for name, what in (
        ("false_rejects", "clips of known classes are rejected"),
        ("false_accepts", "clips of unknown classes are accepted"),
    ):
        rate = rates[name]
        if not np.isfinite(rate["share"]):
            continue
        limits = f"; {rate['meaning']}"
        if np.isfinite(rate["low"]):
            limits = f"; 9 times of 10, {rate['low']:.1%} to {rate['high']:.1%} {rate['meaning']}"
        out.print(f"Unknown: {rate['share']:.1%} of {what}{limits}.")
