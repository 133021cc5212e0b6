"""Shared by methods that split a layer into pre-activations, activations and weights.

Activations carry a column of ones, H̃ (n, d + 1). Rows are processed in blocks, so that temporaries
stay small beside the activations; sums over blocks are float64.
"""

import math
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import cho_factor, cho_solve

from datasets import Dataset
from new_algorithm.back_projection.rows import in_chunks
from new_algorithm.cli.errors import UserError

ROWS_AT_ONCE = 4_096


def row_slices(array: NDArray) -> Iterator[slice]:
    """Yield the rows of an array, at most ROWS_AT_ONCE at a time."""
    for first in range(0, len(array), ROWS_AT_ONCE):
        yield slice(first, first + ROWS_AT_ONCE)


def sum_of_products(left: NDArray, right: NDArray) -> NDArray[np.float64]:
    """Return leftᵀ right: (n, d), (n, m) → (d, m); for equal arguments the Gram matrix."""
    total = np.zeros((left.shape[1], right.shape[1]))
    for some, others in in_chunks(left, right, ROWS_AT_ONCE):
        total += some.T @ others
    return total


def damped_factor(matrix: NDArray[np.float64], ridge: float) -> Any:
    """Return the Cholesky factor of a positive semidefinite matrix + ridge I, for `cho_solve`.

    It overwrites the matrix. LinAlgError where the sum is singular.
    """
    matrix.flat[:: len(matrix) + 1] += ridge
    return cho_factor(matrix, overwrite_a=True, check_finite=False)


def fit_activations(
    hidden: Sequence[NDArray],
    pre: Sequence[NDArray],
    weights: Sequence[NDArray],
    index: int,
    ratio: float,
) -> None:
    """Write to layer i's activations the H that minimises r ‖H − σ(Z)‖² + ‖Z₊ − [H, 1] W̃₊‖².

    σ is the ReLU, Z (n, d) = pre[i], Z₊ (n, m) = pre[i + 1], W̃₊ (d + 1, m) = weights[i + 1], and
    hidden[i + 1] = [H, 1] (n, d + 1). ratio: r > 0. The solution of
    H (W Wᵀ + r I) = r σ(Z) + (Z₊ − b) Wᵀ, written as a change of S = σ(Z):
    H = S + (Z₊ − [S, 1] W̃₊)(WᵀW + r I)⁻¹ Wᵀ, eq. (1) of back_projection/layer_problem.py.
    """
    w, bias = weights[index + 1][:-1], weights[index + 1][-1]
    w64 = w.astype(np.float64)
    solved = cho_solve(damped_factor(w64.T @ w64, ratio), w64.T, check_finite=False)
    back = np.ascontiguousarray(solved, w.dtype)
    for rows in row_slices(pre[index]):
        block = hidden[index + 1][rows, :-1]
        np.maximum(pre[index][rows], 0, out=block)
        residual = pre[index + 1][rows] - block @ w
        residual -= bias
        block += residual @ back


def relu_prox(target: NDArray, anchor: NDArray, weight: float) -> NDArray:
    """Return, entry by entry, the u that minimises (v − max(u, 0))² + t (u − m)².

    target, anchor: v and m, of the same shape. weight: t > 0. Each side of zero is a parabola:

        u ≥ 0: u₊ = max((v + t m)/(1 + t), 0)        u ≤ 0: u₋ = min(m, 0)

    For m ≥ 0 the minimiser is u₊, since u₋ = 0 lies on the other parabola too. For m < 0 the costs
    are t (v − m)²/(1 + t) at u₊ > 0, and v² at u₋: u₊ is better where v > 0 and −m < κ v with
    κ = √((1 + t)/t) − 1, and there u₊ > 0, as t κ < 1/2. A tie goes to u₋.
    """
    kappa = math.expm1(0.5 * math.log1p(1 / weight))  # no cancellation for large t
    positive = weight * anchor
    positive += target
    positive /= 1 + weight
    np.maximum(positive, 0, out=positive)
    return np.where(anchor + kappa * np.maximum(target, 0) > 0, positive, anchor)


def numeric_targets(data: Dataset) -> NDArray[np.float32]:
    """Return targets (n, m) of the outputs: one-hot rows for several classes, −1 and 1 (the signs
    of a logit) for two; regression targets unchanged. UserError for probabilities."""
    if data.probabilities:
        raise UserError(
            f"the targets of {data.name} are probabilities, and ADMM and block coordinate descent "
            "fit squares or hinges: leave them out"
        )
    if data.num_classes is None:
        return data.y_train.astype(np.float32)
    if data.num_classes == 2:
        return (2 * data.y_train[:, None] - 1).astype(np.float32)
    return np.eye(data.num_classes, dtype=np.float32)[data.y_train]
