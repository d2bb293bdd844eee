"""Linear discriminant analysis for few rows of many features: closed form, in milliseconds."""

from abc import ABC, abstractmethod
from numbers import Integral, Real
from typing import Literal

import numpy as np
from scipy.linalg import cho_factor, cho_solve

from skspeech._folds import stratified_folds
from skspeech._sklearn import Interval, Options, StrOptions, _fit_context
from skspeech._threads import limited_threads
from skspeech._typing import ArrayLike, Self
from skspeech.ensemble.calibration import least_loss_temperature
from skspeech.estimators.scores import LinearScores

__all__ = ["ShrinkageDiscriminantAnalysis"]

_MIN_SHRINKAGE = 1e-6
_MIN_VARIANCE = 1e-12  # within classes, as a share of that between them
_LOG_TEMPERATURES = (-3.0, 7.0)
_ENOUGH = 2000  # held-out rows that tell the temperature
_CHUNK = 2048  # rows that are copied at once


class ShrinkageDiscriminantAnalysis(LinearScores):
    """Linear discriminant analysis with a shrunk covariance and calibrated probabilities.

    All classes share one covariance matrix, which is drawn towards a multiple of the identity by
    Ledoit and Wolf's amount. With fewer rows than features, everything is computed from the inner
    products of the rows, without the covariance matrix. The result is the same, a hundred times
    faster than with :class:`~sklearn.discriminant_analysis.LinearDiscriminantAnalysis`. More rows
    than features are read in parts, and never copied as a whole.

    Shrinkage treats all features alike, so scale them first, with
    :class:`~skspeech.ClippedStandardScaler` or scikit-learn's scaler.

    With many features, discriminant analysis is far too confident. One temperature, found by
    cross-validation on the training rows, calibrates its probabilities. Give `groups` to `fit` if
    rows are not independent, such as those of one speaker: otherwise held-out rows resemble
    training rows, and the model stays too confident.

    Parameters
    ----------
    shrinkage : "auto" or float in [0, 1], default="auto"
        Weight of the identity in the covariance matrix; ``"auto"`` is Ledoit and Wolf's.
    priors : {"balanced", "empirical"}, default="balanced"
        Prior probabilities of the classes: equal, which suits balanced accuracy, or as in the
        training rows.
    calibrate : int or False, default=5
        Folds of the cross-validation that finds the temperature; False leaves it at 1. Of many
        rows without groups, only so many folds are held out that these are 2,000 rows. With fewer
        groups than folds, the temperature is lowered towards that of so many folds: a model that
        knows one or two groups is far more confident than one that knows all of them.

    Attributes
    ----------
    classes_ : ndarray of shape (n_classes,)
        The labels.
    coef_ : ndarray of shape (1, n_features) or (n_classes, n_features)
        Weights of the features, with the temperature applied.
    intercept_ : ndarray of shape (1,) or (n_classes,)
        Constants of the classes.
    shrinkage_ : float
        Weight of the identity that was used.
    temperature_ : float
        Divisor of the scores.
    n_features_in_ : int
        Number of features.
    feature_names_in_ : ndarray of shape (n_features_in_,)
        Names of the features, if `fit` saw any.

    References
    ----------
    Ledoit, O. and Wolf, M. (2004). A well-conditioned estimator for large-dimensional covariance
    matrices. Journal of Multivariate Analysis, 88(2), 365-411.

    Guo, C., Pleiss, G., Sun, Y. and Weinberger, K. Q. (2017). On calibration of modern neural
    networks. ICML. https://arxiv.org/abs/1706.04599

    Examples
    --------
    >>> from sklearn.datasets import make_classification
    >>> from skspeech.estimators import ShrinkageDiscriminantAnalysis
    >>> X, y = make_classification(60, 500, n_informative=20, class_sep=3, random_state=0)
    >>> model = ShrinkageDiscriminantAnalysis().fit(X[:40], y[:40])
    >>> model.predict_proba(X[40:]).shape
    (20, 2)
    """

    _parameter_constraints: dict = {
        "shrinkage": [StrOptions({"auto"}), Interval(Real, 0, 1, closed="both")],
        "priors": [StrOptions({"balanced", "empirical"})],
        "calibrate": [Interval(Integral, 2, None, closed="left"), Options(bool, {False})],
    }

    def __init__(
        self,
        shrinkage: float | Literal["auto"] = "auto",
        *,
        priors: Literal["balanced", "empirical"] = "balanced",
        calibrate: int | Literal[False] = 5,
    ) -> None:
        self.shrinkage = shrinkage
        self.priors = priors
        self.calibrate = calibrate

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
        """Fit the discriminants.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Features.
        y : array-like of shape (n_samples,)
            Labels, of at least two classes.
        groups : array-like of shape (n_samples,), default=None
            Rows of one group, such as those of one speaker or made from one clip, are held out
            together when the temperature is found. If no group can be held out, it is 1.
        sample_weight : array-like of shape (n_samples,), default=None
            How much each row counts; weight 2 is the same as giving the row twice. The weights
            apply to the means, the covariance, the number of rows in Ledoit and Wolf's amount (so
            the sum of the weights matters), the empirical priors, and the loss that the temperature
            minimises.

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
        X, codes, groups, weight = self._check_data(X, y, groups, sample_weight)
        folds = []
        if self.calibrate is not False:
            folds = stratified_folds(codes, self.calibrate, groups=groups, random_state=0)
            if groups is None:
                folds = folds[: -(-_ENOUGH * len(folds) // len(codes))]
        kind = _FewRows if len(X) <= X.shape[1] else _ManyRows
        problem = kind(X, codes, weight, [test for _, test in folds], self._amount)
        self.temperature_ = self._find_temperature(problem, codes, weight, groups)
        coef, constant, self.shrinkage_ = problem.solve()
        coef = coef / self.temperature_
        constant = constant / self.temperature_ + self._log_priors(codes, weight)
        constant -= coef @ problem.mean
        if len(self.classes_) == 2:
            coef, constant = np.diff(coef, axis=0), np.diff(constant)
        self.coef_, self.intercept_ = coef, constant
        return self

    def _log_priors(self, codes, weight):
        counts = np.bincount(codes, weight)
        if self.priors == "balanced":
            return np.zeros(len(counts))
        return np.log(counts / counts.sum())

    def _amount(self, trace, squared_norm, fourth_moments, n_rows, n_features):
        """Ledoit and Wolf's shrinkage, from sums that need no covariance matrix.

        `fourth_moments` is a function, as it takes a further look at all rows.
        """
        least = max(_MIN_SHRINKAGE, 4 * n_features * np.finfo(trace.dtype).eps)
        if self.shrinkage != "auto":
            return max(float(self.shrinkage), least)
        distance = squared_norm - trace**2 / n_features
        noise = (fourth_moments() / n_rows - squared_norm) / n_rows
        if distance <= 0:
            return 1.0
        return float(np.clip(noise / distance, least, 1.0))

    def _find_temperature(self, problem, codes, weight, groups):
        """Temperature with the lowest log loss on held-out rows, each class weighted equally."""
        if not problem.held_out:
            return 1.0
        scores = [problem.held_out_scores(fold) for fold in range(len(problem.held_out))]
        scores, held_out = np.concatenate(scores), np.concatenate(problem.held_out)
        codes, weight = codes[held_out], weight[held_out]
        totals = np.bincount(codes, weight)
        if np.count_nonzero(totals) < 2:
            return 1.0  # one class alone is not enough to calibrate
        weight = weight / totals[codes]
        temperature = least_loss_temperature(scores, codes, _LOG_TEMPERATURES, weight=weight)
        n_folds = len(problem.held_out)
        if groups is not None and n_folds > 1:
            # With fewer groups than folds, the folds' models know less than they should, and need a
            # higher temperature: about in inverse proportion to the share of groups that they know.
            temperature *= (1 - 1 / n_folds) / (1 - 1 / self.calibrate)
        return temperature


class _Problem(ABC):
    """Solves for all rows, or for all but those of a fold.

    Parameters
    ----------
    X : ndarray of shape (n_samples, n_features)
    codes : ndarray of int of shape (n_samples,)
        Class of each row.
    weight : ndarray of shape (n_samples,)
        How much each row counts, above 0.
    held_out : list of ndarray of int
        Rows of each fold; no row is in two of them.
    amount : callable
        Gives the shrinkage.

    Attributes
    ----------
    mean : ndarray of shape (n_features,)
        Mean of the rows. The scores are for rows from which it is subtracted, to keep numbers
        small.
    """

    def __init__(self, X, codes, weight, held_out, amount):
        self.X, self.codes, self.weight = X, codes, weight
        self.held_out, self.amount = held_out, amount

    @abstractmethod
    def solve(self, fold=None):
        """Return the classes' weights and constants, and the shrinkage, without a fold's rows."""

    def held_out_scores(self, fold):
        """Return the scores of the classes for the rows of a fold, which are held out."""
        coef, constant, _ = self.solve(fold)
        scores = [(self.X[rows] - self.mean) @ coef.T for rows in _chunks(self.held_out[fold])]
        return np.concatenate(scores) + constant

    def _ridge(self, shrinkage, variance, means):
        """What to add to the diagonal; above 0 even if all rows equal their classes' means."""
        between = np.square(means).mean()
        if variance > _MIN_VARIANCE * between:
            return shrinkage * variance
        return between if between > 0 else 1.0


def _chunks(rows):
    return [rows[start : start + _CHUNK] for start in range(0, len(rows), _CHUNK)]


def _constants(coef, means):
    """The middle of the classes' means is where no class is ahead."""
    return -0.5 * np.einsum("ij,ij->i", coef, means)


class _FewRows(_Problem):
    """Fewer rows than features: all is computed from the rows' inner products."""

    def __init__(self, X, codes, weight, held_out, amount):
        super().__init__(X, codes, weight, held_out, amount)
        self.mean = weight.astype(X.dtype) @ X / float(weight.sum())
        self._centred = X - self.mean
        self._products = self._centred @ self._centred.T

    def solve(self, fold=None):
        X, products, codes, weight = self._centred, self._products, self.codes, self.weight
        if fold is not None:
            train = np.delete(np.arange(len(X)), self.held_out[fold])
            X, products = X[train], products[np.ix_(train, train)]
            codes, weight = codes[train], weight[train]
        members = np.eye(codes.max() + 1)[codes].T * weight
        members = (members / members.sum(axis=1, keepdims=True)).astype(X.dtype)
        means = members @ X
        # Scaled by the root of its weight, a row counts with its weight in the covariance.
        root = np.sqrt(weight).astype(X.dtype)
        rows = (X - means[codes]) * root[:, np.newaxis]
        # Inner products of the rows after subtracting each class's mean.
        left = products - (members @ products)[codes]
        inner = left - (left @ members.T)[:, codes]
        inner *= root[:, np.newaxis] * root
        coef, shrinkage = self._solve(rows, inner, weight, means)
        return coef, _constants(coef, means), shrinkage

    def _solve(self, rows, products, weight, means):
        """Solve by the Woodbury identity."""
        n_rows, n_features = float(weight.sum()), rows.shape[1]
        trace = np.trace(products) / n_rows
        shrinkage = self.amount(
            trace,
            np.square(products).sum() / n_rows**2,
            lambda: (np.square(np.diag(products)) / weight).sum(),
            n_rows,
            n_features,
        )
        ridge = self._ridge(shrinkage, trace / n_features, means)
        if shrinkage == 1.0:
            return means / ridge, shrinkage
        system = products.copy()
        system.flat[:: len(rows) + 1] += n_rows * ridge / (1 - shrinkage)
        inner = cho_solve(cho_factor(system, overwrite_a=True), rows @ means.T)
        return (means - inner.T @ rows) / ridge, shrinkage


class _ManyRows(_Problem):
    """More rows than features: sums over the rows of each fold, and no copy of all rows.

    The products of the features take most of the time. They are computed once, for each fold alone
    and less its classes' means, and then added up for all rows and for all but those of a fold.
    """

    def __init__(self, X, codes, weight, held_out, amount):
        super().__init__(X, codes, weight, held_out, amount)
        never = np.delete(np.arange(len(X)), np.concatenate([*held_out, np.empty(0, dtype=int)]))
        self._parts = [_Part(self, rows) for rows in [*held_out, never] if len(rows)]
        counts, means = _counts_and_means(self._parts)
        self.mean = (counts @ means / counts.sum()).astype(X.dtype)

    def solve(self, fold=None):
        parts = [part for number, part in enumerate(self._parts) if number != fold]
        counts, means = _counts_and_means(parts)
        n_rows, n_features = float(counts.sum()), self.X.shape[1]
        # Chan, Golub and LeVeque's sum: products within the parts, and between the parts' means.
        roots = [np.sqrt(part.counts)[:, np.newaxis] * (part.means - means) for part in parts]
        between = np.concatenate(roots).astype(self.X.dtype)
        covariance = between.T @ between
        for part in parts:
            covariance += part.products
        covariance /= n_rows
        trace, means = np.trace(covariance), means.astype(self.X.dtype)
        shrinkage = self.amount(
            trace,
            np.square(covariance).sum(),
            lambda: sum(self._fourth_moments(part.rows, means) for part in parts),
            n_rows,
            n_features,
        )
        means -= self.mean
        covariance *= 1 - shrinkage
        covariance.flat[:: n_features + 1] += self._ridge(shrinkage, trace / n_features, means)
        coef = cho_solve(cho_factor(covariance, overwrite_a=True), means.T).T
        return coef, _constants(coef, means), shrinkage

    def _fourth_moments(self, part, means):
        total = 0.0
        for rows in _chunks(part):
            lengths = np.square(self.X[rows] - means[self.codes[rows]]).sum(axis=1)
            total += np.square(lengths) @ self.weight[rows]
        return total


def _counts_and_means(parts):
    """Weights and means of the classes in some parts together."""
    counts = sum(part.counts for part in parts)
    sums = sum(part.counts[:, np.newaxis] * part.means for part in parts)
    return counts, sums / counts[:, np.newaxis]


class _Part:
    """Sums over some rows of a problem.

    Attributes
    ----------
    counts : ndarray of shape (n_classes,)
        Weights of the classes.
    means : ndarray of shape (n_classes, n_features)
        Means of the classes; 0 for those without rows.
    products : ndarray of shape (n_features, n_features)
        Products of the features of rows less the means of their classes.
    """

    def __init__(self, problem, rows):
        X, codes, weight = problem.X, problem.codes, problem.weight
        self.rows, n_classes = rows, codes.max() + 1
        self.counts = np.bincount(codes[rows], weight[rows], n_classes)
        sums = np.zeros((n_classes, X.shape[1]))
        for chunk in _chunks(rows):
            members = np.eye(n_classes, dtype=X.dtype)[codes[chunk]]
            members *= weight[chunk, np.newaxis].astype(X.dtype)
            sums += members.T @ X[chunk]
        self.means = sums / np.where(self.counts > 0, self.counts, 1.0)[:, np.newaxis]
        means = self.means.astype(X.dtype)
        self.products = np.zeros((X.shape[1],) * 2, dtype=X.dtype)
        for chunk in _chunks(rows):
            within = X[chunk] - means[codes[chunk]]
            within *= np.sqrt(weight[chunk, np.newaxis]).astype(X.dtype)
            self.products += within.T @ within
