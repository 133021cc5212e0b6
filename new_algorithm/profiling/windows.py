"""Which steps of a training are profiled, and which beside them are not, for comparison."""

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import wraps
from typing import Any, Literal, Protocol

WARM_UP = 3  # steps: what is made once at the start would weigh too much
TRIAL = 2  # of them, the last, by which a profiler tells how long its blocks may be
BLOCK = 20  # steps; back projection judges every 20th, so that each block has one such
MEMORY_STEPS = 5  # in which memory is traced, which makes them several times as slow

Kind = Literal["warm-up", "trial", "profiled", "plain", "memory", "over"]
PROFILERS_OWN: tuple[Kind, ...] = ("trial", "profiled", "memory")  # in which it is in force


class Profiler(Protocol):
    """What is in force during the blocks of its kinds, and only while the training clock runs.

    rounds: of a block with the profile, and one without it. block: steps of one, from the end of
    the trial on at most BLOCK and an even number, since some trainings take two kinds in turn.
    """

    rounds: int
    block: int

    def start(self, kind: Kind) -> None: ...
    def stop(self, kind: Kind) -> None: ...


def kind_of(step: int, rounds: int, block: int = BLOCK) -> Kind:
    """Return what a step, counted from 0, is for."""
    if step < WARM_UP:
        return "trial" if step >= WARM_UP - TRIAL else "warm-up"
    number, place = divmod(step - WARM_UP, block)
    if number < 2 * rounds:
        return "plain" if number % 2 else "profiled"
    return "memory" if number == 2 * rounds and place < MEMORY_STEPS else "over"


@dataclass
class Taken:
    """Whole steps of one kind, and the seconds that they took."""

    steps: int = 0
    cpu_seconds: float = 0.0
    wall_seconds: float = 0.0

    @property
    def cpu_share(self) -> float:
        """CPU over wall time, at most 1: below it the process had to wait."""
        return min(1.0, self.cpu_seconds / self.wall_seconds) if self.wall_seconds else 1.0


@dataclass
class Windows:
    """Counts steps and starts and stops a profiler; a step ends where `step_done` is called.

    taken: by kind, the profiler's own starts and stops excluded. between: the CPU seconds of those.
    done: called once nothing more is to be profiled.
    """

    profiler: Profiler
    done: Callable[[], None] = lambda: None
    taken: dict[Kind, Taken] = field(default_factory=dict)
    between: float = 0.0
    steps: int = 0
    _running: bool = False
    _depth: int = 0
    _mark: tuple[float, float] = (0.0, 0.0)

    def resume(self) -> None:
        """The training clock starts."""
        if self.kind != "over":
            self._start()

    def pause(self) -> None:
        """The training clock stops."""
        if self._running:
            self._stop()

    @property
    def kind(self) -> Kind:
        return self._kind_of(self.steps)

    def _kind_of(self, step: int) -> Kind:
        return kind_of(step, self.profiler.rounds, self.profiler.block)

    def step_done(self) -> None:
        if not self._running:  # an evaluation
            return
        before = self.kind
        self.taken.setdefault(before, Taken()).steps += 1
        if self._kind_of(self.steps + 1) == before:
            self.steps += 1
            return
        self._stop()
        self.steps += 1
        if self.kind == "over":
            self.done()
        else:
            self._start()

    def ending(self, step: Callable[..., Any]) -> Callable[..., Any]:
        """Return `step`, at whose end a step is done; one inside of another does not count."""

        @wraps(step)
        def counted(*args: Any, **kwargs: Any) -> Any:
            self._depth += 1
            try:
                result = step(*args, **kwargs)
            finally:
                self._depth -= 1
            if self._depth == 0:
                self.step_done()
            return result

        return counted

    def _start(self) -> None:
        began = time.process_time()
        if self.kind in PROFILERS_OWN:
            self.profiler.start(self.kind)
        self._running = True
        self._mark = time.process_time(), time.perf_counter()
        self.between += self._mark[0] - began

    def _stop(self) -> None:
        cpu, wall = time.process_time(), time.perf_counter()
        taken = self.taken.setdefault(self.kind, Taken())
        taken.cpu_seconds += cpu - self._mark[0]
        taken.wall_seconds += wall - self._mark[1]
        self._running = False
        if self.kind in PROFILERS_OWN:
            self.profiler.stop(self.kind)
        self.between += time.process_time() - cpu
