"""Send a few clips through several networks at once."""

import contextlib

import numpy as np
from sklearn.pipeline import FeatureUnion, Pipeline

from skspeech._device import map_in_threads, n_threads_for
from skspeech.cache import open_cache
from skspeech.transformers.base import Extractor
from skspeech.transformers.keys import fingerprint_of

__all__ = ["embed_together"]

_FEW_CLIPS = 4  # more clips keep all cores busy in one network after another


def embed_together(estimators, X):
    """Run the extractors in front of some estimators on a few clips, in parallel.

    A single clip hardly keeps two cores busy, because the layers of a network run one after
    another. So each extractor gets its own thread, and the estimators then find its features in the
    cache. Left to the estimators are a single extractor, extractors that don't cache, run on a GPU,
    or continue without clips that can't be read, and errors.

    Parameters
    ----------
    estimators : list of estimators
        Fitted; may include pipelines that begin with extractors or with unions of them.
    X : sequence of clips
        The clips that they are about to predict.
    """
    n_clips = X.shape[0] if hasattr(X, "shape") else len(X) if hasattr(X, "__len__") else np.inf
    if n_clips > _FEW_CLIPS:
        return
    found = {}
    for extractor in _in_front_of(estimators):
        if extractor.errors == "raise" and open_cache(extractor.memory).stores:
            found.setdefault(fingerprint_of(extractor, pooled=True), extractor)
    extractors = list(found.values())
    devices = {extractor._device() for extractor in extractors}
    if len(extractors) < 2 or {device.type for device in devices} != {"cpu"}:
        return

    def embed(extractor):
        with contextlib.suppress(Exception):  # the estimator meets the error again and raises it
            extractor.transform(X)

    for _ in map_in_threads(embed, extractors, n_threads_for(*devices)):
        pass


def _in_front_of(estimators):
    for estimator in estimators:
        if isinstance(estimator, Extractor):
            yield estimator
        elif isinstance(estimator, FeatureUnion):
            yield from _in_front_of([part for _, part in estimator.transformer_list])
        elif isinstance(estimator, Pipeline):
            yield from _in_front_of([estimator.steps[0][1]])
        else:  # the trained estimator inside a classifier for clips
            inner = (getattr(estimator, name, None) for name in ("pipeline_", "estimator_"))
            yield from _in_front_of([part for part in inner if part is not None])
