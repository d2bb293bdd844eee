"""The features that a fitted classifier computes from clips."""

from sklearn.pipeline import FeatureUnion, Pipeline
from sklearn.utils import get_tags

from skspeech._pickled import PickledClassifier
from skspeech.audio.rates import sampling_rate_of
from skspeech.estimators.unreadable import strict
from skspeech.time_budget.features import shared_key, stateless_steps
from skspeech.transformers.spectral import SpectralStatistics
from skspeech.transformers.workers import side_by_side

__all__ = ["extractor_of"]


def extractor_of(classifier):
    """Join the extractors of all members of a classifier.

    Parameters
    ----------
    classifier : classifier
        Fitted: a Pipeline that begins with an extractor, a classifier of clips, or an ensemble.

    Returns
    -------
    sklearn.pipeline.FeatureUnion or None
        Not fitted; each extractor occurs once in it. None for a classifier of feature tables.
    """
    members = list(_members(classifier))
    blocks = {}
    for member in members:
        for block in _blocks(stateless_steps(member)[0]):
            blocks.setdefault(shared_key([("", block)]), strict(block))
    if not blocks:
        if not any(get_tags(member).input_tags.string for member in members):
            return None
        blocks = {"": SpectralStatistics(sampling_rate=sampling_rate_of(classifier))}
    return side_by_side([(f"block{i}", block) for i, block in enumerate(blocks.values())])


def _members(classifier):
    """The members, also inside wrappers; unfitted ones too, as extractors learn nothing."""
    if isinstance(classifier, PickledClassifier):
        classifier = classifier.load()
    if isinstance(classifier, Pipeline) or hasattr(classifier, "to_pipeline"):
        yield classifier
        return
    for name in ("ensemble_", "best_estimator_", "estimators_", "estimator"):
        inside = getattr(classifier, name, None)
        if inside is not None:
            for member in inside if name == "estimators_" else [inside]:
                yield from _members(member)
            return
    yield classifier


def _blocks(steps):
    """The transformers that work side by side in the first steps of a pipeline."""
    steps = [(name, step) for name, step in steps if step is not None and step != "passthrough"]
    if len(steps) == 1 and isinstance(steps[0][1], FeatureUnion):
        return [block for _, block in steps[0][1].transformer_list if block != "drop"]
    if len(steps) == 1:
        return [steps[0][1]]
    return [Pipeline(steps)] if steps else []
