"""The ten things that an edge of a cell may do to images (n, c, h, w): the eight of Liu et al.
2019, 3.1, and plain convolutions, 3 × 3 and 5 × 5.

With stride 1 all keep the shape; with stride 2 sides are halved, odd ones rounded up. Convolutions
are in the order ReLU, convolution, normalisation. Pools are normalised too, so that no operation
is favoured for the size of what it gives.
"""

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

Norm = Callable[[int], nn.Module]  # of the channels
Build = Callable[[int, int, Norm], nn.Module]  # of channels, stride, and how to normalise

# Of a mixture: no weights, which could undo what α says of an operation (there, A.1), and always
# the batch's own mean and variance.
MIXED_NORM: Norm = partial(nn.BatchNorm2d, affine=False, track_running_stats=False)


class Zero(nn.Module):
    """Nothing comes through."""

    def __init__(self, stride: int) -> None:
        super().__init__()
        self.stride = stride

    def forward(self, x: Tensor) -> Tensor:
        return torch.zeros_like(x[:, :, :: self.stride, :: self.stride])


class FactorisedReduction(nn.Module):
    """Half of the sides by two 1 × 1 convolutions, of which one sees the even places, one the odd;
    each makes half of the channels `out`, which are two at least."""

    def __init__(self, channels: int, out: int, norm: Norm) -> None:
        super().__init__()
        self.even = nn.Conv2d(channels, out // 2, 1, 2, bias=False)
        self.odd = nn.Conv2d(channels, out - out // 2, 1, 2, bias=False)
        self.norm = norm(out)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(x)
        return self.norm(torch.cat([self.even(x), self.odd(one_further(x))], 1))


def one_further(x: Tensor) -> Tensor:
    """Return x moved up and to the left by a place, zeros coming in."""
    return F.pad(x, (0, 1, 0, 1))[:, :, 1:, 1:]


def _convolution(
    channels: int, stride: int, norm: Norm, *, size: int, separate: bool = False, dilation: int = 1
) -> nn.Sequential:
    """separate: each channel by itself first, then all of them at each place."""
    padding = dilation * (size - 1) // 2
    layers: list[nn.Module] = [
        nn.Conv2d(
            *(channels, channels, size, stride, padding, dilation),
            groups=channels if separate else 1,
            bias=False,
        )
    ]
    if separate:
        layers.append(nn.Conv2d(channels, channels, 1, bias=False))
    return nn.Sequential(nn.ReLU(), *layers, norm(channels))


def _twice_separable(channels: int, stride: int, norm: Norm, *, size: int) -> nn.Sequential:
    """The stride is the first one's."""
    strides = (stride, 1)
    return nn.Sequential(
        *(_convolution(channels, s, norm, size=size, separate=True) for s in strides)
    )


def _pool(channels: int, stride: int, norm: Norm, *, kind: Callable[..., nn.Module]) -> nn.Module:
    return nn.Sequential(kind(3, stride, 1), norm(channels))


def _skip(channels: int, stride: int, norm: Norm) -> nn.Module:
    return nn.Identity() if stride == 1 else FactorisedReduction(channels, channels, norm)


NONE, SKIP = "none", "skip"
AVERAGE, MAXIMUM = "average_pool_3x3", "max_pool_3x3"
OPERATIONS: dict[str, Build] = {
    NONE: lambda channels, stride, norm: Zero(stride),
    SKIP: _skip,
    "conv_3x3": partial(_convolution, size=3),
    "conv_5x5": partial(_convolution, size=5),
    "dilated_3x3": partial(_convolution, size=3, separate=True, dilation=2),
    "dilated_5x5": partial(_convolution, size=5, separate=True, dilation=2),
    "separable_3x3": partial(_twice_separable, size=3),
    "separable_5x5": partial(_twice_separable, size=5),
    AVERAGE: partial(_pool, kind=partial(nn.AvgPool2d, count_include_pad=False)),
    MAXIMUM: partial(_pool, kind=nn.MaxPool2d),
}
NAMES = tuple(OPERATIONS)  # the order of the columns of α
