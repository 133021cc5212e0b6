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


def mark_of(weight: Tensor) -> tuple[int, int]:
    """Return what every backward pass changes."""
    grad = weight.grad
    return (0, 0) if grad is None else (id(grad), grad._version)


class Seen:
    """What the uses of one weight have shown since the last step.

    Micro-batches are told apart by what backward passes leave in `.grad` between two calls: earlier
    is Σ G over `batches` of them that are complete, current is Σ G over the calls since.
    """

    def __init__(self) -> None:
        self.clear()

    def clear(self) -> None:
        self.earlier: Tensor | None = None
        self.current: Tensor | None = None
        self.batches = 0
        self._mark: tuple[int, int] | None = None
        self._in_backward = False

    def has_shown(self, weight: Tensor) -> bool:
        """Whether a call of this micro-batch has been seen in its forward pass."""
        is_same = self._mark == mark_of(weight)
        return self.current is not None and is_same and not self._in_backward

    def take(self, weight: Tensor, found: Tensor, in_backward: bool = False) -> None:
        mark = mark_of(weight)
        if self.current is not None and mark == self._mark:
            self.current = self.current + found
            return
        if self.current is not None:
            self.earlier = self.current if self.earlier is None else self.earlier + self.current
            self.batches += 1
        self.current, self._mark, self._in_backward = found.clone(), mark, in_backward

    def discard(self, weight: Tensor) -> None:
        """Forget what belongs to the gradient that the weight is about to lose.

        What a forward pass has shown since the last backward pass belongs to the next gradient.
        """
        waiting = self.current if mark_of(weight) == self._mark else None
        self.clear()
        self.current = waiting

    def mark_again(self, weight: Tensor) -> None:
        """After the gradient is lost: what waits is not told apart from what comes next."""
        if self.current is not None:
            self._mark = mark_of(weight)

    @property
    def mean(self) -> Tensor | None:
        if self.current is None:
            return None
        total = self.current if self.earlier is None else self.earlier + self.current
        return total / (self.batches + 1)


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
