"""The candidates of a time-budget run, and how the user's list of them is read."""

import contextlib
import dataclasses
import fnmatch
from typing import Any

from sklearn.utils import get_tags

from skspeech._typing import Self

__all__ = [
    "Candidate",
    "NamedCandidatesMixin",
    "as_candidate",
    "check_candidates",
    "gather_candidates",
]


@dataclasses.dataclass
class Candidate:
    """A classifier that may join the ensemble, with hints on when to try it.

    A plain ``(name, estimator)`` tuple works, too. The hints only decide where a run begins;
    measurements on the data replace them.

    Parameters
    ----------
    name : str
        Its name in the leaderboard.
    estimator : classifier
        Unfitted classifier with `predict_proba`.
    where : {"auto", "main", "worker"}, default="auto"
        ``"main"`` runs in the calling process and shares its embeddings with the other candidates;
        use it only for classifiers that are quick and cannot hang. ``"worker"`` runs in a process
        of its own, on the data as given. ``"auto"`` is ``"main"`` for scikit-learn's linear models,
        naive Bayes, discriminant analysis, nearest neighbours and trees. For anything else, the
        stateless first steps of a Pipeline run in the calling process and are shared, and the rest
        goes to a worker. Parts of a FeatureUnion are shared, each with the candidates that use it.
    first : bool, default=False
        Whether this is the cheapest candidate, which gives the first answer.
    stage : int, default=0
        Candidates of a higher stage come later: each stage halves the expected gain.
    gain : float, default=1.0
        How much it is expected to improve the ensemble, relative to the others.
    cost : float, default=None
        Expected training time in seconds per clip, without the embedding.
    startup : float, default=0.0
        Expected seconds before training begins, such as for importing a library.
    max_memory : float, default=None
        Bytes of memory above which its worker process is killed. None is a fair share of the free
        memory.

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


class NamedCandidatesMixin:
    """Makes the candidates in the list parameters, so that a search can tune them."""

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        """Get the parameters, and with `deep=True` also those of the candidates in the list.

        Parameters
        ----------
        deep : bool, default=True
            Whether to include each candidate's estimator under its name, and its parameters as
            ``name__parameter``.

        Returns
        -------
        dict of str
        """
        params = super().get_params(deep=False)  # type: ignore[misc]
        if deep:
            for name, estimator in self._named_candidates().items():
                params[name] = estimator
                inner = estimator.get_params(deep=True) if hasattr(estimator, "get_params") else {}
                params.update({f"{name}__{key}": value for key, value in inner.items()})
        return params

    def set_params(self, **params: Any) -> Self:
        """Set parameters of the classifier, or of candidates in the list.

        Parameters
        ----------
        **params : dict
            Names as in :meth:`get_params`. A candidate's name sets its estimator.

        Returns
        -------
        self : TimeBudgetClassifier

        Raises
        ------
        ValueError
            If there is no such parameter.
        """
        if "candidates" in params:
            self.candidates = params.pop("candidates")
        names = self._named_candidates().keys() & params.keys()
        if names:
            replacing = {name: params.pop(name) for name in names}
            self.candidates = [_replaced(item, replacing) for item in self.candidates]
        return super().set_params(**params)  # type: ignore[misc]

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()  # type: ignore[misc]
        tags.input_tags.string = True
        items = self.candidates if isinstance(self.candidates, list) else []
        own = [as_candidate(item) for item in items if not isinstance(item, str)]
        inputs_of_own = [get_tags(candidate.estimator).input_tags for candidate in own]
        tags.input_tags.sparse = any(tag.sparse for tag in inputs_of_own)
        tags.input_tags.allow_nan = any(tag.allow_nan for tag in inputs_of_own)
        return tags

    def _named_candidates(self):
        """Estimators in the list whose names can be parameter names."""
        own = super().get_params(deep=False)
        named = {}
        for item in self.candidates if isinstance(self.candidates, list) else ():
            with contextlib.suppress(ValueError):  # `fit` says what is wrong with an item
                candidate = as_candidate(item)
                if candidate.name not in own and "__" not in candidate.name:
                    named[candidate.name] = candidate.estimator
        return named


def _replaced(item, estimators):
    """An item of the user's list, with its estimator replaced if `estimators` has its name."""
    candidate = None if isinstance(item, str) else as_candidate(item)
    if candidate is None or candidate.name not in estimators:
        return item
    return dataclasses.replace(candidate, estimator=estimators[candidate.name])


def check_candidates(candidates):
    """Check `candidates` before any work: the form of its items, `predict_proba`, unique names."""
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
    """Collect the user's and the line-up's candidates, without those left out by name.

    ``line_up(any_time=False)`` makes the list that ``"auto"`` stands for; ``any_time=True`` makes
    the list for an unlimited budget.
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
            by_name[candidate.name] = candidate  # replaces the line-up's candidate of that name
    unused = [pattern for pattern in patterns if not fnmatch.filter(by_name, pattern)]
    if unused and "auto" in wanted:
        # A pattern may also name candidates that the budget already excludes.
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
