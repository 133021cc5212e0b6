"""Statistics of a comparison, paired by seed.

Two methods run with the same seed share the initial weights and the shuffles, so that what one
seed tells is the difference a − b of their scores, and every test is of these differences.
Where they cannot be tested there is no p value but a reason.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import stats

CONFIDENCE = 0.95
EXACT_UP_TO = 14  # pairs: 2^14 sign flips are all tried
DRAWS = 10_000  # of sign flips, for more pairs
# Relative to a value's last bit: 2^13 · 2^−52 ≈ 2e-12 of the value is more than the rounding errors
# of a score in float64, and less than any difference between scores that has a meaning.
ROUNDING = 2.0**13
SMALLEST_P = float(np.finfo(float).tiny)  # 2e-308: t of 1e12 at 30 seeds would underflow to 0


@dataclass(frozen=True)
class Summary:
    """mean, standard deviation (n − 1) and 95% t interval, low to high, of `count` values.

    sd, low and high are None for a single value.
    """

    mean: float
    sd: float | None
    low: float | None
    high: float | None
    count: int


@dataclass(frozen=True)
class PairedTest:
    """difference: of a − b over the common seeds, None where there are none.

    The p values are two-sided, in (0, 1]. cohens_d: mean / sd of the differences (Cohen 1988, d_z).
    These are all None where nothing can be tested; `reason` then says why, and else is None.
    """

    difference: Summary | None
    t_p: float | None = None
    wilcoxon_p: float | None = None
    permutation_p: float | None = None
    cohens_d: float | None = None
    reason: str | None = None


def summarise(values: Sequence[float] | NDArray) -> Summary:
    """ValueError for no values and for one that is not finite: what a diverged run counts as is
    the caller's to decide.

    The interval is mean ± t_{0.975, n−1} sd/√n.
    """
    if len(values) == 0:
        raise ValueError("no values to summarise")
    array = _finite(dict(enumerate(values)), "value")
    count = len(array)
    # In units of the largest value squares neither overflow nor underflow, and the spread of equal
    # values is 0, not their rounding error.
    unit = float(np.abs(array).max()) or 1.0
    mean = float(np.mean(array / unit))
    if count == 1:
        return Summary(unit * mean, None, None, None, count)
    sd = float(np.std(array / unit, ddof=1))
    half = float(stats.t.ppf((1 + CONFIDENCE) / 2, count - 1)) * sd / math.sqrt(count)
    return Summary(unit * mean, unit * sd, unit * (mean - half), unit * (mean + half), count)


def compare_paired(a: Mapping[int, float], b: Mapping[int, float]) -> PairedTest:
    """Test whether a − b is 0 on average, given the values of a and b by seed.

    Seeds that only one of them has make the comparison untestable: mostly the other's run diverged,
    and the seeds that are left flatter it. So do fewer than two seeds, and differences that are
    equal up to rounding, be they 0 or not: without spread there is nothing to weigh the mean by.
    ValueError for a value that is not finite.
    """
    _finite(a, "seed")
    _finite(b, "seed")
    seeds = sorted(a.keys() & b.keys())
    if not seeds:
        return PairedTest(None, reason="no common seeds")
    differences, unit = _differences([a[seed] for seed in seeds], [b[seed] for seed in seeds])
    summary = summarise(differences)
    if a.keys() != b.keys():
        reason = f"seeds differ: {len(seeds)} of {len(a.keys() | b.keys())} in common"
        return PairedTest(summary, reason=reason)
    if len(seeds) == 1:
        return PairedTest(summary, reason="one seed only")
    if np.ptp(differences) <= unit:  # one unit: equal ones may fall on both sides of a half
        return PairedTest(summary, reason="all differences are equal")
    # No test depends on the scale; by a power of two nothing is rounded, and nothing overflows.
    scaled = np.ldexp(differences, -np.frexp(np.abs(differences).max())[1])
    t, wilcoxon, permutation = (
        max(float(test(scaled)), SMALLEST_P) for test in (_t_p, _wilcoxon_p, _permutation_p)
    )
    return PairedTest(summary, t, wilcoxon, permutation, summary.mean / (summary.sd or math.nan))


def holm(p_values: Sequence[float | None]) -> list[float | None]:
    """Adjust m p values so that rejecting those ≤ α has a family-wise error rate of at most α.

    p̃_(i) = max_{j ≤ i} min(1, (m − j + 1) p_(j)) for p_(1) ≤ … ≤ p_(m) (Holm 1979). None, not
    testable, stays None and does not count in m.
    """
    tested = [index for index, p in enumerate(p_values) if p is not None]
    p = np.array([p_values[index] for index in tested], dtype=float)
    if not ((p >= 0) & (p <= 1)).all():
        raise ValueError(f"p values lie between 0 and 1, unlike one of {p.tolist()}")
    order = np.argsort(p)
    factors = np.arange(len(p), 0, -1)
    steps = np.minimum(np.maximum.accumulate(factors * p[order]), 1)
    adjusted: list[float | None] = [None] * len(p_values)
    for place, step in zip(order, steps, strict=True):
        adjusted[tested[place]] = float(step)
    return adjusted


def _finite(values: Mapping[int, float], kind: str) -> NDArray:
    for name, value in values.items():
        if not math.isfinite(value):
            raise ValueError(f"{kind} {name} is {value}: decide what a diverged run counts as")
    return np.array([*values.values()], dtype=float)


def _differences(a: Sequence[float], b: Sequence[float]) -> tuple[NDArray, float]:
    """Return a − b (n,) in whole multiples of a unit, and the unit.

    .3 − .2 and .2 − .1 differ in their last bits, and so would have different ranks, be no tie. The
    unit, a power of two, is ROUNDING last bits of the median pair: of the median, so that a run
    that nearly diverged does not round the others away. Sums of multiples are exact, so that sign
    flips that give the same mean tie.
    """
    pairs = np.array([a, b], dtype=float)
    unit = ROUNDING * float(np.spacing(np.median(np.abs(pairs).max(axis=0))))
    differences = pairs[0] - pairs[1]
    return np.array([d - math.remainder(d, unit) for d in differences]), unit


def _t_p(differences: NDArray) -> float:
    """The paired t test, which is that of one sample of differences."""
    return stats.ttest_1samp(differences, 0).pvalue


def _wilcoxon_p(differences: NDArray) -> float:
    """Wilcoxon's signed-rank test: zeros are dropped (Wilcoxon 1945), ties share their mean rank.

    Exact up to 50 pairs without ties, and up to 13 with ties, where SciPy goes through all signs;
    the normal approximation beyond.
    """
    return stats.wilcoxon(differences[differences != 0], method="auto").pvalue


def _permutation_p(differences: NDArray) -> float:
    """The share of sign flips with a mean as far from 0 as the one observed.

    SciPy doubles the smaller tail: of all flips that is the same, as their means come in pairs ±.
    Where the flips are drawn, the observed one is counted in: p is at least 2/(DRAWS + 1).
    """
    count = len(differences)
    return stats.permutation_test(
        (differences,),
        np.mean,
        permutation_type="samples",
        vectorized=True,
        n_resamples=2**count if count <= EXACT_UP_TO else DRAWS,
        rng=np.random.default_rng(0),
    ).pvalue
