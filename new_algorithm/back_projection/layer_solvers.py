"""How the layers' problems are solved within a sweep, with a memory that outlives the batch.

Each solver looks at its weights with `begin` and, where it says so, at its inputs with `observe`;
`solve` finds δW̃, and `pass_down` turns what the weights leave over into the wanted change of the
layer's input. Passing down needs the weights alone, so that it may come before `observe`.
"""

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from new_algorithm.back_projection.conjugate_gradients import CGResult, conjugate_gradients
from new_algorithm.back_projection.eigenbasis import Eigenbasis
from new_algorithm.back_projection.layer_problem import (
    absolute_lambda_h,
    absolute_lambda_w,
    divide_above_rounding,
    exact_solution,
    gram_operator,
    pass_down_matrix,
    passed_down,
    spectrum,
    times_transpose,
    weight_operator,
)
from new_algorithm.back_projection.moving_gram import Inverse, MovingGram, ridge_inverse
from new_algorithm.back_projection.observed_gram import BatchGram, ObservedGram


@dataclass(frozen=True)
class Penalties:
    """λ_w and λ_h of one layer; relative ones are in mean eigenvalues of G and of K = WᵀW."""

    lambda_w: float
    lambda_h: float = np.inf
    relative: bool = True

    def absolute_w(self, mean_of_g: float) -> float:
        """Return λ_w in the units of (P); mean_of_g: trace(G) over the order of G."""
        return absolute_lambda_w(mean_of_g, self.lambda_w) if self.relative else self.lambda_w

    def absolute_h(self, layer: NDArray) -> float:
        """Return λ_h in the units of (P)."""
        return absolute_lambda_h(layer, self.lambda_h) if self.relative else self.lambda_h


class LayerSolver(Protocol):
    """One layer's way through a sweep; H̃ (n, d_in + 1), W̃ like δW̃, M = H̃ᵀΔ/n like W̃."""

    def begin(self, layer: NDArray, damping: float) -> bool:
        """Take in W̃ of this iteration, and say whether H̃ᵀH̃ is wanted; damping ≥ 1 is on λ_w."""

    def observe(self, gram: ObservedGram) -> None:
        """Take in H̃ᵀH̃ of this iteration, where `begin` has asked for it."""

    def solve(
        self, inputs: NDArray | None, layer: NDArray, moment: NDArray, out: NDArray
    ) -> CGResult | None:
        """Write δW̃ to `out`; the result of conjugate gradients where they were used.

        inputs: None where the batch came in chunks; then a CGSolver needs a moving average.
        """

    def pass_down(self, left: NDArray, layer: NDArray, out: NDArray) -> None:
        """Write (k̄ + λ_h) δH (n, d_in) to `out`, from what is left of Δ (n, d_out)."""

    def condition(self, inputs: NDArray) -> float:
        """Return the condition number of G + λ_w I, as far as rounding lets it be known."""

    def forget(self) -> None:
        """Drop whatever came from earlier batches: the weights have gone back."""


class EigenbasisSolver:
    """The input layer in the coordinates of its eigenbasis, where its whole Gram is diagonal."""

    def __init__(self, basis: Eigenbasis, penalties: Penalties) -> None:
        self._basis, self._penalties = basis, penalties
        self._damping = 0.0

    def begin(self, layer: NDArray, damping: float) -> bool:
        if damping != self._damping:
            self._damping = damping
            self._lambda_w = damping * self._penalties.absolute_w(self._basis.mean_eigenvalue)
            g = self._basis.values
            damped = (g + self._lambda_w).astype(layer.dtype)[:, None]
            self._inverse = divide_above_rounding(np.ones_like(damped), damped, g)
        return False

    def observe(self, gram: ObservedGram) -> None:
        pass  # the basis has the Gram matrix of all rows

    def solve(self, inputs: NDArray | None, layer: NDArray, moment: NDArray, out: NDArray) -> None:
        np.multiply(moment, self._inverse, out=out)

    def pass_down(self, left: NDArray, layer: NDArray, out: NDArray) -> None:
        raise TypeError("the data cannot change: nothing lies below the input layer")

    def condition(self, inputs: NDArray) -> float:
        return condition_number(self._basis.values, self._lambda_w)

    def forget(self) -> None:
        pass  # the data stay what they are


class FactoredSolver:
    """The exact form (3), with factors of the moving Ḡ, and of K where λ_h is finite.

    Both are renewed every `factor_every` iterations, at first more often, when they still change
    quickly: at iterations 0, 3, 12, 48, …
    """

    def __init__(
        self, penalties: Penalties, average: MovingGram, gram_every: int, factor_every: int
    ) -> None:
        self._penalties, self._gram = penalties, average
        self._inputs_fixed = np.isinf(penalties.lambda_h)
        self._gram_every, self._factor_every = gram_every, factor_every
        self._iteration = self._next_factoring = 0
        self._damping = 0.0  # with which it is factored; 0: not factored
        self._inverse: Inverse | None = None

    def begin(self, layer: NDArray, damping: float) -> bool:
        self._due = self._iteration >= self._next_factoring or damping != self._damping
        self._next_damping = damping
        if self._due and not self._inputs_fixed:
            self._lambda_h = self._penalties.absolute_h(layer)
            self._of_k = spectrum(layer[:-1].T @ layer[:-1])
            self._passed = pass_down_matrix(self._of_k, self._lambda_h)
        gram_wanted = self._due or self._iteration % self._gram_every == 0
        if self._due:
            soon = max(3, 3 * self._iteration)
            self._next_factoring = self._iteration + min(self._factor_every, soon)
        self._iteration += 1
        return gram_wanted

    def observe(self, gram: ObservedGram) -> None:
        self._gram.update(gram)
        if self._due:
            self._factor()
            self._damping = self._next_damping

    def _factor(self) -> None:
        average = self._gram.value
        mean_of_g = np.trace(average) / len(average)
        self._lambda_w = self._next_damping * self._penalties.absolute_w(mean_of_g)
        if self._inputs_fixed:
            self._inverse = ridge_inverse(average, self._lambda_w, self._inverse)
        else:
            self._of_g = spectrum(average)

    def solve(self, inputs: NDArray | None, layer: NDArray, moment: NDArray, out: NDArray) -> None:
        if self._damping == 0:
            raise np.linalg.LinAlgError("its Gram matrix has not been factored yet")
        if self._inputs_fixed:
            self._inverse.apply(moment, out)
        else:
            out[...] = exact_solution(
                moment, self._of_g, self._of_k, self._lambda_w, self._lambda_h
            )

    def pass_down(self, left: NDArray, layer: NDArray, out: NDArray) -> None:
        if not self._inputs_fixed:
            left = left @ self._passed
        times_transpose(left, layer[:-1], out)

    def condition(self, inputs: NDArray) -> float:
        return condition_number(np.linalg.eigvalsh(self._gram.value), self._lambda_w)

    def forget(self) -> None:
        self._gram.forget()
        self._inverse = None
        self._damping = 0.0


class GradientSolver:
    """The limit λ_w → ∞ of λ_h = ∞: δW̃ = M/(λ_w ḡ), the gradient's direction. For comparison."""

    def __init__(self, penalties: Penalties) -> None:
        self._penalties = penalties

    def begin(self, layer: NDArray, damping: float) -> bool:
        self._damping = damping
        return True

    def observe(self, gram: ObservedGram) -> None:
        lambda_w = self._penalties.absolute_w(gram.mean_eigenvalue())
        self._factor = 1 / (self._damping * lambda_w)

    def solve(self, inputs: NDArray | None, layer: NDArray, moment: NDArray, out: NDArray) -> None:
        np.multiply(moment, self._factor, out=out)

    def pass_down(self, left: NDArray, layer: NDArray, out: NDArray) -> None:
        times_transpose(left, layer[:-1], out)

    def condition(self, inputs: NDArray) -> float:
        return 1.0

    def forget(self) -> None:
        pass


class CGSolver:
    """Conjugate gradients on (2), with the batch's own G, or with the moving Ḡ where one is given.

    lambda_w, lambda_h: the absolute penalties in force, once a layer has been observed.
    warm_start: begin with the last solution of this layer in place of zero. precondition: by
    (G + λ_w I)⁻¹, renewed every `factor_every` iterations.
    """

    def __init__(
        self,
        penalties: Penalties,
        average: MovingGram | None = None,
        *,
        rtol: float | None = None,
        max_iterations: int | None = None,
        warm_start: bool = False,
        precondition: bool = False,
        factor_every: int = 50,
    ) -> None:
        self._penalties, self._gram = penalties, average
        self.rtol, self.max_iterations = rtol, max_iterations
        self._warm_start, self._precondition = warm_start, precondition
        self._factor_every = factor_every
        self._iteration = 0
        self._previous: NDArray | None = None
        self._inverse = None

    def begin(self, layer: NDArray, damping: float) -> bool:
        self._damping = damping
        self.lambda_h = self._penalties.absolute_h(layer)
        return True

    def observe(self, gram: ObservedGram) -> None:
        if self._gram is None:
            mean_of_g = gram.mean_eigenvalue()
        else:
            self._gram.update(gram)
            mean_of_g = np.trace(self._gram.value) / gram.order
        self.lambda_w = self._damping * self._penalties.absolute_w(mean_of_g)
        if self._precondition and self._iteration % self._factor_every == 0:
            self._inverse = ridge_inverse(self._gram_now(gram), self.lambda_w)
        self._iteration += 1

    def _gram_now(self, latest: ObservedGram) -> NDArray:
        if self._gram is not None:
            return self._gram.value
        total = np.empty((latest.order, latest.order), latest.dtype)
        latest.write_sum(total)
        return total / latest.rows

    def solve(
        self, inputs: NDArray | None, layer: NDArray, moment: NDArray, out: NDArray
    ) -> CGResult:
        # in exact arithmetic one iteration a distinct eigenvalue is enough
        expected = min(self.max_iterations or layer.size, layer.size)
        if self._gram is None:
            apply_gram = gram_operator(inputs, layer.shape[1], expected)
        else:
            apply_gram = self._gram.value.__matmul__
        result = conjugate_gradients(
            weight_operator(apply_gram, layer, self.lambda_w, self.lambda_h),
            moment,
            start=self._previous if self._warm_start else None,
            preconditioner=self._applied_inverse if self._inverse is not None else None,
            rtol=self.rtol,
            max_iterations=self.max_iterations,
        )
        self._previous = result.solution
        out[...] = result.solution
        return result

    def _applied_inverse(self, residual: NDArray) -> NDArray:
        out = np.empty_like(residual)
        self._inverse.apply(residual, out)
        return out

    def pass_down(self, left: NDArray, layer: NDArray, out: NDArray) -> None:
        out[...] = passed_down(left, layer, self.lambda_h)

    def condition(self, inputs: NDArray) -> float:
        return condition_number(
            np.linalg.eigvalsh(self._gram_now(BatchGram(inputs))), self.lambda_w
        )

    def forget(self) -> None:
        if self._gram is not None:
            self._gram.forget()
        self._previous = self._inverse = None
        self._iteration = 0


def condition_number(eigenvalues: NDArray, damping: float) -> float:
    """Return (g_max + λ)/(g_min + λ), at most 1/(d ε): a smaller g_min + λ is rounding."""
    values = np.maximum(eigenvalues, 0).astype(np.float64) + damping
    rounding = len(values) * np.finfo(eigenvalues.dtype).eps * values.max()
    return float(values.max() / max(values.min(), rounding)) if values.max() > 0 else 1.0
