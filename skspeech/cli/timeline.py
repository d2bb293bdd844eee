"""The command ``skspeech timeline``."""

from collections import Counter
from pathlib import Path

import click

from skspeech.cli.common import (
    EXIT_STATUS,
    check_output,
    device_option,
    n_jobs_option,
    overwrite_option,
    quiet_option,
    say,
    skspeech,
)
from skspeech.cli.inputs import check_named, iter_paths
from skspeech.cli.models import class_names, load_classifier
from skspeech.cli.quantities import SECONDS
from skspeech.cli.readable import status_of, tally

__all__ = []

_FORMATS = ("table", "html", "audacity", "csv", "rttm", "textgrid", "vtt")
_SUFFIXES = {"table": ".txt", "html": ".html"}  # of formats that `export` doesn't write
_NAME_THEIR_RECORDING = ("table", "rttm")


@skspeech.command("timeline", epilog=EXIT_STATUS)
@click.argument("model", type=click.Path(exists=True, dir_okay=False))
@click.argument("files", nargs=-1, required=True)
@click.option(
    "--format",
    "form",
    type=click.Choice(_FORMATS),
    default="table",
    show_default=True,
    help="How timelines are written: to read, as a page to see and hear, or for Audacity, "
    "spreadsheets, diarization tools, Praat, video players.",
)
@click.option(
    "-o",
    "--output",
    type=click.Path(file_okay=False, path_type=Path),
    help="A folder, to which a file is written for each recording.",
)
@click.option(
    "--window",
    type=SECONDS,
    help="Seconds that the model hears at once; by default as long as its training clips, or 3.",
)
@click.option(
    "--hop",
    type=SECONDS,
    help="Seconds between the starts of windows; by default half a window.",
)
@click.option(
    "--switching-cost",
    type=click.FloatRange(min=0),
    default=2.0,
    show_default=True,
    help="What a change of label costs; more gives fewer segments.",
)
@click.option(
    "--speech-only/--all-sound",
    default=None,
    help="Leave out what is not speech, or nothing; by default what is not speech, if the package "
    "silero-vad is installed.",
)
@overwrite_option
@device_option
@n_jobs_option
@quiet_option
def _timeline(
    model,
    files,
    form,
    output,
    window,
    hop,
    switching_cost,
    speech_only,
    overwrite,
    device,
    n_jobs,
    quiet,
):
    """Say what is heard when in long FILES.

    The MODEL is one that fit has saved. FILES are audio files and folders of them; - reads
    paths from standard input, one a line. Hours of sound need no more memory than minutes. A
    recording that can't be read is told about, and the others go on; of a damaged one, what
    comes before the damage is used.
    """
    from skspeech.audio import AudioError
    from skspeech.audio.errors import printable
    from skspeech.report import write_timeline_page
    from skspeech.report.writing import template
    from skspeech.timelines import FORMATS, export, timeline
    from skspeech.timelines.formats import rttm_names

    check_named(files)
    paths = list(dict.fromkeys(iter_paths(files)))  # a recording that is named twice is one
    if form == "html":
        if output is None:
            raise click.UsageError("Pages are written to a folder. Name it: --output FOLDER.")
        template("timeline.html")  # says what is missing before the work, and not after it
    if output is None and len(paths) > 1 and form not in _NAME_THEIR_RECORDING:
        raise click.UsageError(
            f"In the format {form}, a file holds one recording, and there are {len(paths)}. Name a "
            "folder for them: --output FOLDER."
        )
    names = Counter(Path(path).stem for path in paths)
    twice = [name for name, n in names.items() if n > 1]
    if twice and (output is not None or form == "rttm"):
        raise click.UsageError(
            f"Several recordings are called {printable(twice[0])}: write them one by one."
        )
    if form == "rttm":
        rttm_names(names)
    targets = {}
    suffixes = _SUFFIXES | {name: known.suffix for name, known in FORMATS.items()}
    if output is not None:
        if output.suffix in suffixes.values():
            raise click.UsageError(f"--output names a folder, not a file such as {output}.")
        targets = {path: output / f"{Path(path).stem}{suffixes[form]}" for path in paths}
        output.mkdir(exist_ok=True, parents=True)
        for target in targets.values():
            check_output(target, overwrite)
    classifier = load_classifier(model, device, n_jobs, quiet)
    if form == "rttm":  # now, and not after an hour of sound
        rttm_names(class_names(classifier))
    options = {
        "window": "auto" if window is None else window,
        "hop": "auto" if hop is None else hop,
        "switching_cost": switching_cost,
        "speech_only": "auto" if speech_only is None else speech_only,
        "device": device or "auto",
        "errors": "warn",
    }
    n_bad = 0
    for path in paths:
        try:
            found = timeline(classifier, path, **options)
            if form == "html":
                write_timeline_page(found, path, targets[path])
                continue
        except AudioError as error:
            say(f"{path}: {error.failures[0][2]}")
            n_bad += 1
            continue
        text = _table(found) if form == "table" else export(found, format=form)
        if path in targets:
            targets[path].write_text(text, encoding="utf-8", newline="\n")
        else:
            click.echo(text, nl=False)
    if output is not None and not quiet and n_bad < len(paths):
        say(f"What was found is in the folder {output}.")
    if n_bad and not quiet:
        say(tally(n_bad, len(paths), "recording"))
    return status_of(n_bad, len(paths))


def _table(found):
    """Aligned columns."""
    recording = found.attrs["recording"].encode("utf-8", "backslashreplace").decode()
    width = max((len(str(label)) for label in found["label"]), default=0)
    return "".join(
        f"{s.start:9.2f} {s.end:9.2f}  {str(s.label).ljust(width)}  {s.probability:.3f}  "
        f"{recording}\n"
        for s in found.itertuples(index=False)
    )
