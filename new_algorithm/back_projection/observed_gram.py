"""What a layer's inputs H̃ (n, d) show to its solver: H̃ᵀH̃, of a batch at hand or summed before.

Sums over chunks of rows, or over the machines that hold them, are all that the Gram matrix of a
batch too large for memory needs: H̃ᵀH̃ = Σ_c H̃_cᵀH̃_c.
"""

from typing import Protocol

import numpy as np
from numpy.typing import DTypeLike, NDArray

from new_algorithm.back_projection.layer_problem import mean_eigenvalue_of_gram


class ObservedGram(Protocol):
    """rows: n. order: d. dtype: of the inputs."""

    rows: int
    order: int
    dtype: DTypeLike

    def write_sum(self, out: NDArray) -> None:
        """Write H̃ᵀH̃ to `out` (d, d)."""

    def mean_eigenvalue(self) -> float:
        """Return trace(H̃ᵀH̃)/(n d)."""


class BatchGram:
    """Of a batch in memory; nothing is computed before it is asked for."""

    def __init__(self, inputs: NDArray) -> None:
        self._inputs = inputs
        self.rows, self.order = inputs.shape
        self.dtype = inputs.dtype

    def write_sum(self, out: NDArray) -> None:
        np.matmul(self._inputs.T, self._inputs, out=out)

    def mean_eigenvalue(self) -> float:
        return mean_eigenvalue_of_gram(self._inputs)


class SummedGram:
    """Of `rows` rows whose H̃ᵀH̃ (d, d) has been added up, in a type at least as wide as `dtype`."""

    def __init__(self, total: NDArray, rows: int, dtype: DTypeLike) -> None:
        self._total = total
        self.rows, self.order, self.dtype = rows, len(total), dtype

    def write_sum(self, out: NDArray) -> None:
        out[...] = self._total

    def mean_eigenvalue(self) -> float:
        return float(self._total.trace()) / (self.rows * self.order)
