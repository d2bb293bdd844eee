"""Pictures and sounds of a report, as text that stands inside of the page.

Drawings are SVG whose colours are the page's, so they suit a light and a dark screen alike.
"""

import base64
import io
import math

import numpy as np
from markupsafe import Markup

from skspeech.audio import SAMPLING_RATE

__all__ = [
    "class_colors",
    "draw_histogram",
    "draw_learning_curve",
    "draw_map",
    "sound_uri",
    "spectrogram_uri",
]

# Okabe and Ito's colours, which most colour-blind people can tell apart, on white and on black.
_COLORS = ("#0072b2", "#e69f00", "#009e73", "#d55e00", "#cc79a7", "#56b4e9", "#b59f00", "#8a6fdf")
_WIDTH, _HEIGHT = 480, 260
_LEFT, _RIGHT, _TOP, _BOTTOM = 46, 24, 12, 40


def class_colors(n_classes):
    """A colour for each class."""
    if n_classes <= len(_COLORS):
        return list(_COLORS[:n_classes])
    # Neighbours on the wheel get different lightness.
    return [f"hsl({360 * i / n_classes:.0f} 65% {(42, 56, 68)[i % 3]}%)" for i in range(n_classes)]


class _Plot:
    """Axes of a drawing: they map values to places and collect the elements."""

    def __init__(self, x_limits, y_limits, label, x_scale=lambda x: x):
        self._x_limits = [x_scale(x) for x in x_limits]
        self._y_limits = y_limits
        self._x_scale = x_scale
        self._label = label
        self.elements = []

    def x(self, value):
        low, high = self._x_limits
        share = (self._x_scale(value) - low) / ((high - low) or 1)
        return round(_LEFT + share * (_WIDTH - _LEFT - _RIGHT), 1)

    def y(self, value):
        low, high = self._y_limits
        share = (value - low) / ((high - low) or 1)
        return round(_HEIGHT - _BOTTOM - share * (_HEIGHT - _TOP - _BOTTOM), 1)

    def add(self, element, *values):
        self.elements.append(Markup(element).format(*values))

    def frame(self, x_ticks, y_ticks, x_name, y_name):
        """Draw axes; ticks are (value, text)."""
        bottom, right = _HEIGHT - _BOTTOM, _WIDTH - _RIGHT
        for value, text in y_ticks:
            y = self.y(value)
            self.add('<line class="grid" x1="{}" y1="{}" x2="{}" y2="{}"/>', _LEFT, y, right, y)
            self.add('<text x="{}" y="{}" text-anchor="end">{}</text>', _LEFT - 6, y + 4, text)
        for value, text in x_ticks:
            x = self.x(value)
            self.add(
                '<line class="axis" x1="{}" y1="{}" x2="{}" y2="{}"/>', x, bottom, x, bottom + 4
            )
            self.add('<text x="{}" y="{}" text-anchor="middle">{}</text>', x, bottom + 17, text)
        self.add(
            '<line class="axis" x1="{}" y1="{}" x2="{}" y2="{}"/>', _LEFT, bottom, right, bottom
        )
        middle = (_LEFT + right) / 2
        self.add('<text x="{}" y="{}" text-anchor="middle">{}</text>', middle, _HEIGHT - 4, x_name)
        self.add('<text x="{}" y="{}">{}</text>', _LEFT + 4, _TOP + 4, y_name)

    def render(self):
        svg = '<svg class="plot" viewBox="0 0 {} {}" role="img" aria-label="{}">{}</svg>'
        content = Markup("").join(self.elements)
        return Markup(svg).format(_WIDTH, _HEIGHT, self._label, content)


def draw_learning_curve(times, scores, time_budget, score_name, *, t0=60.0):
    """Score of the best ensemble against time, on the axis of the learning curve's area.

    Parameters
    ----------
    times, scores : ndarray of shape (n_answers,)
        Seconds, and scores; those that are NaN are left out.
    time_budget : float
        Where the axis ends.
    score_name : str
    t0 : float, default=60.0
        Time scale, in seconds.

    Returns
    -------
    Markup
    """
    from skspeech.plotting import _format_seconds, _time_ticks

    known = np.isfinite(scores)
    times, scores = times[known], scores[known]
    end = max(time_budget, times.max())
    low, high = min(0.0, scores.min()), max(1.0, scores.max())
    plot = _Plot((0, end), (low, high), "Learning curve", x_scale=lambda t: math.log1p(t / t0))
    plot.frame(
        [(t, _format_seconds(t)) for t in _time_ticks(end, t0)],
        _even_ticks(low, high),
        "Time since the start (log scale)",
        score_name,
    )
    path = [f"M{plot.x(times[0])} {plot.y(scores[0])}"]
    for time, score in zip(times[1:], scores[1:]):
        path.append(f"H{plot.x(time)}V{plot.y(score)}")
    path.append(f"H{plot.x(end)}")
    plot.add('<path class="curve" d="{}"/>', "".join(path))
    for time, score in zip(times, scores):
        plot.add(
            '<circle class="answer" cx="{}" cy="{}" r="3.5"><title>{}</title></circle>',
            plot.x(time),
            plot.y(score),
            f"{score:.3f} after {time:.1f} s",
        )
    return plot.render()


def _even_ticks(low, high, n=5):
    """Round numbers from `low` to `high`, with the text that tells them apart."""
    step = 10 ** math.floor(math.log10((high - low) or 1)) / 10
    step = next(s for m in (1, 2, 2.5, 5, 10, 20, 50, 100) if (high - low) / (s := m * step) <= n)
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return [(i * step, f"{i * step:.6g}") for i in range(first, last + 1)]


def draw_histogram(parts, name, *, log=False, n_bins=30):
    """Outlined shares of clips by some quantity, a line for each part.

    Parameters
    ----------
    parts : dict of str to ndarray
        Values by the name of the part; NaN are left out. Two parts at most.
    name : str
        The quantity, with its unit.
    log : bool, default=False
        Whether the axis is logarithmic; values are above 0 then.
    n_bins : int, default=30

    Returns
    -------
    Markup, or None where there is no value.
    """
    parts = {part: values[np.isfinite(values)] for part, values in parts.items()}
    parts = {part: values for part, values in parts.items() if len(values)}
    if not parts:
        return None
    everything = np.concatenate(list(parts.values()))
    low, high = everything.min(), everything.max()
    if log:
        margin = 1.3 if high < 1.5 * low else 1.0
        low, high = low / margin, high * margin
    elif high - low < 1:
        low, high = low - 1, high + 1
    make_edges = np.geomspace if log else np.linspace
    edges = make_edges(low, high, n_bins + 1)
    edges[[0, -1]] = low, high  # as rounding may have it otherwise
    shares = {part: np.histogram(values, edges)[0] / len(values) for part, values in parts.items()}
    top = max(share.max() for share in shares.values())
    plot = _Plot((low, high), (0, top), f"Distribution of {name}", math.log if log else float)
    ticks = _log_ticks(low, high) if log else _even_ticks(low, high, 8)
    percents = [(value / 100, f"{text} %") for value, text in _even_ticks(0, 100 * top, 4)]
    plot.frame(ticks, percents, name, "Share of clips")
    for i, (part, share) in enumerate(shares.items()):
        steps = "".join(f"H{plot.x(edges[k])}V{plot.y(value)}" for k, value in enumerate(share))
        path = f"M{plot.x(edges[0])} {plot.y(0)}{steps}H{plot.x(edges[-1])}V{plot.y(0)}Z"
        plot.add('<path class="bars part{}" d="{}"><title>{}</title></path>', i, path, part)
    return plot.render()


def _log_ticks(low, high):
    candidates = [m * 10.0**e for e in range(-3, 6) for m in (1, 2, 5)]
    inside = [(t, f"{t:g}") for t in candidates if low <= t <= high]
    ends = [(low, f"{low:.3g}"), (high, f"{high:.3g}")]
    return inside if len(inside) >= 3 else [ends[0], *inside, ends[1]]


def draw_map(points, codes, is_test, is_wrong, titles):
    """A point a clip: its colour is the class; training clips are faint, mistakes have a ring.

    Parameters
    ----------
    points : ndarray of shape (n, 2)
    codes : ndarray of int of shape (n,)
        Class, which chooses the colour.
    is_test, is_wrong : ndarray of bool of shape (n,)
    titles : list of str
        What is shown when the pointer rests on a point.

    Returns
    -------
    Markup
    """
    low, high = points.min(axis=0), points.max(axis=0)
    scaled = (points - low) / np.maximum(high - low, 1e-12)
    size, margin = 560, 12
    places = np.round(margin + scaled * (size - 2 * margin), 1)
    elements = []
    for i in np.argsort(is_test, kind="stable"):  # test clips on top
        kind = ("train", "test")[int(is_test[i])] + (" wrong" if is_wrong[i] else "")
        elements.append(
            Markup(
                '<circle class="{} k{}" cx="{}" cy="{}" r="{}"><title>{}</title></circle>'
            ).format(kind, codes[i], *places[i], 4.5 if is_test[i] else 3, titles[i])
        )
    svg = '<svg class="map" viewBox="0 0 {} {}" role="img" aria-label="Map of the clips">{}</svg>'
    return Markup(svg).format(size, size, Markup("").join(elements))


# Sound --------------------------------------------------------------------------------------------


def sound_uri(waveform):
    """A waveform at 16 kHz as a FLAC file in a data URI: lossless, and all browsers play it."""
    import soundfile

    file = io.BytesIO()
    peak = max(1.0, float(np.abs(waveform).max()))
    soundfile.write(file, waveform / peak, SAMPLING_RATE, format="FLAC", subtype="PCM_16")
    return _data_uri("audio/flac", file.getvalue())


def spectrogram_uri(waveform, *, n_mels=64, n_columns=400):
    """The log mel spectrogram of a waveform at 16 kHz as a PNG image in a data URI."""
    from matplotlib.image import imsave

    from skspeech._spectrogram import mel_filter_bank

    n_fft = 512
    waveform = np.pad(waveform, (0, max(0, n_fft - len(waveform))))
    hop = max(128, -(-(len(waveform) - n_fft + 1) // n_columns))
    frames = np.lib.stride_tricks.sliding_window_view(waveform, n_fft)[::hop]
    power = np.abs(np.fft.rfft(frames * np.hanning(n_fft), axis=1)) ** 2
    mel = power @ mel_filter_bank(SAMPLING_RATE, n_fft, n_mels).T
    decibels = 10 * np.log10(np.maximum(mel, 1e-10))
    file = io.BytesIO()
    top = decibels.max()
    imsave(file, decibels.T[::-1], cmap="magma", vmin=top - 70, vmax=top + 1e-6, format="png")
    return _data_uri("image/png", file.getvalue())


def _data_uri(kind, content):
    return f"data:{kind};base64,{base64.b64encode(content).decode('ascii')}"
