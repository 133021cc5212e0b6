"""The sub-problems that splitting methods share, against dense solves and searches."""

from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from scipy.optimize import minimize_scalar

from new_algorithm.back_projection.layer_problem import hidden_change
from new_algorithm.back_projection.network import append_ones
from new_algorithm.cli.errors import UserError
from new_algorithm.methods import splitting
from new_algorithm.methods.splitting import (
    fit_activations,
    numeric_targets,
    relu_prox,
    sum_of_products,
)

SIZE = st.integers(1, 12)
VALUE = st.floats(-5, 5).map(lambda value: round(value, 6))


def fitted(pre, next_pre, next_weight, ratio):
    hidden = np.ones((len(pre), pre.shape[1] + 1))
    fit_activations([None, hidden], [pre, next_pre], [None, next_weight], 0, ratio)
    return hidden[:, :-1]


@given(st.floats(0.01, 100), st.integers(0, 1000), SIZE, SIZE, SIZE)
def test_activations_solve_their_least_squares_problem(ratio, seed, n, d, m):
    rng = np.random.default_rng(seed)
    pre, next_pre = rng.standard_normal((n, d)), rng.standard_normal((n, m))
    weight = rng.standard_normal((d + 1, m))
    hidden = fitted(pre, next_pre, weight, ratio)
    # transposed: one unknown column for each row of H
    rows = np.vstack([np.sqrt(ratio) * np.eye(d), weight[:-1].T])
    targets = np.vstack([np.sqrt(ratio) * np.maximum(pre, 0).T, (next_pre - weight[-1]).T])
    expected = np.linalg.lstsq(rows, targets, rcond=None)[0].T
    np.testing.assert_allclose(hidden, expected, rtol=1e-7, atol=1e-9)


def test_activations_change_as_those_of_back_projection():
    rng = np.random.default_rng(0)
    pre, next_pre = rng.standard_normal((9, 4)), rng.standard_normal((9, 6))
    weight = rng.standard_normal((5, 6))
    hidden = fitted(pre, next_pre, weight, 0.3)
    start = np.maximum(pre, 0)
    change = hidden_change(next_pre - append_ones(start) @ weight, weight, 0.3)
    np.testing.assert_allclose(hidden, start + change, rtol=1e-10)


def test_activations_keep_their_ones():
    rng = np.random.default_rng(0)
    hidden = np.ones((9, 5), np.float32)
    pre = [rng.standard_normal((9, d)).astype(np.float32) for d in (4, 6)]
    fit_activations([hidden, hidden], pre, [None, np.ones((5, 6), np.float32)], 0, 1.0)
    np.testing.assert_array_equal(hidden[:, -1], 1)
    assert np.all(hidden[:, :-1] != 1)


@pytest.mark.parametrize("rows_at_once", [1, 4, 10, 100])
def test_blocks_of_rows_do_not_matter(monkeypatch, rows_at_once):
    monkeypatch.setattr(splitting, "ROWS_AT_ONCE", rows_at_once)
    rng = np.random.default_rng(0)
    left, right = rng.standard_normal((10, 3)), rng.standard_normal((10, 2))
    np.testing.assert_allclose(sum_of_products(left, right), left.T @ right, rtol=1e-12)


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


def test_targets_are_one_hot_or_the_signs_of_two_classes_or_numbers():
    def of(y, num_classes):
        return numeric_targets(
            SimpleNamespace(y_train=np.array(y), num_classes=num_classes, probabilities=False)
        )

    np.testing.assert_array_equal(of([2, 0], 3), [[0, 0, 1], [1, 0, 0]])
    np.testing.assert_array_equal(of([1, 0], 2), [[1], [-1]])
    np.testing.assert_array_equal(of([[0.5, -2.0]], None), [[0.5, -2.0]])
    assert all(of([[1]], classes).dtype == np.float32 for classes in (2, None))


def test_probabilities_are_refused_in_one_line():
    with pytest.raises(UserError, match=r"^the targets of pictures are probabilities, .* leave"):
        numeric_targets(SimpleNamespace(name="pictures", probabilities=True))
