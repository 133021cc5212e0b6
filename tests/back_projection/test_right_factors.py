"""A finite λ_h in the layer's own problem: the curvature, the solution, and that it descends."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from new_algorithm.back_projection import layer_problem
from new_algorithm.back_projection.network import FlatParameters, forward
from new_algorithm.back_projection.right_factors import RightFactors, curvatures, right_factor, root
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


def swept(made, rho=0.5, make=factored, chunks=None, **options):
    solvers = [make(Penalties(LAMBDA_W)) for _ in made.weights]
    sweep = made.sweep(solvers, right_factors=factors(len(solvers), rho), **options)
    sweep(made.weights, chunks or made.chunks())
    return sweep


def multiplied(of: RightFactors, moments: FlatParameters):
    product = moments.zeros_like()
    of.multiply(moments, product)
    return product.flat


def positive(rng, k):
    a = rng.standard_normal((k, k + 1))
    return a @ a.T


@pytest.mark.parametrize("loss", LOSSES)
def test_curvature_of_an_output_is_minus_the_derivative_of_the_residual(loss):
    made = problem(loss=loss)
    output, eps = forward(made.weights, made.inputs)[1], 1e-6
    weights = np.random.default_rng(0).random((len(output), 1))
    expected = np.empty((output.shape[1],) * 2)
    for j in range(output.shape[1]):
        moved = [output.copy(), output.copy()]
        moved[0][:, j] += eps
        moved[1][:, j] -= eps
        up, down = (made.loss.residual(one, made.targets) for one in moved)
        expected[j] = (weights * (down - up) / (2 * eps)).sum(axis=0)
    assert_near(made.loss.curvature(output, weights), expected, 1e-6)
    assert_near(
        made.loss.curvature(output, 1.0), made.loss.curvature(output, np.ones_like(weights)), 1e-12
    )


def test_recursion_is_exact_where_masks_and_outputs_are_independent():
    # squared loss: below one ReLU layer S = E[diag(d) W Wᵀ diag(d)], and where every unit is on
    # that of the layer below is W S Wᵀ
    rng = np.random.default_rng(1)
    weights = [rng.standard_normal(shape) for shape in [(4, 5), (6, 3), (4, 2)]]
    masks = (rng.random((30, 3)) < 0.6).astype(float)
    found = curvatures(weights, np.eye(2), [np.ones((5, 5)), masks.T @ masks / 30])
    w3, w2 = weights[2][:-1], weights[1][:-1]
    expected = np.mean([np.outer(d, d) * (w3 @ w3.T) for d in masks], axis=0)
    assert_near(found[1], expected)
    assert_near(found[0], w2 @ expected @ w2.T)
    assert_near(found[2], np.eye(2))


@pytest.mark.parametrize("loss", LOSSES)
def test_factors_of_a_sweep_are_those_of_its_batch(loss):
    made = problem(loss=loss)
    activations, output = forward(made.weights, made.inputs)
    masks = [(hidden[:, :-1] > 0).astype(float) for hidden in activations[1:]]
    grams = [mask.T @ mask / made.rows for mask in masks]
    found = curvatures(made.weights, made.loss.curvature(output, 1.0) / made.rows, grams)
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
        curvature = curvatures([w1, w2], np.eye(2), [mask.T @ mask])[0]
        own = moment @ right_factor(curvature, rho)
        assert np.vdot(own, moment) > 0


@pytest.mark.parametrize("make", [factored, by_cg])
def test_limits_of_rho(make):
    made = problem()
    solvers = [make(Penalties(LAMBDA_W)) for _ in made.weights]
    without = made.sweep(solvers)
    without(made.weights, made.chunks())
    assert_near(swept(made, 1e9, make).changes.flat, without.changes.flat, 1e-7)
    assert_near(swept(made, np.inf, make).changes.flat, without.changes.flat, 1e-12)
    # ρ → 0: the Gauss–Newton step in the output's own curvature, here of squares, S = I
    squares = problem((5, 3), "squared")
    assert_near(swept(squares, 1e-9).changes.flat, swept(squares, np.inf).changes.flat, 1e-8)


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
    solvers = [factored(Penalties(LAMBDA_W)) for _ in made.weights]
    sweep = made.sweep(solvers, right_factors=split)
    sweep(made.weights, made.chunks())
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

    def work(rank, all_sum):
        mine = made.chunks(first=[0, 12, 31][rank], last=[12, 31, 40][rank])
        return swept(made, chunks=mine, in_chunks=True, all_sum=all_sum).changes.flat.copy()

    for found in in_processes(3, work):
        assert_near(found, swept(made).changes.flat, 1e-9)


def test_weighted_rows_are_repeated_ones():
    made = problem()
    counts = np.random.default_rng(5).integers(0, 4, made.rows)
    weighted = [(made.inputs, made.targets, counts / counts.mean())]
    repeated = [(made.inputs.repeat(counts, axis=0), made.targets.repeat(counts, axis=0))]
    solvers = [factored(Penalties(LAMBDA_W)) for _ in made.weights]
    sweep = made.sweep(solvers, right_factors=factors(3))
    sweep(made.weights, weighted)
    larger = problem(rows=counts.sum())
    other = larger.sweep(
        [factored(Penalties(LAMBDA_W)) for _ in made.weights], right_factors=factors(3)
    )
    other(made.weights, repeated)
    assert_near(sweep.changes.flat, other.changes.flat, 1e-8)


def test_intervals_and_memory():
    made, rng = problem(), np.random.default_rng(6)
    ours = RightFactors([0.5] * 3, decay=0.9, gram_every=2, factor_every=4)
    needed = []
    for _ in range(14):
        if ours.begin():
            needed.append(ours._iteration - 1)
            totals = [positive(rng, weight.shape[1]) for weight in made.weights]
            ours.observe(totals, 10, made.weights)
    assert needed == [0, 2, 3, 4, 6, 7, 8, 10, 11, 12]  # even ones; due at 0, 3, 7, 11
    moments = FlatParameters.of(made.weights)
    assert np.linalg.norm(multiplied(ours, moments) - moments.flat) > 0.1
    ours.forget()
    np.testing.assert_array_equal(multiplied(ours, moments), moments.flat)
    assert ours.begin()


@pytest.mark.parametrize("option", [{"pass_residual": True}, {"after_layer": lambda index: None}])
def test_layers_solved_on_the_way_have_no_curvature_yet(option):
    with pytest.raises(ValueError, match="a sweep that is over"):
        swept(problem(), **option)
