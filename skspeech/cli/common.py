"""What all commands share: the group that they belong to, options, exit statuses."""

import os
import sys
import tempfile

import click

from skspeech import __version__

__all__ = [
    "EXIT_STATUS",
    "INTERRUPTED",
    "MISTAKE",
    "PARTIAL",
    "Commands",
    "check_output",
    "device_option",
    "json_option",
    "labelled_options",
    "lead_nowhere",
    "n_jobs_option",
    "overwrite_option",
    "quiet_option",
    "say",
    "skspeech",
]

_TRIED_BYTES = 1 << 20  # a megabyte, the size of a small model
PARTIAL, MISTAKE, INTERRUPTED = 1, 2, 130
EXIT_STATUS = (
    "The exit status is 0 if all went well, 1 if only a part could be done, 2 after a mistake in "
    "what was asked for, or where no clip could be read, and 130 after Ctrl-C."
)


def say(text):
    try:
        print(text, file=sys.stderr, flush=True)
    except BrokenPipeError:  # nobody reads any more; the work goes on
        lead_nowhere(sys.stderr)


def lead_nowhere(stream):
    """Let a stream that nobody reads any more lead nowhere: to write to it is no error then."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


def options_of(*options):
    def decorate(command):
        for option in reversed(options):
            command = option(command)
        return command

    return decorate


quiet_option = click.option("-q", "--quiet", is_flag=True, help="Show no progress.")
json_option = click.option("--json", "as_json", is_flag=True, help="Write the result as JSON.")


def _check_device(context, parameter, device):
    if device is not None:
        from skspeech._device import resolve_device

        resolve_device(device)  # its error says which devices there are
    return device


device_option = click.option(
    "--device",
    metavar="NAME",
    callback=_check_device,
    help="Where networks run: auto, cpu, cuda, cuda:1, mps.",
)


def _check_n_jobs(context, parameter, n_jobs):
    if n_jobs == 0:
        raise click.BadParameter("0 cores can do nothing. Give 1 or more, or -1 for all of them.")
    return n_jobs


n_jobs_option = click.option(
    "--n-jobs",
    type=int,
    metavar="N",
    callback=_check_n_jobs,
    help="Processor cores to use; -1 is all of them.",
)
# Options of all commands that work with labelled clips.
labelled_options = options_of(
    click.option(
        "--groups",
        default="auto",
        show_default=True,
        metavar="COLUMN",
        help="The table's column of what must not be on both sides of a split, such as speakers; "
        "auto, or none.",
    ),
    click.option("--path-column", metavar="NAME", help="The table's column of paths."),
    click.option("--label-column", metavar="NAME", help="The table's column of labels."),
    device_option,
    n_jobs_option,
    quiet_option,
)
overwrite_option = click.option(
    "--overwrite", is_flag=True, help="Replace the output if it exists."
)


class Commands(click.Group):
    """Commands, listed in the order in which a user needs them."""

    order = (
        "audit",
        "fit",
        "cross-validate",
        "predict",
        "timeline",
        "serve",
        "app",
        "export",
        "evaluate",
        "report",
        "embed",
        "weights",
        "benchmark",
        "info",
    )

    def list_commands(self, context):
        return sorted(self.commands, key=lambda name: (*self.order, name).index(name))


@click.group(
    cls=Commands,
    epilog=EXIT_STATUS,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
@click.version_option(__version__, message="skspeech %(version)s")
def skspeech():
    """Classify audio clips from a small labelled set, under a time budget."""


def check_output(output, overwrite):
    """Check that the output can be written, before the work and not after it."""
    if output.exists() and not overwrite:
        raise click.UsageError(f"{output} exists. Name another file, or add --overwrite.")
    folder = output.parent
    if not folder.is_dir():
        raise click.UsageError(f"There is no folder {folder} to write {output.name} to.")
    try:  # permissions don't show that a disk is full or read-only
        name = {"prefix": f".{output.name}.", "suffix": ".unfinished"}
        with tempfile.NamedTemporaryFile(dir=folder, **name) as file:
            file.write(bytes(_TRIED_BYTES))
    except OSError as error:
        raise click.UsageError(f"{output} can't be written: {error.strerror}.") from None
