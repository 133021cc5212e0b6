"""Inputs other than the standardised features, and the weights translated back to these."""

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from new_algorithm.back_projection.eigenbasis import Eigenbasis, leading_eigenbasis
from new_algorithm.methods.method import Problem

AS_THEY_ARE, UNIT_RANGE, EIGENVECTORS = "as they are", "in [0, 1]", "eigenvectors"
INPUT_RANK = 60  # eigenvectors

Unfold = Callable[[Sequence[NDArray]], list[NDArray]]  # weights on other inputs → on the features


def on_inputs(inputs: str, problem: Problem) -> tuple[Problem, Unfold]:
    """Return the problem on AS_THEY_ARE or UNIT_RANGE inputs, and how its weights translate back.

    With X' = (X − low)/span in [0, 1], X' W + b = X W/span + (b − low Σ W/span), the sum over the
    inputs.
    """
    if inputs == AS_THEY_ARE:
        return problem, list
    x = problem.data.x_train
    low, span = float(x.min()), float(np.ptp(x))

    def unfold(weights: Sequence[NDArray]) -> list[NDArray]:
        first = weights[0].copy()
        first[:-1] /= span
        first[-1] -= low * first[:-1].sum(axis=0)
        return [first, *weights[1:]]

    return replace(problem, data=replace(problem.data, x_train=(x - low) / span)), unfold


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
