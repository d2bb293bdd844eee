"""Logistic regression for few rows of many features, which chooses its regularisation itself."""

from numbers import Integral, Real
from typing import Literal

import numpy as np
from scipy.linalg import eigh
from sklearn.linear_model import LogisticRegression
from sklearn.utils import compute_class_weight

from skspeech._folds import stratified_folds
from skspeech._sklearn import Interval, StrOptions, _fit_context
from skspeech._threads import limited_threads
from skspeech._typing import ArrayLike, Self
from skspeech.estimators.scores import LinearScores, class_log_probas

__all__ = ["WideLogisticRegression"]


class WideLogisticRegression(LinearScores):
    """Logistic regression that turns wide data into square data first, and finds its own `C`.

    The weights of a penalised logistic regression are a linear combination of the training rows. So
    n rows of any number of features can be rotated into n features without changing the solution,
    and the solver works on these. Cross-validation over `Cs` reuses the rotation and starts each
    solution from the previous one.

    Parameters
    ----------
    Cs : float or array-like of float, default=(1e-3, 1e-2, 1e-1, 1.0)
        Inverse of the regularisation's strength: one value, or values to choose from.
    cv : int, default=3
        Number of stratified folds to choose among `Cs` by the log loss, with equal class weights.
    class_weight : "balanced", dict or None, default="balanced"
        Weights of the classes; ``"balanced"`` lets rare classes count as much as frequent ones.
    max_iter : int, default=200
        Most iterations of the solver (L-BFGS), which rarely needs that many.
    tol : float, default=1e-3
        Gradient at which the solver stops.

    Attributes
    ----------
    classes_ : ndarray of shape (n_classes,)
        The labels.
    coef_ : ndarray of shape (1, n_features) or (n_classes, n_features)
        Weights of the features.
    intercept_ : ndarray of shape (1,) or (n_classes,)
        Constants.
    C_ : float
        The value of `Cs` that was used.
    losses_ : dict of float to float
        Log loss on held-out rows for each of `Cs`; empty if there was nothing to choose.
    n_iter_ : ndarray of shape (1,)
        Iterations of the last solution.
    n_features_in_ : int
        Number of features.
    feature_names_in_ : ndarray of shape (n_features_in_,)
        Names of the features, if `fit` saw any.

    References
    ----------
    Hastie, T. and Tibshirani, R. (2004). Efficient quadratic regularization for expression arrays.
    Biostatistics, 5(3), 329-340.

    Examples
    --------
    >>> from sklearn.datasets import make_classification
    >>> from skspeech.estimators import WideLogisticRegression
    >>> X, y = make_classification(60, 500, n_informative=20, class_sep=3, random_state=0)
    >>> model = WideLogisticRegression().fit(X[:40], y[:40])
    >>> model.coef_.shape
    (1, 500)
    """

    _parameter_constraints: dict = {
        "Cs": ["array-like", Interval(Real, 0, None, closed="neither")],
        "cv": [Interval(Integral, 2, None, closed="left")],
        "class_weight": [dict, StrOptions({"balanced"}), None],
        "max_iter": [Interval(Integral, 1, None, closed="left")],
        "tol": [Interval(Real, 0, None, closed="neither")],
    }

    def __init__(
        self,
        Cs: float | ArrayLike = (1e-3, 1e-2, 1e-1, 1.0),
        *,
        cv: int = 3,
        class_weight: Literal["balanced"] | dict | None = "balanced",
        max_iter: int = 200,
        tol: float = 1e-3,
    ) -> None:
        self.Cs = Cs
        self.cv = cv
        self.class_weight = class_weight
        self.max_iter = max_iter
        self.tol = tol

    @_fit_context(prefer_skip_nested_validation=True)
    @limited_threads(n_blas=1)
    def fit(
        self,
        X: ArrayLike,
        y: ArrayLike,
        *,
        groups: ArrayLike | None = None,
        sample_weight: ArrayLike | None = None,
    ) -> Self:
        """Choose `C` and fit.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Features, on similar scales.
        y : array-like of shape (n_samples,)
            Labels, of at least two classes.
        groups : array-like of shape (n_samples,), default=None
            Rows of one group, such as those of one speaker or made from one clip, are held out
            together when `C` is chosen. If no group can be held out, the largest of `Cs` is used.
        sample_weight : array-like of shape (n_samples,), default=None
            How much each row counts, multiplied by its class's weight; weight 2 is the same as
            giving the row twice. The weights apply to the solution, the balanced class weights, and
            the losses by which `C` is chosen.

        Returns
        -------
        self : object
            The fitted classifier.

        Raises
        ------
        ValueError
            If a parameter, `X`, `y`, `groups` or `sample_weight` is not as above, or all rows of
            a class have weight 0.
        """
        try:
            Cs = np.sort(np.atleast_1d(np.asarray(self.Cs, dtype=float)))
        except (TypeError, ValueError):  # a set, or text
            Cs = np.empty(0)
        if Cs.ndim != 1 or len(Cs) == 0 or not (Cs > 0).all():
            raise ValueError(
                f"Cs={self.Cs!r} is not accepted. Use a number above 0, or a list of them."
            )
        X, codes, groups, weight = self._check_data(X, y, groups, sample_weight)
        mean = weight.astype(X.dtype) @ X / float(weight.sum())
        rows, back = _rotate(X - mean)
        self.losses_ = self._losses(rows, codes, groups, weight, Cs) if len(Cs) > 1 else {}
        self.C_ = min(self.losses_, key=self.losses_.__getitem__) if self.losses_ else float(Cs[-1])
        weight = weight * self._class_weights(codes, weight)[codes]
        solution = self._solver().set_params(C=self.C_).fit(rows, codes, weight)
        self.coef_ = back(solution.coef_)
        self.intercept_ = solution.intercept_ - self.coef_ @ mean
        self.n_iter_ = solution.n_iter_
        return self

    def _class_weights(self, codes, weight):
        if self.class_weight == "balanced":
            return weight.sum() / len(self.classes_) / np.bincount(codes, weight)
        return compute_class_weight(
            self.class_weight, classes=self.classes_, y=self.classes_[codes]
        )

    def _solver(self):
        return LogisticRegression(max_iter=self.max_iter, tol=self.tol, warm_start=True)

    def _losses(self, rows, codes, groups, weight, Cs):
        """Held-out log loss for each C, starting with the strongest regularisation."""
        balanced = weight / np.bincount(codes, weight)[codes]
        weight = weight * self._class_weights(codes, weight)[codes]
        losses = dict.fromkeys(map(float, Cs), 0.0)
        folds = stratified_folds(codes, self.cv, groups=groups, random_state=0)
        for train, test in folds:
            solver, X, X_test = self._solver(), rows[train], rows[test]
            for C in losses:
                solver.set_params(C=C).fit(X, codes[train], weight[train])
                log_probas = class_log_probas(solver.decision_function(X_test))
                held_out = log_probas[np.arange(len(test)), codes[test]]
                losses[C] -= np.average(held_out, weights=balanced[test])
        return {C: loss / len(folds) for C, loss in losses.items()} if folds else {}


def _rotate(X):
    """Rotate rows into as few features as they need; return them and a function to undo it."""
    if len(X) >= X.shape[1]:
        return X, lambda weights: weights
    values, vectors = eigh(X @ X.T)
    keep = values > values[-1] * len(values) * np.finfo(X.dtype).eps
    if not keep.any():
        return X, lambda weights: weights
    lengths = np.sqrt(values[keep])
    vectors = vectors[:, keep]
    return vectors * lengths, lambda weights: ((weights / lengths) @ vectors.T) @ X
