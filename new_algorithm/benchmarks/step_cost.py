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
from new_algorithm.back_projection.layer_stack import LayerStack
from new_algorithm.back_projection.losses import SOFTMAX
from new_algorithm.back_projection.moving_gram import MovingGram, intervals
from new_algorithm.back_projection.network import initial_weights
from new_algorithm.back_projection.relu_targets import mask
from new_algorithm.back_projection.step_control import TrustRegion
from new_algorithm.back_projection.sweep import Sweep
from new_algorithm.back_projection.workspace import Workspace
from new_algorithm.n_layer_relu_data import (
    HIDDEN_LAMBDA_W,
    JUDGED_EVERY,
    momentum_step,
)

MOMENTUM = 0.9
SHARE = 1e-6  # so small a step that the weights stay what they are


def random_batch(widths: Sequence[int], rows: int) -> tuple[NDArray, NDArray, LayerStack]:
    """Return inputs (rows, widths[0]), labels, and weights whose first layer has no bias row."""
    rng = np.random.default_rng(0)
    inputs = rng.standard_normal((rows, widths[0])).astype(np.float32)
    layers = initial_weights(rng, widths)
    layers[0] = layers[0][:-1]
    return inputs, rng.integers(0, widths[-1], rows), LayerStack.of(layers)


def back_projection_step(widths: Sequence[int], rows: int) -> Callable[[], None]:
    """Return an iteration of n_layer_relu_data.py with its defaults, all judgements included."""
    inputs, labels, weights = random_batch(widths, rows)
    velocity, last_good = weights.zeros_like(), weights.zeros_like()
    workspace, control = Workspace(rows, weights.layers), TrustRegion()
    gram_every, factor_every = intervals(rows, [layer.shape for layer in weights.layers])
    rank = widths[0]  # eigenvalues of one, undamped: what counts is the cost, not the result
    basis = Eigenbasis(np.eye(rank, dtype=np.float32), np.ones(rank, np.float32), 1.0, 1.0)
    solvers: list[LayerSolver] = [EigenbasisSolver(basis, Penalties(0.0))]
    solvers += [
        FactoredSolver(Penalties(HIDDEN_LAMBDA_W), MovingGram(0.9), gram_every, factor_every)
        for _ in weights.layers[1:]
    ]
    sweep = Sweep(weights, solvers, mask, pass_left=False)
    iteration = 0

    def step() -> None:
        nonlocal iteration
        np.copyto(workspace.inputs, inputs)
        output = workspace.forward(weights.layers)
        judged = iteration % JUDGED_EVERY == 0
        if judged:
            before = SOFTMAX.value(output, labels)
            last_good.flat[:] = weights.flat
        sweep.observe(weights.layers, workspace, control.damping)
        sweep(weights.layers, workspace, SOFTMAX.residual(output, labels))
        length = control.length(sweep.slope)
        momentum_step(weights, velocity, sweep.changes, length, MOMENTUM, SHARE)
        if judged:
            predicted = SHARE * velocity.inner(sweep.moments)
            after = SOFTMAX.value(workspace.forward(weights.layers), labels)
            control.judge(predicted, before, after, SHARE)
        iteration += 1

    return step


def gradient_step(widths: Sequence[int], rows: int) -> Callable[[], None]:
    """Return an iteration of SGD with momentum on the same shapes, in place, the same arrays."""
    inputs, labels, weights = random_batch(widths, rows)
    velocity, gradient = weights.zeros_like(), weights.zeros_like()
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
        momentum_step(weights, velocity, gradient, 1.0, MOMENTUM, SHARE)

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
