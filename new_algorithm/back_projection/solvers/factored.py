"""A hidden layer by the exact form (3), with factors that serve many iterations."""

import numpy as np
from numpy.typing import NDArray

from new_algorithm.back_projection.gram import (
    GramNeed,
    GramSum,
    Inverse,
    MovingGram,
    inverse_times,
    next_factoring,
    ridge_inverse,
)
from new_algorithm.back_projection.layer_problem import exact_solution, pass_down_matrix, spectrum
from new_algorithm.back_projection.solvers.solver import LayerSolver, Penalties, condition_number


class FactoredSolver(LayerSolver):
    """The exact form (3), with factors of the moving Ḡ, and of K where λ_h is finite.

    Both are renewed every `factor_every` iterations, at first more often, when they still change
    quickly: at iterations 0, 3, 12, 48, …
    """

    remembered = (
        *("_average", "_iteration", "_next_factoring", "_damping"),
        *("_lambda_w", "_lambda_h", "_inverse", "_of_g", "_of_k", "_passed"),
    )

    def __init__(
        self, penalties: Penalties, average: MovingGram, gram_every: int, factor_every: int
    ) -> None:
        super().__init__(penalties)
        self._average = average
        self._inputs_fixed = np.isinf(penalties.lambda_h)
        self._gram_every, self._factor_every = gram_every, factor_every
        self._iteration = self._next_factoring = 0
        self._damping = 0.0  # with which it is factored; 0: not factored
        self._lambda_w, self._lambda_h = 0.0, np.inf
        self._inverse: Inverse | None = None
        self._of_g: tuple[NDArray, NDArray] | None = None
        self._of_k: tuple[NDArray, NDArray] | None = None
        self._passed: NDArray | None = None  # (k̄ + λ_h)(K + λ_h I)⁻¹

    def begin(self, weight: NDArray, damping: float) -> GramNeed:
        self._due = self._iteration >= self._next_factoring or damping != self._damping
        self._next_damping = damping
        if self._due and not self._inputs_fixed:
            self._lambda_h = self._penalties.absolute_h(weight)
            self._of_k = spectrum(weight[:-1].T @ weight[:-1])
            self._passed = pass_down_matrix(self._of_k, self._lambda_h)
        gram_needed = self._due or self._iteration % self._gram_every == 0
        if self._due:
            self._next_factoring = next_factoring(self._iteration, self._factor_every)
        self._iteration += 1
        return "gram" if gram_needed else "nothing"

    def observe(self, gram: GramSum) -> None:
        self._average.update(gram.matrix, gram.rows)
        if self._due:
            self._factor()
            self._damping = self._next_damping

    def _factor(self) -> None:
        average = self._average.value
        mean_of_g = np.trace(average) / len(average)
        self._lambda_w = self._penalties.on_change(mean_of_g, self._next_damping)
        if self._inputs_fixed:
            self._inverse = ridge_inverse(average, self._lambda_w, self._inverse)
        else:
            self._of_g = spectrum(average)

    def solve(self, inputs: NDArray | None, weight: NDArray, moment: NDArray, out: NDArray) -> None:
        if self._damping == 0:
            raise np.linalg.LinAlgError("its Gram matrix has not been factored yet")
        if self._inverse is not None:
            inverse_times(self._inverse, moment, out)
        elif self._of_g is not None and self._of_k is not None:
            right_side = self.right_side(moment, weight, self._lambda_h)
            penalties = self._lambda_w, self._lambda_h
            out[...] = exact_solution(right_side, self._of_g, self._of_k, *penalties)

    def pass_down(self, residual: NDArray, weight: NDArray, out: NDArray) -> None:
        super().pass_down(
            residual if self._passed is None else residual @ self._passed, weight, out
        )

    def condition(self, inputs: NDArray) -> float:
        return condition_number(np.linalg.eigvalsh(self._average.value), self._lambda_w)

    def forget(self) -> None:
        self._average.forget()
        self._inverse = None
        self._damping = 0.0
