"""Inputs other than the standardised features, and the weights translated back to these."""

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from new_algorithm.back_projection.eigenbasis import Eigenbasis, leading_eigenbasis
from new_algorithm.methods.epochs import Training
from new_algorithm.methods.method import Problem

AS_THEY_ARE, UNIT_RANGE, EIGENVECTORS = "as they are", "in [0, 1]", "eigenvectors"
INPUT_RANK = 60  # eigenvectors


def to_unit_range(x: NDArray) -> tuple[NDArray, float, float]:
    """Return X' = (X − low)/span, all in [0, 1], and both numbers."""
    low, span = float(x.min()), float(np.ptp(x))
    return (x - low) / span, low, span


def from_unit_range(weights: Sequence[NDArray], low: float, span: float) -> list[NDArray]:
    """Return the weights on X that equal these on X'.

    X' W + b = X W/span + (b − low Σ W/span), the sum over the inputs.
    """
    first = weights[0].copy()
    first[:-1] /= span
    first[-1] -= low * first[:-1].sum(axis=0)
    return [first, *weights[1:]]


def started_on(inputs: str, problem: Problem, start: Callable[[Problem], Training]) -> Training:
    """Return the training that `start` makes of the problem with AS_THEY_ARE or UNIT_RANGE inputs.

    Its weights are those on the features as they are.
    """
    if inputs == UNIT_RANGE:
        scaled, low, span = to_unit_range(problem.data.x_train)
        training = start(replace(problem, data=replace(problem.data, x_train=scaled)))
        return OtherInputs(training, lambda weights: from_unit_range(weights, low, span))
    return start(problem)


class OtherInputs:
    """A training on other inputs; `unfold` translates its weights to the features."""

    def __init__(
        self, training: Training, unfold: Callable[[Sequence[NDArray]], list[NDArray]]
    ) -> None:
        self._training, self._unfold = training, unfold

    @property
    def weights(self) -> list[NDArray]:
        return self._unfold(self._training.weights)

    def epoch(self) -> None:
        self._training.epoch()


def in_eigenvectors(
    x: NDArray, weights: Sequence[NDArray]
) -> tuple[Eigenbasis, NDArray, list[NDArray]]:
    """Return the leading eigenvectors of X̃, the data and the weights in their coordinates.

    The column of ones of X̃ is among what the eigenvectors span; the network's own bias, added as
    a further row, starts at zero.
    """
    basis, projected = leading_eigenbasis(x, INPUT_RANK)
    rotated = basis.vectors.T @ weights[0]
    first = np.vstack([rotated, np.zeros_like(rotated[:1])])
    return basis, np.ascontiguousarray(projected), [first, *weights[1:]]


def from_eigenvectors(weights: Sequence[NDArray], basis: Eigenbasis) -> list[NDArray]:
    """Return the weights on X̃ that equal these on [X̃ Q, 1]: Q A plus the own bias."""
    first = basis.vectors @ weights[0][:-1]
    first[-1] += weights[0][-1]
    return [first, *weights[1:]]
