"""Methods compared over many tasks by their ranks.

Demšar, "Statistical comparisons of classifiers over multiple data sets", JMLR 7, 2006, Section 3.2.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from new_algorithm.experiments.statistics import LEVEL


def ranks_of(errors: NDArray) -> NDArray[np.float64]:
    """Ranks (tasks, methods) of errors of that shape: 1 for the least, ties share their mean."""
    return stats.rankdata(errors, axis=1)


def friedman_p(ranks: NDArray) -> float:
    """The p value of all methods being alike, Iman and Davenport's F.

    χ² = 12N/(k(k + 1)) (Σ_j R_j² − k(k + 1)²/4) of the mean ranks R_j of k methods on N tasks, and
    F = (N − 1)χ²/(N(k − 1) − χ²) with k − 1 and (k − 1)(N − 1) degrees of freedom.
    """
    tasks, methods = ranks.shape
    middle = methods * (methods + 1) ** 2 / 4
    chi = 12 * tasks / (methods * (methods + 1)) * (np.sum(ranks.mean(axis=0) ** 2) - middle)
    left = tasks * (methods - 1) - chi
    if left <= 1e-9 * tasks:  # one order on all tasks: F is infinite
        return 0.0
    f = (tasks - 1) * chi / left
    return float(stats.f.sf(f, methods - 1, (methods - 1) * (tasks - 1)))


def critical_difference(methods: int, tasks: int, level: float = LEVEL) -> float:
    """How far mean ranks must be apart to differ (Nemenyi): q √(k(k + 1)/(6N)).

    q is the quantile of the studentized range of k normal values, divided by √2.
    """
    q = stats.studentized_range.ppf(1 - level, methods, np.inf) / np.sqrt(2)
    return float(q * np.sqrt(methods * (methods + 1) / (6 * tasks)))


def alike(ordered: Sequence[float], difference: float) -> list[tuple[int, int]]:
    """The longest runs, first to last, of ascending mean ranks within `difference` of each other.

    Runs of one, and those inside another, are left out.
    """
    runs: list[tuple[int, int]] = []
    for first, rank in enumerate(ordered):
        last = int(np.searchsorted(ordered, rank + difference, side="right")) - 1
        if last > first and (not runs or last > runs[-1][1]):
            runs.append((first, last))
    return runs
