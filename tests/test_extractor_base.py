"""The public extension point: one class with one method, and what its features are kept by."""

import functools
import pickle
import sys
import threading
import time
import types
from unittest import mock

import numpy as np
import pytest
import soundfile
from expected_failures import expected_failures
from sklearn.base import clone
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.utils.estimator_checks import check_estimator

from skspeech import AudioError, Extractor, SpeakerEmbedding, TransformersEmbedding, cache
from skspeech.audio import as_clips
from skspeech.datasets import make_speech_like
from skspeech.transformers import base

# Threads that load networks at the same time meet nowhere else.
from skspeech.transformers._windowed import shared_network
from skspeech.transformers.keys import _source_id, definition, fingerprint_of


class Loudness(Extractor):
    """Ten lines: how loud a clip is, in parts of its length."""

    def __init__(self, n_parts=4, memory=None):
        self.n_parts = n_parts
        self.memory = memory

    def _extract(self, waveforms):
        parts = [np.array_split(waveform, self.n_parts) for waveform in waveforms]
        return [[np.abs(part).mean() if len(part) else 0.0 for part in p] for p in parts]


@pytest.fixture(autouse=True)
def empty_cache():
    cache.clear()


@pytest.fixture(scope="module")
def clips():
    return make_speech_like(n_samples=6, random_state=0).data


@pytest.fixture
def calls(monkeypatch):
    """The number of clips in each call."""
    seen, extract = [], Loudness._extract
    monkeypatch.setattr(
        Loudness, "_extract", lambda self, w: seen.append(len(w)) or extract(self, w)
    )
    return seen


def test_it_passes_scikit_learns_checks():
    expected = {check: reason.why for check, reason in expected_failures(Loudness()).items()}
    check_estimator(Loudness(), expected_failed_checks=expected, on_skip=None)


def test_it_takes_clips_in_any_form(clips, tmp_path):
    path = tmp_path / "clip.wav"
    samples = np.round(clips[0] * 32767).astype(np.int16)
    soundfile.write(path, samples, 16_000)
    as_float = (samples / 32768).astype(np.float32)
    expected = Loudness().fit_transform([as_float])
    assert expected.shape == (1, 4)
    assert expected.dtype == np.float32
    for form in ([path], [str(path)], [samples], [(as_float, 16_000)], as_float[None]):
        np.testing.assert_allclose(Loudness().transform(form), expected, rtol=1e-5)


def test_bad_clips_are_named(clips, tmp_path):
    with pytest.raises(AudioError, match=r"missing\.wav"):
        Loudness().transform([clips[0], tmp_path / "missing.wav"])


def test_it_stands_in_a_pipeline_and_names_its_features(clips):
    pipeline = make_pipeline(Loudness(n_parts=3), LogisticRegression())
    assert pipeline.fit(clips, ["a", "b"] * 3).predict(clips).shape == (6,)
    names = pipeline[:-1].get_feature_names_out()
    assert names.tolist() == ["loudness0", "loudness1", "loudness2"]


def test_each_clip_is_computed_once(clips, calls):
    Loudness().transform(clips[:4])
    Loudness().transform(clips)
    clone(Loudness()).transform(clips)
    assert calls == [4, 2]


@pytest.mark.parametrize("take", [lambda path: [path], lambda path: list(as_clips([path]))])
def test_a_file_that_is_written_anew_is_another_clip(take, clips, tmp_path):
    path = tmp_path / "clip.wav"
    soundfile.write(path, clips[0], 16_000)
    taken = take(path)
    taken.append(as_clips(taken)[0].variant(speed=1.1))
    Loudness().transform(taken)
    soundfile.write(path, clips[1], 16_000)
    expected = Loudness(memory=False).transform(taken)
    np.testing.assert_array_equal(Loudness().transform(taken), expected)


def test_a_file_that_is_written_anew_meanwhile_is_not_taken_for_the_old_one(
    clips, tmp_path, monkeypatch
):
    paths = [tmp_path / "clip.wav", tmp_path / "copy.wav"]
    for path in paths:
        soundfile.write(path, clips[0], 16_000)
    expected = Loudness(memory=False).transform(paths)
    decode = base.iter_waveforms

    def late(*args, **options):
        soundfile.write(paths[0], clips[1], 16_000)
        return decode(*args, **options)

    monkeypatch.setattr(base, "iter_waveforms", late)
    Loudness().transform(paths[:1])
    np.testing.assert_array_equal(Loudness().transform(paths[1:]), expected[1:])


def test_memory_on_disk_and_none(clips, calls, tmp_path):
    Loudness(memory=tmp_path).transform(clips)
    cache.clear()
    pickle.loads(pickle.dumps(Loudness(memory=tmp_path))).transform(clips)
    Loudness(memory=False).transform(clips)
    assert calls == [6, 6]


def test_a_row_for_each_waveform_is_demanded(clips):
    class Forgetful(Extractor):
        def _extract(self, waveforms):
            return [[1.0]]

    with pytest.raises(ValueError, match=r"Forgetful\._extract returned .* for 6 waveforms"):
        Forgetful().transform(clips)


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ([1.0, np.nan], "returned NaN, or an infinite or too large number, for clip 4"),
        ([1.0, -np.inf], "returned NaN, or an infinite or too large number, for clip 4"),
        ([1.0, 1e300], "returned NaN, or an infinite or too large number, for clip 4"),
        ([1.0, None], "returned NaN, or an infinite or too large number, for clip 4"),
        ([1.0], "returned 1 features, and 2 for another clip, for clip 4"),
        ([1.0, 2.0, 3.0], "returned 3 features, and 2 for another clip, for clip 4"),
        ([1.0, [2.0, 3.0]], "returned what is no number: .*, for clip 4"),
        ([1.0, "loud"], "returned what is no number: .*, for clip 4"),
        ([1.0, {}], "returned what is no number: .*, for clip 4"),
        (1.0, r"returned an array of shape \(\) as its row, for clip 4"),
        ([[1.0, 2.0]], r"returned an array of shape \(1, 2\) as its row, for clip 4"),
    ],
)
@pytest.mark.parametrize("seconds", [120.0, 0.1], ids=["at once", "one by one"])
def test_what_is_no_row_of_features_names_the_clip(clips, row, reason, seconds):
    class Faulty(Extractor):
        def _extract(self, waveforms):
            at_fault = [len(w) == len(clips[4]) and (w == clips[4]).all() for w in waveforms]
            return [row if is_it else [1.0, 2.0] for is_it in at_fault]

        def _seconds_per_chunk(self):
            return seconds

    with pytest.raises(ValueError, match=f"Faulty {reason}"):
        Faulty().transform(clips)


def test_rows_of_objects_that_are_numbers_are_features(clips):
    class Plain(Extractor):
        def _extract(self, waveforms):
            return np.array([[1, 2.5]] * len(waveforms), dtype=object)

    features = Plain().transform(clips)
    assert features.dtype == np.float32
    np.testing.assert_array_equal(features, [[1, 2.5]] * 6)


def test_without_the_method_there_is_no_extractor():
    class Nothing(Extractor):
        pass

    with pytest.raises(TypeError, match="_extract"):
        Nothing()


# What features are remembered by ------------------------------------------------------------------


class Weighted(Extractor):
    """An extractor with weights: a number in a file, or an array."""

    def __init__(self, weights=None, dtype="float64", batch_size=8, device="cpu"):
        self.weights = weights
        self.dtype = dtype
        self.batch_size = batch_size
        self.device = device

    def _extract(self, waveforms):
        weights = self.weights
        if not isinstance(weights, np.ndarray):
            file = weights / "weights" if weights.is_dir() else weights
            weights = float(file.read_text())
        return [np.atleast_1d((np.abs(w).mean() * weights).astype(self.dtype)) for w in waveforms]


def test_weights_in_a_file_count_by_content(clips, tmp_path, computed):
    first, second = tmp_path / "first", tmp_path / "second"
    first.write_text("2")
    second.write_text("2")
    extractor = Weighted(first)
    before = extractor.transform(clips)
    computed.clear()
    Weighted(second).transform(clips)
    assert computed == []
    first.write_text("30")
    np.testing.assert_allclose(extractor.transform(clips), 15 * before, rtol=1e-5)


def test_weights_in_an_array_count_by_content(clips):
    weights = np.ones(5_000)
    before = Weighted(weights).transform(clips)
    weights[2_500] = 7.0  # in the middle, which a printed array leaves out
    after = Weighted(weights).transform(clips)
    assert after[0, 2_500] == pytest.approx(7 * before[0, 2_500])


def test_a_folder_counts_by_what_it_lists(clips, tmp_path, computed):
    (tmp_path / "weights").write_text("1")
    (tmp_path / ".#weights").symlink_to("somebody@somewhere")  # an editor's mark
    Weighted(tmp_path).transform(clips)
    (tmp_path / "more").write_text("1")
    computed.clear()
    Weighted(tmp_path).transform(clips)
    assert len(computed) == len(clips)


def test_arithmetic_counts_and_the_way_of_computing_does_not(clips, computed):
    weights = np.ones(3)
    Weighted(weights).transform(clips)
    computed.clear()
    Weighted(weights, batch_size=1, device="auto").transform(clips)
    assert computed == []
    Weighted(weights, dtype="float32").transform(clips)
    assert len(computed) == len(clips)


def test_float16_on_a_gpu_is_not_float32(monkeypatch):
    import torch

    monkeypatch.setattr(TransformersEmbedding, "_network_id", lambda self: "the same weights")
    keys = set()
    for kind in ("cpu", "cuda"):
        monkeypatch.setattr(
            "skspeech.transformers.base.resolve_device", lambda _, kind=kind: torch.device(kind)
        )
        keys.add(fingerprint_of(TransformersEmbedding("a-name", layers=1), True))
    assert len(keys) == 2


def test_a_class_that_is_written_anew_finds_nothing_of_the_old_one(clips, computed):
    def make(factor):
        namespace = {"Extractor": Extractor, "__name__": "__main__"}
        code = f"""
class Scaled(Extractor):
    def _extract(self, waveforms):
        return [[{factor} * abs(waveform).max()] for waveform in waveforms]
"""
        exec(code, namespace)
        return namespace["Scaled"]()

    once, twice = make(1), make(2)
    np.testing.assert_allclose(twice.transform(clips), 2 * once.transform(clips), rtol=1e-6)
    computed.clear()
    clone(once).transform(clips)
    assert computed == []


def test_classes_that_a_function_makes_are_told_apart(clips):
    def make(factor):
        class Scaled(Extractor):
            def _extract(self, waveforms):
                return [[factor * np.abs(w).max()] for w in waveforms]

        return Scaled()

    np.testing.assert_allclose(make(2).transform(clips), 2 * make(1).transform(clips), rtol=1e-6)


class Applied(Extractor):
    """What a function, or several, make of a waveform."""

    def __init__(self, function=None):
        self.function = function

    def _extract(self, waveforms):
        functions = self.function if isinstance(self.function, list) else [self.function]
        return [[float(function(w)) for function in functions] for w in waveforms]


def _written(code, **known):
    """The function `heard` of some code, as in a cell of a notebook that is run again."""
    namespace = {"np": np, "__name__": "__main__", **known}
    exec(code, namespace)
    return namespace["heard"]


@pytest.mark.parametrize(
    "wrap", [lambda f: f, lambda f: [np.max, f], functools.partial, functools.wraps(np.abs)]
)
@pytest.mark.parametrize(
    "code", ["def heard(w): return {} * np.abs(w).max()", "heard = lambda w: {} * np.abs(w).max()"]
)
def test_a_function_counts_by_what_it_does(clips, computed, code, wrap):
    once, twice = (Applied(wrap(_written(code.format(factor)))) for factor in (1, 2))
    expected = 2 * once.transform(clips)[:, -1]
    np.testing.assert_allclose(twice.transform(clips)[:, -1], expected, rtol=1e-6)
    computed.clear()
    clone(once).transform(clips)
    assert computed == []


def _module(name, path, code, monkeypatch, **known):
    """A module of this code, in the place of one of the same name."""
    path.write_text(code)
    module = types.ModuleType(name)
    vars(module).update(known, __file__=str(path))
    exec(compile(code, path, "exec"), vars(module))
    monkeypatch.setitem(sys.modules, name, module)
    return module


@pytest.mark.parametrize(
    "wrap",
    [
        lambda names: {"key": names["heard"]},
        lambda names: functools.partial(max, key=names["heard"]),
        lambda names: functools.partial(map, names["heard"]),
        lambda names: names["Heard"],
        lambda names: names["Heard"](),
        lambda names: [names["Heard"]()],
        lambda names: names["Heard"]().heard,
    ],
    ids=["dict", "keyword", "argument", "class", "object", "objects", "method"],
)
def test_what_a_parameter_holds_counts_by_what_it_does(wrap, tmp_path, monkeypatch):
    keys = []
    for gain in (1, 2, 1):
        for name in ("__main__", "helpers"):
            code = f"def heard(w): return {gain} * w\n"
            code += f"class Heard:\n    def heard(self, w): return {gain} * w\n"
            module = _module(name, tmp_path / f"{name}{gain}.py", code, monkeypatch)
            keys.append(fingerprint_of(Applied(wrap(vars(module))), True))
    assert keys[:2] == keys[4:]
    assert not {*keys[:2]} & {*keys[2:4]}


@pytest.mark.parametrize(
    "code",
    [
        "def heard(w, gain=GAIN): return gain * w",
        "def heard(w, *, gain=GAIN): return gain * w",
        "class Settings:\n    gain = GAIN\ndef heard(w): return Settings.gain * w",
        "class heard:\n    gain = [GAIN]\n    def __call__(self, w): return self.gain[0] * w",
        "class heard:\n    class Of: gain = GAIN\n    def __call__(self, w): return self.Of.gain",
        "def one(w): return GAIN * w\nALL = {'one': one}\ndef heard(w): return ALL['one'](w)",
    ],
    ids=["default", "keyword", "attribute", "own", "inner", "table"],
)
def test_what_a_definition_took_from_its_module_counts(code, tmp_path, monkeypatch):
    keys = []
    for gain in (1, 2, 1):
        module = _module("__main__", tmp_path / "heard.py", code, monkeypatch, GAIN=gain)
        keys.append(fingerprint_of(Applied(module.heard), True))
    assert keys[0] == keys[2] != keys[1]


@pytest.mark.parametrize(
    "wrap",
    [lambda p: [p], lambda p: {"at": (p, 1)}, lambda p: functools.partial(map, p)],
    ids=["list", "dict", "argument"],
)
def test_files_count_by_content_wherever_a_parameter_names_them(wrap, tmp_path):
    keys, path = [], tmp_path / "weights"
    for content in ("one", "three", "one"):
        path.write_text(content)
        keys.append(fingerprint_of(Applied(wrap(str(path))), True))
    assert keys[0] == keys[2] != keys[1]


def test_a_parameter_may_be_a_long_text():
    texts = ["of many words, " * 999, "of others, " * 999]
    values = [*texts, texts]
    assert len({fingerprint_of(Applied(value), True) for value in values}) == 3


GAIN = 1.0
TABLE = np.ones(1)
SETTINGS = {"gain": [1.0]}
FACTOR = np.float64(0.5)


def _amplified(waveform):
    return [GAIN * np.abs(waveform).max() * TABLE[0] * SETTINGS["gain"][0]]


class Amplified(Extractor):
    @functools.cached_property
    def factor(self):
        return 2 * FACTOR

    def _extract(self, waveforms):
        return [[self.factor * x for x in _amplified(waveform)] for waveform in waveforms]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("GAIN", 2.0),
        ("TABLE", np.full(1, 2.0)),
        ("SETTINGS", {"gain": [2.0]}),
        ("FACTOR", np.float64(1.0)),
        ("_amplified", lambda w: [2 * np.abs(w).max()]),
    ],
)
def test_what_a_class_uses_of_its_module_counts(clips, computed, monkeypatch, name, value):
    once = Amplified().transform(clips)
    monkeypatch.setitem(globals(), name, value)
    np.testing.assert_allclose(Amplified().transform(clips), 2 * once, rtol=1e-6)
    computed.clear()
    Amplified().transform(clips)
    assert computed == []


class Unwilling:
    def __getattribute__(self, name):
        raise RuntimeError(name)


def _homeless():
    pass


_homeless.__module__ = None


class Incomparable(type):
    def __eq__(cls, other):
        raise RuntimeError("not to be compared, so not to be hashed either")


class Unhashable(metaclass=Incomparable):
    pass


ENDLESS: list = []
ENDLESS.append(ENDLESS)


@pytest.mark.parametrize(
    "make",
    [
        Unwilling,
        lambda: mock.call,
        mock.MagicMock,
        lambda: _homeless,
        lambda: ENDLESS,
        lambda: np.array([threading.Lock()]),
        lambda: Unhashable,
        lambda: _written("def heard(w): pass\nheard.__wrapped__ = heard", __name__=__name__),
    ],
    ids=["unwilling", "call", "mock", "homeless", "endless", "locks", "unhashable", "circle"],
)
def test_a_class_may_use_any_object_of_its_module(monkeypatch, make):
    monkeypatch.setitem(globals(), "TABLE", make())
    monkeypatch.setattr(Amplified, "held", make(), raising=False)
    assert fingerprint_of(Amplified(), True) == fingerprint_of(Amplified(), True)


N_CALLS = 0
CALLS = []
LOUDEST = {}


class Counted(Extractor):
    def _extract(self, waveforms):
        global N_CALLS
        N_CALLS += 1
        CALLS.append(len(waveforms))
        for waveform in waveforms:
            LOUDEST[len(waveform)] = float(np.abs(waveform).max())
        return [[np.abs(w).max()] for w in waveforms]


def test_what_a_class_notes_in_its_module_changes_no_key(clips, computed):
    once = Counted().transform(clips)
    computed.clear()
    np.testing.assert_array_equal(Counted().transform(clips), once)
    assert computed == []
    assert N_CALLS
    assert CALLS
    assert LOUDEST


def test_functions_that_call_each_other_are_no_circle():
    names = {"__name__": "__main__"}
    exec("def heard(w): return other(w)\ndef other(w): return heard(w)", names)
    assert definition(names["heard"])


def test_a_function_of_a_module_is_known_in_every_process():
    assert fingerprint_of(Applied(np.max), True) == fingerprint_of(Applied(np.max), True)
    known = definition(make_speech_like.__wrapped__)
    _source_id.cache_clear()
    assert definition(make_speech_like.__wrapped__) == known


# Networks -----------------------------------------------------------------------------------------


def test_a_network_that_is_loaded_slowly_holds_up_no_other(no_networks):
    begun, finish = threading.Event(), threading.Event()

    def slowly(device):
        begun.set()
        assert finish.wait(60)
        return "slow"

    slow = threading.Thread(target=shared_network, args=("slow", "cpu", slowly))
    slow.start()
    assert begun.wait(60)
    assert shared_network("quick", "cpu", lambda device: "quick") == "quick"
    finish.set()
    slow.join()


def test_a_network_is_loaded_once(no_networks):
    loaded = []

    def load(device):
        time.sleep(0.05)
        loaded.append(device)
        return object()

    threads = [threading.Thread(target=shared_network, args=("one", "cpu", load)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert loaded == ["cpu"]


def test_loading_a_network_leaves_torchs_random_numbers_alone(no_networks):
    torch = pytest.importorskip("torch")
    before = torch.get_rng_state()
    shared_network("one", "cpu", lambda device: torch.nn.Linear(2, 2))
    assert torch.equal(torch.get_rng_state(), before)


def test_the_speaker_networks_file_counts_by_content(tmp_path):
    path = tmp_path / "weights.model"
    path.write_bytes(b"one")
    key = fingerprint_of(SpeakerEmbedding("resnetse34l", weights=path), True)
    path.write_bytes(b"other")
    assert fingerprint_of(SpeakerEmbedding("resnetse34l", weights=path), True) != key
