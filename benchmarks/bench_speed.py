"""Speed of skspeech: ratios against named peers and limits, measured in one run.

    python benchmarks/bench_speed.py [--sections embedding audio ...] [--threads 2] [--repeats 5]

Every ratio compares medians of alternating repetitions, with equal numbers of threads.
The table is printed, and written with the machine and the versions to benchmarks/results/.
Recordings are the 535 clips of emodb (SKSPEECH_DATA, or downloaded).
"""

import argparse
import itertools
import json
import os
import shutil
import subprocess
import sys
import tempfile
from functools import partial
from importlib.util import find_spec
from pathlib import Path

import numpy as np
from _report import write_results
from _speed import IMPORT_MEMORY, alternate, matmul_flops, seconds
from sklearn.base import clone

SECTIONS = {}
_N_SINGLE = 20  # clips that are predicted one by one


def section(function):
    """Register a part of the bench under its name."""
    SECTIONS[function.__name__.removeprefix("bench_")] = function
    return function


def row(what, value, limit, detail):
    """One row of the table: what was compared, the ratio or figure, its aim, the raw numbers."""
    return {"what": what, "value": value, "aim": limit, "detail": detail}


def emodb_paths():
    from skspeech.datasets import fetch_emodb

    return fetch_emodb(data_home=os.environ.get("SKSPEECH_DATA")).data


def fsdd_paths():
    from skspeech.datasets import fetch_fsdd

    return fetch_fsdd(data_home=os.environ.get("SKSPEECH_DATA")).data


def ge2e_flops(n_windows, n_frames=160):
    """Multiplications and additions of the network: three LSTM layers and a linear one."""
    per_frame = 2 * 4 * 256 * ((40 + 256) + 2 * (256 + 256))
    return n_windows * (n_frames * per_frame + 2 * 256 * 256)


def musicnn_flops(n_windows, n_frames=187, n_mels=96):
    timbral = sum(204 * 7 * width * n_frames * (n_mels - width + 1) for width in (38, 67))
    temporal = sum(51 * length * n_frames * n_mels for length in (128, 64, 32))
    middle = sum(64 * 7 * n * n_frames for n in (561, 64, 64))
    dense = 1506 * 200 + 200 * 50
    return n_windows * 2 * (timbral + temporal + middle + dense)


def network_part(extractor, waveforms):
    """The network alone, on windows that are already cut."""
    import torch

    from skspeech.transformers._windowed import shared_network

    device = torch.device("cpu")
    network = shared_network(extractor._variant_id(), device, extractor._load_network)
    windows = extractor._cut(waveforms, device)

    def run():
        with torch.inference_mode():
            extractor._run(network, windows)

    return run, int(windows.counts.sum())


@section
def bench_embedding(options):
    """GE2E against Resemblyzer looped over clips, and against the matrix-multiply rate."""
    import librosa
    from _originals import load_resemblyzer

    from skspeech import SpeakerEmbedding
    from skspeech.audio import load_waveforms

    paths = emodb_paths()
    encoder, normalize_volume = load_resemblyzer()

    def resemblyzer():
        for path in paths:
            waveform, _ = librosa.load(path, sr=16_000)
            encoder.embed_utterance(normalize_volume(waveform, -30, increase_only=True))

    # The same windows as Resemblyzer's: 1.3 a second.
    same = SpeakerEmbedding(layers="embedding", hop=0.77, memory=False, device="cpu")
    default = SpeakerEmbedding(memory=False, device="cpu")
    exact = [clone(extractor).set_params(dtype="float32") for extractor in (same, default)]
    waveforms = load_waveforms(paths)
    network, n_windows = network_part(same, waveforms)
    _, n_default = network_part(default, waveforms)
    exact_network, exact_network_default = (network_part(e, waveforms)[0] for e in exact)
    multiply, flops = matmul_flops()
    times = alternate(
        {
            "resemblyzer": resemblyzer,
            "same": lambda: same.transform(paths),
            "default": lambda: default.transform(paths),
            "network": network,
            "exact": lambda: exact[0].transform(paths),
            "exact_network": exact_network,
            "exact_default": lambda: exact[1].transform(paths),
            "exact_network_default": exact_network_default,
            "matmul": lambda: [multiply() for _ in range(20)],
        },
        options.repeats,
    )
    rate = 20 * flops / times["matmul"]
    achieved = ge2e_flops(n_windows) / times["network"]
    n = len(paths)
    return [
        row(
            "GE2E, paths to embeddings, against the Resemblyzer loop",
            times["resemblyzer"] / times["same"],
            ">= 5",
            f"{n} clips: {times['same']:.2f} s against {times['resemblyzer']:.2f} s; "
            f"{n_windows / times['same']:.0f} windows/s",
        ),
        row(
            "the same with all layers' statistics (default)",
            times["resemblyzer"] / times["default"],
            "",
            f"{times['default']:.2f} s, {n_default} windows",
        ),
        row(
            "GE2E network part against the fp32 matrix-multiply rate",
            achieved / rate,
            ">= 0.75",
            f"{achieved / 1e9:.0f} against {rate / 1e9:.0f} GFLOP/s",
        ),
        row(
            "whole GE2E pipeline against its network part, both in float32",
            times["exact"] / times["exact_network"],
            "<= 1.25",
            f"{times['exact']:.2f} against {times['exact_network']:.2f} s; as it is by default "
            f"{times['same']:.2f} against {times['network']:.2f} s",
        ),
        row(
            "whole default pipeline against its network part, both in float32",
            times["exact_default"] / times["exact_network_default"],
            "<= 1.25",
            f"{times['exact_default']:.2f} against {times['exact_network_default']:.2f} s",
        ),
    ]


@section
def bench_music(options):
    """musicnn against its original graph, and against the matrix-multiply rate."""
    from _originals import OriginalMusicnn

    from skspeech import MusicEmbedding
    from skspeech.audio import load_waveforms

    paths = emodb_paths()[:200]
    original = OriginalMusicnn(options.threads)
    extractor = MusicEmbedding(memory=False, device="cpu")
    network, n_windows = network_part(extractor, load_waveforms(paths))
    multiply, flops = matmul_flops()
    seen = original.embed(paths)
    times = alternate(
        {
            "original": lambda: original.embed(paths),
            "ours": lambda: extractor.transform(paths),
            "network": network,
            "matmul": lambda: [multiply() for _ in range(20)],
        },
        options.repeats,
    )
    original.close()
    rate = 20 * flops / times["matmul"]
    achieved = musicnn_flops(n_windows) / times["network"]
    per_window = (times["original"] / seen) / (times["ours"] / n_windows)
    return [
        row(
            "musicnn, paths to embeddings, windows/s against its original extractor",
            per_window,
            ">= 8",
            f"{n_windows / times['ours']:.1f} against {seen / times['original']:.1f} windows/s",
        ),
        row(
            "musicnn network part against the fp32 matrix-multiply rate",
            achieved / rate,
            "",
            f"{achieved / 1e9:.0f} against {rate / 1e9:.0f} GFLOP/s",
        ),
        row(
            "whole musicnn pipeline against its network part",
            times["ours"] / times["network"],
            "<= 1.25",
            f"{times['ours']:.2f} against {times['network']:.2f} s",
        ),
    ]


def attention_flops(positions, n_layers, width):
    """Operations of matrix products and attention at the positions of each clip."""
    layer = 2 * (4 * width * width + 2 * width * 4 * width)
    return n_layers * float(np.sum(positions * (layer + 4 * width * positions)))


def whisper_flops(waveforms, n_layers, width=384, n_mels=80):
    """Operations of convolutions, matrix products and attention, without those on padding."""
    positions = np.array([-(-len(waveform) // 320) for waveform in waveforms])
    convolutions = 2 * 3 * (2 * n_mels * width + width * width)
    return positions.sum() * convolutions + attention_flops(positions, n_layers, width)


def moonshine_flops(waveforms, n_layers, width=288):
    """The same of Moonshine's encoder, with 0.3 s of silence on both sides."""
    counts = np.array([len(waveform) + 2 * 4_800 for waveform in waveforms])
    units, convolutions = (1, width, 2 * width, width), 0.0
    for i, (size, stride) in enumerate([(127, 64), (7, 3), (3, 2)]):
        counts = (counts - size) // stride + 1
        convolutions += 2 * size * units[i] * units[i + 1] * counts.sum()
    return convolutions + attention_flops(counts, n_layers, width)


_FROM_PATHS = "paths to features"


@section
def bench_whisper(options):
    """Whisper's encoder against its original graph, and against the matrix-multiply rate."""
    from _originals import load_smart_turn

    from skspeech import WhisperEmbedding

    extractors = _at_two_precisions(WhisperEmbedding, None)
    return _encoder_on_clips(
        "Whisper's encoder",
        extractors,
        whisper_flops,
        load_smart_turn(options.threads),
        options,
        given="spectrograms",
        least_share=">= 0.6",
        least_ratio=">= 5",
    )


@section
def bench_moonshine(options):
    """The same for Moonshine's encoder."""
    from _originals import load_moonshine

    from skspeech import MoonshineEmbedding

    return _encoder_on_clips(
        "Moonshine's encoder",
        _at_two_precisions(MoonshineEmbedding, (1, 3, 5)),
        moonshine_flops,
        load_moonshine(options.threads),
        options,
        given="waveforms",
        least_share=">= 0.6",
    )


def _at_two_precisions(make, layers):
    """Extractors of default and of all layers, by layers and kind."""
    return {
        (name, what): make(layers=own, dtype=dtype, memory=False, device="cpu")
        for name, own in [("default layers", layers), ("all layers", "all")]
        for what, dtype in [(_FROM_PATHS, "auto"), ("the same in float32", "float32")]
    }


def _encoder_on_clips(
    encoder, extractors, flops_of, original, options, *, given, least_share="", least_ratio=""
):
    """Rows for extractors, by layers and kind, on two data sets.

    `given` is what the original graph gets, and the time for it is not counted.
    """
    from skspeech.audio import load_waveforms

    multiply, flops = matmul_flops()
    rows = []
    for kind, paths in [("emodb", emodb_paths()[:200]), ("fsdd", fsdd_paths()[:400])]:
        waveforms = load_waveforms(paths)
        inputs = [original.inputs(waveform) for waveform in waveforms]
        times = alternate(
            {
                "original": lambda inputs=inputs: [original.run(feeds) for feeds in inputs],
                "matmul": lambda: [multiply() for _ in range(20)],
                **{key: partial(one.transform, paths) for key, one in extractors.items()},
            },
            options.repeats,
        )
        rate, n = 20 * flops / times["matmul"], len(paths)
        for (name, what), extractor in extractors.items():
            taken = times[name, what]
            achieved = flops_of(waveforms, max(extractor._layers())) / taken
            precision = extractor._precision() if hasattr(extractor, "dtype") else "float32"
            rows.append(
                row(
                    f"{encoder} on {kind}, {name}, {what}, against the rate of matrix products "
                    "in fp32",
                    achieved / rate,
                    least_share if what == _FROM_PATHS else "",
                    f"in {precision} {achieved / 1e9:.0f} against {rate / 1e9:.0f} GFLOP/s; "
                    f"{1e3 * taken / n:.1f} ms a clip",
                )
            )
        for name, what in extractors:
            if what != _FROM_PATHS:
                continue
            taken = times[name, what]
            rows.append(
                row(
                    f"{encoder} on {kind}, {name}, {what}, against ONNX Runtime running the "
                    "original graph clip by clip",
                    times["original"] / taken,
                    least_ratio if name == "default layers" else "",
                    f"{1e3 * taken / n:.1f} against {1e3 * times['original'] / n:.1f} ms a clip, "
                    f"for which ONNX Runtime gets {given}",
                )
            )
    return rows


@section
def bench_audio(options):
    """Decoding and resampling against librosa.load, spectrograms against librosa's."""
    import librosa
    import soundfile

    from skspeech._spectrogram import MelSpectrogram
    from skspeech.audio import load_waveforms

    paths = emodb_paths()
    waveforms = load_waveforms(paths)
    mel = MelSpectrogram(n_fft=400, hop_length=160, n_mels=40)

    def librosa_mels():
        for waveform in waveforms:
            librosa.feature.melspectrogram(
                y=waveform, sr=16_000, n_fft=400, hop_length=160, n_mels=40
            )

    with tempfile.TemporaryDirectory() as folder:
        resampled = []
        for index, waveform in enumerate(waveforms[:100]):
            resampled.append(f"{folder}/{index}.flac")
            high = librosa.resample(waveform, orig_sr=16_000, target_sr=44_100)
            soundfile.write(resampled[-1], np.clip(high, -1, 1), 44_100)
        m4a = [write_m4a(f"{folder}/{index}.m4a", path) for index, path in enumerate(resampled)]
        # librosa reads m4a only where the program ffmpeg is installed.
        from_m4a = (
            {"librosa_m4a": lambda: [librosa.load(path, sr=16_000) for path in m4a]}
            if shutil.which("ffmpeg")
            else {}
        )
        times = alternate(
            {
                "decode": lambda: load_waveforms(paths),
                "librosa_decode": lambda: [librosa.load(path, sr=16_000) for path in paths],
                "resample": lambda: load_waveforms(resampled),
                "librosa_resample": lambda: [librosa.load(p, sr=16_000) for p in resampled],
                "m4a": lambda: load_waveforms(m4a),
                "mel": lambda: mel(waveforms),
                "librosa_mel": librosa_mels,
                **from_m4a,
            },
            options.repeats,
        )
    return [
        row(
            what,
            times[f"librosa_{key}"] / times[key],
            "",
            f"{times[key]:.3f} s against {times[f'librosa_{key}']:.3f} s, {count} clips",
        )
        for what, key, count in [
            ("decoding 16 kHz WAV against librosa.load", "decode", len(paths)),
            ("decoding and resampling 44.1 kHz FLAC against librosa.load", "resample", 100),
            ("decoding 44.1 kHz m4a against librosa.load with ffmpeg", "m4a", 100),
            ("mel spectrograms against librosa's", "mel", len(paths)),
        ]
        if f"librosa_{key}" in times
    ]


def write_m4a(path, source):
    """Write a sound file as AAC; return its path."""
    import av

    with av.open(source) as sound, av.open(path, "w", format="ipod") as output:
        stream = output.add_stream("aac", rate=44_100, layout="mono")
        for frame in sound.decode(audio=0):
            output.mux(stream.encode(frame))
        output.mux(stream.encode(None))
    return path


_START = """
import json, os, sys, time
start = time.perf_counter()
import numpy as np
times = {}
def lap(name):
    global start
    now = time.perf_counter(); times[name] = now - start; start = now
import skspeech
lap("import skspeech")
from skspeech import TimeBudgetClassifier, SpeakerEmbedding
import torch, sklearn.linear_model
from skspeech.candidates import default_candidates
lap("imports")
train, y, test = json.load(sys.stdin)
clf = TimeBudgetClassifier(time_budget=60, random_state=0)
snapshots = clf.iter_fit(train, np.array(y))
first = next(snapshots)
lap("fit to first ensemble")
first.predict(test)
lap("predict test part")
snapshots.close()
print(json.dumps(times))
"""


@section
def bench_start(options):
    """From the start of a process to the first prediction on emodb, 374 + 161 clips."""
    from sklearn.model_selection import train_test_split

    from skspeech.datasets import fetch_emodb

    data = fetch_emodb(data_home=os.environ.get("SKSPEECH_DATA"))
    train, test, y, _ = train_test_split(
        data.data, data.target, test_size=0.3, stratify=data.target, random_state=0
    )
    message = json.dumps([train, y.tolist(), test])
    runs = []
    for _ in range(options.repeats):
        laps = {}
        total = seconds(
            lambda laps=laps: laps.update(
                json.loads(
                    subprocess.run(
                        [sys.executable, "-c", _START],
                        input=message,
                        capture_output=True,
                        text=True,
                        check=True,
                    ).stdout
                )
            )
        )
        runs.append({**laps, "total": total})
    median = {name: float(np.median([run[name] for run in runs])) for name in runs[0]}
    answer = median["fit to first ensemble"] + median["predict test part"]
    detail = ", ".join(f"{name} {value:.2f}" for name, value in median.items())
    return [
        row("import skspeech, s", median["import skspeech"], "<= 0.3", ""),
        row("process start to first prediction, s", median["total"], "<= 8", detail),
        row("call of fit to first prediction, imports done, s", answer, "<= 3", ""),
    ]


@section
def bench_predict(options):
    """One warm prediction of a fitted ensemble of embeddings."""
    from skspeech import (
        GeometricMeanVotingClassifier,
        MusicEmbeddingClassifier,
        SpeakerEmbeddingClassifier,
    )
    from skspeech.audio import load_waveforms
    from skspeech.datasets import fetch_emodb

    data = fetch_emodb(data_home=os.environ.get("SKSPEECH_DATA"))
    waveforms = [np.resize(w, 48_000) for w in load_waveforms(data.data[:256])]

    def fitted(memory):
        members = [
            ("speaker", SpeakerEmbeddingClassifier(memory=memory)),
            ("music", MusicEmbeddingClassifier(memory=memory)),
        ]
        return GeometricMeanVotingClassifier(members).fit(waveforms, data.target[:256])

    default, forgetful = fitted(None), fitted(False)
    rng, repeats = np.random.default_rng(0), max(options.repeats, 5)
    noise = rng.standard_normal((_N_SINGLE * (repeats + 1), 48_000), dtype=np.float32)
    new = ([waveforms[0] + 1e-4 * own] for own in noise)

    def singles():
        for clip in itertools.islice(new, _N_SINGLE):
            default.predict_proba(clip)

    run = {"singles": singles, "many": lambda: forgetful.predict_proba(waveforms)}
    times = alternate(run, repeats)
    return [
        row(
            "predict one new 3 s clip, ensemble of two networks, ms",
            1e3 * times["singles"] / _N_SINGLE,
            "<= 20",
            f"default settings, {_N_SINGLE} clips, one after another",
        ),
        row("the same a clip, 256 at once, ms", 1e3 * times["many"] / 256, "<= 6", "memory=False"),
    ]


_ONE_BY_ONE = """
import json, sys, time
import numpy as np
from skspeech import KeywordEmbedding, SpectralStatistics
times = {}
for make in (SpectralStatistics, KeywordEmbedding):
    extractor, own = make(memory=False), []
    for path in json.load(open(sys.argv[1])):
        start = time.perf_counter()
        extractor.transform([path])
        own.append(time.perf_counter() - start)
    times[make.__name__] = np.mean(own[1:])
print(json.dumps(times))
"""
_USUAL_WAIT = "300000"  # GNU's OpenMP, where nothing is set


@section
def bench_busy(options):
    """Clips one by one, beside twice as many busy programs as there are cores."""
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        clips = Path(folder, "clips.json")
        clips.write_text(json.dumps([str(path) for path in emodb_paths()[:_N_SINGLE]]))
        for n_busy in (0, 2 * options.threads):
            spin = [sys.executable, "-c", "while True: pass"]
            busy = [subprocess.Popen(spin) for _ in range(n_busy)]
            runs = {"ours": [], "usual": []}
            for _ in range(options.repeats):
                for name, own in runs.items():
                    usual = {"GOMP_SPINCOUNT": _USUAL_WAIT} if name == "usual" else {}
                    run = [sys.executable, "-c", _ONE_BY_ONE, str(clips)]
                    environment = {**os.environ, **usual}
                    done = subprocess.run(run, capture_output=True, check=True, env=environment)
                    own.append(json.loads(done.stdout))
            for program in busy:
                program.kill()
                program.wait()
            for extractor in runs["ours"][0]:
                ours, usual = (np.median([run[extractor] for run in own]) for own in runs.values())
                rows.append(
                    row(
                        f"{extractor}, clips one by one beside {n_busy} busy programs, threads "
                        "that spin as usual against ours",
                        usual / ours,
                        ">= 2" if n_busy else ">= 0.9",
                        f"{1e3 * usual:.1f} against {1e3 * ours:.1f} ms a clip",
                    )
                )
    return rows


_SCALE = (
    IMPORT_MEMORY
    + """
import json, sys, time
import numpy as np
from skspeech import SpeakerEmbedding
paths, store = json.load(sys.stdin)
extractor = SpeakerEmbedding(max_duration=0.4, layers="embedding", memory=store)
extractor.transform(paths[:64])
before = memory.resident()
memory.forget_peak()
n_passes = 10 if len(paths) == 1_000 else 1  # processors slow down under load that lasts
start = time.perf_counter()
for _ in range(n_passes):
    extractor.transform(paths)
elapsed = (time.perf_counter() - start) / n_passes
print(json.dumps([elapsed, memory.peak() - before]))
"""
)


def _measure_scale(paths, memory):
    output = subprocess.run(
        [sys.executable, "-c", _SCALE],
        input=json.dumps([paths, memory]),
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    return json.loads(output)


@section
def bench_scale(options):
    """Memory and time against the number and the length of clips."""
    import soundfile

    rows, per_clip = [], {}
    with tempfile.TemporaryDirectory() as folder:
        rng = np.random.default_rng(0)
        short = []
        for index in range(1_000):
            short.append(f"{folder}/{index}.wav")
            soundfile.write(short[-1], rng.normal(scale=0.1, size=6_400), 16_000)
        runs = {count: [] for count in options.counts}
        for repeat in range(options.repeats):
            for count in options.counts:
                if repeat and count > 10_000:
                    continue  # one run is long enough to be reliable
                paths = [short[i % len(short)] for i in range(count)]
                runs[count].append(_measure_scale(paths, False))
        for count in options.counts:
            elapsed, megabytes = np.median(runs[count], axis=0)
            per_clip[count] = elapsed / count
            rows.append(
                row(
                    f"{count} clips of 0.4 s: MB above the model's",
                    megabytes,
                    "<= 1000",
                    f"{1e3 * elapsed / count:.2f} ms a clip",
                )
            )
        if {1_000, 10_000} <= per_clip.keys():
            growth = per_clip[10_000] / per_clip[1_000]
            rows.append(row("time a clip, 10,000 against 1,000 clips", growth, "<= 1.05", ""))
        for length in options.lengths:
            path = f"{folder}/long.wav"
            with soundfile.SoundFile(path, "w", 16_000, 1) as sound:
                for _ in range(max(1, length // 10)):
                    sound.write(rng.normal(scale=0.1, size=16_000 * min(length, 10)))
            elapsed, megabytes = _measure_long(path)
            rows.append(
                row(
                    f"one clip of {length} s: MB above the model's",
                    megabytes,
                    "<= 1000",
                    f"{elapsed:.2f} s",
                )
            )
    return rows


def _measure_long(path):
    code = _SCALE.replace("max_duration=0.4, ", "").replace("paths[:64]", "[np.zeros(16000)]")
    return json.loads(
        subprocess.run(
            [sys.executable, "-c", code],
            input=json.dumps([[path], False]),
            capture_output=True,
            text=True,
            check=True,
        ).stdout
    )


@section
def bench_gpu(options):
    """Extractors and network training, on a GPU against the CPU."""
    import torch

    if options.device == "cuda" and not torch.cuda.is_available():
        print("The section gpu is left out: torch sees no GPU.")
        return []
    return [*_extractors_on(options), *_training_on(options)]


def _extractors_on(options):
    import torch

    from skspeech import KeywordEmbedding, MusicEmbedding, SpeakerEmbedding

    paths = emodb_paths()
    rows = []
    for make, settings in [
        (SpeakerEmbedding, {}),
        (MusicEmbedding, {"dtype": "float32"}),
        (MusicEmbedding, {"model": "msd_vgg", "dtype": "float32"}),
        (KeywordEmbedding, {}),
    ]:
        on_gpu, on_cpu = (
            make(memory=False, device=device, **settings) for device in (options.device, "cpu")
        )
        features = on_gpu.transform(paths), on_cpu.transform(paths)
        times = alternate(
            {
                "gpu": lambda e=on_gpu: e.transform(paths),
                "cpu": lambda e=on_cpu: e.transform(paths),
            },
            options.repeats,
        )
        difference = np.abs(features[0] - features[1]).mean() / np.abs(features[1]).mean()
        detail = f"{times['gpu']:.2f} s against {times['cpu']:.2f} s; features differ by "
        detail += f"{difference:.1e} of their size"
        if torch.cuda.is_available():
            detail += f"; {torch.cuda.max_memory_allocated() / 2**20:.0f} MB"
            torch.cuda.reset_peak_memory_stats()
        rows.append(
            row(
                f"{make.__name__}{settings or ''}, paths to features, on a GPU against the CPU",
                times["cpu"] / times["gpu"],
                "",
                detail,
            )
        )
    return rows


def _training_on(options):
    from skspeech import (
        FineTunedSpeakerClassifier,
        MixupCNNClassifier,
        RecurrentAttentionClassifier,
    )
    from skspeech.datasets import fetch_emodb

    data = fetch_emodb(data_home=os.environ.get("SKSPEECH_DATA"))
    rows = []
    for make in (FineTunedSpeakerClassifier, MixupCNNClassifier, RecurrentAttentionClassifier):
        if make is not FineTunedSpeakerClassifier and find_spec("tensorflow") is None:
            print(f"{make.__name__} is left out: tensorflow is not installed.")
            continue
        rates = []
        for device in (options.device, "cpu"):
            clf = make(max_time=options.training_seconds, device=device, random_state=0)
            clf.fit(data.data, data.target)
            # Time the network only: the steps before it are the same on both devices.
            losses = np.array([row.get("train_loss") for row in clf.history_], dtype=float)
            ends = [clf.history_[i]["time"] for i in np.flatnonzero(np.isfinite(losses))]
            if len(ends) < 2:
                sys.exit(
                    f"{make.__name__} trained less than two epochs on {device} in "
                    f"{options.training_seconds:g} s. Raise --training-seconds."
                )
            rates.append((len(ends) - 1) / (ends[-1] - ends[0]))
        rows.append(
            row(
                f"{make.__name__}, epochs a second, on a GPU against the CPU",
                rates[0] / rates[1],
                "",
                f"{rates[0]:.2f} against {rates[1]:.2f}",
            )
        )
    return rows


def main():
    """Run the chosen sections, print and store the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sections", nargs="+", choices=list(SECTIONS), default=list(SECTIONS))
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--counts", type=int, nargs="+", default=[1_000, 10_000, 100_000])
    parser.add_argument("--lengths", type=int, nargs="+", default=[1, 60, 3_600])
    parser.add_argument("--device", default="cuda", help="what the section gpu compares")
    parser.add_argument("--training-seconds", type=float, default=60.0, help="of the section gpu")
    parser.add_argument("--name", default="speed")
    options = parser.parse_args()

    os.environ["OMP_NUM_THREADS"] = str(options.threads)
    import torch

    torch.set_num_threads(options.threads)
    rows = []
    for name in options.sections:
        rows += SECTIONS[name](options)
    write_results(Path(__file__).parent / "results", options.name, rows, options.threads)


if __name__ == "__main__":
    main()
