"""What runs a candidate, here and elsewhere: it is given up in time, and leaves nothing behind."""

import contextlib
import importlib
import multiprocessing
import os
import pickle
import queue
import signal
import subprocess
import sys
import tempfile
import textwrap
import threading
import time
import warnings
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from pathlib import Path

import fake_candidates as fake
import numpy as np
import psutil
import pytest
from sklearn import get_config
from sklearn.linear_model import LogisticRegression
from sklearn.naive_bayes import GaussianNB
from sklearn.pipeline import make_pipeline, make_union
from test_time_budget import (
    BAYES,
    LINEAR,
    X,
    failure,
    marked_processes,
    nothing_left,  # noqa: F401
    y,
)
from threadpoolctl import threadpool_info, threadpool_limits

from skspeech import Candidate, TimeBudgetClassifier
from skspeech._stopping import Stopped  # what ends a job from inside
from skspeech._threads import forget_limits, limited_threads, loaded  # the unit here
from skspeech.audio import AudioError
from skspeech.estimators import ShrinkageDiscriminantAnalysis, WideLogisticRegression
from skspeech.time_budget import policy
from skspeech.time_budget.features import Data, SharedFeatures, share_features
from skspeech.time_budget.state import CandidateState, Job, RunState
from skspeech.time_budget.workers.here import Work
from skspeech.time_budget.workers.pools import ExecutorPool
from skspeech.time_budget.workers.process import WorkerProcess, kill_marked
from skspeech.time_budget.workers.tasks import quiet_fits

pytestmark = [pytest.mark.alone, pytest.mark.usefixtures("no_repeats")]
TESTS = str(Path(__file__).parent)


def wait_until(condition, seconds=20):
    """Wait for something that comes soon; whether it has come."""
    end = time.monotonic() + seconds
    while not condition() and time.monotonic() < end:
        time.sleep(0.05)
    return condition()


def run_script(code, *arguments, **options):
    """Run a script that may import the fakes; what it printed and how it ended."""
    code = f"import sys; sys.path.insert(0, {TESTS!r})\n" + textwrap.dedent(code)
    return subprocess.run(
        [sys.executable, "-c", code, *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=120,
        **options,
    )


def members(clf):
    return {name for name, _ in clf.ensemble_.estimators}


# -------------------------------------------------------------------------- there is a model


def slow_scorer(estimator, X, y):
    time.sleep(1)
    return estimator.score(X, y)


def test_a_slow_scorer_leaves_a_model_at_the_deadline():
    clf = TimeBudgetClassifier([BAYES, LINEAR], scoring=slow_scorer, time_budget=2.5)
    assert members(clf.fit(X, y)) <= {"bayes", "linear"}
    assert clf.score(X, y) > 0.9


def test_a_coordinator_that_is_late_ends_quietly_when_its_run_is_kept():
    clf = TimeBudgetClassifier(
        [BAYES, LINEAR], scoring=slow_scorer, time_budget=2.5, warm_start=True
    )
    clf.fit(X, y)  # an error in a thread fails the test
    assert wait_until(lambda: not [t for t in threading.enumerate() if t.name == "skspeech"])


def test_a_coordinator_that_is_stuck_does_not_hold_up_its_caller():
    release = threading.Event()

    def stuck(estimator, X, y):
        if threading.current_thread().name == "skspeech":  # not when it is tried before the run
            release.wait(60)
        return estimator.score(X, y)

    clf = TimeBudgetClassifier([BAYES, LINEAR], scoring=stuck, time_budget=4).fit(X, y)
    assert [t for t in threading.enumerate() if t.name == "skspeech"], "it was waited for"
    release.set()
    assert members(clf) <= {"bayes", "linear"}
    assert clf.score(X, y) > 0.9
    assert wait_until(lambda: not [t for t in threading.enumerate() if t.name == "skspeech"])


class ColdEmbedding(fake.SlowEmbedding):
    """What it imports takes long, the first time."""

    calls = 0

    def transform(self, X):
        type(self).calls += 1
        if type(self).calls == 1:
            time.sleep(3)
        return super().transform(X)


@pytest.mark.parametrize("other", [None, pytest.param(BAYES, marks=pytest.mark.slow)])
def test_imports_are_not_the_candidates_fault(other, monkeypatch):
    monkeypatch.setattr(ColdEmbedding, "calls", 0)
    cold = ("cold", make_pipeline(ColdEmbedding(), LogisticRegression(max_iter=1000)))
    candidates = [cold] if other is None else [cold, other]
    clf = TimeBudgetClassifier(candidates, time_budget=7).fit(X, y)
    assert "cold" in members(clf) or clf.results_["status"][0] == "ok"
    assert "prior" not in members(clf)


@pytest.mark.slow
def test_a_candidate_that_is_late_once_is_tried_again(monkeypatch):
    monkeypatch.setattr(ColdEmbedding, "calls", 0)
    monkeypatch.setattr(policy, "COLD_START", 0.5)
    monkeypatch.setattr(policy, "PATIENCE", 0.01)
    cold = ("cold", make_pipeline(ColdEmbedding(), LogisticRegression(max_iter=1000)))
    told = []
    clf = TimeBudgetClassifier([BAYES, cold], time_budget=30, callbacks=told.append).fit(X, y)
    assert [e["candidate"] for e in told if e["event"] == "failure"] == ["cold"]
    assert list(clf.results_["status"]) == ["ok", "ok"]
    assert clf.failures_ == []


class BySize(fake.SlowEmbedding):
    """Takes long for long clips."""

    def transform(self, X):
        time.sleep(sum(map(len, X)) / 1_000_000)
        return np.array([[clip.mean(), clip.std()] for clip in X])


@pytest.mark.slow
def test_one_long_clip_does_not_hold_up_the_others():
    rng = np.random.default_rng(0)
    clips = [rng.normal(i % 2, 1, 10_000_000 if i == 0 else 1000).astype("f4") for i in range(20)]
    candidates = [("bayes", make_pipeline(BySize(), GaussianNB()))]
    clf = TimeBudgetClassifier(candidates, time_budget=4, n_jobs=1).fit(clips, np.arange(20) % 2)
    assert members(clf) == {"bayes"}
    assert clf.score(clips[1:], np.arange(1, 20) % 2) > 0.9


class Unreadable(fake.SlowEmbedding):
    """Finds at once that a row cannot be read, and takes long to list all of these."""

    def transform(self, X):
        if len(X) == len(y):
            time.sleep(8)
        raise AudioError([(0, "clip 0", "it is no sound")], len(X))


def test_unreadable_clips_are_the_reason_also_where_listing_them_takes_too_long():
    candidates = [("one", make_pipeline(Unreadable(), GaussianNB()))]
    with pytest.raises(AudioError, match="it is no sound"):
        TimeBudgetClassifier(candidates, time_budget=4).fit(X, y)


def test_unreadable_clips_are_the_reason_although_others_had_no_time():
    never = make_pipeline(fake.SlowEmbedding(seconds=30), LogisticRegression())
    candidates = [("one", make_pipeline(Unreadable(), GaussianNB())), ("two", never)]
    with pytest.raises(AudioError, match="it is no sound"):
        TimeBudgetClassifier(candidates, time_budget=4).fit(X, y)


def test_without_a_folder_for_files_what_runs_here_goes_on(monkeypatch, tmp_path):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "missing"))
    clf = TimeBudgetClassifier([BAYES, ("worker", fake.Logistic())], time_budget=10).fit(X, y)
    assert members(clf) == {"bayes"}
    assert "FileNotFoundError" in failure(clf, "worker")


# -------------------------------------------------------------------------- the first answer


class Counted(fake.SlowEmbedding):
    seen = 0


@pytest.fixture
def held():
    """A run whose caller has the first snapshot, and does not ask for the next one."""

    def start(budget):
        Counted.seen = 0
        slow = make_pipeline(Counted(seconds=0.02), LogisticRegression(max_iter=1000))
        candidates = [("slow", slow), ("worker", fake.Logistic())]
        clf = TimeBudgetClassifier(candidates, time_budget=budget, random_state=0)
        snapshots = clf.iter_fit(X, y)
        next(snapshots)
        runs.append(snapshots)
        return clf, snapshots

    runs = []
    yield start
    for snapshots in runs:
        snapshots.close()


@pytest.mark.slow
def test_nothing_computes_while_the_caller_has_the_first_snapshot(held):
    clf, snapshots = held(60)  # a pause of six seconds at most
    seen = Counted.seen
    assert 0 < seen < len(X)
    time.sleep(2)
    assert Counted.seen == seen
    assert not marked_processes()
    list(snapshots)
    assert list(clf.results_["status"]) == ["ok", "ok"]


def test_work_goes_on_when_the_pause_is_over(held):
    held(15)
    seen = Counted.seen
    assert wait_until(lambda: Counted.seen > seen)


@pytest.mark.slow
def test_a_run_ends_although_its_caller_holds_a_snapshot():
    clf = TimeBudgetClassifier([BAYES, ("sleeper", fake.Sleeper())], time_budget=4)
    snapshots = clf.iter_fit(X, y)
    next(snapshots)
    assert wait_until(marked_processes)
    assert wait_until(lambda: not marked_processes())
    assert wait_until(lambda: not list(Path(tempfile.gettempdir()).glob("skspeech-*")))
    list(snapshots)
    assert clf.score(X, y) > 0.9


def test_files_of_a_process_that_is_killed_while_it_writes_them_go(tmp_path):
    done = run_script(
        """
        import os, signal
        import fake_candidates as fake
        from skspeech import TimeBudgetClassifier
        from skspeech.time_budget.workers import rows
        from test_time_budget import X, y

        def killed(value, path):
            open(path, "wb").close()
            os.kill(os.getpid(), signal.SIGKILL)

        rows.joblib.dump = killed
        TimeBudgetClassifier([("worker", fake.Logistic())], time_budget=30).fit(X, y)
        """,
        env={**os.environ, "TMPDIR": str(tmp_path)},
    )
    assert done.returncode == -signal.SIGKILL
    assert wait_until(lambda: not list(tmp_path.glob("skspeech-*")))


# -------------------------------------------------------------------------- threads


def blas_threads():
    return [i["num_threads"] for i in threadpool_info() if i["user_api"] == "blas"]


@pytest.fixture
def two_blas_threads():
    """Also where the tests run with one: something to be restored."""
    with threadpool_limits(2):
        pass
    libraries = {library: library.num_threads for library in _blas()}

    def set_threads(counts):
        for library, count in counts.items():
            library.set_num_threads(count)
            library.clear_controlling_thread()

    set_threads(dict.fromkeys(libraries, 2))
    before = blas_threads()
    assert set(before) == {2}
    yield before
    assert blas_threads() == before
    set_threads(libraries)


def _blas():
    from threadpoolctl import ThreadpoolController

    return ThreadpoolController().select(internal_api="openblas").lib_controllers


@pytest.mark.usefixtures("two_blas_threads")
def test_limits_of_blas_that_overlap_in_two_threads_are_taken_back():
    inside, leave = [threading.Event(), threading.Event()], [threading.Event(), threading.Event()]

    def work(i):
        with limited_threads(1):
            inside[i].set()
            leave[i].wait(20)

    threads = [threading.Thread(target=work, args=(i,)) for i in range(2)]
    for i, thread in enumerate(threads):
        thread.start()
        assert inside[i].wait(20)
    for i, thread in enumerate(threads):
        assert set(blas_threads()) == {1}
        leave[i].set()
        thread.join()


@pytest.mark.usefixtures("two_blas_threads")
def test_limits_of_blas_may_be_nested():
    with limited_threads(1):
        with limited_threads(2), limited_threads(None):
            assert set(blas_threads()) == {2}
        assert set(blas_threads()) == {1}


class _Counting(GaussianNB):
    counted = []

    def fit(self, X, y):
        self.counted.append(blas_threads())
        return super().fit(X, y)


@pytest.mark.usefixtures("two_blas_threads")
@pytest.mark.parametrize("where", ["discriminant", "logistic", "run"])
def test_linear_algebra_of_heads_has_one_thread(where, monkeypatch):
    counted = []
    if where == "run":
        monkeypatch.setattr(_Counting, "counted", counted)
        wide = np.tile(X, 12_000)  # however much there is to do
        TimeBudgetClassifier([Candidate("it", _Counting(), where="main")], time_budget=20).fit(
            wide, y
        )
    else:
        module = importlib.import_module(f"skspeech.estimators.{where}")
        original = module.stratified_folds

        def folds(*args, **kwargs):
            counted.append(blas_threads())
            return original(*args, **kwargs)

        monkeypatch.setattr(module, "stratified_folds", folds)
        {"discriminant": ShrinkageDiscriminantAnalysis, "logistic": WideLogisticRegression}[
            where
        ]().fit(X, y)
    assert counted
    assert {count for counts in counted for count in counts} == {1}


@pytest.mark.usefixtures("two_blas_threads")
def test_limits_of_a_thread_that_was_left_behind_are_taken_back():
    inside, leave = threading.Event(), threading.Event()

    def work():
        with limited_threads(1):
            inside.set()
            leave.wait(20)

    thread = threading.Thread(target=work)
    thread.start()
    assert inside.wait(20)
    forget_limits(thread)
    assert set(blas_threads()) == {2}
    with limited_threads(1):
        leave.set()
        thread.join()  # it is late, and takes nothing back that is not its own
        assert set(blas_threads()) == {1}


@pytest.mark.usefixtures("two_blas_threads")
def test_a_limit_of_the_callers_own_stands():
    def work():
        with limited_threads(2):
            seen.append(blas_threads())

    seen = []
    with threadpool_limits(1):
        thread = threading.Thread(target=work)
        thread.start()
        thread.join()
        assert set(blas_threads()) == {1}
    assert set(seen[0]) == {1}


def test_a_thread_that_was_left_behind_limits_nothing_any_more(two_blas_threads):
    def work():
        goes_on.wait(20)
        with limited_threads(1):
            seen.append(blas_threads())

    seen, goes_on = [], threading.Event()
    thread = threading.Thread(target=work)
    thread.start()
    forget_limits(thread)
    goes_on.set()
    thread.join()
    assert seen == [two_blas_threads]


class Waits(fake.SlowEmbedding):
    """Its first steps wait for the end of the test."""

    end = threading.Event()

    def transform(self, X):
        self.end.wait(60)
        return super().transform(X)


def test_blas_has_its_threads_although_a_thread_was_left_behind(two_blas_threads, monkeypatch):
    monkeypatch.setattr(Waits, "end", threading.Event())
    before = set(threading.enumerate())
    clf = TimeBudgetClassifier([("waits", make_pipeline(Waits(), GaussianNB()))], time_budget=1)
    with pytest.warns(UserWarning, match="frequencies"):
        clf.fit(X, y)
    assert blas_threads() == two_blas_threads
    Waits.end.set()
    assert wait_until(
        lambda: not {t for t in threading.enumerate() if "skspeech" in t.name} - before
    )


@pytest.mark.slow
def test_two_fits_in_two_threads_leave_no_setting_behind(two_blas_threads):
    candidates = [BAYES, LINEAR, ("worker", fake.Logistic())]
    filters = list(warnings.filters)
    fitted = []

    def fit():
        fitted.append(TimeBudgetClassifier(candidates, time_budget=15).fit(X, y))

    threads = [threading.Thread(target=fit) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [set(clf.results_["status"]) for clf in fitted] == [{"ok"}, {"ok"}]
    assert blas_threads() == two_blas_threads
    assert warnings.filters == filters


def test_filters_are_taken_back_although_another_thread_saved_them_meanwhile():
    before = list(warnings.filters)
    other = warnings.catch_warnings()
    with quiet_fits():
        other.__enter__()
    other.__exit__()
    assert warnings.filters == before


@pytest.mark.slow
def test_two_fits_in_two_threads_of_a_fresh_process():
    result = run_script(
        """
        import threading, numpy as np
        from sklearn.linear_model import LogisticRegression
        from sklearn.pipeline import make_pipeline
        from skspeech import SpectralStatistics, TimeBudgetClassifier

        rng = np.random.default_rng(0)
        X, y = [rng.normal(0, 0.1, 8000).astype("f4") for _ in range(30)], np.arange(30) % 2

        def fit():
            spectral = make_pipeline(SpectralStatistics(), LogisticRegression(max_iter=1000))
            clf = TimeBudgetClassifier([("spectral", spectral)], time_budget=30, random_state=0)
            print(clf.fit(X, y).failures_, flush=True)

        threads = [threading.Thread(target=fit) for _ in range(2)]
        [t.start() for t in threads]
        [t.join() for t in threads]
        """
    )
    assert result.returncode == 0, result.stderr
    assert result.stdout.count("[") == 2
    assert "initialized module" not in result.stdout  # what is imported is not used half-made


def test_a_module_is_loaded_only_when_its_import_is_done(tmp_path, monkeypatch):
    (tmp_path / "takes_long.py").write_text(
        "import time\nbegun = True\nwhile not globals().get('go'): time.sleep(0.01)\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    assert loaded("takes_long") is None
    thread = threading.Thread(target=__import__, args=("takes_long",))
    thread.start()
    assert wait_until(lambda: hasattr(sys.modules.get("takes_long"), "begun"))
    assert loaded("takes_long") is None
    sys.modules["takes_long"].go = True
    thread.join()
    assert loaded("takes_long") is sys.modules.pop("takes_long")


def test_a_thread_that_was_left_behind_does_not_write_into_the_features():
    inside, leave = threading.Event(), threading.Event()

    class Late(fake.SlowEmbedding):
        def transform(self, X):
            if len(X) > 4:  # it is warm
                inside.set()
                leave.wait(20)
                return np.full(np.shape(X), np.nan)
            return super().transform(X)

    codes = np.asarray(y)
    features = SharedFeatures("late", [("late", Late())])
    data, state = Data(X, y, codes), RunState(60.0, len(X), len(X), 3)
    work = Work(data, np.unique(y), np.arange(len(X)), state)
    job = Job("first", CandidateState(0, fake_candidate(), features, GaussianNB(), "main"))
    posted, ended = [], []

    def run():
        try:
            work.run(job, lambda *news: posted.append(news))
        except Stopped:
            ended.append(True)

    thread = threading.Thread(target=run)
    thread.start()
    assert inside.wait(20)
    level = features.level
    job.stopped = True
    leave.set()
    thread.join()
    assert ended == [True]
    assert features.level == level == 4
    np.testing.assert_array_equal(features.matrix[:4], X[:4])
    assert [kind for kind, *_ in posted] == ["embedded"]


def test_rows_follow_those_that_a_thread_that_was_left_behind_still_writes():
    features = SharedFeatures("slow", [("slow", fake.SlowEmbedding())])
    data, state = Data(X, y, np.asarray(y)), RunState(60.0, len(X), len(X), 3)
    order = np.arange(len(X))[::-1]
    work = Work(data, np.unique(y), order, state)
    job = Job("first", CandidateState(0, fake_candidate(), features, GaussianNB(), "main"))
    thread = threading.Thread(target=work.run, args=(job, lambda *news: None))
    with features.lock:
        thread.start()
        thread.join(0.2)
        features.store([(order[:10], X[order[:10]])], len(X))
    thread.join(20)
    assert features.level == len(X)
    np.testing.assert_array_equal(features.take(order), X[order])


def test_the_parts_of_a_union_share_the_time_for_its_rows():
    slow = [fake.SlowEmbedding(seconds=0.01, power=power) for power in (1.0, 2.0)]
    features = share_features([("both", make_union(*slow))], {})
    data, state = Data(X, y, np.asarray(y)), RunState(60.0, len(X), len(X), 3)
    work = Work(data, np.unique(y), np.arange(len(X)), state)
    job = Job("validate", CandidateState(0, fake_candidate(), features, GaussianNB(), "main"))
    work._embed(job, len(X), lambda *news: None, 1.5)
    level = features.level
    # All rows of one part would take all the time; of both, half of the rows can be done.
    assert 45 < level < 100
    assert [part.level for part in features.parts] == pytest.approx([level, level], rel=0.3)


def fake_candidate():
    from skspeech import Candidate

    return Candidate("late", GaussianNB())


# -------------------------------------------------------------------------- processes


@pytest.fixture
def worker(tmp_path):
    folder = str(tmp_path / "exchange")
    worker = WorkerProcess(queue.Queue(), 1, folder)
    yield worker
    worker.kill()
    kill_marked(folder)
    worker.release(5)
    assert wait_until(lambda: not any(thread.is_alive() for thread in worker._threads))


def test_a_task_for_a_worker_that_does_not_read_is_handed_over_at_once(worker):
    worker.inbox.get(timeout=60)  # it is ready
    os.kill(worker.process.pid, signal.SIGSTOP)
    submit = threading.Thread(target=worker.submit, args=({"task": bytes(50_000_000)},))
    submit.start()
    submit.join(20)
    assert not submit.is_alive()
    worker.kill()
    worker.release(20)
    assert worker.process.returncode == -signal.SIGKILL


def test_only_a_group_whose_leader_is_not_reaped_is_killed(worker, monkeypatch):
    killed = []
    killpg = os.killpg

    def record(pid, number):
        os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT)  # raises if it is reaped
        killed.append(pid)
        killpg(pid, number)

    monkeypatch.setattr(os, "killpg", record)
    os.kill(worker.process.pid, signal.SIGKILL)
    while worker.inbox.get(timeout=60)[1] != "died":
        pass
    assert killed == [worker.process.pid]
    worker.kill()
    worker.release()
    assert killed == [worker.process.pid]


@pytest.mark.slow
def test_what_outlives_its_worker_does_not_hold_up_the_run():
    candidates = [BAYES, ("leaves", fake.LeavesAndDies()), ("logistic", fake.Logistic())]
    clf = TimeBudgetClassifier(candidates, time_budget=30, n_jobs=1).fit(X, y)
    assert "exit code 3" in failure(clf, "leaves")
    assert list(clf.results_["status"]) == ["ok", "failed", "ok"]
    assert clf.timing_["total"] < 30


def test_a_fork_of_the_caller_leaves_the_run_alone():
    clf = TimeBudgetClassifier([BAYES, ("sleeper", fake.Sleeper())], time_budget=30)
    snapshots = clf.iter_fit(X, y)
    next(snapshots)
    assert wait_until(marked_processes)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Python warns of forks where there are threads
        pid = os.fork()
    if pid == 0:
        with contextlib.suppress(BaseException):
            snapshots.close()
        os._exit(0)
    os.waitpid(pid, 0)
    assert marked_processes()
    snapshots.close()


KILLED = """
import signal

import fake_candidates as fake
from sklearn.datasets import load_iris
from sklearn.naive_bayes import GaussianNB
from skspeech import Candidate, TimeBudgetClassifier

signal.signal(signal.SIGHUP, signal.SIG_DFL)  # which nohup has its children ignore
X, y = load_iris(return_X_y=True)
candidates = [("bayes", GaussianNB()), ("one", fake.Sleeper()), ("two", fake.Forker())]
show = lambda event: print(event["event"], event.get("candidate"), flush=True)
TimeBudgetClassifier(candidates, time_budget=120, n_jobs=2, callbacks=show).fit(X, y)
"""


@pytest.mark.parametrize(
    "number",
    [
        signal.SIGKILL,
        pytest.param(signal.SIGTERM, marks=pytest.mark.slow),
        pytest.param(signal.SIGHUP, marks=pytest.mark.slow),
    ],
)
def test_files_and_processes_of_a_killed_process_disappear(number, tmp_path):
    code = f"import sys; sys.path.insert(0, {TESTS!r})\n{KILLED}"
    process = subprocess.Popen(
        [sys.executable, "-c", code],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "TMPDIR": str(tmp_path)},
    )
    for line in process.stdout:
        if line.startswith("task one"):
            break
    children = psutil.Process(process.pid).children(recursive=True)
    assert wait_until(lambda: list(tmp_path.glob("skspeech-*/*.joblib")))
    process.send_signal(number)
    process.communicate(timeout=20)
    assert process.returncode == -number
    _, alive = psutil.wait_procs(children, timeout=20)
    assert not alive
    assert wait_until(lambda: not list(tmp_path.glob("skspeech-*")))


@pytest.mark.slow
def test_a_process_with_a_long_clip_in_the_works_ends_well():
    result = run_script(
        """
        import warnings
        warnings.simplefilter("ignore")
        import numpy as np
        from skspeech import TimeBudgetClassifier

        rng = np.random.default_rng(0)
        X = [rng.normal(0, 0.1, 16000 * (3600 if i == 0 else 1)).astype("f4") for i in range(20)]
        clf = TimeBudgetClassifier(time_budget=3, random_state=0, n_jobs=1)
        print(len(clf.fit(X, ["a", "b"] * 10).classes_), flush=True)
        """
    )
    assert result.stdout == "2\n", result.stderr
    assert result.returncode == 0, result.stderr


def test_what_a_candidate_still_uses_is_there_until_it_ends():
    result = run_script(
        """
        import atexit, time
        import fake_candidates as fake, numpy as np
        from sklearn.naive_bayes import GaussianNB
        from sklearn.pipeline import make_pipeline
        from skspeech import TimeBudgetClassifier

        class Slow(fake.SlowEmbedding):
            is_library_there, is_over = False, False

            def transform(self, X):
                if not Slow.is_library_there:  # another try may begin too late to be called back
                    atexit.register(print, "a library is taken down", flush=True)
                    Slow.is_library_there = True
                while not Slow.is_over:
                    time.sleep(0.01)
                time.sleep(0.5)
                print("computed", flush=True)
                return X

        candidates = [("bayes", GaussianNB()), ("slow", make_pipeline(Slow(), GaussianNB()))]
        X, y = np.eye(20), np.arange(20) % 2
        TimeBudgetClassifier(candidates, time_budget=3).fit(X, y)
        print("fitted", flush=True)
        Slow.is_over = True
        """
    )
    told = result.stdout.splitlines()  # the candidate may have been tried twice
    n_tries = told.count("computed")
    assert n_tries > 0
    assert told == ["fitted", *["computed"] * n_tries, "a library is taken down"]
    assert result.returncode == 0, result.stderr


@pytest.mark.slow
def test_a_process_that_ends_waits_for_an_import_to_be_over(tmp_path):
    (tmp_path / "takes_long.py").write_text("import time\ntime.sleep(7)\nprint('imported')\n")
    result = run_script(
        """
        import fake_candidates as fake, numpy as np
        from sklearn.naive_bayes import GaussianNB
        from sklearn.pipeline import make_pipeline
        from skspeech import TimeBudgetClassifier

        class Imports(fake.SlowEmbedding):
            def transform(self, X):
                import takes_long
                return X

        candidates = [("imports", make_pipeline(Imports(), GaussianNB()))]
        X, y = np.eye(20), np.arange(20) % 2
        TimeBudgetClassifier(candidates, time_budget=0.5).fit(X, y)
        print("fitted", flush=True)
        """,
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(tmp_path), *sys.path])},
    )
    assert result.stdout == "fitted\nimported\n", result.stderr
    assert result.returncode == 0, result.stderr


@pytest.mark.slow
def test_the_command_ends_although_an_import_goes_on(tmp_path):
    (tmp_path / "takes_long.py").write_text("import time\ntime.sleep(300)\n")
    result = run_script(
        """
        import queue, threading
        from types import SimpleNamespace
        import skspeech.cli, skspeech.time_budget.session
        from skspeech.time_budget.workers.here import WorkThread

        begun = threading.Event()

        def imports(job, post):
            begun.set()
            import takes_long

        WorkThread(queue.SimpleQueue()).start(SimpleNamespace(stopped=False), imports)
        begun.wait()
        print("told", flush=False)
        skspeech.cli.main = lambda: 2
        skspeech.cli.run()
        """,
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(tmp_path), *sys.path])},
    )
    assert (result.stdout, result.stderr, result.returncode) == ("told\n", "", 2)


# -------------------------------------------------------------------------- executors


class Values:
    """Rows as an executor gets them."""

    def values(self):
        return X, y, X


def test_time_in_the_queue_of_an_executor_is_not_counted():
    from skspeech.time_budget.workers.tasks import Task

    release = threading.Event()
    inbox = queue.Queue()
    entry = CandidateState(0, fake_candidate(), None, GaussianNB(), "worker")
    job = Job("validate", entry, (0,), limit=0.0)
    with ThreadPoolExecutor(1) as executor:
        executor.submit(release.wait, 60)
        pool = ExecutorPool(executor, 1, inbox)
        pool.start(job, Task(fake.Waiter(), np.unique(y)), Values(), 60.0)
        time.sleep(0.3)
        assert pool.troubled() == []
        release.set()
        assert wait_until(lambda: pool.troubled() == [(job, None, "")])
        fake.Waiter.end.set()
    assert inbox.get(timeout=20)[:2] == (job, "outcome")


class _Settings(GaussianNB):
    """Knows scikit-learn's settings."""

    def fit(self, X, y):
        self.config_ = get_config()
        return super().fit(X, y)


def test_settings_that_are_not_to_be_had_elsewhere_do_not_matter(monkeypatch):
    from skspeech.time_budget.workers.tasks import Task, executor_task

    monkeypatch.delenv("SCIPY_ARRAY_API", raising=False)  # without it, scikit-learn refuses
    config = {"of_a_newer_one": 1, "array_api_dispatch": True, "working_memory": 99}
    task = Task(_Settings(), np.unique(y), config=config)
    (kind, outcome), _ = executor_task(pickle.dumps((task, X, y, X, 1)))
    assert kind == "outcome"
    assert outcome.model.load().config_ == {**get_config(), "working_memory": 99}


class _Threads(GaussianNB):
    """Knows how many threads OpenMP had for it."""

    def fit(self, X, y):
        libraries = [i for i in threadpool_info() if i["user_api"] == "openmp"]
        self.n_threads_ = {library["num_threads"] for library in libraries}
        return super().fit(X, y)


def test_what_is_trained_in_a_fork_does_not_wait_for_threads_of_its_parent():
    from skspeech.time_budget.workers.tasks import Task

    job = Job("validate", CandidateState(0, fake_candidate(), None, GaussianNB(), "worker"), (0,))
    with ProcessPoolExecutor(1, multiprocessing.get_context("fork")) as executor:
        pool = ExecutorPool(executor, 4, queue.Queue())
        pool.start(job, Task(_Threads(), np.unique(y)), Values(), 60.0)
        _, kind, outcome = pool.inbox.get(timeout=60)
    assert (kind, outcome.model.load().n_threads_) == ("outcome", {1})


@pytest.mark.parametrize("kind", [ThreadPoolExecutor, ProcessPoolExecutor])
@pytest.mark.slow
def test_an_executor_that_was_shut_down_is_replaced(kind):
    executor = kind(1)
    executor.shutdown()
    candidates = [BAYES, ("logistic", fake.Logistic())]
    clf = TimeBudgetClassifier(candidates, time_budget=30, executor=executor).fit(X, y)
    assert list(clf.results_["status"]) == ["ok", "ok"]
    assert clf.failures_ == []
