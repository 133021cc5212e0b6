"""What is measured in a run: its column in the record, its name, and which way is better."""

from dataclasses import dataclass

from new_algorithm.experiments.experiment import Task

LARGE, HUGE = 100.0, 1e6  # in between, numbers are written out to the unit
METRIC_NAMES = {"accuracy": "accuracy", "auc": "AUC", "loss": "loss"}


@dataclass(frozen=True)
class Quantity:
    column: str  # of runs.csv
    name: str
    less_is_better: bool
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


def metric(name: str, part: str = "test") -> Quantity:
    """A score on the test or validation rows: accuracy, auc or loss."""
    is_loss = name == "loss"
    label = f"{part} {METRIC_NAMES[name]}"
    return Quantity(f"{part}_{name}", label, is_loss, decimals=None if is_loss else 4)


TRAIN_LOSS = Quantity("train_loss", "train loss", less_is_better=True)
CPU_SECONDS = Quantity("train_cpu_seconds", "CPU seconds", less_is_better=True)
WALL_SECONDS = Quantity("train_wall_seconds", "wall seconds", less_is_better=True)
PEAK_MEMORY = Quantity("peak_memory_mb", "peak memory in MB", less_is_better=True, decimals=1)


def compared_quantities(task: Task) -> list[Quantity]:
    """All that the baseline can be worse at, the deciding metric first."""
    scores = [metric(name) for name in task.metrics]
    return [*scores, TRAIN_LOSS, CPU_SECONDS, PEAK_MEMORY]
