"""Residuals and inputs of all layers give the gradient that torch finds by itself."""

from functools import partial
from itertools import islice

import numpy as np
import pytest
import torch

from datasets import load_dataset
from new_algorithm.back_projection import reference
from new_algorithm.back_projection.losses import LOGISTIC, SOFTMAX, SQUARED
from new_algorithm.back_projection.network import (
    Workspace,
    append_ones,
    forward,
    initial_weights,
    revive,
)
from new_algorithm.cli.errors import DivergedError
from new_algorithm.methods.layer_residuals import gradient, layer_residuals, train_layerwise
from new_algorithm.methods.method import Problem
from new_algorithm.methods.outer_steps import heavy_ball
from tests.back_projection.problems import TORCH_LOSSES

ROWS = 17
LOSSES = {  # loss, outputs, targets, torch's loss of F and the targets
    "squared": (SQUARED, 3, lambda rng: rng.standard_normal((ROWS, 3)), TORCH_LOSSES["squared"]),
    "softmax": (SOFTMAX, 3, lambda rng: rng.integers(0, 3, ROWS), TORCH_LOSSES["softmax"]),
    "logistic": (LOGISTIC, 1, lambda rng: rng.integers(0, 2, ROWS), TORCH_LOSSES["logistic"]),
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
        for inputs, delta, g in zip(workspace.activations, deltas, expected, strict=True):
            np.testing.assert_allclose(inputs.T @ delta, -g, rtol=1e-10, atol=1e-14)


def test_targets_of_dead_units_are_those_of_the_reference():
    rng = np.random.default_rng(0)
    weights = initial_weights(rng, (5, 8, 7, 3), np.float64)
    weights[0][-1, :2] = weights[1][-1, 3] = -100.0  # dead
    x, targets = append_ones(rng.standard_normal((ROWS, 5))), rng.standard_normal((ROWS, 3))
    workspace = Workspace(ROWS, weights)
    workspace.inputs = x
    deltas = layer_residuals(weights, workspace, targets, SQUARED, revive)
    residual = SQUARED.residual(forward(weights, x)[1], targets)
    still = [(1.0, np.inf)] * 3
    steps = reference.sweep(weights, x, residual, still, reference.revive, pass_residual=False)
    for delta, step in zip(deltas, steps, strict=True):
        np.testing.assert_allclose(delta * ROWS, step.delta, atol=1e-12)
    assert deltas[0][:, :2].any()
    assert (deltas[0][:, :2] >= 0).all()


def training(*changes_of, epochs=1, batch_size=64, train_limit=500):
    problem = Problem(load_dataset("synthetic", train_limit=train_limit), (16,), epochs, seed=3)
    settings, still = {"batch_size": batch_size, "lr": 0.1}, heavy_ball(0.0)
    return problem, train_layerwise(problem, settings, still, changes_of)


def test_every_layer_changes_once_a_batch_and_the_remaining_rows_wait():
    seen = []

    def change(layer, inputs, delta, out):
        assert len(inputs) == len(delta) == 64
        seen.append(layer)
        out[:] = 0

    next(training(*(partial(change, layer) for layer in (1, 2)))[1])
    assert seen == [1, 2] * (500 // 64)


def test_layers_without_a_change_of_their_own_take_the_gradient():
    def none(inputs, delta, out):
        out[:] = 0

    problem, epochs = training(none, batch_size=500)
    loss, x, y = torch.nn.functional.cross_entropy, problem.data.x_train, problem.data.y_train
    initial = problem.start()[1]
    first, second = next(epochs)
    np.testing.assert_array_equal(first, initial[0])
    expected = initial[1] - 0.1 * gradients(initial, x, y, loss)[1]  # in the middle, of scale 0.71
    scale = (second - initial[1]) / (expected - initial[1])
    np.testing.assert_allclose(scale, (1 - 0.5) / 0.7, rtol=1e-3)


def test_fewer_rows_than_a_batch_are_one_batch():
    seen = []

    def change(inputs, delta, out):
        seen.append(len(inputs))
        out[:] = 0

    next(training(change, change, train_limit=50)[1])
    assert seen == [50, 50]


def test_steps_add_up_to_lr_times_the_sum_of_the_schedule():
    def one(inputs, delta, out):
        out[:] = 1

    problem, epochs = training(one, one, epochs=4)
    *_, last = islice(epochs, 4)
    steps = 4 * (500 // 64)
    for now, then in zip(last, problem.start()[1], strict=True):
        # the triangle's area is half its base, but for the warm-up's end within a step
        np.testing.assert_allclose(now - then, 0.1 * steps / 2, rtol=1e-2)


def test_a_layer_that_cannot_be_solved_is_named():
    def fail(inputs, delta, out):
        raise np.linalg.LinAlgError("singular")

    with pytest.raises(DivergedError, match="iteration 1: layer 2: singular"):
        next(training(gradient, fail)[1])
