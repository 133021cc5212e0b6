"""Implicit MAML (Rajeswaran et al. 2019): the gradient through an inner minimum, not through a way.

φ* minimises g(φ) = loss(φ) + λ/2 ‖φ − θ‖² (their equations 3 and 4). Where it is a minimum,

    dφ*/dθ = (I + ∇²loss(φ*)/λ)⁻¹      and      dF/dθ = λ v,  (∇²loss + λ I) v = ∇F(φ*),

(lemma 1), and v comes by conjugate gradients from products with ∇²loss alone: memory does not
depend on the steps that led to φ*. `gallery/hypergradients.py` is the general form; here every task
is a problem of its own, with its own verdict, and all are solved together.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from enum import IntEnum

import torch
from torch import Tensor

from new_algorithm.gallery.meta_learning.episodes import Episodes
from new_algorithm.gallery.meta_learning.learners import MetaGradient, adapted, leaves, stacked
from new_algorithm.gallery.meta_learning.models import Model, Parameters

MOMENTUM = 0.7  # of the descent towards the inner minimum
GROWTH = 1.1  # of a rate after a step that lowered g


class Status(IntEnum):
    """How a solve ended; the first two are as good as their iterations."""

    CONVERGED = 0
    MAX_ITERATIONS = 1
    NONPOSITIVE_CURVATURE = 2
    NOT_FINITE = 3


@dataclass(frozen=True)
class StackedSolve:
    """solution (tasks, n). status (tasks,). residual: ‖b − A x‖/‖b‖ of each (tasks,), as the
    recurrence has it. iterations: of the slowest."""

    solution: Tensor
    status: Tensor
    residual: Tensor
    iterations: int


def stacked_conjugate_gradients(
    product: Callable[[Tensor], Tensor], rhs: Tensor, *, rtol: float, max_iterations: int
) -> StackedSolve:
    """Solve A x = b of every task, b the rows of `rhs` (tasks, n); `product` applies every A.

    Each row has its own step lengths, those of back_projection/conjugate_gradients.py, and stands
    still once its status is settled: the residual small enough, a direction that curves down, or
    numbers that are not finite.
    """
    x, residual, direction = torch.zeros_like(rhs), rhs, rhs
    rr = first = rhs.square().sum(1)
    status = torch.full_like(rr, Status.MAX_ITERATIONS, dtype=torch.long)
    status[first == 0] = Status.CONVERGED
    status[~first.isfinite()] = Status.NOT_FINITE
    iterations = 0
    while iterations < max_iterations and bool((status == Status.MAX_ITERATIONS).any()):
        image = product(direction)
        curvature = (direction * image).sum(1)
        going = status == Status.MAX_ITERATIONS
        status[going & (curvature <= 0)] = Status.NONPOSITIVE_CURVATURE
        status[going & ~curvature.isfinite()] = Status.NOT_FINITE
        going = (status == Status.MAX_ITERATIONS)[:, None]
        step = (rr / curvature)[:, None]
        x = torch.where(going, x + step * direction, x)
        residual = torch.where(going, residual - step * image, residual)
        rr, before = residual.square().sum(1), rr
        direction = torch.where(going, residual + (rr / before)[:, None] * direction, direction)
        status[going[:, 0] & (rr <= rtol**2 * first)] = Status.CONVERGED
        iterations += 1
    return StackedSolve(x, status, torch.where(first > 0, rr / first, 0).sqrt(), iterations)


@dataclass(frozen=True)
class ImplicitMaml:
    """weight: λ. rate: of the first step of the descent towards φ*. steps: of it.

    φ is no minimum where CG meets a direction that curves down or numbers that are not finite, and
    where ‖∇g(φ)‖ is more than `tolerance` of ‖∇g(θ)‖. Such a task is left out of the meta-gradient,
    as is one whose system CG leaves with a larger relative residual; the others' mean is taken.
    The gradient of a ReLU network jumps: on four tasks of Omniglot, λ = 50, descent ended at .09 to
    .12 of it after 120 steps, and with softplus or GELU in place of ReLU at less than .002.
    """

    model: Model
    weight: float
    rate: float
    steps: int
    cg_iterations: int = 20
    rtol: float = 1e-2
    tolerance: float = 0.2

    def start(self, theta: Parameters) -> dict[str, Tensor]:
        return dict(theta)

    def path(self, theta: Parameters, x: Tensor, y: Tensor) -> Iterator[Parameters]:
        """Descend with momentum, each task at a rate of its own.

        A step that raises g is taken back: the task's rate is halved, its momentum forgotten.
        """
        like = stacked(theta, len(x))
        phi = centre = _flat(like.values())
        moved, rate = torch.zeros_like(phi), torch.full_like(phi[:, :1], self.rate)
        value, slopes = self._objective(phi, centre, like, x, y)
        while True:
            yield leaves(_unflat(phi, like))
            moved = MOMENTUM * moved - rate * slopes
            new_value, new_slopes = self._objective(phi + moved, centre, like, x, y)
            better = (new_value < value)[:, None]
            phi = torch.where(better, phi + moved, phi)
            slopes = torch.where(better, new_slopes, slopes)
            value = torch.minimum(value, new_value)
            moved = torch.where(better, moved, 0)
            rate = rate * torch.where(better, GROWTH, 0.5)

    def _objective(
        self, phi: Tensor, centre: Tensor, like: Parameters, x: Tensor, y: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Return g(φ) (tasks,) and its gradient (tasks, numbers), without a graph."""
        parts = leaves(_unflat(phi, like))
        losses = self.model.losses(parts, x, y)
        slopes = _flat(torch.autograd.grad(losses.sum(), list(parts.values())))
        away = phi - centre
        return losses.detach() + self.weight / 2 * away.square().sum(1), slopes + self.weight * away

    def meta_gradient(self, theta: Parameters, tasks: Episodes) -> MetaGradient:
        phi = adapted(self, theta, tasks.x, tasks.y)
        numbers = list(phi.values())
        inner = self.model.losses(phi, tasks.x, tasks.y)
        slopes = torch.autograd.grad(inner.sum(), numbers, create_graph=True)
        losses = self.model.losses(phi, tasks.new_x, tasks.new_y)
        outer = _flat(torch.autograd.grad(losses.sum(), numbers))

        def product(p: Tensor) -> Tensor:  # with ∇²loss + λ I
            directions = list(_unflat(p, phi).values())
            images = torch.autograd.grad(slopes, numbers, directions, retain_graph=True)
            return _flat(images) + self.weight * p

        solve = stacked_conjugate_gradients(
            product, outer, rtol=self.rtol, max_iterations=self.cg_iterations
        )
        stationarity = self._stationarity(theta, phi, tasks)
        near = stationarity <= self.tolerance
        solved = (solve.status <= Status.MAX_ITERATIONS) & (solve.residual <= self.tolerance)
        kept = near & solved
        gradient = self.weight * solve.solution[kept].mean(0, keepdim=True)  # λ v of the mean task
        found = {n: v[0] for n, v in _unflat(gradient, phi).items()} if bool(kept.any()) else None
        facts = _shares(solve.status) | {
            "not_stationary_fraction": 1 - float(near.double().mean()),
            "left_out_fraction": 1 - float(kept.double().mean()),
            "stationarity": float(stationarity.median()),
            "solve_residual": float(solve.residual.median()),
            "solve_iterations": float(solve.iterations),
        }
        return MetaGradient(found, losses.detach(), facts)

    def _stationarity(self, theta: Parameters, phi: Parameters, tasks: Episodes) -> Tensor:
        """Return ‖∇g(φ)‖ / ‖∇g(θ)‖ of each task."""
        centre = stacked(theta, len(tasks))
        first, last = (
            self._objective(_flat(at.values()), _flat(centre.values()), centre, tasks.x, tasks.y)[1]
            for at in (centre, phi)
        )
        return last.norm(dim=1) / first.norm(dim=1)


def _shares(status: Tensor) -> dict[str, float]:
    """Return which part of the solves ended how."""
    shares = torch.stack([(status == one).double().mean() for one in Status]).tolist()
    names = [f"solve_{one.name.lower()}_fraction" for one in Status]
    return dict(zip(names, shares, strict=True))


def _flat(parts: Iterable[Tensor]) -> Tensor:
    return torch.cat([part.detach().flatten(1) for part in parts], 1)


def _unflat(rows: Tensor, like: Parameters) -> dict[str, Tensor]:
    pieces = rows.split([value[0].numel() for value in like.values()], 1)
    pairs = zip(like.items(), pieces, strict=True)
    return {name: piece.reshape(-1, *value.shape[1:]) for (name, value), piece in pairs}
