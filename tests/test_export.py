"""Graphs in ONNX: they answer as the model does, whatever the clip, and say what they are."""

import base64
import functools
import importlib.util
import io
import json
import math
import pickle
import re
import threading
import warnings
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest
import soundfile
import soxr
import torch
from browser import open_browser
from sklearn.compose import ColumnTransformer
from sklearn.linear_model import LogisticRegression
from sklearn.naive_bayes import GaussianNB
from sklearn.pipeline import FeatureUnion, make_pipeline
from sklearn.preprocessing import Normalizer, StandardScaler
from test_resnetse34l import make_checkpoint

import skspeech
from skspeech import (
    AugmentedClassifier,
    ClippedStandardScaler,
    FusedEmbeddingClassifier,
    GeometricMeanVotingClassifier,
    KeywordEmbedding,
    MoonshineEmbedding,
    MusicEmbedding,
    MusicEmbeddingClassifier,
    ShrinkageDiscriminantAnalysis,
    SignedSqrt,
    SpeakerEmbedding,
    SpeakerEmbeddingClassifier,
    SpectralStatistics,
    TimeBudgetClassifier,
    WhisperEmbedding,
    WideLogisticRegression,
)
from skspeech._pickled import PickledClassifier
from skspeech._spectrogram import MelSpectrogram, power_to_db
from skspeech.audio.level import MAX_GAIN_DB, SHORTEST_PERIOD, at_level
from skspeech.cli import main
from skspeech.datasets import fetch_emodb, fetch_fsdd, make_speech_like
from skspeech.export import export_onnx
from skspeech.transformers._windowed import _MIN_TAIL, frame_starts, pool_windows
from skspeech.transformers.networks import listening
from skspeech.transformers.speaker import merge_windows, raise_volume
from skspeech.transformers.traceable import as_torch
from skspeech.transformers.whisper import _standardised

onnx = pytest.importorskip("onnx")
onnxruntime = pytest.importorskip("onnxruntime")

RATE = 16_000
SINGLE = {"dtype": "float32", "memory": False}  # what a graph computes in


# -- What was numpy before -------------------------------------------------------------------------


def noise(n, seed=0, level=0.1):
    return np.float32(level) * np.random.default_rng(seed).standard_normal(n, dtype=np.float32)


@pytest.mark.parametrize("n_samples", [1, 799, 800, 16_001])
@pytest.mark.parametrize("scale", [0.0, 1e-12, 1e-5, 1.0, 30.0])
@pytest.mark.parametrize("offset", [0.0, 0.3])
def test_level(n_samples, scale, offset):
    waveform = np.float32(scale) * noise(n_samples) + np.float32(offset)
    ours = listening.at_level(
        torch.from_numpy(waveform), -20.0, shortest=SHORTEST_PERIOD, max_gain=MAX_GAIN_DB
    )
    np.testing.assert_allclose(ours, at_level(waveform, -20.0), rtol=1e-3, atol=2e-4)


@pytest.mark.parametrize("scale", [0.0, 1e-6, 0.1, 3.0])
def test_least_level(scale):
    waveform = noise(4000, level=scale)
    ours = listening.at_least(torch.from_numpy(waveform), -30.0)
    np.testing.assert_allclose(ours, raise_volume(waveform, -30.0), rtol=1e-5)


@pytest.mark.parametrize(("size", "hop"), [(160, 80), (160, 160), (30, 7), (40, 3), (10, 1)])
def test_windows_start_where_they_did(size, hop):
    tail = math.ceil(_MIN_TAIL * size)
    for n_frames in range(size, 4 * size):
        ours = listening.window_starts(torch.tensor(n_frames), size, hop, tail)
        assert ours.tolist() == frame_starts(n_frames, size, hop).tolist()


@pytest.mark.parametrize("n_samples", [600, 12_345])
@pytest.mark.parametrize("pad_mode", ["constant", "reflect"])
def test_mel_frames_and_decibels(n_samples, pad_mode):
    spectrogram = MelSpectrogram(512, 160, 40, win_length=400, pad_mode=pad_mode)
    waveforms = np.stack([noise(n_samples), np.zeros(n_samples, dtype=np.float32)])
    expected, starts = spectrogram(list(waveforms))
    ours = listening.MelFrames(spectrogram)(torch.from_numpy(waveforms))
    np.testing.assert_allclose(ours.flatten(0, 1), expected, rtol=1e-4, atol=1e-8)
    levels = listening.decibels(ours, amin=1e-9).flatten(0, 1)
    np.testing.assert_allclose(levels, power_to_db(expected, starts, amin=1e-9), atol=1e-3)


def test_a_reflection_is_reflected_where_a_clip_is_shorter_than_it():
    spectrogram = MelSpectrogram(512, 160, 40, pad_mode="reflect")
    waveform = noise(100)
    ours = listening.MelFrames(spectrogram)(torch.from_numpy(waveform)[None])[0]
    np.testing.assert_allclose(ours, spectrogram([waveform])[0], rtol=1e-4)


def test_short_pieces():
    waveform = noise(321, level=1e-3) + np.float32(0.2)
    ours = listening.standardised(torch.from_numpy(waveform)[None])[0]
    np.testing.assert_allclose(ours, _standardised(waveform), atol=1e-4)
    ours = listening.repeated(torch.from_numpy(waveform), 1000)
    np.testing.assert_array_equal(ours, np.resize(waveform, 1000))


@pytest.mark.parametrize("n_windows", [1, 5])
def test_pooling(n_windows):
    speaker, keyword = SpeakerEmbedding(pooling=("mean", "max")), KeywordEmbedding(pooling="std")
    blocks = speaker._blocks()
    windows = noise(n_windows * sum(n for _, n in blocks)).reshape(n_windows, -1)
    ours = as_torch(speaker).pool(torch.from_numpy(windows))
    np.testing.assert_allclose(ours, merge_windows(windows, blocks), rtol=1e-5, atol=1e-7)
    ours = as_torch(keyword).pool(torch.from_numpy(windows))
    np.testing.assert_allclose(ours, pool_windows(windows, ("std",)), rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize(
    "extractor",
    [
        SpeakerEmbedding(layers=(2, "embedding"), level=None, max_duration=0.777, hop=0.1),
        WhisperEmbedding(window=0.5, hop=0.2, layers=1, position="last", dtype="float32"),
        WhisperEmbedding(window=0.02, layers=0, pooling="max", dtype="float32"),
        MoonshineEmbedding(
            window=0.5, hop=0.2, layers="all", pooling=("mean", "std", "max"), dtype="float32"
        ),
        MoonshineEmbedding(
            window=0.02, layers=(0, 2), level=None, max_duration=0.777, dtype="float32"
        ),
        MoonshineEmbedding(layers=-1, pooling="max", dtype="float32"),
        MusicEmbedding(window=0.3, hop=0.1, pooling=("last", "std"), dtype="float32"),
        KeywordEmbedding(level=None, pooling=("last", "max")),
    ],
    ids=lambda extractor: type(extractor).__name__,
)
def test_settings(extractor):
    clips = [noise(n, seed=n) for n in (1, 320, 12_431, 16_003)]
    expected = extractor.set_params(memory=False).transform(clips)
    module = as_torch(extractor)
    with torch.inference_mode():
        ours = np.array([module(torch.from_numpy(clip)).numpy() for clip in clips])
    np.testing.assert_allclose(ours, expected, rtol=1e-3, atol=1e-3)


# -- Whole graphs ----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def speech():
    return make_speech_like(18, n_classes=3, duration=0.4, random_state=0)


@pytest.fixture(scope="module")
def resnet(tmp_path_factory):
    path = tmp_path_factory.mktemp("weights") / "made_up.model"
    torch.save(make_checkpoint(), path)
    return str(path)


def _speaker(**settings):
    return SpeakerEmbeddingClassifier(extractor=SpeakerEmbedding(**settings, memory=False))


MODELS = {
    "ge2e": lambda resnet: _speaker(dtype="float32"),
    "resnetse34l": lambda resnet: _speaker(model="resnetse34l", weights=resnet),
    "smart-turn": lambda resnet: SpeakerEmbeddingClassifier(extractor=WhisperEmbedding(**SINGLE)),
    "moonshine": lambda resnet: SpeakerEmbeddingClassifier(
        extractor=MoonshineEmbedding(window=2.0, hop=0.9, **SINGLE)
    ),
    "music": lambda resnet: MusicEmbeddingClassifier(
        extractor=MusicEmbedding(**SINGLE), scaling="signed_sqrt"
    ),
    "keyword": lambda resnet: make_pipeline(
        KeywordEmbedding(memory=False), ClippedStandardScaler(), ShrinkageDiscriminantAnalysis()
    ),
    "vote": lambda resnet: GeometricMeanVotingClassifier(
        [
            ("wide", make_pipeline(KeywordEmbedding(), _divider(), WideLogisticRegression())),
            ("none", "drop"),
            ("root", make_pipeline(KeywordEmbedding(), SignedSqrt(norm="l1"), _logistic())),
            ("long", make_pipeline(KeywordEmbedding(), Normalizer("max"), _logistic())),
        ],
        weights=[0.5, 1, 2, 0],
        floor=0.02,
        calibrate=3,
    ),
    "fused": lambda resnet: FusedEmbeddingClassifier(
        FeatureUnion([("a", KeywordEmbedding()), ("b", KeywordEmbedding(pooling="max"))]),
        scaling="normalize",
        memory=False,
    ),
    "budget": lambda resnet: TimeBudgetClassifier(
        [("some", make_pipeline(KeywordEmbedding(), _some_columns(), _divider(), _logistic()))],
        time_budget=30,
        random_state=0,
    ),
}


def _divider():
    return StandardScaler(with_mean=False)


def _some_columns():
    return ColumnTransformer([("kept", "passthrough", [*range(150, 20, -1)])])


def _logistic():
    return LogisticRegression(C=10.0)


def odd_clips():
    """Short, long, quiet, loud and silent ones."""
    (voice,) = make_speech_like(1, duration=5.1, random_state=1).data
    lengths = (1, 777, 6543, 25_600, 25_601, 48_123, len(voice))
    return [
        *(voice[:n] for n in lengths),
        voice[:20_000] * np.float32(1e-4),
        voice[:20_000] * np.float32(20),
        voice[:20_000] + np.float32(0.3),
        np.zeros(12_000, dtype=np.float32),
        np.full(16_000, 0.25, dtype=np.float32),
    ]


def answers(path, clips):
    session = onnxruntime.InferenceSession(path)
    pairs = [session.run(["probabilities", "label"], {"waveform": clip}) for clip in clips]
    return np.array([p for p, _ in pairs]), [label.item() for _, label in pairs], session


def check(path, model, clips):
    found, labels, session = answers(path, clips)
    expected = model.predict_proba([(clip, RATE) for clip in clips])
    np.testing.assert_allclose(found, expected, atol=1e-3)
    np.testing.assert_allclose(found.sum(axis=1), 1, atol=1e-5)
    assert labels == model.classes_[found.argmax(axis=1)].tolist()
    assert json.loads(session.get_modelmeta().custom_metadata_map["classes"]) == (
        model.classes_.tolist()
    )
    return found


@pytest.mark.parametrize("name", MODELS)
def test_answers_are_those_of_the_model(name, speech, resnet, tmp_path, no_repeats):
    model = MODELS[name](resnet)
    codes = speech.target if name != "music" else speech.target % 2
    labels = codes - 7 if name == "keyword" else np.array(["anna", "bjørn", "5"])[codes]
    model.fit(speech.data, labels)
    path = export_onnx(model, tmp_path / "model.onnx")
    assert path == tmp_path / "model.onnx"
    found = check(path, model, [*odd_clips(), *speech.data[:4]])
    assert np.ptp(found, axis=0).max() > 0.1  # the clips do not all get the same answer
    assert [item.name for item in tmp_path.iterdir()] == ["model.onnx"]


@pytest.fixture(scope="module")
def model(speech):
    model = make_pipeline(KeywordEmbedding(), ClippedStandardScaler(), _logistic())
    return model.fit(speech.data, np.array(["low", "mid", "high"])[speech.target])


@pytest.fixture(scope="module")
def exported(model, tmp_path_factory):
    return export_onnx(model, tmp_path_factory.mktemp("graphs") / "model.onnx")


def test_what_the_file_says(exported):
    session = onnxruntime.InferenceSession(exported)
    assert session.get_modelmeta().custom_metadata_map == {
        "classes": '["high", "low", "mid"]',
        "sampling_rate": "16000",
        "length": "any",
        "extractor": "KeywordEmbedding",
        "skspeech_version": skspeech.__version__,
    }
    (waveform,) = session.get_inputs()
    assert (waveform.name, waveform.shape, waveform.type) == (
        "waveform",
        ["n_samples"],
        "tensor(float)",
    )
    assert [(o.name, o.shape, o.type) for o in session.get_outputs()] == [
        ("probabilities", [3], "tensor(float)"),
        ("label", [], "tensor(string)"),
    ]
    onnx.checker.check_model(str(exported), full_check=True)


def test_no_path_of_this_machine_is_in_the_file(exported):
    content = exported.read_bytes()
    assert b"skspeech/" not in content
    assert str(exported.parent).encode() not in content
    assert not [node.doc_string for node in onnx.load(exported).graph.node if node.doc_string]


def test_a_folder_of_weights_is_not_told(speech, resnet, tmp_path):
    extractor = SpeakerEmbedding("resnetse34l", weights=resnet, layers=1, window=0.2)
    model = make_pipeline(extractor, _logistic()).fit(speech.data, speech.target)
    content = export_onnx(model, tmp_path / "model.onnx").read_bytes()
    assert b"SpeakerEmbedding resnetse34l" in content
    assert b"made_up" not in content


def test_no_samples_are_an_error_or_silence(speech, tmp_path):
    """And not the end of the program, as a division of integers by zero is."""
    model = make_pipeline(SpeakerEmbedding(layers=1), _logistic()).fit(speech.data, speech.target)
    path = export_onnx(model, tmp_path / "model.onnx")
    with pytest.raises(Exception, match="indices element out of data bounds"):
        answers(path, [np.zeros(0, dtype=np.float32)])


@pytest.mark.parametrize(
    ("labels", "written", "kind"),
    [
        (np.array([True, False]), ["False", "True"], "tensor(string)"),
        (np.array([1.0, -2.0]), ["-2.0", "1.0"], "tensor(string)"),
        (np.array(["b", 'a "1"'], dtype=object), ['a "1"', "b"], "tensor(string)"),
        (np.array([300, -4], dtype=np.int16), [-4, 300], "tensor(int64)"),
    ],
)
def test_labels(labels, written, kind, speech, tmp_path):
    X, y = speech.data, labels[speech.target % 2]
    model = make_pipeline(KeywordEmbedding(), _logistic()).fit(X, y)
    path = export_onnx(model, tmp_path / "model.onnx")
    found, named, session = answers(path, X[:2])
    assert json.loads(session.get_modelmeta().custom_metadata_map["classes"]) == written
    assert named == [written[i] for i in found.argmax(axis=1)]
    assert session.get_outputs()[1].type == kind


@pytest.mark.parametrize("fit_intercept", [False, True])
def test_two_classes_by_liblinear(fit_intercept, speech, tmp_path):
    head = LogisticRegression(solver="liblinear", fit_intercept=fit_intercept)
    model = make_pipeline(KeywordEmbedding(), head).fit(speech.data, speech.target % 2)
    check(export_onnx(model, tmp_path / "model.onnx"), model, speech.data[:4])


@pytest.mark.parametrize(
    ("model", "because", "of"),
    [
        (make_pipeline(SpectralStatistics(), GaussianNB()), "SpectralStatistics", "→ GaussianNB"),
        (make_pipeline(KeywordEmbedding(), GaussianNB()), "GaussianNB", "KeywordEmbedding →"),
        (
            GeometricMeanVotingClassifier(
                [("a", AugmentedClassifier(make_pipeline(SpectralStatistics(), GaussianNB())))]
            ),
            "SpectralStatistics",
            "GeometricMeanVotingClassifier(AugmentedClassifier(SpectralStatistics →",
        ),
        (
            make_pipeline(
                KeywordEmbedding(),
                ColumnTransformer(
                    [("some", "passthrough", [0, 1])], transformer_weights={"some": 2.0}
                ),
                LogisticRegression(),
            ),
            "ColumnTransformer with transformer_weights",
            "KeywordEmbedding →",
        ),
    ],
    ids=["extractor", "head", "vote", "weights"],
)
def test_what_can_not_be_exported_is_told(model, because, of, speech, tmp_path):
    model.fit(speech.data, speech.target)
    with pytest.raises(ValueError, match=f"because of its {because}") as refused:
        export_onnx(model, tmp_path / "model.onnx")
    assert of in str(refused.value)
    assert "What can be exported: SpeakerEmbedding" in str(refused.value)
    assert "give them to TimeBudgetClassifier as candidates" in str(refused.value)
    assert list(tmp_path.iterdir()) == []


def test_what_is_no_fitted_classifier(tmp_path):
    with pytest.raises(ValueError, match="KeywordEmbedding is no classifier"):
        export_onnx(KeywordEmbedding(), tmp_path / "model.onnx")
    with pytest.raises(ValueError, match="not fitted"):
        export_onnx(_speaker(), tmp_path / "model.onnx")


@pytest.mark.parametrize("where", ["in torch", "under ONNX Runtime"])
def test_a_graph_with_other_answers_is_not_written(where, model, tmp_path, monkeypatch):
    path = tmp_path / "model.onnx"
    path.write_bytes(b"the one from before")
    other = {"in torch": "_by_torch", "under ONNX Runtime": "_by_onnxruntime"}[where]
    monkeypatch.setattr(f"skspeech.export.writing.{other}", lambda *given: np.zeros((3, 3)))
    with pytest.raises(RuntimeError, match=f"other probabilities {where}"):
        export_onnx(model, path)
    assert path.read_bytes() == b"the one from before"


def test_without_onnx_the_extra_is_named(model, tmp_path, monkeypatch):
    find_spec = importlib.util.find_spec
    monkeypatch.setattr(
        "importlib.util.find_spec", lambda name: None if name == "onnx" else find_spec(name)
    )
    with pytest.raises(ImportError, match=r"needs the package onnx: pip install '\.\[onnx\]'"):
        export_onnx(model, tmp_path / "model.onnx")


def test_command(model, tmp_path, capsys):
    saved, path = tmp_path / "model.skspeech", tmp_path / "model.onnx"
    skspeech.save(model, saved)
    assert main(["export", str(saved), "-o", str(path)]) == 0
    assert "model.onnx: 2." in capsys.readouterr().err
    check(path, model, odd_clips()[2:4])
    assert main(["export", str(saved), "-o", str(path)]) == 2
    assert "--overwrite" in capsys.readouterr().err
    assert main(["export", str(saved), "-o", str(path), "--overwrite", "-q"]) == 0
    assert capsys.readouterr() == ("", "")


def test_command_tells_what_it_can_not_export(speech, tmp_path, capsys):
    saved = tmp_path / "model.skspeech"
    model = make_pipeline(SpectralStatistics(), _logistic()).fit(speech.data, speech.target)
    skspeech.save(model, saved)
    assert main(["export", str(saved), "-o", str(tmp_path / "model.onnx")]) == 2
    assert "because of its SpectralStatistics" in capsys.readouterr().err


# -- Real speech -----------------------------------------------------------------------------------


def fitted(name, fetch, data_home):
    """A model of 40 recordings, and 20 others."""
    clips = fetch(data_home=data_home)
    rows = np.random.default_rng(0).permutation(len(clips.data))[:60]
    X, y = np.array(clips.data)[rows], clips.target[rows]
    return MODELS[name](None).fit(X[:40], y[:40]), X[40:]


@pytest.mark.data
@pytest.mark.parametrize("name", ["ge2e", "smart-turn", "moonshine", "keyword"])
@pytest.mark.parametrize("fetch", [fetch_fsdd, fetch_emodb])
def test_real_speech(name, fetch, data_home, tmp_path):
    model, X = fitted(name, fetch, data_home)
    path = export_onnx(model, tmp_path / "model.onnx")
    waveforms = [skspeech.audio.as_clips([x])[0].load() for x in X]
    found, _, _ = answers(path, waveforms)
    np.testing.assert_allclose(found, model.predict_proba(X), atol=1e-3)


# -- In a browser ----------------------------------------------------------------------------------

ROOT = Path(__file__).parents[1]
CLASSIFY = """
const bytes = Uint8Array.from(atob(arguments[0]), character => character.charCodeAt(0));
return classify(new File([bytes], "clip")).then(([label, p]) => [String(label), Array.from(p)]);
"""


class Handler(SimpleHTTPRequestHandler):
    def log_message(self, *arguments):
        """Nothing is printed."""


@pytest.fixture
def site(tmp_path):
    """A folder with what the guide tells to serve but the model, and its address."""
    package = ROOT / "node_modules" / "onnxruntime-web" / "dist"
    if not package.is_dir():
        pytest.skip("needs the npm package: npm install --no-save onnxruntime-web")
    guide = (ROOT / "docs" / "guide" / "services.md").read_text()
    (script,) = re.findall(r"`(<script src=.*</script>)`", guide)
    (snippet,) = re.findall(r"```js\n(.*?)```", guide, re.DOTALL)
    folder = tmp_path / "site"
    folder.mkdir()
    for name in re.findall(r"`(ort[-.\w]+)`", guide):
        (folder / name).symlink_to(package / name)
    (folder / "page.html").write_text(
        f'<!doctype html><link rel="icon" href="data:,">{script}'
        f'<script type="module">{snippet}; window.classify = classify</script>'
    )
    handler = functools.partial(Handler, directory=folder)
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield folder, f"http://127.0.0.1:{server.server_port}/page.html"
        server.shutdown()
        thread.join()


def as_file(path, rate, channels):
    """A recording at another sampling rate, and quieter from channel to channel."""
    waveform = soxr.resample(*soundfile.read(path), rate)
    file = io.BytesIO()
    soundfile.write(file, np.outer(waveform, 0.9 / np.arange(1, channels + 1)), rate, format="WAV")
    return file.getvalue()


@pytest.mark.slow
@pytest.mark.data
@pytest.mark.parametrize("name", ["ge2e", "keyword"])
@pytest.mark.parametrize("fetch", [fetch_fsdd, fetch_emodb])
def test_the_guide_s_page_answers_as_the_model_does(name, fetch, data_home, site, tmp_path):
    folder, address = site
    model, X = fitted(name, fetch, data_home)
    export_onnx(model, folder / "model.onnx")
    with open_browser(tmp_path) as page:
        page.open(address)
        page.wait_for("typeof classify == 'function'")
        # What resampling by the browser changes is told in the guide.
        for rate, channels, atol in [
            (RATE, 1, 1e-3),
            (RATE, 2, 1e-3),
            (48_000, 1, 0.1),
            (8000, 2, 0.15),
        ]:
            files = [as_file(x, rate, channels) for x in X]
            given = [page.run(CLASSIFY, base64.b64encode(file).decode()) for file in files]
            found = np.array([probabilities for _, probabilities in given])
            np.testing.assert_allclose(found, model.predict_proba(files), atol=atol)
            assert [label for label, _ in given] == (
                model.classes_[found.argmax(axis=1)].astype(str).tolist()
            )
        assert page.messages() == []


# -- Half precision --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "classifier", [SpeakerEmbeddingClassifier, MusicEmbeddingClassifier, FusedEmbeddingClassifier]
)
def test_on_a_processor_with_bfloat16(classifier, speech, tmp_path, set_bfloat16):
    """With default settings the model computes in it; the graph does not."""
    set_bfloat16(True)
    model = classifier().fit(speech.data, speech.target)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "The model computes in half precision")
        path = export_onnx(model, tmp_path / "model.onnx")
    assert onnx.load(path).graph.output


def test_what_half_precision_changes_is_told(speech, tmp_path, set_bfloat16):
    """Units of musicnn that are inactive in all clips, scaled like the others."""
    extractor = MusicEmbedding("mtt_musicnn", memory=False, device="cpu")
    model = make_pipeline(extractor, StandardScaler(), LogisticRegression())
    set_bfloat16(True)
    model.fit(speech.data, speech.target)
    with pytest.warns(UserWarning, match=r"in half precision.* they differ by up to .*dtype='floa"):
        export_onnx(model, tmp_path / "model.onnx")


def test_members_that_a_worker_trained(speech, tmp_path, set_bfloat16):
    """They are pickles until their first use, and computed in half precision nevertheless."""
    set_bfloat16(True)
    member = make_pipeline(SpeakerEmbedding(memory=False), StandardScaler(), LogisticRegression())
    member.fit(speech.data, speech.target)
    trained = PickledClassifier.from_bytes(pickle.dumps(member), member.classes_, "trained")
    model = GeometricMeanVotingClassifier.from_fitted([("here", member), ("there", trained)])
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "The model computes in half precision")
        path = export_onnx(model, tmp_path / "model.onnx")
    assert trained.load()[0].dtype == "auto"  # the model itself stays as it was
    check(path, member.set_params(speakerembedding__dtype="float32"), odd_clips())
    told = {item.key: item.value for item in onnx.load(path).metadata_props}["extractor"]
    assert told.count("SpeakerEmbedding") == 1
