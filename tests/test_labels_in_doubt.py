"""Labels that are worth a second look: who is found, and what a page and a command make of it."""

import csv
import json
import re

import numpy as np
import pytest
import soundfile
from browser import TOO_WIDE, open_browser
from sklearn import config_context
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.dummy import DummyClassifier
from sklearn.pipeline import make_pipeline

from skspeech import ShrinkageDiscriminantAnalysis, SpectralStatistics
from skspeech.audio import AudioError
from skspeech.cli import main
from skspeech.cli.inputs import read_labelled
from skspeech.datasets import make_speech_like
from skspeech.report import (
    contradicting_copies,
    doubtful_labels,
    most_different,
    write_label_page,
)

RATE = 16_000


@pytest.fixture(scope="module")
def speech():
    words = make_speech_like(60, n_classes=3, n_speakers=5, random_state=0)
    return words.data, np.array(["go", "no", "stop"])[words.target], np.array(words.groups)


@pytest.fixture(scope="module")
def quick():
    return make_pipeline(SpectralStatistics(), ShrinkageDiscriminantAnalysis())


def wrong(labels, rows):
    """Labels of which some are another class's."""
    labels = labels.copy()
    for row in rows:
        labels[row] = {"go": "no", "no": "stop", "stop": "go"}[labels[row]]
    return labels


# -------------------------------------------------------------------------- doubts


def test_wrong_labels_come_first(speech, quick):
    X, y, _ = speech
    flipped = [3, 20, 41, 55]
    table = doubtful_labels(X, wrong(y, flipped), classifier=quick)
    assert sorted(table["clip"][:4]) == flipped
    assert sorted(table["clip"]) == list(range(60))
    first = table.iloc[:4]
    assert (first["suggested"] == y[first["clip"]]).all()
    assert (first["doubt"] > 0).all()
    assert (first["p_suggested"] > first["p_label"]).all()
    assert table["doubt"].is_monotonic_decreasing
    assert (table["suggested"][10:] == table["label"][10:]).all()


def test_the_default_judges_by_the_quick_line_up(speech):
    X, y, groups = speech
    table = doubtful_labels(X, wrong(y, [7, 30]), groups)
    assert sorted(table["clip"][:2]) == [7, 30]


class Recorder(ClassifierMixin, BaseEstimator):
    """Remembers on which rows it was trained, and which it judged."""

    log: list = []
    groups: list = []

    def fit(self, X, y, groups=None):
        self.classes_ = np.unique(y)
        self.log.append([list(X)])
        self.groups.append(groups)
        return self

    def predict_proba(self, X):
        self.log[-1].append(list(X))
        return np.full((len(X), len(self.classes_)), 1 / len(self.classes_))


def test_nobody_judges_the_groups_that_it_was_trained_on(speech):
    _, y, groups = speech
    Recorder.log.clear()
    Recorder.groups.clear()
    doubtful_labels([str(i) for i in range(60)], y, groups, classifier=make_pipeline(Recorder()))
    assert len(Recorder.log) == 5
    for (train, test), told in zip(Recorder.log, Recorder.groups, strict=True):
        train, test = (groups[np.array(rows, dtype=int)] for rows in (train, test))
        assert len(train)
        assert len(test)
        assert not {*train} & {*test}
        np.testing.assert_array_equal(told, train)  # for what is held out within the classifier


def test_the_only_clip_of_a_class_is_not_judged(speech, quick):
    X, y, _ = speech
    y = y.copy()
    y[5] = "yes"
    table = doubtful_labels(X, y, classifier=quick)
    last = table.iloc[-1]
    assert (last["clip"], last["label"], last["suggested"]) == (5, "yes", "yes")
    assert np.isnan(last["doubt"])
    assert table["doubt"].isna().sum() == 1


def test_a_classifier_without_probabilities_of_a_clip_is_named(speech):
    class Speechless(DummyClassifier):
        def predict_proba(self, X):
            return super().predict_proba(X) * np.nan

    with pytest.raises(ValueError, match=r"predict_proba of the model .* row 0.*: .nan nan nan"):
        doubtful_labels(*speech[:2], classifier=Speechless())


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda X, y, g: (X, np.full(60, "go"), g), "one class, 'go'"),
        (lambda X, y, g: (X, y[:-1], g), "inconsistent numbers"),
        (lambda X, y, g: (X, y, y), "No label can be checked, because"),
        (lambda X, y, g: (X[:3], np.array(["a", "b", "c"]), None), "one clip only"),
    ],
    ids=["one class", "lengths", "groups are classes", "one clip each"],
)
def test_what_can_not_be_judged_is_an_error(speech, quick, change, message):
    X, y, groups = change(*speech)
    with pytest.raises(ValueError, match=message):
        doubtful_labels(X, y, groups, classifier=quick)


def test_clips_that_can_not_be_read_are_named(speech, quick):
    X, y, _ = speech
    with pytest.raises(AudioError, match=r"missing\.wav"):
        doubtful_labels([*X[:-1], "missing.wav"], y, classifier=quick)


# -------------------------------------------------------------------------- copies, new clips


def test_copies_under_two_labels_are_found_though_they_are_softer_and_cut(speech):
    X, y, _ = speech
    X, y = list(X), y.copy()
    X[9], y[9] = 0.3 * X[0][400:], wrong(y[:1], [0])[0]
    X[12] = 0.5 * X[1][200:]
    y[12] = y[1]  # the same label, so no contradiction
    (pair,) = contradicting_copies(X, y)
    assert pair[:2] == (0, 9)
    assert pair[2] > 0.9


def test_different_words_of_one_speaker_are_no_copies(speech):
    X, y, _ = speech
    assert contradicting_copies(X, y) == []


def test_the_most_different_clips_are_those_of_a_class_without_labels(speech):
    X, y, _ = speech
    features = SpectralStatistics()
    labelled = [clip for clip, label in zip(X, y, strict=True) if label != "stop"][:30]
    noise = list(np.random.default_rng(0).normal(scale=0.1, size=(2, 8000)).astype(np.float32))
    rest = [*labelled[:10], *noise]
    chosen = most_different(rest, labelled, 3, extractor=features)
    assert sorted(chosen[:2]) == [10, 11]
    assert len(set(most_different(rest, [], 99))) == 12
    with config_context(transform_output="pandas"):
        np.testing.assert_array_equal(most_different(rest, labelled, 3, extractor=features), chosen)


# -------------------------------------------------------------------------- the page


@pytest.fixture
def files(speech, tmp_path):
    """Folders of classes, and in them of speakers; a name that HTML and CSV must quote."""
    X, y, groups = speech
    y = wrong(y, [3, 20])
    root = tmp_path / "clips"
    paths = []
    for i, (waveform, label, group) in enumerate(zip(X, y, groups, strict=True)):
        place = root / label / str(group)
        place.mkdir(parents=True, exist_ok=True)
        paths.append(place / (f'<b>&"{i}", x.wav' if i == 3 else f"{i:02}.wav"))
        soundfile.write(paths[-1], waveform, RATE)
    return root, paths, y, groups


@pytest.mark.slow
def test_what_is_marked_in_a_browser_is_a_table_that_fit_takes(files, quick, tmp_path):
    _, paths, y, groups = files
    table = doubtful_labels(paths, y, groups, classifier=quick)
    new = tmp_path / "new.wav"
    soundfile.write(new, np.random.default_rng(0).normal(scale=0.1, size=8000), RATE)
    options = {"copies": [(20, 30, 0.99)], "unlabelled": [new]}
    page_path = tmp_path / "labels.html"
    write_label_page(page_path, paths, y, table[:4], groups, title="Labels of <clips>", **options)
    order = [int(row) for row in table["clip"][:4]]
    order += [row for row in (20, 30) if row not in order]

    with open_browser(tmp_path) as page:
        page.open(page_path)
        assert page.run("return document.querySelector('h1').textContent") == "Labels of <clips>"
        shown = page.run("return figures.map(f => f.dataset.row ?? f.dataset.path)")
        assert shown == [*map(str, order), str(new)]
        before = page.run("return table()")
        click = "figures[arguments[0]].querySelectorAll('button')[arguments[1]].click()"
        choose = (
            "const input = figures[arguments[0]].querySelector(arguments[2]);"
            "input.value = arguments[1]; input.dispatchEvent(new Event('change'))"
        )
        page.run(click, 0, 1)  # it is what it sounds like
        third = next(c for c in ("go", "no", "stop") if c not in (y[order[1]], table.suggested[1]))
        page.run(choose, 1, third, ".class")
        page.run(click, 2, page.run("return figures[2].querySelectorAll('button').length") - 1)
        page.run(click, 3, 0)  # it is right as it is
        page.run(choose, len(order), "a new, class", ".class")
        state = "return document.getElementById('state').textContent"
        assert page.run(state) == f"5 of {len(order) + 1} marked"
        page.open(page_path)  # what was marked is still there
        assert page.run(state) == f"5 of {len(order) + 1} marked"
        text = page.run("return table()")
        page.run(click, 0, 1)  # once more takes a mark back
        assert page.run(state) == f"4 of {len(order) + 1} marked"
        for width in (1280, 390):
            page.emulate(width=width, height=900, dark=width == 390)
            assert page.run(TOO_WIDE) == [], f"on a screen of {width} pixels"
        assert page.messages() == []
        asked, failed = page.network()
        assert failed == []
        assert asked
        assert all(re.match("data:|file:|blob:", address) for address in asked)

    saved = tmp_path / "labels.csv"
    saved.write_text(before, encoding="utf-8", newline="")
    unchanged = read_labelled(saved)
    assert unchanged.paths == [str(p) for p in paths]
    assert unchanged.labels.tolist() == y.tolist()
    assert list(unchanged.groups) == list(groups)
    saved.write_text(text, encoding="utf-8", newline="")
    marked = read_labelled(saved)
    expected = {str(p): label for p, label in zip(paths, y, strict=True)}
    expected[str(paths[order[0]])] = table.suggested[0]
    expected[str(paths[order[1]])] = third
    del expected[str(paths[order[2]])]
    expected[str(new)] = "a new, class"
    assert dict(zip(marked.paths, marked.labels, strict=True)) == expected
    assert marked.groups[-1] == str(new)  # nobody knows who that is


def test_a_clip_that_can_not_be_played_is_told(files, quick, tmp_path):
    _, paths, y, groups = files
    table = doubtful_labels(paths, y, groups, classifier=quick)[:1]
    paths[int(table["clip"][0])].write_bytes(b"RIFF")
    text = write_label_page(tmp_path / "p.html", paths, y, table).read_text()
    assert "can’t be played" in text


def test_groups_of_several_types_keep_their_names(files, quick, tmp_path):
    _, paths, y, _ = files
    table = doubtful_labels(paths, y, classifier=quick)[:1]
    groups = np.array(["ann", 3] * 30, dtype=object)
    text = write_label_page(tmp_path / "p.html", paths, y, table, groups).read_text()
    rows = json.loads(re.search("const DATA = (.*);", text)[1])["rows"]
    assert [row[2] for row in rows] == ["ann", "3"] * 30
    assert "<option>3</option><option>ann</option>" in text


def test_a_page_without_doubts_says_so(files, quick, tmp_path):
    _, paths, y, groups = files
    table = doubtful_labels(paths, y, groups, classifier=quick)[:0]
    text = write_label_page(tmp_path / "p.html", paths, y, table).read_text()
    assert "None of the 60 labels is in doubt" in text


def test_a_page_needs_a_label_for_each_clip(files, quick, tmp_path):
    _, paths, y, groups = files
    table = doubtful_labels(paths, y, groups, classifier=quick)[:1]
    for labels, own in ((y[:-1], groups), (y, groups[:-1])):
        with pytest.raises(ValueError, match="inconsistent numbers of samples"):
            write_label_page(tmp_path / "p.html", paths, labels, table, own)


# -------------------------------------------------------------------------- the command


def test_the_command_finds_wrong_labels(files, tmp_path, capsys):
    root, paths, y, _ = files
    page = tmp_path / "page.html"
    new = tmp_path / "new"
    new.mkdir()
    soundfile.write(new / "a.wav", np.random.default_rng(0).normal(scale=0.1, size=8000), RATE)
    arguments = ["audit", str(root), "--unlabelled", str(new), "-o", str(page)]
    assert main([*arguments, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["n_clips"] == 60
    assert found["page"] == str(page)
    wrong_ones = {str(paths[i]): {"go": "no", "no": "stop", "stop": "go"} for i in (3, 20)}
    told = {row["path"]: row for row in found["doubtful"]}
    assert wrong_ones.keys() <= told.keys()
    assert len(told) <= 6
    for path, turned in wrong_ones.items():
        assert turned[told[path]["suggested"]] == told[path]["label"]
    assert found["next"] == [str(new / "a.wav")]
    assert str(paths[20]) in page.read_text()

    assert main([*arguments, "--overwrite", "--quiet"]) == 0
    text = capsys.readouterr().out
    assert "sound more like another class than like the label." in text
    assert f"{paths[20]}: {y[20]} (" in text
    assert "Worth labelling next" in text


def test_the_command_takes_its_own_table(files, tmp_path, capsys):
    _, paths, y, groups = files
    table = tmp_path / "labels.csv"
    with open(table, "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["path", "label", "group"])
        writer.writerows(zip(paths, wrong(wrong(y, [3, 20]), [3, 20]), groups, strict=True))
    assert main(["audit", str(table), "--share", "0.05", "--json", "--quiet"]) == 0
    doubtful = json.loads(capsys.readouterr().out)["doubtful"]
    assert not {str(paths[3]), str(paths[20])} & {row["path"] for row in doubtful}


@pytest.mark.parametrize("is_seen_before", [True, False])  # of many clips, some are listened to
def test_the_command_goes_on_without_bad_clips(is_seen_before, files, capsys, monkeypatch):
    root, paths, _, _ = files
    if is_seen_before:
        paths[8].write_bytes(b"not a sound")
    else:
        soundfile.write(paths[8], np.full(8000, np.nan), RATE, subtype="FLOAT")
        monkeypatch.setattr("skspeech.cli.audited.audited", lambda *_: [])
    assert main(["audit", str(root), "--quiet", "--json"]) == 1
    out, err = capsys.readouterr()
    assert json.loads(out)["n_clips"] == 59
    assert str(paths[8]) in err


def test_what_is_shown_is_told_apart_from_what_is_doubtful(files, capsys):
    root = files[0]
    arguments = ["audit", str(root), "--share", "0.01", "--quiet"]
    assert main(arguments) == 0
    lines = capsys.readouterr().out.splitlines()
    n_doubtful = int(lines[0].split()[0])
    assert n_doubtful >= 2
    assert lines[0].endswith("of 60 clips sound more like another class than like the label.")
    assert lines[1] == "The 1 most doubtful are shown; --share 1 shows all."
    assert len(lines) == 3
    assert main([*arguments, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["n_doubtful"], len(found["doubtful"])) == (n_doubtful, 1)


def test_an_empty_folder_of_new_clips_is_told_before_the_work(files, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("skspeech.report.doubtful_labels", lambda *_, **__: pytest.fail("worked"))
    (tmp_path / "empty").mkdir()
    assert main(["audit", str(files[0]), "--unlabelled", str(tmp_path / "empty")]) == 2
    assert "no audio files" in capsys.readouterr().err


@pytest.mark.slow
def test_marks_of_another_page_on_the_same_clips_change_no_table(files, quick, tmp_path):
    _, paths, y, groups = files
    table = doubtful_labels(paths, y, groups, classifier=quick)
    for name, rows in (("long", table[:4]), ("short", table[:1])):
        write_label_page(tmp_path / f"{name}.html", paths, y, rows, groups, remarks=["<so it is>"])
    with open_browser(tmp_path) as page:
        page.open(tmp_path / "long.html")
        untouched = page.run("return table()")
        page.run("figures.forEach(figure => set(figure, LEFT_OUT))")
        assert len(page.run("return table()").splitlines()) == 57
        page.open(tmp_path / "short.html")
        assert page.run("return document.querySelector('li').textContent") == "<so it is>"
        assert page.run("return document.getElementById('state').textContent") == "1 of 1 marked"
        assert len(page.run("return table()").splitlines()) == 60
        page.run("figures.forEach(figure => set(figure))")
        assert page.run("return table()") == untouched


@pytest.mark.parametrize(
    ("arguments", "message"),
    [(["nowhere"], "does not exist"), (["{root}", "-o", "{root}/nowhere/p.html"], "no folder")],
)
def test_mistakes_are_told_at_once(files, capsys, arguments, message):
    root = files[0]
    assert main(["audit", *(a.format(root=root) for a in arguments)]) == 2
    assert message in capsys.readouterr().err
