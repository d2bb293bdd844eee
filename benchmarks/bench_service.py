"""The web service: equal answers for all clients, and memory that does not grow.

    python benchmarks/bench_service.py [--clients 8] [--requests 500]

A model with two networks is fitted on synthetic words and served by the command. Clients send
requests at the same time; every clip is new, so the cache never helps. Requirements: all answers
equal those of the model in this process, and the memory of the service grows by less than a tenth
after the first tenth of the requests.
"""

import argparse
import http.client
import io
import json
import re
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import numpy as np
import psutil
import soundfile
from _report import write_page

import skspeech
from skspeech import FusedEmbeddingClassifier
from skspeech.datasets import make_speech_like

RESULTS = Path(__file__).parent / "results"
GROWTH = 1.1  # largest ratio of memory, from the first tenth of the requests to the end


def main(argv=None):
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--clients", type=int, default=8)
    parser.add_argument("--requests", type=int, default=500, help="of each client")
    args = parser.parse_args(argv)
    clips = make_speech_like(60, n_classes=3, random_state=0)
    model = FusedEmbeddingClassifier().fit(clips.data, clips.target)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "words.skspeech"
        skspeech.save(model, path)
        result = measure(path, clips.data, args.clients, args.requests)
    expected = model.predict_proba([asked(clips.data, *pair) for pair in result["sample"]])
    worst = float(abs(np.array(result["answers"]) - expected).max())
    write(args, result, worst)
    if worst > 1e-3 or result["last"] > GROWTH * result["first"]:
        sys.exit("A floor is not kept.")


def asked(clips, client, number):
    """A clip that no other request contains."""
    noise = np.random.RandomState([client, number]).randn(len(clips[number % len(clips)]))
    return (clips[number % len(clips)] + 0.001 * noise).astype(np.float32)


def measure(path, clips, n_clients, n_requests):
    command = [sys.executable, "-m", "skspeech", "serve", str(path), "--port", "0"]
    sample = [(client, n) for client in range(n_clients) for n in range(0, n_requests, 50)]
    answers, memory, failed = {}, [], []
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        try:
            port = int(re.search(r":(\d+)\. ", process.stderr.readline()).group(1))
            service = psutil.Process(process.pid)
            start_memory = service.memory_info().rss

            def client(number):
                connection = http.client.HTTPConnection("127.0.0.1", port, timeout=120)
                for i in range(n_requests):
                    file = io.BytesIO()
                    samples = asked(clips, number, i)
                    soundfile.write(file, samples, 16_000, format="WAV", subtype="FLOAT")
                    connection.request("POST", "/predict", body=file.getvalue())
                    answer = connection.getresponse()
                    said = json.load(answer)
                    if answer.status != 200:
                        failed.append(said)
                    elif (number, i) in sample:
                        answers[number, i] = list(said["probabilities"].values())
                    memory.append(service.memory_info().rss)
                connection.close()

            begin = time.monotonic()
            threads = [threading.Thread(target=client, args=(n,)) for n in range(n_clients)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
            seconds = time.monotonic() - begin
        finally:
            process.terminate()
    if failed:
        sys.exit(f"{len(failed)} requests failed: {failed[0]}")
    tenth = max(len(memory) // 10, 1)
    return {
        "seconds": seconds,
        "start": start_memory,
        "first": max(memory[:tenth]),
        "last": max(memory[-tenth:]),
        "most": max(memory),
        "sample": sample,
        "answers": [answers[pair] for pair in sample],
    }


def write(args, result, worst):
    n = args.clients * args.requests
    mb = {name: f"{result[name] / 2**20:.0f}" for name in ("start", "first", "last", "most")}
    lines = [
        "# The service",
        "",
        f"{args.clients} clients, {args.requests} requests each, of words of half a second, "
        "all different; a model of the speaker network and the music network.",
        "",
        "| | |",
        "| --- | --- |",
        f"| requests | {n}, none failed |",
        f"| seconds in all; milliseconds each | {result['seconds']:.0f}; "
        f"{1000 * result['seconds'] / n:.0f} |",
        f"| largest difference to the model in another process | {worst:.1e} (at most 1e-3) |",
        f"| MB at the start | {mb['start']} |",
        f"| MB at most in the first tenth | {mb['first']} |",
        f"| MB at most in the last tenth | {mb['last']}, {result['last'] / result['first']:.2f} × "
        f"(at most {GROWTH}) |",
        f"| MB at most | {mb['most']} |",
    ]
    row = {key: value for key, value in result.items() if key not in ("sample", "answers")}
    write_page(RESULTS, "service", lines, [row | {"n_requests": n, "worst_difference": worst}])


if __name__ == "__main__":
    main()
