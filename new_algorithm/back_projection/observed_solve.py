"""One layer's conjugate-gradient solve beside the exact solution and the theory's bound."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from new_algorithm.back_projection.conjugate_gradients import error_bound
from new_algorithm.back_projection.layer_problem import (
    gram,
    weight_change_by_cg,
    weight_change_exact,
    weight_operator,
)
from new_algorithm.back_projection.layer_solvers import CGSolver


@dataclass(frozen=True)
class ObservedSolve:
    """The solve of layer `layer` in sweep `sweep`, both counted from 1.

    eigenvalues: (d_in + 1, d_out), those of A, the operator of (2).
    errors: (iterations + 1,), ‖x_k − x*‖_A / ‖x*‖_A with x* the exact form (3) and x_0 = 0.
    solution_error: ‖x − x*‖_F / ‖x*‖_F of the last iterate.
    """

    sweep: int
    layer: int
    eigenvalues: NDArray
    errors: NDArray
    solution_error: float

    @property
    def condition(self) -> float:
        """κ, the largest eigenvalue of A over its smallest."""
        return float(self.eigenvalues.max() / self.eigenvalues.min())

    @property
    def distinct_eigenvalues(self) -> int:
        """How many iterations are enough in exact arithmetic; equal means to 1 in 10¹⁰."""
        ascending = np.sort(self.eigenvalues, axis=None)
        return 1 + int((np.diff(ascending) > 1e-10 * ascending[-1]).sum())

    @property
    def bounds(self) -> NDArray:
        """The Chebyshev bound on each of `errors`."""
        return error_bound(self.condition, np.arange(len(self.errors)))


def observe(
    sweep: int,
    layer_number: int,
    solver: CGSolver,
    inputs: NDArray,
    layer: NDArray,
    wanted: NDArray,
) -> ObservedSolve:
    """Repeat a cold solve of Δ (n, d_out), and compare every iterate with the exact form."""
    penalties = lambda_w, lambda_h = solver.lambda_w, solver.lambda_h
    exact = weight_change_exact(inputs, layer, wanted, *penalties)
    g, k = gram(inputs), layer[:-1].T @ layer[:-1]
    apply = weight_operator(lambda v: g @ v, layer, *penalties)

    def a_norm(error: NDArray) -> float:
        return float(np.sqrt(np.vdot(error, apply(error))))

    norms = [a_norm(exact)]
    cg = weight_change_by_cg(
        inputs,
        layer,
        wanted,
        *penalties,
        rtol=solver.rtol,
        max_iterations=solver.max_iterations,
        callback=lambda x: norms.append(a_norm(x - exact)),
    )
    # the eigenvalues of (2) are g_i + λ_w (1 + k_j/λ_h)
    penalty = lambda_w * (1 + np.linalg.eigvalsh(k) / lambda_h)
    return ObservedSolve(
        sweep=sweep,
        layer=layer_number,
        eigenvalues=np.linalg.eigvalsh(g)[:, None] + penalty,
        errors=np.array(norms) / norms[0],
        solution_error=float(np.linalg.norm(cg.solution - exact) / np.linalg.norm(exact)),
    )
