"""K-FAC: the Fisher matrix where its Kronecker form is exact, dense solves, limits, KL bound."""

import numpy as np
import pytest
import torch

from datasets import load_dataset
from new_algorithm.back_projection.network import FlatParameters, Workspace, append_ones, forward
from new_algorithm.methods import kfac
from new_algorithm.methods.method import Problem
from tests.training import final_weights


def factors(seed=0):
    rng = np.random.default_rng(seed)
    a, s = rng.standard_normal((9, 5)), 0.01 * rng.standard_normal((9, 3))
    return a.T @ a / 9, s.T @ s / 9, rng.standard_normal((5, 3))


@pytest.mark.parametrize("damping", [1e-6, 1e-2, 10.0])
def test_inverses_solve_the_dense_damped_system(damping):
    a, s, moment = factors()
    of_a, of_s = kfac.damped_inverses(a, s, damping)
    pi = np.sqrt((np.trace(a) / 5) / (np.trace(s) / 3))
    dense = np.kron(a + pi * np.sqrt(damping) * np.eye(5), s + np.sqrt(damping) / pi * np.eye(3))
    expected = np.linalg.solve(dense, moment.ravel()).reshape(moment.shape)
    np.testing.assert_allclose(of_a @ moment @ of_s, expected, rtol=1e-8)


def test_much_damping_leaves_the_gradient_divided_by_it():
    a, s, moment = factors()
    errors = []
    for damping in (1e4, 1e8):
        of_a, of_s = kfac.damped_inverses(a, s, damping)
        errors.append(np.abs(damping * of_a @ moment @ of_s - moment).max())
    assert errors[1] < 0.02 * errors[0] < 0.02  # the error falls with √λ


def test_a_layer_that_nothing_reaches_stays_finite():
    of_a, of_s = kfac.damped_inverses(np.zeros((3, 3)), np.zeros((2, 2)), 0.01)
    np.testing.assert_allclose(np.kron(of_a, of_s), 100 * np.eye(6))


@pytest.fixture(scope="module")
def problem():
    return Problem(load_dataset("synthetic", train_limit=2000), (32, 16), epochs=4, seed=0)


def first_changes(problem, **settings):
    """K-FAC after its first batch, all rows, with its weights and changes, in float64."""
    method = kfac.KFAC(problem, {**kfac.METHOD.defaults, **settings})
    _, weights = problem.start(np.float64)
    workspace = Workspace(len(problem.data.x_train), weights)
    workspace.inputs = append_ones(problem.data.x_train).astype(np.float64)
    parameters = FlatParameters.of(weights)
    changes = parameters.zeros_like()
    method.changes(parameters.matrices, workspace, problem.data.y_train, changes)
    return method, parameters, changes


def gradients(problem, weights):
    free = [torch.tensor(weight, requires_grad=True) for weight in weights]
    hidden = torch.tensor(problem.data.x_train, dtype=torch.float64)
    for weight in free[:-1]:
        hidden = torch.relu(hidden @ weight[:-1] + weight[-1])
    output = hidden @ free[-1][:-1] + free[-1][-1]
    torch.nn.functional.cross_entropy(output, torch.tensor(problem.data.y_train)).backward()
    return FlatParameters.of([weight.grad.numpy() for weight in free])


def test_changes_with_much_damping_are_minus_the_gradients_of_autograd(problem):
    _, parameters, changes = first_changes(problem, damping=1e12)
    expected = gradients(problem, parameters.matrices)
    np.testing.assert_allclose(1e12 * changes.flat, -expected.flat, atol=1e-4)
    assert np.abs(expected.flat).max() > 0.01


@pytest.mark.parametrize("divergence", [1e-4, 1e-2])
def test_a_step_is_as_long_as_the_norm_constraint_lets_it(problem, divergence):
    method, parameters, changes = first_changes(problem, divergence=divergence, weight_decay=0.0)
    expected = gradients(problem, parameters.matrices)
    before = parameters.flat.copy()
    method.stepper(parameters)(changes, 1e6, 1.0)
    moved = parameters.flat - before
    # Δθᵀ F Δθ / 2 = η² vᵀg / 2, of which <Δθ, g>² / (2 vᵀg)
    bound = np.vdot(moved, expected.flat) ** 2 / (-2 * np.vdot(changes.flat, expected.flat))
    np.testing.assert_allclose(bound, divergence, rtol=1e-9)
    before = parameters.flat.copy()
    method.stepper(parameters)(changes, 1e-9, 1.0)  # a rate below the bound is kept
    np.testing.assert_allclose(parameters.flat - before, 1e-9 * changes.flat, atol=1e-14)


@pytest.mark.parametrize("lr", [1e-3, 1e6])
def test_weights_decay_by_the_size_of_the_step_that_is_made(problem, lr):
    decay, scale, ends = 0.1, 0.5, []
    for alpha in (0.0, decay):
        method, parameters, changes = first_changes(problem, divergence=1e-2, weight_decay=alpha)
        method.stepper(parameters)(changes, lr, scale)
        ends.append(parameters.matrices)
    moves = zip(*ends, problem.start(np.float64)[1], changes.matrices, strict=True)
    for free, found, initial, change in moves:
        size = np.vdot(free - initial, change) / np.vdot(change, change)  # scale · η
        assert size == pytest.approx(scale * lr) or lr == 1e6 > 1e3 * size  # cut
        expected = free.copy()
        expected[:-1] -= size * decay * initial[:-1]
        np.testing.assert_allclose(found, expected, rtol=0, atol=1e-10 * size)


def test_it_learns(problem):
    weights = final_weights(kfac.METHOD, problem)
    output = forward(weights, append_ones(problem.data.x_test))[1]
    assert (output.argmax(axis=1) == problem.data.y_test).mean() > 0.75
