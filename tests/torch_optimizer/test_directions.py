"""Directions from M and Ḡ: factors against NumPy, the polar factor against singular values."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from new_algorithm.torch_optimizer import directions
from new_algorithm.torch_optimizer.directions import (
    RISES,
    damped_factor,
    inverse_root,
    least_squares,
    orthogonal,
    polar,
)
from tests.torch_optimizer.dense import F64, assert_equal, drawn

# What the quintic steps make of singular values from 0.005 of the Frobenius norm to 1.
LEAST, LARGEST = 0.916, 1.084
# By Kantorovich's inequality the least cosine of such values and as many ones.
NEAR = 2 * math.sqrt(LEAST * LARGEST) / (LEAST + LARGEST)


def with_values(values, m, d, seed=0):
    """An m × d matrix with these singular values."""
    u, _ = torch.linalg.qr(drawn(m, len(values), seed=seed))
    v, _ = torch.linalg.qr(drawn(d, len(values), seed=seed + 1))
    return u * torch.as_tensor(values, **F64) @ v.T


def positive(d, condition=100.0, seed=0):
    q, _ = torch.linalg.qr(drawn(d, d, seed=seed))
    return q * torch.logspace(0, -math.log10(condition), d, **F64) @ q.T


def factored(gram, damping=0.0):
    """C and A⁻¹."""
    factor, failed = damped_factor(gram, torch.full(gram.shape[:-2], damping, **F64))
    assert not failed.any()
    return factor, torch.cholesky_inverse(factor)


def exact_polar(x):
    u, _, vt = torch.linalg.svd(x, full_matrices=False)
    return u @ vt


def exact_orthogonal(moment, factor):
    """√max(1, m/d) · polar(M C⁻ᵀ) C⁻¹."""
    m, d = moment.shape
    white = torch.linalg.solve_triangular(factor, moment.T, upper=False).T
    back = torch.linalg.solve_triangular(factor.T, exact_polar(white).T, upper=True).T
    return math.sqrt(max(1, m / d)) * back


def cosine(x, y):
    return float((x * y).sum() / x.norm() / y.norm())


# The factor of Ḡ + λ I.


@given(st.integers(1, 7), st.floats(1e-3, 1e3))
def test_factor_is_that_of_the_damped_gram(d, damping):
    grams = torch.stack([positive(d), 5 * positive(d, seed=2), torch.zeros(d, d, **F64)])
    dampings = damping * torch.tensor([1.0, 2.0, 3.0], **F64)
    factor, failed = damped_factor(grams, dampings)
    assert not failed.any()
    expected = np.linalg.cholesky(grams.numpy() + dampings.numpy()[:, None, None] * np.eye(d))
    assert_equal(factor, torch.from_numpy(expected))


def test_damping_rises_tenfold_where_rounding_has_left_a_negative_eigenvalue():
    q, _ = torch.linalg.qr(drawn(4, 4))
    indefinite = q * torch.tensor([3.0, 1.0, 0.5, -0.02], **F64) @ q.T
    grams = torch.stack([positive(4), indefinite])
    factor, failed = damped_factor(grams, torch.tensor([1e-3, 1e-3], **F64))
    assert not failed.any()
    found = factor @ factor.mT - grams
    for one, damping in zip(found, (1e-3, 0.1), strict=True):
        assert_equal(one, damping * torch.eye(4, **F64), 1e-12 / damping)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_gram_of_few_rows_is_factored_with_hardly_any_damping(dtype):
    rows = drawn(3, 20).to(dtype)
    gram = rows.T @ rows / 3
    factor, failed = damped_factor(gram, torch.zeros((), dtype=dtype))
    assert not failed
    error = (factor @ factor.T - gram).norm() / gram.norm()
    assert error < 1e4 * torch.finfo(dtype).eps


def test_what_is_not_finite_or_far_from_positive_fails_alone():
    eye = torch.eye(3, **F64)
    nan, infinite = eye.clone(), eye.clone()
    nan[1, 1], infinite[0, 0] = math.nan, math.inf
    grams = torch.stack([eye, nan, infinite, -(10.0 ** (RISES + 3)) * eye, 0 * eye])
    factor, failed = damped_factor(grams, torch.ones(5, **F64))
    assert failed.tolist() == [False, True, True, True, False]
    assert_equal(factor[0], math.sqrt(2) * eye)
    assert_equal(factor[4], eye)


def test_zero_has_a_factor_even_without_damping():
    factor, failed = damped_factor(torch.zeros(2, 3, 3), torch.zeros(2))
    assert not failed.any()
    assert (factor.diagonal(dim1=-2, dim2=-1) > 0).all()


# The least-squares solution.


def test_least_squares_tend_to_the_gradient_and_to_the_pseudo_inverse():
    h, delta = drawn(5, 8), drawn(5, 3, seed=1)  # fewer rows than inputs: Ḡ is singular
    gram, moment = h.T @ h / 5, delta.T @ h / 5
    _, inverse = factored(gram, 1e9)
    assert_equal(1e9 * least_squares(moment, inverse), moment, 1e-7)
    _, inverse = factored(gram, 1e-9)
    assert_equal(least_squares(moment, inverse), (torch.linalg.pinv(h) @ delta).T, 1e-6)


# The polar factor in white coordinates.

SHAPES = [(5, 5), (3, 8), (8, 3), (1, 6), (6, 1)]


@given(
    st.sampled_from(SHAPES), st.lists(st.floats(-2, 0), min_size=8, max_size=8), st.integers(0, 9)
)
def test_singular_values_in_white_coordinates_are_about_one(shape, logarithms, seed):
    m, d = shape
    values = [10**one for one in logarithms[: min(m, d)]]
    factor, inverse = factored(positive(d, seed=seed))
    moment = with_values(values, m, d, seed) @ factor.T
    found = torch.linalg.svdvals(orthogonal(moment, inverse) @ factor) / math.sqrt(max(1, m / d))
    assert found.min() > LEAST or min(values) < 0.005 * np.linalg.norm(values)
    assert found.max() < LARGEST


def test_a_wide_matrix_is_cut_into_blocks_of_rows(monkeypatch):
    monkeypatch.setattr(directions, "WIDEST", 4)
    monkeypatch.setattr(directions, "BLOCK_ROWS", 3)
    _, inverse = factored(positive(6))
    moment = drawn(2, 8, 6)
    found = orthogonal(moment, inverse)
    for first in (0, 3, 6):
        block = slice(first, min(first + 3, 8))
        assert_equal(found[:, block], orthogonal(moment[:, block], inverse))
        assert_equal(polar(moment)[:, block], polar(moment[:, block]))
    monkeypatch.setattr(directions, "WIDEST", 8)
    assert not torch.allclose(found, orthogonal(moment, inverse))


@pytest.mark.parametrize(("m", "d"), SHAPES)
def test_direction_is_that_of_the_exact_polar_factor(m, d):
    factor, inverse = factored(positive(d))
    values = torch.linspace(1, 3, min(m, d)).tolist()
    moment = with_values(values, m, d) @ factor.T
    found, expected = orthogonal(moment, inverse), exact_orthogonal(moment, factor)
    assert cosine(found @ factor, expected @ factor) > NEAR
    length = (found @ factor).norm() / math.sqrt(min(m, d) * max(1, m / d))
    assert LEAST < length < LARGEST


@given(st.sampled_from(SHAPES), st.floats(-8, 8))
def test_scale_of_the_gradient_does_not_count(shape, exponent):
    m, d = shape
    moment, (_, inverse) = drawn(m, d), factored(positive(d))
    scaled = orthogonal(10**exponent * moment, inverse)
    assert_equal(scaled, orthogonal(moment, inverse), 1e-9)


@given(st.sampled_from(SHAPES), st.integers(0, 20))
def test_change_of_outputs_is_the_same_in_any_coordinates_of_the_inputs(shape, seed):
    m, d = shape
    h, delta = drawn(30, d, seed=seed), drawn(30, m, seed=seed + 1)
    turned = h @ (torch.eye(d, **F64) + 0.5 * drawn(d, d, seed=seed + 2) / d) * 7
    changes = []
    for inputs in (h, turned):
        _, inverse = factored(inputs.T @ inputs / 30)
        for direction in (orthogonal, least_squares):
            changes.append(inputs @ direction(delta.T @ inputs / 30, inverse).T)
    assert_equal(changes[2], changes[0], 1e-6)
    assert_equal(changes[3], changes[1], 1e-6)


@pytest.mark.parametrize(("m", "d"), SHAPES)
def test_without_curvature_it_is_the_polar_factor_of_the_gradient(m, d):
    """λ_w → ∞: A → λ I, and √λ δW̃ is Muon's direction."""
    moment, (_, inverse) = drawn(m, d), factored(positive(d), 1e9)
    found = math.sqrt(1e9) * orthogonal(moment, inverse)
    assert_equal(found, math.sqrt(max(1, m / d)) * polar(moment), 1e-6)
    assert cosine(polar(moment), exact_polar(moment)) > NEAR


@pytest.mark.parametrize(("m", "d"), SHAPES)
def test_blocks_side_by_side_are_those_one_by_one(m, d):
    grams = torch.stack([positive(d, seed=seed) for seed in range(3)])
    moments, (_, inverses) = drawn(3, m, d), factored(grams)
    moments[1] = 0
    found = orthogonal(moments, inverses)
    assert not found[1].any()
    for one, moment, inverse in zip(found, moments, inverses, strict=True):
        assert_equal(one, orthogonal(moment, inverse), 1e-12)


@pytest.mark.parametrize(("m", "d"), SHAPES)
def test_single_precision_gives_the_same_direction(m, d):
    moment, (_, inverse) = drawn(m, d), factored(positive(d, 1e4))
    found = orthogonal(moment.float(), inverse.float()).double()
    assert cosine(found, orthogonal(moment, inverse)) > 0.9999


def test_inverse_root_is_near_that_by_eigenvalues():
    s = positive(6, 3.0)
    values, vectors = torch.linalg.eigh(s)
    root, expected = (vectors * v @ vectors.T for v in (values.sqrt(), values.rsqrt()))
    assert cosine(inverse_root(s) @ root, expected @ root) > NEAR
    ratios = torch.linalg.eigvalsh(inverse_root(s) @ root)
    assert LEAST < ratios.min() <= ratios.max() < LARGEST
