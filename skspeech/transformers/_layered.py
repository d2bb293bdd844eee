"""Extractors that keep statistics over time of chosen layers of an encoder."""

from abc import abstractmethod

import numpy as np

from skspeech._device import map_in_threads, n_threads_for
from skspeech.transformers._statistics import MASKED_STATISTICS, masked_statistics
from skspeech.transformers._windowed import PieceExtractor
from skspeech.transformers.speaker import choose, merge_windows, time_statistics

__all__ = ["LayeredExtractor"]


class LayeredExtractor(PieceExtractor):
    """Gives a clip the statistics of its encoder's hidden states, averaged over windows.

    A subclass has a parameter `pooling`, and defines `_layers`, `_widths` and `_prefix`; also
    `_is_here`, if these may have to be fetched.
    """

    @abstractmethod
    def _layers(self):
        """Numbers of the layers to read."""

    @abstractmethod
    def _widths(self):
        """Units of each layer."""

    @abstractmethod
    def _prefix(self):
        """What the names of features begin with."""

    def _is_here(self):
        """Whether the number of layers and the longest window are known without a network."""
        return True

    def _validate_params(self):
        super()._validate_params()
        self._statistics()
        if self._is_here():
            self._layers()
            self._window_and_hop()

    def _statistics(self):
        return choose("pooling", self.pooling, MASKED_STATISTICS)

    def _by_batches(self, features_of, lengths, limit, device, *, mixed=True):
        """Features of all windows, (n_windows, n_features), in batches of similar length.

        `features_of` gives those of a batch, of which it gets the indices. For the other
        parameters, see `_batches_by_length`.
        """
        import torch

        @torch.inference_mode()
        def run(batch):
            return batch, features_of(batch).cpu().numpy()

        features = np.empty((len(lengths), self._n_features()), dtype=np.float32)
        n_threads = n_threads_for(device)
        batches = _batches_by_length(lengths, limit, n_threads, mixed)
        for batch, rows in map_in_threads(run, batches, n_threads):
            features[batch] = rows
        return features

    def _features_of(self, states, inside=None):
        """Features of a batch, from its hidden states and which positions are no padding, if any.

        A tensor of shape (n_windows, n_features).
        """
        import torch

        def statistics_of(layer):
            if inside is None:
                return time_statistics(states[layer], self._statistics())
            return masked_statistics(states[layer].float(), inside, self._statistics())

        return torch.cat([block for n in self._layers() for block in statistics_of(n)], dim=1)

    def _pool(self, windows):
        return merge_windows(windows, self._blocks())

    def _blocks(self):
        widths = self._widths()
        return [
            (f"layer{layer}_{statistic}", widths[layer])
            for layer in self._layers()
            for statistic in self._statistics()
        ]

    def _n_features(self):
        return sum(width for _, width in self._blocks())

    def _feature_names(self):
        prefix = self._prefix()
        return [f"{prefix}_{block}_{i}" for block, width in self._blocks() for i in range(width)]


def _batches_by_length(lengths, limit, n_threads, mixed):
    """Indices of windows of similar length, in batches whose lengths add up to at most `limit`.

    A batch has at least one window, and every thread at least one batch. Unless `mixed`, all
    windows of a batch have one length.
    """
    order = np.argsort(-lengths, kind="stable")
    if n_threads > 1 and len(lengths) >= 2 * n_threads:
        limit = min(limit, -(-lengths.sum() // n_threads))
    batches = []
    while len(order):
        longest = lengths[order[0]]
        size = max(1, limit // longest)
        if not mixed:
            size = min(size, np.count_nonzero(lengths[order] == longest))
        batches.append(order[:size])
        order = order[size:]
    return batches
