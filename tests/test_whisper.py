"""WhisperEmbedding: the original graph's numbers, and a clip's own whatever its neighbours."""

import json
import shutil
import subprocess
import sys
import zipfile

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose, assert_array_equal
from onnx_graphs import read_nodes, with_outputs

from skspeech import WhisperEmbedding, cache
from skspeech.audio import SAMPLING_RATE, load_waveforms
from skspeech.datasets import fetch_emodb, make_speech_like
from skspeech.transformers.networks.whisper import WhisperEncoder
from skspeech.weights import (
    WeightsError,
    WeightsNotFoundError,
    fetch_wheel,
    load_weights,
)

GRAPH = "pipecat/audio/turn/smart_turn/data/smart-turn-v3.2-cpu.onnx"


@pytest.fixture(autouse=True)
def empty_cache():
    cache.clear()


@pytest.fixture
def weights():
    try:
        load_weights("smart-turn")
    except WeightsError as error:
        pytest.skip(f"needs the pretrained weights: {error}")


@pytest.fixture(scope="module")
def clips():
    """Clips of other lengths: some samples, less than a window, a window, and more than two."""
    speech = np.concatenate(make_speech_like(n_samples=12, random_state=0).data)
    seconds = [0.01, 0.3, 1.0, 1.01, 2.7, 8.0, 17.3, 0.31]
    return [np.resize(np.roll(speech, -777 * i), int(s * 16_000)) for i, s in enumerate(seconds)]


@pytest.fixture
def network():
    """A small network with weights that make every part of it count."""
    generator = torch.Generator().manual_seed(0)
    network = WhisperEncoder(n_mels=8, n_units=16, n_layers=3, n_heads=2, n_positions=30)
    for parameter in network.parameters():
        parameter.data = torch.randn(parameter.shape, generator=generator) * 0.3
    return network.eval()


# Against the original program ---------------------------------------------------------------------


@pytest.fixture(scope="module")
def graph():
    try:
        with zipfile.ZipFile(fetch_wheel("smart-turn")) as archive:
            return archive.read(GRAPH)
    except WeightsNotFoundError as error:
        pytest.skip(f"needs the network: {error}")


def names_of_states(graph):
    """What enters the first layer, and what each gives; of the last, what its norm gives."""
    norms = [(inp, out) for kind, inp, out in read_nodes(graph) if kind == "LayerNormalization"]
    entered = [inputs[0] for inputs, _ in norms]
    return [*entered[0:8:2], norms[8][1][0]]


def run_graph(graph, logmel, **options):
    onnxruntime = pytest.importorskip("onnxruntime", reason="needs onnxruntime")
    names = names_of_states(graph)
    session = onnxruntime.InferenceSession(
        with_outputs(graph, names, **options), providers=["CPUExecutionProvider"]
    )
    return session.run(names, {"input_features": logmel.transpose(1, 2).numpy()})


@pytest.fixture(scope="module")
def padded(data_home):
    """Log mel frames of real speech as the original takes them: 8 s, silence on the left."""
    paths = fetch_emodb(data_home=data_home).data[:40:10]
    waveforms = [np.pad(w[-128_000:], (max(0, 128_000 - len(w)), 0)) for w in load_waveforms(paths)]
    windows = WhisperEmbedding()._cut(waveforms, torch.device("cpu"))
    return windows.frames[0].view(len(waveforms), 800, 80)


@pytest.fixture
def states(weights, padded):
    network = WhisperEncoder().eval()
    network.load_state_dict(load_weights("smart-turn"))
    with torch.inference_mode():
        return [state.numpy() for state in network(padded)]


@pytest.mark.data
def test_each_layer_is_the_original_graphs_where_that_does_not_round(graph, padded, states):
    for ours, theirs in zip(states, run_graph(graph, padded, rounded=False), strict=True):
        assert np.abs(ours - theirs).max() <= 2e-3 * np.abs(theirs).mean()


@pytest.mark.data
def test_each_layer_is_close_to_the_original_graphs_as_it_is(graph, padded, states):
    """It rounds what goes from layer to layer to bytes, and more of that adds up."""
    least = [0.99, 0.95, 0.95, 0.85, 0.85]
    for ours, theirs, bound in zip(states, run_graph(graph, padded), least, strict=True):
        assert np.corrcoef(ours.ravel(), theirs.ravel())[0, 1] > bound


@pytest.mark.data
def test_the_front_end_is_the_original_programs(padded, data_home):
    transformers = pytest.importorskip("transformers", reason="needs the extra transformers")
    extractor = transformers.WhisperFeatureExtractor(feature_size=80, chunk_length=8)
    waveforms = load_waveforms(fetch_emodb(data_home=data_home).data[:40:10])
    waveforms = [np.pad(w[-128_000:], (max(0, 128_000 - len(w)), 0)) for w in waveforms]
    theirs = extractor(
        waveforms, sampling_rate=16_000, do_normalize=True, return_tensors="np"
    ).input_features
    assert_allclose(padded.transpose(1, 2).numpy(), theirs, atol=2e-4)


# The network --------------------------------------------------------------------------------------


@pytest.mark.parametrize("n_frames", [1, 2, 7, 31])
def test_padding_changes_nothing(network, n_frames):
    generator = torch.Generator().manual_seed(1)
    alone = torch.randn(1, n_frames + n_frames % 2, 8, generator=generator)
    alone[:, n_frames:] = 0
    batch = torch.randn(3, 60, 8, generator=generator)
    batch[1, :n_frames] = alone[0, :n_frames]
    counts = torch.tensor([60, n_frames, 44])
    n_positions = -(-n_frames // 2)
    with torch.inference_mode():
        together = network(batch, counts, torch.tensor([0, 4, 2]))
        by_itself = network(alone, counts[1:2], torch.tensor([4]))
    for states, expected in zip(together, by_itself, strict=True):
        assert_allclose(states[1, :n_positions], expected[0, :n_positions], rtol=1e-4, atol=1e-4)


def test_deeper_layers_are_left_out(network):
    logmel = torch.randn(2, 20, 8)
    with torch.inference_mode():
        every, two = network(logmel), network(logmel, n_layers=2)
    assert len(every) == 4
    assert len(two) == 3
    for states, expected in zip(two, every, strict=False):
        assert_array_equal(states, expected)


# The extractor ------------------------------------------------------------------------------------


@pytest.mark.parametrize("position", ["first", "last"])
@pytest.mark.parametrize("batch_size", [1, 4, 64])
def test_neighbours_do_not_matter(weights, clips, batch_size, position):
    extractor = WhisperEmbedding(
        batch_size=batch_size, position=position, layers="all", memory=False, dtype="float32"
    )
    together = extractor.transform(clips)
    alone = np.concatenate([extractor.transform([clip]) for clip in clips])
    assert np.isfinite(together).all()
    assert (np.abs(together - alone) <= 1e-4 * np.abs(together).max(axis=0) + 1e-6).all()


def test_features_are_statistics_of_the_hidden_states(weights, clips):
    extractor = WhisperEmbedding(
        layers=(0, 2, -1), pooling=("max", "mean", "std"), memory=False, dtype="float32"
    )
    network = WhisperEncoder().eval()
    network.load_state_dict(load_weights("smart-turn"))
    frames, _ = extractor._cut([clips[4]], torch.device("cpu")).frames
    with torch.inference_mode():
        states = network(frames[None])
    expected = [
        statistic
        for layer in (0, 2, 4)
        for values in [states[layer][0].numpy()]
        for statistic in (values.max(axis=0), values.mean(axis=0), values.std(axis=0))
    ]
    (features,) = extractor.transform([clips[4]])
    assert_allclose(features, np.concatenate(expected), rtol=1e-3, atol=1e-3)
    names = extractor.get_feature_names_out()
    assert len(names) == len(features)
    assert names[0] == "smart-turn_layer0_max_0"
    assert names[-1] == "smart-turn_layer4_std_383"


def test_long_clips_are_cut_into_windows(weights, clips):
    extractor = WhisperEmbedding(memory=False)
    embeddings, centres = extractor.embed([clips[4], clips[6]], return_timestamps=True)
    assert [len(embedding) for embedding in embeddings] == [1, 3]
    assert_allclose(centres[0], [1.35])
    assert_allclose(centres[1], [4.0, 12.0, 13.3])
    whole = extractor.transform([clips[6]])[0]
    assert_allclose(whole, embeddings[1].mean(axis=0), rtol=1e-4, atol=1e-4)


def test_level_and_offset_do_not_matter(weights, clips):
    extractor = WhisperEmbedding(memory=False, dtype="float32")
    expected = extractor.transform([clips[4]])
    changed = extractor.transform([clips[4] * np.float32(0.01) + np.float32(0.005)])
    assert np.abs(changed - expected).mean() < 1e-2 * np.abs(expected).mean()


@pytest.mark.parametrize("scale", [0.0, 1e-30, 100.0])  # louder is refused as integers
def test_any_level_gives_finite_features(weights, clips, scale):
    assert np.isfinite(WhisperEmbedding().transform([clips[4] * np.float32(scale)])).all()


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"layers": 5}, "layers=.* is not accepted"),
        ({"pooling": "median"}, "'pooling' parameter"),
        ({"pooling": ("mean", "mean")}, "pooling=.* is not accepted"),
        ({"position": "middle"}, "'position' parameter"),
        ({"window": 8.1}, r"window=8\.1 is not accepted with model='smart-turn', .* at most 8 s"),
        ({"hop": 0}, "'hop' parameter"),
        ({"dtype": "float16"}, "'dtype' parameter"),
        ({"model": "./nowhere"}, "is not a folder"),
    ],
)
def test_parameters_are_checked(clips, params, message):
    with pytest.raises((ValueError, WeightsNotFoundError), match=message):
        WhisperEmbedding(**params).fit_transform(clips[:1])


def test_fit_refuses_windows_that_are_too_long(clips):
    with pytest.raises(ValueError, match=r"window=8\.1 is not accepted"):
        WhisperEmbedding(window=8.1).fit(clips[:1])


# Published encoders -------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    pytest.importorskip("transformers", reason="needs the extra transformers")
    from tiny_transformers import save_tiny

    return save_tiny("whisper", tmp_path_factory.mktemp("whisper"))


@pytest.fixture
def copy(folder, tmp_path):
    shutil.copytree(folder, tmp_path / "copy")
    return tmp_path / "copy"


def test_a_published_encoder_agrees_with_transformers(folder, clips):
    from transformers import AutoFeatureExtractor, AutoModel

    model = AutoModel.from_pretrained(folder).eval().encoder
    front_end = AutoFeatureExtractor.from_pretrained(folder)
    clip = np.resize(clips[4], front_end.n_samples)  # nothing to fill up
    inputs = front_end(clip, sampling_rate=16_000, return_tensors="pt")["input_features"]
    with torch.inference_mode():
        states = model(inputs, output_hidden_states=True).hidden_states
    extractor = WhisperEmbedding(
        folder, layers="all", pooling=("mean", "std"), level=None, dtype="float32"
    )
    expected = [
        statistic
        for state in states
        for statistic in (state[0].mean(dim=0), state[0].std(dim=0, correction=0))
    ]
    (features,) = extractor.transform([clip])
    assert_allclose(features, torch.cat(expected), rtol=1e-3, atol=1e-3)


def test_a_published_encoder_hears_all_clips_at_one_level(folder, clips):
    extractor = WhisperEmbedding(folder)
    long = [np.resize(clip, 40_000) for clip in clips]
    expected = extractor.transform(long)
    for gain, offset in [(0.1, 0), (3, 0), (1, 0.1)]:
        other = extractor.transform([clip * gain + offset for clip in long])
        assert_allclose(other, expected, atol=2e-3)


def test_a_published_encoder_takes_windows_of_its_length(folder, clips):
    extractor = WhisperEmbedding(folder, memory=False)
    window, hop = extractor._window_and_hop()
    assert window == hop
    long, short = extractor.embed(
        [np.resize(clips[6], int(2.5 * window * SAMPLING_RATE)), clips[1]]
    )
    assert len(long) == 3
    assert len(short) == 1
    with pytest.raises(ValueError, match="which takes at most"):
        WhisperEmbedding(folder, window=window + 0.1).fit(clips[:1])
    with pytest.raises(ValueError, match=r"layers=.* is not accepted"):
        WhisperEmbedding(folder, layers=3).fit(clips[:1])


@pytest.mark.slow
def test_a_published_encoder_needs_no_transformers(folder, clips, tmp_path):
    np.save(tmp_path / "clip.npy", clips[2])
    code = (
        "import sys, numpy as np\n"
        "sys.modules['transformers'] = sys.modules['huggingface_hub'] = None\n"
        "from skspeech import WhisperEmbedding\n"
        "clip = np.load(sys.argv[2])\n"
        "print(WhisperEmbedding(sys.argv[1]).transform([clip]).shape)\n"
    )
    command = [sys.executable, "-c", code, folder, str(tmp_path / "clip.npy")]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    n_features = len(WhisperEmbedding(folder).get_feature_names_out())
    assert done.stdout.strip() == f"(1, {n_features})"


def test_weights_in_several_files_and_without_a_decoder(copy, folder, clips):
    from safetensors.torch import load_file, save_file

    tensors = load_file(copy / "model.safetensors")
    (copy / "model.safetensors").unlink()
    encoder = {f"model.{k}": x for k, x in tensors.items() if k.startswith("encoder.")}
    names = sorted(encoder)
    parts = {"model-1.safetensors": names[::2], "model-2.safetensors": names[1::2]}
    for file, chosen in parts.items():
        save_file({name: encoder[name] for name in chosen}, copy / file)
    index = {name: file for file, chosen in parts.items() for name in chosen}
    (copy / "model.safetensors.index.json").write_text(json.dumps({"weight_map": index}))
    assert_array_equal(
        WhisperEmbedding(copy).transform(clips[:3]), WhisperEmbedding(folder).transform(clips[:3])
    )


def test_changed_weights_are_another_key(copy, clips):
    from safetensors.torch import load_file, save_file

    before = WhisperEmbedding(copy).transform(clips[:2])
    tensors = load_file(copy / "model.safetensors")
    tensors = {name: tensor * 1.1 for name, tensor in tensors.items()}
    save_file(tensors, copy / "model.safetensors")
    assert not np.allclose(WhisperEmbedding(copy).transform(clips[:2]), before)


def test_missing_and_other_files_are_named(copy, clips, tmp_path):
    config = json.loads((copy / "config.json").read_text())
    (copy / "config.json").write_text(json.dumps({**config, "model_type": "wavlm"}))
    with pytest.raises(ValueError, match=r"is of the type 'wavlm'\. Use TransformersEmbedding"):
        WhisperEmbedding(copy).transform(clips[:1])
    (copy / "config.json").write_text(json.dumps({**config, "encoder_layers": 9}))
    with pytest.raises(WeightsError, match=r"lack .* of the encoder's tensors"):
        WhisperEmbedding(copy).transform(clips[:1])
    (copy / "model.safetensors").unlink()
    with pytest.raises(WeightsNotFoundError, match=r"lacks 'model\.safetensors'"):
        WhisperEmbedding(copy).transform(clips[:1])
