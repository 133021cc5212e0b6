"""Arrays kept from one run to the next, as files that are mapped into memory.

A folder of the cache holds groups of .npy files of equally many rows. A file NAME.json says what a
group was made of: it is deleted before its arrays are replaced and written after them, and arrays
that none describes are never read. It holds their checksums too, which are compared whenever they
are mapped: a bit that a disk has flipped would train in silence. That takes a pass over the files,
1.5 s for the features of HIGGS, which the first epoch then finds in memory. Everything goes block
by block: memory does not grow with the rows.
"""

import logging
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import numpy as np
from numpy.typing import DTypeLike, NDArray

from datasets.dataset import hash_arrays
from datasets.mapped_files import row_blocks
from datasets.sources import OWN_FOLDER
from new_algorithm.cli.errors import UserError
from new_algorithm.record.files import read_json, replace_atomically, save_json
from new_algorithm.record.reservation import hold_lock

log = logging.getLogger(__name__)

CACHE = OWN_FOLDER / "cache"
LOCK_NAME = ".lock"  # in a folder of the cache
LAYOUT = 4  # of a folder; caches with another number are rebuilt
DESCRIBED = {"layout", "identity", "rows", "columns", "about", "sha256", "crc32"}

Arrays = Mapping[str, NDArray]


@dataclass(frozen=True)
class Place:
    """A folder of the cache, and how to speak of it.

    title: begins lines of the log. path: what the rows come from, named in errors. key: the
    folder's name. changed: why an old cache cannot be used, in words.
    """

    title: str
    path: Path
    key: str
    changed: str

    @property
    def folder(self) -> Path:
        return CACHE / self.key


class Built(NamedTuple):
    """columns: of each array the type and the shape of a row. blocks: yields the rows of all, part
    by part. about: what else later runs have to know; it survives a trip through JSON."""

    columns: Mapping[str, tuple[DTypeLike, tuple[int, ...]]]
    blocks: Iterable[tuple[NDArray, ...]]
    about: dict[str, Any]


class Opened(NamedTuple):
    parts: Arrays
    sha256: dict[str, str]
    about: dict[str, Any]


class _StaleError(UserError):
    """What has to be built, and why the files there cannot be used: a line for the log."""


@dataclass(frozen=True)
class CachedArrays:
    """Arrays of equally many rows that are built together, and described by a file NAME.json.

    identity: survives a trip through JSON; a cache with another one is rebuilt. making: what
    building does, in words. parts: those of the arrays that are used, and hashed, by name.
    """

    place: Place
    name: str
    identity: dict[str, Any]
    making: str
    build: Callable[[], Built]
    parts: Callable[..., Arrays]

    @property
    def description(self) -> Path:
        return self.place.folder / f"{self.name}.json"

    def open(self) -> Opened:
        """Map the parts, after this or another process has built them if need be."""
        try:
            return self._map()
        except _StaleError:
            pass
        with _writing(self.place):
            try:
                return self._map()  # another process may have built it meanwhile
            except _StaleError as reason:
                log.info("%s cache: %s", self.place.title, reason)
            self._build()
            return self._map()

    def _map(self) -> Opened:
        path = self.description
        facts = read_json(path)
        if facts is None and not path.exists():
            raise _StaleError(f"{self.making}, once for this and all later runs")
        if facts is None or facts.get("layout") != LAYOUT or not facts.keys() >= DESCRIBED:
            raise _StaleError(f"rebuilding, {path.name} is damaged or of another version")
        if facts["identity"] != self.identity:
            raise _StaleError(f"rebuilding, {self.place.changed} since")
        arrays = self._arrays(facts["columns"], facts["rows"])
        sums = _checksums(arrays)
        if read_json(path) != facts:
            raise _StaleError("rebuilding, it was being replaced")
        if sums != facts["crc32"]:
            raise _StaleError(f"damaged, rebuilding {self.name}")
        return Opened(self.parts(*arrays), facts["sha256"], facts["about"])

    def _arrays(self, columns: Mapping[str, Any], rows: int) -> list[NDArray]:
        arrays = []
        for name, (dtype, row_shape) in columns.items():
            try:
                path = self.place.folder / f"{name}.npy"
                array = np.asarray(np.lib.format.open_memmap(path, mode="r"))
                form = (array.dtype, array.shape, array.flags.c_contiguous)
                if form != (np.dtype(dtype), (rows, *row_shape), True):
                    raise ValueError(form)
            except FileNotFoundError:
                raise _StaleError(f"rebuilding, {name}.npy is missing") from None
            except (OSError, ValueError) as error:
                raise _StaleError(f"rebuilding, {name}.npy is damaged or cannot be read") from error
            arrays.append(array)
        return arrays

    def _build(self) -> None:
        built = self.build()
        columns = {
            name: [np.dtype(dtype).str, list(shape)]
            for name, (dtype, shape) in built.columns.items()
        }
        with ExitStack() as stack:
            paths = [self.place.folder / f"{name}.npy" for name in columns]
            files = [stack.enter_context(replace_atomically(path)) for path in paths]
            _write_headers(files, columns, 0)
            rows = 0
            for blocks in built.blocks:
                for file, block in zip(files, blocks, strict=True):
                    file.write(np.ascontiguousarray(block).data)
                rows += len(blocks[0])
            _write_headers(files, columns, rows)
            self.description.unlink(missing_ok=True)
        arrays = self._arrays(columns, rows)
        sums = {"sha256": hash_arrays(self.parts(*arrays)), "crc32": _checksums(arrays)}
        facts = {"layout": LAYOUT, "identity": self.identity, "rows": rows, "columns": columns}
        save_json(self.description, facts | {"about": built.about} | sums)


def _checksums(arrays: Iterable[NDArray]) -> list[int]:
    """CRC-32 of each array's bytes, three times as fast as sha256."""
    sums = []
    for array in arrays:
        crc = 0
        for _, block in row_blocks(array):
            crc = zlib.crc32(block.data, crc)
        sums.append(crc)
    return sums


def _write_headers(files: list[BinaryIO], columns: Mapping[str, Any], rows: int) -> None:
    """Begin the files with a header, which NumPy pads so that any number of rows fits in."""
    for file, (dtype, row_shape) in zip(files, columns.values(), strict=True):
        facts = {"descr": dtype, "fortran_order": False, "shape": (rows, *row_shape)}
        file.seek(0)
        np.lib.format.write_array_header_1_0(file, facts)


@contextmanager
def _writing(place: Place) -> Iterator[None]:
    """Be the only process that writes in the folder, after waiting for any other.

    An OSError inside becomes a UserError.
    """
    folder = place.folder
    try:
        with _locked(place):
            for path in folder.glob(".*.*"):  # temporary files of a build that was killed
                path.unlink()
            yield
    except OSError as error:
        raise UserError(
            f"{folder}: the cache of {place.title} cannot be written ({error.strerror or error}); "
            f"make room or allow writing there, or make {folder.parent} a link to another disk"
        ) from error


@contextmanager
def _locked(place: Place) -> Iterator[None]:
    """Hold the lock of the folder, which is made, and deleted again if nothing is put there."""
    with ExitStack() as stack:
        waits = False
        while True:
            place.folder.mkdir(parents=True, exist_ok=True)
            try:
                stack.enter_context(hold_lock(place.folder / LOCK_NAME, waits))
                break
            except FileNotFoundError:
                continue  # another process has just deleted the folder
            except BlockingIOError:
                log.info("%s cache: waiting for another process that is building it", place.title)
                waits = True
        try:
            yield
        finally:
            _delete_if_empty(place.folder)  # still under the lock


def _delete_if_empty(folder: Path) -> None:
    with suppress(OSError):  # another process may come to wait there
        if [path.name for path in folder.iterdir()] == [LOCK_NAME]:
            (folder / LOCK_NAME).unlink()
            folder.rmdir()
