"""Memory of arrays that lie in files: read block by block, they take up none that counts."""

import mmap
from collections.abc import Iterator
from typing import Any

import numpy as np


def release_pages(array: np.ndarray) -> None:
    """Let this process's pages of the file that `array` is mapped from go; nothing is lost.

    They stay in the system's page cache, and come back when they are read. Nothing happens to an
    ordinary array, nor to a writable map, whose changes may be nowhere else.
    """
    owner = _owner(array)
    if isinstance(owner, mmap.mmap) and hasattr(mmap, "MADV_DONTNEED"):
        with memoryview(owner) as view:
            read_only = view.readonly
        if read_only:
            owner.madvise(mmap.MADV_DONTNEED)


def is_mapped(array: np.ndarray) -> bool:
    """Whether `array` lies in a file rather than in memory of its own."""
    return isinstance(_owner(array), mmap.mmap)


def row_blocks(array: np.ndarray, step: int) -> Iterator[tuple[slice, np.ndarray]]:
    """Views of `step` rows at a time, with where they are; the pages behind them are let go."""
    for start in range(0, len(array), step):
        rows = slice(start, start + step)
        yield rows, array[rows]
        release_pages(array)


def _owner(array: np.ndarray) -> Any:
    owner: Any = array
    while isinstance(owner, np.ndarray):
        owner = owner.base
    return owner
