"""Gram matrices of what a layer sees, and their sum until the next step.

A call of a layer with rows h̃ shows G = H̃ᵀH̃/n. Over the micro-batches of one step the mean is
taken; over several uses of a weight within one forward pass the sum, since a change of the weight
acts in each of them.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
import torch.distributed
from torch import Tensor


def wide_dtype(dtype: torch.dtype) -> torch.dtype:
    """Return the type of statistics and factors: float64 for float64, float32 for all others."""
    return torch.float64 if dtype == torch.float64 else torch.float32


def gram(rows: Tensor, bias: bool | None, dtype: torch.dtype) -> Tensor:
    """Return H̃ᵀH̃/n (blocks, d, d) of H (blocks, n, d without bias), where H̃ is [H, 1], [H, 0] for
    a bias that does not act here (False), or H without a bias (None).

    The ones are never written: [[HᵀH, Hᵀ1], [1ᵀH, n]]/n.
    """
    h = rows.to(dtype)
    blocks, n, wide = h.shape
    square = h.mT @ (h / n)
    if bias is None:
        return square
    found = h.new_zeros(blocks, wide + 1, wide + 1)
    found[:, :wide, :wide] = square
    if bias:
        found[:, :wide, wide] = found[:, wide, :wide] = h.mean(1)
        found[:, wide, wide] = 1
    return found


class Seen:
    """What the uses of one weight have shown since the last step.

    total: Σ G over calls, None before the first. batches: micro-batches among them, told apart by
    what backward passes have left in `.grad` between two calls.
    """

    def __init__(self) -> None:
        self.clear()

    def clear(self) -> None:
        self.total: Tensor | None = None
        self.batches = 0
        self._mark: tuple[int, int] | None = None

    def take(self, weight: Tensor, found: Tensor) -> None:
        grad = weight.grad
        mark = (0, 0) if grad is None else (id(grad), grad._version)
        if mark != self._mark:
            self.batches, self._mark = self.batches + 1, mark
        self.total = found.clone() if self.total is None else self.total + found

    @property
    def mean(self) -> Tensor | None:
        return None if self.total is None else self.total / self.batches


def means_of(seen: Mapping[Tensor, Seen]) -> dict[Tensor, Tensor]:
    """Return the mean of each weight that was seen."""
    return {weight: mean for weight, one in seen.items() if (mean := one.mean) is not None}


def average_over_ranks(
    seen: dict[Tensor, Tensor], shapes: dict[Tensor, tuple[int, ...]], process_group: Any
) -> dict[Tensor, Tensor]:
    """Return the mean of each weight's G over the ranks that saw one, by one flat all-reduce.

    shapes: of G, of all weights that any rank may have seen, in the same order everywhere.
    """
    if not shapes:
        return {}
    some = next(iter(shapes))
    sizes = [torch.Size(shape).numel() + 1 for shape in shapes.values()]  # G, and 1 if there is one
    flat = torch.zeros(sum(sizes), dtype=wide_dtype(some.dtype), device=some.device)
    for weight, part in zip(shapes, flat.split(sizes), strict=True):
        if weight in seen:
            part[:-1], part[-1] = seen[weight].flatten(), 1
    torch.distributed.all_reduce(flat, group=process_group)
    found = {}
    for (weight, shape), part in zip(shapes.items(), flat.split(sizes), strict=True):
        if part[-1] > 0:
            mean = (part[:-1] / part[-1]).reshape(shape)
            found[weight] = mean.to(weight.device, wide_dtype(weight.dtype))
    return found


def average_of_ranks(numbers: Sequence[float], process_group: Any) -> list[float]:
    """Return the means over ranks of a few numbers, themselves without ranks."""
    if process_group is None:
        return list(numbers)
    total = torch.tensor(numbers, dtype=torch.float64)
    if torch.distributed.get_backend(process_group) == "nccl":
        total = total.cuda()
    torch.distributed.all_reduce(total, group=process_group)
    return (total / torch.distributed.get_world_size(process_group)).tolist()
