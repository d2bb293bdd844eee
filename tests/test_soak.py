"""A few fits of the soak, one for each fault; the whole of it is `benchmarks/soak.py`."""

import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "benchmarks"))

import soak


@pytest.mark.alone
@pytest.mark.slow
def test_no_fault_leaves_anything_behind():
    budgets = dict.fromkeys(soak.FAULTS, 0.5) | dict.fromkeys(soak.WORKER_FAULTS, 1.5)
    budgets |= dict.fromkeys(soak.HANGS_HERE, 1.0) | {"cold process": 2.0, "SIGTERM": 2.0}
    fits = [
        (number, fault, budgets[fault], fault in soak.FRESH_FAULTS)
        for number, fault in enumerate(soak.FAULTS)
    ]
    with ThreadPoolExecutor(2) as pool:  # a process for each half of them
        halves = list(pool.map(lambda half: soak.soak(half, seed=0), (fits[::2], fits[1::2])))
    results = [row for half, _ in halves for row in half]
    processes = [process for _, half in halves for process in half]
    assert len(results) + sum(p["died"] for p in processes) == len(fits)
    for row in results:
        assert not row["left"], row
        assert not soak.is_unexpected(row), row
        told = any("only the classes' frequencies" in text for text in row["warnings"])
        assert told or not soak.has_no_model(row, 0.0), row
    for process in processes:
        assert not process["left"], process
        assert not process["bad_exit"], process
