"""No solve at all, for comparison: the direction of the gradient."""

import numpy as np
from numpy.typing import NDArray

from new_algorithm.back_projection.gram import GramNeed, GramSum
from new_algorithm.back_projection.solvers.solver import LayerSolver, Penalties


class GradientSolver(LayerSolver):
    """δW̃ = M/(λ_w ḡ), the limit λ_w → ∞ of λ_h = ∞."""

    def __init__(self, penalties: Penalties) -> None:
        self._penalties = penalties

    def begin(self, weight: NDArray, damping: float) -> GramNeed:
        self._damping = damping
        return "trace"

    def observe(self, gram: GramSum) -> None:
        lambda_w = self._penalties.absolute_w(gram.mean_eigenvalue)
        self._factor = 1 / (self._damping * lambda_w)

    def solve(self, inputs: NDArray | None, weight: NDArray, moment: NDArray, out: NDArray) -> None:
        np.multiply(moment, self._factor, out=out)

    def condition(self, inputs: NDArray) -> float:
        return 1.0
