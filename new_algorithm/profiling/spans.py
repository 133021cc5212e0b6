"""Time and memory inside nested calls, each instant the innermost call's: parts add up to all."""

import time
import tracemalloc
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

Key = tuple[str, int | None]  # phase, layer


@dataclass
class Part:
    """Calls, and seconds outside of the calls inside; flops in the products of both kinds.

    peak_bytes: the most memory that was in use meanwhile, above that at the start.
    """

    calls: int = 0
    seconds: float = 0.0
    flops: float = 0.0
    peak_bytes: int = 0


class Spans:
    """What happens between `start` and `stop`, by key; `root` is what no call is inside of.

    Time is that of the process: of short spans wall time would tell who else used the machine.
    """

    def __init__(self, root: Key, clock: Callable[[], float] = time.process_time) -> None:
        self.parts: dict[Key, Part] = {root: Part()}
        self.measured: Literal["time", "memory"] | None = None
        self._root, self._clock = root, clock
        self._open: list[Part] = []
        self._keys: list[Key] = []
        self._mark = 0.0

    def start(self, measured: Literal["time", "memory"]) -> None:
        self.measured = measured
        self._open, self._keys = [self.parts[self._root]], [self._root]
        if measured == "memory":
            tracemalloc.start()
        self._mark = self._clock()

    def stop(self) -> None:
        self._charge()
        if self.measured == "memory":
            tracemalloc.stop()
        self.measured = None
        self._open, self._keys = [], []

    def enter(self, key: Key) -> Part:
        """Open a span; one directly inside of a span with the same key is no further call."""
        self._charge()
        part = self.parts.get(key)
        if part is None:
            part = self.parts[key] = Part()
        if self.measured == "time" and self._keys[-1] != key:
            part.calls += 1
        self._open.append(part)
        self._keys.append(key)
        return part

    def leave(self) -> None:
        self._charge()
        if len(self._open) > 1:
            self._open.pop()
            self._keys.pop()

    @property
    def seconds(self) -> float:
        return sum(part.seconds for part in self.parts.values())

    def _charge(self) -> None:
        part = self._open[-1]
        if self.measured == "memory":
            part.peak_bytes = max(part.peak_bytes, tracemalloc.get_traced_memory()[1])
            tracemalloc.reset_peak()
            return
        now = self._clock()
        part.seconds += now - self._mark
        self._mark = now
