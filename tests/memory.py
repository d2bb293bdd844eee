"""The memory of this process, for tests and benches, on Linux.

Not `ru_maxrss`: a process takes that over from the one that started it, and then nothing that needs
less than pytest shows.
"""

from pathlib import Path

__all__ = ["forget_peak", "peak", "resident"]


def resident():
    """Memory in use, in MB."""
    return _field("VmRSS")


def peak():
    """The most that was in use since `forget_peak`, in MB."""
    return _field("VmHWM")


def forget_peak():
    """What is in use now is the peak from now on."""
    Path("/proc/self/clear_refs").write_text("5")


def _field(name):
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(name)) / 1024
