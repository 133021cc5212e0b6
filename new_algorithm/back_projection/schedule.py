"""What depends on how long a run is: the factor on the step size, and the decay beside steps."""

from collections.abc import Callable
from functools import partial
from typing import Literal


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


WARM_UP = 0.3  # of the iterations
SHORT_RUN = 1_000  # steps


def decay_of_a_run(decay: float, steps: int) -> float:
    """Return α for each of a run's steps, α √(1,000/steps) of more than a thousand.

    The balance of steps of a given length and of a decay is a size of the weights that does not
    depend on how long the run is. It falls where there is time to reach it, and in forty layers
    what is passed on falls with its fortieth power: with the α that is best in 1,000 steps, 5,000
    end at chance on some seeds. The root is from trials of 1,500 to 17,000 steps (notebook).
    """
    return decay * min(1.0, (SHORT_RUN / max(steps, 1)) ** 0.5)


Schedule = Literal["warm-up-decay", "constant"]


def scheduled(name: Schedule, warm_up: float = WARM_UP) -> Callable[[int, int], float]:
    """Return the named schedule: (iteration, iterations) → factor. warm_up: share in [0, 1)."""
    return partial(warm_up_and_decay, warm_up=warm_up) if name == "warm-up-decay" else constant
