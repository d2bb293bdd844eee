"""Extractors embed on the workers of whatever joblib backend is chosen, and say the same there."""

import concurrent.futures
import os
import signal
import threading
import time
import warnings

import joblib
import numpy as np
import pytest
import soundfile
import torch
from joblib.parallel import MultiprocessingBackend
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.linear_model import LogisticRegression
from sklearn.naive_bayes import GaussianNB
from sklearn.pipeline import make_pipeline
from test_resnetse34l import make_checkpoint

from skspeech import (
    AudioError,
    Candidate,
    Extractor,
    SpeakerEmbedding,
    SpectralStatistics,
    TimeBudgetClassifier,
    cache,
)
from skspeech._stopping import Stopped, stoppable  # what ends a job from inside
from skspeech.audio import as_clips
from skspeech.time_budget import policy
from skspeech.transformers import workers
from skspeech.transformers.workers import Workers, WorkersDiedError

HOME = os.getpid()


class Noted(Extractor):
    """Levels of clips; notes in a folder which process heard which clip, and may harm others.

    `harm` is what happens to processes other than `home`: "dies once", "dies" or "hangs". `pace` is
    the seconds that a clip takes.
    """

    def __init__(self, prefix="", harm="", *, pace=0.0, memory=None, home=HOME):
        super().__init__(memory=memory)
        self.prefix = prefix  # of files: a folder would count by what is in it
        self.harm = harm
        self.pace = pace
        self.home = home

    def _extract(self, waveforms):
        for waveform in waveforms:
            number = round(1000 * float(np.abs(waveform).max()))
            heard = f"{self.prefix}-{number}-{time.monotonic_ns()}"
            with open(heard, "w") as file:
                file.write(str(os.getpid()))
            time.sleep(self.pace)
        if self.harm and os.getpid() != self.home:
            if self.harm == "hangs":
                _hang()
            elif self.harm == "dies" or not self._was_here():
                os.kill(os.getpid(), signal.SIGKILL)
        return [[np.abs(w).mean(), np.abs(w).max()] for w in waveforms]

    def _was_here(self):
        mark = f"{self.prefix}-killed"
        if os.path.exists(mark):
            return True
        with open(mark, "w") as file:
            file.write(str(os.getpid()))
        return False


@pytest.fixture(autouse=True)
def small_shards(monkeypatch):
    cache.clear()
    monkeypatch.setattr(workers, "_SMALLEST_SHARD", 1.0)


@pytest.fixture
def paths(tmp_path):
    """Files of a second, each with a peak of its own."""
    folder = tmp_path / "clips"
    folder.mkdir()
    paths = [str(folder / f"{i}.wav") for i in range(64)]
    for number, path in enumerate(paths):
        waveform = np.random.default_rng(number).uniform(-1, 1, 16_000)
        scaled = waveform / np.abs(waveform).max() * (number + 1) / 100
        soundfile.write(path, scaled, 16_000, subtype="FLOAT")
    return paths


@pytest.fixture
def notes(tmp_path):
    folder = tmp_path / "notes"
    folder.mkdir()
    return folder


def heard(notes):
    """Numbers of the clips that were heard, and by whom each."""
    paths = [path for path in notes.iterdir() if not path.name.endswith("killed")]
    pairs = sorted((int(path.name.split("-")[1]), path.read_text()) for path in paths)
    return [number for number, _ in pairs], [who for _, who in pairs]


# A cluster of Dask is started for each test, which takes seconds; only its executor differs.
@pytest.fixture(params=["loky", pytest.param("dask", marks=pytest.mark.slow)])
def backend(request):
    """A context with two workers."""
    if request.param == "loky":
        with joblib.parallel_config("loky", n_jobs=2):
            yield request.param
        return
    distributed = pytest.importorskip("distributed")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of its own
        with (
            distributed.LocalCluster(
                n_workers=2, threads_per_worker=1, dashboard_address=":0", silence_logs=50
            ) as cluster,
            distributed.Client(cluster),
            joblib.parallel_config("dask"),
        ):
            yield request.param


def here(extractor, clips):
    """What threads of this process give."""
    with joblib.parallel_config("threading"):
        return extractor.set_params(memory=False).transform(clips)


def test_features_are_those_of_here_and_each_clip_is_heard_once(backend, paths, notes, monkeypatch):
    rows = Noted(str(notes / "by")).transform(paths)
    clips, who = heard(notes)
    assert clips == [10 * (i + 1) for i in range(len(paths))]
    assert str(HOME) not in who
    Noted(str(notes / "by")).transform(paths[::-1])  # remembered here
    assert len(heard(notes)[0]) == len(paths)
    np.testing.assert_array_equal(rows, here(Noted(str(notes / "by")), paths))
    _check_relative_paths_are_those_of_here(paths, notes, monkeypatch)
    _check_waveforms_windows_and_statistics(paths)
    _check_bad_clips_are_named_together(paths)


def _check_relative_paths_are_those_of_here(paths, notes, monkeypatch):
    monkeypatch.chdir(os.path.dirname(paths[0]))  # the workers have begun elsewhere
    clips = [os.path.basename(path) for path in paths]
    clips += [clip.variant(speed=1.1) for clip in as_clips(clips[:4])]
    there = Noted(str(notes / "there"), memory=False).transform(clips)
    np.testing.assert_array_equal(there, here(Noted(str(notes / "here")), clips))
    clips[7] = "none.wav"
    with pytest.raises(AudioError) as caught:
        Noted(str(notes / "there"), memory=False).transform(clips)
    assert [(p, name) for p, name, _ in caught.value.failures] == [(7, "none.wav")]


def _check_waveforms_windows_and_statistics(paths):
    clips = [(soundfile.read(path)[0], 16_000) for path in paths[:8]]
    extractor = SpectralStatistics(memory=False)
    there, windows = extractor.transform(clips), extractor.embed(clips)
    with joblib.parallel_config("threading"):
        np.testing.assert_allclose(there, extractor.transform(clips), rtol=1e-3, atol=1e-3)
        for one, other in zip(windows, extractor.embed(clips), strict=True):
            np.testing.assert_allclose(one, other, rtol=1e-3, atol=1e-3)


def _check_bad_clips_are_named_together(paths):
    clips = list(paths)
    for place in (3, 20):
        clips[place] = f"missing-{place}.wav"
    with pytest.raises(AudioError, match="2 of 64 clips cannot be used") as caught:
        SpectralStatistics().transform(clips)
    assert [position for position, _, _ in caught.value.failures] == [3, 20]
    with pytest.warns(UserWarning, match="2 of 64 clips cannot be used") as told:
        rows = SpectralStatistics(errors="warn", memory=False).transform(clips)
    assert len(told) == 1
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        np.testing.assert_allclose(
            rows, here(SpectralStatistics(errors="warn"), clips), rtol=1e-3, atol=1e-3
        )


def test_what_a_dying_worker_took_along_is_done_again(backend, paths, notes):
    rows = Noted(str(notes / "by"), "dies once").transform(paths)
    np.testing.assert_array_equal(rows, here(Noted(str(notes / "by")), paths))


def test_clips_that_kill_every_worker_are_named(backend, paths, notes, monkeypatch):
    monkeypatch.setattr(workers, "_MOST_DEATHS", 2)
    if backend == "dask":
        import distributed

        distributed.default_client().cluster.scheduler.allowed_failures = 0
    with pytest.raises(WorkersDiedError, match=r"64 clips are left: .*0\.wav"):
        Noted(str(notes / "by"), "dies").transform(paths)


# Loky's own thread may stumble over a task that comes while its processes are ended.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_who_no_longer_waits_does_not_make_another_fail(paths, notes):
    with joblib.parallel_config("loky", n_jobs=2):
        chosen = workers.chosen_workers()
    stop = threading.Event()

    def embed(name, is_stopped):
        with chosen.chosen(), stoppable(is_stopped):
            return Noted(str(notes / name), pace=0.05, memory=False).transform(paths)

    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        gone, other = pool.submit(embed, "gone", stop.is_set), pool.submit(embed, "other", bool)
        while len({path.name.split("-")[0] for path in notes.iterdir()}) < 2:
            time.sleep(0.01)
        stop.set()
        with pytest.raises(Stopped):
            gone.result()
        np.testing.assert_array_equal(other.result(), here(Noted(str(notes / "here")), paths))


def test_an_error_of_the_extractors_own_comes_through(backend, paths):
    class Broken(Extractor):
        def _extract(self, waveforms):
            raise ZeroDivisionError("of its own")

    with pytest.raises(ZeroDivisionError, match="of its own"):
        Broken().transform(paths)


def test_workers_that_find_another_network_say_so(paths, tmp_path, monkeypatch):
    for seed, folder in enumerate("ab"):
        (tmp_path / folder).mkdir()
        torch.save(make_checkpoint(seed), tmp_path / folder / "weights.model")
    monkeypatch.chdir(tmp_path / "a")
    task = workers._dump(SpeakerEmbedding("resnetse34l", weights="weights.model"))
    clips = as_clips(paths[:1])
    assert len(workers._embed_shard(task, clips, True, None)[0]) == 1
    monkeypatch.chdir(tmp_path / "b")
    with pytest.raises(ValueError, match=r"finds the network 'resnetse34l-.* absolute paths"):
        workers._embed_shard(task, clips, True, None)


def test_an_executor_is_a_backend(paths, notes):
    with (
        concurrent.futures.ProcessPoolExecutor(2) as executor,
        Workers.of_executor(executor, 2).chosen(),
    ):
        rows = Noted(str(notes / "by")).transform(paths)
    assert str(HOME) not in heard(notes)[1]
    np.testing.assert_array_equal(rows, here(Noted(str(notes / "by")), paths))
    with concurrent.futures.ThreadPoolExecutor(2) as executor:
        assert Workers.of_executor(executor, 2) is None


class LikeRay(MultiprocessingBackend):
    """Ray's backend is one of joblib's pools, which give all results at once."""


def test_a_backend_that_can_not_stream_embeds_too(paths, notes):
    joblib.register_parallel_backend("like ray", LikeRay)
    with joblib.parallel_config("like ray", n_jobs=2):
        rows = Noted(str(notes / "by")).transform(paths)
    assert str(HOME) not in heard(notes)[1]
    np.testing.assert_array_equal(rows, here(Noted(str(notes / "by")), paths))


def test_without_a_choice_and_inside_of_workers_it_is_threads():
    assert workers.chosen_workers() is None
    for backend in ("threading", "sequential", "multiprocessing"):
        with joblib.parallel_config(backend):
            assert workers.chosen_workers() is None
    with joblib.parallel_config("loky", n_jobs=2):
        assert workers.chosen_workers().n_workers == 2
        inside = joblib.Parallel()(joblib.delayed(_is_here)() for _ in range(2))
    assert inside == [True, True]


def _is_here():
    return workers.chosen_workers() is None


def test_shards_are_of_bounded_seconds(paths):
    clips = as_clips([*paths, np.zeros(160_000)])
    with joblib.parallel_config("loky", n_jobs=2):
        chosen = workers.chosen_workers()
    shards = chosen._shards(clips, np.arange(5, 65), None)
    np.testing.assert_array_equal(np.concatenate(shards), np.arange(5, 65))
    assert len(shards) >= 7
    assert len(shards[-1]) == 1  # ten seconds
    assert len(chosen._shards(clips, np.arange(65), 0.01)) == 1


# -- Under a time budget ---------------------------------------------------------------------------

# Seconds; each run ends as soon as nothing is left to do. What takes longer than a third of it, as
# on a machine that starves the tests, is given up and tried again, and so heard twice.
BUDGET = 3000


def fit_noted(paths, notes, harm="", **settings):
    """Fit a candidate; return the classifier, which clips were heard, and by whom each."""
    cache.clear()
    for path in notes.iterdir():
        path.unlink()
    y = np.arange(len(paths)) >= len(paths) // 2
    slow = Noted(str(notes / "by"), harm, pace=0.05)  # else all is done for the first answer, here
    classifier = TimeBudgetClassifier(
        [("levels", make_pipeline(slow, LogisticRegression()))],
        time_budget=BUDGET,
        cv=3,
        random_state=0,
        **settings,
    )
    classifier.fit(paths, y)
    return classifier, *heard(notes)


def fit_here(paths, notes):
    with joblib.parallel_config("threading"):
        return fit_noted(paths, notes)[0]


@pytest.fixture
def awake(monkeypatch):
    """Workers are awake before anything else is asked of them."""
    wake = Workers.wake

    def wait(self):
        wake(self)
        while not self.are_awake:
            time.sleep(0.01)

    monkeypatch.setattr(Workers, "wake", wait)


def probas(classifier, paths):
    with joblib.parallel_config("threading"):
        return classifier.predict_proba(paths)


def test_a_budget_is_spent_there(backend, paths, notes, awake):
    expected = probas(fit_here(paths, notes), paths)
    classifier, clips, who = fit_noted(paths, notes)
    assert clips == [10 * (i + 1) for i in range(len(paths))]
    assert set(who) - {str(HOME)}
    np.testing.assert_allclose(probas(classifier, paths), expected)
    _check_a_budget_outlives_a_worker(backend, paths, notes, expected)


def _check_a_budget_outlives_a_worker(backend, paths, notes, expected):
    executor = None
    if backend == "dask":
        import distributed

        executor = distributed.default_client().get_executor()
    classifier, clips, who = fit_noted(paths, notes, "dies once", executor=executor)
    (dead,) = [path.read_text() for path in notes.iterdir() if path.name.endswith("killed")]
    assert set(clips) == {10 * (i + 1) for i in range(len(paths))}
    if backend == "dask":  # where one dies, all of loky's are ended
        again = [clip for clip, name in zip(clips, who, strict=True) if name != dead]
        assert len(again) == len(set(again))
    np.testing.assert_allclose(probas(classifier, paths), expected)


class EmbedsInFit(ClassifierMixin, BaseEstimator):
    """A classifier that embeds what it is given itself."""

    def __init__(self, prefix=""):
        self.prefix = prefix

    def fit(self, X, y):
        self.head_ = LogisticRegression().fit(Noted(self.prefix).transform(X), y)
        self.classes_ = self.head_.classes_
        return self

    def predict_proba(self, X):
        return self.head_.predict_proba(Noted(self.prefix).transform(X))


def test_what_candidates_embed_themselves_is_embedded_there(paths, notes, awake):
    prefix = str(notes / "by")
    candidates = [
        Candidate("first", make_pipeline(SpectralStatistics(), GaussianNB()), first=True),
        Candidate("own", EmbedsInFit(prefix), where="main"),
    ]
    y = np.arange(len(paths)) >= len(paths) // 2
    with joblib.parallel_config("loky", n_jobs=2):
        TimeBudgetClassifier(candidates, time_budget=BUDGET, cv=3).fit(paths, y)
    clips, who = heard(notes)
    assert clips == [10 * (i + 1) for i in range(len(paths))]
    assert str(HOME) not in who


def test_an_executor_embeds_all_but_the_first_clips(paths, notes, awake):
    with concurrent.futures.ProcessPoolExecutor(2) as executor:
        _, clips, who = fit_noted(paths, notes, executor=executor)
    assert clips == [10 * (i + 1) for i in range(len(paths))]
    assert set(who) - {str(HOME)}


@pytest.mark.slow  # the workers are started anew again and again
def test_a_run_goes_on_here_where_workers_die(paths, notes, awake):
    with joblib.parallel_config("loky", n_jobs=2):
        _, clips, who = fit_noted(paths, notes, "dies")
    at_home = {clip for clip, name in zip(clips, who, strict=True) if name == str(HOME)}
    assert len(at_home) == len(paths)


def test_workers_that_do_not_wake_are_not_waited_for(paths, notes, monkeypatch):
    monkeypatch.setattr(workers, "_do_imports", _hang)
    with joblib.parallel_config("loky", n_jobs=2):
        _, clips, who = fit_noted(paths, notes)
    assert clips == [10 * (i + 1) for i in range(len(paths))]
    assert set(who) == {str(HOME)}
    _check_no_thread_is_left()


@pytest.mark.slow  # it waits for its patience to be over
def test_workers_that_hang_are_left_alone(paths, notes, awake, monkeypatch):
    monkeypatch.setattr(policy, "PATIENCE", 6 / BUDGET)
    events = []
    with joblib.parallel_config("loky", n_jobs=2):
        classifier, *_ = fit_noted(paths, notes, "hangs", callbacks=[events.append])
    assert "workers lost" in [event["event"] for event in events]
    assert probas(classifier, paths).shape == (len(paths), 2)
    _check_no_thread_is_left()


def _hang():
    time.sleep(600)  # longer than any test may take


def _check_no_thread_is_left():
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and _threads_of_ours():
        time.sleep(0.1)
    assert not _threads_of_ours()


def _threads_of_ours():
    return [t.name for t in threading.enumerate() if t.name.startswith("skspeech")]
