"""How far, and in which way, all layers go along their least-squares changes.

Each maps the M and A⁻¹ of all layers to the tensors to be added to their weights, times `lr`, and
remembers what it needs in the stacks. lr is a length in each of them:

- trust region: V ← μ V + min(1/lr, 1/√s) M A⁻¹, s = Σ_l <M_l A_l⁻¹, M_l>. The step lr V without
  momentum is the least-squares solution or, where that is longer than lr in the metric of the
  layers' problems, its part of length lr: the trust region of back_projection/step_control.py with
  bound lr².
- orthogonal: V ← μ V + M, and the polar factor of M + μ V in white coordinates: every output of a
  layer changes by lr (root mean square over rows), times the root of what its size is now.
- adam: moments of M A⁻¹, entry by entry (Kingma and Ba 2015, for which it stands for the gradient).
"""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal

import torch
from torch import Tensor

from new_algorithm.torch_optimizer.directions import orthogonal
from new_algorithm.torch_optimizer.stacks import Part

Outer = Literal["trust", "orthogonal", "adam"]
Settings = Mapping[str, Any]  # of a param group
# of outputs: layers that begin with weights 0 move all the same, and the steps of those with large
# outputs are no larger
SIZES = (0.1, 1.0)
LARGEST = 1e18


def trust_steps(parts: Sequence[Part], settings: Sequence[Settings], bound: float) -> list[Tensor]:
    changes = [part.least_squares() for part in parts]
    slope = total_inner(changes, [part.moment for part in parts])
    if not math.isfinite(slope):  # numbers too large to be multiplied: on by momentum alone
        changes, slope = [torch.zeros_like(change) for change in changes], 0.0
    steps = []
    for part, group, change in zip(parts, settings, changes, strict=True):
        lr = group["lr"]
        full = 1 / lr if lr > 0 else math.inf
        length = min(full, math.sqrt(bound / slope)) if slope > 0 else 0.0
        velocity = part.read("velocity").mul_(group["momentum"]).add_(change, alpha=length)
        part.write("velocity", velocity)
        steps.append(velocity)
    return steps


def orthogonal_steps(
    parts: Sequence[Part], settings: Sequence[Settings], bound: float
) -> list[Tensor]:
    steps = []
    for part, group in zip(parts, settings, strict=True):
        velocity = part.read("velocity").mul_(group["momentum"]).add_(part.moment)
        part.write("velocity", velocity)
        ahead = part.moment + group["momentum"] * velocity
        size = part.read("size").clamp(*SIZES).sqrt() * math.sqrt(bound)
        # the polar factor of a velocity alone is as long as any: what has no gradient rests
        size = size * (part.moment.abs().amax((-2, -1)) > 0)
        steps.append(orthogonal(ahead, part.read("inverse")) * size[:, None, None])
    return steps


def adam_steps(parts: Sequence[Part], settings: Sequence[Settings], bound: float) -> list[Tensor]:
    steps = []
    for part, group in zip(parts, settings, strict=True):
        beta1, beta2 = group["betas"]
        # whose squares do not overflow
        change = part.least_squares().nan_to_num_(0.0).clamp_(-LARGEST, LARGEST)
        mean = part.read("mean").lerp_(change, 1 - beta1)
        square = part.read("square").mul_(beta2).addcmul_(change, change, value=1 - beta2)
        part.write("mean", mean)
        part.write("square", square)
        # of these layers: some begin later than others, and all begin again after a step taken back
        t = part.read("updates").add_(1)
        part.write("updates", t)
        weight1, weight2 = (_weight(beta, t)[:, None, None] for beta in (beta1, beta2))
        root = (square / weight2).sqrt_().add_(group["eps"])
        steps.append(mean / root / weight1 * math.sqrt(bound))
    return steps


def _weight(beta: float, t: Tensor) -> Tensor:
    """Return 1 − β^t, the weight of t values in their moving average, to all digits of t's type."""
    return -torch.expm1(t * math.log(beta)) if beta > 0 else torch.ones_like(t)


def total_inner(left: Sequence[Tensor], right: Sequence[Tensor]) -> float:
    """Return Σ <a, b>."""
    if not left:
        return 0.0
    inner = [torch.vdot(a.flatten(), b.flatten()) for a, b in zip(left, right, strict=True)]
    return float(torch.stack([one.to(inner[0].device) for one in inner]).cpu().double().sum())


OuterSteps = Callable[[Sequence[Part], Sequence[Settings], float], list[Tensor]]

# of each: the steps, what the stacks remember for them, and a value of lr to begin with
OUTER: dict[Outer, tuple[OuterSteps, tuple[str, ...], float]] = {
    "trust": (trust_steps, ("velocity",), 0.1),
    "orthogonal": (orthogonal_steps, ("velocity",), 0.08),
    "adam": (adam_steps, ("mean", "square"), 1e-3),
}
