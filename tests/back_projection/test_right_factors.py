"""A finite λ_h in the layer's own problem: the curvature, the solution, and that it descends."""

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from new_algorithm.back_projection import gram, layer_problem
from new_algorithm.back_projection.network import FlatParameters, forward
from new_algorithm.back_projection.right_factors import DRAWS, RightFactors, right_factor, root
from new_algorithm.back_projection.solvers import Penalties
from tests.back_projection.problems import (
    LOSSES,
    assert_near,
    by_cg,
    factored,
    in_processes,
    problem,
)

LAMBDA_W = 0.2


def factors(layers: int, rho: float = 0.5, **options) -> RightFactors:
    return RightFactors([rho] * layers, decay=0.0, gram_every=1, factor_every=1, **options)


def swept(made, rho=0.5, make=factored, chunks=None, ours=None, **options):
    """ours: the right factors, which it changes; others, with ρ, unless they are given."""
    solvers = [make(Penalties(LAMBDA_W)) for _ in made.weights]
    ours = ours or factors(len(solvers), rho)
    sweep = made.sweep(solvers, right_factors=ours, **options)
    sweep(made.weights, chunks or made.chunks())
    return sweep


def multiplied(of: RightFactors, moments: FlatParameters):
    product = moments.zeros_like()
    of.multiply(moments, product)
    return product.flat


def positive(rng, k):
    a = rng.standard_normal((k, k + 1))
    return a @ a.T


def sampled_curvatures(made, row_weights=None, first=0, last=None, every=1):
    """Σ s_i g_i g_iᵀ of each layer, by the derivatives of the outputs in each Z, row by row."""
    rng = np.random.default_rng([DRAWS, 1])
    activations, output = forward(made.weights, made.inputs[first:last:every])
    residuals = made.loss.sampled_residual(output, rng)
    found = [np.zeros((weight.shape[1],) * 2) for weight in made.weights]
    for row, residual in enumerate(residuals):
        of_row = 1.0 if row_weights is None else row_weights[row]
        jacobian = np.eye(output.shape[1])  # ∂f/∂z_l
        for index in reversed(range(len(found))):
            g = jacobian.T @ residual
            found[index] += of_row * np.outer(g, g)
            if index:
                on = np.diag(activations[index][row, :-1] > 0)
                jacobian = jacobian @ made.weights[index][:-1].T @ on
    return found


def total_of_first_layer(made):
    """Σ g gᵀ of the first layer, as a sweep adds it up."""
    watched = factors(len(made.weights))
    seen = []
    watched.observe = lambda totals, rows: seen.extend(totals)
    swept(made, ours=watched, in_chunks=True)  # which show all of their rows
    return seen[0]


@pytest.mark.parametrize("loss", LOSSES)
def test_mean_of_many_draws_is_the_gauss_newton_matrix(loss):
    # Σ Jᵀ ∂²loss/∂f² J, J the derivative of f in the first layer's Z: by differences of f, and of
    # the residual
    made, eps, draws = problem((4, 5, 3), loss, rows=3), 1e-6, 20_000
    activations, output = forward(made.weights, made.inputs)
    z, upper = activations[0] @ made.weights[0], made.weights[1]
    m, expected = output.shape[1], np.zeros((5, 5))
    for row in range(3):

        def outputs(of_z):
            return np.append(np.maximum(of_z, 0), 1) @ upper

        jacobian = [
            (outputs(z[row] + move) - outputs(z[row] - move)) / (2 * eps)
            for move in eps * np.eye(5)
        ]
        moved = [output[row] + eps * np.eye(m), output[row] - eps * np.eye(m)]
        up, down = (made.loss.residual(one, made.targets[[row] * m]) for one in moved)
        expected += np.array(jacobian) @ ((down - up) / (2 * eps)) @ np.transpose(jacobian)
    repeated = replace(
        made, inputs=made.inputs.repeat(draws, axis=0), targets=made.targets.repeat(draws, axis=0)
    )
    found = total_of_first_layer(repeated) / draws
    assert np.abs(found - expected).max() < 0.05 * np.abs(expected).max()


@pytest.mark.parametrize("loss", LOSSES)
def test_factors_of_a_sweep_are_those_of_its_batch(loss):
    made = problem(loss=loss)
    activations = forward(made.weights, made.inputs)[0]
    found = [total / made.rows for total in sampled_curvatures(made)]
    sweep = swept(made, rho=0.5)
    for curvature, change, moment, inputs in zip(
        found, sweep.changes.matrices, sweep.moments.matrices, activations, strict=True
    ):
        mean = np.trace(curvature) / len(curvature)
        r = 1.5 * np.linalg.inv(curvature / mean + 0.5 * np.eye(len(curvature)))
        gram = inputs.T @ inputs / made.rows
        lambda_w = LAMBDA_W * np.trace(gram) / len(gram)
        # (5) as one dense system, (G + λ_w I) δW̃ R⁻¹ = M
        dense = np.kron(gram + lambda_w * np.eye(len(gram)), np.linalg.inv(r))
        assert_near(dense @ change.ravel(), moment.ravel(), 1e-8)


@given(st.integers(0, 10**6))
def test_slope_is_never_negative(seed):
    rng = np.random.default_rng(seed)
    loss = rng.choice(list(LOSSES))
    depth = rng.integers(1, 5)
    made = problem([4, *rng.integers(2, 7, depth), 3], loss, seed=seed)
    sweep = swept(made, rho=float(10 ** rng.uniform(-4, 2)))
    for change, moment in zip(sweep.changes.matrices, sweep.moments.matrices, strict=True):
        assert np.vdot(change, moment) >= -1e-9 * np.linalg.norm(change) * np.linalg.norm(moment)


def test_what_is_passed_down_can_point_uphill():
    # Two hidden units, one row, on which the second one is off. Its row of W has no part in the
    # gradient, but in K it has: K discounts the direction that both rows share, and what is left
    # of Δ has the other sign along the first one.
    w2 = np.array([[1.0, 0.4], [3.0, 0.0], [0.0, 0.0]])
    w1 = np.array([[1.0, -1.0], [0.0, 0.0]])
    delta, lambda_h = np.array([[1.0, -1.0]]), 0.1
    mask = np.array([[1.0, 0.0]])  # of H = max((1, −1), 0)
    gradient = (delta @ w2[:-1].T) * mask
    passed = layer_problem.passed_down(delta, w2, lambda_h) * mask
    inputs = np.array([[1.0, 1.0]])
    moment, asked = inputs.T @ gradient, inputs.T @ passed
    change = asked / 2.3  # (G + λ_w I)⁻¹ of a right side within the row: a positive factor
    assert np.vdot(change, moment) < -0.1

    def loss(step):
        hidden = np.maximum(inputs @ (w1 + step * change), 0)
        wanted = np.maximum(inputs @ w1, 0) @ w2[:-1] + delta
        return 0.5 * np.square(wanted - hidden @ w2[:-1]).sum()

    assert loss(1e-3) > loss(0.0)
    # in its own problem no λ_h turns the layer round
    for rho in 1e-3, 0.1, 10.0:
        of_output = w2[:-1] * mask.T  # where the first unit alone is on
        own = moment @ right_factor(of_output @ of_output.T, rho)
        assert np.vdot(own, moment) > 0


@pytest.mark.parametrize("make", [factored, by_cg])
def test_limits_of_rho(make):
    made = problem()
    solvers = [make(Penalties(LAMBDA_W)) for _ in made.weights]
    without = made.sweep(solvers)
    without(made.weights, made.chunks())
    assert_near(swept(made, 1e9, make).changes.flat, without.changes.flat, 1e-7)
    assert_near(swept(made, np.inf, make).changes.flat, without.changes.flat, 1e-12)
    # ρ → 0: the Gauss–Newton step, δW̃ S = s̄ (G + λ_w)⁻¹ M
    squares = problem((5, 3), "squared")
    [s] = sampled_curvatures(squares)
    found, left = (swept(squares, rho).changes.matrices[0] for rho in (1e-10, np.inf))
    assert_near(found @ s / (np.trace(s) / 3), left, 1e-8)


@pytest.mark.parametrize("rho", [1e-3, 1.0, 50.0])
def test_a_factor_is_the_inverse_in_units_of_the_mean(rho):
    s = positive(np.random.default_rng(3), 6)
    mean = np.trace(s) / 6
    expected = (1 + rho) * np.linalg.inv(s / mean + rho * np.eye(6))
    assert_near(right_factor(s, rho), expected)
    assert_near(right_factor(1e9 * s, rho), expected)
    half = root(right_factor(s, rho))
    assert_near(half @ half, expected)
    assert_near(half, half.T)
    assert_near(right_factor(np.eye(4), rho), np.eye(4))  # no direction costs more than another


@pytest.mark.parametrize("bad", [0.0, 1e-45, np.nan, np.inf])
@pytest.mark.filterwarnings("error")
def test_what_says_nothing_changes_nothing(bad):
    s = np.zeros((3, 3), np.float32)
    s[0, 0] = bad  # 1e-45, whose mean is not a float32 any more
    np.testing.assert_array_equal(right_factor(s, 0.5), np.eye(3))


def test_halves_make_the_whole():
    made = problem()
    split = factors(len(made.weights), split=True)
    sweep = swept(made, ours=split)
    assert_near(multiplied(split, sweep.changes), swept(made).changes.flat)


@pytest.mark.parametrize("cuts", [(1,), (7, 20, 21)])
def test_chunks_are_the_whole_batch(cuts):
    made = problem()
    assert_near(
        swept(made, chunks=made.chunks(cuts), in_chunks=True).changes.flat,
        swept(made).changes.flat,
        1e-9,
    )


def test_processes_with_shards_are_one():
    made = problem()

    # each draws its labels by the same numbers
    shards = [(0, 12), (12, 31), (31, 40)]
    summed = [sampled_curvatures(made, first=a, last=b) for a, b in shards]
    whole = factors(len(made.weights))
    whole.begin()
    whole.observe([sum(of_layer) for of_layer in zip(*summed, strict=True)], made.rows)

    def work(rank, all_sum):
        a, b = shards[rank]
        ours = factors(len(made.weights))
        mine = made.chunks(first=a, last=b)
        sweep = swept(made, chunks=mine, ours=ours, in_chunks=True, all_sum=all_sum)
        return multiplied(ours, sweep.moments), sweep.moments

    for found, moments in in_processes(3, work):
        assert_near(found, multiplied(whole, moments), 1e-9)


def test_of_a_large_batch_some_rows_show_what_lies_above(monkeypatch):
    monkeypatch.setattr(gram, "GRAM_ROWS", 15)
    made, ours, expected = problem(), factors(3), factors(3)
    row_weights = np.random.default_rng(5).random(made.rows)
    sweep = swept(made, chunks=[(made.inputs, made.targets, row_weights)], ours=ours)
    expected.begin()
    every = math.ceil(made.rows / 15)
    shown = len(range(0, made.rows, every))
    expected.observe(sampled_curvatures(made, row_weights[::every], every=every), shown)
    assert_near(multiplied(ours, sweep.moments), multiplied(expected, sweep.moments), 1e-9)


def test_rows_count_by_their_weights():
    made = problem()
    row_weights = np.random.default_rng(5).random(made.rows)
    ours, expected = factors(3), factors(3)
    sweep = swept(made, chunks=[(made.inputs, made.targets, row_weights)], ours=ours)
    expected.begin()
    expected.observe(sampled_curvatures(made, row_weights), made.rows)
    assert_near(multiplied(ours, sweep.moments), multiplied(expected, sweep.moments), 1e-9)


def test_intervals_and_memory():
    made, rng = problem(), np.random.default_rng(6)
    ours = RightFactors([0.5] * 3, decay=0.9, gram_every=2, factor_every=4)
    needed = []
    for _ in range(14):
        if ours.begin():
            needed.append(ours._iteration - 1)
            totals = [positive(rng, weight.shape[1]) for weight in made.weights]
            ours.observe(totals, 10)
    assert needed == [0, 2, 3, 4, 6, 7, 8, 10, 11, 12]  # even ones; due at 0, 3, 7, 11
    moments = FlatParameters.of(made.weights)
    assert np.linalg.norm(multiplied(ours, moments) - moments.flat) > 0.1
    ours.forget()
    np.testing.assert_array_equal(multiplied(ours, moments), moments.flat)
    assert ours.begin()


def test_a_state_with_averages_of_masks_is_begun_anew():
    made, ours = problem(), factors(3)
    swept(made, ours=ours)
    older = {key.replace("_curvatures", "_averages"): v for key, v in ours.state_dict().items()}
    ours.load_state_dict(older)
    moments = FlatParameters.of(made.weights)
    np.testing.assert_array_equal(multiplied(ours, moments), moments.flat)
    assert ours.begin()


@pytest.mark.parametrize("option", [{"pass_residual": True}, {"after_layer": lambda index: None}])
def test_layers_solved_on_the_way_have_no_curvature_yet(option):
    with pytest.raises(ValueError, match="a sweep that is over"):
        swept(problem(), **option)
