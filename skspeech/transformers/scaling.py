"""Scalings of feature rows that scikit-learn lacks."""

from numbers import Real
from typing import Any, Literal

import numpy as np
from sklearn.base import BaseEstimator, OneToOneFeatureMixin, TransformerMixin
from sklearn.preprocessing import StandardScaler, normalize
from sklearn.utils import gen_batches
from sklearn.utils.validation import check_is_fitted, validate_data

from skspeech._labels import check_sample_weight
from skspeech._sklearn import Interval, StrOptions, _fit_context
from skspeech._typing import ArrayLike, Self

__all__ = ["ClippedStandardScaler", "SignedSqrt"]

# A smaller standard deviation is rounding noise: this, or this many units in a mean's last place.
_MIN_SCALE = 1e-12
_ROUNDED = 16
_BATCH = 4096  # rows


class ClippedStandardScaler(OneToOneFeatureMixin, TransformerMixin, BaseEstimator):
    """Bring features to zero mean and unit variance, and clip outliers.

    Some units of a network are inactive in all training clips, or in all but one. Their standard
    deviation is tiny, so a clip that activates them would get a value of thousands, which dominates
    the others or overflows. Here a feature that hardly varies is only centred, and all values stay
    within ``[-clip, clip]``.

    Parameters
    ----------
    clip : float, default=5.0
        Largest value in the output, in standard deviations.

    Attributes
    ----------
    mean_ : ndarray of shape (n_features,)
        Mean of each feature.
    scale_ : ndarray of shape (n_features,)
        Divisor of each feature: its standard deviation, or 1 where that is almost zero.
    n_features_in_ : int
        Number of features seen during `fit`.
    feature_names_in_ : ndarray of shape (n_features_in_,)
        Names of features seen during `fit`, where they are all strings.

    See Also
    --------
    sklearn.preprocessing.StandardScaler : The same without a limit.
    sklearn.preprocessing.RobustScaler : Median and quartiles in the place of mean and variance.

    Examples
    --------
    >>> from skspeech import ClippedStandardScaler
    >>> scaler = ClippedStandardScaler(clip=3).fit([[0.0, 0.0], [2.0, 1e-20]])
    >>> scaler.transform([[1.5, 0.0], [-7.0, 2.0]]).round(1)
    array([[ 0.5, -0. ],
           [-3. ,  2. ]])
    """

    _parameter_constraints: dict = {"clip": [Interval(Real, 0, None, closed="neither")]}

    __metadata_request__fit = {"sample_weight": True}

    def __init__(self, *, clip: float = 5.0) -> None:
        self.clip = clip

    @_fit_context(prefer_skip_nested_validation=True)
    def fit(self, X: ArrayLike, y: Any = None, sample_weight: ArrayLike | None = None) -> Self:
        """Learn mean and standard deviation of each feature.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            The features.
        y : object, default=None
            Ignored.
        sample_weight : array-like of shape (n_samples,), default=None
            How much each sample counts.

        Returns
        -------
        self : ClippedStandardScaler

        Raises
        ------
        ValueError
            If `X` or `sample_weight` is not as above, or all weights are 0.
        """
        X = validate_data(self, X, dtype=(np.float64, np.float32))
        weight = check_sample_weight(sample_weight, len(X))
        counted = np.arange(len(X)) if weight is None else np.flatnonzero(weight)
        scaler = StandardScaler()
        for batch in gen_batches(len(counted), _BATCH):  # it copies what it gets
            rows = counted[batch]
            own = None if weight is None else weight[rows]
            with np.errstate(invalid="ignore"):  # a constant's variance may be rounded below 0
                scaler.partial_fit(X[rows], sample_weight=own)
        self.mean_ = scaler.mean_
        noise = np.maximum(_MIN_SCALE, _ROUNDED * np.finfo(X.dtype).eps * np.abs(self.mean_))
        self.scale_ = np.where(scaler.scale_ < noise, 1.0, scaler.scale_)
        return self

    def transform(self, X: ArrayLike) -> np.ndarray:
        """Centre, scale and clip features.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            The features.

        Returns
        -------
        ndarray of shape (n_samples, n_features)
            A new array; float32 for float32 features, else float64.
        """
        check_is_fitted(self)
        X = validate_data(self, X, reset=False, dtype=(np.float64, np.float32))
        with np.errstate(over="ignore"):  # what overflows is clipped
            scaled = (X - self.mean_.astype(X.dtype)) / self.scale_.astype(X.dtype)
        return np.clip(scaled, -self.clip, self.clip, out=scaled)

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.transformer_tags.preserves_dtype = ["float64", "float32"]
        return tags


class SignedSqrt(OneToOneFeatureMixin, TransformerMixin, BaseEstimator):
    """Replace each feature by its signed square root, ``sign(x) * sqrt(abs(x))``.

    It shrinks large values and spreads small ones, which helps a linear classifier where a few
    features are far larger than the rest, as in pooled activations of a network. Each row is
    scaled on its own; `fit` learns nothing.

    Parameters
    ----------
    norm : {"l1", "l2", "max"} or None, default=None
        Each row is then scaled so that this norm is 1; a row of zeros stays as it is. None does
        not scale. ``"l2"`` is the power normalisation of image retrieval [1]_.

    Attributes
    ----------
    n_features_in_ : int
        Number of features seen during `fit`.
    feature_names_in_ : ndarray of shape (n_features_in_,)
        Names of features seen during `fit`, where they are all strings.

    See Also
    --------
    sklearn.preprocessing.Normalizer : The norm without the square root.
    sklearn.preprocessing.PowerTransformer : A power that is learnt, for each feature.

    References
    ----------
    .. [1] F. Perronnin, J. Sánchez and T. Mensink, "Improving the Fisher kernel for large-scale
           image classification", ECCV 2010.

    Examples
    --------
    >>> from skspeech import SignedSqrt
    >>> SignedSqrt().fit_transform([[9.0, -16.0]])
    array([[ 3., -4.]])
    >>> SignedSqrt(norm="l2").fit_transform([[9.0, -16.0]])
    array([[ 0.6, -0.8]])
    """

    _parameter_constraints: dict = {"norm": [StrOptions({"l1", "l2", "max"}), None]}

    def __init__(self, *, norm: Literal["l1", "l2", "max"] | None = None) -> None:
        self.norm = norm

    @_fit_context(prefer_skip_nested_validation=True)
    def fit(self, X: ArrayLike, y: Any = None) -> Self:
        """Check `X` and remember its number of features; nothing is learnt.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            The features.
        y : object, default=None
            Ignored.

        Returns
        -------
        self : SignedSqrt
        """
        validate_data(self, X, dtype=(np.float64, np.float32))
        return self

    def transform(self, X: ArrayLike) -> np.ndarray:
        """Take the signed square root of every value, then scale rows to unit `norm`, if given.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            The features.

        Returns
        -------
        ndarray of shape (n_samples, n_features)
            A new array; float32 for float32 features, else float64.
        """
        X = validate_data(self, X, reset=False, dtype=(np.float64, np.float32))
        rooted = np.copysign(np.sqrt(np.abs(X)), X)
        return rooted if self.norm is None else normalize(rooted, norm=self.norm, copy=False)

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.requires_fit = False
        tags.transformer_tags.preserves_dtype = ["float64", "float32"]
        return tags
