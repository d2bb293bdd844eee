"""Fetch the weights that a command needs before its work begins, or fail before it begins."""

__all__ = ["fetch_what_is_missing"]


def fetch_what_is_missing(labelled, options):
    """Fetch the weights that the line-up for these clips needs and this machine lacks.

    Parameters
    ----------
    labelled : Labelled
    options : dict
        Those of the command: ``preset``, ``time_budget`` and ``quiet``.

    Raises
    ------
    WeightsError
        If some can't be fetched.
    """
    from skspeech.time_budget.line_ups import default_candidates
    from skspeech.time_budget.pretrained import fetch_weights_of

    line_up = default_candidates(
        labelled.paths,
        labelled.labels,
        preset=options["preset"],
        time_budget=options["time_budget"],
    )
    estimators = [candidate.estimator for candidate in line_up]
    fetch_weights_of(estimators, progress=not options["quiet"])
