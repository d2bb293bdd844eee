"""Many clips: errors that name all bad ones, decoding ahead, bounded memory."""

import gc
import multiprocessing
import os
import pickle
import signal
import subprocess
import sys
import textwrap
import threading
import time
import warnings
from concurrent.futures import ThreadPoolExecutor, wait
from pathlib import Path

import joblib
import numpy as np
import pytest
from sklearn.base import clone
from sklearn.exceptions import SkipTestWarning
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer
from sklearn.utils.estimator_checks import check_estimator
from sounds import noise

from skspeech.audio import (
    AudioError,
    AudioLoader,
    Clip,
    Clips,
    ahead,
    as_clips,
    files,
    fix_length,
    in_chunks,
    iter_waveforms,
    load_waveforms,
    window_starts,
)

# Errors -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("n_jobs", [1, 2, None, -1])
def test_one_error_names_all_bad_clips(write, tmp_path, n_jobs):
    good = write("good.wav", noise(0.1))
    X = [good, str(tmp_path / "none.wav"), noise(0.1), np.array([np.nan]), tmp_path, good]
    with pytest.raises(AudioError) as caught:
        load_waveforms(X, n_jobs=n_jobs)
    failures = caught.value.failures
    assert [(p, n) for p, n, _ in failures] == [(1, X[1]), (3, "clip 3"), (4, str(tmp_path))]
    message = str(caught.value)
    assert message.startswith("3 of 6 clips cannot be used:")
    for position, name, why in failures:
        assert f"  [{position}] {name}: {why}" in message
    assert message.endswith("errors='warn'.")


def test_a_long_list_of_bad_clips_is_cut_in_the_message_only():
    with pytest.raises(AudioError) as caught:
        load_waveforms([np.array([])] * 50)
    assert len(caught.value.failures) == 50
    assert "... and 30 more" in str(caught.value)
    assert str(caught.value).count("is empty") == 20


def test_the_error_survives_a_pickle():
    with pytest.raises(AudioError) as caught:
        load_waveforms([np.array([])])
    again = pickle.loads(pickle.dumps(caught.value))
    assert str(again) == str(caught.value)
    assert again.failures == caught.value.failures
    assert again.n_clips == 1


@pytest.mark.parametrize(
    "name", ["new\nline.wav", "ünïcödé 🎵.wav", "\udcff\udcfe.wav", "tab\t\x1b[31m.wav", "é.wav"]
)
def test_any_file_name_can_be_loaded_and_printed(write, tmp_path, name):
    path = str(tmp_path / name)
    try:
        os.rename(write("a.wav", noise(0.1)), path)
    except (OSError, UnicodeEncodeError) as error:
        pytest.skip(f"this file system has no such names: {error}")
    assert len(load_waveforms([path])[0]) == 1600
    Path(path).write_bytes(b"no audio")
    with pytest.raises(AudioError) as caught:
        load_waveforms([path])
    assert caught.value.failures[0][1] == path
    message = str(caught.value)
    message.encode("utf-8")
    assert "\x1b" not in message
    assert len(message.splitlines()) == 3
    with pytest.raises(ValueError, match="single path"):
        as_clips(path)


def test_a_very_long_name_is_shortened():
    with pytest.raises(AudioError) as caught:
        load_waveforms(["x" * 100_000])
    assert len(str(caught.value)) < 1000


@pytest.mark.parametrize("n_jobs", [1, 2])
@pytest.mark.parametrize("bad", [0, 1, 3])
def test_silence_and_one_warning_in_place_of_bad_clips(n_jobs, bad):
    X = [noise(0.1), noise(0.2), noise(0.3), noise(0.4)]
    X[bad] = X[bad] * np.nan
    with pytest.warns(UserWarning, match="Silence took the place") as caught:
        waveforms = load_waveforms([*X, np.array([])], errors="warn", n_jobs=n_jobs)
    assert len(caught) == 1
    assert f"[{bad}] clip {bad}: " in str(caught[0].message)
    assert "[4] clip 4: is empty" in str(caught[0].message)
    for index in range(5):
        expected = np.zeros(16_000) if index in (bad, 4) else X[index]
        np.testing.assert_array_equal(waveforms[index], expected)


def test_no_warning_where_nothing_is_bad():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        load_waveforms([noise(0.1)], errors="warn")


def test_silence_has_the_target_rate():
    with pytest.warns(UserWarning, match="1 of 1 clip cannot"):
        waveforms = load_waveforms([np.array([])], errors="warn", target_sampling_rate=8000)
    assert len(waveforms[0]) == 8000


def test_nothing_is_yielded_after_the_first_bad_clip():
    waveforms = iter_waveforms([noise(0.1), np.array([]), noise(0.1)])
    assert next(waveforms)[0] == 0
    with pytest.raises(AudioError):
        next(waveforms)


def test_bad_choice_of_errors():
    with pytest.raises(ValueError, match="errors='ignore' must be 'raise' or 'warn'"):
        iter_waveforms([noise(0.1)], errors="ignore")


# Decoding ahead -----------------------------------------------------------------------------------


def _decoding_threads():
    return [t for t in threading.enumerate() if t.name.startswith("skspeech-decode")]


class Counted(Clip):
    """A clip that counts how often any of its kind is loaded, and can have a fault of its own."""

    __slots__ = ("fault", "log")

    def __init__(self, source, log, fault=None):
        super().__init__(source, 16_000)
        self.log = log
        self.fault = fault

    def _load(self, *args):
        if self.fault:
            raise self.fault
        waveform = super()._load(*args)
        self.log.append(1)
        return waveform


def _wait_until_stable(log):
    n_seen = -1
    while n_seen != len(log):
        n_seen = len(log)
        time.sleep(0.2)
    return n_seen


@pytest.mark.parametrize("n_jobs", [1, 2, 4, None, -1])
def test_waveforms_come_in_order_whatever_the_threads(write, n_jobs):
    lengths = np.random.default_rng(0).uniform(0.001, 0.5, 60)
    X = [noise(s, 8000, seed=i) for i, s in enumerate(lengths)]
    X = [write(f"{i}.wav", x, 8000) if i % 2 else (x, 8000) for i, x in enumerate(X)]
    expected = [clip.load() for clip in as_clips(X)]
    indices = []
    for index, waveform in iter_waveforms(X, n_jobs=n_jobs):
        indices.append(index)
        np.testing.assert_array_equal(waveform, expected[index])
    assert indices == list(range(60))
    assert not _decoding_threads()


def test_decoding_goes_ahead_but_not_too_far(monkeypatch):
    monkeypatch.setattr("skspeech.audio.ahead._PATIENCE", 60.0)  # before a thread looks by itself
    log = []
    clips = Clips([Counted(noise(1), log) for _ in range(50)])
    waveforms = iter_waveforms(clips, n_jobs=2, prefetch_seconds=10.0)
    ahead = []
    for taken in range(1, 20):
        next(waveforms)
        ahead.append(_wait_until_stable(log) - taken)
    assert max(ahead) in (10, 11)
    assert min(ahead) in (5, 6)  # threads go on once half of it is taken
    waveforms.close()


def test_clips_longer_than_the_limit_come_one_by_one():
    log = []
    clips = Clips([Counted(noise(5), log) for _ in range(6)])
    waveforms = iter_waveforms(clips, n_jobs=3, prefetch_seconds=1.0)
    next(waveforms)
    assert _wait_until_stable(log) <= 2
    assert len(list(waveforms)) == 5


@pytest.mark.parametrize("prefetch_seconds", [0.0, 0.3, 1.5])
def test_any_mixture_of_lengths_gets_through(prefetch_seconds):
    lengths = np.random.default_rng(1).choice([0.01, 0.2, 2.0], 100)
    waveforms = iter_waveforms(
        [np.zeros(round(16_000 * s)) for s in lengths], n_jobs=4, prefetch_seconds=prefetch_seconds
    )
    assert [len(w) for _, w in waveforms] == [round(16_000 * s) for s in lengths]


def test_closing_early_stops_the_threads():
    log = []
    clips = Clips([Counted(noise(1), log) for _ in range(1000)])
    waveforms = iter_waveforms(clips, n_jobs=4, prefetch_seconds=5.0)
    next(waveforms)
    assert _decoding_threads()
    waveforms.close()
    assert not _decoding_threads()
    assert len(log) < 20


def test_forgetting_the_generator_stops_the_threads():
    waveforms = iter_waveforms([noise(1)] * 1000, n_jobs=2, prefetch_seconds=5.0)
    next(waveforms)
    del waveforms
    assert not _decoding_threads()


def test_a_generator_in_a_cycle_stops_the_threads_when_it_is_collected():
    waveforms = iter_waveforms([noise(1)] * 1000, n_jobs=2, prefetch_seconds=5.0)
    next(waveforms)
    cycle = [waveforms]
    cycle.append(cycle)
    del waveforms, cycle
    gc.collect()
    assert not _decoding_threads()


def test_closing_waits_for_no_lock():
    """The garbage collector may close an iterator while another thread is inside of it."""
    waiting = ahead._Ahead(3, limit=0.0)
    outcomes = []

    def work(waiting):
        waiting.claim()
        try:
            waiting.wait_turn(2, 10.0)
        except ahead._Closed:
            outcomes.append("told")

    waiting.start(work, 1)
    with ThreadPoolExecutor(1) as pool, waiting._changed:
        pool.submit(waiting.close).result(30)
    waiting.join(time.monotonic() + 30)
    assert outcomes == ["told"]


@pytest.mark.parametrize(
    "consume",
    [
        "kept = [iter_waveforms(X, n_jobs=2) for _ in range(9)]; [next(k) for k in kept]",
        *(
            pytest.param(code, marks=pytest.mark.slow)
            for code in (
                "threading.Thread(target=read, daemon=True).start(); time.sleep(0.5)",
                "kept = iter_waveforms(X, n_jobs=2); next(kept)",
                "kept = iter_waveforms(X, n_jobs=2); next(kept); k = [kept]; k.append(k)",
                "next(iter_waveforms(X, n_jobs=2))",
            )
        ),
    ],
    ids=["many", "daemon", "kept", "cycle", "dropped"],
)
def test_a_process_that_is_done_exits(consume):
    code = """
        import threading, time, numpy as np
        from skspeech.audio import iter_waveforms
        X = [np.full(16000 * 30, 0.1, "f4") for _ in range(60)]
        def read():
            for _ in iter_waveforms(X, n_jobs=2):
                time.sleep(1000)
    """
    done = subprocess.run(
        [sys.executable, "-c", f"{textwrap.dedent(code)}\n{consume}"],
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert (done.returncode, done.stderr) == (0, "")


def _decode_in_a_daemon(queue):
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        n_samples = [len(w) for w in load_waveforms([np.full(800, 0.1)] * 4, n_jobs=2)]
    queue.put((n_samples, [str(warning.message) for warning in caught]))


@pytest.mark.slow
def test_a_daemonic_process_decodes_without_a_warning():
    context = multiprocessing.get_context("spawn")
    queue = context.Queue()
    process = context.Process(target=_decode_in_a_daemon, args=(queue,), daemon=True)
    process.start()
    try:
        assert queue.get(timeout=120) == ([800] * 4, [])
    finally:
        process.join()


def test_an_error_of_the_consumer_stops_the_threads():
    def consume():
        for _ in iter_waveforms([noise(1)] * 100, n_jobs=2, prefetch_seconds=5.0):
            raise KeyError("mine")

    with pytest.raises(KeyError, match="mine"):
        consume()
    assert not _decoding_threads()


@pytest.mark.parametrize("n_jobs", [1, 2])
@pytest.mark.parametrize("fault", [RuntimeError("a bug"), MemoryError("full")])
def test_what_is_not_the_clips_fault_is_raised_as_it_is(n_jobs, fault):
    clips = Clips([Counted(noise(0.1), []), Counted(noise(0.1), [], fault)])
    with pytest.raises(type(fault), match=str(fault)):
        load_waveforms(clips, n_jobs=n_jobs)
    assert not _decoding_threads()


@pytest.mark.skipif(os.name == "nt", reason="needs POSIX signals")
def test_ctrl_c_ends_at_once():
    code = """
        import signal, time, numpy as np
        from skspeech.audio import iter_waveforms
        signal.signal(signal.SIGINT, signal.default_int_handler)  # ignored in a shell's background
        for index, _ in iter_waveforms([np.zeros(160_000)] * 10_000, n_jobs=3):
            if index == 3:
                print("ready", flush=True)
            time.sleep(0.1)
    """
    process = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(code)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdout.readline() == "ready\n"
        process.send_signal(signal.SIGINT)
        _, stderr = process.communicate(timeout=30)
    finally:
        process.kill()
    assert stderr.rstrip().endswith("KeyboardInterrupt")
    assert stderr.count("Traceback") == 1


def test_the_first_result_does_not_wait_for_the_last():
    started = []

    class Blocking(Clip):
        def _load(self, *args):
            if self._position:
                started.append(1)
                release.wait(30)
            return super()._load(*args)

    release = threading.Event()
    clips = Clips([Blocking(noise(0.1), 16_000, position) for position in range(4)])
    waveforms = iter_waveforms(clips, n_jobs=4)
    index, _ = next(waveforms)
    release.set()
    assert index == 0
    assert len(list(waveforms)) == 3


def test_n_jobs_zero_is_refused():
    with pytest.raises(ValueError, match="n_jobs"):
        load_waveforms([noise(0.1)] * 2, n_jobs=0)


@pytest.mark.slow
def test_in_worker_processes(write):
    paths = [write(f"{i}.wav", noise(0.1, seed=i)) for i in range(4)]
    clips = as_clips(paths)
    loaded = joblib.Parallel(n_jobs=2)(
        joblib.delayed(load_waveforms)(clips[i : i + 2]) for i in (0, 2)
    )
    assert [len(w) for part in loaded for w in part] == [1600] * 4


# Keys ---------------------------------------------------------------------------------------------


def test_a_key_names_the_content_of_a_file(write, tmp_path):
    a = write("a.wav", noise(0.1))
    b = write("b.wav", noise(0.1))
    c = write("c.wav", noise(0.1, seed=1))
    keys = [clip.key() for clip in as_clips([a, b, c, Path(a)])]
    assert keys[0] == keys[1] == keys[3] != keys[2]
    assert all(len(key) == 32 and set(key) <= set("0123456789abcdef") for key in keys)


def test_a_key_names_samples_type_and_rate():
    samples = (noise(0.1) * 1000).astype(np.int16)
    changed = samples.copy()
    changed[5] += 1
    items = [samples, samples.copy(), changed, samples.astype(np.int32), samples[:-1]]
    keys = [clip.key() for clip in as_clips([*items, (samples, 8000), (samples, 16_000)])]
    assert keys[0] == keys[1] == keys[6]
    assert len(set(keys)) == 5


def test_a_file_is_read_for_its_key_only_once(write, monkeypatch):
    path = write("a.wav", noise(0.1))
    an_hour_ago = time.time() - 3600
    os.utime(path, (an_hour_ago, an_hour_ago))
    first = as_clips([path])[0].key()
    monkeypatch.setattr(files, "digest_file", None)
    assert as_clips([path])[0].key() == first
    monkeypatch.chdir(os.path.dirname(path))
    assert as_clips(["a.wav"])[0].key() == first


def test_a_changed_file_has_another_key(write):
    path = write("a.wav", noise(0.1))
    seen = {as_clips([path])[0].key()}
    for seed in (1, 2, 3):  # of equal size, within the resolution of the file system's clock
        write("a.wav", noise(0.1, seed=seed))
        seen.add(as_clips([path])[0].key())
    assert len(seen) == 4
    an_hour_ago = time.time() - 3600
    os.utime(path, (an_hour_ago, an_hour_ago))
    known = as_clips([path])[0].key()
    write("a.wav", noise(0.1, seed=4))
    assert as_clips([path])[0].key() != known


def test_the_key_of_a_clip_stays(write):
    path = write("a.wav", noise(0.1))
    clip = as_clips([path])[0]
    before = clip.key()
    os.remove(path)
    assert clip.key() == before


class SlowToWrite(float):
    """A speed that lets others in while a key is made of it."""

    def __new__(cls, value):
        speed = super().__new__(cls, value)
        speed.reached, speed.go_on = threading.Event(), threading.Event()
        return speed

    def __rmul__(self, other):
        return self

    def __repr__(self):
        self.reached.set()
        self.go_on.wait(30)  # no assert: to explain its failure, pytest would call this again
        return "1.5"


def test_no_thread_sees_a_key_before_it_is_whole(write):
    path = write("a.wav", noise(0.1))
    for source in (path, noise(0.1)):
        speed = SlowToWrite(1.5)
        clip = as_clips([source])[0].variant(speed=speed)
        with ThreadPoolExecutor(2) as pool:
            first = pool.submit(clip.key)
            reached = speed.reached.wait(30)
            second = pool.submit(clip.key)
            wait([second], timeout=0.2)
            speed.go_on.set()  # before anything can fail: the pool waits for its threads
            keys = {first.result(30), second.result(30), clip.key()}
        assert reached
        assert len(keys) == 1
        assert keys.pop().endswith("-1.5-(0.0, None)")


def test_no_key_for_what_cannot_be_read(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"^no such file\.$"):
        as_clips([tmp_path / "none.wav"])[0].key()
    with pytest.raises(IsADirectoryError):
        as_clips([tmp_path])[0].key()


def test_the_memory_for_keys_is_bounded(write):
    keys = files.FileKeys(max_files=2)
    an_hour_ago = time.time() - 3600
    for i in range(4):
        path = write(f"{i}.wav", noise(0.1, seed=i))
        os.utime(path, (an_hour_ago, an_hour_ago))
        keys.get(path)
    assert len(keys._known) == 2


# Lengths and windows ------------------------------------------------------------------------------


def test_fix_length():
    waveform = np.arange(5, dtype=np.float32)
    np.testing.assert_array_equal(fix_length(waveform, 3), [0, 1, 2])
    np.testing.assert_array_equal(fix_length(waveform, 5), waveform)
    tiled = fix_length(waveform, 12)
    np.testing.assert_array_equal(tiled, [0, 1, 2, 3, 4, 0, 1, 2, 3, 4, 0, 1])
    assert tiled.dtype == np.float32
    np.testing.assert_array_equal(waveform, np.arange(5))
    with pytest.raises(ValueError, match="cannot be repeated"):
        fix_length(np.array([]), 3)


@pytest.mark.parametrize("n_samples", [1, 9, 10, 11, 14, 15, 16, 100, 101])
@pytest.mark.parametrize("hop", [1, 3, 5, 10, 12])
def test_windows_cover_the_clip(n_samples, hop):
    window = 10
    starts = window_starts(n_samples, window, hop)
    assert starts.dtype.kind == "i"
    assert starts[0] == 0
    if n_samples <= window:
        assert len(starts) == 1
        return
    assert starts[-1] + window == n_samples
    np.testing.assert_array_equal(starts[:-1], np.arange(len(starts) - 1) * hop)
    assert np.all(np.diff(starts) > 0)
    assert np.all(np.diff(starts) <= hop)


@pytest.mark.parametrize(("window", "hop"), [(0, 1), (1, 0), (-5, 2)])
def test_windows_need_samples(window, hop):
    with pytest.raises(ValueError, match="at least one sample"):
        window_starts(100, window, hop)


# AudioLoader --------------------------------------------------------------------------------------


def mean_and_spread(waveforms):
    return np.array([[w.mean(), w.std()] for w in waveforms])


@pytest.mark.parametrize("seconds", [[0.1, 0.1], [0.1, 0.2]], ids=["equal", "different"])
def test_loader_returns_an_object_array(seconds):
    X = [noise(s) for s in seconds]
    waveforms = AudioLoader().fit_transform(X)
    assert waveforms.shape == (2,)
    assert waveforms.dtype == object
    for waveform, expected in zip(waveforms, X, strict=True):
        assert waveform.dtype == np.float32
        np.testing.assert_array_equal(waveform, expected)
    twice = AudioLoader().transform(waveforms)
    np.testing.assert_array_equal(twice[1], X[1])


def test_loader_passes_its_parameters_on(write):
    X = [write("a.wav", noise(2)), noise(2, 8000), np.array([])]
    loader = AudioLoader(
        sampling_rate=8000, target_sampling_rate=4000, max_duration=0.5, n_jobs=2, errors="warn"
    )
    with pytest.warns(UserWarning, match="1 of 3 clips"):
        waveforms = loader.transform(X)
    assert [len(w) for w in waveforms] == [2000, 2000, 4000]


def test_loader_in_a_searched_pipeline(write):
    loud = [write(f"loud{i}.wav", noise(0.1, seed=i, scale=0.2)) for i in range(8)]
    soft = [(noise(0.1, 8000, seed=i, scale=0.02), 8000) for i in range(8)]
    y = ["loud"] * 8 + ["soft"] * 8
    pipeline = make_pipeline(
        AudioLoader(), FunctionTransformer(mean_and_spread), LogisticRegression(C=1e4)
    )
    search = GridSearchCV(pipeline, {"audioloader__max_duration": [0.01, None]}, cv=2, n_jobs=2)
    search.fit(loud + soft, y)
    assert search.best_score_ == 1
    assert pickle.loads(pickle.dumps(search)).predict([loud[0], soft[0]]).tolist() == [
        "loud",
        "soft",
    ]
    search.fit(as_clips(loud + soft), y)
    assert search.predict(as_clips(soft)).tolist() == ["soft"] * 8


def test_loader_is_cloned_pickled_and_set():
    loader = AudioLoader(max_duration=2, errors="warn")
    assert clone(loader).get_params() == loader.get_params()
    assert pickle.loads(pickle.dumps(loader)).get_params() == loader.get_params()
    assert loader.set_params(n_jobs=2).n_jobs == 2
    assert repr(loader) == "AudioLoader(errors='warn', max_duration=2, n_jobs=2)"


@pytest.mark.parametrize(
    "params",
    [
        {"sampling_rate": 0},
        {"sampling_rate": "16000"},
        {"target_sampling_rate": np.nan},
        {"max_duration": 0},
        {"n_jobs": 1.5},
        {"errors": "ignore"},
    ],
)
def test_loader_checks_its_parameters(params):
    (name,) = params
    loader = AudioLoader(**params)
    with pytest.raises(ValueError, match=f"The '{name}' parameter of AudioLoader must be"):
        loader.fit([noise(0.1)])
    with pytest.raises(ValueError, match=f"The '{name}' parameter of AudioLoader must be"):
        loader.transform([noise(0.1)])


def test_loader_fits_without_decoding():
    assert isinstance(AudioLoader().fit(["not-there.wav"]), AudioLoader)
    with pytest.raises(AudioError):
        AudioLoader().fit(["not-there.wav", None])


class StackedLoader(AudioLoader):
    """scikit-learn's checks compare results as numbers, which object arrays do not allow."""

    def transform(self, X):
        return np.stack(super().transform(X))

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.transformer_tags.preserves_dtype = ["float32"]
        return tags


def test_loader_passes_the_checks_of_scikit_learn():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", SkipTestWarning)
        results = check_estimator(
            StackedLoader(),
            expected_failed_checks={
                "check_n_features_in_after_fitting": "clips may differ in length from call to call"
            },
        )
    assert sum(result["status"] == "passed" for result in results) >= 43


# Real recordings ----------------------------------------------------------------------------------


@pytest.mark.data
@pytest.mark.parametrize(
    ("folder", "n_clips"), [("fsdd/recordings", 3000), ("emodb/wav", 535)], ids=["fsdd", "emodb"]
)
@pytest.mark.slow
def test_real_recordings(data_home, folder, n_clips):
    paths = sorted((data_home / folder).glob("*.wav"))
    assert len(paths) == n_clips
    clips = as_clips(paths)
    n_seen = 0
    for index, waveform in iter_waveforms(clips):
        assert len(waveform) == pytest.approx(clips[index].duration() * 16_000, abs=1)
        assert 0.001 < np.abs(waveform).max() <= 1.1
        n_seen += 1
    assert n_seen == n_clips


def test_chunks_hold_all_waveforms_in_order_and_no_more_seconds_than_asked_but_one_clip():
    waveforms = [np.full(n, n) for n in (8000, 8000, 50_000, 100, 100)]

    chunks = list(in_chunks(iter(waveforms), 1.0))

    assert [[len(waveform) for waveform in chunk] for chunk in chunks] == [
        [8000, 8000],
        [50_000],
        [100, 100],
    ]
    assert list(in_chunks([], 1.0)) == []
