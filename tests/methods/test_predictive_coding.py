"""Predictive coding: its energy by autograd, lowered by inference; limits and equilibrium."""

import numpy as np
import pytest
import torch

from datasets import load_dataset
from new_algorithm.back_projection.losses import LOGISTIC, SOFTMAX, SQUARED
from new_algorithm.back_projection.network import (
    FlatParameters,
    Workspace,
    append_ones,
    forward,
    initial_weights,
)
from new_algorithm.methods import predictive_coding
from new_algorithm.methods.layer_residuals import layer_residuals
from new_algorithm.methods.method import Problem
from new_algorithm.methods.predictive_coding import Inference, PredictiveCoding
from tests.training import final_weights

ROWS = 11
TARGETS = {
    "softmax": (SOFTMAX, lambda rng: rng.integers(0, 3, ROWS), 3),
    "logistic": (LOGISTIC, lambda rng: rng.integers(0, 2, ROWS), 1),
    "squared": (SQUARED, lambda rng: rng.standard_normal((ROWS, 3)), 3),
}
TORCH = {
    "softmax": lambda f, y: torch.nn.functional.cross_entropy(f, y, reduction="sum"),
    "logistic": lambda f, y: torch.nn.functional.binary_cross_entropy_with_logits(
        f[:, 0], y.double(), reduction="sum"
    ),
    "squared": lambda f, y: 0.5 * (f - y).square().sum(),
}


def network(name, hidden=(8, 7), seed=0):
    """Weights, workspace with its inputs, targets and loss, in float64."""
    loss, draw, outputs = TARGETS[name]
    rng = np.random.default_rng(seed)
    weights = initial_weights(rng, (5, *hidden, outputs), np.float64)
    for weight in weights:
        weight[-1] = 0.3 * rng.standard_normal(weight.shape[1])
    workspace = Workspace(ROWS, weights)
    workspace.inputs = append_ones(rng.standard_normal((ROWS, 5)))
    return weights, workspace, draw(rng), loss


def energy(name, weights, activities, inputs, targets, precision):
    """E in torch, of given activities."""
    below, total = inputs, 0.0
    for weight, x in zip(weights[:-1], activities, strict=True):
        total = total + 0.5 * (x - below @ weight[:-1] - weight[-1]).square().sum()
        below = torch.relu(x)
    output = below @ weights[-1][:-1] + weights[-1][-1]
    return total + precision * TORCH[name](output, targets)


@pytest.mark.parametrize("name", TARGETS)
@pytest.mark.parametrize("order", ["move_all", "move_downwards"])
def test_energy_and_its_gradients_are_those_of_autograd(name, order):
    weights, workspace, targets, loss = network(name)
    inference = Inference(weights, workspace, targets, loss, 0.7)
    for _ in range(3):
        getattr(inference, order)(0.2)
    free = [
        [torch.tensor(a, requires_grad=True) for a in s] for s in (weights, inference.activities)
    ]
    x, y = torch.tensor(workspace.inputs[:, :-1]), torch.tensor(targets)
    value = energy(name, *free, x, y, 0.7)
    value.backward()
    np.testing.assert_allclose(inference.energy(), value.item(), rtol=1e-12)
    for inputs, error, weight in zip(workspace.activations, inference.errors, free[0], strict=True):
        np.testing.assert_allclose(inputs.T @ error, -weight.grad.numpy(), atol=1e-12)
    before = [x.copy() for x in inference.activities]
    inference.move_all(0.01)
    for x, then, known in zip(inference.activities, before, free[1], strict=True):
        np.testing.assert_allclose((x - then) / 0.01, -known.grad.numpy(), atol=1e-12)


@pytest.mark.parametrize("name", TARGETS)
@pytest.mark.parametrize("order", ["move_all", "move_downwards"])
def test_inference_lowers_the_energy(name, order):
    inference = Inference(*network(name), 1.0)
    energies = [inference.energy()]
    for _ in range(30):
        getattr(inference, order)(0.05)
        energies.append(inference.energy())
    assert (np.diff(energies) < 0).all()
    assert energies[-1] < 0.95 * energies[0]


@pytest.mark.parametrize("name", TARGETS)
def test_little_precision_of_the_output_leaves_the_residuals_of_back_propagation(name):
    weights, workspace, targets, loss = network(name)
    expected = [delta.copy() for delta in layer_residuals(weights, workspace, targets, loss)]
    distances = []
    for precision in (1e-3, 1e-6):
        inference = Inference(weights, workspace, targets, loss, precision)
        for _ in range(2500):
            inference.move_all(0.1)
        errors = np.concatenate([e.ravel() for e in inference.errors]) / precision / ROWS
        distances.append(np.abs(errors - np.concatenate([e.ravel() for e in expected])).max())
    assert distances[1] < 1e-5
    assert distances[1] < 1e-2 * distances[0]


def test_in_a_linear_network_inference_ends_in_the_solution_of_a_dense_system():
    weights, workspace, targets, loss = network("squared")
    for weight in weights[:-1]:
        weight[-1] = 50.0  # all units are active, whatever the activities
    residual = 0.1 * targets
    targets = residual + forward(weights, workspace.inputs)[1]
    inference = Inference(weights, workspace, targets, loss, 0.5)
    for _ in range(4000):
        inference.move_downwards(0.1)
    # e_l = p J_l r, r = (I + p Σ J_lᵀ J_l)⁻¹ of the first residual, J_l = ∂F/∂x_l in rows
    jacobians = [weights[1][:-1] @ weights[2][:-1], weights[2][:-1]]
    gram = np.eye(3) + 0.5 * sum(j.T @ j for j in jacobians)
    left = 0.5 * residual @ np.linalg.inv(gram)
    np.testing.assert_allclose(inference.errors[-1], left, rtol=1e-6, atol=1e-9)
    for error, jacobian in zip(inference.errors[:-1], jacobians, strict=True):
        np.testing.assert_allclose(error, left @ jacobian.T, rtol=1e-6, atol=1e-9)


def test_a_layers_change_needs_its_own_two_layers():
    weights, workspace, targets, loss = network("softmax")
    settings = {**predictive_coding.METHOD.defaults, "steps": 3}
    out = FlatParameters.of([np.full_like(weight, np.nan) for weight in weights])
    PredictiveCoding(loss, settings).changes(weights, workspace, targets, out)
    inference = Inference(weights, workspace, targets, loss, 1.0)
    for _ in range(3):
        inference.move_downwards(settings["inference_rate"])
    below = workspace.inputs
    for weight, x, change in zip(weights[:-1], inference.activities, out.matrices, strict=False):
        np.testing.assert_allclose(change, below.T @ (x - below @ weight) / ROWS, atol=1e-12)
        below = append_ones(np.maximum(x, 0))


@pytest.mark.parametrize("settings", [{}, {"outer": "momentum", "lr": 0.3}, {"order": "at once"}])
def test_it_learns(settings):
    problem = Problem(load_dataset("synthetic", train_limit=2000), (32, 16), epochs=4, seed=0)
    weights = final_weights(predictive_coding.METHOD, problem, **{"lr": 10.0, **settings})
    output = forward(weights, append_ones(problem.data.x_test))[1]
    assert (output.argmax(axis=1) == problem.data.y_test).mean() > 0.7
