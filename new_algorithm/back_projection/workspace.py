"""The arrays that a sweep over one batch needs, allocated once.

A fresh array of n · d numbers costs more than the ReLU that fills it; these are written again by
every batch of the same n rows.
"""

from collections.abc import Sequence
from copy import copy

import numpy as np
from numpy.typing import NDArray


class Workspace:
    """inputs: H̃_0 (n, rows of W̃_1), written or replaced by the caller. hidden: H̃_1 … H̃_{L−1},
    each (n, d_l + 1) with its column of ones. output: F (n, d_L). wanted: Δ_1 … Δ_{L−1}, each
    (n, d_l).
    """

    def __init__(self, rows: int, layers: Sequence[NDArray]) -> None:
        dtype = layers[0].dtype
        widths = [layer.shape[1] for layer in layers]
        self.inputs = np.empty((rows, len(layers[0])), dtype)
        self.hidden = [np.ones((rows, d + 1), dtype) for d in widths[:-1]]
        self.output = np.empty((rows, widths[-1]), dtype)
        self.wanted = [np.empty((rows, d), dtype) for d in widths[:-1]]
        self._before_relu = [hidden[:, :-1] for hidden in self.hidden]

    @property
    def activations(self) -> list[NDArray]:
        """The layers' inputs H̃_0 … H̃_{L−1}."""
        return [self.inputs, *self.hidden]

    def forward(self, layers: Sequence[NDArray]) -> NDArray:
        """Fill `hidden` and `output` from `inputs`; the output is valid until the next call."""
        below = self.inputs
        for layer, z, hidden in zip(layers[:-1], self._before_relu, self.hidden, strict=True):
            np.matmul(below, layer, out=z)
            np.maximum(hidden, 0, out=hidden)  # the ones stay, and the whole array is contiguous
            below = hidden
        return np.matmul(below, layers[-1], out=self.output)

    def first(self, rows: int) -> "Workspace":
        """Return a workspace of so many rows within this one, without a copy; itself if all."""
        if rows == len(self.output):
            return self
        part = copy(self)
        part.inputs, part.output = self.inputs[:rows], self.output[:rows]
        part.hidden = [hidden[:rows] for hidden in self.hidden]
        part.wanted = [wanted[:rows] for wanted in self.wanted]
        part._before_relu = [z[:rows] for z in self._before_relu]
        return part
