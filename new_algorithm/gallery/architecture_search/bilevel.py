"""How α should change so that L_val is small at weights that suit it, which L_train decides.

first order     ∂L_val/∂α at the weights that there are: what α does to the weights is left out
second order    at w' = w − ξ ∂L_train/∂w(w, α) (Liu et al. 2019, equation 7), and through this
                step, exactly; the paper puts finite differences for its last term (equation 8)
implicit        at w⁺(α), the minimum of L_train + ρ/2 ‖w − w_now‖², and through it, by the implicit
                function theorem

w⁺ is a step too, w⁺ = w − (1/ρ) ∂L_train/∂w(w⁺, α), with the gradient at its end: second order
takes the explicit step where implicit takes the implicit one. ρ → ∞ is first order; ρ = 0 is the
minimum itself, for which Newton's method, by which w⁺ is found, needs a convex L_train.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.func import grad, vjp

from new_algorithm.back_projection.conjugate_gradients import CGResult, conjugate_gradients
from new_algorithm.gallery.hypergradients import (
    Objective,
    Trouble,
    flat,
    hypergradient,
    unflat,
    what_forbids,
)

Parameters = Mapping[str, Tensor]
SMALL = 1e-6  # a gradient ‖∂g/∂w‖ below it is compared with this, not with itself


def first_order(val: Objective, w: Parameters, alpha: Parameters) -> dict[str, Tensor]:
    return grad(val, argnums=1)(w, alpha)


def second_order(
    val: Objective, train: Objective, w: Parameters, alpha: Parameters, xi: float
) -> dict[str, Tensor]:
    def after_a_step(alpha: Parameters) -> Tensor:
        found = grad(train)(w, alpha)
        return val({name: value - xi * found[name] for name, value in w.items()}, alpha)

    return grad(after_a_step)(alpha)


@dataclass(frozen=True)
class Implicit:
    """gradient: of α; None where its conditions do not hold, and `trouble` then says which.

    minimum: w⁺, or the point where the search for it ended. stationarity: ‖∂g/∂w‖ there over that
    at w, of g = L_train + ρ/2 ‖w − w_now‖². residual: of the hypergradient's system, relative.
    products: with the Hessian of g, in all solves.
    """

    gradient: dict[str, Tensor] | None
    trouble: Trouble | None
    minimum: Parameters
    stationarity: float
    residual: float
    products: int


@dataclass(frozen=True)
class ImplicitSettings:
    """damping: ρ. rtol and cg_iterations: of every solve. newton_steps: at most, towards w⁺, until
    the gradient of g is at most `stationarity` times as large as at first. With ReLUs and maxima,
    where the gradient jumps, one can seldom ask for much less: from fresh weights, at ρ = 40, it
    was .29 after three steps on one batch, with softplus and averages instead below 1e-4."""

    damping: float
    rtol: float = 1e-2
    cg_iterations: int = 30
    newton_steps: int = 5
    stationarity: float = 0.1


def implicit(
    val: Objective, train: Objective, w: Parameters, alpha: Parameters, settings: ImplicitSettings
) -> Implicit:
    """Return the implicit hypergradient if its conditions hold: g has positive curvature in every
    direction that a solve meets, its gradient is as good as 0, and the system is solved."""
    inner = proximal(train, w, settings.damping)
    solves: list[CGResult] = []
    point, first = {name: value.detach() for name, value in w.items()}, 0.0
    for _ in range(settings.newton_steps):
        gradient, times_hessian = vjp(lambda at: grad(inner)(at, alpha), point)[:2]
        size = float(np.linalg.norm(flat(gradient)))
        first = first or max(size, SMALL)
        if solves and size <= settings.stationarity * first:
            break
        solves.append(_solve(times_hessian, gradient, settings))
        if not solves[-1].is_usable:
            return _told(solves, point, size / first, None, settings)
        step = unflat(solves[-1].solution, w)
        point = {name: value - step[name] for name, value in point.items()}
    found = hypergradient(
        val, inner, point, alpha, rtol=settings.rtol, max_iterations=settings.cg_iterations
    )
    solves.append(found.solve)
    return _told(solves, point, found.stationarity / first, found.gradient, settings)


def _solve(
    times_hessian: Callable[..., tuple[Parameters]], rhs: Parameters, settings: ImplicitSettings
) -> CGResult:
    return conjugate_gradients(
        lambda p: flat(times_hessian(unflat(p, rhs))[0]),
        flat(rhs),
        rtol=settings.rtol,
        max_iterations=settings.cg_iterations,
    )


def _told(
    solves: Sequence[CGResult],
    minimum: Parameters,
    stationarity: float,
    gradient: dict[str, Tensor] | None,
    settings: ImplicitSettings,
) -> Implicit:
    last = solves[-1]
    trouble = what_forbids(
        last, stationarity, stationary=settings.stationarity, solved=settings.rtol
    )
    products = sum(solve.iterations for solve in solves)
    kept = gradient if trouble is None else None
    return Implicit(kept, trouble, minimum, stationarity, last.relative_residual, products)


def proximal(train: Objective, w: Parameters, damping: float) -> Objective:
    """Return g(·, α) = L_train + damping/2 ‖· − w‖²."""
    now = {name: value.detach() for name, value in w.items()}

    def inner(w: Parameters, alpha: Parameters) -> Tensor:
        distance = [(value - now[name]).square().sum() for name, value in w.items()]
        return train(w, alpha) + damping / 2 * torch.stack(distance).sum()

    return inner
