"""What the page shows, as HTML; everything that a visitor wrote is escaped."""

import math
from html import escape

import numpy as np

from skspeech._html import leaderboard_html

__all__ = [
    "STYLE",
    "answer",
    "card",
    "classes",
    "curve",
    "findings",
    "nothing_to_hear",
    "notice",
    "problem",
    "results",
]

_SOUND_SECONDS = 8.0
_LISTED = 10
# Also the colours of the report's drawings, taken from the page's theme.
STYLE = """
.skspeech { --quiet: #5d6675; --line: var(--border-color-primary); --ink: var(--body-text-color);
  --card: var(--block-background-fill); --accent: 21 101 192;
  overflow-wrap: anywhere; line-height: 1.5; }
.skspeech p { margin: 0.4em 0; }
.dark .skspeech { --quiet: #a3abb8; --accent: 100 170 245; }
.skspeech table { border-collapse: collapse; font-variant-numeric: tabular-nums; }
.skspeech th, .skspeech td { text-align: left; padding: 0.25em 1.2em 0.25em 0; border: 0;
  border-bottom: 1px solid var(--line); }
.skspeech .number { text-align: right; }
.skspeech ul { margin: 0.3em 0; padding-left: 1.3em; list-style: disc; }
.skspeech .serious::marker { color: #c62828; }
.skspeech .quiet { color: var(--quiet); }
.skspeech svg.plot { width: 100%; max-width: 480px; height: auto; }
.skspeech img { width: 100%; max-width: 640px; height: 130px; background: #000004; }
.skspeech audio { width: 100%; max-width: 640px; margin: 0.4em 0; }
.skspeech .bar { height: 6px; background: var(--line); border-radius: 3px; max-width: 640px; }
.skspeech .bar div { height: 100%; background: rgb(var(--accent)); border-radius: 3px; }
.skspeech .big { font-size: 1.25em; font-weight: 600; }
.skspeech-drop { border: 2px dashed var(--border-color-primary); border-radius: 8px;
  padding: 1.2em; text-align: center; }
.skspeech-drop.over { border-color: var(--color-accent); }
.skspeech-drop button { text-decoration: underline; color: var(--link-text-color); }
.skspeech-drop input { display: none; }
"""


def _block(*parts):
    return f'<div class="skspeech">{"".join(part for part in parts if part)}</div>'


def _items(lines, more=0):
    listed = "".join(f"<li>{escape(line)}</li>" for line in lines)
    rest = f"<li>… and {more} more</li>" if more > 0 else ""
    return f"<ul>{listed}{rest}</ul>" if lines else ""


def counted(n, noun, nouns=None):
    return f"{n:,} {noun if n == 1 else nouns or noun + 's'}"


def notice(n_added, refused):
    """What became of added files."""
    lines = [f"{name}: {reason}" for name, reason in refused]
    text = f"{counted(n_added, 'clip')} added." if n_added or not refused else "Nothing was added."
    are = "one is" if len(refused) == 1 else f"{len(refused)} are"
    told = f" {are.capitalize()} left out:" if refused else ""
    more = len(lines) - _LISTED
    return _block(f"<div>{escape(text + told)}</div>", _items(lines[:_LISTED], more))


def classes(rows):
    """The table of classes."""
    if not rows:
        return _block('<p class="quiet">There are no clips yet.</p>')
    body = "".join(
        f'<tr><td>{escape(label)}</td><td class="number">{n:,}</td>'
        f'<td class="number">{n_groups or "–"}</td></tr>'
        for label, n, n_groups in rows
    )
    total, n_classes = sum(n for _, n, _ in rows), counted(len(rows), "class", "classes")
    return _block(
        '<table><thead><tr><th>Class</th><th class="number">Clips</th>'
        f'<th class="number">Speakers</th></tr></thead><tbody>{body}</tbody></table>',
        f'<p class="quiet">{counted(total, "clip")} of {n_classes}</p>',
    )


def findings(found):
    """What the audit says."""
    if not found:
        return _block("<p>Nothing looks wrong with these clips.</p>")
    lines = [
        f'<li class="{finding.severity}"><b>{escape(finding.title)}</b>'
        f"{escape(_named(finding.names))}. {escape(finding.advice)}</li>"
        for finding in found
    ]
    return _block(f"<ul>{''.join(lines)}</ul>")


def _named(names, n=5):
    rest = f" and {len(names) - n} more" if len(names) > n else ""
    return f": {', '.join(names[:n])}{rest}" if names else ""


def curve(training):
    """The learning curve so far, and how the training is getting on."""
    from skspeech.report.drawings import draw_learning_curve

    budget = training.settings.time_budget
    share = min(1.0, training.seconds / budget)
    lines = [training.phase]
    if training.phase == "Training":
        lines.append(f"{max(0.0, budget - training.seconds):.0f} s are left of {budget:g} s.")
    if training.curve:
        lines.append(f"Balanced accuracy in validation: {training.curve[-1][1]:.3f}.")
    if training.members:
        lines.append(f"Members: {', '.join(training.members)}.")
    drawn = ""
    if training.curve:
        times, scores = np.array(training.curve).T
        drawn = draw_learning_curve(times, scores, budget, "Balanced accuracy")
    return _block(
        f'<div class="bar"><div style="width: {100 * share:.1f}%"></div></div>',
        *(f"<div>{escape(line)}</div>" for line in lines),
        drawn,
    )


def problem(text):
    """Why there is no result."""
    return _block(f'<p class="big">No model was trained.</p><p>{escape(text)}</p>')


def results(trained):
    """What a training came to."""
    from skspeech.report.drawings import draw_learning_curve

    score, lines = trained.score(), []
    if score is None:
        headline = "No clips were held out, so how good the model is on new ones is not known."
    else:
        value, interval = score
        headline = (
            f"Balanced accuracy on {counted(len(trained.test), 'held-out clip')}: {value:.1%}"
        )
        lines.append(
            f"9 times of 10 it is {interval.low:.1%} to {interval.high:.1%} {interval.meaning}."
            if interval
            else f"There is {interval.meaning}."
        )
    lines += _of_unknown(trained.model)
    lines += trained.remarks
    own, drawn = trained.run.learning_curve_, ""
    if np.isfinite(own["score"]).any():
        budget = trained.run.time_budget
        drawn = draw_learning_curve(own["time"], own["score"], budget, "Balanced accuracy")
    first, second = trained.run.summary().splitlines()[:2]
    return _block(
        f'<p class="big">{escape(headline)}</p>',
        _items(lines),
        drawn,
        leaderboard_html(trained.run.results_, f"{first} {second}"),
    )


def _of_unknown(model):
    lines = []
    for name, what in (
        ("false_rejects", "Of clips of known classes, {} are answered with “unknown”."),
        ("false_accepts", "Of clips of unknown classes, {} are taken for a known one."),
    ):
        share = getattr(model, f"{name}_", math.nan)
        if math.isfinite(share):
            lines.append(what.format(f"{share:.1%}"))
    return lines


def nothing_to_hear(n_changed):
    """What stands in the place of a clip, where there is none."""
    return _block("<p>There is no such clip.</p>", _changed(n_changed))


def _changed(n):
    if not n:
        return ""
    return (
        f"<p>{counted(n, 'label')} changed: train again. A held-out clip whose label you changed "
        "because of the model’s answer makes the next score a little too good.</p>"
    )


def card(doubt, number, total, n_changed):
    """One clip to listen to."""
    from skspeech.audio import as_clips
    from skspeech.report.clips import playable

    clip = doubt.clip
    heard = playable(as_clips([clip.path])[0], _SOUND_SECONDS)
    if heard["problem"]:
        sound = f"<p>It can’t be played: {escape(heard['problem'])}</p>"
    else:
        sound = (
            f'<img src="{heard["spectrogram"]}" alt="Spectrogram">'
            f'<audio controls src="{heard["sound"]}"></audio>'
        )
    now = ""
    if clip.is_left_out:
        now = "Now left out."
    elif clip.label != doubt.label:
        now = f"Now labelled {clip.label}."
    return _block(
        f'<div class="quiet">{number} of {total}</div>',
        f'<div class="big">labelled {escape(doubt.label)} ({doubt.p_label:.0%}), sounds like '
        f"{escape(doubt.said)} ({doubt.p_said:.0%})</div>",
        f"<div>{escape(clip.name)}{escape(f', {clip.group}' if clip.group else '')}</div>",
        sound,
        f"<div><b>{escape(now)}</b></div>" if now else "",
        _changed(n_changed),
    )


def answer(heard):
    """What is worth knowing of an answer, besides the label."""
    return _block(
        f'<div class="quiet">{heard["seconds"]:.1f} s were listened to.</div>',
        _items(heard["remarks"]),
    )
