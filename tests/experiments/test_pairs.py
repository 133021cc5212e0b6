"""Pairs of scores: their row of a table against SciPy."""

import numpy as np
import pytest
from scipy import stats

from new_algorithm.experiments.pairs import paired_row


def test_row_of_pairs_has_the_difference_its_interval_and_the_tests():
    rng = np.random.default_rng(0)
    a, b = rng.normal(0.9, 0.02, 10), rng.normal(0.88, 0.02, 10)
    row = paired_row(dict(enumerate(a)), dict(enumerate(b)))
    t = stats.ttest_rel(a, b)
    assert row["pairs"] == 10
    assert row["mean_difference"] == pytest.approx(np.mean(a - b))
    assert (row["mean"], row["mean_of_other"]) == pytest.approx((a.mean(), b.mean()))
    assert row["t_p"] == pytest.approx(t.pvalue)
    assert (row["low_95"], row["high_95"]) == pytest.approx(tuple(t.confidence_interval(0.95)))
    assert row["wilcoxon_p"] == pytest.approx(stats.wilcoxon(a - b).pvalue)
    assert row["not_tested_because"] == ""


def test_a_pair_alone_says_why_it_is_not_tested():
    row = paired_row({3: 0.5}, {3: 0.25})
    assert (row["mean_difference"], row["t_p"], row["low_95"]) == (0.25, "", "")
    assert row["not_tested_because"] == "one seed only"
