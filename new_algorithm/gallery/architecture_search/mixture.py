"""All operations on all edges out of a node at once.

An edge is Σ_o p_o · o(x), p the softmax of its α (Liu et al. 2019, equation 2). Written as it
reads, a cell of four nodes has 14 edges with ten modules each, hundreds of small kernels. What the
edges out of a node have in common is done once here, what differs by weights alone side by side:

    ReLU and both pools, which have no weights, once for all edges
    a depthwise convolution D followed by a pointwise one P: the one convolution P_oi · D_i
    convolutions of one size, of all edges: one, with that many times the channels
    all normalisations: one, whose scale of a channel is the p_o of its operation and edge

It is the same function (tests hold it to the modules of operations.py), with fewer and larger
kernels, and its second derivatives are not those of grouped convolutions, which go group by group.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from new_algorithm.gallery.architecture_search.operations import (
    AVERAGE,
    MAXIMUM,
    MIXED_NORM,
    NAMES,
    OPERATIONS,
    SKIP,
    one_further,
)


class EdgesFromNode(nn.Module):
    """The mixed operations on `edges` edges out of a node: x (n, c, h, w), p (edges, operations) →
    (n, edges, c, h', w').

    Parameters go by the operation and their place in it, "separable_3x3:1", each with the edges as
    a first dimension: those of `OPERATIONS[name]` with a first index.
    """

    def __init__(self, channels: int, stride: int, edges: int) -> None:
        super().__init__()
        self.channels, self.stride, self.edges = channels, stride, edges
        self.weights = nn.ParameterDict()
        for name, build in OPERATIONS.items():
            copies = [build(channels, stride, MIXED_NORM).parameters() for _ in range(edges)]
            for place, same in enumerate(zip(*copies, strict=True)):
                self.weights[f"{name}:{place}"] = nn.Parameter(torch.stack(same).detach())

    def forward(self, x: Tensor, p: Tensor) -> Tensor:
        active = F.relu(x)
        plain_3, once_3 = self._convolve(active, 3, self._plain(3), self._separable(3, 0))
        plain_5, once_5 = self._convolve(active, 5, self._plain(5), self._separable(5, 0))
        once = F.relu(_normalise(torch.cat([once_3, once_5], 1))).chunk(2, 1)
        found = {
            "conv_3x3": plain_3,
            "conv_5x5": plain_5,
            "dilated_3x3": self._convolve(active, 3, self._composed("dilated_3x3"), dilation=2)[0],
            "dilated_5x5": self._convolve(active, 5, self._composed("dilated_5x5"), dilation=2)[0],
            "separable_3x3": self._again(once[0], 3),
            "separable_5x5": self._again(once[1], 5),
        }
        if self.stride > 1:
            found[SKIP] = self._reduced(active)
        shares = torch.stack([p[:, NAMES.index(name)] for name in found])  # (operations, edges)
        mixed = _normalise(torch.cat(list(found.values()), 1), self._of_channels(shares))
        mixed = mixed.unflatten(1, (len(found), self.edges, self.channels)).sum(1)
        return mixed + self._without_weights(x, p)

    def _without_weights(self, x: Tensor, p: Tensor) -> Tensor:
        """The pools, and with stride 1 the skip connection: the same for all edges but for p."""
        average = F.avg_pool2d(x, 3, self.stride, 1, count_include_pad=False)
        pools = _normalise(torch.cat([average, F.max_pool2d(x, 3, self.stride, 1)], 1)).chunk(2, 1)
        found = {AVERAGE: pools[0], MAXIMUM: pools[1]} | ({SKIP: x} if self.stride == 1 else {})
        shares = torch.stack([p[:, NAMES.index(name)] for name in found])
        return torch.einsum("onchw,oe->nechw", torch.stack(list(found.values())), shares)

    def _plain(self, size: int) -> Tensor:
        return self.weights[f"conv_{size}x{size}:0"]

    def _separable(self, size: int, time: int) -> Tensor:
        return self._composed(f"separable_{size}x{size}", 2 * time)

    def _composed(self, name: str, place: int = 0) -> Tensor:
        """Kernels (edges, c, c, size, size) of a depthwise and the following pointwise one."""
        depthwise, pointwise = (self.weights[f"{name}:{place + i}"] for i in range(2))
        return pointwise * depthwise.transpose(1, 2)

    def _convolve(
        self, x: Tensor, size: int, *kernels: Tensor, dilation: int = 1
    ) -> tuple[Tensor, ...]:
        """Return (n, edges · c, h', w') of each of the kernels (edges, c, c, size, size)."""
        padding = dilation * (size - 1) // 2
        kernel = torch.cat(kernels).flatten(0, 1)
        return F.conv2d(x, kernel, None, self.stride, padding, dilation).chunk(len(kernels), 1)

    def _again(self, once: Tensor, size: int) -> Tensor:
        """The second half of a separable convolution, of each edge by itself."""
        kernel = self._separable(size, 1).flatten(0, 1)
        return F.conv2d(once, kernel, None, 1, size // 2, groups=self.edges)

    def _reduced(self, active: Tensor) -> Tensor:
        """Factorised reductions (n, edges · c, h', w')."""
        halves = [
            F.conv2d(seen, self.weights[f"{SKIP}:{i}"].flatten(0, 1), None, 2)
            for i, seen in enumerate((active, one_further(active)))
        ]
        split = [half.unflatten(1, (self.edges, -1)) for half in halves]
        return torch.cat(split, 2).flatten(1, 2)

    def _of_channels(self, shares: Tensor) -> Tensor:
        """Return (operations · edges · c,), the p of every channel."""
        return shares.flatten().repeat_interleave(self.channels)


def _normalise(x: Tensor, scale: Tensor | None = None) -> Tensor:
    """Return x with mean 0 and variance 1 in each channel, as BatchNorm in training; · scale."""
    zeros = None if scale is None else torch.zeros_like(scale)
    return F.batch_norm(x, None, None, scale, zeros, training=True)
