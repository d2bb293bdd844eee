"""Statistics over the frames of many clips at once."""

import numpy as np

__all__ = ["FRAME_STATISTICS", "MASKED_STATISTICS", "frame_statistics", "masked_statistics"]

_PERCENTILES = {"min": 0, "p10": 10, "p50": 50, "p90": 90, "max": 100}
_WAVES = {f"dct{k}": k for k in range(1, 6)}
MASKED_STATISTICS = ("mean", "std", "max")
FRAME_STATISTICS = ("mean", "std", *_PERCENTILES, *_WAVES)


def frame_statistics(values, counts, statistics):
    """Statistics of each clip's frames.

    Parameters
    ----------
    values : ndarray of shape (n_frames_in_all, n_descriptors)
        The frames of all clips, one clip after another.
    counts : ndarray of shape (n_clips,)
        Frames of each clip, at least one.
    statistics : sequence of str
        Of ``FRAME_STATISTICS``.

    Returns
    -------
    ndarray of shape (n_clips, n_statistics, n_descriptors), dtype of `values`
    """
    values = np.ascontiguousarray(values.T)
    begins = np.cumsum(counts) - counts
    mean = _means(values, begins, counts)
    centred = values - np.repeat(mean, counts, axis=1)
    ordered = None
    blocks = []
    for statistic in statistics:
        if statistic == "mean":
            block = mean
        elif statistic == "std":
            block = np.sqrt(_means(centred**2, begins, counts))
        elif statistic in _WAVES:
            wave = _wave(_WAVES[statistic], begins, counts)
            block = _means(centred * wave, begins, counts)
        else:
            if ordered is None:
                ordered = _ordered(values, begins, counts)
            block = _percentile(ordered, begins, counts, _PERCENTILES[statistic])
        blocks.append(block.T)
    return np.stack(blocks, axis=1)


def masked_statistics(states, mask, statistics):
    """Statistics of (n, n_frames, n_units) over the frames where `mask` (n, n_frames) is true."""
    inside = mask[:, :, None]
    n_frames = inside.sum(dim=1)
    states = states.masked_fill(~inside, 0.0)
    mean = states.sum(dim=1) / n_frames
    compute = {
        "mean": lambda: mean,
        "std": lambda: (
            (states - mean[:, None]).masked_fill(~inside, 0.0).square().sum(dim=1) / n_frames
        ).sqrt(),
        "max": lambda: states.masked_fill(~inside, -float("inf")).amax(dim=1),
    }
    return [compute[statistic]() for statistic in statistics]


def _means(values, begins, counts):
    return (np.add.reduceat(values, begins, axis=1) / counts).astype(values.dtype)


def _wave(k, begins, counts):
    """Half `k` periods of a cosine along each clip."""
    positions = np.arange(counts.sum()) - np.repeat(begins, counts) + 0.5
    return np.cos(np.pi * k * positions / np.repeat(counts, counts)).astype(np.float32)


def _ordered(values, begins, counts):
    ordered = values.copy()
    for begin, count in zip(begins, counts, strict=True):
        ordered[:, begin : begin + count].sort(axis=1)
    return ordered


def _percentile(ordered, begins, counts, percent):
    """Interpolated between frames, as :func:`numpy.percentile` does."""
    positions = begins + (counts - 1) * (percent / 100)
    below = np.floor(positions).astype(np.intp)
    above = np.ceil(positions).astype(np.intp)
    share = (positions - below).astype(ordered.dtype)
    return ordered[:, below] * (1 - share) + ordered[:, above] * share
