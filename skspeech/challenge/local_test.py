"""Run the challenge's protocol on one's own machine."""

import argparse
import contextlib
import json
import os
import pickle
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
from sklearn.utils import Bunch

from skspeech._extras import how_to_install
from skspeech._typing import PathLike
from skspeech.challenge.folders import find_data_folder, load_autospeech
from skspeech.metrics import (
    area_under_learning_curve,
    balanced_accuracy_over_time,
    check_positive,
)

__all__ = ["main", "run_local_test"]

INIT_TIME_BUDGET = 1200.0

# Seconds beyond the budget to write the last answer and to end, before the process is killed.
_GRACE = 20.0


def run_local_test(
    dataset_dir: PathLike,
    code_dir: PathLike | None = None,
    *,
    output_dir: PathLike = "ingestion_output",
    score_dir: PathLike = "scoring_output",
    time_budget: float | None = None,
    init_time_budget: float = INIT_TIME_BUDGET,
) -> Bunch:
    """Run a model by the challenge's protocol and score it.

    The model runs in a process of its own. It trains and tests in turns until it says that it is
    done or the time budget, of which only its own calls count, is spent. A call that is still
    running at the end is interrupted, then killed. Each answer is scored by its balanced accuracy,
    and all of them by the area under the learning curve.

    Parameters
    ----------
    dataset_dir : path-like
        A data set with a test solution; see :func:`load_autospeech`.
    code_dir : path-like, default=None
        The folder of the participant's `model.py`; None runs :class:`Model`.
    output_dir : path-like, default="ingestion_output"
        For the answers (`<name>.predict_<i>`, a class number per line), their times (`start.txt`)
        and the outcome (`end.txt`). Such files of an earlier run are removed, others are kept.
    score_dir : path-like, default="scoring_output"
        For `scores.txt`, `learning-curve-<name>.json` and `learning-curve-<name>.png`.
    time_budget : float, default=None
        Seconds for training and testing; None takes the data set's.
    init_time_budget : float, default=1200.0
        Seconds for importing and making the model.

    Returns
    -------
    result : :class:`~sklearn.utils.Bunch`
        A dict with attributes `alc`, `times` (seconds) and `scores` of the answers, `time_budget`,
        `init_duration` (seconds, or None if the model was never made), `success` (bool),
        `name`, and `figure`, the path of the picture, or None without matplotlib.

    Raises
    ------
    FileNotFoundError
        If there is no data set, no test solution or no `model.py`.
    ValueError
        If the data set's files do not fit together, or a time is not positive.
    pickle.UnpicklingError
        If a pickle of the data set is damaged, or holds anything but arrays.

    See Also
    --------
    skspeech.metrics.area_under_learning_curve : The score.

    Examples
    --------
    >>> from skspeech.challenge import run_local_test
    >>> result = run_local_test("sample_data/DEMO", time_budget=60)  # doctest: +SKIP
    >>> result.alc, result.scores[-1]  # doctest: +SKIP
    (0.82, 0.91)
    """
    folder = find_data_folder(dataset_dir)
    data = load_autospeech(folder)  # all of it, so that flaws in it are not taken for the model's
    if data.y_test is None:
        raise FileNotFoundError(
            f"There is no *.solution in {folder.parent}, so answers could not be scored. "
            "save_autospeech writes one where it is given y_test."
        )
    if code_dir is not None and not (Path(code_dir) / "model.py").is_file():
        raise FileNotFoundError(f"There is no model.py in {code_dir}.")
    time_budget = float(data.metadata["time_budget"] if time_budget is None else time_budget)
    check_positive("time_budget", time_budget)
    check_positive("init_time_budget", init_time_budget)
    output_dir, score_dir = Path(output_dir), Path(score_dir)
    name, y_test = data.name, data.y_test
    del data  # the model's process reads it itself
    _clear(output_dir, r"start\.txt|end\.txt|.*\.predict_\d+")
    _clear(score_dir, r"scores\.txt|learning-curve-.*\.(json|png)")
    status = _ingest(folder, code_dir, output_dir, time_budget, init_time_budget)
    notes = _read_notes(output_dir)
    times, predictions = _read_answers(output_dir, name, notes)
    return _score(
        score_dir,
        name=name,
        times=times,
        predictions=predictions,
        y_test=y_test,
        time_budget=time_budget,
        init_duration=notes.get("init_duration"),
        success=status == 0,
    )


def main(argv=None):
    """Run ``python -m skspeech.challenge``.

    Parameters
    ----------
    argv : list of str, default=None
        Arguments; None takes those of the process.

    Returns
    -------
    int
        The exit status: 0, 1 if the model failed, or 2 if nothing could be run.
    """
    args = _parse_args(argv)
    try:
        result = run_local_test(**vars(args))
    except (OSError, ValueError, pickle.UnpicklingError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    for seconds, score in zip(result.times, result.scores):
        print(f"{seconds:10.2f} s   balanced accuracy {score:.4f}")
    if not result.success:
        print("The model failed; its answers up to then are scored.", file=sys.stderr)
    if result.figure is None:
        print(f"No picture without matplotlib: {how_to_install('plot')}", file=sys.stderr)
    print(f"ALC: {result.alc:.4f} (area under the learning curve; 1 is perfect from the start)")
    return 0 if result.success else 1


def _parse_args(argv):
    parser = argparse.ArgumentParser(
        prog="python -m skspeech.challenge",
        description="Run a model by the AutoSpeech challenge's protocol and score it.",
    )

    def add(name, **options):
        # One dash as in the challenge's own script, two as everywhere else.
        parser.add_argument(f"-{name}", f"--{name}", f"--{name.replace('_', '-')}", **options)

    add("dataset_dir", required=True, help="folder with <name>.data and a *.solution")
    add("code_dir", help="folder with the participant's model.py (default: skspeech's own model)")
    add("output_dir", default="ingestion_output", help="for the answers (default: %(default)s)")
    add("score_dir", default="scoring_output", help="for scores and curve (default: %(default)s)")
    add("time_budget", type=float, help="seconds (default: what the data set's meta.json says)")
    add(
        "init_time_budget",
        type=float,
        default=INIT_TIME_BUDGET,
        help="seconds for importing and making the model (default: %(default)g)",
    )
    return parser.parse_args(argv)


def _clear(folder, pattern):
    """Make a folder, or remove what an earlier run wrote to it."""
    folder.mkdir(parents=True, exist_ok=True)
    for file in folder.iterdir():
        if re.fullmatch(pattern, file.name):
            file.unlink()


def _ingest(folder, code_dir, output_dir, time_budget, init_time_budget):
    """Run the participant's code in a process and return its exit status."""
    arguments = {
        "data_dir": str(folder.resolve()),
        "code_dir": None if code_dir is None else str(Path(code_dir).resolve()),
        "output_dir": str(output_dir.resolve()),
        "time_budget": time_budget,
        "init_time_budget": init_time_budget,
    }
    with subprocess.Popen(
        [sys.executable, "-m", "skspeech.challenge.ingestion", json.dumps(arguments)],
        stdin=subprocess.PIPE,  # closes when this process dies, and then that one ends, too
        start_new_session=True,  # so that all processes that it starts can be ended with it
    ) as process:
        try:
            return _wait(process, output_dir, time_budget, init_time_budget)
        finally:
            _kill_family(process)


def _wait(process, output_dir, time_budget, init_time_budget):
    """Wait for the process to end; give up if it exceeds the budget by far."""
    start, phase = time.monotonic(), None
    while True:
        with contextlib.suppress(subprocess.TimeoutExpired):
            return process.wait(timeout=0.1)
        notes = _read_notes(output_dir)
        limit = time_budget if "init_duration" in notes else init_time_budget
        # Each phase has a clock of its own; reading the data counts on neither.
        reached = len({"start_time", "init_duration"} & notes.keys())
        if reached != phase:
            start, phase = time.monotonic(), reached
        if reached and time.monotonic() - start > 1.05 * limit + _GRACE:
            print("The model does not stop when its time is up: it is killed.", file=sys.stderr)
            return -signal.SIGTERM


def _kill_family(process):
    """End a process and whatever it started and left behind."""
    import psutil

    with contextlib.suppress(psutil.NoSuchProcess):
        for child in psutil.Process(process.pid).children(recursive=True):
            with contextlib.suppress(psutil.NoSuchProcess):
                child.kill()
    if hasattr(os, "killpg"):
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, signal.SIGKILL)
    process.kill()
    process.wait()


def _read_notes(output_dir):
    file = output_dir / "start.txt"
    if not file.exists():
        return {}
    # The last line may be incomplete.
    lines = file.read_text().split("\n")[:-1]
    notes = dict(line.split(": ", 1) for line in lines if ": " in line)
    return {key: value if key == "task_name" else float(value) for key, value in notes.items()}


def _read_answers(output_dir, name, notes):
    times, predictions = [], []
    while str(len(times)) in notes:
        file = output_dir / f"{name}.predict_{len(times)}"
        predictions.append(np.loadtxt(file, dtype=int, ndmin=1))
        times.append(notes[str(len(times))])
    return times, predictions


def _score(score_dir, *, name, times, predictions, y_test, time_budget, init_duration, success):
    scores = balanced_accuracy_over_time(y_test, predictions).tolist()
    result = Bunch(
        name=name,
        alc=area_under_learning_curve(times, scores, time_budget),
        times=times,
        scores=scores,
        time_budget=time_budget,
        init_duration=init_duration,
        success=success,
    )
    duration = times[-1] if times else -1
    (score_dir / "scores.txt").write_text(f"score: {result.alc}\nDuration: {duration}\n")
    (score_dir / f"learning-curve-{name}.json").write_text(json.dumps(result, indent=1) + "\n")
    result.figure = _draw(score_dir / f"learning-curve-{name}.png", result)
    return result


def _draw(file, result):
    try:
        from matplotlib.figure import Figure
    except ImportError:
        return None
    from skspeech.plotting import LearningCurveDisplay

    figure = Figure(layout="constrained")
    LearningCurveDisplay.from_curves(
        {result.name: (result.times, result.scores)},
        time_budget=result.time_budget,
        ax=figure.subplots(),
    )
    figure.savefig(file, dpi=150)
    return file
