"""Layers that problem (P) is solved for: what their weights multiply, and the weights as matrices.

A weight is seen as `blocks` matrices (m, d) side by side, each of which multiplies rows of d
numbers of its own: one block for nn.Linear, one a group for a convolution, three (query, key,
value) for nn.MultiheadAttention, one a token, with d = 1, for nn.Embedding. With a bias, d counts
it as the last column, and its input is 1.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812
from torch.nn.modules.linear import NonDynamicallyQuantizableLinear

from new_algorithm.torch_optimizer.statistics import wide_dtype

CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)
TRANSPOSED = (nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)

Choose = Callable[[int], Tensor]  # how many rows there are → indices of those to take
# inputs of a call → (blocks, n, d without bias), in several parts where n is not the same for all
Rows = Callable[[Sequence[Tensor], Choose], Sequence[Tensor]]


@dataclass(frozen=True, eq=False)
class Layer:
    """The weight of a module and, where it has one, its bias. rows: what the weight multiplies.

    width: d without the bias, where it is not that of a row of the weight.
    """

    name: str
    weight: Tensor
    bias: Tensor | None
    blocks: int
    rows: Rows
    width: int | None = None

    @property
    def shape(self) -> tuple[int, int]:
        """(m, d), the bias counted in d."""
        wide = self.width_of_rows
        m = self.weight.numel() // (self.blocks * wide)
        return m, wide + (self.bias is not None)

    @property
    def width_of_rows(self) -> int:
        """d without the bias."""
        return self.weight[0].numel() if self.width is None else self.width

    def matrix(self) -> Tensor:
        """Return a copy of W̃ (blocks, m, d)."""
        return self._folded(self.weight, self.bias)

    def moment(self, maximize: bool) -> Tensor:
        """Return M = −∂loss/∂W̃ (blocks, m, d), zero for a bias without a gradient."""
        assert self.weight.grad is not None
        bias = self.bias
        if bias is not None:
            bias = torch.zeros_like(bias) if bias.grad is None else bias.grad
        grad = self.weight.grad
        moment = self._folded(grad.to_dense() if grad.is_sparse else grad, bias)
        return moment if maximize else moment.neg_()

    def add(self, change: Tensor, scale: float) -> None:
        """W̃ ← W̃ + scale · change (blocks, m, d), multiplied before it is rounded to W̃'s type."""
        wide = self.width_of_rows
        change = (scale * change).to(self.weight.dtype)
        self.weight.add_(change[..., :wide].reshape(self.weight.shape))
        if self.bias is not None and self.bias.grad is not None:
            self.bias.add_(change[..., wide].reshape(self.bias.shape))

    def _folded(self, weight: Tensor, bias: Tensor | None) -> Tensor:
        m, _ = self.shape
        matrix = weight.detach().reshape(self.blocks, m, -1)
        if bias is None:
            return matrix.clone()
        return torch.cat([matrix, bias.detach().reshape(self.blocks, m, 1)], -1)


def layers_of(module: nn.Module, name: str) -> list[Layer]:
    """Return the layers whose weights `module` itself holds; none where there is no rule for it."""
    if isinstance(module, nn.MultiheadAttention):
        found = list(_attention(module, name))
    elif isinstance(module, NonDynamicallyQuantizableLinear):
        return []  # the last projection of an nn.MultiheadAttention, which never calls it
    elif isinstance(module, nn.Linear):
        found = [Layer(name, module.weight, module.bias, 1, _flat)]
    elif isinstance(module, nn.Embedding):
        found = [
            Layer(
                name,
                module.weight,
                None,
                module.num_embeddings,
                partial(_one_hot, weight=module.weight),
                width=1,
            )
        ]
    elif isinstance(module, CONVOLUTIONS):
        found = [Layer(name, module.weight, module.bias, module.groups, _patches_of(module))]
    else:
        return []
    # a weight under a parametrization is no parameter: what lies beneath it is not this layer's
    return [layer for layer in found if isinstance(layer.weight, nn.Parameter)]


def _attention(module: nn.MultiheadAttention, name: str) -> Iterator[Layer]:
    """Query, key and value side by side, or each with its own width, and the last projection."""
    if module.in_proj_weight is not None:
        yield Layer(name, module.in_proj_weight, module.in_proj_bias, 3, _three)
    else:  # their bias is one vector, which is left alone
        for index, part in enumerate("qkv"):
            weight = getattr(module, f"{part}_proj_weight")
            yield Layer(f"{name}.{part}_proj", weight, None, 1, partial(_flat, which=index))
    last = module.out_proj
    yield Layer(f"{name}.out_proj", last.weight, last.bias, 1, _flat)


def _flat(inputs: Sequence[Tensor], choose: Choose, which: int = 0) -> list[Tensor]:
    """Rows of an input with any leading dimensions."""
    return [_chosen(inputs[which], choose)[None]]


def _three(inputs: Sequence[Tensor], choose: Choose) -> list[Tensor]:
    """There may be more or fewer keys and values than queries."""
    if all(x is inputs[0] for x in inputs):
        return [_chosen(inputs[0], choose)[None].expand(3, -1, -1)]
    return [_chosen(x, choose)[None] for x in inputs]


def _chosen(x: Tensor, choose: Choose) -> Tensor:
    rows = x.detach().reshape(-1, x.shape[-1])
    index = choose(len(rows))
    return rows if len(index) == len(rows) else rows[index.to(rows.device)]


def _one_hot(inputs: Sequence[Tensor], choose: Choose, *, weight: Tensor) -> list[Tensor]:
    """Roots of the tokens' frequencies f, (tokens, 1, 1): rows are one-hot and H̃ᵀH̃/n = diag(f), of
    which one row √f shows a token's block as much as all rows."""
    counts = torch.bincount(inputs[0].reshape(-1), minlength=len(weight))
    counts = counts.to(wide_dtype(weight.dtype))
    return [(counts / inputs[0].numel()).sqrt()[:, None, None]]


def _patches_of(module: nn.Conv1d | nn.Conv2d | nn.Conv3d) -> Rows:
    kernel, dilation = module.kernel_size, module.dilation
    spans = [step * (size - 1) for step, size in zip(dilation, kernel, strict=True)]
    if module.padding == "same":
        sides = [(span // 2, span - span // 2) for span in spans]
    elif module.padding == "valid":
        sides = [(0, 0)] * len(kernel)
    else:
        sides = [(int(n), int(n)) for n in module.padding]
    return partial(
        _patches,
        kernel=kernel,
        stride=module.stride,
        dilation=dilation,
        padding=sides,
        mode="constant" if module.padding_mode == "zeros" else module.padding_mode,
        groups=module.groups,
    )


def _patches(
    inputs: Sequence[Tensor],
    choose: Choose,
    *,
    kernel: Sequence[int],
    stride: Sequence[int],
    dilation: Sequence[int],
    padding: Sequence[tuple[int, int]],
    mode: str,
    groups: int,
) -> list[Tensor]:
    """Patches that a convolution multiplies, (groups, n, channels of a group × kernel).

    A row is an image and a position in the output; only the rows taken are copied, and nothing is
    padded but the indices along each axis.
    """
    x, dims = inputs[0].detach(), len(kernel)
    x = x[None] if x.dim() == dims + 1 else x
    if x.dim() != dims + 2:
        return []
    sources = [
        _indices(size, sides, mode).to(x.device)
        for size, sides in zip(x.shape[2:], padding, strict=True)
    ]
    positions = [
        (len(source) - step * (width - 1) - 1) // jump + 1
        for source, width, jump, step in zip(sources, kernel, stride, dilation, strict=True)
    ]
    places = (len(x), *positions)
    index = choose(torch.Size(places).numel()).to(x.device)
    image, *corners = torch.unravel_index(index, places)
    where = [image.reshape(-1, *[1] * dims)]
    for axis, corner in enumerate(corners):
        reach = torch.arange(kernel[axis], device=x.device) * dilation[axis]
        along = sources[axis][corner[:, None] * stride[axis] + reach]
        where.append(along.reshape(-1, *(kernel[axis] if a == axis else 1 for a in range(dims))))
    found = x.movedim(1, -1)[tuple(where)]  # (n, *kernel, channels)
    for place, sides in zip(where[1:], padding, strict=True):
        if mode == "constant" and any(sides):
            found.masked_fill_((place < 0)[..., None], 0.0)
    return [found.movedim(-1, 1).reshape(len(index), groups, -1).transpose(0, 1)]


def _indices(size: int, sides: tuple[int, int], mode: str) -> Tensor:
    """Return those along an axis, padded as its numbers would be; −1 where these are 0."""
    index = torch.arange(size, device="cpu")[None, None]
    return F.pad(index, sides, mode, -1 if mode == "constant" else None)[0, 0]
