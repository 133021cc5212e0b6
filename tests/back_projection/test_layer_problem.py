"""The layer problem (P): CG against the exact form, both against optimality, and every limit."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from new_algorithm.back_projection.conjugate_gradients import conjugate_gradients
from new_algorithm.back_projection.layer_problem import (
    absolute_lambda_h,
    absolute_lambda_w,
    cross_moment,
    divide_above_rounding,
    gram,
    gram_operator,
    hidden_change,
    mean_eigenvalue_of_gram,
    objective,
    passed_down,
    spectrum,
    weight_change_by_cg,
    weight_change_exact,
    weight_operator,
)
from new_algorithm.back_projection.network import append_ones

SHAPES = {  # rows, d_in, d_out
    "wide": (8, 20, 5),
    "tall": (30, 7, 4),
    "square": (10, 9, 9),
    "widening": (15, 4, 12),
    "one row": (1, 6, 3),
}


def problem(shape, seed=0, *, rank_deficient=False):
    """Return H̃ (n, d_in + 1), W̃ (d_in + 1, d_out), Δ (n, d_out) in float64."""
    rows, d_in, d_out = SHAPES.get(shape, shape)
    rng = np.random.default_rng(seed)
    h = rng.standard_normal((rows, d_in))
    weight = rng.standard_normal((d_in + 1, d_out))
    if rank_deficient:
        h[:, d_in // 2 :] = h[:, : d_in - d_in // 2]  # repeated features
        weight[:, d_out // 2 :] = weight[:, : d_out - d_out // 2]  # repeated units
    return append_ones(h), weight, rng.standard_normal((rows, d_out))


def relative_error(a, b):
    return np.linalg.norm(a - b) / np.linalg.norm(b)


@pytest.mark.parametrize("rank_deficient", [False, True])
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize(("lambda_w", "lambda_h"), [(1e-3, 1e-2), (0.1, 1.0), (2.0, np.inf)])
def test_cg_agrees_with_the_exact_form(shape, rank_deficient, lambda_w, lambda_h):
    data = problem(shape, rank_deficient=rank_deficient)
    cg = weight_change_by_cg(*data, lambda_w, lambda_h, rtol=1e-12)
    assert cg.status == "converged"
    assert relative_error(cg.solution, weight_change_exact(*data, lambda_w, lambda_h)) < 1e-8


@pytest.mark.parametrize("rank_deficient", [False, True])
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize(("lambda_w", "lambda_h"), [(0.03, 0.2), (1.0, 5.0)])
def test_exact_form_is_the_joint_least_squares_solution(shape, rank_deficient, lambda_w, lambda_h):
    """Oracle: (P) as one dense least-squares problem in all entries of δW̃ and δH."""
    inputs, weight, delta = problem(shape, rank_deficient=rank_deficient)
    (n, d), m = inputs.shape, weight.shape[1]
    w = weight[:-1]
    # vec is row-major: vec(H̃ V) = (H̃ ⊗ I) vec V and vec(δH W) = (I ⊗ Wᵀ) vec δH
    fit = np.hstack([np.kron(inputs, np.eye(m)), np.kron(np.eye(n), w.T)]) / np.sqrt(n)
    penalties = np.sqrt(np.r_[np.full(d * m, lambda_w), np.full(n * (d - 1), lambda_h / n)])
    design = np.vstack([fit, np.diag(penalties)])
    target = np.r_[delta.ravel() / np.sqrt(n), np.zeros(len(penalties))]
    oracle = np.linalg.lstsq(design, target, rcond=None)[0]

    change = weight_change_exact(inputs, weight, delta, lambda_w, lambda_h)
    below = hidden_change(delta - inputs @ change, weight, lambda_h)
    np.testing.assert_allclose(change.ravel(), oracle[: d * m], atol=1e-10)
    np.testing.assert_allclose(below.ravel(), oracle[d * m :], atol=1e-10)


@settings(max_examples=50)
@given(
    shape=st.tuples(st.integers(1, 12), st.integers(1, 8), st.integers(1, 6)),
    log_w=st.floats(-4, 2),
    log_h=st.floats(-3, 3),
    seed=st.integers(0, 2**32 - 1),
)
def test_no_nearby_point_has_a_lower_objective(shape, log_w, log_h, seed):
    data = problem(shape, seed)
    lambda_w, lambda_h = 10**log_w, 10**log_h
    change = weight_change_exact(*data, lambda_w, lambda_h)
    below = hidden_change(data[2] - data[0] @ change, data[1], lambda_h)
    best = objective(*data, lambda_w, lambda_h, change, below)
    rng = np.random.default_rng(seed)
    for size in (1e-3, 1e-1):
        other = change + size * rng.standard_normal(change.shape)
        other_below = below + size * rng.standard_normal(below.shape)
        assert objective(*data, lambda_w, lambda_h, other, other_below) >= best


@pytest.mark.parametrize("lambda_h", [0.3, np.inf])
def test_operator_is_its_own_adjoint_and_positive(lambda_h):
    inputs, weight, _ = problem("tall")
    rng = np.random.default_rng(1)
    apply = weight_operator(gram_operator(inputs, 4, 1), weight, 0.1, lambda_h)
    u, v = rng.standard_normal((2, *weight.shape))
    assert np.vdot(u, apply(v)) == pytest.approx(np.vdot(apply(u), v), rel=1e-12)
    assert np.vdot(v, apply(v)) > 0


def test_matrix_free_and_formed_gram_are_one_operator():
    inputs, weight, _ = problem("tall")
    matrix_free = gram_operator(inputs, columns=1, iterations=1)
    formed = gram_operator(inputs, columns=10, iterations=1000)
    np.testing.assert_allclose(matrix_free(weight), formed(weight), rtol=1e-12)
    np.testing.assert_allclose(formed(weight), gram(inputs) @ weight, rtol=1e-12)


class Counted:
    """Stands for a matrix: counts the multiplications of all products that come of it."""

    def __init__(self, shape: tuple[int, int], count: list[float], of: object = None) -> None:
        self.shape, self._count, self._of = shape, count, self if of is None else of

    @property
    def T(self) -> "Counted":  # noqa: N802
        return Counted(self.shape[::-1], self._count, self._of)

    def __len__(self) -> int:
        return self.shape[0]

    def __matmul__(self, other: "Counted") -> "Counted":
        symmetric = self._of is other._of  # H̃ᵀH̃, of which half is enough
        product = self.shape[0] * self.shape[1] * other.shape[1]
        self._count[0] += product / 2 if symmetric else product
        return Counted((self.shape[0], other.shape[1]), self._count)

    def __truediv__(self, number: int) -> "Counted":
        return self


@given(
    shape=st.tuples(st.integers(1, 200), st.integers(1, 200), st.integers(1, 60)),
    iterations=st.integers(1, 60),
)
def test_gram_is_applied_in_the_way_of_fewer_multiplications(shape, iterations):
    n, d, columns = shape
    count = [0.0]
    apply = gram_operator(Counted((n, d), count), columns, iterations)
    for _ in range(iterations):
        apply(Counted((d, columns), count))
    matrix_free = 2 * n * d * columns * iterations
    formed = n * d * d / 2 + d * d * columns * iterations
    assert count[0] == min(matrix_free, formed)


@pytest.mark.parametrize("lambda_h", [0.5, np.inf])
def test_cg_needs_no_more_iterations_than_distinct_eigenvalues(lambda_h):
    # Orthonormal columns, repeated spectrum: G has 3 distinct eigenvalues, K has 2, (2) has ≤ 6.
    rng = np.random.default_rng(2)
    q, _ = np.linalg.qr(rng.standard_normal((40, 12)))
    inputs = np.sqrt(40) * q * np.sqrt(np.repeat([1.0, 4.0, 9.0], 4))
    u, _ = np.linalg.qr(rng.standard_normal((11, 6)))
    weight = np.vstack([u * np.sqrt(np.repeat([1.0, 3.0], 3)), np.zeros(6)])
    delta = rng.standard_normal((40, 6))
    cg = weight_change_by_cg(inputs, weight, delta, 0.2, lambda_h, rtol=1e-10)
    distinct = 3 if np.isinf(lambda_h) else 6
    assert cg.status == "converged"
    assert cg.iterations <= distinct + 1


# The limits. Each checks that the distance shrinks in proportion, so a wrong constant shows.


@pytest.mark.parametrize("shape", ["wide", "tall", "square"])
def test_large_lambda_h_gives_ridge_regression(shape):
    inputs, weight, delta = problem(shape)
    lambda_w = 0.1
    ridge = np.linalg.solve(
        gram(inputs) + lambda_w * np.eye(inputs.shape[1]), cross_moment(inputs, delta)
    )
    np.testing.assert_allclose(
        weight_change_exact(inputs, weight, delta, lambda_w, np.inf), ridge, atol=1e-11
    )
    near = [weight_change_exact(inputs, weight, delta, lambda_w, h) for h in (1e4, 1e6)]
    errors = [relative_error(change, ridge) for change in near]
    assert errors[1] < 1e-4
    assert errors[1] == pytest.approx(errors[0] / 100, rel=0.05)


def test_large_lambda_h_passes_down_the_back_propagated_residual():
    inputs, weight, delta = problem("tall")
    change = weight_change_exact(inputs, weight, delta, 0.1, np.inf)
    residual = delta - inputs @ change
    back_propagated = residual @ weight[:-1].T
    errors = [
        relative_error(h * hidden_change(residual, weight, h), back_propagated) for h in (1e4, 1e6)
    ]
    assert errors[1] < 1e-4
    assert errors[1] == pytest.approx(errors[0] / 100, rel=0.05)
    np.testing.assert_array_equal(passed_down(residual, weight, np.inf), back_propagated)
    assert relative_error(passed_down(residual, weight, 1e8), back_propagated) < 1e-6
    np.testing.assert_array_equal(hidden_change(residual, weight, np.inf), 0)


@pytest.mark.parametrize("lambda_h", [1e-3, 0.3, 7.0])
def test_passed_down_is_the_rescaled_hidden_change(lambda_h):
    _, weight, residual = problem("tall")
    w = weight[:-1]
    k = w.T @ w
    oracle = residual @ np.linalg.solve(k + lambda_h * np.eye(len(k)), w.T)
    np.testing.assert_allclose(hidden_change(residual, weight, lambda_h), oracle, rtol=1e-9)
    scale = np.linalg.eigvalsh(k).mean() + lambda_h
    np.testing.assert_allclose(passed_down(residual, weight, lambda_h), scale * oracle, rtol=1e-9)


def test_small_lambda_h_passes_down_the_scaled_least_norm_target():
    _, weight, residual = problem("tall")
    k = weight[:-1].T @ weight[:-1]
    target = np.linalg.eigvalsh(k).mean() * residual @ np.linalg.pinv(weight[:-1])
    assert relative_error(passed_down(residual, weight, 1e-9), target) < 1e-6


def test_small_lambda_h_leaves_the_weights_and_moves_the_input():
    inputs, weight, delta = problem("tall")  # K = WᵀW has full rank here
    least_norm = delta @ np.linalg.pinv(weight[:-1])
    sizes, errors = [], []
    for lambda_h in (1e-4, 1e-6):
        change = weight_change_exact(inputs, weight, delta, 0.1, lambda_h)
        below = hidden_change(delta - inputs @ change, weight, lambda_h)
        sizes.append(np.linalg.norm(change))
        errors.append(relative_error(below, least_norm))
    assert errors[1] < 1e-4
    assert sizes[1] == pytest.approx(sizes[0] / 100, rel=0.05)
    assert errors[1] == pytest.approx(errors[0] / 100, rel=0.05)


def test_vanishing_lambda_h_gives_the_least_norm_change_of_a_singular_layer():
    _, weight, delta = problem("widening", rank_deficient=True)
    below = hidden_change(delta, weight, 1e-300)
    np.testing.assert_allclose(below, delta @ np.linalg.pinv(weight[:-1]), atol=1e-10)


@pytest.mark.parametrize("lambda_h", [0.7, np.inf])
def test_large_lambda_w_gives_the_scaled_gradient_step(lambda_h):
    inputs, weight, delta = problem("tall")
    k = weight[:-1].T @ weight[:-1]
    gradient = cross_moment(inputs, delta) @ np.linalg.inv(np.eye(len(k)) + k / lambda_h)
    errors, sizes = [], []
    for lambda_w in (1e4, 1e6):
        change = weight_change_exact(inputs, weight, delta, lambda_w, lambda_h)
        sizes.append(np.linalg.norm(change))
        errors.append(relative_error(lambda_w * change, gradient))
    assert sizes[1] == pytest.approx(sizes[0] / 100, rel=0.05)
    assert errors[1] < 1e-4
    assert errors[1] == pytest.approx(errors[0] / 100, rel=0.05)


@pytest.mark.parametrize("rank_deficient", [False, True])
@pytest.mark.parametrize("shape", SHAPES)
def test_zero_lambda_w_without_hidden_change_is_least_squares(shape, rank_deficient):
    inputs, weight, delta = problem(shape, rank_deficient=rank_deficient)
    least_norm = np.linalg.pinv(inputs) @ delta
    np.testing.assert_allclose(
        weight_change_exact(inputs, weight, delta, 0.0, np.inf), least_norm, atol=1e-8
    )
    if not rank_deficient and shape == "tall":
        near = weight_change_exact(inputs, weight, delta, 1e-9, np.inf)
        assert relative_error(near, least_norm) < 1e-7


def absolute(inputs, weight, relative_w, relative_h):
    mean_of_g = mean_eigenvalue_of_gram(inputs)
    return absolute_lambda_w(mean_of_g, relative_w), absolute_lambda_h(weight, relative_h)


def test_relative_penalties_do_not_see_the_scale_of_the_data():
    inputs, weight, delta = problem("tall")
    change = weight_change_exact(inputs, weight, delta, *absolute(inputs, weight, 2, 3))
    s, t = 100.0, 0.01
    scaled = weight_change_exact(
        s * inputs, t * weight, delta, *absolute(s * inputs, t * weight, 2, 3)
    )
    np.testing.assert_allclose(s * scaled, change, rtol=1e-10)


def test_relative_units_are_mean_eigenvalues():
    inputs, weight, _ = problem("wide")
    lambda_w, lambda_h = absolute(inputs, weight, 2.0, 3.0)
    mean = np.linalg.eigvalsh(gram(inputs)).mean()
    assert mean_eigenvalue_of_gram(inputs) == pytest.approx(mean)
    assert lambda_w == pytest.approx(2 * mean)
    k = weight[:-1].T @ weight[:-1]
    assert lambda_h == pytest.approx(3 * np.linalg.eigvalsh(k).mean())
    assert absolute(inputs, weight, 0.0, np.inf) == (0.0, np.inf)


def test_spectrum_of_a_singular_matrix_has_no_negative_values():
    h = np.random.default_rng(0).standard_normal((3, 8))
    values, vectors = spectrum(h.T @ h)
    assert (values >= 0).all()
    assert (np.diff(values) >= 0).all()
    np.testing.assert_allclose(vectors * values @ vectors.T, h.T @ h, atol=1e-12)


def test_division_leaves_out_what_is_rounding():
    eigenvalues = np.array([0.0, 1e-17, 1.0, 4.0])
    found = divide_above_rounding(np.full((4, 2), 2.0), eigenvalues[:, None], eigenvalues)
    np.testing.assert_array_equal(found, [[0, 0], [0, 0], [2, 2], [0.5, 0.5]])
    found = divide_above_rounding(np.ones(4), eigenvalues + 1.0, eigenvalues)
    np.testing.assert_allclose(found, 1 / (eigenvalues + 1))


@pytest.mark.parametrize("relative_h", [1e-3, 1.0, np.inf])
def test_layer_of_zero_weights_passes_nothing_down(relative_h):
    inputs, weight, delta = problem("tall")
    weight = np.zeros_like(weight)
    lambda_w, lambda_h = absolute(inputs, weight, 1.0, relative_h)
    assert lambda_h > 0
    cg = weight_change_by_cg(inputs, weight, delta, lambda_w, lambda_h)
    assert cg.status == "converged"
    np.testing.assert_array_equal(passed_down(delta, weight, lambda_h), 0)


def test_float32_cg_agrees_to_float32():
    data = [a.astype(np.float32) for a in problem("tall")]
    cg = weight_change_by_cg(*data, 0.1, 1.0, rtol=1e-6)
    assert cg.solution.dtype == np.float32
    assert relative_error(cg.solution, weight_change_exact(*problem("tall"), 0.1, 1.0)) < 1e-5


def test_negative_lambda_w_is_reported_as_not_positive_definite():
    inputs, weight, delta = problem("tall")
    operator = weight_operator(gram_operator(inputs, 4, 1), weight, -1e3, np.inf)
    result = conjugate_gradients(operator, cross_moment(inputs, delta))
    assert result.status == "nonpositive_curvature"
