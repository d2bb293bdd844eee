"""Encoders of Hugging Face's transformers: tiny random models in folders, read as real ones are."""

import itertools
import json
import os
import pickle
import shutil
import subprocess
import sys
import warnings
from pathlib import Path

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from tiny_transformers import FAMILIES, make_clips, save_tiny

from skspeech import TransformersEmbedding, cache
from skspeech.audio import SAMPLING_RATE
from skspeech.transformers import _families  # what a family of models needs has no public name
from skspeech.weights import WeightsError, WeightsNotFoundError

transformers = pytest.importorskip("transformers", reason="needs the extra transformers")
torch = pytest.importorskip("torch")

ALL = ("mean", "std", "max")


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """The folder of each family's model, written when it is first asked for."""
    made = {}

    def folder(family):
        if family not in made:
            made[family] = save_tiny(family, tmp_path_factory.mktemp(family))
        return made[family]

    return folder


@pytest.fixture
def folder(folders):
    return folders("wav2vec2-layer")


@pytest.fixture(params=FAMILIES)
def family(request):
    return request.param


@pytest.fixture(scope="module")
def clips():
    return make_clips()


@pytest.fixture(autouse=True)
def forget():
    cache.clear()


# Features -----------------------------------------------------------------------------------------


def direct(family, folder, clip):
    """Hidden states of one clip by itself, (n_frames, n_units) each, straight from the package."""
    model = transformers.AutoModel.from_pretrained(folder).eval()
    with _families.without_warnings():
        extractor = transformers.AutoFeatureExtractor.from_pretrained(folder)
    rate = extractor.sampling_rate
    if rate != SAMPLING_RATE:
        import soxr

        clip = soxr.resample(clip, SAMPLING_RATE, rate)
    inputs = extractor([clip], sampling_rate=rate, return_tensors="pt")
    part = {"whisper": "encoder", "clap": "audio_model"}.get(family.split("-")[0], "")
    if "is_longer" in inputs:
        inputs["is_longer"] = torch.zeros(1, 1, dtype=torch.bool)
    inputs.pop("attention_mask", None)
    with torch.no_grad():
        states = model.get_submodule(part)(**inputs, output_hidden_states=True).hidden_states
    if family == "whisper":
        return [x[0, : -(-len(clip) // 320)] for x in states]
    if family == "ast":
        # 1 + (n - 400) // 160 frames make patches of 16 every 10, over 12 rows of frequency.
        columns = [j for j in range(12) if 10 * j + 8 <= 1 + (len(clip) - 400) // 160]
        return [x[0, 2:].reshape(12, 12, -1)[:, columns].flatten(0, 1) for x in states]
    if part == "audio_model":
        return [x[0].flatten(1).T for x in states]
    return [x[0] for x in states]


def test_features_are_statistics_of_the_models_hidden_states(family, folders, clips):
    clip = clips[3]
    extractor = TransformersEmbedding(folders(family), pooling=ALL, level=None, memory=False)
    states = direct(family, folders(family), clip)
    clap = family.startswith("clap")  # its maps are averaged first: time is on both of their axes
    states = [x.mean(0, keepdim=True) for x in states] if clap else states
    expected = torch.cat(
        [f for x in states for f in (x.mean(0), x.std(0, correction=0), x.amax(0))]
    )
    tolerance = 1e-3 if clap else 1e-4  # resampled
    np.testing.assert_allclose(extractor.transform([clip])[0], expected, atol=tolerance)


@pytest.mark.parametrize("standardizes", [True, False])
def test_features_do_not_depend_on_level_or_offset(family, folders, clips, tmp_path, standardizes):
    folder = shutil.copytree(folders(family), tmp_path / "copy")
    settings = json.loads((folder / "preprocessor_config.json").read_text())
    settings["do_normalize"] = standardizes
    (folder / "preprocessor_config.json").write_text(json.dumps(settings))
    extractor = TransformersEmbedding(folder)
    clips = clips[1:]  # of the first, too short for a period of 20 Hz, the mean may be sound
    expected = extractor.transform(clips)
    for gain, offset in [(0.1, 0), (3, 0), (1, 0.1)]:
        other = extractor.transform([clip * gain + offset for clip in clips])
        tolerance = 0.05 if family.startswith("clap") else 2e-3  # resampled: an offset has edges
        np.testing.assert_allclose(other, expected, atol=tolerance)


@pytest.mark.parametrize("batch_size", [2, 16])
def test_padding_and_neighbours_do_not_matter(family, folders, clips, batch_size):
    """Short next to long, several windows next to one, in any order."""
    extractor = TransformersEmbedding(
        folders(family), pooling=ALL, window=1.25, hop=1.0, batch_size=batch_size, memory=False
    )
    together = extractor.transform(clips)
    alone = np.concatenate([extractor.transform([clip]) for clip in clips])
    np.testing.assert_allclose(together, alone, rtol=1e-5, atol=2e-5)
    np.testing.assert_allclose(extractor.transform(clips[::-1])[::-1], alone, rtol=1e-5, atol=2e-5)
    assert np.isfinite(together).all()
    assert len(np.unique(together, axis=0)) == len(clips)


def test_batches_hold_windows_of_other_lengths_where_a_mask_allows_it(folders, clips, monkeypatch):
    def n_batches(family):
        extractor = TransformersEmbedding(folders(family), batch_size=16, memory=False)
        seen = []
        prepare = _families._Waveforms.prepare
        monkeypatch.setattr(
            _families._Waveforms,
            "prepare",
            lambda self, pieces: seen.append(len(pieces)) or prepare(self, pieces),
        )
        extractor.transform([*clips, *clips])
        return seen

    assert n_batches("wavlm-layer") == [14]
    assert n_batches("wavlm-group") == [2] * 7


def test_features_and_names(family, folders, clips):
    extractor = TransformersEmbedding(folders(family), pooling=("mean", "max"))
    features = extractor.fit_transform(clips)
    names = extractor.get_feature_names_out()
    assert features.shape == (len(clips), len(names))
    assert features.dtype == np.float32
    assert len(set(names)) == len(names)
    assert names[0].endswith("_layer0_mean_0")


def test_layers_and_statistics_are_subsets(folder, clips):
    everything = TransformersEmbedding(folder, pooling=ALL)
    names = list(everything.get_feature_names_out())
    features = everything.transform(clips)
    for layers, wanted in [(1, [1]), (-1, [2]), ((0, -2), [0, 1]), (np.array([2]), [2])]:
        some = TransformersEmbedding(folder, layers=layers, pooling="std")
        some_names = list(some.get_feature_names_out())
        assert some_names == [f"wav2vec2_layer{i}_std_{j}" for i in wanted for j in range(16)]
        columns = [names.index(name) for name in some_names]
        np.testing.assert_allclose(some.transform(clips), features[:, columns], atol=1e-5)


def test_windows_are_pooled_over_a_clip(folder, clips):
    extractor = TransformersEmbedding(folder, pooling=ALL, window=2.0, hop=1.5)
    windows, centres = extractor.embed(clips, return_timestamps=True)
    np.testing.assert_allclose(centres[-1], [1.0, 2.5, 4.0], atol=1e-5)  # 0.1 s are no window
    np.testing.assert_allclose(centres[2], [0.45], atol=1e-5)
    is_max = np.array(["_max_" in name for name in extractor.get_feature_names_out()])
    for row, block in zip(extractor.transform(clips), windows, strict=True):
        np.testing.assert_allclose(row[is_max], block.max(axis=0)[is_max], atol=1e-5)
        np.testing.assert_allclose(row[~is_max], block.mean(axis=0)[~is_max], atol=1e-5)


@pytest.mark.parametrize("family", ["wav2vec2-layer", "ast", "clap"])
def test_long_clips_are_embedded_in_parts(family, folders, clips, cut_longer_than):
    extractor = TransformersEmbedding(folders(family), window=0.5, hop=0.3, memory=False)
    long = [np.concatenate([*clips, *clips])]
    whole, windows = extractor.transform(long), extractor.embed(long)
    cut_longer_than(1.0, 1.5)
    np.testing.assert_allclose(extractor.transform(long), whole, rtol=1e-3, atol=1e-4)
    np.testing.assert_allclose(extractor.embed(long)[0], windows[0], rtol=1e-3, atol=1e-4)


def test_windows_are_as_long_as_the_model_takes(folders, clips):
    for family, n_windows in [("wavlm-layer", 1), ("whisper", 3), ("clap", 3)]:
        extractor = TransformersEmbedding(folders(family))
        assert len(extractor.embed([clips[-1]])[0]) == n_windows
    with pytest.raises(ValueError, match=r"window=2.5 is not accepted .* at most 2 s at once"):
        TransformersEmbedding(folders("whisper"), window=2.5).transform(clips)


def test_clap_gets_the_rate_it_was_trained_on(folders, tmp_path):
    """From a file of 48 kHz it hears what 16 kHz would lose."""
    t = np.arange(48_000) / 48_000
    low = 0.1 * np.sin(2 * np.pi * 300 * t)
    high = low + 0.1 * np.sin(2 * np.pi * 12_000 * t)
    extractor = TransformersEmbedding(folders("clap"))
    a, b = extractor.transform([(low, 48_000), (high, 48_000)])
    assert np.abs(a - b).max() > 1e-3


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_half_precision_is_close(family, folders, clips, dtype):
    extractor = TransformersEmbedding(folders(family), dtype="float32", memory=False)
    full = extractor.transform(clips)
    half = extractor.set_params(dtype=dtype).transform(clips)
    assert half.dtype == np.float32
    assert 0 < np.abs(half - full).max() < 0.1 * np.abs(full).max()


@pytest.mark.parametrize("stored", ["float16", "bfloat16"])
def test_weights_stored_in_half_precision_are_read(family, folders, clips, tmp_path, stored):
    model = transformers.AutoModel.from_pretrained(folders(family), dtype=getattr(torch, stored))
    halved = shutil.copytree(folders(family), tmp_path / "model")
    model.save_pretrained(halved)
    extractor = TransformersEmbedding(halved, device="cpu", memory=False)
    full = TransformersEmbedding(folders(family), device="cpu", memory=False).transform(clips)
    for dtype in ("auto", "bfloat16"):
        found = extractor.set_params(dtype=dtype).transform(clips)
        assert np.abs(found - full).max() < 0.1 * np.abs(full).max()


def test_auto_precision_is_full_on_a_cpu(folder, clips):
    extractor = TransformersEmbedding(folder, device="cpu", memory=False)
    auto = extractor.transform(clips)
    full = extractor.set_params(dtype="float32").transform(clips)
    np.testing.assert_array_equal(auto, full)


@pytest.mark.parametrize("scale", [0.0, 1e-30, 10.0])
def test_any_level_and_one_sample_give_finite_features(family, folders, clips, scale):
    extractor = TransformersEmbedding(folders(family), pooling=ALL)
    assert np.isfinite(extractor.transform([clips[3] * np.float32(scale), np.array([0.5])])).all()


def test_random_numbers_of_the_caller_are_left_alone(folders, clips):
    np.random.seed(0)  # noqa: NPY002
    expected = np.random.rand()  # noqa: NPY002
    np.random.seed(0)  # noqa: NPY002
    TransformersEmbedding(folders("clap-fused")).transform(clips[:3])
    assert np.random.rand() == expected  # noqa: NPY002


# As an estimator ----------------------------------------------------------------------------------


def test_fit_reads_no_model():
    extractor = TransformersEmbedding("nobody/nothing").fit([np.ones(100)])
    assert not hasattr(extractor, "n_features_in_")


def test_grid_search_embeds_each_clip_once(folder, clips, computed):
    pipeline = make_pipeline(TransformersEmbedding(folder), LogisticRegression(max_iter=50))
    search = GridSearchCV(pipeline, {"logisticregression__C": [0.1, 1.0]}, cv=3)
    search.fit(clips[:6], ["a", "b"] * 3).predict(clips[:6])
    assert len(computed) == 6


def test_features_are_remembered_by_the_content_of_the_folder(folder, clips, tmp_path):
    mine = shutil.copytree(folder, tmp_path / "model")
    (mine / ".#config.json").symlink_to("somebody@somewhere")  # an editor's mark
    extractor = TransformersEmbedding(mine)
    before = extractor.transform(clips)
    np.testing.assert_allclose(before, TransformersEmbedding(folder).transform(clips), atol=1e-6)
    save_tiny("wav2vec2-layer", mine, seed=1)
    os.utime(mine / "model.safetensors", ns=(1, 1))
    after = extractor.transform(clips)
    assert not np.allclose(before, after)
    np.testing.assert_array_equal(extractor.transform(clips), after)


@pytest.mark.slow
def test_pickle_holds_no_weights_and_works_in_another_process(folder, clips, tmp_path):
    extractor = TransformersEmbedding(folder, memory=False)
    expected = extractor.fit_transform(clips[:2])
    assert len(pickle.dumps(extractor)) < 2_000
    (tmp_path / "extractor.pkl").write_bytes(pickle.dumps(extractor))
    np.savez(tmp_path / "clips.npz", *clips[:2])
    code = (
        "import pickle, sys, numpy as np\n"
        "extractor = pickle.load(open(sys.argv[1] + '/extractor.pkl', 'rb'))\n"
        "clips = list(np.load(sys.argv[1] + '/clips.npz').values())\n"
        "np.save(sys.argv[1] + '/out.npy', extractor.transform(clips))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path)], check=True, capture_output=True, text=True
    )
    assert (done.stdout, done.stderr) == ("", "")
    np.testing.assert_allclose(np.load(tmp_path / "out.npy"), expected, atol=1e-6)


def test_loading_is_silent_and_leaves_the_packages_settings(folder, clips, capfd, no_networks):
    from transformers.utils import logging

    logging.enable_progress_bar()
    logging.set_verbosity_info()
    _families.open_model.cache_clear()
    try:
        TransformersEmbedding(folder).transform(clips[:1])
        assert capfd.readouterr() == ("", "")
        assert logging.is_progress_bar_enabled()
        assert logging.get_verbosity() == logging.INFO
    finally:
        logging.set_verbosity_warning()
        logging.disable_progress_bar()


def test_threads_that_overlap_leave_the_settings_as_they_were():
    from transformers.utils import logging

    before = list(warnings.filters), logging.get_verbosity(), logging.is_progress_bar_enabled()
    kinds = _families.without_warnings, _families.quiet
    for first, second in itertools.product(kinds, kinds):
        first, second = first(), second()
        first.__enter__()
        second.__enter__()
        first.__exit__(None, None, None)
        second.__exit__(None, None, None)
        after = list(warnings.filters), logging.get_verbosity(), logging.is_progress_bar_enabled()
        assert after == before


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"layers": 3}, r"layers=\[?3\]? is not accepted. Use one or several of 0, 1, 2"),
        ({"layers": -4}, "is not accepted"),
        ({"layers": (1, 1)}, "each once"),
        ({"layers": "last"}, "'layers' parameter of .* Got 'last' instead"),
        ({"pooling": "last"}, "'pooling' parameter of .* Got 'last' instead"),
        ({"pooling": ("mean", "last")}, "pooling=.* is not accepted"),
        ({"dtype": "int8"}, "'dtype' parameter of .* Got 'int8' instead"),
        ({"window": 0.0}, "'window' parameter"),
        ({"model": 3}, "'model' parameter"),
    ],
)
def test_parameters_are_checked(folder, clips, params, message):
    with pytest.raises(ValueError, match=message):
        TransformersEmbedding(**{"model": folder, **params}).fit(clips)


# What goes wrong ----------------------------------------------------------------------------------


def test_a_missing_package_names_the_install_command(clips, monkeypatch):
    monkeypatch.setitem(sys.modules, "transformers", None)
    _families.open_model.cache_clear()
    with pytest.raises(ImportError, match=r"pip install '\.\[transformers\]'"):
        TransformersEmbedding("some/model").transform(clips)


@pytest.mark.parametrize(
    ("names", "lacks"),
    [
        (["config.json"], "'config.json'"),
        (["preprocessor_config.json"], "'preprocessor_config.json' or 'processor_config.json'"),
        (["model.safetensors"], "'model.safetensors' or 'model.safetensors.index.json'"),
        (["config.json", "model.safetensors"], "'config.json' and 'model.safetensors' or"),
    ],
)
def test_what_a_folder_lacks_is_named(folder, clips, tmp_path, names, lacks):
    mine = shutil.copytree(folder, tmp_path / "model")
    for name in names:
        (mine / name).unlink()
    with pytest.raises(WeightsNotFoundError, match="lacks ") as error:
        TransformersEmbedding(mine).transform(clips)
    assert lacks in str(error.value)


def test_pickled_weights_are_not_read(folder, clips, tmp_path):
    class Malicious:
        def __reduce__(self):
            return Path.touch, (tmp_path / "executed",)

    mine = shutil.copytree(folder, tmp_path / "model")
    (mine / "model.safetensors").unlink()
    torch.save({"weight": Malicious()}, mine / "pytorch_model.bin")
    with pytest.raises(WeightsNotFoundError, match="weights are read from safetensors only"):
        TransformersEmbedding(mine).transform(clips)
    assert not (tmp_path / "executed").exists()


@pytest.mark.parametrize("model_type", ["wav2vec2", "mine"])
def test_code_that_comes_with_a_model_is_not_run(folder, clips, tmp_path, model_type):
    mine = shutil.copytree(folder, tmp_path / "model")
    config = json.loads((mine / "config.json").read_text())
    config["auto_map"] = {"AutoConfig": "code.Mine", "AutoModel": "code.Mine"}
    config["model_type"] = model_type
    (mine / "config.json").write_text(json.dumps(config))
    (mine / "code.py").write_text(f"open({str(tmp_path / 'executed')!r}, 'w')\nclass Mine: pass\n")
    if model_type == "wav2vec2":  # known to the package, which has code of its own
        TransformersEmbedding(mine).transform(clips)
    else:
        with pytest.raises(ValueError, match="of the type 'mine', which is not among"):
            TransformersEmbedding(mine).transform(clips)
    assert not (tmp_path / "executed").exists()


def test_other_kinds_of_models_are_refused(folder, clips, tmp_path):
    mine = shutil.copytree(folder, tmp_path / "model")
    (mine / "config.json").write_text(json.dumps({"model_type": "bert"}))
    with pytest.raises(ValueError, match=r"of the type 'bert', which is not among .* whisper"):
        TransformersEmbedding(mine).transform(clips)


def test_incomplete_weights_are_refused(folder, clips, tmp_path):
    from safetensors.torch import load_file, save_file

    mine = shutil.copytree(folder, tmp_path / "model")
    tensors = load_file(mine / "model.safetensors")
    del tensors["encoder.layers.1.attention.k_proj.weight"]
    save_file(tensors, mine / "model.safetensors", {"format": "pt"})
    with pytest.raises(WeightsError, match=r"lack 1 of the encoder's .*attention\.k_proj\.weight"):
        TransformersEmbedding(mine).transform(clips)


@pytest.mark.parametrize("family", ["whisper", "clap"])
def test_what_the_encoder_does_not_need_may_be_missing(family, folders, clips, tmp_path):
    from safetensors.torch import load_file, save_file

    mine = shutil.copytree(folders(family), tmp_path / "model")
    prefix = {"whisper": "encoder.", "clap": "audio_model."}[family]
    tensors = load_file(mine / "model.safetensors")
    kept = {key: x for key, x in tensors.items() if key.startswith(prefix)}
    assert 0 < len(kept) < len(tensors)
    save_file(kept, mine / "model.safetensors", {"format": "pt"})
    np.testing.assert_allclose(
        TransformersEmbedding(mine).transform(clips),
        TransformersEmbedding(folders(family)).transform(clips),
        atol=1e-5,
    )


@pytest.mark.parametrize("damage", ["truncated", "text", "other shapes"])
def test_damaged_weights_are_an_error(folder, clips, tmp_path, damage):
    mine = shutil.copytree(folder, tmp_path / "model")
    path = mine / "model.safetensors"
    if damage == "truncated":
        path.write_bytes(path.read_bytes()[:-100])
    elif damage == "text":
        path.write_bytes(b"not weights")
    else:
        config = json.loads((mine / "config.json").read_text())
        (mine / "config.json").write_text(json.dumps({**config, "intermediate_size": 24}))
    with pytest.raises(WeightsError, match="cannot be "):
        TransformersEmbedding(mine).transform(clips)


def test_a_folder_that_does_not_exist(clips, tmp_path):
    with pytest.raises(WeightsNotFoundError, match="is not a folder"):
        TransformersEmbedding(tmp_path / "nothing").transform(clips)


def test_a_file_is_no_folder(clips, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("model.safetensors").write_bytes(b"weights")
    with pytest.raises(WeightsNotFoundError, match="is not a folder"):
        TransformersEmbedding("model.safetensors", local_files_only=True).transform(clips)


# The hub's cache ----------------------------------------------------------------------------------


def in_the_hubs_cache(home, name, folder, without=()):
    """Lay a model out as the hub's client does."""
    commit = "0123456789abcdef0123456789abcdef01234567"
    repository = home / "hub" / f"models--{name.replace('/', '--')}"
    shutil.copytree(
        folder, repository / "snapshots" / commit, ignore=shutil.ignore_patterns(*without)
    )
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text(commit)
    return commit


def run_offline(home, code):
    environment = {**os.environ, "HF_HOME": str(home), "HF_HUB_OFFLINE": "1"}
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env=environment, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


CODE = """
import numpy as np
from skspeech import TransformersEmbedding
from skspeech.weights import WeightsNotFoundError
extractor = TransformersEmbedding("someone/tiny")
try:
    print(extractor.transform([np.linspace(-1, 1, 8000)]).tolist())
    print(extractor._network_id())
except WeightsNotFoundError as error:
    print(error)
"""


@pytest.mark.slow
def test_a_model_in_the_hubs_cache_needs_no_network(folder, tmp_path):
    commit = in_the_hubs_cache(tmp_path, "someone/tiny", folder)
    features, identity = run_offline(tmp_path, CODE).splitlines()
    expected = TransformersEmbedding(folder).transform([np.linspace(-1, 1, 8000)])
    np.testing.assert_allclose(json.loads(features), expected, atol=1e-5)
    assert identity == f"transformers-someone/tiny@{commit}"


@pytest.mark.parametrize("missing", ["model.safetensors", "preprocessor_config.json"])
@pytest.mark.slow
def test_offline_the_error_names_what_is_missing(folder, tmp_path, missing):
    in_the_hubs_cache(tmp_path, "someone/tiny", folder, without=[missing])
    said = run_offline(tmp_path, CODE)
    assert "The model 'someone/tiny' cannot be had" in said
    assert f"Missing here: {missing}" in said
    assert "hf download someone/tiny --local-dir FOLDER" in said


def test_local_files_only_asks_no_network(clips):
    extractor = TransformersEmbedding("nobody/nothing", local_files_only=True)
    with pytest.raises(WeightsNotFoundError, match=r"Missing here: config\.json, preproc"):
        extractor.transform(clips)


def test_a_name_that_cannot_be_one(clips):
    with pytest.raises(WeightsNotFoundError, match="'no such/name at all' cannot be had"):
        TransformersEmbedding("no such/name at all", local_files_only=True).transform(clips)


def test_what_was_fitted_on_a_gpu_stays_in_its_precision_there(folders, clips, monkeypatch):
    extractor = TransformersEmbedding(folders("wavlm-layer"))
    cpu, gpu = torch.device("cpu"), torch.device("cuda")
    monkeypatch.setattr(TransformersEmbedding, "_device", lambda self: gpu)
    extractor.fit(clips)
    for device, precision in [(gpu, "float16"), (cpu, "float32"), (gpu, "float16")]:
        monkeypatch.setattr(TransformersEmbedding, "_device", lambda self, device=device: device)
        extractor = pickle.loads(pickle.dumps(extractor))
        assert extractor._precision() == precision


@pytest.mark.gpu
@pytest.mark.parametrize("dtype", ["float32", "auto"])
def test_gpu_gives_the_cpus_features(family, folders, clips, dtype):
    extractor = TransformersEmbedding(folders(family), memory=False, device="cuda", dtype=dtype)
    on_gpu = extractor.transform(clips)
    on_cpu = extractor.set_params(device="cpu").transform(clips)
    tolerance = 1e-2 if dtype == "float32" else 0.1
    np.testing.assert_allclose(on_gpu, on_cpu, atol=tolerance * np.abs(on_cpu).max())
