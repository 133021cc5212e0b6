"""A clock that runs during training and stands still during evaluation."""

import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TypeVar

Item = TypeVar("Item")


@dataclass
class TrainingClock:
    """CPU seconds of the process (all its threads) and wall seconds spent inside `with clock:`."""

    cpu_seconds: float = 0.0
    wall_seconds: float = 0.0
    _started: tuple[float, float] = field(default=(0.0, 0.0), repr=False)

    def __enter__(self) -> "TrainingClock":
        self._started = time.process_time(), time.perf_counter()
        return self

    def __exit__(self, *_: object) -> None:
        cpu, wall = time.process_time(), time.perf_counter()
        self.cpu_seconds += cpu - self._started[0]
        self.wall_seconds += wall - self._started[1]

    def around(self, training: Iterator[Item]) -> Iterator[Item]:
        """Yield what `training` yields, and run inside of it alone."""
        while True:
            with self:
                try:
                    item = next(training)
                except StopIteration:
                    return
            yield item
