"""The cost of one iteration beside that of stochastic gradient descent written out in NumPy."""

import time
from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from new_algorithm.back_projection.eigenbasis import Eigenbasis
from new_algorithm.back_projection.layer_solvers import (
    EigenbasisSolver,
    FactoredSolver,
    LayerSolver,
    Penalties,
)
from new_algorithm.back_projection.losses import SOFTMAX
from new_algorithm.back_projection.momentum import MovingWeights
from new_algorithm.back_projection.moving_gram import MovingGram, intervals
from new_algorithm.back_projection.network import initial_weights
from new_algorithm.back_projection.passes import WholePass
from new_algorithm.back_projection.relu_targets import mask
from new_algorithm.back_projection.step_control import TrustRegion
from new_algorithm.back_projection.sweep import Sweep
from new_algorithm.back_projection.workspace import Workspace
from new_algorithm.n_layer_relu_data import (
    HIDDEN_LAMBDA_W,
    JUDGED_EVERY,
)

MOMENTUM = 0.9
SHARE = 1e-6  # so small a step that the weights stay what they are


def random_batch(widths: Sequence[int], rows: int) -> tuple[NDArray, NDArray, MovingWeights]:
    """Return inputs (rows, widths[0]), labels, and weights whose first layer has no bias row."""
    rng = np.random.default_rng(0)
    inputs = rng.standard_normal((rows, widths[0])).astype(np.float32)
    layers = initial_weights(rng, widths)
    layers[0] = layers[0][:-1]
    return inputs, rng.integers(0, widths[-1], rows), MovingWeights(layers, MOMENTUM)


def back_projection_step(widths: Sequence[int], rows: int) -> Callable[[], None]:
    """Return an iteration of n_layer_relu_data.py with its defaults, all judgements included."""
    inputs, labels, weights = random_batch(widths, rows)
    control, batch = TrustRegion(), [(np.empty_like(inputs), labels)]
    gram_every, factor_every = intervals(rows, [layer.shape for layer in weights.layers])
    rank = widths[0]  # eigenvalues of one, undamped: what counts is the cost, not the result
    basis = Eigenbasis(np.eye(rank, dtype=np.float32), np.ones(rank, np.float32), 1.0, 1.0)
    solvers: list[LayerSolver] = [EigenbasisSolver(basis, Penalties(0.0))]
    solvers += [
        FactoredSolver(Penalties(HIDDEN_LAMBDA_W), MovingGram(0.9), gram_every, factor_every)
        for _ in weights.layers[1:]
    ]
    sweep = Sweep(weights.stack, solvers, mask, pass_left=False)
    passes = WholePass(sweep, Workspace(rows, weights.layers), SOFTMAX)
    iteration = 0

    def step() -> None:
        nonlocal iteration
        np.copyto(batch[0][0], inputs)
        judged = iteration % JUDGED_EVERY == 0
        before = passes.sweep(weights.layers, batch, control.damping, with_loss=judged)
        weights.step(sweep.changes, control.length(sweep.slope), SHARE)
        if judged:
            predicted = SHARE * weights.velocity.inner(sweep.moments)
            control.judge(predicted, before, passes.loss(weights.layers, batch), SHARE)
            weights.keep()
        iteration += 1

    return step


def gradient_step(widths: Sequence[int], rows: int) -> Callable[[], None]:
    """Return an iteration of SGD with momentum on the same shapes, in place, the same arrays."""
    inputs, labels, weights = random_batch(widths, rows)
    gradient = weights.stack.zeros_like()
    workspace = Workspace(rows, weights.layers)

    def step() -> None:
        np.copyto(workspace.inputs, inputs)
        output = workspace.forward(weights.layers)
        delta = SOFTMAX.residual(output, labels)
        delta *= 1 / rows
        activations = workspace.activations
        for index in reversed(range(len(weights.layers))):
            np.matmul(activations[index].T, delta, out=gradient.layers[index])
            if index:
                below = workspace.wanted[index - 1]
                np.matmul(delta, weights.layers[index][:-1].T, out=below)
                np.multiply(below, activations[index][:, :-1] > 0, out=below)
                delta = below
        weights.step(gradient, 1.0, SHARE)

    return step


def cost_ratio(
    widths: Sequence[int], rows: int, iterations: int = 300, repeats: int = 7
) -> tuple[float, float]:
    """Return CPU seconds of a gradient step, and how many of them a back-projection step takes.

    The two take turns, and the median of the ratios is taken: the machine's noise hits both.
    """
    steps = gradient_step(widths, rows), back_projection_step(widths, rows)
    for step in steps:  # first touches of memory, and the early factorisations
        _seconds(step, iterations)
    times = np.array([[_seconds(step, iterations) for step in steps] for _ in range(repeats)])
    return float(np.median(times[:, 0])), float(np.median(times[:, 1] / times[:, 0]))


def _seconds(step: Callable[[], None], iterations: int) -> float:
    start = time.process_time()
    for _ in range(iterations):
        step()
    return (time.process_time() - start) / iterations
