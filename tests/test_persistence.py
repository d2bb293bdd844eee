"""Model files: what comes back predicts the same, and nothing in a file is believed."""

import hashlib
import inspect
import io
import json
import os
import pickle
import subprocess
import sys
import time
import zipfile
from pathlib import Path

import joblib
import numpy as np
import pytest
from sklearn import config_context
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.calibration import CalibratedClassifierCV
from sklearn.compose import ColumnTransformer
from sklearn.datasets import load_iris
from sklearn.decomposition import PCA
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.ensemble import RandomForestClassifier, StackingClassifier
from sklearn.linear_model import LogisticRegression, SGDClassifier
from sklearn.model_selection import GridSearchCV, StratifiedKFold
from sklearn.naive_bayes import GaussianNB
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler
from sklearn.svm import SVC

import skspeech
from skspeech import (
    Candidate,
    FusedEmbeddingClassifier,
    GeometricMeanVotingClassifier,
    MusicEmbedding,
    MusicEmbeddingClassifier,
    ShrinkageDiscriminantAnalysis,
    SpeakerEmbeddingClassifier,
    SpectralStatistics,
    TimeBudgetClassifier,
)
from skspeech._heard import heard, known_groups  # the file says it; no method tells
from skspeech.audio import as_clips
from skspeech.datasets import make_speech_like
from skspeech.persistence import (
    ModelFileError,
    ModelVersionWarning,
    load,
    read_metadata,
    save,
)
from skspeech.utils import all_estimators

X, _codes = load_iris(return_X_y=True)
y = np.array(["setosa", "versicolor", "virginica"])[_codes]
pytestmark = pytest.mark.usefixtures("no_repeats")


def _members():
    return [("linear", LogisticRegression(max_iter=500)), ("bayes", GaussianNB())]


def _models():
    linear = LogisticRegression(max_iter=500)
    columns = ColumnTransformer([("first", StandardScaler(), [0, 1])], remainder="passthrough")
    return {
        "discriminant": ShrinkageDiscriminantAnalysis(),
        "geometric mean": GeometricMeanVotingClassifier(_members(), weights=[2, 1]),
        "with a dropped member": GeometricMeanVotingClassifier([*_members(), ("no", "drop")]),
        "pipeline": make_pipeline(StandardScaler(), PCA(2), LinearDiscriminantAnalysis()),
        "columns": make_pipeline(columns, linear),
        "functions": make_pipeline(FunctionTransformer(np.log1p), linear),
        "sgd": SGDClassifier(loss="log_loss", random_state=np.random.RandomState(0)),
        "calibrated": CalibratedClassifierCV(SVC(), cv=2, ensemble=False),
        "stacking": StackingClassifier(_members(), final_estimator=GaussianNB()),
        "grid": GridSearchCV(linear, {"C": [0.1, 1.0]}, cv=StratifiedKFold(2)),
        "mlp": MLPClassifier(max_iter=400, random_state=0, tol=0.01),
        "time budget": TimeBudgetClassifier(_members(), time_budget=10, random_state=0),
    }


@pytest.fixture
def path(tmp_path):
    return tmp_path / "model.skspeech"


def _predict_in_a_fresh_process(paths, X, tmp_path):
    """Probabilities of the loaded models, in a process that never saw them; warnings fail."""
    joblib.dump(X, tmp_path / "X.joblib")
    code = (
        "import sys, warnings, joblib, numpy as np; warnings.simplefilter('error', UserWarning)\n"
        "import skspeech\n"
        "X = joblib.load(sys.argv[1])\n"
        "probas = [skspeech.load(path).predict_proba(X) for path in sys.argv[3:]]\n"
        "joblib.dump(probas, sys.argv[2])\n"
    )
    arguments = [tmp_path / "X.joblib", tmp_path / "probas.joblib", *paths]
    subprocess.run([sys.executable, "-c", code, *map(str, arguments)], check=True)
    return joblib.load(tmp_path / "probas.joblib")


# -- The round trip --------------------------------------------------------------------------------


@pytest.mark.parametrize("name", _models())
def test_what_is_loaded_predicts_the_same(name, path):
    model = _models()[name].fit(X, y)
    assert save(model, path) == path
    loaded = load(path)
    assert type(loaded) is type(model)
    np.testing.assert_array_equal(loaded.predict_proba(X), model.predict_proba(X))
    np.testing.assert_array_equal(loaded.predict(X), model.predict(X))
    np.testing.assert_array_equal(loaded.classes_, model.classes_)
    assert loaded.classes_.dtype == model.classes_.dtype
    assert sorted(loaded.get_params(deep=False)) == sorted(model.get_params(deep=False))


@pytest.mark.parametrize(("name", "cls"), all_estimators(), ids=dict(all_estimators()))
def test_every_estimator_can_be_saved(name, cls, path):
    """A new class is trusted, and its parameters can be stored, the day it is exported."""
    parameters = inspect.signature(cls).parameters
    given = {key: _members() for key in ("estimators", "candidates") if key in parameters}
    if "estimator" in parameters:
        given["estimator"] = LogisticRegression()
    estimator = cls(**given)
    save(estimator, path)
    loaded = load(path)
    assert type(loaded) is cls
    assert repr(loaded) == repr(estimator)


@pytest.mark.parametrize("name", ["time budget", "pipeline"])
def test_a_model_file_knows_the_training_clips(name, path):
    clips = list(np.random.default_rng(0).normal(size=(4, 800)).astype(np.float32))
    model = make_pipeline(StandardScaler(), LogisticRegression())
    if name == "time budget":
        model = TimeBudgetClassifier(_members(), time_budget=10)
    groups = ["ann", "ann", "ann", "bob"]
    save(model.fit(X, y), path, training_clips=clips[:2], training_groups=groups[:2])
    # The file says it, and the model is as it was.
    assert not np.any(heard(model, clips, groups))
    loaded = load(path)
    for saved in (loaded, load(save(loaded, path))):
        by_clip, by_group = heard(saved, clips, groups)
        assert by_clip.tolist() == [True, True, False, False]
        assert by_group.tolist() == [False, False, True, False]
    assert not np.any(heard(loaded, ["missing.wav"]))
    if name == "time budget":
        assert not np.any(heard(loaded.fit(X, y), clips, groups))  # it has forgotten them


def test_training_clips_at_the_rate_of_the_model_are_known(path):
    clips = list(np.random.default_rng(0).normal(size=(4, 800)).astype(np.float32))
    model = make_pipeline(SpectralStatistics(sampling_rate=8000), GaussianNB())
    model.fit(clips, ["no", "yes"] * 2)
    save(model, path, training_clips=clips)
    by_clip, _ = heard(load(path), as_clips(clips, sampling_rate=8000))
    assert by_clip.all()


def test_names_of_groups_are_compared_as_text(path):
    model = make_pipeline(StandardScaler(), LogisticRegression()).fit(X, y)
    save(model, path, training_clips=["missing.wav"], training_groups=[3])
    assert known_groups(load(path)).tolist() == ["3"]
    _, by_group = heard(load(path), ["other.wav"] * 2, np.array(["3", "03"]))
    assert by_group.tolist() == [True, False]


@pytest.mark.parametrize("trained", [[3, 12], [3.0, 12.0], ["3", "12"], ["3.0", "12.0"]])
def test_a_group_is_known_as_a_number_of_another_kind(trained, path):
    model = make_pipeline(StandardScaler(), LogisticRegression()).fit(X, y)
    save(model, path, training_clips=["missing.wav"], training_groups=trained)
    clips = ["other.wav"] * 3
    for groups in ([3, 4, 12], [3.0, 3.5, 12.0], ["3", "3.01", "12"]):
        for own, train in ((load(path), None), (model, np.array(trained))):
            _, by_group = heard(own, clips, groups, train_groups=train)
            assert by_group.tolist() == [True, False, True]


@pytest.mark.parametrize(
    ("groups", "reason"),
    [
        ([None, "ann"], "training_groups has 1 missing value .* position 0"),
        (["ann", np.nan], "training_groups has 1 missing value .* position 1"),
        (np.array([3.0, np.nan]), "training_groups has 1 missing value .* position 1"),
    ],
)
def test_groups_of_training_clips_are_complete(groups, reason, path):
    model = make_pipeline(StandardScaler(), LogisticRegression()).fit(X, y)
    with pytest.raises(ValueError, match=reason):
        save(model, path, training_clips=["a.wav", "b.wav"], training_groups=groups)
    assert not path.exists()


def test_groups_without_clips_are_no_record(path):
    with pytest.raises(ValueError, match="training_groups needs training_clips"):
        save(StandardScaler().fit(X), path, training_groups=["ann"])
    assert not path.exists()


def test_saving_changes_nothing_in_the_model(path):
    model = TimeBudgetClassifier(_members(), time_budget=10, memory="somewhere").fit(X, y)
    before = joblib.hash(model)
    save(model, path)
    assert joblib.hash(model) == before
    assert model.memory == "somewhere"


def test_what_is_shared_is_stored_once_and_stays_shared(path):
    scaler = StandardScaler()
    wide = np.random.default_rng(0).normal(size=(30, 2000))
    columns = ColumnTransformer([("all", scaler, list(range(2000)))])
    members = [(f"member {i}", make_pipeline(columns, GaussianNB())) for i in range(3)]
    inner = GeometricMeanVotingClassifier(members).fit(wide, y[::5])
    outer = GeometricMeanVotingClassifier.from_fitted([("one", inner), ("two", inner)])
    save(outer, path)
    # Three members, each with its arrays, for a description that would be eighteen times as long.
    assert path.stat().st_size < 2 * len(pickle.dumps(outer))
    loaded = load(path)
    np.testing.assert_array_equal(loaded.predict_proba(wide), outer.predict_proba(wide))
    (_, first), (_, second) = loaded.estimators
    assert first is second is loaded.estimators_[0] is loaded.named_estimators_["two"]
    assert first.estimators_[1] is first.named_estimators_["member 1"]
    assert b"_shared_as" not in pickle.dumps([loaded, outer])  # the mark in the file


class _Forgetful(GaussianNB):
    """Its state leaves out what it does not know."""

    def __getstate__(self):
        state = super().__getstate__()
        return {key: value for key, value in state.items() if not key.startswith("_shared")}


def test_states_that_drop_the_mark_are_stored_twice(path):
    model = GeometricMeanVotingClassifier([("forgetful", _Forgetful())]).fit(X, y)
    with pytest.warns(UserWarning, match="_Forgetful"):
        save(model, path)
    loaded = load(path, trusted=[f"{_Forgetful.__module__}._Forgetful"])
    np.testing.assert_array_equal(loaded.predict_proba(X), model.predict_proba(X))


def test_what_asks_for_metadata_asks_again(path):
    with config_context(enable_metadata_routing=True):
        member = LogisticRegression().set_fit_request(sample_weight=True)
        pipeline = make_pipeline(StandardScaler().set_fit_request(sample_weight=False), member)
        model = GeometricMeanVotingClassifier([("member", pipeline)])
        model.fit(X, y, sample_weight=np.ones(len(y)))
        save(model, path)
        loaded = load(path)
        loaded.fit(X, y, sample_weight=np.linspace(1, 2, len(y)))
        assert repr(loaded.get_metadata_routing()) == repr(model.get_metadata_routing())


@pytest.mark.parametrize("slim", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_a_time_budget_run_in_a_fresh_process(slim, path, tmp_path):
    # A candidate that runs in a worker process comes back as a pickle inside the ensemble.
    candidates = [
        ("linear", LogisticRegression(max_iter=500)),
        Candidate("worker", make_pipeline(StandardScaler(), GaussianNB()), where="worker"),
    ]
    model = TimeBudgetClassifier(
        candidates,
        time_budget=120,
        selection="threshold",
        random_state=0,
        log_file=tmp_path / "log",
    ).fit(X, y)
    assert "PickledClassifier" in {type(m).__name__ for m in model.ensemble_.estimators_}
    if slim:
        model.slim()
    save(model, path)
    assert b"PickledClassifier" not in path.read_bytes()
    (proba,) = _predict_in_a_fresh_process([path], X, tmp_path)
    np.testing.assert_array_equal(proba, model.predict_proba(X))
    loaded = load(path)
    assert loaded.log_file is None
    assert hasattr(loaded, "results_") is not slim
    if not slim:
        assert loaded.summary() == model.summary()
        assert loaded.leaderboard().equals(model.leaderboard())


@pytest.mark.network
@pytest.mark.slow
def test_classifiers_of_clips_in_a_fresh_process(tmp_path):
    models = {
        "speaker": SpeakerEmbeddingClassifier(),
        "music": MusicEmbeddingClassifier(),
        "fused": FusedEmbeddingClassifier(),
        "pipeline": make_pipeline(MusicEmbedding(), StandardScaler(), LogisticRegression()),
        "budget": TimeBudgetClassifier(preset="fast", time_budget=20, random_state=0),
    }
    words = make_speech_like(18, n_classes=3, random_state=0)
    labels = np.array(words.target_names)[words.target]
    # What another test has embedded in other batches differs in the last digits.
    skspeech.cache.clear()
    paths = []
    for name, model in models.items():
        paths.append(save(model.fit(words.data, labels), tmp_path / name))
        assert paths[-1].stat().st_size < 3e6  # the frozen networks stay out
        metadata = read_metadata(paths[-1])
        assert metadata["classes"] == words.target_names
        assert metadata["networks"]
    probas = _predict_in_a_fresh_process(paths, words.data, tmp_path)
    for model, proba in zip(models.values(), probas, strict=True):
        np.testing.assert_array_equal(proba, model.predict_proba(words.data), err_msg=repr(model))


def test_the_package_offers_both(path):
    assert skspeech.save is save
    assert skspeech.load is load
    assert type(skspeech.load(skspeech.save(GaussianNB().fit(X, y), str(path)))) is GaussianNB


def test_metadata(path):
    save(ShrinkageDiscriminantAnalysis().fit(X, y), path)
    metadata = read_metadata(path)
    assert metadata["model"] == "skspeech.estimators.discriminant.ShrinkageDiscriminantAnalysis"
    assert metadata["classes"] == ["setosa", "versicolor", "virginica"]
    assert metadata["versions"]["skspeech"] == skspeech.__version__
    assert set(metadata["versions"]) >= {"scikit-learn", "numpy", "torch", "python"}
    save(ShrinkageDiscriminantAnalysis().fit(X, _codes), path)
    assert read_metadata(path)["classes"] == [0, 1, 2]


# -- Writing ---------------------------------------------------------------------------------------


def test_a_save_that_fails_leaves_what_was_there(path, monkeypatch):
    save(GaussianNB().fit(X, y), path)
    before = path.read_bytes()

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        save(LogisticRegression(max_iter=500).fit(X, y), path)
    assert path.read_bytes() == before
    assert os.listdir(path.parent) == [path.name]


@pytest.mark.slow
def test_a_kill_leaves_a_whole_file(path):
    """Processes that save all the time are killed at any moment; the file is always whole."""
    code = (
        "import sys, numpy as np, skspeech; from sklearn.naive_bayes import GaussianNB\n"
        "models = [GaussianNB().fit(np.eye(n), range(n)) for n in (3, 300)]\n"
        "print('ready', flush=True)\n"
        "while True:\n"
        "    for model in models: skspeech.save(model, sys.argv[1])\n"
    )
    save(GaussianNB().fit(np.eye(3), range(3)), path)
    for milliseconds in (30, 65, 110):
        process = subprocess.Popen(
            [sys.executable, "-c", code, str(path)], stdout=subprocess.PIPE, text=True
        )
        process.stdout.readline()
        for _ in range(10):
            time.sleep(milliseconds / 10_000)
            assert len(load(path).classes_) in (3, 300)  # also while it is written
        process.kill()
        process.wait()
        process.stdout.close()
        assert len(load(path).classes_) in (3, 300)


def test_the_file_can_be_read_as_the_umask_says(path):
    previous = os.umask(0o027)
    try:
        save(GaussianNB().fit(X, y), path)
    finally:
        os.umask(previous)
    assert path.stat().st_mode & 0o777 == 0o640


def test_a_private_file_behind_a_link_stays_both(path):
    save(GaussianNB().fit(X, y), path)
    path.chmod(0o600)
    link = path.with_name("link.skspeech")
    link.symlink_to(path.name)
    save(ShrinkageDiscriminantAnalysis().fit(X, y), link)
    assert link.is_symlink()
    assert isinstance(load(path), ShrinkageDiscriminantAnalysis)
    assert path.stat().st_mode & 0o777 == 0o600
    assert sorted(os.listdir(path.parent)) == sorted([path.name, link.name])


def test_what_is_no_estimator_is_refused(path):
    with pytest.raises(TypeError, match="not an estimator"):
        save({"a": 1}, path)
    with pytest.raises(IsADirectoryError, match="is a folder"):
        save(GaussianNB(), path.parent)


def test_functions_of_ones_own_are_told_about(path):
    model = make_pipeline(FunctionTransformer(lambda X: X), GaussianNB()).fit(X, y)
    with pytest.raises(ModelFileError, match="can't be saved"):
        save(model, path)
    assert not path.exists()


def test_trees_need_trust(path):
    model = RandomForestClassifier(5, random_state=0).fit(X, y)
    with pytest.warns(UserWarning, match=r"trusted=\['sklearn.tree._tree.Tree'\]"):
        save(model, path)
    with pytest.raises(ModelFileError, match=r"not trusted, sklearn\.tree\._tree\.Tree"):
        load(path)
    loaded = load(path, trusted=["sklearn.tree._tree.Tree"])
    np.testing.assert_array_equal(loaded.predict_proba(X), model.predict_proba(X))
    with pytest.raises(ValueError, match="is one name; write"):
        load(path, trusted="sklearn.tree._tree.Tree")


# -- Other machines --------------------------------------------------------------------------------


def _rewrite(path, change):
    """Change a file's metadata, as another version would have written them."""
    with zipfile.ZipFile(path) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    metadata = json.loads(members["metadata.json"])
    change(metadata)
    members["metadata.json"] = json.dumps(metadata).encode()
    _write_zip(path, members)


def _write_zip(path, members, compression=zipfile.ZIP_STORED):
    with zipfile.ZipFile(path, "w", compression) as archive:
        for name, content in members.items():
            archive.writestr(name, content)


def test_other_versions_are_warned_about(path):
    save(GaussianNB().fit(X, y), path)
    _rewrite(path, lambda m: m["versions"].update({"scikit-learn": "1.0.2", "numpy": "1.21.0"}))
    with pytest.warns(ModelVersionWarning, match=r"scikit-learn 1\.0\.2 \(here .*numpy 1\.21\.0"):
        load(path)


def test_other_builds_of_a_version_are_not(path):
    save(GaussianNB().fit(X, y), path)
    _rewrite(path, lambda m: m["versions"].update(torch=m["versions"]["torch"] + "+cu128"))
    load(path)


def test_newer_formats_are_refused(path):
    save(GaussianNB().fit(X, y), path)
    _rewrite(path, lambda m: m.update(format_version=2))
    with pytest.raises(ModelFileError, match=r"format version 2.*Use skspeech .* or later"):
        load(path)


@pytest.mark.network
def test_another_network_is_refused(path):
    words = make_speech_like(8, n_classes=2, random_state=0)
    save(SpeakerEmbeddingClassifier().fit(words.data, words.target), path)
    _rewrite(path, lambda m: m.update(networks=["ge2e-0123456789abcdef"]))
    with pytest.raises(ModelFileError, match="trained on features of the networks ge2e-0123"):
        load(path)


def test_a_missing_gpu_is_no_obstacle(path):
    model = SpeakerEmbeddingClassifier(device="cuda:99")
    pipeline = make_pipeline(MusicEmbedding(device="cuda:99"), model)
    save(pipeline, path)
    with pytest.warns(UserWarning, match="to run on cuda:99, which this machine does not have"):
        loaded = load(path)
    assert [step.device for _, step in loaded.steps] == ["auto", "auto"]
    assert model.device == "cuda:99"


def test_folders_of_this_machine_stay_out(path, tmp_path):
    memory = joblib.Memory(tmp_path / "cache", verbose=0)
    save(make_pipeline(MusicEmbedding(memory=memory), StandardScaler(), memory=memory), path)
    loaded = load(path)
    assert loaded.memory is None
    assert loaded[0].memory is None
    assert str(tmp_path).encode() not in path.read_bytes()


# -- Networks --------------------------------------------------------------------------------------


class TorchClassifier(ClassifierMixin, BaseEstimator):
    """A trained network that says how it is stored."""

    def fit(self, X, y):
        import torch

        self.classes_ = np.unique(y)
        self.n_features_ = X.shape[1]
        torch.manual_seed(0)
        self.network_ = torch.nn.Linear(self.n_features_, len(self.classes_))
        return self

    def predict_proba(self, X):
        import torch

        with torch.no_grad():
            return self.network_(torch.tensor(X, dtype=torch.float32)).softmax(1).numpy()

    def __getstate__(self):
        state = super().__getstate__().copy()
        state["network_"] = {k: v.numpy() for k, v in self.network_.state_dict().items()}
        return state

    def __setstate__(self, state):
        import torch

        super().__setstate__(state)
        weights = {name: torch.from_numpy(array) for name, array in state["network_"].items()}
        self.network_ = torch.nn.Linear(self.n_features_, len(self.classes_))
        self.network_.load_state_dict(weights)


class RawTorchClassifier(TorchClassifier):
    """One that says nothing."""

    def __getstate__(self):
        return BaseEstimator.__getstate__(self)

    def __setstate__(self, state):
        BaseEstimator.__setstate__(self, state)


def test_an_object_says_how_it_is_stored(path):
    model = make_pipeline(StandardScaler(), TorchClassifier()).fit(X, y)
    name = f"{TorchClassifier.__module__}.TorchClassifier"
    with pytest.warns(UserWarning, match="TorchClassifier"):
        save(model, path)
    loaded = load(path, trusted=[name])
    np.testing.assert_array_equal(loaded.predict_proba(X), model.predict_proba(X))
    copy = pickle.loads(pickle.dumps(model))
    np.testing.assert_array_equal(copy.predict_proba(X), model.predict_proba(X))


def test_a_network_that_does_not_is_told_about(path):
    with pytest.raises(ModelFileError, match="__getstate__"):
        save(RawTorchClassifier().fit(X, y), path)


# -- Files that are damaged, or lie ----------------------------------------------------------------


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    """A small model's file, the model, and its bytes."""
    model = ShrinkageDiscriminantAnalysis().fit(X, y)
    path = save(model, tmp_path_factory.mktemp("small") / "model.skspeech")
    return model, path.read_bytes()


def test_a_flipped_bit_is_noticed_or_does_no_harm(small, path):
    model, content = small
    expected = model.predict_proba(X)
    n_harmless = 0
    for position in range(0, len(content), 5):
        damaged = bytearray(content)
        damaged[position] ^= 1 << position % 8
        path.write_bytes(damaged)
        try:
            loaded = load(path)
        except ModelFileError:
            continue
        n_harmless += 1  # such as the date in an archive's table
        np.testing.assert_array_equal(loaded.predict_proba(X), expected)
    assert n_harmless < 0.05 * len(content) / 5


def test_every_truncation_is_noticed(small, path):
    _, content = small
    for length in [*range(0, len(content), 97), len(content) - 1]:
        path.write_bytes(content[:length])
        with pytest.raises(ModelFileError, match="can't be loaded"):
            load(path)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "damaged"),
        (b"RIFF....WAVE", "no model file"),
        (pickle.dumps(GaussianNB()), "seems to be a pickle"),
    ],
    ids=["empty", "another format", "pickle"],
)
def test_other_files_are_refused(content, message, path):
    path.write_bytes(content)
    with pytest.raises(ModelFileError, match=message):
        load(path)
    with pytest.raises(ModelFileError, match=message):
        read_metadata(path)


def test_missing_files_are_as_usual(path):
    with pytest.raises(FileNotFoundError):
        load(path)


def _forge(path, schema, members=None, outer=None, compression=zipfile.ZIP_STORED):
    """A file as `save` writes it, checksums and all, of a description of one's own."""
    buffer = io.BytesIO()
    schema = {"protocol": 2, "_skops_version": "0.16.0", **schema}
    text = json.dumps(schema) if isinstance(schema, dict) else schema
    _write_zip(buffer, {"schema.json": text, **(members or {})}, compression)
    _wrap(path, buffer.getvalue(), outer)


def _wrap(path, content, outer=None):
    save(GaussianNB().fit(X, y), path)
    metadata = {
        "format": "skspeech model",
        "format_version": 1,
        "model": "sklearn.naive_bayes.GaussianNB",
        "classes": None,
        "networks": [],
        "versions": read_metadata(path)["versions"],
        "members": {"model.skops": {"sha256": hashlib.sha256(content).hexdigest()}},
    }
    _write_zip(
        path, {"metadata.json": json.dumps(metadata), "model.skops": content, **(outer or {})}
    )


def _node(loader, cls, **more):
    module, _, name = cls.rpartition(".")
    return {"__class__": name, "__module__": module, "__loader__": loader, **more}


def _json(value):
    return _node("JsonNode", "builtins.str", content=json.dumps(value), is_json=True)


def _dict(**values):
    keys = _node(
        "ListNode", "builtins.list", content=[_node("TypeNode", "builtins.str") for _ in values]
    )
    return _node("DictNode", "builtins.dict", content=values, key_types=keys)


def _object(cls, **attributes):
    return _node("ObjectNode", cls, content=_dict(**attributes))


def _tuple(*items):
    return _node("TupleNode", "builtins.tuple", content=list(items))


NAIVE_BAYES = "sklearn.naive_bayes.GaussianNB"
COMMAND = _json("touch HACKED")
ARRAY = _node("NdArrayNode", "numpy.ndarray", type="numpy", file="a.npy")
FORGED = {
    "a function": _object(NAIVE_BAYES, priors=_node("FunctionNode", "os.system")),
    "a type": _object(NAIVE_BAYES, priors=_node("TypeNode", "subprocess.Popen")),
    "a constructor": _object(
        NAIVE_BAYES,
        priors=_node("ConstructorFromReduceNode", "subprocess.Popen", content=_tuple(COMMAND)),
    ),
    "a partial": _object(
        NAIVE_BAYES,
        priors=_node(
            "PartialNode",
            "functools.partial",
            content={
                "func": _node("FunctionNode", "os.system"),
                "args": _tuple(COMMAND),
                "kwds": _dict(),
                "namespace": _json(None),
            },
        ),
    ),
    "a method": _object(
        NAIVE_BAYES,
        priors=_node(
            "MethodNode", NAIVE_BAYES, content={"func": "fit", "obj": _object(NAIVE_BAYES)}
        ),
    ),
    "an operator": _object(
        NAIVE_BAYES,
        priors=_node("OperatorFuncNode", "operator.methodcaller", attrs=_tuple(COMMAND)),
    ),
    "another class": _node("ObjectNode", "subprocess.Popen", content=_dict(args=COMMAND)),
    "a pickle in a private class": _object(
        "skspeech._pickled.PickledClassifier",
        payload_=_node("BytesNode", "builtins.bytes", file="a.bin"),
    ),
    "a module of ours that runs": _node("ObjectNode", "skspeech.__main__.main"),
    "a name inside of ours": _node("ObjectNode", "skspeech.audio.os"),
    "a dictionary's class": _node(
        "DictNode",
        "subprocess.Popen",
        **{k: v for k, v in _dict().items() if not k.startswith("__")},
    ),
    "an array's class": _object(
        NAIVE_BAYES, priors=_node("NdArrayNode", "os.system", type="numpy", file="a.npy")
    ),
    "an older protocol": {**_object(NAIVE_BAYES), "protocol": 0},
    "an unknown loader": _node("EvilNode", NAIVE_BAYES),
    "no estimator": _dict(),
    "a reference to nothing": _object(
        NAIVE_BAYES, priors=_object("skspeech.persistence._Shared", number=_json(7))
    ),
    "a reference in place of a model": _object("skspeech.persistence._Shared", number=_json(0)),
}


@pytest.mark.parametrize("name", FORGED)
def test_nothing_in_a_forged_file_runs(name, path, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    payload = pickle.dumps(_Evil())
    array = io.BytesIO()
    np.save(array, np.array(["touch HACKED"]))
    _forge(path, FORGED[name], {"a.bin": payload, "a.npy": array.getvalue()})
    with pytest.raises(ModelFileError):
        load(path)
    assert not Path("HACKED").exists()


class _Evil:
    def __reduce__(self):
        return os.system, ("touch HACKED",)


def test_a_pickle_of_something_evil_would_run(tmp_path, monkeypatch):
    """The danger of the test above is real."""
    monkeypatch.chdir(tmp_path)
    pickle.loads(pickle.dumps(_Evil()))
    assert Path("HACKED").exists()


def test_forged_files_are_like_real_ones(path):
    """What is refused above is refused for what is in it, not for how it is made."""
    _forge(path, _object(NAIVE_BAYES, priors=_json(None), var_smoothing=_json(0.5)))
    assert load(path).get_params() == {"priors": None, "var_smoothing": 0.5}


@pytest.mark.parametrize("member", ["../../escaped", "/tmp/escaped", "C:\\escaped", "more.pickle"])
def test_members_elsewhere_are_refused(member, path):
    _forge(path, _object(NAIVE_BAYES), outer={member: b"x"})
    with pytest.raises(ModelFileError, match="it holds"):
        load(path)
    _forge(path, _object(NAIVE_BAYES), {member: b"x"})
    with pytest.raises(ModelFileError, match="it holds"):
        load(path)


def test_no_bombs(path):
    """What would take gigabytes, or years, is refused within bounds."""
    start = time.monotonic()
    bombs = {
        "compressed": lambda: _forge(
            path,
            _object(NAIVE_BAYES),
            {"a.npy": bytes(1 << 26)},
            compression=zipfile.ZIP_DEFLATED,
        ),
        "header": lambda: _forge(
            path,
            _object(NAIVE_BAYES, priors=ARRAY),
            {"a.npy": _npy_header((1 << 40,), "<f8")},
        ),
        "no bytes an item": lambda: _forge(
            path,
            _object(NAIVE_BAYES, priors=ARRAY),
            {"a.npy": _npy_header((1 << 40,), "|V0")},
        ),
        "references": lambda: _forge(path, _object(NAIVE_BAYES, priors=_doubling(60))),
        "depth": lambda: _forge(path, _object(NAIVE_BAYES, priors=_nested(20_000))),
    }
    for name, make in bombs.items():
        try:
            make()
        except RecursionError:  # json does not even write it
            path.write_bytes(_deep_file(path))
        with pytest.raises(ModelFileError):
            load(path)
        assert time.monotonic() - start < 60, name


def _npy_header(shape, dtype):
    file = io.BytesIO()
    np.lib.format.write_array_header_1_0(
        file, {"shape": shape, "fortran_order": False, "descr": dtype}
    )
    return file.getvalue()


def _doubling(depth):
    """Two references to a list of two references to a list …: 2**depth nodes."""
    node = _node("ListNode", "builtins.list", content=[], __id__=1)
    for i in range(2, depth):
        short = _node("ListNode", "builtins.list", __id__=i - 1)
        node = _node("ListNode", "builtins.list", content=[node, short], __id__=i)
    return node


def _nested(depth):
    node = _json(None)
    for _ in range(depth):
        node = _node("ListNode", "builtins.list", content=[node])
    return node


def _deep_file(path):
    buffer = io.BytesIO()
    schema = '{"__loader__": "ListNode", "content": ' + "[" * 200_000 + "]" * 200_000 + "}"
    _write_zip(buffer, {"schema.json": schema})
    _wrap(path, buffer.getvalue())
    return path.read_bytes()


def test_compressed_outer_members_are_refused(small, path):
    _, content = small
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    _write_zip(path, members, zipfile.ZIP_DEFLATED)
    with pytest.raises(ModelFileError, match="compressed or encrypted"):
        load(path)


def test_a_forged_folder_is_not_used(path, tmp_path):
    folder = tmp_path / "planted"
    _forge(
        path,
        _object(
            "skspeech.time_budget.TimeBudgetClassifier",
            memory=_json(str(folder)),
            log_file=_json(str(folder)),
        ),
    )
    loaded = load(path)
    assert loaded.memory is None
    assert loaded.log_file is None
