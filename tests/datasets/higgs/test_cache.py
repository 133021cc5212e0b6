import errno
import gzip
import json
import logging
import os
from contextlib import contextmanager

import numpy as np
import pytest

from datasets import cached_arrays
from datasets.cached_arrays import LOCK_NAME
from datasets.dataset import Split
from datasets.higgs import csv_rows as reading
from datasets.higgs import files as higgs_files
from datasets.higgs.cache import Origin, load_cached, verify_rows
from datasets.higgs.files import load_higgs, locate_higgs
from new_algorithm.cli.errors import UserError

pytestmark = pytest.mark.usefixtures("no_waiting_for_the_disk")

SCALED = {"scaled_test.json", "scaled_test.npy"}
ALL_FILES = {LOCK_NAME, "rows.json", "features.npy", "labels.npy"} | SCALED


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch):
    """Several blocks, so that a fault comes when some are written already."""
    monkeypatch.setattr(reading, "BLOCK_BYTES", 1500)


@pytest.fixture
def folder(tmp_path, write_higgs, higgs_rows):
    """A folder with HIGGS.csv of 20 rows."""
    (tmp_path / "data").mkdir()
    write_higgs(tmp_path / "data" / "HIGGS.csv", higgs_rows(20))
    return tmp_path / "data"


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setattr(cached_arrays, "CACHE", tmp_path / "cache")
    return tmp_path / "cache"


@pytest.fixture
def load(folder, caplog):
    """load(...) -> the Dataset; the lines of the log are those of the last load."""

    def from_cache(held_out="test", **limits):
        caplog.clear()
        with caplog.at_level(logging.INFO, "datasets"):
            return load_higgs(folder, Split(held_out, **limits))

    return from_cache


@pytest.fixture
def lines(caplog):
    return lambda: [r.getMessage() for r in caplog.records if "cache" in r.getMessage()]


@pytest.fixture
def entry(cache):
    """entry() -> the one folder in the cache."""
    return lambda: next(cache.iterdir())


@pytest.fixture
def reads(monkeypatch):
    """A list that grows with each reading of a csv file."""
    begun = []
    read_blocks = higgs_files.read_blocks
    monkeypatch.setattr(
        higgs_files, "read_blocks", lambda *args: begun.append(args) or read_blocks(*args)
    )
    return begun


def files(folder):
    return {path.name for path in folder.iterdir()}


def contents(folder):
    """Name -> bytes and time of every file but the lock."""
    return {
        path.name: (path.read_bytes(), path.stat().st_mtime_ns)
        for path in folder.iterdir()
        if path.name != LOCK_NAME
    }


def same(one, other):
    return all(
        np.array_equal(getattr(one, name), getattr(other, name))
        for name in ("x_train", "y_train", "x_test", "y_test")
    )


def test_what_is_kept(load, folder, cache, higgs_rows, entry):
    load()
    assert files(entry()) == ALL_FILES
    assert entry().name.startswith("HIGGS.csv-")
    features = np.load(entry() / "features.npy")
    labels = np.load(entry() / "labels.npy")
    assert (features.dtype, labels.dtype) == (np.float32, np.int64)
    np.testing.assert_array_equal(features, higgs_rows(20)[:, 1:].astype(np.float32))
    np.testing.assert_array_equal(labels, higgs_rows(20)[:, 0])
    facts = json.loads((entry() / "rows.json").read_text())
    assert facts["rows"] == 20
    stat = (folder / "HIGGS.csv").stat()
    assert facts["identity"] == {"files": [["HIGGS.csv", stat.st_size, stat.st_mtime_ns]]}
    assert str(cache) not in json.dumps(facts)


def test_the_csv_is_read_once_for_all_splits_and_limits(load, folder, cache, reads, lines):
    assert verify_rows(locate_higgs(folder)) == 20
    first = load()
    assert lines() == ["HIGGS cache: standardising for test, once for this and all later runs"]
    assert len(load("validation").y_test) == 2
    again = load(train_limit=5, test_limit=1)
    assert lines() == []
    np.testing.assert_array_equal(again.x_train, first.x_train[:5])
    np.testing.assert_array_equal(again.x_test, first.x_test[:1])
    assert verify_rows(locate_higgs(folder)) == 20
    assert len(reads) == 1


def test_a_first_build_says_what_it_does(load, lines):
    load()
    assert lines()[0] == "HIGGS cache: reading HIGGS.csv, once for this and all later runs"


def test_the_test_set_is_not_in_the_file_that_is_scaled_for_validation(load, entry):
    load("validation")
    assert len(np.load(entry() / "scaled_validation.npy")) == 16


def test_files_of_one_name_in_different_folders_have_caches_of_their_own(
    load, cache, tmp_path, write_higgs, higgs_rows
):
    load()
    (tmp_path / "other").mkdir()
    write_higgs(tmp_path / "other" / "HIGGS.csv", higgs_rows(30))
    assert len(load_higgs(tmp_path / "other", Split()).y_train) == 24
    assert len(list(cache.iterdir())) == 2
    load()
    assert len(load().y_train) == 16


CHANGES = {
    "other rows": lambda folder, write, rows: write(folder / "HIGGS.csv", rows(20, seed=1)),
    "more rows": lambda folder, write, rows: write(folder / "HIGGS.csv", rows(25)),
    "another time": lambda folder, write, rows: os.utime(folder / "HIGGS.csv", (0, 5)),
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_a_cache_older_than_its_source_is_built_anew(
    load, folder, lines, write_higgs, higgs_rows, change, tmp_path, monkeypatch
):
    load()
    load("validation")
    change(folder, write_higgs, higgs_rows)
    after = load()
    assert set(lines()) == {"HIGGS cache: rebuilding, HIGGS.csv has changed since"}
    load()
    assert lines() == []
    monkeypatch.setattr(cached_arrays, "CACHE", tmp_path / "fresh")
    assert same(after, load())


DAMAGE = {
    "features.npy": lambda content: content[:-4],
    "labels.npy": lambda content: b"",
    "scaled_test.npy": lambda content: content[:50],
    "rows.json": lambda content: content[:100],
    "scaled_test.json": lambda content: b"[]",
}


@pytest.mark.parametrize("name", DAMAGE)
def test_a_damaged_file_is_rebuilt(load, entry, lines, name):
    x_train = load().x_train.copy()
    (entry() / name).write_bytes(DAMAGE[name]((entry() / name).read_bytes()))
    after = load()
    assert lines()[0].startswith(f"HIGGS cache: rebuilding, {name} is damaged")
    np.testing.assert_array_equal(after.x_train, x_train)
    load()
    assert lines() == []


SPOILT = {
    "in the header": lambda content: content[:50],
    "another type": lambda content: content.replace(b"<f4", b"<i4"),
    "columns first": lambda content: content.replace(b"False", b"True "),
    "more rows than it holds": lambda content: content.replace(b"(20, 28)", b"(90, 28)"),
    "text": lambda content: b"<html>" * 100,
    "zip": lambda content: b"PK\x03\x04" + content,
}


@pytest.mark.parametrize("spoil", SPOILT.values(), ids=SPOILT)
def test_features_that_are_spoilt_are_rebuilt(load, entry, lines, spoil):
    x_train = load().x_train.copy()
    (entry() / "features.npy").write_bytes(spoil((entry() / "features.npy").read_bytes()))
    np.testing.assert_array_equal(load().x_train, x_train)
    assert lines()[0].startswith("HIGGS cache: rebuilding, features.npy is damaged")


@pytest.mark.parametrize("lengths", [(20,), (2, 3, 0, 15), (1,) * 20])
def test_blocks_of_any_length_and_order_of_memory_are_kept_row_by_row(
    cache, higgs_rows, lengths, tmp_path
):
    rows = higgs_rows(20)
    x, y = rows[:, 1:].astype(np.float32), rows[:, 0].astype(np.int64)
    ends = np.cumsum(lengths)
    blocks = [
        (np.asfortranarray(x[end - length : end]), y[end - length : end])
        for end, length in zip(ends, lengths, strict=True)
    ]
    origin = Origin("title", tmp_path, "key", "changed", "words", {}, "making", lambda: blocks)
    load_cached(origin, Split(), "name", "source")
    np.testing.assert_array_equal(np.load(cache / "key" / "features.npy"), x)
    np.testing.assert_array_equal(np.load(cache / "key" / "labels.npy"), y)


@pytest.mark.parametrize("name", sorted(ALL_FILES - {LOCK_NAME}))
def test_a_missing_file_is_rebuilt(load, entry, lines, name):
    before = load()
    (entry() / name).unlink()
    assert same(load(), before)
    first = {
        "rows.json": "reading HIGGS.csv, once for this and all later runs",
        "scaled_test.json": "standardising for test, once for this and all later runs",
    }.get(name, f"rebuilding, {name} is missing")
    assert lines() == [f"HIGGS cache: {first}"]
    assert files(entry()) == ALL_FILES


ARRAYS = {
    "other type": np.zeros((20, 28)),
    "other width": np.zeros((20, 29), np.float32),
    "more rows": np.zeros((21, 28), np.float32),
    "other order": np.asfortranarray(np.zeros((20, 28), np.float32)),
}


@pytest.mark.parametrize("array", ARRAYS.values(), ids=ARRAYS)
def test_an_array_of_another_form_is_rebuilt(load, entry, lines, array):
    before = load()
    x_train = before.x_train.copy()
    np.save(entry() / "features.npy", array)
    np.testing.assert_array_equal(load().x_train, x_train)
    assert lines()[0].startswith("HIGGS cache: rebuilding, ")


@pytest.mark.parametrize(
    "change",
    [
        lambda facts: facts | {"layout": 0},
        lambda facts: {key: value for key, value in facts.items() if key != "layout"},
        lambda facts: facts | {"rows": "20"},
        lambda facts: facts | {"rows": 21},
        lambda facts: {"layout": facts["layout"]},
        lambda facts: [facts],
    ],
)
def test_a_rows_json_that_is_not_of_this_version_is_not_trusted(load, entry, lines, change):
    before = load()
    path = entry() / "rows.json"
    facts = json.loads(path.read_text())
    path.write_text(json.dumps(change(facts)))
    assert same(load(), before)
    assert lines()[0].startswith("HIGGS cache: rebuilding, ")
    assert json.loads(path.read_text()) == facts


def test_nothing_is_read_without_rows_json(load, entry, reads):
    """As after a build that was killed between the arrays and rows.json."""
    before = load()
    (entry() / "rows.json").unlink()
    np.save(entry() / "features.npy", np.zeros((20, 28), np.float32))
    assert same(load(), before)
    assert len(reads) == 2


@pytest.mark.parametrize("by_command", [True, False])
@pytest.mark.parametrize("name", ["features.npy", "labels.npy", "scaled_test.npy"])
def test_a_flipped_bit_is_found(load, folder, cache, entry, caplog, name, by_command):
    before = load()
    x_train, y_train = before.x_train.copy(), before.y_train.copy()
    content = bytearray((entry() / name).read_bytes())
    content[200] ^= 1
    (entry() / name).write_bytes(content)
    with caplog.at_level(logging.INFO, "datasets"):
        assert verify_rows(locate_higgs(folder)) == 20 if by_command else load()
    assert any("HIGGS cache: damaged, " in r.getMessage() for r in caplog.records)
    after = load()
    np.testing.assert_array_equal(after.x_train, x_train)
    np.testing.assert_array_equal(after.y_train, y_train)


@pytest.mark.parametrize("damage", [lambda path: path.unlink(), lambda path: path.write_bytes(b"")])
def test_verification_bears_a_scaled_array_that_is_gone(load, folder, cache, entry, damage):
    before = load()
    damage(entry() / "scaled_test.npy")
    assert verify_rows(locate_higgs(folder)) == 20
    assert files(entry()) >= {"features.npy", "labels.npy", "rows.json"}
    assert len(load().x_train) == len(before.x_train)


FAULTS = {
    "truncated": lambda content: gzip.compress(content)[:-400],
    "without its CRC": lambda content: gzip.compress(content)[:-8],
    "error page": lambda content: b"<!DOCTYPE html><html>404</html>",
    "empty": lambda content: b"",
    "short row": lambda content: gzip.compress(content + b"1,2\n"),
    "too few rows": lambda content: gzip.compress(b"".join(content.splitlines(True)[:4])),
}


@pytest.mark.parametrize("fault", FAULTS.values(), ids=FAULTS)
def test_a_fault_in_the_source_leaves_no_cache(tmp_path, cache, fault, higgs_rows, higgs_csv):
    (tmp_path / "HIGGS.csv.gz").write_bytes(fault(higgs_csv(higgs_rows(20))))
    with pytest.raises(UserError, match=r"HIGGS\.csv\.gz: "):
        load_higgs(tmp_path, Split())
    assert not list(cache.iterdir())


@pytest.mark.parametrize("fault", FAULTS.values(), ids=FAULTS)
def test_a_fault_in_a_later_source_leaves_the_older_cache_as_it_was(
    tmp_path, cache, fault, write_higgs, higgs_rows, entry
):
    path = write_higgs(tmp_path / "HIGGS.csv.gz", higgs_rows(20))
    good, before = path.read_bytes(), load_higgs(tmp_path, Split())
    stat, kept = path.stat(), contents(entry())
    path.write_bytes(fault(gzip.decompress(good)))
    with pytest.raises(UserError):
        load_higgs(tmp_path, Split())
    assert contents(entry()) == kept
    path.write_bytes(good)
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    assert same(load_higgs(tmp_path, Split()), before)
    assert contents(entry()) == kept


def test_a_source_that_changes_while_it_is_read_is_refused(
    load, folder, monkeypatch, higgs_rows, higgs_csv, cache
):
    read_blocks = higgs_files.read_blocks

    def growing(parts):
        yield from read_blocks(parts)
        with parts[0].open("ab") as file:
            file.write(higgs_csv(higgs_rows(3)))

    monkeypatch.setattr(higgs_files, "read_blocks", growing)
    with pytest.raises(UserError, match=r"HIGGS\.csv: it changed while it was read"):
        load()
    assert not list(cache.iterdir())


def test_what_a_killed_build_left_behind_is_cleared_away(load, folder, entry, higgs_rows):
    load()
    for name in (".features.npy.x1", ".scaled_test.npy.x2", ".rows.json.x3"):
        (entry() / name).write_bytes(b"half")
    os.utime(folder / "HIGGS.csv", (0, 5))
    load()
    assert files(entry()) == ALL_FILES


def test_arrays_that_were_replaced_are_not_believed_before_all_is_done(
    load, folder, monkeypatch, write_higgs, higgs_rows
):
    """A build that ends between the arrays and rows.json, and then the older file comes back."""
    path = folder / "HIGGS.csv"
    x_train, content, stat = load().x_train.copy(), path.read_bytes(), path.stat()
    write_higgs(path, higgs_rows(20, seed=1))
    with monkeypatch.context() as ended:
        ended.setattr(cached_arrays, "hash_arrays", lambda parts: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            load()
    path.write_bytes(content)
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    np.testing.assert_array_equal(load().x_train, x_train)


def test_values_beyond_float32_once_scaled_leave_no_file(
    load, folder, entry, write_higgs, higgs_rows
):
    rows = higgs_rows(20)
    rows[:16, 7] *= 1e-20
    rows[16:, 7] = 1e30
    write_higgs(folder / "HIGGS.csv", rows)
    with pytest.raises(UserError, match=r"HIGGS\.csv: x_test leaves the range"):
        load()
    assert files(entry()) == ALL_FILES - SCALED


class _FullDisk:
    """A file that takes so many bytes and no more."""

    def __init__(self, file, room):
        self._file, self._room = file, room

    def write(self, data):
        self._room -= memoryview(data).nbytes
        if self._room < 0:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return self._file.write(data)

    def __getattr__(self, name):
        return getattr(self._file, name)


@pytest.mark.parametrize("room", [0, 500, 1500])
def test_a_full_disk_is_named_and_leaves_all_as_it_was(
    load, folder, cache, entry, monkeypatch, room
):
    load()
    kept = contents(entry())
    os.utime(folder / "HIGGS.csv", (0, 5))
    replace_atomically = cached_arrays.replace_atomically

    @contextmanager
    def on_a_full_disk(path):
        with replace_atomically(path) as file:
            yield _FullDisk(file, room)

    monkeypatch.setattr(cached_arrays, "replace_atomically", on_a_full_disk)
    with pytest.raises(UserError) as failure:
        load()
    message = str(failure.value)
    assert message.startswith(f"{entry()}: the cache of HIGGS cannot be written (No space left")
    assert f"make {cache} a link to another disk" in message
    assert "\n" not in message
    assert contents(entry()) == kept


def test_a_cache_folder_that_cannot_be_made_is_named(load, cache):
    cache.write_text("in the way")
    with pytest.raises(UserError, match=r"cache/HIGGS\.csv-\w+: the cache of HIGGS cannot be"):
        load()


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_read_only_folder_is_named_but_a_cache_in_it_is_used(load, folder, cache, entry):
    before = load()
    kept = contents(entry())
    entry().chmod(0o555)
    assert same(load(), before)
    os.utime(folder / "HIGGS.csv", (0, 5))
    with pytest.raises(UserError, match=r"Permission denied\); make room or allow writing there"):
        load()
    entry().chmod(0o755)
    assert contents(entry()) == kept


def test_a_good_cache_is_used_without_writing(load, entry, monkeypatch):
    before = load()

    def refuse(*_):
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(cached_arrays, "_writing", refuse)
    assert same(load(), before)


def test_arrays_that_are_in_use_outlive_a_rebuild(load, folder, write_higgs, higgs_rows):
    old = load()
    kept = old.x_train.copy()
    write_higgs(folder / "HIGGS.csv", higgs_rows(40, seed=1))
    assert len(load().y_train) == 32
    np.testing.assert_array_equal(old.x_train, kept)


def test_deleting_the_cache_is_safe(load, entry):
    before = load()
    for path in entry().iterdir():
        path.unlink()
    entry().rmdir()
    assert same(load(), before)


def cut(content, pieces):
    size = -(-len(content) // pieces)
    return [content[start : start + size] for start in range(0, len(content), size)]


def lines_cut(content, pieces):
    return [b"".join(piece) for piece in cut(content.splitlines(True), pieces)]


PARTS = {
    "csv, cut anywhere": ("HIGGS.csv.%d", lambda content: cut(content, 12)),
    "gzip, cut anywhere": ("HIGGS.csv.gz.%02d", lambda content: cut(gzip.compress(content), 12)),
    "gzipped one by one": (
        "HIGGS.csv.%d.gz",
        lambda content: [gzip.compress(piece) for piece in lines_cut(content, 10)],
    ),
    "gzipped one by one, numbered last": (
        "HIGGS.csv.gz.%d",
        lambda content: [gzip.compress(piece) for piece in cut(content, 12)],
    ),
    "gzip that no name tells": (
        "HIGGS.csv.part%d",
        lambda content: cut(gzip.compress(content), 12),
    ),
}


@pytest.mark.parametrize("kind", PARTS)
@pytest.mark.parametrize("first", [0, 1])
def test_parts_are_read_as_one_file(load, folder, tmp_path, kind, first):
    whole = load()
    name, divide = PARTS[kind]
    (tmp_path / "parts").mkdir()
    for number, piece in enumerate(divide((folder / "HIGGS.csv").read_bytes()), start=first):
        (tmp_path / "parts" / (name % number)).write_bytes(piece)
    parts = load_higgs(tmp_path / "parts", Split())
    assert same(parts, whole)
    assert parts.sha256 == whole.sha256
    assert f"{name % first} to {name % number} (" in parts.source


def test_a_part_that_changes_makes_the_cache_stale(folder, cache, tmp_path, caplog):
    (tmp_path / "parts").mkdir()
    for number, piece in enumerate(cut((folder / "HIGGS.csv").read_bytes(), 3)):
        (tmp_path / "parts" / f"HIGGS.csv.{number}").write_bytes(piece)
    load_higgs(tmp_path / "parts", Split())
    os.utime(tmp_path / "parts" / "HIGGS.csv.2", (0, 5))
    with caplog.at_level(logging.INFO, "datasets"):
        load_higgs(tmp_path / "parts", Split())
    changed = "rebuilding, one of HIGGS.csv.0 to HIGGS.csv.2 (3 parts) has changed since"
    assert changed in caplog.text


@pytest.mark.parametrize(("part", "fault"), [(0, ""), (1, ""), (2, "damaged or not gzip")])
def test_a_part_that_lacks_its_end_is_refused(folder, cache, tmp_path, part, fault):
    (tmp_path / "parts").mkdir()
    for number, piece in enumerate(cut(gzip.compress((folder / "HIGGS.csv").read_bytes()), 3)):
        end = -5 if number == part else None
        (tmp_path / "parts" / f"HIGGS.csv.gz.{number}").write_bytes(piece[:end])
    named = r"HIGGS\.csv\.gz\.0 to HIGGS\.csv\.gz\.2 \(3 parts\): "
    with pytest.raises(UserError, match=named + fault):
        load_higgs(tmp_path / "parts", Split())
    assert not list(cache.iterdir())
