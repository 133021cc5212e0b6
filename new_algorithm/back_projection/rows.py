"""The rows that are trained on, in memory, batch by batch.

Rows that are left over at the end of an epoch are not used before the next epoch's shuffle: a
shorter batch would give its rows more weight.
"""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from new_algorithm.back_projection.batch import Batch, Chunk, ChunkOfRows

EVALUATED_ROWS = 10_000  # at a time


def in_chunks(
    inputs: NDArray, targets: NDArray, rows_at_once: int = EVALUATED_ROWS
) -> Iterator[Chunk]:
    """Yield all rows in order, as views of at most `rows_at_once`."""
    for first in range(0, len(inputs), rows_at_once):
        rows = slice(first, first + rows_at_once)
        yield inputs[rows], targets[rows]


class RowsInMemory:
    """inputs (n, d), targets (n,) or (n, m). A batch is one chunk; shuffles are complete.

    row_weights: (n,), of mean 1, for rows that do not count alike; batches then bring them.
    """

    def __init__(
        self, inputs: NDArray, targets: NDArray, row_weights: NDArray | None = None
    ) -> None:
        self._inputs, self._targets = inputs, targets
        of_rows = () if row_weights is None else (row_weights,)
        self._arrays: ChunkOfRows = (inputs, targets, *of_rows)

    def __len__(self) -> int:
        return len(self._inputs)

    def batches(self, rng: np.random.Generator, size: int) -> Iterator[Batch]:
        """Yield one epoch: shuffled batches of `size` rows, or all rows as they are."""
        if size == len(self):
            yield [self._arrays]
            return
        yield from shuffled(rng, self._arrays, size)

    def chunks(self) -> Iterator[Chunk]:
        """Yield all rows in order."""
        return in_chunks(self._inputs, self._targets)

    def first(self, rows: int) -> Chunk:
        """Return copies of the first `rows` rows, or of all if there are fewer."""
        return self._inputs[:rows].copy(), self._targets[:rows].copy()


def shuffled(rng: np.random.Generator, rows: ChunkOfRows, size: int) -> Iterator[Batch]:
    """Yield shuffled batches of `size` of the rows, inputs in the place of those before."""
    inputs, targets, *of_rows = rows
    gathered = np.empty((size, inputs.shape[1]), inputs.dtype)
    for batch in minibatches(rng, len(inputs), size):
        # mode="clip" writes to `out` directly; the indices are in range
        np.take(inputs, batch, axis=0, out=gathered, mode="clip")
        yield [(gathered, targets[batch], *(weights[batch] for weights in of_rows))]


def minibatches(rng: np.random.Generator, rows: int, size: int) -> Iterator[NDArray[np.intp]]:
    """Yield the shuffled indices of `rows` rows, `size` at a time; fewer left over are dropped."""
    order = rng.permutation(rows)
    for first in range(0, rows - size + 1, size):
        yield order[first : first + size]
