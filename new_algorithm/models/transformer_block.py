"""Attention with several heads, and the block of a transformer around any kind of attention."""

from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812


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


class Block(nn.Module):
    """x + attention(norm(x)), then x + two layers(norm(x)), place by place: the norms come first
    (Xiong et al. 2020), so that x passes through unchanged where the rest is zero."""

    def __init__(self, width: int, attention: nn.Module) -> None:
        super().__init__()
        self.norm_1, self.norm_2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.attention = attention
        self.up, self.down = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.attention(self.norm_1(x))
        return x + self.down(F.gelu(self.up(self.norm_2(x))))
