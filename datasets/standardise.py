"""Zero mean and unit standard deviation per feature, in float64, whatever the input's type."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

BLOCK_ELEMENTS = 1 << 20  # 8 MiB of float64 at a time, so that large inputs are never copied whole


@dataclass(frozen=True, eq=False)
class Standardiser:
    """x -> (x - mean) / sd, (n, d) -> float32 (n, d).

    sd is infinite where the rows it was fitted on are constant, so that such a feature is zero.
    """

    mean: np.ndarray
    sd: np.ndarray

    @classmethod
    def fit(cls, x: np.ndarray) -> "Standardiser":
        """Mean and standard deviation (divisor n) of the rows of x (n, d), n >= 1."""
        # Sums relative to the first row are exactly zero for constants, which plain means are not.
        first = x[0].astype(np.float64)
        mean = first + sum((block - first).sum(axis=0) for _, block in _blocks(x)) / len(x)
        variance = sum(np.square(block - mean).sum(axis=0) for _, block in _blocks(x)) / len(x)
        return cls(mean, np.sqrt(np.where(variance > 0, variance, np.inf)))

    def __call__(self, x: np.ndarray) -> np.ndarray:
        """The standardised x; infinite where a value is beyond float32 after standardising."""
        scaled = np.empty(x.shape, np.float32)
        with np.errstate(over="ignore"):
            for rows, block in _blocks(x):
                scaled[rows] = (block - self.mean) / self.sd
        return scaled


def _blocks(x: np.ndarray) -> Iterator[tuple[slice, np.ndarray]]:
    step = max(1, BLOCK_ELEMENTS // x.shape[1])
    for start in range(0, len(x), step):
        rows = slice(start, start + step)
        yield rows, x[rows].astype(np.float64)
