"""A finite λ_h in the layer's own problem: a right factor from the curvature above.

With Δ passed down whole, every layer is asked for all of the wanted change by itself. What a change
of Z_l does to the loss differs between its directions: to second order it costs the curvature
S_l (d_l, d_l) in Z_l. With ρ = λ_h, in units of its mean eigenvalue s̄, a layer changes by

    δW̃ = (G + λ_w I)⁻¹ M R,    R = (1 + ρ)(S/s̄ + ρ I)⁻¹                                     (5)

less where what lies above is sensitive, more where it is not; R → I as ρ → ∞. (5) is the minimum of
the quadratic with the Kronecker-factored curvature (G + λ_w I) ⊗ R⁻¹,

    1/2 <(G + λ_w I) δW̃, δW̃ R⁻¹> − <δW̃, M>,

and a direction of descent, always: with P = (G + λ_w I)⁻¹ and R symmetric and positive definite

    <δW̃, M> = tr(Mᵀ P M R) = ‖P^(1/2) M R^(1/2)‖² ≥ 0.

Passed down, λ_h promises nothing of the kind. Δ (K + λ_h I)⁻¹ Wᵀ = Δ Wᵀ (W Wᵀ + λ_h I)⁻¹: in a
linear network that is a right factor of the layer below, from one layer alone; but between the
factor and the layer's M stand the masks of the ReLUs, row by row, and a product of a mask, a
positive definite matrix and the back-propagated residual may point uphill, more so with every
layer (tests/back_projection/test_right_factors.py has such a network).

S_l is E[g gᵀ] of residuals g that are projected back, by the masks and the weights alone, from what
the output's would be for labels drawn from the network's own predictions,

    g_L = r,  E[r rᵀ] = ∂²loss/∂f²;    g_{l−1} = W_l g_l where Z_{l−1} > 0,

so that S_l = E[J_lᵀ ∂²loss/∂f² J_l] with J_l the derivative of the outputs in Z_l: the Gauss–Newton
matrix, and K-FAC's factor (Martens and Grosse 2015, section 3). One draw a row is enough, as S
averages over rows and, like Ḡ, over batches. KFRA's recursion needs none, S_{l−1} =
(W_l S_l W_lᵀ) ∘ E[d dᵀ] with d the masks (Botev, Ritter and Barber 2017), but takes these to be
independent of all else, and is worse (notebook, What lies above).
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from new_algorithm.back_projection.batch import scaled_rows
from new_algorithm.back_projection.gram import MovingGram, dense_inverse, next_factoring
from new_algorithm.back_projection.layer_problem import spectrum
from new_algorithm.back_projection.losses import Loss
from new_algorithm.back_projection.network import FlatParameters, Workspace, residuals_below
from new_algorithm.back_projection.state import State, Stateful, part

DRAWS = 7  # the stream of labels


def sampled_residuals(
    loss: Loss, weights: Sequence[NDArray], workspace: Workspace, draws: np.random.Generator
) -> list[NDArray]:
    """Return g_1 … g_L (n, d_l) of the last forward pass, times √s_i where rows have weights s."""
    g = scaled_rows(loss.sampled_residual(workspace.output, draws), workspace.row_weights)
    return residuals_below(weights, workspace, g)


def right_factor(curvature: NDArray, lambda_h: float, relative: bool = True) -> NDArray:
    """Return R (d, d) of (5); I where S is 0 but for rounding, or where it is not finite.

    lambda_h: ρ, or ρ s̄ if it is not relative.
    """
    mean = float(curvature.trace()) / len(curvature)
    tiny = float(np.finfo(curvature.dtype).tiny)
    if not (tiny <= mean < np.inf and np.isfinite(curvature).all()):
        return np.eye(len(curvature), dtype=curvature.dtype)
    rho = lambda_h if relative else lambda_h / mean
    factor = dense_inverse(curvature / mean, rho)
    factor *= 1 + rho
    return factor


def root(factor: NDArray) -> NDArray:
    """Return R^(1/2), symmetric."""
    values, vectors = spectrum(factor)
    return (vectors * np.sqrt(values)) @ vectors.T


class RightFactors(Stateful):
    """R_1 … R_L, from averages that are renewed at intervals.

    lambda_h: ρ of each layer, or ρ s̄ if they are not relative; ∞ for none. split: whether R^(1/2)
    is wanted, for both sides of a polar factor. After a rollback, or before anything was seen, all
    are I.
    """

    remembered = ("_curvatures", "_factors", "_iteration", "_next_factoring")

    def __init__(
        self,
        lambda_h: Sequence[float],
        decay: float,
        gram_every: int,
        factor_every: int,
        *,
        relative: bool = True,
        split: bool = False,
    ) -> None:
        self._lambda_h, self._relative, self._split = list(lambda_h), relative, split
        self._curvatures = [MovingGram(decay) for _ in lambda_h]
        self._factors: list[NDArray | None] = [None] * len(self._lambda_h)
        self._gram_every, self._factor_every = gram_every, factor_every
        self._iteration = self._next_factoring = 0

    def begin(self) -> np.random.Generator | None:
        """Return what draws this iteration's labels, None where S is not renewed.

        It is the same in every process, and where a run is resumed.
        """
        self._due = self._iteration >= self._next_factoring
        needed = self._due or self._iteration % self._gram_every == 0
        if self._due:
            self._next_factoring = next_factoring(self._iteration, self._factor_every)
        self._iteration += 1
        return np.random.default_rng([DRAWS, self._iteration]) if needed else None

    def observe(self, totals: Sequence[NDArray], rows: int) -> None:
        """Take in Σ g gᵀ (d_l, d_l) of each layer, of `rows` rows. LinAlgError."""
        for average, total in zip(self._curvatures, totals, strict=True):
            average.update(total, rows)
        if not self._due:
            return
        for index, lambda_h in enumerate(self._lambda_h):
            if np.isfinite(lambda_h):
                curvature = self._curvatures[index].value
                factor = right_factor(curvature, lambda_h, self._relative)
                self._factors[index] = root(factor) if self._split else factor

    def multiply(self, moments: FlatParameters, out: FlatParameters) -> None:
        """Write M R, or M R^(1/2) if it is split, of all layers to `out`, another one."""
        pairs = zip(moments.matrices, out.matrices, strict=True)
        for factor, (moment, product) in zip(self._factors, pairs, strict=True):
            if factor is None:
                product[...] = moment
            else:
                np.matmul(moment, factor, out=product)

    def forget(self) -> None:
        """Drop what came from earlier batches: the weights have gone back."""
        for average in self._curvatures:
            average.forget()
        self._factors = [None] * len(self._factors)
        self._iteration = self._next_factoring = 0

    def load_state_dict(self, state: State) -> None:
        if part("_curvatures", state):
            super().load_state_dict(state)
        else:  # older ones hold averages of masks
            self.forget()
