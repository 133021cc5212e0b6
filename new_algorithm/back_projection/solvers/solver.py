"""What every solver of a layer has in common: the penalties, and what a sweep calls."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.linalg.blas import get_blas_funcs, saxpy

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
    """λ_w and λ_h of one layer; relative ones are in mean eigenvalues of G and of K = WᵀW.

    decay: α ≥ 0, the weight decay, absolute always.
    """

    lambda_w: float
    lambda_h: float = np.inf
    relative: bool = True
    decay: float = 0.0

    def on_change(self, mean_of_g: float, damping: float) -> float:
        """Return what (P) has on ‖δW̃‖²/2: λ_w, times `damping` ≥ 1, and α.

        mean_of_g: trace(G) over the order of G.
        """
        relative = self.relative
        lambda_w = absolute_lambda_w(mean_of_g, self.lambda_w) if relative else self.lambda_w
        return damping * lambda_w + self.decay

    def absolute_h(self, weight: NDArray) -> float:
        """Return λ_h in the units of (P)."""
        return absolute_lambda_h(weight, self.lambda_h) if self.relative else self.lambda_h


class LayerSolver(Stateful):
    """One layer's part in a sweep; H̃ (n, d_in + 1), W̃ like δW̃, M = H̃ᵀΔ/n − α W like W̃."""

    def __init__(self, penalties: Penalties) -> None:
        self._penalties = penalties

    @property
    def decay(self) -> float:
        """α of the layer."""
        return self._penalties.decay

    def decay_cost(self, weight: NDArray) -> float:
        """Return α/2 ‖W‖², without the bias, which does not decay."""
        return 0.5 * self.decay * float(np.vdot(weight[:-1], weight[:-1]))

    def subtract_decay(self, weight: NDArray, moment: NDArray) -> None:
        """M ← M − α W, in place."""
        self.subtract_features(weight, moment, self.decay)

    def subtract_features(self, weight: NDArray, out: NDArray, factor: float) -> None:
        """Subtract a multiple of W̃ without its bias from `out`, C-contiguous, maybe W̃ itself."""
        # without a temporary, in a quarter of NumPy's time
        axpy = get_blas_funcs("axpy", (out,)) if out.dtype != np.float32 else saxpy
        axpy(weight[:-1].reshape(-1), out[:-1].reshape(-1), a=-factor)

    def right_side(self, moment: NDArray, weight: NDArray, lambda_h: float) -> NDArray:
        """Return that of (2), H̃ᵀΔ/n − α W (I + K/λ_h), from M = H̃ᵀΔ/n − α W."""
        if self.decay == 0 or np.isinf(lambda_h):
            return moment
        w = weight[:-1]
        right_side = moment.copy()
        right_side[:-1] -= (self.decay / lambda_h) * w @ (w.T @ w)
        return right_side

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


def decay_cost(solvers: Sequence[LayerSolver], weights: Sequence[NDArray]) -> float:
    """Return Σ_l α_l/2 ‖W_l‖², biases left out."""
    pairs = zip(solvers, weights, strict=True)
    return sum(solver.decay_cost(weight) for solver, weight in pairs if solver.decay)


def condition_number(eigenvalues: NDArray, damping: float) -> float:
    """Return (g_max + λ)/(g_min + λ), at most 1/(d ε): a smaller g_min + λ is rounding."""
    values = np.maximum(eigenvalues, 0).astype(np.float64) + damping
    rounding = len(values) * np.finfo(eigenvalues.dtype).eps * values.max()
    return float(values.max() / max(values.min(), rounding)) if values.max() > 0 else 1.0
