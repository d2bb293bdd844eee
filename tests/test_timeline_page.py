"""The page of a timeline: what it shows, what it plays, and that it stays small and safe."""

import base64
import hashlib
import html
import io
import re
import tracemalloc

import numpy as np
import pandas as pd
import pytest
import soundfile
from browser import TOO_WIDE, open_browser

from skspeech.audio import AudioError
from skspeech.report import timeline_page, write_timeline_page

RATE = 16_000


def tones(seconds):
    """A tone of another pitch in each second."""
    pitches = 200 + 100 * (np.arange(round(seconds)) % 10)
    phase = 2 * np.pi * np.repeat(pitches, RATE).cumsum() / RATE
    return (0.3 * np.sin(phase)).astype(np.float32)


def table(*rows, duration=None):
    segments = pd.DataFrame(rows, columns=["start", "end", "label", "probability"])
    if duration is not None:
        segments.attrs = {"recording": "talk.wav", "duration": float(duration)}
    return segments


SEGMENTS = (
    (0.0, 2.5, "anna", 0.94),
    (3.0, 5.0, "ben", 0.8),
    (5.0, 13.0, "anna", 0.7),
    (13.0, 14.5, 3, 0.5),
)


@pytest.fixture
def page(tmp_path, monkeypatch):
    """A page with rows of 6 seconds of a recording of 15."""
    monkeypatch.setattr(timeline_page, "_STRETCH", 6)
    path = tmp_path / "talk.html"
    assert write_timeline_page(table(*SEGMENTS, duration=15), tones(15), path) == path
    return path


def uris(text, kind):
    found = re.findall(rf'src="data:{kind};base64,([^"]+)"', text)
    return [io.BytesIO(base64.b64decode(uri)) for uri in found]


# -- What it says ----------------------------------------------------------------------------------


def test_moments_without_a_label_are_left_out(page, tmp_path):
    silence = (14.5, 15.0, None, np.nan)
    other = write_timeline_page(table(*SEGMENTS, silence), tones(15), tmp_path / "talk2.html")
    pages = [re.sub(r'src="[^"]+"', "", path.read_text()) for path in (page, other)]
    assert pages[0] == pages[1]


def test_every_segment_is_listed_and_in_the_bar_of_its_rows(page):
    text = page.read_text()
    rows = text.split("<figure ")[1:]
    assert [re.findall(r"<figcaption>(.*?)<", row) for row in rows] == [
        ["0:00 to 0:06"],
        ["0:06 to 0:12"],
        ["0:12 to 0:15"],
    ]
    shown = [((0, 1, 2), (0, 1, 2)), ((2,), ()), ((2, 3), (3,))]
    for row, (there, listed) in zip(rows, shown, strict=True):
        bar, _, lists = row.partition('class="picture"')
        assert re.findall(r'data-from="(.*?)"', bar) == [str(SEGMENTS[i][0]) for i in there]
        assert re.findall(r'data-to="(.*?)"', lists) == [str(SEGMENTS[i][1]) for i in listed]
    assert "0:03.0–0:05.0</span>" in rows[0]
    assert "80 %</span>" in rows[0]
    assert "left:50.000%;width:33.333%" in rows[0]
    assert 'style="width:50.00%"' in rows[2], "half a row"
    assert 'title="anna, 0:05.0–0:13.0, 70 %"' in rows[1]


def test_labels_have_colours_and_totals(page):
    text = html.unescape(re.sub(r"<.*?>", "", page.read_text()))
    assert re.findall(r"^(\w+ \d:\d\d \(\d+ %\))$", text, re.MULTILINE) == [
        "3 0:02 (10 %)",
        "anna 0:10 (70 %)",
        "ben 0:02 (13 %)",
    ]
    assert "without a label 0:01 (7 %)" in text
    colours = re.findall(r"\.k\d \{ background: (#\w{6}); color: (#\w{6}); \}", page.read_text())
    assert len(set(colours)) == 3


def test_sounds_and_spectrograms_are_those_of_the_recording(page):
    text = page.read_text()
    heard = [soundfile.read(file) for file in uris(text, "audio/ogg")]
    assert {rate for _, rate in heard} == {RATE}
    sound = np.concatenate([samples for samples, _ in heard])
    assert len(sound) == 15 * RATE
    assert np.corrcoef(sound, tones(15))[0, 1] > 0.99
    assert len(uris(text, "image/jpeg")) == 3
    assert 'alt="Spectrogram of 0:06 to 0:12"' in text
    sources = re.findall(r'(?:src|href)="([^"]*)"', text)
    assert all(source.startswith(("data:", "#row-")) for source in sources)


def test_only_the_script_of_the_page_may_run(page):
    text = page.read_text()
    (script,) = re.findall(r"<script>(.*?)</script>", text, re.DOTALL)
    policy = re.search('Content-Security-Policy" content="([^"]+)"', text)[1]
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    assert policy == (
        f"default-src 'none'; style-src 'unsafe-inline'; script-src 'sha256-{digest}'; "
        "img-src data:; media-src data:"
    )


def test_names_cannot_inject_anything(tmp_path):
    evil = "\"><script>alert('x')</script><img src=http://evil.example/x.png>"
    path = tmp_path / "<script>talk.wav"
    soundfile.write(path, tones(3), RATE)
    page = write_timeline_page(table((0.0, 2.5, evil, 0.9)), path, tmp_path / "page.html")
    text = page.read_text()
    assert text.count("<script") == 1
    assert "evil.example" in text
    assert "<img src=http" not in text
    assert html.escape("<script>talk") in text


def test_an_empty_timeline_has_a_page(tmp_path):
    page = write_timeline_page(table(), tones(3), tmp_path / "page.html", title="Nothing")
    assert "0:03 of sound, 0 segments." in page.read_text()
    assert len(uris(page.read_text(), "audio/ogg")) == 1


def test_times_beyond_an_hour_and_that_round_up():
    assert timeline_page._clock(59.96, 1) == "1:00.0"
    assert timeline_page._clock(3723.4, 1) == "1:02:03.4"
    assert timeline_page._clock(7) == "0:07"


# -- How large it gets, and what goes wrong --------------------------------------------------------


def test_of_a_long_recording_the_beginning_is_heard_and_the_page_says_so(tmp_path, monkeypatch):
    monkeypatch.setattr(timeline_page, "_STRETCH", 2)
    monkeypatch.setattr(timeline_page, "_MAX_HEARD", 6)
    page = write_timeline_page(table(*SEGMENTS, duration=15), tones(15), tmp_path / "page.html")
    text = page.read_text()
    assert "Only the first 0:06 can be seen and heard here" in text
    assert len(uris(text, "audio/ogg")) == len(uris(text, "image/jpeg")) == 3
    rows = text.split("<figure ")[1:]
    assert len(rows) == 8
    assert [" disabled>" in row for row in rows] == [False] * 3 + [True] * 5
    assert "0:13.0–0:14.5</span>" in text


def test_memory_does_not_grow_with_the_recording(tmp_path, monkeypatch):
    monkeypatch.setattr(timeline_page, "_STRETCH", 10)
    peaks = {}
    for seconds in (30, 60, 240):  # the first one also imports
        soundfile.write(tmp_path / "talk.flac", tones(seconds), RATE)
        tracemalloc.start()
        write_timeline_page(
            table((0.0, 9.0, "a", 0.5)), tmp_path / "talk.flac", tmp_path / "p.html"
        )
        peaks[seconds] = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    assert peaks[240] < 1.2 * peaks[60]


def test_a_timeline_of_another_recording_is_refused(tmp_path):
    page = tmp_path / "page.html"
    page.write_text("old")
    for segments in (table(*SEGMENTS), table(*SEGMENTS, duration=15)):
        with pytest.raises(ValueError, match=r"starts at \d+ s, and clip 0 ends at 3 s. Give the"):
            write_timeline_page(segments, tones(3), page)
    assert page.read_text() == "old"
    assert list(tmp_path.iterdir()) == [page]


def test_of_a_damaged_recording_there_is_the_part_that_the_timeline_has(tmp_path):
    path = tmp_path / "cut.flac"
    soundfile.write(path, np.random.default_rng(0).normal(0, 0.1, 160_000), RATE)
    path.write_bytes(path.read_bytes()[:150_000])
    page = write_timeline_page(table((0.0, 2.0, "a", 0.9), duration=3), path, tmp_path / "p.html")
    assert "0:03 of sound" in page.read_text()
    with pytest.raises(AudioError, match=r"cut\.flac: is damaged"):
        write_timeline_page(table((0.0, 2.0, "a", 0.9)), path, page)
    with pytest.raises(AudioError, match=r"missing\.wav"):
        write_timeline_page(table(), tmp_path / "missing.wav", page)


# -- In a browser ----------------------------------------------------------------------------------

# Second of the recording at which it plays, or None.
AT = """[...document.querySelectorAll('figure')].map(f => [f, f.querySelector('audio')])
.filter(([f, a]) => !a.paused).map(([f, a]) => Number(f.dataset.start) + a.currentTime)"""


@pytest.mark.slow
def test_segments_are_played_in_a_browser(page, tmp_path):
    with open_browser(tmp_path) as screen:
        screen.open(page)
        # From the list, at the keyboard.
        screen.run("document.querySelector('.segments [data-from=\"3.0\"]').focus()")
        screen.type('.segments [data-from="3.0"]', " ")
        screen.wait_for(f"({AT})[0] > 3")
        on = "document.querySelectorAll('[data-from=\"3.0\"][aria-pressed]').length"
        assert screen.run(f"return {on}") == 2, "in the list and in the bar"
        screen.wait_for(f"({AT}).length == 0")
        stopped = screen.run("return document.querySelector('audio').currentTime")
        assert 5 <= stopped < 6
        assert screen.run(f"return {on}") == 0
        # From the bar; it goes on in the next rows, and stops in the third, at 13 s.
        screen.click('.bar [data-from="5.0"]')
        screen.wait_for(f"({AT}).length == 1 && ({AT})[0] > 6")
        screen.wait_for(f"({AT})[0] > 12")
        screen.wait_for(f"({AT}).length == 0")
        stopped = screen.run("return document.querySelectorAll('audio')[2].currentTime")
        assert 1 <= stopped < 2
        # A second click stops it, and another segment takes the place of one that plays.
        screen.click('.segments [data-from="0.0"]')
        screen.wait_for(f"({AT})[0] > 0")
        screen.click('.segments [data-from="13.0"]')
        screen.wait_for(f"({AT}).length == 1 && ({AT})[0] > 13")
        screen.click('.segments [data-from="13.0"]')
        screen.wait_for(f"({AT}).length == 0")
        # A row's own control plays on.
        screen.run("const a = document.querySelector('audio'); a.currentTime = 5.5; a.play()")
        screen.wait_for(f"({AT})[0] > 6.2")
        assert screen.messages() == []
        asked, failed = screen.network()
        assert failed == []
        assert {address.partition(":")[0] for address in asked} <= {"file", "data"}


@pytest.mark.slow
def test_what_a_browser_cannot_play_is_told(page, tmp_path):
    text = re.sub(
        'src="data:audio/ogg;base64,[^"]+"', 'src="data:audio/ogg;base64,T2dn"', page.read_text()
    )
    page.write_text(text)
    with open_browser(tmp_path) as screen:
        screen.open(page)
        screen.click('.bar [data-from="3.0"]')
        screen.wait_for("document.querySelector('[role=alert]').innerText")
        assert "The sound can’t be played" in screen.text("[role=alert]")
        assert screen.run("return document.querySelectorAll('[aria-pressed]').length") == 0


@pytest.mark.slow
def test_nothing_is_cut_on_any_screen(tmp_path, monkeypatch):
    monkeypatch.setattr(timeline_page, "_STRETCH", 6)
    names = ["Donaudampfschiffahrtsgesellschaft", *(f"a_speaker-{i}" for i in range(40))]
    rows = [(i / 3, (i + 0.9) / 3, names[i % 41], 0.99) for i in range(45)]
    title = "a_recording-with_a_name_that.goes_on" * 3
    page = tmp_path / "page.html"
    write_timeline_page(table(*rows, duration=15.2), tones(16), page, title=title)
    with open_browser(tmp_path) as screen:
        screen.open(page)
        for width, dark in ((1280, False), (768, True), (390, False)):
            screen.emulate(width=width, height=900, dark=dark)
            wide = [found for found in screen.run(TOO_WIDE) if not found.startswith("BUTTON k")]
            assert wide == [], f"on a screen of {width} pixels"
            colour = screen.run("return getComputedStyle(document.body).backgroundColor")
            assert (int(re.search(r"\d+", colour)[0]) < 60) == dark
        assert screen.run("return [...document.images].every(i => i.naturalWidth > 0)")
        assert screen.messages() == []
