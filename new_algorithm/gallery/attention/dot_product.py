"""Scaled dot-product attention, many heads of it, and where in a sequence a token is.

Modules call torch's fused form, which is faster; `attend` is the definition it is held to.
"""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812


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


def split_heads(x: Tensor, heads: int) -> Tensor:
    """(n, length, width) → (n, heads, length, width/heads)."""
    return x.unflatten(-1, (heads, -1)).transpose(1, 2)


def join_heads(x: Tensor) -> Tensor:
    """(n, heads, length, width/heads) → (n, length, width)."""
    return x.transpose(1, 2).flatten(-2)


class Projections(nn.Module):
    """x (n, length, width) → queries, keys and values (n, heads, length, width/heads).

    Three layers side by side: each is a matrix of its own to an optimizer that makes steps
    orthogonal, and as all see the same rows, back projection needs one Gram matrix for the three.
    """

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.query, self.key, self.value = (nn.Linear(width, width) for _ in range(3))

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        q, k, v = (split_heads(part(x), self.heads) for part in (self.query, self.key, self.value))
        return q, k, v


class MultiHeadAttention(nn.Module):
    """x (n, length, width) → the same shape: what the heads of every place look up.

    causal: a place sees itself and those before.
    """

    def __init__(self, width: int, heads: int, causal: bool) -> None:
        super().__init__()
        self.causal = causal
        self.projections, self.join = Projections(width, heads), nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = self.projections(x)
        heads = F.scaled_dot_product_attention(q, k, v, is_causal=self.causal)
        return self.join(join_heads(heads))


def sinusoidal_encoding(length: int, width: int) -> Tensor:
    """Return (length, width): sin and cos of place · 10000^(−2i/width) by turns (there, 3.5)."""
    rates = torch.exp(-math.log(10000.0) * torch.arange(0, width, 2) / width)
    angles = torch.arange(length)[:, None] * rates
    return torch.stack([angles.sin(), angles.cos()], -1).flatten(1)[:, :width]
