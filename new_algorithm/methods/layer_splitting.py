"""What methods share that split a layer into pre-activations, activations and weights.

Activations carry a column of ones, H̃ (n, d + 1). Rows are gone through in blocks, so that besides
the activations themselves little is held; sums over blocks are kept in float64.
"""

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import cho_factor, cho_solve

ROWS_AT_ONCE = 4_096


def row_slices(array: NDArray) -> Iterator[slice]:
    """Yield the rows of an array, at most ROWS_AT_ONCE at a time."""
    for first in range(0, len(array), ROWS_AT_ONCE):
        yield slice(first, first + ROWS_AT_ONCE)


def sum_of_products(left: NDArray, right: NDArray) -> NDArray[np.float64]:
    """Return leftᵀ right: (n, d), (n, m) → (d, m); the Gram matrix where they are the same."""
    total = np.zeros((left.shape[1], right.shape[1]))
    for rows in row_slices(left):
        total += left[rows].T @ right[rows]
    return total


def damped_factor(matrix: NDArray[np.float64], ridge: float) -> Any:
    """Return Cholesky's factor of a positive semidefinite matrix + ridge I, in its memory.

    LinAlgError where the sum is singular. For `cho_solve(factor, ..., check_finite=False)`.
    """
    matrix.flat[:: len(matrix) + 1] += ridge
    return cho_factor(matrix, overwrite_a=True, check_finite=False)


def fit_activations(
    hidden: NDArray, pre: NDArray, next_pre: NDArray, next_layer: NDArray, ratio: float
) -> None:
    """Write to `hidden` (n, d) the H that minimises r ‖H − σ(Z)‖² + ‖Z₊ − [H, 1] W̃₊‖², σ the ReLU.

    pre, next_pre: Z (n, d) and Z₊ (n, m). next_layer: W̃₊ (d + 1, m). ratio: r > 0. The solution of
    H (W Wᵀ + r I) = r σ(Z) + (Z₊ − b) Wᵀ, as a change of S = σ(Z) by what Z₊ still wants:
    H = S + (Z₊ − [S, 1] W̃₊)(WᵀW + r I)⁻¹ Wᵀ, eq. (1) of back_projection/layer_problem.py.
    """
    weights, bias = next_layer[:-1], next_layer[-1]
    w = weights.astype(np.float64)
    solved = cho_solve(damped_factor(w.T @ w, ratio), w.T, check_finite=False)
    back = np.ascontiguousarray(solved, hidden.dtype)
    for rows in row_slices(hidden):
        block = hidden[rows]
        np.maximum(pre[rows], 0, out=block)
        wanted = next_pre[rows] - block @ weights
        wanted -= bias
        block += wanted @ back
