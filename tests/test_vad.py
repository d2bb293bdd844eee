"""Voice activity: agreement with the package's own program, cutting, and clips without speech."""

import pickle
import subprocess
import sys

import numpy as np
import pytest
import torch
from sklearn.base import clone
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer

from skspeech import AudioError, VoiceActivityTrimmer
from skspeech.audio import SAMPLING_RATE, load_waveforms
from skspeech.datasets import fetch_fsdd
from skspeech.transformers import vad
from skspeech.transformers.networks.silero import SileroVAD

FRAME = SileroVAD.frame_length / SAMPLING_RATE


@pytest.fixture(autouse=True)
def package():
    try:
        vad._weights_file()
    except ImportError as error:
        pytest.skip(str(error))


def silence(seconds):
    noise = np.random.default_rng(0).normal(scale=1e-4, size=int(seconds * SAMPLING_RATE))
    return noise.astype(np.float32)


def voice(seconds, seed=0):
    """A buzz through three resonances, as vowels are: what the network takes for a voice."""
    t = np.arange(int(seconds * SAMPLING_RATE)) / SAMPLING_RATE
    rng = np.random.default_rng(seed)
    pitch = 120 + 15 * np.sin(2 * np.pi * 2.5 * t) + 5 * rng.normal()
    phase = 2 * np.pi * np.cumsum(pitch) / SAMPLING_RATE
    opening = 0.55 + 0.45 * np.sin(2 * np.pi * 4 * t)
    buzz = np.zeros_like(t)
    for k in range(1, 30):
        f = 120 * k
        formants = sum(
            np.exp(-0.5 * ((f - (centre + 150 * np.sin(2 * np.pi * 3 * t))) / width) ** 2)
            for centre, width in [(600, 120), (1300, 160), (2500, 220)]
        )
        buzz += formants * np.sin(k * phase)
    return (0.3 * opening * buzz / np.abs(buzz).max()).astype(np.float32)


@pytest.fixture(scope="module")
def clip():
    """Speech from 1.0 to 2.5 s and from 4.0 to 5.0 s of 6."""
    parts = [silence(1), voice(1.5), silence(1.5), voice(1.0, seed=1), silence(1)]
    return np.concatenate(parts)


# The network --------------------------------------------------------------------------------------


@pytest.fixture
def network(package):
    return vad._load_network(torch.device("cpu"))  # what it hears is told by no public name


@pytest.mark.filterwarnings("ignore:`torch.jit.load`:DeprecationWarning")
def test_network_agrees_with_the_packages_own(clip, network):
    original = torch.jit.load(vad._weights_file().with_name("silero_vad.jit"))
    clips = [clip[: 512 * 150], clip[10_000:30_001], clip[20_000:20_100]]
    with torch.inference_mode():
        together = network([torch.from_numpy(c) for c in clips])
        for waveform, found in zip(clips, together, strict=True):
            padded = np.pad(waveform, (0, -len(waveform) % 512))
            original.reset_states()
            expected = [
                original(torch.from_numpy(frame)[None], SAMPLING_RATE).item()
                for frame in padded.reshape(-1, 512)
            ]
            np.testing.assert_allclose(found, expected, atol=1e-4)


def test_long_clips_go_through_the_network_in_blocks(clip, network, monkeypatch):
    from skspeech.transformers.networks import silero

    with torch.inference_mode():
        whole = network([torch.from_numpy(clip)])[0]
        monkeypatch.setattr(silero, "_BLOCK_FRAMES", 7)
        np.testing.assert_allclose(network([torch.from_numpy(clip)])[0], whole, atol=1e-5)


# Detecting and cutting ----------------------------------------------------------------------------


def test_speech_is_found_where_it_is(clip):
    (segments,) = VoiceActivityTrimmer(padding=0.0).detect([clip])
    np.testing.assert_allclose(segments, [[1.0, 2.5], [4.0, 5.0]], atol=0.2)


def test_trim_cuts_the_ends_and_speech_the_pauses_too(clip):
    trimmer = VoiceActivityTrimmer()
    ((first, second),) = trimmer.detect([clip])
    trimmed = trimmer.fit_transform([clip])[0]
    start, end = (np.array([first[0], second[1]]) * SAMPLING_RATE).round().astype(int)
    np.testing.assert_array_equal(trimmed, clip[start:end])

    speech = trimmer.set_params(mode="speech").transform([clip])[0]
    pieces = [clip[slice(*(s * SAMPLING_RATE).round().astype(int))] for s in (first, second)]
    np.testing.assert_array_equal(speech, np.concatenate(pieces))
    assert 2.4 < len(speech) / SAMPLING_RATE < 3.2 < 4.0 < len(trimmed) / SAMPLING_RATE < 4.6


def test_padding_is_added_on_both_sides_within_the_clip(clip):
    ((bare, _),) = VoiceActivityTrimmer(padding=0.0).detect([clip])
    ((padded, _),) = VoiceActivityTrimmer(padding=0.25).detect([clip])
    np.testing.assert_allclose(padded - bare, [-0.25, 0.25], atol=1e-9)
    (joined,) = VoiceActivityTrimmer(padding=10.0).detect([clip])
    np.testing.assert_allclose(joined, [[0.0, 6.0]])


def test_a_pause_shorter_than_min_silence_is_none(clip):
    assert len(VoiceActivityTrimmer(min_silence=1.0).detect([clip])[0]) == 2
    assert len(VoiceActivityTrimmer(min_silence=2.5).detect([clip])[0]) == 1


def test_speech_shorter_than_min_speech_is_none(clip):
    (segments,) = VoiceActivityTrimmer(min_speech=1.25, padding=0.0).detect([clip])
    np.testing.assert_allclose(segments, [[1.0, 2.5]], atol=0.2)


@pytest.mark.parametrize(
    ("probabilities", "min_silence", "expected"),
    [
        ([0.1, 0.6, 0.4, 0.6, 0.1], 1, [[1, 4]]),  # 0.4 is above the lower threshold
        ([0.1, 0.6, 0.2, 0.6, 0.1], 1, [[1, 2], [3, 4]]),
        ([0.1, 0.6, 0.2, 0.6, 0.1], 2, [[1, 4]]),
        ([0.4, 0.4, 0.6], 1, [[2, 3]]),  # and 0.4 starts nothing
        ([0.6, 0.4, 0.4], 1, [[0, 3]]),
        ([0.1, 0.2], 1, []),
        ([0.9], 1, [[0, 1]]),
    ],
)
def test_thresholds(probabilities, min_silence, expected):
    found = vad._speech_frames(np.array(probabilities), 0.5, min_silence)
    np.testing.assert_array_equal(found, np.array(expected).reshape(-1, 2))


@pytest.mark.parametrize("mode", ["trim", "speech"])
@pytest.mark.parametrize(
    "waveform",
    [
        np.zeros(SAMPLING_RATE),
        np.array([0.5]),
        silence(2.0),
        np.full(3 * SAMPLING_RATE, 100.0),
        np.sin(np.arange(SAMPLING_RATE)),
    ],
    ids=["zeros", "one sample", "noise", "constant", "tone"],
)
def test_a_clip_without_speech_is_returned_whole(mode, waveform):
    waveform = waveform.astype(np.float32)
    trimmer = VoiceActivityTrimmer(mode=mode, threshold=0.9)
    assert trimmer.detect([waveform])[0].shape == (0, 2)
    np.testing.assert_array_equal(trimmer.transform([waveform])[0], waveform)


def test_neighbours_and_chunks_do_not_matter(clip, monkeypatch):
    clips = [clip, silence(0.3), clip[5_000:60_000], np.tile(clip, 4), clip[:1]]
    together = VoiceActivityTrimmer().transform(clips)
    assert together.dtype == object
    monkeypatch.setattr(vad, "_CHUNK_SECONDS", 0.1)
    for waveform, alone in zip(together, VoiceActivityTrimmer().transform(clips), strict=True):
        np.testing.assert_array_equal(waveform, alone)


def test_input_is_not_changed_and_not_shared(clip):
    before = clip.copy()
    result = VoiceActivityTrimmer().transform([clip])[0]
    result[:] = 0
    np.testing.assert_array_equal(clip, before)


def test_equal_lengths_give_an_object_array(clip):
    result = VoiceActivityTrimmer().transform(np.stack([clip, clip]))
    assert result.shape == (2,)
    assert result.dtype == object


# As an estimator ----------------------------------------------------------------------------------


def _loudness(waveforms):
    return np.array([[np.std(w), len(w)] for w in waveforms])


def test_in_a_pipeline_with_grid_search(clip):
    X = [clip, 0.1 * clip, clip[8_000:], 0.1 * clip[8_000:]]
    pipeline = make_pipeline(
        VoiceActivityTrimmer(), FunctionTransformer(_loudness), LogisticRegression()
    )
    search = GridSearchCV(pipeline, {"voiceactivitytrimmer__mode": ["trim", "speech"]}, cv=2)
    search.fit(X, ["loud", "quiet"] * 2)
    assert set(search.predict(X)) <= {"loud", "quiet"}


def test_pickle_and_clone(clip):
    trimmer = VoiceActivityTrimmer(mode="speech", padding=0.2)
    expected = trimmer.fit_transform([clip])[0]
    for copy in (pickle.loads(pickle.dumps(trimmer)), clone(trimmer)):
        np.testing.assert_array_equal(copy.transform([clip])[0], expected)
    assert len(pickle.dumps(trimmer)) < 2_000


@pytest.mark.parametrize(
    "params",
    [{"mode": "cut"}, {"threshold": 1.0}, {"padding": -1}, {"min_silence": None}, {"errors": "no"}],
)
def test_parameters_are_checked(clip, params):
    with pytest.raises(ValueError, match=f"'{next(iter(params))}' parameter of VoiceActivity"):
        VoiceActivityTrimmer(**params).fit_transform([clip])


def test_bad_clips_are_named(clip, tmp_path):
    with pytest.raises(AudioError, match=r"missing\.wav"):
        VoiceActivityTrimmer().transform([clip, str(tmp_path / "missing.wav")])
    with pytest.warns(UserWarning, match=r"missing\.wav"):
        result = VoiceActivityTrimmer(errors="warn").transform(
            [clip, str(tmp_path / "missing.wav")]
        )
    assert len(result[1]) == SAMPLING_RATE


def test_torchs_threads_and_random_numbers_are_left_alone(clip):
    """Importing the package would set torch to one thread."""
    code = (
        "import sys, numpy as np, torch\n"
        "from skspeech import VoiceActivityTrimmer\n"
        "torch.set_num_threads(2)\n"
        "VoiceActivityTrimmer().fit_transform([np.zeros(16000, dtype='f4')])\n"
        "assert torch.get_num_threads() == 2, torch.get_num_threads()\n"
        "assert 'silero_vad' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=120)


@pytest.mark.parametrize(
    ("spec", "message"),
    [(None, "which is not installed"), ("old", "of which a later version is needed")],
)
def test_a_missing_package_names_the_install_command(
    clip, monkeypatch, tmp_path, no_networks, spec, message
):
    from importlib.machinery import ModuleSpec

    if spec:
        spec = ModuleSpec("silero_vad", None, is_package=True)
        spec.submodule_search_locations.append(str(tmp_path))
    monkeypatch.setattr(vad.importlib.util, "find_spec", lambda name: spec)
    with pytest.raises(ImportError, match=message) as error:
        VoiceActivityTrimmer().fit([clip]).transform([clip])
    assert "pip install '.[vad]'" in str(error.value)


@pytest.mark.data
def test_real_recordings_keep_their_speech(data_home):
    paths = sorted((data_home / "fsdd").rglob("*.wav"))[::300]
    assert paths, "no recordings of fsdd"
    originals = load_waveforms(paths)
    padded = [np.concatenate([silence(1), w, silence(1)]) for w in originals]
    trimmed = VoiceActivityTrimmer().transform(padded)
    lengths = np.array([len(w) for w in originals])
    kept = np.array([len(w) for w in trimmed])
    # The seconds of silence are gone, the words are not.
    assert np.median(kept / lengths) < 1.5
    energies = [np.sum(t**2) / np.sum(w**2) for t, w in zip(trimmed, originals, strict=True)]
    assert np.median(energies) > 0.95


# Sound that comes bit by bit ----------------------------------------------------------------------


def _in_bits(sound, sizes, **options):
    follower, bits = vad.SpeechFollower(device="cpu", **options), []
    edges = np.cumsum([0, *sizes * len(sound)])
    for start, end in zip(edges[edges < len(sound)], edges[1:], strict=False):
        bits.append(follower(sound[start:end]))
    return np.concatenate(bits)


def test_a_follower_hears_what_the_network_hears(clip, network):
    with torch.inference_mode():
        expected = network([torch.from_numpy(clip)])[0].numpy()
    found = _in_bits(clip, [len(clip)], level=None)
    np.testing.assert_allclose(found, expected[: len(found)], atol=1e-5)
    assert len(found) == len(clip) // 512


@pytest.mark.parametrize("sizes", [[100], [511, 1, 2000], [16_000]])
def test_a_follower_does_not_care_how_sound_is_cut(clip, sizes):
    whole = _in_bits(clip, [len(clip)])
    np.testing.assert_allclose(_in_bits(clip, sizes), whole, atol=1e-4)


@pytest.mark.parametrize(("gain", "offset"), [(1, 0), (0.003, 0), (0.003, 0.2)])
def test_a_follower_finds_speech_at_any_level(clip, gain, offset):
    said = _in_bits((clip * gain + offset).astype("f4"), [4000]) > 0.5
    seconds = (np.arange(len(said)) + 0.5) * FRAME
    true = ((seconds > 1) & (seconds < 2.5)) | ((seconds > 4) & (seconds < 5))
    assert np.mean(said == true) > 0.9


@pytest.mark.parametrize(
    ("block", "message"),
    [
        (np.full(800, np.nan, "f4"), "The block holds samples that are not finite"),
        (np.r_[np.zeros(800), np.inf], "The block holds samples that are not finite"),
        (np.full(800, 20_000.0), "The block holds samples as large as 20000, .* 16 bits"),
        (np.zeros((800, 1)), r"A block of shape \(800, 1\) and type float64 is no mono sound"),
        (np.zeros(800, dtype=complex), "type complex128 is no mono sound"),
    ],
)
def test_a_block_that_is_no_sound_ends_nothing(clip, block, message):
    follower = vad.SpeechFollower(device="cpu")
    heard = [follower(clip[:700])]
    with pytest.raises(ValueError, match=message):
        follower(block)
    heard.append(follower(clip[700:]))
    np.testing.assert_allclose(np.concatenate(heard), _in_bits(clip, [len(clip)]), atol=1e-4)


@pytest.mark.parametrize("dtype", ["i2", "i4", "u1"])
def test_a_follower_scales_integers(clip, dtype):
    info = np.iinfo(dtype)
    half = (info.max - info.min + 1) // 2
    whole = np.clip(np.round(clip * half), -half, half - 1).astype(int)
    block = (whole + half * (info.min == 0)).astype(dtype)
    expected = _in_bits((whole / half).astype("f4"), [len(clip)], level=None)
    found = _in_bits(block, [len(clip)], level=None)
    np.testing.assert_allclose(found, expected, atol=1e-4)


@pytest.mark.data
def test_a_follower_does_not_lose_words_of_a_long_row(data_home):
    """At the level of single clips it heard half of them."""
    digits = fetch_fsdd(data_home=data_home, download_if_missing=False)
    rng = np.random.default_rng(0)
    words = load_waveforms([digits.data[i] for i in rng.choice(len(digits.data), 100)])
    pauses = [np.zeros(rng.integers(1000, 5000), "f4") for _ in words]
    row = np.concatenate([part for pair in zip(words, pauses, strict=True) for part in pair])
    row += rng.normal(scale=1e-4, size=len(row)).astype("f4")
    true = np.concatenate(
        [part for w, p in zip(words, pauses, strict=True) for part in (w == w, p == 1)]
    )
    said = _in_bits(row, [16_000]) > 0.5
    true = true[: len(said) * 512].reshape(-1, 512).mean(axis=1) > 0.5
    assert said[true].mean() > 0.75
    assert said[~true].mean() < 0.4
