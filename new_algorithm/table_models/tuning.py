"""A random search for settings within a time, the same for every model.

Bergstra and Bengio, "Random search for hyper-parameter optimization", JMLR 13, 2012.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from new_algorithm.methods.method import Choice, Range, Settings, Space
from new_algorithm.record.clock import TrainingClock


@dataclass(frozen=True)
class Found:
    """settings: the best. trials: how many were tried, the defaults among them."""

    settings: Settings
    trials: int


def random_search(
    space: Space,
    error_of: Callable[[Settings], float],
    cpu_seconds: float,
    clock: TrainingClock,
    rng: np.random.Generator,
) -> Found:
    """Try the defaults, then settings drawn from `space`, until `clock` has run `cpu_seconds`.

    error_of(settings): on validation rows, less is better, NaN where nothing came of it; it runs
    the clock. The last trial is finished, so that every model has at least one.
    """
    tried: list[tuple[float, Settings]] = []
    settings: Settings = {}
    while not tried or clock.cpu_seconds < cpu_seconds:
        error = error_of(settings)
        tried.append((np.inf if np.isnan(error) else error, settings))
        settings = draw(space, rng)
    best = min(range(len(tried)), key=lambda number: tried[number][0])
    return Found(tried[best][1], len(tried))


def draw(space: Space, rng: np.random.Generator) -> Settings:
    """Settings at random: ranges uniform in their logarithm, choices alike."""
    return {name: _drawn(values, rng) for name, values in space.items()}


def _drawn(values: Range | Choice, rng: np.random.Generator) -> object:
    if isinstance(values, Choice):
        return values.values[int(rng.integers(len(values.values)))]
    return float(np.exp(rng.uniform(np.log(values.low), np.log(values.high))))
