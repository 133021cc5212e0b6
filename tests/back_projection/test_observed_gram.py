"""A batch at hand and one that was summed before show the same."""

import numpy as np
import pytest
from new_algorithm.back_projection.moving_gram import MovingGram
from new_algorithm.back_projection.observed_gram import BatchGram, SummedGram
from numpy.typing import NDArray

from new_algorithm.back_projection.network import append_ones


def batch(dtype: type = np.float64, rows: int = 30, scale: float = 1.0) -> NDArray:
    rng = np.random.default_rng(rows)
    return append_ones((scale * rng.standard_normal((rows, 4))).astype(dtype))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_both_are_the_sum_and_its_mean_eigenvalue(dtype):
    h = batch(dtype)
    exact = h.astype(np.float64).T @ h
    eps = 10 * float(np.finfo(dtype).eps)
    for gram in (BatchGram(h), SummedGram(exact, 30, dtype)):
        assert (gram.rows, gram.order, gram.dtype) == (30, 5, dtype)
        written = np.full((5, 5), np.nan, dtype)
        gram.write_sum(written)
        np.testing.assert_allclose(written, exact, rtol=eps, atol=eps * exact.max())
        expected = np.linalg.eigvalsh(exact / 30).mean()
        assert gram.mean_eigenvalue() == pytest.approx(expected, rel=eps)


def test_moving_average_takes_either():
    batches = [batch(rows=rows, scale=rows) for rows in (3, 30, 9)]
    whole, summed = MovingGram(0.6), MovingGram(0.6)
    for h in batches:
        whole.update(BatchGram(h))
        total = h[:2].T @ h[:2] + h[2:].T @ h[2:]
        summed.update(SummedGram(total, len(h), h.dtype))
    np.testing.assert_allclose(summed.value, whole.value, rtol=1e-13)


def test_average_of_sums_has_the_type_of_the_weights():
    average = MovingGram(0.5)
    average.update(SummedGram(np.eye(3), 7, np.float32))
    assert average.value.dtype == np.float32


def test_what_was_summed_is_left_as_it_is():
    total = np.eye(3)
    average = MovingGram(0.5)
    for _ in range(2):
        average.update(SummedGram(total, 1, np.float64))
    np.testing.assert_array_equal(total, np.eye(3))
