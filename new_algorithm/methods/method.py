"""The interface of a training method: the problem it is given, and the epochs it yields."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import DTypeLike, NDArray

from datasets import Dataset
from new_algorithm.back_projection.eigenbasis import Eigenbasis
from new_algorithm.back_projection.losses import Loss, loss_for, smoothed
from new_algorithm.back_projection.metrics import Scores
from new_algorithm.back_projection.network import (
    Target,
    append_ones,
    scale_layers,
    seeded_start,
    weight_norms,
)
from new_algorithm.back_projection.optimizer import START_ROWS
from new_algorithm.methods.passes import Passes
from new_algorithm.models.model import Model
from new_algorithm.record.clock import TrainingClock

if TYPE_CHECKING:
    from new_algorithm.record.run import Run

VERY_DEEP = 50  # hidden layers, from above which the start decides whether a network trains

Settings = dict[str, Any]
Weights = Sequence[NDArray]  # W̃ (d_in + 1, d_out) of each layer, on the features as they are
Predict = Callable[[NDArray], NDArray]  # rows → outputs


class TrainedModel(NamedTuple):
    """A model after an epoch, whose matrices alone do not say what its outputs are.

    arrays: all its parameters and buffers by their names.
    """

    weights: Weights
    predict: Predict
    arrays: Callable[[], dict[str, NDArray]]


Trained = Weights | TrainedModel  # after an epoch: W̃ of each layer, or a model


@dataclass(frozen=True)
class Range:
    """Rates and penalties from `low` to `high`, on a logarithmic scale."""

    low: float
    high: float


class WholeRange(Range):
    """The same of whole numbers."""


@dataclass(frozen=True)
class Choice:
    """One of `values`: numbers, names or booleans."""

    values: tuple[Any, ...]


def relu_target_of(widths: tuple[int, ...]) -> Target:
    """Return "revive" where there is a bottleneck, a hidden layer at most half as wide as some
    hidden layer below and some above, whose units are few; "mask" elsewhere."""
    inner = range(1, len(widths) - 1)
    narrow = (2 * widths[i] <= min(max(widths[:i]), max(widths[i + 1 :])) for i in inner)
    return "revive" if any(narrow) else "mask"


Space = dict[str, Range | Choice]  # what a search may try for each setting

TO_256 = Choice((32, 64, 128, 256))  # batch sizes
TO_512 = Choice((32, 64, 128, 256, 512))  # SGD's and Adam's best were at the edge, 256
# for steps that cost several times Adam's: with small batches the budget ends within a pass
FROM_128 = Choice((128, 256, 512))

# α of weight decay W ← (1 − η α) W, for rates η of about .001 to .01, and of about .1 to 1
DECAYS_OF_ADAM = Choice((0.0, 1e-2, 1e-1, 0.3, 1.0))
DECAYS = Choice((0.0, 1e-4, 1e-3, 1e-2))


def loss_of(data: Dataset) -> tuple[Loss, int]:
    """Return the loss of a data set's task, and how many outputs it needs."""
    return loss_for(data.num_classes, data.y_train, data.probabilities)


@dataclass(frozen=True)
class Problem:
    """A network to train, the same for every method.

    data: its x_test are the held-out rows of an evaluation. widths: units of each hidden layer.
    epochs: how long to train. basis: in whose eigenvectors x_train is given, if it is. model: in
    place of a ReLU network; it has a loss of its own. parts: of a pass over the training rows, each
    of which is an epoch, but of methods whose epochs are whole. device: of methods that train
    models. label_smoothing: of what is trained towards, by methods with a loss at the output; what
    is scored has none.
    """

    data: Dataset
    widths: tuple[int, ...]
    epochs: int
    seed: int
    threads: int = 1
    basis: Eigenbasis | None = None
    model: Model | None = None
    parts: int = 1
    device: str = "cpu"
    label_smoothing: float = 0.0

    @property
    def loss(self) -> Loss:
        if self.model is not None:
            return self.model.loss
        return loss_of(self.data)[0]

    @property
    def trained_loss(self) -> Loss:
        """The loss with smoothed labels. ValueError where there are no classes."""
        return smoothed(self.loss, self.label_smoothing)

    @property
    def relu_target(self) -> Target:
        """What methods of first order make of a wanted hidden change, in NumPy and in PyTorch.

        Not K-FAC, whose factor of what is above is 0 at dead units, nor L-BFGS, whose line search
        needs the gradient, nor methods with targets of their own.
        """
        return relu_target_of(self.widths)

    def passes(self, batch_size: int) -> Passes:
        """Return how batches of that size, or of the model's own, make epochs."""
        size = self.model.batch_size if self.model else batch_size
        return Passes.over(len(self.data.x_train), size, self.parts)

    def start(self, dtype: DTypeLike = np.float32) -> tuple[np.random.Generator, list[NDArray]]:
        """Return the seed's generator and the initial weights, drawn from it.

        Shuffles are drawn from the generator next, so that all methods with minibatches of the
        same size see the same ones. In a basis they are the network's on the features, with a bias
        beside that of X̃ Q, zero at first.
        Of a very deep network the layers are scaled by a first look at some rows.
        """
        basis = self.basis
        features = self.data.x_train.shape[1] if basis is None else len(basis.vectors) - 1
        outputs = loss_of(self.data)[1]
        rng, weights = seeded_start(self.seed, (features, *self.widths, outputs), dtype)
        if basis is not None:
            rotated = basis.vectors.T @ weights[0]
            weights[0] = np.vstack([rotated, np.zeros_like(rotated[:1])])
        if len(self.widths) > VERY_DEEP:
            scale_layers(weights, append_ones(self.data.x_train[:START_ROWS].astype(dtype)))
        return rng, weights


@dataclass(frozen=True)
class Epoch:
    """The state of a training after `number` epochs.

    clock: training time so far, without evaluation. weights: valid until the next epoch is
    requested. scores: evaluates the training rows and the held-out rows; DivergedError if the
    train loss is not finite. predict, arrays: where weights alone do not say what the outputs are,
    as of a TrainedModel.
    """

    number: int
    clock: TrainingClock
    weights: Weights
    scores: Callable[[], tuple[Scores, Scores]]
    predict: Predict | None = None
    arrays: Callable[[], dict[str, NDArray]] | None = None

    def record(self, run: "Run", *, save_weights: bool = False) -> None:
        """Evaluate; then save the weights, if they are wanted, and the numbers."""
        train, held_out = self.scores()
        if save_weights:
            self.save(run)
        run.record_epoch(
            self.number,
            train=train,
            held_out=held_out,
            layer_norms=weight_norms(self.weights),
            clock=self.clock,
        )

    def save(self, run: "Run") -> None:
        """Save the weights as the run's, and as those after this epoch."""
        weights = self.weights if self.arrays is None else self.arrays()
        run.save_weights(weights)
        run.save_snapshot(self.number, weights)


def _as_they_are(problem: Problem, settings: Settings) -> Settings:
    return settings


@dataclass(frozen=True)
class Method:
    """name: in tables. source: the paper and its equations. settings: the default of each, or the
    default and what a search may try.

    train(problem, settings), with a value for every setting, yields after each epoch;
    DivergedError. in_values(problem, settings): the settings with a value for each that is None,
    which is to follow from the problem. large_batches: defaults that are others in batches of
    gram.MANY_IN_A_BATCH rows and more. components: changed settings of an ablation, by name.
    any_model: whether it trains models in PyTorch too, or ReLU networks alone. whole_epochs:
    whether an epoch is a pass over all rows, or what the method has in its place, whatever the
    parts of the problem.
    """

    name: str
    source: str
    settings: dict[str, Any | tuple[Any, Range | Choice]]
    train: Callable[[Problem, Settings], Iterator[Epoch]]
    large_batches: Settings = field(default_factory=dict)
    components: dict[str, Settings] = field(default_factory=dict)
    in_values: Callable[[Problem, Settings], Settings] = _as_they_are
    any_model: bool = False
    whole_epochs: bool = False

    @property
    def space(self) -> Space:
        return {name: s[1] for name, s in self.settings.items() if isinstance(s, tuple)}

    @property
    def defaults(self) -> Settings:
        return {k: s[0] if isinstance(s, tuple) else s for k, s in self.settings.items()}
