"""Convolutional networks, a transformer over characters, a deep autoencoder: small, for a CPU.

All begin with the global generator of torch: seed it first.
"""

import itertools

import torch
from torch import Tensor, nn

from new_algorithm.models.transformer_block import Block, MultiHeadAttention

CHANNELS = ((16, 1), (32, 2), (32, 1), (64, 2), (64, 2))  # of each convolution, and its stride
UNITS = (1000, 500, 250, 30, 250, 500, 1000)  # of the autoencoder (Hinton and Salakhutdinov 2006)
LINEAR = (3, 7)  # its layers without a nonlinearity: the code, and the output


def convolutional_network(classes: int, batch_norm: bool) -> nn.Sequential:
    """Five 3 × 3 convolutions on images (n, 3, 32, 32), and one linear layer."""
    layers: list[nn.Module] = []
    before = 3
    for channels, stride in CHANNELS:
        layers.append(nn.Conv2d(before, channels, 3, stride, padding=1, bias=not batch_norm))
        if batch_norm:
            layers.append(nn.BatchNorm2d(channels))
        layers.append(nn.ReLU())
        before = channels
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(before * 4 * 4, classes))


class Transformer(nn.Module):
    """Tokens (n, length) → logits (n, length, tokens) of the one that follows each."""

    def __init__(
        self, tokens: int, length: int, width: int = 128, layers: int = 2, heads: int = 4
    ) -> None:
        super().__init__()
        self.token, self.place = nn.Embedding(tokens, width), nn.Embedding(length, width)
        for embedding in (self.token, self.place):
            nn.init.normal_(embedding.weight, std=0.02)
        attention = (MultiHeadAttention(width, heads, causal=True) for _ in range(layers))
        self.blocks = nn.Sequential(*(Block(width, one) for one in attention))
        self.norm, self.head = nn.LayerNorm(width), nn.Linear(width, tokens)

    def forward(self, tokens: Tensor) -> Tensor:
        x = self.token(tokens) + self.place.weight[: tokens.shape[1]]
        return self.head(self.norm(self.blocks(x)))


def autoencoder(inputs: int) -> nn.Sequential:
    """Pixels (n, inputs) → logits of pixels, through a code of 30 numbers."""
    layers: list[nn.Module] = []
    for place, (before, after) in enumerate(itertools.pairwise((inputs, *UNITS, inputs))):
        linear = nn.Linear(before, after)
        nn.init.xavier_normal_(linear.weight)
        nn.init.zeros_(linear.bias)
        layers.append(linear)
        if place not in LINEAR:
            layers.append(nn.ReLU())
    return nn.Sequential(*layers)


def matrices(model: nn.Module) -> list[Tensor]:
    """Return the weights of linear layers and convolutions, (outputs, inputs), in their order."""
    kinds = (nn.Linear, nn.Conv1d, nn.Conv2d)
    return [m.weight.detach().flatten(1) for m in model.modules() if isinstance(m, kinds)]


def evaluated(model: nn.Module, x: Tensor) -> Tensor:
    """Return the outputs of a model that is not being trained, rows of logits one below another."""
    model.eval()
    with torch.no_grad():
        outputs = model(x)
    return outputs.flatten(0, -2)
