"""What is on the page: Gradio's components, in the order in which they are shown."""

from skspeech.app import dropping, looks
from skspeech.app.visit import MISTAKES, SECOND_LOOK

__all__ = ["LONGEST_BUDGET", "Components"]

LONGEST_BUDGET = 3600  # seconds


class Components:
    """The components of the page; each method makes those of one tab, where it is called.

    Parameters
    ----------
    limits : Limits
    """

    def __init__(self, limits):
        self.limits = limits

    def make_clips(self):
        """The classes, and where clips are dropped and recorded."""
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

    def make_training(self):
        """The settings of a training, its progress and its files."""
        import gradio as gr

        with gr.Row():
            self.budget = gr.Number(
                30,
                label="Time budget (seconds)",
                minimum=1,
                maximum=LONGEST_BUDGET,
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

    def make_listening(self):
        """A clip to listen to, and what its label should be."""
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

    def make_trial(self):
        """A new recording, and what the model hears."""
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


def _shown(name, value=""):
    """A place for what `looks` makes, which nothing happens in."""
    import gradio as gr

    return gr.HTML(value, elem_id=name, js_on_load=None, apply_default_css=False)
