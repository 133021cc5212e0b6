"""No solve at all, for comparison: the direction of the gradient."""

import numpy as np
from numpy.typing import NDArray

from new_algorithm.back_projection.gram import GramNeed, GramSum
from new_algorithm.back_projection.solvers.solver import LayerSolver


class GradientSolver(LayerSolver):
    """δW̃ = M/(λ_w ḡ), the limit λ_w → ∞ of λ_h = ∞."""

    def begin(self, weight: NDArray, damping: float) -> GramNeed:
        self._damping = damping
        return "trace"

    def observe(self, gram: GramSum) -> None:
        self._factor = 1 / self._penalties.on_change(gram.mean_eigenvalue, self._damping)

    def solve(self, inputs: NDArray | None, weight: NDArray, moment: NDArray, out: NDArray) -> None:
        np.multiply(moment, self._factor, out=out)

    def condition(self, inputs: NDArray) -> float:
        return 1.0
