"""The sweep: its gradient limit against autograd, descent, determinism, and trouble named."""

from functools import partial

import numpy as np
import pytest
import torch
from torch.nn import functional

from new_algorithm.back_projection.eigenbasis import leading_eigenbasis
from new_algorithm.back_projection.losses import SOFTMAX, SQUARED
from new_algorithm.back_projection.network import append_ones, forward, initial_weights, predict
from new_algorithm.back_projection.relu_targets import mask, project
from new_algorithm.back_projection.sweep import (
    CGSolver,
    EigenbasisSolver,
    ExactSolver,
    LayerStep,
    NumericalError,
    cg_iterations,
    stalled_layers,
    sweep,
)

WIDTHS = (6, 9, 4)


def classification(seed=0, rows=40, widths=WIDTHS):
    rng = np.random.default_rng(seed)
    inputs = append_ones(rng.standard_normal((rows, widths[0])))
    labels = (inputs @ rng.standard_normal((widths[0] + 1, widths[-1]))).argmax(axis=1)
    return initial_weights(rng, widths, np.float64), inputs, labels


def one_sweep(weights, inputs, labels, solvers, relu_target=mask):
    activations, output = forward(weights, inputs)
    return sweep(weights, activations, SOFTMAX.residual(output, labels), solvers, relu_target)


@pytest.mark.parametrize("widths", [(6, 4), (6, 9, 4), (6, 9, 8, 7, 4)])
def test_large_penalties_give_the_back_propagated_gradient(widths):
    weights, inputs, labels = classification(widths=widths)
    leaves = [torch.tensor(layer, requires_grad=True) for layer in weights]
    hidden = torch.from_numpy(inputs)
    for layer in leaves[:-1]:
        hidden = torch.relu(hidden @ layer)
        hidden = torch.cat([hidden, torch.ones(len(hidden), 1)], dim=1)
    functional.cross_entropy(hidden @ leaves[-1], torch.from_numpy(labels)).backward()

    lambda_w = 1e7
    for solver in (ExactSolver(lambda_w, np.inf), CGSolver(lambda_w, np.inf, rtol=1e-12)):
        steps = one_sweep(weights, inputs, labels, [solver] * len(weights))
        activations, _ = forward(weights, inputs)
        for step, leaf, layer_inputs in zip(steps, leaves, activations, strict=True):
            absolute = lambda_w * np.vdot(layer_inputs, layer_inputs) / layer_inputs.size
            gradient = -leaf.grad.numpy()
            error = np.linalg.norm(absolute * step.weight_change - gradient)
            assert error < 1e-5 * np.linalg.norm(gradient)


@pytest.mark.parametrize("relu_target", [mask, project])
@pytest.mark.parametrize("lambda_h", [0.1, 1.0, np.inf])
def test_cg_sweep_is_the_exact_sweep(lambda_h, relu_target):
    weights, inputs, labels = classification()
    by_cg = one_sweep(weights, inputs, labels, [CGSolver(0.1, lambda_h, 1e-12)] * 2, relu_target)
    exact = one_sweep(weights, inputs, labels, [ExactSolver(0.1, lambda_h)] * 2, relu_target)
    for a, b in zip(by_cg, exact, strict=True):
        assert np.linalg.norm(a.weight_change - b.weight_change) < 1e-8 * np.linalg.norm(
            b.weight_change
        )


@pytest.mark.parametrize("lambda_h", [1.0, np.inf])
@pytest.mark.parametrize("rows_at_once", [40, 10])
def test_sweeps_train_full_batch_and_minibatch(rows_at_once, lambda_h):
    weights, inputs, labels = classification()
    losses = [SOFTMAX.value(predict(weights, inputs), labels)]
    for _ in range(100):
        for first in range(0, 40, rows_at_once):
            rows = slice(first, first + rows_at_once)
            steps = one_sweep(weights, inputs[rows], labels[rows], [CGSolver(0.3, lambda_h)] * 2)
            for layer, step in zip(weights, steps, strict=True):
                layer += 0.5 * step.weight_change
        losses.append(SOFTMAX.value(predict(weights, inputs), labels))
    assert losses[-1] < 0.2 * losses[0]
    if rows_at_once == 40:
        assert (np.diff(losses) < 0).all(), "full-batch steps of this size descend"


def test_linear_layer_is_solved_in_one_sweep():
    # one layer, squared loss, no penalty: the step is the least-squares solution
    rng = np.random.default_rng(1)
    inputs, targets = append_ones(rng.standard_normal((30, 5))), rng.standard_normal((30, 2))
    weights = initial_weights(rng, (5, 2), np.float64)
    activations, output = forward(weights, inputs)
    residual = SQUARED.residual(output, targets)
    (step,) = sweep(weights, activations, residual, [ExactSolver(0, np.inf)], mask)
    np.testing.assert_allclose(
        weights[0] + step.weight_change, np.linalg.lstsq(inputs, targets)[0], atol=1e-10
    )


def test_weights_are_left_as_they_are_and_bits_repeat():
    weights, inputs, labels = classification()
    before = [layer.copy() for layer in weights]
    run = partial(one_sweep, weights, inputs, labels, [CGSolver(0.1, 1.0)] * 2)
    first, second = run(), run()
    for layer, old, a, b in zip(weights, before, first, second, strict=True):
        np.testing.assert_array_equal(layer, old)
        np.testing.assert_array_equal(a.weight_change, b.weight_change)


def test_non_finite_activation_is_named_with_its_layer():
    weights, inputs, labels = classification()
    weights[0][0, 0] = np.nan
    with pytest.raises(NumericalError, match="layer 1: its output is not finite"):
        one_sweep(weights, inputs, labels, [CGSolver(0.1, 1.0)] * 2)


def test_operator_that_is_not_positive_definite_is_named_with_its_layer():
    weights, inputs, labels = classification()
    with pytest.raises(NumericalError, match=r"layer 2: .* nonpositive_curvature"):
        one_sweep(weights, inputs, labels, [CGSolver(0.1, 1.0), CGSolver(-1e4, np.inf)])


def test_non_finite_change_is_named_with_its_layer():
    weights, inputs, labels = classification()

    def broken(inputs, layer, wanted):
        return LayerStep(wanted, np.full_like(layer, np.inf), np.inf)

    with pytest.raises(NumericalError, match="layer 2: its weight change is not finite"):
        one_sweep(weights, inputs, labels, [CGSolver(0.1, 1.0), broken])


def test_solves_are_counted_and_one_that_rounding_stops_is_named():
    weights, inputs, labels = classification()
    steps = one_sweep(
        weights, inputs, labels, [CGSolver(0.1, 1.0, rtol=1e-30), ExactSolver(0.1, 1.0)]
    )
    assert stalled_layers(steps) == [1]
    assert cg_iterations(steps) == [steps[0].cg.iterations, 0]
    capped = one_sweep(weights, inputs, labels, [CGSolver(0.1, 1.0, max_iterations=1)] * 2)
    assert stalled_layers(capped) == [], "ending at a cap is what was asked for"


@pytest.mark.parametrize("relu_target", [mask, project])
@pytest.mark.parametrize("lambda_h", [0.3, 1.0])
def test_sweep_is_equations_1_and_2_written_out(lambda_h, relu_target):
    """Oracle: both layers by dense solves, in the Kronecker form of (2)."""
    weights, inputs, labels = classification()
    relative_w, n = 0.5, len(inputs)
    activations, output = forward(weights, inputs)
    hidden, w2 = activations[1], weights[1][:-1]
    residual = SOFTMAX.residual(output, labels)

    g, k = hidden.T @ hidden / n, w2.T @ w2
    lambda_w = relative_w * np.linalg.eigvalsh(g).mean()
    mean_k = np.linalg.eigvalsh(k).mean()
    absolute_h = lambda_h * mean_k
    penalty = lambda_w * (np.eye(len(k)) + k / absolute_h)
    dense = np.kron(g, np.eye(len(k))) + np.kron(np.eye(len(g)), penalty)  # row-major vec
    change_2 = np.linalg.solve(dense, (hidden.T @ residual / n).ravel()).reshape(len(g), -1)
    left = residual - hidden @ change_2
    below = left @ np.linalg.inv(k + absolute_h * np.eye(len(k))) @ w2.T
    wanted = (mean_k + absolute_h) * below
    z = hidden[:, :-1]
    wanted = wanted * (z > 0) if relu_target is mask else np.maximum(z + wanted, 0) - z
    g1 = inputs.T @ inputs / n
    ridge = g1 + relative_w * np.linalg.eigvalsh(g1).mean() * np.eye(len(g1))
    change_1 = np.linalg.solve(ridge, inputs.T @ wanted / n)

    solvers = [ExactSolver(relative_w, np.inf), CGSolver(relative_w, lambda_h, rtol=1e-13)]
    steps = one_sweep(weights, inputs, labels, solvers, relu_target)
    np.testing.assert_allclose(steps[1].weight_change, change_2, atol=1e-10)
    np.testing.assert_allclose(steps[0].wanted, wanted, atol=1e-9)
    np.testing.assert_allclose(steps[0].weight_change, change_1, atol=1e-9)


def test_huge_but_finite_numbers_are_not_called_otherwise():
    weights, inputs, _ = classification()
    activations, output = forward(weights, inputs)
    inputs32 = [a.astype(np.float32) for a in activations]
    weights32 = [w.astype(np.float32) for w in weights]
    residual = np.full(output.shape, 1e25, np.float32)  # its squares overflow in float32
    steps = sweep(weights32, inputs32, residual, [CGSolver(1.0, np.inf)] * 2, mask)
    assert all(np.isfinite(step.weight_change).all() for step in steps)


def test_eigenbasis_step_reports_its_problem():
    rng = np.random.default_rng(0)
    x, wanted = rng.standard_normal((20, 5)), rng.standard_normal((20, 3))
    basis = leading_eigenbasis(x, 6)
    step = EigenbasisSolver(basis, 1.0)(basis.project(x), np.zeros((6, 3)), wanted)
    assert step.wanted is wanted
    assert np.isinf(step.lambda_h)
