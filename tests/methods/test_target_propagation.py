"""Target propagation: feedback minimises its loss and is, if linear, a damped inverse."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from datasets import load_dataset
from new_algorithm.back_projection.network import FlatParameters, Workspace, append_ones, forward
from new_algorithm.methods import target_propagation
from new_algorithm.methods.method import Problem
from new_algorithm.methods.target_propagation import Feedback, TargetPropagation
from tests.training import final_weights

LAMBDA = 0.3


def reconstruction_loss(response, noise, matrix):
    left = response @ matrix - noise
    return 0.5 * left.square().sum() / len(noise) + 0.5 * LAMBDA * matrix.square().sum()


def test_feedback_is_where_the_gradient_of_its_loss_vanishes():
    rng = np.random.default_rng(0)
    noise = rng.standard_normal((50, 6))
    response = np.tanh(noise @ rng.standard_normal((6, 3)))
    feedback = Feedback(0.0, LAMBDA)
    feedback.update(response, noise)
    both = torch.tensor(response), torch.tensor(noise)
    for matrix, vanishes in ((feedback.matrix, True), (1.1 * feedback.matrix, False)):
        free = torch.tensor(matrix, requires_grad=True)
        reconstruction_loss(*both, free).backward()
        assert (free.grad.abs().max() < 1e-12) == vanishes


def test_feedback_averages_over_batches():
    rng, rho = np.random.default_rng(0), 0.5
    feedback, gram, cross, weight = Feedback(rho, LAMBDA), 0.0, 0.0, 0.0
    for _ in range(4):
        noise, response = rng.standard_normal((20, 6)), rng.standard_normal((20, 3))
        feedback.update(response, noise)
        gram = rho * gram + response.T @ response / 20
        cross = rho * cross + response.T @ noise / 20
        weight = rho * weight + 1
    expected = np.linalg.solve(gram / weight + LAMBDA * np.eye(3), cross / weight)
    np.testing.assert_allclose(feedback.matrix, expected, rtol=1e-10)


@pytest.fixture(scope="module")
def problem():
    return Problem(load_dataset("synthetic", train_limit=2000), (32, 16), epochs=4, seed=0)


def linear_changes(problem, rows=20_000):
    """Of a network whose hidden units are all active, in float64: its changes and all before."""
    rng = np.random.default_rng(0)
    settings = {**target_propagation.METHOD.defaults, "damping": LAMBDA, "noise": 1e-2}
    propagation = TargetPropagation(problem, settings)
    _, weights = problem.start(np.float64)
    weights[0][-1], weights[1][-1] = 10.0, 1000.0
    workspace = Workspace(rows, weights)
    workspace.inputs = append_ones(rng.standard_normal((rows, 20)))
    targets = rng.integers(0, 4, rows)
    changes = FlatParameters.of([np.full_like(weight, np.nan) for weight in weights])
    propagation.changes(weights, workspace, targets, changes)
    assert all((hidden > 0).all() for hidden in workspace.hidden)
    return propagation, weights, workspace, targets, changes.matrices


def test_in_a_linear_network_targets_are_those_of_damped_gauss_newton(problem):
    propagation, weights, workspace, targets, changes = linear_changes(problem)
    jacobians = [weights[1][:-1] @ weights[2][:-1], weights[2][:-1]]
    residual = problem.loss.residual(workspace.output, targets)
    for feedback, jacobian, inputs, change in zip(
        propagation.feedback, jacobians, workspace.activations, changes, strict=False
    ):
        damped = np.linalg.solve(jacobian.T @ jacobian + LAMBDA * np.eye(4), jacobian.T)
        error = np.linalg.norm(feedback.matrix - damped)
        assert error < 0.05 * np.linalg.norm(damped)  # noise of 20,000 rows
        # δh minimises ½ ‖δh J − R‖² + λ/2 ‖δh‖²
        equations = jacobian.T @ jacobian + LAMBDA * np.eye(4)
        gauss_newton = inputs.T @ residual @ np.linalg.inv(equations) @ jacobian.T / len(residual)
        assert np.linalg.norm(change - gauss_newton) < 0.05 * np.linalg.norm(gauss_newton)
    last = workspace.activations[-1].T @ residual / len(residual)
    np.testing.assert_allclose(changes[-1], last, atol=1e-10)


@pytest.mark.parametrize(("layers", "expected"), [(1, "012012"), (2, "012 01 20 12")])
def test_all_feedback_is_solved_at_first_then_in_turn(problem, layers, expected, monkeypatch):
    solved = []
    deep = replace(problem, widths=(6, 5, 4))
    settings = {**target_propagation.METHOD.defaults, "layers_a_batch": layers}
    propagation = TargetPropagation(deep, settings)
    train = propagation._train
    monkeypatch.setattr(propagation, "_train", lambda i, *a: (solved.append(i), train(i, *a)))
    _, weights = deep.start()
    workspace = Workspace(2000, weights)
    workspace.inputs = append_ones(problem.data.x_train)
    out = FlatParameters.of(weights)
    for _ in range(4):
        propagation.changes(weights, workspace, problem.data.y_train, out)
    assert solved == [int(digit) for digit in expected.replace(" ", "")]


def test_it_learns(problem):
    weights = final_weights(target_propagation.METHOD, problem, lr=1e-2)
    output = forward(weights, append_ones(problem.data.x_test))[1]
    assert (output.argmax(axis=1) == problem.data.y_test).mean() > 0.7
