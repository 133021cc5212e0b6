"""Means over stretches of a sequence, and who may see them.

Causally, a pool of places is seen from its last place on, and a last one that is not full is left
out: otherwise what is to come would reach the places before it.
"""

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812


def pooled(x: Tensor, size: int, causal: bool) -> Tensor:
    """Return means over `size` places each, (…, length, d) → (…, pools, d).

    There are ⌊length/size⌋ pools, or ⌈length/size⌉ where not causal, the last over what is left.
    """
    if size == 1:
        return x
    whole = x.shape[-2] // size
    full, left = x.split([whole * size, x.shape[-2] - whole * size], -2)
    means = full.unflatten(-2, (whole, size)).mean(-2)
    if causal or left.shape[-2] == 0:
        return means
    return torch.cat([means, left.mean(-2, keepdim=True)], -2)


def spread(pools: Tensor, length: int, size: int, causal: bool) -> Tensor:
    """Give every place its pool (…, length, d), causally the last that ended there or before it;
    zeros where none has."""
    if not causal:
        return pools.repeat_interleave(size, -2)[..., :length, :]
    late = F.pad(pools.repeat_interleave(size, -2), (0, 0, size - 1, 0))
    return F.pad(late, (0, 0, 0, max(0, length - late.shape[-2])))[..., :length, :]


def pool_mask(length: int, size: int, device: torch.device | None = None) -> Tensor:
    """Return (length, ⌊length/size⌋), True where a pool ends at the place or before it."""
    ends = torch.arange(1, length // size + 1, device=device) * size - 1
    return ends <= torch.arange(length, device=device)[:, None]
