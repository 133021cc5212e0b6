"""Curvature matrices, eigenpairs, traces and densities against dense oracles."""

import math

import numpy as np
import pytest
import torch
from torch import nn
from torch.func import hessian, jacrev

from new_algorithm.analysis.spectra import (
    GAUSS_NEWTON,
    HESSIAN,
    dense,
    density,
    leading_eigenpairs,
    operator,
    trace,
)
from new_algorithm.back_projection.losses import BERNOULLI, LOGISTIC, SOFTMAX, SQUARED
from new_algorithm.methods.torch_network import torch_objective
from tests.analysis.subjects import flat_function

ROWS, INPUTS = 7, 3


class Sequences(nn.Module):
    """Rows (n, 3) → outputs (n, 2, classes), a label at each of two places."""

    def __init__(self, classes):
        super().__init__()
        self.below, self.above = nn.Linear(INPUTS, 4), nn.Linear(2, classes)

    def forward(self, x):
        return self.above(torch.tanh(self.below(x)).unflatten(1, (2, 2)))


def curved(outputs):
    return nn.Sequential(nn.Linear(INPUTS, 4), nn.Tanh(), nn.Linear(4, outputs))


def relu(outputs):
    return nn.Sequential(
        nn.Linear(INPUTS, 4), nn.ReLU(), nn.Linear(4, 5), nn.ReLU(), nn.Linear(5, outputs)
    )


def problem(name, build=curved):
    torch.manual_seed(3)
    x = torch.randn(ROWS, INPUTS, dtype=torch.float64)
    made = {
        "squared": (SQUARED, build(2), torch.randn(ROWS, 2).double()),
        "logistic": (LOGISTIC, build(1), torch.randint(2, (ROWS,))),
        "softmax": (SOFTMAX, build(3), torch.randint(3, (ROWS,))),
        "sequences": (SOFTMAX, Sequences(3), torch.randint(3, (ROWS, 2))),
        "bernoulli": (BERNOULLI, build(2), torch.rand(ROWS, 2).double()),
    }
    loss, network, y = made[name]
    return loss, network.double(), x, y


def oracle(kind, network, value, x):
    """H of the whole loss in all parameters; or Jᵀ Λ J, Λ of the whole loss in all outputs."""
    theta, outputs = flat_function(network, x)
    if kind == HESSIAN:
        return hessian(lambda one: value(outputs(one)))(theta).numpy()
    found = outputs(theta)
    jacobian = jacrev(outputs)(theta).flatten(0, -2)
    middle = hessian(lambda one: value(one.view(found.shape)))(found.flatten())
    return (jacobian.T @ middle @ jacobian).numpy()


@pytest.mark.parametrize("kind", [HESSIAN, GAUSS_NEWTON])
@pytest.mark.parametrize("name", ["squared", "logistic", "softmax", "sequences", "bernoulli"])
def test_matrices_are_those_of_the_mean_loss_in_batches_of_any_size(kind, name):
    loss, network, x, y = problem(name)

    objective = torch_objective(loss)
    labels = y.flatten() if loss is SOFTMAX else y
    outputs = network(x).detach().flatten(0, -2)
    expected = loss.value(outputs.numpy(), labels.numpy())
    assert float(objective(network(x), y).detach()) == pytest.approx(expected)
    batches = list(zip(x.split(4), y.split(4), strict=True))  # of four rows and of three
    matrix = operator(kind, network, objective, batches)
    known = oracle(kind, network, lambda found: objective(found, y), x)
    np.testing.assert_allclose(dense(matrix), known, atol=1e-12)


def test_a_layers_block_is_cut_out_of_the_whole_and_one_in_a_relu_network():
    loss, network, x, y = problem("softmax", relu)
    objective = torch_objective(loss)
    wholes, blocks = (
        {
            kind: dense(operator(kind, network, objective, [(x, y)], chosen))
            for kind in (HESSIAN, GAUSS_NEWTON)
        }
        for chosen in (None, list(network[2].parameters()))
    )
    own = slice(16, 16 + 25)  # after 4 × 3 weights and 4 biases come 5 × 4 and 5
    for kind, whole in wholes.items():
        np.testing.assert_allclose(blocks[kind], whole[own, own], atol=1e-12)
    np.testing.assert_allclose(blocks[HESSIAN], blocks[GAUSS_NEWTON], atol=1e-12)
    assert not np.allclose(wholes[HESSIAN], wholes[GAUSS_NEWTON], atol=1e-3)


def test_convolutions_and_batch_norm_in_evaluation_mode():
    torch.manual_seed(0)
    layers = nn.Conv2d(1, 2, 2), nn.BatchNorm2d(2), nn.Tanh(), nn.Flatten(), nn.Linear(8, 3)
    network = nn.Sequential(*layers).double()
    x, y = torch.randn(6, 1, 3, 3).double(), torch.randint(3, (6,))
    network(x)  # moves the running means
    network.eval()
    objective = torch_objective(SOFTMAX)
    for kind in (HESSIAN, GAUSS_NEWTON):
        matrix = operator(kind, network, objective, [(x[:2], y[:2]), (x[2:], y[2:])])
        known = oracle(kind, network, lambda found: objective(found, y), x)
        np.testing.assert_allclose(dense(matrix), known, atol=1e-12)


@pytest.fixture(scope="module")
def large():
    """A Hessian of more parameters than are formed, and itself."""
    torch.manual_seed(1)
    network = nn.Sequential(nn.Linear(20, 9), nn.Tanh(), nn.Linear(9, 4)).double()
    x, y = torch.randn(50, 20).double(), torch.randint(4, (50,))
    matrix = operator(HESSIAN, network, torch_objective(SOFTMAX), [(x, y)])
    assert matrix.shape[0] == 229
    return matrix, dense(matrix)


def test_lanczos_finds_both_ends_and_says_how_well(large):
    matrix, whole = large
    found = leading_eigenpairs(matrix, 5, 0, 2)
    known = np.linalg.eigvalsh(whole)
    assert known[0] < 0
    np.testing.assert_allclose(found.values, known[[0, 1, *range(-5, 0)]], rtol=1e-4)
    left = whole @ found.vectors - found.vectors * found.values
    told = np.linalg.norm(left, axis=0) / np.abs(found.values)
    np.testing.assert_allclose(found.residuals, told, rtol=1e-3, atol=1e-12)
    assert (found.residuals < 1e-2).all()


def test_small_matrices_are_decomposed_and_give_all_that_there_are():
    loss, network, x, y = problem("logistic")
    matrix = operator(HESSIAN, network, torch_objective(loss), [(x, y)])
    found = leading_eigenpairs(matrix, 30, 0)
    np.testing.assert_allclose(found.values, np.linalg.eigvalsh(dense(matrix)), atol=1e-12)
    assert trace(matrix, 5, 2) == (pytest.approx(np.trace(dense(matrix))), 0.0)


def test_the_trace_is_within_its_error_bar(large):
    matrix, whole = large
    torch.manual_seed(0)
    estimates = [trace(matrix, 12, 4) for _ in range(8)]
    values, errors = np.array(estimates).T
    assert abs(values - np.trace(whole)).max() < 6 * errors.mean()
    assert values.std() == pytest.approx(errors.mean(), rel=0.7)  # the bar is the estimate's spread
    assert errors.mean() < 0.1 * np.trace(whole)


def test_the_density_is_one_in_all_and_its_mean_is_that_of_the_eigenvalues(large):
    matrix, whole = large
    torch.manual_seed(0)
    known = np.linalg.eigvalsh(whole)
    probes, d = 8, len(known)
    found = density(matrix, (known[0], known[-1]), 25, probes)
    grid, mean, error = found.grid, found.mean, found.error
    step = grid[1] - grid[0]
    assert mean.sum() * step == pytest.approx(1, rel=1e-3)
    # of v uniform on the sphere vᵀAv has the variance 2/(d + 2) times that of the eigenvalues
    deviation = np.sqrt(2 / (d + 2) / probes) * known.std()
    assert (grid * mean).sum() * step == pytest.approx(known.mean(), abs=4 * deviation)
    half = known[-1] / 2  # above it there are few, which each probe sees by its own weights
    share, bar = found.share_above(half)
    assert share == pytest.approx(mean[grid > half].sum() * step)
    assert share == pytest.approx((known > half).mean(), abs=5 * bar)
    assert 0.005 < (error[grid > half].sum() / mean[grid > half].sum()) < 1
    assert 0 < bar < 0.02


def test_the_density_of_a_small_matrix_is_that_of_its_eigenvalues_without_error():
    loss, network, x, y = problem("softmax")
    matrix = operator(GAUSS_NEWTON, network, torch_objective(loss), [(x, y)])
    known = np.linalg.eigvalsh(dense(matrix))
    found = density(matrix, (0.0, known[-1]), 25, 3)
    width = 2 / (len(known) - 1) / math.sqrt(8 * math.log(3)) * 1.1 * known[-1] / 2  # of a bump
    bumps = np.exp(-(((found.grid[:, None] - known) / width) ** 2) / 2)
    expected = bumps.mean(axis=1) / width / math.sqrt(2 * math.pi)
    np.testing.assert_allclose(found.mean, expected, rtol=1e-9, atol=1e-12)
    assert not found.error.any()
    level = (known[-2] + known[-1]) / 2
    share, bar = found.share_above(level)
    assert share == pytest.approx(1 / len(known), rel=0.05)
    assert bar == 0
