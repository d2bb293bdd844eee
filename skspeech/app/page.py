"""The page, made with Gradio, and the application that serves it."""

import functools
import itertools
import os
import threading
import weakref
from html import escape
from pathlib import Path

from skspeech.app import dropping, looks
from skspeech.app.clips import arrived
from skspeech.app.visit import MISTAKES, SECOND_LOOK, Visit

__all__ = ["create_app"]


_LOOK_SECONDS = 0.5  # between two looks at a training
_LONGEST_BUDGET = 3600
_AT_HOME = ["127.0.0.1", "localhost"]
# The page asks nothing of other machines, whatever a component of it would like to.
_POLICY = (
    "default-src 'self'; script-src 'self' 'unsafe-inline' 'unsafe-eval' blob:; "
    "style-src 'self' 'unsafe-inline'; img-src 'self' data: blob:; media-src 'self' data: blob:; "
    "font-src 'self' data:; connect-src 'self' data: blob:; worker-src 'self' blob:; "
    "frame-ancestors 'none'; form-action 'self'"
)
_INTRODUCTION = {
    False: "# skspeech\n"
    "Give some recordings of each class, train a model that tells them apart, and try it on new "
    "ones. Everything stays on the machine that runs this page. When it has been closed for an "
    "hour, or is loaded again, or the program ends, it is gone: download the model, and the clips.",
    True: "# skspeech\nTry the model on a recording. It stays on the machine that runs this page.",
}


def create_app(folder, limits, settings, clips=(), model=None, *, is_local=True):
    """Make the application.

    Parameters
    ----------
    folder : path-like
        For all files of all visits; whoever runs the application removes it at the end.
    limits : Limits
    settings : Settings
        Its device and number of cores are used.
    clips : list of Collected, default=()
        The clips that every visit begins with.
    model : classifier, default=None
        To be tried; then the page does nothing else.
    is_local : bool, default=True
        Whether only browsers on this machine are answered.

    Returns
    -------
    fastapi.FastAPI
        Its ``state.close()`` ends all visits.
    """
    import gradio as gr
    from fastapi import FastAPI
    from starlette.middleware.trustedhost import TrustedHostMiddleware

    uploads = Path(os.environ["GRADIO_TEMP_DIR"])
    numbers, visits = itertools.count(), weakref.WeakSet()

    def begin():
        own = Path(folder) / f"visit-{next(numbers)}"
        visit = Visit(own, limits, clips, model, settings)
        visits.add(visit)
        return visit

    def close():
        for visit in list(visits):
            visit.close()

    page = _Page(begin, uploads, limits, only_try=model is not None).blocks
    page.queue(default_concurrency_limit=4, max_size=64)
    app = FastAPI(title="skspeech", docs_url=None, redoc_url=None, openapi_url=None)
    gr.mount_gradio_app(
        app,
        page,
        path="/",
        ssr_mode=False,
        max_file_size=limits.max_bytes,
        footer_links=[],
        run_history=False,
        theme=gr.themes.Default(
            primary_hue="blue", font=["system-ui", "sans-serif"], font_mono=["monospace"]
        ),
        css=looks.STYLE,
        enable_monitoring=False,
    )
    app.add_middleware(_Policy)
    if is_local:  # otherwise a page from elsewhere could reach this one under a name of its own
        app.add_middleware(TrustedHostMiddleware, allowed_hosts=_AT_HOME)
    app.state.close = close
    return app


class _Policy:
    """Adds the policy to every answer."""

    def __init__(self, app):
        self.app = app

    async def __call__(self, scope, receive, send):
        async def send_with_policy(message):
            if message["type"] == "http.response.start":
                headers = [*message.get("headers", ())]
                headers.append((b"content-security-policy", _POLICY.encode()))
                headers.append((b"referrer-policy", b"no-referrer"))
                message = {**message, "headers": headers}
            await send(message)

        await self.app(scope, receive, send_with_policy)


def _told(function):
    """Show a visitor's mistakes as messages; the state comes first among the arguments."""

    @functools.wraps(function)
    def call(self, visit, *arguments):
        if visit is None:
            raise _problem("This page has expired. Load it again.")
        try:
            return function(self, visit, *arguments)
        except (ValueError, OSError) as error:
            raise _problem(error) from error

    return call


def _problem(reason):
    import gradio as gr

    return gr.Error(escape(str(reason)), title="Not done", print_exception=False)


class _Page:
    """The components of the page, and what happens when they are used.

    Parameters
    ----------
    begin : callable
        Makes a new `Visit`.
    uploads : pathlib.Path
        Where Gradio keeps what browsers send.
    limits : Limits
    only_try : bool
        Whether there is a model, to be tried and nothing else.
    """

    def __init__(self, begin, uploads, limits, only_try):
        import gradio as gr

        self.begin, self.uploads, self.limits = begin, uploads, limits
        with gr.Blocks(
            title="skspeech", analytics_enabled=False, delete_cache=(600, 7200)
        ) as blocks:
            self.visit = gr.State(delete_callback=_close)
            gr.Markdown(_INTRODUCTION[only_try])
            if only_try:
                self._make_trial()
                self._on(blocks.load, begin, [], [self.visit])
            else:
                with gr.Tabs():
                    with gr.Tab("1. Clips"):
                        self._make_clips()
                    with gr.Tab("2. Training"):
                        self._make_training()
                    with gr.Tab("3. Listening"):
                        self._make_listening()
                    with gr.Tab("4. Trying"):
                        self._make_trial()
                self._connect(blocks)
        self.blocks = blocks

    # ---------------------------------------------------------------- what is on the page

    def _make_clips(self):
        import gradio as gr

        with gr.Row():
            with gr.Column():
                self.label = gr.Textbox(
                    label="Class",
                    info="Empty: the folders that you drop are the classes.",
                    max_lines=1,
                    elem_id="label",
                )
                self.group = gr.Textbox(
                    label="Speaker",
                    info="If you know it. With the speakers of all clips, the score is one for "
                    "new speakers. In folders: the folder below the class's.",
                    max_lines=1,
                    elem_id="speaker",
                )
                self.drop = gr.HTML(
                    html_template=dropping.HTML,
                    js_on_load=dropping.script(self.limits),
                    apply_default_css=False,
                    elem_id="drop",
                )
                self.microphone = gr.Audio(
                    sources=["microphone"],
                    type="filepath",
                    label="Or record",
                    buttons=[],
                    elem_id="record",
                )
                self.record = gr.Button("Add the recording", elem_id="add-recording")
            with gr.Column():
                self.notice = _shown("notice")
                self.classes = _shown("classes", looks.classes([]))
                with gr.Accordion("Change a class", open=False):
                    self.chosen = gr.Dropdown(label="Class", choices=[], elem_id="chosen")
                    self.new_name = gr.Textbox(label="New name", max_lines=1)
                    with gr.Row():
                        self.rename = gr.Button("Rename")
                        self.remove = gr.Button("Remove", variant="stop")
                self.pack = gr.Button("Pack the clips")
                self.packed = gr.DownloadButton(
                    "Download the clips (ZIP)", visible=False, elem_id="packed"
                )
        gr.Markdown("### Before training")
        self.findings = _shown("findings")

    def _make_training(self):
        import gradio as gr

        with gr.Row():
            self.budget = gr.Number(
                30,
                label="Time budget (seconds)",
                minimum=1,
                maximum=_LONGEST_BUDGET,
                precision=0,
                elem_id="budget",
            )
            self.preset = gr.Radio(
                [("A few quick classifiers", "fast"), ("All", "best")],
                value="fast",
                label="What is tried",
            )
        with gr.Row():
            self.test_size = gr.Slider(
                0,
                50,
                25,
                step=5,
                label="Hold out (% of the clips)",
                info="The model does not learn from these; they tell how good it is.",
                elem_id="held-out",
            )
            self.unknown = gr.Slider(
                0,
                20,
                5,
                step=1,
                label="“Unknown” (% of the clips)",
                info="So many clips of your classes may be answered with “unknown”; 0: none. Clips "
                "in a class called “unknown” are examples of it.",
            )
        with gr.Row():
            self.train = gr.Button("Train", variant="primary", elem_id="train")
            self.stop = gr.Button("Stop, and keep the best so far", elem_id="stop")
        self.progress = _shown("progress")
        with gr.Row():
            self.model_file = gr.DownloadButton(
                "Download the model", visible=False, elem_id="model-file"
            )
            self.write_report = gr.Button("Write the report", visible=False)
            self.report_file = gr.DownloadButton("Download the report", visible=False)

    def _make_listening(self):
        import gradio as gr

        self.what = gr.Radio(
            [MISTAKES, SECOND_LOOK], value=MISTAKES, label="Clips to listen to", elem_id="what"
        )
        self.card = _shown("card", looks.nothing_to_hear(0))
        with gr.Row():
            self.right = gr.Dropdown(
                label="Right label",
                info="You can also write a new one.",
                choices=[],
                allow_custom_value=True,
                elem_id="right",
            )
            with gr.Column():
                self.correct = gr.Button("This is right", variant="primary", elem_id="correct")
                self.leave_out = gr.Button("Leave the clip out", elem_id="leave-out")
        with gr.Row():
            self.back = gr.Button("Back", elem_id="back")
            self.forth = gr.Button("Next", elem_id="next")

    def _make_trial(self):
        import gradio as gr

        with gr.Row():
            self.sound = gr.Audio(
                sources=["upload", "microphone"],
                type="filepath",
                label="A new recording",
                buttons=[],  # one of Gradio's would send it away
                elem_id="sound",
            )
            with gr.Column():
                self.answer = gr.Label(label="The model hears", num_top_classes=8, elem_id="answer")
                self.remarks = _shown("remarks")
        own = [self.visit, self.sound]
        self._on(self.sound.change, self._hear, own, [self.answer, self.remarks])

    # ---------------------------------------------------------------- what happens

    def _on(self, event, function, inputs, outputs, **options):
        return event(function, inputs, outputs, api_visibility="private", **options)

    def _connect(self, blocks):
        import gradio as gr

        visit, on = self.visit, self._on

        def add(visit, label, group, event: gr.EventData):
            return self._add(visit, label, group, event)

        table = [self.classes, self.chosen]
        heard = [self.card, self.right]
        begun = on(blocks.load, self.begin, [], [visit])
        dropped = on(self.drop.submit, add, [visit, self.label, self.group], [self.notice, *table])
        recorded = on(
            self.record.click,
            self._record,
            [visit, self.microphone, self.label, self.group],
            [self.microphone, self.notice, *table],
        )
        renamed = on(
            self.rename.click,
            self._rename,
            [visit, self.chosen, self.new_name],
            [self.new_name, *table],
        )
        removed = on(self.remove.click, self._remove, [visit, self.chosen], table)
        begun = on(begun.then, self._show_classes, [visit], table)
        for changed in (begun, dropped, recorded, renamed, removed):
            on(changed.success, self._audit, [visit], [self.findings])
        on(self.pack.click, self._pack, [visit], [self.packed])

        given = [visit, self.budget, self.preset, self.test_size, self.unknown]
        files = [self.model_file, self.write_report, self.report_file]
        trained = on(
            self.train.click,
            self._train,
            given,
            [self.progress, self.what, *files],
            show_progress="hidden",
            concurrency_limit=None,  # trainings wait for each other, and say so
        )
        on(trained.success, self._show_doubt, [visit], heard)
        on(trained.success, self._hear, [visit, self.sound], [self.answer, self.remarks])
        on(self.stop.click, self._stop, [visit], [])
        on(self.write_report.click, self._report, [visit], [self.report_file])

        chosen = on(self.what.input, self._review, [visit, self.what], [])
        on(chosen.then, self._show_doubt, [visit], heard)
        for button, function, inputs in (
            (self.back, self._back, [visit]),
            (self.forth, self._forth, [visit]),
            (self.correct, self._correct, [visit, self.right]),
            (self.leave_out, self._leave_out, [visit]),
        ):
            shown = on(
                on(button.click, function, inputs, []).success, self._show_doubt, [visit], heard
            )
            if function in (self._correct, self._leave_out):
                changed = on(shown.success, self._show_classes, [visit], table)
                on(changed.success, self._audit, [visit], [self.findings])

    # ---------------------------------------------------------------- clips

    @_told
    def _add(self, visit, label, group, event):
        sent = arrived(event.sent, self.uploads)
        n_added, refused = visit.collection.add(sent, label, group)
        refused += [(str(name), str(reason)) for name, reason in event.refused]
        return looks.notice(n_added, refused), *self._classes(visit)

    @_told
    def _record(self, visit, path, label, group):
        import gradio as gr

        if path is None:
            raise ValueError("Record something first.")
        if not label.strip():
            raise ValueError("Name the class of the recording.")
        n_before = len(visit.collection.clips)
        name = f"recording {n_before + 1}{Path(path).suffix}"
        n_added, refused = visit.collection.add([(path, name)], label, group)
        kept = gr.update() if refused else None
        return kept, looks.notice(n_added, refused), *self._classes(visit)

    def _classes(self, visit):
        import gradio as gr

        rows = visit.collection.table()
        choices = [label for label, _, _ in rows]
        value = choices[0] if choices else None
        return looks.classes(rows), gr.Dropdown(choices=choices, value=value)

    @_told
    def _show_classes(self, visit):
        return self._classes(visit)

    @_told
    def _audit(self, visit):
        found = visit.collection.findings(visit.settings.n_jobs)
        return looks.findings(found) if visit.collection.learnt_from else ""

    @_told
    def _rename(self, visit, label, new):
        visit.collection.rename(label, new)
        return "", *self._classes(visit)

    @_told
    def _remove(self, visit, label):
        visit.collection.remove(label)
        return self._classes(visit)

    @_told
    def _pack(self, visit):
        import gradio as gr

        return gr.DownloadButton(value=str(visit.pack()), visible=True)

    # ---------------------------------------------------------------- training

    def _train(self, visit, budget, preset, test_size, unknown):
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
        if not budget or not 1 <= budget <= _LONGEST_BUDGET:
            raise ValueError(f"The time budget is from 1 to {_LONGEST_BUDGET} seconds.")
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
    def _stop(self, visit):
        if visit.training is not None:
            visit.training.stop()

    @_told
    def _report(self, visit):
        import gradio as gr

        return gr.DownloadButton(value=str(visit.report()), visible=True)

    # ---------------------------------------------------------------- listening

    @_told
    def _review(self, visit, what):
        visit.review(what)

    @_told
    def _show_doubt(self, visit):
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
    def _back(self, visit):
        visit.step(-1)

    @_told
    def _forth(self, visit):
        visit.step(1)

    @_told
    def _correct(self, visit, label):
        visit.correct(label)

    @_told
    def _leave_out(self, visit):
        visit.leave_out()

    # ---------------------------------------------------------------- trying

    @_told
    def _hear(self, visit, path):
        if path is None:
            return None, ""
        heard = visit.hear(path)
        return heard.get("probabilities", heard["label"]), looks.answer(heard)


def _shown(name, value=""):
    """A place for what `looks` makes, which nothing happens in."""
    import gradio as gr

    return gr.HTML(value, elem_id=name, js_on_load=None, apply_default_css=False)


def _close(visit):
    if visit is not None:  # the server must not wait for it
        threading.Thread(target=visit.close, name="skspeech-close", daemon=True).start()
