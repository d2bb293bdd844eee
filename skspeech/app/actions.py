"""What happens when the page is used: an action gets the visit, and returns what is shown then."""

import functools
from html import escape
from pathlib import Path

from skspeech.app import looks
from skspeech.app.clips import arrived
from skspeech.app.components import LONGEST_BUDGET
from skspeech.app.visit import MISTAKES

__all__ = ["Actions"]

_LOOK_SECONDS = 0.5  # between two looks at a training


def _told(function):
    """Show a visitor's mistakes as messages; the state comes first among the arguments."""

    @functools.wraps(function)
    def call(self, visit, *arguments):
        if visit is None:
            raise _problem("This page has expired. Load it again.")
        try:
            return function(self, visit, *arguments)
        except (ValueError, OSError, RuntimeError) as error:
            raise _problem(error) from error

    return call


def _problem(reason):
    import gradio as gr

    return gr.Error(escape(str(reason)), title="Not done", print_exception=False)


class Actions:
    """Methods for the events of the page.

    Parameters
    ----------
    uploads : pathlib.Path
        Where Gradio keeps what browsers send.
    """

    def __init__(self, uploads):
        self.uploads = uploads

    # ---------------------------------------------------------------- clips

    @_told
    def add(self, visit, label, group, event):
        sent = arrived(event.sent, self.uploads)
        n_added, refused = visit.collection.add(sent, label, group)
        refused += [(str(name), str(reason)) for name, reason in event.refused]
        return looks.notice(n_added, refused), *self.classes(visit)

    @_told
    def record(self, visit, path, label, group):
        import gradio as gr

        if path is None:
            raise ValueError("Record something first.")
        if not label.strip():
            raise ValueError("Name the class of the recording.")
        n_before = len(visit.collection.clips)
        name = f"recording {n_before + 1}{Path(path).suffix}"
        n_added, refused = visit.collection.add([(path, name)], label, group)
        kept = gr.update() if refused else None
        return kept, looks.notice(n_added, refused), *self.classes(visit)

    def classes(self, visit):
        import gradio as gr

        rows = visit.collection.table()
        choices = [label for label, _, _ in rows]
        value = choices[0] if choices else None
        return looks.classes(rows), gr.Dropdown(choices=choices, value=value)

    @_told
    def show_classes(self, visit):
        return self.classes(visit)

    @_told
    def audit(self, visit):
        found = visit.collection.findings(visit.settings.n_jobs)
        return looks.findings(found) if visit.collection.learnt_from else ""

    @_told
    def rename(self, visit, label, new):
        visit.collection.rename(label, new)
        return "", *self.classes(visit)

    @_told
    def remove(self, visit, label):
        visit.collection.remove(label)
        return self.classes(visit)

    @_told
    def pack(self, visit):
        import gradio as gr

        return gr.DownloadButton(value=str(visit.pack()), visible=True)

    # ---------------------------------------------------------------- training

    def train(self, visit, budget, preset, test_size, unknown):
        import gradio as gr

        hidden = [gr.update(visible=False)] * 3
        training = self._begin(visit, budget, preset, test_size, unknown)
        try:
            while training.is_running:
                yield looks.curve(training), gr.update(), *hidden
                training.wait(_LOOK_SECONDS)
        finally:
            if training.is_running:  # the page was closed
                training.give_up()
        if training.problem:
            yield looks.problem(training.problem), gr.update(), *hidden
        self._take_result(visit)
        trained = visit.trained
        yield (
            looks.results(trained),
            gr.update(value=MISTAKES),
            gr.update(value=str(trained.path), visible=True),
            gr.update(visible=bool(trained.test)),
            gr.update(visible=False),
        )

    @_told
    def _begin(self, visit, budget, preset, test_size, unknown):
        if not budget or not 1 <= budget <= LONGEST_BUDGET:
            raise ValueError(f"The time budget is from 1 to {LONGEST_BUDGET} seconds.")
        return visit.train(
            time_budget=float(budget),
            preset=preset,
            test_size=test_size / 100,
            unknown=unknown / 100,
        )

    @_told
    def _take_result(self, visit):
        visit.take_result()

    @_told
    def stop(self, visit):
        if visit.training is not None:
            visit.training.stop()

    @_told
    def report(self, visit):
        import gradio as gr

        return gr.DownloadButton(value=str(visit.report()), visible=True)

    # ---------------------------------------------------------------- listening

    @_told
    def review(self, visit, what):
        visit.review(what)

    @_told
    def show_doubt(self, visit):
        import gradio as gr

        doubt = visit.doubt
        if doubt is None:
            return looks.nothing_to_hear(visit.n_changed), gr.Dropdown(choices=[], value=None)
        choices = sorted({*visit.collection.labels, doubt.label, doubt.said})
        return (
            looks.card(doubt, visit.at + 1, len(visit.doubts), visit.n_changed),
            gr.Dropdown(choices=choices, value=doubt.clip.label),
        )

    @_told
    def back(self, visit):
        visit.step(-1)

    @_told
    def forth(self, visit):
        visit.step(1)

    @_told
    def correct(self, visit, label):
        visit.correct(label)

    @_told
    def leave_out(self, visit):
        visit.leave_out()

    # ---------------------------------------------------------------- trying

    @_told
    def hear(self, visit, path):
        if path is None:
            return None, ""
        heard = visit.hear(path)
        return heard.get("probabilities", heard["label"]), looks.answer(heard)
