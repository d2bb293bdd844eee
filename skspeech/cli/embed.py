"""The command ``skspeech embed``."""

import contextlib
import json
import re
import shutil
from pathlib import Path

import click
import numpy as np

from skspeech._extras import how_to_install
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
from skspeech.cli.inputs import check_named, iter_paths, salvage
from skspeech.cli.models import CHUNK
from skspeech.cli.readable import none_is_readable, status_of
from skspeech.cli.shown import progress

__all__ = []

# Parameters by which this command does what it promises, and one that files have no use for.
_OWN = {"errors", "memory", "sampling_rate"}


@skspeech.command("embed", short_help="Turn clips into features.", epilog=EXIT_STATUS)
@click.argument("extractor")
@click.argument("files", nargs=-1, required=True)
@click.option(
    "-o",
    "--output",
    required=True,
    type=click.Path(dir_okay=False),
    help="The file, which ends in .npz or .parquet.",
)
@click.option(
    "-p",
    "--param",
    "parameters",
    multiple=True,
    metavar="NAME=VALUE",
    help="A parameter of the extractor, such as layers=2; values as in JSON.",
)
@device_option
@n_jobs_option
@overwrite_option
@quiet_option
def _embed(extractor, files, output, parameters, device, n_jobs, overwrite, quiet):
    """Turn FILES into features with an EXTRACTOR, such as speaker or music.

    A row of features a clip, with its path, is written to the output: arrays paths, features and
    feature_names in an .npz file, or columns in a .parquet file. If the command is interrupted,
    the same one goes on from there.
    """
    from skspeech.time_budget.pretrained import fetch_weights_of

    output = Path(output)
    if output.suffix not in (".npz", ".parquet"):
        raise click.UsageError(f"{output} ends neither in .npz nor in .parquet.")
    check_output(output, overwrite)
    check_named(files)
    write = _npz_writer if output.suffix == ".npz" else _parquet_writer()
    partial = output.with_name(f".{output.name}.partial")
    settings = dict(map(_parameter, parameters))
    settings |= {k: v for k, v in {"device": device, "n_jobs": n_jobs}.items() if v is not None}
    transformer = _make_extractor(extractor, settings).set_params(memory=str(partial))
    paths = list(dict.fromkeys(iter_paths(files)))
    if not paths:
        raise ValueError("No clips are named on standard input.")
    fetch_weights_of(transformer.fit(paths), progress=not quiet)  # fit checks the parameters
    try:
        good, rows = _embed_all(transformer, paths, quiet)
    except KeyboardInterrupt:
        say("What is done so far is kept; run the same command again to go on.")
        raise
    if not good:
        raise none_is_readable(len(paths))

    from skspeech.persistence.atomic import atomic_writer

    names = [str(name) for name in transformer.get_feature_names_out()]
    with atomic_writer(output) as file:
        write(file, good, np.stack(rows), names, repr(transformer.set_params(memory=None)))
    shutil.rmtree(partial, ignore_errors=True)
    if not quiet:
        say(f"{len(good)} of {len(paths)} clips, {len(names)} features each, are in {output}.")
    return status_of(len(paths) - len(good), len(paths))


def _embed_all(transformer, paths, quiet):
    """Paths of the good clips, and their rows; bad ones are reported."""
    good, rows = [], []
    with progress("Embedding", len(paths), quiet) as advance:
        for begin in range(0, len(paths), CHUNK):
            part = paths[begin : begin + CHUNK]
            for path, row, reason in zip(part, *salvage(transformer.transform, part), strict=True):
                if reason is None:
                    good.append(path)
                    rows.append(row)
                else:
                    say(f"{path}: {reason}")
            advance(len(part))
    return good, rows


def _extractors():
    """Extractors by the names of this command: ``speaker`` for SpeakerEmbedding, and so on."""
    from skspeech.transformers.base import Extractor
    from skspeech.utils import all_estimators

    found = {}
    for name, cls in all_estimators("transformer"):
        if issubclass(cls, Extractor):
            words = re.sub(r"(?<=[a-z])(?=[A-Z])", "-", name.removesuffix("Embedding"))
            found[words.lower()] = cls
    return found


def _make_extractor(name, settings):
    extractors = _extractors()
    by_class = {cls.__name__: cls for cls in extractors.values()}
    cls = extractors.get(name) or by_class.get(name)
    if cls is None:
        raise click.UsageError(
            f"There is no extractor {name!r}. The extractors are: {', '.join(extractors)}."
        )
    known = [parameter for parameter in cls._get_param_names() if parameter not in _OWN]
    unknown = sorted(settings.keys() - known)
    if unknown:
        raise click.UsageError(
            f"{cls.__name__} takes no parameter {', '.join(unknown)} here. It takes: "
            f"{', '.join(known)}."
        )
    return cls(**settings)


def _parameter(text):
    name, equals, value = text.partition("=")
    if not equals or not name.strip():
        raise click.UsageError(f"--param {text!r} is not of the form name=value.")
    with contextlib.suppress(ValueError):  # anything that is not JSON is text
        value = json.loads(value)
    return name.strip(), value


def _npz_writer(file, paths, features, names, description):
    np.savez(
        file,
        paths=np.array(paths),
        features=features,
        feature_names=np.array(names),
        extractor=np.array(description),
    )


def _parquet_writer():
    try:
        import pandas as pd
        import pyarrow  # noqa: F401
    except ImportError as error:
        raise ImportError(
            f"Writing Parquet needs pandas and pyarrow: {how_to_install('parquet')}. ({error})"
        ) from None

    def write(file, paths, features, names, description):
        table = pd.DataFrame(features, columns=names)
        table.insert(0, "path", paths)
        table.to_parquet(file, index=False)

    return write
