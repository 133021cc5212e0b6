"""Muon (Jordan et al. 2024): matrices go along the polar factor of their momentum.

M ← μ M + g, U = polar(g + μ M), W ← (1 − η α) W − η √max(1, m/d) U for W (m, d), with μ = 0.95; a
convolution's kernel is one matrix a layer. In float32: the libraries' versions orthogonalise in
bfloat16, which takes thirty times as long on processors that have no units for it. Its polar factor
is back projection's own, with the same polynomials, and in blocks of 128 outputs where both sides
are above 256: cheaper than one for the whole matrix, and as good (torch_optimizer/directions.py).
"""

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from new_algorithm.methods.optimizers import decaying
from new_algorithm.torch_optimizer.directions import polar


class Muon(torch.optim.Optimizer):
    """matrices: parameters with two dimensions or more. rest: parameters for AdamW.

    weight_decay: α, of the rest too but for biases and norms.
    """

    def __init__(
        self,
        matrices: Sequence[Tensor],
        rest: Sequence[Tensor],
        *,
        lr: float,
        adam_lr: float,
        momentum: float = 0.95,
        weight_decay: float = 0.0,
    ) -> None:
        self._momentum, self._weight_decay = momentum, weight_decay
        groups = [{"params": list(matrices), "lr": lr}, {"params": list(rest), "lr": adam_lr}]
        super().__init__(groups, {})
        self._adam = torch.optim.AdamW(decaying(rest, weight_decay), adam_lr, fused=True)

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        group, of_rest = self.param_groups
        for parameter in group["params"]:
            if (gradient := parameter.grad) is None:
                continue
            velocity = self.state[parameter].setdefault("velocity", torch.zeros_like(parameter))
            velocity.mul_(self._momentum).add_(gradient)
            ahead = (gradient + self._momentum * velocity).flatten(1)
            scale = math.sqrt(max(1.0, ahead.shape[0] / ahead.shape[1]))
            if self._weight_decay:
                parameter.mul_(1 - group["lr"] * self._weight_decay)
            parameter.add_(polar(ahead).view_as(parameter), alpha=-group["lr"] * scale)
        for decayed in self._adam.param_groups:
            decayed["lr"] = of_rest["lr"]
        self._adam.step()
        return loss
