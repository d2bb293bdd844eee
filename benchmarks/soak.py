"""Many fits under a time budget while things fail: do they end in time, and what do they leave?

    python benchmarks/soak.py                  # 1,000 fits, about half an hour
    python benchmarks/soak.py --fits 60        # a short one
    python benchmarks/soak.py --only 17        # one of them again, alone in a fresh process

Each fit has a fault, a budget of 0.3 to 5 seconds, and a number from which it can be repeated. Some
fits run one after another in one process, others in their own process. Naive Bayes and logistic
regression on a table of 150 rows are always among the candidates, so every fit should give a model;
only a cold process, which must import torch first, may run out of time. Run it on an otherwise idle
machine, because it measures the overrun.
"""

import argparse
import contextlib
import ctypes
import functools
import json
import os
import resource
import signal
import subprocess
import sys
import tempfile
import threading
import time
import uuid
import warnings
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from pathlib import Path

import numpy as np
import psutil
from _machine import machine, versions

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "tests"))
TOKEN = "SKSPEECH_SOAK"  # an environment variable that all processes of a run inherit
SETTLE = 12.0  # seconds after which anything still alive counts as left behind
HUNG = 60.0  # a process must end within this many seconds after the last fit
LONG_ENOUGH = 1.5  # a cold fit must give a model if it has this many times a plain fit's time

# Faults of a candidate in a worker: the name of its class among the tests' fakes.
WORKER_FAULTS = {
    "hang in Python": "Sleeper",
    "hang in native code": "NativeHang",
    "fork, children leave": "Forker",
    "fork, both go on": "ForksAndReturns",
    "fork, then exit": "LeavesAndDies",
    "segmentation fault": "Segfault",
    "killed": "SelfKill",
    "stopped": "SelfStop",
    "os._exit": "Exiter",
    "memory hog": "MemoryHog",
    "prints without end": "Printer",
}
# Faults in the caller's process, or of the caller itself.
OTHER_FAULTS = [
    "none",
    "shared steps hang in Python",
    "shared steps hang in native code",
    "slow scorer",
    "two fits in two threads",
    "Ctrl-C",
    "caller holds a snapshot",
    "caller closes the generator",
    "executor's process dies",
    "executor is shut down",
    "unreadable clips",
]
FRESH_FAULTS = ["full disk", "no folder for files", "cold process", "SIGTERM", "SIGKILL"]
FAULTS = [*WORKER_FAULTS, *OTHER_FAULTS, *FRESH_FAULTS]
# Faults where a thread of this process hangs in the user's code, which nothing can end.
HANGS_HERE = {"shared steps hang in Python", "shared steps hang in native code"}
WARNINGS = set()  # of the current fit


def plan(n_fits, seed):
    """All fits: (number, fault, budget, whether in its own process)."""
    fits = []
    for number in range(n_fits):
        rng = np.random.default_rng([seed, number])
        fault = FAULTS[number % len(FAULTS)]
        worker = fault in WORKER_FAULTS or fault.startswith(("SIG", "executor's"))
        budgets = [0.3, 0.6, 1.5, 2.5, 5.0] if worker else [0.3, 0.5, 0.8, 1.5, 3.0]
        shares = [0.1, 0.15, 0.35, 0.3, 0.1] if worker else [0.3, 0.3, 0.2, 0.15, 0.05]
        if fault in HANGS_HERE:
            shares = [0.0, 0.0, 0.4, 0.4, 0.2]
        if fault == "cold process":
            budgets = [1.0, 2.0, 3.0, 4.0, 5.0]
        fresh = fault in FRESH_FAULTS or rng.random() < 0.15
        fits.append((number, fault, float(rng.choice(budgets, p=shares)), bool(fresh)))
    return fits


# -------------------------------------------------------------------------- in the process


def run_fits(fits, seed):
    """Run fits one after another, and print a line of JSON for each."""
    signal.signal(signal.SIGINT, signal.default_int_handler)  # background jobs ignore SIGINT
    warnings.simplefilter("always")
    warnings.showwarning = lambda message, *_: WARNINGS.add(str(message)[:200])
    for number, fault, budget, _ in fits:
        WARNINGS.clear()
        before = settings()
        result = {"number": number, "fault": fault, "budget": budget}
        result.update(run_fit(fault, budget, np.random.default_rng([seed, number, 1])))
        print(json.dumps({**result, "left": left_behind(before, fault)}), flush=True)
    print(json.dumps({"number": None, "ended": time.time()}), flush=True)


def run_fit(fault, budget, rng):
    """Run one fit with a fault; return how long it took and how it ended."""
    import fake_candidates as fake
    from sklearn.datasets import load_iris
    from sklearn.linear_model import LogisticRegression
    from sklearn.naive_bayes import GaussianNB
    from sklearn.pipeline import make_pipeline

    from skspeech import Candidate, SpectralStatistics, TimeBudgetClassifier

    X, y = load_iris(return_X_y=True)
    good = [("bayes", GaussianNB()), ("linear", LogisticRegression(max_iter=1000))]
    logistic = ("logistic", fake.Logistic())
    bad, params, moment = [], {}, rng.uniform(0, 1.1 * budget)
    with contextlib.ExitStack() as stack:
        if fault in WORKER_FAULTS:
            estimator = getattr(fake, WORKER_FAULTS[fault])()
            bad = [Candidate("bad", estimator, max_memory=600e6)]
        elif fault in HANGS_HERE:
            steps = NativeHangingSteps() if "native" in fault else fake.HangingEmbedding()
            bad = [("bad", make_pipeline(steps, GaussianNB()))]
        elif fault == "slow scorer":
            params["scoring"] = functools.partial(slow_scorer, seconds=0.4 * budget)
        elif fault == "Ctrl-C":
            stack.callback(timer(moment, os.kill, os.getpid(), signal.SIGINT).cancel)
        elif fault.startswith("SIG"):
            bad = [("bad", fake.Sleeper())]
            timer(moment, os.kill, os.getpid(), getattr(signal, fault))
        elif fault == "executor's process dies":
            params["executor"] = stack.enter_context(ProcessPoolExecutor(2))
            bad = [("bad", fake.SelfKill())]
        elif fault == "executor is shut down":
            params["executor"] = ThreadPoolExecutor(1)
            stack.callback(timer(moment, params["executor"].shutdown, False).cancel)
        elif fault == "full disk":
            signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
            resource.setrlimit(resource.RLIMIT_FSIZE, (2048, 2048))
        elif fault == "no folder for files":
            tempfile.tempdir = str(Path(tempfile.gettempdir(), "missing"))
        elif fault in ("cold process", "unreadable clips"):
            X = [rng.normal(0, 0.1, 8000).astype("f4") for _ in range(60)]
            y, logistic = np.arange(60) % 3, ("logistic", LogisticRegression())
            good = [("spectral", make_pipeline(SpectralStatistics(memory=False), GaussianNB()))]
            if fault == "unreadable clips":
                X[7] = str(HERE / "no such clip.wav")
        clf = TimeBudgetClassifier(
            [*good, *bad] if "clips" in fault or "cold" in fault else [*good, *bad, logistic],
            time_budget=budget,
            random_state=int(rng.integers(2**31)),
            n_jobs=2,
            **params,
        )
        fit = {
            "caller holds a snapshot": lambda: hold(clf, X, y, 1.5 * budget),
            "caller closes the generator": lambda: close(clf, X, y, moment),
            "two fits in two threads": lambda: fit_twice(clf, X, y),
        }.get(fault, lambda: clf.fit(X, y))
        start, error = time.monotonic(), None
        try:
            fit()
        except (Exception, KeyboardInterrupt) as raised:
            error = f"{type(raised).__name__}: {raised}".replace(f"{HERE}{os.sep}", "")[:300]
        elapsed = time.monotonic() - start
    status = dict(
        zip(*(map(str, clf.results_[key]) for key in ("name", "status")), strict=True)
        if hasattr(clf, "results_")
        else ()
    )
    return {
        "elapsed": elapsed,
        "error": error,
        "members": sorted(name for name, _ in clf.ensemble_.estimators)
        if hasattr(clf, "ensemble_")
        else [],
        "status": status,
        "warnings": sorted(WARNINGS),
    }


def timer(seconds, function, *arguments):
    thread = threading.Timer(seconds, function, arguments)
    thread.daemon = True
    thread.start()
    return thread


def slow_scorer(estimator, X, y, seconds):
    time.sleep(seconds)
    return estimator.score(X, y)


def hold(clf, X, y, seconds):
    """Keep the first snapshot for longer than the budget; only then ask for the next one."""
    for snapshot in clf.iter_fit(X, y):
        snapshot.predict(X)
        time.sleep(max(seconds, 0))
        seconds = 0


def close(clf, X, y, seconds):
    end = time.monotonic() + seconds
    for _ in clf.iter_fit(X, y):
        if time.monotonic() > end:
            break


def fit_twice(clf, X, y):
    from sklearn.base import clone

    errors = []

    def fit():
        try:
            clone(clf).fit(X, y)
        except Exception as error:
            errors.append(error)

    other = threading.Thread(target=fit)
    other.start()
    clf.fit(X, y)
    other.join()
    if errors:
        raise errors[0]


class NativeHangingSteps:
    """Shared steps that never return from native code."""

    def fit(self, X, y=None):
        return self

    def transform(self, X):
        ctypes.CDLL(None).sleep(3600)

    def get_params(self, deep=True):
        return {}

    def __sklearn_tags__(self):
        from sklearn.utils import Tags, TargetTags, TransformerTags

        return Tags(None, TargetTags(False), TransformerTags(), requires_fit=False)


def settings():
    """Settings of the process that no fit may change."""
    from threadpoolctl import threadpool_info

    return {
        "threads of libraries": {i["filepath"]: i["num_threads"] for i in threadpool_info()},
        "filters of warnings": [str(f) for f in warnings.filters if "skspeech" in str(f[1])],
        "handlers of signals": [str(signal.getsignal(n)) for n in signal.valid_signals()],
        "folder": os.getcwd(),
    }


def left_behind(before, fault):
    """What a fit has left in this process, if it is still there after `SETTLE` seconds."""
    end = time.monotonic() + SETTLE
    while (left := _left_now(before, fault)) and time.monotonic() < end:
        time.sleep(0.05)
    return left


def _left_now(before, fault):
    now = settings()
    left = []
    for what, value in before.items():
        if isinstance(value, dict):  # other libraries may be new
            changed = {k: now[what].get(k) for k in value if now[what].get(k) != value[k]}
            left += [f"{what}: {changed}"] if changed else []
        elif value != now[what]:
            left.append(what)
    for thread in threading.enumerate():
        if "skspeech" in thread.name and not (
            thread.name == "skspeech-work" and _hangs(thread, fault)
        ):
            left.append(f"thread {thread.name}")
    left += [f"process {p.pid}" for p in marked("SKSPEECH_WORKER", f"skspeech-{os.getpid()}-")]
    left += [f"file {path.name}" for path in Path(tempfile.gettempdir()).glob("skspeech-*")]
    return left


def _hangs(thread, fault):
    """Whether a thread is in the hanging steps of this fit or of an earlier one."""
    frame = sys._current_frames().get(thread.ident)
    return frame is not None and frame.f_code.co_name == "transform"


def marked(variable, part):
    """Running processes with an environment variable whose value holds this."""
    found = []
    for process in psutil.process_iter():
        try:
            alive = process.pid != os.getpid() and process.status() != psutil.STATUS_ZOMBIE
            if alive and part in process.environ().get(variable, ""):
                found.append(process)
        except (psutil.Error, OSError):
            continue
    return found


# -------------------------------------------------------------------------- around the process


def run_process(fits, seed):
    """Run fits in a process; return their results, and what is left after its end."""
    token = uuid.uuid4().hex
    arguments = [sys.executable, __file__, "--seed", str(seed), "--run", json.dumps(fits)]
    with tempfile.TemporaryDirectory(prefix="soak-") as folder:
        process = subprocess.Popen(
            arguments,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, TOKEN: token, "TMPDIR": folder},
        )
        try:
            out, err = process.communicate(timeout=sum(fit[2] for fit in fits) * 3 + 240)
            hung = False
        except subprocess.TimeoutExpired:
            process.kill()
            out, err = process.communicate()
            hung = True
        gone = time.time()
        results = [json.loads(line) for line in out.splitlines() if line.startswith("{")]
        end = time.monotonic() + SETTLE
        while (left := _left_outside(token, folder)) and time.monotonic() < end:
            time.sleep(0.1)
        for survivor in marked(TOKEN, token):
            survivor.kill()
    done = next((r["ended"] for r in results if r["number"] is None), None)
    results = [r for r in results if r["number"] is not None]
    told = {"code": process.returncode, "hung": hung, "left": left, "stderr": err[-600:]}
    told["exit_seconds"] = None if done is None else gone - done
    expected = [-getattr(signal, fit[1]) if fit[1].startswith("SIG") else 0 for fit in fits[-1:]]
    told["bad_exit"] = hung or process.returncode not in (0, *expected)
    return results, told


def _left_outside(token, folder):
    processes = [f"process {p.pid} {p.name()}" for p in marked(TOKEN, token)]
    return processes + [f"file {path.name}" for path in Path(folder).glob("skspeech-*")]


def reference():
    """Seconds of a plain fit on clips in a fresh process, including the import of torch."""
    code = (
        "import time, numpy as np\n"
        "from sklearn.pipeline import make_pipeline; from sklearn.naive_bayes import GaussianNB\n"
        "from skspeech import SpectralStatistics; t = time.perf_counter()\n"
        "X = [np.random.default_rng(i).normal(0, 0.1, 8000) for i in range(60)]\n"
        "make_pipeline(SpectralStatistics(memory=False), GaussianNB()).fit(X, np.arange(60) % 3)\n"
        "print(time.perf_counter() - t)"
    )
    command = [sys.executable, "-c", code]
    return float(np.median([float(subprocess.check_output(command)) for _ in range(3)]))


def batches(fits, size=25):
    """Batches of fits that share a process, and fits with their own, in the order of numbers."""
    used, found = [], []
    for fit in fits:
        if fit[3]:
            found.append([fit])
        else:
            used.append(fit)
            if len(used) == size:
                found.append(used)
                used = []
    return [*found, used] if used else found


def soak(fits, seed, tell=print):
    """Run all fits; return a row for each fit, and one for each process.

    If a fit brings its process down, the rest runs in another one.
    """
    results, processes = [], []
    for batch in batches(fits):
        while batch:
            done, told = run_process(batch, seed)
            dies = batch[len(done) : len(done) + 1]
            told["fits"] = [fit[0] for fit in [*batch[: len(done)], *dies]]
            told["fault"] = dies[0][1] if dies else batch[-1][1]
            told["died"] = bool(dies)
            processes.append(told)
            results += done
            if told["bad_exit"] or told["left"]:
                tell(f"after fits {told['fits']}: {told}")
            for row in done:
                if row["left"] or is_unexpected(row):
                    tell(f"fit {row['number']}: {row}")
            batch = batch[len(done) + len(dies) :]
    return results, processes


def is_unexpected(row):
    """Whether a fit ended with another error than its fault should cause."""
    error = row["error"] or ""
    if row["fault"] == "unreadable clips":
        return not ("no such clip" in error or (not error and row["budget"] < 2))
    if row["fault"] == "Ctrl-C":
        return not error.startswith("KeyboardInterrupt") and bool(error)
    return bool(error)


def has_no_model(row, plain):
    """Whether a fit gave only class frequencies or no model, although it had time for more."""
    if row["fault"] == "unreadable clips" or (row["error"] or "").startswith("KeyboardInterrupt"):
        return False
    if row["fault"] == "cold process" and row["budget"] < LONG_ENOUGH * plain:
        return False
    if row["fault"] == "caller closes the generator" and row["elapsed"] < row["budget"]:
        return row["members"] == []
    return row["members"] in ([], ["prior"])


def overrun(row):
    extra = 0.5 * row["budget"] if row["fault"] == "caller holds a snapshot" else 0.0
    return max(row["elapsed"] - row["budget"] - extra, 0.0)


def table(results, processes, plain):
    """A row of figures for each fault, and one for all."""
    rows = []
    for fault in ["all", *FAULTS]:
        fits = [r for r in results if fault in ("all", r["fault"])]
        ended = [p for p in processes if fault in ("all", p["fault"])]
        over = np.array([overrun(r) for r in fits] or [0.0])
        limits = np.array([max(0.5, 0.02 * r["budget"]) for r in fits] or [0.5])
        died = sum(p["died"] for p in ended)
        rows.append(
            {
                "fault": fault,
                "fits": len(fits) + died,
                "happened": sum(_happened(r) for r in fits) + died,
                "median": float(np.median(over)),
                "p99": float(np.quantile(over, 0.99)),
                "max": float(over.max()),
                "above": int(np.sum(over > limits)),
                "no_model": sum(has_no_model(r, plain) for r in fits),
                "unexpected": sum(is_unexpected(r) for r in fits),
                "left": sum(bool(r["left"]) for r in fits) + sum(bool(p["left"]) for p in ended),
                "processes": len(ended),
                "bad_exits": sum(p["bad_exit"] for p in ended),
                "exit_max": max([p["exit_seconds"] or 0.0 for p in ended], default=0.0),
            }
        )
    return rows


def _happened(row):
    """Whether there was time for the fault to show: the faulty candidate was started."""
    if row["fault"].startswith("SIG"):
        return False
    return "bad" not in row["status"] or row["status"]["bad"] != "not started"


def write(rows, results, processes, plain, arguments, folder=HERE / "results"):
    head = "| fault | fits | fault shows | overrun: median | p99 | max | above limit | no model "
    head += "| other errors | left behind | processes | bad exits | longest exit |"
    page = ["# Soak", "", head, "| --- |" + " ---: |" * 12]
    for r in rows:
        page.append(
            f"| {r['fault']} | {r['fits']} | {r['happened']} | {r['median']:.2f} s | "
            f"{r['p99']:.2f} s | {r['max']:.2f} s | {r['above']} | {r['no_model']} | "
            f"{r['unexpected']} | {r['left']} | {r['processes']} | {r['bad_exits']} | "
            f"{r['exit_max']:.1f} s |"
        )
    about = {**machine(), **versions(), "seed": arguments.seed, "fits": arguments.fits}
    about["load"] = [round(os.getloadavg()[0], 1)]
    page += [
        "",
        "The limit of the overrun is the larger of 0.5 s and 2 % of the budget. *No model*: the "
        "classes' frequencies are predicted, or nothing, although naive Bayes could be trained in "
        f"time; in a cold process, only budgets of {LONG_ENOUGH * plain:.1f} s and more count, "
        f"{LONG_ENOUGH:g} times what a plain fit took. *Fault shows*: the faulty candidate was "
        "begun at all. *Left behind*: processes, files, threads or changed settings, "
        f"{SETTLE:g} s after a fit or its process; a thread that hangs in the user's own code is "
        "not counted. What a process exits by is counted with its last fit's fault.",
        "",
        "Measured on: " + ", ".join(f"{k} {v}" for k, v in about.items() if v is not None) + ".",
        "",
    ]
    folder.mkdir(exist_ok=True)
    (folder / "soak.md").write_text("\n".join(page))
    content = {"about": about, "rows": rows, "fits": results, "processes": processes}
    (folder / "soak.json").write_text(json.dumps(content, indent=1) + "\n")
    print("\n".join(page))


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--fits", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", type=int, help="number of the one fit that is run")
    parser.add_argument("--fault", help="only fits with this fault")
    parser.add_argument("--folder", type=Path, default=HERE / "results")
    parser.add_argument("--run", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.run:
        run_fits(json.loads(arguments.run), arguments.seed)
        return
    fits = plan(max(arguments.fits, (arguments.only or 0) + 1), arguments.seed)
    if arguments.only is not None:
        fits = [(*fit[:3], True) for fit in fits if fit[0] == arguments.only]
    if arguments.fault:
        fits = [fit for fit in fits if fit[1] == arguments.fault]
    plain = reference()
    results, processes = soak(fits, arguments.seed)
    if arguments.only is not None:
        print(json.dumps([results, processes], indent=1))
    rows = table(results, processes, plain)
    write(rows, results, processes, plain, arguments, arguments.folder)


if __name__ == "__main__":
    main()
