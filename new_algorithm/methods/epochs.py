"""The epochs of methods that are objects with weights and an epoch to run."""

from collections.abc import Callable, Iterator
from copy import copy
from functools import partial
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from datasets.batches import in_chunks
from new_algorithm.back_projection.batch import Chunk
from new_algorithm.back_projection.metrics import Scores, evaluate
from new_algorithm.back_projection.network import append_ones
from new_algorithm.cli.errors import DivergedError
from new_algorithm.methods.inputs import AS_THEY_ARE, on_inputs
from new_algorithm.methods.method import Epoch, Problem, Weights
from new_algorithm.record.clock import TrainingClock


class Training(Protocol):
    @property
    def weights(self) -> Weights:
        """W̃ of each layer now."""

    def epoch(self) -> None:
        """Go once over the training rows."""


def train_in_epochs(
    problem: Problem, start: Callable[[Problem], Training], inputs: str = AS_THEY_ARE
) -> Iterator[Epoch]:
    """Train on such inputs, and yield after each epoch; `start` counts as training time."""
    clock = TrainingClock()
    with clock, np.errstate(over="ignore", invalid="ignore"):  # the loss will show it
        on_these, unfold = on_inputs(inputs, problem)
        training = start(on_these)
    for number in range(1, problem.epochs + 1):
        with clock, np.errstate(over="ignore", invalid="ignore"):
            training.epoch()
        weights = unfold(training.weights)
        yield Epoch(number, copy(clock), weights, partial(_scores, problem, weights, number))


def _scores(problem: Problem, weights: Weights, epoch: int) -> tuple[Scores, Scores]:
    loss, data = problem.loss, problem.data
    with np.errstate(over="ignore", invalid="ignore"):
        train = evaluate(loss, weights, chunks_with_ones(data.x_train, data.y_train))
        held_out = evaluate(loss, weights, chunks_with_ones(data.x_test, data.y_test))
    return finite(train, epoch), held_out


def finite(train: Scores, epoch: int) -> Scores:
    """Return the scores; DivergedError if the loss is not finite."""
    if not np.isfinite(train.loss):
        raise DivergedError(f"epoch {epoch}: the train loss is {train.loss}")
    return train


def chunks_with_ones(x: NDArray, y: NDArray) -> Iterator[Chunk]:
    """Yield X̃ = [X, 1] and the targets in chunks; all of X̃ at once would double the memory."""
    for inputs, targets in in_chunks(x, y):
        yield append_ones(inputs), targets
