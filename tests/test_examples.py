"""The examples run, and print what they promise."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import soundfile

from skspeech.datasets import make_speech_like

ROOT = Path(__file__).parents[1]
EXAMPLES = ROOT / "examples"
# Seconds, for each fit with a time budget; few clips and no downloads otherwise.
BUDGET = "5"
BUDGET_OF = {"dask_cluster.py": "20"}  # three processes on two cores, beside other tests


def _run(script, *arguments, cwd=None, **environment):
    done = subprocess.run(
        [sys.executable, "-W", "error", EXAMPLES / script, *arguments],
        capture_output=True,
        text=True,
        env={**os.environ, **environment},
        cwd=cwd,
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
    tested = {"quick_start.py", "plot_bring_your_own_extractor.py", *PROMISES}
    assert {path.name for path in EXAMPLES.glob("*.py")} == tested


# What each script prints, whatever the recordings and however slow the machine. SHARE is a number
# from 0 to 1: made-up words can all be right.
PROMISES = {
    "autospeech_challenge.py": [
        "skspeech     ALC SHARE",
        "one answer   ALC SHARE",
        "learning-curve-train",
    ],
    "dask_cluster.py": ["2 workers", "perceptron", "people never heard: SHARE"],
    "deploy.py": [
        "words.skspeech: ",
        "12 of 12 right",
        "is silent",
        "400 The recording is not audio",
        "413 Send",
        "has stopped",
    ],
    "language.py": ["All classes: balanced accuracy SHARE", " against ", "(It is "],
    "pipeline_and_grid_search.py": ["19 fits in", "'svc__C': 10", "people never heard: SHARE"],
    "plot_emotion_unseen_speakers.py": [
        "people it knows",
        "people it does not",
        "a person: SHARE",
    ],
    "plot_music_tags.py": ["plucked note    ", "guitar SHARE", "Balanced accuracy SHARE"],
    "plot_time_budget.py": ["First answer after", "fit took", "the test score is SHARE"],
    "speaker_identification.py": ["10 clips of each person", "Equal error rate SHARE"],
}


@pytest.mark.network
@pytest.mark.parametrize("script", sorted(PROMISES))
@pytest.mark.slow
def test_example_keeps_its_promises(script, tmp_path):
    if script == "dask_cluster.py":
        pytest.importorskip("distributed", reason="needs skspeech[distributed]")
    budget = BUDGET_OF.get(script, BUDGET)
    settings = {"SKSPEECH_EXAMPLE_BUDGET": budget, "MPLBACKEND": "agg", "DISPLAY": ""}
    printed = _run(script, cwd=tmp_path, **settings)
    for promise in PROMISES[script]:
        pattern = re.escape(promise).replace("SHARE", r"(0\.\d+|1\.0+)")
        assert re.search(pattern, printed), f"{promise!r} is not in:\n{printed}"
    assert list(tmp_path.iterdir()) == [], "an example leaves nothing behind"


@pytest.mark.network
@pytest.mark.slow
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
@pytest.mark.slow
def test_quick_start_on_spoken_digits(data_home):
    printed = _run("quick_start.py", "--n-clips", "150", SKSPEECH_DATA=str(data_home))
    assert "Spoken digits" in printed
    assert _scores(printed)["geometric mean"] > 0.5


@pytest.mark.network
@pytest.mark.slow
def test_readme_runs_from_top_to_bottom(tmp_path):
    clips = make_speech_like(48, n_classes=4, n_speakers=4, random_state=0)
    for i, (waveform, label, speaker) in enumerate(
        zip(clips.data, clips.target, clips.groups, strict=True)
    ):
        folder = tmp_path / "my_clips" / clips.target_names[label] / speaker
        folder.mkdir(parents=True, exist_ok=True)
        soundfile.write(folder / f"{i}.wav", waveform, 16_000)
    soundfile.write(tmp_path / "new.wav", clips.data[0], 16_000)
    said = clips.target_names[clips.target[0]]

    blocks = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    assert len(blocks) >= 6
    (tmp_path / "readme.py").write_text("\n".join(blocks))
    printed = _run(tmp_path / "readme.py", cwd=tmp_path).splitlines()
    assert printed[0] == said
    assert "candidates" in printed[1]
    score = next(line for line in printed if re.fullmatch(r"\d\.\d+", line))
    assert float(score) > 1 / 4
    assert printed[-1] == f"['{said}']"


@pytest.mark.slow
def test_bring_your_own_extractor(tmp_path):
    figure = tmp_path / "rhythm.png"
    printed = _run("plot_bring_your_own_extractor.py", "--figure", str(figure))
    scores = _scores(printed)
    assert list(scores) == ["loudness contour", "modulation spectrum", "both"]
    assert min(scores.values()) > 0.3 > 1 / 5
    assert scores["modulation spectrum"] > 0.8
    assert figure.read_bytes().startswith(b"\x89PNG")
