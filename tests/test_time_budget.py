"""The promise of the time budget, kept with well-behaved candidates and with all others."""

import json
import os
import pickle
import queue
import re
import signal
import subprocess
import sys
import tempfile
import textwrap
import threading
import time
import warnings
from concurrent.futures import Future, ProcessPoolExecutor, ThreadPoolExecutor
from pathlib import Path

import fake_candidates as fake
import joblib
import numpy as np
import pandas as pd
import psutil
import pytest
from expected_failures import expected_failures
from sklearn.base import clone
from sklearn.datasets import load_digits, load_iris
from sklearn.dummy import DummyClassifier
from sklearn.ensemble import RandomForestClassifier
from sklearn.exceptions import NotFittedError
from sklearn.feature_extraction.text import HashingVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, StratifiedKFold, cross_val_score
from sklearn.naive_bayes import GaussianNB
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import FeatureUnion, Pipeline, make_pipeline, make_union
from sklearn.preprocessing import FunctionTransformer, StandardScaler
from sklearn.svm import LinearSVC
from sklearn.utils.estimator_checks import parametrize_with_checks
from sounds import labelled_tones

from skspeech import (
    Candidate,
    GeometricMeanVotingClassifier,
    KeywordEmbedding,
    ShrinkageDiscriminantAnalysis,
    SpeakerEmbedding,
    SpectralStatistics,
    TimeBudgetClassifier,
)
from skspeech._cores import effective_cores  # a pure function
from skspeech._stopping import Stopped  # what ends a job from inside
from skspeech.ensemble.calibration import at_temperature
from skspeech.time_budget.workers.pools import LocalPool
from skspeech.time_budget.workers.process import WorkerProcess
from skspeech.weights import WeightsNotFoundError
from skspeech.weights._common import CommandError  # what a failing pip is told by

X, y = load_iris(return_X_y=True)
X_digits, y_digits = load_digits(return_X_y=True)
LINEAR = ("linear", LogisticRegression(max_iter=1000))
BAYES = ("bayes", GaussianNB())
pytestmark = [pytest.mark.alone, pytest.mark.usefixtures("no_repeats")]
SLACK = 2.5  # the promise allows one second; nothing is tried twice, and machines may be busy


@pytest.fixture(autouse=True)
def nothing_left(tmp_path, monkeypatch):
    """No process, thread or file may be left by any test."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temp"))
    (tmp_path / "temp").mkdir()
    yield
    assert not marked_processes()
    assert not list((tmp_path / "temp").glob("skspeech-*"))


def marked_processes():
    """Living processes that a session of this process started, or that those started."""
    time.sleep(0.1)
    marked, ours = [], f"skspeech-{os.getpid()}-"
    for process in psutil.process_iter():
        try:
            alive = process.status() != psutil.STATUS_ZOMBIE
            if alive and ours in process.environ().get("SKSPEECH_WORKER", ""):
                marked.append(process)
        except psutil.Error:
            continue
    return marked


def timed_fit(classifier, X=X, y=y, **kwargs):
    start = time.monotonic()
    classifier.fit(X, y, **kwargs)
    elapsed = time.monotonic() - start
    assert elapsed < classifier.time_budget + max(SLACK, 0.03 * classifier.time_budget)
    return classifier


def failure(classifier, name):
    return "\n".join(f"{e}\n{t}" for n, e, t in classifier.failures_ if n == name)


# -------------------------------------------------------------------------- the ordinary run


def test_ends_early_with_all_candidates_validated():
    clf = timed_fit(TimeBudgetClassifier([LINEAR, BAYES], time_budget=30, random_state=0))
    assert clf.timing_["total"] < 20
    assert set(clf.results_["status"]) == {"ok"}
    assert not np.isnan(clf.results_["score"]).any()
    assert 0.93 < clf.best_score_ <= 1  # of a choice, so it may be below the luckiest candidate's
    assert clf.results_["weight"].sum() == pytest.approx(1)
    assert clf.score(X, y) > 0.93
    assert isinstance(clf.ensemble_, GeometricMeanVotingClassifier)
    assert clf.failures_ == []


def test_members_are_trained_on_all_rows_at_the_end():
    clf = TimeBudgetClassifier([LINEAR], time_budget=30).fit(X, y)
    (member,) = clf.ensemble_.estimators_
    expected = LogisticRegression(max_iter=1000).fit(X, y)
    np.testing.assert_allclose(member.coef_, expected.coef_, rtol=1e-4)


def test_without_refit_the_folds_models_vote():
    clf = TimeBudgetClassifier(
        [("forest", RandomForestClassifier(20))], time_budget=30, refit=False
    )
    clf.fit(X, y)
    assert len(clf.ensemble_.estimators_) == 3


def test_string_labels_in_the_users_order_of_things():
    names = np.array(["setosa", "versicolor", "virginica"])[y]
    clf = timed_fit(
        TimeBudgetClassifier([LINEAR, ("worker", fake.Logistic())], time_budget=20), y=names
    )
    assert set(clf.predict(X)) == set(names)
    assert (clf.predict(X) == names).mean() > 0.93


def test_first_answer_comes_before_validation_and_from_all_rows():
    candidates = [("slow", fake.Logistic()), Candidate("look", GaussianNB(), first=True), LINEAR]
    clf = TimeBudgetClassifier(candidates, time_budget=20)
    snapshots = clf.iter_fit(X, y)
    first = next(snapshots)
    assert np.isnan(first.score_)
    assert [name for name, _ in first.estimators] == ["look"]
    assert first.estimators_[0].class_count_.sum() == len(X)
    scores = [snapshot.score_ for snapshot in snapshots]
    assert scores[-1] == clf.best_score_


def test_snapshots_have_times_that_the_learning_curve_repeats():
    clf = TimeBudgetClassifier([BAYES, LINEAR], time_budget=20)
    snapshots = list(clf.iter_fit(X, y))
    assert {s.time_ for s in snapshots} <= set(clf.learning_curve_["time"])
    assert np.all(np.diff(clf.learning_curve_["time"]) >= 0)
    assert not np.isnan(clf.learning_curve_["score"]).any()


def test_a_worker_that_starts_while_its_pool_closes_is_not_left_behind(monkeypatch):
    begun = threading.Event()

    class SlowToStart(WorkerProcess):
        def __init__(self, *args):
            begun.set()
            time.sleep(0.3)
            super().__init__(*args)

    monkeypatch.setattr("skspeech.time_budget.workers.pools.WorkerProcess", SlowToStart)
    pool = LocalPool(2, queue.Queue())
    thread = threading.Thread(target=pool._new_worker)
    thread.start()
    begun.wait()
    pool.close()
    thread.join()
    assert not marked_processes()
    with pytest.raises(Stopped):
        pool._new_worker()


def test_files_are_removed_before_the_workers_that_would_do_it_are_killed(monkeypatch):
    """A kill of this process between the two would leave the files behind."""
    pool, found, kill = LocalPool(2, queue.Queue()), [], WorkerProcess.kill

    def note(worker):
        found.append(os.path.exists(pool.folder.name))
        kill(worker)

    monkeypatch.setattr(WorkerProcess, "kill", note)
    pool._new_worker()
    assert os.path.exists(pool.folder.dump("y", lambda: y))
    pool.close()
    assert found == [False]


def test_closing_the_generator_stops_the_work():
    clf = TimeBudgetClassifier([BAYES, ("sleeper", fake.Sleeper())], time_budget=60)
    snapshots = clf.iter_fit(X, y)
    next(snapshots)
    start = time.monotonic()
    snapshots.close()
    assert time.monotonic() - start < 3
    assert clf.score(X, y) > 0.9


def test_leaderboard_and_summary():
    clf = TimeBudgetClassifier([BAYES, LINEAR, ("bad", fake.Raiser())], time_budget=20).fit(X, y)
    table = clf.leaderboard()
    columns = [
        "name",
        "score",
        "weight",
        "fit_time",
        "predict_time",
        "started",
        "finished",
        "status",
    ]
    assert list(table.columns) == columns
    assert table["score"].dropna().is_monotonic_decreasing
    assert table["name"].iloc[-1] == "bad"
    text = clf.summary()
    assert "bad failed: RuntimeError: no such luck" in text
    assert "balanced_accuracy" in text


@pytest.mark.slow  # two runs
def test_same_seed_same_ensemble():
    candidates = [LINEAR, BAYES, ("forest", RandomForestClassifier(20))]
    first, second = (
        TimeBudgetClassifier(candidates, time_budget=30, random_state=3).fit(X, y) for _ in range(2)
    )
    np.testing.assert_array_equal(first.results_["score"], second.results_["score"])
    np.testing.assert_allclose(first.results_["weight"], second.results_["weight"])
    np.testing.assert_allclose(first.predict_proba(X), second.predict_proba(X), atol=1e-6)


def test_events_go_to_callbacks_and_the_log(tmp_path, capsys):
    events = []
    log = tmp_path / "events.jsonl"
    clf = TimeBudgetClassifier(
        [BAYES, LINEAR], time_budget=20, callbacks=events.append, log_file=log
    )
    clf.fit(X, y)
    # No NaN, which is no JSON: the first answer's score is unknown.
    text = log.read_text().splitlines()
    lines = [json.loads(line, parse_constant=pytest.fail) for line in text]
    assert next(line for line in lines if line["event"] == "snapshot")["score"] is None
    assert [line["event"] for line in lines] == [event["event"] for event in events]
    assert {"start", "candidate", "snapshot"} <= {event["event"] for event in events}
    assert capsys.readouterr() == ("", "")


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs a device that is always full")
def test_a_log_on_a_full_disk_ends_no_run():
    clf = TimeBudgetClassifier([BAYES], time_budget=20, log_file="/dev/full")
    with pytest.warns(UserWarning, match="can't be written any more") as caught:
        clf.fit(X, y)
    assert len(caught) == 1
    assert clf.score(X, y) > 0.9


@pytest.mark.parametrize("others", [True, False])
def test_weights_that_can_not_be_had_are_one_failure(others, tmp_path, monkeypatch, no_networks):
    monkeypatch.setenv("SKSPEECH_CACHE", str(tmp_path))
    monkeypatch.setattr("skspeech.weights._fetching._copy_installed", lambda *_: False)
    tried = []

    def no_network(command, **options):
        tried.append(command)
        raise CommandError(
            "WARNING: Retrying (Retry(total=1)) ...\nERROR: No matching distribution"
        )

    monkeypatch.setattr("skspeech.weights._fetching.run", no_network)
    lda = ShrinkageDiscriminantAnalysis()
    candidates = [
        Candidate("keyword", make_pipeline(KeywordEmbedding(), lda), where="main"),
        Candidate("speaker", make_pipeline(SpeakerEmbedding(), lda), where="main"),
        *(
            [Candidate("spectral", make_pipeline(SpectralStatistics(), lda), where="main")]
            if others
            else []
        ),
    ]
    clips, labels = labelled_tones(12, ["low", "high"], duration=0.23)  # embedded by no other test
    classifier = TimeBudgetClassifier(candidates, time_budget=120)
    both = r"ge2e, speech-embedding are not on this machine(?s:.*)index can't be reached\."
    if others:
        with pytest.warns(UserWarning, match=r"^2 of 3 candidates are left out: .* " + both):
            classifier.fit(clips, labels)
        (failure,) = classifier.failures_
        assert set(failure[0].split(", ")) == {"keyword", "speaker"}
        assert classifier.results_["status"].tolist() == ["failed", "failed", "ok"]
    else:
        with pytest.raises(WeightsNotFoundError, match=both):
            classifier.fit(clips, labels)
    assert len(tried) == 1


def test_verbose_tells_of_the_data_first(capsys, monkeypatch):
    line_up = [Candidate("spectral", make_pipeline(SpectralStatistics(), GaussianNB()))]
    monkeypatch.setattr(
        "skspeech.time_budget.line_ups.default_candidates", lambda *_, **__: line_up
    )
    clips, _ = labelled_tones(12, [0, 1], duration=0.2)
    labels = np.repeat(["high", "low"], [9, 3])
    for verbose, groups in ((0, None), (1, None), (1, np.arange(12) % 3)):
        TimeBudgetClassifier(time_budget=10, verbose=verbose).fit(clips, labels, groups)
        lines = capsys.readouterr().out.splitlines()
        told = [line.split("] ", 1)[1][:12] for line in lines if "ensemble" not in line]
        expected = ["1 class has ", *(["No groups ar"] if groups is None else [])]
        assert told == (expected if verbose else [])


def test_verbose_prints_lines(capsys):
    TimeBudgetClassifier([BAYES], time_budget=20, verbose=2).fit(X, y)
    out = capsys.readouterr().out
    assert "bayes, fold 0: score" in out
    assert all(line.startswith("[TimeBudgetClassifier]") for line in out.splitlines())


# -------------------------------------------------------------------------- misbehaviour


BAD = {
    "segfault": (fake.Segfault(), "SIGSEGV"),
    "killed": (fake.SelfKill(), "SIGKILL"),
    "exit": (fake.Exiter(), "exit code 7"),
    "system exit": (fake.SystemExiter(), "SystemExit: enough"),
    "raises": (fake.Raiser(), "no such luck"),
    "NaN": (fake.PredictsNaN(), "NaN"),
    "shape": (fake.WrongShape(), r"shape \(\d+, 4\)"),
    "length": (fake.WrongLength(), r"shape \(50, 3\)"),
    "prints": (fake.Printer(), "said too much"),
    "comes not back": (fake.NotUnpicklable(), "does not come back"),
    "arrives not": (fake.RaisesOnArrival(), "not in a worker"),
    "pickles not": (fake.NotPicklable(), "pickle"),
    "hoards": (Candidate("hoards", fake.MemoryHog(), max_memory=400 * 2**20), "MemoryError"),
    "leaves children": (fake.Forker(), None),
    "forks and returns": (fake.ForksAndReturns(), None),
}


@pytest.fixture(scope="module")
def survivor():
    """A classifier that was fitted with every bad candidate at once, and what it printed."""
    candidates = [
        bad if isinstance(bad, Candidate) else (name, bad) for name, (bad, _) in BAD.items()
    ]
    candidates = [BAYES, *candidates, ("good", fake.Logistic())]
    return timed_fit(
        TimeBudgetClassifier(candidates, cv=3, time_budget=60, random_state=0, n_jobs=2)
    )


@pytest.mark.parametrize("name", BAD)
def test_a_bad_candidate_costs_only_itself(name, survivor):
    words = BAD[name][1]
    status = dict(zip(survivor.results_["name"], survivor.results_["status"], strict=True))
    assert status["good"] == status["bayes"] == "ok"
    assert status[name] == ("failed" if words else "ok")
    if words:
        assert re.search(words, failure(survivor, name)), failure(survivor, name)
    assert len(failure(survivor, name)) < 20_000


def test_a_member_without_its_last_training_is_kept_as_validated(capsys):
    told = []
    clf = TimeBudgetClassifier(
        [BAYES, ("shy", fake.FailsOnAllRows())],
        time_budget=60,
        random_state=0,
        callbacks=told.append,
        verbose=1,
    )
    clf.fit(X, y)
    own = list(clf.results_["name"]).index("shy")
    assert clf.results_["weight"][own] > 0
    assert clf.results_["status"][own] == "kept as validated"
    assert [e["kept"] for e in told if e["event"] == "failure"] == [True]
    line = "shy is kept as validated: ValueError: too many rows"
    assert line in clf.summary()
    assert line in capsys.readouterr().out


def test_a_score_that_fell_is_explained():
    clf = TimeBudgetClassifier([BAYES], time_budget=20, random_state=0).fit(X, y)
    assert "fell" not in clf.summary()
    clf.learning_curve_ = {"time": np.arange(3.0), "score": np.array([np.nan, 0.844, 0.823])}
    assert "The score fell from 0.844 to 0.823: members are chosen by the log loss" in clf.summary()


def test_the_ensemble_is_good_in_spite_of_bad_candidates(survivor):
    assert survivor.score(X, y) > 0.93
    assert survivor.best_score_ > 0.93


def test_nothing_of_bad_candidates_is_left(survivor, capfd):
    assert not marked_processes()  # those that left their family too
    assert not list(Path(tempfile.gettempdir()).glob("skspeech-*"))


def test_what_candidates_print_is_not_shown(capfd):
    TimeBudgetClassifier([BAYES, ("prints", fake.Printer())], time_budget=20).fit(X, y)
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize(
    "bad",
    [
        fake.Sleeper(),
        pytest.param(fake.NativeHang(), marks=pytest.mark.slow),
        pytest.param(fake.IgnoresMaxTime(), marks=pytest.mark.slow),
    ],
    ids=lambda b: type(b).__name__,
)
def test_a_hanging_candidate_does_not_overrun(bad):
    candidates = [BAYES, ("bad", bad), ("good", fake.Logistic())]
    clf = timed_fit(TimeBudgetClassifier(candidates, time_budget=6, n_jobs=2))
    status = dict(zip(clf.results_["name"], clf.results_["status"], strict=True))
    assert status["bad"] in ("timed out", "stopped")
    assert "TimeoutError" in failure(clf, "bad")
    assert clf.score(X, y) > 0.93


@pytest.mark.slow
def test_one_core_is_shared_by_all():
    candidates = [BAYES, LINEAR, ("worker", fake.Logistic())]
    clf = timed_fit(TimeBudgetClassifier(candidates, time_budget=30, n_jobs=1))
    assert set(clf.results_["status"]) == {"ok"}


@pytest.mark.slow
def test_snapshots_of_a_candidate_that_is_killed_count():
    clf = TimeBudgetClassifier([("anytime", fake.Anytime())], time_budget=7)
    timed_fit(clf)
    assert clf.score(X, y) > 0.93
    assert not np.isnan(clf.results_["score"]).any()


def test_max_time_is_set_and_kept():
    clf = timed_fit(TimeBudgetClassifier([BAYES, ("timed", fake.Timed())], time_budget=8))
    status = dict(zip(clf.results_["name"], clf.results_["status"], strict=True))
    assert not np.isnan(clf.results_["score"][1]), status


@pytest.mark.slow
def test_a_hanging_embedding_is_left_behind():
    hanging = make_pipeline(fake.HangingEmbedding(), LogisticRegression())
    clf = timed_fit(TimeBudgetClassifier([("hanging", hanging), BAYES], time_budget=6))
    assert clf.score(X, y) > 0.93
    assert "TimeoutError" in failure(clf, "hanging")


def test_all_candidates_failing_is_an_error_that_names_each():
    bad = [("one", fake.Raiser()), ("two", fake.PredictsNaN())]
    with pytest.raises(ValueError, match=r"(?s)All 2 candidates failed.*one: .*two: "):
        TimeBudgetClassifier(bad, time_budget=20).fit(X, y)


def test_an_error_that_all_candidates_share_is_raised_as_it_is():
    bad = make_pipeline(fake.SlowEmbedding(fail=True), LogisticRegression())
    with pytest.raises(ValueError, match=r"^row 3 is no good"):
        TimeBudgetClassifier([("embedding", bad), ("again", bad)], time_budget=20).fit(X, y)


def _press_ctrl_c(event):
    raise KeyboardInterrupt


@pytest.mark.parametrize(
    ("params", "error", "forgets"),
    [
        ({"cv": [(range(9), range(9))]}, ValueError, False),
        ({"candidates": [("bad", fake.Raiser())]}, ValueError, True),
        ({"callbacks": _press_ctrl_c}, KeyboardInterrupt, True),
    ],
    ids=["refused", "failed", "interrupted"],
)
def test_old_members_never_answer_with_the_labels_of_another_fit(params, error, forgets):
    frame = pd.DataFrame(X, columns=list("abcd"))
    clf = TimeBudgetClassifier([BAYES], time_budget=20, cv=3, random_state=0).fit(frame, y)
    answers = clf.predict(frame)
    with pytest.raises(error):
        clf.set_params(**params).fit(frame.add_prefix("new_"), np.array(["x", "y", "z"])[y])
    if forgets:
        with pytest.raises(NotFittedError):
            clf.predict(frame)
        assert "candidates" in clf.summary()
    else:
        np.testing.assert_array_equal(clf.predict(frame), answers)


def test_lists_of_numbers_may_be_clips_of_several_lengths():
    clips, labels = labelled_tones(12, ["a", "b"], duration=0.2)
    clips = [clip[: 2000 + i].tolist() for i, clip in enumerate(clips)]
    heard = make_pipeline(SpectralStatistics(), GaussianNB())
    clf = TimeBudgetClassifier([("heard", heard)], time_budget=20, random_state=0)
    assert clf.fit(clips, labels).score(clips, labels) == 1


@pytest.mark.parametrize("budget", [1e-3, 0.3])
def test_a_budget_too_small_gives_the_prior(budget):
    labels = np.array(["a", "b", "c"])[y]
    clf = TimeBudgetClassifier([("sleeper", fake.Sleeper())], time_budget=budget)
    with pytest.warns(UserWarning, match="only the classes' frequencies are predicted") as told:
        timed_fit(clf, X[:120], labels[:120])
    assert told[-1].filename == __file__
    np.testing.assert_allclose(clf.predict_proba(X[:2]), [[5 / 12, 5 / 12, 1 / 6]] * 2)
    assert np.isnan(clf.best_score_)
    assert "frequencies" in clf.summary()


@pytest.mark.slow
def test_a_script_without_main_guard_works(tmp_path):
    script = tmp_path / "script.py"
    script.write_text(
        textwrap.dedent(
            """
            from sklearn.base import BaseEstimator, ClassifierMixin
            from sklearn.datasets import load_iris
            from sklearn.naive_bayes import GaussianNB
            from skspeech import TimeBudgetClassifier

            class Mine(GaussianNB):
                pass

            X, y = load_iris(return_X_y=True)
            clf = TimeBudgetClassifier([("mine", Mine())], time_budget=30).fit(X, y)
            print(clf.score(X, y) > 0.9, clf.failures_)
            """
        )
    )
    done = subprocess.run([sys.executable, script], capture_output=True, text=True, timeout=60)
    assert done.stdout == "True []\n", done.stderr
    assert done.stderr == ""


# -------------------------------------------------------------------------- interruption


def test_ctrl_c_keeps_the_best_ensemble():
    def interrupt(event):
        if event["event"] == "snapshot":
            raise KeyboardInterrupt

    clf = TimeBudgetClassifier(
        [BAYES, ("sleeper", fake.Sleeper())], time_budget=60, callbacks=interrupt
    )
    start = time.monotonic()
    clf.fit(X, y)
    assert time.monotonic() - start < 30
    assert clf.score(X, y) > 0.9


def test_ctrl_c_before_the_first_answer_is_raised():
    def interrupt(event):
        raise KeyboardInterrupt

    clf = TimeBudgetClassifier([("sleeper", fake.Sleeper())], time_budget=60, callbacks=[interrupt])
    with pytest.raises(KeyboardInterrupt):
        clf.fit(X, y)


def test_a_callbacks_error_is_raised_and_leaves_nothing():
    def fail(event):
        if event["event"] == "task":
            raise OSError("disk full")

    clf = TimeBudgetClassifier([("sleeper", fake.Sleeper())], time_budget=60, callbacks=fail)
    with pytest.raises(OSError, match="disk full"):
        clf.fit(X, y)


INTERRUPTED = """
import signal, sys
signal.signal(signal.SIGINT, signal.default_int_handler)  # ignored in a shell's background
sys.path.insert(0, {tests!r})
import fake_candidates as fake
from sklearn.datasets import load_iris
from sklearn.naive_bayes import GaussianNB
from skspeech import TimeBudgetClassifier

X, y = load_iris(return_X_y=True)
candidates = [("bayes", GaussianNB()), ("sleeper", fake.Sleeper())]
show = lambda event: print(event["event"], flush=True)
clf = TimeBudgetClassifier(candidates, time_budget=120, callbacks=show)
clf.fit(X, y)
print("score", clf.score(X, y) > 0.9, flush=True)
"""


def test_a_real_ctrl_c(tmp_path):
    code = INTERRUPTED.format(tests=str(Path(__file__).parent))
    process = subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, start_new_session=True
    )
    for line in process.stdout:
        if line.startswith("task"):
            break
    os.killpg(process.pid, signal.SIGINT)
    out, _ = process.communicate(timeout=20)
    assert "score True" in out
    assert process.returncode == 0


@pytest.mark.slow
def test_workers_do_not_outlive_a_killed_parent(tmp_path):
    code = INTERRUPTED.format(tests=str(Path(__file__).parent))
    process = subprocess.Popen(
        [sys.executable, "-c", code],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "TMPDIR": str(tmp_path)},
    )
    for line in process.stdout:
        if line.startswith("task"):
            break
    children = psutil.Process(process.pid).children(recursive=True)
    assert children
    process.kill()
    process.communicate(timeout=10)
    _, alive = psutil.wait_procs(children, timeout=10)
    assert not alive
    assert not list(tmp_path.glob("skspeech-*"))


def test_there_are_no_files_before_there_is_a_worker_to_remove_them(monkeypatch, tmp_path):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    found, start = [], WorkerProcess.__init__

    def note(self, *arguments):
        found.append(list(tmp_path.glob("skspeech-*")))
        start(self, *arguments)

    monkeypatch.setattr(WorkerProcess, "__init__", note)
    candidates = [("bayes", GaussianNB()), ("logistic", fake.Logistic())]
    TimeBudgetClassifier(candidates, time_budget=5).fit(*load_iris(return_X_y=True))
    assert found[0] == []
    assert not list(tmp_path.glob("skspeech-*"))


# -------------------------------------------------------------------------- embeddings


def test_an_embedding_is_computed_once_for_all_candidates():
    fake.SlowEmbedding.seen = 0
    candidates = [
        (f"C={C}", make_pipeline(fake.SlowEmbedding(), StandardScaler(), LogisticRegression(C=C)))
        for C in (0.1, 1.0, 10.0)
    ]
    clf = TimeBudgetClassifier(candidates, time_budget=20).fit(X, y)
    assert fake.SlowEmbedding.seen == len(X)
    assert not np.isnan(clf.results_["score"]).any()
    assert clf.score(X, y) > 0.93


def test_predicting_computes_a_shared_embedding_once():
    candidates = [
        ("linear", make_pipeline(fake.SlowEmbedding(), LogisticRegression(max_iter=1000))),
        ("bayes", make_pipeline(fake.SlowEmbedding(), GaussianNB())),
    ]
    settings = {"selection": "threshold", "random_state": 0}  # equal scores would leave one out
    clf = TimeBudgetClassifier(candidates, time_budget=20, **settings).fit(X, y)
    assert (clf.results_["weight"] > 0).all()
    fake.SlowEmbedding.seen = 0
    clf.predict(X)
    assert fake.SlowEmbedding.seen == len(X)
    shared = clf.ensemble_.estimators_[0][-1]
    assert (shared.predict(X) == clf.predict(X)).all()


def test_a_union_shares_its_parts_with_the_candidates_that_use_them_alone():
    fake.SlowEmbedding.seen = 0
    root, square = fake.SlowEmbedding(power=0.5), fake.SlowEmbedding(power=2.0)
    candidates = [
        ("both", make_pipeline(make_union(root, square), GaussianNB())),
        ("root", make_pipeline(root, GaussianNB())),
        ("square", make_pipeline(square, LogisticRegression(max_iter=1000))),
        ("forest", make_pipeline(make_union(square, root), RandomForestClassifier(10))),
    ]
    settings = {"selection": "threshold", "random_state": 0}
    clf = TimeBudgetClassifier(candidates, time_budget=30, **settings).fit(X, y)
    assert fake.SlowEmbedding.seen == 2 * len(X)
    assert clf.failures_ == []
    assert not np.isnan(clf.results_["score"]).any()
    assert clf.score(X, y) > 0.93
    members = dict(pickle.loads(pickle.dumps(clf.ensemble_)).named_estimators)
    expected = candidates[0][1].fit(X, y).predict_proba(X)
    np.testing.assert_allclose(members["both"].predict_proba(X), expected)


class SlowToFit(GaussianNB):
    def fit(self, X, y):
        time.sleep(0.03 * len(X))
        return super().fit(X, y)


def test_a_slow_estimator_trains_on_the_rows_that_there_is_time_for():
    steps = fake.SlowEmbedding()
    candidates = [
        Candidate("quick", make_pipeline(steps, GaussianNB()), "main", first=True),
        # All rows of three folds would take longer than the budget.
        Candidate("slow", make_pipeline(steps, SlowToFit()), "main", stage=1, cost=0.03),
    ]
    clf = TimeBudgetClassifier(candidates, time_budget=6, warm_start=True).fit(X, y)
    quick, slow = clf._state.state.entries
    assert quick.level((0, 1, 2)) == len(X)
    assert 30 <= slow.level((0, 1, 2)) < 75
    assert slow.score > 0.8
    assert clf.failures_ == []


CUBE = FunctionTransformer(np.expand_dims, kw_args={"axis": 2})
FLAT = FunctionTransformer(np.squeeze, kw_args={"axis": 2})


@pytest.mark.parametrize(
    "steps",
    [
        (make_union(CUBE, CUBE), FLAT),
        (FeatureUnion([("some", FunctionTransformer()), ("no", None)]),),
    ],
    ids=["three dimensions", "None"],
)
def test_what_no_union_takes_is_a_failure_and_no_member_that_can_not_predict(steps):
    candidates = [("union", make_pipeline(*steps, GaussianNB())), ("dummy", DummyClassifier())]
    clf = TimeBudgetClassifier(candidates, time_budget=20).fit(X, y)
    assert [name for name, *_ in clf.failures_] == ["union"]
    assert clf.predict(X).shape == y.shape


def test_first_steps_that_can_not_be_shared_may_be_passed_through():
    sparse = HashingVectorizer(n_features=32)
    candidates = [("sparse", make_pipeline("passthrough", sparse, LogisticRegression()))]
    words, labels = ["one two", "three four"] * 20, ["low", "high"] * 20
    clf = TimeBudgetClassifier(candidates, time_budget=20).fit(words, labels)
    assert clf.failures_ == []
    assert clf.score(words, labels) == 1.0


def test_a_part_that_fails_is_the_failure_of_all_that_need_it():
    good, bad = fake.SlowEmbedding(), fake.SlowEmbedding(fail=True)
    candidates = [
        ("good", make_pipeline(good, GaussianNB())),
        ("both", make_pipeline(make_union(good, bad), GaussianNB())),
        ("bad", make_pipeline(bad, GaussianNB())),
    ]
    clf = TimeBudgetClassifier(candidates, time_budget=20).fit(X, y)
    failed = {name: exception for name, exception, _ in clf.failures_}
    assert failed.keys() == {"both", "bad"}
    assert all("row 3 is no good" in exception for exception in failed.values())
    assert clf.score(X, y) > 0.9


@pytest.mark.slow
def test_a_slow_embedding_begins_with_a_part_of_the_rows():
    slow = make_pipeline(fake.SlowEmbedding(seconds=0.02), GaussianNB())
    clf = TimeBudgetClassifier([Candidate("slow", slow, first=True)], time_budget=8, random_state=0)
    snapshots = clf.iter_fit(X_digits, y_digits)
    first = next(snapshots)
    assert first.time_ < 6
    counts = first.estimators_[0][-1].class_count_
    assert counts.min() >= 4
    assert counts.sum() < len(X_digits) / 2
    last = [first, *snapshots][-1]
    assert clf.timing_["total"] < 9
    assert last.estimators_[0][-1].classes_.tolist() == list(range(10))


def test_the_rest_of_a_pipeline_goes_to_a_worker_with_the_features():
    candidate = make_pipeline(fake.SlowEmbedding(), RandomForestClassifier(10))
    clf = timed_fit(TimeBudgetClassifier([("forest", candidate)], time_budget=30))
    assert clf.failures_ == []
    assert clf.score(X, y) > 0.93


class WithPipeline(fake.Fake):
    def to_pipeline(self):
        return make_pipeline(fake.SlowEmbedding(), LogisticRegression(max_iter=1000))


def test_to_pipeline_is_used():
    fake.SlowEmbedding.seen = 0
    clf = TimeBudgetClassifier([("mine", WithPipeline())], time_budget=20).fit(X, y)
    assert fake.SlowEmbedding.seen == len(X)
    assert isinstance(clf.ensemble_.estimators_[0][-1], LogisticRegression)


class Rows(list):
    """A sequence that is no array: what clips look like from here."""


class FromRows(fake.SlowEmbedding):
    def transform(self, X):
        assert isinstance(X, list)
        return np.array([row["values"] for row in X])


@pytest.mark.slow  # clips in every form are tested elsewhere; this is for rows of one's own kind
def test_x_may_be_any_sequence():
    rows = [{"values": row} for row in X]
    pipeline = make_pipeline(FromRows(), LogisticRegression(max_iter=1000))
    candidates = [("main", pipeline), Candidate("worker", pipeline, where="worker")]
    clf = timed_fit(TimeBudgetClassifier(candidates, time_budget=30), rows)
    assert clf.failures_ == []
    assert clf.score(rows, y) > 0.93
    assert not hasattr(clf, "n_features_in_")


# -------------------------------------------------------------------------- validation


def test_rare_classes_survive():
    few = np.r_[np.arange(60), 100, 140, 141]
    labels = np.r_[y[:60], 7, 8, 8]
    nearest = ("nearest", KNeighborsClassifier(1))
    clf = TimeBudgetClassifier([nearest, BAYES], time_budget=20)
    with pytest.warns(UserWarning, match="1 class has too few .* such as 7: its score"):
        clf.fit(X[few], labels)
    assert clf.classes_.tolist() == [0, 1, 7, 8]
    assert clf.results_["score"][0] == 1.0
    assert set(clf.predict(X[few])) == {0, 1, 7, 8}


@pytest.mark.parametrize(
    "cv",
    [4, StratifiedKFold(3), [(np.arange(0, 150, 2), np.arange(1, 150, 2))]],
    ids=["int", "splitter", "iterable"],
)
def test_cv_is_honoured(cv):
    clf = TimeBudgetClassifier([LINEAR], cv=cv, time_budget=20).fit(X, y)
    n_folds = {int: 4, StratifiedKFold: 3, list: 1}[type(cv)]
    names = [name for name in clf.results_ if name.startswith("split")]
    assert len(names) == n_folds


def test_a_validation_set_of_ones_own():
    clf = TimeBudgetClassifier([LINEAR], cv=(X[::2], y[::2]), time_budget=20).fit(X[1::2], y[1::2])
    own = LogisticRegression(max_iter=1000).fit(X[1::2], y[1::2])
    assert clf.best_score_ == pytest.approx(own.score(X[::2], y[::2]))
    expected = at_temperature(own.predict_proba(X), clf.ensemble_.temperature_)
    np.testing.assert_allclose(clf.predict_proba(X), expected, atol=2e-3)


def test_groups_stay_on_one_side():
    rng = np.random.default_rng(0)
    speaker = np.repeat(np.arange(30), 10)
    labels = rng.integers(0, 2, 30)[speaker]
    voices = rng.normal(size=(30, 5))[speaker] * 3 + rng.normal(size=(300, 5)) * 0.1
    leaky = TimeBudgetClassifier(
        [("nearest", KNeighborsClassifier(1))], time_budget=20, random_state=0
    )
    honest = clone(leaky).fit(voices, labels, groups=speaker)
    leaky.fit(voices, labels)
    assert leaky.best_score_ > 0.95
    assert honest.best_score_ < 0.85


def test_scoring_by_name_and_by_callable():
    by_name = TimeBudgetClassifier([LINEAR], scoring="roc_auc_ovr", time_budget=20).fit(X, y)
    assert 0.9 < by_name.best_score_ <= 1

    def scorer(estimator, X, y):
        return -float(np.mean(estimator.predict(X) != y))

    by_callable = TimeBudgetClassifier([LINEAR], scoring=scorer, time_budget=20).fit(X, y)
    assert -0.2 < by_callable.best_score_ <= 0


def test_slow_predictors_are_left_out():
    slow = make_pipeline(fake.SlowEmbedding(seconds=0.005), LogisticRegression(max_iter=1000))
    clf = TimeBudgetClassifier([("slow", slow), BAYES], time_budget=20, predict_time_budget=0.002)
    clf.fit(X, y)
    assert dict(zip(clf.results_["name"], clf.results_["weight"], strict=True))["slow"] == 0


# -------------------------------------------------------------------------- scikit-learn


@parametrize_with_checks(
    [
        TimeBudgetClassifier(
            [("linear", LogisticRegression()), ("bayes", GaussianNB())], time_budget=5, cv=3
        )
    ],
    expected_failed_checks=lambda e: {name: r.why for name, r in expected_failures(e).items()},
    xfail_strict=False,
)
def test_scikit_learn_checks(estimator, check):
    check(estimator)


@pytest.mark.slow
def test_in_a_grid_search_over_a_pipeline():
    pipeline = Pipeline(
        [("scale", StandardScaler()), ("budget", TimeBudgetClassifier([BAYES], time_budget=10))]
    )
    grid = {"budget__selection": ["greedy", "threshold"]}
    search = GridSearchCV(pipeline, grid, cv=2, n_jobs=2).fit(X, y)
    assert search.best_score_ > 0.9
    assert cross_val_score(pipeline, X, y, cv=2).min() > 0.85


def test_nested_parallelism_takes_the_workers_share():
    assert effective_cores(None) == joblib.cpu_count()
    assert effective_cores(3) == 3
    with pytest.raises(ValueError, match="n_jobs=0 has no meaning"):
        effective_cores(0)
    with joblib.parallel_config(n_jobs=2):
        assert effective_cores(None) == 2
    inner = joblib.Parallel(n_jobs=2)(joblib.delayed(effective_cores)(None) for _ in range(2))
    assert inner == [max(1, joblib.cpu_count() // 2)] * 2
    threads = joblib.Parallel(n_jobs=2, backend="threading")(
        joblib.delayed(effective_cores)(None) for _ in range(2)
    )
    assert max(threads) <= max(1, int(os.environ.get("OMP_NUM_THREADS", 1)))


def test_parameters_of_candidates_are_parameters():
    line_up = ["auto", ("linear", LogisticRegression(C=2.0)), Candidate("bayes", GaussianNB())]
    run = TimeBudgetClassifier(line_up)
    params = run.get_params()
    assert params["linear__C"] == 2.0
    assert params["bayes"] is line_up[2].estimator
    assert "auto" not in params
    assert set(run.get_params(deep=False)) < set(params)

    run.set_params(linear__C=3.0, bayes=GaussianNB(var_smoothing=0.1), time_budget=5)
    params = run.get_params()
    assert (params["linear__C"], params["bayes__var_smoothing"], run.time_budget) == (3.0, 0.1, 5)
    assert line_up[2].estimator.var_smoothing != 0.1  # the user's own object is left alone
    with pytest.raises(ValueError, match="Invalid parameter 'forest'"):
        run.set_params(forest__max_depth=3)


@pytest.mark.parametrize("wrong", [[3], [("cv", GaussianNB())], [("a__b", GaussianNB())], "auto"])
def test_names_that_are_no_parameters_are_left_to_fit(wrong):
    run = TimeBudgetClassifier(wrong, cv=4)
    assert run.get_params()["cv"] == 4
    assert set(run.get_params()) == set(run.get_params(deep=False))


def test_grid_search_tunes_inside_a_candidate():
    run = TimeBudgetClassifier([LINEAR], time_budget=2, cv=3)
    search = GridSearchCV(run, {"linear__C": [1e-6, 1.0]}, cv=2).fit(X, y)
    assert search.best_params_ == {"linear__C": 1.0}
    assert search.best_estimator_.get_params()["linear__C"] == 1.0


def test_threads_are_restored():
    from threadpoolctl import threadpool_info

    before = {info["filepath"]: info["num_threads"] for info in threadpool_info()}
    n_threads = threading.active_count()
    TimeBudgetClassifier([BAYES, ("worker", fake.Logistic())], time_budget=20).fit(X, y)
    after = {info["filepath"]: info["num_threads"] for info in threadpool_info()}
    assert {path: after[path] for path in before} == before
    time.sleep(0.3)
    assert threading.active_count() <= n_threads


@pytest.mark.slow
def test_pickle_predicts_in_a_fresh_process(tmp_path):
    clf = TimeBudgetClassifier([LINEAR, ("worker", fake.Logistic())], time_budget=20).fit(X, y)
    path = tmp_path / "model.pkl"
    path.write_bytes(pickle.dumps(clf))
    assert path.stat().st_size < 40_000
    np.save(tmp_path / "expected.npy", clf.predict_proba(X))
    code = f"""
import pickle, sys
import numpy as np
sys.path.insert(0, {str(Path(__file__).parent)!r})
from sklearn.datasets import load_iris
clf = pickle.load(open({str(path)!r}, "rb"))
X, _ = load_iris(return_X_y=True)
np.testing.assert_allclose(clf.predict_proba(X), np.load({str(tmp_path / "expected.npy")!r}))
"""
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


def test_slim_drops_the_reports():
    clf = TimeBudgetClassifier([LINEAR], time_budget=20, warm_start=True).fit(X, y)
    size = len(pickle.dumps(clf))
    assert clf.slim() is clf
    assert not hasattr(clf, "results_")
    assert len(pickle.dumps(clf)) < size
    assert clf.score(X, y) > 0.93


@pytest.mark.slow  # three runs
def test_warm_start_continues():
    candidates = [LINEAR, ("slow", fake.Logistic())]
    clf = TimeBudgetClassifier(candidates[:1], time_budget=20, warm_start=True).fit(X, y)
    first = clf.results_["finished"][0]
    clf.set_params(candidates=candidates).fit(X, y)
    assert clf.results_["finished"][0] == first
    assert not np.isnan(clf.results_["score"]).any()
    with pytest.warns(UserWarning, match="starts anew"):
        clf.fit(X[:140], y[:140])


# -------------------------------------------------------------------------- executors


@pytest.mark.parametrize("kind", [ThreadPoolExecutor, ProcessPoolExecutor])
def test_a_users_executor_is_used(kind):
    candidates = [BAYES, ("logistic", fake.Logistic()), ("raiser", fake.Raiser())]
    with kind(2) as executor:
        clf = timed_fit(TimeBudgetClassifier(candidates, time_budget=60, executor=executor))
        assert executor.submit(abs, -1).result() == 1
    assert "no such luck" in failure(clf, "raiser")
    status = dict(zip(clf.results_["name"], clf.results_["status"], strict=True))
    assert status["logistic"] == "ok"


class Noted(ProcessPoolExecutor):
    """Notes which threads give it jobs."""

    threads = ()

    def submit(self, *args, **kwargs):
        self.threads += (threading.current_thread(),)
        return super().submit(*args, **kwargs)


def test_processes_of_an_executor_are_forked_while_nothing_computes():
    with Noted(2) as executor:
        TimeBudgetClassifier([BAYES], time_budget=60, executor=executor).fit(X, y)
    assert executor.threads[0] is threading.main_thread()


@pytest.mark.slow
def test_a_worker_of_the_executor_that_dies_is_told_and_the_rest_goes_on():
    candidates = [BAYES, ("killer", fake.SelfKill()), ("logistic", fake.Logistic())]
    with ProcessPoolExecutor(2) as executor:
        clf = timed_fit(TimeBudgetClassifier(candidates, time_budget=60, executor=executor))
    # Once the executor is broken, the rest goes on in processes of our own: so may the killer.
    assert re.search("BrokenProcessPool|ended by SIGKILL", failure(clf, "killer"))
    assert "SIGKILL" in failure(clf, "killer")
    status = dict(zip(clf.results_["name"], clf.results_["status"], strict=True))
    assert status["logistic"] == "ok"


@pytest.mark.slow
def test_an_executor_that_hangs_does_not_overrun():
    with ThreadPoolExecutor(1) as executor:
        candidates = [BAYES, ("sleeper", fake.ShortSleeper())]
        clf = timed_fit(TimeBudgetClassifier(candidates, time_budget=2, executor=executor))
    assert clf.score(X, y) > 0.93


class _LosingExecutor(ThreadPoolExecutor):
    """It loses what runs when a killer comes, as Dask does, and says only that much."""

    def __init__(self):
        super().__init__(2)
        self.running, self.lost = {}, set()
        self.most_beside_a_suspect = self.kills = 0

    def submit(self, function, payload):
        name = type(pickle.loads(payload)[0].estimator).__name__
        future = Future()
        self.running[future] = name
        future.add_done_callback(self.running.pop)
        if self.lost & set(self.running.values()):
            self.most_beside_a_suspect = max(self.most_beside_a_suspect, len(self.running) - 1)
        super().submit(self._run, future, name, function, payload)
        return future

    def _run(self, future, name, function, payload):
        if name != "SelfKill":
            time.sleep(0.5)  # the other one is there by then
            if not future.done():
                future.set_result(function(payload))
            return
        time.sleep(0.2)
        self.kills += 1
        for other in list(self.running):
            self.lost.add(self.running[other])
            other.set_exception(RuntimeError("the worker is gone"))


def test_a_candidate_outlives_the_worker_that_it_shared_with_a_killer():
    with _LosingExecutor() as executor:
        candidates = [BAYES, ("logistic", fake.Logistic()), ("killer", fake.SelfKill())]
        clf = timed_fit(TimeBudgetClassifier(candidates, time_budget=20, executor=executor))
    assert executor.lost == {"Logistic", "SelfKill"}
    assert executor.most_beside_a_suspect == 0
    status = dict(zip(clf.results_["name"], clf.results_["status"], strict=True))
    assert status["logistic"] == "ok"
    assert status["killer"] == "failed"
    assert not failure(clf, "logistic")
    assert "the worker is gone" in failure(clf, "killer")
    assert executor.kills == 2


@pytest.mark.slow
def test_dasks_executor_is_used_and_outlives_a_dead_worker():
    distributed = pytest.importorskip("distributed")
    import dask

    with warnings.catch_warnings(), dask.config.set({"distributed.scheduler.allowed-failures": 0}):
        warnings.simplefilter("ignore")  # its own, on closing
        cluster = distributed.LocalCluster(
            n_workers=2, threads_per_worker=1, dashboard_address=":0", silence_logs=50
        )
        with cluster, distributed.Client(cluster) as client:
            client.run(_see_fakes, str(Path(__file__).parent))
            candidates = [BAYES, ("logistic", fake.Logistic()), ("killer", fake.SelfKill())]
            executor = client.get_executor(retries=0)
            clf = timed_fit(TimeBudgetClassifier(candidates, time_budget=60, executor=executor))
    status = dict(zip(clf.results_["name"], clf.results_["status"], strict=True))
    assert status["logistic"] == "ok"
    assert status["killer"] == "failed"
    assert "KilledWorker" in failure(clf, "killer")


def _see_fakes(folder):
    sys.path.insert(0, folder)


# -------------------------------------------------------------------------- wrong input


@pytest.mark.parametrize(
    ("params", "words"),
    [
        ({"candidates": []}, "candidates=\\[\\] is empty"),
        ({"candidates": [("a", GaussianNB()), ("a", GaussianNB())]}, "must be unique"),
        ({"candidates": [GaussianNB()]}, "must be a \\(name, estimator\\) tuple"),
        ({"candidates": ["bayes"]}, "a pattern of names"),
        ({"candidates": [BAYES, "-x*"]}, "matches no name"),
        ({"candidates": [BAYES, "-b*"]}, "leaves no candidate"),
        ({"candidates": [Candidate("a", GaussianNB(), where="moon")]}, "where='moon'"),
        (
            {"candidates": [("svm", LinearSVC())]},
            "has no predict_proba",
        ),
        ({"time_budget": 0}, "time_budget"),
        ({"selection": "best"}, "selection"),
        ({"scoring": "r2"}, "scoring='r2' cannot be computed|gives"),
        ({"cv": (X, y + 5)}, "labels that are not in y"),
    ],
)
def test_wrong_parameters_are_named(params, words):
    params = {"candidates": [BAYES], "time_budget": 10, **params}
    labels = y if params.get("scoring") != "r2" else np.array(["a", "b", "c"])[y]
    with pytest.raises((ValueError, TypeError), match=words):
        TimeBudgetClassifier(**params).fit(X, labels)


def test_one_class_is_an_error():
    with pytest.raises(ValueError, match="only one class"):
        TimeBudgetClassifier([BAYES]).fit(X, np.zeros(len(X), int))


@pytest.mark.slow  # a figure, which changes only with the design of the scheduler
def test_the_scheduler_itself_costs_little():
    candidates = [
        ("sleepy", make_pipeline(fake.SlowEmbedding(seconds=0.01), LogisticRegression())),
        ("timed", fake.Timed()),
    ]
    clf = timed_fit(TimeBudgetClassifier(candidates, time_budget=10))
    assert clf.timing_["overhead"] < 1.8  # 3 % of 60 s
