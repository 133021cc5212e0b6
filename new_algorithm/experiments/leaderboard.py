"""Which methods are better at what on a task, by how much, and whether it is significant."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from new_algorithm.experiments.definition import Task
from new_algorithm.experiments.quantities import Quantity, compared_quantities, metric, negated
from new_algorithm.experiments.record_tables import ExperimentRecord
from new_algorithm.experiments.statistics import (
    Summary,
    compare_paired,
    holm,
    summarise,
)

LEVEL = 0.05  # of significance, after Holm's correction


@dataclass(frozen=True)
class Comparison:
    """A variation minus a reference, paired by seed; p values after Holm's correction.

    cohens_d and reason: as of a PairedTest.
    """

    difference: Summary
    t_p: float | None
    wilcoxon_p: float | None
    permutation_p: float | None
    cohens_d: float | None
    reason: str | None

    @property
    def significant(self) -> bool:
        return self.t_p is not None and self.t_p < LEVEL


@dataclass(frozen=True)
class Standing:
    """A variation on a task. comparison: with the baseline, None for the baseline itself.

    unscored: runs without a score: they failed, or diverged before there were weights. among_best:
    it is the best, or does not differ from it significantly.
    """

    variation: str
    summary: Summary | None
    comparison: Comparison | None
    unscored: int
    among_best: bool


@dataclass(frozen=True)
class Loss:
    """`variation` is better than the baseline at `quantity`, by `advantage`, above zero."""

    quantity: Quantity
    variation: str
    comparison: Comparison

    @property
    def advantage(self) -> Summary:
        difference = self.comparison.difference
        return negated(difference) if self.quantity.less_is_better else difference


def compare(
    record: ExperimentRecord,
    task: Task,
    quantity: Quantity,
    variations: Sequence[str],
    reference: str,
) -> dict[str, Comparison]:
    """Compare each variation with `reference` over the seeds that both have a value of.

    Holm's correction is over `variations`, for each test by itself. Those that share no seed with
    the reference are left out.
    """
    values = {
        name: record.values(task.name, name, quantity.column) for name in (*variations, reference)
    }
    tests = {
        name: compare_paired(values[name], values[reference])
        for name in variations
        if values[name].keys() & values[reference].keys()
    }
    t, wilcoxon, permutation = (
        holm([getattr(test, f"{kind}_p") for test in tests.values()])
        for kind in ("t", "wilcoxon", "permutation")
    )
    return {
        name: Comparison(test.difference, p_t, p_w, p_p, test.cohens_d, test.reason)
        for (name, test), p_t, p_w, p_p in zip(tests.items(), t, wilcoxon, permutation, strict=True)
        if test.difference is not None
    }


def leaderboard(record: ExperimentRecord, task: Task) -> list[Standing]:
    """The variations by the mean of the task's first metric, best first.

    One with runs that left no score comes after those without such runs, whatever its mean: the
    mean of the others flatters it.
    """
    quantity, baseline = metric(task.metrics[0]), record.experiment.baseline
    names = [variation.name for variation in record.experiment.variations]
    scores = {name: record.values(task.name, name, quantity.column) for name in names}
    seeds = len(record.experiment.seeds)

    def rank(name: str) -> tuple[bool, bool, float]:
        values = scores[name].values()
        mean = float(np.mean([*values])) if values else 0.0
        return not values, len(values) < seeds, mean if quantity.less_is_better else -mean

    ranked = sorted(names, key=rank)
    others = [name for name in names if name != baseline]
    comparisons = compare(record, task, quantity, others, baseline)
    best = _among_best(record, task, quantity, [n for n in ranked if len(scores[n]) == seeds])
    return [
        Standing(
            name,
            summarise_scores(record, task, name),
            comparisons.get(name),
            seeds - len(scores[name]),
            name in best,
        )
        for name in ranked
    ]


def summarise_scores(record: ExperimentRecord, task: Task, variation: str) -> Summary | None:
    """Of the task's first metric over seeds; None where no run left a score."""
    scores = record.values(task.name, variation, metric(task.metrics[0]).column)
    return summarise(list(scores.values())) if scores else None


def _among_best(
    record: ExperimentRecord, task: Task, quantity: Quantity, ranked: Sequence[str]
) -> set[str]:
    """The first of `ranked` and those that the paired t test cannot tell from it.

    Equal on every seed is a tie too. With one seed nothing can be tested, and none is returned.
    """
    if not ranked or len(record.experiment.seeds) < 2:
        return set()
    first, *others = ranked
    ties = {
        name
        for name, comparison in compare(record, task, quantity, others, first).items()
        if (comparison.t_p is not None and comparison.t_p >= LEVEL) or _equal(comparison)
    }
    return {first, *ties}


def _equal(comparison: Comparison) -> bool:
    difference = comparison.difference
    return difference.mean == 0 and not difference.sd


def losses_of_baseline(record: ExperimentRecord, task: Task) -> list[Loss]:
    """Every quantity at which another variation has the better mean, the largest gap first."""
    baseline = record.experiment.baseline
    others = [one.name for one in record.experiment.variations if one.name != baseline]
    found = []
    for quantity in compared_quantities(task):
        compared = compare(record, task, quantity, others, baseline)
        gaps = [Loss(quantity, name, comparison) for name, comparison in compared.items()]
        losses = [gap for gap in gaps if gap.advantage.mean > 0]
        found += sorted(losses, key=lambda loss: -loss.advantage.mean)
    return found
