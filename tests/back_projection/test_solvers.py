"""The solvers of a layer against dense solves, and what they remember between batches."""

from collections.abc import Iterator

import numpy as np
import pytest
from numpy.typing import NDArray

from new_algorithm.back_projection.eigenbasis import leading_eigenbasis
from new_algorithm.back_projection.gram import DENSE_UP_TO, GramSum
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
    GradientSolver,
    LayerSolver,
    Penalties,
)
from new_algorithm.back_projection.solvers.solver import condition_number
from tests.back_projection.problems import by_cg, factored, helped_cg

ROWS, D_IN, D_OUT = 50, 7, 4


def data(seed: int = 0, d_in: int = D_IN) -> tuple[NDArray, NDArray, NDArray, NDArray]:
    """H̃, W̃, Δ and M = H̃ᵀΔ/n."""
    rng = np.random.default_rng(seed)
    inputs = append_ones(rng.standard_normal((ROWS, d_in)) * np.geomspace(0.03, 1, d_in))
    delta = rng.standard_normal((ROWS, D_OUT))
    weight = rng.standard_normal((d_in + 1, D_OUT))
    return inputs, weight, delta, inputs.T @ delta / ROWS


def show(solver: LayerSolver, inputs: NDArray, weight: NDArray, damping: float = 1.0) -> None:
    """What a sweep does before it solves."""
    need, (rows, order) = solver.begin(weight, damping), inputs.shape
    if need != "nothing":
        total = inputs.T @ inputs if need == "gram" else None
        solver.observe(GramSum(total, float(np.vdot(inputs, inputs)), rows, order))


def solution(solver: LayerSolver, inputs: NDArray, weight: NDArray, moment: NDArray) -> NDArray:
    out = np.full_like(moment, np.nan)
    solver.solve(inputs, weight, moment, out)
    return out


MAKERS = [factored, by_cg]


@pytest.mark.parametrize("make", MAKERS)
@pytest.mark.parametrize("damping", [1.0, 4.0])
@pytest.mark.parametrize("relative", [True, False])
@pytest.mark.parametrize("lambda_h", [0.3, np.inf])
def test_solution_is_the_exact_form_with_damped_penalties(lambda_h, relative, damping, make):
    inputs, weight, delta, moment = data()
    solver = make(Penalties(0.2, lambda_h, relative))
    show(solver, inputs, weight, damping)
    mean = mean_eigenvalue_of_gram(inputs)
    relative_ones = absolute_lambda_w(mean, 0.2), absolute_lambda_h(weight, lambda_h)
    in_force = relative_ones if relative else (0.2, lambda_h)
    expected = weight_change_exact(inputs, weight, delta, damping * in_force[0], in_force[1])
    np.testing.assert_allclose(solution(solver, inputs, weight, moment), expected, atol=1e-10)
    out = np.empty((ROWS, D_IN))
    solver.pass_down(delta, weight, out)
    np.testing.assert_allclose(out, passed_down(delta, weight, in_force[1]), atol=1e-10)


@pytest.mark.parametrize("lambda_h", [0.3, np.inf])
def test_no_penalty_is_least_squares(lambda_h):
    inputs, weight, delta, moment = data()
    solver = factored(Penalties(0.0, lambda_h))
    show(solver, inputs, weight)
    expected = np.linalg.lstsq(inputs, delta)[0]
    np.testing.assert_allclose(solution(solver, inputs, weight, moment), expected, atol=1e-9)


def test_gradient_solver_divides_by_the_damped_penalty():
    inputs, weight, delta, moment = data()
    solver, out = GradientSolver(Penalties(2.0)), np.empty((ROWS, D_IN))
    show(solver, inputs, weight, 4.0)
    expected = moment / (4 * 2 * np.linalg.eigvalsh(inputs.T @ inputs / ROWS).mean())
    np.testing.assert_allclose(solution(solver, inputs, weight, moment), expected, rtol=1e-12)
    solver.pass_down(delta, weight, out)
    np.testing.assert_allclose(out, delta @ weight[:-1].T, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("make", MAKERS)
@pytest.mark.parametrize("relative", [True, False])
@pytest.mark.parametrize("damping", [1.0, 4.0])
def test_condition_is_that_of_the_damped_gram(make, relative, damping):
    inputs, weight, _, _ = data()
    solver = make(Penalties(0.02, 0.5, relative))
    show(solver, inputs, weight, damping)
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
def test_eigenbasis_of_full_rank_is_ridge_regression_with_the_gram_of_all_rows(relative, damping):
    inputs, weight, delta, _ = data()
    basis, p = leading_eigenbasis(inputs[:, :-1])
    solver = EigenbasisSolver(basis, Penalties(0.2, relative=relative))
    g = inputs.T @ inputs / ROWS
    lambda_w = 0.2 * damping * (np.trace(g) / len(g) if relative else 1)
    ridge = g + lambda_w * np.eye(len(g))
    in_basis = basis.vectors.T @ weight
    show(solver, p, in_basis)
    show(solver, p, in_basis, damping)  # another damping is heeded at once
    for rows in (slice(None), slice(0, 10)):
        count = len(inputs[rows])
        found = basis.vectors @ solution(solver, p, in_basis, p[rows].T @ delta[rows] / count)
        expected = np.linalg.solve(ridge, inputs[rows].T @ delta[rows] / count)
        np.testing.assert_allclose(found, expected, atol=1e-10)
    assert solver.condition(p) == pytest.approx(np.linalg.cond(ridge))


# Memory.


def drifting(count: int) -> Iterator[tuple[NDArray, NDArray, NDArray]]:
    """(H̃, W̃, M) of batches that differ a little from one to the next."""
    rng = np.random.default_rng(5)
    inputs, weight, _, moment = data(d_in=20)
    for _ in range(count):
        yield inputs, weight, moment
        inputs = inputs + 0.02 * append_ones(rng.standard_normal((ROWS, 20)))
        inputs[:, -1] = 1
        moment = moment + 0.02 * rng.standard_normal(moment.shape)


def renewals(solver: FactoredSolver, dampings: list[float]) -> list[int]:
    """The iterations at which the solution of one fixed problem changed."""
    _, weight, _, moment = data()
    found, last = [], None
    for iteration, damping in enumerate(dampings):
        inputs = data(seed=iteration)[0]
        show(solver, inputs, weight, damping)
        now = solution(solver, inputs, weight, moment)
        if last is None or (now != last).any():
            found.append(iteration)
        last = now
    return found


@pytest.mark.parametrize("lambda_h", [0.5, np.inf])
def test_factors_are_renewed_ever_more_rarely(lambda_h):
    def solver(factor_every: int) -> FactoredSolver:
        return factored(Penalties(0.1, lambda_h), 0.5, factor_every=factor_every)

    assert renewals(solver(10**6), [1.0] * 200) == [0, 3, 12, 48, 192]
    assert renewals(solver(20), [1.0] * 100) == [0, 3, 12, 32, 52, 72, 92]
    assert renewals(solver(1), [1.0] * 9) == list(range(9))


@pytest.mark.parametrize("lambda_h", [0.5, np.inf])
def test_factors_are_renewed_at_once_when_the_damping_changes(lambda_h):
    solver = factored(Penalties(0.1, lambda_h), 0.5, factor_every=10**6)
    assert renewals(solver, [1.0] * 5 + [4.0] * 20) == [0, 3, 5, 20]


def test_gram_is_averaged_every_so_often_and_before_each_factoring():
    solver = factored(Penalties(0.3, relative=False), 0.6, gram_every=4, factor_every=10**6)
    weight = data()[1]
    for iteration in range(14):
        show(solver, data(seed=iteration)[0], weight)
    taken_in = [data(seed=iteration)[0] for iteration in (0, 3, 4, 8, 12)]
    shares = 0.6 ** np.arange(5)[::-1]
    grams = [h.T @ h / ROWS for h in taken_in]
    average = np.tensordot(shares / shares.sum(), grams, axes=1)
    expected = np.linalg.cond(average + 0.3 * np.eye(len(average)))
    assert solver.condition(taken_in[0]) == pytest.approx(expected)


@pytest.mark.parametrize("make", MAKERS)
def test_relative_penalty_is_in_units_of_the_average(make):
    first, second = (data(seed)[0] * (seed + 1) for seed in (0, 1))
    weight, moment = data()[1], data()[3]
    solver = make(Penalties(0.3), 0.5)
    for inputs in (first, second):
        show(solver, inputs, weight)
    g = (0.5 * first.T @ first + second.T @ second) / (1.5 * ROWS)
    expected = np.linalg.solve(g + 0.3 * np.trace(g) / len(g) * np.eye(len(g)), moment)
    np.testing.assert_allclose(solution(solver, second, weight, moment), expected, atol=1e-10)


@pytest.mark.parametrize("decay", [None, 0.5])
@pytest.mark.parametrize("lambda_h", [2.0, np.inf])
def test_warm_start_and_preconditioner_save_iterations(lambda_h, decay):
    totals, solutions = {}, {}
    for make in (by_cg, helped_cg):
        solver = make(Penalties(1e-3, lambda_h), decay, rtol=1e-8, factor_every=10)
        counts, found = [], []
        for inputs, weight, moment in drifting(12):
            show(solver, inputs, weight)
            out = np.empty_like(moment)
            result = solver.solve(inputs, weight, moment, out)
            assert result.status == "converged"
            counts.append(result.iterations)
            found.append(out)
        totals[make], solutions[make] = counts, found
    assert (np.array(totals[helped_cg]) <= np.array(totals[by_cg])).all()
    assert sum(totals[helped_cg]) < 0.7 * sum(totals[by_cg])
    for a, b in zip(*solutions.values(), strict=True):
        assert np.linalg.norm(a - b) < 1e-4 * np.linalg.norm(b)


def test_preconditioner_of_the_same_gram_needs_one_iteration():
    inputs, weight, _, moment = data()
    solver = by_cg(Penalties(0.01), rtol=1e-10, precondition=True)
    show(solver, inputs, weight)
    assert solver.solve(inputs, weight, moment, np.empty_like(moment)).iterations == 1


def test_preconditioner_is_renewed_every_so_often():
    _, weight, _, moment = data()
    solver = by_cg(Penalties(0.01), rtol=1e-10, precondition=True, factor_every=4)
    exact = []
    for iteration in range(9):
        inputs = data(seed=iteration)[0]
        show(solver, inputs, weight)
        if solver.solve(inputs, weight, moment, np.empty_like(moment)).iterations == 1:
            exact.append(iteration)
    assert exact == [0, 4, 8]


def test_warm_start_at_the_solution_needs_no_iteration():
    inputs, weight, _, moment = data()
    solver = by_cg(Penalties(0.1, 0.5), rtol=1e-10, warm_start=True)
    show(solver, inputs, weight)
    first, second = (np.empty_like(moment) for _ in range(2))
    assert solver.solve(inputs, weight, moment, first).iterations > 0
    assert solver.solve(inputs, weight, moment, second).iterations == 0
    np.testing.assert_array_equal(first, second)


def test_cap_ends_a_solve():
    inputs, weight, _, moment = data()
    solver = by_cg(Penalties(1e-3), max_iterations=2)
    show(solver, inputs, weight)
    result = solver.solve(inputs, weight, moment, np.empty_like(moment))
    assert (result.iterations, result.status) == (2, "max_iterations")


@pytest.mark.parametrize("make", [factored, helped_cg])
@pytest.mark.parametrize("lambda_h", [0.5, np.inf])
@pytest.mark.parametrize("d_in", [D_IN, DENSE_UP_TO + 8])
def test_solver_that_has_forgotten_is_like_a_new_one(make, lambda_h, d_in):
    def solver() -> LayerSolver:
        capped = {"max_iterations": 2} if make is helped_cg else {}
        return make(Penalties(0.1, lambda_h), 0.9, factor_every=3, **capped)

    old, new = solver(), solver()
    for seed in range(5):
        inputs, weight, _, moment = data(seed, d_in)
        show(old, inputs, weight)
        remembered = solution(old, inputs, weight, moment)
    old.forget()
    for one in (old, new):
        show(one, inputs, weight)
    found, fresh = (solution(one, inputs, weight, moment) for one in (old, new))
    np.testing.assert_allclose(found, fresh, rtol=1e-10, atol=1e-14)
    assert np.linalg.norm(fresh - remembered) > 1e-3 * np.linalg.norm(fresh)


def test_factored_solver_that_has_forgotten_needs_a_batch():
    inputs, weight, _, moment = data()
    solver = factored(Penalties(0.1), 0.9)
    show(solver, inputs, weight)
    solver.forget()
    with pytest.raises(np.linalg.LinAlgError, match="not been factored"):
        solution(solver, inputs, weight, moment)


def bad_batches() -> list[NDArray]:
    good = data()[0]
    bad = [good.copy(), good.copy()]
    bad[0][0, 0], bad[1][0, 0] = np.nan, np.inf
    return bad


@pytest.mark.parametrize("lambda_h", [0.5, np.inf])
@pytest.mark.parametrize("bad", bad_batches(), ids=["nan", "inf"])
@pytest.mark.parametrize("make", [factored, helped_cg])
@pytest.mark.parametrize("decay", [0.0, 0.9])
def test_batch_that_is_not_finite_is_forgotten(decay, make, bad, lambda_h):
    inputs, weight, _, moment = data()
    solver: CGSolver | FactoredSolver = make(Penalties(0.1, lambda_h), decay)
    with np.errstate(invalid="ignore"):
        for batch in (inputs, bad, inputs):
            try:
                show(solver, batch, weight)
                found = solution(solver, batch, weight, moment)
            except np.linalg.LinAlgError:
                assert batch is bad
    assert np.isfinite(found).all()
    assert np.isfinite(solver.condition(inputs))
