"""The residual speaker network: its arithmetic, its published layout, how its weights arrive.

The published file cannot be had everywhere: files of random weights in its layout stand for it.
"""

import dataclasses
import http.server
import os
import pickle
import subprocess
import sys
import threading
from collections import OrderedDict

import librosa
import numpy as np
import pytest
import torch
from torch.nn import functional

from skspeech import SpeakerEmbedding, cache, weights
from skspeech.audio import SAMPLING_RATE
from skspeech.datasets import make_speech_like
from skspeech.transformers import speaker
from skspeech.transformers.networks.resnetse34l import ResNetSE34L
from skspeech.weights import WeightsError, WeightsNotFoundError, main, read_weights

NAME = "resnetse34l"
WIDTHS = {1: 16, 2: 32, 3: 64, 4: 128}


# A file in the published layout -------------------------------------------------------------------


def published_shapes():
    """Names and shapes of the published file, written down from its description."""
    shapes = {"torchfb.spectrogram.window": (400,), "torchfb.mel_scale.fb": (257, 40)}
    shapes["conv1.weight"] = (16, 1, 7, 7)
    shapes |= batch_norm("bn1", 16)
    n_inputs = 16
    for stage, n_blocks in enumerate((3, 4, 6, 3), start=1):
        n = WIDTHS[stage]
        for block in range(n_blocks):
            prefix = f"layer{stage}.{block}"
            shapes[f"{prefix}.conv1.weight"] = (n, n_inputs, 3, 3)
            shapes |= batch_norm(f"{prefix}.bn1", n)
            shapes[f"{prefix}.conv2.weight"] = (n, n, 3, 3)
            shapes |= batch_norm(f"{prefix}.bn2", n)
            shapes[f"{prefix}.se.fc.0.weight"] = (n // 8, n)
            shapes[f"{prefix}.se.fc.0.bias"] = (n // 8,)
            shapes[f"{prefix}.se.fc.2.weight"] = (n, n // 8)
            shapes[f"{prefix}.se.fc.2.bias"] = (n,)
            if n_inputs != n:
                shapes[f"{prefix}.downsample.0.weight"] = (n, n_inputs, 1, 1)
                shapes |= batch_norm(f"{prefix}.downsample.1", n)
            n_inputs = n
    shapes |= {"sap_linear.weight": (128, 128), "sap_linear.bias": (128,), "attention": (128, 1)}
    shapes |= {"fc.weight": (512, 128), "fc.bias": (512,)}
    return {f"__S__.{key}": shape for key, shape in shapes.items()} | {
        "__L__.w": (),
        "__L__.b": (),
    }


def batch_norm(prefix, n):
    shapes = {f"{prefix}.{x}": (n,) for x in ("weight", "bias", "running_mean", "running_var")}
    return shapes | {f"{prefix}.num_batches_tracked": ()}


def make_checkpoint(seed=0):
    generator = torch.Generator().manual_seed(seed)
    checkpoint = OrderedDict()
    for key, shape in published_shapes().items():
        if key.endswith("num_batches_tracked"):
            checkpoint[key] = torch.tensor(1000)
        elif key.endswith(("running_var", "bn1.weight", "bn2.weight", "downsample.1.weight")):
            checkpoint[key] = 0.5 + torch.rand(shape, generator=generator)
        else:
            fan_in = max(1, int(np.prod(shape[1:])))
            checkpoint[key] = torch.randn(shape, generator=generator) / fan_in**0.5
    return checkpoint


@pytest.fixture(scope="module")
def checkpoint():
    return make_checkpoint()


@pytest.fixture(scope="module", params=[True, False], ids=["zip", "legacy"])
def path(checkpoint, request, tmp_path_factory):
    """The checkpoint as torch writes it, and as torch wrote it when the original was published."""
    path = tmp_path_factory.mktemp("weights") / "baseline_lite_ap.model"
    torch.save(checkpoint, path, _use_new_zipfile_serialization=request.param)
    return path


@pytest.fixture(scope="module")
def clips():
    """Clips shorter than a window, as long, and of several windows."""
    waveforms = make_speech_like(n_samples=4, random_state=0).data
    seconds = [0.4, 3.0, 4.2, 8.0]
    return [np.resize(w, int(s * SAMPLING_RATE)) for w, s in zip(waveforms, seconds, strict=True)]


@pytest.fixture(autouse=True)
def forget():
    cache.clear()


def test_a_long_clip_is_embedded_in_parts(path, clips, cut_longer_than):
    extractor = SpeakerEmbedding(
        "resnetse34l", weights=path, window=1.0, hop=0.37, level=None, memory=False
    )
    whole = extractor.transform(clips[-1:])
    cut_longer_than(2.0, 3.0)
    np.testing.assert_allclose(extractor.transform(clips[-1:]), whole, rtol=1e-3, atol=1e-4)


# The network --------------------------------------------------------------------------------------


def reference(checkpoint, mel):
    """The network's formulas, one by one, without its modules; mel is (n, n_frames, 40)."""
    w = {key.removeprefix("__S__."): x.double() for key, x in checkpoint.items()}

    def norm(x, name):
        scale = w[f"{name}.weight"] / torch.sqrt(w[f"{name}.running_var"] + 1e-5)
        shift = w[f"{name}.bias"] - w[f"{name}.running_mean"] * scale
        return x * scale[:, None, None] + shift[:, None, None]

    x = torch.log(mel.double() + 1e-6).transpose(1, 2)
    x = (x - x.mean(2, keepdim=True)) / torch.sqrt(x.var(2, correction=0, keepdim=True) + 1e-5)
    x = functional.conv2d(x[:, None], w["conv1.weight"], stride=(2, 1), padding=3)
    x = norm(x, "bn1").clamp(min=0)
    maps = []
    for stage, n_blocks in enumerate((3, 4, 6, 3), start=1):
        for block in range(n_blocks):
            p = f"layer{stage}.{block}"
            stride = 2 if block == 0 and stage in (2, 3) else 1
            out = functional.conv2d(x, w[f"{p}.conv1.weight"], stride=stride, padding=1)
            out = norm(out.clamp(min=0), f"{p}.bn1")
            out = norm(functional.conv2d(out, w[f"{p}.conv2.weight"], padding=1), f"{p}.bn2")
            gate = out.mean((2, 3)) @ w[f"{p}.se.fc.0.weight"].T + w[f"{p}.se.fc.0.bias"]
            gate = gate.clamp(min=0) @ w[f"{p}.se.fc.2.weight"].T + w[f"{p}.se.fc.2.bias"]
            out = out * torch.sigmoid(gate)[:, :, None, None]
            if f"{p}.downsample.0.weight" in w:
                x = functional.conv2d(x, w[f"{p}.downsample.0.weight"], stride=stride)
                x = norm(x, f"{p}.downsample.1")
            x = (out + x).clamp(min=0)
        maps.append(x)
    states = functional.avg_pool2d(x, (5, 1))[:, :, 0].transpose(1, 2)
    scores = torch.tanh(states @ w["sap_linear.weight"].T + w["sap_linear.bias"]) @ w["attention"]
    pooled = (states * torch.softmax(scores, dim=1)).sum(1)
    return maps, pooled @ w["fc.weight"].T + w["fc.bias"]


def test_network_follows_the_published_formulas(checkpoint, path):
    network = ResNetSE34L()
    network.load_state_dict(read_weights(NAME, path))
    mel = torch.rand((2, 150, 40), generator=torch.Generator().manual_seed(1)) ** 4
    maps, embedding = reference(checkpoint, mel)
    with torch.no_grad():
        found = network.eval().feature_maps(mel)
        np.testing.assert_allclose(network(mel), embedding, rtol=1e-3, atol=1e-3)
    assert [tuple(x.shape) for x in found] == [
        (2, 16, 20, 150),
        (2, 32, 10, 75),
        (2, 64, 5, 38),
        (2, 128, 5, 38),
    ]
    for ours, theirs in zip(found, maps, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-3, atol=1e-3 * float(theirs.abs().max()))


def test_spectrogram_is_the_one_it_was_trained_on(clips):
    """Periodic Hann window of 400 in an FFT of 512, reflection, power, HTK mel without norm."""
    spectrogram = speaker._MODELS[NAME].spectrogram
    frames, _ = spectrogram([clips[1]])
    expected = librosa.feature.melspectrogram(
        y=clips[1].astype(np.float64),
        sr=SAMPLING_RATE,
        n_fft=512,
        win_length=400,
        hop_length=160,
        n_mels=40,
        power=2.0,
        htk=True,
        norm=None,
        pad_mode="reflect",
    )
    np.testing.assert_allclose(frames.numpy().T, expected, rtol=1e-3, atol=1e-4)


def test_embedding_is_that_of_the_whole_chain(checkpoint, path, clips):
    frames, _ = speaker._MODELS[NAME].spectrogram([clips[1]])
    maps, embedding = reference(checkpoint, frames[None, :300])
    expected = functional.normalize(embedding, dim=1)[0]
    extractor = SpeakerEmbedding(NAME, weights=path, level=None, layers="embedding")
    np.testing.assert_allclose(extractor.transform([clips[1]])[0], expected, atol=1e-4)

    features = SpeakerEmbedding(NAME, weights=path, level=None, layers=3, pooling=("std", "max"))
    states = maps[2].mean(2)[0]
    expected = torch.cat([states.std(1, correction=0), states.amax(1)])
    np.testing.assert_allclose(features.transform([clips[1]])[0], expected, rtol=1e-2, atol=1e-2)


# The extractor ------------------------------------------------------------------------------------


def test_features_and_names(path, clips):
    extractor = SpeakerEmbedding(NAME, weights=path, level=None)
    features = extractor.fit_transform(clips)
    names = extractor.get_feature_names_out()
    assert features.shape == (4, 2 * sum(WIDTHS.values()) + 512) == (4, len(names))
    assert names[0] == "resnetse34l_stage1_mean_0"
    assert names[-1] == "resnetse34l_embedding_511"
    assert len(set(names)) == len(names)
    assert np.isfinite(features).all()
    np.testing.assert_allclose(np.linalg.norm(features[:, -512:], axis=1), 1, rtol=1e-5)


def test_neighbours_do_not_matter(path, clips):
    extractor = SpeakerEmbedding(NAME, weights=path, level=None, batch_size=3, memory=False)
    together = extractor.transform(clips)
    alone = np.concatenate([extractor.transform([clip]) for clip in clips])
    np.testing.assert_allclose(together, alone, rtol=1e-3, atol=1e-3)


def test_windows_are_its_own_and_can_be_set(path, clips):
    extractor = SpeakerEmbedding(NAME, weights=path, level=None, layers="embedding")
    centres = extractor.embed(clips, return_timestamps=True)[1]
    np.testing.assert_allclose(centres[0], [0.2], atol=1e-6)
    np.testing.assert_allclose(centres[2], [1.5, 2.7], atol=1e-6)
    np.testing.assert_allclose(centres[3], [1.5, 3.0, 4.5, 6.0, 6.5], atol=1e-6)
    longer = extractor.set_params(window=4.0, hop=2.0).embed([clips[3]], return_timestamps=True)[1]
    np.testing.assert_allclose(longer[0], [2.0, 4.0, 6.0], atol=1e-6)


@pytest.mark.parametrize("scale", [0.0, 1e-30, 1.0, 100.0])
def test_any_level_gives_finite_features(path, clips, scale):
    with np.errstate(over="raise", divide="raise", invalid="raise"):
        features = SpeakerEmbedding(NAME, weights=path).transform([clips[1] * np.float32(scale)])
    assert np.isfinite(features).all()


def test_layer_four_is_not_of_ge2e(path, clips):
    assert SpeakerEmbedding(NAME, weights=path, layers=4).transform(clips[:1]).shape == (1, 256)
    with pytest.raises(
        ValueError, match=r"layers=4 is not accepted. Use one or several of 1, 2, 3"
    ):
        SpeakerEmbedding(layers=4).fit(clips)


def test_weights_are_for_this_network_only(path, clips):
    with pytest.raises(ValueError, match="only model='resnetse34l' takes a file of weights"):
        SpeakerEmbedding(weights=path).fit(clips)


@pytest.mark.slow
def test_pickle_names_the_weights_and_holds_none(path, clips, tmp_path):
    extractor = SpeakerEmbedding(NAME, weights=str(path), memory=False)
    expected = extractor.fit_transform(clips[:1])
    pickled = pickle.dumps(extractor)
    assert len(pickled) < 2_000
    (tmp_path / "extractor.pkl").write_bytes(pickled)
    np.save(tmp_path / "clip.npy", clips[0])
    code = (
        "import pickle, sys, numpy as np\n"
        "extractor = pickle.load(open(sys.argv[1] + '/extractor.pkl', 'rb'))\n"
        "clip = np.load(sys.argv[1] + '/clip.npy')\n"
        "np.save(sys.argv[1] + '/out.npy', extractor.transform([clip]))\n"
    )
    subprocess.run([sys.executable, "-c", code, str(tmp_path)], check=True, timeout=120)
    np.testing.assert_allclose(np.load(tmp_path / "out.npy"), expected, rtol=1e-5)


def test_features_are_remembered_by_the_content_of_the_weights(path, clips, tmp_path, computed):
    """A copy elsewhere finds them; other weights in the same place do not."""
    mine = tmp_path / "mine.model"
    mine.write_bytes(path.read_bytes())
    first = SpeakerEmbedding(NAME, weights=path).transform(clips[:1])
    again = SpeakerEmbedding(NAME, weights=str(mine)).transform(clips[:1])
    assert len(computed) == 1
    np.testing.assert_array_equal(first, again)

    torch.save(make_checkpoint(seed=1), mine)
    os.utime(mine, ns=(1, 1))
    other = SpeakerEmbedding(NAME, weights=mine).transform(clips[:1])
    assert len(computed) == 2
    assert not np.allclose(first, other)


# Files that are something else --------------------------------------------------------------------


def test_training_loss_and_front_end_are_optional(checkpoint, tmp_path):
    path = tmp_path / "bare.model"
    bare = {k: x for k, x in checkpoint.items() if "torchfb" not in k and "__L__" not in k}
    torch.save(bare, path)
    tensors = read_weights(NAME, path)
    assert tensors.keys() == ResNetSE34L().state_dict().keys()
    assert {f"__S__.{key}" for key in tensors} == bare.keys()


def test_all_that_does_not_fit_is_listed(checkpoint, tmp_path):
    path = tmp_path / "wrong.model"
    wrong = dict(checkpoint)
    del wrong["__S__.fc.bias"], wrong["__S__.layer2.1.conv1.weight"]
    wrong["__S__.instancenorm.weight"] = torch.ones(40)
    wrong["other"] = torch.ones(1)
    wrong["__S__.torchfb.mel_scale.fb"] = torch.ones(257, 64)
    wrong["__S__.fc.weight"] = torch.ones(256, 128)
    torch.save(wrong, path)
    with pytest.raises(WeightsError) as error:
        SpeakerEmbedding(NAME, weights=path).transform([np.ones(100)])
    message = str(error.value)
    assert "missing: __S__.fc.bias, __S__.layer2.1.conv1.weight" in message
    assert "unexpected: __S__.instancenorm.weight, other" in message
    assert "__S__.fc.weight (256, 128) in place of (512, 128)" in message
    assert "__S__.torchfb.mel_scale.fb (257, 64) in place of (257, 40)" in message


class Malicious:
    def __reduce__(self):
        return os.system, ("touch executed",)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (lambda path: path.write_bytes(b""), "cannot be read as named tensors"),
        (lambda path: path.write_bytes(b"not weights at all"), "cannot be read as named tensors"),
        (lambda path: torch.save([torch.ones(1)], path), "holds something else than named tensors"),
        (lambda path: torch.save({"a": 1}, path), "holds something else than named tensors"),
        (lambda path: torch.save({"a": Malicious()}, path), "cannot be read as named tensors"),
        (lambda path: path.write_bytes(pickle.dumps(Malicious(), 2)), "cannot be read as named"),
        (lambda path: path.mkdir(), "cannot be read: Is a directory"),
        (lambda path: None, "cannot be read: No such file"),
    ],
    ids=["empty", "text", "list", "number", "code", "pickle", "folder", "nothing"],
)
def test_other_files_are_refused_and_run_no_code(content, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "mine.model"
    content(path)
    with pytest.raises(WeightsError, match=message):
        SpeakerEmbedding(NAME, weights=path).transform([np.ones(100)])
    with pytest.raises(WeightsError, match=message):
        read_weights(NAME, path)
    assert not (tmp_path / "executed").exists()


def test_other_networks_take_no_file(path):
    with pytest.raises(ValueError, match="'ge2e' are not published as a file"):
        read_weights("ge2e", path)
    with pytest.raises(ValueError, match="are not in a wheel"):
        weights.fetch_wheel(NAME)


# The download -------------------------------------------------------------------------------------


def git_blob(path):
    command = ["git", "hash-object", "--no-filters", str(path)]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


@pytest.fixture
def server(path, tmp_path, monkeypatch, no_networks):
    """A web server that has the checkpoint, a registry that names it, and an empty cache."""

    class Handler(http.server.BaseHTTPRequestHandler):
        requests = 0

        def do_GET(self):
            Handler.requests += 1
            content = path.read_bytes() if self.path == "/data/baseline_lite_ap.model" else None
            self.send_response(200 if content else 404)
            self.send_header("Content-Length", str(len(content or b"")))
            self.end_headers()
            self.wfile.write(content or b"")

        def log_message(self, *args):
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    monkeypatch.setenv("SKSPEECH_CACHE", str(tmp_path / "cache"))
    publish(
        monkeypatch,
        url=f"http://127.0.0.1:{server.server_port}/data/baseline_lite_ap.model",
        git_blob=git_blob(path),
    )
    yield Handler
    server.shutdown()
    thread.join()
    server.server_close()


def publish(monkeypatch, **changes):
    """Change where the registry says that the weights are, or their checksum."""
    entry = weights.REGISTRY[NAME]
    source = dataclasses.replace(entry.source, **changes)
    monkeypatch.setitem(weights.REGISTRY, NAME, dataclasses.replace(entry, source=source))


def test_weights_are_downloaded_once_and_verified(server, path, clips, tmp_path):
    features = SpeakerEmbedding(NAME).transform(clips[:1])
    expected = SpeakerEmbedding(NAME, weights=path, memory=False).transform(clips[:1])
    np.testing.assert_allclose(features, expected, rtol=1e-5)
    assert server.requests == 1
    weights.load_weights(NAME)
    assert server.requests == 1
    kept = {x.relative_to(tmp_path / "cache").parts[0] for x in (tmp_path / "cache").iterdir()}
    assert kept == {"weights", ".voxceleb_trainer.lock"}


def test_a_file_with_another_checksum_is_refused(server, monkeypatch, tmp_path):
    publish(monkeypatch, git_blob="351f25297111c0d9096f928d9558ddb9d3d327db")
    with pytest.raises(WeightsError, match="another checksum than recorded") as error:
        weights.fetch_weights(NAME, progress=False)
    assert not isinstance(error.value, WeightsNotFoundError)
    assert not list((tmp_path / "cache").rglob("*.safetensors"))


def test_damaged_weights_are_fetched_again(server):
    path = weights.fetch_weights(NAME, progress=False)
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    with pytest.warns(UserWarning, match="are damaged"):
        weights.fetch_weights(NAME, progress=False)
    assert server.requests == 2
    assert main(["verify", NAME]) == 0


@pytest.mark.parametrize("where", ["/elsewhere.model", None])
def test_where_it_cannot_be_had_the_error_says_what_to_do(server, where, monkeypatch, tmp_path):
    url = weights.REGISTRY[NAME].source.url
    if where:
        publish(monkeypatch, url=url.replace("/data/baseline_lite_ap.model", where))
    else:
        publish(monkeypatch, url="http://127.0.0.1:9/baseline_lite_ap.model")
    with pytest.raises(WeightsNotFoundError) as error:
        SpeakerEmbedding(NAME).transform([np.ones(100)])
    message = str(error.value)
    assert "resnetse34l are not on this machine and can't be fetched: " in message
    assert "    skspeech weights fetch resnetse34l\n" in message
    url = weights.REGISTRY[NAME].source.url
    assert f"put {url} into {tmp_path / 'cache' / 'downloads'}" in message


def test_a_file_that_was_put_into_the_cache_needs_no_network(server, path, monkeypatch, tmp_path):
    publish(monkeypatch, url="http://127.0.0.1:9/baseline_lite_ap.model")
    kept = tmp_path / "cache" / "downloads" / "baseline_lite_ap.model"
    kept.parent.mkdir(parents=True)
    kept.write_bytes(path.read_bytes())
    assert weights.fetch_weights(NAME, progress=False).is_file()


def test_a_wrong_file_in_the_cache_is_not_used(server, tmp_path):
    kept = tmp_path / "cache" / "downloads" / "baseline_lite_ap.model"
    kept.parent.mkdir(parents=True)
    kept.write_bytes(b"something else")
    with pytest.warns(UserWarning, match="has not the recorded checksum"):
        weights.fetch_weights(NAME, progress=False)
    assert server.requests == 1


def test_fetching_all_leaves_the_optional_ones_out(server, monkeypatch, capsys):
    monkeypatch.setattr(weights.registry, "REGISTRY", {NAME: weights.REGISTRY[NAME]})
    assert main(["fetch"]) == 0
    assert server.requests == 0
    capsys.readouterr()
    assert main(["list"]) == 0
    assert "not cached, not needed" in capsys.readouterr().out
    assert main(["fetch", NAME]) == 0
    assert server.requests == 1


def test_the_published_checksum_is_recorded():
    entry = weights.REGISTRY[NAME]
    assert entry.checksum == "351f25297111c0d9096f928d9558ddb9d3d327db"
    assert entry.source.url == "http://www.robots.ox.ac.uk/~joon/data/baseline_lite_ap.model"
    assert weights.weights_key(NAME) == "resnetse34l-351f25297111c0d9"


@pytest.mark.gpu
def test_gpu_gives_the_cpus_features(path, clips):
    extractor = SpeakerEmbedding(NAME, weights=path, memory=False, device="cuda")
    on_gpu = extractor.transform(clips)
    on_cpu = extractor.set_params(device="cpu").transform(clips)
    np.testing.assert_allclose(on_gpu, on_cpu, rtol=1e-2, atol=1e-2)
