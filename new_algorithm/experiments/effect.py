"""The sign under which a report shows a variation beside the baseline."""

from dataclasses import dataclass

from new_algorithm.experiments.experiment import Experiment
from new_algorithm.experiments.quantities import Quantity
from new_algorithm.experiments.statistics import Summary


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
