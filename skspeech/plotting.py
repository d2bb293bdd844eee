"""Pictures of anytime learning, in scikit-learn's Display convention.

A ``from_*`` method makes a display, which keeps its data and draws it on ``plot``. matplotlib is
imported when something is drawn.
"""

import re
from collections.abc import Mapping
from functools import partial

import numpy as np

from skspeech._extras import how_to_install
from skspeech.metrics import area_under_learning_curve, check_curve, check_positive

__all__ = ["LeaderboardDisplay", "LearningCurveDisplay"]


class LearningCurveDisplay:
    """Score against time since the start, on the time axis of the learning curve's area.

    The horizontal axis is labelled in seconds and minutes and scaled by
    :math:`\\log(1 + t / t_0)`, so that the area one sees under a curve is its
    :func:`~skspeech.metrics.area_under_learning_curve`.

    Make it with :meth:`from_estimator` or :meth:`from_curves`.

    Parameters
    ----------
    curves : dict of str to (times, scores)
        The curves by name; both array-like of shape (n_answers,), times in seconds.
    time_budget : float
        End of the time axis, in seconds.
    t0 : float, default=60.0
        Time scale of the axis, in seconds.
    score_name : str, default="Balanced accuracy"
        Label of the vertical axis.

    Attributes
    ----------
    alc : dict of str to float
        Area under each curve.
    line_ : matplotlib Line2D, or list of them
        The curve; a list if there are several. Set by :meth:`plot`.
    fill_ : matplotlib artist or None
        The shaded area. Set by :meth:`plot`.
    ax_ : matplotlib Axes
        The axes that hold the curves. Set by :meth:`plot`.
    figure_ : matplotlib Figure
        The figure that holds the axes. Set by :meth:`plot`.

    See Also
    --------
    LeaderboardDisplay : What each candidate contributed.
    skspeech.metrics.area_under_learning_curve : The area as a number.

    References
    ----------
    Liu et al., "Winning solutions and post-challenge analyses of the ChaLearn AutoDL challenge
    2019", IEEE Transactions on Pattern Analysis and Machine Intelligence, 2021.

    Examples
    --------
    >>> from skspeech.plotting import LearningCurveDisplay
    >>> display = LearningCurveDisplay.from_curves(
    ...     {"quick": ([1.0], [0.6]), "thorough": ([20.0, 40.0], [0.8, 0.9])}, time_budget=60
    ... )
    >>> display.ax_.get_xlabel()
    'Time since the start (log scale)'
    """

    def __init__(self, curves, *, time_budget, t0=60.0, score_name="Balanced accuracy"):
        if not isinstance(curves, Mapping) or not curves:
            raise ValueError(
                f"curves={curves!r} must be a dict that maps names to (times, scores), with at "
                "least one curve."
            )
        check_positive("time_budget", time_budget)
        check_positive("t0", t0)
        self.curves = {str(name): _checked_curve(name, curve) for name, curve in curves.items()}
        self.time_budget = time_budget
        self.t0 = t0
        self.score_name = score_name
        self.alc = {
            name: area_under_learning_curve(*curve, time_budget, t0)
            for name, curve in self.curves.items()
        }

    @classmethod
    def from_estimator(
        cls,
        estimator,
        *,
        time_budget=None,
        t0=60.0,
        name=None,
        score_name=None,
        ax=None,
        fill=None,
        line_kwargs=None,
    ):
        """Draw the learning curve of a fitted :class:`~skspeech.TimeBudgetClassifier`.

        Parameters
        ----------
        estimator : fitted TimeBudgetClassifier
            Its ``learning_curve_`` is drawn: the validated score of each snapshot.
        time_budget : float, default=None
            End of the time axis, in seconds; None takes the estimator's own.
        t0 : float, default=60.0
            Time scale of the axis, in seconds.
        name : str, default=None
            Name of the curve; None takes the name of the class.
        score_name : str, default=None
            Label of the vertical axis; None takes it from the estimator's ``scoring``.
        ax, fill, line_kwargs
            As for :meth:`plot`.

        Returns
        -------
        display : LearningCurveDisplay
            The display, drawn.
        """
        from sklearn.utils.validation import check_is_fitted

        if not hasattr(estimator, "learning_curve_"):
            check_is_fitted(estimator)
            raise AttributeError(
                f"This {type(estimator).__name__} has no learning_curve_. Only a "
                "TimeBudgetClassifier has one, before slim() drops it."
            )
        times, scores = (estimator.learning_curve_[key] for key in ("time", "score"))
        known = np.isfinite(scores)
        if not known.any():
            raise ValueError(
                "learning_curve_ holds no score: no ensemble was validated in the time. Raise "
                "time_budget, or score snapshots of your own and pass them to from_curves."
            )
        display = cls(
            {name or type(estimator).__name__: (times[known], scores[known])},
            time_budget=estimator.time_budget if time_budget is None else time_budget,
            t0=t0,
            score_name=score_name or name_of_score(getattr(estimator, "scoring", None)),
        )
        return display.plot(ax, fill=fill, line_kwargs=line_kwargs)

    @classmethod
    def from_curves(
        cls,
        curves,
        *,
        time_budget,
        t0=60.0,
        score_name="Balanced accuracy",
        ax=None,
        fill=None,
        line_kwargs=None,
    ):
        """Draw the learning curves of one or several systems.

        Parameters
        ----------
        curves : dict of str to (times, scores)
            The curves by name; both array-like of shape (n_answers,), times in seconds.
        time_budget : float
            End of the time axis, in seconds.
        t0 : float, default=60.0
            Time scale of the axis, in seconds.
        score_name : str, default="Balanced accuracy"
            Label of the vertical axis.
        ax, fill, line_kwargs
            As for :meth:`plot`.

        Returns
        -------
        display : LearningCurveDisplay
            The display, drawn.
        """
        display = cls(curves, time_budget=time_budget, t0=t0, score_name=score_name)
        return display.plot(ax, fill=fill, line_kwargs=line_kwargs)

    def plot(self, ax=None, *, fill=None, line_kwargs=None):
        """Draw the curves.

        Parameters
        ----------
        ax : matplotlib Axes, default=None
            Where to draw; None makes a new figure.
        fill : bool, default=None
            Whether to shade the area; None shades it if there is a single curve.
        line_kwargs : dict, default=None
            Keyword arguments of every curve's ``ax.plot``, such as ``{"color": "k"}``.

        Returns
        -------
        display : LearningCurveDisplay
            This display, with `line_`, `ax_` and `figure_` set.
        """
        plt = import_pyplot("LearningCurveDisplay")
        if ax is None:
            _, ax = plt.subplots(layout="constrained")
        fill = len(self.curves) == 1 if fill is None else fill
        self._scale_time(ax)
        lines, fills = [], []
        for name, curve in self.curves.items():
            x, y = self._steps(*curve)
            label = f"{name} (ALC = {self.alc[name]:.3f})"
            style = {
                "drawstyle": "steps-post",
                # Matplotlib keeps labels that begin with "_" out of the legend.
                "label": f" {label}" if label.startswith("_") else label,
                "marker": "o",
                "markersize": 4,
                # The corners at the start and at the end are not answers.
                "markevery": slice(1, -1),
                "zorder": 3,
                "clip_on": False,  # a score of 1 is on the frame
            } | (line_kwargs or {})
            lines += ax.plot(x, y, **style)
            if fill:
                color = lines[-1].get_color()
                fills.append(ax.fill_between(x, y, step="post", color=color, alpha=0.15, lw=0))
        self._fit_score_axis(ax)
        ax.set(xlabel="Time since the start (log scale)", ylabel=self.score_name)
        ax.grid(alpha=0.3)
        for text in ax.legend(loc="lower right").get_texts():
            text.set_parse_math(False)  # a name with two dollar signs is no formula
        self.line_ = lines[0] if len(lines) == 1 else lines
        self.fill_ = fills[0] if len(fills) == 1 else (fills or None)
        self.ax_ = ax
        self.figure_ = ax.figure
        return self

    def _steps(self, times, scores):
        """Corners of the step curve: 0 until the first answer, the last held to the end."""
        in_time = times <= self.time_budget
        y = np.r_[0.0, scores[in_time]]
        return np.r_[0.0, times[in_time], self.time_budget], np.r_[y, y[-1]]

    def _scale_time(self, ax):
        t0 = self.t0
        ax.set_xscale(
            "function",
            functions=(partial(_on_axis, t0=t0), partial(_at_time, t0=t0)),
        )
        ax.set_xlim(0, self.time_budget)
        ticks = _time_ticks(self.time_budget, t0)
        ax.set_xticks(ticks, [_format_seconds(tick) for tick in ticks])
        ax.set_xticks([], minor=True)

    def _fit_score_axis(self, ax):
        """Show all of 0 to 1, and any scores outside."""
        scores = np.concatenate([scores for _, scores in self.curves.values()])
        low, high = min(0.0, scores.min(initial=0)), max(1.0, scores.max(initial=1))
        ax.set_ylim(low if low == 0 else low - 0.02, high if high == 1 else high + 0.02)


class LeaderboardDisplay:
    """What each candidate scored, how much it weighs in the ensemble, and what it cost.

    Horizontal bars, a candidate per row and a column per quantity, the best on top. Candidates
    that vote in the ensemble are highlighted. Make it with :meth:`from_estimator`.

    Parameters
    ----------
    leaderboard : DataFrame
        A row per candidate, the best first, with a column `name` and the columns to draw, as from
        ``TimeBudgetClassifier.leaderboard()``.
    columns : sequence of str, default=("score", "weight", "fit_time")
        The quantities to draw. Times are in seconds.
    max_rows : int, default=20
        The number of candidates to draw; the picture says how many are left out.

    Attributes
    ----------
    bars_ : dict of str to matplotlib BarContainer
        The bars of each column. Set by :meth:`plot`.
    axes_ : ndarray of matplotlib Axes of shape (n_columns,)
        The axes of each column. Set by :meth:`plot`.
    figure_ : matplotlib Figure
        The figure that holds the axes. Set by :meth:`plot`.

    See Also
    --------
    LearningCurveDisplay : How the ensemble got better over time.

    Examples
    --------
    >>> import pandas as pd
    >>> from skspeech.plotting import LeaderboardDisplay
    >>> leaderboard = pd.DataFrame(
    ...     {
    ...         "name": ["speaker", "music"],
    ...         "score": [0.81, 0.74],
    ...         "weight": [0.75, 0.25],
    ...         "fit_time": [1.2, 3.4],
    ...     }
    ... )
    >>> display = LeaderboardDisplay(leaderboard).plot()
    >>> len(display.axes_)
    3
    """

    def __init__(self, leaderboard, *, columns=("score", "weight", "fit_time"), max_rows=20):
        missing = [c for c in ("name", *columns) if c not in leaderboard.columns]
        if missing:
            raise ValueError(
                f"leaderboard lacks the columns {missing}; it has {list(leaderboard.columns)}."
            )
        if len(leaderboard) == 0:
            raise ValueError("leaderboard is empty: there is no candidate to draw.")
        if len(columns) == 0:
            raise ValueError("columns=() must name at least one column of the leaderboard.")
        if max_rows < 1:
            raise ValueError(f"max_rows={max_rows!r} must be 1 or more.")
        self.leaderboard = leaderboard
        self.columns = tuple(columns)
        self.max_rows = max_rows

    @classmethod
    def from_estimator(
        cls, estimator, *, columns=("score", "weight", "fit_time"), max_rows=20, ax=None
    ):
        """Draw the leaderboard of a fitted :class:`~skspeech.TimeBudgetClassifier`.

        Parameters
        ----------
        estimator : fitted TimeBudgetClassifier
            Its ``leaderboard()`` is drawn.
        columns : sequence of str, default=("score", "weight", "fit_time")
            The quantities to draw.
        max_rows : int, default=20
            The number of candidates to draw.
        ax : matplotlib Axes, or array of them, default=None
            As for :meth:`plot`.

        Returns
        -------
        display : LeaderboardDisplay
            The display, drawn.
        """
        return cls(estimator.leaderboard(), columns=columns, max_rows=max_rows).plot(ax)

    def plot(self, ax=None):
        """Draw the bars.

        Parameters
        ----------
        ax : matplotlib Axes, or array of them, default=None
            One axes, whose space is divided among the columns; or one axes per column. None makes
            a new figure.

        Returns
        -------
        display : LeaderboardDisplay
            This display, with `bars_`, `axes_` and `figure_` set.
        """
        plt = import_pyplot("LeaderboardDisplay")
        table = self.leaderboard.head(self.max_rows)
        self.axes_ = self._make_axes(plt, ax, len(table))
        self.figure_ = self.axes_[0].figure
        rows = np.arange(len(table))
        colors = ["C0" if votes else "0.75" for votes in _votes(table)]
        self.bars_ = {}
        for axes, column in zip(self.axes_, self.columns):
            values = table[column].to_numpy(dtype=float, na_value=np.nan)
            widths = np.where(np.isfinite(values), values, 0)
            bars = axes.barh(rows, widths, color=colors, height=0.7)
            labels = [_format_value(column, value) for value in values]
            axes.bar_label(bars, labels, padding=3, fontsize="small")
            axes.set_title(_COLUMN_TITLES.get(column, column), fontsize="medium")
            axes.margins(x=0.25)
            axes.set_ylim(len(table) - 0.4, -0.6)
            axes.tick_params(axis="y", length=0, labelleft=axes is self.axes_[0])
            axes.spines[["top", "right"]].set_visible(False)
            axes.set_yticks(rows, table["name"], parse_math=False)
            self.bars_[column] = bars
        left_out = len(self.leaderboard) - len(table)
        if left_out:
            self.axes_[0].set_xlabel(f"{left_out} more not shown", fontsize="small")
        return self

    def _make_axes(self, plt, ax, n_rows):
        n_columns = len(self.columns)
        if ax is None:
            height = 1.0 + 0.3 * n_rows
            figure = plt.figure(figsize=(2.0 + 2.2 * n_columns, height), layout="constrained")
            return figure.subplots(1, n_columns, squeeze=False)[0]
        if np.ndim(ax) == 0:
            ax.set_axis_off()
            if spec := ax.get_subplotspec():
                return spec.subgridspec(1, n_columns).subplots(squeeze=False)[0]
            (left, bottom), (right, top) = ax.get_position().get_points()
            place = {"left": left, "bottom": bottom, "right": right, "top": top}
            return ax.figure.add_gridspec(1, n_columns, **place).subplots(squeeze=False)[0]
        axes = np.ravel(ax)
        if len(axes) != n_columns:
            raise ValueError(
                f"ax must be one axes, or one for each of the {n_columns} columns "
                f"{list(self.columns)}; got {len(axes)}."
            )
        return axes


_COLUMN_TITLES = {
    "score": "Score",
    "weight": "Weight in the ensemble",
    "fit_time": "Fit time",
    "predict_time": "Predict time",
}


def import_pyplot(caller):
    try:
        import matplotlib.pyplot as plt
    except ImportError as error:
        raise ImportError(
            f"{caller} needs matplotlib, which is not installed. Install it: "
            f"{how_to_install('plot')}"
        ) from error
    return plt


def _checked_curve(name, curve):
    try:
        times, scores = curve
    except (TypeError, ValueError) as error:
        raise ValueError(f"curves[{name!r}] must be a pair (times, scores).") from error
    try:
        return check_curve(times, scores)
    except ValueError as error:
        raise ValueError(f"curves[{name!r}]: {error}") from error


def name_of_score(scoring):
    """The name of a `scoring` on an axis; a loss keeps its sign, as its values do."""
    if isinstance(scoring, str):
        return re.sub("^neg_", "negative_", scoring).replace("_", " ").capitalize()
    return "Score"


def _on_axis(t, t0):
    # matplotlib evaluates slightly below 0, where the logarithm must still exist.
    return np.log1p(np.maximum(np.asarray(t, float) / t0, -0.999))


def _at_time(u, t0):
    return t0 * np.expm1(u)


def _time_ticks(time_budget, t0, n_max=9):
    """Round times that are far enough apart on the axis, including its two ends."""
    units = (1, 60, 3600, 86400)
    round_times = [m * unit for unit in units for m in (1, 2, 5, 10, 20, 30) if m * unit < 3e6]
    if time_budget < 2:
        round_times = [time_budget / 4, time_budget / 2]
    ticks = [0.0, float(time_budget)]

    def position(t):
        return np.log1p(t / t0) / np.log1p(time_budget / t0)

    # From the end to the start, so that an early time seldom displaces a rounder late one.
    for t in sorted(set(round_times), reverse=True):
        if t < time_budget and min(abs(position(t) - position(s)) for s in ticks) >= 1 / n_max:
            ticks.append(float(t))
    return sorted(ticks)


def _format_seconds(seconds):
    for unit, name in ((86400, "d"), (3600, "h"), (60, "min")):
        if seconds >= unit and seconds % unit == 0:
            return f"{seconds / unit:g} {name}"
    return f"{seconds:g} s" if seconds else "0"


def _votes(table):
    if "weight" not in table.columns:
        return [True] * len(table)
    return list(table["weight"].fillna(0) > 0)


def _format_value(column, value):
    if np.isnan(value):
        return "–"
    if column.endswith("_time"):
        return f"{value:.1f} s" if value >= 0.1 else f"{1000 * value:.0f} ms"
    return f"{value:.3f}" if column == "score" else f"{value:.2g}"
