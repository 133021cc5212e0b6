"""Tables larger than memory: read once into the cache, with the numbers of those in memory."""

import json
import logging
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow
import pytest

from datasets import cached_arrays
from datasets.dataset import Split
from datasets.mapped_files import is_mapped
from datasets.table import columns, files
from datasets.table.load import load_table
from datasets.table.options import TableOptions
from new_algorithm.cli.errors import UserError

ROOT = Path(__file__).resolve().parents[3]
SPECIES = TableOptions(target=("species",))
ALWAYS, NEVER = 0, 1 << 60


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setattr(cached_arrays, "CACHE", tmp_path / "cache")
    return tmp_path / "cache"


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch):
    monkeypatch.setattr(files, "BLOCK_BYTES", 400)
    monkeypatch.setattr(files, "BLOCK_ROWS", 7)


@pytest.fixture
def holes(rows):
    columns = rows()
    for row, name in ((3, "length"), (30, "length"), (5, "colour"), (50, "width")):
        columns[name][row] = None
    return columns


@pytest.mark.parametrize("name", ["mine.csv", "mine.csv.gz", "mine.parquet"])
@pytest.mark.parametrize("held_out", ["test", "validation", "unseen"])
@pytest.mark.parametrize("target", [("species",), ("width", "length")])
def test_the_cache_has_the_numbers_of_the_memory(holes, write, name, held_out, target):
    holes["width"][50] = 1.0
    if target != ("species",):
        holes["length"][3] = holes["length"][30] = 2.5
    options, split = TableOptions(target, missing="median"), Split(held_out)
    path = write(holes, name)
    in_memory = load_table(path, options, split, NEVER)
    for streamed in (load_table(path, options, split, ALWAYS) for _ in range(2)):
        assert is_mapped(streamed.x_train)
        assert is_mapped(streamed.x_test)
        assert streamed.x_train.dtype == np.float32
        for part in ("x_train", "y_train", "x_test", "y_test"):
            np.testing.assert_array_equal(getattr(streamed, part), getattr(in_memory, part))
        own, other = streamed.provenance(), in_memory.provenance()
        assert "streamed through datasets/cache/" in own.pop("source")
        assert "cache" not in other.pop("source")
        assert own == other


def test_it_is_read_once_and_again_where_the_file_changes(rows, write, caplog):
    path, lines = write(rows()), []

    def load(**options):
        caplog.clear()
        with caplog.at_level(logging.INFO, "datasets"):
            dataset = load_table(path, TableOptions(("species",), **options), Split(), ALWAYS)
        lines.append([record.getMessage() for record in caplog.records])
        return dataset

    load()
    load()
    first = "mine.csv cache: reading mine.csv, once for this and all later runs"
    second = "mine.csv cache: preparing mine.csv for test, once for this and all later runs"
    assert lines == [[first, second], []]
    assert load(drop=("colour",)).x_train.shape == (48, 2)  # beside the other
    load()
    assert lines[-1] == []
    write(rows(seed=1))
    os.utime(path, (0, 5))
    changed = load()
    assert lines[-1] == ["mine.csv cache: rebuilding, mine.csv has changed since"] * 2
    fresh = load_table(path, SPECIES, Split(), NEVER)
    np.testing.assert_array_equal(changed.x_train, fresh.x_train)


def test_another_name_of_a_category_is_noticed(rows, write):
    columns = rows()
    load_table(write(columns), SPECIES, Split(), ALWAYS)
    columns["colour"] = [colour.replace("red", "rouge") for colour in columns["colour"]]
    os.utime(path := write(columns), (0, 5))
    dataset = load_table(path, SPECIES, Split(), ALWAYS)
    assert dataset.preprocessing.columns[2].categories[-1] == "rouge"


def test_a_fault_leaves_nothing_that_is_believed(rows, write, cache):
    columns = rows()
    columns["width"][55] = None
    path = write(columns)
    with pytest.raises(UserError, match="row 56 below the header, column 'width'"):
        load_table(path, SPECIES, Split(), ALWAYS)
    assert not list(cache.rglob("*.npy"))
    assert not list(cache.rglob("*.json"))


def test_a_refused_file_leaves_neither_folder_nor_lock(rows, write, cache):
    columns = rows()
    columns["length"][40] = "oops"
    path = write(columns)
    with pytest.raises(UserError, match="oops"):
        load_table(path, SPECIES, Split(), ALWAYS)
    assert [*cache.iterdir()] == []
    write(rows())
    load_table(path, SPECIES, Split(), ALWAYS)
    (folder,) = cache.iterdir()
    kept = {path.name for path in folder.iterdir()}
    write(columns)
    with pytest.raises(UserError, match="oops"):
        load_table(path, SPECIES, Split(), ALWAYS)
    assert {path.name for path in folder.iterdir()} == kept


def test_a_lost_or_spoilt_part_is_made_again(rows, write, cache):
    path = write(rows())
    expected = load_table(path, SPECIES, Split(), ALWAYS).x_train.copy()
    for name in (
        "features.npy",
        "targets.npy",
        "table.json",
        "scaled_test.npy",
        "scaled_test.json",
    ):
        (file,) = cache.rglob(name)
        file.unlink() if name.startswith("t") else file.write_bytes(b"spoilt")
        found = load_table(path, SPECIES, Split(), ALWAYS).x_train
        np.testing.assert_array_equal(found, expected)


def test_the_description_is_plain_json(rows, write, cache):
    load_table(write(rows()), SPECIES, Split(), ALWAYS)
    (description,) = cache.rglob("table.json")
    facts = json.loads(description.read_text())
    assert [column["name"] for column in facts["about"]["columns"]] == ["length", "width", "colour"]
    assert str(cache) not in description.read_text()


LOADER = """
import sys
from pathlib import Path
from datasets import cached_arrays, mapped_files
from datasets.dataset import Split
from datasets.table import files
from datasets.table.load import load_table
from datasets.table.options import TableOptions

cached_arrays.CACHE = Path(sys.argv[2])
files.BLOCK_BYTES = 1 << 20
data = load_table(Path(sys.argv[1]), TableOptions(("y",), task="regression"), Split(), 0)
data.provenance()
(peak,) = (line.split()[1] for line in open("/proc/self/status") if line.startswith("VmHWM"))
print(peak)
"""


def test_memory_does_not_grow_with_the_columns_of_a_large_file(tmp_path, cache):
    """400,000 rows of 20 numbers take 64 MB in float64, and 32 in float32."""
    peaks = []
    for rows in (100_000, 400_000):
        path = tmp_path / f"{rows}.csv"
        numbers = np.random.default_rng(0).integers(0, 10**6, (1000, 21)) / 1000
        line = "\n".join(",".join(map(str, row)) for row in numbers.tolist())
        names = ",".join([*(f"x{i}" for i in range(20)), "y"])
        path.write_text("\n".join([names, *[line] * (rows // 1000)]))
        finished = subprocess.run(
            [sys.executable, "-c", LOADER, str(path), str(cache)],
            cwd=ROOT,
            env=os.environ | {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"},
            capture_output=True,
            text=True,
            check=True,
        )
        peaks.append(int(finished.stdout.splitlines()[-1]))
    assert peaks[1] - peaks[0] < 45_000  # KiB; in memory it would be 72,000 and more


def test_of_texts_that_differ_no_more_are_kept_than_tell_so():
    seen = columns._Seen()
    for rows_before in (0, 5_000):
        texts = pyarrow.array([f"{rows_before + row}.5" for row in range(5_000)])
        seen.add(texts, rows_before, decimal_comma=False)
    assert seen.numbers == 10_000
    assert len(seen.distinct) == columns.MOST_CATEGORIES + 1
