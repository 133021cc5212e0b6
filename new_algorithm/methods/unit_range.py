"""Inputs scaled to [0, 1], as some papers have them, for data that are standardised here."""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from new_algorithm.methods.epochs import Training


def to_unit_range(x: NDArray) -> tuple[NDArray, float, float]:
    """Return X' = (X − low)/span, all in [0, 1], and both numbers."""
    low, span = float(x.min()), float(np.ptp(x))
    return (x - low) / span, low, span


def started_on(inputs: str, x: NDArray, start: Callable[[NDArray], Training]) -> Training:
    """Return start(x) for inputs "as they are", for "in [0, 1]" one on X' that answers for x."""
    if inputs == "as they are":
        return start(x)
    scaled, low, span = to_unit_range(x)
    return OnUnitRange(start(scaled), low, span)


class OnUnitRange:
    """A training on X' that answers with the weights for X.

    X' W + b = X W/span + (b − low Σ W/span), the sum over the inputs.
    """

    def __init__(self, training: Training, low: float, span: float) -> None:
        self._training, self._low, self._span = training, low, span

    @property
    def layers(self) -> list[NDArray]:
        first, *others = self._training.layers
        first = first.copy()
        first[:-1] /= self._span
        first[-1] -= self._low * first[:-1].sum(axis=0)
        return [first, *others]

    def epoch(self) -> None:
        self._training.epoch()
