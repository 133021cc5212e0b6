"""Ranks over tasks, beside the worked example of Demšar (JMLR 7, 2006), Tables 5 and 6."""

import numpy as np
import pytest
from scipy import stats

from new_algorithm.experiments.ranks import alike, critical_difference, friedman_p, ranks_of

RANKS = [  # of C4.5, and of C4.5 with m, with cf, and with both tuned, on 14 data sets
    *([4, 3, 2, 1], [1, 2, 3, 4], [4, 1, 2, 3], [4, 1, 3, 2], [4, 2, 3, 1], [1, 2.5, 4, 2.5]),
    *([3, 2, 4, 1], [2.5, 2.5, 4, 1], [4, 3, 2, 1], [2.5, 2.5, 2.5, 2.5], [4, 2.5, 1, 2.5]),
    *([3, 2, 4, 1], [4, 1, 2, 3], [3, 1, 4, 2]),
]


def test_the_published_test():
    ranks = np.array(RANKS, float)
    np.testing.assert_allclose(ranks.mean(axis=0), [3.143, 2.000, 2.893, 1.964], atol=5e-4)
    np.testing.assert_array_equal(ranks_of(ranks), ranks)
    # χ² = 9.28 and F = 3.69 there, with 3 and 39 degrees of freedom
    assert friedman_p(ranks) == pytest.approx(stats.f.sf(3.69, 3, 39), rel=0.01)
    assert critical_difference(4, 14) == pytest.approx(1.25, abs=0.005)


def test_ties_share_their_mean_rank():
    assert ranks_of(np.array([[0.2, 0.1, 0.2]])).tolist() == [[2.5, 1.0, 2.5]]


@pytest.mark.parametrize(
    ("methods", "q"), [(2, 1.960), (3, 2.343), (4, 2.569), (5, 2.728), (6, 2.850), (10, 3.164)]
)
def test_the_published_quantiles(methods, q):
    expected = q * np.sqrt(methods * (methods + 1) / (6 * 14))
    assert critical_difference(methods, 14) == pytest.approx(expected, rel=4e-4)


def test_one_order_on_all_tasks_is_certain_and_none_is_not():
    assert friedman_p(np.tile([1.0, 2.0, 3.0], (6, 1))) == 0.0
    assert friedman_p(np.array([[1.0, 2.0], [2.0, 1.0]])) == pytest.approx(1.0)


@pytest.mark.parametrize(
    ("ordered", "difference", "runs"),
    [
        ([1.0, 2.0, 3.0, 4.0], 1.5, [(0, 1), (1, 2), (2, 3)]),
        ([1.0, 2.0, 3.0, 4.0], 2.0, [(0, 2), (1, 3)]),
        ([1.0, 1.1, 3.0], 0.5, [(0, 1)]),
        ([1.0, 2.0, 2.1, 2.2, 5.0], 1.15, [(0, 2), (1, 3)]),
        ([1.0, 2.0, 3.0], 0.9, []),
        ([1.0, 2.0, 3.0], 5.0, [(0, 2)]),
    ],
)
def test_what_is_alike(ordered, difference, runs):
    assert alike(ordered, difference) == runs
