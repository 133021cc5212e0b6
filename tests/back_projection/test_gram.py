"""Averages of Gram matrices, their inverses, and how often either is renewed."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from new_algorithm.back_projection.gram import (
    DENSE_UP_TO,
    GRAM_ROWS,
    LONGEST_INTERVAL,
    MANY_IN_A_BATCH,
    OVERHEAD,
    OVERHEAD_OF_MANY,
    GramSum,
    Inverse,
    LeadingInverse,
    MovingGram,
    dense_inverse,
    intervals,
    inverse_times,
    leading_inverse,
    leading_rank,
    ridge_inverse,
    rows_shown,
)


def batches(count: int, rows: int = 9, d: int = 5) -> list[NDArray]:
    return list(np.random.default_rng(0).standard_normal((count, rows, d)))


def matrix(eigenvalues: NDArray, seed: int = 0) -> tuple[NDArray, NDArray]:
    """G with these eigenvalues, and its eigenvectors."""
    d = len(eigenvalues)
    q, _ = np.linalg.qr(np.random.default_rng(seed).standard_normal((d, d)))
    return q * eigenvalues @ q.T, q


def applied(inverse: Inverse, moment: NDArray) -> NDArray:
    out = np.full_like(moment, np.nan)
    inverse_times(inverse, moment, out)
    return out


def as_matrix(inverse: Inverse, d: int) -> NDArray:
    return applied(inverse, np.eye(d))


def test_mean_eigenvalue_is_that_of_the_mean_over_the_rows():
    (h,) = batches(1, rows=30)
    gram = GramSum(None, float(np.trace(h.T @ h)), 30, 5)
    assert gram.mean_eigenvalue == pytest.approx(np.linalg.eigvalsh(h.T @ h / 30).mean())


@pytest.mark.parametrize("decay", [0.0, 0.3, 0.9, 0.999])
def test_average_is_the_weighted_sum_over_the_weights(decay):
    average, seen = MovingGram(decay), batches(6)
    for count, batch in enumerate(seen, start=1):
        average.update(batch.T @ batch, len(batch))
        weights = decay ** np.arange(count)[::-1]
        grams = [h.T @ h / len(h) for h in seen[:count]]
        expected = np.tensordot(weights / weights.sum(), grams, axes=1)
        np.testing.assert_allclose(average.value, expected, rtol=1e-12, atol=1e-12)


def test_rows_of_batches_of_different_sizes_count_alike():
    average, (first, second) = MovingGram(0.5), (batches(1, rows)[0] for rows in (3, 30))
    for h in (first, second):
        average.update(h.T @ h, len(h))
    expected = (0.5 * first.T @ first + second.T @ second) / (0.5 * 3 + 30)
    np.testing.assert_allclose(average.value, expected, rtol=1e-12)


def test_average_keeps_the_type_and_leaves_what_it_is_given():
    average, total = MovingGram(0.5), np.eye(3, dtype=np.float32)
    for _ in range(2):
        average.update(total, 7)
    assert average.value.dtype == np.float32
    np.testing.assert_array_equal(total, np.eye(3))
    average.value[:] = np.nan
    np.testing.assert_allclose(average.value, np.eye(3) / 7, rtol=1e-6)


def test_value_needs_a_batch_and_forgetting_begins_again():
    average, (first, last) = MovingGram(0.9), batches(2)
    with pytest.raises(np.linalg.LinAlgError, match="no batch"):
        _ = average.value
    average.update(first.T @ first, len(first))
    average.forget()
    with pytest.raises(np.linalg.LinAlgError, match="no batch"):
        _ = average.value
    average.update(last.T @ last, len(last))
    np.testing.assert_allclose(average.value, last.T @ last / len(last), rtol=1e-14)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_batch_that_is_not_finite_is_left_out(bad):
    average, (first, last) = MovingGram(0.9), batches(2)
    average.update(first.T @ first, len(first))
    before = average.value
    last[2, 3] = bad
    with np.errstate(invalid="ignore"), pytest.raises(np.linalg.LinAlgError, match="not finite"):
        average.update(last.T @ last, len(last))
    np.testing.assert_array_equal(average.value, before)


# Inverses.


@pytest.mark.parametrize("damping", [1e-3, 1.0, 100.0])
def test_dense_inverse_solves(damping):
    g, _ = matrix(np.geomspace(1e-6, 10, 12))
    moment = np.random.default_rng(1).standard_normal((12, 4))
    before = g.copy()
    found = applied(dense_inverse(g, damping), moment)
    expected = np.linalg.solve(g + damping * np.eye(12), moment)
    np.testing.assert_allclose(found, expected, rtol=1e-9, atol=1e-12)
    np.testing.assert_array_equal(g, before)


def test_singular_matrix_without_damping_gets_its_pseudo_inverse():
    g, _ = matrix(np.r_[np.zeros(3), 1.0, 2.0, 5.0])
    moment = np.random.default_rng(1).standard_normal((6, 2))
    found = applied(dense_inverse(g - 1e-15 * np.eye(6), 0.0), moment)
    np.testing.assert_allclose(found, np.linalg.pinv(g, hermitian=True) @ moment, atol=1e-12)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_inverses_keep_the_type(dtype):
    g = matrix(np.r_[np.zeros(13), 1.0, 2.0, 5.0])[0].astype(dtype)
    moment = np.random.default_rng(1).standard_normal((16, 3)).astype(dtype)
    expected = np.linalg.solve(g + 0.5 * np.eye(16), moment)
    for inverse in (dense_inverse(g, 0.5), leading_inverse(g, 0.5, 3)):
        out = applied(inverse, moment)
        assert out.dtype == dtype
        np.testing.assert_allclose(out, expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("rank", [3, 5])
def test_leading_inverse_is_exact_where_the_rank_is_kept(rank):
    g, _ = matrix(np.r_[np.zeros(37), 1.0, 2.0, 5.0])
    found = as_matrix(leading_inverse(g, 0.1, rank), 40)
    np.testing.assert_allclose(found, np.linalg.inv(g + 0.1 * np.eye(40)), atol=1e-9)


def converged(g: NDArray, damping: float, rank: int, steps: int = 40) -> LeadingInverse:
    inverse = None
    for _ in range(steps):
        inverse = leading_inverse(g, damping, rank, inverse)
    return inverse


def test_leading_inverse_is_exact_over_an_isotropic_rest():
    g, _ = matrix(np.r_[np.full(37, 0.3), 1.0, 2.0, 5.0])
    expected = np.linalg.inv(g + 0.1 * np.eye(40))
    np.testing.assert_allclose(as_matrix(converged(g, 0.1, 3), 40), expected, atol=1e-10)


def test_warm_started_subspace_converges_to_the_leading_eigenvectors():
    eigenvalues = np.geomspace(1e-8, 10, 40)
    g, q = matrix(eigenvalues)
    leading = q[:, -6:] @ q[:, -6:].T
    errors, inverse = [], None
    for _ in range(30):
        inverse = leading_inverse(g, 0.1, 6, inverse)
        errors.append(np.linalg.norm(inverse[0] @ inverse[0].T - leading, 2))
    assert errors[-1] < 1e-6
    ratio = eigenvalues[-7] / eigenvalues[-6]  # of an error to the one before it
    assert errors[25] / errors[15] == pytest.approx(ratio**10, rel=0.1)
    cold, warm = (leading_inverse(1.1 * g, 0.1, 6, earlier) for earlier in (None, inverse))
    distance = [np.linalg.norm(i[0] @ i[0].T - leading) for i in (cold, warm)]
    assert distance[1] < 1e-3 * distance[0]


@pytest.mark.parametrize("damping", [0.01, 0.3, 3.0])
def test_error_of_the_leading_inverse_is_bounded_by_what_is_left_out(damping):
    """With g' and each g_i left out in [0, g_{r+1}], 1/(λ + g_i) and 1/(λ + g') differ by at most
    1/λ − 1/(λ + g_{r+1})."""
    eigenvalues = np.geomspace(1e-5, 10, 48)
    g, _ = matrix(eigenvalues)
    found = as_matrix(converged(g, damping, 6), 48)
    error = np.linalg.norm(found - np.linalg.inv(g + damping * np.eye(48)), 2)
    assert 0 < error <= 1 / damping - 1 / (damping + eigenvalues[-7])


@given(
    log_values=st.lists(st.floats(-6, 3), min_size=9, max_size=20),
    log_damping=st.floats(-3, 2),
    rank=st.integers(1, 8),
)
def test_leading_inverse_is_positive_definite_between_the_extreme_inverses(
    log_values, log_damping, rank
):
    """Ritz values and the mean of the rest lie in [0, g_max]: any step is a safe one."""
    values, damping = 10 ** np.array(log_values), 10**log_damping
    g, _ = matrix(values)
    found = as_matrix(leading_inverse(g, damping, rank), len(values))
    spectrum = np.linalg.eigvalsh((found + found.T) / 2)
    assert spectrum.min() >= (1 - 1e-6) / (damping + values.max())
    assert spectrum.max() <= (1 + 1e-6) / damping


def test_units_that_never_fire_do_not_hide_the_others():
    d, rank = 40, 5
    h = np.random.default_rng(0).standard_normal((200, d))
    h[:, :rank] = 0  # dead, and those at which the search starts
    g = h.T @ h / 200
    inverse = converged(g, 0.1, rank)
    kept = np.trace(inverse[0].T @ g @ inverse[0])
    assert kept == pytest.approx(np.linalg.eigvalsh(g)[-rank:].sum(), rel=0.05)


def test_eigenvectors_of_another_number_are_looked_for_anew():
    g, _ = matrix(np.geomspace(1e-3, 10, 40))
    cold, other = leading_inverse(g, 0.1, 5), leading_inverse(g, 0.1, 8)
    for found, expected in zip(leading_inverse(g, 0.1, 5, other), cold, strict=True):
        np.testing.assert_array_equal(found, expected)


def test_form_of_the_inverse_follows_size_and_damping():
    small, large = np.eye(DENSE_UP_TO), np.eye(DENSE_UP_TO + 8)
    assert isinstance(ridge_inverse(small, 1.0), np.ndarray)
    assert isinstance(ridge_inverse(large, 0.0), np.ndarray)
    leading = ridge_inverse(large, 1.0)
    assert isinstance(leading, tuple)
    assert leading[0].shape == (len(large), leading_rank(len(large)))
    assert [leading_rank(order) for order in (257, 513, 1_001)] == [16, 16, 31]
    assert isinstance(ridge_inverse(large, 1.0, dense_inverse(large, 1.0)), tuple)


def test_an_earlier_inverse_is_where_the_search_starts():
    g, _ = matrix(np.geomspace(1e-3, 10, DENSE_UP_TO + 8))
    inverse = None
    for _ in range(24):
        inverse = ridge_inverse(g, 0.1, inverse)
    cold = ridge_inverse(g, 0.1)
    best = np.geomspace(1e-3, 10, len(g))[-inverse[0].shape[1] :].sum()
    kept = [np.trace(i[0].T @ g @ i[0]) for i in (cold, inverse)]
    assert kept[0] < kept[1] <= best * (1 + 1e-12)
    assert kept[1] > 0.999 * best


# How often.

shapes = st.lists(st.tuples(st.integers(2, 900), st.integers(1, 900)), min_size=1, max_size=6)


@given(rows=st.integers(1, 9_000), shapes=shapes, in_chunks=st.booleans())
def test_averaging_and_factoring_add_no_more_than_the_overhead_to_a_step(rows, shapes, in_chunks):
    gram_every, factor_every = intervals(rows, shapes, in_chunks)
    allowed = OVERHEAD if rows < MANY_IN_A_BATCH else OVERHEAD_OF_MANY
    allowed *= sum(6 * rows * d * m for d, m in shapes)
    shown = rows_shown(rows, in_chunks)
    assert shown == rows if in_chunks or rows <= GRAM_ROWS else GRAM_ROWS / 2 < shown <= GRAM_ROWS
    averaging = sum(2 * shown * d * d for d, _ in shapes[1:])
    factoring = sum(
        600 * d**2 + 3 * d**3 if d <= DENSE_UP_TO else 2_000 * d**2 + 10 * d**3
        for d, _ in shapes[1:]
    )
    for every, cost, least in ((gram_every, averaging, 1), (factor_every, factoring, gram_every)):
        assert isinstance(every, int)
        assert every >= least, "between two updates there is nothing to factor anew"
        assert 1 <= every <= LONGEST_INTERVAL
        if every < LONGEST_INTERVAL:
            assert cost / every <= allowed * (1 + 1e-12)
        if every > least:
            assert cost / (every - 1) > allowed * (1 - 1e-12), "no rarer than that"


def test_nothing_is_averaged_below_a_single_layer():
    assert intervals(128, [(60, 10)]) == (1, 1)
