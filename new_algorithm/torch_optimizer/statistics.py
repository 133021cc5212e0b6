"""Gram matrices of what a layer sees, and their sum until the next step.

A call of a layer with rows h̃ shows G = H̃ᵀH̃/n. Over the backward passes of one step the mean is
taken; over several uses of a weight within one pass the sum, since a change of the weight acts in
each of them.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
import torch.distributed
from torch import Tensor

GRAM, OUTPUT_GRAM = "gram", "output_gram"
Key = tuple[str, Tensor]  # which of the two, and of which weight


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
    """What the uses of one weight have shown since the last step: Σ G over all of them, and how
    many backward passes they were in."""

    def __init__(self) -> None:
        self._total: Tensor | None = None
        self._passes = 0
        self._last_pass: int | None = None

    def take(self, found: Tensor, weight: Tensor) -> None:
        """Count a call, from within a backward pass, before that changes the weight's gradient."""
        this_pass = torch._C._current_graph_task_id()
        if this_pass != self._last_pass:
            if weight.grad is None:  # nothing yet, or all of it discarded
                self._total, self._passes = None, 0
            self._passes, self._last_pass = self._passes + 1, this_pass
        self._total = found if self._total is None else self._total + found

    @property
    def mean(self) -> Tensor:
        assert self._total is not None
        return self._total / self._passes


def keys_not_finite(found: Mapping[Key, Tensor]) -> list[Key]:
    """Return the keys of Gram matrices with entries that are not finite; a GPU is waited for once.

    |G_ij| ≤ √(G_ii G_jj), so that the diagonals tell.
    """
    if not found:
        return []
    are_finite = [one.diagonal(dim1=-2, dim2=-1).isfinite().all() for one in found.values()]
    together = torch.stack([one.to(are_finite[0].device) for one in are_finite])
    return [key for key, is_finite in zip(found, together.tolist(), strict=True) if not is_finite]


def average_over_ranks(
    found: Mapping[Key, Tensor], shapes: Mapping[Key, tuple[int, ...]], process_group: Any
) -> dict[Key, Tensor]:
    """Return the means over the ranks that found one, by one flat all-reduce.

    shapes: of all that any rank may have found, in the same order everywhere.
    """
    if not shapes:
        return {}
    (_, some), *_ = shapes
    sizes = [torch.Size(shape).numel() + 1 for shape in shapes.values()]  # G, and 1 if there is one
    flat = torch.zeros(sum(sizes), dtype=wide_dtype(some.dtype), device=some.device)
    for key, part in zip(shapes, flat.split(sizes), strict=True):
        if key in found:
            part[:-1], part[-1] = found[key].flatten(), 1
    torch.distributed.all_reduce(flat, group=process_group)
    means = {}
    for (key, shape), part in zip(shapes.items(), flat.split(sizes), strict=True):
        if part[-1] > 0:
            mean = (part[:-1] / part[-1]).reshape(shape)
            means[key] = mean.to(key[1].device, wide_dtype(key[1].dtype))
    return means


def average_of_ranks(numbers: Sequence[float], process_group: Any) -> list[float]:
    """Return the means over ranks of a few numbers, themselves without ranks."""
    if process_group is None:
        return list(numbers)
    total = torch.tensor(numbers, dtype=torch.float64)
    if torch.distributed.get_backend(process_group) == "nccl":
        total = total.cuda()
    torch.distributed.all_reduce(total, group=process_group)
    return (total / torch.distributed.get_world_size(process_group)).tolist()
