"""Arrays in files larger than memory: read as maps, block by block, their pages let go."""

import mmap
from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

ROWS_AT_ONCE = 1 << 13


def release_pages(array: NDArray) -> None:
    """Drop this process's pages of the file that `array` is mapped from.

    Nothing is lost: they are read again when they are needed. Ordinary arrays, and writable maps,
    whose changes may be nowhere else, are left alone.
    """
    owner = _owner(array)
    if isinstance(owner, mmap.mmap):
        with memoryview(owner) as view:
            read_only = view.readonly
        if read_only:
            owner.madvise(mmap.MADV_DONTNEED)


def is_mapped(array: NDArray) -> bool:
    """Whether `array` lies in a file rather than in memory of its own."""
    return isinstance(_owner(array), mmap.mmap)


def row_blocks(array: NDArray, step: int = ROWS_AT_ONCE) -> Iterator[tuple[slice, NDArray]]:
    """Yield views of `step` rows at a time and where they are, releasing the pages behind them."""
    for start in range(0, len(array), step):
        rows = slice(start, start + step)
        yield rows, array[rows]
        release_pages(array)


def distinct(labels: NDArray) -> NDArray:
    """The sorted values in labels (n,), n >= 1."""
    return np.unique(np.concatenate([np.unique(block) for _, block in row_blocks(labels)]))


def _owner(array: NDArray) -> Any:
    owner: Any = array
    while isinstance(owner, np.ndarray):
        owner = owner.base
    return owner
