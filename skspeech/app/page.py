"""The page, made with Gradio, and the application that serves it."""

import itertools
import os
import threading
import weakref
from pathlib import Path

from skspeech.app import looks
from skspeech.app.actions import Actions
from skspeech.app.components import Components
from skspeech.app.visit import Visit

__all__ = ["create_app"]


_AT_HOME = ["127.0.0.1", "localhost"]
# The page asks nothing of other machines, whatever a component of it would like to.
_POLICY = (
    "default-src 'self'; script-src 'self' 'unsafe-inline' 'unsafe-eval' blob:; "
    "style-src 'self' 'unsafe-inline'; img-src 'self' data: blob:; media-src 'self' data: blob:; "
    "font-src 'self' data:; connect-src 'self' data: blob:; worker-src 'self' blob:; "
    "frame-ancestors 'none'; form-action 'self'"
)
_DAY = 86_400  # seconds
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

    page = _blocks(begin, uploads, limits, only_try=model is not None)
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


def _blocks(begin, uploads, limits, only_try):
    """The page: its components, connected. With `only_try`, there is a model to be tried."""
    import gradio as gr

    parts, actions = Components(limits), Actions(uploads)
    kept = {"delete_cache": (600, _DAY)}  # Gradio's copies: of what was added, and for downloads
    with gr.Blocks(title="skspeech", analytics_enabled=False, **kept) as blocks:
        visit = gr.State(delete_callback=_close)
        gr.Markdown(_INTRODUCTION[only_try])
        if only_try:
            parts.make_trial()
            _on(blocks.load, begin, [], [visit])
        else:
            with gr.Tabs():
                with gr.Tab("1. Clips"):
                    parts.make_clips()
                with gr.Tab("2. Training"):
                    parts.make_training()
                with gr.Tab("3. Listening"):
                    parts.make_listening()
                with gr.Tab("4. Trying"):
                    parts.make_trial()
            _connect(blocks, parts, actions, visit, begin)
        heard = [parts.answer, parts.remarks]
        _on(parts.sound.change, actions.hear, [visit, parts.sound], heard)
    return blocks


def _on(event, function, inputs, outputs, **options):
    return event(function, inputs, outputs, api_visibility="private", **options)


def _connect(blocks, parts, actions, visit, begin):
    """Say which action follows which event, and where its results are shown."""
    import gradio as gr

    on = _on

    def add(visit, label, group, event: gr.EventData):
        return actions.add(visit, label, group, event)

    table = [parts.classes, parts.chosen]
    heard = [parts.card, parts.right]
    begun = on(blocks.load, begin, [], [visit])
    dropped = on(parts.drop.submit, add, [visit, parts.label, parts.group], [parts.notice, *table])
    recorded = on(
        parts.record.click,
        actions.record,
        [visit, parts.microphone, parts.label, parts.group],
        [parts.microphone, parts.notice, *table],
    )
    renamed = on(
        parts.rename.click,
        actions.rename,
        [visit, parts.chosen, parts.new_name],
        [parts.new_name, *table],
    )
    removed = on(parts.remove.click, actions.remove, [visit, parts.chosen], table)
    begun = on(begun.then, actions.show_classes, [visit], table)
    for changed in (begun, dropped, recorded, renamed, removed):
        on(changed.success, actions.audit, [visit], [parts.findings])
    on(parts.pack.click, actions.pack, [visit], [parts.packed])

    given = [visit, parts.budget, parts.preset, parts.test_size, parts.unknown]
    files = [parts.model_file, parts.write_report, parts.report_file]
    trained = on(
        parts.train.click,
        actions.train,
        given,
        [parts.progress, parts.what, *files],
        show_progress="hidden",
        concurrency_limit=None,  # trainings wait for each other, and say so
    )
    on(trained.success, actions.show_doubt, [visit], heard)
    on(trained.success, actions.hear, [visit, parts.sound], [parts.answer, parts.remarks])
    on(parts.stop.click, actions.stop, [visit], [])
    on(parts.write_report.click, actions.report, [visit], [parts.report_file])

    chosen = on(parts.what.input, actions.review, [visit, parts.what], [])
    on(chosen.then, actions.show_doubt, [visit], heard)
    for button, function, inputs in (
        (parts.back, actions.back, [visit]),
        (parts.forth, actions.forth, [visit]),
        (parts.correct, actions.correct, [visit, parts.right]),
        (parts.leave_out, actions.leave_out, [visit]),
    ):
        shown = on(
            on(button.click, function, inputs, []).success, actions.show_doubt, [visit], heard
        )
        if function in (actions.correct, actions.leave_out):
            changed = on(shown.success, actions.show_classes, [visit], table)
            on(changed.success, actions.audit, [visit], [parts.findings])


def _close(visit):
    if visit is not None:  # the server must not wait for it
        threading.Thread(target=visit.close, name="skspeech-close", daemon=True).start()
