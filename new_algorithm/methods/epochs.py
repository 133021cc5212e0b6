"""The loop of those methods that are written as steps on weights in NumPy."""

from collections.abc import Callable, Iterator
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from datasets.batches import Chunk, in_chunks
from new_algorithm.back_projection.metrics import evaluate
from new_algorithm.back_projection.network import append_ones, weight_norms
from new_algorithm.cli.errors import DivergedError
from new_algorithm.cli.progress import progress
from new_algorithm.methods.method import Problem, Recorder, Weights
from new_algorithm.record.clock import TrainingClock


class Training(Protocol):
    """layers: W̃ of each layer as they are now."""

    layers: Weights

    def epoch(self) -> None:
        """Go once over the training rows."""


@np.errstate(over="ignore", invalid="ignore")  # found below
def train_in_epochs(problem: Problem, run: Recorder, start: Callable[[], Training]) -> Weights:
    """Train, record every epoch, and return the weights; evaluation is outside the clock."""
    loss, data = problem.loss(), problem.data
    clock = TrainingClock()
    with clock:  # what a method prepares is part of its cost
        training = start()
    run.save_weights(training.layers)
    for epoch in progress(range(1, problem.epochs + 1), "epochs", problem.epochs):
        with clock:
            training.epoch()
        layers = training.layers  # which some fold anew each time
        train = evaluate(loss, layers, chunks_with_ones(data.x_train, data.y_train))
        if not np.isfinite(train.loss):
            raise DivergedError(f"epoch {epoch}: the loss is {train.loss}")
        run.save_weights(layers)
        run.record_epoch(
            epoch,
            train=train,
            held_out=evaluate(loss, layers, chunks_with_ones(data.x_test, data.y_test)),
            layer_norms=weight_norms(layers),
            clock=clock,
        )
    return training.layers


def chunks_with_ones(x: NDArray, y: NDArray) -> Iterator[Chunk]:
    """Yield X̃ = [X, 1] and the targets in chunks: all of X̃ would count as memory of the method."""
    for inputs, targets in in_chunks(x, y):
        yield append_ones(inputs), targets
