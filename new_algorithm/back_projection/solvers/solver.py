"""What every solver of a layer has in common: the penalties, and what a sweep calls."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from new_algorithm.back_projection.conjugate_gradients import CGResult
from new_algorithm.back_projection.gram import GramNeed, GramSum
from new_algorithm.back_projection.layer_problem import (
    absolute_lambda_h,
    absolute_lambda_w,
    times_transpose,
)
from new_algorithm.back_projection.state import Stateful


@dataclass(frozen=True)
class Penalties:
    """λ_w and λ_h of one layer; relative ones are in mean eigenvalues of G and of K = WᵀW."""

    lambda_w: float
    lambda_h: float = np.inf
    relative: bool = True

    def absolute_w(self, mean_of_g: float) -> float:
        """Return λ_w in the units of (P); mean_of_g: trace(G) over the order of G."""
        return absolute_lambda_w(mean_of_g, self.lambda_w) if self.relative else self.lambda_w

    def absolute_h(self, weight: NDArray) -> float:
        """Return λ_h in the units of (P)."""
        return absolute_lambda_h(weight, self.lambda_h) if self.relative else self.lambda_h


class LayerSolver(Stateful):
    """One layer's part in a sweep; H̃ (n, d_in + 1), W̃ like δW̃, M = H̃ᵀΔ/n like W̃."""

    def begin(self, weight: NDArray, damping: float) -> GramNeed:
        """Take in W̃ of this iteration, and say what of H̃ᵀH̃ is needed; damping ≥ 1 is on λ_w."""
        raise NotImplementedError

    def observe(self, gram: GramSum) -> None:
        """Take in H̃ᵀH̃ of this iteration, where `begin` has asked for it."""
        raise NotImplementedError

    def solve(
        self, inputs: NDArray | None, weight: NDArray, moment: NDArray, out: NDArray
    ) -> CGResult | None:
        """Write δW̃ to `out`; return the result of conjugate gradients where they were used.

        inputs: H̃, or None where the batch came in several chunks.
        """
        raise NotImplementedError

    def pass_down(self, residual: NDArray, weight: NDArray, out: NDArray) -> None:
        """Write (k̄ + λ_h) δH (n, d_in) to `out`, for what is left of Δ (n, d_out).

        Here for λ_h = ∞, the back-propagated residual.
        """
        times_transpose(residual, weight[:-1], out)

    def condition(self, inputs: NDArray) -> float:
        """Return the condition number of G + λ_w I, as far as rounding lets it be known."""
        raise NotImplementedError

    def forget(self) -> None:
        """Drop whatever came from earlier batches: the weights have gone back."""


def condition_number(eigenvalues: NDArray, damping: float) -> float:
    """Return (g_max + λ)/(g_min + λ), at most 1/(d ε): a smaller g_min + λ is rounding."""
    values = np.maximum(eigenvalues, 0).astype(np.float64) + damping
    rounding = len(values) * np.finfo(eigenvalues.dtype).eps * values.max()
    return float(values.max() / max(values.min(), rounding)) if values.max() > 0 else 1.0
