"""Bounds by size and by norms: by hand on small matrices, their symmetries, and exact classes."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import comb

from new_algorithm.analysis import bounds
from new_algorithm.back_projection.network import append_ones, forward, initial_weights

FIRST, SECOND = np.diag([3.0, 1.0]), np.array([[2.0, 0.0], [0.0, 1.0]])
ZERO = [np.zeros((2, 2))] * 2


def drawn(rng, widths=(6, 5, 4, 3)):
    weights = initial_weights(rng, widths, np.float64)
    for weight in weights:
        weight[-1] = rng.standard_normal(weight.shape[1])
    return weights


def test_the_network_without_biases_computes_the_same():
    rng = np.random.default_rng(0)
    weights, x = drawn(rng), rng.standard_normal((7, 6))
    h = np.column_stack([x, np.ones(7)])
    matrices = bounds.without_biases(weights)
    for matrix in matrices[:-1]:
        h = np.maximum(h @ matrix, 0)
    np.testing.assert_allclose(h @ matrices[-1], forward(weights, append_ones(x))[1], atol=1e-12)


def test_spectral_complexity_by_hand():
    # norms 3 and 2, ‖·‖_{2,1} 4 and 3
    expected = 6 * ((4 / 3) ** (2 / 3) + (3 / 2) ** (2 / 3)) ** 1.5
    assert bounds.spectral_complexity([FIRST, SECOND], ZERO) == pytest.approx(expected)
    # a reference that is the first layer leaves the second's term: 6 · 3/2
    near = bounds.spectral_complexity([FIRST, SECOND], [FIRST, ZERO[1]])
    assert near == pytest.approx(9)
    # incoming weights of units are columns: (3, 4) and (0, 0)
    column = np.array([[3.0, 0.0], [4.0, 0.0]])
    assert bounds.column_norms(column).sum() == pytest.approx(5)


@given(st.floats(0.1, 10))
def test_what_does_not_change_the_network_does_not_change_its_complexity(factor):
    scaled = [FIRST * factor, SECOND / factor]
    same = bounds.spectral_complexity([FIRST, SECOND], ZERO)
    assert bounds.spectral_complexity(scaled, ZERO) == pytest.approx(same)
    margins = np.linspace(0.1, 2, 50)
    of_both = [bounds.frobenius_bound(m, 3.0, margins, 0.05) for m in ([FIRST, SECOND], scaled)]
    # products of norms are rounded after they are taken, up to a step at a rounding error
    assert of_both[0].value == pytest.approx(of_both[1].value, rel=1.1 * bounds.STEP)


def test_outputs_and_margins_scaled_together_leave_the_bounds_but_for_the_grid():
    rng = np.random.default_rng(1)
    matrices = bounds.without_biases(drawn(rng))
    margins = rng.uniform(0.5, 3, 200)
    larger = [*matrices[:-1], 50 * matrices[-1]]
    zero = [np.zeros_like(a) for a in matrices]
    for bound in (
        lambda m, of: bounds.spectral_bound(m, zero, 20.0, of, 0.05).value,
        lambda m, of: bounds.frobenius_bound(m, 20.0, of, 0.05).value,
    ):
        assert bound(larger, 50 * margins) == pytest.approx(bound(matrices, margins), rel=1.5)


def test_the_spectral_bound_is_its_formula_with_norms_rounded_up():
    rng = np.random.default_rng(2)
    matrices, n = [rng.standard_normal((4, 3))], 10**6
    zero = [np.zeros((4, 3))]
    margins = np.full(n, 50.0)
    value, margin = bounds.spectral_bound(matrices, zero, 1000.0, margins, 0.05)
    r = bounds.spectral_complexity(matrices, zero)
    slope = 72 * 1000 * math.sqrt(math.log(32)) * math.log(n) * r / (margin * n)
    least = slope + 8 / n**1.5 + 3 * math.sqrt(math.log(2 / 0.05) / (2 * n))
    assert margin == pytest.approx(50 * math.exp(-bounds.STEP / 2), rel=bounds.STEP / 2)
    assert least < value < math.e * slope + 0.02
    nothing = bounds.spectral_bound(matrices, matrices, 1000.0, margins, 0.05)
    assert nothing.value < 0.02  # the class is the reference alone: Hoeffding remains


def test_the_shares_of_delta_sum_to_one():
    j = np.arange(-(10**6), 10**6 + 1)
    assert np.exp(-bounds._cost(j)).sum() == pytest.approx(1, abs=1e-5)


def test_rounding_is_upwards_and_by_less_than_a_step():
    values = np.array([1e-3, 0.7, 1.0, 42.0])
    up, cost = bounds._rounded_up(values, 0.1)
    assert (up >= values * (1 - 1e-12)).all()
    assert (up < values * math.exp(0.1 + 1e-9)).all()
    assert cost > bounds._rounded_up(values[2:3], 0.1)[1]


def test_a_linear_class_has_less_rademacher_complexity_than_is_allowed_for():
    """sup over ‖w‖ ≤ 1 of Σ ε_i wᵀx_i / n is ‖Σ ε_i x_i‖ / n; of one output the slope is 4 Rad."""
    rng = np.random.default_rng(3)
    x = rng.standard_normal((100, 5))
    signs = rng.choice([-1, 1], (2000, 100))
    exact = np.linalg.norm(signs @ x, axis=1).mean() / 100
    allowed = np.linalg.norm(x) / 100
    assert 0.9 * allowed < exact < allowed
    column = np.ones((5, 1)) / math.sqrt(5)
    value, margin = bounds.frobenius_bound([column], np.linalg.norm(x), np.full(100, 9.0), 0.05)
    rest = 3 * math.sqrt((math.log(40) + 30) / 200)
    assert 4 * allowed / margin <= value <= 4 * allowed * math.exp(bounds.STEP) / margin + rest


def test_hidden_layers_cost_twice_their_norm():
    margins = np.full(1000, 1e-3)
    layers = [np.diag([3.0, 4.0]), np.eye(2)]
    deep = bounds.frobenius_bound(layers, 1e15, margins, 0.05).value
    shallow = bounds.frobenius_bound(layers[1:], 1e15, margins, 0.05).value
    assert deep / shallow == pytest.approx(2 * 5, rel=1.1 * bounds.STEP)


@settings(max_examples=50)
@given(st.lists(st.integers(2, 30), min_size=2, max_size=5))
def test_no_more_points_than_the_vc_bound_meet_the_growth_function(widths):
    """m = bound + 1 violates 2^m ≤ 2^L (2e R m / w)^w, and so does every larger m."""
    widths = [*widths, 1]
    layers = len(widths) - 1
    w, r = bounds._polynomials(widths, 1)
    m = bounds.vc_dimension(widths) + 1
    assert m > layers + w * math.log2(2 * math.e * r * m / w)
    assert m > widths[0] + 1  # half-spaces are among the classifiers
    by_hand = sum(
        (layers - i) * (widths[i] + 1) * widths[i + 1] for i in range(layers)
    )  # each parameter counts in all layers from its own on
    assert w == by_hand


def test_labellings_of_half_spaces_are_no_fewer_than_covers():
    for d, points in ((2, 30), (5, 60), (20, 500)):
        cover = math.log(2 * sum(comb(points - 1, k, exact=True) for k in range(d + 1)))
        assert cover <= bounds.log_labellings([d, 1], points) <= points * math.log(2)
    assert bounds.log_labellings([50, 40, 10], 100) == pytest.approx(100 * math.log(10))


def test_the_growth_bound_goes_to_the_training_error_with_rows():
    values = [bounds.growth_bound(0.1, [5, 8, 3], n, 0.05) for n in (10**3, 10**6, 10**9)]
    assert values[0] > 1 > values[1] > values[2] > 0.1
    assert values[2] == pytest.approx(0.1, abs=5e-3)
