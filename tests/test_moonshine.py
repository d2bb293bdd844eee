"""MoonshineEmbedding: the original graph's numbers, and a clip's own whatever its neighbours."""

import zipfile

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose, assert_array_equal

from skspeech import MoonshineEmbedding, cache
from skspeech.audio import load_waveforms
from skspeech.datasets import fetch_emodb, make_speech_like
from skspeech.transformers.networks.moonshine import MoonshineEncoder
from skspeech.weights import (
    REGISTRY,
    WeightsError,
    WeightsNotFoundError,
    fetch_wheel,
    load_weights,
)
from skspeech.weights._ort import read_initializers

(GRAPH,) = REGISTRY["moonshine-tiny"].members


@pytest.fixture(autouse=True)
def empty_cache():
    cache.clear()


@pytest.fixture
def pretrained():
    network = MoonshineEncoder().eval()
    try:
        network.load_state_dict(load_weights("moonshine-tiny"))
    except WeightsError as error:
        pytest.skip(f"needs the pretrained weights: {error}")
    return network


@pytest.fixture(scope="module")
def clips():
    """Clips of other lengths: some samples, less than a window, a window, and more than two."""
    speech = np.concatenate(make_speech_like(n_samples=12, random_state=0).data)
    seconds = [0.01, 0.3, 1.0, 1.01, 2.7, 10.0, 21.3, 0.31]
    return [np.resize(np.roll(speech, -777 * i), int(s * 16_000)) for i, s in enumerate(seconds)]


@pytest.fixture
def network():
    """A small network with weights that make every part of it count."""
    generator = torch.Generator().manual_seed(0)
    network = MoonshineEncoder(n_units=16, n_layers=3, n_heads=2, n_rotated=6)
    for parameter in network.parameters():
        parameter.data = torch.randn(parameter.shape, generator=generator) * 0.3
    return network.eval()


# Against the original program ---------------------------------------------------------------------


@pytest.fixture(scope="module")
def graph():
    onnxruntime = pytest.importorskip("onnxruntime", reason="needs onnxruntime")
    try:
        with zipfile.ZipFile(fetch_wheel("moonshine-tiny")) as archive:
            return onnxruntime.InferenceSession(archive.read(GRAPH))
    except WeightsNotFoundError as error:
        pytest.skip(f"needs the network: {error}")


@pytest.mark.data
def test_states_are_close_to_the_original_graphs(graph, pretrained, data_home):
    """It rounds what goes from layer to layer to bytes."""
    for waveform in load_waveforms(fetch_emodb(data_home=data_home).data[:40:10]):
        mask = np.ones((1, len(waveform)), dtype=np.int64)
        (theirs,) = graph.run(None, {"input_values": waveform[None], "attention_mask": mask})
        with torch.inference_mode():
            ours = pretrained(torch.from_numpy(waveform[None]))[-1].numpy()
        assert ours.shape == theirs.shape
        assert np.corrcoef(ours.ravel(), theirs.ravel())[0, 1] > 0.998


def test_each_layer_is_that_of_transformers(network, clips):
    pytest.importorskip("transformers", reason="needs the extra transformers")
    from transformers import MoonshineConfig
    from transformers.models.moonshine.modeling_moonshine import MoonshineEncoder as Theirs

    config = MoonshineConfig(
        hidden_size=16,
        intermediate_size=64,
        encoder_num_hidden_layers=3,
        encoder_num_attention_heads=2,
        encoder_num_key_value_heads=2,
        rope_parameters={
            "rope_type": "default",
            "rope_theta": 10_000.0,
            "partial_rotary_factor": 0.8,
        },
    )
    theirs = Theirs(config).eval()
    theirs.load_state_dict(network.state_dict())
    waveform = torch.from_numpy(clips[4])[None]
    with torch.inference_mode():
        expected = theirs(waveform, output_hidden_states=True)
        states = network(waveform)
    for ours, known in zip(states[:-1], expected.hidden_states, strict=False):
        assert_allclose(ours, known, rtol=1e-4, atol=1e-4)
    assert_allclose(states[-1], expected.last_hidden_state, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"no model, but some bytes", "is not a model in the format of ONNX Runtime"),
        (b"\x10\x00\x00\x00ORTM and no more", "is not a whole model"),
    ],
)
def test_only_a_file_of_onnx_runtime_is_read(tmp_path, content, message):
    (tmp_path / "model.ort").write_bytes(content)
    with pytest.raises(ValueError, match=message):
        read_initializers(tmp_path / "model.ort")


# The network --------------------------------------------------------------------------------------


def test_deeper_layers_are_left_out(network):
    waveforms = torch.randn(2, 3_000)
    with torch.inference_mode():
        every, two = network(waveforms), network(waveforms, n_layers=2)
    assert len(every) == 4
    assert len(two) == 3
    for states, expected in zip(two, every, strict=False):
        assert_array_equal(states, expected)


# The extractor ------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("batch_size", [1, 64])
def test_neighbours_do_not_matter(pretrained, clips, batch_size, dtype):
    clips = [*clips, *(clip[:-100] for clip in clips)]  # some have one length in silence
    extractor = MoonshineEmbedding(
        batch_size=batch_size, layers="all", memory=False, dtype=dtype, device="cpu"
    )
    together = extractor.transform(clips)
    alone = np.concatenate([extractor.transform([clip]) for clip in clips])
    assert np.isfinite(together).all()
    assert_array_equal(together, alone)


def test_features_are_statistics_of_the_hidden_states(pretrained, clips):
    extractor = MoonshineEmbedding(
        layers=(0, 2, -1), pooling=("max", "mean", "std"), level=None, memory=False, dtype="float32"
    )
    with torch.inference_mode():
        states = pretrained(torch.from_numpy(np.pad(clips[4], 4_800))[None])
    expected = [
        statistic
        for layer in (0, 2, 6)
        for values in [states[layer][0].numpy()]
        for statistic in (values.max(axis=0), values.mean(axis=0), values.std(axis=0))
    ]
    (features,) = extractor.transform([clips[4]])
    assert_allclose(features, np.concatenate(expected), rtol=1e-3, atol=1e-3)
    names = extractor.get_feature_names_out()
    assert len(names) == len(features)
    assert names[0] == "moonshine_layer0_max_0"
    assert names[-1] == "moonshine_layer6_std_287"


def test_long_clips_are_cut_into_windows(pretrained, clips):
    extractor = MoonshineEmbedding(memory=False, dtype="float32")
    embeddings, centres = extractor.embed([clips[4], clips[6]], return_timestamps=True)
    assert [len(embedding) for embedding in embeddings] == [1, 3]
    assert_allclose(centres[0], [1.35])
    assert_allclose(centres[1], [5.0, 15.0, 16.3])
    whole = extractor.transform([clips[6]])[0]
    assert_allclose(whole, embeddings[1].mean(axis=0), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("scale", [0.0, 1e-30, 0.01, 100.0])
def test_any_level_gives_finite_features_and_nearly_the_same(pretrained, clips, scale):
    extractor = MoonshineEmbedding(dtype="float32")
    expected, changed = extractor.transform([clips[4], clips[4] * np.float32(scale)])
    assert np.isfinite(changed).all()
    if scale >= 0.01:
        assert np.abs(changed - expected).mean() < 1e-3 * np.abs(expected).mean()


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"layers": 7}, "layers=.* is not accepted"),
        ({"pooling": "median"}, "'pooling' parameter"),
        ({"pooling": ("mean", "mean")}, "pooling=.* is not accepted"),
        ({"window": 0}, "'window' parameter"),
        ({"hop": 0}, "'hop' parameter"),
        ({"dtype": "float16"}, "'dtype' parameter"),
    ],
)
def test_parameters_are_checked(clips, params, message):
    with pytest.raises(ValueError, match=message):
        MoonshineEmbedding(**params).fit(clips[:1])
