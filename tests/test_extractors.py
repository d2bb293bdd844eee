"""Extractors: clips in any form become features, each clip once, whatever its neighbours."""

import pickle
import subprocess
import sys

import joblib
import numpy as np
import pytest
import soundfile
from sklearn.base import clone
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline

from skspeech import AudioError, MusicEmbedding, SpeakerEmbedding, cache
from skspeech.audio import SAMPLING_RATE
from skspeech.datasets import make_speech_like
from skspeech.transformers._windowed import _networks as shared_networks
from skspeech.transformers.speaker import raise_volume
from skspeech.weights import WeightsError, load_weights

MUSIC_MODELS = ["msd_musicnn", "mtt_musicnn", "msd_vgg", "mtt_vgg"]


@pytest.fixture(autouse=True)
def weights():
    cache.clear()
    try:
        load_weights("ge2e")
    except WeightsError as error:
        pytest.skip(f"needs the pretrained weights: {error}")


@pytest.fixture(scope="module")
def clips():
    """Six clips of other lengths: shorter than a window, a window, several windows."""
    waveforms = make_speech_like(n_samples=6, random_state=0).data
    seconds = [0.3, 1.6, 3.0, 2.1, 5.7, 4.0]
    return [np.resize(w, int(s * SAMPLING_RATE)) for w, s in zip(waveforms, seconds, strict=True)]


@pytest.fixture(params=[SpeakerEmbedding, MusicEmbedding])
def extractor(request):
    return request.param(batch_size=4)


def test_features_have_names_and_are_finite(extractor, clips):
    features = extractor.fit_transform(clips)
    names = extractor.get_feature_names_out()
    assert features.shape == (len(clips), len(names))
    assert features.dtype == np.float32
    assert len(set(names)) == len(names)
    assert np.isfinite(features).all()
    assert len(np.unique(features, axis=0)) == len(clips)


def test_all_forms_of_one_clip_give_the_same_features(extractor, clips, tmp_path):
    waveform = np.round(clips[2] * 32767).astype(np.int16)
    path = tmp_path / "clip.flac"
    soundfile.write(path, waveform, SAMPLING_RATE)
    as_float = (waveform / 32768).astype(np.float32)
    expected = extractor.transform([as_float])[0]
    for form in ([waveform], [str(path)], [path], [(as_float, SAMPLING_RATE)], as_float[None, :]):
        np.testing.assert_allclose(extractor.transform(form)[0], expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("batch_size", [1, 3, 64])
def test_neighbours_do_not_matter(extractor, clips, batch_size):
    extractor.set_params(memory=False, batch_size=batch_size)
    together = extractor.transform(clips)
    alone = np.concatenate([extractor.transform([clip]) for clip in clips])
    scale = np.abs(together).max(axis=0)
    assert (np.abs(together - alone) <= 1e-4 * scale + 1e-6).all()


def test_chunks_are_invisible(extractor, clips, monkeypatch):
    extractor.set_params(memory=False)
    whole = extractor.transform(clips)
    monkeypatch.setattr("skspeech.transformers._windowed._CHUNK_SECONDS", 0.1)
    np.testing.assert_allclose(extractor.transform(clips), whole, rtol=1e-3, atol=1e-5)


def test_order_is_kept_when_some_clips_are_remembered(extractor, clips):
    fresh = extractor.set_params(memory=False).transform(clips)
    extractor.set_params(memory=None)
    extractor.transform([clips[1], clips[4]])
    np.testing.assert_allclose(extractor.transform(clips), fresh, rtol=1e-3, atol=1e-5)


def test_grid_search_embeds_each_clip_once(extractor, clips, computed):
    pipeline = make_pipeline(extractor, LogisticRegression(max_iter=50))
    search = GridSearchCV(pipeline, {"logisticregression__C": [0.01, 0.1, 1.0]}, cv=3)
    search.fit(clips, ["a", "b"] * 3)
    search.predict(clips)
    assert len(computed) == len(clips)


@pytest.mark.slow
def test_memory_on_disk_is_shared_with_other_processes(extractor, tmp_path):
    path = tmp_path / "clip.wav"
    soundfile.write(path, make_speech_like(n_samples=1, random_state=3).data[0], SAMPLING_RATE)
    extractor.set_params(memory=str(tmp_path / "memory"))
    expected = extractor.transform([path])
    (tmp_path / "extractor.pkl").write_bytes(pickle.dumps(extractor))
    code = (
        "import pickle, sys, numpy as np\n"
        "from skspeech.transformers import _windowed\n"
        "def refuse(*args): raise AssertionError('computed again')\n"
        "_windowed.WindowedExtractor._run = refuse\n"
        "extractor = pickle.load(open(sys.argv[1] + '/extractor.pkl', 'rb'))\n"
        "np.save(sys.argv[1] + '/out.npy', extractor.transform([sys.argv[1] + '/clip.wav']))\n"
    )
    subprocess.run([sys.executable, "-c", code, str(tmp_path)], check=True, timeout=120)
    np.testing.assert_array_equal(np.load(tmp_path / "out.npy"), expected)


def test_other_parameters_or_content_are_not_confused(clips, tmp_path):
    path = tmp_path / "clip.wav"
    features = {}
    for name, waveform in [("first", clips[2]), ("second", clips[5])]:
        soundfile.write(path, waveform, SAMPLING_RATE)
        for pooling in ["mean", "max"]:
            features[name, pooling] = SpeakerEmbedding(layers=2, pooling=pooling).transform([path])
    assert len({f.tobytes() for f in features.values()}) == 4


def test_pickle_holds_no_weights(extractor, clips):
    extractor.fit_transform(clips[:1])
    assert len(pickle.dumps(extractor)) < 2_000


def test_windows_and_their_centres():
    seconds = [0.5, 1.6, 1.7, 2.0, 4.0]
    clips = [np.full(int(s * SAMPLING_RATE), 0.1, dtype=np.float32) for s in seconds]
    embeddings, centres = SpeakerEmbedding().embed(clips, return_timestamps=True)
    expected = [[0.25], [0.8], [0.8], [0.8, 1.2], [0.8, 1.6, 2.4, 3.2]]
    for embedding, centre, times in zip(embeddings, centres, expected, strict=True):
        np.testing.assert_allclose(centre, times, atol=1e-9)
        assert embedding.shape == (len(times), 1792)


def test_centres_do_not_drift():
    """A hop is rounded to whole frames once, and the centres tell where the windows are."""
    clip = np.resize(make_speech_like(n_samples=1, random_state=0).data[0], 600 * SAMPLING_RATE)
    extractor = SpeakerEmbedding(hop=5.0037, layers="embedding")
    ((centres,),) = [extractor.embed([clip], return_timestamps=True)[1]]
    np.testing.assert_allclose(np.diff(centres)[:-1], 5.0, atol=1e-9)
    assert centres[-1] == pytest.approx(600 - 0.8, abs=0.01)


def test_windows_belong_to_the_caller(clips):
    extractor = SpeakerEmbedding(window=10)  # one window a clip
    for _ in range(2):  # computed, then remembered
        (windows,) = extractor.embed(clips[:1])
        assert np.abs(windows).max() > 0
        windows[:] = 0


def test_layers_may_be_numpys_numbers(clips):
    expected = SpeakerEmbedding(layers=2).transform(clips)
    np.testing.assert_array_equal(SpeakerEmbedding(layers=np.int64(2)).transform(clips), expected)


def test_pooled_features_are_those_of_the_windows(clips):
    extractor = SpeakerEmbedding(layers="all", pooling=("mean", "std", "last", "max"))
    pooled, windows = extractor.transform(clips), extractor.embed(clips)
    names = extractor.get_feature_names_out()
    is_max = np.array(["_max_" in name for name in names])
    is_embedding = np.array(["_embedding_" in name for name in names])
    for row, block in zip(pooled, windows, strict=True):
        np.testing.assert_allclose(row[is_max], block.max(axis=0)[is_max], rtol=1e-4, atol=1e-6)
        averaged = ~is_max & ~is_embedding
        np.testing.assert_allclose(
            row[averaged], block.mean(axis=0)[averaged], rtol=1e-3, atol=1e-5
        )
        assert np.linalg.norm(row[is_embedding]) == pytest.approx(1, abs=1e-5)


def test_music_pooling_over_windows(clips):
    extractor = MusicEmbedding(layers=("penultimate", "tags"), pooling=("max", "std"), hop=1.0)
    pooled, windows = extractor.transform(clips), extractor.embed(clips)
    for row, block in zip(pooled, windows, strict=True):
        expected = np.concatenate([block.max(axis=0), block.std(axis=0)])
        np.testing.assert_allclose(row, expected, rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("model", MUSIC_MODELS)
def test_music_models(model, clips):
    try:
        features = MusicEmbedding(model, layers="tags").fit_transform(clips[:3])
    except WeightsError as error:
        pytest.skip(f"needs the pretrained weights: {error}")
    assert features.shape == (3, 50)
    assert ((features > 0) & (features < 1)).all()


@pytest.mark.parametrize(("can", "auto"), [(True, "bfloat16"), (False, "float32")])
def test_precision(can, auto, clips, set_bfloat16):
    set_bfloat16(can)
    features = {
        dtype: MusicEmbedding(dtype=dtype, device="cpu").transform(clips[:3])
        for dtype in ("float32", "bfloat16", "auto")
    }
    # They are remembered apart, although the weights are the same.
    difference = np.abs(features["bfloat16"] - features["float32"]).mean()
    assert 0 < difference < 0.01 * np.abs(features["float32"]).mean()
    np.testing.assert_allclose(features["auto"], features[auto], rtol=1e-4, atol=1e-4)


def test_embeddings_of_another_precision_are_not_found_again(clips, set_bfloat16):
    extractor = MusicEmbedding(device="cpu")
    features = []
    for can in (True, False):
        set_bfloat16(can)
        features.append(extractor.transform(clips[:3]))
    assert not np.array_equal(*features)


def test_a_fitted_extractor_keeps_its_precision(extractor, clips, set_bfloat16):
    extractor.set_params(device="cpu", memory=False)
    set_bfloat16(True)
    before = extractor.fit(clips).transform(clips[:2])
    moved = pickle.loads(pickle.dumps(extractor))

    set_bfloat16(False)
    shared_networks.clear()
    with pytest.warns(UserWarning, match="was fitted on a processor that computes in bfloat16"):
        after = moved.transform(clips[:2])
    np.testing.assert_array_equal(after, before)
    assert moved.set_params(batch_size=3)._precision() == "bfloat16"
    for new in (clone(moved), moved.fit(clips)):  # both may choose anew
        assert new._precision() == "float32"


def test_what_computes_something_else_chooses_its_precision_anew(extractor, clips, set_bfloat16):
    set_bfloat16(True)
    extractor.fit(clips)
    set_bfloat16(False)
    assert extractor.set_params(max_duration=1.0)._precision() == "float32"


def test_only_a_fit_settles_the_precision(extractor, set_bfloat16):
    """What was fitted before it was kept, or not at all, passes through as it is."""
    set_bfloat16(True)
    moved = pickle.loads(pickle.dumps(extractor))
    set_bfloat16(False)
    assert moved._precision() == "float32"
    assert joblib.hash(moved) == joblib.hash(extractor)


def test_a_precision_that_was_asked_for_holds(extractor, clips, set_bfloat16):
    set_bfloat16(True)
    extractor.set_params(device="cpu").fit(clips).set_params(dtype="float32")
    assert extractor._precision() == "float32"
    assert pickle.loads(pickle.dumps(extractor))._precision() == "float32"


def test_tags_have_names():
    names = MusicEmbedding("mtt_musicnn", layers=("tags", "penultimate")).get_feature_names_out()
    assert names[0] == "mtt_musicnn_tags_mean_guitar"
    assert "mtt_musicnn_tags_mean_female_voice" in names
    assert names[50] == "mtt_musicnn_penultimate_mean_0"
    rock = MusicEmbedding("msd_vgg", layers="tags").get_feature_names_out()[0]
    assert rock == "msd_vgg_tags_mean_rock"


def test_max_duration_reads_the_beginning(clips):
    cut = [clip[: int(1.6 * SAMPLING_RATE)] for clip in clips]
    extractor = SpeakerEmbedding(max_duration=1.6, memory=False)
    np.testing.assert_allclose(extractor.transform(clips), extractor.transform(cut), rtol=1e-4)


def test_short_clips_are_repeated_not_padded(clips):
    short = clips[0]
    repeated = np.resize(short, int(1.6 * SAMPLING_RATE))
    extractor = SpeakerEmbedding(memory=False, level=None)
    np.testing.assert_allclose(
        extractor.transform([short]), extractor.transform([repeated]), rtol=1e-3, atol=1e-5
    )


@pytest.mark.parametrize("scale", [0.0, 1e-30, 1e-3, 1.0, 100.0])
def test_any_level_gives_finite_features(extractor, clips, scale):
    with np.errstate(over="raise", divide="raise", invalid="raise"):
        features = extractor.transform([clips[3] * np.float32(scale)])
    assert np.isfinite(features).all()


def test_one_sample_is_a_clip(extractor):
    assert np.isfinite(extractor.transform([np.array([0.5], dtype=np.float32)])).all()


def test_volume_is_raised_never_lowered():
    quiet = np.full(100, 1e-4, dtype=np.float32)
    loud = np.full(100, 0.5, dtype=np.float32)
    assert np.sqrt(np.mean(raise_volume(quiet, -30.0) ** 2)) == pytest.approx(10**-1.5, rel=1e-4)
    assert raise_volume(loud, -30.0) is loud
    assert not raise_volume(np.zeros(5, dtype=np.float32), -30.0).any()


def test_bad_clips_are_all_named_and_nothing_is_remembered_of_them(extractor, clips, tmp_path):
    broken = tmp_path / "broken.wav"
    broken.write_bytes(b"RIFF, but not really")
    empty = [tmp_path / "empty.wav", tmp_path / "empty-too.wav"]
    for path in empty:
        path.touch()
    X = [clips[0], str(broken), clips[1], str(tmp_path / "missing.wav"), *empty]
    with pytest.raises(AudioError) as error:
        extractor.transform(X)
    assert [failure[0] for failure in error.value.failures] == [1, 3, 4, 5]
    assert "broken.wav" in str(error.value)
    assert "missing.wav" in str(error.value)
    assert "4 of 6" in str(error.value)
    for _ in range(2):
        with pytest.warns(UserWarning, match="4 of 6"):
            features = extractor.set_params(errors="warn").transform(X)
        assert np.isfinite(features).all()
    with pytest.raises(AudioError):
        extractor.set_params(errors="raise").transform(X)


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"window": 0}, "'window' parameter of .* Got 0 instead"),
        ({"hop": -1.0}, "'hop' parameter of .* Got -1.0 instead"),
        ({"batch_size": 0}, "'batch_size' parameter"),
        ({"errors": "ignore"}, "'errors' parameter of .* Got 'ignore' instead"),
        ({"model": "nothing"}, "'model' parameter of .* Got 'nothing' instead"),
        (
            {"pooling": ("mean", "median")},
            "pooling=.*'median'.* is not accepted. Use one or several",
        ),
        ({"pooling": ()}, "pooling=.* is not accepted"),
        ({"pooling": {"mean", "std"}}, "pooling=.* is not accepted.* in order"),
        ({"layers": ("mean_pool", 9)}, "layers=.* is not accepted. Use one or several of"),
        ({"device": "quantum"}, "device='quantum' is not a device that torch knows"),
    ],
)
def test_parameters_are_checked(extractor, clips, params, message):
    with pytest.raises(ValueError, match=message):
        extractor.set_params(**params).fit_transform(clips[:1])


def test_vgg_takes_only_its_window(clips):
    with pytest.raises(ValueError, match=r"window=2\.0 is not accepted with model='msd_vgg'"):
        MusicEmbedding("msd_vgg", window=2.0).fit(clips)


def test_unused_parameters_of_running_do_not_change_the_key(extractor, clips, computed):
    extractor.transform(clips[:2])
    extractor.set_params(batch_size=2, n_jobs=1, verbose=1).transform(clips[:2])
    assert len(computed) == 2


@pytest.mark.gpu
def test_gpu_gives_the_cpus_features(extractor, clips, set_bfloat16):
    # Of the networks in single precision: the other is for processors only.
    set_bfloat16(False)
    on_gpu = extractor.set_params(memory=False, device="cuda").transform(clips)
    on_cpu = extractor.set_params(device="cpu").transform(clips)
    np.testing.assert_allclose(on_gpu, on_cpu, rtol=1e-2, atol=1e-3)
