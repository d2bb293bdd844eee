"""Pictures and sounds of a report, as text inside the page.

matplotlib draws the pictures as SVG. Their colours are then replaced by the page's, so they suit a
light and a dark screen.
"""

import base64
import colorsys
import io
import re
import threading

import numpy as np
from markupsafe import Markup

from skspeech.audio import SAMPLING_RATE

__all__ = [
    "class_colors",
    "draw_calibration",
    "draw_histogram",
    "draw_learning_curve",
    "draw_map",
    "sound_uri",
    "spectrogram_uri",
]

# Okabe and Ito's colours, which most colour-blind people can tell apart, on white and on black.
_COLORS = ("#0072b2", "#e69f00", "#009e73", "#d55e00", "#cc79a7", "#56b4e9", "#b59f00", "#8a6fdf")
_WRITTEN = 2**16  # samples at once: libsndfile's Vorbis encoder crashes if it gets very many
_QUIETEST_TOP = -40.0  # dB: a spectrogram whose loudest point is below it stays dark
_CLIPS_A_POINT = 20  # at least, for each point of the calibration
# Placeholders for the page's colours, which differ on a dark screen.
_QUIET, _LINE, _CARD, _INK, _ACCENT = "#010101", "#020202", "#030303", "#040404", "#050505"
_OF_PAGE = {
    _QUIET: "var(--quiet)",
    _LINE: "var(--line)",
    _CARD: "var(--card)",
    _INK: "var(--ink)",
    _ACCENT: "rgb(var(--accent))",
}
_PART_COLORS = (_ACCENT, "#d08700")
_STYLE = {
    "svg.fonttype": "none",  # text stays text, in the page's font
    "svg.hashsalt": "skspeech",
    "font.size": 11,
    "font.sans-serif": ["system-ui", "DejaVu Sans"],
    "figure.facecolor": "none",
    "axes.facecolor": "none",
    "axes.edgecolor": _QUIET,
    "axes.labelcolor": _QUIET,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "text.color": _QUIET,
    "xtick.color": _QUIET,
    "ytick.color": _QUIET,
    "grid.color": _LINE,
    "grid.alpha": 1.0,
    "legend.frameon": False,
}


_drawing = threading.Lock()  # matplotlib has one style for all threads


def class_colors(n_classes):
    """A colour for each class."""
    if n_classes <= len(_COLORS):
        return list(_COLORS[:n_classes])
    # Neighbours on the wheel get different lightness.
    wheel = [
        colorsys.hls_to_rgb(i / n_classes, (0.42, 0.56, 0.68)[i % 3], 0.65)
        for i in range(n_classes)
    ]
    return ["#" + "".join(f"{round(255 * part):02x}" for part in color) for color in wheel]


def _draw(draw, label, size=(5.0, 3.0)):
    """Call `draw` on new axes, and return the SVG element; `size` is in inches.

    On a phone, the text of a picture of five inches is about nine tenths as large as the page's.
    """
    from matplotlib import style
    from matplotlib.figure import Figure

    file = io.StringIO()
    with _drawing, style.context(["default", _STYLE]):
        figure = Figure(figsize=size, layout="constrained")
        draw(figure.subplots())
        figure.savefig(file, format="svg")
    svg = file.getvalue()
    svg = svg[svg.index("<svg") :]
    svg = re.sub(
        r"<metadata>.*?</metadata>|<style .*?</style>|<!--.*?-->", "", svg, flags=re.DOTALL
    )
    svg = re.sub(r'<g id="[^"]*"', "<g", svg)  # ids that all drawings would share
    view = re.search(r'viewBox="[^"]*"', svg)[0]
    opening = Markup('<svg class="plot" {} role="img" aria-label="{}">').format(Markup(view), label)
    svg = re.sub(r"<svg.*?>", lambda _: opening, svg, count=1, flags=re.DOTALL)
    for color, of_page in _OF_PAGE.items():
        svg = svg.replace(color, of_page)
    return Markup(svg.strip())


def draw_learning_curve(times, scores, time_budget, score_name):
    """Score of the best ensemble against time, on the axis of the learning curve's area.

    Parameters
    ----------
    times, scores : ndarray of shape (n_answers,)
        Seconds, and scores; NaN are left out.
    time_budget : float
        End of the axis, unless an answer is later.
    score_name : str

    Returns
    -------
    Markup
    """
    from skspeech.plotting import LearningCurveDisplay

    known = np.isfinite(scores)
    display = LearningCurveDisplay(
        {"area under the curve": (times[known], scores[known])},
        time_budget=max(time_budget, times[known].max()),
        score_name=score_name,
    )
    return _draw(
        lambda ax: display.plot(ax, line_kwargs={"color": _ACCENT, "linewidth": 2}),
        "Learning curve",
    )


def draw_calibration(right, sure):
    """Share of right answers against their predicted probability.

    Parameters
    ----------
    right : ndarray of bool of shape (n_clips,)
    sure : ndarray of shape (n_clips,)
        Probability of the most probable class.

    Returns
    -------
    Markup
    """
    from sklearn.calibration import CalibrationDisplay

    def draw(ax):
        CalibrationDisplay.from_predictions(
            right.astype(int),
            np.clip(sure, 0, 1),
            n_bins=int(np.clip(len(sure) // _CLIPS_A_POINT, 2, 10)),
            strategy="quantile",  # points with about the same number of clips
            pos_label=1,
            name="the model",
            ax=ax,
            color=_ACCENT,
            ref_line=False,
        )
        ax.plot([0, 1], [0, 1], ":", color=_QUIET, label="right as often as it says")
        ax.set(xlabel="Probability of the answer", ylabel="Share that is right")
        ax.set(xlim=(0, 1), ylim=(0, 1.02), yticks=np.arange(0, 1.1, 0.2))
        ax.grid()
        ax.legend(loc="upper left")

    return _draw(draw, "Calibration")


def draw_histogram(parts, name, *, log=False, n_bins=30):
    """Histogram of a quantity over the clips, an outline for each part.

    Parameters
    ----------
    parts : dict of str to ndarray
        Values by the name of the part; NaN are left out. Two parts at most.
    name : str
        The quantity, with its unit.
    log : bool, default=False
        Whether the axis is logarithmic; then all values must be above 0.
    n_bins : int, default=30

    Returns
    -------
    Markup, or None if there is no value.
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
    edges = (np.geomspace if log else np.linspace)(low, high, n_bins + 1)
    edges[[0, -1]] = low, high  # not the rounded ones

    def draw(ax):
        from matplotlib.ticker import LogLocator, MaxNLocator, PercentFormatter

        for color, (part, values) in zip(_PART_COLORS, parts.items()):
            shares = np.histogram(values, edges)[0] / len(values)
            ax.stairs(shares, edges, color=color, alpha=0.25, fill=True)
            ax.stairs(shares, edges, color=color, label=part)
        if log:
            ax.set_xscale("log")
            decades = np.log10(high / low)
            few = LogLocator(subs=(1,) if decades > 3 else (1, 2, 5))
            ax.xaxis.set_major_locator(few if decades > 1 else MaxNLocator(6))
            ax.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
            ax.minorticks_off()
        ax.yaxis.set_major_locator(MaxNLocator(4))
        ax.yaxis.set_major_formatter(PercentFormatter(1, symbol=" %"))
        ax.set(xlabel=name, ylabel="Share of clips", xlim=(low, high), ylim=(0, None))
        ax.grid(axis="y")
        if len(parts) > 1:
            ax.legend()

    return _draw(draw, f"Distribution of {name}")


def draw_map(points, codes, colors, is_test, is_wrong, titles):
    """One point for each clip: colour shows the class; training clips are faint, mistakes ringed.

    Parameters
    ----------
    points : ndarray of shape (n, 2)
    codes : ndarray of int of shape (n,)
        Index of the class, and so of the colour.
    colors : list of str
        One for each class.
    is_test, is_wrong : ndarray of bool of shape (n,)
    titles : list of str
        What is shown when the pointer rests on a point.

    Returns
    -------
    Markup
    """

    def draw(ax):
        order = np.argsort(is_test, kind="stable")  # test clips on top
        ax.scatter(
            *points[order].T,
            s=np.where(is_test, 40, 18)[order],
            c=[(colors[codes[i]], 1 if is_test[i] else 0.35) for i in order],
            edgecolors=[_INK if is_wrong[i] else _CARD for i in order],
            linewidths=np.where(is_wrong, 1.5, 0.5)[order],
            urls=[f"clip:{i}" for i in order],
            clip_on=False,
        )
        ax.set_axis_off()

    svg = _draw(draw, "Map of the clips", size=(6.0, 6.0))
    link = r'<a xlink:href="clip:(\d+)"[^>]*>(.*?)</a>'
    return Markup(re.sub(link, lambda m: _titled(m[2], titles[int(m[1])]), svg, flags=re.DOTALL))


def _titled(element, title):
    return Markup("<g><title>{}</title>{}</g>").format(title, Markup(element))


# Sound --------------------------------------------------------------------------------------------


def sound_uri(waveform, *, small=False):
    """A waveform at 16 kHz as a sound file in a data URI.

    Parameters
    ----------
    waveform : ndarray of shape (n_samples,)
    small : bool, default=False
        False makes a FLAC file: lossless, and all browsers play it. True makes an Ogg Vorbis file,
        about a quarter as large.

    Returns
    -------
    str
    """
    import soundfile

    form, subtype = ("OGG", "VORBIS") if small else ("FLAC", "PCM_16")
    content = io.BytesIO()
    waveform = waveform / max(1.0, float(np.abs(waveform).max()))
    with soundfile.SoundFile(content, "w", SAMPLING_RATE, 1, subtype, format=form) as file:
        for begin in range(0, len(waveform), _WRITTEN):
            file.write(waveform[begin : begin + _WRITTEN])
    return _data_uri(f"audio/{form.lower()}", content.getvalue())


def spectrogram_uri(waveform, *, n_mels=64, n_columns=400, form="png"):
    """The log mel spectrogram of a waveform at 16 kHz as an image in a data URI.

    Parameters
    ----------
    waveform : ndarray of shape (n_samples,)
    n_mels : int, default=64
        Rows of the image.
    n_columns : int, default=400
        Columns of the image, at most.
    form : {"png", "jpeg"}, default="png"
        ``"jpeg"`` is less exact, and a fifth as large.

    Returns
    -------
    str
    """
    from matplotlib.image import imsave

    from skspeech._spectrogram import mel_filter_bank

    n_fft = 512 if len(waveform) <= 512 * n_columns else 1024  # no sound between two columns
    waveform = np.pad(waveform, (0, max(0, n_fft - len(waveform))))
    hop = max(128, -(-(len(waveform) - n_fft + 1) // n_columns))
    frames = np.lib.stride_tricks.sliding_window_view(waveform, n_fft)[::hop]
    power = np.abs(np.fft.rfft(frames * np.hanning(n_fft), axis=1)) ** 2
    mel = power @ mel_filter_bank(SAMPLING_RATE, n_fft, n_mels).T
    decibels = 10 * np.log10(np.maximum(mel, 1e-10))
    file = io.BytesIO()
    top = max(decibels.max(), _QUIETEST_TOP)
    imsave(file, decibels.T[::-1], cmap="magma", vmin=top - 70, vmax=top, format=form)
    return _data_uri(f"image/{form}", file.getvalue())


def _data_uri(kind, content):
    return f"data:{kind};base64,{base64.b64encode(content).decode('ascii')}"
