"""Lengths and windows of waveforms."""

import numpy as np

from skspeech.audio.waveforms import SAMPLING_RATE

__all__ = ["fix_length", "window_starts"]


def fix_length(waveform: np.ndarray, n_samples: int) -> np.ndarray:
    """Cut a waveform at its end, or repeat it, to a number of samples.

    Parameters
    ----------
    waveform : ndarray of shape (n,)
        At least one sample.
    n_samples : int
        Samples wanted.

    Returns
    -------
    ndarray of shape (n_samples,)
        A view where cutting suffices, else a new array.

    Raises
    ------
    ValueError
        If the waveform is empty.

    Examples
    --------
    >>> import numpy as np
    >>> from skspeech.audio import fix_length
    >>> fix_length(np.array([1.0, 2.0, 3.0]), 5)
    array([1., 2., 3., 1., 2.])
    """
    if len(waveform) >= n_samples:
        return waveform[:n_samples]
    if len(waveform) == 0:
        raise ValueError("A waveform without samples cannot be repeated.")
    return np.resize(waveform, n_samples)


def window_starts(n_samples: int, window: int, hop: int) -> np.ndarray:
    """Where the windows of a clip start.

    Parameters
    ----------
    n_samples : int
        Samples of the clip.
    window : int
        Samples of a window.
    hop : int
        Samples between the starts of windows.

    Returns
    -------
    ndarray of shape (n_windows,), int64
        0, hop, 2 hop, …, and, if these leave a tail uncovered, a last window that ends exactly at
        the clip's end. A clip that is no longer than a window has one window, at 0.

    Examples
    --------
    >>> from skspeech.audio import window_starts
    >>> window_starts(10, window=4, hop=3), window_starts(11, window=4, hop=3)
    (array([0, 3, 6]), array([0, 3, 6, 7]))
    """
    if window < 1 or hop < 1:
        raise ValueError(f"window={window} and hop={hop} must be at least one sample.")
    last = max(0, n_samples - window)
    starts = np.arange(0, last + 1, hop, dtype=np.int64)
    return starts if starts[-1] == last else np.append(starts, last)


def in_chunks(waveforms, seconds):
    """Group waveforms into lists of about `seconds` each, so that memory stays bounded.

    Parameters
    ----------
    waveforms : iterable of ndarray of shape (n_samples,)
        At 16 kHz.
    seconds : float
        A list ends with the waveform that reaches this length.

    Yields
    ------
    list of ndarray
        Never an empty one.
    """
    chunk, n_left = [], seconds * SAMPLING_RATE
    for waveform in waveforms:
        chunk.append(waveform)
        n_left -= len(waveform)
        if n_left <= 0:
            yield chunk
            chunk, n_left = [], seconds * SAMPLING_RATE
    if chunk:
        yield chunk
