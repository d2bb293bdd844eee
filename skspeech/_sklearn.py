"""The one place where private scikit-learn API is imported.

All other modules import these names from here, so that a change in scikit-learn affects only
one file.
"""

from sklearn.base import _fit_context
from sklearn.model_selection._search import BaseSearchCV
from sklearn.utils import _safe_indexing
from sklearn.utils._param_validation import (
    HasMethods,
    Hidden,
    Interval,
    Options,
    StrOptions,
    validate_parameter_constraints,
    validate_params,
)
from sklearn.utils._set_output import _get_output_config
from sklearn.utils.validation import _check_method_params

__all__ = [
    "BaseSearchCV",
    "HasMethods",
    "Hidden",
    "Interval",
    "Options",
    "StrOptions",
    "_check_method_params",
    "_fit_context",
    "_get_output_config",
    "_safe_indexing",
    "validate_parameter_constraints",
    "validate_params",
]
