"""Over all tasks of an experiment: how often the baseline holds its own, and what it costs."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from new_algorithm.experiments.experiment import AnyTask
from new_algorithm.experiments.quantities import CPU_SECONDS, Quantity, metric
from new_algorithm.experiments.ranks import ranks_of
from new_algorithm.experiments.record_tables import ExperimentRecord
from new_algorithm.experiments.statistics import compare_with

FEWEST_TASKS = 5  # over which ranks are worth a figure


@dataclass(frozen=True)
class Margin:
    """By how much the baseline is better than a rival on a task.

    mean, standard_error: of the paired differences over the seeds; of accuracy and AUC in points, a
    hundredth, of anything else in percent of the rival's mean. Below 0 it is worse.
    """

    task: str
    mean: float
    standard_error: float
    in_points: bool

    @property
    def holds(self) -> bool:
        """Whether it is better, or equal within one standard error."""
        return self.mean >= -self.standard_error


@dataclass(frozen=True)
class Rival:
    """The baseline beside another variation. margins: one a task. wilcoxon_p: over the tasks,
    Holm-corrected over the rivals, None where it cannot be tested. cpu_ratios: the baseline's CPU
    seconds over the rival's, by task; cpu_ratio: of their sums."""

    name: str
    margins: list[Margin]
    wilcoxon_p: float | None
    cpu_ratios: list[float]
    cpu_ratio: float

    @property
    def held(self) -> int:
        """On how many tasks the baseline holds its own."""
        return sum(margin.holds for margin in self.margins)

    def worst(self, in_points: bool) -> Margin | None:
        """The least margin in points, or in percent; None where there is no such task."""
        of_kind = [margin for margin in self.margins if margin.in_points == in_points]
        return min(of_kind, key=lambda margin: margin.mean, default=None)


@dataclass(frozen=True)
class AcrossTasks:
    """tasks: on which every variation has a score of every seed; the others are left out.

    ranks: (tasks, variations) by the mean of the first metric, the variations in their order.
    """

    tasks: list[str]
    variations: list[str]
    ranks: NDArray
    rivals: list[Rival]


def across_tasks(record: ExperimentRecord) -> AcrossTasks | None:
    """None for too few tasks, one variation, or the parts of one method."""
    experiment = record.experiment
    names = [one.name for one in experiment.variations]
    tasks = [task for task in experiment.tasks if _is_whole(record, task, names)]
    if len(tasks) < FEWEST_TASKS or len(names) < 2 or experiment.is_ablation:
        return None
    errors = np.array([[_mean_error(record, task, name) for name in names] for task in tasks])
    by_task = {name: dict(enumerate(column)) for name, column in zip(names, errors.T, strict=True)}
    reference = by_task.pop(experiment.baseline)
    rivals = [
        _rival(record, tasks, name, compared.wilcoxon_p)
        for name, compared in compare_with(reference, by_task).items()
    ]
    return AcrossTasks([task.name for task in tasks], names, ranks_of(errors), rivals)


def margin_of(
    task: str, baseline: Mapping[int, float], rival: Mapping[int, float], quantity: Quantity
) -> Margin:
    """The margin on a task, given values by seed, the same seeds for both."""
    seeds = sorted(baseline)
    own, theirs = (np.array([values[seed] for seed in seeds]) for values in (baseline, rival))
    better = 100 * (theirs - own if quantity.less_is_better else own - theirs)
    if not quantity.is_rate:
        better = better / abs(theirs.mean())
    error = float(better.std(ddof=1) / np.sqrt(len(seeds))) if len(seeds) > 1 else 0.0
    return Margin(task, float(better.mean()), error, quantity.is_rate)


def _is_whole(record: ExperimentRecord, task: AnyTask, names: Sequence[str]) -> bool:
    """Whether all variations have a score of every seed."""
    seeds = set(record.experiment.seeds)
    return all(_scores(record, task, name).keys() == seeds for name in names)


def _scores(record: ExperimentRecord, task: AnyTask, name: str) -> dict[int, float]:
    return record.values(task.name, name, metric(task.metrics[0]).column)


def _mean_error(record: ExperimentRecord, task: AnyTask, name: str) -> float:
    """The mean over seeds, its sign such that less is better."""
    mean = float(np.mean([*_scores(record, task, name).values()]))
    return mean if metric(task.metrics[0]).less_is_better else -mean


def _rival(
    record: ExperimentRecord, tasks: Sequence[AnyTask], name: str, wilcoxon_p: float | None
) -> Rival:
    baseline = record.experiment.baseline
    margins = [
        margin_of(
            task.name,
            _scores(record, task, baseline),
            _scores(record, task, name),
            metric(task.metrics[0]),
        )
        for task in tasks
    ]
    own, theirs = (_cpu_seconds(record, tasks, one) for one in (baseline, name))
    ratios = (own / theirs).tolist()
    return Rival(name, margins, wilcoxon_p, ratios, float(own.sum() / theirs.sum()))


def _cpu_seconds(record: ExperimentRecord, tasks: Sequence[AnyTask], name: str) -> NDArray:
    """Mean CPU seconds of each task."""
    column = CPU_SECONDS.column
    return np.array([np.mean([*record.values(t.name, name, column).values()]) for t in tasks])
