"""The page: what a visitor can do with it, and a real browser that does it."""

import itertools
import os
import shutil
import signal
import subprocess
import sys
import time
import zipfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import psutil
import pytest
import soundfile
from browser import TOO_WIDE, open_browser
from fake_candidates import Sleeper
from sklearn.naive_bayes import GaussianNB
from sklearn.pipeline import make_pipeline

import skspeech
from skspeech import Candidate, ShrinkageDiscriminantAnalysis, SpectralStatistics
from skspeech.app import looks
from skspeech.app.clips import Collected, Collection, Limits, arrived, placed
from skspeech.app.training import Doubt, Settings, Training, mistakes
from skspeech.app.visit import SECOND_LOOK, Visit
from skspeech.cli import main
from skspeech.datasets import load_audio_folder, make_tones

NASTY = "<b onload=alert(1)>&\"'/../x"  # a name of a class; a file can have it without slashes
NASTY_FILE = NASTY.replace("/", "") + ".wav"
LINE_UP = "skspeech.time_budget.line_ups.default_candidates"
QUICK = {"time_budget": 20.0, "test_size": 0.25}


def tone_files(folder, n=24, seed=0):
    """Files of three tones, and which each is."""
    folder.mkdir(parents=True, exist_ok=True)
    tones = make_tones(n, n_classes=3, duration=0.4, random_state=seed)
    labels = np.array(["high", "low", "middle"])[tones.target].tolist()
    paths = [folder / f"{i:02d}.wav" for i in range(n)]
    for path, waveform in zip(paths, tones.data, strict=True):
        soundfile.write(path, waveform, 16_000)
    return paths, labels


def collected(paths, labels, groups=None):
    rows = zip(paths, labels, groups or [""] * len(paths), strict=True)
    return [Collected(str(p), p.name, label, group) for p, label, group in rows]


# Clips --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("names", "label", "places"),
    [
        (["a.wav"], "", [("", "")]),
        (["a.wav"], "yes", [("yes", "")]),
        # The dropped folders are the classes, and those below the speakers.
        (["yes/a.wav", "no/b.wav"], "", [("yes", ""), ("no", "")]),
        (["yes/ann/a.wav", "no/ben/b.wav"], "", [("yes", "ann"), ("no", "ben")]),
        # One folder that holds those of the classes.
        (["all/yes/a.wav", "all/no/b.wav"], "", [("yes", ""), ("no", "")]),
        (["all/yes/ann/a.wav", "all/no/b.wav"], "", [("yes", "ann"), ("no", "")]),
        (["all/yes/a.wav", "all/no/b.wav", "all/c.wav"], "", [("yes", ""), ("no", ""), ("", "")]),
        # With a class's name, it is one class, whatever the folders are.
        (["all/ann/a.wav", "all/ben/b.wav"], "yes", [("yes", "ann"), ("yes", "ben")]),
        (["yes/a.wav", "yes/b.wav"], "", [("yes", ""), ("yes", "")]),
    ],
)
def test_folders_tell_classes_and_speakers(names, label, places):
    assert placed(names, label) == places


@pytest.fixture
def collection(tmp_path):
    limits = Limits(max_bytes=100_000, max_seconds=2.0, max_clips=4, max_total_bytes=150_000)
    return Collection(tmp_path / "own", limits)


def test_what_can_not_be_used_is_told_and_the_rest_is_taken(collection, write, tmp_path):
    tone = 0.3 * np.sin(np.arange(8000) / 5)
    (tmp_path / "none.wav").write_text("no sound at all")
    files = {
        "all/yes/good.wav": write("good.wav", tone),
        "all/yes/none.wav": str(tmp_path / "none.wav"),
        "all/no/long.wav": write("long.wav", np.tile(tone, 5)),
        "all/no/large.wav": write("large.wav", np.tile(tone, 8)),
        "all/loose.wav": write("loose.wav", tone),
        "all/yes/.hidden.wav": write("hidden.wav", tone),
        "all/yes/notes.txt": str(tmp_path / "none.wav"),
        f"all/no/{NASTY_FILE}": write("nasty.wav", tone),
    }
    n_added, refused = collection.add([(path, name) for name, path in files.items()])
    assert n_added == 2
    reasons = {name.split("/")[-1]: reason for name, reason in refused}
    assert set(reasons) == {"none.wav", "long.wav", "large.wav", "loose.wav"}
    assert "can't be used" in reasons["none.wav"]
    assert "2 s at most" in reasons["long.wav"]
    assert "MB at most" in reasons["large.wav"]
    assert "no folder of a class" in reasons["loose.wav"]
    for clip in collection.clips:
        assert Path(clip.path).parent == tmp_path / "own"
        assert Path(clip.path).exists()
    text = looks.notice(n_added, refused)
    assert "2 clips added. 4 are left out:" in text


def test_a_file_that_was_not_sent_is_refused(tmp_path):
    (tmp_path / "uploads").mkdir()
    for name in ("a.wav", "uploads/b.wav"):
        (tmp_path / name).write_text("")
    (tmp_path / "uploads" / "link.wav").symlink_to(tmp_path / "a.wav")
    folder = tmp_path / "uploads"
    good = [str(folder / "b.wav"), NASTY]
    assert arrived([good], folder) == [(folder / "b.wav", NASTY)]
    for path in ("a.wav", "uploads/../a.wav", "uploads/link.wav", "uploads2"):
        with pytest.raises(ValueError, match="no file that was sent"):
            arrived([good, [str(tmp_path / path), "a.wav"]], folder)


def test_number_and_size_of_all_files_are_limited(collection, write):
    small = write("small.wav", 0.3 * np.ones(100))
    large = write("large.wav", 0.3 * np.sin(np.arange(30_000)))
    assert collection.add([(large, "1.wav"), (large, "2.wav")], "a")[0] == 2
    n_added, refused = collection.add([(large, "3.wav")], "a")
    assert n_added == 0
    assert "All files together" in refused[0][1]
    n_added, refused = collection.add([(small, f"{i}.wav") for i in range(3)], "b")
    assert n_added == 2
    assert "4 clips already" in refused[0][1]
    collection.remove("a")  # makes room again
    assert collection.add([(large, "1.wav")], "a")[0] == 1


def test_classes_are_renamed_joined_removed_and_packed(tmp_path):
    paths, labels = tone_files(tmp_path / "files")
    clips = Collection(tmp_path / "own", Limits(), collected(paths, labels))
    clips.add([(paths[0], "one.wav")], NASTY)
    clips.add([(paths[1], "two.wav")], NASTY.replace("/", "_"))
    assert [row[0] for row in clips.table()] == sorted({*labels, NASTY, NASTY.replace("/", "_")})
    clips.rename("low", "middle")
    assert clips.table()[-1] == ("middle", 16, 0)
    with pytest.raises(ValueError, match="new name"):
        clips.rename("middle", " \n ")
    clips.remove("high")
    assert paths[labels.index("high")].exists()  # it was not added here
    with zipfile.ZipFile(clips.pack(tmp_path / "clips.zip")) as file:
        file.extractall(tmp_path / "unpacked")
    folder = load_audio_folder(tmp_path / "unpacked")
    assert len(folder.target_names) == 3
    assert sorted(np.bincount(folder.target).tolist()) == [1, 1, 16]


def test_a_packed_folder_keeps_the_speakers(tmp_path):
    paths, labels = tone_files(tmp_path / "files", 6)
    groups = ["ann", "ben", "ann", "ben", "ann", "ben"]
    clips = Collection(tmp_path / "own", Limits(), collected(paths, labels, groups))
    assert [row[2] for row in clips.table()] == [2, 2, 2]
    with zipfile.ZipFile(clips.pack(tmp_path / "clips.zip")) as file:
        file.extractall(tmp_path / "unpacked")
    assert set(load_audio_folder(tmp_path / "unpacked").groups) == {"ann", "ben"}


def test_files_that_are_older_than_zip_are_packed(tmp_path):
    paths, labels = tone_files(tmp_path / "files", 3)
    os.utime(paths[0], (0, 0))
    clips = Collection(tmp_path / "own", Limits(), collected(paths, labels))
    with zipfile.ZipFile(clips.pack(tmp_path / "clips.zip")) as file:
        assert len(file.namelist()) == 3


def test_the_audit_names_clips_as_the_visitor_does(tmp_path, monkeypatch):
    monkeypatch.setattr("skspeech.app.clips.AUDIT_SECONDS", 300.0)
    paths, labels = tone_files(tmp_path / "files")
    clips = Collection(tmp_path / "own", Limits(), collected(paths, labels))
    clips.add([(paths[labels.index("low")], NASTY_FILE)], "high")
    soundfile.write(tmp_path / "silent.wav", np.zeros(8000), 16_000)
    clips.add([(tmp_path / "silent.wav", "quiet.wav")], "high")
    found = {finding.kind: finding for finding in clips.findings()}
    assert NASTY_FILE in found["contradiction"].names
    assert found["silent"].names == ["quiet.wav"]
    page = looks.findings(list(found.values()))
    assert "&lt;b onload" in page
    assert "<b onload" not in page


# Training -----------------------------------------------------------------------------------------


@pytest.fixture
def visit(tmp_path):
    """A visit with three tones, two of them with wrong labels."""
    paths, labels = tone_files(tmp_path / "files", 36)
    labels[0], labels[1] = labels[1], labels[0]
    assert labels[0] != labels[1]
    visit = Visit(tmp_path / "visit", clips=collected(paths, labels))
    yield visit
    visit.close()
    assert not visit.folder.exists()


@pytest.mark.parametrize(
    ("labels", "problem"),
    [([], "there is none yet"), (["a"] * 4, "only 'a'"), (["a", "unknown"] * 2, "only 'a'")],
)
def test_two_classes_are_needed(labels, problem, tmp_path):
    paths, _ = tone_files(tmp_path / "files", 4)
    clips = collected(paths[: len(labels)], labels)
    training = Training(clips, Settings(), tmp_path / "m.skspeech")
    training.wait(60)
    assert training.result is None
    assert problem in training.problem
    assert looks.escape(problem) in looks.problem(training.problem)


@pytest.fixture
def quick_line_up(monkeypatch):
    """No networks: the test in the browser trains on these."""
    features = SpectralStatistics(n_jobs=1)
    members = {"bayes": GaussianNB(), "discriminant": ShrinkageDiscriminantAnalysis()}
    line_up = [Candidate(name, make_pipeline(features, member)) for name, member in members.items()]
    monkeypatch.setattr(LINE_UP, lambda *_, **__: line_up)


@pytest.mark.usefixtures("quick_line_up", "no_repeats", "quick_map")
def test_a_training_its_mistakes_and_its_files(visit):
    assert visit.doubt is None
    with pytest.raises(ValueError, match="no model yet"):
        visit.hear(visit.collection.clips[0].path)
    training = visit.train(**QUICK)
    with pytest.raises(ValueError, match="still runs"):
        visit.train(**QUICK)
    training.wait(120)
    visit.take_result()
    trained = visit.trained
    assert set(trained.model.classes_) == {"high", "low", "middle", "unknown"}
    assert training.curve
    assert training.curve[-1][1] == trained.run.learning_curve_["score"][-1]
    assert not {clip.path for clip in trained.train} & {clip.path for clip in trained.test}
    score, interval = trained.score()
    assert score > 0.6
    assert interval.low < score
    page = looks.results(trained)
    assert f"{score:.1%}" in page
    assert "<svg" in page
    assert len(visit.doubts) == np.count_nonzero(trained.truth != trained.answers)
    labels = trained.answers.copy()
    labels[[0, -1]] = np.where(labels[[0, -1]] == "low", "high", "low")
    first, second = mistakes(replace(trained, truth=labels))
    assert {first.clip, second.clip} == {trained.test[0], trained.test[-1]}
    assert first.label != first.said
    assert first.p_said - first.p_label >= second.p_said - second.p_label > 0

    # The file is the model.
    loaded = skspeech.load(trained.path)
    paths = [clip.path for clip in trained.test]
    np.testing.assert_allclose(loaded.predict_proba(paths), trained.proba, atol=1e-6)
    heard = visit.hear(paths[0])
    assert heard["label"] == trained.answers[0]
    assert "were listened to" in looks.answer(heard)
    report = visit.report()
    assert "held-out clips" in report.read_text(encoding="utf-8")

    # The labels that are wrong sound so, and can be corrected.
    visit.review(SECOND_LOOK)
    swapped = visit.collection.clips[:2]
    assert {doubt.clip for doubt in visit.doubts} >= set(swapped)
    for clip, right in zip(swapped, [swapped[1].label, swapped[0].label], strict=True):
        visit.at = [doubt.clip for doubt in visit.doubts].index(clip)
        assert visit.doubt.said == right
        visit.correct(right)
        assert clip.label == right
    assert visit.n_changed == 2
    visit.step(-100)
    assert visit.at == 0
    visit.step(100)
    assert visit.at == len(visit.doubts) - 1
    assert "2 labels changed" in looks.card(visit.doubt, 1, 1, visit.n_changed)
    with pytest.raises(ValueError, match="which label"):
        visit.correct(" ")
    last = visit.doubt.clip
    visit.leave_out()
    assert last not in visit.collection.learnt_from
    assert last in visit.collection.clips
    visit.review(SECOND_LOOK)
    assert not {doubt.clip for doubt in visit.doubts} & {*swapped, last}


@pytest.mark.usefixtures("quick_line_up", "no_repeats", "quick_map")
def test_what_is_changed_during_a_training_is_for_the_next_one(visit, monkeypatch):
    note = Training._note

    def rename_and_note(self, event):
        visit.collection.rename("low", "deep")
        note(self, event)

    monkeypatch.setattr(Training, "_note", rename_and_note)
    visit.train(**QUICK).wait(120)
    visit.take_result()
    labels = {"high", "low", "middle"}
    assert set(visit.trained.model.classes_) == {*labels, "unknown"}
    assert set(visit.trained.truth) == {clip.label for clip in visit.trained.train} == labels
    assert visit.trained.score()[0] > 0.6
    assert set(visit.collection.labels) == {"deep", "high", "middle"}
    assert set(visit.trained.test) <= set(visit.collection.clips)


@pytest.mark.filterwarnings("ignore:.*examples of unknown clips are left aside")
@pytest.mark.usefixtures("quick_line_up", "no_repeats", "quick_map")
@pytest.mark.parametrize(("n_examples", "is_told"), [(0, False), (6, True), (20, False)])
def test_examples_of_unknown_that_are_too_few_are_told(visit, tmp_path, n_examples, is_told):
    noise = np.random.default_rng(0).normal(scale=0.1, size=(n_examples, 8000))
    for i, samples in enumerate(noise):
        soundfile.write(tmp_path / f"{i}.wav", samples, 16_000)
    files = [(tmp_path / f"{i}.wav", f"{i}.wav") for i in range(n_examples)]
    assert visit.collection.add(files, "unknown")[0] == n_examples
    visit.train(**QUICK).wait(120)
    visit.take_result()
    told = "The clips in the class 'unknown' are left aside: they are too few to learn from."
    assert (told in visit.trained.remarks) == is_told


def test_a_card_is_safe_whatever_names_hold(visit, tmp_path):
    clip = visit.collection.clips[0]
    clip.name, clip.label, clip.group = NASTY, NASTY, NASTY
    visit.collection.add([(clip.path, NASTY)], NASTY, NASTY)
    for page in (
        looks.card(Doubt(clip, "low", NASTY, 0.1, 0.9), 1, 1, 0),
        looks.card(Doubt(clip, NASTY, "low", 0.1, 0.9), 1, 1, 0),
        looks.classes(visit.collection.table()),
        looks.notice(0, [(NASTY, NASTY)]),
        looks.problem(NASTY),
    ):
        assert "&lt;b onload" in page
        assert "<b onload" not in page


@pytest.mark.alone
class TestStop:
    @pytest.fixture(autouse=True)
    def endless(self, monkeypatch):
        """A candidate that never ends follows a quick one."""

        features = SpectralStatistics(n_jobs=1)
        quick = Candidate("quick", make_pipeline(features, GaussianNB()))
        endless = Candidate("endless", make_pipeline(features, Sleeper()))
        monkeypatch.setattr(LINE_UP, lambda *_, **__: [quick, endless])

    def test_keeps_the_best_so_far(self, visit):
        training = visit.train(time_budget=3000.0)
        until(lambda: training.curve)
        assert "s are left of 3000 s" in looks.curve(training)
        assert "quick" in looks.curve(training)
        training.stop()
        training.wait(60)
        visit.take_result()
        assert visit.hear(visit.collection.clips[0].path)["label"]
        self.nothing_is_left()

    def test_another_training_waits_and_can_be_stopped_alone(self, visit, tmp_path):
        first = visit.train(time_budget=3000.0)
        until(lambda: first.curve)
        second = Training(visit.collection.clips, Settings(), tmp_path / "m.skspeech")
        assert "Waiting" in second.phase
        second.stop()
        second.wait(60)
        assert second.problem == "It was stopped before there was a model."
        assert first.is_running
        first.give_up()
        first.wait(60)
        with pytest.raises(ValueError, match="stopped before"):
            visit.take_result()
        self.nothing_is_left()

    def test_a_page_that_is_closed_ends_its_training(self, visit):
        training = visit.train(time_budget=3000.0)
        until(lambda: training.members)
        visit.close()
        training.wait(60)
        assert not training.is_running
        assert training.result is None
        self.nothing_is_left()

    def nothing_is_left(self):
        until(lambda: not psutil.Process().children(recursive=True))


def until(condition, seconds=60):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


# The command --------------------------------------------------------------------------------------


@pytest.fixture
def run(capsys):
    def call(*arguments):
        status = main([str(argument) for argument in arguments])
        return status, capsys.readouterr().err

    return call


def test_without_gradio_the_extra_is_named(run, monkeypatch):
    monkeypatch.setitem(sys.modules, "gradio", None)
    monkeypatch.setenv("GRADIO_TEMP_DIR", "x")  # set back afterwards
    monkeypatch.setenv("GRADIO_ANALYTICS_ENABLED", "x")
    status, err = run("app", "--port", 0)
    assert status == 2
    assert "The page needs Gradio" in err
    assert ".[app]" in err


def test_data_or_a_model_and_not_both(run, tmp_path):
    (tmp_path / "model.skspeech").write_text("")
    status, err = run("app", tmp_path, "--model", tmp_path / "model.skspeech")
    assert status == 2
    assert "--model to try one" in err


# In a browser -------------------------------------------------------------------------------------


@pytest.fixture
def serve(tmp_path):
    """Start the command; gives its address, and its process."""
    pytest.importorskip("gradio", reason="needs skspeech[app]")
    running = []

    def start(*arguments):
        command = [sys.executable, "-m", "skspeech", "app", "--port", "0", *map(str, arguments)]
        home = tmp_path / "temporary"
        home.mkdir(exist_ok=True)
        environment = {**os.environ, "TMPDIR": str(home)}
        log = open(tmp_path / "app.log", "w+")  # noqa: SIM115
        process = subprocess.Popen(command, stderr=log, stdout=log, env=environment)
        running.append((process, log))
        until(lambda: "The page is at" in told() or process.poll() is not None, 300)
        said = told()
        assert process.poll() is None, said
        return said.split("The page is at ")[1].split(". ")[0], process

    def told():
        return (tmp_path / "app.log").read_text()

    yield start
    for process, log in running:
        log.close()
        process.kill()
        process.wait(20)


def shown(page, selector, words, seconds=60):
    page.wait_for(
        "(document.querySelector(arguments[0])?.innerText ?? '').includes(arguments[1])",
        selector,
        words,
        seconds=seconds,
    )


def go_to(page, number):
    page.run(
        "[...document.querySelectorAll('[role=tab]')].filter("
        "e => e.innerText.startsWith(arguments[0]))[0].click()",
        str(number),
    )


def fill(page, selector, value):
    page.run(
        "const field = document.querySelector(arguments[0]); field.value = arguments[1];"
        "field.dispatchEvent(new Event('input', {bubbles: true}))",
        selector,
        value,
    )


@pytest.fixture
def recordings(tmp_path):
    """A folder of classes, some labels of which are wrong, and a new recording and its label."""
    home = os.environ.get("SKSPEECH_DATA")
    if home:
        source = Path(home) / "fsdd" / "recordings"
        speakers = ["george", "jackson", "theo"]
        rows = [
            (source / f"{digit}_{speaker}_10.wav", speaker)
            for digit, speaker in itertools.product(range(10), speakers)
        ]
        new = (source / "7_jackson_32.wav", "jackson")
    else:
        *rows, new = zip(*tone_files(tmp_path / "files", 31), strict=True)
    names = sorted({label for _, label in rows})
    for number, (path, label) in enumerate(rows):
        wrong = names[names.index(label) - 1] if number % 5 == 0 else label
        (tmp_path / "recordings" / wrong).mkdir(parents=True, exist_ok=True)
        shutil.copy(path, tmp_path / "recordings" / wrong)
    return tmp_path / "recordings", *new


@pytest.mark.slow  # a minute
@pytest.mark.alone
def test_from_upload_to_prediction_in_a_browser(serve, recordings, tmp_path):
    folder, new, label = recordings
    (folder / label / "broken.wav").write_text("no sound at all")
    with open_browser(tmp_path) as page:
        page.emulate(width=1100, height=900, dark=False)
        address, process = serve()
        page.open(address)
        page.wait_for("document.querySelector('#drop input.folder')", seconds=60)
        page.type("#drop input.folder", str(folder))
        shown(page, "#notice", "30 clips added. One is left out")
        assert "broken.wav" in page.text("#notice")
        shown(page, "#classes", "30 clips of 3 classes")
        shown(page, "#findings", "No groups are given")

        go_to(page, 2)
        fill(page, "#budget input", 300)
        fill(page, "#held-out input[type=number]", 50)
        page.click("#train")
        shown(page, "#progress", "Balanced accuracy in validation", seconds=120)
        assert "s are left of 300 s" in page.text("#progress")
        page.click("#stop")
        shown(page, "#progress", "Balanced accuracy on 15 held-out clips", seconds=120)
        assert page.run("return document.querySelectorAll('#progress svg.plot').length") == 1
        page.wait_for("document.querySelector('#model-file')")

        go_to(page, 3)
        shown(page, "#card", "sounds like")
        assert page.run("return document.querySelector('#card audio').src").startswith("data:")
        page.click("#leave-out")
        shown(page, "#card", "1 label changed: train again.")
        go_to(page, 1)
        shown(page, "#classes", "29 clips of 3 classes")

        go_to(page, 4)
        page.type("#sound input[type=file]", str(new))
        shown(page, "#answer", label)
        shown(page, "#remarks", "s were listened to")
        assert "%" in page.text("#answer")
        too_wide = page.run(TOO_WIDE)  # Gradio measures its tabs in a copy that nobody sees
        unseen = ("visually-hidden", "sr-only")  # and words for screen readers
        assert [text for text in too_wide if not any(name in text for name in unseen)] == []
        page.open(address)  # another page knows nothing of this
        shown(page, "#classes", "no clips yet")
        asked, _ = page.network()
        assert [url for url in asked if not url.startswith((address, "data:", "blob:"))] == []
        assert [text for text in page.messages() if "Method not implemented" not in text] == []

    children = psutil.Process(process.pid).children(recursive=True)
    process.send_signal(signal.SIGTERM)
    assert process.wait(60) == 130
    assert not [child for child in children if child.is_running()]
    assert list((tmp_path / "temporary").iterdir()) == []
    assert (tmp_path / "app.log").read_text().splitlines()[1:] == ["", "Interrupted."]
