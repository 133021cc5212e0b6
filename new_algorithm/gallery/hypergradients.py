"""The gradient of an outer loss through the solution of an inner problem, by conjugate gradients.

φ*(θ) minimises g(φ, θ), and F(φ*(θ), θ) is the outer loss. Where ∂g/∂φ = 0 and H = ∂²g/∂φ² is
positive definite, the implicit function theorem gives

    dF/dθ = ∂F/∂θ − (∂²g/∂θ∂φ) H⁻¹ ∂F/∂φ,

for which neither H nor the way to φ* is needed: v = H⁻¹ ∂F/∂φ comes from products H p alone, and
(∂²g/∂θ∂φ) v is the gradient of <∂g/∂φ, v> with respect to θ. Memory does not grow with the steps
that led to φ*. Where φ* is no minimum the formula means nothing: `what_forbids` then says so.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.func import grad, vjp

from new_algorithm.back_projection.conjugate_gradients import CGResult, conjugate_gradients

Parameters = Mapping[str, Tensor]
Objective = Callable[[Parameters, Parameters], Tensor]  # of φ and θ, a scalar


@dataclass(frozen=True)
class Hypergradient:
    """gradient: dF/dθ. solve: of H v = ∂F/∂φ. stationarity: ‖∂g/∂φ‖, 0 at a minimum."""

    gradient: dict[str, Tensor]
    solve: CGResult
    stationarity: float


Trouble = Literal["negative curvature", "not finite", "not stationary", "system not solved"]


def what_forbids(
    solve: CGResult, stationarity: float, *, stationary: float, solved: float
) -> Trouble | None:
    """Return which condition of the formula does not hold, None where all do.

    stationary: what ‖∂g/∂φ‖ may be at most. solved: what the solve's relative residual may be.
    """
    if solve.status == "nonpositive_curvature":  # a direction of H that curves down: no minimum
        return "negative curvature"
    if solve.status == "not_finite":
        return "not finite"
    if not stationarity <= stationary:
        return "not stationary"
    if not solve.relative_residual <= solved:
        return "system not solved"
    return None


def hypergradient(
    outer: Objective,
    inner: Objective,
    solution: Parameters,
    theta: Parameters,
    *,
    rtol: float = 1e-6,
    max_iterations: int | None = None,
) -> Hypergradient:
    """Return dF/dθ at φ* = `solution`, F = `outer` and g = `inner`."""
    solution = {name: value.detach() for name, value in solution.items()}
    theta = {name: value.detach() for name, value in theta.items()}
    inner_gradient = grad(inner)
    at_solution, times_hessian = vjp(lambda phi: inner_gradient(phi, theta), solution)[:2]

    def product(p: NDArray) -> NDArray:
        return flat(times_hessian(unflat(p, solution))[0])  # pᵀH, and H is symmetric

    towards_phi, direct = grad(outer, argnums=(0, 1))(solution, theta)
    solve = conjugate_gradients(
        product, flat(towards_phi), rtol=rtol, max_iterations=max_iterations
    )
    times_mixed = vjp(lambda theta: inner_gradient(solution, theta), theta)[1]
    mixed = times_mixed(unflat(solve.solution, solution))[0]
    return Hypergradient(
        {name: direct[name] - mixed[name] for name in direct},
        solve,
        float(np.linalg.norm(flat(at_solution))),
    )


def flat(parameters: Parameters) -> NDArray:
    """Return all numbers of the parameters, one after another."""
    return np.concatenate([value.detach().cpu().numpy().ravel() for value in parameters.values()])


def unflat(numbers: NDArray, like: Parameters) -> dict[str, Tensor]:
    """Return `flat`'s numbers as parameters of these shapes and types."""
    parts = torch.as_tensor(numbers).split([value.numel() for value in like.values()])
    return {
        name: part.view_as(value).to(value)
        for (name, value), part in zip(like.items(), parts, strict=True)
    }
