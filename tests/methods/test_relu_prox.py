"""The ReLU's sub-problem against a search over the line."""

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from scipy.optimize import minimize_scalar

from new_algorithm.methods.splitting import relu_prox

VALUE = st.floats(-5, 5).map(lambda value: round(value, 6))


def cost(u, v, m, t):
    return (v - np.maximum(u, 0)) ** 2 + t * (u - m) ** 2


def least_cost(v, m, t):
    """The least of a fine grid, made better by a golden-section search around it."""
    grid = np.linspace(-6, 6, 2401)  # the minimiser lies between 0, v and m
    best = grid[np.argmin(cost(grid, v, m, t))]
    around = minimize_scalar(
        cost, bracket=(best - 0.01, best, best + 0.01), args=(v, m, t), method="golden"
    )
    return min(around.fun, cost(best, v, m, t))


@given(VALUE, VALUE, st.floats(1e-3, 1e3))
@example(0.0, 0.0, 1.0)
@example(1.0, 0.0, 1.0)
@example(-1.0, 0.5, 1.0)
@example(-1.0, -0.5, 1.0)
@example(1.0, -0.41, 1.0)  # on either side of κ = √2 − 1
@example(1.0, -0.42, 1.0)
@example(1.0, -4.9, 1e-3)
def test_nothing_on_the_line_is_better(v, m, t):
    found = relu_prox(np.array([v]), np.array([m]), t)[0]
    assert cost(found, v, m, t) <= least_cost(v, m, t) + 1e-9 * (1 + t)


@pytest.mark.parametrize("t", [1e-3, 0.5, 1.0, 7.0, 1e4])
def test_branches_change_where_they_cost_the_same(t):
    kappa = np.sqrt((1 + t) / t) - 1
    at = np.array([-kappa * (1 - 1e-6), -kappa * (1 + 1e-6)])
    inside, outside = relu_prox(np.ones(2), at, t)
    assert inside > 0 > outside == at[1]
    np.testing.assert_allclose(cost(inside, 1, at[0], t), cost(outside, 1, at[1], t), rtol=1e-5)


def test_arrays_keep_their_shape_and_type_and_are_not_written():
    rng = np.random.default_rng(0)
    v, m = rng.standard_normal((2, 4, 3)).astype(np.float32)
    before = v.copy(), m.copy()
    found = relu_prox(v, m, 2.0)
    assert found.shape == (4, 3)
    assert found.dtype == np.float32
    np.testing.assert_array_equal((v, m), before)


def test_what_fits_already_stays():
    u = np.array([-2.0, -0.1, 0.0, 0.3, 4.0])
    np.testing.assert_allclose(relu_prox(np.maximum(u, 0), u, 3.0), u, rtol=1e-15)
