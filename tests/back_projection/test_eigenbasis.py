"""The input layer in the leading eigenvectors of its Gram."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from new_algorithm.back_projection import eigenbasis
from new_algorithm.back_projection.eigenbasis import (
    KEPT_SHARE,
    NARROW,
    Eigenbasis,
    leading_eigenbasis,
    streamed_eigenbasis,
)
from new_algorithm.back_projection.layer_problem import (
    gram,
    mean_eigenvalue_of_gram,
    weight_change_exact,
)
from new_algorithm.back_projection.network import append_ones, forward, initial_weights
from new_algorithm.back_projection.solvers import EigenbasisSolver, Penalties


def change_on_features(basis: Eigenbasis, p: NDArray, delta: NDArray, lambda_w: float) -> NDArray:
    """Q δA, solved in the basis with a relative λ_w."""
    moment = p.T @ delta / len(p)
    solver = EigenbasisSolver(basis, Penalties(lambda_w))
    solver.begin(np.zeros_like(moment), 1.0)
    change = np.empty_like(moment)
    solver.solve(p, np.zeros_like(moment), moment, change)
    return basis.vectors @ change


def exact_change(inputs: NDArray, delta: NDArray, relative_w: float) -> NDArray:
    weight = np.zeros((inputs.shape[1], delta.shape[1]))  # with λ_h = ∞ the weights do not matter
    lambda_w = relative_w * mean_eigenvalue_of_gram(inputs)
    return weight_change_exact(inputs, weight, delta, lambda_w, np.inf)


def correlated(rng, rows=200, features=12):
    return rng.standard_normal((rows, features)) @ rng.standard_normal((features, features)) + 1


def test_projected_data_have_the_diagonal_gram_even_from_a_sample_of_rows():
    x = correlated(np.random.default_rng(0))
    basis, p = leading_eigenbasis(x, rank=5, sample_rows=50)
    np.testing.assert_allclose(p, basis.project(x), atol=1e-10)
    np.testing.assert_allclose(basis.vectors.T @ basis.vectors, np.eye(5), atol=1e-12)
    np.testing.assert_allclose(
        gram(basis.project(x)), np.diag(basis.values), atol=1e-10 * basis.values[0]
    )
    assert (np.diff(basis.values) <= 0).all()


def test_sample_is_spread_over_all_rows():
    """Sorted by class, say: the first rows vary in other directions than the last."""
    x = 0.01 * np.random.default_rng(9).standard_normal((1_000, 6))
    x[:500, :3] *= 100
    x[500:, 3:] *= 200
    basis, _ = leading_eigenbasis(x, rank=4, sample_rows=100)
    best = np.linalg.eigvalsh(gram(append_ones(x)))[:-5:-1]
    np.testing.assert_allclose(basis.values, best, rtol=0.05)


def test_all_rows_give_the_leading_eigenvalues():
    x = correlated(np.random.default_rng(1))
    basis, _ = leading_eigenbasis(x, rank=4)
    eigenvalues = np.linalg.eigvalsh(gram(append_ones(x)))
    np.testing.assert_allclose(basis.values, eigenvalues[:-5:-1])
    assert basis.mean_eigenvalue == pytest.approx(eigenvalues.mean())
    assert basis.explained == pytest.approx(eigenvalues[-4:].sum() / eigenvalues.sum())


@pytest.mark.parametrize("rank", [None, 13])
def test_full_rank_solve_is_the_exact_form(rank):
    rng = np.random.default_rng(2)
    x, delta = correlated(rng), rng.standard_normal((200, 6))
    basis, p = leading_eigenbasis(x, rank)
    expected = exact_change(append_ones(x), delta, 0.5)
    np.testing.assert_allclose(change_on_features(basis, p, delta, 0.5), expected, atol=1e-11)


def test_truncated_solve_is_the_exact_form_restricted_to_the_basis():
    rng = np.random.default_rng(3)
    x, delta = correlated(rng), rng.standard_normal((200, 6))
    basis, p = leading_eigenbasis(x, rank=4)
    projector = basis.vectors @ basis.vectors.T
    expected = projector @ exact_change(append_ones(x), delta, 0.5)
    np.testing.assert_allclose(change_on_features(basis, p, delta, 0.5), expected, atol=1e-9)


def test_no_penalty_on_rank_deficient_data_is_least_squares():
    rng = np.random.default_rng(5)
    x = np.repeat(rng.standard_normal((40, 3)), 2, axis=1)  # every feature twice
    delta = rng.standard_normal((40, 2))
    basis, p = leading_eigenbasis(x, rank=7)
    least_norm = np.linalg.pinv(append_ones(x)) @ delta
    np.testing.assert_allclose(change_on_features(basis, p, delta, 0.0), least_norm, atol=1e-8)


def test_rank_holds_the_kept_share_of_a_wide_spectrum_and_no_more():
    rng = np.random.default_rng(6)
    x = rng.standard_normal((400, NARROW + 20)) * np.geomspace(1, 0.01, NARROW + 20)
    basis, p = leading_eigenbasis(x)
    rank = len(basis.values)
    assert p.shape == (400, rank)
    assert 1 < rank < 100
    assert basis.explained >= KEPT_SHARE
    fewer, _ = leading_eigenbasis(x, rank - 1)
    assert fewer.explained < KEPT_SHARE


def test_narrow_data_keep_every_direction():
    x = np.random.default_rng(7).standard_normal((300, NARROW - 1)) * np.geomspace(
        1, 1e-3, NARROW - 1
    )
    basis, _ = leading_eigenbasis(x)
    assert len(basis.values) == NARROW
    assert basis.explained == pytest.approx(1.0)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("rank", [None, 9, 500])
def test_fewer_rows_than_columns_have_the_basis_of_the_whole_gram(rank, dtype, monkeypatch):
    rng = np.random.default_rng(3)
    x = (rng.standard_normal((60, 40)) @ rng.standard_normal((40, 300)) + 1).astype(dtype)
    monkeypatch.setattr(eigenbasis, "eigh", None)  # which takes minutes for 20,000 columns
    basis, p = leading_eigenbasis(x, rank)
    values, vectors = np.linalg.eigh(gram(append_ones(x.astype(np.float64))))
    values, vectors = values[::-1], vectors[:, ::-1]
    found, eps = len(basis.values), np.finfo(dtype).eps
    share = np.cumsum(values) / values.sum()
    assert found == {None: int(np.searchsorted(share, KEPT_SHARE)) + 1, 9: 9, 500: 41}[rank]
    np.testing.assert_allclose(basis.values, values[:found], rtol=1e4 * eps)
    np.testing.assert_allclose(basis.vectors.T @ basis.vectors, np.eye(found), atol=100 * eps)
    cosines = np.linalg.svd(basis.vectors.T @ vectors[:, :found])[1]
    np.testing.assert_allclose(cosines, 1, atol=1e4 * eps)  # they span the same
    np.testing.assert_allclose(p, basis.project(x), atol=1e4 * eps * np.abs(p).max())
    np.testing.assert_allclose(basis.explained, share[found - 1], rtol=1e4 * eps)


def test_bases_repeat_their_bits():
    x = correlated(np.random.default_rng(8)).astype(np.float32)
    (first, p), (second, q) = leading_eigenbasis(x), leading_eigenbasis(x)
    np.testing.assert_array_equal(first.vectors, second.vectors)
    np.testing.assert_array_equal(p, q)
    assert p.dtype == first.vectors.dtype == np.float32


def test_network_in_the_basis_is_the_network_on_the_data():
    rng = np.random.default_rng(4)
    x = correlated(rng)
    basis, _ = leading_eigenbasis(x, rank=3)
    weights = initial_weights(rng, (12, 8, 2), np.float64)
    weights[0] = basis.vectors.T @ weights[0]
    _, in_basis = forward(weights, basis.project(x))
    _, on_data = forward([basis.vectors @ weights[0], weights[1]], append_ones(x))
    np.testing.assert_allclose(in_basis, on_data, atol=1e-12)


@pytest.mark.parametrize("x", [np.zeros((20, 3)), np.ones((20, 3)), np.ones((1, 3))])
@pytest.mark.parametrize("rank", [None, 10])
def test_degenerate_data_give_a_finite_step(x, rank):
    x, delta = x.astype(np.float32), np.ones((len(x), 2), np.float32)
    for basis in (leading_eigenbasis(x, rank)[0], streamed_eigenbasis([x], 3, rank)):
        assert basis.vectors.shape == (4, 4)
        for lambda_w in (0.0, 1.0):
            change = change_on_features(basis, basis.project(x), delta, lambda_w)
            assert np.isfinite(change).all()


# From rows in chunks.


def in_pieces(x: NDArray, cuts: list[int]) -> list[NDArray]:
    return np.split(x, sorted(cuts))


@given(cuts=st.lists(st.integers(0, 200), max_size=5))
def test_streamed_basis_is_of_the_gram_of_all_rows_in_any_chunks(cuts):
    x = correlated(np.random.default_rng(0))
    basis = streamed_eigenbasis(in_pieces(x, cuts), 12, dtype=np.float64)
    values, _ = np.linalg.eigh(gram(append_ones(x)))
    np.testing.assert_allclose(basis.values, values[::-1], atol=1e-12 * values[-1])
    np.testing.assert_allclose(basis.vectors.T @ basis.vectors, np.eye(13), atol=1e-12)
    found = gram(basis.project(x))
    np.testing.assert_allclose(found, np.diag(basis.values), atol=1e-12 * values[-1])
    assert basis.mean_eigenvalue == pytest.approx(values.mean(), rel=1e-12)
    assert basis.explained == pytest.approx(1.0)


@pytest.mark.parametrize("cut", [0, 1, 130])
def test_bases_of_two_ranks_summed_are_one(cut):
    x = correlated(np.random.default_rng(1))
    whole, sent = streamed_eigenbasis([x], 12, 5, np.float64), []
    streamed_eigenbasis([x[cut:]], 12, 5, np.float64, lambda total: sent.append(total.copy()))
    empty_or_not = in_pieces(x[:cut], [cut // 2])[cut == 0 :]
    basis = streamed_eigenbasis(
        empty_or_not, 12, 5, np.float64, lambda total: np.add(total, sent[0], out=total)
    )
    np.testing.assert_allclose(basis.values, whole.values, rtol=1e-12)
    projectors = [b.vectors @ b.vectors.T for b in (basis, whole)]
    np.testing.assert_allclose(*projectors, atol=1e-10)
    assert basis.explained == pytest.approx(whole.explained, rel=1e-12)
    assert basis.mean_eigenvalue == pytest.approx(whole.mean_eigenvalue, rel=1e-12)


@pytest.mark.parametrize("rank", [None, 4, 13, 99])
def test_streamed_basis_solves_as_the_one_in_memory(rank):
    rng = np.random.default_rng(2)
    x, delta = correlated(rng), rng.standard_normal((200, 6))
    streamed = streamed_eigenbasis(in_pieces(x, [7, 80]), 12, rank, np.float64)
    in_memory, p = leading_eigenbasis(x, rank)
    np.testing.assert_allclose(streamed.values, in_memory.values, rtol=1e-9)
    assert streamed.explained == pytest.approx(in_memory.explained)
    assert streamed.mean_eigenvalue == pytest.approx(in_memory.mean_eigenvalue)
    changes = [
        change_on_features(basis, basis.project(x), delta, 0.5) for basis in (streamed, in_memory)
    ]
    np.testing.assert_allclose(*changes, atol=1e-10)
    np.testing.assert_allclose(p @ p.T, streamed.project(x) @ streamed.project(x).T, atol=1e-8)


def test_streamed_rank_and_share_are_cut_from_the_spectrum():
    x = np.random.default_rng(6).standard_normal((400, NARROW + 20))
    x *= np.geomspace(1, 0.01, NARROW + 20)
    values = np.linalg.eigvalsh(gram(append_ones(x)))[::-1]
    shares = np.cumsum(values) / values.sum()
    basis = streamed_eigenbasis([x[:150], x[150:]], NARROW + 20, dtype=np.float64)
    rank = len(basis.values)
    assert basis.vectors.shape == (NARROW + 21, rank)
    assert shares[rank - 2] < KEPT_SHARE <= shares[rank - 1]
    assert basis.explained == pytest.approx(shares[rank - 1])


def test_streamed_basis_has_the_type_asked_for_and_sums_in_double():
    far = np.float32(4096) + np.random.default_rng(3).standard_normal((500, 3)).astype(np.float32)
    basis = streamed_eigenbasis(in_pieces(far, list(range(1, 500))), 3)
    assert basis.vectors.dtype == basis.values.dtype == np.float32
    assert basis.vectors.flags.c_contiguous
    values = np.linalg.eigvalsh(gram(append_ones(far.astype(np.float64))))[::-1]
    np.testing.assert_allclose(basis.values[:3], values[:3], rtol=1e-5)  # beside one of 5e7
