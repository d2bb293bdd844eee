"""Scalings of feature rows that scikit-learn lacks."""

import numpy as np
from sklearn.base import BaseEstimator, OneToOneFeatureMixin, TransformerMixin
from sklearn.preprocessing import normalize
from sklearn.utils.validation import validate_data

from skspeech._sklearn import StrOptions, _fit_context

__all__ = ["SignedSqrt"]


class SignedSqrt(OneToOneFeatureMixin, TransformerMixin, BaseEstimator):
    """Replace each feature by its signed square root, ``sign(x) * sqrt(abs(x))``.

    It draws large values in and spreads small ones out, which helps a linear classifier where a
    few features are far larger than the rest, as in pooled activations of a network. Each row is
    scaled by itself; `fit` learns nothing.

    Parameters
    ----------
    norm : {"l1", "l2", "max"} or None, default=None
        Norm that each row is then scaled to have as 1; a row of zeros stays as it is. None scales
        no further. ``"l2"`` is the power normalisation of image retrieval [1]_.

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

    def __init__(self, *, norm=None):
        self.norm = norm

    @_fit_context(prefer_skip_nested_validation=True)
    def fit(self, X, y=None):
        """Check `X` and remember its number of features; nothing is learnt.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            The features.
        y : None
            Ignored.

        Returns
        -------
        self : SignedSqrt
        """
        validate_data(self, X, dtype=(np.float64, np.float32))
        return self

    def transform(self, X):
        """Take the signed square root of every value, then scale rows where `norm` says so.

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
