"""Training by layers: each makes a weight change of its own inputs H̃ and residual Δ.

The residuals are those of back-propagation, Δ_L = R and Δ_{l−1} = (Δ_l W_lᵀ) ⊙ 1[Z_{l−1} > 0], so
that H̃ᵀΔ/n is minus the gradient in W̃. The arrays hold Δ/n.
"""

from collections.abc import Callable, Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from datasets.batches import RowsInMemory
from new_algorithm.back_projection.layer_problem import times_transpose
from new_algorithm.back_projection.layer_stack import LayerStack
from new_algorithm.back_projection.losses import Loss
from new_algorithm.back_projection.relu_targets import mask
from new_algorithm.back_projection.schedule import SCHEDULES
from new_algorithm.back_projection.workspace import Workspace
from new_algorithm.cli.errors import DivergedError
from new_algorithm.methods.method import Problem

# (layer from 0, H̃ (n, d_in + 1), Δ/n (n, d_out), where δW̃ goes (d_in + 1, d_out))
Change = Callable[[int, NDArray, NDArray, NDArray], None]


class Moving(Protocol):
    """Weights that move along changes; `MovingWeights`, with heavy-ball momentum, is one."""

    @property
    def layers(self) -> list[NDArray]: ...

    def step(self, changes: LayerStack, length: float, share: float) -> None: ...


def layer_residuals(
    layers: Sequence[NDArray], workspace: Workspace, targets: NDArray, loss: Loss
) -> list[NDArray]:
    """Return Δ_1/n … Δ_L/n of the batch in `workspace.inputs`, valid until the next call.

    `workspace.activations` are the H̃_0 … H̃_{L−1} that belong to them.
    """
    residual = loss.residual(workspace.forward(layers), targets)
    residual /= len(residual)
    wanted = [*workspace.wanted, residual]
    for index in range(len(layers) - 1, 0, -1):
        times_transpose(wanted[index], layers[index][:-1], wanted[index - 1])
        mask(wanted[index - 1], workspace.hidden[index - 1])
    return wanted


class LayerwiseTraining:
    """Epochs of shuffled minibatches, each a step of share · lr along the changes of all layers.

    The share is that of the schedule, by default that of all methods here: up to 1 over 30% of the
    steps, then down to 0.
    """

    def __init__(
        self,
        problem: Problem,
        batch_size: int,
        lr: float,
        move: Callable[[Sequence[NDArray]], Moving],
        change: Change,
        schedule: str = "warm-up-decay",
        redraw: Callable[[np.random.Generator, Sequence[NDArray]], None] | None = None,
    ) -> None:
        """redraw: draws the initial weights anew, where a paper has others."""
        data = problem.data
        self._rng, layers = problem.start()
        if redraw is not None:
            redraw(self._rng, layers)
        self._rows = RowsInMemory(data.x_train, data.y_train)
        self._size = min(batch_size, len(self._rows))
        self._iteration, self._iterations = 0, problem.epochs * (len(self._rows) // self._size)
        self._loss, self._lr, self._change = problem.loss(), lr, change
        self._moving, self._schedule = move(layers), SCHEDULES[schedule]
        self._changes = LayerStack.of(layers).zeros_like()
        self._workspace = Workspace(self._size, layers)
        self._workspace.inputs = np.ones((self._size, len(layers[0])), np.float32)  # X̃ of a batch

    @property
    def layers(self) -> list[NDArray]:
        return self._moving.layers

    def epoch(self) -> None:
        """Go once over the training rows. DivergedError where a layer cannot be solved."""
        for [(inputs, targets)] in self._rows.batches(self._rng, self._size):
            self._workspace.inputs[:, :-1] = inputs
            self._fill_changes(targets)
            share = self._schedule(self._iteration, self._iterations)
            self._moving.step(self._changes, self._lr, share)
            self._iteration += 1

    def _fill_changes(self, targets: NDArray) -> None:
        wanted = layer_residuals(self.layers, self._workspace, targets, self._loss)
        trios = zip(self._workspace.activations, wanted, self._changes.layers, strict=True)
        for index, (inputs, residual, out) in enumerate(trios):
            try:
                self._change(index, inputs, residual, out)
            except np.linalg.LinAlgError as error:
                raise DivergedError(
                    f"layer {index + 1}, iteration {self._iteration + 1}: {error}; try a smaller lr"
                ) from error
