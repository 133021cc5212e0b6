"""Scaled dot-product attention as it is defined, and where in a sequence a token is.

Modules call torch's fused form, which is faster; `attend` is the definition it is held to.
"""

import math

import torch
from torch import Tensor


def attention_weights(q: Tensor, k: Tensor, mask: Tensor | None = None) -> Tensor:
    """Return softmax(q kᵀ/√d + mask) (…, n, m) of q (…, n, d) and k (…, m, d).

    mask: (…, n, m), True where a query may look, or numbers to be added. The weights of a query
    that may look nowhere are zeros.
    """
    scores = q @ k.mT / math.sqrt(q.shape[-1])
    if mask is None:
        return scores.softmax(-1)
    if mask.dtype == torch.bool:
        mask = torch.zeros_like(mask, dtype=q.dtype).masked_fill(~mask, -math.inf)
    blind = (mask == -math.inf).all(-1, keepdim=True)
    return (scores + mask.masked_fill(blind, 0.0)).softmax(-1).masked_fill(blind, 0.0)


def attend(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None = None) -> Tensor:
    """Return softmax(q kᵀ/√d + mask) v (…, n, e) of v (…, m, e) (Vaswani et al. 2017, eq. 1)."""
    return attention_weights(q, k, mask) @ v


def sinusoidal_encoding(length: int, width: int) -> Tensor:
    """Return (length, width): sin and cos of place · 10000^(−2i/width) by turns (there, 3.5)."""
    rates = torch.exp(-math.log(10000.0) * torch.arange(0, width, 2) / width)
    angles = torch.arange(length)[:, None] * rates
    return torch.stack([angles.sin(), angles.cos()], -1).flatten(1)[:, :width]
