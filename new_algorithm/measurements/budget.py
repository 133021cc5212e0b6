"""How many epochs of a method fit into a given CPU time."""

from collections.abc import Callable

from datasets import Dataset
from new_algorithm.measurements.methods import Method

CAUTION = 0.95  # of the time, so that noise does not make the method that is fitted dearer


def epochs_within(
    seconds: float, method: Callable[[int], Method], data: Dataset, seed: int = 0
) -> int:
    """Return the epochs, at least 1, that `method(epochs)` can make in `seconds` of CPU time.

    Its cost is taken to be fixed + epochs · c, from runs of one and of three epochs; the estimate
    is run once, and cut where it took longer after all.
    """
    one, three = (method(epochs)(data, seed).cpu_seconds for epochs in (1, 3))
    per_epoch = max((three - one) / 2, one / 10)
    epochs = max(1, int((CAUTION * seconds - (one - per_epoch)) / per_epoch))
    took = method(epochs)(data, seed).cpu_seconds
    return max(1, min(epochs, int(epochs * CAUTION * seconds / took)))
