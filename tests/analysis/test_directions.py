"""Steps and what is passed down beside the textbook sweep, autograd, and dense solves."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch.func import functional_call, jacrev

from new_algorithm.analysis import directions as d
from new_algorithm.analysis.flow import directions
from new_algorithm.analysis.likelihood import exact_factors
from new_algorithm.analysis.relu_curvature import LayerBlock
from new_algorithm.back_projection import reference
from new_algorithm.back_projection.losses import SQUARED
from tests.analysis.subjects import relu_subject
from tests.analysis.test_fisher import DATA, loss_hessians

ROWS = 40


def steps_of(subject):
    x, y = subject.rows("train", ROWS, 0)
    return directions(subject, subject.network, x, y, 0), x, y


def penalties(layers, lambda_w=0.5, lambda_h=np.inf, **other):
    return d.Penalties((lambda_w,) * layers, (lambda_h,) * layers, **other)


@pytest.mark.parametrize("name", DATA)
def test_the_gradient_is_autograds(name):
    subject = relu_subject(name).in_double()
    steps, x, y = steps_of(subject)
    subject.objective(subject.network(x), y).backward()
    for module, moment in zip(subject.layers.values(), steps.gradient, strict=True):
        expected = np.vstack([module.weight.grad.T, module.bias.grad])
        np.testing.assert_allclose(moment, -expected, rtol=1e-8, atol=1e-14)


@pytest.mark.parametrize("target", ["mask", "project"])
@pytest.mark.parametrize("left", [False, True])
@pytest.mark.parametrize("lambda_h", [np.inf, 2.0, 0.1])
def test_steps_are_those_of_the_textbook_sweep(lambda_h, left, target):
    steps, _, _ = steps_of(relu_subject().in_double())
    layers = len(steps.weights)
    relu_target = reference.RELU_TARGETS[target]
    asked = penalties(layers, lambda_h=lambda_h, left=left, relu_target=relu_target)
    of_layers = [(0.5, lambda_h if layer else np.inf) for layer in range(layers)]
    expected = reference.sweep(
        steps.weights, steps.inputs[0], steps.residual, of_layers, relu_target, pass_residual=left
    )
    for index, (delta, one) in enumerate(zip(steps.asked(asked), expected, strict=True)):
        np.testing.assert_allclose(delta, one.delta, rtol=1e-8, atol=1e-12)
        change = steps.step(index, delta, asked)
        np.testing.assert_allclose(change, one.change, rtol=1e-7, atol=1e-11)


def test_absolute_penalties_are_taken_as_they_are():
    steps, _, _ = steps_of(relu_subject().in_double())
    absolute = penalties(len(steps.weights), lambda_h=2.0, relative=False)
    delta = steps.residual
    h, weight = steps.inputs[-1], steps.weights[-1]
    moment = h.T @ delta / ROWS
    expected = reference.weight_change(h.T @ h / ROWS, weight, moment, 0.5, 2.0)
    found = steps.step(len(steps.weights) - 1, delta, absolute)
    np.testing.assert_allclose(found, expected, rtol=1e-8, atol=1e-12)


@pytest.mark.parametrize("name", DATA)
def test_gauss_newton_is_the_dense_matrix_of_each_layer(name):
    subject = relu_subject(name).in_double()
    steps, x, y = steps_of(subject)
    passed = d.deltas(steps.weights, steps.zs, steps.factors)
    parameters = {n: p.detach() for n, p in subject.network.named_parameters()}
    jacobians = jacrev(lambda w: functional_call(subject.network, w, (x,)))(parameters)
    curvature = loss_hessians(subject.loss, subject.network(x).detach().numpy(), y.numpy())
    rng = np.random.default_rng(1)
    for index, module in enumerate(subject.layers):
        weight, bias = jacobians[f"{module}.weight"], jacobians[f"{module}.bias"]
        j = torch.cat([weight.transpose(2, 3), bias[:, :, None]], dim=2).flatten(2).numpy()
        dense = np.einsum("nap,nab,nbq->pq", j, curvature, j) / ROWS
        inputs, moment = steps.inputs[index], steps.gradient[index]
        v = rng.standard_normal(moment.shape)
        block = LayerBlock(torch.from_numpy(inputs), torch.from_numpy(passed[index]))
        product = block.of_folded(torch.from_numpy(v)).numpy()
        np.testing.assert_allclose(product.ravel(), dense @ v.ravel(), rtol=1e-8, atol=1e-11)
        mean = np.trace(dense) / len(dense)
        assert block.mean_eigenvalue() == pytest.approx(mean)
        solve = d.gauss_newton_step(block, moment, 0.5, 500)
        exact = np.linalg.solve(dense + 0.5 * mean * np.eye(len(dense)), moment.ravel())
        error = np.linalg.norm(solve.solution.ravel() - exact) / np.linalg.norm(exact)
        assert error < 10 * d.CG_TOLERANCE


def test_for_a_linear_layer_under_the_squared_loss_both_steps_are_one():
    rng = np.random.default_rng(0)
    inputs = np.hstack([rng.standard_normal((30, 4)), np.ones((30, 1))])
    residual = rng.standard_normal((30, 3))
    factors = exact_factors(SQUARED, residual)
    steps = d.Directions([rng.standard_normal((5, 3))], inputs, residual, factors)
    (row,) = steps.angles(penalties(1, lambda_w=0.1))
    assert row["step_gauss_newton"] == pytest.approx(1, abs=1e-5)
    assert row["step_gradient"] < 0.99
    step = steps.step(0, residual, penalties(1, lambda_w=0.1))
    block = LayerBlock(torch.from_numpy(inputs), torch.from_numpy(factors))
    solve = d.gauss_newton_step(block, steps.gradient[0], 0.1, 100)
    np.testing.assert_allclose(solve.solution, step, rtol=0.02, atol=1e-3)


def test_all_steps_are_the_gradients_for_large_penalties_or_white_inputs():
    steps, _, _ = steps_of(relu_subject().in_double())
    for row in steps.angles(penalties(len(steps.weights), lambda_w=1e8)):
        for name in ("step_gradient", "gauss_newton_gradient", "step_gauss_newton"):
            assert row[name] == pytest.approx(1, abs=1e-6)
    rng = np.random.default_rng(0)
    basis = np.linalg.qr(np.hstack([np.ones((30, 1)), rng.standard_normal((30, 4))]))[0]
    white = np.sqrt(30) * np.roll(basis, -1, axis=1) * np.sign(basis[0, 0])  # G = I, ones last
    residual = rng.standard_normal((30, 3))
    factors = exact_factors(SQUARED, residual)
    steps = d.Directions([rng.standard_normal((5, 3))], white, residual, factors)
    (row,) = steps.angles(penalties(1, lambda_w=1e-3))
    assert row["step_gradient"] == pytest.approx(1, abs=1e-9)


def test_with_a_large_lambda_h_the_gradient_is_passed_down_and_less_of_it_with_a_small_one():
    steps, _, _ = steps_of(relu_subject(widths=(6, 5, 4)).in_double())
    layers = len(steps.weights)
    exact = d.deltas(steps.weights, steps.zs, steps.residual)
    for found, expected in zip(steps.asked(penalties(layers, lambda_h=1e7)), exact, strict=True):
        np.testing.assert_allclose(found, expected, rtol=0, atol=1e-5 * np.abs(expected).max())
    rows = steps.passed_down_angles(penalties(layers, lambda_h=1.0))
    assert rows[-1]["λ_h = 0.1"] == pytest.approx(1)  # the output's own residual
    for row in rows[:-1]:
        assert row["λ_h = 0.1"] < row["λ_h = 1"] < row["λ_h = 10"] < 1
        assert row["λ_h as the run"] == pytest.approx(row["λ_h = 1"])


def test_penalties_are_read_off_the_record():
    config = {"lambda_w_layers": [3.0, 0.1], "lambda_h_layers": ["inf"], "pass_down": "whole"}
    found = d.penalties_of({"script": "new_algorithm/n_layer_relu_data.py", "config": config}, 2)
    assert found == d.Penalties((3.0, 0.1), (np.inf, np.inf))
    assert not found.changes_what_is_passed
    config = {"pass_down": "left"}
    found = d.penalties_of({"script": "new_algorithm/n_layer_relu_data.py", "config": config}, 2)
    assert found == d.Penalties((1.0, 1.0), (np.inf, np.inf), left=True)
    config = {"lambda_h_layers": [10.0], "target": "project"}
    found = d.penalties_of({"script": "new_algorithm/two_layer_relu_data.py", "config": config}, 2)
    assert found == d.Penalties((1.0, 1.0), (10.0, 10.0), True, True, reference.project)
    assert found.changes_what_is_passed


def in_basis(subject, rank, **config):
    """The same of a run that solved layer 1 in so many leading eigenvectors."""
    known = {"input_rank": rank, "dtype": "float64", "chunk_rows": None, **config}
    return replace(subject, record={**subject.record, "config": subject.record["config"] | known})


@pytest.mark.parametrize("chunk_rows", [None, 10])
@pytest.mark.parametrize("relative", [True, False])
def test_layer_1_is_solved_in_the_eigenvectors_of_the_run(relative, chunk_rows):
    """The dense problem with W̃_1 = Q A; in all eigenvectors that on the inputs as they are."""
    subject = relu_subject().in_double()
    x, y = subject.rows("train", 10**6, 0)
    inputs = np.hstack([x.numpy(), np.ones((len(x), 1))])
    g = inputs.T @ inputs / len(x)
    damping = 0.5 * np.trace(g) / len(g) if relative else 0.5
    asked = penalties(3, relative=relative)
    for rank in (5, 21):
        basis = d.input_basis(in_basis(subject, rank, chunk_rows=chunk_rows))
        steps = directions(subject, subject.network, x, y, 0, basis)
        found = steps.step(0, steps.asked(asked)[0], asked)
        q = np.linalg.eigh(g)[1][:, -rank:]
        inside = np.linalg.solve(q.T @ g @ q + damping * np.eye(rank), q.T @ steps.gradient[0])
        np.testing.assert_allclose(found, q @ inside, rtol=1e-7, atol=1e-10)
    plain = directions(subject, subject.network, x, y, 0)
    np.testing.assert_allclose(found, plain.step(0, plain.asked(asked)[0], asked), atol=1e-10)
    assert d.input_basis(subject) is None
