"""Gradients as they come: scaled by a GradScaler, or not finite."""

import math
from collections.abc import Iterable
from typing import TYPE_CHECKING

import torch
from torch import Tensor

if TYPE_CHECKING:
    from new_algorithm.torch_optimizer.optimizer import BackProjection


def obstacle_to_step(optimizer: "BackProjection") -> str | None:
    """Unscale the gradients. Return why no step can be made: in words, or "" where GradScaler found
    numbers that are not finite, as it expects to now and then; None if one can be made."""
    found = getattr(optimizer, "found_inf", None)
    if found is not None and float(found) > 0:
        return ""
    unscale(optimizer.parameters(), getattr(optimizer, "grad_scale", None))
    if not (bad := not_finite(optimizer.parameters())):
        return None
    return f"the gradient of {optimizer.name_of(bad[0])} is not finite, and no step is made"


def unscale(parameters: Iterable[Tensor], scale: Tensor | None) -> None:
    """Divide the gradients by GradScaler's scale, where it leaves that to the optimizer."""
    if scale is not None:
        for parameter in parameters:
            if parameter.grad is not None:
                parameter.grad.div_(scale)


def not_finite(parameters: Iterable[Tensor]) -> list[Tensor]:
    """Return the parameters whose gradients are not finite; a GPU is waited for once if none are.

    The norm of all tells most often; in float16 that of finite numbers may be infinite.
    """
    given = {p: p.grad for p in parameters if p.grad is not None and p.numel()}
    values = {p: g._values() if g.is_sparse else g for p, g in given.items()}
    if not given or math.isfinite(float(torch.nn.utils.get_total_norm(values.values()))):
        return []
    return [p for p, value in values.items() if not torch.isfinite(value).all()]
