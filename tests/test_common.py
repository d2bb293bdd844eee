"""What every estimator promises. Estimators are discovered: a new one is tested once exported."""

import contextlib
import functools
import inspect
import pickle
import re
import subprocess
import sys
import textwrap
from copy import deepcopy

import numpy as np
import pytest
import soundfile
from expected_failures import expected_failures
from instances import make_instance
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import clone, is_classifier
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer
from sklearn.utils import get_tags
from sklearn.utils.estimator_checks import check_estimator, estimator_checks_generator
from sounds import labelled_tones
from tiny_transformers import save_tiny

from skspeech import AudioError, TransformersEmbedding, cache
from skspeech._objects import objects_in
from skspeech.audio import SAMPLING_RATE
from skspeech.utils import all_estimators
from skspeech.weights import WeightsError

ESTIMATORS = dict(all_estimators())
ON_CLIPS = {
    name: cls for name, cls in ESTIMATORS.items() if get_tags(make_instance(cls)).input_tags.string
}
# At least so many of scikit-learn's checks apply; one that is skipped has to be named.
N_CHECKS = {"classifier": 53, "transformer": 43}
SKIPPED_CHECKS = {
    "check_array_api_input": "needs SCIPY_ARRAY_API to be set before scipy is imported"
}
# For these, all checks take half a minute or more; these few are always run.
SLOW_TO_CHECK = {
    "AugmentedClassifier",
    "FineTunedSpeakerClassifier",
    "FusedEmbeddingClassifier",
    "MixupCNNClassifier",
    "RecurrentAttentionClassifier",
    "TimeBudgetClassifier",
}
QUICK_CHECKS = {
    "check_classifiers_one_label",
    "check_classifiers_regression_target",
    "check_do_not_raise_errors_in_init_or_set_params",
    "check_dont_overwrite_parameters",
    "check_estimators_overwrite_params",
    "check_estimators_unfitted",
    "check_get_params_invariance",
    "check_n_features_in",
    "check_no_attributes_set_in_init",
    "check_set_params",
}
# A parameter to search, and two values of it; the first that an estimator has is taken.
SEARCHED = {
    "C": [0.01, 1.0],
    "floor": [1e-6, 1e-2],
    "selection": ["greedy", "threshold"],
    "shrinkage": [0.1, 0.9],
    "tol": [1e-3, 1e-2],
    "freeze": [0.96, 1.0],
    "crop": [0.1, None],
    "clip": [1.0, 5.0],
    "norm": ["l1", "l2"],
    "target": [0.05, 0.2],
    "max_duration": [0.1, 0.2],
    "duration": [0.1, 0.2],
}

every_estimator = pytest.mark.parametrize("name", ESTIMATORS)
every_estimator_to_check = pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=pytest.mark.slow) if name in SLOW_TO_CHECK else name
        for name in ESTIMATORS
    ],
)
every_estimator_on_clips = pytest.mark.parametrize("name", ON_CLIPS)
every_classifier_on_clips = pytest.mark.parametrize(
    "name", [name for name, cls in ON_CLIPS.items() if is_classifier(make_instance(cls))]
)
every_transformer_on_clips = pytest.mark.parametrize(
    "name", [name for name, cls in ON_CLIPS.items() if not is_classifier(make_instance(cls))]
)


@pytest.fixture(scope="module")
def clips():
    """Twelve clips of 0.3 s, and which of two tones each is."""
    return labelled_tones(12, ["low", "high"])


@pytest.fixture(scope="module")
def files(clips, tmp_path_factory):
    """The same clips as files."""
    folder = tmp_path_factory.mktemp("clips")
    paths = [str(folder / f"tone{i}.wav") for i in range(len(clips[0]))]
    for path, waveform in zip(paths, clips[0], strict=True):
        soundfile.write(path, waveform, SAMPLING_RATE, subtype="FLOAT")
    return paths


@pytest.fixture(scope="module")
def instance(tmp_path_factory):
    """Makes an instance of the class called `name`."""

    @functools.cache
    def tiny_encoder():
        pytest.importorskip("transformers", reason="needs skspeech[transformers]")
        return save_tiny("wavlm-layer", tmp_path_factory.mktemp("wavlm"))

    def instance(name, *, on_clips=True):
        estimator = make_instance(ESTIMATORS[name], clips=on_clips)
        if isinstance(estimator, TransformersEmbedding):
            estimator.set_params(model=tiny_encoder())
        return estimator

    return instance


@pytest.fixture(scope="module")
def fit_once(instance, clips):
    """Fits the class called `name` to the clips: once for all tests, which leave it as it is.

    Skips where its weights are not at hand, or an extra is missing.
    """

    @functools.cache
    def fit(name):
        try:
            fitted = instance(name).fit(*clips)
            output(fitted, clips[0])
        except WeightsError as error:
            return f"needs pretrained weights: {error}"
        except ImportError as error:
            if "pip install" not in str(error):
                raise
            return str(error)
        return fitted

    def fit_once(name):
        fitted = fit(name)
        if isinstance(fitted, str):
            pytest.skip(fitted)
        return fitted

    return fit_once


@pytest.fixture(scope="module")
def make(instance, fit_once):
    """Makes an instance of the class called `name`; skips where it cannot be fitted here."""

    def make(name, *, on_clips=True):
        estimator = instance(name, on_clips=on_clips)
        if get_tags(estimator).input_tags.string:
            fit_once(name)
        return estimator

    return make


@pytest.fixture
def fitted(fit_once, name):
    return fit_once(name)


def output(estimator, X):
    return estimator.predict_proba(X) if is_classifier(estimator) else estimator.transform(X)


def assert_same(got, expected, *, tol=1e-5):
    """Compare outputs, relative to their largest value; also such as hold one array a clip."""
    assert len(got) == len(expected)
    if getattr(expected, "dtype", None) == np.dtype(object):
        for one, other in zip(got, expected, strict=True):
            assert_same(one, other, tol=tol)
    else:
        scale = max(np.abs(expected).max(), 1e-12)
        assert_allclose(got, expected, rtol=0, atol=tol * scale)


def assert_finite(got, n_clips):
    assert len(got) == n_clips
    for row in got:
        assert row.size > 0
        assert np.isfinite(row).all()


# scikit-learn's checks


@pytest.mark.parametrize("name", sorted(SLOW_TO_CHECK))
def test_some_of_scikit_learns_checks(name, make):
    estimator = make(name, on_clips=False)
    run = set()
    for _, check in estimator_checks_generator(estimator):
        if check.func.__name__ in QUICK_CHECKS:
            check(clone(estimator))
            run.add(check.func.__name__)
    assert run == QUICK_CHECKS


@every_estimator_to_check
def test_scikit_learns_checks(name, make):
    estimator = make(name, on_clips=False)
    expected = expected_failures(estimator)

    results = check_estimator(
        estimator,
        expected_failed_checks={check: reason.why for check, reason in expected.items()},
        on_skip=None,
        on_fail=None,
    )

    failed = [r for r in results if r["status"] == "failed"]
    assert not failed, "\n".join(f"{r['check_name']}: {r['exception']!r}" for r in failed)
    excused = [r for r in results if r["status"] == "xfail"]
    due = {check for check, reason in expected.items() if reason.always}
    assert due <= {r["check_name"] for r in excused}, "checks that pass after all"
    for result in excused:
        assert re.search(expected[result["check_name"]].message, str(result["exception"]))
    skipped = {r["check_name"] for r in results if r["status"] == "skipped"}
    assert skipped <= set(SKIPPED_CHECKS)
    n_run = sum(r["status"] in ("passed", "xfail") for r in results)
    assert n_run >= N_CHECKS["classifier" if is_classifier(estimator) else "transformer"]


# Parameters


@every_estimator
def test_init_only_assigns(name):
    cls = ESTIMATORS[name]
    sentinels = {parameter: object() for parameter in inspect.signature(cls).parameters}

    assert vars(cls(**sentinels)) == sentinels


@every_estimator
def test_parameters_survive_clone_and_set_params(name):
    estimator = make_instance(ESTIMATORS[name])
    params = estimator.get_params(deep=False)

    again = clone(estimator)

    assert type(again) is type(estimator)
    assert repr(again.get_params()) == repr(estimator.get_params())
    shuffled = dict(reversed(params.items()))
    assert repr(type(estimator)(**shuffled)) == repr(estimator)
    for key, value in params.items():
        assert again.set_params(**{key: value}) is again
        assert getattr(again, key) is value
    with pytest.raises(ValueError, match="Invalid parameter 'colour'"):
        again.set_params(colour="red")


@every_estimator_on_clips
def test_grid_search(name, make, clips):
    X, y = clips
    estimator = make(name)
    parameter = next(key for key in SEARCHED if key in estimator.get_params())
    grid = {parameter: SEARCHED[parameter]}
    if not is_classifier(estimator):
        summary = FunctionTransformer(
            lambda rows: np.array([[np.std(r), np.ptp(r)] for r in rows], dtype=float)
        )
        grid = {f"{name.lower()}__{parameter}": SEARCHED[parameter]}
        estimator = make_pipeline(estimator, summary, LogisticRegression())

    search = GridSearchCV(estimator, grid, cv=2, error_score="raise").fit(X, y)

    assert set(search.best_params_) == set(grid)
    assert search.predict(X).shape == (12,)


# Clips in every form

FORMS = {
    "tuple of waveforms": lambda X, paths: tuple(X),
    "object array of waveforms": lambda X, paths: _object_array(X),
    "2-D array": lambda X, paths: np.stack(X),
    "float64": lambda X, paths: [x.astype(np.float64) for x in X],
    "lists of numbers": lambda X, paths: [x.tolist() for x in X],
    "(waveform, rate)": lambda X, paths: [(x, SAMPLING_RATE) for x in X],
    "paths": lambda X, paths: paths,
    "array of paths": lambda X, paths: np.array(paths),
    "Series of paths": lambda X, paths: pytest.importorskip("pandas").Series(paths, index=paths),
    "table of one column": lambda X, paths: pytest.importorskip("pandas").DataFrame({"p": paths}),
    "one column of waveforms": lambda X, paths: _object_array(X).reshape(-1, 1),
    "all mixed": lambda X, paths: [paths[0], (X[1], SAMPLING_RATE), *X[2:]],
}


def _object_array(X):
    array = np.empty(len(X), dtype=object)
    array[:] = X
    return array


@every_estimator_on_clips
def test_every_form_of_clips_gives_the_same(name, fitted, clips, files):
    expected = output(fitted, clips[0])

    for convert in FORMS.values():
        assert_same(output(fitted, convert(clips[0], files)), expected)


@every_estimator_on_clips
@pytest.mark.parametrize(
    "form", ["2-D array", "Series of paths", "table of one column", "one column of waveforms"]
)
def test_fit_on_other_forms(name, form, make, fitted, clips, files):
    X, y = clips
    estimator = make(name).fit(FORMS[form](X, files), y)

    assert_same(output(estimator, X), output(fitted, X), tol=1e-4)


@every_estimator_on_clips
def test_a_fit_on_clips_forgets_the_columns_of_a_fit_on_a_table(name, make, clips):
    X, y = clips
    pd = pytest.importorskip("pandas")
    table = pd.DataFrame(np.stack(X)).add_prefix("sample")
    estimator = make(name).fit(table, y)
    assert len(estimator.feature_names_in_) == estimator.n_features_in_ == table.shape[1]
    estimator.fit(X, y)
    assert not hasattr(estimator, "feature_names_in_")
    assert not hasattr(estimator, "n_features_in_")


@every_estimator_on_clips
def test_input_is_left_alone(name, make, clips):
    X, y = clips
    given, labels = [x.copy() for x in X], y.copy()
    for x in given:
        x.flags.writeable = False
    shallow = list(given)

    output(make(name).fit(given, labels), given)

    assert all(a is b for a, b in zip(given, shallow, strict=True))
    assert all(np.array_equal(a, b) for a, b in zip(given, X, strict=True))
    assert_array_equal(labels, y)


# Labels, repetition, pickles


@pytest.mark.parametrize(
    "name",  # test_unknown.py has those that answer one label more
    [
        name
        for name, cls in ON_CLIPS.items()
        if is_classifier(make_instance(cls)) and not hasattr(make_instance(cls), "unknown_label")
    ],
)
@pytest.mark.parametrize("labels", [["low", "high"], [7, -2], [True, False]], ids=str)
def test_labels_come_back_as_they_were(name, labels, make, clips):
    X, y = clips
    y = np.where(y == "low", labels[0], labels[1])

    clf = make(name).fit(X, list(y))

    assert_array_equal(clf.classes_, np.unique(labels))
    predicted = clf.predict(X)
    assert predicted.dtype == y.dtype
    assert_array_equal(predicted, clf.classes_[clf.predict_proba(X).argmax(axis=1)])
    assert (predicted == y).mean() > 0.8
    assert_allclose(clf.predict_proba(X).sum(axis=1), 1, rtol=1e-5)


@every_estimator_on_clips
def test_the_same_twice_without_a_word(name, make, fitted, clips, capfd):
    first = output(fitted, clips[0])
    cache.clear()
    capfd.readouterr()

    second = output(make(name).fit(*clips), clips[0])

    # Under a budget, it depends on the time which clips are embedded in one batch.
    assert_same(second, first, tol=1e-5 if name == "TimeBudgetClassifier" else 1e-7)
    assert capfd.readouterr() == ("", "")


@pytest.fixture(scope="module")
def fresh_process(fit_once, clips, tmp_path_factory):
    """What comes out of each estimator in a new process, which has only pickles and the clips."""
    folder = tmp_path_factory.mktemp("pickles")
    for name in ON_CLIPS:
        with contextlib.suppress(pytest.skip.Exception):  # its own tests are skipped, too
            (folder / f"{name}.pkl").write_bytes(pickle.dumps(fit_once(name)))
    (folder / "clips").write_bytes(pickle.dumps(clips[0]))
    script = """
        import pathlib, pickle, sys, traceback, warnings
        warnings.simplefilter("error")
        folder = pathlib.Path(sys.argv[1])
        X = pickle.loads((folder / "clips").read_bytes())
        for path in folder.glob("*.pkl"):
            try:
                estimator = pickle.loads(path.read_bytes())
                output = getattr(estimator, "predict_proba", None) or estimator.transform
                path.with_suffix(".out").write_bytes(pickle.dumps(output(X)))
            except Exception:
                path.with_suffix(".error").write_text(traceback.format_exc())
    """
    command = [sys.executable, "-c", textwrap.dedent(script), folder]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return folder


@every_estimator_on_clips
def test_pickle_to_a_fresh_process(name, fitted, clips, fresh_process):
    error = fresh_process / f"{name}.error"
    assert not error.exists(), error.read_text()

    predicted = pickle.loads((fresh_process / f"{name}.out").read_bytes())

    assert_same(predicted, output(fitted, clips[0]))
    pickled = fresh_process / f"{name}.pkl"
    assert pickled.stat().st_size < 2**20, "frozen weights are in the pickle"


# One clip does not depend on another


@every_estimator_on_clips
def test_prediction_does_not_depend_on_the_other_clips(name, fitted, clips):
    X, _ = clips
    if name in {
        "WhisperEmbedding",
        "MoonshineEmbedding",
    }:  # in bfloat16, how a padded sequence is rounded depends on them
        fitted = deepcopy(fitted).set_params(dtype="float32")
    X = [np.resize(x, n) for x, n in zip(X, [4800, 160, 9000, 1, 20_000, 3200, 777], strict=False)]
    together = output(fitted, X)

    cache.clear()
    chosen = [6, 1, 4]
    apart = output(fitted, [X[i] for i in chosen])

    assert_same(apart, together[chosen], tol=1e-4)
    cache.clear()
    assert_same(output(fitted, [X[3]]), together[[3]], tol=1e-4)


@every_estimator_on_clips
def test_batches_of_one_are_the_same(name, fitted, clips):
    batched = [key for key in fitted.get_params() if key.split("__")[-1] == "batch_size"]
    if not batched:
        pytest.skip("has no batches")
    expected = output(fitted, clips[0])

    cache.clear()
    if hasattr(fitted, "history_"):  # what a network learns depends on its batches
        one = deepcopy(fitted).set_params(**dict.fromkeys(batched, 1))
    else:
        one = clone(fitted).set_params(**dict.fromkeys(batched, 1)).fit(*clips)

    assert_same(output(one, clips[0]), expected, tol=1e-4)


# Difficult clips

DIFFICULT = {
    "silent": lambda folder: np.zeros(3000),
    "silent for hours, a moment long": lambda folder: np.zeros(1),
    "one sample": lambda folder: np.array([0.5]),
    "two samples": lambda folder: [0.5, -0.5],
    "constant": lambda folder: np.ones(5000),
    "tiny": lambda folder: 1e-40 * np.arange(4000.0),
    "clipped": lambda folder: np.sign(np.random.default_rng(0).normal(size=8000)),
    "16-bit integers": lambda folder: np.arange(-4000, 4000, dtype=np.int16),
    "stereo file": lambda folder: _write(folder, np.ones((4000, 2)) * [0.1, -0.3], 16_000),
    "six channels": lambda folder: _write(folder, np.full((4000, 6), 0.1), 16_000),
    "96 kHz": lambda folder: _write(folder, np.sin(np.arange(30_000) / 50), 96_000),
    "8 kHz": lambda folder: _write(folder, np.sin(np.arange(3000) / 5), 8_000),
}


def _write(folder, samples, sampling_rate):
    path = folder / "clip.flac"
    soundfile.write(path, samples, sampling_rate)
    return path


@every_estimator_on_clips
@pytest.mark.parametrize("kind", DIFFICULT)
def test_difficult_clips_work(name, kind, fitted, clips, tmp_path):
    X = [clips[0][0], DIFFICULT[kind](tmp_path), clips[0][1]]

    got = output(fitted, X)

    assert_finite(got, 3)
    assert_same(got[[0, 2]], output(fitted, [X[0], X[2]]), tol=1e-4)


@every_classifier_on_clips
def test_training_on_difficult_clips_works(name, make, clips, tmp_path):
    folders = [tmp_path / str(i) for i in range(len(DIFFICULT))]
    for folder in folders:
        folder.mkdir()
    X = [make_clip(folder) for make_clip, folder in zip(DIFFICULT.values(), folders, strict=True)]
    X, y = [*clips[0], *X], [*clips[1], *np.resize(["low", "high"], len(X))]

    clf = make(name).fit(X, y)

    assert_finite(clf.predict_proba(X), len(X))


BAD = {
    "missing": lambda folder: folder / "gone.wav",
    "empty": lambda folder: np.array([]),
    "NaN": lambda folder: np.array([0.1, np.nan, 0.2]),
    "infinite": lambda folder: np.array([0.1, np.inf, 0.2]),
    "text": lambda folder: _text(folder),
    "empty file": lambda folder: _write(folder, np.empty(0), 16_000),
    "folder": lambda folder: folder,
}


def _text(folder):
    path = folder / "notes.wav"
    path.write_text("these are words, not sound")
    return path


@every_estimator_on_clips
@pytest.mark.parametrize("kind", BAD)
def test_bad_clips_are_named(name, kind, fitted, clips, tmp_path):
    bad = BAD[kind](tmp_path)
    X = [clips[0][0], bad, clips[0][1], bad]

    with pytest.raises(AudioError) as caught:
        output(fitted, X)

    assert [position for position, _, _ in caught.value.failures] == [1, 3]
    called = "clip 1" if isinstance(bad, np.ndarray) else str(bad)
    assert called in str(caught.value)


@every_classifier_on_clips
def test_bad_clips_in_training_are_named(name, make, clips, tmp_path):
    X = [*clips[0][:3], tmp_path / "gone.wav", *clips[0][4:]]

    with pytest.raises(AudioError, match=r"gone\.wav: no such file") as caught:
        make(name).fit(X, clips[1])
    assert [position for position, _, _ in caught.value.failures] == [3]


@every_estimator_on_clips
def test_bad_clips_become_silence_on_request(name, make, clips, tmp_path):
    estimator = make(name)
    keys = [key for key in estimator.get_params() if key.split("__")[-1] == "errors"]
    if not keys:
        pytest.skip("has no parameter errors")
    estimator.set_params(**dict.fromkeys(keys, "warn")).fit(*clips)
    X = [clips[0][0], tmp_path / "gone.wav"]

    with pytest.warns(UserWarning, match=r"gone\.wav"):
        got = output(estimator, X)

    assert_finite(got, 2)
    assert_same(got[:1], output(estimator, X[:1]), tol=1e-4)


@every_estimator_on_clips
def test_a_path_alone_is_no_list_of_clips(name, fitted, files):
    with pytest.raises(ValueError, match=r"Write \[path\] for one clip, .* predict_one"):
        output(fitted, files[0])


@every_classifier_on_clips
def test_one_clip_gets_its_label(name, fitted, clips, files):
    for clip in (files[0], clips[0][0], (clips[0][0], SAMPLING_RATE)):
        label = fitted.predict_one(clip)
        assert type(label) is str
        assert label == fitted.predict([clip])[0]


# Manners


@every_transformer_on_clips
def test_set_output_gives_a_table(name, make, clips):
    pd = pytest.importorskip("pandas")
    extractor = make(name)
    if not hasattr(extractor, "get_feature_names_out"):
        pytest.skip("gives one waveform a clip, not a table")

    frame = clone(extractor).set_output(transform="pandas").fit_transform(clips[0])

    assert isinstance(frame, pd.DataFrame)
    assert list(frame.columns) == list(extractor.get_feature_names_out())
    assert len(set(frame.columns)) == frame.shape[1]
    assert_same(frame.to_numpy(), extractor.fit_transform(clips[0]))


@every_transformer_on_clips
def test_needs_no_fit(name, make, fitted, clips):
    assert_same(make(name).transform(clips[0]), fitted.transform(clips[0]))


@pytest.mark.parametrize("weight", [-1.0, 0, np.nan, np.inf, None, "2"])
@pytest.mark.parametrize(
    "name",
    [name for name, cls in ESTIMATORS.items() if hasattr(make_instance(cls), "class_weight")],
)
def test_weights_of_classes_are_numbers_above_0(name, weight, make, clips):
    X, y = clips if name in ON_CLIPS else (np.eye(12), clips[1])
    estimator = make(name).set_params(class_weight={"low": 1.0, "high": weight})
    with pytest.raises(ValueError, match=f"class_weight has the weight {weight!r} of .*'high'"):
        estimator.fit(X, y)


@every_estimator
def test_shows_itself_in_a_notebook(name, make):
    estimator = make(name)

    assert name in estimator._repr_html_()
    assert name in repr(estimator)


@every_estimator_on_clips
def test_another_processor_gives_the_same_answers(name, instance, fitted, clips, set_bfloat16):
    """What was fitted in one precision never meets features of another; not even when it warns."""
    X, _ = clips
    estimator = instance(name)
    if not any(getattr(item, "dtype", None) == "auto" for item in objects_in(fitted)):
        pytest.skip("computes in one precision everywhere")
    if "errors" in estimator.get_params():
        estimator.set_params(errors="warn")
    set_bfloat16(False)
    estimator.fit(*clips)
    expected, pickled = output(estimator, X), pickle.dumps(estimator)

    set_bfloat16(True)
    for model in (estimator, pickle.loads(pickled)):
        cache.clear()
        assert_same(output(model, X), expected)


@pytest.mark.gpu
@every_estimator_on_clips
def test_gpu_and_cpu_agree(name, make, clips, set_bfloat16):
    # Of the networks in single precision: the other is for processors only.
    set_bfloat16(False)
    X, _ = clips
    devices = [key for key in make(name).get_params() if key.split("__")[-1] == "device"]
    if not devices:
        pytest.skip("has no parameter device")
    results = []
    for device in ("cpu", "cuda"):
        cache.clear()
        estimator = make(name).set_params(**dict.fromkeys(devices, device))
        results.append(output(estimator.fit(*clips), X))

    assert_same(results[1], results[0], tol=2e-3)


def test_estimators_are_discovered():
    assert {"AudioLoader", "GeometricMeanVotingClassifier", "SignedSqrt"} <= set(ESTIMATORS)
    assert {"AudioLoader", "GeometricMeanVotingClassifier"} <= set(ON_CLIPS)
    assert "SignedSqrt" not in ON_CLIPS
