"""The peak of resident memory, against arrays of known size."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from new_algorithm.record.provenance import peak_memory, reset_peak_memory

pytestmark = pytest.mark.skipif(
    not Path("/proc/self/clear_refs").exists(), reason="resident memory is counted as Linux does"
)

MB = 10**6
SLACK = 4 * MB  # what the interpreter itself may take or give back meanwhile


def touch(megabytes):
    """An array whose pages are all written to, and so resident."""
    return np.ones(megabytes * MB, dtype=np.uint8)


def test_peak_is_that_of_what_was_allocated_since_the_reset():
    resident = reset_peak_memory()
    assert peak_memory() == pytest.approx(resident, abs=SLACK)
    for megabytes in (64, 24):  # the second time less: the first peak must be forgotten
        array = touch(megabytes)
        at_the_top = peak_memory()
        assert at_the_top - resident == pytest.approx(megabytes * MB, abs=SLACK)
        del array
        assert peak_memory() >= at_the_top - SLACK  # a peak stays when memory is freed
        assert reset_peak_memory() == pytest.approx(resident, abs=SLACK)
        assert peak_memory() == pytest.approx(resident, abs=SLACK)


def test_reset_gives_back_small_blocks_that_were_freed():
    resident = reset_peak_memory()
    blocks = [bytearray(4000) for _ in range(10_000)]
    del blocks[:-1]  # the last one keeps the heap from shrinking by itself
    assert reset_peak_memory() - resident < 40 * MB / 2


def test_child_does_not_inherit_the_peak_of_its_parent():
    reset_peak_memory()
    array = touch(160)
    code = "from new_algorithm.record.provenance import peak_memory; print(peak_memory())"
    finished = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert 1 * MB < int(finished.stdout) < array.nbytes / 2


def test_where_it_cannot_be_reset_the_caller_is_told(monkeypatch):
    def refused(*_):
        raise PermissionError

    monkeypatch.setattr(Path, "write_text", refused)
    with pytest.raises(OSError):  # noqa: PT011
        reset_peak_memory()
