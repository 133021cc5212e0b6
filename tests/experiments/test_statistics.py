"""Paired statistics: by hand, against SciPy and statsmodels, under the null, and degenerate."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from new_algorithm.experiments.statistics import (
    Comparison,
    compare_paired,
    compare_with,
    holm,
    summarise,
)

P_NAMES = ("t_p", "wilcoxon_p", "permutation_p")
# Squares of the largest overflow and of the smallest underflow, differences do neither.
FINITE = st.floats(-1e300, 1e300)
SCORES = st.one_of(FINITE, st.sampled_from([0.0, 0.1, 0.2, 0.3, 1.0, 1 + 1e-16]))
P_VALUES = st.lists(st.none() | st.floats(0, 1), max_size=12)


def by_seed(values):
    return dict(enumerate(values))


def compare(differences):
    return compare_paired(by_seed(differences), by_seed([0.0] * len(differences)))


def p_values(test):
    return [getattr(test, name) for name in P_NAMES]


def assert_untestable(test, reason):
    assert test == Comparison(test.difference, reason=reason)  # all else is None


def test_summary_by_hand():
    # mean 12/3 = 4; squares of deviations 4 + 0 + 4, over n − 1 = 2: variance 4, sd 2;
    # t_{.975, 2} = 4.3027 (tables), half the interval 4.3027 · 2/√3 = 4.9683
    found = summarise([2, 4, 6])
    assert (found.mean, found.sd, found.count) == (4, 2, 3)
    assert (found.low, found.high) == pytest.approx((-0.9683, 8.9683), abs=1e-4)


def test_interval_is_scipys():
    values = np.random.default_rng(0).normal(3, 2, size=10)
    found = summarise(values)
    interval = stats.ttest_1samp(values, 0).confidence_interval(0.95)
    assert (found.low, found.high) == pytest.approx((interval.low, interval.high), rel=1e-12)


def test_interval_covers_the_mean_95_times_in_100():
    draws = np.random.default_rng(1).normal(size=(2000, 5))
    covered = np.mean([found.low <= 0 <= found.high for found in map(summarise, draws)])
    assert covered == pytest.approx(0.95, abs=4 * np.sqrt(0.95 * 0.05 / 2000))


def test_summary_of_one_value_has_no_spread():
    found = summarise([0.7])
    assert (found.mean, found.count) == (0.7, 1)
    assert found.sd is found.low is found.high is None


def test_equal_values_have_no_spread_at_all():
    assert np.std([0.1, 0.1, 0.1], ddof=1) > 0  # rounding alone
    assert summarise([0.1, 0.1, 0.1]).sd == 0


def test_comparison_by_hand():
    # differences 3, −1, 2: mean 4/3; deviations 5/3, −7/3, 2/3, squares 78/9, over 2: 13/3
    test = compare_paired({0: 5, 1: 2, 2: 7}, {2: 5, 1: 3, 0: 2})
    assert test.difference.mean == pytest.approx(4 / 3)
    assert test.difference.sd == pytest.approx(np.sqrt(13 / 3))
    assert test.cohens_d == pytest.approx(4 / 3 / np.sqrt(13 / 3))
    # t = d √3 = 1.1094; with 2 degrees of freedom p = 1 − t/√(2 + t²) = 1 − √(16/42) = .38278
    assert test.t_p == pytest.approx(1 - np.sqrt(16 / 42))
    # ranks of |d| 3, 1, 2, so W₋ = 1; of 8 choices of signs W₋ ≤ 1 in {}, {1}: p = 2 · 2/8
    assert test.wilcoxon_p == pytest.approx(0.5)
    # sums of ±3 ±1 ±2: 6, 4, 2, 0, and their negatives; |sum| ≥ 4 in 4 of 8
    assert test.permutation_p == pytest.approx(0.5)
    assert test.reason is None


def test_zeros_and_ties_by_hand():
    # differences 0, 1, 1, 1, −2. Wilcoxon drops the 0; ranks 2, 2, 2 and 4: W₋ = 4 of 10.
    # Sums of ranks with sign −: W₋ ≤ 4 in {}, three {2}, three {2, 2}, {4}: 8 of 16, p = 1.
    # Sums of ±1 ±1 ±1 ±2: 1 as observed or beyond ±1: all 16 but none is 0: the least |sum| is 1.
    test = compare([0, 1, 1, 1, -2])
    assert test.wilcoxon_p == test.permutation_p == 1
    # 0, 1, 1, 2, 2: all one way, 2 of 2^4 signs of those that are not 0 in both tests
    test = compare([0, 1, 1, 2, 2])
    assert test.wilcoxon_p == test.permutation_p == 2 / 16
    # and the zeros do not make Wilcoxon's test any less exact
    assert compare([0] * 10 + [1, 2, 3, 4, 5]).wilcoxon_p == 2 / 32


@pytest.mark.parametrize("count", [2, 5, 10, 14])
def test_smallest_p_is_that_of_one_choice_of_signs_and_its_mirror(count):
    test = compare(1 + np.random.default_rng(2).random(count))  # all positive, no ties
    assert test.wilcoxon_p == test.permutation_p == 2 / 2**count  # .0625 for 5 seeds


def test_smallest_p_of_drawn_flips_counts_the_observed_one_in():
    assert compare(1 + np.random.default_rng(2).random(30)).permutation_p == 2 / 10_001


def test_drawn_flips_agree_with_the_t_test_and_are_drawn_alike():
    differences = np.random.default_rng(3).normal(0.4, 1, size=40)
    test = compare(differences)
    assert test.permutation_p == pytest.approx(test.t_p, abs=0.01)
    assert compare(differences) == test


@pytest.mark.parametrize("count", [3, 8, 20])
def test_p_values_are_scipys(count):
    a, b = np.random.default_rng(count).normal(size=(2, count))
    test = compare_paired(by_seed(a), by_seed(b))
    assert test.t_p == pytest.approx(stats.ttest_rel(a, b).pvalue, rel=1e-9)
    assert test.wilcoxon_p == pytest.approx(stats.wilcoxon(a, b, method="exact").pvalue)


def test_permutation_p_is_that_of_all_sign_flips():
    differences = np.random.default_rng(4).normal(0.5, 1, size=9)
    signs = 1 - 2 * (np.arange(2**9)[:, None] >> np.arange(9) & 1)  # (512, 9)
    as_far = np.abs(signs @ differences) >= abs(differences.sum()) - 1e-9
    assert compare(differences).permutation_p == pytest.approx(as_far.mean())


def test_order_of_the_seeds_does_not_matter():
    draws = np.random.default_rng(5).random((2, 20))
    a, b = (dict(zip(range(0, 20 * 64, 64), values, strict=True)) for values in draws)
    shuffled = dict(reversed(a.items())), dict(reversed(b.items()))
    assert compare_paired(*shuffled) == compare_paired(a, b)


def test_ties_up_to_rounding_are_ties():
    a, b = (0.3, 0.2, 0.7, 0.5), (0.2, 0.1, 0.8, 0.1)
    assert a[0] - b[0] != a[1] - b[1]
    rounded = compare_paired(by_seed(a), by_seed(b))
    assert p_values(rounded) == pytest.approx(p_values(compare([1, 1, -1, 4])))


def test_equal_differences_on_both_sides_of_a_rounding_boundary_are_equal():
    half, last_bit = 4.5 * 2.0**-39, 2.0**-52  # in [1, 2) the unit is 2^−39
    a = [1 + half - last_bit, 1 + half + last_bit]
    test = compare_paired(by_seed(a), by_seed([1.0, 1.0]))
    assert test.difference.sd > 0
    assert_untestable(test, "all differences are equal")


@pytest.mark.parametrize("scale", [2.0**-900, 2.0**900])
def test_scale_does_not_matter(scale):
    differences = np.random.default_rng(9).normal(0.5, 1, size=8)
    assert p_values(compare(scale * differences)) == p_values(compare(differences))


def test_a_run_that_nearly_diverged_does_not_round_the_others_away():
    a = by_seed([1e30, 0.31, 0.32, 0.33, 0.34, 0.35])
    test = compare_paired(a, by_seed([0.3] * 6))
    assert test.wilcoxon_p == 2 / 2**6


@pytest.mark.parametrize(
    ("a", "b", "reason"),
    [
        ({4: 1.0}, {4: 3.0}, "one seed only"),
        ({0: 1.0, 1: 2.0, 2: 4.0}, {0: 0.0, 1: 0.0, 3: 0.0}, "seeds differ: 2 of 4 in common"),
        ({0: 1.0, 1: 2.0, 2: 4.0}, {0: 0.0, 1: 0.0}, "seeds differ: 2 of 3 in common"),
        ({0: 1.0, 1: 2.0}, {0: 1.0, 1: 2.0}, "all differences are equal"),
        ({0: 1.0, 1: 2.0}, {0: 1.5, 1: 2.5}, "all differences are equal"),
    ],
)
def test_degenerate_comparisons_are_not_testable(a, b, reason):
    assert_untestable(compare_paired(a, b), reason)


def test_difference_is_of_the_common_seeds():
    assert compare_paired({0: 1.0, 1: 2.0, 2: 9.0}, {0: 0.0, 1: 0.0}).difference.mean == 1.5
    assert compare_with({1: 0.0}, {"no common seed": {0: 1.0}}) == {}


@settings(max_examples=50)
@given(
    st.lists(st.floats(1, 100), min_size=2, max_size=12),
    st.floats(-10, 10),
    st.sampled_from([1e-200, 1.0, 1e9]),
)
def test_spread_from_rounding_alone_is_not_tested(values, shift, scale):
    b = scale * np.array(values)
    a = b + scale * shift
    assert_untestable(compare_paired(by_seed(a), by_seed(b)), "all differences are equal")


@settings(max_examples=50)
@given(st.lists(st.tuples(SCORES, SCORES), min_size=1, max_size=8))
def test_no_nan_ever_comes_out_and_swapping_negates(pairs):
    a, b = map(by_seed, zip(*pairs, strict=True))
    test, swapped = compare_paired(a, b), compare_paired(b, a)
    difference, negated = test.difference, swapped.difference
    assert test.reason == swapped.reason
    assert p_values(test) == p_values(swapped)
    assert negated.mean == -difference.mean
    assert negated.sd == difference.sd
    if difference.count > 1:
        assert difference.low <= difference.mean <= difference.high  # false of NaN
        assert (negated.low, negated.high) == (-difference.high, -difference.low)
    if test.reason is None:
        assert all(0 < p <= 1 for p in p_values(test))
        assert np.isfinite(test.cohens_d)
        assert swapped.cohens_d == -test.cohens_d
    else:
        assert_untestable(test, test.reason)


def test_p_of_a_difference_beyond_all_doubt_is_not_zero():
    differences = 1 + 1e-11 * np.arange(40)
    assert 2 * stats.t.sf(np.mean(differences) / stats.sem(differences), 39) == 0  # underflow
    assert compare(differences).t_p > 0


# Two identical methods with noise of the seed: what a comparison must not find anything in.

COMPARISONS, SEEDS = 300, 7


@pytest.fixture(scope="module")
def null_p_values():
    """(COMPARISONS, 3) p values of P_NAMES; a score is the seed's plus the method's noise."""
    rng = np.random.default_rng(6)
    split = rng.normal(0.97, 0.01, size=(COMPARISONS, 1, SEEDS))
    scores = split + rng.normal(0, 0.003, size=(COMPARISONS, 2, SEEDS))
    return np.array([p_values(compare_paired(by_seed(a), by_seed(b))) for a, b in scores])


def test_null_comparison_gives_uniform_p_values(null_p_values):
    assert stats.kstest(null_p_values[:, 0], "uniform").pvalue > 0.01


@pytest.mark.parametrize("column", [1, 2])
def test_null_comparison_attains_the_levels_of_the_discrete_tests(null_p_values, column):
    p = null_p_values[:, column]
    # P(p ≤ α) = α at each level that p can take; 300 p values are within
    # √(ln(2/.01)/(2 · 300)) = .094 of it everywhere, but for once in 100 (Massart 1990)
    levels = np.unique(p)
    attained = np.array([(p <= level).mean() for level in levels])
    assert np.abs(attained - levels).max() < np.sqrt(np.log(200) / (2 * COMPARISONS))
    # and P(p ≤ α) ≤ α between them: four standard deviations
    for level in (0.01, 0.05, 0.1, 0.3):
        assert (p <= level).mean() <= level + 4 * np.sqrt(level * (1 - level) / COMPARISONS)


def test_holm_keeps_the_family_wise_error_rate_and_no_correction_does_not():
    experiments, methods, seeds = 1500, 6, 10
    scores = np.random.default_rng(7).normal(size=(experiments, methods + 1, seeds))
    p = stats.ttest_rel(scores[:, 1:], scores[:, :1], axis=-1).pvalue  # all against the first
    found = np.mean([min(holm(row)) <= 0.05 for row in p])
    assert found <= 0.05 + 3 * np.sqrt(0.05 * 0.95 / experiments)
    assert found > 0.02  # nor is it needlessly strict, though the comparisons share a baseline
    assert np.mean(p.min(axis=1) <= 0.05) > 0.1


def test_a_real_effect_is_found():
    # d_z = 1.5 at 10 seeds: the t test's power is .99 (non-central t)
    differences = np.random.default_rng(8).normal(1.5, 1, size=(50, 10))
    found = np.array([p_values(compare(row)) for row in differences])
    assert ((found <= 0.05).mean(axis=0) > 0.9).all()


def test_holm_by_hand():
    # in order .01, .02, .03, .04 times 4, 3, 2, 1: .04, .06, .06, .04, and none below the last
    assert holm([0.04, 0.01, None, 0.03, 0.02]) == [
        pytest.approx(p) if p else None for p in (0.06, 0.04, None, 0.06, 0.06)
    ]
    assert holm([0.6, 0.7]) == [1, 1]
    assert holm([None]) == [None]
    assert holm([]) == []


@settings(max_examples=12)
@given(P_VALUES)
def test_holm_is_statsmodels(values):
    multipletests = pytest.importorskip("statsmodels.stats.multitest").multipletests
    tested = [p for p in values if p is not None]
    adjusted = holm(values)
    assert [p is None for p in adjusted] == [p is None for p in values]
    if tested:
        expected = multipletests(tested, method="holm")[1]
        assert [p for p in adjusted if p is not None] == pytest.approx(expected.tolist())


@given(P_VALUES)
def test_holm_keeps_the_order_and_never_lowers(values):
    pairs = sorted(
        (p, adjusted) for p, adjusted in zip(values, holm(values), strict=True) if p is not None
    )
    assert all(p <= adjusted <= 1 for p, adjusted in pairs)
    assert all(one[1] <= other[1] for one, other in pairwise(pairs))
