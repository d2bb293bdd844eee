"""What the command line shows: the progress of a fit, and its results."""

import contextlib
import json
import math
import sys
import time

import numpy as np

from skspeech._json import plain
from skspeech.cli.common import say
from skspeech.cli.interrupts import SAVING
from skspeech.cli.unknown import print_unknown

__all__ = [
    "FitProgress",
    "Scores",
    "console",
    "fit_results",
    "print_fit",
    "print_scores",
    "progress",
    "remark_on_validation",
    "to_json",
]

_MAX_LISTED = 12  # candidates, or classes of a confusion matrix
_MAX_MATRIX = 16
_MAX_GROUPS, _MAX_GROUP_CLASSES = 40, 8  # of a table of groups and classes
_GAP = 0.1  # between validation and test: worth a remark if there are no limits


def console(stderr=False):
    """A console that does not truncate lines if the output is not a terminal."""
    from rich.console import Console

    stream = sys.stderr if stderr else sys.stdout
    width = None if stream.isatty() else 200
    return Console(
        file=stream,
        width=width,
        soft_wrap=not stream.isatty(),
        highlight=False,
        markup=False,  # labels and paths may hold brackets
        emoji=False,
    )


@contextlib.contextmanager
def progress(title, total, quiet):
    """A bar on standard error, if that is a terminal; yields a function that advances it."""
    out = console(stderr=True)
    if quiet or not out.is_terminal:
        yield lambda n: None
        return
    from rich.progress import Progress

    with Progress(console=out, transient=True) as progress:
        task = progress.add_task(title, total=total)
        yield lambda n: progress.advance(task, n)


def to_json(value):
    r"""Write values as JSON; a number that is not finite becomes null.

    A file name may hold bytes that are no text: they become escapes, such as ``\udcff``, so that
    the output is UTF-8 and whoever reads it gets the name back.

    Returns
    -------
    str
    """
    text = json.dumps(plain(value), ensure_ascii=False)
    return text.encode("utf-8", "backslashreplace").decode("utf-8")


# -- While a model is trained ----------------------------------------------------------------------


class FitProgress:
    """A callback of TimeBudgetClassifier that shows the time left, the best score and the work.

    Parameters
    ----------
    time_budget : float
        Seconds.
    quiet : bool
        Show nothing except what an interrupt does.
    ending : str
        What an interrupt does.
    """

    def __init__(self, time_budget, quiet, ending=SAVING):
        self.time_budget = time_budget
        self.quiet = quiet
        self.ending = ending
        self._console = console(stderr=True)
        self._start = time.monotonic()
        self._running = {}
        self._score, self._members = None, ()
        self._n_done, self._news, self._standing = 0, "", ""
        self._live = None

    def __enter__(self):
        if not self.quiet and self._console.is_terminal:
            from rich.live import Live

            self._live = Live(self, console=self._console, refresh_per_second=5, transient=True)
            self._live.start()
        return self

    def __exit__(self, *_):
        if self._live is not None:
            self._live.stop()

    def __call__(self, event):
        kind, name = event["event"], event.get("candidate")
        if kind == "interrupted":
            self.__exit__()  # otherwise the live display would overwrite the message
            say(self.ending)
        elif kind == "task":
            self._running[name] = "last training" if event["fold"] is None else "training"
        elif kind == "embedding":
            self._running[name] = "embedding"
        elif kind in ("refit", "failure") or (kind == "candidate" and event["final"]):
            self._running.pop(name, None)
        if kind == "candidate" and event["final"] and name is not None:
            self._n_done += 1
        self._tell(kind, event)

    def _tell(self, kind, event):
        if kind == "snapshot":
            self._score, self._members = event["score"], tuple(event["members"])
            news = f"{_score_text(self._score)}: {', '.join(self._members)}"
        elif kind == "failure":
            from skspeech.time_budget.results import fate, in_words
            from skspeech.time_budget.state import KEPT

            reason = event["exception"]
            late = None if in_words(reason) == reason else "timed out"
            what = fate(KEPT if event.get("kept") else late)
            news = f"{event['candidate']} {what}: {in_words(reason)}"
        else:
            return
        if kind == "snapshot":
            if news == self._standing:  # only a refit of one of its members
                return
            self._standing = news
        if self._live is None and not self.quiet:
            say(f"[{event['time']:6.1f} s] {news}")
        elif kind == "failure":
            self._news = news

    def __rich__(self):
        from rich.console import Group
        from rich.progress_bar import ProgressBar
        from rich.table import Table
        from rich.text import Text

        spent = min(time.monotonic() - self._start, self.time_budget)
        bar = Table.grid(padding=(0, 1))
        bar.add_row(
            ProgressBar(total=self.time_budget, completed=spent, width=40),
            f"{self.time_budget - spent:.0f} s left of {self.time_budget:g} s",
        )
        facts = Table.grid(padding=(0, 2))
        best = "nothing yet" if self._score is None else _score_text(self._score)
        facts.add_row("best so far", Text(best, style="bold"))
        facts.add_row("members", Text(", ".join(self._members) or "-"))
        now = ", ".join(f"{name} ({what})" for name, what in self._running.items())
        facts.add_row("runs now", Text(now or "choosing what comes next"))
        if self._news:
            facts.add_row("last failure", Text(self._news, style="red"))
        return Group(bar, facts)


def _score_text(score):
    return "not validated yet" if math.isnan(score) else f"balanced accuracy {score:.3f}"


def fit_results(classifier):
    """What a fit found, as plain values.

    Returns
    -------
    dict
    """
    from skspeech.time_budget.results import explain_fall, statuses

    results = classifier.results_
    fall = explain_fall(classifier.learning_curve_["score"])
    order = np.argsort(-np.nan_to_num(results["score"], nan=-np.inf), kind="stable")
    status = statuses(results)
    names = ("name", "status", "score", "weight", "mean_fit_time", "predict_time")
    return {
        "validation_score": classifier.best_score_,
        "seconds": classifier.timing_["total"],
        "classes": classifier.classes_,
        "leaderboard": [{name: results[name][i] for name in names} for i in order],
        "remarks": [*([fall] if fall else []), *classifier.remarks_],
        "failures": [
            {"name": name, "error": error, "status": status.get(name, "failed")}
            for name, error, _ in classifier.failures_
        ],
    }


def print_fit(results):
    """Print a leaderboard."""
    from rich.table import Table

    from skspeech.time_budget.results import fate, in_words

    out = console()
    board = results["leaderboard"]
    n_members = sum(row["weight"] > 0 for row in board)
    score = results["validation_score"]
    n_validated = sum(not math.isnan(row["score"]) for row in board)
    worth = "not validated" if math.isnan(score) else f"{_score_text(score)} in validation"
    out.print(
        f"{len(board)} candidates, {n_validated} of them validated, in {results['seconds']:.1f} s; "
        f"the ensemble has {n_members}, {worth}."
    )
    n_more = sum(row["weight"] == 0 for row in board[_MAX_LISTED:])
    table = Table("candidate", box=_box())
    for heading in ("balanced accuracy", "weight", "training s", "ms a clip", "status"):
        table.add_column(heading, justify="left" if heading == "status" else "right")
    for row in [*board[:_MAX_LISTED], *(r for r in board[_MAX_LISTED:] if r["weight"] > 0)]:
        table.add_row(
            row["name"],
            _number(row["score"], "{:.3f}"),
            _number(row["weight"] or math.nan, "{:.2f}"),
            _number(row["mean_fit_time"], "{:.2f}"),
            _number(1000 * row["predict_time"], "{:.2f}"),
            row["status"],
        )
    out.print(table)
    if n_more:
        out.print(f"… and {n_more} more, which do not vote.")
    for remark in results["remarks"]:
        out.print(remark)
    last = {failure["name"]: failure for failure in results["failures"]}  # of several trials
    for failure in last.values():
        out.print(f"{failure['name']} {fate(failure['status'])}: {in_words(failure['error'])}")


def _number(value, form):
    return "-" if value is None or math.isnan(value) else form.format(value)


def _box():
    from rich import box

    return box.SIMPLE_HEAD


# -- What a model is worth -------------------------------------------------------------------------


class Scores:
    """Scores of predicted labels, all of them text.

    Parameters
    ----------
    classes : list of str
        Labels that the model knows.
    labels, predicted : list of str
        True labels, and predicted ones.
    proba : ndarray of shape (n_clips, n_classes) or None
        Probabilities, if the model has them.
    groups : list or None
        Group of each clip, if there are any.
    unknown : str or None
        The label of clips that are of no class, if the model has one.
    """

    def __init__(self, classes, labels, predicted, proba=None, groups=None, unknown=None):
        from sklearn.metrics import confusion_matrix

        from skspeech.metrics import by_group, score_interval
        from skspeech.unknown.rates import error_rates

        self.unknown = None
        if unknown is not None:
            self.unknown = error_rates(labels, predicted, str(unknown), groups)

        self.interval = score_interval(labels, predicted, groups)
        self.by_group = {}
        if groups is not None:
            names, own, *columns = by_group(labels, predicted, groups)
            for name, n, hit, score in zip(names, *columns):
                self.by_group[str(name)] = {
                    "n_clips": int(n.sum()),
                    "balanced_accuracy": float(score),
                    "recall": {str(c): k / m for c, k, m in zip(own, hit, n) if m},
                }
        self.classes = list(classes)
        self.matrix = confusion_matrix(labels, predicted, labels=self.classes)
        hits, self.support = np.diag(self.matrix), self.matrix.sum(axis=1)
        said = self.matrix.sum(axis=0)
        self.recall = np.divide(hits, self.support, where=self.support > 0, out=_nan(hits))
        self.precision = np.divide(hits, said, where=said > 0, out=_nan(hits))
        both = self.support + said
        self.f1 = np.divide(2 * hits, both, where=both > 0, out=_nan(hits))
        self.balanced_accuracy = float(np.nanmean(self.recall))
        self.accuracy = float(hits.sum() / self.matrix.sum())
        self.log_loss = None
        if proba is not None:
            columns = [self.classes.index(label) for label in labels]
            right = np.asarray(proba)[np.arange(len(columns)), columns]
            self.log_loss = float(-np.log(np.maximum(right, 1e-15)).mean())

    def as_dict(self):
        """The scores as plain values.

        Returns
        -------
        dict
        """
        columns = {
            "recall": self.recall,
            "precision": self.precision,
            "f1": self.f1,
            "n_clips": self.support,
        }
        return {
            "n_clips": int(self.matrix.sum()),
            "balanced_accuracy": self.balanced_accuracy,
            "interval": self.interval._asdict(),
            "accuracy": self.accuracy,
            "log_loss": self.log_loss,
            "classes": self.classes,
            "confusion_matrix": self.matrix,
            "per_class": {
                label: {name: column[i] for name, column in columns.items()}
                for i, label in enumerate(self.classes)
            },
            "per_group": self.by_group,
            **({"unknown": self.unknown} if self.unknown else {}),
        }


def _nan(like):
    return np.full(len(like), np.nan)


def print_scores(scores, title, brief=False):
    """Print scores by class and group, and the confusions; or a single line."""
    from rich.table import Table

    out = console()
    loss = "" if scores.log_loss is None else f", log loss {scores.log_loss:.3f}"
    out.print(
        f"{title}: {scores.matrix.sum()} clips; balanced accuracy {scores.balanced_accuracy:.3f}, "
        f"accuracy {scores.accuracy:.3f}{loss}."
    )
    if brief:
        return
    out.print(_interval_text(scores.interval))
    if scores.unknown:
        print_unknown(scores.unknown, out)
    if scores.by_group:
        _print_groups(scores, out)
    table = Table("class", box=_box())
    for heading in ("clips", "recall", "precision", "F1"):
        table.add_column(heading, justify="right")
    for i, label in enumerate(scores.classes):
        values = (scores.recall[i], scores.precision[i], scores.f1[i])
        table.add_row(
            label, str(scores.support[i]), *(_number(value, "{:.3f}") for value in values)
        )
    out.print(table)
    if len(scores.classes) <= _MAX_MATRIX:
        out.print(_matrix(scores))
    else:
        _print_confusions(scores, out)


def _interval_text(interval):
    if not interval:
        return f"There is {interval.meaning}."
    return f"9 times of 10 it is {interval.low:.3f} to {interval.high:.3f} {interval.meaning}."


def _print_groups(scores, out):
    from rich.table import Table

    labels = [label for label, n in zip(scores.classes, scores.support) if n]
    labels = labels if len(labels) <= _MAX_GROUP_CLASSES else []
    table = Table("group", box=_box())
    for heading in ("clips", "balanced accuracy", *labels):
        table.add_column(heading, justify="right")
    for name, row in list(scores.by_group.items())[:_MAX_GROUPS]:
        recalls = (row["recall"].get(label, math.nan) for label in labels)
        cells = (_number(value, "{:.3f}") for value in (row["balanced_accuracy"], *recalls))
        table.add_row(name, str(row["n_clips"]), *cells)
    out.print(table)
    if len(scores.by_group) > _MAX_GROUPS:
        out.print(f"… and {len(scores.by_group) - _MAX_GROUPS} more groups.")


def remark_on_validation(validated, scores):
    """Say which of two scores to believe, if they differ.

    Parameters
    ----------
    validated : float
        Score in validation; NaN if there was none.
    scores : Scores
        On held-out clips.

    Returns
    -------
    str
        Empty if they agree.
    """
    gap, interval = scores.balanced_accuracy - validated, scores.interval
    if math.isnan(gap) or (
        interval.low <= validated <= interval.high if interval else abs(gap) <= _GAP
    ):
        return ""
    why = "groups differ more than it could tell" if scores.by_group else "clips are few"
    return (
        f"Validation said {validated:.3f}, the held-out clips say {scores.balanced_accuracy:.3f}: "
        f"{why}. Believe neither before cross-validate has scored all clips."
    )


def _matrix(scores):
    from rich.table import Table

    table = Table("is \\ was said to be", box=_box())
    for label in scores.classes:
        table.add_column(label, justify="right")
    for label, row in zip(scores.classes, scores.matrix):
        table.add_row(label, *(str(count) if count else "·" for count in row))
    return table


def _print_confusions(scores, out):
    wrong = scores.matrix - np.diag(np.diag(scores.matrix))
    worst = [np.unravel_index(i, wrong.shape) for i in np.argsort(-wrong, axis=None, kind="stable")]
    out.print("Most frequent confusions:")
    for i, j in worst[:_MAX_LISTED]:
        if wrong[i, j]:
            times = "once" if wrong[i, j] == 1 else f"{wrong[i, j]} times"
            out.print(f"  {scores.classes[i]} was said to be {scores.classes[j]}: {times}")
