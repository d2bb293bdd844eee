"""Weights that a training needs are fetched before it begins, or missed before it begins."""

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
        If some can't be had.
    """
    from skspeech.time_budget.line_ups import default_candidates
    from skspeech.time_budget.pretrained import needed_weights
    from skspeech.weights.store import fetch_missing_weights

    line_up = default_candidates(
        labelled.paths,
        labelled.labels,
        preset=options["preset"],
        time_budget=options["time_budget"],
    )
    names = needed_weights([candidate.estimator for candidate in line_up])
    fetch_missing_weights(names, progress=not options["quiet"])
