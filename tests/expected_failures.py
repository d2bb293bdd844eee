"""What scikit-learn's checks ask for and clips cannot give: each exception with its reason.

An exception holds for a kind of estimator, not for a name. A check that fails without being here,
or is here and passes, or fails with another message, fails the tests.
"""

from typing import NamedTuple

from sklearn.utils import get_tags


class Reason(NamedTuple):
    """Why a check cannot pass, and what its failure says."""

    why: str
    message: str
    always: bool = True  # or by chance


_LENGTHS_DIFFER = Reason(
    "clips differ in length, so rows of a 2-D array may be longer in prediction than in fit",
    r"does not check for consistency between input number|number of features in predict is diff",
)
_ONE_ARRAY_A_CLIP = Reason(
    "the output is an object array with one waveform a clip, which the check cannot compare; "
    "test_common.py does the same with a comparison that can",
    r"error during assertion",
)
_SINGLE_PRECISION = Reason(
    "float32 features are fitted in float32, up to a tolerance; test_linear.py compares the same "
    "with that tolerance",
    r"fitting with `sample_weight` is not equivalent",
)
_OWN_FOLDS = Reason(
    "its own folds decide on the temperature or C, and they count rows; test_discriminant.py and "
    "test_logistic.py compare the same where nothing is decided, and where folds are equal",
    r"fitting with `sample_weight` is not equivalent|'cv' parameter",
)
_CHOSEN_BY_FOLDS = Reason(
    "held-out rows choose the members, and all count the same: a row given twice is in other folds "
    "than a row of weight two; test_validation.py shows that weights reach the candidates",
    r"fitting with `sample_weight` is not equivalent",
    always=False,
)
_ONE_CLASS_MORE = Reason(
    "it knows one class more than y has, whose label has to be of the kind of the others; "
    "test_unknown.py has labels of all kinds",
    r"unknown_label=-9 is not of the kind|^$",  # the second check says nothing
)
_BATCHES = Reason(
    "what computes in single precision rounds differently for other numbers of rows",
    r"not invariant when applied to a subset",
    always=False,
)

_CLIP_TRANSFORMERS = {"check_n_features_in_after_fitting": _LENGTHS_DIFFER}
_CLIP_CLASSIFIERS = {**_CLIP_TRANSFORMERS, "check_classifiers_train": _LENGTHS_DIFFER}
_WAVEFORM_TRANSFORMERS = {
    **_CLIP_TRANSFORMERS,
    **dict.fromkeys(
        [
            "check_estimators_pickle",
            "check_fit_idempotent",
            "check_methods_sample_order_invariance",
            "check_methods_subset_invariance",
            "check_pipeline_consistency",
            "check_transformer_data_not_an_array",
            "check_transformer_general",
        ],
        _ONE_ARRAY_A_CLIP,
    ),
}
_LINEAR = {"check_sample_weight_equivalence_on_dense_data": _SINGLE_PRECISION}


def expected_failures(estimator):
    """Names of the checks that this estimator cannot pass, with their reasons."""
    if not get_tags(estimator).input_tags.string or hasattr(estimator, "candidates"):
        if hasattr(estimator, "candidates"):
            return {
                "check_sample_weight_equivalence_on_dense_data": _CHOSEN_BY_FOLDS,
                "check_sample_weight_equivalence_on_sparse_data": _CHOSEN_BY_FOLDS,
            }
        if hasattr(estimator, "shrinkage") or hasattr(estimator, "Cs"):
            return {"check_sample_weight_equivalence_on_dense_data": _OWN_FOLDS}
        if hasattr(estimator, "unknown_label"):
            return dict.fromkeys(
                ["check_classifiers_classes", "check_classifiers_train"], _ONE_CLASS_MORE
            )
        return {}  # for tables, or made of classifiers for tables in these tests
    if hasattr(estimator, "speeds"):
        return {**_CLIP_CLASSIFIERS, **_LINEAR}
    if hasattr(estimator, "to_pipeline"):  # test_linear.py compares the same
        return {**_CLIP_CLASSIFIERS, **_LINEAR, "check_methods_subset_invariance": _BATCHES}
    if hasattr(estimator, "freeze"):
        return {**_CLIP_CLASSIFIERS, "check_methods_subset_invariance": _BATCHES}
    if hasattr(estimator, "predict"):
        return _CLIP_CLASSIFIERS
    if hasattr(estimator, "get_feature_names_out"):
        return _CLIP_TRANSFORMERS
    return _WAVEFORM_TRANSFORMERS
