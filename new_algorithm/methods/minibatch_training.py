"""Training by minibatches: a batch gives changes of the weights, a step moves along them."""

from collections.abc import Callable, Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from new_algorithm.back_projection.network import FlatParameters, Workspace
from new_algorithm.back_projection.rows import RowsInMemory
from new_algorithm.back_projection.schedule import WARM_UP, scheduled
from new_algorithm.cli.errors import DivergedError
from new_algorithm.methods.method import Problem, Settings, Weights
from new_algorithm.methods.outer_steps import Stepper

# (weights, workspace with the batch as its inputs, targets, changes to be written); LinAlgError
BatchChanges = Callable[[Sequence[NDArray], Workspace, NDArray, FlatParameters], None]


def train_by_minibatches(
    problem: Problem,
    settings: Settings,
    stepper: Stepper,
    batch_changes: BatchChanges,
    *,
    redraw: Callable[[np.random.Generator, Sequence[NDArray]], None] | None = None,
    further: Sequence[NDArray] = (),
) -> Iterator[Weights]:
    """Yield the weights after each epoch of shuffled minibatches, each a step of scale · lr.

    settings: batch_size, lr, and schedule, which decides on the scale, by default up to 1 over the
    share warm_up of the steps, 30% where it is not given, then down to 0. stepper: how the weights
    move. redraw: replaces the initial weights, in place, by those of a paper. further: matrices
    that are trained with the weights, after which they come, and are not yielded. DivergedError
    where a batch gives no changes.
    """
    lr, schedule = settings["lr"], settings.get("schedule", "warm-up-decay")
    scale = scheduled(schedule, settings.get("warm_up", WARM_UP))
    rng, weights = problem.start()
    if redraw is not None:
        redraw(rng, weights)
    rows = RowsInMemory(problem.data.x_train, problem.data.y_train)
    passes = problem.passes(settings["batch_size"])
    size = passes.batch_size
    iteration, iterations = 0, passes.steps(problem.epochs)
    parameters = FlatParameters.of([*weights, *further])
    step, changes = stepper(parameters), parameters.zeros_like()
    workspace = Workspace(size, weights)
    workspace.inputs = np.ones((size, len(weights[0])), np.float32)  # X̃ of a batch
    for batches in passes.epochs(lambda: rows.batches(rng, size)):
        for [(inputs, targets, *_)] in batches:
            workspace.inputs[:, :-1] = inputs
            try:
                batch_changes(parameters.matrices, workspace, targets, changes)
            except np.linalg.LinAlgError as error:
                raise DivergedError(
                    f"iteration {iteration + 1}: {error}; try a smaller lr"
                ) from error
            step(changes, lr, scale(iteration, iterations))
            iteration += 1
        yield parameters.matrices[: len(weights)]
