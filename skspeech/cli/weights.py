"""The command ``skspeech weights``."""

import click

from skspeech.cli.common import EXIT_STATUS, Commands, json_option, skspeech
from skspeech.cli.shown import to_json

__all__ = ["fetch_command", "weights_row"]


@skspeech.group("weights", cls=Commands)
def _weights():
    """List, fetch and verify the pretrained weights."""


def _weights_names(context, parameter, names):
    from skspeech.weights import REGISTRY

    unknown = sorted(set(names) - set(REGISTRY))
    if unknown:
        raise click.BadParameter(
            f"there are no weights {', '.join(unknown)}. The names are: {', '.join(REGISTRY)}."
        )
    return names


_names = click.argument("names", nargs=-1, callback=_weights_names)


@_weights.command("list")
@_names
@json_option
def _weights_list(names, as_json):
    """Say what there is, under which licence, and whether it is cached."""
    from skspeech import weights

    if not as_json:
        return weights.main(["list", *names])
    click.echo(to_json([weights_row(name) for name in names or weights.REGISTRY]))
    return 0


def fetch_command(names):
    """The command line that fetches weights."""
    return f"skspeech weights fetch {' '.join(names)}"


def weights_row(name):
    from skspeech import weights

    entry, path = weights.REGISTRY[name], weights.weights_path(name)
    return {
        "name": name,
        "description": entry.description,
        "licence": entry.licence,
        "source": str(entry.source),
        "path": str(path),
        "cached": path.is_file(),
    }


def _weights_command(action, summary):
    @_weights.command(action, help=summary, epilog=EXIT_STATUS)
    @_names
    def run(names):
        from skspeech import weights

        return weights.main([action, *names])

    return run


_weights_command("fetch", "Download, convert and cache weights (all but the optional ones).")
_weights_command("verify", "Read cached weights and compare their checksums.")
_weights_command("path", "Say where cached weights are, without fetching them.")
