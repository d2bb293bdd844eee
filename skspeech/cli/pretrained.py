"""Fetch the weights that a command needs before its work begins, or fail before it begins."""

__all__ = ["fetch_weights_of", "fetch_what_is_missing"]


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

    line_up = default_candidates(
        labelled.paths,
        labelled.labels,
        preset=options["preset"],
        time_budget=options["time_budget"],
    )
    fetch_weights_of([candidate.estimator for candidate in line_up], options["quiet"])


def fetch_weights_of(estimators, quiet):
    """Fetch the weights that estimators, fitted or not, need and this machine lacks.

    Parameters
    ----------
    estimators : estimator, or list of estimators
    quiet : bool

    Raises
    ------
    WeightsError
        If some can't be fetched; the message names all of them.
    """
    from skspeech.time_budget.pretrained import needed_weights
    from skspeech.weights.store import fetch_missing_weights

    fetch_missing_weights(needed_weights(estimators), progress=not quiet)
