"""How many iterations a method takes to a given train loss."""

from collections.abc import Callable
from typing import Any, NamedTuple

from new_algorithm.cli.errors import DivergedError
from new_algorithm.record.measurement import Measurement


class Reached(NamedTuple):
    """iterations: interpolated between epochs. cpu_s, sent_bytes: of one iteration, the latter 0
    where the run counts none. last_loss: where the run ended."""

    iterations: float
    cpu_s: float
    sent_bytes: float
    last_loss: float


class _ReachedError(Exception):
    """Ends a training early."""


class _Watch(Measurement):
    def __init__(self, loss: float) -> None:
        super().__init__()
        self.wanted, self.losses, self.sent_bytes = loss, [], 0

    def record_epoch(self, epoch: int, **numbers: Any) -> None:
        super().record_epoch(epoch, **numbers)
        self.losses.append(numbers["train"].loss)
        self.sent_bytes += numbers.get("sent_bytes", 0)  # the baseline tells none
        if self.losses[-1] <= self.wanted:
            raise _ReachedError


def until_loss(
    loss: float, iterations_an_epoch: int, train: Callable[[Measurement], None]
) -> Reached | None:
    """Train, which may take any number of epochs, until the loss; None if it is never reached.

    The loss is known after each epoch; between the last two it is taken to fall in a straight line.
    """
    watch = _Watch(loss)
    try:
        train(watch)
    except DivergedError:
        return None
    except _ReachedError:
        pass
    else:
        return None
    epochs = len(watch.losses)
    made = epochs * iterations_an_epoch
    fraction = 1.0
    if epochs > 1:
        before, after = watch.losses[-2:]
        fraction = (before - loss) / (before - after)
    return Reached(
        iterations=(epochs - 1 + fraction) * iterations_an_epoch,
        cpu_s=watch.last["clock"].cpu_seconds / made,
        sent_bytes=watch.sent_bytes / made,
        last_loss=watch.losses[-1],
    )
