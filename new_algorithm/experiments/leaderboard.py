"""Which methods are better at what on a task, by how much, and whether it is significant."""

from collections.abc import Iterator
from dataclasses import dataclass

from new_algorithm.experiments.experiment import AnyTask
from new_algorithm.experiments.quantities import Quantity, compared_quantities, metric
from new_algorithm.experiments.record_tables import ExperimentRecord
from new_algorithm.experiments.statistics import Comparison, Summary, compare_with, summarise


@dataclass(frozen=True)
class Standing:
    """A variation on a task. summary: of the task's first metric, None where no run left a score.

    comparison: with the baseline, None for the baseline itself. unscored: runs without a score:
    they failed, or diverged before there were weights. among_best: it is the best, or does not
    differ from it significantly.
    """

    variation: str
    summary: Summary | None
    comparison: Comparison | None
    unscored: int
    among_best: bool


def leaderboard(record: ExperimentRecord, task: AnyTask) -> list[Standing]:
    """Return all variations by the mean of the task's first metric, best first.

    One with runs that left no score comes after those without such runs, whatever its mean: the
    mean of the others flatters it.
    """
    quantity, seeds = metric(task.metrics[0]), len(record.experiment.seeds)
    scores = _by_variation(record, task, quantity)
    summaries = {
        name: summarise([*values.values()]) if values else None for name, values in scores.items()
    }

    def rank(name: str) -> tuple[bool, bool, float]:
        summary = summaries[name]
        mean = summary.mean if summary else 0.0
        missing = len(scores[name]) < seeds
        return summary is None, missing, mean if quantity.less_is_better else -mean

    ranked = sorted(scores, key=rank)
    best = _among_best({name: scores[name] for name in ranked if len(scores[name]) == seeds})
    others = dict(scores)
    comparisons = compare_with(others.pop(record.experiment.baseline), others)
    return [
        Standing(
            name, summaries[name], comparisons.get(name), seeds - len(scores[name]), name in best
        )
        for name in ranked
    ]


def _by_variation(
    record: ExperimentRecord, task: AnyTask, quantity: Quantity
) -> dict[str, dict[int, float]]:
    """The values of a quantity by variation and seed."""
    names = [one.name for one in record.experiment.variations]
    return {name: record.values(task.name, name, quantity.column) for name in names}


def _among_best(ranked: dict[str, dict[int, float]]) -> set[str]:
    """The first of `ranked` and those that the paired t test cannot tell from it.

    Equal on every seed is a tie too. With one seed nothing can be tested, and none is returned.
    """
    if not ranked:
        return set()
    first, *_ = ranked
    scores = ranked.pop(first)
    if len(scores) < 2:
        return set()
    tied = {
        name
        for name, found in compare_with(scores, ranked).items()
        if (found.t_p is not None and not found.significant)
        or (found.difference.mean == 0 == found.difference.sd)
    }
    return {first, *tied}


def losses_of_baseline(
    record: ExperimentRecord, task: AnyTask
) -> Iterator[tuple[Quantity, dict[str, tuple[Summary, Comparison]]]]:
    """Yield every quantity at which other variations have the better mean, and these.

    By their names, the largest gap first, the advantage over the baseline, above 0, and the
    comparison.
    """
    for quantity in compared_quantities(task):
        values = _by_variation(record, task, quantity)
        compared = compare_with(values.pop(record.experiment.baseline), values)
        gaps = {name: (-quantity.worsening(c.difference), c) for name, c in compared.items()}
        better = {name: gap for name, gap in gaps.items() if gap[0].mean > 0}
        if better:
            yield quantity, dict(sorted(better.items(), key=lambda item: -item[1][0].mean))
