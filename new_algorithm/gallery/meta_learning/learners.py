"""From a few rows of a task to parameters for it, and from many tasks to where all begin.

MAML, of first and of second order: Finn et al. 2017. Reptile: Nichol et al. 2018. The layer
problem: the read-out is solved for, by problem (P); Bertinetto et al. 2019 take ridge regression
from W̃ = 0. Implicit MAML has a file of its own.

Tasks are stacked along a first axis of x, y and of what differs between them. A sum over them has
each task's own gradient, so that one backward pass serves all.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import islice
from typing import Protocol

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812

from new_algorithm.gallery.meta_learning.episodes import Episodes
from new_algorithm.gallery.meta_learning.models import READ_OUT, Model, Parameters

Losses = Callable[[Parameters, Tensor, Tensor], Tensor]  # φ, x, y → (tasks,)


@dataclass(frozen=True)
class MetaGradient:
    """gradient: of θ, or what a method puts in its place; None where none is to be believed.
    losses: after adaptation, (tasks,). facts: further numbers of this iteration."""

    gradient: dict[str, Tensor] | None
    losses: Tensor
    facts: Mapping[str, float] = field(default_factory=dict)


class Learner(Protocol):
    """steps: of adaptation, as trained for."""

    @property
    def model(self) -> Model: ...

    @property
    def steps(self) -> int: ...

    def start(self, theta: Parameters) -> dict[str, Tensor]:
        """Return θ with what this method learns besides."""

    def path(self, theta: Parameters, x: Tensor, y: Tensor) -> Iterator[Parameters]:
        """Yield φ of each task after 0, 1, 2, … steps, without end, to be predicted from."""

    def meta_gradient(self, theta: Parameters, tasks: Episodes) -> MetaGradient: ...


def adapted(learner: Learner, theta: Parameters, x: Tensor, y: Tensor) -> Parameters:
    """Return φ of each task after as many steps as the learner is trained for."""
    return next(islice(learner.path(theta, x, y), learner.steps, None))


def stacked(theta: Parameters, tasks: int) -> dict[str, Tensor]:
    """Return parameters that are each task's own, and equal."""
    return {name: value.expand(tasks, *value.shape) for name, value in theta.items()}


def leaves(parameters: Parameters) -> dict[str, Tensor]:
    """Return parameters that can be differentiated for, and nothing before them."""
    return {name: value.detach().requires_grad_() for name, value in parameters.items()}


def gradient_step(
    losses: Losses,
    phi: Parameters,
    x: Tensor,
    y: Tensor,
    rate: float | Tensor,
    *,
    second_order: bool = False,
) -> dict[str, Tensor]:
    """Return φ − rate · ∂loss/∂φ of each task (Finn et al. 2017, 2.2).

    second_order: whether what comes after is also differentiated through ∂loss/∂φ. Without it,
    dφ/dθ counts as the identity and no second derivative is made (there, section 5.2).
    """
    total = losses(phi, x, y).sum()
    slopes = torch.autograd.grad(total, list(phi.values()), create_graph=second_order)
    pairs = zip(phi.items(), slopes, strict=True)
    return {name: value - rate * slope for (name, value), slope in pairs}


def through(theta: Parameters, losses: Tensor) -> MetaGradient:
    """Return the gradient of the mean loss, by the backward pass through adaptation."""
    found = torch.autograd.grad(losses.mean(), list(theta.values()))
    return MetaGradient(dict(zip(theta, found, strict=True)), losses.detach())


def gradient_path(
    losses: Losses, theta: Parameters, x: Tensor, y: Tensor, rate: float
) -> Iterator[dict[str, Tensor]]:
    """Yield φ after 0, 1, 2, … gradient steps, without a graph that leads from one to the next."""
    phi = leaves(stacked(theta, len(x)))
    while True:
        yield phi
        phi = leaves(gradient_step(losses, phi, x, y, rate))


@dataclass(frozen=True)
class Maml:
    """second_order: whether d/dθ goes through the gradients of the steps."""

    model: Model
    rate: float
    steps: int
    second_order: bool = True

    def start(self, theta: Parameters) -> dict[str, Tensor]:
        return dict(theta)

    def path(self, theta: Parameters, x: Tensor, y: Tensor) -> Iterator[Parameters]:
        return gradient_path(self.model.losses, theta, x, y, self.rate)

    def meta_gradient(self, theta: Parameters, tasks: Episodes) -> MetaGradient:
        theta = leaves(theta)
        phi, rows = stacked(theta, len(tasks)), (tasks.x, tasks.y)
        for _ in range(self.steps):
            phi = gradient_step(
                self.model.losses, phi, *rows, self.rate, second_order=self.second_order
            )
        return through(theta, self.model.losses(phi, tasks.new_x, tasks.new_y))


@dataclass(frozen=True)
class Reptile:
    """θ − φ in place of a gradient, φ after steps on all rows of the task, the new ones too; its
    losses are on these rows."""

    model: Model
    rate: float
    steps: int

    def start(self, theta: Parameters) -> dict[str, Tensor]:
        return dict(theta)

    def path(self, theta: Parameters, x: Tensor, y: Tensor) -> Iterator[Parameters]:
        return gradient_path(self.model.losses, theta, x, y, self.rate)

    def meta_gradient(self, theta: Parameters, tasks: Episodes) -> MetaGradient:
        rows = torch.cat((tasks.x, tasks.new_x), 1), torch.cat((tasks.y, tasks.new_y), 1)
        phi = adapted(self, theta, *rows)
        with torch.no_grad():
            gradient = {name: value - phi[name].mean(0) for name, value in theta.items()}
            return MetaGradient(gradient, self.model.losses(phi, *rows))


def solved_read_out(hidden: Tensor, targets: Tensor, start: Tensor, penalty: Tensor) -> Tensor:
    """Return W̃ = W̃₀ + δW̃ with δW̃ the solution of problem (P) for λ_h = ∞.

    hidden: H̃ (…, n, d), of which the last column is 1. targets: Y (…, n, m). start: W̃₀ (…, d, m).
    With Δ = Y − H̃ W̃₀ it minimises 1/(2n) ‖Δ − H̃ δW̃‖² + λ/2 ‖δW̃‖², λ = `penalty`:
    (H̃ᵀH̃/n + λ I) δW̃ = H̃ᵀΔ/n, or with fewer rows than columns δW̃ = H̃ᵀ (H̃H̃ᵀ + nλ I)⁻¹ Δ, the
    same. Both can be differentiated in all four.
    """
    n, d = hidden.shape[-2:]
    delta = targets - hidden @ start
    identity = torch.eye(min(n, d), dtype=hidden.dtype, device=hidden.device)
    if n < d:
        kernel = hidden @ hidden.mT + n * penalty * identity
        return start + hidden.mT @ torch.linalg.solve_ex(kernel, delta)[0]  # NaN shows as a loss
    gram = hidden.mT @ hidden / n + penalty * identity
    return start + torch.linalg.solve_ex(gram, hidden.mT @ delta / n)[0]


@dataclass(frozen=True)
class LayerProblem:
    """The read-out is what problem (P) makes of a task's rows, from a start W̃₀ and with a penalty λ
    that are learnt; the body serves all tasks as it is, or `warm` gradient steps of the whole
    network come before, whose rate is learnt from `rate` on.

    Of classes the targets are 1 − 1/m and −1/m, and outputs times a learnt scale are logits.
    """

    model: Model
    rate: float = 0.01
    warm: int = 0
    penalty: float = 0.1
    scale: float = 10.0

    @property
    def steps(self) -> int:
        return self.warm + 1

    def start(self, theta: Parameters) -> dict[str, Tensor]:
        like = theta[READ_OUT]
        learnt = {"log_penalty": self.penalty}
        learnt |= {"log_scale": self.scale} if self.model.classes else {}
        learnt |= {"log_rate": self.rate} if self.warm else {}
        return {**theta, **{name: like.new_tensor(value).log() for name, value in learnt.items()}}

    def path(self, theta: Parameters, x: Tensor, y: Tensor) -> Iterator[Parameters]:
        """Yield the network before anything, then (P) after 0, 1, … gradient steps."""
        phi = leaves(stacked(self._network(theta), len(x)))
        yield self._scaled(theta, phi)
        rate = theta["log_rate"].exp() if self.warm else self.rate
        while True:
            yield self._solved(theta, phi, x, y)
            phi = leaves(gradient_step(self._losses(theta), phi, x, y, rate))

    def meta_gradient(self, theta: Parameters, tasks: Episodes) -> MetaGradient:
        theta = leaves(theta)
        phi = self._network(theta)
        if self.warm:
            phi = stacked(phi, len(tasks))
        for _ in range(self.warm):
            rate, losses = theta["log_rate"].exp(), self._losses(theta)
            phi = gradient_step(losses, phi, tasks.x, tasks.y, rate, second_order=True)
        solved = self._solved(theta, phi, tasks.x, tasks.y)
        return through(theta, self.model.losses(solved, tasks.new_x, tasks.new_y))

    def _network(self, theta: Parameters) -> dict[str, Tensor]:
        return {name: value for name, value in theta.items() if not name.startswith("log_")}

    def _losses(self, theta: Parameters) -> Losses:
        return lambda phi, x, y: self.model.losses(self._scaled(theta, phi), x, y)

    def _scaled(self, theta: Parameters, phi: Parameters) -> dict[str, Tensor]:
        scale = theta["log_scale"].exp() if self.model.classes else 1.0
        return {**phi, READ_OUT: scale * phi[READ_OUT]}

    def _solved(
        self, theta: Parameters, phi: Parameters, x: Tensor, y: Tensor
    ) -> dict[str, Tensor]:
        m, hidden = self.model.outputs, self.model.hidden(phi, x)
        targets = (F.one_hot(y, m) - 1 / m).to(hidden) if self.model.classes else y
        read_out = solved_read_out(hidden, targets, phi[READ_OUT], theta["log_penalty"].exp())
        return self._scaled(theta, {**phi, READ_OUT: read_out})
