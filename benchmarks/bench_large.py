"""Memory and time of long clips, many clips, worker processes, and one cache folder shared by all.

    python benchmarks/bench_large.py [--sections long workers folder many] [--repeats 3]

Long clips are synthetic; clips for workers are FSDD's (SKSPEECH_DATA, or downloaded). The table
is printed, and written with the machine and the versions to benchmarks/results/large.md and .json.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
import warnings
from pathlib import Path

import numpy as np
from _report import write_results
from _speed import IMPORT_MEMORY, alternate, seconds
from bench_speed import fsdd_paths, row

SECTIONS = {}
EXTRACTORS = (
    "SpeakerEmbedding()",
    "MusicEmbedding()",
    "KeywordEmbedding()",
    "WhisperEmbedding()",
    "SpectralStatistics()",
)


def section(function):
    """Register a part of the bench under its name."""
    SECTIONS[function.__name__.removeprefix("bench_")] = function
    return function


# -- Long clips ------------------------------------------------------------------------------------

_PEAK = (
    IMPORT_MEMORY
    + """
import sys
import numpy as np
from skspeech import *
extractor, path = eval(sys.argv[1]).set_params(memory=False), sys.argv[2]
extractor.transform([np.random.default_rng(0).normal(scale=0.1, size=64_000)])
before = memory.resident()
memory.forget_peak()
extractor.transform([path])
print(memory.peak() - before)
"""
)
_PEAK_OF_COMMAND = """
import resource, subprocess, sys
subprocess.run([sys.executable, "-m", "skspeech", "predict", *sys.argv[1:]], check=True,
               stdout=subprocess.DEVNULL)
print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024)
"""


def _figure(code, *arguments):
    command = [sys.executable, "-c", code, *map(str, arguments)]
    return float(subprocess.run(command, capture_output=True, text=True, check=True).stdout)


def _write_sound(path, length):
    import soundfile

    rng, t = np.random.default_rng(0), np.arange(64_000) / 16_000
    with soundfile.SoundFile(path, "w", 16_000, 1) as sound:
        for number in range(length // 4):
            tone = np.sin(2 * np.pi * (120 + 10 * (number % 13)) * t + 3 * np.sin(6 * np.pi * t))
            syllables = 0.05 + 0.3 * (np.sin(2 * np.pi * 0.7 * t) > 0)
            sound.write(syllables * tone + rng.normal(scale=0.02, size=len(t)))
    return path


@section
def bench_long(options):
    """Peak memory for one long clip: of each extractor, and of the command."""
    from skspeech import (
        FusedEmbeddingClassifier,
        GeometricMeanVotingClassifier,
        MusicEmbeddingClassifier,
        SpeakerEmbeddingClassifier,
        save,
    )
    from skspeech.datasets import make_speech_like

    rows = []
    with tempfile.TemporaryDirectory() as folder:
        paths = {n: _write_sound(f"{folder}/{n}.wav", n) for n in (4, *options.lengths)}
        longest = max(options.lengths)
        for extractor in options.extractors:
            peaks = {n: _figure(_PEAK, extractor, path) for n, path in paths.items()}
            detail = ", ".join(f"{n} s: {peak:.0f}" for n, peak in peaks.items())
            what = f"{extractor}, one clip of {longest} s: MB above the model's"
            rows.append(row(what, peaks[longest], "<= 500", detail))
        clips = make_speech_like(n_samples=40, random_state=0)
        members = {
            "speaker": SpeakerEmbeddingClassifier(),
            "music": MusicEmbeddingClassifier(),
            "fused": FusedEmbeddingClassifier(),
        }
        ensemble = GeometricMeanVotingClassifier(list(members.items()))
        model = save(ensemble.fit(clips.data, clips.target), f"{folder}/model.skspeech")
        peaks = {n: _figure(_PEAK_OF_COMMAND, model, path) for n, path in paths.items()}
        detail = ", ".join(f"{n} s: {peak:.0f}" for n, peak in peaks.items())
        what = f"skspeech predict, ensemble of three: MB more for {longest} s than for 4 s"
        rows.append(row(what, peaks[longest] - peaks[4], "<= 250", detail))
    return rows


# -- Other processes -------------------------------------------------------------------------------


def _come_back(payload, clips, pooled, n_threads):
    """A task for workers that computes nothing, to measure the cost of the transfer."""
    from skspeech.audio.loading import Remarks

    arrays = list(np.zeros((len(clips), 1792), dtype=np.float32))
    return np.arange(len(clips)), arrays, [True] * len(clips), Remarks()


def _cluster(n_workers):
    import distributed

    return distributed.LocalCluster(
        n_workers=n_workers, threads_per_worker=1, dashboard_address=None, silence_logs=50
    )


@section
def bench_workers(options):
    """Embedding on Dask's workers against the threads of this process."""
    from distributed import Client
    from joblib import parallel_config

    from skspeech import SpeakerEmbedding
    from skspeech.audio import as_clips
    from skspeech.transformers import workers

    warnings.simplefilter("ignore")  # Dask's own
    paths = fsdd_paths()[: options.clips]
    extractor, rows = SpeakerEmbedding(memory=False), []
    here = seconds(lambda: extractor.transform(paths))

    def on(n_workers):
        begin = time.perf_counter()
        with _cluster(n_workers) as cluster, Client(cluster), parallel_config("dask"):
            extractor.transform(paths[: 20 * n_workers])  # imports and weights
            started = time.perf_counter() - begin

            def threads():
                with parallel_config("threading"):
                    extractor.transform(paths)

            both = {"threads": threads, "workers": lambda: extractor.transform(paths)}
            times = alternate(both, options.repeats)
            embed, workers._embed_shard = workers._embed_shard, _come_back
            way = alternate({"way": lambda: extractor.transform(paths)}, options.repeats)["way"]
            workers._embed_shard = embed
        return times, started, way

    times, started, way = on(2)
    detail = f"{times['workers']:.2f} s and {times['threads']:.2f} s for {len(paths)} clips"
    ratio = times["workers"] / times["threads"]
    rows.append(row("two Dask workers against threads, time", ratio, "<= 1.15", detail))
    rows.append(row("until two workers have imports and weights, s", started, "", ""))
    detail = "clips there and rows back"
    rows.append(row("of that on the way, ms a clip", 1e3 * way / len(paths), "", detail))
    clips = as_clips(paths)
    hashing = seconds(lambda: [clip.key() for clip in clips])
    rows.append(row("names by content, here, ms a clip", 1e3 * hashing / len(paths), "", ""))
    for n in (10, 40):
        expected = hashing + way + 2 * (times["workers"] - way) / n
        what = f"{n} such workers by these parts, times as fast as two"
        rows.append(row(what, (hashing + times["workers"]) / expected, "", "computed"))
    times, *_ = on(4)
    detail = f"{times['workers']:.2f} s and {times['threads']:.2f} s"
    ratio = times["workers"] / times["threads"]
    rows.append(row("four Dask workers against threads, time", ratio, "<= 1.5", detail))
    rows.append(row("threads before there was a cluster, s", here, "", ""))
    return rows


# -- One folder ------------------------------------------------------------------------------------

_BEGIN_AT_ONCE = """
import sys, time
import numpy as np
from skspeech.cache import DiskStore
begin, who, folder = float(sys.argv[1]), sys.argv[2], sys.argv[3]
time.sleep(max(0, begin - time.time()))
store = DiskStore(folder)
for number in range(100):
    store.set_many({f"{who}-{number}-{i}": np.zeros(1792, dtype=np.float32) for i in range(10)})
"""


@section
def bench_folder(options):
    """Eight processes that start to use a new cache folder at the same time."""
    with tempfile.TemporaryDirectory() as folder:
        begin = time.time() + 5
        command = [sys.executable, "-c", _BEGIN_AT_ONCE, str(begin)]
        processes = [
            subprocess.Popen([*command, str(who), folder], stderr=subprocess.PIPE, text=True)
            for who in range(8)
        ]
        complaints = sum(bool(process.communicate()[1]) for process in processes)
        took = time.time() - begin
    what = "eight processes on a new folder: those that could not use it"
    return [row(what, complaints, "0", f"8,000 embeddings in {took:.1f} s")]


# -- Many clips ------------------------------------------------------------------------------------

UNSEEN = ("theo", "lucas")
_FIT_MANY = """
import json, sys, threading, time
import numpy as np
import psutil
from skspeech import TimeBudgetClassifier
table, budget = np.load(sys.argv[1]), float(sys.argv[2])
me, most, done = psutil.Process(), [0], threading.Event()
def watch():
    while not done.wait(0.2):
        size = me.memory_info().rss
        for child in me.children(recursive=True):
            try:
                size += child.memory_full_info().uss
            except psutil.Error:
                pass
        most[0] = max(most[0], size)
threading.Thread(target=watch, daemon=True).start()
score = lambda model: float((model.predict(table["X_test"]) == table["y_test"]).mean())
begin = time.monotonic()
clf = TimeBudgetClassifier(time_budget=budget, random_state=0)
clf.fit(table["X"], table["y"])
took = time.monotonic() - begin
first = float(clf.learning_curve_["time"][0])
done.set()
print(json.dumps({"took": took, "first": first, "memory": most[0], "score": score(clf),
                  "classes": len(clf.classes_), "summary": clf.summary()}))
"""


def _many_clips(folder, n_clips):
    """Half-second excerpts of FSDD at many speeds: four speakers to train on, two to test on."""
    import soundfile

    recordings = [(path, *Path(path).stem.split("_")[:2]) for path in fsdd_paths()]
    rng, waveforms, X, y = np.random.default_rng(0), {}, [], []
    known = [recordings[i] for i in rng.permutation(len(recordings))]
    known = [r for r in known if r[2] not in UNSEEN]
    for number in range(n_clips):
        path, digit, _ = known[number % len(known)]
        if path not in waveforms:
            waveforms[path] = soundfile.read(path)
        samples, rate = waveforms[path]
        times = np.arange(0, len(samples) - 1, rng.uniform(0.8, 1.25))
        samples = np.interp(times, np.arange(len(samples)), samples)[-rate // 2 :]
        shard = Path(folder, str(number // 1000))
        shard.mkdir(exist_ok=True)
        X.append(str(shard / f"{number}.wav"))
        y.append(digit)
        soundfile.write(X[-1], samples, rate, subtype="PCM_16")
    unseen = [r for r in recordings if r[2] in UNSEEN][::2]
    table = {"X": X, "y": y, "X_test": [r[0] for r in unseen], "y_test": [r[1] for r in unseen]}
    return {name: np.array(column) for name, column in table.items()}


@section
def bench_many(options):
    """Fits on up to 100,000 clips: overrun, first answer, memory, and gain from more time."""
    rows, scores = [], {}
    with tempfile.TemporaryDirectory() as folder:
        table = _many_clips(folder, max(options.many))
        for n_clips in options.many:
            part = {name: column[:n_clips] for name, column in table.items() if "test" not in name}
            path = Path(folder) / f"{n_clips}.npz"
            np.savez(path, **{**table, **part})
            for budget in (60, 300) if n_clips == max(options.many) else (60,):
                command = [sys.executable, "-c", _FIT_MANY, path, str(budget)]
                done = subprocess.run(command, capture_output=True, text=True, check=True)
                run = json.loads(done.stdout.splitlines()[-1])
                print(run.pop("summary"), flush=True)
                scores[n_clips, budget] = run["score"]
                what = f"{n_clips:,} clips, {budget} s"
                rows += [
                    row(f"{what}: of the budget", run["took"] / budget, "<= 1.02", ""),
                    row(f"{what}: first answer, s", run["first"], "<= 10", ""),
                    row(f"{what}: GB", run["memory"] / 2**30, "<= 4", "with its processes"),
                    row(f"{what}: accuracy of two unseen speakers", run["score"], "", ""),
                ]
        most = max(options.many)
        gain = scores[most, 300] - scores[most, 60]
        rows.append(row(f"{most:,} clips: accuracy at 300 s above that at 60 s", gain, ">= 0", ""))
    return rows


def main():
    """Run the chosen sections, print and store the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sections", nargs="+", choices=list(SECTIONS), default=list(SECTIONS))
    parser.add_argument("--lengths", type=int, nargs="+", default=[900, 3_600], help="seconds")
    parser.add_argument("--extractors", nargs="+", default=EXTRACTORS)
    parser.add_argument("--clips", type=int, default=3_000, help="of the section workers")
    parser.add_argument("--many", type=int, nargs="+", default=[1_000, 10_000, 100_000])
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--name", default="large")
    options = parser.parse_args()
    rows = []
    for name in options.sections:
        rows += SECTIONS[name](options)
    write_results(Path(__file__).parent / "results", options.name, rows, os.cpu_count())


if __name__ == "__main__":
    main()
