""".npy files larger than memory: written block by block, read as maps, their pages let go."""

import mmap
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import DTypeLike, NDArray


def release_pages(array: NDArray) -> None:
    """Drop this process's pages of the file that `array` is mapped from.

    Nothing is lost: they are read again when they are needed. Ordinary arrays, and writable maps,
    whose changes may be nowhere else, are left alone.
    """
    owner = _owner(array)
    if isinstance(owner, mmap.mmap) and hasattr(mmap, "MADV_DONTNEED"):
        with memoryview(owner) as view:
            read_only = view.readonly
        if read_only:
            owner.madvise(mmap.MADV_DONTNEED)


def is_mapped(array: NDArray) -> bool:
    """Whether `array` lies in a file rather than in memory of its own."""
    return isinstance(_owner(array), mmap.mmap)


def row_blocks(array: NDArray, step: int) -> Iterator[tuple[slice, NDArray]]:
    """Yield views of `step` rows at a time and where they are, releasing the pages behind them."""
    for start in range(0, len(array), step):
        rows = slice(start, start + step)
        yield rows, array[rows]
        release_pages(array)


class NpyWriter:
    """Appends blocks of rows to an .npy file; the number of rows is known only at the end."""

    def __init__(self, file: BinaryIO, dtype: DTypeLike, row_shape: tuple[int, ...]) -> None:
        self._file, self._dtype, self._row_shape = file, np.dtype(dtype), row_shape
        self._rows = 0
        self._write_header()

    def append(self, block: NDArray) -> None:
        """Add the rows of `block`, of the writer's dtype and row shape."""
        self._file.write(np.ascontiguousarray(block, self._dtype).data)
        self._rows += len(block)

    def finish(self) -> None:
        """Put the number of rows into the header, which NumPy pads for any number."""
        self._file.seek(0)
        self._write_header()

    def _write_header(self) -> None:
        descr, shape = np.lib.format.dtype_to_descr(self._dtype), (self._rows, *self._row_shape)
        facts = {"descr": descr, "fortran_order": False, "shape": shape}
        np.lib.format.write_array_header_1_0(self._file, facts)


def map_npy(path: Path, dtype: DTypeLike, row_shape: tuple[int, ...]) -> NDArray:
    """Map the array of a file that `NpyWriter` wrote, read-only.

    ValueError unless the file holds such an array; OSError if it cannot be opened.
    """
    array = np.asarray(np.lib.format.open_memmap(path, mode="r"))
    if array.dtype != dtype or array.shape[1:] != row_shape or not array.flags.c_contiguous:
        raise ValueError(f"{path.name}: not rows of shape {row_shape} and type {dtype}")
    return array


def _owner(array: NDArray) -> Any:
    owner: Any = array
    while isinstance(owner, np.ndarray):
        owner = owner.base
    return owner
