"""Which moment, and which band, decided."""

import pickle

import numpy as np
import pytest
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.frozen import FrozenEstimator
from sklearn.model_selection import FixedThresholdClassifier
from sklearn.svm import LinearSVC

from skspeech.audio import AudioError
from skspeech.inspection import OcclusionDisplay, occlusion

RATE = 16_000


class Ear(ClassifierMixin, BaseEstimator):
    """Says "beep" where there is power at 2 kHz, and counts what it is asked."""

    def __init__(self, frequency=2000):
        self.frequency = frequency

    def fit(self, X=None, y=None):
        self.classes_ = np.array(["beep", "rest"])
        self.sizes_ = []
        return self

    def predict_proba(self, X):
        self.sizes_.append(len(X))
        power = [self._power(x) for x in X]
        odds = np.exp(np.array(power) * 20 - 1)
        return np.column_stack([odds / (1 + odds), 1 / (1 + odds)])

    def _power(self, x):
        t = np.arange(len(x)) / RATE
        tone = np.exp(2j * np.pi * self.frequency * t)
        # In short pieces, so that phases don't matter.
        return np.mean(
            [abs(np.mean(p * q)) for p, q in zip(_pieces(x), _pieces(tone), strict=True)]
        )


def _pieces(x):
    return np.array_split(x, max(1, len(x) // 800))


@pytest.fixture
def beep():
    """Two seconds of noise, with a beep at 2 kHz from 0.8 to 1.2 s."""
    t = np.arange(2 * RATE) / RATE
    tone = np.sin(2 * np.pi * 2000 * t) * ((t >= 0.8) & (t < 1.2))
    noise = np.random.default_rng(0).normal(scale=0.01, size=len(t))
    return (0.4 * tone + noise).astype("f4")


def test_the_moment_that_decides_is_found(beep):
    found = occlusion(Ear().fit(), beep, label="beep", n_times=10)
    assert found.effect.shape == found.probabilities.shape == (1, 10)
    assert found.times == pytest.approx(np.arange(11) / 5)
    rest = np.delete(found.effect[0], [4, 5])
    assert found.effect[0, 4:6].min() > 10 * np.abs(rest).max()
    assert found.waveform is not beep
    np.testing.assert_array_equal(found.waveform, beep)


def test_and_the_band(beep):
    found = occlusion(Ear().fit(), beep, label="beep", n_times=5, n_bands=8)
    band, moment = np.unravel_index(found.effect.argmax(), found.effect.shape)
    assert found.times[moment] == pytest.approx(0.8)
    assert found.frequencies[band] <= 2000 < found.frequencies[band + 1]
    assert found.frequencies[0] == 0
    assert found.frequencies[-1] == pytest.approx(8000)


def test_for_one_label_is_against_the_other(beep):
    beeps = occlusion(Ear().fit(), beep, label="beep", n_times=4)
    rest = occlusion(Ear().fit(), beep, label="rest", n_times=4)
    np.testing.assert_allclose(rest.effect, -beeps.effect, atol=1e-9)
    best = occlusion(Ear().fit(), beep, n_times=4)
    model = Ear().fit()
    assert best.label == model.classes_[model.predict_proba([beep])[0].argmax()]
    assert best.probability == model.predict_proba([beep])[0].max()


def test_the_predicted_label_is_that_of_a_threshold(beep):
    model = FixedThresholdClassifier(FrozenEstimator(Ear().fit()), threshold=2.0, pos_label="rest")
    model.fit([beep, beep], ["beep", "rest"])
    found = occlusion(model, beep, n_times=4)
    assert found.label == model.predict([beep])[0] == "beep"
    assert found.probability == model.predict_proba([beep])[0, 0] < 0.5


def test_the_model_is_asked_about_many_at_once():
    model = Ear().fit()
    occlusion(model, np.zeros(30 * RATE, "f4"), n_times=20)
    assert sum(model.sizes_) == 21
    assert max(model.sizes_) == 8  # of half a minute each


@pytest.mark.parametrize("n_samples", [1, 100, 511, 512, 5000, 16_001, 32_000])
def test_all_parts_together_are_the_clip(n_samples):
    """Each sample is muted once: what all tiles take away is everything."""
    waveform = np.random.default_rng(0).normal(scale=0.1, size=n_samples).astype("f4")
    taken = []

    class Keeps(Ear):
        def predict_proba(self, X):
            taken.extend(waveform - x for x in X)
            return super().predict_proba(X)

    n_times = min(n_samples, 23)
    found = occlusion(Keeps().fit(), waveform, n_times=n_times, n_bands=3)
    np.testing.assert_allclose(np.sum(taken[1:], axis=0), waveform, atol=1e-4)
    assert min(abs(part).max() for part in taken[1:]) > 1e-4
    assert np.isfinite(found.effect).all()


def test_mistakes_are_told(beep, tmp_path):
    with pytest.raises(ValueError, match=r"label='boop' is none of the classes \['beep', 'rest'\]"):
        occlusion(Ear().fit(), beep, label="boop")
    with pytest.raises(ValueError, match=r"label=\['beep'\] is none of the classes"):
        occlusion(Ear().fit(), beep, label=["beep"])
    with pytest.raises(ValueError, match="predict_proba of the model holds values that are no"):
        occlusion(Ear(np.nan).fit(), beep)
    with pytest.raises(ValueError, match="LinearSVC, which is not fitted or has no predict_proba"):
        occlusion(LinearSVC(), beep)
    with pytest.raises(ValueError, match="n_times"):
        occlusion(Ear().fit(), beep, n_times=0)
    with pytest.raises((AudioError, OSError), match="no such file"):
        occlusion(Ear().fit(), tmp_path / "nowhere.wav")


def test_the_display_shows_both(beep):
    matplotlib = pytest.importorskip("matplotlib")
    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, ax = plt.subplots()
    display = OcclusionDisplay.from_estimator(
        Ear().fit(), beep, label="beep", n_times=10, n_bands=4, ax=ax
    )
    np.testing.assert_allclose(np.ravel(display.image_.get_array()), display.result.effect.ravel())
    low, high = display.image_.get_clim()
    assert low == -high == -display.result.effect.max()
    assert display.ax_ is ax
    assert display.figure_ is figure
    assert ax.get_xlim() == (0, 2)
    assert ax.get_ylim() == pytest.approx((0, 8))
    assert ax.get_title().startswith("beep: probability 0.")
    display.figure_.draw_without_rendering()
    for name in (0, r"$\wrong$", "Stra\udcdfe"):  # no formula, and a folder's name in Latin-1
        display.result.label = name
        display.plot().figure_.draw_without_rendering()
    pickle.loads(pickle.dumps(display)).figure_.draw_without_rendering()
    silent = OcclusionDisplay.from_estimator(Ear().fit(), np.zeros(8000, "f4"), n_times=3)
    silent.figure_.draw_without_rendering()
    plt.close("all")


@pytest.mark.parametrize(
    "clip", ["nowhere.wav", np.zeros(0, "f4"), np.full(99, np.nan, "f4")], ids=str
)
def test_a_bad_clip_is_named(clip):
    with pytest.raises(AudioError, match=r"nowhere\.wav|clip 0"):
        occlusion(Ear().fit(), clip)
