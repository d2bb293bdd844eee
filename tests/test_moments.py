"""Which moment decided, in a report: shown where there is time for it, or why it is not."""

import re
from types import SimpleNamespace

import numpy as np
import pytest
from browser import TOO_WIDE, open_browser
from sklearn.base import BaseEstimator, ClassifierMixin

from skspeech.audio import as_clips
from skspeech.report import moments, write_report
from skspeech.report.moments import Moments

RATE = 16_000


class Hears(ClassifierMixin, BaseEstimator):
    """Says "yes" the louder it is from 0.6 to 0.7 s, and the quieter it is from 0.2 to 0.3 s."""

    def __init__(self, rate=RATE):
        self.rate = rate

    def fit(self, X=None, y=None):
        self.classes_ = np.array(["no", "yes"])
        self.asked_ = []
        return self

    def predict_proba(self, X):
        self.asked_.append(len(X))
        sounds = [clip.load() for clip in as_clips(X, sampling_rate=self.rate)]
        power = np.array(
            [[np.square(w[a : a + 1600]).sum() / 1600 for a in (3200, 9600)] for w in sounds]
        )
        yes = 1 / (1 + np.exp(-1.0 - 300 * (power[:, 1] - power[:, 0])))
        return np.column_stack([1 - yes, yes])


class Slow(Hears):
    """Each clip takes ten seconds of a clock of its own."""

    now = 0.0

    def predict_proba(self, X):
        proba = super().predict_proba(X)
        self.now += 10 * len(X)
        return proba


def noise(seconds=1.0, seed=0):
    return np.random.default_rng(seed).normal(0, 0.1, round(seconds * RATE)).astype(np.float32)


@pytest.fixture
def write(tmp_path):
    """The text of the page, on clips of which the model takes half for "yes" by mistake."""

    def write(model, n=6, seconds=1.0, **options):
        X = [noise(seconds, seed) for seed in range(n)]
        y = np.resize(["no", "yes"], n)
        return write_report(model, X, y, tmp_path / "report.html", **options).read_text()

    return write


def strips(text):
    return [
        re.findall(r'class="(for|against)" style="left:(.*?)%;width:(.*?)%;opacity:(.*?)"', strip)
        for strip in re.findall(r'<div class="moments".*?</div>', text)
    ]


def words(text):
    return re.sub(r"\s+", " ", re.sub(r"<[^>]+>", "", text.split("</style>")[1]))


def test_the_moments_that_decide_are_shown_and_told(write):
    text = write(Hears().fit())
    shown = strips(text)
    assert len(shown) == 3
    for strip in shown:
        assert len(strip) == 20
        assert all(float(width) == 5 for _, _, width, _ in strip)
        by_left = {float(left): (side, float(strength)) for side, left, _, strength in strip}
        assert {by_left[60.0][0], by_left[65.0][0]} == {"for"}
        assert {by_left[20.0][0], by_left[25.0][0]} == {"against"}
        assert min(by_left[left][1] for left in (20.0, 25.0, 60.0, 65.0)) > 0.3
        assert max(s for left, (_, s) in by_left.items() if left in (0, 40, 45, 85, 95)) < 0.05
    told = re.findall(
        r"Most for yes: 0\.6[05]–0\.(?:65|70) s; most against it: 0\.2[05]–", words(text)
    )
    assert len(told) == 3
    assert "orange moments speak for the wrong answer" in words(text)
    assert "have a strip" not in text


def test_a_slow_model_has_the_time_that_is_promised_and_no_more(write, monkeypatch):
    model = Slow().fit()
    monkeypatch.setattr(moments, "time", SimpleNamespace(monotonic=lambda: model.now))
    monkeypatch.setattr(moments, "MOST_SECONDS", 450.0)
    text = write(model)
    # 21 answers for each of two clips; of the third, the clip itself, and one that tells the pace.
    assert model.asked_ == [6, 1, 1, 19, 1, 1, 19, 1, 1]
    assert len(strips(text)) == 2
    assert "Only 2 of these clips have a strip" in words(text)
    monkeypatch.setattr(moments, "MOST_SECONDS", 15.0)
    model.fit()
    text = write(model)
    assert model.asked_ == [6, 1]
    assert strips(text) == []
    assert "would have needed more than" in words(text)


def test_a_model_that_fails_on_muted_clips_has_a_report_with_the_reason(write):
    class Fails(Hears):
        def predict_proba(self, X):
            if len(X) == 19:
                raise RuntimeError("no <silence> please")
            return super().predict_proba(X)

    model = Fails().fit()
    text = write(model)
    assert strips(text) == []
    assert (
        "could not be asked about a clip with muted moments: RuntimeError: no &lt;silence&gt;"
        in text
    )
    assert model.asked_ == [6, 1, 1], "it is not tried again"


def test_where_other_models_predicted_nothing_is_asked(write):
    model = Hears().fit()
    text = write(model, proba=np.tile([0.2, 0.8], (6, 1)))
    assert model.asked_ == []
    assert strips(text) == []
    assert "Which moment" not in text


def test_clips_and_labels_that_are_left_out(tmp_path):
    model = Hears().fit()
    found = Moments(model)
    (short, long) = as_clips([noise(0.12), noise(61)])
    assert len(found.of(short, "yes", 0.12)["strip"]) == 2
    assert found.of(long, "yes", 8.0) is None
    assert found.of(short, "unknown", 0.12) is None
    assert found.problem == ""
    broken = tmp_path / "broken.wav"
    broken.write_bytes(b"RIFF of nothing")
    model = type(
        "Deaf", (Hears,), {"predict_proba": lambda self, X: np.tile([0.1, 0.9], (len(X), 1))}
    )()
    text = write_report(model.fit(), [str(broken)], ["no"], tmp_path / "r.html").read_text()
    assert "It can’t be played" in text
    assert "Which moment" not in text


def test_of_a_longer_clip_the_strip_is_as_long_as_its_picture(write):
    (strip,) = strips(write(Hears().fit(), n=1, seconds=10.5))
    ends = [float(left) + float(width) for _, left, width, _ in strip]
    assert len(strip) == 16
    assert ends[-1] == pytest.approx(100, abs=0.01)
    assert float(strip[1][1]) == pytest.approx(100 * 0.525 / 8, abs=0.01)


def test_a_model_of_another_sampling_rate_hears_the_clips_as_they_are():
    (clip,) = as_clips([noise()])
    model = Hears(rate=8000).fit()
    model.sampling_rate = 8000
    at_8_khz = Moments(model).of(clip, "yes", 1.0)
    assert at_8_khz["most"][0] in (pytest.approx(0.6), pytest.approx(0.65))


def test_where_no_moment_matters_the_page_says_so(write):
    class Deaf(Hears):
        def predict_proba(self, X):
            return np.tile([0.1, 0.9], (len(X), 1))

    text = write(Deaf().fit())
    assert words(text).count("No moment decides alone.") == 3
    assert {strength for strip in strips(text) for *_, strength in strip} == {"0.00"}


@pytest.mark.slow
def test_the_strip_lies_under_the_picture_in_a_browser(write, tmp_path):
    write(Hears().fit())
    with open_browser(tmp_path) as page:
        page.open(tmp_path / "report.html")
        for width in (1280, 390):
            page.emulate(width=width, height=900, dark=False)
            assert page.run(TOO_WIDE) == [], f"on a screen of {width} pixels"
            places = page.run(
                "return [...document.querySelectorAll('.moments')].map(strip => { const a ="
                " strip.getBoundingClientRect(), b = strip.previousElementSibling"
                ".getBoundingClientRect(); return [a.top - b.bottom, a.left - b.left,"
                " a.right - b.right, a.height]; })"
            )
            np.testing.assert_allclose(places, [[0, 0, 0, 10]] * 3, atol=0.5)
        assert page.messages() == []
