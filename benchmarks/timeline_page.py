"""How large is the page of an hour's timeline, and what does it take to write?

    python benchmarks/timeline_page.py                    # one hour of each, and three: a minute
    python benchmarks/timeline_page.py --minutes 5 --dry-run

Recordings of Emo-DB (16 kHz, full sentences without pauses) and of FSDD (8 kHz, single digits) are
joined to hours, with a segment for each change of the speaker. Each page is written in a process of
its own. The peer is the recording as a FLAC file of its own sampling rate. Results go to
benchmarks/results/timeline_page.md and .json.
"""

import argparse
import itertools
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import soundfile
from _report import write_page
from _speed import memory

from skspeech import datasets

RESULTS = Path(__file__).parent / "results"


def main(argv=None):
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--minutes", type=float, nargs="+", default=[60, 180])
    parser.add_argument("--data-home", default=os.environ.get("SKSPEECH_DATA"))
    parser.add_argument("--dry-run", action="store_true", help="Write no results.")
    args = parser.parse_args(argv)
    rows = []
    for name, minutes in itertools.product(("emodb", "fsdd"), args.minutes):
        clips = getattr(datasets, f"fetch_{name}")(data_home=args.data_home)
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder, "hour.flac")
            segments = join(clips, file, minutes * 60)
            row = {"recordings": name, "minutes": minutes, "segments": len(segments)}
            row["flac_mb"] = round(file.stat().st_size / 1e6, 1)
            rows.append(row | measure(file, segments, Path(folder)))
        print(rows[-1], flush=True)
    if not args.dry_run:
        write(rows)


def join(clips, file, seconds, seed=0):
    """Write runs of clips of one speaker after the other; return their segments."""
    rng = np.random.default_rng(seed)
    groups, rate = np.asarray(clips.groups), soundfile.info(clips.data[0]).samplerate
    segments, n_samples = [], 0
    with soundfile.SoundFile(file, "w", rate, 1) as sound:
        while n_samples < seconds * rate:
            start, label = n_samples, rng.choice(np.unique(groups))
            while n_samples < start + rng.uniform(2, 10) * rate:
                clip = soundfile.read(clips.data[rng.choice(np.flatnonzero(groups == label))])[0]
                sound.write(clip)
                n_samples += len(clip)
            segments.append((start / rate, n_samples / rate, str(label), 0.9))
    return segments


def measure(file, segments, folder):
    """Write the page in its own process; its size, and the time and memory that it takes."""
    (folder / "segments.json").write_text(json.dumps(segments))
    code = "import runpy, sys; runpy.run_path(sys.argv[1])['ask'](*sys.argv[2:])"
    arguments = [Path(__file__).resolve(), file, folder]
    here = Path(__file__).parent  # for its imports
    subprocess.run([sys.executable, "-c", code, *map(str, arguments)], check=True, cwd=here)
    return json.loads((folder / "answer.json").read_text())


def ask(file, folder):
    """The work of the separate process: a page of a second first, so that all is imported."""
    import pandas as pd

    from skspeech.report import write_timeline_page

    segments = json.loads(Path(folder, "segments.json").read_text())
    columns = ["start", "end", "label", "probability"]
    first = np.zeros(16_000, dtype=np.float32)
    write_timeline_page(pd.DataFrame([], columns=columns), first, Path(folder, "first.html"))
    before = memory.resident()
    memory.forget_peak()
    start = time.perf_counter()
    page = write_timeline_page(
        pd.DataFrame(segments, columns=columns), file, Path(folder, "page.html")
    )
    answer = {
        "seconds": round(time.perf_counter() - start, 1),
        "memory_mb": round(memory.peak() - before),
        "page_mb": round(page.stat().st_size / 1e6, 1),
    }
    Path(folder, "answer.json").write_text(json.dumps(answer))


def write(rows):
    lines = [
        "# Pages of timelines",
        "",
        "`benchmarks/timeline_page.py` says how. Memory is the peak above that of the process "
        "after a page of one second.",
        "",
        "| recordings | minutes | segments | page (MB) | the sound as FLAC (MB) | time (s) "
        "| memory (MB) |",
        "| --- " + "| ---: " * 6 + "|",
    ]
    lines += [
        f"| {r['recordings']} | {r['minutes']:g} | {r['segments']} | {r['page_mb']} "
        f"| {r['flac_mb']} | {r['seconds']} | {r['memory_mb']} |"
        for r in rows
    ]
    write_page(RESULTS, "timeline_page", [*lines, ""], rows)


if __name__ == "__main__":
    main()
