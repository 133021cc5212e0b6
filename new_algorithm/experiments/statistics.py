"""Statistics of a comparison, paired by seed.

Two methods run with the same seed share the initial weights and the shuffles, so that what one
seed tells is the difference a − b of their scores, and every test is of these differences.
Where they cannot be tested there is no p value but a reason. All values are finite numbers.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy import stats

CONFIDENCE = 0.95
LEVEL = 0.05  # of significance, after Holm's correction
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

    def __neg__(self) -> "Summary":
        """Of b − a, given that of a − b."""
        low, high = (None if end is None else -end for end in (self.high, self.low))
        return Summary(-self.mean, self.sd, low, high, self.count)


@dataclass(frozen=True)
class Comparison:
    """difference: of a − b over the common seeds.

    The p values are two-sided, in (0, 1]. cohens_d: mean / sd of the differences (Cohen 1988, d_z).
    These are all None where nothing can be tested; `reason` then says why, and else is None.
    """

    difference: Summary
    t_p: float | None = None
    wilcoxon_p: float | None = None
    permutation_p: float | None = None
    cohens_d: float | None = None
    reason: str | None = None

    @property
    def significant(self) -> bool:
        return self.t_p is not None and self.t_p < LEVEL


def summarise(values: Sequence[float] | NDArray) -> Summary:
    """Summarise one value or more; the interval is mean ± t_{0.975, n−1} sd/√n."""
    array, count = np.asarray(values, dtype=float), len(values)
    # In units of the largest value squares neither overflow nor underflow, and the spread of equal
    # values is 0, not their rounding error.
    unit = float(np.abs(array).max()) or 1.0
    mean = float(np.mean(array / unit))
    if count == 1:
        return Summary(unit * mean, None, None, None, count)
    sd = float(np.std(array / unit, ddof=1))
    half = float(stats.t.ppf((1 + CONFIDENCE) / 2, count - 1)) * sd / math.sqrt(count)
    return Summary(unit * mean, unit * sd, unit * (mean - half), unit * (mean + half), count)


def compare_paired(a: Mapping[int, float], b: Mapping[int, float]) -> Comparison:
    """Test whether a − b is 0 on average, given the values of a and b by seed, one in common.

    Seeds that only one of them has make the comparison untestable: mostly the other's run diverged,
    and the seeds that are left flatter it. So do fewer than two seeds, and differences that are
    equal up to rounding, be they 0 or not: without spread there is nothing to weigh the mean by.
    """
    seeds = sorted(a.keys() & b.keys())
    differences, unit = _differences([a[seed] for seed in seeds], [b[seed] for seed in seeds])
    summary = summarise(differences)
    if a.keys() != b.keys():
        reason = f"seeds differ: {len(seeds)} of {len(a.keys() | b.keys())} in common"
        return Comparison(summary, reason=reason)
    if len(seeds) == 1:
        return Comparison(summary, reason="one seed only")
    if np.ptp(differences) <= unit:  # one unit: equal ones may fall on both sides of a half
        return Comparison(summary, reason="all differences are equal")
    # No test depends on the scale; by a power of two nothing is rounded, and nothing overflows.
    scaled = np.ldexp(differences, -np.frexp(np.abs(differences).max())[1])
    t, wilcoxon, permutation = (
        max(float(test(scaled)), SMALLEST_P) for test in (_t_p, _wilcoxon_p, _permutation_p)
    )
    return Comparison(summary, t, wilcoxon, permutation, summary.mean / (summary.sd or math.nan))


def compare_with(
    reference: Mapping[int, float], others: Mapping[str, Mapping[int, float]]
) -> dict[str, Comparison]:
    """Compare each of the others with the reference, given values by seed.

    Holm's correction is over all of them, for each test by itself. Those that share no seed with
    the reference are left out.
    """
    found = {
        name: compare_paired(values, reference)
        for name, values in others.items()
        if values.keys() & reference.keys()
    }
    for test in ("t_p", "wilcoxon_p", "permutation_p"):
        corrected = holm([getattr(comparison, test) for comparison in found.values()])
        for name, p in zip(found, corrected, strict=True):
            found[name] = replace(found[name], **{test: p})  # type: ignore[arg-type]
    return found


def holm(p_values: Sequence[float | None]) -> list[float | None]:
    """Adjust m p values so that rejecting those ≤ α has a family-wise error rate of at most α.

    p̃_(i) = max_{j ≤ i} min(1, (m − j + 1) p_(j)) for p_(1) ≤ … ≤ p_(m) (Holm 1979). None, not
    testable, stays None and does not count in m.
    """
    p = np.array(p_values, dtype=float)  # NaN for None, which comes last in order
    order = np.argsort(p)
    factors = np.count_nonzero(~np.isnan(p)) - np.arange(len(p))
    p[order] = np.minimum(np.maximum.accumulate(factors * p[order]), 1)
    return [None if math.isnan(adjusted) else adjusted for adjusted in p.tolist()]


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
