"""The command ``skspeech export``."""

from pathlib import Path

import click

from skspeech.cli.common import check_output, overwrite_option, quiet_option, say, skspeech
from skspeech.cli.models import load_classifier

__all__ = []


@skspeech.command("export")
@click.argument("model", type=click.Path(exists=True, dir_okay=False))
@click.option(
    "-o",
    "--output",
    required=True,
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="FILE",
    help="Where to write the graph, such as model.onnx.",
)
@overwrite_option
@quiet_option
def _export(model, output, overwrite, quiet):
    """Write a MODEL as one ONNX file.

    It runs on phones, in browsers and from other languages. The MODEL has to be made of pretrained
    networks and linear classifiers only. The graph takes mono samples at 16 kHz of any length, and
    gives probabilities and the label. Before it is written, its answers are compared with those of
    the MODEL.
    """
    from skspeech.export import export_onnx

    check_output(output, overwrite)
    export_onnx(load_classifier(model, quiet=quiet), output)
    if not quiet:
        say(f"{output}: {output.stat().st_size / 1e6:.1f} MB")
