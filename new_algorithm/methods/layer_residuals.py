"""Layerwise training: each layer's weight change follows from its inputs H̃ and residual Δ.

The residuals are those of back-propagation, Δ_L = R and Δ_{l−1} = (Δ_l W_lᵀ) ⊙ 1[Z_{l−1} > 0], so
that H̃ᵀΔ/n is minus the gradient in W̃. The arrays hold Δ/n.
"""

from collections.abc import Callable, Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from datasets.batches import RowsInMemory
from new_algorithm.back_projection.layer_problem import times_transpose
from new_algorithm.back_projection.losses import Loss
from new_algorithm.back_projection.network import FlatParameters, Workspace, mask
from new_algorithm.back_projection.schedule import SCHEDULES
from new_algorithm.cli.errors import DivergedError
from new_algorithm.methods.method import Problem

# (layer from 0, H̃ (n, d_in + 1), Δ/n (n, d_out), array for δW̃ (d_in + 1, d_out))
Change = Callable[[int, NDArray, NDArray, NDArray], None]


class Stepper(Protocol):
    """Weights W̃ of all layers, moved along changes that stand for minus the gradient."""

    @property
    def weights(self) -> list[NDArray]: ...

    def step(self, changes: FlatParameters, lr: float, scale: float) -> None: ...


def layer_residuals(
    weights: Sequence[NDArray], workspace: Workspace, targets: NDArray, loss: Loss
) -> list[NDArray]:
    """Return Δ_1/n … Δ_L/n of the batch in `workspace.inputs`, valid until the next call.

    Afterwards `workspace.activations` are its H̃_0 … H̃_{L−1}.
    """
    residual = loss.residual(workspace.forward(weights), targets)
    residual /= len(residual)
    deltas = [*workspace.deltas, residual]
    for index in range(len(weights) - 1, 0, -1):
        times_transpose(deltas[index], weights[index][:-1], deltas[index - 1])
        mask(deltas[index - 1], workspace.hidden[index - 1])
    return deltas


class LayerwiseTraining:
    """Epochs of shuffled minibatches, each a step of scale · lr along the changes of all layers.

    The scale is the schedule's, by default up to 1 over 30% of the steps, then down to 0.
    """

    def __init__(
        self,
        problem: Problem,
        batch_size: int,
        lr: float,
        stepper: Callable[[Sequence[NDArray]], Stepper],
        change: Change,
        schedule: str = "warm-up-decay",
        redraw: Callable[[np.random.Generator, Sequence[NDArray]], None] | None = None,
    ) -> None:
        """redraw: replaces the initial weights, in place, by those of a paper."""
        data = problem.data
        self._rng, weights = problem.start()
        if redraw is not None:
            redraw(self._rng, weights)
        self._rows = RowsInMemory(data.x_train, data.y_train)
        self._size = min(batch_size, len(self._rows))
        self._iteration, self._iterations = 0, problem.epochs * (len(self._rows) // self._size)
        self._loss, self._lr, self._change = problem.loss, lr, change
        self._stepper, self._schedule = stepper(weights), SCHEDULES[schedule]
        self._changes = FlatParameters.of(weights).zeros_like()
        self._workspace = Workspace(self._size, weights)
        self._workspace.inputs = np.ones((self._size, len(weights[0])), np.float32)  # X̃ of a batch

    @property
    def weights(self) -> list[NDArray]:
        return self._stepper.weights

    def epoch(self) -> None:
        """Go once over the training rows. DivergedError where a layer cannot be solved."""
        for [(inputs, targets)] in self._rows.batches(self._rng, self._size):
            self._workspace.inputs[:, :-1] = inputs
            self._fill_changes(targets)
            scale = self._schedule(self._iteration, self._iterations)
            self._stepper.step(self._changes, self._lr, scale)
            self._iteration += 1

    def _fill_changes(self, targets: NDArray) -> None:
        deltas = layer_residuals(self.weights, self._workspace, targets, self._loss)
        trios = zip(self._workspace.activations, deltas, self._changes.matrices, strict=True)
        for index, (inputs, delta, out) in enumerate(trios):
            try:
                self._change(index, inputs, delta, out)
            except np.linalg.LinAlgError as error:
                raise DivergedError(
                    f"layer {index + 1}, iteration {self._iteration + 1}: {error}; try a smaller lr"
                ) from error
