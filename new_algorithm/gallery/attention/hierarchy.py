"""A transformer on several levels, each coarser than the one below, and a router between them.

Level 0 has a place for every token, the next ones have means over several, and each level has a
transformer block of its own. Every token chooses the level whose answer it takes. A choice by its
index alone would have no gradient, and the router would stay as it was drawn. It learns by

    soft                the softmax p itself
    straight-through    the one-hot choice of the largest p, backwards as if it were p
    gumbel              the same of logits with Gumbel noise, a sample of p (Jang et al. 2017):
                        levels are tried; without noise once it is trained
    fixed               not at all: equal shares, for ablations

All levels are computed, whatever is chosen.
"""

from collections.abc import Callable, Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from new_algorithm.gallery.attention.pooling import pooled, spread
from new_algorithm.gallery.attention.shape import Routing


def straight_through(logits: Tensor) -> Tensor:
    """Return the one-hot choice of the largest logit (…, levels), with the softmax's gradient."""
    soft = logits.softmax(-1)
    hard = F.one_hot(soft.argmax(-1), soft.shape[-1]).to(soft.dtype)
    return hard + (soft - soft.detach())


def gumbel(logits: Tensor) -> Tensor:
    """Return a one-hot sample of the softmax, by torch's global generator, with the gradient of
    the softmax of the noisy logits: the temperature is 1."""
    return F.gumbel_softmax(logits, hard=True)


ROUTES: dict[str, Callable[[Tensor], Tensor]] = {
    "soft": lambda logits: logits.softmax(-1),
    "straight-through": straight_through,
    "gumbel": gumbel,
    "fixed": lambda logits: torch.full_like(logits, 1 / logits.shape[-1]),
}


class Router(nn.Module):
    """x (…, width) → shares of levels (…, levels), of which every row sums to 1."""

    def __init__(self, width: int, levels: int, routing: Routing) -> None:
        super().__init__()
        self.norm, self.logits = nn.LayerNorm(width), nn.Linear(width, levels)
        self.routing = routing
        self.requires_grad_(routing != "fixed")

    def forward(self, x: Tensor) -> Tensor:
        logits = self.logits(self.norm(x))
        if self.routing == "gumbel" and not self.training:
            return straight_through(logits)
        return ROUTES[self.routing](logits)


class Hierarchy(nn.Module):
    """x (n, length, width) → x and the change of the chosen level, of the same shape.

    blocks: one a level, each x + change. scales: tokens in a place of each level, each a multiple
    of the one before. causal: a token sees the coarse places that end with it or before.
    """

    def __init__(
        self,
        blocks: Sequence[nn.Module],
        width: int,
        scales: Sequence[int],
        routing: Routing,
        causal: bool,
    ) -> None:
        super().__init__()
        self.levels, self.scales, self.causal = nn.ModuleList(blocks), scales, causal
        self.router = Router(width, len(blocks), routing)

    def forward(self, x: Tensor) -> Tensor:
        changes, level = [], x
        for block, (finer, scale) in zip(self.levels, pairwise((1, *self.scales)), strict=True):
            level = pooled(level, scale // finer, self.causal)
            if level.shape[1] == 0:  # no place of this level has ended
                changes.append(torch.zeros_like(x))
                continue
            after = block(level)
            changes.append(spread(after - level, x.shape[1], scale, self.causal))
            level = after
        return x + torch.einsum("ntl,lntw->ntw", self.router(x), torch.stack(changes))

    def shares(self, x: Tensor) -> Tensor:
        return self.router(x)
