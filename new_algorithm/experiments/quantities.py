"""What is measured in a run: its column in the record, its name, and which way is better."""

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from new_algorithm.experiments.experiment import AnyTask, Experiment
from new_algorithm.experiments.statistics import Summary

LARGE, HUGE = 100.0, 1e6  # in between, numbers are written out to the unit
UNIT = "_(fraction|nats)$"  # that a record adds to the name of a metric
LESS_IS_BETTER = {  # words of a name
    *("alignment", "bits", "error", "loss", "memory", "mse", "nats", "perplexity", "rmse"),
    *("seconds", "uniformity"),
}
RATES = {"accuracy", "auc"}


@dataclass(frozen=True)
class Quantity:
    column: str  # of runs.csv
    name: str
    less_is_better: bool = True
    decimals: int | None = None  # None: three significant digits, and all of a whole number

    @property
    def is_rate(self) -> bool:
        """Whether it is a share of 1, such as the accuracy, of which more is better."""
        return not self.less_is_better and not RATES.isdisjoint(self.column.split("_"))

    def show(self, value: float | None, signed: bool = False) -> str:
        """`value` for a reader, with a true minus sign; a dash for None."""
        if value is None:
            return "–"
        sign = "+" if signed else ""
        if self.decimals is not None:
            text = f"{value:{sign}.{self.decimals}f}"
        elif LARGE <= abs(value) < HUGE:
            text = f"{value:{sign}.0f}"
        else:
            text = f"{value:{sign}#.3g}"
        return text.replace("-", "−")

    def interval(self, summary: Summary, signed: bool = False) -> str:
        """The 95% interval in brackets, nothing where there is none."""
        ends = [self.show(end, signed) for end in (summary.low, summary.high)]
        return "" if summary.low is None else f"[{', '.join(ends)}]"

    def worsening(self, difference: Summary) -> Summary:
        """How much worse a variation is, given variation − baseline."""
        return difference if self.less_is_better else -difference


TRAIN_LOSS = Quantity("train_loss", "train loss")
CPU_SECONDS = Quantity("train_cpu_seconds", "CPU seconds")
WALL_SECONDS = Quantity("train_wall_seconds", "wall seconds")
PEAK_MEMORY = Quantity("peak_memory_mb", "peak memory in MB", decimals=1)


def metric(name: str, part: str = "test") -> Quantity:
    """A final metric of a run on the test or validation rows, as a definition names it; the train
    loss, which is of neither."""
    if name == TRAIN_LOSS.column:
        return TRAIN_LOSS
    words = name.split("_")
    label = " ".join([part, *("AUC" if word == "auc" else word for word in words)])
    less = less_is_better(name)
    rate = not less and not RATES.isdisjoint(words)
    return Quantity(f"{part}_{name}", label, less, decimals=4 if rate else None)


def less_is_better(name: str) -> bool:
    """Which way a metric is better, by the words in its name."""
    return not LESS_IS_BETTER.isdisjoint(name.split("_"))


def without_units(recorded: Mapping[str, Any]) -> dict[str, Any]:
    """Return final metrics by the names that tables have for them."""
    return {re.sub(UNIT, "", name): value for name, value in recorded.items()}


def find_metric(recorded: Mapping[str, Any], name: str, part: str) -> tuple[str, Any] | None:
    """Return the metric as a record has it, without its unit, and its value; None for no such one.

    Where there are both, the one that says that it is of these held-out rows.
    """
    metrics = without_units(recorded)
    for known in (f"{part}_{name}", re.sub(UNIT, "", name)):
        if known in metrics:
            return known, metrics[known]
    return None


def columns_of_runs(experiment: Experiment) -> dict[str, str]:
    """Return the metrics that the definition names, by their columns of a run's end."""
    return _columns(experiment, lambda task: dict.fromkeys(("test", task.followed)))


def columns_of_curves(experiment: Experiment) -> dict[str, str]:
    """Return the metrics that the definition names, by their columns of every epoch."""
    return _columns(experiment, lambda task: (task.followed,))


def _columns(experiment: Experiment, parts: Callable[[AnyTask], Iterable[str]]) -> dict[str, str]:
    return {
        metric(name, part).column: name
        for task in experiment.tasks
        for name in task.metrics
        for part in parts(task)
    }


def compared_quantities(task: AnyTask) -> list[Quantity]:
    """All that the baseline can be worse at, the deciding metric first."""
    return [*scored_quantities(task), CPU_SECONDS, PEAK_MEMORY]


def scored_quantities(task: AnyTask, part: str = "test") -> list[Quantity]:
    """The task's metrics and the train loss, each once, the deciding metric first."""
    named = [metric(name, part) for name in task.metrics]
    return list(dict.fromkeys([*named, TRAIN_LOSS]))
