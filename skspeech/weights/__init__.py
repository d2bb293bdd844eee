"""Pretrained weights: where they come from, and how they are fetched, verified, converted, cached.

Weights are fetched when an estimator first needs them. For a machine without network access, fetch
them ahead of time::

    python -m skspeech.weights fetch

They are kept in the folder named by the environment variable ``SKSPEECH_CACHE``, by default the
platform's cache folder.
"""

from skspeech.weights._command import main as main
from skspeech.weights._common import WeightsError, WeightsNotFoundError
from skspeech.weights._fetching import cache_dir
from skspeech.weights.registry import REGISTRY, Download, Weights, Wheel
from skspeech.weights.store import (
    fetch_weights,
    fetch_wheel,
    load_weights,
    read_weights,
    weights_file_key,
    weights_key,
    weights_path,
)

__all__ = [
    "REGISTRY",
    "Download",
    "Weights",
    "WeightsError",
    "WeightsNotFoundError",
    "Wheel",
    "cache_dir",
    "fetch_weights",
    "fetch_wheel",
    "load_weights",
    "read_weights",
    "weights_file_key",
    "weights_key",
    "weights_path",
]
