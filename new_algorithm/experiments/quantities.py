"""What is measured in a run: its column in the record, its name, and which way is better."""

from dataclasses import dataclass

from new_algorithm.experiments.definition import Task
from new_algorithm.experiments.statistics import Summary

LARGE, HUGE = 100.0, 1e6  # in between, numbers are written out to the unit
METRIC_NAMES = {"accuracy": "accuracy", "auc": "AUC", "loss": "loss"}


@dataclass(frozen=True)
class Quantity:
    column: str  # of runs.csv
    name: str
    less_is_better: bool = True
    decimals: int | None = None  # None: three significant digits, and all of a whole number

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


def metric(name: str, part: str = "test") -> Quantity:
    """A score on the test or validation rows: accuracy, auc or loss."""
    label = f"{part} {METRIC_NAMES[name]}"
    if name == "loss":
        return Quantity(f"{part}_loss", label)
    return Quantity(f"{part}_{name}", label, less_is_better=False, decimals=4)


TRAIN_LOSS = Quantity("train_loss", "train loss")
CPU_SECONDS = Quantity("train_cpu_seconds", "CPU seconds")
WALL_SECONDS = Quantity("train_wall_seconds", "wall seconds")
PEAK_MEMORY = Quantity("peak_memory_mb", "peak memory in MB", decimals=1)


def compared_quantities(task: Task) -> list[Quantity]:
    """All that the baseline can be worse at, the deciding metric first."""
    return [*map(metric, task.metrics), TRAIN_LOSS, CPU_SECONDS, PEAK_MEMORY]
