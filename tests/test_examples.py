"""The examples run, and print what they promise."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
EXAMPLES = ROOT / "examples"


def _run(script, *arguments, **environment):
    done = subprocess.run(
        [sys.executable, "-W", "error", EXAMPLES / script, *arguments],
        capture_output=True,
        text=True,
        env={**os.environ, **environment},
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def _scores(printed):
    return {
        name.strip(): float(score)
        for name, score in re.findall(r"^ {4}(\w[\w ]+?) +([01]\.\d{3}) ", printed, re.MULTILINE)
    }


def test_every_example_is_tested():
    assert {path.name for path in EXAMPLES.glob("*.py")} == {"quick_start.py"}


@pytest.mark.network
def test_quick_start_without_recordings():
    printed = _run("quick_start.py", "--data", "speech-like", "--n-clips", "96")
    scores = _scores(printed)
    assert list(scores) == ["speaker network", "music network", "both networks", "geometric mean"]
    assert scores["geometric mean"] > 2 / 8
    n_train, n_test = map(int, re.search(r"(\d+) training clips, (\d+) test", printed).groups())
    assert n_train + n_test == 96
    assert "nothing about real speech" in printed
    matrix = printed.partition("Confusion matrix")[2].partition("All this")[0]
    assert sum(int(count) for count in re.findall(r" (\d+)\b", matrix)) == n_test


@pytest.mark.data
@pytest.mark.network
def test_quick_start_on_spoken_digits(data_home):
    printed = _run("quick_start.py", "--n-clips", "150", SKSPEECH_DATA=str(data_home))
    assert "Spoken digits" in printed
    assert _scores(printed)["geometric mean"] > 0.5
