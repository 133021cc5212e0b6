"""The sub-problems that splitting methods share, against dense solves."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from new_algorithm.back_projection.layer_problem import hidden_change
from new_algorithm.back_projection.network import append_ones
from new_algorithm.methods import splitting as layer_splitting
from new_algorithm.methods.splitting import fit_activations, sum_of_products

SIZE = st.integers(1, 12)


@given(st.floats(0.01, 100), st.integers(0, 1000), SIZE, SIZE, SIZE)
def test_activations_solve_their_least_squares_problem(ratio, seed, n, d, m):
    rng = np.random.default_rng(seed)
    pre, next_pre = rng.standard_normal((n, d)), rng.standard_normal((n, m))
    layer = rng.standard_normal((d + 1, m))
    hidden = np.empty((n, d))
    fit_activations(hidden, pre, next_pre, layer, ratio)
    # transposed: one unknown column for each row of H
    rows = np.vstack([np.sqrt(ratio) * np.eye(d), layer[:-1].T])
    targets = np.vstack([np.sqrt(ratio) * np.maximum(pre, 0).T, (next_pre - layer[-1]).T])
    expected = np.linalg.lstsq(rows, targets, rcond=None)[0].T
    np.testing.assert_allclose(hidden, expected, rtol=1e-7, atol=1e-9)


def test_activations_change_as_those_of_back_projection():
    rng = np.random.default_rng(0)
    pre, next_pre = rng.standard_normal((9, 4)), rng.standard_normal((9, 6))
    layer = rng.standard_normal((5, 6))
    hidden = np.empty((9, 4))
    fit_activations(hidden, pre, next_pre, layer, 0.3)
    start = np.maximum(pre, 0)
    change = hidden_change(next_pre - append_ones(start) @ layer, layer, 0.3)
    np.testing.assert_allclose(hidden, start + change, rtol=1e-10)


def test_a_view_of_activations_keeps_its_ones_and_type():
    rng = np.random.default_rng(0)
    hidden = np.ones((9, 5), np.float32)
    pre, next_pre = (rng.standard_normal((9, d)).astype(np.float32) for d in (4, 6))
    fit_activations(hidden[:, :-1], pre, next_pre, np.ones((5, 6), np.float32), 1.0)
    np.testing.assert_array_equal(hidden[:, -1], 1)
    assert np.all(hidden[:, :-1] != 1)


@pytest.mark.parametrize("rows_at_once", [1, 4, 10, 100])
def test_blocks_of_rows_do_not_matter(monkeypatch, rows_at_once):
    monkeypatch.setattr(layer_splitting, "ROWS_AT_ONCE", rows_at_once)
    rng = np.random.default_rng(0)
    left, right = rng.standard_normal((10, 3)), rng.standard_normal((10, 2))
    np.testing.assert_allclose(sum_of_products(left, right), left.T @ right, rtol=1e-12)
