"""Conjugate gradients against dense solves, theory's iteration counts and bound, and bad input."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from new_algorithm.back_projection.conjugate_gradients import conjugate_gradients, error_bound


def spd(rng, eigenvalues, dtype=np.float64):
    """Return a symmetric matrix with the given spectrum in a random orthonormal basis."""
    q, _ = np.linalg.qr(rng.standard_normal((len(eigenvalues), len(eigenvalues))))
    return ((q * eigenvalues) @ q.T).astype(dtype)


@pytest.mark.parametrize("shape", [(12,), (12, 5)])
def test_agrees_with_a_dense_solve(shape):
    rng = np.random.default_rng(0)
    a, b = spd(rng, np.linspace(1, 50, 12)), rng.standard_normal(shape)
    result = conjugate_gradients(lambda x: a @ x, b, rtol=1e-12)
    assert result.status == "converged"
    np.testing.assert_allclose(result.solution, np.linalg.solve(a, b), rtol=1e-10, atol=1e-12)


@settings(max_examples=60)
@given(
    size=st.integers(1, 30),
    log_condition=st.floats(0, 6),
    columns=st.integers(1, 4),
    rtol=st.sampled_from([1e-2, 1e-6, 1e-9]),
    atol=st.sampled_from([0.0, 1e-2, 1e-1]),
    dtype=st.sampled_from([np.float32, np.float64]),
    seed=st.integers(0, 2**32 - 1),
)
def test_reported_residual_is_the_recomputed_one(
    size, log_condition, columns, rtol, atol, dtype, seed
):
    rng = np.random.default_rng(seed)
    a = spd(rng, np.logspace(0, log_condition, size), dtype)
    b = rng.standard_normal((size, columns)).astype(dtype)
    result = conjugate_gradients(lambda x: a @ x, b, rtol=rtol, atol=atol)
    true_norm = np.linalg.norm((b - a @ result.solution).astype(np.float64))
    assert result.residual_norms[-1] == pytest.approx(true_norm, rel=1e-6, abs=1e-30)
    assert len(result.residual_norms) == result.iterations + 1
    assert result.solution.dtype == dtype
    if result.status == "converged":
        assert true_norm <= max(rtol * np.linalg.norm(b), atol) * (1 + 1e-6)


@pytest.mark.parametrize("distinct", [1, 2, 3, 5, 8])
@pytest.mark.parametrize("columns", [1, 6])
def test_one_iteration_for_each_distinct_eigenvalue(distinct, columns):
    rng = np.random.default_rng(distinct)
    a = spd(rng, np.repeat(np.linspace(1, 9, distinct), 40 // distinct))
    b = rng.standard_normal((len(a), columns))
    result = conjugate_gradients(lambda x: a @ x, b, rtol=1e-10)
    assert result.status == "converged"
    assert result.iterations <= distinct + 1


def test_error_obeys_the_chebyshev_bound():
    rng = np.random.default_rng(1)
    a = spd(rng, np.linspace(1, 400, 80))
    b = rng.standard_normal(80)
    exact = np.linalg.solve(a, b)
    errors = [exact]
    conjugate_gradients(lambda x: a @ x, b, callback=lambda x: errors.append(exact - x))
    norms = np.array([np.sqrt(e @ a @ e) for e in errors])
    bound = norms[0] * error_bound(400, np.arange(len(norms)))
    assert (norms <= bound * (1 + 1e-9)).all()
    assert (np.diff(norms) < 0).all(), "the A-norm of the error falls at every step"


def test_indefinite_operator_is_named_and_leaves_a_finite_solution():
    # SciPy's cg returns NaN here: <p, Ap> = 0 at the first step
    result = conjugate_gradients(lambda x: np.array([1.0, -1.0]) * x, np.ones(2))
    assert result.status == "nonpositive_curvature"
    assert np.isfinite(result.solution).all()


def test_indefinite_preconditioner_is_named():
    result = conjugate_gradients(lambda x: x, np.ones(3), preconditioner=lambda r: -r)
    assert result.status == "nonpositive_curvature"


def test_convergence_in_the_last_allowed_iteration_counts():
    # SciPy's cg reports failure when it converges at exactly maxiter = n
    rng = np.random.default_rng(2)
    a, b = spd(rng, np.array([1.0, 2.0, 4.0])), rng.standard_normal(3)
    result = conjugate_gradients(lambda x: a @ x, b, rtol=1e-12, max_iterations=3)
    assert (result.status, result.iterations) == ("converged", 3)


def test_cap_is_reported_with_the_residual_reached():
    rng = np.random.default_rng(3)
    a, b = spd(rng, np.linspace(1, 1e4, 50)), rng.standard_normal(50)
    result = conjugate_gradients(lambda x: a @ x, b, max_iterations=4)
    assert (result.status, result.iterations) == ("max_iterations", 4)
    np.testing.assert_allclose(result.residual_norms[-1], np.linalg.norm(b - a @ result.solution))


def test_unreachable_tolerance_is_not_called_converged():
    rng = np.random.default_rng(4)
    a = spd(rng, np.logspace(0, 5, 20), np.float32)
    b = rng.standard_normal(20).astype(np.float32)
    result = conjugate_gradients(lambda x: a @ x, b, rtol=1e-14, max_iterations=10_000)
    assert result.status == "max_iterations"
    assert result.stalled
    assert result.iterations < 1000, "it ends where rounding lets nothing more be gained"
    assert np.isfinite(result.solution).all()


class Blurred:
    """The identity, but for the residual of the k-th check, which comes out as factor^k b."""

    def __init__(self, b: np.ndarray, factor: float) -> None:
        self.b, self.factor, self.calls = b, factor, 0

    def __call__(self, x: np.ndarray) -> np.ndarray:
        self.calls += 1  # every second call is a check: one iteration makes the recurrence zero
        checks, left_over = divmod(self.calls, 2)
        return x if left_over else self.b - self.factor**checks * self.b


@pytest.mark.parametrize(("factor", "stalled"), [(0.2, False), (0.49, False), (0.51, True)])
def test_solve_goes_on_as_long_as_a_restart_halves_the_true_residual(factor, stalled):
    b = np.arange(1.0, 4)
    result = conjugate_gradients(Blurred(b, factor), b, rtol=1e-3)
    assert result.stalled == stalled
    restarts = 1 if stalled else int(np.ceil(np.log(1e-3) / np.log(factor)))
    assert result.iterations == restarts
    assert result.status == ("max_iterations" if stalled else "converged")
    assert result.residual_norms[-1] == pytest.approx(factor**restarts * np.linalg.norm(b))


def test_recurrence_that_drifts_is_caught_by_the_true_residual():
    # In float32 at condition 1e6 the recurrence falls below the true residual by far.
    rng = np.random.default_rng(5)
    a = spd(rng, np.logspace(0, 6, 60), np.float32)
    b = rng.standard_normal(60).astype(np.float32)
    result = conjugate_gradients(lambda x: a @ x, b, rtol=3e-4)
    true_norm = np.linalg.norm(b - a @ result.solution)
    assert (true_norm <= 3e-4 * np.linalg.norm(b)) == (result.status == "converged")


def test_zero_right_hand_side_needs_no_iteration():
    result = conjugate_gradients(lambda x: 2 * x, np.zeros((3, 2)), start=np.ones((3, 2)))
    assert (result.status, result.iterations) == ("converged", 0)
    np.testing.assert_array_equal(result.solution, 0)


def test_inputs_are_left_alone_and_read_only_ones_accepted():
    rng = np.random.default_rng(6)
    a, b, start = spd(rng, np.linspace(1, 5, 6)), rng.standard_normal(6), rng.standard_normal(6)
    b_before, start_before = b.copy(), start.copy()
    b.flags.writeable = start.flags.writeable = False
    conjugate_gradients(lambda x: a @ x, b, start=start)
    np.testing.assert_array_equal(b, b_before)
    np.testing.assert_array_equal(start, start_before)


def test_warm_start_at_the_solution_takes_no_iteration():
    rng = np.random.default_rng(7)
    a, b = spd(rng, np.linspace(1, 5, 6)), rng.standard_normal(6)
    result = conjugate_gradients(lambda x: a @ x, b, start=np.linalg.solve(a, b))
    assert (result.status, result.iterations) == ("converged", 0)


def test_exact_preconditioner_takes_one_iteration():
    rng = np.random.default_rng(8)
    a, b = spd(rng, np.logspace(0, 4, 25)), rng.standard_normal(25)
    inverse = np.linalg.inv(a)
    result = conjugate_gradients(lambda x: a @ x, b, preconditioner=lambda r: inverse @ r)
    assert (result.status, result.iterations) == ("converged", 1)


def test_jacobi_preconditioner_helps_a_badly_scaled_operator():
    rng = np.random.default_rng(9)
    scale = np.logspace(0, 3, 40)
    a = scale[:, None] * spd(rng, np.linspace(1, 3, 40)) * scale
    b = rng.standard_normal(40)
    plain = conjugate_gradients(lambda x: a @ x, b)
    jacobi = conjugate_gradients(lambda x: a @ x, b, preconditioner=lambda r: r / np.diag(a))
    assert jacobi.status == "converged"
    assert jacobi.iterations < plain.iterations / 3


def test_absolute_tolerance_stops_first_when_it_is_looser():
    rng = np.random.default_rng(10)
    a, b = spd(rng, np.linspace(1, 100, 30)), rng.standard_normal(30)
    result = conjugate_gradients(lambda x: a @ x, b, rtol=1e-12, atol=0.5)
    assert result.status == "converged"
    assert 1e-6 < result.residual_norms[-1] <= 0.5


@pytest.mark.parametrize("bad", [np.nan, np.inf])
@pytest.mark.parametrize("where", ["rhs", "start", "operator", "preconditioner"])
def test_non_finite_numbers_are_named_wherever_they_come_from(bad, where):
    poison = np.array([1.0, bad, 1.0])
    result = conjugate_gradients(
        lambda x: x * (poison if where == "operator" else 2.0),
        poison if where == "rhs" else np.ones(3),
        start=poison if where == "start" else None,
        preconditioner=(lambda r: r * poison) if where == "preconditioner" else None,
    )
    assert result.status == "not_finite"


@pytest.mark.parametrize("scale", [1e-25, 1e25])
def test_float32_right_hand_sides_of_extreme_size(scale):
    # their squares are 0 and infinity in float32
    a = np.array([1.0, 2.0, 3.0], np.float32)
    b = (scale * np.ones(3)).astype(np.float32)
    result = conjugate_gradients(lambda x: a * x, b, rtol=1e-5)
    assert result.status == "converged"
    np.testing.assert_allclose(result.solution, b / a, rtol=1e-4)


def test_consistent_singular_system_is_solved():
    rng = np.random.default_rng(11)
    a = spd(rng, np.array([0.0, 0.0, 1.0, 2.0, 3.0]))
    b = a @ rng.standard_normal(5)
    result = conjugate_gradients(lambda x: a @ x, b, rtol=1e-10)
    assert result.status == "converged"
    np.testing.assert_allclose(result.solution, np.linalg.pinv(a) @ b, atol=1e-8)


def test_integer_right_hand_side_is_widened():
    result = conjugate_gradients(lambda x: 4.0 * x, np.array([4, 8]))
    np.testing.assert_allclose(result.solution, [1.0, 2.0])


def test_default_tolerance_can_be_reached_in_float32():
    rng = np.random.default_rng(12)
    a = spd(rng, np.linspace(1, 100, 60), np.float32)
    result = conjugate_gradients(lambda x: a @ x, rng.standard_normal(60).astype(np.float32))
    assert result.status == "converged"
    assert not result.stalled


def test_solution_beyond_float32_keeps_the_last_finite_iterate():
    b = np.full(3, 1e10, np.float32)
    result = conjugate_gradients(lambda x: np.float32(1e-30) * x, b)
    assert result.status == "not_finite"
    assert np.isfinite(result.solution).all()


@pytest.mark.parametrize("tolerances", [{"rtol": np.nan}, {"rtol": -1.0}, {"atol": np.nan}])
def test_tolerances_that_mean_nothing_are_refused(tolerances):
    with pytest.raises(ValueError, match="tolerances"):
        conjugate_gradients(lambda x: x, np.ones(3), **tolerances)


def test_start_of_another_shape_is_refused():
    with pytest.raises(ValueError, match="start has shape"):
        conjugate_gradients(lambda x: x, np.ones(3), start=np.ones(2))
