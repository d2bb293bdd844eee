"""The line-ups: what is in them, in which order, and that they can be trained."""

import numpy as np
import pytest
from sklearn import config_context
from sklearn.base import clone
from sklearn.naive_bayes import GaussianNB
from sklearn.pipeline import make_pipeline
from sklearn.utils import get_tags

from skspeech import SpectralStatistics, TimeBudgetClassifier
from skspeech._routing import fit_params_for
from skspeech.candidates import PRESETS, default_candidates
from skspeech.datasets import make_speech_like
from skspeech.weights import WeightsError, load_weights


def _clips(seconds):
    rng = np.random.default_rng(0)
    return [rng.normal(scale=0.1, size=int(16_000 * seconds)).astype(np.float32)] * 6


LABELS = ["a", "b"] * 3


@pytest.mark.parametrize("preset", PRESETS)
def test_quick_candidates_ask_for_weights(preset):
    candidates = default_candidates(_clips(2.5), LABELS, preset=preset, device="cpu")
    with config_context(enable_metadata_routing=True):
        for candidate in candidates:
            params = fit_params_for(candidate.estimator, sample_weight=np.ones(6), owner="run")
            assert params or candidate.where == "worker", candidate.name


@pytest.mark.parametrize("preset", PRESETS)
@pytest.mark.parametrize("seconds", [0.4, 2.5, 40.0])
def test_every_line_up_is_sound(preset, seconds):
    candidates = default_candidates(_clips(seconds), LABELS, preset=preset, device="cpu")
    names = [candidate.name for candidate in candidates]
    assert len(set(names)) == len(names) > 2
    assert [candidate.first for candidate in candidates].count(True) == 1
    assert candidates[0].first
    for candidate in candidates:
        assert hasattr(clone(candidate.estimator), "predict_proba")
        if candidate.where != "worker":
            extractor = _extractor(candidate)
            blocks = getattr(extractor, "transformer_list", [("alone", extractor)])
            assert not any(get_tags(block).requires_fit for _, block in blocks)
        else:
            assert "max_time" in candidate.estimator.get_params()


def _extractor(candidate):
    pipeline = getattr(candidate.estimator, "estimator", candidate.estimator)
    return pipeline[0]


def test_the_speaker_network_has_a_quick_look_at_long_clips_only():
    for seconds, looks in [(5.0, {1.6, None}), (1.7, {None})]:
        candidates = default_candidates(_clips(seconds), LABELS, preset="fast")
        extractors = [c.estimator[0] for c in candidates if c.name.startswith("speaker")]
        assert {extractor.max_duration for extractor in extractors} == looks


@pytest.mark.parametrize("preset", PRESETS)
def test_settings_reach_every_extractor(preset, tmp_path):
    settings = {"device": "cpu", "memory": str(tmp_path), "n_jobs": 1}
    for candidate in default_candidates(_clips(2.5), LABELS, preset=preset, **settings):
        parameters = candidate.estimator.get_params()
        for name, value in settings.items():
            if name == "memory" and candidate.where == "worker":
                continue
            own = [v for k, v in parameters.items() if k.split("__")[-1] == name]
            assert value in own, (
                f"{candidate.name}: the setting {name}={value!r} does not reach it; its extractor "
                f"has to take {', '.join(settings)}"
            )


def test_columns_are_those_that_their_names_say():
    candidates = {c.name: c.estimator for c in default_candidates(_clips(2.5), LABELS)}
    names = candidates["words"][0].get_feature_names_out()
    words = names[candidates["words"].named_steps["columns"].transformers[0][2]]
    assert len(words) == 4 * 256
    assert all(name.startswith("ge2e_lstm2_") for name in words)
    speaker = names[candidates["speaker"].named_steps["columns"].transformers[0][2]]
    assert len(speaker) == 7 * 256
    assert not any("_max_" in name or "_last_" in name for name in speaker)


def test_autospeech2020_keeps_the_order_and_the_scalings_of_its_entry():
    names = _names_of_linear_ones(12.0)
    assert names[:4] == [
        "speaker-3s-standardize",
        "speaker-3s-normalize",
        "speaker-3s-none",
        "speaker-3s-signed-sqrt",
    ]
    assert {name.split("-")[0] for name in names} == {"speaker", "music", "fused"}
    seconds = [name.split("-")[1] for name in names]
    assert list(dict.fromkeys(seconds)) == ["3s", "5s", "10s", "15s", "all"]


def test_crops_longer_than_the_clips_are_left_out():
    names = _names_of_linear_ones(4.0)
    assert {name.split("-")[1] for name in names} == {"3s", "5s", "all"}


def test_short_clips_are_not_heard_twice():
    names = _names_of_linear_ones(1.0)
    assert {name.rsplit("-", 1)[0].removesuffix("-signed") for name in names} == {
        "speaker-3s",
        "music-all",
        "fused-all",
    }


def _names_of_linear_ones(seconds):
    candidates = default_candidates(_clips(seconds), LABELS, preset="autospeech2020")
    return [candidate.name for candidate in candidates if candidate.where == "auto"]


def test_autospeech2020_has_six_approaches():
    candidates = default_candidates(_clips(4.0), LABELS, preset="autospeech2020")
    assert {c.name for c in candidates if c.where == "worker"} == {
        "fine-tuned",
        "mixup-cnn",
        "recurrent",
    }


def test_what_cannot_train_in_the_time_is_left_out():
    names = [
        {c.name for c in default_candidates(_clips(2.5), LABELS, preset=preset, time_budget=5.0)}
        for preset in ("best", "autospeech2020")
    ]
    assert "everything" in names[0]
    assert "speaker-3s-standardize" in names[1]
    assert names[1].isdisjoint({"mixup-cnn", "recurrent"})


def test_with_much_time_the_best_line_up_trains_networks():
    for seconds, expected in [(60.0, set()), (600.0, {"fine-tuned", "mixup-cnn", "recurrent"})]:
        candidates = default_candidates(_clips(2.5), LABELS, time_budget=seconds)
        assert {c.name for c in candidates if c.where == "worker"} == expected


def test_a_seed_reaches_every_candidate_that_draws():
    for seed in (0, 1):
        candidates = [
            default_candidates(_clips(2.5), LABELS, preset="autospeech2020", random_state=seed)
            for _ in range(2)
        ]
        n_drawn = 0
        for one, other in zip(*candidates, strict=True):
            parameters = one.estimator.get_params()
            drawn = {key: v for key, v in parameters.items() if key.endswith("random_state")}
            assert None not in drawn.values()
            assert drawn == {key: other.estimator.get_params()[key] for key in drawn}
            n_drawn += len(drawn)
        assert n_drawn > 0


def test_an_unknown_preset_is_named():
    with pytest.raises(ValueError, match=r"preset='slow' is not accepted. Use one of 'best'"):
        default_candidates(_clips(1.0), LABELS, preset="slow")


def test_clips_that_cannot_be_read_are_left_to_the_candidates(tmp_path):
    clips = [*_clips(2.5), tmp_path / "missing.wav"]
    assert default_candidates(clips, [*LABELS, "a"])[0].name == "spectral"


@pytest.mark.parametrize(
    "preset",
    [p if p == "fast" else pytest.param(p, marks=pytest.mark.slow) for p in PRESETS],
)
def test_line_ups_train_and_tell_made_up_words_apart(preset):
    for name in ("ge2e", "musicnn-msd", "vgg-msd", "speech-embedding"):
        try:
            load_weights(name)
        except WeightsError as error:
            pytest.skip(f"needs the pretrained weights: {error}")
    clips = make_speech_like(n_samples=48, n_classes=3, random_state=0)
    half = np.arange(48) % 2 == 0
    X = [clip for clip, train in zip(clips.data, half, strict=True) if train]
    X_test = [clip for clip, train in zip(clips.data, half, strict=True) if not train]
    classifier = TimeBudgetClassifier(preset=preset, time_budget=30, random_state=0)
    classifier.fit(X, clips.target[half])
    # On a busy machine, the time may not be enough to train networks; nothing else may be missing.
    for name, why, _ in classifier.failures_:
        assert name in ("fine-tuned", "mixup-cnn", "recurrent")
        assert why.startswith("TimeoutError")
    assert classifier.score(X_test, clips.target[~half]) > 0.8


def test_what_there_is_no_time_for_may_be_left_out_by_name():
    # There is no time for the two networks, which would need more the more clips there are, but
    # for all else, on busy machines, too: nothing that the line-up makes here is trained.
    clips = [*np.random.default_rng(0).normal(0, 0.1, (200, 1600))]
    y = np.arange(200) % 2
    others = ["-speaker*", "-music*", "-fused*", "-fine*"]
    own = ("own", make_pipeline(SpectralStatistics(), GaussianNB()))
    settings = {"preset": "autospeech2020", "time_budget": 28, "random_state": 0}
    classifier = TimeBudgetClassifier(["auto", own, "-recurrent*", *others], **settings)
    names = set(classifier.fit(clips, y).results_["name"])
    assert not any(name.startswith(("recurrent", "mixup-cnn", "music")) for name in names)
    assert names == {"own"}
    with pytest.raises(ValueError, match=r"leaves out \['quantum\*'\], which matches no name"):
        TimeBudgetClassifier(["auto", "-quantum*"], **settings).fit(clips, y)
