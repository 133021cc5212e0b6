"""Zero mean and unit standard deviation per feature, in float64, whatever the input's type.

The input may be mapped from a file larger than memory: its pages are released as it is read.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from datasets.mapped_files import row_blocks

BLOCK_ELEMENTS = 1 << 20  # 8 MiB of float64 at a time, so that large inputs are never copied whole


@dataclass(frozen=True, eq=False)
class Standardiser:
    """x -> (x - mean) / sd, (n, d) -> float32 (n, d).

    sd is infinite where the rows it was fitted on are constant, so that such a feature is zero.
    """

    mean: NDArray
    sd: NDArray

    @classmethod
    def fit(cls, x: NDArray) -> "Standardiser":
        """Mean and standard deviation (divisor n) of the rows of x (n, d), n >= 1."""
        # Sums relative to the first row are exactly zero for constants, which plain means are not.
        first = x[0].astype(np.float64)
        mean = first + sum((block - first).sum(axis=0) for _, block in _blocks(x)) / len(x)
        variance = sum(np.square(block - mean).sum(axis=0) for _, block in _blocks(x)) / len(x)
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
