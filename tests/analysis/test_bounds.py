"""Bounds by size and by norms: by hand on small matrices, their symmetries, and exact classes."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import comb

from new_algorithm.analysis import bounds
from new_algorithm.back_projection.network import append_ones, forward, initial_weights


def complexity(matrices, references):
    return math.exp(bounds.log_spectral_complexity(matrices, references))


FIRST, SECOND = np.diag([3.0, 1.0]), np.array([[2.0, 0.0], [0.0, 1.0]])
ZERO = [np.zeros((2, 2))] * 2


def value(bound):
    return math.exp(bound.log_value)


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
    assert complexity([FIRST, SECOND], ZERO) == pytest.approx(expected)
    # a reference that is the first layer leaves the second's term: 6 · 3/2
    near = complexity([FIRST, SECOND], [FIRST, ZERO[1]])
    assert near == pytest.approx(9)
    # incoming weights of units are columns: (3, 4) and (0, 0)
    column = np.array([[3.0, 0.0], [4.0, 0.0]])
    assert bounds.column_norms(column).sum() == pytest.approx(5)


@given(st.floats(0.1, 10))
def test_what_does_not_change_the_network_does_not_change_its_complexity(factor):
    scaled = [FIRST * factor, SECOND / factor]
    same = complexity([FIRST, SECOND], ZERO)
    assert complexity(scaled, ZERO) == pytest.approx(same)
    margins = np.linspace(0.1, 2, 50)
    of_both = [bounds.frobenius_bound(m, 3.0, margins, 0.05) for m in ([FIRST, SECOND], scaled)]
    # products of norms are rounded after they are taken, up to a step at a rounding error
    assert of_both[0].log_value == pytest.approx(of_both[1].log_value, abs=1.1 * bounds.STEP)


def test_outputs_and_margins_scaled_together_leave_the_bounds_but_for_the_grid():
    rng = np.random.default_rng(1)
    matrices = bounds.without_biases(drawn(rng))
    margins = rng.uniform(0.5, 3, 200)
    larger = [*matrices[:-1], 50 * matrices[-1]]
    zero = [np.zeros_like(a) for a in matrices]
    for bound in (
        lambda m, of: bounds.spectral_bound(m, zero, 20.0, of, 0.05),
        lambda m, of: bounds.frobenius_bound(m, 20.0, of, 0.05),
    ):
        of_both = [value(bound(larger, 50 * margins)), value(bound(matrices, margins))]
        assert of_both[0] == pytest.approx(of_both[1], rel=1.5)


def test_the_spectral_bound_is_its_formula_with_norms_rounded_up():
    rng = np.random.default_rng(2)
    matrices, n = [rng.standard_normal((4, 3))], 10**6
    zero = [np.zeros((4, 3))]
    margins = np.full(n, 50.0)
    log_value, margin = bounds.spectral_bound(matrices, zero, 1000.0, margins, 0.05)
    r = complexity(matrices, zero)
    slope = 72 * 1000 * math.sqrt(math.log(32)) * math.log(n) * r / (margin * n)
    least = slope + 8 / n**1.5 + 3 * math.sqrt(math.log(2 / 0.05) / (2 * n))
    assert margin == pytest.approx(50 * math.exp(-bounds.STEP / 2), rel=bounds.STEP / 2)
    assert least < math.exp(log_value) < math.e * slope + 0.02
    nothing = bounds.spectral_bound(matrices, matrices, 1000.0, margins, 0.05)
    assert value(nothing) < 0.02  # the class is the reference alone: Hoeffding remains


def test_hundreds_of_layers_are_in_logarithms_what_few_are():
    """Each further layer 100 I multiplies R_A's product by 100 and adds 2 to each 2/3 power, as
    ‖100 I‖_{2,1} is 200, twice its spectral norm."""
    margins, layer = np.linspace(0.1, 2, 50), 100 * np.eye(2)
    for count in (3, 400):
        matrices = [layer] * count
        zero = [np.zeros((2, 2))] * count
        expected = count * math.log(100) + 1.5 * math.log(count * 2 ** (2 / 3))
        assert bounds.log_spectral_complexity(matrices, zero) == pytest.approx(expected)
        found = bounds.spectral_bound(matrices, zero, 3.0, margins, 0.05)
        rest = math.log(72 * 3 / 50 * math.sqrt(math.log(8)) * math.log(50) / found.margin)
        # rounding up multiplies a product by e at most, and 2/3 powers by little
        assert expected + rest <= found.log_value <= expected + rest + 2.5
        frobenius = bounds.frobenius_bound(matrices, 3.0, margins, 0.05)
        norm = 100 * math.sqrt(2)
        products = (count - 1) * math.log(2 * norm) + math.log(2 * 100)
        rest = math.log(4 * 3 / 50 / frobenius.margin)
        assert products + rest <= frobenius.log_value <= products + rest + 2 * bounds.STEP + 0.1


def test_the_shares_of_delta_sum_to_one():
    j = np.arange(-(10**6), 10**6 + 1)
    assert np.exp(-bounds._cost(j)).sum() == pytest.approx(1, abs=1e-5)


def test_rounding_is_upwards_and_by_less_than_a_step():
    values = np.array([1e-3, 0.7, 1.0, 42.0])
    logs, cost = bounds._rounded_up(np.log(values), 0.1)
    up = np.exp(logs)
    assert (up >= values * (1 - 1e-12)).all()
    assert (up < values * math.exp(0.1 + 1e-9)).all()
    assert cost > bounds._rounded_up(np.log(values[2:3]), 0.1)[1]


def test_a_linear_class_has_less_rademacher_complexity_than_is_allowed_for():
    """sup over ‖w‖ ≤ 1 of Σ ε_i wᵀx_i / n is ‖Σ ε_i x_i‖ / n; of one output the slope is 4 Rad."""
    rng = np.random.default_rng(3)
    x = rng.standard_normal((100, 5))
    signs = rng.choice([-1, 1], (2000, 100))
    exact = np.linalg.norm(signs @ x, axis=1).mean() / 100
    allowed = np.linalg.norm(x) / 100
    assert 0.9 * allowed < exact < allowed
    column = np.ones((5, 1)) / math.sqrt(5)
    found = bounds.frobenius_bound([column], np.linalg.norm(x), np.full(100, 9.0), 0.05)
    margin = found.margin
    rest = 3 * math.sqrt((math.log(40) + 30) / 200)
    most = 4 * allowed * math.exp(bounds.STEP) / margin + rest
    assert 4 * allowed / margin <= value(found) <= most


def test_hidden_layers_cost_twice_their_norm():
    margins = np.full(1000, 1e-3)
    layers = [np.diag([3.0, 4.0]), np.eye(2)]
    deep = value(bounds.frobenius_bound(layers, 1e15, margins, 0.05))
    shallow = value(bounds.frobenius_bound(layers[1:], 1e15, margins, 0.05))
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
