"""The solvers of a layer against dense solves, and what they remember between batches."""

from collections.abc import Iterator

import numpy as np
import pytest
from numpy.typing import NDArray

from new_algorithm.back_projection.eigenbasis import leading_eigenbasis
from new_algorithm.back_projection.gram import GramSum, MovingGram
from new_algorithm.back_projection.layer_problem import (
    absolute_lambda_h,
    absolute_lambda_w,
    mean_eigenvalue_of_gram,
    passed_down,
    weight_change_exact,
)
from new_algorithm.back_projection.network import append_ones
from new_algorithm.back_projection.solvers import (
    CGSolver,
    EigenbasisSolver,
    FactoredSolver,
    LayerSolver,
    Penalties,
)
from new_algorithm.back_projection.solvers.solver import condition_number

ROWS, D_IN, D_OUT = 50, 7, 4


def data(seed: int = 0, d_in: int = D_IN) -> tuple[NDArray, NDArray, NDArray, NDArray]:
    """H̃, W̃, Δ and M = H̃ᵀΔ/n."""
    rng = np.random.default_rng(seed)
    inputs = append_ones(rng.standard_normal((ROWS, d_in)) * np.geomspace(0.03, 1, d_in))
    wanted = rng.standard_normal((ROWS, D_OUT))
    layer = rng.standard_normal((d_in + 1, D_OUT))
    return inputs, layer, wanted, inputs.T @ wanted / ROWS


def solution(solver: LayerSolver, inputs: NDArray, layer: NDArray, moment: NDArray) -> NDArray:
    out = np.full_like(moment, np.nan)
    solver.solve(inputs, layer, moment, out)
    return out


def show(solver: LayerSolver, inputs: NDArray, layer: NDArray, damping: float) -> None:
    """What a sweep does before it solves."""
    if solver.begin(layer, damping) != "nothing":
        total = inputs.T @ inputs
        solver.observe(GramSum(total, float(np.trace(total)), len(inputs), len(total)))


def factored(penalties: Penalties) -> FactoredSolver:
    return FactoredSolver(penalties, MovingGram(0.0), 1, 1)


def by_cg(penalties: Penalties) -> CGSolver:
    return CGSolver(penalties, rtol=1e-13)


MAKERS = [factored, by_cg]


@pytest.mark.parametrize("make", MAKERS)
@pytest.mark.parametrize("damping", [1.0, 4.0])
@pytest.mark.parametrize("relative", [True, False])
@pytest.mark.parametrize("lambda_h", [0.3, np.inf])
def test_solution_is_the_exact_form_with_damped_penalties(lambda_h, relative, damping, make):
    inputs, layer, wanted, moment = data()
    solver = make(Penalties(0.2, lambda_h, relative))
    show(solver, inputs, layer, damping)
    mean = mean_eigenvalue_of_gram(inputs)
    relative_ones = absolute_lambda_w(mean, 0.2), absolute_lambda_h(layer, lambda_h)
    in_force = relative_ones if relative else (0.2, lambda_h)
    expected = weight_change_exact(inputs, layer, wanted, damping * in_force[0], in_force[1])
    np.testing.assert_allclose(solution(solver, inputs, layer, moment), expected, atol=1e-10)
    out = np.empty((ROWS, D_IN))
    solver.pass_down(wanted, layer, out)
    np.testing.assert_allclose(out, passed_down(wanted, layer, in_force[1]), atol=1e-10)


@pytest.mark.parametrize("lambda_h", [0.3, np.inf])
def test_no_penalty_is_least_squares(lambda_h):
    inputs, layer, wanted, moment = data()
    solver = factored(Penalties(0.0, lambda_h))
    show(solver, inputs, layer, 1.0)
    expected = np.linalg.lstsq(inputs, wanted)[0]
    np.testing.assert_allclose(solution(solver, inputs, layer, moment), expected, atol=1e-9)


@pytest.mark.parametrize("make", MAKERS)
@pytest.mark.parametrize("relative", [True, False])
@pytest.mark.parametrize("damping", [1.0, 4.0])
def test_condition_is_that_of_the_damped_gram(make, relative, damping):
    inputs, layer, _, _ = data()
    solver = make(Penalties(0.02, 0.5, relative))
    show(solver, inputs, layer, damping)
    g = inputs.T @ inputs / ROWS
    lambda_w = 0.02 * damping * (np.trace(g) / len(g) if relative else 1)
    assert solver.condition(inputs) == pytest.approx(np.linalg.cond(g + lambda_w * np.eye(len(g))))


def test_condition_number_of_a_singular_matrix_is_as_large_as_rounding_lets_it_be():
    assert condition_number(np.array([-1e-20, 0.0, 2.0]), 0.0) == pytest.approx(2.0**52 / 3)
    assert condition_number(np.zeros(3), 0.0) == 1.0
    assert condition_number(np.array([-1e-20, 0.0, 2.0]), 0.5) == pytest.approx(5.0)
    assert condition_number(np.array([1.0, 2.0], np.float32), 0.0) == 2.0


# The input layer.


@pytest.mark.parametrize("damping", [1.0, 5.0])
@pytest.mark.parametrize("relative", [True, False])
def test_eigenbasis_of_full_rank_is_ridge_regression(relative, damping):
    inputs, layer, wanted, _ = data()
    basis, p = leading_eigenbasis(inputs[:, :-1])
    solver = EigenbasisSolver(basis, Penalties(0.2, relative=relative))
    g = inputs.T @ inputs / ROWS
    lambda_w = 0.2 * damping * (np.trace(g) / len(g) if relative else 1)
    ridge = g + lambda_w * np.eye(len(g))
    in_basis = basis.vectors.T @ layer
    show(solver, p, in_basis, 1.0)
    show(solver, p, in_basis, damping)
    found = basis.vectors @ solution(solver, p, in_basis, p.T @ wanted / ROWS)
    np.testing.assert_allclose(found, np.linalg.solve(ridge, inputs.T @ wanted / ROWS), atol=1e-10)
    assert solver.condition(p) == pytest.approx(np.linalg.cond(ridge))


def test_batch_is_solved_with_the_gram_of_all_rows():
    inputs, layer, wanted, _ = data()
    basis, p = leading_eigenbasis(inputs[:, :-1])
    solver = EigenbasisSolver(basis, Penalties(0.2, relative=False))
    batch = slice(0, 10)
    in_basis = basis.vectors.T @ layer
    show(solver, p[batch], in_basis, 1.0)
    moment = p[batch].T @ wanted[batch] / 10
    found = basis.vectors @ solution(solver, p[batch], in_basis, moment)
    ridge = inputs.T @ inputs / ROWS + 0.2 * np.eye(D_IN + 1)
    expected = np.linalg.solve(ridge, inputs[batch].T @ wanted[batch] / 10)
    np.testing.assert_allclose(found, expected, atol=1e-10)


def test_nothing_lies_below_the_data():
    basis, p = leading_eigenbasis(data()[0][:, :-1])
    solver = EigenbasisSolver(basis, Penalties(1.0))
    with pytest.raises(TypeError, match="the data cannot change"):
        solver.pass_down(p, p, p)


# Memory.


def drifting(count: int) -> Iterator[tuple[NDArray, NDArray, NDArray]]:
    """(H̃, W̃, M) of batches that differ a little from one to the next."""
    rng = np.random.default_rng(5)
    inputs, layer, _, moment = data(d_in=20)
    for _ in range(count):
        yield inputs, layer, moment
        inputs = inputs + 0.02 * append_ones(rng.standard_normal((ROWS, 20)))
        inputs[:, -1] = 1
        moment = moment + 0.02 * rng.standard_normal(moment.shape)


def renewals(solver: FactoredSolver, dampings: list[float]) -> list[int]:
    """The iterations at which the solution of one fixed problem changed."""
    _, layer, _, moment = data()
    found, last = [], None
    for iteration, damping in enumerate(dampings):
        inputs = data(seed=iteration)[0]
        show(solver, inputs, layer, damping)
        now = solution(solver, inputs, layer, moment)
        if last is None or (now != last).any():
            found.append(iteration)
        last = now
    return found


@pytest.mark.parametrize("lambda_h", [0.5, np.inf])
def test_factors_are_renewed_ever_more_rarely(lambda_h):
    def solver(factor_every: int) -> FactoredSolver:
        return FactoredSolver(Penalties(0.1, lambda_h), MovingGram(0.5), 1, factor_every)

    assert renewals(solver(10**6), [1.0] * 200) == [0, 3, 12, 48, 192]
    assert renewals(solver(20), [1.0] * 100) == [0, 3, 12, 32, 52, 72, 92]
    assert renewals(solver(1), [1.0] * 9) == list(range(9))


@pytest.mark.parametrize("lambda_h", [0.5, np.inf])
def test_factors_are_renewed_at_once_when_the_damping_changes(lambda_h):
    solver = FactoredSolver(Penalties(0.1, lambda_h), MovingGram(0.5), 1, 10**6)
    dampings = [1.0] * 5 + [4.0] * 20
    assert renewals(solver, dampings) == [0, 3, 5, 20]


def test_gram_is_averaged_every_so_often_and_before_each_factoring():
    solver = FactoredSolver(Penalties(0.3, relative=False), MovingGram(0.6), 4, 10**6)
    layer = data()[1]
    for iteration in range(14):
        show(solver, data(seed=iteration)[0], layer, 1.0)
    taken_in = [data(seed=iteration)[0] for iteration in (0, 3, 4, 8, 12)]
    weights = 0.6 ** np.arange(5)[::-1]
    grams = [h.T @ h / ROWS for h in taken_in]
    average = np.tensordot(weights / weights.sum(), grams, axes=1)
    expected = np.linalg.cond(average + 0.3 * np.eye(len(average)))
    assert solver.condition(taken_in[0]) == pytest.approx(expected)


def test_relative_penalty_is_in_units_of_the_average():
    average, (first, second) = MovingGram(0.5), (data(seed)[0] * (seed + 1) for seed in (0, 1))
    solver = FactoredSolver(Penalties(0.3), average, 1, 1)
    layer, moment = data()[1], data()[3]
    for inputs in (first, second):
        show(solver, inputs, layer, 1.0)
    g = (0.5 * first.T @ first + second.T @ second) / (1.5 * ROWS)
    expected = np.linalg.solve(g + 0.3 * np.trace(g) / len(g) * np.eye(len(g)), moment)
    np.testing.assert_allclose(solution(solver, second, layer, moment), expected, atol=1e-10)


@pytest.mark.parametrize("moving", [False, True])
@pytest.mark.parametrize("lambda_h", [2.0, np.inf])
def test_warm_start_and_preconditioner_save_iterations(lambda_h, moving):
    totals, solutions = {}, {}
    for helped in (False, True):
        average = MovingGram(0.5) if moving else None
        solver = CGSolver(
            Penalties(1e-3, lambda_h),
            average,
            rtol=1e-8,
            warm_start=helped,
            precondition=helped,
            factor_every=10,
        )
        counts, found = [], []
        for inputs, layer, moment in drifting(12):
            show(solver, inputs, layer, 1.0)
            out = np.empty_like(moment)
            result = solver.solve(inputs, layer, moment, out)
            assert result.status == "converged"
            counts.append(result.iterations)
            found.append(out)
        totals[helped], solutions[helped] = counts, found
    assert (np.array(totals[True]) <= np.array(totals[False])).all()
    assert sum(totals[True]) < 0.7 * sum(totals[False])
    for a, b in zip(*solutions.values(), strict=True):
        assert np.linalg.norm(a - b) < 1e-4 * np.linalg.norm(b)


def test_preconditioner_of_the_same_gram_needs_one_iteration():
    inputs, layer, _, moment = data()
    solver = CGSolver(Penalties(0.01), rtol=1e-10, precondition=True)
    show(solver, inputs, layer, 1.0)
    assert solver.solve(inputs, layer, moment, np.empty_like(moment)).iterations == 1


def test_warm_start_at_the_solution_needs_no_iteration():
    inputs, layer, _, moment = data()
    solver = CGSolver(Penalties(0.1, 0.5), rtol=1e-10, warm_start=True)
    show(solver, inputs, layer, 1.0)
    first, second = (np.empty_like(moment) for _ in range(2))
    assert solver.solve(inputs, layer, moment, first).iterations > 0
    assert solver.solve(inputs, layer, moment, second).iterations == 0
    np.testing.assert_array_equal(first, second)


def test_cap_ends_a_solve():
    inputs, layer, _, moment = data()
    solver = CGSolver(Penalties(1e-3), rtol=1e-12, max_iterations=2)
    show(solver, inputs, layer, 1.0)
    result = solver.solve(inputs, layer, moment, np.empty_like(moment))
    assert (result.iterations, result.status) == (2, "max_iterations")


def bad_batches() -> list[NDArray]:
    good = data()[0]
    bad = [good.copy(), good.copy()]
    bad[0][0, 0], bad[1][0, 0] = np.nan, np.inf
    return bad


@pytest.mark.parametrize("lambda_h", [0.5, np.inf])
@pytest.mark.parametrize("bad", bad_batches(), ids=["nan", "inf"])
@pytest.mark.parametrize("name", ["factored", "cg"])
@pytest.mark.parametrize("decay", [0.0, 0.9])
def test_batch_that_is_not_finite_is_forgotten(decay, name, bad, lambda_h):
    inputs, layer, _, moment = data()
    penalties, average = Penalties(0.1, lambda_h), MovingGram(decay)
    solver = {
        "factored": FactoredSolver(penalties, average, 1, 1),
        "cg": CGSolver(penalties, average, warm_start=True, precondition=True),
    }[name]
    for batch in (inputs, bad, inputs):
        try:
            with np.errstate(invalid="ignore"):
                show(solver, batch, layer, 1.0)
                found = solution(solver, batch, layer, moment)
        except (np.linalg.LinAlgError, ValueError):
            assert batch is bad
    assert np.isfinite(found).all()
    assert np.isfinite(solver.condition(inputs))
