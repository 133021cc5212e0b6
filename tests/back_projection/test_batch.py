"""What a sweep needs of its rows, added up over chunks and processes."""

import math
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from new_algorithm.back_projection import gram
from new_algorithm.back_projection.batch import AllSum, RowSums
from new_algorithm.back_projection.network import FlatParameters
from tests.back_projection.problems import in_processes

SHAPES, ROWS = ((5, 4), (5, 3), (4, 2)), 30
NEEDS = ("nothing", "trace", "gram")


def weights(dtype: type = np.float64) -> FlatParameters:
    return FlatParameters.of([np.zeros(shape, dtype) for shape in SHAPES])


def drawn(seed: int = 0, dtype: type = np.float64) -> list[tuple[NDArray, NDArray]]:
    """H̃ and Δ of each layer."""
    rng = np.random.default_rng(seed)
    return [
        (rng.standard_normal((ROWS, d)).astype(dtype), rng.standard_normal((ROWS, m)).astype(dtype))
        for d, m in SHAPES
    ]


def summed(sums: RowSums, pieces: list[slice], dtype: type = np.float64) -> RowSums:
    sums.clear(NEEDS)
    for rows in pieces:
        count = len(range(ROWS)[rows])
        sums.rows += count
        sums.losses += 0.5 * count
        for index, (h, delta) in enumerate(drawn(dtype=dtype)):
            if count:
                sums.add(index, h[rows], delta[rows] / dtype(count))
    sums.finish()
    return sums


def assert_complete(sums: RowSums, rtol: float = 1e-12) -> None:
    assert (sums.rows, sums.losses) == (ROWS, 0.5 * ROWS)
    for index, (h, delta) in enumerate(drawn()):
        moment = h.T @ delta / ROWS
        scale = np.abs(h).T @ np.abs(delta) / ROWS  # of what rounding may come to
        assert (np.abs(sums.moments.matrices[index] - moment) <= rtol * scale).all()
    nothing, trace, square = (sums.gram(index) for index in range(3))
    assert nothing is None
    assert trace.total is None
    expected = drawn()[2][0].T @ drawn()[2][0]
    np.testing.assert_allclose(square.total, expected, rtol=rtol, atol=rtol * expected.max())
    assert square.trace == pytest.approx(np.trace(expected), rel=rtol)
    assert trace.trace == pytest.approx(np.square(drawn()[1][0]).sum(), rel=rtol)
    assert (trace.rows, trace.order, square.rows, square.order) == (ROWS, 5, ROWS, 4)


EDGES = st.lists(st.integers(0, ROWS), max_size=5).map(lambda cuts: [0, *sorted(cuts), ROWS])


def pieces_of(edges: list[int]) -> list[slice]:
    return [slice(a, b) for a, b in pairwise(edges)]


@pytest.mark.parametrize(("dtype", "rtol"), [(np.float64, 1e-12), (np.float32, 1e-5)])
@pytest.mark.parametrize("in_chunks", [False, True])
def test_one_chunk(in_chunks, dtype, rtol):
    sums = RowSums(weights(dtype), in_chunks, None)
    for _ in range(2):  # nothing is left of an earlier batch
        assert_complete(summed(sums, [slice(0, ROWS)], dtype), rtol)
    assert sums.moments.flat.dtype == sums.gram(2).total.dtype == dtype


def test_grams_of_a_large_batch_are_of_rows_from_all_of_it_but_in_chunks_of_all(monkeypatch):
    """Every k-th, with the least k that leaves no more than so many: sorted rows are shown too."""
    monkeypatch.setattr(gram, "GRAM_ROWS", 10)
    every = math.ceil(ROWS / 10)
    sums = summed(RowSums(weights(), False, None), [slice(0, ROWS)])
    h = drawn()[2][0][::every]
    assert 5 < len(h) <= 10
    np.testing.assert_allclose(sums.gram(2).total, h.T @ h, rtol=1e-12, atol=1e-12)
    assert sums.gram(2).rows == sums.gram(1).rows == len(h)
    assert sums.gram(1).trace == pytest.approx(np.square(drawn()[1][0][::every]).sum())
    assert_complete(summed(RowSums(weights(), True, None), pieces_of([0, 17, ROWS])))


@given(edges=EDGES)
def test_chunks_of_any_size(edges):
    assert_complete(summed(RowSums(weights(), True, None), pieces_of(edges)))


@given(edges=EDGES, count=st.integers(1, 3))
def test_chunks_on_several_processes(edges, count):
    def work(rank: int, all_sum: AllSum) -> RowSums:
        return summed(RowSums(weights(), True, all_sum), pieces_of(edges)[rank::count])

    found = in_processes(count, work)
    for sums in found:
        assert_complete(sums)
        np.testing.assert_array_equal(sums.moments.flat, found[0].moments.flat)
        np.testing.assert_array_equal(sums.gram(2).total, sums.gram(2).total.T)


def test_sums_are_in_double_precision():
    """A float32 sum of 2³⁰ does not move when 1 is added to it."""
    sums = RowSums(FlatParameters.of([np.ones((1, 1), np.float32)]), True, None)
    sums.clear(["gram"])
    for value in [2.0**15, *[1.0] * 2_000]:
        sums.rows += 1
        sums.add(0, np.full((1, 1), value, np.float32), np.full((1, 1), 2, np.float32))
    sums.finish()
    exact = 2.0**30 + 2_000
    assert sums.gram(0).total.dtype == np.float32
    assert sums.gram(0).total[0, 0] == pytest.approx(exact, rel=1e-7)
    assert sums.gram(0).total[0, 0] != np.float32(2.0**30)
    assert sums.moments.flat[0] == pytest.approx(2 * (2.0**15 + 2_000) / 2_001, rel=1e-7)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_moments_and_one_triangle_of_each_gram_are_sent_in_the_weights_type(dtype):
    sent = []
    sums = RowSums(weights(dtype), True, lambda array: sent.append((array.dtype, array.size)))
    summed(sums, [slice(0, ROWS)], dtype)
    counts = np.dtype(np.float64), 3  # rows, their losses, the trace that is needed
    moments = sum(d * m for d, m in SHAPES)
    assert sent == [counts, (np.dtype(dtype), moments + 4 * 5 // 2)]


def test_sum_that_cannot_be_sent_in_single_precision_arrives_as_infinity():
    sums = RowSums(FlatParameters.of([np.ones((1, 1), np.float32)]), True, lambda array: None)
    sums.clear(["gram"])
    sums.rows = 1
    huge = np.full((1, 1), 2e19, np.float32)  # its square is beyond float32
    with np.errstate(over="ignore"):
        sums.add(0, huge.astype(np.float64), huge)
        sums.finish()
    assert np.isinf(sums.gram(0).total).all()
