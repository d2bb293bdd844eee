"""The leaderboard of a fitted classifier in a notebook, below scikit-learn's diagram."""

from html import escape

import numpy as np

__all__ = ["leaderboard_html"]

_STYLE = (
    "border-collapse: collapse; font-size: 0.9em; margin: 0.3em 0; font-variant-numeric: "
    "tabular-nums"
)
_HEAD = ("Candidate", "Score", "Weight", "Fit time", "Status")


def leaderboard_html(results, headline, *, max_rows=12):
    """Make the leaderboard as a table that needs no style sheet.

    Parameters
    ----------
    results : dict of str to ndarray
        ``results_`` of a :class:`~skspeech.TimeBudgetClassifier`.
    headline : str
        Text above the table.
    max_rows : int, default=12
        Candidates to show, the best first, and all members; the rest is counted.

    Returns
    -------
    str
        An HTML element.
    """
    scores = np.asarray(results["score"], dtype=float)
    order = np.argsort(-np.where(np.isnan(scores), -np.inf, scores), kind="stable")
    rows = [_row("th", _HEAD, weight=1.0)]
    members = [i for i in order[max_rows:] if results["weight"][i] > 0]
    for i in [*order[:max_rows], *members]:
        weight = results["weight"][i]
        cells = (
            results["name"][i],
            _number(scores[i], "{:.3f}"),
            _number(weight, "{:.2f}") if weight > 0 else "",
            _number(results["mean_fit_time"][i], "{:.2f} s"),
            results["status"][i],
        )
        rows.append(_row("td", cells, weight))
    n_more = len(order) - max_rows - len(members)
    more = f"<div>{n_more} more in <code>leaderboard()</code></div>" if n_more > 0 else ""
    return (
        f'<div class="skspeech-leaderboard"><div>{escape(headline)}</div>'
        f'<table style="{_STYLE}">{"".join(rows)}</table>{more}</div>'
    )


def _row(tag, cells, weight):
    """A row; candidates that are not members are paler."""
    opacity = 1.0 if weight > 0 else 0.6
    drawn = "".join(
        f'<{tag} style="text-align: {"right" if 1 <= i <= 3 else "left"}; padding: 0.15em 0.8em">'
        f"{escape(str(cell))}</{tag}>"
        for i, cell in enumerate(cells)
    )
    return f'<tr style="opacity: {opacity}">{drawn}</tr>'


def _number(value, form):
    return "–" if np.isnan(value) else form.format(value)
