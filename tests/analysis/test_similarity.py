"""Effective rank of known spectra; CKA against the published estimator, and its symmetries."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.decomposition import PCA

from new_algorithm.analysis.similarity import cka, effective_rank, principal_components, u_centred


def with_spectrum(rng, values, rows=50):
    """Rows whose covariance has these eigenvalues, up to a factor."""
    x = rng.standard_normal((rows, len(values)))
    orthonormal = np.linalg.qr(x - x.mean(axis=0))[0]
    turn = np.linalg.qr(rng.standard_normal((len(values),) * 2))[0]
    return 3 + orthonormal * np.sqrt(values) @ turn


def test_effective_rank_of_known_spectra():
    rng = np.random.default_rng(0)
    assert effective_rank(with_spectrum(rng, [2.0] * 7)) == pytest.approx(7)
    assert effective_rank(with_spectrum(rng, [1.0, 0.0, 0.0])) == pytest.approx(1)
    p = np.array([0.5, 0.25, 0.25])  # entropy 1.5 ln 2
    assert effective_rank(with_spectrum(rng, 8 * p)) == pytest.approx(2**1.5)
    assert effective_rank(np.ones((5, 3))) == 0


def song(k, l):  # noqa: E741
    """The unbiased HSIC of Song et al. 2012, as it is written there."""
    n, k, l = len(k), k.copy(), l.copy()  # noqa: E741
    np.fill_diagonal(k, 0)
    np.fill_diagonal(l, 0)
    one = np.ones(n)
    third = 2 / (n - 2) * (one @ k @ l @ one)
    second = (one @ k @ one) * (one @ l @ one) / ((n - 1) * (n - 2))
    return (np.trace(k @ l) + second - third) / (n * (n - 3))


def test_products_of_u_centred_grams_are_the_unbiased_hsic():
    rng = np.random.default_rng(1)
    x, y = rng.standard_normal((12, 4)), rng.standard_normal((12, 3))
    y[:, 0] += x[:, 0]
    product = (u_centred(x) * u_centred(y)).sum() / (12 * 9)
    grams = x @ x.T, y @ y.T
    assert product == pytest.approx(song(*grams))
    norms = song(grams[0], grams[0]) * song(grams[1], grams[1])
    assert cka([x], [y])[0, 0] == pytest.approx(song(*grams) / np.sqrt(norms))
    np.testing.assert_allclose(u_centred(x).sum(axis=0), 0, atol=1e-12)


@given(st.integers(0, 100), st.floats(0.01, 100))
def test_a_rotation_a_factor_and_a_shift_change_nothing(seed, factor):
    rng = np.random.default_rng(seed)
    x, y = rng.standard_normal((20, 5)), rng.standard_normal((20, 4))
    turned = factor * x @ np.linalg.qr(rng.standard_normal((5, 5)))[0] + 7
    both = cka([x, turned], [x, y])
    assert both[1, 0] == pytest.approx(1)
    assert both[0, 1] == pytest.approx(both[1, 1])


def test_independent_rows_are_unlike_where_the_biased_estimate_calls_them_alike():
    rng = np.random.default_rng(2)
    x, y = rng.standard_normal((2, 200, 300))
    centred = [one - one.mean(axis=0) for one in (x, y)]
    grams = [one @ one.T for one in centred]
    biased = (grams[0] * grams[1]).sum() / np.prod([np.linalg.norm(g) for g in grams])
    assert biased > 0.5
    assert abs(cka([x], [y])[0, 0]) < 0.03


def test_a_constant_layer_is_like_nothing():
    x = np.random.default_rng(3).standard_normal((9, 2))
    assert np.isnan(cka([np.ones((9, 2))], [x])[0, 0])


def test_principal_components_are_those_of_scikit_learn():
    x = np.random.default_rng(4).standard_normal((30, 6)) * np.arange(1, 7)
    scores, shares = principal_components(x)
    reference = PCA(2)
    np.testing.assert_allclose(abs(scores), abs(reference.fit_transform(x)), atol=1e-10)
    np.testing.assert_allclose(shares, reference.explained_variance_ratio_)
    one, share = principal_components(x[:, :1])
    assert one.shape == (30, 2)
    np.testing.assert_allclose(share, [1, 0])
