"""Layerwise training: each layer's weight change follows from its inputs H̃ and residual Δ.

The residuals are those of back-propagation, Δ_L = R and Δ_{l−1} = (Δ_l W_lᵀ) ⊙ 1[Z_{l−1} > 0], so
that H̃ᵀΔ/n is minus the gradient in W̃. The arrays hold Δ/n.
"""

from collections.abc import Callable, Iterator, Sequence
from itertools import chain, repeat

import numpy as np
from numpy.typing import NDArray

from new_algorithm.back_projection.layer_problem import times_transpose
from new_algorithm.back_projection.losses import Loss
from new_algorithm.back_projection.network import FlatParameters, Workspace, mask, momentum_step
from new_algorithm.back_projection.rows import RowsInMemory
from new_algorithm.back_projection.schedule import SCHEDULES
from new_algorithm.cli.errors import DivergedError
from new_algorithm.methods.method import Problem, Settings, Weights

# (H̃ (n, d_in + 1), Δ/n (n, d_out), array for δW̃ (d_in + 1, d_out)) of one layer
Change = Callable[[NDArray, NDArray, NDArray], None]
# (changes of all layers, which stand for minus the gradient, lr, scale)
Step = Callable[[FlatParameters, float, float], None]


def gradient(inputs: NDArray, delta: NDArray, out: NDArray) -> None:
    """Write H̃ᵀΔ/n to `out`."""
    np.matmul(inputs.T, delta, out=out)


def heavy_ball(weights: FlatParameters, momentum: float) -> Step:
    """Return steps of these weights along the changes with heavy-ball momentum."""
    velocity = weights.zeros_like()

    def step(changes: FlatParameters, lr: float, scale: float) -> None:
        momentum_step(weights, velocity, changes, momentum=momentum, step_size=lr, lr_scale=scale)

    return step


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


def train_layerwise(
    problem: Problem,
    settings: Settings,
    stepper: Callable[[FlatParameters], Step],
    changes_of: Sequence[Change],
    redraw: Callable[[np.random.Generator, Sequence[NDArray]], None] | None = None,
) -> Iterator[Weights]:
    """Yield the weights after each epoch of shuffled minibatches, each a step of scale · lr.

    settings: batch_size, lr, and schedule, which decides on the scale, by default up to 1 over 30%
    of the steps, then down to 0. stepper: how the weights move. changes_of: of the first layers;
    the others take the gradient. redraw: replaces the initial weights, in place, by those of a
    paper. DivergedError where a layer cannot be solved.
    """
    loss, lr = problem.loss, settings["lr"]
    scale = SCHEDULES[settings.get("schedule", "warm-up-decay")]
    rng, weights = problem.start()
    if redraw is not None:
        redraw(rng, weights)
    rows = RowsInMemory(problem.data.x_train, problem.data.y_train)
    size = min(settings["batch_size"], len(rows))
    iteration, iterations = 0, problem.epochs * (len(rows) // size)
    parameters = FlatParameters.of(weights)
    step, changes = stepper(parameters), parameters.zeros_like()
    workspace = Workspace(size, weights)
    workspace.inputs = np.ones((size, len(weights[0])), np.float32)  # X̃ of a batch
    while True:
        for [(inputs, targets, *_)] in rows.batches(rng, size):
            workspace.inputs[:, :-1] = inputs
            deltas = layer_residuals(parameters.matrices, workspace, targets, loss)
            layers = zip(workspace.activations, deltas, changes.matrices, strict=True)
            of_layers = chain(changes_of, repeat(gradient))
            for number, (change, layer) in enumerate(zip(of_layers, layers, strict=False), start=1):
                try:
                    change(*layer)
                except np.linalg.LinAlgError as error:
                    raise DivergedError(
                        f"layer {number}, iteration {iteration + 1}: {error}; try a smaller lr"
                    ) from error
            step(changes, lr, scale(iteration, iterations))
            iteration += 1
        yield parameters.matrices
