"""How many epochs of a training fit into the CPU time that every method is given."""

from collections.abc import Callable
from contextlib import suppress
from typing import Any

import numpy as np

from new_algorithm.record.silent_run import SilentRun


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


def fitted_epochs(cpu_seconds: float, train: Callable[[int, SilentRun], Any], probed: int) -> int:
    """Return how many epochs of train(epochs, run) come nearest to `cpu_seconds`, at least 1.

    At most `probed` epochs are made; those to come are taken to cost what the second to the last
    of them did on average.
    """
    probe = _Probe(cpu_seconds)
    with suppress(_EnoughError):
        train(probed, probe)
    made = probe.seconds
    if made[-1] >= cpu_seconds:
        return 1 + int(np.argmin(np.abs(np.array(made) - cpu_seconds)))
    if len(made) == 1:
        return nearest_epochs(cpu_seconds, 1, made[0])
    an_epoch = float(np.diff(made).mean())
    return len(made) + round((cpu_seconds - made[-1]) / max(an_epoch, 1e-6))


def nearest_epochs(cpu_seconds: float, epochs: int, took: float) -> int:
    """Return how many epochs come nearest to `cpu_seconds`, at least 1, if `epochs` took `took`."""
    return max(1, round(epochs * cpu_seconds / took))
