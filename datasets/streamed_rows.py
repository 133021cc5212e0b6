"""The rows that are trained on, batch by batch, streamed from a mapped file.

A batch is a stream of chunks (inputs (c, d), targets), arrays that the next chunk overwrites. As in
memory, rows that are left over at the end of an epoch are not used before the next epoch's shuffle.
"""

from collections.abc import Callable, Iterable, Iterator
from itertools import repeat

import numpy as np
from numpy.typing import DTypeLike, NDArray

from datasets.mapped_files import release_pages
from new_algorithm.back_projection.batch import Batch, Chunk
from new_algorithm.back_projection.rows import shuffled

Project = Callable[[NDArray, NDArray], object]  # rows of the data set, and where their inputs go

BLOCK_ROWS = 1_024  # read in one piece: 112 KiB of HIGGS
POOL_ROWS = 1 << 18  # shuffled together


class StreamedRows:
    """Rows that stay in a mapped file (or an array) and pass through memory chunk by chunk.

    x (n, features), targets as above; `project` turns them into inputs (c, width) of type `dtype`.
    Batches of more than `chunk_rows` rows consist of whole blocks of the file, drawn at random, and
    come in chunks; smaller ones are drawn from a pool of such blocks, shuffled in memory. Nothing
    is read row by row. Memory: `chunk_rows` + POOL_ROWS rows, the latter for small batches only.
    """

    def __init__(
        self,
        x: NDArray,
        targets: NDArray,
        project: Project,
        width: int,
        chunk_rows: int,
        dtype: DTypeLike = np.float32,
    ) -> None:
        self.chunk_rows = chunk_rows
        self._x, self._targets, self._project = x, targets, project
        self._width, self._dtype = width, dtype

    def __len__(self) -> int:
        return len(self._x)

    def batches(self, rng: np.random.Generator, size: int) -> Iterator[Batch]:
        """Yield one epoch: batches of `size` rows drawn at random, or all rows as they are.

        Of size 0, for a rank whose shard is too small for its part, they never end.
        """
        if size == 0:
            yield from repeat([])
        elif size == len(self):
            yield _Stream(self, [range(size)])
        elif size > self.chunk_rows:
            for ranges in _groups(shuffled_blocks(rng, len(self)), size):
                if sum(map(len, ranges)) == size:
                    yield _Stream(self, ranges)
        else:
            pool_rows = max(1, POOL_ROWS // size) * size
            for ranges in _groups(shuffled_blocks(rng, len(self)), pool_rows):
                yield from shuffled(rng, self._read_together(ranges), size)

    def chunks(self) -> Iterator[Chunk]:
        """Yield all rows in order."""
        return self.read([range(len(self))])

    def first(self, rows: int) -> Chunk:
        """Return the first `rows` rows, or all if there are fewer."""
        return self._read_together([range(min(rows, len(self)))])

    def read(self, ranges: Iterable[range]) -> Iterator[Chunk]:
        """Yield the rows of `ranges` in chunks; each is valid until the next."""
        buffers = self._buffers(min(self.chunk_rows, len(self)))
        for group in _groups(ranges, self.chunk_rows):
            yield self._fill(group, *buffers)

    def _read_together(self, ranges: list[range]) -> Chunk:
        return self._fill(ranges, *self._buffers(sum(map(len, ranges))))

    def _buffers(self, rows: int) -> Chunk:
        shape = (rows, *self._targets.shape[1:])
        return np.empty((rows, self._width), self._dtype), np.empty(shape, self._targets.dtype)

    def _fill(self, ranges: list[range], inputs: NDArray, targets: NDArray) -> Chunk:
        """Read the ranges one after the other into the arrays; return what was filled of them."""
        end = 0
        for rows in ranges:
            here, there = slice(end, end + len(rows)), slice(rows.start, rows.stop)
            self._project(self._x[there], inputs[here])
            targets[here] = self._targets[there]
            end += len(rows)
        release_pages(self._x)
        release_pages(self._targets)
        return inputs[:end], targets[:end]


class _Stream:
    """A batch that is read again each time it is iterated over."""

    def __init__(self, rows: StreamedRows, ranges: list[range]) -> None:
        self._rows, self._ranges = rows, ranges

    def __iter__(self) -> Iterator[Chunk]:
        return self._rows.read(self._ranges)


def shuffled_blocks(rng: np.random.Generator, rows: int) -> Iterator[range]:
    """Yield the blocks of BLOCK_ROWS rows, the last one shorter, in random order."""
    for block in rng.permutation(-(-rows // BLOCK_ROWS)).tolist():
        yield range(block * BLOCK_ROWS, min(rows, (block + 1) * BLOCK_ROWS))


def _groups(ranges: Iterable[range], size: int) -> Iterator[list[range]]:
    """Yield the ranges in groups of `size` rows, cut to fit; the last group may be shorter."""
    group: list[range] = []
    missing = size
    for rows in ranges:
        while len(rows) >= missing:
            yield [*group, rows[:missing]]
            rows, group, missing = rows[missing:], [], size
        if rows:
            group.append(rows)
            missing -= len(rows)
    if group:
        yield group
