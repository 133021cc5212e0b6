"""The input layer in the leading eigenvectors of its Gram."""

import numpy as np
import pytest

from new_algorithm.back_projection.eigenbasis import leading_eigenbasis
from new_algorithm.back_projection.layer_problem import (
    absolute_penalties,
    gram,
    weight_change_exact,
)
from new_algorithm.back_projection.network import append_ones, forward, initial_weights
from new_algorithm.back_projection.sweep import EigenbasisSolver


def correlated(rng, rows=200, features=12):
    return rng.standard_normal((rows, features)) @ rng.standard_normal((features, features)) + 1


def test_projected_data_have_the_diagonal_gram_even_from_a_sample_of_rows():
    x = correlated(np.random.default_rng(0))
    basis = leading_eigenbasis(x, rank=5, sample_rows=50)
    np.testing.assert_allclose(basis.vectors.T @ basis.vectors, np.eye(5), atol=1e-12)
    np.testing.assert_allclose(
        gram(basis.project(x)), np.diag(basis.values), atol=1e-10 * basis.values[0]
    )
    assert (np.diff(basis.values) <= 0).all()


def test_all_rows_give_the_leading_eigenvalues():
    x = correlated(np.random.default_rng(1))
    basis = leading_eigenbasis(x, rank=4)
    eigenvalues = np.linalg.eigvalsh(gram(append_ones(x)))
    np.testing.assert_allclose(basis.values, eigenvalues[:-5:-1])
    assert basis.mean_eigenvalue == pytest.approx(eigenvalues.mean())
    assert basis.explained == pytest.approx(eigenvalues[-4:].sum() / eigenvalues.sum())


def test_full_rank_solve_is_the_exact_form():
    rng = np.random.default_rng(2)
    x, wanted = correlated(rng), rng.standard_normal((200, 6))
    layer = rng.standard_normal((13, 6))
    basis = leading_eigenbasis(x, rank=13)
    step = EigenbasisSolver(basis, 0.5)(basis.project(x), basis.vectors.T @ layer, wanted)
    inputs = append_ones(x)
    lambda_w, _ = absolute_penalties(inputs, layer, 0.5, np.inf)
    expected = weight_change_exact(inputs, layer, wanted, lambda_w, np.inf)
    np.testing.assert_allclose(basis.vectors @ step.weight_change, expected, atol=1e-11)


def test_truncated_solve_is_the_exact_form_restricted_to_the_basis():
    rng = np.random.default_rng(3)
    x, wanted = correlated(rng), rng.standard_normal((200, 6))
    layer = rng.standard_normal((13, 6))
    basis = leading_eigenbasis(x, rank=4)
    step = EigenbasisSolver(basis, 0.5)(basis.project(x), basis.vectors.T @ layer, wanted)
    inputs = append_ones(x)
    lambda_w, _ = absolute_penalties(inputs, layer, 0.5, np.inf)
    expected = weight_change_exact(inputs, layer, wanted, lambda_w, np.inf)
    projector = basis.vectors @ basis.vectors.T
    np.testing.assert_allclose(basis.vectors @ step.weight_change, projector @ expected, atol=1e-9)


def test_no_penalty_on_rank_deficient_data_is_least_squares():
    rng = np.random.default_rng(5)
    x = np.repeat(rng.standard_normal((40, 3)), 2, axis=1)  # every feature twice
    wanted = rng.standard_normal((40, 2))
    basis = leading_eigenbasis(x, rank=7)
    step = EigenbasisSolver(basis, 0.0)(basis.project(x), np.zeros((7, 2)), wanted)
    least_norm = np.linalg.pinv(append_ones(x)) @ wanted
    np.testing.assert_allclose(basis.vectors @ step.weight_change, least_norm, atol=1e-8)


def test_network_in_the_basis_is_the_network_on_the_data():
    rng = np.random.default_rng(4)
    x = correlated(rng)
    basis = leading_eigenbasis(x, rank=3)
    weights = initial_weights(rng, (12, 8, 2), np.float64)
    weights[0] = basis.vectors.T @ weights[0]
    _, in_basis = forward(weights, basis.project(x))
    _, on_data = forward([basis.vectors @ weights[0], weights[1]], append_ones(x))
    np.testing.assert_allclose(in_basis, on_data, atol=1e-12)


@pytest.mark.parametrize("x", [np.zeros((20, 3)), np.ones((20, 3)), np.ones((1, 3))])
def test_degenerate_data_give_a_finite_step(x):
    basis = leading_eigenbasis(x.astype(np.float32), rank=10)
    assert basis.vectors.shape == (4, 4)
    inputs = basis.project(x.astype(np.float32))
    step = EigenbasisSolver(basis, 1.0)(inputs, np.zeros((4, 2), np.float32), np.ones((len(x), 2)))
    assert np.isfinite(step.weight_change).all()
