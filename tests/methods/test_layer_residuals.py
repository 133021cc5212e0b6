"""Residuals and inputs of all layers give the gradient that torch finds by itself."""

import numpy as np
import pytest
import torch

from datasets import load_dataset
from new_algorithm.back_projection.losses import LOGISTIC, SOFTMAX, SQUARED
from new_algorithm.back_projection.network import Workspace, append_ones, initial_weights
from new_algorithm.cli.errors import DivergedError
from new_algorithm.methods.foof import HeavyBall
from new_algorithm.methods.layer_residuals import LayerwiseTraining, layer_residuals
from new_algorithm.methods.method import Problem

ROWS = 17
LOSSES = {  # loss, outputs, targets, torch's loss of F and the targets
    "squared": (
        SQUARED,
        3,
        lambda rng: rng.standard_normal((ROWS, 3)),
        lambda f, y: 0.5 * (y - f).square().sum() / ROWS,
    ),
    "softmax": (
        SOFTMAX,
        3,
        lambda rng: rng.integers(0, 3, ROWS),
        torch.nn.functional.cross_entropy,
    ),
    "logistic": (
        LOGISTIC,
        1,
        lambda rng: rng.integers(0, 2, ROWS),
        lambda f, y: torch.nn.functional.binary_cross_entropy_with_logits(f[:, 0], y.double()),
    ),
}


def gradients(weights, x, targets, loss):
    """Gradients in each W̃ by automatic differentiation."""
    weights = [torch.tensor(weight, requires_grad=True) for weight in weights]
    hidden = torch.tensor(x)
    for index, weight in enumerate(weights):
        hidden = hidden @ weight[:-1] + weight[-1]
        if index < len(weights) - 1:
            hidden = torch.relu(hidden)
    loss(hidden, torch.tensor(targets)).backward()
    return [weight.grad.numpy() for weight in weights]


@pytest.mark.parametrize("hidden", [(), (8,), (8, 7, 6)])
@pytest.mark.parametrize("name", LOSSES)
def test_moments_are_minus_the_gradients(name, hidden):
    loss, outputs, draw, torch_loss = LOSSES[name]
    rng = np.random.default_rng(0)
    weights = initial_weights(rng, (5, *hidden, outputs), np.float64)
    for weight in weights:
        weight[-1] = rng.standard_normal(weight.shape[1])
    workspace = Workspace(ROWS, weights)
    for _ in range(2):  # the second time in arrays that the first has written
        x, targets = rng.standard_normal((ROWS, 5)), draw(rng)
        workspace.inputs = append_ones(x)
        deltas = layer_residuals(weights, workspace, targets, loss)
        expected = gradients(weights, x, targets, torch_loss)
        for inputs, delta, gradient in zip(workspace.activations, deltas, expected, strict=True):
            np.testing.assert_allclose(inputs.T @ delta, -gradient, rtol=1e-10, atol=1e-14)


def start(change, epochs=1, batch_size=64, train_limit=500):
    problem = Problem(load_dataset("synthetic", train_limit=train_limit), (16,), epochs, seed=3)
    return LayerwiseTraining(
        problem, batch_size, 0.1, lambda weights: HeavyBall(weights, 0.0), change
    )


def test_every_layer_changes_once_a_batch_and_the_remaining_rows_wait():
    seen = []

    def change(index, inputs, delta, out):
        assert len(inputs) == len(delta) == 64
        seen.append(index)
        out[:] = 0

    start(change).epoch()
    assert seen == [0, 1] * (500 // 64)


def test_fewer_rows_than_a_batch_are_one_batch():
    seen = []

    def change(index, inputs, delta, out):
        seen.append(len(inputs))
        out[:] = 0

    start(change, train_limit=50).epoch()
    assert seen == [50, 50]


def test_steps_add_up_to_lr_times_the_sum_of_the_schedule():
    training = start(lambda index, inputs, delta, out: out.fill(1.0), epochs=4)
    before = [weight.copy() for weight in training.weights]
    for _ in range(4):
        training.epoch()
    steps = 4 * (500 // 64)
    for now, then in zip(training.weights, before, strict=True):
        # the triangle's area is half its base, but for the warm-up's end within a step
        np.testing.assert_allclose(now - then, 0.1 * steps / 2, rtol=1e-2)


def test_a_layer_that_cannot_be_solved_is_named():
    def change(index, inputs, delta, out):
        if index == 1:
            raise np.linalg.LinAlgError("singular")

    with pytest.raises(DivergedError, match="layer 2, iteration 1: singular"):
        start(change).epoch()
