"""The input layer in the coordinates of its eigenbasis, where the Gram of all rows is diagonal."""

import numpy as np
from numpy.typing import NDArray

from new_algorithm.back_projection.eigenbasis import Eigenbasis
from new_algorithm.back_projection.gram import GramNeed
from new_algorithm.back_projection.layer_problem import divide_above_rounding
from new_algorithm.back_projection.solvers.solver import LayerSolver, Penalties, condition_number


class EigenbasisSolver(LayerSolver):
    """δA_ij = M_ij/(g_i + λ_w), the exact form (3) for λ_h = ∞, whose Q is the basis.

    Nothing is remembered: the inverse follows from basis and damping.
    """

    def __init__(self, basis: Eigenbasis, penalties: Penalties) -> None:
        super().__init__(penalties)
        self._basis = basis
        self._bias_row = basis.vectors[-1]  # q
        self._damping = 0.0  # with which the inverse was made; 0: there is none yet

    def begin(self, weight: NDArray, damping: float) -> GramNeed:
        if damping != self._damping:
            self._damping = damping
            self._lambda_w = self._penalties.on_change(self._basis.mean_eigenvalue, damping)
            g = self._basis.values
            damped = (g + self._lambda_w).astype(weight.dtype)[:, None]
            self._inverse = divide_above_rounding(np.ones_like(damped), damped, g)
        return "nothing"

    # W̃ = Q A has its bias qᵀA in the last row q of Q: of A that leaves A − q qᵀA, which is
    # orthogonal to q, so that its squares add up to ‖W‖² of the features' weights

    def decay_cost(self, weight: NDArray) -> float:
        bias = self._bias_row @ weight
        squares = float(np.vdot(weight, weight)) - float(np.vdot(bias, bias))
        return 0.5 * self.decay * squares

    def subtract_features(self, weight: NDArray, out: NDArray, factor: float) -> None:
        row = self._bias_row.astype(weight.dtype)
        bias = factor * (row @ weight)
        out -= factor * weight
        out += row[:, None] * bias

    def solve(self, inputs: NDArray | None, weight: NDArray, moment: NDArray, out: NDArray) -> None:
        np.multiply(moment, self._inverse, out=out)

    def condition(self, inputs: NDArray) -> float:
        return condition_number(self._basis.values, self._lambda_w)
