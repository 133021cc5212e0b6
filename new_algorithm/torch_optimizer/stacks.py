"""Layers of equal shape side by side: one operation serves all of them.

Forty equal layers, or the groups of a convolution, are one stack: their Gram matrices, inverses and
velocities are tensors over all blocks, of which the optimizer's state holds each layer's part as a
view.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from new_algorithm.torch_optimizer.directions import damped_factor, least_squares
from new_algorithm.torch_optimizer.layers import Layer
from new_algorithm.torch_optimizer.statistics import GRAM, OUTPUT_GRAM, wide_dtype

STATISTICS = (GRAM, "gram_weight", "inverse", "size", "updates")
OF_OUTPUTS = (OUTPUT_GRAM, "output_gram_weight", "left")


def stack_key(layer: Layer, group: int) -> tuple[Any, ...]:
    """Layers with equal keys share a stack."""
    return group, layer.shape, layer.weight.dtype, layer.weight.device


class Stack:
    """tensors: by name, over N blocks in all: `gram` Ḡ (N, d, d), `gram_weight` Σ_k ρ^k (N,),
    `inverse` A⁻¹ (N, d, d), `size` (N,), root mean square of an output, `updates` (N,) of what the
    outer step remembers, and that, like δW̃ (N, m, d); with `outputs` also `output_gram` (N, m, m)
    with its weight, and `left`, the factor of output_factors.py. group: index of the param group
    whose settings hold.
    """

    def __init__(
        self, layers: Sequence[Layer], group: int, remembered: Sequence[str], outputs: bool = False
    ) -> None:
        self.layers, self.group = list(layers), group
        (m, d), weight = layers[0].shape, layers[0].weight
        ends = torch.tensor([layer.blocks for layer in layers]).cumsum(0).tolist()
        self.parts = [
            slice(end - layer.blocks, end) for layer, end in zip(layers, ends, strict=True)
        ]
        shapes: dict[str, tuple[int, ...]]
        shapes = dict(zip(STATISTICS, ((d, d), (), (d, d), (), ()), strict=True))
        shapes |= dict.fromkeys(remembered, (m, d))
        if outputs:
            shapes |= dict(zip(OF_OUTPUTS, ((m, m), (), (m, m)), strict=True))
        wide, device = wide_dtype(weight.dtype), weight.device
        self.tensors = {
            name: torch.zeros(ends[-1], *shape, dtype=wide, device=device)
            for name, shape in shapes.items()
        }
        if outputs:  # until it is known, each layer makes all of the wanted change
            self.tensors["left"].copy_(torch.eye(m))
        self.is_factored = False

    def state_of(self, place: int) -> dict[str, Tensor]:
        """Return views of one layer's part of every tensor."""
        return {name: tensor[self.parts[place]] for name, tensor in self.tensors.items()}

    def average(self, name: str, place: int, found: Tensor, decay: float) -> None:
        """Average over steps, Ḡ = Σ_k ρ^k G_{t−k} / Σ_k ρ^k: the weight w of Ḡ becomes ρ w + 1, and
        Ḡ moves by 1/w of the way to G."""
        part = self.parts[place]
        weight = self.tensors[f"{name}_weight"][part].mul_(decay).add_(1)
        gram = self.tensors[name][part]
        gram.add_((found - gram) / weight[:, None, None])

    def forget(self) -> None:
        """Begin again, at rest, with the next Gram matrix; the inverse serves until then."""
        for name, tensor in self.tensors.items():
            if name not in ("inverse", "left"):
                tensor.zero_()

    def factor(self, lambda_w: float) -> list[str]:
        """Renew A⁻¹ and the sizes of outputs. Return the layers that failed, and keep theirs."""
        gram, inverse = self.tensors["gram"], self.tensors["inverse"]
        of_blocks = gram.diagonal(dim1=-2, dim2=-1).mean(-1)
        # of a layer, not of a block: a token that is rare is damped like the others
        mean = torch.cat([of_blocks[part].mean().expand_as(of_blocks[part]) for part in self.parts])
        factor, failed = damped_factor(gram, lambda_w * mean)
        found = torch.cholesky_inverse(factor)
        # inputs that have all been 0 tell nothing: no step yet, rather than one without bound
        kept = failed | (mean == 0)
        inverse.copy_(torch.where(kept[:, None, None], inverse, found))
        self.is_factored = True
        w = torch.cat([layer.matrix() for layer in self.layers]).to(gram.dtype)
        # the mean of z² over rows and outputs, trace(W̃ Ḡ W̃ᵀ)/m
        size, last = (w @ gram).mul_(w).sum(-1).mean(-1).clamp(min=0).sqrt(), self.tensors["size"]
        last.copy_(torch.where(size.isfinite(), size, last))
        bad = failed.tolist()
        return [
            layer.name
            for layer, part in zip(self.layers, self.parts, strict=True)
            if any(bad[part])
        ]


@dataclass
class Part:
    """The layers of a stack that have a gradient in this step, and their M (blocks, m, d).

    where: their blocks, a slice if these are all of the stack.
    """

    stack: Stack
    layers: list[Layer]
    where: slice | Tensor
    moment: Tensor

    def read(self, name: str) -> Tensor:
        """Return these blocks of a tensor: a view if they are all, a copy if not."""
        return self.stack.tensors[name][self.where]

    def least_squares(self) -> Tensor:
        """Return δW̃ of the layers' problems, M A⁻¹ or, for a finite λ_h, with its left factor."""
        change = least_squares(self.moment, self.read("inverse"))
        return self.read("left") @ change if "left" in self.stack.tensors else change

    def write(self, name: str, value: Tensor) -> None:
        if not isinstance(self.where, slice):
            self.stack.tensors[name][self.where] = value

    def split(self, change: Tensor) -> Iterator[tuple[Layer, Tensor]]:
        """Yield each layer with its blocks of a tensor like M."""
        parts = change.split([layer.blocks for layer in self.layers])
        yield from zip(self.layers, parts, strict=True)


def part_with_gradients(stack: Stack, maximize: bool) -> Part | None:
    """Return the part of a stack that has gradients, None if there are none."""
    places = [i for i, layer in enumerate(stack.layers) if layer.weight.grad is not None]
    if not places:
        return None
    layers = [stack.layers[place] for place in places]
    where: slice | Tensor = slice(None)
    if len(places) < len(stack.layers):
        blocks = [torch.arange(stack.parts[i].start, stack.parts[i].stop) for i in places]
        where = torch.cat(blocks).to(stack.tensors["gram"].device)
    moment = torch.cat([layer.moment(maximize) for layer in layers])
    return Part(stack, layers, where, moment.to(stack.tensors["gram"].dtype))
