"""Memory that the C library keeps for a block."""

import json
import os
import subprocess
import sys

import pytest

from skspeech import _heap

# Counts the pages that the system hands out while large arrays come and go.
CODE = """
import json, resource, threading
import numpy as np
from skspeech._heap import kept_memory

def pages():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(50):
        np.ones(250_000)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

counts = [pages()]
with kept_memory():
    pages()
    with kept_memory():
        counts.append(pages())
    counts.append(pages())
counts.append(pages())
print(json.dumps(counts))
"""


def pages(**variables):
    environment = {**os.environ, **variables}
    if not variables:
        environment.pop("MALLOC_TRIM_THRESHOLD_", None)
    run = [sys.executable, "-c", CODE]
    done = subprocess.run(run, env=environment, capture_output=True, text=True, check=True)
    return json.loads(done.stdout)


@pytest.mark.skipif(
    not sys.platform.startswith("linux") or "glibc" not in os.confstr("CS_GNU_LIBC_VERSION"),
    reason="needs glibc",
)
def test_memory_is_kept_inside_the_block_alone():
    before, nested, inside, after = pages(MALLOC_TRIM_THRESHOLD_="65536")
    assert before > 10_000
    assert nested < 500
    assert inside < 500
    assert after > 10_000


@pytest.mark.parametrize("value", [None, "", "much", "-1"])
def test_without_the_setting_nothing_is_changed(value, monkeypatch):
    class Library:
        def mallopt(self, *_):
            raise AssertionError("changed")

    monkeypatch.setattr(_heap.ctypes, "CDLL", lambda name: Library())
    monkeypatch.delenv("MALLOC_TRIM_THRESHOLD_", raising=False)
    if value is not None:
        monkeypatch.setenv("MALLOC_TRIM_THRESHOLD_", value)
    with _heap.kept_memory():
        pass


def test_another_c_library(monkeypatch):
    monkeypatch.setattr(_heap.ctypes, "CDLL", lambda name: object())
    monkeypatch.setenv("MALLOC_TRIM_THRESHOLD_", "65536")
    with _heap.kept_memory():
        pass


def test_an_error_ends_the_block(monkeypatch):
    calls = []

    class Library:
        def mallopt(self, *given):
            calls.append(given)

        def malloc_trim(self, pad):
            calls.append("trim")

    monkeypatch.setattr(_heap.ctypes, "CDLL", lambda name: Library())
    monkeypatch.setenv("MALLOC_TRIM_THRESHOLD_", "65536")
    with pytest.raises(KeyError), _heap.kept_memory():
        raise KeyError
    assert calls[-3:] == [(-1, 65536), (-3, 131072), "trim"]
    assert len(calls) == 5
