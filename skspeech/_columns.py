"""What an estimator remembers of the columns of its training table."""

from sklearn.utils.validation import validate_data

__all__ = ["remember_columns"]


def remember_columns(estimator, X):
    """Set `n_features_in_`, and `feature_names_in_` if `X` has names, as scikit-learn does.

    Parameters
    ----------
    estimator : estimator
        Being fitted. What it remembers of an earlier fit is dropped.
    X : object
        Only a table or an array of two dimensions has columns.
    """
    for name in ("n_features_in_", "feature_names_in_"):
        estimator.__dict__.pop(name, None)
    if getattr(X, "ndim", None) == 2:
        validate_data(estimator, X, skip_check_array=True)
