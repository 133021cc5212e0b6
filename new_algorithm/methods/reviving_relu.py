"""A ReLU in PyTorch whose dead units may revive: what `network.revive` does, for autograd.

Back projection gives a unit that is 0 on a whole batch the positive part of the change that the
layers above want of it. Beside it other methods are given the same. With g = ∂loss/∂H, the wanted
change is −g.
"""

from typing import Any

import torch
from torch import Tensor, nn


class _Revive(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, z: Tensor) -> Tensor:
        ctx.save_for_backward(z > 0)
        return z.clamp(min=0)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        [gradient] = gradients
        [active] = ctx.saved_tensors
        dead = ~active.any(dim=0)
        return torch.where(active, gradient, torch.where(dead, gradient.clamp(max=0), 0.0))


class RevivingReLU(nn.Module):
    """max(Z, 0) of Z (n, d); the gradient of a column without a Z > 0 is min(∂loss/∂H, 0)."""

    def forward(self, z: Tensor) -> Tensor:
        return _Revive.apply(z)
