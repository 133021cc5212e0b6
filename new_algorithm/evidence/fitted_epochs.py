"""How many epochs of a training fit into the CPU time that every method is given."""

from collections.abc import Callable
from contextlib import suppress
from typing import Any

import numpy as np

from new_algorithm.lab.silent_run import SilentRun

PROBED_EPOCHS = 3  # at most: enough to tell the start's cost from that of an epoch


class _EnoughError(Exception):
    """Ends a probe early."""


class _Probe(SilentRun):
    """Keeps the CPU seconds at the end of each epoch, and stops where the time is over."""

    def __init__(self, cpu_seconds: float) -> None:
        self.budget, self.seconds = cpu_seconds, list[float]()

    def record_epoch(self, epoch: int, **numbers: Any) -> None:
        self.seconds.append(numbers["clock"].cpu_seconds)
        if self.seconds[-1] > self.budget:
            raise _EnoughError


def fitted_epochs(cpu_seconds: float, train: Callable[[int, SilentRun], Any]) -> int:
    """Return the epochs, at least 1, that train(epochs, run) can make in `cpu_seconds`.

    A run costs a start and so much an epoch, of which the cheapest one that was seen counts: other
    work on the machine makes epochs dearer, never cheaper.
    """
    probe = _Probe(cpu_seconds)
    with suppress(_EnoughError):
        train(PROBED_EPOCHS, probe)
    if len(probe.seconds) < 2:
        return 1
    an_epoch = float(np.diff(probe.seconds).min())
    start = probe.seconds[0] - an_epoch
    return max(1, int((cpu_seconds - start) / max(an_epoch, 1e-6)))
