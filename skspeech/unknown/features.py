"""The features that a fitted classifier computes from clips."""

from sklearn.pipeline import FeatureUnion, Pipeline
from sklearn.utils import get_tags

from skspeech._pickled import PickledClassifier
from skspeech.audio.rates import sampling_rate_of, takes_clips
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
    chains = list(_chains(classifier))
    blocks = {}
    for steps, rest in chains:
        for block in [] if _hears(rest) else _blocks(steps):
            blocks.setdefault(shared_key([("", block)]), strict(block))
    if not blocks:
        found = next(((steps, rest) for steps, rest in chains if _hears(rest)), None)
        if found is None:
            return None
        steps, rest = found
        own = SpectralStatistics(sampling_rate=sampling_rate_of(rest))
        (blocks[""],) = map(strict, _blocks([*steps, ("", own)]))
    return side_by_side([(f"block{i}", block) for i, block in enumerate(blocks.values())])


def _chains(classifier, before=()):
    """For each member, also inside wrappers, its first steps that learn nothing, and the rest.

    Members may be unfitted: these steps are the same then.
    """
    if isinstance(classifier, PickledClassifier):
        classifier = classifier.load()
    if isinstance(classifier, Pipeline) or hasattr(classifier, "to_pipeline"):
        steps, rest = stateless_steps(classifier)
        if rest is classifier and not _real(classifier.steps[:-1]):
            rest = classifier.steps[-1][1]
        steps = [*before, *steps]
        if rest is not classifier and _hears(rest):  # such as a classifier behind a loader
            yield from _chains(rest, steps)
        else:
            yield steps, rest
        return
    for name in ("ensemble_", "best_estimator_", "estimators_", "estimator"):
        inside = getattr(classifier, name, None)
        if inside is not None:
            for member in inside if name == "estimators_" else [inside]:
                yield from _chains(member, before)
            return
    yield before, classifier


def _hears(classifier):
    """Whether it takes clips, and no features."""
    if get_tags(classifier).input_tags.string:
        return True
    return not isinstance(classifier, Pipeline) and takes_clips(classifier)


def _blocks(steps):
    """The transformers that work side by side in the first steps of a pipeline."""
    steps = _real(steps)
    if len(steps) == 1 and isinstance(steps[0], FeatureUnion):
        return [block for _, block in steps[0].transformer_list if block != "drop"]
    if len(steps) > 1:
        return [Pipeline([(f"step{i}", step) for i, step in enumerate(steps)])]
    return steps


def _real(steps):
    return [step for _, step in steps if step is not None and step != "passthrough"]
