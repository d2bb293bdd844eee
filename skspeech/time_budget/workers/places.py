"""Which classifiers are quick and do not hang: they run in the calling process."""

from sklearn.pipeline import Pipeline

__all__ = ["runs_here"]

QUICK_MODULES = (
    "sklearn.linear_model",
    "sklearn.naive_bayes",
    "sklearn.discriminant_analysis",
    "sklearn.neighbors",
    "sklearn.tree",
    "sklearn.dummy",
)


def runs_here(estimator):
    """Whether an estimator is made only of scikit-learn's quick parts."""
    if isinstance(estimator, str) or estimator is None:
        return True
    if isinstance(estimator, Pipeline):
        steps = [step for _, step in estimator.steps]
        return all(
            type(step).__module__.startswith(("sklearn.", "skspeech."))
            or isinstance(step, str | None)
            for step in steps[:-1]
        ) and runs_here(steps[-1])
    return type(estimator).__module__.startswith(QUICK_MODULES)
