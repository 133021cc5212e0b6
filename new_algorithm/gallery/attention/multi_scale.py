"""Attention at several scales at once: what is near in detail, what is far in outline.

Each layer can say how much of what it looks up comes from each scale: `shares(x)` (…, scales), of
which every row sums to 1.
"""

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from new_algorithm.gallery.attention.dot_product import attention_weights
from new_algorithm.gallery.attention.pooling import pool_mask, pooled
from new_algorithm.models.transformer_block import Projections, join_heads


class Mixture(nn.Module):
    """What the heads found at each scale, (n, heads, length, d) each → their mean, with weights
    that every head learns; equal ones at first. The parameter is flat: no optimizer takes it for
    the matrix of a layer."""

    def __init__(self, scales: int, heads: int) -> None:
        super().__init__()
        self.logits = nn.Parameter(torch.zeros(heads * scales))
        self.scales = scales

    def weights(self) -> Tensor:
        """Return (heads, scales), rows that sum to 1."""
        return self.logits.view(-1, self.scales).softmax(-1)

    def forward(self, found: Sequence[Tensor]) -> Tensor:
        return torch.einsum("hs,snhtd->nhtd", self.weights(), torch.stack(list(found)))


def mean_convolution(width: int, size: int) -> nn.Conv1d:
    """Return a convolution of `size` places, channel by channel, that begins as their mean."""
    convolution = nn.Conv1d(width, width, size, groups=width)
    nn.init.constant_(convolution.weight, 1 / size)
    assert convolution.bias is not None
    nn.init.zeros_(convolution.bias)
    return convolution


class ConvolvedScales(nn.Module):
    """For each scale a convolution of so many places, channel by channel, and queries, keys and
    values of its outputs; what they look up is mixed.

    causal: neither convolutions nor attention see a later place.
    """

    def __init__(self, width: int, heads: int, scales: Sequence[int], causal: bool) -> None:
        super().__init__()
        self.scales, self.causal = scales, causal
        self.convolutions = nn.ModuleList(mean_convolution(width, scale) for scale in scales)
        self.projections = nn.ModuleList(Projections(width, heads) for _ in scales)
        self.mixture, self.join = Mixture(len(scales), heads), nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        found = []
        for scale, convolution, project in zip(
            self.scales, self.convolutions, self.projections, strict=True
        ):
            before = scale - 1 if self.causal else (scale - 1) // 2
            seen = convolution(F.pad(x.mT, (before, scale - 1 - before))).mT
            q, k, v = project(seen)
            found.append(F.scaled_dot_product_attention(q, k, v, is_causal=self.causal))
        return self.join(join_heads(self.mixture(found)))

    def shares(self, x: Tensor) -> Tensor:
        return self.mixture.weights()


class PooledScales(nn.Module):
    """At scale s keys and values are means over s places, so that a query has 1/s as many to look
    at. Queries, keys and values are the same at all scales; what they look up is mixed.

    causal: a query sees the pools that end at its own place or before. At first there are none,
    and a scale then adds nothing.
    """

    def __init__(self, width: int, heads: int, scales: Sequence[int], causal: bool) -> None:
        super().__init__()
        self.scales, self.causal = scales, causal
        self.projections, self.join = Projections(width, heads), nn.Linear(width, width)
        self.mixture = Mixture(len(scales), heads)

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = self.projections(x)
        return self.join(join_heads(self.mixture([self._at(s, q, k, v) for s in self.scales])))

    def _at(self, scale: int, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        if not self.causal or scale == 1:
            k, v = (pooled(part, scale, self.causal) for part in (k, v))
            return F.scaled_dot_product_attention(q, k, v, is_causal=self.causal)
        blind, length = scale - 1, q.shape[-2]  # places before the end of the first pool
        if length <= blind:
            return torch.zeros_like(v)
        mask = pool_mask(length, scale, q.device)[blind:]
        k, v = (pooled(part, scale, self.causal) for part in (k, v))
        found = F.scaled_dot_product_attention(q[..., blind:, :], k, v, mask)
        return F.pad(found, (0, 0, blind, 0))

    def shares(self, x: Tensor) -> Tensor:
        return self.mixture.weights()


class JointScales(nn.Module):
    """PooledScales with one softmax over the keys of all scales in place of one a scale and a
    mixture: a query then chooses the scale as it chooses the place.

    The score of a pool over s places has log s added, so that it weighs as much as s places with
    its key; s is less than the scale for a last pool that is not full. Where all keys are alike,
    scales have shares by the places that they see: equal ones, but for causal pools to be ended.
    """

    def __init__(self, width: int, heads: int, scales: Sequence[int], causal: bool) -> None:
        super().__init__()
        self.scales, self.causal = scales, causal
        self.projections, self.join = Projections(width, heads), nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = self.projections(x)
        keys, values = self._at_all(k), self._at_all(v)
        mask = self._mask(x.shape[1], keys)
        heads = F.scaled_dot_product_attention(q, torch.cat(keys, -2), torch.cat(values, -2), mask)
        return self.join(join_heads(heads))

    def shares(self, x: Tensor) -> Tensor:
        """Return how much attention each scale gets (n, heads, length, scales)."""
        q, k, _ = self.projections(x)
        keys = self._at_all(k)
        weights = attention_weights(q, torch.cat(keys, -2), self._mask(x.shape[1], keys))
        parts = weights.split([part.shape[-2] for part in keys], -1)
        return torch.stack([part.sum(-1) for part in parts], -1)

    def _at_all(self, x: Tensor) -> list[Tensor]:
        return [pooled(x, scale, self.causal) for scale in self.scales]

    def _mask(self, length: int, keys: Sequence[Tensor]) -> Tensor:
        """Return what is added to scores, (length, keys of all scales)."""
        parts = []
        for scale, at_scale in zip(self.scales, keys, strict=True):
            bias = at_scale.new_full((length, at_scale.shape[-2]), math.log(scale))
            if self.causal:
                bias.masked_fill_(~pool_mask(length, scale, bias.device), -math.inf)
            elif left := length % scale:
                bias[:, -1] = math.log(left)
            parts.append(bias)
        return torch.cat(parts, -1)
