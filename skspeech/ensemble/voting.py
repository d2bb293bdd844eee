"""The voting ensemble: no single model is best on all data, so several vote."""

from numbers import Integral, Real
from typing import Any, Literal

import numpy as np
from sklearn import clone
from sklearn.base import BaseEstimator
from sklearn.ensemble import VotingClassifier
from sklearn.utils import Bunch, assert_all_finite, get_tags
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.parallel import Parallel, delayed
from sklearn.utils.validation import check_is_fitted

from skspeech._labels import check_groups, check_labels, check_sample_weight
from skspeech._one_clip import PredictMixin
from skspeech._reporting import ReportMixin
from skspeech._sklearn import Interval, Options, _fit_context
from skspeech._typing import ArrayLike, ClipsLike, Self
from skspeech.ensemble.blending import FLOOR, geometric_mean
from skspeech.ensemble.calibration import at_temperature, cross_validated_temperature
from skspeech.ensemble.members import (
    active_weights,
    check_members,
    columns_of,
    fit_member,
    kept,
    predict_proba_of,
    route,
)
from skspeech.transformers.together import embed_together

__all__ = ["GeometricMeanVotingClassifier"]


class GeometricMeanVotingClassifier(ReportMixin, PredictMixin, VotingClassifier):
    """Vote by the weighted geometric mean of the members' probabilities.

    It has the interface of :class:`sklearn.ensemble.VotingClassifier` with ``voting="soft"``, but
    multiplies probabilities where that one adds them. A confident member counts for more than an
    undecided one, which suits members that use different properties of a clip. A floor under the
    probabilities keeps one member's zero from being a veto.

    `X` goes to the members unchanged: a list of paths or waveforms, a table, or whatever else they
    take. `transform` returns the members' probabilities side by side, without floor or mean, and 0
    for a class that a member never saw.

    Parameters
    ----------
    estimators : list of (str, estimator) tuples
        Named classifiers with `predict_proba`. `fit` trains clones of them. ``"drop"`` in place of
        a classifier leaves it out; ``set_params(name="drop")`` does the same.
    weights : array-like of shape (n_classifiers,), default=None
        How much each of `estimators` counts: non-negative, at least one above zero. None is equal
        weights. They are read at prediction, so they can be changed by `set_params` without
        fitting again.
    n_jobs : int, default=None
        Number of members that are fitted at once, each in its own process with its share of the
        processors. None is 1 unless in a :obj:`joblib.parallel_config` context, -1 is one for each
        processor. Members fitted one after another share one cache of embeddings; members in
        several processes share one only if `memory` is set on the extractors.
    floor : float, default=1e-3
        Probabilities below the floor are raised to it, and so is a class that a member never saw.
        At 1e-3, two members that give 0.99 overrule a third that gives 0. Above 0 and below 1; it
        should be well below ``1 / n_classes``.
    calibrate : int or False, default=False
        Number of folds with which `fit` finds the temperature that calibrates the probabilities.
        The members are trained once more for each fold. With `groups`, no group is on both sides
        of a fold. False leaves the temperature at 1; so does, with a warning, data of which rows of
        fewer than two classes can be held out.
    verbose : bool, default=False
        Print the time that each member took to fit.

    Attributes
    ----------
    estimators_ : list of classifiers
        The fitted members, without those that are ``"drop"``. Unlike in `VotingClassifier`, they
        are fitted on the labels as given, so each predicts the same labels as the ensemble.
    named_estimators_ : :class:`~sklearn.utils.Bunch`
        The fitted members by name, and ``"drop"`` for those that are dropped.
    classes_ : ndarray of shape (n_classes,)
        The class labels.
    temperature_ : float
        Divisor of the logarithms of the mean probabilities. Below 1, the ensemble is more confident
        than the mean of its members. It changes no predicted label.
    n_features_in_ : int
        Number of features seen during `fit`, if the members have it.
    feature_names_in_ : ndarray of shape (n_features_in_,)
        Names of features seen during `fit`, if the members have them.

    See Also
    --------
    geometric_mean : The mean itself, for arrays of probabilities.

    References
    ----------
    .. [1] G. E. Hinton, "Training products of experts by minimizing contrastive divergence",
           Neural Computation 14(8), 2002.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from sklearn.linear_model import LogisticRegression
    >>> from sklearn.naive_bayes import GaussianNB
    >>> from skspeech import GeometricMeanVotingClassifier
    >>> X, y = load_iris(return_X_y=True)
    >>> members = [("linear", LogisticRegression(max_iter=1000)), ("bayes", GaussianNB())]
    >>> ensemble = GeometricMeanVotingClassifier(members, weights=[2, 1]).fit(X, y)
    >>> ensemble.predict_proba(X[:2]).round(2)
    array([[0.99, 0.01, 0.  ],
           [0.99, 0.01, 0.  ]])
    >>> ensemble.set_params(bayes="drop").fit(X, y).named_estimators_
    {'linear': LogisticRegression(max_iter=1000), 'bayes': 'drop'}
    """

    # Parameters of VotingClassifier that are constants here.
    voting = "soft"
    flatten_transform = True

    _parameter_constraints: dict = {
        "estimators": [list],
        "weights": ["array-like", None],
        "n_jobs": [None, Integral],
        "floor": [Interval(Real, 0, 1, closed="neither")],
        "calibrate": [Interval(Integral, 2, None, closed="left"), Options(bool, {False})],
        "verbose": ["verbose"],
    }

    def __init__(
        self,
        estimators: list[tuple[str, BaseEstimator]],
        *,
        weights: ArrayLike | None = None,
        n_jobs: int | None = None,
        floor: float = FLOOR,
        calibrate: int | Literal[False] = False,
        verbose: bool = False,
    ) -> None:
        self.estimators = estimators
        self.weights = weights
        self.n_jobs = n_jobs
        self.floor = floor
        self.calibrate = calibrate
        self.verbose = verbose

    @classmethod
    def from_fitted(
        cls,
        estimators: list[tuple[str, BaseEstimator]],
        *,
        weights: ArrayLike | None = None,
        classes: ArrayLike | None = None,
        temperature: float = 1.0,
        **params: Any,
    ) -> Self:
        """Build the ensemble from classifiers that are already fitted.

        They are taken as they are: neither cloned nor fitted again. They may have seen different
        classes.

        Parameters
        ----------
        estimators : list of (str, estimator) tuples
            Named fitted classifiers, or ``"drop"``.
        weights : array-like of shape (n_classifiers,), default=None
            How much each of them counts.
        classes : array-like of shape (n_classes,), default=None
            All class labels. None is every class that a member has seen.
        temperature : float, default=1.0
            The value of `temperature_`, above 0.
        **params : dict
            Other parameters of the constructor, such as `floor`.

        Returns
        -------
        GeometricMeanVotingClassifier
            A fitted ensemble.

        Raises
        ------
        sklearn.exceptions.NotFittedError
            If a member is not fitted.
        ValueError
            If a member has seen a class that is not in `classes`, or `temperature` is not above 0.

        Examples
        --------
        >>> from sklearn.naive_bayes import GaussianNB
        >>> from skspeech import GeometricMeanVotingClassifier
        >>> X, y = [[0.0], [1.0], [4.0], [5.0], [9.0]], ["a", "a", "b", "b", "c"]
        >>> members = [("some", GaussianNB().fit(X[:4], y[:4])), ("all", GaussianNB().fit(X, y))]
        >>> GeometricMeanVotingClassifier.from_fitted(members, weights=[1, 2]).predict(X)
        array(['a', 'a', 'b', 'b', 'c'], dtype='<U1')
        """
        ensemble = cls(estimators, weights=weights, **params)
        ensemble._validate_params()
        check_members(ensemble)
        if not 0 < temperature < np.inf:
            raise ValueError(f"temperature={temperature!r} must be above 0 and finite.")
        members = [member for _, member in kept(estimators)]
        for member in members:
            check_is_fitted(member)
        if classes is None:
            classes = np.concatenate([member.classes_ for member in members])
        ensemble.classes_ = np.unique(classes)
        ensemble.temperature_ = float(temperature)
        ensemble._set_members(members)
        return ensemble

    @_fit_context(prefer_skip_nested_validation=False)
    def fit(
        self,
        X: ClipsLike,
        y: ArrayLike,
        sample_weight: ArrayLike | None = None,
        groups: ArrayLike | None = None,
        **fit_params: Any,
    ) -> Self:
        """Fit a clone of each member.

        Parameters
        ----------
        X : sequence of n_samples clips, or array-like of shape (n_samples, n_features)
            What the members take.
        y : array-like of shape (n_samples,)
            The labels.
        sample_weight : array-like of shape (n_samples,), default=None
            How much each sample counts, not negative. With metadata routing, the members that
            request it get it. Without, those get it whose `fit`, or the `fit` of a step in their
            pipeline, takes it; a warning names the others. Held-out samples count by it, too, when
            the temperature is found.
        groups : array-like of shape (n_samples,), default=None
            Members that hold samples out hold the samples of one group, such as the clips of one
            speaker, out together. Members get it as they get `sample_weight`, but without a
            warning.
        **fit_params : dict
            Further arguments for the members' `fit`, as requested by metadata routing; needs
            ``sklearn.set_config(enable_metadata_routing=True)``.

        Returns
        -------
        self : GeometricMeanVotingClassifier

        Raises
        ------
        ValueError
            If labels are missing, weights are negative or not finite, lengths differ, or members
            are not as described above.
        TypeError
            If no member takes `sample_weight`.
        """
        check_members(self)
        y = check_labels(y)
        assert_all_finite(y, input_name="y")
        check_classification_targets(y)
        if sample_weight is not None:
            fit_params["sample_weight"] = check_sample_weight(sample_weight, len(y))
        if groups is not None:
            fit_params["groups"] = check_groups(groups, len(y))
        params = route(self, fit_params)
        fits = (
            delayed(fit_member)(name, clone(member), X, y, params[name], self.verbose)
            for name, member in kept(self.estimators)
        )
        members = Parallel(n_jobs=self.n_jobs)(fits)
        self.classes_, self.temperature_ = np.unique(y), 1.0
        self._set_members(members)
        if self.calibrate:
            self.temperature_ = cross_validated_temperature(self, X, y, fit_params)
        return self

    def predict_proba(self, X: ClipsLike) -> np.ndarray:
        """Predict the probability of each class.

        Parameters
        ----------
        X : sequence of n_samples clips, or array-like of shape (n_samples, n_features)
            What the members take.

        Returns
        -------
        ndarray of shape (n_samples, n_classes)
            The geometric mean of the members' probabilities, at the temperature `temperature_`;
            each row sums to 1.
        """
        check_is_fitted(self)
        mean = geometric_mean(self._collect_probas(X), active_weights(self), floor=self.floor)
        return at_temperature(mean, getattr(self, "temperature_", 1.0))  # older pickles have none

    def get_feature_names_out(self, input_features: ArrayLike | None = None) -> np.ndarray:
        """Name the columns of `transform`, such as ``geometricmeanvotingclassifier_speaker_angry``.

        Parameters
        ----------
        input_features : array-like of str, default=None
            Not used; scikit-learn passes it.

        Returns
        -------
        ndarray of str objects
        """
        check_is_fitted(self)
        prefix = type(self).__name__.lower()
        names = [name for name, _ in kept(self.named_estimators_.items())]
        return np.asarray(
            [f"{prefix}_{name}_{label}" for name in names for label in self.classes_], dtype=object
        )

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        # `fit` checks the items of `estimators`; here they may still be anything.
        members = [item[1] for item in self.estimators if isinstance(item, tuple | list)]
        members = [member for member in members if hasattr(member, "__sklearn_tags__")]
        tags.input_tags.string = all(get_tags(member).input_tags.string for member in members)
        return tags

    def _set_members(self, members):
        names = [name for name, _ in kept(self.estimators)]
        fitted = dict(zip(names, members, strict=True))
        self.estimators_ = list(members)
        self.named_estimators_ = Bunch(**(dict(self.estimators) | fitted))
        self._columns = [columns_of(*item, self.classes_) for item in fitted.items()]
        named = [member for member in members if hasattr(member, "feature_names_in_")]
        self.__dict__.pop("feature_names_in_", None)  # of an earlier fit
        if named:
            self.feature_names_in_ = named[0].feature_names_in_

    def _collect_probas(self, X):
        """Return the members' probabilities, shape (n_members, n_samples, n_classes)."""
        embed_together(self.estimators_, X)
        names = [name for name, _ in kept(self.named_estimators_.items())]
        members = zip(names, self.estimators_, self._columns, strict=True)
        return np.stack([predict_proba_of(*member, self.classes_, X) for member in members])
