"""What a time-budget run may train, and how the user's list of candidates is read."""

import dataclasses
import fnmatch
from typing import Any

__all__ = ["Candidate", "as_candidate", "check_candidates", "gather_candidates", "replaced"]


@dataclasses.dataclass
class Candidate:
    """A classifier that may join the ensemble, with hints for the order of things.

    A plain ``(name, estimator)`` tuple does as well. The hints only say where to begin: what is
    measured on the data at hand replaces them.

    Parameters
    ----------
    name : str
        Its name in the leaderboard.
    estimator : classifier
        Not fitted; with `predict_proba`.
    where : {"auto", "main", "worker"}, default="auto"
        ``"main"`` runs in the calling process, and shares its embeddings with the other candidates;
        only for what is quick and cannot hang. ``"worker"`` runs in a process of its own, on the
        data as they are. ``"auto"`` is ``"main"`` for scikit-learn's linear models, naive Bayes,
        discriminant analysis, nearest neighbours and trees; for anything else the stateless
        first steps of a Pipeline run here and are shared, and the rest goes to a worker.
    first : bool, default=False
        Whether this is the cheapest look at the data, which gives the first answer.
    stage : int, default=0
        A higher stage comes later: it halves the expected gain.
    gain : float, default=1.0
        How much is expected of it, compared with the others.
    cost : float, default=None
        Expected training time in seconds per clip, without the embedding.
    startup : float, default=0.0
        Expected seconds before training begins, such as for importing a library.
    max_memory : float, default=None
        Bytes that its worker process may hold; more, and it is killed. None is a fair share of the
        free memory.

    Examples
    --------
    >>> from sklearn.linear_model import LogisticRegression
    >>> from skspeech.time_budget import Candidate
    >>> Candidate("linear", LogisticRegression(), first=True).name
    'linear'
    """

    name: str
    estimator: Any
    where: str = "auto"
    first: bool = False
    stage: int = 0
    gain: float = 1.0
    cost: float | None = None
    startup: float = 0.0
    max_memory: float | None = None


def as_candidate(item):
    """Turn an item of the user's list into a `Candidate`."""
    if isinstance(item, Candidate):
        if item.where not in ("auto", "main", "worker"):
            raise ValueError(
                f"where={item.where!r} of the candidate {item.name!r} must be 'auto', 'main' or "
                "'worker'."
            )
        return item
    if isinstance(item, tuple | list) and len(item) == 2 and isinstance(item[0], str):
        return Candidate(*item)
    raise ValueError(
        f"candidates holds {item!r}; each item must be a (name, estimator) tuple or a Candidate."
    )


def replaced(item, estimators):
    """An item of the user's list, with another estimator if its name is among those given."""
    candidate = None if isinstance(item, str) else as_candidate(item)
    if candidate is None or candidate.name not in estimators:
        return item
    return dataclasses.replace(candidate, estimator=estimators[candidate.name])


def check_candidates(candidates):
    """Check the parameter `candidates` before any work: its form, its names, `predict_proba`."""
    if isinstance(candidates, str):
        return
    if not candidates:
        raise ValueError(
            'candidates=[] is empty; give "auto", or a list of (name, estimator) tuples.'
        )
    names = []
    for item in candidates:
        if isinstance(item, str):
            if item != "auto" and not item.startswith("-"):
                raise ValueError(
                    f'candidates holds {item!r}; a string in it is "auto", or "-" and a '
                    "pattern of names to leave out."
                )
            continue
        candidate = as_candidate(item)
        if not hasattr(candidate.estimator, "predict_proba"):
            raise ValueError(
                f"The candidate {candidate.name!r}, {candidate.estimator!r}, has no "
                "predict_proba. Wrap it in sklearn.calibration.CalibratedClassifierCV."
            )
        names.append(candidate.name)
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise ValueError(f"Names of candidates must be unique; {twice} occur more than once.")


def gather_candidates(candidates, line_up):
    """Read the parameter `candidates`: the user's own, those of the line-up, none left out by name.

    Parameters
    ----------
    candidates : "auto" or list
        As checked by :func:`check_candidates`.
    line_up : callable
        ``line_up(any_time=False)`` makes the list that ``"auto"`` stands for; with
        ``any_time=True`` that for an unlimited budget.

    Returns
    -------
    list of Candidate
    """
    wanted = [candidates] if isinstance(candidates, str) else candidates
    by_name, patterns = {}, []
    for item in wanted:
        if isinstance(item, str) and item == "auto":
            by_name.update((candidate.name, candidate) for candidate in line_up())
        elif isinstance(item, str):
            patterns.append(item[1:])
        else:
            candidate = as_candidate(item)
            by_name[candidate.name] = candidate  # in the place of the line-up's of that name
    unused = [pattern for pattern in patterns if not fnmatch.filter(by_name, pattern)]
    if unused and "auto" in wanted:
        # What there is no time for anyway may be left out by name, too.
        ever = [candidate.name for candidate in line_up(any_time=True)]
        unused = [pattern for pattern in unused if not fnmatch.filter(ever, pattern)]
    if unused:
        raise ValueError(
            f"candidates leaves out {unused}, which matches no name. Names: {sorted(by_name)}."
        )
    kept = [
        candidate
        for name, candidate in by_name.items()
        if not any(fnmatch.fnmatchcase(name, pattern) for pattern in patterns)
    ]
    if not kept:
        raise ValueError(f"candidates={candidates!r} leaves no candidate.")
    return kept
