"""Rows in the form of HIGGS, kept from one run to the next as files that are mapped into memory.

A folder of the cache holds features.npy, float32 (n, 28) as read, with labels.npy, int64 (n,), and
for each split in use scaled_SPLIT.npy, float32, its training rows followed by its held-out rows.
rows.json and scaled_SPLIT.json say what these were made of: each is deleted before its arrays are
replaced and written after them, and arrays that none describes are never read. Everything goes
block by block: memory does not grow with the rows.
"""

import logging
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, get_args

import numpy as np
from numpy.typing import DTypeLike, NDArray

from datasets.dataset import Dataset, HeldOut, Split, hash_arrays
from datasets.higgs.csv_rows import FEATURES
from datasets.mapped_files import Standardiser
from datasets.sources import OWN_FOLDER
from datasets.tabular import FEATURE_SCALING, check_scaled, count_classes
from new_algorithm.cli.errors import UserError
from new_algorithm.cli.progress import byte_progress
from new_algorithm.record.files import read_json, replace_atomically, save_json
from new_algorithm.record.reservation import hold_lock

log = logging.getLogger(__name__)

CACHE = OWN_FOLDER / "cache"
LOCK_NAME = ".lock"  # in a folder of the cache
LAYOUT = 2  # of a folder; caches with another number are rebuilt
TEST_ROWS = 500_000
ROWS_FOR_THAT_TEST_SET = 2_600_000
TEST_DIVISOR = 5  # of fewer rows, one in five is a test row

Arrays = Mapping[str, NDArray]


def count_test_rows(path: Path, rows: int) -> int:
    """How many of the last rows are the test set; UserError if they are too few to split."""
    if rows < TEST_DIVISOR:
        raise UserError(
            f"{path}: {rows} rows are too few for a test set: {TEST_DIVISOR} or more are needed"
        )
    return TEST_ROWS if rows >= ROWS_FOR_THAT_TEST_SET else rows // TEST_DIVISOR


class _StaleError(UserError):
    """What has to be built, and why the files there cannot be used: a line for the log."""


@dataclass(frozen=True)
class Origin:
    """What the rows are made of.

    title: begins lines of the log. words: for records, naming no folder of this machine.
    path: named in errors. key: name of the folder in the cache.
    identity: survives a trip through JSON unchanged; a cache with another one is rebuilt.
    making, changed: what building does, and why an old cache cannot be used, in words.
    read: yields features, float32 (n, 28), and labels, int64 (n,), of one block after another.
    """

    title: str
    words: str
    path: Path
    key: str
    identity: dict[str, Any]
    making: str
    changed: str
    read: Callable[[], Iterable[tuple[NDArray, NDArray]]]

    @property
    def folder(self) -> Path:
        return CACHE / self.key


def load_cached(origin: Origin, split: Split, name: str, source: str) -> Dataset:
    """The rows as a classification, held-out rows and limits as `split` says.

    They are read into the cache, and standardised there, unless that was done before. UserError
    for faulty rows, which leaves an older cache as it was, and for a folder that cannot be written.
    """
    rows, sha256 = _rows(origin).open()
    train, test = len(rows["y_train"]), len(rows["y_test"])
    split.check_batch(train)
    arrays = split.hold_out(rows)
    num_classes = count_classes(origin.path, arrays["y_train"], arrays["y_test"])
    scaled, _ = _scaled(origin, rows, sha256, split).open()
    end = len(arrays["x_train"])
    arrays |= {"x_train": scaled["scaled"][:end], "x_test": scaled["scaled"][end:]}
    return Dataset(
        **split.limit(arrays),
        name=name,
        num_classes=num_classes,
        held_out=split.held_out,
        source=f"{source}, the last {test:,} of {train + test:,} rows being the test set",
        scaling=FEATURE_SCALING,
        sha256=sha256,
        target_scale=None,
        image_shape=None,
    )


def verify_rows(origin: Origin) -> int:
    """How many rows there are; every byte in the cache is checked, what differs is rebuilt."""
    rows, sha256 = _rows(origin).open(verify=True)
    for held_out in get_args(HeldOut):
        scaled = _scaled(origin, rows, sha256, Split(held_out))
        if scaled.description.exists():
            scaled.open(verify=True)
    return len(rows["y_train"]) + len(rows["y_test"])


@dataclass(frozen=True)
class _Table:
    """Arrays of equally many rows that are built together, and described by a file NAME.json.

    columns: name -> type and shape of a row. blocks: yields the rows of all, part by part.
    parts: those of the arrays that are used, and hashed, by name.
    """

    origin: Origin
    name: str
    columns: Mapping[str, tuple[DTypeLike, tuple[int, ...]]]
    identity: dict[str, Any]
    making: str
    blocks: Callable[[], Iterable[tuple[NDArray, ...]]]
    parts: Callable[..., Arrays]

    @property
    def description(self) -> Path:
        return self.origin.folder / f"{self.name}.json"

    def open(self, verify: bool = False) -> tuple[Arrays, dict[str, str]]:
        """Map the parts, after this or another process has built them if need be; their hashes."""
        try:
            return self._map(verify)
        except _StaleError:
            pass
        with _writing(self.origin):
            try:
                return self._map(verify)  # another process may have built it meanwhile
            except _StaleError as reason:
                log.info("%s cache: %s", self.origin.title, reason)
            self._build()
            return self._map()

    def _map(self, verify: bool = False) -> tuple[Arrays, dict[str, str]]:
        path = self.description
        facts = read_json(path)
        if facts is None and not path.exists():
            raise _StaleError(f"{self.making}, once for this and all later runs")
        if facts is None or facts.get("layout") != LAYOUT:
            raise _StaleError(f"rebuilding, {path.name} is damaged or of another version")
        if facts.get("identity") != self.identity:
            raise _StaleError(f"rebuilding, {self.origin.changed} since")
        arrays = self._arrays(facts.get("rows"))
        if read_json(path) != facts:
            raise _StaleError("rebuilding, it was being replaced")
        parts = self.parts(*arrays)
        if verify and hash_arrays(parts) != facts["sha256"]:
            raise _StaleError(f"damaged, rebuilding {self.name}")
        return parts, facts["sha256"]

    def _arrays(self, rows: int | None) -> list[NDArray]:
        arrays = []
        for name, (dtype, row_shape) in self.columns.items():
            try:
                path = self.origin.folder / f"{name}.npy"
                array = np.asarray(np.lib.format.open_memmap(path, mode="r"))
                form = (array.dtype, array.shape, array.flags.c_contiguous)
                if form != (dtype, (rows, *row_shape), True):
                    raise ValueError(form)
            except FileNotFoundError:
                raise _StaleError(f"rebuilding, {name}.npy is missing") from None
            except (OSError, ValueError) as error:
                raise _StaleError(f"rebuilding, {name}.npy is damaged or cannot be read") from error
            arrays.append(array)
        return arrays

    def _build(self) -> None:
        with ExitStack() as stack:
            paths = [self.origin.folder / f"{name}.npy" for name in self.columns]
            files = [stack.enter_context(replace_atomically(path)) for path in paths]
            self._write_headers(files, 0)
            rows = 0
            for blocks in self.blocks():
                for file, block in zip(files, blocks, strict=True):
                    file.write(np.ascontiguousarray(block).data)
                rows += len(blocks[0])
            count_test_rows(self.origin.path, rows)  # too few are refused, nothing is replaced
            self._write_headers(files, rows)
            self.description.unlink(missing_ok=True)
        sha256 = hash_arrays(self.parts(*self._arrays(rows)))
        facts = {"layout": LAYOUT, "identity": self.identity, "rows": rows, "sha256": sha256}
        save_json(self.description, facts)

    def _write_headers(self, files: list[BinaryIO], rows: int) -> None:
        """Begin the files with a header, which NumPy pads so that any number of rows fits in."""
        for file, (dtype, row_shape) in zip(files, self.columns.values(), strict=True):
            facts = {"descr": np.dtype(dtype).str, "fortran_order": False}
            file.seek(0)
            np.lib.format.write_array_header_1_0(file, facts | {"shape": (rows, *row_shape)})


def _rows(origin: Origin) -> _Table:
    """The rows as read; parts: x_train, y_train, x_test and y_test."""

    def parts(x: NDArray, y: NDArray) -> Arrays:
        end = len(y) - count_test_rows(origin.path, len(y))
        return {"x_train": x[:end], "y_train": y[:end], "x_test": x[end:], "y_test": y[end:]}

    columns = {"features": (np.float32, (FEATURES,)), "labels": (np.int64, ())}
    return _Table(origin, "rows", columns, origin.identity, origin.making, origin.read, parts)


def _scaled(origin: Origin, rows: Arrays, sha256: dict[str, str], split: Split) -> _Table:
    """x_train and x_test of a split, one after the other, standardised by x_train."""
    name = f"scaled_{split.held_out}"

    def blocks() -> Iterator[tuple[NDArray]]:
        arrays = split.hold_out(rows)
        unscaled = {key: arrays[key] for key in ("x_train", "x_test")}
        standardise = Standardiser.fit(unscaled["x_train"])
        with byte_progress("standardising", sum(x.nbytes for x in unscaled.values())) as progress:
            for key, x in unscaled.items():
                for _, block in standardise.blocks(x):
                    yield (check_scaled(origin.path, key, block),)
                    progress.update(block.nbytes)

    columns = {name: (np.float32, (FEATURES,))}
    making = f"standardising for {split.held_out}"
    return _Table(
        origin, name, columns, {"rows": sha256}, making, blocks, lambda scaled: {"scaled": scaled}
    )


@contextmanager
def _writing(origin: Origin) -> Iterator[None]:
    """Make the folder and be the only process that writes there, after waiting for any other.

    An OSError inside becomes a UserError.
    """
    folder = origin.folder
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with ExitStack() as stack:
            try:
                stack.enter_context(hold_lock(folder / LOCK_NAME))
            except BlockingIOError:
                log.info("%s cache: waiting for another process that is building it", origin.title)
                stack.enter_context(hold_lock(folder / LOCK_NAME, wait=True))
            for path in folder.glob(".*.*"):  # temporary files of a build that was killed
                path.unlink()
            yield
    except OSError as error:
        raise UserError(
            f"{folder}: the cache of {origin.title} cannot be written ({error.strerror or error}); "
            f"make room or allow writing there, or make {folder.parent} a link to another disk"
        ) from error
