"""The cache beside other processes: killed ones, ones that build it too, and their memory."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from datasets import cached_arrays
from datasets.dataset import Split
from datasets.higgs.files import load_higgs

ROOT = Path(__file__).resolve().parents[3]

# Loads from the folder into the cache that are named. Where a gate is named, it reads small blocks,
# and waits after the first until there is such a file.
LOADER = """
import logging, sys, time
from pathlib import Path
import numpy as np
from datasets import cached_arrays, mapped_files
from datasets.higgs import csv_rows as higgs_csv
from datasets.dataset import Split
from datasets.higgs import files

folder, gate = Path(sys.argv[1]), sys.argv[3]
cached_arrays.CACHE = Path(sys.argv[2])
read_blocks = files.read_blocks

def halting(parts):
    for index, block in enumerate(read_blocks(parts)):
        if gate and index == 1:
            print("half way", flush=True)
            while not Path(gate).exists():
                time.sleep(0.01)
        yield block

files.read_blocks = halting
higgs_csv.BLOCK_BYTES = 1500 if gate else 1 << 20
mapped_files.BLOCK_ELEMENTS = 1 << 17
logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stdout)
data = files.load_higgs(folder, Split())
print(f"{data.x_train.sum():.6f} {data.x_test.sum():.6f}" if gate else len(data.x_train))
(peak,) = (line.split()[1] for line in open("/proc/self/status") if line.startswith("VmHWM"))
print(peak)
"""


def start(folder, cache, gate=""):
    return subprocess.Popen(
        [sys.executable, "-c", LOADER, str(folder), str(cache), str(gate)],
        cwd=ROOT,
        env=os.environ | {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        text=True,
    )


@pytest.fixture
def folder(tmp_path, write_higgs, higgs_rows):
    (tmp_path / "data").mkdir()
    write_higgs(tmp_path / "data" / "HIGGS.csv", higgs_rows(20))
    return tmp_path / "data"


@pytest.fixture
def load(folder, monkeypatch):
    """load(cache) -> the Dataset."""

    def from_cache(cache):
        monkeypatch.setattr(cached_arrays, "CACHE", cache)
        return load_higgs(folder, Split())

    return from_cache


@pytest.mark.parametrize("older", [False, True], ids=["first build", "rebuild"])
def test_a_build_that_is_killed_leaves_nothing_that_is_believed(load, folder, tmp_path, older):
    cache = tmp_path / "cache"
    if older:
        load(cache)
        os.utime(folder / "HIGGS.csv", (0, 5))
    process = start(folder, cache, gate=tmp_path / "never")
    with process:
        assert "half way\n" in process.stdout
        process.send_signal(signal.SIGKILL)
    entry = next(cache.iterdir())
    assert list(entry.glob(".features.npy.*"))  # it was killed in the middle
    data = load(cache)
    expected = load(tmp_path / "fresh")
    np.testing.assert_array_equal(data.x_train, expected.x_train)
    np.testing.assert_array_equal(data.y_test, expected.y_test)
    assert not list(entry.glob(".*.npy.*"))


def test_of_processes_that_load_at_once_one_builds_and_the_others_wait(folder, tmp_path):
    cache, gate = tmp_path / "cache", tmp_path / "gate"
    first = start(folder, cache, gate)
    assert "half way\n" in first.stdout
    others = [start(folder, cache, gate) for _ in range(2)]
    for process in others:
        waiting = "HIGGS cache: waiting for another process that is building it\n"
        assert process.stdout.readline() == waiting
    gate.touch()
    outputs = [process.communicate(timeout=60)[0].splitlines() for process in (first, *others)]
    assert len({lines[-2] for lines in outputs}) == 1
    assert not any("half way" in lines for lines in outputs[1:])


@pytest.fixture
def higgs_of(tmp_path, higgs_rows, higgs_csv):
    """higgs_of(rows) -> a folder with so many, the same thousand again and again."""
    thousand = higgs_csv(higgs_rows(1000))

    def make(rows):
        folder = tmp_path / str(rows)
        folder.mkdir()
        with (folder / "HIGGS.csv").open("wb") as file:
            for _ in range(rows // 1000):
                file.write(thousand)
        return folder

    return make


def test_memory_does_not_grow_with_the_rows(higgs_of, tmp_path):
    """Three times the rows would take 9 MB more as float32, and as much again once scaled."""
    counts = (40_000, 120_000)
    processes = [start(higgs_of(n), tmp_path / f"cache {n}") for n in counts]
    outputs = [process.communicate(timeout=60)[0].splitlines() for process in processes]
    assert [int(lines[-2]) for lines in outputs] == [n * 4 // 5 for n in counts]
    few, many = (int(lines[-1]) / 1024 for lines in outputs)
    assert many < few + 5
    assert many < 300
