"""Arrays that may lie in files larger than memory: taken and standardised block by block."""

import mmap
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

ROWS_AT_ONCE = 1 << 13
BLOCK_ELEMENTS = 1 << 20  # 8 MiB of float64 at a time, so that large inputs are never copied whole


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


@dataclass(frozen=True, eq=False)
class Standardiser:
    """x -> (x - mean) / sd, (n, d) -> float32 (n, d), in float64 whatever the type of x.

    sd is infinite where the rows it was fitted on are constant, so that such a feature is zero.
    """

    mean: NDArray
    sd: NDArray

    @classmethod
    def fit(cls, x: NDArray) -> "Standardiser":
        """Mean and standard deviation (divisor n) of the rows of x (n, d), n >= 1."""
        return cls.fit_blocks(lambda: (block for _, block in _blocks(x)))

    @classmethod
    def fit_blocks(cls, blocks: Callable[[], Iterable[NDArray]]) -> "Standardiser":
        """Of all rows that `blocks()` yields each time, float64 (rows, d), one row or more."""
        first = next(iter(blocks()))[0]
        # Sums relative to the first row are exactly zero for constants, which plain means are not.
        rows, total = 0, np.zeros_like(first)
        for block in blocks():
            rows += len(block)
            total += (block - first).sum(axis=0)
        mean = first + total / rows
        variance = sum(np.square(block - mean).sum(axis=0) for block in blocks()) / rows
        return cls(mean, np.sqrt(np.where(variance > 0, variance, np.inf)))

    def __call__(self, x: NDArray) -> NDArray[np.float32]:
        """The standardised x; infinite where a value is beyond float32 after standardising."""
        scaled = np.empty(x.shape, np.float32)
        for rows, block in self.blocks(x):
            scaled[rows] = block
        return scaled

    def blocks(self, x: NDArray) -> Iterator[tuple[slice, NDArray[np.float32]]]:
        """The standardised x as `__call__` gives it, a block of rows at a time."""
        for rows, block in _blocks(x):
            with np.errstate(over="ignore"):
                scaled = ((block - self.mean) / self.sd).astype(np.float32)
            yield rows, scaled


def _blocks(x: NDArray) -> Iterator[tuple[slice, NDArray]]:
    for rows, block in row_blocks(x, max(1, BLOCK_ELEMENTS // x.shape[1])):
        yield rows, block.astype(np.float64)
