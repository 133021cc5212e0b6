"""All layers of a network in one vector.

Whatever is done to every weight alike, such as a momentum step, is then one operation on `flat`
instead of one a layer; `layers` are views into it.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.linalg.blas import get_blas_funcs


@dataclass(frozen=True)
class LayerStack:
    """flat: (weights,). layers: W̃_1 … W̃_L, C-contiguous views of it, one after the other."""

    flat: NDArray
    layers: list[NDArray]

    @classmethod
    def of(cls, layers: Sequence[NDArray]) -> "LayerStack":
        """Copy `layers`, which share their type, into one stack."""
        flat = np.concatenate([layer.ravel() for layer in layers])
        ends = np.cumsum([layer.size for layer in layers])
        parts = np.split(flat, ends[:-1])
        return cls(flat, [p.reshape(layer.shape) for p, layer in zip(parts, layers, strict=True)])

    def zeros_like(self) -> "LayerStack":
        """Return a stack of the same shapes, all zero."""
        return LayerStack.of([np.zeros_like(layer) for layer in self.layers])

    def add(self, factor: float, other: "LayerStack") -> None:
        """Self ← self + factor · other, in place and without a temporary."""
        axpy = get_blas_funcs("axpy", (self.flat,))
        axpy(other.flat, self.flat, a=factor)

    def scale(self, factor: float) -> None:
        """Self ← factor · self, in place."""
        np.multiply(self.flat, factor, out=self.flat)

    def inner(self, other: "LayerStack") -> float:
        """Return Σ_l tr(self_lᵀ other_l)."""
        return float(np.vdot(self.flat, other.flat))

    def part(self, index: int) -> "LayerStack":
        """Return layer `index` alone, as a stack that shares its numbers."""
        layer = self.layers[index]
        return LayerStack(layer.reshape(-1), [layer])
