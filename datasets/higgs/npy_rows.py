""".npy files that are written row by row, and read as maps."""

import io
import os
from pathlib import Path
from typing import BinaryIO

import numpy as np


class NpyWriter:
    """Appends blocks of rows to an .npy file whose number of rows is known at the end only."""

    def __init__(self, file: BinaryIO, dtype: type, row_shape: tuple[int, ...] = ()) -> None:
        self.rows = 0
        self._file = file
        self._dtype = np.dtype(dtype)
        self._row_shape = row_shape
        self._header_bytes = file.write(_header(self._dtype, (0, *row_shape)))

    def append(self, block: np.ndarray) -> None:
        """Add the rows of `block`; ValueError unless it has the writer's dtype and row shape."""
        if block.dtype != self._dtype or block.shape[1:] != self._row_shape:
            raise ValueError(f"{block.dtype} {block.shape} is not {self._dtype} {self._row_shape}")
        self._file.write(np.ascontiguousarray(block).data)
        self.rows += len(block)

    def finish(self) -> None:
        """Put the number of rows into the header, and all of it onto the disk."""
        header = _header(self._dtype, (self.rows, *self._row_shape))
        if len(header) != self._header_bytes:  # NumPy leaves room for any number of rows
            raise ValueError(f"no room in the header for {self.rows} rows")
        self._file.seek(0)
        self._file.write(header)
        self._file.flush()
        os.fsync(self._file.fileno())


def map_npy(path: Path, dtype: type, shape: tuple[int, ...]) -> np.ndarray:
    """The array of a file that `NpyWriter` made, as a read-only map of it.

    ValueError unless the file holds exactly that; OSError where it cannot be opened.
    """
    header = _header(np.dtype(dtype), shape)
    with path.open("rb") as file:
        as_expected = file.read(len(header)) == header
    expected_bytes = len(header) + np.dtype(dtype).itemsize * int(np.prod(shape, dtype=object))
    if not as_expected or path.stat().st_size != expected_bytes:
        raise ValueError(f"{path.name} is damaged")
    return np.asarray(np.load(path, mmap_mode="r", allow_pickle=False))


def _header(dtype: np.dtype, shape: tuple[int, ...]) -> bytes:
    file = io.BytesIO()
    facts = {"descr": np.lib.format.dtype_to_descr(dtype), "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(file, facts)
    return file.getvalue()
