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

S follows from above by KFRA's recursion (Botev, Ritter and Barber 2017), with W without its bias,

    S_L = E[∂²loss/∂f²],    S_l = (W_{l+1} S_{l+1} W_{l+1}ᵀ) ∘ E[d_l d_lᵀ],

d_l the ReLU's masks, 0 or 1, which are taken to be independent of all else. Both expectations are
moving averages, like Ḡ.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from new_algorithm.back_projection.gram import MovingGram, dense_inverse, next_factoring
from new_algorithm.back_projection.layer_problem import spectrum
from new_algorithm.back_projection.network import FlatParameters
from new_algorithm.back_projection.state import Stateful


def curvatures(
    weights: Sequence[NDArray], of_output: NDArray, mask_grams: Sequence[NDArray]
) -> list[NDArray]:
    """Return S_1 … S_L from W̃_1 … W̃_L, S_L (d_L, d_L) and E[d dᵀ] (d_l, d_l) of hidden layers."""
    found = [of_output]
    for weight, masks in zip(weights[:0:-1], mask_grams[::-1], strict=True):
        w = weight[:-1]
        found.insert(0, (w @ found[0] @ w.T) * masks)
    return found


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

    remembered = ("_averages", "_factors", "_iteration", "_next_factoring")

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
        self._averages = [MovingGram(decay) for _ in lambda_h]  # E[d dᵀ] of hidden layers; S_L
        self._factors: list[NDArray | None] = [None] * len(self._lambda_h)
        self._gram_every, self._factor_every = gram_every, factor_every
        self._iteration = self._next_factoring = 0

    def begin(self) -> bool:
        """Return whether this iteration's masks and output curvature are needed."""
        self._due = self._iteration >= self._next_factoring
        needed = self._due or self._iteration % self._gram_every == 0
        if self._due:
            self._next_factoring = next_factoring(self._iteration, self._factor_every)
        self._iteration += 1
        return needed

    def observe(self, totals: Sequence[NDArray], rows: int, weights: Sequence[NDArray]) -> None:
        """Take in Σ d dᵀ of each hidden layer and Σ ∂²loss/∂f² of `rows` rows. LinAlgError."""
        for average, total in zip(self._averages, totals, strict=True):
            average.update(total, rows)
        if not self._due:
            return
        *masks, of_output = (average.value for average in self._averages)
        found = curvatures(weights, of_output, masks)
        for index, (curvature, lambda_h) in enumerate(zip(found, self._lambda_h, strict=True)):
            if np.isfinite(lambda_h):
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
        for average in self._averages:
            average.forget()
        self._factors = [None] * len(self._factors)
        self._iteration = self._next_factoring = 0
