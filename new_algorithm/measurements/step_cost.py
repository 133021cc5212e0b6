"""The cost of one iteration, in steps of stochastic gradient descent written in NumPy."""

import time
from collections.abc import Callable, Sequence
from itertools import product

import numpy as np
from numpy.typing import NDArray

from new_algorithm.back_projection.eigenbasis import Eigenbasis
from new_algorithm.back_projection.losses import SOFTMAX
from new_algorithm.back_projection.network import (
    FlatParameters,
    Workspace,
    initial_weights,
    mask,
    momentum_step,
)
from new_algorithm.back_projection.optimizer import BackProjection
from new_algorithm.back_projection.solvers.of_layers import GRAM_AVERAGE
from new_algorithm.back_projection.step_control import STEP_BOUNDS, control_of_steps
from new_algorithm.methods.back_projection_settings import Settings, solvers_of
from new_algorithm.record.files import Row

SHAPES = {
    "66-512-10": (66, 512, 10),
    "66, 8 x 64, 10": (66, *[64] * 8, 10),
    "66, 20 x 64, 10": (66, *[64] * 20, 10),
    "28, 3 x 256, 2": (28, 256, 256, 256, 2),
}
BATCH_SIZES = (128, 256)
MOMENTUM = 0.9
LR_SCALE = 1e-6  # so small that the weights hardly move


def measure() -> list[Row]:
    """Return, for each shape and batch size, the time of an SGD step and our step's multiple."""
    rows: list[Row] = []
    for (name, widths), batch in product(SHAPES.items(), BATCH_SIZES):
        seconds, ratio = cost_ratio(widths, batch)
        rows.append({"shape": name, "batch": batch, "sgd_step_us": 1e6 * seconds, "ratio": ratio})
    return rows


def random_batch(widths: Sequence[int], rows: int) -> tuple[NDArray, NDArray, list[NDArray]]:
    """Return inputs (rows, widths[0]), labels, and weights whose first layer has no bias row."""
    rng = np.random.default_rng(0)
    inputs = rng.standard_normal((rows, widths[0])).astype(np.float32)
    weights = initial_weights(rng, widths)
    weights[0] = weights[0][:-1]
    return inputs, rng.integers(0, widths[-1], rows), weights


def back_projection(widths: Sequence[int], rows: int) -> tuple[BackProjection, Callable[[], None]]:
    """Return an optimizer with the defaults of n_layer_relu_data.py, and an iteration of it."""
    inputs, labels, weights = random_batch(widths, rows)
    rank = widths[0]  # unit eigenvalues, undamped: they do not affect the cost
    basis = Eigenbasis(np.eye(rank, dtype=np.float32), np.ones(rank, np.float32), 1.0, 1.0)
    settings = Settings(
        lambda_w_layers=(0.0, *[0.1] * (len(weights) - 1)), gram_average=GRAM_AVERAGE
    )
    optimizer = BackProjection(
        weights,
        SOFTMAX,
        solvers_of(settings, basis, weights, rows, in_chunks=False),
        control_of_steps(np.inf, STEP_BOUNDS, settings.step_size),
        chunk_rows=rows,
        momentum=MOMENTUM,
    )
    batch = [(np.empty_like(inputs), labels)]

    def step() -> None:
        np.copyto(batch[0][0], inputs)
        optimizer.step(batch, LR_SCALE)

    return optimizer, step


def gradient_descent(widths: Sequence[int], rows: int) -> tuple[FlatParameters, Callable[[], None]]:
    """Return weights and an iteration of SGD with momentum on them, also in preallocated arrays."""
    inputs, labels, matrices = random_batch(widths, rows)
    weights = FlatParameters.of(matrices)
    velocity, gradient = weights.zeros_like(), weights.zeros_like()
    workspace = Workspace(rows, matrices)

    def step() -> None:
        np.copyto(workspace.inputs, inputs)
        delta = SOFTMAX.residual(workspace.forward(weights.matrices), labels)
        delta *= 1 / rows
        activations = workspace.activations
        for index in reversed(range(len(matrices))):
            np.matmul(activations[index].T, delta, out=gradient.matrices[index])
            if index:
                below = workspace.deltas[index - 1]
                np.matmul(delta, weights.matrices[index][:-1].T, out=below)
                mask(below, activations[index])
                delta = below
        momentum_step(
            weights, velocity, gradient, momentum=MOMENTUM, step_size=1.0, lr_scale=LR_SCALE
        )

    return weights, step


def cost_ratio(
    widths: Sequence[int], rows: int, iterations: int = 300, repeats: int = 7
) -> tuple[float, float]:
    """Return CPU seconds of a gradient step, and the ratio of a back-projection step to it.

    Medians over alternating timings, so that noise of the machine affects both alike.
    """
    steps = gradient_descent(widths, rows)[1], back_projection(widths, rows)[1]
    for step in steps:  # warm up memory, and get past the frequent early factorisations
        _seconds(step, iterations)
    times = np.array([[_seconds(step, iterations) for step in steps] for _ in range(repeats)])
    return float(np.median(times[:, 0])), float(np.median(times[:, 1] / times[:, 0]))


def _seconds(step: Callable[[], None], iterations: int) -> float:
    start = time.process_time()
    for _ in range(iterations):
        step()
    return (time.process_time() - start) / iterations
