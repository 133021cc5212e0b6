"""Passes over the training rows, cut into epochs: by one rule for all methods with minibatches.

Every pass has a shuffle of its own, and every row but those left over is seen once in it. A pass
is so many epochs of successive batches, which differ by at most one batch.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import chain, count, islice
from typing import TypeVar

Batch = TypeVar("Batch")


@dataclass(frozen=True)
class Passes:
    """batch_size: in rows. batches: of a pass. parts: epochs of a pass, at most its batches."""

    batch_size: int
    batches: int
    parts: int

    @classmethod
    def over(cls, rows: int, batch_size: int, parts: int) -> "Passes":
        """Return those over so many rows, of which there is at least one."""
        size = min(batch_size, rows)
        batches = rows // size
        return cls(size, batches, min(parts, batches))

    def steps(self, epochs: int) -> int:
        """Return how many batches the first so many epochs have, whole passes of them exactly."""
        return epochs * self.batches // self.parts

    def steps_of(self, epoch: int) -> int:
        """Return how many batches the epoch of that number has; they count from 1."""
        return self.steps(epoch) - self.steps(epoch - 1)

    def epochs(self, shuffled: Callable[[], Iterable[Batch]]) -> Iterator[Iterator[Batch]]:
        """Yield the batches of each epoch, without end; shuffled() draws those of a pass."""
        batches = chain.from_iterable(shuffled() for _ in count())
        for epoch in count(1):
            yield islice(batches, self.steps_of(epoch))
