"""Transformers with one of several kinds of attention, for sequences of tokens or of points."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from new_algorithm.gallery.attention.dot_product import sinusoidal_encoding
from new_algorithm.gallery.attention.hierarchy import Hierarchy
from new_algorithm.gallery.attention.multi_scale import ConvolvedScales, JointScales, PooledScales
from new_algorithm.gallery.attention.shape import Shape
from new_algorithm.models.transformer_block import Block, MultiHeadAttention

SCALED = {
    "convolved-scales": ConvolvedScales,
    "pooled-scales": PooledScales,
    "joint-scales": JointScales,
}


def layer(shape: Shape, causal: bool) -> nn.Module:
    """Return one layer of the architecture, x (n, length, width) → the same shape."""
    width, heads, scales = shape.width, shape.heads, shape.scales
    if shape.architecture in SCALED:
        return Block(width, SCALED[shape.architecture](width, heads, scales, causal))
    if shape.architecture == "plain":
        return Block(width, MultiHeadAttention(width, heads, causal))
    levels = [Block(width, MultiHeadAttention(width, heads, causal)) for _ in scales]
    return Hierarchy(levels, width, scales, shape.routing, causal)


class Transformer(nn.Module):
    """Tokens (n, length) → logits (n, length, outputs) of what follows each, seeing none of it; or
    with tokens = None points (n, length) → logits (n, outputs) of the whole sequence's class."""

    def __init__(self, tokens: int | None, outputs: int, length: int, shape: Shape) -> None:
        super().__init__()
        width, causal = shape.width, tokens is not None
        self.embed: nn.Module = (
            nn.Linear(1, width) if tokens is None else nn.Embedding(tokens, width)
        )
        self.causal = causal
        self.places: Tensor
        self.register_buffer("places", sinusoidal_encoding(length, width), persistent=False)
        self.layers = nn.Sequential(*(layer(shape, causal) for _ in range(shape.layers)))
        self.norm, self.head = nn.LayerNorm(width), nn.Linear(width, outputs)

    def forward(self, x: Tensor) -> Tensor:
        x = self.embed(x if self.causal else x[..., None]) + self.places[: x.shape[1]]
        x = self.norm(self.layers(x))
        return self.head(x if self.causal else x.mean(1))


@contextmanager
def _looked_at(model: Transformer) -> Iterator[None]:
    """Without gradients and in evaluation, where no router samples; then as it was."""
    was_training = model.training
    model.eval()
    try:
        with torch.no_grad():
            yield
    finally:
        model.train(was_training)


def mean_shares(model: Transformer, x: NDArray) -> list[list[float]]:
    """Return, layer by layer, the share of each scale or level on the sequences x; a plain
    transformer has none."""
    found: list[list[float]] = []

    def look(module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        shares: Callable[[Tensor], Tensor] = module.shares  # type: ignore[assignment]
        found.append(shares(*inputs).flatten(0, -2).mean(0).tolist())

    scaled = [module for module in model.modules() if hasattr(module, "shares")]
    handles = [module.register_forward_pre_hook(look) for module in scaled]
    try:
        with _looked_at(model):
            model(torch.tensor(x, device=model.places.device))
    finally:
        for handle in handles:
            handle.remove()
    return found


def generate(
    model: Transformer, start: Sequence[int], count: int, generator: torch.Generator
) -> list[int]:
    """Return `count` tokens after `start`, each drawn from the model's probabilities. The generator
    is one of the processor."""
    device, tokens = model.places.device, list(start)
    with _looked_at(model):
        for _ in range(count):
            seen = torch.tensor([tokens[-len(model.places) :]], device=device)
            chances = model(seen)[0, -1].softmax(-1).cpu()
            tokens.append(int(torch.multinomial(chances, 1, generator=generator)))
    return tokens[len(start) :]
