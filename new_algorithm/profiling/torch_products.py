"""Floating-point operations of the products among torch's operators, from the shapes of a trace.

torch's own count in a trace knows neither the backward pass of convolutions nor attention in one
operator, and adds elementwise work.
"""

from collections.abc import Callable, Sequence
from math import prod
from typing import Any, NamedTuple

from torch.utils.flop_counter import sdpa_backward_flop_count, sdpa_flop_count

from new_algorithm.profiling.products import product

Shapes = Sequence[Sequence[int]]


class Products(NamedTuple):
    """flops, and the shape of the one product (n, k) (k, m) that they are, or are like."""

    flops: int
    shape: tuple[int, int, int]


def _matrix(shapes: Shapes, _: Any) -> Products:
    """(…, n, k) and (…, k, m), batches as further rows."""
    (*rows, k), m = shapes[-2], shapes[-1][-1]
    return Products(product(prod(rows), k, m), (prod(rows), k, m))


def _added(shapes: Shapes, given: Any) -> Products:
    return _matrix(shapes[1:3], given)


def convolution(shapes: Shapes, given: Sequence[Any]) -> Products:
    """x (n, c, …), weights (c', c/groups, …); given: the arguments, of which stride, padding and
    dilation come after the bias. Every place of the output is a row of the product."""
    x, weight = shapes[:2]
    stride, padding, dilation = given[3:6]
    sizes = [
        (size + 2 * _at(padding, i) - _at(dilation, i) * (kernel - 1) - 1) // _at(stride, i) + 1
        for i, (size, kernel) in enumerate(zip(x[2:], weight[2:], strict=True))
    ]
    return _of_convolution([x[0], weight[0], *sizes], weight, 1)


def convolution_backward(shapes: Shapes, given: Sequence[Any]) -> Products:
    """Gradients (n, c', …) of the output, x, weights; given: the arguments, the last of which says
    whether those of x, weights and bias are wanted."""
    return _of_convolution(shapes[0], shapes[2], sum(map(bool, given[-1][:2])))


def _of_convolution(output: Sequence[int], weight: Sequence[int], times: int) -> Products:
    shape = output[0] * prod(output[2:]), prod(weight[1:]), output[1]
    return Products(times * product(*shape), shape)


def _at(values: Sequence[int], place: int) -> int:
    return values[place] if len(values) > 1 else values[0]


def _attention(shapes: Shapes, _: Any) -> Products:
    q, k, v = shapes[:3]
    return Products(sdpa_flop_count(q, k, v), (prod(q[:-1]), q[-1], k[-2]))


def _attention_backward(shapes: Shapes, _: Any) -> Products:
    q, k = shapes[1:3]
    return Products(sdpa_backward_flop_count(*shapes[:4]), (prod(q[:-1]), q[-1], k[-2]))


COUNTS: dict[str, Callable[[Shapes, Any], Products]] = {
    "aten::mm": _matrix,
    "aten::bmm": _matrix,
    "aten::addmm": _added,
    "aten::baddbmm": _added,
    "aten::convolution": convolution,
    "aten::convolution_backward": convolution_backward,
}
for _kind in ("flash_attention", "flash_attention_for_cpu", "efficient_attention"):
    COUNTS[f"aten::_scaled_dot_product_{_kind}"] = _attention
    COUNTS[f"aten::_scaled_dot_product_{_kind}_backward"] = _attention_backward


def products_of(name: str, shapes: Shapes, given: Any) -> Products | None:
    """Return what an operator multiplies; None where it has no product that is counted."""
    count = COUNTS.get(name)
    return None if count is None else count(shapes, given)
