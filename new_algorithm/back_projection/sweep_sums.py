"""What a sweep needs of its rows, as sums: it adds up over chunks of rows, and over machines.

    Σ 1 and Σ loss;   H̃ᵀΔ of each layer;   H̃ᵀH̃ of each layer whose solver asks for it

Sums are kept in float64, so that they do not depend on how many chunks they came in. On their way
between processes they are of the weights' type, and of each symmetric H̃ᵀH̃ one triangle.
"""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from new_algorithm.back_projection.layer_stack import LayerStack

AllSum = Callable[[NDArray], None]  # adds up a vector over all processes, in place


class SweepSums:
    """rows: n. losses: n times the mean loss. moments: n M_l (d_l + 1, d_{l+1}). grams: H̃ᵀH̃ (d, d)
    of each layer; of those that are not wanted, None.
    """

    def __init__(self, weights: LayerStack) -> None:
        self.rows, self.losses = 0, 0.0
        self.moments = LayerStack.of([layer.astype(np.float64) for layer in weights.layers])
        self._all_grams = [np.zeros((len(layer), len(layer))) for layer in weights.layers]
        self.grams: list[NDArray | None] = []
        self._dtype = weights.flat.dtype

    def clear(self, grams_wanted: list[bool]) -> None:
        """Begin again, with the Gram matrices of these layers."""
        self.rows, self.losses = 0, 0.0
        self.moments.flat[:] = 0
        pairs = zip(self._all_grams, grams_wanted, strict=True)
        self.grams = [gram if wanted else None for gram, wanted in pairs]
        for gram in self.grams:
            if gram is not None:
                gram[:] = 0

    def reduce(self, all_sum: AllSum) -> None:
        """Add up over all processes."""
        counts = np.array([self.rows, self.losses])
        all_sum(counts)
        self.rows, self.losses = int(counts[0]), float(counts[1])

        grams = [gram for gram in self.grams if gram is not None]
        triangles = [np.triu_indices(len(gram)) for gram in grams]
        parts = [self.moments.flat]
        parts += [gram[upper] for gram, upper in zip(grams, triangles, strict=True)]
        with np.errstate(over="ignore"):  # what is beyond float32 is found and named afterwards
            payload = np.concatenate(parts).astype(self._dtype)
        all_sum(payload)
        received = np.split(payload, np.cumsum([part.size for part in parts])[:-1])
        self.moments.flat[:] = received[0]
        for gram, upper, values in zip(grams, triangles, received[1:], strict=True):
            gram[upper] = values
            gram.T[upper] = values
