"""What a comparison asks of a training method, and what it gives it."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from datasets import Dataset
from new_algorithm.back_projection.losses import Loss, loss_for
from new_algorithm.back_projection.metrics import Scores
from new_algorithm.back_projection.network import initial_weights
from new_algorithm.methods.search_space import Space
from new_algorithm.record.clock import TrainingClock

Settings = dict[str, Any]
Weights = Sequence[NDArray]  # W̃ (d_in + 1, d_out) of each layer, on the features as they are


class Recorder(Protocol):
    """What a training tells after each epoch; a `Run` is one, a `SilentRun` another."""

    def record_epoch(
        self,
        epoch: int,
        *,
        train: Scores,
        held_out: Scores,
        layer_norms: Sequence[float],
        clock: TrainingClock,
    ) -> None: ...

    def save_weights(self, weights: Weights) -> None: ...

    def anomaly(self, text: str) -> None: ...


@dataclass(frozen=True)
class Problem:
    """A network to train, alike for every method.

    data: x_test holds what is evaluated after each epoch, the validation rows. widths: units of
    each hidden layer. epochs: passes over the training rows.
    """

    data: Dataset
    widths: tuple[int, ...]
    epochs: int
    seed: int
    threads: int = 1

    def loss(self) -> Loss:
        return loss_for(self.data.num_classes, self.data.y_train)[0]

    def start(self) -> tuple[np.random.Generator, list[NDArray]]:
        """Return the generator of this seed and the initial weights, drawn from it.

        What is drawn next from the generator are the shuffles: so every method that goes through
        minibatches of the same size sees the same ones.
        """
        rng = np.random.default_rng([self.seed, 1])
        outputs = loss_for(self.data.num_classes, self.data.y_train)[1]
        return rng, initial_weights(rng, (self.data.x_train.shape[1], *self.widths, outputs))


@dataclass(frozen=True)
class Method:
    """name: in tables. source: the paper, and which of its equations.

    space: what a search may try. defaults: a value for every setting. train(problem, settings, run)
    trains with one value for each of them, records every epoch and returns the weights after the
    last one; DivergedError where they are no longer finite. components: what an ablation removes or
    swaps, by name, as changed settings.
    """

    name: str
    source: str
    space: Space
    defaults: Settings
    train: Callable[[Problem, Settings, Recorder], Weights]
    components: dict[str, Settings] = field(default_factory=dict)
