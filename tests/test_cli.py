"""The command line, as a person and as a script use it."""

import csv
import errno
import html
import importlib
import io
import json
import os
import pty
import re
import select
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import click
import numpy as np
import pytest
import soundfile
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import balanced_accuracy_score
from sklearn.model_selection import FixedThresholdClassifier
from sklearn.naive_bayes import GaussianNB
from sklearn.pipeline import make_pipeline
from sounds import labelled_tones

import skspeech
from skspeech import (
    Candidate,
    ShrinkageDiscriminantAnalysis,
    SpeakerEmbedding,
    SpectralStatistics,
    UnknownRejector,
)
from skspeech.audio import AudioError
from skspeech.candidates import PRESETS
from skspeech.cli import embed, main, predict, shown
from skspeech.cli.audited import audited
from skspeech.cli.common import skspeech as commands
from skspeech.cli.cross_validate import _Answers
from skspeech.cli.inputs import (
    Labelled,
    chunks,
    iter_paths,
    only_unit,
    read_labelled,
    salvage,
    split,
)
from skspeech.cli.layout import doubtful_classes
from skspeech.cli.quantities import SECONDS
from skspeech.cli.shown import FitProgress, Scores, console
from skspeech.cli.training import train_model
from skspeech.cli.wording import in_our_words, news
from skspeech.datasets import load_audio_folder, make_speech_like
from skspeech.unknown import rejector
from skspeech.weights import WeightsNotFoundError

# A shell's background jobs ignore Ctrl-C, and so would their children.
INTERRUPTIBLE = [
    sys.executable,
    "-c",
    "import signal, sys; signal.signal(signal.SIGINT, signal.default_int_handler)\n"
    "from skspeech.cli import main; sys.exit(main())",
]
pytestmark = [pytest.mark.alone, pytest.mark.usefixtures("quick_map")]
fit_module = importlib.import_module("skspeech.cli.fit")
COMMAND = [sys.executable, "-m", "skspeech"]


@pytest.fixture(autouse=True)
def _ctrl_c_is_heard():
    """Also where the tests run in a shell's background, whose jobs ignore it."""
    former = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, former)


@pytest.fixture(scope="module")
def words():
    return make_speech_like(36, n_classes=3, n_speakers=4, random_state=0)


@pytest.fixture
def folder(words, tmp_path):
    """Clips in a folder a class, and in it one a speaker."""
    root = tmp_path / "clips"
    for i, (waveform, code, speaker) in enumerate(
        zip(words.data, words.target, words.groups, strict=True)
    ):
        place = root / words.target_names[code] / speaker
        place.mkdir(parents=True, exist_ok=True)
        soundfile.write(place / f"{i:02}.wav", waveform, 16_000)
    return root


@pytest.fixture(scope="module")
def classifier(words):
    labels = np.array(words.target_names)[words.target]
    pipeline = make_pipeline(SpectralStatistics(), ShrinkageDiscriminantAnalysis())
    return pipeline.fit(words.data, labels)


@pytest.fixture
def model(classifier, tmp_path):
    return str(skspeech.save(classifier, tmp_path / "model.skspeech"))


@pytest.fixture
def run(capsys):
    """Call the command; gives its exit status, and what it wrote to both streams."""

    def call(*arguments):
        status = main([str(argument) for argument in arguments])
        captured = capsys.readouterr()
        return status, captured.out, captured.err

    return call


def _bad_clip(folder):
    path = next(folder.rglob("00.wav")).with_name("000.wav")  # sorted before the good one
    path.write_text("no sound at all")
    return path


# -- The whole -------------------------------------------------------------------------------------


def test_help_names_every_command(run):
    status, out, _ = run("--help")
    assert status == 0
    assert "..." not in out.partition("\n")[2]  # no sentence is cut off
    commands = [
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
    ]
    assert [
        line.split()[0] for line in out.splitlines() if re.match(r"  [a-z][a-z-]*  ", line)
    ] == (commands)
    for command in commands:
        status, out, _ = run(command, "--help")
        assert status == 0
        assert "Usage: skspeech" in out


def test_version(run):
    assert run("--version") == (0, f"skspeech {skspeech.__version__}\n", "")


def test_help_is_quick_to_import():
    code = (
        "import sys; from skspeech.cli import main; main(['fit', '--help']);"
        "heavy = {'sklearn', 'torch', 'pandas', 'librosa', 'skops'} & set(sys.modules);"
        "sys.exit(str(heavy) if heavy else 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_presets_are_those_that_there_are(run):
    (preset,) = [option for option in commands.commands["fit"].params if option.name == "preset"]
    assert set(preset.type.choices) == set(PRESETS)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("frobnicate", "No such command"),
        ("fit missing -o m.skspeech", "'missing' does not exist"),
        ("fit . -o m.skspeech --time-budget -1", "--time-budget"),
        ("fit . -o m.skspeech --test-size 1.5", "'--test-size': '1.5' is not a number between"),
        ("fit . -o m.skspeech --test-size nan", "'--test-size': 'nan' is not a number between"),
        ("fit . -o m.skspeech --time-budget nan", "'nan' is not a time of more than 0 s"),
        ("fit . -o m.skspeech --time-budget soon", "hours, minutes and seconds: 90, 90s, 2m"),
        ("benchmark . --time-budget nan", "'nan' is not a time of more than 0 s"),
        ("fit . -o no/such/folder/m.skspeech", "There is no folder"),
        ("fit note.txt -o m.skspeech", "neither a folder nor a table"),
        ("fit empty -o m.skspeech", "The folder 'empty' is empty. Put the recordings of each"),
        ("evaluate model.skspeech empty", "The folder 'empty' is empty"),
        ("report model.skspeech empty -o r.html", "The folder 'empty' is empty"),
        ("embed speaker empty -o f.npz", "no audio files in the folder 'empty'"),
        ("timeline model.skspeech empty", "no audio files in the folder 'empty'"),
        ("embed music clips -o f.npz -p model=x", "The 'model' parameter of MusicEmbedding must"),
        ("fit clips -o note.txt", "note.txt exists. Name another file, or add --overwrite"),
        ("fit clips -o m.skspeech --groups speaker", "is a folder, which has no columns"),
        ("fit clips -o m.skspeech --device cuda:99", "'cuda:99' asks for a CUDA device"),
        ("fit clips -o m.skspeech --log-file no/such/log", "no/such/log can't be written: No such"),
        ("fit one.csv -o m.skspeech", "All clips of 'one.csv' are of one class, 'go'"),
        ("cross-validate one.csv", "All clips of 'one.csv' are of one class, 'go'"),
        ("fit clips -o m.skspeech --seed -1", "'--seed': -1 is not in the range"),
        ("cross-validate clips --seed 4294967296", "'--seed': 4294967296 is not in the range"),
        ("predict model.skspeech clips --n-jobs 0", "'--n-jobs': 0 cores can do nothing"),
        ("predict note.txt clips", "no model file"),
        ("predict model.skspeech empty", "no audio files in the folder 'empty'"),
        ("predict model.skspeech", "Missing argument"),
        ("evaluate model.skspeech others", "labels that are none of them: barks"),
        ("embed nothing clips -o f.npz", "no extractor 'nothing'. The extractors are: keyword,"),
        ("embed speaker clips -o f.wav", "ends neither in .npz nor in .parquet"),
        (
            "embed speaker clips -o f.npz -p layer=2",
            "takes no parameter layer here. It takes: batch_size",
        ),
        ("embed speaker clips -o f.npz -p layers", "not of the form name=value"),
        ("embed speaker clips -o f.npz -p layers=9", "layers=9 is not accepted"),
        ("weights path nothing", "no weights nothing. The names are: ge2e"),
        ("benchmark clips", "must hold exactly one folder"),
        ("info note.txt", "no model file"),
    ],
)
def test_mistakes_are_told_without_a_traceback(
    arguments, message, folder, model, tmp_path, run, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "note.txt").write_text("a note")
    (tmp_path / "one.csv").write_text("path,label\na.wav,go\nb.wav,go\n")
    (tmp_path / "empty").mkdir()
    (tmp_path / "others" / "barks").mkdir(parents=True)
    soundfile.write(tmp_path / "others" / "barks" / "1.wav", np.zeros(8000), 16_000)
    before = sorted(tmp_path.rglob("*"))
    status, out, err = run(*arguments.split())
    assert status == 2
    assert message in " ".join(err.split())
    assert "Traceback" not in err
    assert out == ""
    assert sorted(path for path in tmp_path.rglob("*") if ".partial" not in str(path)) == before


def test_errors_that_are_no_mistakes_keep_their_traceback(model, monkeypatch):
    def broken(*_, **__):
        raise RuntimeError("a bug")

    monkeypatch.setattr(predict, "load_classifier", broken)
    with pytest.raises(RuntimeError, match="a bug"):
        main(["predict", model, "a.wav"])


@pytest.mark.parametrize("what", ["table.csv", "header.csv", "folder", "classes"])
@pytest.mark.parametrize("command", ["fit {} -o m", "evaluate m {}", "report m {} -o r"])
def test_what_is_empty_is_told_before_anything_heavy_is_imported(what, command, tmp_path):
    (tmp_path / "table.csv").write_text("")
    (tmp_path / "header.csv").write_text("path,label\n")
    (tmp_path / "folder").mkdir()
    (tmp_path / "classes" / "yes").mkdir(parents=True)
    (tmp_path / "m").write_text("not looked at")
    command = command.replace("-o m", "-o new").format(what).split()
    code = (
        f"import sys; from skspeech.cli import main; print(main({command}));"
        "print({'sklearn', 'torch', 'scipy'} & set(sys.modules))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    assert done.stdout == "2\nset()\n"
    assert "is empty" in done.stderr


@pytest.mark.parametrize(
    ("message", "ours"),
    [
        ("The model runs with device='auto'.", "The model runs with --device 'auto'."),
        ("log_file='a b.log' can't be written", "--log-file 'a b.log' can't be written"),
        ("Give n_jobs=-1 or time_budget=2.5.", "Give --n-jobs -1 or --time-budget 2.5."),
        ("pass another one as memory=.", "pass another one as --memory."),
        ("weights=None is as it was", "weights=None is as it was"),
    ],
)
def test_parameters_are_told_as_options(message, ours):
    assert in_our_words(UserWarning(message)) == ours


def test_a_name_that_no_table_can_hold_is_told(folder, tmp_path, run, quick_line_up):
    os.rename(folder, folder := folder.with_name("caf\udce9"))
    split_to = ["--test-size", 0.5, "--save-split", tmp_path / "split"]
    status, _, err = run(*_fit(folder, tmp_path / "m.skspeech", *split_to))
    assert status == 2
    assert re.search(r"Error: A name is not text in UTF-8: .*caf\\udce9.*\. Rename that", err)
    assert not (tmp_path / "split").exists()


@pytest.mark.filterwarnings("default::UserWarning")
@pytest.mark.parametrize("n_groups", [1, 2])
def test_what_is_not_validated_is_told_in_words_of_the_command(
    n_groups, folder, tmp_path, run, quick_line_up
):
    """Of one group nothing can be held out; of two, nothing of a class that only one has."""
    kept = ("speaker 1", "speaker 2")[:n_groups]
    for place in list(folder.glob("*/*")):
        if place.name not in kept:
            shutil.rmtree(place)
    if n_groups == 2:
        (folder / "rare").mkdir()
        shutil.copytree(next(folder.glob("*/speaker 1")), folder / "rare" / "speaker 1")
    status, out, err = run(*_fit(folder, tmp_path / "m.skspeech"))
    assert status == 0
    if n_groups == 1:
        assert "No clip can be held out: all clips are of one group. So nothing is valid" in err
        assert "no score says how good the model is" in err
        assert "the ensemble has 1, not validated." in out
    else:
        assert "1 class has too few clips or groups to be held out in validation" in err
        assert "such as 'rare': the score in validation and the choice of members say noth" in err
    assert not re.search(r"best_score_|NaN|nan|cv=|groups holds", out + err)


def test_tracebacks_of_mistakes_can_be_had(monkeypatch):
    monkeypatch.setenv("SKSPEECH_TRACEBACK", "1")
    with pytest.raises(ValueError, match="no model file"):
        main(["info", __file__])


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        *((text, 90.0) for text in ("90", "90s", "90 s", "1m30s", "1.5m", "1min 30sec", "0.025h")),
        *((text, 5400.0) for text in ("1h30m", "1H 30M", "5.4e3", 5400)),
        ("2m", 120.0),
    ],
)
def test_times_as_people_write_them(text, seconds):
    assert SECONDS.convert(text, None, None) == pytest.approx(seconds)


@pytest.mark.parametrize(
    "text", ["nan", "inf", "0", "0m", "-5", "-2m", "", "s", "1h30", "2 days", "1m2h", "1e300"]
)
def test_what_is_no_time(text):
    with pytest.raises(click.BadParameter):
        SECONDS.convert(text, None, None)


def test_an_output_that_can_not_be_written_is_told_before_the_work(folder, tmp_path, run):
    name = "m" * 250  # too long with what the unfinished file is called
    status, _, err = run("fit", folder, "-o", tmp_path / name)
    assert status == 2
    assert "can't be written: File name too long" in " ".join(err.split())
    assert sorted(tmp_path.iterdir()) == [folder]


# -- Labelled data ---------------------------------------------------------------------------------


def test_a_folder_has_groups_where_there_is_a_second_level(folder):
    labelled = read_labelled(folder)
    clips = load_audio_folder(folder)
    assert labelled.paths == clips.data
    assert labelled.labels.tolist() == [clips.target_names[code] for code in clips.target]
    assert labelled.groups.tolist() == clips.groups.tolist()
    assert read_labelled(folder, groups="none").groups is None


@pytest.mark.parametrize("suffix", [".csv", ".tsv", "semicolon.csv", ".parquet"])
def test_tables(suffix, tmp_path):
    rows = [["a.wav", "yes", "anna"], ["deep/b, c.wav", "no", "berta"]]
    path = tmp_path / f"table{suffix}"
    if suffix == ".parquet":
        import pandas as pd

        pd.DataFrame(rows, columns=["path", "label", "group"]).to_parquet(path)
    else:
        delimiter = {".csv": ",", ".tsv": "\t"}.get(suffix, ";")
        with open(path, "w", newline="", encoding="utf-8-sig") as file:
            csv.writer(file, delimiter=delimiter).writerows([["path", "Label", "group"], *rows, []])
    labelled = read_labelled(path)
    assert labelled.paths == [str(tmp_path / "a.wav"), str(tmp_path / "deep" / "b, c.wav")]
    assert labelled.labels.tolist() == ["yes", "no"]
    assert labelled.groups.tolist() == ["anna", "berta"]


@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
def test_numbers_in_tables_stay_as_they_are_written(suffix, tmp_path):
    pd = pytest.importorskip("pandas")
    table = pd.DataFrame({"path": ["a.wav", "b.wav"], "label": ["01", "1e3"], "group": ["03", "3"]})
    path = tmp_path / f"table{suffix}"
    table.to_csv(path, index=False) if suffix == ".csv" else table.to_parquet(path)
    labelled = read_labelled(path)
    assert labelled.labels.tolist() == ["01", "1e3"]
    assert labelled.groups.tolist() == ["03", "3"]


def test_columns_are_found_by_name(tmp_path):
    path = tmp_path / "table.csv"
    path.write_text("id,sound,word,who\n1,/x/a.wav,yes,anna\n2,b.wav,no,berta\n")
    chosen = read_labelled(path, path_column="sound", label_column="word", groups="who")
    assert chosen.paths == ["/x/a.wav", str(tmp_path / "b.wav")]
    assert chosen.groups.tolist() == ["anna", "berta"]
    with pytest.raises(ValueError, match=r"no column 'path'; its columns are 'id'.*--path"):
        read_labelled(path)
    with pytest.raises(ValueError, match="no column 'speaker'"):
        read_labelled(path, path_column="sound", label_column="word", groups="speaker")


def test_a_column_that_was_named_is_not_found_once_more(tmp_path):
    path = tmp_path / "table.csv"
    path.write_text("Path,path,speaker\nx,a.wav,anna\ny,b.wav,berta\n")
    labelled = read_labelled(path, label_column="speaker")
    assert labelled.paths == [str(tmp_path / "a.wav"), str(tmp_path / "b.wav")]
    assert labelled.labels.tolist() == ["anna", "berta"]
    assert labelled.groups is None


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "path,label\na.wav,\nb.wav,no\n,\nc.wav,\n",
            "2 of 3 rows of .* lack their 'label', the first in row 2",
        ),
        ("path,label\na.wav,no\nb,c.wav,no\n", "2 columns, but another number of values in line 3"),
        ("path,label,label \na.wav,no,yes\n", "more than one column 'label'"),
        ("path,label\n", "table.csv' is empty below its header"),
        ("", "table.csv' is empty. Its first line has to name the columns"),
        ("\n \n", "table.csv' is empty"),
    ],
)
def test_tables_with_holes(text, message, tmp_path):
    path = tmp_path / "table.csv"
    path.write_text(text)
    with pytest.raises(ValueError, match=message):
        read_labelled(path)


def test_tables_of_other_bytes(tmp_path):
    path = tmp_path / "table.csv"
    for content, line, what in (
        (b"path,label\n\xff\xfe,no\n", 2, "0xff, as in Latin-1"),
        ("path,label\r\na.wav,no\r\nb.wav,für\r\n".encode("cp1252"), 3, "'b.wav,für'"),
    ):
        path.write_bytes(content)
        with pytest.raises(
            ValueError, match=rf"table.csv'.* in line {line} .*Save it as UTF-8"
        ) as e:
            read_labelled(path)
        assert what in str(e.value)
    path.write_text("path,label\na.wav,no\n", encoding="utf-16")
    with pytest.raises(ValueError, match=r"table.csv' is text in UTF-16. Save it as UTF-8"):
        read_labelled(path)
    path.write_text("path,label\na.wav,für\n", encoding="utf-8-sig")
    assert read_labelled(path).labels.tolist() == ["für"]
    path = tmp_path / "table.parquet"
    path.write_bytes(b"nothing")
    with pytest.raises(ValueError, match="can't be read as Parquet"):
        read_labelled(path)


def _labelled(labels, groups=None):
    paths = [str(i) for i in range(len(labels))]
    return Labelled(paths, np.array(labels), None if groups is None else np.array(groups))


def test_held_out_clips_are_stratified():
    data = _labelled(["a"] * 40 + ["b"] * 20 + ["rare"])
    train, test = split(data, 0.25, seed=0)
    assert sorted(train.paths + test.paths) == sorted(data.paths)
    assert np.unique(test.labels, return_counts=True)[1].tolist() == [10, 5]
    assert split(data, 0.25, seed=0)[1].paths == test.paths
    assert split(data, 0.25, seed=1)[1].paths != test.paths


def test_held_out_groups_are_nowhere_else():
    groups = np.arange(60) % 12
    data = _labelled(["a", "b", "c"] * 20, groups)
    train, test = split(data, 0.25, seed=0)
    assert set(train.groups.tolist()).isdisjoint(test.groups.tolist())
    assert 10 <= len(test) <= 20
    tied = _labelled(["a", "b"] * 10, ["x", "y"] * 10)
    with pytest.raises(
        ValueError, match=r"all clips of each class are in one group.*--groups none"
    ):
        split(tied, 0.5, seed=0)


def test_a_class_of_one_clip_is_not_held_out_and_others_leave_one_to_learn_from():
    _, test = split(_labelled(["a", "a", "b", "b", "c"]), 0.9, seed=0)
    assert sorted(test.labels) == ["a", "b"]
    with pytest.raises(ValueError, match=r"each class has one clip only\. Leave --test-size out\."):
        split(_labelled(["a", "b"]), 0.5, seed=0)


def test_why_a_class_is_never_held_out_is_only_said_where_it_is_so():
    """With copies, or a group that has all of another class, there may be more than one."""
    data = _labelled(["a", "a", "b", "b", "c"], ["x", "y", "x", "x", "y"])
    assert (only_unit(data, ["b", "c"]), only_unit(data, ["a", "b"])) == ("group", "")
    data.groups = None
    assert (only_unit(data, ["c"]), only_unit(data, ["b", "c"])) == ("clip", "")


# -- Clips as they come ----------------------------------------------------------------------------


def test_chunks_are_full_where_items_wait():
    assert list(chunks(iter(range(10)), 4)) == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9]]
    assert list(chunks(iter([]), 4)) == []


def test_a_chunk_does_not_wait_for_what_is_not_there():
    seen = []

    def slow():
        yield 1
        while not seen:  # nothing more before the first chunk came through
            time.sleep(0.01)
        yield 2

    for chunk in chunks(slow(), 4):
        seen.append(chunk)
    assert seen == [[1], [2]]


def test_what_goes_wrong_among_the_items_is_raised_after_the_good_ones():
    def items():
        yield 1
        raise ValueError("no such folder")

    found = chunks(items(), 4)
    assert next(found) == [1]
    with pytest.raises(ValueError, match="no such folder"):
        next(found)


def test_salvage_loses_only_the_bad_clips():
    def function(paths):
        bad = [(i, path, "broken") for i, path in enumerate(paths) if path.startswith("bad")]
        worse = [(i, path, "worse") for i, path in enumerate(paths) if path.startswith("worse")]
        if bad or worse:  # what one step can't read is told before what the next one can't
            raise AudioError(bad or worse, len(paths))
        return [path.upper() for path in paths]

    rows, reasons = salvage(function, ["a", "bad 1", "b", "worse", "bad 2"])
    assert rows == ["A", None, "B", None, None]
    assert reasons == [None, "broken", None, "worse", "broken"]
    assert salvage(function, ["bad"]) == ([None], ["broken"])


# -- predict ---------------------------------------------------------------------------------------


def _expected(classifier, folder):
    paths = load_audio_folder(folder).data
    return paths, classifier.predict(paths).tolist(), classifier.predict_proba(paths)


def test_predict_json(classifier, model, folder, run):
    paths, labels, proba = _expected(classifier, folder)
    status, out, err = run("predict", model, folder, "--json", "-p")
    rows = [json.loads(line) for line in out.splitlines()]
    assert (status, err) == (0, "")
    assert [row["path"] for row in rows] == paths
    assert [row["label"] for row in rows] == labels
    found = [[row["probabilities"][str(c)] for c in classifier.classes_] for row in rows]
    np.testing.assert_allclose(found, proba, atol=1e-6)
    np.testing.assert_allclose([row["probability"] for row in rows], proba.max(1), atol=1e-6)


def test_predict_csv(classifier, model, folder, run):
    paths, labels, proba = _expected(classifier, folder)
    status, out, _ = run("predict", model, *paths[:5], "--format", "csv", "-p")
    header, *rows = csv.reader(io.StringIO(out))
    names = [f"p({label})" for label in classifier.classes_]
    assert status == 0
    assert header == ["path", "label", "probability", *names, "error"]
    assert [row[:2] for row in rows] == [
        list(pair) for pair in zip(paths[:5], labels, strict=False)
    ]
    np.testing.assert_allclose(np.array(rows)[:, 3:-1].astype(float), proba[:5], atol=1e-6)


def test_predict_table(classifier, model, folder, run):
    paths, labels, proba = _expected(classifier, folder)
    status, out, _ = run("predict", model, paths[0])
    assert status == 0
    assert out.split(maxsplit=2) == [labels[0], f"{proba[0].max():.3f}", f"{paths[0]}\n"]
    _, out, _ = run("predict", model, paths[0], "-p")
    assert all(
        f"{label} {p:.3f}" in out for label, p in zip(classifier.classes_, proba[0], strict=True)
    )


@pytest.mark.parametrize("form", ["table", "jsonl", "csv"])
def test_bad_clips_are_told_in_their_place_and_the_others_go_on(
    form, classifier, model, folder, run
):
    bad = str(_bad_clip(folder))
    paths = [*load_audio_folder(folder).data, str(folder / "missing.wav")]
    good = [path for path in paths if path not in (bad, paths[-1])]
    status, out, err = run("predict", model, folder, paths[-1], "--format", form)
    assert status == 1
    assert f"2 of {len(paths)} clips can't be read" in err
    if form == "jsonl":
        rows = [json.loads(line) for line in out.splitlines()]
        assert [row["path"] for row in rows] == paths
        assert [row["path"] for row in rows if "error" in row] == [bad, paths[-1]]
        found = [row["label"] for row in rows if "label" in row]
    elif form == "csv":
        rows = list(csv.DictReader(io.StringIO(out)))
        assert [row["path"] for row in rows] == paths
        assert [row["path"] for row in rows if row["error"]] == [bad, paths[-1]]
        found = [row["label"] for row in rows if row["label"]]
    else:
        assert bad in err
        assert "no such file" in err
        found = [line.split()[0] for line in out.splitlines()]
    assert found == classifier.predict(good).tolist()


def test_a_model_that_decides_by_a_threshold_answers_by_it(words, folder, run, tmp_path):
    first, second, third = words.target_names
    shutil.rmtree(folder / third)
    clips = load_audio_folder(folder)
    pipeline = make_pipeline(SpectralStatistics(), GaussianNB())
    model = FixedThresholdClassifier(pipeline, threshold=2.0)  # which no probability reaches
    model.fit(clips.data, np.array([first, second])[clips.target])
    path = skspeech.save(model, tmp_path / "model.skspeech")
    for form in ("--format=csv", "--format=jsonl", "--format=table"):
        _, out, _ = run("predict", path, folder / second, form)
        assert first in out
        assert re.search(rf"\b{second}\b", out.replace(str(folder / second), "")) is None
        assert "0.0" in out  # of the label, though the other one is more probable
    _, out, _ = run("evaluate", path, folder, "--json")
    assert json.loads(out)["balanced_accuracy"] == 0.5


@pytest.mark.parametrize("command", ["predict", "evaluate"])
def test_a_model_without_probabilities_of_a_clip_is_named(words, folder, run, tmp_path, command):
    model = make_pipeline(SpectralStatistics(), LogisticRegression(max_iter=5000))
    model.fit(words.data, np.array(words.target_names)[words.target])
    model[-1].coef_[0, 0] = np.nan
    path = skspeech.save(model, tmp_path / "model.skspeech")
    status, out, err = run(command, path, folder)
    assert (status, out) == (2, "")
    assert re.search(r"predict_proba of the model .* row 0 \(.*\.wav\): \[nan nan nan\]", err)


# -- timeline --------------------------------------------------------------------------------------


@pytest.fixture
def talks(words, tmp_path):
    """Two recordings of one word after the other, in a folder."""
    root = tmp_path / "talks"
    root.mkdir()
    for name, codes in (("one", [0, 1]), ("two", [2, 0, 1])):
        clips = [words.data[i] for code in codes for i in np.flatnonzero(words.target == code)]
        soundfile.write(root / f"{name}.wav", np.concatenate(clips), 16_000)
    return root


TALKS = ("--window", "0.7", "--all-sound")


def test_timeline_to_read(classifier, model, talks, run):
    status, out, err = run("timeline", model, talks, *TALKS)
    assert (status, err) == (0, "")
    rows = [line.split() for line in out.splitlines()]
    assert {row[-1] for row in rows} == {str(talks / "one.wav"), str(talks / "two.wav")}
    assert {row[2] for row in rows} <= set(classifier.classes_)
    found = skspeech.timeline(classifier, talks / "one.wav", window=0.7, speech_only=False)
    assert [float(row[1]) for row in rows][: len(found)] == pytest.approx(found["end"], abs=0.01)


def test_timelines_for_other_programs(model, talks, run, tmp_path):
    one = talks / "one.wav"
    for form, start in [("csv", "start,end,label"), ("vtt", "WEBVTT"), ("rttm", "SPEAKER one 1 ")]:
        status, out, _ = run("timeline", model, one, "--format", form, *TALKS)
        assert status == 0
        assert out.startswith(start)
    folder = tmp_path / "grids"
    arguments = ("timeline", model, talks, "--format", "textgrid", *TALKS)
    status, _, err = run(*arguments)
    assert status == 2
    assert "Name a folder for them: --output FOLDER" in err
    assert run(*arguments, "-o", folder)[0] == 0
    assert sorted(path.name for path in folder.iterdir()) == ["one.TextGrid", "two.TextGrid"]
    status, _, err = run(*arguments, "-o", folder)
    assert status == 2
    assert "--overwrite" in err
    assert run(*arguments, "-o", folder, "--overwrite")[0] == 0


def test_streams_may_be_closed(model, folder):
    clip = next(folder.rglob("*.wav"))
    for closed, clips, status in (("<&-", "-", 0), (">&-", clip, 0), ("2>&-", "nowhere.wav", 2)):
        command = shlex.join([*COMMAND, "predict", model, str(clips)])
        done = subprocess.run(f"{command} {closed}", shell=True, capture_output=True, text=True)
        assert (done.returncode, done.stdout, done.stderr) == (status, "", "")


@pytest.mark.skipif(sys.platform != "linux", reason="other systems allow no such names")
def test_timelines_of_recordings_whose_names_are_no_text(model, talks, run, tmp_path):
    folder, out = tmp_path / "odd", tmp_path / "not" / "yet"
    folder.mkdir()
    for name in (b"bad\xff.wav", b"good.wav"):
        shutil.copy(talks / "one.wav", os.path.join(os.fsencode(folder), name))
    for form, suffix in (("table", "txt"), ("rttm", "rttm")):
        status, _, err = run("timeline", model, folder, "--format", form, "-o", out, *TALKS)
        assert status == 0, err
        texts = [path.read_text("utf-8") for path in out.glob(f"*.{suffix}")]
        assert len(texts) == 2
        assert any(r"bad\udcff" in text for text in texts)


def test_timelines_of_recordings_of_one_name_are_kept_apart(model, talks, run, tmp_path):
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        shutil.copy(talks / "one.wav", tmp_path / name)
    twice = ("timeline", model, tmp_path / "a", tmp_path / "b", *TALKS)
    for options in (("-o", tmp_path / "never"), ("--format", "rttm")):
        status, out, err = run(*twice, *options)
        assert (status, out) == (2, "")
        assert "Several recordings are called one" in err
    assert not (tmp_path / "never").exists()
    for name in ("a b.wav", "a_b.wav"):
        shutil.copy(talks / "one.wav", tmp_path / "a" / name)
    status, out, err = run("timeline", model, tmp_path / "a", *TALKS, "--format", "rttm")
    assert (status, out) == (2, "")
    assert "'a b' and 'a_b' would be one name in RTTM" in err
    (tmp_path / "a" / "a b.wav").unlink()
    (tmp_path / "a" / "a_b.wav").unlink()
    # In the table, the whole path says which is which; the same recording twice is one.
    status, both, _ = run(*twice)
    assert status == 0
    assert {Path(line.split()[-1]).parent.name for line in both.splitlines()} == {"a", "b"}
    assert run(*twice, tmp_path / "b" / "one.wav")[1] == both


def test_classes_that_rttm_would_mix_up_are_told_before_the_work(words, talks, run, tmp_path):
    classifier = make_pipeline(SpectralStatistics(), ShrinkageDiscriminantAnalysis())
    classifier.fit(words.data, np.array(["go on", "go_on", "stop"])[words.target])
    path = skspeech.save(classifier, tmp_path / "model.skspeech")
    status, out, err = run("timeline", path, talks / "one.wav", *TALKS, "--format", "rttm")
    assert (status, out) == (2, "")
    assert "'go on' and 'go_on' would be one name in RTTM" in err


def test_timelines_as_pages(model, talks, run, tmp_path, monkeypatch):
    folder = tmp_path / "pages"
    arguments = ("timeline", model, talks, "--format", "html", *TALKS)
    status, _, err = run(*arguments)
    assert status == 2
    assert "Pages are written to a folder. Name it: --output FOLDER" in err
    assert run(*arguments, "-o", tmp_path / "a.html")[0] == 2
    status, _, err = run(*arguments, "-o", folder)
    assert status == 0
    assert f"What was found is in the folder {folder}." in err
    assert sorted(path.name for path in folder.iterdir()) == ["one.html", "two.html"]
    assert "<h1>one.wav" in (folder / "one.html").read_text().replace("<wbr>", "")
    # What a page needs is asked for before the first recording is listened to.
    monkeypatch.setattr("skspeech.timelines.timeline", lambda *args, **options: 1 / 0)
    monkeypatch.setitem(sys.modules, "jinja2", None)
    status, _, err = run(*arguments, "-o", folder, "--overwrite")
    assert status == 2
    assert "needs jinja2, which is not installed" in err


@pytest.mark.filterwarnings("default:.*The part before that is used")
def test_recordings_without_a_timeline_are_told_about_and_the_others_go_on(model, talks, run):
    (talks / "bad.wav").write_text("no sound at all")
    soundfile.write(talks / "cut.flac", np.random.default_rng(0).normal(0, 0.1, 160_000), 16_000)
    (talks / "cut.flac").write_bytes((talks / "cut.flac").read_bytes()[:150_000])
    status, out, err = run("timeline", model, talks, *TALKS)
    assert status == 1
    assert "bad.wav: is not audio but text" in err
    assert re.search("cut.flac is damaged .* The part before that is used", err)
    assert "1 of 4 recordings can't be read" in err
    assert {line.split()[-1].rpartition("/")[2] for line in out.splitlines()} == {
        "one.wav",
        "two.wav",
        "cut.flac",
    }


@pytest.mark.slow  # the command in a process of its own
def test_predictions_come_before_the_next_clip_is_named(model, folder):
    """Standard input is a stream: the answer to a line does not wait for the next one."""
    paths = load_audio_folder(folder).data[:2]
    process = subprocess.Popen(
        [*COMMAND, "predict", model, "-", "--json"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    for path in paths:
        process.stdin.write(path + "\n")
        process.stdin.flush()
        assert json.loads(process.stdout.readline())["path"] == path
    process.stdin.close()
    assert process.wait(60) == 0
    process.stdout.close()


@pytest.mark.slow
def test_names_of_other_encodings(model, folder):
    name = os.fsencode(folder) + b"/caf\xe9.wav"
    os.rename(os.fsencode(next(folder.rglob("00.wav"))), name)
    done = subprocess.run(
        [*COMMAND, "predict", model, "-", "--format", "csv"],
        input=name + b"\n",
        capture_output=True,
        env={**os.environ, "PYTHONIOENCODING": "utf-8"},
    )
    assert (done.returncode, done.stderr) == (0, b"")
    assert done.stdout.splitlines()[1].startswith(name + b",")


@pytest.mark.slow
def test_a_reader_that_leaves_is_no_error(model, folder):
    paths = "\n".join(load_audio_folder(folder).data * 50)
    process = subprocess.Popen(
        [*COMMAND, "predict", model, "-"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    process.stdout.close()
    _, err = process.communicate(paths, timeout=120)
    assert process.returncode == 1
    assert err == ""


def test_a_file_that_holds_no_classifier(run, tmp_path):
    path = skspeech.save(SpectralStatistics(), tmp_path / "extractor.skspeech")
    status, _, err = run("predict", path, "a.wav")
    assert status == 2
    assert "holds a SpectralStatistics, no classifier" in err
    skspeech.save(GaussianNB().fit([[0.0], [1.0]], ["no", "yes"]), path)
    status, _, err = run("predict", path, "a.wav")
    assert status == 2
    assert "holds a GaussianNB that takes no clips" in err


# -- evaluate --------------------------------------------------------------------------------------


def test_evaluate(classifier, model, folder, run, monkeypatch):
    clips = load_audio_folder(folder)
    labels = np.array(clips.target_names)[clips.target]
    wrong = folder / clips.target_names[0] / "speaker 1"
    other = folder / clips.target_names[1] / "speaker 1"
    moved = next(wrong.iterdir())
    moved.rename(other / "moved.wav")  # now its label is wrong
    clips = load_audio_folder(folder)
    labels = np.array(clips.target_names)[clips.target]
    expected = balanced_accuracy_score(labels, classifier.predict(clips.data))

    status, out, _ = run("evaluate", model, folder, "--json")
    scores = json.loads(out)
    assert status == 0
    assert scores["balanced_accuracy"] == pytest.approx(expected)
    assert scores["balanced_accuracy"] < 1
    assert scores["n_clips"] == len(labels) == np.sum(scores["confusion_matrix"])
    assert scores["classes"] == clips.target_names
    assert scores["failures"] == []

    monkeypatch.chdir(folder)
    status, out, _ = run("evaluate", model, ".")
    assert status == 0
    assert f"clips: {len(labels)} clips; balanced accuracy {expected:.3f}" in out
    assert "is \\ was said to be" in out


def test_report(model, folder, run, tmp_path):
    page = tmp_path / "report.html"
    status, out, err = run("report", model, folder, "-o", page, "--train", folder)
    assert status == 0
    assert out == ""
    assert str(page) in err
    assert "also in the training part" in page.read_text()

    status, _, err = run("report", model, folder, "-o", page)
    assert status == 2
    assert "--overwrite" in err


def test_a_report_on_a_model_whose_classes_are_numbers(words, folder, run, tmp_path):
    paths = sorted(folder.rglob("*.wav"), key=lambda path: path.name)
    pipeline = make_pipeline(SpectralStatistics(), GaussianNB()).fit(paths, words.target)
    rejector = UnknownRejector(FrozenEstimator(pipeline), unknown_label=-1, random_state=0)
    table, page = tmp_path / "clips.csv", tmp_path / "page.html"
    rows = [f"{path},{code}" for path, code in zip(paths, words.target, strict=True)]
    table.write_text("\n".join(["path,label", *rows]))
    for model in (pipeline, rejector.fit(paths, words.target)):
        file = skspeech.save(model, tmp_path / "numbers.skspeech")
        status, _, err = run("report", file, table, "-o", page, "--train", table, "--overwrite")
        assert status == 0, err
        score = json.loads(run("evaluate", file, table, "--json")[1])["balanced_accuracy"]
        assert f"{100 * score:.1f} %" in page.read_text()
    file = skspeech.save(pipeline, tmp_path / "numbers.skspeech")
    for command in (["evaluate", file, folder], ["report", file, folder, "-o", tmp_path / "x"]):
        status, _, err = run(*command)
        assert status == 2
        assert "knows the classes 0, 1, 2; there are labels that are none of them" in err


@pytest.mark.parametrize("command", ["evaluate", "report"])
def test_a_folder_of_one_class_is_told(command, model, folder, run, tmp_path):
    speakers = next(folder.iterdir())
    page = ["-o", tmp_path / "page.html"] if command == "report" else []
    status, _, err = run(command, model, speakers, *page)
    assert status == 2
    assert "there are labels that are none of them: speaker 1, speaker 2, speaker 3" in err


def test_a_report_goes_on_without_bad_clips(model, folder, run, tmp_path):
    bad = _bad_clip(folder)
    page = tmp_path / "report.html"
    status, _, err = run("report", model, folder, "-o", page, "--train", folder)
    assert status == 1
    assert err.count(f"1 of 37 clips can't be read:\n  {bad}: is not audio") == 2
    text = html.unescape(page.read_text().replace("<wbr>", ""))
    assert f"{bad}: is not audio" in text
    assert "1 clip can't be read, and is left out" in text


def test_folders_of_mixed_depth(model, folder, run, tmp_path, quick_line_up):
    loose = next(folder.rglob("00.wav"))
    loose.rename(loose.parents[1] / "loose.wav")
    status, _, err = run(*_fit(folder, tmp_path / "m.skspeech"))
    assert status == 2
    assert "loose.wav" in err
    assert "go on without groups: --groups none" in err
    assert run(*_fit(folder, tmp_path / "m.skspeech", "--groups", "none"))[0] == 0
    page = tmp_path / "page.html"
    for command in (["evaluate", model, folder], ["report", model, folder, "-o", page]):
        status, _, err = run(*command)  # groups are not in the way of a score
        assert status == 0
        assert "loose.wav" in err
        assert "Here it goes on without groups." in err


def test_evaluate_tells_bad_clips(model, folder, run):
    bad = _bad_clip(folder)
    status, out, err = run("evaluate", model, folder, "--json")
    assert status == 1
    assert json.loads(out)["failures"][0]["path"] == str(bad)
    assert str(bad) in err


def test_scores_of_classes_that_do_not_occur():
    scores = Scores(["a", "b", "c"], ["a", "a", "b"], ["a", "b", "b"], np.full((3, 3), 1 / 3))
    assert scores.balanced_accuracy == 0.75  # of the two classes that there are
    assert scores.accuracy == pytest.approx(2 / 3)
    assert scores.log_loss == pytest.approx(np.log(3))
    assert np.isnan(scores.recall[2])
    assert scores.precision[:2].tolist() == [1.0, 0.5]
    assert json.loads(shown.to_json(scores.as_dict()))["per_class"]["c"]["recall"] is None


def test_json_is_utf8_whatever_files_are_called():
    row = {"path": os.fsdecode(b'bad\xff\xc3\xa9 "\\.wav')}
    assert json.loads(shown.to_json(row).encode("utf-8")) == row


def test_many_classes_are_told_by_their_confusions(capsys):
    names = [f"[class {i}]" for i in range(30)]
    scores = Scores(names, names, [names[1], *names[1:]])
    shown.print_scores(scores, "Test")
    out = capsys.readouterr().out
    assert "[class 0] was said to be [class 1]: once" in out
    assert len(out.splitlines()) < 50


# -- embed -----------------------------------------------------------------------------------------


def test_embed_npz(folder, tmp_path, run):
    output = tmp_path / "features.npz"
    status, out, err = run("embed", "spectral-statistics", folder, "-o", output)
    assert (status, out) == (0, "")
    assert "36 of 36 clips" in err
    paths = load_audio_folder(folder).data
    with np.load(output) as archive:
        assert archive["paths"].tolist() == paths
        np.testing.assert_array_equal(archive["features"], SpectralStatistics().transform(paths))
        assert len(archive["feature_names"]) == archive["features"].shape[1]
        assert str(archive["extractor"]) == "SpectralStatistics()"
    assert not list(tmp_path.glob(".*"))  # nothing is left over


def test_embed_parquet(folder, tmp_path, run):
    import pandas as pd

    output = tmp_path / "features.parquet"
    assert run("embed", "SpectralStatistics", folder, "-o", output, "-q")[0] == 0
    table = pd.read_parquet(output)
    paths = load_audio_folder(folder).data
    assert table["path"].tolist() == paths
    np.testing.assert_array_equal(
        table.drop(columns="path").to_numpy(), SpectralStatistics().transform(paths)
    )


def test_embed_leaves_bad_clips_out_and_says_so(folder, tmp_path, run):
    bad = str(_bad_clip(folder))
    output = tmp_path / "features.npz"
    status, _, err = run("embed", "spectral-statistics", folder, "-o", output)
    assert status == 1
    assert bad in err
    assert "36 of 37 clips" in err
    with np.load(output) as archive:
        assert bad not in archive["paths"]


def test_an_interrupted_embed_goes_on_where_it_was(folder, tmp_path, run, monkeypatch):
    output = tmp_path / "features.npz"
    n_computed = []
    original = SpectralStatistics._compute

    def counted(self, clips, todo, pooled):
        n_computed.append(len(todo))
        if len(n_computed) == 3:
            raise KeyboardInterrupt
        return original(self, clips, todo, pooled)

    monkeypatch.setattr(SpectralStatistics, "_compute", counted)
    monkeypatch.setattr(embed, "CHUNK", 10)
    arguments = ("embed", "spectral-statistics", folder, "-o", output)
    skspeech.cache.clear()  # as in a new process
    status, _, err = run(*arguments)
    assert status == 130
    assert "run the same command again to go on" in err
    assert not output.exists()
    assert n_computed == [10, 10, 10]

    skspeech.cache.clear()
    assert run(*arguments)[0] == 0
    assert n_computed[3:] == [10, 6]  # the first twenty were there
    with np.load(output) as archive:
        expected = SpectralStatistics(memory=False).transform(archive["paths"].tolist())
        np.testing.assert_array_equal(archive["features"], expected)


def test_embed_replaces_only_when_asked(folder, tmp_path, run):
    output = tmp_path / "features.npz"
    output.write_text("precious")
    status, _, err = run("embed", "spectral-statistics", folder, "-o", output)
    assert status == 2
    assert "add --overwrite" in err
    assert output.read_text() == "precious"
    assert run("embed", "spectral-statistics", folder, "-o", output, "--overwrite")[0] == 0
    with np.load(output) as archive:
        assert len(archive["paths"]) == 36


def test_embed_parameters(folder, tmp_path, run):
    output = tmp_path / "features.npz"
    status, _, _ = run(
        *("embed", "spectral-statistics", folder, "-o", output),
        *("-p", "max_duration=0.2", "-p", "n_jobs=1"),
    )
    assert status == 0
    paths = load_audio_folder(folder).data
    with np.load(output) as archive:
        expected = SpectralStatistics(max_duration=0.2).transform(paths)
        np.testing.assert_array_equal(archive["features"], expected)


@pytest.mark.parametrize(
    ("parameter", "message"),
    [
        ("errors=warn", "takes no parameter errors"),
        ("memory=here", "takes no parameter memory"),
        ("sampling_rate=8000", "takes no parameter sampling_rate"),
        ("=3", "is not of the form name=value"),
    ],
)
def test_embed_keeps_some_parameters_for_itself(parameter, message, folder, tmp_path, run):
    output = tmp_path / "features.npz"
    status, _, err = run("embed", "spectral-statistics", folder, "-o", output, "-p", parameter)
    assert status == 2
    assert message in err
    assert not output.exists()


# -- weights, benchmark, info ----------------------------------------------------------------------


def test_weights(run, tmp_path, monkeypatch):
    monkeypatch.setenv("SKSPEECH_CACHE", str(tmp_path))
    status, out, _ = run("weights", "list", "--json")
    rows = {row["name"]: row for row in json.loads(out)}
    assert status == 0
    assert rows["ge2e"]["licence"] == "Apache-2.0"
    assert not any(row["cached"] for row in rows.values())
    assert all(row["path"].startswith(str(tmp_path)) for row in rows.values())
    status, out, _ = run("weights", "path", "ge2e")
    assert (status, out.strip()) == (1, rows["ge2e"]["path"])  # it is not there
    assert run("weights", "verify", "ge2e")[0] == 1
    status, out, _ = run("weights", "list", "ge2e")
    assert status == 0
    assert out.startswith("ge2e ")


@pytest.mark.network
def test_weights_that_are_there(run):
    assert run("weights", "fetch", "ge2e")[0] == 0
    status, out, _ = run("weights", "verify", "ge2e")
    assert (status, out) == (0, "ge2e: intact\n")
    assert json.loads(run("weights", "list", "ge2e", "--json")[1])[0]["cached"]


def test_info(run, model):
    status, out, _ = run("info", "--json")
    facts = json.loads(out)
    assert status == 0
    assert facts["skspeech"] == skspeech.__version__
    assert facts["packages"]["numpy"] == np.__version__
    assert facts["devices"][0] == "cpu"
    out = run("info")[1]
    (begins,) = {len(re.match(r"[\w -]+: *", line)[0]) for line in out.splitlines()}  # columns
    assert begins == len("not cached: ")
    out = run("info", model)[1]
    assert "members:  model.skops (0.0 MB)" in out
    facts = json.loads(run("info", model, "--json")[1])
    assert facts["model"] == "sklearn.pipeline.Pipeline"
    assert len(facts["classes"]) == 3


_CONSTANT_MODEL = """
import numpy as np

class Model:
    def __init__(self, metadata):
        self.done_training = False
        self.n_classes = metadata["class_num"]

    def train(self, dataset, remaining_time_budget=None):
        print("training")
        self.done_training = True

    def test(self, X_test, remaining_time_budget=None):
        return np.eye(self.n_classes)[np.zeros(len(X_test), dtype=int)]
"""


def test_benchmark(tmp_path, capfd):
    from skspeech.challenge import save_autospeech

    X, y = labelled_tones(12, [0, 1], duration=0.2)
    save_autospeech(tmp_path / "data", X[:6], y[:6], X[6:], y[6:], time_budget=20)
    (tmp_path / "code").mkdir()
    (tmp_path / "code" / "model.py").write_text(_CONSTANT_MODEL)
    arguments = [
        "benchmark",
        str(tmp_path / "data"),
        "--code-dir",
        str(tmp_path / "code"),
        "--json",
    ]
    for name in ("output", "score"):
        arguments += [f"--{name}-dir", str(tmp_path / name)]
    assert main(arguments) == 0
    out, err = capfd.readouterr()
    result = json.loads(out)  # what the model prints is not among it
    assert "training" in err
    assert result["success"] is True
    assert result["scores"] == [0.5]
    assert (tmp_path / "score" / "scores.txt").exists()


@pytest.mark.parametrize(
    ("setting", "reason"),
    [
        (("PIP_INDEX_URL", "http://127.0.0.1:9/simple"), "index can't be reached (Connection ref"),
        (("PIP_NO_INDEX", "1"), "No matching distribution found for"),
    ],
)
def test_missing_weights_are_told_once_and_before_anything_is_decoded(
    setting, reason, folder, tmp_path, run, monkeypatch
):
    monkeypatch.setenv("SKSPEECH_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv(*setting)
    monkeypatch.setattr("skspeech.weights._fetching._copy_installed", lambda *_: False)
    monkeypatch.setattr("skspeech.audio.clips.Clip.load", lambda *_, **__: pytest.fail("decoded"))
    status, out, err = run(*_fit(folder, tmp_path / "m.skspeech", "-q"))
    assert (status, out) == (1, "")
    assert err.startswith(
        "Error: The pretrained weights ge2e, moonshine-tiny, smart-turn, speech-embedding "
        "are not on this machine "
    )
    assert reason in err
    assert "    skspeech weights fetch ge2e moonshine-tiny smart-turn speech-embedding\n" in err
    assert "WARNING" not in err
    assert err.count("python -m pip download ") == 4
    assert len(err.splitlines()) == 9
    assert not (tmp_path / "m.skspeech").exists()


@pytest.mark.parametrize("command", ["predict", "evaluate", "report", "timeline", "embed"])
def test_missing_weights_are_told_by_all_commands_alike(
    command, folder, tmp_path, run, monkeypatch
):
    def none_to_fetch(name, **_):
        raise WeightsNotFoundError("not read", "nobody is there.")

    pipeline = make_pipeline(SpeakerEmbedding(), GaussianNB())
    pipeline[-1].fit(np.zeros((2, 2)), ["a", "b"])
    model = skspeech.save(pipeline, tmp_path / "m.skspeech")
    monkeypatch.setenv("SKSPEECH_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr("skspeech.weights.store.fetch_weights", none_to_fetch)
    assert (
        "networks: ge2e; to have what is missing: skspeech weights fetch ge2e\n"
        in (run("info", model)[1])
    )
    more = {"report": ["-o", tmp_path / "r.html"], "embed": ["-o", tmp_path / "e.npz"]}
    what = "speaker" if command == "embed" else model
    status, out, err = run(command, what, folder, *more.get(command, []), "-q")
    assert (status, out) == (1, "")
    assert err == (
        "Error: The pretrained weights ge2e are not on this machine and can't be fetched: nobody "
        "is there.\nWith a network, this fetches them:\n    skspeech weights fetch ge2e\n"
        f"Without one, copy the folder {tmp_path / 'cache'} from a machine that has them.\n"
        f"Or run this elsewhere and put the wheels (16 MB) into {tmp_path / 'cache' / 'wheels'}:\n"
        "    python -m pip download --no-deps --only-binary :all: Resemblyzer==0.1.4\n"
    )


# -- fit -------------------------------------------------------------------------------------------


def test_speakers_that_may_be_taken_for_classes(tmp_path):
    def folders(*paths):
        for path in paths:
            (tmp_path / path).mkdir(parents=True)
        return tmp_path / paths[0].parent, {path.name for path in paths}

    def told(root, label="anger"):
        paths = [Path(root, label, who) for who in ("anna", "ben", "carl")]
        return doubtful_classes(*folders(*paths))

    assert told("alone") == ""
    for other in ("joy/anna", "joy/ben", "joy/dora", "notes"):
        (tmp_path / "many" / other).mkdir(parents=True)
    text = told("many")
    assert (
        "The sub-folders of 'anger' are taken for the classes: 'anna', 'ben', 'carl'. The " in text
    )
    assert "The folders beside it, 'joy', have sub-folders of the same names." in text
    assert text.endswith(f"give the folder above: {tmp_path / 'many'}")
    for who in ("anna", "ben", "carl"):  # parts of a data set have the same classes
        (tmp_path / "parts" / "test" / who).mkdir(parents=True)
    assert told("parts", "train") == ""
    assert told("parts", "more") == ""
    numbered = [Path("numbered", "x", f"Speaker_{i}") for i in range(3)]
    assert "If these are speakers, and 'x' is one" in doubtful_classes(*folders(*numbered))
    digits = [Path("digits", "x", str(i)) for i in range(3)]
    assert doubtful_classes(*folders(*digits)) == ""


def test_what_fit_takes_for_classes_is_told(folder, tmp_path, run, quick_line_up):
    one = sorted(folder.iterdir())[0]
    status, _, err = run(*_fit(one, tmp_path / "m.skspeech"))
    assert status == 0
    assert f"The sub-folders of {one.name!r} are taken for the classes: 'speaker 1'" in err
    assert f"give the folder above: {folder}" in err
    assert "12 clips of 4 classes, 'speaker 1', 'speaker 2', 'speaker 3', 'speaker 4'." in err
    _, _, err = run(*_fit(folder, tmp_path / "whole.skspeech"))
    assert "are taken for" not in err


def _fit(folder, output, *more):
    return ["fit", folder, "-o", output, "--time-budget", "20", "--preset", "fast", *more]


@pytest.fixture
def quick(monkeypatch):
    """The line-up is one candidate, which needs no network."""

    def candidates(*_, **__):
        model = make_pipeline(SpectralStatistics(n_jobs=1), ShrinkageDiscriminantAnalysis())
        return [Candidate("spectra", model, where="main")]

    monkeypatch.setattr("skspeech.time_budget.line_ups.default_candidates", candidates)


@pytest.fixture(scope="module")
def crowd(tmp_path_factory):
    """Clips of three words by six speakers; one more word is said by the first speaker only."""
    words = make_speech_like(54, n_classes=3, n_speakers=6, duration=0.5, random_state=0)
    root = tmp_path_factory.mktemp("crowd") / "clips"
    for i, (waveform, code, speaker) in enumerate(
        zip(words.data, words.target, words.groups, strict=True)
    ):
        label = "rare" if speaker == "speaker 1" and i % 3 == 0 else words.target_names[code]
        place = root / label / speaker
        place.mkdir(parents=True, exist_ok=True)
        soundfile.write(place / f"{i:02}.wav", waveform, 16_000)
    return root


def _quick_fit(folder, output, *more):
    return ["fit", folder, "-o", output, "--time-budget", "60", *more]


@pytest.mark.filterwarnings("ignore:1 class has too few")
def test_fit_says_which_groups_were_held_out_and_what_each_scores(quick, crowd, tmp_path, run):
    model = tmp_path / "m.skspeech"
    command = _quick_fit(crowd, model, "--test-size", "0.3")
    status, out, err = run(*command)
    assert status == 0
    n_train, n_held_out = re.search(r"(\d+) clips of .*; (\d+) more are held out", err).groups()
    n_all = int(n_train) + int(n_held_out)
    page = tmp_path / "page.html"
    _, _, of_report = run("report", model, crowd, "-o", page, "--train", crowd)
    assert f"The model was trained on {n_train} of the {n_all} clips of {crowd}." in of_report
    assert f"{n_train} training clips" in page.read_text()
    told = re.search(r"more are held out, the groups '(speaker \d)', '(speaker \d)'\.", err)
    assert "None of them is of 'rare': there is only one group to learn from." in err
    for group in told.groups():
        assert group != "speaker 1"
        assert re.search(rf"^ *{group} +9 +[01]\.\d+ ", out, re.M)
    assert "There is no honest interval: only 2 groups." in out
    assert "cross-validate scores all groups, each of them once." in out
    lines = err.splitlines()
    standing = [re.sub(r"^\[.*?\] ", "", line) for line in lines if "balanced accuracy" in line]
    assert len(standing) == len(set(standing))  # a line is told once
    others = {
        tuple(np.unique(split(read_labelled(crowd), 0.3, seed=seed)[1].groups))
        for seed in (1, 2, 3)
    }
    assert len(others) > 1


def test_a_mistake_leaves_no_folder_for_the_split(folder, tmp_path):
    place = tmp_path / "split"
    arguments = ["--test-size", "0.2", "--save-split", str(place), "--label-column", "x"]
    assert main(["fit", str(folder), "-o", str(tmp_path / "m.skspeech"), *arguments]) == 2
    assert not place.exists()


def test_a_flaw_of_a_clip_is_told_once_whoever_reads_it():
    told = set()
    one = "1 of 3 clips has a flaw and is used as found:\n  [2] a.wav: lasts 1 s."
    assert news(one, told) == one.replace("[2] ", "")
    assert news(one.replace("[2]", "[0]").replace("of 3", "of 9"), told) == ""
    more = one + "\n  [5] b.wav: lasts 2 s."
    assert news(more, told).splitlines()[1:] == ["  b.wav: lasts 2 s."]
    assert news("Something else.", told) == "Something else."
    assert news("Something else.", told) == ""


@pytest.mark.filterwarnings("ignore:1 class has too few")
def test_a_split_is_saved_and_the_model_knows_its_training_clips(quick, crowd, tmp_path, run):
    output, folder = tmp_path / "m.skspeech", tmp_path / "split"
    command = _quick_fit(crowd, output, "--test-size", "0.3", "--save-split", folder, "--json")
    status, out, err = run(*command)
    held_out = json.loads(out)["held_out"]
    assert status == 0
    train, test = (read_labelled(folder / f"{part}.csv") for part in ("train", "test"))
    assert len(train) + len(test) == 54
    assert set(train.groups.tolist()).isdisjoint(test.groups.tolist())

    status, out, _ = run("evaluate", output, folder / "test.csv", "--json")
    scores = json.loads(out)
    assert (status, scores["n_trained_on"], scores["trained_on"]) == (0, 0, None)
    assert {key: scores[key] for key in held_out} == held_out
    held_out_part, page = folder / "test.csv", tmp_path / "held_out.html"
    _, _, err = run("report", output, held_out_part, "-o", page, "--train", held_out_part)
    assert f"The model was trained on none of the {len(test)} clips of {held_out_part}." in err
    assert "raining clip" not in page.read_text().replace("Give the training clips too", "")

    for path in list(crowd.rglob("*.wav")):  # whatever clips are called
        path.rename(path.with_name(f"renamed {path.name}"))
    try:
        scores = json.loads(run("evaluate", output, crowd, "--json")[1])
        assert (scores["n_trained_on"], scores["trained_on"]["n_clips"]) == (len(train), len(train))
        assert scores["balanced_accuracy"] == held_out["balanced_accuracy"]
        _, out, _ = run("evaluate", output, crowd)
        assert f"The model was trained on {len(train)} of these 54 clips." in out
        assert "Clips that it was trained on, which say nothing of new ones: " in out
        page = tmp_path / "page.html"
        _, _, err = run("report", output, crowd, "-o", page)
        assert f"The model was trained on {len(train)} of these 54 clips." in err
        assert f"{len(train)} test clips are also in the training part" in page.read_text()
    finally:
        for path in list(crowd.rglob("*.wav")):
            path.rename(path.with_name(path.name.removeprefix("renamed ")))

    scores = json.loads(run("evaluate", output, folder / "train.csv", "--json")[1])  # nothing new
    assert (scores["n_clips"], scores["balanced_accuracy"]) == (0, None)
    assert run(*command)[0] == 2  # nothing is overwritten


def test_copies_of_training_clips_are_not_scored(quick, folder, tmp_path, run):
    """As `evaluate` knows them, whoever is held out."""
    for path in folder.rglob("00.wav"):
        for speaker in path.parents[1].iterdir():
            if speaker != path.parent:
                shutil.copy(path, speaker / "copy.wav")
    output, place = tmp_path / "m.skspeech", tmp_path / "split"
    command = _quick_fit(folder, output, "--test-size", "0.25", "--save-split", place, "--json")
    status, out, err = run(*command)
    assert status == 0
    assert re.search("[12] held-out clips? (is|are) not scored: the same sound is trained on", err)
    held_out = json.loads(out)["held_out"]
    scores = json.loads(run("evaluate", output, place / "test.csv", "--json")[1])
    assert (held_out["n_clips"], scores["trained_on"]) == (scores["n_clips"], None)
    assert scores["balanced_accuracy"] == held_out["balanced_accuracy"]

    status, out, err = run("cross-validate", folder, "--folds", "2", "--json")
    assert (status, json.loads(out)["n_clips"]) == (0, 35)
    assert "4 held-out clips are not scored: the same sound is trained on." in err
    assert "35 of 39 clips are held out once." in err
    status, out, err = run("cross-validate", folder, "--folds", "3", "--groups", "none", "--json")
    assert (status, json.loads(out)["n_clips"]) == (0, 39)
    assert "39 of 39 clips are held out once." in err  # a sound and its copies together
    labelled = read_labelled(folder, groups="none")
    train, test = split(labelled, 0.25, seed=0)
    assert sorted(train.paths + test.paths) == sorted(labelled.paths)
    assert not (
        {Path(p).read_bytes() for p in train.paths} & {Path(p).read_bytes() for p in test.paths}
    )
    (one, other) = (sorted(folder.rglob(name))[0] for name in ("00.wav", "01.wav"))
    paths, labels = [one, one, other, other], np.array(["a", "a", "b", "b"])
    with pytest.raises(ValueError, match="each sound would be trained on, too"):
        split(Labelled(paths, labels, None), 0.5, seed=0)


@pytest.mark.filterwarnings("ignore:1 class has too few")
def test_other_clips_of_speakers_that_were_trained_on_are_scored_apart(quick, crowd, tmp_path, run):
    output, train = tmp_path / "m.skspeech", tmp_path / "train.csv"
    rows = [
        (path, path.parts[-3], path.parts[-2])
        for path in sorted(crowd.rglob("*.wav"))
        if path.parts[-2] in ("speaker 2", "speaker 3", "speaker 4")
    ]
    with open(train, "w", newline="") as file:  # half of what each of three speakers says
        csv.writer(file).writerows([("path", "label", "group"), *rows[::2]])
    assert run(*_quick_fit(train, output))[0] == 0

    others = tmp_path / "others.csv"
    all_rows = [
        (path, path.parts[-3], path.parts[-2])
        for path in sorted(crowd.rglob("*.wav"))
        if path.parts[-3] != "rare"
    ]
    with open(others, "w", newline="") as file:
        csv.writer(file).writerows([("path", "label", "group"), *all_rows])
    status, out, _ = run("evaluate", output, others, "--json")
    scores = json.loads(out)
    n_known, n_trained = len(rows) - len(rows[::2]), len(rows[::2])
    assert status == 0
    assert (scores["n_trained_on"], scores["trained_on"]["n_clips"]) == (n_trained, n_trained)
    assert scores["known_groups"]["n_clips"] == n_known
    assert scores["n_clips"] == len(all_rows) - len(rows)
    assert set(scores["per_group"]).isdisjoint(scores["known_groups"]["per_group"])

    _, out, _ = run("evaluate", output, others)
    told = "and on others of the groups 'speaker 2', 'speaker 3', 'speaker 4', which are scored"
    assert f"was trained on {n_trained} of these {len(all_rows)} clips, {told} apart." in out
    assert "Other clips of groups that it was trained on, which say little of new groups: " in out
    page = tmp_path / "page.html"
    _, _, err = run("report", output, others, "-o", page)
    assert told in err
    assert "3 groups are also in the training part" in page.read_text()

    _, out, _ = run("evaluate", output, others, "--groups", "none")
    assert "whether on their speakers can't be told, as no groups are given here." in out
    assert "Other clips of groups" not in out


def test_a_file_that_does_not_know_its_training_clips_says_so(model, folder, run):
    assert "does not say which clips it was trained on" in run("evaluate", model, folder)[1]


@pytest.mark.filterwarnings("ignore:1 class has too few")
@pytest.mark.slow
def test_the_final_model_is_trained_on_everything(quick, crowd, tmp_path, run):
    output = tmp_path / "m.skspeech"
    status, out, err = run(*_quick_fit(crowd, output, "--test-size", "0.3", "--refit-all"))
    assert status == 0
    assert "Training again, on all 54 clips." in err
    assert re.search(
        r"trained on all 54 clips; the scores above are of the one that .* on \d+ ", out
    )
    _, out, _ = run("evaluate", output, crowd)
    assert "The model was trained on 54 of these 54 clips." in out


def test_a_model_of_all_clips_that_is_not_ready_is_told_by_the_status(
    quick, folder, tmp_path, run, monkeypatch
):
    trained = []

    def is_prior(classifier):
        trained.append(classifier)
        return len(trained) > 1

    monkeypatch.setattr(fit_module, "is_prior", is_prior)
    command = _quick_fit(folder, tmp_path / "m.skspeech", "--test-size", "0.3", "--refit-all")
    status, _, err = run(*command)
    assert status == 1
    assert "The model of all clips is not ready" in err


@pytest.mark.parametrize("option", [["--refit-all"], ["--save-split", "folder"]])
def test_what_is_about_held_out_clips_needs_some(option, folder, tmp_path, run):
    status, _, err = run("fit", folder, "-o", tmp_path / "m.skspeech", *option)
    assert status == 2
    assert f"{option[0]} needs --test-size" in err


@pytest.mark.filterwarnings("ignore:1 class has too few")
@pytest.mark.slow
def test_cross_validation_scores_each_group_once(quick, crowd, tmp_path, run):
    page = tmp_path / "page.html"
    command = ["cross-validate", crowd, "--time-budget", "60"]
    status, out, err = run(*command, "--json", "-o", page)
    results = json.loads(out)
    assert status == 0
    # The first speaker has all clips of a word, which could not be learnt without him.
    assert (results["n_folds"], results["n_clips"]) == (5, 45)
    assert list(results["per_group"]) == [f"speaker {i}" for i in range(2, 7)]
    scores = [row["balanced_accuracy"] for row in results["per_group"].values()]
    interval = results["interval"]
    assert interval["low"] <= np.mean(scores) <= interval["high"]
    assert interval["meaning"] == "for a new group, from 5 of them"
    assert "5 trainings of up to 60 s each; 45 of 54 clips are held out once." in err
    assert "Not scored, because they have only one group: rare." in err
    assert (
        len(re.findall(r"^Fold \d of 5: balanced accuracy \d\.\d+ of 9 clips of", err, re.M)) == 5
    )
    text = page.read_text()
    assert "Scores per group" in text
    assert "Leaderboard" not in text

    status, out, _ = run(*command, "-q", "--groups", "none", "--folds", "2")
    assert status == 0
    assert re.search(r"2 folds: 53 clips; balanced accuracy .*9 times of 10 it is", out, re.S)


@pytest.mark.filterwarnings("ignore:1 class has too few")
def test_folds_that_can_t_be_made_are_told(quick, crowd, run):
    status, out, err = run("cross-validate", crowd, "--time-budget", "60", "--folds", "9", "-q")
    assert (status, out[:7]) == (0, "5 folds")
    assert "5 folds in place of 9: more can't be made of these groups." in err


@pytest.mark.filterwarnings("ignore:1 class has too few")
def test_cross_validation_that_is_interrupted_tells_what_is_done(quick, crowd, run, monkeypatch):
    done = []

    def train(*arguments, **options):
        if len(done) == 2:
            raise KeyboardInterrupt
        done.append(arguments)
        return train_model(*arguments, **options)

    monkeypatch.setattr("skspeech.cli.cross_validate.train_model", train)
    status, out, _ = run("cross-validate", crowd, "--time-budget", "60")
    assert status == 130
    assert "2 folds: 18 clips" in out


@pytest.mark.filterwarnings("ignore:1 class has too few")
def test_a_fold_without_a_model_leaves_the_others(quick, crowd, run, monkeypatch):
    trained = []

    def is_prior(classifier):
        trained.append(classifier)
        return len(trained) == 2

    monkeypatch.setattr("skspeech.cli.cross_validate.is_prior", is_prior)
    status, out, err = run("cross-validate", crowd, "--time-budget", "60", "--folds", "3")
    assert status == 1
    assert len(trained) == 3
    assert "Fold 2 of 3 is not scored: No classifier was ready within 60 s." in err
    assert re.search(r"2 folds: \d+ clips", out)
    assert "Interrupted" not in err


def test_a_fold_may_lack_a_class(folder, classifier):
    """All of its clips in the training part could not be read."""
    labelled = read_labelled(folder)
    labels = ["another", *classifier.classes_]
    answers = _Answers(labelled, labels, [])
    labelled.groups = np.array([f"speaker {i:02}" for i in range(len(labelled))])
    text = answers.add(classifier, np.arange(len(labelled)))
    assert text.endswith(
        " of 36 clips of 'speaker 00', 'speaker 01', 'speaker 02', 'speaker 03', "
        "'speaker 04' and 31 more."
    )
    scores = answers.scores()
    expected = balanced_accuracy_score(labelled.labels, classifier.predict(labelled.paths))
    assert scores.balanced_accuracy == pytest.approx(expected)


@pytest.mark.filterwarnings("ignore:1 class has too few")
@pytest.mark.parametrize(
    ("error", "status", "message"),
    [
        (KeyboardInterrupt(), 130, "Interrupted: the report is not written."),
        (OSError(28, "No space left on device"), 1, "The report can't be written: No space left"),
    ],
)
def test_scores_of_all_folds_outlive_a_report_that_fails(
    error, status, message, quick, crowd, tmp_path, run, monkeypatch
):
    def write(*arguments, **options):
        raise error

    monkeypatch.setattr("skspeech.report.write_report", write)
    command = ["cross-validate", crowd, "--time-budget", "60", "--folds", "2"]
    for form in ([], ["--json"]):
        got, out, err = run(*command, "-o", tmp_path / "page.html", *form)
        assert got == status
        assert message in err
        if form:
            assert json.loads(out)["report"] is None
        else:
            assert "2 folds: " in out
            assert "The report is in" not in out


@pytest.mark.parametrize("command", ["audit", "cross-validate", "report"])
def test_a_page_that_can_not_be_made_is_told_before_the_work(
    command, model, folder, tmp_path, run, monkeypatch
):
    monkeypatch.setitem(sys.modules, "jinja2", None)
    for work in ("audit.training_clips", "cross_validate.training_clips", "report.leave_out_bad"):
        monkeypatch.setattr(f"skspeech.cli.{work}", lambda *_, **__: pytest.fail("it works"))
    data = [model, folder] if command == "report" else [folder]
    status, _, err = run(command, *data, "-o", tmp_path / "page.html")
    assert status == 2
    assert "needs jinja2, which is not installed" in err


def test_validation_that_promised_more_is_remarked_on():
    labels = ["a", "b"] * 10
    scores = Scores(["a", "b"], labels, ["a"] * 20)
    assert "Validation said 0.950, the held-out clips say 0.500: clips are few" in (
        shown.remark_on_validation(0.95, scores)
    )
    assert shown.remark_on_validation(0.55, scores) == ""
    assert shown.remark_on_validation(float("nan"), scores) == ""
    in_groups = Scores(["a", "b"], labels, ["a"] * 20, None, ["x", "x", "y", "y"] * 5)
    assert "groups differ" in shown.remark_on_validation(0.95, in_groups)


def test_every_member_is_on_the_board(capsys):
    row = {"status": "ok", "mean_fit_time": 1.0, "predict_time": 0.001}
    board = [
        {"name": f"candidate {i}", "score": 0.9 - i / 100, "weight": float(i == 17), **row}
        for i in range(20)
    ]
    failures = [
        {"name": "candidate 18", "error": "TimeoutError: early", "status": "stopped"},
        {"name": "candidate 17", "error": "TimeoutError: late", "status": "kept as validated"},
        {"name": "candidate 18", "error": "TimeoutError: late", "status": "stopped"},
        {"name": "candidate 19", "error": "ValueError: no", "status": "failed"},
    ]
    board[18]["score"] = np.nan
    shown.print_fit(
        {
            "leaderboard": board,
            "remarks": ["The score fell from 0.95 to 0.9: of so few."],
            "failures": failures,
            "seconds": 1.0,
            "validation_score": 0.9,
        }
    )
    out = capsys.readouterr().out
    assert "candidate 17" in out.split("…")[0]
    assert "candidate 16" not in out
    assert "… and 7 more, which do not vote." in out
    assert "20 candidates, 19 of them validated, in 1.0 s; the ensemble has 1, balanced" in out
    assert "candidate 17 is kept as validated: late" in out
    assert "candidate 18 was stopped: late" in out
    assert "early" not in out  # of several trials, the last one counts
    assert "The score fell from 0.95" in out
    assert "candidate 19 failed: ValueError: no" in out


@pytest.mark.network
def test_from_a_folder_to_predictions(folder, tmp_path, run):
    output = tmp_path / "model.skspeech"
    log = tmp_path / "log.jsonl"
    status, out, err = run(
        *_fit(folder, output, "--test-size", "0.25", "--json", "--log-file", log, "-q")
    )
    results = json.loads(out)
    assert (status, err) == (0, "")
    assert results["model"] == str(output)
    assert results["validation_score"] > 0.5
    assert results["held_out"]["n_clips"] == 9  # one of four speakers
    assert {row["status"] for row in results["leaderboard"]} == {"ok"}
    assert sum(row["weight"] for row in results["leaderboard"]) == pytest.approx(1)
    assert json.loads(log.read_text().splitlines()[0])["event"] == "start"
    loaded = skspeech.load(output)
    assert loaded.random_state == 0
    assert loaded.classes_.tolist() == load_audio_folder(folder).target_names

    status, out, _ = run("evaluate", output, folder, "--json")
    assert status == 0
    assert json.loads(out)["balanced_accuracy"] > 0.5


def test_what_fit_prints(folder, tmp_path, run, quick_line_up):
    status, out, err = run(*_quick_fit(folder, tmp_path / "m.skspeech", "--test-size", "0.25"))
    assert status == 0
    assert re.search("27 clips of 3 classes, '.*', in 3 groups; 9 more are held out, the g", err)
    assert re.search(r"^\[ +\d+\.\d s\] balanced accuracy \d\.\d+: \S+", err, re.M)
    assert re.search(r"candidate +balanced accuracy +weight", out)
    assert "Held out: 9 clips; balanced accuracy" in out
    assert re.search(r"The model is in .*m\.skspeech \(0\.\d MB\)\.", out)


def test_bad_clips_in_the_training_data(folder, tmp_path, run, quick_line_up):
    """Whatever way they are bad, and with the old option that asked for it or without."""
    bad = _bad_clip(folder)
    damaged = bad.with_name("001.wav")  # what only decoding finds
    soundfile.write(damaged, np.full(8000, np.nan, dtype=np.float32), 16_000, subtype="FLOAT")
    for n, more in enumerate([(), ("--skip-bad",)]):
        output = tmp_path / f"m{n}.skspeech"
        status, out, err = run(*_fit(folder, output, "--json", *more))
        assert status == 1
        assert json.loads(out)["n_skipped"] == 2
        assert [finding["kind"] for finding in json.loads(out)["audit"]] == ["unreadable"]
        assert f"1 of 38 clips can't be read:\n  {bad}: is not audio" in err
        assert f"1 of 37 clips can't be read:\n  {damaged}: holds samples" in err
        assert "errors=" not in err
        assert len(skspeech.load(output).predict([next(folder.rglob("02.wav"))])) == 1


def test_bad_clips_that_are_found_late_are_counted(
    folder, tmp_path, run, quick_line_up, monkeypatch
):
    """In training, and among those that are held out."""
    for speaker in range(1, 5):
        path = next(folder.rglob(f"speaker {speaker}/*.wav"))
        soundfile.write(path, np.full(8000 + speaker, np.nan), 16_000, subtype="FLOAT")
    monkeypatch.setattr("skspeech.cli.audited.audited", lambda *_: [])
    status, out, _ = run(*_fit(folder, tmp_path / "m.skspeech", "--test-size", "0.25", "--json"))
    results = json.loads(out)
    assert (status, results["n_skipped"], results["held_out"]["n_clips"]) == (1, 4, 8)


def test_what_is_doubtful_is_told_before_training(folder, tmp_path, run, capsys, monkeypatch):
    options = {"groups": "auto", "n_jobs": None, "quiet": False, "strict": False}
    assert audited(read_labelled(folder), options, []) == []
    assert capsys.readouterr().err == ""
    one = next(folder.rglob("00.wav"))
    label = one.parents[1]
    label.rename(label.with_name("others"))
    (folder / "other" / "speaker 9").mkdir(parents=True)
    shutil.copy(folder / "others" / one.relative_to(label), folder / "other" / "speaker 9")
    findings = audited(read_labelled(folder), options, [])
    kinds = [finding.kind for finding in findings]
    assert kinds == ["contradiction", "similar-names", "few-clips", "uneven"]
    err = capsys.readouterr().err
    assert "Before training:\n  - 2 clips are the same sound under" in err
    assert "The names of the classes 'other' (1), 'others' (12) differ by" in err
    assert audited(read_labelled(folder), {**options, "quiet": True}, []) == findings
    assert "Before training:" in capsys.readouterr().err

    monkeypatch.setattr("skspeech.TimeBudgetClassifier.fit", lambda *_: pytest.fail("trained"))
    output = tmp_path / "m.skspeech"
    status, out, err = run(*_fit(folder, output, "--strict"))
    assert (status, out) == (2, "")
    assert "Error: Before training:\n  - 2 clips are the same sound" in err
    assert "Nothing was trained, because of --strict" in err
    assert not output.exists()


def test_no_groups_is_told_unless_there_are_none(folder, capsys):
    options = {"groups": "auto", "n_jobs": None, "quiet": False, "strict": False}
    labelled = read_labelled(folder, groups="none")
    (finding,) = audited(labelled, options, [])
    assert finding.kind == "no-groups"
    assert "  - No groups are given." in capsys.readouterr().err
    strict = {**options, "groups": "none", "strict": True}
    assert audited(labelled, strict, []) == []
    with pytest.raises(ValueError, match=r"^Nothing was trained, because of --strict"):
        audited(labelled, strict, [("a.wav", "is empty")])  # what is bad is doubtful, too


def test_no_clip_that_can_be_read(folder, tmp_path, run):
    for path in folder.rglob("*.wav"):
        path.write_text("no sound at all")
    status, out, err = run(*_fit(folder, tmp_path / "m.skspeech"))
    assert (status, out) == (2, "")
    assert "36 of 36 clips can't be read" in err
    assert "... and 16 more" in err


def test_clips_that_cannot_be_read_are_one_rule_for_all_commands(
    model, folder, tmp_path, run, quick_line_up
):
    """Status 1 where some can't be read, and the others go on; 2 where none can."""
    one, others = next(folder.rglob("00.wav")), tmp_path / "others"
    words = one.parents[1]
    for name in ("some", "none"):
        for number, path in enumerate([one, words / "bad.wav"]):
            place = others / name / words.name / f"{number}.wav"
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_bytes(path.read_bytes() if name == "some" and not number else b"no sound")
    output = tmp_path / "out"
    for command in (
        ("predict", model, "{}"),
        ("timeline", model, "{}", *TALKS),
        ("evaluate", model, "{}"),
        ("report", model, "{}", "-o", output / "page.html", "--overwrite"),
        ("embed", "spectral-statistics", "{}", "-o", output / "rows.npz", "--overwrite"),
    ):
        output.mkdir(exist_ok=True)
        for name, expected in (("some", 1), ("none", 2)):
            data = others / name
            status, out, err = run(*(data if part == "{}" else part for part in command))
            assert status == expected, (command[0], name)
            assert "1.wav: is not audio" in err
            if name == "none" and command[0] != "report":
                assert re.search("None of the 2 (clips|recordings) can be read", err)
            assert ("0.wav: is not audio" in err) == (name == "none")
            assert bool(out or list(output.iterdir())) == (name == "some"), (command[0], name)
            shutil.rmtree(output)
            output.mkdir()


def test_advice_about_bad_clips_is_in_the_words_of_the_command(model, run, monkeypatch):
    def unreadable(*_, **__):
        raise AudioError([(3, "a.wav", "is not audio.")], 9, "Or errors='warn'.")

    monkeypatch.setattr(predict, "load_classifier", unreadable)
    status, _, err = run("predict", model, "a.wav")
    assert (status, err) == (2, "Error: 1 of 9 clips can't be read:\n  a.wav: is not audio.\n")


@pytest.fixture
def quick_line_up(monkeypatch):
    """One candidate that needs no weights."""
    pipeline = make_pipeline(SpectralStatistics(), ShrinkageDiscriminantAnalysis())
    monkeypatch.setattr(
        "skspeech.time_budget.line_ups.default_candidates",
        lambda *_, **__: [Candidate("quick", pipeline, where="main", first=True)],
    )


@pytest.mark.filterwarnings("default::UserWarning")
def test_no_model_is_no_model_file(folder, tmp_path, run, monkeypatch):
    """Classes' frequencies, which a fit without any result falls back to, are not worth a file."""
    monkeypatch.setattr(
        "skspeech.time_budget.line_ups.default_candidates",
        lambda *_, **__: [Candidate("hopeless", _Hopeless())],
    )
    output = tmp_path / "m.skspeech"
    status, out, err = run("fit", folder, "-o", output, "--time-budget", "1")
    assert (status, out) == (2, "")
    assert "No classifier was ready within 1 s. Give more time: --time-budget." in err
    assert err.endswith("So no model was trained, and none is saved.\n")
    assert "TimeoutError" not in err
    assert not output.exists()


class _Hopeless(ShrinkageDiscriminantAnalysis):
    def fit(self, X, y):
        time.sleep(60)


@pytest.mark.network
@pytest.mark.slow
@pytest.mark.parametrize("request_to_end", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupt_saves_the_best_so_far(request_to_end, folder, tmp_path):
    output = tmp_path / "model.skspeech"
    process = subprocess.Popen(
        [*INTERRUPTIBLE, "fit", str(folder), "-o", str(output), "--time-budget", "100"],
        stderr=subprocess.PIPE,
        text=True,
    )
    for line in process.stderr:
        if re.search(r"validated yet|balanced accuracy", line):
            process.send_signal(request_to_end)
            break
    err = process.stderr.read()
    assert process.wait(60) == 130
    process.stderr.close()
    assert "Interrupted: the best model so far is in" in err
    assert "Traceback" not in err
    loaded = skspeech.load(output)
    assert len(loaded.predict(load_audio_folder(folder).data[:2])) == 2


def test_an_interrupt_before_there_is_anything(folder, tmp_path, run, monkeypatch):
    def interrupted(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr("skspeech.TimeBudgetClassifier.fit", interrupted)
    status, out, err = run("fit", folder, "-o", tmp_path / "m.skspeech")
    assert (status, out) == (130, "")
    assert "nothing is saved" in err
    assert not (tmp_path / "m.skspeech").exists()


def _fails_in(folder, monkeypatch, *, everywhere=False):
    """Saving finds no space left on the disk of a folder."""
    original = skspeech.persistence.save

    def save(model, path, **options):
        if everywhere or path.parent == folder:
            raise OSError(errno.ENOSPC, "No space left on device", str(path))
        return original(model, path, **options)

    monkeypatch.setattr(skspeech.persistence, "save", save)


def test_a_full_disk_at_the_end(folder, tmp_path, run, quick_line_up, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "elsewhere"))
    (tmp_path / "elsewhere").mkdir()
    output = tmp_path / "m.skspeech"
    _fails_in(tmp_path, monkeypatch)
    status, out, err = run(*_fit(folder, output, "--test-size", "0.25"))
    assert status == 1
    assert "Held out: 9 clips; balanced accuracy" in out
    assert f"The model can't be saved as {output}: No space left on device." in err
    (saved,) = (tmp_path / "elsewhere").rglob("m.skspeech")
    assert f"It is saved as {saved} instead" in err
    assert f"The model is in {saved}" in out
    assert len(skspeech.load(saved).classes_) == 3

    _fails_in(tmp_path, monkeypatch, everywhere=True)
    status, out, err = run(*_fit(folder, output, "--test-size", "0.25", "--json"))
    assert status == 1
    assert "no model is saved" in err
    assert json.loads(out)["model"] is None
    assert json.loads(out)["held_out"]["n_clips"] == 9


@pytest.mark.parametrize("times", [1, 2])
def test_ctrl_c_scores_what_there_is_and_a_second_one_gives_up(
    times, folder, tmp_path, run, quick_line_up, monkeypatch
):
    pressed = []

    def press_at_the_first_answer(self, event):
        if event["event"] == "interrupted":
            original(self, event)
        if event["event"] in ("snapshot", "interrupted") and len(pressed) < times:
            pressed.append(event["event"])
            signal.raise_signal(signal.SIGINT)

    original = FitProgress.__call__
    monkeypatch.setattr(FitProgress, "__call__", press_at_the_first_answer)
    output = tmp_path / "m.skspeech"
    status, out, err = run(*_fit(folder, output, "--test-size", "0.25", "-q"))
    assert status == 130
    assert "press Ctrl-C again to give up" in err
    if times == 1:
        assert "Held out: 9 clips; balanced accuracy" in out
        assert f"the best model so far is in {output}" in err
        assert len(skspeech.load(output).classes_) == 3
    else:
        assert pressed == ["snapshot", "interrupted"]
        assert out == ""
        assert err.endswith("Interrupted.\n")
        assert not output.exists()


@pytest.mark.parametrize("command", ["cross-validate", "fit"])
def test_a_training_that_is_not_kept_is_not_said_to_be_saved(
    command, folder, tmp_path, run, quick_line_up, monkeypatch
):
    """The training on one fold, and that on all clips after the scoring."""
    n_trainings = []

    def press_in_the_second_training(self, event):
        if event["event"] == "interrupted":
            original(self, event)
        if event["event"] == "snapshot" and self not in n_trainings:
            n_trainings.append(self)
            if len(n_trainings) == 2:
                signal.raise_signal(signal.SIGINT)

    original = FitProgress.__call__
    monkeypatch.setattr(FitProgress, "__call__", press_in_the_second_training)
    if command == "fit":
        output = tmp_path / "m.skspeech"
        arguments = _fit(folder, output, "--test-size", "0.25", "--refit-all")
    else:
        arguments = [command, folder, "--time-budget", "60", "--folds", "3"]
    status, out, err = run(*arguments)
    assert status == 130
    assert "The training ends." in err
    assert "aving" not in err
    assert ("1 fold: " if command == "cross-validate" else "Held out: ") in out


@pytest.mark.parametrize("command", ["cross-validate", "fit"])
def test_what_was_made_is_there_if_nobody_reads_what_is_said(
    command, folder, tmp_path, quick_line_up, monkeypatch
):
    """As with `| head`, also behind `2>&1`."""
    output = tmp_path / "made"
    monkeypatch.setattr("skspeech.report.write_report", lambda *_, **__: output.touch())
    arguments = _fit(folder, output, "--test-size", "0.25")
    if command == "cross-validate":
        arguments = [command, folder, "-o", output, "--time-budget", "60", "--folds", "2"]
    for name in ("stdout", "stderr"):
        reader, writer = os.pipe()
        os.close(reader)
        monkeypatch.setattr(sys, name, open(writer, "w"))  # noqa: SIM115
    assert main([str(argument) for argument in arguments]) == 1
    assert output.exists()
    sys.stdout.close()
    sys.stderr.close()


def test_no_clips_on_standard_input(tmp_path, run, monkeypatch):
    monkeypatch.setattr("skspeech.cli.embed.iter_paths", lambda _: iter(()))
    status, _, err = run("embed", "spectral-statistics", "-", "-o", tmp_path / "f.npz")
    assert (status, err) == (2, "Error: No clips are named on standard input.\n")


@pytest.mark.parametrize("phase", ["saving", "scoring"])
def test_ctrl_c_after_the_training(phase, folder, tmp_path, run, quick_line_up, monkeypatch):
    """What is being saved is saved, and a model that is saved need not be scored."""
    module = skspeech.persistence if phase == "saving" else fit_module
    name = "save" if phase == "saving" else "score"
    original = getattr(module, name)

    def interrupted(*arguments, **options):
        signal.raise_signal(signal.SIGINT)
        return original(*arguments, **options)

    monkeypatch.setattr(module, name, interrupted)
    output = tmp_path / "m.skspeech"
    status, out, err = run(*_fit(folder, output, "--test-size", "0.25", "-q"))
    assert status == 130
    assert len(skspeech.load(output).classes_) == 3
    assert ("Held out" in out) == (phase == "saving")
    assert ("was not scored" in err) == (phase == "scoring")


# -- Progress --------------------------------------------------------------------------------------

EVENTS = [
    {"event": "start", "time": 0.0, "n_clips": 9, "n_classes": 3},
    {"event": "task", "time": 1.0, "candidate": "network", "kind": "fold", "fold": 0},
    {"event": "embedding", "time": 1.0, "candidate": "words", "n_rows": 5, "level": 5},
    {"event": "snapshot", "time": 2.0, "score": float("nan"), "members": {"speaker": 1.0}},
    {"event": "snapshot", "time": 3.0, "score": 0.75, "members": {"speaker": 0.5, "words": 0.5}},
    {"event": "snapshot", "time": 3.5, "score": 0.75, "members": {"speaker": 0.5, "words": 0.5}},
    {"event": "candidate", "time": 3.0, "candidate": "words", "fold": 0, "score": 1, "final": True},
    {"event": "failure", "time": 4.0, "candidate": "music", "exception": "ValueError: [no] sound"},
]


def test_progress_in_lines(capsys):
    with FitProgress(60.0, quiet=False) as progress:
        for event in EVENTS:
            progress(event)
    assert capsys.readouterr().err.splitlines() == [
        "[   2.0 s] not validated yet: speaker",
        "[   3.0 s] balanced accuracy 0.750: speaker, words",
        "[   4.0 s] music failed: ValueError: [no] sound",
    ]
    progress({"event": "interrupted", "time": 5.0})
    assert "press Ctrl-C again to give up" in capsys.readouterr().err


def test_quiet_progress(capsys):
    with FitProgress(60.0, quiet=True) as progress:
        for event in EVENTS:
            progress(event)
    assert capsys.readouterr() == ("", "")


def test_live_progress_says_what_runs_and_what_is_best(capsys):
    progress = FitProgress(60.0, quiet=True)
    for event in EVENTS:
        progress(event)
    console().print(progress)
    shown = capsys.readouterr().out
    assert re.search(r"(59|60) s left of 60 s", shown)
    assert "balanced accuracy 0.750" in shown
    assert re.search(r"runs now +network \(training\)\s", shown)
    progress(EVENTS[-1])
    assert "words (embedding)" not in shown


@pytest.mark.network
@pytest.mark.slow
def test_live_progress_on_a_terminal(folder, tmp_path):
    """In a real terminal the display changes in place; results go to where the output goes."""
    master, slave = pty.openpty()
    process = subprocess.Popen(
        [*COMMAND, *map(str, _fit(folder, tmp_path / "m.skspeech", "--json"))],
        stdout=subprocess.PIPE,
        stderr=slave,
        env={**os.environ, "TERM": "xterm", "COLUMNS": "100"},
    )
    os.close(slave)
    shown = b""
    while process.poll() is None or select.select([master], [], [], 0)[0]:
        if select.select([master], [], [], 0.1)[0]:
            try:
                shown += os.read(master, 1 << 16)
            except OSError:  # the other side is closed
                break
    out, _ = process.communicate(timeout=60)
    os.close(master)
    assert process.returncode == 0
    assert json.loads(out)["leaderboard"]
    for text in ("best so far", "runs now", "s left of 20 s"):
        assert text in shown.decode()


# -- Unknown ---------------------------------------------------------------------------------------


PATIENT = ("--unknown", "0.1", "--time-budget", "200")  # it ends when nothing is left to train


def _words(root, n_classes, half):
    """Folders of made-up words, of which there are six, a half of the clips of each."""
    words = make_speech_like(120, n_classes=6, n_speakers=4, random_state=0)
    for i, (waveform, code) in enumerate(zip(words.data, words.target, strict=False)):
        if code < n_classes and i // 60 == half:
            place = root / words.target_names[code]
            place.mkdir(parents=True, exist_ok=True)
            soundfile.write(place / f"{i:02}.wav", waveform, 16_000)
    return root, words.target_names


@pytest.mark.slow  # test_unknown.py has the parts
def test_a_model_that_answers_unknown(run, tmp_path, quick_line_up):
    folder, names = _words(tmp_path / "known", 4, 0)
    model = tmp_path / "m.skspeech"
    status, out, _ = run(*_fit(folder, model, *PATIENT))
    assert status == 0
    assert re.search(r"Unknown: \d+\.\d% of clips of known classes are rejected; ", out)
    assert "% of clips of unknown classes are accepted; no honest interval: only 4 classes." in out

    other, _ = _words(tmp_path / "all", 6, 1)
    status, out, _ = run("predict", model, other, "--json", "-p")
    rows = [json.loads(line) for line in out.splitlines()]
    assert set(rows[0]["probabilities"]) == {*names[:4], "unknown"}
    assert "unknown" in {row["label"] for row in rows}

    status, out, err = run("evaluate", model, other, "--json")
    scores = json.loads(out)
    assert status == 0
    assert f"'unknown' is right for their clips: {', '.join(sorted(names[4:]))}." in err
    said = {row["path"]: row["label"] for row in rows}
    strange = [label for path, label in said.items() if path.split("/")[-2] in names[4:]]
    expected = np.mean([label != "unknown" for label in strange])
    assert scores["unknown"]["false_accepts"]["share"] == pytest.approx(expected)
    assert scores["unknown"]["false_accepts"]["n_clips"] == len(strange) > 10
    assert "clips of unknown classes are accepted" in run("evaluate", model, other)[1]

    page = tmp_path / "page.html"
    assert run("report", model, other, "-o", page)[0] == 0
    assert "Unknown clips accepted" in page.read_text()
    assert "Learning curve" in page.read_text()


def _words_and_unknown(root):
    """Folders of four words, and one of examples of unknown ones."""
    folder, names = _words(root, 6, 0)
    (folder / "unknown").mkdir()
    for name in names[4:]:
        for path in (folder / name).iterdir():
            path.rename(folder / "unknown" / path.name)
        (folder / name).rmdir()
    return folder, names[:4]


def test_a_folder_of_examples_of_unknown(run, tmp_path, quick_line_up):
    folder, names = _words_and_unknown(tmp_path / "clips")
    model = tmp_path / "m.skspeech"
    status, out, _ = run(*_fit(folder, model, *PATIENT, "--json", "--test-size", "0.3"))
    results = json.loads(out)
    assert status == 0
    assert results["classes"] == names
    assert results["unknown"]["learnt_from"] == "examples"
    assert results["held_out"]["classes"] == sorted([*names, "unknown"])
    assert results["held_out"]["unknown"]["false_accepts"]["n_clips"] == 6


@pytest.mark.parametrize("at", [1, 2])
def test_ctrl_c_while_unknown_is_learnt(at, run, tmp_path, quick_line_up, monkeypatch):
    """The model then knows nothing of unknown clips; a second one does not replace the first."""
    learn, calls = rejector.fit_rejector, []

    def interrupted(*arguments, **options):
        calls.append(arguments)
        if len(calls) == at:
            signal.raise_signal(signal.SIGINT)
        return learn(*arguments, **options)

    monkeypatch.setattr(rejector, "fit_rejector", interrupted)
    folder = _words_and_unknown(tmp_path / "clips")[0]
    model = tmp_path / "m.skspeech"
    command = _fit(folder, model, *PATIENT, "--json", "--test-size", "0.3", "--refit-all")
    status, out, err = run(*command)
    results = json.loads(out)
    classes = sorted([*results["classes"], *(["unknown"] if at == 2 else [])])
    assert (status, results["refitted"]) == (130, False)
    assert (results["unknown"] is None) == (at == 1)
    assert results["held_out"]["classes"] == classes
    assert skspeech.load(model).classes_.tolist() == classes
    assert ("The model of all clips is not ready" in err) == (at == 2)


def test_paths_on_standard_input_in_other_encodings(monkeypatch):
    def told(content):
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(content)))
        return list(iter_paths(["-"]))

    assert told("\ufeffmüde.wav\r\n\nb.wav".encode()) == ["müde.wav", "b.wav"]
    assert told(b"m\xfcde.wav\n") == [os.fsdecode(b"m\xfcde.wav")]
    with pytest.raises(ValueError, match="in UTF-16"):
        told("müde.wav\n".encode("utf-16"))
