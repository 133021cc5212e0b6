"""A clock that runs during training and stands still during evaluation."""

import time
from dataclasses import dataclass, field


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
