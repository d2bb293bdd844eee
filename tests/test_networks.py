"""The networks, alone and against the original programs on the same recordings."""

import contextlib
import importlib.util
import os
import subprocess
import sys
import types
import warnings
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose
from torch.nn import functional

from skspeech import SpeakerEmbedding
from skspeech._device import computes_bfloat16, in_single_precision
from skspeech._spectrogram import MelSpectrogram  # what the networks are fed with
from skspeech.datasets import make_speech_like
from skspeech.transformers.networks.ge2e import GE2E
from skspeech.transformers.networks.musicnn import (
    MSD_POOLS,
    MSD_TAGS,
    MTT_POOLS,
    MTT_TAGS,
    VGG,
    MusicNN,
    _ConvMax,  # what it computes with shows in no output
    _ConvPool,  # its order of steps shows in no output
)
from skspeech.weights import WeightsNotFoundError, fetch_wheel, load_weights

SAMPLING_RATE = 16_000
MUSIC_NETWORKS = {
    "MSD_musicnn": ("musicnn-msd", MusicNN),
    "MTT_musicnn": ("musicnn-mtt", MusicNN),
    "MSD_vgg": ("vgg-msd", lambda: VGG(pools=MSD_POOLS)),
    "MTT_vgg": ("vgg-mtt", lambda: VGG(pools=MTT_POOLS)),
}


@contextlib.contextmanager
def skipped_without_network():
    try:
        yield
    except WeightsNotFoundError as error:
        pytest.skip(f"needs the network: {error}")


def pretrained(name, make):
    with skipped_without_network():
        tensors = load_weights(name)
    network = make()
    network.load_state_dict(tensors)
    return network.eval()


def randomised(network, seed=0):
    """The network with weights that make every part of it count."""
    generator = torch.Generator().manual_seed(seed)
    for parameter in network.parameters():
        parameter.data = torch.randn(parameter.shape, generator=generator) * 0.1
    return network.eval()


def recordings(kind, data_home):
    """Waveforms of different lengths, the shortest below a window."""
    if kind == "synthetic":
        clips = make_speech_like(n_samples=12, random_state=0).data
        return [np.concatenate(clips[:n]) for n in (1, 2, 3, 6)]
    import soundfile

    paths = sorted((data_home / "emodb" / "wav").glob("*.wav"))[::60]
    assert len(paths) >= 8
    return [soundfile.read(path, dtype="float32")[0] for path in paths]


@pytest.fixture(scope="module", params=["synthetic", pytest.param("emodb", marks=pytest.mark.data)])
def waveforms(request, data_home):
    return recordings(request.param, data_home)


# GE2E ---------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def resemblyzer(tmp_path_factory):
    """The original encoder, from its wheel."""
    with skipped_without_network():
        wheel = fetch_wheel("ge2e")
    folder = tmp_path_factory.mktemp("resemblyzer")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(folder)
    with pytest.MonkeyPatch.context() as patch, warnings.catch_warnings():
        # It imports two modules that are hard to have, and that play no part in embedding.
        patch.setitem(sys.modules, "webrtcvad", types.ModuleType("webrtcvad"))
        morphology = types.ModuleType("scipy.ndimage.morphology")
        morphology.binary_dilation = None
        patch.setitem(sys.modules, "scipy.ndimage.morphology", morphology)
        patch.syspath_prepend(str(folder))
        warnings.simplefilter("ignore")  # of its imports
        from resemblyzer import VoiceEncoder

        yield VoiceEncoder("cpu", verbose=False)
    for name in [name for name in sys.modules if name.split(".")[0] == "resemblyzer"]:
        del sys.modules[name]


@pytest.mark.network
def test_ge2e_agrees_with_resemblyzer_on_its_utterance_embeddings(resemblyzer, waveforms):
    network = pretrained("ge2e", GE2E)
    spectrogram = MelSpectrogram(n_fft=400, hop_length=160, n_mels=40)
    for waveform in waveforms:
        expected = resemblyzer.embed_utterance(waveform)

        samples, frames = resemblyzer.compute_partial_slices(len(waveform), 1.3, 0.75)
        padded = np.pad(waveform, (0, max(0, samples[-1].stop - len(waveform))))
        mel, _ = spectrogram([padded])
        with torch.inference_mode():
            partial = network(torch.stack([mel[part] for part in frames])).numpy()
        embedding = partial.mean(axis=0) / np.linalg.norm(partial.mean(axis=0))

        assert embedding @ expected > 0.9999
        assert_allclose(embedding, expected, atol=1e-4)


@pytest.mark.network
def test_ge2e_agrees_with_resemblyzer_in_every_layer(resemblyzer, waveforms):
    network = pretrained("ge2e", GE2E)
    spectrogram = MelSpectrogram(n_fft=400, hop_length=160, n_mels=40)
    mel, _ = spectrogram(waveforms)
    mels = mel[: len(mel) // 160 * 160].reshape(-1, 160, 40)
    with torch.inference_mode():
        last_layer, (last_states, _) = resemblyzer.lstm(mels)
        states = network.hidden_states(mels)
        assert_allclose(states[2], last_layer, atol=1e-5)
        for layer in range(3):
            assert_allclose(states[layer][:, -1], last_states[layer], atol=1e-5)
        assert_allclose(network(mels), resemblyzer(mels), atol=1e-5)


def test_ge2e_stays_finite_and_is_of_unit_length():
    network = randomised(GE2E())
    mel = torch.rand(3, 160, 40, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        embedding = network(mel)
        assert embedding.shape == (3, 256)
        assert_allclose(embedding.norm(dim=1), np.ones(3), rtol=1e-5)
        assert embedding.min() >= 0
        assert network(torch.zeros(2, 160, 40)).isfinite().all()
        assert network(torch.full((1, 160, 40), 1e9)).isfinite().all()


def test_ge2e_gives_zeros_where_no_unit_answers():
    network = randomised(GE2E())
    network.linear.bias.data.fill_(-1e3)
    with torch.inference_mode():
        assert (network(torch.zeros(2, 160, 40)) == 0).all()


def test_ge2e_computes_no_more_layers_than_asked_for():
    network = randomised(GE2E())
    mel = torch.rand(2, 30, 40, generator=torch.Generator().manual_seed(0))
    calls = []
    for layer in network.layers:
        layer.register_forward_hook(lambda *_: calls.append(1))
    with torch.inference_mode():
        every = network.hidden_states(mel)
        calls.clear()
        first = network.hidden_states(mel, n_layers=1)
    assert len(calls) == len(first) == 1
    assert torch.equal(first[0], every[0])


# musicnn ------------------------------------------------------------------------------------------


def log_mel(waveforms):
    """Windows of 187 frames of all waveforms, one after another."""
    spectrogram = MelSpectrogram(n_fft=512, hop_length=256, n_mels=96)
    mel, _ = spectrogram(waveforms)
    mel = mel[: len(mel) // 187 * 187].reshape(-1, 187, 96)
    return torch.log10(mel * 10_000 + 1)


@pytest.fixture(scope="module")
def original(waveforms, tmp_path_factory):
    """Input, and activations of the four original graphs, run by TensorFlow in another process."""
    if importlib.util.find_spec("tensorflow") is None:
        pytest.skip("needs tensorflow to run the original graphs")
    with skipped_without_network():
        wheel = fetch_wheel("musicnn-msd")
    folder = tmp_path_factory.mktemp("musicnn")
    inputs = log_mel(waveforms)[:6]
    np.save(folder / "logmel.npy", inputs.numpy())
    script = Path(__file__).with_name("musicnn_reference.py")
    subprocess.run(
        [sys.executable, script, wheel, folder / "logmel.npy", folder / "activations.npz"],
        env={**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3", "CUDA_VISIBLE_DEVICES": "-1"},
        check=True,
        stderr=subprocess.DEVNULL,
    )
    with np.load(folder / "activations.npz") as activations:
        return inputs, dict(activations)


def assert_close_to_scale(actual, expected, tolerance=1e-4):
    __tracebackhide__ = True
    assert actual.shape == expected.shape
    assert np.abs(expected).max() > 0
    assert np.abs(actual - expected).max() < tolerance * np.abs(expected).max()


@pytest.mark.network
@pytest.mark.tensorflow
@pytest.mark.parametrize("model", MUSIC_NETWORKS)
@pytest.mark.slow
def test_music_networks_agree_with_the_original_graphs(model, original):
    inputs, activations = original
    network = pretrained(*MUSIC_NETWORKS[model])
    with torch.inference_mode():
        layers = {name: layer.numpy() for name, layer in network(inputs).items()}
        if isinstance(network, VGG):
            maps = network.feature_maps(inputs)
            layers |= {f"pool{i}": x.permute(0, 2, 3, 1).numpy() for i, x in enumerate(maps, 1)}
    compared = {key.split("/")[1]: x for key, x in activations.items() if key.startswith(model)}
    assert layers.keys() == compared.keys()
    for name, layer in layers.items():
        expected = compared[name]
        if name in ("mean_pool", "max_pool"):
            expected = expected[..., 0]
        assert_close_to_scale(layer, expected)


@pytest.mark.gpu
@pytest.mark.network
@pytest.mark.parametrize("model", MUSIC_NETWORKS)
def test_music_networks_agree_on_a_gpu(model, waveforms):
    network = pretrained(*MUSIC_NETWORKS[model])
    inputs = log_mel(waveforms)
    with torch.inference_mode(), in_single_precision(torch.device("cuda")):
        on_cpu = network(inputs)
        on_gpu = network.to("cuda")(inputs.to("cuda"))
    for name, layer in on_cpu.items():
        assert_close_to_scale(on_gpu[name].cpu().numpy(), layer.numpy(), tolerance=1e-3)


@pytest.mark.gpu
@pytest.mark.network
def test_ge2e_agrees_on_a_gpu(waveforms):
    network = pretrained("ge2e", GE2E)
    mel, _ = MelSpectrogram(n_fft=400, hop_length=160, n_mels=40)(waveforms)
    mels = mel[: len(mel) // 160 * 160].reshape(-1, 160, 40)
    with torch.inference_mode(), in_single_precision(torch.device("cuda")):
        on_cpu = network(mels)
        on_gpu = network.to("cuda")(mels.to("cuda")).cpu()
    assert (on_cpu * on_gpu).sum(dim=1).min() > 0.9999


@pytest.mark.parametrize("n_tags", [50, 3])
def test_musicnn_layers_have_their_shapes(n_tags):
    with torch.inference_mode():
        layers = randomised(MusicNN(n_tags))(torch.rand(2, 187, 96))
    shapes = {name: tuple(layer.shape) for name, layer in layers.items()}
    assert shapes == {
        "mean_pool": (2, 753),
        "max_pool": (2, 753),
        "penultimate": (2, 200),
        "tags": (2, n_tags),
    }
    assert ((layers["tags"] >= 0) & (layers["tags"] <= 1)).all()


@pytest.mark.parametrize("n_frames", [1, 20, 187, 400])
def test_musicnn_takes_windows_of_any_length(n_frames):
    with torch.inference_mode():
        layers = randomised(MusicNN())(torch.rand(2, n_frames, 96))
    assert layers["mean_pool"].shape == (2, 753)
    assert all(layer.isfinite().all() for layer in layers.values())


def test_memory_that_nobody_has_written_changes_no_layer():
    """glibc fills freed memory with NaN here; with other allocators this shows less."""
    script = """
import torch
from skspeech.transformers.networks.musicnn import MusicNN
torch.manual_seed(0)
network = MusicNN().eval().fold()
with torch.inference_mode():
    for n_frames in (12, 13, 20, 187):
        windows, first = torch.randn(4, n_frames, 96), None
        for _ in range(6):
            freed = [torch.randn(n) for n in (1_000, 50_000, 64 * 561 * 7)]
            del freed
            layers = torch.cat(list(network(windows).values()), dim=1)
            first = layers if first is None else first
            assert torch.equal(layers, first), n_frames
"""
    filled = {"MALLOC_PERTURB_": "255", "MALLOC_MMAP_THRESHOLD_": str(2**30)}
    subprocess.run([sys.executable, "-c", script], env={**os.environ, **filled}, check=True)


@pytest.mark.parametrize(("pools", "n_bands"), [(MSD_POOLS, 96), (MTT_POOLS, 48)])
def test_vgg_features_are_the_mean_over_time_of_each_band(pools, n_bands):
    network = randomised(VGG(pools=pools))
    inputs = torch.rand(3, 187, 96)
    with torch.inference_mode():
        layers, maps = network(inputs), network.feature_maps(inputs)
    assert layers["tags"].shape == (3, 50)
    for i, n in enumerate((n_bands, 24, 12, 6, 1), 1):
        by_channel = layers[f"pool{i}"].reshape(3, 128, n)
        assert_allclose(by_channel, maps[i - 1].mean(dim=2), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("make", [MusicNN, VGG, lambda: VGG(pools=MSD_POOLS)])
def test_a_window_does_not_depend_on_its_neighbours(make):
    network = randomised(make())
    inputs = torch.rand(5, 187, 96, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        together = network(inputs)
        alone = network(inputs[3:4])
    for name, layer in together.items():
        assert_allclose(layer[3:4], alone[name], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("make", [MusicNN, VGG])
def test_folded_weights_change_nothing_and_bfloat16_little(make):
    network = randomised(make())
    inputs = torch.rand(5, 187, 96, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        before = network(inputs)
        folded = network.fold()(inputs)
        half = network.fold(torch.bfloat16)(inputs)
    for name, layer in before.items():
        assert_close_to_scale(folded[name].numpy(), layer.numpy(), tolerance=1e-5)
        assert half[name].dtype == torch.float32
        assert 0 < (half[name] - layer).abs().mean() < 0.03 * layer.abs().mean()


@pytest.mark.parametrize("size", [(1, 5), (2, 2), (4, 1)])
def test_pooling_before_the_normalisation_changes_nothing(size):
    generator = torch.Generator().manual_seed(0)
    block = randomised(_ConvPool(3, 8, (3, 3)))
    block.norm.factor.data = torch.tensor([1.0, -1.0, 0.0, 2.0, -2.0, 0.5, -0.5, -0.1])
    inputs = torch.randn(2, 3, 9, 12, generator=generator)

    def pool(x):
        return functional.max_pool2d(x, size)

    with torch.inference_mode():
        plain = pool(block.norm(torch.relu(block.conv(inputs))))
        assert_allclose(block(inputs, pool), plain, atol=1e-6)


@pytest.mark.parametrize("tags", [MSD_TAGS, MTT_TAGS])
def test_there_is_a_name_for_each_tag(tags):
    assert len(tags) == len(set(tags)) == 50
    assert all(isinstance(tag, str) and tag for tag in tags)


def test_half_the_bits_hardly_change_speaker_embeddings():
    clips = make_speech_like(6, random_state=0).data
    exact = SpeakerEmbedding(dtype="float32", memory=False)
    rough = SpeakerEmbedding(dtype="bfloat16", memory=False)
    expected, features = exact.fit_transform(clips), rough.fit_transform(clips)
    assert not np.array_equal(features, expected)
    assert np.linalg.norm(features - expected) < 0.01 * np.linalg.norm(expected)


@pytest.mark.parametrize("layers", ["all", "embedding"])
def test_half_the_bits_are_the_same_ones_beside_other_clips(layers):
    if not computes_bfloat16(torch.device("cpu"), ["amx_bf16"]):
        pytest.skip("needs a processor with AMX")
    rng = np.random.default_rng(0)
    clips = [rng.standard_normal(n).astype(np.float32) for n in (9_000, 25_600, 40_000, 90_000)]
    extractor = SpeakerEmbedding(layers=layers, memory=False)
    assert extractor._precision() == "bfloat16"
    alone = np.concatenate([extractor.transform([clip]) for clip in clips])
    for many in (clips, clips[::-1] * 30):  # some batches of several sizes
        rows = extractor.transform(many)
        order = [next(i for i, clip in enumerate(clips) if clip is x) for x in many]
        np.testing.assert_array_equal(rows, alone[order])


@pytest.mark.parametrize(
    ("model", "can", "auto"),
    [
        ("ge2e", True, "bfloat16"),
        ("ge2e", False, "float32"),
        ("resnetse34l", True, "float32"),
    ],
)
def test_precision_of_speaker_networks(model, can, auto, monkeypatch):
    capabilities = {"avx512_bf16": True, "amx_bf16": can}
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: capabilities, raising=False)
    assert SpeakerEmbedding(model, device="cpu")._precision() == auto
    assert SpeakerEmbedding(model, device="meta")._precision() == "float32"


def test_speaker_embeddings_of_earlier_commits_compute_as_they_did():
    state = SpeakerEmbedding().__getstate__()
    del state["dtype"]
    old = SpeakerEmbedding(dtype="bfloat16")
    old.__setstate__(state)
    assert old.dtype == "float32"


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_products_of_matrices_are_the_convolutions_and_their_pooling(dtype):
    """For filters whose normalisation has either sign, and lengths that blocks don't divide."""
    torch.manual_seed(0)
    over_bands, over_frames = ((7, 38), (1, 4), (2, 1, 50, 96)), ((9, 1), (32, 1), (1, 1, 50, 5))
    for kernel, positions, shape in (over_bands, over_frames):
        block = _ConvMax(13, kernel, positions).eval()
        block.norm.factor.data = torch.randn(13)
        x = torch.randn(shape)
        with torch.inference_mode():
            expected = block.norm(torch.relu(block.conv(x))).amax(dim=3)
            block.fold(dtype)
            result = block(x)
        assert result.shape == expected.shape
        tolerance = 1e-5 if dtype == torch.float32 else 0.03
        np.testing.assert_allclose(result, expected, atol=tolerance, rtol=tolerance)


@pytest.mark.parametrize("network", [MusicNN, VGG])
def test_music_networks_compute_on_other_devices(network):
    """On the device "meta", which has shapes only, as on a GPU no tensor of the CPU may join in."""
    folded = network().to("meta").eval().fold()
    assert folded(torch.empty(3, 187, 96, device="meta"))["tags"].shape == (3, 50)
