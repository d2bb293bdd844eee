"""Memory that the C library keeps for a block."""

import json
import os
import subprocess
import sys

import pytest

from skspeech import _heap

# Counts the pages that the system hands out while large arrays come and go.
CODE = """
import json, resource
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


@pytest.mark.skipif(
    not sys.platform.startswith("linux") or "glibc" not in os.confstr("CS_GNU_LIBC_VERSION"),
    reason="needs glibc",
)
def test_memory_is_kept_inside_the_block_alone():
    run, environment = (
        [sys.executable, "-c", CODE],
        {**os.environ, "MALLOC_TRIM_THRESHOLD_": "65536"},
    )
    done = subprocess.run(run, env=environment, capture_output=True, text=True, check=True)
    before, nested, inside, after = json.loads(done.stdout)
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


@pytest.mark.parametrize(("variable", "mapped"), [(None, 131072), ("4096", 4096)])
def test_an_error_ends_the_block(variable, mapped, monkeypatch):
    calls = []

    class Library:
        def mallopt(self, *given):
            calls.append(given)

        def malloc_trim(self, pad):
            calls.append("trim")

    monkeypatch.setattr(_heap.ctypes, "CDLL", lambda name: Library())
    monkeypatch.setenv("MALLOC_TRIM_THRESHOLD_", "65536")
    if variable is not None:
        monkeypatch.setenv("MALLOC_MMAP_THRESHOLD_", variable)
    with pytest.raises(KeyError), _heap.kept_memory():
        raise KeyError
    assert calls[-3:] == [(-1, 65536), (-3, mapped), "trim"]
    assert len(calls) == 5
