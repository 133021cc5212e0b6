"""How much memory this process has needed, mapped files included, as Linux counts it."""

import ctypes
from pathlib import Path


def peak_memory() -> int:
    """Return the most bytes that were resident since the start, or since `reset_peak_memory`."""
    return _bytes_of("VmHWM")  # and not ru_maxrss, which a child inherits from its parent


def reset_peak_memory() -> int:
    """Let `peak_memory` begin anew; return the bytes resident now. OSError where it cannot be."""
    ctypes.CDLL(None).malloc_trim(0)  # what earlier work has freed would hide what comes
    Path("/proc/self/clear_refs").write_text("5")
    return _bytes_of("VmRSS")


def _bytes_of(name: str) -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return 1024 * next(int(line.split()[1]) for line in lines if line.startswith(name))
