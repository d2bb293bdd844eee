"""Explain why a classifier predicts what it does for a clip."""

import itertools
from numbers import Integral
from typing import Any

import numpy as np
from sklearn.base import BaseEstimator
from sklearn.utils import Bunch

from skspeech._one_clip import labels_of
from skspeech._sklearn import Interval, validate_params
from skspeech._spectrogram import mel_frequencies
from skspeech._typing import ClipLike
from skspeech.audio import SAMPLING_RATE, in_chunks, load_waveforms
from skspeech.audio.errors import printable
from skspeech.audio.rates import ready_for, sampling_rate_of
from skspeech.ensemble.blending import probabilities_of
from skspeech.plotting import import_pyplot

__all__ = ["OcclusionDisplay", "occlusion"]

_N_FFT, _HOP = 512, 128  # of the spectrogram in which tiles are muted: 32 ms, and 8 ms at most
_SECONDS_TOGETHER = 240.0  # seconds of muted clips in one call of the model
_SUREST = 1e-6  # least distance of probabilities from 0 and 1, so that log-odds stay finite
_SHOWN_DB = 70.0  # range of the spectrogram's colours, below its maximum


@validate_params(
    {
        "model": "no_validation",
        "clip": "no_validation",
        "label": "no_validation",
        "n_times": [Interval(Integral, 1, None, closed="left")],
        "n_bands": [Interval(Integral, 1, 64, closed="both")],
    },
    prefer_skip_nested_validation=True,
)
def occlusion(
    model: BaseEstimator, clip: ClipLike, *, label: Any = None, n_times: int = 20, n_bands: int = 1
) -> Bunch:
    """Mute the parts of a clip one by one, and measure how the prediction changes.

    If muting a part lowers the odds of a label, that part is evidence for it; if it raises them,
    evidence against it. A part that does not matter alone may still matter together with others.

    Parameters
    ----------
    model : fitted classifier
        Any that takes clips and has `predict_proba`.
    clip : clip
        A path, a ``(waveform, sampling_rate)`` pair, or a waveform at the model's `sampling_rate`,
        16 kHz if it has none.
    label : object, default=None
        The label to explain, as in training; None is the predicted label.
    n_times : int, default=20
        Number of time segments of equal length that the clip is divided into.
    n_bands : int, default=1
        Number of frequency bands, of equal width on the mel scale, up to 8 kHz.

    Returns
    -------
    :class:`~sklearn.utils.Bunch`
        With

        label : object
            The label that is explained.
        probability : float
            Its predicted probability for the whole clip.
        effect : ndarray of shape (n_bands, n_times)
            How much the log-odds of the label fall when that part is muted.
        probabilities : ndarray of shape (n_bands, n_times)
            Predicted probability of the label when that part is muted.
        times : ndarray of shape (n_times + 1,)
            Edges of the time segments, in seconds.
        frequencies : ndarray of shape (n_bands + 1,)
            Edges of the bands, in Hz.
        waveform : ndarray of shape (n_samples,)
            The clip, at 16 kHz.

    Raises
    ------
    OSError, ValueError
        If the clip can't be read, or the model has no probabilities or no such label.

    See Also
    --------
    OcclusionDisplay : Draws the effects over the spectrogram.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn.naive_bayes import GaussianNB
    >>> from sklearn.pipeline import make_pipeline
    >>> from skspeech import SpectralStatistics
    >>> from skspeech.datasets import make_tones
    >>> from skspeech.inspection import occlusion
    >>> tones = make_tones(20, n_classes=2, duration=0.5, random_state=0)
    >>> model = make_pipeline(SpectralStatistics(), GaussianNB()).fit(tones.data, tones.target)
    >>> found = occlusion(model, tones.data[0], n_times=5)
    >>> found.effect.shape, found.times.round(1).tolist()
    ((1, 5), [0.0, 0.1, 0.2, 0.3, 0.4, 0.5])
    """
    if not hasattr(model, "predict_proba") or not hasattr(model, "classes_"):
        raise ValueError(
            f"model is a {type(model).__name__}, which is not fitted or has no predict_proba. "
            "Give a fitted classifier with probabilities."
        )
    (waveform,) = load_waveforms([clip], sampling_rate=sampling_rate_of(model))
    hand = ready_for(model)
    times = np.linspace(0, len(waveform) / SAMPLING_RATE, n_times + 1)
    frequencies = mel_frequencies(n_bands + 1, 0.0, SAMPLING_RATE / 2)
    classes = np.asarray(model.classes_).tolist()
    (whole,) = probabilities_of(model, hand([waveform]))
    if label is not None and label not in classes:
        raise ValueError(f"label={label!r} is none of the classes {classes}.")
    if label is None:
        (label,) = labels_of(model, hand([waveform]), whole[np.newaxis]).tolist()
    code = classes.index(label)
    muted = _muted(waveform, times, frequencies)
    asked = [probabilities_of(model, hand(chunk)) for chunk in in_chunks(muted, _SECONDS_TOGETHER)]
    proba = np.concatenate(asked)[:, code].reshape(n_bands, n_times)
    return Bunch(
        label=classes[code],
        probability=float(whole[code]),
        effect=_log_odds(whole[code]) - _log_odds(proba),
        probabilities=proba,
        times=times,
        frequencies=frequencies,
        waveform=waveform,
    )


def _log_odds(proba):
    proba = np.clip(proba, _SUREST, 1 - _SUREST)
    return np.log(proba / (1 - proba))


def _muted(waveform, times, frequencies):
    """Yield the waveform without one tile, for each band and, within it, each time segment.

    The window of the transform fades the sound out before a muted tile and in after it.
    """
    hop = min(_HOP, max(1, len(waveform) // (len(times) - 1)))  # a frame for each segment
    spectrum, bins, frames = _spectrum(waveform, hop)
    edges = frequencies.copy()
    edges[-1] = np.inf  # the last bin lies on the last band's edge
    last = times.copy()
    last[0], last[-1] = -np.inf, np.inf
    for low, high in itertools.pairwise(edges):
        in_band = (bins >= low) & (bins < high)
        for start, end in itertools.pairwise(last):
            tile = np.outer(in_band, (frames >= start) & (frames < end))
            yield _waveform(np.where(tile, 0, spectrum), hop, len(waveform))


def _spectrum(waveform, hop=_HOP):
    """Short-time Fourier transform, with its frequencies (Hz) and times (s)."""
    from scipy.signal import stft

    padded = np.pad(waveform, (0, max(0, _N_FFT - len(waveform))))
    bins, frames, spectrum = stft(
        padded, SAMPLING_RATE, nperseg=_N_FFT, noverlap=_N_FFT - hop, boundary="zeros"
    )
    return spectrum, bins, frames


def _waveform(spectrum, hop, n_samples):
    from scipy.signal import istft

    _, waveform = istft(spectrum, SAMPLING_RATE, nperseg=_N_FFT, noverlap=_N_FFT - hop)
    return waveform[:n_samples].astype(np.float32)


class OcclusionDisplay:
    """Time segments and bands that count for or against a label, drawn over the spectrogram.

    Create it with :meth:`from_estimator`.

    Parameters
    ----------
    result : :class:`~sklearn.utils.Bunch`
        What :func:`occlusion` returns.

    Attributes
    ----------
    image_ : matplotlib QuadMesh
        The effects. Set by :meth:`plot`.
    spectrogram_ : matplotlib QuadMesh
        The spectrogram below them. Set by :meth:`plot`.
    ax_ : matplotlib Axes
        The axes that hold both. Set by :meth:`plot`.
    figure_ : matplotlib Figure
        The figure that holds the axes. Set by :meth:`plot`.

    See Also
    --------
    occlusion : The numbers.

    Examples
    --------
    >>> from sklearn.naive_bayes import GaussianNB
    >>> from sklearn.pipeline import make_pipeline
    >>> from skspeech import SpectralStatistics
    >>> from skspeech.datasets import make_tones
    >>> from skspeech.inspection import OcclusionDisplay
    >>> tones = make_tones(20, n_classes=2, duration=0.5, random_state=0)
    >>> model = make_pipeline(SpectralStatistics(), GaussianNB()).fit(tones.data, tones.target)
    >>> display = OcclusionDisplay.from_estimator(model, tones.data[0], n_times=5, n_bands=3)
    >>> display.ax_.get_ylabel()
    'Frequency (kHz)'
    """

    def __init__(self, result):
        self.result = result

    @classmethod
    def from_estimator(cls, estimator, clip, *, label=None, n_times=20, n_bands=1, ax=None):
        """Mute the parts of a clip and draw what that changes.

        Parameters
        ----------
        estimator : fitted classifier
            Any that takes clips and has `predict_proba`.
        clip : clip
            As for :func:`occlusion`.
        label : object, default=None
            The label to explain; None is the predicted label.
        n_times, n_bands : int, default=20 and 1
            As for :func:`occlusion`.
        ax : matplotlib Axes, default=None
            As for :meth:`plot`.

        Returns
        -------
        display : OcclusionDisplay
            The display, drawn.
        """
        result = occlusion(estimator, clip, label=label, n_times=n_times, n_bands=n_bands)
        return cls(result).plot(ax)

    def plot(self, ax=None, *, cmap="RdBu_r", alpha=0.6):
        """Draw the spectrogram in grey, and over it the evidence for and against the label.

        Parameters
        ----------
        ax : matplotlib Axes, default=None
            Where to draw; None makes a new figure.
        cmap : str, default="RdBu_r"
            Colours, from evidence against the label to evidence for it.
        alpha : float, default=0.6
            Opacity of the colours, from 0 to 1.

        Returns
        -------
        display : OcclusionDisplay
            This display, with `image_`, `spectrogram_`, `ax_` and `figure_` set.
        """
        plt = import_pyplot("OcclusionDisplay")
        if ax is None:
            _, ax = plt.subplots(layout="constrained")
        result = self.result
        spectrum, bins, frames = _spectrum(result.waveform)
        power = 20 * np.log10(np.maximum(np.abs(spectrum), 1e-10))
        limits = {"vmin": power.max() - _SHOWN_DB, "vmax": power.max()}
        grey = ax.pcolormesh(frames, bins / 1000, power, cmap="Greys", rasterized=True, **limits)
        most = np.abs(result.effect).max() or 1.0
        image = ax.pcolormesh(
            result.times,
            result.frequencies / 1000,
            result.effect,
            cmap=cmap,
            vmin=-most,
            vmax=most,
            alpha=alpha,
        )
        bar, label = ax.figure.colorbar(image, ax=ax), printable(str(result.label))
        # A name with two dollar signs is no formula.
        bar.set_label(f"For {label} (log-odds that muting takes)", parse_math=False)
        ax.set_title(f"{label}: probability {result.probability:.2f}", parse_math=False)
        ax.set(
            xlabel="Time (s)",
            ylabel="Frequency (kHz)",
            xlim=(0, result.times[-1]),
            ylim=(0, result.frequencies[-1] / 1000),
        )
        self.image_, self.spectrogram_, self.ax_, self.figure_ = image, grey, ax, ax.figure
        return self
