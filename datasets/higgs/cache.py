"""Rows in the form of HIGGS, kept from one run to the next as files that are mapped into memory.

A folder of the cache holds features.npy, float32 (n, 28) as read, with labels.npy, int64 (n,), and
for each split in use scaled_SPLIT.npy, float32, its training rows followed by its held-out rows.
rows.json and scaled_SPLIT.json say what these were made of: each is deleted before its arrays are
replaced and written after them, and arrays that none describes are never read. Everything goes
block by block: memory does not grow with the rows.
"""

import hashlib
import logging
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from datasets.dataset import Dataset
from datasets.higgs import FEATURES, count_test_rows
from datasets.mapped_files import NpyWriter, map_npy, row_blocks
from datasets.sources import OWN_FOLDER
from datasets.splits import Split
from datasets.standardise import Standardiser
from datasets.tabular import FEATURE_SCALING, check_scaled, count_classes
from new_algorithm.cli.errors import UserError
from new_algorithm.cli.progress import byte_progress
from new_algorithm.record.files import read_json, replace_atomically, save_json
from new_algorithm.record.reservation import LOCK_NAME, hold_lock

log = logging.getLogger(__name__)

CACHE = OWN_FOLDER / "cache"
LAYOUT = 2  # of a folder; caches with another number are rebuilt
STEP = 1 << 16  # rows at a time


class _StaleError(UserError):
    """What has to be built, and why the files there cannot be used: a line for the log."""


@dataclass(frozen=True)
class Origin:
    """What the rows are made of.

    title: begins lines of the log. path: named in errors. key: name of the folder in the cache.
    identity: survives a trip through JSON unchanged; a cache with another one is rebuilt.
    making, changed: what building does, and why an old cache cannot be used, in words.
    read: yields features, float32 (n, 28), and labels, int64 (n,), of one block after another.
    """

    title: str
    path: Path
    key: str
    identity: dict[str, Any]
    making: str
    changed: str
    read: Callable[[], Iterable[tuple[NDArray, NDArray]]]


@dataclass(frozen=True)
class _Group:
    """Arrays of equally many rows that are built together.

    columns: name -> type and shape of a row. parts: those of the arrays that are hashed.
    """

    name: str
    columns: Mapping[str, tuple[DTypeLike, tuple[int, ...]]]
    identity: dict[str, Any]
    making: str
    blocks: Callable[[], Iterable[tuple[NDArray, ...]]]
    parts: Callable[[list[NDArray]], dict[str, NDArray]]


@dataclass(frozen=True, eq=False)
class Rows:
    """x_train, y_train, x_test and y_test as read, as read-only maps, and the sha256 of each."""

    origin: Origin
    folder: Path
    parts: dict[str, NDArray]
    sha256: dict[str, str]

    def __len__(self) -> int:
        return len(self.parts["y_train"]) + len(self.parts["y_test"])


def open_rows(origin: Origin, cache_dir: Path | None = None) -> Rows:
    """Open the rows in the cache, by default `CACHE`, which is built unless a good one is there.

    UserError for faulty rows, which leaves an older cache as it was, and for a folder that cannot
    be written.
    """

    def blocks() -> Iterator[tuple[NDArray, NDArray]]:
        count = 0
        for x, y in origin.read():
            yield x, y
            count += len(y)
        count_test_rows(origin.path, count)  # too few are refused before anything is replaced

    def parts(arrays: list[NDArray]) -> dict[str, NDArray]:
        x, y = arrays
        end = len(y) - count_test_rows(origin.path, len(y))
        return {"x_train": x[:end], "y_train": y[:end], "x_test": x[end:], "y_test": y[end:]}

    columns = {"features": (np.float32, (FEATURES,)), "labels": (np.int64, ())}
    folder = (CACHE if cache_dir is None else cache_dir) / origin.key
    group = _Group("rows", columns, origin.identity, origin.making, blocks, parts)
    arrays, sha256 = _open(origin, folder, group)
    return Rows(origin, folder, parts(arrays), sha256)


def dataset_of(rows: Rows, split: Split, name: str, source: str) -> Dataset:
    """The rows as a classification, held-out rows and limits as `split` says."""
    path, arrays = rows.origin.path, split.hold_out(rows.parts)
    num_classes = count_classes(path, _classes(arrays["y_train"]), _classes(arrays["y_test"]))
    unscaled = {key: arrays[key] for key in ("x_train", "x_test")}
    arrays = split.limit(arrays | _open_scaled(rows, split.held_out, unscaled))
    return Dataset(
        name=name,
        x_train=arrays["x_train"],
        y_train=arrays["y_train"],
        x_test=arrays["x_test"],
        y_test=arrays["y_test"],
        num_classes=num_classes,
        held_out=split.held_out,
        source=f"{source}, the last {len(rows.parts['y_test']):,} of {len(rows):,} rows being the "
        "test set",
        scaling=FEATURE_SCALING,
        sha256=rows.sha256,
    )


def verify_rows(origin: Origin, cache_dir: Path | None = None) -> int:
    """How many rows there are, after every byte in the cache was checked; what differs is rebuilt.

    Scaled rows are rebuilt when they are next used.
    """
    rows = open_rows(origin, cache_dir)
    damaged = [] if _hashes(rows.parts) == rows.sha256 else ["rows"]
    for path in rows.folder.glob("scaled_*.json"):
        facts, array = read_json(path), np.load(path.with_suffix(".npy"), mmap_mode="r")
        if facts is None or _hashes({"scaled": array}) != facts.get("sha256"):
            damaged.append(path.stem)
    if damaged:
        log.info("%s cache: damaged, %s", origin.title, " and ".join(damaged))
        with _writing(rows.folder, origin.title):
            for name in damaged:
                (rows.folder / f"{name}.json").unlink(missing_ok=True)
    return len(open_rows(origin, cache_dir))


def _open_scaled(rows: Rows, held_out: str, unscaled: Mapping[str, NDArray]) -> dict[str, NDArray]:
    """x_train and x_test of a split as read-only maps, standardised by x_train."""

    def blocks() -> Iterator[tuple[NDArray]]:
        standardise = Standardiser.fit(unscaled["x_train"])
        with byte_progress("standardising", sum(x.nbytes for x in unscaled.values())) as progress:
            for key, x in unscaled.items():
                for _, block in standardise.blocks(x):
                    yield (check_scaled(rows.origin.path, key, block),)
                    progress.update(block.nbytes)

    name, identity = f"scaled_{held_out}", {"rows": rows.sha256}
    making = f"standardising for {held_out}"
    columns = {name: (np.float32, (FEATURES,))}
    group = _Group(name, columns, identity, making, blocks, lambda a: {"scaled": a[0]})
    (scaled,), _ = _open(rows.origin, rows.folder, group)
    end = len(unscaled["x_train"])
    return {"x_train": scaled[:end], "x_test": scaled[end:]}


def _open(origin: Origin, folder: Path, group: _Group) -> tuple[list[NDArray], dict[str, str]]:
    """Map the arrays of a group, after this or another process has built them if need be."""
    try:
        return _map(origin, folder, group)
    except _StaleError:
        pass
    with _writing(folder, origin.title):
        try:
            return _map(origin, folder, group)  # another process may have built it meanwhile
        except _StaleError as reason:
            log.info("%s cache: %s", origin.title, reason)
        _build(folder, group)
        return _map(origin, folder, group)


def _map(origin: Origin, folder: Path, group: _Group) -> tuple[list[NDArray], dict[str, str]]:
    path = folder / f"{group.name}.json"
    facts = read_json(path)
    if facts is None and not path.exists():
        raise _StaleError(f"{group.making}, once for this and all later runs")
    if facts is None or facts.get("layout") != LAYOUT:
        raise _StaleError(f"rebuilding, {path.name} is damaged or of another version")
    if facts.get("identity") != group.identity:
        raise _StaleError(f"rebuilding, {origin.changed} since")
    arrays = _map_arrays(folder, group)
    if any(len(array) != facts.get("rows") for array in arrays):
        raise _StaleError("rebuilding, an array has lost rows")
    if read_json(path) != facts:
        raise _StaleError("rebuilding, it was being replaced")
    return arrays, facts["sha256"]


def _map_arrays(folder: Path, group: _Group) -> list[NDArray]:
    arrays = []
    for name, (dtype, row_shape) in group.columns.items():
        try:
            arrays.append(map_npy(folder / f"{name}.npy", dtype, row_shape))
        except FileNotFoundError:
            raise _StaleError(f"rebuilding, {name}.npy is missing") from None
        except (OSError, ValueError) as error:
            raise _StaleError(f"rebuilding, {name}.npy is damaged or cannot be read") from error
    return arrays


def _build(folder: Path, group: _Group) -> None:
    facts_file = folder / f"{group.name}.json"
    with ExitStack() as stack:
        writers = [
            NpyWriter(stack.enter_context(replace_atomically(folder / f"{name}.npy")), *column)
            for name, column in group.columns.items()
        ]
        for blocks in group.blocks():
            for writer, block in zip(writers, blocks, strict=True):
                writer.append(block)
        for writer in writers:
            writer.finish()
        facts_file.unlink(missing_ok=True)
    arrays = _map_arrays(folder, group)
    facts = {"layout": LAYOUT, "identity": group.identity, "rows": len(arrays[0])}
    save_json(facts_file, facts | {"sha256": _hashes(group.parts(arrays))})


@contextmanager
def _writing(folder: Path, title: str) -> Iterator[None]:
    """Make the folder and be the only process that writes there, after waiting for any other.

    An OSError inside becomes a UserError.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with ExitStack() as stack:
            try:
                stack.enter_context(hold_lock(folder / LOCK_NAME))
            except BlockingIOError:
                log.info("%s cache: waiting for another process that is building it", title)
                stack.enter_context(hold_lock(folder / LOCK_NAME, wait=True))
            for path in folder.glob(".*.*"):  # temporary files of a build that was killed
                path.unlink()
            yield
    except OSError as error:
        raise UserError(
            f"{folder}: the cache of {title} cannot be written ({error.strerror or error}); make "
            f"room or allow writing there, or make {folder.parent} a link to another disk"
        ) from error


def _classes(labels: NDArray) -> NDArray:
    return np.unique(np.concatenate([np.unique(block) for _, block in row_blocks(labels, STEP)]))


def _hashes(parts: Mapping[str, NDArray]) -> dict[str, str]:
    return {name: _sha256(part) for name, part in parts.items()}


def _sha256(array: NDArray) -> str:
    digest = hashlib.sha256()
    for _, block in row_blocks(array, STEP):
        digest.update(block.data)
    return digest.hexdigest()
