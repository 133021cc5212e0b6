"""What is measured in a run: its column in the record, its name, and which way is better."""

from dataclasses import dataclass

from new_algorithm.experiments.definition import Experiment, Task
from new_algorithm.experiments.statistics import Summary

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


@dataclass(frozen=True)
class Effect:
    """sign: 1 for variation − baseline, −1 for baseline − variation."""

    name: str
    sign: int
    explanation: str

    def of(self, difference: Summary) -> Summary:
        """`difference`, variation − baseline, in the sign that is shown."""
        return difference if self.sign > 0 else negated(difference)


def negated(difference: Summary) -> Summary:
    """b − a, given a − b."""
    low, high = (None if end is None else -end for end in (difference.high, difference.low))
    return Summary(-difference.mean, difference.sd, low, high, difference.count)


def is_ablation(experiment: Experiment) -> bool:
    """Whether the variations are one method, with parts of it removed or swapped."""
    methods = {variation.method for variation in experiment.variations}
    return len(methods) == 1 < len(experiment.variations)


def effect(experiment: Experiment, quantity: Quantity) -> Effect:
    """The importance in an ablation, how much worse it is without the part; else the difference."""
    way = "less is better" if quantity.less_is_better else "more is better"
    if not is_ablation(experiment):
        return Effect("difference", 1, f"{quantity.name}: difference from the baseline ({way})")
    terms = ("variation − baseline", "baseline − variation")
    order, sign = (terms[0], 1) if quantity.less_is_better else (terms[1], -1)
    return Effect("importance", sign, f"importance: {order} in {quantity.name}")
