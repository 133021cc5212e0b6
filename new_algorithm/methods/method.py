"""What a comparison asks of a training method, and what it gives it."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from datasets import Dataset
from new_algorithm.back_projection.losses import Loss, loss_for
from new_algorithm.back_projection.metrics import Scores
from new_algorithm.back_projection.network import initial_weights
from new_algorithm.record.clock import TrainingClock

Settings = dict[str, Any]
Weights = Sequence[NDArray]  # W̃ (d_in + 1, d_out) of each layer, on the features as they are


@dataclass(frozen=True)
class Range:
    """Numbers from `low` to `high`, evenly in their logarithm: rates and penalties."""

    low: float
    high: float


@dataclass(frozen=True)
class Choice:
    """One of `values`: numbers, names or truth values."""

    values: tuple[Any, ...]


Space = dict[str, Range | Choice]  # what a search may try for each setting

TO_256 = Choice((32, 64, 128, 256))  # batch sizes
TO_512 = Choice((32, 64, 128, 256, 512))  # of SGD and Adam, which were at the edge with 256
# where a step costs several times one of Adam's, small batches would not get through one epoch
FROM_128 = Choice((128, 256, 512))


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

    @property
    def loss(self) -> Loss:
        return loss_for(self.data.num_classes, self.data.y_train)[0]

    def start(self) -> tuple[np.random.Generator, list[NDArray]]:
        """Return the generator of this seed and the initial weights, drawn from it.

        What is drawn next from the generator are the shuffles: so every method that goes through
        minibatches of the same size sees the same ones. Data that are drawn at random come from
        another stream.
        """
        rng = np.random.default_rng([self.seed, 1])
        outputs = loss_for(self.data.num_classes, self.data.y_train)[1]
        return rng, initial_weights(rng, (self.data.x_train.shape[1], *self.widths, outputs))


@dataclass(frozen=True)
class Epoch:
    """What a training has come to after so many passes over the rows.

    clock: of the training so far, evaluation excluded. weights: valid until the next epoch is asked
    for. scores: evaluates, on the training rows and on the held-out ones; DivergedError if the
    train loss is not finite. predict: features (n, d) → outputs (n, m), of a method that has no
    weights.
    """

    number: int
    clock: TrainingClock
    weights: Weights
    scores: Callable[[], tuple[Scores, Scores]]
    predict: Callable[[NDArray], NDArray] | None = None


@dataclass(frozen=True)
class Method:
    """name: in tables. source: the paper, and which of its equations.

    space: what a search may try. defaults: a value for every setting. train(problem, settings)
    trains with one value for each of them and yields after each epoch, or raises DivergedError.
    components: what an ablation removes or swaps, by name, as changed settings.
    """

    name: str
    source: str
    space: Space
    defaults: Settings
    train: Callable[[Problem, Settings], Iterator[Epoch]]
    components: dict[str, Settings] = field(default_factory=dict)
