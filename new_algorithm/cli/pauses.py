"""Where a training pauses between two steps: a signal has come, or a checkpoint is due."""

import time

import numpy as np

from new_algorithm.cli.ranks import Ranks
from new_algorithm.cli.signals import ENDING, Stopped, step_done, waiting


class Pauses:
    """Asked after every step, by all ranks of a run alike; for use inside `held`.

    minutes: between two checkpoints, as rank 0 measures them; None: no pause but for signals.
    """

    def __init__(self, ranks: Ranks | None = None, minutes: float | None = None) -> None:
        self._ranks, self._minutes = ranks or Ranks(), minutes
        self._since, self._number = time.monotonic(), 0

    def due(self) -> bool:
        """Return whether to pause after this step, on every rank the same."""
        step_done()
        number, late = waiting(), self._late()
        if self._ranks.all_sum is None:
            self._number = number or 0
            return late or number is not None
        wanted = np.array([*(number == one for one in ENDING), late], float)
        self._ranks.all_sum(wanted)
        self._number = next((one for one, n in zip(ENDING, wanted, strict=False) if n), 0)
        return bool(wanted.any())

    def go_on(self) -> None:
        """The state is saved. Stopped if that was for a signal, of this rank or another one."""
        self._since = time.monotonic()
        if self._number:
            raise Stopped(self._number)

    def _late(self) -> bool:
        if self._minutes is None or self._ranks.rank > 0:
            return False
        return time.monotonic() - self._since >= 60 * self._minutes
