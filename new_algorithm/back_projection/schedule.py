"""Which rows and what step size belong to which iteration."""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray


def minibatches(
    rng: np.random.Generator, rows: int, batch_size: int
) -> Iterator[NDArray[np.intp] | slice]:
    """Yield one epoch of row indices: shuffled batches of equal size, or all rows as they are.

    The rows mod batch_size that are left over wait for another epoch's shuffle: a shorter batch
    would give its rows more weight.
    """
    if batch_size == rows:
        yield slice(None)
        return
    order = rng.permutation(rows)
    for first in range(0, rows - batch_size + 1, batch_size):
        yield order[first : first + batch_size]


def warm_up_and_decay(iteration: int, iterations: int, warm_up: float) -> float:
    """Return the factor on the step size: 0 up to 1 over the share `warm_up`, then down to 0.

    Linear both ways, for iteration 0 … iterations − 1, taken at the middle of the iteration so
    that no step is wasted at zero.
    """
    progress = (iteration + 0.5) / iterations
    if progress < warm_up:
        return progress / warm_up
    return (1 - progress) / (1 - warm_up)


def constant(iteration: int, iterations: int) -> float:
    """Return 1 for every iteration."""
    return 1.0


SCHEDULES = {"warm-up-decay": lambda i, n: warm_up_and_decay(i, n, 0.3), "constant": constant}
