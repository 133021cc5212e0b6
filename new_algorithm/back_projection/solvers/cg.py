"""A hidden layer by conjugate gradients."""

from functools import partial

import numpy as np
from numpy.typing import NDArray

from new_algorithm.back_projection import layer_problem
from new_algorithm.back_projection.conjugate_gradients import (
    CGResult,
    Operator,
    conjugate_gradients,
)
from new_algorithm.back_projection.gram import (
    GramNeed,
    GramSum,
    Inverse,
    MovingGram,
    inverse_times,
    ridge_inverse,
)
from new_algorithm.back_projection.solvers.solver import LayerSolver, Penalties, condition_number


class CGSolver(LayerSolver):
    """Conjugate gradients on (2), with the batch's own G, or with the moving Ḡ where one is given.

    lambda_w, lambda_h: the absolute penalties in force, once a layer has been observed.
    warm_start: begin with the last solution of this layer in place of zero. precondition: by
    (G + λ_w I)⁻¹, renewed every `factor_every` iterations. A batch in several chunks needs an
    average.
    """

    remembered = ("_average", "_iteration", "_previous", "_inverse", "lambda_w", "lambda_h")

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
        super().__init__(penalties)
        self._average = average
        self.rtol, self.max_iterations = rtol, max_iterations
        self._warm_start, self._precondition = warm_start, precondition
        self._factor_every = factor_every
        self._iteration = 0
        self.lambda_w, self.lambda_h = 0.0, np.inf
        self._previous: NDArray | None = None
        self._inverse: Inverse | None = None

    def begin(self, weight: NDArray, damping: float) -> GramNeed:
        self._damping = damping
        self.lambda_h = self._penalties.absolute_h(weight)
        self._due = self._precondition and self._iteration % self._factor_every == 0
        self._iteration += 1
        return "gram" if self._due or self._average is not None else "trace"

    def observe(self, gram: GramSum) -> None:
        mean_of_g = gram.mean_eigenvalue
        if self._average is not None:
            self._average.update(gram.matrix, gram.rows)
            mean_of_g = np.trace(self._average.value) / gram.order
        self.lambda_w = self._penalties.on_change(mean_of_g, self._damping)
        if self._due:
            latest = gram.matrix / gram.rows if self._average is None else self._average.value
            self._inverse = ridge_inverse(latest, self.lambda_w)

    def solve(
        self, inputs: NDArray | None, weight: NDArray, moment: NDArray, out: NDArray
    ) -> CGResult:
        # in exact arithmetic one iteration a distinct eigenvalue is enough
        expected = min(self.max_iterations or weight.size, weight.size)
        if self._average is not None:
            apply_gram: Operator = self._average.value.__matmul__
        else:
            assert inputs is not None  # a batch in several chunks comes with an average
            apply_gram = layer_problem.gram_operator(inputs, weight.shape[1], expected)
        result = conjugate_gradients(
            layer_problem.weight_operator(apply_gram, weight, self.lambda_w, self.lambda_h),
            self.right_side(moment, weight, self.lambda_h),
            start=self._previous if self._warm_start else None,
            preconditioner=None if self._inverse is None else partial(inverse_times, self._inverse),
            rtol=self.rtol,
            max_iterations=self.max_iterations,
        )
        if self._warm_start:
            self._previous = result.solution
        out[...] = result.solution
        return result

    def pass_down(self, residual: NDArray, weight: NDArray, out: NDArray) -> None:
        out[...] = layer_problem.passed_down(residual, weight, self.lambda_h)

    def condition(self, inputs: NDArray) -> float:
        g = layer_problem.gram(inputs) if self._average is None else self._average.value
        return condition_number(np.linalg.eigvalsh(g), self.lambda_w)

    def forget(self) -> None:
        if self._average is not None:
            self._average.forget()
        self._previous = self._inverse = None
        self._iteration = 0
