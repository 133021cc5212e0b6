"""How many epochs of a training fit into the CPU time that every method is given."""

from collections.abc import Callable
from contextlib import suppress
from typing import Any

import numpy as np

from new_algorithm.lab.silent_run import SilentRun


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
    """Return the epochs, at least 1, that train(epochs, run) can make in `cpu_seconds`.

    At most `probed` epochs are made: where the time is over before, they are counted; otherwise
    those to come are taken to cost what the second to the last of them did on average.
    """
    probe = _Probe(cpu_seconds)
    with suppress(_EnoughError):
        train(probed, probe)
    within = sum(seconds <= cpu_seconds for seconds in probe.seconds)
    if within < len(probe.seconds) or within < 2:
        return max(1, within)
    an_epoch = float(np.diff(probe.seconds).mean())
    return within + int((cpu_seconds - probe.seconds[-1]) / max(an_epoch, 1e-6))
