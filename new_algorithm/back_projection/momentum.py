"""Weights that move with momentum, and can go back to where they were last known to be good.

    V ← μ V + η δW̃,   W̃ ← W̃ + share · V

η, which depends on the batch, is within the velocity, so that a batch with a large δW̃ weighs no
more in it than others. The share is the schedule's.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from new_algorithm.back_projection.layer_stack import LayerStack


class MovingWeights:
    """stack: W̃. velocity: V. last_good: the weights of the last `keep`, at first those given."""

    def __init__(self, layers: Sequence[NDArray], momentum: float) -> None:
        self.stack, self.last_good = LayerStack.of(layers), LayerStack.of(layers)
        self.velocity = self.stack.zeros_like()
        self._momentum = momentum

    @property
    def layers(self) -> list[NDArray]:
        """The layers, views of the stack."""
        return self.stack.layers

    def step(self, changes: LayerStack, length: float, share: float) -> None:
        """Move all layers, in place."""
        _step(self.stack, self.velocity, changes, self._momentum, length, share)

    def step_layer(self, changes: LayerStack, length: float, share: float, index: int) -> None:
        """Move one layer alone."""
        parts = (stack.part(index) for stack in (self.stack, self.velocity, changes))
        _step(*parts, self._momentum, length, share)

    def keep(self) -> None:
        """Let these be the weights to go back to."""
        self.last_good.flat[:] = self.stack.flat

    def go_back(self) -> None:
        """Return to the last good weights, at rest."""
        self.stack.flat[:] = self.last_good.flat
        self.velocity.flat[:] = 0

    def moved_furthest(self) -> int:
        """Return the layer, from 1, whose step is the largest beside its weights."""
        pairs = zip(self.velocity.layers, self.layers, strict=True)
        ratios = [np.linalg.norm(v) / max(np.linalg.norm(w), 1e-30) for v, w in pairs]
        return int(np.argmax(ratios)) + 1

    def turn_first_layer(self, rotation: NDArray) -> None:
        """Give the first layer in the coordinates of another basis, rotation (d, d) of the old."""
        for stack in (self.stack, self.velocity, self.last_good):
            stack.layers[0][:] = rotation @ stack.layers[0]

    def arrays(self) -> dict[str, NDArray]:
        """Return all that `restore` needs."""
        stacks = {"weights": self.stack, "velocity": self.velocity, "last_good": self.last_good}
        return {name: stack.flat for name, stack in stacks.items()}

    def restore(self, arrays: dict[str, NDArray]) -> None:
        """Be again what `arrays` was asked of."""
        for name, flat in self.arrays().items():
            flat[:] = arrays[name]


def _step(
    weights: LayerStack,
    velocity: LayerStack,
    changes: LayerStack,
    momentum: float,
    length: float,
    share: float,
) -> None:
    velocity.scale(momentum)
    velocity.add(length, changes)
    weights.add(share, velocity)
